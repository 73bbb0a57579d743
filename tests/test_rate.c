/*
 * test_rate.c - rates, quantities, fractions and durations as text: what is read, what
 * is refused with which words, and that canonical text comes back as it was.
 */
#include "rate.h"
#include "ration.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

#define S UINT64_C(1000000000)
#define MONTH (31 * 86400 * S)

static void
test_good_rates(void **state)
{
	static const struct {
		const char *text;
		struct rate_spec want;
		const char *canonical; /* NULL: as text */
	} cases[] = {
		{ "300/min", { RATION_SLIDING, 300, 0, 60 * S }, NULL },
		{ "30/s", { RATION_SLIDING, 30, 0, S }, NULL },
		{ "10/hour", { RATION_SLIDING, 10, 0, 3600 * S }, NULL },
		{ "10/h", { RATION_SLIDING, 10, 0, 3600 * S }, "10/hour" },
		{ "10/hour fixed", { RATION_FIXED, 10, 0, 3600 * S }, NULL },
		{ "100/15min fixed", { RATION_FIXED, 100, 0, 900 * S }, NULL },
		{ "480/day", { RATION_DAY, 480, 0, 86400 * S }, NULL },
		{ "480/24h", { RATION_SLIDING, 480, 0, 86400 * S }, NULL },
		{ "2.5M/month", { RATION_MONTH, 2500000, 0, MONTH }, NULL },
		{ "100MB/month", { RATION_MONTH, 100000000, 0, MONTH }, "100M/month" },
		{ "1T/month", { RATION_MONTH, UINT64_C(1000000000000), 0, MONTH }, NULL },
		{ "64Ki/day", { RATION_DAY, 65536, 0, 86400 * S }, NULL },
		{ "10/s burst 20", { RATION_BUCKET, 10, 20, S }, NULL },
		{ "1/h burst 5", { RATION_BUCKET, 1, 5, 3600 * S }, "1/hour burst 5" },
		{ "5/day burst 2", { RATION_BUCKET, 5, 2, 86400 * S }, "5/24h burst 2" },
		{ "5 concurrent", { RATION_CONCURRENT, 5, 0, 0 }, NULL },
		{ "unlimited", { RATION_COUNT_ONLY, RATION_UNLIMITED, 0, 0 }, NULL },
		{ "6/10s", { RATION_SLIDING, 6, 0, 10 * S }, NULL },
		{ "6/90s", { RATION_SLIDING, 6, 0, 90 * S }, NULL },
		{ "0/min", { RATION_SLIDING, 0, 0, 60 * S }, NULL },
		{ "1G/min", { RATION_SLIDING, 1000000000, 0, 60 * S }, NULL },
		{ "9999/min", { RATION_SLIDING, 9999, 0, 60 * S }, NULL },
		{ "12345/min", { RATION_SLIDING, 12345, 0, 60 * S }, NULL },
		{ "12.34k/min", { RATION_SLIDING, 12340, 0, 60 * S }, NULL },
		{ " 300 / min ", { RATION_SLIDING, 300, 0, 60 * S }, "300/min" },
		{ "0.3k/min", { RATION_SLIDING, 300, 0, 60 * S }, "300/min" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rate_spec r;
		char err[256] = "", text[64];

		if (rate_parse(cases[i].text, &r, err, sizeof(err)) != 0)
			fail_msg("\"%s\" refused: %s", cases[i].text, err);
		assert_int_equal(r.kind, cases[i].want.kind);
		assert_true(r.units == cases[i].want.units);
		assert_true(r.burst == cases[i].want.burst);
		assert_true(r.window_ns == cases[i].want.window_ns);
		rate_format(&r, text, sizeof(text));
		assert_string_equal(
		    text, cases[i].canonical != NULL ? cases[i].canonical : cases[i].text);
	}
}

static void
test_bad_rates(void **state)
{
	static const struct {
		const char *text, *err;
	} cases[] = {
		{ "",
		    "found \"\", expected a rate such as 300/min, 10/h fixed, 480/day, 10/s burst "
		    "20, 5 concurrent or unlimited" },
		{ "fast",
		    "found \"fast\", expected a rate such as 300/min, 10/h fixed, 480/day, "
		    "10/s burst 20, 5 concurrent or unlimited" },
		{ "300",
		    "found \"300\", expected / and a window after the number, or "
		    "\"concurrent\"" },
		{ "300/m", "found the window \"m\", expected s, min, h, day or month" },
		{ "300/fortnight",
		    "found the window \"fortnight\", expected s, min, h, day or month" },
		{ "1/100ms", "found the window \"100ms\", expected s, min, h, day or month" },
		{ "1/2day",
		    "found the window \"2day\", expected one day or one month, or up to "
		    "24h" },
		{ "1/25h", "found a window of 90000 s, expected at most 24h" },
		{ "1/7min fixed",
		    "found a fixed window of 420 s, expected one that divides a day" },
		{ "1/day fixed",
		    "found \"fixed\", expected nothing: days and months are calendar "
		    "periods anyway" },
		{ "1/month burst 2",
		    "found \"burst\" with a month, expected a window of at most 24h" },
		{ "0/s burst 2",
		    "found a bucket of 0, expected at least 1 (0/s denies "
		    "everything)" },
		{ "1/s burst 2G", "found a burst of 2000000000, expected at most 10^9" },
		{ "1/24h burst 32",
		    "found a bucket that takes longer than 31 days to fill, expected "
		    "a smaller burst or a faster rate" },
		{ "1000000001/s",
		    "found 1000000001 units, expected at most 10^9: a sliding window "
		    "counts no higher, fixed does" },
		{ "1001G/month",
		    "found 1001000000000 units, expected at most 10^12: its counter "
		    "holds no more" },
		{ "1.5/s", "found 1.5, expected whole units" },
		{ "1Q/s",
		    "found the suffix \"Q\", expected k, M, G, T, kB, MB, GB, TB, Ki, Mi, Gi "
		    "or Ti" },
		{ "99999999999999999999/s",
		    "found \"99999999999999999999/s\", expected a number "
		    "such as 300, 2.5M or 64Ki" },
		{ "300/min extra", "found \"extra\" after the rate, expected nothing more" },
		{ "1/s\033[2J", "found \"\\033[2J\" after the rate, expected nothing more" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rate_spec r;
		char err[256] = "";

		if (rate_parse(cases[i].text, &r, err, sizeof(err)) != -1)
			fail_msg("\"%s\" accepted", cases[i].text);
		assert_string_equal(err, cases[i].err);
	}
}

static void
test_lists(void **state)
{
	struct rate_spec r[4];
	char err[256];

	assert_int_equal(rate_parse_list("300/min, 30/s", r, 4, err, sizeof(err)), 2);
	assert_int_equal(r[1].units, 30);
	assert_int_equal(rate_parse_list("[300/min,30/s]", r, 4, err, sizeof(err)), 2);
	assert_int_equal(rate_parse_list("1/s", r, 4, err, sizeof(err)), 1);
	assert_int_equal(rate_parse_list("[1/s", r, 4, err, sizeof(err)), -1);
	assert_string_equal(err, "found \"\", expected ] at the end of the rates");
	assert_int_equal(rate_parse_list("1/s, 2/min, 3/h", r, 2, err, sizeof(err)), -1);
	assert_string_equal(err, "found more than 2 rates, expected at most 2");
	assert_int_equal(rate_parse_list("1/s, 2/s", r, 4, err, sizeof(err)), -1);
	assert_string_equal(
	    err, "found 2/s beside another rate of the same window, expected one of each");
	assert_int_equal(rate_parse_list("1/h, 2/h fixed", r, 4, err, sizeof(err)), 2);
	assert_int_equal(rate_parse_list("1/s, unlimited", r, 4, err, sizeof(err)), -1);
	assert_string_equal(err, "found unlimited beside other rates, expected it alone");
}

static void
test_scale(void **state)
{
	struct rate_spec r;
	char err[64];

	rate_parse("10/h", &r, err, sizeof(err));
	rate_scale(&r, 1, 10);
	assert_int_equal(r.units, 1);
	rate_scale(&r, 1, 10); /* at least 1 */
	assert_int_equal(r.units, 1);
	rate_parse("0/h", &r, err, sizeof(err));
	rate_scale(&r, 10, 1); /* unless 0 */
	assert_int_equal(r.units, 0);
	rate_parse("100/s burst 250", &r, err, sizeof(err));
	rate_scale(&r, 1, 6);
	assert_int_equal(r.units, 16);
	assert_int_equal(r.burst, 41);
	rate_parse("1G/s", &r, err, sizeof(err));
	rate_scale(&r, 10, 1); /* no higher than its counter */
	assert_int_equal(r.units, 1000000000);
	rate_parse("unlimited", &r, err, sizeof(err));
	rate_scale(&r, 1, 6);
	assert_true(r.units == RATION_UNLIMITED);
	rate_parse("1T/month", &r, err, sizeof(err));
	rate_scale(&r, 999999999, 1000000000); /* exact beyond 64 bits */
	assert_true(r.units == UINT64_C(999999999000));
}

static void
test_fractions(void **state)
{
	uint64_t num, den;
	char err[128];

	assert_int_equal(fraction_parse("0.1", &num, &den, err, sizeof(err)), 0);
	assert_true(num == 1 && den == 10);
	assert_int_equal(fraction_parse("2/12", &num, &den, err, sizeof(err)), 0);
	assert_true(num == 1 && den == 6);
	assert_int_equal(fraction_parse("1.5x", &num, &den, err, sizeof(err)), 0);
	assert_true(num == 3 && den == 2);
	assert_int_equal(fraction_parse("10", &num, &den, err, sizeof(err)), 0);
	assert_true(num == 10 && den == 1);
	assert_int_equal(fraction_parse("0", &num, &den, err, sizeof(err)), -1);
	assert_int_equal(fraction_parse("1/0", &num, &den, err, sizeof(err)), -1);
	assert_int_equal(fraction_parse("-1", &num, &den, err, sizeof(err)), -1);
	assert_int_equal(fraction_parse("1/6/7", &num, &den, err, sizeof(err)), -1);
	assert_string_equal(err, "found \"1/6/7\", expected a fraction above 0 such as 1/6 or 0.1");
	assert_int_equal(fraction_parse("1/9999999999", &num, &den, err, sizeof(err)), -1);
}

static void
test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t s;
		const char *canonical;
	} cases[] = {
		{ "90s", 90, "1m30s" },
		{ "1h30m", 5400, "1h30m" },
		{ "2d", 172800, "2d" },
		{ "31d", 31 * 86400, "31d" },
		{ "15min", 900, "15m" },
		{ "1w", 7 * 86400, "7d" },
		{ "0s", 0, "0s" },
		{ "1.5h", 5400, "1h30m" },
	};
	static const char *const bad[] = { "", "5", "5 s", "m5", "1m1h", "1h1h", "1month", "-5s",
		"1h ", "5sx", "300y" };
	uint64_t ns;
	char err[256], text[64];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(duration_parse(cases[i].text, &ns, err, sizeof(err)), 0);
		assert_true(ns == cases[i].s * S);
		duration_format(ns, text, sizeof(text));
		assert_string_equal(text, cases[i].canonical);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (strcmp(bad[i], "1h ") == 0) /* a blank at the end is no harm */
			assert_int_equal(duration_parse(bad[i], &ns, err, sizeof(err)), 0);
		else if (duration_parse(bad[i], &ns, err, sizeof(err)) != -1)
			fail_msg("\"%s\" accepted", bad[i]);
	}
	duration_parse("soon", &ns, err, sizeof(err));
	assert_string_equal(err, "found \"soon\", expected a time such as 90s, 15min, 1h30m or 2d");
}

