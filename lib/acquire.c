/*
 * acquire.c - a call: one or more claims, all or nothing.
 *
 * The order of things is the same for every call:
 *   1. find each key that exists (all lines asked for first)
 *   2. look at every rate of every claim; one that refuses ends the call here, with
 *	nothing charged and nothing added; before that the precise clock is read
 *   3. add the keys that do not exist yet
 *   4. charge, in the order of the slots: a refusal now (somebody was faster) gives back
 *	what was charged and starts again
 * Calls over several claims reserve in one global order, so of two that meet one
 * gets everywhere first; nobody waits.
 *
 * The short way (try_plain) is the same for the commonest call: one key that exists, one
 * sliding rate, enforced, well below its limit, in a sub-window already begun.  It loads the
 * policy word (twice), state, resolved, conv, cache and one ring word: two lines of the
 * slot; reads the coarse clock; does one CAS.  Whatever is not as it expects goes the
 * long way.
 */
#include "ration.h"

#include <string.h>

#include "atomics.h"
#include "cell.h"
#include "handle.h"
#include "slot.h"

#define NS_S INT64_C(1000000000)
#define TRIES_MAX 256u
#define NO_ID UINT32_MAX

struct item {
	struct ident id;
	uint64_t cost;
	uint64_t before; /* costs of earlier claims on the same key */
	struct found at;
	struct ruleset rules;
	struct limit_def limit;
	uint32_t limit_id;
	uint32_t ruleset;
	bool listed;
	uint8_t index; /* of the claim */
	uint8_t first; /* of its rates in the decision */
	struct look looks[RATION_RATES_MAX];
};

struct call {
	struct ration *handle;
	const struct segment *seg;
	struct policy_ref policy;
	struct cell_ctx ctx;
	ration_decision_t *d;
	size_t n;
	bool charge;  /* false: peek */
	bool precise;
	uint64_t ahead; /* for ctx.ahead */
	struct item items[RATION_CLAIMS_MAX];
};

enum step { STEP_ON, STEP_DENY, STEP_RETRY, STEP_PRECISE };

/* ---- the decision ---- */

static void
decision_start(ration_decision_t *d, const struct call *c)
{
	d->flags = 0;
	d->nrates = 0;
	d->nreceipts = 0;
	d->decided_by = UINT16_MAX;
	d->cost = 0;
	d->limit_units = RATION_UNLIMITED;
	d->used = 0;
	d->remaining = RATION_UNLIMITED;
	d->window_ns = 0;
	d->now = c->ctx.unix_ns / NS_S;
	d->reset_at = d->now;
	d->retry_at = 0;
	d->retry_after = 0;
	d->level = 0;
	d->reason = RATION_R_NONE;
	d->claim = 0;
	d->policy_version = c->policy.version;
	d->segment_id = c->seg->id;
}

static void
decision_lead(ration_decision_t *d, unsigned i, uint64_t cost)
{
	const ration_rate_t *r = &d->rates[i];

	d->decided_by = (uint16_t)i;
	d->cost = cost;
	d->limit_units = r->limit_units;
	d->used = r->used;
	d->remaining = r->remaining;
	d->window_ns = r->window_ns;
	d->reset_at = r->reset_at;
	d->claim = r->claim;
}

/* Is a refused rate a worse one than b?  Never is later than any time. */
static bool
later(const ration_rate_t *a, const ration_rate_t *b)
{
	if (b->retry_at == RATION_NEVER)
		return false;
	return a->retry_at == RATION_NEVER || a->retry_at > b->retry_at;
}

