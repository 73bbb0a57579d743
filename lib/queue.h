/*
 * queue.h - who waits for a key, in which order, and when it is whose turn.
 *
 * A queue only orders, it never grants.  Who waits takes a *ticket*, and when it is his turn he
 * asks by an ordinary acquire, as everybody does.  So whatever is written here, by mistake, by a
 * process that was stopped for an hour, or by a vandal, admits nobody too much: the worst
 * that it costs is the order, and some waiting.
 *
 * The segment has nqueues of them, each a line and a word for each ticket:
 *
 *	owner   birth(30) slot+1(28)	    the key whose queue it is
 *	tail    ticket(24)		    the next one to be taken
 *	turn    ticket(24) c(1) ms(39)	    whose turn it is, and since when
 *	pace    last(40) cost(24)	    the last spread admission, in 2^16 ns; what it took
 *	keep    ms			    until then the pace matters
 *	bell    0(32) n(32)		    counts up at every event: a futex
 *	place   lap(17) 0.. state(2) ms(39) of ticket lap * 128 + index
 *
 * Time is CLOCK_MONOTONIC of the initial time namespace, for timers run on it, and a test clock
 * that is moved must not make anybody late.  Nothing in here reads a clock.
 *
 *
 * Taking a ticket: the place first, the tail then
 *
 * A ticket is taken by a CAS on the place of the ticket at the tail, from whatever another lap
 * left there; only then the tail goes on, and anybody helps it.  A kill between the two
 * leaves a ticket that is taken by nobody: it is passed over like any other dead one.  A place
 * is written by who took it alone, and says what he is up to:
 *
 *	WAITS	sleeps until the bell rings for him; is here again at `ms` at the latest
 *	BOOKED	an event loop that was told to come at `ms`; no bell reaches it
 *	LEFT	admitted, cancelled, out of time: skipped
 *
 * Tickets count on when a queue goes over to another key, so who was stopped as a waiter of
 * the key before finds his passed; and every step first looks whether the queue is still his
 * key's, so a queue that was taken over in the wrong moment is only a late arrival.  They
 * recur after 16 million: then he would be taken for somebody who waits, and asks.
 *
 *
 * The turn: nobody waits for the dead
 *
 * Waiters stand in [turn, tail).  Whose turn it is asks, again and again, until he is admitted
 * or leaves; then he gives the turn to the next that waits, and rings.  One who does not come
 * is passed over:
 *
 *	called (c)   the bell rang for him at the turn's ms: he has 50 ms from then
 *	not called   he has 50 ms from the later of the turn's ms and his own place's
 *
 * Each of those behind him adds 50 ms, from his own ms if that is later, so everybody can work
 * out by himself when all before him have been passed over.  If the turn has not moved by then he
 * takes it, by a CAS from the word that he judged.  So k dead ones in a row cost k times 50 ms,
 * without anybody looking after them.  Whose turn it is, and takes up his place again, says so
 * before he sleeps; he sleeps for a second at most, so that one who dies meanwhile is found.
 * Who was passed over goes to the end.
 *
 * Who booked and was told to come later than now is not late, so the turn waits for him; but
 * others need not: the first of those behind him who is here *stands in*.  He asks meanwhile, in
 * case that units come back earlier than they were expected (a refund, a raised limit), and
 * leaves the turn where it is.  In the last 50 ms before his time nobody does.
 *
 * The bell is a counter, and each waiter sleeps in FUTEX_WAIT_BITSET on the value from before
 * he looked, so nothing rings unheard; the bit is his ticket's, so that mostly he alone
 * wakes.  A ring from outside (a release, a refund, another policy) has no clock at hand: it
 * calls with ms 0, and the first who looks writes the time.
 *
 *
 * Pace
 *
 * Spread admissions take the pace before they ask, by a CAS from the last one, and put it back
 * when they are denied; so two never go at once, whoever was passed over or stopped.  What
 * stands there is when and for how many units, in 1/256; how long that takes is up to the
 * limit as it is now.  A kill in between loses one turn of the pace.
 *
 *
 * Progress: every loop is bounded, by the tickets or by a number of tries.  A step is
 * lock-free; who is stopped in it is overtaken by others.  Words out of range are repaired
 * by who meets them.  Each costs 16 lines to find at most, and one word for each ticket.
 */
#ifndef RATION_QUEUE_H
#define RATION_QUEUE_H

#include "segment.h"

#define QUEUE_PATIENCE_MS 50u
#define QUEUE_NAP_MS 1000u /* who waits is back after that at the latest */

enum queue_word { Q_OWNER, Q_TAIL, Q_TURN, Q_PACE, Q_KEEP, Q_BELL };
enum queue_state { PLACE_NONE = 0, PLACE_WAITS = 1, PLACE_BOOKED = 2, PLACE_LEFT = 3 };

