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

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "filter.h"
#include "table.h"

/* prev.admitted_at: admitted(44) idle(1) moved(19) */
#define MOVED_MASK UINT64_C(0x7ffff)
#define MOVED_NEVER MOVED_MASK
#define MOVED_FORGET (UINT64_C(1) << 18) /* s: older movements are forgotten, before they wrap */
#define IDLE_BIT (UINT64_C(1) << 19)
#define PREV_ADMITTED(p) ((p)->admitted_at >> 20)
#define PREV_DENIED(p) ((p)->denied_birth >> 28)
#define BIRTH_MASK ((UINT64_C(1) << 28) - 1)

#define ROW_TRIES 4u /* a policy change or a recycling under us: look again */

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

static void
entries_clear(struct model *m)
{
	for (size_t i = 0; i < m->nentries; i++) {
		free(m->entries[i].text);
		m->entries[i].text = NULL;
	}
	m->nentries = 0;
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

/* ---- order ---- */

/* Numbers from the largest; NAN last either way. */
static uint64_t
order_of(double v, bool invert)
{
	uint64_t bits;

	if (isnan(v))
		return 0;
	if (v < 0)
		v = 0;
	memcpy(&bits, &v, sizeof(bits));
	return invert ? UINT64_MAX - bits : bits + 1;
}

/* Texts are kept as length (2 bytes) and bytes. */
static unsigned char *
order_text(const void *bytes, size_t len)
{
	unsigned char *t = malloc(len + 2);

	if (!t)
		return NULL;
	t[0] = (unsigned char)(len >> 8);
	t[1] = (unsigned char)len;
	memcpy(t + 2, bytes, len);
	return t;
}

static int
text_compare(const unsigned char *a, const unsigned char *b)
{
	size_t la = (size_t)(a[0] << 8 | a[1]), lb = (size_t)(b[0] << 8 | b[1]);
	int c = memcmp(a + 2, b + 2, la < lb ? la : lb);

	return c ? c : la < lb ? -1 : la > lb;
}

/* < 0: a comes before b. */
static int
entry_compare(const struct entry *a, const struct entry *b, bool invert)
{
	int c;

	if (a->text && b->text) {
		c = text_compare(a->text, b->text);
		if (c)
			return invert ? -c : c;
	} else if (a->order != b->order) {
		return a->order > b->order ? -1 : 1;
	}
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static int
entry_sort(const void *a, const void *b, void *arg)
{
	return entry_compare(a, b, ((const struct model *)arg)->invert);
}

/* A heap with the last in order on top, so that it is the one to go. */
static void
heap_down(struct model *m, size_t i)
{
	for (;;) {
		size_t child = 2 * i + 1;
		struct entry t;

		if (child >= m->nentries)
			return;
		if (child + 1 < m->nentries &&
		    entry_compare(&m->entries[child + 1], &m->entries[child], m->invert) > 0)
			child++;
		if (entry_compare(&m->entries[child], &m->entries[i], m->invert) <= 0)
			return;
		t = m->entries[i];
		m->entries[i] = m->entries[child];
		m->entries[child] = t;
		i = child;
	}
}

static bool
entries_reserve(struct model *m)
{
	size_t cap = m->cap ? m->cap * 2 : 64;
	struct entry *e;

	if (m->nentries < m->cap)
		return true;
	e = reallocarray(m->entries, cap, sizeof(*e));
	if (!e)
		return false;
	m->entries = e;
	m->cap = cap;
	return true;
}

static bool
entry_text(struct entry *e, const struct model_row *r, enum column sort)
{
	char buf[KEY_TEXT_MAX];
	int n;

	if (sort == COL_KEY) {
		e->text = order_text(r->row.key, r->row.key_len);
		return e->text;
	}
	n = column_raw(r, sort, buf, sizeof(buf));
	e->text = order_text(buf, n < 0 ? 0 : (size_t)n);
	return e->text;
}

/* Out of memory leaves a key out; nothing else could be shown of it anyway. */
static void
collect(struct model *m, const struct model_row *r)
{
	struct entry e = {
		.slot = (uint32_t)r->row.slot,
		.birth = (uint32_t)r->row.birth,
		.allow_s = r->allow_s,
		.deny_s = r->deny_s,
		.last_s = r->last_s,
	};

	if (m->want == 0)
		return;
	if (columns[m->sort].numeric)
		e.order = order_of(column_number(r, m->sort), m->invert);
	else if (!entry_text(&e, r, m->sort))
		return;
	if (m->nentries < m->want) {
		if (!entries_reserve(m)) {
			free(e.text);
			return;
		}
		m->entries[m->nentries++] = e;
		if (m->nentries == m->want)
			for (size_t i = m->want / 2; i-- > 0;)
				heap_down(m, i);
		return;
	}
	if (entry_compare(&e, &m->entries[0], m->invert) >= 0) {
		free(e.text);
		return;
	}
	free(m->entries[0].text);
	m->entries[0] = e;
	heap_down(m, 0);
}

/* ---- reading a key ---- */

static void
limit_name(const struct policy_ref *p, uint32_t id, char out[RATION_NAME_MAX + 1])
{
	struct limit_def def;
	size_t len;
	const char *s;

	out[0] = 0;
	if (!policy_limit(p, id, &def))
		return;
	s = policy_string(p, def.name, &len);
	snprintf(out, RATION_NAME_MAX + 1, "%.*s",
	    (int)(len > RATION_NAME_MAX ? RATION_NAME_MAX : len), s);
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
		limit_name(&s->policy, limit, r->limit);
		return true;
	}
	if (!s->names[limit][0])
		limit_name(&s->policy, limit, s->names[limit]);
	memcpy(r->limit, s->names[limit], sizeof(r->limit));
	return true;
}

static bool
read_row(const struct segment *seg, uint64_t slot, uint64_t now_ns, struct model_row *r)
{
	for (unsigned i = 0; i < ROW_TRIES; i++) {
		struct policy_ref p;

		if (!policy_current(seg->policy, &p))
			return false;
		if (!view_row(seg, slot, now_ns, &r->row)) {
			if (table_key(seg, slot, r->row.key, &r->row.limit, &r->row.birth) < 0)
				return false;
			continue;
		}
		limit_name(&p, r->row.limit, r->limit);
		snprintf(r->plan, sizeof(r->plan), "%s", policy_plan_name(&p, r->row.plan));
		snprintf(r->env, sizeof(r->env), "%s", policy_env_name(&p, r->row.env));
		if (r->row.version == p.version && policy_intact(&p)) {
			r->now_s = clock_unix(seg->policy, now_ns) / 1000000000;
			return true;
		}
	}
	return false;
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
	if (!read_row(s->m->seg, slot, s->now_ns, &s->row) || s->row.row.birth != birth)
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
	collect(m, r);
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
	if (s->collect && m->nentries > 1)
		qsort_r(m->entries, m->nentries, sizeof(*m->entries), entry_sort, m);
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

/* ---- single keys ---- */

int64_t
model_index(const struct model *m, uint64_t slot, uint64_t birth)
{
	for (size_t i = 0; i < m->nentries; i++)
		if (m->entries[i].slot == slot && m->entries[i].birth == birth)
			return (int64_t)i;
	return -1;
}

static bool
read_entry(const struct model *m, const struct entry *e, uint64_t now_ns, struct model_row *out)
{
	memset(out, 0, sizeof(*out));
	out->allow_s = e->allow_s;
	out->deny_s = e->deny_s;
	out->last_s = e->last_s;
	if (e->slot < m->seg->nslots && read_row(m->seg, e->slot, now_ns, out) &&
	    out->row.birth == e->birth)
		return true;
	memset(&out->row, 0, sizeof(out->row));
	out->row.slot = e->slot;
	out->row.birth = e->birth;
	out->limit[0] = out->plan[0] = out->env[0] = 0;
	/* The list is sorted by key: then it is still known. */
	if (e->text && m->sort == COL_KEY) {
		out->row.key_len = e->text[1];
		memcpy(out->row.key, e->text + 2, out->row.key_len);
	}
	out->gone = true;
	return false;
}

bool
model_row(const struct model *m, size_t i, uint64_t now_ns, struct model_row *out)
{
	return i < m->nentries && read_entry(m, &m->entries[i], now_ns, out);
}

bool
model_row_of(
    const struct model *m, uint64_t slot, uint64_t birth, uint64_t now_ns, struct model_row *out)
{
	struct entry e = {
		.slot = (uint32_t)slot,
		.birth = (uint32_t)birth,
		.allow_s = -1,
		.deny_s = -1,
		.last_s = UINT32_MAX,
	};
	int64_t i;

	if (m->pinned && m->pin.slot == slot && m->pin.birth == birth) {
		e = m->pin;
		e.text = NULL;
	} else if ((i = model_index(m, slot, birth)) >= 0) {
		e = m->entries[i];
	}
	return read_entry(m, &e, now_ns, out);
}

bool
model_find(const struct model *m, const char *limit, const void *key, size_t len, uint64_t *slot,
    uint64_t *birth)
{
	struct ident id = {
		.limit = limit, .limit_len = strlen(limit), .key = key, .key_len = len
	};
	struct policy_ref p;
	struct found found;
	int64_t limit_id;

	if (len == 0 || len > RATION_KEY_MAX || !policy_current(m->seg->policy, &p))
		return false;
	limit_id = policy_limit_id(&p, limit, id.limit_len);
	if (limit_id < 0)
		return false;
	ident_hash(m->seg, &id);
	if (!table_find(m->seg, &id, (uint32_t)limit_id, &found) || found.slot == NO_SLOT)
		return false;
	*slot = found.slot;
	*birth = found.birth;
	return true;
}

/* The rate that decides: of a denial the latest retry, else the least remaining. */
static unsigned
decided_by(const ration_decision_t *d)
{
	unsigned best = 0;

	for (unsigned i = 1; i < d->nrates; i++) {
		const ration_rate_t *a = &d->rates[best], *b = &d->rates[i];

		if (d->verdict == RATION_DENIED) {
			if (a->retry_at != RATION_NEVER &&
			    (b->retry_at == RATION_NEVER || b->retry_at > a->retry_at))
				best = i;
		} else if (b->remaining < a->remaining) {
			best = i;
		}
	}
	return best;
}

static void
decision_front(ration_decision_t *d, const ration_rate_t *rate)
{
	d->limit_units = rate->limit_units;
	d->used = rate->used;
	d->remaining = rate->remaining;
	d->window_ns = rate->window_ns;
	d->reset_at = rate->reset_at;
	d->level = rate->level;
	if (d->verdict == RATION_ADMITTED)
		return;
	d->retry_at = rate->retry_at;
	d->reason = rate->reason;
	if (rate->retry_at > d->now)
		d->retry_after =
		    (uint32_t)(rate->retry_at - d->now > UINT32_MAX ? UINT32_MAX
								    : rate->retry_at - d->now);
}

void
model_decision(const struct model_row *row, ration_decision_t *d)
{
	bool refused = false;

	memset(d, 0, sizeof(*d));
	d->size = sizeof(*d);
	d->verdict = RATION_ADMITTED;
	d->cost = 1;
	d->now = row->now_s;
	d->decided_by = UINT16_MAX;
	d->limit_id[0] = row->row.limit;
	d->policy_version = row->row.version;
	if (row->row.mode == MODE_OFF)
		d->flags |= RATION_F_OFF;
	d->nrates = row->row.nrates > RATION_RATES_MAX ? RATION_RATES_MAX : row->row.nrates;
	if (d->nrates == 0) {
		d->limit_units = d->remaining = RATION_UNLIMITED;
		return;
	}
	for (unsigned i = 0; i < d->nrates; i++) {
		d->rates[i] = row->row.rates[i];
		refused |= d->rates[i].retry_at != 0;
		if (d->rates[i].limit_units != RATION_UNLIMITED &&
		    d->rates[i].used > d->rates[i].limit_units)
			d->flags |= RATION_F_DEBT;
	}
	if (refused && row->row.mode == MODE_ENFORCE)
		d->verdict = RATION_DENIED;
	else if (refused && row->row.mode == MODE_OBSERVE)
		d->flags |= RATION_F_OBSERVED;
	d->decided_by = (uint16_t)decided_by(d);
	decision_front(d, &d->rates[d->decided_by]);
}
