/*
 * sweep.c - rationd's housekeeping of slots: the only place where a slot is taken out of
 * its list and made free again.  One slot at a time; killed between any two steps it
 * leaves a state from which the next round goes on.
 */
#include "table.h"

#include <string.h>

#include "atomics.h"
#include "cell.h"
#include "lease.h"
#include "slot.h"

#define HALFMADE_TICKS 60 /* 2 s */

struct sweeper {
	const struct segment *seg;
	struct sweep *s;
	struct cell_ctx x;
	struct policy_ref policy;
	uint64_t tick;
	uint64_t idle_ns;
};

/* ---- lists ---- */

/* The key's hash, from what stands in the slot and the policy. */
static bool
slot_bucket(const struct sweeper *w, uint64_t slot, word_t **bucket)
{
	const word_t *s = segment_slot(w->seg, slot);
	unsigned char key[256];
	uint64_t link = word_load(&s[SLOT_LINK]);
	struct limit_def limit;
	struct ident id;
	int len = table_slot_key(w->seg, slot, key);

	if (len <= 0 || !policy_limit(&w->policy, LINK_LIMIT(link), &limit))
		return false;
	id.limit = policy_string(&w->policy, limit.name, &id.limit_len);
	id.key = key;
	id.key_len = (size_t)len;
	id.chunk = LINK_CHUNK(link);
	ident_hash(w->seg, &id);
	*bucket = &w->seg->buckets[table_bucket(w->seg, id.hash)];
	return true;
}

/*
 * Is the slot in the bucket's list?  *before: the slot that points at it, NO_SLOT: the
 * bucket does.
 */
static bool
linked(const struct sweeper *w, const word_t *bucket, uint64_t slot, uint64_t *before)
{
	uint64_t ref = BUCKET_REF(word_load(bucket));

	*before = NO_SLOT;
	for (unsigned hop = 0; hop < CHAIN_MAX && ref != 0 && ref <= w->seg->nslots; hop++) {
		if (ref - 1 == slot)
			return true;
		*before = ref - 1;
		ref = LINK_NEXT(word_load(&segment_slot(w->seg, ref - 1)[SLOT_LINK]));
	}
	return false;
}

/*
 * Count the bucket's version up: who searched the list before, or is about to link a slot
 * into it, fails and searches again.
 */
static bool
bump(word_t *bucket)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t head = word_load(bucket);

		if (word_cas(bucket, head, BUCKET_NEXT(head, BUCKET_REF(head))))
			return true;
	}
	return false;
}

/*
 * Take a GONE slot out of its list.  False: come back in the next round.  The version goes up
 * in any case: an adder who stands on this slot in his search would follow its next
 * life into another list, and its own adder, whom a killed rationd had given up, might
 * link it still.
 */
static bool
unlink_slot(const struct sweeper *w, uint64_t slot)
{
	word_t *s = segment_slot(w->seg, slot), *bucket;
	uint64_t before;

	if (!slot_bucket(w, slot, &bucket))
		return true; /* never got so far as to have a key */
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t next = LINK_NEXT(word_load(&s[SLOT_LINK])), head, link;
		word_t *p;

		if (!linked(w, bucket, slot, &before))
			return bump(bucket);
		if (before == NO_SLOT) {
			head = word_load(bucket);
			if (BUCKET_REF(head) == slot + 1 &&
			    word_cas(bucket, head, BUCKET_NEXT(head, next)))
				return true;
			continue;
		}
		/* Only we write the link of a slot that is linked. */
		p = &segment_slot(w->seg, before)[SLOT_LINK];
		link = word_load(p);
		if (LINK_NEXT(link) == slot + 1)
			(void)word_cas(p, link,
			    CHUNK_LINK(next, LINK_CHUNK(link), LINK_LEN(link), LINK_LIMIT(link)));
	}
	return false;
}

/* ---- freeing ---- */

static void
store(word_t *w, uint64_t value)
{
	atomic_store_explicit(w, value, memory_order_release);
}

/* GONE -> FREE, in a new life. */
static void
free_slot(const struct sweeper *w, uint64_t slot)
{
	word_t *s = segment_slot(w->seg, slot);
	uint64_t state = word_load(&s[SLOT_STATE]), birth = w->tick;

	if (birth == STATE_BIRTH(state))
		return; /* a life lasts a tick at least: in the next round */
	for (unsigned i = 1; i < w->seg->stride; i++)
		store(&s[i], slot_initial(w->seg, slot, birth, i));
	store(&s[SLOT_STATE], STATE_WORD(birth, w->tick, ST_FREE));
	(void)atomic_fetch_or_explicit(
	    &w->seg->bitmap[slot / 64], UINT64_C(1) << (slot % 64), memory_order_relaxed);
}

