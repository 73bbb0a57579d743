/*
 * hmac.h - HMAC-SHA256 (RFC 2104), so that a webhook's receiver can tell who sent it.
 */
#ifndef RATIOND_HMAC_H
#define RATIOND_HMAC_H

#include <stddef.h>

#define HMAC_BYTES 32u
#define HMAC_TEXT (2 * HMAC_BYTES + 1)

struct hmac_part {
	const void *bytes;
	size_t len;
};

/* Of the n parts, one after the other. */
void hmac_sha256(const void *key, size_t key_len, const struct hmac_part *parts, size_t n,
    unsigned char out[HMAC_BYTES]);
/* The same in lower-case hexadecimal digits. */
void hmac_sha256_text(
    const void *key, size_t key_len, const struct hmac_part *parts, size_t n, char out[HMAC_TEXT]);

#endif
