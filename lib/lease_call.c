/*
 * lease_call.c - the public calls that take leases and give them back.
 */
#include "ration.h"

#include <string.h>

#include "hint.h"
#include "queue.h"
#include "words.h"

static void
lease_clear(ration_lease_t *lease)
{
	memset(lease, 0, sizeof(*lease));
}

/* What a receipt says was taken. */
static void
lease_fill(const struct segment *seg, const ration_receipt_t *rc, ration_lease_t *lease)
{
	lease->size = sizeof(*lease);
	lease->place = WHERE_CELL(rc->where) * RING_WORDS + WHERE_WORD(rc->where);
	lease->slot = rc->slot;
	lease->birth = rc->birth;
	lease->word = rc->units;
	lease->segment = seg->head->id;
}

void
call_lease(const struct call *c, ration_lease_t *lease)
{
	lease_clear(lease);
	if (c->d->nreceipts == 1 && RECEIPT_IS_LEASE(&c->d->receipts[0]))
		lease_fill(c->seg, &c->d->receipts[0], lease);
	lease->size = sizeof(*lease); /* without a permit: there is nothing to release */
}

/* ---- the short way ---- */

/*
 * For a key whose permits are all in one slot, found by its hint, with one that is free: a look
 * at each word, one CAS.  Whatever is not so goes the long way, denials too.
 */

/* Which of a cell's permits are taken, a bit for each.  Mostly few are, and those at the front. */
SHORT uint64_t
taken_of(const word_t *ring)
{
	uint64_t taken = 0;

	for (unsigned i = 0; i < RING_WORDS; i += 4) {
		uint64_t a = word_load(&ring[i]), b = word_load(&ring[i + 1]);
		uint64_t c = word_load(&ring[i + 2]), d = word_load(&ring[i + 3]);

		if (UNLIKELY(lease_stands(a | b | c | d)))
			taken |=
			    ((uint64_t)lease_stands(a) | (uint64_t)lease_stands(b) << 1 |
				(uint64_t)lease_stands(c) << 2 | (uint64_t)lease_stands(d) << 3)
			    << i;
	}
	return taken;
}

/* Limits that the short way knows: enforced, endless, no more than one slot holds. */
SHORT bool
short_rules(const struct plain *p, const struct ruleset *rs, uint64_t *n)
{
	const struct limit_def *l =
	    (const struct limit_def *)(const void *)((const char *)p->area + p->area->limits) +
	    rs->limit;

	*n = rs->rates[0].units;
	return LIKELY(rs->limit < p->area->nlimits && rs->nrates == 1 && rs->mode == MODE_ENFORCE &&
	    rs->flags == 0 && rs->until == POLICY_ENDLESS &&
	    rs->rates[0].kind == RATION_CONCURRENT && *n <= lease_places(p->seg) &&
	    (l->flags & (LIMIT_UNLISTED_REFUSE | LIMIT_STRICT | LIMIT_GONE)) == 0);
}

SHORT void
short_answer(const struct plain *p, uint32_t limit, uint64_t n, uint64_t used, uint32_t place,
    uint64_t word, ration_decision_t *d)
{
	uint64_t unix_ns = p->now + (uint64_t)plain_real(p), s = unix_ns / 1000000000u;

	store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, 1 | 1 << 16));
	store_pair(&d->cost, 1, s);
	store_pair(
	    &d->retry_after, two32(0, POLICY_CURRENT(p->policy_word)), two32(p->seg->id, limit));
	store_pair(&d->used, used, n - used);
	store_pair(&d->reset_at, s + (unix_ns - s * 1000000000u != 0), 0);
	if (UNLIKELY(used >= n / 2))
		d->level = decision_level(used, n);
	store_pair(&d->receipts[0],
	    WHERE(UINT64_C(0), UINT64_C(0), place / RING_WORDS, place % RING_WORDS),
	    two32(p->slot, STATE_BIRTH(p->state)));
	d->receipts[0].units = word;
}

