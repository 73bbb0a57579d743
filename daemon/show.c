/*
 * show.c - the methods that only look.  Nothing here changes anything, whoever asks.
 */
#include "rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "deliver.h"
#include "digest.h"
#include "notifier.h"
#include "requests.h"

static bool
current(struct call *c, struct policy_ref *p)
{
	return keeper_policy(&c->d->keeper, p)
	    ? true
	    : call_fail(c, RPC_INTERNAL, "no policy is published");
}

/* ---- status ---- */

static json_int_t
counter(const word_t *w)
{
	uint64_t v = atomic_load_explicit(w, memory_order_relaxed);

	return v > INT64_MAX ? INT64_MAX : (json_int_t)v;
}

static json_t *
segment_json(const struct keeper *k)
{
	const struct segment *s = &k->seg;
	json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "bytes", (json_int_t)s->bytes,
	    "slots", (json_int_t)s->nslots, "cells", (json_int_t)s->cells, "stride_bytes",
	    (json_int_t)s->stride * 8, "policy_bytes", (json_int_t)s->policy_bytes, "live",
	    counter(&s->head->live), "attached", k->attached);

#define X(name, text) (void)json_object_set_new(j, #name, json_integer(counter(&s->head->name)));
	SEG_COUNTERS(X)
#undef X
	return j;
}

static json_t *
reload_json(const struct daemon *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->last_reload.mistakes.n; i++)
		(void)json_array_append_new(list, json_any(d->last_reload.mistakes.text[i]));
	return json_pack("{s:I, s:b, s:o}", "at", (json_int_t)d->last_reload.at, "ok",
	    d->last_reload.ok, "mistakes", list);
}

static json_t *
leases_json(const struct daemon *d)
{
	uint64_t recorded, nowhere;

	book_count(d->book, &recorded, &nowhere);
	return json_pack(
	    "{s:I, s:I}", "recorded", (json_int_t)recorded, "nowhere", (json_int_t)nowhere);
}

static json_t *
quotas_json(const struct daemon *d)
{
	uint64_t written, put_back;

	quotas_count(d->quotas, &written, &put_back);
	return json_pack(
	    "{s:I, s:I}", "written", (json_int_t)written, "put_back", (json_int_t)put_back);
}

/* Raises that wait for an admin; null: the database does not say. */
static json_t *
requests_json(const struct daemon *d)
{
	struct request_counts n;
	char err[256];

	if (store_request_count(d->store, 0, 0, &n, err, sizeof(err)) != 0)
		return json_null();
	return json_pack("{s:I, s:o}", "open", (json_int_t)n.open, "due",
	    n.open > 0 ? json_integer((json_int_t)n.due) : json_null());
}

static uint32_t
limits_in_force(const struct policy_ref *p)
{
	struct limit_def def;
	uint32_t n = 0;

	for (uint32_t id = 0; id < p->area->nlimits; id++)
		if (policy_limit(p, id, &def) && (def.flags & LIMIT_GONE) == 0)
			n++;
	return n;
}

