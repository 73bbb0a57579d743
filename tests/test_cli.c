/*
 * test_cli.c - every command of `ration` against a real rationd in a directory of
 * its own: what it prints is read by a JSON parser, what it says by its exit code.
 *
 * Usage: test_cli RATIOND RATION MANUAL.  Nothing of the host is touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"

#define READY_MS 20000

static const char *rationd, *ration, *manual;

static const char policy_text[] = "table: {keys: 4k}\n"
				  "plans: [starter, growth]\n"
				  "environments: {sandbox: 0.1, local: unlimited}\n"
				  "limits:\n"
				  "  api: [300/min, 100/s]\n"
				  "  login: 3/min\n"
				  "  tokens: {per: month, plans: [1k, 5k]}\n"
				  "  free: unlimited\n"
				  "  queued: 10/s burst 10\n"
				  "  paced: 2/h\n"
				  "  per-ip: {rates: [10/s burst 20], mode: observe}\n"
				  "assign: {\"clinic:7\": growth}\n";

static uid_t run_as; /* of ration; 0: as this test */

static struct {
	char dir[64];
	char config[96];
	pid_t pid;
} service;

/* What a run of `ration` did. */
static struct {
	char *out, *err;
	int code;
} ran;

/* ---- rationd ---- */

static void
write_policy(const char *text)
{
	FILE *f = fopen(service.config, "w");

	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static pid_t
spawn_rationd(void)
{
	char log[96];
	pid_t pid, parent = getpid();
	int fd;

	snprintf(log, sizeof(log), "%s/log", service.dir);
	pid = fork();
	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execl(rationd, rationd, "-f", service.config, "--sandbox", (char *)NULL);
	_exit(127);
}

/* rationd says that it is ready as to any service manager. */
static void
start_rationd(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct pollfd p;
	char buf[256];
	ssize_t n;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/notify", service.dir);
	unlink(un.sun_path);
	p.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	p.events = POLLIN;
	assert_int_equal(bind(p.fd, (struct sockaddr *)&un, sizeof(un)), 0);
	setenv("NOTIFY_SOCKET", un.sun_path, 1);
	service.pid = spawn_rationd();
	unsetenv("NOTIFY_SOCKET");
	if (poll(&p, 1, READY_MS) != 1)
		fail_msg("rationd is not ready after %d ms: see %s/log", READY_MS, service.dir);
	n = recv(p.fd, buf, sizeof(buf) - 1, 0);
	assert_true(n > 0);
	buf[n] = 0;
	assert_non_null(strstr(buf, "READY=1"));
	close(p.fd);
	unlink(un.sun_path);
}

static void
stop_rationd(int sig)
{
	int status;

	if (service.pid <= 0)
		return;
	kill(service.pid, sig);
	waitpid(service.pid, &status, 0);
	service.pid = 0;
}

static int
setup(void **state)
{
	strcpy(service.dir, "/dev/shm/ration-cli-XXXXXX");
	assert_non_null(mkdtemp(service.dir));
	snprintf(service.config, sizeof(service.config), "%s/ration.yaml", service.dir);
	setenv("RATION_DIR", service.dir, 1);
	unsetenv("RATION_INSTANCE");
	setenv("TZ", "UTC", 1);
	write_policy(policy_text);
	start_rationd();
	return 0;
}

static int
teardown(void **state)
{
	char cmd[128];

	run_as = 0;
	stop_rationd(SIGTERM);
	free(ran.out);
	free(ran.err);
	ran.out = ran.err = NULL;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", service.dir);
	return system(cmd);
}

/* ---- ration ---- */

static char *
read_all(int fd)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *text = calloc(1, (size_t)size + 1);

	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)size, 0), size);
	close(fd);
	return text;
}

/* Run with these arguments; what it printed and said is in `ran`. */
static int
run(const char *first, ...)
{
	const char *argv[32] = { "ration", first };
	int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC), status,
	    program, n = 1;
	va_list ap;
	pid_t pid;

	va_start(ap, first);
	while (argv[n] && n < 30)
		argv[++n] = va_arg(ap, const char *);
	va_end(ap);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
		dup2(out, STDOUT_FILENO);
		dup2(err, STDERR_FILENO);
		/* By descriptor: the build may lie where that user cannot go. */
		program = open(ration, O_RDONLY | O_CLOEXEC);
		if (run_as && (setgroups(0, NULL) || setgid(run_as) || setuid(run_as)))
			_exit(126);
		fexecve(program, (char **)(uintptr_t)argv, environ);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	free(ran.out);
	free(ran.err);
	ran.out = read_all(out);
	ran.err = read_all(err);
	ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return ran.code;
}

/* Exit code `code`, or the test ends with what was printed. */
#define RUN(want, ...) \
	do { \
		if (run(__VA_ARGS__ __VA_OPT__(, ) NULL) != (want)) \
			fail_msg( \
			    "exit %d, expected %d\n%s%s", ran.code, (want), ran.out, ran.err); \
	} while (0)

