/*
 * test_history.c - usage as it is recorded against an exact oracle: forty days of random traffic
 * with refunds, settlements, resets, changed limits and plans, restarts, slots that are recycled,
 * on a clock that is moved; retention, bounds.  The recorder, its store and the keeper are
 * rationd's own, in this process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "history.h"
#include "model.h"

#define QUARTER 900
#define DAYS 40u
#define LIMITS 6u
#define KEYS 300u
#define TWO 5u
#define TABLE "table: {keys: 96, idle: 1min, policy: 256Ki}\n"

static const char *const names[LIMITS] = { "slide", "fixed", "month", "bucket", "free", "two" };
static const char limits[] = "plans: [small, large]\n"
			     "defaults: {plan: small}\n"
			     "limits:\n"
			     "  slide: {per: minute, plans: [40, 90]}\n"
			     "  fixed: 60/min fixed\n"
			     "  month: 100000/month\n"
			     "  bucket: 50/min burst 30\n"
			     "  free: unlimited\n"
			     "  two: [30/min, 500/hour]\n";
static const char changed[] = "plans: [small, large]\n"
			      "defaults: {plan: large}\n"
			      "limits:\n"
			      "  slide: {per: minute, plans: [40, 90]}\n"
			      "  fixed: 45/min\n"
			      "  month: 40/min burst 20\n"
			      "  bucket: 50/min fixed\n"
			      "  free: 1000000/day\n"
			      "  two: [30/min, 500/hour]\n";

struct sums {
	int64_t admitted, denied;
};

struct world {
	char dir[64];
	struct paths paths;
	struct keeper k;
	struct store *store;
	struct history *h;
	struct config_history policy;
	ration_t *r;
	int64_t begin; /* Unix s, of the first quarter */
	size_t quarters;
	struct sums *oracle; /* [limit][key + 1: others][quarter] */
	uint64_t random;
};

/* ---- the world ---- */

static struct config *
parse(const char *text)
{
	struct mistakes m = { 0 };
	char all[2048];
	struct config *c;

	(void)snprintf(all, sizeof(all), "%s%s", TABLE, text);
	if (config_parse("p.yaml", all, strlen(all), &c, &m) != 0)
		fail_msg("%s", m.text[0]);
	return c;
}

static void
publish(struct world *w, const char *text)
{
	struct config *c = parse(text);
	struct mistakes m = { 0 };

	if (keeper_compile(&w->k, c, NULL, 0, &m) != 0)
		fail_msg("%s", m.text[0]);
	keeper_publish(&w->k);
	config_free(c);
}

/* As rationd does; first: there was none before. */
static void
start(struct world *w, bool first)
{
	struct config *c = parse(limits);
	struct config_table t;
	char err[512] = "";

	config_table(c, &t);
	config_free(c);
	if (store_open(w->paths.state, &w->store, err, sizeof(err)) != 0 ||
	    keeper_open(&w->k, &w->paths, &t, (gid_t)-1, true, err, sizeof(err)) != 0 ||
	    history_open(&w->h, &w->k, w->store, &w->policy, err, sizeof(err)) != 0)
		fail_msg("%s", err);
	if (first)
		publish(w, limits);
}

static void
end(struct world *w)
{
	history_close(w->h);
	keeper_close(&w->k);
	store_close(w->store);
}

static struct sums *
cell(struct world *w, unsigned limit, unsigned key, int64_t now)
{
	int64_t q = (now - w->begin) / QUARTER;

	assert_true(q >= 0 && (size_t)q < w->quarters);
	return &w->oracle[((size_t)limit * (KEYS + 1) + key) * w->quarters + (size_t)q];
}

/* Moved as rationd moves it: what was used is of the time before. */
static void
advance(struct world *w, int64_t s)
{
	history_record(w->h);
	keeper_advance(&w->k, (uint64_t)s * 1000000000u);
}

