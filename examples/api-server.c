/*
 * api-server.c - an HTTP service whose workers share their rate limits.
 *
 * Read it from handle() on, and copy what you need.  Several processes answer on one port
 * (workers.c), and each asks libration before it does its work.  They exchange nothing: the
 * counts lie in shared memory, so a limit of 300 a minute is 300 whichever worker answers, and
 * still is while rationd is away.
 *
 * What is limited, by which key, and what a denial looks like stands in the policy file
 * (mivicall.yaml), not here: this source serves five different APIs.  It knows who asks, that is
 * all: the API key, if there is such a key, and the client's address.  Made-up endpoints and
 * answers come from a data file (mivicall.json, see data.h), where yours has a database.
 *
 * It needs the public header and pkg-config alone (tests/test_install.sh builds
 * it so, against an installed tree):
 *	cc api-server.c data.c work.c workers.c -o api-server \
 *	    $(pkg-config --cflags --libs ration libevent jansson)
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <ration.h>

#include "request.h"
#include "workers.h"

#ifndef EXAMPLES
#define EXAMPLES "examples" /* where NAME.json is */
#endif

/* ---- Answers ---- */

void
header(struct request *rq, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(rq->http), name, value);
}

void
answer(struct request *rq, int status, const char *body)
{
	struct evbuffer *out = evbuffer_new();

	if (out && body)
		evbuffer_add(out, body, strlen(body));
	if (!evhttp_find_header(evhttp_request_get_output_headers(rq->http), "Content-Type"))
		header(rq, "Content-Type", "application/json");
	/* libevent knows the words for the other statuses. */
	evhttp_send_reply(rq->http, status, status == 429 ? "Too Many Requests" : NULL, out);
	if (out)
		evbuffer_free(out);
}

static void
answer_json(struct request *rq, int status, const json_t *body)
{
	char *text = body ? data_fill(body, rq->vars) : NULL;

	answer(rq, status, text);
	free(text);
}

/* X-RateLimit-..., Retry-After: which, and what they mean, is policy. */
static void
limit_headers(struct request *rq)
{
	ration_header_t h = { .size = sizeof(h) };

	for (unsigned i = 0; ration_http_header(rq->worker->ration, &rq->d, i, &h) == 1; i++)
		header(rq, h.name, h.value);
}

/* 429: the body is the policy's, the request's id ours. */
static void
answer_denied(struct request *rq)
{
	const char *id = json_string_value(json_object_get(rq->vars, "request_id"));
	const ration_attr_t field = { sizeof(field), "request_id", id, strlen(id) };
	char body[4096];
	int n;

	limit_headers(rq);
	n = ration_http_body(rq->worker->ration, &rq->d, &field, 1, body, sizeof(body));
	if (n < 0 || (size_t)n >= sizeof(body)) /* rather none than half of it */
		body[0] = '\0';
	answer(rq, ration_http_status(rq->worker->ration, &rq->d), body);
}

/* The call could not be decided: what was asked was wrong, or there is nobody to ask. */
static void
answer_error(struct request *rq, int error)
{
	bool theirs = error == RATION_EINVAL || error == RATION_EKEY || error == RATION_ECOST;
	json_t *body = json_pack("{s:s, s:s}", "error",
	    theirs ? "bad_request" : "rate_limiter_unavailable", "message", ration_strerror(error));

	answer_json(rq, theirs ? 400 : 503, body);
	json_decref(body);
}

/* ---- Who asks ---- */

/* The values of a header that may come several times, with ", " between them. */
static const char *
joined(struct request *rq, const char *name, char *buf, size_t size)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(rq->http);
	size_t n = 0;

	for (struct evkeyval *h = headers->tqh_first; h && n < size; h = h->next.tqe_next) {
		if (strcasecmp(h->key, name) == 0)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n ? ", " : "", h->value);
	}
	return n > 0 && n < size ? buf : NULL;
}

/*
 * The address that asks.  Headers about it are believed only as far as the policy's `proxies`
 * go: anybody may write one.
 */
static void
client_address(struct request *rq, char *buf, size_t size)
{
	/* As long as all headers may be: of one cut short, its writer would be the proxy. */
	char forwarded[HEADERS_MAX], x_forwarded_for[HEADERS_MAX], *peer = NULL;
	uint16_t port;

	evhttp_connection_get_peer(evhttp_request_get_connection(rq->http), &peer, &port);
	if (ration_client_address(rq->worker->ration, peer,
		joined(rq, "X-Forwarded-For", x_forwarded_for, sizeof(x_forwarded_for)),
		joined(rq, "Forwarded", forwarded, sizeof(forwarded)), buf, size) < 0)
		snprintf(buf, size, "0.0.0.0");
}

