/*
 * make.c - rationd --make: compile, make, publish, leave.
 *
 * No lock, no store, no socket: the directory is the caller's own, and nobody is rationd there.
 * The clock is the caller's too, so that shared time begins at a figure of its own instead of
 * this host's; only the offset to Unix time is told.
 */
#include "make.h"

#include <stdlib.h>

#include "segment.h"

#define SECOND_NS INT64_C(1000000000)

/* Into the segment's spare area.  0, CONFIG_NO_ROOM or -1. */
static int
publish(const struct segment *seg, const struct config *c, int64_t at_s, struct mistakes *m)
{
	struct policy_ref current;
	bool known = policy_current(seg->policy, &current);
	uint32_t version;
	void *area = policy_begin(seg->policy, &version);
	int e = config_compile(c, NULL, 0, known ? current.area : NULL, seg->cells, at_s, area,
	    seg->policy->area_bytes, version, m);

	if (e == 0)
		policy_publish(seg->policy, version);
	return e;
}

static int
make_new(const struct make *o, const struct paths *p, const struct config *c, struct mistakes *m)
{
	struct segment_size size;
	struct config_table t;
	struct segment seg;
	char err[1600];
	int e;

	config_table(c, &t);
	size = (struct segment_size) { .nslots = o->keys != 0 ? o->keys : t.keys,
		.cells = t.cells,
		.policy_bytes = t.policy_bytes };
	for (;; size.policy_bytes *= 2) {
		if (segment_create(p, &size, (unsigned)-1, &seg, err, sizeof(err)) != 0) {
			mistakes_add(m, "%s", err);
			return -1;
		}
		if (seg.side == NULL &&
		    segment_side_make(p, (unsigned)-1, &seg, err, sizeof(err)) != 0) {
			mistakes_add(m, "%s", err);
			segment_detach(&seg);
			return -1;
		}
		atomic_store_explicit(&seg.policy->real_offset_ns,
		    o->at_s * SECOND_NS - MAKE_SHARED_NS, memory_order_relaxed);
		e = publish(&seg, c, o->at_s, m);
		segment_detach(&seg);
		if (e != CONFIG_NO_ROOM || size.policy_bytes > POLICY_MAX / 2)
			return e == 0 ? 0 : -1;
		mistakes_free(m);
		*m = (struct mistakes) { 0 };
	}
}

int
make_segment(const struct make *o, const struct config *c, struct mistakes *m)
{
	struct segment seg;
	struct paths p;
	char err[512];
	int e;

	if (paths_find(o->instance, o->dir, true, &p) != 0) {
		mistakes_add(m, "%s: expected a directory of moderate length", o->dir);
		return -1;
	}
	e = segment_attach_owner(&p, &seg, err, sizeof(err));
	if (e == RATION_ENOSEG)
		return make_new(o, &p, c, m);
	if (e != 0) {
		mistakes_add(m, "%s", err);
		return -1;
	}
	e = publish(&seg, c, o->at_s, m);
	segment_detach(&seg);
	return e == 0 ? 0 : -1;
}
