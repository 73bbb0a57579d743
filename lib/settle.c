/*
 * settle.c - after the call: giving units back, and a cost that is known only afterwards.
 *
 * A decision holds a receipt for each rate that it charged.  What a settlement charges besides
 * lies where the clock is by then, often another word, and gets receipts of its own; so a rate
 * may have several, and they are given back newest first.  Each step is one CAS on one word:
 * a process that dies in between leaves the estimate and what was charged so far, nothing else.
 */
#include "ration.h"

#include <string.h>

#include "atomics.h"
#include "call.h"
#include "queue.h"
#include "slot.h"

/* ---- receipts ---- */

static bool
receipt_open(const ration_receipt_t *rc)
{
	return (rc->where & 1) != 0;
}

/* One that may be settled: its cost was the caller's, and it is of units. */
static bool
receipt_settles(const struct segment *seg, const ration_receipt_t *rc)
{
	uint64_t conv;

	if (!receipt_open(rc) || (rc->where & WHERE_FIXED) != 0 ||
	    WHERE_CELL(rc->where) >= seg->cells)
		return false;
	conv = word_load(&slot_cell(seg, rc->slot, WHERE_CELL(rc->where))[CELL_CONV]);
	return shape_kind(CONV_SHAPE(conv)) != RATION_CONCURRENT;
}

/* Of the same key, in the same life; cell: of the same rate too. */
static bool
receipt_same(const ration_receipt_t *a, const ration_receipt_t *b, bool cell)
{
	return a->slot == b->slot && a->birth == b->birth &&
	    (!cell || WHERE_CELL(a->where) == WHERE_CELL(b->where));
}

/* A handle's segment at precise time, ready for cell_refund().  0 or an error. */
static int
refund_begin(ration_t *r, const ration_decision_t *d, struct policy_ref *p, struct cell_ctx *x)
{
	const struct segment *seg;

	if (r == NULL || d == NULL || d->size != sizeof(*d) || d->nreceipts > RATION_DECISION_RATES)
		return RATION_EINVAL;
	seg = handle_current(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	if (seg->id != d->segment_id || d->nreceipts == 0)
		return RATION_ESTALE;
	if (!policy_current(seg->policy, p))
		return RATION_EDETACHED;
	for (unsigned i = 0; i < d->nreceipts; i++)
		if (d->receipts[i].slot >= seg->nslots)
			return RATION_EINVAL;
	memset(x, 0, sizeof(*x));
	x->seg = seg;
	x->policy = p;
	x->writable = true;
	x->precise = true;
	x->now_ns = clock_precise(&r->clock, seg->policy);
	x->unix_ns = clock_unix(seg->policy, x->now_ns);
	return 0;
}

static int
refund_one(struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units)
{
	int e;

	x->slot = segment_slot(x->seg, rc->slot);
	x->birth = rc->birth;
	e = cell_refund(x, rc, units, false);
	if (e == 0)
		queue_wake(x->seg, rc->slot, rc->birth);
	return e;
}

int
ration_refund(ration_t *r, const ration_decision_t *d, uint64_t units)
{
	struct policy_ref p;
	struct cell_ctx x;
	int result = RATION_ESTALE, e = refund_begin(r, d, &p, &x);

	if (e != 0)
		return e;
	for (unsigned i = d->nreceipts; i-- > 0;) {
		const ration_receipt_t *rc = &d->receipts[i];
		uint64_t left = units;

		/* What the rate's newer receipts gave back already. */
		for (unsigned k = i + 1; k < d->nreceipts && left > 0; k++)
			if (!RECEIPT_IS_LEASE(rc) && receipt_same(rc, &d->receipts[k], true))
				left -= RECEIPT_UNITS(d->receipts[k].units) < left
				    ? RECEIPT_UNITS(d->receipts[k].units)
				    : left;
		if (left == 0)
			continue;
		e = refund_one(&x, rc, left);
		if (e == 0 || e == RATION_EBUSY)
			result = e;
	}
	return result;
}

/* ---- settling ---- */

/* Units that d has charged to the rate of receipt i, all its receipts together. */
static uint64_t
charged(const ration_decision_t *d, unsigned i)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < d->nreceipts; k++)
		if (receipt_same(&d->receipts[i], &d->receipts[k], true))
			sum += RECEIPT_UNITS(d->receipts[k].units);
	return sum;
}

