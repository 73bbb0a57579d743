#include "live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "log.h"
#include "trail.h"

#define DAY_S 86400
#define TOLD_MAX 10u /* changes left out that are named one by one */

bool
change_same(const struct change *a, const struct change *b)
{
	return a->kind == b->kind && strcmp(a->limit, b->limit) == 0 && a->key_len == b->key_len &&
	    memcmp(a->key, b->key, a->key_len) == 0
	    /* A plan or environment is what the last two say, not what they are about. */
	    &&
	    ((a->kind != CHANGE_RATES && a->kind != CHANGE_VALUE) || strcmp(a->plan, b->plan) == 0);
}

/* ---- which changes can be in force ---- */

/* Changes that are asked for, split into those that compile and those that cannot. */
struct split {
	struct change *at;
	size_t n;
	struct change *dormant;
	size_t ndormant;
};

static void
split_free(struct split *s)
{
	free(s->at);
	free(s->dormant);
}

static bool
split_alloc(struct split *s, size_t n)
{
	memset(s, 0, sizeof(*s));
	s->at = calloc(n + 1, sizeof(*s->at));
	s->dormant = calloc(n + 1, sizeof(*s->dormant));
	return s->at != NULL && s->dormant != NULL;
}

static void
leave_out(struct split *out, const struct change *c, const char *why)
{
	char target[TARGET_TEXT];

	out->dormant[out->ndormant++] = *c;
	if (out->ndormant > TOLD_MAX)
		return;
	change_target_text(c, target, sizeof(target));
	log_warn("live change %lld (%s %s by %s) cannot apply and is left out: %s",
	    (long long)c->id, change_kind_text(c->kind), target, c->who, why);
}

/*
 * Halve a list that does not compile until the culprits stand alone: log n compilations
 * for each.
 */
static void
sift(struct live *l, const struct config *c, const struct change *list, size_t n, struct split *out)
{
	struct mistakes m = { 0 };

	if (n == 0)
		return;
	if (keeper_compile(l->keeper, c, list, n, &m) == 0) {
		memcpy(&out->at[out->n], list, n * sizeof(*list));
		out->n += n;
	} else if (n == 1) {
		leave_out(out, list, m.n > 0 ? m.text[0] : "");
	} else {
		sift(l, c, list, n / 2, out);
		sift(l, c, list + n / 2, n - n / 2, out);
	}
	mistakes_free(&m);
}

static int
by_id(const void *a, const void *b)
{
	int64_t x = ((const struct change *)a)->id, y = ((const struct change *)b)->id;

	return x < y ? -1 : x > y;
}

/*
 * First those that name what there is not: thousands may be about one limit that is gone.  They
 * leave the list; its new length.
 */
static size_t
sift_names(const struct config *c, struct change *list, size_t n, struct split *out)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++) {
		if (config_knows(c, &list[i]))
			list[kept++] = list[i];
		else
			leave_out(out, &list[i], "the policy does not have what it names");
	}
	return kept;
}

/*
 * New files: all changes are tried again.  A change about something that the files no longer
 * have must keep neither a reload nor a start from succeeding.
 */
static int
compile_files(struct live *l, const struct config *c, struct split *s, struct mistakes *m)
{
	struct split again;
	struct mistakes with = { 0 };
	size_t n = s->n + s->ndormant;
	int e = -1;

	if (!split_alloc(&again, n)) {
		mistakes_add(m, "out of memory");
		split_free(&again);
		return -1;
	}
	memcpy(&s->at[s->n], s->dormant, s->ndormant * sizeof(*s->dormant));
	qsort(s->at, n, sizeof(*s->at), by_id);
	n = sift_names(c, s->at, n, &again);
	if (keeper_compile(l->keeper, c, s->at, n, &with) == 0) {
		memcpy(again.at, s->at, n * sizeof(*s->at));
		again.n = n;
		e = 0;
	} else if (keeper_compile(l->keeper, c, NULL, 0, m) == 0) {
		sift(l, c, s->at, n, &again);
		qsort(again.at, again.n, sizeof(*again.at), by_id);
		e = keeper_compile(l->keeper, c, again.at, again.n, m);
	}
	if (again.ndormant > TOLD_MAX)
		log_warn("%zu live changes in all cannot apply and are left out", again.ndormant);
	mistakes_free(&with);
	split_free(s);
	*s = again;
	return e;
}

