#include "table.h"

#include <string.h>

#include "atomics.h"
#include "hash.h"
#include "slot.h"

static uint64_t
fast_range(uint64_t hash, uint64_t n)
{
	return (uint64_t)((unsigned __int128)hash * n >> 64);
}

void
ident_hash(const struct segment *seg, struct ident *id)
{
	struct sip s;

	sip_init(&s, seg->secret);
	sip_bytes(&s, (const unsigned char *)id->limit, id->limit_len);
	sip_bytes(&s, id->key, id->key_len);
	if (id->chunk != 0)
		sip_word(&s, id->chunk);
	id->hash = sip_end(&s);
}

uint64_t
table_bucket(const struct segment *seg, uint64_t hash)
{
	return fast_range(hash, seg->nbuckets);
}

/*
 * A key is put into the slot of its own hash if that is free, so that a lookup
 * can ask for bucket and slot at the same time.
 */
void
table_prefetch(const struct segment *seg, uint64_t hash)
{
	const word_t *s = segment_slot(seg, fast_range(hash, seg->nslots));

	__builtin_prefetch(&seg->buckets[fast_range(hash, seg->nbuckets)]);
	__builtin_prefetch(s);
	__builtin_prefetch(s + 8);
	__builtin_prefetch(s + 16);
	__builtin_prefetch(s + 24);
}

/* ---- keys ---- */

static uint64_t
bytes_word(const unsigned char *key, size_t len, size_t i)
{
	uint64_t w;

	if (len >= i * 8 + 8) {
		memcpy(&w, key + i * 8, 8);
		return w;
	}
	return len > i * 8 ? tail_word(key + i * 8, len - i * 8) : 0;
}

/* Bytes of a long key beyond the inline ones, in an extra slot's words. */
static uint64_t
extra_bytes(const struct segment *seg)
{
	return (seg->stride - SLOT_KEY) * 8;
}

/* Does extra slot number ref - 1 hold len bytes from b on? */
static bool
extra_equal(const struct segment *seg, uint64_t ref, const unsigned char *b, size_t len)
{
	const word_t *s;

	if (ref == 0 || ref > seg->nslots)
		return false;
	s = segment_slot(seg, ref - 1);
	for (size_t i = 0; i * 8 < len; i++)
		if (word_load(&s[SLOT_KEY + i]) != bytes_word(b, len, i))
			return false;
	return true;
}

static bool
key_equal(const struct segment *seg, const word_t *s, const struct ident *id)
{
	size_t len = id->key_len, first, inline_bytes = KEY_INLINE_WORDS * 8;
	uint64_t refs;

	if (len <= inline_bytes) {
		for (size_t i = 0; i * 8 < len; i++)
			if (word_load(&s[SLOT_KEY + i]) != bytes_word(id->key, len, i))
				return false;
		return true;
	}
	inline_bytes -= 8;
	for (size_t i = 0; i < KEY_INLINE_WORDS - 1; i++)
		if (word_load(&s[SLOT_KEY + i]) != bytes_word(id->key, len, i))
			return false;
	refs = word_load(&s[SLOT_KEY + KEY_INLINE_WORDS - 1]);
	len -= inline_bytes;
	first = len < extra_bytes(seg) ? len : extra_bytes(seg);
	if (!extra_equal(seg, refs >> 32, id->key + inline_bytes, first))
		return false;
	return first == len ||
	    extra_equal(seg, refs & UINT32_MAX, id->key + inline_bytes + first, len - first);
}

static bool
limit_equal(const struct policy_ref *p, uint32_t limit, const struct ident *id)
{
	struct limit_def l;
	size_t len;
	const char *name;

	if (!policy_limit(p, limit, &l) || l.name_len != id->limit_len)
		return false;
	name = policy_string(p, l.name, &len);
	return len == id->limit_len && memcmp(name, id->limit, len) == 0;
}

/* ---- finding ---- */

