/*
 * shared.mjs - an upstream's limit, shared by the processes of this host.
 *
 * Each client by itself learns that a limit is spent by its own 429.  With rationd beside them and an
 * `upstreams` section in its policy they count together: before each request one asks Ration
 * whether it may be sent now, afterwards one hands over what the upstream answered.  Both are a
 * few loads and a compare-and-swap in shared memory, by way of ration.c, which is all of the binding.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/* Where the binding is: beside this file, where the build put it, or as told. */
function binding() {
	const build = '../../build/examples/clients/ration.node';
	const places = process.env.RATION_NODE ? [process.env.RATION_NODE] : ['./ration.node', build];
	for (const place of places) {
		try {
			return require(place);
		} catch (error) {
			if (error.code !== 'MODULE_NOT_FOUND')
				throw error;
		}
	}
	throw new Error('no ration.node: it is built where node_api.h is found; $RATION_NODE says where it is');
}

/** name: of the upstream.  instance, dir: of rationd; undefined: as ration(3) looks for it. */
export function share(name, { instance, dir } = {}) {
	const ration = binding();
	const upstream = ration.upstream(ration.open(instance ?? null, dir ?? null), name);

	return {
		/** One request, over all of its tries. */
		attempt() {
			const attempt = ration.attempt();
			return {
				/** Resolves when it may be sent. */
				async begin(clock) {
					for (;;) {
						const { admitted, wait } = ration.begin(upstream, attempt, 1);
						if (admitted)
							return;
						await clock.sleep(Math.max(1, wait));
					}
				},
				/** What came: status 0 and no headers if nothing did. */
				end: ({ status, headers }) => ration.end(upstream, attempt, status, [...(headers ?? [])]),
			};
		},
	};
}
