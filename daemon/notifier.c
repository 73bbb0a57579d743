#include "notifier.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomics.h"
#include "log.h"
#include "notifier_tell.h"

#define SECOND_NS UINT64_C(1000000000)
#define WAITING 4096u
#define HOLES 64u
#define HOLE_TURNS 20u /* 1 s: a writer who has a number but has not written yet */
#define SLICE 256u     /* slots of a pass between two looks at the clock */
#define GRACE_S 30     /* a call that was stopped in an earlier period */
#define TIDY_S 10      /* records that ended are removed */
#define TAIL_S 3600    /* how far everything is settled, if nothing else is written */
#define TIDY_ROWS 2000
#define FAILED_TURNS 20u /* after the store had failed */
#define FAILING_S 10     /* then limits go before what is told of them */
#define REMINDERS 256

struct hole {
	uint64_t number;
	unsigned turns;
};

struct notifier {
	struct daemon *d;
	struct event *timer;
	struct thresholds t;
	struct teller tell;
	struct notified_tail tail; /* as far as is read; durable with what came of it */
	int64_t written_s;         /* when the tail was written last */
	struct hole holes[HOLES];  /* numbers that were taken, and not written to yet */
	unsigned nholes;
	uint32_t waiting[WAITING]; /* slots that housekeeping found */
	unsigned nwaiting;
	uint64_t pass; /* next slot of the pass; NO_SLOT: none is under way */
	int64_t pass_began_s;
	uint64_t passes; /* that ended */
	bool pass_wanted;
	bool started;      /* a pass has ended */
	uint64_t rounds;   /* of housekeeping */
	int64_t round_s;   /* when the one under way began */
	bool round_missed; /* something it found did not fit */
	int64_t settles;   /* once nothing waits, what ended before is settled */
	int64_t test_offset_ns;
	int64_t tidied_s;
	unsigned rest;       /* turns until it is tried again */
	uint64_t failing_ns; /* since when the store fails; 0: it does not */
};

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* ---- what housekeeping comes by ---- */

static void
seen(void *arg, const struct segment *seg, uint64_t slot)
{
	struct notifier *n = arg;

	if (!thresholds_follow(&n->t) || !thresholds_new(&n->t, slot))
		return;
	if (n->nwaiting < WAITING)
		n->waiting[n->nwaiting++] = (uint32_t)slot;
	else
		n->pass_wanted = n->round_missed = true;
}

/*
 * A round that began so long after a period's end has found what was crossed in it, unless it had
 * to leave something out.
 */
static void
look_at_rounds(struct notifier *n)
{
	if (n->d->keeper.rounds == n->rounds)
		return;
	n->rounds = n->d->keeper.rounds;
	if (n->started && !n->round_missed)
		n->settles = n->round_s - GRACE_S;
	n->round_s = n->t.now_s;
	n->round_missed = false;
}

/* ---- a batch: one transaction ---- */

/*
 * What the batch was about is found again, by a pass over all of the table: until one has ended
 * nothing counts as settled.  Housekeeping waits for it too, but not for ever: with a disk that is
 * full the table would fill up.
 */
static void
failed(struct notifier *n, const char *err)
{
	if (n->failing_ns == 0) {
		n->failing_ns = n->t.now_ns;
		log_error("thresholds: %s: tried again each second", err);
	}
	n->pass = NO_SLOT;
	n->pass_wanted = true;
	n->started = false;
	n->settles = 0;
	n->rest = FAILED_TURNS;
	if (n->d->keeper.held && n->t.now_ns - n->failing_ns > FAILING_S * SECOND_NS) {
		n->d->keeper.held = false;
		log_warn("thresholds: keys are tidied up again, though some may not be told of");
	}
}

static void
succeeded(struct notifier *n)
{
	if (n->failing_ns != 0)
		log_note("thresholds: they are recorded again");
	n->failing_ns = 0;
}

/* False: it is not there. */
static bool
read_note(struct notifier *n, uint64_t number)
{
	struct note note;

	if (!notes_get(&n->d->keeper.seg, number, &note))
		return false;
	teller_slot(&n->tell, note.slot, &note);
	return true;
}

/* All of them may have been written since, by clients who meant it.  False: all are read. */
static bool
read_holes(struct notifier *n)
{
	for (unsigned i = n->nholes; i-- > 0;) {
		if (teller_full(&n->tell))
			return true;
		if (read_note(n, n->holes[i].number) || ++n->holes[i].turns > HOLE_TURNS)
			n->holes[i] = n->holes[--n->nholes];
	}
	return teller_full(&n->tell);
}

