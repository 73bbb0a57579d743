/*
 * test_core.c - the contract of the public calls, one promise after the other.
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
#include <jansson.h>

#include "atomics.h"

#define S UINT64_C(1000000000)

static struct fixture f;

static void
begin(const char *yaml, uint64_t slots)
{
	fixture_open(&f, yaml, slots);
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

static int
take(const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	*d = (ration_decision_t)RATION_DECISION_INIT;
	return ration_acquire(f.r, limit, key, cost, d);
}

static ration_claim_t
claim(const char *limit, const char *key, uint64_t cost)
{
	return (ration_claim_t) { sizeof(ration_claim_t), limit, key, strlen(key), cost };
}

/* Slots that are not free. */
static uint64_t
slots_taken(void)
{
	struct audit a;
	const char *wrong = audit_table(&f, &a);

	if (wrong != NULL)
		fail_msg("%s", wrong);
	return f.seg.nslots - a.st[ST_FREE];
}

static void
sweep(unsigned rounds, uint64_t idle_ns)
{
	struct sweep s = { .next = 0 };

	while (rounds-- > 0) {
		atomic_fetch_add(&f.now, 3 * S);
		(void)table_sweep(&f.seg, &s, f.seg.nslots, atomic_load(&f.now),
		    clock_unix(f.seg.policy, atomic_load(&f.now)), idle_ns);
	}
}

