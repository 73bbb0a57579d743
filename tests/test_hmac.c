/*
 * test_hmac.c - HMAC-SHA256 against the vectors of RFC 4231.
 */
#include "hmac.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

static const struct {
	char key; /* repeated; 0: `text` is the key */
	size_t key_len;
	const char *text;
	char fill; /* repeated; 0: `data` */
	size_t data_len;
	const char *data, *mac;
} vectors[] = {
	{ 0x0b, 20, "", 0, 8, "Hi There",
	    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
	{ 0, 4, "Jefe", 0, 28, "what do ya want for nothing?",
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
	{ (char)0xaa, 20, "", (char)0xdd, 50, "",
	    "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe" },
	{ 0, 25,
	    "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15"
	    "\x16\x17\x18\x19",
	    (char)0xcd, 50, "",
	    "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b" },
	{ (char)0xaa, 131, "", 0, 54, "Test Using Larger Than Block-Size Key - Hash Key First",
	    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" },
	{ (char)0xaa, 131, "", 0, 152,
	    "This is a test using a larger than block-size key and a larger than block-size data. "
	    "The key needs to be hashed before being used by the HMAC algorithm.",
	    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2" },
};

static void
test_vectors(void **state)
{
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		char key[256], data[256], mac[HMAC_TEXT];
		size_t n = vectors[i].data_len;

		if (vectors[i].key != 0)
			memset(key, vectors[i].key, sizeof(key));
		else
			memcpy(key, vectors[i].text, vectors[i].key_len);
		if (vectors[i].fill != 0)
			memset(data, vectors[i].fill, sizeof(data));
		else
			memcpy(data, vectors[i].data, n);
		/* Wherever it is cut. */
		for (size_t cut = 0; cut <= n; cut++) {
			hmac_sha256_text(key, vectors[i].key_len,
			    (struct hmac_part[]) { { data, cut }, { data + cut, n - cut } }, 2,
			    mac);
			assert_string_equal(mac, vectors[i].mac);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
