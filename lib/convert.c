/*
 * convert.c - a live change of window or algorithm, and a reset: steps A to H of
 * layout.h.  Whoever meets a cell whose shape is not its own finishes what is under
 * way and then starts its own; a caller stopped anywhere in here holds up nobody.
 */
#include "cell.h"

#include <string.h>

#include "atomics.h"
#include "hash.h"
#include "slot.h"

#define NS_S INT64_C(1000000000)

struct conversion {
	const struct cell_ctx *x;
	word_t *base; /* the cell */
	word_t *ring;
	unsigned cell;
};

/* ---- shapes: the inverse of rate_def_derive() ---- */

static void
shape_probe(struct rate_def *r, uint8_t kind, uint64_t seconds, const char *zone)
{
	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->window_ns = seconds * (uint64_t)NS_S;
	rate_def_derive(r, zone);
}

static uint32_t
shape_base(uint8_t kind)
{
	struct rate_def r;

	shape_probe(&r, kind, 0, "");
	return r.shape;
}

uint64_t
shape_seconds(uint32_t shape, uint8_t *kind)
{
	uint32_t sliding = shape_base(RATION_SLIDING), fixed = shape_base(RATION_FIXED);

	*kind = 0;
	if (shape >= sliding && shape <= sliding + 86400) {
		*kind = RATION_SLIDING;
		return shape - sliding;
	}
	if (shape >= fixed && shape <= fixed + 86400) {
		*kind = RATION_FIXED;
		return shape - fixed;
	}
	*kind = shape_kind(shape);
	return 0;
}

uint8_t
shape_kind(uint32_t shape)
{
	if (shape == SHAPE_NONE)
		return 0;
	return policy_shape_kind(shape);
}

int
shape_zone(const struct policy_ref *p, uint32_t shape)
{
	uint8_t kind = shape_kind(shape);
	struct rate_def r;

	if (p == NULL || (kind != RATION_DAY && kind != RATION_MONTH))
		return -1;
	for (uint32_t i = 0; i < p->area->nzones && i < UINT8_MAX; i++) {
		shape_probe(&r, kind, 0, policy_zone_name(p, i));
		if (r.shape == shape)
			return (int)i;
	}
	return -1;
}

/* ---- what is used ---- */

/* Of whichever conversion a word is: G leaves none of an earlier one, but see cell_reopen(). */
static uint64_t
used_sliding(const struct conversion *v, uint64_t seconds)
{
	uint64_t sum = 0;
	struct rate_def r;
	uint64_t e;

	shape_probe(&r, RATION_SLIDING, seconds, "");
	e = epoch_of(v->x->now_ns, r.sub_ns, r.recip);
	for (unsigned i = 0; i < RING_WORDS; i++) {
		uint64_t w = word_load(&v->ring[i]), oldest;

		if (word_kind(w) != W_NARROW)
			continue;
		oldest = e >= RING_WORDS - 1 ? (e - (RING_WORDS - 1)) * r.sub_ns : 0;
		/* Ahead of it, not a year behind. */
		if (((NARROW_TICK(w) - tick_of(oldest)) & TICK_MASK) <= TICK_MASK / 4)
			sum += NARROW_UNITS(w);
	}
	return sum;
}

/*
 * The word of the current period.  When the shape's zone is no longer in the policy: of
 * the latest period that may not have ended; never fewer than were used.
 */
static uint64_t
used_wide(const struct conversion *v, uint32_t shape)
{
	const struct cell_ctx *x = v->x;
	struct rate_def r;
	int64_t start = 0, end;
	int zone = shape_zone(x->policy, shape);
	uint64_t used = 0, now = tick_of((uint64_t)x->unix_ns) >> 8, max_age;
	bool known;

	memset(&r, 0, sizeof(r));
	r.window_ns = shape_seconds(shape, &r.kind) * (uint64_t)NS_S;
	r.kind = shape_kind(shape);
	r.zone = zone >= 0 ? (uint8_t)zone : 0;
	known = (r.kind == RATION_FIXED || zone >= 0) &&
	    policy_period(x->policy, &r, x->unix_ns, &start, &end);
	max_age = (uint64_t)(r.kind == RATION_DAY ? 25 * 3600 : 31 * 86400 + 3600) *
	    (uint64_t)NS_S / (TICK_NS * 256);
	for (unsigned i = 0; i < RING_WORDS; i++) {
		uint64_t w = word_load(&v->ring[i]), age;
		enum word_kind kind = word_kind(w);

		if (kind != W_WIDE && kind != W_CLOSED)
			continue;
		if (known) {
			if (((w ^ period_tag(start)) >> 40 & CLOSED_MASK) == 0)
				used += WIDE_UNITS(w);
			continue;
		}
		age = (now - (w >> 40 & CLOSED_MASK)) & CLOSED_MASK;
		if (age <= max_age && WIDE_UNITS(w) > used)
			used = WIDE_UNITS(w);
	}
	return used;
}

