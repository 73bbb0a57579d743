/*
 * rate.c - rates, durations and quantities as text.
 *
 * All arithmetic is exact: decimals are read as integers over a power of ten, so
 * that 2.5M is 2,500,000 and 0.3k is 300, and what does not come out whole is
 * refused rather than rounded.  Every bound that a counter has is checked here, so
 * that no caller can make a rate that the segment cannot hold.  What the formatters
 * write, the parsers read back as the same value.
 */
#include "rate.h"
#include "ration.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NS_S UINT64_C(1000000000)
#define DAY_S UINT64_C(86400)
#define MONTH_S (31 * DAY_S)

#define NARROW_UNITS_MAX UINT64_C(1000000000)  /* a sliding window, a bucket, leases */
#define WIDE_UNITS_MAX UINT64_C(1000000000000) /* fixed windows, days, months */
#define REFILL_MAX_S MONTH_S /* a bucket's time from empty to full: far from TAT's wrap */
#define FRACTION_MAX UINT64_C(1000000000)
#define DIGITS_MAX 18 /* of a number: 10^18 fits 64 bits */

__attribute__((format(printf, 3, 4))) static int
fail(char *err, size_t size, const char *fmt, ...)
{
	va_list ap;

	if (size > 0) {
		va_start(ap, fmt);
		vsnprintf(err, size, fmt, ap);
		va_end(ap);
	}
	return -1;
}

/* Text as it may be shown: printable ASCII, the rest octal, cut where buf ends. */
struct shown {
	char buf[52];
};

