/*
 * client_fluxiq.mjs - Retry-After, else 1 s x 2^n, plus 0..1000 ms, 5 tries, also of 5xx and network
 * errors; warns, slows down; a circuit breaker.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { run } from '../examples/clients/common.mjs';
import { FluxiQ } from '../examples/clients/fluxiq.mjs';
import { allAnswered, between, early, finish, is, ration, real, scripted, spread, url } from './client.mjs';

const level = (remaining) => (clock) => [201, { 'x-ratelimit-limit': '100', 'x-ratelimit-remaining': String(remaining),
	'x-ratelimit-reset': String(Math.floor(clock.now() / 60_000) * 60 + 60) }];

/* ---- The pause, the tries ---- */
for (const status of [429, 500, 0]) {
	const gaps = [[], [], [], [], []];
	for (let i = 0; i < 400; i++) {
		const s = scripted(FluxiQ, status);
		s.client.breaker.pass = async () => false; // by itself: below
		await s.client.request('GET', '/boletos');
		s.gaps().forEach((ms, n) => gaps[n].push(ms));
	}
	is(`${status || 'no answer'}: six tries`, gaps.map((g) => g.length), [400, 400, 400, 400, 400]);
	for (const n of [0, 1, 2, 3, 4])
		spread(`${status || 'no answer'}: pause ${n + 1}`, gaps[n], 1000 * 2 ** n, 1000 * 2 ** n + 1000);
}
for (const status of [429, 503]) {
	const s = scripted(FluxiQ, [status, { 'retry-after': '45' }], 201);
	is(`${status} with Retry-After 45: answered`, (await s.client.request('POST', '/boletos')).status, 201);
	between(`${status} with Retry-After 45: the pause`, s.gaps()[0], 45_000, 46_000);
}
for (const status of [400, 404]) {
	const s = scripted(FluxiQ, status, 200);
	is(`${status}: not tried again`, [(await s.client.request('GET', '/')).status, s.record.length], [status, 1]);
}

/* ---- The breaker ---- */
{
	let failing = true;
	const s = scripted(FluxiQ, async () => { // not at once: others might slip through meanwhile
		await new Promise((resolve) => setTimeout(resolve, 5));
		return failing ? 0 : 200;
	});
	const done = run(s.client, 12, 8, 'GET', '/boletos');
	const start = s.clock.now();
	const back = s.clock.sleep(100_000).then(() => { failing = false; });
	await Promise.all([done, back]);
	const times = s.record.filter((e) => e.status === 0).map((e) => e.sent - start);
	between('down for 100 s: failures until it opened, at most those on their way too', times.filter((ms) => ms === 0).length, 5, 8);
	is('down for 100 s: then one probe each 30 s', times.filter((ms) => ms > 0), [30_000, 60_000, 90_000]);
	const ok = s.record.filter((e) => e.status === 200);
	is('back: the probe by itself, then all', [ok[0].sent - start, ok.length], [120_000, 12]);
	is('back: closed by one success', s.client.breaker.state, 'closed');
}
{
	const s = scripted(FluxiQ, 500);
	await s.client.request('GET', '/boletos');
	between('five failures: the fifth comes by the backoff', s.gaps()[3], 8000, 9000);
	is('five failures: the sixth when the breaker is half-open', s.gaps()[4], 30_000);
}
{
	const s = scripted(FluxiQ, 500, 500, 500, 500, 200, 500, 500, 500, 500, 200);
	await s.client.request('GET', '/boletos');
	await s.client.request('GET', '/boletos');
	is('four failures and a success, twice: it never opens', Math.max(...s.gaps()) < 10_000, true);
}

/* ---- Low water ---- */
{
	const warned = async (remaining) => {
		const s = scripted(FluxiQ, level(remaining));
		await run(s.client, 1, 1, 'POST', '/boletos');
		return s.client.warnings.length;
	};
	is('warns below 10 %, not at 10', [await warned(10), await warned(9)], [0, 1]);
	const s = scripted(FluxiQ, level(20), level(19), level(18), level(9), level(0), level(99), level(98));
	await run(s.client, 7, 1, 'POST', '/boletos');
	const at = s.record.map((e) => e.sent - s.record[0].sent);
	is('at 20 % at full speed, below slower: what is left, evenly until Reset', at.slice(0, 4).map(Math.round), [0, 0, 3000, 6000]);
	is('nothing left: at Reset', at[5], 60_000);
	is('plenty again: at full speed', at[6], 60_000);
	const skewed = scripted(FluxiQ, (clock) => [201, { ...level(0)(clock)[1], 'x-ratelimit-reset': '1900000000' }]);
	await run(skewed.client, 2, 1, 'POST', '/boletos');
	is('a Reset in a year, by a clock that is wrong: a minute is waited', skewed.record[1].sent - skewed.record[0].sent, 60_000);
	is('one warning a window', s.client.warnings.length, 1);
}

/* ---- The service ---- */
{
	const r = real(FluxiQ, 'fq_live_padaria');
	await run(r.client, 250, 1, 'POST', '/boletos');
	between('250 alone: denied', allAnswered('250 alone', r, 250, 1), 0, 1);
	is('250 alone: warned in each window', r.client.warnings.length, 2);
	const jobs = real(FluxiQ, 'fq_live_padaria');
	await run(jobs.client, 12, 1, 'POST', '/settlements/trigger');
	allAnswered('12 of 10 an hour', jobs, 12, 1);
	const hour = (i) => Math.floor(jobs.record.at(i).sent / 3_600_000);
	is('12 of 10 an hour: the last ones in the next hour', hour(-1) - hour(0), 1);
}
{
	const r = real(FluxiQ, 'fq_live_padaria');
	await ration('acquire', 'PATCH /boletos/:nosso_numero', 'padaria-sol', '--cost', '100');
	await run(r.client, 150, 4, 'PATCH', '/boletos/109000001');
	between('spent by another, 4 at once: denied', allAnswered('spent by another, 4 at once', r, 150, 2), 1, 8);
}

/* ---- The service is away for a while ---- */
{
	const r = real(FluxiQ, 'fq_live_mercado');
	const down = process.env.TEST_SERVICE, port = new URL(url).port;
	await run(r.client, 20, 4, 'GET', '/health');
	process.kill(Number(down));
	const answers = () => fetch(`${url}/health`).then(() => true, () => false);
	while (await answers())
		await new Promise((resolve) => setTimeout(resolve, 20));
	const from = r.record.length, start = r.clock.now();
	const back = r.clock.sleep(45_000).then(() => r.clock.during(async () => {
		const service = spawn('api-server', ['--system', 'fluxiq', '--port', port], { stdio: 'ignore', detached: true });
		service.unref();
		writeFileSync(`${process.env.RATION_DIR}/service.pid`, `${service.pid}\n`);
		while (!await answers())
			await new Promise((resolve) => setTimeout(resolve, 20));
	}));
	await Promise.all([run(r.client, 40, 4, 'GET', '/health'), back]);
	allAnswered('away for 45 s', r, 60, 0);
	const away = r.record.slice(from).filter((e) => e.status === 0).map((e) => e.sent - start);
	between('away for 45 s: failures until it opened', away.filter((ms) => ms < 30_000).length, 5, 8);
	is('away for 45 s: one probe in vain', away.filter((ms) => ms >= 30_000).length, 1);
	is('back: closed', r.client.breaker.state, 'closed');
}
finish();
