/*
 * address.c - one text for one address, and which ranges it is in.
 *
 * Own parser and printer: what libc takes for an IPv4 address is not the same everywhere
 * (octal, shortened forms), and inet_ntop() prints ::1.2.3.4 where RFC 5952 has ::102:304.
 * Two texts of one address must be one key, or a client has as many keys as ways to write it.
 */
#include "address.h"

#include <string.h>

#define V4_OFFSET 96u /* of the IPv4 address in ::ffff:a.b.c.d */
#define GROUPS 8u

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

/* ---- reading ---- */

/* Digits, without leading zeros, up to max; moves *s past them.  -1: none or too large. */
static int
decimal(const char **s, const char *end, int max)
{
	const char *p = *s;
	int v = 0;

	if (p == end || *p < '0' || *p > '9' ||
	    (*p == '0' && end - p > 1 && p[1] >= '0' && p[1] <= '9'))
		return -1;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (*p - '0');
		if (v > max)
			return -1;
	}
	*s = p;
	return v;
}

static bool
parse_v4(const char *s, const char *end, uint8_t out[4])
{
	for (unsigned i = 0; i < 4; i++) {
		int v;

		if (i != 0 && (s == end || *s++ != '.'))
			return false;
		v = decimal(&s, end, 255);
		if (v < 0)
			return false;
		out[i] = (uint8_t)v;
	}
	return s == end;
}

/* One to four hexadecimal digits. */
static int
group(const char **s, const char *end)
{
	const char *p = *s;
	int v = 0;

	for (; p < end && p - *s <= 4; p++) {
		int c = *p >= 'A' && *p <= 'F' ? *p + ('a' - 'A') : *p;

		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (c - 'a' + 10);
		else
			break;
	}
	if (p == *s || p - *s > 4)
		return -1;
	*s = p;
	return v;
}

static bool
parse_v6(const char *s, const char *end, uint8_t out[16])
{
	unsigned n = 0, gap = GROUPS + 1; /* groups read; how many stood before "::" */

	memset(out, 0, 16);
	if (end - s >= 2 && s[0] == ':' && s[1] == ':') {
		gap = 0;
		s += 2;
	}
	while (s < end) {
		const char *start = s;
		int v;

		if (n == GROUPS)
			return false;
		v = group(&s, end);
		if (v < 0)
			return false;
		if (s < end && *s == '.') {
			if (n > GROUPS - 2 || !parse_v4(start, end, out + (size_t)2 * n))
				return false;
			n += 2;
			break;
		}
		out[2 * n] = (uint8_t)(v >> 8);
		out[2 * n + 1] = (uint8_t)v;
		n++;
		if (s == end)
			break;
		if (*s++ != ':' || s == end)
			return false;
		if (*s == ':') {
			if (gap <= GROUPS)
				return false;
			gap = n;
			s++;
		}
	}
	if (gap > GROUPS)
		return n == GROUPS;
	if (n == GROUPS)
		return false; /* "::" stands for one group at least */
	memmove(out + (size_t)2 * (gap + GROUPS - n), out + (size_t)2 * gap, (size_t)2 * (n - gap));
	memset(out + (size_t)2 * gap, 0, (size_t)2 * (GROUPS - n));
	return true;
}

bool
address_parse(const void *text, size_t len, struct address *out)
{
	const char *s = text;

	if (len == 0 || len >= RATION_ADDRESS_MAX)
		return false;
	if (memchr(s, ':', len) != NULL)
		return parse_v6(s, s + len, out->bytes);
	memcpy(out->bytes, v4_prefix, sizeof(v4_prefix));
	return parse_v4(s, s + len, out->bytes + sizeof(v4_prefix));
}

bool
address_is_v4(const struct address *a)
{
	return memcmp(a->bytes, v4_prefix, sizeof(v4_prefix)) == 0;
}

/* ---- writing ---- */

static char *
put_decimal(char *p, unsigned v)
{
	if (v >= 100)
		*p++ = (char)('0' + v / 100);
	if (v >= 10)
		*p++ = (char)('0' + v / 10 % 10);
	*p++ = (char)('0' + v % 10);
	return p;
}

