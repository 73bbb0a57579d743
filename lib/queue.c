#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"

#define PROBES 16u
#define TRIES 1024u
/* What stands farther ahead is a scribble: a month and its calendar, twice. */
#define BOOKED_MAX_MS UINT64_C(5400000000)
/* One event wakes so many: he whose turn it is, and those who might have to pass him over. */
#define WAKE_FIRST 8u

static void
scribble(const struct queue *q)
{
	word_count(&q->seg->head->scribbles, 1);
}

/* ---- words ---- */

static word_t *
place_of(const struct queue *q, uint32_t ticket)
{
	return q->w + QUEUE_HEAD + ticket % QUEUE_TICKETS;
}

static uint32_t
tail_of(const struct queue *q)
{
	return (uint32_t)word_load(&q->w[Q_TAIL]) & TICKET_MASK;
}

static uint32_t
ticket_add(uint32_t ticket, uint32_t n)
{
	return (ticket + n) & TICKET_MASK;
}

/* Tickets from a on before b. */
static uint32_t
ticket_span(uint32_t a, uint32_t b)
{
	return (b - a) & TICKET_MASK;
}

static bool
place_taken(uint64_t w, uint32_t ticket)
{
	return PLACE_LAP(w) == ticket / QUEUE_TICKETS && PLACE_STATE(w) != PLACE_NONE;
}

static bool
place_waits(uint64_t w, uint32_t ticket)
{
	return place_taken(w, ticket) && PLACE_STATE(w) != PLACE_LEFT;
}

/* When he is expected here; 0: nonsense. */
static uint64_t
place_ms(uint64_t w, uint64_t now_ms)
{
	uint64_t most = PLACE_STATE(w) == PLACE_BOOKED ? BOOKED_MAX_MS : 2 * QUEUE_NAP_MS;

	return PLACE_MS(w) > now_ms + most ? 0 : PLACE_MS(w);
}

/* The turn; what was rung without a clock gets its time now. */
static uint64_t
turn_at(const struct queue *q, uint64_t now_ms)
{
	uint64_t w = word_load(&q->w[Q_TURN]), noted;

	if (TURN_CALLED(w) ? TURN_MS(w) != 0 && TURN_MS(w) <= now_ms + QUEUE_NAP_MS
			   : TURN_MS(w) <= now_ms + QUEUE_NAP_MS)
		return w;
	noted = TURN_WORD(TURN_TICKET(w), TURN_CALLED(w), now_ms);
	return word_cas(&q->w[Q_TURN], w, noted) ? noted : word_load(&q->w[Q_TURN]);
}

/* Who waits, from the turn on before the tail.  Nonsense is made nobody. */
static uint32_t
span_of(const struct queue *q, uint64_t turn, uint32_t tail)
{
	uint32_t n = ticket_span(TURN_TICKET(turn), tail);

	if (n <= QUEUE_TICKETS)
		return n;
	/* The last leaver took the tail back while another gave the turn away: no harm. */
	if (ticket_span(tail, TURN_TICKET(turn)) > QUEUE_TICKETS)
		scribble(q);
	(void)word_cas(&q->w[Q_TURN], turn, TURN_WORD(tail, 0, TURN_MS(turn)));
	return 0;
}

/* ---- the bell ---- */

uint32_t
queue_bell(const struct queue *q)
{
	return (uint32_t)word_load(&q->w[Q_BELL]);
}

/* The 32 bits of the bell that the kernel compares. */
static const uint32_t *
futex_of(const struct queue *q)
{
	const uint32_t *half = (const uint32_t *)(const void *)&q->w[Q_BELL];

	return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? half + 1 : half;
}

static uint32_t
bit_of(uint32_t ticket)
{
	return UINT32_C(1) << ticket % 32;
}

/* Those who sleep loaded the bell before they looked: pairs with queue_bell(). */
static void
ring(const struct queue *q, uint32_t bits)
{
	word_ring(&q->w[Q_BELL]);
	(void)syscall(SYS_futex, futex_of(q), FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, bits);
}

void
queue_sleep(const struct queue *q, uint32_t ticket, uint32_t bell, uint64_t until_ns)
{
	struct timespec t = { .tv_sec = (time_t)(until_ns / 1000000000),
		.tv_nsec = (long)(until_ns % 1000000000) };

	(void)syscall(SYS_futex, futex_of(q), FUTEX_WAIT_BITSET, bell, &t, NULL, bit_of(ticket));
}

/* ---- the turn ---- */

