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
#define OVER 3     /* not a verdict: denied, if the precise clock says so too */

/* A sub-window: what the words of now look like. */
struct sub {
	uint64_t epoch;
	uint64_t start;
	uint64_t tag; /* of its open words and caches, conversion aside */
	int64_t reset;
};

/*
 * The last sub-window seen of this shape.  False: now is not in it.  Its parts may be of
 * different threads' updates: an epoch's word never bears another epoch's tag but that
 * of 16 before, when the start would not fit now; a reset is for show.
 */
SHORT bool
sub_known(struct ration *h, const struct rate_def *r, uint64_t now, struct sub *s)
{
	unsigned i = r->shape % EPOCHS;

	s->epoch = atomic_load_explicit(&h->subs[i].epoch, memory_order_relaxed);
	s->tag = atomic_load_explicit(&h->subs[i].tag, memory_order_relaxed);
	s->reset = atomic_load_explicit(&h->subs[i].reset, memory_order_relaxed);
	s->start = s->epoch * r->sub_ns;
	return LIKELY(now - s->start < r->sub_ns);
}

static struct sub
sub_of(struct ration *h, const struct segment *seg, const struct rate_def *r, uint64_t now)
{
	unsigned i = r->shape % EPOCHS;
	struct sub s;

	s.epoch = epoch_of(now, r->sub_ns, r->recip);
	s.start = s.epoch * r->sub_ns;
	s.tag = NARROW_TAG(UINT64_C(0), tick_of(s.start));
	s.reset = (clock_unix(seg->policy, s.start + RING_WORDS * r->sub_ns) + 999999999)
	    / 1000000000;
	atomic_store_explicit(&h->subs[i].epoch, s.epoch, memory_order_relaxed);
	atomic_store_explicit(&h->subs[i].tag, s.tag, memory_order_relaxed);
	atomic_store_explicit(&h->subs[i].reset, s.reset, memory_order_relaxed);
	return s;
}

/* Tag of an open word and of the cache of a cell in this sub-window. */
SHORT uint64_t
sub_tag(const struct sub *s, uint64_t conv)
{
	return s->tag | (CONV_COUNT(conv) & 3) << 61;
}

/*
 * The next call's CAS waits for the stores of this one's answer, so neighbours are stored
 * together.
 */
typedef uint64_t pair_t __attribute__((vector_size(16)));

SHORT void
store_pair(void *at, uint64_t a, uint64_t b)
{
	pair_t p = { a, b };

	memcpy(at, &p, sizeof(p));
}

SHORT uint64_t
two32(uint64_t low, uint64_t high)
{
	return low | high << 32;
}

static_assert(offsetof(ration_decision_t, flags) == 8 && offsetof(ration_decision_t, now) == 24
	&& offsetof(ration_decision_t, cost) == 16 && offsetof(ration_decision_t, retry_after) == 32
	&& offsetof(ration_decision_t, policy_version) == 36
	&& offsetof(ration_decision_t, segment_id) == 40
	&& offsetof(ration_decision_t, limit_id) == 44 && offsetof(ration_rate_t, remaining) == 8
	&& offsetof(ration_rate_t, reset_at) == 16 && offsetof(ration_rate_t, retry_at) == 24
	&& offsetof(ration_receipt_t, slot) == 8 && offsetof(ration_receipt_t, birth) == 12,
    "what store_pair() stores stands together");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "two32() and the layout are little-endian");

/* The figures of one plain rate. */
SHORT void
plain_rate(ration_rate_t *out, const struct rate_def *r, uint64_t used, const struct sub *sub)
{
	memcpy(&out->limit_units, r, offsetof(struct rate_def, shape));
	store_pair(&out->used, used, r->units - used);
	store_pair(&out->reset_at, (uint64_t)sub->reset, 0);
	if (UNLIKELY(used >= r->units / 2))
		out->level = decision_level(used, r->units);
}

/* Who is asked about, when, and under which policy. */
struct plain {
	struct ration *h;
	const struct segment *seg;
	uint64_t now;
	uint64_t policy_word;
	const struct policy_area *area;
	uint64_t slot;
	uint64_t birth;
	word_t *at;   /* the slot's words */
	word_t *word; /* guess: the ring word of a single rate's current sub-window */
};

/* Costs that fit a word and are not 0, which only looks. */
SHORT bool
plain_cost(uint64_t cost)
{
	return cost - 1 < NARROW_MAX / 2;
}

/* The policy as it is now. */
SHORT struct plain
plain_start(struct ration *h, const struct segment *seg, uint64_t now)
{
	struct plain p;

	p.h = h;
	p.seg = seg;
	p.now = now;
	p.policy_word = word_load(&seg->policy->word);
	p.area = seg->areas[POLICY_CURRENT(p.policy_word) & 1];
	p.slot = 0;
	p.birth = 0;
	p.at = NULL;
	p.word = NULL;
	return p;
}

