/*
 * test_settle.c - estimates and what it really cost: given back or charged, exactly, wherever
 * the clock is by then; and a reserver that dies.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cell.h"
#include "fixture.h"

#define S UINT64_C(1000000000)

static const char policy[] = "table: {rates: 3}\n"
			     "limits:\n"
			     "  slide: 1000/min\n"
			     "  fixed: 1000/h fixed\n"
			     "  month: 1M/month\n"
			     "  bucket: 10/s burst 100\n"
			     "  two: [1000/min, 100/10s]\n"
			     "  count: unlimited\n";

static uint64_t
used(struct fixture *f, const char *limit, const char *key)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_true(ration_peek(f->r, limit, key, 0, &d) >= 0);
	return d.used;
}

static void
take(struct fixture *f, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	d->size = sizeof(*d);
	assert_int_equal(ration_acquire(f->r, limit, key, cost, d), RATION_ADMITTED);
}

static void
test_down_and_up(void **state)
{
	static const char *const limits[] = { "slide", "fixed", "month", "bucket", "two" };
	struct fixture f;
	ration_decision_t d;

	(void)state;
	fixture_open(&f, policy, 0);
	for (unsigned i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		const char *l = limits[i];

		take(&f, l, "k", 50, &d);
		assert_int_equal(ration_settle(f.r, &d, 20), 0);
		assert_int_equal(used(&f, l, "k"), 20);
		assert_int_equal(d.used, 20);
		assert_int_equal(d.cost, 20);
		assert_int_equal(ration_settle(f.r, &d, 70), 0);
		assert_int_equal(used(&f, l, "k"), 70);
		assert_int_equal(d.used, 70);
		assert_int_equal(d.remaining, d.limit_units - 70);
		/* From both receipts. */
		assert_int_equal(ration_settle(f.r, &d, 5), 0);
		assert_int_equal(used(&f, l, "k"), 5);
		assert_int_equal(ration_settle(f.r, &d, 5), 0);
		assert_int_equal(used(&f, l, "k"), 5);
		assert_int_equal(ration_settle(f.r, &d, 0), 0);
		assert_int_equal(used(&f, l, "k"), 0);
		assert_int_equal(ration_settle(f.r, &d, 7), 0);
		assert_int_equal(used(&f, l, "k"), 7);
	}
	fixture_close(&f);
}

/* Above the limit: charged all the same, and shown as debt. */
static void
test_debt(void **state)
{
	static const char *const limits[] = { "slide", "fixed", "bucket", "two" };
	struct fixture f;
	ration_decision_t d;

	(void)state;
	fixture_open(&f, policy, 0);
	for (unsigned i = 0; i < sizeof(limits) / sizeof(*limits); i++) {
		const char *l = limits[i];

		take(&f, l, "k", 10, &d);
		assert_int_equal(ration_settle(f.r, &d, 5000), 0);
		assert_int_equal(used(&f, l, "k"), 5000);
		assert_int_equal(d.remaining, 0);
		assert_true((d.flags & RATION_F_DEBT) != 0);
		d = (ration_decision_t)RATION_DECISION_INIT;
		assert_int_equal(ration_acquire(f.r, l, "k", 1, &d), RATION_DENIED);
		assert_true(d.retry_at > 0);
	}
	/* And no word runs over into its tag. */
	take(&f, "slide", "big", 10, &d);
	assert_int_equal(ration_settle(f.r, &d, RATION_COST_MAX), 0);
	assert_int_equal(used(&f, "slide", "big"), (1u << 30) - 1);
	take(&f, "fixed", "big", 10, &d);
	assert_int_equal(ration_settle(f.r, &d, RATION_COST_MAX), 0);
	take(&f, "bucket", "big", 10, &d);
	assert_int_equal(ration_settle(f.r, &d, RATION_COST_MAX), 0);
	d = (ration_decision_t)RATION_DECISION_INIT;
	assert_int_equal(ration_acquire(f.r, "bucket", "big", 1, &d), RATION_DENIED);
	f.now += 101 * 86400 * S;
	take(&f, "bucket", "big", 1, &d);
	fixture_close(&f);
}

