/*
 * traffic.h - processes that take from one key of a limit all the time, while it is changed.
 *
 * Each checks every decision that lies wholly between two changes: it must have been made by the
 * limit that is in force then.  What they were admitted is counted, so that after any number
 * of changes it can be said to the unit.
 */
#ifndef TESTS_TRAFFIC_H
#define TESTS_TRAFFIC_H

#include "server.h"

struct traffic;

/* So many processes; units: what the limit is now. */
struct traffic *traffic_start(
    const struct server *s, const char *limit, const char *key, unsigned processes, uint64_t units);
/* Around a change: from here on either may be; from here on it is `units`. */
void traffic_changing(struct traffic *t);
void traffic_changed(struct traffic *t, uint64_t units);
/* Wait until so many units were admitted in all, and then see that no more are. */
void traffic_settle(struct traffic *t, uint64_t admitted);
/* End them all; fails if one saw what must not be. */
void traffic_stop(struct traffic *t);
/* The same without a word, when the test has failed. */
void traffic_kill(void);

#endif
