/*
 * cell.h - the algorithms: one rate of one key, with the time as an argument.
 *
 * cell_look() reads and changes nothing that another caller could notice (it seals
 * sub-windows that have ended); cell_charge() is one CAS from what look saw.
 * None of them waits: LOOK_CLOCK asks for a precise reading, LOOK_AGAIN for another
 * look (somebody else made progress), LOOK_GONE for another search.
 */
#ifndef RATION_CELL_H
#define RATION_CELL_H

#include "policy.h"
#include "segment.h"

/* The slot that a call works on, and its time. */
struct cell_ctx {
	const struct segment *seg;
	const struct policy_ref *policy;
	word_t *slot;
	uint64_t birth;
	uint64_t now_ns; /* shared */
	int64_t unix_ns;
	bool precise;    /* now_ns does not lag */
	bool writable;   /* false: a view; nothing is sealed, converted or folded */
	uint64_t *ahead; /* the last word seen that is ahead of now_ns; see cell.c */
};

enum look_result { LOOK_FITS, LOOK_DENIES, LOOK_CLOCK, LOOK_AGAIN, LOOK_GONE };

/* What cell_look() saw. */
struct look {
	uint64_t used;  /* units before this call */
	uint64_t old;   /* the word that a charge replaces */
	uint64_t tag;   /* the new word without its units; a bucket: the new word */
	uint64_t units; /* units already in that word */
	uint64_t next; /* a bucket: its arrival time after a charge, 1/16 ns; leases: see lease.c */
	uint64_t edge_ns; /* sliding: (e + 16) s, shared; else end of the period, Unix ns */
	uint64_t epoch;   /* sliding: e */
	uint8_t word;     /* its index in the ring */
	uint8_t conv;
};

enum look_result cell_look(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    uint64_t cost, struct look *l);

/* True: charged.  False: look again. */
bool cell_charge(const struct cell_ctx *x, unsigned cell, const struct rate_def *r, uint64_t cost,
    const struct look *l);

/*
 * After a look that may have denied: make l a charge of cost in any case, or of as much of it
 * as the word can hold.  Returns how much.
 */
uint64_t cell_force(
    const struct cell_ctx *x, const struct rate_def *r, uint64_t cost, struct look *l);

/*
 * where: the word without its units (a bucket: its arrival time after the charge; its lower
 * 20 bits stand on top of the receipt's units), in whose place stand conversion(8) cell(4) word(4)
 * and, lowest, 1: there is something to give back.  Bit 1: the policy's cost, not the caller's.
 * A lease: 0 with these, the claim in place of the conversion; its units are the permit's word.
 */
#define WHERE_FIXED 2u
#define RECEIPT_IS_LEASE(rc) \
	(((rc)->where & 1) != 0 && WHERE_TAG((rc)->where) == 0 && (rc)->units >> 62 != 0)
#define WHERE(tag, conv, cell, word) \
	((tag) | (uint64_t)(conv) << 12 | (uint64_t)(cell) << 8 | (uint64_t)(word) << 4 | 1)
#define WHERE_TAG(w) ((w) & ~((UINT64_C(1) << 20) - 1))
#define RECEIPT_TAT(where, units) ((WHERE_TAG(where) | (units) >> 44) & TAT_MASK)
#define RECEIPT_UNITS(units) ((units) & ((UINT64_C(1) << 44) - 1))
#define WHERE_CONV(w) ((w) >> 12 & 0xff)
#define WHERE_CELL(w) ((unsigned)((w) >> 8 & 15))
#define WHERE_WORD(w) ((unsigned)((w) >> 4 & 15))

/* What a charge left behind, for a refund. */
void cell_receipt(const struct cell_ctx *x, unsigned cell, uint64_t slot, uint64_t cost,
    const struct rate_def *r, const struct look *l, ration_receipt_t *out);

/*
 * Give units back to the word that was charged.  0; RATION_ESTALE; RATION_EBUSY.
 * undo: of a call that was not admitted; then expiry does not matter.
 */
int cell_refund(const struct cell_ctx *x, const ration_receipt_t *rc, uint64_t units, bool undo);

/* Fill in figures of a rate after a look: used, remaining, reset_at, level. */
void cell_report(const struct cell_ctx *x, const struct rate_def *r, const struct look *l,
    uint64_t charged, ration_rate_t *out);
/*
 * When would cost fit?  Unix s rounded up into out->retry_at, or RATION_NEVER with a
 * reason.  Valid after a look at the same time.
 */