static void
ticks(struct world *w, unsigned n)
{
	while (n-- > 0) {
		(void)keeper_tick(&w->k);
		history_tick(w->h);
	}
}

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->random = test_seed();
	(void)snprintf(w->dir, sizeof(w->dir), "/dev/shm/ration-test.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(paths_find("t", w->dir, true, &w->paths), 0);
	w->policy = (struct config_history) {
		.every_s = 60, .keep_s = { 50 * 86400, 50 * 86400, 400 * 86400 }, .keys = 1000000
	};
	w->quarters = (DAYS + 2) * 96;
	w->oracle = calloc(LIMITS * (KEYS + 1) * w->quarters, sizeof(*w->oracle));
	assert_non_null(w->oracle);
	start(w, true);
	/* The test takes seconds: it never comes to the end of a quarter by itself. */
	w->begin = usage_floor(2, keeper_now(&w->k)) + 86400;
	keeper_advance(&w->k, (uint64_t)(w->begin + 100 - keeper_now(&w->k)) * 1000000000u);
	assert_int_equal(ration_open_dir(w->dir, "t", 0, &w->r), 0);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;
	DIR *d = opendir(w->dir);
	struct dirent *e;

	ration_close(w->r);
	end(w);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(w->dir);
	free(w->oracle);
	free(w);
	return 0;
}

/* ---- traffic ---- */

static void
key_name(unsigned key, char *out, size_t size)
{
	(void)snprintf(
	    out, size, key % 7 == 0 ? "a key of more than thirty-two bytes:%u" : "k%u", key);
}

struct taken {
	ration_decision_t d;
	unsigned limit, key;
	uint64_t cost;
	int64_t at;
};

/* One call, and what the oracle thinks of it.  True: *t may be given back. */
static bool
take(struct world *w, unsigned key, struct taken *t)
{
	unsigned limit = (unsigned)(test_random(&w->random) % LIMITS);
	uint64_t cost = 1 + test_random(&w->random) % 9;
	int64_t now = keeper_now(&w->k);
	char name[64];
	int v;

	key_name(key, name, sizeof(name));
	*t = (struct taken) { RATION_DECISION_INIT, limit, key, cost, now };
	v = ration_acquire(w->r, names[limit], name, cost, &t->d);
	if (v == RATION_ADMITTED) {
		cell(w, limit, key, now)->admitted += (int64_t)cost;
		return true;
	}
	assert_int_equal(v, RATION_DENIED);
	/* No slot: nobody knows the key. */
	cell(w, limit, t->d.reason == RATION_R_FULL ? KEYS : key, now)->denied++;
	return false;
}

/* Part of it back, or its real cost. */
static void
give_back(struct world *w, struct taken *t)
{
	uint64_t units = test_random(&w->random) % (t->cost + 1), real;
	int64_t now = keeper_now(&w->k);

	/* Of two rates one may have expired, so that nobody can say whether it is given back. */
	if (units == 0 || (t->limit == TWO && now - t->at >= QUARTER))
		return;
	if (test_random(&w->random) % 2 == 0) {
		if (ration_refund(w->r, &t->d, units) == 0)
			cell(w, t->limit, t->key, now)->admitted -= (int64_t)units;
		return;
	}
	real = test_random(&w->random) % 14;
	if (ration_settle(w->r, &t->d, real) == 0)
		cell(w, t->limit, t->key, now)->admitted += (int64_t)real - (int64_t)t->cost;
}

/* ---- what was recorded ---- */

/* A view of one level over all of the oracle's time. */
static struct history_view
view(const struct world *w, unsigned level)
{
	struct history_view v = { .level = level, .step = usage_seconds[level], .from = w->begin };

	v.n = w->quarters * QUARTER / (size_t)v.step;
	return v;
}

