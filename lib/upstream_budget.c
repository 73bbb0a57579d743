/*
 * upstream_budget.c - how much may be sent to somebody else's limit, as far as its answers tell.
 *
 * Units are numbered in the order in which they are sent: `sent` is the number of the last one.
 * What an answer proves is a *ceiling*: so far `sent` may rise without the upstream counting more
 * than its limit.
 *
 * An answer says that R units are left.  The server counted that at some moment s between the
 * request's being sent and its answer's coming.  All that was answered before the request was
 * sent had been counted (or refused) by then; call it A.  What may be counted after s is so
 * among what was sent and is not in A, without the request itself, of cost c.  If nothing above
 *
 *	ceiling = A + c + R
 *
 * is sent, then at any moment after s no more than R units are counted since s.  What a server
 * has left grows by itself and falls only by what it counts (fixed windows: at the reset;
 * sliding ones and buckets: all the time), so it never refuses.  This needs no order of
 * answers, none of them to come at all, and nothing of what is done meanwhile: what is in flight
 * lies between A and `sent`, and counts against the ceiling.  So each ceiling is right by itself
 * for as long as nobody else uses the limit; a race here, or a process killed between two of its
 * stores, can only leave one ceiling that is right in the place of another.
 *
 * For those who do not have the limit alone the ceiling is lowered by every answer, and raised
 * only by one that is newer for certain: sent after the one came that the ceiling is from (`seen`).
 * An answer that leaves less than an older ceiling allows proves that somebody else is there;
 * then no more than a quarter of what is left is in flight at once, so that the end of the
 * window is found by one request and not by fifty.
 *
 * When the ceiling is reached, nobody sends until `again`: the reset, or Retry-After.  From then
 * on one request may ask anew, the *opener*: its answer brings the next ceiling.  So a clock that
 * is wrong, or a reset that means something else there, costs one refusal in a window.  It is
 * sent only if the limit exceeds what is in flight: what was answered was counted in the old
 * window, else the answer would have moved the reset.  The same is done at the first contact,
 * when nothing is known, and where nothing is in flight and an earlier, higher ceiling (`best`)
 * that nothing has spoken against leaves room: the answers of a burst each count all of it as
 * uncounted.  An opener whose answer does not come is replaced after two seconds.
 *
 * A, at the moment a request is sent, is `sent` - what is in flight: eight words count that by the
 * time of sending.  Callers count themselves into a word before they count `sent` up, and `sent` is
 * read first, then these words, then the clock that they are judged by, so A may be too small,
 * never too large.  Who is killed in between stays in
 * flight until his word's time has passed, 30 s: that much less is sent meanwhile.  So does a
 * request that failed without an answer: it may yet arrive.
 *
 * The policy's own rates, if it has any, are ordinary cells of the core (cell.h) in words of the
 * entry, asked beside all of this; they also stand in for what is not known yet.
 */
#include "upstream.h"

#include <string.h>

#include "atomics.h"

#define TRIES UPSTREAM_TRIES
#define FLIGHT_SHIFT 32u
#define FLIGHT_MASK ((UINT64_C(1) << 24) - 1)
#define FLIGHT_UNITS ((UINT64_C(1) << 40) - 1)
#define OPENER_MS UINT64_C(2000)
#define OPENER_COUNT 20u
#define SHORT_NS (20 * MS_NS)
#define SLOT_BIRTH UINT64_C(1)

/* ---- in flight ---- */

static uint64_t
flight_tick(uint64_t ns)
{
	return ns >> FLIGHT_SHIFT & FLIGHT_MASK;
}

/* Of a tick that counts still; one ahead of us is a later caller's. */
static bool
flight_counts(uint64_t w, uint64_t tick)
{
	return ((tick - (w >> 40)) & FLIGHT_MASK) < U_FLIGHTS ||
	    (((w >> 40) - tick) & FLIGHT_MASK) <= 1;
}

