/*
 * test_steps.c - callers stopped at every atomic step, one after the other, while the
 * world goes on; then resumed, or killed.  Nothing here depends on luck: for each
 * place where a caller can stand there is one run.
 */
#include "steps.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S UINT64_C(1000000000)
#define MINUTE (60 * S)

enum oracle { SPAN, ALIGNED, PERIOD, BUCKET, NONE };

struct rate {
	const char *text;
	uint64_t units;
	enum oracle oracle;
	uint64_t window_ns; /* a bucket: ns a unit */
};

static const struct rate rates[] = {
	{ "5/min", 5, SPAN, MINUTE },
	{ "5/s", 5, SPAN, S },
	{ "5/s fixed", 5, ALIGNED, S },
	{ "5/hour fixed", 5, ALIGNED, 60 * MINUTE },
	{ "5/month", 5, PERIOD, 0 },
	{ "1/s burst 5", 5, BUCKET, S },
	{ "[5/min, 5/s]", 5, SPAN, MINUTE },
	{ "unlimited", UINT64_MAX, NONE, 0 },
};
#define NRATES (sizeof(rates) / sizeof(rates[0]))
enum { PER_MIN, PER_S, FIXED_S, FIXED_H, MONTH, BURST, TWO, OPEN };

/* Where we are, for the message of a failure. */
static struct {
	const char *scene, *rate, *then, *fate;
	long k1, k2;
	unsigned variant;
} at;

/* Of pairs of places every third, and all places in the end; all pairs in the long run. */
static long stride = 3;

#define CHECK(holds, ...) \
	do { \
		if (!(holds)) { \
			print_error("%s: %s%s%s, stopped at %ld and %ld, variant %u, %s: ", \
			    at.scene, at.rate, at.then != NULL ? " -> " : "", \
			    at.then != NULL ? at.then : "", at.k1, at.k2, at.variant, at.fate); \
			print_error(__VA_ARGS__); \
			print_error("\n"); \
			fail(); \
		} \
	} while (0)

static const char *
policy(char *buf, size_t size, const struct rate *r, const char *more)
{
	(void)snprintf(buf, size,
	    "table: {rates: 2, policy: 128KiB}\nlimits:\n  m: {rates: %s, when_full: deny}\n  "
	    "other: 1000/min\n%s",
	    r->text, more);
	return buf;
}

/* ---- what must hold in the end ---- */

static void
check_table(struct audit *a)
{
	const char *wrong = audit_table(&wd.f, a);

	CHECK(wrong == NULL, "%s", wrong);
}

/* Guarantee 1 for a key under one rate all the time. */
static void
check_oracle(const char *key, const struct rate *r)
{
	struct history *h = world_ledger(key);
	uint64_t most = 0;

	switch (r->oracle) {
	case SPAN:
		most = history_span(h, r->window_ns);
		break;
	case ALIGNED:
		most = history_fixed(h, r->window_ns);
		break;
	case PERIOD:
		most = history_sum(h);
		break;
	case BUCKET:
		most = history_bucket(h, r->window_ns);
		break;
	case NONE:
		return;
	}
	CHECK(most <= r->units, "key %s: %" PRIu64 " of %" PRIu64 " in one window", key, most,
	    r->units);
}

/* Nothing has expired: what is used is what was admitted and is in flight. */
static void
check_used(const char *key)
{
	uint64_t acked = history_sum(world_ledger(key)), flight = wd.in_flight[key[0] - 'a'];
	struct row row;

	if (!audit_row(&wd.f, "m", key, strlen(key), &row)) {
		CHECK(acked == 0, "key %s: its slot is gone with %" PRIu64 " units", key, acked);
		return;
	}
	for (unsigned i = 0; i < row.nrates; i++)
		CHECK(row.rates[i].used >= acked && row.rates[i].used <= acked + flight,
		    "key %s: rate %u has %" PRIu64 " used, %" PRIu64 " acked, %" PRIu64
		    " in flight",
		    key, i, row.rates[i].used, acked, flight);
}

/* Admitted units ever, of living keys and of those that are gone. */
static uint64_t undone; /* units of a call that was undone after its window had ended */
static uint64_t
    uncounted; /* a bucket's units, charged but not yet in the total of a life that ended */
static bool sweep_killed; /* between emptying a slot's total and adding it to its limit's */

static void
check_totals(void)
{
	uint64_t total = 0, acked = 0, flight = 0, birth, admitted, denied;
	unsigned char key[256];
	uint32_t limit;

	for (uint64_t n = 0; n < wd.f.seg.nslots; n++)
		if (view_totals(&wd.f.seg, n, &birth, &admitted, &denied) &&
		    table_key(&wd.f.seg, n, key, &limit, &birth) > 0 && limit == 0)
			total += admitted;
	total += atomic_load(&wd.f.seg.limits[0].admitted_gone);
	for (unsigned i = 0; i < KEYS; i++) {
		acked += history_sum(&wd.acked[i]);
		flight += wd.in_flight[i];
	}
	CHECK((total + uncounted >= acked || sweep_killed) && total <= acked + flight + undone,
	    "total %" PRIu64 ", %" PRIu64 " acked, %" PRIu64 " in flight", total, acked, flight);
}

