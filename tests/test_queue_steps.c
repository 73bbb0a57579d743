/*
 * test_queue_steps.c - waiters that are stopped or killed between any two accesses to shared
 * memory: it costs the others 50 ms, and what it has charged, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "atomics.h"
#include "queue.h"
#include "steps.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static const char *const policies[] = { "table: {rates: 2, policy: 128KiB}\n"
					"limits:\n  m: 2/s\n  other: 1000/min\n",
	NULL };
static const char *const spread_policies[] = { "table: {rates: 2, policy: 128KiB}\n"
					       "limits:\n  m: 20/s\n  other: 1000/min\n",
	NULL };

/* Who waits, in the order in which they came.  The one under test is stopped. */
#define CROWD 3
static struct task crowd[CROWD], saved[CROWD], victim;
static unsigned flags;

static uint64_t
now_ns(void)
{
	return atomic_load(&wd.f.now);
}

/* Come once.  True: admitted. */
static bool
come(struct task *t, unsigned who)
{
	task_start(t, DO_BOOK, &wd.who[who], "a", 1);
	t->flags = flags;
	t->booking.size = sizeof(t->booking);
	assert_true(task_run(t, -1));
	assert_true(t->verdict == RATION_ADMITTED || t->verdict == RATION_DENIED);
	return t->verdict == RATION_ADMITTED;
}

static void
join(unsigned who)
{
	assert_false(come(&crowd[who], who));
	assert_true(crowd[who].booking.at_ns > now_ns());
}

static void
keep(void)
{
	memcpy(saved, crowd, sizeof(saved));
	world_save();
}

static void
restore(void)
{
	char *stacks[CROWD];

	for (unsigned i = 0; i < CROWD; i++)
		stacks[i] = crowd[i].stack;
	memcpy(crowd, saved, sizeof(saved));
	for (unsigned i = 0; i < CROWD; i++)
		crowd[i].stack = stacks[i];
	world_restore();
}

/* Those who wait come when they are told to, until each has gone.  In order? */
static void
all_go(const char *what, long step, uint64_t latest)
{
	unsigned last = 0;

	for (unsigned rounds = 0; rounds < 2000; rounds++) {
		unsigned next = CROWD;

		for (unsigned i = 0; i < CROWD; i++)
			if (crowd[i].booking.at_ns != 0 &&
			    (next == CROWD || crowd[i].booking.at_ns < crowd[next].booking.at_ns))
				next = i;
		if (next == CROWD)
			return;
		if (crowd[next].booking.at_ns > now_ns())
			atomic_store(&wd.f.now, crowd[next].booking.at_ns);
		if (!come(&crowd[next], next))
			continue;
		if (next < last)
			fail_msg("%s, step %ld: %u went before %u", what, step, last, next);
		last = next;
		if (now_ns() > latest)
			fail_msg("%s, step %ld: %u went %" PRIu64 " ms late", what, step, next,
			    (now_ns() - latest) / MS);
	}
	fail_msg("%s, step %ld: they never go", what, step);
}

/* Nothing is admitted too much: killed calls may have charged. */
static void
check(const char *what, long step, uint64_t units)
{
	uint64_t most = history_span(world_ledger("a"), SECOND);

	if (most > units)
		fail_msg("%s, step %ld: %" PRIu64 " in a second", what, step, most);
	if (atomic_load(&wd.f.seg.head->scribbles) != 0)
		fail_msg("%s, step %ld: scribbles", what, step);
}

/* One who has been stopped for long comes back, and goes on until it is his turn. */
static void
comes_back(const char *what, long step)
{
	assert_true(task_run(&victim, -1));
	if (victim.what == DO_CANCEL) {
		assert_int_equal(victim.verdict, 0);
		return;
	}
	for (unsigned i = 0; victim.verdict != RATION_ADMITTED; i++) {
		if (victim.verdict != RATION_DENIED || i == 1000)
			fail_msg("%s, step %ld: %d", what, step, victim.verdict);
		if (victim.booking.at_ns > now_ns())
			atomic_store(&wd.f.now, victim.booking.at_ns);
		task_start(&victim, DO_BOOK, &wd.who[3], "a", 1);
		assert_true(task_run(&victim, -1));
	}
}

/*
 * The victim does `op` with this booking and is stopped before every access in turn; then the
 * others go, and he comes back or does not.  So many before them are dead already.
 */
static void
stopped_everywhere(const char *what, enum what op, const ration_booking_t *booking, uint64_t latest,
    uint64_t units, unsigned dead)
{
	long step = 0;

	keep();
	for (bool done = false; !done; step++)
		for (unsigned killed = 0; killed < 2; killed++) {
			restore();
			task_start(&victim, op, &wd.who[3], "a", 1);
			victim.booking = *booking;
			victim.booking.size = sizeof(victim.booking);
			victim.flags = flags;
			done = task_run(&victim, step);
			all_go(what, step, latest);
			if (killed == 0)
				comes_back(what, step);
			check(what, step, units);
			if (atomic_load(&wd.f.seg.head->passed_over) > dead + 1)
				fail_msg("%s, step %ld: too many passed over", what, step);
		}
	print_message("  %s: %ld steps\n", what, step);
	assert_true(step > 5);
	restore();
}

