/*
 * acquire.c - the public calls, and the short way.
 *
 * The short way is for the commonest call: one key that exists, one or more sliding
 * rates, enforced, in a sub-window already begun.  What it touches: the policy word
 * (twice), the ruleset; of the slot state, resolved, link and key (keyed calls), and for
 * each rate conv, cache and one ring word; the coarse clock; one CAS a rate.  Whatever is
 * not as it expects goes the long way (call.c), which decides everything.
 *
 * A CAS waits for all that goes into it, so the short way keeps long chains out of its
 * operands.  Where the key's slot may be and which sub-window it is are guessed (handle.h)
 * and then checked by compares that a processor predicts; neither the hash of the key
 * nor the division of the clock is waited for.  A wrong guess costs what the long
 * way costs, nothing else.
 */
#include "ration.h"

#include <string.h>

#include "atomics.h"
#include "call.h"
#include "slot.h"

/* The short way is one piece of code: what it keeps in registers need not be stored. */
#define SHORT static inline __attribute__((always_inline))

#define LONG_WAY 2 /* not a verdict: something is not as the short way expects */

/* A sub-window: what the words of now look like. */
struct sub {
	uint64_t start;
	uint64_t tick;
	unsigned word;
};

static uint64_t
epoch_check(uint64_t start)
{
	return start * UINT64_C(0x9e3779b97f4a7c15) >> 52;
}

static struct sub __attribute__((noinline))
sub_learn(struct epoch_hint *h, const struct rate_def *r, uint64_t now)
{
	uint64_t e = epoch_of(now, r->sub_ns, r->recip);
	struct sub s;

	s.start = e * r->sub_ns;
	s.tick = tick_of(s.start);
	s.word = (unsigned)(e % RING_WORDS);
	atomic_store_explicit(&h->start_ns, s.start, memory_order_relaxed);
	atomic_store_explicit(&h->key,
	    (uint64_t)r->shape << 46 | s.tick << 16 | s.word << 12 | epoch_check(s.start),
	    memory_order_relaxed);
	return s;
}

/* The sub-window of now, guessed: the last one seen of this shape. */
SHORT struct sub
sub_of(struct ration *h, const struct rate_def *r, uint64_t now)
{
	struct epoch_hint *hint = &h->epochs[r->shape % EPOCHS];
	uint64_t key = atomic_load_explicit(&hint->key, memory_order_relaxed);
	struct sub s;

	s.start = atomic_load_explicit(&hint->start_ns, memory_order_relaxed);
	s.tick = key >> 16 & TICK_MASK;
	s.word = (unsigned)(key >> 12 & (RING_WORDS - 1));
	if (UNLIKELY(now - s.start >= r->sub_ns || key >> 46 != r->shape
		|| (key & 0xfff) != epoch_check(s.start)))
		return sub_learn(hint, r, now);
	return s;
}

/* The figures of one plain rate. */
SHORT void
plain_rate(ration_rate_t *out, const struct rate_def *r, uint64_t used, uint64_t start,
    int64_t real_ns)
{
	uint64_t reset = start + RING_WORDS * r->sub_ns + (uint64_t)real_ns;

	memcpy(&out->limit_units, r, offsetof(struct rate_def, shape));
	out->used = used;
	out->remaining = r->units - used;
	out->reset_at = (int64_t)((reset + 999999999u) / 1000000000u);
	out->retry_at = 0;
	if (UNLIKELY(used >= r->units / 2))
		out->level = decision_level(used, r->units);
}

SHORT void
plain_head(ration_decision_t *d, const struct segment *seg, const struct ruleset *rs,
    uint32_t version, unsigned nrates, uint64_t cost)
{
	d->verdict = RATION_ADMITTED;
	d->flags = 0;
	d->nrates = (uint16_t)nrates;
	d->nreceipts = (uint16_t)nrates;
	d->cost = cost;
	d->retry_after = 0;
	d->policy_version = version;
	d->segment_id = seg->id;
	d->limit_id[0] = rs->limit;
}

