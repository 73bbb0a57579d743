/*
 * history_write.c - a batch of slots into the store: one transaction, see history.c.
 *
 * Each slot's key has an entry of the store's dictionary, by limit, key and plan; the cursor knows
 * its number, so that a key that is used all the time is looked up once.  A key on another
 * plan has another entry: what was used on either is of that plan.  Beyond `history.keys` new keys
 * are counted under their limit alone.  In a tick a batch is cut when it takes too long: what is
 * left is found again.
 */
#include "history_state.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "slot.h"
#include "view.h"

#define WRITE_NS UINT64_C(8000000) /* of a tick: what is not written by then waits */
#define WRITE_STEP 32u
#define NEW_MAX 192u /* entries made in one transaction: each is on a page of its own */
#define COMPLAIN_S 60

/* ---- names ---- */

/* Of the policy in force; one that is asked for in vain is looked for again. */
static bool
limit_number(struct history *h, const struct policy_ref *p, uint32_t limit, int64_t *no)
{
	struct limit_def def;

	*no = h->limit_no[limit];
	if (*no != 0)
		return true;
	if (!policy_limit(p, limit, &def))
		return store_usage_name(h->store, "", no); /* a scribble */
	return store_usage_name(h->store, policy_string(p, def.name, NULL), &h->limit_no[limit]) &&
	    (*no = h->limit_no[limit]) != 0;
}

static bool
plan_number(struct history *h, const struct policy_ref *p, uint16_t plan, uint16_t *no)
{
	int64_t n;

	plan &= 255;
	*no = h->plan_no[plan];
	if (*no != 0)
		return true;
	if (!store_usage_name(h->store, plan != 0 ? policy_plan_name(p, plan) : "", &n))
		return false;
	*no = h->plan_no[plan] = n <= UINT16_MAX ? (uint16_t)n : UINT16_MAX;
	return true;
}

/* What was looked up may not have come to stay, or is of another policy. */
static void
forget_names(struct history *h)
{
	memset(h->plan_no, 0, sizeof(h->plan_no));
	memset(h->limit_no, 0, sizeof(h->limit_no));
	memset(h->other_id, 0, sizeof(h->other_id));
}

/* ---- writing a batch ---- */

/* Sums of a batch by limit and plan. */
#define TOTALS_MAX 64u
struct totals {
	unsigned n;
	struct {
		int64_t limit_no;
		uint16_t plan_no;
		int64_t admitted, denied;
	} at[TOTALS_MAX];
};

struct writing {
	struct history *h;
	struct policy_ref policy;
	int64_t now, start, day;
	struct totals totals;
	uint64_t others;
	int64_t added;
	uint64_t end_ns; /* the batch is cut then */
};

/* Into the finest level, and into those that have come past it. */
static bool
add_row(struct writing *w, enum usage_kind kind, int64_t id, int64_t admitted, int64_t denied)
{
	struct history *h = w->h;
	bool ok = store_usage_add(h->store, 0, kind, w->start, id, admitted, denied);

	for (unsigned l = 1; ok && l < USAGE_LEVELS; l++)
		if (usage_is_rolled(h->state.rolled, l, w->start, id))
			ok = store_usage_add(
			    h->store, l, kind, usage_floor(l, w->start), id, admitted, denied);
	return ok;
}

static bool
put_totals(struct writing *w)
{
	bool ok = true;

	for (unsigned i = 0; ok && i < w->totals.n; i++) {
		bool added;
		int64_t id;

		ok = store_usage_find(w->h->store, USAGE_TOTAL, NULL, 0, w->totals.at[i].limit_no,
			 w->totals.at[i].plan_no, w->day, true, &id, &added) &&
		    add_row(w, USAGE_TOTAL, id, w->totals.at[i].admitted, w->totals.at[i].denied);
		w->added += added ? 1 : 0;
	}
	w->totals.n = 0;
	return ok;
}

static bool
add_total(struct writing *w, int64_t limit_no, uint16_t plan_no, int64_t admitted, int64_t denied)
{
	struct totals *t = &w->totals;
	unsigned i = 0;

	while (i < t->n && (t->at[i].limit_no != limit_no || t->at[i].plan_no != plan_no))
		i++;
	if (i == TOTALS_MAX) {
		if (!put_totals(w))
			return false;
		i = 0;
	}
	if (i == t->n) {
		t->at[i].limit_no = limit_no;
		t->at[i].plan_no = plan_no;
		t->at[i].admitted = t->at[i].denied = 0;
		t->n++;
	}
	t->at[i].admitted += admitted;
	t->at[i].denied += denied;
	return true;
}

/* The limit alone: for keys that find no room, and for calls without a slot. */
static bool
others_entry(struct writing *w, uint32_t limit, int64_t limit_no, uint16_t plan_no, int64_t *id)
{
	bool added = false, ok = true;

	*id = plan_no == w->h->plan_no[0] ? w->h->other_id[limit] : 0;
	if (*id == 0)
		ok = store_usage_find(w->h->store, USAGE_OTHERS, NULL, 0, limit_no, plan_no, w->day,
		    true, id, &added);
	if (plan_no == w->h->plan_no[0])
		w->h->other_id[limit] = *id;
	w->added += added ? 1 : 0;
	return ok;
}

