/*
 * show_routes.c - the method `routes`: which requests take which limits, for which keys; whose
 * word about addresses is believed; who is let off.
 */
#include "rpc.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* The area is rationd's own: written by it, and read-only to all others. */
static const void *
section(const struct policy_ref *p, uint64_t off)
{
	return (const char *)p->area + off;
}

void
json_put_key(json_t *j, const struct policy_ref *p, const struct route_claim *c)
{
	const struct name_def *attrs = section(p, p->area->attrs);

	(void)json_object_set_new(j, "key",
	    json_any(c->attr < p->area->nattrs ? policy_string(p, attrs[c->attr].name, NULL) : ""));
	(void)json_object_set_new(j, "ipv4", c->address ? json_integer(c->prefix4) : json_null());
	(void)json_object_set_new(j, "ipv6", c->address ? json_integer(c->prefix6) : json_null());
	(void)json_object_set_new(
	    j, "cost", c->cost != 0 ? json_integer((json_int_t)c->cost) : json_null());
}

static json_t *
claim_json(const struct policy_ref *p, const struct route_claim *c)
{
	struct limit_def def = { .name = 0 };
	json_t *j;

	(void)policy_limit(p, c->limit, &def);
	j = json_pack("{s:o}", "limit", json_any(policy_string(p, def.name, NULL)));
	json_put_key(j, p, c);
	return j;
}

static json_t *
route_json(const struct policy_ref *p, const struct route_leaf *leaf)
{
	const struct route_claim *claims = section(p, p->area->claims);
	json_t *list = json_array();

	for (uint32_t i = 0; i < leaf->nclaims; i++)
		(void)json_array_append_new(list, claim_json(p, &claims[leaf->claims + i]));
	return json_pack("{s:o, s:o, s:o}", "pattern",
	    json_any(policy_string(p, leaf->pattern, NULL)), "limits", list, "origin",
	    json_any(policy_string(p, leaf->origin, NULL)));
}

static json_t *
ranges_json(const struct policy_ref *p, uint64_t off, uint32_t n)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct cidr_def *r = section(p, off);
	json_t *list = json_array();

	for (uint32_t i = 0; i < n; i++) {
		bool v4 = r[i].bits >= 96 && memcmp(r[i].address, mapped, sizeof(mapped)) == 0;
		unsigned bits = v4 ? r[i].bits - 96u : r[i].bits;
		char address[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 8];

		if (inet_ntop(v4 ? AF_INET : AF_INET6, r[i].address + (v4 ? 12 : 0), address,
			sizeof(address)) == NULL)
			continue;
		if (bits == (v4 ? 32 : 128))
			(void)snprintf(text, sizeof(text), "%s", address);
		else
			(void)snprintf(text, sizeof(text), "%s/%u", address, bits);
		(void)json_array_append_new(list, json_string(text));
	}
	return list;
}

static json_t *
exempt_json(const struct policy_ref *p)
{
	const struct key_def *keys = section(p, p->area->keys);
	const unsigned char *strings = section(p, p->area->strings);
	json_t *list = json_array();
	char text[KEY_TEXT];

	for (uint32_t i = 0; i < p->area->nkeys; i++) {
		if ((keys[i].flags & KEY_EXEMPT) == 0)
			continue;
		key_text(strings + keys[i].key, keys[i].len, text);
		(void)json_array_append_new(list, json_any(text));
	}
	return json_pack("{s:o, s:o}", "keys", list, "addresses",
	    ranges_json(p, p->area->exempts, p->area->nexempt));
}

/* In the order of the files; NULL: out of memory. */
static const struct route_leaf **
in_order(const struct policy_ref *p)
{
	const struct route_leaf *leaves = section(p, p->area->leaves);
	const struct route_leaf **out = calloc((size_t)p->area->nleaves + 1, sizeof(*out));

	for (uint32_t i = 0; out != NULL && i < p->area->nleaves; i++)
		out[leaves[i].number] = &leaves[i];
	return out;
}

bool
show_routes(struct call *c)
{
	json_t *list = json_array();
	const struct route_leaf **leaves;
	struct policy_ref p;

	c->result = json_pack("{s:o}", "routes", list);
	if (!keeper_policy(&c->d->keeper, &p))
		return call_fail(c, RPC_INTERNAL, "no policy is published");
	leaves = in_order(&p);
	if (leaves == NULL)
		return call_fail(c, RPC_INTERNAL, "out of memory");
	for (uint32_t i = 0; i < p.area->nleaves; i++)
		(void)json_array_append_new(list, route_json(&p, leaves[i]));
	free(leaves);
	(void)json_object_set_new(
	    c->result, "proxies", ranges_json(&p, p.area->proxies, p.area->nproxies));
	(void)json_object_set_new(c->result, "exempt", exempt_json(&p));
	return true;
}
