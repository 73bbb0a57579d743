/*
 * test_wait.c - real processes that wait for their turn, under a real rationd, in real time.
 *
 * Events are awaited, never slept for: a waiter is there when its ticket is in the segment.
 * A crowded machine may keep a process off its processor for longer than the 50 ms after which
 * others go before it.  The segment counts those; where a test is of the order alone it is
 * repeated then.
 */
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "queue.h"
#include "ration.h"
#include "segment.h"
#include "slot.h"

#define CROWD 20
#define MS INT64_C(1000000)
#define ATTEMPTS 10

static const char policy[] = "limits:\n"
			     "  m: 1/min\n"
			     "  paced: 20/s\n"
			     "  burst: 10/s burst 10\n"
			     "  slow: 2/min\n"
			     "  leases: 2 concurrent\n"
			     "  strict: {rates: 2 concurrent, queue: strict}\n"
			     "  fast: 1000/s burst 1\n"
			     "  day: 3/day\n";

/* What a waiter reports when it is over. */
struct report {
	unsigned who;
	int verdict;
	uint64_t used; /* counts the admissions of a key: who went before whom */
	int64_t ns;    /* CLOCK_MONOTONIC */
};

static struct {
	struct server *s;
	struct segment seg;
	ration_t *r;
	pid_t pids[CROWD];
	int pipe[2];
	unsigned round; /* a key for each */
	char key[16];
} t;

static int64_t
mono_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
pause_ms(int64_t ms)
{
	const struct timespec p = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&p, NULL);
}

/* ---- the world ---- */

static int
begin(void **state)
{
	struct paths p;
	struct server *s;

	if (setup(state) != 0)
		return -1;
	s = *state;
	memset(&t, 0, sizeof(t));
	t.s = s;
	put_file(s, "ration.yaml", policy);
	start_with(s, (const char *const[]) { "--sandbox", NULL });
	assert_int_equal(paths_find(NULL, s->dir, false, &p), 0);
	assert_int_equal(segment_attach(&p, true, &t.seg), 0);
	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &t.r), 0);
	assert_int_equal(pipe(t.pipe), 0);
	(void)snprintf(t.key, sizeof(t.key), "key0");
	return 0;
}

static int
end(void **state)
{
	ration_close(t.r);
	segment_detach(&t.seg);
	(void)close(t.pipe[0]);
	(void)close(t.pipe[1]);
	return teardown(state);
}

/* Another key, with nothing used and nobody waiting. */
static void
next_key(void)
{
	(void)snprintf(t.key, sizeof(t.key), "key%u", ++t.round);
}

static void
set_rates(const char *limit, const char *rates)
{
	char params[128];

	(void)snprintf(params, sizeof(params), "{'limit':'%s','rates':'%s'}", limit, rates);
	json_decref(ok(t.s, "set", params));
}

/* ---- waiters ---- */

static void
wait_in_child(unsigned who, const char *limit, unsigned flags, int64_t deadline_ms)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct report rep = { .who = who };
	int64_t until = mono_ns() + deadline_ms * MS;
	struct timespec deadline = { until / 1000000000, until % 1000000000 };
	ration_t *r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ration_open_dir(t.s->dir, NULL, 0, &r) != 0)
		_exit(1);
	rep.verdict = ration_wait(
	    r, limit, t.key, strlen(t.key), 1, flags, deadline_ms != 0 ? &deadline : NULL, &d);
	rep.used = d.used;
	rep.ns = mono_ns();
	_exit(write(t.pipe[1], &rep, sizeof(rep)) == sizeof(rep) ? 0 : 1);
}

static void
join(unsigned who, const char *limit, unsigned flags, int64_t deadline_ms)
{
	t.pids[who] = fork();
	assert_true(t.pids[who] >= 0);
	if (t.pids[who] == 0)
		wait_in_child(who, limit, flags, deadline_ms);
}

static bool
queue_of(const char *limit, struct queue *q)
{
	struct ident id = { .limit = limit,
		.limit_len = strlen(limit),
		.key = (const unsigned char *)t.key,
		.key_len = strlen(t.key) };
	struct policy_ref p;
	struct found f;

	ident_hash(&t.seg, &id);
	return policy_current(t.seg.policy, &p) && table_find_named(&t.seg, &p, &id, &f) &&
	    queue_find(&t.seg, f.slot, f.birth, q);
}

