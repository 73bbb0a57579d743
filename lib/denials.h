/*
 * denials.h - recent denials, for who asks afterwards why: a ring in the side object (side.h).
 *
 * An admitted call knows nothing of it.  Of the denials of one key each process notes the first
 * in DENIALS_SHIFT's 134 ms, and of all keys together at most DENIALS_MOST in that time, so that
 * neither a caller who hammers nor one with many keys makes denials slow, or drives everybody
 * else's out of the ring at once.  What is not noted is counted all the same (SLOT_DENIED): each
 * entry has the count as it was then.
 *
 * An entry is input to its readers: denials_read() gives out what is whole and in range, but
 * whoever may write to the segment can write a lie.
 */
#ifndef RATION_DENIALS_H
#define RATION_DENIALS_H

#include "handle.h"

#define DENIALS_SHIFT 27u
#define DENIALS_MOST 64u

#define DENIAL_NOSLOT 1u /* the key had no slot; `denied` is of all such keys of the limit */

/*
 * As it stands in the ring.  The limit is told by its id alone: its name stays with that as long
 * as the segment lives, also when the policy has lost it (policy.h).
 */
struct denial {
	uint64_t number;    /* 1, 2, ...: of the ring */
	uint64_t shared_ns; /* when: shared time, */
	int64_t unix_ns;    /* and Unix time as the instance had it */
	uint32_t slot;
	uint32_t birth;  /* of the slot */
	uint64_t denied; /* of this key so far, this one included; 36 bits */
	/* The rate that decided; kind 0: none did, reason says what. */
	uint64_t limit_units;
	uint64_t rate_units;
	uint64_t window_ns;
	uint64_t used;
	uint64_t cost;
	int64_t retry_at; /* Unix s, 0: not known, RATION_NEVER: reason says what for */
	uint32_t pid;     /* of the caller, in its namespace of processes, */
	uint32_t pid_ns;  /* which is this one; 0: not known */
	uint32_t policy_version;
	uint16_t limit_id;
	uint8_t key_len;
	uint8_t kind;   /* RATION_SLIDING ... */
	uint8_t reason; /* RATION_R_... */
	uint8_t mode;   /* MODE_ENFORCE; MODE_OBSERVE: it would have been denied */
	uint8_t flags;  /* DENIAL_... */
	uint8_t claims; /* limits in the call */
	uint8_t reserved[12];
	unsigned char key[256];
};
static_assert(sizeof(struct denial) == (SIDE_DENIAL_WORDS - 1) * 8, "an entry but for its seal");
static_assert(offsetof(struct denial, key) == 120, "fixed");

/* ---- writing: whoever denies ---- */

/* Slot, or something as good for a key without one; then when. */
#define DENIALS_MARK(which, now_ns) \
	((uint64_t)((now_ns) >> DENIALS_SHIFT) << 32 | (uint32_t)(which))
/* A key without a slot, by its hash: no slot has such a number. */
#define DENIALS_NOSLOT(hash) ((uint32_t)(hash) | UINT32_C(1) << 31)

/* Not noted in this time yet, as far as one look can tell?  Then denials_claim(). */
static inline bool
denials_due(const struct ration *r, uint64_t which, uint64_t now_ns)
{
	return __builtin_expect(atomic_load_explicit(&r->denied[which % DENIED_SEEN],
				    memory_order_relaxed) != DENIALS_MARK(which, now_ns),
	    0);
}
/* May it be noted?  Then it is taken to be. */
bool denials_claim(struct ration *r, uint64_t which, uint64_t now_ns);
/*
 * Note it: all but number, denied, pid and pid_ns are filled in by the caller, zeros behind the
 * key.  Without a side object nothing happens.
 */
void denials_put(const struct ration *r, const struct segment *seg, struct denial *d);
/* The same where only a rate's figures are at hand: mode, reason and key need not be filled in. */
void denials_plain(const struct ration *r, const struct segment *seg, struct denial *d);
/*
 * Who we are: at the start, and in a forked child, where nothing was noted yet either.  A child of
 * a raw clone(2) goes on under its parent's number.
 */
void denials_begin(struct ration *r);

/* ---- reading ---- */

/*
 * The entry at a place of the ring, 0..SIDE_DENIALS - 1.  False: there is none, or it is being
 * written, or out of range.  now_ns: shared time; what is a second later is out of range.
 */
bool denials_read(const struct segment *seg, unsigned place, uint64_t now_ns, struct denial *out);
/* How often the key was denied since, -1: not known, its slot is another's. */
int64_t denials_since(const struct segment *seg, const struct denial *d);

#endif
