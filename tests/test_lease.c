/*
 * test_lease.c - concurrency limits: at the limit and one over, times to live, names, changes of
 * the limit, chunks, several claims; who is a holder: children, execs, raw clones, other handles.
 * The clock is the test's; no daemon.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <err.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "atomics.h"
#include "invariants.h"
#include "lease.h"

#define S UINT64_C(1000000000)
#define TICKS(n) ((n)*TICK_NS)

static struct fixture f;

static const char policy[] = "limits:\n"
			     "  s: {rates: 5 concurrent}\n"
			     "  one: {rates: 1 concurrent}\n"
			     "  none: {rates: 0 concurrent}\n"
			     "  many: {rates: 500 concurrent}\n"
			     "  rate: 3/min\n"
			     "  free: unlimited\n";

static int
setup(void **state)
{
	(void)state;
	fixture_open(&f, policy, 0);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fixture_close(&f);
	return 0;
}

static void
pass(uint64_t ns)
{
	atomic_fetch_add(&f.now, ns);
}

static void
sweep(unsigned rounds)
{
	struct sweep s = { .next = 0 };

	while (rounds-- > 0) {
		pass(3 * S);
		(void)table_sweep(&f.seg, &s, f.seg.nslots, atomic_load(&f.now),
		    fixture_unix(&f) * 1000000000, 0);
	}
}

static int
take_by(ration_t *r, const char *limit, const char *key, uint64_t ttl_ms, ration_lease_t *l)
{
	return ration_lease(r, limit, key, strlen(key), ttl_ms, l, NULL);
}

static int
take(const char *limit, const char *key, ration_lease_t *l)
{
	return take_by(f.r, limit, key, 0, l);
}

static uint64_t
used(const char *limit, const char *key)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_true(ration_peek(f.r, limit, key, 1, &d) >= 0);
	return d.used;
}

static uint64_t
slots_in_use(void)
{
	struct audit a;
	const char *wrong = audit_table(&f, &a);

	if (wrong != NULL)
		fail_msg("%s", wrong);
	return a.st[ST_LIVE];
}

/* ---- the limit ---- */

static void
test_limit(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l[6];
	struct row row;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &l[i], &d), RATION_ADMITTED);
		assert_int_equal(d.used, i + 1);
		assert_int_equal(d.remaining, 4 - i);
		assert_int_equal(d.limit_units, 5);
		assert_int_equal(d.kind, RATION_CONCURRENT);
		assert_int_equal(d.nrates, 1);
		assert_int_equal(d.cost, 1);
		assert_int_equal(l[i].size, sizeof(l[i]));
		assert_true(l[i].word != 0);
	}
	assert_int_equal(d.level, 100);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &l[5], &d), RATION_DENIED);
	assert_int_equal(l[5].word, 0);
	assert_int_equal(d.used, 5);
	assert_int_equal(d.remaining, 0);
	assert_int_equal(d.retry_at, RATION_NEVER);
	assert_int_equal(d.reason, RATION_R_RELEASE);
	assert_int_equal(d.retry_after, 0);
	/* Another key, another limit. */
	assert_int_equal(take("s", "other", &l[5]), RATION_ADMITTED);
	assert_int_equal(ration_release(f.r, &l[2]), 0);
	assert_int_equal(l[2].size, 0);
	assert_int_equal(ration_release(f.r, &l[2]), RATION_ESTALE);
	assert_int_equal(used("s", "k"), 4);
	assert_int_equal(take("s", "k", &l[2]), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &l[5]), RATION_DENIED);
	assert_true(audit_row(&f, "s", "k", 1, &row));
	assert_int_equal(row.rates[0].used, 5);
	assert_int_equal(row.admitted, 6);
	assert_int_equal(row.denied, 2);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(ration_release(f.r, &l[i]), 0);
	assert_int_equal(used("s", "k"), 0);
	assert_int_equal(take("none", "k", &l[0]), RATION_DENIED);
	assert_int_equal(ration_lease(f.r, "none", "k", 1, 0, &l[0], &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_ZERO);
}

