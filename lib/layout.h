/*
 * layout.h - what lies in shared memory, bit by bit, and why it is safe.
 *
 * Two objects make an instance, and a third stands beside them (side.h).  *Counters* is writable by
 * the group: whatever is read from it is input, loaded once, range-checked, never an index before
 * that.  *Policy* (policy.h) is written by rationd alone and mapped read-only by everybody else.
 *
 *	counters:  seg_head | limit counters | free bitmap | buckets | slots
 *		   | lease bitmap | queues
 *
 * A slot holds one (limit, key).  It is `stride` words long, the same for all
 * slots of a segment: SLOT_HEAD words, then `cells` cells of CELL_WORDS words,
 * one for each rate.
 *
 *
 * Time
 *
 * Sliding rates and buckets live on CLOCK_BOOTTIME of the initial time
 * namespace plus the test clock's offset ("shared time", ns); fixed windows and
 * calendar periods on Unix time as shared time plus a published offset.
 * A *tick* is 34 ms; 30 bits of it recur after 1.157 years.  A *wide tick* is
 * 256 ticks (8.7 s) in 22 bits: the same year.
 *
 *
 * Words: one 64-bit compare-and-swap is one charge
 *
 *	narrow  1 cc s tttttttttt(30) nnnnnnnnnn(30)   a sliding sub-window
 *	wide    01     tttttttt(22)   nnnnnnnnnnnnn(40) a fixed window, a calendar period
 *	closed  001    ttttttt(21)    nnnnnnnnnnnnn(40) a wide word refusing additions
 *	tat     0001   theoretical arrival time(60), 1/16 ns  a bucket
 *	tatx    00001  TAT / 2 (59)                     a bucket word refusing additions
 *	blank   00000  uuu(29)  tttttttttt(30)          nothing, and since when
 *
 * An arrival time recurs after 834 days: it is read as the nearest to now (tat_near).
 *
 * t is the tick in which the sub-window (or window) starts, n the units, c the
 * number of conversions of the cell modulo 4, s the seal, u a serial.
 *
 * Why the start tick stands in every word: it is what makes a stale CAS fail.
 * A caller that was stopped between its load and its CAS succeeds only if the
 * same 64 bits stand there again.  Within one life of a slot that means the same
 * sub-window with the same units: its decision is still right.  Across lives
 * it cannot be: a slot is reused only after every word has expired (for wide
 * words: two wide ticks ago) and was blanked with the tick of that moment, so
 * the new life's ticks are all later.  They recur when the tick wraps: 1.157
 * years.  The five kinds differ in their leading bits, so a word of one kind
 * never equals one of another.
 *
 *
 * Sliding: sixteen sub-windows
 *
 * A window W is covered by the current sub-window and the 15 before it, each
 * s = (W + LAG)/15 long, the oldest counted whole.  15 s >= W + LAG, so what was
 * admitted within the last W is always in the sum, even when it was dated with
 * a clock that lagged by LAG; what is counted is at most 16 s old: W/15 late.
 * Sub-window e lives in ring word e mod 16.
 *
 * The race: A reads the clock in e, stalls; B in e+1 sums word e without A's
 * unit; A adds it.  B therefore *seals* each of the 15 words before it relies
 * on their sum (an empty one becomes {e', sealed, 0}): A's CAS fails, A looks at
 * the clock again.  Sealed words only shrink (refund), so the sum is computed
 * once a sub-window and cached in the cell's `cache` word:
 *
 *	cache   1 cc 0 tttttttttt(30) nnnnnnnnnn(30)   sum of the 15 sealed before t
 *	        00 01 tttttttttt(30)                   none, since t
 *	        00 11 cccccc(14) uuuuuuuuuuuuuu(40)     frozen: see conversion
 *
 * Its CAS from an older value fails when another was faster.  A refund of a
 * sealed unit zeroes the cache.
 *
 *
 * Totals for nothing
 *
 *	total   nnnnnnnnnnn(44) k mmmm(19)
 *
 * Units ever admitted = total + the units in cell 0's ring.  A ring word that is
 * to be overwritten is *folded* first: one CAS adds its units and sets the mark
 * m = (ring index, 15 bits of its tick).  Whoever finds the mark of a word that
 * still stands knows it is counted, and overwrites it before folding another.
 * So a kill between the two counts nothing twice.  Buckets and unlimited rates
 * add to the total directly.  k = 1: the mark is that of a conversion.
 * (A fold stopped as the first one of a life, resumed in a later life whose
 * first mark is the same, miscounts this statistic, never a charge.)
 *
 *
 * Conversion: a live change of window or algorithm, and a reset
 *
 *	conv    ffffffffffff(36) cccccccc(8) stage(2) shape(18)
 *
 * f is a fine tick (1/64 tick, 0.53 ms).  `shape` is the policy's number for
 * (algorithm, window, zone, period).  A caller whose rate has another shape than
 * the cell, or who meets a stage other than DONE, converts (or finishes another's
 * conversion) first:
 *   A. conv := {now, c+1, FREEZE, old shape}; a reset: RESET instead of FREEZE
 *   B. every ring word refuses additions: sealed and marked with c+1, closed, or
 *	blanked anew; also those that were sealed already, as a charge may start from them
 *   C. cache := frozen(U), the units used; the first to get there decides U
 *	(a reset freezes 0)
 *   D. conv := {f, c+1, CARRY, new shape}
 *   E. cell 0: total += units in the ring - U, marked with c+1
 *   F. the word of time f in the new shape := U
 *   G. every other word: blanked; sliding: {f's sub-window - k, sealed, 0}
 *   H. conv := {f, c+1, DONE, new shape}
 * Each step is one CAS from a value that a step before left, so a helper that
 * comes late finds it changed, and all of them write the same.  In B a helper
 * looks at conv once more between loading a word and closing it.  A ring holds
 * words of one conversion only (G comes before H).
 *
 *
 * Slots: how a key gets one and loses it
 *
 *	state   birth(30) attempt(30) st(4)
 *	bucket  version(36) slot+1(28)
 *	link    next slot+1(28) spare(12) key length(8) limit(16)
 *
 * A bucket is a list of slots.  A key is added by a CAS on the bucket's word
 * alone, which counts a version up at every change, so it succeeds only if
 * nobody changed the list since the adder searched all of it: no duplicate.
 * The slot is complete before that: nobody ever waits for an adder.
 *
 *	FREE -> MAKING   an adder took it           (CAS, adder)
 *	MAKING -> READY  the key stands in it       (CAS, adder)
 *	READY -> LIVE    it was linked              (CAS, anybody who finds it linked)
 *	LIVE -> RETIRING all its words have expired (CAS, rationd)
 *	RETIRING -> LIVE somebody uses it after all (CAS, anybody)
 *	RETIRING -> GONE every word was blanked     (CAS, rationd)
 *	GONE -> FREE     unlinked, recorded, new birth (rationd)
 *	MAKING, READY -> GONE  half-made for 2 s    (rationd)
 *	MAKING -> EXTRA  the rest of a long key stands in it   (CAS, adder)
 *	EXTRA -> GONE    with its owner, or 2 s old and nobody's (rationd)
 *
 * The link of an extra slot names its owner and that life of it, so that what a killed
 * adder, or one that came second, leaves behind is found, and an extra slot is
 * only ever freed with the key whose bytes it holds:
 *
 *	link    owner+1(28) 111111111111 owner's birth mod 2^24(24)
 *
 * Key words are written by CAS from a filler made of the segment's secret, the
 * slot and its birth, so an adder that was stopped for long cannot write into
 * the slot's next life.  Before a half-made slot is taken back the bucket's
 * version is counted up: the adder's link fails too.  Only rationd unlinks.
 * Without rationd slots are taken but none comes back.
 *
 * A caller loads the state after the words that it charges from, so they are of the life in
 * which it found the slot; conv too, but in the short way, where the word's own cc says of
 * which conversion it is.  Retiring blanks every word with
 * a tick that never stood there before, so a charge from a word of that life fails once
 * it has ended.  Who sees RETIRING rescues the slot.
 * Every slot that is freed counts its bucket's version up, wherever in the list it stood: who
 * was searching there may have gone astray with it, and fails.  The link is written
 * once in a life: a second value could be that of the next life.
 * Buckets count 2^36 versions; a slot is reused at most once a tick, so with as
 * many buckets as slots a version recurs after some 70 years.
 *
 *
 * Leases: a permit is one word, and the word says whose it is
 *
 * A key of a concurrency limit has no counter: what counts is which of its *permits* are
 * taken.  A permit is a ring word of a cell whose shape is SHAPE_CONCURRENT:
 *
 *	free	blank
 *	held	1 ttl(3) tick(30) ttl(6) holder(24)	by a process, since tick
 *	kept	01 wide tick(22) name(40)		by nobody: until released (hash of a name)
 *
 * Taking, giving back, expiring and taking away from the dead are one CAS each, so there is
 * no state in between in which a kill could leave anything.  The tick makes held and kept
 * words unlike those of any other life of the slot, as above.  The time to live is a small
 * floating-point number of ticks, 0: none (lease.h).
 *
 * Permits are numbered from 0.  Under a limit of n only a permit i < m may be taken, where m
 * is the greatest number <= n with m + (permits >= m that are taken) <= n: n itself, unless
 * the limit was lowered.  Whoever takes i < m leaves that sum as it is, so what is taken
 * never comes to more than n, and as nobody takes one above it, m only grows: whoever saw an
 * older picture takes less than he might, never more.  (Those above m that are taken in the end
 * were so all the time that he looked.)  Below m just as many are free as n has room for.
 *
 * A slot has cells x 16 permits.  More than that are in further slots of the same key, its
 * *chunks*: the link's spare bits say which (chunk 0 is the key itself; 0xfff stays an extra
 * slot's), and the hash covers them.  The cache word of the first cell of chunk 0 tells how
 * many chunks there may be, and while there are none which cell is the last with a permit
 * taken, before one is; neither shrinks within a life.  So of a slot of four rates a limit of 5
 * needs no more than one to be read:
 *
 *	cache	0001 w 00.. cell(2) chunks(12) tick(30)	   w: somebody may be waiting (queue.h)
 *
 * Chunk 0 is not retired while a chunk of it is in the table: rationd looks for them after
 * it has marked it RETIRING, and who took a permit of a chunk looks at chunk 0 afterwards.
 *
 * A *holder* is a process: a number that it holds an OFD read lock for, on the byte of that
 * number of the lock file.  The kernel lets go of it when the process ends or execs.  What
 * keeps the lock is not a descriptor but a mapping of the file that is not inherited over
 * fork (MADV_DONTFORK): there is nothing that could be passed on or left open.  Whoever
 * finds the byte unlocked knows the holder dead for good, for numbers are used once
 * (`holders` counts them up; one that is locked by another already is not used).
 *
 * The lease bitmap has a bit for each slot that may have a permit taken: rationd looks through
 * these for the dead several times a second; without it, who would be denied looks
 * through the key's own.
 *
 *
 * Queues: only an order, never a grant
 *
 * Who waits for a key takes a ticket of the key's queue and then asks as everybody does; the
 * queue says when.  Whatever is written into it, wrongly too, admits nobody.  See queue.h.
 *
 *
 * Hash: SipHash-1-3 over limit name and key, keyed with the segment's secret.  (The quick one
 * of short calls stays in the process and only guesses a place: hint.h.)
 * Progress: every loop here is bounded; see each function.
 */
