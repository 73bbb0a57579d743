/*
 * test_cli_lease.c - `ration exec`, `lease`, `release` and `leases` with a real rationd and real
 * commands: what runs, what it ends with, and that no lease outlives its command, nor a
 * command its lease.
 *
 * Usage: test_cli_lease RATIOND RATION
 */
#include "command.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BACK_MS 2000

static const char policy[] = "table: {keys: 1k}\n"
			     "limits:\n"
			     "  one: 1 concurrent\n"
			     "  jobs: 5 concurrent\n"
			     "  hooks: 2 concurrent\n"
			     "  api: 3/hour\n";

static int
begin(void **state)
{
	return setup_running(state, policy);
}

/* Of `ration leases`: how many, and the first. */
static size_t
leases(const struct server *s, const char *limit, json_t **first)
{
	json_t *list;
	size_t n;

	RUN(0, s, "leases", limit, "--json");
	list = json_loads(ran.out, 0, NULL);
	if (!json_is_array(list))
		fail_msg("no array: %s", ran.out);
	n = json_array_size(list);
	if (first != NULL)
		*first = n > 0 ? json_incref(json_array_get(list, 0)) : NULL;
	json_decref(list);
	return n;
}

static void
said(const char *what)
{
	if (strstr(ran.err, what) == NULL)
		fail_msg("stderr does not say \"%s\": %s", what, ran.err);
}

static void
test_exec_status(void **state)
{
	struct server *s = *state;

	RUN(0, s, "exec", "jobs", "k", "--", "true");
	RUN(7, s, "exec", "jobs", "k", "--", "sh", "-c", "exit 7");
	RUN(128 + SIGTERM, s, "exec", "jobs", "k", "--", "sh", "-c", "kill -TERM $$");
	RUN(0, s, "exec", "jobs", "k", "--", "echo", "-n", "--", "x");
	assert_string_equal(ran.out, "-- x");
	assert_string_equal(ran.err, "");
	RUN(127, s, "exec", "jobs", "k", "--", "/nonexistent/command");
	said("/nonexistent/command");
	RUN(126, s, "exec", "jobs", "k", "--", "/etc/passwd");
	assert_int_equal(used(s, "jobs", NULL), 0);
}

static void
test_exec_holds(void **state)
{
	struct server *s = *state;
	json_t *list, *one;

	RUN(0, s, "exec", "jobs", "k", "--", "sh", "-c", "$RATION leases jobs k --json");
	list = json_loads(ran.out, 0, NULL);
	assert_int_equal(json_array_size(list), 1);
	one = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(one, "limit")), "jobs");
	assert_string_equal(json_string_value(json_object_get(one, "key")), "k");
	assert_true(json_is_integer(json_object_get(one, "holder")));
	assert_true(json_is_false(json_object_get(one, "dead")));
	assert_true(json_is_null(json_object_get(one, "ttl_left_s")));
	json_decref(list);
	assert_int_equal(leases(s, "jobs", NULL), 0);

	/* The second is denied, and not run; who denies it says so, and the first runs on. */
	RUN(1, s, "exec", "one", "k", "--", "sh", "-c",
	    "$RATION exec one k -- echo inner; e=$?; echo outer; exit $e");
	assert_string_equal(ran.out, "outer\n");
	said("denied one k");
	said("a lease must be released");
	RUN(0, s, "exec", "one", "k", "--", "sh", "-c", "$RATION exec one other -- echo inner");
	RUN(0, s, "exec", "one", "k", "--", "true");
}

static void
test_exec_rates(void **state)
{
	struct server *s = *state;

	RUN(127, s, "exec", "api", "k", "--cost", "3", "--", "/nonexistent/command");
	assert_int_equal(used(s, "api", "k"), 0); /* nothing ran: given back */
	RUN(5, s, "exec", "api", "k", "--cost", "2", "--", "sh", "-c", "exit 5");
	assert_int_equal(used(s, "api", "k"), 2);
	RUN(1, s, "exec", "api", "k", "--cost", "2", "--", "echo", "run");
	assert_string_equal(ran.out, "");
	said("denied api k");
	assert_int_equal(used(s, "api", "k"), 2);
}

