#include "replay.h"

#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "call.h"
#include "route.h"

#define NS_S INT64_C(1000000000)

static uint64_t
clock_of(void *arg)
{
	return *(const uint64_t *)arg;
}

/* ---- the policy, once ---- */

static int
want_of(const struct replay *p, const char *attr)
{
	for (unsigned i = 0; i < p->nattrs; i++)
		if (strcmp(p->attrs[i].name, attr) == 0)
			return p->attrs[i].want;
	return -1;
}

static const char *
attr_name(const struct policy_ref *ref, uint16_t number)
{
	const struct name_def *defs =
	    policy_section(ref, ref->area->attrs, ref->area->nattrs, sizeof(*defs));

	return defs == NULL || number >= ref->area->nattrs
	    ? ""
	    : policy_string(ref, defs[number].name, NULL);
}

static bool
load_limits(struct replay *p, const struct policy_ref *ref)
{
	p->nlimits = ref->area->nlimits < LIMITS_MAX ? ref->area->nlimits : LIMITS_MAX;
	p->limits = calloc(p->nlimits + 1, sizeof(*p->limits));
	if (p->limits == NULL)
		return false;
	for (uint32_t i = 0; i < p->nlimits; i++) {
		struct replay_limit *l = &p->limits[i];
		struct limit_def def;

		if (!policy_limit(ref, i, &def))
			return false;
		snprintf(l->name, sizeof(l->name), "%s", policy_string(ref, def.name, NULL));
		snprintf(l->attr, sizeof(l->attr), "%s", attr_name(ref, def.attr));
		l->gone = (def.flags & LIMIT_GONE) != 0;
		l->value = (def.flags & LIMIT_VALUE) != 0;
		l->leases = (def.flags & LIMIT_LEASES) != 0;
		p->bounded |= def.max_keys != 0;
	}
	return true;
}

/* What is left out is remembered with its limit. */
static void
add_claim(struct replay *p, const struct policy_ref *ref, struct replay_route *r,
    const struct route_claim *rc)
{
	struct replay_limit *l = rc->limit < p->nlimits ? &p->limits[rc->limit] : NULL;
	int want = want_of(p, attr_name(ref, rc->attr));

	if (l == NULL || l->gone || l->value || l->leases)
		return;
	if (want < 0) {
		l->missing = true;
		return;
	}
	if (r->n == RATION_CLAIMS_MAX) {
		l->beyond = true;
		return;
	}
	r->claims[r->n++] = (struct replay_claim) { .limit = rc->limit,
		.want = want,
		.address = rc->address != 0,
		.prefix4 = rc->prefix4,
		.prefix6 = rc->prefix6,
		.cost = rc->cost };
}

static bool
load_routes(struct replay *p, const struct policy_ref *ref)
{
	uint32_t nleaves = ref->area->nleaves, nclaims = ref->area->nclaims;
	const struct route_leaf *leaves =
	    policy_section(ref, ref->area->leaves, nleaves, sizeof(*leaves));
	const struct route_claim *claims =
	    policy_section(ref, ref->area->claims, nclaims, sizeof(*claims));

	p->routes = calloc(nleaves, sizeof(*p->routes));
	if (p->routes == NULL || leaves == NULL || claims == NULL)
		return false;
	p->nroutes = nleaves;
	p->routed = true;
	for (uint32_t i = 0; i < nleaves; i++) {
		const struct route_leaf *leaf = &leaves[i];
		struct replay_route *r = &p->routes[leaf->number % nleaves];

		if (leaf->number >= nleaves || leaf->claims > nclaims ||
		    leaf->nclaims > nclaims - leaf->claims)
			return false;
		r->pattern = strdup(policy_string(ref, leaf->pattern, NULL));
		if (r->pattern == NULL)
			return false;
		for (uint32_t k = 0; k < leaf->nclaims; k++)
			add_claim(p, ref, r, &claims[leaf->claims + k]);
	}
	return true;
}

/* No routes: every request takes of every limit whose attribute it has. */
static bool
load_all(struct replay *p, const struct policy_ref *ref)
{
	p->routes = calloc(1, sizeof(*p->routes));
	if (p->routes == NULL)
		return false;
	p->nroutes = 1;
	for (uint32_t i = 0; i < p->nlimits; i++) {
		struct limit_def def;

		if (!policy_limit(ref, i, &def))
			return false;
		add_claim(p, ref, p->routes,
		    &(const struct route_claim) { .limit = i,
			.attr = def.attr,
			.address = (def.flags & LIMIT_ADDRESS) != 0,
			.prefix4 = def.prefix4,
			.prefix6 = def.prefix6 });
	}
	return true;
}

