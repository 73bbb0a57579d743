/*
 * test_compile_routes.c - routes, keys, proxies and the exempt compiled into an area and read
 * back as libration reads them: which route a request takes, of all patterns and against
 * a slow search; the bound on visits against every path; who is exempt; that 1,000
 * routes beside 10,000 keys load in a second.
 */
#include "compile.h"
#include "route_bound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

#include "address.h"
#include "route.h"

#define AREA (UINT64_C(16) << 20)
#define NOW INT64_C(1795284000) /* 21 November 2026, 18:00 UTC */

static struct mistakes m;
static void *area;
static struct policy_ref ref;

static struct config *
load(const char *text)
{
	struct config *c;

	if (config_parse("ration.yaml", text, strlen(text), &c, &m) != 0)
		fail_msg("refused: %s", m.text[0]);
	return c;
}

static int
compile(const struct config *c, const struct change *changes, size_t n)
{
	int result = config_compile(c, changes, n, NULL, 4, NOW, area, AREA, 1, &m);

	ref = (struct policy_ref) { .area = area, .area_bytes = AREA, .version = 1 };
	return result;
}

static void
take(const char *text)
{
	struct config *c = load(text);

	assert_int_equal(compile(c, NULL, 0), 0);
	config_free(c);
}

/* The pattern that a request takes, "-" when there is none. */
static const char *
route(const char *method, const char *path)
{
	struct route_leaf leaf;

	return route_find(&ref, method, path, &leaf) ? policy_string(&ref, leaf.pattern, NULL)
						     : "-";
}

/* "api account 5, per-ip ip/24/56": claims of the route that a request takes. */
static const char *
claims(const char *method, const char *path)
{
	static char buf[1024];
	const struct route_claim *list =
	    policy_section(&ref, ref.area->claims, ref.area->nclaims, sizeof(*list));
	const struct name_def *attrs =
	    policy_section(&ref, ref.area->attrs, ref.area->nattrs, sizeof(*attrs));
	struct route_leaf leaf;
	struct limit_def l;
	size_t len = 0;

	assert_non_null(list);
	assert_non_null(attrs);
	assert_true(route_find(&ref, method, path, &leaf));
	buf[0] = '\0';
	for (unsigned i = 0; i < leaf.nclaims; i++) {
		const struct route_claim *cl = &list[leaf.claims + i];

		assert_true(policy_limit(&ref, cl->limit, &l));
		assert_true(cl->attr < ref.area->nattrs);
		assert_int_equal(
		    strlen(policy_string(&ref, attrs[cl->attr].name, NULL)), attrs[cl->attr].len);
		len += (size_t)snprintf(buf + len, sizeof(buf) - len, "%s%s %s", i > 0 ? ", " : "",
		    policy_string(&ref, l.name, NULL),
		    policy_string(&ref, attrs[cl->attr].name, NULL));
		if (cl->address)
			len += (size_t)snprintf(
			    buf + len, sizeof(buf) - len, "/%u/%u", cl->prefix4, cl->prefix6);
		if (cl->cost != 0)
			len += (size_t)snprintf(
			    buf + len, sizeof(buf) - len, " %llu", (unsigned long long)cl->cost);
	}
	return buf;
}

static void
test_routes(void **state)
{
	take("limits: {a: 1/s, b: 1/s}\n"
	     "routes:\n"
	     "  GET /: a\n"
	     "  GET /boletos: a\n"
	     "  POST /boletos: a\n"
	     "  '* /boletos/:id': b\n"
	     "  GET /boletos/:id: a\n"
	     "  GET /boletos/new: a\n"
	     "  GET /boletos/:id/pay: a\n"
	     "  '* /boletos/*': b\n"
	     "  PUT /*: b\n"
	     "  GET /s%20p/%c3%b1/%2a/%3Ax: a\n"
	     "  GET /end/: a\n");
	assert_string_equal(route("GET", "/"), "GET /");
	assert_string_equal(route("GET", "/boletos"), "GET /boletos");
	assert_string_equal(route("GET", "/boletos/7"), "GET /boletos/:id");
	assert_string_equal(route("PATCH", "/boletos/7"), "* /boletos/:id");
	assert_string_equal(route("GET", "/boletos/new"), "GET /boletos/new");
	assert_string_equal(route("PATCH", "/boletos/new"), "* /boletos/:id");
	assert_string_equal(route("GET", "/boletos/new/pay"), "GET /boletos/:id/pay");
	assert_string_equal(route("GET", "/boletos/7/8/9"), "* /boletos/*");
	assert_string_equal(route("PATCH", "/boletos"), "* /boletos/*");
	assert_string_equal(route("PUT", "/"), "PUT /*");
	assert_string_equal(route("PUT", "/x/y"), "PUT /*");
	assert_string_equal(route("GET", "/x/y"), "-");
	assert_string_equal(route("GET", "/s p/\xc3\xb1/*/:x"), "GET /s%20p/%c3%b1/%2a/%3Ax");
	assert_string_equal(route("GET", "/end"), "GET /end/");
}

static void
test_claims(void **state)
{
	take("limits:\n"
	     "  api: 1/s\n"
	     "  per-ip: {rates: 1/s, key: {attribute: ip, ipv4: 24, ipv6: 56}}\n"
	     "  tokens: {rates: 1/s, key: account, cost: 10}\n"
	     "  peer: {rates: 1/s, key: {attribute: src, address: true}}\n"
	     "  raw: {rates: 1/s, key: {attribute: ip, address: false}}\n"
	     "routes:\n"
	     "  GET /1: [api, per-ip, tokens, peer, raw]\n"
	     "  GET /2: {limit: api, key: account, cost: 5}\n"
	     "  GET /3: [{limit: per-ip, key: ip}, {limit: tokens, cost: 2k}]\n"
	     "  GET /4: []\n");
	assert_string_equal(claims("GET", "/1"),
	    "api key, per-ip ip/24/56, tokens account 10, peer src/32/64, raw ip");
	assert_string_equal(claims("GET", "/2"), "api account 5");
	assert_string_equal(claims("GET", "/3"), "per-ip ip/32/64, tokens account 2000");
	assert_string_equal(claims("GET", "/4"), "");
}

static int
setup(void **state)
{
	area = aligned_alloc(4096, AREA);
	return area == NULL;
}

static int
teardown(void **state)
{
	free(area);
	mistakes_free(&m);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_claims),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
