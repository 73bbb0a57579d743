/*
 * thresholds.h - which keys have reached a percentage of their limit, from their own words.
 *
 * The pass over the table asks this of every key, so it must cost next to nothing where there
 * is nothing new: of each slot a *memo* says what was seen of it when it was dealt with last
 * (a hash of which rates had reached which percentage of which figure, in which period), and
 * under which policy.  A key whose memo fits is left alone.  A memo is eight bytes a slot, and
 * of keys below their lowest percentage is never touched; lost, it costs another look.
 *
 * Of fixed windows and calendar periods the period before is looked at too, as long as it is not
 * known to be settled: its ring word stands there until the ring comes round, so what was
 * crossed while rationd was away is found after the period's end as well.
 */
#ifndef RATIOND_THRESHOLDS_H
#define RATIOND_THRESHOLDS_H

#include "keeper.h"
#include "notes.h"

#define PERIODS_KNOWN 64u

/* A fixed window or calendar period and the one before: where their words are. */
struct threshold_period {
	uint32_t version; /* of the policy; 0: empty */
	uint32_t shape;
	int64_t start, end, before; /* Unix s; before: where the one before starts */
	uint64_t tag, tag_before;
	uint8_t word, word_before;
};

struct thresholds {
	struct keeper *keeper;
	struct policy_ref policy;
	uint64_t now_ns;
	int64_t unix_ns;
	int64_t now_s;
	int64_t settled; /* Unix s: periods that ended by then are not looked at */
	struct threshold_period periods[PERIODS_KNOWN];
	uint64_t *memo; /* by slot: policy version(32) hash(32) */
	size_t memo_bytes;
};

/* Use of one rate in one period. */
struct threshold_use {
	struct rate_def rate;
	int64_t start; /* Unix s; 0: a sliding window or a bucket */
	int64_t end;   /* likewise */
	int64_t reset_at;
	uint64_t used;
	uint64_t units; /* of a period that is over: as far as is known */
	uint8_t level;
	bool past; /* the period is over */
};

/* All of a key's that matter. */
struct threshold_key {
	uint64_t slot;
	uint64_t birth;
	uint32_t limit;
	unsigned char key[256];
	size_t key_len;
	struct ruleset rules;
	unsigned n;
	struct threshold_use uses[2 * RATION_RATES_MAX];
	uint32_t hash; /* for thresholds_done() */
};

/* 0; or -1: no memory. */
int thresholds_open(struct thresholds *t, struct keeper *k);
void thresholds_close(struct thresholds *t);
/* All is to be looked at anew. */
void thresholds_forget(struct thresholds *t);
/* The time and the policy of now.  False: there is no policy yet. */
bool thresholds_now(struct thresholds *t);
/* The same, if the policy is another than it was: the one before may be gone from memory. */
static inline bool
thresholds_follow(struct thresholds *t)
{
	const struct policy_head *head = t->keeper->seg.policy;
	uint64_t word = atomic_load_explicit(&head->word, memory_order_relaxed);

	return (t->policy.head == head && t->policy.version == POLICY_CURRENT(word)) ||
	    thresholds_now(t);
}
/* Is there something about this slot that was not dealt with? */
bool thresholds_new(struct thresholds *t, uint64_t slot);
/*
 * Look at it.  note: what led there, checked to be in range; NULL: none.  False: there is nothing
 * to be told of it.
 */
bool thresholds_look(
    struct thresholds *t, uint64_t slot, const struct note *note, struct threshold_key *out);
/* It was dealt with. */
void thresholds_done(struct thresholds *t, uint64_t slot, uint32_t hash);
/* The rules of a key at this moment, wherever it is.  False: none, or nothing is told of it. */
bool thresholds_rules(const struct thresholds *t, uint32_t limit, const unsigned char *key,
    size_t len, struct ruleset *out);

#endif
