/* client_oxenty.mjs - backoff 1 s, 2 s, 4 s (3 tries), and a queue that paces at the allowed rate. */
import { run } from '../examples/clients/common.mjs';
import { Oxenty } from '../examples/clients/oxenty.mjs';
import { allAnswered, between, closest, early, finish, is, ration, real, scripted } from './client.mjs';

const sent = (record) => record.slice(1).map((e, i) => e.sent - record[i].sent);

/* ---- The backoff ---- */
{
	const s = scripted(Oxenty, 429); // as for a session that is open: no Retry-After
	is('denied for ever: the denial is the answer', (await s.client.request('GET', '/chats')).status, 429);
	is('denied for ever: 1 s, 2 s, 4 s', s.client.log.map((a) => a.wait), [1000, 2000, 4000, null]);
	is('denied for ever: four tries, and each waits for its turn in the queue', s.gaps(), [1500, 2000, 4000]);
}
{
	const s = scripted(Oxenty, 429, [429, { 'retry-after': '45' }], 200);
	is('Retry-After 45: answered', (await s.client.request('GET', '/chats')).status, 200);
	is('Retry-After 45: not earlier', s.gaps()[1], 45_000);
}
for (const status of [0, 500]) {
	const s = scripted(Oxenty, status, 200);
	is(`${status || 'no answer'}: not tried again`, [(await s.client.request('GET', '/chats')).status, s.record.length], [status, 1]);
}

/* ---- The queue ---- */
{
	const s = scripted(Oxenty, 200);
	await run(s.client, 50, 10, 'GET', '/chats');
	is('50, 10 at once: one each 1.5 s', [...new Set(sent(s.record))], [1500]);
	s.client.plan = 60;
	const from = s.record.length;
	await run(s.client, 20, 20, 'GET', '/chats');
	is('60 a minute: one each second', [...new Set(sent(s.record.slice(from)))], [1000]);
}
{
	const s = scripted(Oxenty, 200);
	await run(s.client, 5, 5, 'POST', '/groups');
	is('POST /groups, 3 a minute: one each 20 s', sent(s.record), [20_000, 20_000, 20_000, 20_000]);
	await Promise.all([run(s.client, 4, 1, 'GET', '/contacts/check?number=1'), run(s.client, 12, 1, 'GET', '/chats')]);
	between('two endpoints at once: never closer than the plan allows', Math.min(...sent(s.record)), 1500, 1500);
}
{
	const s = scripted(Oxenty, [429, { 'retry-after': '30' }], 200);
	await run(s.client, 5, 5, 'GET', '/chats');
	is('denied: all behind it wait as well', s.record[1].sent - s.record[0].came, 30_000);
	is('denied: one denial for five', s.record.map((e) => e.status), [429, 200, 200, 200, 200, 200]);
}

/* ---- The service ---- */
{
	const r = real(Oxenty, 'ox_lima');
	await run(r.client, 70, 4, 'GET', '/chats');
	between('70 chats: denied, where the sliding minute gives back a fifteenth late',
		allAnswered('70 chats', r, 70, 1), 0, 6);
	between('70 chats: never closer than 1.5 s', closest(r.record), 1498, 2000);
}
{
	await ration('clock', '+70s');
	await ration('acquire', 'requests', 'shop-puno', '--cost', '40'); // somebody else with that key
	const r = real(Oxenty, 'ox_puno');
	await run(r.client, 10, 1, 'GET', '/chats');
	between('the minute is spent by another: denied', allAnswered('the minute is spent by another', r, 10, 1), 1, 3);
	between('the minute is spent by another: the longest pause', Math.max(...r.client.log.map((a) => a.wait ?? 0)), 55_000, 66_000);
}
{
	const r = real(Oxenty, 'ox_cusco');
	const first = (await r.client.request('POST', '/sessions')).body.id;
	is('a session is open: denied for ever', (await r.client.request('POST', '/sessions')).status, 429);
	is('a session is open: 1 s, 2 s, 4 s', r.client.log.slice(1).map((a) => a.wait), [1000, 2000, 4000, null]);
	const [second] = await Promise.all([r.client.request('POST', '/sessions'),
		r.client.request('DELETE', `/sessions/${first}`)]);
	is('it is closed meanwhile: the next opens', second.status, 201);
	is('sessions: none too early', early(r), 0);
}
finish();
