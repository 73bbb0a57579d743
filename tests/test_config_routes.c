/*
 * test_config_routes.c - routes, keys, costs, proxies and the exempt as they are written: every
 * mistake with its place and its words, several at once, and what is accepted.
 */
#include "load.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define LIMITS "limits: {api: 1/s, b: 2/s}\n"
#define ROUTE(pattern) LIMITS "routes: {" pattern ": api}\n"
#define METHOD "a method and a path, such as \"POST /boletos/:id/pay\""
#define RANGE "an address or a range such as 10.0.0.0/8 or 2001:db8::/32"

static char *
mistakes_of(const char *text)
{
	struct mistakes m = { 0 };
	struct config *c = NULL;
	char *all = NULL;
	size_t size;
	FILE *f;

	if (config_parse("p.yaml", text, strlen(text), &c, &m) == 0) {
		assert_int_equal(m.n, 0);
		config_free(c);
		return NULL;
	}
	assert_null(c);
	f = open_memstream(&all, &size);
	assert_non_null(f);
	for (size_t i = 0; i < m.n; i++)
		fprintf(f, "%s%s", i == 0 ? "" : "\n", m.text[i]);
	fclose(f);
	mistakes_free(&m);
	return all;
}

static const struct {
	const char *text, *mistake;
} bad[] = {
	/* patterns */
	{ ROUTE("POST boletos"),
	    "p.yaml:2:10: found the route \"POST boletos\", expected " METHOD },
	{ ROUTE("/a"), "p.yaml:2:10: found the route \"/a\", expected " METHOD },
	{ ROUTE("GET"), "p.yaml:2:10: found the route \"GET\", expected " METHOD },
	{ ROUTE("'GET  /a'"), "p.yaml:2:10: found the route \"GET  /a\", expected " METHOD },
	{ ROUTE("'GE* /a'"), "p.yaml:2:10: found the route \"GE* /a\", expected " METHOD },
	{ ROUTE("'** /a'"), "p.yaml:2:10: found the route \"** /a\", expected " METHOD },
	{ ROUTE("'G(T /a'"), "p.yaml:2:10: found the route \"G(T /a\", expected " METHOD },
	{ ROUTE("[GET]"), "p.yaml:2:10: found a list, expected a method and a path" },
	{ ROUTE("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF /a"),
	    "p.yaml:2:10: found the route \"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF /a\", expected a "
	    "method of at most 31 bytes" },
	{ ROUTE("GET /a/:/b"),
	    "p.yaml:2:10: found the route \"GET /a/:/b\", expected a "
	    "parameter's name behind the colon" },
	{ ROUTE("GET /a/:"),
	    "p.yaml:2:10: found the route \"GET /a/:\", expected a parameter's "
	    "name behind the colon" },
	{ ROUTE("GET /:id.json"),
	    "p.yaml:2:10: found the route \"GET /:id.json\", expected a "
	    "parameter's name of letters, digits, \"_\" and \"-\"" },
	{ ROUTE("GET /*/a"),
	    "p.yaml:2:10: found the route \"GET /*/a\", expected \"*\" only as the last segment" },
	{ ROUTE("GET /a*"),
	    "p.yaml:2:10: found the route \"GET /a*\", expected \"*\" only as the last segment" },
	{ ROUTE("GET /a/*/"),
	    "p.yaml:2:10: found the route \"GET /a/*/\", expected \"*\" only as the last "
	    "segment" },
	{ ROUTE("GET //a"),
	    "p.yaml:2:10: found the route \"GET //a\", expected a path without empty segments" },
	{ ROUTE("GET /a//"),
	    "p.yaml:2:10: found the route \"GET /a//\", expected a path without empty segments" },
	{ ROUTE("GET /a?b=c"),
	    "p.yaml:2:10: found the route \"GET /a?b=c\", expected a path "
	    "without blanks, query or fragment" },
	{ ROUTE("'GET /a#b'"),
	    "p.yaml:2:10: found the route \"GET /a#b\", expected a path "
	    "without blanks, query or fragment" },
	{ ROUTE("GET /a b"),
	    "p.yaml:2:10: found the route \"GET /a b\", expected a path without "
	    "blanks, query or fragment" },
	{ ROUTE("\"GET /a\\eb\""),
	    "p.yaml:2:10: found the route \"GET /a\\033b\", expected a "
	    "path without blanks, query or fragment" },
	{ ROUTE("GET /a/../b"),
	    "p.yaml:2:10: found the route \"GET /a/../b\", expected a path "
	    "without \".\" and \"..\"" },
	{ ROUTE("GET /."),
	    "p.yaml:2:10: found the route \"GET /.\", expected a path without \".\" and \"..\"" },
	{ ROUTE("GET /%2E%2e/b"),
	    "p.yaml:2:10: found the route \"GET /%2E%2e/b\", expected a "
	    "path without \".\" and \"..\"" },
	{ ROUTE("GET /a%2"),
	    "p.yaml:2:10: found the route \"GET /a%2\", expected two hexadecimal "
	    "digits behind \"%\"" },
	{ ROUTE("GET /a%"),
	    "p.yaml:2:10: found the route \"GET /a%\", expected two hexadecimal "
	    "digits behind \"%\"" },
	{ ROUTE("GET /%g0/b"),
	    "p.yaml:2:10: found the route \"GET /%g0/b\", expected two "
	    "hexadecimal digits behind \"%\"" },
	{ ROUTE("GET /%2/0"),
	    "p.yaml:2:10: found the route \"GET /%2/0\", expected two "
	    "hexadecimal digits behind \"%\"" },
	{ ROUTE("GET /a%00b"),
	    "p.yaml:2:10: found the route \"GET /a%00b\", expected a path without NUL" },
	{ ROUTE("GET /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/27/28/"
		"29/30/31/32/33"),
	    "p.yaml:2:10: found the route \"GET "
	    "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/2...\", expected at most 32 "
	    "segments" },
	/* twice */
	{ LIMITS "routes:\n  GET /a: api\n  POST /a: api\n  GET /a: b\n",
	    "p.yaml:5:3: found the route \"GET /a\" again, expected each once (first at "
	    "p.yaml:3)" },
	{ LIMITS "routes:\n  GET /a/:x: api\n  GET /a/:y: b\n",
	    "p.yaml:4:3: found the route \"GET /a/:y\", expected no second one of the same pattern "
	    "(\"GET /a/:x\" at p.yaml:3)" },
	{ LIMITS "routes:\n  GET /%61b: api\n  GET /ab/: b\n",
	    "p.yaml:4:3: found the route \"GET /ab/\", expected no second one of the same pattern "
	    "(\"GET /%61b\" at p.yaml:3)" },
	{ LIMITS "routes:\n  '* /a/*': api\n  '* /%61/*': b\n",
	    "p.yaml:4:3: found the route \"* /%61/*\", expected no second one of the same pattern "
	    "(\"* /a/*\" at p.yaml:3)" },
	/* limits of a route */
	{ LIMITS "routes: [GET /a]\n",
	    "p.yaml:2:9: found a list, expected a mapping of routes to limits" },
	{ LIMITS "routes: {GET /a: [api, aip]}\n",
	    "p.yaml:2:24: found \"aip\", expected the name of a limit; did you mean api?" },
	{ LIMITS "routes: {GET /a: [api, [b]]}\n",
	    "p.yaml:2:24: found a list, expected the name of a limit" },
	{ LIMITS "routes: {GET /a: }\n",
	    "p.yaml:2:18: found nothing, expected the name of a "
	    "limit" },
	{ LIMITS "routes: {GET /a: [b, b, b, b, b, b, b, b, b]}\n",
	    "p.yaml:2:18: found a list of 9, expected at most 8 limits" },
	{ LIMITS "routes: {GET /a: [api, b, api]}\n",
	    "p.yaml:2:27: found the limit \"api\" again for the same attribute, expected each "
	    "once" },
	{ LIMITS "routes: {GET /a: {cost: 5}}\n",
	    "p.yaml:2:18: found no limit in a route's entry, expected its name" },
	{ LIMITS "routes: {GET /a: {limit: api, costs: 5}}\n",
	    "p.yaml:2:31: found \"costs\" in a limit of a route, expected limit, key or cost; did "
	    "you mean cost?" },
	{ LIMITS "routes: {GET /a: {limit: api, cost: 0}}\n",
	    "p.yaml:2:37: found 0, expected 1 to 1000000000000" },
	{ LIMITS "routes: {GET /a: {limit: api, key: a b}}\n",
	    "p.yaml:2:36: found \"a b\", expected an attribute's name of up to 63 letters, digits, "
	    "\".\", \"_\" and \"-\"" },
	{ "limits: {v: {value: 1h}}\nroutes: {GET /a: v}\n",
	    "p.yaml:2:18: found \"v\", expected a limit that is counted: it holds values" },
	{ "limits: {v: {value: 1h}}\nroutes: {GET /a: {limit: v, cost: 2}}\n",
	    "p.yaml:2:26: found \"v\", expected a limit that is counted: it holds values" },
	{ "limits: {s: 5 concurrent}\nroutes: {GET /a: {limit: s, cost: 2}}\n",
	    "p.yaml:2:18: found a cost of 2 of the limit \"s\", expected 1: it is of leases" },
	{ "limits:\n"
	  "  a: [1/s, 1/min, 1/h, 1/day]\n"
	  "  b: [1/s, 1/min, 1/h, 1/day]\n"
	  "  c: [1/s, 1/min, 1/h, 1/day]\n"
	  "  d: [1/s, 1/min, 1/h]\n"
	  "  e: 1/s\n"
	  "routes:\n"
	  "  GET /a: [a, b, c, d, e]\n"
	  "overrides: [{key: k, limit: e, rates: [1/s, 1/min]}]\n",
	    "p.yaml:8:3: found 17 rates in the limits of the route \"GET /a\", expected at most 16 "
	    "in one call" },
	/* keys and costs of limits */
	{ "limits: {a: {rates: 1/s, key: [ip]}}\n",
	    "p.yaml:1:31: found a list, expected an attribute's name" },
	{ "limits: {a: {rates: 1/s, key: {address: true}}}\n",
	    "p.yaml:1:31: found a key without its attribute, expected one" },
	{ "limits: {a: {rates: 1/s, key: {attribute: ip, ipv5: 3}}}\n",
	    "p.yaml:1:47: found \"ipv5\" in a key, expected attribute, address, ipv4 or ipv6; did "
	    "you mean ipv4?" },
	{ "limits: {a: {rates: 1/s, key: {attribute: ip, ipv4: 33, ipv6: 129}}}\n",
	    "p.yaml:1:53: found 33, expected 0 to 32\np.yaml:1:63: found 129, expected 0 to 128" },
	{ "limits: {a: {rates: 1/s, key: {attribute: x, address: yes}}}\n",
	    "p.yaml:1:55: found \"yes\", expected false or true" },
	{ "limits: {a: {rates: 1/s, key: {attribute: x, address: false, ipv6: 48}}}\n",
	    "p.yaml:1:62: found \"ipv6\" of what is no address, expected it with address: true" },
	{ "limits: {a: {rates: 1/s, cost: 1T}, b: {rates: 1/s, cost: 2T}}\n",
	    "p.yaml:1:59: found 2T, expected 1 to 1000000000000" },
	/* proxies and the exempt */
	{ "proxies: 127.0.0.1\n",
	    "p.yaml:1:10: found \"127.0.0.1\", expected a list of addresses and ranges" },
	{ "proxies: [localhost]\n", "p.yaml:1:11: found \"localhost\", expected " RANGE },
	{ "proxies: [10.0.0.0/33]\n", "p.yaml:1:11: found \"10.0.0.0/33\", expected " RANGE },
	{ "proxies: [10.0.0.0/08]\n", "p.yaml:1:11: found \"10.0.0.0/08\", expected " RANGE },
	{ "proxies: [10.0.0.0/]\n", "p.yaml:1:11: found \"10.0.0.0/\", expected " RANGE },
	{ "proxies: [10.0.0.0/8/8]\n", "p.yaml:1:11: found \"10.0.0.0/8/8\", expected " RANGE },
	{ "proxies: [10.0.0/8]\n", "p.yaml:1:11: found \"10.0.0/8\", expected " RANGE },
	{ "proxies: [010.0.0.0/8]\n", "p.yaml:1:11: found \"010.0.0.0/8\", expected " RANGE },
	{ "proxies: ['fd00::/129']\n", "p.yaml:1:11: found \"fd00::/129\", expected " RANGE },
	{ "proxies: ['fe80::1%eth0']\n", "p.yaml:1:11: found \"fe80::1%eth0\", expected " RANGE },
	{ "proxies: ['[::1]']\n", "p.yaml:1:11: found \"[::1]\", expected " RANGE },
	{ "proxies: [10.1.2.3/8]\n",
	    "p.yaml:1:11: found \"10.1.2.3/8\", expected no bits behind "
	    "the prefix: 10.0.0.0/8" },
	{ "proxies: ['2001:db8:0:3::/63']\n",
	    "p.yaml:1:11: found \"2001:db8:0:3::/63\", expected no bits behind the prefix: "
	    "2001:db8:0:2::/63" },
	{ "proxies: [10.0.0.0/8, '::ffff:10.0.0.0/104']\n",
	    "p.yaml:1:23: found \"::ffff:10.0.0.0/104\" again, expected each range once" },
	{ "exempt: [monitor]\n",
	    "p.yaml:1:9: found a list, expected a mapping with keys or addresses" },
	{ "exempt: {key: [x]}\n",
	    "p.yaml:1:10: found \"key\" in exempt, expected keys or "
	    "addresses; did you mean keys?" },
	{ "exempt: {keys: x}\n", "p.yaml:1:16: found \"x\", expected a list of keys" },
	{ "exempt: {keys: [x, y, x]}\n",
	    "p.yaml:1:23: found the key \"x\" again, expected each once" },
	{ "exempt: {keys: ['a\\z']}\n",
	    "p.yaml:1:17: found \"a\\z\", expected a key of 1 to 255 bytes, with \\ escapes as in "
	    "strvis(3)" },
	{ "exempt: {addresses: ['192.0.2.1/28']}\n",
	    "p.yaml:1:22: found \"192.0.2.1/28\", expected no bits behind the prefix: "
	    "192.0.2.0/28" },
	/* the default environment */
	{ "defaults: {environment: box}\n",
	    "p.yaml:1:25: found \"box\", expected the name of an environment" },
	{ "environments: {a: 1, b: 2}\ndefaults: {environment: a, environment: b}\n",
	    "p.yaml:2:28: found \"environment\" again, expected it once (first on line 2)" },
};

