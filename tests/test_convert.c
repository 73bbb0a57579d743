/*
 * test_convert.c - live changes of what a limit is: a number keeps what is used exactly; a window
 * or an algorithm carries it over, never fewer; overrides end in time; a reset is one.
 */
#include "fixture.h"
#include "invariants.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "atomics.h"

#define S UINT64_C(1000000000)

static struct fixture f;

/* Every kind, with room for what is used here; the first word of each pair is the limit. */
static const char *const kinds[] = { "60/min", "60/s", "60/24h", "60/s fixed", "60/min fixed",
	"60/24h fixed", "60/day", "60/month", "1/hour burst 60", "1/min burst 60", "60/s burst 60",
	"[60/min, 60/hour]", "[60/month, 60/day]" };
#define NKINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *
yaml(const char *rates)
{
	static char buf[256];

	(void)snprintf(buf, sizeof(buf),
	    "table: {rates: 2, policy: 128KiB}\ndefaults: {timezone: Europe/Madrid}\nlimits: {m: "
	    "{rates: %s}}\n",
	    rates);
	return buf;
}

static int
end(void **state)
{
	(void)state;
	if (f.r != NULL)
		fixture_close(&f);
	memset(&f, 0, sizeof(f));
	return 0;
}

static uint64_t
used(void)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_true(ration_peek(f.r, "m", "k", 0, &d) >= 0);
	return d.used;
}

static void
take(uint64_t cost)
{
	ration_decision_t d = RATION_DECISION_INIT;
	int verdict = ration_acquire(f.r, "m", "k", cost, &d);

	if (verdict != RATION_ADMITTED)
		fail_msg("%" PRIu64 " units: verdict %d, %" PRIu64 " used", cost, verdict, d.used);
}

/* Of the first rate: the others are cells of their own. */
static uint64_t
used_first(void)
{
	struct row row;

	(void)used();
	return audit_row(&f, "m", "k", 1, &row) ? row.rates[0].used : 0;
}

static uint64_t
total(void)
{
	struct row row;

	assert_true(audit_row(&f, "m", "k", 1, &row));
	return row.admitted;
}

static void
test_number(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	(void)state;
	fixture_open(&f, yaml("60/min"), 16);
	take(20);
	atomic_fetch_add(&f.now, 10 * S);
	take(20);
	for (unsigned i = 0; i < 20; i++) {
		fixture_policy(&f, yaml(i % 2 == 0 ? "41/min" : "10/min"));
		assert_int_equal(used(), 40);
		assert_int_equal(ration_peek(f.r, "m", "k", 1, &d), i % 2 == 0);
		assert_int_equal(d.remaining, i % 2 == 0);
		assert_int_equal((d.flags & RATION_F_DEBT) != 0, i % 2 != 0);
	}
	assert_int_equal(atomic_load(&f.seg.head->conversions), 0);
	/* The units come back when they would have, sub-window by sub-window. */
	atomic_fetch_add(&f.now, 55 * S);
	assert_int_equal(used(), 20);
	assert_int_equal(total(), 40);
}

/* From any kind to any other, in use, and back. */
static void
test_every_pair(void **state)
{
	(void)state;
	for (unsigned from = 0; from < NKINDS; from++)
		for (unsigned to = 0; to < NKINDS; to++) {
			if (from == to)
				continue;
			fixture_open(&f, yaml(kinds[from]), 16);
			atomic_fetch_add(&f.now, 12345678901);
			take(3);
			take(4);
			fixture_policy(&f, yaml(kinds[to]));
			if (used() != 7)
				fail_msg("%s -> %s: %" PRIu64 " used, not 7", kinds[from],
				    kinds[to], used());
			assert_int_equal(total(), 7);
			take(5);
			assert_int_equal(used(), 12);
			assert_int_equal(total(), 12);
			fixture_policy(&f, yaml(kinds[from]));
			if (used() != 12)
				fail_msg("%s -> %s and back: %" PRIu64 " used, not 12", kinds[from],
				    kinds[to], used());
			take(1);
			assert_int_equal(total(), 13);
			end(NULL);
		}
}

/* Never fewer: what is used at the change stays used for a whole new window. */
static void
test_stays_used(void **state)
{
	(void)state;
	fixture_open(&f, yaml("60/hour"), 16);
	take(50);
	atomic_fetch_add(&f.now, 1800 * S);
	fixture_policy(&f, yaml("60/10s"));
	assert_int_equal(used(), 50);
	atomic_fetch_add(&f.now, 10 * S - 1);
	assert_int_equal(used(), 50);
	atomic_fetch_add(&f.now, S); /* W/15 and a little later */
	assert_int_equal(used(), 0);
	/* To a bucket: it comes back unit by unit. */
	take(30);
	fixture_policy(&f, yaml("1/s burst 60"));
	assert_int_equal(used(), 30);
	atomic_fetch_add(&f.now, 10 * S);
	assert_int_equal(used(), 20);
	/* Faster: what is used is used, and comes back faster. */
	fixture_policy(&f, yaml("2/s burst 60"));
	assert_int_equal(used(), 20);
	atomic_fetch_add(&f.now, 5 * S);
	assert_int_equal(used(), 10);
	assert_int_equal(total(), 80);
}

