/*
 * notifier_tell.h - a key's use against what was told of it: events and records, a transaction
 * for as many keys as one takes.
 */
#ifndef RATIOND_NOTIFIER_TELL_H
#define RATIOND_NOTIFIER_TELL_H

#include "daemon.h"
#include "event.h"
#include "notified.h"
#include "thresholds.h"

#define TELLER_EVENTS 256u
#define TELLER_KEYS 1024u
/* Of one key: two periods of each rate. */
#define TELLER_KEY_EVENTS (2 * RATION_RATES_MAX * NOTIFY_MAX)

struct teller {
	struct daemon *d;
	struct thresholds *t;
	struct event_list *events; /* of the transaction, made known when it is durable */
	unsigned nevents;
	struct {
		uint64_t slot;
		uint32_t hash;
	} keys[TELLER_KEYS]; /* dealt with, if it becomes durable */
	unsigned nkeys;
	bool wrote;
	bool ok;
	char why[512]; /* if not */
	int64_t rows;  /* records that there are */
	int64_t rows_max;
	int64_t added;    /* in this transaction */
	int64_t next_due; /* Unix s: the next reminder */
	uint64_t told;    /* events since the start */
	uint64_t untold;  /* times that a key was left out */
	bool left_out;    /* some still are */
	uint64_t said;    /* of these */
	int64_t said_s;   /* when that was */
};

int teller_open(
    struct teller *l, struct daemon *d, struct thresholds *t, char *err, size_t errsize);
void teller_close(struct teller *l);

bool teller_begin(struct teller *l, char *err, size_t errsize);
/* Look at a slot, for a note or without one.  Within begin and end. */
void teller_slot(struct teller *l, uint64_t slot, const struct note *note);
/* There is room for keys that were left out: they are to be looked at again.  Says so once. */
bool teller_room(struct teller *l);
/* Is it time to end? */
bool teller_full(const struct teller *l);
/* Durable with the tail, if anything was written; then made known.  -1: none of it happened. */
int teller_end(struct teller *l, const struct notified_tail *tail, char *err, size_t errsize);

/* Reminders that are due. */
int teller_remind(struct teller *l, int64_t most, char *err, size_t errsize);
/* Remove records that ended; write the tail with it, or if it is wanted. */
int teller_tidy(struct teller *l, const struct notified_tail *tail, int64_t most, bool wanted,
    char *err, size_t errsize);

#endif
