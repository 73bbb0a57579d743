/*
 * lease.c - a key's permits: looking for a free one, taking it, giving it back, taking it away.
 *
 * Which permits may be taken under a limit of n is said in layout.h: those below the greatest
 * m <= n with m + (taken ones from m on) <= n.  A look goes down from the last permit, so that
 * one pass finds m and the lowest free permit below it.
 *
 * Words do not recur.  A permit's tick is never before the birth of its slot's life, and one
 * that becomes free is blanked with that tick; a life begins later than every word of the last
 * (retire.c waits 2 s, and for those that are kept, whose ticks are wide ones and whose blanks
 * say when they were released, three wide ticks).  Within a life the same word means the same.
 */
#include "lease.h"

#include <string.h>

#include "hash.h"
#include "queue.h"
#include "slot.h"
#include "words.h"

/* ---- times to live, names ---- */

uint32_t
lease_ttl_code(uint64_t ticks)
{
	uint32_t shift = 0;

	if (ticks < 32)
		return (uint32_t)ticks;
	while (ticks > UINT64_C(63) << shift)
		shift++;
	ticks = (ticks + (UINT64_C(1) << shift) - 1) >> shift;
	return shift > 14 ? 511 : (shift + 1) << 5 | (uint32_t)(ticks - 32);
}

uint64_t
lease_ttl_ticks(uint32_t code)
{
	code &= 511;
	return code < 32 ? code : (uint64_t)(32 + code % 32) << (code / 32 - 1);
}
static_assert(UINT64_C(63) << 14 > RATION_TTL_MAX * UINT64_C(1000000) / TICK_NS + 2,
    "the longest time to live has a code");

bool
lease_expired(uint64_t w, uint64_t now_ns)
{
	return word_kind(w) == W_NARROW && HELD_TTL(w) != 0 &&
	    tick_past(tick_of(now_ns), HELD_TICK(w), lease_ttl_ticks(HELD_TTL(w)));
}

uint64_t
lease_name(const void *name, size_t len)
{
	static const uint64_t key[2] = { UINT64_C(0x6e6f697461722d31),
		UINT64_C(0x656d616e2d74706b) };
	struct sip s;

	sip_init(&s, key);
	sip_bytes(&s, name, len);
	return sip_end(&s) & WIDE_MAX;
}

/* ---- chunks ---- */

uint32_t
lease_chunks(uint64_t cache)
{
	uint32_t n = CHUNKS_TOLD(cache) ? CHUNKS_OF(cache) : 1;

	return n < CHUNKS_MAX ? n : CHUNKS_MAX - 1;
}

static bool
find_chunk(const struct cell_ctx *x, const struct lease_key *k, uint32_t chunk, struct found *out)
{
	struct ident id = *k->id;

	if (chunk == 0) {
		out->slot = k->slot;
		out->birth = x->birth;
		return true;
	}
	id.chunk = chunk;
	ident_hash(x->seg, &id);
	return table_find(x->seg, &id, k->limit, out);
}

/* Let the key's cache say that permits up to this cell and chunk may be taken. */
static bool
tell(const struct cell_ctx *x, uint32_t chunk, uint32_t cell)
{
	word_t *p = &x->slot[SLOT_CELLS + CELL_CACHE];

	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t w = word_load(p);
		bool told = CHUNKS_TOLD(w);

		if (told && CHUNKS_OF(w) >= chunk && CHUNKS_CELL(w) >= cell)
			return true;
		/* After w: then it is of our life. */
		if (!in_life(x))
			return false;
		if (told && CHUNKS_OF(w) > chunk)
			chunk = CHUNKS_OF(w);
		if (told && CHUNKS_CELL(w) > cell)
			cell = CHUNKS_CELL(w);
		if (word_cas(p, w,
			CHUNKS_WORD(chunk, cell, told && CHUNKS_WAITED(w), tick_of(x->now_ns))))
			return true;
	}
	return false;
}

/* Which permits may be taken. */
struct extent {
	uint32_t chunks;
	uint32_t places; /* of each slot */
};

/*
 * A conversion leaves another word there: chunks that the key had while it was of leases before
 * are looked for.
 */
