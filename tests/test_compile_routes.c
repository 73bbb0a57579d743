/*
 * test_compile_routes.c - routes, keys, proxies and the exempt compiled into an area and read
 * back as libration reads them: which route a request takes, of all patterns and against
 * a slow search; the bound on visits against every path; who is exempt; that 1,000
 * routes beside 10,000 keys load in a second.
 */
#include "compiled.h"
#include "digest.h"
#include "route_bound.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

#include "address.h"
#include "rate.h"
#include "route.h"

static struct ruleset
rules_of(const char *limit, const char *key, bool *listed)
{
	int64_t id = policy_limit_id(&ref, limit, strlen(limit)), index;
	struct ruleset r;

	assert_true(id >= 0);
	index = policy_resolve(&ref, (uint32_t)id, key, strlen(key), listed);
	assert_true(index >= 0);
	assert_true(policy_ruleset(&ref, (uint32_t)index, &r));
	assert_int_equal(r.limit, id);
	return r;
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

/* ---- against a slow search ---- */

#define RANDOM_ROUTES 24u
#define RANDOM_DEPTH 4u

static uint64_t seed;

static uint32_t
rnd(uint32_t n)
{
	seed += UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)(((seed ^ seed >> 30) * UINT64_C(0xbf58476d1ce4e5b9)) >> 33) % n;
}

/* A pattern as text, "GET /a/:x/ *" without the blank: methods GET, PUT, *. */
static void
random_pattern(char *out, size_t size)
{
	static const char *const methods[] = { "GET", "PUT", "*" };
	static const char *const segments[] = { "a", "b", "c", ":x", ":y" };
	uint32_t depth = rnd(RANDOM_DEPTH + 1);
	size_t len = (size_t)snprintf(out, size, "%s ", methods[rnd(3)]);

	for (uint32_t i = 0; i < depth; i++)
		len += (size_t)snprintf(out + len, size - len, "/%s", segments[rnd(5)]);
	if (depth == 0 || rnd(4) == 0)
		snprintf(out + len, size - len, rnd(2) == 0 ? "/*" : "/");
}

static bool
same_pattern(const char *a, const char *b)
{
	for (;; a++, b++) {
		if (*a == ':' && *b == ':') {
			a += strcspn(a, "/");
			b += strcspn(b, "/");
		}
		if (*a == '/' && a[1] == '\0')
			a++;
		if (*b == '/' && b[1] == '\0')
			b++;
		if (*a != *b)
			return false;
		if (*a == '\0')
			return true;
	}
}

/* RANDOM_ROUTES of them, no two of the same pattern, as a policy. */
static char *
random_policy(char patterns[RANDOM_ROUTES][64])
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	fputs("limits: {a: 1/s}\nroutes:\n", f);
	for (uint32_t i = 0; i < RANDOM_ROUTES; i++) {
		uint32_t k;

		do {
			random_pattern(patterns[i], sizeof(patterns[i]));
			for (k = 0; k < i && !same_pattern(patterns[k], patterns[i]); k++)
				;
		} while (k < i);
		fprintf(f, "  '%s': a\n", patterns[i]);
	}
	fclose(f);
	return text;
}

/*
 * How well a pattern fits a path, as text to be compared: for each segment l, p or r (literal,
 * parameter, rest), at the end of the path e; then whether the method does.  False: it does
 * not fit.
 */
static bool
fit(const char *pattern, const char *method, const char *path, char out[64])
{
	size_t mlen = strcspn(pattern, " ");
	const char *p = pattern + mlen;

	if (*pattern != '*' && (strlen(method) != mlen || memcmp(pattern, method, mlen) != 0))
		return false;
	for (p++; *p == '/' && p[1] != '\0'; p += strcspn(p, "/")) {
		size_t plen = strcspn(++p, "/"), len;

		if (plen == 1 && *p == '*') {
			*out++ = 'r';
			path = "";
			continue;
		}
		if (*path != '/' || path[1] == '\0')
			return false;
		len = strcspn(++path, "/");
		if (*p != ':' && (plen != len || memcmp(p, path, len) != 0))
			return false;
		*out++ = *p == ':' ? 'p' : 'l';
		path += len;
	}
	if (*path == '/' && path[1] != '\0')
		return false;
	*out++ = 'e';
	*out++ = *pattern == '*' ? '1' : '0';
	*out = '\0';
	return true;
}

