/*
 * test_upstream_stalls.c - a client that is stopped at any step, before each access to a shared
 * word and after each reading of the clock, while others act: what they did meanwhile is to it in
 * the future, and it must not take that for long past, nor go by what it saw before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "atomics.h"
#include "upstream.h"
#include "upstreams.h"

#define STEPS_MOST 2000u

static struct fixture f;
static ration_upstream_t u;
static ration_t *slow;

/* At that step, counted from 1, the slow one is stopped, and others act. */
static struct {
	unsigned at, steps, admitted;
	void (*others)(void);
	bool stopped;
} stall;

static void
step(const char *where, const word_t *word)
{
	(void)where;
	(void)word;
	if (++stall.steps != stall.at)
		return;
	step_hook = NULL;
	stall.stopped = true;
	stall.others();
	step_hook = step;
}

static uint64_t
slow_clock(void *arg)
{
	uint64_t now = atomic_load(&f.now);

	(void)arg;
	if (step_hook != NULL)
		step("clock", NULL);
	return now;
}

static void
advance(uint64_t ns)
{
	atomic_fetch_add(&f.now, ns);
}

static void
open_x(const char *policy, unsigned at, void (*others)(void))
{
	fixture_open(&f, policy, 0);
	assert_int_equal(ration_upstream(f.r, "x", &u), 0);
	slow = fixture_handle(&f);
	stall.at = at;
	stall.steps = stall.admitted = 0;
	stall.stopped = false;
	stall.others = others;
	clock_fake(&slow->clock, slow_clock, NULL);
}

static void
close_x(void)
{
	ration_close(slow);
	fixture_close(&f);
}

static ration_attempt_t
fresh(void)
{
	return (ration_attempt_t) { .size = sizeof(ration_attempt_t) };
}

static int
begin(ration_t *r, ration_attempt_t *a)
{
	return ration_upstream_begin(r, &u, 1, a);
}

/* The slow one: stopped on its way. */
static int
begin_slow(ration_attempt_t *a)
{
	int v;

	step_hook = step;
	v = begin(slow, a);
	step_hook = NULL;
	return v;
}

static void
answer(ration_t *r, ration_attempt_t *a, const char *left)
{
	const ration_attr_t h[] = {
		{ sizeof(h[0]), "X-RateLimit-Limit", "100", 3 },
		{ sizeof(h[0]), "X-RateLimit-Remaining", left, strlen(left) },
		{ sizeof(h[0]), "X-RateLimit-Reset", "600", 3 },
	};

	assert_int_equal(ration_upstream_end(r, &u, a, 200, h, 3), 0);
}

/* ---- what is in flight ---- */

static void
send_50(void)
{
	advance(10000 * MS_NS);
	for (unsigned i = 0; i < 50; i++) {
		ration_attempt_t a = fresh();

		assert_int_equal(begin(f.r, &a), RATION_ADMITTED);
	}
}

/* Of a limit of 100 no more than 100 are sent, though 50 of them were sent while it was stopped. */
static void
test_flight(void **state)
{
	(void)state;
	stall.stopped = true;
	for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++) {
		ration_attempt_t a = fresh(), s = fresh();
		unsigned n = 52;

		open_x("limits: {api: 1/s}\n", at, send_50);
		assert_int_equal(begin(f.r, &a), RATION_ADMITTED);
		answer(f.r, &a, "99");
		assert_int_equal(begin_slow(&s), RATION_ADMITTED);
		answer(slow, &s, "98");
		if (!stall.stopped)
			n = 2; /* it was not stopped */
		for (a = fresh(); begin(f.r, &a) == RATION_ADMITTED; a = fresh())
			n++;
		if (n > 100)
			fail_msg("stopped at step %u: %u sent", at, n);
		close_x();
	}
}

static void
send_30_later(void)
{
	advance(UINT64_C(24) << 32); /* the same word of those that count what is in flight */
	for (unsigned i = 0; i < 30; i++) {
		ration_attempt_t a = fresh();

		assert_int_equal(begin(f.r, &a), RATION_ADMITTED);
	}
}

