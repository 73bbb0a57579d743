/*
 * body.c - the text of a denial: the policy's template filled in, or problem+json.
 *
 * What is put in is escaped as the content of a JSON string, numbers alone aside: whatever
 * bytes a title or a caller's field has, a template that is JSON stays JSON.  A number that
 * there is not is null; a date, nothing.
 */
#include "answer.h"

#include <string.h>

#include "date.h"

enum answer_body
answer_body_kind(const struct answer *a, const char **text, size_t *len)
{
	*text = "";
	*len = 0;
	if (!a->denied)
		return BODY_NONE;
	if (a->attached && !a->waits && a->def.body_never != 0)
		*text = policy_string(&a->policy, a->def.body_never, len);
	if (a->attached && *len == 0)
		*text = policy_string(&a->policy, a->def.body, len);
	if (*len != 0)
		return BODY_TEMPLATE;
	return (a->def.headers & ANSWER_PROBLEM) != 0 ? BODY_PROBLEM : BODY_NONE;
}

static void
put_text(struct template_out *o, const char *text)
{
	template_put_json(o, text, strlen(text));
}

/* Null where there is no bound. */
static void
put_units(struct template_out *o, uint64_t v)
{
	if (v == RATION_UNLIMITED)
		put_text(o, "null");
	else
		answer_put_u64(o, v);
}

static void
put_seconds(struct template_out *o, bool known, int64_t s)
{
	put_units(o, known ? (uint64_t)(s > 0 ? s : 0) : RATION_UNLIMITED);
}

static void
put_iso(struct template_out *o, bool known, int64_t s)
{
	char text[DATE_TEXT_MAX];

	date_iso(s, text);
	if (known)
		put_text(o, text);
}

/* In the timezone of the rate that decided. */
static void
put_date(const struct answer *a, struct template_out *o, bool known, int64_t s)
{
	bool same = a->attached && a->policy.version == a->d->policy_version;
	char text[DATE_TEXT_MAX];

	date_local(same ? &a->policy : NULL, ANSWER_HINT_ZONE(a->d->rates[0].reserved), s, text);
	if (known)
		put_text(o, text);
}

static void
put_plan(const struct answer *a, struct template_out *o)
{
	uint32_t plan = ANSWER_HINT_PLAN(a->d->rates[0].reserved);

	if (a->attached && a->policy.version == a->d->policy_version && plan != 0)
		put_text(o, policy_plan_name(&a->policy, plan));
}

static void
put_name(const struct answer *a, struct template_out *o, bool title)
{
	const char *text = "";
	size_t len = 0;

	if (title && a->attached && a->limit.title != 0)
		text = policy_string(&a->policy, a->limit.title, &len);
	if (len == 0)
		text = answer_limit(a, a->d->claim, &len);
	template_put_json(o, text, len);
}

static void
put_rate(const struct answer *a, struct template_out *o, bool per)
{
	struct rate_spec s = answer_spec(&a->d->rates[0]);
	char text[96] = "";

	if (per)
		answer_per(&a->d->rates[0], text);
	else
		(void)rate_format(&s, text, sizeof(text));
	put_text(o, text);
}

static void
put_field(const struct answer *a, struct template_out *o, enum template_field field)
{
	const ration_decision_t *d = a->d;
	const ration_rate_t *r = &d->rates[0];
	bool rated = a->rated && r->limit_units != RATION_UNLIMITED;

	switch (field) {
	case FIELD_LIMIT:
	case FIELD_TITLE:
		put_name(a, o, field == FIELD_TITLE);
		break;
	case FIELD_RATE:
	case FIELD_PER:
		put_rate(a, o, field == FIELD_PER);
		break;
	case FIELD_UNITS:
		put_units(o, rated ? answer_spec(r).units : RATION_UNLIMITED);
		break;
	case FIELD_USED:
		answer_put_u64(o, r->used);
		break;
	case FIELD_REMAINING:
		put_units(o, r->remaining);
		break;
	case FIELD_LEVEL:
		answer_put_u64(o, r->level);
		break;
	case FIELD_COST:
		answer_put_u64(o, d->cost);
		break;
	case FIELD_PLAN:
		put_plan(a, o);
		break;
	case FIELD_RETRY_AFTER:
		put_seconds(o, a->waits, a->retry_after);
		break;
	case FIELD_RETRY_AT:
		put_seconds(o, a->waits, a->retry_at);
		break;
	case FIELD_RESET_AT:
		put_seconds(o, rated, r->reset_at);
		break;
	case FIELD_RETRY_AT_ISO:
		put_iso(o, a->waits, a->retry_at);
		break;
	case FIELD_RESET_AT_ISO:
		put_iso(o, rated, r->reset_at);
		break;
	case FIELD_RETRY_AT_DATE:
		put_date(a, o, a->waits, a->retry_at);
		break;
	case FIELD_RESET_AT_DATE:
		put_date(a, o, rated, r->reset_at);
		break;
	case FIELD_STATUS:
		answer_put_u64(o, a->def.status);
		break;
	case FIELD_WINDOW:
		answer_put_u64(o, r->window_ns / 1000000000u);
		break;
	case FIELD_LITERAL:
	case FIELD_CALLER:
	case FIELD_WRONG: /* rationd refuses such a template */
		break;
	}
}

static void
put_caller(struct template_out *o, const struct template_piece *piece, const ration_attr_t *fields,
    size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(fields[i].name) == piece->len &&
		    memcmp(fields[i].name, piece->text, piece->len) == 0) {
			template_put_json(o, fields[i].value, fields[i].len);
			return;
		}
}

static void
put_template(const struct answer *a, struct template_out *o, const char *text, size_t len,
    const ration_attr_t *fields, size_t n)
{
	const char *at = text, *end = text + len;
	struct template_piece piece;

	while (template_next(&at, end, &piece)) {
		if (piece.field == FIELD_LITERAL)
			template_put(o, piece.text, piece.len);
		else if (piece.field == FIELD_CALLER)
			put_caller(o, &piece, fields, n);
		else
			put_field(a, o, piece.field);
	}
}

/* RFC 9457, with the type and the extension of the draft's section 5.1. */
static void
put_problem(const struct answer *a, struct template_out *o)
{
	static const char head[] =
	    "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\","
	    "\"title\":\"Request cannot be satisfied as assigned quota has been exceeded\","
	    "\"status\":";
	static const char list[] = ",\"violated-policies\":[";
	const ration_rate_t *rates[RATION_DECISION_RATES];
	unsigned n = answer_rates(a, rates);
	bool first = true;

	template_put(o, head, sizeof(head) - 1);
	answer_put_u64(o, a->def.status);
	template_put(o, list, sizeof(list) - 1);
	for (unsigned i = 0; i < n; i++) {
		char name[ANSWER_NAME_MAX];
		size_t len;

		if (rates[i]->retry_at == 0)
			continue;
		len = answer_name(a, rates[i], name);
		template_put(o, first ? "\"" : ",\"", first ? 1 : 2);
		template_put(o, name, len);
		template_put(o, "\"", 1);
		first = false;
	}
	template_put(o, "]}", 2);
}

void
answer_body(const struct answer *a, const ration_attr_t *fields, size_t n, struct template_out *o)
{
	const char *text;
	size_t len;

	switch (answer_body_kind(a, &text, &len)) {
	case BODY_TEMPLATE:
		put_template(a, o, text, len, fields, n);
		break;
	case BODY_PROBLEM:
		put_problem(a, o);
		break;
	case BODY_NONE:
		break;
	}
}
