/*
 * permits.h - reading which permits of a slot are taken, without touching them: for rationd,
 * who takes them from the dead, and for those who show them.
 *
 * What is read is input: a slot that makes no sense has no permits.  It is a picture of a
 * moment, each word on its own: who acts on one does so by a CAS from the word it was.
 */
#ifndef RATION_PERMITS_H
#define RATION_PERMITS_H

#include "lease.h"

#define PERMITS_MAX (CELLS_MAX * RING_WORDS)

struct permits {
	uint64_t slot;
	uint64_t birth;
	uint32_t limit; /* id */
	uint32_t chunk; /* which of the key's slots; 0: the first */
	uint32_t n;     /* permits taken, each held or kept */
	struct {
		uint64_t word;
		uint32_t place; /* in the slot: cell * RING_WORDS + index in the ring */
	} at[PERMITS_MAX];
};

static inline bool
permit_held(uint64_t w)
{
	return word_kind(w) == W_NARROW;
}

static inline bool
permit_kept(uint64_t w)
{
	return word_kind(w) == W_WIDE;
}

/* The permits of a slot that are taken.  False: it is no slot of leases in use. */
bool permits_read(const struct segment *seg, uint64_t slot, struct permits *out);
/* Next slot from `slot` on whose bit in the lease bitmap is set, below end; end: none. */
uint64_t permits_next(const struct segment *seg, uint64_t slot, uint64_t end);
/* The key of that slot, in that life of it; its length, or -1: it is over. */
int permits_key(const struct segment *seg, const struct permits *p, unsigned char key[256]);
/* Shared time, ns, since when it is taken (kept ones: to 8.7 s); now_ns at the latest. */
uint64_t permit_since(uint64_t w, uint64_t now_ns);
/* Shared time, ns, at which the time to live of a held one has passed; 0: it has none. */
uint64_t permit_ends(uint64_t w, uint64_t now_ns);

#endif