/* The rate that leads, and what holds over all of them. */
static void
decision_finish(ration_decision_t *d, int verdict, const struct item *items)
{
	unsigned lead = 0;

	d->verdict = verdict;
	for (unsigned i = 0; i < d->nrates; i++) {
		const ration_rate_t *r = &d->rates[i], *l = &d->rates[lead];

		if (r->level > d->level)
			d->level = r->level;
		if (r->used > r->limit_units)
			d->flags |= RATION_F_DEBT;
		if (verdict == RATION_DENIED ? later(r, l)
					     : r->remaining < l->remaining)
			lead = i;
	}
	if (d->nrates != 0)
		decision_lead(d, lead, items[d->rates[lead].claim].cost);
	if (verdict == RATION_DENIED && d->nrates != 0) {
		d->retry_at = d->rates[lead].retry_at;
		d->reason = d->rates[lead].reason;
		if (d->retry_at > d->now)
			d->retry_after = (uint32_t)(d->retry_at - d->now);
	}
}

static int
degraded(struct ration *r, ration_decision_t *d)
{
	if ((r->flags & RATION_FAIL_OPEN) == 0)
		return RATION_EDETACHED;
	(void)atomic_fetch_add_explicit(&r->degraded, 1, memory_order_relaxed);
	if (d != NULL) {
		memset(d, 0, offsetof(ration_decision_t, rates));
		d->size = sizeof(*d);
		d->verdict = RATION_ADMITTED;
		d->flags = RATION_F_DEGRADED;
		d->decided_by = UINT16_MAX;
		d->limit_units = RATION_UNLIMITED;
		d->remaining = RATION_UNLIMITED;
	}
	return RATION_ADMITTED;
}

/* ---- finding and resolving ---- */

static void
time_now(struct call *c)
{
	const struct policy_head *p = c->seg->policy;

	c->ctx.now_ns = c->precise ? clock_precise(&c->handle->clock, p)
				   : clock_coarse(&c->handle->clock, p);
	c->ctx.unix_ns = clock_unix(p, c->ctx.now_ns);
	c->ctx.precise = c->precise;
}

static void
use_item(struct call *c, const struct item *it)
{
	c->ctx.slot = it->at.slot == NO_SLOT ? NULL : segment_slot(c->seg, it->at.slot);
	c->ctx.birth = it->at.birth;
}

/* The ruleset of a key by the policy, past overrides that have ended. */
static bool
follow(struct call *c, struct item *it, int64_t index, int64_t now_s)
{
	for (unsigned hop = 0; hop < 8; hop++) {
		if (index < 0 || !policy_ruleset(&c->policy, (uint32_t)index, &it->rules))
			return false;
		if (now_s < it->rules.until || it->rules.until == POLICY_ENDLESS)
			return true;
		index = it->rules.next;
	}
	return true;
}

/* SLOT_RESOLVED if it is of this version, else the policy; remembered in the slot. */
static bool
resolve(struct call *c, struct item *it)
{
	word_t *p = NULL;
	uint64_t w = 0;
	int64_t index;

	if (it->at.slot != NO_SLOT) {
		p = &segment_slot(c->seg, it->at.slot)[SLOT_RESOLVED];
		w = word_load(p);
	}
	/* `listed` matters only to limits that refuse strangers: those are looked up. */
	if (p != NULL && w >> 32 == c->policy.version
	    && (it->limit.flags & LIMIT_UNLISTED_REFUSE) == 0) {
		index = (int64_t)(w & UINT32_MAX);
		it->ruleset = (uint32_t)index;
		if (follow(c, it, index, c->ctx.unix_ns / NS_S)
		    && it->rules.limit == it->limit_id)
			return true;
		word_count(&c->seg->head->scribbles, 1);
	}
	index = policy_resolve(
	    &c->policy, it->limit_id, it->id.key, it->id.key_len, &it->listed);
	if (!follow(c, it, index, c->ctx.unix_ns / NS_S))
		return false;
	it->ruleset = (uint32_t)index;
	if (p != NULL && (w >> 32 != c->policy.version || (w & UINT32_MAX) != it->ruleset))
		(void)word_cas(p, w, RESOLVED_WORD(c->policy.version, it->ruleset));
	return true;
}

