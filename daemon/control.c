#include "control.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "rpc.h"

/* Above this a client is not served on until it has read; watchers are closed at OUT_MAX. */
#define OUT_PAUSE (256u << 10)
#define OUT_MAX (4u << 20)
#define OUT_SECONDS 30 /* for a client that reads nothing at all */
#define TURN_LINES 16  /* served before others have their turn */

struct conn {
	LIST_ENTRY(conn) link;
	struct control *control;
	struct bufferevent *bev;
	struct event *turn; /* serve on, or be freed */
	struct peer peer;
	size_t scanned; /* bytes of the input without a newline */
	bool watching;
	bool eof;    /* the peer sends nothing more; it may still wait for answers */
	bool ending; /* close when all is written */
	bool dead;   /* freed at its next turn */
};

struct control {
	struct daemon *d;
	struct evconnlistener *listener;
	struct event *again; /* accept again after running out of descriptors */
	LIST_HEAD(conn_list, conn) conns;
	unsigned nconns;
	bool bound; /* the socket's file is ours to remove */
};

/* ---- one connection ---- */

static void
next_turn(struct conn *k)
{
	struct timeval now = { 0, 0 };

	(void)event_add(k->turn, &now);
}

static void
conn_end(struct conn *k)
{
	if (k->dead)
		return;
	k->dead = true;
	(void)bufferevent_disable(k->bev, EV_READ | EV_WRITE);
	next_turn(k);
}

static void
conn_free(struct conn *k)
{
	LIST_REMOVE(k, link);
	k->control->nconns--;
	if (k->turn != NULL)
		event_free(k->turn);
	bufferevent_free(k->bev);
	free(k);
}

static size_t
unread(const struct conn *k)
{
	return evbuffer_get_length(bufferevent_get_output(k->bev));
}

static void
conn_send(struct conn *k, json_t *j)
{
	char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;

	json_decref(j);
	if (text == NULL)
		return;
	if (bufferevent_write(k->bev, text, strlen(text)) != 0 ||
	    bufferevent_write(k->bev, "\n", 1) != 0)
		conn_end(k);
	free(text);
}

/* Length of the line at the front of the input, -1: it is not complete. */
static ssize_t
line_length(struct conn *k, struct evbuffer *in)
{
	struct evbuffer_ptr from, at;
	size_t have = evbuffer_get_length(in);

	/* What was looked at is not looked at again: many small pieces cost as much as one. */
	if (k->scanned >= have || evbuffer_ptr_set(in, &from, k->scanned, EVBUFFER_PTR_SET) != 0)
		return -1;
	at = evbuffer_search(in, "\n", 1, &from);
	if (at.pos < 0)
		k->scanned = have;
	return at.pos;
}

static void
serve_line(struct conn *k, struct evbuffer *in, size_t len)
{
	char *line = malloc(len + 1);
	json_t *out;

	k->scanned = 0;
	if (line == NULL || evbuffer_remove(in, line, len + 1) != (int)len + 1) {
		free(line);
		conn_end(k);
		return;
	}
	if (len > 0 && line[len - 1] == '\r')
		len--;
	out = len > 0 ? rpc_serve(k->control->d, &k->peer, line, len, &k->watching) : NULL;
	conn_send(k, out);
	free(line);
}

static void
serve(struct conn *k)
{
	struct evbuffer *in = bufferevent_get_input(k->bev);

	for (int n = 0; !k->dead && !k->ending; n++) {
		ssize_t len;

		if (unread(k) > OUT_PAUSE)
			return; /* on_write() goes on */
		len = line_length(k, in);
		if (len > (ssize_t)CONTROL_LINE_MAX ||
		    (len < 0 && evbuffer_get_length(in) > CONTROL_LINE_MAX)) {
			k->ending = true;
			(void)bufferevent_disable(k->bev, EV_READ);
			conn_send(k, rpc_error(RPC_REQUEST, "line above 1 MiB: closing"));
			return;
		}
		if (len < 0 && k->eof) {
			k->ending = true;
			if (unread(k) == 0)
				conn_end(k);
			return;
		}
		if (len < 0)
			return;
		if (n == TURN_LINES) {
			next_turn(k);
			return;
		}
		serve_line(k, in, (size_t)len);
	}
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct conn *k = arg;

	if (k->dead)
		conn_free(k);
	else
		serve(k);
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	serve(arg);
}

static void
on_write(struct bufferevent *bev, void *arg)
{
	struct conn *k = arg;

	if (k->ending && unread(k) == 0)
		conn_end(k);
	else
		serve(k);
}

/* The peer left, or has read nothing for OUT_SECONDS. */
static void
on_event(struct bufferevent *bev, short what, void *arg)
{
	struct conn *k = arg;

	if ((what & BEV_EVENT_EOF) == 0 || (what & BEV_EVENT_ERROR) != 0) {
		conn_end(k);
		return;
	}
	k->eof = true;
	serve(k);
}

/* ---- accepting ---- */

static bool
peer_of(int fd, struct peer *p)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 || len != sizeof(cred))
		return false;
	p->uid = cred.uid;
	p->gid = cred.gid;
	p->pid = cred.pid;
	user_text(cred.uid, p->who, sizeof(p->who));
	return true;
}

