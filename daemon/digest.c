#include "digest.h"

#include <string.h>

#define CHAIN 8 /* as many followers as policy_resolve() looks at */

/* The area is rationd's own: written by it, and read-only to all others. */
static const void *
section(const struct policy_ref *p, uint64_t off)
{
	return (const char *)p->area + off;
}

bool
digest_cell(
    const struct policy_ref *p, uint32_t limit, uint32_t plan, uint32_t env, struct ruleset *out)
{
	const struct policy_area *a = p->area;
	const uint32_t *matrix = section(p, a->matrix);
	size_t at = ((size_t)limit * (a->nplans + 1) + plan) * (a->nenvs + 1) + env;

	if (limit >= a->nlimits || plan > a->nplans || env > a->nenvs)
		return false;
	return policy_ruleset(p, matrix[at], out);
}

static uint64_t
mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

/* Where a rule comes from is not part of it: moving a line is no change. */
static uint64_t
ruleset_digest(const struct policy_ref *p, uint32_t index)
{
	uint64_t h = 1;
	struct ruleset r;

	for (int i = 0; i < CHAIN && policy_ruleset(p, index, &r); i++) {
		h = mix(h, (uint64_t)r.mode << 16 | r.nrates);
		h = mix(h, (uint64_t)r.until);
		if (r.value != 0) {
			size_t len;
			const char *value = policy_string(p, r.value, &len);

			h = mix(h, policy_hash(value, len));
		}
		for (unsigned k = 0; k < r.nrates && k < RATION_RATES_MAX; k++) {
			h = mix(h, (uint64_t)r.rates[k].shape << 8 | r.rates[k].kind);
			h = mix(h, r.rates[k].units);
			h = mix(h, r.rates[k].window_ns);
			h = mix(h, r.rates[k].rate_units);
		}
		if (r.until == POLICY_ENDLESS)
			break;
		index = r.next;
	}
	return h;
}

/*
 * Plans and environments by name, and only where they make a difference: a new plan that
 * has nothing of its own for a limit is no change of it.
 */
static uint64_t
limit_digest(const struct policy_ref *p, uint32_t id)
{
	const struct policy_area *a = p->area;
	const uint32_t *row =
	    (const uint32_t *)section(p, a->matrix) + (size_t)id * (a->nplans + 1) * (a->nenvs + 1);
	uint64_t base = ruleset_digest(p, row[0]), sum = base;

	for (uint32_t plan = 0; plan <= a->nplans; plan++) {
		const char *name = policy_plan_name(p, plan);
		uint64_t h = policy_hash(name, strlen(name));

		for (uint32_t env = 0; env <= a->nenvs; env++, row++) {
			uint64_t d = ruleset_digest(p, *row);

			name = policy_env_name(p, env);
			if (d != base)
				sum += mix(mix(d, h), policy_hash(name, strlen(name)));
		}
	}
	return sum;
}

static uint64_t
text_digest(const struct policy_ref *p, uint32_t string)
{
	size_t len;
	const char *text = policy_string(p, string, &len);

	return policy_hash(text, len);
}

static uint64_t
attr_digest(const struct policy_ref *p, uint32_t attr)
{
	const struct name_def *attrs = section(p, p->area->attrs);

	return attr < p->area->nattrs ? text_digest(p, attrs[attr].name) : 0;
}

/* Who is let off.  A sum, as all here: an order that does not matter makes no difference. */
static void
add_exempt(const struct policy_ref *p, uint64_t out[LIMITS_MAX])
{
	const struct policy_area *a = p->area;
	const struct key_def *keys = section(p, a->keys);
	const struct cidr_def *ranges = section(p, a->exempts);
	uint64_t by_key = 0, by_address = 0;
	struct limit_def def;

	for (uint32_t i = 0; i < a->nkeys; i++)
		if ((keys[i].flags & KEY_EXEMPT) != 0)
			by_key += mix(keys[i].hash, 3);
	for (uint32_t i = 0; i < a->nexempt; i++)
		by_address += mix(policy_hash(&ranges[i], sizeof(ranges[i])), 5);
	for (uint32_t id = 0; id < a->nlimits && id < LIMITS_MAX; id++) {
		if (!policy_limit(p, id, &def) || (def.flags & (LIMIT_GONE | LIMIT_VALUE)) != 0)
			continue;
		out[id] += by_key + ((def.flags & LIMIT_ADDRESS) != 0 ? by_address : 0);
	}
}

/* The requests that take the limit, and for which key. */
static void
add_routes(const struct policy_ref *p, uint64_t out[LIMITS_MAX])
{
	const struct policy_area *a = p->area;
	const struct route_leaf *leaves = section(p, a->leaves);
	const struct route_claim *claims = section(p, a->claims);

	for (uint32_t i = 0; i < a->nleaves; i++) {
		uint64_t pattern = text_digest(p, leaves[i].pattern);

		for (uint32_t k = 0; k < leaves[i].nclaims; k++) {
			const struct route_claim *c = &claims[leaves[i].claims + k];
			uint64_t h = mix(pattern, attr_digest(p, c->attr));

			h = mix(h, c->cost);
			h = mix(
			    h, (uint64_t)c->address << 16 | (uint64_t)c->prefix4 << 8 | c->prefix6);
			if (c->limit < LIMITS_MAX)
				out[c->limit] += h;
		}
	}
}

void
digest_limits(const struct policy_ref *p, uint64_t out[LIMITS_MAX])
{
	const struct policy_area *a = p->area;
	const struct key_def *keys = section(p, a->keys);
	const struct override_def *overrides = section(p, a->overrides);
	struct limit_def def;

	memset(out, 0, LIMITS_MAX * sizeof(out[0]));
	for (uint32_t id = 0; id < a->nlimits && id < LIMITS_MAX; id++) {
		if (!policy_limit(p, id, &def))
			continue;
		out[id] = mix(mix(2, def.flags), def.max_keys);
		out[id] = mix(out[id], attr_digest(p, def.attr));
		out[id] = mix(out[id], (uint64_t)def.prefix4 << 8 | def.prefix6);
		out[id] = mix(out[id], def.cost);
		if ((def.flags & LIMIT_GONE) == 0)
			out[id] = mix(out[id], limit_digest(p, id));
	}
	for (uint32_t i = 0; i < a->nkeys; i++) {
		for (uint32_t k = 0; k < keys[i].noverrides; k++) {
			uint32_t at = keys[i].overrides + k;

			if (at >= a->noverrides || overrides[at].limit >= LIMITS_MAX)
				continue;
			/* A sum: the order of keys does not matter. */
			out[overrides[at].limit] +=
			    mix(keys[i].hash, ruleset_digest(p, overrides[at].ruleset));
		}
	}
	add_exempt(p, out);
	add_routes(p, out);
}

int64_t
digest_next_end(const struct policy_ref *p, int64_t now)
{
	const struct ruleset *r = section(p, p->area->rulesets);
	int64_t end = POLICY_ENDLESS;

	for (uint32_t i = 0; i < p->area->nrulesets; i++)
		if (r[i].until > now && r[i].until < end)
			end = r[i].until;
	return end;
}
