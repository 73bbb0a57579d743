#include "hmac.h"

#include <stdio.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include <sha2.h>

void
hmac_sha256(const void *key, size_t key_len, const struct hmac_part *parts, size_t n,
    unsigned char out[HMAC_BYTES])
{
	unsigned char pad[SHA256_BLOCK_LENGTH] = { 0 };
	SHA2_CTX c;

	if (key_len > sizeof(pad)) {
		SHA256Init(&c);
		SHA256Update(&c, key, key_len);
		SHA256Final(pad, &c);
	} else if (key_len > 0) {
		memcpy(pad, key, key_len);
	}
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	SHA256Init(&c);
	SHA256Update(&c, pad, sizeof(pad));
	for (size_t i = 0; i < n; i++)
		SHA256Update(&c, parts[i].bytes, parts[i].len);
	SHA256Final(out, &c);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	SHA256Init(&c);
	SHA256Update(&c, pad, sizeof(pad));
	SHA256Update(&c, out, HMAC_BYTES);
	SHA256Final(out, &c);
	explicit_bzero(pad, sizeof(pad));
	explicit_bzero(&c, sizeof(c));
}

void
hmac_sha256_text(
    const void *key, size_t key_len, const struct hmac_part *parts, size_t n, char out[HMAC_TEXT])
{
	unsigned char raw[HMAC_BYTES];

	hmac_sha256(key, key_len, parts, n, raw);
	for (size_t i = 0; i < sizeof(raw); i++)
		(void)snprintf(out + 2 * i, 3, "%02x", raw[i]);
}
