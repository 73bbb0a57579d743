/*
 * test_address.c - one client, one key: addresses as text, ranges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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

/* ---- behind proxies ---- */

static void
open_proxies(struct fixture *f)
{
	fixture_open(f,
	    "proxies: [127.0.0.1, 10.0.0.0/8, \"fd00::/8\", \"::1\"]\n"
	    "limits: {api: {rates: 3/min}}\n",
	    0);
}

static const char *
client(struct fixture *f, const char *peer, const char *xff, const char *forwarded)
{
	static char out[RATION_ADDRESS_MAX];
	int n = ration_client_address(f->r, peer, xff, forwarded, out, sizeof(out));

	if (n < 0)
		return ration_strerror(n);
	assert_int_equal(n, strlen(out));
	return out;
}

static void
x_forwarded_for(void **state)
{
	static const struct {
		const char *peer, *header, *want;
	} cases[] = {
		{ "203.0.113.9", NULL, "203.0.113.9" },
		{ "203.0.113.9", "1.2.3.4", "203.0.113.9" }, /* a stranger says so */
		{ "127.0.0.1", NULL, "127.0.0.1" },
		{ "127.0.0.1", "", "127.0.0.1" },
		{ "127.0.0.1", " , ,", "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9", "203.0.113.9" },
		{ "::ffff:127.0.0.1", "::ffff:203.0.113.9", "203.0.113.9" },
		{ "::1", "2001:DB8:0:0::1", "2001:db8::1" },
		{ "127.0.0.1", "1.2.3.4, 203.0.113.9",
		    "203.0.113.9" }, /* 1.2.3.4: the client's word */
		{ "127.0.0.1", "1.2.3.4,203.0.113.9,10.1.1.1", "203.0.113.9" },
		{ "127.0.0.1", "1.2.3.4 ,\t203.0.113.9, ,10.1.1.1, fd12::1 ,", "203.0.113.9" },
		{ "127.0.0.1", "10.3.3.3, 10.2.2.2, 10.1.1.1", "10.3.3.3" },
		{ "127.0.0.1", "203.0.113.9:5678", "203.0.113.9" },
		{ "127.0.0.1", "[2001:db8::1]:443", "2001:db8::1" },
		{ "127.0.0.1", "[2001:db8::1]", "2001:db8::1" },
		{ "127.0.0.1:4711", "203.0.113.9", "203.0.113.9" },
		/* Garbage ends it at what is known for sure. */
		{ "127.0.0.1", "203.0.113.9, x", "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9, unknown, 10.1.1.1", "10.1.1.1" },
		{ "127.0.0.1", "203.0.113.9 10.1.1.1", "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.009", "127.0.0.1" },
		{ "127.0.0.1", "fe80::1%eth0", "127.0.0.1" },
		{ "127.0.0.1", "[fe80::1%eth0]:1", "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9:", "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9:123456", "127.0.0.1" },
		{ "127.0.0.1", "203.0.113.9:8o", "127.0.0.1" },
		{ "127.0.0.1", "[203.0.113.9]", "127.0.0.1" },
		{ "127.0.0.1", "[2001:db8::1", "127.0.0.1" },
		{ "127.0.0.1", "[2001:db8::1]x", "127.0.0.1" },
		{ "127.0.0.1", "\"203.0.113.9\"", "127.0.0.1" },
		{ "", NULL, "not an IP address" },
		{ "unix:", "203.0.113.9", "not an IP address" },
		{ "fe80::1%eth0", NULL, "not an IP address" },
	};
	struct fixture f;
	(void)state;

	open_proxies(&f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = client(&f, cases[i].peer, cases[i].header, NULL);

		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s, \"%s\": got %s, expected %s", cases[i].peer, cases[i].header,
			    got, cases[i].want);
	}
	fixture_close(&f);
}

