/*
 * wait_step.c - one step of one who waits: where we stand in the queue, whether we may ask, what we
 * are told, and when to look again.  It reads the clock, and otherwise all time is in its hands.
 */
#include "wait.h"

#include <string.h>

#include "atomics.h"
#include "slot.h"

#define MS WAIT_MS
#define NAP_NS WAIT_NAP_NS
/* Bookings behind one another come so much apart, to find each other gone. */
#define BOOKED_STEP_NS MS

static uint64_t
to_ms(uint64_t ns)
{
	return (ns + MS - 1) / MS;
}

static uint64_t
now_ms(const struct waiter *w)
{
	return w->now_ns / MS;
}

static struct item *
item_of(struct waiter *w)
{
	return &w->c.items[0];
}

/* ---- asking ---- */

/* The answer, nothing charged. */
static int
peek(struct waiter *w)
{
	int v;

	w->c.charge = false;
	v = call_run(&w->c);
	w->c.charge = true;
	return v;
}

static int
ask(struct waiter *w)
{
	int v = call_run(&w->c);

	if (v == RATION_ADMITTED && w->lease != NULL)
		call_lease(&w->c, w->lease);
	return v;
}

/* Denied, but a lease may be released at any time. */
static bool
awaits_release(const struct waiter *w)
{
	return w->c.d->kind == RATION_CONCURRENT || w->c.d->reason == RATION_R_RELEASE;
}

/* After so long what was taken has come back: all of a bucket, too. */
static uint64_t
window_of(const struct rate_def *r)
{
	if (r->kind == RATION_SLIDING)
		return RING_WORDS * r->sub_ns;
	return r->kind == RATION_BUCKET ? rate_spread(r, r->units * 256) : r->window_ns;
}

/*
 * In how many ns it would fit, by all rates, as last looked at, after so many others have had as
 * much.  UINT64_MAX: never.
 */
static uint64_t
fits_in(struct waiter *w, unsigned others)
{
	struct item *it = item_of(w);
	uint64_t most = 0;

	call_use(&w->c, it);
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		const struct rate_def *r = &it->rules.rates[i];
		uint64_t need = it->cost * (others + 1), now = w->c.ctx.now_ns, at, more = 0;

		if (others > 0 && need > r->units && r->units != 0) {
			/* What is taken when it comes back, comes back as much later. */
			more = (need - 1) / r->units;
			need -= more * r->units;
			more *= window_of(r);
		}
		at = cell_fits(&w->c.ctx, i, r, &it->looks[i], need);
		if (at == UINT64_MAX)
			return at;
		at = (at > now ? at - now : 0) + more;
		most = at > most ? at : most;
	}
	return most;
}

/* After a denial: when it would fit, to the ns.  UINT64_MAX: never. */
static uint64_t
fits_at(struct waiter *w)
{
	const ration_decision_t *d = w->c.d;
	uint64_t in, s = 0, now = w->c.ctx.now_ns;

	if (awaits_release(w)) {
		/* Sooner, if one with a time to live ends. */
		s = item_of(w)->looks[0].next;
		return w->now_ns + (s > now && s - now < NAP_NS ? s - now : NAP_NS);
	}
	if (d->retry_at == RATION_NEVER)
		return UINT64_MAX;
	/* An override may end long after the last second that has its ns in 64 bits. */
	if (d->retry_at > INT64_MAX / INT64_C(1000000000))
		return UINT64_MAX;
	in = fits_in(w, 0);
	/* Where an override ends before that, only the second is known. */
	if (d->retry_at * INT64_C(1000000000) > w->c.ctx.unix_ns)
		s = (uint64_t)(d->retry_at * INT64_C(1000000000) - w->c.ctx.unix_ns);
	if (in > s || in + UINT64_C(1000000000) < s)
		in = s;
	return w->now_ns + in;
}

/* It would fit, but it is not our turn. */
static void
deny_fitting(struct waiter *w)
{
	call_after(&w->c, item_of(w), w->before + 1);
	decision_finish(w->c.d, RATION_DENIED, &w->c);
}

/* Denied without having asked, with the figures of now. */
int
wait_deny(struct waiter *w)
{
	int v = peek(w);

	if (v == RATION_ADMITTED) {
		deny_fitting(w);
		v = RATION_DENIED;
	}
	if (v == RATION_DENIED && w->once)
		call_denied(&w->c, item_of(w));
	return v;
}