static const char *
slow_route(char patterns[RANDOM_ROUTES][64], const char *method, const char *path)
{
	char best[64] = "~", now[64];
	const char *found = "-";

	for (uint32_t i = 0; i < RANDOM_ROUTES; i++)
		if (fit(patterns[i], method, path, now) && strcmp(now, best) < 0) {
			memcpy(best, now, sizeof(best));
			found = patterns[i];
		}
	return found;
}

static void
random_path(char *out, size_t size)
{
	static const char *const segments[] = { "a", "b", "c", "d" };
	uint32_t depth = rnd(RANDOM_DEPTH + 2);
	size_t len = (size_t)snprintf(out, size, "%s", depth == 0 ? "/" : "");

	for (uint32_t i = 0; i < depth; i++)
		len += (size_t)snprintf(out + len, size - len, "/%s", segments[rnd(4)]);
}

static void
test_search(void **state)
{
	static const char *const methods[] = { "GET", "PUT", "DELETE" };
	char patterns[RANDOM_ROUTES][64], path[64];
	unsigned found = 0;

	for (int round = 0; round < 100; round++) {
		char *text = random_policy(patterns);

		take(text);
		for (int i = 0; i < 200; i++) {
			const char *method = methods[rnd(3)], *got, *want;

			random_path(path, sizeof(path));
			got = route(method, path);
			want = slow_route(patterns, method, path);
			if (strcmp(got, want) != 0)
				fail_msg(
				    "%s %s: %s, expected %s of\n%s", method, path, got, want, text);
			found += *want != '-';
		}
		free(text);
	}
	assert_in_range(found, 5000, 19000); /* both happen */
}

/* ---- the bound on visits ---- */

/* Places of the area's tree that agree with a path. */
static uint32_t
visits(uint32_t node, const char *path)
{
	const struct route_node *nodes =
	    policy_section(&ref, ref.area->nodes, ref.area->nnodes, sizeof(*nodes));
	const struct route_edge *edges =
	    policy_section(&ref, ref.area->edges, ref.area->nedges, sizeof(*edges));
	uint32_t n = 1;
	size_t len;

	if (*path != '/')
		return 1;
	len = strcspn(++path, "/");
	for (uint32_t i = 0; i < ref.area->nedges; i++)
		if (edges[i].from == node && edges[i].len == len &&
		    memcmp(policy_string(&ref, edges[i].text, NULL), path, len) == 0)
			n += visits(edges[i].to, path + len);
	if (nodes[node].param != 0)
		n += visits(nodes[node].param, path + len);
	return n;
}

/* The most of all paths of four letters. */
static uint32_t
most_visits(void)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < 4 * 4 * 4 * 4; i++) {
		char path[16];
		uint32_t n;

		snprintf(path, sizeof(path), "/%c/%c/%c/%c", 'a' + i % 4, 'a' + i / 4 % 4,
		    'a' + i / 16 % 4, 'a' + i / 64);
		n = visits(0, path);
		most = n > most ? n : most;
	}
	return most;
}

static void
test_bound(void **state)
{
	char patterns[RANDOM_ROUTES][64];

	for (int round = 0; round < 100; round++) {
		char *text = random_policy(patterns);
		struct config *c = load(text);
		struct route_bound b;
		uint32_t most;

		assert_int_equal(compile(c, NULL, 0), 0);
		most = most_visits();
		if (route_visits(c) != most)
			fail_msg("%u visits, expected %u of\n%s", route_visits(c), most, text);
		assert_true(route_bound(c, most, &b));
		assert_false(route_bound(c, most - 1, &b));
		assert_true(b.exact);
		assert_int_equal(b.most, most);
		free(b.visited);
		config_free(c);
		free(text);
	}
}

/*
 * Long patterns that are mostly parameters fit each other in so many ways that not all paths can
 * be looked at.  Such a policy is refused, in bounded time.
 */
