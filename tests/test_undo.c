/*
 * test_undo.c - changes taken back: of every kind, only while they are in force, while traffic
 * runs, by two at once, with rationd killed in between, and from a store of an older schema.
 */
#include "command.h"
#include "traffic.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAKERS 4
#define RACES 10
#define KILLS 16
#define CHAIN 40

static const char policy[] = "plans: [a, b]\n"
			     "environments: {live: 1, test: 0.5}\n"
			     "limits:\n"
			     "  api: {rates: 50/24h}\n"
			     "  calls: {per: min, plans: [100, 300]}\n"
			     "  retention: {values: [12 months, 24 months]}\n";

static const char *const sandbox[] = { "--sandbox", NULL };

static int
begin(void **state)
{
	int e = setup(state);

	if (e != 0)
		return e;
	put_file(*state, "ration.yaml", policy);
	start_with(*state, sandbox);
	return 0;
}

static int
end(void **state)
{
	traffic_kill();
	return teardown(state);
}

static void
said(const char *text)
{
	if (strstr(ran.err, text) == NULL && strstr(ran.out, text) == NULL)
		fail_msg("no '%s' in: %s%s", text, ran.out, ran.err);
}

static const char *
text_of(json_int_t n)
{
	static char buf[4][24];
	static unsigned turn;
	char *out = buf[turn++ % 4];

	(void)snprintf(out, sizeof(buf[0]), "%lld", (long long)n);
	return out;
}

/* All live changes as text, malloced: they are the same when this is. */
static char *
changes(const struct server *s)
{
	json_t *j = ok(s, "changes", NULL);
	char *text = json_dumps(j, JSON_SORT_KEYS);

	json_decref(j);
	return text;
}

/* The newest entry, new. */
static json_t *
newest(const struct server *s)
{
	json_t *all = ok(s, "audit", "{'limit_n':1}");
	json_t *e = json_incref(json_array_get(json_object_get(all, "entries"), 0));

	json_decref(all);
	assert_non_null(e);
	return e;
}

static json_int_t
newest_id(const struct server *s)
{
	json_t *e = newest(s);
	json_int_t id = json_integer_value(json_object_get(e, "id"));

	json_decref(e);
	return id;
}

static unsigned
undone(const struct server *s, json_int_t entry)
{
	json_t *all = ok(s, "audit", "{'limit_n':1000}"), *e;
	unsigned n = 0;
	size_t i;

	json_array_foreach(json_object_get(all, "entries"), i, e) n +=
	    json_integer_value(json_object_get(e, "undoes")) == entry;
	json_decref(all);
	return n;
}

/* ---- every kind ---- */

/* One more change, on top of what is there; then back, and forth again. */
static void
there_and_back(struct server *s, const char *const *args)
{
	char *before = changes(s), *after, *now;
	struct running r = launch(s, args);
	char line[512];
	json_int_t entry;
	json_t *e;

	while (next_line(&r, line, sizeof(line)))
		;
	if (ended(&r) != 0)
		fail_msg("%s %s failed", args[0], args[1]);
	after = changes(s);
	assert_string_not_equal(before, after);
	entry = newest_id(s);
	RUN(0, s, "undo", text_of(entry), "--dry-run");
	now = changes(s);
	assert_string_equal(now, after);
	free(now);
	RUN(0, s, "undo", text_of(entry), "--reason", "back");
	now = changes(s);
	assert_string_equal(now, before);
	free(now);
	e = newest(s);
	assert_string_equal(json_string_value(json_object_get(e, "action")), "undo");
	assert_string_equal(json_string_value(json_object_get(e, "reason")), "back");
	assert_int_equal(json_integer_value(json_object_get(e, "undoes")), entry);
	json_decref(e);
	RUN(1, s, "undo", text_of(entry));
	said("already undone by entry ");
	RUN(0, s, "undo", text_of(newest_id(s)), "--reason", "forth");
	now = changes(s);
	assert_string_equal(now, after);
	free(now);
	free(before);
	free(after);
}