SHORT void
plain_head(ration_decision_t *d, const struct plain *p, const struct ruleset *rs,
    unsigned nrates, uint64_t cost, int64_t real_ns)
{
	store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, nrates | nrates << 16));
	store_pair(&d->cost, cost, (p->now + (uint64_t)real_ns) / 1000000000u);
	store_pair(&d->retry_after, two32(0, POLICY_CURRENT(p->policy_word)),
	    two32(p->seg->id, rs->limit));
}

/* Rate i, shown at place `at` of the decision; before: what its word held. */
SHORT void
plain_report(const struct plain *p, const struct rate_def *r, const struct sub *sub, uint64_t tag,
    uint64_t conv, uint64_t used, unsigned i, unsigned at, uint64_t cost,
    ration_decision_t *d)
{
	ration_receipt_t *rc = &d->receipts[i];

	plain_rate(&d->rates[at], r, used, sub);
	store_pair(rc, WHERE(tag, CONV_COUNT(conv), i, sub->epoch % RING_WORDS),
	    two32(p->slot, p->birth));
	rc->units = cost;
}

SHORT int64_t
plain_real(const struct plain *p)
{
	return atomic_load_explicit(&p->seg->policy->real_offset_ns, memory_order_relaxed);
}

/* The ruleset that the slot was resolved to.  False: not under this version. */
SHORT bool
plain_rules(const struct plain *p, const word_t *s, const struct ruleset **rs)
{
	uint64_t resolved = word_load(&s[SLOT_RESOLVED]);

	*rs = (const struct ruleset *)(const void *)((const char *)p->area + p->area->rulesets)
	    + (uint32_t)resolved;
	return LIKELY((resolved ^ p->policy_word) >> 32 == 0
	    && (uint32_t)resolved < p->area->nrulesets && ((*rs)->flags & RULESET_PLAIN) != 0);
}

/* The policy that was read was not being rewritten: pairs with policy_begin(). */
SHORT bool
plain_intact(const struct plain *p)
{
	return word_load(&p->seg->policy->word) == p->policy_word;
}

/* Slot and birth in one register. */
#define PLACE(slot, birth) ((slot) | (birth) << 32)

/* One rate of a plain call, ready to be charged. */
struct plain_step {
	struct sub sub;
	word_t *word;
	uint64_t conv;
	uint64_t tag;
	uint64_t sum; /* of the sealed sub-windows */
	uint64_t old;
};

/*
 * LOOK_FITS or LOOK_DENIES; LOOK_AGAIN: not as the short way expects it.  A sub-window in
 * which nothing was charged yet can deny, but is not begun here.
 */
SHORT enum look_result
plain_look(const struct plain *p, word_t *cell, const struct rate_def *r, uint64_t cost,
    struct plain_step *st)
{
	enum word_kind kind;

	st->sub = sub_of(p->h, p->seg, r, p->now);
	st->conv = word_load(&cell[CELL_CONV]);
	st->tag = sub_tag(&st->sub, st->conv);
	st->word = &cell[CELL_RING + st->sub.epoch % RING_WORDS];
	st->sum = word_load(&cell[CELL_CACHE]) ^ st->tag;
	st->old = word_load(st->word);
	if (UNLIKELY(CONV_SETTLED(st->conv) != r->shape || st->sum >> 30 != 0))
		return LOOK_AGAIN;
	if (LIKELY((st->old ^ st->tag) >> 30 == 0))
		return st->sum + (st->old ^ st->tag) + cost > r->units ? LOOK_DENIES : LOOK_FITS;
	kind = word_kind(st->old);
	if (st->sum + cost <= r->units
	    || (kind != W_BLANK
		&& (kind != W_NARROW
		    || tick_diff(NARROW_TICK(st->old), tick_of(st->sub.start)) >= 0)))
		return LOOK_AGAIN;
	st->old = st->tag; /* as if begun with nothing in it */
	return LOOK_DENIES;
}

/*
 * A CAS lost to another caller's charge is tried again: the word is still open, so the
 * sum that was checked still stands.
 */
SHORT bool
plain_charge(struct plain_step *st, const struct rate_def *r, uint64_t cost)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		if (LIKELY(word_cas(st->word, st->old, st->old + cost)))
			return true;
		st->old = word_load(st->word);
		if ((st->old ^ st->tag) >> 30 != 0
		    || st->sum + (st->old ^ st->tag) + cost > r->units)
			return false;
	}
	return false;
}

