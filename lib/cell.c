/*
 * cell.c - looking and charging.
 */
#include "cell.h"

#include <string.h>

#include "call.h"
#include "words.h"

/* Replace old, which is of another window, by a new word. */
static bool
replace(const struct cell_ctx *x, unsigned cell, unsigned i, uint64_t old, uint64_t new_word)
{
	if (cell == 0 && (!cell_fold(x, i, old) || !total_unmark(x, i, new_word)))
		return false;
	return word_cas(ring_word(x, cell, i), old, new_word);
}

/* ---- words ahead of us ---- */

/*
 * Does a word of this kind begin after our time?  What is more than a quarter of the ticks'
 * cycle ahead has been lying there for the rest of it.
 */
static bool
is_ahead(uint64_t w, uint64_t tag)
{
	int64_t diff;

	if (word_kind(w) != word_kind(tag))
		return false;
	if (word_kind(w) == W_WIDE)
		return ((WIDE_TICK(w) - WIDE_TICK(tag)) & WIDE_MASK) <= WIDE_MASK / 4;
	diff = tick_diff(NARROW_TICK(w), NARROW_TICK(tag));
	return diff > 0 && diff <= (int64_t)(TICK_MASK / 4);
}

/*
 * A word that begins after our time, precise as it was: most likely we were stopped since we
 * read the clock, and others went on.  So the clock is read again.  What is then still
 * ahead stood there before that reading: a scribble, which is blanked.
 */
static enum look_result
ahead_of_us(const struct cell_ctx *x, unsigned cell, unsigned i, uint64_t w)
{
	if (!x->precise || (x->ahead != NULL && *x->ahead != w)) {
		if (x->ahead != NULL)
			*x->ahead = w;
		return LOOK_CLOCK;
	}
	if (!in_life(x))
		return LOOK_GONE;
	if (replace(x, cell, i, w, BLANK(UINT64_C(4), tick_of(x->now_ns))))
		scribble(x);
	return LOOK_AGAIN;
}

/* ---- sliding ---- */

/*
 * A word of the sub-window that it should be of, but of another conversion: a converter was
 * stopped before he closed it, and four conversions later the same word stood there again.
 */
static enum look_result
closed_late(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t conv)
{
	return in_shape(x, cell, conv) ? cell_reopen(x, cell, r) : LOOK_AGAIN;
}

/*
 * Sum of the 15 sub-windows before e, each sealed.  LOOK_CLOCK: a word is ahead of our
 * time.
 */
static enum look_result
seal_and_sum(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t e,
    uint64_t conv, uint64_t *sum)
{
	uint64_t tick = tick_of(e * r->sub_ns), c = CONV_COUNT(conv);

	*sum = 0;
	for (uint64_t k = 1; k < RING_WORDS && k <= e; k++) {
		uint64_t j = e - k, tag = NARROW_TAG(c, tick_of(j * r->sub_ns));
		word_t *p = ring_word(x, cell, j);
		unsigned tries;

		for (tries = 0; tries < 64; tries++) {
			uint64_t w = word_load(p);

			if ((w & ~(NARROW_MAX | NARROW_SEAL)) == tag) {
				if (!x->writable || (w & NARROW_SEAL) != 0 ||
				    word_cas(p, w, w | NARROW_SEAL)) {
					*sum += NARROW_UNITS(w);
					break;
				}
				continue;
			}
			if (!x->writable)
				break;
			if (UNLIKELY(NARROW_SAME(w, tag)))
				return closed_late(x, cell, r, conv);
			if (is_ahead(w, NARROW_TAG(c, tick)))
				return ahead_of_us(x, cell, (unsigned)(j % RING_WORDS), w);
			if (!in_life(x))
				return LOOK_GONE;
			if (!in_shape(x, cell, conv))
				return LOOK_AGAIN;
			if (replace(x, cell, (unsigned)(j % RING_WORDS), w, tag | NARROW_SEAL))
				break;
		}
		if (tries == 64)
			return LOOK_AGAIN;
	}
	return LOOK_FITS;
}

static enum look_result
look_sliding(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t conv,
    struct look *l)
{
	uint64_t c = CONV_COUNT(conv), e = epoch_of(x->now_ns, r->sub_ns, r->recip);
	uint64_t start = e * r->sub_ns, tick = tick_of(start), cache, sum, w;
	enum look_result res;

