#include "view.h"

#include <string.h>

#include "atomics.h"
#include "cell.h"
#include "queue.h"
#include "lease.h"
#include "table.h"

bool
view_totals(
    const struct segment *seg, uint64_t slot, uint64_t *birth, uint64_t *admitted, uint64_t *denied)
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t state = word_load(&s[SLOT_STATE]);

	if ((STATE_ST(state) != ST_LIVE && STATE_ST(state) != ST_READY &&
		STATE_ST(state) != ST_RETIRING) ||
	    LINK_CHUNK(word_load(&s[SLOT_LINK])) != 0)
		return false;
	*birth = STATE_BIRTH(state);
	*admitted = cell_total_steady(s);
	*denied = DENIED_COUNT(word_load(&s[SLOT_DENIED]));
	return true;
}

/* The ruleset that applies to a slot's key now. */
static bool
rules_of(const struct policy_ref *p, const word_t *s, uint32_t limit, const unsigned char *key,
    size_t len, int64_t now_s, struct ruleset *out, uint32_t *index)
{
	uint64_t w = word_load(&s[SLOT_RESOLVED]);
	int64_t i = (int64_t)(w & UINT32_MAX);
	bool listed;

	if (w >> 32 != p->version || !policy_ruleset(p, (uint32_t)i, out) || out->limit != limit)
		i = policy_resolve(p, limit, key, len, &listed);
	for (unsigned hop = 0; hop < 8; hop++) {
		if (i < 0 || !policy_ruleset(p, (uint32_t)i, out))
			return false;
		*index = (uint32_t)i;
		if (out->until == POLICY_ENDLESS || now_s < out->until)
			return true;
		i = out->next;
	}
	return true;
}

uint16_t
view_plan(const struct segment *seg, const struct policy_ref *p, uint64_t slot,
    const unsigned char *key, size_t len, int64_t now_s)
{
	const word_t *s = segment_slot(seg, slot);
	struct ruleset rules;
	uint32_t index;

	return rules_of(p, s, LINK_LIMIT(word_load(&s[SLOT_LINK])), key, len, now_s, &rules, &index)
	    ? rules.plan
	    : 0;
}

static void
context(const struct segment *seg, const struct policy_ref *p, uint64_t slot, uint64_t birth,
    uint64_t now_ns, struct cell_ctx *x)
{
	memset(x, 0, sizeof(*x));
	x->seg = seg;
	x->policy = p;
	x->slot = segment_slot(seg, slot);
	x->birth = birth;
	x->now_ns = now_ns;
	x->unix_ns = clock_unix(seg->policy, now_ns);
	x->precise = true;
}

/* 30 of 300 a minute left is nearer to a denial than 20 of 20 a second. */
static double
share_used(const ration_rate_t *r)
{
	if (r->limit_units == RATION_UNLIMITED)
		return -1;
	return r->limit_units == 0 ? 1e30 : (double)r->used / (double)r->limit_units;
}

/* The key's, with the name of its limit by the policy. */
static bool
ident_of(const struct segment *seg, const struct policy_ref *p, uint32_t limit,
    const unsigned char *key, size_t len, struct ident *id)
{
	struct limit_def l;

	if (!policy_limit(p, limit, &l))
		return false;
	*id = (struct ident) { .key = key, .key_len = len };
	id->limit = policy_string(p, l.name, &id->limit_len);
	ident_hash(seg, id);
	return true;
}

/* What is used of a rate; of a concurrency limit: the permits taken, in all of its slots. */
static void
look_at(const struct cell_ctx *x, const struct row *row, unsigned i, const struct rate_def *r,
    struct look *l)
{
	struct permit permit;
	struct ident id;
	struct lease_key k = { &id, row->limit, row->slot };

	if (r->kind == RATION_CONCURRENT && r->units != RATION_UNLIMITED &&
	    ident_of(x->seg, x->policy, row->limit, row->key, row->key_len, &id))
		(void)lease_look(x, &k, r->units, 0, &permit, l);
	else if (i >= x->seg->cells || cell_look(x, i, r, 0, l) > LOOK_DENIES)
		look_empty(x, r, l);
}

bool
view_row(const struct segment *seg, uint64_t slot, uint64_t now_ns, struct row *out)
{
	struct policy_ref p;
	struct ruleset rules;
	struct cell_ctx x;
	int len;

	if (slot >= seg->nslots || !policy_current(seg->policy, &p))
		return false;
	len = table_key(seg, slot, out->key, &out->limit, &out->birth);
	if (len <= 0)
		return false;
	context(seg, &p, slot, out->birth, now_ns, &x);
	if (!rules_of(&p, x.slot, out->limit, out->key, (size_t)len, x.unix_ns / 1000000000, &rules,
		&out->ruleset))
		return false;
	out->slot = slot;
	out->version = p.version;
	out->plan = rules.plan;
	out->env = rules.env;
	out->mode = rules.mode;
	out->key_len = (uint8_t)len;
	out->nrates = (uint8_t)rules.nrates;
	out->deciding = 0;
	out->admitted = cell_total_steady(x.slot);
	out->denied = DENIED_COUNT(word_load(&x.slot[SLOT_DENIED]));
	for (unsigned i = 0; i < rules.nrates; i++) {
		const struct rate_def *r = &rules.rates[i];
		struct look l;

		look_at(&x, out, i, r, &l);
		cell_report(&x, r, &l, 0, &out->rates[i]);
		if (l.used >= r->units)
			cell_retry(&x, i, r, &l, 1, &out->rates[i]);
		if (share_used(&out->rates[i]) > share_used(&out->rates[out->deciding]))
			out->deciding = (uint8_t)i;
	}
	return policy_intact(&p) && STATE_BIRTH(word_load(&x.slot[SLOT_STATE])) == out->birth;
}

int
view_reset(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns)
{
	unsigned char key[256];
	struct policy_ref p;
	struct ruleset rules;
	struct cell_ctx x;
	struct ident id;
	uint64_t life;
	uint32_t limit, index;
	int len;

	if (slot >= seg->nslots || !policy_current(seg->policy, &p))
		return RATION_ESTALE;
	len = table_key(seg, slot, key, &limit, &life);
	if (len <= 0 || life != birth)
		return RATION_ESTALE;
	context(seg, &p, slot, birth, now_ns, &x);
	x.writable = true;
	if (!rules_of(&p, x.slot, limit, key, (size_t)len, x.unix_ns / 1000000000, &rules, &index))
		return RATION_ESTALE;
	if (ident_of(seg, &p, limit, key, (size_t)len, &id))
		lease_reset(&x, &(struct lease_key) { &id, limit, slot });
	for (unsigned i = 0; i < rules.nrates && i < seg->cells; i++) {
		enum look_result res;

		if (rules.rates[i].kind == RATION_CONCURRENT)
			continue; /* it was released */
		res = cell_convert(&x, i, &rules.rates[i], true);

		if (res == LOOK_GONE &&
		    (!table_rescue(seg, slot, birth) ||
			cell_convert(&x, i, &rules.rates[i], true) == LOOK_GONE))
			return RATION_ESTALE;
	}
	if (!policy_intact(&p))
		return RATION_EBUSY;
	queue_wake(seg, slot, birth);
	return 0;
}
