/*
 * history.c - recording what was admitted and denied, exactly.
 *
 * Every slot has two counts that only say how much there ever was: units admitted (net of refunds)
 * and calls denied.  For each slot rationd remembers a *cursor*: the life it has seen, and how much
 * of the two is recorded.  Recording is: rows += what is new, cursor = what was read, for a batch
 * of slots at once.  So nothing is counted twice or missed, whenever the counts are read:
 *
 *   acked <= recorded <= acked + units in flight in calls that were killed, net of refunds.
 *
 * The cursors lie in a file of 24 bytes a slot beside the segment, not in the database: there
 * they would be most of what a round writes (each slot on another page).  A batch is one
 * transaction with its rows, its number and, as one blob, its new cursors; after that the
 * cursors are put into the file, and the number behind them.  A rationd that finds the number
 * in the file one behind puts the blob's cursors down again.  The transaction need not be
 * on disk: a kill of rationd cannot undo it, and what can, takes the segment along.
 *
 * A slot is not freed before its last units are recorded (may_free); then its cursor is marked
 * as done, as freeing empties the counts in steps.  Such slots are recorded at once, and freed
 * within the same tick.  When the store fails for FAILING_S, slots are freed all the same and
 * what is lost is counted: limits go before their history.
 *
 * A round goes over all slots, every `history.every`, in slices; it is no part of the sweep, so
 * that each has its own pace.  Denials of keys without a slot are counted by limit alone; their
 * cursors are those behind the slots'.
 *
 * What is new is told from the difference in the counts' own width, so that a refund that came
 * in another bucket than its units is negative there, and nothing that is scribbled is more
 * than one such step.
 */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cell.h"
#include "history_state.h"
#include "log.h"
#include "slot.h"
#include "view.h"

#define SCAN_NS UINT64_C(2000000) /* of a tick: a million slots in some 6 s */
#define UPKEEP_NS UINT64_C(5000000)
#define SCAN_STEP 256u
#define URGENT_BATCHES 1u /* besides the one of each tick */
#define FAILING_S 10

uint64_t
history_cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- what there is ---- */

static uint64_t
load(const word_t *w)
{
	return atomic_load_explicit(w, memory_order_acquire);
}

bool
history_reading(const struct segment *seg, uint64_t slot, struct cursor *out)
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t state = load(&s[SLOT_STATE]);

	switch (STATE_ST(state)) {
	case ST_LIVE:
	case ST_READY:
	case ST_RETIRING:
	case ST_GONE:
		break;
	default:
		return false;
	}
	if (LINK_CHUNK(load(&s[SLOT_LINK])) != 0)
		return false;
	*out = (struct cursor) { .birth = (uint32_t)STATE_BIRTH(state),
		.admitted = cell_total_steady(s) & TOTAL_MASK,
		.denied = DENIED_COUNT(load(&s[SLOT_DENIED])) };
	return true;
}

/* b - a of counters of so many bits, each within half of them of the other. */
static int64_t
difference(uint64_t a, uint64_t b, unsigned bits)
{
	return (int64_t)((b - a) << (64 - bits)) >> (64 - bits);
}

/* Is there anything to record?  In p, but for its entry. */
static bool
news(const struct cursor *c, const struct cursor *now, uint32_t index, struct pending *p)
{
	bool same = c->birth == now->birth;
	uint64_t admitted = same ? c->admitted & TOTAL_MASK : 0;
	uint64_t denied = same ? c->denied & DENIED_MASK : 0;

	if (same && (c->denied & CURSOR_DONE) != 0)
		return false;
	*p = (struct pending) { .next = *now,
		.index = index,
		.admitted = difference(admitted, now->admitted, TOTAL_BITS),
		.denied = difference(denied, now->denied, DENIED_BITS) };
	if (same) {
		p->next.id = c->id;
		p->next.admitted |= CURSOR_PLAN(c) << 48;
	}
	return p->admitted != 0 || p->denied != 0;
}

static bool
is_queued(const struct history *h, uint64_t index)
{
	return (h->queued[index / 8] >> (index % 8) & 1) != 0;
}