/* Who is asked about, and under which policy. */
struct plain {
	struct ration *h;
	const struct segment *seg;
	uint64_t policy_word;
	const struct policy_area *area;
	uint64_t slot;
	uint64_t birth;
	uint64_t now;
	unsigned guess; /* ring word of a single rate's current sub-window */
};

/* The ruleset that the slot was resolved to under this version, NULL: resolve it anew. */
SHORT const struct ruleset *
plain_rules(const struct plain *p, const word_t *s)
{
	uint64_t resolved = word_load(&s[SLOT_RESOLVED]);
	const struct policy_area *a = p->area;

	if (UNLIKELY(resolved >> 32 != POLICY_CURRENT(p->policy_word)
		|| (resolved & UINT32_MAX) >= a->nrulesets))
		return NULL;
	return (const struct ruleset *)(const void *)((const char *)a + a->rulesets)
	    + (resolved & UINT32_MAX);
}

/*
 * Over the limit, by the coarse clock: by the precise one too?  Then it is denied: the sum
 * of sealed sub-windows stands, so each of the 15 words is of its sub-window.
 */
static int __attribute__((noinline))
plain_deny(struct plain q, const struct ruleset *rs, struct sub sub, uint64_t used,
    uint64_t cost, ration_decision_t *d)
{
	const struct plain *p = &q;
	const struct rate_def *r = &rs->rates[0];
	word_t *s = segment_slot(p->seg, p->slot);
	const word_t *ring = &s[SLOT_CELLS + CELL_RING];
	uint64_t now = clock_precise(&p->h->clock, p->seg->policy), got = 0, need, end;
	int64_t real_ns = atomic_load_explicit(&p->seg->policy->real_offset_ns, memory_order_relaxed);
	unsigned k;

	if (now - sub.start >= r->sub_ns || cost > r->units || used < cost)
		return LONG_WAY;
	need = used - r->units; /* cost is in it */
	for (k = 1; k < RING_WORDS; k++) {
		got += NARROW_UNITS(word_load(&ring[(sub.word + k) % RING_WORDS]));
		if (got >= need)
			break;
	}
	/* Word k after ours is of 16 - k sub-windows ago: 16 later it has expired. */
	end = sub.start + k * r->sub_ns;
	if (UNLIKELY(word_load(&p->seg->policy->word) != p->policy_word))
		return LONG_WAY;
	word_count(&s[SLOT_DENIED], DENIED_ONE);
	if (d == NULL)
		return RATION_DENIED;
	plain_head(d, p->seg, rs, POLICY_CURRENT(p->policy_word), 1, cost);
	plain_rate(&d->rates[0], r, r->units, sub.start, real_ns);
	d->verdict = RATION_DENIED;
	d->nreceipts = 0;
	d->used = used - cost;
	d->remaining = d->used < r->units ? r->units - d->used : 0;
	d->level = decision_level(d->used, r->units);
	d->flags = d->used > r->units ? RATION_F_DEBT : 0;
	d->retry_at = (int64_t)((end + (uint64_t)real_ns + 999999999u) / 1000000000u);
	d->retry_after =
	    (uint32_t)(d->retry_at - (int64_t)((now + (uint64_t)real_ns) / 1000000000u));
	return RATION_DENIED;
}

/* One rate of a plain call, ready to be charged. */
struct plain_step {
	struct sub sub;
	word_t *word;
	uint64_t old;
	uint64_t sum; /* of the sealed sub-windows */
	uint64_t conv;
};

/*
 * LOOK_FITS: the sub-window has begun; whether it is over the limit is for the caller to
 * see.  LOOK_DENIES: nothing was charged in it yet, and what came before leaves no room.
 * LOOK_AGAIN: not as the short way expects it.
 */
