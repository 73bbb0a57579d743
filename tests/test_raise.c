/*
 * test_raise.c - raises: asked for by anybody in the group, decided by admins, while traffic
 * runs, by two at once, and with rationd killed in between.
 */
#include "command.h"
#include "traffic.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NOBODY_ID 65534
#define RACES 12
#define KILLS 16
#define TAKERS 4

static const char policy[] =
    "%s" /* groups */
    "plans: [standard, business]\n"
    "environments: {production: 1, sandbox: 0.1}\n"
    "defaults: {plan: standard, environment: production, timezone: UTC}\n"
    "limits:\n"
    "  api: {rates: 50/24h}\n"
    "  calls: {per: min, plans: [100, 300]}\n"
    "  seats: 3 concurrent\n"
    "  retention: {value: 12 months}\n"
    "requests:\n"
    "  answer: {business: 1}\n"
    "  default: 2\n"
    "  timezone: Europe/Madrid\n"
    "  eligible: {days: 30, environment: production, customers: 5, requests: 10k/day}\n";

static int
begin_with(void **state, const char *groups)
{
	static const char *const sandbox[] = { "--sandbox", NULL };
	char text[2048];
	struct server *s;
	int e = setup(state);

	if (e != 0)
		return e;
	s = *state;
	(void)snprintf(text, sizeof(text), policy, geteuid() == 0 ? groups : "");
	put_file(s, "ration.yaml", text);
	start_with(s, sandbox);
	return 0;
}

/* nobody is in the group, and no admin. */
static int
begin(void **state)
{
	return begin_with(state, "group: nogroup\n");
}

/* nobody is an admin. */
static int
begin_admins(void **state)
{
	return begin_with(state, "group: nogroup\nadmin_group: nogroup\n");
}

static int
end(void **state)
{
	traffic_kill();
	return teardown(state);
}

/* ---- as somebody else ---- */

/* `ration` as a user with this id: started; out and err are memory. */
struct other {
	pid_t pid;
	int out, err;
};

static struct other
launch_as(const struct server *s, uid_t uid, const char *const *args)
{
	struct other o = { .out = memfd_create("out", 0), .err = memfd_create("err", 0) };
	int exe = open(command, O_RDONLY); /* the tree may lie where nobody may look */
	const char *argv[24] = { "ration" };
	char dir[128];

	for (int n = 1; n < 23 && args[n - 1] != NULL; n++)
		argv[n] = args[n - 1];
	(void)snprintf(dir, sizeof(dir), "RATION_DIR=%s", s->dir);
	o.pid = fork();
	assert_true(o.pid >= 0);
	if (o.pid == 0) {
		char *const env[] = { dir, (char *)(uintptr_t) "PATH=/usr/bin:/bin", NULL };
		gid_t gid = uid == 0 ? 0 : NOBODY_ID;

		(void)dup2(o.out, 1);
		(void)dup2(o.err, 2);
		if (uid != 0 && (setgroups(0, NULL) != 0 || setgid(gid) != 0 || setuid(uid) != 0))
			_exit(98);
		(void)fexecve(exe, (char **)(uintptr_t)argv, env);
		_exit(99);
	}
	(void)close(exe);
	return o;
}

/* Its end, into `ran`. */
static int
ended_as(struct other *o)
{
	ssize_t n;
	int status;

	assert_int_equal(waitpid(o->pid, &status, 0), o->pid);
	n = pread(o->out, ran.out, sizeof(ran.out) - 1, 0);
	ran.out[n > 0 ? n : 0] = '\0';
	n = pread(o->err, ran.err, sizeof(ran.err) - 1, 0);
	ran.err[n > 0 ? n : 0] = '\0';
	(void)close(o->out);
	(void)close(o->err);
	ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return ran.code;
}

#define AS(want, s, uid, ...) \
	do { \
		struct other o_ = \
		    launch_as((s), (uid), (const char *const[]) { __VA_ARGS__, NULL }); \
		if (ended_as(&o_) != (want)) \
			fail_msg( \
			    "exit %d, expected %d\n%s%s", ran.code, (want), ran.out, ran.err); \
	} while (0)

