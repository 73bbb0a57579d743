/*
 * columns.c - what stands in each column, as numbers, as text for people and as
 * text for programs.
 *
 * The only place that knows how a value is shown, so that the list, the
 * dashboard, CSV and filters cannot differ.  All functions here take what was
 * read; none reads the segment.
 */
#include "model.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#define LIBBSD_OPENBSD_VIS 1 /* strnvis() is not used; else the header warns */
#include <vis.h>

const struct column_def columns[COL_COUNT] = {
#define X(id, name, header, width, importance, numeric, need, help) \
	[COL_##id] = { name, header, width, importance, numeric, need, help },
	COLUMNS(X)
#undef X
};

enum column
column_find(const char *name, size_t len)
{
	for (enum column c = 0; c < COL_COUNT; c++) {
		const struct column_def *d = &columns[c];

		if ((strlen(d->name) == len && strncasecmp(d->name, name, len) == 0) ||
		    (strlen(d->header) == len && strncasecmp(d->header, name, len) == 0))
			return c;
	}
	return COL_COUNT;
}

/* VIS_NOLOCALE: the same text in every locale, and nothing but ASCII on the screen. */
#define KEY_VIS (VIS_OCTAL | VIS_WHITE | VIS_NOLOCALE)

size_t
key_text(const void *key, size_t len, char buf[KEY_TEXT_MAX])
{
	const unsigned char *k = key;
	size_t plain = 0;
	int n;

	if (len > RATION_KEY_MAX)
		len = RATION_KEY_MAX;
	/* Most keys are plain text, and a filter looks at a million of them. */
	for (; plain < len && k[plain] > 0x20 && k[plain] < 0x7f && k[plain] != '\\'; plain++)
		buf[plain] = (char)k[plain];
	buf[plain] = 0;
	if (plain == len)
		return len;
	n = strvisx(buf + plain, (const char *)k + plain, len - plain, KEY_VIS);
	return n < 0 ? plain : plain + (size_t)n;
}

/*
 * Every backslash begins \ooo or \\.  strunvis(3) takes more, and drops the backslash of
 * what it does not know: that would be another key than the one that was typed.
 */
static bool
escapes_known(const char *s)
{
	while ((s = strchr(s, '\\')) != NULL) {
		if (s[1] == '\\')
			s += 2;
		else if (s[1] >= '0' && s[1] <= '3' && strspn(s + 2, "01234567") >= 2)
			s += 4;
		else
			return false;
	}
	return true;
}

int
key_parse(const char *text, unsigned char key[256])
{
	char out[KEY_TEXT_MAX];
	int n;

	if (strlen(text) >= sizeof(out) || !escapes_known(text))
		return -1;
	n = strunvis(out, text);
	if (n < 1 || n > (int)RATION_KEY_MAX)
		return -1;
	memcpy(key, out, (size_t)n);
	key[n] = 0;
	return n;
}

int
text_units(uint64_t n, char *buf, size_t size)
{
	static const char suffix[] = "kMGTPE";
	double v = (double)n;
	int i = -1;

	if (n < 10000)
		return snprintf(buf, size, "%u", (unsigned)n);
	do {
		v /= 1000;
		i++;
	} while (v >= 999.5 && i < 5);
	/* Rounded down: 9.999M left is not 10M left. */
	double step = v >= 100 ? 1 : v >= 10 ? 10 : 100;
	v = floor(v * step + 1e-9) / step;
	return snprintf(buf, size, "%.*f%c",
	    v == floor(v)                 ? 0
		: v * 10 == floor(v * 10) ? 1
					  : 2,
	    v, suffix[i]);
}

int
text_grouped(uint64_t n, char *buf, size_t size)
{
	char digits[24], out[32];
	size_t len = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n), o = 0;

	for (size_t i = 0; i < len; i++) {
		if (i > 0 && (len - i) % 3 == 0)
			out[o++] = ',';
		out[o++] = digits[i];
	}
	out[o] = 0;
	return snprintf(buf, size, "%s", out);
}

int
text_span(int64_t s, char *buf, size_t size)
{
	long long v = s;

	if (s < 0)
		return snprintf(buf, size, "-");
	if (s < 3600)
		return snprintf(buf, size, "%lld:%02lld", v / 60, v % 60);
	if (s < 86400)
		return snprintf(buf, size, "%lldh%02lldm", v / 3600, v / 60 % 60);
	if (s < 10 * 86400)
		return snprintf(buf, size, "%lldd%02lldh", v / 86400, v / 3600 % 24);
	return snprintf(buf, size, "%lldd", v / 86400);
}

static double
use_percent(const ration_rate_t *rate)
{
	if (!rate || rate->limit_units == RATION_UNLIMITED)
		return NAN;
	if (rate->limit_units == 0)
		return 100;
	return (double)rate->used * 100 / (double)rate->limit_units;
}

const ration_rate_t *
row_nearest(const struct model_row *r)
{
	const ration_rate_t *best = NULL;
	double most = -1;

	for (unsigned i = 0; i < r->row.nrates && i < RATION_RATES_MAX; i++) {
		double use = use_percent(&r->row.rates[i]);

		if (best == NULL || use > most) {
			best = &r->row.rates[i];
			most = isnan(use) ? -1 : use;
		}
	}
	return best;
}

static int64_t
span_until(int64_t at, int64_t now_s)
{
	return at <= now_s ? 0 : at - now_s;
}