#ifndef RATION_LAYOUT_H
#define RATION_LAYOUT_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAYOUT_VERSION 3u
#define COUNTERS_MAGIC UINT64_C(0x315447534e4f4954) /* "TIONSGT1" */

#define TICK_NS UINT64_C(34000000)
#define LAG_NS UINT64_C(20000000) /* the coarse clock lags less; seen: 12 ms */
#define RING_WORDS 16u
#define CELL_WORDS 18u /* conv, cache, ring */
#define SLOT_HEAD 9u   /* state, resolved, link, total, denied, 4 key words */
#define KEY_INLINE_WORDS 4u
#define LIMITS_MAX 1024u
#define CELLS_MAX 4u
#define CHUNKS_MAX 4094u /* slots of one key */
#define QUEUE_TICKETS 128u
#define QUEUE_HEAD 8u /* words: one line */
#define QUEUE_WORDS (QUEUE_HEAD + QUEUE_TICKETS)
#define SLOTS_MAX ((UINT64_C(1) << 28) - 2)

typedef _Atomic uint64_t word_t;
static_assert(sizeof(word_t) == 8 && alignof(word_t) == 8, "words are plain 64-bit");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free across processes");

/* Indexes into a slot. */
enum slot_word {
	SLOT_STATE = 0,
	SLOT_RESOLVED = 1, /* policy version(32) ruleset(32); version 0: birth, never resolved */
	SLOT_LINK = 2,
	SLOT_TOTAL = 3,
	SLOT_DENIED = 4, /* denied(36) birth(28) */
	SLOT_KEY = 5,
	SLOT_CELLS = SLOT_HEAD,
};
/* Indexes into a cell. */
enum cell_word { CELL_CONV = 0, CELL_CACHE = 1, CELL_RING = 2 };

