/*
 * short.h - the short way of a call.
 *
 * It is for the commonest call: one key that exists, one or two sliding rates, enforced,
 * in a sub-window already begun.  What it touches: the policy word (twice), the
 * ruleset; of the slot state, resolved, link and key (keyed calls), and for each rate conv,
 * cache and one ring word; the coarse clock; one CAS a rate.  Whatever is not as it expects
 * goes the long way (call.c), which decides everything.
 *
 * A CAS waits for all that goes into it, and for every store before it, so the short way
 * keeps long chains out of its operands and little in memory.  Where the key's slot may be
 * and which sub-window it is are guessed (handle.h) and then checked by compares that a
 * processor predicts; neither the hash of the key nor the division of the clock is waited
 * for.  A wrong guess costs what the long way costs, nothing else.
 */
#ifndef RATION_SHORT_H
#define RATION_SHORT_H

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
 * What is remembered of a sub-window:
 *
 *	mark	tag of its words, conversion aside(34), number mod 2^30(30)
 *
 * Number and tag are of one store, for a thread may be stopped between two: with a number of
 * now and the tag of 16 sub-windows ago a charge would go to a word that has expired.  A
 * place is the shape's that took it first, for good: another's number could fit by chance.
 */
#define SUB_MARK(tag, epoch) ((tag) | ((epoch)&NARROW_MAX))

/* The last sub-window seen of this shape.  False: now is not in it. */
SHORT bool
sub_known(struct ration *h, const struct rate_def *r, uint64_t now, struct sub *s)
{
	unsigned i = r->shape % EPOCHS;
	uint64_t mark = atomic_load_explicit(&h->subs[i].mark, memory_order_acquire);

	s->epoch = mark & NARROW_MAX;
	s->tag = mark ^ s->epoch;
	s->reset = atomic_load_explicit(&h->subs[i].reset, memory_order_relaxed);
	s->start = s->epoch * r->sub_ns;
	return LIKELY(now - s->start < r->sub_ns &&
	    atomic_load_explicit(&h->subs[i].shape, memory_order_relaxed) == r->shape);
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

static_assert(offsetof(ration_decision_t, flags) == 8 && offsetof(ration_decision_t, now) == 24 &&
	offsetof(ration_decision_t, cost) == 16 && offsetof(ration_decision_t, retry_after) == 32 &&
	offsetof(ration_decision_t, policy_version) == 36 &&
	offsetof(ration_decision_t, segment_id) == 40 &&
	offsetof(ration_decision_t, limit_id) == 44 && offsetof(ration_rate_t, remaining) == 8 &&
	offsetof(ration_rate_t, reset_at) == 16 && offsetof(ration_rate_t, retry_at) == 24 &&
	offsetof(ration_receipt_t, slot) == 8 && offsetof(ration_receipt_t, birth) == 12,
    "what store_pair() stores stands together");
static_assert(
    __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "two32() and the layout are little-endian");

/* A rate's own figures, taken before it is known that they were not being rewritten. */
struct figures {
	pair_t units; /* units, rate_units */
	pair_t rest;
};
static_assert(sizeof(struct figures) == offsetof(struct rate_def, shape), "as a rate shows them");

SHORT struct figures
figures_of(const struct rate_def *r)
{
	struct figures f;

	memcpy(&f, r, sizeof(f));
	return f;
}

/* The figures of one plain rate. */
SHORT void
plain_rate(ration_rate_t *out, const struct figures *f, uint64_t units, uint64_t used,
    const struct sub *sub)
{
	memcpy(&out->limit_units, f, sizeof(*f));
	store_pair(&out->used, used, units - used);
	store_pair(&out->reset_at, (uint64_t)sub->reset, 0);
	if (UNLIKELY(used >= units / 2))
		out->level = decision_level(used, units);
}

/* Who is asked about, when, and under which policy. */
struct plain {
	struct ration *h;
	const struct segment *seg;
	uint64_t now;
	uint64_t policy_word;
	const struct policy_area *area;
	uint64_t slot;
	uint64_t state; /* the slot's, LIVE, when it was found: the short way compares all of it */
	word_t *at;     /* the slot's words */
	word_t *word;   /* guess: the ring word of a single rate's current sub-window */
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
	p.state = 0;
	p.at = NULL;
	p.word = NULL;
	return p;
}

SHORT void
plain_head(ration_decision_t *d, const struct plain *p, uint32_t limit, unsigned nrates,
    uint64_t cost, int64_t real_ns)
{
	store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, nrates | nrates << 16));
	store_pair(&d->cost, cost, (p->now + (uint64_t)real_ns) / 1000000000u);
	store_pair(
	    &d->retry_after, two32(0, POLICY_CURRENT(p->policy_word)), two32(p->seg->id, limit));
}