/* What was printed, as one JSON value; the caller's. */
static json_t *
parsed(void)
{
	json_error_t e;
	json_t *v = json_loads(ran.out, JSON_REJECT_DUPLICATES, &e);

	if (!v)
		fail_msg("no JSON: %s\n%s", e.text, ran.out);
	return v;
}

static void
check_member(const json_t *obj, const char *name, json_type type)
{
	const json_t *v = json_object_get(obj, name);

	if (!v || json_typeof(v) != type)
		fail_msg("member %s is not of type %d\n%s", name, (int)type, ran.out);
}

static void
check_int(const json_t *obj, const char *name, json_int_t expected)
{
	check_member(obj, name, JSON_INTEGER);
	if (json_integer_value(json_object_get(obj, name)) != expected)
		fail_msg("%s is not %lld\n%s", name, (long long)expected, ran.out);
}

static void
check_text(const json_t *obj, const char *name, const char *expected)
{
	check_member(obj, name, JSON_STRING);
	if (strcmp(json_string_value(json_object_get(obj, name)), expected) != 0)
		fail_msg("%s is not %s\n%s", name, expected, ran.out);
}

/* A number that `show` prints of a key. */
static json_int_t
shown(const char *limit, const char *key, const char *member)
{
	json_int_t v;
	json_t *d;

	RUN(0, "show", limit, key, "--json");
	d = parsed();
	v = json_integer_value(json_object_get(d, member));
	json_decref(d);
	return v;
}

static void
check_said(const char *what)
{
	if (!strstr(ran.err, what))
		fail_msg("stderr does not say \"%s\": %s", what, ran.err);
}

/* ---- the tests ---- */

static const struct {
	const char *name, *example;
} table[] = {
#define X(name, synopsis, options, min, max, help, example) { #name, example },
	COMMANDS(X, NO_HEADING)
#undef X
};

static void
test_help(void **state)
{
	const char *in_page = NULL, *in_help = NULL;
	char *page, name[64];
	int fd = open(manual, O_RDONLY);

	assert_true(fd >= 0);
	page = read_all(fd);
	/* One order: a group that the list gains or loses is the manual's too. */
	RUN(0, "--help");
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const char *before_page = in_page, *before_help = in_help;

		snprintf(name, sizeof(name), ".It Xo\n.Ic %s\n", table[i].name);
		in_page = strstr(page, name);
		snprintf(name, sizeof(name), "\n  %s ", table[i].name);
		in_help = strstr(ran.out, name);
		if (in_page <= before_page || in_help <= before_help)
			fail_msg("%s stands elsewhere in the manual or --help", table[i].name);
	}
	RUN(0, "--version");
	assert_non_null(strstr(ran.out, ration_version()));
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		RUN(0, "--help");
		snprintf(name, sizeof(name), "\n  %s ", table[i].name);
		if (!strstr(ran.out, name))
			fail_msg("--help does not name %s", table[i].name);
		RUN(0, table[i].name, "--help");
		if (!strstr(ran.out, table[i].example))
			fail_msg("%s --help without its example", table[i].name);
		snprintf(name, sizeof(name), "\n.Ic %s\n", table[i].name);
		if (!strstr(page, name))
			fail_msg("the manual does not name %s", table[i].name);
		snprintf(name, sizeof(name), "\n.Dl $ ration %s", table[i].name);
		if (!strstr(page, name))
			fail_msg("the manual has no example of %s", table[i].name);
	}
	for (int c = 0; c < COL_COUNT; c++) {
		snprintf(name, sizeof(name), ".It Cm %s\n", columns[c].name);
		if (!strstr(page, name))
			fail_msg("the manual does not name column %s", columns[c].name);
	}
	free(page);
}

static void
test_wrong_use(void **state)
{
	RUN(2, "nonsense");
	check_said("no such command");
	RUN(2, "--nonsense");
	RUN(2, "list", "--nonsense");
	RUN(2, "list", "a", "b");
	RUN(2, "show", "api");
	RUN(2, "show", "api", "");
	RUN(2, "acquire", "api");
	RUN(2, "acquire", "api", "k", "--cost", "many");
	RUN(2, "acquire", "api", "k", "--cost", "-1");
	RUN(2, "acquire", "api", "k", "--cost", "2T");
	RUN(2, "acquire", "nolimit", "k");
	RUN(2, "acquire", "api", "no\\qkey");
	RUN(2, "acquire", "api", "k", "--wait", "soon");
	check_said("expected a time");
	RUN(2, "acquire", "api", "k", "--spread");
	check_said("--wait");
	RUN(2, "exec", "nolimit", "k", "--", "true");
	RUN(2, "set", "api", "many");
	check_said("expected");
	RUN(2, "set", "api", "1/s", "--for", "ever");
	RUN(2, "set", "api", "1/s", "--until", "tomorrow");
	RUN(2, "set", "api", "1/s", "--until", "2027-01-01T00:00:00+0200");
	RUN(2, "set", "api", "1/s", "--for", "1h", "--until", "2027-01-01");
	RUN(2, "set", "api", "1/s", "--key", "k", "--plan", "growth");
	RUN(2, "set", "api", "1/s", "--expect", "x");
	RUN(2, "observe");
	RUN(2, "observe", "api", "--all");
	RUN(2, "clock", "soon");
	RUN(2, "audit", "-n", "0");
	RUN(2, "list", "--sort", "nonsense");
	RUN(2, "list", "--sort", "allow");
	RUN(2, "list", "--top", "0");
	RUN(2, "list", "--filter", "use>");
	RUN(2, "-i", "bad/name", "status");
	RUN(1, "list", "nolimit");
	RUN(1, "show", "nolimit", "k");
	/* None of them did half of it. */
	RUN(0, "diff", "--json");
	json_t *d = parsed();
	assert_int_equal(json_array_size(json_object_get(d, "changes")), 0);
	json_decref(d);
}