/* What others have in flight stays counted. */
static void
test_flight_kept(void **state)
{
	(void)state;
	stall.stopped = true;
	for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++) {
		ration_attempt_t a = fresh(), s = fresh();
		uint64_t flight;

		open_x("limits: {api: 1/s}\n", at, send_30_later);
		assert_int_equal(begin(f.r, &a), RATION_ADMITTED);
		answer(f.r, &a, "99");
		assert_int_equal(begin_slow(&s), RATION_ADMITTED);
		flight = budget_flight(side_upstream(f.seg.side, u.place), atomic_load(&f.now));
		if (stall.stopped && flight < 30)
			fail_msg("stopped at step %u: %u in flight", at, (unsigned)flight);
		close_x();
	}
}

/* ---- one at a time ---- */

static void
send_one(void)
{
	ration_attempt_t a = fresh();

	advance(MS_NS);
	stall.admitted = begin(f.r, &a) == RATION_ADMITTED;
}

/* At the first contact one goes, also when two looked at the clock in different milliseconds. */
static void
test_one_opens(void **state)
{
	(void)state;
	stall.stopped = true;
	for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++) {
		ration_attempt_t s = fresh();

		open_x("limits: {api: 1/s}\n", at, send_one);
		stall.admitted += begin_slow(&s) == RATION_ADMITTED;
		if (stall.stopped && stall.admitted != 1)
			fail_msg("stopped at step %u: %u go first", at, stall.admitted);
		close_x();
	}
}

/* The one request that the limit has room for is sent and answered. */
static void
send_last(void)
{
	ration_attempt_t a = fresh();

	advance(MS_NS);
	stall.admitted = begin(f.r, &a) == RATION_ADMITTED;
	if (stall.admitted != 0)
		answer(f.r, &a, "0");
}

/* Who was about to go first does not, once another has been told that nothing is left. */
static void
test_answered(void **state)
{
	(void)state;
	stall.stopped = true;
	for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++) {
		ration_attempt_t s = fresh();

		open_x("limits: {api: 1/s}\n", at, send_last);
		stall.admitted += begin_slow(&s) == RATION_ADMITTED;
		if (stall.admitted > 1)
			fail_msg("stopped at step %u: %u sent", at, stall.admitted);
		close_x();
	}
}

/* ---- killed ---- */

#define WINDOW_NS (60 * SECOND_NS)
#define WINDOW_LIMIT 10u

static struct {
	uint64_t window;
	unsigned count, refused;
} service;

static sigjmp_buf killed;

static void
die(void)
{
	siglongjmp(killed, 1);
}

/* The service counts it and answers. */
static void
serve(ration_t *r, ration_attempt_t *a)
{
	uint64_t now = atomic_load(&f.now), w = now / WINDOW_NS;
	char left[16], reset[16];
	bool refused;
	const ration_attr_t h[] = {
		{ sizeof(h[0]), "X-RateLimit-Limit", "10", 2 },
		{ sizeof(h[0]), "X-RateLimit-Remaining", left, 0 },
		{ sizeof(h[0]), "X-RateLimit-Reset", reset, 0 },
	};
	ration_attr_t sent[3];

	if (w != service.window)
		service.count = 0;
	service.window = w;
	refused = service.count == WINDOW_LIMIT;
	service.count += !refused;
	service.refused += refused;
	(void)snprintf(left, sizeof(left), "%u", WINDOW_LIMIT - service.count);
	(void)snprintf(reset, sizeof(reset), "%u",
	    (unsigned)((WINDOW_NS - now % WINDOW_NS + SECOND_NS - 1) / SECOND_NS));
	memcpy(sent, h, sizeof(sent));
	sent[1].len = strlen(left);
	sent[2].len = strlen(reset);
	assert_int_equal(ration_upstream_end(r, &u, a, refused ? 429 : 200, sent, 3), 0);
}