/* Half-made slots come back, and nothing else is left over. */
static void
check_swept(void)
{
	struct audit a;

	world_sweep(4);
	check_table(&a);
	CHECK(a.st[ST_MAKING] == 0 && a.st[ST_READY] == 0, "a half-made slot stays");
	CHECK(a.st[ST_RETIRING] == 0 && a.st[ST_GONE] == 0, "a slot stays half recycled");
	CHECK(a.unlinked == 0, "a slot in use is in no list");
	CHECK(a.lost == 0, "an extra slot is lost");
	world_pass(2 * 3600 * S);
	world_sweep(3);
	check_table(&a);
}

static const struct rate *rate_b; /* when it is not a's */

static void
check_end(const struct rate *r, bool exact)
{
	struct audit a;
	uint64_t got;

	check_table(&a);
	if (exact) {
		check_used("a");
		check_used("b");
	}
	if (r->oracle != NONE && exact) {
		got = history_sum(world_ledger("a")) + wd.in_flight[0];
		got += world_drain("a", 20);
		CHECK(got >= r->units, "under-admission: %" PRIu64 " of %" PRIu64, got, r->units);
	} else {
		(void)world_drain("a", 20);
	}
	/* What never expires is never another's. */
	if (r->oracle == NONE)
		check_used("b");
	(void)world_drain("b", 20);
	check_oracle("a", r);
	check_oracle("b", rate_b != NULL ? rate_b : r);
	check_oracle("c", r);
	check_table(&a);
	check_swept();
	check_totals();
}

/* ---- one victim ---- */

struct scene {
	const char *name;
	enum what what;
	const char *key;
	uint64_t cost;
	void (*meanwhile)(unsigned variant);
	unsigned variants;
	bool exact; /* no window ends meanwhile */
};

static struct task victim, second;

static void
fate_of(struct task *t, bool killed)
{
	if (killed)
		world_killed(t);
	else
		(void)task_run(t, -1);
}

static void
each_step(const struct scene *s, const struct rate *r, void (*prepare)(struct task *))
{
	at.scene = s->name;
	at.rate = r->text;
	at.k2 = -1;
	/* Folded into the total before the undo came: a statistic, see cell_fold(). */
	undone = !s->exact && (s->what == DO_ALL || r == &rates[TWO]) ? s->cost : 0;
	uncounted = !s->exact && r->oracle == BUCKET ? s->cost : 0;
	for (at.variant = 0; at.variant < s->variants; at.variant++)
		for (unsigned killed = 0; killed < 2; killed++) {
			bool done = false;

			at.fate = killed ? "killed" : "resumed";
			for (at.k1 = 0; !done; at.k1++) {
				world_restore();
				task_start(&victim, s->what, &wd.who[0], s->key, s->cost);
				if (prepare != NULL)
					prepare(&victim);
				done = task_run(&victim, at.k1);
				s->meanwhile(at.variant);
				fate_of(&victim, killed);
				check_end(r, s->exact);
			}
			assert_true(at.k1 > 5);
		}
	undone = 0;
	uncounted = 0;
}

/* ---- the slot is recycled and taken by another key ---- */

static void
recycle(unsigned variant)
{
	static const uint64_t pass[] = { 0, 3 * MINUTE, 3 * 3600 * S };

	world_pass(pass[variant % 3]);
	world_sweep(6);
	for (unsigned i = 0; i < (variant < 3 ? 2 : 0); i++)
		(void)world_acquire(&wd.who[1], "b", 1);
	if (variant >= 3) /* recycled twice, and the key itself comes back */
		(void)world_acquire(&wd.who[1], "a", 1);
}

static ration_key_t handle; /* as it was when it was last used: resolved to the slot */

static void
prepare_handle(struct task *t)
{
	t->handle = handle;
}

static void
use_handle(void)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_key(wd.who[0].r, "m", "a", 1, &handle), 0);
	assert_int_equal(world_acquire(&wd.who[1], "a", 1), 1);
	assert_int_equal(ration_key_acquire(wd.who[0].r, &handle, 1, &d), 1);
	history_add(world_ledger("a"), wd.who[0].read_ns, 1);
}

#define LONG_KEY \
	"c: a key of many bytes, more than there is room for in a slot, in fact much, much more"

static int
setup(void **state)
{
	(void)state;
	memset(&at, 0, sizeof(at));
	rate_b = NULL;
	undone = 0;
	sweep_killed = false;
	return 0;
}

