/*
 * service.c - the dashboard's side of rationd's socket.
 *
 * Two connections: one for requests, one on which events arrive.  When
 * either breaks the daemon counts as down, the dashboard goes on from the mapping,
 * and a connection is tried again once a second.
 *
 * A call waits CALL_TIMEOUT_MS at most, and none is made to a rationd whose beat in the
 * segment has stopped: a stopped one would hold the screen up again and again.
 */
#include "top.h"

#include <string.h>

#define CALL_TIMEOUT_MS 1000
#define BEAT_NS UINT64_C(3000000000) /* rationd beats ten times a second */
#define RETRY_NS UINT64_C(1000000000)
#define STATUS_NS UINT64_C(5000000000)
#define EVENTS_A_TURN 100

bool
daemon_beats(const struct top *t)
{
	const struct segment *seg = t->model.seg;
	uint64_t beat;

	if (seg == NULL || seg->head == NULL)
		return true;
	beat = atomic_load_explicit(&seg->head->daemon_beat, memory_order_relaxed);
	return beat + BEAT_NS >= t->now.beat_ns;
}

void
daemon_close(struct top *t)
{
	struct daemon_state *d = &t->daemon;

	if (d->calls.fd >= 0)
		client_close(&d->calls);
	if (d->watch.fd >= 0)
		client_close(&d->watch);
	d->calls.fd = d->watch.fd = -1;
	d->up = false;
}

static void
daemon_down(struct top *t)
{
	daemon_close(t);
	snprintf(t->daemon.why, sizeof(t->daemon.why), "the connection broke");
	t->daemon.next_try_ns = t->now.mono_ns + RETRY_NS;
}

json_t *
daemon_call(struct top *t, const char *method, json_t *params, struct rpc_error *e)
{
	struct rpc_error own = { 0 };
	json_t *result = NULL;
	int rc = RPC_DOWN;

	if (t->daemon.calls.fd >= 0) {
		rc = client_call(&t->daemon.calls, method, params, &result, e ? e : &own);
	} else {
		json_decref(params);
		snprintf((e ? e : &own)->text, sizeof(own.text), "rationd does not answer");
		(e ? e : &own)->code = RPC_DOWN;
	}
	if (rc == 0)
		return result;
	if (rc == RPC_DOWN || rc == RPC_GARBLED)
		daemon_down(t);
	if (e == NULL) {
		top_note(t, LOOK_BAD, "%s", own.text);
		rpc_error_clear(&own);
	}
	return NULL;
}

static bool
read_status(struct top *t)
{
	struct daemon_state *d = &t->daemon;
	struct rpc_error e = { 0 };
	json_t *status = daemon_call(t, "status", NULL, &e);

	d->next_status_ns = t->now.mono_ns + STATUS_NS;
	rpc_error_clear(&e);
	if (status == NULL)
		return false;
	d->uptime_s = json_integer_value(json_object_get(status, "uptime_s"));
	d->status_ns = t->now.mono_ns;
	d->may_change = !json_is_true(json_object_get(status, "readonly"));
	json_decref(status);
	return true;
}

static void
open_watch(struct top *t)
{
	struct daemon_state *d = &t->daemon;
	struct rpc_error e = { 0 };
	json_t *answer = NULL;

	if (client_open(&d->watch, &t->ctx->paths, &e) != 0) {
		d->watch.fd = -1;
	} else {
		d->watch.timeout_ms = CALL_TIMEOUT_MS;
		if (client_call(&d->watch, "watch", NULL, &answer, &e) != 0) {
			client_close(&d->watch);
			d->watch.fd = -1;
		}
	}
	json_decref(answer);
	rpc_error_clear(&e);
}

static void
try_open(struct top *t)
{
	struct daemon_state *d = &t->daemon;
	struct rpc_error e = { 0 };

	d->next_try_ns = t->now.mono_ns + RETRY_NS;
	if (client_open(&d->calls, &t->ctx->paths, &e) != 0) {
		d->calls.fd = -1;
		snprintf(d->why, sizeof(d->why), "%.127s", e.text);
		rpc_error_clear(&e);
		return;
	}
	d->calls.timeout_ms = CALL_TIMEOUT_MS;
	if (!read_status(t))
		return;
	d->up = true;
	open_watch(t);
}

static void
keep_event(struct top *t, json_t *event)
{
	struct event_line *line = &t->events[t->nevents % EVENTS_KEPT];
	const char *text = json_string_value(json_object_get(event, "text"));
	const char *type = json_string_value(json_object_get(event, "type"));
	const char *target = json_string_value(json_object_get(event, "target"));

	line->when = json_integer_value(json_object_get(event, "when"));
	if (text != NULL && text[0] != '\0')
		snprintf(line->text, sizeof(line->text), "%s", text);
	else
		snprintf(line->text, sizeof(line->text), "%s %s", type ? type : "event",
		    target ? target : "");
	t->nevents++;
}

static void
read_events(struct top *t)
{
	struct rpc_error e = { 0 };
	json_t *event = NULL;
	int rc = 1;

	for (int i = 0; i < EVENTS_A_TURN; i++) {
		rc = client_event(&t->daemon.watch, 0, &event, &e);
		if (rc != 0)
			break;
		keep_event(t, event);
		json_decref(event);
		event = NULL;
	}
	rpc_error_clear(&e);
	if (rc < 0)
		daemon_down(t);
}

void
daemon_turn(struct top *t)
{
	struct daemon_state *d = &t->daemon;

	if (d->up && !daemon_beats(t))
		daemon_down(t);
	if (!d->up && t->now.mono_ns >= d->next_try_ns && daemon_beats(t))
		try_open(t);
	if (d->up && d->watch.fd >= 0)
		read_events(t);
	if (d->up && t->now.mono_ns >= d->next_status_ns)
		read_status(t);
}
