/*
 * call_lease.c - claims of concurrency limits: a call takes a permit where it would take units.
 */
#include "call_step.h"

#include "atomics.h"
#include "holder.h"
#include "slot.h"

/* Are the limit's claims leases?  One that is unlimited for this key has no permits. */
bool
call_takes_lease(struct item *it)
{
	if (it->rules.nrates == 0 ||
	    ((it->limit.flags & LIMIT_LEASES) == 0 && it->rules.rates[0].kind != RATION_CONCURRENT))
		return false;
	it->rules.nrates = 1;
	it->cost = it->cost != 0;
	return true;
}

/* What is not of the kind that was asked for.  0 or an error. */
int
call_check_kind(const struct call *c, const struct item *it)
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

enum look_result
call_look_lease(struct call *c, struct item *it)
{
	struct lease_key k = call_lease_key(it);
	enum look_result r = LOOK_AGAIN;

	if (!call_has_permits(it)) {
		look_empty(&c->ctx, &it->rules.rates[0], &it->looks[0]);
		return LOOK_FITS;
	}
	for (unsigned tries = 0; tries < 8 && r == LOOK_AGAIN; tries++)
		r = lease_look(
		    &c->ctx, &k, it->rules.rates[0].units, it->before, &it->permit, &it->looks[0]);
	return r;
}

/* Before anything is charged: who we are, if that is to stand in a permit.  0 or an error. */
int
call_know_holder(struct call *c)
{
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		int e;

		if (!it->charged || !call_has_permits(it) || it->want.kept)
			continue;
		e = holder_number(c->handle, c->seg, &it->want.holder);
		if (e != 0)
			return e;
	}
	return 0;
}

/* Before a denial, once: have the dead what was asked for?  True: not any more, look again. */
bool
call_take_from_dead(struct call *c)
{
	uint32_t own = holder_known(c->handle, c->seg);
	unsigned n = 0;

	if (c->reaped)
		return false;
	c->reaped = true;
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		struct lease_key key = call_lease_key(it);

		if (!call_has_permits(it) || it->at.slot == NO_SLOT ||
		    it->looks[0].used + it->before < it->rules.rates[0].units)
			continue;
		call_use(c, it);
		n += lease_reap(&c->ctx, &key, &c->handle->paths, own);
	}
	return n != 0;
}

/* A permit instead of units: as charge_item(). */
enum step
call_charge_lease(struct call *c, struct item *it)
{
	ration_decision_t *d = c->d;
	struct lease_key k = call_lease_key(it);
	const struct rate_def *r = &it->rules.rates[0];
	uint64_t word;

	call_use(c, it);
	for (unsigned tries = 0; call_has_permits(it); tries++) {
		enum step s;

		if (tries == TRIES_MAX)
			return STEP_PRECISE;
		if (tries != 0 || it->before != 0) {
			enum look_result res;

			c->precise = true;
			call_time(c);
			res = lease_look(&c->ctx, &k, r->units, 0, &it->permit, &it->looks[0]);
			s = call_after_look(c, it, res);
			if (s == STEP_RETRY)
				continue;
			if (s != STEP_ON || res == LOOK_DENIES)
				return s != STEP_ON ? s : STEP_PRECISE;
		}
		if (it->permit.slot == NO_SLOT) /* call_add_missing() adds it */
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
void
call_count_leases(const struct call *c)
{
	for (size_t k = 0; k < c->n; k++)
		if (c->items[k].lease && c->items[k].charged)
			word_count(
			    &segment_slot(c->seg, c->items[k].at.slot)[SLOT_TOTAL], TOTAL_ONE);
}

/* A lease that wants a chunk which is not there.  As call_add_missing(). */
enum step
call_add_chunk(struct call *c, struct item *it, int *result)
{
	for (unsigned tries = 0; tries < 8; tries++) {
		struct lease_key k = call_lease_key(it);
		enum look_result r;
		enum step s;

		if (!it->charged || !call_has_permits(it) || it->permit.slot != NO_SLOT)
			return STEP_ON;
		call_use(c, it);
		if (lease_add_chunk(&c->ctx, &k, &it->permit) != 0) {
			it->charged = false;
			if (call_no_room(c, it) == 0)
				return STEP_ON;
			*result = call_deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
		r = call_look_lease(c, it);
		s = call_after_look(c, it, r);
		if (s != STEP_ON || r == LOOK_DENIES)
			return s != STEP_ON ? s : STEP_PRECISE;
	}
	return STEP_PRECISE;
}