static struct sums
expected(struct world *w, unsigned limit, unsigned key, const struct history_view *v, size_t i)
{
	size_t each = (size_t)v->step / QUARTER;
	struct sums sum = { 0, 0 };

	for (size_t q = i * each; q < (i + 1) * each; q++) {
		const struct sums *s =
		    &w->oracle[((size_t)limit * (KEYS + 1) + key) * w->quarters + q];

		sum.admitted += s->admitted;
		sum.denied += s->denied;
	}
	return sum;
}

static void
check_series(struct world *w, unsigned limit, unsigned key, const struct history_view *v)
{
	const struct history_series *s = NULL;

	for (size_t i = 0; i < v->nseries; i++)
		if (strcmp(v->series[i].limit, names[limit]) == 0)
			s = &v->series[i];
	for (size_t i = 0; i < v->n; i++) {
		struct sums want = expected(w, limit, key, v, i);
		int64_t admitted = s != NULL ? s->admitted[i] : 0;
		int64_t denied = s != NULL ? s->denied[i] : 0;

		if (admitted != want.admitted || denied != want.denied)
			fail_msg("%s key %u, level %u, bucket %zu: recorded %" PRId64
				 " and %" PRId64 ", expected %" PRId64 " and %" PRId64,
			    names[limit], key, v->level, i, admitted, denied, want.admitted,
			    want.denied);
	}
}

static void
check_keys(struct world *w)
{
	char name[64];

	for (unsigned level = 0; level < USAGE_LEVELS; level++)
		for (unsigned key = 0; key <= KEYS; key++) {
			struct history_view v = view(w, level);

			key_name(key, name, sizeof(name));
			assert_true(history_key(w->h, (const unsigned char *)name,
			    key == KEYS ? 0 : strlen(name), NULL, &v));
			for (unsigned limit = 0; limit < LIMITS; limit++)
				check_series(w, limit, key, &v);
			history_view_free(&v);
		}
}

static void
check_totals(struct world *w)
{
	for (unsigned level = 0; level < USAGE_LEVELS; level++) {
		struct history_view v = view(w, level), p = view(w, level);

		assert_true(history_totals(w->h, HISTORY_BY_LIMIT, NULL, &v));
		assert_true(history_totals(w->h, HISTORY_BY_PLAN, NULL, &p));
		for (unsigned limit = 0; limit < LIMITS; limit++)
			for (size_t i = 0; i < v.n; i++) {
				struct sums want = { 0, 0 }, got = { 0, 0 }, plans = { 0, 0 };

				for (unsigned key = 0; key <= KEYS; key++) {
					struct sums one = expected(w, limit, key, &v, i);

					want.admitted += one.admitted;
					want.denied += one.denied;
				}
				for (size_t s = 0; s < v.nseries; s++)
					if (strcmp(v.series[s].limit, names[limit]) == 0) {
						got.admitted += v.series[s].admitted[i];
						got.denied += v.series[s].denied[i];
					}
				for (size_t s = 0; s < p.nseries; s++)
					if (strcmp(p.series[s].limit, names[limit]) == 0) {
						plans.admitted += p.series[s].admitted[i];
						plans.denied += p.series[s].denied[i];
					}
				assert_true(got.admitted == want.admitted);
				assert_true(got.denied == want.denied);
				assert_true(plans.admitted == want.admitted);
				assert_true(plans.denied == want.denied);
			}
		history_view_free(&v);
		history_view_free(&p);
	}
}

/* ---- forty days ---- */

/* Somebody restarts rationd, changes the policy, resets a key. */
static void
something_else(struct world *w, unsigned key)
{
	uint64_t dice = test_random(&w->random) % 40;
	unsigned char bytes[256];
	uint32_t limit;
	uint64_t birth;

	if (dice == 0) {
		end(w);
		start(w, false);
	} else if (dice < 4) {
		publish(w, dice == 1 ? limits : changed);
	} else if (dice < 8) {
		uint64_t slot = key % w->k.seg.nslots;

		if (table_key(&w->k.seg, slot, bytes, &limit, &birth) > 0)
			(void)view_reset(&w->k.seg, slot, birth, keeper_shared(&w->k));
	}
}