static uint64_t
used_bucket(const struct conversion *v)
{
	uint64_t w = word_load(&v->ring[0]), p = word_load(&v->ring[1]), tat = 0;
	uint64_t now = v->x->now_ns * 16, period = 0;

	if (word_kind(p) == W_TAT)
		period = p & TAT_MASK;
	else if (PERIOD_IS_CLOSED(p))
		period = p & PERIOD_MASK;
	if (word_kind(w) == W_TAT)
		tat = tat_near(w & TAT_MASK, now);
	else if (word_kind(w) == W_TATX && (w & (TAT_MASK >> 1)) != 0)
		tat = tat_near(((w & (TAT_MASK >> 1)) << 1) - 1, now); /* was rounded up */
	if (period == 0 || tat <= now)
		return 0;
	return (tat - now + period - 1) / period;
}

/*
 * A rate that is new to the key: what the key has used of its other rates is used of this one
 * too, as charged at the moment of change; never fewer.
 */
static uint64_t
used_beside(const struct conversion *v)
{
	uint64_t most = 0;

	for (unsigned i = 0; i < v->x->seg->cells; i++) {
		word_t *conv = v->x->slot + SLOT_CELLS + (size_t)i * CELL_WORDS + CELL_CONV;
		uint64_t w = word_load(conv), used;

		if (i == v->cell || CONV_SHAPE(w) == SHAPE_NONE)
			continue;
		used = cell_used(v->x, i, w);
		most = used > most ? used : most;
	}
	return most;
}

static uint64_t
used_now(const struct conversion *v, uint64_t conv)
{
	uint8_t kind;
	uint64_t seconds = shape_seconds(CONV_SHAPE(conv), &kind), used = 0;

	if (kind == RATION_SLIDING)
		used = used_sliding(v, seconds);
	else if (kind == RATION_FIXED || kind == RATION_DAY || kind == RATION_MONTH)
		used = used_wide(v, CONV_SHAPE(conv));
	else if (kind == RATION_BUCKET)
		used = used_bucket(v);
	else if (CONV_SHAPE(conv) == SHAPE_NONE)
		used = used_beside(v);
	return used < WIDE_MAX ? used : WIDE_MAX;
}

static struct conversion
conversion_of(const struct cell_ctx *x, unsigned cell)
{
	struct conversion v = { .x = x, .cell = cell };

	v.base = x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS;
	v.ring = v.base + CELL_RING;
	return v;
}

uint64_t
cell_used(const struct cell_ctx *x, unsigned cell, uint64_t conv)
{
	struct conversion v = conversion_of(x, cell);
	uint64_t cache = word_load(&v.base[CELL_CACHE]);

	if (CONV_STAGE(conv) == CONV_CARRY && CACHE_IS_FROZEN(cache, CONV_COUNT(conv)))
		return cache & WIDE_MAX;
	return used_now(&v, conv);
}

/* ---- the steps ---- */