static int
find_item(struct call *c, struct item *it)
{
	int64_t id;

	if (it->limit_id == NO_ID || !policy_limit(&c->policy, it->limit_id, &it->limit)) {
		id = policy_limit_id(&c->policy, it->id.limit, it->id.limit_len);
		if (id < 0 || id >= LIMITS_MAX || !policy_limit(&c->policy, (uint32_t)id, &it->limit))
			return RATION_ENOLIMIT;
		it->limit_id = (uint32_t)id;
	}
	if ((it->limit.flags & LIMIT_GONE) != 0)
		return RATION_ENOLIMIT;
	if (it->at.slot == NO_SLOT)
		(void)table_find(c->seg, &it->id, it->limit_id, &it->at);
	return 0;
}

/* ---- looking ---- */

static enum step
after_look(struct call *c, struct item *it, enum look_result r)
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

static enum look_result
look_rate(struct call *c, struct item *it, unsigned i, uint64_t cost)
{
	const struct rate_def *r = &it->rules.rates[i];
	struct look *l = &it->looks[i];
	enum look_result res;

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

	use_item(c, it);
	it->first = (uint8_t)d->nrates;
	if (it->rules.mode == MODE_OFF) {
		d->flags |= RATION_F_OFF;
		return STEP_ON;
	}
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		enum look_result r = look_rate(c, it, i, it->cost);
		enum step s = after_look(c, it, r);
		ration_rate_t *out = &d->rates[d->nrates];

		if (s != STEP_ON)
			return s;
		if (d->nrates >= RATION_DECISION_RATES)
			return STEP_ON;
		cell_report(&c->ctx, &it->rules.rates[i], &it->looks[i], it->before, out);
		out->claim = it->index;
		if (r == LOOK_DENIES) {
			cell_retry(&c->ctx, i, &it->rules.rates[i], &it->looks[i],
			    it->cost + it->before, out);
			*refused = true;
		}
		d->nrates++;
	}
	return STEP_ON;
}

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
static void
retries_across_ends(struct call *c)
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

		if (it->rules.until > latest || it->rules.until == POLICY_ENDLESS
		    || it->rules.mode != MODE_ENFORCE
		    || !policy_ruleset(&c->policy, it->rules.next, &next))
			continue;
		use_item(c, it);
		for (unsigned i = 0; i < it->rules.nrates && it->first + i < d->nrates; i++) {
			ration_rate_t *out = &d->rates[it->first + i], then = *out;
			bool late = out->retry_at == RATION_NEVER
			    || out->retry_at > it->rules.until;

			retry_after_end(c, it, i, &next, &then);
			/* Fits now, but would not once the override has ended. */
			if (late || (out->retry_at == 0 && then.retry_at != it->rules.until)) {
				out->retry_at = then.retry_at;
				out->reason = then.reason;
			}
		}
	}
}

/* ---- denying ---- */

static void
count_denied(struct call *c, const struct item *it)
{
	if (!c->charge)
		return;
	if (it->at.slot == NO_SLOT)
		word_count(&c->seg->limits[it->limit_id].denied_nokey, 1);
	else
		word_count(&segment_slot(c->seg, it->at.slot)[SLOT_DENIED], DENIED_ONE);
}

/* Each claim that refuses is counted, at most once. */
static int
deny(struct call *c)
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
	retries_across_ends(c);
	decision_finish(d, RATION_DENIED, c->items);
	return RATION_DENIED;
}

