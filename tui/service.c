/*
 * service.c - the dashboard's side of rationd's socket.
 *
 * Two connections: one for requests, one on which events arrive.  When
 * either breaks the daemon counts as down, the dashboard goes on from the mapping,
 * and a connection is tried again once a second.  No call may hold the screen up
 * for longer than CALL_TIMEOUT_MS.
 */
#include "top.h"

#include <string.h>

#define CALL_TIMEOUT_MS 2000
#define RETRY_NS UINT64_C(1000000000)
#define STATUS_NS UINT64_C(5000000000)
#define EVENTS_A_TURN 100

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

static void
read_status(struct top *t)
{
	struct daemon_state *d = &t->daemon;
	struct rpc_error e = { 0 };
	json_t *status = daemon_call(t, "status", NULL, &e);

	d->next_status_ns = t->now.mono_ns + STATUS_NS;
	rpc_error_clear(&e);
	if (status == NULL)
		return;
	d->uptime_s = json_integer_value(json_object_get(status, "uptime_s"));
	d->may_change = !json_is_true(json_object_get(status, "readonly"));
	json_decref(status);
}

static void
try_open(struct top *t)
{
	struct daemon_state *d = &t->daemon;
	struct rpc_error e = { 0 };
	json_t *answer = NULL;

	d->next_try_ns = t->now.mono_ns + RETRY_NS;
	if (client_open(&d->calls, &t->ctx->paths, &e) != 0) {
		d->calls.fd = -1;
		rpc_error_clear(&e);
		return;
	}
	d->calls.timeout_ms = CALL_TIMEOUT_MS;
	d->up = true;
	if (client_open(&d->watch, &t->ctx->paths, &e) == 0) {
		d->watch.timeout_ms = CALL_TIMEOUT_MS;
		if (client_call(&d->watch, "watch", NULL, &answer, &e) != 0) {
			client_close(&d->watch);
			d->watch.fd = -1;
		}
		json_decref(answer);
	} else {
		d->watch.fd = -1;
	}
	rpc_error_clear(&e);
	read_status(t);
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

	if (!d->up && t->now.mono_ns >= d->next_try_ns)
		try_open(t);
	if (d->up && d->watch.fd >= 0)
		read_events(t);
	if (d->up && t->now.mono_ns >= d->next_status_ns)
		read_status(t);
}