/* False: all are read. */
static bool
read_notes(struct notifier *n, uint64_t head, uint64_t until_ns)
{
	while (n->tail.number != head) {
		uint64_t number = ++n->tail.number;

		if (!read_note(n, number) && n->nholes < HOLES)
			n->holes[n->nholes++] = (struct hole) { .number = number };
		if (teller_full(&n->tell) || (number % 32 == 0 && cpu_ns() > until_ns))
			return true;
	}
	return false;
}

static bool
read_waiting(struct notifier *n, uint64_t until_ns)
{
	while (n->nwaiting > 0) {
		teller_slot(&n->tell, n->waiting[--n->nwaiting], NULL);
		if (teller_full(&n->tell) || (n->nwaiting % 32 == 0 && cpu_ns() > until_ns))
			return true;
	}
	return false;
}

static void
pass_ended(struct notifier *n)
{
	n->pass = NO_SLOT;
	n->passes++;
	n->d->keeper.held = false;
	n->started = true;
	if (n->pass_began_s - GRACE_S > n->t.settled)
		n->t.settled = n->pass_began_s - GRACE_S;
}

static bool
go_over_table(struct notifier *n, uint64_t until_ns)
{
	const struct segment *seg = &n->d->keeper.seg;

	if (n->pass == NO_SLOT && n->pass_wanted) {
		n->pass = 0;
		n->pass_wanted = false;
		n->pass_began_s = n->t.now_s;
	}
	while (n->pass < seg->nslots) {
		uint64_t slot = n->pass++;
		const word_t *s = segment_slot(seg, slot);

		if (STATE_ST(word_load(&s[SLOT_STATE])) == ST_LIVE &&
		    LINK_CHUNK(word_load(&s[SLOT_LINK])) == 0 && thresholds_new(&n->t, slot))
			teller_slot(&n->tell, slot, NULL);
		if (teller_full(&n->tell) || (slot % SLICE == 0 && cpu_ns() > until_ns))
			return true;
	}
	return false;
}

/*
 * One transaction of as much as it takes, or as there is time for.  True: there is more.  What
 * came of it is made known when it is durable.
 */
static bool
batch(struct notifier *n, uint64_t head, uint64_t until_ns)
{
	struct notified_tail before = n->tail;
	char err[512] = "";
	bool more;

	if (!teller_begin(&n->tell, err, sizeof(err))) {
		failed(n, err);
		return false;
	}
	more = read_holes(n) || read_notes(n, head, until_ns) || read_waiting(n, until_ns) ||
	    go_over_table(n, until_ns);
	n->tail.settled = n->t.settled;
	if (teller_end(&n->tell, &n->tail, err, sizeof(err)) != 0) {
		n->tail.number = before.number;
		failed(n, err);
		return false;
	}
	succeeded(n);
	if (n->pass == n->d->keeper.seg.nslots)
		pass_ended(n);
	return more;
}

/* ---- a turn ---- */

/* How far the notes go; what the ring no longer has is found by a pass. */
static uint64_t
head_of_notes(struct notifier *n)
{
	const struct side_head *side = n->d->keeper.seg.side;
	uint64_t head = side != NULL ? atomic_load_explicit(&side->noted, memory_order_acquire) : 0;

	if (head == n->tail.number)
		return head;
	if (head < n->tail.number || head - n->tail.number > SIDE_NOTES) {
		n->pass_wanted = true;
		n->nholes = 0;
		n->tail.number = head > SIDE_NOTES ? head - SIDE_NOTES : 0;
		if (n->tail.number == head)
			return head;
	}
	return head;
}

/* Records that have ended; and how far everything is settled, now and then. */
static void
tidy(struct notifier *n)
{
	char err[512] = "";

	if (n->t.now_s - n->tidied_s < TIDY_S && n->t.now_s >= n->tidied_s)
		return;
	n->tidied_s = n->t.now_s;
	n->tail.settled = n->t.settled;
	if (teller_tidy(&n->tell, &n->tail, TIDY_ROWS,
		n->t.now_s - n->written_s >= TAIL_S || n->t.now_s < n->written_s, err,
		sizeof(err)) != 0)
		failed(n, err);
	else
		n->written_s = n->t.now_s;
	if (teller_room(&n->tell)) {
		thresholds_forget(&n->t);
		n->pass_wanted = true;
	}
}