static void
flight_load(const word_t *e, uint64_t words[U_FLIGHTS])
{
	for (unsigned i = 0; i < U_FLIGHTS; i++)
		words[i] = word_load(&e[U_FLIGHT + i]);
}

static uint64_t
flight_sum(const uint64_t words[U_FLIGHTS], uint64_t now_ns)
{
	uint64_t sum = 0, tick = flight_tick(now_ns);

	for (unsigned i = 0; i < U_FLIGHTS; i++)
		if (flight_counts(words[i], tick))
			sum += words[i] & FLIGHT_UNITS;
	return sum;
}

uint64_t
budget_flight(const word_t *e, uint64_t now_ns)
{
	uint64_t words[U_FLIGHTS];

	flight_load(e, words);
	return flight_sum(words, now_ns);
}

/* a->place: the tick that it is counted under.  False: others were faster each time. */
static bool
flight_add(struct upstream_call *c, ration_attempt_t *a)
{
	uint64_t tick = flight_tick(c->now_ns);

	for (unsigned tries = 0; tries < TRIES; tries++) {
		word_t *p = &c->e[U_FLIGHT + tick % U_FLIGHTS];
		uint64_t w = word_load(p), ahead = ((w >> 40) - tick) & FLIGHT_MASK, units = 0;

		if (ahead != 0 && ahead <= FLIGHT_MASK / 2) {
			upstream_clock(c);
			if (flight_tick(c->now_ns) != tick) {
				tick = flight_tick(c->now_ns);
				continue;
			}
		}
		if (ahead == 0)
			units = w & FLIGHT_UNITS;
		units = units + a->cost < FLIGHT_UNITS ? units + a->cost : FLIGHT_UNITS;
		a->place = (uint32_t)tick;
		if (word_cas(p, w, tick << 40 | units))
			return true;
	}
	return false;
}

static void
flight_remove(word_t *e, uint64_t tick, uint64_t cost)
{
	word_t *p = &e[U_FLIGHT + tick % U_FLIGHTS];

	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t w = word_load(p), units = w & FLIGHT_UNITS;

		if (w >> 40 != tick || word_cas(p, w, w - (units < cost ? units : cost)))
			return;
	}
}

void
budget_answered(struct upstream_call *c, const ration_attempt_t *a)
{
	flight_remove(c->e, a->place, a->cost);
}

/* ---- the policy's rates ---- */

struct own {
	struct segment seg; /* with as many cells as an entry has */
	struct cell_ctx x;
	uint64_t ahead;
};

static void
own_begin(struct upstream_call *c, struct own *o)
{
	uint64_t live = STATE_WORD(SLOT_BIRTH, UINT64_C(0), ST_LIVE), tick = tick_of(c->now_ns), w;
	word_t *slot = c->e + U_SLOT;

	w = word_load(&slot[SLOT_STATE]);
	if (w != live)
		(void)word_cas(&slot[SLOT_STATE], w, live);
	for (unsigned i = 0; i < c->def.nrates; i++) {
		word_t *conv = &slot[SLOT_CELLS + i * CELL_WORDS + CELL_CONV];

		if (word_load(conv) == 0)
			(void)word_cas(conv, 0,
			    CONV_WORD(tick << 6 & FINE_MASK, UINT64_C(1), CONV_DONE,
				c->def.rates[i].shape));
	}
	o->seg = *c->seg;
	o->seg.cells = U_CELLS;
	o->ahead = 0;
	o->x = (struct cell_ctx) { .seg = &o->seg,
		.policy = &c->policy,
		.slot = slot,
		.birth = SLOT_BIRTH,
		.now_ns = c->now_ns,
		.unix_ns = c->unix_ns,
		.precise = true,
		.writable = true,
		.ahead = &o->ahead };
}

