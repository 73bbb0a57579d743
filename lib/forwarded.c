/*
 * forwarded.c - whose request is it: the client's address behind proxies.
 *
 * Only what trusted proxies wrote is believed.  Each appends the address that it was called
 * from at the right; so the headers are read from there, as long as the address at hand is a
 * trusted proxy's.  All to the left of that came from the client, who may write anything:
 * it is not even looked at.  That is also why elements of Forwarded are cut off from
 * the right: read from the left, a quote that the client left open would swallow the proxy's.
 *
 * A proxy that writes one of the two headers passes the other one on as the client sent it.
 * Which one it writes is not known here, so where both have an entry they must agree;
 * if they do not, the client wrote one of them, and the address stays the proxy's.
 */
#include "address.h"

#include <string.h>

#include "handle.h"

#define HOPS_MAX 64u /* proxies of one request */
#define NODE_MAX 64u /* bytes of an address with its port */

enum entry { ENTRY_NONE, ENTRY_ADDRESS, ENTRY_HIDDEN };

/* What is left to read of a header, its right end moving left. */
struct list {
	const char *start;
	const char *end;
	bool quoted; /* Forwarded: elements with strings in them */
};

/* ---- one entry ---- */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

static void
trim(const char **s, const char **end)
{
	while (*s < *end && is_space(**s))
		(*s)++;
	while (*s < *end && is_space((*end)[-1]))
		(*end)--;
}

/* ":443", ":_hidden" or nothing. */
static bool
is_port(const char *s, const char *end)
{
	const char *digits = s + 1;

	if (s == end)
		return true;
	if (*s != ':' || digits == end)
		return false;
	if (*digits == '_')
		return true;
	for (s = digits; s < end; s++)
		if (*s < '0' || *s > '9' || s - digits >= 5)
			return false;
	return true;
}

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". */
static bool
parse_node(const char *s, const char *end, struct address *out)
{
	size_t len = (size_t)(end - s);
	const char *stop;

	if (len == 0)
		return false;
	if (*s == '[') {
		stop = memchr(s, ']', len);
		return stop != NULL && memchr(s, ':', (size_t)(stop - s)) != NULL &&
		    address_parse(s + 1, (size_t)(stop - s) - 1, out) && is_port(stop + 1, end);
	}
	stop = memchr(s, ':', len);
	if (stop == NULL || memchr(stop + 1, ':', (size_t)(end - stop) - 1) != NULL)
		return address_parse(s, len, out);
	return address_parse(s, (size_t)(stop - s), out) && is_port(stop, end);
}

