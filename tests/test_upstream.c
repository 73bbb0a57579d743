/*
 * test_upstream.c - other people's limits, kept by all processes of a host together: against a
 * simulated service that counts exactly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "upstream.h"
#include "upstreams.h"

static uint64_t seed;

#define POLICY "limits: {api: 10/min}\n"

static void
advance(struct fixture *f, uint64_t ms)
{
	atomic_fetch_add(&f->now, ms * MS_NS);
}

static int64_t
unix_ms(const struct fixture *f)
{
	return FIXTURE_UNIX * 1000 + (int64_t)((atomic_load(&f->now) - FIXTURE_START) / MS_NS);
}

static ration_attempt_t
fresh(void)
{
	return (ration_attempt_t) { .size = sizeof(ration_attempt_t) };
}

/* ---- one after the other ---- */

static void
test_first_contact(void **state)
{
	struct sim s = { .kind = SIM_FIXED, .limit = 5, .window_ms = 60000 };
	ration_attempt_t a = fresh(), b = fresh();
	struct sim_answer ans;
	ration_upstream_t u;
	struct fixture f;

	(void)state;
	fixture_open(&f, POLICY, 0);
	assert_int_equal(ration_upstream(f.r, "x", &u), 0);
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &a), RATION_ADMITTED);
	/* Nothing is known: one at a time. */
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &b), RATION_DENIED);
	assert_int_equal(b.reason, RATION_U_FIRST);
	assert_true(b.wait_ms > 0 && b.wait_ms < 200);
	advance(&f, 50);
	sim_request(&s, unix_ms(&f), 1, &ans);
	advance(&f, 50);
	assert_int_equal(ration_upstream_end(f.r, &u, &a, ans.status, ans.headers, ans.n), 0);
	assert_int_equal(a.retry, 0);
	assert_int_equal(a.limit, 5);
	assert_int_equal(a.remaining, 4);
	for (unsigned i = 0; i < 4; i++) {
		b = fresh();
		assert_int_equal(ration_upstream_begin(f.r, &u, 1, &b), RATION_ADMITTED);
	}
	assert_int_equal(ration_upstream_begin(f.r, &u, 1, &a), RATION_DENIED);
	assert_int_equal(a.reason, RATION_U_SPENT);
	fixture_close(&f);
}

/* ---- many at once, against a service that counts exactly ---- */

#define WORKERS_MAX 64u

struct world {
	const char *name;
	const char *policy; /* NULL: none of this upstream */
	enum sim_kind kind;
	uint64_t limit, window_ms;
	unsigned workers, handles;
	uint64_t latency_ms; /* each way, up to */
	uint64_t skew_ms;    /* up to, either way */
	bool no_date;
	unsigned slow;   /* per mille: on the way there for up to 3 s */
	unsigned lost;   /* per mille: no answer comes, but the request arrives, up to 3 s later */
	unsigned killed; /* per mille: who asked is gone */
	unsigned others; /* per mille of a limit a second, taken by somebody else */
	uint64_t refused_most; /* in all; with others: in a window */
	unsigned least;        /* percent of what the limit allows that must get through */
};

#define LATE_MAX 256u

enum at { IDLE, GOING, COMING };

/* A request that nobody waits for any more. */
struct late {
	uint64_t due_ms, cost;
};

struct worker {
	ration_attempt_t a;
	enum at at;
	uint64_t due_ms;
	uint64_t cost;
	bool lost;
	struct sim_answer answer;
};

struct run {
	const struct world *w;
	struct fixture f;
	ration_t *r[4];
	ration_upstream_t u[4];
	struct sim s;
	struct worker workers[WORKERS_MAX];
	struct late late[LATE_MAX];
	uint64_t random, ms, denied, asked;
	uint64_t window, in_window, worst; /* refusals of ours */
};

static uint64_t
below(struct run *x, uint64_t n)
{
	return n == 0 ? 0 : test_random(&x->random) % n;
}

static void
refused(struct run *x, uint64_t now)
{
	/* A sliding one has no windows: each refusal asks for a pause of a second at least. */
	uint64_t w = x->w->kind == SIM_FIXED ? now / x->w->window_ms : now;

	if (x->w->kind == SIM_FIXED ? w != x->window : w - x->window >= 1000)
		x->in_window = 0;
	x->window = w;
	if (++x->in_window > x->worst)
		x->worst = x->in_window;
}

static void
send_late(struct run *x, uint64_t cost)
{
	unsigned i = 0;

	while (i < LATE_MAX - 1 && x->late[i].cost != 0)
		i++;
	x->late[i] = (struct late) { x->ms + below(x, 3000), cost };
}

static void
arrive_late(struct run *x)
{
	struct sim_answer answer;

	for (unsigned i = 0; i < LATE_MAX; i++) {
		if (x->late[i].cost == 0 || x->late[i].due_ms > x->ms)
			continue;
		sim_request(&x->s, unix_ms(&x->f), x->late[i].cost, &answer);
		if (answer.status == 429)
			refused(x, (uint64_t)(unix_ms(&x->f) + x->s.skew_ms));
		x->late[i].cost = 0;
	}
}

