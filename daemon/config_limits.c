/*
 * config_limits.c - the section `limits`.
 *
 * A limit has a short form (its rates) and a long one.  In the long form `per` turns
 * plain figures into rates, so that a row of figures reads like the price list.
 */
#include "load.h"
#include "zones.h"

#include <string.h>

#define PER_MAX 40
#define TITLE_MAX 255u

static const char *const full_names[] = { "deny", "admit" };
static const char *const unlisted_names[] = { "admit", "refuse" };

static bool
is_text(const struct node *n, const char *text)
{
	return n->kind == NODE_SCALAR && strcmp(n->text, text) == 0;
}

/* Limits may be called "POST /boletos": anything but control characters. */
static bool
check_limit_name(struct loader *l, const struct node *key)
{
	if (!get_text(l, key, "a limit's name"))
		return false;
	if (key->len > RATION_NAME_MAX || key->text[0] == '-' || key->text[0] == ' ' ||
	    key->text[key->len - 1] == ' ') {
		report_add(&l->r, key->mark,
		    "found the limit %s, expected a name of up to %u bytes that "
		    "does not start with \"-\"",
		    shown_node(key), RATION_NAME_MAX);
		return false;
	}
	for (uint32_t i = 0; i < key->len; i++) {
		if ((unsigned char)key->text[i] >= ' ' && key->text[i] != 0x7f)
			continue;
		report_add(&l->r, key->mark,
		    "found the limit %s, expected a name without control "
		    "characters",
		    shown_node(key));
		return false;
	}
	return true;
}

/* Checked by making a rate of it. */
const char *
get_per(struct loader *l, const struct node *n, struct rate_spec *r)
{
	char text[PER_MAX + 8], err[256];

	if (!get_text(l, n, "second, minute, hour, day, month or concurrent"))
		return NULL;
	if (n->len > PER_MAX) {
		report_add(&l->r, n->mark,
		    "found %s, expected second, minute, hour, day, month or "
		    "concurrent",
		    shown_node(n));
		return NULL;
	}
	snprintf(text, sizeof(text), is_text(n, "concurrent") ? "1 %s" : "1/%s", n->text);
	if (rate_parse(text, r, err, sizeof(err)) == 0)
		return n->text;
	report_add(&l->r, n->mark, "%s", err);
	return NULL;
}

/* What one plan gets: figure, rate, list of rates, `custom`; or a value. */
static void
read_cell(
    struct loader *l, const struct node *n, const char *per, bool value, struct plan_cell *out)
{
	*out = (struct plan_cell) { .kind = CELL_NONE, .mark = n->mark };
	if (is_text(n, "custom")) {
		out->kind = CELL_CUSTOM;
	} else if (value) {
		if (get_value(l, n, &out->value))
			out->kind = CELL_VALUE;
	} else {
		out->rates = get_rates(l, n, per);
		if (out->rates != NULL)
			out->kind = CELL_RATES;
	}
}

/* A list with a figure for each plan in order, or a mapping of plans to figures. */
static void
read_cells(
    struct loader *l, const struct node *n, const char *per, bool value, struct limit_model *limit)
{
	struct config *c = l->c;
	uint16_t plan = 0;

	if (c->nplans == 0) {
		report_add(
		    &l->r, n->mark, "found figures for plans, expected none: no plans are named");
		return;
	}
	if (n->kind == NODE_SCALAR || (n->kind == NODE_LIST && n->len != c->nplans)) {
		report_add(&l->r, n->mark,
		    "found %u figures, expected %u, one for each plan from %s to %s",
		    n->kind == NODE_SCALAR ? 1 : n->len, c->nplans, c->plans[1].name,
		    c->plans[c->nplans].name);
		return;
	}
	limit->plans = arena_alloc(&c->arena, c->nplans * sizeof(*limit->plans));
	for (const struct node *i = n->first; i != NULL; i = i->next) {
		if (n->kind == NODE_LIST) {
			read_cell(l, i, per, value, &limit->plans[plan++]);
			continue;
		}
		if (get_plan(l, i, &plan)) {
			if (limit->plans[plan - 1].mark.line != 0)
				report_add(&l->r, i->mark,
				    "found the plan %s again, expected each once", shown_node(i));
			read_cell(l, i->next, per, value, &limit->plans[plan - 1]);
		}
		i = i->next;
	}
}

