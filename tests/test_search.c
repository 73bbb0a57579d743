/*
 * test_search.c - which route a request takes, against a matcher that tries every pattern.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fixture.h"
#include "route.h"

/* ---- which route ---- */

/* The pattern that applies, "" none. */
static const char *
found(const struct fixture *f, const char *method, const char *path)
{
	struct policy_ref p;
	struct route_leaf leaf;

	assert_true(policy_current(f->seg.policy, &p));
	return route_find(&p, method, path, &leaf) ? policy_string(&p, leaf.pattern, NULL) : "";
}

static void
expect(const struct fixture *f, const char *method, const char *path, const char *pattern)
{
	const char *got = found(f, method, path);

	if (strcmp(got, pattern) != 0)
		fail_msg("%s %s: found \"%s\", expected \"%s\"", method, path, got, pattern);
}

static void
test_precedence(void **state)
{
	struct fixture f;

	(void)state;
	fixture_open(&f,
	    "limits: {a: 1000/s}\n"
	    "routes:\n"
	    "  \"GET /\": a\n"
	    "  \"GET /boletos\": a\n"
	    "  \"POST /boletos\": a\n"
	    "  \"* /boletos/:id\": a\n"
	    "  \"DELETE /boletos/:id\": a\n"
	    "  \"GET /boletos/all\": a\n"
	    "  \"POST /boletos/:id/pay\": a\n"
	    "  \"GET /boletos/all/:page/end\": a\n"
	    "  \"GET /boletos/:id/:part\": a\n"
	    "  \"GET /files/*\": a\n"
	    "  \"GET /files/tmp/:name\": a\n"
	    "  \"PUT /files/*\": a\n"
	    "  \"* /files/a/b\": a\n"
	    "  \"GET /files/a/b\": a\n",
	    0);
	expect(&f, "GET", "/", "GET /");
	expect(&f, "GET", "", "GET /");
	expect(&f, "POST", "/", "");
	expect(&f, "GET", "/boletos", "GET /boletos");
	expect(&f, "POST", "/boletos", "POST /boletos");
	expect(&f, "PATCH", "/boletos", "");
	expect(&f, "get", "/boletos", "");
	expect(&f, "GETS", "/boletos", "");
	/* literal before parameter; the path before the method */
	expect(&f, "GET", "/boletos/all", "GET /boletos/all");
	expect(&f, "GET", "/boletos/alle", "* /boletos/:id");
	expect(&f, "PATCH", "/boletos/all", "* /boletos/:id");
	expect(&f, "DELETE", "/boletos/7", "DELETE /boletos/:id");
	/* back from a dead end */
	expect(&f, "GET", "/boletos/all/3/end", "GET /boletos/all/:page/end");
	expect(&f, "GET", "/boletos/all/3", "GET /boletos/:id/:part");
	expect(&f, "POST", "/boletos/all/pay", "POST /boletos/:id/pay");
	expect(&f, "POST", "/boletos/7/pay/x", "");
	expect(&f, "GET", "/files", "GET /files/*");
	expect(&f, "GET", "/files/tmp/x", "GET /files/tmp/:name");
	expect(&f, "PUT", "/files/tmp/x", "PUT /files/*");
	expect(&f, "GET", "/files/tmp/x/y", "GET /files/*");
	expect(&f, "GET", "/files/a/b", "GET /files/a/b");
	expect(&f, "PUT", "/files/a/b", "* /files/a/b");
	expect(&f, "DELETE", "/files/a", "");
	fixture_close(&f);
}

static void
test_encodings(void **state)
{
	char path[8192] = "";
	struct fixture f;

	(void)state;
	fixture_open(&f,
	    "limits: {a: 1000/s}\n"
	    "routes:\n"
	    "  \"GET /boletos\": a\n"
	    "  \"GET /a%2Fb/c\": a\n"
	    "  \"GET /100%25/x\": a\n"
	    "  \"GET /deep/*\": a\n"
	    "  \"GET /x/:id/y\": a\n",
	    0);
	expect(&f, "GET", "/%62oletos", "GET /boletos");
	expect(&f, "GET", "/%62%6F%6c%65tos?x=/y#z", "GET /boletos");
	expect(&f, "GET", "/boletos#/x", "GET /boletos");
	expect(&f, "GET", "//boletos//", "GET /boletos");
	expect(&f, "GET", "boletos", "GET /boletos");
	/* an encoded slash does not separate */
	expect(&f, "GET", "/a%2fb/c", "GET /a%2Fb/c");
	expect(&f, "GET", "/a/b/c", "");
	expect(&f, "GET", "/x/1%2F2/y", "GET /x/:id/y");
	expect(&f, "GET", "/x/1/2/y", "");
	/* what is no escape is itself; one byte is not the end */
	expect(&f, "GET", "/100%/x", "GET /100%25/x");
	expect(&f, "GET", "/100%25/x", "GET /100%25/x");
	expect(&f, "GET", "/boletos%", "");
	expect(&f, "GET", "/boletos%0", "");
	expect(&f, "GET", "/boletos%00", "");
	/* dots, plain and escaped; never above the root */
	expect(&f, "GET", "/./boletos/.", "GET /boletos");
	expect(&f, "GET", "/x/../boletos", "GET /boletos");
	expect(&f, "GET", "/x/%2e%2E/boletos/a/..", "GET /boletos");
	expect(&f, "GET", "/../../boletos", "GET /boletos");
	expect(&f, "GET", "/boletos/...", "");
	expect(&f, "GET", "/boletos/..%2f..", "");
	/* more segments than a pattern can have: "*" alone; and dots take them back */
	(void)strcpy(path, "/deep");
	for (unsigned i = 0; i < 100; i++)
		(void)strcat(path, "/s");
	expect(&f, "GET", path, "GET /deep/*");
	expect(&f, "GET", path + 5, "");
	for (unsigned i = 0; i < 101; i++)
		(void)strcat(path, "/..");
	(void)strcat(path, "/boletos");
	expect(&f, "GET", path, "GET /boletos");
	/* as long as it may be, and longer */
	memset(path, 'x', sizeof(path));
	memcpy(path, "/deep/", 6);
	path[RATION_PATH_MAX] = '?';
	path[sizeof(path) - 1] = '\0';
	expect(&f, "GET", path, "GET /deep/*");
	path[RATION_PATH_MAX] = 'x';
	expect(&f, "GET", path, "");
	fixture_close(&f);
}

