/*
 * test_config_answers.c - answers, titles, queues, values and concurrency in the policy file:
 * every mistake at its place; and the compiled answers: which limit has which.
 */
#include "compiled.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_template_places),
		cmocka_unit_test(test_builtin),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_queue),
	};

	return cmocka_run_group_tests_name("config_answers", tests, compiled_setup, NULL);
}
