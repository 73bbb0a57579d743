/*
 * call_step.h - what the parts of a call share: call.c, find.c, deny.c, add.c, call_lease.c.
 */
#ifndef RATION_CALL_STEP_H
#define RATION_CALL_STEP_H

#include "call.h"

#define NS_S INT64_C(1000000000)

/* ON: go on.  DENY: the call is decided.  RETRY: look again; PRECISE: by the precise clock. */
enum step { STEP_ON, STEP_DENY, STEP_RETRY, STEP_PRECISE };

/* ---- call.c ---- */

/* The call's time: by the coarse clock, or by the precise one if it has to be. */
void call_time(struct call *c);
/* What a look at an item means for the call. */
enum step call_after_look(struct call *c, struct item *it, enum look_result r);
enum look_result call_look_rate(struct call *c, struct item *it, unsigned i, uint64_t cost);

/* ---- find.c ---- */

/* The claim's limit and slot.  0 or RATION_ENOLIMIT. */
int call_find(struct call *c, struct item *it);
/* Its ruleset: by SLOT_RESOLVED if that is of this version, else by the policy. */
bool call_resolve(struct call *c, struct item *it);

/* ---- deny.c ---- */

/* Does somebody wait for the key, who goes before us? */
bool call_queue_first(struct call *c, const struct item *it);
/* Note it, if it is due: a denial that is counted, or what would be one in mode observe. */
void call_noted(const struct call *c, const struct item *it);
/* Each claim that refuses is counted, at most once. */
int call_deny(struct call *c);
/* Refused for another reason than a rate: full table, unlisted key. */
int call_deny_key(struct call *c, const struct item *it, uint8_t reason);

/* ---- add.c ---- */

/* 0: the item is admitted uncharged; RATION_R_FULL. */
int call_no_room(struct call *c, struct item *it);
/* Step 3.  *result is set with STEP_DENY. */
enum step call_add_missing(struct call *c, int *result);
/* A peek: would a new key be refused for its limit's bound? */
bool call_peek_full(struct call *c, int *result);

/* ---- call_lease.c ---- */

static inline struct lease_key
call_lease_key(const struct item *it)
{
	return (struct lease_key) { &it->id, it->limit_id, it->at.slot };
}

static inline bool
call_has_permits(const struct item *it)
{
	return it->lease && it->rules.rates[0].units != RATION_UNLIMITED;
}

/* Are the limit's claims leases?  One that is unlimited for this key has no permits. */
bool call_takes_lease(struct item *it);
/* What is not of the kind that was asked for.  0 or an error. */
int call_check_kind(const struct call *c, const struct item *it);
enum look_result call_look_lease(struct call *c, struct item *it);
/* Before anything is charged: who we are, if that is to stand in a permit.  0 or an error. */
int call_know_holder(struct call *c);
/* Before a denial, once: have the dead what was asked for?  True: not any more, look again. */
bool call_take_from_dead(struct call *c);
/* A permit instead of units. */
enum step call_charge_lease(struct call *c, struct item *it);
/* Leases granted, once all of the call is. */
void call_count_leases(const struct call *c);
/* A lease that wants a chunk which is not there.  As call_add_missing(). */
enum step call_add_chunk(struct call *c, struct item *it, int *result);

#endif