static void
test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *got = mistakes_of(bad[i].text);

		if (got == NULL)
			fail_msg("accepted: %s", bad[i].text);
		assert_string_equal(got, bad[i].mistake);
		free(got);
	}
}

/* Of all sections at once, in the order of the file. */
static void
test_all_mistakes(void **state)
{
	char *got = mistakes_of("routes:\n"
				"  GET /a/:/b: [api, aip]\n"
				"  GET /c: {limit: api, cost: none}\n"
				"  GET /d: [api, api]\n"
				"  GET /e: api\n"
				"  GET /%65: api\n"
				"exempt: {keys: [x, x], addresses: [nowhere]}\n"
				"limits:\n"
				"  api: {rates: 1/s, key: {attribute: k, ipv4: 40}, cost: 0}\n"
				"proxies: [1.2.3.4/24, 1.2.3.0/24, 1.2.3.0/24]\n"
				"defaults: {environment: box}\n");

	assert_non_null(got);
	assert_string_equal(got,
	    "p.yaml:2:3: found the route \"GET /a/:/b\", expected a parameter's name behind the "
	    "colon\n"
	    "p.yaml:2:21: found \"aip\", expected the name of a limit; did you mean api?\n"
	    "p.yaml:3:30: found \"none\", expected a number such as 300, 2.5M or 64Ki\n"
	    "p.yaml:4:17: found the limit \"api\" again for the same attribute, expected each "
	    "once\n"
	    "p.yaml:6:3: found the route \"GET /%65\", expected no second one of the same pattern "
	    "(\"GET /e\" at p.yaml:5)\n"
	    "p.yaml:7:20: found the key \"x\" again, expected each once\n"
	    "p.yaml:7:36: found \"nowhere\", expected " RANGE "\n"
	    "p.yaml:9:47: found 40, expected 0 to 32\n"
	    "p.yaml:9:58: found 0, expected 1 to 1000000000000\n"
	    "p.yaml:10:11: found \"1.2.3.4/24\", expected no bits behind the prefix: 1.2.3.0/24\n"
	    "p.yaml:10:35: found \"1.2.3.0/24\" again, expected each range once\n"
	    "p.yaml:11:25: found \"box\", expected the name of an environment");
	free(got);
}