static void
test_acquire(void **state)
{
	json_t *d;

	RUN(0, "acquire", "login", "k1", "--json");
	d = parsed();
	check_text(d, "verdict", "admitted");
	check_text(d, "limit", "login");
	check_text(d, "key", "k1");
	check_text(d, "decided_by", "3/min");
	check_int(d, "limit_units", 3);
	check_int(d, "used", 1);
	check_int(d, "remaining", 2);
	check_int(d, "window_s", 60);
	check_member(d, "retry_at", JSON_NULL);
	check_int(d, "retry_after", 0);
	check_int(d, "level", 0);
	assert_int_equal(json_array_size(json_object_get(d, "rates")), 1);
	json_decref(d);
	RUN(0, "acquire", "login", "k1", "--cost", "2");
	assert_non_null(strstr(ran.out, "admitted login k1: 3 of 3 used, 0 left"));
	RUN(1, "--json", "acquire", "login", "k1");
	d = parsed();
	check_text(d, "verdict", "denied");
	check_member(d, "retry_at", JSON_INTEGER);
	assert_true(json_integer_value(json_object_get(d, "retry_after")) > 0);
	json_decref(d);
	RUN(0, "acquire", "tokens", "clinic:7", "--cost=2.5k", "--json");
	d = parsed();
	check_int(d, "used", 2500);
	check_int(d, "limit_units", 5000);
	json_decref(d);
	RUN(1, "acquire", "login", "k2", "--cost", "4", "--json");
	d = parsed();
	check_member(d, "retry_at", JSON_NULL);
	json_decref(d);
	RUN(0, "acquire", "free", "k1", "--json");
	d = parsed();
	check_member(d, "limit_units", JSON_NULL);
	json_decref(d);
	/* By option as by environment. */
	unsetenv("RATION_DIR");
	RUN(0, "acquire", "free", "k1", "--dir", service.dir);
	setenv("RATION_DIR", service.dir, 1);
	RUN(3, "-i", "other", "acquire", "free", "k1");
	check_said("rationd");
}

static int64_t
mono_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
test_acquire_wait(void **state)
{
	int64_t start;
	json_t *d;

	/* It fits: at once.  The retry would be later than that: at once, too. */
	start = mono_ms();
	RUN(0, "acquire", "login", "w", "--cost", "3", "--wait", "30s");
	RUN(1, "acquire", "login", "w", "--wait", "10s", "--json");
	assert_true(mono_ms() - start < 9000);
	d = parsed();
	check_text(d, "verdict", "denied");
	assert_true(json_integer_value(json_object_get(d, "retry_after")) > 10);
	json_decref(d);
	/* No waiting helps. */
	RUN(1, "acquire", "login", "w", "--cost", "4", "--wait", "30s");
	assert_true(mono_ms() - start < 9000);
	/* It will fit: a bucket of 10/s gives two back in 200 ms. */
	RUN(0, "acquire", "queued", "w", "--cost", "10");
	start = mono_ms();
	RUN(0, "acquire", "queued", "w", "--cost", "2", "--wait", "10s", "--json");
	assert_true(mono_ms() - start >= 150 && mono_ms() - start < 5000);
	d = parsed();
	check_text(d, "verdict", "admitted");
	json_decref(d);
	/* One after the other, at the pace of the limit: four take three gaps of 100 ms. */
	start = mono_ms();
	for (int i = 0; i < 4; i++)
		RUN(0, "acquire", "queued", "s", "--wait", "10s", "--spread");
	assert_true(mono_ms() - start >= 300 && mono_ms() - start < 5000);
	/* Evenly means that it is denied at the deadline, although it would fit. */
	RUN(0, "acquire", "paced", "s", "--wait", "10s", "--spread");
	RUN(1, "acquire", "paced", "s", "--wait", "100ms", "--spread");
	assert_non_null(strstr(ran.out, "denied paced s: 1 of 2 used, 1 left"));
	RUN(0, "acquire", "paced", "s");
}

