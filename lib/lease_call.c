/*
 * lease_call.c - the public calls that take leases and give them back.
 */
#include "ration.h"

#include <string.h>

#include "call.h"
#include "slot.h"
#include "words.h"

static void
lease_clear(ration_lease_t *lease)
{
	memset(lease, 0, sizeof(*lease));
}

/* What a receipt says was taken. */
static void
lease_fill(const struct segment *seg, const ration_receipt_t *rc, ration_lease_t *lease)
{
	lease->size = sizeof(*lease);
	lease->place = WHERE_CELL(rc->where) * RING_WORDS + WHERE_WORD(rc->where);
	lease->slot = rc->slot;
	lease->birth = rc->birth;
	lease->word = rc->units;
	lease->segment = seg->head->id;
}

void
call_lease(const struct call *c, ration_lease_t *lease)
{
	lease_clear(lease);
	if (c->d->nreceipts == 1 && RECEIPT_IS_LEASE(&c->d->receipts[0]))
		lease_fill(c->seg, &c->d->receipts[0], lease);
	lease->size = sizeof(*lease); /* without a permit: there is nothing to release */
}

static int
lease_decide(ration_t *r, const char *limit, const void *key, size_t len,
    const struct lease_want *want, ration_lease_t *lease, ration_decision_t *d)
{
	struct call c;
	struct item *it;
	int v;

	lease_clear(lease);
	v = call_begin(&c, r, true, d);
	if (v == 0) {
		it = call_claim(&c, limit, strlen(limit), NO_ID, key, len, 1);
		it->only = true;
		it->want = *want;
		/* An end is to the tick: see lease.h. */
		c.precise = want->ttl_ms != 0;
		v = call_run(&c);
		if (v == RATION_ADMITTED)
			call_lease(&c, lease);
	} else if (v == RATION_ADMITTED) { /* without a segment */
		lease->size = sizeof(*lease);
	}
	return v;
}

static int
check_key(ration_t *r, const char *limit, const void *key, size_t len)
{
	if (r == NULL || limit == NULL || key == NULL)
		return RATION_EINVAL;
	return len == 0 || len > RATION_KEY_MAX ? RATION_EKEY : 0;
}

int
ration_lease(ration_t *r, const char *limit, const void *key, size_t len, uint64_t ttl_ms,
    ration_lease_t *lease, ration_decision_t *d)
{
	const struct lease_want want = { .ttl_ms = ttl_ms };
	int e = check_key(r, limit, key, len);

	if (e == 0 && (lease == NULL || ttl_ms > RATION_TTL_MAX))
		e = RATION_EINVAL;
	return e != 0 ? e : lease_decide(r, limit, key, len, &want, lease, d);
}

int
ration_lease_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len, ration_lease_t *lease, ration_decision_t *d)
{
	struct lease_want want = { .kept = true };
	int e = check_key(r, limit, key, key_len);

	if (e == 0 &&
	    (lease == NULL || (name == NULL && name_len != 0) || name_len > RATION_KEY_MAX))
		e = RATION_EINVAL;
	if (e != 0)
		return e;
	want.name = lease_name(name_len != 0 ? name : "", name_len);
	return lease_decide(r, limit, key, key_len, &want, lease, d);
}

/* ---- giving back ---- */

/*
 * Is it a lease of this segment?  0; 1: of one that needs no permit; or an error.
 */
static int
lease_check(ration_t *r, const ration_lease_t *lease, const struct segment **seg)
{
	if (r == NULL || lease == NULL)
		return RATION_EINVAL;
	if (lease->size == 0 && lease->word == 0)
		return RATION_ESTALE; /* none: it was released before */
	if (lease->size != sizeof(*lease))
		return RATION_EINVAL;
	if (lease->word == 0)
		return 1;
	*seg = handle_current(r);
	if (*seg == NULL)
		return RATION_EDETACHED;
	return lease->segment == (*seg)->head->id ? 0 : RATION_ESTALE;
}

