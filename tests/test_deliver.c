/*
 * test_deliver.c - events are told: to a webhook that stalls, fails, hangs up, is down and comes
 * back; by a rationd that is killed meanwhile; to commands that overrun.  Each event arrives, in
 * order where that is promised, under one id, and nobody waits for anybody else.
 *
 * Usage: test_deliver RATIOND RATION SLOW_NAMES [TEST]
 */
#include "command.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "receiver.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define NUMBERS 4096

/* A rationd and a webhook's receiver. */
struct world {
	struct server *s;
	struct hook *hook;
	int made; /* events */
};
static struct world w;
static const char *slow_names; /* a library */

static int
begin(void **state)
{
	int e = setup(state);

	w.s = *state;
	w.hook = hook_new(SECRET);
	w.made = 0;
	hook_start(w.hook);
	return e;
}

static int
end(void **state)
{
	hook_free(w.hook);
	return teardown(state);
}

/* %d: the hook's port; secrets and scripts are in the directory. */
static void
put_policy(const char *receivers, ...)
{
	char text[4096];
	va_list ap;
	int n;

	n = snprintf(text, sizeof(text), "table: {keys: 1k}\nlimits: {api: 10/min}\ndeliver:\n");
	va_start(ap, receivers);
	(void)vsnprintf(text + n, sizeof(text) - (size_t)n, receivers, ap);
	va_end(ap);
	put_file(w.s, "ration.yaml", text);
}

static void
put_secret(const char *secret)
{
	char path[256];

	put_file(w.s, "secret", secret);
	path_in(w.s, "secret", path, sizeof(path));
	assert_int_equal(chmod(path, 0600), 0);
}

#define HOOK(more) \
	"  - {name: hook, webhook: \"http://127.0.0.1:%d/in\", secret_file: secret" more "}\n"
#define QUICK ", retry: {first: 50ms, most: 200ms}"

/* A command that appends what it is given to a file. */
#define APPEND(more) "  - {name: file, command: [/bin/sh, -c, 'cat >> %s/told']" more "}\n"

/* ---- events ---- */

/* n of them, even: somebody asks for a raise, and it is declined. */
static void
make_events(int n)
{
	int fd = dial(w.s);
	char params[160];

	for (int i = 0; i < n / 2; i++) {
		int number = w.made / 2 + 1;

		(void)snprintf(params, sizeof(params),
		    "{'limit':'api','key':'k%d','to':'20/min','reason':'r','volume':'v'}", number);
		assert_int_equal(code(call_fd(fd, "request", params)), 0);
		(void)snprintf(params, sizeof(params), "{'request':%d,'reason':'no'}", number);
		assert_int_equal(code(call_fd(fd, "decline", params)), 0);
		w.made += 2;
	}
	(void)close(fd);
}

/* A number of a receiver in `ration status`; text: of a member that is text. */
static json_t *
receiver_of(const char *name)
{
	json_t *j = ok(w.s, "status", NULL), *one, *found = NULL;
	size_t i;

	json_array_foreach(json_object_get(j, "receivers"), i,
	    one) if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) found =
	    json_incref(one);
	json_decref(j);
	return found;
}

static json_int_t
says(const char *name, const char *member)
{
	json_t *j = receiver_of(name);
	json_int_t n = j != NULL ? json_integer_value(json_object_get(j, member)) : -1;

	json_decref(j);
	return n;
}

static void
wait_says(const char *name, const char *member, json_int_t want)
{
	for (int64_t until = mono_ms() + WAIT_MS; says(name, member) != want;) {
		if (mono_ms() > until)
			fail_msg("%s: %s is %lld, expected %lld", name, member,
			    (long long)says(name, member), (long long)want);
		(void)poll(NULL, 0, 10);
	}
}

/* How many of the events have been confirmed by the hook; each counts once. */
static int
confirmed(void)
{
	static bool seen[NUMBERS];
	int n = 0;

	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < w.hook->n; i++) {
		const struct got *g = &w.hook->got[i];

		if (g->confirmed && g->number < NUMBERS && !seen[g->number]) {
			seen[g->number] = true;
			n++;
		}
	}
	return n;
}