/* The difference is charged where the clock is: it leaves later than the estimate. */
static void
test_later(void **state)
{
	struct fixture f;
	ration_decision_t d, e;

	(void)state;
	fixture_open(&f, policy, 0);
	take(&f, "slide", "k", 100, &d);
	f.now += 30 * S;
	assert_int_equal(ration_settle(f.r, &d, 150), 0);
	assert_int_equal(used(&f, "slide", "k"), 150);
	f.now += 36 * S; /* the estimate has gone */
	assert_int_equal(used(&f, "slide", "k"), 50);
	assert_int_equal(ration_settle(f.r, &d, 20), RATION_ESTALE); /* 100 of 130 are gone */
	assert_int_equal(used(&f, "slide", "k"), 0);
	f.now += 40 * S;
	assert_int_equal(used(&f, "slide", "k"), 0);

	/* Refund: of each rate, over both receipts. */
	take(&f, "slide", "r", 100, &e);
	f.now += 10 * S;
	assert_int_equal(ration_settle(f.r, &e, 140), 0);
	assert_int_equal(ration_refund(f.r, &e, 60), 0);
	assert_int_equal(used(&f, "slide", "r"), 80);
	assert_int_equal(ration_refund(f.r, &e, 1000), 0);
	assert_int_equal(used(&f, "slide", "r"), 0);

	/* A month's end between. */
	f.now += 30 * 86400 * S;
	take(&f, "month", "m", 1000, &d);
	f.now += 31 * 86400 * S;
	assert_int_equal(used(&f, "month", "m"), 0);
	assert_int_equal(ration_settle(f.r, &d, 1500), 0);
	assert_int_equal(used(&f, "month", "m"), 500);
	fixture_close(&f);
}

/* Over several limits; a cost that is the policy's stays. */
static void
test_claims(void **state)
{
	ration_claim_t c[] = {
		{ sizeof(c[0]), "slide", "k", 1, 1 },
		{ sizeof(c[0]), "month", "k", 1, 500 },
		{ sizeof(c[0]), "two", "other", 5, 40 },
	};
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;

	(void)state;
	fixture_open(&f, policy, 0);
	assert_int_equal(ration_acquire_all(f.r, c, 3, &d), RATION_ADMITTED);
	/* The route's doing: one unit whatever it costs. */
	for (unsigned i = 0; i < d.nreceipts; i++)
		if (RECEIPT_UNITS(d.receipts[i].units) == 1)
			d.receipts[i].where |= WHERE_FIXED;
	assert_int_equal(ration_settle(f.r, &d, 60), 0);
	assert_int_equal(used(&f, "slide", "k"), 1);
	assert_int_equal(used(&f, "month", "k"), 60);
	assert_int_equal(used(&f, "two", "other"), 60);
	assert_int_equal(d.remaining, 40); /* of 100 in 10 s: the least */
	assert_int_equal(d.window_ns, 10 * S);
	fixture_close(&f);
}

/* A change of the limit's window between: nothing is lost, nothing given back twice. */
static void
test_live_change(void **state)
{
	struct fixture f;
	ration_decision_t d;

	(void)state;
	fixture_open(&f, policy, 0);
	take(&f, "slide", "k", 100, &d);
	fixture_policy(&f, "limits:\n  slide: 2000/h\n");
	assert_int_equal(ration_settle(f.r, &d, 150), 0);
	assert_int_equal(used(&f, "slide", "k"), 150);
	assert_int_equal(ration_settle(f.r, &d, 100), 0); /* the 50 that were charged since */
	assert_int_equal(used(&f, "slide", "k"), 100);
	fixture_close(&f);
}

