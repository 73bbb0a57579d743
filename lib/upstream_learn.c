/*
 * upstream_learn.c - what an answer says, into the entry: ceilings, resets, pauses, the
 * difference of the clocks; and what is told of it.  Why it is right stands at the top of
 * upstream_budget.c.
 */
#include "upstream.h"

#include "atomics.h"

#define TRIES UPSTREAM_TRIES
#define OTHERS_NS (60 * SECOND_NS)
#define REMAINING_MOST UINT64_C(1000000000000000)

/* ---- words ---- */

static void
put(word_t *w, uint64_t to)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t old = word_load(w);

		if (old == to || word_cas(w, old, to))
			return;
	}
}

/* At least `to`, or just that. */
static void
set_time(word_t *w, uint64_t to, bool least, uint64_t now_ns)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t old = word_load(w), known = upstream_time(w, now_ns);

		if ((least && known >= to && known == old) || word_cas(w, old, to))
			return;
	}
}

/* ---- learning ---- */

void
budget_pause(struct upstream_call *c, uint64_t for_ns)
{
	uint64_t until = c->now_ns + (for_ns < UPSTREAM_AHEAD_NS ? for_ns : UPSTREAM_AHEAD_NS);

	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t old = word_load(&c->e[U_PAUSE]);
		uint64_t known = upstream_time(&c->e[U_PAUSE], c->now_ns);

		if (known == old && known >= until)
			return;
		if (!word_cas(&c->e[U_PAUSE], old, until))
			continue;
		if (known <= c->now_ns)
			word_count(&c->e[U_COUNT + UC_paused], 1);
		return;
	}
}

uint64_t
budget_pause_left(struct upstream_call *c)
{
	uint64_t t = upstream_time(&c->e[U_PAUSE], c->now_ns);

	return t > c->now_ns ? t - c->now_ns : 0;
}

/*
 * Their clock minus ours.  Date is their second in which the answer was made, which was between
 * our sending and our receiving: each answer bounds the difference from both sides, and
 * together they come to within the time of one request.  Bounds that contradict each other tell of
 * a clock that was set.
 */
static void
learn_skew(struct upstream_call *c, const ration_attempt_t *a, int64_t date_s)
{
	uint64_t old = word_load(&c->e[U_SKEW]);
	int64_t received = c->unix_ns / (int64_t)MS_NS;
	int64_t took = (int64_t)((c->now_ns - A_AT(a)) / MS_NS), least, most;

	if (took < 0 || took > 3600000)
		took = 3600000;
	least = date_s * 1000 - received - 1;
	most = date_s * 1000 + 1000 - (received - took);
	if (least < INT32_MIN + 1 || most > INT32_MAX)
		return;
	if (old != 0 && (int32_t)(old >> 32) > least && (int32_t)(old >> 32) <= most)
		least = (int32_t)(old >> 32);
	if (old != 0 && (int32_t)(uint32_t)old < most && (int32_t)(uint32_t)old >= least)
		most = (int32_t)(uint32_t)old;
	(void)word_cas(
	    &c->e[U_SKEW], old, (uint64_t)(uint32_t)(int32_t)least << 32 | (uint32_t)(int32_t)most);
}

/* When it comes back, by our shared time and rather too late; 0: not said. */
static uint64_t
reset_ns(const struct upstream_call *c, const struct learnt *l)
{
	uint64_t skew = word_load(&c->e[U_SKEW]);
	int64_t in_ms = (int64_t)l->reset_ms;

	if (l->reset_kind == RESET_NONE)
		return 0;
	if (l->reset_kind == RESET_UNIX)
		in_ms -= c->unix_ns / (int64_t)MS_NS + (skew != 0 ? (int32_t)(skew >> 32) : 0);
	if (in_ms < 0)
		in_ms = 0;
	if ((uint64_t)in_ms > UPSTREAM_AHEAD_NS / MS_NS)
		return 0;
	return c->now_ns + (uint64_t)in_ms * MS_NS;
}

/* 429, or 503 with a time: nobody sends until then.  Returns when one may again. */
static uint64_t
learn_pause(
    struct upstream_call *c, const ration_attempt_t *a, const struct learnt *l, uint64_t reset)
{
	uint64_t for_ns;

	if (l->retry_after_s >= 0)
		for_ns = (uint64_t)l->retry_after_s < UPSTREAM_AHEAD_NS / SECOND_NS
		    ? (uint64_t)l->retry_after_s * SECOND_NS
		    : UPSTREAM_AHEAD_NS;
	else if (reset > c->now_ns && reset - c->now_ns <= c->def.most_ms * MS_NS)
		for_ns = reset - c->now_ns;
	else
		for_ns = upstream_base_ms(&c->def, a->tries) * MS_NS;
	budget_pause(c, for_ns);
	return c->now_ns + for_ns;
}

/* Not below `to`, counted as units are. */
static void
rise(word_t *w, uint64_t to)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t old = word_load(w);

		if ((int64_t)(to - old) <= 0 || word_cas(w, old, to))
			return;
	}
}

/*
 * The new ceiling.  True: it is from the newest answer.  `seen` goes first: a process killed in
 * between leaves an older ceiling that looks newer, and the next answer mends it.
 */
static bool
learn_ceiling(
    struct upstream_call *c, const ration_attempt_t *a, uint64_t left, bool first, bool refused)
{
	uint64_t ceiling = a->sent + a->cost + left;

	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t seen = word_load(&c->e[U_SEEN]), old = word_load(&c->e[U_CEILING]);
		uint64_t best = word_load(&c->e[U_BEST]), sent = word_load(&c->e[U_SENT]);
		bool newer = first || (int64_t)(A_NUMBER(a) - seen) >= 0;
		bool others = !first && (newer || refused) && (int64_t)(best - (sent + left)) > 0;

