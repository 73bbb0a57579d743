/*
 * request.c - what a request takes: its route's limits, each for the attribute that is its
 * key, in one call.
 *
 * The route of a text that was seen before is remembered (known.h), and claims on keys that
 * exist go the short way (many.h).  Everything else is decided the long way.
 */
#include "ration.h"

#include <string.h>

#include "address.h"
#include "known.h"
#include "many.h"
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
	if (rc->address != 0 && len != 0) {
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
	int result = call_begin(&c, r, charge, d);

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
		if (result == RATION_ADMITTED && flags != 0) {
			c.d->flags |= flags;
			c.d->limit_id[0] = NO_ID; /* no limit has a say in it */
		}
		return result;
	}
	return RATION_EBUSY;
}

/* ---- the short way ---- */

/* A claim whose attribute is the key as it stands.  False: there is more to it. */
SHORT bool
request_claim(const struct known_claim *k, const ration_attr_t *attrs, size_t nattrs, uint64_t cost,
    struct many_claim *c)
{
	const ration_attr_t *a = attrs + WHAT_PLACE(k->what);

	if (UNLIKELY(WHAT_PLACE(k->what) >= nattrs || a->size != sizeof(*a) || a->name == NULL ||
		a->value == NULL || name_word(a->name, WHAT_SHIFT(k->what)) != k->name ||
		a->len - 1 >= KEY_INLINE_WORDS * 8))
		return false;
	c->key = a->value;
	c->len = a->len;
	c->name = NULL;
	c->limit = WHAT_LIMIT(k->what);
	c->cost = k->cost != 0 ? k->cost : cost;
	c->fixed = (uint32_t)(k->what / WHAT_FIXED) * WHERE_FIXED;
	c->checked = (k->what & WHAT_ADDRESS) * (HINT_CHECKED / WHAT_ADDRESS);
	c->words = long_key(c->key, c->len);
	c->hint = hint_by_id(c->limit, &c->words);
	return LIKELY(plain_cost(c->cost));
}

/* Is an address its own key, whatever prefix IPv6 addresses are cut to? */
static bool
is_own_key(const void *address, size_t address_len, const char *key, size_t len)
{
	return len == address_len && memcmp(address, key, len) == 0 &&
	    memchr(key, ':', len) == NULL;
}

/*
 * The route is known, but not where all of its keys are, or another was faster.  OVER: the short
 * way has nothing more to say.
 */
static int __attribute__((noinline)) request_far(ration_t *r, const struct segment *seg,
    uint64_t now, const struct many_claim *c, unsigned n, ration_decision_t *d)
{
	struct plain p = plain_start(r, seg, now);
	char text[ADDRESS_KEY_MAX];

	for (unsigned i = 0; i < n; i++)
		if (c[i].checked != 0 &&
		    !is_own_key(
			c[i].key, c[i].len, text, address_key(c[i].key, c[i].len, 32, 128, text)))
			return LONG_WAY;
	return many_any(&p, c, n, d) == RATION_ADMITTED ? RATION_ADMITTED : OVER;
}

/* n claims (a constant) in order, each known by a hint. */
SHORT int
request_short(const struct plain *p, const ration_attr_t *attrs, size_t nattrs, uint64_t cost,
    const struct known_claim *k, unsigned n, ration_decision_t *d)
{
	struct many_claim c[3];

	if (UNLIKELY(!request_claim(&k[0], attrs, nattrs, cost, &c[0]) ||
		(n > 1 && !request_claim(&k[1], attrs, nattrs, cost, &c[1])) ||
		(n > 2 && !request_claim(&k[2], attrs, nattrs, cost, &c[2]))))
		return LONG_WAY;
	if (UNLIKELY(many_short(p, c, n, d) != RATION_ADMITTED)) {
		const struct many_claim far[3] = { c[0], c[n > 1], c[n > 2 ? 2 : 0] };

		return request_far(p->h, p->seg, p->now, far, n, d);
	}
	return RATION_ADMITTED;
}

