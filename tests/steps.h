/*
 * steps.h - callers that are stopped at any atomic step, and a world to stop them in.
 *
 * A task is a coroutine: one thread, nothing left to chance.  Before each access to a
 * shared word it counts down and goes back to the test at zero, which may do
 * whatever it likes before it resumes the task, or never does: then it was killed.
 */
#ifndef TESTS_STEPS_H
#define TESTS_STEPS_H

#include <ucontext.h>

#include "invariants.h"

/* ---- who acts ---- */

struct actor {
	ration_t *r;
	uint64_t read_ns; /* its last reading of the clock */
};

enum what {
	DO_ACQUIRE,
	DO_ALL,
	DO_KEY,
	DO_REFUND,
	DO_SWEEP,
	DO_RESET,
	DO_PEEK,
	DO_BOOK,
	DO_CANCEL,
	DO_LEASE,
	DO_LEASE_ALL,
	DO_RELEASE,
	DO_RENEW
};

struct task {
	enum what what;
	struct actor *who;
	const char *key;
	uint64_t cost;
	int verdict;
	uint64_t decided_ns; /* the reading that its charge is dated by */
	ration_decision_t d;
	ration_key_t handle;
	ration_lease_t lease;
	uint64_t ttl_ms;
	struct sweep sweep;
	ration_booking_t booking;
	unsigned flags; /* of a booking */
	/* the coroutine */
	ucontext_t ctx;
	char *stack;
	long left;
	long steps; /* made so far */
	bool done;
};

void task_start(struct task *t, enum what what, struct actor *who, const char *key, uint64_t cost);
/* Go on for n steps, -1: to the end.  True: it came to its end. */
bool task_run(struct task *t, long n);

/* ---- where ---- */

#define VERSIONS_MAX 4
#define KEYS 3 /* "a", "b", "c": ledgers by the key's first letter */

struct world {
	struct fixture f;
	struct actor who[4];
	struct ration
	    handle[4];     /* theirs as they were: what they have learnt is part of the state */
	unsigned versions; /* policies to go through */
	void *counters;    /* as they were at world_save() */
	void *image[VERSIONS_MAX + 1];
	size_t image_bytes[VERSIONS_MAX + 1];
	uint64_t policy_word, saved_now;
	struct history acked[KEYS], saved[KEYS];
	uint64_t in_flight[KEYS]; /* units of killed tasks */
};

extern struct world wd; /* the one there is */

/*
 * Policies to go through, in order; the last is NULL.  The first is in force.  The hash has a
 * random key: with shared the keys "a" and "b" are in one list, without in two.
 */
void world_open(uint64_t slots, const char *const *yaml, bool shared);
void world_close(void);
/* What world_restore() comes back to. */
void world_save(void);
void world_restore(void);
/* Publish the next policy. */
void world_next_policy(void);
void world_pass(uint64_t ns);
/* Whole rounds of the sweeper, 3 s apart. */
void world_sweep(unsigned rounds);

/* Not stopped anywhere.  Returns the verdict and keeps the ledger. */
int world_acquire(struct actor *who, const char *key, uint64_t cost);
/* A task that will never be resumed. */
void world_killed(struct task *t);
/* Admitted units of one at a time until refused, at most max. */
uint64_t world_drain(const char *key, uint64_t max);
struct history *world_ledger(const char *key);

#endif
