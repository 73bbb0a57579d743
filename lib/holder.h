/*
 * holder.h - who holds leases: this process, by a number that it keeps a lock for.
 *
 * The number of a holder is that of a byte of the lock file, on which the process has an OFD read
 * lock.  What keeps the lock is a mapping of the file: it goes with the process's memory, at
 * exit, exec or SIGKILL, and with nothing else.  A descriptor could be left open in a forked
 * child or be passed to another process; the mapping is not inherited over fork (MADV_DONTFORK)
 * and cannot be passed on.  The number itself stands in a page that a child finds zeroed
 * (MADV_WIPEONFORK), so a child, even one of a raw clone(2), is a holder of its own.
 */
#ifndef RATION_HOLDER_H
#define RATION_HOLDER_H

#include "handle.h"

#define HOLDER_MAPS 8u

/*
 * Zero in a forked child.  A word: segment's number(32) 0(8) holder(24); 0: none yet.  One for each
 * of the last segments: threads may still be in the one before when others are in the next.
 */
struct holder_page {
	_Atomic uint64_t word; /* of the newest segment */
	struct {
		_Atomic uint64_t word;
		_Atomic uintptr_t map; /* what keeps its lock */
	} kept[HOLDER_MAPS];           /* by the segment's number */
};

/* Our number as a holder in seg, 0: we have none yet. */
static inline uint32_t
holder_known(struct ration *r, const struct segment *seg)
{
	struct holder_page *p = atomic_load_explicit(&r->holder, memory_order_acquire);
	uint64_t w;

	if (__builtin_expect(p == NULL, 0))
		return 0;
	w = atomic_load_explicit(&p->word, memory_order_acquire);
	return w >> 32 == seg->id ? (uint32_t)(w & HOLDER_MASK) : 0;
}

/*
 * Our number in seg, which we take if we have none: system calls.  0: *number; RATION_ENOSEG,
 * _EPERM, _EOWNER: the lock file; _ESYS; _EBUSY: no number is free, or seg was replaced eight
 * times.
 */
int holder_number(struct ration *r, const struct segment *seg, uint32_t *number);
/* Let go of all of them: the leases of this process and handle have ended. */
void holder_forget(struct ration *r);
/* The same, and the page. */
void holder_close(struct ration *r);

/* Make the lock file beside the counters, if it is not there.  0; -1: see errno. */
int holder_file_make(const struct paths *p, unsigned gid);

/* Looking which holders are dead; fd -1: it cannot be told, and nobody is. */
struct holder_look {
	int fd;
};

struct holder_look holder_look_begin(const struct paths *p);
/* Dead for good: nobody has that byte locked. */
bool holder_dead(const struct holder_look *look, uint32_t number);
void holder_look_end(const struct holder_look *look);

#endif
