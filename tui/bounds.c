#include "bounds.h"

#include <stdlib.h>
#include <string.h>

#define NS_S UINT64_C(1000000000)

typedef __int128 wide;

/* Units before each bucket: C(i..j) is sum[j + 1] - sum[i]. */
static uint64_t *
sums_of(const struct bounds_series *s)
{
	uint64_t *sum = malloc((s->n + 1) * sizeof(*sum));

	if (sum == NULL)
		return NULL;
	sum[0] = 0;
	for (size_t j = 0; j < s->n; j++)
		sum[j + 1] = sum[j] + s->units[j];
	return sum;
}

static bool
denies(const struct rate_def *r)
{
	return r->kind != RATION_COUNT_ONLY && r->kind != RATION_CONCURRENT &&
	    r->units != RATION_UNLIMITED;
}

static int64_t
window_s(const struct rate_def *r)
{
	int64_t s = (int64_t)(r->window_ns / NS_S);

	return s > 0 ? s : 1;
}

static bool
aligned(const struct rate_def *r)
{
	return r->kind == RATION_FIXED || r->kind == RATION_DAY || r->kind == RATION_MONTH;
}

/* ---- fewest ---- */

static uint64_t
above(uint64_t units, wide cap)
{
	return (wide)units > cap ? (uint64_t)((wide)units - cap) : 0;
}

/* Intervals as long as one, two and three windows, and a bucket by itself. */
static uint64_t
fewest_sliding(
    const struct bounds_series *s, const struct rate_def *r, const uint64_t *sum, uint64_t *lower)
{
	int64_t w = window_s(r);
	size_t lengths[5] = { 1, 0, 0, 0, 0 };

	for (unsigned k = 1; k <= 3; k++)
		lengths[k] = (size_t)(w * k / s->bucket_s);
	lengths[4] = (size_t)(w / s->bucket_s) + 1;
	for (size_t j = 1; j <= s->n; j++) {
		lower[j] = lower[j - 1];
		for (unsigned k = 0; k < 5; k++) {
			size_t m = lengths[k] < j ? lengths[k] : j;
			wide windows = ((wide)lengths[k] * s->bucket_s + w - 1) / w;
			uint64_t d;

			if (m == 0)
				continue;
			d = lower[j - m] + above(sum[j] - sum[j - m], windows * r->units);
			lower[j] = d > lower[j] ? d : lower[j];
		}
	}
	return lower[s->n];
}

/* Aligned windows that meet [from, to). */
static uint64_t
windows_in(const struct rate_def *r, const struct bounds_calendar *cal, int64_t from, int64_t to)
{
	int64_t start, end = from;
	uint64_t n = 0;

	if (r->kind == RATION_FIXED)
		return (uint64_t)((to - 1) / window_s(r) - from / window_s(r)) + 1;
	for (; end < to; n++) {
		int64_t t = end;

		cal->window(cal->arg, r, t, &start, &end);
		if (end <= t)
			return UINT32_MAX; /* no calendar: no claim */
	}
	return n;
}

/* A bucket by itself, and all that begin in the window in which it ends. */
static uint64_t
fewest_aligned(const struct bounds_series *s, const struct rate_def *r,
    const struct bounds_calendar *cal, const uint64_t *sum, uint64_t *lower)
{
	for (size_t j = 1; j <= s->n; j++) {
		int64_t to = s->start_s + (int64_t)j * s->bucket_s, from = to - s->bucket_s, start,
			end;
		uint64_t d = lower[j - 1] +
		    above(s->units[j - 1], (wide)windows_in(r, cal, from, to) * r->units);
		size_t i;

		lower[j] = d;
		cal->window(cal->arg, r, to - 1, &start, &end);
		i = start <= s->start_s
		    ? 0
		    : (size_t)((start - s->start_s + s->bucket_s - 1) / s->bucket_s);
		d = lower[i] + above(sum[j] - sum[i], r->units);
		lower[j] = d > lower[j] ? d : lower[j];
	}
	return lower[s->n];
}