/* The slots that hold the rest of a long key go with it. */
static void
free_extras(const struct sweeper *w, uint64_t slot)
{
	const word_t *s = segment_slot(w->seg, slot);
	uint64_t refs, ref;

	if (LINK_LEN(word_load(&s[SLOT_LINK])) <= KEY_INLINE_WORDS * 8)
		return;
	refs = word_load(&s[SLOT_KEY + KEY_INLINE_WORDS - 1]);
	for (unsigned i = 0; i < 2; i++) {
		word_t *e;
		uint64_t state;

		ref = i == 0 ? refs >> 32 : refs & UINT32_MAX;
		if (ref == 0 || ref > w->seg->nslots)
			continue;
		e = segment_slot(w->seg, ref - 1);
		state = word_load(&e[SLOT_STATE]);
		/* A predecessor may have been killed after it had freed this one. */
		if (STATE_ST(state) != ST_EXTRA ||
		    word_load(&e[SLOT_LINK]) !=
			EXTRA_LINK(slot, STATE_BIRTH(word_load(&s[SLOT_STATE]))))
			continue;
		store(
		    &e[SLOT_STATE], STATE_WORD(STATE_BIRTH(state), STATE_ATTEMPT(state), ST_GONE));
		free_slot(w, ref - 1);
	}
}

/* What the key had used goes to its limit's counters; then the slot is free. */
static void
finish_gone(struct sweeper *w, uint64_t slot)
{
	word_t *s = segment_slot(w->seg, slot);
	uint64_t link = word_load(&s[SLOT_LINK]), total = word_load(&s[SLOT_TOTAL]);
	uint64_t denied = word_load(&s[SLOT_DENIED]);
	struct limit_counters *lc;

	/* A chunk, or what never had a key, is nobody's business. */
	if (w->s->hooks.may_free != NULL && LINK_CHUNK(link) == 0 &&
	    table_slot_key(w->seg, slot, (unsigned char[256]) { 0 }) > 0 &&
	    !w->s->hooks.may_free(w->s->hooks.arg, w->seg, slot))
		return;
	if (!unlink_slot(w, slot))
		return;
	/*
	 * The slot is nobody's but ours now.  Counts are emptied before they are added:
	 * rationd killed in between loses a statistic rather than doubling it.
	 */
	if (table_slot_key(w->seg, slot, (unsigned char[256]) { 0 }) > 0) {
		lc = &w->seg->limits[LINK_LIMIT(link) % LIMITS_MAX];
		store(&s[SLOT_TOTAL], MARK_NONE);
		store(&s[SLOT_DENIED], 0);
		word_count(&lc->admitted_gone, TOTAL_UNITS(total));
		word_count(&lc->denied_gone, DENIED_COUNT(denied));
		free_extras(w, slot);
	}
	free_slot(w, slot);
}

/* ---- one slot ---- */

/*
 * MAKING or READY for 2 s: the adder was killed or stopped.  A MAKING slot was never
 * linked.  A READY one may be, or be linked this very moment: it becomes RETIRING, which
 * whoever finds it undoes; then the bucket's version is counted up, so that a link
 * not made by now fails; then we look whether it was made.
 */
static void
sweep_halfmade(struct sweeper *w, uint64_t slot, uint64_t state)
{
	word_t *s = segment_slot(w->seg, slot), *bucket;
	uint64_t birth = STATE_BIRTH(state), retiring, before;

	if (!tick_past(w->tick, STATE_ATTEMPT(state), HALFMADE_TICKS))
		return;
	if (STATE_ST(state) == ST_MAKING) {
		if (word_cas(&s[SLOT_STATE], state, STATE_WORD(birth, w->tick, ST_GONE))) {
			w->s->halfmade++;
			word_count(&w->seg->head->halfmade, 1);
			finish_gone(w, slot);
		}
		return;
	}
	retiring = STATE_WORD(birth, w->tick, ST_RETIRING);
	if (!slot_bucket(w, slot, &bucket) || !word_cas(&s[SLOT_STATE], state, retiring))
		return;
	(void)bump(bucket);
	if (linked(w, bucket, slot, &before)) {
		(void)word_cas(&s[SLOT_STATE], retiring, STATE_WORD(birth, w->tick, ST_LIVE));
	} else if (word_cas(&s[SLOT_STATE], retiring, STATE_WORD(birth, w->tick, ST_GONE))) {
		w->s->halfmade++;
		word_count(&w->seg->head->halfmade, 1);
		finish_gone(w, slot);
	}
}