/* Look, and charge if `charge`.  FITS, LIMIT with *wait_ns, BUSY. */
static enum budget
own_rate(struct upstream_call *c, struct own *o, unsigned i, uint64_t cost,
    ration_receipt_t *receipt, uint64_t *wait_ns)
{
	const struct rate_def *r = &c->def.rates[i];
	struct look l;

	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t fits;

		switch (cell_look(&o->x, i, r, cost, &l)) {
		case LOOK_FITS:
			if (receipt == NULL)
				return BUDGET_FITS;
			if (cell_charge(&o->x, i, r, cost, &l)) {
				cell_receipt(&o->x, i, 0, cost, r, &l, receipt);
				return BUDGET_FITS;
			}
			break;
		case LOOK_DENIES:
			fits = cell_fits(&o->x, i, r, &l, cost);
			*wait_ns =
			    fits > c->now_ns && fits != UINT64_MAX ? fits - c->now_ns : SECOND_NS;
			return BUDGET_LIMIT;
		default:
			break;
		}
		upstream_clock(c);
		o->x.now_ns = c->now_ns;
		o->x.unix_ns = c->unix_ns;
	}
	return BUDGET_BUSY;
}

static void
own_undo(const struct own *o, const ration_receipt_t *receipts, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)cell_refund(&o->x, &receipts[i], receipts[i].units, true);
}

/* All of the policy's rates, or none. */
static enum budget
own_take(struct upstream_call *c, struct own *o, uint64_t cost, ration_receipt_t *receipts,
    uint64_t *wait_ns)
{
	enum budget b = BUDGET_FITS;

	if (c->def.nrates == 0 || cost == 0)
		return BUDGET_FITS;
	own_begin(c, o);
	for (unsigned i = 0; i < c->def.nrates && b == BUDGET_FITS; i++)
		b = own_rate(c, o, i, cost, NULL, wait_ns);
	for (unsigned i = 0; i < c->def.nrates && b == BUDGET_FITS; i++) {
		b = own_rate(c, o, i, cost, &receipts[i], wait_ns);
		if (b != BUDGET_FITS)
			own_undo(o, receipts, i);
	}
	return b;
}

/* ---- taking ---- */

/* Is there a ceiling?  Before anything is known the policy's rates stand in for one. */
static bool
has_ceiling(const struct upstream_call *c, uint64_t limit)
{
	return limit != UPSTREAM_SILENT && (limit != 0 || c->def.nrates == 0);
}

/* What of a ceiling is left; none: 0. */
uint64_t
upstream_room(const word_t *e, enum upstream_word ceiling)
{
	int64_t left = (int64_t)(word_load(&e[ceiling]) - word_load(&e[U_SENT]));

	return left > 0 ? (uint64_t)left : 0;
}

static enum budget
may_open(const struct upstream_call *c, uint64_t cost, uint64_t flight, uint64_t limit,
    uint64_t *wait_ns)
{
	uint64_t again = upstream_time(&c->e[U_AGAIN], c->now_ns);

	if (c->now_ns >= again) {
		*wait_ns = SHORT_NS;
		return limit != 0 && flight != 0 && flight + cost > limit ? BUDGET_SPENT
									  : BUDGET_OPENS;
	}
	*wait_ns = again - c->now_ns;
	return limit != 0 && flight == 0 && upstream_room(c->e, U_BEST) >= cost ? BUDGET_OPENS
										: BUDGET_SPENT;
}

/* What may be done, as things stand. */
static enum budget
consider(const struct upstream_call *c, uint64_t cost, uint64_t flight, uint64_t *wait_ns)
{
	uint64_t limit = word_load(&c->e[U_LIMIT]), left;

	if (cost == 0 || !has_ceiling(c, limit))
		return BUDGET_FITS;
	left = upstream_room(c->e, U_CEILING);
	if (left < cost || limit == 0)
		return may_open(c, cost, flight, limit, wait_ns);
	if (flight != 0 && flight + cost > left / 4 &&
	    upstream_time(&c->e[U_OTHERS], c->now_ns) > c->now_ns) {
		*wait_ns = SHORT_NS;
		return BUDGET_FIRST;
	}
	return BUDGET_FITS;
}

