/*
 * compile.c - a model and its live changes into an area of the policy object.
 *
 * Sections are built aside first, their sizes added up, and only when all fits and
 * nothing was wrong is the area written: a compilation that fails leaves it as it was.
 * Ids come from the version in force: a limit keeps its id for as long as the
 * segment lives, also while it is out of the policy.
 */
#include "compile.h"
#include "report.h"
#include "zones.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint32_t
build_string(struct builder *b, const char *text)
{
	size_t len = strlen(text);
	uint32_t index = map_find(&b->stringmap, text, len);

	if (len == 0)
		return 0;
	if (index != NOBODY)
		return b->string_off[index];
	index = map_add(&b->stringmap, arena_copy(&b->arena, text, len), len);
	if (index >= b->string_off_cap) {
		b->string_off_cap = b->string_off_cap == 0 ? 256 : 2 * b->string_off_cap;
		b->string_off = xrealloc(b->string_off, b->string_off_cap, sizeof(*b->string_off));
	}
	if (b->strings_len + len + 1 > b->strings_cap) {
		b->strings_cap = 2 * (b->strings_cap + len + 1);
		b->strings = xrealloc(b->strings, b->strings_cap, 1);
	}
	b->string_off[index] = (uint32_t)b->strings_len;
	memcpy(b->strings + b->strings_len, text, len + 1);
	b->strings_len += len + 1;
	return b->string_off[index];
}

/* ---- ids ---- */

/* n items at an offset of an older area, if they lie in it. */
static const void *
old_section(const struct policy_area *a, uint64_t off, uint64_t n, uint64_t item)
{
	if (off > a->bytes || n > (a->bytes - off) / item)
		return NULL;
	return (const char *)a + off;
}

static bool
take_ids(struct builder *b, const struct policy_area *previous)
{
	const struct config *c = b->c;
	const struct limit_def *defs = NULL;
	const char *strings = NULL;

	for (uint32_t i = 0; i < c->nlimits; i++)
		b->id_of[i] = NOBODY;
	if (previous != NULL) {
		defs = old_section(previous, previous->limits, previous->nlimits, sizeof(*defs));
		strings = old_section(previous, previous->strings, previous->strings_bytes, 1);
	}
	for (uint32_t id = 0;
	     defs != NULL && strings != NULL && id < previous->nlimits && id < LIMITS_MAX; id++) {
		uint64_t end = (uint64_t)defs[id].name + defs[id].name_len;
		bool there = end < previous->strings_bytes;

		b->name_of[id] =
		    there ? arena_copy(&b->arena, strings + defs[id].name, defs[id].name_len) : "";
		b->limit_of[id] = map_find(&c->limitmap, b->name_of[id], strlen(b->name_of[id]));
		if (b->limit_of[id] != NOBODY)
			b->id_of[b->limit_of[id]] = id;
		b->was[id] = defs[id].flags;
		b->nids = b->nwas = id + 1;
	}
	for (uint32_t i = 0; i < c->nlimits; i++) {
		if (b->id_of[i] != NOBODY)
			continue;
		if (b->nids == LIMITS_MAX) {
			mistakes_add(b->m,
			    "limit %s: found %u limits, those of earlier policies included, "
			    "expected at most %u since the segment was made",
			    c->limits[i].name, b->nids + 1, LIMITS_MAX);
			return false;
		}
		b->id_of[i] = b->nids;
		b->limit_of[b->nids] = i;
		b->name_of[b->nids++] = c->limits[i].name;
	}
	return true;
}

/*
 * What the segment holds of a limit, units or permits, is not the other.  False: a limit
 * would be turned from the one into the other.
 */
static bool
take_leases(struct builder *b)
{
	const struct config *c = b->c;
	bool ok = true;

	for (uint32_t i = 0; i < c->nlimits; i++) {
		const struct limit_model *m = &c->limits[i];
		bool known = b->id_of[i] < b->nwas;
		bool were = known && (b->was[b->id_of[i]] & LIMIT_LEASES) != 0;
		char place[256];

		b->leases[i] = m->counted == COUNTED_LEASES ||
		    (m->counted == COUNTED_OPEN && !m->is_value && were);
		if (!known || b->leases[i] == were)
			continue;
		mistakes_add(b->m,
		    "%s: found limit %s of %s, expected of %s as the segment knows it: give it "
		    "another name",
		    config_place(c, m->mark, place, sizeof(place)), shown(m->name, m->len),
		    were ? m->is_value ? "values" : "rates" : "leases",
		    were ? "leases" : "rates or values");
		ok = false;
	}
	return ok;
}