static void
forty_days(struct world *w)
{
	struct taken kept[32];
	size_t nkept = 0;
	int64_t last = w->begin + (int64_t)DAYS * 86400;

	while (keeper_now(&w->k) < last) {
		/* Those who come change: more keys than slots, over time. */
		unsigned first = (unsigned)((keeper_now(&w->k) - w->begin) / 7200);

		for (unsigned i = 0; i < 40; i++) {
			unsigned key = (first + (unsigned)(test_random(&w->random) % 24)) % KEYS;
			struct taken t;

			if (take(w, key, &t)) {
				if (nkept < 32)
					kept[nkept++] = t;
				else
					give_back(w, &t);
			}
			if (nkept > 0 && test_random(&w->random) % 4 == 0)
				give_back(w, &kept[--nkept]);
			if (i % 8 == 0)
				ticks(w, 1);
		}
		/* Slots come to be freed with what was not recorded yet. */
		for (unsigned i = 0; i < 3 && test_random(&w->random) % 2 == 0; i++) {
			keeper_advance(&w->k, UINT64_C(200) * 1000000000);
			ticks(w, 110);
		}
		something_else(w, (unsigned)test_random(&w->random));
		/* Mostly a little; what was taken is then given back in another quarter. */
		advance(w,
		    QUARTER * (1 + (int64_t)(test_random(&w->random) % 6)) + 100 -
			keeper_now(&w->k) % QUARTER);
		ticks(w, 110);
	}
}

static void
test_forty_days(void **state)
{
	struct world *w = *state;
	struct history_status s;

	forty_days(w);
	history_record(w->h);
	check_keys(w);
	check_totals(w);
	/* Also when everything that has closed is rolled up, and after a restart. */
	advance(w, QUARTER * 8);
	ticks(w, 3000);
	end(w);
	start(w, false);
	check_keys(w);
	check_totals(w);
	history_status(w->h, &s);
	assert_int_equal(s.lost, 0);
	(void)printf("%" PRIu64 " slots recycled, %" PRId64 " entries, %" PRId64 " bytes\n",
	    atomic_load(&w->k.seg.head->recycled), s.entries, s.bytes);
	assert_true(atomic_load(&w->k.seg.head->recycled) > 1000);
}

/* ---- one thing at a time ---- */

static void
grant(struct world *w, const char *limit, const char *key, uint64_t cost)
{
	assert_int_equal(ration_acquire(w->r, limit, key, cost, NULL), RATION_ADMITTED);
}

/* Of a key on a limit in the buckets of a level, all of them: admitted. */
static int64_t
sum(struct world *w, const char *limit, const char *key, unsigned level)
{
	struct history_view v = view(w, level);
	int64_t n = 0;

	assert_true(history_key(w->h, (const unsigned char *)key, strlen(key), limit, &v));
	for (size_t s = 0; s < v.nseries; s++)
		for (size_t i = 0; i < v.n; i++)
			n += v.series[s].admitted[i];
	history_view_free(&v);
	return n;
}

static void
assert_sums(struct world *w, const char *limit, const char *key, int64_t want)
{
	for (unsigned level = 0; level < USAGE_LEVELS; level++)
		assert_int_equal(sum(w, limit, key, level), want);
}

static void
copy(const char *from, const char *to)
{
	static char bytes[1 << 20];
	FILE *a = fopen(from, "r"), *b = fopen(to, "w");
	size_t n;

	assert_non_null(a);
	assert_non_null(b);
	while ((n = fread(bytes, 1, sizeof(bytes), a)) > 0)
		assert_int_equal(fwrite(bytes, 1, n, b), n);
	(void)fclose(a);
	assert_int_equal(fclose(b), 0);
	assert_int_equal(chmod(to, 0600), 0);
}

