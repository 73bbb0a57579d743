/*
 * test_threads.c - threads over one mapping, through all the algorithms: callers that share a
 * handle, one that moves the clock, one that sweeps, one that looks, one that changes windows
 * and numbers.  Built with -fsanitize=thread it shows every access that is not ordered; in
 * any build the sums must be right.  And a handle in forked children.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <err.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.h"
#include "fixture.h"

#define THREADS 4u
#define CALLS 60000u
#define MS UINT64_C(1000000)

static const char policy_a[] = "table: {rates: 2}\n"
			       "limits:\n"
			       "  sliding: 1000000000/hour\n"
			       "  tight: 500/hour\n"
			       "  day: 1000000000000/day\n"
			       "  two: [900000000/hour, 100000000000/month]\n"
			       "  free: unlimited\n"
			       "  bucket: 1000/s burst 10\n"
			       "  brief: 5/s\n"
			       "  changing: 100000000/min\n"
			       "  watched: {rates: 3/hour, mode: observe}\n";

/* Another window, another algorithm, another number. */
static const char *const changes[] = { "100000000/hour", "100000000/hour fixed", "90000000/day",
	"100000/s burst 10000000", "unlimited", "80000000/min" };

enum thing { SLIDING, TIGHT, DAY, TWO, FREE, THINGS };
static const char *const names[] = { "sliding", "tight", "day", "two", "free" };

struct shared {
	struct fixture f;
	ration_t *r; /* one handle for all */
	uint64_t seed;
	_Atomic uint32_t stop;
	_Atomic uint64_t acked[THINGS];
	_Atomic uint64_t failed;
};

static struct shared *shared;

/*
 * An area of the policy is written while callers that were stopped for two versions may still
 * be reading it: they look afterwards whether it was, and start again (policy.h).  Everything
 * else is to be ordered.
 */
const char *__tsan_default_suppressions(void);

const char *
__tsan_default_suppressions(void)
{
	return "race:config_compile\n";
}

static void
failed(struct shared *s, const char *limit, int v)
{
	if (atomic_fetch_add(&s->failed, 1) < 10)
		warnx("%s: %s", limit, ration_strerror(v));
}

static void
count(struct shared *s, enum thing k, uint64_t units, int v)
{
	if (v == RATION_ADMITTED)
		(void)atomic_fetch_add(&s->acked[k], units);
	else if (v < 0)
		failed(s, names[k], v);
}

static void
several(struct shared *s, uint64_t dice)
{
	enum thing k = (enum thing)(dice % (THINGS - 1)), other = (enum thing)(k + 1);
	ration_claim_t claims[3] = { { sizeof(claims[0]), names[other], "one", 3, 1 },
		{ sizeof(claims[0]), names[k], "one", 3, 2 },
		{ sizeof(claims[0]), "brief", &dice, 1, 1 } };
	int v = ration_acquire_all(s->r, claims, 2 + dice / 16 % 2, NULL);

	count(s, k, 2, v);
	count(s, other, 1, v);
}

static void
brief(struct shared *s, uint64_t dice)
{
	char key[80];
	ration_decision_t d = RATION_DECISION_INIT;

	(void)snprintf(key, sizeof(key), "key:%u%s", (unsigned)(dice % 300),
	    dice % 3 == 0 ? ":and some more bytes than a slot holds by itself" : "");
	if (ration_acquire(s->r, "brief", key, 1, &d) == RATION_ADMITTED && dice / 1000 % 2 == 0)
		(void)ration_refund(s->r, &d, 1);
	(void)ration_peek(s->r, "brief", key, 1, &d);
}

static void
one_call(struct shared *s, ration_key_t *handle, uint64_t dice)
{
	ration_decision_t d = RATION_DECISION_INIT;
	enum thing k = (enum thing)(dice / 16 % THINGS);
	int v;

	switch (dice % 16) {
	case 0:
	case 1:
		v = ration_key_acquire(s->r, handle, 3, &d);
		count(s, SLIDING, 3, v);
		if (v == RATION_ADMITTED && ration_refund(s->r, &d, 2) == 0)
			(void)atomic_fetch_sub(&s->acked[SLIDING], 2);
		return;
	case 2:
	case 3:
	case 4:
		several(s, dice >> 8);
		return;
	case 5:
	case 6:
	case 7:
		brief(s, dice >> 8);
		return;
	case 8:
		v = ration_acquire(s->r, "changing", "one", 1, &d);
		if (v < 0)
			failed(s, "changing", v);
		return;
	case 9:
		if (ration_acquire(s->r, "bucket", "one", 1, &d) < 0 ||
		    ration_acquire(s->r, "watched", "one", 1, &d) != RATION_ADMITTED)
			(void)atomic_fetch_add(&s->failed, 1);
		return;
	default:
		count(s, k, 1, ration_acquire(s->r, names[k], "one", 1, &d));
	}
}