/* ---- the matrix ---- */

static void
build_matrix(struct builder *b)
{
	const struct config *c = b->c;
	uint32_t *out;

	b->matrix = arena_alloc(&b->arena,
	    ((size_t)b->nids * (c->nplans + 1) * (c->nenvs + 1) + 1) * sizeof(*b->matrix));
	out = b->matrix;
	for (uint32_t id = 0; id < b->nids; id++) {
		uint32_t gone = b->limit_of[id] == NOBODY ? build_gone(b, id) : 0;

		for (uint16_t plan = 0; plan <= c->nplans; plan++)
			for (uint16_t env = 0; env <= c->nenvs; env++) {
				struct asker who = { .plan = plan == 0 ? c->default_plan : plan,
					.env = env == 0 ? c->default_env : env };

				*out++ = b->limit_of[id] == NOBODY
				    ? gone
				    : build_ruleset(b, b->limit_of[id], &who);
			}
	}
}

/* ---- laying out ---- */

uint64_t
build_place(uint64_t *at, uint64_t n, uint64_t item, uint64_t align)
{
	uint64_t off = (*at + align - 1) & ~(align - 1);

	*at = off + n * item;
	return off;
}

uint32_t
build_hash_size(uint32_t n)
{
	uint32_t size = 16;

	while (size < 2 * n)
		size *= 2;
	return size;
}

static const char *
title_of(const struct limit_model *m)
{
	return m->title != NULL ? m->title : "";
}

/* Everything that is said once more about limits, plans and so on as strings. */
static void
build_names(struct builder *b)
{
	const struct config *c = b->c;
	char text[256];

	for (uint32_t id = 0; id < b->nids; id++) {
		build_string(b, b->name_of[id]);
		if (b->limit_of[id] == NOBODY)
			continue;
		build_string(
		    b, config_place(c, c->limits[b->limit_of[id]].mark, text, sizeof(text)));
		build_string(b, title_of(&c->limits[b->limit_of[id]]));
	}
	for (uint32_t i = 1; i <= c->nplans; i++)
		build_string(b, c->plans[i].name);
	for (uint32_t i = 1; i <= c->nenvs; i++)
		build_string(b, c->envs[i].name);
	for (uint32_t i = 0; i < c->nzones; i++)
		build_string(b, c->zones[i]);
}

static uint64_t
lay_out(const struct builder *b, struct policy_area *a)
{
	const struct config *c = b->c;
	uint64_t at = sizeof(*a), key_bytes = 0;

	memset(a, 0, sizeof(*a));
	for (uint32_t i = 0; i < b->nkeys; i++)
		key_bytes += b->keys[i].len + 1;
	a->nrulesets = b->nrulesets;
	a->nlimits = b->nids;
	a->nnames = build_hash_size(b->nids);
	a->nplans = c->nplans;
	a->nenvs = c->nenvs;
	a->nzones = c->nzones;
	a->nkeys = b->nkeys;
	a->nkeytab = build_hash_size(b->nkeys);
	a->noverrides = b->noverrides;
	a->default_plan = c->default_plan;
	a->strings_bytes = b->strings_len + key_bytes;
	a->rulesets = build_place(&at, a->nrulesets, sizeof(struct ruleset), 64);
	a->limits = build_place(&at, a->nlimits, sizeof(struct limit_def), 8);
	a->names = build_place(&at, a->nnames, sizeof(uint32_t), 8);
	a->matrix = build_place(
	    &at, (uint64_t)a->nlimits * (a->nplans + 1) * (a->nenvs + 1), sizeof(uint32_t), 8);
	a->plans = build_place(&at, a->nplans + 1, sizeof(struct name_def), 8);
	a->envs = build_place(&at, a->nenvs + 1, sizeof(struct name_def), 8);
	a->zones = build_place(&at, a->nzones, sizeof(struct zone_def), 8);
	at += (uint64_t)a->nzones * (ZONE_DAYS + ZONE_MONTHS) * sizeof(int64_t);
	a->keys = build_place(&at, a->nkeys, sizeof(struct key_def), 8);
	a->keytab = build_place(&at, a->nkeytab, sizeof(uint32_t), 8);
	a->overrides = build_place(&at, a->noverrides, sizeof(struct override_def), 8);
	lay_out_routes(b, a, &at);
	a->nanswers = b->nanswers;
	a->answers = build_place(&at, a->nanswers, sizeof(struct answer_def), 8);
	a->nupstreams = c->nupstreams;
	a->upstreams = build_place(&at, a->nupstreams, sizeof(struct upstream_def), 8);
	a->strings = build_place(&at, a->strings_bytes, 1, 8);
	a->bytes = (at + 63) & ~UINT64_C(63);
	return a->bytes;
}