static void
test_wrong_use(void **state)
{
	struct server *s = *state, elsewhere = *s;

	RUN(2, s, "exec", "api", "k");
	RUN(2, s, "exec", "api", "k", "--");
	RUN(2, s, "exec", "api", "k", "--ttl", "1s", "--", "true");
	said("--ttl");
	RUN(2, s, "exec", "jobs", "k", "--cost", "2", "--", "true");
	said("--cost");
	RUN(2, s, "exec", "jobs", "k", "--ttl", "soon", "--", "true");
	RUN(2, s, "exec", "jobs", "k", "--ttl", "10h", "--", "true");
	said("9h");
	RUN(2, s, "exec", "nonsense", "k", "--", "true");
	RUN(2, s, "acquire", "jobs", "k");
	said("ration exec");
	RUN(2, s, "acquire", "jobs", "k", "--wait", "1s");
	said("ration exec");
	RUN(2, s, "lease", "hooks", "k");
	said("--name");
	RUN(2, s, "lease", "api", "k", "--name", "a");
	RUN(2, s, "release", "hooks", "k");
	RUN(1, s, "leases", "nonsense");
	(void)strcpy(elsewhere.dir, "/nonexistent");
	RUN(3, &elsewhere, "exec", "jobs", "k", "--", "true");
	RUN(3, &elsewhere, "lease", "hooks", "k", "--name", "a");
	RUN(3, &elsewhere, "leases");
	assert_int_equal(used(s, "jobs", NULL), 0);
}

/* A shell that says when it is there, then waits for its input to end. */
#define WAITS "echo $$; while read x; do :; done"

static void
test_exec_signals(void **state)
{
	struct server *s = *state;
	struct running r;
	char line[64];

	r = launch(s,
	    (const char *[]) { "exec", "jobs", "k", "--", "sh", "-c",
		"trap 'exit 9' TERM; trap 'exit 8' HUP; " WAITS, NULL });
	assert_true(next_line(&r, line, sizeof(line)));
	assert_int_equal(kill(r.pid, SIGTERM), 0);
	/* A shell may take it once its read returns, or may be gone already. */
	(void)!write(r.in, "\n", 1);
	assert_int_equal(ended(&r), 9);

	r = launch(s, (const char *[]) { "exec", "jobs", "k", "--", "sh", "-c", WAITS, NULL });
	assert_true(next_line(&r, line, sizeof(line)));
	assert_int_equal(kill(r.pid, SIGHUP), 0);
	assert_int_equal(ended(&r), 128 + SIGHUP);
	assert_int_equal(used(s, "jobs", NULL), 0);

	r = launch(s,
	    (const char *[]) {
		"exec", "jobs", "k", "--ttl", "300ms", "--", "sh", "-c", WAITS, NULL });
	assert_true(next_line(&r, line, sizeof(line)));
	assert_int_equal(ended(&r), 128 + SIGKILL);
	assert_int_equal(used(s, "jobs", NULL), 0);
}

/* Killed: the command goes with it, and the lease is back for all to see. */
static void
test_exec_killed(void **state)
{
	struct server *s = *state;
	struct running r;
	char line[64];
	int64_t took;

	r = launch(s, (const char *[]) { "exec", "one", "k", "--", "sh", "-c", WAITS, NULL });
	assert_true(next_line(&r, line, sizeof(line)));
	assert_int_equal(used(s, "one", NULL), 1);
	assert_int_equal(kill(r.pid, SIGKILL), 0);
	/* Its output ends when the shell, which alone has it open, is dead. */
	assert_false(next_line(&r, line, sizeof(line)));
	assert_int_equal(ended(&r), 128 + SIGKILL);
	took = wait_used(s, "one", 0, BACK_MS);
	(void)printf("a killed exec's lease was back after %lld ms\n", (long long)took);
	assert_int_equal(leases(s, "one", NULL), 0);
	RUN(0, s, "exec", "one", "k", "--", "true");
}

static void
test_exec_waits(void **state)
{
	static const char *const first[] = { "exec", "one", "k", "--", "sh", "-c", WAITS, NULL };
	static const char *const second[] = { "exec", "one", "k", "--wait", "20s", "--", "echo",
		"mine", NULL };
	struct server *s = *state;
	struct running holds, waits;
	char line[64];
	int64_t before;

	holds = launch(s, first);
	assert_true(next_line(&holds, line, sizeof(line)));
	waits = launch(s, second);
	before = mono_ms();
	RUN(1, s, "exec", "one", "k", "--wait", "300ms", "--", "echo", "run");
	assert_string_equal(ran.out, "");
	said("denied one k");
	assert_true(mono_ms() - before < 5000);
	assert_int_equal(used(s, "one", NULL), 1);
	assert_int_equal(close(holds.in), 0);
	holds.in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(ended(&holds), 0);
	assert_true(next_line(&waits, line, sizeof(line)));
	assert_string_equal(line, "mine");
	assert_int_equal(ended(&waits), 0);

	/* Killed while somebody waits: rationd gives the lease back, and wakes him. */
	holds = launch(s, first);
	assert_true(next_line(&holds, line, sizeof(line)));
	waits = launch(s, second);
	assert_int_equal(kill(holds.pid, SIGKILL), 0);
	assert_int_equal(ended(&holds), 128 + SIGKILL);
	before = mono_ms();
	assert_true(next_line(&waits, line, sizeof(line)));
	assert_true(mono_ms() - before <= BACK_MS);
	assert_int_equal(ended(&waits), 0);
}

