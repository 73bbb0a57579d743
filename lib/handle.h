/*
 * handle.h - a ration_t: one mapping at a time, this process's clock.
 *
 * The addresses of a replaced mapping are kept until ration_close(): another thread may be in
 * it.  Its memory is not, or each old segment would stay in memory as long as the process:
 * once the segment after it was replaced too, zeros take its place.  Whoever is still in
 * there (stopped since two segments ago) finds no policy.  Where only the policy was replaced
 * the old one stays: each is at most half of the next.
 */
#ifndef RATION_HANDLE_H
#define RATION_HANDLE_H

#include "clock.h"
#include "segment.h"

#define HINTS 1024u
#define EPOCHS 256u
#define KNOWN 128u      /* requests whose routes are remembered, */
#define KNOWN_PATH 7u   /* up to so many words of path, */
#define KNOWN_CLAIMS 3u /* and so many claims */
#define DENIED_SEEN 256u

struct mapping {
	struct segment seg;
	struct mapping *older;
	bool lent; /* only the policy was replaced: the counters are the next one's too */
	bool blank;
};

struct ration {
	struct segment *_Atomic seg; /* NULL: detached */
	struct clock clock;
	struct paths paths;
	unsigned flags;
	_Atomic uint64_t last_try_ns;          /* coarse time of the last attempt to attach */
	_Atomic(const struct segment *) moved; /* whose policy was last found retired */
	_Atomic uint32_t attaching;            /* 1: a thread is at it; nobody waits for it */
	_Atomic uint64_t degraded;             /* decisions made without a segment */
	struct mapping *maps;               /* newest first; touched by the thread that attaches */
	struct holder_page *_Atomic holder; /* our number as a holder of leases: holder.h */
	/*
	 * Guesses, each checked against shared memory or the clock before it is used; so they may
	 * be of any age or wrong.  What they save is not work but waiting: a processor that has
	 * guessed right runs ahead of the clock and the hash.
	 */
	struct {
		_Atomic uint64_t mark;  /* tag of its words, and its number: see short.h */
		_Atomic int64_t reset;  /* Unix s at which it has expired */
		_Atomic uint32_t shape; /* whose it is, for good; 0: nobody's yet */
	} subs[EPOCHS];                 /* by shape */
	struct {
		_Atomic uint64_t place; /* see hint.h */
		_Atomic uint64_t word;  /* address of the ring word last charged; stays mapped */
	} hints[HINTS];                 /* by a hash of the key */
	struct known_route {
		_Atomic uint64_t turn; /* odd: it is being written; see known.h */
		_Atomic uint64_t policy;
		_Atomic uint64_t sizes;
		_Atomic uint64_t method;
		_Atomic uint64_t path[KNOWN_PATH];
		struct {
			_Atomic uint64_t what;
			_Atomic uint64_t name;
			_Atomic uint64_t cost;
		} claims[KNOWN_CLAIMS];
	} known[KNOWN]; /* by a hash of the path */
	/* Who was denied lately, and noted: denials.h. */
	_Atomic uint64_t denied[DENIED_SEEN]; /* by slot: when(32), slot(32) */
	_Atomic uint64_t denied_most;         /* when(32), noted in that time(32) */
	uint32_t pid;                         /* asked for once: it is a system call */
	uint32_t pid_ns;                      /* namespace that it is of */
	struct ration *next;                  /* all handles of the process: for the fork handler */
};

/*
 * The mapping to use now, NULL: none.  While detached, or when the segment is marked
 * retired, it tries to attach at most once in 100 ms and never waits.
 */
const struct segment *handle_reattach(struct ration *r);

/*
 * For the long ways: as handle_segment(), and moves over when only the policy was replaced.
 * The counters stay where they are, with the mapping's number: slots, key handles, receipts
 * mean what they meant.
 */
const struct segment *handle_current(struct ration *r);

/* In between nobody in this process forks, by fork(3). */
void handle_hold_forks(void);
void handle_let_fork(void);

static inline const struct segment *
handle_segment(struct ration *r)
{
	const struct segment *seg = atomic_load_explicit(&r->seg, memory_order_acquire);

	if (__builtin_expect(
		seg != NULL && atomic_load_explicit(&seg->head->retired, memory_order_acquire) == 0,
		1))
		return seg;
	return handle_reattach(r);
}

#endif