/* rationd is killed when a batch is in the store and its cursors are not in the file. */
static void
test_cut_off(void **state)
{
	struct world *w = *state;
	char before[1300];

	(void)snprintf(before, sizeof(before), "%s.before", w->paths.recorded);
	grant(w, "month", "a", 5);
	history_record(w->h);
	copy(w->paths.recorded, before);
	grant(w, "month", "a", 7);
	grant(w, "free", "b", 9);
	history_record(w->h);
	end(w);
	assert_int_equal(rename(before, w->paths.recorded), 0);
	start(w, false);
	history_record(w->h);
	assert_sums(w, "month", "a", 12);
	assert_sums(w, "free", "b", 9);
	/* And not once more. */
	end(w);
	start(w, false);
	grant(w, "month", "a", 1);
	history_record(w->h);
	assert_sums(w, "month", "a", 13);
}

/* An older state is put back beside a segment that lives on: whose usage is whose stays right. */
static void
test_put_back(void **state)
{
	struct world *w = *state;
	char before[1300];

	(void)snprintf(before, sizeof(before), "%s.before", w->paths.state);
	grant(w, "month", "a", 5);
	end(w);
	copy(w->paths.state, before);
	start(w, false);
	grant(w, "month", "b", 7);
	history_record(w->h);
	grant(w, "month", "b", 1);
	end(w);
	assert_int_equal(rename(before, w->paths.state), 0);
	start(w, false);
	grant(w, "month", "c", 20);
	history_record(w->h);
	grant(w, "month", "b", 300);
	history_record(w->h);
	assert_sums(w, "month", "a", 5);
	assert_sums(w, "month", "b", 300);
	assert_sums(w, "month", "c", 20);
}

/* Freeing a slot empties its counts in steps; rationd is killed between two of them. */
static void
test_half_freed(void **state)
{
	struct world *w = *state;
	struct found f;
	struct ident id = {
		.limit = "slide", .limit_len = 5, .key = (const unsigned char *)"a", .key_len = 1
	};
	struct policy_ref p;
	word_t *s;

	grant(w, "slide", "a", 5);
	history_record(w->h);
	assert_true(keeper_policy(&w->k, &p));
	ident_hash(&w->k.seg, &id);
	assert_true(table_find(&w->k.seg, &id, (uint32_t)policy_limit_id(&p, "slide", 5), &f));
	s = segment_slot(&w->k.seg, f.slot);
	/* It is GONE, and whoever is asked has agreed. */
	atomic_store(&s[SLOT_STATE], STATE_WORD(f.birth, STATE_ATTEMPT(s[SLOT_STATE]), ST_GONE));
	assert_true(w->k.sweep.hooks.may_free(w->k.sweep.hooks.arg, &w->k.seg, f.slot));
	atomic_store(&s[SLOT_TOTAL], MARK_NONE);
	for (unsigned i = 0; i < RING_WORDS; i++)
		atomic_store(&s[SLOT_CELLS + CELL_RING + i], BLANK(UINT64_C(0), f.birth));
	end(w);
	start(w, false);
	history_record(w->h);
	ticks(w, 250);
	history_record(w->h);
	assert_sums(w, "slide", "a", 5);
	grant(w, "slide", "a", 2);
	history_record(w->h);
	assert_sums(w, "slide", "a", 7);
}

/* The clock is set back, also to before what is rolled up already: nothing is lost or doubled. */
static void
test_set_back(void **state)
{
	struct world *w = *state;
	_Atomic int64_t *offset = &w->k.seg.policy->real_offset_ns;

	grant(w, "free", "a", 3);
	advance(w, 3 * 86400);
	grant(w, "free", "a", 5);
	advance(w, 3 * 86400);
	ticks(w, 300);
	atomic_fetch_sub(offset, INT64_C(5) * 86400 * 1000000000);
	grant(w, "free", "a", 7);
	history_record(w->h);
	assert_sums(w, "free", "a", 15);
	grant(w, "free", "b", 1);
	history_record(w->h);
	assert_sums(w, "free", "b", 1);
	advance(w, 12 * 86400);
	ticks(w, 300);
	assert_sums(w, "free", "a", 15);
	assert_sums(w, "free", "b", 1);
}

