/*
 * test_changes.c - what is changed while the real rationd runs: compared, in force from the next
 * call, ended in time, reloaded, durable over kills.
 */
#include "server.h"

#include <dirent.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ration.h"
#include "segment.h"

static const char policy_text[] = "table: {keys: 2k}\n"
				  "plans: [free, team]\n"
				  "environments: {sandbox: 0.1}\n"
				  "limits:\n"
				  "  api: 300/min\n"
				  "  slow: 5/24h\n"
				  "  mail: {per: month, plans: [10, 50]}\n";

static int
setup_policy(void **state)
{
	(void)setup(state);
	put_file(*state, "ration.yaml", policy_text);
	return 0;
}

/* ---- changes ---- */

static void
test_compare_and_set(void **state)
{
	struct server *s = *state;
	json_int_t g, g2, all;
	char params[128];
	json_t *j;

	start(s);
	assert_rates(s, "api", "300/min", &g);
	all = number(s, "status", "generation");
	(void)snprintf(params, sizeof(params),
	    "{'limit':'api','rates':'400/min, 30/s','expect':%lld,'dry_run':true}", (long long)g);
	json_decref(ok(s, "set", params));
	assert_rates(s, "api", "300/min", &g2);
	assert_int_equal(g2, g);
	(void)snprintf(params, sizeof(params),
	    "{'limit':'api','rates':'400/min, 30/s','expect':%lld}", (long long)g);
	j = ok(s, "set", params);
	assert_int_equal(json_integer_value(json_object_get(j, "generation")), g + 1);
	json_decref(j);
	/* Who saw the old state is told the new one. */
	j = call(s, "set", params);
	assert_int_equal(json_integer_value(json_object_get(
			     json_object_get(json_object_get(j, "error"), "data"), "generation")),
	    g + 1);
	assert_int_equal(code(j), -32002);
	assert_rates(s, "api", "400/min, 30/s", &g2);
	assert_int_equal(g2, g + 1);
	assert_int_equal(number(s, "status", "generation"), all + 1);
	json_decref(ok(s, "unset", "{'limit':'api'}"));
	assert_rates(s, "api", "300/min", &g2);
	assert_int_equal(g2, g + 2);
	assert_int_equal(number(s, "status", "changes"), 0);
}

static void
test_all_changes(void **state)
{
	static const char *const calls[][2] = {
		{ "set", "{'limit':'slow','rates':'7/24h','reason':'load test'}" },
		{ "set", "{'limit':'slow','rates':'2/24h','key':'a\\\\040b'}" },
		{ "set", "{'limit':'mail','rates':'99/month','plan':'team'}" },
		{ "plan", "{'key':'k1','plan':'team'}" },
		{ "env", "{'key':'k2','environment':'sandbox'}" },
		{ "share", "{'share':'1/2'}" },
		{ "mode", "{'limit':'api','mode':'observe'}" },
		{ "mode", "{'all':true,'mode':'enforce','for_s':3600}" },
	};
	const size_t n = sizeof(calls) / sizeof(calls[0]);
	struct server *s = *state;
	json_t *j, *before, *one;
	int w;

	start(s);
	w = watch(s);
	for (size_t i = 0; i < n; i++) {
		json_decref(ok(s, calls[i][0], calls[i][1]));
		wait_event(w, calls[i][0]);
	}
	(void)close(w);
	j = ok(s, "audit", NULL);
	assert_int_equal(json_array_size(json_object_get(j, "entries")), n);
	one = json_array_get(json_object_get(j, "entries"), n - 1);
	assert_string_equal(json_string_value(json_object_get(one, "reason")), "load test");
	assert_string_equal(json_string_value(json_object_get(one, "old")), "5/24h");
	assert_string_equal(json_string_value(json_object_get(one, "new")), "7/24h");
	json_decref(j);
	/* They count: 7 x 1/2, 2 x 1/2. */
	assert_int_equal(admitted(s, "slow", "k", 9), 3);
	assert_int_equal(admitted(s, "slow", "a b", 9), 1);
	/* And again after a restart, with the same generations. */
	before = ok(s, "limits", NULL);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	start(s);
	assert_int_equal(number(s, "status", "changes"), n);
	j = ok(s, "limits", NULL);
	for (size_t i = 0; i < 3; i++) {
		json_t *x = json_array_get(json_object_get(before, "limits"), i),
		       *y = json_array_get(json_object_get(j, "limits"), i);

		(void)json_object_del(x, "counters");
		(void)json_object_del(y, "counters");
		assert_true(json_equal(x, y));
	}
	json_decref(before);
	json_decref(j);
	assert_int_equal(admitted(s, "slow", "k", 9), 0);
	j = ok(s, "diff_yaml", NULL);
	assert_non_null(strstr(json_string_value(json_object_get(j, "yaml")), "7/24h"));
	json_decref(j);
}

