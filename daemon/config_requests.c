/*
 * config_requests.c - the section `requests`: raises: until when they are answered, and what is
 * shown of who asks.
 */
#include "load.h"
#include "zones.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_DAYS 5
#define WEEKDAYS 0x1f /* Monday to Friday */

static const char *const weekdays[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };

/* ---- reading ---- */

static void
read_days(struct loader *l, const struct node *map)
{
	struct requests_model *r = &l->c->requests;
	uint64_t days;
	uint16_t plan;

	if (map->kind != NODE_MAP) {
		report_add(&l->r, map->mark,
		    "found %s, expected a mapping of plans to business days", shown_node(map));
		return;
	}
	r->answer = arena_alloc(&l->c->arena, (l->c->nplans + 1) * sizeof(*r->answer));
	for (const struct node *n = map->first; n != NULL; n = n->next->next) {
		if (!get_plan(l, n, &plan) ||
		    !get_quantity(l, n->next, 0, BUSINESS_DAYS_MAX, &days))
			continue;
		if (r->answer[plan] != 0)
			report_add(&l->r, n->mark, "found the plan %s again, expected each once",
			    shown_node(n));
		r->answer[plan] = (uint16_t)(days + 1);
	}
}

/* Not among those of the limits, whose days and months are compiled. */
static void
read_zone(struct loader *l, const struct node *n)
{
	if (!get_text(l, n, "a timezone such as Europe/Madrid"))
		return;
	if (n->len <= ZONE_NAME_MAX && zone_known(n->text))
		l->c->requests.timezone = n->text;
	else
		report_add(&l->r, n->mark,
		    "found the timezone %s, expected one of the tz database, such as "
		    "Europe/Madrid or UTC",
		    shown_node(n));
}

static void
read_workdays(struct loader *l, const struct node *list)
{
	unsigned day, all = 0;

	if (list->kind != NODE_LIST || list->len == 0) {
		report_add(&l->r, list->mark, "found %s, expected days such as [mon, tue, wed]",
		    shown_node(list));
		return;
	}
	for (const struct node *n = list->first; n != NULL; n = n->next)
		if (get_choice(l, n, weekdays, 7, &day))
			all |= 1u << day;
	l->c->requests.workdays = (uint8_t)all;
}

static int
by_date(const void *a, const void *b)
{
	int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

	return x < y ? -1 : x > y;
}

static bool
get_date(struct loader *l, const struct node *n, int32_t *date)
{
	static const char digits[] = "0123456789";
	const char *t = n->text;

	if (!get_text(l, n, "a date such as 2026-12-25"))
		return false;
	*date = -1;
	if (n->len == 10 && strspn(t, digits) == 4 && t[4] == '-' && strspn(t + 5, digits) == 2 &&
	    t[7] == '-' && strspn(t + 8, digits) == 2)
		*date = business_date(atoi(t), atoi(t + 5), atoi(t + 8));
	if (*date >= 0)
		return true;
	report_add(&l->r, n->mark, "found %s, expected a date such as 2026-12-25", shown_node(n));
	return false;
}

static void
read_holidays(struct loader *l, const struct node *list)
{
	struct requests_model *r = &l->c->requests;

	if (list->kind != NODE_LIST || list->len > BUSINESS_HOLIDAYS_MAX) {
		report_add(&l->r, list->mark, "found %s, expected a list of up to %u dates",
		    list->kind == NODE_LIST ? "more dates" : shown_node(list),
		    BUSINESS_HOLIDAYS_MAX);
		return;
	}
	r->holidays = arena_alloc(&l->c->arena, (list->len + 1) * sizeof(*r->holidays));
	for (const struct node *n = list->first; n != NULL; n = n->next)
		r->nholidays += get_date(l, n, &r->holidays[r->nholidays]);
	if (r->nholidays > 0)
		qsort(r->holidays, r->nholidays, sizeof(*r->holidays), by_date);
}

/* "10k/day": a figure of requests a day, as a rate is written. */
static void
read_daily(struct loader *l, const struct node *n)
{
	struct rate_spec rate;
	char err[256];

	if (!get_text(l, n, "a figure such as 10k/day"))
		return;
	if (rate_parse(n->text, &rate, err, sizeof(err)) != 0)
		report_add(&l->r, n->mark, "%s", err);
	else if (rate.kind != RATION_DAY || rate.units == 0)
		report_add(
		    &l->r, n->mark, "found %s, expected a figure such as 10k/day", shown_node(n));
	else
		l->c->requests.daily = rate.units;
}

static void
read_eligible(struct loader *l, const struct node *map)
{
	struct requests_model *r = &l->c->requests;
	const struct node *got[FIELDS_MAX];
	uint64_t v;

	if (!walk(l, map, &fields_eligible, got))
		return;
	if (got[ELIGIBLE_days] != NULL && get_quantity(l, got[ELIGIBLE_days]->next, 1, 3660, &v))
		r->days = (uint32_t)v;
	if (got[ELIGIBLE_environment] != NULL)
		get_env(l, got[ELIGIBLE_environment]->next, &r->env);
	if (got[ELIGIBLE_environment] != NULL && got[ELIGIBLE_days] == NULL)
		report_add(&l->r, got[ELIGIBLE_environment]->mark,
		    "found an environment alone, expected days in it too");
	if (got[ELIGIBLE_customers] != NULL &&
	    get_quantity(l, got[ELIGIBLE_customers]->next, 1, 1000000, &v))
		r->customers = (uint32_t)v;
	if (got[ELIGIBLE_requests] != NULL)
		read_daily(l, got[ELIGIBLE_requests]->next);
}

void
read_requests(struct loader *l, const struct node *key)
{
	struct requests_model *r = &l->c->requests;
	const struct node *got[FIELDS_MAX];
	uint64_t days;

	if (!once(l, &r->mark, key) || !walk(l, key->next, &fields_requests, got))
		return;
	if (got[REQUESTS_answer] != NULL)
		read_days(l, got[REQUESTS_answer]->next);
	if (got[REQUESTS_default] != NULL &&
	    get_quantity(l, got[REQUESTS_default]->next, 0, BUSINESS_DAYS_MAX, &days))
		r->standard = (uint16_t)(days + 1);
	if (got[REQUESTS_timezone] != NULL)
		read_zone(l, got[REQUESTS_timezone]->next);
	if (got[REQUESTS_workdays] != NULL)
		read_workdays(l, got[REQUESTS_workdays]->next);
	if (got[REQUESTS_holidays] != NULL)
		read_holidays(l, got[REQUESTS_holidays]->next);
	if (got[REQUESTS_eligible] != NULL)
		read_eligible(l, got[REQUESTS_eligible]->next);
}

/* ---- what is promised ---- */

void
config_requests(const struct config *c, const char *plan, struct config_requests *out)
{
	const struct requests_model *r = &c->requests;
	uint32_t index = config_plan(c, plan, strlen(plan));
	unsigned days = r->standard;

	if (r->answer != NULL && index != NOBODY && r->answer[index] != 0)
		days = r->answer[index];
	*out = (struct config_requests) {
		.calendar = { .timezone = r->timezone != NULL ? r->timezone : c->timezone,
		    .workdays = r->workdays != 0 ? r->workdays : WEEKDAYS,
		    .holidays = r->holidays,
		    .nholidays = r->nholidays },
		.answer_days = days != 0 ? days - 1 : DEFAULT_DAYS,
		.days = r->days,
		.environment = r->env != 0 ? c->envs[r->env].name : "",
		.customers = r->customers,
		.daily = r->daily,
	};
}
