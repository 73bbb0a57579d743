/*
 * compile_routes.c - the tree of routes, the attributes of requests, proxies and the exempt
 * into an area.
 *
 * The tree was made while the files were read (config_routes.c); live changes do not touch
 * it.  Here its leaves are put in the order in which a search wants them.
 */
#include "compile.h"
#include "report.h"

#include <stdlib.h>
#include <string.h>

#include "route.h"

/* ---- building ---- */

/* qsort() has no argument for it; rationd has one thread. */
static const struct route_model *sorted_routes;

/* By place; of one place what ends there before "*", of each kind any method last. */
static int
by_place(const void *a, const void *b)
{
	uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
	const struct route_model *x = &sorted_routes[i], *y = &sorted_routes[k];

	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	if (x->rest != y->rest)
		return x->rest ? 1 : -1;
	if ((x->method[0] == '\0') != (y->method[0] == '\0'))
		return x->method[0] == '\0' ? 1 : -1;
	return i < k ? -1 : i > k;
}

/* A live change may have given a limit more rates than the files had. */
static void
check_rates(struct builder *b)
{
	const struct config *c = b->c;
	uint16_t most[LIMITS_MAX] = { 0 };
	char place[256];

	for (uint32_t i = 0; i < b->nrulesets; i++)
		if (b->rulesets[i].nrates > most[b->rulesets[i].limit])
			most[b->rulesets[i].limit] = b->rulesets[i].nrates;
	for (uint32_t i = 0; i < c->nroutes; i++) {
		const struct route_model *r = &c->routes[i];
		unsigned sum = 0;

		for (uint32_t k = 0; k < r->nclaims; k++)
			sum += most[b->id_of[r->claims[k].limit]];
		if (sum > RATION_DECISION_RATES)
			mistakes_add(b->m,
			    "route \"%s\" (%s): found %u rates in its limits, expected at most "
			    "%u in one call",
			    shown(r->pattern, strlen(r->pattern)),
			    config_place(c, r->mark, place, sizeof(place)), sum,
			    RATION_DECISION_RATES);
	}
}

static uint32_t
map_string(struct builder *b, const struct map *m, uint32_t index)
{
	return build_string(b, m->entries[index].bytes);
}

void
build_routes(struct builder *b)
{
	const struct config *c = b->c;
	char place[256];

	check_rates(b);
	for (uint32_t i = 0; i < c->attrmap.n; i++)
		map_string(b, &c->attrmap, i);
	for (uint32_t i = 0; i < c->segmentmap.n; i++)
		map_string(b, &c->segmentmap, i);
	b->route_order = arena_alloc(&b->arena, (c->nroutes + 1) * sizeof(*b->route_order));
	for (uint32_t i = 0; i < c->nroutes; i++) {
		const struct route_model *r = &c->routes[i];

		b->route_order[i] = i;
		b->nclaims += r->nclaims;
		build_string(b, r->method);
		build_string(b, r->pattern);
		build_string(b, config_place(c, r->mark, place, sizeof(place)));
	}
	sorted_routes = c->routes;
	if (c->nroutes > 0)
		qsort(b->route_order, c->nroutes, sizeof(*b->route_order), by_place);
}

void
build_exempt(struct builder *b)
{
	const struct config *c = b->c;
	char place[256], origin[256 + 16];
	struct ruleset r;

	if (c->exempt_mark.line == 0)
		return;
	snprintf(origin, sizeof(origin), "%s: exempt",
	    config_place(c, c->exempt_mark, place, sizeof(place)));
	b->exempt = b->nrulesets;
	for (uint32_t id = 0; id < b->nids; id++) {
		memset(&r, 0, sizeof(r));
		r.limit = id;
		r.flags = RULESET_EXEMPT;
		r.until = POLICY_ENDLESS;
		r.origin = build_string(b, origin);
		build_ruleset_add(b, &r);
	}
}

/* ---- laying out ---- */