/*
 * The account of the API key.  One that does not exist is nobody's: were it counted, everybody
 * could make up a fresh one for each request.
 */
static const char *
account_of(struct request *rq)
{
	const struct evkeyvalq *headers = evhttp_request_get_input_headers(rq->http);
	const char *key = evhttp_find_header(headers, "X-Api-Key");
	const char *bearer = evhttp_find_header(headers, "Authorization");

	if (!key && bearer && strncasecmp(bearer, "Bearer ", 7) == 0)
		key = bearer + 7;
	return key && *key ? data_account(rq->worker->data, key) : NULL;
}

/* ---- Asking ---- */

/*
 * The lease that the route took, if it takes one.  A request of this service keeps one at most: of
 * a route with two all is given back, for who forgets a lease keeps it until he ends.
 */
static int
take_lease(struct request *rq)
{
	ration_lease_t lease;

	for (unsigned i = 0; i < RATION_CLAIMS_MAX; i++) {
		if (ration_decision_lease(rq->worker->ration, &rq->d, i, &lease) != 0)
			continue;
		if (rq->lease.word) {
			ration_refund(rq->worker->ration, &rq->d, RATION_COST_MAX);
			rq->lease = (ration_lease_t) { 0 };
			return RATION_ELEASE;
		}
		rq->lease = lease;
	}
	return RATION_ADMITTED;
}

/*
 * Take what the policy's route for this request takes.  Opening is tried again with each request
 * while it fails, for that is cheap; then the handle lasts, also over restarts of rationd.
 * A service that would rather serve without limits than not at all passes RATION_FAIL_OPEN.
 */
static int
take(struct request *rq)
{
	struct worker *w = rq->worker;
	char ip[RATION_ADDRESS_MAX] = "";
	ration_attr_t attrs[2];
	uint64_t cost = amount(rq, json_string_value(json_object_get(rq->endpoint, "cost")));
	int r = 0;

	if (!w->ration)
		r = ration_open(w->instance, 0, &w->ration);
	if (r == 0) {
		client_address(rq, ip, sizeof(ip));
		attrs[0] = (ration_attr_t) { sizeof(attrs[0]), "ip", ip, strlen(ip) };
		if (rq->account)
			attrs[1] = (ration_attr_t) { sizeof(attrs[1]), "key", rq->account,
				strlen(rq->account) };
		r = ration_route(
		    w->ration, rq->method, rq->path, attrs, rq->account ? 2 : 1, cost, &rq->d);
	}
	json_object_set_new(rq->vars, "cost", json_integer((json_int_t)cost));
	if (r == RATION_ADMITTED)
		r = take_lease(rq);

	if (r < 0 && r != w->logged) /* once, not with each request */
		fprintf(stderr, "api-server: worker %u: limits cannot be asked: %s\n", w->index,
		    ration_strerror(r));
	else if (r >= 0 && w->logged)
		fprintf(stderr, "api-server: worker %u: limits answer again\n", w->index);
	w->logged = r < 0 ? r : 0;
	return r;
}

/* ---- One request ---- */

/* It may be done: nobody's limit stands against it. */
static void
serve(struct request *rq)
{
	const struct data *data = rq->worker->data;
	int status;

	if (!rq->account && !json_is_true(json_object_get(rq->endpoint, "public"))) {
		limit_headers(rq);
		answer_json(rq, 401, data_body(data, "unauthorized"));
		return;
	}
	status = rq->endpoint ? work(rq) : 404;
	if (status < 0) {
		answer_error(rq, status);
	} else if (status == 429) {
		answer_denied(rq);
	} else {
		limit_headers(rq);
		if (status == 404)
			answer_json(rq, 404, data_body(data, "not_found"));
		else if (status == 503)
			answer(rq, 503, NULL);
		else if (json_is_true(json_object_get(rq->endpoint, "stream")))
			answer_stream(rq, status);
		else
			answer_json(rq, status, json_object_get(rq->endpoint, "body"));
	}
}

