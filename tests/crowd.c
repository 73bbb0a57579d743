#include "crowd.h"

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t
boot_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t
fast_now(void *arg)
{
	const struct crowd *c = arg;

	return FIXTURE_START + (boot_ns() - c->clock_zero) * c->clock_speed;
}

uint64_t
crowd_now(struct crowd *c)
{
	return c->clock_speed != 0 ? fast_now(c) : boot_ns();
}

static void
set_clock(struct crowd *c, ration_t *r)
{
	r->clock.fake = c->clock_speed != 0 ? fast_now : NULL;
	r->clock.fake_arg = c;
}

ration_t *
crowd_handle(struct crowd *c)
{
	ration_t *r = fixture_handle(&c->f);

	set_clock(c, r);
	return r;
}

struct crowd *
crowd_new(const char *yaml, uint64_t keys, uint64_t speed, uint64_t seed)
{
	struct crowd *c =
	    mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (c == MAP_FAILED)
		err(1, "mmap");
	c->seed = seed;
	c->clock_speed = speed;
	c->clock_zero = boot_ns();
	fixture_open(&c->f, yaml, keys);
	if (speed == 0) /* real time is after the fixture's start or before it */
		atomic_store(&c->f.seg.policy->real_offset_ns,
		    FIXTURE_UNIX * 1000000000 - (int64_t)c->clock_zero);
	set_clock(c, c->f.r);
	return c;
}

void
crowd_free(struct crowd *c)
{
	fixture_close(&c->f);
	(void)munmap(c, sizeof(*c));
}

void
crowd_start(struct crowd *c, unsigned who)
{
	unsigned life = c->lives[who]++;
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == -1)
		err(1, "fork");
	if (pid == 0) {
		uint64_t random = c->seed ^ (uint64_t)who << 56 ^ (uint64_t)life << 32;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(c->work(c, who, crowd_handle(c), &random));
	}
	c->pids[who] = pid;
	if (who >= c->n)
		c->n = who + 1;
}

unsigned
crowd_finish(struct crowd *c)
{
	unsigned bad = 0;

	atomic_store(&c->stop, 1);
	for (unsigned i = 0; i < c->n; i++) {
		int status = -1;

		if (c->pids[i] == 0)
			continue;
		if (waitpid(c->pids[i], &status, 0) != c->pids[i] || status != 0) {
			warnx("process %u: status %#x", i, (unsigned)status);
			bad++;
		}
		c->pids[i] = 0;
	}
	atomic_store(&c->stop, 0);
	return bad;
}

void
crowd_sweep(struct crowd *c, uint64_t later_ns)
{
	static struct sweep s;
	uint64_t now = crowd_now(c) + later_ns;

	s.next = 0;
	while (!table_sweep(&c->f.seg, &s, 1024, now, clock_unix(c->f.seg.policy, now), 0))
		;
}

uint64_t
crowd_calls(const struct crowd *c)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < c->n; i++)
		sum += atomic_load(&c->ledgers[i].calls);
	return sum;
}

void
ledger_before(struct ledger *l, unsigned k, uint64_t units)
{
	atomic_store(&l->pending[k], units);
}

/* Killed between the two stores: counted twice above, which is still true. */
void
ledger_after(struct ledger *l, unsigned k, uint64_t units, int verdict)
{
	if (verdict == RATION_ADMITTED)
		(void)atomic_fetch_add(&l->acked[k], units);
	atomic_store(&l->pending[k], 0);
}
