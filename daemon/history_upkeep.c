/*
 * history_upkeep.c - what is done to recorded usage later: rolling up what has closed, forgetting
 * what is older than policy keeps, and keys that nothing is kept of.
 *
 * Every step is a small transaction that leaves the store right; a kill between two of them
 * is gone on from.  What is not rolled up yet is never forgotten, whatever the policy says.
 */
#include "history_state.h"

#include <string.h>

#define ROLL_IDS 256 /* of an hour at once: four buckets' rows; of a day 24 */
#define FORGET_ROWS 2000u
#define PURGE_IDS 4096
#define DAY_S INT64_C(86400)

/* ---- rolling up ---- */

/* The next bucket of a level with anything in it; what lies before it is past. */
static int64_t
next_bucket(struct history *h, unsigned level, int64_t from)
{
	int64_t keys = store_usage_next(h->store, level - 1, from);

	return keys == INT64_MAX ? INT64_MAX : usage_floor(level, keys);
}

/* A step of rolling up one level.  True: something was done. */
static bool
roll(struct history *h, unsigned level)
{
	struct usage_rolled r = h->state.rolled[level], next;
	int64_t now = keeper_now(h->keeper), bucket, id = INT64_MAX;
	char err[512];
	bool ok;

	if (r.start < 0)
		return false;
	bucket = r.id > 0 ? r.start : next_bucket(h, level, r.start);
	/* Closed: over, and the finer level has come past all of it. */
	if (bucket == INT64_MAX || bucket + usage_seconds[level] > now ||
	    (level > 1 && h->state.rolled[level - 1].start < bucket + usage_seconds[level] &&
		next_bucket(h, level - 1, h->state.rolled[level - 1].start) <
		    bucket + usage_seconds[level]))
		return false;
	id = store_usage_next_id(h->store, level, bucket, bucket == r.start ? r.id : 0);
	if (id == INT64_MAX)
		next = (struct usage_rolled) { bucket + usage_seconds[level], 0 };
	else
		next = (struct usage_rolled) { bucket, id + ROLL_IDS };
	if (!store_usage_begin(h->store)) {
		history_failed(h, "the store cannot be written");
		return false;
	}
	ok = id == INT64_MAX || store_usage_roll(h->store, level, bucket, id, id + ROLL_IDS);
	ok = ok && store_usage_rolled(h->store, level, &next);
	if (store_usage_end(h->store, ok, err, sizeof(err)) != 0) {
		history_failed(h, err);
		return false;
	}
	h->state.rolled[level] = next;
	return true;
}

/* ---- forgetting ---- */

static bool
forget(struct history *h)
{
	int64_t now = keeper_now(h->keeper);
	char err[512];
	bool ok = true, more = false;

	if (h->forgot_at != 0 && now >= h->forgot_at && now - h->forgot_at < 60)
		return false;
	for (unsigned l = 0; ok && !more && l < USAGE_LEVELS; l++) {
		int64_t before = usage_floor(l, now - (int64_t)h->policy.keep_s[l]);

		if (l + 1 < USAGE_LEVELS && before > h->state.rolled[l + 1].start)
			before = h->state.rolled[l + 1].start;
		if (store_usage_next(h->store, l, INT64_MIN) >= before &&
		    store_usage_next(h->store, l + USAGE_LEVELS, INT64_MIN) >= before)
			continue;
		if (!store_usage_begin(h->store))
			return false;
		ok = store_usage_forget(h->store, l, before, FORGET_ROWS, &more);
		if (store_usage_end(h->store, ok, err, sizeof(err)) != 0) {
			history_failed(h, err);
			return false;
		}
	}
	if (!more)
		h->forgot_at = now;
	return more;
}

/* Is everything recorded up to the end of this day rolled up into days? */
static bool
day_is_rolled(struct history *h, int64_t day)
{
	return next_bucket(h, 2, h->state.rolled[2].start) > day &&
	    next_bucket(h, 1, h->state.rolled[1].start) >= day + DAY_S;
}

/* The cursors forget which entries are theirs. */
static void
uncache(struct history *h, int64_t today)
{
	for (uint64_t i = 0; i < h->keeper->seg.nslots + LIMITS_MAX; i++)
		h->cursors[i].id = 0;
	memset(h->other_id, 0, sizeof(h->other_id));
	h->uncached_day = today;
}

/*
 * Keys of which no row is kept: looked for once a day.  When there are some, the cursors forget
 * their ids first, so that whoever is used looks its entry up, which is then seen today; they go
 * when the days up to that one have been rolled up, which sees the others that were used.
 */
static bool
purge(struct history *h)
{
	int64_t today = usage_floor(2, keeper_now(h->keeper));
	int64_t before = today - (int64_t)h->policy.keep_s[2] - 2 * DAY_S, gone = 0;
	char err[512];
	bool ok;

	if (h->purge_id == 0) {
		if (today == h->purge_day)
			return false;
		h->purge_day = today;
		h->purge_id = 1;
	}
	if (store_usage_stale(h->store, h->purge_id, h->purge_id + PURGE_IDS, before)) {
		if (h->uncached_day == 0)
			uncache(h, today);
		if (h->uncached_day >= today || !day_is_rolled(h, h->uncached_day)) {
			h->purge_id = 0; /* tomorrow */
			return false;
		}
		if (!store_usage_begin(h->store))
			return false;
		ok = store_usage_purge(
		    h->store, h->purge_id, h->purge_id + PURGE_IDS, before, &gone);
		if (store_usage_end(h->store, ok, err, sizeof(err)) != 0) {
			history_failed(h, err);
			return false;
		}
		h->state.entries -= gone;
		h->told_full = h->told_full && gone == 0;
	}
	h->purge_id += PURGE_IDS;
	if (h->purge_id > store_usage_last_id(h->store))
		h->purge_id = h->uncached_day = 0;
	return true;
}

/* ---- all of it ---- */

static bool
step(struct history *h)
{
	switch ((enum upkeep)h->task) {
	case UPKEEP_HOURS:
		return roll(h, 1);
	case UPKEEP_DAYS:
		return roll(h, 2);
	case UPKEEP_FORGET:
		return forget(h);
	default:
		return purge(h);
	}
}

bool
history_upkeep(struct history *h, uint64_t cpu_ns)
{
	uint64_t end = history_cpu_ns() + cpu_ns;
	unsigned idle = 0;

	while (idle < UPKEEPS) {
		if (step(h)) {
			idle = 0;
		} else {
			h->task = (h->task + 1) % UPKEEPS;
			idle++;
		}
		if (history_cpu_ns() > end)
			return true;
	}
	return false;
}
