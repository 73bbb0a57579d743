/*
 * digest.h - what a compiled policy says about each limit, as one number.
 *
 * A limit's generation moves when its number does: after a reload, when a temporary
 * change has ended, or after a restart with other files, as well as by a command.
 */
#ifndef RATIOND_DIGEST_H
#define RATIOND_DIGEST_H

#include "policy.h"

/* For each limit of p, by id: its rules in all plans and environments, and for single keys;
 * its key and cost, the routes that take it, and whom it lets off. */
void digest_limits(const struct policy_ref *p, uint64_t out[LIMITS_MAX]);

/* Unix s after `now` at which the next ruleset ends; POLICY_ENDLESS: none does. */
int64_t digest_next_end(const struct policy_ref *p, int64_t now);

/* Ruleset that the matrix has for a limit in a plan and environment (0: none).  False: none. */
bool digest_cell(
    const struct policy_ref *p, uint32_t limit, uint32_t plan, uint32_t env, struct ruleset *out);

#endif
