/*
 * config_upstreams.c - the section `upstreams`: how clients on this host behave towards other
 * people's services, by name.
 */
#include "load.h"
#include "upstream.h"

#include <stdlib.h>
#include <string.h>

#define PAUSE_MAX_MS (UINT64_C(86400) * 1000)
#define TRIES_MOST 1000u
#define FAILURES_MOST 10000u
#define FACTOR_MOST 100u

#define X(name) #name,
static const char *const names_upstream[] = { FIELDS_UPSTREAM(X) };
static const char *const names_breaker[] = { FIELDS_BREAKER(X) };
#undef X
const struct fields fields_upstream = { "an upstream", names_upstream, UPSTREAM_FIELDS };
const struct fields fields_breaker = { "breaker", names_breaker, BREAKER_FIELDS };

/* ---- fields ---- */

/* A time of whole milliseconds, up to a day. */
static bool
get_ms(struct loader *l, const struct node *n, uint64_t least, uint32_t *ms)
{
	char err[256];
	uint64_t ns;

	if (!get_text(l, n, "a time such as 1s"))
		return false;
	if (duration_parse(n->text, &ns, err, sizeof(err)) != 0) {
		report_add(&l->r, n->mark, "%s", err);
		return false;
	}
	if (ns / MS_NS < least || ns > PAUSE_MAX_MS * MS_NS || ns % MS_NS != 0) {
		report_add(&l->r, n->mark, "found %s, expected whole milliseconds, %llu ms to 1d",
		    shown_node(n), (unsigned long long)least);
		return false;
	}
	*ms = (uint32_t)(ns / MS_NS);
	return true;
}

static void
set_status(struct upstream_def *d, unsigned status)
{
	unsigned bit = status - UPSTREAM_ON_FIRST;

	d->on[bit / 64] |= UINT64_C(1) << bit % 64;
}

/* 429, 5xx, network */
static void
read_status(struct loader *l, const struct node *n, struct upstream_def *d)
{
	unsigned first, last;

	if (n->kind == NODE_SCALAR && strcmp(n->text, "network") == 0) {
		set_status(d, UPSTREAM_ON_FIRST + UPSTREAM_ON_NETWORK);
		return;
	}
	if (n->kind != NODE_SCALAR || n->len != 3 || (n->text[0] != '4' && n->text[0] != '5') ||
	    (strcmp(n->text + 1, "xx") != 0 && strspn(n->text, "0123456789") != 3)) {
		report_add(&l->r, n->mark,
		    "found %s, expected a status from 400 to 599, 4xx, 5xx or network",
		    shown_node(n));
		return;
	}
	first = last = (unsigned)strtoul(n->text, NULL, 10);
	if (n->text[1] == 'x') {
		first = (unsigned)(n->text[0] - '0') * 100;
		last = first + 99;
	}
	while (first <= last)
		set_status(d, first++);
}

static void
read_on(struct loader *l, const struct node *n, struct upstream_def *d)
{
	memset(d->on, 0, sizeof(d->on));
	if (n->kind != NODE_LIST) {
		read_status(l, n, d);
		return;
	}
	for (n = n->first; n != NULL; n = n->next)
		read_status(l, n, d);
}

static void
read_factor(struct loader *l, const struct node *n, struct upstream_def *d)
{
	uint64_t num, den;

	if (!get_fraction(l, n, &num, &den))
		return;
	if (num < den || num > den * FACTOR_MOST || num * 1000 % den != 0)
		report_add(&l->r, n->mark,
		    "found %s, expected a factor of 1 to %u with at most three decimals",
		    shown_node(n), FACTOR_MOST);
	else
		d->factor = (uint32_t)(num * 1000 / den);
}

static void
read_jitter(struct loader *l, const struct node *n, struct upstream_def *d)
{
	if (!get_text(l, n, "full, none or a time such as 1s"))
		return;
	if (strcmp(n->text, "full") == 0)
		d->jitter = JITTER_FULL;
	else if (strcmp(n->text, "none") == 0)
		d->jitter = JITTER_NONE;
	else if (n->text[0] < '0' || n->text[0] > '9')
		report_add(&l->r, n->mark, "found %s, expected full, none or a time such as 1s",
		    shown_node(n));
	else if (get_ms(l, n, 0, &d->jitter_ms))
		d->jitter = JITTER_ADDED;
}

static void
read_breaker(struct loader *l, const struct node *n, struct upstream_def *d)
{
	const struct node *got[FIELDS_MAX];
	uint64_t failures;

	if (n->kind == NODE_SCALAR && strcmp(n->text, "off") == 0) {
		d->failures = 0;
		return;
	}
	if (n->kind != NODE_MAP) {
		report_add(&l->r, n->mark,
		    "found %s, expected off, or a mapping such as {failures: 5, open: 30s}",
		    shown_node(n));
		return;
	}
	if (!walk(l, n, &fields_breaker, got))
		return;
	if (got[BREAKER_failures] != NULL &&
	    get_quantity(l, got[BREAKER_failures]->next, 1, FAILURES_MOST, &failures))
		d->failures = (uint16_t)failures;
	if (got[BREAKER_open] != NULL)
		(void)get_ms(l, got[BREAKER_open]->next, 100, &d->open_ms);
}