/* At the very edges of periods, where a rounded moment would lie in another one. */
static void
test_edges(void **state)
{
	static const int64_t offsets[] = { -1000000, -1, 0, 1, 1000, 300000, 531249, 1000000 };

	(void)state;
	for (unsigned from = 0; from < NKINDS; from++)
		for (unsigned to = 0; to < NKINDS; to++)
			for (unsigned i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
				fixture_open(&f, yaml(kinds[from]), 4);
				/* midnight in Madrid, and the edge of a minute */
				atomic_store(&f.now,
				    (uint64_t)((int64_t)(FIXTURE_START + 23 * 3600 * S) +
					offsets[i]));
				take(7);
				fixture_policy(&f, yaml(kinds[to]));
				if (used() != 7)
					fail_msg("%s -> %s, %" PRId64 " ns: %" PRIu64 " used",
					    kinds[from], kinds[to], offsets[i], used());
				end(NULL);
			}
}

static void
test_refund_after(void **state)
{
	(void)state;
	for (unsigned from = 0; from < NKINDS; from++)
		for (unsigned to = 0; to < NKINDS; to++) {
			ration_decision_t d = RATION_DECISION_INIT;

			if (from == to)
				continue;
			fixture_open(&f, yaml(kinds[from]), 4);
			assert_int_equal(ration_acquire(f.r, "m", "k", 7, &d), RATION_ADMITTED);
			fixture_policy(&f, yaml(kinds[to]));
			(void)used();
			/* Of two rates one may be what it was: that one's units come back. */
			if (strchr(kinds[from], '[') == NULL && strchr(kinds[to], '[') == NULL) {
				assert_int_equal(ration_refund(f.r, &d, 7), RATION_ESTALE);
				assert_int_equal(used(), 7);
				fixture_policy(&f, yaml(kinds[from]));
				assert_int_equal(ration_refund(f.r, &d, 7), RATION_ESTALE);
				assert_int_equal(used(), 7);
				assert_int_equal(total(), 7);
			}
			end(NULL);
		}
}

static void
test_reset(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < NKINDS; kind++) {
		ration_decision_t d = RATION_DECISION_INIT;
		struct row row;

		fixture_open(&f, yaml(kinds[kind]), 4);
		assert_int_equal(ration_acquire(f.r, "m", "k", 7, &d), RATION_ADMITTED);
		for (unsigned i = 0; i < 300; i++) { /* the count of conversions has 8 bits */
			assert_true(audit_row(&f, "m", "k", 1, &row));
			assert_int_equal(
			    view_reset(&f.seg, row.slot, row.birth, atomic_load(&f.now)), 0);
			if (used() != 0)
				fail_msg("%s: %" PRIu64 " used after a reset", kinds[kind], used());
			if (i % 256 != 255)
				assert_int_equal(ration_refund(f.r, &d, 7), RATION_ESTALE);
			take(2);
			assert_int_equal(used(), 2);
		}
		assert_int_equal(total(), 607);
		assert_int_equal(view_reset(&f.seg, row.slot, row.birth + 1, atomic_load(&f.now)),
		    RATION_ESTALE);
		end(NULL);
	}
}

