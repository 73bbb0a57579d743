/*
 * config_assign.c - the sections `assign` (keys on plans, in timezones) and `overrides`.
 *
 * An override says the same as a live change, so that what `ration diff
 * --as-policy` prints can be put into conf.d: rates for a key, for a plan or for a limit's
 * default, a mode, a key's plan or environment, the share.
 */
#include "load.h"

#include <string.h>

/* ---- assign ---- */

static void
read_assignment(struct loader *l, const struct node *key)
{
	struct config *c = l->c;
	const struct node *value = key->next;
	const struct node *got[FIELDS_MAX];
	struct key_model *k;
	uint32_t index;
	uint16_t zone;
	char place[256];

	if (!get_key(l, key, &index))
		return;
	k = &c->keys[index];
	if (k->mark.line != 0) {
		report_add(&l->r, key->mark,
		    "found the key %s again, expected each once (first at %s)", shown_node(key),
		    config_place(c, k->mark, place, sizeof(place)));
		return;
	}
	k->mark = key->mark;
	if (value->kind != NODE_MAP) {
		get_plan(l, value, &k->plan);
		return;
	}
	if (!walk(l, value, &fields_assign, got))
		return;
	if (got[ASSIGN_plan] != NULL)
		get_plan(l, got[ASSIGN_plan]->next, &k->plan);
	if (got[ASSIGN_environment] != NULL)
		get_env(l, got[ASSIGN_environment]->next, &k->env);
	if (got[ASSIGN_timezone] != NULL && get_zone(l, got[ASSIGN_timezone]->next, &zone)) {
		k->zone = (uint16_t)(zone + 1);
		k->zone_mark = got[ASSIGN_timezone]->mark;
	}
}

void
read_assign(struct loader *l, const struct node *key)
{
	if (key->next->kind != NODE_MAP) {
		report_add(&l->r, key->next->mark, "found %s, expected a mapping of keys to plans",
		    shown_node(key->next));
		return;
	}
	for (const struct node *n = key->next->first; n != NULL; n = n->next->next)
		read_assignment(l, n);
}

/* ---- overrides ---- */

/* What an override is about; each may be overridden once. */
struct target {
	uint32_t kind, limit, plan, key;
};

static void
add_patch(struct loader *l, const struct patch *p)
{
	struct config *c = l->c;
	bool figures = p->kind == CHANGE_RATES || p->kind == CHANGE_VALUE;
	struct target t = { p->kind, p->limit, figures ? p->plan : 0, p->key };
	uint32_t old = map_find(&l->patchmap, &t, sizeof(t));
	char place[256];

	if (old != NOBODY) {
		report_add(&l->r, p->mark,
		    "found a second override of the same, expected one (first at "
		    "%s)",
		    config_place(c, c->patches[old].mark, place, sizeof(place)));
		return;
	}
	map_add(&l->patchmap, arena_copy(&c->arena, &t, sizeof(t)), sizeof(t));
	if (c->npatches == c->patches_cap) {
		c->patches_cap = c->patches_cap == 0 ? 64 : 2 * c->patches_cap;
		c->patches = xrealloc(c->patches, c->patches_cap, sizeof(*c->patches));
	}
	c->patches[c->npatches] = *p;
	c->patches[c->npatches].order = c->npatches;
	c->npatches++;
}

/* Which fields go together. */
static const char *
combination_fault(const struct node *const got[FIELDS_MAX])
{
	bool key = got[OVERRIDE_key] != NULL, limit = got[OVERRIDE_limit] != NULL;
	bool plan = got[OVERRIDE_plan] != NULL, env = got[OVERRIDE_environment] != NULL;
	bool mode = got[OVERRIDE_mode] != NULL, value = got[OVERRIDE_value] != NULL;
	bool rates = got[OVERRIDE_rates] != NULL || value;

	if (got[OVERRIDE_share] != NULL && (key || limit || plan || env || mode || rates))
		return "share alone: it is for everything";
	if (value && got[OVERRIDE_rates] != NULL)
		return "rates or a value";
	if (value && mode)
		return "a value alone: values have no mode";
	if (rates && !limit)
		return value ? "a limit for the value" : "a limit for the rates";
	if (rates && key && plan)
		return "rates for a key or for a plan, not both";
	if (env && (!key || limit))
		return "an environment with a key and without a limit";
	if (plan && !limit && !key)
		return "a plan with a key, or with a limit and rates";
	if (plan && limit && !rates)
		return "rates for the limit";
	if (mode && (key || plan || env))
		return "a mode for a limit, not for a key or plan";
	if (got[OVERRIDE_until] != NULL && !rates && !mode)
		return "until only with rates, a value or a mode";
	if (limit && !rates && !mode)
		return "rates, a value or a mode for the limit";
	if (!rates && !mode && !plan && !env && got[OVERRIDE_share] == NULL)
		return "rates, a value, a mode, a plan, an environment or a share";
	return NULL;
}

