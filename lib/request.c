/*
 * request.c - what a request takes: its route's limits, each for the attribute that is its
 * key, in one call.
 */
#include "ration.h"

#include <string.h>

#include "address.h"
#include "atomics.h"
#include "call.h"
#include "route.h"

/* A request as it came in. */
struct request {
	const char *method;
	const char *path;
	const ration_attr_t *attrs;
	size_t nattrs;
	uint64_t cost;
};

/*
 * What a request's claims refer to, for as long as the call lasts: names are copied out of the
 * policy, addresses are written anew.
 */
struct texts {
	char names[RATION_CLAIMS_MAX][RATION_NAME_MAX + 1];
	char addresses[RATION_CLAIMS_MAX][ADDRESS_KEY_MAX];
};

static int
request_check(const ration_t *r, const struct request *q, const ration_decision_t *d)
{
	if (r == NULL || q->method == NULL || q->path == NULL ||
	    (d != NULL && d->size != sizeof(*d)) || q->nattrs > RATION_ATTRS_MAX ||
	    (q->attrs == NULL && q->nattrs != 0))
		return RATION_EINVAL;
	if (q->method[0] == '\0' || strnlen(q->method, RATION_METHOD_MAX + 1) > RATION_METHOD_MAX ||
	    route_path_len(q->path) > RATION_PATH_MAX)
		return RATION_EINVAL;
	for (size_t i = 0; i < q->nattrs; i++)
		if (q->attrs[i].size != sizeof(q->attrs[i]) || q->attrs[i].name == NULL ||
		    (q->attrs[i].value == NULL && q->attrs[i].len != 0))
			return RATION_EINVAL;
	return q->cost > RATION_COST_MAX ? RATION_ECOST : 0;
}

/* The request's attribute of this number in the policy; NULL: it has none. */
static const ration_attr_t *
attr_of(const struct policy_ref *p, const struct request *q, uint16_t number)
{
	uint32_t n = p->area->nattrs;
	const struct name_def *defs = policy_section(p, p->area->attrs, n, sizeof(*defs));
	const char *name;

	if (defs == NULL || number >= n)
		return NULL;
	name = policy_string(p, defs[number].name, NULL);
	for (size_t i = 0; i < q->nattrs; i++)
		if (strcmp(q->attrs[i].name, name) == 0)
			return &q->attrs[i];
	return NULL;
}

/* What became of a claim, or of all of them. */
enum claimed { CLAIMED, LEFT_OUT, EXEMPT, NOT_A_KEY };

/*
 * One claim of the route into the call.  Of an address the key is the prefix, but whether it is
 * exempt depends on the whole of it.
 */
static enum claimed
claim(struct call *c, const struct policy_ref *p, const struct request *q,
    const struct route_claim *rc, struct texts *t, int *error)
{
	const ration_attr_t *a = attr_of(p, q, rc->attr);
	struct limit_def limit;
	const char *name;
	const void *key;
	struct item *it;
	size_t name_len, len;

	if (a == NULL || !policy_limit(p, rc->limit, &limit) || (limit.flags & LIMIT_VALUE) != 0)
		return LEFT_OUT;
	key = a->value;
	len = a->len;
	*error = RATION_EKEY;
	if (rc->address != 0) {
		if (address_exempt(p, a->value, a->len))
			return EXEMPT;
		key = t->addresses[c->n];
		len = address_key(a->value, a->len, rc->prefix4, rc->prefix6, t->addresses[c->n]);
		*error = RATION_EADDRESS;
	}
	if (len == 0 || len > RATION_KEY_MAX)
		return NOT_A_KEY;
	name = policy_string(p, limit.name, &name_len);
	if (name_len > RATION_NAME_MAX)
		name_len = 0;
	memcpy(t->names[c->n], name, name_len);
	t->names[c->n][name_len] = '\0';
	it = call_claim(
	    c, t->names[c->n], name_len, rc->limit, key, len, rc->cost != 0 ? rc->cost : q->cost);
	it->fixed = rc->cost != 0;
	return CLAIMED;
}

/*
 * The claims of the route, all under one version of the policy.  *flags: those of a call
 * that takes nothing.  0 or an error; *intact: neither counts if it was being rewritten.
 */
static int
claim_all(struct call *c, const struct policy_ref *p, const struct request *q, struct texts *t,
    uint32_t *flags)
{
	uint32_t n = p->area->nclaims;
	const struct route_claim *claims = policy_section(p, p->area->claims, n, sizeof(*claims));
	struct route_leaf leaf;
	int result = 0, error;

	c->n = 0;
	*flags = 0;
	if (route_find(p, q->method, q->path, &leaf) && claims != NULL && leaf.claims <= n &&
	    leaf.nclaims <= n - leaf.claims && leaf.nclaims <= RATION_CLAIMS_MAX)
		for (uint32_t i = 0; i < leaf.nclaims; i++) {
			struct route_claim rc;

			memcpy(&rc, &claims[leaf.claims + i], sizeof(rc));
			switch (claim(c, p, q, &rc, t, &error)) {
			case EXEMPT:
				*flags = RATION_F_EXEMPT;
				break;
			case NOT_A_KEY:
				result = error;
				break;
			default:
				break;
			}
		}
	if (*flags != 0) {
		c->n = 0;
		return 0;
	}
	if (c->n == 0)
		*flags = RATION_F_UNROUTED;
	return result;
}

/*
 * The long way.  The route is of one version and the limits of this or a later one: ids mean the
 * same in both, but for a limit that is gone meanwhile, with which the route is looked for again.
 */
static int
request_decide(ration_t *r, const struct request *q, bool charge, ration_decision_t *d)
{
	struct call c;
	struct texts texts;
	struct policy_ref p;
	uint32_t flags;
	int result = request_check(r, q, d);

	if (result != 0)
		return result;
	result = call_begin(&c, r, charge, d);
	if (result != 0)
		return result;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (!policy_current(c.seg->policy, &p))
			return RATION_EDETACHED;
		result = claim_all(&c, &p, q, &texts, &flags);
		if (!policy_intact(&p))
			continue;
		if (result != 0)
			return result;
		result = call_run(&c);
		if (result == RATION_ENOLIMIT && c.policy.version != p.version)
			continue;
		if (result == RATION_ADMITTED)
			c.d->flags |= flags;
		return result;
	}
	return RATION_EBUSY;
}

int
ration_route(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	const struct request q = { method, path, attrs, n, cost };

	return request_decide(r, &q, true, d);
}

int
ration_route_peek(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	const struct request q = { method, path, attrs, n, cost };

	return request_decide(r, &q, false, d);
}