bool
show_status(struct call *c)
{
	struct daemon *d = c->d;
	struct timespec up;
	struct policy_ref p;

	if (!current(c, &p))
		return false;
	(void)clock_gettime(CLOCK_BOOTTIME, &up);
	c->result = json_pack(
	    "{s:s, s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:o, s:I, s:o, s:I, s:I, s:I, "
	    "s:I, s:o, s:b, s:I, s:o}",
	    "version", ration_version(), "instance", d->paths.instance, "pid", (json_int_t)getpid(),
	    "uptime_s", (json_int_t)up.tv_sec - (json_int_t)(d->started_ns / 1000000000u),
	    "started_at", (json_int_t)d->started_s, "sandbox", d->sandbox, "now",
	    (json_int_t)keeper_now(&d->keeper), "policy_version", (json_int_t)p.version, "config",
	    json_any(daemon_file(d)), "generation", (json_int_t)d->live.generation, "segment",
	    segment_json(&d->keeper), "limits", (json_int_t)limits_in_force(&p), "plans",
	    (json_int_t)p.area->nplans, "keys_listed", (json_int_t)p.area->nkeys, "changes",
	    (json_int_t)(d->live.n + d->live.ndormant), "last_reload", reload_json(d), "readonly",
	    !peer_may_change(d, c->peer), "routes", (json_int_t)p.area->nleaves, "leases",
	    leases_json(d));
	(void)json_object_set_new(c->result, "quotas", quotas_json(d));
	(void)json_object_set_new(c->result, "requests", requests_json(d));
	(void)json_object_set_new(c->result, "receivers", deliver_status(d->deliver));
	(void)json_object_set_new(c->result, "history", json_history(d->history));
	(void)json_object_set_new(c->result, "thresholds", notifier_json(d->notifier));
	return true;
}

/* ---- limits ---- */

/* Until when a live change holds the mode of a limit; POLICY_ENDLESS. */
static int64_t
mode_until(const struct live *l, const char *limit)
{
	int64_t until = POLICY_ENDLESS;

	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].kind == CHANGE_MODE &&
		    (l->at[i].limit[0] == '\0' || strcmp(l->at[i].limit, limit) == 0))
			until = l->at[i].until;
	return until;
}

static json_t *
counters_json(const struct limit_counters *n)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "admitted_gone",
	    counter(&n->admitted_gone), "denied_gone", counter(&n->denied_gone), "denied_nokey",
	    counter(&n->denied_nokey), "observed", counter(&n->observed), "full", counter(&n->full),
	    "keys", counter(&n->keys));
}

static bool
same_rates(const struct ruleset *a, const struct ruleset *b)
{
	return a->nrates == b->nrates && a->nrates <= RATION_RATES_MAX &&
	    memcmp(a->rates, b->rates, a->nrates * sizeof(a->rates[0])) == 0;
}

/* Figures by plan: rates, or the values of an entitlement; those that are as without a plan aside.
 */
static json_t *
plans_json(const struct policy_ref *p, uint32_t id, const struct ruleset *base, bool values)
{
	json_t *plans = json_object();
	struct ruleset r;

	for (uint32_t plan = 1; plan <= p->area->nplans; plan++) {
		if (!digest_cell(p, id, plan, 0, &r))
			continue;
		if (values && r.value != base->value)
			(void)json_object_set_new(plans, policy_plan_name(p, plan),
			    r.value != 0 ? json_any(policy_string(p, r.value, NULL)) : json_null());
		else if (!values && !same_rates(&r, base))
			(void)json_object_set_new(
			    plans, policy_plan_name(p, plan), json_ruleset_rates(&r));
	}
	return plans;
}

static const char *
answer_name(const struct policy_ref *p, uint16_t index)
{
	const struct answer_def *a =
	    policy_section(p, p->area->answers, p->area->nanswers, sizeof(*a));

	return a != NULL && index < p->area->nanswers ? policy_string(p, a[index].name, NULL) : "";
}

/* What the limit is besides its rates. */
static void
add_manners(json_t *j, const struct policy_ref *p, const struct limit_def *def,
    const struct ruleset *base, json_t *values)
{
	bool is_value = (def->flags & LIMIT_VALUE) != 0;
	bool leases = (def->flags & LIMIT_LEASES) != 0;

	(void)json_object_set_new(j, "kind",
	    json_string(is_value ? "value"
		    : leases     ? "leases"
				 : "rates"));
	(void)json_object_set_new(
	    j, "title", json_any(policy_string(p, def->title != 0 ? def->title : def->name, NULL)));
	(void)json_object_set_new(
	    j, "queue", json_string((def->flags & LIMIT_STRICT) != 0 ? "strict" : "open"));
	(void)json_object_set_new(j, "answer", json_any(answer_name(p, def->answer)));
	(void)json_object_set_new(j, "value",
	    base->value != 0 ? json_any(policy_string(p, base->value, NULL)) : json_null());
	(void)json_object_set_new(j, "values", values);
}

