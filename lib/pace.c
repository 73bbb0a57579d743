/*
 * pace.c - when the last spread admission was, and for how many units: one word of a queue.
 */
#include "queue.h"

#include "atomics.h"

#define PACE_SHIFT 16 /* of ns */
#define PACE_MASK ((UINT64_C(1) << 40) - 1)
#define PACE_MANTISSA 18

uint32_t
pace_cost(uint64_t units256)
{
	uint32_t e = 0;

	while (units256 >> PACE_MANTISSA != 0) {
		units256 = (units256 + 1) >> 1;
		e++;
	}
	return e << PACE_MANTISSA | (uint32_t)units256;
}

bool
pace_last(
    const struct queue *q, uint64_t now_ns, uint64_t *last_ns, uint64_t *units256, uint64_t *word)
{
	uint64_t w = word_load(&q->w[Q_PACE]), now = now_ns >> PACE_SHIFT, age;
	uint64_t ahead;

	*word = w;
	ahead = ((w >> 24) - now) & PACE_MASK;
	age = (now - (w >> 24)) & PACE_MASK;
	/* Another processor's clock, or rounded up; farther ahead is a scribble or years ago. */
	if (w == 0 || (age <= PACE_MASK / 2 && age > now) ||
	    (age > PACE_MASK / 2 && ahead > UINT64_C(1000000000) >> PACE_SHIFT))
		return false;
	*last_ns = age > PACE_MASK / 2 ? (now + ahead) << PACE_SHIFT : (now - age) << PACE_SHIFT;
	*units256 = (w & ((UINT64_C(1) << PACE_MANTISSA) - 1))
	    << ((w >> PACE_MANTISSA & 63) > 40 ? 40 : w >> PACE_MANTISSA & 63);
	return true;
}

bool
pace_set(const struct queue *q, uint64_t old, uint64_t now_ns, uint64_t units256, uint64_t *word)
{
	uint64_t last = (now_ns + (UINT64_C(1) << PACE_SHIFT) - 1) >> PACE_SHIFT;

	*word = (last & PACE_MASK) << 24 | pace_cost(units256);
	return word_cas(&q->w[Q_PACE], old, *word);
}

void
pace_undo(const struct queue *q, uint64_t word, uint64_t old)
{
	(void)word_cas(&q->w[Q_PACE], word, old);
}

void
pace_keep(const struct queue *q, uint64_t until_ms)
{
	uint64_t w = word_load(&q->w[Q_KEEP]);

	if (w != until_ms)
		(void)word_cas(&q->w[Q_KEEP], w, until_ms);
}