/* 0 of what the limit counts: what is denied where the policy gives nothing. */
static void
set_zero(const struct config *c, struct limit_model *m)
{
	const struct rates *r = m->base.rates;

	for (uint32_t i = 0; m->plans != NULL && i < c->nplans; i++)
		if (r == NULL || r->rate[0].kind == RATION_COUNT_ONLY)
			r = m->plans[i].rates != NULL ? m->plans[i].rates : r;
	m->zero =
	    (struct rate_spec) { .kind = RATION_SLIDING, .window_ns = UINT64_C(60) * 1000000000 };
	if (r == NULL || r->rate[0].kind == RATION_COUNT_ONLY)
		return;
	m->zero.window_ns = r->rate[0].window_ns;
	if (r->rate[0].kind != RATION_BUCKET)
		m->zero.kind = r->rate[0].kind;
}

/* Fields that say how something is counted have no sense where nothing is. */
static void
check_value_fields(struct loader *l, const struct node *const got[FIELDS_MAX])
{
	static const enum limit_field counting[] = { LIMIT_per, LIMIT_plans, LIMIT_rates,
		LIMIT_mode, LIMIT_when_full, LIMIT_unlisted, LIMIT_max_keys, LIMIT_timezone,
		LIMIT_answer, LIMIT_queue, LIMIT_cost, LIMIT_notify };

	for (size_t i = 0; i < sizeof(counting) / sizeof(counting[0]); i++)
		if (got[counting[i]] != NULL)
			report_add(&l->r, got[counting[i]]->mark,
			    "found %s beside values, expected either: values are not counted",
			    shown_node(got[counting[i]]));
}

/* An entitlement: value by default, values by plan. */
static void
read_values(struct loader *l, const struct node *const got[FIELDS_MAX], struct limit_model *m)
{
	m->is_value = true;
	m->flags |= LIMIT_VALUE;
	check_value_fields(l, got);
	if (got[LIMIT_value] != NULL) {
		read_cell(l, got[LIMIT_value]->next, NULL, true, &m->base);
		if (m->base.kind == CELL_CUSTOM)
			report_add(&l->r, got[LIMIT_value]->next->mark,
			    "found custom, expected a value: custom is for plans");
	}
	if (got[LIMIT_values] != NULL)
		read_cells(l, got[LIMIT_values]->next, NULL, true, m);
}

/* All figures of a limit count the same; the first says what. */
static void
check_cells(struct loader *l, struct limit_model *m)
{
	if (m->base.rates != NULL)
		check_counted(l, m, m->base.rates, m->base.mark);
	for (uint32_t i = 0; m->plans != NULL && i < l->c->nplans; i++)
		if (m->plans[i].rates != NULL)
			check_counted(l, m, m->plans[i].rates, m->plans[i].mark);
}

/* How it is told, and who goes first. */
static void
read_manners(struct loader *l, const struct node *const got[FIELDS_MAX], struct limit_model *m)
{
	static const char *const queue_names[] = { "open", "strict" };
	unsigned choice;

	if (got[LIMIT_title] != NULL && get_line(l, got[LIMIT_title]->next, TITLE_MAX, "a title"))
		m->title = got[LIMIT_title]->next->text;
	if (got[LIMIT_answer] != NULL)
		get_answer(l, got[LIMIT_answer]->next, &m->answer);
	if (got[LIMIT_notify] != NULL) {
		struct config_notify *own = arena_alloc(&l->c->arena, sizeof(*own));

		*own = l->c->notify;
		m->notify_mark = got[LIMIT_notify]->mark;
		m->notify = own;
		read_notify(l, got[LIMIT_notify]->next, own);
	}
	if (got[LIMIT_queue] != NULL &&
	    get_choice(l, got[LIMIT_queue]->next, queue_names, 2, &choice))
		m->flags |= choice ? LIMIT_STRICT : 0;
}

