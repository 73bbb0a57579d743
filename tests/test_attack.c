/*
 * test_attack.c - what an adversary tried: long uptimes, amounts that do not fit, answers read
 * from a policy that is being rewritten, threads between two stores, clocks that stand still
 * over midnight.
 */
#include "steps.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "atomics.h"
#include "short.h"

#define S UINT64_C(1000000000)
#define HOUR (3600 * S)
#define DAY (24 * HOUR)

static uint64_t
take(ration_t *r, const char *limit, uint64_t cost, uint64_t max)
{
	uint64_t n = 0;

	while (n < max && ration_acquire(r, limit, "k", cost, NULL) == RATION_ADMITTED)
		n++;
	return n;
}

/* ---- machines that run for years ---- */

static void
test_uptime(void **state)
{
	static const uint64_t days[] = { 0, 200, 250, 300, 420, 425, 500, 700, 833, 834, 835, 900,
		1300, 1700 };
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++) {
		fixture_open(&f,
		    "limits: {b: 1/s burst 5, s: 5/min, x: 5/hour fixed, m: 5/month, u: "
		    "unlimited}\n",
		    0);
		atomic_store(&f.now, FIXTURE_START + days[i] * DAY);
		assert_int_equal(take(f.r, "b", 1, 20), 5);
		assert_int_equal(ration_acquire(f.r, "b", "k", 1, &d), RATION_DENIED);
		assert_int_equal(d.retry_at, fixture_unix(&f) + 1);
		assert_int_equal(d.reset_at, fixture_unix(&f) + 5);
		assert_int_equal(d.used, 5);
		assert_int_equal(take(f.r, "s", 1, 20), 5);
		assert_int_equal(take(f.r, "x", 1, 20), 5);
		assert_int_equal(take(f.r, "m", 1, 20), 5);
		atomic_fetch_add(&f.now, 2 * S);
		assert_int_equal(take(f.r, "b", 1, 20), 2);
		/* Another window, and back: what is used stays used. */
		fixture_policy(&f,
		    "limits: {b: 5/min, s: 1/s burst 5, x: 5/min, m: 5/hour fixed, u: "
		    "unlimited}\n");
		assert_int_equal(take(f.r, "b", 1, 20), 0);
		assert_int_equal(take(f.r, "s", 1, 20), 0);
		assert_int_equal(take(f.r, "x", 1, 20), 0);
		assert_int_equal(take(f.r, "m", 1, 20), 0);
		fixture_close(&f);
	}
}

/* A bucket of nothing used stays so, whatever the uptime. */
static void
test_uptime_carry(void **state)
{
	struct fixture f;

	(void)state;
	for (uint64_t day = 0; day < 1700; day += 50) {
		fixture_open(&f, "limits: {b: 5/s}\n", 0);
		atomic_store(&f.now, FIXTURE_START + day * DAY);
		assert_int_equal(take(f.r, "b", 1, 20), 5);
		atomic_fetch_add(&f.now, 10 * S);
		fixture_policy(&f, "limits: {b: 1/s burst 5}\n");
		assert_int_equal(take(f.r, "b", 1, 20), 5);
		fixture_close(&f);
	}
}

static uint64_t
live_slots(struct fixture *f)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < f->seg.nslots; i++)
		n += STATE_ST(word_load(&segment_slot(&f->seg, i)[SLOT_STATE])) != ST_FREE;
	return n;
}

static void
sweep_all(struct fixture *f)
{
	struct sweep s = { .next = 0 };

	for (unsigned i = 0; i < 4; i++) {
		atomic_fetch_add(&f->now, 3 * S);
		(void)table_sweep(&f->seg, &s, f->seg.nslots, atomic_load(&f->now),
		    clock_unix(f->seg.policy, atomic_load(&f->now)), 0);
	}
}

static void
test_uptime_recycle(void **state)
{
	struct fixture f;

	(void)state;
	for (uint64_t day = 0; day < 1700; day += 50) {
		fixture_open(&f, "limits: {b: 1/s burst 5, s: 5/min, u: unlimited}\n", 0);
		atomic_store(&f.now, FIXTURE_START + day * DAY);
		assert_int_equal(take(f.r, "b", 1, 20), 5);
		assert_int_equal(take(f.r, "s", 1, 20), 5);
		assert_int_equal(take(f.r, "u", 1, 20), 20);
		assert_int_equal(live_slots(&f), 3);
		atomic_fetch_add(&f.now, 2 * HOUR);
		sweep_all(&f);
		assert_int_equal(live_slots(&f), 0);
		fixture_close(&f);
	}
}