/* Give back what d has charged above real_cost.  *stale: there was something, but it is gone. */
static int
settle_down(struct cell_ctx *x, ration_decision_t *d, uint64_t real_cost, bool *stale)
{
	for (unsigned i = d->nreceipts; i-- > 0;) {
		ration_receipt_t *rc = &d->receipts[i];
		uint64_t sum, units = RECEIPT_UNITS(rc->units), back;
		int e;

		if (!receipt_settles(x->seg, rc))
			continue;
		sum = charged(d, i);
		if (sum <= real_cost || units == 0)
			continue;
		back = sum - real_cost < units ? sum - real_cost : units;
		e = refund_one(x, rc, back);
		if (e == RATION_EBUSY)
			return e;
		*stale |= e != 0;
		rc->units -= back; /* gone or given back: not to be given back again */
	}
	return 0;
}

/* The first receipt of each key whose limit the caller's cost is of. */
static bool
leads(const struct segment *seg, const ration_decision_t *d, unsigned i)
{
	if (!receipt_settles(seg, &d->receipts[i]))
		return false;
	for (unsigned k = 0; k < i; k++)
		if (receipt_same(&d->receipts[i], &d->receipts[k], false))
			return false;
	return true;
}

struct settlement {
	struct call call;
	ration_decision_t now; /* what was charged besides, then the figures as they are */
	/* Copies: the policy may be rewritten, and a slot be another key's, while the call lasts.
	 */
	char names[RATION_CLAIMS_MAX][RATION_NAME_MAX + 1];
	unsigned char keys[RATION_CLAIMS_MAX][256];
	bool stale;
};

/* The key of receipt i into the call.  False: it has lost its slot, or its limit is gone. */
static bool
settle_claim(
    struct settlement *s, const struct policy_ref *p, const ration_receipt_t *rc, uint64_t cost)
{
	struct call *c = &s->call;
	struct limit_def limit;
	const char *name;
	uint64_t birth;
	uint32_t id;
	size_t len;
	int n = table_key(c->seg, rc->slot, s->keys[c->n], &id, &birth);

	if (n <= 0 || birth != rc->birth || !policy_limit(p, id, &limit) ||
	    (limit.flags & LIMIT_GONE) != 0)
		return false;
	name = policy_string(p, limit.name, &len);
	if (len > RATION_NAME_MAX)
		len = 0;
	memcpy(s->names[c->n], name, len);
	call_claim(c, s->names[c->n], len, id, s->keys[c->n], (size_t)n, cost)->force = true;
	return true;
}

/*
 * A call over the keys of d.  peek: that costs nothing; else each costs what is missing
 * at real_cost.  Keys that have lost their slot are left out.
 */
static int
settle_claims(
    struct settlement *s, ration_t *r, const ration_decision_t *d, uint64_t real_cost, bool peek)
{
	struct call *c = &s->call;
	int e;

	s->now.size = sizeof(s->now);
	e = call_begin(c, r, !peek, &s->now);
	if (e != 0)
		return e < 0 ? e : RATION_EDETACHED;
	/* The handle may have moved on since: then the receipts are of no slot in here. */
	if (c->seg->id != d->segment_id)
		return RATION_ESTALE;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		struct policy_ref p;
		bool stale = false;