/* The same for any claims: attributes that are missing, addresses that are cut, keys far away. */
static int
request_any(const struct plain *p, const struct policy_ref *ref, const struct request *q,
    const struct route_claim *rc, unsigned n, ration_decision_t *d)
{
	struct many_claim c[MANY_MAX];
	char texts[MANY_MAX][ADDRESS_KEY_MAX];
	unsigned k = 0;

	for (unsigned i = 0; i < n; i++) {
		const ration_attr_t *a = attr_of(ref, q, rc[i].attr);

		if (a == NULL)
			continue;
		if (k == MANY_MAX)
			return LONG_WAY;
		c[k].key = a->value;
		c[k].len = a->len;
		c[k].checked = 0;
		if (a->len == 0)
			return LONG_WAY;
		if (rc[i].address != 0) {
			/* An exempt address may be one of many that have its key. */
			if (address_exempt(ref, a->value, a->len))
				return LONG_WAY;
			c[k].key = (const unsigned char *)texts[k];
			c[k].len =
			    address_key(a->value, a->len, rc[i].prefix4, rc[i].prefix6, texts[k]);
			if (is_own_key(a->value, a->len, texts[k], c[k].len))
				c[k].checked = HINT_CHECKED;
		}
		c[k].name = NULL;
		c[k].limit = rc[i].limit;
		c[k].cost = rc[i].cost != 0 ? rc[i].cost : q->cost;
		c[k].fixed = rc[i].cost != 0 ? WHERE_FIXED : 0;
		if (c[k].len - 1 >= KEY_INLINE_WORDS * 8 || !plain_cost(c[k].cost))
			return LONG_WAY;
		c[k].words = long_key(c[k].key, c[k].len);
		c[k].hint = hint_by_id(c[k].limit, &c[k].words);
		k++;
	}
	return k == 0 ? LONG_WAY : many_any(p, c, k, d);
}

/* Claims that only the long way understands. */
static bool
claims_short(const struct policy_ref *p, const struct route_claim *rc, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct limit_def limit;

		/* Whether the key's slot knows of exempt addresses depends on the limit. */
		if (!policy_limit(p, rc[i].limit, &limit) ||
		    (limit.flags & (LIMIT_GONE | LIMIT_LEASES | LIMIT_VALUE)) != 0 ||
		    (rc[i].address != 0 && (limit.flags & LIMIT_ADDRESS) == 0 &&
			p->area->nexempt != 0))
			return false;
	}
	return true;
}

/*
 * Remember the claims of this request, each with the place of its attribute; of another route
 * or without an attribute they are looked for again.
 */
static void
request_learn(const struct plain *p, const struct policy_ref *ref, const struct request *q,
    const struct route_claim *rc, unsigned n)
{
	struct known_claim k[KNOWN_CLAIMS] = { { 0, 0, 0 } }, old[KNOWN_CLAIMS];

	if (n == 0 || n > KNOWN_CLAIMS)
		return;
	for (unsigned i = 0; i < n; i++) {
		const ration_attr_t *a = attr_of(ref, q, rc[i].attr);
		size_t len;

		/* An address goes the shortest way if it is its own key. */
		if (a == NULL || (len = strlen(a->name)) > NAME_MAX_SHORT ||
		    (rc[i].address != 0 && rc[i].prefix4 < 32))
			return;
		k[i].what = WHAT(rc[i].limit, a - q->attrs, len) |
		    (rc[i].cost != 0 ? WHAT_FIXED : 0) | (rc[i].address != 0 ? WHAT_ADDRESS : 0);
		k[i].name = name_word(a->name, NAME_SHIFT((unsigned)len));
		k[i].cost = rc[i].cost;
	}
	if (policy_intact(ref) &&
	    (known_route(p, q->method, q->path, old) != n || memcmp(k, old, n * sizeof(k[0])) != 0))
		route_known(p, q->method, q->path, k, n);
}