static bool
is_token(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	    (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* What stands between quotes, its backslashes taken out; of a longer one no more than fits. */
static const char *
quoted_string(const char *s, const char *end, char out[NODE_MAX], size_t *len)
{
	for (s++; s < end && *s != '"'; s++) {
		if (*s == '\\' && ++s == end)
			return NULL;
		if (*len < NODE_MAX)
			out[(*len)++] = *s;
	}
	return s < end ? s + 1 : NULL;
}

/* A pair's value.  Returns what follows, NULL: none. */
static const char *
pair_value(const char *s, const char *end, char out[NODE_MAX], size_t *len)
{
	*len = 0;
	if (s < end && *s == '"')
		return quoted_string(s, end, out, len);
	/* Colons and brackets should be quoted, and often are not. */
	for (; s < end && *s != ';' && *s != '"' && !is_space(*s); s++)
		if (*len < NODE_MAX)
			out[(*len)++] = *s;
	return *len != 0 ? s : NULL;
}

/* An element of Forwarded (RFC 7239): the address of its "for"; ENTRY_HIDDEN: none. */
static enum entry
parse_element(const char *s, const char *end, struct address *out)
{
	enum entry found = ENTRY_HIDDEN;

	for (;;) {
		const char *name, *stop;
		char value[NODE_MAX];
		size_t len;

		while (s < end && (is_space(*s) || *s == ';'))
			s++;
		if (s == end)
			return found;
		for (name = s; s < end && is_token(*s); s++)
			;
		stop = s;
		if (stop == name || s == end || *s != '=')
			return ENTRY_HIDDEN;
		s = pair_value(s + 1, end, value, &len);
		if (s == NULL)
			return ENTRY_HIDDEN;
		while (s < end && is_space(*s))
			s++;
		if (s < end && *s != ';')
			return ENTRY_HIDDEN;
		if (stop - name != 3 || strncasecmp(name, "for", 3) != 0)
			continue;
		if (found == ENTRY_ADDRESS || len == NODE_MAX ||
		    !parse_node(value, value + len, out))
			return ENTRY_HIDDEN; /* twice: one of them may be the client's */
		found = ENTRY_ADDRESS;
	}
}

/* ---- from the right ---- */

/* Where the last entry of [start, end) starts. */
static const char *
last_entry(const char *start, const char *end, bool quoted)
{
	const char *p = end;
	bool in = false;

	while (p > start) {
		const char *q = --p;

		if (*p == ',' && !in)
			return p + 1;
		if (*p != '"' || !quoted)
			continue;
		/* A quote within a string stands behind an odd number of backslashes. */
		while (in && q > start && q[-1] == '\\')
			q--;
		if ((p - q) % 2 == 0)
			in = !in;
	}
	return start; /* if within a string that never began, it is no element either */
}

static enum entry
list_next(struct list *l, struct address *out)
{
	while (l->start < l->end) {
		const char *s = last_entry(l->start, l->end, l->quoted), *end = l->end;

		l->end = s > l->start ? s - 1 : s;
		trim(&s, &end);
		if (s == end)
			continue; /* lists may have empty entries: RFC 9110, 5.6.1 */
		if (l->quoted)
			return parse_element(s, end, out);
		return parse_node(s, end, out) ? ENTRY_ADDRESS : ENTRY_HIDDEN;
	}
	return ENTRY_NONE;
}

static struct list
list_of(const char *header, bool quoted)
{
	struct list l = { header, header, quoted };

	if (header != NULL)
		l.end = header + strlen(header);
	return l;
}

/* ---- the walk ---- */

static bool
is_proxy(const struct policy_ref *p, const struct address *a)
{
	uint32_t n = p->area->nproxies;
	const struct cidr_def *proxies = policy_section(p, p->area->proxies, n, sizeof(*proxies));

	for (uint32_t i = 0; proxies != NULL && i < n; i++)
		if (address_in(a, &proxies[i]))
			return true;
	return false;
}

static void
walk(const struct policy_ref *p, struct list forwarded, struct list xff, struct address *at)
{
	for (unsigned hop = 0; hop < HOPS_MAX && is_proxy(p, at); hop++) {
		struct address a, b;
		enum entry ea = list_next(&forwarded, &a), eb = list_next(&xff, &b);

		if (ea == ENTRY_HIDDEN || eb == ENTRY_HIDDEN)
			return;
		if (ea == ENTRY_NONE && eb == ENTRY_NONE)
			return;
		if (ea == ENTRY_ADDRESS && eb == ENTRY_ADDRESS && memcmp(&a, &b, sizeof(a)) != 0)
			return;
		*at = ea == ENTRY_ADDRESS ? a : b;
	}
}

int
ration_client_address(ration_t *r, const char *peer, const char *x_forwarded_for,
    const char *forwarded, char *buf, size_t size)
{
	const struct segment *seg;
	struct address first, at;
	struct policy_ref p;
	char text[RATION_ADDRESS_MAX];
	size_t len;

	if (r == NULL || peer == NULL || (buf == NULL && size != 0))
		return RATION_EINVAL;
	if (!parse_node(peer, peer + strlen(peer), &first))
		return RATION_EADDRESS;
	seg = handle_current(r);
	at = first;
	for (unsigned tries = 0; seg != NULL && tries < 64; tries++) {
		if (!policy_current(seg->policy, &p))
			break;
		walk(&p, list_of(forwarded, true), list_of(x_forwarded_for, false), &at);
		if (policy_intact(&p))
			break;
		at = first;
	}
	len = address_text(&at, text);
	if (size != 0) {
		size_t n = len < size ? len : size - 1;

		memcpy(buf, text, n);
		buf[n] = '\0';
	}
	return (int)len;
}