static void
wait_confirmed(int want)
{
	for (int64_t until = mono_ms() + WAIT_MS; confirmed() < want; (void)poll(NULL, 0, 10))
		if (mono_ms() > until)
			fail_msg("%d of %d events were confirmed", confirmed(), want);
}

static void
wait_got(uint32_t want)
{
	for (int64_t until = mono_ms() + WAIT_MS; w.hook->n < want; (void)poll(NULL, 0, 5))
		if (mono_ms() > until)
			fail_msg("%u of %u requests came", (unsigned)w.hook->n, want);
}

/*
 * One id for each event, of its own; whole, signed, none but those that were made.  In order: what
 * comes for the first time does; and again comes only the last one, or, after a kill, what was
 * confirmed just before.
 */
static void
check_got(bool killed)
{
	static char ids[NUMBERS][48];
	int64_t last = 0;

	memset(ids, 0, sizeof(ids));
	assert_int_equal(w.hook->wrong, 0);
	for (uint32_t i = 0; i < w.hook->n; i++) {
		const struct got *g = &w.hook->got[i];

		assert_true(g->number >= 2 && g->number < w.made + 2);
		assert_true(g->whole);
		assert_true(g->signed_right);
		if (ids[g->number][0] != '\0')
			assert_string_equal(g->id, ids[g->number]);
		else
			assert_true(g->number > last);
		assert_true(killed || g->number >= last);
		last = g->number > last ? g->number : last;
		(void)snprintf(ids[g->number], sizeof(ids[0]), "%s", g->id);
	}
	for (int a = 2; a < w.made + 2; a++)
		for (int b = 2; b < a; b++)
			if (ids[a][0] != '\0')
				assert_string_not_equal(ids[a], ids[b]);
}

/* Lines of a file, 0: it is not there. */
static int
lines(const char *name)
{
	char path[256];
	FILE *f;
	int n = 0;

	path_in(w.s, name, path, sizeof(path));
	f = fopen(path, "r");
	if (f == NULL)
		return 0;
	for (int ch; (ch = getc(f)) != EOF;)
		n += ch == '\n';
	(void)fclose(f);
	return n;
}

static void
wait_lines(const char *name, int want, int ms)
{
	for (int64_t until = mono_ms() + ms; lines(name) < want; (void)poll(NULL, 0, 10))
		if (mono_ms() > until)
			fail_msg("%d of %d lines in %s", lines(name), want, name);
}

/* ---- tests ---- */

static void
test_told(void **state)
{
	json_t *e, *told, *list;
	int fd;

	put_secret(SECRET "\n");
	put_policy(HOOK("") APPEND(", at_once: 1"), w.hook->port, w.s->dir);
	start(w.s);
	fd = watch(w.s);
	make_events(20);
	wait_confirmed(20);
	check_got(false);
	assert_int_equal(w.hook->n, 20);
	wait_lines("told", 20, WAIT_MS);
	wait_says("hook", "delivered", 20);
	wait_says("file", "delivered", 20);
	assert_int_equal(says("hook", "queued"), 0);
	/* `ration watch` has the same object. */
	e = get(fd);
	assert_string_equal(json_string_value(json_object_get(json_object_get(e, "params"), "id")),
	    w.hook->got[0].id);
	json_decref(e);
	(void)close(fd);
	/* And so has the list, the newest last. */
	RUN(0, w.s, "events", "k10", "--json");
	list = json_loads(ran.out, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(list, "events")), 2);
	e = json_array_get(json_object_get(list, "events"), 1);
	assert_string_equal(
	    json_string_value(json_object_get(e, "id")), w.hook->got[w.hook->n - 1].id);
	told = json_object_get(e, "told");
	assert_string_equal(
	    json_string_value(json_object_get(json_object_get(told, "hook"), "state")),
	    "delivered");
	json_decref(list);
	RUN(0, w.s, "events", "-n", "3");
	assert_non_null(strstr(ran.out, "hook delivered"));
	RUN(0, w.s, "status");
	assert_non_null(strstr(ran.out, "hook: 20 delivered, 0 queued"));
}

