/*
 * test_daemon_routes.c - routes, proxies and the exempt of a running rationd: as it tells of
 * them, changed by a reload, refused with their places, and which limits' generations move.
 */
#include "server.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ration.h"

static const char policy[] = "plans: [free]\n"
			     "environments: {box: 0.5}\n"
			     "defaults: {plan: free, environment: box}\n"
			     "proxies: [127.0.0.1, 10.0.0.0/8, 'fd00::/8', '::1']\n"
			     "exempt: {keys: [monitor, 'a\\040b'], addresses: [192.0.2.0/28]}\n"
			     "limits:\n"
			     "  api: {per: min, plans: [10]}\n"
			     "  per-ip: {rates: 3/min, key: {attribute: ip, ipv6: 56}}\n"
			     "  slow: {rates: 5/24h, cost: 2}\n"
			     "routes:\n"
			     "  GET /a/:id: [api, per-ip]\n"
			     "  '* /health': []\n"
			     "  POST /a: {limit: slow, key: account, cost: 3}\n";

/* A result's member as text; the server's answer without blanks. */
static void
assert_json(const struct server *s, const char *method, const char *member, const char *want)
{
	json_t *j = ok(s, method, NULL);
	char *text =
	    json_dumps(json_object_get(j, member), JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	assert_non_null(text);
	for (char *p = text; *p != '\0'; p++)
		if (*p == '"')
			*p = '\'';
	assert_string_equal(text, want);
	free(text);
	json_decref(j);
}

static json_int_t
generation(const struct server *s, const char *limit)
{
	json_t *j = ok(s, "limits", NULL), *one;
	json_int_t g = -1;
	size_t i;

	json_array_foreach(json_object_get(j, "limits"), i, one)
	{
		if (strcmp(json_string_value(json_object_get(one, "name")), limit) == 0)
			g = json_integer_value(json_object_get(one, "generation"));
	}
	json_decref(j);
	assert_true(g > 0);
	return g;
}

static void
test_told(void **state)
{
	struct server *s = *state;
	json_t *j, *list;

	put_file(s, "ration.yaml", policy);
	start(s);
	assert_json(s, "routes", "routes",
	    "[{'limits':[{'cost':null,'ipv4':null,'ipv6':null,'key':'key','limit':'api'},"
	    "{'cost':null,'ipv4':32,'ipv6':56,'key':'ip','limit':'per-ip'}],"
	    "'origin':'ration.yaml:11','pattern':'GET /a/:id'},"
	    "{'limits':[],'origin':'ration.yaml:12','pattern':'* /health'},"
	    "{'limits':[{'cost':3,'ipv4':null,'ipv6':null,'key':'account','limit':'slow'}],"
	    "'origin':'ration.yaml:13','pattern':'POST /a'}]");
	assert_json(s, "routes", "proxies", "['127.0.0.1','10.0.0.0/8','fd00::/8','::1']");
	assert_json(
	    s, "routes", "exempt", "{'addresses':['192.0.2.0/28'],'keys':['monitor','a\\\\040b']}");
	assert_json(s, "status", "routes", "3");
	assert_json(s, "plans", "plans", "[{'default':true,'keys':0,'name':'free'}]");
	assert_json(s, "plans", "environments", "[{'default':true,'factor':'0.5','name':'box'}]");
	j = ok(s, "limits", NULL);
	list = json_object_get(j, "limits");
	assert_string_equal(
	    json_string_value(json_object_get(json_array_get(list, 0), "key")), "key");
	assert_true(json_is_null(json_object_get(json_array_get(list, 0), "ipv6")));
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "ipv6")), 56);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 2), "cost")), 2);
	json_decref(j);
	assert_rates(s, "api", "5/min", NULL); /* in the default environment */
	assert_int_equal(code(call(s, "routes", "{'limit':'api'}")), -32602);
}