static void
test_kinds(void **state)
{
	static const char *const steps[][10] = {
		{ "set", "api", "80/24h", "--key", "k", "--reason", "one" },
		{ "set", "api", "90/24h", "--key", "k", "--for", "1h" },
		{ "set", "api", "95/24h, 20/s", "--key", "k", "--until", "2100-01-01" },
		{ "unset", "api", "--key", "k" },
		{ "set", "api", "70/24h" },
		{ "set", "api", "60/24h" },
		{ "unset", "api" },
		{ "set", "calls", "110/min", "--plan", "a" },
		{ "set", "calls", "unlimited", "--key", "a\\040b\\377\\134" },
		{ "set", "retention", "for ever", "--plan", "b" },
		{ "set", "retention", "a day", "--key", "k" },
		{ "unset", "retention", "--key", "k" },
		{ "plan", "k", "a" },
		{ "plan", "k", "b" },
		{ "plan", "k", "-" },
		{ "env", "k", "test" },
		{ "env", "k", "live" },
		{ "share", "1/6" },
		{ "share", "1/2" },
		{ "observe", "api", "--for", "1h" },
		{ "off", "api" },
		{ "observe", "--all" },
		{ "enforce", "api" },
	};
	struct server *s = *state;
	char *before, *now;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		there_and_back(s, steps[i]);
	/* All of it is as it was after a restart too: also what goes back to it. */
	before = changes(s);
	assert_int_equal(stop(s, SIGTERM), 0);
	start_with(s, sandbox);
	now = changes(s);
	assert_string_equal(now, before);
	free(now);
	free(before);
	there_and_back(s, (const char *const[]) { "set", "api", "5/24h", NULL });
}

/* What lies beneath is what counts again. */
static void
test_beneath(void **state)
{
	struct server *s = *state;

	RUN(0, s, "set", "api", "80/24h", "--key", "k");
	RUN(0, s, "set", "api", "90/24h", "--key", "k", "--for", "1h");
	RUN(0, s, "set", "api", "60/24h", "--key", "k");
	RUN(0, s, "undo", "3");
	said("60/24h -> 90/24h until ");
	assert_int_equal(admitted(s, "api", "k", 100), 90);
	RUN(0, s, "undo", "2");
	said("-> 80/24h");
	RUN(0, s, "undo", "1");
	said("80/24h -> 50/24h");
	RUN(0, s, "diff");
	said("no live changes");
}

/* ---- what is not taken back ---- */

static void
test_conflicts(void **state)
{
	struct server *s = *state;
	json_t *j;

	RUN(0, s, "set", "api", "80/24h", "--key", "k");
	RUN(0, s, "set", "api", "80/24h", "--key", "other");
	RUN(0, s, "set", "api", "90/24h", "--key", "k", "--reason", "more");
	RUN(1, s, "undo", "1");
	said("changed meanwhile by entry 3 (set by ");
	j = call(s, "undo", "{'entry':1}");
	assert_int_equal(json_integer_value(json_object_get(
			     json_object_get(json_object_get(j, "error"), "data"), "entry")),
	    3);
	assert_int_equal(code(j), -32002);
	/* The same rates again are another change. */
	RUN(0, s, "set", "api", "80/24h", "--key", "k");
	RUN(1, s, "undo", "1");
	said("by entry 4 (set by ");
	/* When the later ones are taken back it is what is in force again. */
	RUN(0, s, "undo", "4");
	RUN(0, s, "undo", "3");
	RUN(0, s, "undo", "1");
	RUN(0, s, "audit");
	said("[undone by 5]");
	said("[undone by 6]");
	said("[undone by 7]");
	assert_int_equal(admitted(s, "api", "other", 100), 80);
	/* A change with an end beside it is a later one too. */
	RUN(0, s, "set", "api", "60/24h");
	RUN(0, s, "set", "api", "61/24h", "--for", "1h");
	RUN(1, s, "undo", "8");
	said("by entry 9 (set by ");
}

