#include "call.h"

#include <string.h>

#include "atomics.h"
#include "queue.h"
#include "slot.h"

#define NS_S INT64_C(1000000000)

enum step { STEP_ON, STEP_DENY, STEP_RETRY, STEP_PRECISE };

/* ---- finding and resolving ---- */

static void
time_now(struct call *c)
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
	if (p != NULL && w >> 32 == c->policy.version &&
	    (it->limit.flags & LIMIT_UNLISTED_REFUSE) == 0) {
		index = (int64_t)(w & UINT32_MAX);
		it->ruleset = (uint32_t)index;
		if (follow(c, it, index, c->ctx.unix_ns / NS_S) && it->rules.limit == it->limit_id)
			return true;
		if (policy_intact(&c->policy)) /* else it was being rewritten */
			word_count(&c->seg->head->scribbles, 1);
	}
	index = policy_resolve(&c->policy, it->limit_id, it->id.key, it->id.key_len, &it->listed);
	if (!follow(c, it, index, c->ctx.unix_ns / NS_S))
		return false;
	it->ruleset = (uint32_t)index;
	/* The state after w: then w is of our life, and will not stand in another. */
	if (p != NULL && (w >> 32 != c->policy.version || (w & UINT32_MAX) != it->ruleset) &&
	    STATE_BIRTH(word_load(&segment_slot(c->seg, it->at.slot)[SLOT_STATE])) == it->at.birth)
		(void)word_cas(p, w, RESOLVED_WORD(c->policy.version, it->ruleset));
	return true;
}

static int
find_item(struct call *c, struct item *it)
{
	int64_t id;

	if (it->limit_id == NO_ID || !policy_limit(&c->policy, it->limit_id, &it->limit)) {
		id = policy_limit_id(&c->policy, it->id.limit, it->id.limit_len);
		if (id < 0 || id >= LIMITS_MAX ||
		    !policy_limit(&c->policy, (uint32_t)id, &it->limit))
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

/* ---- leases ---- */

static struct lease_key
lease_key_of(const struct item *it)
{
	return (struct lease_key) { &it->id, it->limit_id, it->at.slot };
}

/* Are the limit's claims leases?  One that is unlimited for this key has no permits. */
static bool
takes_lease(struct item *it)
{
	if (it->rules.nrates == 0 ||
	    ((it->limit.flags & LIMIT_LEASES) == 0 && it->rules.rates[0].kind != RATION_CONCURRENT))
		return false;
	it->rules.nrates = 1;
	it->cost = it->cost != 0;
	return true;
}

static bool
has_permits(const struct item *it)
{
	return it->lease && it->rules.rates[0].units != RATION_UNLIMITED;
}

/* What is not of the kind that was asked for.  0 or an error. */
static int
check_kind(const struct call *c, const struct item *it)
{
	if (it->lease && c->units)
		return RATION_ELEASE;
	if (!it->only || it->lease)
		return 0;
	if ((it->limit.flags & LIMIT_VALUE) != 0)
		return RATION_ERATE;
	return it->rules.nrates == 0 || it->rules.rates[0].kind == RATION_COUNT_ONLY ? 0
										     : RATION_ERATE;
}

static enum look_result
look_lease(struct call *c, struct item *it)
{
	struct lease_key k = lease_key_of(it);
	enum look_result r = LOOK_AGAIN;

	if (!has_permits(it)) {
		look_empty(&c->ctx, &it->rules.rates[0], &it->looks[0]);
		return LOOK_FITS;
	}
	for (unsigned tries = 0; tries < 8 && r == LOOK_AGAIN; tries++)
		r = lease_look(
		    &c->ctx, &k, it->rules.rates[0].units, it->before, &it->permit, &it->looks[0]);
	return r;
}

/* Before anything is charged: who we are, if that is to stand in a permit.  0 or an error. */
static int
know_holder(struct call *c)
{
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		int e;

		if (!it->charged || !has_permits(it) || it->want.kept)
			continue;
		e = holder_number(c->handle, c->seg, &it->want.holder);
		if (e != 0)
			return e;
	}
	return 0;
}

/* Before a denial, once: have the dead what was asked for?  True: not any more, look again. */
static bool
take_from_dead(struct call *c)
{
	uint32_t own = holder_known(c->handle, c->seg);
	unsigned n = 0;

	if (c->reaped)
		return false;
	c->reaped = true;
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		struct lease_key key = lease_key_of(it);

		if (!has_permits(it) || it->at.slot == NO_SLOT ||
		    it->looks[0].used + it->before < it->rules.rates[0].units)
			continue;
		call_use(c, it);
		n += lease_reap(&c->ctx, &key, &c->handle->paths, own);
	}
	return n != 0;
}

