/*
 * call.c - a call from its claims to its decision; the steps are told in call.h.
 */
#include "call.h"

#include <string.h>

#include "atomics.h"
#include "call_step.h"
#include "notes.h"
#include "queue.h"
#include "slot.h"

void
call_time(struct call *c)
{
	const struct policy_head *p = c->seg->policy;

	c->ctx.now_ns =
	    c->precise ? clock_precise(&c->handle->clock, p) : clock_coarse(&c->handle->clock, p);
	c->ctx.unix_ns = clock_unix(p, c->ctx.now_ns);
	c->ctx.precise = c->precise;
}

void
call_use(struct call *c, const struct item *it)
{
	c->ctx.slot = it->at.slot == NO_SLOT ? NULL : segment_slot(c->seg, it->at.slot);
	c->ctx.birth = it->at.birth;
}

/* ---- looking ---- */

enum step
call_after_look(struct call *c, struct item *it, enum look_result r)
{
	switch (r) {
	case LOOK_CLOCK:
		return STEP_PRECISE;
	case LOOK_GONE:
		if (!table_rescue(c->seg, it->at.slot, it->at.birth))
			it->at.slot = NO_SLOT;
		return STEP_PRECISE;
	case LOOK_AGAIN:
		return STEP_RETRY;
	default:
		return STEP_ON;
	}
}

enum look_result
call_look_rate(struct call *c, struct item *it, unsigned i, uint64_t cost)
{
	const struct rate_def *r = &it->rules.rates[i];
	struct look *l = &it->looks[i];
	enum look_result res;

	if (it->lease && c->ctx.slot != NULL)
		return call_look_lease(c, it);
	if (c->ctx.slot != NULL && i < c->seg->cells) {
		for (unsigned tries = 0; tries < 8; tries++) {
			res = cell_look(&c->ctx, i, r, cost + it->before, l);
			if (res != LOOK_AGAIN)
				return res;
		}
		return res;
	}
	look_empty(&c->ctx, r, l);
	return r->units != RATION_UNLIMITED && cost + it->before > r->units ? LOOK_DENIES
									    : LOOK_FITS;
}

/* Look at all rates of an item.  *refused: one of them denies. */
static enum step
look_item(struct call *c, struct item *it, bool *refused)
{
	ration_decision_t *d = c->d;

	call_use(c, it);
	it->first = (uint8_t)d->nrates;
	it->charged = c->charge && it->cost != 0 && it->rules.nrates != 0;
	if (it->rules.mode == MODE_OFF) {
		it->charged = false;
		d->flags |= RATION_F_OFF;
		return STEP_ON;
	}
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		enum look_result r = call_look_rate(c, it, i, it->cost);
		enum step s = call_after_look(c, it, r);
		ration_rate_t *out = &d->rates[d->nrates];

		if (s != STEP_ON)
			return s;
		if (d->nrates >= RATION_DECISION_RATES)
			return STEP_ON;
		cell_report(&c->ctx, &it->rules.rates[i], &it->looks[i], it->before, out);
		out->claim = it->index;
		if (r == LOOK_DENIES && !it->force) {
			cell_retry(&c->ctx, i, &it->rules.rates[i], &it->looks[i],
			    it->cost + it->before, out);
			*refused = true;
		}
		d->nrates++;
	}
	return STEP_ON;
}

/* ---- charging ---- */

static void
give_back(struct call *c)
{
	ration_decision_t *d = c->d;

	for (unsigned i = d->nreceipts; i-- > 0;) {
		const ration_receipt_t *rc = &d->receipts[i];

		c->ctx.slot = segment_slot(c->seg, rc->slot);
		c->ctx.birth = rc->birth;
		(void)cell_refund(&c->ctx, rc, rc->units, true);
	}
	d->nreceipts = 0;
}

static enum step
charge_item(struct call *c, struct item *it)
{
	ration_decision_t *d = c->d;

	if (it->lease)
		return call_charge_lease(c, it);
	call_use(c, it);
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		const struct rate_def *r = &it->rules.rates[i];
		struct look *l = &it->looks[i];
		uint64_t cost = it->cost;
		unsigned tries;

		for (tries = 0; tries < TRIES_MAX; tries++) {
			enum look_result res;
			enum step s;

			if (tries != 0 || it->before != 0) {
				/* Lost to somebody: the clock again, then look again. */
				c->precise = true;
				call_time(c);
				res = cell_look(&c->ctx, i, r, it->cost, l);
				s = call_after_look(c, it, res);
				if (s == STEP_RETRY)
					continue;
				if (s != STEP_ON)
					return s;
				if (res == LOOK_DENIES && !it->force)
					return STEP_PRECISE;
			}
			if (it->force)
				cost = cell_force(&c->ctx, r, it->cost, l);
			if (cell_charge(&c->ctx, i, r, cost, l))
				break;
			if (STATE_ST(word_load(&c->ctx.slot[SLOT_STATE])) == ST_RETIRING)
				(void)table_rescue(c->seg, it->at.slot, it->at.birth);
		}
		if (tries == TRIES_MAX)
			return STEP_PRECISE;
		cell_receipt(&c->ctx, i, it->at.slot, cost, r, l, &d->receipts[d->nreceipts]);
		if (it->fixed)
			d->receipts[d->nreceipts].where |= WHERE_FIXED;
		d->nreceipts++;
		if (it->first + i < d->nrates) {
			cell_report(&c->ctx, r, l, cost, &d->rates[it->first + i]);
			d->rates[it->first + i].claim = it->index;
		}
	}
	return STEP_ON;
}