/* ---- buckets ---- */

/* What has come back by itself is not given back once more. */
static void
test_bucket_refund(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;

	(void)state;
	fixture_open(&f, "limits: {b: 1/s burst 10}\n", 0);
	assert_int_equal(ration_acquire(f.r, "b", "k", 10, &d), RATION_ADMITTED);
	atomic_fetch_add(&f.now, 10 * S);
	assert_int_equal(take(f.r, "b", 1, 20), 10);
	assert_int_equal(ration_refund(f.r, &d, 10), RATION_ESTALE);
	assert_int_equal(take(f.r, "b", 1, 20), 0);
	atomic_fetch_add(&f.now, 10 * S);
	/* Half of it has. */
	assert_int_equal(ration_acquire(f.r, "b", "k", 10, &d), RATION_ADMITTED);
	atomic_fetch_add(&f.now, 5 * S);
	assert_int_equal(take(f.r, "b", 1, 20), 5);
	assert_int_equal(ration_refund(f.r, &d, 10), 0);
	assert_int_equal(take(f.r, "b", 1, 20), 5);
	fixture_close(&f);
}

/* More than a bucket gets back in years is still used. */
static void
test_carry_much(void **state)
{
	static const uint64_t used[] = { 11, 1000, 100000, 10000000, 40000000, 80000000, 800000000,
		5000000000, 999000000000 };
	struct fixture f;

	(void)state;
	for (size_t i = 0; i < sizeof(used) / sizeof(used[0]); i++) {
		fixture_open(&f, "limits: {b: 1T/month}\n", 0);
		assert_int_equal(take(f.r, "b", used[i], 1), 1);
		fixture_policy(&f, "limits: {b: 1/s burst 10}\n");
		assert_int_equal(take(f.r, "b", 1, 20), 0);
		assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
		fixture_close(&f);
	}
}

/* ---- two stores of another thread ---- */

static void
memo(unsigned which)
{
	struct fixture f;
	ration_t *other;
	struct rate_def r = { .kind = RATION_SLIDING, .window_ns = 60 * S };
	uint64_t epoch, got, mark;

	rate_def_derive(&r, "");
	fixture_open(&f, "limits: {x: 10/min}\n", 0);
	other = fixture_handle(&f);
	atomic_store(&f.now, r.sub_ns * 1000 + 1);
	assert_int_equal(take(f.r, "x", 1, 5), 5);
	atomic_fetch_add(&f.now, 16 * r.sub_ns);
	epoch = epoch_of(atomic_load(&f.now), r.sub_ns, r.recip);
	/*
	 * Threads that note a sub-window may be stopped between the two stores (or the process
	 * forked then): each word is of any time, or not there.
	 */
	mark = SUB_MARK(NARROW_TAG(UINT64_C(0), tick_of(epoch * r.sub_ns)), epoch);
	if ((which & 1) != 0)
		atomic_store(&f.r->subs[r.shape % EPOCHS].mark, mark);
	if ((which & 2) != 0)
		atomic_store(&f.r->subs[r.shape % EPOCHS].reset, 1);
	got = take(f.r, "x", 1, 100) + take(other, "x", 1, 100);
	assert_int_equal(got, 10);
	ration_close(other);
	fixture_close(&f);
}

static void
test_memo(void **state)
{
	(void)state;
	for (unsigned which = 0; which < 4; which++)
		memo(which);
}

/* ---- a policy rewritten under a caller ---- */

static struct fixture *hooked;
static long hook_left;
static void (*hook_do)(struct fixture *f);

static void hook_at(const char *where, const word_t *w);
static void (*hook_next)(const char *where, const word_t *w) = hook_at;

static void
hook_at(const char *where, const word_t *w)
{
	(void)where;
	(void)w;
	if (hook_left-- != 0)
		return;
	step_hook = NULL;
	hook_do(hooked);
	step_hook = hook_next;
}

static ration_t *hook_other;

static void
two_policies(struct fixture *f)
{
	fixture_policy(f, "limits: {x: 7/min, y: 7/hour, w: 3/s}\n");
	fixture_policy(f, "limits: {x: 7/min, y: 7/hour, w: 3/s}\n");
}

