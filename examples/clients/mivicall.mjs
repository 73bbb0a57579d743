/*
 * mivicall.mjs - a client that follows Mivicall's rules:
 *   "retry on 429 only, up to 6 times, wait = Retry-After (or 1 s) + random 0..1000 ms, capped at 60 s"
 *
 *	node examples/clients/mivicall.mjs --url http://127.0.0.1:8080 --key mv_live_birch --requests 400
 *
 * The cap is on what it would wait of its own: a Retry-After above it is honoured (common.mjs), for
 * an address that has spent its 100 a minute at once may be told to come back in 62 s.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { Client, main } from './common.mjs';

export class Mivicall extends Client {
	retries = 6;

	pause(answer) {
		return Math.min(60_000, (answer.retryAfter ?? 1000) + this.random() * 1000);
	}
}

await main(import.meta.url, Mivicall, 'GET /v1/numbers');