/* B: every word refuses additions.  False: conv moved on. */
static bool
close_words(const struct conversion *v, uint64_t conv)
{
	uint64_t tick = CONV_FINE(conv) >> 6, c = CONV_COUNT(conv);

	for (unsigned i = 0; i < RING_WORDS; i++) {
		unsigned tries;

		for (tries = 0; tries < 1000; tries++) {
			uint64_t w = word_load(&v->ring[i]), closed = w;

			/* Then w is of the time before F (layout.h). */
			if (word_load(&v->base[CELL_CONV]) != conv)
				return false;
			switch (CONV_SHAPE(conv) == SHAPE_CONCURRENT ? W_BLANK : word_kind(w)) {
			case W_NARROW:
				closed = NARROW_CLOSED(w, c);
				break;
			case W_WIDE:
				closed = CLOSED_OF(w);
				break;
			case W_TAT:
				closed = i == 0 ? TATX_WORD(w & TAT_MASK) : PERIOD_CLOSED(w, c);
				break;
			case W_BLANK:
				/* A claim from the old blank must fail; a lease ends here. */
				if (!PERIOD_IS_CLOSED(w))
					closed = BLANK(0x100 + c, tick);
				break;
			default:
				break;
			}
			if (closed == w || word_cas(&v->ring[i], w, closed))
				break;
		}
		if (tries == 1000)
			return false;
	}
	return true;
}

/* C: the first to get here decides what is carried over. */
static bool
freeze(const struct conversion *v, uint64_t conv)
{
	uint64_t c = CONV_COUNT(conv);
	bool reset = CONV_STAGE(conv) == CONV_RESET;

	for (unsigned tries = 0; tries < 1000; tries++) {
		uint64_t cache = word_load(&v->base[CELL_CACHE]);

		if (CACHE_IS_FROZEN(cache, c))
			return true;
		if (word_load(&v->base[CELL_CONV]) != conv)
			return false;
		if (word_cas(&v->base[CELL_CACHE], cache,
			CACHE_FROZEN(c, reset ? 0 : used_now(v, conv))))
			return true;
	}
	return false;
}

static bool
kind_folds(uint8_t kind)
{
	return kind == RATION_SLIDING || kind == RATION_FIXED || kind == RATION_DAY ||
	    kind == RATION_MONTH;
}

/*
 * E: what stands in the ring is counted now; what F puts there will be once more.  A bucket
 * that was on the way may be given up for another shape (advance): then only that is left.
 */
static bool
settle_total(const struct conversion *v, uint64_t conv, uint64_t units)
{
	word_t *total = &v->x->slot[SLOT_TOTAL];
	uint64_t whole = MARK_CONV_ALL(CONV_COUNT(conv));
	bool folds = kind_folds(shape_kind(CONV_SHAPE(conv)));
	uint64_t mark = folds ? MARK_CONV(CONV_COUNT(conv)) : whole;

	for (unsigned tries = 0; tries < 1000; tries++) {
		uint64_t t = word_load(total), sum = TOTAL_UNITS(t);
		uint64_t old_mark = TOTAL_MARK(t);

		if (old_mark == mark)
			return true;
		for (unsigned i = 0; i < RING_WORDS && old_mark != whole; i++) {
			uint64_t w = word_load(&v->ring[i]), n = 0, at = 0;

			if (word_kind(w) == W_NARROW) {
				n = NARROW_UNITS(w);
				at = MARK_FOLD(i, NARROW_TICK(w));
			} else if (word_kind(w) == W_CLOSED) {
				n = WIDE_UNITS(w);
				at = MARK_FOLD(i, w >> 40 & CLOSED_MASK);
			}
			if (n != 0 && at != old_mark) /* else folded already */
				sum += n;
		}
		if (folds)
			sum -= units;
		/* Had a helper come to F, E would be done and t changed. */
		if (word_load(&v->base[CELL_CONV]) != conv)
			return false;
		if (word_cas(total, t, sum << TOTAL_SHIFT | mark))
			return true;
	}
	return false;
}

#define CARRY_AHEAD_MAX (TAT_AHEAD_MAX - UINT64_C(86400) * 16 * 1000000000)

