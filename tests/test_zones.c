/*
 * test_zones.c - local midnights: where midnight does not exist, exists twice, or the
 * day was left out; month ends; that the process keeps its own timezone; and that no two
 * zones have one number in the cells.
 */
#include "zones.h"

#include "policy.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

static int64_t
utc(int year, int month, int day, int hour, int minute)
{
	struct tm tm = { .tm_year = year - 1900,
		.tm_mon = month - 1,
		.tm_mday = day,
		.tm_hour = hour,
		.tm_min = minute };

	return (int64_t)timegm(&tm);
}

static void
test_day_starts(void **state)
{
	static const struct {
		const char *zone;
		int year, month, day;
		int uyear, umonth, uday, uhour, uminute;
	} cases[] = {
		{ "UTC", 2026, 1, 1, 2026, 1, 1, 0, 0 },
		{ "Europe/Madrid", 2026, 1, 1, 2025, 12, 31, 23, 0 },
		{ "Europe/Madrid", 2026, 7, 1, 2026, 6, 30, 22, 0 },
		/* the day of the change, and the day after it: 23 and 25 hours long */
		{ "Europe/Madrid", 2026, 3, 29, 2026, 3, 28, 23, 0 },
		{ "Europe/Madrid", 2026, 3, 30, 2026, 3, 29, 22, 0 },
		{ "Europe/Madrid", 2026, 10, 25, 2026, 10, 24, 22, 0 },
		{ "Europe/Madrid", 2026, 10, 26, 2026, 10, 25, 23, 0 },
		/* midnight jumped over: the day starts at 01:00 */
		{ "America/Sao_Paulo", 2018, 11, 4, 2018, 11, 4, 3, 0 },
		{ "Asia/Beirut", 2025, 3, 30, 2025, 3, 29, 22, 0 },
		{ "America/Havana", 2025, 3, 9, 2025, 3, 9, 5, 0 },
		/* back over midnight: 23:00 to 24:00 comes twice, midnight once */
		{ "America/Sao_Paulo", 2018, 2, 18, 2018, 2, 18, 3, 0 },
		/* midnight comes twice: the first one counts */
		{ "America/Havana", 2025, 11, 2, 2025, 11, 2, 4, 0 },
		/* at 00:01 back to 23:01: the first midnight */
		{ "America/St_Johns", 2006, 10, 29, 2006, 10, 29, 2, 30 },
		/* odd offsets, far sides */
		{ "Asia/Kathmandu", 2026, 5, 5, 2026, 5, 4, 18, 15 },
		{ "Pacific/Kiritimati", 2026, 5, 5, 2026, 5, 4, 10, 0 },
		{ "Pacific/Niue", 2026, 5, 5, 2026, 5, 5, 11, 0 },
		/* a day that never was: the next one's start */
		{ "Pacific/Apia", 2011, 12, 30, 2011, 12, 30, 10, 0 },
		{ "Pacific/Apia", 2011, 12, 31, 2011, 12, 30, 10, 0 },
		/* months and days that run over */
		{ "UTC", 2026, 13, 1, 2027, 1, 1, 0, 0 },
		{ "UTC", 2026, 2, 29, 2026, 3, 1, 0, 0 },
		{ "UTC", 2028, 2, 29, 2028, 2, 29, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t got,
		    want = utc(cases[i].uyear, cases[i].umonth, cases[i].uday, cases[i].uhour,
			cases[i].uminute);

		assert_true(zone_known(cases[i].zone));
		zone_enter(cases[i].zone);
		got = zone_day_start(cases[i].year, cases[i].month, cases[i].day);
		zone_leave();
		if (got != want)
			fail_msg("%s %d-%02d-%02d: found %lld, expected %lld", cases[i].zone,
			    cases[i].year, cases[i].month, cases[i].day, (long long)got,
			    (long long)want);
	}
}

/* Rising, no gap longer than 25 h or 31 days and an hour, reaching over 400 days ahead. */
static void
test_tables(void **state)
{
	static const char *const zones[] = { "UTC", "Europe/Madrid", "America/Havana",
		"Africa/Cairo", "Australia/Lord_Howe", "Asia/Beirut" };
	int64_t now = utc(2026, 11, 21, 18, 0);

	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		int64_t days[ZONE_DAYS], months[ZONE_MONTHS];
		uint32_t ndays, nmonths;

		zone_enter(zones[i]);
		ndays = zone_days(now, days);
		nmonths = zone_months(now, months);
		assert_int_equal(ndays, ZONE_DAYS);
		assert_int_equal(nmonths, ZONE_MONTHS);
		for (uint32_t d = 1; d < ndays; d++) {
			assert_true(days[d] - days[d - 1] >= 23 * 3600);
			assert_true(days[d] - days[d - 1] <= 25 * 3600);
		}
		for (uint32_t m = 1; m < nmonths; m++) {
			struct tm tm;
			time_t t = (time_t)months[m];

			localtime_r(&t, &tm);
			assert_int_equal(tm.tm_mday, 1);
			assert_true(months[m] - months[m - 1] >= 28 * 86400 - 3600);
			assert_true(months[m] - months[m - 1] <= 31 * 86400 + 3600);
		}
		zone_leave();
		assert_true(days[0] < now - 34 * 86400);
		assert_true(days[ndays - 1] > now + 400 * 86400);
		assert_true(months[0] < now - 86 * 86400);
		assert_true(months[nmonths - 1] > now + 400 * 86400);
	}
}

