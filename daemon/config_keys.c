/*
 * config_keys.c - whose key a request counts under, and who is let off: `key` and `cost`
 * of a limit, the sections `proxies` and `exempt`.
 *
 * The attribute "ip" is an address by its name alone, so that nobody who writes `key: ip`
 * gives each of a subscriber's 2^64 IPv6 addresses a count of its own.
 */
#include "load.h"

#include <arpa/inet.h>
#include <string.h>

#define RANGES_MAX 256u
#define ATTRS_MAX 1000u
#define PREFIX4 32
#define PREFIX6 64

static const char *const bool_names[] = { "false", "true" };

/* ---- key, cost ---- */

static bool
get_attr(struct loader *l, const struct node *n, uint16_t *attr)
{
	struct map *m = &l->c->attrmap;
	uint32_t i;

	if (!get_name(l, n, RATION_NAME_MAX, "an attribute's name"))
		return false;
	i = map_find(m, n->text, n->len);
	if (i == NOBODY && m->n == ATTRS_MAX) {
		report_add(
		    &l->r, n->mark, "found one more attribute, expected at most %u", ATTRS_MAX);
		return false;
	}
	*attr = (uint16_t)(i != NOBODY ? i : map_add(m, n->text, n->len));
	return true;
}

static void
key_of_name(const struct node *n, uint16_t attr, struct key_rule *out)
{
	*out = (struct key_rule) { .attr = attr, .address = strcmp(n->text, "ip") == 0 };
	if (out->address) {
		out->prefix4 = PREFIX4;
		out->prefix6 = PREFIX6;
	}
}

static bool
read_prefix(struct loader *l, const struct node *key, uint64_t max, uint8_t *out)
{
	uint64_t v;

	if (key == NULL)
		return true;
	if (!get_quantity(l, key->next, 0, max, &v))
		return false;
	*out = (uint8_t)v;
	return true;
}

bool
get_key_rule(struct loader *l, const struct node *n, struct key_rule *out)
{
	const struct node *got[FIELDS_MAX], *prefix;
	unsigned address;
	bool ok = true;
	uint16_t attr;

	if (n->kind != NODE_MAP) {
		if (!get_attr(l, n, &attr))
			return false;
		key_of_name(n, attr, out);
		return true;
	}
	if (!walk(l, n, &fields_key, got))
		return false;
	if (got[KEY_attribute] == NULL) {
		report_add(&l->r, n->mark, "found a key without its attribute, expected one");
		return false;
	}
	if (!get_attr(l, got[KEY_attribute]->next, &attr))
		return false;
	key_of_name(got[KEY_attribute]->next, attr, out);
	prefix = got[KEY_ipv4] != NULL ? got[KEY_ipv4] : got[KEY_ipv6];
	address = out->address || prefix != NULL;
	if (got[KEY_address] != NULL)
		ok = get_choice(l, got[KEY_address]->next, bool_names, 2, &address);
	if (prefix != NULL && !address) {
		report_add(&l->r, prefix->mark,
		    "found \"%s\" of what is no address, expected it with address: true",
		    prefix->text);
		return false;
	}
	out->address = address;
	out->prefix4 = address ? PREFIX4 : 0;
	out->prefix6 = address ? PREFIX6 : 0;
	ok = read_prefix(l, got[KEY_ipv4], 32, &out->prefix4) && ok;
	return read_prefix(l, got[KEY_ipv6], 128, &out->prefix6) && ok;
}

bool
get_cost(struct loader *l, const struct node *n, uint64_t *out)
{
	return get_quantity(l, n, 1, RATION_COST_MAX, out);
}

/* ---- ranges of addresses ---- */

/* Decimal, without a sign or leading zeros; -1: it is not. */
static int
prefix_number(const char *p)
{
	size_t len = strspn(p, "0123456789");
	int v = 0;

	if (len == 0 || len > 3 || p[len] != '\0' || (len > 1 && *p == '0'))
		return -1;
	for (; *p != '\0'; p++)
		v = 10 * v + (*p - '0');
	return v;
}

/* "10.0.0.0/8", "::1".  False: neither an address nor a range. */
static bool
range_parse(const char *text, struct cidr_def *out)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "/");
	bool v4;
	int bits;

	memset(out, 0, sizeof(*out));
	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	v4 = strchr(address, ':') == NULL;
	if (v4)
		memset(out->address + 10, 0xff, 2);
	if (inet_pton(v4 ? AF_INET : AF_INET6, address, out->address + (v4 ? 12 : 0)) != 1)
		return false;
	bits = text[len] == '/' ? prefix_number(text + len + 1) : v4 ? 32 : 128;
	if (bits < 0 || bits > (v4 ? 32 : 128))
		return false;
	out->bits = (uint8_t)(v4 ? bits + 96 : bits);
	return true;
}

