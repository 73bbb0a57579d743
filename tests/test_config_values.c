/*
 * test_config_values.c - values and concurrency from the policy file and live changes to the
 * compiled area: who gets which value until when, and that nothing turns leases into rates.
 */
#include "compiled.h"
#include "rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define HOUR 3600

/* "24 months; p.yaml:3: plan b" */
static const char *
value_of(const char *limit, const char *key, int64_t t)
{
	static char buf[1024];
	struct ruleset r = ruleset_of(limit, key, t);

	assert_int_equal(r.nrates, 0);
	snprintf(buf, sizeof(buf), "%s; %s",
	    r.value != 0 ? policy_string(&ref, r.value, NULL) : "-",
	    policy_string(&ref, r.origin, NULL));
	return buf;
}

/* ---- values ---- */

static const char values[] =
    "plans: [a, b, c]\n"                                         /* 1 */
    "environments: {half: 0.5, free: unlimited}\n"               /* 2 */
    "share: 1/2\n"                                               /* 3 */
    "limits:\n"                                                  /* 4 */
    "  keep: {values: [12 months, 24 months, custom]}\n"         /* 5 */
    "  hint: {value: 1h}\n"                                      /* 6 */
    "  both: {value: none yet, values: {a: 5}}\n"                /* 7 */
    "assign: {ka: {plan: a, environment: half}, kb: b, kc: c}\n" /* 8 */
    "exempt: {keys: [kb]}\n"                                     /* 9 */
    "overrides:\n"                                               /* 10 */
    "  - {key: k1, limit: keep, value: 99 years, reason: won}\n" /* 11 */
    "  - {limit: keep, plan: b, value: 30 months, until: 2026-11-21T19:00:00Z}\n"
    "  - {limit: hint, value: 2h, until: 2026-11-21T20:00:00Z}\n";

static struct change
value_change(const char *limit, const char *key, const char *plan, const char *value, int64_t until)
{
	struct change ch = { .kind = CHANGE_VALUE, .until = until, .when = NOW };

	snprintf(ch.limit, sizeof(ch.limit), "%s", limit);
	snprintf(ch.plan, sizeof(ch.plan), "%s", plan);
	snprintf(ch.value, sizeof(ch.value), "%s", value);
	ch.key_len = strlen(key);
	memcpy(ch.key, key, ch.key_len);
	snprintf(ch.who, sizeof(ch.who), "ann");
	return ch;
}

static void
test_values(void **state)
{
	struct config *c = load(values);
	struct change ch[3];

	assert_int_equal(compile(c, NULL, 0), 0);
	assert_int_equal(limit_of("keep").flags, LIMIT_VALUE);
	/* neither environment nor share, nor exemption, is about it */
	assert_string_equal(value_of("keep", "ka", NOW), "12 months; p.yaml:5: plan a");
	assert_string_equal(
	    value_of("keep", "kb", NOW), "30 months; p.yaml:12: plan b, until 2026-11-21 19:00");
	assert_string_equal(value_of("keep", "kb", NOW + HOUR), "24 months; p.yaml:5: plan b");
	assert_string_equal(
	    value_of("keep", "kc", NOW), "-; p.yaml:5: plan c is custom and there is no override");
	assert_string_equal(value_of("keep", "k1", NOW), "99 years; p.yaml:11: override, won");
	assert_string_equal(value_of("keep", "nobody", NOW), "-; p.yaml:5: no plan and no default");
	assert_string_equal(
	    value_of("hint", "ka", NOW), "2h; p.yaml:13: default, until 2026-11-21 20:00");
	assert_string_equal(value_of("hint", "ka", NOW + 2 * HOUR), "1h; p.yaml:6: default");
	assert_string_equal(value_of("both", "ka", NOW), "5; p.yaml:7: plan a");
	assert_string_equal(value_of("both", "kb", NOW), "none yet; p.yaml:7: default");
	/* live ones over all of it, and their ends */
	ch[0] = value_change("keep", "k1", "", "1 day", NOW + HOUR);
	ch[1] = value_change("keep", "", "a", "13 months", POLICY_ENDLESS);
	ch[2] = value_change("both", "", "", "something", POLICY_ENDLESS);
	assert_int_equal(compile(c, ch, 3), 0);
	assert_string_equal(
	    value_of("keep", "k1", NOW), "1 day; override by ann, until 2026-11-21 19:00");
	assert_string_equal(
	    value_of("keep", "k1", NOW + HOUR), "99 years; p.yaml:11: override, won");
	assert_string_equal(value_of("keep", "ka", NOW), "13 months; plan a by ann");
	assert_string_equal(value_of("both", "kb", NOW), "something; default by ann");
	config_free(c);
}

