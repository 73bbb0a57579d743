/*
 * key.c - key handles: a key resolved once, and the shortest way of all.
 */
#include "ration.h"

#include <string.h>

#include "denials.h"
#include "short.h"

int
ration_key(ration_t *r, const char *limit, const void *key, size_t len, ration_key_t *out)
{
	const struct segment *seg;
	struct policy_ref p;
	int64_t id;
	size_t limit_len;

	if (r == NULL || limit == NULL || key == NULL || out == NULL)
		return RATION_EINVAL;
	limit_len = strlen(limit);
	if (len == 0 || len > RATION_KEY_MAX)
		return RATION_EKEY;
	if (limit_len == 0 || limit_len > RATION_NAME_MAX)
		return RATION_ENOLIMIT;
	memset(out, 0, sizeof(*out));
	out->size = sizeof(*out);
	out->key_len = (uint16_t)len;
	out->limit_len = (uint16_t)limit_len;
	memcpy(out->limit, limit, limit_len);
	memcpy(out->key, key, len);
	seg = handle_current(r);
	if (seg == NULL)
		return (r->flags & RATION_FAIL_OPEN) != 0 ? 0 : RATION_EDETACHED;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (!policy_current(seg->policy, &p))
			return RATION_EDETACHED;
		id = policy_limit_id(&p, limit, limit_len);
		if (!policy_intact(&p))
			continue;
		return id < 0 ? RATION_ENOLIMIT : 0;
	}
	return RATION_EBUSY;
}

static int
key_decide(ration_t *r, ration_key_t *k, uint64_t cost, bool charge, ration_decision_t *d)
{
	ration_claim_t claim = { sizeof(claim), k->limit, k->key, k->key_len, cost };

	return charge ? call_units(r, &claim, d) : call_decide(r, &claim, 1, false, d);
}

/* Find the handle's slot again if it is new, recycled, or in another segment. */
static void
key_refresh(const struct segment *seg, ration_key_t *k)
{
	struct ident id = { k->limit, k->limit_len, k->key, k->key_len, 0, 0 };
	struct policy_ref p;
	struct found f;

	if (k->segment_id == seg->id &&
	    STATE_BIRTH(word_load(&segment_slot(seg, k->slot)[SLOT_STATE])) == k->birth)
		return;
	ident_hash(seg, &id);
	k->segment_id = 0;
	k->policy_word = 0;
	if (policy_current(seg->policy, &p) && table_find_named(seg, &p, &id, &f) &&
	    policy_intact(&p)) {
		k->segment_id = seg->id;
		k->slot = (uint32_t)f.slot;
		k->birth = (uint32_t)f.birth;
		k->at = (uint64_t)(uintptr_t)segment_slot(seg, f.slot);
	}
}

/* While the sub-window and the second both last, the answer's times stay the same. */
static void
key_learn_time(ration_key_t *k, uint64_t now, uint64_t real_ns)
{
	uint64_t second = now - (now + real_ns) % 1000000000u;
	uint64_t end = k->start_ns + k->sub_ns;

	k->now = (now + real_ns) / 1000000000u;
	k->from_ns = second > k->start_ns ? second : k->start_ns;
	k->span_ns = (second + 1000000000u < end ? second + 1000000000u : end) - k->from_ns;
}

/* Note what the next call may find as this one did: policy, shape, sub-window. */
static void
key_learn(ration_t *r, const struct segment *seg, ration_key_t *k)
{
	struct plain p = plain_start(r, seg, clock_coarse(&r->clock, seg->policy));
	word_t *s = segment_slot(seg, k->slot);
	const struct ruleset *rs;
	const struct rate_def *rate;
	struct sub sub;

	k->policy_word = 0;
	if (!plain_rules(&p, s, &rs) || rs->nrates != 1)
		return;
	rate = &rs->rates[0];
	sub = sub_of(r, seg, rate, p.now);
	k->state = word_load(&s[SLOT_STATE]);
	k->sub_ns = rate->sub_ns;
	k->start_ns = sub.start;
	key_learn_time(k, p.now, (uint64_t)plain_real(&p));
	k->conv = word_load(&s[SLOT_CELLS + CELL_CONV]);
	k->tag = sub_tag(&sub, k->conv);
	k->word = (uint64_t)(uintptr_t)&s[SLOT_CELLS + CELL_RING + sub.epoch % RING_WORDS];
	k->head[0] = two32(0, POLICY_CURRENT(p.policy_word));
	k->head[1] = two32(seg->id, rs->limit);
	k->receipt[0] = WHERE(k->tag, CONV_COUNT(k->conv), 0, sub.epoch % RING_WORDS);
	k->receipt[1] = two32(k->slot, k->birth);
	k->answer[0] = (uint64_t)sub.reset;
	k->answer[1] = 0; /* retry_at */
	memcpy(&k->answer[2], rate, offsetof(struct rate_def, shape));
	if (CONV_SETTLED(k->conv) == rate->shape && plain_intact(&p) &&
	    STATE_BIRTH(k->state) == k->birth && STATE_ST(k->state) == ST_LIVE)
		k->policy_word = p.policy_word;
}
static_assert(offsetof(ration_rate_t, limit_units) == offsetof(ration_rate_t, reset_at) + 16 &&
	sizeof(ration_rate_t) == offsetof(ration_rate_t, reset_at) + 48 &&
	offsetof(struct rate_def, shape) == 32,
    "a handle's answer is a rate from reset_at on");