static void
test_show(void **state)
{
	json_t *d;

	RUN(0, "acquire", "api", "k1", "--cost", "7");
	RUN(0, "show", "api", "k1", "--json");
	d = parsed();
	check_int(d, "used", 7);
	check_int(d, "admitted_total", 7);
	check_int(d, "denied_total", 0);
	check_text(d, "mode", "enforce");
	check_member(d, "plan", JSON_NULL);
	check_member(d, "until", JSON_NULL);
	assert_int_equal(json_array_size(json_object_get(d, "rates")), 2);
	assert_true(json_is_true(json_object_get(d, "in_table")));
	assert_non_null(strstr(jstr(d, "origin", ""), "ration.yaml:5"));
	json_decref(d);
	assert_int_equal(shown("api", "k1", "used"), 7); /* looking charges nothing */
	RUN(0, "show", "tokens", "clinic:7", "--json");
	d = parsed();
	check_text(d, "plan", "growth");
	check_int(d, "limit_units", 5000);
	assert_true(json_is_false(json_object_get(d, "in_table")));
	assert_true(json_is_true(json_object_get(d, "listed")));
	json_decref(d);
	RUN(0, "show", "api", "k1");
	assert_non_null(strstr(ran.out, "ration.yaml:5"));
	assert_non_null(strstr(ran.out, "100/s"));
	RUN(0, "list");
	assert_null(strstr(ran.out, "clinic")); /* and adds none to the table */
}

