/*
 * many.h - the short way for several claims.
 *
 * For calls over 2 to MANY_MAX limits whose keys all exist, each with one or two sliding rates
 * in sub-windows that have begun, with room.  All are looked at, then charged by one CAS a rate
 * in the order of the slots, as call.c does; whoever loses one gives back what he has charged
 * and goes the long way, which decides everything else too.
 */
#ifndef RATION_MANY_H
#define RATION_MANY_H

#include "hint.h"

#define MANY_MAX 4u

/* One claim, ready to be looked for. */
struct many_claim {
	struct short_key words;
	uint64_t hint;            /* hint_of() or hint_by_id() */
	const unsigned char *key; /* at most KEY_INLINE_WORDS * 8 bytes */
	size_t len;
	uint64_t cost;
	const char *name; /* of the limit; NULL: it is known by its id */
	uint32_t limit;
	uint32_t fixed;   /* WHERE_FIXED: the cost is the policy's; else 0 */
	uint64_t checked; /* HINT_CHECKED: the key is an address; else 0 */
	/* What was found of it. */
	uint64_t slot;
	uint64_t state;
	word_t *at;
	const struct ruleset *rules;
	unsigned first; /* of its rates in the decision */
	unsigned nrates;
};

SHORT uint64_t
load32(const unsigned char *b)
{
	uint32_t w;

	memcpy(&w, b, sizeof(w));
	return w;
}

/* 1 to 7 bytes, zeros behind them; parts that overlap agree. */
SHORT uint64_t
few_bytes(const unsigned char *b, size_t len)
{
	if (len >= 4)
		return load32(b) | load32(b + len - 4) << (8 * (len - 4));
	return (uint64_t)b[0] | (uint64_t)b[len / 2] << (8 * (len / 2)) |
	    (uint64_t)b[len - 1] << (8 * (len - 1));
}

/* The last len % 8 bytes of 8 or more, zeros behind them. */
SHORT uint64_t
last_bytes(const unsigned char *b, size_t len)
{
	return len % 8 == 0 ? 0 : load64(b + len - 8) >> (64 - len % 8 * 8);
}

/*
 * As short_key() of 1 to 32 bytes, where the length is known early: no jump depends on its lower
 * bits, which are another for each address.
 */
SHORT struct short_key
long_key(const unsigned char *key, size_t len)
{
	struct short_key k = { { 0, 0, 0, 0 } };

	if (len < 8) {
		k.w[0] = few_bytes(key, len);
	} else if (len < 16) {
		k.w[0] = load64(key);
		k.w[1] = last_bytes(key, len);
	} else if (len < 24) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		k.w[2] = last_bytes(key, len);
	} else {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		k.w[2] = load64(key + 16);
		k.w[3] = len < 32 ? last_bytes(key, len) : load64(key + 24);
	}
	return k;
}

/* As hint_of(), for a limit known by its id. */
SHORT uint64_t
hint_by_id(uint32_t limit, const struct short_key *k)
{
	return hint_of((const char *)(uintptr_t)(limit + UINT64_C(1)), k);
}

/* ---- many.c: everything that goes the short way, without hurry ---- */

/* RATION_ADMITTED, or LONG_WAY. */
int many_any(
    const struct plain *p, const struct many_claim *claims, unsigned n, ration_decision_t *d);
/* Give back the first n charges of d; the call goes the long way: LONG_WAY. */
int many_undo(const struct segment *seg, const ration_decision_t *d, unsigned n);

/* ---- the commonest calls: each key has a hint and one rate ---- */

/* A charge that is ready: word, what it held, what it shall hold. */
struct many_charge {
	word_t *word;
	uint64_t old;
	uint64_t new;
};

/*
 * The spare bit of a hint: the text was looked at, and is an IPv4 address as address_key() writes
 * it.  So is then the same text, and no other has this slot.
 */
#define HINT_CHECKED (UINT64_C(1) << 54)

/* Is this the slot of the claim's key?  As hint_holds(). */
SHORT bool
many_is(const struct plain *p, const word_t *s, uint64_t link, const struct many_claim *c)
{
	uint64_t differs = word_load(&s[SLOT_KEY]) ^ c->words.w[0];

	if (c->len > 8)
		differs |= word_load(&s[SLOT_KEY + 1]) ^ c->words.w[1];
	if (c->len > 16)
		differs |= word_load(&s[SLOT_KEY + 2]) ^ c->words.w[2];
	if (c->len > 24)
		differs |= word_load(&s[SLOT_KEY + 3]) ^ c->words.w[3];
	if (c->name == NULL)
		return differs == 0 && (link & 0xffffff) == (c->len << 16 | c->limit);
	return differs == 0 && LINK_LEN(link) == c->len &&
	    name_is(p->area, LINK_LIMIT(link), c->name);
}

