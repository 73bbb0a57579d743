/*
 * test_values.c - entitlements: what ration_value() says, also while the policy is rewritten
 * under it; and the real rationd, which changes them live, keeps the changes, audits them and
 * prints them as policy.
 */
#include "server.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "ration.h"

#define HOUR_NS UINT64_C(3600000000000)

static const char policy[] = "plans: [free, team, custom-made]\n"
			     "limits:\n"
			     "  keep: {values: [12 months, 24 months, custom]}\n"
			     "  hint: {value: 1h, values: {team: 5min}}\n"
			     "  api: 3/24h\n"
			     "  mail: {rates: 2/24h, answer: busy}\n"
			     "answers: {busy: {status: 503}}\n"
			     "assign: {f: free, t: team, c: custom-made}\n"
			     "overrides:\n"
			     "  - {key: o, limit: hint, value: 9h, until: 2026-01-01T01:00:00Z}\n";

/* The value, or the error's number in brackets. */
static const char *
value(ration_t *r, const char *limit, const char *key)
{
	static char buf[512];
	int n = ration_value(r, limit, key, strlen(key), buf, sizeof(buf));

	if (n < 0)
		snprintf(buf, sizeof(buf), "(%d)", n);
	else
		assert_int_equal(n, strlen(buf));
	return buf;
}

static void
test_value(void **state)
{
	char key[RATION_KEY_MAX + 1], buf[8];
	struct fixture f;
	ration_t *none;

	fixture_open(&f, policy, 0);
	assert_string_equal(value(f.r, "keep", "f"), "12 months");
	assert_string_equal(value(f.r, "keep", "t"), "24 months");
	assert_string_equal(value(f.r, "hint", "f"), "1h");
	assert_string_equal(value(f.r, "hint", "t"), "5min");
	assert_string_equal(value(f.r, "hint", "stranger"), "1h");
	/* what has none, is counted, is not there */
	assert_int_equal(ration_value(f.r, "keep", "c", 1, buf, sizeof(buf)), RATION_EVALUE);
	assert_int_equal(ration_value(f.r, "keep", "x", 1, buf, sizeof(buf)), RATION_EVALUE);
	assert_int_equal(ration_value(f.r, "api", "x", 1, buf, sizeof(buf)), RATION_EVALUE);
	assert_int_equal(ration_value(f.r, "nothing", "x", 1, buf, sizeof(buf)), RATION_ENOLIMIT);
	/* as snprintf() */
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(ration_value(f.r, "keep", "f", 1, buf, 4), 9);
	assert_memory_equal(buf, "12 \0xxx", 7);
	assert_int_equal(ration_value(f.r, "keep", "f", 1, NULL, 0), 9);
	/* bad arguments */
	memset(key, 'k', sizeof(key));
	assert_int_equal(ration_value(f.r, "keep", "", 0, buf, sizeof(buf)), RATION_EKEY);
	assert_int_equal(
	    ration_value(f.r, "keep", key, sizeof(key), buf, sizeof(buf)), RATION_EKEY);
	assert_int_equal(ration_value(f.r, "hint", key, sizeof(key) - 1, buf, sizeof(buf)), 2);
	assert_int_equal(ration_value(NULL, "keep", "f", 1, buf, sizeof(buf)), RATION_EINVAL);
	assert_int_equal(ration_value(f.r, NULL, "f", 1, buf, sizeof(buf)), RATION_EINVAL);
	assert_int_equal(ration_value(f.r, "keep", NULL, 1, buf, sizeof(buf)), RATION_EINVAL);
	assert_int_equal(ration_value(f.r, "keep", "f", 1, NULL, 4), RATION_EINVAL);
	assert_int_equal(ration_open_dir("/nonexistent", "t", RATION_FAIL_OPEN, &none), 0);
	assert_int_equal(ration_value(none, "keep", "f", 1, buf, sizeof(buf)), RATION_EDETACHED);
	ration_close(none);
	fixture_close(&f);
}