/* Anew, on the same stack. */
static void
clear(struct task *t)
{
	char *stack = t->stack;

	memset(t, 0, sizeof(*t));
	t->stack = stack;
}

static void
begin(const char *const *yaml, unsigned f)
{
	world_open(12, yaml, false);
	for (unsigned i = 0; i < CROWD; i++)
		clear(&crowd[i]);
	clear(&victim);
	flags = f;
}

/* 2/s, used up; units come back at 1,033 ms, at the latest 1,088 ms. */
static void
test_stopped(void **state)
{
	static const ration_booking_t none;
	ration_booking_t booking;
	uint64_t start;

	(void)state;
	begin(policies, 0);
	start = now_ns();
	assert_int_equal(world_drain("a", 9), 2);
	/* They go when they were told to, whatever he does: his units come in the window after. */
	join(0);
	join(1);
	stopped_everywhere("joins at the end", DO_BOOK, &none, start + 2200 * MS, 2, 0);
	join(2);
	/* He is in the middle of them: third of four. */
	booking = crowd[1].booking;
	memset(&crowd[1].booking, 0, sizeof(crowd[1].booking));
	stopped_everywhere("leaves the middle", DO_CANCEL, &booking, start + 2250 * MS, 2, 0);
	atomic_store(&wd.f.now, booking.at_ns);
	stopped_everywhere("comes too early", DO_BOOK, &booking, start + 2250 * MS, 2, 0);
	/* He is the first. */
	crowd[1].booking = booking;
	booking = crowd[0].booking;
	memset(&crowd[0].booking, 0, sizeof(crowd[0].booking));
	atomic_store(&wd.f.now, booking.at_ns);
	stopped_everywhere("has his turn", DO_BOOK, &booking, start + 2250 * MS, 2, 0);
	stopped_everywhere("gives his turn away", DO_CANCEL, &booking, start + 2250 * MS, 2, 0);
	/* He passes one over who is dead. */
	booking = crowd[1].booking;
	memset(&crowd[1].booking, 0, sizeof(crowd[1].booking));
	atomic_store(&wd.f.now, start + 1150 * MS);
	stopped_everywhere("passes over", DO_BOOK, &booking, start + 2300 * MS, 2, 1);
	world_close();
}

static void
test_stopped_paced(void **state)
{
	static const ration_booking_t none;
	ration_booking_t booking;
	uint64_t start;

	(void)state;
	begin(spread_policies, RATION_SPREAD);
	start = now_ns();
	assert_int_equal(world_acquire(&wd.who[3], "a", 1), RATION_ADMITTED);
	assert_true(come(&crowd[0], 0)); /* 50 ms to the next */
	memset(&crowd[0].booking, 0, sizeof(crowd[0].booking));
	join(0);
	join(1);
	stopped_everywhere("paced, joins", DO_BOOK, &none, start + 205 * MS, 20, 0);
	booking = crowd[0].booking;
	memset(&crowd[0].booking, 0, sizeof(crowd[0].booking));
	atomic_store(&wd.f.now, booking.at_ns);
	stopped_everywhere("paced, has his turn", DO_BOOK, &booking, start + 205 * MS, 20, 0);
	world_close();
}

/* Others take what is left after he has taken the pace: he puts it back. */
static void
test_pace_put_back(void **state)
{
	struct queue q;
	struct row row;
	uint64_t before;
	unsigned undone = 0;
	bool done = false;

	(void)state;
	begin(spread_policies, RATION_SPREAD);
	assert_true(come(&crowd[0], 0));
	atomic_fetch_add(&wd.f.now, 60 * MS);
	assert_true(audit_row(&wd.f, "m", "a", 1, &row));
	assert_true(queue_find(&wd.f.seg, row.slot, row.birth, &q));
	before = word_load(&q.w[Q_PACE]);
	keep();
	for (long step = 0; !done; step++) {
		restore();
		task_start(&victim, DO_BOOK, &wd.who[3], "a", 1);
		memset(&victim.booking, 0, sizeof(victim.booking));
		victim.booking.size = sizeof(victim.booking);
		victim.flags = flags;
		done = task_run(&victim, step);
		undone += word_load(&q.w[Q_PACE]) != before;
		(void)world_drain("a", 100);
		assert_true(task_run(&victim, -1));
		if (victim.verdict == RATION_DENIED && word_load(&q.w[Q_PACE]) != before)
			fail_msg("step %ld: a pace for nothing", step);
	}
	assert_true(undone > 5);
	world_close();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stopped),
		cmocka_unit_test(test_stopped_paced),
		cmocka_unit_test(test_pace_put_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
