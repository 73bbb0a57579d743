/*
 * test_filter.c - filter expressions, the columns they read, keys as text.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "filter.h"

#define NOW_S 1778649600

/* clinic:7 on plan growth: 188 of 200 a minute and 2 of 30 a second used. */
static struct model_row
sample(void)
{
	struct model_row r = { .allow_s = 2.5F, .deny_s = 0, .last_s = 3, .now_s = NOW_S };

	r.row.key_len = 8;
	memcpy(r.row.key, "Clinic:7", 8);
	r.row.nrates = 2;
	r.row.admitted = 12345;
	r.row.denied = 7;
	r.row.mode = MODE_OBSERVE;
	r.row.rates[0] = (ration_rate_t) { .kind = RATION_SLIDING,
		.limit_units = 200,
		.used = 188,
		.remaining = 12,
		.rate_units = 200,
		.window_ns = UINT64_C(60000000000),
		.reset_at = NOW_S + 51 };
	r.row.rates[1] = (ration_rate_t) { .kind = RATION_SLIDING,
		.limit_units = 30,
		.used = 2,
		.remaining = 28,
		.rate_units = 30,
		.window_ns = UINT64_C(1000000000),
		.reset_at = NOW_S + 1,
		.retry_at = 0 };
	strcpy(r.limit, "login");
	strcpy(r.plan, "growth");
	return r;
}

static bool
match(const char *expr)
{
	struct model_row r = sample();
	char err[200] = "";
	struct filter *f = filter_parse(expr, err, sizeof(err));
	bool yes;

	if (!f)
		fail_msg("%s: %s", expr, err);
	yes = filter_match(f, &r);
	filter_free(f);
	return yes;
}

static void
test_match(void **state)
{
	static const char *const yes[] = { "", "  ", "clinic", "Clinic", "7", "key:clinic", "KEY:7",
		"limit:log", "limit=login", "limit:~^lo.in$", "use>80", "use>80%", "USE%>=94",
		"use:94", "used=188", "USED/LIMIT>100", "left<13", "left<=12", "allow>2",
		"ALLOW/s<2.6", "deny:0", "admitted>12k", "denied=7", "reset<1min", "reset>50",
		"reset:51s", "last<1h", "plan:grow", "plan:growth !env:x", "mode=observe",
		"algo:sliding", "~^Clinic:[0-9]+$", "~^clinic", "!foo", "!!clinic", "foo | clinic",
		"foo|clinic", "foo bar | clinic use>80 | baz", "\"linic:\"", "key=\"Clinic:7\"",
		"limit:login use>80", "~a|linic", "!use>95", "\tclinic\n" };

	for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++)
		if (!match(yes[i]))
			fail_msg("does not match: %s", yes[i]);
}

static void
test_no_match(void **state)
{
	static const char *const no[] = { "CLINIC", "foo", "clinic foo", "key=clinic:7",
		"limit:Login", "limit=log", "use>94", "use<80", "left>12", "deny>0", "denied>=8",
		"reset>1min", "retry>0", "!clinic", "foo | bar", "plan=Growth", "mode:enforce",
		"~^linic", "env:sandbox", "ip:10.0.0.1" };

	for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++)
		if (match(no[i]))
			fail_msg("matches: %s", no[i]);
}

static void
test_mistakes(void **state)
{
	static const struct {
		const char *expr, *place, *expected;
	} bad[] = {
		{ "| x", "column 1", "before" },
		{ "x |", "column 4", "after" },
		{ "x || y", "column 4", "before" },
		{ "foo>3", "column 1", "one of key" },
		{ "use>", "column 5", "number" },
		{ "use>eighty", "column", "number" },
		{ "reset>soon", "column", "time" },
		{ "key>3", "column 1", "text" },
		{ "!", "column 2", "text" },
		{ "~(", "column", "regular expression" },
		{ "~(a)\\1", "column", "back-references" },
		{ "~a++++++++++++++++++++", "column", "repeats" },
		{ "~((a{255}){255}){255}", "column", "repeats" },
		{ "~a{1000}", "column", "255" },
		{ "\"abc", "column 1", "partner" },
		{ "\"abc\"d", "column", "blank" },
		{ "\"\"", "column", "nothing" },
	};
	char err[200], many[FILTER_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err[0] = 0;
		if (filter_parse(bad[i].expr, err, sizeof(err)))
			fail_msg("taken: %s", bad[i].expr);
		if (!strstr(err, bad[i].place) || !strstr(err, bad[i].expected))
			fail_msg("%s: \"%s\" does not say %s, %s", bad[i].expr, err, bad[i].place,
			    bad[i].expected);
	}
	memset(many, 'x', sizeof(many));
	many[FILTER_MAX + 1] = 0;
	assert_null(filter_parse(many, err, sizeof(err)));
	for (size_t i = 0; i < 40; i++)
		memcpy(many + 2 * i, "x ", 3);
	assert_null(filter_parse(many, err, sizeof(err)));
	assert_non_null(strstr(err, "terms"));
}

/* What is known early is never taken back, and nothing is unknown at the end. */
static void
test_early(void **state)
{
	struct model_row r = sample(), bare = { 0 };
	char err[200];
	struct filter *f = filter_parse("use>80 key:foo | denied>3", err, sizeof(err));

	assert_non_null(f);
	assert_int_equal(filter_need(f), NEED_ROW);
	bare.row.denied = 7;
	assert_int_equal(filter_match_early(f, &bare, NEED_TOTALS), 1);
	bare.row.denied = 0;
	assert_int_equal(filter_match_early(f, &bare, NEED_TOTALS), -1);
	assert_int_equal(filter_match_early(f, &bare, NEED_KEY), 0);
	r.row.denied = 0;
	assert_int_equal(filter_match_early(f, &r, NEED_ROW), 0);
	filter_free(f);
}