static bool
st_reachable(enum slot_st st)
{
	return st == ST_LIVE || st == ST_READY || st == ST_RETIRING;
}

enum walk { WALK_FOUND, WALK_ABSENT, WALK_TORN };

/*
 * One walk down the list.  TORN: a slot was reused under us, or the list is
 * longer than a list can be.
 */
static enum walk
walk(const struct segment *seg, const struct policy_ref *p, const struct ident *id,
    uint32_t limit_id, uint64_t head, struct found *out)
{
	uint64_t ref = BUCKET_REF(head);

	for (unsigned hop = 0; hop < CHAIN_MAX; hop++) {
		const word_t *s;
		uint64_t state, link;
		bool same;

		if (ref == 0)
			return WALK_ABSENT;
		if (ref > seg->nslots)
			return WALK_TORN;
		s = segment_slot(seg, ref - 1);
		state = word_load(&s[SLOT_STATE]);
		link = word_load(&s[SLOT_LINK]);
		same = LINK_LEN(link) == id->key_len && LINK_CHUNK(link) == id->chunk &&
		    st_reachable(STATE_ST(state)) &&
		    (p != NULL ? limit_equal(p, LINK_LIMIT(link), id)
			       : LINK_LIMIT(link) == limit_id) &&
		    key_equal(seg, s, id);
		/* Still the same life: then what was read belongs together. */
		if (UNLIKELY(STATE_BIRTH(word_load(&s[SLOT_STATE])) != STATE_BIRTH(state) ||
			STATE_ST(state) == ST_FREE || STATE_ST(state) == ST_MAKING ||
			STATE_ST(state) == ST_EXTRA))
			return WALK_TORN;
		if (same) {
			out->slot = ref - 1;
			out->birth = STATE_BIRTH(state);
			return WALK_FOUND;
		}
		ref = LINK_NEXT(link);
	}
	return WALK_TORN;
}

static enum walk
find(const struct segment *seg, const struct policy_ref *p, const struct ident *id,
    uint32_t limit_id, struct found *out)
{
	const word_t *b = &seg->buckets[fast_range(id->hash, seg->nbuckets)];
	enum walk r = WALK_TORN;

	out->slot = NO_SLOT;
	out->birth = 0;
	for (unsigned tries = 0; tries < 8; tries++) {
		out->bucket = word_load(b);
		r = walk(seg, p, id, limit_id, out->bucket, out);
		/* Not there: unless a slot that we stood on went to another list meanwhile. */
		if (r == WALK_FOUND || (r == WALK_ABSENT && word_load(b) == out->bucket))
			return r;
	}
	return r;
}

bool
table_find(const struct segment *seg, const struct ident *id, uint32_t limit_id, struct found *out)
{
	return find(seg, NULL, id, limit_id, out) == WALK_FOUND;
}

bool
table_find_named(const struct segment *seg, const struct policy_ref *p, const struct ident *id,
    struct found *out)
{
	return find(seg, p, id, 0, out) == WALK_FOUND;
}

bool
table_rescue(const struct segment *seg, uint64_t slot, uint64_t birth)
{
	word_t *s = segment_slot(seg, slot);

	for (unsigned tries = 0; tries < 8; tries++) {
		uint64_t state = word_load(&s[SLOT_STATE]);

		if (STATE_BIRTH(state) != birth)
			return false;
		if (STATE_ST(state) == ST_LIVE || STATE_ST(state) == ST_READY)
			return true;
		if (STATE_ST(state) != ST_RETIRING)
			return false;
		if (word_cas(
			&s[SLOT_STATE], state, STATE_WORD(birth, STATE_ATTEMPT(state), ST_LIVE))) {
			word_count(&seg->head->rescues, 1);
			return true;
		}
	}
	return false;
}

/* ---- adding ---- */

#define SCAN_WORDS 32768u /* of the bitmap: two million slots */

