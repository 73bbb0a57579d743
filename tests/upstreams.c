#include "upstreams.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void
http_date_text(int64_t unix_s, char out[40])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	(void)strftime(out, 40, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&t, &tm));
}

void
answer_add(struct sim_answer *a, const char *name, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(a->text[a->n], sizeof(a->text[0]), fmt, ap);
	va_end(ap);
	a->headers[a->n] = (ration_attr_t) { .size = sizeof(ration_attr_t),
		.name = name,
		.value = a->text[a->n],
		.len = strlen(a->text[a->n]) };
	a->n++;
}

/* Count it if it fits.  *reset_ms: when all that is used has come back, *retry_ms: when one fits.
 */
static bool
count_fixed(
    struct sim *s, uint64_t now, uint64_t cost, uint64_t *left, uint64_t *reset, uint64_t *retry)
{
	uint64_t w = now / s->window_ms;
	bool fits;

	if (w != s->window) {
		s->window = w;
		s->in_window = 0;
	}
	fits = s->in_window + cost <= s->limit;
	if (fits)
		s->in_window += cost;
	if (s->in_window > s->most)
		s->most = s->in_window;
	*left = s->limit - s->in_window;
	*reset = *retry = (w + 1) * s->window_ms;
	return fits;
}

static bool
count_sliding(
    struct sim *s, uint64_t now, uint64_t cost, uint64_t *left, uint64_t *reset, uint64_t *retry)
{
	uint64_t used;
	bool fits;

	while (s->head != s->tail && s->log[s->head % SIM_LOG] + s->window_ms <= now)
		s->head++;
	used = s->tail - s->head;
	fits = used + cost <= s->limit;
	for (uint64_t i = 0; fits && i < cost; i++)
		s->log[s->tail++ % SIM_LOG] = now;
	used = s->tail - s->head;
	if (used > s->most)
		s->most = used;
	*left = s->limit - used;
	*reset = used != 0 ? s->log[(s->tail - 1) % SIM_LOG] + s->window_ms : now;
	*retry = used != 0 ? s->log[s->head % SIM_LOG] + s->window_ms : now;
	return fits;
}

static void
figures(const struct sim *s, struct sim_answer *a, uint64_t now, uint64_t left, uint64_t reset)
{
	uint64_t unix_s = (reset + 999) / 1000, in = (reset - now + 999) / 1000;

	switch (s->dialect) {
	case SIM_X_UNIX:
	case SIM_X_DELTA:
		answer_add(a, "X-RateLimit-Limit", "%" PRIu64, s->limit);
		answer_add(a, "x-ratelimit-remaining", "%" PRIu64, left);
		answer_add(
		    a, "X-RateLimit-Reset", "%" PRIu64, s->dialect == SIM_X_UNIX ? unix_s : in);
		break;
	case SIM_IETF_THREE:
		answer_add(a, "RateLimit-Limit", "%" PRIu64 ", %" PRIu64 ";w=%" PRIu64, s->limit,
		    s->limit, s->window_ms / 1000);
		answer_add(a, "RateLimit-Remaining", "%" PRIu64, left);
		answer_add(a, "RateLimit-Reset", "%" PRIu64, in);
		break;
	case SIM_IETF_OLD:
		answer_add(a, "RateLimit",
		    "limit=%" PRIu64 ", remaining=%" PRIu64 ", reset=%" PRIu64, s->limit, left, in);
		break;
	case SIM_IETF_LIST:
		answer_add(a, "RateLimit-Policy",
		    "\"big\";q=%" PRIu64 ";w=86400, \"a\";q=%" PRIu64 ";w=%" PRIu64,
		    s->limit * 1000, s->limit, s->window_ms / 1000);
		answer_add(a, "RateLimit",
		    "\"big\";r=%" PRIu64 ";t=50000, \"a\";r=%" PRIu64 ";t=%" PRIu64, s->limit * 900,
		    left, in);
		break;
	default:
		break;
	}
}

void
sim_request(struct sim *s, int64_t unix_ms, uint64_t cost, struct sim_answer *out)
{
	uint64_t now = (uint64_t)(unix_ms + s->skew_ms), left, reset, retry;
	bool fits = s->kind == SIM_FIXED ? count_fixed(s, now, cost, &left, &reset, &retry)
					 : count_sliding(s, now, cost, &left, &reset, &retry);
	char date[40];

	memset(out, 0, sizeof(*out));
	out->status = fits ? 200 : 429;
	if (!s->no_date) {
		http_date_text((int64_t)(now / 1000), date);
		answer_add(out, "Date", "%s", date);
	}
	figures(s, out, now, left, reset);
	if (fits) {
		s->counted += cost;
		return;
	}
	answer_add(out, "Retry-After", "%" PRIu64, (retry - now + 999) / 1000);
	s->refused++;
	if (s->nrefused_windows < 64 &&
	    (s->nrefused_windows == 0 ||
		s->refused_windows[s->nrefused_windows - 1] != now / s->window_ms))
		s->refused_windows[s->nrefused_windows++] = now / s->window_ms;
}
