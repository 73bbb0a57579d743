/*
 * route_bound.c - the worst path for a tree of routes.
 *
 * A search visits the places that agree with a beginning of the path.  Which those are
 * depends on the path's segments one after the other: of the places at one depth some have
 * an edge by the next segment, and all may have a parameter behind them.  To find the path
 * that visits most is as hard as it sounds (it is the choice of values that satisfies most
 * of a set of conjunctions), so the answer comes in two steps:
 *
 *	reach	of a place: itself, its parameter's reach, and the greatest reach
 *		behind an edge.  As if each place could choose the segment for itself, so
 *		never too small; linear.  Nearly always this is within the bound.
 *	search	over the segments of a path, the most promising first; where the reach
 *		of all places at hand adds too little to what was visited, there is no need
 *		to look further.  Exact.
 *
 * The search is bounded in steps; a policy for which they are not enough is refused.
 */
#include "route_bound.h"

#include <stdlib.h>
#include <string.h>

#include "route.h"

#define STEPS_MAX 2000000u

/* Where a segment leads from the places at hand. */
struct choice {
	uint32_t segment;
	uint64_t reach; /* of the places behind it, without parameters */
};

struct search {
	const struct config *c;
	uint64_t *reach;
	uint32_t *places; /* at hand, at each depth: begins[depth] on */
	uint32_t *begins;
	uint32_t counts[ROUTE_SEGMENTS + 2];
	uint64_t best; /* visited by the best path so far */
	uint64_t enough;
	bool *visited; /* on it */
	uint64_t steps;
};

static void
fill_reach(struct search *s)
{
	const struct config *c = s->c;

	/* What is below a place comes after it. */
	for (uint32_t i = c->nplaces; i-- > 0;) {
		const struct place_model *p = &c->places[i];
		uint64_t edge = 0;

		for (uint32_t e = p->edge; e != 0; e = c->edges[e - 1].next)
			if (s->reach[c->edges[e - 1].to] > edge)
				edge = s->reach[c->edges[e - 1].to];
		s->reach[i] = 1 + (p->param != 0 ? s->reach[p->param] : 0) + edge;
	}
}

static int
by_segment(const void *a, const void *b)
{
	const struct choice *x = a, *y = b;

	return x->segment < y->segment ? -1 : x->segment > y->segment;
}

static int
by_reach(const void *a, const void *b)
{
	const struct choice *x = a, *y = b;

	if (x->reach != y->reach)
		return x->reach > y->reach ? -1 : 1;
	return x->segment < y->segment ? -1 : x->segment > y->segment;
}

/* The segments that have an edge from a place at hand, the most promising first. */
static struct choice *
choices_of(struct search *s, uint32_t depth, uint32_t *n)
{
	const uint32_t *at = s->places + s->begins[depth];
	const struct config *c = s->c;
	struct choice *list;
	uint32_t cap = 0, out = 0;

	*n = 0;
	for (uint32_t i = 0; i < s->counts[depth]; i++)
		for (uint32_t e = c->places[at[i]].edge; e != 0; e = c->edges[e - 1].next)
			cap++;
	if (cap == 0)
		return NULL;
	list = xrealloc(NULL, cap, sizeof(*list));
	for (uint32_t i = 0; i < s->counts[depth]; i++)
		for (uint32_t e = c->places[at[i]].edge; e != 0; e = c->edges[e - 1].next)
			list[(*n)++] = (struct choice) { c->edges[e - 1].segment,
				s->reach[c->edges[e - 1].to] };
	s->steps += cap;
	qsort(list, *n, sizeof(*list), by_segment);
	for (uint32_t i = 0; i < *n; i++) {
		if (out > 0 && list[out - 1].segment == list[i].segment)
			list[out - 1].reach += list[i].reach;
		else
			list[out++] = list[i];
	}
	*n = out;
	qsort(list, out, sizeof(*list), by_reach);
	return list;
}

/* Put the places behind `segment` (NOBODY: no edge) at hand, one deeper. */
static void
go(struct search *s, uint32_t depth, uint32_t segment)
{
	const uint32_t *at = s->places + s->begins[depth];
	uint32_t *to = s->places + s->begins[depth + 1];
	const struct config *c = s->c;
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->counts[depth]; i++) {
		uint32_t id[2] = { at[i], segment };
		uint32_t edge = segment != NOBODY ? map_find(&c->edgemap, id, sizeof(id)) : NOBODY;

		if (edge != NOBODY)
			to[n++] = c->edges[edge].to;
		if (c->places[at[i]].param != 0)
			to[n++] = c->places[at[i]].param;
	}
	s->counts[depth + 1] = n;
	s->steps += s->counts[depth];
}