static void
test_wrong_kind(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l;
	ration_key_t k;
	struct row row;

	(void)state;
	assert_int_equal(ration_acquire(f.r, "s", "k", 1, NULL), RATION_ELEASE);
	assert_int_equal(ration_key(f.r, "s", "k", 1, &k), 0);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, NULL), RATION_ELEASE);
	assert_int_equal(ration_key_peek(f.r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(take("rate", "k", &l), RATION_ERATE);
	assert_int_equal(slots_in_use(), 0);
	assert_int_equal(take("nothing", "k", &l), RATION_ENOLIMIT);
	assert_int_equal(ration_lease(f.r, "s", "k", 0, 0, &l, NULL), RATION_EKEY);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, NULL, NULL), RATION_EINVAL);
	assert_int_equal(
	    ration_lease(f.r, "s", "k", 1, RATION_TTL_MAX + 1, &l, NULL), RATION_EINVAL);
	assert_int_equal(ration_release(f.r, NULL), RATION_EINVAL);
	/* Unlimited: counted, and there is nothing to give back. */
	assert_int_equal(take("free", "k", &l), RATION_ADMITTED);
	assert_int_equal(l.word, 0);
	assert_int_equal(ration_release(f.r, &l), 0);
	assert_int_equal(ration_release(f.r, &l), RATION_ESTALE);
	assert_true(audit_row(&f, "free", "k", 1, &row));
	assert_int_equal(row.admitted, 1);
	/* What somebody made up. */
	l = (ration_lease_t) { sizeof(l), 1000, 5, 0, UINT64_MAX, f.seg.head->id };
	assert_int_equal(ration_release(f.r, &l), RATION_EINVAL);
	l = (ration_lease_t) { sizeof(l), 0, UINT32_MAX, 0, UINT64_MAX, f.seg.head->id };
	assert_int_equal(ration_release(f.r, &l), RATION_EINVAL);
	l = (ration_lease_t) { sizeof(l), 0, 5, 0, UINT64_MAX, 0 };
	assert_int_equal(ration_release(f.r, &l), RATION_ESTALE);
}

/* ---- times ---- */

static void
test_ttl_code(void **state)
{
	uint64_t last = 0;

	(void)state;
	for (uint64_t t = 1; t < UINT64_C(63) << 14; t += 1 + t / 1000) {
		uint64_t got = lease_ttl_ticks(lease_ttl_code(t));

		assert_in_range(lease_ttl_code(t), 1, 511);
		assert_true(got >= t && got <= t + t / 32 && got >= last);
		last = got;
	}
	for (uint32_t c = 0; c < 512; c++)
		assert_int_equal(lease_ttl_code(lease_ttl_ticks(c)), c);
}

static void
test_ttl(void **state)
{
	static const uint64_t ms[] = { 1, 33, 34, 35, 100, 999, 5000, 77777, 3600000,
		RATION_TTL_MAX };
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l, other;

	(void)state;
	for (unsigned i = 0; i < sizeof(ms) / sizeof(ms[0]); i++) {
		uint64_t ns = ms[i] * 1000000, late = ns / 32 + TICK_NS, at;

		pass(12345678 * i);
		at = atomic_load(&f.now);
		assert_int_equal(take_by(f.r, "one", "k", ms[i], &l), RATION_ADMITTED);
		atomic_store(&f.now, at + ns - 1);
		assert_int_equal(ration_lease(f.r, "one", "k", 1, 0, &other, &d), RATION_DENIED);
		assert_true(d.retry_at > 0);
		assert_true(d.retry_at >= fixture_unix(&f));
		atomic_store(&f.now, at + ns + late);
		assert_int_equal(take("one", "k", &other), RATION_ADMITTED);
		assert_int_equal(ration_release(f.r, &l), RATION_ESTALE);
		assert_int_equal(ration_release(f.r, &other), 0);
	}
	assert_int_equal(atomic_load(&f.seg.head->expired), sizeof(ms) / sizeof(ms[0]));
}

/* A retry at retry_at is admitted, whichever must end before. */
static void
test_retry(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l[5], more;
	int64_t at;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(take_by(f.r, "s", "k", 10000 * (5 - i), &l[i]), RATION_ADMITTED);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &more, &d), RATION_DENIED);
	assert_in_range(d.retry_at - fixture_unix(&f), 10, 12);
	at = d.retry_at;
	/* Lowered to 2: three of them have to end, and one more. */
	fixture_policy(&f, "limits:\n  s: {rates: 2 concurrent}\n");
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &more, &d), RATION_DENIED);
	assert_in_range(d.retry_at - fixture_unix(&f), 40, 42);
	assert_true((d.flags & RATION_F_DEBT) != 0);
	assert_true(d.retry_at > at);
	pass((uint64_t)(d.retry_at - 1 - fixture_unix(&f)) * S - S / 2);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &more, NULL), RATION_DENIED);
	pass((uint64_t)(d.retry_at - fixture_unix(&f)) * S);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &more, NULL), RATION_ADMITTED);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &l[1], &d), RATION_DENIED);
}