/* Any rate that can be made is written and read back as the same one. */
static void
test_round_trip(void **state)
{
	static const uint64_t seconds[] = { 1, 2, 7, 10, 59, 60, 90, 900, 3600, 7200, 86400 };
	unsigned seed = (unsigned)time(NULL);

	print_message("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < 100000; i++) {
		struct rate_spec r = { .kind = RATION_SLIDING }, back;
		uint64_t digits = (uint64_t)(random() % 10);
		char text[64], err[256] = "";

		r.units = (uint64_t)random() % 1000;
		while (digits-- > 0 && r.units < 100000000)
			r.units *= random() % 3 == 0 ? 1024 : 10;
		r.units %= 1000000001;
		r.window_ns = seconds[(size_t)random() % 11] * S;
		if (random() % 3 == 0 && r.units > 0 && r.window_ns < 3600 * S) {
			r.kind = RATION_BUCKET;
			r.burst = 1 + (uint64_t)random() % 600;
		}
		rate_format(&r, text, sizeof(text));
		if (rate_parse(text, &back, err, sizeof(err)) != 0)
			fail_msg("\"%s\" refused: %s", text, err);
		assert_int_equal(back.kind, r.kind);
		assert_true(back.units == r.units && back.burst == r.burst);
		assert_true(back.window_ns == r.window_ns);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_rates),
		cmocka_unit_test(test_bad_rates),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_scale),
		cmocka_unit_test(test_fractions),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