static void
test_only(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(", only: [declined]") APPEND(", only: [threshold, request]"), w.hook->port,
	    w.s->dir);
	start(w.s);
	make_events(10);
	wait_says("hook", "delivered", 5);
	wait_says("file", "delivered", 5);
	for (uint32_t i = 0; i < w.hook->n; i++)
		assert_int_equal(w.hook->got[i].number % 2, 1);
	assert_int_equal(lines("told"), 5);
}

/* The other receiver is told at once, and whoever asks is answered. */
static void
others_are_served(int n)
{
	int before = lines("told");
	int64_t started = mono_ms();

	make_events(n);
	assert_true(mono_ms() - started < 2000);
	wait_lines("told", before + n, 2000);
}

/* A receiver that takes its time, all of it, delays nobody. */
static void
test_stalled(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(", timeout: 1min") APPEND(""), w.hook->port, w.s->dir);
	start(w.s);
	w.hook->manner = MANNER_STALL;
	make_events(2);
	wait_got(1);
	others_are_served(6);
	assert_int_equal(w.hook->n, 1);
	assert_int_equal(says("hook", "under_way"), 1);
}

static void
test_trouble(void **state)
{
	static const enum manner manners[] = { MANNER_STALL, MANNER_FAIL, MANNER_HANG_UP,
		MANNER_MOVED, MANNER_STALL };

	put_secret(SECRET);
	put_policy(HOOK(QUICK ", timeout: 400ms") APPEND(""), w.hook->port, w.s->dir);
	start(w.s);
	for (size_t i = 0; i < sizeof(manners) / sizeof(manners[0]); i++) {
		uint32_t before = w.hook->n;
		int had;

		w.hook->manner = (int)manners[i];
		others_are_served(6);
		wait_got(before + 3); /* tried, and again, and again */
		had = confirmed();
		others_are_served(2);
		assert_int_equal(confirmed(), had);
		assert_true(says("hook", "queued") >= 8);
		w.hook->manner = MANNER_CONFIRM;
		wait_confirmed(w.made);
	}
	wait_says("hook", "queued", 0);
	/* Nobody listens; then somebody does again. */
	hook_stop(w.hook);
	others_are_served(6);
	assert_int_equal(says("hook", "queued"), 6);
	hook_start(w.hook);
	wait_confirmed(w.made);
	wait_says("hook", "queued", 0);
	check_got(false);
	assert_int_equal(says("hook", "failed") + says("hook", "dropped"), 0);
}

/* Names are not answered for: nobody waits for that, while it goes on or when its time is over. */
static void
test_slow_names(void **state)
{
	int64_t until = mono_ms() + 1500;

#ifdef __SANITIZE_ADDRESS__
	skip(); /* it wants to be loaded first itself */
#endif
	put_policy("  - {name: lost, webhook: \"http://ops.example/in\", timeout: 300ms" QUICK
		   "}\n" APPEND(""),
	    w.s->dir);
	(void)setenv("LD_PRELOAD", slow_names, 1);
	start(w.s);
	(void)unsetenv("LD_PRELOAD");
	make_events(2);
	while (mono_ms() < until) {
		int64_t asked = mono_ms();

		assert_true(says("lost", "queued") == 2);
		assert_true(mono_ms() - asked < 1000);
		(void)poll(NULL, 0, 20);
	}
	others_are_served(4);
	assert_int_equal(stop(w.s, SIGTERM), 0);
	assert_non_null(strstr(w.s->log, "receiver lost: ev-"));
	assert_true(mono_ms() - until < 5000);
}

/* An endless answer costs nothing but the connection. */
static void
test_flood(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(""), w.hook->port);
	start(w.s);
	w.hook->manner = MANNER_FLOOD;
	make_events(6);
	wait_confirmed(6);
	wait_says("hook", "delivered", 6);
	assert_int_equal(w.hook->n, 6);
}

static void
test_retry_after(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(QUICK), w.hook->port);
	start(w.s);
	w.hook->manner = MANNER_BUSY;
	make_events(2);
	wait_got(1);
	w.hook->manner = MANNER_CONFIRM;
	wait_confirmed(2);
	assert_true(w.hook->got[1].at_ms - w.hook->got[0].at_ms >= 1900);
}