enum slot_st {
	ST_FREE = 0,
	ST_MAKING = 1,
	ST_READY = 2,
	ST_LIVE = 3,
	ST_RETIRING = 4,
	ST_GONE = 5,
	ST_EXTRA = 6, /* holds the rest of another slot's key */
};

/* What is counted for each limit beside its keys (64 bytes: one line). */
struct limit_counters {
	word_t admitted_gone; /* totals of keys that were recycled */
	word_t denied_gone;
	word_t denied_nokey; /* denials of keys that have no slot */
	word_t observed;     /* would-be denials in mode observe */
	word_t full;         /* calls that found no room in the table */
	word_t keys;         /* slots in use, counted by rationd */
	word_t spare[2];
};
static_assert(sizeof(struct limit_counters) == 64, "one cache line");

/* Faults and rarities, counted by whoever meets them. */
#define SEG_COUNTERS(X) \
	X(scribbles, "words from the future or out of range, repaired") \
	X(retries_out, "calls that gave up after too many retries") \
	X(full_admit, "admitted because the table was full") \
	X(full_deny, "denied because the table was full") \
	X(clock_steps, "suspends and clock steps noticed") \
	X(degraded, "admitted without a segment") \
	X(recycled, "slots recycled") \
	X(halfmade, "half-made slots taken back") \
	X(conversions, "windows or algorithms changed under a key") \
	X(rescues, "slots used while they were being recycled") \
	X(reaped, "leases taken from the dead") \
	X(expired, "leases whose time to live had passed") \
	X(passed_over, "waiters that did not take their turn")

