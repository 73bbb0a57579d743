/*
 * headers.c - the figures of a decision as HTTP headers, in the sets that are in use.
 *
 * X-RateLimit-* has no standard; what its Reset means is the policy's `reset`.  RateLimit and
 * RateLimit-Policy are those of draft-ietf-httpapi-ratelimit-headers-11: lists of
 * strings with parameters (RFC 9651).  A later draft renames the parameters: they stand in
 * one table, below.
 */
#include "answer.h"

#include <string.h>

#include "rate.h"

#define NS_S UINT64_C(1000000000)
#define SF_INTEGER_MAX UINT64_C(999999999999999) /* RFC 9651, 3.3.1 */

static const struct {
	const char *policy, *limit;               /* header fields */
	const char *quota, *window, *concurrent;  /* parameters of the first */
	const char *available, *effective_window; /* of the second */
} ietf = { "RateLimit-Policy", "RateLimit", ";q=", ";w=", ";qu=\"concurrent-requests\"",
	";r=", ";t=" };

static void
put_text(struct template_out *o, const char *text)
{
	template_put(o, text, strlen(text));
}

static struct template_out
start(ration_header_t *out, const char *name)
{
	memcpy(out->name, name, strlen(name) + 1);
	return (struct template_out) { out->value, sizeof(out->value), 0 };
}

static int
header_u64(ration_header_t *out, const char *name, uint64_t v)
{
	struct template_out o = start(out, name);

	answer_put_u64(&o, v);
	(void)template_end(&o);
	return 1;
}

/*
 * Seconds in which limit_units come back.  Of a bucket that is how long its burst takes:
 * "20 in 2 s" is true of 10/s burst 20, "20 in 1 s" would not be.  0: no such time.
 */
static uint64_t
window_s(const ration_rate_t *r)
{
	unsigned __int128 ns = r->window_ns;

	if (r->kind == RATION_BUCKET && r->rate_units != 0)
		ns = ns * r->limit_units / r->rate_units;
	ns = (ns + NS_S - 1) / NS_S;
	return ns < SF_INTEGER_MAX ? (uint64_t)ns : SF_INTEGER_MAX;
}

/* Unix s, not before the decision. */
static uint64_t
reset_s(const struct answer *a, const ration_rate_t *r)
{
	int64_t now = a->d->now > 0 ? a->d->now : 0;

	return (uint64_t)(r->reset_at > now ? r->reset_at : now);
}

static int
x_ratelimit(const struct answer *a, const ration_rate_t *r, unsigned i, ration_header_t *out)
{
	if (i == 0)
		return header_u64(out, "X-RateLimit-Limit", r->limit_units);
	if (i == 1)
		return header_u64(out, "X-RateLimit-Remaining", r->remaining);
	return header_u64(out, "X-RateLimit-Reset",
	    a->waits && a->def.reset == RESET_RETRY ? (uint64_t)a->retry_at : reset_s(a, r));
}

/* ---- RateLimit-Policy, RateLimit ---- */

static uint64_t
sf_integer(uint64_t v)
{
	return v < SF_INTEGER_MAX ? v : SF_INTEGER_MAX;
}

static void
put_name(struct template_out *o, const struct answer *a, const ration_rate_t *r)
{
	char name[ANSWER_NAME_MAX];
	size_t len = answer_name(a, r, name);

	template_put(o, "\"", 1);
	template_put(o, name, len);
	template_put(o, "\"", 1);
}

static void
put_policy_item(struct template_out *o, const struct answer *a, const ration_rate_t *r)
{
	put_name(o, a, r);
	put_text(o, ietf.quota);
	answer_put_u64(o, sf_integer(r->limit_units));
	if (r->kind == RATION_CONCURRENT) {
		put_text(o, ietf.concurrent);
	} else if (r->kind != RATION_MONTH && window_s(r) != 0) { /* months differ in length */
		put_text(o, ietf.window);
		answer_put_u64(o, window_s(r));
	}
}

/*
 * Field `part` of RateLimit-Policy: a list that does not fit one value goes on in the next.
 * False: there is none.  *last: nothing is left for another.
 */
static bool
policy_field(const struct answer *a, unsigned part, ration_header_t *out, bool *last)
{
	const ration_rate_t *rates[RATION_DECISION_RATES];
	unsigned n = answer_rates(a, rates), at = 0;
	struct template_out o = start(out, ietf.policy);

	*last = true;
	for (unsigned i = 0; i < n; i++) {
		char item[ANSWER_NAME_MAX + 128];
		struct template_out one = { item, sizeof(item), 0 };

		put_policy_item(&one, a, rates[i]);
		if (o.len != 0 && o.len + 2 + one.len >= sizeof(out->value)) {
			if (at == part) {
				*last = false;
				break;
			}
			at++;
			o.len = 0;
		}
		if (o.len != 0)
			template_put(&o, ", ", 2);
		template_put(&o, item, one.len);
	}
	(void)template_end(&o);
	return at == part && o.len != 0;
}

static int
limit_field(const struct answer *a, const ration_rate_t *r, ration_header_t *out)
{
	struct template_out o = start(out, ietf.limit);

	put_name(&o, a, r);
	put_text(&o, ietf.available);
	answer_put_u64(&o, sf_integer(r->remaining));
	if (a->waits) {
		put_text(&o, ietf.effective_window);
		answer_put_u64(&o, sf_integer((uint64_t)a->retry_after));
	} else if (r->kind != RATION_CONCURRENT) { /* no time brings leases back */
		put_text(&o, ietf.effective_window);
		answer_put_u64(
		    &o, sf_integer(reset_s(a, r) - (uint64_t)(a->d->now > 0 ? a->d->now : 0)));
	}
	(void)template_end(&o);
	return 1;
}

/* ---- all of them ---- */

/* The policy's text, cut off where it would end the header. */
static int
content_type(const struct answer *a, enum answer_body kind, ration_header_t *out)
{
	struct template_out o = start(out, "Content-Type");
	const char *text = "";
	size_t len = 0, n = 0;

	if (a->attached)
		text = policy_string(&a->policy, a->def.content_type, &len);
	while (n < len && n < sizeof(out->value) - 1 && text[n] >= 0x20 && text[n] < 0x7f)
		n++;
	template_put(&o, text, n);
	if (n == 0)
		put_text(
		    &o, kind == BODY_PROBLEM ? "application/problem+json" : "application/json");
	(void)template_end(&o);
	return 1;
}

int
answer_header(const struct answer *a, unsigned i, ration_header_t *out)
{
	const ration_rate_t *r = answer_shown(a);
	enum answer_body kind;
	const char *text;
	size_t len;

	if (r != NULL && (a->def.headers & ANSWER_RATELIMIT) != 0) {
		if (i < 3)
			return x_ratelimit(a, r, i, out);
		i -= 3;
	}
	if (r != NULL && (a->def.headers & ANSWER_WINDOW) != 0 && window_s(r) != 0 && i-- == 0)
		return header_u64(out, "X-RateLimit-Window", window_s(r));
	if (r != NULL && (a->def.headers & ANSWER_IETF) != 0) {
		bool last = false;

		for (unsigned part = 0; !last && policy_field(a, part, out, &last); part++)
			if (i-- == 0)
				return 1;
		if (i-- == 0)
			return limit_field(a, r, out);
	}
	if (a->waits && (a->def.headers & ANSWER_RETRY) != 0 && i-- == 0)
		return header_u64(out, "Retry-After", (uint64_t)a->retry_after);
	kind = answer_body_kind(a, &text, &len);
	if (kind != BODY_NONE && i == 0)
		return content_type(a, kind, out);
	return 0;
}