/* Does the extra slot hold bytes of a key, or of one that is being added? */
static bool
owned(const struct sweeper *w, uint64_t slot)
{
	uint64_t link = word_load(&segment_slot(w->seg, slot)[SLOT_LINK]), refs, state;
	uint64_t owner = LINK_NEXT(link) - 1;
	const word_t *s;

	if (owner >= w->seg->nslots)
		return false;
	s = segment_slot(w->seg, owner);
	state = word_load(&s[SLOT_STATE]);
	if (link != EXTRA_LINK(owner, STATE_BIRTH(state)))
		return false;
	switch (STATE_ST(state)) {
	case ST_MAKING:
	case ST_READY:
		return true;
	case ST_LIVE:
	case ST_RETIRING:
	case ST_GONE:
		/* One of two tries to write the same key may have been given up. */
		refs = word_load(&s[SLOT_KEY + KEY_INLINE_WORDS - 1]);
		return LINK_LEN(word_load(&s[SLOT_LINK])) > KEY_INLINE_WORDS * 8 &&
		    (refs >> 32 == slot + 1 || (refs & UINT32_MAX) == slot + 1);
	default:
		return false;
	}
}

/* What an adder left that was killed, or came second: nobody will ask for it. */
static void
sweep_extra(struct sweeper *w, uint64_t slot, uint64_t state)
{
	word_t *s = segment_slot(w->seg, slot);
	uint64_t gone = STATE_WORD(STATE_BIRTH(state), w->tick, ST_GONE);

	if (owned(w, slot) || !tick_past(w->tick, STATE_ATTEMPT(state), HALFMADE_TICKS)) {
		w->s->live++;
		return;
	}
	if (word_cas(&s[SLOT_STATE], state, gone)) {
		w->s->halfmade++;
		word_count(&w->seg->head->halfmade, 1);
		finish_gone(w, slot);
	}
}

static bool
all_idle(struct sweeper *w)
{
	for (unsigned i = 0; i < w->seg->cells; i++)
		if (!cell_idle(&w->x, i, w->idle_ns))
			return false;
	return true;
}

/* Chunk 0 of a key of leases stays as long as one of the others does. */
static bool
has_chunks(const struct sweeper *w, uint64_t slot)
{
	const word_t *s = segment_slot(w->seg, slot), *cell = &s[SLOT_CELLS];
	uint64_t link = word_load(&s[SLOT_LINK]), cache = word_load(&cell[CELL_CACHE]);
	unsigned char key[256];
	struct limit_def limit;
	struct ident id;
	struct found f;
	int len;

	if (CONV_SHAPE(word_load(&cell[CELL_CONV])) != SHAPE_CONCURRENT || LINK_CHUNK(link) != 0 ||
	    (CHUNKS_TOLD(cache) && CHUNKS_OF(cache) == 0))
		return false;
	len = table_slot_key(w->seg, slot, key);
	if (len <= 0 || !policy_limit(&w->policy, LINK_LIMIT(link), &limit))
		return false;
	id.limit = policy_string(&w->policy, limit.name, &id.limit_len);
	id.key = key;
	id.key_len = (size_t)len;
	for (uint32_t i = lease_chunks(cache); i > 0; i--) {
		id.chunk = i;
		ident_hash(w->seg, &id);
		if (table_find(w->seg, &id, LINK_LIMIT(link), &f))
			return true;
	}
	return false;
}