static void
test_bound_hard(void **state)
{
	struct mistakes wrong = { 0 };
	struct timespec start, end;
	struct config *c = NULL;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	uint64_t kept = seed;

	assert_non_null(f);
	seed = 3; /* one of those that are hard */
	fputs("limits: {a: 1/s}\nroutes:\n", f);
	for (int i = 0; i < 240; i++) {
		fprintf(f, "  M%d ", i % 60);
		for (int k = 0; k < 16; k++)
			fprintf(f, rnd(5) != 0 ? "/:x" : "/%c", 'a' + rnd(6));
		fputs(": a\n", f);
	}
	fclose(f);
	seed = kept;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	assert_int_equal(config_parse("p.yaml", text, size, &c, &wrong), -1);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_int_equal(wrong.n, 1);
	assert_non_null(strstr(wrong.text[0], "that a search visits perhaps "));
	assert_true(end.tv_sec - start.tv_sec < 10);
	mistakes_free(&wrong);
	free(text);
}

/* Steps that a search takes: places, and slots of the table of edges. */
static uint32_t
steps(uint32_t node, const char *path)
{
	const struct route_node *nodes =
	    policy_section(&ref, ref.area->nodes, ref.area->nnodes, sizeof(*nodes));
	const struct route_edge *edges =
	    policy_section(&ref, ref.area->edges, ref.area->nedges, sizeof(*edges));
	const uint32_t *tab =
	    policy_section(&ref, ref.area->edgetab, ref.area->nedgetab, sizeof(*tab));
	uint32_t n = 1;
	uint64_t hash;
	size_t len;

	if (*path != '/')
		return 1;
	len = strcspn(++path, "/");
	hash = route_hash(node, path, len);
	for (uint32_t i = 0; i < ref.area->nedgetab; i++) {
		uint32_t e = tab[(hash + i) & (ref.area->nedgetab - 1)];

		n++;
		if (e == 0)
			break;
		if (edges[e - 1].from == node && edges[e - 1].len == len &&
		    memcmp(policy_string(&ref, edges[e - 1].text, NULL), path, len) == 0) {
			n += steps(edges[e - 1].to, path + len);
			break;
		}
	}
	if (nodes[node].param != 0)
		n += steps(nodes[node].param, path + len);
	return n;
}

/* n routes: resources with ids, and what can be done to them. */
static char *
resources(int n)
{
	static const char forms[][24] = { "GET /v1/r%d", "POST /v1/r%d", "GET /v1/r%d/:id",
		"DELETE /v1/r%d/:id", "POST /v1/r%d/:id/pay", "GET /v1/:any/r%d", "PUT /s%d/*",
		"GET /:a/:b/r%d", "'* /v2/r%d/*'", "HEAD /r%d" };
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	fputs("plans: [a, b]\nlimits: {api: {per: min, plans: [9, 99]}, per-ip: {rates: 9/s, key: "
	      "ip}}\nroutes:\n",
	    f);
	for (unsigned i = 0; i < (unsigned)n; i++) {
		fputs("  ", f);
		fprintf(f, forms[i % 10], i / 10);
		fputs(": [api, per-ip]\n", f);
	}
	fclose(f);
	return text;
}

/* The place of a route does not depend on how many others there are. */
static void
test_number(void **state)
{
	uint32_t bound = 0, most = 0;

	for (int n = 10; n <= 10000; n *= 10) {
		char *text = resources(n), path[64];
		struct config *c = load(text);
		uint64_t sum = 0;
		uint32_t longest = 0;

		assert_int_equal(compile(c, NULL, 0), 0);
		assert_int_equal(ref.area->nleaves, n);
		for (int i = 0; i < n / 10; i++) {
			uint32_t k;

			snprintf(path, sizeof(path), "/v1/r%d/7/pay", i);
			assert_int_equal(
			    strcmp(strchr(route("POST", path), '/'), "/v1/r0/:id/pay") == 0,
			    i == 0);
			k = steps(0, path);
			sum += k;
			longest = k > longest ? k : longest;
		}
		if (n == 10)
			bound = route_visits(c);
		if (n == 10)
			most = longest;
		assert_int_equal(route_visits(c), bound);
		/* A table that is at most half full: a few slots more at worst, none on average. */
		assert_true(sum * 10 / (uint64_t)n <= most + 8);
		assert_true(longest <= most + 120);
		config_free(c);
		free(text);
	}
}