static bool
take(const struct segment *seg, uint64_t n, uint64_t tick, uint64_t *birth)
{
	word_t *s = segment_slot(seg, n);
	uint64_t state = word_load(&s[SLOT_STATE]);

	if (STATE_ST(state) != ST_FREE)
		return false;
	*birth = STATE_BIRTH(state);
	if (!word_cas(&s[SLOT_STATE], state, STATE_WORD(*birth, tick, ST_MAKING)))
		return false;
	(void)atomic_fetch_and_explicit(
	    &seg->bitmap[n / 64], ~(UINT64_C(1) << (n % 64)), memory_order_relaxed);
	return true;
}

/* A free slot, near its home if there is one; NO_SLOT: none. */
static uint64_t
allocate(const struct segment *seg, uint64_t home, uint64_t tick, uint64_t *birth)
{
	uint64_t words = (seg->nslots + 63) / 64, at = home / 64;
	uint64_t n = words < SCAN_WORDS ? words : SCAN_WORDS;

	if (take(seg, home, tick, birth))
		return home;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t bits = word_load(&seg->bitmap[at]);

		while (bits != 0) {
			uint64_t slot = at * 64 + (unsigned)__builtin_ctzll(bits);

			if (slot < seg->nslots && take(seg, slot, tick, birth))
				return slot;
			/* A hint that does not hold; rationd puts right what we clear too much. */
			(void)atomic_fetch_and_explicit(
			    &seg->bitmap[at], ~(bits & -bits), memory_order_relaxed);
			bits &= bits - 1;
		}
		at = at + 1 == words ? 0 : at + 1;
	}
	return NO_SLOT;
}

/* Give a slot up that was never linked: rationd takes it back. */
static void
abandon(const struct segment *seg, uint64_t slot, uint64_t birth)
{
	word_t *s = segment_slot(seg, slot);
	uint64_t state = word_load(&s[SLOT_STATE]);

	if (STATE_BIRTH(state) == birth &&
	    (STATE_ST(state) == ST_MAKING || STATE_ST(state) == ST_READY ||
		STATE_ST(state) == ST_EXTRA))
		(void)word_cas(
		    &s[SLOT_STATE], state, STATE_WORD(birth, STATE_ATTEMPT(state), ST_GONE));
}

/*
 * len bytes into an extra slot; its number + 1, 0: no room.  Words are written by
 * CAS from what the slot's birth put there, so a writer who was stopped for long
 * fails instead of writing into another life.
 */
static uint64_t
write_extra(const struct segment *seg, uint64_t owner, uint64_t owner_birth, const unsigned char *b,
    size_t len, uint64_t tick)
{
	uint64_t birth, slot = allocate(seg, owner, tick, &birth);
	word_t *s;

	if (slot == NO_SLOT)
		return 0;
	s = segment_slot(seg, slot);
	for (size_t i = 0; i * 8 < len; i++) {
		uint64_t old = slot_initial(seg, slot, birth, (unsigned)(SLOT_KEY + i));

		if (!word_cas(&s[SLOT_KEY + i], old, bytes_word(b, len, i))) {
			abandon(seg, slot, birth);
			return 0;
		}
	}
	if (!word_cas(&s[SLOT_LINK], slot_initial(seg, slot, birth, SLOT_LINK),
		EXTRA_LINK(owner, owner_birth)) ||
	    !word_cas(&s[SLOT_STATE], STATE_WORD(birth, tick, ST_MAKING),
		STATE_WORD(birth, tick, ST_EXTRA)))
		return 0;
	return slot + 1;
}

static bool
write_word(const struct segment *seg, uint64_t slot, uint64_t birth, unsigned i, uint64_t value)
{
	word_t *s = segment_slot(seg, slot);

	return word_cas(&s[SLOT_KEY + i], slot_initial(seg, slot, birth, SLOT_KEY + i), value);
}

