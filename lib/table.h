/*
 * table.h - from (limit, key) to a slot.
 *
 * Finding is wait-free: it reads at most CHAIN_MAX slots.  Adding is lock-free
 * and its retries are bounded.  rationd alone retires and frees (table_sweep).
 * See layout.h for why no key ever has two slots.
 */
#ifndef RATION_TABLE_H
#define RATION_TABLE_H

#include "segment.h"

#define CHAIN_MAX 64u
#define NO_SLOT UINT64_MAX

/* (limit, key) with its hash; made once per call. */
struct ident {
	const char *limit;
	size_t limit_len;
	const unsigned char *key;
	size_t key_len;
	uint64_t hash;
	uint32_t chunk; /* which of the key's slots: of leases (layout.h); else 0 */
};

struct found {
	uint64_t slot; /* NO_SLOT: not there */
	uint64_t birth;
	uint64_t bucket; /* the bucket's word as it was when the search began */
};

void ident_hash(const struct segment *seg, struct ident *id);

/* Search: the key in a slot of this limit. */
bool table_find(
    const struct segment *seg, const struct ident *id, uint32_t limit_id, struct found *out);
/* Ask for the lines that table_find() and the charge will touch. */
void table_prefetch(const struct segment *seg, uint64_t hash);

/*
 * Find or add.  tick: now.  resolved: initial SLOT_RESOLVED, 0: never; shapes: initial
 * shapes of ncells cells.  0; RATION_EBUSY; or RATION_R_FULL (positive) when
 * there is no room.
 */
int table_add(const struct segment *seg, const struct ident *id, uint32_t limit_id,
    uint64_t resolved, const uint32_t *shapes, uint32_t ncells, uint64_t tick, struct found *out);

/*
 * Key of a slot, for those who list (not a chunk's: it is not a key of its own): copies up to 255
 * bytes into key and returns its length, or -1 when the slot is not in use.  *limit: its limit's
 * id; *birth.
 */
int table_key(const struct segment *seg, uint64_t slot, unsigned char key[256], uint32_t *limit,
    uint64_t *birth);

/*
 * RETIRING -> LIVE.  True: the slot is in use, in this life.
 */
bool table_rescue(const struct segment *seg, uint64_t slot, uint64_t birth);

/* ---- rationd ---- */

/*
 * For those who keep books on keys.  Both may be NULL.
 * seen: a slot that is in use, not a chunk, once a round; its lines are at hand.
 * may_free: nobody can charge the slot (GONE) any more, its key and totals still stand; false: not
 * yet, ask again in the next round.
 */
struct sweep_hooks {
	void (*seen)(void *arg, const struct segment *seg, uint64_t slot);
	bool (*may_free)(void *arg, const struct segment *seg, uint64_t slot);
	void *arg;
};

struct sweep {
	struct sweep_hooks hooks;
	uint64_t next; /* slot to go on with */
	uint64_t live; /* slots in use seen in this round */
	uint64_t recycled;
	uint64_t halfmade;
	uint64_t unlinked;
	uint64_t per_limit[LIMITS_MAX];
};

/*
 * One slot out of turn: when what kept it from being freed is done.
 */
void table_sweep_one(
    const struct segment *seg, struct sweep *s, uint64_t slot, uint64_t now_ns, int64_t unix_ns);

/*
 * Go over up to `count` slots from s->next on: take back what is half-made,
 * retire keys that have been as good as new for idle_ns (0: as soon as possible), and
 * count.  Returns true at the end of a round (s->next is 0 again).
 */
bool table_sweep(const struct segment *seg, struct sweep *s, uint64_t count, uint64_t now_ns,
    int64_t unix_ns, uint64_t idle_ns);

#endif
