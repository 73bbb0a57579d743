/*
 * queue.h - who waits for a key, in which order.
 */
#ifndef RATION_QUEUE_H
#define RATION_QUEUE_H

#include "segment.h"

/* Something has come free for this key: wake who waits for it, if anybody. */
void queue_wake(const struct segment *seg, uint64_t slot, uint64_t birth);
/* Everybody who waits: the policy or the clock has changed (rationd). */
void queue_wake_all(const struct segment *seg);
/* Does anybody wait for this key, who has not been passed over?  For `queue: strict`. */
bool queue_waiting(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns);

#endif