/* Global order: by slot. */
static void
order_of(const struct call *c, uint8_t order[RATION_CLAIMS_MAX])
{
	for (uint8_t i = 0; i < c->n; i++) {
		uint8_t k = i;

		for (; k > 0 && c->items[order[k - 1]].at.slot > c->items[i].at.slot; k--)
			order[k] = order[k - 1];
		order[k] = i;
	}
}

static enum step
charge_all(struct call *c)
{
	uint8_t order[RATION_CLAIMS_MAX] = { 0 };

	if (c->n == 1)
		return c->items[0].charged ? charge_item(c, &c->items[0]) : STEP_ON;
	order_of(c, order);
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[order[k]];
		enum step s;

		if (!it->charged)
			continue;
		s = charge_item(c, it);
		if (s != STEP_ON)
			return s;
	}
	return STEP_ON;
}

/* ---- the call ---- */

/* Mode observe: would it have denied?  Then the item is admitted uncharged. */
static bool
observed(struct call *c, struct item *it)
{
	if (it->rules.mode != MODE_OBSERVE)
		return false;
	it->charged = false;
	for (unsigned i = it->first; i < c->d->nrates; i++)
		c->d->rates[i].retry_at = 0;
	c->d->flags |= RATION_F_OBSERVED;
	it->observed = true;
	return true;
}

/* Once a call, however often it had to look. */
static void
count_observed(const struct call *c)
{
	for (size_t k = 0; k < c->n && c->charge; k++)
		if (c->items[k].observed) {
			word_count(&c->seg->limits[c->items[k].limit_id].observed, 1);
			call_noted(c, &c->items[k]);
		}
}

static void
costs_before(struct call *c, size_t k)
{
	struct item *it = &c->items[k];

	it->before = 0;
	for (size_t i = 0; i < k; i++) {
		const struct item *o = &c->items[i];

		if (o->id.hash == it->id.hash && o->limit_id == it->limit_id &&
		    o->id.key_len == it->id.key_len &&
		    memcmp(o->id.key, it->id.key, it->id.key_len) == 0)
			it->before += o->cost;
	}
}

/*
 * Step 1.  False: *result says why not.  *exempt: somebody of whom nothing is asked is among
 * the keys, and then nothing is asked of the call, whatever the others' limits say.
 */
static bool
find_all(struct call *c, int *result, bool *exempt)
{
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];

		it->observed = false;
		*result = call_find(c, it);
		if (*result == 0 && !call_resolve(c, it))
			*result = RATION_ENOLIMIT;
		if (*result == 0) {
			it->lease = call_takes_lease(it);
			*result = call_check_kind(c, it);
		}
		if (*result != 0)
			return false;
		c->d->limit_id[k] = it->limit_id;
		*exempt |= (it->rules.flags & RULESET_EXEMPT) != 0;
	}
	return true;
}

/* One attempt.  *result is set unless STEP_RETRY or STEP_PRECISE comes back. */
static enum step
attempt(struct call *c, int *result)
{
	bool denied = false, exempt = false;
	ration_decision_t *d = c->d;

	if (!policy_current(c->seg->policy, &c->policy)) {
		*result = RATION_EDETACHED;
		return STEP_ON;
	}
	call_time(c);
	decision_start(d, c);
	if (!find_all(c, result, &exempt))
		return policy_intact(&c->policy) ? STEP_ON : STEP_RETRY;
	if (exempt) {
		d->flags |= RATION_F_EXEMPT;
		decision_finish(d, RATION_ADMITTED, c);
		*result = RATION_ADMITTED;
		return policy_intact(&c->policy) ? STEP_ON : STEP_RETRY;
	}
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		bool refused = false;
		enum step s;

		if ((it->limit.flags & LIMIT_UNLISTED_REFUSE) != 0 && !it->listed &&
		    it->rules.mode == MODE_ENFORCE) {
			if (!policy_intact(&c->policy))
				return STEP_RETRY;
			*result = call_deny_key(c, it, RATION_R_UNLISTED);
			return STEP_DENY;
		}
		if (k > 0)
			costs_before(c, k);
		if (d->nrates + it->rules.nrates > RATION_DECISION_RATES) {
			*result = RATION_EINVAL;
			return policy_intact(&c->policy) ? STEP_ON : STEP_RETRY;
		}
		s = look_item(c, it, &refused);
		if (s != STEP_ON)
			return s;
		denied |= refused && !observed(c, it);
		denied |= call_queue_first(c, it);
	}
	if (!policy_intact(&c->policy))
		return STEP_RETRY;
	if (denied) {
		if (!c->precise)
			return STEP_PRECISE;
		if (call_take_from_dead(c))
			return STEP_RETRY;
		*result = call_deny(c);
		return STEP_DENY;
	}
	if (!c->charge && call_peek_full(c, result))
		return STEP_DENY;
	if (c->charge) {
		enum step s;

		*result = call_know_holder(c);
		if (*result != 0)
			return STEP_ON;
		s = call_add_missing(c, result);
		if (s == STEP_ON)
			s = charge_all(c);
		if (s != STEP_ON) {
			give_back(c);
			return s == STEP_RETRY ? STEP_PRECISE : s;
		}
		call_count_leases(c);
		notes_call(c);
	}
	decision_finish(d, RATION_ADMITTED, c);
	*result = RATION_ADMITTED;
	return STEP_ON;
}