#define KEY_UNITS(k) ((k)->answer[2])

/* Everything that ration_key_acquire() can be asked. */
static int __attribute__((noinline))
key_any(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;
	uint64_t state, word, now;
	int verdict = LONG_WAY;

	if (r == NULL || k == NULL || k->size != sizeof(*k) || (d != NULL && d->size != sizeof(*d)))
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (seg != NULL && k->segment_id == seg->id && plain_cost(cost)) {
		/* The clock first: in a later life of the slot no word is of this now. */
		now = clock_coarse(&r->clock, seg->policy);
		state = word_load(&segment_slot(seg, k->slot)[SLOT_STATE]);
		if (STATE_BIRTH(state) == k->birth && STATE_ST(state) == ST_LIVE)
			verdict = plain_any(r, seg, now,
			    PLACE((uint64_t)k->slot, (uint64_t)k->birth), cost, d, &word);
	}
	if (verdict == LONG_WAY)
		verdict = key_decide(r, k, cost, true, d);
	if (seg == NULL)
		return verdict;
	key_refresh(seg, k);
	if (k->segment_id == seg->id)
		key_learn(r, seg, k);
	return verdict;
}

/* The denial that key_over() has found, for who asks why; end: of the wait, Unix ns. */
static void __attribute__((noinline)) key_note(ration_t *r, const ration_key_t *k,
    const struct segment *seg, uint64_t now, uint64_t used, uint64_t cost, uint64_t end)
{
	struct rate_def own;

	if (!denials_claim(r, k->slot, now))
		return;
	memcpy(&own, &k->answer[2], offsetof(struct rate_def, shape));
	denials_plain(r, seg,
	    &(struct denial) {
		.shared_ns = now,
		.unix_ns = clock_unix(seg->policy, now),
		.slot = k->slot,
		.birth = k->birth,
		.limit_units = own.units,
		.rate_units = own.rate_units,
		.window_ns = own.window_ns,
		.used = used,
		.cost = cost,
		.retry_at = (int64_t)((end + 999999999u) / 1000000000u),
		.policy_version = (uint32_t)(k->head[0] >> 32),
		.limit_id = (uint16_t)(k->head[1] >> 32),
		.kind = own.kind,
		.claims = 1,
	    });
}

/*
 * Over the limit by the coarse clock: by the precise one too?  As plain_deny(), from what
 * the handle knows; used and cost were checked to be one sub-window's.
 */