/* Killed at any moment, many times, while the receiver is in trouble too. */
static void
test_killed(void **state)
{
	unsigned seed = (unsigned)time(NULL);

	(void)printf("seed %u\n", seed);
	srandom(seed);
	put_secret(SECRET);
	put_policy(HOOK(QUICK ", timeout: 400ms") APPEND(", at_once: 1"), w.hook->port, w.s->dir);
	for (int round = 0; round < 10; round++) {
		start(w.s);
		w.hook->manner = (int)(random() % MANNERS);
		make_events(8);
		(void)poll(NULL, 0, (int)(random() % 120));
		w.hook->manner = MANNER_CONFIRM;
		(void)poll(NULL, 0, (int)(random() % 60));
		assert_int_equal(stop(w.s, SIGKILL), -SIGKILL);
	}
	start(w.s);
	wait_confirmed(w.made);
	wait_says("hook", "queued", 0);
	wait_says("file", "queued", 0);
	check_got(true);
	assert_int_equal(w.made, 80);
	assert_true(lines("told") >= 80);
	(void)printf("80 events, told %u times to the webhook, %d to the command\n",
	    (unsigned)w.hook->n, lines("told"));
	assert_int_equal(says("hook", "failed") + says("hook", "dropped"), 0);
}

/* A restart waits on as long as it would have, and tries are counted on. */
static void
test_restart_waits(void **state)
{
	json_t *j, *told;
	uint32_t n;

	put_secret(SECRET);
	put_policy(HOOK(", retry: {first: 30s, most: 30s}"), w.hook->port);
	start(w.s);
	w.hook->manner = MANNER_FAIL;
	make_events(2);
	wait_got(1);
	wait_says("hook", "under_way", 0);
	(void)poll(NULL, 0, 200); /* longer than what is confirmed waits for being written */
	assert_int_equal(stop(w.s, SIGKILL), -SIGKILL);
	n = w.hook->n;
	w.hook->manner = MANNER_CONFIRM;
	start(w.s);
	(void)poll(NULL, 0, 1000);
	assert_int_equal(w.hook->n, n);
	RUN(0, w.s, "events", "--json");
	j = json_loads(ran.out, 0, NULL);
	told = json_object_get(json_array_get(json_object_get(j, "events"), 0), "told");
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(told, "hook"), "tries")), 1);
	json_decref(j);
}

static bool
alive(const char *name)
{
	char path[256];
	long pid = 0;
	FILE *f;

	path_in(w.s, name, path, sizeof(path));
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld", &pid), 1);
	(void)fclose(f);
	/* A zombie that init has not yet waited for is not alive. */
	(void)snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	f = fopen(path, "r");
	if (f != NULL) {
		char how = 'Z';

		(void)!fscanf(f, "%*d (%*[^)]) %c", &how);
		(void)fclose(f);
		return how != 'Z';
	}
	return false;
}

static void
test_overrun(void **state)
{
	json_t *j;

	put_policy(
	    "  - {name: slow, timeout: 500ms, retry: {first: 30s, most: 30s}, command: [/bin/sh, "
	    "-c, 'sleep 1000 & echo $! > %s/child; echo $$ > %s/leader; trap \"\" TERM INT; "
	    "wait; sleep 1000']}\n" APPEND(""),
	    w.s->dir, w.s->dir, w.s->dir);
	start(w.s);
	make_events(2);
	wait_lines("told", 2, 2000);
	wait_lines("child", 1, WAIT_MS);
	wait_lines("leader", 1, WAIT_MS);
	wait_says("slow", "under_way", 0);
	assert_false(alive("leader"));
	for (int64_t until = mono_ms() + 2000; alive("child"); (void)poll(NULL, 0, 10))
		assert_true(mono_ms() < until);
	j = receiver_of("slow");
	assert_string_equal(
	    json_string_value(json_object_get(j, "last_error")), "overran its 0.5 s, killed");
	json_decref(j);
	assert_int_equal(says("slow", "queued"), 2);
}

/* A line of a file that a command has written has this in it. */
static bool
written(const char *name, const char *what)
{
	char path[256], line[512];
	bool found = false;
	FILE *f;

	path_in(w.s, name, path, sizeof(path));
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		found = found || strstr(line, what) != NULL;
	(void)fclose(f);
	return found;
}

