/*
 * segment.h - finding, making and attaching the shared objects.
 *
 * Created complete or not at all: the objects are filled under a temporary name,
 * every page allocated (posix_fallocate: a full tmpfs is an error here, never a
 * SIGBUS later), then renamed, the magic stored last.  An object is trusted
 * only if it is a regular file of root, of the caller or of the owner of the run
 * directory, not writable by the world, and exactly as long as its head says.
 *
 * The policy object alone may be replaced by a larger one; the counters and all usage stay.
 * Until the old one is marked retired its clients go on with its last version, so a kill
 * between renaming and marking must be made good: a second name keeps the old one within
 * reach of the next rationd until it is marked.
 */
#ifndef RATION_SEGMENT_H
#define RATION_SEGMENT_H

#include "policy.h"
#include "side.h"

struct paths {
	char instance[33];
	char shm_dir[1024]; /* where the objects lie: /dev/shm, or run_dir */
	char run_dir[1024]; /* socket and lock: /run/ration, $XDG_RUNTIME_DIR/ration, $RATION_DIR */
	char counters[1200];
	char policy[1200];
	char side[1200];     /* side.h */
	char recorded[1200]; /* rationd's own: what usage of each slot it has recorded */
	char lock[1200];     /* held by rationd (OFD write lock on byte 0) */
	char holders[1200];  /* locked by holders of leases (OFD read locks, see layout.h) */
	char socket[1200];
	char state[1200];  /* durable state: an SQLite file */
	char config[1200]; /* default policy file */
};

/*
 * Where an instance is.  instance NULL: $RATION_INSTANCE or "default".  dir NULL:
 * $RATION_DIR; else for a client ($create false) of an ordinary user the private
 * instance if its counters exist, else the system's.  0 or RATION_EINVAL.
 */
int paths_find(const char *instance, const char *dir, bool create, struct paths *out);

/* A mapped instance. */
struct segment {
	struct seg_head *head; /* counters; read-only when attached so */
	struct policy_head *policy;
	struct side_head *side; /* NULL: there is none; see side.h */
	struct limit_counters *limits;
	word_t *bitmap; /* bit set: the slot may be free (a hint) */
	word_t *buckets;
	word_t *slots;
	word_t *leases; /* bit set: the slot may have a permit taken */
	word_t *queues; /* nqueues of QUEUE_WORDS words */
	uint64_t nqueues;
	uint64_t nslots;
	uint64_t nbuckets;
	uint32_t stride;
	uint32_t cells;
	uint64_t secret[2];
	uint64_t bytes;
	uint64_t policy_bytes;
	uint64_t policy_room; /* zeros behind it in our address space, see map_room() */
	const struct policy_area *areas[2]; /* of the policy object */
	uint32_t id;                        /* number of this mapping in its handle */
	uint32_t mark;                      /* of its hints, see hint.h */
	bool writable;
};

struct segment_size {
	uint64_t nslots;
	uint32_t cells;        /* rates that a slot holds, 1..CELLS_MAX */
	uint64_t policy_bytes; /* of each area */
};

/* Attach.  0 or RATION_ENOSEG ...; *seg is zeroed on failure. */
int segment_attach(const struct paths *p, bool writable, struct segment *seg);
void segment_detach(struct segment *seg);
/* Give the memory back, keep the addresses: zeros of our own stand there. */
void segment_blank(const struct segment *seg);
/*
 * Create the objects (rationd).  gid: group that may use the counters, or
 * (unsigned)-1.  err: what failed, for people.
 */
int segment_create(const struct paths *p, const struct segment_size *size, unsigned gid,
    struct segment *seg, char *err, size_t errsize);
/*
 * Make what stands beside the counters (side.h) where it could not be attached: seg->side.  If only
 * its head is wrong it stays where it is, as clients have it mapped; else it is made anew.
 */
int segment_side_make(
    const struct paths *p, unsigned gid, struct segment *seg, char *err, size_t errsize);
/* Attach as rationd: the policy object writable too. */
int segment_attach_owner(const struct paths *p, struct segment *seg, char *err, size_t errsize);
/*
 * A larger policy object for the same counters, under a temporary name: *out is *seg with it.
 * The version to write into it is the one after seg's.
 */
int segment_policy_make(const struct paths *p, const struct segment *seg, uint64_t area_bytes,
    unsigned gid, struct segment *out, char *err, size_t errsize);
/* Away with it. */
void segment_policy_drop(const struct paths *p, struct segment *made);
/* Two mappings of the same counters exchange their policy objects. */
void segment_swap_policy(struct segment *a, struct segment *b);
/* What it has published comes into force: *seg is *made, the old object is retired. */
int segment_policy_switch(const struct paths *p, struct segment *seg, const struct segment *made,
    char *err, size_t errsize);
/* What a killed rationd left of all that, and of objects that were never complete. */
void segment_tidy(const struct paths *p);

/* What the errno of an open(2) of one of an instance's files says. */
int segment_open_error(void);
/* Is fd a file that root, we, or the run directory's owner made, closed to the world?  0 or an
 * error. */
int segment_trusted(int fd, const struct paths *p, uint64_t *bytes);

/* Are the counters from this boot?  (Shared time starts anew at boot.) */
bool segment_same_boot(const struct segment *seg);

/* Replaced, as a whole or its policy alone: attach again. */
static inline bool
segment_outdated(const struct segment *seg)
{
	return atomic_load_explicit(&seg->head->retired, memory_order_acquire) != 0 ||
	    policy_retired(seg->policy);
}

/* First word of a slot; n < seg->nslots. */
static inline word_t *
segment_slot(const struct segment *seg, uint64_t n)
{
	return seg->slots + n * seg->stride;
}

#endif
