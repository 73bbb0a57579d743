/*
 * test_bounds.c - bounds on denials against simulations: series and limits at random, units placed
 * in their buckets in many ways, and what exact limiters deny of them; every number must lie
 * between the two, and where it can be known, they must be one.
 */
#include "bounds.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#include "fixture.h"

#define NS_S UINT64_C(1000000000)
#define BUCKETS_MAX 48
#define UNITS_MAX 4000

/* Days begin `shift` s after midnight UTC; months are of 30 such days. */
static int64_t shift;

static void
window_of(void *arg, const struct rate_def *r, int64_t t, int64_t *start, int64_t *end)
{
	int64_t len = r->kind == RATION_MONTH ? 30 * 86400 : (int64_t)(r->window_ns / NS_S);
	int64_t by = r->kind == RATION_FIXED ? 0 : shift;

	(void)arg;
	*start = (t - by) / len * len + by;
	*end = *start + len;
}
static const struct bounds_calendar calendar = { window_of, NULL };

static struct rate_def
rate(uint8_t kind, uint64_t units, uint64_t rate_units, int64_t window)
{
	return (struct rate_def) { .kind = kind,
		.units = units,
		.rate_units = rate_units,
		.window_ns = (uint64_t)window * NS_S };
}

/* ---- the exact limiters; times in ns ---- */

struct limiter {
	const struct rate_def *r;
	int64_t late_ns; /* a window that lasts so much longer */
	int64_t admitted[UNITS_MAX];
	size_t n;
	double level;
	int64_t last;
};

static bool
fits(struct limiter *l, int64_t t)
{
	const struct rate_def *r = l->r;
	int64_t start = 0, end, w = (int64_t)r->window_ns + l->late_ns;
	uint64_t used = 0;

	if (r->kind == RATION_BUCKET) {
		l->level += (double)(t - l->last) * (double)r->rate_units / (double)r->window_ns;
		if (l->level > (double)r->units)
			l->level = (double)r->units;
		l->last = t;
		return l->level >= 1;
	}
	if (r->kind != RATION_SLIDING)
		window_of(NULL, r, t / (int64_t)NS_S, &start, &end);
	for (size_t i = l->n; i-- > 0;) {
		if (r->kind == RATION_SLIDING ? l->admitted[i] <= t - w
					      : l->admitted[i] < start * (int64_t)NS_S)
			break;
		used++;
	}
	return used < r->units;
}

static uint64_t
simulate(const struct rate_def *rates, unsigned nrates, const int64_t *times, size_t n, bool late)
{
	static struct limiter l[2];
	uint64_t denied = 0;

	for (unsigned i = 0; i < nrates; i++) {
		l[i].r = &rates[i];
		l[i].n = 0;
		l[i].late_ns = late ? (int64_t)rates[i].window_ns / 15 : 0;
		l[i].level = (double)rates[i].units;
		l[i].last = times[0];
	}
	for (size_t k = 0; k < n; k++) {
		bool ok = true;

		for (unsigned i = 0; i < nrates; i++)
			ok &= fits(&l[i], times[k]);
		denied += !ok;
		for (unsigned i = 0; ok && i < nrates; i++) {
			l[i].admitted[l[i].n++] = times[k];
			l[i].level -= 1;
		}
	}
	return denied;
}

/* ---- placing ---- */

