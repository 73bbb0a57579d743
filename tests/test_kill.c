/*
 * test_kill.c - processes killed and stopped at random moments in calls over several
 * limits, while keys are added (short and long ones, the same by several at once), while
 * units are given back, and while slots are recycled under them.
 *
 * Of a killed one: acked <= charged <= acked + what its last call may have charged, for each
 * rate by itself.  Afterwards the table is whole: nothing half-made is left, no key has two
 * slots, and those who went on were never held up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <err.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "atomics.h"
#include "audit.h"
#include "crowd.h"

#define WORKERS 4u
#define SPEED 20u /* 2 s of a slot's shortest life are 0.1 s here */
#define BRIEF_KEYS 16000u

static const char policy[] = "table: {rates: 2}\n"
			     "limits:\n"
			     "  a: 1000000000/day\n"
			     "  b: 1000000000/hour\n"
			     "  c: [900000000/hour, 100000000000/day]\n"
			     "  shared: 1000000000/hour\n"
			     "  brief: 5/s\n";

/* Each worker's own keys, then the one that all share. */
enum thing { A, B, C, SHARED, THINGS };
static const char *const names[] = { "a", "b", "c", "shared" };
static const unsigned nrates[] = { 1, 1, 2, 1 };

static bool long_run;

static void
key_of(unsigned who, enum thing k, char text[32])
{
	(void)snprintf(text, 32, "%s:%u", names[k], k == SHARED ? 99 : who);
}

/*
 * Asked for by several workers at once for a while, then left alone until they are recycled,
 * then asked for again.  Every fourth needs extra slots.
 */
static size_t
brief_key(struct crowd *c, uint64_t dice, char text[256])
{
	uint64_t id = (crowd_now(c) / 500000000 * 400 + dice % 800) % BRIEF_KEYS;
	int n = snprintf(text, 256, "brief:%u", (unsigned)id);
	size_t len = id % 4 == 0 ? 40 + id % 200 : (size_t)n;

	for (size_t i = (size_t)n; i < len; i++)
		text[i] = 'x';
	return len;
}

static int
outcome(struct ledger *l, int v)
{
	if (v == RATION_EBUSY) {
		(void)atomic_fetch_add(&l->busy, 1);
		return 0;
	}
	return v < 0 ? v : 0;
}

/* One to three of the worker's own, often a brief key too: all or nothing. */
static int
take_several(struct crowd *c, unsigned who, ration_t *r, uint64_t dice)
{
	struct ledger *l = &c->ledgers[who];
	char keys[THINGS][32], brief[256];
	ration_claim_t claims[THINGS + 1];
	uint64_t cost[THINGS] = { 0 };
	size_t n = 0;
	int v;

	for (enum thing k = A; k < THINGS; k++) {
		if ((dice >> k & 1) == 0)
			continue;
		cost[k] = 1 + (dice >> (8 + 2 * k)) % 4;
		key_of(who, k, keys[k]);
		claims[n++] = (ration_claim_t) { sizeof(*claims), names[k], keys[k],
			strlen(keys[k]), cost[k] };
		ledger_before(l, k, cost[k]);
	}
	if (n == 0 || (dice >> 6 & 3) != 0) {
		size_t len = brief_key(c, dice >> 20, brief);

		claims[n++] = (ration_claim_t) { sizeof(*claims), "brief", brief, len, 1 };
	}
	v = ration_acquire_all(r, claims, n, NULL);
	for (enum thing k = A; k < THINGS; k++)
		if (cost[k] != 0)
			ledger_after(l, k, cost[k], v);
	return outcome(l, v);
}

static int
take_and_return(struct crowd *c, unsigned who, ration_t *r, uint64_t dice)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct ledger *l = &c->ledgers[who];
	enum thing k = (enum thing)(dice % THINGS);
	uint64_t cost = 1 + (dice >> 8) % 4, back = 1 + (dice >> 16) % cost;
	char key[32];
	int v, e;

	key_of(who, k, key);
	ledger_before(l, k, cost);
	v = ration_acquire(r, names[k], key, cost, &d);
	ledger_after(l, k, cost, v);
	if (v != RATION_ADMITTED)
		return outcome(l, v);
	atomic_store(&l->refunding[k], back);
	e = ration_refund(r, &d, back);
	if (e == 0)
		(void)atomic_fetch_sub(&l->acked[k], back);
	atomic_store(&l->refunding[k], 0);
	return e == 0 ? 0 : -100 + e;
}