static void
make_calls(struct shared *s, unsigned who, unsigned n)
{
	uint64_t random = s->seed ^ (uint64_t)who << 40;
	ration_key_t handle;
	int e = ration_key(s->r, "sliding", "one", 3, &handle);

	if (e != 0)
		failed(s, "ration_key", e);
	for (unsigned i = 0; i < n; i++)
		one_call(s, &handle, test_random(&random));
}

static void *
caller(void *arg)
{
	make_calls(shared, (unsigned)(uintptr_t)arg, CALLS);
	return NULL;
}

/* ---- the others ---- */

/* Time goes on by steps of up to half a sub-window of a second. */
static void *
mover(void *arg)
{
	uint64_t random = 1;

	(void)arg;
	while (atomic_load(&shared->stop) == 0) {
		(void)atomic_fetch_add(&shared->f.now, test_random(&random) % (30 * MS));
		(void)usleep(200);
	}
	return NULL;
}

static void
change_policy(unsigned i)
{
	const char *rates = changes[i % (sizeof(changes) / sizeof(changes[0]))];
	char yaml[1200], *at;

	(void)snprintf(yaml, sizeof(yaml), "%s", policy_a);
	at = strstr(yaml, "  changing:");
	(void)snprintf(at, sizeof(yaml) - (size_t)(at - yaml), "  changing: %s%s", rates,
	    strchr(strstr(policy_a, "  changing:"), '\n'));
	fixture_policy(&shared->f, yaml);
}

/* As rationd: one thread that sweeps and publishes. */
static void
keep_house(bool changing)
{
	static struct sweep s;

	for (unsigned i = 0; atomic_load(&shared->stop) == 0; i++) {
		uint64_t now = atomic_load(&shared->f.now);

		(void)table_sweep(
		    &shared->f.seg, &s, 256, now, clock_unix(shared->f.seg.policy, now), 0);
		if (changing && i % 8 == 0)
			change_policy(i / 8);
	}
}

static void *
sweeper(void *arg)
{
	(void)arg;
	keep_house(false);
	return NULL;
}

static void *
keeper(void *arg)
{
	(void)arg;
	keep_house(true);
	return NULL;
}

static void *
looker(void *arg)
{
	uint64_t seen = 0, birth, admitted, denied;
	static struct row row;

	(void)arg;
	while (atomic_load(&shared->stop) == 0)
		for (uint64_t n = 0; n < shared->f.seg.nslots; n++) {
			seen += view_totals(&shared->f.seg, n, &birth, &admitted, &denied);
			seen += view_row(&shared->f.seg, n, atomic_load(&shared->f.now), &row);
		}
	(void)seen;
	return NULL;
}

/* ---- */

static void
check_sums(struct shared *s)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t gone;

	assert_int_equal(atomic_load(&s->failed), 0);
	for (enum thing k = SLIDING; k < THINGS; k++) {
		assert_true(ration_peek(s->r, names[k], "one", 0, &d) >= 0);
		assert_true(d.nrates >= 1);
		/* An unlimited key that nobody used for 10 s (of this clock) was recycled. */
		gone = d.limit_units == RATION_UNLIMITED
		    ? atomic_load(&s->f.seg.limits[d.limit_id[0]].admitted_gone)
		    : 0;
		for (unsigned i = 0; i < d.nrates; i++)
			if (d.rates[i].used + gone != atomic_load(&s->acked[k]))
				fail_msg("%s, rate %u: charged %" PRIu64 " and %" PRIu64
					 ", acked %" PRIu64,
				    names[k], i, d.rates[i].used, gone, atomic_load(&s->acked[k]));
	}
	assert_int_equal(atomic_load(&s->f.seg.head->scribbles), 0);
	assert_int_equal(atomic_load(&s->f.seg.head->retries_out), 0);
}

static void
settle_table(struct shared *s)
{
	static struct sweep w;
	struct audit_counts n;

	w.next = 0;
	for (unsigned i = 0; i < 100; i++) {
		uint64_t now = atomic_fetch_add(&s->f.now, 200 * MS) + 200 * MS;

		while (!table_sweep(&s->f.seg, &w, 4096, now, clock_unix(s->f.seg.policy, now), 0))
			;
	}
	assert_int_equal(audit_table(&s->f.seg, true, &n), 0);
	assert_int_equal(n.extra, 0);
}

static void
start(void)
{
	shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(shared, MAP_FAILED);
	shared->seed = test_seed();
	fixture_open(&shared->f, policy_a, 2048);
	shared->r = fixture_handle(&shared->f);
}

