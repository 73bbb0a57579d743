/*
 * test_upstream_parts.c - the parts of the client's side one by one: the circuit breaker, pauses,
 * who goes first, low water, the policy's rates; and what others may have scribbled.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "upstream.h"
#include "upstreams.h"

static uint64_t seed;

static void
advance(struct fixture *f, uint64_t ms)
{
	atomic_fetch_add(&f->now, ms * MS_NS);
}

static ration_attempt_t
fresh(void)
{
	return (ration_attempt_t) { .size = sizeof(ration_attempt_t) };
}

static void
begin(struct fixture *f, ration_upstream_t *u, ration_attempt_t *a)
{
	int v = ration_upstream_begin(f->r, u, 1, a);

	if (v != RATION_ADMITTED)
		fail_msg("not admitted: %d, reason %u, wait %" PRIu64, v, a->reason, a->wait_ms);
}

static void
end(struct fixture *f, ration_upstream_t *u, ration_attempt_t *a, int status)
{
	assert_int_equal(ration_upstream_end(f->r, u, a, status, NULL, 0), 0);
}

static void
denied(struct fixture *f, ration_upstream_t *u, uint32_t reason)
{
	ration_attempt_t a = fresh();

	assert_int_equal(ration_upstream_begin(f->r, u, 1, &a), RATION_DENIED);
	assert_int_equal(a.reason, reason);
	assert_true(a.wait_ms > 0);
}

static word_t *
entry_of(struct fixture *f, const ration_upstream_t *u)
{
	return side_upstream(f->seg.side, u->place);
}

#define BREAKER \
	"upstreams: {x: {limit: 1000/s, on: [5xx, network], tries: 2, first: 1s, jitter: none, " \
	"breaker: {failures: 3, open: 30s}}}\n"

static void
open_x(struct fixture *f, const char *policy, ration_upstream_t *u)
{
	fixture_open(f, policy, 0);
	assert_int_equal(ration_upstream(f->r, "x", u), 0);
}

static void
test_breaker(void **state)
{
	ration_attempt_t a = fresh(), late = fresh(), b = fresh();
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, BREAKER, &u);
	begin(&f, &u, &late);
	for (unsigned i = 0; i < 2; i++) {
		a = fresh();
		begin(&f, &u, &a);
		end(&f, &u, &a, i == 0 ? 500 : 0);
		assert_int_equal(a.breaker, RATION_CLOSED);
	}
	/* A success in between starts anew; 429 is neither. */
	begin(&f, &u, &a);
	end(&f, &u, &a, 200);
	for (unsigned i = 0; i < 3; i++) {
		a = fresh();
		begin(&f, &u, &a);
		end(&f, &u, &a, 503);
	}
	assert_int_equal(a.breaker, RATION_OPEN);
	denied(&f, &u, RATION_U_OPEN);
	/* What was sent before cannot close it, nor does its failure count. */
	end(&f, &u, &late, 200);
	assert_int_equal(late.breaker, RATION_OPEN);
	advance(&f, 29000);
	denied(&f, &u, RATION_U_OPEN);
	advance(&f, 1100);
	a = fresh();
	begin(&f, &u, &a);
	assert_int_equal(a.breaker, RATION_HALF_OPEN);
	denied(&f, &u, RATION_U_PROBED);
	end(&f, &u, &a, 500);
	assert_int_equal(a.breaker, RATION_OPEN);
	denied(&f, &u, RATION_U_OPEN);
	advance(&f, 30100);
	a = fresh();
	begin(&f, &u, &a);
	end(&f, &u, &a, 404);
	assert_int_equal(a.breaker, RATION_CLOSED);
	begin(&f, &u, &b);
	end(&f, &u, &b, 200);
	assert_int_equal(atomic_load(&entry_of(&f, &u)[U_COUNT + UC_probes]), 2);
	assert_int_equal(atomic_load(&entry_of(&f, &u)[U_COUNT + UC_opened]), 2);
	fixture_close(&f);
}

