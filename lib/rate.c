/*
 * rate.c - rates as text.
 *
 * Every bound that a counter has is checked here, so that no caller can make a rate that
 * the segment cannot hold.  What rate_format() writes, rate_parse() reads back as
 * the same rate.
 */
#include "rate.h"
#include "quantity.h"
#include "ration.h"

#include <stdio.h>
#include <string.h>

#define NARROW_UNITS_MAX UINT64_C(1000000000)  /* a sliding window, a bucket, leases */
#define WIDE_UNITS_MAX UINT64_C(1000000000000) /* fixed windows, days, months */
#define REFILL_MAX_S MONTH_S /* a bucket's time from empty to full: far from TAT's wrap */

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
			scan_fail(err, errsize,
			    "found the window \"%s\", expected a whole number of s, min "
			    "or h",
			    scan_shown_all(text).buf);
			return NULL;
		}
	}
	for (end = p; is_letter(*end); end++)
		;
	ns = scan_time_unit(p, (size_t)(end - p));
	/* "m" alone would be read as a month by half of all people. */
	if (ns == 0 || ns < NS_S || ns == 7 * DAY_S * NS_S || (end - p == 1 && *p == 'm')) {
		scan_fail(err, errsize, "found the window \"%s\", expected s, min, h, day or month",
		    scan_shown(text, (size_t)(end - text)).buf);
		return NULL;
	}
	if (ns >= DAY_S * NS_S && count != 1) {
		scan_fail(err, errsize,
		    "found the window \"%s\", expected one day or one month, or up to "
		    "24h",
		    scan_shown(text, (size_t)(end - text)).buf);
		return NULL;
	}
	out->window_ns = count * ns;
	out->kind = ns == MONTH_S * NS_S ? RATION_MONTH
	    : ns == DAY_S * NS_S         ? RATION_DAY
					 : RATION_SLIDING;
	return end;
}

/* What a counter of this kind holds. */
static uint64_t
units_max(uint8_t kind)
{
	bool wide = kind == RATION_FIXED || kind == RATION_DAY || kind == RATION_MONTH;

	return wide ? WIDE_UNITS_MAX : NARROW_UNITS_MAX;
}

/* The bounds that the counters set. */
static int
rate_check(const struct rate_spec *r, char *err, size_t errsize)
{
	uint64_t max = units_max(r->kind);
	bool wide = max == WIDE_UNITS_MAX;
	uint64_t window_s = r->window_ns / NS_S;

	if (r->kind == RATION_COUNT_ONLY)
		return 0;
	if (r->units > max)
		return scan_fail(err, errsize, "found %llu units, expected at most 10^%d: %s",
		    (unsigned long long)r->units, wide ? 12 : 9,
		    r->kind == RATION_SLIDING      ? "a sliding window counts no higher, fixed does"
			: r->kind == RATION_BUCKET ? "a bucket counts no higher"
						   : "its counter holds no more");
	if ((r->kind == RATION_SLIDING || r->kind == RATION_FIXED || r->kind == RATION_BUCKET) &&
	    window_s > DAY_S)
		return scan_fail(err, errsize, "found a window of %llu s, expected at most 24h",
		    (unsigned long long)window_s);
	if (r->kind == RATION_FIXED && DAY_S % window_s != 0)
		return scan_fail(err, errsize,
		    "found a fixed window of %llu s, expected one that divides "
		    "a day",
		    (unsigned long long)window_s);
	if (r->kind != RATION_BUCKET)
		return 0;
	if (r->units == 0 || r->burst == 0)
		return scan_fail(err, errsize,
		    "found a bucket of 0, expected at least 1 (0/s denies "
		    "everything)");
	if (r->burst > NARROW_UNITS_MAX)
		return scan_fail(err, errsize, "found a burst of %llu, expected at most 10^9",
		    (unsigned long long)r->burst);
	if ((unsigned __int128)r->burst * window_s > (unsigned __int128)r->units * REFILL_MAX_S)
		return scan_fail(err, errsize,
		    "found a bucket that takes longer than 31 days to fill, "
		    "expected a smaller burst or a faster rate");
	return 0;
}

