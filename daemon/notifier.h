/*
 * notifier.h - thresholds that keys cross, made into events: each percentage once for each key,
 * rate and period.
 *
 * Who crosses leaves a note (lib/notes.h); every NOTIFIER_MS they are read.  A key is looked
 * at for a note, when housekeeping comes by it, and in a pass over the whole table: at the
 * start, when notes were lost, when the test clock was moved.  What led there does not
 * matter: its own words (thresholds.h) and what was told of it (notified.h) decide.
 *
 * What is told is recorded together with its events and with how far the notes were read, in
 * one transaction.  So a kill repeats none and loses none: what was not recorded is found
 * again, by the notes after the recorded one or by the pass.
 *
 * Bounds: NOTIFIER_BUDGET_NS a turn, a list of slots that wait of fixed length (what does not
 * fit in there asks for a pass), eight bytes a slot, and so many records that each slot could
 * have two.  With more, as of very many keys in very short windows, keys are left untold until
 * there is room again, and this is counted and said.
 */
#ifndef RATIOND_NOTIFIER_H
#define RATIOND_NOTIFIER_H

#include "daemon.h"

#define NOTIFIER_MS 50
#define NOTIFIER_BUDGET_NS UINT64_C(10000000)

struct notifier;

/* When the policy is in force.  0; or -1 with err for people. */
int notifier_open(struct daemon *d, struct notifier **out, char *err, size_t errsize);
void notifier_close(struct notifier *n);
/* For `ration status`.  New. */
json_t *notifier_json(const struct notifier *n);
/* If the test clock was moved, look now, whatever the timer says. */
void notifier_clock(struct notifier *n);

#endif