static int
work(struct crowd *c, unsigned who, ration_t *r, uint64_t *random)
{
	while (atomic_load_explicit(&c->stop, memory_order_relaxed) == 0) {
		uint64_t dice = test_random(random);
		int e = dice >> 60 < 4 ? take_and_return(c, who, r, dice)
				       : take_several(c, who, r, dice);

		if (e != 0) {
			warnx("worker %u: %d: %s", who, e, ration_strerror(e));
			return 1;
		}
		(void)atomic_fetch_add(&c->ledgers[who].calls, 1);
	}
	return 0;
}

/* ---- what was charged ---- */

static void
charged(struct crowd *c, unsigned who, enum thing k, uint64_t used[2])
{
	ration_decision_t d = RATION_DECISION_INIT;
	char key[32];

	key_of(who, k, key);
	assert_int_equal(ration_peek(c->f.r, names[k], key, 0, &d), RATION_ADMITTED);
	assert_int_equal(d.nrates, nrates[k]);
	for (unsigned i = 0; i < 2; i++)
		used[i] = d.rates[i < d.nrates ? i : 0].used;
}

/* What is known of a key beyond the ledgers: left by workers that were killed. */
struct past {
	uint64_t base[WORKERS][THINGS][2]; /* charged - acked when it was last looked at */
	uint64_t up, down;                 /* of the shared key: not known for certain */
};

static void
check_killed(struct crowd *c, unsigned who, struct past *past)
{
	struct ledger *l = &c->ledgers[who];

	for (enum thing k = A; k < SHARED; k++) {
		uint64_t used[2], acked = atomic_load(&l->acked[k]);
		uint64_t up = atomic_load(&l->pending[k]), down = atomic_load(&l->refunding[k]);

		charged(c, who, k, used);
		for (unsigned i = 0; i < nrates[k]; i++) {
			uint64_t *base = &past->base[who][k][i];

			if (used[i] + down < acked + *base || used[i] > acked + *base + up)
				fail_msg("%s of %u, rate %u: charged %" PRIu64 ", acked %" PRIu64
					 " + %" PRIu64 " before, in flight +%" PRIu64 " -%" PRIu64,
				    names[k], who, i, used[i], acked, *base, up, down);
			*base = used[i] - acked;
		}
	}
	past->up += atomic_load(&l->pending[SHARED]);
	past->down += atomic_load(&l->refunding[SHARED]);
	for (enum thing k = A; k < THINGS; k++) {
		atomic_store(&l->pending[k], 0);
		atomic_store(&l->refunding[k], 0);
	}
}

static void
check_shared(struct crowd *c, const struct past *past)
{
	uint64_t used[2], acked = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		acked += atomic_load(&c->ledgers[i].acked[SHARED]);
	charged(c, 0, SHARED, used);
	print_message("  shared key: charged %" PRIu64 ", acked %" PRIu64 ", in flight +%" PRIu64
		      " -%" PRIu64 "\n",
	    used[0], acked, past->up, past->down);
	assert_true(used[0] + past->down >= acked && used[0] <= acked + past->up);
}

static void
check_table(struct crowd *c)
{
	struct audit_counts n;

	assert_int_equal(audit_table(&c->f.seg, false, NULL), 0);
	for (unsigned i = 0; i < 4; i++)
		crowd_sweep(c, 3000000000u + i * 1000000000u);
	assert_int_equal(audit_table(&c->f.seg, true, &n), 0);
	print_message("  slots: %" PRIu64 " in use, %" PRIu64 " extra, %" PRIu64
		      " free; recycled %" PRIu64 ", half-made %" PRIu64 ", rescued %" PRIu64 "\n",
	    n.live, n.extra, n.free, atomic_load(&c->f.seg.head->recycled),
	    atomic_load(&c->f.seg.head->halfmade), atomic_load(&c->f.seg.head->rescues));
	for (unsigned i = 0; i < 200; i++)
		crowd_sweep(c, 10000000000u + i * 100000000u);
	assert_int_equal(audit_table(&c->f.seg, true, &n), 0);
	/* Only the keys with usage are left, and those that nobody has used long enough. */
	assert_int_equal(n.extra, 0);
	assert_true(n.live <= WORKERS * SHARED + 1);
	assert_int_equal(atomic_load(&c->f.seg.head->scribbles), 0);
}