/*
 * The first who sleep at this ticket or behind it.  The one it is rung for goes, the others set
 * their timers: those from before count many who have gone since.
 */
static void
ring_from(const struct queue *q, uint32_t ticket, uint32_t n, unsigned most)
{
	uint32_t bits = 0;
	unsigned found = 0;

	for (uint32_t i = 0; i < n && i < QUEUE_TICKETS && found < most; i++) {
		uint32_t t = ticket_add(ticket, i);
		uint64_t w = word_load(place_of(q, t));

		if (place_waits(w, t) && PLACE_STATE(w) == PLACE_WAITS) {
			bits |= bit_of(t);
			found++;
		}
	}
	if (found != 0)
		ring(q, bits);
}

/* From the turn to the next one behind it who waits. */
static void
advance(const struct queue *q, uint64_t turn, uint64_t now_ms)
{
	uint32_t tail = tail_of(q), n = span_of(q, turn, tail), i;
	enum queue_state state = PLACE_NONE;

	for (i = 1; i < n; i++) {
		uint32_t t = ticket_add(TURN_TICKET(turn), i);
		uint64_t w = word_load(place_of(q, t));

		if (place_waits(w, t)) {
			state = PLACE_STATE(w);
			break;
		}
	}
	if (n == 0 ||
	    !word_cas(&q->w[Q_TURN], turn,
		TURN_WORD(ticket_add(TURN_TICKET(turn), i), state == PLACE_WAITS, now_ms)))
		return;
	ring_from(q, ticket_add(TURN_TICKET(turn), i), n - i, WAKE_FIRST);
}

/* Those before the ticket of this number in the queue. */
static void
look_ahead(
    const struct queue *q, uint64_t turn, uint32_t n, uint64_t now_ms, struct queue_ahead *out)
{
	uint64_t all = TURN_MS(turn), due = all;

	out->n = 0;
	for (uint32_t i = 0; i < n && i < QUEUE_TICKETS; i++) {
		uint32_t t = ticket_add(TURN_TICKET(turn), i);
		uint64_t w = word_load(place_of(q, t)), ms;

		if (!place_waits(w, t))
			continue;
		ms = i == 0 && TURN_CALLED(turn) ? TURN_MS(turn) : place_ms(w, now_ms);
		all = (ms > all ? ms : all) + QUEUE_PATIENCE_MS;
		if (PLACE_STATE(w) != PLACE_BOOKED || ms <= now_ms + QUEUE_PATIENCE_MS)
			due = (ms > due ? ms : due) + QUEUE_PATIENCE_MS;
		out->n++;
	}
	out->all_ms = all;
	out->due_ms = due;
}

enum queue_answer
queue_step(const struct queue *q, uint32_t ticket, uint64_t now_ms, struct queue_ahead *ahead)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		uint64_t turn = turn_at(q, now_ms), first, own = word_load(place_of(q, ticket));
		uint32_t n = span_of(q, turn, tail_of(q)), k;

		k = ticket_span(TURN_TICKET(turn), ticket);
		ahead->n = 0;
		ahead->all_ms = ahead->due_ms = now_ms;
		if (k >= n || !place_waits(own, ticket))
			return QUEUE_LOST;
		if (k == 0)
			return QUEUE_ASK;
		first = word_load(place_of(q, TURN_TICKET(turn)));
		if (!place_waits(first, TURN_TICKET(turn))) {
			advance(q, turn, now_ms); /* he left, and died before he said so */
			continue;
		}
		look_ahead(q, turn, k, now_ms, ahead);
		if (now_ms >= ahead->all_ms) {
			if (!word_cas(&q->w[Q_TURN], turn, TURN_WORD(ticket, 1, now_ms)))
				continue;
			word_count(&q->seg->head->passed_over, ahead->n);
			return QUEUE_ASK;
		}
		if (now_ms >= ahead->due_ms)
			return QUEUE_ASK; /* stands in */
		return QUEUE_SLEEP;
	}
	/* Others are changing it all the time: they look after it. */
	ahead->all_ms = ahead->due_ms = now_ms + QUEUE_PATIENCE_MS;
	return QUEUE_SLEEP;
}

unsigned
queue_before(const struct queue *q, uint32_t ticket, uint64_t now_ms)
{
	uint64_t turn = turn_at(q, now_ms);
	struct queue_ahead ahead;

	look_ahead(q, turn, ticket_span(TURN_TICKET(turn), ticket), now_ms, &ahead);
	return ahead.n;
}

