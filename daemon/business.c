#include "business.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "zones.h"

#define DAY_S 86400
/* Each business day may take a week, and each holiday may be in the way. */
#define SEARCH_DAYS (7 * (BUSINESS_DAYS_MAX + 1) + BUSINESS_HOLIDAYS_MAX)

static int64_t
civil(int year, int month, int day)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };

	return (int64_t)timegm(&tm) / DAY_S;
}

int32_t
business_date(int year, int month, int day)
{
	time_t t;
	struct tm tm;

	if (year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31)
		return -1;
	t = (time_t)(civil(year, month, day) * DAY_S);
	(void)gmtime_r(&t, &tm);
	return tm.tm_mday == day ? (int32_t)(t / DAY_S) : -1; /* else 30 February */
}

static int
compare(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return x < y ? -1 : x > y;
}

/* First instant of a day, by its number since 1970. */
static int64_t
day_start(int64_t date)
{
	time_t t = (time_t)(date * DAY_S);
	struct tm tm;

	(void)gmtime_r(&t, &tm);
	return zone_day_start(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
}

static bool
is_business(const struct business *b, int64_t date)
{
	unsigned weekday = (unsigned)((date + 3) % 7); /* 1970-01-01 was a Thursday */
	int32_t key = (int32_t)date;

	if ((b->workdays >> weekday & 1) == 0)
		return false;
	if (b->nholidays > 0 &&
	    bsearch(&key, b->holidays, b->nholidays, sizeof(key), compare) != NULL)
		return false;
	return day_start(date) < day_start(date + 1); /* else a day that the zone left out */
}

int64_t
business_due(const struct business *b, int64_t asked_s, unsigned days)
{
	time_t t = (time_t)asked_s;
	struct tm tm = { .tm_mday = 1 };
	unsigned left = days < BUSINESS_DAYS_MAX ? days : BUSINESS_DAYS_MAX;
	int64_t date, due;

	zone_enter(b->timezone);
	(void)localtime_r(&t, &tm);
	date = civil(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
	for (unsigned i = 0; left > 0 && i < SEARCH_DAYS; i++)
		left -= is_business(b, ++date);
	due = day_start(date + 1);
	zone_leave();
	return due;
}
