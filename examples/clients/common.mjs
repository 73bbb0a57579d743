/*
 * common.mjs - what the clients of the five systems share: a request over all of its tries, a log of
 * when each was sent and what came of it, and the command line.
 *
 * A system's rules are a subclass (mivicall.mjs is the shortest): which answers are tried again, how
 * often, after which pause, and when a request has its turn.  Two things hold for all of them:
 *   - No try is sent before the Retry-After of the one before, whatever the rule's own pause or cap
 *     comes to: who retries earlier is denied again.
 *   - While one request waits for that time, no other begins under the same limit: it would take
 *     the place of the one that waits, which then runs out of tries.
 *
 * Time, chance and fetch are arguments, so that tests own them.  Plain Node, from 18 on.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { setTimeout as timer } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { pathToFileURL } from 'node:url';

const TIMER_MAX = 2 ** 31 - 1; // ms; a longer setTimeout fires at once, and a month is longer
const TIMEOUT = 10_000; // ms that an answer may take
const LOOK = 10; // ms until a request looks again whether the one that goes first has gone

/** Real time.  now(): Unix ms, never set back.  sleep(ms): not a moment less, as a timer alone may. */
export const realClock = {
	now: () => performance.timeOrigin + performance.now(),
	async sleep(ms) {
		const until = performance.now() + ms;
		for (let left = ms; left > 0; left = until - performance.now())
			await timer(Math.min(Math.ceil(left), TIMER_MAX));
	},
};

/**
 * Retry-After, seconds or an HTTP date, as ms from now on (which is by the clock of who wrote the date);
 * null: there is none that makes sense.
 */
export function retryAfter(value, now) {
	if (value === null || value.trim() === '')
		return null;
	if (/^\s*\d{1,9}\s*$/.test(value))
		return Number(value) * 1000;
	const date = /[a-z]/i.test(value) ? Date.parse(value) : NaN;
	return Number.isNaN(date) ? null : Math.max(0, date - now);
}

function parsed(text) {
	try {
		return JSON.parse(text);
	} catch {
		return text; // an answer all the same
	}
}
const number = (text) => (text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null);

export class Client {
	retries = 0; // after the first try
	log = []; // of every try: request, n, sent, came, status, retryAfter, wait ...
	warnings = [];
	#held = new Map(); // limit -> ms before which no request begins under it
	#denied = new Map(); // limit -> how many were denied and have not had their turn again
	#requests = 0;

	/**
	 * url, key: of the service.  upstream: what it shares with other processes (shared.mjs).
	 * report(answer): each try, when its pause is known.
	 */
	constructor({ url, key, headers = {}, clock = realClock, random = Math.random,
		fetch = globalThis.fetch, upstream = null, report = () => {} }) {
		Object.assign(this, { url, key, headers, clock, random, fetch, upstream, report });
	}

	/* ---- The rules, which a system has its own of ---- */

	/** Is it worth another try? */
	again(answer) {
		return answer.status === 429;
	}
	/** ms before try n + 2 (n: from 0 on). */
	pause(answer, n) {
		return answer.retryAfter ?? 1000 * 2 ** n;
	}
	/** Resolves when try n + 1 may be sent. */
	async turn(request, n) {
		for (let left; (left = this.held(request, n) - this.clock.now()) > 0;)
			await this.clock.sleep(left);
	}
	/** What came of a try, for who keeps book. */
	seen(answer) {}
	/** The limit under which a request counts: what is held when it was denied. */
	limitOf(request) {
		return '';
	}

	/* ---- A request ---- */