static const char *
method_name(enum evhttp_cmd_type type)
{
	switch (type) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_HEAD:
		return "HEAD";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_PATCH:
		return "PATCH";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	default:
		return "OTHER";
	}
}

static void
handle(struct evhttp_request *http, void *arg)
{
	struct worker *w = arg;
	struct evbuffer *in = evhttp_request_get_input_buffer(http);
	const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(http));
	struct request rq = { .worker = w, .http = http, .d = RATION_DECISION_INIT };
	char id[DATA_ID_MAX], index[16];
	int r;

	snprintf(rq.method, sizeof(rq.method), "%s", method_name(evhttp_request_get_command(http)));
	snprintf(index, sizeof(index), "%u", w->index);
	header(&rq, "X-Worker", index);
	data_id(id, "req_");
	rq.path = path && *path ? path : "/";
	rq.vars = json_pack("{s:s, s:i}", "request_id", id, "worker", (int)w->index);
	rq.account = account_of(&rq);
	rq.endpoint = data_endpoint(w->data, rq.method, rq.path, rq.vars);
	if (evbuffer_get_length(in) > 0 && evbuffer_get_length(in) < 64 * 1024)
		rq.input = json_loadb(
		    (const char *)evbuffer_pullup(in, -1), evbuffer_get_length(in), 0, NULL);

	r = take(&rq);
	if (r < 0)
		answer_error(&rq, r);
	else if (r == RATION_DENIED)
		answer_denied(&rq);
	else
		serve(&rq);

	if (rq.lease.word) /* of a route that limits how many requests are at work */
		ration_release(w->ration, &rq.lease);
	json_decref(rq.input);
	json_decref(rq.vars);
}

/* ---- The program ---- */

/* A worker begins, in its own process. */
static void *
open_worker(unsigned index, void *arg)
{
	struct worker *w = arg;

	w->logged = ration_open(w->instance, 0, &w->ration);
	if (w->logged < 0) { /* not a reason to leave: rationd may come */
		fprintf(stderr, "api-server: worker %u: %s\n", index, ration_strerror(w->logged));
		w->ration = NULL;
	}
	w->index = index;
	sessions_clear(index); /* of the worker before */
	return w;
}

static void
close_worker(void *opened)
{
	struct worker *w = opened;

	ration_close(w->ration);
	data_free(w->data);
}

static void
ready(const struct workers *w)
{
	printf("api-server: http://127.0.0.1:%u, %u workers, %s\n", w->port, w->n,
	    data_name(((struct worker *)w->arg)->data));
	fflush(stdout);
}

static void
usage(FILE *out)
{
	fputs("usage: api-server [--system NAME | --data FILE] [--port N] [--workers N]\n"
	      "                  [--instance NAME]\n"
	      "  --system NAME    serve " EXAMPLES "/NAME.json:\n"
	      "                   hello (default), mivicall, oxenty, fluxiq, aiempire, apviso\n"
	      "  --data FILE      serve that file\n"
	      "  --port N         port on 127.0.0.1 (8080; 0: any, it is printed)\n"
	      "  --workers N      processes that answer (4)\n"
	      "  --instance NAME  instance of rationd ($RATION_INSTANCE, or default)\n"
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
		{ "system", required_argument, NULL, 's' },
		{ "data", required_argument, NULL, 'd' },
		{ "port", required_argument, NULL, 'p' },
		{ "workers", required_argument, NULL, 'w' },
		{ "instance", required_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	struct worker worker = { 0 };
	struct workers w = { .n = 4,
		.port = 8080,
		.arg = &worker,
		.ready = ready,
		.open = open_worker,
		.handle = handle,
		.close = close_worker };
	char file[PATH_MAX] = EXAMPLES "/hello.json";
	int c, status = 1;

	while ((c = getopt_long(argc, argv, "h", longopts, NULL)) != -1) {
		switch (c) {
		case 's':
			snprintf(file, sizeof(file), "%s/%s.json", EXAMPLES, optarg);
			break;
		case 'd':
			snprintf(file, sizeof(file), "%s", optarg);
			break;
		case 'p':
			w.port = (uint16_t)number("port", optarg, 0, 65535);
			break;
		case 'w':
			w.n = number("workers", optarg, 1, WORKERS_MAX);
			break;
		case 'i':
			worker.instance = optarg;
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
	worker.data = data_load(file);
	if (worker.data && sessions_create(w.n))
		status = workers_run(&w);
	data_free(worker.data);
	return status;
}