static struct extent
extent_of(const struct cell_ctx *x, const struct lease_key *k)
{
	uint64_t w = word_load(&x->slot[SLOT_CELLS + CELL_CACHE]);
	struct extent e = { lease_chunks(w), lease_places(x->seg) };
	struct found f;

	if (LIKELY(CHUNKS_TOLD(w))) {
		if (e.chunks == 0 && CHUNKS_CELL(w) < x->seg->cells)
			e.places = (CHUNKS_CELL(w) + 1) * RING_WORDS;
		return e;
	}
	for (e.chunks = 0; e.chunks + 1 < CHUNKS_MAX && find_chunk(x, k, e.chunks + 1, &f);)
		e.chunks++;
	if (x->writable)
		(void)tell(x, e.chunks, x->seg->cells - 1);
	return e;
}

int
lease_add_chunk(const struct cell_ctx *x, const struct lease_key *k, const struct permit *p)
{
	uint32_t shapes[CELLS_MAX];
	struct ident id = *k->id;
	struct found f;
	int e;

	if (p->chunk >= CHUNKS_MAX)
		return (int)RATION_R_FULL;
	if (!tell(x, p->chunk, x->seg->cells - 1))
		return 0;
	for (unsigned i = 0; i < CELLS_MAX; i++)
		shapes[i] = SHAPE_CONCURRENT;
	id.chunk = p->chunk;
	ident_hash(x->seg, &id);
	/* Never resolved: it is not a key of its own. */
	e = table_add(x->seg, &id, k->limit, 0, shapes, x->seg->cells, tick_of(x->now_ns), &f);
	return e == (int)RATION_R_FULL ? e : 0;
}

/* ---- looking ---- */

struct scan {
	uint64_t n, tick;
	uint64_t held;
	uint64_t first, last; /* ticks until the first one's time has passed, and the last one's */
	bool open;            /* below m */
	bool passed;          /* what has expired is free: nothing is taken from this look */
	bool found;
	bool endless; /* one has no time to live */
};

/* One word; i: the permit's number.  True: it may be taken. */
static inline bool
scan_word(struct scan *s, uint64_t i, uint64_t w)
{
	s->open |= i + 1 + s->held <= s->n;
	if (!lease_stands(w))
		return s->open;
	if (word_kind(w) == W_NARROW && HELD_TTL(w) != 0) {
		uint64_t ticks = lease_ttl_ticks(HELD_TTL(w)), left;

		if (s->passed && tick_past(s->tick, HELD_TICK(w), ticks))
			return s->open;
		left = (HELD_TICK(w) + ticks - s->tick) & TICK_MASK;
		s->first = left < s->first ? left : s->first;
		s->last = left > s->last ? left : s->last;
	} else {
		s->endless = true;
	}
	s->held++;
	return false;
}

/*
 * A permit's word.  One whose time has passed is blanked before it counts as free: else its
 * holder, who looked at the clock before, might renew it after we took another.
 */
static inline uint64_t
scan_load(const struct cell_ctx *y, uint64_t slot, uint32_t place)
{
	const word_t *at = lease_word(y->seg, slot, place);
	uint64_t w = word_load(at);

	if (LIKELY(!y->writable || !lease_expired(w, y->now_ns)))
		return w;
	if (lease_free(y->seg, slot, y->birth, place, w, y->now_ns) == 0)
		word_count(&y->seg->head->expired, 1);
	return word_load(at);
}

/*
 * The words of one slot, from the last to the first; then state and conv, so that what was read
 * is of this life and all of permits.
 */
static enum look_result
scan_slot(const struct cell_ctx *y, uint64_t slot, uint32_t chunk, uint32_t places, struct scan *s,
    struct permit *p)
{
	static const struct rate_def leases = { .kind = RATION_CONCURRENT,
		.shape = SHAPE_CONCURRENT };
	uint64_t base = (uint64_t)chunk * lease_places(y->seg);

	for (uint32_t place = places; place-- > 0;) {
		uint64_t w = scan_load(y, slot, place);

		if (!y->writable &&
		    CONV_SHAPE(cell_load(y, place / RING_WORDS, CELL_CONV)) != SHAPE_CONCURRENT)
			continue;
		if (!scan_word(s, base + place, w))
			continue;
		s->found = true;
		*p = (struct permit) { slot, y->birth, w, chunk, place };
	}
	if (!y->writable)
		return LOOK_FITS;
	if (!in_life(y))
		return LOOK_GONE;
	for (unsigned i = 0; i < y->seg->cells; i++) {
		enum look_result res;

		if (LIKELY(CONV_SETTLED(cell_load(y, i, CELL_CONV)) == SHAPE_CONCURRENT))
			continue;
		res = cell_convert(y, i, &leases, false);
		return res == LOOK_FITS ? LOOK_AGAIN : res;
	}
	return LOOK_FITS;
}