static void
test_reloaded(void **state)
{
	struct server *s = *state;
	json_int_t api, ip, slow;

	put_file(s, "ration.yaml", policy);
	start(s);
	assert_int_equal(admitted(s, "api", "monitor", 20), 20);
	assert_int_equal(admitted(s, "per-ip", "192.0.2.7", 20), 20);
	assert_int_equal(admitted(s, "per-ip", "192.0.2.77", 20), 3);
	api = generation(s, "api");
	ip = generation(s, "per-ip");
	slow = generation(s, "slow");
	/* Nobody is exempt any more, and api is taken by another route. */
	put_file(s, "ration.yaml",
	    "plans: [free]\n"
	    "environments: {box: 0.5}\n"
	    "defaults: {plan: free}\n"
	    "exempt: {addresses: [192.0.2.64/28]}\n"
	    "limits:\n"
	    "  api: {per: min, plans: [10]}\n"
	    "  per-ip: {rates: 3/min, key: {attribute: ip, ipv6: 56}}\n"
	    "  slow: {rates: 5/24h, cost: 2}\n"
	    "routes:\n"
	    "  GET /*: api\n");
	json_decref(ok(s, "reload", NULL));
	assert_int_equal(admitted(s, "api", "monitor", 20), 10);
	assert_int_equal(admitted(s, "per-ip", "192.0.2.7", 20), 3);
	assert_int_equal(admitted(s, "per-ip", "192.0.2.77", 20), 20);
	assert_json(s, "status", "routes", "1");
	assert_json(s, "routes", "proxies", "[]");
	assert_json(s, "routes", "exempt", "{'addresses':['192.0.2.64/28'],'keys':[]}");
	assert_true(generation(s, "api") > api);
	assert_true(generation(s, "per-ip") > ip);
	assert_true(generation(s, "slow") > slow);
}

/* The policy in force stays, routes and all. */
static void
test_refused(void **state)
{
	struct server *s = *state;
	json_t *j;

	put_file(s, "ration.yaml", policy);
	start(s);
	put_file(s, "ration.yaml",
	    "exempt: {addresses: [10.0.0.1/8]}\n"
	    "limits: {api: 1/s}\n"
	    "routes:\n"
	    "  GET /a/../b: api\n"
	    "  GET /c: ap\n");
	j = call(s, "reload", NULL);
	assert_int_equal(json_array_size(json_object_get(
			     json_object_get(json_object_get(j, "error"), "data"), "mistakes")),
	    3);
	assert_int_equal(code(j), -32003);
	assert_true(wait_log(s, "ration.yaml:1:22: "));
	assert_true(wait_log(s, "ration.yaml:4:3: "));
	assert_true(wait_log(s, "ration.yaml:5:11: "));
	assert_json(s, "status", "routes", "3");
	assert_int_equal(admitted(s, "api", "monitor", 20), 20);
}

/* A live change that would make a route's rates too many is refused, and says which. */
static void
test_too_many_rates(void **state)
{
	struct server *s = *state;
	json_t *j;

	put_file(s, "ration.yaml",
	    "table: {rates: 4}\n"
	    "limits:\n"
	    "  a: [1/s, 1/min, 1/h, 1/day]\n"
	    "  b: [1/s, 1/min, 1/h, 1/day]\n"
	    "  c: [1/s, 1/min, 1/h, 1/day]\n"
	    "  d: [1/s, 1/min, 1/h, 1/day]\n"
	    "  e: 1/s\n"
	    "routes: {GET /a: [a, b, c, d], GET /e: [a, b, c, e]}\n");
	start(s);
	json_decref(ok(s, "set", "{'limit':'e','rates':'1/s, 1/min, 1/h, 2/day'}"));
	put_file(s, "ration.yaml",
	    "table: {rates: 4}\n"
	    "limits:\n"
	    "  a: [1/s, 1/min, 1/h, 1/day]\n"
	    "  b: [1/s, 1/min, 1/h, 1/day]\n"
	    "  c: [1/s, 1/min, 1/h, 1/day]\n"
	    "  d: [1/s, 1/min, 1/h]\n"
	    "  e: 1/s\n"
	    "routes: {GET /a: [a, b, c, d, e]}\n");
	/* The files are right: what was set live is left out, and said. */
	json_decref(ok(s, "reload", NULL));
	assert_true(wait_log(s, "route \"GET /a\" (ration.yaml:8): found 19 rates"));
	assert_rates(s, "e", "1/s", NULL);
	j = call(s, "set", "{'limit':'e','rates':'1/s, 1/min'}");
	assert_int_equal(code(j), -32003);
	assert_rates(s, "e", "1/s", NULL);
}

int
main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_told),
		T(test_reloaded),
		T(test_refused),
		T(test_too_many_rates),
	};
#undef T

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_daemon_routes RATIOND\n");
		return 2;
	}
	program = argv[1];
	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
