/*
 * test_requests.c - until when an answer is promised, against an oracle that knows no calendar: it
 * goes through time by quarters of an hour and looks at the clock on the wall.  The section
 * `requests` with all its mistakes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "business.h"
#include "model.h"
#include "zones.h"

#define QUARTER 900
#define CASES 1500
#define HOLIDAYS 24

/* ---- the oracle ---- */

struct oracle {
	const char *zone;
	unsigned workdays;
	char holidays[HOLIDAYS][11];
	unsigned nholidays;
};

static bool
oracle_works(const struct oracle *o, const struct tm *tm)
{
	char date[16];

	(void)strftime(date, sizeof(date), "%Y-%m-%d", tm);
	for (unsigned i = 0; i < o->nholidays; i++)
		if (strcmp(date, o->holidays[i]) == 0)
			return false;
	return (o->workdays >> ((tm->tm_wday + 6) % 7) & 1) != 0;
}

/* The wall's date changes: a new day; when the n-th that is worked on is over, that is it. */
static int64_t
oracle_due(const struct oracle *o, int64_t asked, unsigned days)
{
	time_t t = (time_t)(asked - asked % QUARTER);
	struct tm today, tm;
	unsigned seen = 0;

	zone_enter(o->zone);
	(void)localtime_r(&t, &today);
	for (;;) {
		t += QUARTER;
		(void)localtime_r(&t, &tm);
		if (tm.tm_yday == today.tm_yday && tm.tm_year == today.tm_year)
			continue;
		if (seen == days)
			break;
		today = tm;
		seen += oracle_works(o, &tm);
	}
	zone_leave();
	return (int64_t)t;
}

/* ---- business days ---- */

static int32_t
date_of(const char *text)
{
	return business_date(atoi(text), atoi(text + 5), atoi(text + 8));
}

static int
by_date(const void *a, const void *b)
{
	return *(const int32_t *)a - *(const int32_t *)b;
}

static int64_t
due(const struct oracle *o, int64_t asked, unsigned days)
{
	int32_t holidays[HOLIDAYS];
	struct business b = { .timezone = o->zone,
		.workdays = (uint8_t)o->workdays,
		.holidays = holidays,
		.nholidays = o->nholidays };

	for (unsigned i = 0; i < o->nholidays; i++)
		holidays[i] = date_of(o->holidays[i]);
	qsort(holidays, o->nholidays, sizeof(holidays[0]), by_date);
	return business_due(&b, asked, days);
}

/* "2026-11-20 17:30" in a zone. */
static int64_t
at(const char *zone, const char *text)
{
	int64_t t;

	zone_enter(zone);
	assert_true(zone_parse_time(text, &t));
	zone_leave();
	return t;
}