/* Tickets that are waited with. */
static unsigned
waiting(const char *limit)
{
	struct queue q;
	unsigned n = 0;
	uint32_t tail, at;

	if (!queue_of(limit, &q))
		return 0;
	tail = (uint32_t)word_load(&q.w[Q_TAIL]);
	for (at = TURN_TICKET(word_load(&q.w[Q_TURN])); at != tail; at = (at + 1) & TICKET_MASK)
		n += PLACE_STATE(word_load(&q.w[QUEUE_HEAD + at % QUEUE_TICKETS])) == PLACE_WAITS;
	return n;
}

static void
await_waiting(const char *limit, unsigned n)
{
	int64_t until = mono_ns() + 20000 * MS;

	while (waiting(limit) != n) {
		if (mono_ns() > until)
			fail_msg("%u wait for %s, expected %u", waiting(limit), limit, n);
		pause_ms(1);
	}
}

static struct report
next_report(void)
{
	struct pollfd p = { .fd = t.pipe[0], .events = POLLIN };
	struct report rep;

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("a waiter does not come back");
	assert_int_equal(read(t.pipe[0], &rep, sizeof(rep)), sizeof(rep));
	return rep;
}

static void
reap_waiter(unsigned who)
{
	int status;

	assert_int_equal(waitpid(t.pids[who], &status, 0), t.pids[who]);
	t.pids[who] = 0;
}

static uint64_t
passed_over(void)
{
	return atomic_load(&t.seg.head->passed_over);
}

/* Nothing is left of the limit for the key; n wait, in the order of their numbers. */
static void
crowd_joins(unsigned n)
{
	set_rates("m", "1/min");
	next_key();
	while (ration_acquire(t.r, "m", t.key, 1, NULL) == RATION_ADMITTED)
		;
	for (unsigned i = 0; i < n; i++) {
		join(i, "m", 0, 0);
		await_waiting("m", i + 1);
	}
}

/* ---- order ---- */

/* True: in order.  False: somebody was passed over, so the order says nothing. */
static bool
one_crowd(void)
{
	uint64_t before;
	int64_t raised, last = 0;
	bool straight = true;

	crowd_joins(CROWD);
	before = passed_over();
	raised = mono_ns();
	set_rates("m", "1000/min"); /* wakes the first, and he the next */
	for (unsigned i = 0; i < CROWD; i++) {
		struct report rep = next_report();

		assert_int_equal(rep.verdict, RATION_ADMITTED);
		straight &= rep.used == rep.who + 2; /* one was taken before */
		last = rep.ns > last ? rep.ns : last;
	}
	for (unsigned i = 0; i < CROWD; i++)
		reap_waiter(i);
	if (passed_over() != before)
		return false;
	assert_true(straight);
	print_message(
	    "  %u went within %" PRId64 " ms of the raise\n", CROWD, (last - raised) / MS);
	return last - raised < 1000 * MS;
}

static void
test_first_come(void **state)
{
	unsigned tries = 0;

	(void)state;
	while (!one_crowd())
		if (++tries == ATTEMPTS)
			fail_msg("never without one passed over");
}

/* ---- the dead and the stopped ---- */

/* Two alone, three in a row. */
static bool
is_out(unsigned who)
{
	return who == 0 || (who >= 4 && who <= 6) || who == 12;
}

/* Where who comes when those are out. */
static unsigned
place_without(unsigned who)
{
	unsigned n = 0;

	for (unsigned i = 0; i < who; i++)
		n += is_out(i) ? 0 : 1;
	return n;
}

static void
put_out(bool *stopped)
{
	for (unsigned i = 0; i < CROWD; i++) {
		stopped[i] = is_out(i) && i % 4 == 0;
		if (!is_out(i))
			continue;
		assert_int_equal(kill(t.pids[i], stopped[i] ? SIGSTOP : SIGKILL), 0);
		if (!stopped[i])
			reap_waiter(i);
	}
}