/* ---- what rationd knows ---- */

static void
said(const char *text)
{
	if (strstr(ran.err, text) == NULL && strstr(ran.out, text) == NULL)
		fail_msg("no '%s' in: %s%s", text, ran.out, ran.err);
}

/* A request by its number, new. */
static json_t *
request(const struct server *s, json_int_t number)
{
	json_t *all = ok(s, "requests", "{'all':true,'limit_n':1000}"), *one, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(all, "requests"), i,
	    one) if (json_integer_value(json_object_get(one, "request")) == number) found =
	    json_incref(one);
	json_decref(all);
	assert_non_null(found);
	return found;
}

static void
assert_state(const struct server *s, json_int_t number, const char *want)
{
	json_t *r = request(s, number);

	assert_string_equal(json_string_value(json_object_get(r, "state")), want);
	json_decref(r);
}

/* Audit entries with this action about this request. */
static unsigned
audited(const struct server *s, const char *action, json_int_t number)
{
	json_t *all = ok(s, "audit", "{'limit_n':1000}"), *e;
	unsigned n = 0;
	size_t i;

	json_array_foreach(json_object_get(all, "entries"), i, e) n +=
	    json_integer_value(json_object_get(e, "request")) == number &&
	    strcmp(json_string_value(json_object_get(e, "action")), action) == 0;
	json_decref(all);
	return n;
}

/* Live changes with this id. */
static unsigned
in_force(const struct server *s, json_int_t id)
{
	json_t *all = ok(s, "changes", NULL), *e;
	unsigned n = 0;
	size_t i;

	json_array_foreach(json_object_get(all, "changes"), i, e) n +=
	    json_integer_value(json_object_get(e, "id")) == id;
	json_decref(all);
	return n;
}