/* A table around a day that was left out is shorter by it. */
static void
test_lost_day(void **state)
{
	int64_t days[ZONE_DAYS];
	uint32_t n;

	zone_enter("Pacific/Apia");
	n = zone_days(utc(2011, 12, 25, 0, 0), days);
	zone_leave();
	assert_int_equal(n, ZONE_DAYS - 1);
	for (uint32_t i = 1; i < n; i++)
		assert_true(days[i] > days[i - 1]);
}

static void
test_own_timezone(void **state)
{
	time_t t = 1780000000;
	struct tm before, after;

	setenv("TZ", "Asia/Tokyo", 1);
	tzset();
	localtime_r(&t, &before);
	zone_enter("America/Havana");
	zone_leave();
	localtime_r(&t, &after);
	assert_string_equal(getenv("TZ"), "Asia/Tokyo");
	assert_int_equal(before.tm_hour, after.tm_hour);
	unsetenv("TZ");
	tzset();
	zone_enter("America/Havana");
	zone_leave();
	assert_null(getenv("TZ"));
}

static void
test_unknown(void **state)
{
	static const char *const names[] = { "", "Mars/Olympus", "../zoneinfo/UTC", "/etc/passwd",
		"Europe", "zone.tab", ".", "Europe/../UTC" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (zone_known(names[i]))
			fail_msg("\"%s\" is known", names[i]);
}

static void
test_times(void **state)
{
	static const char *const bad[] = { "", "soon", "2027", "2027-13-01", "2027-02-29",
		"2027-01-01 25:00", "2027-01-01 12", "2027-01-01 12:3x", "2027-1-1", "20270101x",
		"2027-01-01 12:30 Z", "1969-12-31", "2027-01-01Z", "9999999999999" };
	int64_t t;
	char buf[32];

	zone_enter("Europe/Madrid");
	assert_true(zone_parse_time("2027-01-01", &t));
	assert_true(t == utc(2026, 12, 31, 23, 0));
	assert_string_equal(zone_time_text(t, buf, sizeof(buf)), "2027-01-01");
	assert_true(zone_parse_time("2027-07-01 12:30", &t));
	assert_true(t == utc(2027, 7, 1, 10, 30));
	assert_string_equal(zone_time_text(t, buf, sizeof(buf)), "2027-07-01 12:30");
	assert_true(zone_parse_time("2027-07-01T12:30:05", &t));
	assert_string_equal(zone_time_text(t, buf, sizeof(buf)), "2027-07-01 12:30:05");
	assert_true(zone_parse_time("2027-07-01T12:30:00Z", &t));
	assert_true(t == utc(2027, 7, 1, 12, 30));
	assert_true(zone_parse_time("1780000000", &t));
	assert_true(t == 1780000000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (zone_parse_time(bad[i], &t))
			fail_msg("\"%s\" is a time", bad[i]);
	zone_leave();
}

/* ---- numbers of zones ---- */

#define SHAPE_LIMIT (SHAPE_MASK + 1)
#define ZONEINFO "/usr/share/zoneinfo/"

static char *names[SHAPE_LIMIT];
static unsigned nzones, ncollisions;

static int
add_zone(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	const char *name = path + strlen(ZONEINFO);
	struct rate_def day = { .kind = RATION_DAY }, month = { .kind = RATION_MONTH };

	if (type == FTW_D && (strcmp(name, "posix") == 0 || strcmp(name, "right") == 0))
		return FTW_SKIP_SUBTREE;
	/* localtime, posixrules: the host's own zone under a name that nobody gives. */
	if (type != FTW_F || !zone_known(name) || (name[0] >= 'a' && name[0] <= 'z'))
		return FTW_CONTINUE;
	rate_def_derive(&day, name);
	rate_def_derive(&month, name);
	assert_true(day.shape < SHAPE_LIMIT && month.shape < SHAPE_LIMIT);
	assert_int_equal(policy_shape_kind(day.shape), RATION_DAY);
	assert_int_equal(policy_shape_kind(month.shape), RATION_MONTH);
	if (names[day.shape] != NULL) {
		printf("%s and %s have one number\n", names[day.shape], name);
		ncollisions++;
	}
	free(names[day.shape]);
	names[day.shape] = strdup(name);
	nzones++;
	return FTW_CONTINUE;
}

/* Of two zones with one number a move from the one to the other would forget what was used. */
static void
test_numbers(void **state)
{
	assert_int_equal(nftw(ZONEINFO, add_zone, 16, FTW_ACTIONRETVAL), 0);
	assert_true(nzones > 400);
	/* A newer database may have a few names that were not there when the factor was chosen. */
	assert_true(ncollisions <= nzones / 200);
	for (unsigned i = 0; i < SHAPE_LIMIT; i++)
		free(names[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_day_starts),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_lost_day),
		cmocka_unit_test(test_own_timezone),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
