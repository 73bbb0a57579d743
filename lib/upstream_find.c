/*
 * upstream_find.c - an upstream's entry, and what the policy says of it.
 *
 * An entry is its name's hash with the segment's secret: one CAS makes it, so there is nothing
 * half-made.  The name's bytes are for people, and against the one case in 2^64: whoever finds
 * them missing writes them, each word by a CAS from 0, and all who do write the same.
 * Entries are never given back; who renames upstreams all the time runs out of them.
 */
#include "upstream.h"

#include <string.h>

#include "atomics.h"
#include "hash.h"

#define TRIES 16u

/* Of upstreams that the policy does not name: what ration.yaml(5) says. */
const struct upstream_def upstream_defaults = {
	.on = { UINT64_C(1) << 29, UINT64_C(1) << (503 - 400 - 64), 0, 0 }, /* 429, 503 */
	.first_ms = 1000,
	.most_ms = 60000,
	.factor = 2000,
	.open_ms = 30000,
	.failures = 5,
	.tries = 4,
	.jitter = JITTER_FULL,
	.low = { 20, 10 },
};

uint64_t
upstream_id(const struct segment *seg, const char *name, size_t len)
{
	struct sip s;
	uint64_t h;

	sip_init(&s, seg->secret);
	sip_bytes(&s, (const unsigned char *)name, len);
	h = sip_end(&s);
	return h != 0 ? h : 1;
}

/* Is it the entry of this name?  Missing bytes are added. */
static bool
named(word_t *e, const char *name, size_t len, bool add)
{
	for (unsigned i = 0; i < U_NAME_WORDS; i++) {
		uint64_t want = 0, w = word_load(&e[U_NAME + i]);
		size_t at = (size_t)i * 8;

		if (at < len)
			memcpy(&want, name + at, len - at < 8 ? len - at : 8);
		if (w == 0 && want != 0 && (!add || word_cas(&e[U_NAME + i], 0, want)))
			continue;
		if (w == 0)
			w = word_load(&e[U_NAME + i]);
		if (w != want)
			return false;
	}
	return true;
}

word_t *
upstream_entry(const struct segment *seg, uint64_t id, const char *name, size_t len, bool add)
{
	for (unsigned i = 0; i < SIDE_UPSTREAMS; i++) {
		word_t *e = side_upstream(seg->side, id + i);
		uint64_t w = word_load(&e[U_ID]);

		if (w == 0) {
			if (!add)
				return NULL;
			if (!word_cas(&e[U_ID], 0, id))
				w = word_load(&e[U_ID]);
			else
				w = id;
		}
		if (w == id && named(e, name, len, add))
			return e;
	}
	return NULL;
}

/* By halves: they stand in the order of their hashes. */
static const struct upstream_def *
search(const struct policy_ref *p, uint64_t hash, const char *name, size_t len)
{
	uint32_t n = p->area->nupstreams, lo = 0, hi = n;
	const struct upstream_def *d = policy_section(p, p->area->upstreams, n, sizeof(*d));

	if (d == NULL)
		return NULL;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (d[mid].hash < hash)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < n && d[lo].hash == hash; lo++) {
		size_t text_len;
		const char *text = policy_string(p, d[lo].name, &text_len);

		if (text_len == len && memcmp(text, name, len) == 0)
			return &d[lo];
	}
	return NULL;
}

bool
upstream_policy(struct upstream_call *c, uint64_t hash, const char *name, size_t len)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		const struct upstream_def *d;

		if (!policy_current(c->seg->policy, &c->policy))
			return false;
		d = search(&c->policy, hash, name, len);
		c->def = d != NULL ? *d : upstream_defaults;
		if (policy_intact(&c->policy)) {
			if (c->def.nrates > RATION_RATES_MAX)
				c->def.nrates = 0;
			return true;
		}
	}
	return false;
}