void cell_retry(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    const struct look *l, uint64_t cost, ration_rate_t *out);
/* The same to the ns of shared time, for who waits; UINT64_MAX: never, or at a release. */
uint64_t cell_fits(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    const struct look *l, uint64_t cost);
/*
 * Units spread evenly over a rate's window: ns that so many 1/256 units take.  0: they are not
 * limited in time.
 */
uint64_t rate_spread(const struct rate_def *r, uint64_t units256);
/*
 * The same of a sliding rate of which half is used, after cost was charged: a window gives units
 * back in sixteen portions, and the last of them late, so who is paced by its length alone
 * stands still for W/15 in the end.  The least gap between calls of this cost so that what is left
 * lasts until each portion comes.
 */
uint64_t cell_spread(const struct cell_ctx *x, unsigned cell, const struct rate_def *r,
    const struct look *l, uint64_t cost);
/* A key without a slot: nothing used. */
void look_empty(const struct cell_ctx *x, const struct rate_def *r, struct look *l);

/* Units of the rate's key counted so far: slot total plus cell 0's ring. */
uint64_t cell_total(const word_t *slot);
/*
 * The same at one moment, for books: others may be folding or converting meanwhile, and what
 * they carry from word to word is counted neither twice nor not at all.
 */
uint64_t cell_total_steady(const word_t *slot);
/*
 * Add the units of word w at ring index i of cell 0 to the slot's total, once.  True: it
 * is counted; w may be overwritten.
 */
bool cell_fold(const struct cell_ctx *x, unsigned i, uint64_t w);
/* Is cell as good as new at this time: nothing used, nothing that may be needed? */
bool cell_idle(const struct cell_ctx *x, unsigned cell, uint64_t idle_ns);
/* Retiring: make every word refuse what was looked at before.  False: it is in use. */
bool cell_retire(const struct cell_ctx *x, unsigned cell, uint64_t idle_ns);

/* ---- convert.c ---- */

/*
 * Settle the cell on r's shape, finishing whatever conversion is under way; reset: set the
 * used units to 0.  LOOK_AGAIN: done, look; LOOK_CLOCK: wants the precise time.
 */
enum look_result cell_convert(
    const struct cell_ctx *x, unsigned cell, const struct rate_def *r, bool reset);
/*
 * The cell has r's shape, but its word was closed: by a converter who was stopped for a whole
 * conversion.  Convert it once more: a charge must not start from a closed word, which
 * the next conversion would find closed already.
 */
enum look_result cell_reopen(const struct cell_ctx *x, unsigned cell, const struct rate_def *r);
/* Units used at x's time by a settled or frozen cell of the shape that its conv names. */
uint64_t cell_used(const struct cell_ctx *x, unsigned cell, uint64_t conv);

/* Seconds of a sliding or fixed shape; 0: another kind. */
uint64_t shape_seconds(uint32_t shape, uint8_t *kind);
/* RATION_SLIDING ...; 0: none. */
uint8_t shape_kind(uint32_t shape);
/* The zone of a calendar shape; -1: not in this policy. */
int shape_zone(const struct policy_ref *p, uint32_t shape);

/* ---- shared between cell.c and convert.c ---- */

/* floor(now / sub) by the reciprocal. */
static inline uint64_t
epoch_of(uint64_t now, uint64_t sub, uint64_t recip)
{
	uint64_t e = (uint64_t)((unsigned __int128)now * recip >> 64);

	return now - e * sub >= sub ? e + 1 : e;
}

/* Ring index of the period that starts at Unix second s. */
static inline unsigned
period_index(uint8_t kind, uint64_t window_ns, int64_t start_s)
{
	uint64_t step = window_ns / UINT64_C(1000000000), s = start_s > 0 ? (uint64_t)start_s : 0;

	if (kind == RATION_DAY) /* local midnights: the same number all day long */
		return (unsigned)((s + 43200) / 86400 % RING_WORDS);
	if (kind == RATION_MONTH) /* first of the month + 14 days: never two alike */
		return (unsigned)((s + 1209600) / 2551443 % RING_WORDS);
	return step == 0 ? 0 : (unsigned)(s / step % RING_WORDS);
}

static inline uint64_t
period_tag(int64_t start_s)
{
	return WIDE_TAG(tick_of((uint64_t)start_s * UINT64_C(1000000000)));
}

#endif
