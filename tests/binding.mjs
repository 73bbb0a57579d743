/*
 * binding.mjs RATION.NODE DIR - the binding for Node (examples/clients/ration.c) by itself: wrong
 * arguments are errors with the number of ration.h, whatever they are, and objects outlive what
 * they were made of.  DIR: of a rationd.  Run with --expose-gc.
 */
import { createRequire } from 'node:module';

const [file, dir] = process.argv.slice(2);
const ration = createRequire(import.meta.url)(file);
const EINVAL = -1, ENOSEG = -2, ECOST = -10;
let bad = 0;

function is(what, found, expected) {
	if (found === expected)
		return;
	bad++;
	console.log(`WRONG binding: ${what}: found ${found}, expected ${expected}`);
}
function refused(what, code, f) {
	let found = 'no error';
	try {
		f();
	} catch (error) {
		found = error instanceof Error && error.message ? error.code : error;
	}
	is(what, found, code);
}

const odd = [undefined, null, true, 1, -1, 1.5, NaN, 2 ** 60, 10n, '', 'x'.repeat(5000), 'a\0b', Symbol('s'), {}, [],
	[[]], () => {}, new Proxy({}, {}), new Uint8Array(400)];
const r = ration.open(null, dir), u = ration.upstream(r, 'binding'), a = ration.attempt();

refused('open: nothing there', ENOSEG, () => ration.open(null, '/nonexistent'));
for (const value of odd) {
	const name = typeof value;
	if (value !== null && value !== undefined && typeof value !== 'string') {
		refused(`open: a ${name} for an instance`, EINVAL, () => ration.open(value, dir));
		refused(`open: a ${name} for a directory`, EINVAL, () => ration.open(null, value));
	}
	refused(`upstream: of a ${name}`, EINVAL, () => ration.upstream(value, 'x'));
	refused(`upstream: a ${name} for a name`, EINVAL, () => ration.upstream(r, value));
	refused(`begin: a ${name} for an upstream`, EINVAL, () => ration.begin(value, a, 1));
	refused(`begin: a ${name} for an attempt`, EINVAL, () => ration.begin(u, value, 1));
	refused(`end: a ${name} for an attempt`, EINVAL, () => ration.end(u, value, 200, []));
	if (!Array.isArray(value))
		refused(`end: a ${name} for headers`, EINVAL, () => ration.end(u, a, 200, value));
}
refused('one thing for another', EINVAL, () => ration.begin(r, a, 1));
refused('one thing for another', EINVAL, () => ration.begin(a, u, 1));
refused('no arguments', EINVAL, () => ration.begin());
refused('cost: negative', EINVAL, () => ration.begin(u, a, -1));
refused('cost: above the most', ECOST, () => ration.begin(u, a, 2e12));
refused('end without begin', EINVAL, () => ration.end(u, ration.attempt(), 200, []));

/* Headers of any form say nothing, or what they say. */
is('begin', ration.begin(u, a, 1).admitted, true);
const many = Array.from({ length: 500 }, (_, i) => [`X-${i}`, 'v']);
const headers = [...odd.map((value) => [value, value]), ...odd, ['X'.repeat(500), '1'], ['x-long', 'y'.repeat(5000)],
	['X-RateLimit-Limit', '100'], ['x-ratelimit-remaining', '40'], ['X-RateLimit-Reset', '30'], ...many];
const answer = ration.end(u, a, 200, headers);
is('limit', answer.limit, 100);
is('remaining', answer.remaining, 40);
is('tries', answer.tries, 1);

/* An upstream keeps its instance, also when nobody else does. */
let kept = ration.upstream(ration.open(null, dir), 'binding');
for (let i = 0; i < 2000; i++) {
	ration.upstream(ration.open(null, dir), 'binding');
	ration.attempt();
}
for (let i = 0; i < 5; i++) {
	globalThis.gc?.();
	await new Promise((resolve) => setImmediate(resolve));
}
is('after a collection', ration.begin(kept, ration.attempt(), 1).admitted, true);
process.exitCode = bad ? 1 : 0;