/* An override ends by the clock alone, and another policy is there at once. */
static void
test_until(void **state)
{
	struct fixture f;

	fixture_open(&f, policy, 0);
	assert_string_equal(value(f.r, "hint", "o"), "9h");
	atomic_fetch_add(&f.now, HOUR_NS - 1000000000);
	assert_string_equal(value(f.r, "hint", "o"), "9h");
	atomic_fetch_add(&f.now, 1000000000);
	assert_string_equal(value(f.r, "hint", "o"), "1h");
	fixture_policy(&f, "limits: {hint: {value: never}}\n");
	assert_string_equal(value(f.r, "hint", "o"), "never");
	assert_int_equal(ration_value(f.r, "keep", "f", 1, NULL, 0), RATION_ENOLIMIT);
	fixture_policy(&f, "limits: {hint: 5/min}\n");
	assert_int_equal(ration_value(f.r, "hint", "o", 1, NULL, 0), RATION_EVALUE);
	fixture_close(&f);
}

/* ---- rewritten under the reader ---- */

struct writer {
	struct fixture *f;
	unsigned calls;
	unsigned rewrites; /* for how many looks the policy is rewritten */
};

/*
 * The reader has taken a version and looks at the clock: meanwhile the next one is published and
 * the one after it begun, over what the reader is about to read.
 */
static uint64_t
rewrite(void *arg)
{
	struct writer *w = arg;
	struct policy_head *head = w->f->seg.policy;
	uint32_t version;
	struct policy_area *a;

	if (w->calls++ < w->rewrites) {
		fixture_policy(w->f,
		    w->calls & 1 ? "limits: {w: {value: other}, v: {value: new}}\n"
				 : "limits: {v: {value: old}}\n");
		a = policy_begin(head, &version);
		memset((char *)a + a->strings, 'x', a->strings_bytes);
	}
	return atomic_load(&w->f->now);
}

/* Never anything of a version that is being rewritten, and no more looks than there may be. */
static void
test_rewritten(void **state)
{
	struct fixture f;
	struct writer w = { .f = &f, .rewrites = 1 };

	fixture_open(&f, "limits: {v: {value: old}}\n", 0);
	clock_fake(&f.r->clock, rewrite, &w);
	assert_string_equal(value(f.r, "v", "k"), "new");
	assert_int_equal(w.calls, 2);
	/* no such limit, no value: that too is only said of a version that was left alone */
	w = (struct writer) { .f = &f, .rewrites = 3 };
	assert_string_equal(value(f.r, "v", "k"), "new");
	assert_int_equal(w.calls, 4);
	w = (struct writer) { .f = &f, .rewrites = UINT_MAX };
	assert_int_equal(ration_value(f.r, "v", "k", 1, NULL, 0), RATION_EBUSY);
	assert_true(w.calls <= 64);
	fixture_close(&f);
}

/* ---- the real rationd ---- */

static int
setup_server(void **state)
{
	(void)setup(state);
	put_file(*state, "ration.yaml", policy);
	return 0;
}

static ration_t *
handle(const struct server *s)
{
	ration_t *r;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	return r;
}

/* A string in the answer of a call; consumed at the next. */
static const char *
text_in(json_t *j, const char *object, const char *name)
{
	const json_t *o = object != NULL ? json_object_get(j, object) : j;
	const char *text = json_string_value(json_object_get(o, name));

	return text != NULL ? text : "-";
}

static json_t *
limit_in(json_t *limits, const char *name)
{
	json_t *l;
	size_t i;

	json_array_foreach(json_object_get(limits, "limits"), i, l)
	{
		if (strcmp(text_in(l, NULL, "name"), name) == 0)
			return l;
	}
	fail_msg("no limit %s", name);
	return NULL;
}

