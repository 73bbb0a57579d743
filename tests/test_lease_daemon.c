/*
 * test_lease_daemon.c - rationd and leases: those of the dead come back within 2 s for all to
 * see, also when it was dead itself meanwhile; those that are kept outlive it, the segment and a
 * schema; and what all that costs when nothing happens.
 *
 * Usage: test_lease_daemon RATIOND RATION [--long]: with 5,000 holders
 */
#include "command.h"

#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ration.h"

#define BACK_MS 2000
#define KEYS 40
#define HOLDERS_MAX 5000

static const char policy[] = "table: {keys: 2k}\n"
			     "limits:\n"
			     "  sockets: 10k concurrent\n"
			     "  hooks: 2 concurrent\n";

static int holders_killed = 1000, holders_idle = 2000;

static int
begin(void **state)
{
	return setup_running(state, policy);
}

/* ---- processes that hold leases ---- */

static struct {
	pid_t pid[HOLDERS_MAX];
	int n;
} crowd;

/* One lease of a key; says so, and waits to be killed.  How it failed is its exit status. */
static _Noreturn void
hold(const struct server *s, int number, int ready)
{
	ration_lease_t lease;
	char key[32];
	ration_t *r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ration_open_dir(s->dir, NULL, 0, &r) != 0)
		_exit(1);
	(void)snprintf(key, sizeof(key), "k%d", number % KEYS);
	if (ration_lease(r, "sockets", key, strlen(key), 0, &lease, NULL) != RATION_ADMITTED)
		_exit(2);
	if (write(ready, "", 1) != 1)
		_exit(3);
	for (;;)
		(void)pause();
}

static void
crowd_gather(const struct server *s, int n)
{
	struct pollfd p = { .events = POLLIN };
	char byte[512];
	int fds[2], ready = 0;

	assert_int_equal(pipe(fds), 0);
	for (crowd.n = 0; crowd.n < n; crowd.n++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			hold(s, crowd.n, fds[1]);
		crowd.pid[crowd.n] = pid;
	}
	p.fd = fds[0];
	while (ready < n) {
		int status;
		pid_t pid = waitpid(-1, &status, WNOHANG);

		if (pid > 0 && WIFEXITED(status))
			fail_msg("a holder ended with %d", WEXITSTATUS(status));
		if (poll(&p, 1, WAIT_MS) != 1)
			fail_msg("%d of %d holders are ready", ready, n);
		ready += (int)read(fds[0], byte, sizeof(byte));
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* All at once; when it returns all are dead. */
static void
crowd_kill(void)
{
	for (int i = 0; i < crowd.n; i++)
		(void)kill(crowd.pid[i], SIGKILL);
	for (int i = 0; i < crowd.n; i++)
		(void)waitpid(crowd.pid[i], NULL, 0);
	crowd.n = 0;
}

static int
end(void **state)
{
	crowd_kill();
	return teardown(state);
}

static json_int_t
counted(const struct server *s, const char *name)
{
	json_t *j = ok(s, "status", NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "segment"), name));

	json_decref(j);
	return n;
}

static void
test_killed(void **state)
{
	struct server *s = *state;
	int64_t took;

	crowd_gather(s, holders_killed);
	assert_int_equal(used(s, "sockets", NULL), holders_killed);
	assert_int_equal(used(s, "sockets", "k7"), holders_killed / KEYS);
	crowd_kill();
	took = wait_used(s, "sockets", 0, BACK_MS);
	(void)printf(
	    "%d holders killed: all leases back after %lld ms\n", holders_killed, (long long)took);
	assert_int_equal(counted(s, "reaped"), holders_killed);
}

static void
test_killed_meanwhile(void **state)
{
	struct server *s = *state;
	int64_t took;

	crowd_gather(s, 200);
	/* It comes back: nobody loses anything. */
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	start(s);
	assert_int_equal(used(s, "sockets", NULL), 200);
	for (int64_t until = mono_ms() + 1000; mono_ms() < until; (void)poll(NULL, 0, 50))
		assert_int_equal(used(s, "sockets", NULL), 200);
	/* They die while it is dead; what they held is taken by who asks. */
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	crowd_kill();
	assert_int_equal(used(s, "sockets", NULL), 200);
	start(s);
	took = wait_used(s, "sockets", 0, BACK_MS);
	(void)printf("back %lld ms after rationd is\n", (long long)took);
}

