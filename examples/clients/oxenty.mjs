/*
 * oxenty.mjs - a client that follows Oxenty's rules:
 *   "exponential backoff 1 s, 2 s, 4 s (3 tries), and a request queue that paces calls at the allowed
 *   rate (60/min = one each second) instead of failing them"
 *
 *	node examples/clients/oxenty.mjs --url http://127.0.0.1:8080 --key ox_lima --requests 60
 *
 * So nothing is denied as a rule.  A 429 comes when somebody else uses the key as well, or when a
 * session is open: then nobody says when it will be closed, and the backoff alone decides.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { Client, Line, main } from './common.mjs';

const MINUTE = 60_000;
/* What the plan allows in a minute, and endpoints of their own beside it. */
const PLAN = 40;
const ENDPOINTS = { 'POST /sessions': 5, 'GET /contacts/check': 10, 'POST /groups': 3 };

export class Oxenty extends Client {
	retries = 3;
	plan = PLAN; // a minute; set it after an upgrade
	#queue = new Line();
	#endpoints = new Map(Object.keys(ENDPOINTS).map((name) => [name, new Line()]));

	limitOf({ method, path }) {
		const name = `${method} ${path.split('?')[0]}`;
		return name in ENDPOINTS ? name : '';
	}

	/* A try more is a request like any other, and takes its turn; but it has waited already. */
	async turn(request, n) {
		const name = this.limitOf(request);
		const pace = (perMinute) => (passed) =>
			Math.max(passed + MINUTE / perMinute, this.held(request, n));

		await this.#endpoints.get(name)?.wait(this.clock, n > 0, pace(ENDPOINTS[name]));
		await this.#queue.wait(this.clock, n > 0, pace(this.plan));
	}

	pause(answer, n) {
		return 1000 * 2 ** n;
	}
}

await main(import.meta.url, Oxenty, 'GET /chats');