int
call_run(struct call *c)
{
	int result = RATION_EBUSY;

	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		switch (attempt(c, &result)) {
		case STEP_PRECISE:
			c->precise = true;
			continue;
		case STEP_RETRY:
			continue;
		default:
			if (result >= 0)
				count_observed(c);
			return result;
		}
	}
	word_count(&c->seg->head->retries_out, 1);
	return RATION_EBUSY;
}

int
call_begin(struct call *c, ration_t *r, bool charge, ration_decision_t *d)
{
	const struct segment *seg;

	c->n = 0;
	if (r == NULL || (d != NULL && d->size != sizeof(*d)))
		return RATION_EINVAL;
	seg = handle_current(r);
	c->seg = seg;
	if (seg == NULL)
		return decision_degraded(r, d);
	c->handle = r;
	c->d = d;
	if (d == NULL) {
		c->own.size = sizeof(c->own);
		c->d = &c->own;
	}
	c->charge = charge;
	c->precise = false;
	c->queued = false;
	c->units = false;
	c->reaped = false;
	c->ctx.seg = seg;
	c->ctx.policy = &c->policy;
	c->ctx.writable = true;
	c->ahead = 0;
	c->ctx.ahead = &c->ahead;
	return 0;
}

struct item *
call_claim(struct call *c, const char *limit, size_t limit_len, uint32_t limit_id, const void *key,
    size_t key_len, uint64_t cost)
{
	struct item *it = &c->items[c->n];

	it->id.limit = limit;
	it->id.limit_len = limit_len;
	it->id.key = key;
	it->id.key_len = key_len;
	it->id.chunk = 0;
	it->cost = cost;
	it->before = 0;
	it->at.slot = NO_SLOT;
	it->limit_id = limit_id;
	it->listed = false;
	it->fixed = false;
	it->force = false;
	it->only = false;
	it->want = (struct lease_want) { .kept = false };
	it->permit.slot = NO_SLOT;
	it->index = (uint8_t)c->n;
	ident_hash(c->seg, &it->id);
	/* Several keys: their lines are asked for together. */
	if (c->n == 1)
		table_prefetch(c->seg, c->items[0].id.hash);
	if (c->n >= 1)
		table_prefetch(c->seg, it->id.hash);
	c->n++;
	return it;
}

static int
decide(ration_t *r, const ration_claim_t *claims, size_t n, bool charge, bool units,
    ration_decision_t *d)
{
	struct call c;
	int e;

	if (r == NULL || claims == NULL || n == 0 || n > RATION_CLAIMS_MAX)
		return RATION_EINVAL;
	for (size_t k = 0; k < n; k++) {
		const ration_claim_t *cl = &claims[k];

		if (cl->size != sizeof(*cl) || cl->limit == NULL || cl->key == NULL)
			return RATION_EINVAL;
		if (cl->key_len == 0 || cl->key_len > RATION_KEY_MAX)
			return RATION_EKEY;
		if (cl->cost > RATION_COST_MAX)
			return RATION_ECOST;
	}
	e = call_begin(&c, r, charge, d);
	if (e != 0)
		return e;
	c.units = units;
	for (size_t k = 0; k < n; k++)
		(void)call_claim(&c, claims[k].limit, strlen(claims[k].limit), NO_ID, claims[k].key,
		    claims[k].key_len, claims[k].cost);
	return call_run(&c);
}

int
call_units(ration_t *r, const ration_claim_t *claim, ration_decision_t *d)
{
	return decide(r, claim, 1, true, true, d);
}

int
call_decide(ration_t *r, const ration_claim_t *claims, size_t n, bool charge, ration_decision_t *d)
{
	return decide(r, claims, n, charge, false, d);
}