static void
sweep_live(struct sweeper *w, uint64_t slot, uint64_t state)
{
	word_t *s = segment_slot(w->seg, slot);
	uint64_t birth = STATE_BIRTH(state);
	uint64_t retiring = STATE_WORD(birth, w->tick, ST_RETIRING);

	w->x.slot = s;
	w->x.birth = birth;
	/* At most one attempt a tick, and no life shorter than 2 s. */
	if (!tick_past(w->tick, STATE_ATTEMPT(state), HALFMADE_TICKS))
		return;
	if (!all_idle(w)) {
		/* Who took a permit was killed before he could mark it. */
		lease_mark_taken(w->seg, slot);
		return;
	}
	if (!word_cas(&s[SLOT_STATE], state, retiring))
		return;
	/* After that: who adds a chunk from now on looks at the state afterwards. */
	if (has_chunks(w, slot)) {
		(void)word_cas(&s[SLOT_STATE], retiring, STATE_WORD(birth, w->tick, ST_LIVE));
		return;
	}
	for (unsigned i = 0; i < w->seg->cells; i++)
		if (!cell_retire(&w->x, i, w->idle_ns)) {
			(void)word_cas(
			    &s[SLOT_STATE], retiring, STATE_WORD(birth, w->tick, ST_LIVE));
			return;
		}
	/* Somebody may have rescued it meanwhile. */
	if (!word_cas(&s[SLOT_STATE], retiring, STATE_WORD(birth, w->tick, ST_GONE)))
		return;
	w->s->recycled++;
	word_count(&w->seg->head->recycled, 1);
	finish_gone(w, slot);
}

static void
sweep_slot(struct sweeper *w, uint64_t slot)
{
	word_t *s = segment_slot(w->seg, slot);
	uint64_t state = word_load(&s[SLOT_STATE]), link;

	switch (STATE_ST(state)) {
	case ST_FREE:
		if ((word_load(&w->seg->bitmap[slot / 64]) >> (slot % 64) & 1) == 0)
			(void)atomic_fetch_or_explicit(&w->seg->bitmap[slot / 64],
			    UINT64_C(1) << (slot % 64), memory_order_relaxed);
		return;
	case ST_MAKING:
	case ST_READY:
		sweep_halfmade(w, slot, state);
		return;
	case ST_LIVE:
		w->s->live++;
		link = word_load(&s[SLOT_LINK]);
		w->s->per_limit[LINK_LIMIT(link) % LIMITS_MAX] += LINK_CHUNK(link) == 0;
		if (w->s->hooks.seen != NULL && LINK_CHUNK(link) == 0)
			w->s->hooks.seen(w->s->hooks.arg, w->seg, slot);
		sweep_live(w, slot, state);
		return;
	case ST_RETIRING:
		/* We are the only one who retires: left by a killed predecessor. */
		(void)word_cas(
		    &s[SLOT_STATE], state, STATE_WORD(STATE_BIRTH(state), w->tick, ST_LIVE));
		return;
	case ST_GONE:
		finish_gone(w, slot);
		return;
	case ST_EXTRA:
		sweep_extra(w, slot, state);
		return;
	default:
		/* A scribble: nobody can have it. */
		store(&s[SLOT_STATE], STATE_WORD(STATE_BIRTH(state), w->tick, ST_GONE));
		word_count(&w->seg->head->scribbles, 1);
		return;
	}
}

void
table_sweep_one(
    const struct segment *seg, struct sweep *s, uint64_t slot, uint64_t now_ns, int64_t unix_ns)
{
	struct sweeper w = { .seg = seg, .s = s, .tick = tick_of(now_ns) };

	if (slot >= seg->nslots || !policy_current(seg->policy, &w.policy))
		return;
	w.x.seg = seg;
	w.x.policy = &w.policy;
	w.x.now_ns = now_ns;
	w.x.unix_ns = unix_ns;
	if (STATE_ST(word_load(&segment_slot(seg, slot)[SLOT_STATE])) == ST_GONE)
		finish_gone(&w, slot);
}

bool
table_sweep(const struct segment *seg, struct sweep *s, uint64_t count, uint64_t now_ns,
    int64_t unix_ns, uint64_t idle_ns)
{
	struct sweeper w = { .seg = seg, .s = s, .tick = tick_of(now_ns), .idle_ns = idle_ns };

	if (!policy_current(seg->policy, &w.policy))
		return false;
	if (s->next == 0) {
		s->live = 0;
		memset(s->per_limit, 0, sizeof(s->per_limit));
	}
	w.x.seg = seg;
	w.x.policy = &w.policy;
	w.x.now_ns = now_ns;
	w.x.unix_ns = unix_ns;
	w.x.precise = true;
	w.x.writable = true;
	for (; count > 0 && s->next < seg->nslots; count--)
		sweep_slot(&w, s->next++);
	if (s->next < seg->nslots)
		return false;
	s->next = 0;
	atomic_store_explicit(&seg->head->live, s->live, memory_order_relaxed);
	for (unsigned i = 0; i < LIMITS_MAX; i++)
		atomic_store_explicit(&seg->limits[i].keys, s->per_limit[i], memory_order_relaxed);
	return true;
}