/* A late result meets a breaker that has been open and closed again since. */
static void
test_breaker_late(void **state)
{
	ration_attempt_t late[3], a;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, BREAKER, &u);
	for (unsigned i = 0; i < 3; i++) {
		late[i] = fresh();
		begin(&f, &u, &late[i]);
	}
	for (unsigned i = 0; i < 3; i++) {
		a = fresh();
		begin(&f, &u, &a);
		end(&f, &u, &a, 500);
	}
	advance(&f, 30100);
	a = fresh();
	begin(&f, &u, &a);
	end(&f, &u, &a, 200);
	for (unsigned i = 0; i < 3; i++)
		end(&f, &u, &late[i], 500);
	assert_int_equal(late[2].breaker, RATION_CLOSED);
	fixture_close(&f);
}

/* A probe that hangs is replaced, and its result then counts for nothing. */
static void
test_breaker_hangs(void **state)
{
	ration_attempt_t a, hung = fresh();
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, BREAKER, &u);
	for (unsigned i = 0; i < 3; i++) {
		a = fresh();
		begin(&f, &u, &a);
		end(&f, &u, &a, 0);
	}
	advance(&f, 30100);
	begin(&f, &u, &hung);
	advance(&f, 29900);
	denied(&f, &u, RATION_U_PROBED);
	advance(&f, 200);
	a = fresh();
	begin(&f, &u, &a);
	end(&f, &u, &hung, 200);
	assert_int_equal(hung.breaker, RATION_HALF_OPEN);
	denied(&f, &u, RATION_U_PROBED);
	end(&f, &u, &a, 200);
	assert_int_equal(a.breaker, RATION_CLOSED);
	fixture_close(&f);
}

/* What the budget refuses is no probe: the next one is. */
static void
test_breaker_unprobed(void **state)
{
	ration_attempt_t a;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, "upstreams: {x: {limit: 3/h, breaker: {failures: 3, open: 30s}}}\n", &u);
	for (unsigned i = 0; i < 3; i++) {
		a = fresh();
		begin(&f, &u, &a);
		end(&f, &u, &a, 500);
	}
	advance(&f, 30100);
	denied(&f, &u, RATION_U_LIMIT);
	denied(&f, &u, RATION_U_LIMIT);
	advance(&f, 3900000);
	a = fresh();
	begin(&f, &u, &a);
	assert_int_equal(a.breaker, RATION_HALF_OPEN);
	end(&f, &u, &a, 200);
	assert_int_equal(a.breaker, RATION_CLOSED);
	fixture_close(&f);
}

static void
answer(struct fixture *f, ration_upstream_t *u, ration_attempt_t *a, int status, const char *limit,
    const char *left, const char *reset, const char *retry)
{
	ration_attr_t h[4] = {
		{ sizeof(h[0]), "X-RateLimit-Limit", limit, strlen(limit) },
		{ sizeof(h[0]), "X-RateLimit-Remaining", left, strlen(left) },
		{ sizeof(h[0]), "X-RateLimit-Reset", reset, strlen(reset) },
		{ sizeof(h[0]), "Retry-After", retry != NULL ? retry : "", 0 },
	};

	h[3].len = retry != NULL ? strlen(retry) : 0;
	assert_int_equal(ration_upstream_end(f->r, u, a, status, h, retry != NULL ? 4 : 3), 0);
}

static void
test_pause(void **state)
{
	ration_attempt_t a = fresh(), b = fresh(), c = fresh();
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(
	    &f, "upstreams: {x: {limit: 100/min, on: 429, first: 1s, jitter: 1s, tries: 1}}\n", &u);
	begin(&f, &u, &a);
	begin(&f, &u, &b);
	begin(&f, &u, &c);
	answer(&f, &u, &a, 429, "100", "0", "60", "12");
	assert_int_equal(a.retry, 1);
	assert_in_range(a.wait_ms, 12000, 13000);
	/* All stop; a longer pause holds, a shorter one does not shorten it. */
	denied(&f, &u, RATION_U_PAUSED);
	answer(&f, &u, &b, 429, "100", "0", "60", "20");
	answer(&f, &u, &c, 429, "100", "0", "60", "1");
	assert_in_range(c.wait_ms, 20000, 21000);
	advance(&f, 19999);
	denied(&f, &u, RATION_U_PAUSED);
	advance(&f, 1);
	begin(&f, &u, &a);
	assert_int_equal(a.tries, 2);
	answer(&f, &u, &a, 429, "100", "0", "60", "5");
	assert_int_equal(a.retry, 0); /* once again was the most */
	assert_int_equal(atomic_load(&entry_of(&f, &u)[U_COUNT + UC_refused]), 4);
	assert_int_equal(atomic_load(&entry_of(&f, &u)[U_COUNT + UC_paused]), 2);
	fixture_close(&f);
}