/* Live changes that do not fit what the limit is. */
static void
test_live_refused(void **state)
{
	struct config *c = load("limits: {v: {value: 1h}, x: 1/min, l: 5 concurrent}\n");
	struct change ch = value_change("x", "k", "", "1h", POLICY_ENDLESS);
	char err[128];

	assert_false(config_knows(c, &ch));
	assert_int_equal(compile(c, &ch, 1), -1);
	assert_string_equal(m.text[0],
	    "change 0 by ann: found \"x\", expected a limit that holds values: this one is "
	    "counted");
	mistakes_free(&m);
	ch = value_change("v", "k", "", "a\nb", POLICY_ENDLESS);
	assert_true(config_knows(c, &ch));
	assert_int_equal(compile(c, &ch, 1), -1);
	assert_string_equal(m.text[0],
	    "change 0 by ann: found \"a\\012b\", expected a value of 1 to 255 bytes without "
	    "control characters");
	mistakes_free(&m);
	ch = value_change("v", "", "", "", POLICY_ENDLESS);
	assert_int_equal(compile(c, &ch, 1), -1);
	mistakes_free(&m);
	ch.kind = CHANGE_MODE;
	assert_false(config_knows(c, &ch));
	assert_int_equal(compile(c, &ch, 1), -1);
	mistakes_free(&m);
	/* rates for leases and the other way round; unlimited goes with both */
	ch = value_change("l", "k", "", "", POLICY_ENDLESS);
	ch.kind = CHANGE_RATES;
	ch.nrates = (uint8_t)rate_parse_list("3/min", ch.rates, 4, err, sizeof(err));
	assert_false(config_knows(c, &ch));
	assert_int_equal(compile(c, &ch, 1), -1);
	assert_string_equal(m.text[0],
	    "change 0 by ann: found \"3/min\", expected a concurrency such as 5 concurrent: the "
	    "limit is of leases; give rates another name");
	mistakes_free(&m);
	ch.nrates = (uint8_t)rate_parse_list("3 concurrent, 3/min", ch.rates, 4, err, sizeof(err));
	assert_int_equal(compile(c, &ch, 1), -1);
	mistakes_free(&m);
	ch.nrates = (uint8_t)rate_parse_list("70k concurrent", ch.rates, 4, err, sizeof(err));
	assert_int_equal(compile(c, &ch, 1), 0);
	ch.nrates = (uint8_t)rate_parse_list("140k concurrent", ch.rates, 4, err, sizeof(err));
	assert_int_equal(compile(c, &ch, 1), -1);
	assert_non_null(strstr(m.text[0],
	    "limit l: found 140000 concurrent (override by ann), "
	    "expected at most 131008"));
	mistakes_free(&m);
	ch.nrates = (uint8_t)rate_parse_list("unlimited", ch.rates, 4, err, sizeof(err));
	assert_int_equal(compile(c, &ch, 1), 0);
	snprintf(ch.limit, sizeof(ch.limit), "x");
	assert_int_equal(compile(c, &ch, 1), 0);
	ch.nrates = (uint8_t)rate_parse_list("3 concurrent", ch.rates, 4, err, sizeof(err));
	assert_false(config_knows(c, &ch));
	assert_int_equal(compile(c, &ch, 1), -1);
	assert_string_equal(m.text[0],
	    "change 0 by ann: found \"3 concurrent\", expected a rate such as 300/min: the limit "
	    "is of rates; give leases another name");
	mistakes_free(&m);
	config_free(c);
}

/* Every character of a value comes back from `diff --as-policy`. */
static void
test_diff_yaml(void **state)
{
	static const char odd[] =
	    "it's \"12\" \\ # {a: b} \xc3\xb1 \xc2\x85 \xe2\x80\xa8 \xef\xbb\xbf "
	    "\xf0\x9f\x98\x80 %s";
	static const char base[] = "plans: [a]\nlimits: {v: {value: 1h}}\n";
	struct config *c = load(base);
	struct change ch[3];
	char *yaml = NULL, *both;
	size_t size;
	FILE *f;

	ch[0] = value_change("v", "k", "", "old", POLICY_ENDLESS);
	ch[1] = value_change("v", "k", "", odd, POLICY_ENDLESS);
	ch[2] = value_change("v", "", "a", "12", NOW + HOUR);
	f = open_memstream(&yaml, &size);
	config_diff_yaml(c, ch, 3, f);
	fclose(f);
	assert_true(asprintf(&both, "%sassign: {p: a}\n%s", base, yaml) > 0);
	take(both);
	assert_memory_equal(value_of("v", "k", NOW), odd, strlen(odd));
	assert_memory_equal(value_of("v", "p", NOW), "12; p.yaml:", 11);
	assert_string_equal(value_of("v", "p", NOW + HOUR), "1h; p.yaml:2: default");
	free(both);
	free(yaml);
	config_free(c);
}

/* ---- leases ---- */

