#include "date.h"

#define DAY_S INT64_C(86400)
#define LAST_S INT64_C(253402300799) /* of the year 9999 */

struct civil {
	unsigned year, month, day;
};

/* Gregorian date of a day since 1970-01-01, which is not before it. */
static struct civil
civil_of(int64_t day)
{
	/* Years from March on: leap days come last.  Cycles of 400 years are 146,097 days. */
	uint64_t d = (uint64_t)day + 719468, cycle = d / 146097, doc = d % 146097;
	uint64_t yoc = (doc - doc / 1460 + doc / 36524 - doc / 146096) / 365;
	uint64_t doy = doc - (365 * yoc + yoc / 4 - yoc / 100), m = (5 * doy + 2) / 153;
	struct civil c;

	c.day = (unsigned)(doy - (153 * m + 2) / 5 + 1);
	c.month = (unsigned)(m < 10 ? m + 3 : m - 9);
	c.year = (unsigned)(cycle * 400 + yoc + (c.month <= 2));
	return c;
}

static char *
put(char *p, unsigned v, unsigned digits, char end)
{
	for (unsigned i = digits; i-- > 0; v /= 10)
		p[i] = (char)('0' + v % 10);
	p[digits] = end;
	return p + digits + 1;
}

static char *
put_date(char *p, int64_t day, char end)
{
	struct civil c = civil_of(day);

	p = put(p, c.year, 4, '-');
	p = put(p, c.month, 2, '-');
	return put(p, c.day, 2, end);
}

static int64_t
within(int64_t unix_s)
{
	return unix_s < 0 ? 0 : unix_s > LAST_S ? LAST_S : unix_s;
}

void
date_iso(int64_t unix_s, char out[DATE_TEXT_MAX])
{
	int64_t t = within(unix_s);
	unsigned s = (unsigned)(t % DAY_S);
	char *p = put_date(out, t / DAY_S, 'T');

	p = put(p, s / 3600, 2, ':');
	p = put(p, s / 60 % 60, 2, ':');
	p = put(p, s % 60, 2, 'Z');
	*p = '\0';
}

/* The last of n sorted boundaries that is not after t; INT64_MIN: none, or t is off the table. */
static int64_t
boundary(const struct policy_ref *p, uint64_t off, uint32_t n, int64_t t)
{
	const int64_t *b = policy_section(p, off, n, sizeof(*b));
	uint32_t lo = 0, hi = n;

	if (b == NULL)
		return INT64_MIN;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (b[mid] <= t)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo == 0 || lo == n ? INT64_MIN : b[lo - 1];
}

/*
 * Days since 1970 of the local date at t, -1: not known.  A midnight alone does not tell its
 * date (at 11:00 UTC it may be of 13 hours east or of 11 hours west); one that starts a
 * month does: only one of its two dates is a first.
 */
static int64_t
local_day(const struct policy_ref *p, uint32_t zone, int64_t t)
{
	uint32_t n = p->area->nzones;
	const struct zone_def *z = policy_section(p, p->area->zones, n, sizeof(*z));
	int64_t month, midnight, first;

	if (z == NULL || zone >= n)
		return -1;
	month = boundary(p, z[zone].months, z[zone].nmonths, t);
	midnight = boundary(p, z[zone].days, z[zone].ndays, t);
	if (month < DAY_S || midnight < month || midnight > LAST_S)
		return -1;
	first = month / DAY_S;
	if (civil_of(first).day != 1)
		first++;
	return civil_of(first).day == 1 ? first + (midnight - month + DAY_S / 2) / DAY_S : -1;
}

void
date_local(const struct policy_ref *p, uint32_t zone, int64_t unix_s, char out[DATE_TEXT_MAX])
{
	int64_t t = within(unix_s), day = p != NULL ? local_day(p, zone, t) : -1;

	(void)put_date(out, day >= 0 ? day : t / DAY_S, '\0');
}
