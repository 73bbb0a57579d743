/*
 * date.h - times as text for answers, without the C library's timezones and their locks.
 */
#ifndef RATION_DATE_H
#define RATION_DATE_H

#include "policy.h"

#define DATE_TEXT_MAX 24u

/* "2026-12-01T00:00:00Z" */
void date_iso(int64_t unix_s, char out[DATE_TEXT_MAX]);
/*
 * "2026-12-01": the date at that moment in a zone of the policy, or by UTC where the published
 * tables do not reach; p NULL: by UTC.  Read before policy_intact().
 */
void date_local(const struct policy_ref *p, uint32_t zone, int64_t unix_s, char out[DATE_TEXT_MAX]);

#endif