static void
test_refused(void **state)
{
	struct server *s = *state;

	assert_int_equal(admitted(s, "api", "k", 3), 3);
	RUN(0, s, "reset", "api", "k");
	RUN(1, s, "undo", "1");
	said("reset cannot be undone: what a key had used is not kept");
	RUN(0, s, "reload");
	RUN(1, s, "undo", "2");
	said("reload cannot be undone: the policy files are yours");
	RUN(0, s, "clock", "+1h");
	RUN(1, s, "undo", "3");
	said("clock cannot be undone");
	RUN(1, s, "undo", "4");
	said("the audit has no entry 4");
	RUN(2, s, "undo", "0");
	RUN(2, s, "undo", "-1");
	RUN(2, s, "undo", "one");
	RUN(2, s, "undo");
	assert_int_equal(code(call(s, "undo", "{}")), -32602);
	assert_int_equal(code(call(s, "undo", "{'entry':'4'}")), -32602);
	assert_int_equal(code(call(s, "undo", "{'entry':4,'key':'k'}")), -32602);
	RUN(0, s, "audit");
	assert_null(strstr(ran.out, "undo"));
}

static void
test_ended(void **state)
{
	struct server *s = *state;

	RUN(0, s, "set", "api", "60/24h", "--key", "k");
	RUN(0, s, "set", "api", "80/24h", "--key", "k", "--for", "1h");
	RUN(0, s, "set", "api", "70/24h", "--key", "p", "--for", "1h");
	RUN(0, s, "unset", "api", "--key", "p");
	RUN(0, s, "clock", "+2h");
	RUN(1, s, "undo", "2");
	said("there is nothing left to take back: it ended at ");
	/* What it replaced has ended: nothing would come back. */
	RUN(1, s, "undo", "4");
	said("what entry 4 replaced has ended meanwhile");
	RUN(0, s, "audit", "-n", "1", "--json");
	assert_null(strstr(ran.out, "\"undo\""));
	RUN(0, s, "audit");
	said("ended api key k: 80/24h until ");
	RUN(1, s, "undo", "6");
	said("ended cannot be undone: it ended when it was meant to");
	/* The endless one beneath is as entry 1 left it. */
	RUN(0, s, "undo", "1");
	/* Of two that come back only the one that has not ended does. */
	RUN(0, s, "set", "api", "60/24h", "--key", "q");
	RUN(0, s, "set", "api", "80/24h", "--key", "q", "--for", "1h");
	RUN(0, s, "unset", "api", "--key", "q");
	RUN(0, s, "clock", "+2h");
	RUN(0, s, "undo", text_of(newest_id(s) - 1));
	assert_int_equal(admitted(s, "api", "q", 100), 60);
}

/* What the policy does not have any more cannot come back; what is left out can go. */
static void
test_other_policy(void **state)
{
	struct server *s = *state;
	char *before, *now;

	RUN(0, s, "set", "api", "80/24h");
	RUN(0, s, "set", "calls", "80/min", "--key", "k");
	RUN(0, s, "unset", "calls", "--key", "k");
	put_file(s, "ration.yaml", "limits: {other: 5/min}\n");
	RUN(0, s, "reload");
	before = changes(s);
	RUN(1, s, "undo", "3");
	said("expected a limit of the policy");
	now = changes(s);
	assert_string_equal(now, before);
	free(now);
	free(before);
	RUN(0, s, "undo", "1");
	RUN(0, s, "diff");
	said("no live changes");
}

/* ---- again and again ---- */

