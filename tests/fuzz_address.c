/*
 * fuzz_address.c - any bytes as an address, a header, a peer.  An address comes back the same
 * from its canonical text and agrees with inet_pton(); a walk through headers ends at an address
 * that somebody trusted, or at the peer; what the client sends in front changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include "address.h"
#include "fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fixture f;

static void
need(bool holds, const char *what, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s: \"%s\"\n", what, text);
	abort();
}

static void
start(void)
{
	if (f.r != NULL)
		return;
	fixture_open(&f,
	    "proxies: [127.0.0.1, 10.0.0.0/8, \"fd00::/8\"]\n"
	    "exempt: {addresses: [192.0.2.0/28, \"2001:db8::/48\"]}\n"
	    "limits: {api: {rates: 3/min}}\n",
	    0);
}

static void
stop(void)
{
	if (f.r != NULL)
		fixture_close(&f);
}

static void
one_address(const char *text, size_t len, unsigned prefix4, unsigned prefix6)
{
	char key[ADDRESS_KEY_MAX], again[ADDRESS_KEY_MAX];
	struct address a, b;
	struct policy_ref p;
	uint8_t bytes[16];
	size_t n = address_key(text, len, 32, 128, key);

	need(policy_current(f.seg.policy, &p), "no policy", "");
	(void)address_exempt(&p, text, len);
	need((n != 0) == address_parse(text, len, &a), "a key of what is none", text);
	if (n == 0)
		return;
	need(n == strlen(key) && n < RATION_ADDRESS_MAX, "length", key);
	need(address_parse(key, n, &b) && memcmp(&a, &b, sizeof(a)) == 0, "another address", key);
	need(strlen(text) == len, "a NUL within an address", text);
	if (memchr(text, ':', len) != NULL)
		need(inet_pton(AF_INET6, text, bytes) == 1 && memcmp(bytes, a.bytes, 16) == 0,
		    "libc reads something else", text);
	else
		need(inet_pton(AF_INET, text, bytes) == 1 && memcmp(bytes, a.bytes + 12, 4) == 0,
		    "libc reads something else", text);
	/* A cut address is in the range that it is cut to. */
	n = address_key(text, len, prefix4, prefix6, key);
	need(n != 0 && n < ADDRESS_KEY_MAX && n == strlen(key), "no key of an address", text);
	if (strchr(key, '/') != NULL)
		n = (size_t)(strchr(key, '/') - key);
	need(address_key(key, n, prefix4, prefix6, again) != 0 && strcmp(again, key) == 0,
	    "cut twice it is another", key);
}

static void
one_walk(const char *xff, const char *forwarded)
{
	char out[RATION_ADDRESS_MAX], again[RATION_ADDRESS_MAX];
	struct address a;
	char *longer;
	int n = ration_client_address(f.r, "10.0.0.1", xff, forwarded, out, sizeof(out));

	need(n > 0 && (size_t)n == strlen(out), "no address of a peer that is one", out);
	need(address_parse(out, (size_t)n, &a), "no address", out);
	n = ration_client_address(f.r, "192.0.2.1", xff, forwarded, out, sizeof(out));
	need(strcmp(out, "192.0.2.1") == 0, "a stranger was believed", out);
	/* What the proxy wrote counts, whatever the client wrote to the left of it. */
	if (asprintf(&longer, "%s, 203.0.113.9", xff) < 0)
		abort();
	n = ration_client_address(f.r, "10.0.0.1", longer, NULL, again, sizeof(again));
	need(n > 0 && strcmp(again, "203.0.113.9") == 0, "X-Forwarded-For", longer);
	free(longer);
	if (asprintf(&longer, "%s,for=\"[2001:db8::9]:1\";proto=https", forwarded) < 0)
		abort();
	n = ration_client_address(f.r, "10.0.0.1", NULL, longer, again, sizeof(again));
	need(n > 0 && strcmp(again, "2001:db8::9") == 0, "Forwarded", longer);
	free(longer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *second;
	static bool once;

	if (text == NULL)
		return 0;
	start();
	if (!once)
		(void)atexit(stop);
	once = true;
	memcpy(text, data, size);
	text[size] = '\0';
	one_address(text, size, size != 0 ? data[0] : 0, size != 0 ? data[size - 1] : 0);
	second = strchr(text, '\n');
	if (second != NULL)
		*second++ = '\0';
	one_walk(text, second != NULL ? second : text);
	free(text);
	return 0;
}
