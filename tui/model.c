/*
 * model.c - one pass over the slots: totals, filter, the first N in order.
 *
 * Cheap things first: a slot's totals are two words; its limit and key come next, and
 * only what is still wanted is read whole (every rate, through the policy).
 * Keys known to be idle (nothing used, totals at rest) are remembered so: using
 * a key always moves its totals, so it need not be read again until they do.
 *
 * Everything read here is input: a slot that cannot be made sense of is left out
 * of the list, never an error.
 */
#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "entries.h"
#include "filter.h"
#include "rows.h"
#include "table.h"

/* prev.admitted_at: admitted(44) idle(1) moved(19) */
#define MOVED_MASK UINT64_C(0x7ffff)
#define MOVED_NEVER MOVED_MASK
#define MOVED_FORGET (UINT64_C(1) << 18) /* s: older movements are forgotten, before they wrap */
#define IDLE_BIT (UINT64_C(1) << 19)
#define PREV_ADMITTED(p) ((p)->admitted_at >> 20)
#define PREV_DENIED(p) ((p)->denied_birth >> 28)
#define BIRTH_MASK ((UINT64_C(1) << 28) - 1)

/* What one pass carries along. */
struct scan {
	struct model *m;
	struct policy_ref policy;
	uint64_t now_ns;
	int64_t now_s;
	uint64_t mono_s;
	double per_s;                       /* 1 / s since the scan before; 0: unknown */
	bool collect;                       /* the list is made anew (not held) */
	bool rows;                          /* every row is wanted, for `over` */
	char (*names)[RATION_NAME_MAX + 1]; /* limits' names met so far, by id; NULL: not kept */
	bool uncounted[LIMITS_MAX];         /* entitlements: what was counted before is no row */
	struct model_row row;
};

int
model_init(struct model *m, const struct segment *seg, bool rates)
{
	memset(m, 0, sizeof(*m));
	m->seg = seg;
	m->limit_id = -1;
	m->sort = COL_USE;
	m->want = 64;
	if (!rates)
		return 0;
	/* calloc: pages of slots that were never used cost nothing */
	m->prev = calloc(seg->nslots ? seg->nslots : 1, sizeof(*m->prev));
	m->nokey = calloc(LIMITS_MAX, sizeof(*m->nokey));
	if (m->prev && m->nokey)
		return 0;
	model_free(m);
	return RATION_ENOMEM;
}

void
model_free(struct model *m)
{
	entries_clear(m);
	free(m->entries);
	free(m->prev);
	free(m->nokey);
	m->entries = NULL;
	m->prev = NULL;
	m->nokey = NULL;
	m->cap = 0;
}

/* Key and limit; names are looked up once a scan. */
static bool
read_key(struct scan *s, uint64_t slot)
{
	struct model_row *r = &s->row;
	uint32_t limit;
	uint64_t birth;
	int len = table_key(s->m->seg, slot, r->row.key, &limit, &birth);

	if (len < 0)
		return false;
	r->row.slot = slot;
	r->row.key_len = (uint8_t)len;
	r->row.limit = limit;
	r->row.birth = birth;
	if (!s->names || limit >= LIMITS_MAX) {
		row_limit_name(&s->policy, limit, r->limit);
		return true;
	}
	if (!s->names[limit][0])
		row_limit_name(&s->policy, limit, s->names[limit]);
	memcpy(r->limit, s->names[limit], sizeof(r->limit));
	return true;
}

/* ---- the pass ---- */

/* Rates of slot since the scan before; the totals of now take their place. */
static void
take_rates(struct scan *s, uint64_t slot, bool *idle_known)
{
	struct model_row *r = &s->row;
	struct model_prev *p;
	uint64_t a, d, moved;
	bool same, still;

	r->allow_s = r->deny_s = -1;
	r->last_s = UINT32_MAX;
	*idle_known = false;
	if (!s->m->prev)
		return;
	p = &s->m->prev[slot];
	same = (p->denied_birth & BIRTH_MASK) == (r->row.birth & BIRTH_MASK);
	a = same && PREV_ADMITTED(p) <= r->row.admitted ? PREV_ADMITTED(p)
	    : same                                      ? r->row.admitted
							: 0;
	d = same && PREV_DENIED(p) <= r->row.denied ? PREV_DENIED(p) : same ? r->row.denied : 0;
	if (s->per_s > 0) {
		r->allow_s = (float)((double)(r->row.admitted - a) * s->per_s);
		r->deny_s = (float)((double)(r->row.denied - d) * s->per_s);
	}
	still = same && PREV_ADMITTED(p) == r->row.admitted && PREV_DENIED(p) == r->row.denied;
	moved = still      ? p->admitted_at & MOVED_MASK
	    : s->per_s > 0 ? s->mono_s & MOVED_MASK
			   : MOVED_NEVER;
	if (moved != MOVED_NEVER) {
		uint64_t age = (s->mono_s - moved) & MOVED_MASK;

		if (age >= MOVED_FORGET)
			moved = MOVED_NEVER;
		else
			r->last_s = (uint32_t)age;
	}
	*idle_known = still && (p->admitted_at & IDLE_BIT);
	p->admitted_at = r->row.admitted << 20 | (*idle_known ? IDLE_BIT : 0) | moved;
	p->denied_birth = r->row.denied << 28 | (r->row.birth & BIRTH_MASK);
}