/*
 * The first 64 bytes keep their meaning in every layout version, so that
 * mismatched builds can tell each other apart.  `magic` is stored last, with
 * release order; segment_attach() loads it with acquire order.
 */
struct seg_head {
	_Atomic uint64_t magic;
	uint32_t layout_version;
	uint32_t fingerprint;
	_Atomic uint32_t retired; /* 1: replaced; attach again */
	uint32_t reserved0;
	uint64_t bytes; /* of the whole object */
	uint64_t id;    /* random, the same in the policy object */
	uint64_t created_unix_ns;
	uint64_t reserved1[2];
	/* second line: sizes, constant after creation */
	uint64_t nslots;
	uint64_t nbuckets;
	uint32_t stride; /* words of a slot */
	uint32_t cells;  /* cells of a slot */
	uint64_t off_limits;
	uint64_t off_bitmap;
	uint64_t off_buckets;
	uint64_t off_slots;
	uint64_t off_leases; /* lease bitmap: a bit a slot */
	/* third line */
	uint64_t secret[2];
	uint8_t boot_id[16];
	uint64_t off_queues; /* nqueues of QUEUE_WORDS words */
	uint64_t nqueues;    /* a power of two */
	uint64_t reserved2[2];
	/* what goes on; written by anybody */
#define X(name, text) word_t name;
	SEG_COUNTERS(X)
#undef X
	word_t daemon_beat; /* shared time, ns, of rationd's last round */
	word_t daemon_pid;  /* for people to read; never compared */
	word_t live;        /* slots in use, counted by rationd each round */
	word_t holders;     /* number of the last holder */
	word_t spare[7];
};
static_assert(offsetof(struct seg_head, nslots) == 64, "second line");
static_assert(offsetof(struct seg_head, secret) == 128, "third line");
static_assert(offsetof(struct seg_head, scribbles) == 192, "fourth line");
static_assert(sizeof(struct seg_head) == 384, "six lines");