SHORT enum look_result
plain_look(const struct plain *p, word_t *cell, const struct rate_def *r, unsigned guess,
    uint64_t cost, struct plain_step *st)
{
	uint64_t conv = word_load(&cell[CELL_CONV]), cache = word_load(&cell[CELL_CACHE]);

	st->sub = sub_of(p->h, r, p->now);
	st->conv = CONV_COUNT(conv);
	/* The guess has long been loaded when the sub-window is known. */
	st->word = &cell[CELL_RING + guess];
	st->old = word_load(st->word);
	if (UNLIKELY(guess != st->sub.word)) {
		st->word = &cell[CELL_RING + st->sub.word];
		st->old = word_load(st->word);
	}
	st->sum = cache & NARROW_MAX;
	if (UNLIKELY(CONV_SETTLED(conv) != r->shape
		|| (cache & ~NARROW_MAX) != CACHE_TAG(st->conv, st->sub.tick)))
		return LOOK_AGAIN;
	if (LIKELY((st->old & ~NARROW_MAX) == NARROW_TAG(st->conv, st->sub.tick)))
		return LOOK_FITS;
	if (st->sum + cost <= r->units
	    || (word_kind(st->old) != W_BLANK
		&& (word_kind(st->old) != W_NARROW
		    || tick_diff(NARROW_TICK(st->old), st->sub.tick) >= 0)))
		return LOOK_AGAIN;
	st->old = 0;
	return LOOK_DENIES;
}

/*
 * A CAS lost to another caller's charge is tried again: the word is still open, so the
 * sum that was checked still stands.
 */
static uint64_t __attribute__((noinline))
plain_contend(word_t *word, uint64_t tag, uint64_t room, uint64_t cost)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t old = word_load(word);

		if ((old & ~NARROW_MAX) != tag || NARROW_UNITS(old) + cost > room)
			return 0;
		if (word_cas(word, old, old + cost))
			return old;
	}
	return 0;
}

/* Charge what plain_look() saw. */
SHORT bool
plain_charge(struct plain_step *st, const struct rate_def *r, uint64_t cost)
{
	if (LIKELY(word_cas(st->word, st->old, st->old + cost)))
		return true;
	st->old = plain_contend(st->word, st->old & ~NARROW_MAX, r->units - st->sum, cost);
	return st->old != 0;
}

/* What the rate had left before this call. */
SHORT uint64_t
plain_room(const struct plain_step *st, const struct rate_def *r)
{
	return r->units - st->sum - NARROW_UNITS(st->old);
}

/* Rate i, shown at place `at` of the decision. */
SHORT void
plain_report(const struct plain *p, const struct ruleset *rs, const struct plain_step *st,
    unsigned i, unsigned at, uint64_t cost, int64_t real_ns, ration_decision_t *d)
{
	ration_receipt_t *rc = &d->receipts[i];

	plain_rate(&d->rates[at], &rs->rates[i], st->sum + NARROW_UNITS(st->old) + cost,
	    st->sub.start, real_ns);
	rc->where = WHERE(st->old & ~NARROW_MAX, st->conv, i, st->sub.word);
	rc->slot = (uint32_t)p->slot;
	rc->birth = (uint32_t)p->birth;
	rc->units = cost;
}

/* Give back what the first n rates were charged. */
static void __attribute__((noinline))
plain_undo(const struct plain *p, struct plain_step *st, unsigned n, uint64_t cost)
{
	struct cell_ctx x;
	ration_receipt_t rc;

	memset(&x, 0, sizeof(x));
	x.seg = p->seg;
	x.slot = segment_slot(p->seg, p->slot);
	x.birth = p->birth;
	x.now_ns = clock_coarse(&p->h->clock, p->seg->policy);
	for (unsigned i = 0; i < n; i++) {
		rc.where = WHERE(st[i].old & ~NARROW_MAX, st[i].conv, i, st[i].sub.word);
		rc.slot = (uint32_t)p->slot;
		rc.birth = (uint32_t)p->birth;
		rc.units = cost;
		(void)cell_refund(&x, &rc, cost, true);
	}
}