/* Bytes of all kinds in keys: kept as they are, shown escaped, over a restart. */
static void
test_hostile_keys(void **state)
{
	static const char *const keys[] = { "\\000", "\\377\\376", "\\033[31m",
		"'; DROP TABLE change;--", "a\\040b\\011c\\012d", "\\\\", "%s%n", "\\303\\051" };
	static const char *const bad_shares[] = { "1/0", "0/1", "2/1", "-1/2", "1/-2", "nan",
		"1e400", "1/99999999999999999999999", "1/2/3", " ", "\\u001b[31m" };
	struct server *s = *state;
	size_t n = sizeof(keys) / sizeof(keys[0]), i;
	char params[512];
	json_t *j, *one;

	start(s);
	for (size_t k = 0; k < n; k++) {
		/* JSON wants its own backslashes. */
		char text[256], *out = text;

		for (const char *c = keys[k]; *c != '\0'; c++) {
			if (*c == '\\')
				*out++ = '\\';
			*out++ = *c;
		}
		*out = '\0';
		if (strchr(text, '\'') != NULL)
			(void)snprintf(text, sizeof(text), "\\\\047; DROP TABLE change;--");
		(void)snprintf(params, sizeof(params), "{'key':'%s','plan':'team'}", text);
		json_decref(ok(s, "plan", params));
		(void)snprintf(
		    params, sizeof(params), "{'key':'%s','environment':'sandbox'}", text);
		json_decref(ok(s, "env", params));
		(void)snprintf(
		    params, sizeof(params), "{'limit':'api','key':'%s','rates':'3/h'}", text);
		json_decref(ok(s, "set", params));
	}
	for (size_t k = 0; k < sizeof(bad_shares) / sizeof(bad_shares[0]); k++) {
		(void)snprintf(params, sizeof(params), "{'share':'%s'}", bad_shares[k]);
		assert_int_equal(code(call(s, "share", params)), -32602);
	}
	assert_int_equal(code(call(s, "plan", "{'key':'k','plan':'\\u001b[31m'}")), -32003);
	assert_int_equal(code(call(s, "env", "{'key':'','environment':'sandbox'}")), -32602);
	assert_int_equal(code(call(s, "plan", "{'key':'\\\\','plan':'team'}")), -32602);
	assert_int_equal(stop(s, SIGTERM), 0);
	assert_null(strchr(s->log, 033));
	start(s);
	j = ok(s, "changes", NULL);
	assert_int_equal(json_array_size(json_object_get(j, "changes")), 3 * n);
	json_array_foreach(json_object_get(j, "changes"), i, one)
	{
		const char *key = json_string_value(json_object_get(one, "key"));

		assert_true(json_is_true(json_object_get(one, "in_force")));
		for (const char *c = key; *c != '\0'; c++)
			assert_true(*c > ' ' && *c < 0x7f);
	}
	json_decref(j);
	/* What they mean is their bytes. */
	assert_int_equal(admitted(s, "api", "\377\376", 5), 3);
	assert_int_equal(admitted(s, "api", "a b\tc\nd", 5), 3);
	assert_int_equal(admitted(s, "api", "'; DROP TABLE change;--", 5), 3);
	j = ok(s, "diff_yaml", NULL);
	assert_null(strchr(json_string_value(json_object_get(j, "yaml")), 033));
	json_decref(j);
}

static void
test_reset(void **state)
{
	struct server *s = *state;
	json_t *j;

	start(s);
	assert_int_equal(admitted(s, "slow", "k 1", 9), 5);
	j = ok(s, "reset", "{'limit':'slow','key':'k\\\\0401'}");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "old"), "used")), 5);
	json_decref(j);
	assert_int_equal(admitted(s, "slow", "k 1", 9), 5);
}

