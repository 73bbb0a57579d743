/*
 * notified.c - when a percentage is told of, and when again.
 *
 * By state, not by what led here: whatever is reached and was not told of is told of now, so
 * it does not matter how often or in which order one looks.  A percentage is armed again
 *	- in a new period, which has a record of its own;
 *	- when the limit of the key is another: those that then lie above what was used when it
 *	  was last looked at;
 *	- of a sliding window or a bucket, which have no periods: when use has stayed below it for
 *	  a window, as far as was seen.  (Who goes above it in between leaves a note.)
 */
#include "notified.h"

#include <string.h>

static bool
reached(uint64_t used, uint64_t units, uint8_t percent)
{
	return (unsigned __int128)used * 100 >= (unsigned __int128)units * percent;
}

static bool
has_percent(const uint8_t percents[NOTIFY_MAX], uint8_t percent)
{
	for (unsigned i = 0; i < NOTIFY_MAX && percents[i] != 0; i++)
		if (percents[i] == percent)
			return true;
	return false;
}

static bool
marked(const struct notified *n, uint8_t percent)
{
	for (unsigned i = 0; i < n->n; i++)
		if (n->marks[i].percent == percent)
			return true;
	return false;
}

/* Armed again: the mark goes. */
static void
arm(struct notified *n, unsigned i)
{
	if (n->remind == n->marks[i].percent)
		n->remind_at = 0;
	n->n--;
	memmove(&n->marks[i], &n->marks[i + 1], (n->n - i) * sizeof(n->marks[0]));
}

/* The limit is another than when it was looked at last. */
static void
change_units(struct notified *n, uint64_t units)
{
	for (unsigned i = n->n; i-- > 0;)
		if (!reached(n->used, units, n->marks[i].percent))
			arm(n, i);
	if (units > n->units)
		n->remind_at = 0;
	n->units = units;
}

/* Since when is use below each mark?  True: something is other than it was. */
static bool
slide(struct notified *n, uint64_t used, int64_t now)
{
	bool changed = false;

	for (unsigned i = n->n; i-- > 0;) {
		struct notified_mark *m = &n->marks[i];

		if (!reached(used, n->units, m->percent)) {
			changed = changed || m->below == 0;
			m->below = m->below == 0 ? now : m->below;
		} else if (m->below != 0) {
			changed = true;
			if (now - m->below >= n->span)
				arm(n, i);
			else
				m->below = 0;
		}
	}
	return changed;
}

/* A record of a sliding window may go when all its marks could. */
static int64_t
forgotten_at(const struct notified *n)
{
	int64_t at = 0;

	for (unsigned i = 0; i < n->n; i++) {
		if (n->marks[i].below == 0)
			return POLICY_ENDLESS;
		if (n->marks[i].below + n->span > at)
			at = n->marks[i].below + n->span;
	}
	return at;
}

static void
start_record(struct notified *n, const struct threshold_use *u)
{
	n->ends = u->start != 0 ? u->end : POLICY_ENDLESS;
	n->units = u->units;
	n->used = 0;
	n->n = 0;
	n->remind_at = 0;
	n->remind = 0;
}

/* A window's length in whole seconds; a bucket's is the time in which it fills. */
static int64_t
span_of(const struct rate_def *r)
{
	uint64_t ns = r->window_ns;

	if (r->kind == RATION_BUCKET)
		ns = r->period16 / 16 * r->units;
	return (int64_t)((ns + 999999999u) / 1000000000u);
}

unsigned
notified_update(struct notified *n, bool found, const struct threshold_use *u,
    const uint8_t percents[NOTIFY_MAX], const int64_t remind_s[NOTIFY_MAX], int64_t now,
    uint8_t told[NOTIFY_MAX], bool *changed)
{
	bool sliding = u->start == 0;
	unsigned ntold = 0;

	*changed = false;
	if (!found || (sliding && n->ends <= now))
		start_record(n, u);
	n->span = sliding ? span_of(&u->rate) : 0;
	if (!u->past && n->units != u->units) {
		change_units(n, u->units);
		*changed = found;
	}
	for (unsigned i = n->n; i-- > 0;)
		if (!has_percent(percents, n->marks[i].percent)) {
			arm(n, i);
			*changed = true;
		}
	if (sliding && slide(n, u->used, now))
		*changed = true;
	for (unsigned i = 0; i < NOTIFY_MAX && percents[i] != 0; i++) {
		if (marked(n, percents[i]) || !reached(u->used, n->units, percents[i]))
			continue;
		n->marks[n->n++] =
		    (struct notified_mark) { .percent = percents[i], .at = now, .below = 0 };
		told[ntold++] = percents[i];
		/* Only the highest is worth a reminder, and only while its period lasts. */
		n->remind = percents[i];
		n->remind_at = remind_s[i] > 0 && !u->past ? now + remind_s[i] : 0;
	}
	*changed = *changed || ntold > 0;
	/* Seen above it may not go, whatever was thought while nobody looked. */
	if (sliding && n->ends != forgotten_at(n)) {
		n->ends = forgotten_at(n);
		*changed = *changed || found;
	}
	if (*changed)
		n->used = u->used;
	return ntold;
}