SHORT int
lease_short(ration_t *r, const struct segment *seg, uint64_t now, const char *limit,
    const unsigned char *key, size_t len, ration_lease_t *lease, ration_decision_t *d)
{
	struct plain p = plain_start(r, seg, now);
	struct short_key words = short_key(key, len);
	uint64_t h = hint_of(limit, &words), tick = tick_of(now), place, n, word, cache, old;
	uint64_t taken = 0;
	const struct ruleset *rs;
	uint32_t holder, id, free, cells;
	word_t *at;

	place = atomic_load_explicit(&r->hints[HINT_INDEX(h)].place, memory_order_acquire);
	if (UNLIKELY(!hint_holds(&p, p.area, place, h, limit, &words, len)) ||
	    UNLIKELY(!plain_ruleset(&p, p.at, &rs)) || UNLIKELY(!short_rules(&p, rs, &n)) ||
	    UNLIKELY((holder = holder_known(r, seg)) == 0))
		return LONG_WAY;
	/* From the policy before plain_intact(). */
	id = rs->limit;
	if (d != NULL)
		memcpy(&d->limit_units, &rs->rates[0], offsetof(struct rate_def, shape));
	cache = word_load(&p.at[SLOT_CELLS + CELL_CACHE]);
	if (UNLIKELY(!CHUNKS_TOLD(cache)) || UNLIKELY(CHUNKS_OF(cache) != 0) ||
	    UNLIKELY(CHUNKS_CELL(cache) >= seg->cells))
		return LONG_WAY;
	cells = CHUNKS_CELL(cache) + 1;
	for (unsigned i = 0; i < cells; i++) {
		const word_t *cell = p.at + SLOT_CELLS + (size_t)i * CELL_WORDS;

		taken |= taken_of(&cell[CELL_RING]) << (i * RING_WORDS);
		if (UNLIKELY(CONV_SETTLED(word_load(&cell[CELL_CONV])) != SHAPE_CONCURRENT))
			return LONG_WAY;
	}
	/* None is taken that may not be (the limit was lowered), and one is free. */
	if (UNLIKELY(n < 64 && taken >> n != 0) || UNLIKELY(taken == UINT64_MAX))
		return LONG_WAY;
	free = (uint32_t)__builtin_ctzll(~taken);
	if (UNLIKELY(free >= n || free >= cells * RING_WORDS))
		return LONG_WAY;
	at = lease_word(seg, p.slot, free);
	old = word_load(at);
	/* Taken meanwhile; a clock behind the slot's life (lease.c). */
	if (UNLIKELY(lease_stands(old)) || UNLIKELY(tick_diff(tick, STATE_BIRTH(p.state)) < 0) ||
	    UNLIKELY(!plain_intact(&p)) || UNLIKELY(word_load(&p.at[SLOT_STATE]) != p.state))
		return LONG_WAY;
	word = HELD_WORD((uint64_t)holder, 0u, tick);
	lease_mark(seg, p.slot); /* as lease_take() */
	if (UNLIKELY(!word_cas(at, old, word)))
		return LONG_WAY;
	word_count(&p.at[SLOT_TOTAL], TOTAL_ONE);
	lease_mark(seg, p.slot);
	store_pair(lease, two32(sizeof(*lease), free), two32(p.slot, STATE_BIRTH(p.state)));
	store_pair(&lease->word, word, seg->head->id);
	if (d != NULL)
		short_answer(&p, id, n, (uint64_t)__builtin_popcountll(taken) + 1, free, word, d);
	return RATION_ADMITTED;
}
static_assert(offsetof(ration_lease_t, place) == 4 && offsetof(ration_lease_t, slot) == 8 &&
	offsetof(ration_lease_t, birth) == 12 && offsetof(ration_lease_t, segment) == 24,
    "what store_pair() stores stands together");

/* Where the key's permits are: for the next call. */
static void
learn(ration_t *r, const struct call *c, const char *limit, const void *key, size_t len)
{
	const struct item *it = &c->items[0];
	struct short_key words = short_key(key, len);
	uint64_t h = hint_of(limit, &words), slot = it->at.slot;

	if (slot == NO_SLOT || len > KEY_INLINE_WORDS * 8)
		return;
	/* As acquire.c: where a place is set its word was set before, if only to be read. */
	atomic_store_explicit(&r->hints[HINT_INDEX(h)].word,
	    (uint64_t)(uintptr_t)(slot_cell(c->seg, slot, 0) + CELL_RING), memory_order_relaxed);
	atomic_store_explicit(
	    &r->hints[HINT_INDEX(h)].place, HINT_PLACE(c->seg, h, slot), memory_order_release);
}

/* ---- taking ---- */