static void
queue(struct history *h, const struct pending *p)
{
	h->queued[p->index / 8] |= (uint8_t)(1u << (p->index % 8));
	h->batch[h->n++] = *p;
}

/* The batch is written; in a tick as far as there is time, and what waited for it is freed. */
static bool
flush(struct history *h, bool in_tick)
{
	bool ok = history_write(h, in_tick && !h->keeper->urgent);
	size_t n = 0;

	for (size_t i = 0; ok && in_tick && i < h->n; i++)
		if (h->batch[i].gone)
			h->gone[n++] = h->batch[i].index;
	h->n = 0;
	for (size_t i = 0; i < n; i++)
		keeper_free(h->keeper, h->gone[i]);
	return ok;
}

/* ---- slots that are to be freed ---- */

static bool
may_free(void *arg, const struct segment *seg, uint64_t slot)
{
	struct history *h = arg;
	struct cursor now, *c;
	struct pending p;

	if (h->head == NULL || !history_reading(seg, slot, &now))
		return true;
	c = &h->cursors[slot];
	if (!news(c, &now, (uint32_t)slot, &p)) {
		/* Before the counts are emptied, which may take two goes. */
		c->birth = now.birth;
		c->denied |= CURSOR_DONE;
		return true;
	}
	if (h->failing_s != 0 && keeper_now(h->keeper) - h->failing_s > FAILING_S) {
		h->status.lost += p.admitted > 0 ? (uint64_t)p.admitted : 0;
		c->birth = now.birth;
		c->denied |= CURSOR_DONE;
		return true;
	}
	if (is_queued(h, slot))
		return false;
	if (h->n == BATCH_MAX) {
		/* Freed in the sweep's next round, which is soon when room is wanted. */
		if (!h->keeper->urgent || h->flushed >= URGENT_BATCHES)
			return false;
		h->flushed++;
		(void)flush(h, false);
	}
	p.gone = true;
	queue(h, &p);
	return false;
}

/* ---- rounds ---- */

static void
look_at(struct history *h, uint64_t slot)
{
	struct cursor now;
	struct pending p;

	if (history_reading(&h->keeper->seg, slot, &now) &&
	    news(&h->cursors[slot], &now, (uint32_t)slot, &p) && !is_queued(h, slot))
		queue(h, &p);
}

static void
look_at_limit(struct history *h, uint32_t limit)
{
	uint64_t index = h->keeper->seg.nslots + limit;
	struct cursor now = { .denied =
				  load(&h->keeper->seg.limits[limit].denied_nokey) & DENIED_MASK };
	struct pending p;

	if (news(&h->cursors[index], &now, (uint32_t)index, &p))
		queue(h, &p);
}

static bool
all_seen(const struct history *h)
{
	return h->next == h->keeper->seg.nslots + LIMITS_MAX;
}

/* On from where the round stands, until the batch is full or the time is over. */
static void
scan(struct history *h, uint64_t end_ns)
{
	uint64_t nslots = h->keeper->seg.nslots;

	for (unsigned n = 0; !all_seen(h) && h->n < BATCH_MAX; n++, h->next++) {
		if (n % SCAN_STEP == 0 && n > 0 && history_cpu_ns() > end_ns)
			return;
		if (h->next < nslots)
			look_at(h, h->next);
		else
			look_at_limit(h, (uint32_t)(h->next - nslots));
	}
}

static void
round_ended(struct history *h)
{
	h->recording = false;
	h->status.rounds++;
	h->status.round_cpu_ns = h->round_cpu_ns;
	h->status.round_slots = h->round_slots;
	h->status.round_at = keeper_now(h->keeper);
}

/* A slice of the round; without a round what is to be freed. */
static void
round_tick(struct history *h)
{
	uint64_t shared = keeper_shared(h->keeper), start = history_cpu_ns();

	if (!h->recording && shared >= h->due_ns) {
		h->recording = true;
		h->next = 0;
		h->round_cpu_ns = h->round_slots = 0;
		h->due_ns = shared + h->policy.every_s * UINT64_C(1000000000);
	}
	if (h->recording) {
		uint64_t before = h->next;

		scan(h, start + SCAN_NS);
		if (!flush(h, true))
			h->next = before;
		else if (all_seen(h))
			round_ended(h);
		h->round_cpu_ns += history_cpu_ns() - start;
		if (!h->recording)
			h->status.round_cpu_ns = h->round_cpu_ns;
	} else {
		(void)flush(h, true);
	}
}

