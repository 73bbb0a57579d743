/*
 * words.h - a slot's words by name, and whether they are still what a caller took them for.
 */
#ifndef RATION_WORDS_H
#define RATION_WORDS_H

#include "atomics.h"
#include "cell.h"

#define NS_S INT64_C(1000000000)

static inline word_t *
ring_word(const struct cell_ctx *x, unsigned cell, uint64_t i)
{
	return x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS + CELL_RING + (i % RING_WORDS);
}

static inline uint64_t
cell_load(const struct cell_ctx *x, unsigned cell, enum cell_word w)
{
	return word_load(x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS + w);
}

/* Is the slot still ours to charge?  Loaded after the word that a charge starts from. */
static inline bool
in_life(const struct cell_ctx *x)
{
	uint64_t state = word_load(&x->slot[SLOT_STATE]);

	return STATE_BIRTH(state) == x->birth &&
	    (STATE_ST(state) == ST_LIVE || STATE_ST(state) == ST_READY);
}

/*
 * Is the cell still as conv said?  Loaded after a word that is of another window than ours:
 * it may be one that a conversion has put there since.
 */
static inline bool
in_shape(const struct cell_ctx *x, unsigned cell, uint64_t conv)
{
	return cell_load(x, cell, CELL_CONV) == conv;
}

static inline void
scribble(const struct cell_ctx *x)
{
	word_count(&x->seg->head->scribbles, 1);
}

/* ---- total.c: units ever admitted ---- */

/* Units that a ring word holds. */
uint64_t word_units(uint64_t w);
/*
 * Add to (or, two's complement, subtract from) the slot's total, in this life only: a new
 * one starts with a mark of its own.  False: the life is over.
 */
bool total_add(const struct cell_ctx *x, uint64_t units);
/*
 * Before a word with this tick comes to stand at index i: the mark must not say that it
 * is counted (15 bits of the tick: it may by chance, every 19 minutes).
 */
bool total_unmark(const struct cell_ctx *x, unsigned i, uint64_t new_word);

#endif