json_t *
json_limit(const struct daemon *d, const struct policy_ref *p, uint32_t id)
{
	struct limit_def def;
	struct ruleset base;
	const char *name;
	bool is_value;
	json_t *j;

	if (id >= LIMITS_MAX || !policy_limit(p, id, &def) || (def.flags & LIMIT_GONE) != 0 ||
	    !digest_cell(p, id, 0, 0, &base))
		return NULL;
	name = policy_string(p, def.name, NULL);
	is_value = (def.flags & LIMIT_VALUE) != 0;
	j = json_pack("{s:o, s:s, s:o, s:o, s:I, s:o, s:s, s:o, s:o}", "name", json_any(name),
	    "mode", mode_text(base.mode), "mode_until",
	    json_time(is_value ? POLICY_ENDLESS : mode_until(&d->live, name)), "rates",
	    json_ruleset_rates(&base), "generation", (json_int_t)d->live.limits[id].value, "origin",
	    json_any(policy_string(p, def.origin, NULL)), "full",
	    (def.flags & LIMIT_FULL_ADMIT) != 0 ? "admit" : "deny", "counters",
	    counters_json(&d->keeper.seg.limits[id]), "plans",
	    is_value ? json_object() : plans_json(p, id, &base, false));
	add_manners(j, p, &def, &base, is_value ? plans_json(p, id, &base, true) : json_object());
	json_put_key(j, p,
	    &(struct route_claim) { .limit = id,
		.attr = def.attr,
		.address = (def.flags & LIMIT_ADDRESS) != 0,
		.prefix4 = def.prefix4,
		.prefix6 = def.prefix6,
		.cost = def.cost });
	return j;
}

bool
show_limits(struct call *c)
{
	json_t *list = json_array();
	struct policy_ref p;

	c->result = json_pack("{s:o}", "limits", list);
	if (!current(c, &p))
		return false;
	for (uint32_t id = 0; id < p.area->nlimits; id++) {
		json_t *one = json_limit(c->d, &p, id);

		if (one != NULL)
			(void)json_array_append_new(list, one);
	}
	return true;
}

/* ---- plans ---- */

bool
show_plans(struct call *c)
{
	json_t *plans = json_array(), *envs = json_array();
	const struct key_def *keys;
	uint64_t *count;
	struct policy_ref p;

	c->result = json_pack("{s:o, s:o}", "plans", plans, "environments", envs);
	if (!current(c, &p))
		return false;
	count = calloc((size_t)p.area->nplans + 1, sizeof(*count));
	if (count == NULL)
		return call_fail(c, RPC_INTERNAL, "out of memory");
	keys = (const void *)((const char *)p.area + p.area->keys);
	for (uint32_t i = 0; i < p.area->nkeys; i++)
		if (keys[i].plan <= p.area->nplans)
			count[keys[i].plan]++;
	for (uint32_t i = 1; i <= p.area->nplans; i++)
		(void)json_array_append_new(plans,
		    json_pack("{s:o, s:I, s:b}", "name", json_any(policy_plan_name(&p, i)), "keys",
			(json_int_t)count[i], "default", i == p.area->default_plan));
	free(count);
	for (uint32_t i = 1; i <= p.area->nenvs; i++) {
		const char *name = policy_env_name(&p, i);
		char factor[64];

		(void)json_array_append_new(envs,
		    json_pack("{s:o, s:o, s:b}", "name", json_any(name), "factor",
			config_env_factor(c->d->live.config, name, factor, sizeof(factor))
			    ? json_string(factor)
			    : json_null(),
			"default", i == p.area->default_env));
	}
	return true;
}

/* ---- live changes ---- */