/* Refused for another reason than a rate: full table, unlisted key. */
static int
deny_key(struct call *c, const struct item *it, uint8_t reason)
{
	count_denied(c, it);
	decision_finish(c->d, RATION_DENIED, c->items);
	c->d->claim = it->index;
	c->d->cost = it->cost;
	c->d->retry_at = RATION_NEVER;
	c->d->retry_after = 0;
	c->d->reason = reason;
	return RATION_DENIED;
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

	use_item(c, it);
	for (unsigned i = 0; i < it->rules.nrates; i++) {
		const struct rate_def *r = &it->rules.rates[i];
		struct look *l = &it->looks[i];
		unsigned tries;

		for (tries = 0; tries < TRIES_MAX; tries++) {
			enum look_result res;
			enum step s;

			if (tries != 0 || it->before != 0) {
				/* Lost to somebody: the clock again, then look again. */
				c->precise = true;
				time_now(c);
				res = cell_look(&c->ctx, i, r, it->cost, l);
				s = after_look(c, it, res);
				if (s == STEP_RETRY)
					continue;
				if (s != STEP_ON)
					return s;
				if (res == LOOK_DENIES)
					return STEP_PRECISE;
			}
			if (cell_charge(&c->ctx, i, r, it->cost, l))
				break;
			if (STATE_ST(word_load(&c->ctx.slot[SLOT_STATE])) == ST_RETIRING)
				(void)table_rescue(c->seg, it->at.slot, it->at.birth);
		}
		if (tries == TRIES_MAX)
			return STEP_PRECISE;
		cell_receipt(&c->ctx, i, it->at.slot, it->cost, r, l, &d->receipts[d->nreceipts++]);
		if (it->first + i < d->nrates) {
			cell_report(&c->ctx, r, l, it->cost, &d->rates[it->first + i]);
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
	uint8_t order[RATION_CLAIMS_MAX];

	if (c->n == 1)
		return c->items[0].rules.mode == MODE_OFF ? STEP_ON : charge_item(c, &c->items[0]);
	order_of(c, order);
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[order[k]];
		enum step s;

		if (it->rules.mode == MODE_OFF || it->at.slot == NO_SLOT)
			continue;
		s = charge_item(c, it);
		if (s != STEP_ON)
			return s;
	}
	return STEP_ON;
}

/* ---- adding ---- */

static int
add_item(struct call *c, struct item *it)
{
	uint32_t shapes[RATION_RATES_MAX];
	word_t *used = &c->seg->limits[it->limit_id].keys;
	int e = (int)RATION_R_FULL;

	for (unsigned i = 0; i < it->rules.nrates; i++)
		shapes[i] = it->rules.rates[i].shape;
	if (it->limit.max_keys == 0 || word_load(used) < it->limit.max_keys)
		e = table_add(c->seg, &it->id, it->limit_id,
		    RESOLVED_WORD(c->policy.version, it->ruleset), shapes, it->rules.nrates,
		    tick_of(c->ctx.now_ns), &it->at);
	if (e == 0)
		return 0;
	it->at.slot = NO_SLOT;
	word_count(&c->seg->limits[it->limit_id].full, 1);
	c->d->flags |= RATION_F_TABLE_FULL;
	if ((it->limit.flags & LIMIT_FULL_ADMIT) != 0) {
		word_count(&c->seg->head->full_admit, 1);
		return 0;
	}
	word_count(&c->seg->head->full_deny, 1);
	return e;
}

/* ---- the call ---- */

/* Mode observe: would it have denied?  Then the item is admitted uncharged. */
static bool
observed(struct call *c, struct item *it, bool refused)
{
	if (it->rules.mode != MODE_OBSERVE || !refused)
		return false;
	c->d->flags |= RATION_F_OBSERVED;
	if (c->charge)
		word_count(&c->seg->limits[it->limit_id].observed, 1);
	return true;
}

static void
costs_before(struct call *c, size_t k)
{
	struct item *it = &c->items[k];

	it->before = 0;
	for (size_t i = 0; i < k; i++) {
		const struct item *o = &c->items[i];

		if (o->id.hash == it->id.hash && o->limit_id == it->limit_id
		    && o->id.key_len == it->id.key_len
		    && memcmp(o->id.key, it->id.key, it->id.key_len) == 0)
			it->before += o->cost;
	}
}

/*
 * Step 3.  What is not to be charged gets mode off; a key just added is looked at, as
 * its slot may have been there after all.
 */
static enum step
add_missing(struct call *c, const bool *skip, int *result)
{
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		enum step s;

		if (skip[k] || it->cost == 0 || it->rules.nrates == 0) {
			it->rules.mode = MODE_OFF;
			continue;
		}
		if (it->rules.mode == MODE_OFF || it->at.slot != NO_SLOT)
			continue;
		if (add_item(c, it) != 0) {
			*result = deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
		if (it->at.slot == NO_SLOT) { /* when_full: admit */
			it->rules.mode = MODE_OFF;
			continue;
		}
		use_item(c, it);
		for (unsigned i = 0; i < it->rules.nrates; i++) {
			enum look_result r = look_rate(c, it, i, it->cost);

			s = after_look(c, it, r);
			if (s != STEP_ON || r == LOOK_DENIES)
				return s != STEP_ON ? s : STEP_PRECISE;
		}
	}
	return STEP_ON;
}

/* One attempt.  *result is set unless STEP_RETRY or STEP_PRECISE comes back. */
static enum step
attempt(struct call *c, int *result)
{
	bool skip[RATION_CLAIMS_MAX] = { false }, denied = false;
	ration_decision_t *d = c->d;

	if (!policy_current(c->seg->policy, &c->policy)) {
		*result = RATION_EDETACHED;
		return STEP_ON;
	}
	time_now(c);
	decision_start(d, c);
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		bool refused = false;
		enum step s;

		*result = find_item(c, it);
		if (*result == 0 && !resolve(c, it))
			*result = RATION_ENOLIMIT;
		if (*result != 0)
			return policy_intact(&c->policy) ? STEP_ON : STEP_RETRY;
		d->limit_id[k] = it->limit_id;
		if ((it->limit.flags & LIMIT_UNLISTED_REFUSE) != 0 && !it->listed
		    && it->rules.mode == MODE_ENFORCE) {
			*result = deny_key(c, it, RATION_R_UNLISTED);
			return STEP_DENY;
		}
		if (k > 0)
			costs_before(c, k);
		if (d->nrates + it->rules.nrates > RATION_DECISION_RATES) {
			*result = RATION_EINVAL;
			return STEP_ON;
		}
		s = look_item(c, it, &refused);
		if (s != STEP_ON)
			return s;
		skip[k] = observed(c, it, refused);
		if (skip[k])
			for (unsigned i = it->first; i < d->nrates; i++)
				d->rates[i].retry_at = 0;
		else
			denied |= refused;
	}
	if (!policy_intact(&c->policy))
		return STEP_RETRY;
	if (denied) {
		if (!c->precise)
			return STEP_PRECISE;
		*result = deny(c);
		return STEP_DENY;
	}
	if (c->charge) {
		enum step s = add_missing(c, skip, result);

		if (s == STEP_ON)
			s = charge_all(c);
		if (s != STEP_ON) {
			give_back(c);
			return s == STEP_RETRY ? STEP_PRECISE : s;
		}
	}
	decision_finish(d, RATION_ADMITTED, c->items);
	*result = RATION_ADMITTED;
	return STEP_ON;
}

