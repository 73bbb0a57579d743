/*
 * event.h - what happened to a key, for those who are to be told.
 *
 * An event is written into the store in the transaction that makes it happen (a threshold is
 * marked as crossed, a raise as asked for), together with a delivery for each receiver that is
 * configured.  So it happens once, with one id, and is told at least once: a delivery is
 * taken away when its receiver has confirmed it, however often rationd is killed meanwhile.
 */
#ifndef RATIOND_EVENT_H
#define RATIOND_EVENT_H

#include <jansson.h>

#include "store.h"
#include "text.h"

#define EVENT_ID_TEXT 40

struct event {
	int64_t id;              /* set by store_event_add(): counts up */
	char uid[EVENT_ID_TEXT]; /* likewise: the id that receivers see, unlike any other's */
	int64_t at;              /* Unix s */
	char type[24];           /* threshold, reminder, request, approved, declined */
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len; /* 0: not about a key */
	int level;      /* percent; 0: none */
	json_t *more;   /* further members of the object that receivers get; borrowed */
	char text[TARGET_TEXT + VALUE_TEXT]; /* one line for people, escaped */
};

/* ---- store_events.c ---- */

/*
 * Record an event, to be told to `receivers` (bit n: receiver number n of the policy's `deliver`).
 * Within the caller's transaction, if there is one.  Fills in id and uid.  0 or -1 with err.
 */
int store_event_add(
    struct store *s, struct event *e, uint64_t receivers, char *err, size_t errsize);

/*
 * The object that receivers, `ration watch` and `ration events` see: id, at, type, limit, key
 * (strvis), level, text, and the members of `more`.  New.
 */
json_t *event_json(const struct event *e);

#endif