static void
test_live(void **state)
{
	struct server *s = *state;
	ration_t *r;
	json_t *j, *l;
	int w;

	start(s);
	r = handle(s);
	w = watch(s);
	j = ok(s, "set", "{'limit':'keep','rates':'120 months','key':'t','reason':'contract 9'}");
	assert_string_equal(text_in(j, "old", "value"), "24 months");
	assert_string_equal(text_in(j, "new", "value"), "120 months");
	json_decref(j);
	wait_event(w, "set");
	(void)close(w);
	assert_string_equal(value(r, "keep", "t"), "120 months"); /* the next call */
	json_decref(ok(s, "set", "{'limit':'hint','rates':'2h'}"));
	assert_string_equal(value(r, "hint", "f"), "2h");
	assert_string_equal(value(r, "hint", "t"), "5min");
	json_decref(ok(s, "set", "{'limit':'hint','rates':'300/min','plan':'team'}"));
	assert_string_equal(value(r, "hint", "t"), "300/min");
	j = ok(s, "limits", NULL);
	l = limit_in(j, "hint");
	assert_string_equal(text_in(l, NULL, "kind"), "value");
	assert_string_equal(text_in(l, NULL, "value"), "2h");
	assert_string_equal(text_in(l, "values", "team"), "300/min");
	assert_int_equal(json_array_size(json_object_get(l, "rates")), 0);
	assert_int_equal(json_object_size(json_object_get(l, "plans")), 0);
	json_decref(j);
	j = ok(s, "changes", NULL);
	l = json_array_get(json_object_get(j, "changes"), 0);
	assert_string_equal(text_in(l, NULL, "kind"), "set");
	assert_string_equal(text_in(l, NULL, "value"), "120 months");
	assert_true(json_is_null(json_object_get(l, "rates")));
	json_decref(j);
	/* a kill, and all of it is still there */
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	start(s);
	assert_string_equal(value(r, "keep", "t"), "120 months");
	assert_string_equal(value(r, "hint", "t"), "300/min");
	j = ok(s, "diff_yaml", NULL);
	assert_non_null(strstr(text_in(j, NULL, "yaml"), "value: \"120 months\""));
	json_decref(j);
	j = ok(s, "unset", "{'limit':'keep','key':'t'}");
	assert_string_equal(text_in(j, "old", "value"), "120 months");
	assert_string_equal(text_in(j, "new", "value"), "24 months");
	json_decref(j);
	assert_string_equal(value(r, "keep", "t"), "24 months");
	j = ok(s, "audit", NULL);
	l = json_array_get(json_object_get(j, "entries"), 3);
	assert_string_equal(text_in(l, NULL, "target"), "keep key t");
	assert_string_equal(text_in(l, NULL, "old"), "24 months");
	assert_string_equal(text_in(l, NULL, "new"), "120 months");
	assert_string_equal(text_in(l, NULL, "reason"), "contract 9");
	json_decref(j);
	ration_close(r);
}

static void
test_refused(void **state)
{
	struct server *s = *state;
	char params[400], big[300];
	json_int_t g;
	ration_t *r;
	json_t *j;

	start(s);
	r = handle(s);
	memset(big, 'x', sizeof(big));
	big[256] = '\0';
	snprintf(params, sizeof(params), "{'limit':'hint','rates':'%s'}", big);
	assert_int_equal(code(call(s, "set", params)), -32003);
	assert_int_equal(code(call(s, "set", "{'limit':'hint','rates':''}")), -32003);
	assert_int_equal(code(call(s, "set", "{'limit':'hint','rates':'a\\nb'}")), -32003);
	assert_int_equal(code(call(s, "mode", "{'limit':'hint','mode':'off'}")), -32003);
	assert_int_equal(code(call(s, "reset", "{'limit':'hint','key':'k'}")), -32003);
	assert_int_equal(code(call(s, "unset", "{'limit':'hint'}")), -32004);
	big[255] = '\0';
	snprintf(params, sizeof(params), "{'limit':'hint','rates':'%s'}", big);
	json_decref(ok(s, "set", params));
	assert_string_equal(value(r, "hint", "f"), big);
	/* compare-and-set */
	j = ok(s, "limits", NULL);
	g = json_integer_value(json_object_get(limit_in(j, "hint"), "generation"));
	json_decref(j);
	snprintf(params, sizeof(params), "{'limit':'hint','rates':'3h','expect':%lld}",
	    (long long)g - 1);
	assert_int_equal(code(call(s, "set", params)), -32002);
	snprintf(
	    params, sizeof(params), "{'limit':'hint','rates':'3h','expect':%lld}", (long long)g);
	json_decref(ok(s, "set", params));
	assert_int_equal(code(call(s, "set", params)), -32002);
	json_decref(ok(s, "set", "{'limit':'hint','rates':'4h','dry_run':true}"));
	assert_string_equal(value(r, "hint", "f"), "3h");
	/* all off is about what is counted */
	json_decref(ok(s, "mode", "{'all':true,'mode':'off'}"));
	assert_string_equal(value(r, "hint", "f"), "3h");
	ration_close(r);
}

