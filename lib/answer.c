#include "answer.h"

#include <string.h>

#include "handle.h"

#define STATUS_DENIED 429u
#define TRIES 64u
#define MINUTE_NS UINT64_C(60000000000)

/* ---- what is answered from ---- */

static void
answer_default(struct answer *a)
{
	memset(&a->limit, 0, sizeof(a->limit));
	memset(&a->def, 0, sizeof(a->def));
	a->def.headers = ANSWER_RATELIMIT | ANSWER_RETRY;
	a->def.status = STATUS_DENIED;
}

static void
answer_policy(struct answer *a)
{
	const struct policy_ref *p = &a->policy;
	uint32_t n = p->area->nanswers;
	const struct answer_def *defs = policy_section(p, p->area->answers, n, sizeof(*defs));

	answer_default(a);
	(void)policy_limit(p, a->d->limit_id[a->d->claim], &a->limit);
	if (defs == NULL || n == 0)
		return;
	memcpy(&a->def, &defs[a->limit.answer < n ? a->limit.answer : 0], sizeof(a->def));
	if (a->def.status < 400 || a->def.status > 599)
		a->def.status = STATUS_DENIED;
}

/* Denied for another reason than a rate: its figures are not what the caller ran into. */
static bool
other_reason(const ration_decision_t *d)
{
	return d->verdict == RATION_DENIED &&
	    (d->reason == RATION_R_FULL || d->reason == RATION_R_UNLISTED);
}

/* try: 0, 1, ...; the last one does without the policy. */
static int
answer_begin(struct answer *a, ration_t *r, const ration_decision_t *d, unsigned try)
{
	const struct segment *seg;

	if (r == NULL || d == NULL || d->size != sizeof(*d) || d->claim >= RATION_CLAIMS_MAX ||
	    d->nrates > RATION_DECISION_RATES)
		return RATION_EINVAL;
	a->d = d;
	a->denied = d->verdict == RATION_DENIED;
	a->waits = a->denied && d->retry_at >= 0;
	a->retry_after = d->retry_after != 0 ? d->retry_after : 1;
	a->retry_at = d->retry_at > d->now ? d->retry_at : d->now + a->retry_after;
	a->rated = d->nrates != 0 && !other_reason(d) &&
	    (d->flags & (RATION_F_DEGRADED | RATION_F_EXEMPT | RATION_F_UNROUTED)) == 0;
	seg = try < TRIES ? handle_current(r) : NULL;
	a->attached = seg != NULL && policy_current(seg->policy, &a->policy);
	if (a->attached)
		answer_policy(a);
	else
		answer_default(a);
	return 0;
}

static bool
answer_intact(const struct answer *a)
{
	return !a->attached || policy_intact(&a->policy);
}

/* ---- which rate ---- */

const ration_rate_t *
answer_shown(const struct answer *a)
{
	const ration_decision_t *d = a->d;
	const ration_rate_t *best = NULL;

	if (!a->rated)
		return NULL;
	for (unsigned i = 0; a->def.show_limit != 0 && i < d->nrates; i++) {
		const ration_rate_t *r = &d->rates[i];

		if (r->claim >= RATION_CLAIMS_MAX || r->limit_units == RATION_UNLIMITED ||
		    d->limit_id[r->claim] != a->def.show_limit - 1)
			continue;
		if (a->def.show_window_ns != 0 ? r->window_ns == a->def.show_window_ns
					       : best == NULL || r->window_ns > best->window_ns)
			best = r;
	}
	if (best == NULL)
		best = &d->rates[0];
	return best->limit_units != RATION_UNLIMITED ? best : NULL;
}

static bool
before(const ration_rate_t *x, const ration_rate_t *y)
{
	if (x->claim != y->claim)
		return x->claim < y->claim;
	return x->window_ns != y->window_ns ? x->window_ns < y->window_ns : x->kind < y->kind;
}

unsigned
answer_rates(const struct answer *a, const ration_rate_t *out[RATION_DECISION_RATES])
{
	unsigned n = 0;

	for (unsigned i = 0; a->rated && i < a->d->nrates; i++) {
		const ration_rate_t *r = &a->d->rates[i];
		unsigned k = n;

		if (r->limit_units == RATION_UNLIMITED)
			continue;
		for (; k > 0 && before(r, out[k - 1]); k--)
			out[k] = out[k - 1];
		out[k] = r;
		n++;
	}
	return n;
}

struct rate_spec
answer_spec(const ration_rate_t *r)
{
	return (struct rate_spec) { .kind = r->kind,
		.units = r->kind == RATION_BUCKET ? r->rate_units : r->limit_units,
		.burst = r->kind == RATION_BUCKET ? r->limit_units : 0,
		.window_ns = r->window_ns };
}

