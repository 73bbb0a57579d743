/*
 * make.h - a segment for a policy and a time of somebody's choosing, served by nobody: who wants
 * to know what a policy would have done replays the past in it (`ration try`).
 */
#ifndef RATIOND_MAKE_H
#define RATIOND_MAKE_H

#include "config.h"

struct make {
	const char *dir;      /* is there, and the caller's alone */
	const char *instance; /* NULL: as everywhere */
	int64_t at_s;         /* Unix s that the calendar is laid out around */
	uint64_t keys;        /* slots; 0: as the policy says */
};

/*
 * Make the segment, or give the one that is there the policy anew for another time: what was used
 * in it stays used.  A new one's shared time is MAKE_SHARED_NS at at_s.  0; or -1 with the
 * mistakes.
 */
#define MAKE_SHARED_NS INT64_C(1000000000000)
int make_segment(const struct make *o, const struct config *c, struct mistakes *m);

#endif