	/** Resolves to the last answer: {status (0: none came), body, headers, request, n ...}. */
	async request(method, path, body) {
		const request = { id: this.#requests++, method, path, body };
		const attempt = this.upstream?.attempt();

		for (let n = 0, denied = false; ; n++) {
			await this.turn(request, n);
			if (denied)
				this.#waits(request, -1);
			await attempt?.begin(this.clock);
			const answer = await this.#send(request, n);
			attempt?.end(answer);
			this.seen(answer);
			if (n < this.retries && this.again(answer))
				answer.wait = Math.max(answer.retryAfter ?? 0, this.pause(answer, n));
			this.report(answer);
			if (answer.wait === null)
				return answer;
			denied = answer.status === 429;
			if (denied) {
				this.hold(request, this.clock.now() + answer.wait);
				this.#waits(request, 1);
			}
			await this.clock.sleep(answer.wait);
		}
	}

	hold(request, until) {
		const limit = this.limitOf(request);
		this.#held.set(limit, Math.max(until, this.#held.get(limit) ?? 0));
	}
	#waits(request, more) {
		const limit = this.limitOf(request);
		this.#denied.set(limit, (this.#denied.get(limit) ?? 0) + more);
	}
	/**
	 * ms before which try n + 1 may not be sent for the sake of others: the held one comes first, also
	 * if both wake at the same time.
	 */
	held(request, n) {
		const limit = this.limitOf(request), until = this.#held.get(limit) ?? 0;
		if (n > 0)
			return 0;
		return this.#denied.get(limit) ? Math.max(until, this.clock.now() + LOOK) : until;
	}

	async #send(request, n) {
		const { method, path, body } = request;
		const answer = { request, n, sent: this.clock.now(), came: 0, status: 0, wait: null,
			retryAfter: null, limit: null, remaining: null, reset: null, headers: null, body: null };

		this.log.push(answer);
		try {
			const { fetch } = this; // not as a method
			const response = await fetch(this.url + path, { method, body,
				headers: { 'X-Api-Key': this.key, ...this.headers },
				signal: AbortSignal.timeout(TIMEOUT) });
			const text = await response.text();
			answer.status = response.status;
			answer.headers = response.headers;
			answer.body = parsed(text);
		} catch (error) { // nothing came, or not all of it
			answer.status = 0;
			answer.error = error.cause?.code ?? error.name;
		}
		answer.came = this.clock.now();
		if (answer.headers) {
			const header = (name) => answer.headers.get(name);
			answer.retryAfter = retryAfter(header('retry-after'), Date.parse(header('date')) || answer.came);
			answer.limit = number(header('x-ratelimit-limit'));
			answer.remaining = number(header('x-ratelimit-remaining'));
			answer.reset = number(header('x-ratelimit-reset'));
		}
		return answer;
	}
}

/** Lets one after the other through. */
export class Line {
	#last = Promise.resolve();
	#passed = -Infinity; // ms: when the last one did