static int
run(struct call *c)
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
			return result;
		}
	}
	word_count(&c->seg->head->retries_out, 1);
	return RATION_EBUSY;
}

static int
check_decision(ration_decision_t *d)
{
	return d != NULL && d->size != sizeof(*d) ? RATION_EINVAL : 0;
}

static int
decide(ration_t *r, const ration_claim_t *claims, size_t n, bool charge, ration_decision_t *d)
{
	ration_decision_t own = RATION_DECISION_INIT;
	const struct segment *seg;
	struct call c;

	if (r == NULL || claims == NULL || n == 0 || n > RATION_CLAIMS_MAX
	    || check_decision(d) != 0)
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
	seg = handle_segment(r);
	if (seg == NULL)
		return degraded(r, d);
	c.handle = r;
	c.seg = seg;
	c.d = d != NULL ? d : &own;
	c.n = n;
	c.charge = charge;
	c.precise = false;
	c.ctx.seg = seg;
	c.ctx.policy = &c.policy;
	c.ctx.writable = true;
	c.ahead = 0;
	c.ctx.ahead = &c.ahead;
	for (size_t k = 0; k < n; k++) {
		struct item *it = &c.items[k];

		it->id.limit = claims[k].limit;
		it->id.limit_len = strlen(claims[k].limit);
		it->id.key = claims[k].key;
		it->id.key_len = claims[k].key_len;
		it->cost = claims[k].cost;
		it->before = 0;
		it->at.slot = NO_SLOT;
		it->limit_id = NO_ID;
		it->listed = false;
		it->index = (uint8_t)k;
		ident_hash(seg, &it->id);
		if (n > 1)
			table_prefetch(seg, it->id.hash);
	}
	return run(&c);
}

