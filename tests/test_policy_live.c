/*
 * test_policy_live.c - routes, proxies, the exempt and the default environment changed under
 * callers: each counts from the next call, in the short ways too, and what was used stays used.
 */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define LIMITS \
	"limits:\n" \
	"  api: 3/min\n" \
	"  per-ip: {rates: 3/min, key: ip}\n" \
	"  known: {rates: 3/min, unlisted: refuse}\n" \
	"  site: {rates: 3/min, unlisted: refuse, key: ip}\n" \
	"  dry: {rates: 3/min, mode: observe}\n" \
	"  open: 1 concurrent\n" \
	"  keep: {value: 1h}\n"

static struct fixture f;

/* Used units after a call of cost 1 that is admitted; UINT64_MAX: it was exempt. */
static uint64_t
used(const char *limit, const char *key)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(f.r, limit, key, 1, &d), RATION_ADMITTED);
	if ((d.flags & RATION_F_EXEMPT) == 0)
		return d.used;
	assert_int_equal(d.nrates, 0);
	assert_int_equal(d.nreceipts, 0);
	assert_int_equal(d.flags, RATION_F_EXEMPT);
	assert_true(d.remaining == RATION_UNLIMITED);
	assert_int_equal(ration_refund(f.r, &d, 1), RATION_ESTALE);
	return UINT64_MAX;
}