static void
test_recycled(void **state)
{
	static const char more[] = "overrides:\n  - {key: a, limit: m, rates: 9/min}\n";
	static const struct scene scenes[] = {
		{ "acquire, recycled", DO_ACQUIRE, "a", 2, recycle, 6, false },
		{ "acquire_all, recycled", DO_ALL, "a", 2, recycle, 6, false },
		{ "by handle, recycled", DO_KEY, "a", 2, recycle, 6, false },
	};
	char text[512];

	(void)state;
	for (unsigned i = 0; i < NRATES; i++)
		for (unsigned n = 0; n < 3; n++) {
			const char *yaml[] = { policy(text, sizeof(text), &rates[i],
						   i == PER_MIN ? more : ""),
				NULL };
			static const struct rate nine = { "a 9/min, b 5/min", 9, SPAN, MINUTE };

			rate_b = &rates[i];
			for (unsigned v = 0; v < 4; v++) {
				bool there = v % 2, shared = v / 2;

				world_open(n == 1 ? 2 : 1, yaml, shared);
				if (there || n == 2)
					use_handle();
				if (n == 0 && v == 3) /* the victim knows the key: the short way */
					assert_int_equal(world_acquire(&wd.who[0], "a", 1), 1);
				world_save();
				each_step(&scenes[n], i == PER_MIN ? &nine : &rates[i],
				    n == 2 ? prepare_handle : NULL);
				world_close();
			}
		}
	rate_b = NULL;
}

/* b must not be judged by the rules of a, whose slot it took. */
/*
 * A slot that has been idle for its hour, in a sub-window of four minutes: it is recycled and
 * taken over while the caller stands still, and the clock that he has read is still good.
 */
static void
test_recycled_at_once(void **state)
{
	static const char *const yaml[] = { "table: {rates: 2, policy: 128KiB}\nlimits:\n  m: "
					    "{rates: 5/hour, when_full: deny}\n"
					    "  other: 1000/hour\n",
		"table: {rates: 2, policy: 128KiB}\nlimits:\n  m: {rates: [5/hour, 9/2h], "
		"when_full: deny}\n"
		"  other: [1000/hour, 1000/2h]\n",
		NULL };
	static const enum what calls[] = { DO_ACQUIRE, DO_KEY, DO_ALL };
	bool done;

	(void)state;
	at.scene = "an idle slot is recycled at once";
	at.fate = "resumed";
	at.k2 = -1;
	for (unsigned n = 0; n < 12; n++) {
		const char *const one[] = { yaml[n % 2], NULL };
		uint64_t others = n / 6 == 0 ? 1 : 5; /* then "b" is at its limit */

		at.variant = n;
		at.rate = yaml[n % 2];
		world_open(2, one, false);
		use_handle();
		assert_int_equal(ration_acquire(wd.who[0].r, "m", "a", 1, NULL), 1);
		world_pass(4 * 3600 * S);
		/* The place is known, and from another key the sub-window of now. */
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(ration_acquire(wd.who[0].r, "other", "z", 1, NULL), 1);
		world_save();
		for (done = false, at.k1 = 0; !done; at.k1++) {
			world_restore();
			task_start(&victim, calls[n / 2 % 3], &wd.who[0], "a", 1);
			victim.handle = handle;
			done = task_run(&victim, at.k1);
			world_sweep(3);
			(void)world_acquire(&wd.who[1], "b", others);
			(void)task_run(&victim, -1);
			check_used("b");
			CHECK(victim.verdict == RATION_ADMITTED || victim.d.reason == RATION_R_FULL,
			    "denied for another key's use");
			check_swept();
		}
		assert_true(at.k1 > 5);
		world_close();
	}
}

/*
 * All or nothing: somebody takes what was left between the look and the charge of a call over
 * two limits, whichever of the two is charged first.  Denied, it leaves nothing behind.
 */
static void
test_nothing_left(void **state)
{
	static const char *const yaml[] = {
		"table: {rates: 2}\nlimits:\n  m: {rates: 5/min, when_full: deny}\n"
		"  other: 1000/min\n",
		NULL
	};
	unsigned denied = 0;
	bool done;

	(void)state;
	at.scene = "drained before the charge";
	at.rate = "5/min";
	at.fate = "resumed";
	at.k2 = -1;
	for (at.variant = 0; at.variant < 16;
	     at.variant++) { /* the order is that of random slots */
		struct row row;

		world_open(8, yaml, false);
		assert_int_equal(world_acquire(&wd.who[1], "a", 1), RATION_ADMITTED);
		assert_int_equal(ration_acquire(wd.who[1].r, "other", "zz", 1, NULL), 1);
		world_save();
		for (done = false, at.k1 = 0; !done; at.k1++) {
			uint64_t before = 0;

			world_restore();
			if (audit_row(&wd.f, "other", "zz", 2, &row))
				before = row.rates[0].used;
			task_start(&victim, DO_ALL, &wd.who[0], "a", 2);
			done = task_run(&victim, at.k1);
			(void)world_drain("a", 5);
			(void)task_run(&victim, -1);
			CHECK(audit_row(&wd.f, "other", "zz", 2, &row), "the key is gone");
			denied += victim.verdict == RATION_DENIED;
			CHECK((victim.verdict == RATION_ADMITTED) == (row.rates[0].used > before),
			    "verdict %d, the other limit has %" PRIu64 " used, before %" PRIu64,
			    victim.verdict, row.rates[0].used, before);
			check_used("a");
			check_oracle("a", &rates[PER_MIN]);
		}
		world_close();
	}
	assert_true(denied > 16);
}

