/*
 * call.h - a call in progress: its claims, what was found and seen of each.
 *
 * The order of things is the same for every call (call.c, and what call_step.h names):
 *   1. find each key that exists (all lines asked for first)
 *   2. look at every rate of every claim; one that refuses ends the call here, with
 *	nothing charged and nothing added; before that the precise clock is read
 *   3. add the keys that do not exist yet
 *   4. charge, in the order of the slots: a refusal now (somebody was faster) gives back
 *	what was charged and starts again
 * Calls over several claims reserve in one global order, so of two that meet one
 * gets everywhere first; nobody waits.
 */
#ifndef RATION_CALL_H
#define RATION_CALL_H

#include "cell.h"
#include "handle.h"
#include "lease.h"
#include "table.h"

#define NO_ID UINT32_MAX
#define TRIES_MAX 256u

/* One claim. */
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
	bool fixed;    /* the cost is the policy's: not to be settled */
	bool force;    /* charged whatever is left: settling */
	bool observed; /* mode observe: would have been denied */
	bool charged;  /* false: nothing to charge (mode off, observed, cost 0) */
	bool lease;    /* a concurrency limit's: a permit is taken, whatever the cost */
	bool only;     /* a lease is wanted, nothing else will do */
	uint8_t index; /* of the claim */
	uint8_t first; /* of its rates in the decision */
	struct lease_want want;
	struct permit permit;
	struct look looks[RATION_RATES_MAX];
};

struct call {
	struct ration *handle;
	const struct segment *seg;
	struct policy_ref policy;
	struct cell_ctx ctx;
	ration_decision_t *d;
	size_t n;
	bool charge; /* false: peek */
	bool precise;
	bool queued;    /* asks in its turn: no queue goes before it, its denials are not counted */
	bool units;     /* concurrency limits are refused: RATION_ELEASE */
	bool reaped;    /* the dead were looked for */
	uint64_t ahead; /* for ctx.ahead */
	struct item items[RATION_CLAIMS_MAX];
	ration_decision_t own; /* if the caller wants none */
};

/*
 * Begin a call of no claims.  0: go on with call_claim() and call_run().  Else the verdict:
 * RATION_EINVAL, RATION_EDETACHED, or admitted without a segment.
 */
int call_begin(struct call *c, ration_t *r, bool charge, ration_decision_t *d);
/*
 * One more claim, at most RATION_CLAIMS_MAX; its key was checked by the caller and stays where it
 * is.  limit_id: of this policy or an older one, NO_ID: by name.
 */
struct item *call_claim(struct call *c, const char *limit, size_t limit_len, uint32_t limit_id,
    const void *key, size_t key_len, uint64_t cost);
/* Decide. */
int call_run(struct call *c);

/* ---- for who waits (wait.c) ---- */

/* The item's key gets a slot, if it has none.  False: no room. */
bool call_slot(struct call *c, struct item *it);
/* Others wait for the item's key: its rates refuse it until n of them have had as much. */
void call_after(const struct call *c, const struct item *it, unsigned n);
/* Count a denial of an item that the decision tells of, and note it for who asks why. */
void call_denied(const struct call *c, const struct item *it);

/* Point the call's context at an item's slot. */
void call_use(struct call *c, const struct item *it);

/* The lease that an admitted call of one claim has taken. */
void call_lease(const struct call *c, ration_lease_t *lease);

/* Decide one claim that takes units: RATION_ELEASE if its limit is of leases. */
int call_units(ration_t *r, const ration_claim_t *claim, ration_decision_t *d);

/* Decide n claims the long way.  As ration_acquire_all(). */
int call_decide(
    ration_t *r, const ration_claim_t *claims, size_t n, bool charge, ration_decision_t *d);

/* ---- decision.c ---- */

void decision_start(ration_decision_t *d, const struct call *c);
/* The verdict; the rate that decides moves to the front. */
void decision_finish(ration_decision_t *d, int verdict, const struct call *c);
/* Retries of a denial, past overrides that end before them. */
void decision_retries(struct call *c);
/* Without a segment: admitted if the handle fails open. */
int decision_degraded(struct ration *r, ration_decision_t *d);
/* 60, 80, 95, 100: the highest that used reaches; 0: none. */
uint8_t decision_level(uint64_t used, uint64_t limit);

#endif