static void
refuse(int fd)
{
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,"
				   "\"message\":\"too many connections\"}}\n";

	(void)send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	(void)close(fd);
}

static void
on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *sa, int len, void *arg)
{
	struct control *c = arg;
	struct timeval patience = { OUT_SECONDS, 0 };
	struct conn *k;
	struct peer p;

	if (!peer_of(fd, &p) || c->nconns >= CONTROL_CONNECTIONS ||
	    (c->nconns >= CONTROL_CONNECTIONS - CONTROL_RESERVED && !peer_may_change(c->d, &p))) {
		refuse(fd);
		return;
	}
	k = calloc(1, sizeof(*k));
	if (k == NULL) {
		refuse(fd);
		return;
	}
	k->control = c;
	k->peer = p;
	k->bev = bufferevent_socket_new(c->d->base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (k->bev == NULL) {
		free(k);
		refuse(fd);
		return;
	}
	LIST_INSERT_HEAD(&c->conns, k, link);
	c->nconns++;
	k->turn = evtimer_new(c->d->base, on_turn, k);
	if (k->turn == NULL) {
		conn_free(k);
		return;
	}
	bufferevent_setcb(k->bev, on_read, on_write, on_event, k);
	bufferevent_setwatermark(k->bev, EV_READ, 0, CONTROL_LINE_MAX + 1);
	bufferevent_setwatermark(k->bev, EV_WRITE, 0, 0);
	(void)bufferevent_set_timeouts(k->bev, NULL, &patience);
	(void)bufferevent_enable(k->bev, EV_READ | EV_WRITE);
}

/* Out of descriptors: what waits in the queue would wake us at once, again and again. */
static void
on_accept_error(struct evconnlistener *l, void *arg)
{
	struct control *c = arg;
	struct timeval pause = { 1, 0 };

	log_warn("control socket: %s", strerror(errno));
	(void)evconnlistener_disable(l);
	(void)event_add(c->again, &pause);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)evconnlistener_enable(((struct control *)arg)->listener);
}

/* ---- the socket ---- */

static int
listen_at(struct control *c, char *err, size_t errsize)
{
	const char *path = c->d->paths.socket;
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct stat st;
	mode_t mask;
	int fd, e;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		(void)snprintf(err, errsize,
		    "%s: longer than the %zu bytes a socket's name may have", path,
		    sizeof(sa.sun_path) - 1);
		return -1;
	}
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode)) {
		(void)snprintf(err, errsize, "%s: is there and is no socket: remove it", path);
		return -1;
	}
	(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Nobody else can connect before the group is right. */
	mask = umask(0177);
	e = fd == -1 ? -1 : bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	(void)umask(mask);
	if (e != 0 || listen(fd, 128) != 0) {
		(void)snprintf(err, errsize, "%s: %s", path, strerror(errno));
		if (fd != -1)
			(void)close(fd);
		return -1;
	}
	c->bound = true;
	control_regroup(c);
	return fd;
}

void
control_regroup(struct control *c)
{
	const char *path = c->d->paths.socket;

	if (c->d->group != (gid_t)-1 && lchown(path, (uid_t)-1, c->d->group) != 0)
		log_warn("%s: cannot set its group: %s", path, strerror(errno));
	if (chmod(path, 0660) != 0)
		log_warn("%s: cannot set its mode: %s", path, strerror(errno));
}

int
control_open(struct daemon *d, struct control **out, char *err, size_t errsize)
{
	struct control *c = calloc(1, sizeof(*c));
	int fd;

	*out = NULL;
	if (c == NULL) {
		(void)snprintf(err, errsize, "out of memory");
		return -1;
	}
	c->d = d;
	LIST_INIT(&c->conns);
	fd = listen_at(c, err, errsize);
	if (fd == -1) {
		control_close(c);
		return -1;
	}
	c->again = evtimer_new(d->base, on_again, c);
	c->listener = evconnlistener_new(
	    d->base, on_accept, c, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (c->again == NULL || c->listener == NULL) {
		if (c->listener == NULL)
			(void)close(fd);
		(void)snprintf(err, errsize, "control socket: out of memory");
		control_close(c);
		return -1;
	}
	evconnlistener_set_error_cb(c->listener, on_accept_error);
	*out = c;
	return 0;
}

void
control_close(struct control *c)
{
	struct conn *k;

	if (c == NULL)
		return;
	if (c->bound)
		(void)unlink(c->d->paths.socket);
	while ((k = LIST_FIRST(&c->conns)) != NULL)
		conn_free(k);
	if (c->listener != NULL)
		evconnlistener_free(c->listener);
	if (c->again != NULL)
		event_free(c->again);
	free(c);
}

void
control_tell(struct control *c, int64_t when, const struct happening *h)
{
	struct conn *k, *next;

	if (c == NULL)
		return;
	for (k = LIST_FIRST(&c->conns); k != NULL; k = next) {
		next = LIST_NEXT(k, link);
		if (!k->watching || k->dead || k->ending)
			continue;
		if (unread(k) > OUT_MAX) {
			log_warn("%s watches but does not read: closed", k->peer.who);
			conn_end(k);
			continue;
		}
		conn_send(k, rpc_event(c->d, when, h));
	}
}
