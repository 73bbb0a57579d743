/*
 * test_config_answers.c - answers, titles, queues, values and concurrency from the policy file
 * to the compiled area: every mistake at its place, who gets which answer and value until when,
 * and that no reload or live change turns leases into rates.
 */
#include "compile.h"
#include "rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

#define AREA (UINT64_C(4) << 20)
#define NOW INT64_C(1795284000) /* 21 November 2026, 18:00 UTC */
#define HOUR 3600

static struct mistakes m;
static void *area;
static struct policy_ref ref;

static struct config *
load(const char *text)
{
	struct config *c;

	if (config_parse("p.yaml", text, strlen(text), &c, &m) != 0)
		fail_msg("refused: %s", m.text[0]);
	return c;
}

static int
compile_over(const struct config *c, const struct change *changes, size_t n,
    const struct policy_area *previous, void *out)
{
	int result = config_compile(c, changes, n, previous, 2, NOW, out, AREA, 1, &m);

	ref = (struct policy_ref) { .area = out, .area_bytes = AREA, .version = 1 };
	return result;
}

static int
compile(const struct config *c, const struct change *changes, size_t n)
{
	return compile_over(c, changes, n, NULL, area);
}

static void
take(const char *text)
{
	struct config *c = load(text);

	assert_int_equal(compile(c, NULL, 0), 0);
	config_free(c);
}

static struct limit_def
limit_of(const char *name)
{
	int64_t id = policy_limit_id(&ref, name, strlen(name));
	struct limit_def l;

	assert_true(id >= 0);
	assert_true(policy_limit(&ref, (uint32_t)id, &l));
	return l;
}

static struct ruleset
ruleset_of(const char *limit, const char *key, int64_t t)
{
	int64_t id = policy_limit_id(&ref, limit, strlen(limit)), index;
	struct ruleset r;
	bool listed;

	assert_true(id >= 0);
	index = policy_resolve(&ref, (uint32_t)id, key, strlen(key), &listed);
	assert_true(index >= 0);
	assert_true(policy_ruleset(&ref, (uint32_t)index, &r));
	for (int i = 0; i < 8 && r.until <= t; i++)
		assert_true(policy_ruleset(&ref, r.next, &r));
	return r;
}

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

static const struct answer_def *
answer_at(uint32_t index)
{
	const struct answer_def *a =
	    policy_section(&ref, ref.area->answers, ref.area->nanswers, sizeof(*a));

	assert_non_null(a);
	assert_true(index < ref.area->nanswers);
	return &a[index];
}

static const struct answer_def *
answer_of(const char *limit)
{
	return answer_at(limit_of(limit).answer);
}

static const char *
text_at(uint32_t string)
{
	return policy_string(&ref, string, NULL);
}

/* ---- mistakes ---- */

#define ANSWER(fields) "answers: {a: {" fields "}}\n"
#define PLANS "plans: [a, b]\n"