static enum look_result
scan_chunk(const struct cell_ctx *x, const struct lease_key *k, uint32_t chunk, uint32_t places,
    struct scan *s, struct permit *p)
{
	uint64_t base = (uint64_t)chunk * lease_places(x->seg);
	struct cell_ctx y = *x;
	enum look_result res;
	struct found f;

	if (chunk == 0)
		return scan_slot(x, k->slot, 0, places, s, p);
	if (!find_chunk(x, k, chunk, &f)) { /* all are free */
		s->open |= base + 1 + s->held <= s->n;
		s->found |= s->open;
		if (s->open)
			*p = (struct permit) { .slot = NO_SLOT, .chunk = chunk };
		return LOOK_FITS;
	}
	y.slot = segment_slot(x->seg, f.slot);
	y.birth = f.birth;
	res = scan_slot(&y, f.slot, chunk, places, s, p);
	if (res != LOOK_GONE)
		return res;
	(void)table_rescue(x->seg, f.slot, f.birth);
	return LOOK_AGAIN;
}

/* ---- all taken permits of a key, one after the other ---- */

typedef bool permit_visit(const struct cell_ctx *x, const struct permit *p, void *arg);

/* Until a visit says true; did one? */
static bool
visit(const struct cell_ctx *x, const struct lease_key *k, permit_visit *fn, void *arg)
{
	uint32_t chunks = extent_of(x, k).chunks;

	for (uint32_t c = 0; c <= chunks; c++) {
		struct found f;

		if (!find_chunk(x, k, c, &f))
			continue;
		for (uint32_t i = 0; i < lease_places(x->seg); i++) {
			struct permit p = { f.slot, f.birth,
				word_load(lease_word(x->seg, f.slot, i)), c, i };
			uint64_t conv = word_load(slot_cell(x->seg, f.slot, i / RING_WORDS));

			if (lease_stands(p.old) && CONV_SHAPE(conv) == SHAPE_CONCURRENT &&
			    fn(x, &p, arg))
				return true;
		}
	}
	return false;
}

/* ---- when there is room ---- */

struct ends {
	uint64_t ticks, n;
};

static bool
count_end(const struct cell_ctx *x, const struct permit *p, void *arg)
{
	struct ends *e = arg;
	uint64_t now = tick_of(x->now_ns), ticks = lease_ttl_ticks(HELD_TTL(p->old));

	if (word_kind(p->old) == W_NARROW && ticks != 0 &&
	    !tick_past(now, HELD_TICK(p->old), ticks) &&
	    ((HELD_TICK(p->old) + ticks - now) & TICK_MASK) <= e->ticks)
		e->n++;
	return false;
}

/* Ticks until `need` of the permits that are taken now have passed their times; 0: never. */
static uint64_t
nth_end(const struct cell_ctx *x, const struct lease_key *k, uint64_t need, const struct scan *s)
{
	uint64_t low = s->first, high = s->last;
	struct ends e = { high, 0 };

	if (s->first > s->last)
		return 0;
	if (need == 1)
		return s->first;
	(void)visit(x, k, count_end, &e);
	if (e.n < need)
		return 0;
	while (low < high) {
		e = (struct ends) { low + (high - low) / 2, 0 };
		(void)visit(x, k, count_end, &e);
		if (e.n >= need)
			high = e.ticks;
		else
			low = e.ticks + 1;
	}
	return low;
}

enum look_result
lease_look(const struct cell_ctx *x, const struct lease_key *k, uint64_t n, uint64_t before,
    struct permit *p, struct look *l)
{
	struct scan s = {
		.n = n, .tick = tick_of(x->now_ns), .first = UINT64_MAX, .passed = !x->writable
	};
	struct extent e = extent_of(x, k);
	uint64_t tick_ns = x->now_ns / TICK_NS * TICK_NS, ticks, beyond = 0;