static enum look_result
look_rate(struct call *c, struct item *it, unsigned i, uint64_t cost)
{
	const struct rate_def *r = &it->rules.rates[i];
	struct look *l = &it->looks[i];
	enum look_result res;

	if (it->lease && c->ctx.slot != NULL)
		return look_lease(c, it);
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
		enum look_result r = look_rate(c, it, i, it->cost);
		enum step s = after_look(c, it, r);
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

/* ---- denying ---- */

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
static bool
queue_first(struct call *c, const struct item *it)
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
	decision_retries(c);
	decision_finish(d, RATION_DENIED, c);
	return RATION_DENIED;
}

/* Refused for another reason than a rate: full table, unlisted key. */
static int
deny_key(struct call *c, const struct item *it, uint8_t reason)
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

/* A permit instead of units: as charge_item(). */
static enum step
charge_lease(struct call *c, struct item *it)
{
	ration_decision_t *d = c->d;
	struct lease_key k = lease_key_of(it);
	const struct rate_def *r = &it->rules.rates[0];
	uint64_t word;

	call_use(c, it);
	for (unsigned tries = 0; has_permits(it); tries++) {
		enum step s;

		if (tries == TRIES_MAX)
			return STEP_PRECISE;
		if (tries != 0 || it->before != 0) {
			enum look_result res;

			c->precise = true;
			time_now(c);
			res = lease_look(&c->ctx, &k, r->units, 0, &it->permit, &it->looks[0]);
			s = after_look(c, it, res);
			if (s == STEP_RETRY)
				continue;
			if (s != STEP_ON || res == LOOK_DENIES)
				return s != STEP_ON ? s : STEP_PRECISE;
		}
		if (it->permit.slot == NO_SLOT) /* add_missing() adds it */
			return STEP_PRECISE;
		if (!lease_take(&c->ctx, &k, &it->permit, &it->want, &word))
			continue;
		d->receipts[d->nreceipts++] = (ration_receipt_t) {
			.where = WHERE(UINT64_C(0), it->index, it->permit.place / RING_WORDS,
			    it->permit.place % RING_WORDS),
			.slot = (uint32_t)it->permit.slot,
			.birth = (uint32_t)it->permit.birth,
			.units = word,
		};
		break;
	}
	if (it->first < d->nrates) {
		cell_report(&c->ctx, r, &it->looks[0], it->cost, &d->rates[it->first]);
		d->rates[it->first].claim = it->index;
	}
	return STEP_ON;
}

/* Leases granted, once all of the call is. */
static void
count_leases(const struct call *c)
{
	for (size_t k = 0; k < c->n; k++)
		if (c->items[k].lease && c->items[k].charged)
			word_count(
			    &segment_slot(c->seg, c->items[k].at.slot)[SLOT_TOTAL], TOTAL_ONE);
}

