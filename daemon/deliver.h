/*
 * deliver.h - events are told to the receivers of the policy: each at its own pace.
 *
 * A receiver has a window onto its queue in the store.  With at_once 1 only the first delivery
 * of it is tried, and tried again until it is confirmed or given up: the order is kept.  Else as
 * many as that are under way, whichever is due.  What a receiver does, or does not do, concerns
 * its own window alone.
 *
 * What is confirmed, and when to try again, is written some 50 ms later, many at once: a commit
 * waits for the disk.  A rationd that is killed before that tells the same event again, under the
 * same id.
 *
 * Waits are of real time, whatever the test clock does: a receiver is not of the sandbox.
 */
#ifndef RATIOND_DELIVER_H
#define RATIOND_DELIVER_H

#include <jansson.h>

#include "daemon.h"

struct deliver;

/* 0; or -1 with err for people. */
int deliver_open(struct daemon *d, struct deliver **out, char *err, size_t errsize);
void deliver_close(struct deliver *v);
/* The policy's receivers may be others: at the start and after a reload. */
void deliver_policy(struct deliver *v, const struct config *c);
/* There may be something to deliver. */
void deliver_wake(struct deliver *v);
/* For `ration status`: [{"name": "ops", "queued": 0, ...}] */
json_t *deliver_status(struct deliver *v);

#endif