static int __attribute__((noinline)) key_over(ration_t *r, ration_key_t *k, uint64_t used,
    uint64_t cost, ration_decision_t *d, const struct segment *seg)
{
	uint64_t now = clock_precise(&r->clock, seg->policy), got = 0, need, units = KEY_UNITS(k);
	uint64_t real_ns =
	    (uint64_t)atomic_load_explicit(&seg->policy->real_offset_ns, memory_order_relaxed);
	word_t *s = (word_t *)(uintptr_t)k->at, *ring = &s[SLOT_CELLS + CELL_RING];
	uint64_t end;
	unsigned i, n;

	if (UNLIKELY(now - k->start_ns >= k->sub_ns || cost > units))
		return key_any(r, k, cost, d);
	need = used + cost - units;
	n = (unsigned)((word_t *)(uintptr_t)k->word - ring);
	for (i = 1; i < RING_WORDS; i++) {
		got += NARROW_UNITS(word_load(&ring[(n + i) % RING_WORDS]));
		if (got >= need)
			break;
	}
	/* The clock was read anew: what was seen may be of the slot's next life. */
	if (UNLIKELY(!place_kept(s, k->birth)))
		return key_any(r, k, cost, d);
	slot_denied(s, k->birth);
	end = k->start_ns + i * k->sub_ns + real_ns;
	if (denials_due(r, k->slot, now))
		key_note(r, k, seg, now, used, cost, end);
	if (d == NULL)
		return RATION_DENIED;
	store_pair(d, two32(sizeof(*d), RATION_DENIED), two32(used > units ? RATION_F_DEBT : 0, 1));
	d->cost = cost;
	d->now = (int64_t)((now + real_ns) / 1000000000u);
	memcpy(&d->retry_after, k->head, sizeof(k->head));
	store_pair(&d->used, used, used < units ? units - used : 0);
	memcpy(&d->reset_at, k->answer, sizeof(k->answer));
	d->retry_at = (int64_t)((end + 999999999u) / 1000000000u);
	d->retry_after = (uint32_t)(d->retry_at - d->now);
	d->level = decision_level(used, units);
	return RATION_DENIED;
}

static bool
key_unopened(const ration_key_t *k, uint64_t old)
{
	return word_kind(old) == W_BLANK ||
	    (word_kind(old) == W_NARROW && tick_diff(NARROW_TICK(old), NARROW_TICK(k->tag)) < 0);
}

/*
 * The shortest way: everything that the last call found out is compared, nothing computed.
 * The rate's figures are the handle's own copy, valid while the policy word is the same.
 */
int
ration_key_acquire(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	const struct segment *seg;
	uint64_t now, sum, old, used;
	word_t *s, *w;

	if (UNLIKELY(r == NULL || k == NULL || k->size != sizeof(*k) ||
		(d != NULL && d->size != sizeof(*d)) || (seg = handle_segment(r)) == NULL ||
		k->segment_id != seg->id))
		return key_any(r, k, cost, d);
	now = clock_coarse(&r->clock, seg->policy);
	s = (word_t *)(uintptr_t)k->at;
	w = (word_t *)(uintptr_t)k->word;
	if (UNLIKELY(word_load(&seg->policy->word) != k->policy_word ||
		now - k->from_ns >= k->span_ns || !plain_cost(cost)))
		return key_any(r, k, cost, d);
	sum = word_load(&s[SLOT_CELLS + CELL_CACHE]) ^ k->tag;
	if (UNLIKELY(word_load(&s[SLOT_CELLS + CELL_CONV]) != k->conv || sum >> 30 != 0))
		return key_any(r, k, cost, d);
	old = word_load(w);
	if (UNLIKELY(word_load(&s[SLOT_STATE]) != k->state))
		return key_any(r, k, cost, d);
	used = (old ^ k->tag) + sum + cost;
	if (UNLIKELY((old ^ k->tag) >> 30 != 0)) {
		/* A sub-window that nobody has begun: its word is of an earlier one, or blank. */
		if (sum + cost > KEY_UNITS(k) && key_unopened(k, old))
			return key_over(r, k, sum, cost, d, seg);
		return key_any(r, k, cost, d);
	}
	if (UNLIKELY(used > KEY_UNITS(k)))
		return key_over(r, k, used - cost, cost, d, seg);
	if (UNLIKELY(!word_cas(w, old, old + cost)))
		return key_any(r, k, cost, d);
	if (d == NULL)
		return RATION_ADMITTED;
	store_pair(d, two32(sizeof(*d), RATION_ADMITTED), two32(0, 1 | 1 << 16));
	store_pair(&d->cost, cost, k->now);
	memcpy(&d->retry_after, k->head, sizeof(k->head));
	store_pair(&d->used, used, KEY_UNITS(k) - used);
	memcpy(&d->reset_at, k->answer, sizeof(k->answer));
	if (UNLIKELY(used >= KEY_UNITS(k) / 2))
		d->level = decision_level(used, KEY_UNITS(k));
	memcpy(&d->receipts[0], k->receipt, sizeof(k->receipt));
	d->receipts[0].units = cost;
	return RATION_ADMITTED;
}

int
ration_key_peek(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d)
{
	if (r == NULL || k == NULL || k->size != sizeof(*k))
		return RATION_EINVAL;
	return key_decide(r, k, cost, false, d);
}