static bool
write_slot(struct writing *w, struct pending *p)
{
	struct history *h = w->h;
	const struct segment *seg = &h->keeper->seg;
	uint32_t limit =
	    LINK_LIMIT(word_load(&segment_slot(seg, p->index)[SLOT_LINK])) % LIMITS_MAX;
	unsigned char key[256];
	int len = table_slot_key(seg, p->index, key);
	int64_t limit_no, id = p->next.id;
	bool added = false, room;
	uint16_t plan_no;

	if (len <= 0)
		return true; /* a scribble */
	if (!limit_number(h, &w->policy, limit, &limit_no) ||
	    !plan_number(h, &w->policy,
		view_plan(seg, &w->policy, p->index, key, (size_t)len, w->now), &plan_no))
		return false;
	if (id == 0 || CURSOR_PLAN(&p->next) != plan_no) {
		room = h->state.entries + w->added < (int64_t)h->policy.keys;
		if (!store_usage_find(h->store, USAGE_KEY, key, (size_t)len, limit_no, plan_no,
			w->day, room, &id, &added))
			return false;
		w->added += added ? 1 : 0;
		p->next.id = id > 0 && id <= UINT32_MAX ? (uint32_t)id : 0;
		p->next.admitted = (p->next.admitted & TOTAL_MASK) | (uint64_t)plan_no << 48;
	}
	if (id == 0) {
		w->others++;
		if (!others_entry(w, limit, limit_no, plan_no, &id))
			return false;
	}
	return add_row(w, USAGE_KEY, id, p->admitted, p->denied) &&
	    add_total(w, limit_no, plan_no, p->admitted, p->denied);
}

static bool
write_limit(struct writing *w, const struct pending *p)
{
	uint32_t limit = p->index - (uint32_t)w->h->keeper->seg.nslots;
	int64_t limit_no, id;
	uint16_t plan_no;

	return limit_number(w->h, &w->policy, limit, &limit_no) &&
	    plan_number(w->h, &w->policy, 0, &plan_no) &&
	    others_entry(w, limit, limit_no, plan_no, &id) &&
	    add_row(w, USAGE_OTHERS, id, p->admitted, p->denied) &&
	    add_total(w, limit_no, plan_no, p->admitted, p->denied);
}

/* What stands behind the first n waits for the next batch: a round goes back to it. */
static void
cut(struct history *h, size_t n)
{
	for (size_t i = n; i < h->n; i++) {
		uint32_t index = h->batch[i].index;

		h->queued[index / 8] &= (uint8_t) ~(1u << (index % 8));
		if (!h->batch[i].gone && index < h->next)
			h->next = index;
	}
	h->n = n;
}

static bool
write_rows(struct writing *w)
{
	struct history *h = w->h;
	bool ok = true;

	/* Nothing is recorded before this: levels begin to be rolled up from here. */
	for (unsigned l = 1; ok && l < USAGE_LEVELS; l++)
		if (h->state.rolled[l].start < 0) {
			h->state.rolled[l] = (struct usage_rolled) { usage_floor(l, w->start), 0 };
			ok = store_usage_rolled(h->store, l, &h->state.rolled[l]);
		}
	for (size_t i = 0; ok && i < h->n; i++) {
		struct pending *p = &h->batch[i];

		if (i % WRITE_STEP == WRITE_STEP - 1 && w->end_ns != UINT64_MAX &&
		    (history_cpu_ns() > w->end_ns || w->added > NEW_MAX)) {
			cut(h, i);
			break;
		}
		ok = p->index < h->keeper->seg.nslots ? write_slot(w, p) : write_limit(w, p);
		h->journal[i] = (struct journal_entry) { .index = p->index,
			.birth = p->next.birth,
			.id = p->next.id,
			.admitted = p->next.admitted,
			.denied = p->next.denied };
	}
	return ok && put_totals(w) &&
	    store_usage_journal(
		h->store, h->state.serial + 1, h->journal, h->n * sizeof(h->journal[0]));
}

void
history_failed(struct history *h, const char *what)
{
	int64_t now = keeper_now(h->keeper);

	if (h->failing_s == 0)
		h->failing_s = now;
	if (h->complain_s != 0 && now - h->complain_s < COMPLAIN_S && now >= h->complain_s)
		return;
	h->complain_s = now;
	log_error("history: %s; usage is recorded when that is over", what);
}

/* Dictionary entries that found no room. */
static void
tell_full(struct history *h, uint64_t others)
{
	h->status.others += others;
	if (others == 0 || h->told_full)
		return;
	h->told_full = true;
	log_warn("history: %lld keys have figures of their own, as many as history.keys allows: "
		 "further ones are counted under their limit alone",
	    (long long)h->state.entries);
}

/* All that is queued.  False: none of it, the store failed. */
bool
history_write(struct history *h, bool in_time)
{
	struct writing w = { .h = h,
		.now = keeper_now(h->keeper),
		.end_ns = in_time ? history_cpu_ns() + WRITE_NS : UINT64_MAX };
	struct usage_rolled rolled[USAGE_LEVELS];
	char err[512] = "no policy";
	bool ok;
	int e = -1;

	if (h->n == 0)
		return true;
	memcpy(rolled, h->state.rolled, sizeof(rolled));
	w.start = usage_floor(0, w.now);
	w.day = usage_floor(2, w.now);
	ok = keeper_policy(h->keeper, &w.policy);
	if (ok && w.policy.version != h->version) {
		forget_names(h);
		h->version = w.policy.version;
	}
	if (ok)
		(void)snprintf(err, sizeof(err), "the state cannot be written to");
	if (ok && store_usage_begin(h->store))
		e = store_usage_end(h->store, write_rows(&w), err, sizeof(err));
	if (e == 0) {
		h->state.serial++;
		h->state.entries += w.added;
		h->failing_s = 0;
		h->round_slots += h->n;
		recorded_apply(h);
		tell_full(h, w.others);
	} else {
		memcpy(h->state.rolled, rolled, sizeof(rolled));
		forget_names(h);
		history_failed(h, err);
	}
	for (size_t i = 0; i < h->n; i++)
		h->queued[h->batch[i].index / 8] = 0;
	return e == 0;
}
