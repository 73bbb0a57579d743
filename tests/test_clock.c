/*
 * test_clock.c - shared time over suspends, under made-up clocks: the machine sleeps between
 * any two readings, also while another thread is between two of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "clock.h"

#define MS INT64_C(1000000)
#define HOUR (3600000 * MS)
#define TICK (4 * MS) /* of the coarse clocks */

static struct {
	int64_t mono, asleep, real; /* real: real time - BOOTTIME */
	long left;                  /* readings until then */
	void (*then)(void);
} world;

int __wrap_clock_gettime(clockid_t id, struct timespec *t);

int
__wrap_clock_gettime(clockid_t id, struct timespec *t)
{
	void (*then)(void) = world.then;
	int64_t ns;

	if (then != NULL && world.left-- == 0) {
		world.then = NULL;
		then();
	}
	world.mono += 60;
	ns = world.mono;
	if (id == CLOCK_MONOTONIC_COARSE || id == CLOCK_REALTIME_COARSE)
		ns -= ns % TICK;
	if (id != CLOCK_MONOTONIC && id != CLOCK_MONOTONIC_COARSE)
		ns += world.asleep;
	if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)
		ns += world.real;
	t->tv_sec = ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return 0;
}

static struct clock one;
static struct policy_head head;

static void
sleep_hour(void)
{
	world.asleep += HOUR;
}

/* ...and another thread notices first. */
static void
sleep_and_look(void)
{
	world.asleep += HOUR;
	world.mono += 2 * TICK;
	(void)clock_coarse(&one, &head);
}

/* The coarse clock is not ahead, and not more than its lag behind. */
static void
check_time(void)
{
	uint64_t now;

	for (unsigned i = 0; i < 3; i++) {
		world.mono += TICK;
		now = clock_coarse(&one, &head);
		assert_in_range(
		    now, world.mono + world.asleep - (int64_t)LAG_NS, world.mono + world.asleep);
	}
}

static void
over_suspend(void (*then)(void))
{
	for (long k = 0; k < 24; k++) {
		world.mono = 1000000 * MS;
		world.asleep = 0;
		world.real = 1700000000 * INT64_C(1000000000);
		world.then = NULL;
		clock_init(&one);
		check_time();
		/* In the middle of an ordinary look, or of the look after another sleep. */
		for (unsigned first = 0; first < 2; first++) {
			world.asleep += first * HOUR;
			world.mono += 2 * TICK;
			world.left = k;
			world.then = then;
			(void)clock_coarse(&one, &head);
			world.then = NULL;
			check_time();
		}
		/* While a handle is opened, or a child reads the clocks anew. */
		world.left = k;
		world.then = then;
		clock_forked(&one);
		world.then = NULL;
		check_time();
	}
}

static void
test_suspend(void **state)
{
	(void)state;
	over_suspend(sleep_hour);
	over_suspend(sleep_and_look);
}

/* Real time that is set moves nothing but Unix time. */
static void
set_real(void)
{
	world.real -= 2 * HOUR; /* by just what it slept nobody could tell */
}

static void
test_step(void **state)
{
	(void)state;
	over_suspend(set_real);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_step) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
