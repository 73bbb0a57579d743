/*
 * deny.c - a call that is refused: by which claim, counted how, and until when.
 */
#include "call_step.h"

#include <string.h>

#include "atomics.h"
#include "denials.h"
#include "queue.h"
#include "slot.h"

static void
count_denied(const struct call *c, const struct item *it)
{
	if (it->at.slot == NO_SLOT)
		word_count(&c->seg->limits[it->limit_id].denied_nokey, 1);
	else
		slot_denied(segment_slot(c->seg, it->at.slot), it->at.birth);
}

/* Of two rates that refuse, the one with the later retry; of two in mode observe, the longer. */
static bool
worse(const struct item *it, const ration_rate_t *a, const ration_rate_t *b)
{
	if (it->observed) {
		bool over = a->used + it->before + it->cost > a->limit_units;

		return over &&
		    (b->used + it->before + it->cost <= b->limit_units ||
			a->window_ns > b->window_ns);
	}
	if (b->retry_at == RATION_NEVER)
		return false;
	return a->retry_at == RATION_NEVER || a->retry_at > b->retry_at;
}

/* The rate that refuses the item: wherever it stands in the decision by now. */
static const ration_rate_t *
refusing(const struct call *c, const struct item *it)
{
	const ration_rate_t *found = NULL;

	for (unsigned i = 0; i < c->d->nrates; i++) {
		const ration_rate_t *r = &c->d->rates[i];

		if (r->claim == it->index && (found == NULL || worse(it, r, found)))
			found = r;
	}
	return found != NULL ? found : &c->d->rates[0];
}

static void __attribute__((noinline)) note(const struct call *c, const struct item *it)
{
	const ration_rate_t *r = refusing(c, it);
	struct denial n = {
		.shared_ns = c->ctx.now_ns,
		.unix_ns = c->ctx.unix_ns,
		.limit_units = r->limit_units,
		.rate_units = r->rate_units,
		.window_ns = r->window_ns,
		.used = r->used,
		.cost = it->cost,
		.retry_at = r->retry_at,
		.policy_version = c->policy.version,
		.limit_id = (uint16_t)it->limit_id,
		.key_len = (uint8_t)it->id.key_len,
		.kind = r->kind,
		.reason = r->reason,
		.mode = it->observed ? MODE_OBSERVE : MODE_ENFORCE,
		.claims = (uint8_t)c->n,
	};

	if (it->at.slot == NO_SLOT) {
		n.flags = DENIAL_NOSLOT;
	} else {
		n.slot = (uint32_t)it->at.slot;
		n.birth = (uint32_t)it->at.birth;
	}
	memcpy(n.key, it->id.key, it->id.key_len);
	denials_put(c->handle, c->seg, &n);
}

void
call_noted(const struct call *c, const struct item *it)
{
	uint64_t which = it->at.slot != NO_SLOT ? it->at.slot : DENIALS_NOSLOT(it->id.hash);

	if (denials_due(c->handle, which, c->ctx.now_ns) &&
	    denials_claim(c->handle, which, c->ctx.now_ns))
		note(c, it);
}

void
call_denied(const struct call *c, const struct item *it)
{
	count_denied(c, it);
	call_noted(c, it);
}

/* A peek is no denial, and who waits is not denied yet. */
static bool
is_final(const struct call *c)
{
	return c->charge && !c->queued;
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
	unsigned refused = 0;

	for (size_t k = 0; k < c->n; k++) {
		const struct item *it = &c->items[k];
		unsigned end = k + 1 < c->n ? c->items[k + 1].first : d->nrates;

		for (unsigned i = it->first; i < end; i++)
			if (d->rates[i].retry_at != 0) {
				refused |= 1u << k;
				break;
			}
	}
	decision_retries(c);
	for (size_t k = 0; k < c->n && is_final(c); k++)
		if ((refused >> k & 1) != 0)
			call_denied(c, &c->items[k]);
	decision_finish(d, RATION_DENIED, c);
	return RATION_DENIED;
}

/* Refused for another reason than a rate: full table, unlisted key. */
int
call_deny_key(struct call *c, const struct item *it, uint8_t reason)
{
	decision_finish(c->d, RATION_DENIED, c);
	c->d->claim = it->index;
	c->d->cost = it->cost;
	c->d->retry_at = RATION_NEVER;
	c->d->retry_after = 0;
	c->d->reason = reason;
	if (is_final(c))
		call_denied(c, it);
	return RATION_DENIED;
}
