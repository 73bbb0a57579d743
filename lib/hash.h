/*
 * hash.h - SipHash-1-3 (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast
 * short-input PRF", 2012), keyed with the segment's secret: keys are chosen by
 * attackers, who must not be able to choose their bucket.
 */
#ifndef RATION_HASH_H
#define RATION_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "segment.h"

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t
rotl64(uint64_t x, unsigned n)
{
	return x << n | x >> (64 - n);
}

static inline void
sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = rotl64(s->v1, 13) ^ s->v0;
	s->v3 = rotl64(s->v3, 16) ^ s->v2;
	s->v0 = rotl64(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = rotl64(s->v1, 17) ^ s->v2;
	s->v3 = rotl64(s->v3, 21) ^ s->v0;
	s->v2 = rotl64(s->v2, 32);
}

static inline void
sip_init(struct sip *s, const uint64_t key[2])
{
	s->v0 = key[0] ^ UINT64_C(0x736f6d6570736575);
	s->v1 = key[1] ^ UINT64_C(0x646f72616e646f6d);
	s->v2 = key[0] ^ UINT64_C(0x6c7967656e657261);
	s->v3 = key[1] ^ UINT64_C(0x7465646279746573);
}

static inline void
sip_word(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	s->v0 ^= m;
}

static inline uint64_t
sip_end(struct sip *s)
{
	s->v2 ^= 0xff;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

/* The last 0..7 bytes, zero-padded, without reading past the end. */
static inline uint64_t
tail_word(const unsigned char *b, size_t len)
{
	uint64_t w = 0;

	switch (len & 7) {
	case 7:
		w |= (uint64_t)b[6] << 48; /* FALLTHROUGH */
	case 6:
		w |= (uint64_t)b[5] << 40; /* FALLTHROUGH */
	case 5:
		w |= (uint64_t)b[4] << 32; /* FALLTHROUGH */
	case 4:
		w |= (uint64_t)b[3] << 24; /* FALLTHROUGH */
	case 3:
		w |= (uint64_t)b[2] << 16; /* FALLTHROUGH */
	case 2:
		w |= (uint64_t)b[1] << 8; /* FALLTHROUGH */
	case 1:
		w |= (uint64_t)b[0]; /* FALLTHROUGH */
	default:
		return w;
	}
}

static inline void
sip_bytes(struct sip *s, const unsigned char *b, size_t len)
{
	uint64_t w;

	for (; len >= 8; b += 8, len -= 8) {
		memcpy(&w, b, 8);
		sip_word(s, w);
	}
	/* Length in the last word: ("ab", "c") and ("a", "bc") differ. */
	sip_word(s, tail_word(b, len) | (uint64_t)len << 56);
}

/*
 * What a free slot's link (i = 0) and key words (1..) hold in life `birth`: not to be
 * guessed without the secret, never the same again.  splitmix64 (S. Vigna).
 */
static inline uint64_t
slot_fill(const struct segment *seg, uint64_t slot, uint64_t birth, unsigned i)
{
	uint64_t x = seg->secret[0] + slot * UINT64_C(0x9e3779b97f4a7c15) +
	    (birth << 3 | i) * UINT64_C(0xd1342543de82ef95);

	x ^= seg->secret[1];
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

#endif