static unsigned
send_for(uint64_t ns)
{
	uint64_t until = atomic_load(&f.now) + ns;
	unsigned n = 0;

	while (atomic_load(&f.now) < until) {
		ration_attempt_t a = fresh();

		if (begin(f.r, &a) == RATION_ADMITTED) {
			advance(50 * MS_NS);
			serve(f.r, &a);
			n++;
		} else {
			advance(a.wait_ms * MS_NS);
		}
	}
	return n;
}

/* Killed at that step of a request; in_end: of taking in its answer. */
static void
killed_at(unsigned at, bool in_end)
{
	ration_attempt_t s = fresh();
	unsigned n;

	open_x("limits: {api: 1/s}\n", at, die);
	memset(&service, 0, sizeof(service));
	(void)send_for(at % 2 == 0 ? 0 : 200 * MS_NS);
	if (sigsetjmp(killed, 0) == 0) {
		if (in_end && begin(slow, &s) == RATION_ADMITTED) {
			stall.steps = 0;
			step_hook = step;
			serve(slow, &s);
		} else if (!in_end) {
			(void)begin_slow(&s);
		}
	}
	step_hook = NULL;
	(void)send_for(2 * WINDOW_NS);
	n = send_for(4 * WINDOW_NS);
	if (service.refused != 0 || n < 4 * WINDOW_LIMIT - 1)
		fail_msg("killed at step %u of %s: %u refused, %u sent", at,
		    in_end ? "end" : "begin", service.refused, n);
	close_x();
}

static void
test_killed(void **state)
{
	(void)state;
	for (unsigned in_end = 0; in_end < 2; in_end++) {
		stall.stopped = true;
		for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++)
			killed_at(at, in_end != 0);
	}
}

/* ---- entries ---- */

static ration_upstream_t same, other;

static void
add_both(void)
{
	assert_int_equal(ration_upstream(f.r, "new", &same), 0);
	assert_int_equal(ration_upstream(f.r, "another", &other), 0);
}

/* Two add the same one, and another, at the same time: each name has one entry. */
static void
test_added_at_once(void **state)
{
	(void)state;
	stall.stopped = true;
	for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++) {
		ration_upstream_t mine, again;

		open_x("limits: {api: 1/s}\n", at, add_both);
		step_hook = step;
		assert_int_equal(ration_upstream(slow, "new", &mine), 0);
		step_hook = NULL;
		add_both();
		assert_int_equal(ration_upstream(slow, "another", &again), 0);
		assert_memory_equal(&mine, &same, sizeof(mine));
		assert_memory_equal(&again, &other, sizeof(again));
		assert_true(mine.place != again.place);
		close_x();
	}
}

/* ---- the breaker ---- */

static void
probe(void)
{
	ration_attempt_t a = fresh();

	advance(10000 * MS_NS);
	stall.admitted = begin(f.r, &a) == RATION_ADMITTED;
}

static void
test_one_probes(void **state)
{
	(void)state;
	stall.stopped = true;
	for (unsigned at = 1; stall.stopped && at < STEPS_MOST; at++) {
		ration_attempt_t a, s = fresh();

		open_x("upstreams: {x: {limit: 1000/s, breaker: {failures: 3, open: 30s}}}\n", at,
		    probe);
		for (unsigned i = 0; i < 3; i++) {
			a = fresh();
			assert_int_equal(begin(f.r, &a), RATION_ADMITTED);
			assert_int_equal(ration_upstream_end(f.r, &u, &a, 500, NULL, 0), 0);
		}
		advance(30100 * MS_NS);
		stall.admitted += begin_slow(&s) == RATION_ADMITTED;
		if (stall.admitted != 1)
			fail_msg("stopped at step %u: %u probe", at, stall.admitted);
		close_x();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flight),
		cmocka_unit_test(test_flight_kept),
		cmocka_unit_test(test_one_opens),
		cmocka_unit_test(test_answered),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_added_at_once),
		cmocka_unit_test(test_one_probes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
