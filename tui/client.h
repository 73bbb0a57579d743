/*
 * client.h - talking to rationd: JSON-RPC 2.0, one object a line, over its Unix
 * socket.  Blocking, but never longer than the timeout.
 *
 * An answer is trusted as little as any input: a line is bounded, must be JSON,
 * and must carry the id of the request.
 */
#ifndef RATION_CLIENT_H
#define RATION_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

#include "segment.h"

#define CLIENT_TIMEOUT_MS 10000
#define CLIENT_LINE_MAX (64u << 20)

/* JSON-RPC error codes of rationd, and two of our own. */
enum {
	RPC_PERMISSION = -32001,
	RPC_CONFLICT = -32002, /* error.data: the state now */
	RPC_REFUSED = -32003,  /* error.data.mistakes */
	RPC_NOT_FOUND = -32004,
	RPC_DOWN = -1,   /* nobody listens, or the connection broke */
	RPC_GARBLED = -2 /* the answer is not what the protocol says */
};

struct client {
	int fd; /* -1: not connected */
	int timeout_ms;
	int64_t id;
	char *buf;
	size_t len, cap;
	size_t taken; /* bytes of buf that were handed out already */
};

struct rpc_error {
	int code;
	char text[512];
	json_t *data; /* owned; rpc_error_clear() */
};
void rpc_error_clear(struct rpc_error *e);

/* Connect.  0, or RPC_... with e filled in. */
int client_open(struct client *c, const struct paths *p, struct rpc_error *e);
void client_close(struct client *c);

/*
 * Call a method.  params: taken over (NULL: none).  0 and *result (owned by the
 * caller), or RPC_... with e filled in.  Notifications that arrive meanwhile are dropped.
 */
int client_call(
    struct client *c, const char *method, json_t *params, json_t **result, struct rpc_error *e);
/*
 * Next notification: its params in *event.  timeout_ms -1: wait for ever.  0; 1 when the time is
 * over; or RPC_....
 */
int client_event(struct client *c, int timeout_ms, json_t **event, struct rpc_error *e);

/* Connect, call, close. */
int client_once(const struct paths *p, const char *method, json_t *params, json_t **result,
    struct rpc_error *e);

#endif
