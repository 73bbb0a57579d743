/*
 * client.mjs - what the tests of the clients (client_NAME.mjs) share: checks, a clock that nobody
 * waits for, chance from a seed, a service that answers by a script, and the real one.
 *
 * What a client says of itself is not believed: fetch is recorded here, with the times of this clock,
 * and "too early" is found from that record.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const { TEST_SYSTEM: system, TEST_URL: url, TEST_MOVED: moved = '0' } = process.env;
const exec = promisify(execFile);
export { system, url };

/* ---- Checks ---- */

let checks = 0, bad = 0;
export function is(what, found, expected) {
	const [f, e] = [JSON.stringify(found), JSON.stringify(expected)];
	checks++;
	if (f === e)
		return console.log(`ok ${system}: ${what}`);
	bad++;
	console.log(`WRONG ${system}: ${what}: found ${f}, expected ${e}`);
}
export function between(what, found, low, high) {
	const fits = found >= low && found <= high;
	is(`${what} (${low} to ${high})`, fits || found, true);
}
export function finish() {
	console.log(`${system}: ${checks} checks of the client, ${bad} wrong`);
	process.exitCode = bad || !checks ? 1 : 0;
}

/* ---- Chance: mulberry32 ---- */

const seed = Number(process.env.TEST_SEED ?? Date.now() % 1e9);
console.log(`seed ${seed} (TEST_SEED)`);
let state = seed;
export function random() {
	let t = (state = (state + 0x6d2b79f5) | 0);
	t = Math.imul(t ^ (t >>> 15), t | 1);
	t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
	return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

/* ---- Time ---- */

const settled = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

/*
 * A clock whose sleepers wait for nobody: when no answer is under way and nobody is at work, it
 * moves to the time at which the first of them wakes.  move(ms): what that takes.
 */
export class Clock {
	#sleepers = [];
	#busy = 0;
	#runs = false;

	constructor(now, move) {
		Object.assign(this, { now, move });
	}
	sleep(ms) {
		return new Promise((resolve) => {
			this.#sleepers.push({ at: this.now() + ms, resolve });
			this.#sleepers.sort((a, b) => a.at - b.at);
			this.#run();
		});
	}
	/** Time does not move while f is under way. */
	async during(f) {
		this.#busy++;
		try {
			return await f();
		} finally {
			this.#busy--;
			this.#run();
		}
	}
	async #run() {
		if (this.#runs)
			return;
		this.#runs = true;
		for (await settled(); !this.#busy && this.#sleepers.length > 0; await settled()) {
			const { at } = this.#sleepers[0];
			if (at > this.now())
				await this.move(at - this.now());
			while (this.#sleepers[0]?.at <= this.now())
				this.#sleepers.shift().resolve();
		}
		this.#runs = false;
	}
}

/** Of nobody else: begins at a full minute. */
export function ownClock() {
	let now = 1_800_000_000_000 - 1_800_000_000_000 % 60_000;
	return new Clock(() => now, async (ms) => { now += ms; });
}

/** That of the sandbox: a sleeper moves it, by `ration clock`, and the service's time with it. */
let offset = Number(moved) * 1000;
export function sandboxClock() {
	return new Clock(() => Date.now() + offset, async (ms) => {
		const whole = Math.ceil(ms);
		await exec('ration', ['clock', `+${whole}ms`]);
		offset += whole;
	});
}
export const ration = (...args) => exec('ration', args);

/* ---- Services ---- */

/** fetch, recorded: when it was called and what came. */
export function recorded(clock, fetch) {
	const record = [];
	const f = (to, o) => clock.during(async () => {
		const entry = { sent: clock.now(), came: 0, status: 0, retryAfter: 0 };
		record.push(entry);
		try {
			const response = await fetch(to, o);
			entry.status = response.status;
			entry.retryAfter = Number(response.headers.get('retry-after') ?? 0);
			return response;
		} finally {
			entry.came = clock.now();
		}
	});
	return Object.assign(f, { record });
}

/**
 * A service that answers by a list, whose last entry stands for all that follow: a status, or
 * [status, headers, body], or a function that says so; 0: nothing comes.  On a clock of its own.
 */
export function scripted(System, ...list) {
	const clock = ownClock();
	let i = 0;
	const fetch = recorded(clock, async () => {
		const entry = list[Math.min(i++, list.length - 1)];
		const [status, headers = {}, body = '{}'] =
			[typeof entry === 'function' ? await entry(clock) : entry].flat();
		if (status === 0)
			throw Object.assign(new TypeError('fetch failed'), { cause: { code: 'ECONNREFUSED' } });
		return new Response(body, { status, headers });
	});
	const client = new System({ url: 'http://scripted', key: 'k', clock, random, fetch });
	/* ms between the tries */
	const gaps = () => fetch.record.slice(1).map((e, n) => e.sent - fetch.record[n].came);
	return { client, clock, record: fetch.record, gaps };
}

/** The example service.  more(i): headers of call i. */
export function real(System, key, more = () => ({})) {
	const clock = sandboxClock();
	let i = 0;
	const fetch = recorded(clock, (to, o) =>
		globalThis.fetch(to, { ...o, headers: { ...o.headers, ...more(i++) } }));
	const client = new System({ url, key, clock, random, fetch });
	return { client, clock, record: fetch.record };
}

/** From the record alone: the ms by which the first try came too early; 0: none did. */
export function early({ client, record }) {
	const before = new Map();
	let worst = 0;
	client.log.forEach(({ request }, i) => { // one entry for each call of fetch, in that order
		const last = before.get(request.id);
		if (last)
			worst = Math.max(worst, last.came + last.retryAfter * 1000 - record[i].sent);
		before.set(request.id, record[i]);
	});
	return worst;
}

/** What must hold of every run: all answered, nothing too early, no request denied more than `most`. */
export function allAnswered(what, run, requests, most) {
	const status = new Map(), denied = new Map();
	run.client.log.forEach(({ request: { id } }, i) => {
		status.set(id, run.record[i].status);
		denied.set(id, (denied.get(id) ?? 0) + (run.record[i].status === 429));
	});
	const answered = [...status.values()].filter((s) => s >= 200 && s < 300).length;
	is(`${what}: all answered`, [status.size, answered], [requests, requests]);
	is(`${what}: none sent before its Retry-After`, early(run), 0);
	between(`${what}: denials of one request`, Math.max(...denied.values()), 0, most);
	return run.record.filter((e) => e.status === 429).length;
}

/** The least ms between two calls of fetch but one: a busy machine may hold up one after its turn. */
export function closest(record) {
	return record.slice(1).map((e, i) => e.sent - record[i].sent).sort((a, b) => a - b)[1];
}

/** Of many pauses drawn: all between, and spread over all of it. */
export function spread(what, values, low, high) {
	const mean = values.reduce((a, b) => a + b, 0) / values.length, tenth = (high - low) / 10;
	between(`${what}: the least`, Math.min(...values), low, low + tenth);
	between(`${what}: the most`, Math.max(...values), high - tenth, high);
	between(`${what}: the mean`, mean, (low + high) / 2 - tenth, (low + high) / 2 + tenth);
}