	memset(l, 0, sizeof(*l));
	/* The first of the next cell; before scan_slot() looks whether it is of this life. */
	if (e.places < lease_places(x->seg))
		beyond = word_load(lease_word(x->seg, k->slot, e.places));
	for (uint32_t c = e.chunks + 1; c-- > 0;) {
		enum look_result res = scan_chunk(x, k, c, e.places, &s, p);

		if (res != LOOK_FITS)
			return res;
	}
	if (!s.found && n > (uint64_t)(e.chunks + 1) * e.places) {
		s.found = true;
		if (lease_stands(beyond))
			return LOOK_AGAIN;
		*p = e.places < lease_places(x->seg)
		    ? (struct permit) { k->slot, x->birth, beyond, 0, e.places }
		    : (struct permit) { .slot = NO_SLOT, .chunk = e.chunks + 1 };
	}
	l->used = s.held;
	l->edge_ns = s.endless || s.held == 0 ? x->now_ns : tick_ns + s.last * TICK_NS;
	if (s.found && s.held + before < n)
		return LOOK_FITS;
	ticks = n > before ? nth_end(x, k, s.held + before + 1 - n, &s) : 0;
	l->next = ticks != 0 ? tick_ns + ticks * TICK_NS : 0;
	return LOOK_DENIES;
}

/* ---- taking ---- */

void
lease_mark(const struct segment *seg, uint64_t slot)
{
	/* Sequentially consistent: after the CAS on the permit; pairs with lease_unmark(). */
	if ((atomic_load_explicit(&seg->leases[slot / 64], memory_order_seq_cst) >> (slot % 64) &
		1) == 0)
		(void)atomic_fetch_or_explicit(
		    &seg->leases[slot / 64], UINT64_C(1) << (slot % 64), memory_order_seq_cst);
}

void
lease_mark_taken(const struct segment *seg, uint64_t slot)
{
	for (uint32_t i = 0; i < lease_places(seg); i++)
		if (lease_stands(word_load(lease_word(seg, slot, i))) &&
		    CONV_SHAPE(word_load(slot_cell(seg, slot, i / RING_WORDS))) ==
			SHAPE_CONCURRENT) {
			lease_mark(seg, slot);
			return;
		}
}

/* The bit first: who takes a permit after we have looked finds it cleared, and sets it. */
void
lease_unmark(const struct segment *seg, uint64_t slot)
{
	(void)atomic_fetch_and_explicit(
	    &seg->leases[slot / 64], ~(UINT64_C(1) << (slot % 64)), memory_order_seq_cst);
	lease_mark_taken(seg, slot);
}

/* The tick of a word in this life. */
static uint64_t
life_tick(uint64_t now_ns, uint64_t birth)
{
	uint64_t tick = tick_of(now_ns);

	return tick_diff(tick, birth) < 0 ? birth : tick;
}

static uint64_t
wanted_word(const struct lease_want *want, uint64_t now_ns, uint64_t birth)
{
	uint64_t tick = life_tick(now_ns, birth), end;
	uint32_t code = 0;

	if (want->kept)
		return KEPT_WORD(want->name, tick);
	if (want->ttl_ms != 0) {
		end = now_ns + want->ttl_ms * 1000000;
		code = lease_ttl_code(end / TICK_NS + (end % TICK_NS != 0) - now_ns / TICK_NS);
	}
	return HELD_WORD(want->holder, code, tick);
}

static uint64_t
blank_of(uint64_t word, uint64_t now_ns, uint64_t birth)
{
	return word_kind(word) == W_NARROW ? BLANK(PERMIT_HELD, HELD_TICK(word))
					   : BLANK(PERMIT_KEPT, life_tick(now_ns, birth));
}