/* Buckets are there as long as policy keeps them, keys as long as one of theirs is. */
static void
test_forget(void **state)
{
	struct world *w = *state;
	const unsigned char *key = (const unsigned char *)"a";
	struct history_status s;
	struct history_view v;
	int64_t days[6];

	w->policy.keep_s[0] = 2 * 3600;
	w->policy.keep_s[1] = 2 * 86400;
	w->policy.keep_s[2] = 5 * 86400;
	history_settings(w->h, &w->policy);
	for (unsigned i = 0; i < 4; i++) {
		grant(w, "free", "a", 10);
		advance(w, 86400);
		ticks(w, 50);
	}
	advance(w, 61); /* looked for once a minute */
	ticks(w, 50);
	assert_int_equal(history_first_seen(w->h, key, 1), w->begin);
	assert_int_equal(history_active_keys(w->h, key, 1, 30, 10), 1);
	assert_true(history_daily(w->h, key, 1, NULL, 5, days));
	assert_int_equal(days[0], 10);
	assert_int_equal(days[3], 10);
	assert_int_equal(days[4], 0);
	assert_int_equal(sum(w, "free", "a", 2), 40);
	/* Hours of the last two days are kept, quarters of two hours. */
	v = view(w, 1);
	assert_true(history_key(w->h, key, 1, "free", &v));
	assert_int_equal(v.series[0].admitted[0], 0);
	assert_int_equal(v.series[0].admitted[72], 10);
	history_view_free(&v);
	assert_int_equal(store_usage_next(w->store, 0, 0), INT64_MAX);
	history_span(w->h, 86400, &v);
	assert_int_equal(v.step, 3600);
	assert_int_equal(v.n, 24);
	for (unsigned i = 0; i < 12; i++) {
		advance(w, 86400);
		ticks(w, 250);
	}
	assert_int_equal(store_usage_next(w->store, 2, 0), INT64_MAX);
	assert_int_equal(store_usage_next(w->store, 2 + USAGE_LEVELS, 0), INT64_MAX);
	history_status(w->h, &s);
	assert_int_equal(s.entries, 0);
	assert_int_equal(s.oldest, -1);
	assert_int_equal(history_first_seen(w->h, key, 1), -1);
	/* It comes again, with another entry. */
	grant(w, "free", "a", 1);
	history_record(w->h);
	assert_int_equal(sum(w, "free", "a", 0), 1);
}

/* A key that is used again while its entry is about to go keeps it. */
static void
test_purge_in_use(void **state)
{
	struct world *w = *state;

	w->policy.keep_s[0] = 2 * 3600;
	w->policy.keep_s[1] = 2 * 86400;
	w->policy.keep_s[2] = 5 * 86400;
	history_settings(w->h, &w->policy);
	w->k.idle_ns = UINT64_C(30) * 86400 * 1000000000;
	grant(w, "free", "a", 10);
	grant(w, "free", "b", 10);
	history_record(w->h);
	advance(w, 8 * 86400 - 600);
	grant(w, "free", "a", 3); /* by the cursor's id: its entry is not looked at */
	history_record(w->h);
	for (unsigned i = 0; i < 4; i++) {
		ticks(w, 250);
		advance(w, 86400);
	}
	ticks(w, 250);
	assert_int_equal(sum(w, "free", "a", 2), 3);
	assert_int_equal(history_first_seen(w->h, (const unsigned char *)"b", 1), -1);
}