/* After the reset one may ask anew, but what is in flight may be counted in the new window. */
static void
test_opener(void **state)
{
	ration_attempt_t a = fresh(), b = fresh();
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, "limits: {api: 1/s}\n", &u);
	begin(&f, &u, &a);
	answer(&f, &u, &a, 200, "1", "1", "5", NULL);
	begin(&f, &u, &b);
	denied(&f, &u, RATION_U_SPENT);
	advance(&f, 5001);
	denied(&f, &u, RATION_U_SPENT);
	answer(&f, &u, &b, 200, "1", "0", "5", NULL);
	denied(&f, &u, RATION_U_SPENT);
	advance(&f, 5001);
	a = fresh();
	begin(&f, &u, &a);
	/* It dies: two seconds later another may ask, if the limit has room for both. */
	denied(&f, &u, RATION_U_SPENT);
	advance(&f, 35000);
	a = fresh();
	begin(&f, &u, &a);
	fixture_close(&f);
}

/* The first contact's request dies. */
static void
test_opener_dies(void **state)
{
	ration_attempt_t a = fresh();
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, "limits: {api: 1/s}\n", &u);
	begin(&f, &u, &a);
	advance(&f, 1900);
	denied(&f, &u, RATION_U_FIRST);
	advance(&f, 200);
	a = fresh();
	begin(&f, &u, &a);
	fixture_close(&f);
}

/* Somebody else takes from it: that shows, and then a quarter of the rest is in flight at most. */
static void
test_others(void **state)
{
	ration_attempt_t a = fresh();
	ration_upstream_t u;
	struct fixture f;
	unsigned n = 0;

	(void)state;
	open_x(&f, "limits: {api: 1/s}\n", &u);
	begin(&f, &u, &a);
	answer(&f, &u, &a, 200, "100", "99", "60", NULL);
	a = fresh();
	begin(&f, &u, &a);
	answer(&f, &u, &a, 200, "100", "80", "60", NULL);
	for (;; n++) {
		a = fresh();
		if (ration_upstream_begin(f.r, &u, 1, &a) != RATION_ADMITTED)
			break;
	}
	assert_int_equal(a.reason, RATION_U_FIRST);
	assert_in_range(n, 12, 20);
	fixture_close(&f);
}

/* An answer that comes late knows nothing of what came after it. */
static void
test_stale(void **state)
{
	ration_attempt_t old = fresh(), a;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, "limits: {api: 1/s}\n", &u);
	a = fresh();
	begin(&f, &u, &a);
	answer(&f, &u, &a, 200, "100", "99", "60", NULL);
	begin(&f, &u, &old);
	a = fresh();
	begin(&f, &u, &a);
	answer(&f, &u, &a, 200, "100", "10", "60", NULL);
	assert_true(a.remaining <= 10);
	answer(&f, &u, &old, 200, "100", "98", "60", NULL);
	assert_true(old.remaining <= 10);
	/* A newer one does. */
	a = fresh();
	begin(&f, &u, &a);
	answer(&f, &u, &a, 200, "100", "50", "60", NULL);
	assert_int_equal(a.remaining, 50);
	fixture_close(&f);
}

