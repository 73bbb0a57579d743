/*
 * config_history.c - the section `history`: what is recorded of usage, how often, for how long.
 *
 * The levels are fixed (15 minutes, hours, days: each a multiple of the finer), so that no change
 * of the policy has to convert what was recorded; how long each is kept is the policy's, and
 * with `keys` it bounds the disk.
 */
#include "load.h"

#include <string.h>

#define HOUR_S 3600u
#define DAY_S 86400u

const struct config_history history_default = {
	.every_s = 60,
	.keep_s = { 25 * HOUR_S, 8 * DAY_S, 400 * DAY_S },
	.keys = 1000000,
};

static const char *const names_history[] = {
#define X(name) #name,
	FIELDS_HISTORY(X)
#undef X
};
static const char *const names_keep[] = {
#define X(name, text) text,
	FIELDS_KEEP(X)
#undef X
};
const struct fields fields_history = { "history", names_history, HISTORY_FIELDS };
const struct fields fields_keep = { "keep of history", names_keep, KEEP_FIELDS };

/* Whole seconds from min to max. */
static bool
get_seconds(struct loader *l, const struct node *n, uint32_t min, uint32_t max,
    const char *expected, uint32_t *out)
{
	char err[256];
	uint64_t ns;

	if (!get_text(l, n, expected))
		return false;
	if (duration_parse(n->text, &ns, err, sizeof(err)) != 0) {
		report_add(&l->r, n->mark, "%s", err);
		return false;
	}
	if (ns < min * UINT64_C(1000000000) || ns > max * UINT64_C(1000000000)) {
		report_add(&l->r, n->mark, "found %s, expected %s", shown_node(n), expected);
		return false;
	}
	*out = (uint32_t)(ns / 1000000000u);
	return true;
}

static void
read_keep(struct loader *l, const struct node *map)
{
	static const struct {
		uint32_t min;
		const char *expected;
	} levels[KEEP_FIELDS] = { { 2 * HOUR_S, "a time from 2h to 3660d" },
		{ 2 * DAY_S, "a time from 2d to 3660d" },
		{ 2 * DAY_S, "a time from 2d to 3660d" } };
	struct config_history *h = &l->c->history;
	const struct node *got[FIELDS_MAX];
	bool right = true;

	if (!walk(l, map, &fields_keep, got))
		return;
	for (unsigned i = 0; i < KEEP_FIELDS; i++)
		if (got[i] != NULL &&
		    !get_seconds(l, got[i]->next, levels[i].min, 3660 * DAY_S, levels[i].expected,
			&h->keep_s[i]))
			right = false;
	for (unsigned i = 1; right && i < KEEP_FIELDS; i++)
		if (h->keep_s[i] < h->keep_s[i - 1])
			report_add(&l->r, got[i] != NULL ? got[i]->next->mark : map->mark,
			    "found %s kept for less time than %s, expected at least as long",
			    names_keep[i], names_keep[i - 1]);
}

void
read_history(struct loader *l, const struct node *key)
{
	struct config_history *h = &l->c->history;
	const struct node *got[FIELDS_MAX], *n = key->next;

	if (!once(l, &l->c->history_mark, key))
		return;
	if (n->kind == NODE_SCALAR &&
	    (strcmp(n->text, "off") == 0 || strcmp(n->text, "false") == 0)) {
		h->off = true;
		return;
	}
	if (!walk(l, n, &fields_history, got))
		return;
	if (got[HISTORY_every] != NULL)
		(void)get_seconds(
		    l, got[HISTORY_every]->next, 1, HOUR_S, "a time from 1s to 1h", &h->every_s);
	if (got[HISTORY_keep] != NULL)
		read_keep(l, got[HISTORY_keep]->next);
	if (got[HISTORY_keys] != NULL)
		(void)get_quantity(l, got[HISTORY_keys]->next, 1, 100000000, &h->keys);
}

void
config_history(const struct config *c, struct config_history *out)
{
	*out = c->history;
}