/* The word of time f in the new shape, and where. */
static uint64_t
carried_word(const struct conversion *v, const struct rate_def *r, uint64_t conv, uint64_t units,
    unsigned *index, uint64_t *epoch)
{
	const struct cell_ctx *x = v->x;
	uint64_t fine = x->now_ns / FINE_NS, ago = (fine - CONV_FINE(conv)) & FINE_MASK, then;
	int64_t start = 0, end;
	unsigned __int128 ahead;

	/* The full fine tick, within half a year; we may have read the clock before it. */
	then = (ago <= FINE_MASK / 2 ? fine - ago : fine + (FINE_MASK + 1 - ago)) * FINE_NS;
	*index = 0;
	*epoch = 0;
	switch (r->kind) {
	case RATION_SLIDING:
		/* Never ahead of now; LAG_NS covers that it is a little early. */
		*epoch = epoch_of(then - FINE_NS, r->sub_ns, r->recip);
		*index = (unsigned)(*epoch % RING_WORDS);
		return NARROW_TAG(CONV_COUNT(conv), tick_of(*epoch * r->sub_ns)) |
		    (units < NARROW_MAX ? units : NARROW_MAX);
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		(void)policy_period(
		    x->policy, r, x->unix_ns - (int64_t)(x->now_ns - then), &start, &end);
		*index = period_index(r->kind, r->window_ns, start);
		return period_tag(start) | units;
	case RATION_BUCKET:
		/*
		 * Of a slow bucket the used units are a round number so; a fast one gets back
		 * many in this time: rather late than early.
		 */
		then = r->period16 / 16 > 2 * FINE_NS ? then - FINE_NS : then + FINE_NS;
		if (units == 0) /* a second ago */
			return TAT_WORD((then > (uint64_t)NS_S ? then - (uint64_t)NS_S : 0) * 16);
		/* Units of years: as late as can be told from a scribble. */
		ahead = (unsigned __int128)units * r->period16;
		return TAT_WORD(
		    then * 16 + (ahead < CARRY_AHEAD_MAX ? (uint64_t)ahead : CARRY_AHEAD_MAX));
	default:
		return BLANK(0x200 + CONV_COUNT(conv), tick_of(then));
	}
}

/* G: what word i holds when the conversion is done. */
static uint64_t
rest_word(const struct rate_def *r, uint64_t conv, unsigned i, unsigned index, uint64_t epoch)
{
	uint64_t back = (index + RING_WORDS - i) % RING_WORDS;

	if (r->kind == RATION_SLIDING && back <= epoch)
		return NARROW_TAG(CONV_COUNT(conv), tick_of((epoch - back) * r->sub_ns)) |
		    NARROW_SEAL;
	if (r->kind == RATION_BUCKET && i == 1)
		return TAT_WORD(r->period16);
	return BLANK(0x200 + CONV_COUNT(conv), CONV_FINE(conv) >> 6);
}

/* F and G.  False: conv moved on. */
static bool
carry(const struct conversion *v, const struct rate_def *r, uint64_t conv, uint64_t units)
{
	unsigned index;
	uint64_t epoch, put = carried_word(v, r, conv, units, &index, &epoch);

	for (unsigned n = 0; n < RING_WORDS; n++) {
		unsigned i = (index + n) % RING_WORDS, tries; /* F first */
		uint64_t want = n == 0 ? put : rest_word(r, conv, i, index, epoch);

		for (tries = 0; tries < 1000; tries++) {
			uint64_t w = word_load(&v->ring[i]);

			if (word_load(&v->base[CELL_CONV]) != conv)
				return false;
			if (w == want || word_cas(&v->ring[i], w, want))
				break;
		}
		if (tries == 1000)
			return false;
	}
	return true;
}

/* The rate that a shape stands for, as far as F and G need it. */
static bool
rate_of_shape(
    const struct conversion *v, uint32_t shape, const struct rate_def *r, struct rate_def *out)
{
	int64_t start, end;
	int zone;

	if (r->shape == shape) {
		*out = *r;
		return true;
	}
	memset(out, 0, sizeof(*out));
	out->window_ns = shape_seconds(shape, &out->kind) * (uint64_t)NS_S;
	out->kind = shape_kind(shape);
	if (out->kind == RATION_SLIDING)
		rate_def_derive(out, "");
	out->shape = shape;
	zone = shape_zone(v->x->policy, shape);
	if (zone >= 0)
		out->zone = (uint8_t)zone;
	/* Known by name, but without its midnights. */
	if (zone >= 0 && !policy_period(v->x->policy, out, v->x->unix_ns, &start, &end))
		zone = -1;
	/* Another's bucket: its period is not in the shape's number.  Our own shape then. */
	return out->kind == RATION_SLIDING || out->kind == RATION_FIXED ||
	    out->kind == RATION_COUNT_ONLY || zone >= 0;
}