static void
charge_and_policies(struct fixture *f)
{
	assert_int_equal(ration_acquire(hook_other, "x", "k", 1, NULL), RATION_ADMITTED);
	two_policies(f);
}

static void
figures(void (*act)(struct fixture *f), bool handle, const char *yaml, long max)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k;
	struct fixture f;
	int v;

	for (long step = 0; step < max; step++) {
		fixture_open(&f, yaml, 0);
		hook_other = fixture_handle(&f);
		assert_int_equal(take(f.r, "x", 1, 40), 40);
		assert_int_equal(ration_key(f.r, "x", "k", 1, &k), 0);
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
		hooked = &f;
		hook_left = step;
		hook_do = act;
		step_hook = hook_at;
		v = handle ? ration_key_acquire(f.r, &k, 1, &d)
			   : ration_acquire(f.r, "x", "k", 1, &d);
		step_hook = NULL;
		assert_true(v == RATION_ADMITTED || v == RATION_DENIED);
		for (unsigned i = 0; i < d.nrates; i++) {
			const ration_rate_t *r = &d.rates[i];

			if (v == RATION_ADMITTED) {
				if (!(r->limit_units == 100 || r->limit_units == 90))
					print_error("step %ld rate %u: limit %" PRIu64
						    " window %" PRIu64 "\n",
					    step, i, r->limit_units, r->window_ns / S);
				assert_true(r->limit_units == 100 || r->limit_units == 90);
				assert_true(r->used + r->remaining == r->limit_units);
			} else {
				assert_int_equal(r->limit_units, 7);
			}
		}
		ration_close(hook_other);
		fixture_close(&f);
	}
}

static void
test_figures(void **state)
{
	(void)state;
	figures(two_policies, false, "limits: {x: 100/min}\n", 24);
	figures(two_policies, true, "limits: {x: 100/min}\n", 24);
	figures(two_policies, false, "limits: {x: [90/min, 100/hour]}\n", 24);
}

static void
test_figures_lost(void **state)
{
	(void)state;
	figures(charge_and_policies, false, "limits: {x: 100/min}\n", 24);
	figures(charge_and_policies, true, "limits: {x: 100/min}\n", 24);
	figures(charge_and_policies, false, "limits: {x: [90/min, 100/hour]}\n", 24);
}

/* Wherever an offset of one version and a place of another lead, there is something to read. */
static void
test_room(void **state)
{
	struct fixture f;
	const volatile char *policy;
	uint64_t bytes;

	(void)state;
	fixture_open(&f, "limits: {x: 5/hour}\n", 0);
	policy = (const char *)atomic_load(&f.r->seg)->policy;
	bytes = f.seg.policy_bytes;
	for (uint64_t i = 0; i < f.seg.policy->area_bytes; i += 4096)
		assert_int_equal(policy[bytes + i], 0);
	fixture_close(&f);
}

/* ---- conversions ---- */

/* In the first sub-window since boot nothing is sealed, so nothing tells a caller who looks. */
static void
test_first_epoch(void **state)
{
	static const char *const yaml[] = { "limits: {m: 5/24h, other: 5/min}\n",
		"limits: {m: 5/12h, other: 5/min}\n", NULL };
	struct task x = { 0 }, y = { 0 };

	(void)state;
	world_open(64, yaml, false);
	world_acquire(&wd.who[3], "a", 3);
	world_pass(S);
	world_save();
	for (long i = 0; i < 60; i++)
		for (long j = 0; j < 120; j++) {
			uint64_t sum;

			world_restore();
			task_start(&x, DO_PEEK, &wd.who[0], "a", 1);
			if (task_run(&x, i))
				break;
			world_next_policy();
			task_start(&y, DO_ACQUIRE, &wd.who[1], "a", 1);
			(void)task_run(&y, j);
			(void)task_run(&x, -1);
			(void)task_run(&y, -1);
			(void)world_drain("a", 20);
			sum = history_sum(world_ledger("a"));
			if (sum != 5)
				print_error(
				    "stopped at %ld and %ld: %" PRIu64 " of 5\n", i, j, sum);
			assert_int_equal(sum, 5);
		}
	free(x.stack);
	free(y.stack);
	world_close();
}