static int
by_time(const void *a, const void *b)
{
	const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* Of so many units of a bucket of `len` ns, unit i. */
static int64_t
place(unsigned how, uint64_t i, uint64_t n, int64_t len, uint64_t pick, uint64_t *seed)
{
	switch (how) {
	case 0: /* evenly */
		return (int64_t)((__int128)len * (int64_t)i / (int64_t)n);
	case 1: /* anywhere */
		return (int64_t)(test_random(seed) % (uint64_t)len);
	case 2: /* at one instant */
		return (int64_t)(pick % (uint64_t)len);
	case 3:
		return 0;
	case 4:
		return len - 1;
	default: /* at some instants */
		return (
		    int64_t)((pick + i % (how - 3) * UINT64_C(0x9e3779b97f4a7c15)) % (uint64_t)len);
	}
}

static size_t
place_all(const struct bounds_series *s, unsigned how, int64_t *times, uint64_t *seed)
{
	int64_t len = s->bucket_s * (int64_t)NS_S;
	size_t k = 0;

	for (size_t j = 0; j < s->n; j++) {
		unsigned way = how == 9 ? (unsigned)(test_random(seed) % 9)
		    : how == 10         ? 3 + (j & 1)
		    : how == 11         ? 4 - (j & 1)
					: how;
		uint64_t pick = test_random(seed);

		for (uint64_t i = 0; i < s->units[j]; i++)
			times[k++] = s->start_s * (int64_t)NS_S + (int64_t)j * len +
			    place(way, i, s->units[j], len, pick, seed);
	}
	qsort(times, k, sizeof(times[0]), by_time);
	return k;
}

static struct rate_def
random_rate(uint64_t *seed)
{
	static const int64_t windows[] = { 1, 30, 60, 90, 100, 300, 840, 900, 1000, 1800, 3600,
		5000, 7200, 86400 };
	static const uint8_t kinds[] = { RATION_SLIDING, RATION_SLIDING, RATION_FIXED,
		RATION_BUCKET, RATION_DAY, RATION_MONTH };
	uint8_t kind = kinds[test_random(seed) % 6];
	uint64_t units = test_random(seed) % 60;
	int64_t w = windows[test_random(seed) % 14];

	if (kind == RATION_DAY)
		w = 86400;
	if (kind == RATION_MONTH)
		w = 31 * 86400;
	if (kind == RATION_BUCKET)
		return rate(kind, units + 1, 1 + test_random(seed) % 50, w);
	return rate(kind, units, units, w);
}

static void
fail_at(const struct bounds_series *s, const struct rate_def *rates, unsigned nrates,
    const struct bounds *b, uint64_t denied, unsigned how)
{
	for (size_t j = 0; j < s->n; j++)
		print_error("%" PRIu64 " ", s->units[j]);
	for (unsigned i = 0; i < nrates; i++)
		print_error("; kind %u, %" PRIu64 "/%" PRIu64 " in %" PRIu64 " s", rates[i].kind,
		    rates[i].units, rates[i].rate_units, rates[i].window_ns / NS_S);
	fail_msg("in buckets of %lld s, placed by %u: %" PRIu64 " denied, not between %" PRIu64
		 " and %" PRIu64,
	    (long long)s->bucket_s, how, denied, b->fewest, b->most);
}

static void
test_random_series(void **state)
{
	static const int64_t lengths[] = { 60, 900, 3600, 86400 };
	static int64_t times[UNITS_MAX];
	static uint64_t units[BUCKETS_MAX];
	uint64_t seed = test_seed();
	int rounds = getenv("RATION_LONG") != NULL ? 60000 : 3000;

	(void)state;
	for (int round = 0; round < rounds; round++) {
		struct bounds_series s = { .units = units,
			.n = 1 + test_random(&seed) % BUCKETS_MAX };
		struct rate_def rates[2] = { random_rate(&seed), random_rate(&seed) };
		unsigned nrates = 1 + (unsigned)(test_random(&seed) % 2);
		uint64_t most = 1 + test_random(&seed) % 80, denied;
		struct bounds b;
		size_t n;

		s.bucket_s = lengths[test_random(&seed) % 4];
		s.start_s = INT64_C(1790000000) / 86400 * 86400 +
		    (int64_t)(test_random(&seed) % 100) * s.bucket_s;
		shift = (int64_t[]) { 0, 3600, 5400 }[test_random(&seed) % 3];
		for (size_t j = 0; j < s.n; j++)
			units[j] = test_random(&seed) % 3 == 0 ? 0 : test_random(&seed) % most;
		assert_true(bounds_find(&s, rates, nrates, &calendar, &b));
		assert_true(b.fewest <= b.most);
		for (unsigned how = 0; how < 12; how++)
			for (unsigned late = 0; late < 2; late++) {
				n = place_all(&s, how, times, &seed);
				denied = n != 0 ? simulate(rates, nrates, times, n, late) : 0;
				if (denied < b.fewest || denied > b.most)
					fail_at(&s, rates, nrates, &b, denied, how);
			}
	}
}

/* ---- what can be known ---- */

static void
check(const uint64_t *units, size_t n, int64_t bucket, struct rate_def r, uint64_t fewest,
    uint64_t most)
{
	struct bounds_series s = {
		.units = units, .n = n, .start_s = INT64_C(1790035200), .bucket_s = bucket
	};
	struct bounds b;

	assert_true(bounds_find(&s, &r, 1, &calendar, &b));
	if (b.fewest != fewest || b.most != most)
		fail_msg("between %" PRIu64 " and %" PRIu64 ", expected %" PRIu64 " and %" PRIu64,
		    b.fewest, b.most, fewest, most);
}

static void
test_exact(void **state)
{
	static const uint64_t quarters[8] = { 10, 0, 30, 5, 100, 0, 0, 1 };

	(void)state;
	shift = 0;
	/* Windows of whole buckets: 45, then 101 in an hour. */
	check(quarters, 8, 900, rate(RATION_FIXED, 40, 40, 3600), 5 + 61, 5 + 61);
	check(quarters, 8, 900, rate(RATION_DAY, 100, 100, 86400), 46, 46);
	check(quarters, 8, 900, rate(RATION_MONTH, 146, 146, 31 * 86400), 0, 0);
	check(quarters, 8, 900, rate(RATION_FIXED, 0, 0, 60), 146, 146);
	check(quarters, 8, 900, rate(RATION_COUNT_ONLY, 1, 1, 60), 0, 0);
}

static void
test_known(void **state)
{
	static const uint64_t quarters[4] = { 10, 0, 100, 0 };
	static const uint64_t pair[2] = { 20, 20 };

	(void)state;
	shift = 0;
	/* 15 windows of a minute in a quarter: spread out all fit; at once all but one window's. */
	check(quarters, 4, 900, rate(RATION_FIXED, 8, 8, 60), 0, 2 + 92);
	check(quarters, 4, 900, rate(RATION_FIXED, 5, 5, 60), 100 - 75, 5 + 95);
	/* Neighbours may fill a sliding window together: at the end of one, at the other's start.
	 */
	check(pair, 2, 900, rate(RATION_SLIDING, 20, 20, 60), 0, 20);
	check(pair, 2, 900, rate(RATION_SLIDING, 40, 40, 60), 0, 0);
	check(pair, 2, 900, rate(RATION_SLIDING, 20, 20, 1800), 20, 20);
	/* 10 at once and one a minute: at most 10 + 30 of 40 in half an hour. */
	check(pair, 2, 900, rate(RATION_BUCKET, 10, 1, 60), 0, 30);
	check(pair, 2, 900, rate(RATION_BUCKET, 4, 1, 60), 6, 36);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_random_series),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