	l->epoch = e;
	l->word = (uint8_t)(e % RING_WORDS);
	l->tag = NARROW_TAG(c, tick);
	l->edge_ns = start + RING_WORDS * r->sub_ns;
	cache = cell_load(x, cell, CELL_CACHE);
	sum = cache & NARROW_MAX;
	if (UNLIKELY((cache & ~NARROW_MAX) != CACHE_TAG(c, tick))) {
		res = seal_and_sum(x, cell, r, e, conv, &sum);
		if (res != LOOK_FITS)
			return res;
		if (sum > NARROW_MAX)
			sum = NARROW_MAX;
		/* Before the first 15 sub-windows no word may have told us: it may be frozen. */
		if (x->writable && in_shape(x, cell, conv))
			(void)word_cas(
			    x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS + CELL_CACHE, cache,
			    CACHE_TAG(c, tick) | sum);
	}
	w = word_load(ring_word(x, cell, e));
	l->old = w;
	l->units = 0;
	if (LIKELY((w & ~NARROW_MAX) == l->tag)) {
		l->units = NARROW_UNITS(w);
	} else if ((w & ~(NARROW_MAX | NARROW_SEAL)) == l->tag) {
		/* Sealed: somebody is in a later sub-window, or converts. */
		l->units = NARROW_UNITS(w);
		if (x->writable)
			return x->precise ? LOOK_AGAIN : LOOK_CLOCK;
	} else if (x->writable && NARROW_SAME(w, l->tag)) {
		return closed_late(x, cell, r, conv);
	} else if (x->writable && is_ahead(w, l->tag)) {
		return ahead_of_us(x, cell, l->word, w);
	}
	l->used = sum + l->units;
	return LOOK_FITS;
}

/* ---- fixed windows and calendar periods ---- */

static enum look_result
look_wide(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, struct look *l)
{
	int64_t start, end;
	uint64_t w;

	if (!policy_period(x->policy, r, x->unix_ns, &start, &end))
		return LOOK_AGAIN;
	/* The coarse clock may still be in a period that has ended. */
	if (!x->precise && end * NS_S - x->unix_ns <= (int64_t)LAG_NS)
		return LOOK_CLOCK;
	l->word = (uint8_t)period_index(r->kind, r->window_ns, start);
	l->tag = period_tag(start);
	l->edge_ns = (uint64_t)end * (uint64_t)NS_S;
	w = word_load(ring_word(x, cell, l->word));
	l->old = w;
	l->units = 0;
	if ((w & ~WIDE_MAX) == l->tag) {
		l->units = WIDE_UNITS(w);
	} else if (word_kind(w) == W_CLOSED && CLOSED_OF(l->tag | WIDE_UNITS(w)) == w) {
		if (x->writable)
			return cell_reopen(x, cell, r);
		l->units = WIDE_UNITS(w);
	} else if (x->writable && is_ahead(w, l->tag)) {
		return ahead_of_us(x, cell, l->word, w);
	}
	l->used = l->units;
	return LOOK_FITS;
}

/* ---- bucket ---- */

static enum look_result
look_bucket(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t cost,
    struct look *l, bool *fits)
{
	uint64_t w = word_load(ring_word(x, cell, 0)), now = x->now_ns * 16, tat = 0;
	unsigned __int128 next;

	l->word = 0;
	l->old = w;
	if (word_kind(w) == W_TATX && x->writable)
		return cell_reopen(x, cell, r);
	if (word_kind(w) == W_TAT)
		tat = tat_near(w & TAT_MASK, now);
	else if (word_kind(w) == W_TATX)
		tat = tat_near((w & (TAT_MASK >> 1)) << 1, now);
	if (tat > now && tat - now > TAT_AHEAD_MAX) {
		if (x->writable)
			return ahead_of_us(x, cell, 0, w);
		tat = 0;
	}
	/*
	 * An idle bucket starts from now, so now must not lag; a busy one starts from its
	 * arrival time, and a lagging now only refuses too early, which is looked at again.
	 */
	if (!x->precise && tat <= now + LAG_NS * 16)
		return LOOK_CLOCK;
	next = (unsigned __int128)(tat > now ? tat : now) + (unsigned __int128)cost * r->period16;
	*fits = next - now <= (unsigned __int128)r->units * r->period16;
	l->tag = *fits ? TAT_WORD((uint64_t)next) : 0;
	l->units = tat;
	l->used = tat > now ? (tat - now + r->period16 - 1) / r->period16 : 0;
	l->edge_ns = tat > now ? (tat + 15) / 16 : x->now_ns;
	l->next = (uint64_t)next;
	return LOOK_FITS;
}

/* ---- all kinds ---- */

void
look_empty(const struct cell_ctx *x, const struct rate_def *r, struct look *l)
{
	int64_t start, end;

	memset(l, 0, sizeof(*l));
	if (r->kind == RATION_SLIDING) {
		l->epoch = epoch_of(x->now_ns, r->sub_ns, r->recip);
		l->edge_ns = (l->epoch + RING_WORDS) * r->sub_ns;
	} else if (r->kind == RATION_BUCKET || r->kind == RATION_COUNT_ONLY ||
	    r->kind == RATION_CONCURRENT) {
		l->edge_ns = x->now_ns;
	} else if (policy_period(x->policy, r, x->unix_ns, &start, &end)) {
		l->edge_ns = (uint64_t)end * (uint64_t)NS_S;
	}
}