/* Give one rate's charge back; the call goes the long way. */
static int __attribute__((noinline))
plain_undo(const struct segment *seg, uint64_t place, uint64_t tag, uint64_t conv_word,
    uint64_t cost)
{
	struct cell_ctx x;
	ration_receipt_t rc;

	memset(&x, 0, sizeof(x));
	x.seg = seg;
	x.slot = segment_slot(seg, place & UINT32_MAX);
	x.birth = place >> 32;
	rc.where = WHERE(tag, CONV_COUNT(conv_word >> 8), 0, conv_word & (RING_WORDS - 1));
	rc.slot = (uint32_t)place;
	rc.birth = (uint32_t)(place >> 32);
	rc.units = cost;
	(void)cell_refund(&x, &rc, cost, true);
	return LONG_WAY;
}

/* The same without a call and without a doubt: the sub-window is known and has begun. */
SHORT bool
plain_step(const struct plain *p, word_t *cell, const struct rate_def *r, struct plain_step *st)
{
	bool known = sub_known(p->h, r, p->now, &st->sub);

	st->conv = word_load(&cell[CELL_CONV]);
	st->tag = sub_tag(&st->sub, st->conv);
	st->sum = word_load(&cell[CELL_CACHE]) ^ st->tag;
	return LIKELY(known && CONV_SETTLED(st->conv) == r->shape
	    && st->sum >> 30 == 0);
}

/* Two rates at once.  No loop: they are to stay in registers. */
SHORT int
plain_two(const struct plain *p, const struct ruleset *rs, uint64_t cost, ration_decision_t *d)
{
	word_t *cell = p->at + SLOT_CELLS;
	const struct rate_def *r0 = &rs->rates[0], *r1 = &rs->rates[1];
	struct plain_step a, b;
	uint64_t left0, left1;
	int64_t real_ns;
	unsigned at;

	if (UNLIKELY(p->seg->cells < 2 || !plain_step(p, cell, r0, &a)
		|| !plain_step(p, cell + CELL_WORDS, r1, &b)))
		return LONG_WAY;
	a.word = &cell[CELL_RING + a.sub.epoch % RING_WORDS];
	b.word = &cell[CELL_WORDS + CELL_RING + b.sub.epoch % RING_WORDS];
	a.old = word_load(a.word);
	b.old = word_load(b.word);
	left0 = r0->units - a.sum - (a.old ^ a.tag) - cost;
	left1 = r1->units - b.sum - (b.old ^ b.tag) - cost;
	if (UNLIKELY(((a.old ^ a.tag) | (b.old ^ b.tag)) >> 30 != 0 || left0 > r0->units
		|| left1 > r1->units || !plain_intact(p)))
		return LONG_WAY;
	if (UNLIKELY(!word_cas(a.word, a.old, a.old + cost)))
		return LONG_WAY;
	if (UNLIKELY(!word_cas(b.word, b.old, b.old + cost)))
		return plain_undo(p->seg, PLACE(p->slot, p->birth), a.tag,
		    a.conv << 8 | a.sub.epoch % RING_WORDS, cost);
	if (d == NULL)
		return RATION_ADMITTED;
	real_ns = plain_real(p);
	at = left1 < left0;
	plain_head(d, p, rs, 2, cost, real_ns);
	plain_report(p, r0, &a.sub, a.tag, a.conv, r0->units - left0, 0, at, cost, d);
	plain_report(p, r1, &b.sub, b.tag, b.conv, r1->units - left1, 1, at ^ 1, cost, d);
	return RATION_ADMITTED;
}

/*
 * One or two sliding rates in sub-windows that have begun, with room.  No call leaves here:
 * all that is seldom is left to the caller, so that nothing has to be stored over it.
 */
SHORT int
plain_one(const struct plain *p, uint64_t cost, ration_decision_t *d)
{
	word_t *cell = p->at + SLOT_CELLS, *w = p->word;
	const struct ruleset *rs;
	const struct rate_def *r;
	struct plain_step st;
	uint64_t used;

	st.old = word_load(w);
	if (UNLIKELY(!plain_rules(p, p->at, &rs)))
		return LONG_WAY;
	if (rs->nrates == 2)
		return plain_two(p, rs, cost, d);
	r = &rs->rates[0];
	if (UNLIKELY(rs->nrates != 1 || !plain_step(p, cell, r, &st)))
		return LONG_WAY;
	if (UNLIKELY(st.sum + cost > r->units))
		return OVER;
	if (UNLIKELY(w != &cell[CELL_RING + st.sub.epoch % RING_WORDS]
		|| (st.old ^ st.tag) >> 30 != 0 || !plain_intact(p)))
		return LONG_WAY;
	used = (st.old ^ st.tag) + st.sum + cost;
	if (UNLIKELY(used > r->units))
		return OVER;
	if (UNLIKELY(!word_cas(w, st.old, st.old + cost)))
		return LONG_WAY;
	if (d != NULL) {
		int64_t real_ns = plain_real(p);

		plain_head(d, p, rs, 1, cost, real_ns);
		plain_report(p, r, &st.sub, st.tag, st.conv, used, 0, 0, cost, d);
	}
	return RATION_ADMITTED;
}

