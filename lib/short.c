/*
 * short.c - what the short way needs seldom: a new sub-window, a lost CAS, a denial.
 */
#include "short.h"

#include "denials.h"

struct sub
sub_of(struct ration *h, const struct segment *seg, const struct rate_def *r, uint64_t now)
{
	unsigned i = r->shape % EPOCHS;
	uint32_t owner = 0;
	struct sub s;

	s.epoch = epoch_of(now, r->sub_ns, r->recip);
	s.start = s.epoch * r->sub_ns;
	s.tag = NARROW_TAG(UINT64_C(0), tick_of(s.start));
	s.reset =
	    (clock_unix(seg->policy, s.start + RING_WORDS * r->sub_ns) + 999999999) / 1000000000;
	if (atomic_load_explicit(&h->subs[i].shape, memory_order_relaxed) == r->shape ||
	    atomic_compare_exchange_strong_explicit(
		&h->subs[i].shape, &owner, r->shape, memory_order_relaxed, memory_order_relaxed)) {
		/* In this order: where a mark is set its reset was set before. */
		atomic_store_explicit(&h->subs[i].reset, s.reset, memory_order_relaxed);
		atomic_store_explicit(
		    &h->subs[i].mark, SUB_MARK(s.tag, s.epoch), memory_order_release);
	}
	return s;
}

/*
 * LOOK_FITS or LOOK_DENIES; LOOK_AGAIN: not as the short way expects it.  A sub-window in
 * which nothing was charged yet can deny, but is not begun here.
 */
SHORT enum look_result
plain_look(const struct plain *p, word_t *cell, const struct rate_def *r, uint64_t cost,
    struct plain_step *st)
{
	enum word_kind kind;

	st->sub = sub_of(p->h, p->seg, r, p->now);
	st->conv = word_load(&cell[CELL_CONV]);
	st->tag = sub_tag(&st->sub, st->conv);
	st->word = &cell[CELL_RING + st->sub.epoch % RING_WORDS];
	st->sum = word_load(&cell[CELL_CACHE]) ^ st->tag;
	st->old = word_load(st->word);
	if (UNLIKELY(CONV_SETTLED(st->conv) != r->shape || st->sum >> 30 != 0))
		return LOOK_AGAIN;
	if (LIKELY((st->old ^ st->tag) >> 30 == 0))
		return st->sum + (st->old ^ st->tag) + cost > r->units ? LOOK_DENIES : LOOK_FITS;
	kind = word_kind(st->old);
	if (st->sum + cost <= r->units ||
	    (kind != W_BLANK &&
		(kind != W_NARROW || tick_diff(NARROW_TICK(st->old), tick_of(st->sub.start)) >= 0)))
		return LOOK_AGAIN;
	st->old = st->tag; /* as if begun with nothing in it */
	return LOOK_DENIES;
}

/*
 * A CAS lost to another caller's charge is tried again: the word is still open, so the
 * sum that was checked still stands.
 */
SHORT bool
plain_charge(const word_t *s, uint64_t birth, struct plain_step *st, uint64_t units, uint64_t cost)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		if (UNLIKELY(!place_kept(s, birth)))
			return false;
		if (LIKELY(word_cas(st->word, st->old, st->old + cost)))
			return true;
		st->old = word_load(st->word);
		if ((st->old ^ st->tag) >> 30 != 0 || st->sum + (st->old ^ st->tag) + cost > units)
			return false;
	}
	return false;
}

int
plain_undo(
    const struct segment *seg, uint64_t place, uint64_t tag, uint64_t conv_word, uint64_t cost)
{
	struct cell_ctx x;
	ration_receipt_t rc;

	memset(&x, 0, sizeof(x));
	x.seg = seg;
	x.slot = segment_slot(seg, place & UINT32_MAX);
	x.birth = place >> 32;
	rc.where = WHERE(tag, CONV_COUNT(conv_word >> 8), 0, conv_word & (RING_WORDS - 1));
	rc.slot = (uint32_t)place;
	rc.birth = (uint32_t)(place >> 32);
	rc.units = cost;
	(void)cell_refund(&x, &rc, cost, true);
	return LONG_WAY;
}

/* The denial that plain_deny() has found, for who asks why; end: of the wait, Unix ns. */
static void __attribute__((noinline)) plain_note(const struct plain *p, uint64_t place,
    uint32_t limit, const struct rate_def *r, uint64_t used, uint64_t cost, uint64_t end)
{
	uint64_t slot = place & UINT32_MAX;

	if (!denials_claim(p->h, slot, p->now))
		return;
	denials_plain(p->h, p->seg,
	    &(struct denial) {
		.shared_ns = p->now,
		.unix_ns = (int64_t)p->now + plain_real(p),
		.slot = (uint32_t)slot,
		.birth = (uint32_t)(place >> 32),
		.limit_units = r->units,
		.rate_units = r->rate_units,
		.window_ns = r->window_ns,
		.used = used,
		.cost = cost,
		.retry_at = (int64_t)((end + 999999999u) / 1000000000u),
		.policy_version = POLICY_CURRENT(p->policy_word),
		.limit_id = (uint16_t)limit,
		.kind = r->kind,
		.claims = 1,
	    });
}