/* ---- tickets ---- */

static void
forget(struct waiter *w)
{
	w->b->queue = 0;
	w->b->ticket = 0;
}

static void
leave(struct waiter *w)
{
	if (w->b->queue != 0 && w->has_queue && w->q.number == w->b->queue - 1)
		queue_leave(&w->q, w->b->ticket, now_ms(w));
	forget(w);
}

/* The key's queue; one is claimed where we need it.  0 or RATION_EQUEUE. */
static int
need_queue(struct waiter *w)
{
	const struct found *at = &item_of(w)->at;

	if (!w->has_queue)
		w->has_queue = queue_claim(w->c.seg, at->slot, at->birth, now_ms(w), &w->q);
	return w->has_queue ? 0 : RATION_EQUEUE;
}

/* To the end of the queue.  0 or RATION_EQUEUE. */
static int
take_ticket(struct waiter *w, uint64_t at_ns)
{
	if (need_queue(w) != 0 ||
	    !queue_take(&w->q, w->state, to_ms(at_ns), now_ms(w), &w->b->ticket))
		return RATION_EQUEUE;
	w->b->queue = w->q.number + 1;
	w->b->slot = (uint32_t)item_of(w)->at.slot;
	w->b->birth = (uint32_t)item_of(w)->at.birth;
	w->b->segment = w->c.seg->head->id;
	return 0;
}

/* Where the key is now, and its queue, if it has one.  A ticket of another is void. */
static void
locate(struct waiter *w)
{
	struct item *it = item_of(w);
	const struct segment *seg = w->c.seg;
	struct queue old;

	w->has_queue = policy_current(seg->policy, &w->c.policy) &&
	    table_find_named(seg, &w->c.policy, &it->id, &it->at) &&
	    queue_find(seg, it->at.slot, it->at.birth, &w->q);
	if (w->b->queue == 0 ||
	    (w->has_queue && w->q.number == w->b->queue - 1 && w->b->segment == seg->head->id))
		return;
	if (w->b->segment == seg->head->id && queue_number(seg, w->b->queue - 1, &old))
		queue_leave(&old, w->b->ticket, now_ms(w));
	forget(w);
}

/* ---- pace ---- */

/* How long so many 1/256 units take, spread.  0: this limit has no pace. */
static uint64_t
gap_ns(const struct item *it, uint64_t units256)
{
	uint64_t gap = 0;

	if (it->rules.mode != MODE_ENFORCE)
		return 0;
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		uint64_t ns = rate_spread(&it->rules.rates[i], units256);

		gap = ns > gap ? ns : gap;
	}
	return gap;
}

/* No call takes longer than one that takes all: what does is a scribble, or of another limit. */
static uint64_t
gap_most(const struct item *it)
{
	uint64_t gap = 0;

	for (unsigned i = 0; i < it->rules.nrates; i++) {
		const struct rate_def *r = &it->rules.rates[i];
		uint64_t ns = rate_spread(r, r->units > RATION_COST_MAX ? 256 : r->units * 256);

		gap = ns > gap ? ns : gap;
	}
	return gap + gap / 4;
}

/* When the next may go; the past: now.  Of a queue that we have. */
static uint64_t
pace_next(struct waiter *w)
{
	uint64_t last, units, gap;

	if (!pace_last(&w->q, w->now_ns, &last, &units, &w->pace_old))
		return 0;
	gap = gap_ns(item_of(w), units);
	return gap > gap_most(item_of(w)) ? 0 : last + gap;
}

/*
 * RATION_SPREAD, before asking: is it time?  Then the pace is taken.  0: ask; WAIT_ON: at at_ns;
 * or what the peek said.
 */
static int
take_pace(struct waiter *w)
{
	struct item *it = item_of(w);
	int v = peek(w), e;

	if (v != RATION_ADMITTED)
		return v;
	if (gap_ns(it, it->cost * 256) == 0 || (w->c.d->flags & RATION_F_EXEMPT) != 0 ||
	    !call_slot(&w->c, it))
		return 0;
	e = need_queue(w);
	for (unsigned tries = 0; e == 0 && tries < 8; tries++) {
		w->at_ns = pace_next(w);
		if (w->at_ns > w->now_ns)
			return WAIT_ON;
		if (pace_set(&w->q, w->pace_old, w->now_ns, it->cost * 256, &w->pace_mine)) {
			pace_keep(&w->q, to_ms(w->now_ns + gap_ns(it, it->cost * 256)));
			return 0;
		}
	}
	w->at_ns = w->now_ns + MS;
	return e != 0 ? e : WAIT_ON;
}