/* ---- the short way ---- */

#define LONG_WAY 2 /* not a verdict: something is not as the short way expects */

/* Fill in the decision of a plain admission. */
static inline void
plain_decision(ration_decision_t *d, const struct rate_def *r, uint64_t used, uint64_t cost,
    uint64_t edge_ns, uint64_t now_ns, int64_t real_ns)
{
	ration_rate_t *out = &d->rates[0];

	(void)now_ns;
	out->limit_units = r->units;
	out->used = used;
	out->remaining = r->units - used;
	out->window_ns = r->window_ns;
	out->reset_at = (int64_t)(((uint64_t)((int64_t)edge_ns + real_ns) + 999999999u) / 1000000000u);
	out->retry_at = 0;
	out->rate_units = r->units;
	out->claim = 0;
	out->kind = RATION_SLIDING;
	out->level = 0;
	out->reason = RATION_R_NONE;
	out->reserved = 0;
	d->verdict = RATION_ADMITTED;
	d->flags = 0;
	d->nrates = 1;
	d->decided_by = 0;
	d->cost = cost;
	d->limit_units = r->units;
	d->used = used;
	d->remaining = out->remaining;
	d->window_ns = r->window_ns;
	d->now = (int64_t)((uint64_t)((int64_t)now_ns + real_ns) / 1000000000u);
	d->reset_at = out->reset_at;
	d->retry_at = 0;
	d->retry_after = 0;
	d->level = 0;
	d->reason = RATION_R_NONE;
	d->claim = 0;
	d->nreceipts = 1;
	if (UNLIKELY(used >= r->units / 2)) {
		static const uint8_t levels[] = { 60, 80, 95, 100 };

		for (unsigned i = 0; i < sizeof(levels); i++)
			if (used * 100 >= r->units * levels[i])
				d->level = out->level = levels[i];
	}
}

