/*
 * fluxiq.mjs - a client that follows FluxiQ's rules:
 *   "honours Retry-After, else 1 s x 2^n (5 tries), also for 5xx and network errors, plus jitter
 *   0..1000 ms; warns below 10 % remaining, slows down below 20 %; circuit breaker: 5 failures open
 *   it, 30 s later half-open, one success closes it, one failure opens it again"
 *
 *	node examples/clients/fluxiq.mjs --url http://127.0.0.1:8080 --key fq_live_padaria --requests 250
 *
 * Slowing down is: what is left is spread evenly until Reset.  A client that has its key for itself
 * is then never denied.  A failure is no answer, or a 5xx: a service that says 429 is well.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { Client, Line, main } from './common.mjs';

const MINUTE = 60_000, HOUR = 60 * MINUTE;

export class Breaker {
	state = 'closed';
	#failures = 0;
	#until = 0; // ms: half-open from then on
	#probe = null; // of the one request that is let through: resolves when it has ended
	#ended = null;

	/** Resolves when a request may be sent: to true if it is the probe. */
	async pass(clock) {
		while (this.state !== 'closed') {
			if (clock.now() < this.#until) {
				await clock.sleep(this.#until - clock.now());
			} else if (this.#probe) {
				await this.#probe;
			} else {
				this.state = 'half-open';
				this.#probe = new Promise((resolve) => { this.#ended = resolve; });
				return true;
			}
		}
		return false;
	}

	/** What came of it.  Of those sent before it opened, nothing is learnt any more. */
	result(well, probe, now) {
		if (!probe && this.state !== 'closed')
			return;
		this.#failures = well ? 0 : this.#failures + 1;
		if (well)
			this.state = 'closed';
		else if (probe || this.#failures === 5) {
			this.state = 'open';
			this.#until = now + 30_000;
		}
		if (probe) {
			this.#probe = null;
			this.#ended();
		}
	}
}

export class FluxiQ extends Client {
	retries = 5;
	breaker = this.upstream ? null : new Breaker(); // what is shared has one, of all processes
	#levels = new Map(); // endpoint -> {line, limit, remaining, reset, window, warned}

	/* Each endpoint has a limit of its own, all slips share theirs. */
	limitOf({ method, path }) {
		const name = path.split('?')[0].replace(/^(\/boletos|\/settlements)\/(?!trigger$)[^/]+/, '$1/:id');
		return `${method} ${name}`;
	}

	again({ status }) {
		return status === 429 || status === 0 || status >= 500;
	}

	pause(answer, n) {
		return (answer.retryAfter ?? 1000 * 2 ** n) + this.random() * 1000;
	}

	async turn(request, n) {
		const level = this.#level(request);
		if (n === 0) // else its own pause was it
			await level.line.wait(this.clock, false, (passed) =>
				Math.max(passed + this.#gap(level), this.held(request, n)));
		request.probe = this.breaker ? await this.breaker.pass(this.clock) : false;
	}

	/* ms between two requests: none while there is plenty.  Our clock may be wrong by any amount, so
	 * no window is taken to be longer than it is. */
	#gap({ limit, remaining, reset, window }) {
		if (limit === null || remaining >= limit * 0.2)
			return 0;
		const left = Math.min(window, Math.max(0, reset * 1000 - this.clock.now()));
		return left / (remaining + 1);
	}

	seen({ request, status, limit, remaining, reset, came }) {
		const level = this.#level(request);

		this.breaker?.result(status !== 0 && status < 500, request.probe, came);
		if (limit === null || remaining === null || reset === null)
			return;
		if (remaining < limit * 0.1 && level.warned !== reset) {
			level.warned = reset; // once a window
			this.warnings.push(`${this.limitOf(request)}: less than 10 % of ${limit} remain`);
		}
		Object.assign(level, { limit, remaining, reset });
	}

	#level(request) {
		const name = this.limitOf(request);
		if (!this.#levels.has(name))
			this.#levels.set(name, { line: new Line(), limit: null, remaining: null, reset: null,
				window: name.endsWith('/trigger') ? HOUR : MINUTE });
		return this.#levels.get(name);
	}
}

await main(import.meta.url, FluxiQ, 'POST /boletos');