static void
test_keys(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k;

	fixture_open(&f, LIMITS, 0);
	assert_int_equal(ration_key(f.r, "api", "k", 1, &k), 0);
	assert_int_equal(used("api", "k"), 1);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 2);
	assert_int_equal(ration_acquire(f.r, "known", "k", 1, &d), RATION_DENIED);

	fixture_policy(&f, "exempt: {keys: [k]}\n" LIMITS);
	for (int i = 0; i < 5; i++) {
		assert_true(used("api", "k") == UINT64_MAX);
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
		assert_int_equal(ration_key_peek(f.r, &k, 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
		assert_int_equal(ration_peek(f.r, "api", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
		assert_true(used("known", "k") == UINT64_MAX); /* as if it were listed */
		assert_true(used("dry", "k") == UINT64_MAX);
	}
	assert_int_equal(used("api", "l"), 1); /* others as ever */
	assert_int_equal(used("api", "l"), 2);

	/* Nothing was counted meanwhile, and nothing forgotten. */
	fixture_policy(&f, LIMITS);
	assert_int_equal(used("api", "k"), 3);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
	assert_int_equal(ration_acquire(f.r, "known", "k", 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_UNLISTED);
	fixture_close(&f);
}

static void
test_addresses(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	char value[16];

	fixture_open(&f, LIMITS, 0);
	assert_int_equal(used("per-ip", "192.0.2.3"), 1);
	assert_int_equal(used("api", "192.0.2.3"), 1);
	fixture_policy(&f, "exempt: {addresses: [192.0.2.0/28, '2001:db8::/48']}\n" LIMITS);
	for (int i = 0; i < 5; i++) {
		assert_true(used("per-ip", "192.0.2.3") == UINT64_MAX);
		assert_true(used("per-ip", "2001:db8:0:7::/64") == UINT64_MAX);
		assert_true(used("site", "192.0.2.4") == UINT64_MAX);
	}
	assert_int_equal(used("per-ip", "192.0.2.16"), 1);
	assert_int_equal(used("per-ip", "2001:db8:1::/64"), 1);
	assert_int_equal(used("api", "192.0.2.3"), 2); /* a key like any other */
	assert_int_equal(ration_acquire(f.r, "site", "192.0.2.99", 1, &d), RATION_DENIED);
	assert_int_equal(ration_value(f.r, "keep", "192.0.2.3", 9, value, sizeof(value)), 2);
	fixture_policy(&f, "exempt: {addresses: [198.51.100.0/24], keys: [k]}\n" LIMITS);
	assert_int_equal(used("per-ip", "192.0.2.3"), 2);
	assert_int_equal(ration_value(f.r, "keep", "k", 1, value, sizeof(value)), 2);
	assert_string_equal(value, "1h");
	fixture_close(&f);
}

/* No permit is taken of who is exempt: there is nothing to release. */
static void
test_leases(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t lease;

	fixture_open(&f, LIMITS, 0);
	assert_int_equal(ration_lease(f.r, "open", "k", 1, 0, &lease, &d), RATION_ADMITTED);
	fixture_policy(&f, "exempt: {keys: [k]}\n" LIMITS);
	for (int i = 0; i < 3; i++) {
		ration_lease_t other = { .size = 0 };

		assert_int_equal(ration_lease(f.r, "open", "k", 1, 0, &other, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
		assert_true(other.word == 0);
	}
	/* The one from before is given back as any. */
	assert_int_equal(ration_release(f.r, &lease), 0);
	fixture_policy(&f, LIMITS);
	assert_int_equal(ration_lease(f.r, "open", "k", 1, 0, &lease, &d), RATION_ADMITTED);
	assert_int_equal(ration_lease(f.r, "open", "k", 1, 0, &lease, &d), RATION_DENIED);
	fixture_close(&f);
}

/* One who is exempt takes the whole call along. */
static void
test_call(void **state)
{
	ration_claim_t claims[2] = {
		{ .size = sizeof(claims[0]), .limit = "api", .key = "a", .key_len = 1, .cost = 1 },
		{ .size = sizeof(claims[0]),
		    .limit = "per-ip",
		    .key = "192.0.2.1",
		    .key_len = 9,
		    .cost = 1 },
	};
	ration_decision_t d = RATION_DECISION_INIT;

	fixture_open(&f, LIMITS, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_ADMITTED);
	assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_DENIED);
	fixture_policy(&f, "exempt: {addresses: [192.0.2.1]}\n" LIMITS);
	assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_ADMITTED);
	assert_int_equal(d.flags, RATION_F_EXEMPT);
	assert_int_equal(ration_acquire(f.r, "api", "a", 1, &d), RATION_DENIED);
	fixture_policy(&f, LIMITS);
	assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_DENIED);
	fixture_close(&f);
}

/* Used units of the limit that a request takes; UINT64_MAX: it has no route. */
static uint64_t
request(const char *path, const char *key, const char *ip)
{
	ration_attr_t attrs[2] = {
		{ .size = sizeof(attrs[0]), .name = "key", .value = key, .len = strlen(key) },
		{ .size = sizeof(attrs[0]), .name = "ip", .value = ip, .len = strlen(ip) },
	};
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_route(f.r, "GET", path, attrs, 2, 1, &d), RATION_ADMITTED);
	return (d.flags & RATION_F_UNROUTED) != 0 ? UINT64_MAX : d.used;
}

static void
test_routes(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	fixture_open(&f, "limits: {api: 100/min, ip: {rates: 100/min, key: ip}}\n", 0);
	assert_true(request("/a", "k", "10.0.0.1") == UINT64_MAX);
	fixture_policy(
	    &f, "limits: {api: 100/min, ip: {rates: 100/min, key: ip}}\nroutes: {GET /a: api}\n");
	assert_int_equal(request("/a", "k", "10.0.0.1"), 1);
	assert_true(request("/b", "k", "10.0.0.1") == UINT64_MAX);
	/* another path, another cost */
	fixture_policy(&f,
	    "limits: {api: 100/min, ip: {rates: 100/min, key: ip}}\n"
	    "routes: {GET /:x: {limit: api, cost: 5}}\n");
	assert_int_equal(request("/b", "k", "10.0.0.1"), 6);
	/* another limit, in a file that has the limits the other way round */
	fixture_policy(&f,
	    "limits: {ip: {rates: 100/min, key: {attribute: ip, ipv4: 24}}, api: 100/min}\n"
	    "routes: {GET /b: ip}\n");
	assert_int_equal(request("/b", "k", "10.0.0.1"), 1);
	assert_int_equal(request("/b", "k", "10.0.0.2"), 2);
	assert_int_equal(ration_acquire(f.r, "ip", "10.0.0.0/24", 1, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 3);
	/* another key, that is the caller's in the same limit */
	fixture_policy(&f,
	    "limits: {ip: {rates: 100/min, key: {attribute: ip, ipv4: 24}}, api: 100/min}\n"
	    "routes: {GET /b: {limit: ip, key: key}}\n");
	assert_int_equal(request("/b", "10.0.0.0/24", "10.0.0.1"), 4);
	/* none of it any more */
	fixture_policy(&f, "limits: {ip: {rates: 100/min, key: ip}, api: 100/min}\n");
	assert_true(request("/b", "k", "10.0.0.1") == UINT64_MAX);
	fixture_close(&f);
}

/* Whose word is taken for where a request comes from. */
static void
test_proxies(void **state)
{
	static const struct {
		const char *policy, *client;
	} cases[] = { { "", "10.0.0.1" }, { "proxies: [10.0.0.0/8]\n", "192.0.2.1" },
		{ "proxies: [10.0.0.0/8, 192.0.2.0/24]\n", "2001:db8::1" },
		{ "proxies: [192.0.2.0/24]\n", "10.0.0.1" }, { "proxies: []\n", "10.0.0.1" } };
	char text[256], buf[RATION_ADDRESS_MAX];

	fixture_open(&f, LIMITS, 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text), "%slimits: {api: 1/s}\n", cases[i].policy);
		fixture_policy(&f, text);
		assert_true(ration_client_address(f.r, "10.0.0.1", "2001:db8::1, 192.0.2.1", NULL,
				buf, sizeof(buf)) > 0);
		assert_string_equal(buf, cases[i].client);
	}
	fixture_close(&f);
}

static void
test_environment(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
#define POLICY(more) \
	"plans: [p]\nenvironments: {box: 0.1, local: unlimited}\n" \
	"defaults: {plan: p" more "}\nlimits: {api: {per: min, plans: [100]}}\n" \
	"assign: {mine: {environment: box}}\n"

	fixture_open(&f, POLICY(""), 0);
	assert_int_equal(ration_acquire(f.r, "api", "k", 7, &d), RATION_ADMITTED);
	assert_int_equal(d.limit_units, 100);
	fixture_policy(&f, POLICY(", environment: box"));
	assert_int_equal(ration_acquire(f.r, "api", "k", 2, &d), RATION_ADMITTED);
	assert_int_equal(d.limit_units, 10);
	assert_int_equal(d.used, 9);
	assert_int_equal(ration_acquire(f.r, "api", "k", 2, &d), RATION_DENIED);
	fixture_policy(&f, POLICY(", environment: local"));
	assert_int_equal(ration_acquire(f.r, "api", "k", 200, &d), RATION_ADMITTED);
	assert_true(d.limit_units == RATION_UNLIMITED);
	assert_int_equal(ration_acquire(f.r, "api", "mine", 1, &d), RATION_ADMITTED);
	assert_int_equal(d.limit_units, 10);
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_leases),
		cmocka_unit_test(test_call),
		cmocka_unit_test(test_routes),
		cmocka_unit_test(test_proxies),
		cmocka_unit_test(test_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