static bool
write_key(
    const struct segment *seg, uint64_t slot, uint64_t birth, const struct ident *id, uint64_t tick)
{
	size_t len = id->key_len, first, inline_bytes = KEY_INLINE_WORDS * 8;
	uint64_t a, b = 0;

	if (len <= inline_bytes) {
		for (size_t i = 0; i * 8 < len; i++)
			if (!write_word(seg, slot, birth, (unsigned)i, bytes_word(id->key, len, i)))
				return false;
		return true;
	}
	inline_bytes -= 8;
	for (unsigned i = 0; i < KEY_INLINE_WORDS - 1; i++)
		if (!write_word(seg, slot, birth, i, bytes_word(id->key, len, i)))
			return false;
	len -= inline_bytes;
	first = len < extra_bytes(seg) ? len : extra_bytes(seg);
	a = write_extra(seg, slot, birth, id->key + inline_bytes, first, tick);
	if (a != 0 && first < len)
		b = write_extra(
		    seg, slot, birth, id->key + inline_bytes + first, len - first, tick);
	if (a == 0 || (first < len && b == 0)) {
		/* What was taken is an EXTRA nobody refers to: rationd finds it. */
		return false;
	}
	return write_word(seg, slot, birth, KEY_INLINE_WORDS - 1, a << 32 | b);
}

/* Everything but the link.  False: no room, or the slot was taken away. */
static bool
make(const struct segment *seg, uint64_t slot, uint64_t birth, const struct ident *id,
    uint64_t resolved, const uint32_t *shapes, uint32_t ncells, uint64_t tick)
{
	word_t *s = segment_slot(seg, slot);

	if (!write_key(seg, slot, birth, id, tick))
		return false;
	if (resolved != 0) /* else: never */
		(void)word_cas(
		    &s[SLOT_RESOLVED], slot_initial(seg, slot, birth, SLOT_RESOLVED), resolved);
	for (uint32_t i = 0; i < ncells && i < seg->cells; i++) {
		word_t *conv = &s[SLOT_CELLS + i * CELL_WORDS + CELL_CONV];
		uint64_t old = slot_initial(
		    seg, slot, birth, (unsigned)(SLOT_CELLS + i * CELL_WORDS + CELL_CONV));

		if (!word_cas(conv, old,
			CONV_WORD(tick << 6 & FINE_MASK, UINT64_C(1), CONV_DONE, shapes[i])))
			return false;
	}
	return true;
}

/*
 * Link the finished slot, unless the key turns up meanwhile.  The link is written once, from
 * the filler of this life: a second value could be that of the slot's next life too, so
 * who loses the bucket to another adder gives the slot up and takes a new one.
 */
static int
link_slot(const struct segment *seg, uint64_t slot, uint64_t birth, const struct ident *id,
    uint32_t limit_id, uint64_t tick, struct found *out)
{
	word_t *s = segment_slot(seg, slot);
	word_t *bucket = &seg->buckets[fast_range(id->hash, seg->nbuckets)];
	uint64_t ready = STATE_WORD(birth, tick, ST_READY), filler;
	struct found f;
	enum walk r = find(seg, NULL, id, limit_id, &f);

	if (r == WALK_FOUND) {
		abandon(seg, slot, birth);
		*out = f;
		return 0;
	}
	filler = slot_initial(seg, slot, birth, SLOT_LINK);
	if (r == WALK_ABSENT &&
	    word_cas(&s[SLOT_LINK], filler,
		CHUNK_LINK(BUCKET_REF(f.bucket), id->chunk, id->key_len, limit_id)) &&
	    word_cas(&s[SLOT_STATE], STATE_WORD(birth, tick, ST_MAKING), ready)
	    /*
	     * After the bucket was read: had rationd taken the slot back before, it would
	     * have counted the bucket's version up since (sweep_halfmade).
	     */
	    && word_load(&s[SLOT_STATE]) == ready &&
	    word_cas(bucket, f.bucket, BUCKET_NEXT(f.bucket, slot + 1))) {
		(void)word_cas(&s[SLOT_STATE], ready, STATE_WORD(birth, tick, ST_LIVE));
		out->slot = slot;
		out->birth = birth;
		return 0;
	}
	abandon(seg, slot, birth);
	return RATION_EBUSY;
}