/* Those who were stopped come back: passed over, but not forgotten. */
static void
let_go_on(const bool *stopped)
{
	for (unsigned i = 0; i < CROWD; i++) {
		struct report rep;

		if (!stopped[i])
			continue;
		assert_int_equal(kill(t.pids[i], SIGCONT), 0);
		rep = next_report();
		assert_int_equal(rep.who, i);
		assert_int_equal(rep.verdict, RATION_ADMITTED);
	}
}

static bool
one_wake(void)
{
	bool stopped[CROWD], straight = true;
	int64_t raised, last = 0;
	uint64_t before;

	crowd_joins(CROWD);
	put_out(stopped);
	before = passed_over();
	raised = mono_ns();
	set_rates("m", "1000/min");
	for (unsigned n = 0; n < CROWD - 5; n++) {
		struct report rep = next_report();

		assert_int_equal(rep.verdict, RATION_ADMITTED);
		straight &= rep.used == place_without(rep.who) + 2;
		last = rep.ns > last ? rep.ns : last;
	}
	before = passed_over() - before;
	let_go_on(stopped);
	for (unsigned i = 0; i < CROWD; i++)
		if (t.pids[i] != 0)
			reap_waiter(i);
	if (before != 5)
		return false;
	print_message(
	    "  5 of %u out: the others went within %" PRId64 " ms\n", CROWD, (last - raised) / MS);
	assert_true(straight);
	assert_true(last - raised >= 4 * 50 * MS);
	return last - raised < 5 * 50 * MS + 100 * MS;
}

static void
test_passed_over(void **state)
{
	unsigned tries = 0;

	(void)state;
	while (!one_wake())
		if (++tries == ATTEMPTS)
			fail_msg("never 5 passed over alone, or not in time");
}

/* ---- pace ---- */

static bool
one_pace(void)
{
	enum { N = 14 };
	int64_t at[N], late = 0;

	next_key();
	for (unsigned i = 0; i < N; i++)
		join(i, "paced", RATION_SPREAD, 0);
	for (unsigned i = 0; i < N; i++) {
		struct report rep = next_report();

		assert_int_equal(rep.verdict, RATION_ADMITTED);
		at[i] = rep.ns;
		reap_waiter(rep.who);
	}
	for (unsigned i = 1; i < N; i++) {
		int64_t off = at[i] - at[0] - (int64_t)i * 50 * MS;

		/* What is measured is when they report; they went before that. */
		if (off < -10 * MS)
			fail_msg("%u went %" PRId64 " ms early", i, -off / MS);
		late = off - (int64_t)i * MS > late ? off - (int64_t)i * MS : late;
	}
	print_message("  %u in %" PRId64 " ms at 20/s\n", N, (at[N - 1] - at[0]) / MS);
	return late < 80 * MS;
}

static void
test_spread(void **state)
{
	unsigned tries = 0;

	(void)state;
	while (!one_pace())
		if (++tries == ATTEMPTS)
			fail_msg("never evenly");
}

static bool
one_burst(void)
{
	int64_t first = 0, tenth = 0, last = 0;

	next_key();
	for (unsigned i = 0; i < 13; i++)
		join(i, "burst", 0, 0);
	for (unsigned i = 0; i < 13; i++) {
		struct report rep = next_report();

		assert_int_equal(rep.verdict, RATION_ADMITTED);
		first = i == 0 ? rep.ns : first;
		tenth = i == 9 ? rep.ns : tenth;
		last = rep.ns;
		reap_waiter(rep.who);
	}
	assert_true(last - first >= 290 * MS - (tenth - first));
	return tenth - first < 200 * MS && last - first >= 290 * MS && last - first < 700 * MS;
}

/* Ten at once, then one each 100 ms. */
static void
test_burst(void **state)
{
	unsigned tries = 0;

	(void)state;
	while (!one_burst())
		if (++tries == ATTEMPTS)
			fail_msg("never at once");
}

/* ---- what wakes ---- */

static void
test_refund(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct report rep;
	int64_t given;

	(void)state;
	while (ration_acquire(t.r, "slow", t.key, 2, &d) == RATION_ADMITTED)
		break;
	for (unsigned i = 0; i < 2; i++) {
		join(i, "slow", 0, 0);
		await_waiting("slow", i + 1);
	}
	given = mono_ns();
	assert_int_equal(ration_refund(t.r, &d, 1), 0);
	rep = next_report();
	assert_int_equal(rep.who, 0);
	assert_int_equal(rep.verdict, RATION_ADMITTED);
	print_message("  woken %" PRId64 " us after the refund\n", (rep.ns - given) / 1000);
	assert_true(rep.ns - given < 400 * MS); /* not the nap of a second */
	assert_int_equal(kill(t.pids[1], SIGKILL), 0);
	reap_waiter(0);
	reap_waiter(1);
}

