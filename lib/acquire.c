/*
 * acquire.c - the public calls by limit and key, and how a key finds its slot the short way.
 */
#include "ration.h"

#include <string.h>

#include "hint.h"

/* Not the commonest call: search if the hint did not hold, and remember. */
static int __attribute__((noinline)) keyed_any(ration_t *r, const struct segment *seg,
    const char *limit, const unsigned char *key, size_t len, uint64_t cost, ration_decision_t *d)
{
	struct short_key words = short_key(key, len);
	uint64_t h = hint_of(limit, &words), place, word = 0, now;
	struct ident id = { limit, strlen(limit), key, len, 0, 0 };
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
		f.birth = STATE_BIRTH(p.state);
	} else {
		if (HINT_FITS(place, seg, h))
			ident_hash(seg, &id);
		if (!table_find_named(seg, &ref, &id, &f) ||
		    STATE_ST(word_load(&segment_slot(seg, f.slot)[SLOT_STATE])) != ST_LIVE)
			return LONG_WAY;
	}
	/* Names were compared: they were the policy's. */
	if (!policy_intact(&ref))
		return LONG_WAY;
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
		verdict =
		    keyed_any(r, seg, limit, (const unsigned char *)key, claim.key_len, cost, d);
		if (verdict != LONG_WAY)
			return verdict;
	}
	return call_units(r, &claim, d);
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
	if (UNLIKELY(!plain_cost(cost) || !hint_holds(&p, p.area, place, h, limit, &words, len)))
		return acquire_any(r, limit, key, cost, d);
	verdict = plain_one(&p, cost, d);
	if (LIKELY(verdict <= RATION_ADMITTED))
		return verdict;
	return acquire_any(r, limit, key, cost, d);
}

int
ration_acquire(ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;

	if (UNLIKELY(r == NULL) || UNLIKELY(limit == NULL) || UNLIKELY(key == NULL) ||
	    UNLIKELY(d != NULL && d->size != sizeof(*d)) ||
	    UNLIKELY((seg = handle_segment(r)) == NULL))
		return acquire_any(r, limit, key, cost, d);
	return acquire_at(r, limit, key, cost, d, clock_coarse(&r->clock, seg->policy));
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