static void
test_renew(void **state)
{
	ration_lease_t l, copy, other;

	(void)state;
	assert_int_equal(take_by(f.r, "one", "k", 1000, &l), RATION_ADMITTED);
	for (unsigned i = 0; i < 10; i++) {
		pass(S * 9 / 10);
		copy = l;
		assert_int_equal(ration_renew(f.r, &l, 1000), 0);
		assert_int_equal(ration_release(f.r, &copy), RATION_ESTALE);
		assert_int_equal(take("one", "k", &other), RATION_DENIED);
	}
	assert_int_equal(ration_renew(f.r, &l, 0), 0);
	pass(100000 * S);
	assert_int_equal(take("one", "k", &other), RATION_DENIED);
	assert_int_equal(ration_renew(f.r, &l, 100), 0);
	pass(S);
	assert_int_equal(ration_renew(f.r, &l, 100), RATION_ESTALE);
	assert_int_equal(take("one", "k", &other), RATION_ADMITTED);
	assert_int_equal(ration_renew(f.r, &l, 100), RATION_ESTALE);
	assert_int_equal(ration_renew(f.r, &other, 100), 0);
}

/* ---- the limit changes ---- */

#define SIX "limits:\n  s: {rates: %u concurrent}\n"

static void
set_limit(unsigned n)
{
	char text[128];

	(void)snprintf(text, sizeof(text), SIX, n);
	fixture_policy(&f, text);
}

static void
test_changed(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l[12], more;
	unsigned n;

	(void)state;
	set_limit(10);
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(take("s", "k", &l[i]), RATION_ADMITTED);
	set_limit(5);
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &more, &d), RATION_DENIED);
	assert_int_equal(d.used, 10);
	/* Whichever go: not before fewer than five are left. */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ration_release(f.r, &l[i]), 0);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	assert_int_equal(ration_release(f.r, &l[5]), 0);
	assert_int_equal(ration_release(f.r, &l[6]), 0);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	assert_int_equal(ration_release(f.r, &l[7]), 0); /* 3, 4, 8, 9 are held */
	assert_int_equal(take("s", "k", &l[0]), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	assert_int_equal(ration_release(f.r, &l[9]), 0);
	assert_int_equal(take("s", "k", &l[1]), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	set_limit(12);
	for (n = 0; n < 12 && take("s", "k", &more) == RATION_ADMITTED; n++)
		;
	assert_int_equal(n, 7);
}

/* Any lowered limit, any permits held: exactly as many as there is room for. */
static void
test_room(void **state)
{
	uint64_t random;

	(void)state;
	random = test_seed();
	for (unsigned round = 0; round < 200; round++) {
		ration_lease_t l[60], more[60];
		unsigned held = 0, n = (unsigned)(test_random(&random) % 60), got;

		set_limit(60);
		for (unsigned i = 0; i < 60; i++)
			assert_int_equal(take("s", "k", &l[i]), RATION_ADMITTED);
		for (unsigned i = 0; i < 60; i++)
			if (test_random(&random) % 3 == 0)
				held++;
			else
				assert_int_equal(ration_release(f.r, &l[i]), 0);
		set_limit(n);
		for (got = 0; got < 60 && take("s", "k", &more[got]) == RATION_ADMITTED; got++)
			;
		assert_int_equal(got, held < n ? n - held : 0);
		for (unsigned i = 0; i < 60; i++) {
			if (l[i].word != 0)
				assert_int_equal(ration_release(f.r, &l[i]), 0);
			if (i < got)
				assert_int_equal(ration_release(f.r, &more[i]), 0);
		}
	}
}

/* Unlimited for a while: what is held stays held, and what is taken meanwhile is not. */
static void
test_unlimited(void **state)
{
	static const char with[] = "limits:\n  s: {rates: 2 concurrent}\n"
				   "overrides:\n  - {key: k, limit: s, rates: unlimited}\n";
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l[2], more[10];
	struct row row;

	(void)state;
	set_limit(2);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(take("s", "k", &l[i]), RATION_ADMITTED);
	fixture_policy(&f, with);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &more[i], &d), RATION_ADMITTED);
		assert_int_equal(more[i].word, 0);
		assert_true(d.remaining == RATION_UNLIMITED);
	}
	assert_int_equal(ration_acquire(f.r, "s", "k", 1, NULL), RATION_ELEASE);
	assert_true(audit_row(&f, "s", "k", 1, &row));
	assert_int_equal(row.admitted, 12);
	set_limit(2);
	assert_int_equal(take("s", "k", &more[0]), RATION_DENIED);
	assert_int_equal(ration_release(f.r, &more[1]), 0);
	assert_int_equal(ration_release(f.r, &l[0]), 0);
	assert_int_equal(take("s", "k", &more[0]), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &more[1]), RATION_DENIED);
}