static void
test_rules_stay(void **state)
{
	static const char *const yaml[] = {
		"limits:\n  m: {rates: 5/min, when_full: deny}\n  other: 1000/min\n"
		"overrides:\n  - {key: a, limit: m, rates: 9/min}\n",
		NULL
	};
	bool done = false;

	(void)state;
	world_open(1, yaml, true);
	at.scene = "rules of a recycled slot";
	at.rate = "5/min, a 9/min";
	at.fate = "resumed";
	for (at.k1 = 0; !done; at.k1++)
		for (at.k2 = 0; at.k2 < 60; at.k2++) {
			world_restore();
			task_start(&victim, DO_ACQUIRE, &wd.who[0], "a", 1);
			done = task_run(&victim, at.k1);
			world_pass(3 * MINUTE);
			world_sweep(4);
			task_start(&second, DO_ACQUIRE, &wd.who[1], "b", 1);
			(void)task_run(&second, at.k2);
			(void)task_run(&victim, -1);
			(void)task_run(&second, -1);
			/* There is one slot, and nobody spoilt it for the other. */
			CHECK(victim.verdict == 1 || second.verdict == 1, "neither got it");
			(void)world_drain("b", 20);
			check_oracle("b", &rates[PER_MIN]);
			check_swept();
		}
	world_close();
}

/* ---- the window moves on ---- */

static void
window_passes(unsigned variant)
{
	/* of 5/s: s = 68 ms; of 5/min: 4.0013 s */
	static const uint64_t steps[] = { 1000000, 68 * S / 1000, 15 * 68 * S / 1000, S,
		S + 34000000, 16 * S, 17 * S, 4002 * S / 1000, 15 * 4002 * S / 1000, MINUTE,
		64 * S + 21334000, 70 * S, 31 * 86400 * S };
	uint64_t step = steps[variant % 13];

	world_pass(step);
	(void)world_drain("a", variant < 13 ? 20 : 2);
	if (variant >= 26) {
		world_pass(step);
		(void)world_drain("a", 20);
	}
}

static void
test_window(void **state)
{
	static const struct scene scenes[] = {
		{ "acquire, window passes", DO_ACQUIRE, "a", 2, window_passes, 39, false },
		{ "peek, window passes", DO_PEEK, "a", 2, window_passes, 13, false },
		/* Refused at first: stopped after it read the precise clock. */
		{ "refused, window passes", DO_ACQUIRE, "a", 4, window_passes, 39, false },
	};
	char text[512];

	(void)state;
	for (unsigned i = 0; i < NRATES; i++) {
		const char *yaml[] = { policy(text, sizeof(text), &rates[i], ""), NULL };

		if (i == MONTH || i == OPEN)
			continue;
		for (unsigned warm = 0; warm < 2; warm++) {
			world_open(4, yaml, true);
			assert_int_equal(world_acquire(&wd.who[1], "a", 1), 1);
			assert_int_equal(world_acquire(&wd.who[warm ? 0 : 1], "a", 1), 1);
			world_save();
			for (unsigned n = 0; n < 3; n++)
				each_step(&scenes[n], &rates[i], NULL);
			world_close();
		}
	}
}

/* ---- two adders ---- */

static void
each_pair(const struct rate *r, void (*first)(void), void (*then)(void), bool exact, unsigned fates)
{
	static const char *const names[] = { "first, then second", "second, then first",
		"first killed", "second killed", "both killed" };
	bool end1 = false;

	for (at.k1 = 0; !end1; at.k1++) {
		bool end2 = false;

		for (at.k2 = at.k1 % stride; !end2; at.k2 += stride)
			for (unsigned fate = 0; fate < fates; fate++) {
				at.fate = names[fate];
				world_restore();
				first();
				end1 = task_run(&victim, at.k1);
				then();
				end2 = task_run(&second, at.k2);
				if (fate == 1)
					fate_of(&second, false);
				fate_of(&victim, fate == 2 || fate == 4);
				fate_of(&second, fate == 3 || fate == 4);
				sweep_killed = (victim.what == DO_SWEEP && !victim.done) ||
				    (second.what == DO_SWEEP && !second.done);
				check_end(r, exact);
			}
	}
}

static void
first_adds(void)
{
	task_start(&victim, DO_ACQUIRE, &wd.who[0], "a", 2);
}

static void
second_adds(void)
{
	task_start(&second, DO_ACQUIRE, &wd.who[1], "a", 1);
}

static void
second_adds_b(void)
{
	task_start(&second, DO_ACQUIRE, &wd.who[1], "b", 1);
}

static void
test_adders(void **state)
{
	char text[512];

	(void)state;
	at.scene = "two adders";
	for (unsigned i = 0; i < 2; i++) {
		const char *yaml[] = {
			policy(text, sizeof(text), &rates[i == 0 ? PER_MIN : MONTH], ""), NULL
		};

		at.rate = rates[i == 0 ? PER_MIN : MONTH].text;
		world_open(4, yaml, true);
		each_pair(&rates[i == 0 ? PER_MIN : MONTH], first_adds, second_adds, true, 5);
		each_pair(&rates[i == 0 ? PER_MIN : MONTH], first_adds, second_adds_b, true, 5);
		world_close();
	}
}