static void
test_errors(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT, small = { .size = 8 };
	ration_claim_t c[9];
	ration_key_t k = { .size = 0 };
	char key[300];

	(void)state;
	begin("limits: {m: 5/min, four: [1/s, 1/min, 1/hour, 1/day]}\n", 64);
	memset(key, 'x', sizeof(key));
	key[256] = '\0';
	assert_int_equal(ration_acquire(NULL, "m", "k", 1, &d), RATION_EINVAL);
	assert_int_equal(ration_acquire(f.r, NULL, "k", 1, &d), RATION_EINVAL);
	assert_int_equal(ration_acquire(f.r, "m", NULL, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_acquire(f.r, "m", "k", 1, &small), RATION_EINVAL);
	assert_int_equal(ration_acquire(f.r, "m", "", 1, &d), RATION_EKEY);
	assert_int_equal(ration_acquire(f.r, "m", key, 1, &d), RATION_EKEY);
	assert_int_equal(ration_acquire(f.r, "n", "k", 1, &d), RATION_ENOLIMIT);
	assert_int_equal(ration_acquire(f.r, "", "k", 1, &d), RATION_ENOLIMIT);
	assert_int_equal(ration_acquire(f.r, "m", "k", RATION_COST_MAX + 1, &d), RATION_ECOST);
	assert_int_equal(ration_acquire(f.r, "m", "k", UINT64_MAX, &d), RATION_ECOST);
	assert_int_equal(ration_peek(f.r, "m", NULL, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_acquire_all(f.r, NULL, 1, &d), RATION_EINVAL);
	for (unsigned i = 0; i < 9; i++)
		c[i] = claim("four", "k", 1);
	assert_int_equal(ration_acquire_all(f.r, c, 0, &d), RATION_EINVAL);
	assert_int_equal(ration_acquire_all(f.r, c, 9, &d), RATION_EINVAL);
	assert_int_equal(ration_acquire_all(f.r, c, 5, &d), RATION_EINVAL); /* 20 rates */
	c[0].size = 1;
	assert_int_equal(ration_acquire_all(f.r, c, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_key(f.r, "n", "k", 1, &k), RATION_ENOLIMIT);
	assert_int_equal(ration_key(f.r, "m", "k", 0, &k), RATION_EKEY);
	assert_int_equal(ration_key(f.r, "m", "k", 256, &k), RATION_EKEY);
	memset(&k, 0, sizeof(k));
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_refund(f.r, NULL, 1), RATION_EINVAL);
	assert_int_equal(ration_refund(f.r, &small, 1), RATION_EINVAL);
	assert_int_equal(slots_taken(), 0);
	/* No decision wanted. */
	assert_int_equal(ration_acquire(f.r, "m", "k", 1, NULL), RATION_ADMITTED);
	for (int e = -15; e < 0; e++)
		assert_non_null(ration_strerror(e));
	assert_string_equal(ration_strerror(-99), "unknown error");
}

/* A peek changes not one word of the table; a denial neither, but for its counters. */
static void
test_looks_leave_nothing(void **state)
{
	ration_decision_t d;
	void *before;

	(void)state;
	begin("limits: {m: 5/min, n: 3/day}\n", 64);
	assert_int_equal(take("m", "k", 2, &d), RATION_ADMITTED);
	before = malloc(f.seg.bytes);
	assert_non_null(before);
	memcpy(before, f.seg.head, f.seg.bytes);
	assert_int_equal(ration_peek(f.r, "m", "k", 3, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 2);
	assert_int_equal(d.nreceipts, 0);
	assert_int_equal(ration_peek(f.r, "m", "k", 4, &d), RATION_DENIED);
	assert_int_equal(ration_peek(f.r, "m", "stranger", 4, &d), RATION_ADMITTED);
	assert_int_equal(ration_peek(f.r, "m", "stranger", 6, &d), RATION_DENIED);
	assert_int_equal(ration_peek(f.r, "n", "k", 4, &d), RATION_DENIED);
	assert_memory_equal(before, f.seg.head, f.seg.bytes);
	free(before);
	/* What is refused at once takes no slot; nor does a cost of 0. */
	assert_int_equal(take("m", "other", 6, &d), RATION_DENIED);
	assert_int_equal(take("m", "other", 0, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 0);
	assert_int_equal(slots_taken(), 1);
	assert_int_equal(atomic_load(&f.seg.limits[0].denied_nokey), 1);
}

static void
test_all_or_nothing(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t c[3];

	(void)state;
	begin("limits: {m: 5/min, n: 3/day, two: [9/min, 4/s]}\n", 64);
	c[0] = claim("m", "k", 2);
	c[1] = claim("n", "k", 4);
	c[2] = claim("two", "k", 1);
	assert_int_equal(ration_acquire_all(f.r, c, 3, &d), RATION_DENIED);
	assert_int_equal(slots_taken(), 0);
	assert_int_equal(d.retry_at, RATION_NEVER);
	assert_int_equal(d.reason, RATION_R_COST);
	c[1].cost = 3;
	assert_int_equal(ration_acquire_all(f.r, c, 3, &d), RATION_ADMITTED);
	assert_int_equal(d.nrates, 4);
	assert_int_equal(d.nreceipts, 4);
	c[1].cost = 1;
	assert_int_equal(ration_acquire_all(f.r, c, 3, &d), RATION_DENIED);
	assert_int_equal(ration_peek(f.r, "m", "k", 0, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 2);
	assert_int_equal(ration_peek(f.r, "two", "k", 5, &d), RATION_DENIED);
	/* One and the same key several times: its costs add up. */
	for (unsigned i = 0; i < 3; i++)
		c[i] = claim("m", "twice", 2);
	assert_int_equal(ration_acquire_all(f.r, c, 3, &d), RATION_DENIED);
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_ADMITTED);
	assert_int_equal(ration_peek(f.r, "m", "twice", 1, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 4);
	assert_int_equal(ration_peek(f.r, "m", "twice", 2, &d), RATION_DENIED);
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_DENIED);
}

static void
test_modes(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t c[2];

	(void)state;
	begin("limits:\n  watch: {rates: 2/min, mode: observe}\n  off: {rates: 1/min, mode: off}\n"
	      "  open: unlimited\n  bucket: 1/s burst 5\n",
	    64);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(take("watch", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal((d.flags & RATION_F_OBSERVED) != 0, i >= 2);
		assert_int_equal(d.retry_at, 0);
	}
	assert_int_equal(ration_peek(f.r, "watch", "k", 0, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 2); /* what would be denied is not charged */
	assert_int_equal(atomic_load(&f.seg.limits[0].observed), 3);
	/* Counted once a call, however often the call has to look. */
	c[0] = claim("watch", "k", 1);
	c[1] = claim("bucket", "k", 1);
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_ADMITTED);
	assert_int_equal(atomic_load(&f.seg.limits[0].observed), 4);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(take("off", "k", 7, &d), RATION_ADMITTED);
		assert_true((d.flags & RATION_F_OFF) != 0);
		assert_int_equal(take("open", "k", RATION_COST_MAX, &d), RATION_ADMITTED);
		assert_true(d.remaining == RATION_UNLIMITED);
		assert_true(d.limit_units == RATION_UNLIMITED);
	}
	assert_int_equal(ration_peek(f.r, "open", "k", 1, &d), RATION_ADMITTED);
	assert_true(d.used == 5 * RATION_COST_MAX);
	assert_int_equal(slots_taken(), 3); /* off takes none */
}

static void
test_full_table(void **state)
{
	ration_decision_t d;
	struct row row;
	char key[16];
	unsigned admitted = 0;

	(void)state;
	begin("table: {rates: 1}\nlimits:\n  m: {rates: 5/min, when_full: deny}\n"
	      "  n: {rates: 5/min, when_full: admit}\n"
	      "  watch: {rates: 5/min, when_full: deny, mode: observe}\n",
	    16);
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		admitted += take("m", key, 2, &d) == RATION_ADMITTED;
		if (i >= 16) {
			assert_int_equal(d.verdict, RATION_DENIED);
			assert_int_equal(d.reason, RATION_R_FULL);
			assert_int_equal(d.retry_at, RATION_NEVER);
			assert_true((d.flags & RATION_F_TABLE_FULL) != 0);
		}
	}
	assert_int_equal(admitted, 16);
	assert_int_equal(take("n", "x", 1, &d), RATION_ADMITTED);
	assert_true((d.flags & RATION_F_TABLE_FULL) != 0);
	assert_int_equal(take("n", "x", 6, &d), RATION_DENIED); /* more than anybody may have */
	/* A limit that only watches denies nobody. */
	assert_int_equal(take("watch", "x", 1, &d), RATION_ADMITTED);
	/* Nobody who has used something is pushed out. */
	sweep(4, 0);
	for (unsigned i = 0; i < 16; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		assert_true(audit_row(&f, "m", key, strlen(key), &row));
		assert_int_equal(row.rates[0].used, 2);
	}
	/* Once all has come back there is room, and the totals are kept. */
	atomic_fetch_add(&f.now, 70 * S);
	sweep(4, 0);
	assert_int_equal(slots_taken(), 0);
	assert_int_equal(atomic_load(&f.seg.limits[0].admitted_gone), 32);
	assert_int_equal(atomic_load(&f.seg.head->recycled), 16);
	assert_int_equal(take("m", "k99", 2, &d), RATION_ADMITTED);
	/* Not before it has lain idle for as long as is asked. */
	atomic_fetch_add(&f.now, 70 * S);
	sweep(3, 600 * S);
	assert_int_equal(slots_taken(), 1);
	atomic_fetch_add(&f.now, 600 * S);
	sweep(3, 600 * S);
	assert_int_equal(slots_taken(), 0);
}

static void
test_bounds(void **state)
{
	ration_decision_t d;
	char key[16];

	(void)state;
	begin(
	    "limits:\n  known: {rates: 5/min, unlisted: refuse}\n"
	    "  few: {rates: 5/min, max_keys: 3, when_full: deny}\nplans: [p]\nassign: {here: p}\n",
	    64);
	assert_int_equal(take("known", "stranger", 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_UNLISTED);
	assert_int_equal(slots_taken(), 0);
	assert_int_equal(take("known", "here", 1, &d), RATION_ADMITTED);
	assert_int_equal(take("known", "here", 1, &d), RATION_ADMITTED);
	for (unsigned i = 0; i < 6; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(take("few", key, 1, &d), i < 3);
	}
	assert_int_equal(take("few", "k0", 1, &d), RATION_ADMITTED);
}

/* Every length, any bytes; alike but for the last byte. */
static void
test_keys(void **state)
{
	unsigned char key[255];
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t c;
	uint64_t taken;
	struct row row;

	(void)state;
	begin("table: {rates: 1}\nlimits: {m: {rates: 3/min, when_full: deny}}\n", 4096);
	for (size_t len = 1; len <= 255; len++)
		for (unsigned last = 0; last < 2; last++) {
			memset(key, (int)len, sizeof(key));
			key[0] = (unsigned char)len;
			key[len - 1] ^= (unsigned char)(last != 0 ? 0x80 : 0);
			c = (ration_claim_t) { sizeof(c), "m", key, len, 1 + last };
			assert_int_equal(ration_acquire_all(f.r, &c, 1, &d), RATION_ADMITTED);
			assert_int_equal(d.used, 1 + last);
		}
	for (size_t len = 1; len <= 255; len++)
		for (unsigned last = 0; last < 2; last++) {
			memset(key, (int)len, sizeof(key));
			key[0] = (unsigned char)len;
			key[len - 1] ^= (unsigned char)(last != 0 ? 0x80 : 0);
			assert_true(audit_row(&f, "m", key, len, &row));
			assert_int_equal(row.rates[0].used, 1 + last);
			assert_int_equal(row.key_len, len);
			assert_memory_equal(row.key, key, len);
		}
	taken = slots_taken();
	assert_true(taken > 510); /* long ones take more than one */
	atomic_fetch_add(&f.now, 100 * S);
	sweep(4, 0);
	assert_int_equal(slots_taken(), 0);
	assert_int_equal(atomic_load(&f.seg.limits[0].admitted_gone), 255 * 3);
}

static void
check_json(const ration_decision_t *d, const void *key, size_t len, const char *verdict)
{
	char buf[4096], cut[64];
	json_error_t error;
	json_t *j;
	int n = ration_decision_json(f.r, d, key, len, buf, sizeof(buf));

	assert_true(n > 0 && (size_t)n < sizeof(buf));
	assert_int_equal(strlen(buf), n);
	assert_null(strchr(buf, '\n'));
	j = json_loads(buf, JSON_REJECT_DUPLICATES, &error);
	if (j == NULL)
		fail_msg("%s: %s", error.text, buf);
	assert_string_equal(json_string_value(json_object_get(j, "verdict")), verdict);
	assert_int_equal(json_array_size(json_object_get(j, "rates")), d->nrates);
	assert_true(json_is_integer(json_object_get(j, "retry_after")));
	assert_true(d->limit_units == RATION_UNLIMITED
		? json_is_null(json_object_get(j, "limit_units"))
		: json_integer_value(json_object_get(j, "limit_units")) ==
		    (json_int_t)d->limit_units);
	assert_true((d->flags & RATION_F_PAUSED) != 0
		? json_integer_value(json_object_get(j, "paused_until")) == d->retry_at
		: json_object_get(j, "paused_until") == NULL);
	assert_true(d->verdict == RATION_DENIED && d->retry_at != RATION_NEVER
		? json_integer_value(json_object_get(j, "retry_at")) == d->retry_at
		: json_is_null(json_object_get(j, "retry_at")));
	json_decref(j);
	/* As snprintf(): says how long it would be. */
	assert_int_equal(ration_decision_json(f.r, d, key, len, cut, sizeof(cut)), n);
	assert_int_equal(strlen(cut), sizeof(cut) - 1);
}

static void
test_json(void **state)
{
	unsigned char key[255];
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t c[2];

	(void)state;
	begin("limits: {\"odd \\\"name\\\\\": [5/min, 1/s burst 9], day: 3/day, open: unlimited}\n",
	    64);
	for (unsigned i = 0; i < sizeof(key); i++)
		key[i] = (unsigned char)(i + 1);
	c[0] = (ration_claim_t) { sizeof(c[0]), "odd \"name\\", key, sizeof(key), 1 };
	c[1] = (ration_claim_t) { sizeof(c[1]), "day", key, sizeof(key), 1 };
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_ADMITTED);
	check_json(&d, key, sizeof(key), "admitted");
	c[0].cost = 5;
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_DENIED);
	check_json(&d, key, sizeof(key), "denied");
	c[1].cost = 9;
	assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_DENIED);
	check_json(&d, key, sizeof(key), "denied");
	assert_int_equal(take("open", "k", 1, &d), RATION_ADMITTED);
	check_json(&d, "k", 1, "admitted");
	/* A day's cap pauses until the day is over; a cost that never fits does not. */
	assert_int_equal(take("day", "k", 3, &d), RATION_ADMITTED);
	assert_int_equal(take("day", "k", 1, &d), RATION_DENIED);
	assert_true((d.flags & RATION_F_PAUSED) != 0);
	assert_int_equal(d.retry_at % 86400, 0);
	check_json(&d, "k", 1, "denied");
	assert_int_equal(take("day", "k", 4, &d), RATION_DENIED);
	assert_true((d.flags & RATION_F_PAUSED) == 0);
}

static void
test_handles(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k, copy;

	(void)state;
	begin("limits: {m: 5/min, n: 5/day}\n", 1);
	assert_int_equal(ration_key(f.r, "m", "k", 1, &k), 0);
	assert_int_equal(slots_taken(), 0);
	assert_int_equal(ration_key_peek(f.r, &k, 5, &d), RATION_ADMITTED);
	assert_int_equal(slots_taken(), 0);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 5);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
	copy = k;
	/* More is allowed: seen at once, by both. */
	fixture_policy(&f, "limits: {m: 7/min, n: 5/day}\n");
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.limit_units, 7);
	assert_int_equal(ration_key_acquire(f.r, &copy, 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
	/* The slot goes to another key and comes back. */
	atomic_fetch_add(&f.now, 100 * S);
	sweep(3, 0);
	assert_int_equal(take("m", "other", 3, &d), RATION_ADMITTED);
	fixture_policy(&f, "limits: {m: {rates: 7/min, when_full: deny}, n: 5/day}\n");
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_FULL);
	assert_int_equal(ration_peek(f.r, "m", "other", 0, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 3);
	atomic_fetch_add(&f.now, 100 * S);
	sweep(3, 0);
	for (unsigned i = 0; i < 7; i++)
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_key_acquire(f.r, &copy, 1, &d), RATION_DENIED);
	/* The limit itself is gone, and is there again. */
	fixture_policy(&f, "limits: {n: 5/day}\n");
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ENOLIMIT);
	fixture_policy(&f, "limits: {m: 9/min, n: 5/day}\n");
	assert_int_equal(ration_key_acquire(f.r, &k, 2, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 9);
}