/* ---- edits ---- */

/* What there would be after the edit; ids of the changes that go in *gone. */
static bool
candidate(
    const struct live *l, const struct live_edit *e, struct split *s, int64_t **gone, size_t *ngone)
{
	size_t n = l->n + l->ndormant + e->nadd;

	*ngone = 0;
	*gone = calloc(n + 1, sizeof(**gone));
	if (!split_alloc(s, n) || *gone == NULL)
		return false;
	for (size_t i = 0; i < l->n; i++) {
		if (e->goes != NULL && e->goes(&l->at[i], e->goes_arg))
			(*gone)[(*ngone)++] = l->at[i].id;
		else
			s->at[s->n++] = l->at[i];
	}
	for (size_t i = 0; i < l->ndormant; i++) {
		if (e->goes != NULL && e->goes(&l->dormant[i], e->goes_arg))
			(*gone)[(*ngone)++] = l->dormant[i].id;
		else
			s->dormant[s->ndormant++] = l->dormant[i];
	}
	for (size_t i = 0; i < e->nadd; i++)
		s->at[s->n++] = e->add[i];
	/* What comes back has its old place. */
	if (e->nadd > 0)
		qsort(s->at, s->n, sizeof(*s->at), by_id);
	return true;
}

/* Generations that move when the pending version comes into force. */
static size_t
moved_generations(struct live *l, const struct live_edit *e, bool anything,
    const struct policy_ref *p, const uint64_t *digests, struct generation *out)
{
	size_t n = 0;

	for (uint32_t id = 0; id < p->area->nlimits && id < LIMITS_MAX; id++) {
		struct limit_def def;

		if (digests[id] == l->limits[id].digest && (int64_t)id != e->limit)
			continue;
		if (!policy_limit(p, id, &def))
			continue;
		(void)snprintf(
		    out[n].limit, sizeof(out[n].limit), "%s", policy_string(p, def.name, NULL));
		/* A new one begins above all that were ever seen: it may be an old one come back.
		 */
		out[n].value = (l->limits[id].value > 0 ? l->limits[id].value : l->generation) + 1;
		out[n].digest = digests[id];
		n++;
	}
	if (n > 0 || anything) {
		out[n].limit[0] = '\0';
		out[n].value = l->generation + 1;
		out[n].digest = 0;
		n++;
	}
	return n;
}

static void
take_generations(struct live *l, const struct policy_ref *p, const struct generation *g, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int64_t id;

		if (g[i].limit[0] == '\0') {
			l->generation = g[i].value;
			continue;
		}
		for (id = 0; id < (int64_t)p->area->nlimits; id++) {
			struct limit_def def;

			if (policy_limit(p, (uint32_t)id, &def) &&
			    strcmp(policy_string(p, def.name, NULL), g[i].limit) == 0)
				break;
		}
		if (id < LIMITS_MAX && id < (int64_t)p->area->nlimits) {
			l->limits[id].value = g[i].value;
			l->limits[id].digest = g[i].digest;
		}
	}
}

/* When something temporary ends next. */
static int64_t
next_end(const struct live *l, const struct policy_ref *p, int64_t now)
{
	int64_t end = digest_next_end(p, now);

	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].until < end)
			end = l->at[i].until;
	for (size_t i = 0; i < l->ndormant; i++)
		if (l->dormant[i].until < end)
			end = l->dormant[i].until;
	return end;
}