/* Each percentage once in a window, and to one only. */
static void
test_low(void **state)
{
	struct fixture f;
	ration_upstream_t u;
	unsigned told[2] = { 0 };
	char left[16], reset[16];

	(void)state;
	open_x(&f, "upstreams: {x: {low: [10, 20]}}\n", &u);
	for (unsigned window = 0; window < 2; window++) {
		for (int i = 99; i >= 0; i--) {
			ration_attempt_t a = fresh();

			begin(&f, &u, &a);
			snprintf(left, sizeof(left), "%d", i);
			snprintf(reset, sizeof(reset), "%d", 60 - (99 - i) / 10);
			answer(&f, &u, &a, 200, "100", left, reset, NULL);
			if (a.low != 0) {
				assert_true(a.low == (told[window] == 0 ? 20u : 10u));
				assert_int_equal(i, (int)a.low - 1);
				told[window]++;
			}
			advance(&f, 100);
		}
		denied(&f, &u, RATION_U_SPENT);
		advance(&f, 60000);
	}
	assert_int_equal(told[0], 2);
	assert_int_equal(told[1], 2);
	fixture_close(&f);
}

static void
test_policy(void **state)
{
	ration_attempt_t a;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, "upstreams: {x: {limit: [5/s, 8/min]}}\n", &u);
	for (unsigned i = 0; i < 5; i++) {
		a = fresh();
		begin(&f, &u, &a);
	}
	denied(&f, &u, RATION_U_LIMIT);
	advance(&f, 1200);
	for (unsigned i = 0; i < 3; i++) {
		a = fresh();
		begin(&f, &u, &a);
	}
	denied(&f, &u, RATION_U_LIMIT);
	/* Live. */
	fixture_policy(&f, "upstreams: {x: {limit: [5/s, 9/min]}}\n");
	a = fresh();
	begin(&f, &u, &a);
	denied(&f, &u, RATION_U_LIMIT);
	fixture_policy(&f, "limits: {api: 5/s}\n");
	fixture_close(&f);
}

static void
test_names(void **state)
{
	char name[80];
	ration_upstream_t u, v;
	struct fixture f;

	(void)state;
	fixture_open(&f, "limits: {api: 1/s}\n", 0);
	assert_int_equal(ration_upstream(f.r, "", &u), RATION_EINVAL);
	memset(name, 'n', sizeof(name));
	name[64] = '\0';
	assert_int_equal(ration_upstream(f.r, name, &u), RATION_EINVAL);
	name[63] = '\0';
	assert_int_equal(ration_upstream(f.r, name, &u), 0);
	assert_int_equal(ration_upstream(f.r, name, &v), 0);
	assert_memory_equal(&u, &v, sizeof(u));
	for (unsigned i = 1; i < SIDE_UPSTREAMS; i++) {
		snprintf(name, sizeof(name), "up-%u", i);
		assert_int_equal(ration_upstream(f.r, name, &u), 0);
	}
	assert_int_equal(ration_upstream(f.r, "one more", &u), RATION_EFULL);
	assert_int_equal(ration_upstream(f.r, "up-17", &v), 0);
	fixture_close(&f);
}

/* Without what stands beside the counters, and without a segment at all. */
static void
test_detached(void **state)
{
	char dir[] = "/dev/shm/ration-none.XXXXXX";
	ration_attempt_t a = fresh();
	ration_upstream_t u, v;
	struct side_head *side;
	struct segment *seg;
	struct fixture f;
	unsigned differ = 0;
	uint64_t last = 0;
	ration_t *r;

	(void)state;
	open_x(&f, BREAKER, &u);
	seg = atomic_load(&f.r->seg);
	side = seg->side;
	seg->side = NULL;
	assert_int_equal(ration_upstream(f.r, "x", &v), RATION_EDETACHED);
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &a), RATION_EDETACHED);
	assert_int_equal(ration_upstream_end(f.r, &u, &a, 200, NULL, 0), RATION_EINVAL);
	/* Lost in the middle of a request. */
	seg->side = side;
	begin(&f, &u, &a);
	seg->side = NULL;
	end(&f, &u, &a, 503);
	assert_int_equal(a.retry, 1);
	seg->side = side;
	fixture_close(&f);

	assert_non_null(mkdtemp(dir));
	assert_int_equal(ration_open_dir(dir, "t", RATION_FAIL_OPEN, &r), 0);
	assert_int_equal(ration_upstream(r, "x", &u), 0);
	a = fresh();
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(ration_upstream_begin(r, &u, 1, &a), RATION_ADMITTED);
		assert_int_equal(ration_upstream_end(r, &u, &a, 429, NULL, 0), 0);
		assert_int_equal(a.retry, i <= 4);
		assert_true(a.wait_ms <= 1000u << (i - 1));
	}
	/* Who comes at the same time does not come again at the same time. */
	for (unsigned i = 0; i < 8; i++) {
		a = fresh();
		assert_int_equal(ration_upstream_begin(r, &u, 1, &a), RATION_ADMITTED);
		assert_int_equal(ration_upstream_end(r, &u, &a, 429, NULL, 0), 0);
		differ += i > 0 && a.wait_ms != last;
		last = a.wait_ms;
	}
	assert_true(differ > 0);
	ration_close(r);
	(void)rmdir(dir);
}

