/*
 * decision.c - the answer of a call, from the figures of its rates.
 */
#include "call.h"

#include <string.h>

#include "answer.h"
#include "atomics.h"

#define NS_S INT64_C(1000000000)

static void
decision_blank(ration_decision_t *d)
{
	memset(&d->rates[0], 0, sizeof(d->rates[0]));
	d->limit_units = RATION_UNLIMITED;
	d->rate_units = RATION_UNLIMITED;
	d->remaining = RATION_UNLIMITED;
}

void
decision_start(ration_decision_t *d, const struct call *c)
{
	d->verdict = RATION_DENIED;
	d->flags = 0;
	d->nrates = 0;
	d->nreceipts = 0;
	d->cost = 0;
	d->now = c->ctx.unix_ns / NS_S;
	d->retry_after = 0;
	d->policy_version = c->policy.version;
	d->segment_id = c->seg->id;
	decision_blank(d);
}

/* Is a refused rate a worse one than b?  Never is later than any time. */
static bool
later(const ration_rate_t *a, const ration_rate_t *b)
{
	if (b->retry_at == RATION_NEVER)
		return false;
	return a->retry_at == RATION_NEVER || a->retry_at > b->retry_at;
}

/* Where the rate comes from, for the text of a denial. */
static uint32_t
hint_of(const ration_rate_t *r, unsigned rate, const struct call *c)
{
	const struct item *it = &c->items[r->claim];
	unsigned i = rate - it->first;

	return ANSWER_HINT(it->rules.plan, i < it->rules.nrates ? it->rules.rates[i].zone : 0);
}

void
decision_finish(ration_decision_t *d, int verdict, const struct call *c)
{
	unsigned lead = 0;

	for (unsigned i = 0; verdict == RATION_DENIED && i < d->nrates; i++)
		d->rates[i].reserved = hint_of(&d->rates[i], i, c);
	d->verdict = verdict;
	for (unsigned i = 0; i < d->nrates; i++) {
		const ration_rate_t *r = &d->rates[i], *l = &d->rates[lead];

		if (r->used > r->limit_units)
			d->flags |= RATION_F_DEBT;
		if (verdict == RATION_DENIED ? later(r, l) : r->remaining < l->remaining)
			lead = i;
	}
	if (d->nrates == 0)
		return;
	if (lead != 0) {
		ration_rate_t first = d->rates[0];

		d->rates[0] = d->rates[lead];
		d->rates[lead] = first;
	}
	d->cost = c->items[d->claim].cost;
	if (verdict == RATION_DENIED && (d->kind == RATION_DAY || d->kind == RATION_MONTH) &&
	    d->retry_at > 0)
		d->flags |= RATION_F_PAUSED;
	if (verdict == RATION_DENIED && d->retry_at > d->now)
		d->retry_after = (uint32_t)(d->retry_at - d->now < UINT32_MAX ? d->retry_at - d->now
									      : UINT32_MAX);
}

int
decision_degraded(struct ration *r, ration_decision_t *d)
{
	if ((r->flags & RATION_FAIL_OPEN) == 0)
		return RATION_EDETACHED;
	(void)atomic_fetch_add_explicit(&r->degraded, 1, memory_order_relaxed);
	if (d != NULL) {
		memset(d, 0, offsetof(ration_decision_t, rates));
		d->size = sizeof(*d);
		d->verdict = RATION_ADMITTED;
		d->flags = RATION_F_DEGRADED;
		decision_blank(d);
	}
	return RATION_ADMITTED;
}

uint8_t
decision_level(uint64_t used, uint64_t limit)
{
	static const uint8_t levels[] = { 100, 95, 80, 60 };

	for (unsigned i = 0; i < sizeof(levels); i++)
		if ((unsigned __int128)used * 100 >= (unsigned __int128)limit * levels[i])
			return levels[i];
	return 0;
}

/* ---- overrides that end ---- */

/*
 * When rate i would fit under the ruleset that follows at `until`: with the same window, from
 * the same words; with another one, what is used is carried over at that moment and has
 * come back a whole new window (and its grain) later.
 */
static void
retry_after_end(struct call *c, const struct item *it, unsigned i, const struct ruleset *next,
    ration_rate_t *out)
{
	const struct rate_def *r = &next->rates[i];
	const struct look *l = &it->looks[i];
	uint64_t cost = it->cost + it->before, s = r->window_ns / (uint64_t)NS_S;

	out->retry_at = it->rules.until;
	out->reason = RATION_R_NONE;
	if (next->mode != MODE_ENFORCE || i >= next->nrates || r->units == RATION_UNLIMITED)
		return;
	if (cost > r->units) {
		out->retry_at = RATION_NEVER;
		out->reason = r->units == 0 ? RATION_R_ZERO : RATION_R_COST;
		return;
	}
	if (l->used <= r->units - cost)
		return;
	if (r->kind == RATION_CONCURRENT && (l->next == 0 || r->units < it->rules.rates[i].units)) {
		/* What was found is when there are as few as may be now. */
		out->retry_at = RATION_NEVER;
		out->reason = RATION_R_RELEASE;
		return;
	}
	if (r->shape == it->rules.rates[i].shape)
		cell_retry(&c->ctx, i, r, l, cost, out);
	else
		out->retry_at += (int64_t)(s + s / 15 + 2);
	if (out->retry_at < it->rules.until)
		out->retry_at = it->rules.until;
}

/*
 * An override may end before the retry: then what follows decides, for the rates that
 * refuse now and for those that will.
 */
void
decision_retries(struct call *c)
{
	ration_decision_t *d = c->d;
	int64_t latest = 0;

	for (unsigned i = 0; i < d->nrates; i++)
		if (d->rates[i].retry_at == RATION_NEVER)
			latest = INT64_MAX;
		else if (d->rates[i].retry_at > latest)
			latest = d->rates[i].retry_at;
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		struct ruleset next;

		if (it->rules.until > latest || it->rules.until == POLICY_ENDLESS ||
		    it->rules.mode != MODE_ENFORCE ||
		    !policy_ruleset(&c->policy, it->rules.next, &next))
			continue;
		call_use(c, it);
		for (unsigned i = 0; i < it->rules.nrates && it->first + i < d->nrates; i++) {
			ration_rate_t *out = &d->rates[it->first + i], then = *out;
			bool late =
			    out->retry_at == RATION_NEVER || out->retry_at > it->rules.until;

			retry_after_end(c, it, i, &next, &then);
			/* Fits now, but would not once the override has ended. */
			if (late || (out->retry_at == 0 && then.retry_at != it->rules.until)) {
				out->retry_at = then.retry_at;
				out->reason = then.reason;
			}
		}
	}
}
