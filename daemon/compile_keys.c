/*
 * compile_keys.c - the keys that the policy names, and what they get other than by plan and
 * environment.
 *
 * A key with a timezone of its own gets an override for each limit of days or months: the ruleset
 * that it would have anyway, its periods moved.  Those depend on plan, environment and zone
 * alone, so that all keys that have the same share one run of overrides: thousands of accounts
 * in a dozen zones cost no more than a dozen would.
 */
#include "compile.h"

#include <stdlib.h>
#include <string.h>

void
build_keys(struct builder *b)
{
	const struct config *c = b->c;
	char place[256];

	b->nkeys = c->nkeys + b->livekeys.n;
	b->keys = arena_alloc(&b->arena, (b->nkeys + 1) * sizeof(*b->keys));
	for (uint32_t i = 0; i < b->nkeys; i++) {
		const struct map_entry *e =
		    i < c->nkeys ? &c->keymap.entries[i] : &b->livekeys.entries[i - c->nkeys];

		b->keys[i].bytes = e->bytes;
		b->keys[i].len = e->len;
		if (i < c->nkeys) {
			b->keys[i].plan = c->keys[i].plan;
			b->keys[i].env = c->keys[i].env;
			b->keys[i].exempt = c->keys[i].exempt;
			b->keys[i].zone = c->keys[i].zone;
			if (c->keys[i].zone != 0)
				b->keys[i].zone_origin = build_string(
				    b, config_place(c, c->keys[i].zone_mark, place, sizeof(place)));
		}
	}
	for (uint32_t i = 0; i < b->npatches; i++) {
		if (b->patches[i].kind == CHANGE_PLAN)
			b->keys[b->patches[i].key].plan = b->patches[i].plan;
		else if (b->patches[i].kind == CHANGE_ENV)
			b->keys[b->patches[i].key].env = b->patches[i].env;
	}
}

/* ---- overrides ---- */

static void
add_override(struct builder *b, struct override_def o)
{
	if (b->noverrides == b->overrides_cap) {
		b->overrides_cap = b->overrides_cap == 0 ? 64 : 2 * b->overrides_cap;
		b->overrides = xrealloc(b->overrides, b->overrides_cap, sizeof(*b->overrides));
	}
	b->overrides[b->noverrides++] = o;
}

static struct asker
asker_of(const struct builder *b, const struct build_key *k)
{
	return (struct asker) { .plan = k->plan != 0 ? k->plan : b->c->default_plan,
		.env = k->env != 0 ? k->env : b->c->default_env,
		.zone = k->zone };
}

/* What is the same without the timezone has no override. */
static struct zoned
build_zoned(struct builder *b, const struct asker *who)
{
	const struct config *c = b->c;
	struct zoned z = { .first = b->noverrides };

	for (uint32_t i = 0; i < c->nlimits; i++) {
		uint64_t row = (uint64_t)b->id_of[i] * (c->nplans + 1) + who->plan;
		uint32_t index = build_ruleset(b, i, who);

		if (index != b->matrix[row * (c->nenvs + 1) + who->env])
			add_override(
			    b, (struct override_def) { .limit = b->id_of[i], .ruleset = index });
	}
	z.n = (uint16_t)(b->noverrides - z.first);
	return z;
}

/* The run of overrides of a plan, environment and zone, each once.  In the order of limits. */
static struct zoned
zoned_of(struct builder *b, const struct asker *who)
{
	uint16_t same[3] = { who->plan, who->env, who->zone };
	uint32_t index;

	if (who->zone == 0)
		return (struct zoned) { .n = 0 };
	index = map_find(&b->zonedmap, same, sizeof(same));
	if (index != NOBODY)
		return b->zoned[index];
	index = map_add(&b->zonedmap, arena_copy(&b->arena, same, sizeof(same)), sizeof(same));
	if (index >= b->zoned_cap) {
		b->zoned_cap = b->zoned_cap == 0 ? 16 : 2 * b->zoned_cap;
		b->zoned = xrealloc(b->zoned, b->zoned_cap, sizeof(*b->zoned));
	}
	b->zoned[index] = build_zoned(b, who);
	return b->zoned[index];
}

/* Those that it shares but for the limits of which it has n patches, by limit; and these. */
static void
build_own(struct builder *b, struct build_key *k, const uint32_t *keyed, uint32_t n)
{
	struct asker who = asker_of(b, k);
	struct zoned z = zoned_of(b, &who);
	uint32_t at = z.first, end = z.first + z.n;

	k->first_override = b->noverrides;
	while (n > 0) {
		uint32_t limit = b->patches[keyed[0]].limit;

		for (; at < end && b->limit_of[b->overrides[at].limit] < limit; at++)
			add_override(b, b->overrides[at]);
		if (at < end && b->limit_of[b->overrides[at].limit] == limit)
			at++;
		who.keyed = keyed;
		for (who.n = 0; who.n < n && b->patches[keyed[who.n]].limit == limit;)
			who.n++;
		add_override(b,
		    (struct override_def) {
			.limit = b->id_of[limit], .ruleset = build_ruleset(b, limit, &who) });
		keyed += who.n;
		n -= who.n;
	}
	for (; at < end; at++)
		add_override(b, b->overrides[at]);
	k->noverrides = (uint16_t)(b->noverrides - k->first_override);
}

void
build_overrides(struct builder *b)
{
	uint32_t at = 0;

	for (uint32_t key = 0; key < b->nkeys; key++) {
		struct build_key *k = &b->keys[key];
		uint32_t n = 0;

		while (at + n < b->nby_key && b->patches[b->by_key[at + n]].key == key)
			n++;
		if (n > 0) {
			build_own(b, k, b->by_key + at, n);
			at += n;
		} else if (k->zone != 0) {
			struct asker who = asker_of(b, k);
			struct zoned z = zoned_of(b, &who);

			k->first_override = z.first;
			k->noverrides = z.n;
		}
	}
}

/* ---- into the area ---- */

void
write_keys(const struct builder *b, const struct policy_area *a, char *area)
{
	struct key_def *keys = (struct key_def *)(void *)(area + a->keys);
	uint32_t *tab = (uint32_t *)(void *)(area + a->keytab);
	uint32_t at = (uint32_t)b->strings_len;

	for (uint32_t i = 0; i < b->nkeys; i++) {
		const struct build_key *k = &b->keys[i];

		keys[i] = (struct key_def) { .hash = policy_hash(k->bytes, k->len),
			.key = at,
			.len = (uint16_t)k->len,
			.plan = k->plan,
			.env = (uint8_t)k->env,
			.flags = k->exempt ? KEY_EXEMPT : 0,
			.noverrides = k->noverrides,
			.overrides = k->first_override,
			.zone_origin = k->zone_origin };
		memcpy(area + a->strings + at, k->bytes, k->len);
		at += k->len + 1;
		build_hash_put(tab, a->nkeytab, keys[i].hash, i);
	}
}