static bool
make_durable(struct live *l, const struct live_edit *e, const struct store_edit *edit, char *err,
    size_t size)
{
	char rest[256];

	if (e->also == NULL)
		return store_commit(l->store, edit, err, size) == 0;
	if (!store_begin(l->store)) {
		(void)snprintf(err, size, "the transaction could not be begun");
		return false;
	}
	if (store_commit(l->store, edit, err, size) == 0 &&
	    e->also(e->also_arg, l->store, err, size))
		return store_end(l->store, true, err, size) == 0;
	(void)store_end(l->store, false, rest, sizeof(rest)); /* err has the reason */
	return false;
}

/* Durable, then in force. */
static enum live_result
commit(struct live *l, const struct live_edit *e, struct split *s, const int64_t *gone,
    size_t ngone, struct mistakes *m)
{
	struct generation *moved = calloc(LIMITS_MAX + 1, sizeof(*moved));
	uint64_t *digests = calloc(LIMITS_MAX, sizeof(*digests));
	enum live_result result = LIVE_FAILED;
	struct store_edit edit;
	struct policy_ref p;
	char err[512];
	size_t n;

	if (moved == NULL || digests == NULL || !keeper_pending(l->keeper, &p)) {
		mistakes_add(m, "out of memory");
		goto out;
	}
	digest_limits(&p, digests);
	n = moved_generations(l, e, e->nadd > 0 || ngone > 0 || e->naudits > 0, &p, digests, moved);
	edit = (struct store_edit) { .remove = gone,
		.nremove = ngone,
		.add = e->add,
		.nadd = e->nadd,
		.generations = moved,
		.ngenerations = n,
		.audits = e->audits,
		.naudits = e->naudits };
	if ((n > 0 || ngone > 0) && !make_durable(l, e, &edit, err, sizeof(err))) {
		mistakes_add(m, "%s", err);
		goto out;
	}
	keeper_publish(l->keeper);
	free(l->at);
	free(l->dormant);
	l->at = s->at;
	l->n = s->n;
	l->dormant = s->dormant;
	l->ndormant = s->ndormant;
	memset(s, 0, sizeof(*s));
	if (e->config != NULL && e->config != l->config) {
		config_free(l->config);
		l->config = e->config;
	}
	take_generations(l, &p, moved, n);
	l->compiled_s = keeper_now(l->keeper);
	l->next_end_s = next_end(l, &p, l->compiled_s);
	result = LIVE_DONE;
out:
	free(moved);
	free(digests);
	return result;
}

enum live_result
live_edit(struct live *l, const struct live_edit *e, struct mistakes *m)
{
	const struct config *c = e->config != NULL ? e->config : l->config;
	enum live_result result = LIVE_REFUSED;
	int64_t *gone = NULL;
	struct split s;
	size_t ngone;
	int bad;

	if (!candidate(l, e, &s, &gone, &ngone)) {
		mistakes_add(m, "out of memory");
		result = LIVE_FAILED;
		goto out;
	}
	if (e->nadd > 0 && s.n + s.ndormant > LIVE_MAX) {
		mistakes_add(m,
		    "%u live changes are in force, the most there can be: "
		    "write some of them into the policy files",
		    LIVE_MAX);
		goto out;
	}
	bad = e->config != NULL ? compile_files(l, c, &s, m)
				: keeper_compile(l->keeper, c, s.at, s.n, m);
	if (bad != 0)
		goto out;
	result = e->dry_run ? LIVE_DONE : commit(l, e, &s, gone, ngone, m);
out:
	keeper_forget(l->keeper);
	split_free(&s);
	free(gone);
	return result;
}

/* ---- start ---- */

/* Generations go on where they were: one that was seen never comes back. */
static int
load_generations(struct live *l, const struct policy_ref *p, struct mistakes *m)
{
	struct generation *g;
	char err[512];
	size_t n;

	for (uint32_t i = 0; i < LIMITS_MAX; i++) {
		l->limits[i].value = 0;
		l->limits[i].digest = 0;
	}
	if (store_generations(l->store, &g, &n, err, sizeof(err)) != 0) {
		mistakes_add(m, "%s", err);
		free(g);
		return -1;
	}
	take_generations(l, p, g, n);
	free(g);
	return 0;
}

