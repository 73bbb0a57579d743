/*
 * quantity.c - numbers, fractions and durations as text.
 *
 * Decimals are read as integers over a power of ten, so that 2.5M is 2,500,000 and
 * 0.3k is 300; what does not come out whole is refused rather than rounded.  What the
 * formatters write, the parsers read back as the same value.
 */
#include "quantity.h"
#include "rate.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FRACTION_MAX UINT64_C(1000000000)
#define DIGITS_MAX 18 /* of a number: 10^18 fits 64 bits */

int
scan_fail(char *err, size_t size, const char *fmt, ...)
{
	va_list ap;

	if (size > 0) {
		va_start(ap, fmt);
		vsnprintf(err, size, fmt, ap);
		va_end(ap);
	}
	return -1;
}

struct scan_shown
scan_shown(const char *text, size_t len)
{
	struct scan_shown s;
	size_t n = 0;
	size_t i;

	for (i = 0; i < len && text[i] != '\0' && n + 8 < sizeof(s.buf); i++) {
		unsigned char c = (unsigned char)text[i];

		if (c >= ' ' && c < 0x7f && c != '\\')
			s.buf[n++] = (char)c;
		else
			n += (size_t)snprintf(s.buf + n, 5, "\\%03o", c);
	}
	if (i < len && text[i] != '\0') {
		memcpy(s.buf + n, "...", 3);
		n += 3;
	}
	s.buf[n] = '\0';
	return s;
}

struct scan_shown
scan_shown_all(const char *text)
{
	return scan_shown(text, strlen(text));
}

const char *
scan_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

/* ---- quantities ---- */

static const struct suffix {
	const char *name;
	uint64_t factor;
} suffixes[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "k", 1000 },
	{ "K", 1000 },
	{ "kB", 1000 },
	{ "KB", 1000 },
	{ "M", 1000000 },
	{ "MB", 1000000 },
	{ "G", 1000000000 },
	{ "GB", 1000000000 },
	{ "T", 1000000000000 },
	{ "TB", 1000000000000 },
	{ "Ki", UINT64_C(1) << 10 },
	{ "KiB", UINT64_C(1) << 10 },
	{ "Mi", UINT64_C(1) << 20 },
	{ "MiB", UINT64_C(1) << 20 },
	{ "Gi", UINT64_C(1) << 30 },
	{ "GiB", UINT64_C(1) << 30 },
	{ "Ti", UINT64_C(1) << 40 },
	{ "TiB", UINT64_C(1) << 40 },
};

static const struct suffix *
suffix_find(const char *p, size_t len)
{
	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (strlen(suffixes[i].name) == len && memcmp(suffixes[i].name, p, len) == 0)
			return &suffixes[i];
	return NULL;
}

const char *
scan_decimal(const char *p, uint64_t *mantissa, uint64_t *divisor)
{
	int digits = 0;

	*mantissa = 0;
	*divisor = 1;
	if (!is_digit(*p))
		return NULL;
	for (; is_digit(*p); p++) {
		*mantissa = *mantissa * 10 + (uint64_t)(*p - '0');
		if (*mantissa > 0 && ++digits > DIGITS_MAX)
			return NULL;
	}
	if (*p != '.')
		return p;
	if (!is_digit(*++p))
		return NULL;
	for (; is_digit(*p); p++) {
		*mantissa = *mantissa * 10 + (uint64_t)(*p - '0');
		*divisor *= 10;
		if (++digits > DIGITS_MAX)
			return NULL;
	}
	return p;
}

const char *
scan_quantity(const char *text, uint64_t *out, char *err, size_t errsize)
{
	const struct suffix *suffix;
	uint64_t mantissa, divisor;
	unsigned __int128 value;
	const char *p, *end;

	p = scan_decimal(text, &mantissa, &divisor);
	if (p == NULL) {
		scan_fail(err, errsize, "found \"%s\", expected a number such as 300, 2.5M or 64Ki",
		    scan_shown_all(text).buf);
		return NULL;
	}
	for (end = p; is_letter(*end); end++)
		;
	suffix = suffix_find(p, (size_t)(end - p));
	if (suffix == NULL) {
		scan_fail(err, errsize,
		    "found the suffix \"%s\", expected k, M, G, T, kB, MB, GB, TB, "
		    "Ki, Mi, Gi or Ti",
		    scan_shown(p, (size_t)(end - p)).buf);
		return NULL;
	}
	value = (unsigned __int128)mantissa * suffix->factor;
	if (value % divisor != 0) {
		scan_fail(err, errsize, "found %s, expected whole units",
		    scan_shown(text, (size_t)(end - text)).buf);
		return NULL;
	}
	value /= divisor;
	if (value > INT64_MAX) {
		scan_fail(err, errsize, "found %s, expected at most 10^18",
		    scan_shown(text, (size_t)(end - text)).buf);
		return NULL;
	}
	*out = (uint64_t)value;
	return end;
}

int
quantity_parse(const char *text, uint64_t *out, char *err, size_t errsize)
{
	const char *p = scan_quantity(scan_blanks(text), out, err, errsize);

	if (p == NULL)
		return -1;
	if (*scan_blanks(p) != '\0')
		return scan_fail(err, errsize,
		    "found \"%s\" after the number, expected nothing more",
		    scan_shown_all(scan_blanks(p)).buf);
	return 0;
}

