#include "cell.h"

#include <string.h>

#include "atomics.h"
#include "call.h"
#include "clock.h"
#include "slot.h"

#define NS_S INT64_C(1000000000)

static word_t *
ring_word(const struct cell_ctx *x, unsigned cell, uint64_t i)
{
	return x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS + CELL_RING + (i % RING_WORDS);
}

static uint64_t
cell_load(const struct cell_ctx *x, unsigned cell, enum cell_word w)
{
	return word_load(x->slot + SLOT_CELLS + (size_t)cell * CELL_WORDS + w);
}

/* Is the slot still ours to charge?  Loaded after the word that a charge starts from. */
static bool
in_life(const struct cell_ctx *x)
{
	uint64_t state = word_load(&x->slot[SLOT_STATE]);

	return STATE_BIRTH(state) == x->birth
	    && (STATE_ST(state) == ST_LIVE || STATE_ST(state) == ST_READY);
}

/*
 * Is the cell still as conv said?  Loaded after a word that is of another window than ours:
 * it may be one that a conversion has put there since.
 */
static bool
in_shape(const struct cell_ctx *x, unsigned cell, uint64_t conv)
{
	return cell_load(x, cell, CELL_CONV) == conv;
}

static void
scribble(const struct cell_ctx *x)
{
	word_count(&x->seg->head->scribbles, 1);
}

/* ---- totals ---- */

static uint64_t
word_units(uint64_t w)
{
	switch (word_kind(w)) {
	case W_NARROW:
		return NARROW_UNITS(w);
	case W_WIDE:
	case W_CLOSED:
		return WIDE_UNITS(w);
	default:
		return 0;
	}
}

static uint64_t
fold_mark(unsigned i, uint64_t w)
{
	return MARK_FOLD(i, word_kind(w) == W_NARROW ? NARROW_TICK(w) : WIDE_TICK(w));
}

/* Does the mark say that the word which stands at its index is counted already? */
static bool
mark_stands(const word_t *ring, uint64_t mark, unsigned *i, uint64_t *w)
{
	if (mark >> 19 != 0)
		return false;
	*i = (unsigned)(mark >> 15 & 15);
	*w = word_load(&ring[*i]);
	return word_units(*w) != 0 && fold_mark(*i, *w) == mark;
}

/*
 * Add to (or, two's complement, subtract from) the slot's total, in this life only: a new
 * one starts with a mark of its own.  False: the life is over.
 */
static bool
total_add(const struct cell_ctx *x, uint64_t units)
{
	for (unsigned tries = 0; tries < 1000; tries++) {
		uint64_t t = word_load(&x->slot[SLOT_TOTAL]);

		if (STATE_BIRTH(word_load(&x->slot[SLOT_STATE])) != x->birth)
			return false;
		if (word_cas(&x->slot[SLOT_TOTAL], t, t + (units << TOTAL_SHIFT)))
			return true;
	}
	return false;
}

uint64_t
cell_total(const word_t *slot)
{
	const word_t *ring = slot + SLOT_CELLS + CELL_RING;
	uint64_t total = word_load(&slot[SLOT_TOTAL]), sum = TOTAL_UNITS(total), w;
	unsigned i;

	for (i = 0; i < RING_WORDS; i++)
		sum += word_units(word_load(&ring[i]));
	if (mark_stands(ring, TOTAL_MARK(total), &i, &w))
		sum -= word_units(w);
	return sum & (UINT64_MAX >> TOTAL_SHIFT);
}

bool
cell_fold(const struct cell_ctx *x, unsigned i, uint64_t w)
{
	word_t *ring = x->slot + SLOT_CELLS + CELL_RING, *total = &x->slot[SLOT_TOTAL];
	uint64_t units = word_units(w), mark = fold_mark(i, w), other;
	unsigned at;

	if (units == 0)
		return true;
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t t = word_load(total);

		/*
		 * In this order: if w still stands after t was loaded, nobody had
		 * overwritten it before, so only the mark can say that it is counted.
		 */
		if (word_load(&ring[i]) != w)
			return false;
		if (TOTAL_MARK(t) == mark)
			return true;
		if (mark_stands(ring, TOTAL_MARK(t), &at, &other)) {
			(void)word_cas(&ring[at], other, BLANK(UINT64_C(1), tick_of(x->now_ns)));
			continue;
		}
		if (word_cas(total, t, (TOTAL_UNITS(t) + units) << TOTAL_SHIFT | mark))
			return true;
	}
	return false;
}