static bool
row_idle(const struct scan *s)
{
	const struct model_row *r = &s->row;

	for (unsigned i = 0; i < r->row.nrates && i < RATION_RATES_MAX; i++)
		if (r->row.rates[i].used > 0 && r->row.rates[i].kind != RATION_COUNT_ONLY)
			return false;
	return r->allow_s <= 0 && r->deny_s <= 0;
}

/* The row itself; the totals and rates are those that the pass took already. */
static bool
scan_row(struct scan *s, uint64_t slot, bool *have)
{
	uint64_t birth = s->row.row.birth, admitted = s->row.row.admitted,
		 denied = s->row.row.denied;

	if (*have)
		return true;
	if (!row_read(s->m->seg, slot, s->now_ns, &s->row) || s->row.row.birth != birth)
		return false;
	s->row.row.admitted = admitted;
	s->row.row.denied = denied;
	*have = true;
	return true;
}

static void
count_over(struct scan *s, uint32_t limit)
{
	double use = column_number(&s->row, COL_USE);

	if (!(use >= 100))
		return;
	s->m->over++;
	if (limit < LIMITS_MAX)
		s->m->limits[limit].over++;
}

static enum need
wanted(const struct scan *s)
{
	enum need need = s->collect ? columns[s->m->sort].need : NEED_TOTALS;

	return s->rows ? NEED_ROW : need;
}

/* Is it idle and not to be seen? */
static bool
scan_hidden(struct scan *s, uint64_t slot, bool idle_known, bool *have)
{
	struct model *m = s->m;

	if (!m->hide_idle)
		return false;
	if (!idle_known && s->row.allow_s <= 0 && s->row.deny_s <= 0) {
		if (!scan_row(s, slot, have))
			return true;
		idle_known = row_idle(s);
		if (idle_known && m->prev)
			m->prev[slot].admitted_at |= IDLE_BIT;
	}
	m->idle += idle_known;
	return idle_known;
}

static void
scan_slot(struct scan *s, uint64_t slot)
{
	struct model *m = s->m;
	struct model_row *r = &s->row;
	uint32_t limit;
	bool idle_known, have = false;
	int pass = 1;

	if (!view_totals(m->seg, slot, &r->row.birth, &r->row.admitted, &r->row.denied))
		return;
	limit = LINK_LIMIT(
	    atomic_load_explicit(&segment_slot(m->seg, slot)[SLOT_LINK], memory_order_relaxed));
	m->live++;
	if (limit < LIMITS_MAX && s->uncounted[limit])
		return;
	r->row.slot = slot;
	r->row.key_len = 0;
	take_rates(s, slot, &idle_known);
	if (limit < LIMITS_MAX) {
		m->limits[limit].keys++;
		m->limits[limit].allow_s += r->allow_s > 0 ? r->allow_s : 0;
		m->limits[limit].deny_s += r->deny_s > 0 ? r->deny_s : 0;
	}
	if (s->rows && !idle_known && scan_row(s, slot, &have))
		count_over(s, limit);
	if (m->limit_id >= 0 && limit != (uint64_t)m->limit_id)
		return;
	if (m->filter) {
		pass = filter_match_early(m->filter, r, have ? NEED_ROW : NEED_TOTALS);
		if (pass < 0) {
			if (!read_key(s, slot))
				return;
			pass = filter_match_early(m->filter, r, have ? NEED_ROW : NEED_KEY);
		}
		if (pass < 0) {
			if (!scan_row(s, slot, &have))
				return;
			pass = filter_match(m->filter, r);
		}
		if (!pass)
			return;
	}
	if (scan_hidden(s, slot, idle_known, &have))
		return;
	m->matched++;
	if (!s->collect)
		return;
	if (wanted(s) == NEED_ROW && !scan_row(s, slot, &have))
		return;
	if (!have && wanted(s) == NEED_KEY && !read_key(s, slot))
		return;
	entries_take(m, r);
}