static const struct {
	const char *text, *mistake;
} bad[] = {
	/* answers */
	{ "answers: [a]\n", "p.yaml:1:10: found a list, expected a mapping of names to answers" },
	{ "answers: {a: 5}\n",
	    "p.yaml:1:14: found \"5\", expected a mapping with status, headers, reset, show, "
	    "content-type, body or body-never" },
	{ ANSWER("bodi: x"),
	    "p.yaml:1:15: found \"bodi\" in an answer, expected status, headers, reset, show, "
	    "content-type, body or body-never; did you mean body?" },
	{ ANSWER("status: 200"), "p.yaml:1:23: found 200, expected 400 to 599" },
	{ ANSWER("headers: [x-ratelimit, x-limit]"),
	    "p.yaml:1:38: found \"x-limit\", expected x-ratelimit, x-ratelimit-window, ietf or "
	    "retry-after" },
	{ ANSWER("headers: {ietf: 1}"),
	    "p.yaml:1:24: found a mapping, expected a list of x-ratelimit, x-ratelimit-window, "
	    "ietf and retry-after" },
	{ ANSWER("headers: [x-ratelimit-window, x-ratelimit]"),
	    "p.yaml:1:45: found \"x-ratelimit\" again, expected each header set once" },
	{ ANSWER("reset: never"), "p.yaml:1:22: found \"never\", expected window or retry" },
	{ ANSWER("content-type: json"),
	    "p.yaml:1:29: found \"json\", expected a media type such as application/json" },
	{ ANSWER("content-type: \"a/b\\r\\nSet-Cookie: x\""),
	    "p.yaml:1:29: found \"a/b\\015\\012Set-Cookie: x\", expected a media type of up to "
	    "127 bytes without control characters" },
	{ ANSWER("body: [x]"), "p.yaml:1:21: found a list, expected the text of a body" },
	{ ANSWER("body: problem, body-never: x"),
	    "p.yaml:1:30: found body-never beside the body \"problem\", expected one of them: a "
	    "problem says itself that no waiting helps" },
	{ "answers: {a: {}}\nlimits: {x: {rates: 1/s, answer: b}}\n",
	    "p.yaml:2:34: found \"b\", expected the name of an answer; did you mean a?" },
	{ "answers: {a: {}}\ndefaults: {answer: b}\n",
	    "p.yaml:2:20: found \"b\", expected the name of an answer; did you mean a?" },
	{ ANSWER("show: x"), "p.yaml:1:21: found \"x\", expected the name of a limit" },
	{ ANSWER("show: {window: s}"),
	    "p.yaml:1:21: found no limit to show, expected {limit: NAME, window: minute}" },
	{ ANSWER("show: {limit: x, window: day}") "limits: {x: [3/s, 300/min]}\n",
	    "p.yaml:1:40: found the window \"day\", expected one that a rate of limit \"x\" "
	    "has" },
	{ ANSWER("show: {limit: x, window: concurrent}") "limits: {x: [3/s, 300/min]}\n",
	    "p.yaml:1:40: found the window \"concurrent\", expected one that a rate of limit "
	    "\"x\" has" },
	{ ANSWER("show: v") "limits: {v: {value: 1h}}\n",
	    "p.yaml:1:21: found \"v\", expected a limit that is counted: it holds values" },
	/* titles, queues */
	{ "limits: {x: {rates: 1/s, title: \"a\\nb\"}}\n",
	    "p.yaml:1:33: found \"a\\012b\", expected a title of up to 255 bytes without control "
	    "characters" },
	{ "limits: {x: {rates: 1/s, queue: fair}}\n",
	    "p.yaml:1:33: found \"fair\", expected open or strict" },
	/* values */
	{ "limits: {v: {value: 1h, rates: 1/s}}\n",
	    "p.yaml:1:25: found \"rates\" beside values, expected either: values are not "
	    "counted" },
	{ "limits: {v: {value: 1h, queue: strict}}\n",
	    "p.yaml:1:25: found \"queue\" beside values, expected either: values are not "
	    "counted" },
	{ "limits: {v: {value: custom}}\n",
	    "p.yaml:1:21: found custom, expected a value: custom is for plans" },
	{ PLANS "limits: {v: {values: [1]}}\n",
	    "p.yaml:2:22: found 1 figures, expected 2, one for each plan from a to b" },
	{ "limits: {v: {value: \"a\\x01\"}}\n",
	    "p.yaml:1:21: found \"a\\001\", expected a value of up to 255 bytes without control "
	    "characters" },
	{ "limits: {v: {value: 1h}}\noverrides: [{key: k, limit: v, rates: 1/s}]\n",
	    "p.yaml:2:29: found \"v\", expected a limit that is counted: it holds values" },
	{ "limits: {x: 1/s}\noverrides: [{key: k, limit: x, value: 1h}]\n",
	    "p.yaml:2:29: found \"x\", expected a limit that holds values: it is counted" },
	{ "limits: {v: {value: 1h}}\noverrides: [{limit: v, mode: off}]\n",
	    "p.yaml:2:21: found \"v\", expected a limit that is counted: it holds values" },
	{ "limits: {v: {value: 1h}}\noverrides: [{key: k, value: 2h}]\n",
	    "p.yaml:2:13: found fields that do not go together, expected a limit for the value" },
	{ "limits: {v: {value: 1h}}\noverrides: [{limit: v, value: 2h, rates: 1/s}]\n",
	    "p.yaml:2:13: found fields that do not go together, expected rates or a value" },
	{ "limits: {v: {value: 1h}}\noverrides:\n  - {key: k, limit: v, value: 2h}\n"
	  "  - {key: k, limit: v, value: 3h}\n",
	    "p.yaml:4:5: found a second override of the same, expected one (first at p.yaml:3)" },
	/* of leases or of rates */
	{ "limits: {x: [5 concurrent, 1/s]}\n",
	    "p.yaml:1:13: found a concurrency beside other rates, expected it alone: make another "
	    "limit of the rates" },
	{ PLANS "limits:\n  x: {plans: [5 concurrent, 3/min]}\n",
	    "p.yaml:3:29: found a rate, expected a concurrency such as \"5 concurrent\": limit x "
	    "is of leases (p.yaml:3)" },
	{ PLANS "limits:\n  x: {plans: [3/min, unlimited],\n     rates: 5 concurrent}\n",
	    "p.yaml:3:15: found a rate, expected a concurrency such as \"5 concurrent\": limit x "
	    "is of leases (p.yaml:4)" },
	{ PLANS "limits: {x: {per: minute, plans: [5, 5 concurrent]}}\n",
	    "p.yaml:2:38: found a concurrency, expected rates: limit x is of rates (p.yaml:2)" },
	{ PLANS "limits: {x: {per: concurrent, plans: [custom, unlimited]}}\n"
		"overrides: [{key: k, limit: x, rates: 3/min}]\n",
	    "p.yaml:3:39: found a rate, expected a concurrency such as \"5 concurrent\": limit x "
	    "is of leases (p.yaml:2)" },
	{ "limits: {x: 5/min}\noverrides: [{key: k, limit: x, rates: 3 concurrent}]\n",
	    "p.yaml:2:39: found a concurrency, expected rates: limit x is of rates (p.yaml:1)" },
	{ "limits: {x: 200k concurrent}\n",
	    "p.yaml:1:13: found 200000 concurrent, expected at most 131008: see table.rates" },
	{ "table: {rates: 1}\nlimits: {x: 65505 concurrent}\n",
	    "p.yaml:2:13: found 65505 concurrent, expected at most 65504: see table.rates" },
};

