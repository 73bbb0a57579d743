/*
 * test_spray.c - an address that is over its own limit asks with keys that nobody has seen,
 * a new one each time: none of them gets a slot, so it cannot fill the table.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "fixture.h"

static bool long_run;

static const char policy[] = "limits:\n"
			     "  per-ip: 10/hour\n"
			     "  api: 1000/min\n"
			     "  bucket: 1/hour burst 10\n"
			     "  day: [1000/day, 100/hour fixed]\n";

/* As a service asks: the address and the key that the caller claims to be. */
static int
ask(struct fixture *f, const char *first, const char *second, uint64_t n, bool swapped)
{
	char key[64];
	int len = snprintf(key, sizeof(key), "key:%" PRIu64 "%s", n,
	    n % 3 == 0 ? ":and some more, beyond what a slot holds" : "");
	ration_claim_t claims[2] = {
		{ sizeof(claims[0]), first, "203.0.113.9", 11, 1 },
		{ sizeof(claims[0]), second, key, (size_t)len, 1 },
	};

	if (swapped) {
		ration_claim_t c = claims[0];

		claims[0] = claims[1];
		claims[1] = c;
	}
	return ration_acquire_all(f->r, claims, 2, NULL);
}

static void
spray(const char *first, const char *second)
{
	uint64_t calls = long_run ? 10000000 : 1000000, admitted = 0;
	struct audit_counts before, after;
	struct fixture f;

	fixture_open(&f, policy, 1024);
	for (uint64_t n = 0; n < 20; n++)
		admitted += ask(&f, first, second, n, false) == RATION_ADMITTED;
	assert_int_equal(admitted, 10);
	assert_int_equal(audit_table(&f.seg, true, &before), 0);
	assert_int_equal(before.live, 11); /* the address and the ten */
	for (uint64_t n = 100; n < 100 + calls; n++) {
		int v = ask(&f, first, second, n, n % 2 == 0);

		if (v != RATION_DENIED)
			fail_msg("call %" PRIu64 ": %s", n, ration_strerror(v));
		if (n % 64 == 0) /* time goes on, but not to the next unit */
			atomic_fetch_add(&f.now, 1000);
	}
	assert_int_equal(audit_table(&f.seg, true, &after), 0);
	assert_memory_equal(&after, &before, sizeof(after));
	assert_int_equal(atomic_load(&f.seg.head->full_deny), 0);
	fixture_close(&f);
}

static void
test_spray(void **state)
{
	(void)state;
	spray("per-ip", "api");
	spray("per-ip", "day");
	spray("bucket", "api");
}

/* Neither looking nor being refused by the very key's limit takes a slot. */
static void
test_no_slot(void **state)
{
	struct audit_counts n;
	struct fixture f;
	char key[32];

	(void)state;
	fixture_open(&f, policy, 1024);
	for (unsigned i = 0; i < 10000; i++) {
		(void)snprintf(key, sizeof(key), "k%u", i);
		assert_int_equal(ration_peek(f.r, "api", key, 1, NULL), RATION_ADMITTED);
		assert_int_equal(ration_acquire(f.r, "api", key, 1001, NULL), RATION_DENIED);
		assert_int_equal(ration_acquire(f.r, "bucket", key, 11, NULL), RATION_DENIED);
		assert_int_equal(ration_acquire(f.r, "api", key, 0, NULL), RATION_ADMITTED);
	}
	assert_int_equal(audit_table(&f.seg, true, &n), 0);
	assert_int_equal(n.live, 0);
	assert_int_equal(n.free, 1024);
	fixture_close(&f);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_spray),
		cmocka_unit_test(test_no_slot) };

	long_run = argc > 1 && strcmp(argv[1], "--long") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