/* ---- how long it takes ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 10
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOWER 10
#endif
#endif
#ifndef SLOWER
#define SLOWER 1
#endif

/* 10,000 keys on plans and 1,000 routes: parsed and compiled in less than a second of CPU. */
static void
test_time(void **state)
{
	char *text = resources(1000);
	struct timespec start, end;
	size_t len = strlen(text);
	struct config *c;
	double s;

	text = realloc(text, len + 10000 * 32);
	assert_non_null(text);
	len += (size_t)sprintf(text + len, "assign:\n");
	for (int i = 0; i < 10000; i++)
		len +=
		    (size_t)sprintf(text + len, "  'clinic:%d': %s\n", i, i % 3 != 0 ? "a" : "b");
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	c = load(text);
	assert_int_equal(compile(c, NULL, 0), 0);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	s = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	printf("10,000 keys and 1,000 routes: %.3f s\n", s);
	assert_int_equal(ref.area->nkeys, 10000);
	assert_int_equal(ref.area->nleaves, 1000);
	assert_true(s < SLOWER);
	config_free(c);
	free(text);
}

/* ---- who is exempt ---- */

static bool
exempt(const char *limit, const char *key)
{
	bool listed;
	struct ruleset r = rules_of(limit, key, &listed);

	if ((r.flags & RULESET_EXEMPT) == 0)
		return false;
	assert_true(listed);
	assert_int_equal(r.nrates, 0);
	assert_int_equal(r.flags, RULESET_EXEMPT); /* not RULESET_PLAIN: the long way */
	assert_true(r.until == POLICY_ENDLESS);
	assert_string_equal(policy_string(&ref, r.origin, NULL), "ration.yaml:2: exempt");
	return true;
}

static void
test_exempt(void **state)
{
	struct key_def k;

	take("plans: [p]\n"
	     "exempt: {keys: [monitor, 'a\\040b'], addresses: [192.0.2.0/28, '2001:db8::/48']}\n"
	     "limits:\n"
	     "  api: 1/s\n"
	     "  per-ip: {rates: 1/s, key: ip}\n"
	     "  known: {rates: 1/s, unlisted: refuse}\n"
	     "  off: {rates: 1/s, mode: off}\n"
	     "  keep: {value: 12 months}\n"
	     "assign: {monitor: p, other: p}\n"
	     "overrides: [{key: monitor, limit: api, rates: 5/s}]\n");
	assert_true(exempt("api", "monitor")); /* whatever else is said of it */
	assert_true(exempt("api", "a b"));
	assert_true(exempt("per-ip", "monitor"));
	assert_true(exempt("known", "monitor"));
	assert_true(exempt("off", "monitor"));
	assert_false(exempt("keep", "monitor")); /* it is told its value all the same */
	assert_false(exempt("api", "other"));
	assert_false(exempt("api", "stranger"));
	/* addresses: of limits whose key is one */
	assert_true(exempt("per-ip", "192.0.2.15"));
	assert_true(exempt("per-ip", "192.0.2.0/28"));
	assert_true(exempt("per-ip", "2001:db8:0:7::/64"));
	assert_true(exempt("per-ip", "2001:db8::1"));
	assert_false(exempt("per-ip", "192.0.2.16"));
	assert_false(exempt("per-ip", "192.0.2.0/24")); /* of whom most are not */
	assert_false(exempt("per-ip", "2001:db8:1::/64"));
	assert_false(exempt("api", "192.0.2.15"));
	assert_true(policy_key(&ref, policy_hash("monitor", 7), "monitor", 7, &k));
	assert_int_equal(k.flags, KEY_EXEMPT);
	assert_true(policy_key(&ref, policy_hash("other", 5), "other", 5, &k));
	assert_int_equal(k.flags, 0);
	/* a limit that is gone has one too */
	assert_int_equal(ref.area->nexempt, 2);
	take("limits: {api: 1/s}\n");
	assert_int_equal(ref.area->exempt, 0);
	take("exempt: {keys: [x]}\n"); /* no limits */
}

static void
test_ranges(void **state)
{
	static const struct {
		const char *address;
		bool proxy;
	} cases[] = { { "127.0.0.1", true }, { "127.0.0.2", false }, { "10.255.0.1", true },
		{ "::ffff:10.0.0.1", true }, { "11.0.0.1", false }, { "fd12::1", true },
		{ "fe80::1", false }, { "::1", false } };
	const struct cidr_def *list;

	take("proxies: [127.0.0.1, 10.0.0.0/8]\nlimits: {a: 1/s}\n");
	assert_int_equal(ref.area->nproxies, 2);
	take("proxies: [127.0.0.1, 10.0.0.0/8, 'fd00::/8']\n");
	assert_int_equal(ref.area->nproxies, 3);
	list = policy_section(&ref, ref.area->proxies, 3, sizeof(*list));
	assert_non_null(list);
	assert_int_equal(list[0].bits, 128);
	assert_int_equal(list[1].bits, 104);
	assert_int_equal(list[2].bits, 8);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct address a;
		bool in = false;

		assert_true(address_parse(cases[i].address, strlen(cases[i].address), &a));
		for (int k = 0; k < 3; k++)
			in = in || address_in(&a, &list[k]);
		if (in != cases[i].proxy)
			fail_msg("%s", cases[i].address);
	}
}