static struct shown
show_n(const char *text, size_t len)
{
	struct shown s;
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

static struct shown
show(const char *text)
{
	return show_n(text, strlen(text));
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *
skip_blanks(const char *p)
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

/*
 * Digits with an optional fraction as mantissa / 10^n.  Returns what follows, NULL
 * when there is no number or it has too many digits.
 */
static const char *
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

/* A number with its suffix.  Returns what follows, or NULL with err filled in. */
static const char *
scan_quantity(const char *text, uint64_t *out, char *err, size_t errsize)
{
	const struct suffix *suffix;
	uint64_t mantissa, divisor;
	unsigned __int128 value;
	const char *p, *end;

	p = scan_decimal(text, &mantissa, &divisor);
	if (p == NULL) {
		fail(err, errsize, "found \"%s\", expected a number such as 300, 2.5M or 64Ki",
		    show(text).buf);
		return NULL;
	}
	for (end = p; is_letter(*end); end++)
		;
	suffix = suffix_find(p, (size_t)(end - p));
	if (suffix == NULL) {
		fail(err, errsize,
		    "found the suffix \"%s\", expected k, M, G, T, kB, MB, GB, TB, "
		    "Ki, Mi, Gi or Ti",
		    show_n(p, (size_t)(end - p)).buf);
		return NULL;
	}
	value = (unsigned __int128)mantissa * suffix->factor;
	if (value % divisor != 0) {
		fail(err, errsize, "found %s, expected whole units",
		    show_n(text, (size_t)(end - text)).buf);
		return NULL;
	}
	value /= divisor;
	if (value > INT64_MAX) {
		fail(err, errsize, "found %s, expected at most 10^18",
		    show_n(text, (size_t)(end - text)).buf);
		return NULL;
	}
	*out = (uint64_t)value;
	return end;
}

int
quantity_parse(const char *text, uint64_t *out, char *err, size_t errsize)
{
	const char *p = scan_quantity(skip_blanks(text), out, err, errsize);

	if (p == NULL)
		return -1;
	if (*skip_blanks(p) != '\0')
		return fail(err, errsize, "found \"%s\" after the number, expected nothing more",
		    show(skip_blanks(p)).buf);
	return 0;
}

/* 10,000 and more get a suffix where at most two decimals say them exactly. */
static int
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

static uint64_t
time_unit_find(const char *p, size_t len)
{
	for (size_t i = 0; i < sizeof(time_units) / sizeof(time_units[0]); i++)
		if (strlen(time_units[i].name) == len && memcmp(time_units[i].name, p, len) == 0)
			return time_units[i].ns;
	return 0;
}

/* ---- rates ---- */

/* "min", "15min": what stands behind the slash. */
static const char *
scan_window(const char *text, struct rate_spec *out, char *err, size_t errsize)
{
	uint64_t count = 1, divisor = 1, ns;
	const char *p = text, *end;

	if (is_digit(*p)) {
		p = scan_decimal(p, &count, &divisor);
		if (p == NULL || divisor != 1 || count == 0 || count > 1000000) {
			fail(err, errsize,
			    "found the window \"%s\", expected a whole number of s, min "
			    "or h",
			    show(text).buf);
			return NULL;
		}
	}
	for (end = p; is_letter(*end); end++)
		;
	ns = time_unit_find(p, (size_t)(end - p));
	/* "m" alone would be read as a month by half of all people. */
	if (ns == 0 || ns < NS_S || ns == 7 * DAY_S * NS_S || (end - p == 1 && *p == 'm')) {
		fail(err, errsize, "found the window \"%s\", expected s, min, h, day or month",
		    show_n(text, (size_t)(end - text)).buf);
		return NULL;
	}
	if (ns >= DAY_S * NS_S && count != 1) {
		fail(err, errsize,
		    "found the window \"%s\", expected one day or one month, or up to "
		    "24h",
		    show_n(text, (size_t)(end - text)).buf);
		return NULL;
	}
	out->window_ns = count * ns;
	out->kind = ns == MONTH_S * NS_S ? RATION_MONTH
	    : ns == DAY_S * NS_S         ? RATION_DAY
					 : RATION_SLIDING;
	return end;
}

/* The bounds that the counters set. */
static int
rate_check(const struct rate_spec *r, char *err, size_t errsize)
{
	bool wide = r->kind == RATION_FIXED || r->kind == RATION_DAY || r->kind == RATION_MONTH;
	uint64_t max = wide ? WIDE_UNITS_MAX : NARROW_UNITS_MAX;
	uint64_t window_s = r->window_ns / NS_S;

	if (r->kind == RATION_COUNT_ONLY)
		return 0;
	if (r->units > max)
		return fail(err, errsize, "found %llu units, expected at most 10^%d: %s",
		    (unsigned long long)r->units, wide ? 12 : 9,
		    r->kind == RATION_SLIDING      ? "a sliding window counts no higher, fixed does"
			: r->kind == RATION_BUCKET ? "a bucket counts no higher"
						   : "its counter holds no more");
	if ((r->kind == RATION_SLIDING || r->kind == RATION_FIXED || r->kind == RATION_BUCKET) &&
	    window_s > DAY_S)
		return fail(err, errsize, "found a window of %llu s, expected at most 24h",
		    (unsigned long long)window_s);
	if (r->kind == RATION_FIXED && DAY_S % window_s != 0)
		return fail(err, errsize,
		    "found a fixed window of %llu s, expected one that divides "
		    "a day",
		    (unsigned long long)window_s);
	if (r->kind != RATION_BUCKET)
		return 0;
	if (r->units == 0 || r->burst == 0)
		return fail(err, errsize,
		    "found a bucket of 0, expected at least 1 (0/s denies "
		    "everything)");
	if (r->burst > NARROW_UNITS_MAX)
		return fail(err, errsize, "found a burst of %llu, expected at most 10^9",
		    (unsigned long long)r->burst);
	if ((unsigned __int128)r->burst * window_s > (unsigned __int128)r->units * REFILL_MAX_S)
		return fail(err, errsize,
		    "found a bucket that takes longer than 31 days to fill, "
		    "expected a smaller burst or a faster rate");
	return 0;
}

/* "fixed", "burst 20", or nothing. */
static const char *
scan_algorithm(const char *p, struct rate_spec *out, char *err, size_t errsize)
{
	const char *end;

	p = skip_blanks(p);
	for (end = p; is_letter(*end); end++)
		;
	if (end - p == 5 && memcmp(p, "fixed", 5) == 0) {
		if (out->kind != RATION_SLIDING) {
			fail(err, errsize,
			    "found \"fixed\", expected nothing: days and months are "
			    "calendar periods anyway");
			return NULL;
		}
		out->kind = RATION_FIXED;
		return end;
	}
	if (end - p != 5 || memcmp(p, "burst", 5) != 0)
		return p;
	if (out->kind == RATION_MONTH) {
		fail(
		    err, errsize, "found \"burst\" with a month, expected a window of at most 24h");
		return NULL;
	}
	out->kind = RATION_BUCKET;
	return scan_quantity(skip_blanks(end), &out->burst, err, errsize);
}

/* One rate from text on.  Returns what follows it, or NULL with err filled in. */
static const char *
scan_rate(const char *text, struct rate_spec *out, char *err, size_t errsize)
{
	const char *p = skip_blanks(text);
	const char *end;

	memset(out, 0, sizeof(*out));
	for (end = p; is_letter(*end); end++)
		;
	if (end - p == 9 && memcmp(p, "unlimited", 9) == 0) {
		out->kind = RATION_COUNT_ONLY;
		out->units = RATION_UNLIMITED;
		return end;
	}
	if (!is_digit(*p)) {
		fail(err, errsize,
		    "found \"%s\", expected a rate such as 300/min, 10/h fixed, "
		    "480/day, 10/s burst 20, 5 concurrent or unlimited",
		    show(p).buf);
		return NULL;
	}
	p = scan_quantity(p, &out->units, err, errsize);
	if (p == NULL)
		return NULL;
	p = skip_blanks(p);
	if (strncmp(p, "concurrent", 10) == 0 && !is_letter(p[10])) {
		out->kind = RATION_CONCURRENT;
		p += 10;
	} else if (*p == '/') {
		p = scan_window(skip_blanks(p + 1), out, err, errsize);
		if (p != NULL)
			p = scan_algorithm(p, out, err, errsize);
		if (p == NULL)
			return NULL;
	} else {
		fail(err, errsize,
		    "found \"%s\", expected / and a window after the number, or "
		    "\"concurrent\"",
		    show(text).buf);
		return NULL;
	}
	return rate_check(out, err, errsize) == 0 ? skip_blanks(p) : NULL;
}

int
rate_parse(const char *text, struct rate_spec *out, char *err, size_t errsize)
{
	const char *p = scan_rate(text, out, err, errsize);

	if (p == NULL)
		return -1;
	if (*p != '\0')
		return fail(err, errsize, "found \"%s\" after the rate, expected nothing more",
		    show(p).buf);
	return 0;
}

int
rate_list_check(const struct rate_spec *r, int n, char *err, size_t errsize)
{
	char text[64];

	for (int i = 0; i < n; i++) {
		if (r[i].kind == RATION_COUNT_ONLY && n > 1)
			return fail(
			    err, errsize, "found unlimited beside other rates, expected it alone");
		for (int j = 0; j < i; j++) {
			if (r[j].kind != r[i].kind || r[j].window_ns != r[i].window_ns)
				continue;
			rate_format(&r[i], text, sizeof(text));
			return fail(err, errsize,
			    "found %s beside another rate of the same window, "
			    "expected one of each",
			    text);
		}
	}
	return 0;
}

int
rate_parse_list(const char *text, struct rate_spec *out, int max, char *err, size_t errsize)
{
	const char *p = skip_blanks(text);
	bool bracket = *p == '[';
	int n = 0;

	if (bracket)
		p++;
	for (;;) {
		struct rate_spec one;

		p = scan_rate(p, &one, err, errsize);
		if (p == NULL)
			return -1;
		if (n == max)
			return fail(err, errsize, "found more than %d rates, expected at most %d",
			    max, max);
		out[n++] = one;
		if (*p != ',')
			break;
		p++;
	}
	if (bracket) {
		if (*p != ']')
			return fail(err, errsize,
			    "found \"%s\", expected ] at the end of the rates", show(p).buf);
		p = skip_blanks(p + 1);
	}
	if (*p != '\0')
		return fail(err, errsize, "found \"%s\" after the rate, expected nothing more",
		    show(p).buf);
	return rate_list_check(out, n, err, errsize) == 0 ? n : -1;
}

static int
window_format(const struct rate_spec *r, char *buf, size_t size)
{
	unsigned long long s = r->window_ns / NS_S;

	if (r->kind == RATION_DAY || r->kind == RATION_MONTH)
		return snprintf(buf, size, "%s", r->kind == RATION_DAY ? "day" : "month");
	if (s == 1 || s == 60 || s == 3600)
		return snprintf(buf, size, "%s", s == 1 ? "s" : s == 60 ? "min" : "hour");
	if (s % 3600 == 0)
		return snprintf(buf, size, "%lluh", s / 3600);
	if (s % 60 == 0)
		return snprintf(buf, size, "%llumin", s / 60);
	return snprintf(buf, size, "%llus", s);
}

int
rate_format(const struct rate_spec *r, char *buf, size_t size)
{
	char units[32], window[32], burst[32];

	if (r->kind == RATION_COUNT_ONLY || r->units == RATION_UNLIMITED)
		return snprintf(buf, size, "unlimited");
	quantity_format(r->units, units, sizeof(units));
	if (r->kind == RATION_CONCURRENT)
		return snprintf(buf, size, "%s concurrent", units);
	window_format(r, window, sizeof(window));
	if (r->kind == RATION_BUCKET) {
		quantity_format(r->burst, burst, sizeof(burst));
		return snprintf(buf, size, "%s/%s burst %s", units, window, burst);
	}
	return snprintf(
	    buf, size, "%s/%s%s", units, window, r->kind == RATION_FIXED ? " fixed" : "");
}

static uint64_t
scaled(uint64_t units, uint64_t num, uint64_t den, uint64_t max)
{
	unsigned __int128 v;

	if (units == 0 || num == 0 || den == 0)
		return 0;
	v = (unsigned __int128)units * num / den;
	return v == 0 ? 1 : v > max ? max : (uint64_t)v;
}

void
rate_scale(struct rate_spec *r, uint64_t num, uint64_t den)
{
	bool wide = r->kind == RATION_FIXED || r->kind == RATION_DAY || r->kind == RATION_MONTH;
	uint64_t max = wide ? WIDE_UNITS_MAX : NARROW_UNITS_MAX;

	if (r->kind == RATION_COUNT_ONLY || r->units == RATION_UNLIMITED)
		return;
	r->units = scaled(r->units, num, den, max);
	r->burst = scaled(r->burst, num, den, max);
}

/* ---- fractions ---- */

int
fraction_parse(const char *text, uint64_t *num, uint64_t *den, char *err, size_t errsize)
{
	const char *p = scan_decimal(skip_blanks(text), num, den);
	uint64_t whole, one, a, b;

	if (p != NULL && *p == '/' && *den == 1) {
		p = scan_decimal(p + 1, &whole, &one);
		*den = whole;
		if (p != NULL && one != 1)
			p = NULL;
	} else if (p != NULL && *p == 'x') {
		p++;
	}
	if (p == NULL || *skip_blanks(p) != '\0' || *num == 0 || *den == 0)
		return fail(err, errsize,
		    "found \"%s\", expected a fraction above 0 such as 1/6 or 0.1", show(text).buf);
	for (a = *num, b = *den; b != 0;) {
		uint64_t rest = a % b;

		a = b;
		b = rest;
	}
	*num /= a;
	*den /= a;
	if (*num > FRACTION_MAX || *den > FRACTION_MAX)
		return fail(
		    err, errsize, "found \"%s\", expected at most 9 digits", show(text).buf);
	return 0;
}

/* ---- durations ---- */

int
duration_parse(const char *text, uint64_t *ns, char *err, size_t errsize)
{
	const char *p = skip_blanks(text);
	uint64_t last = UINT64_MAX;

	*ns = 0;
	do {
		uint64_t mantissa, divisor, unit;
		const char *number = p, *end;
		unsigned __int128 v;

		p = scan_decimal(p, &mantissa, &divisor);
		if (p == NULL)
			return fail(err, errsize,
			    "found \"%s\", expected a time such as 90s, 15min, "
			    "1h30m or 2d",
			    show(number).buf);
		for (end = p; is_letter(*end); end++)
			;
		unit = time_unit_find(p, (size_t)(end - p));
		if (unit == 0 || unit == MONTH_S * NS_S)
			return fail(err, errsize,
			    "found \"%s\", expected a number with ms, s, min, h, d "
			    "or w",
			    show(number).buf);
		if (unit >= last)
			return fail(err, errsize,
			    "found \"%s\", expected longer units before shorter "
			    "ones, each once",
			    show(text).buf);
		v = (unsigned __int128)mantissa * unit;
		if (v % divisor != 0 || v / divisor > (unsigned __int128)INT64_MAX - *ns)
			return fail(err, errsize,
			    "found \"%s\", expected less than 292 years in whole "
			    "nanoseconds",
			    show(text).buf);
		*ns += (uint64_t)(v / divisor);
		last = unit;
		p = end;
	} while (is_digit(*p));
	if (*skip_blanks(p) != '\0')
		return fail(err, errsize, "found \"%s\" after the time, expected nothing more",
		    show(skip_blanks(p)).buf);
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
