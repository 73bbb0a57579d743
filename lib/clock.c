#include "clock.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "policy.h"

/*
 * Two coarse clocks are read one after the other: a timer tick between them
 * (4 ms; 10 ms at HZ=100) is no step.
 */
#define STEP_NS INT64_C(11000000)

static int64_t
read_ns(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t) != 0)
		return 0;
	return (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/*
 * This time namespace's BOOTTIME minus the initial one's: from
 * /proc/self/timens_offsets; 0 without one.  Only open, read, close: it is also
 * called in a forked child.
 */
static int64_t
namespace_offset(void)
{
	char text[256], *p;
	ssize_t n;
	long long s, ns;
	int fd = open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);

	if (fd == -1)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	(void)close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	p = strstr(text, "boottime");
	if (p == NULL)
		return 0;
	p += strlen("boottime");
	s = strtoll(p, &p, 10);
	ns = strtoll(p, NULL, 10);
	return (int64_t)(s * 1000000000LL + ns);
}

/*
 * BOOTTIME - MONOTONIC, both precise: the coarse clock plus this never runs ahead.
 *
 * Real time is compared with BOOTTIME by readings of its own, before: of a suspend in here, or
 * while another thread is in here, this offset knows or it does not, but the difference
 * is the same as before, so that clock_moved() finds out.
 */
static void
refresh(struct clock *c)
{
	int64_t ns = atomic_load_explicit(&c->namespace_ns, memory_order_relaxed);
	int64_t real = read_ns(CLOCK_REALTIME) - (read_ns(CLOCK_BOOTTIME) - ns);
	int64_t mono = read_ns(CLOCK_MONOTONIC);
	int64_t boot = read_ns(CLOCK_BOOTTIME);
	int64_t again = read_ns(CLOCK_MONOTONIC);

	/* A caller stopped between the readings would see an offset too large. */
	for (int i = 0; i < 10 && again - mono > 1000000; i++) {
		mono = again;
		boot = read_ns(CLOCK_BOOTTIME);
		again = read_ns(CLOCK_MONOTONIC);
	}
	atomic_store_explicit(&c->offset_ns, boot - again - ns, memory_order_relaxed);
	atomic_store_explicit(&c->real_ns, real, memory_order_relaxed);
}

void
clock_init(struct clock *c)
{
	memset(c, 0, sizeof(*c));
	clock_forked(c);
}

void
clock_forked(struct clock *c)
{
	atomic_store_explicit(&c->namespace_ns, namespace_offset(), memory_order_relaxed);
	refresh(c);
}

static uint64_t
shifted(int64_t ns, const struct policy_head *p)
{
	if (p != NULL)
		ns += atomic_load_explicit(&p->test_offset_ns, memory_order_relaxed);
	return ns > 0 ? (uint64_t)ns : 0;
}

void
clock_fake(struct clock *c, uint64_t (*fake)(void *arg), void *arg)
{
	c->fake = fake;
	c->fake_arg = arg;
	/* Never equal to a reading: every call comes to clock_moved(). */
	atomic_store_explicit(&c->seen_ns, UINT64_MAX, memory_order_relaxed);
}

uint64_t __attribute__((noinline))
clock_moved(struct clock *c, const struct policy_head *p, int64_t mono)
{
	int64_t change;

	if (c->fake != NULL)
		return shifted((int64_t)(c->fake(c->fake_arg) - c->fake_lag_ns), p);
	change = read_ns(CLOCK_REALTIME_COARSE) - mono -
	    atomic_load_explicit(&c->offset_ns, memory_order_relaxed) -
	    atomic_load_explicit(&c->real_ns, memory_order_relaxed);
	if (change > STEP_NS || change < -STEP_NS) {
		atomic_fetch_add_explicit(&c->steps, 1, memory_order_relaxed);
		refresh(c);
		mono = read_ns(CLOCK_MONOTONIC_COARSE);
	} else {
		atomic_store_explicit(&c->seen_ns, (uint64_t)mono, memory_order_relaxed);
	}
	return shifted(mono + atomic_load_explicit(&c->offset_ns, memory_order_relaxed), p);
}

uint64_t
clock_precise(struct clock *c, const struct policy_head *p)
{
	if (c->fake != NULL)
		return shifted((int64_t)c->fake(c->fake_arg), p);
	return shifted(
	    read_ns(CLOCK_BOOTTIME) - atomic_load_explicit(&c->namespace_ns, memory_order_relaxed),
	    p);
}

int64_t
clock_unix(const struct policy_head *p, uint64_t shared_ns)
{
	return (int64_t)shared_ns + atomic_load_explicit(&p->real_offset_ns, memory_order_relaxed);
}