/* What ends does so without being asked, and is told. */
static void
test_temporary(void **state)
{
	static const char *const args[] = { "--sandbox", NULL };
	struct server *s = *state;
	ration_t *r;
	int w;

	start_with(s, args);
	r = handle(s);
	json_decref(ok(s, "set", "{'limit':'keep','rates':'1 day','key':'f'}"));
	json_decref(ok(s, "set", "{'limit':'keep','rates':'2 days','key':'f','for_s':3600}"));
	assert_string_equal(value(r, "keep", "f"), "2 days");
	w = watch(s);
	json_decref(ok(s, "clock", "{'advance_s':3600}"));
	assert_string_equal(value(r, "keep", "f"), "1 day");
	wait_event(w, "ended");
	(void)close(w);
	ration_close(r);
}

/* A change of a value sleeps while the files count the limit, and comes back. */
static void
test_dormant(void **state)
{
	struct server *s = *state;
	ration_t *r;
	json_t *j;

	start(s);
	r = handle(s);
	json_decref(ok(s, "set", "{'limit':'hint','rates':'2h'}"));
	put_file(s, "ration.yaml", "limits: {hint: 4/min}\n");
	json_decref(ok(s, "reload", NULL));
	j = ok(s, "changes", NULL);
	assert_true(json_is_false(
	    json_object_get(json_array_get(json_object_get(j, "changes"), 0), "in_force")));
	json_decref(j);
	assert_rates(s, "hint", "4/min", NULL);
	json_decref(ok(s, "set", "{'limit':'hint','rates':'5/min'}"));
	put_file(s, "ration.yaml", policy);
	json_decref(ok(s, "reload", NULL));
	assert_string_equal(value(r, "hint", "f"), "2h");
	ration_close(r);
}

static json_int_t
generation_of(const struct server *s, const char *limit)
{
	json_t *j = ok(s, "limits", NULL);
	json_int_t g = json_integer_value(json_object_get(limit_in(j, limit), "generation"));

	json_decref(j);
	return g;
}

/* Compare-and-set sees a value that came by a reload. */
static void
test_generation(void **state)
{
	struct server *s = *state;
	json_int_t keep, hint;
	char *text;

	start(s);
	keep = generation_of(s, "keep");
	hint = generation_of(s, "hint");
	assert_true(asprintf(&text, "%s", policy) > 0);
	memcpy(strstr(text, "24 months"), "25 months", 9);
	put_file(s, "ration.yaml", text);
	json_decref(ok(s, "reload", NULL));
	assert_int_equal(generation_of(s, "keep"), keep + 1);
	assert_int_equal(generation_of(s, "hint"), hint);
	free(text);
}

/* Answers that were changed are those of the next call. */
static void
test_answers_live(void **state)
{
	struct server *s = *state;
	ration_decision_t d = RATION_DECISION_INIT;
	ration_t *r;
	char *text;

	start(s);
	r = handle(s);
	while (ration_acquire(r, "mail", "k", 1, &d) == RATION_ADMITTED)
		;
	assert_int_equal(ration_http_status(r, &d), 503);
	assert_true(asprintf(&text, "%s", policy) > 0);
	memcpy(strstr(text, "503"), "420", 3);
	put_file(s, "ration.yaml", text);
	json_decref(ok(s, "reload", NULL));
	assert_int_equal(ration_acquire(r, "mail", "k", 1, &d), RATION_DENIED);
	assert_int_equal(ration_http_status(r, &d), 420);
	/* bad ones change nothing */
	memcpy(strstr(text, "420"), "200", 3);
	put_file(s, "ration.yaml", text);
	assert_int_equal(code(call(s, "reload", NULL)), -32003);
	assert_int_equal(ration_acquire(r, "mail", "k", 1, &d), RATION_DENIED);
	assert_int_equal(ration_http_status(r, &d), 420);
	free(text);
	ration_close(r);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_value),
		cmocka_unit_test(test_until),
		cmocka_unit_test(test_rewritten),
		cmocka_unit_test_setup_teardown(test_live, setup_server, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup_server, teardown),
		cmocka_unit_test_setup_teardown(test_temporary, setup_server, teardown),
		cmocka_unit_test_setup_teardown(test_dormant, setup_server, teardown),
		cmocka_unit_test_setup_teardown(test_generation, setup_server, teardown),
		cmocka_unit_test_setup_teardown(test_answers_live, setup_server, teardown),
	};

	if (argc < 2)
		fail_msg("usage: test_values rationd");
	program = argv[1];
	return cmocka_run_group_tests_name("values", tests, NULL, NULL);
}
