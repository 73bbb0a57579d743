/*
 * side.c - entries of the rings beside the counters: see side.h.
 */
#include "side.h"

#include "atomics.h"

/* Of its number and body; what one word differs in, the seal differs in. */
static uint64_t
seal(uint64_t number, const uint64_t *body, unsigned words)
{
	uint64_t h = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned i = 0; i + 1 < words; i++) {
		h = (h ^ body[i]) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 29;
	}
	return h;
}

void
side_put(word_t *entry, uint64_t number, const uint64_t *body, unsigned words)
{
	for (unsigned i = 0; i + 1 < words; i++)
		atomic_store_explicit(&entry[i], body[i], memory_order_relaxed);
	/* Pairs with side_get(): who sees the seal sees the body, or another writer's. */
	atomic_store_explicit(&entry[words - 1], seal(number, body, words), memory_order_release);
}

bool
side_get(const word_t *entry, uint64_t number, uint64_t *body, unsigned words)
{
	uint64_t end = atomic_load_explicit(&entry[words - 1], memory_order_acquire);

	for (unsigned i = 0; i + 1 < words; i++)
		body[i] = atomic_load_explicit(&entry[i], memory_order_relaxed);
	return end == seal(number, body, words);
}