static void
work(struct run *x, unsigned i)
{
	struct worker *k = &x->workers[i];
	unsigned h = i % x->w->handles;
	int v;

	if (k->due_ms > x->ms)
		return;
	switch (k->at) {
	case IDLE:
		k->cost = 1 + (uint64_t)(below(x, 10) == 0 && x->w->limit >= 10);
		k->a.reserved[3] |= below(x, UINT32_MAX) + 1; /* its randomness: ours */
		v = ration_upstream_begin(x->r[h], &x->u[h], k->cost, &k->a);
		x->asked++;
		if (v == RATION_DENIED) {
			x->denied++;
			assert_true(k->a.wait_ms > 0);
			k->due_ms = x->ms + k->a.wait_ms + below(x, 3);
			return;
		}
		assert_int_equal(v, RATION_ADMITTED);
		k->due_ms = x->ms + below(x, x->w->latency_ms + 1);
		if (below(x, 1000) < x->w->killed) {
			send_late(x, k->cost);
			k->a = fresh();
			return;
		}
		k->lost = below(x, 1000) < x->w->lost;
		k->at = k->lost ? COMING : GOING;
		if (k->lost)
			send_late(x, k->cost);
		else if (below(x, 1000) < x->w->slow)
			k->due_ms += below(x, 3000);
		return;
	case GOING:
		sim_request(&x->s, unix_ms(&x->f), k->cost, &k->answer);
		if (k->answer.status == 429)
			refused(x, (uint64_t)(unix_ms(&x->f) + x->s.skew_ms));
		k->at = COMING;
		k->due_ms = x->ms + below(x, x->w->latency_ms + 1);
		return;
	default:
		assert_int_equal(
		    ration_upstream_end(x->r[h], &x->u[h], &k->a, k->lost ? 0 : k->answer.status,
			k->lost ? NULL : k->answer.headers, k->lost ? 0 : k->answer.n),
		    0);
		k->at = IDLE;
		k->due_ms = x->ms + (k->a.retry != 0 ? k->a.wait_ms : below(x, 5));
		if (k->a.retry == 0)
			k->a = fresh();
	}
}

static void
run_world(const struct world *w, enum sim_dialect dialect)
{
	static struct run x;
	uint64_t windows = 6, span, allowed;
	struct sim_answer theirs;

	memset(&x, 0, sizeof(x));
	x.w = w;
	x.random = seed;
	fixture_open(&x.f, w->policy != NULL ? w->policy : POLICY, 0);
	advance(&x.f, below(&x, 100000));
	for (unsigned h = 0; h < w->handles; h++) {
		x.r[h] = h == 0 ? x.f.r : fixture_handle(&x.f);
		assert_int_equal(ration_upstream(x.r[h], "x", &x.u[h]), 0);
	}
	x.s = (struct sim) { .kind = w->kind,
		.dialect = dialect,
		.limit = w->limit,
		.window_ms = w->window_ms,
		.no_date = w->no_date,
		.skew_ms = (int64_t)below(&x, 2 * w->skew_ms + 1) - (int64_t)w->skew_ms };
	for (unsigned i = 0; i < w->workers; i++)
		x.workers[i].a = fresh();
	span = windows * w->window_ms;
	for (x.ms = 0; x.ms < span; x.ms++) {
		for (unsigned i = 0; i < w->workers; i++)
			work(&x, i);
		if (w->others != 0 && below(&x, 1000000) < w->others * w->limit)
			sim_request(&x.s, unix_ms(&x.f), 1, &theirs);
		arrive_late(&x);
		advance(&x.f, 1);
	}
	allowed = w->limit * windows;
	if (getenv("RATION_VERBOSE") != NULL)
		print_message("%-28s dialect %d skew %5" PRId64 ": %4" PRIu64 " of %4" PRIu64
			      " through, %" PRIu64 " refused, worst %" PRIu64 ", %" PRIu64
			      " asked\n",
		    w->name, dialect, x.s.skew_ms, x.s.counted, allowed, x.s.refused, x.worst,
		    x.asked);
	if (x.worst > w->refused_most || x.s.counted * 100 < allowed * w->least)
		fail_msg("%s, dialect %d: %" PRIu64 " of %" PRIu64 " through, %" PRIu64
			 " refused, %" PRIu64 " in one window, skew %" PRId64 " ms",
		    w->name, dialect, x.s.counted, allowed, x.s.refused, x.worst, x.s.skew_ms);
	for (unsigned h = 1; h < w->handles; h++)
		ration_close(x.r[h]);
	fixture_close(&x.f);
}