static void
test_time_to_live(void **state)
{
	struct server *s = *state;
	ration_lease_t lease, endless;
	int64_t took;
	ration_t *r;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	assert_int_equal(ration_lease(r, "hooks", "k", 1, 0, &endless, NULL), RATION_ADMITTED);
	assert_int_equal(ration_lease(r, "hooks", "k", 1, 500, &lease, NULL), RATION_ADMITTED);
	RUN(0, s, "leases", "hooks", "--json");
	assert_non_null(strstr(ran.out, "\"ttl_left_s\":1"));
	took = wait_used(s, "hooks", 1, BACK_MS);
	assert_true(took <= 1500);
	/* Those who list see it at once; that it is free again is rationd's doing. */
	for (int64_t until = mono_ms() + BACK_MS; counted(s, "expired") == 0;) {
		assert_true(mono_ms() < until);
		(void)poll(NULL, 0, 10);
	}
	assert_int_equal(ration_release(r, &lease), RATION_ESTALE);
	assert_int_equal(ration_release(r, &endless), 0);
	ration_close(r);
}

/* ---- leases that are kept ---- */

static json_int_t
leases_say(const struct server *s, const char *name)
{
	json_t *j = ok(s, "status", NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "leases"), name));

	json_decref(j);
	return n;
}

static void
wait_recorded(const struct server *s, json_int_t want)
{
	int64_t start_ms = mono_ms();

	while (leases_say(s, "recorded") != want) {
		if (mono_ms() - start_ms > 1000 + 500)
			fail_msg("%lld recorded, expected %lld",
			    (long long)leases_say(s, "recorded"), (long long)want);
		(void)poll(NULL, 0, 10);
	}
	(void)printf(
	    "%lld recorded after %lld ms\n", (long long)want, (long long)(mono_ms() - start_ms));
}

