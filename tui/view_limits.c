/*
 * view_limits.c - the limits of the policy with their counters, from the
 * mapping alone: it is the same with and without rationd.
 */
#include "top.h"

#include <stdlib.h>
#include <string.h>

static const char *const mode_names[] = { "enforce", "observe", "off" };

/* Columns in order of importance: those that do not fit are left out from the end. */
enum limit_col {
	LC_NAME,
	LC_RATES,
	LC_KEYS,
	LC_OVER,
	LC_DENY,
	LC_ALLOW,
	LC_MODE,
	LC_NOKEY,
	LC_OBSERVED,
	LC_FULL,
	LC_FROM,
	LC_COUNT
};

static const struct {
	const char *header;
	int width;
	bool right;
} cols_of[LC_COUNT] = {
	[LC_NAME] = { "LIMIT", 14, false },
	[LC_RATES] = { "RATES", 18, false },
	[LC_KEYS] = { "KEYS", 8, true },
	[LC_OVER] = { "OVER", 6, true },
	[LC_DENY] = { "DENY/s", 8, true },
	[LC_ALLOW] = { "ALLOW/s", 8, true },
	[LC_MODE] = { "MODE", 7, false },
	[LC_NOKEY] = { "DENIED-NEW", 10, true },
	[LC_OBSERVED] = { "OBSERVED", 8, true },
	[LC_FULL] = { "FULL", 6, true },
	[LC_FROM] = { "FROM", 24, false },
};

/* The rates of a limit's default ruleset as text. */
static void
ruleset_rates(const struct ruleset *rs, char *buf, size_t size)
{
	ration_rate_t rates[RATION_RATES_MAX] = { 0 };
	unsigned n = rs->nrates < RATION_RATES_MAX ? rs->nrates : RATION_RATES_MAX;

	for (unsigned i = 0; i < n; i++) {
		rates[i].kind = rs->rates[i].kind;
		rates[i].limit_units = rs->rates[i].units;
		rates[i].rate_units = rs->rates[i].rate_units;
		rates[i].window_ns = rs->rates[i].window_ns;
	}
	rates_text(rates, n, buf, size);
}

static bool
read_limit_line(struct top *t, const struct policy_ref *p, uint32_t id, struct limit_line *line)
{
	const struct limit_counters *lc = &t->model.seg->limits[id];
	struct limit_def def;
	struct ruleset rs;
	bool listed;
	int64_t index;
	size_t len;

	if (!policy_limit(p, id, &def) || (def.flags & LIMIT_GONE))
		return false;
	memset(line, 0, sizeof(*line));
	line->id = id;
	snprintf(line->name, sizeof(line->name), "%s", policy_string(p, def.name, &len));
	snprintf(line->origin, sizeof(line->origin), "%s", policy_string(p, def.origin, &len));
	index = policy_resolve(p, id, "", 0, &listed);
	if (index >= 0 && policy_ruleset(p, (uint32_t)index, &rs)) {
		line->mode = rs.mode <= MODE_OFF ? rs.mode : MODE_OFF;
		if (def.flags & LIMIT_VALUE)
			snprintf(line->rates, sizeof(line->rates), "value %s",
			    rs.value ? policy_string(p, rs.value, &len) : "-");
		else
			ruleset_rates(&rs, line->rates, sizeof(line->rates));
		snprintf(
		    line->origin, sizeof(line->origin), "%s", policy_string(p, rs.origin, &len));
	}
	line->denied_nokey = atomic_load_explicit(&lc->denied_nokey, memory_order_relaxed);
	line->observed = atomic_load_explicit(&lc->observed, memory_order_relaxed);
	line->full = atomic_load_explicit(&lc->full, memory_order_relaxed);
	return true;
}

static int
by_denials(const void *a, const void *b, void *arg)
{
	const struct limit_line *x = a, *y = b;
	const struct top *t = arg;
	float dx = t->model.limits[x->id].deny_s, dy = t->model.limits[y->id].deny_s;

	if (dx != dy)
		return dx > dy ? -1 : 1;
	return strcmp(x->name, y->name);
}

/* Limits by denials a second, as far as that is at rest: by name else. */
static void
limits_read(struct top *t)
{
	char chosen[RATION_NAME_MAX + 1] = "";
	struct policy_ref p;
	size_t n = 0;

	if (t->limits == NULL)
		t->limits = calloc(LIMITS_MAX, sizeof(*t->limits));
	if (t->limits == NULL || t->model.seg == NULL || t->model.seg->policy == NULL ||
	    !policy_current(t->model.seg->policy, &p))
		return;
	/* The selection belongs to a limit, not to a row. */
	if (t->limits_list.at < t->nlimits)
		snprintf(chosen, sizeof(chosen), "%s", t->limits[t->limits_list.at].name);
	for (uint32_t id = 0; id < p.area->nlimits && id < LIMITS_MAX; id++)
		n += read_limit_line(t, &p, id, &t->limits[n]);
	if (!policy_intact(&p))
		return;
	t->nlimits = t->limits_list.n = n;
	if (t->now.mono_ns >= t->model.hold_ns || t->model.hold_ns == 0)
		qsort_r(t->limits, n, sizeof(*t->limits), by_denials, t);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(t->limits[i].name, chosen) == 0)
			t->limits_list.at = i;
	}
}