/*
 * Over the limit, by the coarse clock: by the precise one too?  Then it is denied: the sum
 * of sealed sub-windows stands, so each of the 15 words is of its sub-window.
 */
static int __attribute__((noinline))
plain_deny(struct ration *h, const struct segment *seg, uint64_t place, uint64_t cost,
    ration_decision_t *d)
{
	struct plain p = plain_start(h, seg, clock_precise(&h->clock, seg->policy));
	word_t *s = segment_slot(seg, place & UINT32_MAX), *cell = s + SLOT_CELLS;
	const struct ruleset *rs;
	const struct rate_def *r;
	struct plain_step st;
	uint64_t used, need, got = 0, end;
	int64_t real_ns = plain_real(&p);
	unsigned k;

	if (!plain_rules(&p, s, &rs) || rs->nrates != 1)
		return LONG_WAY;
	r = &rs->rates[0];
	if (cost > r->units || plain_look(&p, cell, r, cost, &st) != LOOK_DENIES)
		return LONG_WAY;
	used = st.sum + (st.old ^ st.tag);
	need = used + cost - r->units;
	for (k = 1; k < RING_WORDS; k++) {
		got += NARROW_UNITS(word_load(&cell[CELL_RING + (st.sub.epoch + k) % RING_WORDS]));
		if (got >= need)
			break;
	}
	/* Word k after ours is of 16 - k sub-windows ago: 16 later it has expired. */
	end = st.sub.start + k * r->sub_ns + (uint64_t)real_ns;
	/* The clock was read anew: what was seen may be of the slot's next life. */
	if (UNLIKELY(!plain_intact(&p)
		|| STATE_BIRTH(word_load(&s[SLOT_STATE])) != place >> 32))
		return LONG_WAY;
	word_count(&s[SLOT_DENIED], DENIED_ONE);
	if (d == NULL)
		return RATION_DENIED;
	plain_head(d, &p, rs, 1, cost, real_ns);
	plain_rate(&d->rates[0], r, used, &st.sub);
	d->verdict = RATION_DENIED;
	d->nreceipts = 0;
	if (used > r->units) {
		d->remaining = 0;
		d->flags = RATION_F_DEBT;
	}
	d->retry_at = (int64_t)((end + 999999999u) / 1000000000u);
	d->retry_after = (uint32_t)(d->retry_at - d->now);
	return RATION_DENIED;
}

/*
 * One rate whose sub-window has just begun for this process, or whose CAS was lost; for
 * several rates the sub-windows are learnt.  *word: where the next charge is likely to go.
 */
static int __attribute__((noinline))
plain_any(struct ration *h, const struct segment *seg, uint64_t now, uint64_t place, uint64_t cost,
    ration_decision_t *d, uint64_t *word)
{
	struct plain p = plain_start(h, seg, now);
	word_t *s = segment_slot(seg, place & UINT32_MAX);
	const struct ruleset *rs;
	struct plain_step st;
	int64_t real_ns;

	p.slot = place & UINT32_MAX;
	p.birth = place >> 32;
	if (!plain_rules(&p, s, &rs))
		return LONG_WAY;
	if (rs->nrates != 1) {
		for (unsigned i = 0; i < rs->nrates && i < RATION_RATES_MAX; i++)
			(void)sub_of(h, seg, &rs->rates[i], now);
		return LONG_WAY;
	}
	switch (plain_look(&p, s + SLOT_CELLS, &rs->rates[0], cost, &st)) {
	case LOOK_FITS:
		break;
	case LOOK_DENIES:
		return plain_deny(h, seg, place, cost, d);
	default:
		*word = (uint64_t)(uintptr_t)st.word;
		return LONG_WAY;
	}
	*word = (uint64_t)(uintptr_t)st.word;
	if (!plain_intact(&p) || !plain_charge(&st, &rs->rates[0], cost))
		return LONG_WAY;
	if (d == NULL)
		return RATION_ADMITTED;
	real_ns = plain_real(&p);
	plain_head(d, &p, rs, 1, cost, real_ns);
	plain_report(&p, &rs->rates[0], &st.sub, st.tag, st.conv,
	    st.sum + (st.old ^ st.tag) + cost, 0, 0, cost, d);
	return RATION_ADMITTED;
}

/* ---- from a key to its slot, guessed ---- */

SHORT uint64_t
load64(const unsigned char *b)
{
	uint64_t w;

	memcpy(&w, b, sizeof(w));
	return w;
}

/*
 * strlen(), inline: a call costs a quarter of the whole short way.  Aligned blocks of 16, so
 * that no page is touched but the string's own.
 */