#define QUEUE_MS_BITS 39
#define QUEUE_MS_MASK ((UINT64_C(1) << QUEUE_MS_BITS) - 1)
#define TICKET_MASK ((UINT32_C(1) << 24) - 1)
#define OWNER_WORD(slot, birth) ((uint64_t)(birth) << 28 | ((slot) + 1))
#define TURN_WORD(ticket, called, ms) \
	((uint64_t)(ticket) << 40 | (uint64_t)(called) << QUEUE_MS_BITS | ((ms)&QUEUE_MS_MASK))
#define TURN_TICKET(w) ((uint32_t)((w) >> 40))
#define TURN_CALLED(w) (((w) >> QUEUE_MS_BITS & 1) != 0)
#define TURN_MS(w) ((w)&QUEUE_MS_MASK)
#define PLACE_WORD(ticket, state, ms) \
	((uint64_t)((ticket) / QUEUE_TICKETS) << 47 | (uint64_t)(state) << QUEUE_MS_BITS | \
	    ((ms)&QUEUE_MS_MASK))
#define PLACE_LAP(w) ((uint32_t)((w) >> 47))
#define PLACE_STATE(w) ((enum queue_state)((w) >> QUEUE_MS_BITS & 3))
#define PLACE_MS(w) ((w)&QUEUE_MS_MASK)

struct queue {
	const struct segment *seg;
	word_t *w;       /* its head; the places follow */
	uint32_t number; /* in the segment */
};

/* The key's queue.  False: it has none, so nobody waits. */
bool queue_find(const struct segment *seg, uint64_t slot, uint64_t birth, struct queue *out);
/* Find, or take one that nobody needs.  False: all that it might be are needed. */
bool queue_claim(
    const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ms, struct queue *out);

/* The queue of that number.  False: there is none. */
bool queue_number(const struct segment *seg, uint32_t number, struct queue *out);

/* Take a ticket, at the end.  ms: here again by then.  False: all are taken. */
bool queue_take(
    const struct queue *q, enum queue_state state, uint64_t ms, uint64_t now_ms, uint32_t *ticket);

enum queue_answer {
	QUEUE_ASK,   /* ask now */
	QUEUE_SLEEP, /* until due_ms of those ahead */
	QUEUE_LOST,  /* passed over: take another */
};
/* How it stands before a ticket. */
struct queue_ahead {
	unsigned n;      /* how many wait there */
	uint64_t all_ms; /* all of them have been passed over by then */
	uint64_t due_ms; /* the same without those who are booked for later */
};
/* May the holder of the ticket ask? */
enum queue_answer queue_step(
    const struct queue *q, uint32_t ticket, uint64_t now_ms, struct queue_ahead *ahead);
/* How many wait before the ticket. */
unsigned queue_before(const struct queue *q, uint32_t ticket, uint64_t now_ms);
/*
 * When should the holder of a ticket come whom no bell reaches, if he could go at from_ns, and
 * each_ns after those who are here before him?
 */
uint64_t queue_promise(
    const struct queue *q, uint32_t ticket, uint64_t now_ms, uint64_t from_ns, uint64_t each_ns);
/* He asked, was denied, and is here again at ms. */
void queue_expect(
    const struct queue *q, uint32_t ticket, enum queue_state state, uint64_t ms, uint64_t now_ms);
/* He waits no longer: the next one's turn. */
void queue_leave(const struct queue *q, uint32_t ticket, uint64_t now_ms);

/* How many wait who have not been passed over. */
unsigned queue_running(const struct queue *q, uint64_t now_ms);
/* The same of a key.  For `queue: strict`. */
unsigned queue_waiting(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ms);

/* ---- pace ---- */

/* Units of a spread admission, rounded up, as they stand in the pace: a 24-bit float of 1/256. */
uint32_t pace_cost(uint64_t units256);
/*
 * The last spread admission: false: none.  *last_ns: when; *units256: for how many.
 */
bool pace_last(
    const struct queue *q, uint64_t now_ns, uint64_t *last_ns, uint64_t *units256, uint64_t *word);
/* Replace it.  False: somebody else was faster. */
bool pace_set(
    const struct queue *q, uint64_t old, uint64_t now_ns, uint64_t units256, uint64_t *word);
/* Put the old one back, unless another has come since. */
void pace_undo(const struct queue *q, uint64_t word, uint64_t old);
/* Until then the queue stays this key's. */
void pace_keep(const struct queue *q, uint64_t until_ms);

/* ---- events ---- */

/* Something has come free for this key: wake who waits for it, if anybody. */
void queue_wake(const struct segment *seg, uint64_t slot, uint64_t birth);
/* Everybody who waits: the policy or the clock has changed (rationd). */
void queue_wake_all(const struct segment *seg);
/* The bell: its value now, and sleeping until it rings for the ticket. */
uint32_t queue_bell(const struct queue *q);
/* until: CLOCK_MONOTONIC of the caller, ns.  Returns early for any reason. */
void queue_sleep(const struct queue *q, uint32_t ticket, uint32_t bell, uint64_t until_ns);

#endif