/* ---- the default environment ---- */

static void
test_environment(void **state)
{
	static const char policy[] =
	    "plans: [p]\n"
	    "environments: {box: 0.1, local: unlimited}\n"
	    "defaults: {plan: p, environment: box}\n"
	    "limits: {api: {per: min, plans: [100]}}\n"
	    "assign: {in: {environment: local}, out: {plan: p}}\n"
	    "overrides: [{key: late, limit: api, rates: 7/min, until: 2026-12-01}]\n";
	struct key_def k;
	struct ruleset r;
	bool listed;

	take(policy);
	assert_int_equal(ref.area->default_env, 1);
	r = rules_of("api", "stranger", &listed);
	assert_int_equal(r.rates[0].units, 10);
	assert_string_equal(
	    policy_string(&ref, r.origin, NULL), "ration.yaml:4: plan p x environment box (0.1)");
	assert_string_equal(policy_env_name(&ref, r.env), "box");
	assert_int_equal(rules_of("api", "out", &listed).rates[0].units, 10);
	assert_true(rules_of("api", "in", &listed).rates[0].units == RATION_UNLIMITED);
	/* what comes after an override's end */
	r = rules_of("api", "late", &listed);
	assert_int_equal(r.rates[0].units, 7);
	assert_true(policy_ruleset(&ref, r.next, &r));
	assert_int_equal(r.rates[0].units, 10);
	assert_true(policy_key(&ref, policy_hash("out", 3), "out", 3, &k));
	assert_int_equal(k.env, 0);
}

/* ---- with live changes, over versions, in little room ---- */

static void
test_rates(void **state)
{
	struct config *c = load("limits:\n"
				"  a: [1/s, 1/min, 1/h, 1/day]\n"
				"  b: [1/s, 1/min, 1/h, 1/day]\n"
				"  c: [1/s, 1/min, 1/h, 1/day]\n"
				"  d: [1/s, 1/min, 1/h]\n"
				"  e: 1/s\n"
				"routes:\n"
				"  GET /a: [a, b, c, d, e]\n");
	struct change ch = {
		.kind = CHANGE_RATES, .until = POLICY_ENDLESS, .when = NOW, .nrates = 2
	};
	char err[128];

	assert_int_equal(compile(c, NULL, 0), 0);
	assert_int_equal(rate_parse_list("1/s, 1/min", ch.rates, 4, err, sizeof(err)), 2);
	snprintf(ch.limit, sizeof(ch.limit), "e");
	ch.key_len = 1;
	ch.key[0] = 'k';
	assert_int_equal(compile(c, &ch, 1), -1);
	assert_int_equal(m.n, 1);
	assert_string_equal(m.text[0],
	    "route \"GET /a\" (ration.yaml:8): found 17 rates in its limits, expected at most 16 "
	    "in "
	    "one call");
	mistakes_free(&m);
	config_free(c);
}

/* Limits keep their ids, and routes name them by these. */
static void
test_ids(void **state)
{
	struct config *c = load("limits: {a: 1/s, b: 1/s, gone: 1/s}\n"), *d;
	void *old = aligned_alloc(4096, AREA);

	assert_non_null(old);
	assert_int_equal(config_compile(c, NULL, 0, NULL, 4, NOW, old, AREA, 1, &m), 0);
	config_free(c);
	d = load("exempt: {keys: [x]}\nlimits: {n: 1/s, b: 2/s, a: 1/s}\nroutes: {GET /x: [n, a, "
		 "b]}\n");
	assert_int_equal(config_compile(d, NULL, 0, old, 4, NOW, area, AREA, 2, &m), 0);
	ref = (struct policy_ref) { .area = area, .area_bytes = AREA, .version = 2 };
	assert_int_equal(policy_limit_id(&ref, "a", 1), 0);
	assert_int_equal(policy_limit_id(&ref, "n", 1), 3);
	assert_string_equal(claims("GET", "/x"), "n key, a key, b key");
	for (uint32_t id = 0; id < 4; id++) {
		struct ruleset r;

		assert_true(policy_ruleset(&ref, ref.area->exempt + id, &r));
		assert_int_equal(r.limit, id);
		assert_int_equal(r.flags, RULESET_EXEMPT);
	}
	config_free(d);
	free(old);
}

