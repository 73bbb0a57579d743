/*
 * rows.h - reading one slot; of the model alone.
 */
#ifndef RATION_ROWS_H
#define RATION_ROWS_H

#include "model.h"

/* Name of a limit's id, "" when there is none. */
void row_limit_name(const struct policy_ref *p, uint32_t id, char out[RATION_NAME_MAX + 1]);
/*
 * Everything about a slot, with names, by one version of the policy.  False: it is not
 * in use, or changed at every look.  Rates a second are the caller's.
 */
bool row_read(const struct segment *seg, uint64_t slot, uint64_t now_ns, struct model_row *r);

#endif
