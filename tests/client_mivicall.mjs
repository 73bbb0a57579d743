/* client_mivicall.mjs - retry on 429 only, up to 6 times, Retry-After (or 1 s) + 0..1000 ms, at most 60 s. */
import { run } from '../examples/clients/common.mjs';
import { Mivicall } from '../examples/clients/mivicall.mjs';
import { allAnswered, between, finish, is, ration, real, scripted, spread } from './client.mjs';

const after = (seconds) => [429, { 'retry-after': String(seconds) }];
async function pauses(n, answer) {
	const values = [];
	for (let i = 0; i < n; i++) {
		const s = scripted(Mivicall, answer, 200);
		await s.client.request('GET', '/v1/numbers');
		values.push(s.gaps()[0]);
	}
	return values;
}

/* ---- The pause ---- */
spread('Retry-After 12', await pauses(400, after(12)), 12_000, 13_000);
spread('no Retry-After', await pauses(400, 429), 1000, 2000);
spread('a Retry-After that says nothing', await pauses(400, after('soon')), 1000, 2000);
is('Retry-After 60: at most 60 s', new Set(await pauses(20, after(60))).size, 1);
is('Retry-After 60: which is 60 s', (await pauses(1, after(60)))[0], 60_000);
between('Retry-After 59: never above 60 s', Math.max(...await pauses(100, after(59))), 59_000, 60_000);
is('Retry-After 63: not earlier', (await pauses(1, after(63)))[0], 63_000);
{
	const date = new Date(1_800_000_000_000 + 30_000).toUTCString(); // the scripted clock stands at its start
	spread('Retry-After as a date', await pauses(400, after(date)), 30_000, 31_000);
	const theirs = (seconds) => new Date(1_900_000_000_000 + seconds * 1000).toUTCString();
	spread('Retry-After as a date, by a clock that is wrong',
		await pauses(400, [429, { date: theirs(0), 'retry-after': theirs(20) }]), 20_000, 21_000);
}

/* ---- The tries ---- */
for (const body of ['{"half', '', 'null', '<html>']) {
	const s = scripted(Mivicall, [429, { 'retry-after': '3' }, body], [200, {}, body]);
	is(`a body like '${body}': an answer all the same`, (await s.client.request('GET', '/')).status, 200);
	is(`a body like '${body}': two tries`, s.record.length, 2);
}
{
	const s = scripted(Mivicall, 429, 429, 429, 429, 429, 429, 200);
	is('denied six times: answered', (await s.client.request('GET', '/')).status, 200);
	is('denied six times: seven tries', s.record.length, 7);
}
{
	const s = scripted(Mivicall, after(3));
	is('denied for ever: the denial is the answer', (await s.client.request('GET', '/')).status, 429);
	is('denied for ever: seven tries', s.record.length, 7);
	between('denied for ever: each pause', Math.min(...s.gaps()), 3000, 4000);
}
for (const status of [0, 500, 503, 404]) {
	const s = scripted(Mivicall, status, 200);
	is(`${status || 'no answer'}: not tried again`, [(await s.client.request('GET', '/')).status, s.record.length], [status, 1]);
}

/* ---- The service ---- */
{
	const hosts = real(Mivicall, 'mv_live_birch', (i) => ({ 'X-Forwarded-For': `198.51.100.${i % 8}` }));
	await run(hosts.client, 400, 1, 'GET', '/v1/numbers');
	between('400 from eight hosts: denied by the second and by the minute',
		allAnswered('400 from eight hosts', hosts, 400, 1), 1, 20);
}
{
	await ration('clock', '+70s');
	const one = real(Mivicall, 'mv_live_cedar');
	await run(one.client, 120, 4, 'GET', '/v1/numbers');
	between('120 from one address, 4 at once: denied', allAnswered('120 from one address, 4 at once', one, 120, 2), 1, 40);
	between('120 from one address: the longest pause is about a minute',
		Math.max(...one.client.log.map((a) => a.wait ?? 0)), 50_000, 66_000);
}
finish();
