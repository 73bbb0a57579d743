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

/* "NAME seconds nanoseconds" in text; 0 without it. */
static int64_t
offset_of(const char *text, const char *name)
{
	char *p = strstr(text, name);
	long long s, ns;

	if (p == NULL)
		return 0;
	p += strlen(name);
	s = strtoll(p, &p, 10);
	ns = strtoll(p, NULL, 10);
	return (int64_t)(s * 1000000000LL + ns);
}

/*
 * This time namespace's clocks minus the initial one's: from /proc/self/timens_offsets; 0
 * without one.  Only open, read, close: it is also called in a forked child.
 */
static void
namespace_offsets(struct clock *c)
{
	char text[256] = "";
	ssize_t n;
	int fd = open("/proc/self/timens_offsets", O_RDONLY | O_CLOEXEC);

	if (fd != -1) {
		n = read(fd, text, sizeof(text) - 1);
		text[n > 0 ? n : 0] = '\0';
		(void)close(fd);
	}
	atomic_store_explicit(&c->namespace_ns, offset_of(text, "boottime"), memory_order_relaxed);
	atomic_store_explicit(
	    &c->namespace_mono_ns, offset_of(text, "monotonic"), memory_order_relaxed);
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
	namespace_offsets(c);
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

uint64_t
clock_monotonic(struct clock *c)
{
	int64_t ns;

	if (c->fake != NULL)
		return c->fake(c->fake_arg);
	ns = read_ns(CLOCK_MONOTONIC) -
	    atomic_load_explicit(&c->namespace_mono_ns, memory_order_relaxed);
	return ns > 0 ? (uint64_t)ns : 0;
}

int64_t
clock_unix(const struct policy_head *p, uint64_t shared_ns)
{
	return (int64_t)shared_ns + atomic_load_explicit(&p->real_offset_ns, memory_order_relaxed);
}