static void
test_reset(void **state)
{
	struct report rep;
	int64_t given;

	(void)state;
	while (ration_acquire(t.r, "slow", t.key, 1, NULL) == RATION_ADMITTED)
		;
	join(0, "slow", 0, 0);
	await_waiting("slow", 1);
	given = mono_ns();
	json_decref(ok(t.s, "reset", "{'limit':'slow','key':'key0'}"));
	rep = next_report();
	assert_int_equal(rep.verdict, RATION_ADMITTED);
	assert_true(rep.ns - given < 600 * MS);
	reap_waiter(0);
}

/* ---- leases ---- */

static void
lease_in_child(unsigned who, const char *limit)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct report rep = { .who = who };
	ration_lease_t lease;
	ration_t *r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ration_open_dir(t.s->dir, NULL, 0, &r) != 0)
		_exit(1);
	rep.verdict = ration_lease_wait(r, limit, t.key, strlen(t.key), 0, 0, NULL, &lease, &d);
	rep.ns = mono_ns();
	if (write(t.pipe[1], &rep, sizeof(rep)) != sizeof(rep))
		_exit(1);
	for (;;)
		(void)pause(); /* holds it */
}

static void
lease_waits(unsigned who, const char *limit, unsigned n)
{
	t.pids[who] = fork();
	assert_true(t.pids[who] >= 0);
	if (t.pids[who] == 0)
		lease_in_child(who, limit);
	await_waiting(limit, n);
}

/* False: somebody was passed over, so it may be another's. */
static bool
expect_lease(unsigned who, int64_t since, int64_t most, uint64_t passed)
{
	struct report rep = next_report();

	assert_int_equal(rep.verdict, RATION_ADMITTED);
	if (passed_over() != passed)
		return false;
	assert_int_equal(rep.who, who);
	print_message("  waiter %u: %" PRId64 " us\n", who, (rep.ns - since) / 1000);
	return rep.ns - since < most;
}

/* Who holds or waits for one dies.  What they have reported is read. */
static void
all_die(void)
{
	struct pollfd p = { .fd = t.pipe[0], .events = POLLIN };

	for (unsigned i = 0; i < CROWD; i++)
		if (t.pids[i] != 0) {
			assert_int_equal(kill(t.pids[i], SIGKILL), 0);
			reap_waiter(i);
		}
	while (poll(&p, 1, 0) == 1)
		(void)next_report();
}

/* Who waits goes first, where the limit says so: also before a call when it would fit. */
static void
expect_strict(const char *limit)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t lease;

	assert_int_equal(
	    ration_lease(t.r, limit, t.key, strlen(t.key), 0, &lease, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_QUEUE);
	assert_int_equal(d.retry_at, RATION_NEVER);
}

static bool
leases_go_round(const char *limit, ration_lease_t own[2])
{
	uint64_t passed = passed_over();
	int64_t at = mono_ns();

	/* One is released: the first has it at once, and of the others nobody. */
	assert_int_equal(ration_release(t.r, &own[0]), 0);
	if (!expect_lease(0, at, 400 * MS, passed))
		return false;
	/* One more is allowed: the second. */
	at = mono_ns();
	set_rates(limit, "3 concurrent");
	if (!expect_lease(1, at, 500 * MS, passed))
		return false;
	/* A holder dies: the third, when rationd has seen it. */
	at = mono_ns();
	assert_int_equal(kill(t.pids[0], SIGKILL), 0);
	reap_waiter(0);
	if (!expect_lease(2, at, 2000 * MS, passed))
		return false;
	at = mono_ns();
	assert_int_equal(kill(t.pids[3], SIGSTOP), 0);
	assert_int_equal(ration_release(t.r, &own[1]), 0);
	/* He is waited for until 50 ms after the ring, for what that is worth here. */
	if (strcmp(limit, "strict") == 0 && mono_ns() - at < 30 * MS)
		expect_strict(limit);
	assert_int_equal(kill(t.pids[3], SIGCONT), 0);
	return expect_lease(3, at, 1500 * MS, passed);
}