	/** time(passed): ms, when it may pass.  ahead: it has waited before, and goes first. */
	wait(clock, ahead, time) {
		const pass = async () => {
			/* Asked again after each sleep, for somebody may have passed ahead; and nobody can between
			 * the last look and the note. */
			for (let left; (left = time(this.#passed) - clock.now()) > 0;)
				await clock.sleep(left);
			this.#passed = clock.now();
		};
		if (ahead)
			return pass();
		this.#last = this.#last.then(pass);
		return this.#last;
	}
}

/* ---- What a client did ---- */

export const good = (answer) => answer.status >= 200 && answer.status < 300;

/** The figures of a log.  too_early: the first try that was sent before it might have been. */
export function summary(log, began, ended) {
	const last = new Map(), denials = new Map();
	const s = { requests: 0, answered: 0, sent: log.length, retries: 0, denied: 0, failed: 0,
		most_denied: 0, waited_s: 0, took_s: Math.round(ended - began) / 1000, too_early: null };

	for (const answer of log) {
		const { id } = answer.request, before = last.get(id);
		if (before) {
			const least = before.came + Math.max(before.retryAfter ?? 0, before.wait);
			s.retries++;
			if (answer.sent < least && !s.too_early)
				s.too_early = { request: id, try: answer.n + 1, early_ms: least - answer.sent };
		}
		if (answer.status === 429) {
			s.denied++;
			denials.set(id, (denials.get(id) ?? 0) + 1);
		} else if (!good(answer)) {
			s.failed++;
		}
		s.waited_s += (answer.wait ?? 0) / 1000;
		last.set(id, answer);
	}
	s.waited_s = Math.round(s.waited_s * 1000) / 1000;
	s.requests = last.size;
	s.answered = [...last.values()].filter(good).length;
	s.most_denied = Math.max(0, ...denials.values());
	return s;
}

function print(s) {
	console.log(`${s.requests} requests, ${s.answered} answered, in ${s.took_s.toFixed(1)} s`);
	console.log(`${s.sent} sent, ${s.retries} of them again; ` +
		`${s.denied} denied (one request up to ${s.most_denied} times), ${s.failed} failed`);
	console.log(`waited ${s.waited_s.toFixed(1)} s; ` + (s.too_early
		? `request ${s.too_early.request}: ${s.too_early.early_ms} ms too early`
		: 'none was sent too early'));
	for (const [text, n] of Object.entries(s.warnings))
		console.log(`${n} x ${text}`);
}

/* ---- The command line ---- */

const options = {
	url: { type: 'string', default: 'http://127.0.0.1:8080' },
	key: { type: 'string' },
	requests: { type: 'string', default: '100' },
	'at-once': { type: 'string', default: '1' },
	request: { type: 'string' },
	header: { type: 'string', multiple: true, default: [] },
	ration: { type: 'string' },
	instance: { type: 'string' },
	dir: { type: 'string' },
	json: { type: 'boolean', default: false },
	quiet: { type: 'boolean', default: false },
	help: { type: 'boolean', default: false },
};

function usage(name, what) {
	return `usage: node ${name} --key KEY [options]
  --url URL            of the service (${options.url.default})
  --key KEY            API key
  --requests N         how many (${options.requests.default})
  --at-once N          how many at the same time (${options['at-once'].default})
  --request 'M /path'  which (${what})
  --header 'NAME: V'   one more header; may be repeated
  --ration UPSTREAM    share the limit with other processes: an upstream of rationd's policy
  --instance NAME      that rationd's instance ($RATION_INSTANCE, or default)
  --dir DIR            and its directory ($RATION_DIR)
  --json               the summary as JSON
  --quiet              nothing about each pause`;
}

/** n requests, `atOnce` of them at a time, until all have their answers. */
export async function run(client, n, atOnce, method, path, body) {
	let left = n;
	const lane = async () => {
		while (left-- > 0)
			await client.request(method, path, body);
	};
	await Promise.all(Array.from({ length: atOnce }, lane));
}

/** Runs System if the file `url` is the program.  what: the request that it sends, "GET /path". */
export async function main(url, System, what) {
	if (!process.argv[1] || pathToFileURL(process.argv[1]).href !== url)
		return;
	const name = process.argv[1].split('/').pop();
	const fail = (text, status = 2) => {
		console.error(`${name}: ${text}`);
		process.exit(status);
	};
	let o;
	try {
		o = parseArgs({ options }).values;
	} catch (error) {
		fail(error.message);
	}
	if (o.help)
		return console.log(usage(name, what));
	const count = (option) => /^[1-9]\d{0,6}$/.test(o[option]) ? Number(o[option])
		: fail(`--${option}: found '${o[option]}', expected a number from 1 on`);
	const [n, atOnce] = [count('requests'), count('at-once')];
	if (o.key === undefined)
		fail('--key is missing');
	const [, method, path] = /^([A-Z]+) (\/.*)$/.exec(o.request ?? what) ??
		fail(`--request: found '${o.request}', expected such as '${what}'`);
	const headers = Object.fromEntries(o.header.map((h) => h.split(/:\s*(.*)/s).slice(0, 2)));

	let upstream = null;
	if (o.ration !== undefined) {
		const { share } = await import('./shared.mjs');
		try {
			upstream = share(o.ration, o);
		} catch (error) {
			fail(error.message, 3);
		}
	}
	const began = realClock.now();
	const seconds = (ms) => (ms / 1000).toFixed(3);
	const report = (a) => a.wait === null || console.error(`${seconds(a.came - began)} s: request ` +
		`${a.request.id}: ${a.status || a.error}, again in ${seconds(a.wait)} s`);
	const client = new System({ url: o.url.replace(/\/$/, ''), key: o.key, headers, upstream,
		report: o.quiet || o.json ? undefined : report });
	await run(client, n, atOnce, method, path).catch((error) => fail(error.message, 3));

	const s = summary(client.log, began, realClock.now());
	s.warnings = {};
	for (const text of client.warnings)
		s.warnings[text] = (s.warnings[text] ?? 0) + 1;
	if (o.json)
		console.log(JSON.stringify(s));
	else
		print(s);
	process.exitCode = s.answered === n && !s.too_early ? 0 : 1;
}