static void
test_good(void **state)
{
	static const char *const texts[] = {
		"routes:\n",
		LIMITS "routes: {}\n",
		LIMITS "routes: {'* /': api, GET /x/*: [api], GET /x/:id/: b, GET /: []}\n",
		LIMITS "routes: {GET /a/:x: api, POST /a/:y: api, GET /a/x: b, GET /a/:x/*: b}\n",
		LIMITS "routes: {GET /%3Ax: api, GET /:x: api, GET /%2a: b, GET /*: b}\n",
		LIMITS "routes: {m-search /a:b: api, GET /...: api, GET /%2F%20: api}\n",
		LIMITS "routes: {GET /\xc3\xb1: api}\n",
		LIMITS "routes: {GET /a: [api, {limit: api, key: account, cost: 1T}]}\n",
		LIMITS "routes: {GET "
		       "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18/19/20/21/22/23/24/25/26/"
		       "27/28/29/30/31/:x/*: api}\n",
		LIMITS "routes: {ABCDEFGHIJKLMNOPQRSTUVWXYZABCDE /a: api}\n",
		"limits: {a: {rates: 1/s, key: {attribute: ip, ipv4: 0, ipv6: 0}}}\n",
		"limits: {a: {rates: 1/s, key: {attribute: x, ipv6: 48}}}\n",
		"limits: {a: {per: concurrent, rates: 5, cost: 1}}\nroutes: {GET /a: a}\n",
		"proxies:\nexempt:\n",
		"proxies: []\nexempt: {keys: [], addresses: []}\n",
		"proxies: [0.0.0.0/0, 10.0.0.0/8, 10.0.0.0/9, '::/0', '::1', fd00::/8]\n",
		"exempt: {keys: [a, 'b\\040c']}\n",
		"environments: {s: 0.1}\ndefaults: {environment: s}\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *got = mistakes_of(texts[i]);

		if (got != NULL)
			fail_msg("refused: %s: %s", texts[i], got);
	}
}

