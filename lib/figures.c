/*
 * figures.c - what a rate shows: used, remaining, reset; and when a retry would fit.
 */
#include "cell.h"

#include <string.h>

#include "call.h"
#include "words.h"

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
cell_retry(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct look *l,
    uint64_t cost, ration_rate_t *out)
{
	uint64_t ahead;

	if (cost > r->units) {
		out->retry_at = RATION_NEVER;
		out->reason = r->units == 0 ? RATION_R_ZERO : RATION_R_COST;
		return;
	}
	switch (r->kind) {
	case RATION_SLIDING:
		out->retry_at =
		    shared_to_s(x, retry_sliding(x, cell, r, l, l->used - (r->units - cost)));
		break;
	case RATION_BUCKET:
		/* tat + cost p - burst p, rounded up */
		ahead = (r->units - cost) * r->period16;
		out->retry_at =
		    shared_to_s(x, l->units > ahead ? (l->units - ahead + 15) / 16 : x->now_ns);
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