/* Version, sizes and constants in one word: builds that differ refuse each other. */
#define LAYOUT_FINGERPRINT \
	((uint32_t)(LAYOUT_VERSION << 24 ^ sizeof(struct seg_head) << 14 ^ SLOT_HEAD << 9 ^ \
	    CELL_WORDS << 3 ^ LIMITS_MAX ^ (uint32_t)(TICK_NS / 1000)))

/* ---- ticks ---- */
#define TICK_BITS 30
#define TICK_MASK ((UINT64_C(1) << TICK_BITS) - 1)
#define WIDE_MASK ((UINT64_C(1) << 22) - 1)
#define CLOSED_MASK ((UINT64_C(1) << 21) - 1)

static inline uint64_t
tick_of(uint64_t ns)
{
	return ns / TICK_NS & TICK_MASK;
}

/* a - b in ticks, for ticks less than half a year apart */
static inline int64_t
tick_diff(uint64_t a, uint64_t b)
{
	uint64_t d = (a - b) & TICK_MASK;

	return d < UINT64_C(1) << (TICK_BITS - 1) ? (int64_t)d
						  : (int64_t)d - (INT64_C(1) << TICK_BITS);
}

/*
 * Did tick t begin at least n ticks before now?  What is less than a quarter of the cycle
 * ahead is ahead (another's clock, a stopped sweeper's now); all else is past.
 */
static inline bool
tick_past(uint64_t now, uint64_t t, uint64_t n)
{
	uint64_t age = (now - t) & TICK_MASK;

	return age >= n && age < TICK_MASK / 4 * 3;
}

/* ---- narrow: 1 cc s t(30) n(30) ---- */
#define NARROW_MAX ((UINT64_C(1) << 30) - 1)
#define NARROW_SEAL (UINT64_C(1) << 60)
#define NARROW_TAG(conv, tick) (UINT64_C(1) << 63 | ((conv)&3) << 61 | (tick) << 30)
#define NARROW_CLOSED(w, conv) (((w) & ~(UINT64_C(3) << 61)) | ((conv)&3) << 61 | NARROW_SEAL)
/* Of the same sub-window, whichever conversion and seal */
#define NARROW_SAME(w, tag) ((((w) ^ (tag)) & ~(NARROW_MAX | NARROW_SEAL | UINT64_C(3) << 61)) == 0)
#define NARROW_TICK(w) ((w) >> 30 & TICK_MASK)
#define NARROW_UNITS(w) ((w)&NARROW_MAX)

/* ---- wide: 01 t(22) n(40); closed: 001 t(21) n(40) ---- */
#define WIDE_MAX ((UINT64_C(1) << 40) - 1)
#define WIDE_TAG(tick) (UINT64_C(1) << 62 | ((tick) >> 8 & WIDE_MASK) << 40)
#define WIDE_TICK(w) ((w) >> 40 & WIDE_MASK)
#define WIDE_UNITS(w) ((w)&WIDE_MAX)
#define CLOSED_OF(w) (UINT64_C(1) << 61 | ((w) >> 40 & CLOSED_MASK) << 40 | WIDE_UNITS(w))

/* ---- tat: 0001 TAT(60) in 1/16 ns; tatx: 00001 TAT/2(59) ---- */
#define TAT_MASK ((UINT64_C(1) << 60) - 1)
#define TAT_WORD(t) (UINT64_C(1) << 60 | ((t)&TAT_MASK))
#define TATX_WORD(t) (UINT64_C(1) << 59 | (((t) + 1) >> 1 & (TAT_MASK >> 1)))
/* Farther ahead than any bucket can be (it fills within 62 days): a scribble. */
#define TAT_AHEAD_MAX (UINT64_C(100) * 86400 * 16 * 1000000000)

/* The 60 bits recur after 834 days: the arrival time nearest to now, both in 1/16 ns. */
static inline uint64_t
tat_near(uint64_t tat, uint64_t now)
{
	uint64_t ahead = (tat - now) & TAT_MASK, ago = (now - tat) & TAT_MASK;

	if (ahead <= TAT_MASK / 2)
		return now + ahead;
	return ago < now ? now - ago : 0;
}

