/*
 * rows.c - single keys: read whole, searched, and as a decision.
 *
 * Everything read here is input: a slot that cannot be made sense of is gone, never
 * an error.
 */
#include "rows.h"

#include <stdio.h>
#include <string.h>

#include "table.h"

#define ROW_TRIES 4u /* a policy change or a recycling under us: look again */

void
row_limit_name(const struct policy_ref *p, uint32_t id, char out[RATION_NAME_MAX + 1])
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

bool
row_read(const struct segment *seg, uint64_t slot, uint64_t now_ns, struct model_row *r)
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
		row_limit_name(&p, r->row.limit, r->limit);
		snprintf(r->plan, sizeof(r->plan), "%s", policy_plan_name(&p, r->row.plan));
		snprintf(r->env, sizeof(r->env), "%s", policy_env_name(&p, r->row.env));
		if (r->row.version == p.version && policy_intact(&p)) {
			r->now_s = clock_unix(seg->policy, now_ns) / 1000000000;
			return true;
		}
	}
	return false;
}

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
	if (e->slot < m->seg->nslots && row_read(m->seg, e->slot, now_ns, out) &&
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

/* The rate that decides stands first; its figures are the decision's. */
static void
decision_front(ration_decision_t *d, unsigned lead)
{
	ration_rate_t first = d->rates[0];

	d->rates[0] = d->rates[lead];
	d->rates[lead] = first;
	if (d->verdict == RATION_ADMITTED || d->retry_at <= d->now)
		return;
	d->retry_after =
	    (uint32_t)(d->retry_at - d->now > UINT32_MAX ? UINT32_MAX : d->retry_at - d->now);
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
	/* Only a denial is for retrying. */
	for (unsigned i = 0; d->verdict == RATION_ADMITTED && i < d->nrates; i++)
		d->rates[i].retry_at = 0;
	decision_front(d, decided_by(d));
}
