/*
 * config_routes.c - the section `routes`: patterns into a tree, with the limits of each.
 *
 * Patterns are decoded here, so that two spellings of one path are one place in the tree,
 * and a request's path needs no look at how the policy wrote it.  Two patterns that are
 * the same but for their parameters' names end at the same place: only one of them could
 * ever apply, so the second one is a mistake.
 */
#include "load.h"
#include "route_bound.h"

#include <stdlib.h>
#include <string.h>

#include "route.h"

#define METHODS_MAX 64u /* of one path: leaves of a place are looked through one by one */

/* What may not be twice.  The method's name follows. */
struct route_id {
	uint32_t place;
	uint32_t rest;
	char method[RATION_METHOD_MAX + 1];
};

struct segment {
	const char *text; /* NULL: a parameter */
	uint32_t len;
};

struct pattern {
	const char *method;
	bool rest;
	uint32_t n;
	struct segment segments[ROUTE_SEGMENTS];
};

/* ---- patterns ---- */

static int
hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A literal segment, its %-escapes decoded.  NULL, or what was expected. */
static const char *
read_literal(struct config *c, const char *text, size_t len, struct segment *out)
{
	char *to = arena_copy(&c->arena, text, len);

	out->text = to;
	for (size_t i = 0; i < len; i++) {
		int high, low;

		if (text[i] != '%') {
			*to++ = text[i];
			continue;
		}
		high = i + 2 < len ? hex(text[i + 1]) : -1;
		low = high >= 0 ? hex(text[i + 2]) : -1;
		if (low < 0)
			return "two hexadecimal digits behind \"%\"";
		if (high == 0 && low == 0)
			return "a path without NUL";
		*to++ = (char)(high << 4 | low);
		i += 2;
	}
	*to = '\0';
	out->len = (uint32_t)(to - out->text);
	if (strcmp(out->text, ".") == 0 || strcmp(out->text, "..") == 0)
		return "a path without \".\" and \"..\"";
	return NULL;
}

static const char *
read_segment(struct config *c, const char *text, size_t len, struct segment *out)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789_-";

	if (*text != ':')
		return read_literal(c, text, len, out);
	if (len == 1)
		return "a parameter's name behind the colon";
	if (strspn(text + 1, allowed) < len - 1)
		return "a parameter's name of letters, digits, \"_\" and \"-\"";
	out->text = NULL;
	return NULL;
}

/* The path of a pattern.  NULL, or what was expected. */
static const char *
read_path(struct config *c, const char *p, struct pattern *out)
{
	const char *fault = NULL;

	for (const char *q = p; *q != '\0'; q++)
		if ((unsigned char)*q <= ' ' || *q == 0x7f || *q == '?' || *q == '#')
			return "a path without blanks, query or fragment";
	if (strlen(p) > RATION_PATH_MAX)
		return "a path of at most 4096 bytes";
	while (fault == NULL && *p == '/') {
		size_t len = strcspn(++p, "/");
		const char *text = p;

		p += len;
		if (len == 0 && *p == '/')
			return "a path without empty segments";
		if (len == 0)
			break;
		if (memchr(text, '*', len) != NULL) {
			if (len != 1 || *p != '\0')
				return "\"*\" only as the last segment";
			out->rest = true;
		} else if (out->n == ROUTE_SEGMENTS) {
			return "at most 32 segments";
		} else {
			fault = read_segment(c, text, len, &out->segments[out->n++]);
		}
	}
	return fault;
}

/* "POST /boletos/:id/pay".  NULL, or what was expected. */
static const char *
read_pattern(struct config *c, const char *p, struct pattern *out)
{
	static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789!#$%&'+-.^_`|~";
	size_t len = strspn(p, token);

	memset(out, 0, sizeof(*out));
	out->method = "";
	if (len > 0)
		out->method = arena_copy(&c->arena, p, len);
	else if (*p == '*')
		len = 1;
	if (len == 0 || p[len] != ' ' || p[len + 1] != '/')
		return "a method and a path, such as \"POST /boletos/:id/pay\"";
	if (len > RATION_METHOD_MAX)
		return "a method of at most 31 bytes";
	return read_path(c, p + len + 1, out);
}