static void
end(void)
{
	check_sums(shared);
	settle_table(shared);
	ration_close(shared->r);
	fixture_close(&shared->f);
	(void)munmap(shared, sizeof(*shared));
}

static void
run(void *(*const others[])(void *), unsigned n)
{
	pthread_t callers[THREADS], rest[8];

	start();
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_create(&rest[i], NULL, others[i], NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&callers[i], NULL, caller, (void *)i), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(callers[i], NULL), 0);
	atomic_store(&shared->stop, 1);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(pthread_join(rest[i], NULL), 0);
	end();
}

static void
test_algorithms(void **state)
{
	void *(*const others[])(void *) = { mover, sweeper, looker };

	(void)state;
	run(others, 3);
}

static void
test_changes(void **state)
{
	void *(*const others[])(void *) = { mover, keeper, looker };

	(void)state;
	run(others, 3);
}

/* ---- fork ---- */

/* Children of a process that has threads in calls: the handle goes on in both. */
static void
test_fork(void **state)
{
	pthread_t callers[THREADS], clock;
	pid_t pids[8];
	int status;

	(void)state;
	start();
	assert_int_equal(pthread_create(&clock, NULL, mover, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&callers[i], NULL, caller, (void *)i), 0);
	for (unsigned i = 0; i < 8; i++) {
		pids[i] = fork();
		assert_int_not_equal(pids[i], -1);
		if (pids[i] == 0) {
			ration_t *own;

			make_calls(shared, 100 + i, CALLS / 4);
			/* A grandchild, and a handle opened and closed in a child. */
			if (fork() == 0) {
				make_calls(shared, 200 + i, CALLS / 8);
				_exit(0);
			}
			if (ration_open_dir(shared->f.dir, "t", 0, &own) != 0)
				_exit(1);
			ration_close(own);
			ration_close(shared->r);
			if (wait(&status) == -1 || status != 0)
				_exit(2);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(callers[i], NULL), 0);
	atomic_store(&shared->stop, 1);
	assert_int_equal(pthread_join(clock, NULL), 0);
	end();
}

/* One key that is charged over many sub-windows, reset and changed, and somebody who reads its
 * total. */
struct rising {
	struct fixture f;
	_Atomic uint32_t stop;
	_Atomic uint64_t reads, falls, above;
	_Atomic uint64_t acked, begun;
};

static void *
total_reader(void *arg)
{
	struct rising *x = arg;
	uint64_t birth, total, denied, last = 0;

	while (atomic_load(&x->stop) == 0) {
		uint64_t acked = atomic_load(&x->acked);

		if (!view_totals(&x->f.seg, 0, &birth, &total, &denied))
			continue;
		atomic_fetch_add(&x->reads, 1);
		if (total < last || total < acked)
			atomic_fetch_add(&x->falls, 1);
		if (total > atomic_load(&x->begun))
			atomic_fetch_add(&x->above, 1);
		last = total;
	}
	return NULL;
}

static void
test_rising(void **state)
{
	static const char *const texts[] = { "table: {keys: 1}\nlimits: {a: 1000000/s}\n",
		"table: {keys: 1}\nlimits: {a: 1000000/s fixed}\n",
		"table: {keys: 1}\nlimits: {a: 100000/s burst 1000000}\n" };
	struct rising *x = calloc(1, sizeof(*x));
	uint64_t birth, total, denied;
	pthread_t reader;

	assert_non_null(x);
	fixture_open(&x->f, texts[0], 1);
	assert_int_equal(pthread_create(&reader, NULL, total_reader, x), 0);
	for (unsigned i = 0; i < 60000; i++) {
		atomic_fetch_add(&x->begun, 3);
		if (ration_acquire(x->f.r, "a", "k", 3, NULL) != RATION_ADMITTED)
			break;
		atomic_fetch_add(&x->acked, 3);
		atomic_fetch_add(&x->f.now, 70 * MS);
		if (i % 16 == 0) {
			assert_true(view_totals(&x->f.seg, 0, &birth, &total, &denied));
			assert_int_equal(
			    view_reset(&x->f.seg, 0, birth, atomic_load(&x->f.now)), 0);
		}
		if (i % 2000 == 0)
			fixture_policy(&x->f, texts[i / 2000 % 3]);
	}
	atomic_store(&x->stop, 1);
	assert_int_equal(pthread_join(reader, NULL), 0);
	(void)printf("%" PRIu64 " totals read while they rose\n", atomic_load(&x->reads));
	assert_int_equal(x->acked, 180000);
	assert_int_equal(x->falls, 0);
	assert_int_equal(x->above, 0);
	fixture_close(&x->f);
	free(x);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_changes), cmocka_unit_test(test_rising),
		cmocka_unit_test(test_fork) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
