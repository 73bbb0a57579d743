/*
 * many.c - several claims at once, the short way.
 *
 * What is far away is asked for together: where keys have no hint, the buckets of all are
 * fetched, then their slots, before any is looked into.  The decision is written while looking:
 * a CAS waits for every store before it, and these are the ones that there have to be.
 */
#include "many.h"

#include <string.h>

/* ---- finding ---- */

static void
prefetch_slot(const word_t *s)
{
	__builtin_prefetch(s);
	__builtin_prefetch(s + 8);
	__builtin_prefetch(s + 16);
	__builtin_prefetch(s + 24);
}

/* The hash in the table.  False: the limit's name was being rewritten. */
static bool
many_hash(const struct plain *p, const struct many_claim *c, uint64_t *hash)
{
	struct ident id = { c->name, 0, c->key, c->len, 0, 0 };
	const struct limit_def *l;

	if (c->name == NULL) {
		if (c->limit >= p->area->nlimits)
			return false;
		l = (const struct limit_def *)(const void *)((const char *)p->area +
			p->area->limits) +
		    c->limit;
		if (l->name >= p->area->strings_bytes || l->name_len > RATION_NAME_MAX)
			return false;
		id.limit = (const char *)p->area + p->area->strings + l->name;
		id.limit_len = l->name_len;
	} else {
		id.limit_len = strlen(c->name);
	}
	ident_hash(p->seg, &id);
	*hash = id.hash;
	return true;
}

#define WALK_MAX 8u

/*
 * Claims without a hint (cold: a bit each) get one: their lists are walked in step, so that no
 * line is waited for alone.  A guess as any hint is: the walk may go astray, and all that
 * was compared is compared again.
 */
static bool __attribute__((noinline))
many_fetch(const struct plain *p, struct many_claim *c, unsigned n, unsigned cold)
{
	const struct segment *seg = p->seg;
	uint64_t hash[MANY_MAX], ref[MANY_MAX] = { 0 };

	for (unsigned i = 0; i < n; i++)
		if ((cold >> i & 1) != 0) {
			if (!many_hash(p, &c[i], &hash[i]))
				return false;
			table_prefetch(seg, hash[i]);
		}
	for (unsigned i = 0; i < n; i++)
		if ((cold >> i & 1) != 0)
			ref[i] = BUCKET_REF(word_load(&seg->buckets[table_bucket(seg, hash[i])]));
	for (unsigned hop = 0; cold != 0 && hop < WALK_MAX; hop++) {
		for (unsigned i = 0; i < n; i++) {
			if ((cold >> i & 1) == 0)
				continue;
			if (ref[i] == 0 || ref[i] > seg->nslots)
				return false;
			prefetch_slot(segment_slot(seg, ref[i] - 1));
		}
		for (unsigned i = 0; i < n; i++) {
			const word_t *s;
			uint64_t link;

			if ((cold >> i & 1) == 0)
				continue;
			s = segment_slot(seg, ref[i] - 1);
			link = word_load(&s[SLOT_LINK]);
			c[i].slot = ref[i] - 1;
			ref[i] = LINK_NEXT(link);
			if (many_is(p, s, link, &c[i]))
				cold &= ~(1u << i);
		}
	}
	/* As acquire.c, which reads it: where a place is set its word was set before. */
	for (unsigned i = 0; cold == 0 && i < n; i++) {
		uint64_t at = HINT_INDEX(c[i].hint);

		atomic_store_explicit(&p->h->hints[at].word,
		    (uint64_t)(uintptr_t)(slot_cell(seg, c[i].slot, 0) + CELL_RING),
		    memory_order_relaxed);
		atomic_store_explicit(&p->h->hints[at].place,
		    HINT_PLACE(seg, c[i].hint, c[i].slot) | c[i].checked, memory_order_release);
	}
	return cold == 0;
}

/* Where the claims' slots may be: by hints, else by a search. */
SHORT bool
many_guess(const struct plain *p, struct many_claim *c, unsigned n)
{
	unsigned cold = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t place = atomic_load_explicit(
		    &p->h->hints[HINT_INDEX(c[i].hint)].place, memory_order_acquire);

		c[i].slot = place & UINT32_MAX;
		if (UNLIKELY(!HINT_FITS(place ^ c[i].checked, p->seg, c[i].hint) ||
			c[i].slot >= p->seg->nslots))
			cold |= 1u << i;
	}
	return LIKELY(cold == 0) || many_fetch(p, c, n, cold);
}

/* ---- charging ---- */

int
many_undo(const struct segment *seg, const ration_decision_t *d, unsigned n)
{
	struct cell_ctx x;

	memset(&x, 0, sizeof(x));
	x.seg = seg;
	while (n-- > 0) {
		x.slot = segment_slot(seg, d->receipts[n].slot);
		x.birth = d->receipts[n].birth;
		(void)cell_refund(&x, &d->receipts[n], d->receipts[n].units, true);
	}
	return LONG_WAY;
}

