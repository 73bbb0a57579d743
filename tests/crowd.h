/*
 * crowd.h - processes over one instance, and the ledger each of them keeps in shared
 * memory: what it was granted, and what the call it is in right now may have charged.
 * A process may be killed at any moment: the ledger is written before and after each call.
 * A child reports by its exit status; only the parent asserts.
 */
#ifndef TESTS_CROWD_H
#define TESTS_CROWD_H

#include <stdatomic.h>
#include <sys/types.h>

#include "fixture.h"

#define CROWD_MAX 8u
#define CROWD_KEYS 8u /* things that a ledger tells apart */

struct ledger {
	_Alignas(64) _Atomic uint64_t acked[CROWD_KEYS];
	_Atomic uint64_t pending[CROWD_KEYS];   /* may be charged already */
	_Atomic uint64_t refunding[CROWD_KEYS]; /* may be given back already */
	_Atomic uint64_t calls;
	_Atomic uint64_t busy; /* calls that gave up */
};

struct crowd {
	struct fixture f;
	_Atomic uint32_t stop;
	uint64_t seed;
	uint64_t clock_zero;  /* BOOTTIME at which the fixture's time began */
	uint64_t clock_speed; /* 0: real time */
	unsigned n;
	pid_t pids[CROWD_MAX];
	unsigned lives[CROWD_MAX];
	int (*work)(struct crowd *c, unsigned who, ration_t *r, uint64_t *random);
	struct ledger ledgers[CROWD_MAX];
};

/*
 * In shared memory.  speed: fixture time runs that much faster than real time, both
 * clocks of a handle alike; 0: real time with the real, lagging coarse clock.
 */
struct crowd *crowd_new(const char *yaml, uint64_t keys, uint64_t speed, uint64_t seed);
void crowd_free(struct crowd *c);
/* A handle with the crowd's clock; the crowd's own is c->f.r. */
ration_t *crowd_handle(struct crowd *c);
/* Shared time. */
uint64_t crowd_now(struct crowd *c);
/* Start process `who`; it runs c->work with a handle of its own. */
void crowd_start(struct crowd *c, unsigned who);
/* Tell all to end and wait.  Returns how many did not exit with 0. */
unsigned crowd_finish(struct crowd *c);
/* One whole round of rationd's housekeeping, at now + later_ns. */
void crowd_sweep(struct crowd *c, uint64_t later_ns);
uint64_t crowd_calls(const struct crowd *c);

/* Before and after a call that may charge `units` of key k. */
void ledger_before(struct ledger *l, unsigned k, uint64_t units);
void ledger_after(struct ledger *l, unsigned k, uint64_t units, int verdict);

#endif