/* A long key takes extra slots: all of them come back. */
static void
sweeps(unsigned variant)
{
	world_sweep(variant);
}

static void
test_long_keys(void **state)
{
	static const struct scene scene = { "long key", DO_ACQUIRE, LONG_KEY LONG_KEY, 2, sweeps, 3,
		false };
	static const char *const yaml[] = {
		"limits:\n  m: {rates: 5/min, when_full: deny}\n  other: 1000/min\n", NULL
	};

	(void)state;
	world_open(4, yaml, true);
	each_step(&scene, &rates[PER_MIN], NULL);
	world_close();
}

/* ---- a live change ---- */

static uint64_t pass_between;

static void
convert_meanwhile(unsigned variant)
{
	if (variant % 2 == 1)
		(void)world_acquire(&wd.who[1], "a", 1);
	world_next_policy();
	if (variant / 2 % 2 == 1)
		(void)world_acquire(&wd.who[1], "a", 1);
	if (variant / 4 % 2 == 1) {
		world_next_policy();
		if (variant / 8 % 2 == 1)
			(void)world_acquire(&wd.who[1], "a", 1);
	}
}

static void
check_converted(void)
{
	struct audit a;

	check_table(&a);
	/* Looks, and so finishes what is under way. */
	(void)ration_peek(wd.who[3].r, "m", "a", 1, NULL);
	check_used("a");
	check_totals();
	(void)world_acquire(&wd.who[3], "a", 1);
	check_used("a");
	check_totals();
	check_swept();
	check_totals();
}

static void
each_step_converted(enum what what, unsigned variants)
{
	for (at.variant = 0; at.variant < variants; at.variant++)
		for (unsigned killed = 0; killed < 2; killed++) {
			bool done = false;

			at.fate = killed ? "killed" : "resumed";
			for (at.k1 = 0; !done; at.k1++) {
				world_restore();
				task_start(&victim, what, &wd.who[0], "a", 2);
				done = task_run(&victim, at.k1);
				convert_meanwhile(at.variant);
				fate_of(&victim, killed);
				check_converted();
			}
		}
}

/* 20 units, so that nothing is denied: what is used must be what was admitted. */
static const struct rate roomy[] = {
	{ "50/min", 50, SPAN, MINUTE },
	{ "60/min", 60, SPAN, MINUTE },
	{ "50/hour", 50, SPAN, 60 * MINUTE },
	{ "50/hour fixed", 50, ALIGNED, 60 * MINUTE },
	{ "50/day", 50, PERIOD, 0 },
	{ "50/month", 50, PERIOD, 0 },
	{ "1/hour burst 50", 50, BUCKET, 3600 * S },
	{ "2/hour burst 50", 50, BUCKET, 1800 * S },
};
#define NROOMY (sizeof(roomy) / sizeof(roomy[0]))

static void
open_change(char text[3][512], unsigned from, unsigned to, bool warm)
{
	const char *yaml[] = { policy(text[0], 512, &roomy[from], ""),
		policy(text[1], 512, &roomy[to], ""), policy(text[2], 512, &roomy[from], ""),
		NULL };

	at.rate = roomy[from].text;
	at.then = roomy[to].text;
	world_open(4, yaml, true);
	assert_int_equal(world_acquire(&wd.who[1], "a", 2), 1);
	/* warm: the victim knows the key and goes the short way. */
	assert_int_equal(world_acquire(&wd.who[warm ? 0 : 1], "a", 1), 1);
	world_save();
}

static void
test_change(void **state)
{
	char text[3][512];

	(void)state;
	at.scene = "acquire across a change";
	at.k2 = -1;
	for (unsigned from = 0; from < NROOMY; from++)
		for (unsigned to = 0; to < NROOMY; to++) {
			for (unsigned warm = 0; warm < 2 && from != to; warm++) {
				open_change(text, from, to, warm);
				each_step_converted(DO_ACQUIRE, 16);
				world_close();
			}
		}
	at.then = NULL;
}

/* One works by the old policy, one converts, each stopped anywhere. */
static void
pair_converting(bool both_convert, unsigned fates)
{
	static const char *const names[] = { "first, then second", "second, then first",
		"first killed", "second killed", "change back between" };
	bool end1 = false;

	for (at.k1 = 0; !end1; at.k1++) {
		bool end2 = false;

		for (at.k2 = at.k1 % stride; !end2; at.k2 += stride)
			for (unsigned fate = 0; fate < fates; fate++) {
				at.fate = names[fate];
				world_restore();
				if (both_convert)
					world_next_policy();
				task_start(&victim, DO_ACQUIRE, &wd.who[0], "a", 2);
				end1 = task_run(&victim, at.k1);
				if (!both_convert)
					world_next_policy();
				world_pass(pass_between);
				task_start(&second, DO_ACQUIRE, &wd.who[1], "a", 1);
				end2 = task_run(&second, at.k2);
				if (fate == 4)
					world_next_policy();
				if (fate == 1)
					fate_of(&second, false);
				fate_of(&victim, fate == 2);
				fate_of(&second, fate == 3);
				check_converted();
			}
	}
}