bool
lease_take(const struct cell_ctx *x, const struct lease_key *k, const struct permit *p,
    const struct lease_want *want, uint64_t *word)
{
	word_t *at = lease_word(x->seg, p->slot, p->place);
	uint64_t state;

	*word = wanted_word(want, x->now_ns, p->birth);
	if (p->chunk == 0 && p->place >= RING_WORDS && !tell(x, 0, p->place / RING_WORDS))
		return false;
	/* Before: rationd finds it though we be killed.  After: it may have been cleared since. */
	lease_mark(x->seg, p->slot);
	if (!word_cas(at, p->old, *word))
		return false;
	lease_mark(x->seg, p->slot);
	if (p->chunk == 0)
		return true;
	/* Had chunk 0 been retired before rationd could find this one, we see it (layout.h). */
	state = word_load(&x->slot[SLOT_STATE]);
	if (STATE_BIRTH(state) == x->birth &&
	    (STATE_ST(state) == ST_LIVE || STATE_ST(state) == ST_READY))
		return true;
	if (table_rescue(x->seg, k->slot, x->birth))
		return true;
	(void)word_cas(at, *word, blank_of(*word, x->now_ns, p->birth));
	return false;
}

/* ---- giving back ---- */

/* Chunk 0 of the key that this slot is a chunk of. */
static bool
find_first(const struct segment *seg, uint64_t slot, uint32_t limit, struct found *out)
{
	unsigned char key[256];
	struct limit_def def;
	struct policy_ref p;
	struct ident id = { 0 };
	int len = table_slot_key(seg, slot, key);

	for (unsigned tries = 0; len > 0 && tries < 64; tries++) {
		bool found;

		if (!policy_current(seg->policy, &p))
			return false;
		found = policy_limit(&p, limit, &def);
		id.limit = policy_string(&p, found ? def.name : 0, &id.limit_len);
		id.key = key;
		id.key_len = (size_t)len;
		ident_hash(seg, &id);
		/* Else hashed by another name. */
		if (policy_intact(&p))
			return found && table_find(seg, &id, limit, out);
	}
	return false;
}

/* Wake who waits for the key of this slot, be it a chunk. */
static void
wake(const struct segment *seg, uint64_t slot, uint64_t birth)
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t link = word_load(&s[SLOT_LINK]), cache;
	struct found f = { .slot = slot, .birth = birth };

	if (LINK_CHUNK(link) != 0) {
		if (!find_first(seg, slot, LINK_LIMIT(link), &f))
			return;
		s = segment_slot(seg, f.slot);
	}
	cache = word_load(&s[SLOT_CELLS + CELL_CACHE]);
	if (CHUNKS_TOLD(cache) && CHUNKS_WAITED(cache))
		queue_wake(seg, f.slot, f.birth);
}

int
lease_free(const struct segment *seg, uint64_t slot, uint64_t birth, uint32_t place, uint64_t word,
    uint64_t now_ns)
{
	if (slot >= seg->nslots || place >= lease_places(seg) || !lease_stands(word))
		return RATION_EINVAL;
	if (STATE_BIRTH(word_load(&segment_slot(seg, slot)[SLOT_STATE])) != birth ||
	    !word_cas(lease_word(seg, slot, place), word, blank_of(word, now_ns, birth)))
		return RATION_ESTALE;
	wake(seg, slot, birth);
	return 0;
}

int
lease_renew(const struct segment *seg, uint64_t slot, uint64_t birth, uint32_t place, uint64_t word,
    uint64_t ttl_ms, uint64_t now_ns, uint64_t *renewed)
{
	const struct lease_want want = { .holder = HELD_HOLDER(word), .ttl_ms = ttl_ms };

	if (slot >= seg->nslots || place >= lease_places(seg) || word_kind(word) != W_NARROW)
		return RATION_EINVAL;
	*renewed = wanted_word(&want, now_ns, birth);
	return STATE_BIRTH(word_load(&segment_slot(seg, slot)[SLOT_STATE])) == birth &&
		word_cas(lease_word(seg, slot, place), word, *renewed)
	    ? 0
	    : RATION_ESTALE;
}

int
lease_refund(const struct cell_ctx *x, const ration_receipt_t *rc)
{
	return lease_free(x->seg, rc->slot, rc->birth,
	    WHERE_CELL(rc->where) * RING_WORDS + WHERE_WORD(rc->where), rc->units, x->now_ns);
}

void
lease_waited(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns)
{
	word_t *p = slot_cell(seg, slot, 0) + CELL_CACHE;

	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t w = word_load(p);

		if ((CHUNKS_TOLD(w) && CHUNKS_WAITED(w)) ||
		    STATE_BIRTH(word_load(&segment_slot(seg, slot)[SLOT_STATE])) != birth)
			return;
		if (word_cas(p, w,
			CHUNKS_TOLD(w) ? w | CHUNKS_WORD(0, 0, true, UINT64_C(0))
				       : CHUNKS_WORD(0, CELLS_MAX - 1, true, tick_of(now_ns))))
			return;
	}
}