/* What ends, ends by itself: the policy names what follows. */
static void
test_temporary(void **state)
{
	const char *const args[] = { "--sandbox", NULL };
	struct server *s = *state;
	json_int_t now;
	json_t *j;
	int w;

	start_with(s, args);
	w = watch(s);
	json_decref(ok(s, "set", "{'limit':'slow','rates':'6/24h'}"));
	json_decref(ok(s, "set", "{'limit':'slow','rates':'8/24h','for_s':100}"));
	assert_rates(s, "slow", "8/24h", NULL);
	now = number(s, "status", "now");
	j = ok(s, "clock", "{'advance_s':100}");
	assert_in_range(json_integer_value(json_object_get(j, "now")), now + 100, now + 160);
	json_decref(j);
	wait_event(w, "ended");
	/* The endless one below it is in force again. */
	assert_rates(s, "slow", "6/24h", NULL);
	assert_int_equal(number(s, "status", "changes"), 1);
	/* The clock stays where it was moved to, over a restart, but not without --sandbox. */
	assert_int_equal(stop(s, SIGTERM), 0);
	start_with(s, args);
	assert_non_null(strstr(s->log, "segment=attached"));
	assert_true(number(s, "status", "now") >= now + 100);
	assert_int_equal(stop(s, SIGTERM), 0);
	start(s);
	assert_non_null(strstr(s->log, "moved by a sandbox"));
	(void)close(w);
}

static void
test_month_ends(void **state)
{
	const char *const args[] = { "--sandbox", NULL };
	struct server *s = *state;
	int64_t now;

	start_with(s, args);
	now = number(s, "status", "now");
	for (int half = 0; half < 20; half++)
		json_decref(ok(s, "clock", "{'advance_ms':500}"));
	json_decref(ok(s, "clock", "{'advance_s':5,'advance_ms':0}"));
	assert_in_range(number(s, "status", "now"), now + 15, now + 19);
	assert_int_equal(code(call(s, "clock", "{'advance_ms':1000}")), -32602);
	assert_int_equal(code(call(s, "clock", "{}")), -32602);
	json_decref(ok(s, "plan", "{'key':'k','plan':'free'}"));
	for (int month = 0; month < 30; month++) {
		assert_int_equal(admitted(s, "mail", "k", 20), 10);
		json_decref(ok(s, "clock", "{'advance_s':2678400}")); /* 31 days */
	}
}

/* ---- housekeeping ---- */

/* A full table raises an alarm; keys whose usage is over give their room back. */
static void
test_table_full(void **state)
{
	const char *const args[] = { "--sandbox", NULL };
	struct server *s = *state;
	int64_t end = mono_ms() + WAIT_MS;
	char key[32];
	ration_t *r;
	json_t *j;
	int w, got = 0;

	put_file(s, "ration.yaml",
	    "table: {keys: 1000, idle: 10min}\nlimits: {api: 300/min, day: 5/24h}\n");
	start_with(s, args);
	w = watch(s);
	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	for (int i = 0; i < 1500; i++) {
		(void)snprintf(key, sizeof(key), "key:%d", i);
		got += ration_acquire(r, i < 400 ? "day" : "api", key, 1, NULL);
	}
	assert_in_range(got, 900, 1000);
	wait_event(w, "table_full");
	(void)close(w);
	/* An hour later nothing of `api` is used any more: room for others, `day` keeps its own. */
	json_decref(ok(s, "clock", "{'advance_s':3600}"));
	for (int more = 0; more < 500;) {
		(void)snprintf(key, sizeof(key), "later:%d", more);
		more += ration_acquire(r, "api", key, 1, NULL);
		assert_true(mono_ms() < end);
	}
	for (int i = 0; i < 400; i++) {
		(void)snprintf(key, sizeof(key), "key:%d", i);
		for (int k = 1; k < 5; k++)
			assert_int_equal(ration_acquire(r, "day", key, 1, NULL), 1);
		assert_int_equal(ration_acquire(r, "day", key, 1, NULL), 0);
	}
	j = ok(s, "status", NULL);
	assert_true(
	    json_integer_value(json_object_get(json_object_get(j, "segment"), "recycled")) > 0);
	json_decref(j);
	ration_close(r);
}

