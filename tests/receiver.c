#include "receiver.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hmac.h"

#define FLOOD (1u << 20)
#define FRESH_S 30

static int64_t
now_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool
signed_right(
    const struct hook *h, const char *stamp, const char *signature, const char *body, size_t len)
{
	char mac[HMAC_TEXT];

	if (stamp == NULL || signature == NULL || strncmp(signature, "v1=", 3) != 0)
		return false;
	hmac_sha256_text(h->secret, strlen(h->secret),
	    (struct hmac_part[]) { { stamp, strlen(stamp) }, { ".", 1 }, { body, len } }, 3, mac);
	return strcmp(signature + 3, mac) == 0 &&
	    llabs(strtoll(stamp, NULL, 10) - (long long)time(NULL)) < FRESH_S;
}

static struct got *
note(struct hook *h, struct evhttp_request *req)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
	const char *id = evhttp_find_header(headers, "X-Ration-Event");
	const char *type = evhttp_find_header(headers, "Content-Type"), *what;
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	size_t len = evbuffer_get_length(in);
	const char *body = (const char *)evbuffer_pullup(in, -1);
	json_t *j = body != NULL ? json_loadb(body, len, 0, NULL) : NULL;
	struct got *g = &h->got[h->n];

	if (h->n == HOOK_MAX || id == NULL || j == NULL ||
	    evhttp_request_get_command(req) != EVHTTP_REQ_POST) {
		h->wrong++;
		json_decref(j);
		return NULL;
	}
	memset(g, 0, sizeof(*g));
	what = json_string_value(json_object_get(j, "type"));
	(void)snprintf(g->id, sizeof(g->id), "%s", id);
	g->number = 2 * json_integer_value(json_object_get(j, "request")) +
	    (what != NULL && strcmp(what, "declined") == 0);
	g->at_ms = now_ms();
	g->signed_right = signed_right(h, evhttp_find_header(headers, "X-Ration-Timestamp"),
	    evhttp_find_header(headers, "X-Ration-Signature"), body, len);
	what = json_string_value(json_object_get(j, "id"));
	g->whole = what != NULL && strcmp(what, id) == 0 && type != NULL &&
	    strcmp(type, "application/json") == 0 && evhttp_find_header(headers, "Expect") == NULL;
	json_decref(j);
	return g;
}

/* An answer that does not end. */
static void
flood(struct evhttp_request *req)
{
	struct evbuffer *out = evbuffer_new();
	char *much = calloc(1, FLOOD);

	(void)evbuffer_add(out, much, FLOOD);
	free(much);
	evhttp_send_reply_start(req, 200, "OK");
	evhttp_send_reply_chunk(req, out);
	evbuffer_free(out);
}

static void
on_request(struct evhttp_request *req, void *arg)
{
	struct hook *h = arg;
	struct got *g = note(h, req);
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	int manner = h->manner;

	if (g == NULL) {
		evhttp_send_reply(req, 400, "Bad Request", NULL);
		return;
	}
	/* As a receiver should: what is not signed is nothing to it. */
	g->confirmed = g->signed_right && (manner == MANNER_CONFIRM || manner == MANNER_FLOOD);
	h->n++;
	if (manner == MANNER_STALL)
		return;
	if (manner == MANNER_HANG_UP) {
		struct bufferevent *b =
		    evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));

		(void)shutdown(bufferevent_getfd(b), SHUT_RDWR);
		return;
	}
	if (manner == MANNER_BUSY)
		(void)evhttp_add_header(headers, "Retry-After", "2");
	if (manner == MANNER_MOVED)
		(void)evhttp_add_header(headers, "Location", "/elsewhere");
	if (manner == MANNER_FLOOD)
		flood(req);
	else if (!g->signed_right)
		evhttp_send_reply(req, 401, "Unauthorized", NULL);
	else
		evhttp_send_reply(req,
		    manner == MANNER_FAIL        ? 500
			: manner == MANNER_BUSY  ? 503
			: manner == MANNER_MOVED ? 302
						 : 204,
		    "x", NULL);
}

/* Where a redirection leads: nobody must follow it. */
static void
on_elsewhere(struct evhttp_request *req, void *arg)
{
	((struct hook *)arg)->wrong++;
	evhttp_send_reply(req, 200, "OK", NULL);
}

static _Noreturn void
serve(struct hook *h, int ready)
{
	struct event_base *base = event_base_new();
	struct evhttp *http = evhttp_new(base);
	struct evhttp_bound_socket *s =
	    evhttp_bind_socket_with_handle(http, "127.0.0.1", (uint16_t)h->port);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGPIPE, SIG_IGN);
	if (s == NULL)
		_exit(1);
	(void)evhttp_set_cb(http, "/elsewhere", on_elsewhere, h);
	evhttp_set_gencb(http, on_request, h);
	if (write(ready, "", 1) != 1)
		_exit(2);
	(void)event_base_dispatch(base);
	_exit(3);
}

/*
 * A port that is the hook's also while nobody listens: bound, so that no connection of anybody's,
 * to this port not least, begins there.
 */
static void
reserve(struct hook *h)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t len = sizeof(at);
	int one = 1;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	h->place = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (setsockopt(h->place, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    bind(h->place, (struct sockaddr *)&at, len) != 0 ||
	    getsockname(h->place, (struct sockaddr *)&at, &len) != 0)
		abort();
	h->port = ntohs(at.sin_port);
}

struct hook *
hook_new(const char *secret)
{
	struct hook *h =
	    mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (h == MAP_FAILED)
		abort();
	(void)snprintf(h->secret, sizeof(h->secret), "%s", secret);
	reserve(h);
	return h;
}

void
hook_start(struct hook *h)
{
	int fds[2];
	pid_t pid;
	char byte;

	if (pipe(fds) != 0 || (pid = fork()) < 0)
		abort();
	if (pid == 0)
		serve(h, fds[1]);
	h->pid = pid; /* by the parent alone: both see it */
	(void)close(fds[1]);
	if (read(fds[0], &byte, 1) != 1)
		abort(); /* it could not listen */
	(void)close(fds[0]);
}

void
hook_stop(struct hook *h)
{
	if (h->pid == 0)
		return;
	(void)kill(h->pid, SIGKILL);
	(void)waitpid(h->pid, NULL, 0);
	h->pid = 0;
}

void
hook_free(struct hook *h)
{
	hook_stop(h);
	(void)close(h->place);
	(void)munmap(h, sizeof(*h));
}