/* Admitted: the next one later than by the window's length alone, so that the gaps stay even. */
static void
stretch_pace(struct waiter *w)
{
	struct item *it = item_of(w);
	uint64_t gap = gap_ns(it, it->cost * 256), most = gap, units256, ignored;

	call_use(&w->c, it);
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		uint64_t ns =
		    cell_spread(&w->c.ctx, i, &it->rules.rates[i], &it->looks[i], it->cost);

		most = ns > most ? ns : most;
	}
	if (most > gap + gap / 5) /* others have used it: that need not be spread */
		most = gap + gap / 5;
	if (gap == 0 || most == gap)
		return;
	units256 = (uint64_t)((unsigned __int128)it->cost * 256 * most / gap);
	if (pace_set(&w->q, w->pace_mine, w->now_ns, units256, &ignored))
		pace_keep(&w->q, to_ms(w->now_ns + most));
}

/* ---- a step ---- */

/*
 * A booking that could go at at_ns, but for those before it: if each takes as much as we do,
 * when do we?
 */
static uint64_t
promise(struct waiter *w, uint64_t at_ns)
{
	struct item *it = item_of(w);
	unsigned n = queue_before(&w->q, w->b->ticket, now_ms(w));
	uint64_t gap = gap_ns(it, it->cost * 256), each = BOOKED_STEP_NS, in;

	in = n > 0 ? fits_in(w, n) : 0;
	if ((w->flags & RATION_SPREAD) != 0 && gap > each) {
		each = gap;
		in = 0;
		if (n > 0 && pace_next(w) + n * gap > w->now_ns)
			in = pace_next(w) + n * gap - w->now_ns;
	}
	if (n > 0 && at_ns < w->now_ns + BOOKED_STEP_NS)
		at_ns = w->now_ns + BOOKED_STEP_NS; /* they may be late */
	if (in != UINT64_MAX && w->now_ns + in > at_ns)
		at_ns = w->now_ns + in;
	return queue_promise(&w->q, w->b->ticket, now_ms(w), at_ns, each);
}

/*
 * We could go at at_ns.  Who sleeps is back by then or after a nap; a booking, when those before
 * it have gone.  The others know it.
 */
static int
wait_until(struct waiter *w, uint64_t at_ns)
{
	if (w->state == PLACE_WAITS && at_ns > w->now_ns + NAP_NS)
		at_ns = w->now_ns + NAP_NS;
	if (w->state == PLACE_BOOKED && w->b->queue != 0)
		at_ns = promise(w, at_ns);
	w->at_ns = at_ns;
	if (w->b->queue != 0)
		queue_expect(&w->q, w->b->ticket, w->state, to_ms(at_ns), now_ms(w));
	return WAIT_ON;
}

/* Asked, or known without asking, and denied. */
static int
denied(struct waiter *w)
{
	uint64_t at;
	int e;

	w->now_ns = clock_monotonic(&w->r->clock);
	at = fits_at(w);
	if (at == UINT64_MAX || w->once || (!awaits_release(w) && at > w->deadline_ns))
		return RATION_DENIED;
	if (item_of(w)->at.slot == NO_SLOT) /* nowhere to queue; an override's end, mostly */
		return wait_until(w, at);
	if (w->b->queue != 0)
		return wait_until(w, at);
	e = take_ticket(w, w->now_ns);
	if (e != 0)
		return e;
	/* A release before this rang for nobody. */
	return wait_until(w, awaits_release(w) ? w->now_ns : at);
}

