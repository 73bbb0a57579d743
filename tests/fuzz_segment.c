/*
 * fuzz_segment.c - what a client may write is input: any words in the counters,
 * then calls, views, resets and sweeps over them.  Whatever stands there, every
 * call ends, stays inside its mapping and gives one of its answers.
 *
 * The input is a program of short operations, see step().
 */
#include "fixture.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lease.h"
#include "queue.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SLOTS 12

static const char policy[] = "limits:\n"
			     "  slide: 5/min\n"
			     "  both: [9/min, 3/s]\n"
			     "  fixed: 4/hour fixed\n"
			     "  day: 4/day\n"
			     "  month: 1M/month\n"
			     "  bucket: 2/s burst 4\n"
			     "  open: unlimited\n"
			     "  lease: 5 concurrent\n"
			     "  chunks: 100 concurrent\n"
			     "  strict: {rates: 3/s, queue: strict}\n"
			     "  watch: {rates: 1/min, mode: observe, when_full: admit}\n";
static const char *const limits[] = { "slide", "both", "fixed", "day", "month", "bucket", "open",
	"watch", "strict", "lease", "chunks" };
/* One that lies in a slot, one that needs an extension, and neighbours of both. */
static const char *const keys[] = { "a", "b", "c", "d",
	"a key that is longer than the thirty-two bytes of a slot", "e", "f",
	"another key that is longer than the thirty-two bytes of a slot, and than twice as many" };

#define BOOKINGS 4

static struct fixture fixture;
static char *pristine;
static ration_booking_t bookings[BOOKINGS];

struct input {
	const uint8_t *at, *end;
};

static uint64_t
take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (; bytes > 0 && in->at < in->end; bytes--)
		v = v << 8 | *in->at++;
	return v;
}

static void
need(int holds, const char *what, int value)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %d\n", what, value);
	abort();
}

/* A word of the kind that a cell may hold, its time near now: the deep ways in. */
static uint64_t
plausible(struct input *in)
{
	uint64_t kind = take(in, 1), units = take(in, 2);
	uint64_t tick = tick_of(atomic_load(&fixture.now)) + take(in, 1) * 16 - 2048;

	tick &= TICK_MASK;
	switch (kind % 8) {
	case 0:
		return NARROW_TAG(kind >> 4, tick) | (kind & 8 ? NARROW_SEAL : 0) | units;
	case 1:
		return WIDE_TAG(tick) | units;
	case 2:
		return CLOSED_OF(WIDE_TAG(tick) | units);
	case 3:
		return TAT_WORD(atomic_load(&fixture.now) * 16 + (units << 24));
	case 4:
		return TATX_WORD(atomic_load(&fixture.now) * 16 + (units << 24));
	case 5:
		return HELD_WORD(units, kind, tick);
	case 6:
		return CHUNKS_WORD(units & 0xfff, kind >> 4 & 3, kind >> 6 & 1, tick);
	default:
		return BLANK(units, tick);
	}
}

static ration_claim_t
claim(struct input *in)
{
	const char *key = keys[take(in, 1) % 8];

	return (ration_claim_t) { .size = sizeof(ration_claim_t),
		.limit = limits[take(in, 1) % (sizeof(limits) / sizeof(limits[0]))],
		.key = key,
		.key_len = strlen(key),
		.cost = take(in, 1) };
}

static void
calls(struct input *in, ration_decision_t *last)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t c[RATION_CLAIMS_MAX];
	uint64_t what = take(in, 1);
	size_t n = 1 + what / 4 % 3;
	char json[4096];
	int r;

	for (size_t i = 0; i < n; i++)
		c[i] = claim(in);
	if (what % 4 == 0)
		r = ration_peek_all(fixture.r, c, n, &d);
	else
		r = ration_acquire_all(fixture.r, c, n, &d);
	need(r <= RATION_ADMITTED && r >= RATION_ESTALE, "answer", r);
	need(d.nrates <= RATION_DECISION_RATES && d.nreceipts <= RATION_DECISION_RATES, "rates",
	    d.nrates);
	if (r < 0)
		return;
	need(d.verdict == r, "verdict differs from the answer", d.verdict);
	r = ration_decision_json(fixture.r, &d, c[0].key, c[0].key_len, json, sizeof(json));
	need(r > 0 && r < (int)sizeof(json), "length of the JSON", r);
	if (d.verdict == RATION_ADMITTED)
		*last = d;
}

