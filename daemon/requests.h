/*
 * requests.h - raises: asked for by whoever may use the instance, decided by its admins.
 *
 * A request never changes what is in force.  Approving it does, as `set` would; the override
 * and the request's new state are one transaction, so that a kill leaves both or neither.
 * A state goes on only from the one that the admin has seen: of two who decide at once, one does.
 */
#ifndef RATIOND_REQUESTS_H
#define RATIOND_REQUESTS_H

#include "event.h"
#include "rpc.h"

#define REQUEST_OPEN "open"
#define REQUEST_APPROVED "approved"
#define REQUEST_DECLINED "declined"
#define REQUEST_WITHDRAWN "withdrawn"
#define REQUEST_STATE 16

/* Anybody in the group may ask, so what that costs is bounded. */
#define REQUESTS_OPEN_MAX 1000 /* in all */
#define REQUESTS_USER_MAX 20   /* of one user */
#define REQUESTS_DAY_MAX 100   /* of one user in 24 hours, decided ones too */
#define REQUESTS_KEPT 10000    /* the last ones; open ones in any case */

struct request {
	int64_t id;
	int64_t at; /* Unix s */
	char who[64];
	uint32_t uid;
	int32_t pid;
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len;
	char now[VALUE_TEXT]; /* what the key had */
	char wanted[VALUE_TEXT];
	char reason[256];
	char volume[256];
	char plan[RATION_NAME_MAX + 1]; /* "": none */
	int64_t due;                    /* until when an answer was promised */
	char state[REQUEST_STATE];
	int64_t decided_at; /* 0: not decided, or undone; so the next ones */
	char decided_by[64];
	char why[256];
	int64_t change; /* id of the override */
};

/* A new state. */
struct decision {
	const char *state;
	int64_t at;
	const char *who;
	const char *why;
	int64_t change; /* id of the override; 0: none */
};

struct request_counts {
	int64_t open;      /* in all */
	int64_t user_open; /* of the user */
	int64_t user_since;
	int64_t due; /* Unix s, the first promise of those that are open; 0: none is */
};

/* ---- store_requests.c ---- */

/* Sets its id.  Within the caller's transaction, if there is one.  0 or -1 with err. */
int store_request_add(struct store *s, struct request *r, char *err, size_t errsize);
/* From the state `from` to another.  False with err: also if it has another state. */
bool store_request_decide(struct store *s, int64_t id, const char *from, const struct decision *d,
    char *err, size_t errsize);
/* 1, 0: there is none, -1 with err. */
int store_request(struct store *s, int64_t id, struct request *out, char *err, size_t errsize);
/* The open ones, oldest first; or all, newest first: up to n of them; *out is malloced. */
int store_requests(struct store *s, bool all, int64_t n, struct request **out, size_t *count,
    char *err, size_t errsize);
int store_request_count(struct store *s, uint32_t uid, int64_t since, struct request_counts *out,
    char *err, size_t errsize);
/* Number of the open one for this limit and key, 0: none. */
int store_request_same(struct store *s, const char *limit, const unsigned char *key, size_t key_len,
    int64_t *id, char *err, size_t errsize);

/* ---- requests.c ---- */

/* "request 3 (api key k1)" */
void request_target(const struct request *r, char out[TARGET_TEXT]);
/* As `requests` shows it; eligible: with what the records say of who asks.  New. */
json_t *request_json(struct call *c, const struct request *r, bool eligible);

/*
 * The event of its state: asked for (again), approved, declined.  In the transaction that makes it
 * so; then request_told(), with id 0 if it was rolled back.
 */
bool request_event(struct daemon *d, const struct request *r, int64_t at, struct key_event *e,
    char *err, size_t errsize);
void request_told(struct daemon *d, struct key_event *e);

/* ---- eligible.c ---- */

/*
 * What the policy's rules say of who asks, for people to decide by: a list of {rule, met, text};
 * met is null where the records do not tell.  New.
 */
json_t *eligible_json(
    struct daemon *d, const struct request *r, const struct config_requests *rules);

#endif
