/*
 * test_upstream_kill.c - eight processes, killed anywhere, share an upstream: it never sees more
 * than its limit; the breaker's probe is one at a time, and comes back when its process dies.
 * And threads over one mapping.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"
#include "upstream.h"
#include "upstreams.h"

#define PROCESSES 8
#define THREADS 4
#define LIMIT 50u
#define WINDOW_MS 2000u
#define WINDOWS 4096u
#define ROUNDS 12

/* All processes see it: the clock too. */
struct shared {
	struct fixture f;
	_Atomic bool stop, fail, kill_wanted;
	_Atomic int probing, victim;
	_Atomic uint64_t violations, requests, refused, probes;
	_Atomic uint64_t windows[WINDOWS];
};

static struct shared *s;
static uint64_t seed;

static int64_t
unix_ms(void)
{
	return FIXTURE_UNIX * 1000 + (int64_t)((atomic_load(&s->f.now) - FIXTURE_START) / MS_NS);
}

static void
tick(uint64_t ms)
{
	atomic_fetch_add(&s->f.now, ms * MS_NS);
}

static void
nap(useconds_t us)
{
	(void)usleep(us);
}

/* Counted by one addition, so that a kill leaves nothing half-done. */
static void
serve(struct sim_answer *a)
{
	uint64_t now = (uint64_t)unix_ms(), w = now / WINDOW_MS, n;
	char date[40];

	n = atomic_fetch_add(&s->windows[w % WINDOWS], 1) + 1;
	memset(a, 0, sizeof(*a));
	a->status = n <= LIMIT ? 200 : 429;
	http_date_text((int64_t)(now / 1000), date);
	answer_add(a, "Date", "%s", date);
	answer_add(a, "X-RateLimit-Limit", "%u", LIMIT);
	answer_add(a, "X-RateLimit-Remaining", "%" PRIu64, n < LIMIT ? LIMIT - n : 0);
	answer_add(a, "X-RateLimit-Reset", "%" PRIu64, (w + 1) * WINDOW_MS / 1000);
	atomic_fetch_add(&s->requests, 1);
	if (a->status != 429)
		return;
	atomic_fetch_add(&s->refused, 1);
	answer_add(a, "Retry-After", "%" PRIu64, ((w + 1) * WINDOW_MS - now + 999) / 1000);
}

static void
ask_on(ration_t *r, ration_upstream_t *u)
{
	ration_attempt_t a = { .size = sizeof(a) };
	struct sim_answer answer;
	int v = ration_upstream_begin(r, u, 1, &a);

	if (v == RATION_DENIED) {
		nap(200);
		return;
	}
	if (v != RATION_ADMITTED)
		atomic_fetch_add(&s->violations, 1);
	nap(50);
	serve(&answer);
	nap(50);
	(void)ration_upstream_end(r, u, &a, answer.status, answer.headers, answer.n);
}

static void
open_shared(const char *policy)
{
	s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		err(1, "mmap");
	fixture_open(&s->f, policy, 0);
	if (holder_file_make(&s->f.paths, (unsigned)-1) != 0)
		err(1, "the lock file");
}

static void
close_shared(void)
{
	fixture_close(&s->f);
	(void)munmap(s, sizeof(*s));
}

static pid_t
start(void (*run)(ration_t *, ration_upstream_t *))
{
	pid_t pid = fork();
	ration_upstream_t u;
	ration_t *r;

	if (pid == -1)
		err(1, "fork");
	if (pid != 0)
		return pid;
	r = fixture_handle(&s->f);
	if (ration_upstream(r, "x", &u) != 0)
		_exit(1);
	while (!atomic_load(&s->stop))
		run(r, &u);
	_exit(0);
}

static void
finish(pid_t *pids)
{
	int status;

	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
}