static void
resolved(struct input *in)
{
	ration_claim_t c = claim(in);
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k = { .size = sizeof(k) };
	int r = ration_key(fixture.r, c.limit, c.key, c.key_len, &k);

	need(r <= 0, "ration_key", r);
	for (int i = 0; i < 3 && r >= 0; i++)
		r = ration_key_acquire(fixture.r, &k, c.cost, &d);
}

/* Event loops, and one who waits no longer. */
static void
waits(struct input *in)
{
	const struct timespec past = { 0, 0 };
	ration_claim_t c = claim(in);
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t what = take(in, 1);
	ration_booking_t *b = &bookings[what / 8 % BOOKINGS];
	unsigned flags = what & 4 ? RATION_SPREAD : 0;
	int r = 0;

	b->size = sizeof(*b);
	switch (what % 4) {
	case 0:
		need(ration_cancel(fixture.r, b) == 0, "ration_cancel", 0);
		break;
	case 1:
		r = ration_wait(fixture.r, c.limit, c.key, c.key_len, c.cost, flags, &past, &d);
		break;
	default:
		r = ration_book(fixture.r, c.limit, c.key, c.key_len, c.cost, flags, b, &d);
		need(b->at_ns == 0 || r == RATION_DENIED, "at_ns", r);
	}
	need(r <= RATION_ADMITTED && r >= RATION_EQUEUE, "answer", r);
	need(what % 4 == 0 || r < 0 || d.verdict == r, "verdict", d.verdict);
}

/* A word of a queue that somebody is in: any, or one near what stands there. */
static void
scribble_queue(struct input *in)
{
	const ration_booking_t *b = &bookings[take(in, 1) % BOOKINGS];
	uint64_t number = b->queue != 0 ? b->queue - 1 : take(in, 2), how = take(in, 1);
	word_t *w = fixture.seg.queues + number % fixture.seg.nqueues * QUEUE_WORDS;

	w += how & 1 ? how >> 1 & 7 : QUEUE_HEAD + (b->ticket + (how >> 4)) % QUEUE_TICKETS;
	if (how & 8)
		atomic_fetch_add(w, take(in, 1) << (how >> 4) * 4);
	else
		atomic_store(w, take(in, 8));
	queue_wake_all(&fixture.seg);
}

/* Leases, and what rationd does about them. */
static void
leases(struct input *in)
{
	static ration_lease_t kept[4];
	ration_claim_t c = claim(in);
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t what = take(in, 1), ttl_ms = take(in, 2);
	ration_lease_t *l = &kept[what / 8 % 4];
	struct policy_ref p;
	int r = 0;

	switch (what % 8) {
	case 0:
		r = ration_lease_named(
		    fixture.r, c.limit, c.key, c.key_len, "n", ttl_ms % 2, l, &d);
		break;
	case 1:
		r = ration_release(fixture.r, l);
		break;
	case 2:
		r = ration_renew(fixture.r, l, ttl_ms);
		break;
	case 3:
		r = ration_release_named(fixture.r, c.limit, c.key, c.key_len, "n", ttl_ms % 2);
		break;
	case 4: /* one that somebody made up */
		*l = (ration_lease_t) { sizeof(*l), (uint32_t)take(in, 1), (uint32_t)take(in, 1),
			(uint32_t)take(in, 4), take(in, 8), fixture.seg.head->id };
		break;
	case 5:
		lease_unmark(&fixture.seg, ttl_ms % SLOTS);
		lease_waited(&fixture.seg, ttl_ms % SLOTS, take(in, 4), atomic_load(&fixture.now));
		break;
	case 6:
		if (policy_current(fixture.seg.policy, &p))
			r = lease_keep(&fixture.seg, &p, (uint32_t)(ttl_ms % 12), c.key, c.key_len,
			    ttl_ms, atomic_load(&fixture.now));
		need(r <= (int)RATION_R_FULL, "lease_keep", r);
		return;
	default:
		r = ration_lease(fixture.r, c.limit, c.key, c.key_len, ttl_ms, l, &d);
	}
	need(r <= RATION_ADMITTED && r >= RATION_ERATE, "answer", r);
}