/* One of the call's limits is gone from the policy: the others are settled all the same. */
static void
test_limit_gone(void **state)
{
	ration_claim_t c[] = {
		{ sizeof(c[0]), "slide", "k", 1, 10 },
		{ sizeof(c[0]), "month", "k", 1, 10 },
	};
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;

	(void)state;
	fixture_open(&f, policy, 0);
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_ADMITTED);
	fixture_policy(&f, "limits:\n  month: 1M/month\n");
	assert_int_equal(ration_settle(f.r, &d, 60), RATION_ESTALE);
	assert_int_equal(used(&f, "month", "k"), 60);
	assert_int_equal(ration_settle(f.r, &d, 20), RATION_ESTALE);
	assert_int_equal(used(&f, "month", "k"), 20);
	fixture_close(&f);
}

static void
test_errors(void **state)
{
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;

	(void)state;
	fixture_open(&f, policy, 0);
	assert_int_equal(ration_settle(NULL, &d, 1), RATION_EINVAL);
	assert_int_equal(ration_settle(f.r, NULL, 1), RATION_EINVAL);
	assert_int_equal(ration_settle(f.r, &d, 1), RATION_ESTALE); /* nothing was charged */
	take(&f, "slide", "k", 10, &d);
	assert_int_equal(ration_settle(f.r, &d, RATION_COST_MAX + 1), RATION_ECOST);
	d.receipts[0].slot = UINT32_MAX;
	assert_int_equal(ration_settle(f.r, &d, 1), RATION_EINVAL);
	take(&f, "count", "k", 10, &d);
	assert_int_equal(ration_settle(f.r, &d, 3), 0);
	assert_int_equal(ration_settle(f.r, &d, 8), 0);
	fixture_close(&f);
}

/* Who dies after the estimate leaves it, no more and no less. */
static void
test_killed(void **state)
{
	struct fixture f;
	int status;
	pid_t pid;

	(void)state;
	fixture_open(&f, policy, 0);
	for (int i = 0; i < 20; i++) {
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			ration_decision_t d = RATION_DECISION_INIT;

			if (ration_acquire(f.r, "month", "k", 100, &d) != RATION_ADMITTED)
				_exit(1);
			(void)kill(getpid(), SIGKILL);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
	assert_int_equal(used(&f, "month", "k"), 2000);
	fixture_close(&f);
}

/*
 * At random against an exact model of one hour's window: what is used is what every
 * decision was settled at last.
 */
static void
test_at_random(void **state)
{
	enum { OPEN = 40 };
	struct fixture f;
	ration_decision_t d[OPEN];
	uint64_t at[OPEN], seed = test_seed(), sum = 0;
	bool open[OPEN] = { false };

	(void)state;
	fixture_open(&f, "limits:\n  l: [100000/24h fixed, 100000/h fixed, 100000/12h fixed]\n", 0);
	for (int step = 0; step < 20000; step++) {
		unsigned i = (unsigned)(test_random(&seed) % OPEN);
		uint64_t cost = test_random(&seed) % 300;

		if (!open[i]) {
			ration_decision_t n = RATION_DECISION_INIT;
			int v = ration_acquire(f.r, "l", "k", cost + 1, &n);

			assert_int_equal(
			    v, sum + cost + 1 <= 100000 ? RATION_ADMITTED : RATION_DENIED);
			if (v == RATION_ADMITTED) {
				open[i] = true;
				d[i] = n;
				at[i] = cost + 1;
				sum += at[i];
			}
		} else {
			assert_int_equal(ration_settle(f.r, &d[i], cost), 0);
			sum = sum - at[i] + cost;
			at[i] = cost;
			assert_int_equal(d[i].used, sum);
			if (test_random(&seed) % 3 == 0)
				open[i] = false;
		}
		assert_int_equal(used(&f, "l", "k"), sum);
		if (step % 4000 == 3999) { /* another window: nothing of before can come back */
			f.now += 86400 * S;
			memset(open, 0, sizeof(open));
			sum = 0;
		}
	}
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_down_and_up),
		cmocka_unit_test(test_debt),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_live_change),
		cmocka_unit_test(test_limit_gone),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_at_random),
	};

	return cmocka_run_group_tests_name("settle", tests, NULL, NULL);
}