static void
leases_of(const char *limit)
{
	bool straight = false;

	for (unsigned tries = 0; tries < ATTEMPTS && !straight; tries++) {
		ration_lease_t own[2];

		set_rates(limit, "2 concurrent");
		next_key();
		for (unsigned i = 0; i < 2; i++)
			assert_int_equal(
			    ration_lease(t.r, limit, t.key, strlen(t.key), 0, &own[i], NULL), 1);
		for (unsigned i = 0; i < 4; i++)
			lease_waits(i, limit, i + 1);
		straight = leases_go_round(limit, own);
		all_die();
	}
	assert_true(straight);
}

static void
test_leases(void **state)
{
	(void)state;
	leases_of("leases");
}

static void
test_strict_leases(void **state)
{
	(void)state;
	leases_of("strict");
}

/* ---- many at once ---- */

#define CALLS 60

/* Waits, waits for too short a time, books and comes back or does not. */
static unsigned
hustle(ration_t *r, uint64_t *random)
{
	unsigned went = 0;

	for (unsigned i = 0; i < CALLS; i++) {
		uint64_t dice = *random =
		    *random * UINT64_C(6364136223846793005) + 1442695040888963407;
		unsigned flags = dice >> 63 ? RATION_SPREAD : 0;
		ration_booking_t b = { .size = sizeof(b) };
		int64_t until = mono_ns() + (int64_t)(dice >> 40) % (4 * MS);
		struct timespec soon = { until / 1000000000, until % 1000000000 };
		int v = 0;

		switch (dice >> 32 & 3) {
		case 0:
			v = ration_wait(r, "fast", "k", 1, 1, flags, &soon, NULL);
			break;
		case 1:
			for (unsigned k = 0; k < 20 && v == RATION_DENIED; k++)
				v = ration_book(r, "fast", "k", 1, 1, flags, &b, NULL);
			if (v == RATION_DENIED)
				v = ration_cancel(r, &b);
			break;
		default:
			v = ration_wait(r, "fast", "k", 1, 1, flags, NULL, NULL);
			if (v != RATION_ADMITTED)
				_exit(2);
		}
		if (v < 0)
			_exit(3);
		went += v == RATION_ADMITTED;
	}
	return went;
}