		if (!policy_current(c->seg->policy, &p))
			return RATION_EDETACHED;
		c->n = 0;
		for (unsigned i = 0; i < d->nreceipts && c->n < RATION_CLAIMS_MAX; i++) {
			uint64_t sum;

			if (!leads(c->seg, d, i))
				continue;
			sum = charged(d, i);
			if (peek || sum < real_cost)
				stale |= !settle_claim(
				    s, &p, &d->receipts[i], peek ? 0 : real_cost - sum);
		}
		if (!policy_intact(&p))
			continue;
		s->stale |= stale;
		return 0;
	}
	return RATION_EBUSY;
}

/* Receipts of what was charged besides. */
static void
settle_receipts(ration_decision_t *d, const ration_decision_t *more)
{
	for (unsigned i = 0; i < more->nreceipts; i++) {
		const ration_receipt_t *rc = &more->receipts[i];
		unsigned k;

		for (k = 0; k < d->nreceipts; k++)
			if (receipt_same(&d->receipts[k], rc, true) &&
			    d->receipts[k].where == rc->where &&
			    d->receipts[k].units >> 44 == rc->units >> 44)
				break;
		if (k < d->nreceipts)
			d->receipts[k].units += RECEIPT_UNITS(rc->units);
		else if (k < RATION_DECISION_RATES)
			d->receipts[d->nreceipts++] = *rc;
		/* else: charged, but a later settlement cannot give it back */
	}
}

/* d's rates as they are now; the one with the least remaining leads. */
static void
settle_figures(ration_decision_t *d, const ration_decision_t *now, uint64_t real_cost)
{
	bool done[RATION_DECISION_RATES] = { false };
	unsigned lead = 0;

	d->flags &= ~RATION_F_DEBT;
	d->flags |= now->flags & RATION_F_DEBT;
	for (unsigned i = 0; i < now->nrates; i++) {
		const ration_rate_t *n = &now->rates[i];

		for (unsigned k = 0; k < d->nrates; k++) {
			ration_rate_t *o = &d->rates[k];
			uint8_t claim = o->claim;

			if (done[k] || o->kind != n->kind || o->window_ns != n->window_ns ||
			    d->limit_id[claim % RATION_CLAIMS_MAX] != now->limit_id[n->claim])
				continue;
			*o = *n;
			o->claim = claim;
			done[k] = true;
			break;
		}
	}
	for (unsigned k = 1; k < d->nrates; k++)
		if (d->rates[k].remaining < d->rates[lead].remaining)
			lead = k;
	if (lead != 0) {
		ration_rate_t first = d->rates[0];

		d->rates[0] = d->rates[lead];
		d->rates[lead] = first;
	}
	if (done[lead])
		d->cost = real_cost;
}

int
ration_settle(ration_t *r, ration_decision_t *d, uint64_t real_cost)
{
	struct settlement s;
	struct policy_ref p;
	struct cell_ctx x;
	int e;

	if (real_cost > RATION_COST_MAX)
		return RATION_ECOST;
	e = refund_begin(r, d, &p, &x);
	if (e == 0 && (d->nrates > RATION_DECISION_RATES || d->verdict != RATION_ADMITTED))
		e = RATION_EINVAL;
	s.stale = false;
	if (e == 0)
		e = settle_down(&x, d, real_cost, &s.stale);
	if (e == 0)
		e = settle_claims(&s, r, d, real_cost, false);
	if (e == 0 && s.call.n > 0) {
		e = call_run(&s.call);
		if (e == RATION_ADMITTED)
			settle_receipts(d, &s.now);
		else if (e == RATION_DENIED) /* the policy lists the key no more */
			s.stale = true;
	}
	if (e >= 0)
		e = settle_claims(&s, r, d, real_cost, true);
	if (e == 0 && s.call.n > 0) {
		e = call_run(&s.call);
		if (e >= 0)
			settle_figures(d, &s.now, real_cost);
	}
	if (e < 0)
		return e;
	return s.stale ? RATION_ESTALE : 0;
}