/* ---- the tree ---- */

static uint32_t
place_add(struct config *c, uint32_t depth)
{
	if (c->nplaces == c->places_cap) {
		c->places_cap = c->places_cap == 0 ? 64 : 2 * c->places_cap;
		c->places = xrealloc(c->places, c->places_cap, sizeof(*c->places));
	}
	c->places[c->nplaces] = (struct place_model) { .depth = depth };
	return c->nplaces++;
}

static uint32_t
param_of(struct config *c, uint32_t from)
{
	if (c->places[from].param == 0) {
		uint32_t to = place_add(c, c->places[from].depth + 1);

		c->places[from].param = to;
	}
	return c->places[from].param;
}

static uint32_t
literal_of(struct config *c, uint32_t from, const struct segment *s)
{
	uint32_t segment = map_find(&c->segmentmap, s->text, s->len), edge;
	uint32_t id[2];

	if (segment == NOBODY)
		segment = map_add(&c->segmentmap, s->text, s->len);
	id[0] = from;
	id[1] = segment;
	edge = map_find(&c->edgemap, id, sizeof(id));
	if (edge != NOBODY)
		return c->edges[edge].to;
	edge = map_add(&c->edgemap, arena_copy(&c->arena, id, sizeof(id)), sizeof(id));
	if (edge >= c->edges_cap) {
		c->edges_cap = c->edges_cap == 0 ? 64 : 2 * c->edges_cap;
		c->edges = xrealloc(c->edges, c->edges_cap, sizeof(*c->edges));
	}
	c->edges[edge] = (struct edge_model) {
		.from = from,
		.to = place_add(c, c->places[from].depth + 1),
		.segment = segment,
		.next = c->places[from].edge,
	};
	c->places[from].edge = edge + 1;
	return c->edges[edge].to;
}

static uint32_t
place_of(struct config *c, const struct pattern *p)
{
	uint32_t place = 0;

	if (c->nplaces == 0)
		place_add(c, 0);
	for (uint32_t i = 0; i < p->n; i++)
		place = p->segments[i].text == NULL ? param_of(c, place)
						    : literal_of(c, place, &p->segments[i]);
	return place;
}

/* ---- claims ---- */

static bool
read_claim(struct loader *l, const struct node *n, struct claim_model *out)
{
	const struct node *got[FIELDS_MAX] = { NULL }, *name = n;
	const struct limit_model *m;
	bool ok = true;

	out->mark = n->mark;
	if (n->kind == NODE_MAP) {
		if (!walk(l, n, &fields_claim, got))
			return false;
		if (got[CLAIM_limit] == NULL) {
			report_add(
			    &l->r, n->mark, "found no limit in a route's entry, expected its name");
			return false;
		}
		name = got[CLAIM_limit]->next;
	}
	if (!get_limit(l, name, &out->limit))
		return false;
	m = &l->c->limits[out->limit];
	if (m->is_value) {
		report_add(&l->r, name->mark,
		    "found %s, expected a limit that is counted: it holds values",
		    shown_node(name));
		ok = false;
	}
	out->key = m->key;
	out->cost = m->cost;
	if (got[CLAIM_key] != NULL)
		ok = get_key_rule(l, got[CLAIM_key]->next, &out->key) && ok;
	if (got[CLAIM_cost] != NULL)
		ok = get_cost(l, got[CLAIM_cost]->next, &out->cost) && ok;
	return ok;
}

