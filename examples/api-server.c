/*
 * api-server.c - an HTTP service whose workers share their rate limits.
 *
 * Read it from handle() on, and copy what you need.  Several processes listen
 * on one port (SO_REUSEPORT: the kernel spreads the connections over them), and
 * each asks libration before it does its work.  They exchange nothing: the
 * counts lie in shared memory, so a limit of 300 a minute is 300 whichever
 * worker answers, and still is while rationd is away.
 *
 * Who is limited: the API key (X-Api-Key, or Authorization: Bearer), else the
 * caller's address.  What a service of yours does besides:
 *   - check that the API key exists before it is counted, or everybody makes
 *     up a fresh key for each request; count unknown ones on their address;
 *   - take the address from X-Forwarded-For only if a proxy of yours set it.
 *
 * It needs the public header and pkg-config alone (tests/test_install.sh builds
 * it so, against an installed tree):
 *	cc api-server.c -o api-server $(pkg-config --cflags --libs ration libevent)
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include <ration.h>

#define WORKERS_MAX 64

struct options {
	uint16_t port;
	unsigned workers;
	const char *instance; /* of rationd; NULL: $RATION_INSTANCE or "default" */
	const char *limit;    /* name of the limit in the policy */
};

struct worker {
	const struct options *options;
	unsigned index;
	pid_t pid;
	int listener;
	time_t started;   /* CLOCK_MONOTONIC, s */
	ration_t *ration; /* NULL: not open yet */
	int logged;       /* the error that was logged last; 0: none */
	struct event_base *base;
};

/* ---- Answers ---- */

