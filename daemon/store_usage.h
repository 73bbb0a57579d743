/*
 * store_usage.h - usage over time, as it lies in the store.
 *
 * Three levels of aligned buckets: 15 minutes, hours, days, all in Unix time.  A row is what one
 * dictionary entry was admitted (units) and denied (calls) in one bucket.  An entry is a key of
 * a limit on a plan; or, for what has no entry of its own, the limit alone; or the total of a
 * limit and plan.  Ids are never used again.
 *
 * Recording writes the finest level.  A coarser bucket is rolled up when it has closed: bucket
 * by bucket, and within one by rising id, so that a few rows are done at a time; `rolled` says how
 * far.  What was recorded of a row is therefore in a level if that has come past it, else in the
 * finer one: the sum over both is exact at any moment.  What is recorded late (the clock was set
 * back) is added to the levels that have come past it.
 */
#ifndef RATIOND_STORE_USAGE_H
#define RATIOND_STORE_USAGE_H

#include "store.h"

#define USAGE_LEVELS 3u

/* Seconds of a bucket. */
extern const int64_t usage_seconds[USAGE_LEVELS];

/* How far a level was rolled up from the finer one: next is this id of this bucket. */
struct usage_rolled {
	int64_t start; /* -1: nothing was recorded yet */
	int64_t id;
};

enum usage_kind { USAGE_KEY, USAGE_OTHERS, USAGE_TOTAL };

struct usage_entry {
	int64_t id;
	enum usage_kind kind;
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len;
	char limit[RATION_NAME_MAX + 1];
	char plan[RATION_NAME_MAX + 1]; /* "": none */
	int64_t first, last;            /* Unix s of days */
};

struct usage_row {
	int64_t start;
	int64_t id;
	int64_t admitted;
	int64_t denied;
};

/* What rationd needs to go on. */
struct usage_state {
	uint64_t store_id; /* random, of this file */
	struct usage_rolled rolled[USAGE_LEVELS];
	int64_t entries; /* of the dictionary */
	uint64_t serial; /* of the last batch */
};

static inline int64_t
usage_floor(unsigned level, int64_t unix_s)
{
	int64_t s = usage_seconds[level];

	return (unix_s >= 0 ? unix_s : unix_s - s + 1) / s * s;
}

/* Has `level` come past what the finer one holds of this id from `start` on? */
static inline bool
usage_is_rolled(const struct usage_rolled *r, unsigned level, int64_t start, int64_t id)
{
	int64_t bucket = usage_floor(level, start);

	return bucket < r[level].start || (bucket == r[level].start && id < r[level].id);
}

/* Of the tables: what was there.  0 or -1 with err. */
int store_usage_state(struct store *s, struct usage_state *out, char *err, size_t errsize);

/*
 * A transaction as store_begin(), which need not be on disk when it ends: it is not torn by a
 * kill, and after a power failure the segment is gone too.  store_usage_end(): as store_end().
 */
bool store_usage_begin(struct store *s);
int store_usage_end(struct store *s, bool ok, char *err, size_t errsize);

/* The following are parts of a transaction; false: it has failed. */

/* The number of a limit's or plan's name, made when it is new. */
bool store_usage_name(struct store *s, const char *name, int64_t *no);
/*
 * An entry's id; made, on this day, when it is new and `add`; else 0.  One that is there is seen
 * on that day.
 */
bool store_usage_find(struct store *s, enum usage_kind kind, const unsigned char *key, size_t len,
    int64_t limit_no, int64_t plan_no, int64_t day, bool add, int64_t *id, bool *added);
bool store_usage_add(struct store *s, unsigned level, enum usage_kind kind, int64_t start,
    int64_t id, int64_t admitted, int64_t denied);
/* What the recorder must not forget if it is killed after this transaction. */
bool store_usage_journal(struct store *s, uint64_t serial, const void *bytes, size_t n);
/* Roll up ids [from, to) of one bucket of a level. */
bool store_usage_roll(struct store *s, unsigned level, int64_t start, int64_t from, int64_t to);
bool store_usage_rolled(struct store *s, unsigned level, const struct usage_rolled *r);
/* Up to about n rows of the oldest bucket before `before` go.  *more: there may be others. */
bool store_usage_forget(struct store *s, unsigned level, int64_t before, unsigned n, bool *more);
/* Entries of ids [from, to) not seen since `before` go. */
bool store_usage_purge(struct store *s, int64_t from, int64_t to, int64_t before, int64_t *gone);

/* ---- reading ---- */

/* The last batch's; *bytes is malloced, NULL: none. */
int store_usage_last(
    struct store *s, uint64_t *serial, void **bytes, size_t *n, char *err, size_t errsize);
/* The first bucket of a level from `from` on; INT64_MAX: none. */
int64_t store_usage_next(struct store *s, unsigned level, int64_t from);
/* The first id of the level below, from `from` on, in a bucket of `level`; INT64_MAX: none. */
int64_t store_usage_next_id(struct store *s, unsigned level, int64_t start, int64_t from);
int64_t store_usage_last_id(struct store *s);
/* Is any entry of ids [from, to) not seen since before? */
bool store_usage_stale(struct store *s, int64_t from, int64_t to, int64_t before);
/* Of the file as a whole. */
int64_t store_usage_bytes(struct store *s);
/* One row; zeros: there is none. */
bool store_usage_get(
    struct store *s, unsigned level, int64_t start, int64_t id, int64_t *admitted, int64_t *denied);
/*
 * Rows of keys (and others), or of totals, in [from, to), after (from, after_id), in order of
 * start and id; each() ends the walk by returning false.
 */
bool store_usage_walk(struct store *s, unsigned level, bool totals, int64_t from, int64_t after_id,
    int64_t to, bool (*each)(void *arg, const struct usage_row *r), void *arg);
bool store_usage_entry(struct store *s, int64_t id, struct usage_entry *out);
/* Entries of a key, of all limits and plans; of keys that begin so. */
bool store_usage_entries(struct store *s, const unsigned char *key, size_t len, bool prefix,
    bool (*each)(void *arg, const struct usage_entry *e), void *arg);

#endif