uint64_t
queue_promise(
    const struct queue *q, uint32_t ticket, uint64_t now_ms, uint64_t from_ns, uint64_t each_ns)
{
	const uint64_t ms_ns = 1000000, patience = QUEUE_PATIENCE_MS * ms_ns;
	uint64_t turn = turn_at(q, now_ms), at = from_ns;
	uint32_t n = ticket_span(TURN_TICKET(turn), ticket);

	for (uint32_t i = 0; n < QUEUE_TICKETS && i < n; i++) {
		uint32_t t = ticket_add(TURN_TICKET(turn), i);
		uint64_t w = word_load(place_of(q, t)), here;

		if (!place_waits(w, t))
			continue;
		here = (i == 0 && TURN_CALLED(turn) ? TURN_MS(turn) : place_ms(w, now_ms)) * ms_ns;
		if (here <= at + patience) /* else he is not there yet when we can go */
			at = here + each_ns > at ? here + each_ns : at;
	}
	return at;
}

void
queue_expect(
    const struct queue *q, uint32_t ticket, enum queue_state state, uint64_t ms, uint64_t now_ms)
{
	uint64_t w = word_load(place_of(q, ticket)), turn;

	if (!place_waits(w, ticket))
		return;
	(void)word_cas(place_of(q, ticket), w, PLACE_WORD(ticket, state, ms));
	/* He came when he was called. */
	turn = word_load(&q->w[Q_TURN]);
	if (TURN_TICKET(turn) == ticket && TURN_CALLED(turn))
		(void)word_cas(&q->w[Q_TURN], turn, TURN_WORD(ticket, 0, now_ms));
}

/* ---- tickets ---- */

/* Tickets at the end that were left: they are taken again. */
static void
trim(const struct queue *q)
{
	for (unsigned i = 0; i < QUEUE_TICKETS; i++) {
		uint64_t raw = word_load(&q->w[Q_TAIL]), turn = word_load(&q->w[Q_TURN]);
		uint32_t tail = (uint32_t)raw & TICKET_MASK, last = ticket_add(tail, TICKET_MASK);
		uint32_t n = ticket_span(TURN_TICKET(turn), tail);
		uint64_t w = word_load(place_of(q, last));

		if (n < 2 || n > QUEUE_TICKETS || !place_taken(w, last) ||
		    PLACE_STATE(w) != PLACE_LEFT || !word_cas(&q->w[Q_TAIL], raw, last))
			return;
	}
}

void
queue_leave(const struct queue *q, uint32_t ticket, uint64_t now_ms)
{
	uint64_t w = word_load(place_of(q, ticket)), turn;
	uint32_t n;

	if (place_waits(w, ticket))
		(void)word_cas(place_of(q, ticket), w, PLACE_WORD(ticket, PLACE_LEFT, now_ms));
	turn = turn_at(q, now_ms);
	n = span_of(q, turn, tail_of(q));
	if (TURN_TICKET(turn) == ticket && n > 0)
		advance(q, turn, now_ms);
	else if (ticket_span(TURN_TICKET(turn), ticket) + 1 < n)
		ring_from(
		    q, ticket_add(ticket, 1), n - 1 - ticket_span(TURN_TICKET(turn), ticket), 1);
	trim(q);
}

bool
queue_take(
    const struct queue *q, enum queue_state state, uint64_t ms, uint64_t now_ms, uint32_t *ticket)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t raw = word_load(&q->w[Q_TAIL]), turn = turn_at(q, now_ms), w;
		uint32_t tail = (uint32_t)raw & TICKET_MASK;

		if (ticket_span(TURN_TICKET(turn), tail) >= QUEUE_TICKETS) {
			if (span_of(q, turn, tail) < QUEUE_TICKETS)
				continue;
			w = word_load(place_of(q, TURN_TICKET(turn)));
			if (queue_running(q, now_ms) == 0)
				(void)word_cas(&q->w[Q_TURN], turn, TURN_WORD(tail, 0, now_ms));
			else if (!place_waits(w, TURN_TICKET(turn)))
				advance(q, turn, now_ms);
			else
				return false;
			continue;
		}
		w = word_load(place_of(q, tail));
		if (!place_waits(w, tail)) {
			if (!word_cas(place_of(q, tail), w, PLACE_WORD(tail, state, ms)))
				continue;
			(void)word_cas(&q->w[Q_TAIL], raw, ticket_add(tail, 1));
			*ticket = tail;
			return true;
		}
		(void)word_cas(&q->w[Q_TAIL], raw, ticket_add(tail, 1)); /* help */
	}
	return false;
}