#ifdef __SSE2__
#include <emmintrin.h>
SHORT __attribute__((no_sanitize_address)) size_t
short_len(const char *s)
{
	const char *block = (const char *)((uintptr_t)s & ~(uintptr_t)15);
	const __m128i zero = _mm_setzero_si128();
	unsigned bits = (unsigned)_mm_movemask_epi8(
			    _mm_cmpeq_epi8(_mm_load_si128((const __m128i *)(const void *)block), zero))
	    >> ((uintptr_t)s & 15);

	if (bits != 0)
		return (size_t)__builtin_ctz(bits);
	for (;;) {
		block += 16;
		bits = (unsigned)_mm_movemask_epi8(
		    _mm_cmpeq_epi8(_mm_load_si128((const __m128i *)(const void *)block), zero));
		if (bits != 0)
			return (size_t)(block - s) + (size_t)__builtin_ctz(bits);
	}
}
#else
#define short_len(s) strlen(s)
#endif

/* A short key as the words that stand in its slot. */
struct short_key {
	uint64_t w[KEY_INLINE_WORDS];
};
static_assert(KEY_INLINE_WORDS == 4, "short_key() and key_is() write the words out");

/*
 * The length is only branched on: it comes late, from strlen().  Words beyond it are
 * 0; longer keys are cut, and never have a hint.
 */
SHORT struct short_key
short_key(const unsigned char *key, size_t len)
{
	struct short_key k = { { 0, 0, 0, 0 } };

	if (len >= 32) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		k.w[2] = load64(key + 16);
		k.w[3] = load64(key + 24);
	} else if (len >= 24) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		k.w[2] = load64(key + 16);
		if (len != 24)
			k.w[3] = tail_word(key + 24, len);
	} else if (len >= 16) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		if (len != 16)
			k.w[2] = tail_word(key + 16, len);
	} else if (len >= 8) {
		k.w[0] = load64(key);
		if (len != 8)
			k.w[1] = tail_word(key + 8, len);
	} else {
		k.w[0] = tail_word(key, len);
	}
	return k;
}

/*
 * Hash of a key for hints: quick, and of no consequence when keys collide.  The top ten
 * bits say which hint, 22 below them stand in the hint: a key that has none is known
 * without a look at another key's slot.
 */
SHORT uint64_t
hint_of(const char *limit, const struct short_key *k)
{
	uint64_t h = (uint64_t)(uintptr_t)limit ^ k->w[0];

	h ^= rotl64(k->w[1], 23) ^ rotl64(k->w[2], 41) ^ rotl64(k->w[3], 11);
	return h * UINT64_C(0x9e3779b97f4a7c15);
}
#define HINT_INDEX(h) ((h) >> 54)
#define HINT_TAG(h) ((h) & UINT64_C(0x3fffff) << 32)
static_assert(HINTS == 1u << 10, "ten bits say which hint");

/* Do a slot's key words equal the key's?  Its length is compared apart. */
SHORT bool
key_is(const word_t *s, const struct short_key *k, size_t len)
{
	return word_load(&s[SLOT_KEY]) == k->w[0]
	    && (len <= 8 || word_load(&s[SLOT_KEY + 1]) == k->w[1])
	    && (len <= 16 || word_load(&s[SLOT_KEY + 2]) == k->w[2])
	    && (len <= 24 || word_load(&s[SLOT_KEY + 3]) == k->w[3]);
}

/*
 * mapping's mark(9) 0 tag(22) slot(32).  Marks recur; then the key is compared in a slot of the
 * mapping that it is now.
 */
#define HINT_PLACE(seg, h, slot) ((uint64_t)(seg)->mark << 55 | HINT_TAG(h) | (slot))
#define HINT_FITS(place, seg, h) (((place) ^ HINT_TAG(h)) >> 32 == (uint64_t)(seg)->mark << 23)

/* Is this the limit's name?  It may be read while it is being rewritten: any bytes. */
SHORT bool
name_is(const struct policy_area *a, uint32_t id, const char *limit)
{
	const struct limit_def *l;
	const char *name;

	if (UNLIKELY(id >= a->nlimits))
		return false;
	l = (const struct limit_def *)(const void *)((const char *)a + a->limits) + id;
	if (UNLIKELY(l->name >= a->strings_bytes))
		return false;
	name = (const char *)a + a->strings + l->name;
	for (const char *end = name + RATION_NAME_MAX; *name == *limit; name++, limit++)
		if (*name == '\0')
			return true;
		else if (UNLIKELY(name == end))
			return false;
	return false;
}

/*
 * Does the hinted slot hold this key of this limit, alive?  Everything is compared: the
 * hint only says where to look.  (A limit that is gone has no plain ruleset.)
 */
