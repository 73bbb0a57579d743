/*
 * event.h - what happened to a key, for those who are to be told.
 *
 * An event is written into the store in the transaction that makes it happen (a threshold is
 * marked as crossed, a raise as asked for), together with a delivery for each receiver that is
 * configured.  So it happens once, with one id, and is told at least once: a delivery is
 * taken away when its receiver has confirmed it, however often rationd is killed meanwhile.
 *
 * Of events the last EVENTS_KEPT are kept, for up to EVENT_AGE_S.  A delivery has a copy of what it
 * tells, so it waits for its receiver also when its event is no longer listed; there are at most
 * `queue` of them for each receiver: one more, and the oldest is dropped and counted.
 */
#ifndef RATIOND_EVENT_H
#define RATIOND_EVENT_H

#include <jansson.h>

#include "receiver.h"
#include "store.h"
#include "text.h"

#define EVENT_ID_TEXT 48
#define EVENTS_KEPT 100000
#define EVENT_AGE_S (INT64_C(400) * 86400)
#define EVENT_RECEIVER_ERROR 160

struct key_event {
	int64_t id;              /* set by store_event_add(): counts up */
	char uid[EVENT_ID_TEXT]; /* likewise: the id that receivers see, unlike any other's */
	int64_t at;              /* Unix s */
	char type[24];           /* one of EVENT_TYPES */
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len; /* 0: not about a key */
	int level;      /* percent; 0: none */
	json_t *more;   /* further members of the object that receivers get; borrowed */
	char text[TARGET_TEXT + VALUE_TEXT]; /* one line for people, escaped */
};

/* ---- store_events.c ---- */

/*
 * Record an event, to be told to `receivers` (bit n: receiver number n of the policy's `deliver`;
 * see deliver_receivers()).  Within the caller's transaction, if there is one.  Fills in id and
 * uid.  0 or -1 with err.
 */
int store_event_add(
    struct store *s, struct key_event *e, uint64_t receivers, char *err, size_t errsize);

/*
 * The object that receivers, `ration watch` and `ration events` see: id (the uid), at, type,
 * limit, key (strvis), level, text, and the members of `more`.  New.
 */
json_t *event_json(const struct key_event *e);

/*
 * The last n events, of a key or (key_len 0) of all, newest first: the object as text, and how far
 * each receiver was told, {"ops": {"state": "delivered", "tries": 1, "at": 1778649660}}.
 * each() owns neither.
 */
int store_events(struct store *s, const unsigned char *key, size_t key_len, int64_t n,
    bool (*each)(void *arg, const char *object, const json_t *told), void *arg, char *err,
    size_t errsize);

/* ---- store_deliveries.c; times in ms of the system's clock ---- */

/* What became of a delivery. */
enum told { TOLD_DELIVERED, TOLD_FAILED, TOLD_DROPPED };

struct delivery {
	int64_t event;
	char uid[EVENT_ID_TEXT];
	char *body;       /* the object as text; malloced */
	int64_t since_ms; /* when it was recorded */
	int64_t next_ms;  /* not to be tried before */
	uint32_t tries;   /* that failed */
};

/* A receiver as the store knows it. */
struct told_totals {
	char name[RECEIVER_NAME_MAX + 1];
	bool here; /* the policy has it */
	uint64_t queued, delivered, failed, dropped;
	int64_t give_up_ms;
	int64_t error_at; /* Unix s; 0: there was none */
	char error[EVENT_RECEIVER_ERROR];
};

/*
 * The receivers of the policy in force, by number.  What was to be told to others stays until
 * their last known give_up.
 */
int store_receivers(
    struct store *s, const struct receiver *list, unsigned n, char *err, size_t errsize);
/* Up to n deliveries of a receiver, in order, of events after `after`.  Returns how many; -1. */
int store_deliveries(struct store *s, const char *receiver, int64_t after, struct delivery *out,
    unsigned n, char *err, size_t errsize);
/* Is it still to be told?  It may have been dropped meanwhile. */
bool store_delivery_waits(struct store *s, const char *receiver, int64_t event);
/* It ended.  Within the caller's transaction. */
bool store_delivery_end(
    struct store *s, const char *receiver, int64_t event, uint32_t tries, enum told how);
/* It is to be tried again.  error: what went wrong.  Within the caller's transaction. */
bool store_delivery_again(struct store *s, const char *receiver, const struct delivery *d);
bool store_receiver_error(struct store *s, const char *receiver, const char *error);
/* All receivers that the store knows: up to RECEIVERS_KNOWN.  Returns how many; -1. */
#define RECEIVERS_KNOWN 64u
int store_told(struct store *s, struct told_totals *out, char *err, size_t errsize);
/* Within a transaction of those above: tell a receiver; how far each was told of an event. */
bool store_enqueue(struct store *s, const char *receiver, const struct key_event *e);
json_t *store_told_of(struct store *s, int64_t event);
bool store_told_prune(struct store *s);
bool store_events_prune(struct store *s, int64_t now_s, int64_t at_once);
/*
 * What is too old: events; deliveries of receivers that the policy no longer has.  *gone of the
 * latter.  now_s: of events, the instance's time; now_ms: the system's.
 */
int store_events_tidy(
    struct store *s, int64_t now_s, int64_t now_ms, uint64_t *gone, char *err, size_t errsize);

#endif