void
lay_out_routes(const struct builder *b, struct policy_area *a, uint64_t *at)
{
	const struct config *c = b->c;
	bool routes = c->nroutes > 0;

	a->default_env = c->default_env;
	a->exempt = b->exempt;
	a->nattrs = c->attrmap.n;
	a->nproxies = c->nproxies;
	a->nexempt = c->nexempts;
	a->nnodes = routes ? c->nplaces : 0;
	a->nleaves = c->nroutes;
	a->nclaims = b->nclaims;
	a->nedges = routes ? c->edgemap.n : 0;
	a->nedgetab = routes ? build_hash_size(a->nedges) : 0;
	a->attrs = build_place(at, a->nattrs, sizeof(struct name_def), 8);
	a->nodes = build_place(at, a->nnodes, sizeof(struct route_node), 8);
	a->leaves = build_place(at, a->nleaves, sizeof(struct route_leaf), 8);
	a->claims = build_place(at, a->nclaims, sizeof(struct route_claim), 8);
	a->edges = build_place(at, a->nedges, sizeof(struct route_edge), 8);
	a->edgetab = build_place(at, a->nedgetab, sizeof(uint32_t), 8);
	a->proxies = build_place(at, a->nproxies, sizeof(struct cidr_def), 8);
	a->exempts = build_place(at, a->nexempt, sizeof(struct cidr_def), 8);
}

/* ---- writing ---- */

static void
write_leaves(struct builder *b, const struct policy_area *a, char *area)
{
	struct route_node *nodes = (struct route_node *)(void *)(area + a->nodes);
	struct route_leaf *leaves = (struct route_leaf *)(void *)(area + a->leaves);
	struct route_claim *claims = (struct route_claim *)(void *)(area + a->claims);
	const struct config *c = b->c;
	uint32_t nclaims = 0;
	char place[256];

	for (uint32_t i = 0; i < c->nroutes; i++) {
		const struct route_model *r = &c->routes[b->route_order[i]];
		struct route_node *node = &nodes[r->place];

		if (node->nends == 0 && node->nrests == 0)
			node->leaves = i;
		if (r->rest)
			node->nrests++;
		else
			node->nends++;
		leaves[i] = (struct route_leaf) {
			.method = build_string(b, r->method),
			.pattern = build_string(b, r->pattern),
			.origin = build_string(b, config_place(c, r->mark, place, sizeof(place))),
			.claims = nclaims,
			.number = b->route_order[i],
			.nclaims = (uint16_t)r->nclaims,
			.method_len = (uint8_t)strlen(r->method),
		};
		for (uint32_t k = 0; k < r->nclaims; k++) {
			const struct claim_model *cl = &r->claims[k];

			claims[nclaims++] = (struct route_claim) {
				.limit = b->id_of[cl->limit],
				.attr = cl->key.attr,
				.address = cl->key.address,
				.prefix4 = cl->key.prefix4,
				.prefix6 = cl->key.prefix6,
				.cost = cl->cost,
			};
		}
	}
}

static void
write_edges(struct builder *b, const struct policy_area *a, char *area)
{
	struct route_edge *edges = (struct route_edge *)(void *)(area + a->edges);
	uint32_t *tab = (uint32_t *)(void *)(area + a->edgetab);
	const struct config *c = b->c;

	for (uint32_t i = 0; i < a->nedges; i++) {
		const struct edge_model *e = &c->edges[i];
		const struct map_entry *s = &c->segmentmap.entries[e->segment];

		edges[i] = (struct route_edge) {
			.hash = route_hash(e->from, s->bytes, s->len),
			.from = e->from,
			.to = e->to,
			.text = build_string(b, s->bytes),
			.len = s->len,
		};
		build_hash_put(tab, a->nedgetab, edges[i].hash, i);
	}
}

void
write_routes(struct builder *b, const struct policy_area *a, char *area)
{
	struct name_def *attrs = (struct name_def *)(void *)(area + a->attrs);
	struct route_node *nodes = (struct route_node *)(void *)(area + a->nodes);
	const struct config *c = b->c;

	for (uint32_t i = 0; i < a->nattrs; i++)
		attrs[i] =
		    (struct name_def) { map_string(b, &c->attrmap, i), c->attrmap.entries[i].len };
	for (uint32_t i = 0; i < a->nnodes; i++)
		nodes[i].param = c->places[i].param;
	write_leaves(b, a, area);
	write_edges(b, a, area);
	if (a->nproxies > 0)
		memcpy(area + a->proxies, c->proxies, a->nproxies * sizeof(*c->proxies));
	if (a->nexempt > 0)
		memcpy(area + a->exempts, c->exempts, a->nexempt * sizeof(*c->exempts));
}
