/*
 * lease.h - permits of concurrency limits, and who holds them.  See layout.h.
 *
 * A key's permits lie in its slot and in those of its chunks.  Everything here works on any
 * words: a scribble is a permit that is free, or one that is taken until its holder is found
 * dead.  Each change is one CAS on one permit.
 */
#ifndef RATION_LEASE_H
#define RATION_LEASE_H

#include "cell.h"
#include "holder.h"
#include "table.h"

/* Whose permits. */
struct lease_key {
	const struct ident *id;
	uint32_t limit;
	uint64_t slot; /* of chunk 0 */
};

/* One that may be taken. */
struct permit {
	uint64_t slot; /* NO_SLOT: its chunk is to be added first */
	uint64_t birth;
	uint64_t old; /* what stands there */
	uint32_t chunk;
	uint32_t place; /* in the slot: cell * RING_WORDS + index in the ring */
};

/* What is to stand in a permit. */
struct lease_want {
	bool kept;
	uint32_t holder;
	uint64_t ttl_ms; /* 0: none */
	uint64_t name;   /* kept: lease_name() */
};

/* ---- the words ---- */

static inline word_t *
lease_word(const struct segment *seg, uint64_t slot, uint32_t place)
{
	return segment_slot(seg, slot) + SLOT_CELLS + (size_t)(place / RING_WORDS) * CELL_WORDS +
	    CELL_RING + place % RING_WORDS;
}

/* Permits of one slot. */
static inline uint32_t
lease_places(const struct segment *seg)
{
	return seg->cells * RING_WORDS;
}

/* Held or kept, if it has not expired. */
static inline bool
lease_stands(uint64_t w)
{
	return w >> 62 != 0;
}

/*
 * Times to live: 0: none; c < 32: c ticks; else (32 + c % 32) << (c / 32 - 1) ticks.
 * The code of at least `ticks`, at most 1/32 more.
 */
uint32_t lease_ttl_code(uint64_t ticks);
uint64_t lease_ttl_ticks(uint32_t code);
/* Has its time to live passed? */
bool lease_expired(uint64_t w, uint64_t now_ns);
/* 40 bits of a name, the same in every segment. */
uint64_t lease_name(const void *name, size_t len);
/* Chunks beside chunk 0 that a cache word tells of; of one that tells nothing: 1. */
uint32_t lease_chunks(uint64_t cache);

/* ---- a key ---- */

/*
 * Look at all permits of a key of which n may be taken, `before` of them by earlier claims of the
 * same call.  x: of chunk 0.  l->used: how many are taken; l->edge_ns: when all of them have
 * ended, now if that cannot be told; l->next: when one more would fit, 0: at a release.
 * p: what a charge takes.
 */
enum look_result lease_look(const struct cell_ctx *x, const struct lease_key *k, uint64_t n,
    uint64_t before, struct permit *p, struct look *l);
/* Add the chunk that p is in.  0: look again; RATION_R_FULL. */
int lease_add_chunk(const struct cell_ctx *x, const struct lease_key *k, const struct permit *p);
/* Take it.  False: look again.  *word: what stands there now. */
bool lease_take(const struct cell_ctx *x, const struct lease_key *k, const struct permit *p,
    const struct lease_want *want, uint64_t *word);
/* Take the key's permits away from the dead, but own.  Returns how many. */
unsigned lease_reap(
    const struct cell_ctx *x, const struct lease_key *k, const struct paths *paths, uint32_t own);
/* Release all of them. */
void lease_reset(const struct cell_ctx *x, const struct lease_key *k);
/* Release one that is kept by that name.  0; RATION_ESTALE: there is none. */
int lease_release_kept(const struct cell_ctx *x, const struct lease_key *k, uint64_t name);
/* Give back what a receipt says was taken.  0; RATION_ESTALE. */
int lease_refund(const struct cell_ctx *x, const ration_receipt_t *rc);

/* ---- one permit ---- */

/*
 * If this stands there still, it is free now, and who waits is woken.  0; RATION_ESTALE;
 * RATION_EINVAL: there is no such place.
 */
int lease_free(const struct segment *seg, uint64_t slot, uint64_t birth, uint32_t place,
    uint64_t word, uint64_t now_ns);
/* If this stands there still, its time to live is ttl_ms from now.  *renewed: the word now. */
int lease_renew(const struct segment *seg, uint64_t slot, uint64_t birth, uint32_t place,
    uint64_t word, uint64_t ttl_ms, uint64_t now_ns, uint64_t *renewed);
/* Note that somebody waits for the key: a release then calls queue_wake(). */
void lease_waited(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns);

/* ---- the lease bitmap ---- */

/* Set the slot's bit. */
void lease_mark(const struct segment *seg, uint64_t slot);
/* Set it if a permit of it is taken. */
void lease_mark_taken(const struct segment *seg, uint64_t slot);
/* Clear it, unless one is (rationd). */
void lease_unmark(const struct segment *seg, uint64_t slot);

/* ---- rationd ---- */

/*
 * A lease that was kept, in a new segment: the key is added if need be, and the limit's number
 * does not matter.  0; RATION_EBUSY; RATION_R_FULL: there is no room in the table.
 */
int lease_keep(const struct segment *seg, const struct policy_ref *p, uint32_t limit,
    const void *key, size_t len, uint64_t name, uint64_t now_ns);

#endif