/* Keys beyond the bound are counted under their limit alone. */
static void
test_bound(void **state)
{
	struct world *w = *state;
	struct history_view v = view(w, 0);
	struct history_status s;
	char key[32];
	int64_t n = 0;

	w->policy.keys = 20;
	history_settings(w->h, &w->policy);
	for (unsigned i = 0; i < 60; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		grant(w, "free", key, 2);
	}
	history_record(w->h);
	history_status(w->h, &s);
	assert_true(s.entries <= 22);
	assert_true(s.others >= 40);
	assert_true(history_key(w->h, NULL, 0, "free", &v));
	for (size_t i = 0; i < v.n; i++)
		n += v.series[0].admitted[i];
	assert_int_equal(n, 2 * (60 - 20));
	history_view_free(&v);
	v = view(w, 2);
	assert_true(history_totals(w->h, HISTORY_BY_LIMIT, NULL, &v));
	assert_int_equal(v.nseries, 1);
	assert_int_equal(v.series[0].admitted[0], 120);
	history_view_free(&v);
}

/* What is used while it is off is not recorded, not even later. */
static void
test_off(void **state)
{
	struct world *w = *state;

	grant(w, "free", "a", 3);
	w->policy.off = true;
	history_settings(w->h, &w->policy);
	assert_false(history_on(w->h));
	grant(w, "free", "a", 100);
	ticks(w, 10);
	end(w);
	start(w, false);
	w->policy.off = false;
	history_settings(w->h, &w->policy);
	grant(w, "free", "a", 5);
	history_record(w->h);
	assert_sums(w, "free", "a", 8);
}

/* A key on another plan: what was used on either is of that plan. */
static void
test_plans(void **state)
{
	struct world *w = *state;
	struct history_view v = view(w, 0);

	grant(w, "slide", "a", 4);
	history_record(w->h);
	publish(w, changed);
	grant(w, "slide", "a", 6);
	history_record(w->h);
	assert_true(history_totals(w->h, HISTORY_BY_PLAN, "slide", &v));
	assert_int_equal(v.nseries, 2);
	assert_string_equal(v.series[0].plan, "small");
	assert_int_equal(v.series[0].admitted[0], 4);
	assert_string_equal(v.series[1].plan, "large");
	assert_int_equal(v.series[1].admitted[0], 6);
	history_view_free(&v);
	v = view(w, 0);
	assert_true(history_key(w->h, (const unsigned char *)"a", 1, NULL, &v));
	assert_int_equal(v.nseries, 1);
	assert_string_equal(v.series[0].plan, "large");
	assert_int_equal(v.series[0].admitted[0], 10);
	history_view_free(&v);
}

struct rows {
	unsigned n, page;
	int64_t admitted;
};

static bool
a_row(void *arg, const struct usage_row *r, const struct usage_entry *e)
{
	struct rows *rows = arg;

	if (rows->page == 7)
		return false;
	rows->page++;
	rows->n++;
	rows->admitted += r->admitted;
	return true;
}

/* Row by row, in pages, at a level of which a part is not rolled up yet. */
static void
test_walk(void **state)
{
	struct world *w = *state;
	struct history_place at = { 0 };
	struct rows rows = { 0 };
	char key[32];

	for (unsigned h = 0; h < 5; h++) {
		for (unsigned i = 0; i < 20; i++) {
			(void)snprintf(key, sizeof(key), "k%u", i);
			grant(w, "free", key, i + 1);
		}
		advance(w, 3600);
		ticks(w, h % 2 == 0 ? 20 : 0);
	}
	do {
		rows.page = 0;
		assert_true(history_walk(w->h, 1, w->begin, w->begin + 86400, &at, a_row, &rows));
	} while (rows.page == 7);
	assert_int_equal(rows.n, 100);
	assert_int_equal(rows.admitted, 5 * 210);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_put_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_half_freed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set_back, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_purge_in_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bound, setup, teardown),
		cmocka_unit_test_setup_teardown(test_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_plans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_walk, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forty_days, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