/* Denials of keys that have no slot count for their limit and in all. */
static void
scan_nokey(struct scan *s)
{
	struct model *m = s->m;

	for (uint32_t i = 0; i < LIMITS_MAX; i++) {
		uint64_t n, before;

		m->allow_s += (double)m->limits[i].allow_s;
		if (m->nokey) {
			n = atomic_load_explicit(
			    &m->seg->limits[i].denied_nokey, memory_order_relaxed);
			before = m->nokey[i];
			m->nokey[i] = n;
			if (s->per_s > 0 && n > before)
				m->limits[i].deny_s += (float)((double)(n - before) * s->per_s);
		}
		m->deny_s += (double)m->limits[i].deny_s;
	}
}

static void
results_clear(struct model *m)
{
	m->live = m->matched = m->idle = m->over = 0;
	m->allow_s = m->deny_s = 0;
	memset(m->limits, 0, sizeof(m->limits));
}

/* Rates of an entry that stays in place: prev of before the pass against prev of after. */
static void
entry_rates(const struct scan *s, struct entry *e, const struct model_prev *before)
{
	const struct model_prev *p = &s->m->prev[e->slot];

	if (((p->denied_birth ^ before->denied_birth) & BIRTH_MASK) != 0 || s->per_s <= 0 ||
	    ((p->denied_birth ^ e->birth) & BIRTH_MASK) != 0)
		return;
	e->allow_s = (float)((double)(PREV_ADMITTED(p) - PREV_ADMITTED(before)) * s->per_s);
	e->deny_s = (float)((double)(PREV_DENIED(p) - PREV_DENIED(before)) * s->per_s);
	if (PREV_ADMITTED(p) < PREV_ADMITTED(before))
		e->allow_s = 0;
	if (PREV_DENIED(p) < PREV_DENIED(before))
		e->deny_s = 0;
	if ((p->admitted_at & MOVED_MASK) != MOVED_NEVER)
		e->last_s = (uint32_t)((s->mono_s - p->admitted_at) & MOVED_MASK);
}

static void
find_uncounted(struct scan *s)
{
	struct limit_def def;

	for (uint32_t id = 0; id < LIMITS_MAX && policy_limit(&s->policy, id, &def); id++)
		s->uncounted[id] = (def.flags & LIMIT_VALUE) != 0;
}

static bool
due(const struct model *m, uint64_t mono_ns, bool force)
{
	uint64_t wait = 10 * m->scan_took_ns;

	if (!m->scanned || force)
		return true;
	return mono_ns - m->scan_mono_ns >= (wait > 1000000000 ? wait : 1000000000);
}

/* The pass itself, with what is held on either side. */
static void
run(struct scan *s)
{
	struct model *m = s->m;
	struct model_prev *before = NULL, pin = { 0, 0 };
	bool pinned = m->pinned && m->prev && m->pin.slot < m->seg->nslots;

	if (pinned)
		pin = m->prev[m->pin.slot];
	if (!s->collect && m->prev)
		before = calloc(m->nentries ? m->nentries : 1, sizeof(*before));
	for (size_t i = 0; before && i < m->nentries; i++)
		before[i] = m->prev[m->entries[i].slot];
	if (s->collect)
		entries_clear(m);
	results_clear(m);
	for (uint64_t slot = 0; slot < m->seg->nslots; slot++)
		scan_slot(s, slot);
	scan_nokey(s);
	if (s->collect)
		entries_sort(m);
	for (size_t i = 0; before && i < m->nentries; i++)
		entry_rates(s, &m->entries[i], &before[i]);
	free(before);
	if (pinned)
		entry_rates(s, &m->pin, &pin);
}

bool
model_refresh(struct model *m, uint64_t now_ns, uint64_t mono_ns, bool force)
{
	struct scan s = { .m = m, .now_ns = now_ns, .mono_s = mono_ns / 1000000000 };
	uint64_t elapsed = mono_ns - m->scan_mono_ns;
	struct timespec a, b;

	if (!due(m, mono_ns, force) || !policy_current(m->seg->policy, &s.policy))
		return false;
	clock_gettime(CLOCK_MONOTONIC, &a);
	s.now_s = clock_unix(m->seg->policy, now_ns) / 1000000000;
	s.row.now_s = s.now_s;
	s.per_s = m->scanned && m->prev && elapsed > 0 ? 1e9 / (double)elapsed : 0;
	s.collect = !m->scanned || mono_ns >= m->hold_ns;
	s.rows = m->count_over;
	find_uncounted(&s);
	s.names = calloc(LIMITS_MAX, sizeof(*s.names));
	run(&s);
	free(s.names);
	m->over_known = s.rows;
	m->rates_known = s.per_s > 0;
	m->scanned = true;
	m->scans++;
	m->scan_mono_ns = mono_ns;
	clock_gettime(CLOCK_MONOTONIC, &b);
	m->scan_took_ns = (uint64_t)((b.tv_sec - a.tv_sec) * 1000000000 + (b.tv_nsec - a.tv_nsec));
	return true;
}
