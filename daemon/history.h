/*
 * history.h - usage over time: what each key of each limit was admitted and denied.
 *
 * See history.c for how it is recorded and why the sums are exact.  One thread, as all of rationd.
 */
#ifndef RATIOND_HISTORY_H
#define RATIOND_HISTORY_H

#include "keeper.h"
#include "store_usage.h"

struct history;

/*
 * Before the first policy is published, so that nothing is used that it has not seen begin.
 * 0; or -1 with err.
 */
int history_open(struct history **out, struct keeper *k, struct store *s,
    const struct config_history *policy, char *err, size_t errsize);
/* Records everything that is pending. */
void history_close(struct history *h);
/* What a reload may change: all of it. */
void history_settings(struct history *h, const struct config_history *policy);

/* Every KEEPER_TICK_MS, after keeper_tick(): a slice of recording, rolling up, forgetting. */
void history_tick(struct history *h);
/* Record all that is pending now: before the clock of a sandbox is moved. */
void history_record(struct history *h);
/* The same of one key on all limits: before somebody is told its usage. */
void history_record_key(struct history *h, const unsigned char *key, size_t len);

struct history_status {
	bool off;
	uint32_t every_s;
	int64_t entries;       /* of the dictionary */
	uint64_t keys;         /* the policy's bound on them */
	uint64_t others;       /* times that a key found no room in it, in this run */
	uint64_t lost;         /* units that could not be recorded before a slot was freed */
	int64_t bytes;         /* of the store */
	int64_t oldest;        /* Unix s; -1: nothing */
	uint64_t rounds;       /* ended in this run */
	uint64_t round_cpu_ns; /* of the last one */
	uint64_t round_slots;  /* that it recorded */
	int64_t round_at;      /* Unix s when it ended; 0: none has */
};
void history_status(struct history *h, struct history_status *out);
/* Is usage recorded? */
bool history_on(const struct history *h);

/* ---- reading ---- */

/* Units and calls of one limit: of a key or of a plan, in `n` buckets. */
struct history_series {
	char limit[RATION_NAME_MAX + 1];
	char plan[RATION_NAME_MAX + 1]; /* of a key: at last sight; "": none */
	int64_t *admitted;              /* by bucket, oldest first */
	int64_t *denied;
};

struct history_view {
	unsigned level;
	int64_t step; /* s of a bucket */
	int64_t from; /* start of the first bucket */
	size_t n;     /* buckets; the last is the one in progress */
	struct history_series *series;
	size_t nseries;
};

enum history_by { HISTORY_BY_LIMIT, HISTORY_BY_PLAN };

/* The finest level that is kept as long, and its buckets up to now. */
void history_span(struct history *h, int64_t last_s, struct history_view *v);
/*
 * Usage of a key, by limit (len 0: the totals, by limit or by plan and limit), of one limit or
 * (NULL) all.  v was made by history_span(); free it in any case.  False: out of memory, or the
 * store failed.
 */
bool history_key(struct history *h, const unsigned char *key, size_t len, const char *limit,
    struct history_view *v);
bool history_totals(
    struct history *h, enum history_by by, const char *limit, struct history_view *v);
void history_view_free(struct history_view *v);

/*
 * Rows of keys in [from, to) of a level, at least as coarse as asked for; of what is not rolled
 * up yet the finer ones.  `at` begins at {0}; each() ends the walk by returning false; then the
 * next call goes on with the row that it refused.
 */
struct history_place {
	unsigned step;
	int64_t start;
	int64_t id;
};
bool history_walk(struct history *h, unsigned level, int64_t from, int64_t to,
    struct history_place *at,
    bool (*each)(void *arg, const struct usage_row *r, const struct usage_entry *e), void *arg);

/* Day (Unix s of its start) on which a key was first seen on any limit; -1: never. */
int64_t history_first_seen(struct history *h, const unsigned char *key, size_t len);
/*
 * Units admitted on each of the last `days` days (UTC, the last one is today), oldest first, of
 * one limit or (NULL) the sum over all.
 */
bool history_daily(struct history *h, const unsigned char *key, size_t len, const char *limit,
    unsigned days, int64_t *admitted);
/* How many keys that begin so were seen within the last `days` days; counts up to `most`. */
uint64_t history_active_keys(
    struct history *h, const unsigned char *prefix, size_t len, unsigned days, uint64_t most);

#endif