static void
test_refunds(void **state)
{
	ration_decision_t d, first;

	(void)state;
	begin("limits: {m: 5/min, b: 1/min burst 5, two: [5/min, 5/hour]}\n", 64);
	assert_int_equal(take("m", "k", 3, &first), RATION_ADMITTED);
	assert_int_equal(take("m", "k", 2, &d), RATION_ADMITTED);
	assert_int_equal(ration_refund(f.r, &first, 2), 0);
	assert_int_equal(ration_peek(f.r, "m", "k", 0, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 3);
	/* Never more than was charged, nor below zero. */
	assert_int_equal(ration_refund(f.r, &first, 99), 0);
	assert_int_equal(ration_peek(f.r, "m", "k", 0, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 0);
	assert_int_equal(ration_refund(f.r, &first, 1), RATION_ESTALE);
	/* A denial has nothing to give back. */
	assert_int_equal(take("m", "k", 6, &d), RATION_DENIED);
	assert_int_equal(ration_refund(f.r, &d, 1), RATION_ESTALE);
	/* Both rates. */
	assert_int_equal(take("two", "k", 5, &first), RATION_ADMITTED);
	assert_int_equal(take("two", "k", 1, &d), RATION_DENIED);
	assert_int_equal(ration_refund(f.r, &first, 1), 0);
	assert_int_equal(take("two", "k", 1, &d), RATION_ADMITTED);
	/* Sealed by now, cached by others: it counts all the same. */
	assert_int_equal(take("m", "s", 5, &first), RATION_ADMITTED);
	atomic_fetch_add(&f.now, 10 * S);
	assert_int_equal(take("m", "s", 1, &d), RATION_DENIED);
	assert_int_equal(ration_refund(f.r, &first, 5), 0);
	assert_int_equal(take("m", "s", 5, &d), RATION_ADMITTED);
	/* After the window nothing is left of it. */
	atomic_fetch_add(&f.now, 100 * S);
	assert_int_equal(ration_refund(f.r, &d, 1), RATION_ESTALE);
	assert_int_equal(take("b", "k", 5, &first), RATION_ADMITTED);
	atomic_fetch_add(&f.now, 60 * S);
	assert_int_equal(ration_refund(f.r, &first, 5), 0);
	assert_int_equal(ration_peek(f.r, "b", "k", 5, &d), RATION_ADMITTED);
	assert_int_equal(ration_peek(f.r, "b", "k", 6, &d), RATION_DENIED);
}

/* Long after boot: 30-bit ticks have gone round (1.16 years), 60-bit arrival times too (2.28). */
static void
test_uptime(void **state)
{
	static const uint64_t days[] = { 211, 423, 600, 834, 835, 1000, 1300, 1700 };
	ration_decision_t d;

	(void)state;
	for (unsigned i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		begin(
		    "limits: {m: 5/min, b: 1/hour burst 5, f: 5/min fixed, open: unlimited}\n", 64);
		atomic_store(&f.now, days[i] * 86400 * S - 3 * S);
		for (unsigned n = 0; n < 8; n++) {
			assert_int_equal(take("m", "k", 1, &d), n < 5);
			assert_int_equal(take("b", "k", 1, &d), n < 5);
			assert_int_equal(take("f", "k", 1, &d), n < 5);
			assert_int_equal(take("open", "k", 1, &d), 1);
			atomic_fetch_add(&f.now, S / 2);
		}
		fixture_policy(
		    &f, "limits: {m: 1/hour burst 5, b: 5/hour, f: 5/min fixed, open: 5/min}\n");
		assert_int_equal(take("m", "k", 1, &d), RATION_DENIED);
		assert_int_equal(d.used, 5);
		assert_int_equal(take("b", "k", 1, &d), RATION_DENIED);
		assert_int_equal(d.used, 5);
		atomic_fetch_add(&f.now, 3600 * S);
		assert_int_equal(take("m", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(take("m", "k", 1, &d), RATION_DENIED);
		atomic_fetch_add(&f.now, 10 * 3600 * S);
		sweep(4, 0);
		assert_int_equal(slots_taken(), 0);
		assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
		end(NULL);
	}
}

/* A key in use for months is not stuck when it is idle at last. */
static void
test_old_keys(void **state)
{
	ration_decision_t d;

	(void)state;
	begin("limits: {m: 5/min, b: 1/s burst 5, day: 5/day, open: unlimited}\n", 64);
	for (unsigned month = 0; month < 10; month++) {
		assert_int_equal(take("m", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(take("b", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(take("day", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(take("open", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(slots_taken(), 4);
		atomic_fetch_add(&f.now, 30 * 86400 * S);
	}
	sweep(4, 600 * S);
	assert_int_equal(slots_taken(), 0);
	assert_int_equal(atomic_load(&f.seg.limits[2].admitted_gone), 10);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
}

/* What one way of calling remembers of a key another way may use. */
static void
test_ways_of_one_key(void **state)
{
	ration_decision_t d;
	ration_claim_t c[2] = { claim("a", "k", 1), claim("b", "k", 1) };
	ration_t *other;

	(void)state;
	begin("limits: {a: 9/min, b: [9/min, 9/s]}\n", 64);
	assert_int_equal(take("a", "k", 1, &d), RATION_ADMITTED);
	assert_int_equal(take("b", "k", 1, &d), RATION_ADMITTED);
	/* Another handle, which finds both together first, then each alone. */
	other = fixture_handle(&f);
	assert_int_equal(ration_acquire_all(other, c, 2, &d), RATION_ADMITTED);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(ration_acquire(other, c[i].limit, "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.used, 3);
	}
	ration_close(other);
}

int
main(void)
{
#define TEST(t) cmocka_unit_test_teardown(t, end)
	const struct CMUnitTest tests[] = {
		TEST(test_errors),
		TEST(test_ways_of_one_key),
		TEST(test_looks_leave_nothing),
		TEST(test_all_or_nothing),
		TEST(test_modes),
		TEST(test_full_table),
		TEST(test_bounds),
		TEST(test_keys),
		TEST(test_json),
		TEST(test_handles),
		TEST(test_refunds),
		TEST(test_uptime),
		TEST(test_old_keys),
	};

	return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