/* As a reboot leaves it; or, with the lock file there, somebody who wants another table. */
static void
lose_files(struct server *s, size_t n)
{
	static const char *const files[] = { "default.counters", "default.policy",
		"default.holders" };
	char path[256];

	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	for (size_t i = 0; i < n; i++) {
		path_in(s, files[i], path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
}

static void
lose_segment(struct server *s)
{
	lose_files(s, 3);
}

/* Holders of leases in a segment that is no more keep their numbers: others find free ones. */
static void
test_numbers(void **state)
{
	struct server *s = *state;

	crowd_gather(s, 100);
	lose_files(s, 2);
	start(s);
	for (int i = 0; i < 10; i++)
		RUN(0, s, "exec", "hooks", "k", "--", "true");
}

static void
test_kept(void **state)
{
	struct server *s = *state;
	char key[256], longest[240];

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	RUN(0, s, "lease", "hooks", "k", "--name", "a");
	RUN(0, s, "lease", "hooks", "k", "--name", "b");
	for (int i = 0; i < 20; i++) {
		(void)snprintf(key, sizeof(key), "%s%d", i % 2 == 0 ? "other" : longest, i);
		RUN(0, s, "lease", "hooks", key, "--name", "same");
	}
	/* More than one slot's. */
	for (int i = 0; i < 40; i++)
		RUN(0, s, "lease", "sockets", "many", "--name", "same");
	wait_recorded(s, 62);

	lose_segment(s);
	start(s);
	assert_int_equal(used(s, "hooks", "k"), 2);
	assert_int_equal(used(s, "hooks", NULL), 22);
	assert_int_equal(used(s, "sockets", "many"), 40);
	RUN(1, s, "lease", "hooks", "k", "--name", "c");
	RUN(0, s, "release", "hooks", "k", "--name", "a");
	RUN(1, s, "release", "hooks", "k", "--name", "a");
	RUN(0, s, "release", "sockets", "many", "--name", "same");
	RUN(0, s, "lease", "hooks", "k", "--name", "c");
	wait_recorded(s, 61);

	/* A restart with the segment there: what stands in it is the truth. */
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	RUN(0, s, "release", "hooks", "k", "--name", "b");
	RUN(0, s, "release", "hooks", "other4", "--name", "same");
	start(s);
	assert_int_equal(leases_say(s, "recorded"), 59);
	lose_segment(s);
	start(s);
	assert_int_equal(used(s, "hooks", "k"), 1);
	assert_int_equal(used(s, "hooks", NULL), 20);
	assert_int_equal(used(s, "sockets", "many"), 39);
	RUN(0, s, "release", "hooks", "k", "--name", "c");
	RUN(0, s, "reset", "sockets", "many");
	wait_recorded(s, 19);
	lose_segment(s);
	start(s);
	assert_int_equal(used(s, "sockets", NULL), 0);
}

/*
 * Asks for one more until it is told to stop, and says each time that it is answered from
 * another segment.  1: was admitted.
 */
static _Noreturn void
ask_on(const struct server *s, int stop_fd, int told)
{
	struct pollfd p = { .fd = stop_fd, .events = POLLIN };
	uint32_t segment = 0;
	ration_lease_t lease;
	ration_t *r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ration_open_dir(s->dir, NULL, 0, &r) != 0)
		_exit(2);
	while (poll(&p, 1, 0) == 0) {
		ration_decision_t d = RATION_DECISION_INIT;
		int v = ration_lease_named(r, "hooks", "k", 1, "c", 1, &lease, &d);

		if (v == RATION_ADMITTED)
			_exit(1);
		if (v == RATION_DENIED && d.segment_id != segment) {
			segment = d.segment_id;
			if (write(told, "", 1) != 1)
				_exit(3);
		}
	}
	_exit(0);
}

/* The other says something, or has ended. */
static void
wait_told(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char byte;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	(void)!read(fd, &byte, 1);
}

/*
 * The segment is replaced under those who use it: nobody ever sees the new one without the
 * leases of the old.
 */
static void
test_kept_replaced(void **state)
{
	struct server *s = *state;
	int fds[2], told[2], status;
	pid_t pid;

	assert_int_equal(stop(s, SIGTERM), 0);
	start_with(s, (const char *[]) { "--sandbox", NULL });
	RUN(0, s, "lease", "hooks", "k", "--name", "a");
	RUN(0, s, "lease", "hooks", "k", "--name", "b");
	wait_recorded(s, 2);
	RUN(0, s, "clock", "+1d");
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pipe(told), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		ask_on(s, fds[0], told[1]);
	(void)close(told[1]);
	wait_told(told[0]);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	start(s); /* without --sandbox: a segment whose clock was moved is none for it */
	assert_true(wait_log(s, "a new one replaces it"));
	assert_int_equal(used(s, "hooks", "k"), 2);
	wait_told(told[0]); /* it has moved over */
	assert_int_equal(write(fds[1], "", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)close(told[0]);
}

/* A limit that the policy does not have for a while. */
static void
test_kept_nowhere(void **state)
{
	struct server *s = *state;

	RUN(0, s, "lease", "hooks", "k", "--name", "a");
	wait_recorded(s, 1);
	lose_segment(s);
	put_file(s, "ration.yaml", "limits:\n  sockets: 5 concurrent\n");
	start(s);
	assert_int_equal(leases_say(s, "nowhere"), 1);
	/* Once more, with this segment and without, and it is still known. */
	assert_int_equal(stop(s, SIGTERM), 0);
	start(s);
	assert_int_equal(leases_say(s, "nowhere"), 1);
	lose_segment(s);
	start(s);
	assert_int_equal(leases_say(s, "nowhere"), 1);
	put_file(s, "ration.yaml", policy);
	RUN(0, s, "reload");
	wait_recorded(s, 1);
	assert_int_equal(leases_say(s, "nowhere"), 0);
	assert_int_equal(used(s, "hooks", "k"), 1);
	RUN(0, s, "release", "hooks", "k", "--name", "a");
	wait_recorded(s, 0);
}

static int
copy_text(void *out, int n, char **text, char **column)
{
	(void)snprintf(out, 1024, "%s", text[0]);
	return 0;
}

/* As the first schema had it: without the tables that came later. */
static void
make_old(sqlite3 *db)
{
	static const char later[] = "SELECT group_concat('DROP TABLE ' || name, ';')"
				    " FROM sqlite_schema WHERE type = 'table' AND"
				    " name NOT IN ('change', 'generation', 'audit') AND"
				    " name NOT LIKE 'sqlite%'";
	static const char columns[] = "ALTER TABLE audit DROP COLUMN subject;"
				      "ALTER TABLE audit DROP COLUMN before;"
				      "ALTER TABLE audit DROP COLUMN after;"
				      "ALTER TABLE audit DROP COLUMN request;"
				      "ALTER TABLE audit DROP COLUMN undoes;"
				      "ALTER TABLE audit DROP COLUMN undone_by;";
	char text[1024] = "";

	assert_int_equal(
	    sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, later, copy_text, text, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, columns, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA user_version = 1", NULL, NULL, NULL), SQLITE_OK);
}

/* A file of an older schema: brought up, with all that is in it. */
static void
test_schema_1(void **state)
{
	struct server *s = *state;
	char path[256];
	sqlite3 *db;

	RUN(0, s, "set", "hooks", "3 concurrent", "--reason", "before");
	assert_int_equal(stop(s, SIGTERM), 0);
	path_in(s, "default.db", path, sizeof(path));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	make_old(db);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	start(s);
	assert_rates(s, "hooks", "3 concurrent", NULL);
	RUN(0, s, "lease", "hooks", "k", "--name", "a");
	wait_recorded(s, 1);
	lose_segment(s);
	start(s);
	assert_int_equal(used(s, "hooks", "k"), 1);
}

/* ---- what it costs ---- */

/* Percent of one processor over 2 s. */
static double
load(const struct server *s)
{
	int64_t before = cpu_ms(s->pid), start_ms = mono_ms();

	(void)poll(NULL, 0, 2000);
	return (double)(cpu_ms(s->pid) - before) * 100 / (double)(mono_ms() - start_ms);
}

static void
test_idle(void **state)
{
	struct server *s = *state;
	double none = load(s), many;

	crowd_gather(s, holders_idle);
	many = load(s);
	(void)printf("rationd's share of a processor: %.1f %% with no holder, %.1f %% with %d\n",
	    none, many, holders_idle);
	assert_true(none < 25);
	assert_true(many < 25);
	assert_int_equal(used(s, "sockets", NULL), holders_idle);
	crowd_kill();
	(void)wait_used(s, "sockets", 0, BACK_MS);
}

/*
 * Somebody removed the lock file: a reload does not make another one, in which whoever takes a
 * lease would be dead for rationd at once.
 */
static void
test_lock_file_removed(void **state)
{
	struct server *s = *state;
	ration_lease_t old, new;
	ration_t *r, *other;
	char path[128];

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &other), 0);
	assert_int_equal(ration_lease(r, "hooks", "k", 1, 0, &old, NULL), RATION_ADMITTED);
	path_in(s, "default.holders", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(kill(s->pid, SIGHUP), 0);
	assert_true(wait_log(s, "default.holders: it was removed"));
	json_decref(ok(s, "status", NULL));
	assert_int_equal(ration_lease(other, "hooks", "k", 1, 0, &new, NULL), RATION_ENOSEG);
	/* Who has one goes on. */
	assert_int_equal(ration_lease(r, "hooks", "k", 1, 0, &new, NULL), RATION_ADMITTED);
	assert_int_equal(ration_lease(r, "hooks", "k", 1, 0, &new, NULL), RATION_DENIED);
	assert_int_equal(ration_release(r, &old), 0);
	ration_close(r);
	ration_close(other);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed, begin, end),
		cmocka_unit_test_setup_teardown(test_killed_meanwhile, begin, end),
		cmocka_unit_test_setup_teardown(test_time_to_live, begin, end),
		cmocka_unit_test_setup_teardown(test_numbers, begin, end),
		cmocka_unit_test_setup_teardown(test_kept, begin, end),
		cmocka_unit_test_setup_teardown(test_kept_replaced, begin, end),
		cmocka_unit_test_setup_teardown(test_kept_nowhere, begin, end),
		cmocka_unit_test_setup_teardown(test_schema_1, begin, end),
		cmocka_unit_test_setup_teardown(test_lock_file_removed, begin, end),
		cmocka_unit_test_setup_teardown(test_idle, begin, end),
	};

	if (argc < 3) {
		(void)fprintf(stderr, "usage: test_lease_daemon RATIOND RATION [--long]\n");
		return 2;
	}
	if (argc > 3 && strcmp(argv[3], "--long") == 0)
		holders_killed = holders_idle = HOLDERS_MAX;
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