/* Lines by `format`, each with its number twice in two parts. */
static char *
many(const char *head, const char *format, int n, const char *tail)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	fputs(head, f);
	for (int i = 0; i < n; i++)
		fprintf(f, format, i / 256, i % 256, i / 256, i % 256);
	fputs(tail, f);
	fclose(f);
	return text;
}

static void
refused(char *text, const char *mistake)
{
	char *got = mistakes_of(text);

	if (got == NULL)
		fail_msg("accepted: %s", mistake);
	assert_string_equal(got, mistake);
	free(got);
	free(text);
}

static void
accepted(char *text)
{
	char *got = mistakes_of(text);

	if (got != NULL)
		fail_msg("%s", got);
	free(text);
}

static void
test_bounds(void **state)
{
	accepted(many("proxies:\n", "  - 10.0.%d.%d\n", 256, ""));
	refused(many("proxies:\n", "  - 10.0.%d.%d\n", 257, ""),
	    "p.yaml:258:5: found one more range, expected at most 256");
	refused(many("exempt: {addresses: [\n", "  10.0.%d.%d,\n", 258, "]}\n"),
	    "p.yaml:258:3: found one more range, expected at most 256");
	accepted(many(LIMITS "routes:\n", "  M%d_%d /a: api\n", 64, ""));
	refused(many(LIMITS "routes:\n", "  M%d_%d /a/:x: api\n", 65, ""),
	    "p.yaml:67:3: found the route \"M0_64 /a/:x\", expected at most 64 methods of one "
	    "path");
	accepted(many("limits:\n", "  l%d_%d: {rates: 1/s, key: k%d.%d}\n", 999, ""));
	refused(many("limits:\n", "  l%d_%d: {rates: 1/s, key: k%d.%d}\n", 1000, ""),
	    "p.yaml:1001:29: found one more attribute, expected at most 1000");
}

/*
 * Patterns of parameters with one literal each, at every place: a path of these literals fits
 * them all, and each costs a search as many places as it is deep.
 */
static void
test_visits(void **state)
{
	char *text = NULL, *got;
	size_t size;

	for (int n = 21; n <= 22; n++) {
		FILE *f = open_memstream(&text, &size);

		assert_non_null(f);
		fputs(LIMITS "routes:\n", f);
		for (int i = 0; i < n; i++) {
			fputs("  GET ", f);
			for (int k = 0; k < n; k++)
				fputs(k == i ? "/a" : "/:x", f);
			fputs(": api\n", f);
		}
		fclose(f);
		got = mistakes_of(text);
		/* 1 + 2 + ... + n, and n at the end: no pattern has parameters alone */
		if (n == 21) {
			if (got != NULL)
				fail_msg("%s", got);
		} else {
			assert_non_null(got);
			assert_non_null(strstr(got, "p.yaml:3:3: found the route \"GET /a/:x/"));
			assert_non_null(strstr(got,
			    " and others, which one path fits in so many "
			    "ways that a search visits 275 places, "
			    "expected at most 256"));
		}
		free(got);
		free(text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_all_mistakes),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_visits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