int
ration_release(ration_t *r, ration_lease_t *lease)
{
	const struct segment *seg;
	int e = lease_check(r, lease, &seg);

	if (e == 0)
		e = lease_free(seg, lease->slot, lease->birth, lease->place, lease->word,
		    clock_coarse(&r->clock, seg->policy));
	if (e == 0 || e == 1 || e == RATION_ESTALE)
		lease_clear(lease);
	return e == 1 ? 0 : e;
}

/* A key that is there, ready for lease_release_kept().  0 or an error. */
static int
find_key(ration_t *r, const struct segment *seg, struct ident *id, struct policy_ref *p,
    struct cell_ctx *x, struct lease_key *k)
{
	struct found f;
	int64_t limit;

	if (!policy_current(seg->policy, p))
		return RATION_EDETACHED;
	limit = policy_limit_id(p, id->limit, id->limit_len);
	if (!policy_intact(p))
		return RATION_EBUSY;
	if (limit < 0 || limit >= LIMITS_MAX)
		return RATION_ENOLIMIT;
	ident_hash(seg, id);
	if (!table_find(seg, id, (uint32_t)limit, &f))
		return RATION_ESTALE;
	*k = (struct lease_key) { id, (uint32_t)limit, f.slot };
	memset(x, 0, sizeof(*x));
	x->seg = seg;
	x->policy = p;
	x->slot = segment_slot(seg, f.slot);
	x->birth = f.birth;
	x->precise = true;
	x->writable = true;
	x->now_ns = clock_precise(&r->clock, seg->policy);
	x->unix_ns = clock_unix(seg->policy, x->now_ns);
	return 0;
}

int
ration_release_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len)
{
	struct ident id = { .limit = limit, .key = key, .key_len = key_len };
	const struct segment *seg;
	struct policy_ref p;
	struct cell_ctx x;
	struct lease_key k;
	int e = check_key(r, limit, key, key_len);

	if (e == 0 && ((name == NULL && name_len != 0) || name_len > RATION_KEY_MAX))
		e = RATION_EINVAL;
	if (e != 0)
		return e;
	seg = handle_current(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	id.limit_len = strlen(limit);
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		e = find_key(r, seg, &id, &p, &x, &k);
		if (e == 0)
			return lease_release_kept(
			    &x, &k, lease_name(name_len != 0 ? name : "", name_len));
		if (e != RATION_EBUSY)
			return e;
	}
	return RATION_EBUSY;
}

int
ration_renew(ration_t *r, ration_lease_t *lease, uint64_t ttl_ms)
{
	const struct segment *seg;
	uint64_t now, word;
	int e = lease_check(r, lease, &seg);

	if (e != 0)
		return e == 1 ? 0 : e;
	if (ttl_ms > RATION_TTL_MAX)
		return RATION_EINVAL;
	if (word_kind(lease->word) != W_NARROW) /* kept: nothing ends it */
		return ttl_ms == 0 ? 0 : RATION_EINVAL;
	now = clock_precise(&r->clock, seg->policy);
	if (lease_expired(lease->word, now))
		return RATION_ESTALE;
	e = lease_renew(
	    seg, lease->slot, lease->birth, lease->place, lease->word, ttl_ms, now, &word);
	if (e == 0)
		lease->word = word;
	return e;
}

int
ration_decision_lease(
    ration_t *r, const ration_decision_t *d, unsigned claim, ration_lease_t *lease)
{
	const struct segment *seg;

	if (r == NULL || d == NULL || d->size != sizeof(*d) || lease == NULL ||
	    d->nreceipts > RATION_DECISION_RATES)
		return RATION_EINVAL;
	lease_clear(lease);
	seg = handle_current(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	for (unsigned i = 0; i < d->nreceipts && seg->id == d->segment_id; i++)
		if (RECEIPT_IS_LEASE(&d->receipts[i]) &&
		    WHERE_CONV(d->receipts[i].where) == claim) {
			lease_fill(seg, &d->receipts[i], lease);
			return 0;
		}
	return RATION_ESTALE;
}
