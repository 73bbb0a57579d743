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
		something_else(w, (unsigned)test_random(&w->random));
		/* Mostly a little; what was taken is then given back in another quarter. */
		advance(w, QUARTER * (1 + (int64_t)(test_random(&w->random) % 6)));
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_forty_days, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