static void
turn(struct notifier *n)
{
	uint64_t head, until_ns;
	int64_t offset;
	char err[512] = "";

	if ((n->rest > 0 && --n->rest > 0) || !thresholds_now(&n->t))
		return;
	offset =
	    atomic_load_explicit(&n->d->keeper.seg.policy->test_offset_ns, memory_order_relaxed);
	if (offset != n->test_offset_ns) {
		n->test_offset_ns = offset;
		n->pass_wanted = true;
	}
	look_at_rounds(n);
	head = head_of_notes(n);
	if (head != n->tail.number || n->nholes > 0 || n->nwaiting > 0 || n->pass_wanted ||
	    n->pass != NO_SLOT) {
		until_ns = cpu_ns() + NOTIFIER_BUDGET_NS;
		while (batch(n, head, until_ns) && cpu_ns() < until_ns)
			;
	}
	if (n->nwaiting == 0 && n->settles > n->t.settled)
		n->t.settled = n->settles;
	if (n->rest == 0 && teller_remind(&n->tell, REMINDERS, err, sizeof(err)) != 0)
		failed(n, err);
	if (n->rest == 0)
		tidy(n);
}

json_t *
notifier_json(const struct notifier *n)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "told", (json_int_t)n->tell.told,
	    "records", (json_int_t)n->tell.rows, "untold", (json_int_t)n->tell.untold, "notes",
	    (json_int_t)n->tail.number, "waiting", (json_int_t)(n->nwaiting + n->nholes), "passes",
	    (json_int_t)n->passes);
}

void
notifier_clock(struct notifier *n)
{
	if (n != NULL &&
	    atomic_load_explicit(&n->d->keeper.seg.policy->test_offset_ns, memory_order_relaxed) !=
		n->test_offset_ns)
		turn(n);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	turn(arg);
}

/* ---- start and end ---- */

/*
 * Counters that are new start from nothing, and nobody looked while rationd was away: what goes by
 * with time counts as below from now on.
 */
static int
resume(struct notifier *n, char *err, size_t errsize)
{
	struct daemon *d = n->d;
	int e = store_notes_tail(d->store, &n->tail, err, errsize);

	if (e < 0)
		return -1;
	if (e == 0)
		n->tail.settled = n->t.now_s;
	if (e == 0 || n->tail.segment != d->keeper.seg.head->id)
		n->tail.number = 0;
	n->tail.segment = d->keeper.seg.head->id;
	n->t.settled = n->tail.settled;
	if (!store_begin(d->store)) {
		(void)snprintf(err, errsize, "thresholds: the state cannot be written to");
		return -1;
	}
	e = store_notified_resume(d->store, n->t.now_s, err, errsize);
	if (e == 0)
		e = store_notes_tail_put(d->store, &n->tail, err, errsize);
	return store_end(d->store, e == 0, err, errsize);
}

int
notifier_open(struct daemon *d, struct notifier **out, char *err, size_t errsize)
{
	struct timeval every = { 0, NOTIFIER_MS * 1000 };
	struct notifier *n = *out = calloc(1, sizeof(*n));
	struct sweep_hooks hooks = { .seen = seen, .arg = n };

	if (n == NULL || thresholds_open(&n->t, &d->keeper) != 0) {
		(void)snprintf(err, errsize, "thresholds: out of memory");
		return -1;
	}
	n->d = d;
	/* What was crossed while nobody looked is in words that housekeeping might clear away. */
	d->keeper.held = true;
	n->pass = NO_SLOT;
	n->pass_wanted = true;
	n->timer = event_new(d->base, -1, EV_PERSIST, on_timer, n);
	if (!thresholds_now(&n->t) || n->timer == NULL || event_add(n->timer, &every) != 0 ||
	    !keeper_subscribe(&d->keeper, &hooks)) {
		(void)snprintf(err, errsize, "thresholds: cannot be watched");
		return -1;
	}
	n->test_offset_ns =
	    atomic_load_explicit(&d->keeper.seg.policy->test_offset_ns, memory_order_relaxed);
	n->round_s = n->tidied_s = n->written_s = n->t.now_s;
	if (resume(n, err, errsize) != 0)
		return -1;
	return teller_open(&n->tell, d, &n->t, err, errsize);
}

void
notifier_close(struct notifier *n)
{
	char err[512];

	if (n == NULL)
		return;
	n->tail.settled = n->t.settled;
	if (n->tail.segment != 0)
		(void)store_notes_tail_put(n->d->store, &n->tail, err, sizeof(err));
	if (n->timer != NULL)
		event_free(n->timer);
	teller_close(&n->tell);
	thresholds_close(&n->t);
	free(n);
}