SHORT bool
hint_holds(struct plain *p, const struct policy_area *a, uint64_t place, uint64_t h,
    const char *limit, const struct short_key *key, size_t len)
{
	uint64_t n = place & UINT32_MAX, state, link;
	word_t *s = segment_slot(p->seg, n);

	if (UNLIKELY(!HINT_FITS(place, p->seg, h) || n >= p->seg->nslots || len > KEY_INLINE_WORDS * 8))
		return false;
	state = word_load(&s[SLOT_STATE]);
	link = word_load(&s[SLOT_LINK]);
	if (UNLIKELY(STATE_ST(state) != ST_LIVE || LINK_LEN(link) != len || !key_is(s, key, len)))
		return false;
	/* Still the same life: what was read belongs together. */
	if (UNLIKELY(!name_is(a, LINK_LIMIT(link), limit) || word_load(&s[SLOT_STATE]) != state))
		return false;
	p->slot = n;
	p->birth = STATE_BIRTH(state);
	p->at = s;
	return true;
}
/* Not the commonest call: search if the hint did not hold, and remember. */
static int __attribute__((noinline))
keyed_any(ration_t *r, const struct segment *seg, const char *limit, const unsigned char *key,
    size_t len, uint64_t cost, ration_decision_t *d)
{
	struct short_key words = short_key(key, len);
	uint64_t h = hint_of(limit, &words), place, word = 0, now;
	struct ident id = { limit, strlen(limit), key, len, 0 };
	struct policy_ref ref;
	struct plain p;
	struct found f = { .slot = NO_SLOT };
	int verdict;

	place = atomic_load_explicit(&r->hints[HINT_INDEX(h)].place, memory_order_relaxed);
	if (!HINT_FITS(place, seg, h)) {
		/* Far away, most likely: ask for its lines before anything else. */
		ident_hash(seg, &id);
		table_prefetch(seg, id.hash);
	}
	now = clock_coarse(&r->clock, seg->policy);
	p = plain_start(r, seg, now);
	if (!policy_current(seg->policy, &ref))
		return LONG_WAY;
	if (hint_holds(&p, ref.area, place, h, limit, &words, len)) {
		f.slot = p.slot;
		f.birth = p.birth;
	} else {
		if (HINT_FITS(place, seg, h))
			ident_hash(seg, &id);
		if (!table_find_named(seg, &ref, &id, &f)
		    || STATE_ST(word_load(&segment_slot(seg, f.slot)[SLOT_STATE])) != ST_LIVE)
			return LONG_WAY;
	}
	verdict = plain_any(r, seg, now, PLACE(f.slot, f.birth), cost, d, &word);
	if (word == 0)
		word = (uint64_t)(uintptr_t)(slot_cell(seg, f.slot, 0) + CELL_RING);
	atomic_store_explicit(&r->hints[HINT_INDEX(h)].word, word, memory_order_relaxed);
	atomic_store_explicit(
	    &r->hints[HINT_INDEX(h)].place, HINT_PLACE(seg, h, f.slot), memory_order_release);
	return verdict;
}

/* ---- public ---- */

/* Everything that ration_acquire() can be asked. */
static int __attribute__((noinline))
acquire_any(ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), limit, key, 0, cost };
	const struct segment *seg;
	int verdict;

	if (r == NULL || limit == NULL || key == NULL || (d != NULL && d->size != sizeof(*d)))
		return RATION_EINVAL;
	claim.key_len = strlen(key);
	if (claim.key_len == 0 || claim.key_len > RATION_KEY_MAX)
		return RATION_EKEY;
	seg = handle_segment(r);
	if (seg != NULL && plain_cost(cost)) {
		verdict = keyed_any(
		    r, seg, limit, (const unsigned char *)key, claim.key_len, cost, d);
		if (verdict != LONG_WAY)
			return verdict;
	}
	return call_decide(r, &claim, 1, true, d);
}

/*
 * The clock has been read before anything else: what is held over a call into libc has to
 * be stored, and a CAS waits for every store before it.
 */
SHORT int
acquire_at(ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d,
    uint64_t now)
{
	const struct segment *seg = atomic_load_explicit(&r->seg, memory_order_acquire);
	struct plain p = plain_start(r, seg, now);
	size_t len = short_len(key);
	struct short_key words = short_key((const unsigned char *)key, len);
	uint64_t h = hint_of(limit, &words), place;
	int verdict;

	/* In this order: where a place is set its word was set before. */
	place = atomic_load_explicit(&r->hints[HINT_INDEX(h)].place, memory_order_acquire);
	p.word = (word_t *)(uintptr_t)atomic_load_explicit(
	    &r->hints[HINT_INDEX(h)].word, memory_order_relaxed);
	if (UNLIKELY(!plain_cost(cost)
		|| !hint_holds(&p, p.area, place, h, limit, &words, len)))
		return acquire_any(r, limit, key, cost, d);
	verdict = plain_one(&p, cost, d);
	if (LIKELY(verdict <= RATION_ADMITTED))
		return verdict;
	return acquire_any(r, limit, key, cost, d);
}