static void
test_change_pairs(void **state)
{
	static const unsigned pairs[][2] = { { 0, 2 }, { 0, 5 }, { 5, 0 }, { 3, 5 }, { 0, 6 },
		{ 6, 0 }, { 6, 7 } };
	char text[3][512];

	(void)state;
	for (unsigned i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		open_change(text, pairs[i][0], pairs[i][1], true);
		at.scene = "old policy and converter, the short way";
		pass_between = 0;
		pair_converting(false, 5);
		world_close();
		open_change(text, pairs[i][0], pairs[i][1], false);
		at.scene = "old policy and converter";
		pass_between = 0;
		pair_converting(false, 5);
		at.scene = "two converters";
		pair_converting(true, 5);
		at.scene = "two converters, the first one's clock is old";
		pass_between = 30000000;
		pair_converting(true, 4);
		world_close();
	}
	at.then = NULL;
}

/*
 * The area that the victim reads from is written anew under it, with other rulesets in their
 * places: it must not be judged by one of those.
 */
static void
rewrite(unsigned variant)
{
	world_next_policy();
	if (variant == 1)
		(void)world_acquire(&wd.who[1], "a", 1);
	world_next_policy();
}

static void
test_policy_rewritten(void **state)
{
	/* Of the override the ruleset is the third; in the large policy a plan's is. */
	static const char small[] =
	    "limits:\n  m: {rates: 5/min, when_full: deny}\n  other: 5/min\n"
	    "overrides: [{key: a, limit: m, rates: 5/min}]\n";
	static const char large[] =
	    "plans: [p, q, r]\nlimits:\n"
	    "  m: {per: minute, plans: [2000, 3000, 4000], when_full: deny}\n"
	    "  other: 900/min\n"
	    "overrides: [{key: a, limit: m, rates: 5/min}]\n";
	static const char *const yaml[] = { small, small, large, NULL };
	static const struct scene scenes[] = {
		{ "policy rewritten", DO_ACQUIRE, "a", 2, rewrite, 2, false },
		{ "policy rewritten, by handle", DO_KEY, "a", 2, rewrite, 2, false },
		{ "policy rewritten, two limits", DO_ALL, "a", 2, rewrite, 2, false },
	};

	(void)state;
	rate_b = &rates[OPEN];
	for (unsigned n = 0; n < 3; n++)
		for (unsigned warm = 0; warm < 2; warm++) {
			world_open(4, yaml, true);
			use_handle();
			if (warm)
				assert_int_equal(world_acquire(&wd.who[0], "a", 1), 1);
			(void)world_drain("a", 20); /* any other rule admits it */
			world_save();
			each_step(&scenes[n], &rates[PER_MIN], n == 1 ? prepare_handle : NULL);
			world_close();
		}
}

/* ---- two limits the short way: stopped between the charges ---- */

static uint64_t others; /* units that others took of "other" meanwhile */

static void
take_both(struct actor *who)
{
	static struct task t;

	task_start(&t, DO_ALL, who, "a", 1);
	assert_true(task_run(&t, -1));
	others += t.verdict == RATION_ADMITTED;
}

/* What makes one of the victim's charges fail, or both, or none. */
static void
meddle(unsigned variant)
{
	ration_decision_t d = RATION_DECISION_INIT;

	others = 0;
	switch (variant) {
	case 0:
		others += ration_acquire(wd.who[1].r, "other", "zz", 1, &d) == RATION_ADMITTED;
		break;
	case 1:
		(void)world_acquire(&wd.who[1], "a", 1);
		break;
	case 2:
		take_both(&wd.who[1]);
		break;
	case 3:
		world_pass(10 * S);
		(void)world_acquire(&wd.who[1], "a", 1);
		break;
	default:
		break;
	}
}

static uint64_t
used_of_other(void)
{
	struct row row;

	assert_true(audit_row(&wd.f, "other", "zz", 2, &row));
	return row.rates[0].used;
}

static void
each_step_of_both(const struct rate *r, uint64_t cost, uint64_t before)
{
	for (at.variant = 0; at.variant < 5; at.variant++)
		for (unsigned killed = 0; killed < 2; killed++) {
			bool done = false;

			at.fate = killed ? "killed" : "resumed";
			undone = at.variant == 3 ? cost : 0;
			for (at.k1 = 0; !done; at.k1++) {
				uint64_t least, used;

				world_restore();
				task_start(&victim, DO_ALL, &wd.who[0], "a", cost);
				done = task_run(&victim, at.k1);
				meddle(at.variant);
				fate_of(&victim, killed);
				used = used_of_other();
				least = before + others + (victim.verdict == RATION_ADMITTED);
				CHECK(used >= least && used <= least + (killed && !victim.done),
				    "%" PRIu64 " used of the other limit, %" PRIu64 " acked", used,
				    least);
				check_end(r, at.variant != 3);
			}
			assert_true(at.k1 > 20);
		}
	undone = 0;
}