/* Clear what is behind the prefix.  False: something was there. */
static bool
range_cut(struct cidr_def *r)
{
	bool clean = true;

	for (unsigned i = r->bits; i < 128; i++) {
		uint8_t bit = (uint8_t)(0x80 >> i % 8);

		clean = clean && (r->address[i / 8] & bit) == 0;
		r->address[i / 8] = (uint8_t)(r->address[i / 8] & ~bit);
	}
	return clean;
}

/* As it should have been written. */
static const char *
range_text(const char *text, const struct cidr_def *r, char buf[INET6_ADDRSTRLEN + 8])
{
	char address[INET6_ADDRSTRLEN];
	bool v4 = strchr(text, ':') == NULL;

	if (inet_ntop(v4 ? AF_INET : AF_INET6, r->address + (v4 ? 12 : 0), address,
		sizeof(address)) == NULL)
		return "none";
	snprintf(buf, INET6_ADDRSTRLEN + 8, "%s/%u", address, v4 ? r->bits - 96u : r->bits);
	return buf;
}

static bool
get_range(struct loader *l, const struct node *n, struct cidr_def *out)
{
	static const char expected[] = "an address or a range such as 10.0.0.0/8 or 2001:db8::/32";
	char buf[INET6_ADDRSTRLEN + 8];

	if (!get_text(l, n, expected))
		return false;
	if (!range_parse(n->text, out)) {
		report_add(&l->r, n->mark, "found %s, expected %s", shown_node(n), expected);
		return false;
	}
	if (range_cut(out))
		return true;
	report_add(&l->r, n->mark, "found %s, expected no bits behind the prefix: %s",
	    shown_node(n), range_text(n->text, out, buf));
	return false;
}

static void
read_ranges(struct loader *l, const struct node *list, struct cidr_def **ranges, uint32_t *n)
{
	struct cidr_def r;

	if (list->kind != NODE_LIST) {
		report_add(&l->r, list->mark, "found %s, expected a list of addresses and ranges",
		    shown_node(list));
		return;
	}
	*ranges = xrealloc(*ranges, RANGES_MAX, sizeof(**ranges));
	for (const struct node *i = list->first; i != NULL; i = i->next) {
		uint32_t k = 0;

		if (!get_range(l, i, &r))
			continue;
		while (k < *n && memcmp(&(*ranges)[k], &r, sizeof(r)) != 0)
			k++;
		if (k < *n) {
			report_add(&l->r, i->mark, "found %s again, expected each range once",
			    shown_node(i));
		} else if (k == RANGES_MAX) {
			report_add(&l->r, i->mark, "found one more range, expected at most %u",
			    RANGES_MAX);
			return;
		} else {
			(*ranges)[(*n)++] = r;
		}
	}
}

void
read_proxies(struct loader *l, const struct node *key)
{
	read_ranges(l, key->next, &l->c->proxies, &l->c->nproxies);
}

/* ---- exempt ---- */

static void
read_exempt_keys(struct loader *l, const struct node *list)
{
	uint32_t key;

	if (list->kind != NODE_LIST) {
		report_add(
		    &l->r, list->mark, "found %s, expected a list of keys", shown_node(list));
		return;
	}
	for (const struct node *n = list->first; n != NULL; n = n->next) {
		if (!get_key(l, n, &key))
			continue;
		if (l->c->keys[key].exempt)
			report_add(&l->r, n->mark, "found the key %s again, expected each once",
			    shown_node(n));
		l->c->keys[key].exempt = true;
	}
}

void
read_exempt(struct loader *l, const struct node *key)
{
	const struct node *got[FIELDS_MAX];
	struct config *c = l->c;

	if (!walk(l, key->next, &fields_exempt, got))
		return;
	if (c->exempt_mark.line == 0)
		c->exempt_mark = key->mark;
	if (got[EXEMPT_keys] != NULL)
		read_exempt_keys(l, got[EXEMPT_keys]->next);
	if (got[EXEMPT_addresses] != NULL)
		read_ranges(l, got[EXEMPT_addresses]->next, &c->exempts, &c->nexempts);
}
