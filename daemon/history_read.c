/*
 * history_read.c - usage as it was recorded: by key, in total, row by row.
 *
 * A level holds what was rolled up into it; the finer ones hold the rest, beyond where rolling
 * up stands.  Every reader adds the three, so it does not matter to it how far that is.
 */
#include "history_state.h"

#include <stdlib.h>
#include <string.h>

#define DAY_S INT64_C(86400)
#define POINTS_MAX 4000u

void
history_span(struct history *h, int64_t last_s, struct history_view *v)
{
	int64_t end, now = keeper_now(h->keeper);

	memset(v, 0, sizeof(*v));
	while (v->level + 1 < USAGE_LEVELS && (int64_t)h->policy.keep_s[v->level] < last_s)
		v->level++;
	v->step = usage_seconds[v->level];
	end = usage_floor(v->level, now) + v->step;
	v->n = (size_t)((last_s + v->step - 1) / v->step);
	if (v->n > POINTS_MAX)
		v->n = POINTS_MAX;
	if (v->n == 0)
		v->n = 1;
	v->from = end - (int64_t)v->n * v->step;
}

void
history_view_free(struct history_view *v)
{
	for (size_t i = 0; i < v->nseries; i++)
		free(v->series[i].admitted);
	free(v->series);
	v->series = NULL;
	v->nseries = 0;
}

/* The series of a limit and plan (NULL: whichever), made when it is new. */
static struct history_series *
series(struct history_view *v, const char *limit, const char *plan)
{
	struct history_series *s;

	for (size_t i = 0; i < v->nseries; i++)
		if (strcmp(v->series[i].limit, limit) == 0 &&
		    (plan == NULL || strcmp(v->series[i].plan, plan) == 0))
			return &v->series[i];
	s = reallocarray(v->series, v->nseries + 1, sizeof(*s));
	if (s == NULL)
		return NULL;
	v->series = s;
	s = &v->series[v->nseries];
	memset(s, 0, sizeof(*s));
	s->admitted = calloc(2 * v->n, sizeof(*s->admitted));
	if (s->admitted == NULL)
		return NULL;
	s->denied = s->admitted + v->n;
	memcpy(s->limit, limit, sizeof(s->limit));
	if (plan != NULL)
		memcpy(s->plan, plan, sizeof(s->plan));
	v->nseries++;
	return s;
}

/* Is this row of a level yet to be found in the coarser one that is looked at? */
static bool
counts(const struct history *h, unsigned at, unsigned level, int64_t start, int64_t id)
{
	return at == level || !usage_is_rolled(h->state.rolled, at + 1, start, id);
}

/* From where on rows of level `at` may count for a view of a coarser one. */
static int64_t
first_open(const struct history *h, unsigned at, unsigned level, int64_t from)
{
	int64_t rolled = at < level ? h->state.rolled[at + 1].start : from;

	return rolled > from ? rolled : from;
}

/* ---- one key ---- */

static bool
add_entry(struct history *h, const struct history_view *v, int64_t id, struct history_series *s)
{
	int64_t end = v->from + (int64_t)v->n * v->step, admitted, denied;

	for (unsigned at = 0; at <= v->level; at++)
		for (int64_t t = first_open(h, at, v->level, v->from); t < end;
		     t += usage_seconds[at]) {
			size_t i = (size_t)((t - v->from) / v->step);

			if (!counts(h, at, v->level, t, id))
				continue;
			if (!store_usage_get(h->store, at, t, id, &admitted, &denied))
				return false;
			s->admitted[i] += admitted;
			s->denied[i] += denied;
		}
	return true;
}

struct of_key {
	struct history *h;
	struct history_view *v;
	const char *limit;
	bool ok;
};

/* Plans in the order of first sight: the last one stays. */
static bool
key_entry(void *arg, const struct usage_entry *e)
{
	struct of_key *o = arg;
	struct history_series *s;

	if (o->limit != NULL && strcmp(o->limit, e->limit) != 0)
		return true;
	s = series(o->v, e->limit, NULL);
	o->ok = s != NULL && add_entry(o->h, o->v, e->id, s);
	if (o->ok)
		memcpy(s->plan, e->plan, sizeof(s->plan));
	return o->ok;
}

bool
history_key(struct history *h, const unsigned char *key, size_t len, const char *limit,
    struct history_view *v)
{
	struct of_key o = { .h = h, .v = v, .limit = limit, .ok = true };

	return store_usage_entries(h->store, key, len, false, key_entry, &o) && o.ok;
}

/* ---- totals ---- */

struct of_totals {
	struct history *h;
	struct history_view *v;
	unsigned at;
	const char *limit;
	enum history_by by;
	struct usage_entry entry; /* of the last row */
	bool ok;
};

