/*
 * deliver_http.c - an event is posted to a webhook: libcurl's transfers on rationd's event loop.
 *
 * libcurl says which sockets and which time it waits for, libevent waits.  Names are looked up in a
 * thread of libcurl's, which is left to itself when the time is over (QUICK_EXIT): waiting for it
 * would stop the loop.  Connections are kept and used again.
 *
 * What is signed is the time, a dot and the body, so that neither can be replaced, and a
 * receiver can refuse what is old.
 */
#include "send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "curl_api.h"
#include "hmac.h"
#include "ration.h"

#define ANSWER_MAX (64u << 10) /* bytes of an answer that are read, and thrown away */
#define CONNECT_MS 10000
#define CONNECTIONS_KEPT 32L

struct http {
	const struct curl_api *api;
	struct event_base *base;
	struct event *timer;
	CURLM *multi;
	LIST_HEAD(request_list, request) requests;
};

struct request {
	LIST_ENTRY(request) link;
	struct http *http;
	struct sending s;
	CURL *easy;
	struct curl_slist *headers;
	size_t answered; /* bytes */
	char error[CURL_ERROR_SIZE];
};

static void
request_free(struct request *r)
{
	const struct curl_api *api = r->http->api;

	LIST_REMOVE(r, link);
	if (r->easy != NULL) {
		(void)api->multi_remove_handle(r->http->multi, r->easy);
		api->easy_cleanup(r->easy);
	}
	api->slist_free_all(r->headers);
	free(r);
}

/* ---- what is sent ---- */

static bool
add_header(struct request *r, const char *name, const char *value)
{
	char line[512];
	struct curl_slist *longer;

	(void)snprintf(line, sizeof(line), "%s: %s", name, value);
	longer = r->http->api->slist_append(r->headers, line);
	if (longer != NULL)
		r->headers = longer;
	return longer != NULL;
}

static bool
add_headers(struct request *r)
{
	const struct receiver *to = r->s.receiver;
	const char *body = r->s.delivery->body;
	char stamp[32], mac[HMAC_TEXT], signature[HMAC_TEXT + 8];

	(void)snprintf(stamp, sizeof(stamp), "%lld", (long long)time(NULL));
	/* An empty Expect: no waiting for "100 Continue". */
	if (!add_header(r, "Content-Type", "application/json") || !add_header(r, "Expect", "") ||
	    !add_header(r, "X-Ration-Event", r->s.delivery->uid) ||
	    !add_header(r, "X-Ration-Timestamp", stamp))
		return false;
	if (to->secret_len == 0)
		return true;
	hmac_sha256_text(to->secret, to->secret_len,
	    (struct hmac_part[]) { { stamp, strlen(stamp) }, { ".", 1 }, { body, strlen(body) } },
	    3, mac);
	(void)snprintf(signature, sizeof(signature), "v1=%s", mac);
	return add_header(r, "X-Ration-Signature", signature);
}

/* An endless answer is not read to its end: what counts is its status. */
static size_t
on_answer(char *bytes, size_t size, size_t n, void *arg)
{
	struct request *r = arg;

	r->answered += size * n;
	return r->answered > ANSWER_MAX ? 0 : size * n;
}

static bool
set_options(struct request *r)
{
	const struct curl_api *api = r->http->api;
	const struct receiver *to = r->s.receiver;
	const char *body = r->s.delivery->body;
	long all_ms = (long)to->timeout_ms, connect_ms = all_ms < CONNECT_MS ? all_ms : CONNECT_MS;
	char agent[64];
	bool ok = true;

	(void)snprintf(agent, sizeof(agent), "rationd/%s", ration_version());
#define SET(option, value) ok = ok && api->easy_setopt(r->easy, option, value) == CURLE_OK
	SET(CURLOPT_URL, to->url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, ""); /* whatever the environment says: the policy says where to */
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_TIMEOUT_MS, all_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDSIZE, (long)strlen(body));
	SET(CURLOPT_COPYPOSTFIELDS, body);
	SET(CURLOPT_HTTPHEADER, r->headers);
	SET(CURLOPT_USERAGENT, agent);
	SET(CURLOPT_WRITEFUNCTION, on_answer);
	SET(CURLOPT_WRITEDATA, (void *)r);
	SET(CURLOPT_ERRORBUFFER, r->error);
	SET(CURLOPT_PRIVATE, (void *)r);
#undef SET
	return ok;
}

/* ---- how it ends ---- */

