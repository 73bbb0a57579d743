/*
 * known.h - routes found before, by the request's text.
 *
 * A handle remembers for a method and path which claims their route takes, and which of the
 * caller's attributes were their keys:
 *
 *	policy	version(32) mapping's number(32)	under which it was found; 0: nothing
 *	sizes	claims(8) method's bytes(8) path's(16)
 *	method	as NAME_WORD() has it
 *	path	its words, the last one from the end
 *	what	cost is fixed(1) address(1) shift(8) attribute's place(8) limit's id(16)
 *	name	of the attribute, as NAME_WORD() has it
 *	cost	the policy's; 0: the caller's
 *
 * The text is compared in full, and so are the attributes' names.  An entry is written by one
 * thread at a time, who makes `turn` odd meanwhile; who finds it so, or finds it another
 * afterwards, has read nothing, and nobody waits: it saves a search, no more.
 */
#ifndef RATION_KNOWN_H
#define RATION_KNOWN_H

#include "many.h"

/* ---- names of less than 8 bytes, in a word ---- */

#define NAME_SHIFT(len) (56 - 8 * (len))
#define NAME_MAX_SHORT 7u

/*
 * A string's first bytes up to the zero behind len of them, at the top of a word; of a shorter
 * string whatever stands there then, which is not the same.  shift: NAME_SHIFT(len).  Read at
 * once where no page ends.
 */
SHORT uint64_t
name_word(const char *s, unsigned shift)
{
	uint64_t w = 0;

#ifndef SANITIZED
	if (LIKELY(((uintptr_t)s & 4095) <= 4096 - 8))
		return load64((const unsigned char *)s) << (shift & 63);
#endif
	for (unsigned i = 0; i < 8 - shift / 8 && s[i] != '\0'; i++)
		w |= (uint64_t)(unsigned char)s[i] << 8 * i;
	return w << (shift & 63);
}

/* ---- paths ---- */

/* Bytes up to the end, '?' or '#'.  As short_len(). */
#if defined(__SSE2__) && !defined(SANITIZED)
SHORT unsigned
path_ends(const char *block)
{
	const __m128i b = _mm_load_si128((const __m128i *)(const void *)block);

	return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(b, _mm_setzero_si128()),
	    _mm_or_si128(
		_mm_cmpeq_epi8(b, _mm_set1_epi8('?')), _mm_cmpeq_epi8(b, _mm_set1_epi8('#')))));
}

SHORT size_t
short_path(const char *s)
{
	const char *block = (const char *)((uintptr_t)s & ~(uintptr_t)15);
	unsigned bits = path_ends(block) >> ((uintptr_t)s & 15);

	if (bits != 0)
		return (size_t)__builtin_ctz(bits);
	do {
		block += 16;
		bits = path_ends(block);
	} while (bits == 0);
	return (size_t)(block - s) + (size_t)__builtin_ctz(bits);
}
#else
#define short_path(s) strcspn(s, "?#")
#endif

/* Of 1 to 56 bytes the words but the last begin every 8 bytes; the last ends where the path does.
 */
SHORT uint64_t
path_last(const unsigned char *path, size_t len)
{
	return LIKELY(len >= 8) ? load64(path + len - 8) : few_bytes(path, len);
}

SHORT struct known_route *
known_place(struct ration *h, const char *method, const unsigned char *path, size_t len)
{
	uint64_t sum = (uint64_t)(unsigned char)method[0] << 8 | (unsigned char)method[1];

	for (size_t i = 0; i + 8 < len; i += 8)
		sum = rotl64(sum, 11) ^ load64(path + i);
	sum = rotl64(sum, 11) ^ path_last(path, len);
	return &h->known[sum * UINT64_C(0x9e3779b97f4a7c15) >> 57];
}
static_assert(KNOWN == 1u << 7, "seven bits say which");

/* ---- entries ---- */

#define KNOWN_POLICY(p) two32((p)->seg->id, POLICY_CURRENT((p)->policy_word))
#define KNOWN_SIZES(n, method, path) \
	((uint64_t)(n) << 24 | (uint64_t)(method) << 16 | (uint64_t)(path))

#define WHAT_FIXED (UINT64_C(1) << 33)
#define WHAT_ADDRESS (UINT64_C(1) << 32)
#define WHAT(limit, place, len) \
	((uint64_t)(limit) | (uint64_t)(place) << 16 | (uint64_t)NAME_SHIFT(len) << 24)
#define WHAT_LIMIT(w) ((uint32_t)((w)&0xffff))
#define WHAT_PLACE(w) ((w) >> 16 & 0xff)
#define WHAT_SHIFT(w) ((unsigned)((w) >> 24 & 0xff))

struct known_claim {
	uint64_t what;
	uint64_t name;
	uint64_t cost;
};

SHORT uint64_t
known_load(const _Atomic uint64_t *w)
{
	return atomic_load_explicit(w, memory_order_acquire);
}

SHORT struct known_claim
known_claim(const struct known_route *k, unsigned i)
{
	return (struct known_claim) { known_load(&k->claims[i].what),
		known_load(&k->claims[i].name), known_load(&k->claims[i].cost) };
}
static_assert(KNOWN_CLAIMS == 3, "known_route() writes them out");

/* How many claims were copied out; 0: none is known. */
SHORT unsigned
known_route(const struct plain *p, const char *method, const char *text,
    struct known_claim out[KNOWN_CLAIMS])
{
	const unsigned char *path = (const unsigned char *)text;
	size_t len = short_path(text), i;
	const struct known_route *k;
	const _Atomic uint64_t *w;
	uint64_t turn, sizes;
	unsigned method_len;

	if (UNLIKELY(len - 1 >= KNOWN_PATH * 8 || method[0] == '\0'))
		return 0;
	k = known_place(p->h, method, path, len);
	w = k->path;
	turn = known_load(&k->turn);
	sizes = known_load(&k->sizes);
	method_len = (unsigned)(sizes >> 16 & 7);
	if (UNLIKELY(known_load(&k->policy) != KNOWN_POLICY(p) || (sizes & 0xffff) != len ||
		name_word(method, NAME_SHIFT(method_len)) != known_load(&k->method)))
		return 0;
	for (i = 0; i + 8 < len; i += 8, w++)
		if (UNLIKELY(load64(path + i) != known_load(w)))
			return 0;
	if (UNLIKELY(path_last(path, len) != known_load(w)))
		return 0;
	/* No loop: they are to stay in registers. */
	out[0] = known_claim(k, 0);
	out[1] = known_claim(k, 1);
	out[2] = known_claim(k, 2);
	return UNLIKELY(
		   (turn & 1) != 0 || atomic_load_explicit(&k->turn, memory_order_relaxed) != turn)
	    ? 0
	    : (unsigned)(sizes >> 24);
}

/* Remember.  Another thread at the same place goes first. */
void route_known(const struct plain *p, const char *method, const char *path,
    const struct known_claim *claims, unsigned n);

#endif