struct visited {
	struct holder_look look;
	uint32_t own;
	unsigned n;
	uint64_t name;
	uint32_t known[256]; /* holder number << 1 | dead */
};

static bool
reap_one(const struct cell_ctx *x, const struct permit *p, void *arg)
{
	struct visited *v = arg;
	uint32_t holder = HELD_HOLDER(p->old), *known = &v->known[holder % 256];

	if (word_kind(p->old) != W_NARROW || holder == v->own)
		return false;
	if (*known >> 1 != holder || *known == 0)
		*known = holder << 1 | holder_dead(&v->look, holder);
	if ((*known & 1) != 0 &&
	    lease_free(x->seg, p->slot, p->birth, p->place, p->old, x->now_ns) == 0)
		v->n++;
	return false;
}

unsigned
lease_reap(
    const struct cell_ctx *x, const struct lease_key *k, const struct paths *paths, uint32_t own)
{
	struct visited v = { .look = holder_look_begin(paths), .own = own };

	if (v.look.fd == -1)
		return 0;
	(void)visit(x, k, reap_one, &v);
	holder_look_end(&v.look);
	if (v.n != 0)
		word_count(&x->seg->head->reaped, v.n);
	return v.n;
}

static bool
reset_one(const struct cell_ctx *x, const struct permit *p, void *arg)
{
	(void)arg;
	(void)lease_free(x->seg, p->slot, p->birth, p->place, p->old, x->now_ns);
	return false;
}

void
lease_reset(const struct cell_ctx *x, const struct lease_key *k)
{
	(void)visit(x, k, reset_one, NULL);
}

static bool
free_kept(const struct cell_ctx *x, const struct permit *p, void *arg)
{
	return word_kind(p->old) == W_WIDE && KEPT_NAME(p->old) == *(uint64_t *)arg &&
	    lease_free(x->seg, p->slot, p->birth, p->place, p->old, x->now_ns) == 0;
}

int
lease_release_kept(const struct cell_ctx *x, const struct lease_key *k, uint64_t name)
{
	return visit(x, k, free_kept, &name) ? 0 : RATION_ESTALE;
}

/* ---- rationd ---- */

int
lease_keep(const struct segment *seg, const struct policy_ref *p, uint32_t limit, const void *key,
    size_t len, uint64_t name, uint64_t now_ns)
{
	struct cell_ctx x = {
		.seg = seg, .policy = p, .now_ns = now_ns, .precise = true, .writable = true
	};
	const struct lease_want want = { .kept = true, .name = name };
	uint32_t shapes[CELLS_MAX];
	struct ident id = { .key = key, .key_len = len };
	struct limit_def l;
	struct found f;
	uint64_t word;

	if (!policy_limit(p, limit, &l))
		return RATION_ENOLIMIT;
	id.limit = policy_string(p, l.name, &id.limit_len);
	ident_hash(seg, &id);
	for (unsigned i = 0; i < CELLS_MAX; i++)
		shapes[i] = SHAPE_CONCURRENT;
	for (unsigned tries = 0; tries < 256; tries++) {
		struct lease_key k = { &id, limit, 0 };
		struct permit permit;
		struct look look;

		if (table_add(seg, &id, limit, 0, shapes, seg->cells, tick_of(now_ns), &f) ==
		    (int)RATION_R_FULL)
			return (int)RATION_R_FULL;
		k.slot = f.slot;
		x.slot = segment_slot(seg, f.slot);
		x.birth = f.birth;
		switch (lease_look(&x, &k, SLOTS_MAX * RING_WORDS, 0, &permit, &look)) {
		case LOOK_FITS:
			if (permit.slot == NO_SLOT) {
				if (lease_add_chunk(&x, &k, &permit) != 0)
					return (int)RATION_R_FULL;
			} else if (lease_take(&x, &k, &permit, &want, &word)) {
				return 0;
			}
			continue;
		case LOOK_GONE:
			(void)table_rescue(seg, f.slot, f.birth);
			continue;
		default:
			continue;
		}
	}
	return RATION_EBUSY;
}