static void
test_reset(void **state)
{
	ration_lease_t l[5];
	struct row row;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(take("s", "k", &l[i]), RATION_ADMITTED);
	assert_true(audit_row(&f, "s", "k", 1, &row));
	assert_int_equal(view_reset(&f.seg, row.slot, row.birth, atomic_load(&f.now)), 0);
	assert_int_equal(used("s", "k"), 0);
	assert_int_equal(ration_release(f.r, &l[0]), RATION_ESTALE);
	pass(S);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(take("s", "k", &l[i]), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &l[0]), RATION_DENIED);
	assert_true(audit_row(&f, "s", "k", 1, &row));
	assert_int_equal(row.admitted, 10);
}

/* ---- chunks ---- */

static void
test_many(void **state)
{
	static ration_lease_t l[500];
	uint32_t chunks = 500 / lease_places(&f.seg) + (500 % lease_places(&f.seg) != 0);
	ration_lease_t more;
	struct row row;

	(void)state;
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(take("many", "k", &l[i]), RATION_ADMITTED);
	assert_int_equal(take("many", "k", &more), RATION_DENIED);
	assert_int_equal(slots_in_use(), chunks);
	assert_true(audit_row(&f, "many", "k", 1, &row));
	assert_int_equal(row.rates[0].used, 500);
	assert_int_equal(row.admitted, 500);
	/* One row, one key. */
	sweep(2);
	assert_int_equal(atomic_load(&f.seg.limits[row.limit].keys), 1);
	for (unsigned i = 0, rows = 0; i < f.seg.nslots; i++) {
		rows += view_row(&f.seg, i, atomic_load(&f.now), &row);
		assert_true(rows <= 1);
	}
	/* What the first chunk holds goes; it stays, for the others. */
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(ration_release(f.r, &l[i]), 0);
	sweep(4);
	assert_int_equal(slots_in_use(), chunks - 100 / lease_places(&f.seg) + 1);
	assert_int_equal(used("many", "k"), 400);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(take("many", "k", &l[i]), RATION_ADMITTED);
	assert_int_equal(take("many", "k", &more), RATION_DENIED);
	for (unsigned i = 0; i < 500; i++)
		assert_int_equal(ration_release(f.r, &l[i]), 0);
	pass(100 * S);
	sweep(6);
	assert_int_equal(slots_in_use(), 0);
	assert_int_equal(take("many", "k", &more), RATION_ADMITTED);
}

/* A table that is too small for all the chunks: when_full decides, and nothing is left over. */
static void
test_no_room(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture small;
	ration_lease_t l;
	unsigned n;

	(void)state;
	fixture_open(&small, "limits:\n  s: {rates: 500 concurrent, when_full: deny}\n", 3);
	for (n = 0; n < 500; n++)
		if (ration_lease(small.r, "s", "k", 1, 0, &l, &d) != RATION_ADMITTED)
			break;
	assert_int_equal(n, 3 * lease_places(&small.seg));
	assert_int_equal(d.reason, RATION_R_FULL);
	assert_true((d.flags & RATION_F_TABLE_FULL) != 0);
	fixture_close(&small);
}

/* ---- names ---- */

