/*
 * total.c - units ever admitted, for nothing: counted when a word is overwritten, once
 * (layout.h).
 */
#include "words.h"

uint64_t
word_units(uint64_t w)
{
	switch (word_kind(w)) {
	case W_NARROW:
		return NARROW_UNITS(w);
	case W_WIDE:
	case W_CLOSED:
		return WIDE_UNITS(w);
	default:
		return 0;
	}
}

static uint64_t
fold_mark(unsigned i, uint64_t w)
{
	return MARK_FOLD(i, word_kind(w) == W_NARROW ? NARROW_TICK(w) : WIDE_TICK(w));
}

/* Does the mark say that the word which stands at its index is counted already? */
static bool
mark_stands(const word_t *ring, uint64_t mark, unsigned *i, uint64_t *w)
{
	if (mark >> 19 != 0)
		return false;
	*i = (unsigned)(mark >> 15 & 15);
	*w = word_load(&ring[*i]);
	return word_units(*w) != 0 && fold_mark(*i, *w) == mark;
}

bool
total_add(const struct cell_ctx *x, uint64_t units)
{
	for (unsigned tries = 0; tries < 1000; tries++) {
		uint64_t t = word_load(&x->slot[SLOT_TOTAL]);

		if (STATE_BIRTH(word_load(&x->slot[SLOT_STATE])) != x->birth)
			return false;
		if (word_cas(&x->slot[SLOT_TOTAL], t, t + (units << TOTAL_SHIFT)))
			return true;
	}
	return false;
}

uint64_t
cell_total(const word_t *slot)
{
	const word_t *ring = slot + SLOT_CELLS + CELL_RING;
	uint64_t total = word_load(&slot[SLOT_TOTAL]), sum = TOTAL_UNITS(total), w;
	unsigned i;

	/* Permits are no units. */
	if (CONV_SHAPE(word_load(&slot[SLOT_CELLS + CELL_CONV])) == SHAPE_CONCURRENT)
		return sum;
	for (i = 0; i < RING_WORDS; i++)
		sum += word_units(word_load(&ring[i]));
	if (mark_stands(ring, TOTAL_MARK(total), &i, &w))
		sum -= word_units(w);
	return sum & (UINT64_MAX >> TOTAL_SHIFT);
}

/* A conversion has counted the ring; units that it carries over are not in the total. */
static bool
is_carried(const word_t *cell, uint64_t conv, uint64_t mark, uint64_t *carried)
{
	uint64_t cache = word_load(&cell[CELL_CACHE]), c = CONV_COUNT(conv);

	*carried = 0;
	if (CONV_STAGE(conv) != CONV_CARRY || (mark != MARK_CONV(c) && mark != MARK_CONV_ALL(c)))
		return false;
	if (mark == MARK_CONV(c) && CACHE_IS_FROZEN(cache, c))
		*carried = cache & WIDE_MAX;
	return true;
}

/*
 * While total and conv stay as they are nobody folds, and of the words that stand only the one
 * that the mark names is counted; a copy of each is looked at, as it may be overwritten then.
 */
uint64_t
cell_total_steady(const word_t *slot)
{
	const word_t *cell = slot + SLOT_CELLS, *ring = cell + CELL_RING;

	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t total = word_load(&slot[SLOT_TOTAL]), conv = word_load(&cell[CELL_CONV]);
		uint64_t mark = TOTAL_MARK(total), sum = TOTAL_UNITS(total), carried;
		uint8_t kind = 0;

		if (is_carried(cell, conv, mark, &carried)) {
			(void)shape_seconds(CONV_SHAPE(conv), &kind);
			if (kind == RATION_SLIDING && carried > NARROW_MAX)
				carried = NARROW_MAX; /* as advance() does */
			sum += carried;
		} else if (CONV_SHAPE(conv) != SHAPE_CONCURRENT) {
			for (unsigned i = 0; i < RING_WORDS; i++) {
				uint64_t w = word_load(&ring[i]);

				if (word_units(w) != 0 && fold_mark(i, w) != mark)
					sum += word_units(w);
			}
		}
		if (word_load(&slot[SLOT_TOTAL]) == total && word_load(&cell[CELL_CONV]) == conv)
			return sum & (UINT64_MAX >> TOTAL_SHIFT);
	}
	return cell_total(slot);
}

bool
cell_fold(const struct cell_ctx *x, unsigned i, uint64_t w)
{
	word_t *ring = x->slot + SLOT_CELLS + CELL_RING, *total = &x->slot[SLOT_TOTAL];
	uint64_t units = word_units(w), mark = fold_mark(i, w), other;
	unsigned at;

	if (units == 0)
		return true;
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t t = word_load(total);

		/*
		 * In this order: if w still stands after t was loaded, nobody had
		 * overwritten it before, so only the mark can say that it is counted.
		 */
		if (word_load(&ring[i]) != w)
			return false;
		if (TOTAL_MARK(t) == mark)
			return true;
		if (mark_stands(ring, TOTAL_MARK(t), &at, &other)) {
			(void)word_cas(&ring[at], other, BLANK(UINT64_C(1), tick_of(x->now_ns)));
			continue;
		}
		if (word_cas(total, t, (TOTAL_UNITS(t) + units) << TOTAL_SHIFT | mark))
			return true;
	}
	return false;
}

bool
total_unmark(const struct cell_ctx *x, unsigned i, uint64_t new_word)
{
	uint64_t t = word_load(&x->slot[SLOT_TOTAL]);

	if (LIKELY(TOTAL_MARK(t) != fold_mark(i, new_word)))
		return true;
	return word_cas(&x->slot[SLOT_TOTAL], t, TOTAL_UNITS(t) << TOTAL_SHIFT | MARK_NONE);
}