/* Overrides end by the clock alone. */
static void
test_overrides_end(void **state)
{
	static const char *const after[] = { "60/min", "5/min", "20/hour fixed", "30/month" };
	ration_decision_t d = RATION_DECISION_INIT;
	char buf[512];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		/* 2026-01-02T00:00 in UTC is a day from the start */
		(void)snprintf(buf, sizeof(buf),
		    "limits: {m: {rates: %s}}\n"
		    "overrides: [{key: k, limit: m, rates: 15/min, until: 2026-01-02}]\n",
		    after[i]);
		fixture_open(&f, buf, 16);
		atomic_store(&f.now, FIXTURE_START + 86400 * S - 20 * S);
		take(15);
		assert_int_equal(ration_acquire(f.r, "m", "k", 1, &d), RATION_DENIED);
		assert_true(d.retry_at > 0);
		/* Others have the limit's own rate. */
		assert_int_equal(ration_peek(f.r, "m", "x", 1, &d), RATION_ADMITTED);
		assert_true(d.limit_units != 15);
		assert_int_equal(ration_acquire(f.r, "m", "k", 1, &d), RATION_DENIED);
		atomic_store(&f.now, (uint64_t)(d.retry_at - FIXTURE_UNIX) * S + FIXTURE_START);
		assert_int_equal(ration_acquire(f.r, "m", "k", 1, &d), RATION_ADMITTED);
		assert_true(d.limit_units != 15);
		/* A cost that only the one allows, or only the other. */
		atomic_store(&f.now, FIXTURE_START + 3 * 86400 * S);
		end(NULL);
	}
	fixture_open(&f,
	    "limits: {m: 5/min}\n"
	    "overrides: [{key: k, limit: m, rates: 15/min, until: 2026-01-02}]\n",
	    16);
	atomic_store(&f.now, FIXTURE_START + 86400 * S - 20 * S);
	take(12);
	/* 12 would fit when the 12 have come back; but by then only 5 are allowed. */
	assert_int_equal(ration_acquire(f.r, "m", "k", 12, &d), RATION_DENIED);
	assert_int_equal(d.retry_at, RATION_NEVER);
	assert_int_equal(d.reason, RATION_R_COST);
	assert_int_equal(ration_acquire(f.r, "m", "k", 16, &d), RATION_DENIED);
	assert_int_equal(d.retry_at, RATION_NEVER);
	end(NULL);
	fixture_open(&f,
	    "limits: {m: 50/min}\n"
	    "overrides: [{key: k, limit: m, rates: 5/min, until: 2026-01-02}]\n",
	    16);
	atomic_store(&f.now, FIXTURE_START + 86400 * S - 20 * S);
	/* More than the override ever allows, but it ends. */
	assert_int_equal(ration_acquire(f.r, "m", "k", 16, &d), RATION_DENIED);
	assert_int_equal(d.retry_at, FIXTURE_UNIX + 86400);
	atomic_store(&f.now, FIXTURE_START + 86400 * S);
	take(16);
}

/* Random changes under random use: the total is the ledger; used is never fewer than the window's.
 */
static void
test_random_changes(void **state)
{
	uint64_t seed = test_seed(), ledger = 0;
	unsigned kind = 0;

	(void)state;
	fixture_open(&f, yaml(kinds[0]), 16);
	for (unsigned i = 0; i < (getenv("RATION_LONG") != NULL ? 100000 : 3000); i++) {
		ration_decision_t d = RATION_DECISION_INIT;
		uint64_t before = used_first(), cost = 1 + test_random(&seed) % 9;

		switch (test_random(&seed) % 4) {
		case 0:
			kind = (unsigned)(test_random(&seed) % NKINDS);
			fixture_policy(&f, yaml(kinds[kind]));
			if (used_first() < before)
				fail_msg("step %u: %" PRIu64 " used after a change to %s, %" PRIu64
					 " before",
				    i, used_first(), kinds[kind], before);
			break;
		case 1:
			if (atomic_load(&f.now) < FIXTURE_START + 300 * 86400 * S)
				atomic_fetch_add(&f.now,
				    test_random(&seed) %
					(test_random(&seed) % 8 == 0 ? 3 * 86400 * S : 3 * S));
			break;
		default:
			if (ration_acquire(f.r, "m", "k", cost, &d) == RATION_ADMITTED)
				ledger += cost;
			break;
		}
		if (ledger != 0)
			assert_int_equal(total(), ledger);
	}
	assert_true(ledger > 1000);
}

/* A rate that is added beside another starts with what the key has used. */
static void
test_added(void **state)
{
	static const char *const more[] = { "[60/min, 1000/hour]", "[60/min, 1000/day]" };
	ration_decision_t d = RATION_DECISION_INIT;

	for (unsigned i = 0; i < 2; i++) {
		fixture_open(&f, yaml("60/min"), 0);
		for (unsigned n = 0; n < 60; n++)
			assert_int_equal(ration_acquire(f.r, "m", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(ration_acquire(f.r, "m", "k", 1, &d), RATION_DENIED);
		fixture_policy(&f, yaml(more[i]));
		assert_int_equal(ration_acquire(f.r, "m", "k", 1, &d), RATION_DENIED);
		assert_int_equal(d.nrates, 2);
		assert_int_equal(d.rates[0].used, 60);
		assert_int_equal(d.rates[1].used, 60);
		/* A key of the time after has used nothing. */
		assert_int_equal(ration_acquire(f.r, "m", "new", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.used, 1);
		assert_int_equal(end(state), 0);
	}
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_teardown(t, end)
	const struct CMUnitTest tests[] = {
		TEST(test_number),
		TEST(test_added),
		TEST(test_every_pair),
		TEST(test_stays_used),
		TEST(test_edges),
		TEST(test_refund_after),
		TEST(test_reset),
		TEST(test_overrides_end),
		TEST(test_random_changes),
	};

	return cmocka_run_group_tests_name("convert", tests, NULL, NULL);
}