/* Several sliding rates: look at all, then charge all; a refusal goes the long way. */
static int __attribute__((noinline))
plain_many(struct plain q, const struct ruleset *rs, uint64_t cost, ration_decision_t *d)
{
	const struct plain *p = &q;
	struct plain_step st[RATION_RATES_MAX];
	unsigned n = rs->nrates, lead = 0;
	word_t *cell = slot_cell(p->seg, p->slot, 0);
	int64_t real_ns;

	if (n > RATION_RATES_MAX || n > p->seg->cells)
		return LONG_WAY;
	for (unsigned i = 0; i < n; i++)
		if (plain_look(p, cell + (size_t)i * CELL_WORDS, &rs->rates[i],
			sub_of(p->h, &rs->rates[i], p->now).word, cost, &st[i]) != LOOK_FITS
		    || st[i].sum + NARROW_UNITS(st[i].old) + cost > rs->rates[i].units)
			return LONG_WAY;
	if (UNLIKELY(word_load(&p->seg->policy->word) != p->policy_word))
		return LONG_WAY;
	for (unsigned i = 0; i < n; i++)
		if (!plain_charge(&st[i], &rs->rates[i], cost)) {
			plain_undo(p, st, i, cost);
			return LONG_WAY;
		}
	if (d == NULL)
		return RATION_ADMITTED;
	real_ns = atomic_load_explicit(&p->seg->policy->real_offset_ns, memory_order_relaxed);
	plain_head(d, p->seg, rs, POLICY_CURRENT(p->policy_word), n, cost);
	for (unsigned i = 1; i < n; i++)
		if (plain_room(&st[i], &rs->rates[i]) < plain_room(&st[lead], &rs->rates[lead]))
			lead = i;
	for (unsigned i = 0; i < n; i++)
		plain_report(p, rs, &st[i], i, i == lead ? 0 : i == 0 ? lead : i, cost, real_ns, d);
	return RATION_ADMITTED;
}

SHORT int
try_plain(struct plain *p, uint64_t cost, ration_decision_t *d)
{
	word_t *s = segment_slot(p->seg, p->slot);
	const struct ruleset *rs = plain_rules(p, s);
	const struct rate_def *r;
	struct plain_step st;
	uint64_t used;

	if (UNLIKELY(rs == NULL || (rs->flags & RULESET_PLAIN) == 0))
		return LONG_WAY;
	if (rs->nrates != 1)
		return plain_many(*p, rs, cost, d);
	r = &rs->rates[0];
	if (UNLIKELY(plain_look(p, s + SLOT_CELLS, r, p->guess, cost, &st) == LOOK_AGAIN)) {
		p->guess = st.sub.word;
		return LONG_WAY;
	}
	p->guess = st.sub.word;
	used = st.sum + NARROW_UNITS(st.old) + cost;
	if (UNLIKELY(used > r->units))
		return plain_deny(*p, rs, st.sub, used, cost, d);
	/* The ruleset was not being rewritten under us: pairs with policy_begin(). */
	if (UNLIKELY(word_load(&p->seg->policy->word) != p->policy_word))
		return LONG_WAY;
	if (UNLIKELY(!plain_charge(&st, r, cost)))
		return LONG_WAY;
	if (d != NULL) {
		plain_head(d, p->seg, rs, POLICY_CURRENT(p->policy_word), 1, cost);
		plain_report(p, rs, &st, 0, 0, cost,
		    atomic_load_explicit(&p->seg->policy->real_offset_ns, memory_order_relaxed),
		    d);
	}
	return RATION_ADMITTED;
}

/* The policy as it is now.  False: none yet. */
SHORT bool
plain_start(struct plain *p, struct ration *h, const struct segment *seg, uint64_t now)
{
	p->now = now;
	p->h = h;
	p->seg = seg;
	p->policy_word = word_load(&seg->policy->word);
	p->area = seg->areas[POLICY_CURRENT(p->policy_word) & 1];
	return POLICY_CURRENT(p->policy_word) != 0;
}

/* ---- from a key to its slot, guessed ---- */