static void
forwarded(void **state)
{
	static const struct {
		const char *header, *want;
	} cases[] = {
		{ "for=203.0.113.9", "203.0.113.9" },
		{ "For=203.0.113.9", "203.0.113.9" },
		{ "FOR=\"203.0.113.9\"", "203.0.113.9" },
		{ "for=\"203.0.113.9:47011\"", "203.0.113.9" },
		{ "for=203.0.113.9:47011", "203.0.113.9" },
		{ "for=\"203.0.113.9:_port\"", "203.0.113.9" },
		{ "for=\"[2001:DB8::1]\"", "2001:db8::1" },
		{ "for=\"[2001:db8::1]:4711\"", "2001:db8::1" },
		{ "for=[2001:db8::1]", "2001:db8::1" },
		{ "for=\"\\2\\03.0.113.9\"", "203.0.113.9" },
		{ "proto=https;for=203.0.113.9;by=10.0.0.1;host=\"a,b;for=1.1.1.1\"",
		    "203.0.113.9" },
		{ "for=203.0.113.9; proto=https ; by=_x", "203.0.113.9" },
		{ ";;for=203.0.113.9;", "203.0.113.9" },
		{ "for=1.2.3.4, for=203.0.113.9", "203.0.113.9" },
		{ "for=1.2.3.4,for=203.0.113.9;proto=http,\tfor=\"[fd00::1]:80\" , for=10.0.0.1",
		    "203.0.113.9" },
		{ "for=10.0.0.2, for=10.0.0.1", "10.0.0.2" },
		/* The client's broken text does not swallow the proxy's. */
		{ "for=\", for=203.0.113.9", "203.0.113.9" },
		{ "for=\"1.1.1.1, for=203.0.113.9, for=\"[fd00::1]\"", "203.0.113.9" },
		{ "for=\"\\\", for=203.0.113.9", "203.0.113.9" },
		{ "\"\\\", for=\"203.0.113.9\";host=\"\\\\\"", "203.0.113.9" },
		{ "x, for=\"203.0.113.9\";host=\"a\\\", for=1.1.1.1\"", "203.0.113.9" },
		/* Hidden, or garbage. */
		{ "for=unknown", "127.0.0.1" },
		{ "for=_gazonk", "127.0.0.1" },
		{ "for=\"_gazonk:80\"", "127.0.0.1" },
		{ "for=203.0.113.9, for=_hidden, for=10.0.0.1", "10.0.0.1" },
		{ "for=203.0.113.9, proto=https", "127.0.0.1" },
		{ "for=203.0.113.9, by=10.0.0.1", "127.0.0.1" },
		{ "for=203.0.113.9;for=1.1.1.1", "127.0.0.1" },
		{ "for=203.0.113.9;FOR=203.0.113.9", "127.0.0.1" },
		{ "for", "127.0.0.1" },
		{ "for=", "127.0.0.1" },
		{ "for=\"\"", "127.0.0.1" },
		{ "=203.0.113.9", "127.0.0.1" },
		{ "for =203.0.113.9", "127.0.0.1" },
		{ "for= 203.0.113.9", "127.0.0.1" },
		{ "for=203.0.113.9 for=1.1.1.1", "127.0.0.1" },
		{ "for=203.0.113.9 proto=http", "127.0.0.1" },
		{ "for=\"203.0.113.9\"x", "127.0.0.1" },
		{ "for=\"203.0.113.9", "127.0.0.1" },
		{ "for=203.0.113.9\"", "127.0.0.1" },
		{ "for=[203.0.113.9]", "127.0.0.1" },
		{ "for=\"fe80::1%25eth0\"", "127.0.0.1" },
		{ "203.0.113.9", "127.0.0.1" },
		{ "xfor=203.0.113.9", "127.0.0.1" },
		{ "for=203.0.113.9\x01", "127.0.0.1" },
	};
	struct fixture f;
	(void)state;

	open_proxies(&f);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *got = client(&f, "127.0.0.1", NULL, cases[i].header);

		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: got %s, expected %s", cases[i].header, got, cases[i].want);
		assert_string_equal(
		    client(&f, "203.0.113.1", NULL, cases[i].header), "203.0.113.1");
	}
	fixture_close(&f);
}

/* Which of the two the proxy writes is not known: a client must not win by writing the other. */
static void
both_headers(void **state)
{
	struct fixture f;
	(void)state;

	open_proxies(&f);
	assert_string_equal(
	    client(&f, "10.0.0.1", "203.0.113.9", "for=203.0.113.9"), "203.0.113.9");
	assert_string_equal(client(&f, "10.0.0.1", "1.1.1.1, 203.0.113.9, 10.0.0.2",
				"for=2.2.2.2, for=203.0.113.9, for=10.0.0.2"),
	    "203.0.113.9");
	assert_string_equal(client(&f, "10.0.0.1", "203.0.113.9", "for=1.1.1.1"), "10.0.0.1");
	assert_string_equal(client(&f, "10.0.0.1", "1.1.1.1", "for=203.0.113.9"), "10.0.0.1");
	assert_string_equal(client(&f, "10.0.0.1", "203.0.113.9", "for=unknown"), "10.0.0.1");
	assert_string_equal(client(&f, "10.0.0.1", "203.0.113.9", "x"), "10.0.0.1");
	assert_string_equal(client(&f, "10.0.0.1", "x", "for=203.0.113.9"), "10.0.0.1");
	/* One ends earlier: the rest was written by who writes the other. */
	assert_string_equal(
	    client(&f, "10.0.0.1", "203.0.113.9, 10.0.0.2", "for=10.0.0.2"), "203.0.113.9");
	assert_string_equal(
	    client(&f, "10.0.0.1", "10.0.0.2", "for=203.0.113.9, for=10.0.0.2"), "203.0.113.9");
	assert_string_equal(client(&f, "10.0.0.1", "", "for=203.0.113.9"), "203.0.113.9");
	assert_string_equal(client(&f, "10.0.0.1", "203.0.113.9", ""), "203.0.113.9");
	fixture_close(&f);
}