/* It is time for nobody else: ask. */
static int
ask_now(struct waiter *w)
{
	bool paced = (w->flags & RATION_SPREAD) != 0 && w->lease == NULL;
	int v = 0, e;

	w->pace_mine = 0;
	if (paced) {
		v = take_pace(w);
		if (v == WAIT_ON) {
			uint64_t at = w->at_ns;

			if (w->once || at > w->deadline_ns)
				return wait_deny(w);
			if (w->b->queue == 0 && (e = take_ticket(w, w->now_ns)) != 0)
				return e;
			if (w->state == PLACE_BOOKED && (e = wait_deny(w)) != RATION_DENIED)
				return e;
			return wait_until(w, at);
		}
		if (v < 0)
			return v;
	}
	if (w->lease != NULL && w->has_queue && w->b->queue != 0)
		lease_waited(w->c.seg, item_of(w)->at.slot, item_of(w)->at.birth, w->c.ctx.now_ns);
	if (v == 0)
		v = ask(w);
	else
		v = RATION_DENIED; /* the peek has said so */
	if (v == RATION_ADMITTED && w->pace_mine != 0)
		stretch_pace(w);
	else if (w->pace_mine != 0)
		pace_undo(&w->q, w->pace_mine, w->pace_old);
	return v == RATION_DENIED ? denied(w) : v;
}

/* Others go before us. */
static int
sleep_behind(struct waiter *w, const struct queue_ahead *a)
{
	uint64_t at;
	int v;

	w->before = a->n;
	if (w->state == PLACE_WAITS) {
		w->at_ns = a->due_ms * MS;
		if (w->at_ns > w->now_ns + NAP_NS)
			w->at_ns = w->now_ns + NAP_NS;
		return WAIT_ON;
	}
	/* No bell reaches a booking: when will those before have gone, and there be units? */
	v = peek(w);
	if (v < 0)
		return v;
	at = v == RATION_DENIED ? fits_at(w) : w->now_ns;
	if (at == UINT64_MAX)
		return RATION_DENIED;
	if (v == RATION_ADMITTED)
		deny_fitting(w);
	return wait_until(w, at);
}

/* The end of the queue, if it is worth waiting. */
static int
queue_up(struct waiter *w)
{
	struct queue_ahead a;
	int v = peek(w), e;

	if (v < 0)
		return v;
	if (v == RATION_ADMITTED && w->c.d->nrates == 0)
		return ask(w); /* nothing is asked of him, nobody takes anything from others */
	if (v == RATION_DENIED) {
		uint64_t at = fits_at(w);

		if (at == UINT64_MAX || (!awaits_release(w) && at > w->deadline_ns))
			return RATION_DENIED;
	}
	e = take_ticket(w, w->now_ns);
	if (e != 0)
		return e;
	switch (queue_step(&w->q, w->b->ticket, now_ms(w), &a)) {
	case QUEUE_ASK:
		return ask_now(w);
	case QUEUE_SLEEP:
		return sleep_behind(w, &a);
	default:
		if (w->c.d->verdict == RATION_ADMITTED)
			deny_fitting(w);
		return wait_until(w, w->now_ns + MS);
	}
}

int
wait_step(struct waiter *w)
{
	struct queue_ahead a;
	struct item *it;
	int e;

	w->has_queue = false;
	e = call_begin(&w->c, w->r, true, w->d);
	if (e != 0)
		return e;
	it = call_claim(&w->c, w->limit, strlen(w->limit), NO_ID, w->key, w->len, w->cost);
	it->only = w->lease != NULL;
	it->want.ttl_ms = w->ttl_ms;
	w->c.units = w->lease == NULL;
	w->c.precise = w->ttl_ms != 0; /* as ration_lease() */
	w->c.queued = !w->once;
	w->before = 0;
	w->now_ns = clock_monotonic(&w->r->clock);
	locate(w);
	if (w->has_queue)
		w->bell = queue_bell(&w->q);
	if (w->b->queue != 0)
		switch (queue_step(&w->q, w->b->ticket, now_ms(w), &a)) {
		case QUEUE_ASK:
			return ask_now(w);
		case QUEUE_SLEEP:
			return sleep_behind(w, &a);
		default:
			forget(w);
		}
	if (!w->once && w->has_queue && queue_running(&w->q, now_ms(w)) > 0)
		return queue_up(w);
	return ask_now(w);
}

int
wait_over(struct waiter *w, int v)
{
	leave(w);
	w->b->at_ns = 0;
	if (v == RATION_DENIED && !w->once)
		call_denied(&w->c, item_of(w));
	return v;
}
