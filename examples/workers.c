/*
 * workers.c - the parent: it listens, starts the workers, and only supervises.
 *
 * Each worker has a listening socket of its own on the same port (SO_REUSEPORT: the kernel spreads
 * the connections over them).  The parent keeps them all, so that a successor takes over the
 * socket of a worker that died, with the connections that wait on it.  A worker is libevent's HTTP
 * server on its socket.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#include "workers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#define BODY_MAX (16 * 1024 * 1024) /* bytes */

struct process {
	pid_t pid;
	int listener;
	time_t started; /* CLOCK_MONOTONIC, s */
};

static struct process processes[WORKERS_MAX];

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

static void
on_term(evutil_socket_t sig, short what, void *arg)
{
	(void)sig;
	(void)what;
	event_base_loopexit(arg, NULL); /* after the requests at hand */
}

/* A worker: serve until SIGTERM.  Returns the exit status. */
static int
work(const struct workers *w, unsigned i)
{
	struct event_base *base = event_base_new();
	struct event *term = base ? evsignal_new(base, SIGTERM, on_term, base) : NULL;
	struct evhttp *http = base ? evhttp_new(base) : NULL;
	void *opened = w->open(i, w->arg);
	int status = 1;

	if (!term || !http || !opened || event_add(term, NULL) != 0 ||
	    evhttp_accept_socket(http, processes[i].listener) != 0) {
		fprintf(stderr, "api-server: worker %u: cannot start\n", i);
		goto out;
	}
	evhttp_set_gencb(http, w->handle, opened);
	evhttp_set_allowed_methods(http,
	    EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST | EVHTTP_REQ_PUT | EVHTTP_REQ_PATCH |
		EVHTTP_REQ_DELETE);
	evhttp_set_timeout(http, 30);
	evhttp_set_max_headers_size(http, HEADERS_MAX);
	evhttp_set_max_body_size(http, BODY_MAX);
	event_base_dispatch(base);
	status = 0;
out:
	if (http)
		evhttp_free(http);
	if (term)
		event_free(term);
	if (base)
		event_base_free(base);
	if (opened)
		w->close(opened);
	return status;
}

static bool
start(const struct workers *w, unsigned i, const sigset_t *signals)
{
	pid_t parent = getpid();

	processes[i].started = now_s();
	processes[i].pid = fork();
	if (processes[i].pid != 0) {
		if (processes[i].pid < 0)
			fprintf(stderr, "api-server: worker %u: fork: %s\n", i, strerror(errno));
		return processes[i].pid > 0;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent) /* it died before that */
		_exit(0);
	signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the parent too, which ends us */
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, signals, NULL);
	for (unsigned j = 0; j < w->n; j++) {
		if (j != i)
			close(processes[j].listener);
	}
	exit(work(w, i));
}

/* Worker i ended by itself: say so, and start it again unless it ended at once. */
static bool
replace(const struct workers *w, unsigned i, int status, const sigset_t *signals)
{
	struct process *p = &processes[i];
	bool again = now_s() - p->started >= 1;

	fprintf(stderr, "api-server: worker %u (pid %d) %s %d; %s\n", i, (int)p->pid,
	    WIFSIGNALED(status) ? "was ended by signal" : "left with status",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
	    again ? "starting another" : "too soon after its start, giving up");
	p->pid = 0;
	return again && start(w, i, signals);
}

/* Until SIGTERM or SIGINT.  Returns the exit status. */
static int
supervise(const struct workers *w, const sigset_t *signals)
{
	for (;;) {
		int status, sig = sigwaitinfo(signals, NULL);
		pid_t pid;

		if (sig == SIGTERM || sig == SIGINT)
			return 0;
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			for (unsigned i = 0; i < w->n; i++) {
				if (processes[i].pid == pid && !replace(w, i, status, signals))
					return 1;
			}
		}
	}
}

static void
stop(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (processes[i].pid > 0)
			kill(processes[i].pid, SIGTERM);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

int
workers_run(struct workers *w)
{
	sigset_t signals;
	int status = 0;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);

	for (unsigned i = 0; i < w->n; i++) {
		processes[i].listener = listen_on(&w->port, i == 0);
		if (processes[i].listener < 0)
			return 1;
	}
	for (unsigned i = 0; i < w->n && status == 0; i++)
		status = start(w, i, &signals) ? 0 : 1;
	if (status == 0) {
		w->ready(w);
		status = supervise(w, &signals);
	}
	stop(w->n);
	return status;
}
