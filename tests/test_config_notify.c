/*
 * test_config_notify.c - `notify` from the policy file to the compiled area: which rates of whom
 * are told of, and that a limit of sliding rates keeps its short way.
 */
#include "compiled.h"
#include "rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const char policy[] =
    "plans: [a, b]\n"
    "environments: {free: unlimited}\n"
    "limits:\n"
    "  month: {per: month, plans: [100, custom]}\n"
    "  fixed: 10/h fixed\n"
    "  slide: [300/min, 30/s]\n"
    "  both: [1000/day, 30/s]\n"
    "  own: {rates: 300/min, notify: [50]}\n"
    "  off: {rates: 10/day, notify: []}\n"
    "  words: {rates: 10/day, notify: {at: {100: paused, 80: suggest an upgrade,"
    " 60: }, remind: {80: 48h, 100: 0}}}\n"
    "  after: {rates: 10/day, notify: {remind: 90min}}\n"
    "  lease: 5 concurrent\n"
    "  count: unlimited\n"
    "  value: {value: 1h}\n"
    "  later: {plans: [unlimited, custom], notify: [50]}\n"
    "assign: {kb: b, kf: {plan: a, environment: free}}\n"
    "overrides: [{key: kb, limit: month, rates: 5/s}]\n";

/* "60 80 95 100", "all: 50", "plain", "-": neither. */
static const char *
notify_of(const char *limit, const char *key)
{
	static char buf[64];
	struct ruleset r = ruleset_of(limit, key, NOW);
	size_t len = 0;

	if ((r.flags & RULESET_NOTIFY) == 0) {
		for (unsigned i = 0; i < NOTIFY_MAX; i++)
			assert_int_equal(r.notify[i], 0);
		assert_int_equal(r.flags & RULESET_NOTIFY_ALL, 0);
		return (r.flags & RULESET_PLAIN) != 0 ? "plain" : "-";
	}
	assert_int_equal(r.flags & RULESET_PLAIN, 0);
	buf[0] = '\0';
	if ((r.flags & RULESET_NOTIFY_ALL) != 0)
		len = (size_t)snprintf(buf, sizeof(buf), "all:");
	for (unsigned i = 0; i < NOTIFY_MAX && r.notify[i] != 0; i++)
		len += (size_t)snprintf(
		    buf + len, sizeof(buf) - len, "%s%u", len > 0 ? " " : "", r.notify[i]);
	return buf;
}

static void
test_compiled(void **state)
{
	struct config *c = load(policy);

	assert_int_equal(compile(c, NULL, 0), 0);
	assert_string_equal(notify_of("month", "k"), "-"); /* no plan: 0 a month */
	assert_string_equal(notify_of("month", "kf"), "-");
	assert_string_equal(notify_of("month", "kb"), "plain"); /* by its override */
	assert_string_equal(notify_of("fixed", "k"), "60 80 95 100");
	assert_string_equal(notify_of("slide", "k"), "plain");
	assert_string_equal(notify_of("both", "k"), "60 80 95 100");
	assert_string_equal(notify_of("own", "k"), "all: 50");
	assert_string_equal(notify_of("off", "k"), "-");
	assert_string_equal(notify_of("words", "k"), "all: 60 80 100");
	assert_string_equal(notify_of("after", "k"), "all: 60 80 95 100");
	assert_string_equal(notify_of("lease", "k"), "-");
	assert_string_equal(notify_of("count", "k"), "-");
	assert_string_equal(notify_of("value", "k"), "-");
	assert_string_equal(notify_of("later", "kb"), "plain"); /* 0/min */
	config_free(c);
}

static const struct config_notify *
rule(const struct config *c, const char *limit)
{
	return config_notify(c, limit, strlen(limit));
}

