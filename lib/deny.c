/*
 * deny.c - a call that is refused: by which claim, counted how, and until when.
 */
#include "call_step.h"

#include "atomics.h"
#include "queue.h"
#include "slot.h"

void
call_denied(const struct call *c, const struct item *it)
{
	if (it->at.slot == NO_SLOT)
		word_count(&c->seg->limits[it->limit_id].denied_nokey, 1);
	else
		slot_denied(segment_slot(c->seg, it->at.slot), it->at.birth);
}

static void
count_denied(const struct call *c, const struct item *it)
{
	if (c->charge && !c->queued)
		call_denied(c, it);
}

void
call_after(const struct call *c, const struct item *it, unsigned n)
{
	uint64_t gap = 0;

	for (unsigned i = 0; i < it->rules.nrates; i++) {
		uint64_t ns = rate_spread(&it->rules.rates[i], it->cost * 256);

		gap = ns > gap ? ns : gap;
	}
	for (unsigned i = it->first; i < c->d->nrates && c->d->rates[i].claim == it->index; i++) {
		ration_rate_t *out = &c->d->rates[i];
		int64_t now = c->ctx.unix_ns, at;

		at = out->retry_at * NS_S > now ? out->retry_at * NS_S : now;
		at = (at + (int64_t)(gap * n) + NS_S - 1) / NS_S;
		if (out->kind == RATION_CONCURRENT)
			out->retry_at = RATION_NEVER;
		else if (out->retry_at != RATION_NEVER)
			out->retry_at = at > c->d->now ? at : c->d->now + 1;
		out->reason = RATION_R_QUEUE;
	}
}

/* A limit with a strict queue: who waits goes before this call. */
bool
call_queue_first(struct call *c, const struct item *it)
{
	unsigned n;

	if ((it->limit.flags & LIMIT_STRICT) == 0 || c->queued || it->cost == 0 ||
	    it->at.slot == NO_SLOT || it->rules.mode != MODE_ENFORCE || it->force)
		return false;
	n = queue_waiting(c->seg, it->at.slot, it->at.birth,
	    clock_monotonic(&c->handle->clock) / UINT64_C(1000000));
	if (n == 0)
		return false;
	call_after(c, it, n);
	return true;
}

/* Each claim that refuses is counted, at most once. */
int
call_deny(struct call *c)
{
	ration_decision_t *d = c->d;

	for (size_t k = 0; k < c->n; k++) {
		const struct item *it = &c->items[k];
		unsigned end = k + 1 < c->n ? c->items[k + 1].first : d->nrates;

		for (unsigned i = it->first; i < end; i++)
			if (d->rates[i].retry_at != 0) {
				count_denied(c, it);
				break;
			}
	}
	decision_retries(c);
	decision_finish(d, RATION_DENIED, c);
	return RATION_DENIED;
}

/* Refused for another reason than a rate: full table, unlisted key. */
int
call_deny_key(struct call *c, const struct item *it, uint8_t reason)
{
	count_denied(c, it);
	decision_finish(c->d, RATION_DENIED, c);
	c->d->claim = it->index;
	c->d->cost = it->cost;
	c->d->retry_at = RATION_NEVER;
	c->d->retry_after = 0;
	c->d->reason = reason;
	return RATION_DENIED;
}
