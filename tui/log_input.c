#include "log_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access_log.h"
#include "scratch.h"

#define BUF_BYTES (UINT64_C(1) << 20)

static int
open_packed(struct log_input *in, const char *path)
{
	char *argv[] = { (char[]) { "zcat" }, (char[]) { "--" }, (char *)(uintptr_t)path, NULL };
	int fds[2];

	if (access(path, R_OK) != 0 || pipe2(fds, O_CLOEXEC) != 0)
		return -1;
	in->fd = fds[0];
	in->unpacker = scratch_spawn(argv, fds[1]);
	(void)close(fds[1]);
	if (in->unpacker > 0)
		return 0;
	return -1;
}

static int
open_file(struct log_input *in, const char *path)
{
	size_t n = strlen(path);
	struct stat st;

	if (n > 3 && strcmp(path + n - 3, ".gz") == 0)
		return open_packed(in, path);
	if (strcmp(path, "-") != 0)
		in->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (in->fd == -1)
		return -1;
	if (fstat(in->fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	if (S_ISREG(st.st_mode))
		in->size = (uint64_t)st.st_size;
	(void)posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	return 0;
}

int
log_input_open(struct log_input *in, const char *path)
{
	*in = (struct log_input) { .fd = STDIN_FILENO };
	in->buf = malloc(BUF_BYTES + 1);
	if (in->buf != NULL && open_file(in, path) == 0)
		return 0;
	if (in->fd > STDIN_FILENO)
		(void)close(in->fd);
	free(in->buf);
	in->buf = NULL;
	return -1;
}

/*
 * Wait until there is something to read.  False: a signal asks us to end; one that comes just
 * before we wait does not go unnoticed.
 */
static bool
wait_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	sigset_t all, usual;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &usual);
	while (scratch_signal == 0 && ppoll(&p, 1, NULL, &usual) == -1 && errno == EINTR)
		;
	(void)sigprocmask(SIG_SETMASK, &usual, NULL);
	return scratch_signal == 0;
}

/* More behind what is left, which moves to the front.  False: no more. */
static bool
fill(struct log_input *in, int *error)
{
	ssize_t n;

	if (in->start > 0) {
		memmove(in->buf, in->buf + in->start, in->end - in->start);
		in->end -= in->start;
		in->start = 0;
	}
	if (in->eof || in->end == BUF_BYTES)
		return false;
	if (!wait_readable(in->fd)) {
		in->eof = true;
		*error = EINTR;
		return false;
	}
	do
		n = read(in->fd, in->buf + in->end, BUF_BYTES - in->end);
	while (n == -1 && errno == EINTR && scratch_signal == 0);
	if (n <= 0) {
		in->eof = true;
		*error = n < 0 ? errno : 0;
		return false;
	}
	in->end += (size_t)n;
	return true;
}

/* The end of the first line, reading on for it; NULL: there is none within what can be. */
static char *
line_end(struct log_input *in, int *error)
{
	size_t seen = 0;

	for (;;) {
		char *from = in->buf + in->start;
		char *nl = memchr(from + seen, '\n', in->end - in->start - seen);

		if (nl != NULL)
			return nl;
		seen = in->end - in->start;
		if (seen > LOG_LINE_MAX || !fill(in, error))
			return NULL;
	}
}

const char *
log_input_peek(struct log_input *in, size_t *len)
{
	int error = 0;
	char *nl = line_end(in, &error);

	*len = (nl != NULL ? (size_t)(nl - in->buf) : in->end) - in->start;
	return *len == 0 && nl == NULL ? NULL : in->buf + in->start;
}

/* The rest of a line that is too long. */
static void
skip_rest(struct log_input *in, int *error)
{
	for (;;) {
		char *nl = memchr(in->buf + in->start, '\n', in->end - in->start);

		if (nl != NULL) {
			in->bytes += (size_t)(nl + 1 - in->buf) - in->start;
			in->start = (size_t)(nl + 1 - in->buf);
			return;
		}
		in->bytes += in->end - in->start;
		in->start = in->end = 0;
		if (!fill(in, error))
			return;
	}
}

char *
log_input_line(struct log_input *in, size_t *len, int *error)
{
	char *nl, *line;
	size_t n;

	*error = 0;
	nl = line_end(in, error);
	line = in->buf + in->start;
	n = (nl != NULL ? (size_t)(nl - in->buf) : in->end) - in->start;
	if (*error != 0 || (nl == NULL && n == 0))
		return NULL;
	*len = n;
	if (n > LOG_LINE_MAX) {
		skip_rest(in, error);
		return in->buf;
	}
	in->start += n + (nl != NULL);
	in->bytes += n + (nl != NULL);
	if (n > 0 && line[n - 1] == '\r')
		--*len;
	line[*len] = '\0';
	return line;
}

bool
log_input_close(struct log_input *in)
{
	bool ok = true;

	if (in->fd > STDIN_FILENO)
		(void)close(in->fd);
	if (in->unpacker > 0) {
		int status = scratch_wait(in->unpacker);

		/* 2: a warning; and when we stop reading, it ends by SIGPIPE. */
		ok = status == 0 || status == 2 || !in->eof;
	}
	free(in->buf);
	in->buf = NULL;
	return ok;
}