/* ---- reload ---- */

static void
test_reload(void **state)
{
	struct server *s = *state;
	json_int_t g, g2, slow, slow2;
	char path[256];
	json_t *j;
	int w;

	start(s);
	w = watch(s);
	assert_rates(s, "api", "300/min", &g);
	assert_rates(s, "slow", "5/24h", &slow);
	assert_int_equal(admitted(s, "slow", "k", 3), 3);
	put_file(s, "ration.yaml",
	    "plans: [free]\nenvironments: {sandbox: 0.1}\n"
	    "limits:\n  api: 200/min\n  slow: 5/24h\n");
	assert_int_equal(kill(s->pid, SIGHUP), 0);
	wait_event(w, "reload");
	assert_rates(s, "api", "200/min", &g2);
	assert_int_equal(g2, g + 1); /* compare-and-set sees a reload */
	assert_rates(s, "slow", "5/24h", &slow2);
	assert_int_equal(slow2, slow);
	assert_int_equal(admitted(s, "slow", "k", 9), 2);

	put_file(s, "ration.yaml", "limits:\n  api: 9/minn\n  slow: 5/24hx\n");
	assert_int_equal(kill(s->pid, SIGHUP), 0);
	wait_event(w, "reload_refused");
	assert_true(wait_log(s, "ration.yaml:2:"));
	assert_true(wait_log(s, "ration.yaml:3:"));
	j = call(s, "reload", NULL);
	assert_int_equal(json_array_size(json_object_get(
			     json_object_get(json_object_get(j, "error"), "data"), "mistakes")),
	    2);
	assert_int_equal(code(j), -32003);
	assert_rates(s, "api", "200/min", NULL);
	j = ok(s, "status", NULL);
	assert_true(json_is_false(json_object_get(json_object_get(j, "last_reload"), "ok")));
	json_decref(j);
	/* Files that are gone are no policy without limits. */
	path_in(s, "ration.yaml", path, sizeof(path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(code(call(s, "reload", NULL)), -32003);
	assert_rates(s, "api", "200/min", NULL);
	/* A dry run changes nothing, whatever it finds. */
	put_file(s, "ration.yaml", "limits:\n  api: 100/min\n");
	json_decref(ok(s, "reload", "{'dry_run':true}"));
	assert_rates(s, "api", "200/min", NULL);
	json_decref(ok(s, "reload", NULL));
	assert_rates(s, "api", "100/min", NULL);
	assert_rates(s, "slow", "", NULL);
	(void)close(w);
}

/* A live change about a limit that the files drop stops neither reload nor start. */
static void
test_dormant(void **state)
{
	struct server *s = *state;
	json_t *j, *one;

	start(s);
	json_decref(ok(s, "set", "{'limit':'slow','rates':'7/24h'}"));
	json_decref(ok(s, "set", "{'limit':'api','rates':'8/min'}"));
	put_file(s, "ration.yaml", "limits:\n  api: 300/min\n");
	json_decref(ok(s, "reload", NULL));
	assert_true(wait_log(s, "cannot apply"));
	assert_rates(s, "api", "8/min", NULL);
	assert_int_equal(stop(s, SIGTERM), 0);
	start(s);
	j = ok(s, "changes", NULL);
	assert_int_equal(json_array_size(json_object_get(j, "changes")), 2);
	one = json_array_get(json_object_get(j, "changes"), 1);
	assert_string_equal(json_string_value(json_object_get(one, "limit")), "slow");
	assert_true(json_is_false(json_object_get(one, "in_force")));
	json_decref(j);
	put_file(s, "ration.yaml", policy_text);
	json_decref(ok(s, "reload", NULL));
	assert_rates(s, "slow", "7/24h", NULL);
}

/* The mistakes of a call that is refused have this in them. */
static void
assert_refused(const struct server *s, const char *method, const char *params, const char *text)
{
	json_t *j = call(s, method, params), *error = json_object_get(j, "error");
	json_t *list = json_object_get(json_object_get(error, "data"), "mistakes");
	const char *found = json_string_value(json_array_get(list, 0));

	assert_non_null(found);
	if (strstr(found, text) == NULL)
		fail_msg("%s: %s", method, found);
	assert_int_equal(code(j), -32003);
}

/* Neither a live change nor a reload nor a start makes rates of leases, or the other way. */
static void
test_not_turned(void **state)
{
	struct server *s = *state;
	static const char text[] = "limits: {seats: 5 concurrent, api: 3/min, free: unlimited}\n";

	put_file(s, "ration.yaml", text);
	start(s);
	assert_refused(s, "set", "{'limit':'seats','rates':'3/min'}", "the limit is of leases");
	assert_refused(
	    s, "set", "{'limit':'api','rates':'3 concurrent','key':'k'}", "the limit is of rates");
	assert_refused(
	    s, "set", "{'limit':'api','rates':'3 concurrent, 3/s'}", "concurrency alone");
	json_decref(ok(s, "set", "{'limit':'seats','rates':'7 concurrent','key':'k'}"));
	json_decref(ok(s, "set", "{'limit':'seats','rates':'unlimited','key':'j'}"));
	put_file(s, "ration.yaml", "limits: {seats: 5/min, api: 9/min}\n");
	assert_refused(s, "reload", NULL, "give it another name");
	assert_rates(s, "seats", "5 concurrent", NULL);
	assert_rates(s, "api", "3/min", NULL);
	put_file(s, "ration.yaml", "limits: {seats: 5 concurrent, api: 9 concurrent}\n");
	assert_refused(s, "reload", NULL, "give it another name");
	/* Away and back again: the segment knows it still. */
	put_file(s, "ration.yaml", "limits: {api: 9/min}\n");
	json_decref(ok(s, "reload", NULL));
	put_file(s, "ration.yaml", "limits: {seats: 5/min, api: 9/min}\n");
	assert_refused(s, "reload", NULL, "limit seats of rates, expected of leases");
	assert_int_equal(stop(s, SIGTERM), 0);
	spawn(s, NULL);
	assert_true(wait_log(s, "give it another name"));
	assert_int_equal(reap(s), 1);
	put_file(s, "ration.yaml", text);
	start(s);
	assert_rates(s, "seats", "5 concurrent", NULL);
	assert_int_equal(number(s, "status", "changes"), 2);
}

/* Into the state of a rationd that does not run. */
static void
sql(const struct server *s, const char *text)
{
	char path[256];
	sqlite3 *db;

	path_in(s, "default.db", path, sizeof(path));
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* Thousands of them, and files large enough that compiling takes time. */
static void
test_dormant_many(void **state)
{
	struct server *s = *state;

	start(s);
	assert_int_equal(stop(s, SIGTERM), 0);
	sql(s,
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000)"
	    " INSERT INTO change (kind, limit_name, key, plan, mode, rates, share_num, share_den,"
	    " at, who, reason) SELECT 1, 'gone', CAST('k' || i AS BLOB), '', 0, '1/s', 0, 0, 1,"
	    " 'ann', '' FROM n");
	put_large(s, "slow: 5/24h", 20000);
	start(s);
	assert_true(cpu_ms(s->pid) < 5000);
	assert_int_equal(number(s, "status", "changes"), 9000);
	json_decref(ok(s, "set", "{'limit':'slow','rates':'7/24h'}"));
}

static unsigned
descriptors(pid_t pid)
{
	char path[64];
	unsigned n = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	assert_non_null(d);
	while (readdir(d) != NULL)
		n++;
	(void)closedir(d);
	return n;
}

/* What is done over and over, and goes wrong over and over, leaves nothing behind. */
static void
rounds(struct server *s, int n)
{
	for (int i = 0; i < n; i++) {
		int fd = dial(s);

		put_large(s, "slow: 5/24h", 3000 + i % 2);
		assert_int_equal(code(call_fd(fd, "reload", "{'dry_run':true}")), 0);
		assert_int_equal(code(call_fd(fd, "reload", NULL)), 0);
		assert_int_equal(code(call_fd(fd, "set", "{'limit':'slow','rates':'x'}")), -32003);
		assert_int_equal(code(call_fd(fd, "set", "{'limit':'slow','rates':'9/d'}")), 0);
		assert_int_equal(code(call_fd(fd, "set",
				     "{'limit':'slow','rates':'9/d',"
				     "'expect':0}")),
		    -32002);
		assert_int_equal(code(call_fd(fd, "unset", "{'limit':'slow'}")), 0);
		assert_int_equal(code(call_fd(fd, "unset", "{'limit':'slow'}")), -32004);
		assert_int_equal(code(call_fd(fd, "reset", "{'limit':'slow','key':'x'}")), -32004);
		assert_int_equal(code(call_fd(fd, "audit", NULL)), 0);
		assert_int_equal(code(call_fd(fd, "diff_yaml", NULL)), 0);
		assert_int_equal(code(call_fd(fd, "watch", NULL)), 0);
		put_file(s, "ration.yaml", "limits: {slow: 1/parsec}\n");
		assert_true(put(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"reload\"}\nhalf", 40));
		(void)close(fd);
		s->len = 0; /* the log is only waited for */
	}
}

static void
test_no_growth(void **state)
{
	struct server *s = *state;
	unsigned files;
	long kb;

	start(s);
	rounds(s, 20);
	assert_int_equal(number(s, "status", "changes"), 0);
	files = descriptors(s->pid);
	kb = resident_kb(s->pid);
	rounds(s, 60);
	assert_int_equal(number(s, "status", "changes"), 0);
	print_message("%u descriptors, then %u; %ld kB, then %ld\n", files, descriptors(s->pid), kb,
	    resident_kb(s->pid));
	/* Some of the last connections may not be closed yet; 60 rounds would leave 60. */
	assert_true(descriptors(s->pid) < files + 20);
	assert_true(resident_kb(s->pid) < kb + 2048);
}

/* ---- durability ---- */

/* The trail is cut at its end, with the next entry. */
static void
test_audit_pruned(void **state)
{
	struct server *s = *state;
	char batch[8192];
	int fd, n = 0;
	json_t *j;

	start(s);
	assert_int_equal(stop(s, SIGTERM), 0);
	sql(s,
	    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100500)"
	    " INSERT INTO audit (at, who, uid, pid, action, target, old, new, reason)"
	    " SELECT 1, 'ann', 0, 0, 'set', 'api', '', '', '' FROM n");
	start(s);
	json_decref(ok(s, "set", "{'limit':'api','rates':'7/24h'}"));
	j = ok(s, "audit", "{'limit_n':1}");
	assert_int_equal(json_integer_value(json_object_get(
			     json_array_get(json_object_get(j, "entries"), 0), "id")),
	    100501);
	json_decref(j);
	/* A batch of long answers is cut off. */
	fd = dial(s);
	for (int i = 0; i < 64; i++)
		n += snprintf(batch + n, sizeof(batch) - (size_t)n,
		    "%c{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"audit\",\"params\":"
		    "{\"limit_n\":1000}}",
		    i == 0 ? '[' : ',');
	assert_true(put(fd, batch, (size_t)n) && put(fd, "]\n", 2));
	j = get(fd);
	(void)close(fd);
	assert_int_equal(json_array_size(j), 64);
	assert_non_null(json_object_get(json_array_get(j, 0), "result"));
	assert_int_equal(code(json_incref(json_array_get(j, 63))), -32600);
	json_decref(j);
	assert_int_equal(stop(s, SIGTERM), 0);
	/* Fails where the count is another. */
	sql(s,
	    "CREATE TEMP TABLE t (n INTEGER CHECK (n = 100000));"
	    "INSERT INTO t SELECT count(*) FROM audit; DELETE FROM t;"
	    "CREATE TEMP TABLE u (n INTEGER CHECK (n = 502)); INSERT INTO u SELECT min(id) FROM "
	    "audit");
}

/* Killed at any moment: what was answered is there, what is there was asked for. */
static void
test_kill_loop(void **state)
{
	struct server *s = *state;
	int acked = 0, asked = 0;
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	for (int round = 0; round < 20; round++) {
		struct timespec when = { 0, 0 };
		pid_t killer;
		int fd;

		start(s);
		if (asked > 0) {
			json_t *j = ok(s, "changes", NULL), *one;
			char text[32];
			int got = 0;

			one = json_array_get(json_object_get(j, "changes"), 0);
			(void)snprintf(text, sizeof(text), "%s",
			    json_string_value(json_array_get(json_object_get(one, "rates"), 0)));
			got = atoi(text);
			assert_in_range(got, acked, asked);
			json_decref(j);
			j = ok(s, "audit", "{'limit_n':1}");
			one = json_array_get(json_object_get(j, "entries"), 0);
			assert_int_equal(atoi(json_string_value(json_object_get(one, "new"))), got);
			json_decref(j);
			(void)snprintf(text, sizeof(text), "%d/hour", got);
			assert_rates(s, "api", text, NULL);
			acked = got;
		}
		when.tv_nsec = (long)(rand_r(&seed) % 40) * 1000000;
		killer = fork();
		assert_true(killer >= 0);
		if (killer == 0) {
			(void)nanosleep(&when, NULL);
			(void)kill(s->pid, SIGKILL);
			_exit(0);
		}
		fd = dial(s);
		for (;;) {
			char params[80];
			json_t *j;

			(void)snprintf(params, sizeof(params),
			    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set\",\"params\":");
			assert_true(asked < 9000000);
			asked = asked < acked ? acked + 1 : asked + 1;
			char line[256];
			int n = snprintf(line, sizeof(line),
			    "%s{\"limit\":\"api\",\"rates\":\"%d/h\"}}\n", params, asked);

			if (!put(fd, line, (size_t)n) || (j = get(fd)) == NULL)
				break;
			assert_int_equal(code(j), 0);
			acked = asked;
		}
		(void)close(fd);
		assert_int_equal(waitpid(killer, NULL, 0), killer);
		assert_int_equal(reap(s), -SIGKILL);
	}
	print_message("%d changes acknowledged\n", acked);
	assert_true(acked > 0);
}

/* No room on the disk: refused, and the policy is the old one. */
static void
test_not_durable(void **state)
{
	struct server *s = *state;
	struct rlimit old, none;

	start(s);
	json_decref(ok(s, "set", "{'limit':'api','rates':'10/min'}"));
	assert_int_equal(prlimit(s->pid, RLIMIT_FSIZE, NULL, &old), 0);
	none = old;
	none.rlim_cur = 1;
	assert_int_equal(prlimit(s->pid, RLIMIT_FSIZE, &none, NULL), 0);
	assert_int_equal(code(call(s, "set", "{'limit':'api','rates':'20/min'}")), -32603);
	assert_int_equal(code(call(s, "mode", "{'all':true,'mode':'off'}")), -32603);
	assert_int_equal(code(call(s, "reload", NULL)), -32603);
	assert_rates(s, "api", "10/min", NULL);
	assert_int_equal(prlimit(s->pid, RLIMIT_FSIZE, &old, NULL), 0);
	json_decref(ok(s, "set", "{'limit':'api','rates':'30/min'}"));
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	start(s);
	assert_rates(s, "api", "30/min", NULL);
}

/* A database of somebody else's, or from a later version. */
static void
test_foreign_state(void **state)
{
	struct server *s = *state;

	put_file(s, "default.db",
	    "this is no database, but it is long enough to be looked at: "
	    "one hundred bytes make a header of SQLite and here they are");
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "default.db"));
	assert_false(exists(s, "default.counters"));
}

int
main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_policy, teardown)
	const struct CMUnitTest tests[] = {
		T(test_compare_and_set),
		T(test_all_changes),
		T(test_reset),
		T(test_temporary),
		T(test_month_ends),
		T(test_table_full),
		T(test_reload),
		T(test_not_turned),
		T(test_dormant),
		T(test_dormant_many),
		T(test_audit_pruned),
		T(test_no_growth),
		T(test_hostile_keys),
		T(test_kill_loop),
		T(test_not_durable),
		T(test_foreign_state),
	};
#undef T
	struct rlimit files;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_changes RATIOND [TEST]\n");
		return 2;
	}
	program = argv[1];
	if (argc > 2)
		cmocka_set_test_filter(argv[2]);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 1024) {
		files.rlim_cur = files.rlim_max < 1024 ? files.rlim_max : 1024;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
