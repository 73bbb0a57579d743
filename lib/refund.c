/*
 * refund.c - giving back what a receipt says was charged, if it is still there.
 */
#include "cell.h"

#include <string.h>

#include "lease.h"
#include "words.h"

/* Has the window that tag's word belongs to ended? */
static bool
expired(const struct cell_ctx *x, uint32_t shape, uint64_t tag)
{
	struct rate_def r;
	int64_t start, end;
	int zone;

	memset(&r, 0, sizeof(r));
	r.window_ns = shape_seconds(shape, &r.kind) * (uint64_t)NS_S;
	if (r.kind == RATION_SLIDING) {
		rate_def_derive(&r, "");
		return tick_diff(tick_of(x->now_ns), tag >> 30 & TICK_MASK) >
		    (int64_t)(RING_WORDS * r.sub_ns / TICK_NS) + 1; /* both are rounded */
	}
	zone = shape_zone(x->policy, shape);
	if (zone >= 0)
		r.zone = (uint8_t)zone;
	if ((r.kind != RATION_FIXED && zone < 0) ||
	    !policy_period(x->policy, &r, x->unix_ns, &start, &end))
		return false;
	return period_tag(start) != tag;
}

/* After the word was loaded: it is of the life and the shape that were charged. */
static bool
receipt_holds(const struct cell_ctx *x, const ration_receipt_t *rc)
{
	uint64_t conv = cell_load(x, WHERE_CELL(rc->where), CELL_CONV);

	return STATE_BIRTH(word_load(&x->slot[SLOT_STATE])) == x->birth &&
	    CONV_COUNT(conv) == WHERE_CONV(rc->where) && CONV_STAGE(conv) == CONV_DONE;
}

static int
refund_word(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units, uint8_t kind)
{
	word_t *p = ring_word(x, WHERE_CELL(rc->where), WHERE_WORD(rc->where)), *cache;
	bool narrow = kind == RATION_SLIDING;
	uint64_t mask = narrow ? NARROW_MAX : WIDE_MAX, w, n, old;

	for (unsigned tries = 0; tries < 1000; tries++) {
		w = word_load(p);
		if ((w & ~mask & ~(narrow ? NARROW_SEAL : 0)) != WHERE_TAG(rc->where))
			return RATION_ESTALE;
		n = w & mask;
		n = n < units ? n : units;
		if (n == 0 || !receipt_holds(x, rc))
			return RATION_ESTALE;
		if (!word_cas(p, w, w - n))
			continue;
		if (narrow && (w & NARROW_SEAL) != 0) {
			/* The cached sum counts it still. */
			cache = x->slot + SLOT_CELLS + (size_t)WHERE_CELL(rc->where) * CELL_WORDS +
			    CELL_CACHE;
			old = word_load(cache);
			if (CACHE_VALID(old))
				(void)word_cas(cache, old, CACHE_NONE(tick_of(x->now_ns)));
		}
		return 0;
	}
	return RATION_EBUSY;
}

/*
 * A bucket gives units back by itself in the order in which they were taken: those of this
 * receipt from `until` - units x period on, and at `until` none is left, whatever others have
 * taken since.
 */
static int
refund_bucket(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units)
{
	word_t *p = ring_word(x, WHERE_CELL(rc->where), 0);
	uint64_t period = word_load(ring_word(x, WHERE_CELL(rc->where), 1)) & TAT_MASK;
	uint64_t now = x->now_ns * 16, until;
	unsigned __int128 back = (unsigned __int128)units * period;

	until = tat_near(RECEIPT_TAT(rc->where, rc->units), now);
	for (unsigned tries = 0; tries < 1000; tries++) {
		uint64_t w = word_load(p), tat = tat_near(w & TAT_MASK, now);

		if (word_kind(w) != W_TAT || tat <= now || until <= now || !receipt_holds(x, rc))
			return RATION_ESTALE;
		if (back > until - now)
			back = until - now;
		if (back > tat - now)
			back = tat - now;
		if (!word_cas(p, w, TAT_WORD(tat - (uint64_t)back)))
			continue;
		if (WHERE_CELL(rc->where) == 0)
			(void)total_add(x, -units);
		return 0;
	}
	return RATION_EBUSY;
}

int
cell_refund(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units, bool undo)
{
	uint64_t conv;
	uint32_t shape;
	uint8_t kind;

	if (WHERE_CELL(rc->where) >= x->seg->cells)
		return RATION_EINVAL;
	if (RECEIPT_IS_LEASE(rc))
		return units == 0 ? RATION_ESTALE : lease_refund(x, rc);
	conv = cell_load(x, WHERE_CELL(rc->where), CELL_CONV);
	shape = CONV_SHAPE(conv);
	kind = shape_kind(shape);
	if (units > RECEIPT_UNITS(rc->units))
		units = RECEIPT_UNITS(rc->units);
	if (units == 0 || (rc->where & 1) == 0)
		return RATION_ESTALE;
	if (!receipt_holds(x, rc))
		return RATION_ESTALE;
	switch (kind) {
	case RATION_SLIDING:
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		if (!undo && expired(x, shape, WHERE_TAG(rc->where)))
			return RATION_ESTALE;
		return refund_word(x, rc, units, kind);
	case RATION_BUCKET:
		return refund_bucket(x, rc, units);
	case RATION_COUNT_ONLY:
		return WHERE_CELL(rc->where) != 0 || total_add(x, -units) ? 0 : RATION_ESTALE;
	default:
		return RATION_ESTALE;
	}
}
