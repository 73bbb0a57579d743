#include "server.h"

#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

#include "ration.h"

const char *program;

/* ---- files ---- */

void
path_in(const struct server *s, const char *name, char *out, size_t size)
{
	assert_true(snprintf(out, size, "%s/%s", s->dir, name) < (int)size);
}

void
put_file(const struct server *s, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	path_in(s, name, path, sizeof(path));
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

bool
exists(const struct server *s, const char *name)
{
	char path[256];
	struct stat st;

	path_in(s, name, path, sizeof(path));
	return lstat(path, &st) == 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

/* ---- the process ---- */

int64_t
mono_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t
cpu_ms(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%*d %*s %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			     &user, &system),
	    2);
	(void)fclose(f);
	return (int64_t)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

void
spawn(struct server *s, const char *const *args)
{
	const char *argv[16] = { program };
	int fds[2], n = 1;

	for (; args != NULL && *args != NULL && n < 15; args++)
		argv[n++] = *args;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	s->len = 0;
	s->log[0] = '\0';
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (s->pid == 0) {
		(void)setenv("RATION_DIR", s->dir, 1);
		(void)dup2(fds[1], STDERR_FILENO);
		(void)execv(program, (char **)(uintptr_t)argv);
		_exit(127);
	}
	(void)close(fds[1]);
	s->err = fds[0];
}

bool
wait_log(struct server *s, const char *text)
{
	int64_t end = mono_ms() + WAIT_MS;
	struct pollfd p = { .fd = s->err, .events = POLLIN };
	ssize_t n;

	while (strstr(s->log, text) == NULL) {
		if (poll(&p, 1, (int)(end - mono_ms())) != 1)
			fail_msg("no '%s' in: %s", text, s->log);
		n = read(s->err, s->log + s->len, LOG_MAX - 1 - s->len);
		if (n <= 0)
			return false;
		s->len += (size_t)n;
		s->log[s->len] = '\0';
	}
	return true;
}

int
reap(struct server *s)
{
	int status;

	while (wait_log(s, "\001 until it ends"))
		;
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	(void)close(s->err);
	s->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void
start_with(struct server *s, const char *const *args)
{
	spawn(s, args);
	if (!wait_log(s, "rationd: ready instance="))
		fail_msg("rationd did not start: %s", s->log);
}

void
start(struct server *s)
{
	start_with(s, NULL);
}

int
stop(struct server *s, int sig)
{
	assert_int_equal(kill(s->pid, sig), 0);
	return reap(s);
}

int
setup(void **state)
{
	struct server *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	(void)snprintf(s->dir, sizeof(s->dir), "/tmp/ration-test.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	*state = s;
	return 0;
}

int
setup_running(void **state, const char *policy)
{
	int e = setup(state);

	if (e != 0)
		return e;
	put_file(*state, "ration.yaml", policy);
	start(*state);
	return 0;
}

int
teardown(void **state)
{
	struct server *s = *state;

	if (s->pid > 0) {
		(void)kill(s->pid, SIGKILL);
		(void)waitpid(s->pid, NULL, 0);
		(void)close(s->err);
	}
	(void)nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(s);
	return 0;
}

/* ---- its socket ---- */

int
dial(const struct server *s)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/default.sock", s->dir);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0) {
		(void)close(fd);
		return -1;
	}
	return fd;
}

bool
put(int fd, const void *bytes, size_t n)
{
	const char *p = bytes;

	while (n > 0) {
		ssize_t done = send(fd, p, n, MSG_NOSIGNAL);

		if (done <= 0)
			return false;
		p += done;
		n -= (size_t)done;
	}
	return true;
}

/* Peeked at first, so that nothing is read beyond the line. */
json_t *
get(int fd)
{
	int64_t end = mono_ms() + WAIT_MS;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t n = 0, cap = 0;
	char *line = NULL, *newline = NULL;
	json_t *j = NULL;

	while (newline == NULL) {
		ssize_t some;

		if (cap - n < 65536) {
			cap = 2 * cap + 65536;
			line = realloc(line, cap);
			assert_non_null(line);
		}
		if (poll(&p, 1, (int)(end - mono_ms())) != 1)
			fail_msg("no answer");
		some = recv(fd, line + n, cap - n, MSG_PEEK);
		if (some <= 0)
			break;
		newline = memchr(line + n, '\n', (size_t)some);
		if (newline != NULL)
			some = newline + 1 - (line + n);
		assert_int_equal(recv(fd, line + n, (size_t)some, 0), some);
		n += (size_t)some;
	}
	if (newline != NULL) {
		j = json_loadb(line, n - 1, 0, NULL);
		assert_non_null(j);
	}
	free(line);
	return j;
}

json_t *
call_fd(int fd, const char *method, const char *params)
{
	char text[4096], *q;
	int n = snprintf(text, sizeof(text), "{'jsonrpc':'2.0','id':7,'method':'%s','params':%s}\n",
	    method, params != NULL ? params : "{}");

	assert_true(n > 0 && n < (int)sizeof(text));
	for (q = text; *q != '\0'; q++)
		if (*q == '\'')
			*q = '"';
	assert_true(put(fd, text, (size_t)n));
	return get(fd);
}

json_t *
call(const struct server *s, const char *method, const char *params)
{
	int fd = dial(s);
	json_t *j;

	assert_true(fd >= 0);
	j = call_fd(fd, method, params);
	(void)close(fd);
	assert_non_null(j);
	return j;
}

int
code(json_t *j)
{
	int c = (int)json_integer_value(json_object_get(json_object_get(j, "error"), "code"));

	if (c == 0)
		assert_non_null(json_object_get(j, "result"));
	json_decref(j);
	return c;
}

json_t *
ok(const struct server *s, const char *method, const char *params)
{
	json_t *j = call(s, method, params), *result = json_object_get(j, "result");

	if (result == NULL)
		fail_msg("%s %s: %s", method, params != NULL ? params : "", json_dumps(j, 0));
	json_incref(result);
	json_decref(j);
	return result;
}

json_int_t
number(const struct server *s, const char *method, const char *name)
{
	json_t *j = ok(s, method, NULL);
	json_int_t n = json_integer_value(json_object_get(j, name));

	json_decref(j);
	return n;
}

void
assert_rates(const struct server *s, const char *limit, const char *want, json_int_t *generation)
{
	json_t *j = ok(s, "limits", NULL), *one, *rate;
	char text[256] = "";
	size_t i, k;

	json_array_foreach(json_object_get(j, "limits"), i, one)
	{
		if (strcmp(json_string_value(json_object_get(one, "name")), limit) != 0)
			continue;
		if (generation != NULL)
			*generation = json_integer_value(json_object_get(one, "generation"));
		json_array_foreach(json_object_get(one, "rates"), k, rate)
		{
			size_t at = strlen(text);

			(void)snprintf(text + at, sizeof(text) - at, "%s%s", k > 0 ? ", " : "",
			    json_string_value(rate));
		}
	}
	assert_string_equal(text, want);
	json_decref(j);
}

int
watch(const struct server *s)
{
	int fd = dial(s);

	assert_true(fd >= 0);
	assert_int_equal(code(call_fd(fd, "watch", NULL)), 0);
	return fd;
}

void
wait_event(int fd, const char *type)
{
	for (bool found = false; !found;) {
		json_t *j = get(fd);

		assert_non_null(j);
		assert_string_equal(json_string_value(json_object_get(j, "method")), "event");
		found =
		    strcmp(json_string_value(json_object_get(json_object_get(j, "params"), "type")),
			type) == 0;
		json_decref(j);
	}
}

int
admitted(const struct server *s, const char *limit, const char *key, int n)
{
	ration_t *r;
	int got = 0;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	for (int i = 0; i < n; i++) {
		int v = ration_acquire(r, limit, key, 1, NULL);

		assert_true(v == RATION_ADMITTED || v == RATION_DENIED);
		got += v;
	}
	ration_close(r);
	return got;
}

long
resident_kb(pid_t pid)
{
	char path[64], line[256];
	long kb = -1;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "RssAnon: %ld", &kb) == 1)
			break;
	(void)fclose(f);
	return kb;
}

void
put_large(const struct server *s, const char *limits, int keys)
{
	char path[256];
	FILE *f;

	path_in(s, "ration.yaml", path, sizeof(path));
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fprintf(f,
	    "table: {keys: 2k, policy: 64Ki}\nplans: [free, team]\nlimits: {%s}\nassign:\n",
	    limits);
	for (int i = 0; i < keys; i++)
		(void)fprintf(f, "  customer-with-a-rather-long-name-%08d: team\n", i);
	assert_int_equal(fclose(f), 0);
}