/* Become the one that asks anew. */
static bool
take_opener(struct upstream_call *c, ration_attempt_t *a)
{
	uint64_t w = word_load(&c->e[U_OPENER]), ms, at = w >> OPENER_COUNT;

	if (at > c->now_ns / MS_NS)
		upstream_clock(c);
	ms = c->now_ns / MS_NS;
	if (w != 0 && ms >= at && ms - at < OPENER_MS)
		return false;
	A_OPENER(a) = ms << OPENER_COUNT | ((w + 1) & ((UINT64_C(1) << OPENER_COUNT) - 1));
	return word_cas(&c->e[U_OPENER], w, A_OPENER(a));
}

void
budget_opened(struct upstream_call *c, const ration_attempt_t *a)
{
	if (A_OPENER(a) != 0)
		(void)word_cas(&c->e[U_OPENER], A_OPENER(a), 0);
}

/* Count it as sent, unless the ceiling was reached meanwhile. */
static enum budget
count_sent(struct upstream_call *c, ration_attempt_t *a, bool opens)
{
	for (unsigned tries = 0; tries < TRIES * 4; tries++) {
		uint64_t sent = word_load(&c->e[U_SENT]), limit = word_load(&c->e[U_LIMIT]);
		int64_t left = (int64_t)(word_load(&c->e[U_CEILING]) - sent);

		if (!opens && a->cost != 0 && has_ceiling(c, limit) &&
		    (left < 0 || (uint64_t)left < a->cost))
			return BUDGET_FIRST;
		A_NUMBER(a) = sent;
		if (word_cas(&c->e[U_SENT], sent, sent + a->cost))
			return BUDGET_FITS;
	}
	return BUDGET_BUSY;
}

/* What may be done now; a->sent: A. */
static enum budget
look(struct upstream_call *c, ration_attempt_t *a, uint64_t *wait_ns)
{
	/* In this order: see above. */
	uint64_t sent = word_load(&c->e[U_SENT]), words[U_FLIGHTS], flight;

	flight_load(c->e, words);
	upstream_clock(c);
	flight = flight_sum(words, c->now_ns);
	a->sent = sent - flight;
	return consider(c, a->cost, flight, wait_ns);
}

/* The same for good: who would ask anew does so, or has to wait. */
static enum budget
look_or_open(struct upstream_call *c, ration_attempt_t *a, uint64_t *wait_ns)
{
	enum budget b = look(c, a, wait_ns);

	A_OPENER(a) = 0;
	if (b != BUDGET_OPENS)
		return b;
	if (!take_opener(c, a)) {
		*wait_ns = SHORT_NS;
		return BUDGET_FIRST;
	}
	/* The one before us may have had its answer since we looked. */
	b = look(c, a, wait_ns);
	if (b != BUDGET_OPENS) {
		budget_opened(c, a);
		A_OPENER(a) = 0;
	}
	return b;
}

enum budget
budget_take(struct upstream_call *c, ration_attempt_t *a, uint64_t *wait_ns)
{
	ration_receipt_t receipts[RATION_RATES_MAX] = { 0 }; /* units 0: nothing to give back */
	enum budget b = look_or_open(c, a, wait_ns), done;
	struct own own;

	if (b != BUDGET_FITS && b != BUDGET_OPENS)
		return b;
	*wait_ns = SHORT_NS;
	done = own_take(c, &own, a->cost, receipts, wait_ns);
	if (done == BUDGET_FITS) {
		A_AT(a) = c->now_ns;
		done = BUDGET_BUSY;
		if (flight_add(c, a)) {
			done = count_sent(c, a, b == BUDGET_OPENS);
			if (done != BUDGET_FITS)
				flight_remove(c->e, a->place, a->cost);
		}
		if (done != BUDGET_FITS && c->def.nrates != 0 && a->cost != 0)
			own_undo(&own, receipts, c->def.nrates);
	}
	if (done != BUDGET_FITS)
		budget_opened(c, a);
	return done == BUDGET_FITS ? b : done;
}
