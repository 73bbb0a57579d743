/*
 * lease.h - permits of concurrency limits, and who holds them.  See layout.h.
 */
#ifndef RATION_LEASE_H
#define RATION_LEASE_H

#include "call.h"

/* Note that somebody waits for the key: a release then calls queue_wake(). */
void lease_waited(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns);

#endif
