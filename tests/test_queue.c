/*
 * test_queue.c - who waits for a key goes in the order in which he came: every step of the queue
 * with the time in the test's hand, nobody sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomics.h"
#include "clock.h"
#include "fixture.h"
#include "queue.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static const char policy[] = "limits:\n"
			     "  m: 2/s\n"
			     "  minute: 60/min\n"
			     "  fixed: 4/min fixed\n"
			     "  bucket: 10/s burst 5\n"
			     "  both: [60/min, 2/s]\n"
			     "  open: unlimited\n";

static struct fixture f;

static int
setup(void **state)
{
	(void)state;
	fixture_open(&f, policy, 64);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fixture_close(&f);
	return 0;
}

static uint64_t
now_ns(void)
{
	return atomic_load(&f.now);
}

static void
go_to(uint64_t ns)
{
	if (ns > now_ns())
		atomic_store(&f.now, ns);
}

/* ---- one event loop's bookings ---- */

static int
book(ration_booking_t *b, const char *limit, uint64_t cost, unsigned flags)
{
	b->size = sizeof(*b);
	return ration_book(f.r, limit, "k", 1, cost, flags, b, NULL);
}

/* Use up what is there now. */
static unsigned
drain(const char *limit, const char *key)
{
	unsigned n = 0;

	while (ration_acquire(f.r, limit, key, 1, NULL) == RATION_ADMITTED)
		n++;
	return n;
}

/* Each comes when he was told to; who went, in order.  At most `until`. */
static unsigned
run_bookings(ration_booking_t *b, unsigned n, const char *limit, unsigned flags, uint64_t until,
    unsigned *order, uint64_t *when)
{
	unsigned gone = 0;

	while (gone < n) {
		unsigned first = n;

		for (unsigned i = 0; i < n; i++)
			if (b[i].at_ns != 0 && (first == n || b[i].at_ns < b[first].at_ns))
				first = i;
		if (first == n || b[first].at_ns > until)
			break;
		go_to(b[first].at_ns);
		if (book(&b[first], limit, 1, flags) == RATION_ADMITTED) {
			order[gone] = first;
			when[gone++] = now_ns();
		}
	}
	return gone;
}

static void
test_order(void **state)
{
	ration_booking_t b[20] = { 0 };
	unsigned order[20];
	uint64_t when[20];

	(void)state;
	assert_int_equal(drain("m", "k"), 2);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(book(&b[i], "m", 1, 0), RATION_DENIED);
		assert_true(b[i].at_ns > now_ns());
	}
	assert_int_equal(run_bookings(b, 20, "m", 0, now_ns() + 60 * SECOND, order, when), 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 0);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
	/* 2/s, not one a second: nothing here is rounded to a second. */
	assert_true(when[19] - when[0] < 11 * SECOND);
}

static void
test_spread(void **state)
{
	ration_booking_t b[100] = { 0 };
	unsigned order[100];
	uint64_t when[100], start = now_ns();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		int v = book(&b[i], "minute", 1, RATION_SPREAD);

		assert_int_equal(v, i == 0 ? RATION_ADMITTED : RATION_DENIED);
		if (i == 0)
			assert_true(b[i].at_ns == 0 && b[i].queue == 0);
		else
			assert_in_range(
			    b[i].at_ns, start + i * SECOND - 2 * MS, start + i * SECOND + 20 * MS);
	}
	assert_int_equal(
	    run_bookings(b + 1, 99, "minute", RATION_SPREAD, now_ns() + 200 * SECOND, order, when),
	    99);
	for (unsigned i = 0; i < 99; i++) {
		uint64_t gap = when[i] - (i == 0 ? start : when[i - 1]);

		assert_int_equal(order[i], i);
		assert_true(gap >= SECOND);
		assert_true(gap < (i < 28 ? SECOND + 20 * MS : SECOND * 6 / 5));
	}
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spread, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