static void
test_by_hand(void **state)
{
	static const struct {
		const char *zone, *asked, *holiday;
		unsigned days;
		const char *due;
	} cases[] = {
		/* Friday: Monday, Tuesday, Wednesday. */
		{ "Europe/Madrid", "2026-11-20 17:30", "", 3, "2026-11-26" },
		{ "Europe/Madrid", "2026-11-20 17:30", "", 1, "2026-11-24" },
		{ "Europe/Madrid", "2026-11-20 17:30", "", 5, "2026-11-28" },
		{ "Europe/Madrid", "2026-11-20 17:30", "", 0, "2026-11-21" },
		/* The day of asking does not count, nor does the hour. */
		{ "Europe/Madrid", "2026-11-19 00:00", "", 1, "2026-11-21" },
		{ "Europe/Madrid", "2026-11-19 23:59", "", 1, "2026-11-21" },
		/* At a weekend it is as on the Friday before. */
		{ "Europe/Madrid", "2026-11-21 12:00", "", 1, "2026-11-24" },
		{ "Europe/Madrid", "2026-11-22 23:59", "", 1, "2026-11-24" },
		{ "Europe/Madrid", "2026-11-23 00:00", "", 1, "2026-11-25" },
		/* Christmas on a Friday, then the year's end. */
		{ "Europe/Madrid", "2026-12-24 09:00", "2026-12-25", 1, "2026-12-29" },
		{ "Europe/Madrid", "2026-12-31 09:00", "2027-01-01", 1, "2027-01-05" },
		{ "Europe/Madrid", "2026-12-31 09:00", "", 1, "2027-01-02" },
		/* The clock changes on a Sunday, and on a weekday: Egypt, a Friday. */
		{ "Europe/Madrid", "2026-10-23 09:00", "", 1, "2026-10-27" },
		{ "Africa/Cairo", "2026-04-23 09:00", "", 1, "2026-04-25" },
		/* 29 February. */
		{ "UTC", "2028-02-28 12:00", "", 1, "2028-03-01" },
		/* Samoa had no 30 December 2011, a Friday. */
		{ "Pacific/Apia", "2011-12-29 12:00", "", 1, "2012-01-03" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct oracle o = { .zone = cases[i].zone, .workdays = 0x1f };
		int64_t asked = at(o.zone, cases[i].asked), got;

		if (cases[i].holiday[0] != '\0')
			(void)snprintf(o.holidays[o.nholidays++], 11, "%s", cases[i].holiday);
		got = due(&o, asked, cases[i].days);
		if (got != at(o.zone, cases[i].due))
			fail_msg("case %zu: asked %s, %u days: due %lld, expected %s", i,
			    cases[i].asked, cases[i].days, (long long)got, cases[i].due);
		assert_int_equal(got, oracle_due(&o, asked, cases[i].days));
	}
}

static void
any_holidays(struct oracle *o, int64_t asked)
{
	o->nholidays = (unsigned)(random() % HOLIDAYS);
	for (unsigned i = 0; i < o->nholidays; i++) {
		time_t t = (time_t)(asked + random() % 40 * 86400);
		struct tm tm;

		(void)gmtime_r(&t, &tm);
		(void)strftime(o->holidays[i], 11, "%Y-%m-%d", &tm);
	}
}

static void
test_oracle(void **state)
{
	static const char *const zones[] = { "Europe/Madrid", "America/New_York", "UTC",
		"Australia/Lord_Howe", "Asia/Beirut", "America/Havana", "Pacific/Apia",
		"America/Asuncion", "Asia/Kathmandu", "Africa/Cairo", "Pacific/Kiritimati" };
	unsigned seed = (unsigned)time(NULL);
	char *given = getenv("RATION_SEED");

	if (given != NULL)
		seed = (unsigned)strtoul(given, NULL, 10);
	(void)printf("seed %u\n", seed);
	srandom(seed);
	for (int i = 0; i < CASES; i++) {
		struct oracle o = { 0 };
		/* 1990 to 2035 */
		int64_t asked = 631152000 + (int64_t)random() % 1420000000, want, got;
		unsigned days = (unsigned)(random() % 12);

		o.zone = zones[(size_t)random() % (sizeof(zones) / sizeof(zones[0]))];
		if (i % 8 == 0) { /* around the day that Samoa left out */
			o.zone = "Pacific/Apia";
			asked = 1325073600 + (int64_t)random() % (8 * 86400);
		}
		o.workdays = i % 2 == 0 ? 0x1f : 1 + (unsigned)random() % 127;
		any_holidays(&o, asked);
		got = due(&o, asked, days);
		want = oracle_due(&o, asked, days);
		if (got != want)
			fail_msg("seed %u, case %d: %s, asked %lld, %u days, workdays %#x: due "
				 "%lld, expected %lld",
			    seed, i, o.zone, (long long)asked, days, o.workdays, (long long)got,
			    (long long)want);
	}
}

static void
test_bounds(void **state)
{
	int32_t holidays[BUSINESS_HOLIDAYS_MAX], first = business_date(2026, 11, 23);
	struct business b = {
		.timezone = "UTC", .workdays = 1, .holidays = holidays, .nholidays = 0
	};

	assert_int_equal(business_date(1970, 1, 1), 0);
	assert_int_equal(business_date(2000, 3, 1), 11017);
	assert_int_equal(business_date(2027, 2, 29), -1);
	assert_int_equal(business_date(2027, 13, 1), -1);
	assert_int_equal(business_date(1969, 12, 31), -1);
	/* A thousand Mondays off, then the most days an answer may take, each a Monday. */
	for (unsigned i = 0; i < BUSINESS_HOLIDAYS_MAX; i++)
		holidays[i] = first + 7 * (int32_t)i;
	b.nholidays = 140;
	assert_int_equal(business_due(&b, (int64_t)first * 86400, 250),
	    ((int64_t)first + 7 * (140 + 249) + 1) * 86400);
	/* Whatever it is given, it ends. */
	b.nholidays = BUSINESS_HOLIDAYS_MAX;
	b.workdays = 0;
	assert_true(business_due(&b, (int64_t)first * 86400, 1000000) > 0);
}

/* ---- the section ---- */

static struct config *
parse(const char *text, struct mistakes *m)
{
	struct config *c = NULL;

	memset(m, 0, sizeof(*m));
	if (config_parse("p.yaml", text, strlen(text), &c, m) != 0)
		return NULL;
	return c;
}

static void
test_section(void **state)
{
	static const char policy[] =
	    "plans: [standard, business, enterprise, other]\n"
	    "environments: {production: 1, sandbox: 0.1}\n"
	    "defaults: {timezone: Asia/Tokyo}\n"
	    "requests:\n"
	    "  answer: {enterprise: 1, business: 3, standard: 0}\n"
	    "  default: 7\n"
	    "  timezone: Europe/Madrid\n"
	    "  workdays: [sat, mon]\n"
	    "  holidays: [2026-12-25, 2026-12-08]\n"
	    "  eligible: {days: 30, environment: production, customers: 5, requests: 10k/day}\n";
	struct config_requests r;
	struct mistakes m;
	struct config *c = parse(policy, &m);

	assert_non_null(c);
	config_requests(c, "enterprise", &r);
	assert_int_equal(r.answer_days, 1);
	assert_string_equal(r.calendar.timezone, "Europe/Madrid");
	assert_int_equal(r.calendar.workdays, 1 | 1 << 5);
	assert_int_equal(r.calendar.nholidays, 2);
	assert_int_equal(r.calendar.holidays[0], business_date(2026, 12, 8));
	assert_int_equal(r.calendar.holidays[1], business_date(2026, 12, 25));
	assert_int_equal(r.days, 30);
	assert_string_equal(r.environment, "production");
	assert_int_equal(r.customers, 5);
	assert_int_equal(r.daily, 10000);
	config_requests(c, "standard", &r);
	assert_int_equal(r.answer_days, 0);
	config_requests(c, "other", &r);
	assert_int_equal(r.answer_days, 7);
	config_requests(c, "", &r);
	assert_int_equal(r.answer_days, 7);
	config_requests(c, "gone", &r);
	assert_int_equal(r.answer_days, 7);
	config_free(c);

	c = parse("defaults: {timezone: Asia/Tokyo}\n", &m);
	assert_non_null(c);
	config_requests(c, "", &r);
	assert_int_equal(r.answer_days, 5);
	assert_string_equal(r.calendar.timezone, "Asia/Tokyo");
	assert_int_equal(r.calendar.workdays, 0x1f);
	assert_int_equal(r.calendar.nholidays, 0);
	assert_int_equal(r.days, 0);
	config_free(c);
}

static void
test_mistakes(void **state)
{
	static const struct {
		const char *text, *mistake;
	} cases[] = {
		{ "requests: 5", "p.yaml:2:11: found \"5\", expected a mapping with answer" },
		{ "requests: {answers: {a: 1}}", "did you mean answer?" },
		{ "requests: {answer: 3}", "2:20: found \"3\", expected a mapping of plans" },
		{ "requests: {answer: {c: 3}}", "2:21: found \"c\", expected the name of a plan" },
		{ "requests: {answer: {a: 251}}", "found 251, expected 0 to 250" },
		{ "requests: {answer: {a: soon}}", "2:24: " },
		{ "requests: {default: -1}", "2:21: " },
		{ "requests: {timezone: Mars/Olympus}",
		    "found the timezone \"Mars/Olympus\", expected one of the tz database" },
		{ "requests: {workdays: []}", "expected days such as [mon, tue, wed]" },
		{ "requests: {workdays: [mom]}",
		    "found \"mom\", expected mon, tue, wed, thu, fri, sat or sun; did you mean "
		    "mon" },
		{ "requests: {holidays: [2027-02-29]}",
		    "2:23: found \"2027-02-29\", expected a date such as 2026-12-25" },
		{ "requests: {holidays: [25.12.2026]}", "expected a date such as 2026-12-25" },
		{ "requests: {holidays: [2026-1-1]}", "expected a date such as 2026-12-25" },
		{ "requests: {holidays: 2026-12-25}", "expected a list of up to 1000 dates" },
		{ "requests: {eligible: {day: 3}}", "did you mean days?" },
		{ "requests: {eligible: {days: 0}}", "found 0, expected 1 to 3660" },
		{ "requests: {eligible: {environment: b, days: 1}}", "the name of an environment" },
		{ "requests: {eligible: {environment: e}}",
		    "found an environment alone, expected days in it too" },
		{ "requests: {eligible: {requests: 10k/min}}",
		    "found \"10k/min\", expected a figure such as 10k/day" },
		{ "requests: {eligible: {requests: lots}}", "2:33: " },
	};
	char text[256];
	struct mistakes m;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		(void)snprintf(
		    text, sizeof(text), "{plans: [a], environments: {e: 1},\n%s}", cases[i].text);
		assert_null(parse(text, &m));
		if (m.n != 1 || strstr(m.text[0], cases[i].mistake) == NULL)
			fail_msg("%s: %zu mistakes, the first: %s, expected: %s", cases[i].text,
			    m.n, m.n > 0 ? m.text[0] : "-", cases[i].mistake);
		mistakes_free(&m);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_hand),
		cmocka_unit_test(test_oracle),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_section),
		cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
