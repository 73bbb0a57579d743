/*
 * rpc.h - JSON-RPC 2.0: envelope, methods, permission.
 *
 * All methods stand in one table (rpc.c) with the parameters that they know and
 * whether they change anything, so that permission, unknown parameters and
 * errors are dealt with in one place.
 */
#ifndef RATIOND_RPC_H
#define RATIOND_RPC_H

#include <jansson.h>

#include "daemon.h"

enum rpc_code {
	RPC_PARSE = -32700,
	RPC_REQUEST = -32600,
	RPC_METHOD = -32601,
	RPC_PARAMS = -32602,
	RPC_INTERNAL = -32603,
	RPC_PERMISSION = -32001,
	RPC_CONFLICT = -32002,
	RPC_REFUSED = -32003,
	RPC_NOT_FOUND = -32004
};

/* Who is at the other end, as the kernel says. */
struct peer {
	uid_t uid;
	gid_t gid;
	pid_t pid;
	char who[64];
};

/* One call of a method. */
struct call {
	struct daemon *d;
	const struct peer *peer;
	json_t *params; /* an object, borrowed */
	json_t *result; /* made by the method; owned */
	int code;       /* 0, or an error with message and perhaps data */
	char message[512];
	json_t *data; /* owned */
	bool watch;   /* the method asks for notifications */
};

/* May this peer make changes?  Root, our own user, members of the admin group. */
bool peer_may_change(const struct daemon *d, const struct peer *p);

/*
 * Serve one line (without its newline).  Returns the answer, NULL for a notification.
 * *watch is set when the peer asks for events.
 */
json_t *rpc_serve(
    struct daemon *d, const struct peer *p, const char *line, size_t len, bool *watch);
/* An error answer without a request that it belongs to. */
json_t *rpc_error(int code, const char *message);
/* The notification of an event. */
json_t *rpc_event(const struct daemon *d, int64_t when, const struct happening *h);

/* ---- for methods ---- */

/* End the call with an error; returns false, so that a check can be `return call_fail(...)`. */
bool call_fail(struct call *c, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The call is refused for these mistakes. */
bool call_refuse(struct call *c, const struct mistakes *m);

/*
 * Parameters.  False: wrong type or missing, and the call has failed.  Absent optional
 * ones leave *out as it is.
 */
bool call_text(struct call *c, const char *name, bool required, const char **out);
bool call_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t *out);
bool call_bool(struct call *c, const char *name, bool *out);
/* A key in its text form; absent: *len 0. */
bool call_key(struct call *c, bool required, unsigned char out[RATION_KEY_MAX + 1], size_t *len);
/* A limit that must exist, by name; absent: *id -1. */
bool call_limit(struct call *c, bool required, const char **name, int64_t *id);

/* A string for JSON whatever its bytes are: escaped if they are not UTF-8. */
json_t *json_any(const char *text);
/* Unix seconds; null for POLICY_ENDLESS. */
json_t *json_time(int64_t unix_s);
/* ["300/min", "30/s"] */
json_t *json_rates(const struct rate_spec *rates, size_t n);
json_t *json_ruleset_rates(const struct ruleset *r);
/* Attribute, prefixes and cost with which a limit is taken through a route, into j. */
void json_put_key(json_t *j, const struct policy_ref *p, const struct route_claim *c);
/* State of one limit, as in `limits`. */
json_t *json_limit(const struct daemon *d, const struct policy_ref *p, uint32_t id);

/* Methods: show.c, show_routes.c, change.c, act.c, undo.c, requests.c, decide.c */
bool show_status(struct call *c);
bool show_limits(struct call *c);
bool show_plans(struct call *c);
bool show_routes(struct call *c);
bool show_changes(struct call *c);
bool show_diff_yaml(struct call *c);
bool show_audit(struct call *c);
bool show_watch(struct call *c);
bool show_events(struct call *c); /* events.c */
bool show_usage(struct call *c);
bool show_usage_page(struct call *c);
json_t *json_history(struct history *h);
bool change_set(struct call *c);
bool change_unset(struct call *c);
bool change_reset(struct call *c);
bool change_plan(struct call *c);
bool change_env(struct call *c);
bool change_share(struct call *c);
bool change_mode(struct call *c);
bool change_reload(struct call *c);
bool change_clock(struct call *c);
bool change_undo(struct call *c);
bool request_ask(struct call *c);
bool request_list(struct call *c);
bool request_approve(struct call *c);
bool request_decline(struct call *c);

#endif