int
ration_acquire(
    ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;

	if (UNLIKELY(r == NULL) || UNLIKELY(limit == NULL) || UNLIKELY(key == NULL)
	    || UNLIKELY(d != NULL && d->size != sizeof(*d))
	    || UNLIKELY((seg = handle_segment(r)) == NULL))
		return acquire_any(r, limit, key, cost, d);
	return acquire_at(r, limit, key, cost, d, clock_coarse(&r->clock, seg->policy));
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

	if (k->segment_id == seg->id
	    && STATE_BIRTH(word_load(&segment_slot(seg, k->slot)[SLOT_STATE])) == k->birth)
		return;
	ident_hash(seg, &id);
	k->segment_id = 0;
	k->policy_word = 0;
	if (policy_current(seg->policy, &p) && table_find_named(seg, &p, &id, &f)) {
		k->segment_id = seg->id;
		k->slot = (uint32_t)f.slot;
		k->birth = (uint32_t)f.birth;
		k->at = (uint64_t)(uintptr_t)segment_slot(seg, f.slot);
	}
}

/* Note what the next call may find as this one did: policy, shape, sub-window. */
static void
key_learn(ration_t *r, const struct segment *seg, ration_key_t *k)
{
	struct plain p = plain_start(r, seg, clock_coarse(&r->clock, seg->policy));
	word_t *s = segment_slot(seg, k->slot);
	const struct ruleset *rs;
	const struct rate_def *rate;
	struct sub sub;

	k->policy_word = 0;
	if (!plain_rules(&p, s, &rs) || rs->nrates != 1)
		return;
	rate = &rs->rates[0];
	sub = sub_of(r, seg, rate, p.now);
	k->sub_ns = rate->sub_ns;
	k->start_ns = sub.start;
	k->conv = word_load(&s[SLOT_CELLS + CELL_CONV]);
	k->tag = sub_tag(&sub, k->conv);
	k->word = (uint64_t)(uintptr_t)&s[SLOT_CELLS + CELL_RING + sub.epoch % RING_WORDS];
	k->head[0] = two32(0, POLICY_CURRENT(p.policy_word));
	k->head[1] = two32(seg->id, rs->limit);
	k->receipt[0] = WHERE(k->tag, CONV_COUNT(k->conv), 0, sub.epoch % RING_WORDS);
	k->receipt[1] = two32(k->slot, k->birth);
	k->reset[0] = (uint64_t)sub.reset;
	k->reset[1] = 0;
	memcpy(k->figures, rate, sizeof(k->figures));
	if (CONV_SETTLED(k->conv) == rate->shape && plain_intact(&p))
		k->policy_word = p.policy_word;
}
static_assert(sizeof(((ration_key_t *)0)->figures) == offsetof(struct rate_def, shape)
	&& offsetof(ration_key_t, figures) == offsetof(ration_key_t, reset) + 16
	&& offsetof(ration_rate_t, limit_units) == offsetof(ration_rate_t, reset_at) + 16,
    "reset and figures are copied in one");

/* Everything that ration_key_acquire() can be asked. */
static int __attribute__((noinline))
key_any(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;
	uint64_t state, word, now;
	int verdict = LONG_WAY;

	if (r == NULL || k == NULL || k->size != sizeof(*k) || (d != NULL && d->size != sizeof(*d)))
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (seg != NULL && k->segment_id == seg->id && plain_cost(cost)) {
		/* The clock first: in a later life of the slot no word is of this now. */
		now = clock_coarse(&r->clock, seg->policy);
		state = word_load(&segment_slot(seg, k->slot)[SLOT_STATE]);
		if (STATE_BIRTH(state) == k->birth && STATE_ST(state) == ST_LIVE)
			verdict = plain_any(r, seg, now, PLACE((uint64_t)k->slot, (uint64_t)k->birth), cost, d, &word);
	}
	if (verdict == LONG_WAY)
		verdict = key_decide(r, k, cost, true, d);
	if (seg == NULL)
		return verdict;
	key_refresh(seg, k);
	if (k->segment_id == seg->id)
		key_learn(r, seg, k);
	return verdict;
}

/*
 * Over the limit by the coarse clock: by the precise one too?  As plain_deny(), from what
 * the handle knows; used and cost were checked to be one sub-window's.
 */