static void
test_leases(void **state)
{
	struct ruleset r;

	take("plans: [a, b]\n"
	     "environments: {tenth: 0.1, half: 0.5, local: unlimited}\n"
	     "share: 1/2\n"
	     "limits:\n"
	     "  s: {per: concurrent, plans: [5, 25]}\n"
	     "  open: unlimited\n"
	     "  custom: {plans: [custom, unlimited]}\n"
	     "  rate: 1/s\n"
	     "assign:\n"
	     "  k1: {plan: a, environment: tenth}\n"
	     "  k2: {plan: b, environment: half}\n"
	     "  k3: {plan: b, environment: local}\n"
	     "overrides: [{key: k4, limit: custom, rates: 7 concurrent}]\n");
	assert_int_equal(limit_of("s").flags, LIMIT_LEASES);
	assert_int_equal(limit_of("custom").flags, LIMIT_LEASES); /* by its override */
	assert_int_equal(limit_of("open").flags, 0);
	assert_int_equal(limit_of("rate").flags, 0);
	/* rounded down, but to no less than 1 */
	r = ruleset_of("s", "k1", NOW);
	assert_int_equal(r.rates[0].kind, RATION_CONCURRENT);
	assert_int_equal(r.rates[0].units, 1);
	r = ruleset_of("s", "k2", NOW);
	assert_int_equal(r.rates[0].units, 6);
	r = ruleset_of("s", "k3", NOW);
	assert_int_equal(r.rates[0].kind, RATION_COUNT_ONLY);
	/* nothing is nothing of leases */
	r = ruleset_of("s", "stranger", NOW);
	assert_int_equal(r.rates[0].kind, RATION_CONCURRENT);
	assert_int_equal(r.rates[0].units, 0);
	r = ruleset_of("custom", "stranger", NOW);
	assert_int_equal(r.nrates, 1);
	assert_int_equal(r.rates[0].kind, RATION_CONCURRENT);
	assert_int_equal(r.rates[0].units, 0);
	r = ruleset_of("custom", "k4", NOW);
	assert_int_equal(r.rates[0].units, 3);
	assert_int_equal(r.flags & RULESET_PLAIN, 0);
}

/* Text over the version in force: 0, or why it is refused. */
static int
over(const char *text, const struct change *ch)
{
	static void *spare;
	struct config *c = load(text);
	const struct policy_area *before = ref.area;
	void *out;
	int result;

	if (spare == NULL)
		spare = aligned_alloc(64, AREA);
	assert_non_null(spare);
	out = (const void *)before == area ? spare : area;
	result = config_compile(c, ch, ch != NULL, before, 2, NOW, out, AREA, 2, &m);
	if (result == 0)
		ref.area = out;
	config_free(c);
	return result;
}

static void
test_not_turned(void **state)
{
	struct change ch = value_change("x", "k", "", "", POLICY_ENDLESS);
	char err[128];

	ch.kind = CHANGE_RATES;
	ch.nrates = (uint8_t)rate_parse_list("3 concurrent", ch.rates, 4, err, sizeof(err));
	take("limits: {x: 5 concurrent, r: 5/min, v: {value: 1h}}\n");
	assert_int_equal(over("limits: {r: 5/min,\n  x: 5/min}\n", NULL), -1);
	assert_string_equal(m.text[0],
	    "p.yaml:2: found limit x of rates, expected of leases as the segment knows it: give "
	    "it another name");
	mistakes_free(&m);
	assert_int_equal(over("limits: {x: {value: 3}}\n", NULL), -1);
	assert_non_null(strstr(m.text[0], "found limit x of values, expected of leases"));
	mistakes_free(&m);
	assert_int_equal(over("limits: {r: 5 concurrent}\n", NULL), -1);
	assert_non_null(strstr(m.text[0], "found limit r of leases, expected of rates or values"));
	mistakes_free(&m);
	assert_int_equal(over("limits: {v: 5 concurrent}\n", NULL), -1);
	mistakes_free(&m);
	/* unlimited for all is what it was, and so is what it may become */
	assert_int_equal(over("limits: {x: unlimited, r: unlimited}\n", NULL), 0);
	assert_int_equal(limit_of("x").flags, LIMIT_LEASES);
	assert_int_equal(limit_of("r").flags, 0);
	assert_int_equal(over("limits: {x: unlimited, r: unlimited}\n", &ch), 0);
	assert_int_equal(ruleset_of("x", "k", NOW).rates[0].kind, RATION_CONCURRENT);
	assert_int_equal(over("limits: {x: 5/min}\n", NULL), -1);
	mistakes_free(&m);
	/* and while it is out of the policy, the segment knows it still */
	assert_int_equal(over("limits: {r: {value: 3}}\n", NULL), 0);
	assert_int_equal(over("limits: {x: 5/min}\n", NULL), -1);
	mistakes_free(&m);
	assert_int_equal(over("limits: {x: 6 concurrent}\n", NULL), 0);
	assert_int_equal(limit_of("x").flags, LIMIT_LEASES);
	assert_int_equal(over("limits: {r: 7/min}\n", NULL), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_live_refused),
		cmocka_unit_test(test_diff_yaml),
		cmocka_unit_test(test_leases),
		cmocka_unit_test(test_not_turned),
	};

	return cmocka_run_group_tests_name("config_values", tests, compiled_setup, NULL);
}