static void
show_keys_of(struct top *t, const char *limit)
{
	snprintf(t->filter_was, sizeof(t->filter_was), "%s", t->filter_text.text);
	char text[FIELD_MAX + 1];

	snprintf(text, sizeof(text), "limit=\"%s\"", limit);
	field_set(&t->filter_text, text);
	if (!top_filter_apply(t))
		top_note(t, LOOK_BAD, "%s", t->filter_err);
	top_show(t, &view_keys);
}

static bool
limits_key(struct top *t, enum action action)
{
	if (list_move(&t->limits_list, action)) {
		t->model.hold_ns = t->now.mono_ns + HOLD_NS;
		return true;
	}
	if (t->limits_list.at >= t->nlimits)
		return false;
	switch (action) {
	case ACT_OPEN:
		show_keys_of(t, t->limits[t->limits_list.at].name);
		return true;
	case ACT_EDIT:
		edit_open(t, NULL, t->limits[t->limits_list.at].name);
		return true;
	default:
		return false;
	}
}

static void
rate_text_of(const struct top *t, float rate, char *buf, size_t size)
{
	if (!t->model.rates_known || rate < 0)
		snprintf(buf, size, "-");
	else if (rate < 100)
		snprintf(buf, size, "%.1f", (double)rate);
	else
		text_units((uint64_t)rate, buf, size);
}

static void
cell_text(const struct top *t, const struct limit_line *l, enum limit_col c, char *buf, size_t size)
{
	const struct model_limit *m = &t->model.limits[l->id];

	switch (c) {
	case LC_NAME:
		snprintf(buf, size, "%s", l->name);
		break;
	case LC_RATES:
		snprintf(buf, size, "%s", l->rates[0] ? l->rates : "-");
		break;
	case LC_KEYS:
		text_grouped(m->keys, buf, size);
		break;
	case LC_OVER:
		text_grouped(m->over, buf, size);
		break;
	case LC_DENY:
		rate_text_of(t, m->deny_s, buf, size);
		break;
	case LC_ALLOW:
		rate_text_of(t, m->allow_s, buf, size);
		break;
	case LC_MODE:
		snprintf(buf, size, "%s", mode_names[l->mode]);
		break;
	case LC_NOKEY:
		text_units(l->denied_nokey, buf, size);
		break;
	case LC_OBSERVED:
		text_units(l->observed, buf, size);
		break;
	case LC_FULL:
		text_units(l->full, buf, size);
		break;
	default:
		snprintf(buf, size, "%s", l->origin);
		break;
	}
}

/* A limit, or with l NULL the header, in as many columns as fit. */
static void
draw_limit(struct top *t, int y, int x, int width, const struct limit_line *l, int look)
{
	int end = x + width;

	x += 2;
	for (int c = 0; c < LC_COUNT && x + cols_of[c].width <= end; c++) {
		char text[RATES_TEXT_MAX];
		int w = c == LC_FROM ? end - x : cols_of[c].width;

		if (l != NULL)
			cell_text(t, l, (enum limit_col)c, text, sizeof(text));
		else
			snprintf(text, sizeof(text), "%s", cols_of[c].header);
		screen_printf(t->s, y, x, w, look, "%*s", cols_of[c].right ? w : -w, text);
		x += w + 1;
	}
}

void
limits_pane(struct top *t, int y, int x, int lines, int width)
{
	limits_read(t);
	draw_limit(t, y, x, width, NULL, LOOK_BOLD);
	for (int i = 0; i < lines - 1 && (size_t)i < t->nlimits; i++)
		draw_limit(t, y + 1 + i, x, width, &t->limits[i], LOOK_PLAIN);
}

static void
limits_draw(struct top *t, int y, int lines)
{
	struct list_state *l = &t->limits_list;
	int cols = screen_cols(t->s);

	list_fit(l, t->nlimits, lines - 1);
	screen_text(t->s, y, 0, cols, LOOK_REVERSE, "");
	draw_limit(t, y, 0, cols, NULL, LOOK_REVERSE);
	screen_cursor(t->s, y, 0);
	if (t->nlimits == 0)
		screen_text(t->s, y + 1, 2, cols - 2, LOOK_PLAIN, "the policy has no limits");
	for (int i = 0; i < lines - 1 && l->offset + (size_t)i < t->nlimits; i++) {
		size_t at = l->offset + (size_t)i;
		int look = at == l->at ? LOOK_REVERSE : LOOK_PLAIN;

		screen_text(t->s, y + 1 + i, 0, cols, look, at == l->at ? ">" : "");
		draw_limit(t, y + 1 + i, 0, cols, &t->limits[at], look);
		if (at == l->at)
			screen_cursor(t->s, y + 1 + i, 0);
	}
}

static void
limits_done(struct top *t)
{
	free(t->limits);
	t->limits = NULL;
}

const struct view_ops view_limits = {
	.name = "Limits",
	.where = IN_LIMITS,
	.tab = ACT_TAB_LIMITS,
	.open = limits_read,
	.read = limits_read,
	.draw = limits_draw,
	.key = limits_key,
	.done = limits_done,
};
