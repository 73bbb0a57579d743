/*
 * processes.mjs - several processes of one client at once, and their figures together.
 *
 *	node examples/clients/processes.mjs 4 fluxiq.mjs --url http://127.0.0.1:8080 --key fq_live_padaria
 *
 * Each keeps its system's rules, and knows nothing of the others: together they send four times what
 * is allowed.  With --ration NAME, the name of an upstream, they share what is known of the limit.
 * Which processes they are is said on stderr, for who wants to kill one.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { spawn } from 'node:child_process';
import { dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const [n, client, ...options] = process.argv.slice(2);
if (!/^[1-9]\d?$/.test(n ?? '') || !client) {
	console.error('usage: node processes.mjs N CLIENT.mjs [options of the client]');
	process.exit(2);
}
const program = resolve(dirname(fileURLToPath(import.meta.url)), client);

/* The client's summary; null: it was killed, or failed before it had one. */
function run() {
	const child = spawn(process.execPath, [program, ...options, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] });
	let out = '';
	console.error(`process ${child.pid}`);
	child.stdout.on('data', (part) => { out += part; });
	return new Promise((done) => child.on('close', () => done(out ? JSON.parse(out) : null)));
}

const all = await Promise.all(Array.from({ length: Number(n) }, run));
const ended = all.filter((s) => s !== null);
const sum = (name) => ended.reduce((total, s) => total + s[name], 0);
console.log(JSON.stringify({
	processes: all.length, ended: ended.length,
	requests: sum('requests'), answered: sum('answered'), sent: sum('sent'), denied: sum('denied'),
	failed: sum('failed'), too_early: ended.filter((s) => s.too_early).length,
	took_s: Math.max(0, ...ended.map((s) => s.took_s)),
}));
process.exitCode = sum('answered') === sum('requests') && ended.length === all.length ? 0 : 1;