/*
 * Intervals of any length: what is open so far is either begun in this bucket or goes on; in units
 * times the window's seconds.
 */
static uint64_t
fewest_bucket(const struct bounds_series *s, const struct rate_def *r)
{
	wide w = window_s(r), open = 0, from;
	uint64_t closed = 0;

	for (size_t j = 0; j < s->n; j++) {
		from = (wide)closed * w - (wide)r->units * w;
		open = j == 0 || from > open ? from : open;
		open += (wide)s->units[j] * w - (wide)r->rate_units * s->bucket_s;
		if (open > (wide)closed * w)
			closed = (uint64_t)((open + w - 1) / w);
	}
	return closed;
}

static uint64_t
fewest_of(const struct bounds_series *s, const struct rate_def *r,
    const struct bounds_calendar *cal, const uint64_t *sum, uint64_t *scratch)
{
	memset(scratch, 0, (s->n + 1) * sizeof(*scratch));
	if (r->kind == RATION_BUCKET)
		return fewest_bucket(s, r);
	return aligned(r) ? fewest_aligned(s, r, cal, sum, scratch)
			  : fewest_sliding(s, r, sum, scratch);
}

/* ---- most ---- */

/* How far a limiter of this rate looks back from t. */
static int64_t
looks_back(const struct rate_def *r, const struct bounds_calendar *cal, int64_t t)
{
	int64_t w = window_s(r), start, end;

	if (aligned(r)) {
		cal->window(cal->arg, r, t, &start, &end);
		return start;
	}
	if (r->kind != RATION_BUCKET)
		return t - (w + (w + 14) / 15 + 1);
	if (r->rate_units == 0)
		return INT64_MIN / 2;
	return t - (int64_t)(((wide)r->units * w + r->rate_units - 1) / r->rate_units) - 1;
}

static size_t
bucket_of(const struct bounds_series *s, int64_t t)
{
	return t <= s->start_s ? 0 : (size_t)((t - s->start_s) / s->bucket_s);
}

static uint64_t
most_of(const struct bounds_series *s, const struct rate_def *rates, unsigned nrates,
    const struct bounds_calendar *cal, const uint64_t *sum, uint64_t *upper)
{
	upper[0] = 0;
	for (size_t j = 0; j < s->n; j++) {
		uint64_t c = s->units[j], here = 0, n = UINT64_MAX, first, second;
		int64_t t = s->start_s + (int64_t)j * s->bucket_s;
		size_t back = j;

		for (unsigned i = 0; i < nrates; i++) {
			size_t b;
			uint64_t d;

			if (!denies(&rates[i]))
				continue;
			b = bucket_of(s, looks_back(&rates[i], cal, t));
			d = above(sum[j + 1] - sum[b], rates[i].units);
			here = d > here ? d : here;
			back = b < back ? b : back;
			n = rates[i].units < n ? rates[i].units : n;
		}
		first = upper[j] + (here < c ? here : c);
		second = upper[back] + (sum[j + 1] - sum[back]) - (c < n ? c : n);
		upper[j + 1] = first < second ? first : second;
	}
	return upper[s->n];
}

bool
bounds_find(const struct bounds_series *s, const struct rate_def *rates, unsigned nrates,
    const struct bounds_calendar *calendar, struct bounds *out)
{
	uint64_t *sum = sums_of(s), *scratch = malloc((s->n + 1) * sizeof(*scratch));

	*out = (struct bounds) { 0 };
	if (sum != NULL && scratch != NULL) {
		for (unsigned i = 0; i < nrates; i++) {
			uint64_t d =
			    denies(&rates[i]) ? fewest_of(s, &rates[i], calendar, sum, scratch) : 0;

			out->fewest = d > out->fewest ? d : out->fewest;
		}
		out->most = most_of(s, rates, nrates, calendar, sum, scratch);
	}
	free(scratch);
	free(sum);
	return sum != NULL && scratch != NULL;
}
