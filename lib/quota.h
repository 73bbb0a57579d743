/*
 * quota.h - what keys have used of windows that outlive a segment: days, months, and fixed windows
 * of an hour and more.  rationd writes them down, and puts them into a segment that has to
 * start anew (a reboot, another size), before anybody else is in it.
 */
#ifndef RATION_QUOTA_H
#define RATION_QUOTA_H

#include "segment.h"

#define QUOTA_WINDOW_NS UINT64_C(3600000000000) /* a fixed window as long as that, or longer */

/* One rate of one key in its present period. */
struct quota {
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len;
	uint32_t shape;  /* of the rate: kind, window, zone (rate_def_derive()) */
	int64_t start_s; /* of the period, Unix s */
	int64_t end_s;
	uint64_t used;
};

/*
 * Changes whenever something in such a window of the slot does; 0: there is none.  Cheap for
 * slots of other windows: one load a cell.
 */
uint64_t quota_mark(const struct segment *seg, uint64_t slot);
/* What is used now, also nothing, of each such rate.  Returns how many; 0: none, or look again. */
unsigned quota_read(
    const struct segment *seg, uint64_t slot, uint64_t now_ns, struct quota out[CELLS_MAX]);
/*
 * As much as q says is used by its key, if the policy p (not yet published) has such a rate for it
 * and the period is the present one.  What is counted as ever admitted stays as it is.  Twice
 * is as once.  0; RATION_ENOLIMIT: there is no such rate; RATION_ESTALE: the period is over;
 * RATION_R_FULL: no room.
 */
int quota_put(
    const struct segment *seg, const struct policy_ref *p, const struct quota *q, uint64_t now_ns);

#endif
