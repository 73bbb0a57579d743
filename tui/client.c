/*
 * client.c - the client's end of the control socket.
 *
 * One buffer a connection, from which whole lines are taken: answers and
 * notifications may arrive in one piece or in many.  The timeout is for the whole
 * call, however the bytes trickle.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static int fail(struct rpc_error *e, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static int
fail(struct rpc_error *e, int code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return code;
}

void
rpc_error_clear(struct rpc_error *e)
{
	json_decref(e->data);
	memset(e, 0, sizeof(*e));
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Wait for events until the deadline (-1: for ever).  1, 0 when it is over, -1. */
static int
wait_for(int fd, short events, int64_t deadline_ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline_ms < 0 ? -1 : deadline_ms - now_ms();
		int n;

		if (deadline_ms >= 0 && left < 0)
			left = 0;
		n = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n >= 0)
			return n;
		if (errno != EINTR)
			return -1;
	}
}

static int
connect_to(int fd, const char *path, int64_t deadline_ms)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof(un.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(un.sun_path, path, strlen(path) + 1);
	for (;;) {
		struct timespec pause = { .tv_nsec = 5000000 };

		if (connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
			return 0;
		/* EAGAIN: the backlog of a Unix socket is full, and cannot be polled for. */
		if ((errno != EAGAIN && errno != EINTR) || now_ms() >= deadline_ms)
			return -1;
		nanosleep(&pause, NULL);
	}
}

int
client_open(struct client *c, const struct paths *p, struct rpc_error *e)
{
	int err;

	memset(c, 0, sizeof(*c));
	memset(e, 0, sizeof(*e));
	c->timeout_ms = CLIENT_TIMEOUT_MS;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd >= 0 && connect_to(c->fd, p->socket, now_ms() + c->timeout_ms) == 0)
		return 0;
	err = errno;
	client_close(c);
	if (err == EACCES || err == EPERM)
		return fail(e, RPC_PERMISSION, "%s: %s: it is for the group of the instance",
		    p->socket, strerror(err));
	return fail(e, RPC_DOWN, "%s: %s", p->socket, strerror(err));
}

void
client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->buf);
	memset(c, 0, sizeof(*c));
	c->fd = -1;
}

static int
send_all(struct client *c, const char *bytes, size_t len, int64_t deadline_ms, struct rpc_error *e)
{
	while (len > 0) {
		ssize_t n = send(c->fd, bytes, len, MSG_NOSIGNAL);

		if (n >= 0) {
			bytes += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail(e, RPC_DOWN, "connection to rationd: %s", strerror(errno));
		if (wait_for(c->fd, POLLOUT, deadline_ms) == 0)
			return fail(e, RPC_DOWN, "rationd takes no request within %d s",
			    c->timeout_ms / 1000);
	}
	return 0;
}

static bool
grow(struct client *c)
{
	size_t cap = c->cap ? c->cap * 2 : 8192;
	char *b;

	if (c->taken > 0) {
		memmove(c->buf, c->buf + c->taken, c->len - c->taken);
		c->len -= c->taken;
		c->taken = 0;
	}
	if (c->len + 1 < c->cap)
		return true;
	if (cap > CLIENT_LINE_MAX)
		return false;
	b = realloc(c->buf, cap);
	if (!b)
		return false;
	c->buf = b;
	c->cap = cap;
	return true;
}

/* Next line, without its newline, in c->buf.  0; 1: time is over; or RPC_.... */
static int
read_line(struct client *c, int64_t deadline_ms, char **line, struct rpc_error *e)
{
	size_t looked = c->taken;

	for (;;) {
		char *nl = c->len > looked ? memchr(c->buf + looked, '\n', c->len - looked) : NULL;
		size_t ahead;
		ssize_t n;

		if (nl) {
			*line = c->buf + c->taken;
			*nl = 0;
			c->taken = (size_t)(nl - c->buf) + 1;
			return 0;
		}
		ahead = c->len - c->taken;
		if (!grow(c))
			return fail(e, RPC_GARBLED, "rationd's answer is longer than %u MiB",
			    CLIENT_LINE_MAX >> 20);
		looked = c->taken + ahead;
		n = recv(c->fd, c->buf + c->len, c->cap - c->len - 1, 0);
		if (n > 0) {
			c->len += (size_t)n;
			continue;
		}
		if (n == 0)
			return fail(e, RPC_DOWN, "rationd closed the connection");
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return fail(e, RPC_DOWN, "connection to rationd: %s", strerror(errno));
		n = wait_for(c->fd, POLLIN, deadline_ms);
		if (n < 0)
			return fail(e, RPC_DOWN, "connection to rationd: %s", strerror(errno));
		if (n == 0)
			return 1;
	}
}

static int
parse_line(const char *line, json_t **out, struct rpc_error *e)
{
	json_error_t why;

	*out = json_loads(line, 0, &why);
	if (!json_is_object(*out)) {
		json_decref(*out);
		*out = NULL;
		return fail(e, RPC_GARBLED, "rationd's answer is no JSON object: %s", why.text);
	}
	return 0;
}

static int
answer_error(const json_t *error, struct rpc_error *e)
{
	const json_t *code = json_object_get(error, "code");
	const json_t *text = json_object_get(error, "message");
	json_int_t n = json_integer_value(code);

	if (!json_is_integer(code) || n >= 0 || n < INT32_MIN)
		return fail(e, RPC_GARBLED, "rationd's error has no code");
	e->data = json_incref(json_object_get(error, "data"));
	return fail(
	    e, (int)n, "%s", json_is_string(text) ? json_string_value(text) : "no reason given");
}

static int
send_request(
    struct client *c, const char *method, json_t *params, int64_t deadline_ms, struct rpc_error *e)
{
	json_t *req = json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)++c->id,
	    "method", method, "params", params ? params : json_object());
	char *text = req ? json_dumps(req, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;
	int rc;

	json_decref(req);
	if (!text)
		return fail(e, RPC_GARBLED, "%s: out of memory, or text that is not UTF-8", method);
	text[len] = '\n'; /* in place of the NUL */
	rc = send_all(c, text, len + 1, deadline_ms, e);
	free(text);
	return rc;
}