static int
lease_decide(ration_t *r, const char *limit, const void *key, size_t len,
    const struct lease_want *want, ration_lease_t *lease, ration_decision_t *d)
{
	struct call c;
	struct item *it;
	int v;

	lease_clear(lease);
	v = call_begin(&c, r, true, d);
	if (v == 0) {
		it = call_claim(&c, limit, strlen(limit), NO_ID, key, len, 1);
		it->only = true;
		it->want = *want;
		/* An end is to the tick: see lease.h. */
		c.precise = want->ttl_ms != 0;
		v = call_run(&c);
		if (v == RATION_ADMITTED) {
			call_lease(&c, lease);
			learn(r, &c, limit, key, len);
		}
	} else if (v == RATION_ADMITTED) { /* without a segment */
		lease->size = sizeof(*lease);
	}
	return v;
}

static int
check_key(ration_t *r, const char *limit, const void *key, size_t len)
{
	if (r == NULL || limit == NULL || key == NULL)
		return RATION_EINVAL;
	return len == 0 || len > RATION_KEY_MAX ? RATION_EKEY : 0;
}

static int __attribute__((noinline)) lease_any(ration_t *r, const char *limit, const void *key,
    size_t len, uint64_t ttl_ms, ration_lease_t *lease, ration_decision_t *d)
{
	const struct lease_want want = { .ttl_ms = ttl_ms };
	int e = check_key(r, limit, key, len);

	if (e == 0 && (lease == NULL || ttl_ms > RATION_TTL_MAX))
		e = RATION_EINVAL;
	return e != 0 ? e : lease_decide(r, limit, key, len, &want, lease, d);
}

int
ration_lease(ration_t *r, const char *limit, const void *key, size_t len, uint64_t ttl_ms,
    ration_lease_t *lease, ration_decision_t *d)
{
	const struct segment *seg;

	if (UNLIKELY(r == NULL || limit == NULL || key == NULL || lease == NULL) ||
	    UNLIKELY(len == 0 || ttl_ms != 0) || UNLIKELY(d != NULL && d->size != sizeof(*d)) ||
	    UNLIKELY((seg = handle_segment(r)) == NULL) ||
	    UNLIKELY(lease_short(r, seg, clock_coarse(&r->clock, seg->policy), limit, key, len,
			 lease, d) != RATION_ADMITTED))
		return lease_any(r, limit, key, len, ttl_ms, lease, d);
	return RATION_ADMITTED;
}

int
ration_lease_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len, ration_lease_t *lease, ration_decision_t *d)
{
	struct lease_want want = { .kept = true };
	int e = check_key(r, limit, key, key_len);

	if (e == 0 &&
	    (lease == NULL || (name == NULL && name_len != 0) || name_len > RATION_KEY_MAX))
		e = RATION_EINVAL;
	if (e != 0)
		return e;
	want.name = lease_name(name_len != 0 ? name : "", name_len);
	return lease_decide(r, limit, key, key_len, &want, lease, d);
}

/* ---- giving back ---- */

/*
 * Is it a lease of this segment?  0; 1: of one that needs no permit; or an error.
 */
static int
lease_check(ration_t *r, const ration_lease_t *lease, const struct segment **seg)
{
	if (r == NULL || lease == NULL)
		return RATION_EINVAL;
	if (lease->size == 0 && lease->word == 0)
		return RATION_ESTALE; /* none: it was released before */
	if (lease->size != sizeof(*lease))
		return RATION_EINVAL;
	if (lease->word == 0)
		return 1;
	*seg = handle_current(r);
	if (*seg == NULL)
		return RATION_EDETACHED;
	return lease->segment == (*seg)->head->id ? 0 : RATION_ESTALE;
}

/* Held in chunk 0, and nobody waits: one CAS.  False: not so, or not any more. */
SHORT bool
release_short(ration_t *r, ration_lease_t *lease)
{
	const struct segment *seg = handle_segment(r);
	word_t *s, *at;
	uint64_t cache;

	if (UNLIKELY(seg == NULL || lease->size != sizeof(*lease) ||
		word_kind(lease->word) != W_NARROW || lease->segment != seg->head->id ||
		lease->slot >= seg->nslots || lease->place >= lease_places(seg)))
		return false;
	s = segment_slot(seg, lease->slot);
	at = lease_word(seg, lease->slot, lease->place);
	if (UNLIKELY(STATE_BIRTH(word_load(&s[SLOT_STATE])) != lease->birth ||
		LINK_CHUNK(word_load(&s[SLOT_LINK])) != 0) ||
	    UNLIKELY(!word_cas(at, lease->word, BLANK(PERMIT_HELD, HELD_TICK(lease->word)))))
		return false;
	/* After the CAS: who waits has said so before he looked. */
	cache = word_load(&s[SLOT_CELLS + CELL_CACHE]);
	if (UNLIKELY(CHUNKS_TOLD(cache) && CHUNKS_WAITED(cache)))
		queue_wake(seg, lease->slot, lease->birth);
	store_pair(lease, 0, 0);
	store_pair(&lease->word, 0, 0);
	return true;
}