const char *
replay_open(struct replay *p, const char *dir, const struct replay_attr *attrs, unsigned n)
{
	struct policy_ref ref;
	int e;

	memset(p, 0, sizeof(*p));
	memcpy(p->attrs, attrs, n * sizeof(*attrs));
	p->nattrs = n;
	p->newest_ns = INT64_MIN;
	e = ration_open_dir(dir, "try", 0, &p->r);
	if (e != 0)
		return ration_strerror(e);
	clock_fake(&p->r->clock, clock_of, &p->now_ns);
	p->seg = handle_segment(p->r);
	if (p->seg == NULL || !policy_current(p->seg->policy, &ref))
		return "no policy in the segment";
	if (!denied_init(&p->denied_keys, 0) || !load_limits(p, &ref) ||
	    !(ref.area->nleaves != 0 ? load_routes : load_all)(p, &ref))
		return "out of memory";
	return NULL;
}

void
replay_close(struct replay *p)
{
	for (uint32_t i = 0; i < p->nroutes; i++)
		free(p->routes[i].pattern);
	free(p->routes);
	free(p->limits);
	denied_free(&p->denied_keys);
	ration_close(p->r);
	memset(p, 0, sizeof(*p));
}

uint64_t
replay_key_bytes(const struct replay *p)
{
	return ((uint64_t)p->seg->stride + p->seg->nbuckets / p->seg->nslots + 1) * 8;
}

unsigned
replay_claims(const struct replay *p)
{
	unsigned most = 1;

	for (uint32_t i = 0; i < p->nroutes; i++)
		most = p->routes[i].n > most ? p->routes[i].n : most;
	return most;
}

/* ---- housekeeping ---- */

static void
round_now(struct replay *p)
{
	while (!table_sweep(
	    p->seg, &p->sweep, UINT64_MAX, p->now_ns, clock_unix(p->seg->policy, p->now_ns), 0))
		;
	p->live = p->sweep.live;
	p->most_live = p->live > p->most_live ? p->live : p->most_live;
	p->sweep = (struct sweep) { 0 };
	p->claimed = 0;
	p->round_s = p->newest_ns / NS_S;
}

/*
 * Before the table can be full; but a round costs as much as there are slots, so there is one for
 * an eighth of them at most.  Limits on the number of keys are kept by these rounds: as rationd
 * has one every ten seconds, here is one then, too.
 */
static void
keep_house(struct replay *p)
{
	uint64_t slots = p->seg->nslots;

	if (p->claimed <= slots / 8)
		return;
	if (p->live + p->claimed + RATION_CLAIMS_MAX > slots ||
	    (p->bounded && p->newest_ns / NS_S >= p->round_s + 10))
		round_now(p);
}

void
replay_finish(struct replay *p)
{
	if (p->newest_ns != INT64_MIN)
		round_now(p);
}

/* ---- a request ---- */

static void
move_clock(struct replay *p, int64_t unix_ns)
{
	if (unix_ns < p->newest_ns) {
		int64_t by = p->newest_ns - unix_ns;

		p->older++;
		p->oldest_ns = by > p->oldest_ns ? by : p->oldest_ns;
		return;
	}
	p->newest_ns = unix_ns;
	p->now_ns = (uint64_t)(unix_ns -
	    atomic_load_explicit(&p->seg->policy->real_offset_ns, memory_order_relaxed));
}

/* NULL: none; or there is no request to look one up for. */
static struct replay_route *
route_of(struct replay *p, const struct log_line *l)
{
	struct policy_ref ref;
	struct route_leaf leaf;

	if (!p->routed)
		return p->routes;
	if (l->method.at == NULL || l->method.len > RATION_METHOD_MAX ||
	    route_path_len(l->path.at) > RATION_PATH_MAX || !policy_current(p->seg->policy, &ref) ||
	    !route_find(&ref, l->method.at, l->path.at, &leaf) || leaf.number >= p->nroutes)
		return NULL;
	return &p->routes[leaf.number];
}

/* What a request's keys stand in. */
struct keys {
	char addresses[RATION_CLAIMS_MAX][ADDRESS_KEY_MAX];
};

enum claimed { CLAIMED, LEFT_OUT, EXEMPT, NO_KEY };