/* "none": takes a key off its plan or environment. */
static bool
is_none(const struct node *n)
{
	return n->kind == NODE_SCALAR && strcmp(n->text, "none") == 0;
}

/* The parts that all kinds have; false: one of them is wrong. */
static bool
read_target(struct loader *l, const struct node *const got[FIELDS_MAX], struct patch *p)
{
	bool ok = true;
	uint32_t limit = NOBODY;

	if (got[OVERRIDE_key] != NULL)
		ok = get_key(l, got[OVERRIDE_key]->next, &p->key) && ok;
	if (got[OVERRIDE_plan] != NULL &&
	    !(got[OVERRIDE_limit] == NULL && is_none(got[OVERRIDE_plan]->next)))
		ok = get_plan(l, got[OVERRIDE_plan]->next, &p->plan) && ok;
	if (got[OVERRIDE_environment] != NULL && !is_none(got[OVERRIDE_environment]->next))
		ok = get_env(l, got[OVERRIDE_environment]->next, &p->env) && ok;
	if (got[OVERRIDE_until] != NULL)
		ok = get_until(l, got[OVERRIDE_until]->next, &p->until) && ok;
	if (got[OVERRIDE_reason] != NULL) {
		ok = get_text(l, got[OVERRIDE_reason]->next, "a reason") && ok;
		p->reason = got[OVERRIDE_reason]->next->text;
	}
	if (got[OVERRIDE_limit] != NULL) {
		if (!get_limit(l, got[OVERRIDE_limit]->next, &limit))
			return false;
		p->limit = limit;
	}
	if (limit != NOBODY && l->c->limits[limit].is_value != (got[OVERRIDE_value] != NULL)) {
		report_add(&l->r, got[OVERRIDE_limit]->next->mark, "found %s, expected %s",
		    shown_node(got[OVERRIDE_limit]->next),
		    l->c->limits[limit].is_value ? "a limit that is counted: it holds values"
						 : "a limit that holds values: it is counted");
		ok = false;
	}
	return ok;
}

static void
read_override(struct loader *l, const struct node *n)
{
	const struct node *got[FIELDS_MAX];
	struct patch p = {
		.limit = NOBODY, .key = NOBODY, .until = POLICY_ENDLESS, .mark = n->mark
	};
	const char *fault;
	unsigned mode;

	if (!walk(l, n, &fields_override, got))
		return;
	fault = combination_fault(got);
	if (fault != NULL) {
		report_add(
		    &l->r, n->mark, "found fields that do not go together, expected %s", fault);
		return;
	}
	if (!read_target(l, got, &p))
		return;
	if (got[OVERRIDE_rates] != NULL) {
		p.kind = CHANGE_RATES;
		p.rates = get_rates(l, got[OVERRIDE_rates]->next, NULL);
		if (p.rates != NULL &&
		    check_counted(
			l, &l->c->limits[p.limit], p.rates, got[OVERRIDE_rates]->next->mark))
			add_patch(l, &p);
	} else if (got[OVERRIDE_value] != NULL) {
		p.kind = CHANGE_VALUE;
		if (get_value(l, got[OVERRIDE_value]->next, &p.value))
			add_patch(l, &p);
	} else if (got[OVERRIDE_plan] != NULL) {
		p.kind = CHANGE_PLAN;
		add_patch(l, &p);
	}
	if (got[OVERRIDE_environment] != NULL) {
		p.kind = CHANGE_ENV;
		add_patch(l, &p);
	}
	if (got[OVERRIDE_mode] != NULL &&
	    get_choice(l, got[OVERRIDE_mode]->next, mode_names, 3, &mode)) {
		p.kind = CHANGE_MODE;
		p.mode = (uint8_t)mode;
		add_patch(l, &p);
	}
	if (got[OVERRIDE_share] != NULL &&
	    get_share(l, got[OVERRIDE_share]->next, &p.num, &p.den)) {
		p.kind = CHANGE_SHARE;
		add_patch(l, &p);
	}
}

void
read_overrides(struct loader *l, const struct node *key)
{
	if (key->next->kind != NODE_LIST) {
		report_add(&l->r, key->next->mark, "found %s, expected a list of overrides",
		    shown_node(key->next));
		return;
	}
	for (const struct node *n = key->next->first; n != NULL; n = n->next)
		read_override(l, n);
}
