/*
 * wait.c - waiting for one's turn: blocking, or as a booking that an event loop comes back with.
 *
 * Both are the same step, again and again: look where we stand in the key's queue (queue.h),
 * ask if we may, else work out when to look again.  A step never blocks.  ration_wait() sleeps
 * between two of them on the queue's bell; ration_book() hands the time to the caller.
 *
 * Sleeping is never relied upon: whoever is woken for nothing, too early or too late, looks
 * again.  Who did so a few times within a millisecond sleeps for one, so a scribbled queue or
 * somebody who rings for fun costs no processor.  And a second at most before the next step: dead
 * holders of leases, for one, are only found by asking.
 */
#include "wait.h"

#include <string.h>
#include <time.h>

#define NO_DEADLINE UINT64_MAX
#define QUICK_STEPS 4u

static void
sleep_ns(uint64_t ns)
{
	const struct timespec t = { .tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000) };

	(void)nanosleep(&t, NULL);
}

/* Until at_ns, the deadline or the bell. */
static void
wait_sleep(struct waiter *w)
{
	uint64_t until = w->at_ns < w->deadline_ns ? w->at_ns : w->deadline_ns;
	uint64_t now = clock_monotonic(&w->r->clock);
	int64_t mine = atomic_load_explicit(&w->r->clock.namespace_mono_ns, memory_order_relaxed);

	if (until <= now)
		return;
	if (w->r->clock.fake != NULL)
		sleep_ns(WAIT_MS); /* whose clock it is moves it meanwhile */
	else if (w->b->queue != 0)
		queue_sleep(&w->q, w->b->ticket, w->bell, until + (uint64_t)mine);
	else
		sleep_ns(until - now < WAIT_NAP_NS ? until - now : WAIT_NAP_NS);
}

static int
wait_on(struct waiter *w)
{
	uint64_t last = 0;
	unsigned quick = 0;

	for (;;) {
		int v = wait_step(w);

		if (v != WAIT_ON)
			return wait_over(w, v);
		if (clock_monotonic(&w->r->clock) >= w->deadline_ns)
			return wait_over(w, wait_deny(w));
		wait_sleep(w);
		quick = w->now_ns - last < WAIT_MS ? quick + 1 : 0;
		if (quick >= QUICK_STEPS)
			sleep_ns(WAIT_MS);
		last = w->now_ns;
	}
}

/* ---- public ---- */

static int
waiter_init(struct waiter *w, ration_t *r, const char *limit, const void *key, size_t len,
    uint64_t cost, unsigned flags, ration_decision_t *d)
{
	if (r == NULL || limit == NULL || key == NULL || (flags & ~RATION_SPREAD) != 0 ||
	    (d != NULL && d->size != sizeof(*d)))
		return RATION_EINVAL;
	if (len == 0 || len > RATION_KEY_MAX)
		return RATION_EKEY;
	if (cost > RATION_COST_MAX)
		return RATION_ECOST;
	w->r = r;
	w->limit = limit;
	w->key = key;
	w->len = len;
	w->cost = cost;
	w->flags = flags;
	w->state = PLACE_WAITS;
	w->deadline_ns = NO_DEADLINE;
	w->once = false;
	w->lease = NULL;
	w->ttl_ms = 0;
	w->d = d;
	w->has_queue = false;
	w->now_ns = w->at_ns = 0;
	return 0;
}

static int
waiter_deadline(struct waiter *w, const struct timespec *t)
{
	int64_t ns;

	if (t == NULL)
		return 0;
	if (t->tv_nsec < 0 || t->tv_nsec >= 1000000000)
		return RATION_EINVAL;
	if (t->tv_sec > INT64_MAX / 2000000000) /* the end of time */
		return 0;
	ns = t->tv_sec < 0 ? 0 : (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
	ns -= atomic_load_explicit(&w->r->clock.namespace_mono_ns, memory_order_relaxed);
	w->deadline_ns = ns > 0 ? (uint64_t)ns : 0;
	w->once = clock_monotonic(&w->r->clock) >= w->deadline_ns;
	return 0;
}

int
ration_wait(ration_t *r, const char *limit, const void *key, size_t len, uint64_t cost,
    unsigned flags, const struct timespec *deadline, ration_decision_t *d)
{
	ration_booking_t b = { .size = sizeof(b) };
	struct waiter w;
	int e = waiter_init(&w, r, limit, key, len, cost, flags, d);

	if (e == 0)
		e = waiter_deadline(&w, deadline);
	if (e != 0)
		return e;
	w.b = &b;
	return wait_on(&w);
}

int
ration_lease_wait(ration_t *r, const char *limit, const void *key, size_t len, uint64_t ttl_ms,
    unsigned flags, const struct timespec *deadline, ration_lease_t *lease, ration_decision_t *d)
{
	ration_booking_t b = { .size = sizeof(b) };
	struct waiter w;
	int e = lease == NULL ? RATION_EINVAL : waiter_init(&w, r, limit, key, len, 1, flags, d);

	if (e == 0)
		e = waiter_deadline(&w, deadline);
	if (e != 0)
		return e;
	if (ttl_ms > RATION_TTL_MAX)
		return RATION_EINVAL;
	memset(lease, 0, sizeof(*lease));
	w.b = &b;
	w.lease = lease;
	w.ttl_ms = ttl_ms;
	e = wait_on(&w);
	if (e == RATION_ADMITTED) /* without a segment too: nothing to release */
		lease->size = sizeof(*lease);
	return e;
}

int
ration_book(ration_t *r, const char *limit, const void *key, size_t len, uint64_t cost,
    unsigned flags, ration_booking_t *b, ration_decision_t *d)
{
	struct waiter w;
	int e = b == NULL || b->size != sizeof(*b)
	    ? RATION_EINVAL
	    : waiter_init(&w, r, limit, key, len, cost, flags, d);
	int v;

	if (e != 0)
		return e;
	w.b = b;
	w.state = PLACE_BOOKED;
	v = wait_step(&w);
	if (v != WAIT_ON)
		return wait_over(&w, v);
	b->at_ns = w.at_ns +
	    (uint64_t)atomic_load_explicit(&r->clock.namespace_mono_ns, memory_order_relaxed);
	return RATION_DENIED;
}

int
ration_cancel(ration_t *r, ration_booking_t *b)
{
	const struct segment *seg;
	struct queue q;

	if (r == NULL || b == NULL || b->size != sizeof(*b))
		return RATION_EINVAL;
	seg = handle_current(r);
	if (b->queue != 0 && seg != NULL && b->segment == seg->head->id &&
	    queue_number(seg, b->queue - 1, &q))
		queue_leave(&q, b->ticket, clock_monotonic(&r->clock) / WAIT_MS);
	b->queue = 0;
	b->ticket = 0;
	b->at_ns = 0;
	return 0;
}