/* What the daemon and the dashboard do with it. */
static void
others(struct input *in)
{
	static struct sweep sweep;
	uint64_t slot = take(in, 1) % SLOTS, birth, a, b, now = atomic_load(&fixture.now);
	struct row row;

	memset(&sweep, 0, sizeof(sweep));
	if (view_totals(&fixture.seg, slot, &birth, &a, &b))
		(void)view_reset(&fixture.seg, slot, birth, now);
	if (view_row(&fixture.seg, slot, now, &row)) {
		need(row.nrates <= RATION_RATES_MAX, "rates of a row", row.nrates);
		need(row.deciding < RATION_RATES_MAX, "deciding rate of a row", row.deciding);
	}
	for (int i = 0; i < 4; i++)
		(void)table_sweep(&fixture.seg, &sweep, SLOTS, now,
		    fixture_unix(&fixture) * 1000000000, (take(in, 1) & 1) * UINT64_C(1000000000));
}

static void
step(struct input *in, ration_decision_t *last)
{
	uint64_t op = take(in, 1);
	uint64_t first = offsetof(struct seg_head, scribbles) / 8;
	uint64_t table = (uint64_t)((char *)fixture.seg.bitmap - (char *)fixture.seg.head) / 8;
	uint64_t words = fixture.seg.bytes / 8;
	word_t *all = (word_t *)(void *)fixture.seg.head;
	uint64_t at;

	switch (op % 11) {
	case 0: /* any word anywhere behind what attach has checked */
		at = first + take(in, 2) % (words - first);
		atomic_store(&all[at], take(in, 8));
		break;
	case 1: /* any word in the table */
		at = table + take(in, 2) % (words - table);
		atomic_store(&all[at], take(in, 8));
		break;
	case 2: /* a bit of what stands there */
		at = table + take(in, 2) % (words - table);
		atomic_fetch_xor(&all[at], UINT64_C(1) << take(in, 1) % 64);
		break;
	case 3: /* a believable word in a cell */
		at = take(in, 1) % SLOTS * fixture.seg.stride + SLOT_CELLS;
		at += take(in, 1) % (fixture.seg.stride - SLOT_CELLS);
		atomic_store(&fixture.seg.slots[at], plausible(in));
		break;
	case 4:
		others(in);
		break;
	case 5:
		(void)ration_refund(fixture.r, last, take(in, 2));
		resolved(in);
		break;
	case 7:
		waits(in);
		break;
	case 8:
		scribble_queue(in);
		break;
	case 6:
		atomic_fetch_add(&fixture.now, take(in, 2) << (op >> 3) % 32);
		break;
	case 9:
		leases(in);
		break;
	default:
		calls(in, last);
	}
}

static void
setup(void)
{
	ration_lease_t l;

	fixture_open(&fixture, policy, SLOTS);
	/* A holder as long as there is a lock file. */
	if (ration_lease(fixture.r, "lease", "a", 1, 0, &l, NULL) != RATION_ADMITTED ||
	    ration_release(fixture.r, &l) != 0)
		errx(1, "ration_lease");
	pristine = malloc(fixture.seg.bytes);
	if (!pristine)
		err(1, NULL);
	memcpy(pristine, (char *)fixture.seg.head, fixture.seg.bytes);
	/* Only the mappings are needed: a crash leaves nothing behind. */
	(void)unlink(fixture.paths.counters);
	(void)unlink(fixture.paths.policy);
	(void)unlink(fixture.paths.holders);
	(void)strncat(fixture.dir, "/ration.yaml", sizeof(fixture.dir) - strlen(fixture.dir) - 1);
	(void)unlink(fixture.dir);
	*strrchr(fixture.dir, '/') = '\0';
	(void)rmdir(fixture.dir);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	ration_decision_t last = RATION_DECISION_INIT;

	if (!pristine)
		setup();
	memcpy((char *)fixture.seg.head, pristine, fixture.seg.bytes);
	atomic_store(&fixture.now, FIXTURE_START);
	memset(bookings, 0, sizeof(bookings));
	while (in.at < in.end)
		step(&in, &last);
	return 0;
}