static void __attribute__((format(printf, 3, 4)))
header(struct evhttp_request *req, const char *name, const char *fmt, ...)
{
	char value[64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	evhttp_add_header(evhttp_request_get_output_headers(req), name, value);
}

static void __attribute__((format(printf, 4, 5)))
answer(struct evhttp_request *req, int code, const char *phrase, const char *fmt, ...)
{
	struct evbuffer *body = evbuffer_new();
	va_list ap;

	if (body) {
		va_start(ap, fmt);
		evbuffer_add_vprintf(body, fmt, ap);
		va_end(ap);
	}
	header(req, "Content-Type", "application/json");
	evhttp_send_reply(req, code, phrase, body);
	if (body)
		evbuffer_free(body);
}

/* A limit that is unlimited or switched off has no figures to show. */
static void
rate_headers(struct evhttp_request *req, const ration_decision_t *d)
{
	if (d->nrates == 0 || d->limit_units == RATION_UNLIMITED)
		return;
	header(req, "X-RateLimit-Limit", "%" PRIu64, d->limit_units);
	header(req, "X-RateLimit-Remaining", "%" PRIu64, d->remaining);
	/* Of a denial: when the next request may come.  Else: when all has come back. */
	if (d->verdict == RATION_DENIED && d->retry_at > 0)
		header(req, "X-RateLimit-Reset", "%" PRId64, d->retry_at);
	else
		header(req, "X-RateLimit-Reset", "%" PRId64, d->reset_at);
}

/* 429: what was exceeded, and when to come back. */
static void
answer_denied(struct evhttp_request *req, const char *key, const ration_decision_t *d)
{
	const char *who = strncmp(key, "key:", 4) == 0 ? "API key" : "IP address";
	char rate[64] = "its limit";
	char *slash;
	int units;

	if (d->nrates > 0) /* "300/min" reads "300 req/min" */
		ration_rate_text(&d->rates[0], rate, sizeof(rate));
	slash = strchr(rate, '/');
	units = slash ? (int)(slash - rate) : (int)strlen(rate);

	if (d->retry_at == RATION_NEVER) {
		answer(req, 429, "Too Many Requests",
		    "{\"error\":\"rate_limit_exceeded\",\"message\":\"%s exceeded %.*s%s%s. "
		    "Waiting does not help.\",\"retryAfter\":null}\n",
		    who, units, rate, slash ? " req" : "", slash ? slash : "");
		return;
	}
	header(req, "Retry-After", "%" PRIu32, d->retry_after);
	answer(req, 429, "Too Many Requests",
	    "{\"error\":\"rate_limit_exceeded\",\"message\":\"%s exceeded %.*s%s%s. "
	    "Retry in %" PRIu32 " second%s.\",\"retryAfter\":%" PRIu32 "}\n",
	    who, units, rate, slash ? " req" : "", slash ? slash : "", d->retry_after,
	    d->retry_after == 1 ? "" : "s", d->retry_after);
}

/* ---- One request ---- */

/* Who is limited, as a key of at most size - 1 bytes.  False: it does not fit. */
static bool
key_of(struct evhttp_request *req, char *key, size_t size)
{
	const struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
	const char *api_key = evhttp_find_header(headers, "X-Api-Key");
	const char *authorization = evhttp_find_header(headers, "Authorization");
	char *address = NULL;
	uint16_t port;
	int len;

	if ((!api_key || !*api_key) && authorization &&
	    strncasecmp(authorization, "Bearer ", 7) == 0)
		api_key = authorization + 7;
	if (api_key && *api_key) {
		len = snprintf(key, size, "key:%s", api_key);
	} else {
		evhttp_connection_get_peer(evhttp_request_get_connection(req), &address, &port);
		len = snprintf(key, size, "ip:%s", address ? address : "unknown");
	}
	return len > 0 && (size_t)len < size;
}

/*
 * Take one unit.  Opening is tried again with each request while it fails, for
 * that is cheap; then the handle lasts, also over restarts of rationd.  A service that
 * would rather serve without limits than not at all passes RATION_FAIL_OPEN.
 */
static int
take(struct worker *w, const char *key, ration_decision_t *d)
{
	const char *limit = w->options->limit;
	int r = 0;

	if (!w->ration)
		r = ration_open(w->options->instance, 0, &w->ration);
	if (r == 0)
		r = ration_acquire(w->ration, limit, key, 1, d);

	if (r < 0 && r != w->logged) /* once, not with each request */
		fprintf(stderr,
		    "api-server: worker %u: limit %s cannot be asked, answering 503: %s\n",
		    w->index, limit, ration_strerror(r));
	else if (r >= 0 && w->logged)
		fprintf(stderr, "api-server: worker %u: limit %s answers again\n", w->index, limit);
	w->logged = r < 0 ? r : 0;
	return r;
}

static void
handle(struct evhttp_request *req, void *arg)
{
	struct worker *w = arg;
	ration_decision_t d = RATION_DECISION_INIT;
	char key[RATION_KEY_MAX + 1];
	int r;

	header(req, "X-Worker", "%u", w->index);
	if (!key_of(req, key, sizeof(key))) {
		answer(req, 400, "Bad Request",
		    "{\"error\":\"bad_key\",\"message\":\"The API key is longer than %u "
		    "bytes.\"}\n",
		    RATION_KEY_MAX - 4);
		return;
	}
	r = take(w, key, &d);
	if (r < 0) {
		answer(req, 503, "Service Unavailable",
		    "{\"error\":\"rate_limiter_unavailable\",\"message\":\"%s\"}\n",
		    ration_strerror(r));
		return;
	}
	rate_headers(req, &d);
	if (r == RATION_DENIED) {
		answer_denied(req, key, &d);
		return;
	}
	/* The work itself would be done here. */
	answer(req, 200, "OK", "{\"message\":\"hello\",\"worker\":%u}\n", w->index);
}

/* ---- A worker ---- */

static void
on_term(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	event_base_loopexit(arg, NULL); /* after the requests at hand */
}

/* Serve until SIGTERM.  Returns the exit status. */
static int
work(struct worker *w)
{
	struct event *term = NULL;
	struct evhttp *http = NULL;
	int status = 1;
	int r = ration_open(w->options->instance, 0, &w->ration);

	if (r < 0) { /* not a reason to leave: rationd may come */
		fprintf(stderr, "api-server: worker %u: %s\n", w->index, ration_strerror(r));
		w->ration = NULL;
		w->logged = r;
	}
	w->base = event_base_new();
	if (w->base) {
		term = evsignal_new(w->base, SIGTERM, on_term, w->base);
		http = evhttp_new(w->base);
	}
	if (!term || !http || event_add(term, NULL) != 0 ||
	    evhttp_accept_socket(http, w->listener) != 0) {
		fprintf(stderr, "api-server: worker %u: cannot start\n", w->index);
		goto out;
	}
	evhttp_set_gencb(http, handle, w);
	evhttp_set_timeout(http, 30);
	evhttp_set_max_headers_size(http, 16 * 1024);
	evhttp_set_max_body_size(http, 64 * 1024);
	event_base_dispatch(w->base);
	status = 0;
out:
	if (http)
		evhttp_free(http);
	if (term)
		event_free(term);
	if (w->base)
		event_base_free(w->base);
	ration_close(w->ration);
	return status;
}

/* ---- The parent: it only supervises ---- */

static time_t
now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/*
 * A listening socket on the loopback address.  The first is bound alone and
 * shares its port only then, so that a service that already runs on the port
 * is an error, not a partner.  *port 0: any; filled in.
 */
static int
listen_on(uint16_t *port, bool first)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(*port) };
	socklen_t len = sizeof(sin);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
		goto fail;
	if (!first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
		goto fail;
	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0)
		goto fail;
	if (first && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
		goto fail;
	if (listen(fd, SOMAXCONN) != 0 || getsockname(fd, (struct sockaddr *)&sin, &len) != 0)
		goto fail;
	*port = ntohs(sin.sin_port);
	return fd;
fail:
	fprintf(stderr, "api-server: port %u: %s\n", *port, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Start workers[i].  The parent keeps its socket: a successor takes it over as it is. */
static bool
start(struct worker *workers, unsigned i, unsigned n, const sigset_t *signals)
{
	pid_t parent = getpid();

	workers[i].started = now_s();
	workers[i].pid = fork();
	if (workers[i].pid != 0) {
		if (workers[i].pid < 0)
			fprintf(stderr, "api-server: worker %u: fork: %s\n", i, strerror(errno));
		return workers[i].pid > 0;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent) /* it died before that */
		_exit(0);
	signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the parent too, which ends us */
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	for (unsigned j = 0; j < n; j++) {
		if (j != i)
			close(workers[j].listener);
	}
	exit(work(&workers[i]));
}

/* Worker i ended by itself: say so, and start it again unless it ended at once. */
static bool
replace(struct worker *workers, unsigned i, unsigned n, int status, const sigset_t *signals)
{
	struct worker *w = &workers[i];
	bool again = now_s() - w->started >= 1;

	fprintf(stderr, "api-server: worker %u (pid %d) %s %d; %s\n", i, (int)w->pid,
	    WIFSIGNALED(status) ? "was ended by signal" : "left with status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	    again ? "starting another" : "too soon after its start, giving up");
	w->pid = 0;
	return again && start(workers, i, n, signals);
}

/* Until SIGTERM or SIGINT.  Returns the exit status. */
static int
supervise(struct worker *workers, unsigned n, const sigset_t *signals)
{
	for (;;) {
		int status, sig = sigwaitinfo(signals, NULL);
		pid_t pid;

		if (sig == SIGTERM || sig == SIGINT)
			return 0;
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			for (unsigned i = 0; i < n; i++) {
				if (workers[i].pid == pid &&
				    !replace(workers, i, n, status, signals))
					return 1;
			}
		}
	}
}

static void
stop(const struct worker *workers, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (workers[i].pid > 0)
			kill(workers[i].pid, SIGTERM);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static int
serve(struct options *o)
{
	static struct worker workers[WORKERS_MAX];
	sigset_t signals;
	int status = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);

	for (unsigned i = 0; i < o->workers; i++) {
		workers[i] = (struct worker) { .options = o, .index = i };
		workers[i].listener = listen_on(&o->port, i == 0);
		if (workers[i].listener < 0)
			return 1;
	}
	for (unsigned i = 0; i < o->workers && status == 0; i++)
		status = start(workers, i, o->workers, &signals) ? 0 : 1;
	if (status == 0) {
		/* From here on connections are taken. */
		printf("api-server: http://127.0.0.1:%u, %u workers, limit %s\n", o->port,
		    o->workers, o->limit);
		fflush(stdout);
		status = supervise(workers, o->workers, &signals);
	}
	stop(workers, o->workers);
	return status;
}

/* ---- Command line ---- */

static void
usage(FILE *out)
{
	fputs("usage: api-server [--port N] [--workers N] [--instance NAME] [--limit NAME]\n"
	      "  --port N         port on 127.0.0.1 (8080; 0: any, it is printed)\n"
	      "  --workers N      processes that answer (4)\n"
	      "  --instance NAME  instance of rationd ($RATION_INSTANCE, or default)\n"
	      "  --limit NAME     limit of the policy that each request takes one unit of (api)\n"
	      "  --help           this\n",
	    out);
}

/* A number from low to high, or the program ends. */
static unsigned
number(const char *name, const char *text, unsigned low, unsigned high)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || n < low || n > high) {
		fprintf(stderr, "api-server: --%s: found '%s', expected a number from %u to %u\n",
		    name, text, low, high);
		exit(2);
	}
	return (unsigned)n;
}

int
main(int argc, char **argv)
{
	static const struct option longopts[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "workers", required_argument, NULL, 'w' },
		{ "instance", required_argument, NULL, 'i' },
		{ "limit", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct options o = { .port = 8080, .workers = 4, .limit = "api" };
	int c;

	while ((c = getopt_long(argc, argv, "h", longopts, NULL)) != -1) {
		switch (c) {
		case 'p':
			o.port = (uint16_t)number("port", optarg, 0, 65535);
			break;
		case 'w':
			o.workers = number("workers", optarg, 1, WORKERS_MAX);
			break;
		case 'i':
			o.instance = optarg;
			break;
		case 'l':
			o.limit = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (optind < argc) {
		usage(stderr);
		return 2;
	}
	return serve(&o);
}
