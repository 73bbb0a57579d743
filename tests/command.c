#include "command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX 30

const char *command;
struct ran ran;

/* In the child. */
static _Noreturn void
become(const struct server *s, const char *const *argv, int in, int out, int err)
{
	static const int usual[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE };

	(void)setenv("RATION_DIR", s->dir, 1);
	(void)setenv("RATION", command, 1); /* for commands that run it in turn */
	(void)unsetenv("RATION_INSTANCE");
	(void)dup2(in, STDIN_FILENO);
	(void)dup2(out, STDOUT_FILENO);
	if (err != -1)
		(void)dup2(err, STDERR_FILENO);
	/* As a login shell starts it: under nohup or a CI job some may be ignored. */
	for (unsigned i = 0; i < sizeof(usual) / sizeof(*usual); i++)
		(void)signal(usual[i], SIG_DFL);
	(void)execv(command, (char **)(uintptr_t)argv);
	_exit(99);
}

static void
text_of(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	(void)close(fd);
}

int
run(const struct server *s, ...)
{
	const char *argv[ARGS_MAX] = { "ration" };
	int in = open("/dev/null", O_RDONLY | O_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC),
	    err = memfd_create("err", MFD_CLOEXEC), status, n = 0;
	va_list ap;
	pid_t pid;

	va_start(ap, s);
	while (argv[n] != NULL && n < ARGS_MAX - 2)
		argv[++n] = va_arg(ap, const char *);
	va_end(ap);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		become(s, argv, in, out, err);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	(void)close(in);
	text_of(out, ran.out, sizeof(ran.out));
	text_of(err, ran.err, sizeof(ran.err));
	ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return ran.code;
}

struct running
launch(const struct server *s, const char *const *args)
{
	const char *argv[ARGS_MAX] = { "ration" };
	struct running r;
	int in[2], out[2];

	for (int n = 1; n < ARGS_MAX - 1 && args[n - 1] != NULL; n++)
		argv[n] = args[n - 1];
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	r.pid = fork();
	assert_true(r.pid >= 0);
	if (r.pid == 0)
		become(s, argv, in[0], out[1], -1);
	(void)close(in[0]);
	(void)close(out[1]);
	r.in = in[1];
	r.out = out[0];
	return r;
}

bool
next_line(const struct running *r, char *line, size_t size)
{
	int64_t end = mono_ms() + WAIT_MS;
	struct pollfd p = { .fd = r->out, .events = POLLIN };
	size_t n = 0;

	for (; n + 1 < size; n++) {
		if (poll(&p, 1, (int)(end - mono_ms())) != 1)
			fail_msg("it neither prints nor ends");
		if (read(r->out, &line[n], 1) != 1)
			return false;
		if (line[n] == '\n')
			break;
	}
	line[n] = '\0';
	return true;
}

int
ended(struct running *r)
{
	int status;

	assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
	(void)close(r->in);
	(void)close(r->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

json_int_t
used(const struct server *s, const char *limit, const char *key)
{
	json_int_t sum = 0;
	json_t *list, *one;
	size_t i;

	RUN(0, s, "list", limit, "--json");
	list = json_loads(ran.out, 0, NULL);
	if (!json_is_array(list))
		fail_msg("no array: %s", ran.out);
	json_array_foreach(list, i, one)
	{
		const char *text = json_string_value(json_object_get(one, "key"));

		if (key == NULL || strcmp(text, key) == 0)
			sum += json_integer_value(json_object_get(one, "used"));
	}
	json_decref(list);
	return sum;
}

int64_t
wait_used(const struct server *s, const char *limit, json_int_t want, int64_t ms)
{
	int64_t start = mono_ms(), now = start;
	json_int_t is;

	while ((is = used(s, limit, NULL)) != want) {
		now = mono_ms();
		if (now - start > ms)
			fail_msg("%s: %lld used after %lld ms, expected %lld", limit, (long long)is,
			    (long long)(now - start), (long long)want);
		(void)poll(NULL, 0, 10);
	}
	return now - start;
}
