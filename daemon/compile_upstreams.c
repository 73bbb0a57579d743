/*
 * compile_upstreams.c - upstreams into the area, in the order of their hashes.
 */
#include "compile.h"

#include <stdlib.h>
#include <string.h>

static int
by_hash(const void *a, const void *b)
{
	uint64_t x = ((const struct upstream_def *)a)->hash,
		 y = ((const struct upstream_def *)b)->hash;

	return (x > y) - (x < y);
}

void
build_upstreams(struct builder *b)
{
	const struct config *c = b->c;
	char place[256];

	b->upstreams = arena_alloc(&b->arena, (c->nupstreams + 1) * sizeof(*b->upstreams));
	for (uint32_t i = 0; i < c->nupstreams; i++) {
		const struct upstream_model *u = &c->upstreams[i];
		struct upstream_def *d = &b->upstreams[i];

		*d = u->def;
		d->name = build_string(b, u->name);
		d->origin = build_string(b, config_place(c, u->mark, place, sizeof(place)));
		d->nrates = u->rates != NULL ? u->rates->n : 0;
		/* Days and months are those of the defaults' timezone. */
		for (unsigned r = 0; r < d->nrates; r++)
			build_rate(&d->rates[r], &u->rates->rate[r], 0, c->zones[0]);
	}
	if (c->nupstreams > 0)
		qsort(b->upstreams, c->nupstreams, sizeof(*b->upstreams), by_hash);
}

void
write_upstreams(const struct builder *b, const struct policy_area *a, char *area)
{
	if (a->nupstreams > 0)
		memcpy(area + a->upstreams, b->upstreams, a->nupstreams * sizeof(*b->upstreams));
}