static void
test_chain(void **state)
{
	struct server *s = *state;
	const char *first;
	char line[64];

	RUN(0, s, "set", "api", "80/24h", "--key", "k");
	for (int i = 1; i < CHAIN; i++) {
		RUN(0, s, "undo", text_of(i));
		RUN(0, s, "show", "api", "k", "--json");
		said(i % 2 == 1 ? "\"limit_units\":50," : "\"limit_units\":80,");
		RUN(0, s, "audit", "--json");
		first = strstr(ran.out, "{\"id\":1,");
		assert_non_null(first);
		(void)snprintf(line, sizeof(line), "\"undone_by\":%s}", i % 2 == 1 ? "2" : "null");
		if (strstr(first, line) == NULL)
			fail_msg("after %d: no %s in %s", i, line, first);
		RUN(1, s, "undo", text_of(i));
		said("already undone by entry ");
	}
	assert_int_equal(admitted(s, "api", "k", 100), CHAIN % 2 == 0 ? 50 : 80);
}

/* ---- while traffic runs; by two at once ---- */

static void
test_traffic(void **state)
{
	struct server *s = *state;
	struct traffic *t = traffic_start(s, "api", "k", TAKERS, 50);

	traffic_settle(t, 50);
	traffic_changing(t);
	RUN(0, s, "set", "api", "80/24h", "--key", "k");
	traffic_changed(t, 80);
	traffic_settle(t, 80);
	traffic_changing(t);
	RUN(0, s, "undo", "1");
	traffic_changed(t, 50);
	traffic_settle(t, 80);
	traffic_changing(t);
	RUN(0, s, "undo", "2");
	traffic_changed(t, 80);
	traffic_settle(t, 80);
	traffic_changing(t);
	RUN(0, s, "set", "api", "100/24h", "--key", "k");
	traffic_changed(t, 100);
	traffic_settle(t, 100);
	traffic_changing(t);
	RUN(0, s, "unset", "api", "--key", "k");
	traffic_changed(t, 50);
	traffic_settle(t, 100);
	traffic_changing(t);
	RUN(0, s, "undo", text_of(newest_id(s)));
	traffic_changed(t, 100);
	traffic_settle(t, 100);
	assert_int_equal(used(s, "api", "k"), 100);
	traffic_stop(t);
}

static pid_t
undo_process(const struct server *s, const char *entry)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

		(void)dup2(null, STDOUT_FILENO);
		(void)dup2(null, STDERR_FILENO);
		(void)setenv("RATION_DIR", s->dir, 1);
		(void)execl(command, "ration", "undo", entry, (char *)NULL);
		_exit(99);
	}
	return pid;
}