/* ---- writing ---- */

void
build_hash_put(uint32_t *tab, uint32_t size, uint64_t hash, uint32_t index)
{
	while (tab[hash & (size - 1)] != 0)
		hash++;
	tab[hash & (size - 1)] = index + 1;
}

static uint16_t
limit_flags(const struct builder *b, uint32_t id, const struct limit_model *m)
{
	if (m == NULL)
		return (uint16_t)(LIMIT_GONE | (b->was[id] & LIMIT_LEASES));
	return (uint16_t)(m->flags | (b->leases[b->limit_of[id]] ? LIMIT_LEASES : 0));
}

static void
write_limits(struct builder *b, const struct policy_area *a, char *area)
{
	struct limit_def *defs = (struct limit_def *)(void *)(area + a->limits);
	uint32_t *names = (uint32_t *)(void *)(area + a->names);
	const struct config *c = b->c;
	char text[256];

	for (uint32_t id = 0; id < b->nids; id++) {
		const struct limit_model *m =
		    b->limit_of[id] == NOBODY ? NULL : &c->limits[b->limit_of[id]];
		size_t len = strlen(b->name_of[id]);

		defs[id] = (struct limit_def) { .name = build_string(b, b->name_of[id]),
			.name_len = (uint16_t)len,
			.flags = limit_flags(b, id, m) };
		if (m != NULL) {
			defs[id].max_keys = m->max_keys;
			defs[id].cost = m->cost;
			defs[id].attr = m->key.attr;
			defs[id].prefix4 = m->key.prefix4;
			defs[id].prefix6 = m->key.prefix6;
			defs[id].origin =
			    build_string(b, config_place(c, m->mark, text, sizeof(text)));
			defs[id].title = build_string(b, title_of(m));
			defs[id].answer = build_answer_index(c, m->answer);
		}
		build_hash_put(names, a->nnames, policy_hash(b->name_of[id], len), id);
	}
}

static void
write_names(struct builder *b, const struct policy_area *a, char *area)
{
	struct name_def *plans = (struct name_def *)(void *)(area + a->plans);
	struct name_def *envs = (struct name_def *)(void *)(area + a->envs);
	const struct config *c = b->c;

	for (uint32_t i = 0; i <= c->nplans; i++)
		plans[i] = (struct name_def) { build_string(b, c->plans[i].name),
			(uint32_t)strlen(c->plans[i].name) };
	for (uint32_t i = 0; i <= c->nenvs; i++)
		envs[i] = (struct name_def) { build_string(b, c->envs[i].name),
			(uint32_t)strlen(c->envs[i].name) };
}

static void
write_zones(struct builder *b, const struct policy_area *a, char *area)
{
	struct zone_def *zones = (struct zone_def *)(void *)(area + a->zones);
	uint64_t at = a->zones + a->nzones * sizeof(*zones);

	for (uint32_t i = 0; i < a->nzones; i++) {
		struct zone_def *z = &zones[i];

		z->name = build_string(b, b->c->zones[i]);
		z->days = at;
		z->months = at + ZONE_DAYS * sizeof(int64_t);
		at += (ZONE_DAYS + ZONE_MONTHS) * sizeof(int64_t);
		zone_enter(b->c->zones[i]);
		z->ndays = zone_days(b->now_s, (int64_t *)(void *)(area + z->days));
		z->nmonths = zone_months(b->now_s, (int64_t *)(void *)(area + z->months));
		zone_leave();
	}
}

