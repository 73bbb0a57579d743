/*
 * find.c - a claim's limit, slot and ruleset.
 */
#include "call_step.h"

#include "atomics.h"
#include "slot.h"

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
bool
call_resolve(struct call *c, struct item *it)
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

int
call_find(struct call *c, struct item *it)
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
