/*
 * address.h - IP addresses as keys: one client, one key, however it writes itself.
 */
#ifndef RATION_ADDRESS_H
#define RATION_ADDRESS_H

#include "policy.h"

#define ADDRESS_KEY_MAX 64u /* bytes of address_key()'s text, NUL included */

/* 16 bytes; IPv4 as ::ffff:a.b.c.d. */
struct address {
	uint8_t bytes[16];
};

/* Strict: no port, no brackets, no zone, no leading zeros.  False: not an address. */
bool address_parse(const void *text, size_t len, struct address *out);
/* Canonical: returns its length. */
size_t address_text(const struct address *a, char out[RATION_ADDRESS_MAX]);
bool address_is_v4(const struct address *a);
bool address_in(const struct address *a, const struct cidr_def *range);
/*
 * The key of an address: "203.0.113.9", "203.0.113.0/24", "2001:db8:1:2::/64"; canonical, a full
 * prefix is left out.  Returns its length, 0: text is no address.
 */
size_t address_key(
    const void *text, size_t len, unsigned prefix4, unsigned prefix6, char out[ADDRESS_KEY_MAX]);
/*
 * Is the address (or a key that address_key() made) in one of the policy's exempt ranges?  Read
 * before policy_intact().
 */
bool address_exempt(const struct policy_ref *p, const void *text, size_t len);

#endif
