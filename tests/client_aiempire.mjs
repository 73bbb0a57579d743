/* client_aiempire.mjs - backoff from 2 s to 60 s; what is paused until next month is not tried again. */
import { run } from '../examples/clients/common.mjs';
import { AIEmpire } from '../examples/clients/aiempire.mjs';
import { allAnswered, between, finish, is, ration, real, scripted } from './client.mjs';

/* ---- The backoff ---- */
{
	const s = scripted(AIEmpire, 429);
	is('denied for ever: the denial is the answer', (await s.client.request('GET', '/')).status, 429);
	is('denied for ever: from 2 s to 60 s', s.gaps(), [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
}
{
	const s = scripted(AIEmpire, [429, { 'retry-after': '15' }], [429, { 'retry-after': '1' }], [429, { 'retry-after': '62' }], 200);
	is('Retry-After 15, 1, 62: answered', (await s.client.request('GET', '/')).status, 200);
	is('Retry-After 15, 1, 62: never earlier, nor before the backoff', s.gaps(), [15_000, 4000, 62_000]);
}
{
	const paused = [429, { 'retry-after': '1728000' }, '{"error":"quota_exceeded","paused_until":"2027-01-01T00:00:00Z"}'];
	const s = scripted(AIEmpire, paused, 200);
	is('paused for the month: the answer says so', (await s.client.request('POST', '/')).body.error, 'quota_exceeded');
	is('paused for the month: one try', s.record.length, 1);
}
for (const status of [0, 500]) {
	const s = scripted(AIEmpire, status, 200);
	is(`${status || 'no answer'}: not tried again`, [(await s.client.request('GET', '/')).status, s.record.length], [status, 1]);
}
{
	const s = scripted(AIEmpire, [429, { 'retry-after': '30' }], 200);
	const start = s.clock.now(), get = s.client.request('GET', '/');
	await s.clock.sleep(1000);
	await Promise.all([s.client.request('POST', '/'), s.client.request('GET', '/other'), get]);
	is('a GET is denied: a POST goes on, another GET waits until it has gone',
		s.client.log.map((a) => [`${a.request.method} ${a.request.path}`, a.sent - start]),
		[['GET /', 0], ['POST /', 1000], ['GET /', 30_000], ['GET /other', 30_010]]);
}

/* ---- The service ---- */
{
	const r = real(AIEmpire, 'ae_1');
	await run(r.client, 150, 4, 'GET', '/v1/contacts');
	between('150 GET of 60 a minute: denied', allAnswered('150 GET of 60 a minute, 4 at once', r, 150, 2), 2, 20);
	await run(r.client, 40, 1, 'POST', '/v1/contacts');
	allAnswered('and 40 POST of 30 a minute', r, 190, 2);
}
{
	const r = real(AIEmpire, 'ae_1');
	await ration('acquire', 'whatsapp.out', 'clinic:1', '--cost', '1.5k');
	await ration('clock', '+70s');
	const { status, body } = await r.client.request('POST', '/v1/messages');
	is("the month's messages are spent: one try, and the answer", [status, body.error, r.record.length], [429, 'quota_exceeded', 1]);
	is('other requests go on', (await r.client.request('POST', '/v1/contacts')).status, 201);
}
finish();