SHORT uint64_t
load64(const unsigned char *b)
{
	uint64_t w;

	memcpy(&w, b, sizeof(w));
	return w;
}

/* Which hint a key has: quick, and of no consequence when keys collide. */
SHORT uint64_t
hint_of(const char *limit, const unsigned char *key, size_t len)
{
	uint64_t h = (uint64_t)(uintptr_t)limit ^ len;

	if (len >= 8) {
		h ^= load64(key + len - 8);
		h = (h ^ h >> 29) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= load64(key);
		if (len > 16)
			h += load64(key + 8);
	} else {
		h += tail_word(key, len);
	}
	return h * UINT64_C(0xd1342543de82ef95) >> 54;
}
static_assert(HINTS == 1u << 10, "hint_of() gives ten bits");

#define HINT_WORD(seg, word, slot) \
	((uint64_t)((seg)->id & 0xff) << 56 | (uint64_t)(word) << 32 | (slot))

/*
 * Does the hinted slot hold this key of this limit, alive?  Everything is compared: the
 * hint only says where to look.
 */
SHORT bool
hint_holds(struct plain *p, const struct policy_ref *ref, uint64_t hint, const char *limit,
    const unsigned char *key, size_t len)
{
	const struct segment *seg = p->seg;
	uint64_t n = hint & UINT32_MAX, state, link;
	const struct limit_def *l;
	const word_t *s;
	const char *name;
	size_t i;

	if (UNLIKELY(hint >> 56 != (seg->id & 0xff) || n >= seg->nslots
		|| len > KEY_INLINE_WORDS * 8))
		return false;
	s = segment_slot(seg, n);
	state = word_load(&s[SLOT_STATE]);
	link = word_load(&s[SLOT_LINK]);
	if (UNLIKELY(STATE_ST(state) != ST_LIVE || LINK_LEN(link) != len
		|| LINK_LIMIT(link) >= ref->area->nlimits))
		return false;
	for (i = 0; i + 8 <= len; i += 8)
		if (UNLIKELY(word_load(&s[SLOT_KEY + i / 8]) != load64(key + i)))
			return false;
	if (i < len && word_load(&s[SLOT_KEY + i / 8]) != tail_word(key + i, len - i))
		return false;
	l = (const struct limit_def *)(const void *)((const char *)ref->area + ref->area->limits)
	    + LINK_LIMIT(link);
	name = (const char *)ref->area + ref->area->strings + l->name;
	if (UNLIKELY((l->flags & LIMIT_GONE) != 0
		|| ref->area->strings + l->name + RATION_NAME_MAX >= seg->policy->area_bytes))
		return false;
	for (i = 0; i <= RATION_NAME_MAX; i++) {
		if (name[i] != limit[i])
			return false;
		if (name[i] == '\0')
			break;
	}
	/* Still the same life: what was read belongs together. */
	if (UNLIKELY(STATE_BIRTH(word_load(&s[SLOT_STATE])) != STATE_BIRTH(state)))
		return false;
	p->slot = n;
	p->birth = STATE_BIRTH(state);
	p->guess = (unsigned)(hint >> 32 & (RING_WORDS - 1));
	return true;
}