static void
read_claims(struct loader *l, const struct node *value, struct route_model *r)
{
	struct config *c = l->c;
	uint32_t room = value->kind == NODE_LIST ? value->len : 1;
	struct claim_model *claims;

	if (room > RATION_CLAIMS_MAX) {
		report_add(&l->r, value->mark, "found a list of %u, expected at most %u limits",
		    room, RATION_CLAIMS_MAX);
		return;
	}
	claims = arena_alloc(&c->arena, (room + 1) * sizeof(*claims));
	r->claims = claims;
	for (const struct node *n = value->kind == NODE_LIST ? value->first : value; n != NULL;
	     n = value->kind == NODE_LIST ? n->next : NULL) {
		struct claim_model *cl = &claims[r->nclaims];
		uint32_t i = 0;

		if (!read_claim(l, n, cl))
			continue;
		while (i < r->nclaims &&
		    (claims[i].limit != cl->limit || claims[i].key.attr != cl->key.attr))
			i++;
		if (i < r->nclaims)
			report_add(&l->r, n->mark,
			    "found the limit \"%s\" again for the same attribute, expected each "
			    "once",
			    c->limits[cl->limit].name);
		else
			r->nclaims++;
	}
}

/* ---- the section ---- */

static void
route_add(struct loader *l, const struct route_model *r)
{
	struct config *c = l->c;
	struct route_id id;
	char place[256];
	uint32_t old;

	memset(&id, 0, sizeof(id));
	id.place = r->place;
	id.rest = r->rest;
	snprintf(id.method, sizeof(id.method), "%s", r->method);
	old = map_find(&c->routemap, &id, sizeof(id));
	if (old != NOBODY) {
		const struct route_model *first = &c->routes[old];

		config_place(c, first->mark, place, sizeof(place));
		if (strcmp(first->pattern, r->pattern) == 0)
			report_add(&l->r, r->mark,
			    "found the route \"%s\" again, expected each once (first at %s)",
			    shown(r->pattern, strlen(r->pattern)), place);
		else
			report_add(&l->r, r->mark,
			    "found the route \"%s\", expected no second one of the same pattern "
			    "(\"%s\" at %s)",
			    shown(r->pattern, strlen(r->pattern)),
			    shown(first->pattern, strlen(first->pattern)), place);
		return;
	}
	map_add(&c->routemap, arena_copy(&c->arena, &id, sizeof(id)), sizeof(id));
	if (c->nroutes == c->routes_cap) {
		c->routes_cap = c->routes_cap == 0 ? 16 : 2 * c->routes_cap;
		c->routes = xrealloc(c->routes, c->routes_cap, sizeof(*c->routes));
	}
	c->routes[c->nroutes++] = *r;
}

static void
read_route(struct loader *l, const struct node *key)
{
	struct route_model r = { .pattern = key->text, .mark = key->mark };
	struct pattern p;
	const char *fault;

	if (!get_text(l, key, "a method and a path"))
		return;
	fault = read_pattern(l->c, key->text, &p);
	if (fault != NULL)
		report_add(
		    &l->r, key->mark, "found the route %s, expected %s", shown_node(key), fault);
	read_claims(l, key->next, &r);
	if (fault != NULL)
		return;
	r.method = p.method;
	r.rest = p.rest;
	r.place = place_of(l->c, &p);
	route_add(l, &r);
}

void
read_routes(struct loader *l, const struct node *key)
{
	if (key->next->kind != NODE_MAP) {
		report_add(&l->r, key->next->mark,
		    "found %s, expected a mapping of routes to limits", shown_node(key->next));
		return;
	}
	for (const struct node *n = key->next->first; n != NULL; n = n->next->next)
		read_route(l, n);
}

/* ---- when all is known ---- */

/* The most rates that any key may have of each limit. */
static uint8_t *
most_rates(const struct config *c)
{
	uint8_t *most = xrealloc(NULL, c->nlimits + 1, sizeof(*most));

	for (uint32_t i = 0; i < c->nlimits; i++) {
		const struct limit_model *m = &c->limits[i];

		most[i] = m->is_value ? 0 : 1;
		if (m->base.rates != NULL && m->base.rates->n > most[i])
			most[i] = m->base.rates->n;
		for (uint32_t p = 0; m->plans != NULL && p < c->nplans; p++)
			if (m->plans[p].rates != NULL && m->plans[p].rates->n > most[i])
				most[i] = m->plans[p].rates->n;
	}
	for (uint32_t i = 0; i < c->npatches; i++) {
		const struct patch *p = &c->patches[i];

		if (p->limit != NOBODY && p->rates != NULL && p->rates->n > most[p->limit])
			most[p->limit] = p->rates->n;
	}
	return most;
}

