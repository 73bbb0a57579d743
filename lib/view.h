/*
 * view.h - reading keys without touching them: what `ration list`, the
 * dashboard and rationd show.  Works on a read-only mapping.
 */
#ifndef RATION_VIEW_H
#define RATION_VIEW_H

#include "segment.h"
#include "clock.h"

struct row {
	uint64_t slot;
	uint64_t birth;
	uint32_t limit;   /* id */
	uint32_t ruleset; /* index, in policy version .version */
	uint32_t version;
	uint16_t plan;
	uint16_t env;
	uint8_t mode;
	uint8_t key_len;
	uint8_t nrates;
	uint8_t deciding;  /* the rate with the least share remaining */
	uint64_t admitted; /* total */
	uint64_t denied;   /* total */
	ration_rate_t rates[RATION_RATES_MAX];
	unsigned char key[256];
};

/* Only the totals of a slot: for a pass over a million.  False: not in use. */
bool view_totals(const struct segment *seg, uint64_t slot, uint64_t *birth, uint64_t *admitted,
    uint64_t *denied);
/* The plan that a slot's key is on now, by the policy's number; 0: none. */
uint16_t view_plan(const struct segment *seg, const struct policy_ref *p, uint64_t slot,
    const unsigned char *key, size_t len, int64_t now_s);
/*
 * Everything about a slot at shared time now_ns.  False: not in use, or the policy
 * changed under us (look again).
 */
bool view_row(const struct segment *seg, uint64_t slot, uint64_t now_ns, struct row *out);

/* Set a key's used units to 0 on all its rates (RESET conversion); its leases are released.  0,
 * RATION_ESTALE, RATION_EBUSY.
 */
int view_reset(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns);

#endif