static void
client_address_use(void **state)
{
	struct fixture f;
	ration_t *lost;
	char buf[RATION_ADDRESS_MAX + 1];
	(void)state;

	open_proxies(&f);
	assert_int_equal(ration_client_address(NULL, "::1", NULL, NULL, buf, 46), RATION_EINVAL);
	assert_int_equal(ration_client_address(f.r, NULL, NULL, NULL, buf, 46), RATION_EINVAL);
	assert_int_equal(ration_client_address(f.r, "::1", NULL, NULL, NULL, 46), RATION_EINVAL);
	assert_int_equal(ration_client_address(f.r, "::1", "1.2.3.4", NULL, NULL, 0), 7);
	memset(buf, '#', sizeof(buf));
	assert_int_equal(ration_client_address(f.r, "::1", "1.2.3.4", NULL, buf, 4), 7);
	assert_string_equal(buf, "1.2");
	assert_int_equal(buf[4], '#');
	assert_int_equal(ration_client_address(f.r, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", NULL,
			     NULL, buf, RATION_ADDRESS_MAX),
	    39);
	/* A policy without proxies, or none: nobody is believed. */
	fixture_policy(&f, "limits: {api: {rates: 3/min}}\n");
	assert_string_equal(client(&f, "127.0.0.1", "1.2.3.4", "for=1.2.3.4"), "127.0.0.1");
	assert_int_equal(ration_open_dir("/nonexistent", "t", RATION_FAIL_OPEN, &lost), 0);
	assert_int_equal(
	    ration_client_address(lost, "::ffff:127.0.0.1", "1.2.3.4", NULL, buf, 46), 9);
	assert_string_equal(buf, "127.0.0.1");
	ration_close(lost);
	fixture_close(&f);
}

/* Headers of 64 KiB cost what they are long, and a walk ends. */
static void
long_headers(void **state)
{
	static const char *const parts[] = { ",", " ", "\"", "\\", "\"\\", "\\\"", "10.0.0.1,",
		"1.2.3.4,", "for=\"10.0.0.1\",", "for=10.0.0.1,", ";", "for=\"", "=", "a=b;",
		"a=\"\\\"\";", "[", ":" };
	struct fixture f;
	char *text = malloc(65536 + 32);
	struct timespec t0, t1;
	(void)state;

	open_proxies(&f);
	assert_non_null(text);
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t len = strlen(parts[i]), n = 65536 / len * len;

		for (size_t k = 0; k < n; k += len)
			memcpy(text + k, parts[i], len);
		text[n] = '\0';
		(void)client(&f, "127.0.0.1", text, text);
		(void)client(&f, "127.0.0.1", text, NULL);
		(void)client(&f, "127.0.0.1", NULL, text);
		/* And with the proxy's word at the right. */
		memcpy(text + n, ", for=203.0.113.9", 18);
		assert_string_equal(client(&f, "127.0.0.1", NULL, text), "203.0.113.9");
	}
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
	/* Some 70 headers: milliseconds if linear, many seconds if not. */
	assert_true(t1.tv_sec - t0.tv_sec < 5);
	free(text);
	fixture_close(&f);
}

static void
exempt(void **state)
{
	static const struct {
		const char *text;
		bool want;
	} cases[] = {
		{ "192.0.2.3", true },
		{ "::ffff:192.0.2.3", true },
		{ "192.0.2.16", false },
		{ "192.0.2.0/28", true },
		{ "192.0.2.0/29", true },
		{ "192.0.2.0/24", false }, /* the key stands for more than the range has */
		{ "198.51.100.7", true },
		{ "198.51.100.7/32", true },
		{ "198.51.100.7/31", false },
		{ "2001:db8:0:1::/64", true },
		{ "2001:db8:1::/64", false },
		{ "2001:db8::/32", false },
		{ "2001:db8:ffff::1", true },
		{ "2001:db8:ffff::/64", false },
		{ "192.0.2.3/", false },
		{ "192.0.2.3/033", false },
		{ "192.0.2.3/33", false },
		{ "192.0.2.3/28x", false },
		{ "x", false },
		{ "", false },
	};
	struct fixture f;
	struct policy_ref p;
	(void)state;

	fixture_open(&f, "limits: {api: {rates: 3/min}}\n", 0);
	assert_true(policy_current(f.seg.policy, &p));
	assert_false(address_exempt(&p, "192.0.2.3", 9));
	fixture_policy(&f,
	    "exempt: {addresses: [192.0.2.0/28, \"2001:db8::/48\", 198.51.100.7, "
	    "\"2001:db8:ffff::1\"]}\nlimits: {api: {rates: 3/min}}\n");
	assert_true(policy_current(f.seg.policy, &p));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (address_exempt(&p, cases[i].text, strlen(cases[i].text)) != cases[i].want)
			fail_msg("%s: expected %d", cases[i].text, cases[i].want);
	fixture_close(&f);
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
		cmocka_unit_test(x_forwarded_for),
		cmocka_unit_test(forwarded),
		cmocka_unit_test(both_headers),
		cmocka_unit_test(client_address_use),
		cmocka_unit_test(long_headers),
		cmocka_unit_test(exempt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
