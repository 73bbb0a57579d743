/*
 * reaper.h - leases of the dead, and those whose time to live has passed, taken back; changes
 * of those that are kept handed on to be recorded (kept.h).
 *
 * Clients look for the dead themselves before they deny; this is what makes the figures that
 * others see true, and wakes those who wait, within 2 s of a holder's death.  It goes over the
 * slots in the lease bitmap in rounds, cut into slices bounded by processor time.  Each
 * holder is asked after once a round: the kernel looks through all locks of the file for it.
 */
#ifndef RATIOND_REAPER_H
#define RATIOND_REAPER_H

#include <sys/types.h>

#include "holder.h"
#include "keeper.h"
#include "kept.h"

struct reaper {
	struct keeper *keeper;
	struct book *book;
	struct holder_look look; /* the lock file of holders */
	uint64_t next;           /* slot to go on with */
	uint64_t began_ms;       /* of the round, CLOCK_MONOTONIC */
	bool resting;            /* between two rounds */
	struct {
		uint32_t *at; /* holder(24), dead(1), used(1); open addressing */
		uint32_t size, n;
	} asked; /* in this round */
};

/* book: told what is seen of each slot; NULL: nobody.  0; or -1 with err for people. */
int reaper_open(struct reaper *r, struct keeper *k, struct book *book, char *err, size_t errsize);
/* The lock file's group and mode, as the counters' group. */
void reaper_access(struct reaper *r, gid_t gid);
void reaper_close(struct reaper *r);
/* A slice of a round, every KEEPER_TICK_MS. */
void reaper_tick(struct reaper *r);

#endif