static void
take_best(struct search *s, uint32_t depth, uint64_t visits)
{
	s->best = visits;
	memset(s->visited, 0, s->c->nplaces * sizeof(*s->visited));
	for (uint32_t d = 0; d <= depth; d++)
		for (uint32_t i = 0; i < s->counts[d]; i++)
			s->visited[s->places[s->begins[d] + i]] = true;
}

static bool
over(const struct search *s)
{
	return s->best > s->enough || s->steps > STEPS_MAX;
}

/* visits: of the places at hand and above.  As deep as patterns are: ROUTE_SEGMENTS. */
static void
look(struct search *s, uint32_t depth, uint64_t visits)
{
	const uint32_t *at = s->places + s->begins[depth];
	struct choice *list;
	uint64_t params = 0;
	uint32_t n;

	if (visits > s->best)
		take_best(s, depth, visits);
	for (uint32_t i = 0; i < s->counts[depth]; i++)
		if (s->c->places[at[i]].param != 0)
			params += s->reach[s->c->places[at[i]].param];
	list = choices_of(s, depth, &n);
	/* No edge at all visits less than any edge, so it is only for want of one. */
	for (uint32_t i = 0; i < (n > 0 ? n : 1) && !over(s); i++) {
		if (visits + params + (n > 0 ? list[i].reach : 0) <= s->best)
			break;
		go(s, depth, n > 0 ? list[i].segment : NOBODY);
		look(s, depth + 1, visits + s->counts[depth + 1]);
	}
	free(list);
}

static void
search_begin(struct search *s, const struct config *c, uint64_t enough)
{
	uint32_t deepest = 0;

	memset(s, 0, sizeof(*s));
	s->c = c;
	s->enough = enough;
	s->reach = xrealloc(NULL, c->nplaces + 1, sizeof(*s->reach));
	s->places = xrealloc(NULL, c->nplaces + 1, sizeof(*s->places));
	s->visited = xrealloc(NULL, c->nplaces + 1, sizeof(*s->visited));
	memset(s->visited, 0, c->nplaces * sizeof(*s->visited));
	s->begins = xrealloc(NULL, ROUTE_SEGMENTS + 2, sizeof(*s->begins));
	memset(s->begins, 0, (ROUTE_SEGMENTS + 2) * sizeof(*s->begins));
	for (uint32_t i = 0; i < c->nplaces; i++) {
		s->begins[c->places[i].depth + 1]++;
		if (c->places[i].depth > deepest)
			deepest = c->places[i].depth;
	}
	for (uint32_t d = 1; d <= deepest + 1; d++)
		s->begins[d] += s->begins[d - 1];
	fill_reach(s);
	s->places[0] = 0;
	s->counts[0] = c->nplaces > 0 ? 1 : 0;
}

static void
search_end(struct search *s)
{
	free(s->reach);
	free(s->places);
	free(s->begins);
	free(s->visited);
}

bool
route_bound(const struct config *c, uint32_t most, struct route_bound *out)
{
	struct search s;
	bool fits;

	memset(out, 0, sizeof(*out));
	if (c->nplaces == 0)
		return true;
	search_begin(&s, c, most);
	fits = s.reach[0] <= most;
	if (!fits) {
		s.best = most;
		look(&s, 0, 1);
		out->exact = s.best > most;
		fits = !out->exact && s.steps <= STEPS_MAX;
		out->most = out->exact        ? (uint32_t)s.best
		    : s.reach[0] > UINT32_MAX ? UINT32_MAX
					      : (uint32_t)s.reach[0];
	}
	if (!fits) {
		out->visited = s.visited;
		s.visited = NULL;
	}
	search_end(&s);
	return fits;
}

uint32_t
route_visits(const struct config *c)
{
	struct search s;
	uint32_t result = 0;

	if (c->nplaces == 0)
		return 0;
	search_begin(&s, c, UINT32_MAX);
	look(&s, 0, 1);
	result = s.steps <= STEPS_MAX ? (uint32_t)s.best : UINT32_MAX;
	search_end(&s);
	return result;
}