void
history_tick(struct history *h)
{
	if (h->head == NULL)
		return;
	h->flushed = 0;
	round_tick(h);
	if (!h->recording)
		(void)history_upkeep(h, UPKEEP_NS);
}

void
history_record(struct history *h)
{
	uint64_t next = h->next;
	bool ok = true;

	if (h->head == NULL)
		return;
	h->next = 0;
	while (ok && (!all_seen(h) || h->n > 0)) {
		scan(h, UINT64_MAX);
		ok = flush(h, false);
	}
	h->next = next;
}

void
history_record_key(struct history *h, const unsigned char *key, size_t len)
{
	const struct segment *seg = &h->keeper->seg;
	struct policy_ref p;
	struct limit_def def;

	if (h->head == NULL || !keeper_policy(h->keeper, &p))
		return;
	for (uint32_t i = 0; i < p.area->nlimits && i < LIMITS_MAX; i++) {
		struct ident id = { .key = key, .key_len = len };
		struct found f;

		if (!policy_limit(&p, i, &def) || (def.flags & LIMIT_GONE) != 0)
			continue;
		id.limit = policy_string(&p, def.name, &id.limit_len);
		ident_hash(seg, &id);
		if (table_find(seg, &id, i, &f) && f.slot < seg->nslots)
			look_at(h, f.slot);
		if (h->n == BATCH_MAX)
			(void)flush(h, false);
	}
	(void)flush(h, false);
}

/* ---- start and end ---- */

void
history_settings(struct history *h, const struct config_history *policy)
{
	char err[512];
	bool was = h->head != NULL;

	if (was && policy->off)
		history_record(h);
	h->policy = *policy;
	h->told_full = false;
	if (policy->off) {
		recorded_close(h);
		recorded_forget(h);
	} else if (!was && recorded_open(h, err, sizeof(err)) != 0) {
		log_error("history: %s; usage is not recorded", err);
	}
}

int
history_open(struct history **out, struct keeper *k, struct store *s,
    const struct config_history *policy, char *err, size_t errsize)
{
	struct history *h = calloc(1, sizeof(*h));
	struct sweep_hooks hooks = { .may_free = may_free, .arg = h };

	*out = h;
	if (h == NULL || (h->queued = calloc((k->seg.nslots + LIMITS_MAX) / 8 + 1, 1)) == NULL) {
		(void)snprintf(err, errsize, "out of memory");
		return -1;
	}
	h->keeper = k;
	h->store = s;
	h->policy = *policy;
	h->due_ns = keeper_shared(k) + policy->every_s * UINT64_C(1000000000);
	if (store_usage_state(s, &h->state, err, errsize) != 0)
		return -1;
	if (policy->off)
		recorded_forget(h);
	else if (recorded_open(h, err, errsize) != 0)
		return -1;
	return keeper_subscribe(k, &hooks) ? 0 : -1;
}

void
history_close(struct history *h)
{
	if (h == NULL)
		return;
	if (h->head != NULL)
		history_record(h);
	recorded_close(h);
	free(h->queued);
	free(h);
}

bool
history_on(const struct history *h)
{
	return h->head != NULL;
}

void
history_status(struct history *h, struct history_status *out)
{
	int64_t oldest = INT64_MAX;

	for (unsigned l = 0; l < USAGE_LEVELS; l++) {
		int64_t first = store_usage_next(h->store, l, INT64_MIN);

		oldest = first < oldest ? first : oldest;
	}
	*out = h->status;
	out->off = h->head == NULL;
	out->every_s = h->policy.every_s;
	out->entries = h->state.entries;
	out->keys = h->policy.keys;
	out->bytes = store_usage_bytes(h->store);
	out->oldest = oldest != INT64_MAX ? oldest : -1;
}