enum live_result
live_start(struct live *l, struct keeper *k, struct store *s, struct config *config,
    bool (*before)(void *arg, const struct policy_ref *p, struct mistakes *m), void *arg,
    struct mistakes *m)
{
	struct live_edit none = { .config = config, .limit = -1 };
	struct split first = { 0 };
	struct policy_ref p;
	char err[512];
	enum live_result result;

	memset(l, 0, sizeof(*l));
	l->keeper = k;
	l->store = s;
	l->config = config;
	if (store_changes(s, &l->at, &l->n, err, sizeof(err)) != 0) {
		mistakes_add(m, "%s", err);
		return LIVE_FAILED;
	}
	if (!split_alloc(&first, l->n)) {
		mistakes_add(m, "out of memory");
		split_free(&first);
		return LIVE_FAILED;
	}
	for (; first.n < l->n; first.n++)
		first.at[first.n] = l->at[first.n];
	result = LIVE_REFUSED;
	if (compile_files(l, config, &first, m) == 0 && keeper_pending(k, &p))
		result = load_generations(l, &p, m) == 0 && before(arg, &p, m)
		    ? commit(l, &none, &first, NULL, 0, m)
		    : LIVE_FAILED;
	split_free(&first);
	return result;
}

void
live_free(struct live *l)
{
	if (l->config != NULL)
		config_free(l->config);
	free(l->at);
	free(l->dormant);
	memset(l, 0, sizeof(*l));
}

/* ---- time passes ---- */

static bool
has_ended(const struct change *c, const void *arg)
{
	return c->until <= *(const int64_t *)arg;
}

static void
audit_ended(struct audit *a, const struct change *c, int64_t now)
{
	memset(a, 0, sizeof(*a));
	a->when = now;
	(void)snprintf(a->who, sizeof(a->who), "rationd");
	(void)snprintf(a->action, sizeof(a->action), "ended");
	change_target_text(c, a->target, sizeof(a->target));
	change_value_text(c, a->old, sizeof(a->old));
	(void)snprintf(a->reason, sizeof(a->reason), "%s", c->reason);
	a->subject = trail_subject(c, 0);
}

void
live_tick(struct live *l, void (*ended)(void *arg, const struct change *c), void *arg)
{
	int64_t now = keeper_now(l->keeper);
	struct live_edit e = { .limit = -1, .goes = has_ended, .goes_arg = &now };
	struct mistakes m = { 0 };
	struct change *over;
	struct audit *audits;
	size_t n = 0;

	if (now < l->next_end_s && now >= l->compiled_s && now < l->compiled_s + DAY_S)
		return;
	over = calloc(l->n + l->ndormant + 1, sizeof(*over));
	audits = calloc(l->n + l->ndormant + 1, sizeof(*audits));
	if (over == NULL || audits == NULL)
		goto out;
	for (size_t i = 0; i < l->n; i++)
		if (has_ended(&l->at[i], &now))
			over[n++] = l->at[i];
	for (size_t i = 0; i < l->ndormant; i++)
		if (has_ended(&l->dormant[i], &now))
			over[n++] = l->dormant[i];
	for (size_t i = 0; i < n; i++)
		audit_ended(&audits[i], &over[i], now);
	e.audits = audits;
	e.naudits = n;
	if (live_edit(l, &e, &m) != LIVE_DONE) {
		/* What ended does not count any more in any case; tidying can wait. */
		log_warn("policy could not be compiled anew: %s", m.n > 0 ? m.text[0] : "");
		l->next_end_s = POLICY_ENDLESS;
		l->compiled_s = now - DAY_S + 60;
		goto out;
	}
	for (size_t i = 0; i < n; i++)
		ended(arg, &over[i]);
out:
	mistakes_free(&m);
	for (size_t i = 0; audits != NULL && i < n; i++)
		free((char *)(uintptr_t)audits[i].subject);
	free(over);
	free(audits);
}
