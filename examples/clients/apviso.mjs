/*
 * apviso.mjs - a client that follows APVISO's rules:
 *   "backoff with jitter honouring Retry-After, 3 tries; requests spread evenly over the minute
 *   instead of bursting"
 *
 *	node examples/clients/apviso.mjs --url http://127.0.0.1:8080 --key av_lobo --requests 60
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { Client, Line, main } from './common.mjs';

const MINUTE = 60_000;

export class Apviso extends Client {
	retries = 3;
	#limit = 120; // a minute, until the service says another: some customers have their own
	#line = new Line();

	turn(request, n) {
		return this.#line.wait(this.clock, n > 0, (passed) =>
			Math.max(passed + MINUTE / this.#limit, this.held(request, n)));
	}

	seen(answer) {
		this.#limit = answer.limit || this.#limit;
	}

	pause(answer, n) {
		return (answer.retryAfter ?? 1000 * 2 ** n) + this.random() * 1000;
	}
}

await main(import.meta.url, Apviso, 'GET /v1/targets');
