/*
 * quota.c - usage of long windows, written down and put back.
 *
 * Putting back charges the word of the present period as a call would, and takes the same
 * units off the slot's total beforehand: total and ring are added modulo 2^44, so what was
 * admitted in another segment is used here, but not admitted once more.
 */
#include "quota.h"

#include <string.h>

#include "atomics.h"
#include "cell.h"
#include "slot.h"
#include "view.h"
#include "words.h"

static bool
outlives(uint8_t kind, uint64_t window_ns)
{
	return kind == RATION_DAY || kind == RATION_MONTH ||
	    (kind == RATION_FIXED && window_ns >= QUOTA_WINDOW_NS);
}

static uint64_t
mix(uint64_t h, uint64_t w)
{
	h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
	return h ^ h >> 32;
}

uint64_t
quota_mark(const struct segment *seg, uint64_t slot)
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t h = 0;

	for (unsigned i = 0; i < seg->cells; i++) {
		const word_t *cell = slot_cell(seg, slot, i);
		uint32_t shape = CONV_SHAPE(word_load(&cell[CELL_CONV]));
		uint8_t kind = shape_kind(shape);

		if (kind != RATION_DAY && kind != RATION_MONTH && kind != RATION_FIXED)
			continue;
		if (kind == RATION_FIXED &&
		    shape_seconds(shape, &kind) * UINT64_C(1000000000) < QUOTA_WINDOW_NS)
			continue;
		if (h == 0)
			h = mix(STATE_BIRTH(word_load(&s[SLOT_STATE])) + 1, i);
		for (unsigned k = 0; k < RING_WORDS; k++)
			h = mix(h, word_load(&cell[CELL_RING + k]));
		h = mix(h, shape) | 1;
	}
	return h;
}

unsigned
quota_read(const struct segment *seg, uint64_t slot, uint64_t now_ns, struct quota out[CELLS_MAX])
{
	struct policy_ref p;
	struct limit_def l;
	struct ruleset rules;
	struct row row;
	unsigned n = 0;

	if (!policy_current(seg->policy, &p) || !view_row(seg, slot, now_ns, &row) ||
	    row.version != p.version || !policy_limit(&p, row.limit, &l) ||
	    !policy_ruleset(&p, row.ruleset, &rules))
		return 0;
	for (unsigned i = 0; i < row.nrates && i < seg->cells; i++) {
		const struct rate_def *r = &rules.rates[i];
		struct quota *q = &out[n];

		if (!outlives(r->kind, r->window_ns) ||
		    !policy_period(&p, r, clock_unix(seg->policy, now_ns), &q->start_s, &q->end_s))
			continue;
		memset(q->limit, 0, sizeof(q->limit));
		strncpy(q->limit, policy_string(&p, l.name, NULL), sizeof(q->limit) - 1);
		memcpy(q->key, row.key, row.key_len);
		q->key_len = row.key_len;
		q->shape = r->shape;
		q->used = row.rates[i].used;
		n++;
	}
	return policy_intact(&p) ? n : 0;
}

/* The key's rules as the policy has them, and which of its rates is of this shape. */
static int
find_rate(const struct policy_ref *p, uint32_t limit, const struct quota *q, int64_t now_s,
    struct ruleset *rules)
{
	bool listed;
	int64_t index = policy_resolve(p, limit, q->key, q->key_len, &listed);

	for (unsigned hop = 0; hop < 8; hop++) {
		if (index < 0 || !policy_ruleset(p, (uint32_t)index, rules))
			return -1;
		if (rules->until == POLICY_ENDLESS || now_s < rules->until)
			break;
		index = rules->next;
	}
	for (unsigned i = 0; i < rules->nrates && i < RATION_RATES_MAX; i++)
		if (rules->rates[i].shape == q->shape &&
		    outlives(rules->rates[i].kind, rules->rates[i].window_ns))
			return (int)i;
	return -1;
}

/* The word of the present period is at least q's. */
static int
charge(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, const struct quota *q)
{
	for (unsigned tries = 0; tries < 256; tries++) {
		struct look l;
		uint64_t cost, t;

		switch (cell_look(x, cell, r, 0, &l)) {
		case LOOK_FITS:
		case LOOK_DENIES:
			break;
		case LOOK_GONE:
			return RATION_EBUSY;
		default:
			continue;
		}
		if (l.used >= q->used)
			return 0;
		cost = cell_force(x, r, q->used - l.used, &l);
		t = word_load(&x->slot[SLOT_TOTAL]);
		if (cell == 0 && !word_cas(&x->slot[SLOT_TOTAL], t, t - (cost << TOTAL_SHIFT)))
			continue;
		if (cell_charge(x, cell, r, cost, &l))
			return 0;
		if (cell == 0)
			(void)total_add(x, cost);
	}
	return RATION_EBUSY;
}

int
quota_put(
    const struct segment *seg, const struct policy_ref *p, const struct quota *q, uint64_t now_ns)
{
	struct cell_ctx x = { .seg = seg,
		.policy = p,
		.now_ns = now_ns,
		.precise = true,
		.writable = true,
		.unix_ns = clock_unix(seg->policy, now_ns) };
	struct ident id = { .limit = q->limit,
		.limit_len = strlen(q->limit),
		.key = q->key,
		.key_len = q->key_len };
	int64_t limit = policy_limit_id(p, q->limit, id.limit_len), start, end;
	uint32_t shapes[CELLS_MAX];
	struct ruleset rules;
	struct found f;
	int i;

	if (limit < 0 || q->key_len == 0 || q->key_len > RATION_KEY_MAX)
		return RATION_ENOLIMIT;
	i = find_rate(p, (uint32_t)limit, q, x.unix_ns / 1000000000, &rules);
	if (i < 0 || (unsigned)i >= seg->cells)
		return RATION_ENOLIMIT;
	if (!policy_period(p, &rules.rates[i], x.unix_ns, &start, &end) || start != q->start_s)
		return RATION_ESTALE;
	for (unsigned k = 0; k < rules.nrates && k < CELLS_MAX; k++)
		shapes[k] = rules.rates[k].shape;
	ident_hash(seg, &id);
	if (table_add(seg, &id, (uint32_t)limit, 0, shapes, rules.nrates, tick_of(now_ns), &f) != 0)
		return (int)RATION_R_FULL;
	x.slot = segment_slot(seg, f.slot);
	x.birth = f.birth;
	return charge(&x, (unsigned)i, &rules.rates[i], q);
}