static inline int
try_plain(struct ration *h, const struct segment *seg, const struct policy_ref *p,
    uint64_t policy_word, uint64_t n, uint64_t birth, uint64_t cost, ration_decision_t *d)
{
	word_t *s = segment_slot(seg, n), *cell = s + SLOT_CELLS, *w;
	uint64_t resolved = word_load(&s[SLOT_RESOLVED]), state, now, e, start, tick, conv, c, cache,
		 old, used, units;
	const struct ruleset *rs;
	const struct rate_def *r;

	if (UNLIKELY(resolved >> 32 != POLICY_CURRENT(policy_word)
		|| (resolved & UINT32_MAX) >= p->area->nrulesets))
		return LONG_WAY;
	rs = (const struct ruleset *)(const void *)((const char *)p->area + p->area->rulesets)
	    + (resolved & UINT32_MAX);
	if (UNLIKELY((rs->flags & RULESET_PLAIN) == 0))
		return LONG_WAY;
	r = &rs->rates[0];
	units = r->units;
	now = clock_coarse(&h->clock, seg->policy);
	state = word_load(&s[SLOT_STATE]);
	if (UNLIKELY(STATE_BIRTH(state) != birth || STATE_ST(state) != ST_LIVE))
		return LONG_WAY;
	e = epoch_of(now, r->sub_ns, r->recip);
	start = e * r->sub_ns;
	tick = tick_of(start);
	conv = word_load(&cell[CELL_CONV]);
	c = CONV_COUNT(conv);
	cache = word_load(&cell[CELL_CACHE]);
	w = &cell[CELL_RING + e % RING_WORDS];
	old = word_load(w);
	used = (cache & NARROW_MAX) + NARROW_UNITS(old) + cost;
	if (UNLIKELY(CONV_SETTLED(conv) != r->shape
		|| (cache & ~NARROW_MAX) != CACHE_TAG(c, tick)
		|| (old & ~NARROW_MAX) != NARROW_TAG(c, tick) || used > units))
		return LONG_WAY;
	/* The ruleset was not being rewritten under us: pairs with policy_begin(). */
	if (UNLIKELY(word_load(&seg->policy->word) != policy_word))
		return LONG_WAY;
	if (UNLIKELY(!word_cas(w, old, old + cost)))
		return LONG_WAY;
	if (d != NULL) {
		ration_receipt_t *rc = &d->receipts[0];

		plain_decision(d, r, used, cost, start + RING_WORDS * r->sub_ns, now,
		    atomic_load_explicit(&seg->policy->real_offset_ns, memory_order_relaxed));
		d->limit_id[0] = rs->limit;
		d->policy_version = POLICY_CURRENT(policy_word);
		d->segment_id = seg->id;
		rc->tag = old & ~NARROW_MAX;
		rc->slot = (uint32_t)n;
		rc->birth = (uint32_t)birth;
		rc->conv = (uint16_t)c;
		rc->cell = 0;
		rc->word = (uint8_t)(e % RING_WORDS);
		rc->reserved = 0;
		rc->units = cost;
	}
	return RATION_ADMITTED;
}

/* ---- public ---- */

int
ration_acquire(
    ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), limit, key, 0, cost };
	const struct segment *seg;
	struct policy_ref p;
	struct ident id;
	struct found f;
	uint64_t word;
	int verdict;

	if (r == NULL || limit == NULL || key == NULL || check_decision(d) != 0)
		return RATION_EINVAL;
	claim.key_len = strlen(key);
	if (UNLIKELY(claim.key_len == 0 || claim.key_len > RATION_KEY_MAX))
		return RATION_EKEY;
	seg = handle_segment(r);
	if (UNLIKELY(seg == NULL || cost - 1 >= NARROW_MAX / 2))
		return decide(r, &claim, 1, true, d);
	id.limit = limit;
	id.limit_len = strlen(limit);
	id.key = (const unsigned char *)key;
	id.key_len = claim.key_len;
	ident_hash(seg, &id);
	table_prefetch(seg, id.hash);
	word = word_load(&seg->policy->word);
	if (policy_current(seg->policy, &p) && p.version == POLICY_CURRENT(word)
	    && table_find_named(seg, &p, &id, &f)) {
		verdict = try_plain(r, seg, &p, word, f.slot, f.birth, cost, d);
		if (LIKELY(verdict != LONG_WAY))
			return verdict;
	}
	return decide(r, &claim, 1, true, d);
}

int
ration_acquire_all(
    ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d)
{
	return decide(r, claims, n, true, d);
}

int
ration_peek(ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), limit, key, key != NULL ? strlen(key) : 0, cost };

	return decide(r, &claim, 1, false, d);
}

int
ration_peek_all(ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d)
{
	return decide(r, claims, n, false, d);
}

int
ration_key(ration_t *r, const char *limit, const void *key, size_t len, ration_key_t *out)
{
	const struct segment *seg;
	struct policy_ref p;
	int64_t id;
	size_t limit_len;

	if (r == NULL || limit == NULL || key == NULL || out == NULL)
		return RATION_EINVAL;
	limit_len = strlen(limit);
	if (len == 0 || len > RATION_KEY_MAX)
		return RATION_EKEY;
	if (limit_len == 0 || limit_len > RATION_NAME_MAX)
		return RATION_ENOLIMIT;
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->slot = UINT32_MAX;
	out->limit_id = NO_ID;
	out->key_len = (uint16_t)len;
	out->limit_len = (uint16_t)limit_len;
	memcpy(out->limit, limit, limit_len);
	memcpy(out->key, key, len);
	seg = handle_segment(r);
	if (seg == NULL)
		return (r->flags & RATION_FAIL_OPEN) != 0 ? 0 : RATION_EDETACHED;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (!policy_current(seg->policy, &p))
			return RATION_EDETACHED;
		id = policy_limit_id(&p, limit, limit_len);
		if (!policy_intact(&p))
			continue;
		return id < 0 ? RATION_ENOLIMIT : 0;
	}
	return RATION_EBUSY;
}