static size_t
lines(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void
test_list(void **state)
{
	json_t *list, *d;
	char key[16];

	for (int i = 1; i <= 3; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		RUN(0, "acquire", "login", key, "--cost", key + 1);
	}
	RUN(1, "acquire", "login", "k3");
	RUN(0, "acquire", "api", "other");
	RUN(0, "list");
	assert_int_equal(lines(ran.out), 5);
	for (const char *at = ran.out, *nl; (nl = strchr(at, '\n')); at = nl + 1)
		assert_int_equal(nl - at, 80);
	assert_memory_equal(ran.out, "KEY ", 4);
	assert_null(strchr(ran.out, '\033'));
	RUN(0, "list", "login", "--json");
	list = parsed();
	assert_int_equal(json_array_size(list), 3);
	d = json_array_get(list, 0);
	check_text(d, "key", "k3");
	check_text(d, "verdict", "denied");
	check_int(d, "used", 3);
	check_int(d, "admitted_total", 3);
	check_int(d, "denied_total", 1);
	check_member(d, "plan", JSON_NULL);
	check_text(d, "mode", "enforce");
	json_decref(list);
	RUN(0, "list", "--sort", "USE%", "--invert", "--top", "2", "--filter", "limit:login",
	    "--json");
	list = parsed();
	assert_int_equal(json_array_size(list), 2);
	check_text(json_array_get(list, 0), "key", "k1");
	json_decref(list);
	RUN(0, "list", "--filter", "nothing", "--json");
	list = parsed();
	assert_int_equal(json_array_size(list), 0);
	json_decref(list);
	RUN(0, "list", "--csv", "--sort", "key");
	assert_int_equal(lines(ran.out), 5);
	assert_memory_equal(ran.out, "key,limit,used,limit_units,use,left,", 36);
	assert_non_null(strstr(ran.out, "\nk3,login,3,3,100.0,0,"));
}

/* Nothing that a key holds reaches the terminal or a parser as itself. */
static void
test_hostile_keys(void **state)
{
	static const unsigned char keys[][24] = { "\033]0;pwned\a\033[2J", "a b\tc\nd",
		"\"},{\"x\":\"", "%s%n%d", "-rf", "--json", "\\", "caf\303\251\342\200\256",
		"\377\376\001", "'; rm -rf /;'", "=1+1,\"x\"" };
	char text[KEY_TEXT_MAX];
	json_t *list, *d;
	size_t n = sizeof(keys) / sizeof(keys[0]);

	for (size_t i = 0; i < n; i++) {
		key_text(keys[i], strlen((const char *)keys[i]), text);
		RUN(0, "acquire", "--json", "--", "api", text);
		d = parsed();
		check_text(d, "key", text);
		json_decref(d);
		RUN(0, "show", "--", "api", text);
		assert_int_equal(run("reset", "--", "api", text, NULL), 0);
		RUN(0, "set", "api", "5/min", "--key", text);
	}
	RUN(0, "list", "--json");
	list = parsed();
	assert_int_equal(json_array_size(list), n);
	json_decref(list);
	for (int i = 0; i < 5; i++) {
		static const char *const looks[] = { "list", "diff", "audit", "status", "list" };

		RUN(0, looks[i], i == 4 ? "--csv" : "--dir", i == 4 ? NULL : service.dir);
		for (const char *s = ran.out; *s; s++)
			if (*s != '\n' && (*s < 0x20 || *s > 0x7e))
				fail_msg("%s prints byte %d:\n%s", looks[i], *s, ran.out);
	}
	RUN(0, "diff", "--as-policy");
	RUN(0, "audit", "--json");
	json_decref(parsed());
	/* An empty key's NUL is a byte like any other. */
	RUN(0, "acquire", "api", "\\000", "--json");
	d = parsed();
	check_text(d, "key", "\\000");
	json_decref(d);
}

static void
test_set(void **state)
{
	json_t *d;

	RUN(0, "set", "login", "5/min", "--json", "--reason", "load test");
	d = parsed();
	check_member(d, "generation", JSON_INTEGER);
	check_member(d, "policy_version", JSON_INTEGER);
	json_int_t generation = json_integer_value(json_object_get(d, "generation"));
	json_decref(d);
	assert_int_equal(shown("login", "k", "limit_units"), 5);
	RUN(1, "set", "login", "6/min", "--expect", "0");
	check_said("faster");
	assert_int_equal(shown("login", "k", "limit_units"), 5);
	char now[32];
	snprintf(now, sizeof(now), "%lld", (long long)generation);
	RUN(0, "set", "login", "6/min", "--expect", now);
	assert_non_null(strstr(ran.out, "login: 5/min -> 6/min (generation "));
	RUN(0, "set", "login", "9/min", "--dry-run");
	assert_non_null(strstr(ran.out, "nothing was changed"));
	assert_int_equal(shown("login", "k", "limit_units"), 6);
	RUN(0, "set", "login", "7/min,", "2/s", "--key", "k", "--for", "1h");
	RUN(0, "show", "login", "k", "--json");
	d = parsed();
	check_member(d, "until", JSON_INTEGER);
	assert_non_null(strstr(jstr(d, "origin", ""), "override"));
	assert_int_equal(json_array_size(json_object_get(d, "rates")), 2);
	json_decref(d);
	assert_int_equal(shown("login", "other", "limit_units"), 6);
	RUN(0, "clock", "+61min", "--json");
	d = parsed();
	check_member(d, "now", JSON_INTEGER);
	json_decref(d);
	assert_int_equal(shown("login", "k", "limit_units"), 6); /* it ended by itself */
	RUN(0, "set", "login", "8/min", "--key", "k2", "--until", "2031-01-31T12:00:00+02:00");
	assert_int_equal(shown("login", "k2", "until"), 1927620000);
	RUN(0, "unset", "login", "--key", "k2", "--json");
	json_decref(parsed());
	RUN(0, "unset", "login");
	assert_int_equal(shown("login", "k2", "limit_units"), 3);
	RUN(1, "unset", "login");
	RUN(1, "set", "nolimit", "3/min");
	RUN(1, "set", "login", "3/min", "--plan", "noplan");
	RUN(0, "set", "tokens", "9k/month", "--plan", "growth");
	assert_int_equal(shown("tokens", "clinic:7", "limit_units"), 9000);
}

/* Entitlements, and all that show says of where a limit comes from. */
static void
test_entitlements(void **state)
{
	json_t *d;

	write_policy("plans: [starter, growth]\n"
		     "environments: {sandbox: 0.1}\n"
		     "answers: {api: {status: 503}}\n"
		     "exempt: {keys: [monitor]}\n"
		     "limits:\n"
		     "  keep: {values: [12 months, custom], title: Audit log}\n"
		     "  api: {per: min, plans: [10, 20], title: API key, answer: api, queue: "
		     "strict}\n"
		     "assign: {s: {plan: starter, environment: sandbox}, g: growth}\n");
	RUN(0, "reload");
	RUN(0, "show", "keep", "s");
	assert_non_null(strstr(ran.out, "keep s: 12 months\n"));
	assert_non_null(strstr(ran.out, "ration.yaml:6: plan starter\n"));
	assert_non_null(strstr(ran.out, "Audit log (ration.yaml:6)\n"));
	RUN(1, "show", "keep", "g");
	assert_non_null(strstr(ran.out, "keep g: no value\n"));
	RUN(0, "set", "keep", "10", "years", "--key", "g", "--reason", "contract 9");
	assert_non_null(strstr(ran.out, "keep of key g: none -> 10 years"));
	RUN(0, "show", "keep", "g", "--json");
	d = parsed();
	check_text(d, "value", "10 years");
	check_text(d, "kind", "value");
	assert_non_null(strstr(jstr(d, "origin", ""), "override by "));
	json_decref(d);
	RUN(0, "diff");
	assert_non_null(strstr(ran.out, "set keep of key g: 10 years, by "));
	RUN(0, "diff", "--as-policy");
	assert_non_null(strstr(ran.out, "{key: 'g', limit: 'keep', value: \"10 years\", reason"));
	RUN(0, "status");
	assert_non_null(strstr(ran.out, "value"));
	RUN(0, "unset", "keep", "--key", "g");
	assert_non_null(strstr(ran.out, "keep of key g: 10 years -> as the policy"));
	RUN(1, "off", "keep");
	check_said("holds values");
	RUN(0, "show", "api", "s");
	assert_non_null(
	    strstr(ran.out, "ration.yaml:7: plan starter x environment sandbox (0.1)\n"));
	assert_non_null(strstr(ran.out, "API key (ration.yaml:7)\n"));
	assert_non_null(strstr(ran.out, "strict: "));
	assert_non_null(strstr(ran.out, "api (ration.yaml:3)\n"));
	RUN(0, "show", "api", "monitor", "--json");
	d = parsed();
	assert_true(json_is_true(json_object_get(d, "exempt")));
	check_text(d, "origin", "ration.yaml:4: exempt");
	check_text(d, "queue", "strict");
	check_text(d, "answer", "api");
	check_text(d, "title", "API key");
	json_decref(d);
}

static void
test_assign(void **state)
{
	json_t *d;

	RUN(0, "plan", "k", "starter", "--json");
	json_decref(parsed());
	assert_int_equal(shown("tokens", "k", "limit_units"), 1000);
	RUN(0, "plan", "k", "growth");
	RUN(0, "env", "k", "sandbox", "--json");
	json_decref(parsed());
	assert_int_equal(shown("tokens", "k", "limit_units"), 500);
	RUN(0, "env", "k", "-");
	assert_int_equal(shown("tokens", "k", "limit_units"), 5000);
	RUN(0, "share", "1/5", "--json");
	json_decref(parsed());
	assert_int_equal(shown("tokens", "k", "limit_units"), 1000);
	RUN(0, "share", "1/1");
	RUN(1, "plan", "k", "noplan");
	RUN(0, "plan", "k", "-");
	RUN(0, "show", "tokens", "k", "--json");
	d = parsed();
	check_member(d, "plan", JSON_NULL);
	json_decref(d);
}

static void
test_modes(void **state)
{
	json_t *d;

	RUN(0, "acquire", "login", "k", "--cost", "3");
	RUN(1, "acquire", "login", "k");
	RUN(0, "observe", "--all", "--for", "1h", "--json");
	json_decref(parsed());
	RUN(0, "acquire", "login", "k", "--json");
	d = parsed();
	assert_true(json_is_true(json_object_get(d, "observed")));
	json_decref(d);
	RUN(0, "enforce", "--all");
	RUN(1, "acquire", "login", "k");
	RUN(0, "off", "login", "--reason", "incident 12");
	RUN(0, "acquire", "login", "k");
	RUN(0, "list", "login", "--json");
	d = parsed();
	check_text(json_array_get(d, 0), "mode", "off");
	json_decref(d);
	RUN(0, "enforce", "login");
	RUN(1, "acquire", "login", "k");
	RUN(0, "reset", "login", "k", "--reason", "customer called", "--json");
	json_decref(parsed());
	assert_int_equal(shown("login", "k", "used"), 0);
	RUN(0, "acquire", "login", "k");
	RUN(1, "reset", "login", "nobody");
	RUN(1, "off", "nolimit");
}

static void
test_log(void **state)
{
	json_t *d, *list;

	RUN(0, "diff");
	assert_non_null(strstr(ran.out, "no live changes"));
	RUN(0, "set", "login", "5/min", "--key", "k", "--reason", "first of all");
	RUN(0, "diff");
	assert_non_null(strstr(ran.out, "login of key k: 5/min"));
	assert_int_equal(lines(ran.out), 1);
	RUN(0, "diff", "--json");
	d = parsed();
	list = json_object_get(d, "changes");
	assert_int_equal(json_array_size(list), 1);
	check_text(json_array_get(list, 0), "limit", "login");
	json_decref(d);
	RUN(0, "diff", "--as-policy");
	assert_non_null(strstr(ran.out, "overrides:"));
	RUN(0, "diff", "--as-policy", "--json");
	d = parsed();
	check_member(d, "yaml", JSON_STRING);
	json_decref(d);
	RUN(2, "set", "login", "5/min", "--reason", "two\nlines");
	RUN(0, "audit", "-n", "1", "--json");
	d = parsed();
	list = json_object_get(d, "entries");
	assert_int_equal(json_array_size(list), 1);
	check_member(json_array_get(list, 0), "who", JSON_STRING);
	json_decref(d);
	RUN(0, "audit");
	assert_non_null(strstr(ran.out, "5/min"));
}

static void
test_reload(void **state)
{
	json_t *d;

	RUN(0, "reload", "--json");
	d = parsed();
	check_member(d, "policy_version", JSON_INTEGER);
	json_decref(d);
	write_policy("limits:\n  login: 3/fortnight\n  api: many\n");
	RUN(1, "reload");
	check_said("ration.yaml:2:");
	check_said("ration.yaml:3:");
	check_said("nothing was changed");
	assert_int_equal(shown("login", "k", "limit_units"), 3);
	RUN(0, "status");
	assert_non_null(strstr(ran.out, "refused at"));
	write_policy("limits:\n  login: 4/min\n");
	RUN(0, "reload");
	assert_int_equal(shown("login", "k", "limit_units"), 4);
	RUN(1, "show", "api", "k");
}

/* Lines of `ration watch --json` until one has `type` as part of its text. */
static void
test_watch(void **state)
{
	int fds[2], status;
	char line[4096];
	json_t *e;
	FILE *f;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		execl(ration, "ration", "watch", "--json", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	f = fdopen(fds[0], "r");
	assert_non_null(f);
	/* It may not be watching yet: change until it has seen one. */
	for (int i = 0;; i++) {
		struct pollfd p = { .fd = fds[0], .events = POLLIN };

		RUN(0, "set", "login", i % 2 ? "5/min" : "6/min");
		if (poll(&p, 1, 200) == 1)
			break;
		assert_true(i < 50);
	}
	assert_non_null(fgets(line, sizeof(line), f));
	e = json_loads(line, 0, NULL);
	assert_true(json_is_object(e));
	check_member(e, "when", JSON_INTEGER);
	check_member(e, "type", JSON_STRING);
	json_decref(e);
	/* When rationd goes it says so, and leaves. */
	stop_rationd(SIGKILL);
	while (fgets(line, sizeof(line), f))
		;
	fclose(f);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 3);
}

static void
test_status(void **state)
{
	json_t *d;

	RUN(0, "acquire", "login", "k");
	RUN(0, "status", "--json");
	d = parsed();
	check_int(d, "pid", service.pid);
	check_text(d, "instance", "default");
	check_member(d, "uptime_s", JSON_INTEGER);
	check_member(d, "allow_s", JSON_REAL);
	check_int(json_object_get(d, "segment"), "slots", 4000);
	check_int(json_object_get(d, "segment"), "live", 1);
	assert_int_equal(json_array_size(json_object_get(d, "limits_in_force")), 7);
	json_decref(d);
	RUN(0, "status");
	assert_non_null(strstr(ran.out, "300/min, 100/s"));
	assert_non_null(strstr(ran.out, "you may change"));
	/* Without a terminal the dashboard is a snapshot. */
	RUN(0, "top");
	RUN(2, "top", "--nonsense");
}

static void
test_routes(void **state)
{
	json_t *d;

	RUN(0, "routes");
	assert_string_equal(ran.out, "no routes\n");
	write_policy(
	    "exempt: {keys: ['a\\040b']}\nproxies: [10.0.0.0/8, '::1']\n"
	    "limits: {api: 5/s, per-ip: {rates: 9/s, key: ip}}\n"
	    "routes: {GET /a/:id: [api, per-ip], '* /h': [], PUT /x: {limit: api, key: who, "
	    "cost: 2k}}\n");
	RUN(0, "reload");
	RUN(0, "routes");
	assert_string_equal(ran.out,
	    "GET /a/:id  api; per-ip by ip/32/64  (ration.yaml:4)\n"
	    "* /h        -  (ration.yaml:4)\n"
	    "PUT /x      api by who, cost 2000  (ration.yaml:4)\n"
	    "proxies: 10.0.0.0/8, ::1\n"
	    "exempt keys: a\\040b\n");
	RUN(0, "routes", "--json");
	d = parsed();
	assert_int_equal(json_array_size(json_object_get(d, "routes")), 3);
	json_decref(d);
	RUN(2, "routes", "x");
}

#define ROUTE "route", "POST", "/a/7"

static void
test_route(void **state)
{
	json_t *d;

	write_policy("exempt: {keys: ['a\\040b']}\n"
		     "limits: {api: 3/min, per-ip: {rates: 100/min, key: ip}}\n"
		     "routes: {POST /a/:id: [api, {limit: per-ip, cost: 2}], '* /h': []}\n");
	RUN(0, "reload");
	RUN(0, ROUTE, "--attr", "key=k", "--attr", "ip=2001:DB8::1");
	assert_non_null(strstr(ran.out, "admitted api k: 1 of 3 used, 2 left"));
	assert_non_null(strstr(ran.out, "route        POST /a/:id (ration.yaml:3)\n"));
	RUN(0, ROUTE, "--attr=key=k", "--attr=ip=2001:DB8::1", "--peek", "--json");
	d = parsed();
	check_text(d, "verdict", "admitted");
	check_text(d, "limit", "api");
	check_text(d, "key", "k");
	check_int(d, "used", 1);
	check_text(json_object_get(d, "route"), "pattern", "POST /a/:id");
	check_text(json_object_get(d, "route"), "origin", "ration.yaml:3");
	assert_int_equal(json_array_size(json_object_get(d, "rates")), 2);
	json_decref(d);
	/* The address alone: its limit decides, by its key. */
	RUN(0, ROUTE, "--attr", "ip=2001:db8::2", "--json");
	d = parsed();
	check_text(d, "limit", "per-ip");
	check_text(d, "key", "2001:db8::/64");
	check_int(d, "used", 4);
	json_decref(d);
	RUN(1, ROUTE, "--attr", "key=k", "--attr", "ip=::1", "--cost", "3");
	assert_non_null(strstr(ran.out, "denied api k: 1 of 3 used"));
	RUN(0, ROUTE, "--attr", "key=a\\040b", "--attr", "ip=::1");
	assert_non_null(strstr(ran.out, "admitted POST /a/7: exempt\n"));
	RUN(0, ROUTE);
	assert_non_null(strstr(ran.out, ": none of the route's attributes was given\n"));
	RUN(0, "route", "GET", "/a/7", "--attr", "key=k", "--json");
	d = parsed();
	check_text(d, "limit", "");
	check_member(d, "unrouted", JSON_TRUE);
	check_member(d, "route", JSON_NULL);
	json_decref(d);
	RUN(2, ROUTE, "--attr", "key");
	check_said("NAME=VALUE");
	RUN(2, ROUTE, "--attr", "key=");
	RUN(2, ROUTE, "--attr", "ip=1.2.3.04");
	check_said("not an IP address");
	RUN(2, ROUTE, "--cost", "x");
	RUN(2, "route", "POST");
}

/* Looking and taking go on without rationd; changes say what to start. */
static void
test_down(void **state)
{
	static const char *const changes[][4] = { { "set", "login", "9/min" }, { "unset", "login" },
		{ "reset", "login", "k" }, { "plan", "k", "growth" }, { "env", "k", "local" },
		{ "share", "1/2" }, { "observe", "--all" }, { "enforce", "login" },
		{ "off", "login" }, { "reload" }, { "diff" }, { "audit" }, { "watch" },
		{ "clock", "+1h" } };
	json_t *d;

	RUN(0, "acquire", "login", "k");
	stop_rationd(SIGKILL);
	RUN(0, "acquire", "login", "k", "--cost", "2");
	RUN(1, "acquire", "login", "k");
	RUN(0, "list", "--json");
	d = parsed();
	check_int(json_array_get(d, 0), "used", 3);
	json_decref(d);
	assert_int_equal(shown("login", "k", "used"), 3);
	RUN(3, "status", "--json");
	check_said("start it with: rationd");
	d = parsed();
	check_member(d, "pid", JSON_NULL);
	check_int(json_object_get(d, "segment"), "live", 1);
	json_decref(d);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		RUN(3, changes[i][0], changes[i][1], changes[i][2]);
		check_said("default.sock");
		check_said("start it with: rationd");
	}
	start_rationd();
	assert_int_equal(shown("login", "k", "used"), 3);
	RUN(0, "status");
}