static void
test_named(void **state)
{
	ration_lease_t l, more;

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(
		    ration_lease_named(f.r, "s", "k", 1, i < 2 ? "one" : "two", 3, &l, NULL),
		    RATION_ADMITTED);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	assert_int_equal(ration_release_named(f.r, "s", "k", 1, "none", 4), RATION_ESTALE);
	assert_int_equal(ration_release_named(f.r, "s", "j", 1, "one", 3), RATION_ESTALE);
	assert_int_equal(ration_release_named(f.r, "x", "k", 1, "one", 3), RATION_ENOLIMIT);
	assert_int_equal(ration_release_named(f.r, "s", "k", 1, "one", 3), 0);
	assert_int_equal(ration_release_named(f.r, "s", "k", 1, "one", 3), 0);
	assert_int_equal(ration_release_named(f.r, "s", "k", 1, "one", 3), RATION_ESTALE);
	assert_int_equal(used("s", "k"), 3);
	assert_int_equal(ration_release(f.r, &l), 0);
	assert_int_equal(ration_lease_named(f.r, "s", "k", 1, NULL, 0, &l, NULL), RATION_ADMITTED);
	assert_int_equal(ration_renew(f.r, &l, 0), 0);
	assert_int_equal(ration_renew(f.r, &l, 1), RATION_EINVAL);
	assert_int_equal(ration_release_named(f.r, "s", "k", 1, "", 0), 0);
	assert_int_equal(ration_release(f.r, &l), RATION_ESTALE);
	/* It stays when the handle goes. */
	ration_close(f.r);
	f.r = fixture_handle(&f);
	assert_int_equal(used("s", "k"), 2);
	assert_int_equal(ration_release_named(f.r, "s", "k", 1, "two", 3), 0);
}

/* Into a new segment, more than the limit allows too. */
static void
test_keep(void **state)
{
	struct policy_ref p;
	ration_lease_t l;

	(void)state;
	assert_true(policy_current(f.seg.policy, &p));
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(lease_keep(&f.seg, &p, (uint32_t)policy_limit_id(&p, "s", 1), "k",
				     1, lease_name("hook", 4), atomic_load(&f.now)),
		    0);
	assert_int_equal(used("s", "k"), 100);
	assert_int_equal(take("s", "k", &l), RATION_DENIED);
	for (unsigned i = 0; i < 96; i++)
		assert_int_equal(ration_release_named(f.r, "s", "k", 1, "hook", 4), 0);
	assert_int_equal(take("s", "k", &l), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &l), RATION_DENIED);
}

/* ---- several claims ---- */

#define CLAIM(limit, key, cost) \
	{ \
		sizeof(ration_claim_t), limit, key, strlen(key), cost \
	}

static void
test_all(void **state)
{
	const ration_claim_t claims[] = { CLAIM("rate", "k", 1), CLAIM("s", "k", 7),
		CLAIM("one", "k", 1) };
	ration_decision_t d = RATION_DECISION_INIT, e = RATION_DECISION_INIT;
	ration_lease_t l;

	(void)state;
	assert_int_equal(ration_acquire_all(f.r, claims, 3, &d), RATION_ADMITTED);
	assert_int_equal(d.nrates, 3);
	assert_int_equal(d.nreceipts, 3);
	assert_int_equal(used("s", "k"), 1);
	assert_int_equal(ration_decision_lease(f.r, &d, 0, &l), RATION_ESTALE);
	/* One has no more: the others are as they were. */
	assert_int_equal(ration_acquire_all(f.r, claims, 3, &e), RATION_DENIED);
	assert_int_equal(e.claim, 2);
	assert_int_equal(used("s", "k"), 1);
	assert_int_equal(used("rate", "k"), 1);
	assert_int_equal(ration_decision_lease(f.r, &d, 2, &l), 0);
	assert_int_equal(ration_release(f.r, &l), 0);
	assert_int_equal(used("one", "k"), 0);
	assert_int_equal(ration_decision_lease(f.r, &d, 1, &l), 0);
	/* A refund gives back the units and the lease that is left. */
	assert_int_equal(ration_refund(f.r, &d, 0), RATION_ESTALE);
	assert_int_equal(used("s", "k"), 1);
	assert_int_equal(ration_refund(f.r, &d, 1), 0);
	assert_int_equal(used("s", "k"), 0);
	assert_int_equal(used("rate", "k"), 0);
	assert_int_equal(ration_release(f.r, &l), RATION_ESTALE);
	assert_int_equal(ration_refund(f.r, &d, 1), RATION_ESTALE);
	/* Settling leaves leases alone. */
	assert_int_equal(ration_acquire_all(f.r, claims, 3, &d), RATION_ADMITTED);
	assert_int_equal(ration_settle(f.r, &d, 0), 0);
	assert_int_equal(used("s", "k"), 1);
	assert_int_equal(used("rate", "k"), 0);
}

