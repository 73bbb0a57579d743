#include "traffic.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ration.h"

#define PROCESSES_MAX 8
#define CALLS_MORE 10 /* of each process, before nothing more is taken to come */

struct shared {
	_Atomic uint64_t phase; /* odd: being changed */
	_Atomic uint64_t units;
	_Atomic uint64_t admitted;
	_Atomic uint64_t calls[PROCESSES_MAX];
	_Atomic bool stop;
	_Atomic unsigned faults;
	char fault[256];
};

static struct traffic {
	struct shared *shared;
	unsigned n;
	pid_t pid[PROCESSES_MAX];
} traffic;

/* ---- in the processes ---- */

static void
fault(struct shared *sh, const char *text, uint64_t found, uint64_t expected)
{
	if (atomic_fetch_add(&sh->faults, 1) == 0)
		(void)snprintf(sh->fault, sizeof(sh->fault), "%s: %llu, expected %llu", text,
		    (unsigned long long)found, (unsigned long long)expected);
}

static _Noreturn void
take(struct shared *sh, unsigned self, const char *dir, const char *limit, const char *key)
{
	ration_t *r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ration_open_dir(dir, NULL, 0, &r) != 0)
		_exit(1);
	while (!atomic_load(&sh->stop)) {
		ration_decision_t d = RATION_DECISION_INIT;
		uint64_t phase = atomic_load(&sh->phase), units = atomic_load(&sh->units);
		int rc = ration_acquire(r, limit, key, 1, &d);

		if (rc != RATION_ADMITTED && rc != RATION_DENIED)
			fault(sh, "a call failed", (uint64_t)-rc, 1);
		if (rc == RATION_ADMITTED)
			atomic_fetch_add(&sh->admitted, 1);
		if (phase % 2 == 0 && atomic_load(&sh->phase) == phase && d.limit_units != units)
			fault(sh, "decided by the wrong limit", d.limit_units, units);
		atomic_fetch_add(&sh->calls[self], 1);
		(void)poll(NULL, 0, 1);
	}
	ration_close(r);
	_exit(0);
}

/* ---- in the test ---- */

struct traffic *
traffic_start(
    const struct server *s, const char *limit, const char *key, unsigned processes, uint64_t units)
{
	struct traffic *t = &traffic;

	assert_true(processes <= PROCESSES_MAX);
	memset(t, 0, sizeof(*t));
	t->shared = mmap(
	    NULL, sizeof(*t->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(t->shared != MAP_FAILED);
	atomic_store(&t->shared->units, units);
	for (; t->n < processes; t->n++) {
		t->pid[t->n] = fork();
		assert_true(t->pid[t->n] >= 0);
		if (t->pid[t->n] == 0)
			take(t->shared, t->n, s->dir, limit, key);
	}
	return t;
}

void
traffic_changing(struct traffic *t)
{
	atomic_fetch_add(&t->shared->phase, 1);
}

void
traffic_changed(struct traffic *t, uint64_t units)
{
	atomic_store(&t->shared->units, units);
	atomic_fetch_add(&t->shared->phase, 1);
}

static void
check(const struct traffic *t)
{
	if (atomic_load(&t->shared->faults) != 0)
		fail_msg(
		    "%u faults, the first: %s", atomic_load(&t->shared->faults), t->shared->fault);
}

void
traffic_settle(struct traffic *t, uint64_t admitted)
{
	int64_t end = mono_ms() + WAIT_MS;
	uint64_t calls[PROCESSES_MAX], is;

	while ((is = atomic_load(&t->shared->admitted)) < admitted) {
		check(t);
		if (mono_ms() > end)
			fail_msg("%llu admitted, expected %llu", (unsigned long long)is,
			    (unsigned long long)admitted);
		(void)poll(NULL, 0, 2);
	}
	for (unsigned i = 0; i < t->n; i++)
		calls[i] = atomic_load(&t->shared->calls[i]);
	for (unsigned i = 0; i < t->n; i++)
		while (atomic_load(&t->shared->calls[i]) < calls[i] + CALLS_MORE) {
			if (mono_ms() > end)
				fail_msg("process %u does not go on", i);
			(void)poll(NULL, 0, 2);
		}
	check(t);
	assert_int_equal(atomic_load(&t->shared->admitted), admitted);
}

void
traffic_stop(struct traffic *t)
{
	int status;

	atomic_store(&t->shared->stop, true);
	for (unsigned i = 0; i < t->n; i++) {
		assert_int_equal(waitpid(t->pid[i], &status, 0), t->pid[i]);
		t->pid[i] = 0;
		assert_int_equal(status, 0);
	}
	check(t);
	(void)munmap(t->shared, sizeof(*t->shared));
	memset(t, 0, sizeof(*t));
}

void
traffic_kill(void)
{
	for (unsigned i = 0; i < traffic.n; i++)
		if (traffic.pid[i] > 0) {
			(void)kill(traffic.pid[i], SIGKILL);
			(void)waitpid(traffic.pid[i], NULL, 0);
		}
	if (traffic.shared != NULL)
		(void)munmap(traffic.shared, sizeof(*traffic.shared));
	memset(&traffic, 0, sizeof(traffic));
}
