/*
 * zones.c - local midnights through the tz database.
 *
 * A local day starts at the first instant that has its date.  Where the clock jumps over
 * midnight (Beirut, Havana) that is the end of the gap, where midnight comes twice it
 * is the first one.  Days that a zone never had (Samoa, 30 December 2011) are left out.
 */
#include "zones.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOUR 3600
#define YEAR_MAX 9999

static char *saved_tz;
static bool had_tz;

bool
zone_known(const char *name)
{
	const char *dir = getenv("TZDIR");
	char path[512], magic[4];
	bool ok = false;
	int fd;

	if (strcmp(name, "UTC") == 0)
		return true;
	/* A name from the database, not a path out of it. */
	if (name[0] == '\0' || name[0] == '/' || name[0] == '.' || strstr(name, "..") != NULL)
		return false;
	if (dir == NULL || dir[0] == '\0')
		dir = "/usr/share/zoneinfo";
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) >= sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return false;
	ok = read(fd, magic, sizeof(magic)) == sizeof(magic) && memcmp(magic, "TZif", 4) == 0;
	close(fd);
	return ok;
}

void
zone_enter(const char *name)
{
	char value[128];
	const char *old = getenv("TZ");

	had_tz = old != NULL;
	saved_tz = had_tz ? strdup(old) : NULL;
	snprintf(value, sizeof(value), ":%s", name);
	setenv("TZ", strcmp(name, "UTC") == 0 ? "UTC0" : value, 1);
	tzset();
}

void
zone_leave(void)
{
	if (had_tz && saved_tz != NULL)
		setenv("TZ", saved_tz, 1);
	else
		unsetenv("TZ");
	free(saved_tz);
	saved_tz = NULL;
	tzset();
}

/* year, month 1.., day 1.. as if it were UTC; month and day may run over. */
static int64_t
civil(int year, int month, int day)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day };

	return (int64_t)timegm(&tm);
}

static struct tm
local(int64_t t)
{
	time_t tt = (time_t)t;
	struct tm tm = { .tm_mday = 1 };

	localtime_r(&tt, &tm);
	return tm;
}

/* The local time of t as if it were UTC. */
static int64_t
local_civil(int64_t t)
{
	return t + (int64_t)local(t).tm_gmtoff;
}

int64_t
zone_day_start(int year, int month, int day)
{
	int64_t midnight = civil(year, month, day);
	int64_t lo = midnight - 16 * HOUR,
		hi = midnight + 16 * HOUR; /* before, after it everywhere */
	int64_t first = INT64_MAX;

	/* Midnight by each offset in force around it, if the clock then shows midnight. */
	for (int64_t t = lo; t <= hi; t += 8 * HOUR) {
		int64_t candidate = midnight - (int64_t)local(t).tm_gmtoff;

		if (local_civil(candidate) == midnight && candidate < first)
			first = candidate;
	}
	if (first != INT64_MAX)
		return first;
	/* The clock jumps over it: to the jump. */
	while (hi - lo > 1) {
		int64_t mid = lo + (hi - lo) / 2;

		if (local_civil(mid) >= midnight)
			hi = mid;
		else
			lo = mid;
	}
	return hi;
}

uint32_t
zone_days(int64_t now_s, int64_t days[ZONE_DAYS])
{
	struct tm tm = local(now_s);
	uint32_t n = 0;

	for (int i = 0; i < (int)ZONE_DAYS; i++) {
		int64_t t = zone_day_start(
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday - ZONE_DAYS_BEFORE + i);

		if (n == 0 || t > days[n - 1])
			days[n++] = t;
	}
	return n;
}

uint32_t
zone_months(int64_t now_s, int64_t months[ZONE_MONTHS])
{
	struct tm tm = local(now_s);
	uint32_t n = 0;

	for (int i = 0; i < (int)ZONE_MONTHS; i++) {
		int64_t t =
		    zone_day_start(tm.tm_year + 1900, tm.tm_mon + 1 - ZONE_MONTHS_BEFORE + i, 1);

		if (n == 0 || t > months[n - 1])
			months[n++] = t;
	}
	return n;
}

static bool
scan_date(const char *text, struct tm *tm, int *used)
{
	int year, month, day;
	int64_t t;

	if (strlen(text) < 10 || text[4] != '-' || text[7] != '-' ||
	    strspn(text, "0123456789-") < 10 ||
	    sscanf(text, "%4d-%2d-%2d", &year, &month, &day) != 3)
		return false;
	if (year < 1970 || year > YEAR_MAX || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	t = civil(year, month, day);
	gmtime_r(&(time_t) { (time_t)t }, tm);
	*used = 10;
	return tm->tm_mday == day; /* else 30 February */
}

/* " 12:30", "T12:30:00": seconds of the day, or -1. */
static int
scan_clock(const char *text, int *used)
{
	int h, m, s = 0;

	if ((*text != ' ' && *text != 'T') || strlen(text) < 6 || text[3] != ':' ||
	    strspn(text + 1, "0123456789:") < 5 || sscanf(text + 1, "%2d:%2d", &h, &m) != 2)
		return -1;
	*used = 6;
	if (text[6] == ':') {
		if (strspn(text + 7, "0123456789") < 2 || sscanf(text + 7, "%2d", &s) != 1)
			return -1;
		*used = 9;
	}
	return h > 23 || m > 59 || s > 59 ? -1 : h * HOUR + m * 60 + s;
}

bool
zone_parse_time(const char *text, int64_t *unix_s)
{
	struct tm tm = { .tm_isdst = -1 };
	int used, more = 0, seconds = 0;

	if (text[0] != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) <= 12) {
		*unix_s = strtoll(text, NULL, 10);
		return strlen(text) > 4; /* "2027" is a year, not a second */
	}
	if (!scan_date(text, &tm, &used))
		return false;
	if (text[used] == '\0') {
		*unix_s = zone_day_start(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
		return true;
	}
	seconds = scan_clock(text + used, &more);
	if (seconds < 0)
		return false;
	used += more;
	if (strcmp(text + used, "Z") == 0) {
		*unix_s = (int64_t)timegm(&tm) + seconds;
		return true;
	}
	tm.tm_hour = seconds / HOUR;
	tm.tm_min = seconds / 60 % 60;
	tm.tm_sec = seconds % 60;
	tm.tm_isdst = -1;
	*unix_s = (int64_t)mktime(&tm);
	return text[used] == '\0' && *unix_s > 0;
}

const char *
zone_time_text(int64_t unix_s, char *buf, size_t size)
{
	struct tm tm = local(unix_s);

	if (tm.tm_hour == 0 && tm.tm_min == 0 && tm.tm_sec == 0)
		strftime(buf, size, "%Y-%m-%d", &tm);
	else
		strftime(buf, size, tm.tm_sec == 0 ? "%Y-%m-%d %H:%M" : "%Y-%m-%d %H:%M:%S", &tm);
	return buf;
}