static enum look_result
look(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t conv,
    uint64_t cost, struct look *l)
{
	enum look_result res = LOOK_FITS;
	bool fits = false;

	if (UNLIKELY(CONV_SETTLED(conv) != r->shape)) {
		if (x->writable)
			return cell_convert(x, cell, r, false);
		look_empty(x, r, l);
		l->used = cell_used(x, cell, conv);
		return cost > r->units || l->used > r->units - cost ? LOOK_DENIES : LOOK_FITS;
	}
	l->conv = (uint8_t)CONV_COUNT(conv);
	switch (r->kind) {
	case RATION_SLIDING:
		res = look_sliding(x, cell, r, conv, l);
		break;
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		res = look_wide(x, cell, r, l);
		break;
	case RATION_BUCKET:
		res = look_bucket(x, cell, r, cost, l, &fits);
		if (res == LOOK_FITS && !fits)
			return LOOK_DENIES;
		return res;
	default:
		look_empty(x, r, l);
		l->conv = (uint8_t)CONV_COUNT(conv);
		l->old = word_load(ring_word(x, cell, 0));
		return LOOK_FITS;
	}
	if (res != LOOK_FITS)
		return res;
	if (r->units == RATION_UNLIMITED) /* a window that only counts */
		return LOOK_FITS;
	return cost > r->units || l->used > r->units - cost ? LOOK_DENIES : LOOK_FITS;
}

/*
 * State and conv are loaded after the words: what was read is of our life of the slot and
 * of one shape, so a charge from it cannot succeed in another one (layout.h).
 */
enum look_result
cell_look(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t cost,
    struct look *l)
{
	uint64_t conv = cell_load(x, cell, CELL_CONV);
	enum look_result res = look(x, cell, r, conv, cost, l);

	if (!x->writable || res > LOOK_DENIES)
		return res;
	if (!in_life(x))
		return LOOK_GONE;
	return in_shape(x, cell, conv) ? res : LOOK_AGAIN;
}

/* Unlimited: the total is the count; word 0 remembers the last second it was used. */
static bool
charge_count(const struct cell_ctx *x, unsigned cell, uint64_t cost, const struct look *l)
{
	uint64_t tick = tick_of(x->now_ns);

	if (!in_life(x))
		return false;
	if (((tick - BLANK_TICK(l->old)) & TICK_MASK) > 29 &&
	    !word_cas(ring_word(x, cell, 0), l->old, BLANK(UINT64_C(3), tick)))
		return false;
	return cell != 0 || total_add(x, cost);
}

/* The period that ring word 1 of a bucket remembers, for whoever converts it. */
static bool
bucket_period(
    const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct look *l)
{
	uint64_t w = word_load(ring_word(x, cell, 1)), conv;

	if (LIKELY(w == TAT_WORD(r->period16)))
		return true;
	/* As in_shape(): w may be a conversion's. */
	conv = cell_load(x, cell, CELL_CONV);
	return CONV_SETTLED(conv) == r->shape && CONV_COUNT(conv) == l->conv &&
	    word_cas(ring_word(x, cell, 1), w, TAT_WORD(r->period16));
}

bool
cell_charge(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t cost,
    const struct look *l)
{
	word_t *p = ring_word(x, cell, l->word);
	uint64_t mask = r->kind == RATION_SLIDING ? NARROW_MAX : WIDE_MAX;

	switch (r->kind) {
	case RATION_SLIDING:
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		if (LIKELY((l->old & ~mask) == l->tag))
			return word_cas(p, l->old, l->old + cost);
		if (!in_life(x))
			return false;
		return replace(x, cell, l->word, l->old, l->tag | cost);
	case RATION_BUCKET:
		if (!in_life(x) || !bucket_period(x, cell, r, l) || !word_cas(p, l->old, l->tag))
			return false;
		if (cell == 0)
			(void)total_add(x, cost);
		return true;
	default:
		return charge_count(x, cell, cost, l);
	}
}

uint64_t
cell_force(const struct cell_ctx *x, const struct rate_def *r, uint64_t cost, struct look *l)
{
	uint64_t room, now = x->now_ns * 16, tat = l->units > now ? l->units : now;

	switch (r->kind) {
	case RATION_SLIDING:
		/* The sum of a window is of so many bits too: sixteen such words would not fit it.
		 */
		room = l->used < NARROW_MAX ? NARROW_MAX - l->used : 0;
		return cost < room ? cost : room;
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		room = WIDE_MAX - l->units;
		return cost < room ? cost : room;
	case RATION_BUCKET:
		room = r->period16 != 0 && tat < now + TAT_AHEAD_MAX
		    ? (now + TAT_AHEAD_MAX - tat) / r->period16
		    : 0;
		cost = cost < room ? cost : room;
		l->next = tat + cost * r->period16;
		l->tag = TAT_WORD(l->next);
		return cost;
	default:
		return cost;
	}
}

void
cell_receipt(const struct cell_ctx *x, unsigned cell, uint64_t slot, uint64_t cost,
    const struct rate_def *r, const struct look *l, ration_receipt_t *out)
{
	uint64_t tag = r->kind == RATION_COUNT_ONLY ? 0 : l->tag;

	out->slot = (uint32_t)slot;
	out->birth = (uint32_t)x->birth;
	out->where = WHERE(WHERE_TAG(tag), l->conv, cell, l->word);
	out->units = cost;
	if (r->kind == RATION_BUCKET)
		out->units |= tag << 44;
}