static void
request_done(struct request *r, CURLcode result)
{
	const struct curl_api *api = r->http->api;
	struct outcome o = { .delivered = false };
	curl_off_t after_s = 0;
	long status = 0;

	(void)api->easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)api->easy_getinfo(r->easy, CURLINFO_RETRY_AFTER, &after_s);
	if (result == CURLE_WRITE_ERROR && r->answered > ANSWER_MAX)
		result = CURLE_OK;
	o.delivered = result == CURLE_OK && status >= 200 && status <= 299;
	if (after_s > 0 && after_s < INT32_MAX)
		o.retry_after_ms = (int64_t)after_s * 1000;
	if (result != CURLE_OK)
		(void)snprintf(o.error, sizeof(o.error), "%.*s", (int)sizeof(o.error) - 1,
		    r->error[0] != '\0' ? r->error : api->easy_strerror(result));
	else if (!o.delivered)
		(void)snprintf(o.error, sizeof(o.error), "answered with status %ld", status);
	r->s.ended(r->s.arg, &o);
	request_free(r);
}

static void
take_ended(struct http *h)
{
	struct CURLMsg *m;
	int left;

	while ((m = h->api->multi_info_read(h->multi, &left)) != NULL) {
		struct request *r = NULL;
		CURLcode result = m->data.result;

		if (m->msg == CURLMSG_DONE &&
		    h->api->easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&r) ==
			CURLE_OK &&
		    r != NULL)
			request_done(r, result);
	}
}

/* ---- libcurl on libevent ---- */

static void
on_socket(evutil_socket_t fd, short what, void *arg)
{
	struct http *h = arg;
	int running,
	    flags = ((what & EV_READ) != 0 ? CURL_CSELECT_IN : 0) |
	    ((what & EV_WRITE) != 0 ? CURL_CSELECT_OUT : 0);

	(void)h->api->multi_socket_action(h->multi, fd, flags, &running);
	take_ended(h);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct http *h = arg;
	int running;

	(void)h->api->multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_ended(h);
}

static int
want_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
	struct http *h = arg;
	struct event *ev = socket;
	short events = (short)(EV_PERSIST | ((what & CURL_POLL_IN) != 0 ? EV_READ : 0) |
	    ((what & CURL_POLL_OUT) != 0 ? EV_WRITE : 0));

	if (ev != NULL)
		event_free(ev);
	ev = what != CURL_POLL_REMOVE ? event_new(h->base, fd, events, on_socket, h) : NULL;
	if (ev != NULL)
		(void)event_add(ev, NULL);
	(void)h->api->multi_assign(h->multi, fd, ev);
	return 0;
}

static int
want_timer(CURLM *multi, long ms, void *arg)
{
	struct http *h = arg;
	struct timeval in = { ms / 1000, ms % 1000 * 1000 };

	if (ms < 0)
		(void)event_del(h->timer);
	else
		(void)event_add(h->timer, &in);
	return 0;
}

/* ---- outside ---- */

struct request *
request_start(struct http *h, const struct sending *s, struct outcome *out)
{
	struct request *r = calloc(1, sizeof(*r));

	if (r != NULL) {
		r->http = h;
		r->s = *s;
		LIST_INSERT_HEAD(&h->requests, r, link);
		r->easy = h->api->easy_init();
		if (r->easy != NULL && add_headers(r) && set_options(r) &&
		    h->api->multi_add_handle(h->multi, r->easy) == CURLM_OK) {
			r->s.receiver = NULL; /* all of it was copied */
			r->s.delivery = NULL;
			return r;
		}
		request_free(r);
	}
	(void)snprintf(out->error, sizeof(out->error), "the request cannot be made");
	return NULL;
}

void
request_cancel(struct request *r)
{
	request_free(r);
}

struct http *
http_open(struct event_base *base, char *err, size_t errsize)
{
	const struct curl_api *api = curl_api_load(err, errsize);
	struct http *h = api != NULL ? calloc(1, sizeof(*h)) : NULL;

	if (h == NULL)
		return NULL;
	h->api = api;
	h->base = base;
	LIST_INIT(&h->requests);
	h->timer = evtimer_new(base, on_timer, h);
	h->multi = api->multi_init();
	if (h->timer == NULL || h->multi == NULL ||
	    api->multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, want_socket) != CURLM_OK ||
	    api->multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) != CURLM_OK ||
	    api->multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, want_timer) != CURLM_OK ||
	    api->multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) != CURLM_OK ||
	    api->multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT) != CURLM_OK) {
		(void)snprintf(err, errsize, "webhooks: out of memory");
		http_close(h);
		return NULL;
	}
	return h;
}

void
http_close(struct http *h)
{
	struct request *r;

	if (h == NULL)
		return;
	while ((r = LIST_FIRST(&h->requests)) != NULL)
		request_free(r);
	if (h->multi != NULL)
		(void)h->api->multi_cleanup(h->multi);
	if (h->timer != NULL)
		event_free(h->timer);
	free(h);
}