static const char *
shown(const struct model_row *r, enum column c)
{
	static char buf[KEY_TEXT_MAX];

	column_text(r, c, buf, sizeof(buf));
	return buf;
}

static void
test_columns(void **state)
{
	struct model_row r = sample();
	char buf[64];

	assert_string_equal(shown(&r, COL_KEY), "Clinic:7");
	assert_string_equal(shown(&r, COL_USED), "188/200");
	assert_string_equal(shown(&r, COL_USE), "94");
	assert_string_equal(shown(&r, COL_LEFT), "12");
	assert_string_equal(shown(&r, COL_ALLOW), "2.5");
	assert_string_equal(shown(&r, COL_RESET), "0:51");
	assert_string_equal(shown(&r, COL_RETRY), "-");
	assert_string_equal(shown(&r, COL_LAST), "0:03");
	assert_string_equal(shown(&r, COL_MODE), "observe");
	assert_string_equal(shown(&r, COL_ENV), "");
	r.row.rates[0].used = 199;
	assert_string_equal(shown(&r, COL_USE), "99"); /* never 100 before it is */
	r.row.nrates = 1;
	r.row.rates[0].limit_units = RATION_UNLIMITED;
	assert_string_equal(shown(&r, COL_USED), "199/-");
	assert_string_equal(shown(&r, COL_USE), "-");
	assert_true(isnan(column_number(&r, COL_USE)));
	r.row.rates[0].limit_units = 0;
	assert_string_equal(shown(&r, COL_USE), "100");
	/* What lies in shared memory may be anything. */
	r.row.nrates = 200;
	r.row.deciding = 250;
	r.row.mode = 9;
	r.row.rates[0].kind = 77;
	for (enum column c = 0; c < COL_COUNT; c++) {
		column_text(&r, c, buf, sizeof(buf));
		column_raw(&r, c, buf, sizeof(buf));
		column_number(&r, c);
	}
}

static void
test_column_names(void **state)
{
	for (enum column c = 0; c < COL_COUNT; c++) {
		assert_int_equal(column_find(columns[c].name, strlen(columns[c].name)), c);
		assert_int_equal(column_find(columns[c].header, strlen(columns[c].header)), c);
		assert_true(strlen(columns[c].header) <= (size_t)columns[c].width);
	}
	assert_int_equal(column_find("us", 2), COL_COUNT);
	assert_int_equal(column_find("", 0), COL_COUNT);
}

static const char *
units(uint64_t n)
{
	static char buf[32];

	text_units(n, buf, sizeof(buf));
	assert_true(strlen(buf) <= 5);
	return buf;
}

static const char *
span(int64_t s)
{
	static char buf[32];

	text_span(s, buf, sizeof(buf));
	return buf;
}

static void
test_numbers(void **state)
{
	char buf[32];

	assert_string_equal(units(0), "0");
	assert_string_equal(units(9999), "9999");
	assert_string_equal(units(10000), "10k");
	assert_string_equal(units(48211), "48.2k");
	assert_string_equal(units(999499), "999k");
	assert_string_equal(units(1250000), "1.25M");
	assert_string_equal(units(2500000), "2.5M");
	assert_string_equal(units(9999999), "9.99M");
	assert_string_equal(units(1000000000000), "1T");
	units(UINT64_MAX - 1);
	assert_string_equal(span(38), "0:38");
	assert_string_equal(span(3599), "59:59");
	assert_string_equal(span(11520), "3h12m");
	assert_string_equal(span(86400 + 3 * 3600), "1d03h");
	assert_string_equal(span(31 * 86400), "31d");
	assert_string_equal(span(-1), "-");
	text_grouped(1000000, buf, sizeof(buf));
	assert_string_equal(buf, "1,000,000");
	text_grouped(999, buf, sizeof(buf));
	assert_string_equal(buf, "999");
}

/* Any bytes: printable ASCII as text, and the same bytes back. */
static void
test_keys(void **state)
{
	unsigned char key[256], back[256];
	char text[KEY_TEXT_MAX];
	unsigned seed = 20261121;

	print_message("seed %u\n", seed);
	for (int round = 0; round < 2000; round++) {
		size_t len = 1 + (size_t)rand_r(&seed) % RATION_KEY_MAX, n;

		for (size_t i = 0; i < len; i++)
			key[i] =
			    (unsigned char)(round % 2 ? rand_r(&seed)
						      : "\\0 \"'\n\033^M-7"[rand_r(&seed) % 12]);
		n = key_text(key, len, text);
		assert_int_equal(n, strlen(text));
		for (size_t i = 0; i < n; i++)
			assert_in_range((unsigned char)text[i], 0x21, 0x7e);
		assert_int_equal(key_parse(text, back), len);
		assert_memory_equal(back, key, len);
	}
	memset(text, 'x', 256);
	text[256] = 0;
	assert_int_equal(key_parse(text, back), -1);
	assert_int_equal(key_parse("", back), -1);
	assert_int_equal(key_parse("\\", back), -1);
	assert_int_equal(key_parse("corp\\ann", back), -1);
	assert_int_equal(key_parse("x\\400", back), -1);
	assert_int_equal(key_parse("x\\04", back), -1);
	assert_int_equal(key_parse("a\\\\b c", back), 5);
	assert_memory_equal(back, "a\\b c", 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_no_match),
		cmocka_unit_test(test_mistakes),
		cmocka_unit_test(test_early),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_column_names),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