static bool
total_row(void *arg, const struct usage_row *r)
{
	struct of_totals *o = arg;
	struct history_view *v = o->v;
	struct history_series *s;
	size_t i = (size_t)((r->start - v->from) / v->step);

	if (!counts(o->h, o->at, v->level, r->start, r->id) || i >= v->n)
		return true;
	if (o->entry.id != r->id && !store_usage_entry(o->h->store, r->id, &o->entry))
		return true;
	if (o->limit != NULL && strcmp(o->limit, o->entry.limit) != 0)
		return true;
	s = series(v, o->entry.limit, o->by == HISTORY_BY_PLAN ? o->entry.plan : NULL);
	o->ok = s != NULL;
	if (!o->ok)
		return false;
	s->admitted[i] += r->admitted;
	s->denied[i] += r->denied;
	return true;
}

bool
history_totals(struct history *h, enum history_by by, const char *limit, struct history_view *v)
{
	struct of_totals o = { .h = h, .v = v, .limit = limit, .by = by, .ok = true };
	int64_t end = v->from + (int64_t)v->n * v->step;
	bool ok = true;

	for (o.at = 0; ok && o.at <= v->level; o.at++)
		ok = store_usage_walk(h->store, o.at, true, first_open(h, o.at, v->level, v->from),
			 -1, end, total_row, &o) &&
		    o.ok;
	return ok;
}

/* ---- row by row ---- */

struct of_walk {
	struct history *h;
	unsigned at, level;
	struct history_place *place;
	bool (*each)(void *arg, const struct usage_row *r, const struct usage_entry *e);
	void *arg;
	bool ended;
};

static bool
walk_row(void *arg, const struct usage_row *r)
{
	struct of_walk *o = arg;
	struct usage_entry e;

	if (counts(o->h, o->at, o->level, r->start, r->id) &&
	    store_usage_entry(o->h->store, r->id, &e) && !o->each(o->arg, r, &e)) {
		o->ended = true;
		return false;
	}
	o->place->start = r->start;
	o->place->id = r->id;
	return true;
}

bool
history_walk(struct history *h, unsigned level, int64_t from, int64_t to, struct history_place *at,
    bool (*each)(void *arg, const struct usage_row *r, const struct usage_entry *e), void *arg)
{
	struct of_walk o = { .h = h, .level = level, .place = at, .each = each, .arg = arg };

	/* Coarse to fine: what is rolled up meanwhile is rather missed than seen twice. */
	for (; at->step <= level && !o.ended; at->step += o.ended ? 0 : 1) {
		int64_t first;

		o.at = level - at->step;
		first = first_open(h, o.at, level, from);
		if (at->start < first || at->id == 0) {
			at->start = first;
			at->id = -1;
		}
		if (!store_usage_walk(h->store, o.at, false, at->start, at->id, to, walk_row, &o))
			return false;
		if (!o.ended)
			at->id = 0;
	}
	return true;
}

/* ---- what others ask ---- */

static bool
first_entry(void *arg, const struct usage_entry *e)
{
	int64_t *first = arg;

	if (*first < 0 || e->first < *first)
		*first = e->first;
	return true;
}

int64_t
history_first_seen(struct history *h, const unsigned char *key, size_t len)
{
	int64_t first = -1;

	history_record_key(h, key, len);
	(void)store_usage_entries(h->store, key, len, false, first_entry, &first);
	return first;
}

bool
history_daily(struct history *h, const unsigned char *key, size_t len, const char *limit,
    unsigned days, int64_t *admitted)
{
	struct history_view v = { .level = 2, .step = DAY_S, .n = days };
	bool ok;

	history_record_key(h, key, len);
	v.from = usage_floor(2, keeper_now(h->keeper)) - (int64_t)(days - 1) * DAY_S;
	memset(admitted, 0, days * sizeof(*admitted));
	ok = days > 0 && history_key(h, key, len, limit, &v);
	for (size_t i = 0; ok && i < v.nseries; i++)
		for (unsigned d = 0; d < days; d++)
			admitted[d] += v.series[i].admitted[d];
	history_view_free(&v);
	return ok;
}

struct active {
	int64_t since;
	uint64_t n, most;
	unsigned char key[RATION_KEY_MAX + 1]; /* the last one counted */
	size_t len;
};

static bool
active_entry(void *arg, const struct usage_entry *e)
{
	struct active *a = arg;

	if (e->kind != USAGE_KEY || e->last < a->since ||
	    (a->len == e->key_len && memcmp(a->key, e->key, a->len) == 0))
		return true;
	memcpy(a->key, e->key, e->key_len);
	a->len = e->key_len;
	return ++a->n < a->most;
}

uint64_t
history_active_keys(
    struct history *h, const unsigned char *prefix, size_t len, unsigned days, uint64_t most)
{
	struct active a = { .most = most };

	/* `last` is a day behind for keys that are used all the time. */
	a.since = usage_floor(2, keeper_now(h->keeper)) - (int64_t)days * DAY_S;
	(void)store_usage_entries(h->store, prefix, len, true, active_entry, &a);
	return a.n;
}
