/*
 * wait.h - one who waits, between two steps.
 */
#ifndef RATION_WAIT_H
#define RATION_WAIT_H

#include "call.h"
#include "queue.h"

#define WAIT_MS UINT64_C(1000000)
#define WAIT_NAP_NS (QUEUE_NAP_MS * WAIT_MS)
#define WAIT_ON 2 /* of a step: not a verdict; look again at at_ns */

struct waiter {
	ration_t *r;
	const char *limit;
	const void *key;
	size_t len;
	uint64_t cost;
	unsigned flags;
	enum queue_state state; /* PLACE_WAITS: we sleep; PLACE_BOOKED: others do */
	uint64_t deadline_ns;   /* as all times here CLOCK_MONOTONIC of the initial namespace */
	bool once;              /* the deadline is past: one try, as a plain call */
	ration_lease_t *lease;  /* NULL: units are waited for */
	uint64_t ttl_ms;
	ration_booking_t *b;
	ration_decision_t *d; /* NULL: not wanted */
	struct call c;
	/* by the last step */
	struct queue q;
	bool has_queue;
	uint32_t bell;
	uint64_t now_ns;
	uint64_t at_ns;
	uint64_t pace_old, pace_mine; /* the pace before and since we took it; 0: not taken */
	unsigned before;              /* how many wait before us */
};

/* One look at the queue, one call at most.  A verdict, an error, or WAIT_ON.  Never blocks. */
int wait_step(struct waiter *w);
/* Denied without having asked, with the figures of now: RATION_DENIED, or an error. */
int wait_deny(struct waiter *w);
/* The end of it, whatever it was: the place is given up, a denial counted.  Returns v. */
int wait_over(struct waiter *w, int v);

#endif