#define ADDS_MAX 16u /* each lost to somebody who changed the same list */

int
table_add(const struct segment *seg, const struct ident *id, uint32_t limit_id, uint64_t resolved,
    const uint32_t *shapes, uint32_t ncells, uint64_t tick, struct found *out)
{
	for (unsigned tries = 0; tries < ADDS_MAX; tries++) {
		uint64_t birth, slot;
		int e;

		if (find(seg, NULL, id, limit_id, out) == WALK_FOUND)
			return 0;
		slot = allocate(seg, fast_range(id->hash, seg->nslots), tick, &birth);
		if (slot == NO_SLOT)
			return (int)RATION_R_FULL;
		if (!make(seg, slot, birth, id, resolved, shapes, ncells, tick)) {
			abandon(seg, slot, birth);
			continue;
		}
		e = link_slot(seg, slot, birth, id, limit_id, tick, out);
		if (e == 0) {
			if (id->chunk == 0)
				word_count(&seg->limits[limit_id % LIMITS_MAX].keys, 1);
			return 0;
		}
	}
	return (int)RATION_R_FULL;
}

/* ---- listing ---- */

static void
copy_words(const struct segment *seg, uint64_t slot, unsigned from, unsigned char *dst, size_t len)
{
	const word_t *s = segment_slot(seg, slot);

	for (size_t i = 0; i * 8 < len; i++) {
		uint64_t w = word_load(&s[from + i]);
		size_t n = len - i * 8 < 8 ? len - i * 8 : 8;

		memcpy(dst + i * 8, &w, n);
	}
}

/* Is this what a slot's link may look like?  Key words are read after it. */
int
table_slot_key(const struct segment *seg, uint64_t slot, unsigned char key[256])
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t link = word_load(&s[SLOT_LINK]), refs;
	size_t len = LINK_LEN(link), rest, first, inline_bytes = KEY_INLINE_WORDS * 8;

	if (len == 0 || LINK_LIMIT(link) >= LIMITS_MAX || LINK_CHUNK(link) > CHUNKS_MAX)
		return -1;
	if (len <= inline_bytes) {
		copy_words(seg, slot, SLOT_KEY, key, len);
	} else {
		inline_bytes -= 8;
		copy_words(seg, slot, SLOT_KEY, key, inline_bytes);
		refs = word_load(&s[SLOT_KEY + KEY_INLINE_WORDS - 1]);
		rest = len - inline_bytes;
		first = rest < extra_bytes(seg) ? rest : extra_bytes(seg);
		if (refs >> 32 == 0 || refs >> 32 > seg->nslots ||
		    (refs & UINT32_MAX) > seg->nslots || (first < rest && (refs & UINT32_MAX) == 0))
			return -1;
		copy_words(seg, (refs >> 32) - 1, SLOT_KEY, key + inline_bytes, first);
		if (first < rest)
			copy_words(seg, (refs & UINT32_MAX) - 1, SLOT_KEY,
			    key + inline_bytes + first, rest - first);
	}
	key[len] = '\0';
	return (int)len;
}

int
table_key(const struct segment *seg, uint64_t slot, unsigned char key[256], uint32_t *limit,
    uint64_t *birth)
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t state = word_load(&s[SLOT_STATE]), link = word_load(&s[SLOT_LINK]);
	int len;

	if (!st_reachable(STATE_ST(state)) || LINK_CHUNK(link) != 0)
		return -1;
	len = table_slot_key(seg, slot, key);
	*limit = LINK_LIMIT(link);
	*birth = STATE_BIRTH(state);
	return STATE_BIRTH(word_load(&s[SLOT_STATE])) == *birth ? len : -1;
}