/* The same key twice: two leases, of which neither is left when the other is not to be had. */
static void
test_all_same_key(void **state)
{
	const ration_claim_t claims[] = { CLAIM("s", "k", 1), CLAIM("s", "k", 1) };
	const ration_claim_t one[] = { CLAIM("one", "k", 1), CLAIM("one", "k", 1) };
	const ration_claim_t look[] = { CLAIM("s", "k", 0) };
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_ADMITTED);
	assert_int_equal(used("s", "k"), 4);
	assert_int_equal(ration_acquire_all(f.r, claims, 2, NULL), RATION_DENIED);
	assert_int_equal(used("s", "k"), 4);
	assert_int_equal(ration_acquire_all(f.r, look, 1, NULL), RATION_ADMITTED);
	assert_int_equal(used("s", "k"), 4);
	assert_int_equal(ration_refund(f.r, &d, 1), 0);
	assert_int_equal(used("s", "k"), 2);
	assert_int_equal(ration_acquire_all(f.r, one, 2, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_COST);
	assert_int_equal(ration_acquire_all(f.r, one, 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_decision_lease(f.r, &d, 0, &l), 0);
	assert_int_equal(ration_release(f.r, &l), 0);
}

static void
test_observed(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l[3];

	(void)state;
	fixture_policy(&f, "limits:\n  s: {rates: 2 concurrent, mode: observe}\n");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &l[i], &d), RATION_ADMITTED);
	assert_true((d.flags & RATION_F_OBSERVED) != 0);
	assert_int_equal(l[2].word, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ration_release(f.r, &l[i]), 0);
	assert_int_equal(used("s", "k"), 0);
	fixture_policy(&f, "limits:\n  s: {rates: 2 concurrent, mode: \"off\"}\n");
	assert_int_equal(ration_lease(f.r, "s", "k", 1, 0, &l[0], &d), RATION_ADMITTED);
	assert_int_equal(l[0].word, 0);
	assert_int_equal(ration_release(f.r, &l[0]), 0);
}

/* ---- holders ---- */

static int
status_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* What a child does with a handle of its parent: it has none of its leases. */
static int
child_of_holder(void)
{
	ration_lease_t l[5];

	for (unsigned i = 0; i < 3; i++)
		if (take("s", "k", &l[i]) != RATION_ADMITTED)
			return 1;
	if (take("s", "k", &l[3]) != RATION_DENIED)
		return 2;
	/* Another number than the parent's. */
	if (HELD_HOLDER(l[0].word) == 0 || HELD_HOLDER(l[0].word) != HELD_HOLDER(l[1].word))
		return 3;
	return (int)HELD_HOLDER(l[0].word) + 10;
}

static void
test_children(void **state)
{
	ration_lease_t l[5];
	int own, number;
	pid_t pid;

	(void)state;
	assert_int_equal(take("s", "k", &l[0]), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &l[1]), RATION_ADMITTED);
	own = (int)HELD_HOLDER(l[0].word) + 10;
	for (unsigned how = 0; how < 2; how++) {
		pid = how == 0 ? fork() : (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		if (pid == 0)
			_exit(child_of_holder());
		number = status_of(pid);
		assert_true(number > 10 && number != own);
		/* It has ended, and its leases with it; ours have not. */
		assert_int_equal(used("s", "k"), 2);
		for (unsigned i = 2; i < 5; i++)
			assert_int_equal(take("s", "k", &l[i]), RATION_ADMITTED);
		assert_int_equal(take("s", "k", &(ration_lease_t) { 0 }), RATION_DENIED);
		for (unsigned i = 2; i < 5; i++)
			assert_int_equal(ration_release(f.r, &l[i]), 0);
	}
	assert_int_equal(atomic_load(&f.seg.head->reaped), 6);
	/* A child that releases what its parent holds. */
	pid = fork();
	if (pid == 0)
		_exit(ration_release(f.r, &l[0]) == 0 ? 0 : 1);
	assert_int_equal(status_of(pid), 0);
	assert_int_equal(ration_release(f.r, &l[0]), RATION_ESTALE);
	assert_int_equal(ration_release(f.r, &l[1]), 0);
}

