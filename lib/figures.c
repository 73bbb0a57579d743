/*
 * figures.c - what a rate shows: used, remaining, reset; and when a retry would fit.
 */
#include "cell.h"

#include <string.h>

#include "call.h"
#include "words.h"

/* No window is longer; what takes more (a bucket's burst) need not be told apart. */
#define SPREAD_MAX_NS (UINT64_C(62) * 86400 * 1000000000)

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
	else if (r->kind == RATION_SLIDING || r->kind == RATION_CONCURRENT)
		out->reset_at = shared_to_s(x, l->edge_ns);
	else if (r->kind == RATION_BUCKET)
		out->reset_at = shared_to_s(x, charged != 0 ? (l->next + 15) / 16 : l->edge_ns);
	else
		out->reset_at = (int64_t)(l->edge_ns / (uint64_t)NS_S);
}

/* Units of sub-window j; of a sliding cell. */
static uint64_t
sub_units(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct look *l,
    uint64_t j)
{
	uint64_t w = word_load(ring_word(x, cell, j));

	return (w & ~(NARROW_MAX | NARROW_SEAL)) ==
		NARROW_TAG((uint64_t)l->conv, tick_of(j * r->sub_ns))
	    ? NARROW_UNITS(w)
	    : 0;
}

/* Sub-window by sub-window, oldest first, until enough has expired. */
static uint64_t
retry_sliding(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    const struct look *l, uint64_t need)
{
	uint64_t got = 0, e = l->epoch;

	for (uint64_t k = RING_WORDS - 1; x->slot != NULL && k > 0; k--) {
		if (k > e)
			continue;
		got += sub_units(x, cell, r, l, e - k);
		if (got >= need)
			return (e - k + RING_WORDS) * r->sub_ns;
	}
	return (e + RING_WORDS) * r->sub_ns;
}

uint64_t
cell_fits(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct look *l,
    uint64_t cost)
{
	uint64_t ahead;

	if (cost > r->units || r->kind == RATION_CONCURRENT)
		return UINT64_MAX;
	if (l->used <= r->units - cost)
		return x->now_ns;
	switch (r->kind) {
	case RATION_SLIDING:
		return retry_sliding(x, cell, r, l, l->used - (r->units - cost));
	case RATION_BUCKET:
		/* tat + cost p - burst p, rounded up */
		ahead = (r->units - cost) * r->period16;
		return l->units > ahead ? (l->units - ahead + 15) / 16 : x->now_ns;
	default:
		return x->now_ns + (l->edge_ns - (uint64_t)x->unix_ns);
	}
}

uint64_t
rate_spread(const struct rate_def *r, uint64_t units256)
{
	uint64_t units = r->kind == RATION_BUCKET ? r->rate_units : r->units;
	unsigned __int128 ns;

	if (r->units == RATION_UNLIMITED || units == 0 || r->kind == RATION_CONCURRENT ||
	    r->kind == RATION_COUNT_ONLY)
		return 0;
	ns = (unsigned __int128)r->window_ns * units256 / 256 / units;
	return ns > SPREAD_MAX_NS ? SPREAD_MAX_NS : (uint64_t)ns;
}

uint64_t
cell_spread(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct look *l,
    uint64_t cost)
{
	uint64_t used = l->used + cost, have, gap = 0, e = l->epoch;

	if (r->kind != RATION_SLIDING || x->slot == NULL || used <= r->units / 2 || used > r->units)
		return 0;
	have = r->units - used + cost; /* until the next portion, the next call's included */
	for (uint64_t k = RING_WORDS; k-- > 0;) {
		uint64_t units = k > e ? 0 : sub_units(x, cell, r, l, e - k), at, ns;

		if (units == 0)
			continue;
		at = (e - k + RING_WORDS) * r->sub_ns;
		ns = at > x->now_ns ? at - x->now_ns : 0;
		ns = (uint64_t)((unsigned __int128)ns * cost / have);
		gap = ns > gap ? ns : gap;
		have += units;
	}
	return gap;
}

void
cell_retry(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct look *l,
    uint64_t cost, ration_rate_t *out)
{
	if (cost > r->units) {
		out->retry_at = RATION_NEVER;
		out->reason = r->units == 0 ? RATION_R_ZERO : RATION_R_COST;
		return;
	}
	switch (r->kind) {
	case RATION_SLIDING:
	case RATION_BUCKET:
		out->retry_at = shared_to_s(x, cell_fits(x, cell, r, l, cost));
		break;
	case RATION_CONCURRENT:
		/* When enough of those with a time to live have ended. */
		out->retry_at = l->next != 0 ? shared_to_s(x, l->next) : RATION_NEVER;
		out->reason = l->next != 0 ? RATION_R_NONE : RATION_R_RELEASE;
		break;
	default:
		out->retry_at = (int64_t)(l->edge_ns / (uint64_t)NS_S);
		break;
	}
}
