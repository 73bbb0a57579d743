/*
 * test_daemon.c - the real rationd, from the outside: started in a directory of its own,
 * asked over its socket, stopped, killed and started again; who may do what.
 */
#include "server.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ration.h"
#include "segment.h"

#define NOBODY 65534

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

/* ---- starting ---- */

static void
test_check(void **state)
{
	struct server *s = *state;
	const char *const args[] = { "-n", NULL };

	spawn(s, args);
	assert_int_equal(reap(s), 0);
	assert_string_equal(s->log, "");
	put_file(s, "ration.yaml", "limits:\n  api: 300/minn\n  api2: [1/s\n");
	spawn(s, args);
	assert_int_equal(reap(s), 1);
	put_file(s, "ration.yaml", "limits:\n  api: 300/minn\n  b: 1/parsec\ncolour: red\n");
	spawn(s, args);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "ration.yaml:2:"));
	assert_non_null(strstr(s->log, "ration.yaml:3:"));
	assert_non_null(strstr(s->log, "ration.yaml:4:"));
	assert_false(exists(s, "default.lock"));
	/* A group of another host is only warned of, and with its place. */
	put_file(s, "ration.yaml",
	    "limits: {api: 1/s}\ngroup: no-such-group-x\nadmin_group: no-such-group-y\n");
	spawn(s, args);
	assert_int_equal(reap(s), 0);
	assert_non_null(strstr(s->log,
	    "ration.yaml:2:8: found \"no-such-group-x\", expected a group of this system (a "
	    "warning"));
	assert_non_null(strstr(s->log, "ration.yaml:3:14: found \"no-such-group-y\""));
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "expected a group of this system\n"));
	put_file(s, "ration.yaml", "limits:\n  api: 300/minn\n  b: 1/parsec\ncolour: red\n");
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "ration.yaml:3:"));
	assert_false(exists(s, "default.counters"));
}

static void
test_options(void **state)
{
	struct server *s = *state;
	const char *const bad[] = { "--nonsense", NULL }, *const extra[] = { "extra", NULL },
			  *const name[] = { "-i", "../etc", NULL };

	spawn(s, bad);
	assert_int_equal(reap(s), 2);
	spawn(s, extra);
	assert_int_equal(reap(s), 2);
	spawn(s, name);
	assert_int_equal(reap(s), 2);
}

static void
test_second_refused(void **state)
{
	struct server *s = *state;
	struct server *other = calloc(1, sizeof(*other));
	const char *const args[] = { "-i", "other", NULL };

	assert_non_null(other);
	start(s);
	(void)snprintf(other->dir, sizeof(other->dir), "%s", s->dir);
	spawn(other, NULL);
	assert_int_equal(reap(other), 1);
	assert_non_null(strstr(other->log, "instance 'default' has a rationd already"));
	/* The first one did not notice. */
	assert_int_equal(number(s, "status", "pid"), s->pid);
	/* Another instance in the same directory is no second one. */
	start_with(other, args);
	assert_int_equal(stop(other, SIGTERM), 0);
	free(other);
}

static void
test_clean_end(void **state)
{
	struct server *s = *state;

	start(s);
	assert_true(exists(s, "default.sock"));
	assert_int_equal(stop(s, SIGTERM), 0);
	assert_false(exists(s, "default.sock"));
	assert_true(exists(s, "default.counters"));
	/* Without a daemon clients attach and decide. */
	assert_int_equal(admitted(s, "slow", "k", 9), 5);
	start(s);
	assert_int_equal(stop(s, SIGINT), 0);
	assert_false(exists(s, "default.sock"));
}