/* Does the slot hold the claim's key, alive?  *kind: that of its ruleset. */
SHORT bool
many_found(const struct plain *p, struct many_claim *c, uint32_t *kind)
{
	word_t *s = segment_slot(p->seg, c->slot);
	uint64_t link;

	c->at = s;
	c->state = word_load(&s[SLOT_STATE]);
	link = word_load(&s[SLOT_LINK]);
	if (UNLIKELY(STATE_ST(c->state) != ST_LIVE || !many_is(p, s, link, c) ||
		!plain_ruleset(p, s, &c->rules)))
		return false;
	memcpy(kind, &c->rules->nrates, sizeof(*kind));
	return true;
}

/* What is to be shown of a rate. */
struct many_seen {
	const struct rate_def *r;
	int64_t reset;
	uint64_t left;
};

/* Cell `i` of a claim: its charge and receipt.  False: not the short way. */
SHORT bool
many_look(const struct plain *p, const struct many_claim *c, unsigned i, struct many_charge *ch,
    ration_receipt_t *rc, struct many_seen *seen)
{
	word_t *cell = c->at + SLOT_CELLS + (size_t)i * CELL_WORDS;
	const struct rate_def *r = &c->rules->rates[i];
	const uint64_t units = r->units;
	struct plain_step st;
	uint64_t used;

	if (UNLIKELY(!sub_known(p->h, r, p->now, &st.sub)))
		st.sub = sub_of(p->h, p->seg, r, p->now);
	st.conv = word_load(&cell[CELL_CONV]);
	st.tag = sub_tag(&st.sub, st.conv);
	st.sum = word_load(&cell[CELL_CACHE]) ^ st.tag;
	st.word = &cell[CELL_RING + st.sub.epoch % RING_WORDS];
	st.old = word_load(st.word);
	used = st.sum + (st.old ^ st.tag) + c->cost;
	if (UNLIKELY(CONV_SETTLED(st.conv) != r->shape || st.sum >> 30 != 0 ||
		(st.old ^ st.tag) >> 30 != 0 || used > units))
		return false;
	ch->word = st.word;
	ch->old = st.old;
	ch->new = st.old + c->cost;
	seen->r = r;
	seen->reset = st.sub.reset;
	seen->left = units - used;
	/* WHERE(), the conversion's number moved at once. */
	store_pair(rc,
	    st.tag | (st.conv >> 8 & 0xff000) | (uint64_t)i << 8 | (st.sub.epoch << 4 & 0xf0) | 1 |
		c->fixed,
	    two32(c->slot, STATE_BIRTH(c->state)));
	rc->units = c->cost;
	return true;
}

static_assert(offsetof(ration_rate_t, level) == offsetof(ration_rate_t, kind) + 1 &&
	offsetof(ration_rate_t, claim) == offsetof(ration_rate_t, kind) + 2 &&
	offsetof(ration_rate_t, kind) == offsetof(ration_rate_t, window_ns) + 8,
    "level and claim are put beside the kind");

/* The figures, where they go at once: what was just stored in parts is slow to move whole. */
SHORT void
many_show(const struct many_seen *seen, uint64_t claim, ration_rate_t *out)
{
	const struct rate_def *r = seen->r;
	const uint64_t units = r->units, used = units - seen->left;
	uint64_t kind;

	memcpy(&kind, &r->kind, sizeof(kind));
	kind |= claim << 16;
	if (UNLIKELY(used >= units / 2))
		kind |= (uint64_t)decision_level(used, units) << 8;
	store_pair(&out->used, used, seen->left);
	store_pair(&out->reset_at, (uint64_t)seen->reset, 0);
	store_pair(&out->limit_units, units, r->rate_units);
	store_pair(&out->window_ns, r->window_ns, kind);
}

/*
 * All or nothing: what was looked at stands, and is charged in order.  LONG_WAY: nothing is
 * charged.
 */
SHORT int
many_charge_all(const struct plain *p, const struct many_charge *charges, unsigned n,
    const ration_decision_t *d)
{
	if (UNLIKELY(!plain_intact(p)))
		return LONG_WAY;
	for (unsigned i = 0; i < n; i++)
		if (UNLIKELY(!word_cas(charges[i].word, charges[i].old, charges[i].new)))
			return many_undo(p->seg, d, i);
	return RATION_ADMITTED;
}