/* A word that a late converter closed is opened by one more conversion, not by a charge. */
static void
closed(const char *yaml, uint64_t (*close)(uint64_t w))
{
	struct fixture f;
	word_t *cell, *p = NULL;
	uint64_t conv;

	fixture_open(&f, yaml, 1);
	assert_int_equal(take(f.r, "m", 1, 3), 3);
	cell = slot_cell(&f.seg, 0, 0);
	for (unsigned i = 0; i < RING_WORDS && p == NULL; i++)
		if (close(word_load(&cell[CELL_RING + i])) != 0)
			p = &cell[CELL_RING + i];
	assert_non_null(p);
	atomic_store(p, close(word_load(p)));
	conv = word_load(&cell[CELL_CONV]);
	assert_int_equal(take(f.r, "m", 1, 20), 2);
	assert_int_equal(CONV_COUNT(word_load(&cell[CELL_CONV])), CONV_COUNT(conv) + 1);
	fixture_close(&f);
}

static uint64_t
close_wide(uint64_t w)
{
	return word_kind(w) == W_WIDE ? CLOSED_OF(w) : 0;
}

static uint64_t
close_tat(uint64_t w)
{
	return word_kind(w) == W_TAT ? TATX_WORD(w & TAT_MASK) : 0;
}

static void
test_closed(void **state)
{
	(void)state;
	closed("limits: {m: 5/hour fixed}\n", close_wide);
	closed("limits: {m: 5/month}\n", close_wide);
	closed("limits: {m: 1/s burst 5}\n", close_tat);
}

static const char *const *pair;

/* Four changes there and back while a converter stands before closing a word. */
static void
there_and_back(struct fixture *f)
{
	for (unsigned i = 0; i < 4; i++) {
		if (i != 0)
			fixture_policy(f, pair[~i & 1]);
		(void)ration_peek(hook_other, "x", "k", 1, NULL);
	}
}

static jmp_buf killed;

static void
kill_next(const char *where, const word_t *w)
{
	(void)where;
	(void)w;
	longjmp(killed, 1);
}

/* ...and is killed right after it. */
static void
there_and_back_killed(struct fixture *f)
{
	there_and_back(f);
	hook_next = kill_next;
}

static void
four_changes(void)
{
	struct fixture f;
	volatile uint64_t got, flight;
	volatile bool done = false;

	for (volatile long step = 0; step < 300 && !done; step++) {
		fixture_open(&f, pair[0], 0);
		atomic_store(&f.now, FIXTURE_START + 5 * S);
		hook_other = fixture_handle(&f);
		got = take(hook_other, "x", 1, 2);
		fixture_policy(&f, pair[1]);
		hooked = &f;
		hook_left = step;
		hook_do = there_and_back_killed;
		hook_next = hook_at;
		step_hook = hook_at;
		flight = 1;
		if (setjmp(killed) == 0) {
			got += ration_acquire(f.r, "x", "k", 1, NULL) == RATION_ADMITTED;
			flight = 0;
		}
		step_hook = NULL;
		hook_next = hook_at;
		done = hook_left >= 0;
		got += take(hook_other, "x", 1, 20);
		if (got + flight < 5 || got > 5)
			print_error("stopped at %ld: %" PRIu64 " of 5\n", step, got);
		assert_in_range(got + flight, 5, 5 + flight);
		ration_close(hook_other);
		fixture_close(&f);
	}
}

static void
test_four_changes(void **state)
{
	static const char *const pairs[][2] = { { "limits: {x: 5/hour}\n", "limits: {x: 5/2h}\n" },
		{ "limits: {x: 5/hour fixed}\n", "limits: {x: 5/2h fixed}\n" },
		{ "limits: {x: 5/month}\n", "limits: {x: 5/day}\n" },
		{ "limits: {x: 1/h burst 5}\n", "limits: {x: 1/2h burst 5}\n" } };

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		pair = pairs[i];
		four_changes();
	}
}

/* A clock that was read before midnight, when an override ended, and is used after it. */
struct late {
	struct fixture f;
	ration_t *other;
	unsigned reading, stop;
	uint64_t taken;
};

static uint64_t
late_clock(void *arg)
{
	struct late *l = arg;
	uint64_t now = atomic_load(&l->f.now);

	if (++l->reading == l->stop) {
		atomic_store(&l->f.now, now + 2 * S);
		l->taken = take(l->other, "m", 1, 5);
	}
	return now;
}