SHORT void
plain_receipt(const struct plain *p, const struct sub *sub, uint64_t tag, uint64_t conv, unsigned i,
    uint64_t cost, ration_receipt_t *rc)
{
	store_pair(rc, WHERE(tag, CONV_COUNT(conv), i, sub->epoch % RING_WORDS),
	    two32(p->slot, STATE_BIRTH(p->state)));
	rc->units = cost;
}

/* Rate i, shown at place `at` of the decision; before: what its word held. */
SHORT void
plain_report(const struct plain *p, const struct figures *f, uint64_t units, const struct sub *sub,
    uint64_t tag, uint64_t conv, uint64_t used, unsigned i, unsigned at, uint64_t cost,
    ration_decision_t *d)
{
	plain_rate(&d->rates[at], f, units, used, sub);
	plain_receipt(p, sub, tag, conv, i, cost, &d->receipts[i]);
}

SHORT int64_t
plain_real(const struct plain *p)
{
	return atomic_load_explicit(&p->seg->policy->real_offset_ns, memory_order_relaxed);
}

/* The ruleset that the slot was resolved to.  False: not under this version. */
SHORT bool
plain_ruleset(const struct plain *p, const word_t *s, const struct ruleset **rs)
{
	uint64_t resolved = word_load(&s[SLOT_RESOLVED]);

	*rs = (const struct ruleset *)(const void *)((const char *)p->area + p->area->rulesets) +
	    (uint32_t)resolved;
	return LIKELY(
	    (resolved ^ p->policy_word) >> 32 == 0 && (uint32_t)resolved < p->area->nrulesets);
}

SHORT bool
plain_rules(const struct plain *p, const word_t *s, const struct ruleset **rs)
{
	return plain_ruleset(p, s, rs) && ((*rs)->flags & RULESET_PLAIN) != 0;
}

/* nrates, mode (enforce) and flags of a plain ruleset, as they stand together. */
#define PLAIN_KIND(n) ((uint32_t)(n) | (uint32_t)RULESET_PLAIN << 24)
static_assert(offsetof(struct ruleset, mode) == offsetof(struct ruleset, nrates) + 2 &&
	offsetof(struct ruleset, flags) == offsetof(struct ruleset, nrates) + 3 &&
	MODE_ENFORCE == 0,
    "PLAIN_KIND()");

/* The policy that was read was not being rewritten: pairs with policy_begin(). */
SHORT bool
plain_intact(const struct plain *p)
{
	return word_load(&p->seg->policy->word) == p->policy_word;
}

/* Slot and birth in one register. */
#define PLACE(slot, birth) ((slot) | (birth) << 32)

/*
 * After the words were loaded: is the slot in the life in which it was found?  Then they are
 * of that life, and a CAS from them fails once it has ended (layout.h).
 */
SHORT bool
place_kept(const word_t *s, uint64_t birth)
{
	uint64_t state = word_load(&s[SLOT_STATE]);

	return STATE_BIRTH(state) == birth && STATE_ST(state) == ST_LIVE;
}

/* One rate of a plain call, ready to be charged. */
struct plain_step {
	struct sub sub;
	word_t *word;
	uint64_t conv;
	uint64_t tag;
	uint64_t sum; /* of the sealed sub-windows */
	uint64_t old;
};

/* ---- short.c: what is seldom ---- */

/* The sub-window of now, computed; remembered for sub_known(). */
struct sub sub_of(
    struct ration *h, const struct segment *seg, const struct rate_def *r, uint64_t now);
/*
 * Over the limit, by the coarse clock: by the precise one too?  RATION_DENIED or LONG_WAY.
 */
int plain_deny(struct ration *h, const struct segment *seg, uint64_t place, uint64_t cost,
    ration_decision_t *d);
/*
 * One rate whose sub-window has just begun for this process, or whose CAS was lost; for
 * several rates the sub-windows are learnt.  *word: where the next charge is likely to go.
 * A verdict or LONG_WAY.
 */
int plain_any(struct ration *h, const struct segment *seg, uint64_t now, uint64_t place,
    uint64_t cost, ration_decision_t *d, uint64_t *word);
/* Give one rate's charge back; the call goes the long way: LONG_WAY. */
int plain_undo(
    const struct segment *seg, uint64_t place, uint64_t tag, uint64_t conv_word, uint64_t cost);

/* The same without a call and without a doubt: the sub-window is known and has begun. */
SHORT bool
plain_step(const struct plain *p, word_t *cell, const struct rate_def *r, struct plain_step *st)
{
	bool known = sub_known(p->h, r, p->now, &st->sub);

	st->conv = word_load(&cell[CELL_CONV]);
	st->tag = sub_tag(&st->sub, st->conv);
	st->sum = word_load(&cell[CELL_CACHE]) ^ st->tag;
	return LIKELY(known && CONV_SETTLED(st->conv) == r->shape && st->sum >> 30 == 0);
}