int
client_call(
    struct client *c, const char *method, json_t *params, json_t **result, struct rpc_error *e)
{
	int64_t deadline = now_ms() + c->timeout_ms;
	json_t *answer;
	char *line;
	int rc;

	*result = NULL;
	memset(e, 0, sizeof(*e));
	rc = send_request(c, method, params, deadline, e);
	while (rc == 0) {
		rc = read_line(c, deadline, &line, e);
		if (rc == 1)
			return fail(e, RPC_DOWN, "rationd did not answer %s within %d s", method,
			    c->timeout_ms / 1000);
		if (rc || (rc = parse_line(line, &answer, e)))
			return rc;
		if (json_object_get(answer, "method")) {
			json_decref(answer); /* a notification */
			continue;
		}
		if (json_object_get(answer, "error"))
			rc = answer_error(json_object_get(answer, "error"), e);
		else if (json_integer_value(json_object_get(answer, "id")) != c->id)
			rc = fail(e, RPC_GARBLED, "rationd answered another request");
		else if (!json_object_get(answer, "result"))
			rc = fail(e, RPC_GARBLED, "rationd's answer has no result");
		else
			*result = json_incref(json_object_get(answer, "result"));
		json_decref(answer);
		return rc;
	}
	return rc;
}

int
client_event(struct client *c, int timeout_ms, json_t **event, struct rpc_error *e)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	json_t *note, *params;
	char *line;
	int rc;

	*event = NULL;
	memset(e, 0, sizeof(*e));
	for (;;) {
		rc = read_line(c, deadline, &line, e);
		if (rc || (rc = parse_line(line, &note, e)))
			return rc;
		params = json_object_get(note, "params");
		if (json_object_get(note, "method") && json_is_object(params)) {
			*event = json_incref(params);
			json_decref(note);
			return 0;
		}
		json_decref(note);
	}
}

int
client_once(
    const struct paths *p, const char *method, json_t *params, json_t **result, struct rpc_error *e)
{
	struct client c;
	int rc;

	*result = NULL;
	rc = client_open(&c, p, e);
	if (rc) {
		json_decref(params);
		return rc;
	}
	rc = client_call(&c, method, params, result, e);
	client_close(&c);
	return rc;
}
