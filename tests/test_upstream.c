/*
 * test_upstream.c - other people's limits, kept by all processes of a host together: against a
 * simulated service that counts exactly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream.h"
#include "upstreams.h"

static uint64_t seed;

#define POLICY "limits: {api: 10/min}\n"

static void
advance(struct fixture *f, uint64_t ms)
{
	atomic_fetch_add(&f->now, ms * MS_NS);
}

static int64_t
unix_ms(const struct fixture *f)
{
	return FIXTURE_UNIX * 1000 + (int64_t)((atomic_load(&f->now) - FIXTURE_START) / MS_NS);
}

static ration_attempt_t
fresh(void)
{
	return (ration_attempt_t) { .size = sizeof(ration_attempt_t) };
}

/* ---- one after the other ---- */

static void
test_first_contact(void **state)
{
	struct sim s = { .kind = SIM_FIXED, .limit = 5, .window_ms = 60000 };
	ration_attempt_t a = fresh(), b = fresh();
	struct sim_answer ans;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	fixture_open(&f, POLICY, 0);
	assert_int_equal(ration_upstream(f.r, "x", &u), 0);
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &a), RATION_ADMITTED);
	/* Nothing is known: one at a time. */
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &b), RATION_DENIED);
	assert_int_equal(b.reason, RATION_U_FIRST);
	assert_true(b.wait_ms > 0 && b.wait_ms < 200);
	advance(&f, 50);
	sim_request(&s, unix_ms(&f), 1, &ans);
	advance(&f, 50);
	assert_int_equal(ration_upstream_end(f.r, &u, &a, ans.status, ans.headers, ans.n), 0);
	assert_int_equal(a.retry, 0);
	assert_int_equal(a.limit, 5);
	assert_int_equal(a.remaining, 4);
	for (unsigned i = 0; i < 4; i++) {
		b = fresh();
		assert_int_equal(ration_upstream_begin(f.r, &u, 1, &b), RATION_ADMITTED);
	}
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &a), RATION_DENIED);
	assert_int_equal(a.reason, RATION_U_SPENT);
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_contact),
	};

	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
