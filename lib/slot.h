/*
 * slot.h - what a slot's words hold at the start of a life, and the pieces of the
 * table that acquire.c and sweep.c share.
 */
#ifndef RATION_SLOT_H
#define RATION_SLOT_H

#include "atomics.h"
#include "hash.h"
#include "table.h"

/* The value of word i of a slot that is FREE with this birth. */
static inline uint64_t
slot_initial(const struct segment *seg, uint64_t slot, uint64_t birth, unsigned i)
{
	unsigned in_cell;

	if (i == SLOT_LINK)
		return slot_fill(seg, slot, birth, 0);
	if (i >= SLOT_KEY && i < SLOT_CELLS)
		return slot_fill(seg, slot, birth, i - SLOT_KEY + 1);
	if (i == SLOT_TOTAL)
		return MARK_BIRTH(birth);
	if (i == SLOT_RESOLVED) /* version 0: never; but only in this life */
		return RESOLVED_WORD(UINT64_C(0), birth);
	if (i == SLOT_DENIED)
		return DENIED_NONE(birth);
	in_cell = (i - SLOT_CELLS) % CELL_WORDS;
	if (in_cell == CELL_CONV)
		return CONV_WORD(birth << 6 & FINE_MASK, UINT64_C(0), CONV_DONE, SHAPE_NONE);
	if (in_cell == CELL_CACHE)
		return CACHE_NONE(birth);
	return BLANK(UINT64_C(0), birth);
}

/*
 * One more denial in this life of the slot.  Counted first and looked at then, for that is
 * quicker than a CAS; one that came too late is taken back from the next life's.
 */
static inline void
slot_denied(word_t *s, uint64_t birth)
{
	uint64_t w = word_count(&s[SLOT_DENIED], DENIED_ONE) + DENIED_ONE;

	if (LIKELY(DENIED_OF(w, birth)))
		return;
	for (unsigned tries = 0; tries < 64 && DENIED_COUNT(w) != 0; tries++) {
		if (word_cas(&s[SLOT_DENIED], w, w - DENIED_ONE))
			return;
		w = word_load(&s[SLOT_DENIED]);
	}
}

static inline word_t *
slot_cell(const struct segment *seg, uint64_t slot, unsigned cell)
{
	return segment_slot(seg, slot) + SLOT_CELLS + (size_t)cell * CELL_WORDS;
}

/*
 * Key bytes as they stand in a slot of any state, and their number; -1: the link is none.
 */
int table_slot_key(const struct segment *seg, uint64_t slot, unsigned char key[256]);

uint64_t table_bucket(const struct segment *seg, uint64_t hash);

/* As table_find(), the limit by its name. */
bool table_find_named(const struct segment *seg, const struct policy_ref *p, const struct ident *id,
    struct found *out);

#endif