static void
test_hustle(void **state)
{
	uint64_t went = 0, before;
	int64_t from = mono_ns();
	unsigned dead = 0;

	(void)state;
	before = atomic_load(&t.seg.head->scribbles);
	for (unsigned i = 0; i < 12; i++) {
		t.pids[i] = fork();
		assert_true(t.pids[i] >= 0);
		if (t.pids[i] == 0) {
			uint64_t random = (uint64_t)mono_ns() * (i + 1);
			struct report rep = { .who = i };
			ration_t *r;

			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (ration_open_dir(t.s->dir, NULL, 0, &r) != 0)
				_exit(1);
			rep.used = hustle(r, &random);
			_exit(write(t.pipe[1], &rep, sizeof(rep)) == sizeof(rep) ? 0 : 1);
		}
	}
	/* One of four is killed, wherever it is. */
	for (unsigned i = 0; i < 12; i += 4) {
		pause_ms(20);
		assert_int_equal(kill(t.pids[i], SIGKILL), 0);
		dead++;
	}
	for (unsigned i = 0; i < 12; i++) {
		int status;

		assert_int_equal(waitpid(t.pids[i], &status, 0), t.pids[i]);
		t.pids[i] = 0;
		if (i % 4 != 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
			fail_msg("worker %u: status %x", i, status);
	}
	for (unsigned i = 0; i < 12 - dead; i++)
		went += next_report().used;
	print_message("  %" PRIu64 " went in %" PRId64 " ms, %" PRIu64 " were passed over\n", went,
	    (mono_ns() - from) / MS, passed_over());
	assert_true(went >= (12 - dead) * CALLS / 4);
	assert_true((int64_t)went <= (mono_ns() - from) / MS + 1);
	assert_int_equal(atomic_load(&t.seg.head->scribbles), before);
}

/* ---- the clock ---- */

static void
test_clock_moved(void **state)
{
	struct report rep;
	uint64_t passed;
	int64_t at;

	(void)state;
	while (ration_acquire(t.r, "day", t.key, 1, NULL) == RATION_ADMITTED)
		;
	for (unsigned i = 0; i < 3; i++) {
		join(i, "day", 0, 0);
		await_waiting("day", i + 1);
	}
	passed = passed_over();
	at = mono_ns();
	json_decref(ok(t.s, "clock", "{'advance_s':86400}"));
	for (unsigned i = 0; i < 3; i++) {
		rep = next_report();
		assert_int_equal(rep.verdict, RATION_ADMITTED);
		if (passed_over() != passed)
			continue;
		assert_int_equal(rep.used, rep.who + 1);
		assert_true(rep.ns - at < 600 * MS);
	}
	for (unsigned i = 0; i < 3; i++)
		reap_waiter(i);
}

/* ---- cost and deadline ---- */

static int64_t
cpu_ns(pid_t pid)
{
	struct timespec c;
	clockid_t id;

	assert_int_equal(clock_getcpuclockid(pid, &id), 0);
	assert_int_equal(clock_gettime(id, &c), 0);
	return (int64_t)c.tv_sec * 1000000000 + c.tv_nsec;
}

static void
test_idle(void **state)
{
	int64_t before = 0, after = 0;

	(void)state;
	crowd_joins(CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		before += cpu_ns(t.pids[i]);
	pause_ms(1000); /* what is measured */
	for (unsigned i = 0; i < CROWD; i++)
		after += cpu_ns(t.pids[i]);
	print_message(
	    "  %u waiters used %" PRId64 " us of a second\n", CROWD, (after - before) / 1000);
	assert_true(after - before < 40 * MS);
	for (unsigned i = 0; i < CROWD; i++) {
		assert_int_equal(kill(t.pids[i], SIGKILL), 0);
		reap_waiter(i);
	}
}

static void
test_deadline(void **state)
{
	struct report rep;
	uint64_t passed;
	int64_t from;

	(void)state;
	/* The retry would be after it: at once. */
	while (ration_acquire(t.r, "slow", t.key, 1, NULL) == RATION_ADMITTED)
		;
	from = mono_ns();
	join(0, "slow", 0, 5000);
	rep = next_report();
	assert_int_equal(rep.verdict, RATION_DENIED);
	assert_true(rep.ns - from < 2000 * MS);
	reap_waiter(0);
	/* It would fit, but others go first: at the deadline. */
	set_rates("paced", "2/s");
	passed = passed_over();
	for (unsigned i = 0; i < 4; i++) {
		from = mono_ns();
		join(i, "paced", RATION_SPREAD, i == 3 ? 700 : 0);
		if (i > 0)
			await_waiting("paced", i);
	}
	for (unsigned i = 0; i < 4; i++) {
		rep = next_report();
		assert_int_equal(rep.verdict, rep.who == 3 ? RATION_DENIED : RATION_ADMITTED);
		if (rep.who == 3) {
			/* If he passed one over, he knew sooner that he would come too late. */
			if (passed_over() == passed)
				assert_true(rep.ns - from >= 700 * MS);
			assert_true(rep.ns - from < 1100 * MS);
		}
		reap_waiter(rep.who);
	}
	assert_int_equal(waiting("paced"), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_first_come, begin, end),
		cmocka_unit_test_setup_teardown(test_passed_over, begin, end),
		cmocka_unit_test_setup_teardown(test_spread, begin, end),
		cmocka_unit_test_setup_teardown(test_burst, begin, end),
		cmocka_unit_test_setup_teardown(test_refund, begin, end),
		cmocka_unit_test_setup_teardown(test_reset, begin, end),
		cmocka_unit_test_setup_teardown(test_leases, begin, end),
		cmocka_unit_test_setup_teardown(test_strict_leases, begin, end),
		cmocka_unit_test_setup_teardown(test_hustle, begin, end),
		cmocka_unit_test_setup_teardown(test_clock_moved, begin, end),
		cmocka_unit_test_setup_teardown(test_idle, begin, end),
		cmocka_unit_test_setup_teardown(test_deadline, begin, end),
	};

	if (argc < 2)
		return 2;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