static void
test_room(void **state)
{
	char *text = resources(500);
	struct config *c = load(text);
	uint64_t need = config_need(c);

	assert_int_equal(
	    config_compile(c, NULL, 0, NULL, 4, NOW, area, need - 64, 1, &m), CONFIG_NO_ROOM);
	mistakes_free(&m);
	memset((char *)area + need, 0x5a, 64);
	assert_int_equal(config_compile(c, NULL, 0, NULL, 4, NOW, area, need, 1, &m), 0);
	for (int i = 0; i < 64; i++)
		assert_int_equal(((unsigned char *)area)[need + (uint64_t)i], 0x5a);
	config_free(c);
	free(text);
}

/* ---- what makes a limit another one ---- */

#define DIGEST_POLICY(exempt, key, routes) \
	exempt "limits: {a: {rates: 1/s" key "}, ip: {rates: 1/s, key: ip}, v: {value: 1}, n: " \
	       "{rates: 1/s" key "}}\n" \
	       "routes: {" routes "}\n"

static uint64_t digests[2][LIMITS_MAX];

/* Which of the limits have changed: "a", "i", "v", "n", which no route takes. */
static const char *
moved(const char *text)
{
	static char out[8];
	size_t n = 0;

	take(DIGEST_POLICY("", "", "GET /a: a, GET /b: [a, ip]"));
	digest_limits(&ref, digests[0]);
	take(text);
	digest_limits(&ref, digests[1]);
	for (uint32_t id = 0; id < 4; id++)
		if (digests[0][id] != digests[1][id])
			out[n++] = "aivn"[id];
	out[n] = '\0';
	return out;
}

static void
test_digest(void **state)
{
	assert_string_equal(moved(DIGEST_POLICY("", "", "GET /a: a, GET /b: [a, ip]")), "");
	assert_string_equal(moved(DIGEST_POLICY("", "", "GET /b: [ip, a], GET /a: a")), "");
	assert_string_equal(
	    moved(DIGEST_POLICY("proxies: [127.0.0.1]\n\n", "", "GET /b: [ip, a], GET /a: a")), "");
	assert_string_equal(moved(DIGEST_POLICY("", "", "GET /b: [a, ip]")), "a");
	assert_string_equal(moved(DIGEST_POLICY("", "", "GET /a: a, GET /c: [a, ip]")), "ai");
	assert_string_equal(
	    moved(DIGEST_POLICY("", "", "GET /a: {limit: a, cost: 2}, GET /b: [a, ip]")), "a");
	assert_string_equal(
	    moved(DIGEST_POLICY("", "", "GET /a: {limit: a, key: x}, GET /b: [a, ip]")), "a");
	assert_string_equal(
	    moved(DIGEST_POLICY("", ", cost: 2", "GET /a: a, GET /b: [a, ip]")), "an");
	assert_string_equal(
	    moved(DIGEST_POLICY("", ", key: x", "GET /a: a, GET /b: [a, ip]")), "an");
	assert_string_equal(
	    moved(DIGEST_POLICY("exempt: {keys: [x]}\n", "", "GET /a: a, GET /b: [a, ip]")), "ain");
	assert_string_equal(moved(DIGEST_POLICY("exempt: {addresses: [10.0.0.0/8]}\n", "",
				"GET /a: a, GET /b: [a, ip]")),
	    "i");
}

static int
setup(void **state)
{
	const char *text = getenv("RATION_SEED");
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	seed = text != NULL ? strtoull(text, NULL, 0) : (uint64_t)t.tv_nsec * 1000003;
	printf("seed: RATION_SEED=%llu\n", (unsigned long long)seed);
	compiled_name = "ration.yaml";
	compiled_cells = 4;
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
		cmocka_unit_test(test_search),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_bound_hard),
		cmocka_unit_test(test_number),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_exempt),
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_digest),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