static void
reap(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

/* ---- killed anywhere ---- */

static void
check_windows(unsigned least)
{
	uint64_t most = 0, sum = 0;

	for (unsigned i = 0; i < WINDOWS; i++) {
		uint64_t n = atomic_load(&s->windows[i]);

		most = n > most ? n : most;
		sum += n;
	}
	print_message("%" PRIu64 " requests, at most %" PRIu64 " in a window, %" PRIu64
		      " refused\n",
	    sum, most, atomic_load(&s->refused));
	assert_int_equal(atomic_load(&s->violations), 0);
	assert_true(most <= LIMIT);
	assert_true(sum >= least);
}

static void
test_kills(void **state)
{
	uint64_t random = seed;
	pid_t pids[PROCESSES];

	(void)state;
	open_shared("limits: {api: 1/s}\n");
	for (unsigned i = 0; i < PROCESSES; i++)
		pids[i] = start(ask_on);
	for (unsigned i = 0; i < 1500; i++) {
		nap(1000);
		tick(1 + test_random(&random) % 20);
		if (i % 15 == 14) {
			unsigned k = (unsigned)(test_random(&random) % PROCESSES);

			reap(pids[k]);
			pids[k] = start(ask_on);
		}
	}
	finish(pids);
	check_windows(LIMIT);
	close_shared();
}

/* ---- one probe ---- */

static void
probe_on(ration_t *r, ration_upstream_t *u)
{
	ration_attempt_t a = { .size = sizeof(a) };
	bool yes = true;

	if (ration_upstream_begin(r, u, 1, &a) != RATION_ADMITTED) {
		nap(300);
		return;
	}
	if (a.breaker != RATION_HALF_OPEN) {
		(void)ration_upstream_end(r, u, &a, atomic_load(&s->fail) ? 500 : 200, NULL, 0);
		nap(300);
		return;
	}
	if (atomic_fetch_add(&s->probing, 1) != 0)
		atomic_fetch_add(&s->violations, 1);
	atomic_fetch_add(&s->probes, 1);
	if (atomic_compare_exchange_strong(&s->kill_wanted, &yes, false)) {
		atomic_store(&s->victim, (int)getpid());
		for (;;)
			(void)pause();
	}
	nap(2000);
	atomic_fetch_sub(&s->probing, 1);
	(void)ration_upstream_end(r, u, &a, 200, NULL, 0);
}

static unsigned
breaker(const ration_upstream_t *u)
{
	return BREAKER_STATE(atomic_load(&side_upstream(s->f.seg.side, u->place)[U_BREAKER]));
}

/* Time goes on until the breaker is in this state.  ms that it took. */
static uint64_t
until(const ration_upstream_t *u, unsigned want, uint64_t most_ms)
{
	uint64_t ms = 0;

	for (; breaker(u) != want && ms < most_ms; ms += 10) {
		nap(500);
		tick(10);
	}
	return ms;
}

static void
test_prober_dies(void **state)
{
	pid_t pids[PROCESSES];
	ration_upstream_t u;

	(void)state;
	open_shared("upstreams: {x: {limit: 1000000/s, breaker: {failures: 3, open: 60s}}}\n");
	assert_int_equal(ration_upstream(s->f.r, "x", &u), 0);
	for (unsigned i = 0; i < PROCESSES; i++)
		pids[i] = start(probe_on);
	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t took;
		pid_t dead;

		atomic_store(&s->fail, true);
		assert_true(until(&u, RATION_OPEN, 60000) < 60000);
		atomic_store(&s->fail, false);
		atomic_store(&s->kill_wanted, true);
		tick(60100);
		for (unsigned i = 0; atomic_load(&s->victim) == 0 && i < 20000; i++)
			nap(500);
		dead = (pid_t)atomic_exchange(&s->victim, 0);
		assert_true(dead > 0);
		/* As long as he lives the probe is his: ten seconds. */
		assert_true(until(&u, RATION_CLOSED, 10000) >= 10000);
		assert_int_equal(breaker(&u), RATION_HALF_OPEN);
		atomic_fetch_sub(&s->probing, 1);
		reap(dead);
		for (unsigned i = 0; i < PROCESSES; i++)
			if (pids[i] == dead)
				pids[i] = start(probe_on);
		/* The breaker would wait for one that hangs for 60 s. */
		took = until(&u, RATION_CLOSED, 30000);
		assert_true(took < 5000);
	}
	finish(pids);
	assert_int_equal(atomic_load(&s->violations), 0);
	assert_true(atomic_load(&s->probes) >= 2 * ROUNDS);
	close_shared();
}

/* ---- threads ---- */

static void *
thread(void *arg)
{
	ration_upstream_t *u = arg;

	while (!atomic_load(&s->stop))
		ask_on(s->f.r, u);
	return NULL;
}

static void
test_threads(void **state)
{
	pthread_t threads[THREADS];
	ration_upstream_t u;

	(void)state;
	open_shared(
	    "upstreams: {x: {limit: [1000/s, 100000/min], breaker: {failures: 1, open: 100ms}}}\n");
	assert_int_equal(ration_upstream(s->f.r, "x", &u), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, thread, &u), 0);
	for (unsigned i = 0; i < 500; i++) {
		nap(1000);
		tick(20);
	}
	atomic_store(&s->stop, true);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	check_windows(LIMIT);
	close_shared();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kills),
		cmocka_unit_test(test_prober_dies),
		cmocka_unit_test(test_threads),
	};

	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