static void
test_both(void **state)
{
	static const unsigned which[] = { PER_MIN, TWO };
	char text[512];

	(void)state;
	at.scene = "two limits";
	for (unsigned i = 0; i < 2; i++)
		for (unsigned there = 0; there < 3; there++) {
			const struct rate *r = &rates[which[i]];
			const char *yaml[] = { policy(text, sizeof(text), r, ""), NULL };

			at.rate = r->text;
			at.k2 = -1;
			world_open(4, yaml, there == 2);
			others = 0;
			/* So often that the victim knows keys, slots and sub-windows. */
			take_both(&wd.who[0]);
			take_both(&wd.who[0]);
			if (there > 0)
				take_both(&wd.who[0]);
			world_save();
			each_step_of_both(r, 1 + there % 2 * 2, others);
			world_close();
		}
}

/*
 * The victim's charge starts from a word that was sealed 16 sub-windows ago: closing the
 * ring must change that word too.
 */
static void
test_change_wrapped(void **state)
{
	char text[3][512];

	(void)state;
	for (unsigned to = 2; to < 7; to += 2) {
		struct history *h = world_ledger("a");

		open_change(text, 0, to, true);
		world_pass(5 * S);
		assert_int_equal(world_acquire(&wd.who[1], "a", 1), 1);
		world_pass(57 * S);
		/* What was taken first has expired; it is in the total only. */
		undone = h->a[0].units + h->a[1].units;
		h->a[0].units = h->a[1].units = 0;
		world_save();
		check_used("a");
		at.scene = "old policy and converter, the ring gone round";
		pass_between = 0;
		pair_converting(false, 5);
		world_close();
	}
	at.then = NULL;
}

/* ---- a reset ---- */

static void
test_reset(void **state)
{
	char text[3][512];

	(void)state;
	at.scene = "reset";
	for (unsigned i = 0; i < NROOMY; i++) {
		bool end1 = false;

		open_change(text, i, i == 0 ? 1 : 0, true);
		at.then = NULL;
		for (at.k1 = 0; !end1; at.k1++)
			for (unsigned fate = 0; fate < 3; fate++) {
				struct row row;
				uint64_t total;

				at.fate = fate == 0 ? "resumed"
				    : fate == 1     ? "killed"
						    : "killed, reset again";
				world_restore();
				task_start(&second, DO_RESET, &wd.who[1], "a", 0);
				end1 = task_run(&second, at.k1);
				task_start(&victim, DO_ACQUIRE, &wd.who[0], "a", 2);
				(void)task_run(&victim, -1);
				CHECK(victim.verdict == 1, "not admitted: %d", victim.verdict);
				if (fate == 0)
					(void)task_run(&second, -1);
				if (fate == 2) {
					task_start(&second, DO_RESET, &wd.who[1], "a", 0);
					(void)task_run(&second, -1);
				}
				CHECK(audit_row(&wd.f, "m", "a", 1, &row), "no slot");
				if (second.done)
					CHECK(row.rates[0].used <= 2,
					    "%" PRIu64 " used after a reset", row.rates[0].used);
				else
					CHECK(row.rates[0].used == 2 || row.rates[0].used == 5,
					    "%" PRIu64 " used after half a reset",
					    row.rates[0].used);
				total = row.admitted;
				CHECK(total == 5, "total %" PRIu64, total);
			}
		world_close();
	}
}

/* ---- the sweeper is stopped ---- */

static void
first_sweeps(void)
{
	task_start(&victim, DO_SWEEP, &wd.who[0], "a", 0);
}

static void
second_takes(void)
{
	task_start(&second, DO_ACQUIRE, &wd.who[1], "a", 1);
}

static void
first_takes(void)
{
	task_start(&victim, DO_ACQUIRE, &wd.who[0], "a", 2);
}

static void
second_sweeps(void)
{
	task_start(&second, DO_SWEEP, &wd.who[1], "a", 0);
}

static void
test_sweeper(void **state)
{
	char text[512];

	(void)state;
	at.scene = "sweeper and caller";
	for (unsigned i = 0; i < NRATES; i++) {
		const char *yaml[] = { policy(text, sizeof(text), &rates[i], ""), NULL };

		if (i == MONTH)
			continue;
		at.rate = rates[i].text;
		world_open(2, yaml, true);
		assert_int_equal(world_acquire(&wd.who[1], "a", 1), 1);
		assert_int_equal(world_acquire(&wd.who[0], "a", 1), 1);
		world_pass(3 * 3600 * S); /* idle */
		world_save();
		at.scene = "sweeper and caller of the key";
		each_pair(&rates[i], first_sweeps, second_takes, false, 5);
		at.scene = "caller and sweeper of the key";
		each_pair(&rates[i], first_takes, second_sweeps, false, 5);
		at.scene = "sweeper and caller of another key";
		each_pair(&rates[i], first_sweeps, second_adds_b, false, 5);
		world_close();
	}
}

