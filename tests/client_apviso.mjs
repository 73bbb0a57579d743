/* client_apviso.mjs - backoff with jitter honouring Retry-After, 3 tries; spread evenly over the minute. */
import { run } from '../examples/clients/common.mjs';
import { Apviso } from '../examples/clients/apviso.mjs';
import { allAnswered, between, closest, finish, is, ration, real, scripted, spread } from './client.mjs';

const sent = (record) => record.slice(1).map((e, i) => e.sent - record[i].sent);

/* ---- The pause, the tries ---- */
{
	const gaps = [[], [], []], honoured = [];
	for (let i = 0; i < 400; i++) {
		const s = scripted(Apviso, 429);
		await s.client.request('GET', '/');
		s.gaps().forEach((ms, n) => gaps[n].push(ms));
		const t = scripted(Apviso, [429, { 'retry-after': '45' }], 200);
		await t.client.request('GET', '/');
		honoured.push(t.gaps()[0]);
	}
	for (const n of [0, 1, 2])
		spread(`pause ${n + 1}`, gaps[n], 1000 * 2 ** n, 1000 * 2 ** n + 1000);
	spread('Retry-After 45', honoured, 45_000, 46_000);
	const s = scripted(Apviso, 429);
	is('denied for ever: four tries', [(await s.client.request('GET', '/')).status, s.record.length], [429, 4]);
}
for (const status of [0, 500]) {
	const s = scripted(Apviso, status, 200);
	is(`${status || 'no answer'}: not tried again`, [(await s.client.request('GET', '/')).status, s.record.length], [status, 1]);
}

/* ---- Evenly ---- */
{
	const s = scripted(Apviso, 200);
	await run(s.client, 121, 10, 'GET', '/');
	is('121, 10 at once: one each 500 ms', [...new Set(sent(s.record))], [500]);
	const t = scripted(Apviso, [200, { 'x-ratelimit-limit': '600' }]);
	await run(t.client, 20, 2, 'GET', '/');
	is('a customer with 600 a minute: one each 100 ms', [...new Set(sent(t.record).slice(1))], [100]);
}

/* ---- The service ---- */
{
	const r = real(Apviso, 'av_lobo');
	await run(r.client, 130, 1, 'GET', '/v1/targets');
	is('130 evenly: none is denied', allAnswered('130 evenly', r, 130, 0), 0);
	between('130 evenly: never closer than 500 ms', closest(r.record), 498, 920);
	between('130 evenly: it takes its time', r.record.at(-1).sent - r.record[0].sent, 64_500, 120_000);
}
{
	await ration('acquire', 'api', 'team-zorro', '--cost', '110'); // somebody else with that key
	const r = real(Apviso, 'av_zorro');
	await run(r.client, 40, 4, 'GET', '/v1/targets');
	between('the window is nearly spent by another: denied', allAnswered('the window is nearly spent by another', r, 40, 2), 0, 6);
}
finish();
