/*
 * add.c - keys that a call adds to the table, and what is decided where there is no room.
 */
#include "call_step.h"

#include "atomics.h"
#include "slot.h"

/* Has the limit as many keys as it may? */
static bool
bound_reached(const struct call *c, const struct item *it)
{
	return it->limit.max_keys != 0 &&
	    word_load(&c->seg->limits[it->limit_id].keys) >= it->limit.max_keys;
}

/* 0: the item is admitted uncharged; RATION_R_FULL. */
int
call_no_room(struct call *c, struct item *it)
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
	return call_no_room(c, it);
}

bool
call_slot(struct call *c, struct item *it)
{
	if (it->at.slot == NO_SLOT && add_item(c, it) == 0)
		call_use(c, it);
	return it->at.slot != NO_SLOT;
}

/*
 * Step 3.  A key just added is looked at: its slot may have been there after all.
 */
enum step
call_add_missing(struct call *c, int *result)
{
	/* A denial takes no slot: bounds first. */
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];

		if (!it->charged || it->at.slot != NO_SLOT || !bound_reached(c, it))
			continue;
		it->charged = false;
		if (call_no_room(c, it) != 0) {
			*result = call_deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
	}
	for (size_t k = 0; k < c->n; k++) {
		struct item *it = &c->items[k];
		enum step s;

		if (it->lease && it->at.slot != NO_SLOT) {
			s = call_add_chunk(c, it, result);
			if (s != STEP_ON)
				return s;
		}
		if (!it->charged || it->at.slot != NO_SLOT)
			continue;
		if (add_item(c, it) != 0) {
			*result = call_deny_key(c, it, RATION_R_FULL);
			return STEP_DENY;
		}
		if (it->at.slot == NO_SLOT) { /* when_full: admit */
			it->charged = false;
			continue;
		}
		call_use(c, it);
		for (unsigned i = 0; i < it->rules.nrates; i++) {
			enum look_result r = call_look_rate(c, it, i, it->cost);

			s = call_after_look(c, it, r);
			if (s != STEP_ON || r == LOOK_DENIES)
				return s != STEP_ON ? s : STEP_PRECISE;
		}
	}
	return STEP_ON;
}

/* A peek: would a new key be refused for its limit's bound? */
bool
call_peek_full(struct call *c, int *result)
{
	for (size_t k = 0; k < c->n; k++) {
		const struct item *it = &c->items[k];

		if (it->at.slot != NO_SLOT || it->cost == 0 || it->rules.nrates == 0 ||
		    it->rules.mode != MODE_ENFORCE || (it->limit.flags & LIMIT_FULL_ADMIT) != 0 ||
		    !bound_reached(c, it))
			continue;
		c->d->flags |= RATION_F_TABLE_FULL;
		*result = call_deny_key(c, it, RATION_R_FULL);
		return true;
	}
	return false;
}