static void
test_worlds(void **state)
{
	static const struct world worlds[] = {
		{ .name = "fixed",
		    .kind = SIM_FIXED,
		    .limit = 100,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 40,
		    .least = 80 },
		{ .name = "fixed, slow answers",
		    .kind = SIM_FIXED,
		    .limit = 100,
		    .window_ms = 10000,
		    .workers = 40,
		    .handles = 4,
		    .latency_ms = 1500,
		    .least = 40 },
		{ .name = "fixed, some stray",
		    .kind = SIM_FIXED,
		    .limit = 100,
		    .window_ms = 10000,
		    .workers = 40,
		    .handles = 4,
		    .latency_ms = 10,
		    .slow = 300,
		    .least = 30 },
		{ .name = "sliding, some stray",
		    .kind = SIM_SLIDING,
		    .limit = 100,
		    .window_ms = 10000,
		    .workers = 40,
		    .handles = 4,
		    .latency_ms = 10,
		    .slow = 300,
		    .least = 30 },
		{ .name = "fixed, limit 2, stray",
		    .kind = SIM_FIXED,
		    .limit = 2,
		    .window_ms = 1000,
		    .workers = 20,
		    .handles = 4,
		    .latency_ms = 10,
		    .slow = 500,
		    .least = 10 },
		{ .name = "fixed, limit 1",
		    .kind = SIM_FIXED,
		    .limit = 1,
		    .window_ms = 2000,
		    .workers = 8,
		    .handles = 4,
		    .latency_ms = 300,
		    .least = 30 },
		{ .name = "fixed, skewed",
		    .kind = SIM_FIXED,
		    .limit = 50,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 2,
		    .latency_ms = 60,
		    .skew_ms = 100000,
		    .least = 60 },
		{ .name = "fixed, a little skewed",
		    .kind = SIM_FIXED,
		    .limit = 50,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 2,
		    .latency_ms = 60,
		    .skew_ms = 1500,
		    .least = 60 },
		{ .name = "fixed, lost and killed",
		    .kind = SIM_FIXED,
		    .limit = 100,
		    .window_ms = 20000,
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 60,
		    .lost = 50,
		    .killed = 50,
		    .least = 40 },
		{ .name = "sliding",
		    .kind = SIM_SLIDING,
		    .limit = 100,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 40,
		    .least = 40 },
		{ .name = "sliding, lost and killed",
		    .kind = SIM_SLIDING,
		    .limit = 100,
		    .window_ms = 20000,
		    .workers = 24,
		    .handles = 4,
		    .latency_ms = 200,
		    .lost = 50,
		    .killed = 50,
		    .skew_ms = 30000,
		    .least = 30 },
		{ .name = "policy, sliding",
		    .kind = SIM_SLIDING,
		    .limit = 100,
		    .window_ms = 10000,
		    .policy = "upstreams: {x: {limit: 100/10s}}\n",
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 0,
		    .least = 40 },
		{ .name = "policy, fixed",
		    .kind = SIM_FIXED,
		    .limit = 100,
		    .window_ms = 10000,
		    .policy = "upstreams: {x: {limit: 100/10s fixed}}\n",
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 0,
		    .least = 80 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++)
		for (enum sim_dialect d = 0; d < SIM_SILENT; d++)
			run_world(&worlds[i], d);
}

/* Somebody else takes from the same limit: what we are refused is one request, then all stop. */
static void
test_others(void **state)
{
	static const struct world worlds[] = {
		{ .name = "others, fixed",
		    .kind = SIM_FIXED,
		    .limit = 200,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 50,
		    .others = 50,
		    .refused_most = 1,
		    .least = 30 },
		{ .name = "others, many in flight",
		    .kind = SIM_FIXED,
		    .limit = 400,
		    .window_ms = 20000,
		    .workers = 60,
		    .handles = 4,
		    .latency_ms = 400,
		    .others = 30,
		    .refused_most = 2,
		    .least = 30 },
		/* Nothing tells of the skew: the reset comes too early or too late by so much. */
		{ .name = "skew untold",
		    .kind = SIM_FIXED,
		    .limit = 50,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 50,
		    .skew_ms = 3000,
		    .no_date = true,
		    .refused_most = 2,
		    .least = 30 },
		{ .name = "others, sliding",
		    .kind = SIM_SLIDING,
		    .limit = 200,
		    .window_ms = 10000,
		    .workers = 16,
		    .handles = 4,
		    .latency_ms = 50,
		    .others = 50,
		    .refused_most = 2,
		    .least = 30 },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(worlds) / sizeof(worlds[0]); i++)
		for (enum sim_dialect d = 0; d < SIM_SILENT; d++)
			run_world(&worlds[i], d);
}

/* It says nothing but Retry-After: a refusal stops all, and then one asks. */
static void
test_silent(void **state)
{
	static const struct world w = { .name = "silent",
		.kind = SIM_FIXED,
		.limit = 100,
		.window_ms = 10000,
		.workers = 1,
		.handles = 1,
		.latency_ms = 20,
		.refused_most = 1,
		.least = 60 };

	(void)state;
	run_world(&w, SIM_SILENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_contact),
		cmocka_unit_test(test_worlds),
		cmocka_unit_test(test_others),
		cmocka_unit_test(test_silent),
	};

	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