static void
over_midnight(const char *yaml, unsigned stop)
{
	struct late l = { .stop = stop };
	uint64_t before, got = 0, after;

	fixture_open(&l.f, yaml, 0);
	l.other = fixture_handle(&l.f);
	atomic_store(&l.f.now, FIXTURE_START + DAY - S);
	before = take(l.other, "m", 5, 1) * 5;
	assert_int_equal(before, 5);
	l.f.r->clock.fake = late_clock;
	l.f.r->clock.fake_arg = &l;
	if (ration_acquire(l.f.r, "m", "k", 6, NULL) == RATION_ADMITTED)
		got = 6;
	after = take(l.other, "m", 1, 100);
	if (before + got + l.taken + after > 10)
		print_error("stopped at reading %u: %" PRIu64 " + %" PRIu64 " + %" PRIu64
			    " + %" PRIu64 "\n",
		    stop, before, got, l.taken, after);
	assert_true(before + got + l.taken + after <= 10);
	ration_close(l.other);
	fixture_close(&l.f);
}

static void
test_midnight(void **state)
{
	(void)state;
	for (unsigned stop = 1; stop < 5; stop++) {
		over_midnight(
		    "defaults: {timezone: UTC}\nlimits: {m: 10/day}\n"
		    "overrides: [{key: k, limit: m, rates: 10/hour, until: 2026-01-02}]\n",
		    stop);
		over_midnight("defaults: {timezone: UTC}\nlimits: {m: 10/hour}\n"
			      "overrides: [{key: k, limit: m, rates: 10/min, until: 2026-01-02}]\n",
		    stop);
	}
}

/* ---- calls over several limits ---- */

static void
test_denied_no_slot(void **state)
{
	struct fixture f;
	ration_claim_t c[2] = { { sizeof(c[0]), "x", "x0", 2, 1 },
		{ sizeof(c[0]), "y", "new", 3, 1 } };
	ration_decision_t d = RATION_DECISION_INIT;
	char key[16];

	(void)state;
	fixture_open(&f, "limits: {x: 10/min, y: {rates: 10/min, max_keys: 1}}\n", 0);
	assert_int_equal(ration_acquire(f.r, "y", "k", 1, NULL), RATION_ADMITTED);
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof(key), "x%u", i);
		c[0].key = key;
		c[0].key_len = strlen(key);
		assert_int_equal(ration_acquire_all(f.r, c, 2, &d), RATION_DENIED);
		assert_int_equal(d.reason, RATION_R_FULL);
	}
	assert_int_equal(live_slots(&f), 1);
	/* A peek says so too. */
	assert_int_equal(ration_peek(f.r, "y", "new", 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_FULL);
	assert_int_equal(ration_peek(f.r, "y", "k", 1, &d), RATION_ADMITTED);
	fixture_close(&f);
}

/* ---- searches ---- */

/* A reader who stands on a slot that goes into another list does not miss what is behind it. */
static void
test_astray(void **state)
{
	static const char *const yaml[] = { "table: {rates: 2}\nlimits: {m: 5/s, other: 5/min}\n",
		NULL };
	struct task x = { 0 };

	(void)state;
	world_open(1, yaml, false);
	world_close();
	world_open(2, yaml, true);
	world_acquire(&wd.who[3], "b", 3);
	world_acquire(&wd.who[3], "a", 1);
	world_save();
	for (long i = 0; i < 60; i++) {
		world_restore();
		task_start(&x, DO_PEEK, &wd.who[0], "b", 1);
		if (task_run(&x, i))
			break;
		for (unsigned n = 0; n < 6; n++) { /* b stays in use, a's slot goes to c */
			world_pass(S);
			(void)ration_acquire(wd.who[3].r, "m", "b", 3, NULL);
			world_sweep(1);
			(void)ration_acquire(wd.who[3].r, "m", "b", 3, NULL);
		}
		assert_int_equal(world_acquire(&wd.who[3], "c", 1), RATION_ADMITTED);
		(void)task_run(&x, -1);
		assert_int_equal(x.d.used, 3);
	}
	free(x.stack);
	world_close();
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_uptime),
		cmocka_unit_test(test_uptime_carry), cmocka_unit_test(test_uptime_recycle),
		cmocka_unit_test(test_bucket_refund), cmocka_unit_test(test_carry_much),
		cmocka_unit_test(test_memo), cmocka_unit_test(test_figures),
		cmocka_unit_test(test_figures_lost), cmocka_unit_test(test_first_epoch),
		cmocka_unit_test(test_room), cmocka_unit_test(test_closed),
		cmocka_unit_test(test_four_changes), cmocka_unit_test(test_midnight),
		cmocka_unit_test(test_denied_no_slot), cmocka_unit_test(test_astray) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