/* ---- against every pattern ---- */

#define ROUTES_MAX 1000u
#define DEPTH_MAX 6u

struct pattern {
	char text[128];
	const char *method; /* NULL: any */
	unsigned n;
	const char *segments[DEPTH_MAX]; /* ":" and "*" */
};

static const char *const words[] = { "a", "b", "ab", "boletos", "a-rather-long-segment", ":", ":" };
static const char *const methods[] = { NULL, "GET", "POST" };

static void
random_pattern(struct pattern *p, uint64_t *seed, unsigned nwords)
{
	p->method = methods[test_random(seed) % 3];
	p->n = (unsigned)(test_random(seed) % (DEPTH_MAX + 1));
	for (unsigned i = 0; i < p->n; i++)
		p->segments[i] = words[test_random(seed) % nwords];
	if (p->n > 0 && test_random(seed) % 4 == 0)
		p->segments[p->n - 1] = "*";
	(void)snprintf(p->text, sizeof(p->text), "%s ", p->method != NULL ? p->method : "*");
	for (unsigned i = 0; i < p->n; i++)
		(void)sprintf(strchr(p->text, '\0'), "/%s%s", p->segments[i],
		    p->segments[i][0] == ':' ? "x" : "");
	if (p->n == 0)
		(void)strcat(p->text, "/");
}

static bool
matches(const struct pattern *p, const char *method, const char *const *path, unsigned n)
{
	if (p->method != NULL && strcmp(p->method, method) != 0)
		return false;
	for (unsigned i = 0; i < p->n; i++) {
		if (p->segments[i][0] == '*')
			return true;
		if (i >= n || (p->segments[i][0] != ':' && strcmp(p->segments[i], path[i]) != 0))
			return false;
	}
	return n == p->n;
}

static int
rank(const struct pattern *p, unsigned i)
{
	if (i >= p->n || (p->segments[i][0] != ':' && p->segments[i][0] != '*'))
		return 0;
	return p->segments[i][0] == ':' ? 1 : 2;
}

/* Of two that match: from the left, then by the method. */
static bool
before(const struct pattern *a, const struct pattern *b)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		if (rank(a, i) != rank(b, i))
			return rank(a, i) < rank(b, i);
	return a->method != NULL && b->method == NULL;
}

static unsigned
random_routes(struct pattern *all, unsigned n, char *yaml, uint64_t *seed)
{
	char *end = yaml + sprintf(yaml, "table: {policy: 4MiB}\nlimits: {a: 1000/s}\nroutes:\n");
	unsigned k = 0;

	for (unsigned tries = 0; k < n && tries < 20 * n; tries++) {
		bool twice = false;

		random_pattern(&all[k], seed, sizeof(words) / sizeof(words[0]));
		for (unsigned i = 0; i < k && !twice; i++)
			twice = strcmp(all[i].text, all[k].text) == 0;
		if (twice)
			continue;
		end += sprintf(end, "  \"%s\": a\n", all[k].text);
		k++;
	}
	return k;
}

static void
try_paths(
    const struct fixture *f, const struct pattern *all, unsigned n, unsigned tries, uint64_t *seed)
{
	for (unsigned i = 0; i < tries; i++) {
		const char *path[DEPTH_MAX + 1], *method = i % 2 == 0 ? "GET" : "POST";
		unsigned depth = (unsigned)(test_random(seed) % (DEPTH_MAX + 2));
		const struct pattern *best = NULL;
		char text[256] = "/";

		for (unsigned k = 0; k < depth; k++) {
			path[k] = words[test_random(seed) % 5];
			(void)sprintf(
			    strchr(text, '\0'), "%s%s", path[k], k + 1 < depth ? "/" : "");
		}
		for (unsigned k = 0; k < n; k++)
			if (matches(&all[k], method, path, depth) &&
			    (best == NULL || before(&all[k], best)))
				best = &all[k];
		expect(f, method, text, best != NULL ? best->text : "");
	}
}

static void
test_random_trees(void **state)
{
	static struct pattern all[ROUTES_MAX];
	static char yaml[ROUTES_MAX * 160];
	uint64_t seed = test_seed();
	struct fixture f;

	(void)state;
	for (unsigned round = 0; round < 40; round++) {
		unsigned n = random_routes(all,
		    round == 0 ? ROUTES_MAX : 1 + (unsigned)(test_random(&seed) % 60), yaml, &seed);

		fixture_open(&f, yaml, 0);
		try_paths(&f, all, n, round == 0 ? 3000 : 300, &seed);
		fixture_close(&f);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_encodings),
		cmocka_unit_test(test_random_trees),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