		if (newer && seen != sent && !word_cas(&c->e[U_SEEN], seen, sent))
			continue;
		if (others)
			set_time(&c->e[U_OTHERS], c->now_ns + OTHERS_NS, true, c->now_ns);
		if (first || others || refused)
			put(&c->e[U_BEST], ceiling);
		else
			rise(&c->e[U_BEST], ceiling);
		if (newer || left < word_load(&c->e[U_LEFT]))
			put(&c->e[U_LEFT], left);
		if (!newer && (int64_t)(ceiling - old) >= 0)
			return false;
		if (old == ceiling || word_cas(&c->e[U_CEILING], old, ceiling))
			return newer;
	}
	return false;
}

/* An answer that says nothing of a limit. */
static void
learn_silence(struct upstream_call *c, const ration_attempt_t *a, int status)
{
	uint64_t limit = word_load(&c->e[U_LIMIT]);

	if (status < 200 || status >= 500)
		return;
	if (limit == 0)
		(void)word_cas(&c->e[U_LIMIT], 0, UPSTREAM_SILENT);
	if (limit == 0 || limit == UPSTREAM_SILENT || A_OPENER(a) == 0)
		return;
	/* It said one before: that is taken to stand. */
	set_time(&c->e[U_AGAIN], c->now_ns + OTHERS_NS, false, c->now_ns);
	(void)learn_ceiling(c, a, limit > a->cost ? limit - a->cost : 0, false, false);
}

void
budget_learn(struct upstream_call *c, const ration_attempt_t *a, int status, const struct learnt *l)
{
	bool refused = status == 429, first;
	uint64_t reset, again, left = l->remaining, limit = word_load(&c->e[U_LIMIT]);

	if (l->date_s >= 0)
		learn_skew(c, a, l->date_s);
	reset = reset_ns(c, l);
	again = reset != 0 ? reset
			   : c->now_ns +
		(l->window_s != 0 && l->window_s < 86400 ? l->window_s * SECOND_NS : SECOND_NS);
	if (refused || (status == 503 && l->retry_after_s >= 0)) {
		uint64_t until = learn_pause(c, a, l, reset);

		if (l->retry_after_s >= 0 || reset == 0)
			again = until;
	}
	/* It is over by our clock, and nothing came back: theirs is another. */
	if (l->remaining == 0 && again <= c->now_ns)
		again = c->now_ns + SECOND_NS;
	if (status == 0 || (!l->has_remaining && !refused)) {
		learn_silence(c, a, status);
		return;
	}
	if (refused)
		left = 0;
	if (left > REMAINING_MOST)
		left = REMAINING_MOST;
	first = limit == 0 || limit == UPSTREAM_SILENT;
	if (l->has_limit && l->limit != 0)
		limit = l->limit < REMAINING_MOST ? l->limit : REMAINING_MOST;
	else if (l->has_limit || (first && l->has_remaining))
		limit = left + a->cost != 0 ? left + a->cost : 1;
	else if (first)
		limit = 0;
	if (learn_ceiling(c, a, left, first, refused)) {
		set_time(&c->e[U_RESET], reset, false, c->now_ns);
		set_time(&c->e[U_AGAIN], again, false, c->now_ns);
	} else {
		set_time(&c->e[U_AGAIN], again, true, c->now_ns);
	}
	put(&c->e[U_LIMIT], limit);
}

/* ---- what is told ---- */

/* Seconds of Unix time, rounded up, of a shared time. */
static int64_t
unix_s(const struct upstream_call *c, uint64_t ns)
{
	int64_t t = c->unix_ns + (int64_t)(ns - c->now_ns);

	return t > 0 ? (t + 999999999) / 1000000000 : 0;
}

void
budget_report(struct upstream_call *c, ration_attempt_t *a)
{
	uint64_t limit = word_load(&c->e[U_LIMIT]),
		 reset = upstream_time(&c->e[U_RESET], c->now_ns);

	a->limit = a->remaining = RATION_UNLIMITED;
	a->reset_at = 0;
	if (limit == 0 || limit == UPSTREAM_SILENT)
		return;
	a->limit = limit;
	a->remaining = upstream_room(c->e, U_CEILING);
	if (reset != 0)
		a->reset_at = unix_s(c, reset);
}

uint32_t
budget_low(struct upstream_call *c, const ration_attempt_t *a)
{
	uint64_t now_ms = c->now_ns / MS_NS, w, until, mask = 0, left;
	uint64_t reset = upstream_time(&c->e[U_RESET], c->now_ns);
	uint32_t lowest = 0;

	left = word_load(&c->e[U_LEFT]);
	if (a->limit == RATION_UNLIMITED || a->limit == 0)
		return 0;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		w = word_load(&c->e[U_LOW]);
		until = w >> 8;
		lowest = 0;
		mask = w & 0xff;
		if (now_ms >= until || until - now_ms > UPSTREAM_AHEAD_NS / MS_NS) {
			mask = 0;
			until = (reset > c->now_ns ? reset : c->now_ns + OTHERS_NS) / MS_NS;
		}
		for (unsigned i = 0; i < UPSTREAM_LOWS && c->def.low[i] != 0; i++) {
			if ((unsigned __int128)left * 100 >=
				(unsigned __int128)a->limit * c->def.low[i] ||
			    (mask >> i & 1) != 0)
				continue;
			mask |= UINT64_C(1) << i;
			lowest = c->def.low[i];
		}
		if (lowest == 0 || word_cas(&c->e[U_LOW], w, until << 8 | mask))
			return lowest;
	}
	return 0;
}