static int
exit_of(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void
test_races(void **state)
{
	struct server *s = *state;
	struct traffic *t = traffic_start(s, "api", "busy", TAKERS, 50);

	for (int i = 0; i < RACES; i++) {
		json_int_t entry;
		const char *n;
		pid_t pid[4];
		int won = 0;

		RUN(0, s, "set", "api", "80/24h", "--key", "k");
		entry = newest_id(s);
		n = text_of(entry);
		for (unsigned p = 0; p < 4; p++)
			pid[p] = undo_process(s, n);
		for (unsigned p = 0; p < 4; p++) {
			int e = exit_of(pid[p]);

			assert_true(e == 0 || e == 1);
			won += e == 0;
		}
		assert_int_equal(won, 1);
		assert_int_equal(undone(s, entry), 1);
	}
	RUN(0, s, "diff");
	said("no live changes");
	traffic_settle(t, 50);
	traffic_stop(t);
}

static void
test_kills(void **state)
{
	struct server *s = *state;
	unsigned back = 0;

	srandom(7);
	for (int i = 0; i < KILLS; i++) {
		json_int_t entry;
		bool gone;
		pid_t pid;
		int e;

		RUN(0, s, "set", "api", "80/24h", "--key", "k");
		entry = newest_id(s);
		pid = undo_process(s, text_of(entry));
		(void)usleep((useconds_t)(random() % 4000));
		(void)stop(s, SIGKILL);
		e = exit_of(pid);
		start_with(s, sandbox);
		RUN(0, s, "diff");
		gone = strstr(ran.out, "80/24h") == NULL;
		if (e == 0)
			assert_true(gone);
		assert_int_equal(undone(s, entry), gone);
		RUN(gone ? 1 : 0, s, "undo", text_of(entry));
		back += gone;
	}
	(void)printf("killed %d times: %u were undone\n", KILLS, back);
	assert_int_equal(admitted(s, "api", "k", 100), 50);
}

/* ---- a store of the second schema ---- */

static const char old_store[] =
    "CREATE TABLE change ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, limit_name TEXT NOT NULL,"
    " key BLOB NOT NULL, plan TEXT NOT NULL, mode INTEGER NOT NULL, rates TEXT NOT NULL,"
    " share_num INTEGER NOT NULL, share_den INTEGER NOT NULL, until INTEGER,"
    " at INTEGER NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL);"
    "CREATE TABLE generation ("
    " limit_name TEXT PRIMARY KEY, value INTEGER NOT NULL, digest INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE TABLE audit ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT NOT NULL,"
    " uid INTEGER NOT NULL, pid INTEGER NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,"
    " old TEXT NOT NULL, new TEXT NOT NULL, reason TEXT NOT NULL);"
    "CREATE TABLE lease ("
    " limit_name TEXT NOT NULL, key BLOB NOT NULL, slot INTEGER NOT NULL,"
    " name INTEGER NOT NULL, n INTEGER NOT NULL,"
    " PRIMARY KEY (limit_name, key, slot, name)) WITHOUT ROWID;"
    "INSERT INTO change VALUES (5, 1, 'api', x'6b', '', 0, '80/24h', 0, 0, NULL, 1700000000,"
    " 'ann', 'old');"
    "INSERT INTO generation VALUES ('', 9, 0), ('api', 4, 0);"
    "INSERT INTO audit VALUES (17, 1700000000, 'ann', 0, 1, 'set', 'api key k', '50/24h',"
    " '80/24h', 'old');"
    "PRAGMA application_id = 1382118510; PRAGMA user_version = 2;";

static void
test_schema_2(void **state)
{
	struct server *s = *state;
	char path[256];
	sqlite3 *db;

	assert_int_equal(stop(s, SIGTERM), 0);
	path_in(s, "default.db", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, old_store, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	start_with(s, sandbox);
	RUN(0, s, "audit");
	said("17  ");
	said("ann set api key k: 50/24h -> 80/24h: old");
	assert_int_equal(admitted(s, "api", "k", 100), 80);
	RUN(1, s, "undo", "17");
	said("entry 17 is from an earlier version of rationd, which did not record what it "
	     "replaced");
	assert_true(number(s, "status", "generation") >= 9);
	/* What comes now can be taken back, to what was there before. */
	RUN(0, s, "set", "api", "90/24h", "--key", "k");
	RUN(0, s, "undo", "18");
	said("90/24h -> 80/24h");
	RUN(0, s, "diff", "--json");
	said("\"id\":5,");
	said("\"who\":\"ann\"");
	RUN(0, s, "request", "api", "--key", "k", "--to", "99/24h", "--reason", "r", "--volume",
	    "v");
	RUN(0, s, "approve", "1");
	assert_int_equal(stop(s, SIGTERM), 0);
	start_with(s, sandbox);
	assert_int_equal(admitted(s, "api", "k", 100), 19);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kinds, begin, end),
		cmocka_unit_test_setup_teardown(test_beneath, begin, end),
		cmocka_unit_test_setup_teardown(test_conflicts, begin, end),
		cmocka_unit_test_setup_teardown(test_refused, begin, end),
		cmocka_unit_test_setup_teardown(test_ended, begin, end),
		cmocka_unit_test_setup_teardown(test_other_policy, begin, end),
		cmocka_unit_test_setup_teardown(test_chain, begin, end),
		cmocka_unit_test_setup_teardown(test_traffic, begin, end),
		cmocka_unit_test_setup_teardown(test_races, begin, end),
		cmocka_unit_test_setup_teardown(test_kills, begin, end),
		cmocka_unit_test_setup_teardown(test_schema_2, begin, end),
	};

	if (argc < 3) {
		(void)fprintf(stderr, "usage: test_undo RATIOND RATION\n");
		return 2;
	}
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