static void
check_rates(struct loader *l)
{
	const struct config *c = l->c;
	uint8_t *most = most_rates(c);

	for (uint32_t i = 0; i < c->nroutes; i++) {
		const struct route_model *r = &c->routes[i];
		unsigned sum = 0;

		for (uint32_t k = 0; k < r->nclaims; k++)
			sum += most[r->claims[k].limit];
		if (sum > RATION_DECISION_RATES)
			report_add(&l->r, r->mark,
			    "found %u rates in the limits of the route \"%s\", expected at most "
			    "%u in one call",
			    sum, shown(r->pattern, strlen(r->pattern)), RATION_DECISION_RATES);
	}
	free(most);
}

/* A lease is one permit, whatever it is for. */
static void
check_costs(struct loader *l)
{
	const struct config *c = l->c;

	for (uint32_t i = 0; i < c->nroutes; i++)
		for (uint32_t k = 0; k < c->routes[i].nclaims; k++) {
			const struct claim_model *cl = &c->routes[i].claims[k];
			const struct limit_model *m = &c->limits[cl->limit];

			if (m->counted == COUNTED_LEASES && cl->cost > 1)
				report_add(&l->r, cl->mark,
				    "found a cost of %llu of the limit \"%s\", expected 1: it is "
				    "of leases",
				    (unsigned long long)cl->cost, m->name);
		}
}

static void
check_methods(struct loader *l)
{
	const struct config *c = l->c;
	uint32_t *count = xrealloc(NULL, c->nplaces + 1, 2 * sizeof(*count));

	memset(count, 0, (c->nplaces + 1) * 2 * sizeof(*count));
	for (uint32_t i = 0; i < c->nroutes; i++) {
		const struct route_model *r = &c->routes[i];

		if (++count[2 * r->place + r->rest] == METHODS_MAX + 1)
			report_add(&l->r, r->mark,
			    "found the route \"%s\", expected at most %u methods of one path",
			    shown(r->pattern, strlen(r->pattern)), METHODS_MAX);
	}
	free(count);
}

static void
check_visits(struct loader *l)
{
	const struct config *c = l->c;
	struct route_bound b;
	const struct route_model *alike[3] = { NULL };
	uint32_t n = 0;

	if (c->nroutes == 0 || route_bound(c, ROUTE_VISITS, &b))
		return;
	for (uint32_t i = 0; i < c->nroutes; i++)
		if (b.visited[c->routes[i].place] && n++ < 3)
			alike[n - 1] = &c->routes[i];
	if (n == 0) { /* all that end there were mistakes of another kind */
		alike[0] = &c->routes[0];
		n = 1;
	}
	report_add(&l->r, alike[0]->mark,
	    "found the route \"%s\"%s%s%s%s%s%s, which one path fits in so many ways that a "
	    "search visits %s%u places, expected at most %u",
	    shown(alike[0]->pattern, strlen(alike[0]->pattern)), n > 1 ? " beside \"" : "",
	    n > 1 ? shown(alike[1]->pattern, strlen(alike[1]->pattern)) : "",
	    n > 2       ? "\", \""
		: n > 1 ? "\""
			: "",
	    n > 2 ? shown(alike[2]->pattern, strlen(alike[2]->pattern)) : "", n > 2 ? "\"" : "",
	    n > 3 ? " and others" : "", b.exact ? "" : "perhaps ", b.most, ROUTE_VISITS);
	free(b.visited);
}

void
check_routes(struct loader *l)
{
	check_rates(l);
	check_costs(l);
	check_methods(l);
	check_visits(l);
}