unsigned
queue_running(const struct queue *q, uint64_t now_ms)
{
	uint64_t turn = turn_at(q, now_ms);
	uint32_t n = span_of(q, turn, tail_of(q));
	struct queue_ahead ahead;

	if (n == 0)
		return 0;
	look_ahead(q, turn, n, now_ms, &ahead);
	return now_ms < ahead.all_ms ? ahead.n : 0;
}

unsigned
queue_waiting(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ms)
{
	struct queue q;

	return queue_find(seg, slot, birth, &q) ? queue_running(&q, now_ms) : 0;
}

/* ---- whose queue ---- */

static void
probe(const struct segment *seg, uint64_t owner, unsigned i, struct queue *out)
{
	uint64_t h = owner * UINT64_C(0x9e3779b97f4a7c15) >> 32;

	out->seg = seg;
	out->number = (uint32_t)((h + i) & (seg->nqueues - 1));
	out->w = seg->queues + (size_t)out->number * QUEUE_WORDS;
}

bool
queue_number(const struct segment *seg, uint32_t number, struct queue *out)
{
	out->seg = seg;
	out->number = number;
	out->w = seg->queues + (size_t)number * QUEUE_WORDS;
	return number < seg->nqueues;
}

bool
queue_find(const struct segment *seg, uint64_t slot, uint64_t birth, struct queue *out)
{
	uint64_t owner = OWNER_WORD(slot, birth);

	for (unsigned i = 0; i < PROBES && i < seg->nqueues; i++) {
		uint64_t w;

		probe(seg, owner, i, out);
		w = word_load(&out->w[Q_OWNER]);
		if (w == owner)
			return true;
		if (w == 0) /* never anybody's: ours would have been put here */
			return false;
	}
	return false;
}

/* Nobody waits in it, and its pace is over. */
static bool
idle(const struct queue *q, uint64_t now_ms)
{
	uint64_t keep = word_load(&q->w[Q_KEEP]);

	return queue_running(q, now_ms) == 0 && (keep <= now_ms || keep > now_ms + BOOKED_MAX_MS);
}

/* A new owner finds neither tickets of the dead nor a pace. */
static void
clear(const struct queue *q)
{
	uint64_t turn = word_load(&q->w[Q_TURN]), pace = word_load(&q->w[Q_PACE]);
	uint32_t tail = tail_of(q);

	if (TURN_TICKET(turn) != tail)
		(void)word_cas(&q->w[Q_TURN], turn, TURN_WORD(tail, 0, TURN_MS(turn)));
	if (pace != 0)
		(void)word_cas(&q->w[Q_PACE], pace, 0);
}

bool
queue_claim(
    const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ms, struct queue *out)
{
	uint64_t owner = OWNER_WORD(slot, birth);

	for (unsigned tries = 0; tries < PROBES; tries++) {
		bool lost = false;

		if (queue_find(seg, slot, birth, out))
			return true;
		for (unsigned i = 0; i < PROBES && i < seg->nqueues && !lost; i++) {
			uint64_t w;

			probe(seg, owner, i, out);
			w = word_load(&out->w[Q_OWNER]);
			if (w != 0 && !idle(out, now_ms))
				continue;
			lost = true; /* or won: then it is found */
			if (word_cas(&out->w[Q_OWNER], w, owner))
				clear(out);
		}
		if (!lost)
			return false;
	}
	return false;
}

/* ---- events ---- */

/* There is something to ask for. */
static void
wake(const struct queue *q, unsigned most)
{
	uint64_t turn = word_load(&q->w[Q_TURN]), w;
	uint32_t first = TURN_TICKET(turn), n = ticket_span(first, tail_of(q));

	if (n == 0 || n > QUEUE_TICKETS)
		return;
	w = word_load(place_of(q, first));
	/* He is called, at the time when the first of them looks.  A booking need not hear it. */
	if (place_waits(w, first) && PLACE_STATE(w) == PLACE_WAITS && !TURN_CALLED(turn))
		(void)word_cas(&q->w[Q_TURN], turn, TURN_WORD(first, 1, 0));
	ring_from(q, first, n, most);
}

void
queue_wake(const struct segment *seg, uint64_t slot, uint64_t birth)
{
	struct queue q;

	if (queue_find(seg, slot, birth, &q))
		wake(&q, WAKE_FIRST);
}

void
queue_wake_all(const struct segment *seg)
{
	struct queue q;

	for (uint32_t i = 0; queue_number(seg, i, &q); i++)
		wake(&q, QUEUE_TICKETS);
}