/* Of the rate that decides, the one with the least left, the place is the first. */
SHORT unsigned
many_place(unsigned rate, unsigned lead)
{
	return rate == lead ? 0 : rate == 0 ? lead : rate;
}

/* The rest of the decision; cost: of the claim that decides. */
SHORT void
many_head(
    const struct plain *p, ration_decision_t *d, unsigned nrates, uint64_t cost, int64_t real_ns)
{
	store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, nrates | nrates << 16));
	store_pair(&d->cost, cost, (p->now + (uint64_t)real_ns) / 1000000000u);
	d->retry_after = 0;
	d->policy_version = POLICY_CURRENT(p->policy_word);
	d->segment_id = p->seg->id;
}

/* Claim i, in place `rank` of the order of slots.  No loop: see plain_two(). */
SHORT bool
many_each(const struct plain *p, struct many_claim *c, unsigned i, unsigned rank,
    struct many_charge *charges, ration_decision_t *d, struct many_seen *seen)
{
	uint32_t kind;

	if (UNLIKELY(!many_found(p, c, &kind) || kind != PLAIN_KIND(1)))
		return false;
	d->limit_id[i] = c->name == NULL ? c->limit : c->rules->limit;
	return many_look(p, c, 0, &charges[rank], &d->receipts[rank], seen);
}

SHORT bool
many_hinted(const struct plain *p, struct many_claim *c)
{
	uint64_t place =
	    atomic_load_explicit(&p->h->hints[HINT_INDEX(c->hint)].place, memory_order_acquire);

	c->slot = place & UINT32_MAX;
	return LIKELY(HINT_FITS(place ^ c->checked, p->seg, c->hint) && c->slot < p->seg->nslots);
}

SHORT bool
many_kept(const struct many_claim *c)
{
	return LIKELY(word_load(&c->at[SLOT_STATE]) == c->state);
}

/* One to three claims (n is a constant). */
SHORT int
many_short(const struct plain *p, struct many_claim *c, unsigned n, ration_decision_t *d)
{
	struct many_charge charges[3];
	struct many_seen seen[3];
	unsigned rank[3] = { 0, 0, 0 }, lead = 0;
	uint64_t least, cost;
	int64_t real_ns;

	if (UNLIKELY(!many_hinted(p, &c[0]) || (n > 1 && !many_hinted(p, &c[1])) ||
		(n > 2 && !many_hinted(p, &c[2]))))
		return LONG_WAY;
	if (n > 1) {
		rank[0] =
		    (unsigned)(c[1].slot < c[0].slot) + (unsigned)(n > 2 && c[2].slot < c[0].slot);
		rank[1] =
		    (unsigned)(c[0].slot < c[1].slot) + (unsigned)(n > 2 && c[2].slot < c[1].slot);
		rank[2] = 3 - rank[0] - rank[1];
		if (UNLIKELY(c[0].slot == c[1].slot ||
			(n > 2 && (c[0].slot == c[2].slot || c[1].slot == c[2].slot))))
			return LONG_WAY;
	}
	if (UNLIKELY(!many_each(p, &c[0], 0, rank[0], charges, d, &seen[0]) ||
		(n > 1 && !many_each(p, &c[1], 1, rank[1], charges, d, &seen[1])) ||
		(n > 2 && !many_each(p, &c[2], 2, rank[2], charges, d, &seen[2]))))
		return LONG_WAY;
	least = seen[0].left;
	cost = c[0].cost;
	if (n > 1 && seen[1].left < least) {
		least = seen[1].left;
		cost = c[1].cost;
		lead = 1;
	}
	if (n > 2 && seen[2].left < least) {
		cost = c[2].cost;
		lead = 2;
	}
	many_show(&seen[0], 0, &d->rates[many_place(0, lead)]);
	if (n > 1)
		many_show(&seen[1], 1, &d->rates[many_place(1, lead)]);
	if (n > 2)
		many_show(&seen[2], 2, &d->rates[many_place(2, lead)]);
	real_ns = plain_real(p);
	if (UNLIKELY(!many_kept(&c[0]) || (n > 1 && !many_kept(&c[1])) ||
		(n > 2 && !many_kept(&c[2])) ||
		many_charge_all(p, charges, n, d) != RATION_ADMITTED))
		return LONG_WAY;
	many_head(p, d, n, cost, real_ns);
	return RATION_ADMITTED;
}

#endif