/*
 * Over the limit, by the coarse clock: by the precise one too?  Then it is denied: the sum
 * of sealed sub-windows stands, so each of the 15 words is of its sub-window.
 */
int
plain_deny(struct ration *h, const struct segment *seg, uint64_t place, uint64_t cost,
    ration_decision_t *d)
{
	struct plain p = plain_start(h, seg, clock_precise(&h->clock, seg->policy));
	word_t *s = segment_slot(seg, place & UINT32_MAX), *cell = s + SLOT_CELLS;
	const struct ruleset *rs;
	struct rate_def own;
	const struct rate_def *r = &own;
	struct figures f;
	uint32_t limit;
	struct plain_step st;
	uint64_t used, need, got = 0, end;
	int64_t real_ns = plain_real(&p);
	unsigned k;

	if (!plain_rules(&p, s, &rs) || rs->nrates != 1)
		return LONG_WAY;
	own = rs->rates[0];
	limit = rs->limit;
	if (cost > r->units || plain_look(&p, cell, r, cost, &st) != LOOK_DENIES)
		return LONG_WAY;
	used = st.sum + (st.old ^ st.tag);
	need = used + cost - r->units;
	for (k = 1; k < RING_WORDS; k++) {
		got += NARROW_UNITS(word_load(&cell[CELL_RING + (st.sub.epoch + k) % RING_WORDS]));
		if (got >= need)
			break;
	}
	/* Word k after ours is of 16 - k sub-windows ago: 16 later it has expired. */
	end = st.sub.start + k * r->sub_ns + (uint64_t)real_ns;
	if (UNLIKELY(!plain_intact(&p) || !place_kept(s, place >> 32)))
		return LONG_WAY;
	slot_denied(s, place >> 32);
	if (denials_due(h, place & UINT32_MAX, p.now))
		plain_note(&p, place, limit, r, used, cost, end);
	if (d == NULL)
		return RATION_DENIED;
	plain_head(d, &p, limit, 1, cost, real_ns);
	f = figures_of(r);
	plain_rate(&d->rates[0], &f, r->units, used, &st.sub);
	d->verdict = RATION_DENIED;
	d->nreceipts = 0;
	if (used > r->units) {
		d->remaining = 0;
		d->flags = RATION_F_DEBT;
	}
	d->retry_at = (int64_t)((end + 999999999u) / 1000000000u);
	d->retry_after = (uint32_t)(d->retry_at - d->now);
	return RATION_DENIED;
}

int
plain_any(struct ration *h, const struct segment *seg, uint64_t now, uint64_t place, uint64_t cost,
    ration_decision_t *d, uint64_t *word)
{
	struct plain p = plain_start(h, seg, now);
	word_t *s = segment_slot(seg, place & UINT32_MAX);
	const struct ruleset *rs;
	struct rate_def r; /* a copy: what is used after plain_intact() must not change */
	struct figures f;
	struct plain_step st;
	int64_t real_ns;
	uint32_t limit;

	p.slot = place & UINT32_MAX;
	p.state = STATE_WORD(place >> 32, UINT64_C(0), ST_LIVE);
	if (!plain_rules(&p, s, &rs))
		return LONG_WAY;
	if (rs->nrates != 1) {
		for (unsigned i = 0; i < rs->nrates && i < RATION_RATES_MAX; i++)
			(void)sub_of(h, seg, &rs->rates[i], now);
		return LONG_WAY;
	}
	r = rs->rates[0];
	limit = rs->limit;
	switch (plain_look(&p, s + SLOT_CELLS, &r, cost, &st)) {
	case LOOK_FITS:
		break;
	case LOOK_DENIES:
		return plain_deny(h, seg, place, cost, d);
	default:
		*word = (uint64_t)(uintptr_t)st.word;
		return LONG_WAY;
	}
	*word = (uint64_t)(uintptr_t)st.word;
	if (!plain_intact(&p) || !plain_charge(s, place >> 32, &st, r.units, cost))
		return LONG_WAY;
	if (d == NULL)
		return RATION_ADMITTED;
	real_ns = plain_real(&p);
	plain_head(d, &p, limit, 1, cost, real_ns);
	f = figures_of(&r);
	plain_report(&p, &f, r.units, &st.sub, st.tag, st.conv, st.sum + (st.old ^ st.tag) + cost,
	    0, 0, cost, d);
	return RATION_ADMITTED;
}