static void
test_bad(void **state)
{
	struct config *c;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (config_parse("p.yaml", bad[i].text, strlen(bad[i].text), &c, &m) == 0)
			fail_msg("accepted: %s", bad[i].text);
		if (m.n != 1)
			fail_msg("%zu mistakes: %s; %s", m.n, m.text[0], m.text[1]);
		assert_string_equal(m.text[0], bad[i].mistake);
		mistakes_free(&m);
	}
}

/* Where in the file a template is wrong, however it is quoted, and every time. */
static void
test_template_places(void **state)
{
	static const struct {
		const char *text, *place;
	} at[] = {
		{ "answers: {a: {body: x $ y}}\n", "p.yaml:1:23: " },
		{ "answers: {a: {body: '{\"x\":\"${bogus}\"}'}}\n", "p.yaml:1:30: " },
		{ "answers: {a: {body: 'it''s ${bogus}'}}\n", "p.yaml:1:30: " },
		{ "answers: {a: {body: 'ñandú ${bogus}'}}\n", "p.yaml:1:30: " },
		{ "answers: {a: {body: \"{\\\"x\\\":${bogus}}\"}}\n", "p.yaml:1:31: " },
		{ "answers: {a: {body: \"\\u0041${bogus}\"}}\n", "p.yaml:1:21: " }, /* begins */
		{ "answers:\n  a:\n    body: |\n      {\n        \"x\": ${bogus}\n      }\n",
		    "p.yaml:5:16: " },
		{ "answers:\n  a:\n    body: |\n\n      ${bogus}\n", "p.yaml:5:9: " },
		{ "answers:\n  a:\n    body: >\n      a\n      ${bogus}\n", "p.yaml:3:11: " },
		{ "answers: {a: {body: '${title'}}\n", "p.yaml:1:29: " },
		{ "answers: {a: {body: x, body-never: '${'}}\n", "p.yaml:1:39: " },
		{ "answers: {a: {body: '${field.}'}}\n", "p.yaml:1:24: " },
	};
	struct config *c;

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		if (config_parse("p.yaml", at[i].text, strlen(at[i].text), &c, &m) == 0)
			fail_msg("accepted: %s", at[i].text);
		if (strncmp(m.text[0], at[i].place, strlen(at[i].place)) != 0)
			fail_msg("%s: %s", at[i].text, m.text[0]);
		assert_int_equal(m.n, 1);
		mistakes_free(&m);
	}
	/* each of them */
	assert_int_equal(
	    config_parse("p.yaml", "answers: {a: {body: '${x} ${title} ${y} $ '}}\n", 46, &c, &m),
	    -1);
	assert_int_equal(m.n, 3);
	assert_non_null(strstr(m.text[0], "p.yaml:1:24: found \"x\" in"));
	assert_non_null(strstr(m.text[1], "p.yaml:1:38: found \"y\" in"));
	assert_non_null(strstr(m.text[2], "p.yaml:1:41: found \"$ "));
	mistakes_free(&m);
}

/* ---- answers ---- */

static void
test_builtin(void **state)
{
	const struct answer_def *a;

	take("limits: {x: 1/s}\n");
	assert_int_equal(ref.area->nanswers, 1);
	a = answer_of("x");
	assert_ptr_equal(a, answer_at(0));
	assert_int_equal(a->status, 429);
	assert_int_equal(a->headers, ANSWER_RATELIMIT | ANSWER_RETRY);
	assert_int_equal(a->reset, RESET_WINDOW);
	assert_int_equal(a->show_limit, 0);
	assert_string_equal(text_at(a->content_type), "application/json");
	assert_string_equal(text_at(a->body),
	    "{\"error\":\"rate_limit_exceeded\",\"message\":\"${title} exceeded ${rate}. Retry in "
	    "${retry_after} seconds.\",\"retry_after\":${retry_after}}");
	assert_string_equal(text_at(a->origin), "built in");
	assert_int_equal(limit_of("x").title, 0);
	/* names alone are as built in */
	take("answers: {other: , default: {status: 503}}\nlimits: {x: {rates: 1/s, answer: "
	     "other}}\n");
	assert_int_equal(answer_at(0)->status, 503);
	assert_int_equal(answer_of("x")->status, 429);
	assert_int_equal(limit_of("x").answer, 1);
	assert_string_equal(text_at(answer_of("x")->name), "other");
}