static enum step
charge_item(struct call *c, struct item *it)
{
	ration_decision_t *d = c->d;

	if (it->lease)
		return charge_lease(c, it);
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
				time_now(c);
				res = cell_look(&c->ctx, i, r, it->cost, l);
				s = after_look(c, it, res);
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

/* ---- adding ---- */

/* Has the limit as many keys as it may? */
static bool
bound_reached(const struct call *c, const struct item *it)
{
	return it->limit.max_keys != 0 &&
	    word_load(&c->seg->limits[it->limit_id].keys) >= it->limit.max_keys;
}

/* 0: the item is admitted uncharged; RATION_R_FULL. */
static int
no_room(struct call *c, struct item *it)
{
	word_count(&c->seg->limits[it->limit_id].full, 1);
	c->d->flags |= RATION_F_TABLE_FULL;
	if (it->rules.mode == MODE_OBSERVE) {
		it->observed = true;
		c->d->flags |= RATION_F_OBSERVED;
	}
	if ((it->limit.flags & LIMIT_FULL_ADMIT) != 0 || it->observed) {
		word_count(&c->seg->head->full_admit, 1);
		return 0;
	}
	word_count(&c->seg->head->full_deny, 1);
	return (int)RATION_R_FULL;
}

static int
add_item(struct call *c, struct item *it)
{
	uint32_t shapes[CELLS_MAX], n = it->lease ? c->seg->cells : it->rules.nrates;

	for (unsigned i = 0; i < n && i < CELLS_MAX; i++)
		shapes[i] = it->lease ? SHAPE_CONCURRENT : it->rules.rates[i].shape;
	if (!bound_reached(c, it) &&
	    table_add(c->seg, &it->id, it->limit_id, RESOLVED_WORD(c->policy.version, it->ruleset),
		shapes, n, tick_of(c->ctx.now_ns), &it->at) == 0)
		return 0;
	it->at.slot = NO_SLOT;
	return no_room(c, it);
}

bool
call_slot(struct call *c, struct item *it)
{
	if (it->at.slot == NO_SLOT && add_item(c, it) == 0)
		call_use(c, it);
	return it->at.slot != NO_SLOT;
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
		if (c->items[k].observed)
			word_count(&c->seg->limits[c->items[k].limit_id].observed, 1);
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

/* A lease that wants a chunk which is not there.  As add_missing(). */
static enum step
add_chunk(struct call *c, struct item *it, int *result)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		struct lease_key k = lease_key_of(it);
		enum look_result r;
		enum step s;

		if (!it->charged || !has_permits(it) || it->permit.slot != NO_SLOT)
			return STEP_ON;
		call_use(c, it);
		if (lease_add_chunk(&c->ctx, &k, &it->permit) != 0) {
			it->charged = false;
			if (no_room(c, it) == 0)
				return STEP_ON;
			*result = deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
		r = look_lease(c, it);
		s = after_look(c, it, r);
		if (s != STEP_ON || r == LOOK_DENIES)
			return s != STEP_ON ? s : STEP_PRECISE;
	}
	return STEP_PRECISE;
}

/*
 * Step 3.  A key just added is looked at: its slot may have been there after all.
 */
static enum step
add_missing(struct call *c, int *result)
{
	/* A denial takes no slot: bounds first. */
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];

		if (!it->charged || it->at.slot != NO_SLOT || !bound_reached(c, it))
			continue;
		it->charged = false;
		if (no_room(c, it) != 0) {
			*result = deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
	}
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		enum step s;

		if (it->lease && it->at.slot != NO_SLOT) {
			s = add_chunk(c, it, result);
			if (s != STEP_ON)
				return s;
		}
		if (!it->charged || it->at.slot != NO_SLOT)
			continue;
		if (add_item(c, it) != 0) {
			*result = deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
		if (it->at.slot == NO_SLOT) { /* when_full: admit */
			it->charged = false;
			continue;
		}
		call_use(c, it);
		for (unsigned i = 0; i < it->rules.nrates; i++) {
			enum look_result r = look_rate(c, it, i, it->cost);

			s = after_look(c, it, r);
			if (s != STEP_ON || r == LOOK_DENIES)
				return s != STEP_ON ? s : STEP_PRECISE;
		}
	}
	return STEP_ON;
}

/* A peek: would a new key be refused for its limit's bound? */
static bool
peek_full(struct call *c, int *result)
{
	for (size_t k = 0; k < c->n; k++) {
		const struct item *it = &c->items[k];

		if (it->at.slot != NO_SLOT || it->cost == 0 || it->rules.nrates == 0 ||
		    it->rules.mode != MODE_ENFORCE || (it->limit.flags & LIMIT_FULL_ADMIT) != 0 ||
		    !bound_reached(c, it))
			continue;
		c->d->flags |= RATION_F_TABLE_FULL;
		*result = deny_key(c, it, RATION_R_FULL);
		return true;
	}
	return false;
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
		*result = find_item(c, it);
		if (*result == 0 && !resolve(c, it))
			*result = RATION_ENOLIMIT;
		if (*result == 0) {
			it->lease = takes_lease(it);
			*result = check_kind(c, it);
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
	time_now(c);
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
			*result = deny_key(c, it, RATION_R_UNLISTED);
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
		denied |= queue_first(c, it);
	}
	if (!policy_intact(&c->policy))
		return STEP_RETRY;
	if (denied) {
		if (!c->precise)
			return STEP_PRECISE;
		if (take_from_dead(c))
			return STEP_RETRY;
		*result = deny(c);
		return STEP_DENY;
	}
	if (!c->charge && peek_full(c, result))
		return STEP_DENY;
	if (c->charge) {
		enum step s;

		*result = know_holder(c);
		if (*result != 0)
			return STEP_ON;
		s = add_missing(c, result);
		if (s == STEP_ON)
			s = charge_all(c);
		if (s != STEP_ON) {
			give_back(c);
			return s == STEP_RETRY ? STEP_PRECISE : s;
		}
		count_leases(c);
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