/* What a command finds: no descriptor of rationd's, no signal ignored, no environment. */
static void
test_command_alone(void **state)
{
	static const char *const ours[] = { "socket:", "anon_inode:", "pipe:", "/default." };
	char path[256], line[128];
	FILE *f;

	(void)setenv("RATION_TEST_LEAK", "1", 1);
	put_policy(
	    "  - {name: look, at_once: 1, command: [/bin/sh, -c, 'ls -l /proc/self/fd > %s/fds; "
	    "env > %s/env; grep -E \"Sig(Ign|Blk)\" /proc/$$/status > %s/signals']}\n",
	    w.s->dir, w.s->dir, w.s->dir);
	start(w.s);
	(void)unsetenv("RATION_TEST_LEAK");
	make_events(2);
	wait_says("look", "delivered", 2);
	assert_true(written("env", "RATION_EVENT=ev-"));
	assert_false(written("env", "LEAK"));
	assert_true(written("fds", "event"));
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		assert_false(written("fds", ours[i]));
	path_in(w.s, "signals", path, sizeof(path));
	f = fopen(path, "r");
	/* 32 and 33 are libc's own. */
	while (fgets(line, sizeof(line), f) != NULL)
		assert_int_equal(
		    strtoull(strchr(line, ':') + 1, NULL, 16) & ~UINT64_C(0x180000000), 0);
	(void)fclose(f);
}

static void
test_at_once(void **state)
{
	char path[256], line[32];
	int now = 0, most = 0, n = 0;
	FILE *f;

	put_policy("  - {name: three, at_once: 3, command: [/bin/sh, -c, 'echo + >> %s/log; sleep "
		   "0.2; echo - >> %s/log']}\n",
	    w.s->dir, w.s->dir);
	start(w.s);
	make_events(14);
	wait_says("three", "delivered", 14);
	path_in(w.s, "log", path, sizeof(path));
	f = fopen(path, "r");
	while (fgets(line, sizeof(line), f) != NULL) {
		now += line[0] == '+' ? 1 : -1;
		n += line[0] == '+';
		most = now > most ? now : most;
	}
	(void)fclose(f);
	assert_int_equal(n, 14);
	assert_int_equal(most, 3);
}

static void
test_exit_status(void **state)
{
	json_t *j;

	/* Fails at its first try of each event, as RATION_TRIES says. */
	put_policy("  - {name: picky, at_once: 1" QUICK
		   ", command: [/bin/sh, -c, 'echo $RATION_EVENT "
		   "$RATION_TRIES >> %s/log; test $RATION_TRIES -gt 0']}\n"
		   "  - {name: nowhere, command: [/nonexistent/program], retry: {first: 1s}}\n",
	    w.s->dir);
	start(w.s);
	make_events(4);
	wait_says("picky", "delivered", 4);
	assert_int_equal(lines("log"), 8);
	j = receiver_of("nowhere");
	assert_non_null(strstr(
	    json_string_value(json_object_get(j, "last_error")), "No such file or directory"));
	json_decref(j);
	assert_int_equal(says("nowhere", "queued"), 4);
}

static void
test_queue_bound(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(QUICK ", queue: 10"), w.hook->port);
	start(w.s);
	hook_stop(w.hook);
	make_events(26);
	wait_says("hook", "queued", 10);
	assert_int_equal(says("hook", "dropped"), 16);
	assert_true(wait_log(w.s, "receiver hook: 16 events were not told to it"));
	hook_start(w.hook);
	wait_says("hook", "queued", 0);
	assert_int_equal(confirmed(), 10);
	assert_int_equal(w.hook->got[0].number, 26 + 2 - 10);
	check_got(false);
	RUN(0, w.s, "events", "k1");
	assert_non_null(strstr(ran.out, "hook dropped"));
}

static void
test_give_up(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(", retry: {first: 50ms, most: 200ms, give_up: 1s}"), w.hook->port);
	start(w.s);
	w.hook->manner = MANNER_FAIL;
	make_events(4);
	wait_says("hook", "failed", 4);
	assert_int_equal(says("hook", "queued"), 0);
	assert_true(w.hook->got[w.hook->n - 1].at_ms - w.hook->got[0].at_ms >= 700);
	w.hook->manner = MANNER_CONFIRM;
	make_events(2);
	wait_says("hook", "delivered", 2);
}

