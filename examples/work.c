/*
 * work.c - what requests of the five APIs do besides being counted.
 *
 * Here is how to settle an estimate, how to keep a lease while a session or a connection lives, how
 * to take one that lasts, and how to look up an entitlement.  Which of them an endpoint does
 * stands in the data file (data.h).
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

/* "bytes", "tokens FIELD" or "number FIELD": what the request says of it, see data.h. */
uint64_t
amount(struct request *rq, const char *what)
{
	json_int_t n, otherwise = json_integer_value(json_object_get(rq->endpoint, "estimate"));
	const json_t *field;

	if (!what)
		return 1;
	if (strcmp(what, "bytes") == 0)
		return evbuffer_get_length(evhttp_request_get_input_buffer(rq->http));
	field = json_object_get(rq->input, what + 7);
	n = strncmp(what, "tokens ", 7) == 0 ? (json_int_t)(json_string_length(field) + 3) / 4
					     : json_integer_value(field);
	if (n <= 0)
		n = otherwise;
	return n > 0 ? (uint64_t)n : 1;
}

/*
 * ---- What an endpoint does besides ----
 * Each returns 0, the status of an answer that is not the endpoint's, or a negative error.
 * `what` is what the data file says.
 */

static const char *
var(const struct request *rq, const char *name)
{
	const char *text = json_string_value(json_object_get(rq->vars, name));

	return text ? text : "";
}

/* The work is done, and what it took is known: the estimate is made good. */
static int
settle(struct request *rq, const char *what)
{
	uint64_t used = amount(rq, what);
	int e = ration_settle(rq->worker->ration, &rq->d, used);

	json_object_set_new(rq->vars, "used", json_integer((json_int_t)used));
	return e == RATION_ESTALE ? 0 : e; /* its window is over: nothing to make good */
}

static const char *
new_id(struct request *rq, const char *prefix)
{
	char id[DATA_ID_MAX];

	data_id(id, prefix);
	json_object_set_new(rq->vars, "id", json_string(id));
	return var(rq, "id");
}

/* The route took a lease; the session keeps it. */
static int
begin(struct request *rq, const char *what)
{
	(void)what;
	if (!session_add(rq->worker->index, new_id(rq, "ses_"), rq->account, &rq->lease))
		return 503;
	rq->lease = (ration_lease_t) { 0 };
	return 0;
}

static int
finish(struct request *rq, const char *what)
{
	ration_lease_t lease;

	(void)what;
	if (!session_take(var(rq, "id"), rq->account, &lease))
		return 404;
	return ration_release(rq->worker->ration, &lease) == RATION_ESTALE ? 404 : 0;
}

/* A lease that lasts, by a name of ours, until somebody gives it back. */
static int
enrol(struct request *rq, const char *limit)
{
	const char *id = new_id(rq, "wh_");
	ration_lease_t lease; /* not needed any more: it has a name */
	int r = ration_lease_named(rq->worker->ration, limit, rq->account, strlen(rq->account), id,
	    strlen(id), &lease, &rq->d);

	return r == RATION_DENIED ? 429 : r == RATION_ADMITTED ? 0 : r;
}

static int
withdraw(struct request *rq, const char *limit)
{
	const char *id = var(rq, "id");
	int e = ration_release_named(
	    rq->worker->ration, limit, rq->account, strlen(rq->account), id, strlen(id));

	return e == RATION_ESTALE ? 404 : e;
}

/* An entitlement: a text that the policy has for the account. */
static void
look_up(struct request *rq, const char *limit, char *buf, size_t size)
{
	int n =
	    ration_value(rq->worker->ration, limit, rq->account, strlen(rq->account), buf, size);

	if (n < 0 || (size_t)n >= size)
		buf[0] = '\0';
}

static int
show_value(struct request *rq, const char *limit)
{
	char value[64];

	look_up(rq, limit, value, sizeof(value));
	json_object_set_new(rq->vars, "value", json_string(value));
	return 0;
}

static int
cache_hint(struct request *rq, const char *limit)
{
	char value[64];

	look_up(rq, limit, value, sizeof(value));
	header(rq, "Cache-Control", value);
	return 0;
}

int
work(struct request *rq)
{
	static const struct {
		const char *name; /* in the data file */
		int (*does)(struct request *rq, const char *what);
	} deeds[] = {
		{ "settle", settle },
		{ "begins", begin },
		{ "ends", finish },
		{ "register", enrol },
		{ "remove", withdraw },
		{ "value", show_value },
		{ "cache", cache_hint },
	};
	const json_t *status = json_object_get(rq->endpoint, "status");

	for (size_t i = 0; rq->account && i < sizeof(deeds) / sizeof(deeds[0]); i++) {
		const char *what = json_string_value(json_object_get(rq->endpoint, deeds[i].name));
		int r = what ? deeds[i].does(rq, what) : 0;

		if (r != 0)
			return r;
	}
	return status ? (int)json_integer_value(status) : 200;
}

/*
 * ---- An answer that goes on ----
 * It stands for a WebSocket, whose handshake is left out here: what matters is that the lease lives
 * as long as the connection, and not a moment longer if this process is killed.
 */

struct stream {
	ration_t *ration;
	ration_lease_t lease; /* held until the client leaves, or this process dies */
	struct evhttp_request *http;
};

static void
on_leave(struct evhttp_connection *connection, void *arg)
{
	struct stream *s = arg;

	(void)connection;
	ration_release(s->ration, &s->lease);
	evhttp_send_reply_end(s->http); /* it has no connection any more: only freed */
	free(s);
}

void
answer_stream(struct request *rq, int status)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(rq->http);
	char *text = data_fill(json_object_get(rq->endpoint, "body"), rq->vars);
	struct evbuffer *out = evbuffer_new();
	struct stream *s = malloc(sizeof(*s));

	if (s && out && text) {
		*s = (struct stream) { rq->worker->ration, rq->lease, rq->http };
		rq->lease = (ration_lease_t) { 0 }; /* kept */
		evhttp_connection_set_timeout(connection, 24 * 3600);
		evhttp_connection_set_closecb(connection, on_leave, s);
		header(rq, "Content-Type", "application/json");
		evhttp_send_reply_start(rq->http, status, NULL);
		evbuffer_add_printf(out, "%s\n", text);
		evhttp_send_reply_chunk(rq->http, out);
	} else {
		free(s);
		answer(rq, 503, NULL);
	}
	if (out)
		evbuffer_free(out);
	free(text);
}