static void
pause_us(uint64_t us)
{
	const struct timespec t = { 0, (long)us * 1000 };

	(void)nanosleep(&t, NULL);
}

static uint64_t
busy_of(const struct crowd *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		sum += atomic_load(&c->ledgers[i].busy);
	return sum;
}

static void
test_kills(void **state)
{
	unsigned kills = long_run ? 2000 : 200;
	struct past past = { 0 };
	uint64_t random;
	struct crowd *c;

	(void)state;
	random = test_seed();
	c = crowd_new(policy, 16384, SPEED, random);
	c->work = work;
	for (unsigned i = 0; i < WORKERS; i++)
		crowd_start(c, i);
	for (unsigned i = 0; i < kills; i++) {
		unsigned who = (unsigned)(test_random(&random) % WORKERS);
		int status;

		pause_us(test_random(&random) % 5000);
		assert_int_equal(kill(c->pids[who], SIGKILL), 0);
		assert_int_equal(waitpid(c->pids[who], &status, 0), c->pids[who]);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		check_killed(c, who, &past);
		crowd_sweep(c, 0);
		crowd_start(c, who);
	}
	assert_int_equal(crowd_finish(c), 0);
	print_message("  %u kills in %" PRIu64 " calls, gave up: %" PRIu64 "\n", kills,
	    crowd_calls(c), busy_of(c));
	for (unsigned i = 0; i < WORKERS; i++)
		check_killed(c, i, &past);
	check_shared(c, &past);
	check_table(c);
	crowd_free(c);
}

/* ---- stopped, not killed ---- */

/* All but `who` get something done while it stands. */
static void
await_progress(struct crowd *c, unsigned who)
{
	uint64_t before[WORKERS], us = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		before[i] = atomic_load(&c->ledgers[i].calls);
	for (unsigned i = 0; i < WORKERS; i++)
		while (i != who && atomic_load(&c->ledgers[i].calls) < before[i] + 20) {
			pause_us(100);
			us += 100;
			if (us > 20000000)
				fail_msg("worker %u stands still while %u is stopped", i, who);
		}
}

static void
test_stops(void **state)
{
	unsigned stops = long_run ? 500 : 60;
	struct past past = { 0 };
	uint64_t random;
	struct crowd *c;

	(void)state;
	random = test_seed();
	c = crowd_new(policy, 16384, SPEED, random);
	c->work = work;
	for (unsigned i = 0; i < WORKERS; i++)
		crowd_start(c, i);
	for (unsigned i = 0; i < stops; i++) {
		unsigned who = (unsigned)(test_random(&random) % WORKERS);
		/* Up to 4 s of the fixture's time: slots are recycled meanwhile. */
		uint64_t us = i % 8 == 0 ? 200000 : test_random(&random) % 20000;

		pause_us(test_random(&random) % 3000);
		assert_int_equal(kill(c->pids[who], SIGSTOP), 0);
		await_progress(c, who);
		for (uint64_t slept = 0; slept < us; slept += 5000) {
			pause_us(us < 5000 ? us : 5000);
			crowd_sweep(c, 0);
		}
		assert_int_equal(kill(c->pids[who], SIGCONT), 0);
	}
	assert_int_equal(crowd_finish(c), 0);
	print_message("  %u stops in %" PRIu64 " calls, gave up: %" PRIu64 "\n", stops,
	    crowd_calls(c), busy_of(c));
	for (unsigned i = 0; i < WORKERS; i++)
		check_killed(c, i, &past);
	/* Nobody was killed: exact. */
	for (unsigned i = 0; i < WORKERS; i++)
		for (enum thing k = A; k < SHARED; k++)
			assert_true(past.base[i][k][0] == 0 && past.base[i][k][1] == 0);
	check_shared(c, &past);
	check_table(c);
	crowd_free(c);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_kills),
		cmocka_unit_test(test_stops) };

	long_run = argc > 1 && strcmp(argv[1], "--long") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