static void
test_answers(void **state)
{
	const struct answer_def *a;

	take("answers:\n"                                                           /* 1 */
	     "  one: {headers: [x-ratelimit-window], reset: retry, show: api}\n"    /* 2 */
	     "  two: {headers: [ietf, retry-after], body: problem, status: 503,\n"  /* 3 */
	     "        show: {limit: api, window: minute}}\n"                        /* 4 */
	     "  default: {headers: [], body: '${title}', body-never: 'no'}\n"       /* 5 */
	     "  four: {body: '', content-type: text/plain}\n"                       /* 6 */
	     "limits:\n"                                                            /* 7 */
	     "  first: 1/s\n"                                                       /* 8 */
	     "  api: {rates: [3/s, 300/min], title: 'API \xc3\xb1', answer: two}\n" /* 9 */
	     "  x: {rates: 1/s, answer: one}\n"
	     "  y: {rates: 1/s, answer: four}\n"
	     "  z: {rates: 1/s, answer: default}\n");
	assert_int_equal(ref.area->nanswers, 4);
	a = answer_of("first");
	assert_ptr_equal(a, answer_at(0));
	assert_string_equal(text_at(a->name), "default");
	assert_int_equal(a->headers, 0);
	assert_string_equal(text_at(a->body), "${title}");
	assert_string_equal(text_at(a->body_never), "no");
	assert_string_equal(text_at(a->origin), "p.yaml:5");
	assert_ptr_equal(answer_of("z"), a);
	a = answer_of("x");
	assert_int_equal(a->headers, ANSWER_RATELIMIT | ANSWER_WINDOW);
	assert_int_equal(a->reset, RESET_RETRY);
	assert_int_equal(a->show_limit, policy_limit_id(&ref, "api", 3) + 1);
	assert_int_equal(a->show_window_ns, 0);
	a = answer_of("api");
	assert_string_equal(text_at(a->name), "two");
	assert_int_equal(a->headers, ANSWER_IETF | ANSWER_RETRY | ANSWER_PROBLEM);
	assert_int_equal(a->status, 503);
	assert_int_equal(a->body, 0);
	assert_int_equal(a->body_never, 0);
	assert_string_equal(text_at(a->content_type), "application/problem+json");
	assert_true(a->show_window_ns == UINT64_C(60000000000));
	a = answer_of("y");
	assert_int_equal(a->body, 0);
	assert_string_equal(text_at(a->content_type), "text/plain");
	assert_string_equal(text_at(limit_of("api").title), "API \xc3\xb1");
	/* what defaults name goes before what is called default */
	take("answers: {default: {status: 400}, b: {status: 401}, c: {status: 402}}\n"
	     "defaults: {answer: b}\n"
	     "limits: {x: 1/s, d: {rates: 1/s, answer: default}, c: {rates: 1/s, answer: c}}\n");
	assert_int_equal(answer_at(0)->status, 401);
	assert_int_equal(limit_of("x").answer, 0);
	assert_int_equal(answer_of("d")->status, 400);
	assert_int_equal(answer_of("c")->status, 402);
}

static void
test_queue(void **state)
{
	take("limits: {x: {rates: 1/s, queue: strict}, y: {rates: 1/s, queue: open}, z: 1/s}\n");
	assert_int_equal(limit_of("x").flags, LIMIT_STRICT);
	assert_int_equal(limit_of("y").flags, 0);
	/* the short way knows no queue */
	assert_int_equal(ruleset_of("x", "k", NOW).flags & RULESET_PLAIN, 0);
	assert_int_equal(ruleset_of("y", "k", NOW).flags & RULESET_PLAIN, RULESET_PLAIN);
	assert_int_equal(ruleset_of("z", "k", NOW).flags & RULESET_PLAIN, RULESET_PLAIN);
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

static int
group_setup(void **state)
{
	area = aligned_alloc(64, AREA);
	return area == NULL;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_template_places),
		cmocka_unit_test(test_builtin),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_queue),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_live_refused),
		cmocka_unit_test(test_diff_yaml),
		cmocka_unit_test(test_leases),
		cmocka_unit_test(test_not_turned),
	};

	return cmocka_run_group_tests_name("config_answers", tests, group_setup, NULL);
}