static void
read_long_form(struct loader *l, const struct node *map, struct limit_model *m)
{
	const struct node *got[FIELDS_MAX];
	const char *per = NULL;
	unsigned choice;

	if (!walk(l, map, &fields_limit, got))
		return;
	if (got[LIMIT_per] != NULL) {
		struct rate_spec window;

		per = get_per(l, got[LIMIT_per]->next, &window);
		if (per == NULL) { /* the figures would only complain of it again */
			got[LIMIT_plans] = got[LIMIT_rates] = NULL;
		} else {
			m->counted =
			    window.kind == RATION_CONCURRENT ? COUNTED_LEASES : COUNTED_UNITS;
			m->counted_mark = got[LIMIT_per]->next->mark;
		}
	} else if (got[LIMIT_plans] == NULL && got[LIMIT_rates] == NULL &&
	    got[LIMIT_values] == NULL && got[LIMIT_value] == NULL) {
		report_add(&l->r, map->mark,
		    "found a limit without rates, expected rates, plans, value or values");
	}
	if (got[LIMIT_value] != NULL || got[LIMIT_values] != NULL) {
		read_values(l, got, m);
		got[LIMIT_rates] = got[LIMIT_plans] = NULL;
	}
	if (got[LIMIT_rates] != NULL)
		read_cell(l, got[LIMIT_rates]->next, per, false, &m->base);
	if (got[LIMIT_plans] != NULL)
		read_cells(l, got[LIMIT_plans]->next, per, false, m);
	if (got[LIMIT_rates] != NULL && m->base.kind == CELL_CUSTOM)
		report_add(&l->r, got[LIMIT_rates]->next->mark,
		    "found custom, expected rates: custom is "
		    "for plans");
	if (got[LIMIT_key] != NULL && get_key_rule(l, got[LIMIT_key]->next, &m->key) &&
	    m->key.address)
		m->flags |= LIMIT_ADDRESS;
	if (got[LIMIT_cost] != NULL)
		get_cost(l, got[LIMIT_cost]->next, &m->cost);
	if (got[LIMIT_mode] != NULL &&
	    get_choice(l, got[LIMIT_mode]->next, mode_names, 3, &choice)) {
		m->mode = (uint8_t)choice;
		m->has_mode = true;
	}
	if (got[LIMIT_when_full] != NULL &&
	    get_choice(l, got[LIMIT_when_full]->next, full_names, 2, &choice))
		m->flags |= choice ? LIMIT_FULL_ADMIT : 0;
	if (got[LIMIT_unlisted] != NULL &&
	    get_choice(l, got[LIMIT_unlisted]->next, unlisted_names, 2, &choice))
		m->flags |= choice ? LIMIT_UNLISTED_REFUSE : 0;
	if (got[LIMIT_max_keys] != NULL)
		get_quantity(l, got[LIMIT_max_keys]->next, 1, SLOTS_MAX, &m->max_keys);
	if (got[LIMIT_timezone] != NULL)
		get_zone(l, got[LIMIT_timezone]->next, &m->zone);
	read_manners(l, got, m);
}

static void
read_limit(struct loader *l, const struct node *key)
{
	struct config *c = l->c;
	const struct node *value = key->next;
	struct limit_model m = {
		.name = key->text, .len = key->len, .mark = key->mark, .mode = c->default_mode
	};
	char place[256];
	uint32_t old;

	if (!check_limit_name(l, key))
		return;
	old = map_find(&c->limitmap, key->text, key->len);
	if (old != NOBODY) {
		report_add(&l->r, key->mark,
		    "found the limit %s again, expected each name once (first at "
		    "%s)",
		    shown_node(key), config_place(c, c->limits[old].mark, place, sizeof(place)));
		return;
	}
	if (c->nlimits == LIMITS_MAX) {
		report_add(
		    &l->r, key->mark, "found one more limit, expected at most %u", LIMITS_MAX);
		return;
	}
	if (value->kind == NODE_MAP)
		read_long_form(l, value, &m);
	else
		read_cell(l, value, NULL, false, &m.base);
	if (value->kind != NODE_MAP && m.base.kind == CELL_CUSTOM)
		report_add(&l->r, value->mark, "found custom, expected rates: custom is for plans");
	check_cells(l, &m);
	set_zero(c, &m);
	/* Also when it had mistakes: else each place that names it would have another. */
	map_add(&c->limitmap, m.name, m.len);
	c->limits[c->nlimits++] = m;
}

void
read_limits(struct loader *l, const struct node *key)
{
	if (key->next->kind != NODE_MAP) {
		report_add(&l->r, key->next->mark,
		    "found %s, expected a mapping of names to limits", shown_node(key->next));
		return;
	}
	if (l->c->limits == NULL)
		l->c->limits = xrealloc(NULL, LIMITS_MAX, sizeof(*l->c->limits));
	for (const struct node *n = key->next->first; n != NULL; n = n->next->next)
		read_limit(l, n);
}