int
quantity_format(uint64_t n, char *buf, size_t size)
{
	static const char dec[] = "TGMk";
	static const char *const bin[] = { "Ti", "Gi", "Mi", "Ki" };
	uint64_t factor = UINT64_C(1000000000000);

	for (int i = 0; i < 4 && n >= 10000; i++, factor /= 1000) {
		uint64_t cents = n / (factor / 100);

		if (n < factor || n % (factor / 100) != 0)
			continue;
		if (cents % 100 == 0)
			return snprintf(
			    buf, size, "%llu%c", (unsigned long long)(cents / 100), dec[i]);
		if (cents % 10 == 0)
			return snprintf(buf, size, "%llu.%llu%c", (unsigned long long)(cents / 100),
			    (unsigned long long)(cents / 10 % 10), dec[i]);
		return snprintf(buf, size, "%llu.%02llu%c", (unsigned long long)(cents / 100),
		    (unsigned long long)(cents % 100), dec[i]);
	}
	for (int i = 0; i < 4 && n >= 10000; i++) {
		uint64_t shift = 40 - 10 * (uint64_t)i;

		if (n >> shift > 0 && n % (UINT64_C(1) << shift) == 0)
			return snprintf(
			    buf, size, "%llu%s", (unsigned long long)(n >> shift), bin[i]);
	}
	return snprintf(buf, size, "%llu", (unsigned long long)n);
}

/* ---- units of time ---- */

static const struct time_unit {
	const char *name;
	uint64_t ns;
} time_units[] = {
	{ "ms", 1000000 },
	{ "s", NS_S },
	{ "sec", NS_S },
	{ "second", NS_S },
	{ "seconds", NS_S },
	{ "m", 60 * NS_S },
	{ "min", 60 * NS_S },
	{ "minute", 60 * NS_S },
	{ "minutes", 60 * NS_S },
	{ "h", 3600 * NS_S },
	{ "hour", 3600 * NS_S },
	{ "hours", 3600 * NS_S },
	{ "d", DAY_S *NS_S },
	{ "day", DAY_S *NS_S },
	{ "days", DAY_S *NS_S },
	{ "w", 7 * DAY_S *NS_S },
	{ "week", 7 * DAY_S *NS_S },
	{ "weeks", 7 * DAY_S *NS_S },
	{ "month", MONTH_S *NS_S },
	{ "months", MONTH_S *NS_S },
};

uint64_t
scan_time_unit(const char *p, size_t len)
{
	for (size_t i = 0; i < sizeof(time_units) / sizeof(time_units[0]); i++)
		if (strlen(time_units[i].name) == len && memcmp(time_units[i].name, p, len) == 0)
			return time_units[i].ns;
	return 0;
}

/* ---- fractions ---- */

int
fraction_parse(const char *text, uint64_t *num, uint64_t *den, char *err, size_t errsize)
{
	const char *p = scan_decimal(scan_blanks(text), num, den);
	uint64_t whole, one, a, b;

	if (p != NULL && *p == '/' && *den == 1) {
		p = scan_decimal(p + 1, &whole, &one);
		*den = whole;
		if (p != NULL && one != 1)
			p = NULL;
	} else if (p != NULL && *p == 'x') {
		p++;
	}
	if (p == NULL || *scan_blanks(p) != '\0' || *num == 0 || *den == 0)
		return scan_fail(err, errsize,
		    "found \"%s\", expected a fraction above 0 such as 1/6 or 0.1",
		    scan_shown_all(text).buf);
	for (a = *num, b = *den; b != 0;) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	*num /= a;
	*den /= a;
	if (*num > FRACTION_MAX || *den > FRACTION_MAX)
		return scan_fail(err, errsize, "found \"%s\", expected at most 9 digits",
		    scan_shown_all(text).buf);
	return 0;
}

/* ---- durations ---- */

int
duration_parse(const char *text, uint64_t *ns, char *err, size_t errsize)
{
	const char *p = scan_blanks(text);
	uint64_t last = UINT64_MAX;

	*ns = 0;
	do {
		uint64_t mantissa, divisor, unit;
		const char *number = p, *end;
		unsigned __int128 v;

		p = scan_decimal(p, &mantissa, &divisor);
		if (p == NULL)
			return scan_fail(err, errsize,
			    "found \"%s\", expected a time such as 90s, 15min, "
			    "1h30m or 2d",
			    scan_shown_all(number).buf);
		for (end = p; is_letter(*end); end++)
			;
		unit = scan_time_unit(p, (size_t)(end - p));
		if (unit == 0 || unit == MONTH_S * NS_S)
			return scan_fail(err, errsize,
			    "found \"%s\", expected a number with ms, s, min, h, d "
			    "or w",
			    scan_shown_all(number).buf);
		if (unit >= last)
			return scan_fail(err, errsize,
			    "found \"%s\", expected longer units before shorter "
			    "ones, each once",
			    scan_shown_all(text).buf);
		v = (unsigned __int128)mantissa * unit;
		if (v % divisor != 0 || v / divisor > (unsigned __int128)INT64_MAX - *ns)
			return scan_fail(err, errsize,
			    "found \"%s\", expected less than 292 years in whole "
			    "nanoseconds",
			    scan_shown_all(text).buf);
		*ns += (uint64_t)(v / divisor);
		last = unit;
		p = end;
	} while (is_digit(*p));
	if (*scan_blanks(p) != '\0')
		return scan_fail(err, errsize, "found \"%s\" after the time, expected nothing more",
		    scan_shown_all(scan_blanks(p)).buf);
	return 0;
}

int
duration_format(uint64_t ns, char *buf, size_t size)
{
	static const struct time_unit parts[] = { { "d", DAY_S * NS_S }, { "h", 3600 * NS_S },
		{ "m", 60 * NS_S }, { "s", NS_S }, { "ms", 1000000 } };
	char text[96] = "";
	size_t len = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (ns >= parts[i].ns)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%llu%s",
			    (unsigned long long)(ns / parts[i].ns), parts[i].name);
		ns %= parts[i].ns;
	}
	return snprintf(buf, size, "%s", len == 0 ? "0s" : text);
}