/* The short way of ration_acquire(). */
SHORT int
plain_keyed(ration_t *r, const struct segment *seg, const char *limit, const unsigned char *key,
    size_t len, uint64_t cost, ration_decision_t *d, uint64_t now)
{
	_Atomic uint64_t *hint = &r->hints[hint_of(limit, key, len)];
	uint64_t guess = atomic_load_explicit(hint, memory_order_relaxed);
	int verdict;
	struct policy_ref ref;
	struct ident id;
	struct found f;
	struct plain p;

	if (UNLIKELY(!plain_start(&p, r, seg, now)))
		return LONG_WAY;
	ref.head = seg->policy;
	ref.area = p.area;
	ref.area_bytes = seg->policy->area_bytes;
	ref.version = POLICY_CURRENT(p.policy_word);
	if (LIKELY(hint_holds(&p, &ref, guess, limit, key, len))) {
		verdict = try_plain(&p, cost, d);
		if (UNLIKELY(p.guess != (guess >> 32 & (RING_WORDS - 1))))
			atomic_store_explicit(
			    hint, HINT_WORD(seg, p.guess, p.slot), memory_order_relaxed);
		return verdict;
	}
	id.limit = limit;
	id.limit_len = strlen(limit);
	id.key = key;
	id.key_len = len;
	ident_hash(seg, &id);
	table_prefetch(seg, id.hash);
	if (!table_find_named(seg, &ref, &id, &f))
		return LONG_WAY;
	atomic_store_explicit(hint, HINT_WORD(seg, 0u, f.slot), memory_order_relaxed);
	p.slot = f.slot;
	p.birth = f.birth;
	p.guess = 0;
	if (STATE_ST(word_load(&segment_slot(seg, f.slot)[SLOT_STATE])) != ST_LIVE)
		return LONG_WAY;
	return try_plain(&p, cost, d);
}

/* ---- public ---- */

/* Costs that fit a word and are not 0, which only looks. */
SHORT bool
plain_cost(uint64_t cost)
{
	return cost - 1 < NARROW_MAX / 2;
}

/*
 * The clock is read before anything else: what is held over a call into libc has to be
 * stored, and a CAS waits for every store before it.
 */
static int __attribute__((noinline))
acquire_at(ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d,
    uint64_t now, const struct segment *seg)
{
	ration_claim_t claim;
	size_t len = strlen(key);

	if (UNLIKELY(len - 1 >= RATION_KEY_MAX))
		return RATION_EKEY;
	if (LIKELY(plain_cost(cost))) {
		int verdict = plain_keyed(
		    r, seg, limit, (const unsigned char *)key, len, cost, d, now);

		if (LIKELY(verdict != LONG_WAY))
			return verdict;
	}
	claim.size = sizeof(claim);
	claim.limit = limit;
	claim.key = key;
	claim.key_len = len;
	claim.cost = cost;
	return call_decide(r, &claim, 1, true, d);
}

int
ration_acquire(
    ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;

	if (r == NULL || limit == NULL || key == NULL || (d != NULL && d->size != sizeof(*d)))
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (UNLIKELY(seg == NULL))
		return decision_degraded(r, d);
	return acquire_at(r, limit, key, cost, d, clock_coarse(&r->clock, seg->policy), seg);
}

int
ration_acquire_all(
    ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d)
{
	return call_decide(r, claims, n, true, d);
}

int
ration_peek(ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), limit, key, key != NULL ? strlen(key) : 0, cost };

	return call_decide(r, &claim, 1, false, d);
}

int
ration_peek_all(ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d)
{
	return call_decide(r, claims, n, false, d);
}

int
ration_key(ration_t *r, const char *limit, const void *key, size_t len, ration_key_t *out)
{
	const struct segment *seg;
	struct policy_ref p;
	int64_t id;
	size_t limit_len;

	if (r == NULL || limit == NULL || key == NULL || out == NULL)
		return RATION_EINVAL;
	limit_len = strlen(limit);
	if (len == 0 || len > RATION_KEY_MAX)
		return RATION_EKEY;
	if (limit_len == 0 || limit_len > RATION_NAME_MAX)
		return RATION_ENOLIMIT;
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->slot = UINT32_MAX;
	out->limit_id = NO_ID;
	out->key_len = (uint16_t)len;
	out->limit_len = (uint16_t)limit_len;
	memcpy(out->limit, limit, limit_len);
	memcpy(out->key, key, len);
	seg = handle_segment(r);
	if (seg == NULL)
		return (r->flags & RATION_FAIL_OPEN) != 0 ? 0 : RATION_EDETACHED;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (!policy_current(seg->policy, &p))
			return RATION_EDETACHED;
		id = policy_limit_id(&p, limit, limit_len);
		if (!policy_intact(&p))
			continue;
		return id < 0 ? RATION_ENOLIMIT : 0;
	}
	return RATION_EBUSY;
}