static void
test_exec(void **state)
{
	ration_lease_t l;
	int ready[2], go[2];
	char c = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		char in[16];

		if (take("one", "k", &l) != RATION_ADMITTED || write(ready[1], "x", 1) != 1 ||
		    read(go[0], &c, 1) != 1)
			_exit(1);
		(void)snprintf(in, sizeof(in), "<&%d", go[0]);
		(void)dup2(go[0], 0);
		(void)dup2(ready[1], 1);
		(void)execl("/bin/sh", "sh", "-c", "echo; read x", (char *)NULL);
		_exit(2);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(take("one", "k", &l), RATION_DENIED);
	assert_int_equal(write(go[1], "x", 1), 1);
	assert_int_equal(read(ready[0], &c, 1), 1); /* the shell speaks, and lives on */
	assert_int_equal(take("one", "k", &l), RATION_ADMITTED);
	assert_int_equal(write(go[1], "\n", 1), 1);
	(void)status_of(pid);
	for (unsigned i = 0; i < 2; i++) {
		(void)close(ready[i]);
		(void)close(go[i]);
	}
}

/* Each handle is a holder of its own; closing it ends its leases, not the other's. */
static void
test_handles(void **state)
{
	ration_t *other = fixture_handle(&f);
	ration_lease_t l, more;

	(void)state;
	assert_int_equal(take_by(other, "s", "k", 0, &l), RATION_ADMITTED);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(take("s", "k", &more), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	ration_close(other);
	assert_int_equal(take("s", "k", &more), RATION_ADMITTED);
	assert_int_equal(take("s", "k", &more), RATION_DENIED);
	assert_int_equal(ration_release(f.r, &l), RATION_ESTALE);
}

static bool
lives(uint32_t holder)
{
	struct holder_look look = holder_look_begin(&f.paths);
	bool dead = holder_dead(&look, holder);

	holder_look_end(&look);
	return !dead;
}

/*
 * While some threads are still in a segment that was replaced and others in the next one, each
 * segment has one number, and none of them ends.
 */
static void
test_two_segments(void **state)
{
	ration_t *r = fixture_handle(&f);
	struct segment seg[10];
	uint32_t first[10], n;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		seg[i] = *handle_current(r);
		seg[i].id += i;
	}
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(holder_number(r, &seg[i], &first[i]), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(holder_number(r, &seg[i % 8], &n), 0);
		assert_int_equal(n, first[i % 8]);
		assert_int_equal(holder_known(r, &seg[7]), first[7]);
	}
	for (unsigned i = 0; i < 8; i++)
		assert_true(lives(first[i]));
	/* Two more: those of the first two end, and there is no way back. */
	for (unsigned i = 8; i < 10; i++)
		assert_int_equal(holder_number(r, &seg[i], &first[i]), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_true(lives(first[i]) == (i >= 2));
	assert_int_equal(holder_number(r, &seg[1], &n), RATION_EBUSY);
	assert_int_equal(holder_known(r, &seg[9]), first[9]);
	ration_close(r);
	for (unsigned i = 0; i < 10; i++)
		assert_false(lives(first[i]));
}

/* Without its lock file nobody is dead, and nobody new can be a holder. */
static void
test_no_lock_file(void **state)
{
	ration_t *other = fixture_handle(&f);
	ration_lease_t l;

	(void)state;
	assert_int_equal(take_by(other, "one", "k", 0, &l), RATION_ADMITTED);
	assert_int_equal(unlink(f.paths.holders), 0);
	ration_close(other);
	assert_int_equal(take("one", "j", &l), RATION_ENOSEG);
	assert_int_equal(ration_lease_named(f.r, "one", "k", 1, "", 0, &l, NULL), RATION_DENIED);
	assert_int_equal(holder_file_make(&f.paths, (unsigned)-1), 0);
	assert_int_equal(take("one", "j", &l), RATION_ADMITTED);
}

/* A key that is leased is never recycled; then it is, and stale leases of it are nobody's. */
static void
test_recycled(void **state)
{
	ration_lease_t l, stale;

	(void)state;
	assert_int_equal(take("one", "k", &l), RATION_ADMITTED);
	sweep(10);
	assert_int_equal(slots_in_use(), 1);
	stale = l;
	assert_int_equal(ration_release(f.r, &l), 0);
	sweep(10);
	assert_int_equal(slots_in_use(), 0);
	assert_int_equal(atomic_load(&f.seg.limits[1].admitted_gone), 1);
	assert_int_equal(take("one", "k", &l), RATION_ADMITTED);
	assert_int_equal(ration_release(f.r, &stale), RATION_ESTALE);
	assert_int_equal(used("one", "k"), 1);
	/* The bit in the lease bitmap, and that the sweep sets it if its setter was killed. */
	assert_int_equal(word_load(&f.seg.leases[l.slot / 64]) >> l.slot % 64 & 1, 1);
	lease_unmark(&f.seg, l.slot);
	assert_int_equal(word_load(&f.seg.leases[l.slot / 64]) >> l.slot % 64 & 1, 1);
	atomic_store(&f.seg.leases[l.slot / 64], 0);
	sweep(2);
	assert_int_equal(word_load(&f.seg.leases[l.slot / 64]) >> l.slot % 64 & 1, 1);
	{
		uint32_t slot = l.slot;

		assert_int_equal(ration_release(f.r, &l), 0);
		lease_unmark(&f.seg, slot);
		assert_int_equal(word_load(&f.seg.leases[slot / 64]), 0);
	}
}

/* ---- against an exact model ---- */

#define MODEL_MAX 64u

struct model {
	ration_lease_t l;
	uint64_t from_ns, end_ns; /* it may have expired from the first on, and has at the second */
	bool kept;
};

/* Leases that stand for certain, and those that may; the rest is forgotten. */
static void
model_count(struct model *m, unsigned *n, unsigned *least, unsigned *most)
{
	uint64_t now = atomic_load(&f.now);

	*least = *most = 0;
	for (unsigned i = *n; i-- > 0;) {
		if (m[i].end_ns != 0 && m[i].end_ns <= now) {
			m[i] = m[--*n];
			continue;
		}
		*least += m[i].from_ns == 0 || m[i].from_ns > now;
		(*most)++;
	}
}

static void
test_model(void **state)
{
	ration_t *handles[2] = { f.r, fixture_handle(&f) };
	unsigned n = 0, limit = 20, least, most;
	struct model m[MODEL_MAX];
	uint64_t random;

	(void)state;
	random = test_seed();
	set_limit(limit);
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t dice = test_random(&random), ttl = dice >> 40 & 3 ? 0 : 1 + dice % 5000;
		ration_t *r = handles[dice >> 8 & 1];
		struct model *x = n > 0 ? &m[(dice >> 16) % n] : NULL;
		bool kept = (dice >> 48 & 7) == 0;
		ration_lease_t l;
		int v;

		model_count(m, &n, &least, &most);
		x = n > 0 ? &m[(dice >> 16) % n] : NULL;
		switch (dice % 16) {
		case 0:
			pass((dice >> 20) % (2 * S));
			break;
		case 1:
			limit = 1 + (unsigned)((dice >> 20) % 40);
			if (step % 8 == 0)
				set_limit(limit);
			else
				limit = 0;
			break;
		case 2:
			if (step % 16 == 0)
				sweep(2);
			break;
		case 3:
		case 4:
		case 5:
		case 6:
		case 7:
			if (x == NULL)
				break;
			v = ration_release(r, &x->l);
			assert_true(v == 0 || (v == RATION_ESTALE && x->end_ns != 0));
			*x = m[--n];
			break;
		default:
			v = kept ? ration_lease_named(r, "s", "k", 1, "n", 1, &l, NULL)
				 : ration_lease(r, "s", "k", 1, ttl, &l, NULL);
			if (v == RATION_DENIED)
				assert_true(most >= limit);
			else
				assert_int_equal(v, RATION_ADMITTED);
			if (v != RATION_ADMITTED)
				break;
			assert_true(least < limit && n < MODEL_MAX);
			m[n] = (struct model) { .l = l, .kept = kept };
			if (!kept && ttl != 0) {
				m[n].from_ns = atomic_load(&f.now) + ttl * 1000000;
				m[n].end_ns = m[n].from_ns + ttl * 1000000 / 32 + TICK_NS;
			}
			n++;
		}
		if (limit == 0) { /* not changed after all */
			ration_decision_t d = RATION_DECISION_INIT;

			assert_true(ration_peek(f.r, "s", "k", 0, &d) >= 0);
			limit = (unsigned)d.limit_units;
		}
		model_count(m, &n, &least, &most);
		assert_in_range(used("s", "k"), least, most);
	}
	ration_close(handles[1]);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_limit),
		T(test_wrong_kind),
		T(test_ttl_code),
		T(test_ttl),
		T(test_retry),
		T(test_renew),
		T(test_changed),
		T(test_room),
		T(test_unlimited),
		T(test_reset),
		T(test_many),
		T(test_no_room),
		T(test_named),
		T(test_keep),
		T(test_all),
		T(test_all_same_key),
		T(test_observed),
		T(test_children),
		T(test_exec),
		T(test_handles),
		T(test_two_segments),
		T(test_no_lock_file),
		T(test_recycled),
		T(test_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