static json_t *
change_json(const struct change *ch, bool in_force)
{
	bool named = ch->kind != CHANGE_SHARE && ch->kind != CHANGE_MODE;
	char key[KEY_TEXT], share[48];
	json_t *j = json_pack("{s:I, s:s, s:o, s:I, s:o, s:o, s:b}", "id", (json_int_t)ch->id,
	    "kind", change_kind_text(ch->kind), "until", json_time(ch->until), "when",
	    (json_int_t)ch->when, "who", json_any(ch->who), "reason", json_any(ch->reason),
	    "in_force", in_force);

	key_text(ch->key, ch->key_len, key);
	(void)snprintf(share, sizeof(share), "%llu/%llu", (unsigned long long)ch->share_num,
	    (unsigned long long)ch->share_den);
	(void)json_object_set_new(
	    j, "limit", ch->limit[0] != '\0' ? json_any(ch->limit) : json_null());
	(void)json_object_set_new(j, "key", ch->key_len > 0 ? json_any(key) : json_null());
	(void)json_object_set_new(
	    j, "plan", named && ch->plan[0] != '\0' ? json_any(ch->plan) : json_null());
	(void)json_object_set_new(
	    j, "rates", ch->kind == CHANGE_RATES ? json_rates(ch->rates, ch->nrates) : json_null());
	(void)json_object_set_new(
	    j, "value", ch->kind == CHANGE_VALUE ? json_any(ch->value) : json_null());
	(void)json_object_set_new(
	    j, "mode", ch->kind == CHANGE_MODE ? json_string(mode_text(ch->mode)) : json_null());
	(void)json_object_set_new(
	    j, "share", ch->kind == CHANGE_SHARE ? json_string(share) : json_null());
	return j;
}

bool
show_changes(struct call *c)
{
	const struct live *l = &c->d->live;
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++)
		(void)json_array_append_new(list, change_json(&l->at[i], true));
	for (size_t i = 0; i < l->ndormant; i++)
		(void)json_array_append_new(list, change_json(&l->dormant[i], false));
	c->result = json_pack("{s:o}", "changes", list);
	return true;
}

bool
show_diff_yaml(struct call *c)
{
	const struct live *l = &c->d->live;
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return call_fail(c, RPC_INTERNAL, "out of memory");
	config_diff_yaml(l->config, l->at, l->n, f);
	if (fclose(f) != 0) {
		free(text);
		return call_fail(c, RPC_INTERNAL, "out of memory");
	}
	c->result = json_pack("{s:o}", "yaml", json_any(text));
	free(text);
	return true;
}

/* ---- audit, watch ---- */

static json_t *
number_or_null(int64_t n)
{
	return n != 0 ? json_integer(n) : json_null();
}

static bool
audit_json(void *arg, const struct audit *a)
{
	return json_array_append_new(arg,
		   json_pack("{s:I, s:I, s:o, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		       "id", (json_int_t)a->id, "when", (json_int_t)a->when, "who",
		       json_any(a->who), "uid", (json_int_t)a->uid, "pid", (json_int_t)a->pid,
		       "action", a->action, "target", json_any(a->target), "old", json_any(a->old),
		       "new", json_any(a->new), "reason", json_any(a->reason), "request",
		       number_or_null(a->request), "undoes", number_or_null(a->undoes), "undone_by",
		       number_or_null(a->undone_by))) == 0;
}

bool
show_audit(struct call *c)
{
	int64_t n = 100;
	char err[256];
	json_t *list;

	if (!call_int(c, "limit_n", 1, 1000, &n))
		return false;
	list = json_array();
	c->result = json_pack("{s:o}", "entries", list);
	if (store_audit(c->d->store, n, audit_json, list, err, sizeof(err)) != 0)
		return call_fail(c, RPC_INTERNAL, "audit: %s", err);
	return true;
}

bool
show_watch(struct call *c)
{
	c->watch = true;
	c->result = json_pack("{s:b}", "watching", true);
	return true;
}