static int
key_decide(ration_t *r, ration_key_t *k, uint64_t cost, bool charge, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), k->limit, k->key, k->key_len, cost };

	return call_decide(r, &claim, 1, charge, d);
}

/* Find the handle's slot again if it is new, recycled, or in another segment. */
static void
key_refresh(const struct segment *seg, ration_key_t *k)
{
	struct ident id = { k->limit, k->limit_len, k->key, k->key_len, 0 };
	struct policy_ref p;
	struct found f;

	if (k->segment_id == seg->id && k->slot < seg->nslots
	    && STATE_BIRTH(word_load(&segment_slot(seg, k->slot)[SLOT_STATE])) == k->birth)
		return;
	ident_hash(seg, &id);
	k->segment_id = seg->id;
	k->slot = UINT32_MAX;
	if (policy_current(seg->policy, &p) && table_find_named(seg, &p, &id, &f)) {
		k->slot = (uint32_t)f.slot;
		k->birth = (uint32_t)f.birth;
	}
}

static int __attribute__((noinline))
key_long(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d,
    const struct segment *seg)
{
	int verdict = key_decide(r, k, cost, true, d);

	if (seg != NULL)
		key_refresh(seg, k);
	return verdict;
}

static int __attribute__((noinline))
key_acquire_at(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d, uint64_t now,
    const struct segment *seg)
{
	struct plain p;
	int verdict = LONG_WAY;

	if (LIKELY(k->segment_id == seg->id && k->slot < seg->nslots && plain_cost(cost)
		&& plain_start(&p, r, seg, now))) {
		uint64_t state = word_load(&segment_slot(seg, k->slot)[SLOT_STATE]);

		p.slot = k->slot;
		p.birth = k->birth;
		p.guess = k->word & (RING_WORDS - 1);
		if (LIKELY(STATE_BIRTH(state) == k->birth && STATE_ST(state) == ST_LIVE))
			verdict = try_plain(&p, cost, d);
		if (UNLIKELY(k->word != p.guess))
			k->word = p.guess;
	}
	return LIKELY(verdict != LONG_WAY) ? verdict : key_long(r, k, cost, d, seg);
}

int
ration_key_acquire(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;

	if (UNLIKELY(r == NULL || k == NULL || k->size != sizeof(*k)
		|| (d != NULL && d->size != sizeof(*d))))
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (UNLIKELY(seg == NULL))
		return key_long(r, k, cost, d, NULL);
	return key_acquire_at(r, k, cost, d, clock_coarse(&r->clock, seg->policy), seg);
}

int
ration_key_peek(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	if (r == NULL || k == NULL || k->size != sizeof(*k))
		return RATION_EINVAL;
	return key_decide(r, k, cost, false, d);
}

int
ration_refund(ration_t *r, const ration_decision_t *d, uint64_t units)
{
	const struct segment *seg;
	struct policy_ref p;
	struct cell_ctx x;
	int result = RATION_ESTALE;

	if (r == NULL || d == NULL || d->size != sizeof(*d)
	    || d->nreceipts > RATION_DECISION_RATES)
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	if (seg->id != d->segment_id || d->nreceipts == 0)
		return RATION_ESTALE;
	if (!policy_current(seg->policy, &p))
		return RATION_EDETACHED;
	memset(&x, 0, sizeof(x));
	x.seg = seg;
	x.policy = &p;
	x.writable = true;
	x.precise = true;
	x.now_ns = clock_precise(&r->clock, seg->policy);
	x.unix_ns = clock_unix(seg->policy, x.now_ns);
	for (unsigned i = 0; i < d->nreceipts; i++) {
		const ration_receipt_t *rc = &d->receipts[i];
		int e;

		if (rc->slot >= seg->nslots)
			return RATION_EINVAL;
		x.slot = segment_slot(seg, rc->slot);
		x.birth = rc->birth;
		e = cell_refund(&x, rc, units, false);
		if (e == 0 || e == RATION_EBUSY)
			result = e;
	}
	return result;
}