void
answer_per(const ration_rate_t *r, char out[ANSWER_PER_MAX])
{
	struct rate_spec s = answer_spec(r);
	const char *text = NULL;

	/* Most are among these: they do without the way round by snprintf(). */
	if (r->kind == RATION_CONCURRENT)
		text = "concurrent";
	else if (r->limit_units == RATION_UNLIMITED)
		text = "";
	else if (r->window_ns == MINUTE_NS)
		text = "min";
	else if (r->window_ns == MINUTE_NS / 60)
		text = "s";
	if (text != NULL)
		memcpy(out, text, strlen(text) + 1);
	else
		(void)rate_window_format(&s, out, ANSWER_PER_MAX);
}

const char *
answer_limit(const struct answer *a, unsigned claim, size_t *len)
{
	struct limit_def l;

	*len = 0;
	if (!a->attached || claim >= RATION_CLAIMS_MAX ||
	    !policy_limit(&a->policy, a->d->limit_id[claim], &l))
		return "";
	return policy_string(&a->policy, l.name, len);
}

/* Does another rate of the call make the name ambiguous: of another limit, or as long? */
static void
ambiguous(const struct answer *a, const ration_rate_t *rate, bool *limit, bool *window)
{
	*limit = *window = false;
	for (unsigned i = 0; i < a->d->nrates; i++) {
		const ration_rate_t *r = &a->d->rates[i];

		if (r->limit_units == RATION_UNLIMITED)
			continue;
		*limit |= r->claim != rate->claim;
		*window |= r->claim == rate->claim && r->kind != rate->kind &&
		    r->window_ns == rate->window_ns;
	}
}

static void
put_text(struct template_out *o, const char *text)
{
	template_put(o, text, strlen(text));
}

/* A limit may be in a call for several keys: which of them is the rate's, from 1 on. */
static unsigned
nth_of_limit(const struct answer *a, const ration_rate_t *rate)
{
	unsigned n = 1;

	for (unsigned i = 0; rate->claim < RATION_CLAIMS_MAX && i < rate->claim; i++)
		n += a->d->limit_id[i] == a->d->limit_id[rate->claim];
	return n;
}

size_t
answer_name(const struct answer *a, const ration_rate_t *rate, char out[ANSWER_NAME_MAX])
{
	struct template_out o = { out, ANSWER_NAME_MAX, 0 };
	char per[ANSWER_PER_MAX];
	const char *name = "";
	unsigned nth = nth_of_limit(a, rate);
	bool limit, window;
	size_t len = 0;

	ambiguous(a, rate, &limit, &window);
	if (limit)
		name = answer_limit(a, rate->claim, &len);
	for (size_t i = 0; i < len && i < RATION_NAME_MAX; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c >= 0x7f)
			c = '_';
		if (c == '"' || c == '\\')
			template_put(&o, "\\", 1);
		template_put(&o, &c, 1);
	}
	if (o.len != 0)
		template_put(&o, ".", 1);
	answer_per(rate, per);
	put_text(&o, strcmp(per, "s") == 0 ? "sec" : per);
	if (window && rate->kind != RATION_SLIDING)
		put_text(&o, rate->kind == RATION_FIXED ? "-fixed" : "-burst");
	if (limit && nth > 1) {
		put_text(&o, "-");
		answer_put_u64(&o, nth);
	}
	return o.len;
}

/* ---- the public functions ---- */

int
ration_http_status(ration_t *r, const ration_decision_t *d)
{
	struct answer a;

	for (unsigned try = 0;; try++) {
		int e = answer_begin(&a, r, d, try);

		if (e != 0)
			return e;
		if (answer_intact(&a))
			return a.denied ? a.def.status : 200;
	}
}

int
ration_http_header(ration_t *r, const ration_decision_t *d, unsigned i, ration_header_t *out)
{
	struct answer a;

	if (out == NULL || out->size != sizeof(*out))
		return RATION_EINVAL;
	for (unsigned try = 0;; try++) {
		int e = answer_begin(&a, r, d, try);

		if (e == 0)
			e = answer_header(&a, i, out);
		if (e < 0 || answer_intact(&a))
			return e;
	}
}

int
ration_http_body(ration_t *r, const ration_decision_t *d, const ration_attr_t *fields, size_t n,
    char *buf, size_t size)
{
	struct answer a;

	if ((fields == NULL && n != 0) || (buf == NULL && size != 0))
		return RATION_EINVAL;
	for (size_t i = 0; i < n; i++)
		if (fields[i].size != sizeof(fields[i]) || fields[i].name == NULL ||
		    (fields[i].value == NULL && fields[i].len != 0))
			return RATION_EINVAL;
	for (unsigned try = 0;; try++) {
		struct template_out o = { buf, size, 0 };
		int e = answer_begin(&a, r, d, try);

		if (e != 0)
			return e;
		answer_body(&a, fields, n, &o);
		if (answer_intact(&a))
			return template_end(&o);
	}
}