/* From FREEZE on to DONE; somebody may be faster at each step. */
static void
advance(const struct conversion *v, uint64_t conv, const struct rate_def *r)
{
	word_t *p = &v->base[CELL_CONV];
	uint64_t c = CONV_COUNT(conv), units;
	struct rate_def to;

	if (CONV_STAGE(conv) != CONV_CARRY) {
		if (close_words(v, conv) && freeze(v, conv))
			(void)word_cas(
			    p, conv, CONV_WORD(CONV_FINE(conv), c, CONV_CARRY, r->shape));
		return;
	}
	units = word_load(&v->base[CELL_CACHE]);
	units = CACHE_IS_FROZEN(units, c) ? units & WIDE_MAX : 0;
	if (!rate_of_shape(v, CONV_SHAPE(conv), r, &to)) {
		/*
		 * Nobody knows that shape any more: nothing was put down yet in it that
		 * we could not replace, so carry on to ours.
		 */
		(void)word_cas(p, conv, CONV_WORD(CONV_FINE(conv), c, CONV_CARRY, r->shape));
		return;
	}
	if (to.kind == RATION_SLIDING && units > NARROW_MAX)
		units = NARROW_MAX; /* more than any sliding limit */
	if ((v->cell != 0 || settle_total(v, conv, units)) && carry(v, &to, conv, units))
		(void)word_cas(p, conv, CONV_WORD(CONV_FINE(conv), c, CONV_DONE, to.shape));
}

/*
 * The moment of change: now, rounded down; up, if a Unix second began in between: it must
 * lie in the same period as now, whichever kind of period it will be, and those
 * begin at whole seconds.
 */
static uint64_t
fine_now(const struct cell_ctx *x)
{
	uint64_t fine = x->now_ns / FINE_NS;
	int64_t past = (int64_t)(x->now_ns - fine * FINE_NS);

	return x->unix_ns / NS_S != (x->unix_ns - past) / NS_S ? fine + 1 : fine;
}

/*
 * Was the cell converted after our reading of the clock?  Then we were stopped since: our shape
 * may be one that has ended meanwhile, and what is used now would be counted as of then.  As
 * with words ahead of us the clock is read again, and what is still ahead is a scribble.
 */
static bool
converted_later(const struct cell_ctx *x, uint64_t conv)
{
	uint64_t ahead = (CONV_FINE(conv) - x->now_ns / FINE_NS) & FINE_MASK;

	/* fine_now() rounds up. */
	if (ahead < 2 || ahead > FINE_MASK / 2 || x->ahead == NULL || *x->ahead == conv)
		return false;
	*x->ahead = conv;
	return true;
}

/* stage: CONV_FREEZE or CONV_RESET; anew: also if the cell has this shape already. */
static enum look_result
convert(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, enum conv_stage stage,
    bool anew)
{
	struct conversion v = conversion_of(x, cell);
	word_t *p = &v.base[CELL_CONV];
	uint64_t before = UINT64_MAX;

	/* The moment of change is measured with the precise clock: see LAG_NS. */
	if (!x->precise)
		return LOOK_CLOCK;
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t conv = word_load(p), state = word_load(&x->slot[SLOT_STATE]), next;

		if (STATE_BIRTH(state) != x->birth ||
		    (STATE_ST(state) != ST_LIVE && STATE_ST(state) != ST_READY))
			return LOOK_GONE;
		if (converted_later(x, conv))
			return LOOK_CLOCK;
		if (CONV_STAGE(conv) != CONV_DONE) {
			advance(&v, conv, r);
			continue;
		}
		if (CONV_SETTLED(conv) == r->shape && (!anew || CONV_COUNT(conv) == before)) {
			return LOOK_AGAIN;
		}
		next = CONV_WORD(
		    fine_now(x) & FINE_MASK, CONV_COUNT(conv) + 1, stage, CONV_SHAPE(conv));
		if (word_cas(p, conv, next)) {
			before = CONV_COUNT(next);
			word_count(&x->seg->head->conversions, 1);
		}
	}
	return LOOK_AGAIN;
}

enum look_result
cell_convert(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, bool reset)
{
	return convert(x, cell, r, reset ? CONV_RESET : CONV_FREEZE, reset);
}

enum look_result
cell_reopen(const struct cell_ctx *x, unsigned cell, const struct rate_def *r)
{
	return convert(x, cell, r, CONV_FREEZE, true);
}