/* False: the route is one for the long way, or none. */
static bool
request_find(const struct policy_ref *ref, const struct request *q, const struct route_claim **rc,
    unsigned *nclaims)
{
	uint32_t n = ref->area->nclaims;
	const struct route_claim *claims =
	    policy_section(ref, ref->area->claims, n, sizeof(*claims));
	struct route_leaf leaf;

	if (claims == NULL || !route_find(ref, q->method, q->path, &leaf) || leaf.claims > n ||
	    leaf.nclaims > n - leaf.claims || leaf.nclaims > RATION_CLAIMS_MAX ||
	    !claims_short(ref, claims + leaf.claims, leaf.nclaims))
		return false;
	*rc = claims + leaf.claims;
	*nclaims = leaf.nclaims;
	return true;
}

/*
 * Not the commonest request: its text is new, or its claims are.  By value, for what is handed
 * over by address has to be kept in memory by those who are in a hurry.
 */
static int __attribute__((noinline)) request_search(ration_t *r, const struct segment *seg,
    uint64_t now, const struct request *q, ration_decision_t *d)
{
	struct plain p = plain_start(r, seg, now);
	const struct route_claim *rc;
	struct policy_ref ref;
	unsigned n;

	ref.head = seg->policy;
	ref.area = p.area;
	ref.area_bytes = seg->policy->area_bytes;
	ref.version = POLICY_CURRENT(p.policy_word);
	if (ref.version == 0 || ref.version == POLICY_RETIRED || !request_find(&ref, q, &rc, &n))
		return LONG_WAY;
	request_learn(&p, &ref, q, rc, n);
	return request_any(&p, &ref, q, rc, n, d);
}

/* RATION_ADMITTED or LONG_WAY. */
SHORT int
request_try(ration_t *r, const struct segment *seg, uint64_t now, const char *method,
    const char *path, const ration_attr_t *attrs, size_t n, uint64_t cost, ration_decision_t *d)
{
	struct plain p = plain_start(r, seg, now);
	struct known_claim k[KNOWN_CLAIMS];

	switch (known_route(&p, method, path, k)) {
	case 1:
		return request_short(&p, attrs, n, cost, k, 1, d);
	case 2:
		return request_short(&p, attrs, n, cost, k, 2, d);
	case 3:
		return request_short(&p, attrs, n, cost, k, 3, d);
	default:
		return LONG_WAY;
	}
}

/* ---- public ---- */

/* Everything that ration_route() can be asked. */
static int __attribute__((noinline))
request_every(ration_t *r, const struct request *q, ration_decision_t *d, bool search)
{
	const struct segment *seg;
	int result = request_check(r, q, d);

	if (result != 0)
		return result;
	seg = handle_segment(r);
	if (seg != NULL && d != NULL && search &&
	    request_search(r, seg, clock_coarse(&r->clock, seg->policy), q, d) == RATION_ADMITTED)
		return RATION_ADMITTED;
	return request_decide(r, q, true, d);
}

int
ration_route(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;
	int verdict = LONG_WAY;

	if (LIKELY(r != NULL && method != NULL && path != NULL && attrs != NULL &&
		n <= RATION_ATTRS_MAX && d != NULL && d->size == sizeof(*d) &&
		(seg = handle_segment(r)) != NULL))
		verdict = request_try(
		    r, seg, clock_coarse(&r->clock, seg->policy), method, path, attrs, n, cost, d);
	if (LIKELY(verdict == RATION_ADMITTED))
		return verdict;
	return request_every(
	    r, &(const struct request) { method, path, attrs, n, cost }, d, verdict != OVER);
}

int
ration_route_peek(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	const struct request q = { method, path, attrs, n, cost };
	int result = request_check(r, &q, d);

	return result != 0 ? result : request_decide(r, &q, false, d);
}
