/*
 * notified.h - what was told of a key's use of one rate: the record that makes each percentage
 * be told of once.
 *
 * A record is of (limit, key, shape of the rate, period).  It is written in the transaction in
 * which the events that it speaks of are recorded, so that both are there or neither is.  Of
 * fixed windows and calendar periods each period has its own; sliding windows and buckets have
 * one, which goes when use has stayed below all of its marks for a window.
 */
#ifndef RATIOND_NOTIFIED_H
#define RATIOND_NOTIFIED_H

#include "store.h"
#include "thresholds.h"

/* A percentage that was told of. */
struct notified_mark {
	uint8_t percent;
	int64_t at;    /* Unix s */
	int64_t below; /* use was seen below it since; 0: it was not.  Sliding and buckets only */
};

struct notified {
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len;
	uint32_t shape;
	int64_t period; /* Unix s at which it starts; 0: a sliding window or a bucket */
	int64_t
	    ends; /* Unix s; sliding and buckets: when all is forgotten, POLICY_ENDLESS: not yet */
	int64_t span;   /* sliding and buckets: seconds that use has to stay below */
	uint64_t units; /* of the limit when last looked at */
	uint64_t used;  /* likewise */
	uint8_t n;
	struct notified_mark marks[NOTIFY_MAX];
	int64_t remind_at; /* Unix s; 0: no reminder is due */
	uint8_t remind;    /* of this percentage */
};

/* Up to where all has been looked at. */
struct notified_tail {
	uint64_t segment; /* id */
	uint64_t number;  /* of the last note */
	int64_t settled;  /* Unix s: periods that ended before are over and done with */
};

/* ---- notified.c ---- */

/*
 * What use of a rate means, given what was told of it (found: *n is that; else limit, key, shape
 * and period alone are set).  told: percentages that are to be told of now, rising; returns how
 * many.  *changed: *n is to be written.  remind_s: by the place of a percentage in percents.
 */
unsigned notified_update(struct notified *n, bool found, const struct threshold_use *u,
    const uint8_t percents[NOTIFY_MAX], const int64_t remind_s[NOTIFY_MAX], int64_t now,
    uint8_t told[NOTIFY_MAX], bool *changed);

/* ---- store_notified.c ---- */

/* 1: found, the rest of *n filled in; 0: there is none; -1 with err. */
int store_notified(struct store *s, struct notified *n, char *err, size_t errsize);
/* Put it in the place of the one before, if any. */
int store_notified_put(struct store *s, const struct notified *n, char *err, size_t errsize);
/* Away with what ended: periods by `settled`, sliding ones by now; at most `most`.  How many; -1.
 */
int64_t store_notified_drop(
    struct store *s, int64_t settled, int64_t now, int64_t most, char *err, size_t errsize);
/* All there are; -1. */
int64_t store_notified_count(struct store *s, char *err, size_t errsize);
/* Reminders due by now, the earliest first; *out is malloced. */
int store_notified_due(struct store *s, int64_t now, int64_t most, struct notified **out, size_t *n,
    char *err, size_t errsize);
/* When the next is due; POLICY_ENDLESS: none; -1 with err. */
int64_t store_notified_next(struct store *s, char *err, size_t errsize);
/*
 * Nobody was looking for a while, or the counters are new: sliding windows and buckets count
 * as below from now on, until they are seen above.
 */
int store_notified_resume(struct store *s, int64_t now, char *err, size_t errsize);

/* 1, 0: never set, -1. */
int store_notes_tail(struct store *s, struct notified_tail *out, char *err, size_t errsize);
int store_notes_tail_put(struct store *s, const struct notified_tail *t, char *err, size_t errsize);

#endif