/* The claims in the order of their slots.  False: two of them are of one key. */
SHORT bool
many_order(const struct many_claim *c, unsigned n, unsigned order[MANY_MAX])
{
	bool apart = true;

	for (unsigned i = 0; i < n; i++) {
		unsigned k = i;

		for (; k > 0 && c[order[k - 1]].slot >= c[i].slot; k--) {
			apart &= c[order[k - 1]].slot != c[i].slot;
			order[k] = order[k - 1];
		}
		order[k] = i;
	}
	return apart;
}

int
many_any(const struct plain *p, const struct many_claim *claims, unsigned n, ration_decision_t *d)
{
	struct many_claim c[MANY_MAX];
	struct many_charge charges[2 * MANY_MAX];
	struct many_seen seen[2 * MANY_MAX];
	unsigned order[MANY_MAX] = { 0 }, claims_of[2 * MANY_MAX], nrates = 0, lead = 0, k = 0;

	/* cppcheck-suppress uninitvar ; it thinks of n = 0, and there is a claim at least */
	memcpy(c, claims, n * sizeof(c[0]));
	if (!many_guess(p, c, n))
		return LONG_WAY;
	for (unsigned i = 0; i < n; i++) {
		uint32_t kind;

		if (!many_found(p, &c[i], &kind) ||
		    (kind != PLAIN_KIND(1) && (kind != PLAIN_KIND(2) || p->seg->cells < 2)))
			return LONG_WAY;
		c[i].first = nrates;
		c[i].nrates = kind & 0xffff;
		nrates += c[i].nrates;
		d->limit_id[i] = c[i].rules->limit;
	}
	if (!many_order(c, n, order))
		return LONG_WAY;
	for (unsigned i = 0; i < n; i++) {
		const struct many_claim *cl = &c[order[i]];

		for (unsigned j = 0; j < cl->nrates; j++, k++) {
			unsigned at = cl->first + j;

			if (!many_look(p, cl, j, &charges[k], &d->receipts[k], &seen[at]))
				return LONG_WAY;
			claims_of[at] = order[i];
		}
	}
	for (unsigned i = 1; i < nrates; i++)
		if (seen[i].left < seen[lead].left)
			lead = i;
	for (unsigned i = 0; i < nrates; i++)
		many_show(&seen[i], claims_of[i], &d->rates[many_place(i, lead)]);
	for (unsigned i = 0; i < n; i++)
		if (!many_kept(&c[i]))
			return LONG_WAY;
	if (many_charge_all(p, charges, nrates, d) != RATION_ADMITTED)
		return LONG_WAY;
	many_head(p, d, nrates, c[claims_of[lead]].cost, plain_real(p));
	return RATION_ADMITTED;
}

/* ---- by names ---- */

SHORT bool
many_name(const ration_claim_t *cl, struct many_claim *c)
{
	if (UNLIKELY(cl->size != sizeof(*cl) || cl->limit == NULL || cl->key == NULL ||
		cl->key_len - 1 >= KEY_INLINE_WORDS * 8 || !plain_cost(cl->cost)))
		return false;
	c->key = cl->key;
	c->len = cl->key_len;
	c->cost = cl->cost;
	c->name = cl->limit;
	c->limit = NO_ID;
	c->fixed = 0;
	c->checked = 0;
	c->words = long_key(c->key, c->len);
	c->hint = hint_of(c->name, &c->words);
	return true;
}

/* n claims (a constant), each known by a hint. */
SHORT int
all_short(const struct plain *p, const ration_claim_t *claims, unsigned n, ration_decision_t *d)
{
	struct many_claim c[3];

	if (UNLIKELY(!many_name(&claims[0], &c[0]) || !many_name(&claims[1], &c[1]) ||
		(n > 2 && !many_name(&claims[2], &c[2]))))
		return LONG_WAY;
	return many_short(p, c, n, d);
}

static int __attribute__((noinline)) all_any(ration_t *r, const struct segment *seg, uint64_t now,
    const ration_claim_t *claims, unsigned n, ration_decision_t *d)
{
	struct plain p = plain_start(r, seg, now);
	struct many_claim c[MANY_MAX];

	for (unsigned i = 0; i < n; i++)
		if (!many_name(&claims[i], &c[i]))
			return LONG_WAY;
	return many_any(&p, c, n, d);
}

/* RATION_ADMITTED or LONG_WAY; claims that are not in order go the long way too. */
SHORT int
all_try(ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d)
{
	const struct segment *seg = handle_segment(r);
	int verdict = LONG_WAY;
	struct plain p;
	uint64_t now;

	if (UNLIKELY(seg == NULL))
		return LONG_WAY;
	now = clock_coarse(&r->clock, seg->policy);
	p = plain_start(r, seg, now);
	if (n == 3)
		verdict = all_short(&p, claims, 3, d);
	else if (n == 2)
		verdict = all_short(&p, claims, 2, d);
	return LIKELY(verdict == RATION_ADMITTED) ? verdict
						  : all_any(r, seg, now, claims, (unsigned)n, d);
}

int
ration_acquire_all(ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d)
{
	if (LIKELY(r != NULL && claims != NULL && n >= 2 && n <= MANY_MAX && d != NULL &&
		d->size == sizeof(*d) && all_try(r, claims, n, d) == RATION_ADMITTED))
		return RATION_ADMITTED;
	return call_decide(r, claims, n, true, d);
}