/* "fixed", "burst 20", or nothing. */
static const char *
scan_algorithm(const char *p, struct rate_spec *out, char *err, size_t errsize)
{
	const char *end;

	p = scan_blanks(p);
	for (end = p; is_letter(*end); end++)
		;
	if (end - p == 5 && memcmp(p, "fixed", 5) == 0) {
		if (out->kind != RATION_SLIDING) {
			scan_fail(err, errsize,
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
		scan_fail(
		    err, errsize, "found \"burst\" with a month, expected a window of at most 24h");
		return NULL;
	}
	out->kind = RATION_BUCKET;
	return scan_quantity(scan_blanks(end), &out->burst, err, errsize);
}

/* One rate from text on.  Returns what follows it, or NULL with err filled in. */
static const char *
scan_rate(const char *text, struct rate_spec *out, char *err, size_t errsize)
{
	const char *p = scan_blanks(text);
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
		scan_fail(err, errsize,
		    "found \"%s\", expected a rate such as 300/min, 10/h fixed, "
		    "480/day, 10/s burst 20, 5 concurrent or unlimited",
		    scan_shown_all(p).buf);
		return NULL;
	}
	p = scan_quantity(p, &out->units, err, errsize);
	if (p == NULL)
		return NULL;
	p = scan_blanks(p);
	if (strncmp(p, "concurrent", 10) == 0 && !is_letter(p[10])) {
		out->kind = RATION_CONCURRENT;
		p += 10;
	} else if (*p == '/') {
		p = scan_window(scan_blanks(p + 1), out, err, errsize);
		if (p != NULL)
			p = scan_algorithm(p, out, err, errsize);
		if (p == NULL)
			return NULL;
	} else {
		scan_fail(err, errsize,
		    "found \"%s\", expected / and a window after the number, or "
		    "\"concurrent\"",
		    scan_shown_all(text).buf);
		return NULL;
	}
	return rate_check(out, err, errsize) == 0 ? scan_blanks(p) : NULL;
}

int
rate_parse(const char *text, struct rate_spec *out, char *err, size_t errsize)
{
	const char *p = scan_rate(text, out, err, errsize);

	if (p == NULL)
		return -1;
	if (*p != '\0')
		return scan_fail(err, errsize, "found \"%s\" after the rate, expected nothing more",
		    scan_shown_all(p).buf);
	return 0;
}

int
rate_list_check(const struct rate_spec *r, int n, char *err, size_t errsize)
{
	char text[64];

	for (int i = 0; i < n; i++) {
		if (r[i].kind == RATION_COUNT_ONLY && n > 1)
			return scan_fail(
			    err, errsize, "found unlimited beside other rates, expected it alone");
		for (int j = 0; j < i; j++) {
			if (r[j].kind != r[i].kind || r[j].window_ns != r[i].window_ns)
				continue;
			rate_format(&r[i], text, sizeof(text));
			return scan_fail(err, errsize,
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
	const char *p = scan_blanks(text);
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
			return scan_fail(err, errsize,
			    "found more than %d rates, expected at most %d", max, max);
		out[n++] = one;
		if (*p != ',')
			break;
		p++;
	}
	if (bracket) {
		if (*p != ']')
			return scan_fail(err, errsize,
			    "found \"%s\", expected ] at the end of the rates",
			    scan_shown_all(p).buf);
		p = scan_blanks(p + 1);
	}
	if (*p != '\0')
		return scan_fail(err, errsize, "found \"%s\" after the rate, expected nothing more",
		    scan_shown_all(p).buf);
	return rate_list_check(out, n, err, errsize) == 0 ? n : -1;
}

int
rate_window_format(const struct rate_spec *r, char *buf, size_t size)
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
	rate_window_format(r, window, sizeof(window));
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

bool
rate_scale_fits(const struct rate_spec *r, uint64_t num, uint64_t den)
{
	unsigned __int128 most = r->units > r->burst ? r->units : r->burst;

	if (r->kind == RATION_COUNT_ONLY || r->units == RATION_UNLIMITED || den == 0)
		return true;
	return most * num / den <= units_max(r->kind);
}

void
rate_scale(struct rate_spec *r, uint64_t num, uint64_t den)
{
	uint64_t max = units_max(r->kind);

	if (r->kind == RATION_COUNT_ONLY || r->units == RATION_UNLIMITED)
		return;
	r->units = scaled(r->units, num, den, max);
	r->burst = scaled(r->burst, num, den, max);
}