/* All rates must have come back: the latest of them.  Leases are held until they are released. */
static double
reset_in(const struct model_row *r)
{
	int64_t latest = 0;

	for (unsigned i = 0; i < r->row.nrates && i < RATION_RATES_MAX; i++) {
		const ration_rate_t *rate = &r->row.rates[i];

		if (rate->used > 0 && rate->limit_units != RATION_UNLIMITED &&
		    rate->kind != RATION_CONCURRENT && rate->reset_at > latest)
			latest = rate->reset_at;
	}
	return (double)span_until(latest, r->now_s);
}

static double
retry_in(const struct model_row *r)
{
	int64_t latest = 0;

	for (unsigned i = 0; i < r->row.nrates && i < RATION_RATES_MAX; i++) {
		if (r->row.rates[i].retry_at == RATION_NEVER)
			return NAN;
		if (r->row.rates[i].retry_at > latest)
			latest = r->row.rates[i].retry_at;
	}
	return (double)span_until(latest, r->now_s);
}

double
column_number(const struct model_row *r, enum column c)
{
	const ration_rate_t *rate = row_nearest(r);

	switch (c) {
	case COL_USED:
		return rate ? (double)rate->used : NAN;
	case COL_USE:
		return use_percent(rate);
	case COL_LEFT:
		return rate && rate->remaining != RATION_UNLIMITED ? (double)rate->remaining : NAN;
	case COL_ALLOW:
		return r->allow_s < 0 ? NAN : (double)r->allow_s;
	case COL_DENY:
		return r->deny_s < 0 ? NAN : (double)r->deny_s;
	case COL_ADMITTED:
		return (double)r->row.admitted;
	case COL_DENIED:
		return (double)r->row.denied;
	case COL_RESET:
		return reset_in(r);
	case COL_RETRY:
		return retry_in(r);
	case COL_LAST:
		return r->last_s == UINT32_MAX ? NAN : (double)r->last_s;
	default:
		return NAN;
	}
}

static const char *
algo_name(const ration_rate_t *rate)
{
	static const char *const names[] = {
		[RATION_SLIDING] = "sliding",
		[RATION_FIXED] = "fixed",
		[RATION_DAY] = "day",
		[RATION_MONTH] = "month",
		[RATION_BUCKET] = "bucket",
		[RATION_CONCURRENT] = "leases",
		[RATION_COUNT_ONLY] = "unlimited",
	};

	if (!rate || rate->kind >= sizeof(names) / sizeof(names[0]) || !names[rate->kind])
		return "-";
	return names[rate->kind];
}

static const char *
mode_name(uint8_t mode)
{
	static const char *const names[] = { "enforce", "observe", "off" };

	return mode < 3 ? names[mode] : "?";
}

/* Columns that are text; the same for people and programs. */
static int
text_of(const struct model_row *r, enum column c, char *buf, size_t size)
{
	char key[KEY_TEXT_MAX];
	const ration_rate_t *rate = row_nearest(r);

	switch (c) {
	case COL_KEY:
		if (size >= KEY_TEXT_MAX)
			return (int)key_text(r->row.key, r->row.key_len, buf);
		key_text(r->row.key, r->row.key_len, key);
		return snprintf(buf, size, "%s", key);
	case COL_LIMIT:
		return snprintf(buf, size, "%s", r->limit);
	case COL_PLAN:
		return snprintf(buf, size, "%s", r->plan);
	case COL_ENV:
		return snprintf(buf, size, "%s", r->env);
	case COL_MODE:
		return snprintf(buf, size, "%s", mode_name(r->row.mode));
	case COL_ALGO:
		return snprintf(buf, size, "%s", algo_name(rate));
	case COL_RATE:
		return rate ? ration_rate_text(rate, buf, size) : snprintf(buf, size, "-");
	default:
		return snprintf(buf, size, "?");
	}
}

int
column_raw(const struct model_row *r, enum column c, char *buf, size_t size)
{
	double v;

	if (c >= COL_COUNT || !columns[c].numeric)
		return text_of(r, c, buf, size);
	v = column_number(r, c);
	if (isnan(v))
		return snprintf(buf, size, "%s", "");
	if (c == COL_USE || c == COL_ALLOW || c == COL_DENY)
		return snprintf(buf, size, "%.1f", v);
	return snprintf(buf, size, "%.0f", v);
}

static int
used_text(const ration_rate_t *rate, char *buf, size_t size)
{
	char used[16], limit[16];

	if (!rate)
		return snprintf(buf, size, "-");
	text_units(rate->used, used, sizeof(used));
	if (rate->limit_units == RATION_UNLIMITED)
		return snprintf(buf, size, "%s/-", used);
	text_units(rate->limit_units, limit, sizeof(limit));
	return snprintf(buf, size, "%s/%s", used, limit);
}

int
column_text(const struct model_row *r, enum column c, char *buf, size_t size)
{
	double v;

	if (c >= COL_COUNT || !columns[c].numeric)
		return text_of(r, c, buf, size);
	if (c == COL_USED)
		return used_text(row_nearest(r), buf, size);
	v = column_number(r, c);
	if (isnan(v))
		return snprintf(buf, size, "-");
	switch (c) {
	case COL_USE:
		return v > 9999 ? snprintf(buf, size, ">9999")
				: snprintf(buf, size, "%.0f", floor(v));
	case COL_RESET:
	case COL_RETRY:
	case COL_LAST:
		return v > 0 || c == COL_LAST ? text_span((int64_t)v, buf, size)
					      : snprintf(buf, size, "-");
	case COL_ALLOW:
	case COL_DENY:
		if (v < 10000)
			return snprintf(buf, size, "%.1f", v);
		/* FALLTHROUGH */
	default:
		return text_units((uint64_t)v, buf, size);
	}
}
