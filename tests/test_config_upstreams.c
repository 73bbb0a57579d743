/*
 * test_config_upstreams.c - upstreams in the policy file: every mistake at its place; and as
 * they are compiled: the clients of five published APIs.
 */
#include "compiled.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#include "upstream.h"

#define U(fields) "upstreams: {a: {" fields "}}\n"

static const struct {
	const char *text, *mistake;
} bad[] = {
	{ "upstreams: [a]\n",
	    "p.yaml:1:12: found a list, expected a mapping of names to upstreams" },
	{ "upstreams: {a: 5}\n",
	    "p.yaml:1:16: found \"5\", expected a mapping with limit, on, tries, first, factor, "
	    "most, jitter, breaker or low" },
	{ "upstreams: {a b: {}}\n",
	    "p.yaml:1:13: found \"a b\", expected an upstream's name of up to 63 letters, digits, "
	    "\".\", \"_\" and \"-\"" },
	{ "upstreams:\n  a: {}\n  a: {}\n",
	    "p.yaml:3:3: found the upstream \"a\" again, expected each name once (first at "
	    "p.yaml:2)" },
	{ U("limits: 1/s"),
	    "p.yaml:1:17: found \"limits\" in an upstream, expected limit, on, tries, first, "
	    "factor, most, jitter, breaker or low; did you mean limit?" },
	{ U("limit: 5 concurrent"),
	    "p.yaml:1:24: found a concurrency, expected rates such as 100/min" },
	{ U("limit: 5"),
	    "p.yaml:1:24: found \"5\", expected / and a window after the number, or "
	    "\"concurrent\"" },
	{ U("on: [429, 301]"),
	    "p.yaml:1:27: found \"301\", expected a status from 400 to 599, 4xx, 5xx or network" },
	{ U("on: 6xx"),
	    "p.yaml:1:21: found \"6xx\", expected a status from 400 to 599, 4xx, 5xx or network" },
	{ U("tries: 1001"), "p.yaml:1:24: found 1001, expected 0 to 1000" },
	{ U("first: 0s"), "p.yaml:1:24: found \"0s\", expected whole milliseconds, 1 ms to 1d" },
	{ U("first: 2d"), "p.yaml:1:24: found \"2d\", expected whole milliseconds, 1 ms to 1d" },
	{ U("first: 2min, most: 1min"),
	    "p.yaml:1:36: found a longest pause below the first one, expected most to be at least "
	    "first" },
	{ U("factor: 0.5"),
	    "p.yaml:1:25: found \"0.5\", expected a factor of 1 to 100 with at most three "
	    "decimals" },
	{ U("factor: 1/3"),
	    "p.yaml:1:25: found \"1/3\", expected a factor of 1 to 100 with at most three "
	    "decimals" },
	{ U("breaker: on"),
	    "p.yaml:1:26: found \"on\", expected off, or a mapping such as {failures: 5, open: "
	    "30s}" },
	{ U("breaker: {failures: 0}"), "p.yaml:1:37: found 0, expected 1 to 10000" },
	{ U("breaker: {open: 1ms}"),
	    "p.yaml:1:33: found \"1ms\", expected whole milliseconds, 100 ms to 1d" },
	{ U("breaker: {opens: 1s}"),
	    "p.yaml:1:27: found \"opens\" in breaker, expected failures or open; did you mean "
	    "open?" },
	{ U("low: 20"), "p.yaml:1:22: found \"20\", expected a list of up to 6 percentages" },
	{ U("low: [20, 100]"), "p.yaml:1:27: found 100, expected 1 to 99" },
	{ U("low: [20, 20]"), "p.yaml:1:27: found \"20\" again, expected each percentage once" },
};

static void
test_mistakes(void **state)
{
	struct config *c;
	unsigned wrong = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(&m, 0, sizeof(m));
		if (config_parse("p.yaml", bad[i].text, strlen(bad[i].text), &c, &m) == 0) {
			config_free(c);
			print_error("no mistake in: %s", bad[i].text);
			wrong++;
			continue;
		}
		if (m.n != 1 || strcmp(m.text[0], bad[i].mistake) != 0) {
			print_error("%s   %s\n", bad[i].text, m.text[0]);
			wrong++;
		}
		mistakes_free(&m);
	}
	assert_int_equal(wrong, 0);
}