static int
key_decide(ration_t *r, ration_key_t *k, uint64_t cost, bool charge, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), k->limit, k->key, k->key_len, cost };

	return decide(r, &claim, 1, charge, d);
}

/* Find the handle's slot again: new, recycled, or in another segment. */
static void
key_refresh(const struct segment *seg, ration_key_t *k)
{
	struct ident id = { k->limit, k->limit_len, k->key, k->key_len, 0 };
	struct policy_ref p;
	struct found f;

	ident_hash(seg, &id);
	k->segment_id = seg->id;
	k->slot = UINT32_MAX;
	if (policy_current(seg->policy, &p) && table_find_named(seg, &p, &id, &f)) {
		k->slot = (uint32_t)f.slot;
		k->birth = (uint32_t)f.birth;
	}
}

int
ration_key_acquire(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;
	struct policy_ref p;
	uint64_t word;
	int verdict;

	if (UNLIKELY(r == NULL || k == NULL || k->size != sizeof(*k) || check_decision(d) != 0))
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (UNLIKELY(seg == NULL || cost - 1 >= NARROW_MAX / 2))
		return key_decide(r, k, cost, true, d);
	if (LIKELY(k->segment_id == seg->id && k->slot < seg->nslots)) {
		word = word_load(&seg->policy->word);
		if (policy_current(seg->policy, &p) && p.version == POLICY_CURRENT(word)) {
			verdict = try_plain(r, seg, &p, word, k->slot, k->birth, cost, d);
			if (LIKELY(verdict != LONG_WAY))
				return verdict;
		}
	}
	verdict = key_decide(r, k, cost, true, d);
	if (k->segment_id != seg->id || k->slot >= seg->nslots
	    || STATE_BIRTH(word_load(&segment_slot(seg, k->slot)[SLOT_STATE])) != k->birth)
		key_refresh(seg, k);
	return verdict;
}

int
ration_key_peek(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	if (r == NULL || k == NULL || k->size != sizeof(*k))
		return RATION_EINVAL;
	return key_decide(r, k, cost, false, d);
}

int
ration_refund(ration_t *r, const ration_decision_t *d, uint64_t units)
{
	const struct segment *seg;
	struct policy_ref p;
	struct cell_ctx x;
	int result = RATION_ESTALE;

	if (r == NULL || d == NULL || d->size != sizeof(*d)
	    || d->nreceipts > RATION_DECISION_RATES)
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	if (seg->id != d->segment_id || d->nreceipts == 0)
		return RATION_ESTALE;
	if (!policy_current(seg->policy, &p))
		return RATION_EDETACHED;
	memset(&x, 0, sizeof(x));
	x.seg = seg;
	x.policy = &p;
	x.writable = true;
	x.precise = true;
	x.now_ns = clock_precise(&r->clock, seg->policy);
	x.unix_ns = clock_unix(seg->policy, x.now_ns);
	for (unsigned i = 0; i < d->nreceipts; i++) {
		const ration_receipt_t *rc = &d->receipts[i];
		int e;

		if (rc->slot >= seg->nslots || rc->cell >= seg->cells || rc->word >= RING_WORDS)
			return RATION_EINVAL;
		x.slot = segment_slot(seg, rc->slot);
		x.birth = rc->birth;
		e = cell_refund(&x, rc, units, false);
		if (e == 0 || e == RATION_EBUSY)
			result = e;
	}
	return result;
}