/* Wrong arguments. */
static void
test_arguments(void **state)
{
	ration_attempt_t a = fresh();
	ration_upstream_t u, bad;
	struct fixture f;

	(void)state;
	open_x(&f, BREAKER, &u);
	assert_int_equal(ration_upstream_begin(f.r, &u, RATION_COST_MAX + 1, &a), RATION_ECOST);
	assert_int_equal(ration_upstream_begin(NULL, &u, 1, &a), RATION_EINVAL);
	a.size--;
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &a), RATION_EINVAL);
	a = fresh();
	assert_int_equal(ration_upstream_end(f.r, &u, &a, 200, NULL, 0), RATION_EINVAL);
	begin(&f, &u, &a);
	assert_int_equal(ration_upstream_end(f.r, &u, &a, -1, NULL, 0), RATION_EINVAL);
	assert_int_equal(ration_upstream_end(f.r, &u, &a, 200, NULL, 1), RATION_EINVAL);
	end(&f, &u, &a, 200);
	assert_int_equal(ration_upstream_end(f.r, &u, &a, 200, NULL, 0), RATION_EINVAL);
	bad = u;
	memset(bad.name, 'x', sizeof(bad.name));
	assert_int_equal(ration_upstream_begin(f.r, &bad, 1, &a), RATION_EINVAL);
	memset(bad.name, 0, sizeof(bad.name));
	assert_int_equal(ration_upstream_begin(f.r, &bad, 1, &a), RATION_EINVAL);
	/* A place of another segment, or none: it is looked up. */
	bad = u;
	bad.place = 4711;
	begin(&f, &bad, &a);
	end(&f, &u, &a, 200);
	assert_int_equal(atomic_load(&entry_of(&f, &u)[U_COUNT + UC_answered]), 2);
	/* What costs nothing. */
	a = fresh();
	assert_int_equal(ration_upstream_begin(f.r, &u, 0, &a), RATION_ADMITTED);
	end(&f, &u, &a, 200);
	assert_int_equal(atomic_load(&entry_of(&f, &u)[U_SENT]), 2);
	fixture_close(&f);
}

/* Anything may stand in an entry: calls end, and with time all is well again. */
static void
test_scribbles(void **state)
{
	uint64_t random = seed;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	open_x(&f, BREAKER, &u);
	for (unsigned round = 0; round < 300; round++) {
		word_t *e = entry_of(&f, &u);
		ration_attempt_t a = fresh();
		unsigned tries;

		for (unsigned i = U_SENT; i < U_WORDS; i++)
			if (test_random(&random) % 2 == 0)
				atomic_store(
				    &e[i], test_random(&random) >> test_random(&random) % 64);
		for (tries = 0; tries < 200; tries++) {
			int v = ration_upstream_begin(f.r, &u, 1, &a);

			if (v == RATION_ADMITTED)
				break;
			assert_int_equal(v, RATION_DENIED);
			/* A pause of a month at most, and what it leads to. */
			advance(&f, a.wait_ms != 0 ? a.wait_ms : 10);
		}
		assert_true(tries < 200);
		answer(&f, &u, &a, 200, "100", "99", "60", NULL);
	}
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_breaker),
		cmocka_unit_test(test_breaker_late),
		cmocka_unit_test(test_breaker_hangs),
		cmocka_unit_test(test_breaker_unprobed),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_opener),
		cmocka_unit_test(test_opener_dies),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_low),
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_detached),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_scribbles),
	};

	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
