/*
 * cmd_route.c - what a request takes, as a service would ask for it.  Does not need rationd.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "rate.h"
#include "route.h"

/* The attributes of the command line: NAME=VALUE, VALUE as a key is written. */
struct attributes {
	char names[RATION_ATTRS_MAX][RATION_NAME_MAX + 1];
	unsigned char values[RATION_ATTRS_MAX][256];
	ration_attr_t attrs[RATION_ATTRS_MAX];
	size_t n;
};

/* The route found, and the key of the claim that decided. */
struct explained {
	bool found;
	char pattern[512];
	char origin[512];
	unsigned char key[256];
	size_t key_len;
};

static int
read_attributes(const struct args *a, struct attributes *out)
{
	out->n = 0;
	if (a->nattrs > (int)RATION_ATTRS_MAX) {
		complain("route: --attr is given %d times, expected at most %u", a->nattrs,
		    RATION_ATTRS_MAX);
		return EXIT_USAGE;
	}
	for (int i = 0; i < a->nattrs; i++) {
		const char *text = a->attrs[i], *equals = strchr(text, '=');
		size_t n = equals ? (size_t)(equals - text) : 0;
		int len = equals ? key_parse(equals + 1, out->values[i]) : -1;

		if (n == 0 || n > RATION_NAME_MAX || len < 0) {
			complain("route: --attr: found \"%s\", expected NAME=VALUE, the value as a "
				 "key is written, e.g. ip=203.0.113.9",
			    text);
			return EXIT_USAGE;
		}
		memcpy(out->names[i], text, n);
		out->names[i][n] = '\0';
		out->attrs[i] = (ration_attr_t) { .size = sizeof(ration_attr_t),
			.name = out->names[i],
			.value = out->values[i],
			.len = (size_t)len };
		out->n++;
	}
	return EXIT_OK;
}

static const ration_attr_t *
attribute_of(const struct policy_ref *p, const struct attributes *attrs, uint16_t number)
{
	uint32_t n = p->area->nattrs;
	const struct name_def *defs = policy_section(p, p->area->attrs, n, sizeof(*defs));

	for (size_t i = 0; defs && number < n && i < attrs->n; i++)
		if (strcmp(policy_string(p, defs[number].name, NULL), attrs->names[i]) == 0)
			return &attrs->attrs[i];
	return NULL;
}

/* Claims are counted as the call counted them: without those whose attribute is missing. */
static void
explain_key(const struct policy_ref *p, const struct route_leaf *leaf,
    const struct attributes *attrs, unsigned claim, struct explained *e)
{
	uint32_t n = p->area->nclaims;
	const struct route_claim *claims = policy_section(p, p->area->claims, n, sizeof(*claims));
	char text[ADDRESS_KEY_MAX];

	for (uint32_t i = 0; claims && i < leaf->nclaims && leaf->claims + i < n; i++) {
		const struct route_claim *rc = &claims[leaf->claims + i];
		const ration_attr_t *at = attribute_of(p, attrs, rc->attr);

		if (!at || claim-- != 0)
			continue;
		e->key_len = at->len;
		memcpy(e->key, at->value, at->len);
		if (rc->address) {
			e->key_len =
			    address_key(at->value, at->len, rc->prefix4, rc->prefix6, text);
			memcpy(e->key, text, e->key_len);
		}
		return;
	}
}

static void
explain(struct ctx *c, const struct args *a, const struct attributes *attrs,
    const ration_decision_t *d, struct explained *e)
{
	struct policy_ref p;
	struct route_leaf leaf;

	for (unsigned tries = 0; tries < 16; tries++) {
		memset(e, 0, sizeof(*e));
		if (!policy_current(c->seg.policy, &p))
			return;
		e->found = route_find(&p, a->pos[0], a->pos[1], &leaf);
		if (e->found) {
			(void)snprintf(e->pattern, sizeof(e->pattern), "%s",
			    policy_string(&p, leaf.pattern, NULL));
			(void)snprintf(e->origin, sizeof(e->origin), "%s",
			    policy_string(&p, leaf.origin, NULL));
			if (d->nrates > 0)
				explain_key(&p, &leaf, attrs, d->claim, e);
		}
		if (policy_intact(&p))
			return;
	}
}

static void
route_json(ration_t *r, const ration_decision_t *d, const struct explained *e)
{
	json_t *route = e->found
	    ? json_pack("{s:s, s:s}", "pattern", e->pattern, "origin", e->origin)
	    : json_null();
	char *text = route ? json_dumps(route, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	char *more = NULL;

	if (text && asprintf(&more, "\"route\":%s", text) == -1)
		more = NULL;
	print_decision_json(r, d, e->key, e->key_len, more);
	putchar('\n');
	free(more);
	free(text);
	json_decref(route);
}

static void
route_text(ration_t *r, const ration_decision_t *d, const struct args *a, const struct explained *e)
{
	char limit[RATION_NAME_MAX + 1] = "", key[KEY_TEXT_MAX];

	if (d->nrates > 0 && ration_limit_name(r, d, d->claim, limit, sizeof(limit)) > 0) {
		key_text(e->key, e->key_len, key);
		print_decision(r, d, limit, key);
	} else {
		printf("admitted ");
		print_text(stdout, a->pos[0]);
		putchar(' ');
		print_text(stdout, a->pos[1]);
		puts(d->flags & RATION_F_EXEMPT ? ": exempt"
			: d->flags & RATION_F_UNROUTED
			? (e->found ? ": none of the route's attributes was given" : ": no route")
			: ": nothing is counted");
	}
	if (e->found) {
		printf("%-12s ", "route");
		print_text(stdout, e->pattern);
		fputs(" (", stdout);
		print_text(stdout, e->origin);
		puts(")");
	}
	if (d->nrates > 1) {
		putchar('\n');
		print_rates(d);
	}
}

/* Leases would end with this command: what was taken is given back at once. */
static void
release_all(ration_t *r, const ration_decision_t *d)
{
	for (unsigned i = 0; i < RATION_CLAIMS_MAX; i++) {
		ration_lease_t lease;

		if (ration_decision_lease(r, d, i, &lease) == 0)
			(void)ration_release(r, &lease);
	}
}

int
cmd_route(struct ctx *c, const struct args *a)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct attributes attrs;
	struct explained e;
	uint64_t cost = 1;
	char err[128];
	ration_t *r;
	int code = read_attributes(a, &attrs), rc;

	if (code)
		return code;
	if (a->opt[OPT_COST] && quantity_parse(a->opt[OPT_COST], &cost, err, sizeof(err))) {
		complain("route: --cost: %s", err);
		return EXIT_USAGE;
	}
	code = ctx_attach(c);
	if (code)
		return code;
	r = open_library(c, &code);
	if (!r)
		return code;
	rc = (a->opt[OPT_PEEK] ? ration_route_peek : ration_route)(
	    r, a->pos[0], a->pos[1], attrs.attrs, attrs.n, cost, &d);
	if (rc < 0) {
		complain("route: %s %s: %s", a->pos[0], a->pos[1], ration_strerror(rc));
	} else {
		explain(c, a, &attrs, &d, &e);
		if (c->json)
			route_json(r, &d, &e);
		else
			route_text(r, &d, a, &e);
	}
	if (rc == RATION_ADMITTED)
		release_all(r, &d);
	ration_close(r);
	return acquire_code(rc);
}
