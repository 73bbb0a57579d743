/*
 * quotas.h - days and months outlive the segment.
 *
 * The counters are the truth while there is a segment.  What they say of days, months and long
 * fixed windows is written into the store as it changes, at most once in QUOTAS_ROUNDS rounds of
 * housekeeping (half a minute), and all of it when rationd is told to end.  When a segment
 * has to start anew (after a reboot, for another table size) it is put back before the first
 * policy is published, so before anybody can ask: a host that crashes forgets half a minute of a
 * month's cap, never the month.
 */
#ifndef RATIOND_QUOTAS_H
#define RATIOND_QUOTAS_H

#include "keeper.h"
#include "store.h"

#define QUOTAS_ROUNDS 3u

struct quotas;

/* 0 or -1 with err.  k and s stay the caller's. */
int quotas_open(struct quotas **out, struct keeper *k, struct store *s, char *err, size_t errsize);
void quotas_close(struct quotas *q);
/* Into a segment that has no policy yet; p: the first, not yet published.  0 or -1 with err. */
int quotas_put_back(struct quotas *q, const struct policy_ref *p, char *err, size_t errsize);
/* Since the start: rows written down, rates put back. */
void quotas_count(const struct quotas *q, uint64_t *written, uint64_t *put_back);
/* Every tick: write down what was found. */
void quotas_tick(struct quotas *q);
/* Look at every key and write all of it down: before the end. */
void quotas_finish(struct quotas *q);

#endif