static void
test_notify(void **state)
{
	struct server *s = *state;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct pollfd p = { .events = POLLIN };
	char text[64] = "";

	p.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	path_in(s, "notify", sa.sun_path, sizeof(sa.sun_path));
	assert_int_equal(bind(p.fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	(void)setenv("NOTIFY_SOCKET", sa.sun_path, 1);
	start(s);
	(void)unsetenv("NOTIFY_SOCKET");
	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_true(recv(p.fd, text, sizeof(text) - 1, 0) > 0);
	assert_string_equal(text, "READY=1");
	(void)close(p.fd);
}

/* What lies where the socket or the state should be. */
static void
test_squatters(void **state)
{
	struct server *s = *state;
	char path[256], target[256];

	put_file(s, "default.sock", "not a socket");
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "is no socket"));
	path_in(s, "default.sock", path, sizeof(path));
	assert_int_equal(unlink(path), 0);

	path_in(s, "victim", target, sizeof(target));
	path_in(s, "default.lock", path, sizeof(path));
	(void)unlink(path);
	assert_int_equal(symlink(target, path), 0);
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_false(exists(s, "victim"));
	assert_int_equal(unlink(path), 0);

	path_in(s, "default.db", path, sizeof(path));
	(void)unlink(path);
	assert_int_equal(symlink(target, path), 0);
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_false(exists(s, "victim"));
	assert_int_equal(unlink(path), 0);

	assert_int_equal(chmod(s->dir, 0777), 0);
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "open to the world"));
	assert_int_equal(chmod(s->dir, 0700), 0);
	start(s);
}

/* ---- the segment ---- */

static void
test_restart_keeps_usage(void **state)
{
	struct server *s = *state;

	start(s);
	assert_int_equal(admitted(s, "slow", "k", 3), 3);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	start(s);
	assert_non_null(strstr(s->log, "segment=attached"));
	assert_int_equal(admitted(s, "slow", "k", 9), 2);
	/* Another size is a wish that only a new segment can fulfil. */
	put_file(s, "ration.yaml", "table: {keys: 5k}\nlimits: {slow: 5/24h}\n");
	assert_int_equal(stop(s, SIGTERM), 0);
	start(s);
	assert_non_null(strstr(s->log, "table.keys is 5000"));
	assert_int_equal(admitted(s, "slow", "k", 9), 0);
}