static enum claimed
claim(struct replay *p, struct call *c, const struct replay_claim *rc, const struct log_line *l,
    uint64_t cost, struct keys *keys)
{
	struct log_text t = l->wants[rc->want];
	const char *name = p->limits[rc->limit].name;
	const char *key = t.at;
	size_t len = t.len;
	struct policy_ref ref;

	if (t.at == NULL)
		return LEFT_OUT;
	if (rc->address) {
		if (policy_current(p->seg->policy, &ref) && ref.area->nexempt != 0 &&
		    address_exempt(&ref, t.at, t.len))
			return EXEMPT;
		key = keys->addresses[c->n];
		len = address_key(t.at, t.len, rc->prefix4, rc->prefix6, keys->addresses[c->n]);
	}
	if (len == 0 || len > RATION_KEY_MAX)
		return NO_KEY;
	(void)call_claim(
	    c, name, strlen(name), rc->limit, key, len, rc->cost != 0 ? rc->cost : cost);
	return CLAIMED;
}

/* A bit for each claim that refused. */
static unsigned
refused(const struct call *c, const ration_decision_t *d)
{
	unsigned bits = 0;

	if (d->verdict != RATION_DENIED)
		return 0;
	if (d->reason == RATION_R_FULL || d->reason == RATION_R_UNLISTED)
		return 1u << d->claim;
	for (unsigned i = 0; i < d->nrates; i++)
		if (d->rates[i].retry_at != 0)
			bits |= 1u << d->rates[i].claim;
	(void)c;
	return bits;
}

static void
count_denial(struct replay *p, struct replay_limit *l, uint64_t number)
{
	int64_t now_s = p->newest_ns / NS_S, minute = now_s / 60;

	if (l->denied++ == 0) {
		l->first_s = now_s;
		l->first_line = number;
	}
	if (l->minute != minute)
		l->in_minute = 0;
	l->minute = minute;
	if (++l->in_minute > l->peak) {
		l->peak = l->in_minute;
		l->peak_s = minute * 60;
	}
}

static void
count(struct replay *p, const struct call *c, const ration_decision_t *d, uint64_t number)
{
	unsigned bits = refused(c, d);

	for (unsigned k = 0; k < c->n; k++) {
		const struct item *it = &c->items[k];
		struct replay_limit *l = &p->limits[it->limit_id];

		l->calls++;
		l->units += it->cost;
		l->mode = it->rules.mode;
		if ((bits >> k & 1) != 0) {
			count_denial(p, l, number);
			(void)denied_count(&p->denied_keys, (uint16_t)it->limit_id, it->id.key,
			    it->id.key_len, p->newest_ns / NS_S);
		} else if (d->verdict == RATION_DENIED) {
			l->elsewhere++;
		} else {
			l->admitted++;
			l->observed += it->observed;
		}
	}
}

static void
decide(struct replay *p, struct call *c, struct replay_route *route, ration_decision_t *d,
    uint64_t number)
{
	int verdict = call_run(c);

	if (verdict < 0) {
		p->failed++;
		return;
	}
	p->calls++;
	route->calls++;
	p->claimed += c->n;
	p->full += (d->flags & RATION_F_TABLE_FULL) != 0;
	if ((d->flags & RATION_F_EXEMPT) != 0) {
		p->exempt++;
		p->admitted++;
		return;
	}
	count(p, c, d, number);
	if (verdict == RATION_ADMITTED) {
		p->admitted++;
		p->observed += (d->flags & RATION_F_OBSERVED) != 0;
		route->observed += (d->flags & RATION_F_OBSERVED) != 0;
	} else {
		p->denied++;
		route->denied++;
	}
}

void
replay_call(struct replay *p, const struct log_line *l, uint64_t cost, uint64_t number)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct replay_route *route;
	struct keys keys;
	struct call c;

	move_clock(p, l->unix_ns);
	route = route_of(p, l);
	if (route == NULL) {
		p->unrouted++;
		return;
	}
	if (call_begin(&c, p->r, true, &d) != 0) {
		p->failed++;
		return;
	}
	for (unsigned i = 0; i < route->n; i++)
		switch (claim(p, &c, &route->claims[i], l, cost, &keys)) {
		case EXEMPT:
			p->calls++;
			p->admitted++;
			p->exempt++;
			route->calls++;
			return;
		case NO_KEY:
			p->bad_key++;
			return;
		default:
			break;
		}
	if (c.n == 0) {
		p->unrouted++;
		return;
	}
	decide(p, &c, route, &d, number);
	keep_house(p);
}