static void
test_words(void **state)
{
	struct config *c = load(policy);
	const struct config_notify *n = rule(c, "words");

	assert_int_equal(n->n, 3);
	assert_null(n->action[0]);
	assert_string_equal(n->action[1], "suggest an upgrade");
	assert_string_equal(n->action[2], "paused");
	assert_int_equal(n->remind_s[0], 0);
	assert_int_equal(n->remind_s[1], 48 * 3600);
	assert_int_equal(n->remind_s[2], 0);
	n = rule(c, "after");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(n->remind_s[i], 5400);
	assert_int_equal(rule(c, "fixed")->n, 4);
	assert_int_equal(rule(c, "nothing")->n, 4);
	config_free(c);
	c = load("defaults: {notify: {at: {70: say so}, remind: 1h}}\n"
		 "limits: {a: 1/day, b: {rates: 1/day, notify: {remind: 2h}}, c: 1/min}\n");
	assert_int_equal(compile(c, NULL, 0), 0);
	assert_string_equal(notify_of("a", "k"), "70");
	assert_string_equal(notify_of("b", "k"), "all: 70");
	assert_string_equal(notify_of("c", "k"), "plain");
	assert_string_equal(rule(c, "b")->action[0], "say so");
	assert_int_equal(rule(c, "a")->remind_s[0], 3600);
	assert_int_equal(rule(c, "b")->remind_s[0], 7200);
	config_free(c);
	c = load("defaults: {notify: []}\nlimits: {a: 1/day}\n");
	assert_int_equal(compile(c, NULL, 0), 0);
	assert_string_equal(notify_of("a", "k"), "-");
	config_free(c);
}

/* Each with what is said of it. */
static const struct {
	const char *text, *want;
} bad[] = {
	{ "limits: {a: {rates: 1/day, notify: 60}}\n",
	    "p.yaml:1:36: found \"60\", expected a list of up to 8 percentages" },
	{ "limits: {a: {rates: 1/day, notify: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n",
	    "p.yaml:1:36: found more of them, expected a list of up to 8 percentages" },
	{ "limits: {a: {rates: 1/day, notify: [60, 60]}}\n",
	    "p.yaml:1:41: found 60, expected rising percentages" },
	{ "limits: {a: {rates: 1/day, notify: {at: [0]}}}\n",
	    "p.yaml:1:42: found 0, expected 1 to 100" },
	{ "limits: {a: {rates: 1/day, notify: {at: {60: x, 60: y}}}}\n",
	    "p.yaml:1:49: found 60 again, expected each percentage once" },
	{ "limits: {a: {rates: 1/day, notify: {at: {60: [x]}}}}\n",
	    "p.yaml:1:46: found a list, expected what is to be done, in words," },
	{ "limits: {a: {rates: 1/day, notify: {when: 60}}}\n",
	    "p.yaml:1:37: found \"when\" in notify, expected at or remind" },
	{ "limits: {a: {rates: 1/day, notify: {remind: soon}}}\n", "p.yaml:1:45: found \"soon\"" },
	{ "limits: {a: {rates: 1/day, notify: {remind: 367d}}}\n",
	    "p.yaml:1:45: found \"367d\", expected whole seconds, at most 366d" },
	{ "limits: {a: {rates: 1/day, notify: {remind: 100ms}}}\n",
	    "p.yaml:1:45: found \"100ms\"" },
	{ "limits: {a: {rates: 1/day, notify: {at: [80], remind: {60: 1h}}}}\n",
	    "p.yaml:1:56: found a reminder of 60, expected one of the percentages that are told "
	    "of" },
	{ "limits: {a: {rates: 5 concurrent, notify: [60]}}\n",
	    "p.yaml:1:35: found notify of a limit of leases, expected it of rates: what is held "
	    "is no use of a period" },
	{ "limits: {a: {per: concurrent, rates: 5, notify: []}}\n",
	    "p.yaml:1:41: found notify of a limit of leases" },
	{ "limits: {a: {rates: unlimited, notify: [60]}}\n",
	    "p.yaml:1:32: found notify of a limit that is unlimited, expected rates" },
	{ "limits: {a: {value: 1h, notify: [60]}}\n",
	    "p.yaml:1:25: found \"notify\" beside values, expected either: values are not "
	    "counted" },
	{ "defaults: {notify: [60]}\ndefaults: {notify: [70]}\n", "p.yaml:2:1: found" },
};

static void
test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct mistakes wrong = { 0 };
		struct config *c;

		assert_int_equal(
		    config_parse("p.yaml", bad[i].text, strlen(bad[i].text), &c, &wrong), -1);
		assert_int_equal(wrong.n, 1);
		if (strncmp(wrong.text[0], bad[i].want, strlen(bad[i].want)) != 0)
			fail_msg("%s: %s", bad[i].want, wrong.text[0]);
		mistakes_free(&wrong);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compiled),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_bad),
	};

	return cmocka_run_group_tests(tests, compiled_setup, NULL);
}