static int
falling(const void *a, const void *b)
{
	return (int)*(const uint8_t *)b - (int)*(const uint8_t *)a;
}

static void
read_low(struct loader *l, const struct node *list, struct upstream_def *d)
{
	uint64_t v;
	unsigned n = 0;

	if (list->kind != NODE_LIST || list->len > UPSTREAM_LOWS) {
		report_add(&l->r, list->mark, "found %s, expected a list of up to %u percentages",
		    list->kind == NODE_LIST ? "more percentages" : shown_node(list), UPSTREAM_LOWS);
		return;
	}
	memset(d->low, 0, sizeof(d->low));
	for (const struct node *i = list->first; i != NULL; i = i->next) {
		if (!get_quantity(l, i, 1, 99, &v))
			continue;
		if (memchr(d->low, (int)v, n) != NULL)
			report_add(&l->r, i->mark, "found %s again, expected each percentage once",
			    shown_node(i));
		else
			d->low[n++] = (uint8_t)v;
	}
	qsort(d->low, n, 1, falling);
}

/* Units in time: no concurrency, which answers say nothing of. */
static void
read_limit(struct loader *l, const struct node *n, struct upstream_model *u)
{
	const struct rates *r = get_rates(l, n, NULL);

	if (r == NULL)
		return;
	if (rates_counted(r) == COUNTED_LEASES)
		report_add(&l->r, n->mark, "found a concurrency, expected rates such as 100/min");
	else if (rates_counted(r) == COUNTED_UNITS)
		u->rates = r;
}

static void
read_fields(struct loader *l, const struct node *map, struct upstream_model *u)
{
	const struct node *got[FIELDS_MAX];
	struct upstream_def *d = &u->def;
	uint64_t tries;

	if (!walk(l, map, &fields_upstream, got))
		return;
	if (got[UPSTREAM_limit] != NULL)
		read_limit(l, got[UPSTREAM_limit]->next, u);
	if (got[UPSTREAM_on] != NULL)
		read_on(l, got[UPSTREAM_on]->next, d);
	if (got[UPSTREAM_tries] != NULL &&
	    get_quantity(l, got[UPSTREAM_tries]->next, 0, TRIES_MOST, &tries))
		d->tries = (uint16_t)tries;
	if (got[UPSTREAM_first] != NULL)
		(void)get_ms(l, got[UPSTREAM_first]->next, 1, &d->first_ms);
	if (got[UPSTREAM_factor] != NULL)
		read_factor(l, got[UPSTREAM_factor]->next, d);
	if (got[UPSTREAM_most] != NULL)
		(void)get_ms(l, got[UPSTREAM_most]->next, 1, &d->most_ms);
	if (got[UPSTREAM_jitter] != NULL)
		read_jitter(l, got[UPSTREAM_jitter]->next, d);
	if (got[UPSTREAM_breaker] != NULL)
		read_breaker(l, got[UPSTREAM_breaker]->next, d);
	if (got[UPSTREAM_low] != NULL)
		read_low(l, got[UPSTREAM_low]->next, d);
	if (d->most_ms < d->first_ms)
		report_add(&l->r,
		    got[UPSTREAM_most] != NULL ? got[UPSTREAM_most]->next->mark : map->mark,
		    "found a longest pause below the first one, expected most to be at least "
		    "first");
}

/* ---- the section ---- */

static void
read_one(struct loader *l, const struct node *key)
{
	struct upstream_model u = {
		.name = key->text, .mark = key->mark, .def = upstream_defaults
	};
	struct config *c = l->c;
	char place[256];
	uint32_t old;

	if (!get_name(l, key, RATION_NAME_MAX, "an upstream's name"))
		return;
	old = map_find(&c->upstreammap, key->text, key->len);
	if (old != NOBODY) {
		report_add(&l->r, key->mark,
		    "found the upstream %s again, expected each name once (first at %s)",
		    shown_node(key), config_place(c, c->upstreams[old].mark, place, sizeof(place)));
		return;
	}
	if (c->nupstreams == SIDE_UPSTREAMS) {
		report_add(&l->r, key->mark, "found one more upstream, expected at most %u",
		    SIDE_UPSTREAMS);
		return;
	}
	u.def.hash = policy_hash(key->text, key->len);
	/* Nothing in it: the defaults, by name. */
	if (key->next->kind != NODE_SCALAR || key->next->len > 0)
		read_fields(l, key->next, &u);
	map_add(&c->upstreammap, key->text, key->len);
	c->upstreams = xrealloc(c->upstreams, c->nupstreams + 1, sizeof(*c->upstreams));
	c->upstreams[c->nupstreams++] = u;
}

void
read_upstreams(struct loader *l, const struct node *key)
{
	if (key->next->kind == NODE_SCALAR && key->next->len == 0)
		return;
	if (key->next->kind != NODE_MAP) {
		report_add(&l->r, key->next->mark,
		    "found %s, expected a mapping of names to upstreams", shown_node(key->next));
		return;
	}
	for (const struct node *n = key->next->first; n != NULL; n = n->next->next)
		read_one(l, n);
}
