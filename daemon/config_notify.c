/*
 * config_notify.c - `notify` of the defaults and of a limit: thresholds, in percent.
 *
 *	notify: [60, 80, 95, 100]
 *	notify: {at: {60: inform, 80: suggest an upgrade}, remind: {80: 48h}}
 *
 * One reader for both.  A limit's goes before the defaults'; a mapping without `at` has their
 * percentages.  Words and reminders are rationd's business alone, so only the percentages are
 * compiled (effective.c).
 */
#include "load.h"

#include <string.h>

#define ACTION_MAX 100u
#define REMIND_MAX_NS (UINT64_C(366) * 86400 * 1000000000)
#define SECOND_NS UINT64_C(1000000000)

const struct config_notify notify_builtin = { .n = 4, .at = { 60, 80, 95, 100 } };

/* Index of a percentage, or NOTIFY_MAX. */
static unsigned
place_of(const struct config_notify *c, uint64_t percent)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->at[i] == percent)
			return i;
	return NOTIFY_MAX;
}

/* A mapping may name them in any order. */
static void
add_percentage(struct config_notify *out, uint8_t percent, const char *action)
{
	unsigned i = out->n++;

	for (; i > 0 && out->at[i - 1] > percent; i--) {
		out->at[i] = out->at[i - 1];
		out->action[i] = out->action[i - 1];
	}
	out->at[i] = percent;
	out->action[i] = action;
}

static void
read_at_map(struct loader *l, const struct node *map, struct config_notify *out)
{
	uint64_t v;

	for (const struct node *key = map->first; key != NULL; key = key->next->next) {
		const struct node *words = key->next;

		if (!get_quantity(l, key, 1, 100, &v))
			continue;
		if (place_of(out, v) != NOTIFY_MAX)
			report_add(&l->r, key->mark,
			    "found %llu again, expected each percentage once",
			    (unsigned long long)v);
		else if (words->kind == NODE_SCALAR && words->len == 0)
			add_percentage(out, (uint8_t)v, NULL);
		else if (get_line(l, words, ACTION_MAX, "what is to be done, in words,"))
			add_percentage(out, (uint8_t)v, words->text);
	}
}

static void
read_at_list(struct loader *l, const struct node *list, struct config_notify *out)
{
	uint64_t v, last = 0;

	for (const struct node *n = list->first; n != NULL; n = n->next) {
		if (!get_quantity(l, n, 1, 100, &v))
			continue;
		if (v <= last)
			report_add(&l->r, n->mark, "found %llu, expected rising percentages",
			    (unsigned long long)v);
		else
			add_percentage(out, (uint8_t)v, NULL);
		last = v;
	}
}

/* Percentages, with or without words. */
static void
read_at(struct loader *l, const struct node *n, struct config_notify *out)
{
	if (n->kind == NODE_SCALAR || n->len > NOTIFY_MAX) {
		report_add(&l->r, n->mark, "found %s, expected a list of up to 8 percentages",
		    n->kind == NODE_SCALAR ? shown_node(n) : "more of them");
		return;
	}
	*out = (struct config_notify) { .n = 0 };
	if (n->kind == NODE_MAP)
		read_at_map(l, n, out);
	else
		read_at_list(l, n, out);
}

static bool
get_remind(struct loader *l, const struct node *n, int64_t *out)
{
	char err[256];
	uint64_t ns = 0;

	if (!get_text(l, n, "a time such as 48h, or 0"))
		return false;
	if (strcmp(n->text, "0") != 0 && duration_parse(n->text, &ns, err, sizeof(err)) != 0) {
		report_add(&l->r, n->mark, "%s", err);
		return false;
	}
	if (ns > REMIND_MAX_NS || ns % SECOND_NS != 0) {
		report_add(&l->r, n->mark, "found %s, expected whole seconds, at most 366d",
		    shown_node(n));
		return false;
	}
	*out = (int64_t)(ns / SECOND_NS);
	return true;
}

/* One time for all of them, or by percentage. */
static void
read_remind(struct loader *l, const struct node *n, struct config_notify *out)
{
	int64_t s = 0;
	uint64_t v;

	memset(out->remind_s, 0, sizeof(out->remind_s));
	if (n->kind != NODE_MAP) {
		if (get_remind(l, n, &s))
			for (unsigned i = 0; i < out->n; i++)
				out->remind_s[i] = s;
		return;
	}
	for (const struct node *key = n->first; key != NULL; key = key->next->next) {
		unsigned i;

		if (!get_quantity(l, key, 1, 100, &v))
			continue;
		i = place_of(out, v);
		if (i == NOTIFY_MAX)
			report_add(&l->r, key->mark,
			    "found a reminder of %llu, expected one of the percentages that are "
			    "told "
			    "of",
			    (unsigned long long)v);
		else if (get_remind(l, key->next, &s))
			out->remind_s[i] = s;
	}
}

void
read_notify(struct loader *l, const struct node *n, struct config_notify *out)
{
	const struct node *got[FIELDS_MAX];

	if (n->kind != NODE_MAP) {
		read_at(l, n, out);
		return;
	}
	if (!walk(l, n, &fields_notify, got))
		return;
	if (got[NOTIFY_at] != NULL)
		read_at(l, got[NOTIFY_at]->next, out);
	if (got[NOTIFY_remind] != NULL)
		read_remind(l, got[NOTIFY_remind]->next, out);
}

/* An override may give it rates. */
static bool
has_rates(const struct config *c, uint32_t limit)
{
	const struct limit_model *m = &c->limits[limit];

	if (m->counted != COUNTED_OPEN)
		return true;
	for (uint32_t i = 0; m->plans != NULL && i < c->nplans; i++)
		if (m->plans[i].kind == CELL_CUSTOM)
			return true;
	for (uint32_t i = 0; i < c->npatches; i++)
		if (c->patches[i].limit == limit && c->patches[i].rates != NULL &&
		    rates_counted(c->patches[i].rates) != COUNTED_OPEN)
			return true;
	return false;
}

void
finish_notify(struct loader *l)
{
	const struct config *c = l->c;

	for (uint32_t i = 0; i < c->nlimits; i++) {
		const struct limit_model *m = &c->limits[i];

		if (m->notify_mark.line == 0 || m->is_value)
			continue;
		if (m->counted == COUNTED_LEASES)
			report_add(&l->r, m->notify_mark,
			    "found notify of a limit of leases, expected it of rates: what is held "
			    "is no use of a period");
		else if (!has_rates(c, i))
			report_add(&l->r, m->notify_mark,
			    "found notify of a limit that is unlimited, expected rates");
	}
}

const struct config_notify *
config_notify(const struct config *c, const char *limit, size_t len)
{
	uint32_t i = map_find(&c->limitmap, limit, len);

	return i == NOBODY || c->limits[i].notify == NULL ? &c->notify : c->limits[i].notify;
}