/* Neither root, nor rationd's user, nor in a group: no look, no change. */
static void
test_stranger(void **state)
{
	static const char *const changes[][4] = { { "set", "login", "9/min" },
		{ "reset", "login", "k" }, { "plan", "k", "growth" }, { "off", "login" },
		{ "reload" }, { "clock", "+1h" } };

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(service.dir, 0755), 0);
	RUN(0, "acquire", "login", "k");
	run_as = 65534;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		RUN(1, changes[i][0], changes[i][1], changes[i][2]);
		check_said("ermission denied");
	}
	RUN(3, "acquire", "login", "k");
	check_said("permission");
	RUN(3, "list");
	check_said("permission");
	run_as = 0;
	assert_int_equal(shown("login", "k", "limit_units"), 3);
	assert_int_equal(shown("login", "k", "used"), 1);
}

/* No segment at all. */
static void
test_nothing(void **state)
{
	char empty[] = "/dev/shm/ration-none-XXXXXX";

	assert_non_null(mkdtemp(empty));
	setenv("RATION_DIR", empty, 1);
	RUN(3, "list");
	check_said("start it with: rationd");
	RUN(3, "show", "api", "k");
	RUN(3, "acquire", "api", "k");
	RUN(3, "status");
	RUN(3, "set", "api", "3/min");
	RUN(3, "top");
	RUN(2);
	check_said("no command");
	setenv("RATION_DIR", service.dir, 1);
	assert_int_equal(rmdir(empty), 0); /* looking made nothing there */
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_help, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrong_use, setup, teardown),
		cmocka_unit_test_setup_teardown(test_acquire, setup, teardown),
		cmocka_unit_test_setup_teardown(test_acquire_wait, setup, teardown),
		cmocka_unit_test_setup_teardown(test_show, setup, teardown),
		cmocka_unit_test_setup_teardown(test_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_entitlements, setup, teardown),
		cmocka_unit_test_setup_teardown(test_assign, setup, teardown),
		cmocka_unit_test_setup_teardown(test_modes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_log, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
		cmocka_unit_test_setup_teardown(test_watch, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_routes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_route, setup, teardown),
		cmocka_unit_test_setup_teardown(test_down, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stranger, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
	};

	if (argc != 4) {
		fprintf(stderr, "usage: test_cli RATIOND RATION MANUAL\n");
		return 2;
	}
	rationd = argv[1];
	ration = argv[2];
	manual = argv[3];
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
