/*
 * json.c - a decision as text: the one place that knows its JSON.
 *
 * Keys are any bytes: they are shown as strvis(3) with VIS_OCTAL and VIS_WHITE would,
 * so that no byte of theirs reaches a terminal or a parser as itself.
 */
#include "ration.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "handle.h"
#include "rate.h"

/* As snprintf() over several calls: counts on when the buffer is full. */
struct out {
	char *buf;
	size_t size;
	size_t len;
};

static void put(struct out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void
put(struct out *o, const char *fmt, ...)
{
	size_t room = o->len < o->size ? o->size - o->len : 0;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(room != 0 ? o->buf + o->len : NULL, room, fmt, ap);
	va_end(ap);
	if (n > 0)
		o->len += (size_t)n;
}

/* The bytes as strvis(3) shows them, within a JSON string. */
static void
put_bytes(struct out *o, const unsigned char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (b[i] == '"')
			put(o, "\\\"");
		else if (b[i] > 0x20 && b[i] < 0x7f && b[i] != '\\')
			put(o, "%c", b[i]);
		else
			put(o, "\\\\%03o", b[i]);
	}
}

int
ration_rate_text(const ration_rate_t *rate, char *buf, size_t size)
{
	struct rate_spec s = { .kind = 0 };

	if (rate == NULL)
		return RATION_EINVAL;
	s.kind = rate->kind;
	s.units = rate->kind == RATION_BUCKET ? rate->rate_units : rate->limit_units;
	s.burst = rate->kind == RATION_BUCKET ? rate->limit_units : 0;
	s.window_ns = rate->window_ns;
	return rate_format(&s, buf, size);
}

int
ration_limit_name(ration_t *r, const ration_decision_t *d, unsigned claim, char *buf, size_t size)
{
	const struct segment *seg;
	struct policy_ref p;
	struct limit_def l;

	if (r == NULL || d == NULL || claim >= RATION_CLAIMS_MAX || (buf == NULL && size != 0))
		return RATION_EINVAL;
	seg = handle_segment(r);
	if (seg == NULL)
		return RATION_EDETACHED;
	for (unsigned tries = 0; tries < 64; tries++) {
		int n;

		if (!policy_current(seg->policy, &p) || !policy_limit(&p, d->limit_id[claim], &l))
			return RATION_ENOLIMIT;
		n = snprintf(buf, size, "%s", policy_string(&p, l.name, NULL));
		if (policy_intact(&p))
			return n;
	}
	return RATION_EBUSY;
}

/* Null where there is no bound. */
static void
put_units(struct out *o, const char *name, uint64_t v)
{
	if (v == RATION_UNLIMITED)
		put(o, "\"%s\":null,", name);
	else
		put(o, "\"%s\":%" PRIu64 ",", name, v);
}

static void
put_retry(struct out *o, int64_t retry_at)
{
	if (retry_at <= 0)
		put(o, "\"retry_at\":null,");
	else
		put(o, "\"retry_at\":%" PRId64 ",", retry_at);
}

static void
put_rate(struct out *o, ration_t *r, const ration_decision_t *d, unsigned i)
{
	const ration_rate_t *rate = &d->rates[i];
	char text[96] = "", name[RATION_NAME_MAX + 1] = "";

	(void)ration_rate_text(rate, text, sizeof(text));
	(void)ration_limit_name(r, d, rate->claim, name, sizeof(name));
	put(o, "%s{\"limit\":\"", i == 0 ? "" : ",");
	put_bytes(o, (const unsigned char *)name, strlen(name));
	put(o, "\",\"rate\":\"%s\",", text);
	put_units(o, "limit_units", rate->limit_units);
	put(o, "\"used\":%" PRIu64 ",", rate->used);
	put_units(o, "remaining", rate->remaining);
	put(o, "\"window_s\":%" PRIu64 ",\"reset_at\":%" PRId64 ",", rate->window_ns / 1000000000,
	    rate->reset_at);
	put_retry(o, rate->retry_at);
	put(o, "\"level\":%u}", rate->level);
}

/* Why there is no retry_at, for people. */
static const char *
reason_text(unsigned reason)
{
	switch (reason) {
	case RATION_R_COST:
		return "cost above the limit";
	case RATION_R_ZERO:
		return "limit is 0";
	case RATION_R_RELEASE:
		return "a lease must be released";
	case RATION_R_FULL:
		return "table full";
	case RATION_R_UNLISTED:
		return "key not listed";
	case RATION_R_QUEUE:
		return "others wait for it";
	default:
		return "";
	}
}

/* Members that are there only when they are true. */
static const struct {
	uint32_t flag;
	const char *name;
} flags[] = {
	{ RATION_F_OBSERVED, "observed" },
	{ RATION_F_DEGRADED, "degraded" },
	{ RATION_F_EXEMPT, "exempt" },
	{ RATION_F_UNROUTED, "unrouted" },
};

int
ration_decision_json(
    ration_t *r, const ration_decision_t *d, const void *key, size_t len, char *buf, size_t size)
{
	struct out o = { buf, size, 0 };
	char text[96] = "", name[RATION_NAME_MAX + 1] = "";

	if (d == NULL || d->size != sizeof(*d) || (key == NULL && len != 0) ||
	    (buf == NULL && size != 0))
		return RATION_EINVAL;
	if (size != 0)
		buf[0] = '\0';
	(void)ration_limit_name(r, d, d->claim, name, sizeof(name));
	if (d->nrates != 0)
		(void)ration_rate_text(&d->rates[0], text, sizeof(text));
	put(&o, "{\"verdict\":\"%s\",\"limit\":\"",
	    d->verdict == RATION_ADMITTED ? "admitted" : "denied");
	put_bytes(&o, (const unsigned char *)name, strlen(name));
	put(&o, "\",\"key\":\"");
	put_bytes(&o, key, len);
	put(&o, "\",\"decided_by\":");
	put(&o, text[0] != '\0' ? "\"%s\"," : "null%s,", text);
	put_units(&o, "limit_units", d->limit_units);
	put(&o, "\"used\":%" PRIu64 ",", d->used);
	put_units(&o, "remaining", d->remaining);
	put(&o, "\"window_s\":%" PRIu64 ",\"reset_at\":%" PRId64 ",", d->window_ns / 1000000000,
	    d->reset_at);
	put_retry(&o, d->verdict == RATION_DENIED ? d->retry_at : 0);
	put(&o, "\"retry_after\":%u,\"level\":%u,", d->retry_after, d->level);
	if (d->reason != RATION_R_NONE)
		put(&o, "\"reason\":\"%s\",", reason_text(d->reason));
	if ((d->flags & RATION_F_PAUSED) != 0)
		put(&o, "\"paused_until\":%" PRId64 ",", d->retry_at);
	for (unsigned i = 0; i < sizeof(flags) / sizeof(*flags); i++)
		if ((d->flags & flags[i].flag) != 0)
			put(&o, "\"%s\":true,", flags[i].name);
	put(&o, "\"rates\":[");
	for (unsigned i = 0; i < d->nrates && i < RATION_DECISION_RATES; i++)
		put_rate(&o, r, d, i);
	put(&o, "]}");
	return (int)o.len;
}
