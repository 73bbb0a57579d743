/*
 * test_upstream_headers.c - pauses before another try, HTTP's dates, and what the headers of an
 * answer say, in every dialect and in none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <inttypes.h>
#include <string.h>

#include "upstream.h"
#include "upstreams.h"

static uint64_t seed;

/* ---- pauses and dates ---- */

static void
test_backoff(void **state)
{
	uint64_t random = seed, sum = 0, low = UINT64_MAX, high = 0;

	(void)state;
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t w = ration_backoff_ms(1000, 60000, 3, &random);

		assert_true(w <= 4000);
		sum += w;
		low = w < low ? w : low;
		high = w > high ? w : high;
	}
	/* Uniform: the mean of 2,000 lies within 100 of the middle but once in 10^4 runs. */
	assert_in_range(sum / 2000, 1890, 2110);
	assert_true(low < 100 && high > 3900);
	for (unsigned n = 0; n < 100; n++)
		assert_true(ration_backoff_ms(1000, 60000, n, &random) <= 60000);
	assert_true(ration_backoff_ms(0, 60000, 5, &random) == 0);
	(void)ration_backoff_ms(UINT64_MAX, UINT64_MAX, UINT32_MAX, &random);
	(void)ration_backoff_ms(1, UINT64_MAX, UINT32_MAX, NULL);
}

#define NOW INT64_C(784111777) /* Sun, 06 Nov 1994 08:49:37 GMT */

