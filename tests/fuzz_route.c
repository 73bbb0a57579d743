/*
 * fuzz_route.c - what comes in with a request is input: any method and path, attributes and
 * costs, against a policy with many routes.  And a policy that is being rewritten is input to
 * the search: any bytes in it, it ends and stays inside the area.
 *
 * The input: how many scribbles(1), for each where(3) and what(1); then key, address, method and
 * path, each up to a zero.
 */
#include "fixture.h"

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fixture fixture;
static char *area, *pristine; /* of exactly its size: what is read beyond it is found */
static uint64_t bytes;

static void
need(int holds, const char *what, int value)
{
	if (holds)
		return;
	fprintf(stderr, "%s: %d\n", what, value);
	abort();
}

static void
start(void)
{
	static char yaml[64 * 1024];
	static const char *const words[] = { "a", "b", ":x", "boletos", ":y", "pay" };
	char *end = yaml;
	struct policy_ref p;

	end += sprintf(end,
	    "table: {policy: 1MiB}\nexempt: {addresses: [192.0.2.0/24]}\n"
	    "limits:\n  api: 1000000/min\n  ip: {rates: 1000000/min, key: ip}\n"
	    "  net: {rates: 1000000/min, key: {attribute: ip, address: true, ipv4: 16, ipv6: 32}}\n"
	    "routes:\n  \"* /\": api\n  \"GET /files/*\": [ip, {limit: api, cost: 3}]\n");
	for (unsigned i = 0; i < 6 * 6 * 6; i++)
		if (i % 6 != 4 && i / 6 % 6 != 4 && i / 36 != 4)
			end += sprintf(end, "  \"%s /%s/%s/%s%s\": [api, %s]\n",
			    i % 5 == 0 ? "*" : "POST", words[i / 36], words[i / 6 % 6],
			    words[i % 6], i % 7 == 0 ? "/*" : "", i % 3 == 0 ? "net" : "ip");
	fixture_open(&fixture, yaml, 64);
	if (!policy_current(fixture.seg.policy, &p))
		errx(1, "no policy");
	bytes = p.area->bytes;
	area = malloc(bytes);
	pristine = malloc(bytes);
	if (area == NULL || pristine == NULL)
		err(1, NULL);
	memcpy(pristine, p.area, bytes);
}

static const char *
text(const uint8_t **at, const uint8_t *end, char *buf, size_t size)
{
	size_t n = 0;

	for (; *at < end && **at != 0; (*at)++)
		if (n + 1 < size)
			buf[n++] = (char)**at;
	*at += *at < end;
	buf[n] = '\0';
	return buf;
}

static void
search(const char *method, const char *path, const uint8_t *scribbles, unsigned n)
{
	struct policy_ref p = { fixture.seg.policy, (const struct policy_area *)(const void *)area,
		bytes, 1 };
	struct route_leaf leaf;

	memcpy(area, pristine, bytes);
	for (unsigned i = 0; i < n; i++, scribbles += 4)
		area[((unsigned)scribbles[0] << 16 | (unsigned)scribbles[1] << 8 | scribbles[2]) %
		    bytes] = (char)scribbles[3];
	(void)route_find(&p, method, path, &leaf);
}

static void
request(const char *key, const char *ip, const char *method, const char *path)
{
	const ration_attr_t attrs[] = { { sizeof(attrs[0]), "key", key, strlen(key) },
		{ sizeof(attrs[0]), "ip", ip, strlen(ip) } };
	ration_decision_t d = RATION_DECISION_INIT, peek = RATION_DECISION_INIT;
	int e, v;

	e = ration_route_peek(fixture.r, method, path, attrs, 2, 1, &peek);
	for (unsigned i = 0; i < 3; i++) {
		v = ration_route(fixture.r, method, path, attrs, 2, 1, &d);
		need(v == e || v == RATION_DENIED, "not as the peek said", v);
		if (v == RATION_ADMITTED)
			need(d.nrates == peek.nrates && d.flags == peek.flags,
			    "other figures than the peek's", d.nrates);
		if (v == RATION_ADMITTED && d.nreceipts > 0)
			need(ration_refund(fixture.r, &d, 3) == 0, "cannot be given back", 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char key[300], ip[80], method[80], path[RATION_PATH_MAX + 100];
	const uint8_t *at = data, *end = data + size, *scribbles;
	unsigned n;

	if (area == NULL)
		start();
	if (size == 0)
		return 0;
	n = *at++ % 16;
	if ((size_t)(end - at) < n * 4u)
		return 0;
	scribbles = at;
	at += n * 4u;
	(void)text(&at, end, key, sizeof(key));
	(void)text(&at, end, ip, sizeof(ip));
	(void)text(&at, end, method, sizeof(method));
	(void)text(&at, end, path, sizeof(path));
	search(method, path, scribbles, n);
	request(key, ip, method, path);
	return 0;
}