static int __attribute__((noinline))
key_over(ration_t *r, ration_key_t *k, uint64_t used, uint64_t cost, ration_decision_t *d,
    const struct segment *seg)
{
	uint64_t now = clock_precise(&r->clock, seg->policy), got = 0, need, units = k->figures[0];
	uint64_t real_ns = (uint64_t)atomic_load_explicit(
	    &seg->policy->real_offset_ns, memory_order_relaxed);
	word_t *s = (word_t *)(uintptr_t)k->at, *ring = &s[SLOT_CELLS + CELL_RING];
	unsigned i, n;

	if (UNLIKELY(now - k->start_ns >= k->sub_ns || cost > units))
		return key_any(r, k, cost, d);
	need = used + cost - units;
	n = (unsigned)((word_t *)(uintptr_t)k->word - ring);
	for (i = 1; i < RING_WORDS; i++) {
		got += NARROW_UNITS(word_load(&ring[(n + i) % RING_WORDS]));
		if (got >= need)
			break;
	}
	word_count(&s[SLOT_DENIED], DENIED_ONE);
	if (d == NULL)
		return RATION_DENIED;
	store_pair(d, two32(sizeof(*d), RATION_DENIED),
	    two32(used > units ? RATION_F_DEBT : 0, 1));
	d->cost = cost;
	d->now = (int64_t)((now + real_ns) / 1000000000u);
	memcpy(&d->retry_after, k->head, sizeof(k->head));
	store_pair(&d->used, used, used < units ? units - used : 0);
	memcpy(&d->reset_at, k->reset, sizeof(k->reset) + sizeof(k->figures));
	d->retry_at =
	    (int64_t)((k->start_ns + i * k->sub_ns + real_ns + 999999999u) / 1000000000u);
	d->retry_after = (uint32_t)(d->retry_at - d->now);
	d->level = decision_level(used, units);
	return RATION_DENIED;
}

static bool
key_unopened(const ration_key_t *k, uint64_t old)
{
	return word_kind(old) == W_BLANK
	    || (word_kind(old) == W_NARROW
		&& tick_diff(NARROW_TICK(old), NARROW_TICK(k->tag)) < 0);
}

/*
 * The shortest way: everything that the last call found out is compared, nothing computed.
 * The rate's figures are the handle's own copy, valid while the policy word is the same.
 */
int
ration_key_acquire(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;
	uint64_t now, state, sum, old, used;
	word_t *s, *w;

	if (UNLIKELY(r == NULL || k == NULL || k->size != sizeof(*k)
		|| (d != NULL && d->size != sizeof(*d)) || (seg = handle_segment(r)) == NULL
		|| k->segment_id != seg->id))
		return key_any(r, k, cost, d);
	now = clock_coarse(&r->clock, seg->policy);
	s = (word_t *)(uintptr_t)k->at;
	w = (word_t *)(uintptr_t)k->word;
	if (UNLIKELY(word_load(&seg->policy->word) != k->policy_word
		|| now - k->start_ns >= k->sub_ns || !plain_cost(cost)))
		return key_any(r, k, cost, d);
	state = word_load(&s[SLOT_STATE]);
	sum = word_load(&s[SLOT_CELLS + CELL_CACHE]) ^ k->tag;
	if (UNLIKELY(STATE_BIRTH(state) != k->birth || STATE_ST(state) != ST_LIVE
		|| word_load(&s[SLOT_CELLS + CELL_CONV]) != k->conv || sum >> 30 != 0))
		return key_any(r, k, cost, d);
	old = word_load(w);
	used = (old ^ k->tag) + sum + cost;
	if (UNLIKELY((old ^ k->tag) >> 30 != 0)) {
		/* A sub-window that nobody has begun: its word is of an earlier one, or blank. */
		if (sum + cost > k->figures[0] && key_unopened(k, old))
			return key_over(r, k, sum, cost, d, seg);
		return key_any(r, k, cost, d);
	}
	if (UNLIKELY(used > k->figures[0]))
		return key_over(r, k, used - cost, cost, d, seg);
	if (UNLIKELY(!word_cas(w, old, old + cost)))
		return key_any(r, k, cost, d);
	if (d == NULL)
		return RATION_ADMITTED;
	store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, 1 | 1 << 16));
	store_pair(&d->cost, cost,
	    (now
		+ (uint64_t)atomic_load_explicit(
		    &seg->policy->real_offset_ns, memory_order_relaxed))
		/ 1000000000u);
	memcpy(&d->retry_after, k->head, sizeof(k->head));
	store_pair(&d->used, used, k->figures[0] - used);
	memcpy(&d->reset_at, k->reset, sizeof(k->reset) + sizeof(k->figures));
	if (UNLIKELY(used >= k->figures[0] / 2))
		d->level = decision_level(used, k->figures[0]);
	memcpy(&d->receipts[0], k->receipt, sizeof(k->receipt));
	d->receipts[0].units = cost;
	return RATION_ADMITTED;
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
