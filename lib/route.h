/*
 * route.h - from a request to the limits that apply: the tree of patterns.
 *
 * A pattern is a method (or "*") and a path of segments: literal, ":name" for any one, and a last
 * "*" for any number, none included.  The most specific one applies, judged from the left: a
 * literal before ":name" before "*"; where the path is the same, the method before "*".
 *
 * The tree is searched in that order and back from dead ends.  rationd refuses a policy in
 * which any path could visit more than ROUTE_VISITS nodes, so the time depends on the path's
 * length, not on the number of routes.
 */
#ifndef RATION_ROUTE_H
#define RATION_ROUTE_H

#include "policy.h"

#define ROUTE_SEGMENTS 32u /* of a path; what is beyond them only "*" matches */
#define ROUTE_VISITS 256u

/*
 * Hash of the edge from a node by a literal segment (as it is after %-decoding).  In the
 * table its index + 1 stands at the first free place from hash & (nedgetab - 1) on; 0 ends a
 * search, so at least half of the places are 0.
 */
uint64_t route_hash(uint32_t from, const void *segment, size_t len);

/* Bytes of a path without its query; more than RATION_PATH_MAX: it is too long. */
size_t route_path_len(const char *path);

/* False: no route, or the area was being rewritten (policy_intact() tells). */
bool route_find(
    const struct policy_ref *p, const char *method, const char *path, struct route_leaf *out);

#endif
