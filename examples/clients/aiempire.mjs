/*
 * aiempire.mjs - a client that follows AI Empire's rules:
 *   "client backoff starts at 2 s, max 60 s"
 *
 *	node examples/clients/aiempire.mjs --url http://127.0.0.1:8080 --key ae_1 --requests 100
 *
 * The rules set no bound on tries; this one gives up after eight, some four minutes.  A resource
 * whose month is spent is paused: that is an answer to show, not one to try again for weeks.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { Client, main } from './common.mjs';

export class AIEmpire extends Client {
	retries = 8;

	/* GET and POST are limits of their own. */
	limitOf({ method }) {
		return method;
	}

	again(answer) {
		return answer.status === 429 && answer.body?.error !== 'quota_exceeded';
	}

	pause(answer, n) {
		return Math.min(60_000, 2000 * 2 ** n);
	}
}

await main(import.meta.url, AIEmpire, 'GET /v1/contacts');