/* Who has the wrong secret sees that, and is told when it is right. */
static void
test_secret(void **state)
{
	put_secret(SECRET "but another");
	put_policy(HOOK(QUICK), w.hook->port);
	start(w.s);
	make_events(2);
	wait_got(3);
	for (uint32_t i = 0; i < 3; i++)
		assert_false(w.hook->got[i].signed_right);
	assert_int_equal(confirmed(), 0);
	put_secret(SECRET);
	assert_int_equal(kill(w.s->pid, SIGHUP), 0);
	wait_confirmed(2);
	wait_says("hook", "queued", 0);
}

/* A receiver that the policy no longer has: what it waits for stays for a while. */
static void
test_vanished(void **state)
{
	put_secret(SECRET);
	put_policy(HOOK(QUICK), w.hook->port);
	start(w.s);
	w.hook->manner = MANNER_STALL;
	make_events(4);
	wait_got(1);
	put_policy("  []\n");
	RUN(0, w.s, "reload");
	assert_int_equal(says("hook", "queued"), 4);
	make_events(2);
	assert_int_equal(says("hook", "queued"), 4);
	w.hook->manner = MANNER_CONFIRM;
	put_policy(HOOK(QUICK), w.hook->port);
	RUN(0, w.s, "reload");
	wait_confirmed(4);
	/* Nobody is told of what happened while nobody was to be told. */
	make_events(2);
	wait_confirmed(6);
	wait_says("hook", "queued", 0);
	hook_stop(w.hook);
	make_events(2);
	put_policy(
	    "  - {name: hook, webhook: \"http://127.0.0.1:%d/in\", retry: {first: 50ms, most: "
	    "50ms, give_up: 1s}, queue: 5}\n",
	    w.hook->port);
	assert_int_equal(stop(w.s, SIGKILL), -SIGKILL);
	start(w.s);
	put_policy("  []\n");
	RUN(0, w.s, "reload");
	assert_true(wait_log(w.s, "2 events were for receivers that the policy no longer has"));
	assert_null(receiver_of("hook"));
}

/* ---- a store that fails ---- */

static void
change_store(const char *sql)
{
	char path[256];
	sqlite3 *db;

	path_in(w.s, "default.db", path, sizeof(path));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* A policy comes into force while it cannot be recorded who its receivers are. */
static void
test_unrecorded(void **state)
{
	char sql[256];

	put_secret(SECRET "\n");
	put_policy(APPEND(""), w.s->dir);
	start(w.s);
	assert_int_equal(stop(w.s, SIGTERM), 0);
	(void)snprintf(sql, sizeof(sql),
	    "CREATE TRIGGER none BEFORE INSERT ON receiver WHEN unixepoch() < %lld"
	    " BEGIN SELECT RAISE(ABORT, 'no room'); END",
	    (long long)time(NULL) + 3);
	change_store(sql);
	w.hook->manner = MANNER_FAIL;
	put_policy(HOOK(QUICK), w.hook->port);
	start(w.s);
	make_events(4);
	wait_got(2);
	wait_says("hook", "queued", 4);
	w.hook->manner = MANNER_CONFIRM;
	wait_confirmed(4);
	wait_says("hook", "delivered", 4);
	wait_says("hook", "queued", 0);
	check_got(false);
}

int
main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(test_told),
		TEST(test_only),
		TEST(test_stalled),
		TEST(test_trouble),
		TEST(test_slow_names),
		TEST(test_flood),
		TEST(test_retry_after),
		TEST(test_killed),
		TEST(test_restart_waits),
		TEST(test_overrun),
		TEST(test_command_alone),
		TEST(test_at_once),
		TEST(test_exit_status),
		TEST(test_queue_bound),
		TEST(test_give_up),
		TEST(test_secret),
		TEST(test_vanished),
		TEST(test_unrecorded),
	};

	if (argc < 4) {
		(void)fprintf(stderr, "usage: test_deliver RATIOND RATION SLOW_NAMES [TEST]\n");
		return 2;
	}
	program = argv[1];
	command = argv[2];
	slow_names = argv[3];
	if (argc > 4)
		cmocka_set_test_filter(argv[4]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