/* Two rates at once.  No loop: they are to stay in registers. */
SHORT int
plain_two(const struct plain *p, const struct ruleset *rs, uint64_t cost, ration_decision_t *d)
{
	word_t *cell = p->at + SLOT_CELLS;
	const struct rate_def *r0 = &rs->rates[0], *r1 = &rs->rates[1];
	const struct figures f0 = figures_of(r0), f1 = figures_of(r1);
	const uint64_t units0 = r0->units, units1 = r1->units;
	const uint32_t limit = rs->limit;
	struct plain_step a, b;
	uint64_t left0, left1;
	int64_t real_ns;
	unsigned at;

	if (UNLIKELY(p->seg->cells < 2 || !plain_step(p, cell, r0, &a) ||
		!plain_step(p, cell + CELL_WORDS, r1, &b)))
		return LONG_WAY;
	a.word = &cell[CELL_RING + a.sub.epoch % RING_WORDS];
	b.word = &cell[CELL_WORDS + CELL_RING + b.sub.epoch % RING_WORDS];
	a.old = word_load(a.word);
	b.old = word_load(b.word);
	left0 = units0 - a.sum - (a.old ^ a.tag) - cost;
	left1 = units1 - b.sum - (b.old ^ b.tag) - cost;
	if (UNLIKELY(((a.old ^ a.tag) | (b.old ^ b.tag)) >> 30 != 0 || left0 > units0 ||
		left1 > units1 || !plain_intact(p) || word_load(&p->at[SLOT_STATE]) != p->state))
		return LONG_WAY;
	if (UNLIKELY(!word_cas(a.word, a.old, a.old + cost)))
		return LONG_WAY;
	if (UNLIKELY(!word_cas(b.word, b.old, b.old + cost)))
		return plain_undo(p->seg, PLACE(p->slot, STATE_BIRTH(p->state)), a.tag,
		    a.conv << 8 | a.sub.epoch % RING_WORDS, cost);
	if (d == NULL)
		return RATION_ADMITTED;
	real_ns = plain_real(p);
	at = left1 < left0;
	plain_head(d, p, limit, 2, cost, real_ns);
	plain_report(p, &f0, units0, &a.sub, a.tag, a.conv, units0 - left0, 0, at, cost, d);
	plain_report(p, &f1, units1, &b.sub, b.tag, b.conv, units1 - left1, 1, at ^ 1, cost, d);
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
	uint64_t used, units;
	uint32_t kind;

	st.old = word_load(w);
	if (UNLIKELY(!plain_ruleset(p, p->at, &rs)))
		return LONG_WAY;
	/* Number of rates, mode and flags at once. */
	memcpy(&kind, &rs->nrates, sizeof(kind));
	if (UNLIKELY(kind != PLAIN_KIND(1)))
		return kind == PLAIN_KIND(2) ? plain_two(p, rs, cost, d) : LONG_WAY;
	r = &rs->rates[0];
	if (UNLIKELY(!plain_step(p, cell, r, &st)))
		return LONG_WAY;
	/*
	 * All that is taken from the policy is taken before plain_intact(): where it is to
	 * go, or in registers.
	 */
	units = r->units;
	if (LIKELY(d != NULL)) {
		memcpy(&d->limit_units, r, offsetof(struct rate_def, shape));
		d->limit_id[0] = rs->limit;
	}
	if (UNLIKELY((st.old ^ st.tag) >> 30 != 0 ||
		w != &cell[CELL_RING + st.sub.epoch % RING_WORDS] || !plain_intact(p) ||
		word_load(&p->at[SLOT_STATE]) != p->state))
		return st.sum + cost > units ? OVER : LONG_WAY;
	used = (st.old ^ st.tag) + st.sum + cost;
	if (UNLIKELY(used > units))
		return OVER;
	if (UNLIKELY(!word_cas(w, st.old, st.old + cost)))
		return LONG_WAY;
	if (d != NULL) {
		store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, 1 | 1 << 16));
		store_pair(&d->cost, cost, (p->now + (uint64_t)plain_real(p)) / 1000000000u);
		d->retry_after = 0;
		d->policy_version = POLICY_CURRENT(p->policy_word);
		d->segment_id = p->seg->id;
		store_pair(&d->used, used, units - used);
		store_pair(&d->reset_at, (uint64_t)st.sub.reset, 0);
		if (UNLIKELY(used >= units / 2))
			d->level = decision_level(used, units);
		plain_receipt(p, &st.sub, st.tag, st.conv, 0, cost, &d->receipts[0]);
	}
	return RATION_ADMITTED;
}

#endif
