/*
 * send.h - one try to tell a receiver of an event: a command's run, a webhook's request.
 *
 * A try goes on beside everything else and ends, by itself or when its time is over, with one
 * call of ended().  Nothing here waits.
 */
#ifndef RATIOND_SEND_H
#define RATIOND_SEND_H

#include <event2/event.h>

#include "event.h"

struct paths;

struct outcome {
	bool delivered;
	int64_t retry_after_ms; /* as the receiver asks; 0: it does not */
	char error[EVENT_RECEIVER_ERROR];
};

/* What a try is told with; copied as far as the try needs it later. */
struct sending {
	struct event_base *base;
	const struct paths *paths;
	const struct receiver *receiver;
	const struct delivery *delivery;
	void (*ended)(void *arg, const struct outcome *o);
	void *arg;
};

/* ---- deliver_command.c ---- */

struct run;
/* NULL with out->error: it could not be started; ended() is not called then. */
struct run *run_start(const struct sending *s, struct outcome *out);
/* End it without a call of ended(): kills the command. */
void run_cancel(struct run *r);

/* ---- deliver_http.c ---- */

struct http;
struct request;
/* Loads and starts libcurl.  NULL with err. */
struct http *http_open(struct event_base *base, char *err, size_t errsize);
void http_close(struct http *h);
struct request *request_start(struct http *h, const struct sending *s, struct outcome *out);
void request_cancel(struct request *r);

#endif