/*
 * Before a word with this tick comes to stand at index i: the mark must not say that it
 * is counted (15 bits of the tick: it may by chance, every 19 minutes).
 */
static bool
unmark(const struct cell_ctx *x, unsigned i, uint64_t new_word)
{
	uint64_t t = word_load(&x->slot[SLOT_TOTAL]);

	if (LIKELY(TOTAL_MARK(t) != fold_mark(i, new_word)))
		return true;
	return word_cas(
	    &x->slot[SLOT_TOTAL], t, TOTAL_UNITS(t) << TOTAL_SHIFT | MARK_NONE);
}

/* Replace old, which is of another window, by a new word. */
static bool
replace(const struct cell_ctx *x, unsigned cell, unsigned i, uint64_t old, uint64_t new_word)
{
	if (cell == 0 && (!cell_fold(x, i, old) || !unmark(x, i, new_word)))
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
				if (!x->writable || (w & NARROW_SEAL) != 0
				    || word_cas(p, w, w | NARROW_SEAL)) {
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
	} else if (r->kind == RATION_BUCKET || r->kind == RATION_COUNT_ONLY
	    || r->kind == RATION_CONCURRENT) {
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
	if (((tick - BLANK_TICK(l->old)) & TICK_MASK) > 29
	    && !word_cas(ring_word(x, cell, 0), l->old, BLANK(UINT64_C(3), tick)))
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
	return CONV_SETTLED(conv) == r->shape && CONV_COUNT(conv) == l->conv
	    && word_cas(ring_word(x, cell, 1), w, TAT_WORD(r->period16));
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

/* ---- refund ---- */

/* Has the window that tag's word belongs to ended? */
static bool
expired(const struct cell_ctx *x, uint32_t shape, uint64_t tag)
{
	struct rate_def r;
	int64_t start, end;
	int zone;

	memset(&r, 0, sizeof(r));
	r.window_ns = shape_seconds(shape, &r.kind) * (uint64_t)NS_S;
	if (r.kind == RATION_SLIDING) {
		rate_def_derive(&r, "");
		return tick_diff(tick_of(x->now_ns), tag >> 30 & TICK_MASK)
		    > (int64_t)(RING_WORDS * r.sub_ns / TICK_NS);
	}
	zone = shape_zone(x->policy, shape);
	if (zone >= 0)
		r.zone = (uint8_t)zone;
	if ((r.kind != RATION_FIXED && zone < 0)
	    || !policy_period(x->policy, &r, x->unix_ns, &start, &end))
		return false;
	return period_tag(start) != tag;
}

/* After the word was loaded: it is of the life and the shape that were charged. */
static bool
receipt_holds(const struct cell_ctx *x, const ration_receipt_t *rc)
{
	uint64_t conv = cell_load(x, WHERE_CELL(rc->where), CELL_CONV);

	return STATE_BIRTH(word_load(&x->slot[SLOT_STATE])) == x->birth
	    && CONV_COUNT(conv) == WHERE_CONV(rc->where) && CONV_STAGE(conv) == CONV_DONE;
}

static int
refund_word(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units, uint8_t kind)
{
	word_t *p = ring_word(x, WHERE_CELL(rc->where), WHERE_WORD(rc->where)), *cache;
	bool narrow = kind == RATION_SLIDING;
	uint64_t mask = narrow ? NARROW_MAX : WIDE_MAX, w, n, old;

	for (unsigned tries = 0; tries < 1000; tries++) {
		w = word_load(p);
		if ((w & ~mask & ~(narrow ? NARROW_SEAL : 0)) != WHERE_TAG(rc->where))
			return RATION_ESTALE;
		n = w & mask;
		n = n < units ? n : units;
		if (n == 0 || !receipt_holds(x, rc))
			return RATION_ESTALE;
		if (!word_cas(p, w, w - n))
			continue;
		if (narrow && (w & NARROW_SEAL) != 0) {
			/* The cached sum counts it still. */
			cache = x->slot + SLOT_CELLS + (size_t)WHERE_CELL(rc->where) * CELL_WORDS + CELL_CACHE;
			old = word_load(cache);
			if (CACHE_VALID(old))
				(void)word_cas(cache, old, CACHE_NONE(tick_of(x->now_ns)));
		}
		return 0;
	}
	return RATION_EBUSY;
}

/*
 * A bucket gives units back by itself in the order in which they were taken: those of this
 * receipt from `until` - units x period on, and at `until` none is left, whatever others have
 * taken since.
 */
static int
refund_bucket(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units)
{
	word_t *p = ring_word(x, WHERE_CELL(rc->where), 0);
	uint64_t period = word_load(ring_word(x, WHERE_CELL(rc->where), 1)) & TAT_MASK;
	uint64_t now = x->now_ns * 16, until;
	unsigned __int128 back = (unsigned __int128)units * period;

	until = tat_near(RECEIPT_TAT(rc->where, rc->units), now);
	for (unsigned tries = 0; tries < 1000; tries++) {
		uint64_t w = word_load(p), tat = tat_near(w & TAT_MASK, now);

		if (word_kind(w) != W_TAT || tat <= now || until <= now || !receipt_holds(x, rc))
			return RATION_ESTALE;
		if (back > until - now)
			back = until - now;
		if (back > tat - now)
			back = tat - now;
		if (!word_cas(p, w, TAT_WORD(tat - (uint64_t)back)))
			continue;
		if (WHERE_CELL(rc->where) == 0)
			(void)total_add(x, -units);
		return 0;
	}
	return RATION_EBUSY;
}

int
cell_refund(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units, bool undo)
{
	uint64_t conv;
	uint32_t shape;
	uint8_t kind;

	if (WHERE_CELL(rc->where) >= x->seg->cells)
		return RATION_EINVAL;
	conv = cell_load(x, WHERE_CELL(rc->where), CELL_CONV);
	shape = CONV_SHAPE(conv);
	kind = shape_kind(shape);
	if (units > RECEIPT_UNITS(rc->units))
		units = RECEIPT_UNITS(rc->units);
	if (units == 0 || (rc->where & 1) == 0)
		return RATION_ESTALE;
	if (!receipt_holds(x, rc))
		return RATION_ESTALE;
	switch (kind) {
	case RATION_SLIDING:
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		if (!undo && expired(x, shape, WHERE_TAG(rc->where)))
			return RATION_ESTALE;
		return refund_word(x, rc, units, kind);
	case RATION_BUCKET:
		return refund_bucket(x, rc, units);
	case RATION_COUNT_ONLY:
		return WHERE_CELL(rc->where) != 0 || total_add(x, -units) ? 0 : RATION_ESTALE;
	default:
		return RATION_ESTALE;
	}
}

/* ---- figures ---- */

static int64_t
ceil_s(int64_t ns)
{
	return ns <= 0 ? 0 : (ns + NS_S - 1) / NS_S;
}

/* Unix s, rounded up, of a shared time. */
static int64_t
shared_to_s(const struct cell_ctx *x, uint64_t ns)
{
	return ceil_s((int64_t)(ns - x->now_ns) + x->unix_ns);
}

void
cell_report(const struct cell_ctx *x, const struct rate_def *r, const struct look *l,
    uint64_t charged, ration_rate_t *out)
{
	uint64_t used = l->used + charged;

	memcpy(&out->limit_units, r, offsetof(struct rate_def, shape));
	out->retry_at = 0;
	if (UNLIKELY(r->units == RATION_UNLIMITED)) {
		out->used = r->kind == RATION_COUNT_ONLY
		    ? (x->slot != NULL ? cell_total(x->slot) : 0)
		    : used;
		out->remaining = RATION_UNLIMITED;
		out->reset_at = x->unix_ns / NS_S;
		return;
	}
	out->used = used;
	out->remaining = used < r->units ? r->units - used : 0;
	/* Most calls are far below 60 %: one compare. */
	if (UNLIKELY(used >= r->units / 2))
		out->level = decision_level(used, r->units);
	if (used == 0)
		out->reset_at = ceil_s(x->unix_ns);
	else if (r->kind == RATION_SLIDING)
		out->reset_at = shared_to_s(x, l->edge_ns);
	else if (r->kind == RATION_BUCKET)
		out->reset_at = shared_to_s(x, charged != 0 ? (l->next + 15) / 16 : l->edge_ns);
	else
		out->reset_at = (int64_t)(l->edge_ns / (uint64_t)NS_S);
}

/* Sub-window by sub-window, oldest first, until enough has expired. */
static uint64_t
retry_sliding(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    const struct look *l, uint64_t need)
{
	uint64_t got = 0, c = l->conv, e = l->epoch;

	for (uint64_t k = RING_WORDS - 1; x->slot != NULL && k > 0; k--) {
		uint64_t j, w;

		if (k > e)
			continue;
		j = e - k;
		w = word_load(ring_word(x, cell, j));
		if ((w & ~(NARROW_MAX | NARROW_SEAL)) == NARROW_TAG(c, tick_of(j * r->sub_ns)))
			got += NARROW_UNITS(w);
		if (got >= need)
			return (j + RING_WORDS) * r->sub_ns;
	}
	return (e + RING_WORDS) * r->sub_ns;
}

void
cell_retry(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    const struct look *l, uint64_t cost, ration_rate_t *out)
{
	uint64_t ahead;

	if (cost > r->units) {
		out->retry_at = RATION_NEVER;
		out->reason = r->units == 0 ? RATION_R_ZERO : RATION_R_COST;
		return;
	}
	switch (r->kind) {
	case RATION_SLIDING:
		out->retry_at = shared_to_s(
		    x, retry_sliding(x, cell, r, l, l->used - (r->units - cost)));
		break;
	case RATION_BUCKET:
		/* tat + cost p - burst p, rounded up */
		ahead = (r->units - cost) * r->period16;
		out->retry_at = shared_to_s(
		    x, l->units > ahead ? (l->units - ahead + 15) / 16 : x->now_ns);
		break;
	case RATION_CONCURRENT:
		out->retry_at = RATION_NEVER;
		out->reason = RATION_R_RELEASE;
		break;
	default:
		out->retry_at = (int64_t)(l->edge_ns / (uint64_t)NS_S);
		break;
	}
}

/* ---- retiring ---- */

#define LIFE_TICKS 60 /* 2 s: the shortest life of a slot */

/* Would nobody miss this word of a cell of this kind?  age: how long it must have lain. */
static bool
word_idle(const struct cell_ctx *x, uint64_t w, uint8_t kind, uint64_t window_ns, uint64_t idle_ns)
{
	uint64_t now = tick_of(x->now_ns), unix_now = tick_of((uint64_t)x->unix_ns), age;
	uint64_t wait = window_ns + idle_ns;

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
	if (kind == RATION_CONCURRENT)
		return false;
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
		bool free_of_use = (kind == RATION_BUCKET && i == 1)
		    || (kind == RATION_COUNT_ONLY && i > 0) || kind == 0
		    || word_idle(x, w, kind, window, idle_ns);

		if (!free_of_use || (cell == 0 && !cell_fold(x, i, w))
		    || !word_cas(ring_word(x, cell, i), w, BLANK(UINT64_C(2), tick)))
			return false;
	}
	/* conv stays: a rescuer may have charged a word by it already. */
	return word_cas(&base[CELL_CACHE], cache, CACHE_NONE(tick));
}
