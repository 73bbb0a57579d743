/*
 * bounds.h - what a limit would have denied of what is known only by the bucket: so many units in
 * each quarter of an hour, but not when in it.
 *
 * Let there be buckets of R seconds, c[j] units asked for in bucket j, each unit a call of its own,
 * and a limit.  Every way to place the units within their buckets gives a number of denials.  What
 *is proved here are two numbers between which all of them lie.  Two facts about a limiter are used
 *and nothing else, so they hold for the exact sliding window as for ours, which readmits up to a
 * fifteenth of the window late:
 *
 *   (F) no more than n is admitted in any window: W long anywhere (sliding), or the aligned one
 *	(fixed, day, month); of a bucket, no more than burst + rate x L in any L.
 *   (G) a unit at t is denied only if n were admitted before it in the window that the limiter
 *	looks at: (t - W', t], W' = W + W/15 + 1 s (sliding); from the aligned window's start on
 *	(fixed, day, month); (t - T, t] with T = burst / rate, for before T a bucket that was not
 *	denied anything since is full again.
 *
 * Fewest.  Let I be buckets that follow each other, L long together, C units.  By (F) at most
 * cap(I) are admitted in I: n x the windows that it takes to cover L, n x the aligned windows that
 * meet I, or burst + rate x L.  So at least C - cap(I) are denied there.  Over intervals that do
 *not meet these add up, and the best choice of such intervals is found by going through the buckets
 *once: lower[j] = max(lower[j-1], lower[i] + C(i..j) - cap(i..j)).  Of rates together each must
 *hold, so the largest is meant.
 *
 * Most.  Let b(j) be the first bucket that the look back from bucket j's start reaches, S(j) the
 *units of buckets b(j)..j.  If anything is denied in j, then by (G) n were admitted in b(j)..j, and
 *so at most S(j) - n denied there; and never more than c[j] in j itself.  Hence denied in j <=
 *min(c[j], max(0, S(j) - n)) denied in b(j)..j <= S(j) - min(c[j], n)	(if nothing is denied in j,
 *c[j] were admitted) and the buckets are gone through once more: upper[j] = min(upper[j-1] + the
 *first, upper[b(j)-1] + the second).  Of several rates who denies is not known: the first with the
 *rate for which it is largest, the second with the longest look back and the smallest n.
 *
 * Where a day or month begins on a bucket's edge both come to the same: every unit of it is in a
 *known period, and what is above n is denied.
 */
#ifndef RATION_BOUNDS_H
#define RATION_BOUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy.h"

/* Start of the aligned window around Unix second t, and its end.  For fixed windows, days, months.
 */
struct bounds_calendar {
	void (*window)(
	    void *arg, const struct rate_def *r, int64_t t, int64_t *start, int64_t *end);
	void *arg;
};

struct bounds_series {
	const uint64_t *units; /* asked for, by bucket */
	size_t n;
	int64_t start_s; /* of the first bucket, Unix */
	int64_t bucket_s;
};

struct bounds {
	uint64_t fewest, most;
};

/*
 * Denials of a limit of nrates rates.  What was used before the first bucket is not known and
 * counts as nothing.  False: no memory.
 */
bool bounds_find(const struct bounds_series *s, const struct rate_def *rates, unsigned nrates,
    const struct bounds_calendar *calendar, struct bounds *out);

#endif