int
ration_release(ration_t *r, ration_lease_t *lease)
{
	const struct segment *seg;
	int e;

	if (LIKELY(r != NULL && lease != NULL) && LIKELY(release_short(r, lease)))
		return 0;
	e = lease_check(r, lease, &seg);

	if (e == 0)
		e = lease_free(seg, lease->slot, lease->birth, lease->place, lease->word,
		    clock_coarse(&r->clock, seg->policy));
	if (e == 0 || e == 1 || e == RATION_ESTALE)
		lease_clear(lease);
	return e == 1 ? 0 : e;
}

/* A key that is there, ready for lease_release_kept().  0 or an error. */
static int
find_key(ration_t *r, const struct segment *seg, struct ident *id, struct policy_ref *p,
    struct cell_ctx *x, struct lease_key *k)
{
	struct found f;
	int64_t limit;

	if (!policy_current(seg->policy, p))
		return RATION_EDETACHED;
	limit = policy_limit_id(p, id->limit, id->limit_len);
	if (!policy_intact(p))
		return RATION_EBUSY;
	if (limit < 0 || limit >= LIMITS_MAX)
		return RATION_ENOLIMIT;
	ident_hash(seg, id);
	if (!table_find(seg, id, (uint32_t)limit, &f))
		return RATION_ESTALE;
	*k = (struct lease_key) { id, (uint32_t)limit, f.slot };
	memset(x, 0, sizeof(*x));
	x->seg = seg;
	x->policy = p;
	x->slot = segment_slot(seg, f.slot);
	x->birth = f.birth;
	x->precise = true;
	x->writable = true;
	x->now_ns = clock_precise(&r->clock, seg->policy);
	x->unix_ns = clock_unix(seg->policy, x->now_ns);
	return 0;
}

int
ration_release_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len)
{
	struct ident id = { .limit = limit, .key = key, .key_len = key_len };
	const struct segment *seg;
	struct policy_ref p;
	struct cell_ctx x;
	struct lease_key k;
	int e = check_key(r, limit, key, key_len);

	if (e == 0 && ((name == NULL && name_len != 0) || name_len > RATION_KEY_MAX))
		e = RATION_EINVAL;
	if (e != 0)
		return e;
	seg = handle_current(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	id.limit_len = strlen(limit);
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		e = find_key(r, seg, &id, &p, &x, &k);
		if (e == 0)
			return lease_release_kept(
			    &x, &k, lease_name(name_len != 0 ? name : "", name_len));
		if (e != RATION_EBUSY)
			return e;
	}
	return RATION_EBUSY;
}

int
ration_renew(ration_t *r, ration_lease_t *lease, uint64_t ttl_ms)
{
	const struct segment *seg;
	uint64_t now, word;
	int e = lease_check(r, lease, &seg);

	if (e != 0)
		return e == 1 ? 0 : e;
	if (ttl_ms > RATION_TTL_MAX)
		return RATION_EINVAL;
	if (word_kind(lease->word) != W_NARROW) /* kept: nothing ends it */
		return ttl_ms == 0 ? 0 : RATION_EINVAL;
	now = clock_precise(&r->clock, seg->policy);
	if (lease_expired(lease->word, now))
		return RATION_ESTALE;
	e = lease_renew(
	    seg, lease->slot, lease->birth, lease->place, lease->word, ttl_ms, now, &word);
	if (e == 0)
		lease->word = word;
	return e;
}

int
ration_decision_lease(
    ration_t *r, const ration_decision_t *d, unsigned claim, ration_lease_t *lease)
{
	const struct segment *seg;

	if (r == NULL || d == NULL || d->size != sizeof(*d) || lease == NULL ||
	    d->nreceipts > RATION_DECISION_RATES)
		return RATION_EINVAL;
	lease_clear(lease);
	seg = handle_current(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	for (unsigned i = 0; i < d->nreceipts && seg->id == d->segment_id; i++)
		if (RECEIPT_IS_LEASE(&d->receipts[i]) &&
		    WHERE_CONV(d->receipts[i].where) == claim) {
			lease_fill(seg, &d->receipts[i], lease);
			return 0;
		}
	return RATION_ESTALE;
}