/* ---- blank: 00000 serial(29) tick(30) ---- */
#define BLANK(serial, tick) (((serial) & ((UINT64_C(1) << 29) - 1)) << 30 | (tick))
#define BLANK_TICK(w) ((w)&TICK_MASK)
#define BLANK_SERIAL(w) ((w) >> 30 & ((UINT64_C(1) << 29) - 1))

/* A bucket's period (ring word 1) while a conversion freezes it: 00000 1 cc(5) p(53) */
#define PERIOD_CLOSED(p, c) (UINT64_C(1) << 58 | ((c)&31) << 53 | ((p)&PERIOD_MASK))
#define PERIOD_IS_CLOSED(w) ((w) >> 58 == 1)
#define PERIOD_MASK ((UINT64_C(1) << 53) - 1)

enum word_kind { W_BLANK, W_TATX, W_TAT, W_CLOSED, W_WIDE, W_NARROW };

static inline enum word_kind
word_kind(uint64_t w)
{
	if (w >> 63)
		return W_NARROW;
	if (w >> 62)
		return W_WIDE;
	if (w >> 61)
		return W_CLOSED;
	if (w >> 60)
		return W_TAT;
	return w >> 59 ? W_TATX : W_BLANK;
}

/* ---- cache: tagged as the open word of t is; none: bit 60; frozen: bits 61 and 60 ---- */
#define CACHE_TAG(conv, tick) NARROW_TAG(conv, tick)
#define CACHE_VALID(w) ((w) >> 63 != 0)
#define CACHE_NONE(tick) (UINT64_C(1) << 60 | (tick))
#define CACHE_FROZEN(c, units) (UINT64_C(3) << 60 | ((c)&0xff) << 40 | (units))
#define CACHE_IS_FROZEN(w, c) ((w) >> 40 == (UINT64_C(3) << 20 | ((c)&0xff)))

/* ---- conv: f(36) c(8) stage(2) shape(18) ---- */
enum conv_stage { CONV_DONE = 0, CONV_FREEZE = 1, CONV_CARRY = 2, CONV_RESET = 3 };
#define FINE_NS (TICK_NS / 64)
#define FINE_MASK ((UINT64_C(1) << 36) - 1)
#define SHAPE_BITS 18
#define SHAPE_MASK ((UINT64_C(1) << SHAPE_BITS) - 1)
#define SHAPE_NONE 0u
#define CONV_WORD(fine, c, stage, shape) \
	((fine) << 28 | ((c)&0xff) << 20 | (uint64_t)(stage) << SHAPE_BITS | (shape))
#define CONV_FINE(w) ((w) >> 28)
#define CONV_COUNT(w) ((w) >> 20 & 0xff)
#define CONV_STAGE(w) ((enum conv_stage)((w) >> SHAPE_BITS & 3))
#define CONV_SHAPE(w) ((uint32_t)((w)&SHAPE_MASK))
#define CONV_SETTLED(w) ((w) & ((UINT64_C(1) << 20) - 1)) /* equals shape: settled on it */

/* ---- total: n(44) k(1) m(19) ---- */
#define TOTAL_SHIFT 20
#define TOTAL_ONE (UINT64_C(1) << TOTAL_SHIFT)
#define TOTAL_UNITS(w) ((w) >> TOTAL_SHIFT)
#define TOTAL_MARK(w) ((w) & (TOTAL_ONE - 1))
#define MARK_FOLD(i, tick) ((uint64_t)(i) << 15 | ((tick)&0x7fff))
#define MARK_CONV(c) (UINT64_C(1) << 19 | (UINT64_C(1) << 18) | ((c)&0xff))
#define MARK_CONV_ALL(c) (MARK_CONV(c) | 0x100) /* nothing of it is in the ring */
#define MARK_NONE (UINT64_C(1) << 19 | UINT64_C(0x7ff00))
#define MARK_BIRTH(birth) (UINT64_C(1) << 19 | ((birth)&0x3ffff))

