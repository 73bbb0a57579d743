/*
 * retire.c - is a cell as good as new, and making it refuse what was looked at before.
 */
#include "cell.h"

#include "words.h"

#define LIFE_TICKS 60 /* 2 s: the shortest life of a slot */

/*
 * A permit that is free, and was taken so long ago that its words do not recur: those that were
 * kept say when to 8.7 s only (lease.c).
 */
static bool
permit_idle(uint64_t w, uint64_t now, uint64_t idle_ns)
{
	enum word_kind kind = word_kind(w);

	if (kind == W_NARROW || kind == W_WIDE)
		return false;
	return kind != W_BLANK ||
	    tick_past(now, BLANK_TICK(w),
		idle_ns / TICK_NS + (BLANK_SERIAL(w) == PERMIT_KEPT ? 768 : LIFE_TICKS));
}

/* Would nobody miss this word of a cell of this kind?  age: how long it must have lain. */
static bool
word_idle(const struct cell_ctx *x, uint64_t w, uint8_t kind, uint64_t window_ns, uint64_t idle_ns)
{
	uint64_t now = tick_of(x->now_ns), unix_now = tick_of((uint64_t)x->unix_ns), age;
	uint64_t wait = window_ns + idle_ns;

	if (kind == RATION_CONCURRENT)
		return permit_idle(w, now, idle_ns);
	switch (word_kind(w)) {
	case W_BLANK:
		/* Unlimited: when it was last used. */
		age = (now - BLANK_TICK(w)) & TICK_MASK;
		return kind != RATION_COUNT_ONLY || age > idle_ns / TICK_NS + 300;
	case W_NARROW:
		/* 16 sub-windows: W + W/15 + lag, and a tick for rounding. */
		wait += window_ns / 15 + 2 * LAG_NS + TICK_NS;
		return tick_past(now, NARROW_TICK(w), wait / TICK_NS + 1);
	case W_WIDE:
		age = ((unix_now >> 8) - WIDE_TICK(w)) & WIDE_MASK;
		return age < WIDE_MASK / 4 * 3 && age > wait / (TICK_NS * 256) + 2;
	case W_CLOSED: /* by a converter who came too late */
		age = ((unix_now >> 8) - (w >> 40)) & CLOSED_MASK;
		return age < CLOSED_MASK / 4 * 3 && age > wait / (TICK_NS * 256) + 2;
	case W_TAT:
		return tat_near(w & TAT_MASK, x->now_ns * 16) / 16 + idle_ns < x->now_ns;
	default:
		return false;
	}
}

static uint64_t
kind_window(uint32_t shape, uint8_t *kind)
{
	uint64_t s = shape_seconds(shape, kind);

	*kind = shape_kind(shape);
	if (*kind == RATION_DAY)
		s = 25 * 3600;
	if (*kind == RATION_MONTH)
		s = 31 * 86400 + 3600;
	return s * (uint64_t)NS_S;
}

bool
cell_idle(const struct cell_ctx *x, unsigned cell, uint64_t idle_ns)
{
	uint64_t conv = cell_load(x, cell, CELL_CONV), window;
	uint64_t now = tick_of(x->now_ns);
	uint8_t kind;

	if (CONV_STAGE(conv) != CONV_DONE)
		return false;
	if (CONV_SHAPE(conv) == SHAPE_NONE)
		return true; /* never used */
	if (!tick_past(now, CONV_FINE(conv) >> 6, LIFE_TICKS + idle_ns / TICK_NS))
		return false;
	window = kind_window(CONV_SHAPE(conv), &kind);
	for (unsigned i = 0; i < RING_WORDS; i++) {
		if (kind == RATION_BUCKET && i == 1)
			continue; /* the period */
		if (kind == RATION_COUNT_ONLY && i > 0)
			break;
		if (!word_idle(x, word_load(ring_word(x, cell, i)), kind, window, idle_ns))
			return false;
	}
	return true;
}

bool
cell_retire(const struct cell_ctx *x, unsigned cell, uint64_t idle_ns)
{
	uint64_t tick = tick_of(x->now_ns), conv = cell_load(x, cell, CELL_CONV);
	uint64_t cache = cell_load(x, cell, CELL_CACHE), window;
	word_t *base = x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS;
	uint8_t kind;

	if (CONV_STAGE(conv) != CONV_DONE)
		return false;
	window = kind_window(CONV_SHAPE(conv), &kind);
	for (unsigned i = 0; i < RING_WORDS; i++) {
		uint64_t w = word_load(ring_word(x, cell, i));
		bool free_of_use = (kind == RATION_BUCKET && i == 1) ||
		    (kind == RATION_COUNT_ONLY && i > 0) || kind == 0 ||
		    word_idle(x, w, kind, window, idle_ns);

		if (!free_of_use || (cell == 0 && !cell_fold(x, i, w)) ||
		    !word_cas(ring_word(x, cell, i), w, BLANK(UINT64_C(2), tick)))
			return false;
	}
	/* conv stays: a rescuer may have charged a word by it already. */
	return word_cas(&base[CELL_CACHE], cache, CACHE_NONE(tick));
}
