/*
 * atomics.h - the only way in which shared words are touched.
 *
 * A load is acquire, a CAS acquire-release: what a caller read before it decided
 * stays before its CAS, and who sees the new word sees all that went before.  Where a
 * weaker order would do, the code says so; on x86 and with lse they cost the
 * same.
 *
 * With -Dsteps=true every access calls step_hook first, so that tests can stop a
 * caller between any two of them.
 */
#ifndef RATION_ATOMICS_H
#define RATION_ATOMICS_H

#include "layout.h"

#ifdef RATION_STEPS
extern _Thread_local void (*step_hook)(const char *where, const word_t *w);
#define STEP(where, w) \
	do { \
		if (step_hook != NULL) \
			step_hook(where, w); \
	} while (0)
#else
#define STEP(where, w) ((void)0)
#endif

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)

static inline uint64_t
word_load(const word_t *w)
{
	STEP("load", w);
	return atomic_load_explicit(w, memory_order_acquire);
}

/* True: *w was `old` and is now `new`. */
static inline bool
word_cas(word_t *w, uint64_t old, uint64_t new)
{
	STEP("cas", w);
	return atomic_compare_exchange_strong_explicit(
	    w, &old, new, memory_order_acq_rel, memory_order_acquire);
}

/* Statistics only: nothing is ordered by them. */
static inline uint64_t
word_count(word_t *w, uint64_t n)
{
	STEP("count", w);
	return atomic_fetch_add_explicit(w, n, memory_order_relaxed);
}

/* An event for those who sleep on the word: who sees it sees what was written before. */
static inline void
word_ring(word_t *w)
{
	STEP("count", w);
	(void)atomic_fetch_add_explicit(w, 1, memory_order_acq_rel);
}

#endif