/* Damage the counters, start, and see that the old one sends its clients away. */
static void
spoil(struct server *s, void (*how)(struct seg_head *h, int fd), const char *says)
{
	char path[256];
	struct seg_head *h;
	int fd;

	path_in(s, "default.counters", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	h = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(h != MAP_FAILED);
	assert_int_equal(h->retired, 0);
	how(h, fd);
	start(s);
	assert_non_null(strstr(s->log, "segment=new"));
	assert_non_null(strstr(s->log, says));
	if (h->magic == COUNTERS_MAGIC)
		assert_int_equal(h->retired, 1);
	assert_int_equal(admitted(s, "slow", "k", 9), 5);
	assert_int_equal(stop(s, SIGTERM), 0);
	(void)munmap(h, 4096);
	(void)close(fd);
}

static void
other_layout(struct seg_head *h, int fd)
{
	h->layout_version = LAYOUT_VERSION + 1;
}

static void
other_boot(struct seg_head *h, int fd)
{
	h->boot_id[3] ^= 1;
}

static void
left_half_way(struct seg_head *h, int fd)
{
	h->retired = 1;
}

static void
truncated(struct seg_head *h, int fd)
{
	assert_int_equal(ftruncate(fd, 8192), 0);
}

static void
garbage(struct seg_head *h, int fd)
{
	memset(h, 0x5a, sizeof(*h));
}

static void
test_bad_segments(void **state)
{
	struct server *s = *state;

	start(s);
	assert_int_equal(stop(s, SIGTERM), 0);
	spoil(s, other_layout, "another layout version");
	spoil(s, other_boot, "before the last boot");
	spoil(s, left_half_way, "replaced already");
	spoil(s, truncated, "damaged or truncated");
	/* retired is garbage already: only that it is replaced is to be seen */
	{
		char path[256];
		int fd;

		path_in(s, "default.counters", path, sizeof(path));
		fd = open(path, O_RDWR | O_CLOEXEC);
		assert_true(fd >= 0);
		struct seg_head *h = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		assert_true(h != MAP_FAILED);
		garbage(h, fd);
		(void)munmap(h, 4096);
		(void)close(fd);
		start(s);
		assert_int_equal(admitted(s, "slow", "k", 9), 5);
	}
}

/* In a child with a tmpfs of 1 MiB: rationd's exit status, 99 if something was left over. */
static int
start_on_full_tmpfs(const struct server *s, int err)
{
	char path[256];
	struct stat st;
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", s->dir, "tmpfs", 0, "size=1m,mode=0700") != 0)
		return 77;
	pid = fork();
	if (pid == 0) {
		(void)setenv("RATION_DIR", s->dir, 1);
		(void)dup2(err, STDERR_FILENO);
		(void)execl(program, program, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return 98;
	for (int i = 0; i < 4; i++) {
		static const char *const names[] = { "default.counters", "default.policy",
			"default.counters.new", "default.policy.new" };

		path_in(s, names[i], path, sizeof(path));
		if (lstat(path, &st) == 0)
			return 99;
	}
	return WEXITSTATUS(status);
}

static void
test_full_tmpfs(void **state)
{
	struct server *s = *state;
	int fds[2], status;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(start_on_full_tmpfs(s, fds[1]));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(fds[1]);
	s->err = fds[0];
	while (wait_log(s, "\001 until it ends"))
		;
	(void)close(fds[0]);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip(); /* no right to mount */
	assert_int_equal(WEXITSTATUS(status), 1);
	assert_non_null(strstr(s->log, "no room for"));
}

/* A program that has the old segment open goes on, and moves over. */
static void
test_clients_move(void **state)
{
	struct server *s = *state;
	int64_t end = mono_ms() + WAIT_MS;
	char path[256];
	struct seg_head *h;
	ration_t *r;
	int fd, got = 0;

	start(s);
	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	for (int i = 0; i < 9; i++)
		got += ration_acquire(r, "slow", "k", 1, NULL);
	assert_int_equal(got, 5);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	path_in(s, "default.counters", path, sizeof(path));
	fd = open(path, O_RDWR | O_CLOEXEC);
	h = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(h != MAP_FAILED);
	other_boot(h, fd);
	/* A policy that is wrong replaces nothing. */
	put_file(s, "ration.yaml", "limits: {slow: 5/24hx}\n");
	spawn(s, NULL);
	assert_int_equal(reap(s), 1);
	assert_int_equal(h->retired, 0);
	assert_int_equal(ration_acquire(r, "slow", "k", 1, NULL), RATION_DENIED);
	put_file(s, "ration.yaml", policy_text);
	start(s);
	assert_int_equal(h->retired, 1);
	/* It looks at most once in 100 ms. */
	while (ration_acquire(r, "slow", "k", 1, NULL) != RATION_ADMITTED)
		assert_true(mono_ms() < end);
	ration_close(r);
	(void)munmap(h, 4096);
	(void)close(fd);
}

static json_int_t
policy_bytes(const struct server *s)
{
	json_t *j = ok(s, "status", NULL);
	json_int_t n =
	    json_integer_value(json_object_get(json_object_get(j, "segment"), "policy_bytes"));

	json_decref(j);
	return n;
}

/* A policy outgrows its object: usage, handles and receipts are kept, nothing is refused. */
static void
test_outgrown(void **state)
{
	struct server *s = *state;
	ration_decision_t d = RATION_DECISION_INIT;
	json_int_t small, large;
	ration_key_t key;
	ration_t *r;

	put_large(s, "slow: 5/24h", 1);
	start(s);
	small = policy_bytes(s);
	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	assert_int_equal(ration_key(r, "slow", "k", 1, &key), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(ration_key_acquire(r, &key, 1, &d), RATION_ADMITTED);
	put_large(s, "slow: 5/24h, fresh: 2/24h", 2000);
	json_decref(ok(s, "reload", NULL));
	large = policy_bytes(s);
	assert_true(large > small);
	assert_true(wait_log(s, "outgrown"));
	/* The next call of whatever kind knows the new policy. */
	assert_int_equal(ration_acquire(r, "fresh", "k", 1, NULL), RATION_ADMITTED);
	assert_int_equal(ration_refund(r, &d, 1), 0);
	assert_int_equal(ration_key_acquire(r, &key, 3, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 5);
	assert_int_equal(ration_key_acquire(r, &key, 1, NULL), RATION_DENIED);
	/* Live changes do it too, and the clients of both objects follow at once. */
	for (int i = 0; policy_bytes(s) == large; i++) {
		char params[400];

		assert_true(i < 2000);
		(void)snprintf(params, sizeof(params),
		    "{'limit':'slow','key':'%0200d','rates':'%d/24h','reason':'%0100d'}", i, i + 1,
		    i);
		json_decref(ok(s, "set", params));
		(void)snprintf(params, sizeof(params), "%0200d", i);
		assert_int_equal(ration_peek(r, "slow", params, 1, &d), RATION_ADMITTED);
		assert_int_equal(d.limit_units, i + 1);
	}
	assert_int_equal(ration_key_acquire(r, &key, 1, NULL), RATION_DENIED);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	/* Nothing was lost over a restart, nothing is left lying about. */
	start(s);
	assert_non_null(strstr(s->log, "segment=attached"));
	assert_false(exists(s, "default.policy.new") || exists(s, "default.policy.old"));
	assert_int_equal(admitted(s, "slow", "k", 1), 0);
	json_decref(ok(s, "set", "{'limit':'slow','rates':'6/24h'}"));
	assert_int_equal(ration_key_acquire(r, &key, 1, NULL), RATION_ADMITTED);
	assert_int_equal(ration_key_acquire(r, &key, 1, NULL), RATION_DENIED);
	ration_close(r);
}

/* A segment too small for the files at the start; as does -n. */
static void
test_outgrown_start(void **state)
{
	struct server *s = *state;
	const char *const args[] = { "-n", NULL };

	start(s);
	assert_int_equal(admitted(s, "slow", "k", 3), 3);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	put_large(s, "slow: 5/24h", 60000);
	spawn(s, args);
	assert_int_equal(reap(s), 0);
	start(s);
	assert_non_null(strstr(s->log, "segment=attached"));
	assert_int_equal(admitted(s, "slow", "k", 3), 2);
}

/* Killed after the larger object took the name, before the old one's clients were told. */
static void
test_outgrown_half_way(void **state)
{
	struct server *s = *state;
	char path[256], old[256], copy[256], cmd[600];
	ration_t *r;

	start(s);
	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	assert_int_equal(ration_acquire(r, "slow", "k", 5, NULL), RATION_ADMITTED);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	path_in(s, "default.policy", path, sizeof(path));
	path_in(s, "default.policy.old", old, sizeof(old));
	path_in(s, "default.policy.new", copy, sizeof(copy));
	assert_int_equal(link(path, old), 0);
	(void)snprintf(cmd, sizeof(cmd), "cp '%s' '%s'", path, copy);
	assert_int_equal(system(cmd), 0);
	assert_int_equal(rename(copy, path), 0);
	start(s);
	json_decref(ok(s, "set", "{'limit':'slow','rates':'6/24h'}"));
	assert_int_equal(ration_acquire(r, "slow", "k", 1, NULL), RATION_ADMITTED);
	assert_int_equal(ration_acquire(r, "slow", "k", 1, NULL), RATION_DENIED);
	assert_false(exists(s, "default.policy.old"));
	ration_close(r);
}

/* The kernel is asked to tell when somebody sets the clock. */
static void
test_step_timer(void **state)
{
	struct server *s = *state;
	char path[64], text[1024];
	bool armed = false;

	start(s);
	for (int i = 0; i < 256 && !armed; i++) {
		ssize_t n;
		int fd;

		(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)s->pid, i);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd == -1)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		(void)close(fd);
		text[n > 0 ? n : 0] = '\0';
		/* CLOCK_REALTIME; TFD_TIMER_ABSTIME and TFD_TIMER_CANCEL_ON_SET */
		armed = strstr(text, "clockid: 0\n") != NULL &&
		    strstr(text, "settime flags: 03\n") != NULL;
	}
	assert_true(armed);
}

/* Nobody reads its messages: it goes on, and says later how many were lost. */
static void
test_deaf_log(void **state)
{
	struct server *s = *state;
	struct pollfd p;
	int fd;

	start(s);
	p = (struct pollfd) { .fd = s->err, .events = POLLIN };
	assert_true(fcntl(s->err, F_SETPIPE_SZ, 4096) >= 4096);
	fd = dial(s);
	for (int i = 0; i < 200; i++)
		assert_int_equal(code(call_fd(fd, "set",
				     i % 2 == 0 ? "{'limit':'api','rates':'1/min','reason':'odd'}"
						: "{'limit':'api','rates':'2/min'}")),
		    0);
	for (; poll(&p, 1, 0) == 1; s->len = 0)
		assert_true(read(s->err, s->log, LOG_MAX) > 0);
	assert_int_equal(code(call_fd(fd, "unset", "{'limit':'api'}")), 0);
	(void)close(fd);
	assert_true(wait_log(s, "unset api"));
	assert_non_null(strstr(s->log, "messages lost"));
}

/* ---- the protocol ---- */

static void
test_status(void **state)
{
	struct server *s = *state;
	json_t *j, *seg;

	start(s);
	j = ok(s, "status", NULL);
	seg = json_object_get(j, "segment");
	assert_string_equal(json_string_value(json_object_get(j, "instance")), "default");
	assert_int_equal(json_integer_value(json_object_get(j, "limits")), 3);
	assert_int_equal(json_integer_value(json_object_get(j, "plans")), 2);
	assert_true(json_is_false(json_object_get(j, "readonly")));
	assert_int_equal(json_integer_value(json_object_get(seg, "slots")), 2000);
#define X(name, text) assert_true(json_is_integer(json_object_get(seg, #name)));
	SEG_COUNTERS(X)
#undef X
	json_decref(j);
}

static int
code_of_line(int fd, const char *line)
{
	assert_true(put(fd, line, strlen(line)) && put(fd, "\n", 1));
	return code(get(fd));
}

static void
test_garbage(void **state)
{
	struct server *s = *state;
	int fd;

	start(s);
	fd = dial(s);
	assert_int_equal(code_of_line(fd, "hello"), -32700);
	assert_int_equal(code_of_line(fd, "{"), -32700);
	assert_int_equal(code_of_line(fd, "\xff\xfe"), -32700);
	assert_int_equal(code_of_line(fd, "7"), -32600);
	assert_int_equal(code_of_line(fd, "[]"), -32600);
	assert_int_equal(code_of_line(fd, "{\"id\":1,\"method\":\"status\"}"), -32600);
	assert_int_equal(code(call_fd(fd, "nonsense", NULL)), -32601);
	assert_int_equal(code(call_fd(fd, "status", "[]")), -32602);
	assert_int_equal(code(call_fd(fd, "status", "{'x':1}")), -32602);
	assert_int_equal(code(call_fd(fd, "set", "{'limit':7,'rates':'1/s'}")), -32602);
	assert_int_equal(code(call_fd(fd, "set", "{'limit':'api'}")), -32602);
	assert_int_equal(code(call_fd(fd, "set", "{'limit':'nope','rates':'1/s'}")), -32004);
	assert_int_equal(code(call_fd(fd, "set", "{'limit':'api','rates':'fast'}")), -32003);
	assert_int_equal(
	    code(call_fd(fd, "set", "{'limit':'api','rates':'1/s','plan':'nope'}")), -32003);
	assert_int_equal(
	    code(call_fd(fd, "set", "{'limit':'api','rates':'1/s','for_s':0}")), -32602);
	assert_int_equal(
	    code(call_fd(fd, "set", "{'limit':'api','rates':'1/s','until':1}")), -32602);
	assert_int_equal(
	    code(call_fd(fd, "set", "{'limit':'api','rates':'1/s','reason':'two\\nlines'}")),
	    -32602);
	assert_int_equal(code(call_fd(fd, "plan", "{'key':'','plan':'team'}")), -32602);
	assert_int_equal(code(call_fd(fd, "plan", "{'key':'k\\\\','plan':'team'}")), -32602);
	assert_int_equal(code(call_fd(fd, "mode", "{'all':true,'mode':'maybe'}")), -32602);
	assert_int_equal(
	    code(call_fd(fd, "mode", "{'all':true,'limit':'api','mode':'off'}")), -32602);
	assert_int_equal(code(call_fd(fd, "share", "{'share':'7/6'}")), -32602);
	assert_int_equal(code(call_fd(fd, "unset", "{'limit':'api'}")), -32004);
	assert_int_equal(code(call_fd(fd, "reset", "{'limit':'api','key':'k'}")), -32004);
	assert_int_equal(code(call_fd(fd, "clock", "{'advance_s':1}")), -32001);
	/* A notification has no answer, an empty line neither; a batch has one line. */
	assert_true(put(fd, "\r\n\n", 3));
	assert_true(put(fd, "{\"jsonrpc\":\"2.0\",\"method\":\"status\"}\n", 36));
	{
		static const char batch[] = "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"},"
					    "{\"jsonrpc\":\"2.0\",\"method\":\"status\"},8]\n";
		json_t *j;

		assert_true(put(fd, batch, strlen(batch)));
		j = get(fd);
		assert_int_equal(json_array_size(j), 2);
		json_decref(j);
	}
	assert_int_equal(number(s, "status", "changes"), 0);
	assert_int_equal(number(s, "status", "policy_version"), 1);
	(void)close(fd);
}

/* More than a line may be, half a line, many requests in one piece. */
static void
test_lines(void **state)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"plans\"}\n";
	struct server *s = *state;
	char *big = malloc(1 << 16);
	int fd, half;
	json_t *j;

	assert_non_null(big);
	memset(big, 'x', 1 << 16);
	start(s);
	half = dial(s);
	assert_true(put(half, ask, 10));
	fd = dial(s);
	for (int i = 0; i < 40; i++)
		if (!put(fd, big, 1 << 16))
			break;
	j = get(fd); /* the answer, or the end if what was sent after it came in between */
	if (j != NULL)
		assert_int_equal(code(j), -32600);
	(void)close(fd);
	assert_int_equal(number(s, "status", "limits"), 3);
	assert_true(put(half, ask + 10, sizeof(ask) - 1 - 10));
	assert_int_equal(code(get(half)), 0);
	/* 100 requests at once, then no more: all are answered before the end. */
	for (int i = 0; i < 100; i++)
		assert_true(put(half, ask, sizeof(ask) - 1));
	assert_int_equal(shutdown(half, SHUT_WR), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(code(get(half)), 0);
	assert_null(get(half));
	(void)close(half);
	free(big);
}

/* A client that asks and asks and never reads is held back; others are served. */
static void
test_deaf_client(void **state)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"limits\"}\n";
	struct server *s = *state;
	struct pollfd p = { .events = POLLOUT };
	size_t sent = 0, at = 0;
	int watcher;

	start(s);
	p.fd = dial(s);
	assert_int_equal(fcntl(p.fd, F_SETFL, O_NONBLOCK), 0);
	while (poll(&p, 1, 1000) == 1) {
		ssize_t n = send(p.fd, ask + at, sizeof(ask) - 1 - at, MSG_NOSIGNAL);

		if (n <= 0)
			continue;
		sent += (size_t)n;
		at = (at + (size_t)n) % (sizeof(ask) - 1);
		assert_true(sent < (64u << 20)); /* it must stop taking more */
	}
	assert_int_equal(number(s, "status", "limits"), 3);
	assert_true(resident_kb(s->pid) < 64 * 1024);
	/* A watcher that does not read is closed before it costs much. */
	watcher = watch(s);
	for (int i = 0; i < 20; i++) {
		char params[80];

		(void)snprintf(params, sizeof(params), "{'limit':'api','rates':'%d/min'}", 100 + i);
		json_decref(ok(s, "set", params));
	}
	assert_int_equal(number(s, "status", "changes"), 1);
	(void)close(watcher);
	(void)close(p.fd);
}

static void
test_crowd(void **state)
{
	struct server *s = *state;
	int fds[300], served = 0;

	start(s);
	for (int i = 0; i < 300; i++)
		fds[i] = dial(s);
	for (int i = 0; i < 300; i++) {
		static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n";
		json_t *j = NULL;

		if (fds[i] >= 0 && put(fds[i], ask, sizeof(ask) - 1))
			j = get(fds[i]);
		served += j != NULL && json_object_get(j, "result") != NULL;
		json_decref(j);
	}
	assert_int_equal(served, 256);
	for (int i = 0; i < 300; i++)
		if (fds[i] >= 0)
			(void)close(fds[i]);
	/* As soon as they are gone there is room; the end of one is seen in order. */
	for (bool again = true; again;) {
		json_t *j = call(s, "status", NULL);

		again = json_object_get(j, "result") == NULL;
		json_decref(j);
	}
}

/* ---- permission ---- */

/* In a child that is nobody: what `set` answers; 1: no connection. */
static int
as_nobody(struct server *s, bool *readonly)
{
	static const char *const reading[] = { "status", "limits", "plans", "changes", "diff_yaml",
		"audit", "watch" };
	int fds[2], status, got = 0;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char path[256];
		json_t *j;
		int fd, out[2];

		if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
			_exit(2);
		path_in(s, "default.policy", path, sizeof(path));
		if (open(path, O_RDWR | O_CLOEXEC) != -1)
			_exit(3);
		fd = dial(s);
		out[0] = 1;
		out[1] = 1;
		if (fd >= 0) {
			out[0] = code(call_fd(fd, "set", "{'limit':'api','rates':'1/s'}"));
			j = call_fd(fd, "status", NULL);
			out[1] =
			    json_is_true(json_object_get(json_object_get(j, "result"), "readonly"));
			for (size_t i = 0; i < sizeof(reading) / sizeof(reading[0]); i++)
				if (code(call_fd(fd, reading[i], NULL)) != 0)
					_exit(5);
		}
		_exit(write(fds[1], out, sizeof(out)) == sizeof(out) ? 0 : 4);
	}
	{
		int in[2] = { 0, 0 };

		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
		assert_int_equal(read(fds[0], in, sizeof(in)), sizeof(in));
		got = in[0];
		*readonly = in[1] != 0;
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
	return got;
}

static void
test_permission(void **state)
{
	struct server *s = *state;
	char text[1024];
	bool readonly;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(s->dir, 0755), 0);
	/* Neither in the group: no connection. */
	start(s);
	assert_int_equal(as_nobody(s, &readonly), 1);
	/* In the group, not in the admin group: look only. */
	(void)snprintf(text, sizeof(text), "group: nogroup\nadmin_group: daemon\n%s", policy_text);
	put_file(s, "ration.yaml", text);
	json_decref(ok(s, "reload", NULL));
	assert_int_equal(as_nobody(s, &readonly), -32001);
	assert_true(readonly);
	assert_rates(s, "api", "300/min", NULL);
	assert_int_equal(number(s, "status", "changes"), 0);
	/* In both, also after a restart. */
	(void)snprintf(text, sizeof(text), "group: nogroup\nadmin_group: nogroup\n%s", policy_text);
	put_file(s, "ration.yaml", text);
	assert_int_equal(stop(s, SIGTERM), 0);
	start(s);
	assert_int_equal(as_nobody(s, &readonly), 0);
	assert_false(readonly);
	assert_rates(s, "api", "1/s", NULL);
	{
		json_t *j = ok(s, "audit", NULL);
		json_t *e = json_array_get(json_object_get(j, "entries"), 0);

		assert_string_equal(json_string_value(json_object_get(e, "who")), "nobody");
		assert_int_equal(json_integer_value(json_object_get(e, "uid")), NOBODY);
		json_decref(j);
	}
	/* A group that does not exist is a mistake. */
	(void)snprintf(text, sizeof(text), "group: no-such-group-x\n%s", policy_text);
	put_file(s, "ration.yaml", text);
	assert_int_equal(code(call(s, "reload", NULL)), -32003);
}

int
main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup_policy, teardown)
	const struct CMUnitTest tests[] = {
		T(test_check),
		T(test_options),
		T(test_second_refused),
		T(test_clean_end),
		T(test_notify),
		T(test_squatters),
		T(test_restart_keeps_usage),
		T(test_bad_segments),
		T(test_full_tmpfs),
		T(test_clients_move),
		T(test_outgrown),
		T(test_outgrown_start),
		T(test_outgrown_half_way),
		T(test_step_timer),
		T(test_deaf_log),
		T(test_status),
		T(test_garbage),
		T(test_lines),
		T(test_deaf_client),
		T(test_crowd),
		T(test_permission),
	};
#undef T
	struct rlimit files;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_daemon RATIOND [TEST]\n");
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