static json_int_t
ask(const struct server *s, const char *limit, const char *key, const char *to)
{
	json_t *j;
	json_int_t n;

	RUN(0, s, "request", limit, "--key", key, "--to", to, "--reason", "more", "--volume", "20k",
	    "--json");
	j = json_loads(ran.out, 0, NULL);
	n = json_integer_value(json_object_get(j, "request"));
	json_decref(j);
	assert_true(n > 0);
	return n;
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

static json_int_t
api_generation(const struct server *s)
{
	json_t *all = ok(s, "limits", NULL), *one;
	json_int_t n = 0;
	size_t i;

	json_array_foreach(json_object_get(all, "limits"), i,
	    one) if (strcmp(json_string_value(json_object_get(one, "name")), "api") == 0) n =
	    json_integer_value(json_object_get(one, "generation"));
	json_decref(all);
	return n;
}

/* Types of the events about key k, the newest last. */
static void
assert_told(const struct server *s, const char *want)
{
	json_t *all = ok(s, "events", "{'key':'k'}"), *e;
	char types[512] = "";
	size_t i;

	json_array_foreach(json_object_get(all, "events"), i, e)
	{
		const char *type = json_string_value(json_object_get(e, "type"));

		assert_non_null(type);
		if (strcmp(type, "threshold") != 0)
			(void)snprintf(
			    types + strlen(types), sizeof(types) - strlen(types), "%s ", type);
	}
	assert_string_equal(types, want);
	json_decref(all);
}

/* ---- asking ---- */

/* Two business days in Madrid, by the clock on the wall. */
static json_int_t
due_by_hand(time_t t)
{
	struct tm day, tm;
	int seen = 0;

	(void)setenv("TZ", ":Europe/Madrid", 1);
	tzset();
	t -= t % 900;
	(void)localtime_r(&t, &day);
	for (;;) {
		t += 900;
		(void)localtime_r(&t, &tm);
		if (tm.tm_mday == day.tm_mday)
			continue;
		if (seen == 2)
			break;
		day = tm;
		seen += tm.tm_wday >= 1 && tm.tm_wday <= 5;
	}
	(void)unsetenv("TZ");
	tzset();
	return (json_int_t)t;
}

static void
test_ask(void **state)
{
	static const char *const rules[] = { "days", "customers", "requests" };
	struct server *s = *state;
	json_t *r, *list;

	RUN(0, s, "request", "api", "--key", "v_1", "--to", "80/24h", "--reason", "new shop",
	    "--volume", "20k/day from March");
	said("request 1 is recorded");
	said("api of key v_1: 50/24h -> 80/24h, plan standard, by ");
	said("volume: 20k/day from March");
	said(" left");
	r = request(s, 1);
	assert_int_equal(json_integer_value(json_object_get(r, "due")),
	    due_by_hand((time_t)json_integer_value(json_object_get(r, "when"))));
	list = json_object_get(r, "eligible");
	assert_int_equal(json_array_size(list), 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(
		    json_string_value(json_object_get(json_array_get(list, i), "rule")), rules[i]);
	json_decref(r);
	assert_int_equal(audited(s, "request", 1), 0);
	assert_int_equal(admitted(s, "api", "v_1", 60), 50); /* nothing is in force yet */

	/* Another plan has another promise; another environment is said to be one. */
	RUN(0, s, "plan", "v_2", "business");
	RUN(0, s, "env", "v_2", "sandbox");
	RUN(0, s, "request", "calls", "--key", "v_2", "--to", "600/min", "--reason", "x",
	    "--volume", "y", "--json");
	said("\"answer_days\":1,");
	said("\"plan\":\"business\"");
	said("\"now\":\"30/min\"");
	said("it is in sandbox");
	RUN(0, s, "requests");
	said("not met 30 days in production: it is in sandbox");
	assert_true(strstr(ran.out, "1  api") < strstr(ran.out, "2  calls"));

	RUN(0, s, "status");
	said("2 open, the first answer promised within ");
	/* Overdue, when time has passed. */
	RUN(0, s, "clock", "+10d");
	RUN(0, s, "status");
	said("2 open, the first answer overdue by ");
	RUN(0, s, "requests");
	said("overdue by ");
	RUN(0, s, "requests", "-n", "1");
	assert_null(strstr(ran.out, "2  calls"));
}

/* What was used is what is shown of it; the rules decide nothing. */
static void
test_eligible(void **state)
{
	struct server *s = *state;
	char key[16];

	RUN(0, s, "set", "api", "unlimited");
	RUN(0, s, "request", "api", "--key", "v_1", "--to", "80/24h", "--reason", "r", "--volume",
	    "v");
	said("unknown 30 days in production: no use is recorded");
	said("not met 5 active customers: 0 keys v_... in 30 days");
	said("unknown 10000 requests a day: no use is recorded");
	for (int i = 1; i <= 6; i++) {
		(void)snprintf(key, sizeof(key), "v_%d", i);
		assert_int_equal(admitted(s, "api", key, i == 1 ? 12000 : 1), i == 1 ? 12000 : 1);
	}
	assert_int_equal(admitted(s, "calls", "v_1", 7), 7); /* is another limit */
	RUN(0, s, "clock", "+24h");
	assert_int_equal(admitted(s, "api", "v_1", 9000), 9000);
	RUN(0, s, "clock", "+24h");
	RUN(0, s, "requests");
	said("not met 30 days in production: 2");
	said("met     5 active customers: 6 keys v_... in 30 days");
	said("met     10000 requests a day: 10500 on average over 2 days, 12000 on the busiest");
	RUN(0, s, "clock", "+28d");
	RUN(0, s, "requests");
	said("met     30 days in production: 30");
	said("not met 10000 requests a day: 700 on average over 30 days, 12000 on the busiest");
	/* Moved into it later: since then. */
	RUN(0, s, "env", "v_1", "sandbox");
	RUN(0, s, "requests");
	said("not met 30 days in production: it is in sandbox");
	RUN(0, s, "env", "v_1", "production");
	RUN(0, s, "clock", "+3d");
	RUN(0, s, "requests");
	said("not met 30 days in production: 3");
	RUN(0, s, "approve", "1", "--expect", text_of(api_generation(s)));
}

static void
test_bad_input(void **state)
{
	static char long_text[300];
	struct server *s = *state;

	RUN(2, s, "request", "api", "--to", "80/24h", "--reason", "r", "--volume", "v");
	said("--key: missing");
	RUN(2, s, "request", "api", "--key", "k", "--reason", "r", "--volume", "v");
	said("--to: missing");
	RUN(2, s, "request", "api", "--key", "k", "--to", "80/24h", "--volume", "v");
	said("--reason: missing");
	RUN(2, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason", "r");
	said("--volume: missing");
	RUN(2, s, "request", "api", "--key", "k\\x", "--to", "80/24h", "--reason", "r", "--volume",
	    "v");
	RUN(1, s, "request", "apis", "--key", "k", "--to", "80/24h", "--reason", "r", "--volume",
	    "v");
	said("no limit 'apis'");
	RUN(1, s, "request", "api", "--key", "k", "--to", "80 a day", "--reason", "r", "--volume",
	    "v");
	said("found \"80 a day\", expected");
	RUN(1, s, "request", "api", "--key", "k", "--to", "50/24h", "--reason", "r", "--volume",
	    "v");
	said("the key has 50/24h already");
	RUN(1, s, "request", "seats", "--key", "k", "--to", "5/min", "--reason", "r", "--volume",
	    "v");
	said("the limit is of leases");
	RUN(1, s, "request", "api", "--key", "k", "--to", "1/min, 2/min, 3/min, 4/min, 5/min",
	    "--reason", "r", "--volume", "v");
	memset(long_text, 'x', sizeof(long_text) - 1);
	RUN(2, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason", long_text,
	    "--volume", "v");
	said("reason: expected");
	RUN(2, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason", "r", "--volume",
	    long_text);
	said("volume: expected 1 to 255 bytes");
	RUN(2, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason", "a\033[2Jb",
	    "--volume", "v");
	said("without control characters");
	RUN(2, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason", "", "--volume",
	    "v");
	RUN(0, s, "requests", "--all");
	said("nothing was ever asked for");
	RUN(1, s, "approve", "7");
	said("there is no request 7");
	RUN(2, s, "approve", "x");
	RUN(2, s, "approve", "0");
	RUN(2, s, "requests", "-n", "0");
	assert_int_equal(code(call(s, "approve", "{}")), -32602);
	assert_int_equal(code(call(s, "request", "{'limit':'api','key':'k'}")), -32602);
	assert_int_equal(code(call(s, "request", "{'limit':'api','plan':'k'}")), -32602);
	/* Only looking. */
	RUN(0, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason", "r", "--volume",
	    "v", "--dry-run");
	RUN(0, s, "requests", "--all");
	said("nothing was ever asked for");
}

/* Hostile text and keys are shown escaped, whoever shows them. */
static void
test_hostile(void **state)
{
	struct server *s = *state;

	(void)ask(s, "api", "a\\033\\134\\040b\\377", "80/24h");
	RUN(0, s, "requests");
	said("key a\\033\\134\\040b\\377: ");
	assert_null(strchr(ran.out, '\033'));
	RUN(0, s, "request", "api", "--key", "k", "--to", "80/24h", "--reason",
	    "\302\2332J%s%n'; DROP TABLE request; --", "--volume", "\\\"}");
	RUN(0, s, "requests");
	said("\\302\\2332J%s%n'; DROP TABLE request; --");
	assert_null(strstr(ran.out, "\302\233"));
	RUN(0, s, "approve", "1", "--reason", "\302\2332J");
	RUN(0, s, "approve", "2");
	RUN(0, s, "audit");
	assert_null(strstr(ran.out, "\302\233"));
	assert_int_equal(admitted(s, "api", "a\033\\ b\377", 100), 80);
	RUN(0, s, "diff");
	assert_null(strstr(ran.out, "\302\233"));
}

/* Values and leases can be asked for like rates. */
static void
test_kinds(void **state)
{
	struct server *s = *state;

	RUN(0, s, "approve", text_of(ask(s, "retention", "k", "24 months")));
	RUN(0, s, "show", "retention", "k");
	said("24 months");
	RUN(0, s, "approve", text_of(ask(s, "seats", "k", "5 concurrent")));
	RUN(0, s, "show", "seats", "k");
	said("5 concurrent");
	RUN(0, s, "approve", text_of(ask(s, "calls", "k", "200/min, 20/s")));
	RUN(0, s, "show", "calls", "k");
	said("200/min");
}

static void
test_bounds(void **state)
{
	struct server *s = *state;
	char params[256];

	for (int i = 0; i < 20; i++) { /* key k3 is request 4 */
		(void)snprintf(params, sizeof(params),
		    "{'limit':'api','key':'k%d','to':'80/24h','reason':'r','volume':'v'}", i);
		json_decref(ok(s, "request", params));
	}
	RUN(1, s, "request", "api", "--key", "k3", "--to", "90/24h", "--reason", "r", "--volume",
	    "v");
	said("request 4 is open for the same limit and key");
	RUN(1, s, "request", "api", "--key", "new", "--to", "90/24h", "--reason", "r", "--volume",
	    "v");
	said("has 20 open requests, the most there can be");
	RUN(0, s, "decline", "4", "--reason", "enough");
	RUN(0, s, "request", "api", "--key", "k3", "--to", "90/24h", "--reason", "r", "--volume",
	    "v");
	/* Declining makes room again, but only so often in a day. */
	for (int i = 21; i < 100; i++) {
		RUN(0, s, "decline", text_of(i), "--reason", "enough");
		(void)ask(s, "api", "k3", "90/24h");
	}
	RUN(0, s, "decline", "100", "--reason", "enough");
	RUN(1, s, "request", "api", "--key", "k3", "--to", "90/24h", "--reason", "r", "--volume",
	    "v");
	said("has asked 100 times in 24 hours");
	RUN(0, s, "clock", "+25h");
	(void)ask(s, "api", "k3", "90/24h");
}

/* ---- who may ---- */

static void
test_ordinary_user(void **state)
{
	struct server *s = *state;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(s->dir, 0711), 0);
	AS(0, s, NOBODY_ID, "request", "api", "--key", "k", "--to", "80/24h", "--reason", "r",
	    "--volume", "v");
	said("by nobody");
	AS(0, s, NOBODY_ID, "requests");
	said("api of key k: 50/24h -> 80/24h");
	AS(1, s, NOBODY_ID, "approve", "1");
	said("nobody may not make changes");
	assert_state(s, 1, "open");
	(void)ask(s, "api", "other", "80/24h");
	AS(1, s, NOBODY_ID, "decline", "2", "--reason", "mine first");
	said("nobody may not decline what root asked for");
	AS(1, s, NOBODY_ID, "undo", "1");
	said("nobody may not make changes");
	RUN(0, s, "approve", "2");
	AS(1, s, NOBODY_ID, "undo", "1");
	assert_state(s, 2, "approved");
	/* His own he may withdraw; that is no change. */
	AS(0, s, NOBODY_ID, "decline", "1");
	said("withdrawn");
	assert_state(s, 1, "withdrawn");
	assert_int_equal(audited(s, "decline", 1), 0);
	AS(1, s, NOBODY_ID, "decline", "1");
	said("request 1 was withdrawn by nobody at ");
	RUN(1, s, "approve", "1");
	said("request 1 was withdrawn by nobody at ");
	assert_int_equal(admitted(s, "api", "k", 100), 50);
}

/* Asks as fast as it can, as somebody who is no admin, until that is refused. */
static _Noreturn void
ask_without_end(const struct server *s)
{
	static const char params[] =
	    "{'limit':'api','key':'k','to':'80/24h','reason':'r','volume':'v','dry_run':true}";
	const char *said = NULL;
	json_t *j;
	int fd;

	if (setgroups(0, NULL) != 0 || setgid(NOBODY_ID) != 0 || setuid(NOBODY_ID) != 0)
		_exit(98);
	fd = dial(s);
	for (int i = 0; said == NULL && i < 5000; i++) {
		j = json_object_get(call_fd(fd, "request", params), "error");
		said = json_string_value(json_object_get(j, "message"));
	}
	_exit(
	    said != NULL && strncmp(said, "too much is asked for just now: try again in ", 45) == 0
		? 0
		: 1);
}

/* To check a request takes a compilation of the policy: nobody may have that without end. */
static void
test_cost(void **state)
{
	struct server *s = *state;
	char path[256];
	pid_t pid;
	int status;
	FILE *f;

	if (geteuid() != 0)
		skip();
	path_in(s, "conf.d", path, sizeof(path));
	assert_int_equal(mkdir(path, 0755), 0);
	path_in(s, "conf.d/keys.yaml", path, sizeof(path));
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fputs("assign:\n", f);
	for (int i = 0; i < 30000; i++)
		(void)fprintf(f, "  \"customer:%d\": business\n", i);
	assert_int_equal(fclose(f), 0);
	RUN(0, s, "reload");
	assert_int_equal(chmod(s->dir, 0711), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		ask_without_end(s);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* Admins go on. */
	(void)ask(s, "api", "k", "80/24h");
	RUN(0, s, "requests");
}

/* ---- deciding while traffic runs ---- */

static void
test_traffic(void **state)
{
	struct server *s = *state;
	struct traffic *t = traffic_start(s, "api", "k", TAKERS, 50);
	json_int_t first, second, id;
	json_t *r;

	traffic_settle(t, 50);
	first = ask(s, "api", "k", "80/24h");
	RUN(0, s, "approve", text_of(first), "--dry-run");
	RUN(0, s, "decline", text_of(first), "--reason", "no", "--dry-run");
	assert_state(s, first, "open");
	traffic_settle(t, 50);
	traffic_changing(t);
	RUN(0, s, "approve", text_of(first), "--for", "2h", "--reason", "for the weekend");
	traffic_changed(t, 80);
	said("request 1 (api key k): 50/24h -> 80/24h until ");
	traffic_settle(t, 80);
	assert_state(s, first, "approved");
	assert_int_equal(audited(s, "approve", first), 1);
	RUN(1, s, "decline", text_of(first), "--reason", "no");
	said("request 1 was approved by ");
	said("for the weekend");

	/* Taken back, and again. */
	traffic_changing(t);
	RUN(0, s, "undo", "1", "--reason", "wrong customer");
	traffic_changed(t, 50);
	said("undo of 1 (api key k, request 1): 80/24h until ");
	traffic_settle(t, 80);
	assert_state(s, first, "open");
	traffic_changing(t);
	RUN(0, s, "undo", "2");
	traffic_changed(t, 80);
	traffic_settle(t, 80);
	assert_state(s, first, "approved");
	RUN(0, s, "audit");
	said(": wrong customer [undone by 3]"); /* entry 2; so entry 1 counts again */
	assert_null(strstr(ran.out, "[undone by 2]"));

	/* It ends by itself. */
	traffic_changing(t);
	RUN(0, s, "clock", "+2h1s");
	traffic_changed(t, 50);
	traffic_settle(t, 80);
	assert_state(s, first, "approved");
	RUN(1, s, "undo", "1");

	/* The next one is declined: nothing changes; that is taken back, and it is approved. */
	second = ask(s, "api", "k", "120/24h");
	RUN(0, s, "decline", text_of(second), "--reason", "below the plan");
	assert_state(s, second, "declined");
	traffic_settle(t, 80);
	id = number(s, "status", "generation");
	RUN(0, s, "audit", "-n", "1", "--json");
	said("\"action\":\"decline\"");
	r = json_loads(ran.out, 0, NULL);
	RUN(0, s, "undo",
	    text_of(json_integer_value(
		json_object_get(json_array_get(json_object_get(r, "entries"), 0), "id"))));
	said("declined -> open");
	json_decref(r);
	assert_true(number(s, "status", "generation") >= id);
	assert_state(s, second, "open");
	traffic_changing(t);
	RUN(0, s, "approve", text_of(second));
	traffic_changed(t, 120);
	traffic_settle(t, 120);
	/* Each was told of: asked, granted, open again, granted again; asked, refused, and so on.
	 */
	assert_told(s, "request approved request approved request declined request approved ");
	/* Nothing that was used is lost on the way. */
	assert_int_equal(used(s, "api", "k"), 120);
	traffic_stop(t);
}

/* Somebody changed it after it was asked for: that is said, and takes a word. */
static void
test_changed_meanwhile(void **state)
{
	struct server *s = *state;
	json_int_t n = ask(s, "api", "k", "80/24h");

	RUN(0, s, "set", "api", "60/24h", "--key", "k");
	RUN(1, s, "approve", text_of(n));
	said("changed since request 1 was made: the key has 60/24h now, it had 50/24h then");
	assert_state(s, n, "open");
	assert_int_equal(code(call(s, "approve", "{'request':1}")), -32002);
	RUN(1, s, "approve", text_of(n), "--expect", "999");
	assert_state(s, n, "open");
	RUN(0, s, "approve", text_of(n), "--expect", text_of(api_generation(s)));
	assert_state(s, n, "approved");
	/* Back to what was there, not to the files. */
	RUN(0, s, "undo", "2");
	said("80/24h -> 60/24h");
	/* A limit that the files no longer have. */
	put_file(s, "ration.yaml", "limits: {calls: 5/min}\n");
	RUN(0, s, "reload");
	RUN(1, s, "approve", text_of(n));
	said("the policy has no limit 'api' any more");
}

/* What was asked for again cannot be opened twice. */
static void
test_reopened_twice(void **state)
{
	struct server *s = *state;
	json_int_t n = ask(s, "api", "k", "80/24h");

	RUN(0, s, "decline", text_of(n), "--reason", "no");
	(void)ask(s, "api", "k", "90/24h");
	RUN(1, s, "undo", "1");
	said("request 1 cannot be opened again: request 2 is open for the same limit and key");
	assert_state(s, n, "declined");
	RUN(0, s, "approve", "2");
	RUN(0, s, "undo", "1");
	assert_state(s, n, "open");
	RUN(1, s, "undo", "1");
	said("already undone by entry 3 (undo by ");
	/* Once it is decided another way, the decline does not come back. */
	RUN(0, s, "approve", text_of(n), "--expect", text_of(api_generation(s)));
	RUN(1, s, "undo", "3");
	said("changed meanwhile by entry 4 (approve by ");
	assert_state(s, n, "approved");
}

/* ---- two admins at once ---- */

static void
race(struct server *s, const char *const *one, const char *const *other, uid_t uid)
{
	struct other a = launch_as(s, 0, one), b = launch_as(s, uid, other);
	int codes[2];

	codes[0] = ended_as(&a);
	if (codes[0] != 0)
		said(" by ");
	codes[1] = ended_as(&b);
	if (codes[1] != 0)
		said(" by ");
	if (codes[0] + codes[1] != 1)
		fail_msg(
		    "exit %d and %d, expected one of them to win: %s", codes[0], codes[1], ran.err);
}

static void
test_races(void **state)
{
	struct server *s = *state;
	struct traffic *t;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(s->dir, 0711), 0);
	t = traffic_start(s, "api", "busy", TAKERS, 50);
	for (int i = 0; i < RACES; i++) {
		char key[16];
		const char *n, *entry;
		json_int_t number;
		json_t *last;
		bool approved;

		(void)snprintf(key, sizeof(key), "r%d", i);
		number = ask(s, "api", key, "80/24h");
		n = text_of(number);
		/* Approved by both, or approved by one and declined by the other. */
		race(s, (const char *const[]) { "approve", n, "--reason", "a", NULL },
		    i % 2 == 0 ? (const char *const[]) { "approve", n, "--reason", "b", NULL }
			       : (const char *const[]) { "decline", n, "--reason", "b", NULL },
		    NOBODY_ID);
		approved = audited(s, "approve", number) == 1;
		assert_int_equal(audited(s, "approve", number) + audited(s, "decline", number), 1);
		assert_state(s, number, approved ? "approved" : "declined");
		assert_int_equal(admitted(s, "api", key, 90), approved ? 80 : 50);
		/* And taken back by both. */
		last = ok(s, "audit", "{'limit_n':1}");
		entry = text_of(json_integer_value(
		    json_object_get(json_array_get(json_object_get(last, "entries"), 0), "id")));
		json_decref(last);
		race(s, (const char *const[]) { "undo", entry, NULL },
		    (const char *const[]) { "undo", entry, NULL }, NOBODY_ID);
		assert_int_equal(audited(s, "undo", number), 1);
		assert_state(s, number, "open");
		assert_int_equal(admitted(s, "api", key, 10), 0);
	}
	traffic_settle(t, 50);
	traffic_stop(t);
}

/* ---- rationd killed in between ---- */

static void
test_kills(void **state)
{
	static const char *const sandbox[] = { "--sandbox", NULL };
	struct server *s = *state;
	unsigned approved = 0, open = 0;

	for (int i = 0; i < KILLS; i++) {
		json_int_t number, change;
		struct other o;
		bool is_approved;
		char key[16];
		json_t *r;

		(void)snprintf(key, sizeof(key), "k%d", i);
		number = ask(s, "api", key, "80/24h");
		o = launch_as(s, geteuid(),
		    (const char *const[]) { "approve", text_of(number), "--reason", "k", NULL });
		(void)usleep((useconds_t)(random() % 5000));
		(void)stop(s, SIGKILL);
		(void)ended_as(&o);
		start_with(s, sandbox);
		r = request(s, number);
		is_approved = strcmp(json_string_value(json_object_get(r, "state")), "open") != 0;
		change =
		    json_integer_value(json_object_get(json_object_get(r, "decided"), "change"));
		/* What was answered holds; all three agree. */
		if (ran.code == 0)
			assert_true(is_approved);
		assert_int_equal(is_approved, audited(s, "approve", number));
		assert_int_equal(is_approved, in_force(s, change));
		assert_int_equal(admitted(s, "api", key, 90), is_approved ? 80 : 50);
		approved += is_approved;
		open += !is_approved;
		json_decref(r);
		if (!is_approved)
			RUN(0, s, "decline", text_of(number), "--reason", "done");
	}
	(void)printf("killed %d times: %u approved, %u still open\n", KILLS, approved, open);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ask, begin, end),
		cmocka_unit_test_setup_teardown(test_eligible, begin, end),
		cmocka_unit_test_setup_teardown(test_bad_input, begin, end),
		cmocka_unit_test_setup_teardown(test_hostile, begin, end),
		cmocka_unit_test_setup_teardown(test_kinds, begin, end),
		cmocka_unit_test_setup_teardown(test_bounds, begin, end),
		cmocka_unit_test_setup_teardown(test_ordinary_user, begin, end),
		cmocka_unit_test_setup_teardown(test_cost, begin, end),
		cmocka_unit_test_setup_teardown(test_traffic, begin, end),
		cmocka_unit_test_setup_teardown(test_changed_meanwhile, begin, end),
		cmocka_unit_test_setup_teardown(test_reopened_twice, begin, end),
		cmocka_unit_test_setup_teardown(test_races, begin_admins, end),
		cmocka_unit_test_setup_teardown(test_kills, begin, end),
	};

	if (argc < 3) {
		(void)fprintf(stderr, "usage: test_raise RATIOND RATION\n");
		return 2;
	}
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
