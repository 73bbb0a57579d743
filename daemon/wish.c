#include "wish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "trail.h"

/* ---- what all of them take ---- */

static bool
printable(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

bool
wish_reason(struct call *c, const char **out)
{
	*out = "";
	if (!call_text(c, "reason", false, out))
		return false;
	if (strlen(*out) >= sizeof(((struct change *)NULL)->reason) || !printable(*out))
		return call_fail(
		    c, RPC_PARAMS, "reason: expected up to 255 bytes without control characters");
	return true;
}

bool
wish_common(struct call *c, struct wish *w, enum change_kind kind, const char *action)
{
	memset(w, 0, sizeof(*w));
	w->limit = -1;
	w->expect = -1;
	w->action = action;
	w->change.kind = kind;
	w->change.until = POLICY_ENDLESS;
	w->change.when = keeper_now(&c->d->keeper);
	(void)snprintf(w->change.who, sizeof(w->change.who), "%s", c->peer->who);
	if (!wish_reason(c, &w->reason) || !call_int(c, "expect", 0, INT64_MAX, &w->expect) ||
	    !call_bool(c, "dry_run", &w->dry_run))
		return false;
	(void)snprintf(w->change.reason, sizeof(w->change.reason), "%s", w->reason);
	return true;
}

bool
wish_until(struct call *c, struct change *ch)
{
	int64_t for_s = -1, until = -1, now = ch->when;

	if (!call_int(c, "for_s", 1, INT64_C(100) * 366 * 86400, &for_s) ||
	    !call_int(c, "until", 0, INT64_C(1) << 40, &until))
		return false;
	if (for_s >= 0 && until >= 0)
		return call_fail(c, RPC_PARAMS, "for_s and until: expected one of them");
	if (until >= 0 && until <= now)
		return call_fail(c, RPC_PARAMS, "until: %lld is over, expected a time after %lld",
		    (long long)until, (long long)now);
	if (for_s >= 0)
		ch->until = now + for_s;
	else if (until >= 0)
		ch->until = until;
	return true;
}

bool
wish_name(struct call *c, const char *param, bool required, char out[RATION_NAME_MAX + 1])
{
	const char *text = NULL;

	if (!call_text(c, param, required, &text))
		return false;
	if (text != NULL && strlen(text) > RATION_NAME_MAX)
		return call_fail(
		    c, RPC_PARAMS, "%s: expected a name of up to %u bytes", param, RATION_NAME_MAX);
	(void)snprintf(out, RATION_NAME_MAX + 1, "%s", text != NULL ? text : "");
	return true;
}

bool
wish_limit(struct call *c, struct wish *w, bool required)
{
	const char *name;

	if (!call_limit(c, required, &name, &w->limit))
		return false;
	(void)snprintf(w->change.limit, sizeof(w->change.limit), "%s", name != NULL ? name : "");
	return true;
}

/* ---- how it was before ---- */

/* The live change about the same thing, the latest; NULL: none. */
static const struct change *
live_same(const struct live *l, const struct change *ch)
{
	for (size_t i = l->n; i > 0; i--)
		if (change_same(&l->at[i - 1], ch))
			return &l->at[i - 1];
	for (size_t i = l->ndormant; i > 0; i--)
		if (change_same(&l->dormant[i - 1], ch))
			return &l->dormant[i - 1];
	return NULL;
}

static uint32_t
plan_index(const struct policy_ref *p, const char *name)
{
	for (uint32_t i = 1; i <= p->area->nplans; i++)
		if (strcmp(policy_plan_name(p, i), name) == 0)
			return i;
	return 0;
}

/* The ruleset that the target of a change of rates has now. */
static bool
target_ruleset(struct call *c, const struct wish *w, struct ruleset *out)
{
	const struct change *ch = &w->change;
	struct policy_ref p;
	bool is_listed;
	int64_t index;

	if (w->limit < 0 || !keeper_policy(&c->d->keeper, &p))
		return false;
	if (ch->key_len == 0)
		return digest_cell(&p, (uint32_t)w->limit, plan_index(&p, ch->plan), 0, out);
	index = policy_resolve(&p, (uint32_t)w->limit, ch->key, ch->key_len, &is_listed);
	for (int i = 0; i < 8 && index >= 0 && policy_ruleset(&p, (uint32_t)index, out); i++) {
		if (out->until > ch->when)
			return true;
		index = out->next;
	}
	return false;
}

/* The value of an entitlement, "" for none. */
static void
ruleset_value(struct call *c, const struct ruleset *r, char out[VALUE_MAX + 1])
{
	struct policy_ref p;

	if (keeper_policy(&c->d->keeper, &p))
		(void)snprintf(out, VALUE_MAX + 1, "%s", policy_string(&p, r->value, NULL));
}

/* Plan or environment that the policy has for the key. */
static const char *
target_name(struct call *c, const struct change *ch)
{
	struct policy_ref p;
	struct key_def key;

	if (!keeper_policy(&c->d->keeper, &p) ||
	    !policy_key(&p, policy_hash(ch->key, ch->key_len), ch->key, ch->key_len, &key))
		return "";
	return ch->kind == CHANGE_PLAN ? policy_plan_name(&p, key.plan)
				       : policy_env_name(&p, key.env);
}

/* The value of a change, as `old` and `new` show it. */
static json_t *
value_json(const struct change *ch)
{
	const char *name = ch->kind == CHANGE_PLAN ? "plan"
	    : ch->kind == CHANGE_ENV               ? "environment"
	    : ch->kind == CHANGE_SHARE             ? "share"
	    : ch->kind == CHANGE_VALUE             ? "value"
						   : "mode";
	struct change endless = *ch;
	char text[VALUE_TEXT];
	json_t *j;

	endless.until = POLICY_ENDLESS;
	change_value_text(&endless, text, sizeof(text));
	j = ch->kind == CHANGE_RATES
	    ? json_pack("{s:o}", "rates", json_rates(ch->rates, ch->nrates))
	    : json_pack("{s:o}", name, json_any(text));
	if (ch->until != POLICY_ENDLESS)
		(void)json_object_set_new(j, "until", json_time(ch->until));
	return j;
}

json_t *
wish_state(struct call *c, const struct wish *w, char *text, size_t size)
{
	const struct change *same = live_same(&c->d->live, &w->change);
	struct change now = w->change;
	struct ruleset r;
	json_t *j;

	if (same != NULL)
		now = *same;
	else {
		now.until = POLICY_ENDLESS;
		memset(&r, 0, sizeof(r));
		if (now.kind == CHANGE_RATES || now.kind == CHANGE_VALUE || now.kind == CHANGE_MODE)
			(void)target_ruleset(c, w, &r);
		if (now.kind == CHANGE_VALUE)
			ruleset_value(c, &r, now.value);
		now.mode = r.mode;
		now.nrates = (uint8_t)(r.nrates < RATION_RATES_MAX ? r.nrates : RATION_RATES_MAX);
		for (unsigned i = 0; i < now.nrates; i++)
			rate_def_spec(&r.rates[i], &now.rates[i]);
		if (now.kind == CHANGE_PLAN || now.kind == CHANGE_ENV)
			(void)snprintf(now.plan, sizeof(now.plan), "%s", target_name(c, &now));
		if (now.kind == CHANGE_SHARE)
			config_share(c->d->live.config, &now.share_num, &now.share_den);
	}
	if (now.kind == CHANGE_MODE && same == NULL && w->limit < 0) {
		(void)snprintf(text, size, "as set for each limit");
		j = json_pack("{s:n}", "mode");
	} else {
		change_value_text(&now, text, size);
		j = value_json(&now);
	}
	if (same != NULL)
		(void)json_object_set_new(j, "live", json_true());
	return j;
}

/* ---- doing it ---- */

/*
 * What an added or a removing change replaces.  One that ends leaves the endless
 * one beneath it in place, which then applies again.
 */
static bool
replaces(const struct change *c, const void *arg)
{
	const struct wish *w = arg;

	if (!change_same(c, &w->change))
		return false;
	return w->removes || w->change.until == POLICY_ENDLESS || c->until != POLICY_ENDLESS;
}

static uint64_t
generation(const struct call *c, int64_t limit)
{
	return limit >= 0 ? c->d->live.limits[limit].value : c->d->live.generation;
}

bool
wish_expect(struct call *c, const struct wish *w)
{
	uint64_t now = generation(c, w->limit);
	struct policy_ref p;

	if (w->expect < 0 || (uint64_t)w->expect == now)
		return true;
	if (w->limit >= 0 && keeper_policy(&c->d->keeper, &p))
		c->data = json_limit(c->d, &p, (uint32_t)w->limit);
	else
		c->data = json_pack("{s:I}", "generation", (json_int_t)now);
	return call_fail(c, RPC_CONFLICT,
	    "changed meanwhile: expected generation %lld, it is %llu; look again and repeat",
	    (long long)w->expect, (unsigned long long)now);
}

void
wish_audit(const struct call *c, const struct wish *w, struct audit *a)
{
	memset(a, 0, sizeof(*a));
	a->when = w->change.when;
	(void)snprintf(a->who, sizeof(a->who), "%s", c->peer->who);
	a->uid = c->peer->uid;
	a->pid = c->peer->pid;
	(void)snprintf(a->action, sizeof(a->action), "%s", w->action);
	if (w->target[0] != '\0')
		(void)snprintf(a->target, sizeof(a->target), "%s", w->target);
	else
		change_target_text(&w->change, a->target, sizeof(a->target));
	(void)snprintf(a->old, sizeof(a->old), "%s", w->old_text);
	(void)snprintf(a->new, sizeof(a->new), "%s", w->new_text);
	(void)snprintf(a->reason, sizeof(a->reason), "%s", w->reason);
	a->subject = w->subject;
	a->before = w->before;
	a->after = w->after;
	a->request = w->request;
	a->undoes = w->undoes;
}

void
wish_tell(struct call *c, const struct audit *a)
{
	char text[TARGET_TEXT + 2 * VALUE_TEXT + 512];
	bool named = strcmp(a->action, a->target) != 0; /* not "share share" */
	struct happening h = { .type = a->action,
		.who = a->who,
		.target = a->target,
		.old = a->old,
		.new = a->new,
		.reason = a->reason,
		.text = text };

	(void)snprintf(text, sizeof(text), "%s%s%s: %s -> %s by %s%s%s", a->action,
	    named ? " " : "", named ? a->target : "", a->old[0] != '\0' ? a->old : "none", a->new,
	    a->who, a->reason[0] != '\0' ? ", reason: " : "", a->reason);
	daemon_happened(c->d, &h);
}

bool
wish_failed(struct call *c, enum live_result result, const struct mistakes *m)
{
	if (result == LIVE_REFUSED)
		return call_refuse(c, m);
	return call_fail(c, RPC_INTERNAL, "not made durable, so nothing was changed: %s",
	    m->n > 0 ? m->text[0] : "no reason known");
}

void
wish_answer(struct call *c, struct wish *w)
{
	struct policy_ref p;
	uint32_t version = keeper_policy(&c->d->keeper, &p) ? p.version : 0;

	c->result = json_pack("{s:I, s:O, s:O, s:I, s:o}", "generation",
	    (json_int_t)generation(c, w->limit), "old", w->old, "new", w->new, "policy_version",
	    (json_int_t)version, "id",
	    w->adds && !w->dry_run ? json_integer(w->change.id) : json_null());
	if (w->dry_run)
		(void)json_object_set_new(c->result, "dry_run", json_true());
}

void
wish_free(struct wish *w)
{
	json_decref(w->old);
	json_decref(w->new);
	free(w->subject);
	free(w->before);
	free(w->after);
	w->old = w->new = NULL;
	w->subject = w->before = w->after = NULL;
}

/* The state before and after it, for the audit. */
static bool
keep_trail(struct call *c, struct wish *w)
{
	struct trail t;
	size_t kept = 0;

	if (!trail_now(&c->d->live, &w->change, &t))
		return call_fail(c, RPC_INTERNAL, "out of memory");
	if (w->request_before != NULL)
		(void)snprintf(t.request, sizeof(t.request), "%s", w->request_before);
	w->subject = trail_subject(&w->change, 0);
	w->before = trail_text(&t);
	for (size_t i = 0; i < t.n; i++)
		if (!replaces(&t.at[i], w))
			t.at[kept++] = t.at[i];
	t.n = kept;
	if (w->adds)
		t.at[t.n++] = w->change; /* there is room for it */
	if (w->request_after != NULL)
		(void)snprintf(t.request, sizeof(t.request), "%s", w->request_after);
	w->after = trail_text(&t);
	trail_free(&t);
	return w->subject != NULL && w->before != NULL && w->after != NULL
	    ? true
	    : call_fail(c, RPC_INTERNAL, "out of memory");
}

/* Is there what it would remove? */
bool
wish_edit(struct call *c, struct wish *w, const struct live_edit *e)
{
	struct mistakes m = { 0 };
	enum live_result result = live_edit(&c->d->live, e, &m);

	if (result != LIVE_DONE)
		(void)wish_failed(c, result, &m);
	mistakes_free(&m);
	if (result != LIVE_DONE)
		return false;
	if (w->new == NULL)
		w->new =
		    w->dry_run ? json_null() : wish_state(c, w, w->new_text, sizeof(w->new_text));
	wish_answer(c, w);
	return true;
}

static bool
removable(struct call *c, const struct wish *w)
{
	char target[TARGET_TEXT];

	if (!w->removes || live_same(&c->d->live, &w->change) != NULL)
		return true;
	change_target_text(&w->change, target, sizeof(target));
	return call_fail(
	    c, RPC_NOT_FOUND, "no live change of %s: what applies comes from the files", target);
}

static bool
apply(struct call *c, struct wish *w)
{
	struct live_edit e = { .goes = replaces,
		.goes_arg = w,
		.limit = w->limit,
		.naudits = 1,
		.also = w->also,
		.also_arg = w->also_arg,
		.dry_run = w->dry_run };
	struct audit a;

	w->old = wish_state(c, w, w->old_text, sizeof(w->old_text));
	if (!wish_expect(c, w) || !removable(c, w))
		return false;
	if (w->adds) {
		change_value_text(&w->change, w->new_text, sizeof(w->new_text));
		w->new = value_json(&w->change);
		w->change.id = w->dry_run ? INT64_MAX : store_next_id(c->d->store);
		e.add = &w->change;
		e.nadd = 1;
	} else
		(void)snprintf(w->new_text, sizeof(w->new_text), "as in the files");
	if (!keep_trail(c, w))
		return false;
	wish_audit(c, w, &a);
	e.audits = &a;
	if (!wish_edit(c, w, &e))
		return false;
	if (!w->dry_run)
		wish_tell(c, &a);
	return true;
}

bool
wish_apply(struct call *c, struct wish *w)
{
	bool ok = apply(c, w);

	wish_free(w);
	return ok;
}

/* ---- rates ---- */

static bool
refuse_one(struct call *c, const char *param, const char *what)
{
	struct mistakes m = { 0 };

	mistakes_add(&m, "%s: %s", param, what);
	(void)call_refuse(c, &m);
	mistakes_free(&m);
	return false;
}

/* Of an entitlement: its value is the text as it stands. */
static bool
take_value(struct call *c, struct wish *w, const char *param, const char *value)
{
	char text[192];

	w->change.kind = CHANGE_VALUE;
	if (value_valid(value, strlen(value))) {
		(void)snprintf(w->change.value, sizeof(w->change.value), "%s", value);
		return true;
	}
	(void)snprintf(text, sizeof(text),
	    "%.63s holds values, expected 1 to %u bytes without control characters",
	    w->change.limit, VALUE_MAX);
	return refuse_one(c, param, text);
}

bool
wish_rates(struct call *c, struct wish *w, const char *param, const char *text)
{
	char err[256];
	int n;

	if (config_is_value(c->d->live.config, w->change.limit))
		return take_value(c, w, param, text);
	n = rate_parse_list(text, w->change.rates, (int)RATION_RATES_MAX, err, sizeof(err));
	if (n <= 0)
		return refuse_one(c, param, n < 0 ? err : "none given, expected 300/min or alike");
	w->change.nrates = (uint8_t)n;
	return true;
}
