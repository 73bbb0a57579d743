/*
 * side.h - what stands beside a decision: which keys reached a threshold, who was denied,
 * and what is known of other people's limits.
 *
 * A third object of an instance, writable by the group as the counters are, and so input to
 * everybody who reads it: loaded once, range-checked, used as a copy.  No decision about a key
 * of this instance reads it.  It may be lost, scribbled over or missing (seg->side NULL): then
 * notes are made good by rationd's pass over the table, denials are not explained, and
 * upstreams are learnt anew.
 *
 *	side_head | notes | denials | upstreams
 *
 * Notes and denials are rings of entries of a fixed size.  An entry is written by whoever takes
 * its number (one addition on the head's counter), word by word, and ends with a word that
 * holds the number and a checksum over the others: a reader who finds another number, or
 * another sum, leaves it out.  So a writer who was killed, or stopped for a whole turn of the
 * ring, costs its entry, at most one more, and nobody waits.
 */
#ifndef RATION_SIDE_H
#define RATION_SIDE_H

#include "layout.h"

#define SIDE_MAGIC UINT64_C(0x314544495354524e)
#define SIDE_NOTES 16384u
#define SIDE_NOTE_WORDS 4u
#define SIDE_DENIALS 2048u
#define SIDE_DENIAL_WORDS 48u
#define SIDE_UPSTREAMS 256u
#define SIDE_UPSTREAM_WORDS 128u /* upstream.h */

struct side_head {
	_Atomic uint64_t magic; /* stored last */
	uint32_t layout_version;
	uint32_t fingerprint;
	uint64_t bytes;
	uint64_t id; /* as in seg_head */
	uint64_t reserved0[4];
	alignas(64) word_t noted; /* number of the last note */
	word_t spare1[7];
	alignas(64) word_t denied; /* number of the last denial */
	word_t spare2[7];
	word_t spare3[8];
};
static_assert(sizeof(struct side_head) == 256, "four lines");

#define SIDE_OFF_NOTES ((uint64_t)sizeof(struct side_head))
#define SIDE_OFF_DENIALS (SIDE_OFF_NOTES + (uint64_t)SIDE_NOTES * SIDE_NOTE_WORDS * 8)
#define SIDE_OFF_UPSTREAMS (SIDE_OFF_DENIALS + (uint64_t)SIDE_DENIALS * SIDE_DENIAL_WORDS * 8)
#define SIDE_BYTES \
	((SIDE_OFF_UPSTREAMS + (uint64_t)SIDE_UPSTREAMS * SIDE_UPSTREAM_WORDS * 8 + 4095) / 4096 * \
	    4096)

static inline word_t *
side_note(const struct side_head *h, uint64_t number)
{
	return (word_t *)(uintptr_t)((uintptr_t)h + SIDE_OFF_NOTES) +
	    number % SIDE_NOTES * SIDE_NOTE_WORDS;
}

static inline word_t *
side_denial(const struct side_head *h, uint64_t number)
{
	return (word_t *)(uintptr_t)((uintptr_t)h + SIDE_OFF_DENIALS) +
	    number % SIDE_DENIALS * SIDE_DENIAL_WORDS;
}

static inline word_t *
side_upstream(const struct side_head *h, uint64_t i)
{
	return (word_t *)(uintptr_t)((uintptr_t)h + SIDE_OFF_UPSTREAMS) +
	    i % SIDE_UPSTREAMS * SIDE_UPSTREAM_WORDS;
}

/*
 * Entries of a ring, `words` long, the last of which is the seal: written by put, which takes
 * words - 1 of them; get returns false for an entry that is not (or no longer) that number's.
 */
void side_put(word_t *entry, uint64_t number, const uint64_t *body, unsigned words);
bool side_get(const word_t *entry, uint64_t number, uint64_t *body, unsigned words);

#endif
