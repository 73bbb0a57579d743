/*
 * route_bound.h - how many places of the tree of routes one path can make a search visit.
 */
#ifndef RATIOND_ROUTE_BOUND_H
#define RATIOND_ROUTE_BOUND_H

#include "model.h"

struct route_bound {
	uint32_t most; /* places that a path visits: more than asked for */
	bool exact;    /* there is such a path; false: it was not found out */
	bool *visited; /* by place: on that path; the caller frees */
};

/*
 * Does every path visit at most `most` places?  False: *out says what one visits.
 * Places are what a search visits that finds nothing: one that finds a route ends sooner.
 */
bool route_bound(const struct config *c, uint32_t most, struct route_bound *out);

/* The most places that any path visits; UINT32_MAX: it was not found out. */
uint32_t route_visits(const struct config *c);

#endif
