#include "thresholds.h"

#include <string.h>
#include <sys/mman.h>

#include "atomics.h"
#include "cell.h"

#define SECOND_NS INT64_C(1000000000)
#define STEADY 2u
#define HOPS 8 /* as many followers as policy_resolve() looks at */

int
thresholds_open(struct thresholds *t, struct keeper *k)
{
	void *map;

	memset(t, 0, sizeof(*t));
	t->keeper = k;
	t->memo_bytes = k->seg.nslots * sizeof(*t->memo);
	/* Zeros that take no memory until they are written to. */
	map = mmap(NULL, t->memo_bytes, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -1;
	t->memo = map;
	return 0;
}

void
thresholds_close(struct thresholds *t)
{
	if (t->memo != NULL)
		(void)munmap(t->memo, t->memo_bytes);
	t->memo = NULL;
}

void
thresholds_forget(struct thresholds *t)
{
	(void)madvise(t->memo, t->memo_bytes, MADV_DONTNEED);
}

bool
thresholds_now(struct thresholds *t)
{
	t->now_ns = keeper_shared(t->keeper);
	t->unix_ns = clock_unix(t->keeper->seg.policy, t->now_ns);
	t->now_s = t->unix_ns / SECOND_NS;
	return keeper_policy(t->keeper, &t->policy);
}

static uint64_t
mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

/* ---- rules ---- */

/* The policy's area is written by us alone, so a look into it needs no copy. */
static const struct ruleset *
ruleset_at(const struct thresholds *t, uint32_t i)
{
	const struct policy_area *a = t->policy.area;

	return i < a->nrulesets
	    ? (const struct ruleset *)(const void *)((const char *)a + a->rulesets) + i
	    : NULL;
}

/* What applies now of a chain. */
static const struct ruleset *
in_force(const struct thresholds *t, const struct ruleset *r)
{
	for (unsigned i = 0; i < HOPS && r != NULL && t->now_s >= r->until; i++)
		r = ruleset_at(t, r->next);
	return r;
}

static const struct ruleset *
rules_of_key(const struct thresholds *t, uint32_t limit, const unsigned char *key, size_t len)
{
	bool listed;
	int64_t i = policy_resolve(&t->policy, limit, key, len, &listed);

	return i >= 0 ? in_force(t, ruleset_at(t, (uint32_t)i)) : NULL;
}

/* As the slot was resolved; by its key if that was under another policy. */
static const struct ruleset *
rules_of_slot(const struct thresholds *t, uint64_t slot)
{
	const word_t *s = segment_slot(&t->keeper->seg, slot);
	uint64_t w = word_load(&s[SLOT_RESOLVED]), birth;
	uint32_t limit = LINK_LIMIT(word_load(&s[SLOT_LINK]));
	const struct ruleset *r;
	unsigned char key[256];
	int len;

	if (w >> 32 == t->policy.version) {
		r = ruleset_at(t, (uint32_t)w);
		if (r != NULL && r->limit == limit)
			return in_force(t, r);
	}
	len = table_key(&t->keeper->seg, slot, key, &limit, &birth);
	return len > 0 ? rules_of_key(t, limit, key, (size_t)len) : NULL;
}

bool
thresholds_rules(const struct thresholds *t, uint32_t limit, const unsigned char *key, size_t len,
    struct ruleset *out)
{
	const struct ruleset *r = rules_of_key(t, limit, key, len);

	if (r == NULL || (r->flags & RULESET_NOTIFY) == 0)
		return false;
	*out = *r;
	return true;
}

/* ---- use ---- */

static bool
is_period(const struct rate_def *r)
{
	return r->kind == RATION_FIXED || r->kind == RATION_DAY || r->kind == RATION_MONTH;
}

/* The period around now; a hundred thousand keys share one. */
static const struct threshold_period *
period_of(struct thresholds *t, const struct rate_def *r)
{
	struct threshold_period *p = &t->periods[r->shape % PERIODS_KNOWN];
	int64_t end;

	if (p->version == t->policy.version && p->shape == r->shape && t->now_s >= p->start &&
	    t->now_s < p->end)
		return p;
	p->version = 0;
	if (!policy_period(&t->policy, r, t->unix_ns, &p->start, &p->end) ||
	    !policy_period(&t->policy, r, (p->start - 1) * SECOND_NS, &p->before, &end))
		return NULL;
	p->shape = r->shape;
	p->tag = period_tag(p->start);
	p->word = (uint8_t)period_index(r->kind, r->window_ns, p->start);
	p->tag_before = period_tag(p->before);
	p->word_before = (uint8_t)period_index(r->kind, r->window_ns, p->before);
	p->version = t->policy.version;
	return p;
}

/* Units of the period of this tag, if the word is of it. */
static uint64_t
units_of(uint64_t w, uint64_t tag)
{
	if ((w & ~WIDE_MAX) == tag ||
	    (word_kind(w) == W_CLOSED && CLOSED_OF(tag | WIDE_UNITS(w)) == w))
		return WIDE_UNITS(w);
	return 0;
}

static void
context(const struct thresholds *t, uint64_t slot, struct cell_ctx *x)
{
	memset(x, 0, sizeof(*x));
	x->seg = &t->keeper->seg;
	x->policy = &t->policy;
	x->slot = segment_slot(&t->keeper->seg, slot);
	x->birth = STATE_BIRTH(word_load(&x->slot[SLOT_STATE]));
	x->now_ns = t->now_ns;
	x->unix_ns = t->unix_ns;
	x->precise = true;
}

/* What no word says at once: sliding windows, buckets, and cells of another shape than the rate's.
 */
static void
look_long(const struct thresholds *t, uint64_t slot, unsigned i, const struct rate_def *r,
    uint64_t *used, int64_t *reset_at)
{
	struct cell_ctx x;
	struct look l;
	ration_rate_t out;

	context(t, slot, &x);
	if (cell_look(&x, i, r, 0, &l) > LOOK_DENIES)
		look_empty(&x, r, &l);
	cell_report(&x, r, &l, 0, &out);
	*used = out.used;
	*reset_at = out.reset_at;
}

struct looking {
	struct threshold_use *uses; /* NULL: only the hash is wanted */
	unsigned n;
	uint64_t hash; /* 0: nothing has reached anything */
};

static void
found_use(struct looking *k, const struct rate_def *r, int64_t start, int64_t end, int64_t reset_at,
    uint64_t used, uint8_t level, bool past)
{
	if (level > 0) {
		k->hash = mix(k->hash + 1, (uint64_t)r->shape << 8 | level);
		k->hash = mix(mix(k->hash, r->units), (uint64_t)start);
	}
	if (k->uses != NULL)
		k->uses[k->n++] = (struct threshold_use) { .rate = *r,
			.start = start,
			.end = end,
			.reset_at = reset_at,
			.used = used,
			.units = r->units,
			.level = level,
			.past = past };
}

static void
look_period(
    struct thresholds *t, uint64_t slot, unsigned i, const struct ruleset *rules, struct looking *k)
{
	const struct rate_def *r = &rules->rates[i];
	const word_t *cell =
	    segment_slot(&t->keeper->seg, slot) + SLOT_CELLS + (size_t)i * CELL_WORDS;
	const struct threshold_period *p = period_of(t, r);
	bool settled = CONV_SETTLED(word_load(&cell[CELL_CONV])) == r->shape;
	uint64_t used = 0;
	int64_t ignored;
	uint8_t level;

	if (p == NULL)
		return;
	if (settled)
		used = units_of(word_load(&cell[CELL_RING + p->word]), p->tag);
	else
		look_long(t, slot, i, r, &used, &ignored);
	level = notes_level(rules->notify, used, r->units);
	if (level > 0)
		found_use(k, r, p->start, p->end, p->end, used, level, false);
	if (p->start <= t->settled || !settled)
		return;
	used = units_of(word_load(&cell[CELL_RING + p->word_before]), p->tag_before);
	level = notes_level(rules->notify, used, r->units);
	if (level > 0)
		found_use(k, r, p->before, p->start, p->start, used, level, true);
}

/* All rates of a slot that are told of. */
static void
look_rates(struct thresholds *t, uint64_t slot, const struct ruleset *rules, struct looking *k)
{
	for (unsigned i = 0; i < rules->nrates && i < t->keeper->seg.cells; i++) {
		const struct rate_def *r = &rules->rates[i];
		uint64_t used;
		int64_t reset_at;

		if (!ruleset_notifies(rules, i))
			continue;
		if (is_period(r)) {
			look_period(t, slot, i, rules, k);
			continue;
		}
		look_long(t, slot, i, r, &used, &reset_at);
		found_use(
		    k, r, 0, 0, reset_at, used, notes_level(rules->notify, used, r->units), false);
	}
}

/*
 * Bit 1: only a charge can change it.  (A sliding window or a bucket changes as time goes by.  So
 * may an override, but its end makes another policy.)
 */
static uint32_t
hash_of(const struct looking *k, uint64_t birth, const struct ruleset *rules)
{
	uint32_t steady = (rules->flags & RULESET_NOTIFY_ALL) == 0 ? STEADY : 0;

	return k->hash == 0 ? 0 : ((uint32_t)(mix(k->hash, birth) >> 32) & ~3u) | 1 | steady;
}

bool
thresholds_new(struct thresholds *t, uint64_t slot)
{
	const word_t *s = segment_slot(&t->keeper->seg, slot);
	bool charged = word_load(&s[SLOT_RESOLVED]) >> 32 == t->policy.version;
	uint32_t known = (uint32_t)t->memo[slot], hash = 0;
	struct looking k = { .uses = NULL };
	const struct ruleset *rules;

	/* Who charges resolves: without that, one look under each policy will do. */
	if (!charged && t->memo[slot] >> 32 == t->policy.version &&
	    (known == 0 || (known & STEADY) != 0))
		return false;
	rules = rules_of_slot(t, slot);
	if (rules != NULL && (rules->flags & RULESET_NOTIFY) != 0) {
		look_rates(t, slot, rules, &k);
		hash = hash_of(&k, STATE_BIRTH(word_load(&s[SLOT_STATE])), rules);
	}
	if (hash != known && (hash != 0 || (known & STEADY) == 0))
		return true;
	/* Of a steady one that has fallen back there is nothing to be told. */
	if (hash != known || !charged)
		thresholds_done(t, slot, hash);
	return false;
}

void
thresholds_done(struct thresholds *t, uint64_t slot, uint32_t hash)
{
	uint64_t memo = (uint64_t)t->policy.version << 32 | hash;

	if (t->memo[slot] != memo)
		t->memo[slot] = memo;
}

/* ---- notes ---- */

/* A period that has a word of its own still, which is neither this one nor the one before. */
static void
add_noted_period(struct thresholds *t, const struct note *note, struct threshold_key *k,
    struct looking *l, int64_t start, int64_t end)
{
	const struct rate_def *r = &k->rules.rates[note->rate];
	const word_t *cell =
	    segment_slot(&t->keeper->seg, k->slot) + SLOT_CELLS + (size_t)note->rate * CELL_WORDS;
	uint64_t used;
	uint8_t level;

	for (unsigned i = 0; i < l->n; i++)
		if (l->uses[i].start == start && l->uses[i].rate.shape == r->shape)
			return;
	if (end <= t->settled || end > t->now_s ||
	    CONV_SETTLED(word_load(&cell[CELL_CONV])) != r->shape)
		return;
	used = units_of(word_load(&cell[CELL_RING + period_index(r->kind, r->window_ns, start)]),
	    period_tag(start));
	level = notes_level(k->rules.notify, used, r->units);
	if (level > 0 && l->n < 2 * RATION_RATES_MAX)
		l->uses[l->n++] = (struct threshold_use) { .rate = *r,
			.start = start,
			.end = end,
			.reset_at = end,
			.used = used,
			.units = r->units,
			.level = level,
			.past = true };
}

/*
 * What a note adds.  Of a period it says which one to look at, and, if that is over, what the
 * limit was: the greater of that and of now, so that no forged figure tells of more than the
 * limit of now would.  Of a sliding window or a bucket its figure counts, if it can be true.
 */
static void
use_note(struct thresholds *t, const struct note *note, struct threshold_key *k, struct looking *l)
{
	const struct rate_def *r = &k->rules.rates[note->rate];
	uint64_t ago = (tick_of(t->now_ns) - note->tick) & TICK_MASK;
	int64_t at_ns = t->unix_ns - (int64_t)(ago * TICK_NS), start, end;

	if (note->rate >= k->rules.nrates || !ruleset_notifies(&k->rules, note->rate) ||
	    ago > TICK_MASK / 2)
		return;
	if (is_period(r) && at_ns > 0 && policy_period(&t->policy, r, at_ns, &start, &end))
		add_noted_period(t, note, k, l, start, end);
	for (unsigned i = 0; i < l->n; i++) {
		struct threshold_use *u = &l->uses[i];

		if (u->rate.shape != r->shape)
			continue;
		if (u->past && note->units > u->units) {
			u->units = note->units;
			u->level = notes_level(k->rules.notify, u->used, u->units);
		}
		if (!is_period(r) && note->units == u->units && note->used <= u->units &&
		    note->used > u->used) {
			u->used = note->used;
			u->level = notes_level(k->rules.notify, u->used, u->units);
		}
	}
}

bool
thresholds_look(
    struct thresholds *t, uint64_t slot, const struct note *note, struct threshold_key *out)
{
	struct looking k = { .uses = out->uses };
	const struct ruleset *rules;
	int len;

	if (slot >= t->keeper->seg.nslots)
		return false;
	len = table_key(&t->keeper->seg, slot, out->key, &out->limit, &out->birth);
	if (len <= 0 || (note != NULL && note->birth != out->birth))
		return false;
	rules = rules_of_slot(t, slot);
	out->slot = slot;
	out->key_len = (size_t)len;
	out->n = 0;
	out->hash = 0;
	if (rules == NULL || (rules->flags & RULESET_NOTIFY) == 0)
		return false;
	out->rules = *rules;
	look_rates(t, slot, rules, &k);
	out->hash = hash_of(&k, out->birth, rules);
	if (note != NULL)
		use_note(t, note, out, &k);
	out->n = k.n;
	return true;
}
