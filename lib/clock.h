/*
 * clock.h - shared time: CLOCK_BOOTTIME of the initial time namespace plus the
 * test clock's advance, in ns.
 *
 * A call reads the coarse monotonic clock (3 ns) and adds this process's own
 * offset to BOOTTIME.  The offset goes stale in a suspend (monotonic stops,
 * BOOTTIME does not): whenever the coarse clock has moved since the last look
 * the coarse real-time clock is compared too, which moves with BOOTTIME; a
 * difference means a suspend or a clock step, and the precise clock is read.
 * The coarse clock stands still for 4 ms at a time, so that costs one compare.
 */
#ifndef RATION_CLOCK_H
#define RATION_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "policy.h"

struct clock {
	_Atomic int64_t offset_ns;         /* BOOTTIME (initial namespace) - coarse monotonic */
	_Atomic int64_t real_ns;           /* real time - BOOTTIME (initial namespace) */
	_Atomic uint64_t seen_ns;          /* coarse monotonic at the last look */
	_Atomic int64_t namespace_ns;      /* this namespace's BOOTTIME - the initial one's */
	_Atomic int64_t namespace_mono_ns; /* the same of MONOTONIC */
	_Atomic uint32_t steps;            /* suspends and clock steps noticed */
	/* Tests own the time: when set (clock_fake()), both readings come from it. */
	uint64_t (*fake)(void *arg);
	void *fake_arg;
	uint64_t fake_lag_ns; /* by which the coarse one is late */
};

void clock_init(struct clock *c);
/* Both readings from fake(arg) from now on. */
void clock_fake(struct clock *c, uint64_t (*fake)(void *arg), void *arg);
/* Read the time namespace again; in a forked child. */
void clock_forked(struct clock *c);
/* Shared time. */
uint64_t clock_precise(struct clock *c, const struct policy_head *p);
/*
 * CLOCK_MONOTONIC of the initial time namespace, for those who wait: it goes on evenly whatever
 * happens to the test clock, and timers run on it.  Plus namespace_mono_ns it is the caller's.
 */
uint64_t clock_monotonic(struct clock *c);
/* Unix time, ns, of a shared time. */
int64_t clock_unix(const struct policy_head *p, uint64_t shared_ns);

/*
 * The coarse clock has moved since the last look: was it a suspend or a step?  Shared time; a
 * test's clock, which always moves.
 */
uint64_t clock_moved(struct clock *c, const struct policy_head *p, int64_t mono_ns);

/* Shared time, up to LAG_NS behind.  Inline: it is most of what a short call does. */
static inline uint64_t
clock_coarse(struct clock *c, const struct policy_head *p)
{
	struct timespec t;
	int64_t mono;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t); /* cannot fail */
	mono = (int64_t)t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
	if (__builtin_expect(
		(uint64_t)mono != atomic_load_explicit(&c->seen_ns, memory_order_relaxed), 0))
		return clock_moved(c, p, mono);
	return (uint64_t)(mono + atomic_load_explicit(&c->offset_ns, memory_order_relaxed) +
	    atomic_load_explicit(&p->test_offset_ns, memory_order_relaxed));
}

#endif