/* A half-made slot, the sweeper at it stopped or killed, the adder resumed. */
static void
test_halfmade(void **state)
{
	char text[512];
	const char *yaml[] = { policy(text, sizeof(text), &rates[PER_MIN], ""), NULL };
	static const char *const keys[] = { "a", LONG_KEY };
	bool end1;

	(void)state;
	at.scene = "sweeper of half-made slots and adder";
	at.rate = rates[PER_MIN].text;
	for (unsigned key = 0; key < 2; key++) {
		world_open(4, yaml, true);
		end1 = false;
		for (at.k1 = 0; !end1; at.k1++) {
			bool end2 = false;

			for (at.k2 = 0; !end2; at.k2++)
				for (unsigned fate = 0; fate < 4; fate++) {
					static const char *const names[] = {
						"adder resumed, then sweeper",
						"sweeper killed, adder resumed",
						"sweeper killed, other adds, adder resumed",
						"sweeper, then adder"
					};

					at.fate = names[fate];
					world_restore();
					task_start(&victim, DO_ACQUIRE, &wd.who[0], keys[key], 2);
					end1 = task_run(&victim, at.k1);
					world_pass(3 * S);
					task_start(&second, DO_SWEEP, &wd.who[1], "a", 0);
					end2 = task_run(&second, at.k2);
					if (fate == 2) {
						world_sweep(2);
						(void)world_acquire(&wd.who[2], "b", 1);
						(void)world_acquire(&wd.who[2], "c", 1);
						(void)world_acquire(&wd.who[2], keys[key], 1);
					}
					if (fate == 3)
						(void)task_run(&second, -1);
					(void)task_run(&victim, -1);
					if (fate == 0)
						(void)task_run(&second, -1);
					check_end(&rates[PER_MIN], false);
				}
		}
		world_close();
	}
}

/* ---- refunds ---- */

static void
refund_meanwhile(unsigned variant)
{
	switch (variant) {
	case 0:
		(void)world_acquire(&wd.who[1], "a", 1);
		break;
	case 1:
		world_pass(5 * S);
		(void)world_acquire(&wd.who[1], "a", 1);
		break;
	case 2:
		world_pass(3 * 3600 * S);
		world_sweep(6);
		(void)world_acquire(&wd.who[1], "b", 2);
		break;
	case 3:
		world_next_policy();
		(void)world_acquire(&wd.who[1], "a", 1);
		break;
	default:
		world_next_policy();
		(void)world_acquire(&wd.who[1], "a", 1);
		world_next_policy();
		(void)world_acquire(&wd.who[1], "a", 1);
		break;
	}
}

static void
test_refund(void **state)
{
	char text[3][512];
	ration_decision_t d;

	(void)state;
	at.scene = "refund";
	for (unsigned i = 0; i < NROOMY; i++) {
		const struct rate *r = &roomy[i];

		open_change(text, i, i == 0 ? 2 : 0, true);
		at.then = NULL;
		task_start(&victim, DO_ACQUIRE, &wd.who[0], "a", 2);
		(void)task_run(&victim, -1);
		assert_int_equal(victim.verdict, 1);
		d = victim.d;
		world_save();
		for (at.variant = 0; at.variant < 5; at.variant++) {
			bool done = false;

			at.fate = "resumed";
			for (at.k1 = 0; !done; at.k1++) {
				struct audit a;

				world_restore();
				task_start(&victim, DO_REFUND, &wd.who[0], "a", 2);
				victim.d = d;
				done = task_run(&victim, at.k1);
				refund_meanwhile(at.variant);
				(void)task_run(&victim, -1);
				check_table(&a);
				(void)ration_peek(wd.who[3].r, "m", "a", 1, NULL);
				if (at.variant != 2 && !(r->oracle == BUCKET && at.variant == 1))
					check_used("a");
				if (at.variant != 2)
					check_totals();
				check_used("b");
				check_swept();
			}
		}
		world_close();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_recycled, setup),
		cmocka_unit_test_setup(test_recycled_at_once, setup),
		cmocka_unit_test_setup(test_nothing_left, setup),
		cmocka_unit_test_setup(test_rules_stay, setup),
		cmocka_unit_test_setup(test_window, setup),
		cmocka_unit_test_setup(test_adders, setup),
		cmocka_unit_test_setup(test_long_keys, setup),
		cmocka_unit_test_setup(test_change, setup),
		cmocka_unit_test_setup(test_change_pairs, setup),
		cmocka_unit_test_setup(test_policy_rewritten, setup),
		cmocka_unit_test_setup(test_both, setup),
		cmocka_unit_test_setup(test_change_wrapped, setup),
		cmocka_unit_test_setup(test_reset, setup),
		cmocka_unit_test_setup(test_sweeper, setup),
		cmocka_unit_test_setup(test_halfmade, setup),
		cmocka_unit_test_setup(test_refund, setup),
	};

	if (getenv("RATION_LONG") != NULL)
		stride = 1;
	return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
