/*
 * hint.h - from a key to its slot, guessed.
 *
 * A handle remembers where it last found the keys of a hash (handle.h): the slot and the ring
 * word that was charged.  Whatever is remembered is compared in full before it is used, so a
 * hint may be of any age, of another key or wrong.
 */
#ifndef RATION_HINT_H
#define RATION_HINT_H

#include <string.h>

#include "short.h"

SHORT uint64_t
load64(const unsigned char *b)
{
	uint64_t w;

	memcpy(&w, b, sizeof(w));
	return w;
}

/*
 * strlen(), inline: a call costs a quarter of the whole short way.  Aligned blocks of 16, so
 * that no page is touched but the string's own.
 */
#if defined(__has_feature) /* clang says so in this way, gcc in the other */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif
#if defined(__SSE2__) && !defined(SANITIZED) /* they mind what is beside the string */
#include <emmintrin.h>
SHORT size_t
short_len(const char *s)
{
	const char *block = (const char *)((uintptr_t)s & ~(uintptr_t)15);
	const __m128i zero = _mm_setzero_si128();
	unsigned bits = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(
			    _mm_load_si128((const __m128i *)(const void *)block), zero)) >>
	    ((uintptr_t)s & 15);

	if (bits != 0)
		return (size_t)__builtin_ctz(bits);
	for (;;) {
		block += 16;
		bits = (unsigned)_mm_movemask_epi8(
		    _mm_cmpeq_epi8(_mm_load_si128((const __m128i *)(const void *)block), zero));
		if (bits != 0)
			return (size_t)(block - s) + (size_t)__builtin_ctz(bits);
	}
}
#else
#define short_len(s) strlen(s)
#endif

/* A short key as the words that stand in its slot. */
struct short_key {
	uint64_t w[KEY_INLINE_WORDS];
};
static_assert(KEY_INLINE_WORDS == 4, "short_key() and key_is() write the words out");

/*
 * The length is only branched on: it comes late, from strlen().  Words beyond it are
 * 0; longer keys are cut, and never have a hint.
 */
SHORT struct short_key
short_key(const unsigned char *key, size_t len)
{
	struct short_key k = { { 0, 0, 0, 0 } };

	if (len >= 32) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		k.w[2] = load64(key + 16);
		k.w[3] = load64(key + 24);
	} else if (len >= 24) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		k.w[2] = load64(key + 16);
		if (len != 24)
			k.w[3] = tail_word(key + 24, len);
	} else if (len >= 16) {
		k.w[0] = load64(key);
		k.w[1] = load64(key + 8);
		if (len != 16)
			k.w[2] = tail_word(key + 16, len);
	} else if (len >= 8) {
		k.w[0] = load64(key);
		if (len != 8)
			k.w[1] = tail_word(key + 8, len);
	} else {
		k.w[0] = tail_word(key, len);
	}
	return k;
}

/*
 * Hash of a key for hints: quick, and of no consequence when keys collide.  The top ten
 * bits say which hint, 22 below them stand in the hint: a key that has none is known
 * without a look at another key's slot.
 */
SHORT uint64_t
hint_of(const char *limit, const struct short_key *k)
{
	uint64_t h = (uint64_t)(uintptr_t)limit ^ k->w[0];

	h ^= rotl64(k->w[1], 23) ^ rotl64(k->w[2], 41) ^ rotl64(k->w[3], 11);
	return h * UINT64_C(0x9e3779b97f4a7c15);
}
#define HINT_INDEX(h) ((h) >> 54)
#define HINT_TAG(h) ((h)&UINT64_C(0x3fffff) << 32)
static_assert(HINTS == 1u << 10, "ten bits say which hint");

/* Do a slot's key words equal the key's?  Its length is compared apart. */
SHORT bool
key_is(const word_t *s, const struct short_key *k, size_t len)
{
	return word_load(&s[SLOT_KEY]) == k->w[0] &&
	    (len <= 8 || word_load(&s[SLOT_KEY + 1]) == k->w[1]) &&
	    (len <= 16 || word_load(&s[SLOT_KEY + 2]) == k->w[2]) &&
	    (len <= 24 || word_load(&s[SLOT_KEY + 3]) == k->w[3]);
}

/*
 * mapping's mark(9) 0 tag(22) slot(32).  Marks recur; then the key is compared in a slot of the
 * mapping that it is now.
 */
#define HINT_PLACE(seg, h, slot) ((uint64_t)(seg)->mark << 55 | HINT_TAG(h) | (slot))
#define HINT_FITS(place, seg, h) (((place) ^ HINT_TAG(h)) >> 32 == (uint64_t)(seg)->mark << 23)

/* Is this the limit's name?  It may be read while it is being rewritten: any bytes. */
SHORT bool
name_is(const struct policy_area *a, uint32_t id, const char *limit)
{
	const struct limit_def *l;
	const char *name;
	unsigned n;

	if (UNLIKELY(id >= a->nlimits))
		return false;
	l = (const struct limit_def *)(const void *)((const char *)a + a->limits) + id;
	if (UNLIKELY(l->name >= a->strings_bytes))
		return false;
	/*
	 * A name has no NUL in it, so a shorter string differs in time.  Behind the areas is
	 * a page of zeros (segment.c): a length that is not this name's stays in the mapping.
	 */
	name = (const char *)a + a->strings + l->name;
	n = l->name_len;
	if (UNLIKELY(n > RATION_NAME_MAX))
		return false;
	for (; n >= 4; n -= 4, name += 4, limit += 4)
		if (name[0] != limit[0] || name[1] != limit[1] || name[2] != limit[2] ||
		    name[3] != limit[3])
			return false;
	for (; n > 0; n--, name++, limit++)
		if (*name != *limit)
			return false;
	return *limit == '\0';
}

/*
 * Does the hinted slot hold this key of this limit, alive?  Everything is compared: the
 * hint only says where to look.  (A limit that is gone has no plain ruleset.)
 */
SHORT bool
hint_holds(struct plain *p, const struct policy_area *a, uint64_t place, uint64_t h,
    const char *limit, const struct short_key *key, size_t len)
{
	uint64_t n = place & UINT32_MAX, state, link;
	word_t *s = segment_slot(p->seg, n);

	if (UNLIKELY(
		!HINT_FITS(place, p->seg, h) || n >= p->seg->nslots || len > KEY_INLINE_WORDS * 8))
		return false;
	state = word_load(&s[SLOT_STATE]);
	link = word_load(&s[SLOT_LINK]);
	if (UNLIKELY(
		STATE_ST(state) != ST_LIVE || LINK_OWN_LEN(link) != len || !key_is(s, key, len)))
		return false;
	/* That this belongs together is seen by place_kept(), after all that is read next. */
	if (UNLIKELY(!name_is(a, LINK_LIMIT(link), limit)))
		return false;
	p->slot = n;
	p->state = state;
	p->at = s;
	return true;
}

#endif
