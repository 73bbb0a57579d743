/*
 * test_cli_upstream.c - `ration upstreams` with a real rationd: what is shown while requests go
 * on; a reload counts at once; what was learnt outlives rationd.
 *
 * Usage: test_cli_upstream RATIOND RATION
 */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "upstream.h"

static const char policy[] = "table: {keys: 1k}\n"
			     "upstreams:\n"
			     "  fluxiq: {limit: 2/h, breaker: {failures: 2, open: 30s}}\n";

static int
begin(void **state)
{
	return setup_running(state, policy);
}

static ration_t *
handle(const struct server *s)
{
	ration_t *r;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	return r;
}

/* What is shown of an upstream. */
static json_t *
shown(const struct server *s, const char *name)
{
	json_t *list, *found = NULL, *one;

	RUN(0, s, "upstreams", "--json");
	list = json_loads(ran.out, 0, NULL);
	if (!json_is_array(list))
		fail_msg("no array: %s", ran.out);
	for (size_t i = 0; i < json_array_size(list); i++) {
		one = json_array_get(list, i);
		if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
			found = json_incref(one);
	}
	json_decref(list);
	if (found == NULL)
		fail_msg("%s is not in %s", name, ran.out);
	return found;
}

static void
number_is(json_t *j, const char *field, json_int_t want)
{
	json_int_t got = json_integer_value(json_object_get(j, field));

	if (got != want)
		fail_msg("%s: %lld, expected %lld", field, (long long)got, (long long)want);
}

static void
finish(ration_t *r, ration_upstream_t *u, ration_attempt_t *a, int status, const char *left)
{
	ration_attr_t h[3] = { { sizeof(h[0]), "X-RateLimit-Limit", "100", 3 },
		{ sizeof(h[0]), "X-RateLimit-Remaining", left, strlen(left) },
		{ sizeof(h[0]), "X-RateLimit-Reset", "3000", 4 } };

	assert_int_equal(ration_upstream_end(r, u, a, status, h, 3), 0);
}

static void
test_shown(void **state)
{
	struct server *s = *state;
	ration_attempt_t a = { .size = sizeof(a) }, b = a;
	ration_upstream_t u;
	ration_t *r = handle(s);
	json_t *j;

	RUN(0, s, "upstreams");
	assert_string_equal(ran.out, "");
	RUN(0, s, "upstreams", "--json");
	assert_string_equal(ran.out, "[]\n");
	assert_int_equal(ration_upstream(r, "fluxiq", &u), 0);
	assert_int_equal(ration_upstream_begin(r, &u, 1, &a), RATION_ADMITTED);
	j = shown(s, "fluxiq");
	number_is(j, "in_flight", 1);
	assert_true(json_is_null(json_object_get(j, "limit")));
	json_decref(j);
	finish(r, &u, &a, 200, "57");
	assert_int_equal(ration_upstream_begin(r, &u, 1, &b), RATION_ADMITTED);
	finish(r, &u, &b, 500, "nonsense");
	j = shown(s, "fluxiq");
	number_is(j, "limit", 100);
	number_is(j, "remaining", 56);
	number_is(j, "in_flight", 0);
	number_is(j, "sent", 2);
	number_is(j, "answered", 2);
	number_is(j, "failed", 1);
	number_is(j, "malformed", 1);
	assert_true(json_integer_value(json_object_get(j, "reset_at")) > 1700000000);
	assert_true(json_is_null(json_object_get(j, "paused_until")));
	assert_string_equal(json_string_value(json_object_get(j, "breaker")), "closed");
	json_decref(j);
	/* Two an hour by the policy; five by the next one, at once. */
	a = (ration_attempt_t) { .size = sizeof(a) };
	assert_int_equal(ration_upstream_begin(r, &u, 1, &a), RATION_DENIED);
	assert_int_equal(a.reason, RATION_U_LIMIT);
	put_file(s, "ration.yaml",
	    "table: {keys: 1k}\n"
	    "upstreams: {fluxiq: {limit: 5/h, breaker: {failures: 2, open: 30s}}}\n");
	RUN(0, s, "reload");
	assert_int_equal(ration_upstream_begin(r, &u, 1, &a), RATION_ADMITTED);
	finish(r, &u, &a, 503, "55");
	RUN(0, s, "upstreams");
	assert_non_null(strstr(ran.out, "fluxiq               open "));
	RUN(0, s, "status");
	assert_non_null(strstr(ran.out, "fluxiq: its circuit breaker is open since "));
	/* It outlives rationd. */
	(void)stop(s, SIGKILL);
	j = shown(s, "fluxiq");
	assert_string_equal(json_string_value(json_object_get(j, "breaker")), "open");
	json_decref(j);
	start(s);
	assert_int_equal(ration_upstream_begin(r, &u, 1, &b), RATION_DENIED);
	assert_int_equal(b.reason, RATION_U_OPEN);
	ration_close(r);
}

/* Any name may stand there. */
static void
test_escaped(void **state)
{
	struct server *s = *state;
	ration_upstream_t u;
	ration_t *r = handle(s);

	assert_int_equal(ration_upstream(r, "a\033[2Jb c", &u), 0);
	RUN(0, s, "upstreams");
	assert_null(strchr(ran.out, '\033'));
	assert_non_null(strstr(ran.out, "a\\033[2Jb\\040c"));
	ration_close(r);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shown, begin, teardown),
		cmocka_unit_test_setup_teardown(test_escaped, begin, teardown),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: test_cli_upstream RATIOND RATION\n");
		return 2;
	}
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