static struct upstream_def
upstream_of(const char *name)
{
	const struct upstream_def *d =
	    policy_section(&ref, ref.area->upstreams, ref.area->nupstreams, sizeof(*d));

	assert_non_null(d);
	for (uint32_t i = 0; i < ref.area->nupstreams; i++)
		if (strcmp(policy_string(&ref, d[i].name, NULL), name) == 0) {
			assert_true(d[i].hash == policy_hash(name, strlen(name)));
			assert_true(i == 0 || d[i - 1].hash <= d[i].hash);
			return d[i];
		}
	fail_msg("%s is not there", name);
	return (struct upstream_def) { .hash = 0 };
}

static bool
on(const struct upstream_def *d, unsigned status)
{
	return (d->on[(status - 400) / 64] >> (status - 400) % 64 & 1) != 0;
}

#define FIVE \
	"upstreams:\n" \
	"  mivicall: {limit: [300/min, 30/s], on: 429, tries: 6, first: 1s, factor: 1, most: " \
	"60s, jitter: 1s}\n" \
	"  oxenty: {limit: 40/min, on: 429, tries: 3, first: 1s, factor: 2, jitter: none}\n" \
	"  fluxiq: {limit: 100/min fixed, on: [429, 5xx, network], tries: 5, first: 1s, factor: " \
	"2, most: 60s, jitter: 1s, breaker: {failures: 5, open: 30s}, low: [10, 20]}\n" \
	"  aiempire: {on: [429], first: 2s, most: 60s}\n" \
	"  apviso: {limit: 120/min fixed, tries: 3, breaker: off, low: []}\n" \
	"  plain:\n"

static void
test_five(void **state)
{
	struct upstream_def d;
	uint64_t random = 1;

	(void)state;
	take(FIVE);
	assert_int_equal(ref.area->nupstreams, 6);
	d = upstream_of("mivicall");
	assert_int_equal(d.nrates, 2);
	assert_true(on(&d, 429) && !on(&d, 503) && !on(&d, 400 + UPSTREAM_ON_NETWORK));
	assert_int_equal(d.tries, 6);
	for (unsigned i = 1; i <= 6; i++) {
		uint64_t w = upstream_wait_ms(&d, i, -1, &random);

		assert_in_range(w, 1000, 2000);
		assert_in_range(upstream_wait_ms(&d, i, 12000, &random), 12000, 13000);
		assert_in_range(upstream_wait_ms(&d, i, 59900, &random), 59900, 60000);
	}
	d = upstream_of("oxenty");
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(upstream_wait_ms(&d, i, -1, &random), 1000u << (i - 1));
	d = upstream_of("fluxiq");
	assert_true(on(&d, 429) && on(&d, 500) && on(&d, 599) && !on(&d, 404) &&
	    on(&d, 400 + UPSTREAM_ON_NETWORK));
	assert_int_equal(d.rates[0].kind, RATION_FIXED);
	assert_int_equal(d.rates[0].units, 100);
	assert_int_equal(d.failures, 5);
	assert_int_equal(d.open_ms, 30000);
	assert_int_equal(d.low[0], 20);
	assert_int_equal(d.low[1], 10);
	assert_int_equal(d.low[2], 0);
	for (unsigned i = 1; i <= 5; i++)
		assert_in_range(upstream_wait_ms(&d, i, -1, &random), 1000u << (i - 1),
		    (1000u << (i - 1)) + 1000);
	d = upstream_of("aiempire");
	assert_int_equal(d.nrates, 0);
	assert_int_equal(upstream_base_ms(&d, 1), 2000);
	assert_int_equal(upstream_base_ms(&d, 20), 60000);
	d = upstream_of("apviso");
	assert_int_equal(d.failures, 0);
	assert_int_equal(d.low[0], 0);
	assert_int_equal(d.jitter, JITTER_FULL);
	d = upstream_of("plain");
	assert_memory_equal(d.on, upstream_defaults.on, sizeof(d.on));
	assert_true(on(&d, 429) && on(&d, 503) && !on(&d, 500));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_five),
	};

	compiled_name = "p.yaml";
	return cmocka_run_group_tests(tests, compiled_setup, NULL);
}