static char *
put_hex(char *p, unsigned v)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned shift = 12; shift != 0; shift -= 4)
		if (v >> shift != 0)
			*p++ = digits[v >> shift & 15];
	*p++ = digits[v & 15];
	return p;
}

/* RFC 5952, 4.2: "::" for the longest run of zeros, the first of several; never for one. */
static char *
put_v6(char *p, const uint8_t bytes[16])
{
	unsigned run = 0, best = GROUPS, longest = 1, groups[GROUPS];

	for (unsigned i = 0; i < GROUPS; i++) {
		groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
		run = groups[i] == 0 ? run + 1 : 0;
		if (run > longest) {
			longest = run;
			best = i + 1 - run;
		}
	}
	for (unsigned i = 0; i < GROUPS; i++) {
		if (i == best) {
			*p++ = ':';
			*p++ = ':';
			i += longest - 1;
			continue;
		}
		if (i != 0 && i != best + longest)
			*p++ = ':';
		p = put_hex(p, groups[i]);
	}
	return p;
}

size_t
address_text(const struct address *a, char out[RATION_ADDRESS_MAX])
{
	char *p = out;

	if (address_is_v4(a)) {
		for (unsigned i = 12; i < 16; i++) {
			if (i != 12)
				*p++ = '.';
			p = put_decimal(p, a->bytes[i]);
		}
	} else {
		p = put_v6(p, a->bytes);
	}
	*p = '\0';
	return (size_t)(p - out);
}

size_t
address_key(
    const void *text, size_t len, unsigned prefix4, unsigned prefix6, char out[ADDRESS_KEY_MAX])
{
	struct address a;
	unsigned full, prefix, bits;
	size_t n;

	if (!address_parse(text, len, &a))
		return 0;
	full = address_is_v4(&a) ? 32 : 128;
	prefix = full == 32 ? prefix4 : prefix6;
	if (prefix >= full)
		return address_text(&a, out);
	bits = prefix + 128 - full;
	for (unsigned i = bits / 8; i < 16; i++)
		a.bytes[i] = (uint8_t)(a.bytes[i] & (i == bits / 8 ? 0xff00u >> bits % 8 : 0));
	n = address_text(&a, out);
	out[n++] = '/';
	n = (size_t)(put_decimal(out + n, prefix) - out);
	out[n] = '\0';
	return n;
}

/* ---- ranges ---- */

static bool
same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	if (memcmp(a, b, bits / 8) != 0)
		return false;
	return bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) & (0xff00u >> bits % 8) & 0xff) == 0;
}

bool
address_in(const struct address *a, const struct cidr_def *range)
{
	unsigned bits = range->bits;

	/* "::/0" is every IPv6 address, and no IPv4 one, though that is written within it. */
	if (bits > 128 || (bits < V4_OFFSET && address_is_v4(a)))
		return false;
	return same_prefix(a->bytes, range->address, bits);
}

/* The address, and how many bits of it count: all, or those of a key's "/64". */
static bool
parse_key(const char *s, size_t len, struct address *a, unsigned *bits)
{
	const char *slash = memchr(s, '/', len), *end = s + len;
	bool v4;
	int n;

	if (!address_parse(s, slash != NULL ? (size_t)(slash - s) : len, a))
		return false;
	*bits = 128;
	if (slash == NULL)
		return true;
	v4 = address_is_v4(a);
	slash++;
	n = decimal(&slash, end, v4 ? 32 : 128);
	if (n < 0 || slash != end)
		return false;
	*bits = (unsigned)n + (v4 ? V4_OFFSET : 0);
	return true;
}

bool
address_exempt(const struct policy_ref *p, const void *text, size_t len)
{
	uint32_t n = p->area->nexempt;
	const struct cidr_def *ranges = policy_section(p, p->area->exempts, n, sizeof(*ranges));
	struct address a;
	unsigned bits;

	if (n == 0 || ranges == NULL || !parse_key(text, len, &a, &bits))
		return false;
	/* A key that stands for more addresses than the range has is not exempt. */
	for (uint32_t i = 0; i < n; i++)
		if (ranges[i].bits <= bits && address_in(&a, &ranges[i]))
			return true;
	return false;
}