static void
test_named(void **state)
{
	struct server *s = *state;
	json_t *one;

	RUN(0, s, "lease", "hooks", "k", "--name", "https://a", "--json");
	assert_non_null(strstr(ran.out, "\"verdict\":\"admitted\""));
	RUN(0, s, "lease", "hooks", "k", "--name", "b");
	assert_non_null(strstr(ran.out, "admitted hooks k: 2 of 2 used"));
	RUN(1, s, "lease", "hooks", "k", "--name", "c");
	assert_int_equal(leases(s, "hooks", &one), 2);
	assert_true(json_is_null(json_object_get(one, "holder")));
	assert_true(json_is_string(json_object_get(one, "name_hash")));
	json_decref(one);
	RUN(1, s, "release", "hooks", "k", "--name", "c");
	said("no lease of the name c");
	RUN(0, s, "release", "hooks", "k", "--name", "https://a");
	RUN(1, s, "release", "hooks", "k", "--name", "https://a");
	RUN(0, s, "lease", "hooks", "k", "--name", "c");
	RUN(1, s, "lease", "hooks", "k", "--name", "d");
}

/* What people see, and what they can change. */
static void
test_shown(void **state)
{
	struct server *s = *state;
	struct running r;
	char line[64];

	r = launch(s, (const char *[]) { "exec", "jobs", "k", "--", "sh", "-c", WAITS, NULL });
	assert_true(next_line(&r, line, sizeof(line)));
	RUN(0, s, "list", "jobs", "--filter", "reset=0 left=4");
	if (strstr(ran.out, " 1/5 ") == NULL || strstr(ran.out, " -\n") == NULL)
		fail_msg("not 1/5 and no reset: %s", ran.out);
	RUN(0, s, "list", "--filter", "algo:leases", "--csv");
	assert_non_null(strstr(ran.out, "5 concurrent"));
	RUN(0, s, "show", "jobs", "k");
	assert_non_null(strstr(ran.out, "1 of 5 used, 4 left, by 5 concurrent"));
	RUN(0, s, "top", "-b", "-n", "1");
	assert_non_null(strstr(ran.out, "1/5"));

	RUN(0, s, "set", "jobs", "10 concurrent", "--key", "k");
	RUN(0, s, "list", "jobs");
	assert_non_null(strstr(ran.out, " 1/10 "));
	RUN(0, s, "set", "jobs", "0 concurrent", "--key", "k");
	RUN(1, s, "exec", "jobs", "k", "--", "true");
	RUN(0, s, "unset", "jobs", "--key", "k");
	RUN(1, s, "set", "jobs", "300/min");

	RUN(0, s, "lease", "jobs", "k", "--name", "a");
	assert_int_equal(used(s, "jobs", "k"), 2);
	RUN(0, s, "reset", "jobs", "k");
	assert_int_equal(used(s, "jobs", "k"), 0);
	assert_int_equal(leases(s, "jobs", NULL), 0);
	assert_int_equal(close(r.in), 0);
	r.in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(ended(&r), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_exec_status, begin, teardown),
		cmocka_unit_test_setup_teardown(test_exec_holds, begin, teardown),
		cmocka_unit_test_setup_teardown(test_exec_rates, begin, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_use, begin, teardown),
		cmocka_unit_test_setup_teardown(test_exec_signals, begin, teardown),
		cmocka_unit_test_setup_teardown(test_exec_killed, begin, teardown),
		cmocka_unit_test_setup_teardown(test_exec_waits, begin, teardown),
		cmocka_unit_test_setup_teardown(test_named, begin, teardown),
		cmocka_unit_test_setup_teardown(test_shown, begin, teardown),
	};

	if (argc != 3) {
		(void)fprintf(stderr, "usage: test_cli_lease RATIOND RATION\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
