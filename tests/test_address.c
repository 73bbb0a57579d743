/*
 * test_address.c - one client, one key: addresses as text, ranges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <cmocka.h>

#include "address.h"
#include "fixture.h"

static const char *
key(const char *text, unsigned prefix4, unsigned prefix6)
{
	static char out[ADDRESS_KEY_MAX];
	size_t n = address_key(text, strlen(text), prefix4, prefix6, out);

	if (n == 0)
		return NULL;
	assert_int_equal(n, strlen(out));
	return out;
}

static void
canonical_text(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{ "203.0.113.9", "203.0.113.9" },
		{ "0.0.0.0", "0.0.0.0" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "::", "::" },
		{ "::1", "::1" },
		{ "1::", "1::" },
		{ "2001:DB8::1", "2001:db8::1" },
		{ "2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1" },
		{ "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" }, /* one zero is no run */
		{ "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },    /* the first of two */
		{ "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },          /* the longest */
		{ "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0" },
		{ "::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8" },
		{ "0:0:3:4:5:6:7:8", "::3:4:5:6:7:8" },
		{ "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
		{ "::ffff:192.0.2.1", "192.0.2.1" },
		{ "::FFFF:c000:201", "192.0.2.1" },
		{ "0:0:0:0:0:ffff:192.0.2.1", "192.0.2.1" },
		{ "::1.2.3.4", "::102:304" },
		{ "::0.0.0.2", "::2" },
		{ "64:ff9b::192.0.2.33", "64:ff9b::c000:221" },
		{ "1:2:3:4:5:6:7.8.9.10", "1:2:3:4:5:6:708:90a" },
		{ "fe80::1", "fe80::1" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = key(cases[i].text, 32, 128);

		if (got == NULL || strcmp(got, cases[i].want) != 0)
			fail_msg("%s: got %s, expected %s", cases[i].text, got ? got : "none",
			    cases[i].want);
	}
}

static void
no_addresses(void **state)
{
	static const char *const cases[] = { "", " ", "1", "1.2.3", "1.2.3.4.5", "1.2.3.4.",
		".1.2.3.4", "1..2.3", "01.2.3.4", "1.2.3.04", "1.2.3.256", "1.2.3.1000",
		"0x1.2.3.4", "1.2.3.4 ", " 1.2.3.4", "1.2.3.-4", "1.2.3.+4", "1.2.3.4/32",
		"1.2.3.4:80", "16909060", ":", ":::", "::1::", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9",
		"1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1:2:3:4::5:6:7:8",
		"12345::", "00001::", "::g", ":1", "1:", "1:2:", "1:::2", "[::1]", "fe80::1%eth0",
		"::%", "::1.2.3", "::1.2.3.4.5", "::01.2.3.4", "::1.2.3.4:5",
		"1:2:3:4:5:6:7:1.2.3.4", "::ffff:1.2.3.256", "localhost", "unknown",
		"::ffff:1.2.3.4:5", "1.2.3.4::", "0000:0000:0000:0000:0000:0000:255.255.255.2555" };
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (key(cases[i], 32, 128) != NULL)
			fail_msg("\"%s\" was taken for an address", cases[i]);
	assert_int_equal(address_key("1.2.3.4\0", 8, 32, 128, (char[ADDRESS_KEY_MAX]) { 0 }), 0);
}

static void
prefixes(void **state)
{
	(void)state;
	assert_string_equal(key("203.0.113.9", 24, 64), "203.0.113.0/24");
	assert_string_equal(key("203.0.113.9", 0, 64), "0.0.0.0/0");
	assert_string_equal(key("203.0.113.255", 31, 64), "203.0.113.254/31");
	assert_string_equal(key("255.255.255.255", 1, 64), "128.0.0.0/1");
	assert_string_equal(key("::ffff:203.0.113.9", 24, 64), "203.0.113.0/24");
	assert_string_equal(key("2001:db8:1:2:3:4:5:6", 32, 64), "2001:db8:1:2::/64");
	assert_string_equal(key("2001:db8:1:2:ffff:4:5:6", 32, 65), "2001:db8:1:2:8000::/65");
	assert_string_equal(key("2001:db8:1:2:3:4:5:6", 32, 0), "::/0");
	assert_string_equal(key("2001:db8:1:2:3:4:5:7", 32, 127), "2001:db8:1:2:3:4:5:6/127");
	assert_string_equal(key("2001:db8:1:2:3:4:5:7", 32, 200), "2001:db8:1:2:3:4:5:7");
	/* The longest key there is. */
	assert_string_equal(key("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 32, 127),
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127");
}

/* What inet_pton() takes for an address we take for the same one, but for leading zeros. */
static void
against_libc(void **state)
{
	uint64_t seed = test_seed();
	(void)state;

	for (unsigned i = 0; i < 200000; i++) {
		static const char alphabet[] = "00001ff29a:::..";
		uint8_t bytes[16];
		struct address a, b;
		char text[48], *back;
		uint64_t x = test_random(&seed);

		for (unsigned k = 0; k < 16; k++)
			bytes[k] = (x >> k & 1) != 0 ? 0 : (uint8_t)test_random(&seed);
		if ((x & 0x30000) == 0)
			memcpy(bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
		(void)inet_ntop(AF_INET6, bytes, text, sizeof(text));
		if ((x & 0x700000) == 0) /* any letters, rarely an address */
			text[test_random(&seed) % strlen(text)] =
			    alphabet[test_random(&seed) % (sizeof(alphabet) - 1)];
		if (inet_pton(AF_INET6, text, bytes) != 1) {
			assert_false(address_parse(text, strlen(text), &a));
			continue;
		}
		if (!address_parse(text, strlen(text), &a)) {
			/* a.b.c.0d */
			assert_non_null(strchr(text, '.'));
			continue;
		}
		assert_memory_equal(a.bytes, bytes, 16);
		back = (char *)(uintptr_t)key(text, 32, 128);
		assert_non_null(back);
		assert_true(address_parse(back, strlen(back), &b));
		assert_memory_equal(b.bytes, bytes, 16);
		if (inet_ntop(AF_INET6, bytes, text, sizeof(text)) != NULL &&
		    strchr(text, '.') == NULL)
			assert_string_equal(back, text);
	}
}

static struct cidr_def
range(const char *text, uint8_t bits)
{
	struct cidr_def c = { .bits = bits };
	struct address a;

	assert_true(address_parse(text, strlen(text), &a));
	memcpy(c.address, a.bytes, 16);
	return c;
}

static bool
in(const char *text, struct cidr_def c)
{
	struct address a;

	assert_true(address_parse(text, strlen(text), &a));
	return address_in(&a, &c);
}

static void
ranges(void **state)
{
	(void)state;
	assert_true(in("10.1.2.3", range("10.0.0.0", 96 + 8)));
	assert_true(in("::ffff:10.1.2.3", range("10.0.0.0", 96 + 8)));
	assert_false(in("11.0.0.0", range("10.0.0.0", 96 + 8)));
	assert_true(in("192.0.2.15", range("192.0.2.0", 96 + 28)));
	assert_false(in("192.0.2.16", range("192.0.2.0", 96 + 28)));
	assert_true(in("192.0.2.7", range("192.0.2.7", 128)));
	assert_false(in("192.0.2.6", range("192.0.2.7", 128)));
	assert_true(in("8.8.8.8", range("0.0.0.0", 96)));
	assert_false(in("::1", range("0.0.0.0", 96)));
	assert_true(in("fd12::1", range("fd00::", 8)));
	assert_true(in("2001:db8::1", range("::", 0)));
	assert_false(in("10.0.0.1", range("::", 0)));
	assert_false(in("2001:db8::1", range("2001:db8::1", 129))); /* a damaged policy */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(canonical_text),
		cmocka_unit_test(no_addresses),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(against_libc),
		cmocka_unit_test(ranges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
