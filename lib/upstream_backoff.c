/*
 * upstream_backoff.c - how long to wait before a request is tried again, and HTTP's dates.
 *
 * A wait is never shorter than what the upstream asked for, whatever the policy's longest
 * pause: who comes earlier is refused again, and by some upstreams for longer.
 */
#include "upstream.h"

#include <string.h>

#include "quantity.h"

uint64_t
upstream_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* From 0 to most, both included. */
static uint64_t
uniform(uint64_t most, uint64_t *state)
{
	uint64_t x = upstream_random(state);

	return most == UINT64_MAX
	    ? x
	    : (uint64_t)((unsigned __int128)x * ((unsigned __int128)most + 1) >> 64);
}

/* first x factor^(n - 1), at most `most`. */
static uint64_t
grown(uint64_t first, uint64_t factor_milli, unsigned n, uint64_t most)
{
	uint64_t v = first < most ? first : most;

	for (unsigned i = 1; i < n && v < most && factor_milli > 1000 && v > 0; i++) {
		unsigned __int128 next = (unsigned __int128)v * factor_milli / 1000;

		if (next == v)
			next = (unsigned __int128)v + 1;
		v = next < most ? (uint64_t)next : most;
	}
	return v;
}

uint64_t
ration_backoff_ms(uint64_t first_ms, uint64_t most_ms, unsigned tries, uint64_t *state)
{
	uint64_t none = 0;

	return uniform(
	    grown(first_ms, 2000, tries > 0 ? tries : 1, most_ms), state != NULL ? state : &none);
}

uint64_t
upstream_base_ms(const struct upstream_def *d, unsigned again)
{
	return grown(d->first_ms, d->factor, again, d->most_ms);
}

uint64_t
upstream_wait_ms(
    const struct upstream_def *d, unsigned again, int64_t retry_after_ms, uint64_t *state)
{
	uint64_t base = upstream_base_ms(d, again), least = 0, wait;

	if (retry_after_ms >= 0)
		least = (uint64_t)retry_after_ms;
	switch (d->jitter) {
	case JITTER_FULL:
		wait = least + uniform(base, state);
		break;
	case JITTER_ADDED:
		wait = (retry_after_ms >= 0 ? least : base) + uniform(d->jitter_ms, state);
		break;
	default:
		wait = retry_after_ms >= 0 ? least : base;
	}
	if (wait > d->most_ms)
		wait = d->most_ms;
	return wait > least ? wait : least;
}

/* ---- HTTP dates ---- */

struct text {
	const char *p, *end;
};

static bool
literal(struct text *t, const char *s)
{
	size_t n = strlen(s);

	if ((size_t)(t->end - t->p) < n || memcmp(t->p, s, n) != 0)
		return false;
	t->p += n;
	return true;
}

/* Exactly so many digits. */
static bool
number(struct text *t, unsigned digits, unsigned *out)
{
	*out = 0;
	for (unsigned i = 0; i < digits; i++, t->p++) {
		if (t->p == t->end || !is_digit(*t->p))
			return false;
		*out = *out * 10 + (unsigned)(*t->p - '0');
	}
	return true;
}

/* One of n names; which one. */
static bool
one_of(struct text *t, const char *const *names, unsigned n, unsigned *out)
{
	for (*out = 0; *out < n; (*out)++)
		if (literal(t, names[*out]))
			return true;
	return false;
}

struct moment {
	unsigned year, month, day, hour, minute, second; /* month from 0 */
};

static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep",
	"Oct", "Nov", "Dec" };
static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char *const long_days[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday",
	"Friday", "Saturday" };

static bool
time_of_day(struct text *t, struct moment *m)
{
	return number(t, 2, &m->hour) && literal(t, ":") && number(t, 2, &m->minute) &&
	    literal(t, ":") && number(t, 2, &m->second);
}

/* Sun, 06 Nov 1994 08:49:37 GMT */
static bool
imf_fixdate(struct text t, struct moment *m)
{
	unsigned day;

	return one_of(&t, days, 7, &day) && literal(&t, ", ") && number(&t, 2, &m->day) &&
	    literal(&t, " ") && one_of(&t, months, 12, &m->month) && literal(&t, " ") &&
	    number(&t, 4, &m->year) && literal(&t, " ") && time_of_day(&t, m) &&
	    literal(&t, " GMT") && t.p == t.end;
}

/* Sunday, 06-Nov-94 08:49:37 GMT: a year of two digits is not over 50 years ahead. */
static bool
rfc850(struct text t, int64_t now, struct moment *m)
{
	unsigned day, this_year = (unsigned)(1970 + (now > 0 ? now : 0) / 31556952 % 8000);

	if (!one_of(&t, long_days, 7, &day) || !literal(&t, ", ") || !number(&t, 2, &m->day) ||
	    !literal(&t, "-") || !one_of(&t, months, 12, &m->month) || !literal(&t, "-") ||
	    !number(&t, 2, &m->year) || !literal(&t, " ") || !time_of_day(&t, m) ||
	    !literal(&t, " GMT") || t.p != t.end)
		return false;
	m->year += this_year / 100 * 100;
	if (m->year > this_year + 50)
		m->year -= 100;
	return true;
}

/* Sun Nov  6 08:49:37 1994 */
static bool
asctime_date(struct text t, struct moment *m)
{
	unsigned day;

	return one_of(&t, days, 7, &day) && literal(&t, " ") && one_of(&t, months, 12, &m->month) &&
	    literal(&t, " ") &&
	    (literal(&t, " ") ? number(&t, 1, &m->day) : number(&t, 2, &m->day)) &&
	    literal(&t, " ") && time_of_day(&t, m) && literal(&t, " ") && number(&t, 4, &m->year) &&
	    t.p == t.end;
}

/* Days from 1970-01-01, years from March on (as date.c). */
static int64_t
days_of(const struct moment *m)
{
	int64_t y = (int64_t)m->year - (m->month < 2), cycle = y / 400, yoc = y % 400;
	int64_t doy = (153 * (int64_t)((m->month + 10) % 12) + 2) / 5 + m->day - 1;

	return cycle * 146097 + yoc * 365 + yoc / 4 - yoc / 100 + doy - 719468;
}

static bool
valid(const struct moment *m)
{
	static const unsigned last[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	bool leap = m->year % 4 == 0 && (m->year % 100 != 0 || m->year % 400 == 0);

	return m->year >= 1970 && m->day >= 1 &&
	    m->day <= last[m->month] + (m->month == 1 && leap) && m->hour < 24 && m->minute < 60 &&
	    m->second <= 60;
}

int64_t
http_date(const char *text, size_t len, int64_t now)
{
	struct text t = { text, text + len };
	struct moment m;

	if ((!imf_fixdate(t, &m) && !rfc850(t, now, &m) && !asctime_date(t, &m)) || !valid(&m))
		return INT64_MIN;
	return days_of(&m) * 86400 + m.hour * 3600 + m.minute * 60 + m.second;
}

int64_t
ration_retry_after(const char *value, size_t len, int64_t now)
{
	int64_t s = 0, at;
	size_t i = 0;

	if (value == NULL)
		return -1;
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	while (len > 0 && (*value == ' ' || *value == '\t')) {
		value++;
		len--;
	}
	for (i = 0; i < len && is_digit(value[i]); i++)
		if (s <= INT64_C(100000000000))
			s = s * 10 + (value[i] - '0');
	if (len > 0 && i == len)
		return s;
	now = now > 0 ? now : 0;
	at = http_date(value, len, now);
	if (at == INT64_MIN)
		return -1;
	return at > now ? at - now : 0;
}