static void
write_area(struct builder *b, const struct policy_area *head, char *area, uint32_t version)
{
	memset(area, 0, head->bytes);
	memcpy(area, head, sizeof(*head));
	((struct policy_area *)(void *)area)->version = version;
	if (b->nrulesets > 0)
		memcpy(area + head->rulesets, b->rulesets, b->nrulesets * sizeof(*b->rulesets));
	memcpy(area + head->matrix, b->matrix,
	    (size_t)b->nids * (head->nplans + 1) * (head->nenvs + 1) * sizeof(*b->matrix));
	if (b->noverrides > 0)
		memcpy(area + head->overrides, b->overrides, b->noverrides * sizeof(*b->overrides));
	memcpy(area + head->strings, b->strings, b->strings_len);
	write_limits(b, head, area);
	write_names(b, head, area);
	write_zones(b, head, area);
	write_keys(b, head, area);
	write_routes(b, head, area);
	write_answers(b, head, area);
	write_upstreams(b, head, area);
}

/* ---- all of it ---- */

/* Build every section.  False with mistakes. */
static bool
build(struct builder *b, const struct change *changes, size_t n, const struct policy_area *previous)
{
	size_t before = b->m->n;

	b->strings_cap = 4096;
	b->strings = xrealloc(NULL, b->strings_cap, 1);
	b->strings[b->strings_len++] = '\0';
	if (!take_ids(b, previous) || !take_leases(b) || !build_patches(b, changes, n))
		return false;
	build_keys(b);
	zone_enter(b->c->zones[0]);
	build_matrix(b);
	build_overrides(b);
	zone_leave();
	build_exempt(b);
	build_names(b);
	build_routes(b);
	build_answers(b);
	build_upstreams(b);
	return b->m->n == before;
}

static void
builder_free(struct builder *b)
{
	map_free(&b->stringmap);
	map_free(&b->rulesetmap);
	map_free(&b->livekeys);
	map_free(&b->zonedmap);
	free(b->zoned);
	free(b->overrides);
	free(b->strings);
	free(b->string_off);
	free(b->rulesets);
	arena_free(&b->arena);
	free(b);
}

static struct builder *
builder_new(const struct config *c, uint32_t cells, int64_t now_s, struct mistakes *m)
{
	struct builder *b = xrealloc(NULL, 1, sizeof(*b));

	memset(b, 0, sizeof(*b));
	b->c = c;
	b->m = m;
	b->cells = cells;
	b->now_s = now_s;
	return b;
}

int
config_compile(const struct config *c, const struct change *changes, size_t n,
    const struct policy_area *previous, uint32_t cells, int64_t now_s, void *area,
    uint64_t area_bytes, uint32_t version, struct mistakes *m)
{
	struct builder *b = builder_new(c, cells, now_s, m);
	struct policy_area head;
	int result = -1;

	if (!build(b, changes, n, previous))
		goto out;
	if (lay_out(b, &head) > area_bytes || head.strings_bytes > UINT32_MAX) {
		mistakes_add(m,
		    "found a policy of %llu bytes, expected at most the %llu that the segment "
		    "has room for: see table.policy",
		    (unsigned long long)head.bytes, (unsigned long long)area_bytes);
		result = CONFIG_NO_ROOM;
		goto out;
	}
	write_area(b, &head, area, version);
	result = 0;
out:
	builder_free(b);
	return result;
}

uint64_t
config_need(const struct config *c)
{
	struct mistakes m = { .n = 0 };
	struct builder *b = builder_new(c, CELLS_MAX, (int64_t)time(NULL), &m);
	struct policy_area head = { .bytes = 0 };

	if (build(b, NULL, 0, NULL))
		lay_out(b, &head);
	builder_free(b);
	mistakes_free(&m);
	return head.bytes;
}
