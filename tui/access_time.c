/*
 * access_time.c - the times of log lines: as servers write them, as ISO 8601, as numbers.
 *
 * The C library's strptime(3) and timegm(3) cost more than all else that is done to a line.
 */
#include "access_log.h"

#include <string.h>

#define NS_S INT64_C(1000000000)
#define YEAR_MIN 1970
#define YEAR_MAX 2261

static bool
digits(const char *p, unsigned n, int *out)
{
	int v = 0;

	for (unsigned i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		v = v * 10 + (p[i] - '0');
	}
	*out = v;
	return true;
}

/* Days since 1970 of a date of the Gregorian calendar; -1: there is no such day. */
static int64_t
days_of(int year, int month, int day)
{
	static const int lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
	int64_t y = month > 2 ? year : year - 1;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	if (year < YEAR_MIN || year > YEAR_MAX || month < 1 || month > 12 || day < 1 ||
	    day > lengths[month - 1] || (month == 2 && day == 29 && !leap))
		return -1;
	return y * 365 + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

static bool
seconds_of(int64_t days, const char *clock, int64_t *out)
{
	int h, m, s;

	if (days < 0 || !digits(clock, 2, &h) || clock[2] != ':' || !digits(clock + 3, 2, &m) ||
	    clock[5] != ':' || !digits(clock + 6, 2, &s) || h > 23 || m > 59 || s > 60)
		return false;
	*out = days * 86400 + h * 3600 + m * 60 + s;
	return true;
}

/* "+0200", "+02:00", "Z" up to the end. */
static bool
zone_of(const char *p, size_t len, int64_t *offset)
{
	int h, m;

	if (len == 1 && (*p == 'Z' || *p == 'z')) {
		*offset = 0;
		return true;
	}
	if ((len != 5 && !(len == 6 && p[3] == ':')) || (*p != '+' && *p != '-') ||
	    !digits(p + 1, 2, &h) || !digits(p + len - 2, 2, &m) || h > 15 || m > 59)
		return false;
	*offset = (*p == '-' ? -1 : 1) * (h * 3600 + m * 60);
	return true;
}

/* 10/Oct/2026:13:55:36 +0200 */
static bool
time_of_server(const char *p, size_t len, int64_t *unix_s)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int day, year, month = 0;
	int64_t offset;

	if (len != 26 || p[2] != '/' || p[6] != '/' || p[11] != ':' || p[20] != ' ' ||
	    !digits(p, 2, &day) || !digits(p + 7, 4, &year))
		return false;
	while (month < 12 && memcmp(months + (size_t)3 * (size_t)month, p + 3, 3) != 0)
		month++;
	if (!seconds_of(days_of(year, month + 1, day), p + 12, unix_s) ||
	    !zone_of(p + 21, 5, &offset))
		return false;
	*unix_s -= offset;
	return true;
}

/* Digits after the point, as ns; *n: how many characters. */
static int64_t
fraction_of(const char *p, size_t len, size_t *n)
{
	int64_t ns = 0, unit = NS_S / 10;

	for (*n = 0; *n < len && p[*n] >= '0' && p[*n] <= '9'; (*n)++, unit /= 10)
		ns += (p[*n] - '0') * unit;
	return ns;
}

/* 2026-10-10T13:55:36.5+02:00; without a zone it is UTC. */
static bool
time_of_iso(const char *p, size_t len, int64_t *unix_ns)
{
	int64_t s, offset = 0, ns = 0;
	int year, month, day;
	size_t n;

	if (len < 19 || p[4] != '-' || p[7] != '-' || (p[10] != 'T' && p[10] != ' ') ||
	    !digits(p, 4, &year) || !digits(p + 5, 2, &month) || !digits(p + 8, 2, &day) ||
	    !seconds_of(days_of(year, month, day), p + 11, &s))
		return false;
	p += 19;
	len -= 19;
	if (len > 0 && (*p == '.' || *p == ',')) {
		ns = fraction_of(p + 1, len - 1, &n);
		if (n == 0)
			return false;
		p += n + 1;
		len -= n + 1;
	}
	if (len > 0 && !zone_of(p, len, &offset))
		return false;
	*unix_ns = (s - offset) * NS_S + ns;
	return true;
}

static bool
time_of_number(const char *p, size_t len, int64_t *unix_ns)
{
	int64_t v = 0, ns = 0;
	size_t i = 0, n;

	for (; i < len && p[i] >= '0' && p[i] <= '9'; i++) {
		if (v > INT64_MAX / 10 - 1)
			return false;
		v = v * 10 + (p[i] - '0');
	}
	if (i == 0)
		return false;
	if (i < len && p[i] == '.') {
		ns = fraction_of(p + i + 1, len - i - 1, &n);
		if (n == 0)
			return false;
		i += n + 1;
	}
	if (i != len)
		return false;
	if (v < INT64_C(9200000000))
		*unix_ns = v * NS_S + ns;
	else if (v < INT64_C(9200000000000))
		*unix_ns = v * (NS_S / 1000) + ns / 1000;
	else if (v < INT64_C(9200000000000000))
		*unix_ns = v * (NS_S / 1000000);
	else
		*unix_ns = v;
	return true;
}

bool
log_time(const char *text, size_t len, int64_t *unix_ns)
{
	int64_t s;

	if (time_of_server(text, len, &s)) {
		*unix_ns = s * NS_S;
		return true;
	}
	return time_of_number(text, len, unix_ns) || time_of_iso(text, len, unix_ns);
}

bool
log_time_again(struct log_reader *r, const char *p, int64_t *unix_ns)
{
	int64_t s;
	int second;

	if (r->minute_len != 0 && memcmp(r->minute, p, 18) == 0 &&
	    memcmp(r->minute + 20, p + 20, 6) == 0 && digits(p + 18, 2, &second) && second <= 60) {
		*unix_ns = (r->minute_s + second) * NS_S;
		return true;
	}
	if (!time_of_server(p, 26, &s) || !digits(p + 18, 2, &second))
		return false;
	memcpy(r->minute, p, 26);
	r->minute_len = 26;
	r->minute_s = s - second;
	*unix_ns = s * NS_S;
	return true;
}