/* ---- denied: n(36) birth mod 2^28(28): who counts late counts nothing of the next life ---- */
#define DENIED_ONE (UINT64_C(1) << 28)
#define DENIED_NONE(birth) ((birth) & (DENIED_ONE - 1))
#define DENIED_OF(w, birth) ((((w) ^ (birth)) & (DENIED_ONE - 1)) == 0)
#define DENIED_COUNT(w) ((w) >> 28)

/* ---- state: birth(30) attempt(30) st(4) ---- */
#define STATE_WORD(birth, attempt, st) ((birth) << 34 | (attempt) << 4 | (uint64_t)(st))
#define STATE_BIRTH(w) ((w) >> 34)
#define STATE_ATTEMPT(w) ((w) >> 4 & TICK_MASK)
#define STATE_ST(w) ((enum slot_st)((w)&15))

/* ---- bucket: version(36) slot+1(28) ---- */
#define REF_MASK ((UINT64_C(1) << 28) - 1)
#define BUCKET_REF(w) ((w)&REF_MASK)
#define BUCKET_NEXT(w, ref) (((w) & ~REF_MASK) + (REF_MASK + 1) + (ref))

/* ---- link: next+1(28) spare(12) keylen(8) limit(16) ---- */
#define LINK_WORD(next, len, limit) ((uint64_t)(next) << 36 | (uint64_t)(len) << 16 | (limit))
#define LINK_NEXT(w) ((w) >> 36)
#define LINK_LEN(w) ((uint32_t)((w) >> 16 & 0xff))
#define LINK_LIMIT(w) ((uint32_t)((w)&0xffff))

/* ---- link of a chunk: its number stands in the spare bits; 0: the key itself ---- */
#define LINK_CHUNK(w) ((uint32_t)((w) >> 24 & 0xfff))
#define LINK_OWN_LEN(w) ((uint32_t)((w) >> 16 & 0xfffff)) /* both: the length, if of chunk 0 */
#define CHUNK_LINK(next, chunk, len, limit) (LINK_WORD(next, len, limit) | (uint64_t)(chunk) << 24)

/* ---- permits; serials of blanks that one of each kind left behind ---- */
#define PERMIT_HELD 6u
#define PERMIT_KEPT 7u
#define HOLDER_BITS 24
#define HOLDER_MASK ((UINT64_C(1) << HOLDER_BITS) - 1)
#define HELD_WORD(holder, ttl, tick) \
	(UINT64_C(1) << 63 | (uint64_t)((ttl) >> 6 & 7) << 60 | (tick) << 30 | \
	    (uint64_t)((ttl)&63) << HOLDER_BITS | (holder))
#define HELD_HOLDER(w) ((w)&HOLDER_MASK)
#define HELD_TICK(w) ((w) >> 30 & TICK_MASK)
#define HELD_TTL(w) ((uint32_t)((w) >> 60 & 7) << 6 | (uint32_t)((w) >> HOLDER_BITS & 63))
#define KEPT_WORD(name, tick) (WIDE_TAG(tick) | ((name)&WIDE_MAX))
#define KEPT_NAME(w) ((w)&WIDE_MAX)

/* ---- cache of a concurrency cell: 0001 w 0.. cell(2) chunks(12) tick(30) ---- */
#define CHUNKS_WORD(chunks, cell, waited, tick) \
	(UINT64_C(1) << 60 | (uint64_t)(waited) << 59 | (uint64_t)(cell) << 42 | \
	    (uint64_t)(chunks) << 30 | (tick))
#define CHUNKS_TOLD(w) ((w) >> 60 == 1)
#define CHUNKS_CELL(w) ((uint32_t)((w) >> 42 & 3))
#define CHUNKS_OF(w) ((uint32_t)((w) >> 30 & 0xfff))
#define CHUNKS_WAITED(w) (((w) >> 59 & 1) != 0)

/* ---- link of an extra slot: owner+1(28) ones(12) birth(24); never that of a key ---- */
#define EXTRA_LINK(owner, birth) \
	(((uint64_t)(owner) + 1) << 36 | UINT64_C(0xfff) << 24 | ((birth)&UINT64_C(0xffffff)))

/* ---- resolved: version(32) ruleset(32) ---- */
#define RESOLVED_WORD(version, ruleset) ((uint64_t)(version) << 32 | (ruleset))

#endif
