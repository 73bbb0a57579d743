/*
 * test_stale.c - a caller that is stopped right after it has read the clock, for as long as
 * others need to go on by many sub-windows.  The handle's clock is where it stops: what it
 * returns is old when it comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "fixture.h"

#define MS UINT64_C(1000000)

struct stop {
	struct fixture f;
	ration_t *other;
	const char *limit;
	const uint64_t *jumps; /* ns, by which the n-th reading is late; 0: ends */
	uint64_t taken;        /* by the other meanwhile */
	uint64_t each;         /* units it tries to take at each stop */
};

static uint64_t
slow_clock(void *arg)
{
	struct stop *s = arg;
	uint64_t now = atomic_load(&s->f.now);

	if (*s->jumps != 0) {
		atomic_store(&s->f.now, now + *s->jumps++);
		for (uint64_t i = 0; i < s->each; i++)
			if (ration_acquire(s->other, s->limit, "k", 1, NULL) == RATION_ADMITTED)
				s->taken++;
	}
	return now;
}

static uint64_t
take_all(ration_t *r, const char *limit)
{
	uint64_t n = 0;

	while (ration_acquire(r, limit, "k", 1, NULL) == RATION_ADMITTED)
		n++;
	return n;
}

/* The stopped caller and the others get no more than the limit within its window. */
static void
stopped(const char *yaml, const char *limit, const uint64_t *jumps, uint64_t each, uint64_t units)
{
	struct stop s = { .limit = limit, .each = each, .jumps = jumps };
	uint64_t all;
	int v;

	fixture_open(&s.f, yaml, 0);
	s.other = fixture_handle(&s.f);
	/* The key is there and its words are of a while ago. */
	assert_int_equal(ration_acquire(s.other, limit, "k", 1, NULL), RATION_ADMITTED);
	atomic_fetch_add(&s.f.now, 100 * 1000 * MS);
	s.f.r->clock.fake = slow_clock;
	s.f.r->clock.fake_arg = &s;
	v = ration_acquire(s.f.r, limit, "k", 1, NULL);
	assert_true(v == RATION_ADMITTED || v == RATION_DENIED);
	all = s.taken + (v == RATION_ADMITTED ? 1 : 0) + take_all(s.other, limit);
	assert_int_equal(all, units);
	assert_int_equal(atomic_load(&s.f.seg.head->scribbles), 0);
	ration_close(s.other);
	fixture_close(&s.f);
}

static void
test_sliding(void **state)
{
	static const char yaml[] = "limits: {x: 10/s, y: [10/s, 100/min]}\n";
	static const uint64_t all[] = { 100 * MS, 100 * MS, 100 * MS, 100 * MS, 100 * MS, 0 };

	(void)state;
	/* The last stop is the longest: before it as many readings as there may be. */
	for (size_t first = 0; first < 5; first++)
		for (uint64_t each = 1; each <= 10; each++) {
			stopped(yaml, "x", all + first, each, 10);
			stopped(yaml, "y", all + first, each, 10);
		}
}

/* Sixteen fixed windows later the word's place comes round again. */
static void
test_fixed(void **state)
{
	static const uint64_t twice[] = { 160000 * MS, 160000 * MS, 0 },
			      once[] = { 160000 * MS, 0 };
	static const char yaml[] = "limits: {x: 10/10s fixed}\n";

	(void)state;
	stopped(yaml, "x", once, 7, 10);
	stopped(yaml, "x", twice, 7, 10 + 7);
}

static void
test_bucket(void **state)
{
	static const uint64_t jumps[] = { 100 * MS, 300 * MS, 0 };
	static const char yaml[] = "limits: {x: 1/min burst 10}\n";

	(void)state;
	for (uint64_t each = 1; each <= 10; each++)
		stopped(yaml, "x", jumps, each, 10);
}

/* ---- whose slot is taken over meanwhile ---- */

struct taken_over {
	struct fixture f;
	ration_t *other;
	const char *limit;
	unsigned at; /* reading of the clock at which it happens */
	uint64_t units;
};

/* Idle, recycled, and another key's: the table has one slot. */
static uint64_t
recycling_clock(void *arg)
{
	struct taken_over *t = arg;
	struct sweep s = { .next = 0 };

	if (t->at > 0 && --t->at == 0) {
		for (unsigned i = 0; i < 4; i++) {
			uint64_t now =
			    atomic_fetch_add(&t->f.now, 200 * 1000 * MS) + 200 * 1000 * MS;

			while (!table_sweep(
			    &t->f.seg, &s, 16, now, clock_unix(t->f.seg.policy, now), 0))
				;
		}
		assert_int_equal(
		    ration_acquire(t->other, t->limit, "b", t->units, NULL), RATION_ADMITTED);
	}
	return atomic_load(&t->f.now);
}

/* The stopped caller charges nobody else, and is not refused for somebody else's use. */
static void
taken_over(const char *limit, uint64_t fill, unsigned at, uint64_t units)
{
	static const char yaml[] = "limits: {x: 10/s, y: 10/10s fixed, z: 60/min burst 10,\n"
				   "  u: unlimited, two: [10/s, 100/min]}\n";
	struct taken_over t = { .limit = limit, .at = at, .units = units };
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k;
	int v;

	fixture_open(&t.f, yaml, 1);
	t.other = fixture_handle(&t.f);
	assert_int_equal(ration_key(t.f.r, limit, "a", 1, &k), 0);
	assert_int_equal(ration_key_acquire(t.f.r, &k, fill, &d), RATION_ADMITTED);
	t.f.r->clock.fake = recycling_clock;
	t.f.r->clock.fake_arg = &t;
	v = ration_key_acquire(t.f.r, &k, 1, &d);
	if (t.at == 0) {
		/* Admitted: it was through when that reading came, for the next call's sake. */
		if (v != RATION_ADMITTED && d.reason != RATION_R_FULL)
			fail_msg("%s, reading %u, %u of its own and %u of the other's: %s", limit,
			    at, (unsigned)fill, (unsigned)units, ration_strerror(v));
		assert_true(ration_peek(t.other, limit, "b", 0, &d) >= 0);
		assert_int_equal(d.rates[0].used, units);
	}
	ration_close(t.other);
	fixture_close(&t.f);
}

static void
test_taken_over(void **state)
{
	static const char *const limits[] = { "x", "y", "z", "u", "two" };

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		for (unsigned at = 1; at <= 4; at++) {
			taken_over(limits[i], 10, at, 4);
			taken_over(limits[i], 10, at, 10);
			taken_over(limits[i], 3, at, 4);
			taken_over(limits[i], 3, at, 10);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_sliding),
		cmocka_unit_test(test_fixed), cmocka_unit_test(test_bucket),
		cmocka_unit_test(test_taken_over) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