static void
test_retry_after(void **state)
{
	static const struct {
		const char *text;
		int64_t from, want;
	} all[] = {
		{ "0", NOW, 0 },
		{ "120", NOW, 120 },
		{ " 120\t", NOW, 120 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", NOW - 45, 45 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", NOW - 45, 45 },
		{ "Sun Nov  6 08:49:37 1994", NOW - 45, 45 },
		{ "Wed Nov 16 08:49:37 1994", NOW, 864000 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", NOW + 1, 0 }, /* past */
		{ "Thu, 29 Feb 2024 00:00:00 GMT", 1709164800 - 1, 1 },
		{ "Tuesday, 01-Jan-30 00:00:00 GMT", 1893456000 - 7, 7 },
		/* Over 50 years ahead is of the century before. */
		{ "Sunday, 06-Nov-94 08:49:37 GMT", 1767225600, 0 },
		{ "Thu, 29 Feb 2023 00:00:00 GMT", NOW, -1 },
		{ "Sun, 06 Nov 1994 24:49:37 GMT", NOW, -1 },
		{ "Sun, 06 Nov 1994 08:49:37 UTC", NOW, -1 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT x", NOW, -1 },
		{ "Son, 06 Nov 1994 08:49:37 GMT", NOW, -1 },
		{ "-5", NOW, -1 },
		{ "1.5", NOW, -1 },
		{ "12 s", NOW, -1 },
		{ "", NOW, -1 },
		{ " ", NOW, -1 },
		{ "soon", NOW, -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int64_t got = ration_retry_after(all[i].text, strlen(all[i].text), all[i].from);

		if (got != all[i].want)
			fail_msg("\"%s\" from %" PRId64 ": %" PRId64 ", expected %" PRId64,
			    all[i].text, all[i].from, got, all[i].want);
	}
	assert_true(ration_retry_after("99999999999999999999999", 23, NOW) > 1000000000);
	assert_int_equal(ration_retry_after(NULL, 0, NOW), -1);
	assert_int_equal(ration_retry_after("12", 1, NOW), 1); /* len, not NUL */
	assert_true(ration_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 29, INT64_MIN) > 0);
	for (int64_t t = 0; t < 4102444800; t += 86399 * 13) {
		char text[40];

		http_date_text(t, text);
		assert_int_equal(http_date(text, strlen(text), 0), t);
	}
}

/* ---- headers ---- */

static struct learnt
learn(const char *const *pairs, size_t n)
{
	ration_attr_t h[8];
	struct learnt l;

	for (size_t i = 0; i < n; i++)
		h[i] = (ration_attr_t) { sizeof(h[i]), pairs[2 * i], pairs[2 * i + 1],
			strlen(pairs[2 * i + 1]) };
	learn_headers(h, n, 1767225600, &l);
	return l;
}
#define LEARN(...) \
	learn((const char *const[]) { __VA_ARGS__ }, \
	    sizeof((const char *const[]) { __VA_ARGS__ }) / sizeof(char *) / 2)

static void
expect(struct learnt l, uint64_t limit, uint64_t remaining, uint8_t kind, uint64_t reset_ms)
{
	assert_true(l.has_limit && l.has_remaining);
	assert_int_equal(l.limit, limit);
	assert_int_equal(l.remaining, remaining);
	assert_int_equal(l.reset_kind, kind);
	assert_int_equal(l.reset_ms, reset_ms);
	assert_int_equal(l.malformed, 0);
}

static void
test_dialects(void **state)
{
	struct learnt l;

	(void)state;
	/* The five systems. */
	expect(LEARN("X-RateLimit-Limit", "300", "X-RateLimit-Remaining", "12", "X-RateLimit-Reset",
		   "1778649660"),
	    300, 12, RESET_UNIX, UINT64_C(1778649660000));
	expect(LEARN("x-ratelimit-limit", " 300 ", "X-RATELIMIT-REMAINING", "0",
		   "X-RateLimit-Reset", "45"),
	    300, 0, RESET_DELTA, 45000);
	expect(LEARN("X-RateLimit-Limit", "300", "X-RateLimit-Remaining", "1", "X-RateLimit-Reset",
		   "1778649660123"),
	    300, 1, RESET_UNIX, UINT64_C(1778649660123));
	l = LEARN("X-RateLimit-Limit", "600", "X-RateLimit-Remaining", "1", "X-RateLimit-Reset",
	    "1778649660", "X-RateLimit-Window", "60", "Retry-After", "15");
	assert_int_equal(l.window_s, 60);
	assert_int_equal(l.retry_after_s, 15);
	/* The IETF's: first, in between, now. */
	expect(LEARN("RateLimit-Limit", "10, 10;w=1, 1000;w=3600", "RateLimit-Remaining", "9",
		   "RateLimit-Reset", "1"),
	    10, 9, RESET_DELTA, 1000);
	expect(LEARN("RateLimit", "limit=100, remaining=50, reset=5"), 100, 50, RESET_DELTA, 5000);
	expect(LEARN("RateLimit-Policy", "\"burst\";q=100;w=60,\"daily\";q=1000;w=86400",
		   "RateLimit", "\"burst\";r=70;t=30, \"daily\";r=12;t=500"),
	    1000, 12, RESET_DELTA, 500000);
	/* As this library writes it. */
	expect(LEARN("RateLimit-Policy", "\"api\";q=300;w=60", "RateLimit", "\"api\";r=299;t=60"),
	    300, 299, RESET_DELTA, 60000);
	/* One header a policy. */
	expect(LEARN("RateLimit", "\"a\";r=5;t=1", "RateLimit",
		   "\"b\";r=4;t=9;pk=:dGVzdA==:", "RateLimit-Policy",
		   "\"a\";q=10;w=1;qu=\"requests\"", "ratelimit-policy", "\"b\";q=20"),
	    20, 4, RESET_DELTA, 9000);
	/* Both families: the tighter. */
	expect(LEARN("X-RateLimit-Limit", "300", "X-RateLimit-Remaining", "100", "RateLimit",
		   "\"a\";r=3;t=7", "RateLimit-Policy", "\"a\";q=30"),
	    30, 3, RESET_DELTA, 7000);
	l = LEARN("Retry-After", "Thu, 01 Jan 2026 00:01:00 GMT", "Date",
	    "Thu, 01 Jan 2026 00:00:18 GMT");
	assert_int_equal(l.retry_after_s, 42); /* by their clock */
	l = LEARN("Date", "Thu, 01 Jan 2026 00:00:18 GMT", "Age", "30");
	assert_int_equal(l.date_s, -1); /* a cache's */
}

/* Two of the same, one by one or put together by whoever reads headers for us. */
static void
test_twice(void **state)
{
	struct learnt l;

	(void)state;
	expect(LEARN("X-RateLimit-Limit", "300", "X-RateLimit-Remaining", "50, 3",
		   "X-RateLimit-Reset", "7, 60"),
	    300, 3, RESET_DELTA, 60000);
	expect(
	    LEARN("X-RateLimit-Limit", "300", "X-RateLimit-Remaining", "50",
		"X-RateLimit-Remaining", "3", "X-RateLimit-Reset", "60", "X-RateLimit-Reset", "7"),
	    300, 3, RESET_DELTA, 60000);
	assert_int_equal(LEARN("X-RateLimit-Remaining", "50, many").malformed, 1);
	l = LEARN("Retry-After", "60", "Retry-After", "5");
	assert_int_equal(l.retry_after_s, 60);
	l = LEARN("Retry-After", "60", "Retry-After", "soon");
	assert_int_equal(l.retry_after_s, 60);
	assert_int_equal(l.malformed, 1);
}

static void
test_malformed(void **state)
{
	static const char *const wrong[][2] = {
		{ "X-RateLimit-Limit", "many" },
		{ "X-RateLimit-Limit", "" },
		{ "X-RateLimit-Remaining", "-1" },
		{ "X-RateLimit-Remaining", "5 units" },
		{ "X-RateLimit-Remaining", "99999999999999999999" },
		{ "X-RateLimit-Reset", "Thu, 01 Jan 2026 00:01:00 GMT" },
		{ "X-RateLimit-Reset", "99999999" }, /* neither a date nor a wait */
		{ "RateLimit", "\"a\";r=5;t=" },
		{ "RateLimit", "\"a;r=5;t=1" },
		{ "RateLimit", "\"a\";r=5;t=1,," },
		{ "RateLimit", "\"a\";r=x" },
		{ "RateLimit", "\"a\";r" },
		{ "RateLimit", "limit=-5" },
		{ "RateLimit", "" },
		{ "RateLimit-Policy", "\"a\";q=\"5\"" },
		{ "RateLimit-Policy", "\"a\\" },
		{ "Retry-After", "-12" },
		{ "Retry-After", "later" },
		{ "Date", "yesterday" },
		{ "Age", "old" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct learnt l = learn(wrong[i], 1);

		if (l.malformed != 1 || l.has_limit || l.has_remaining ||
		    l.reset_kind != RESET_NONE || l.retry_after_s != -1 || l.date_s != -1)
			fail_msg("%s: \"%s\" was understood", wrong[i][0], wrong[i][1]);
	}
	/* Half of a list that is wrong in its end says nothing. */
	assert_false(LEARN("RateLimit", "\"a\";r=5;t=1, \"b\";r=;t=1").has_remaining);
	/* Others are none of ours. */
	assert_int_equal(LEARN("X-Other", "x", "Content-Type", "text/plain").malformed, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_dialects),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_malformed),
	};

	seed = test_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
