/*
 * frame.c - what stands around a view: head lines, filter or tabs, the bottom
 * line; and the one line of totals that is left on a tiny screen.
 *
 *	lines   shown
 *	< 4     totals, in one line (also below 24 columns)
 *	4..9    totals, view; filter, notes take the first line's place
 *	10..    two head lines, tabs or filter, view, bottom line
 *
 * Parts of a line are left out from the least important on, never wrapped.
 */
#include "top.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#define TINY_LINES 4
#define TINY_COLS 24
#define FULL_LINES 10
#define PARTS_MAX 10

/* A part of a line; the greater keep, the longer it stays. */
struct part {
	int keep;
	int look;
	char text[64];
};

static int
parts_width(const struct part *p, int n)
{
	int width = 0;

	for (int i = 0; i < n; i++)
		width += p[i].keep < 0 ? 0 : (int)strlen(p[i].text) + 2;
	return width > 2 ? width - 2 : 0;
}

/* Draw parts from the left, two blanks apart, without those that do not fit. */
static void
parts_draw(struct top *t, int y, int width, struct part *p, int n)
{
	int x = 0;

	while (parts_width(p, n) > width) {
		int least = -1;

		for (int i = 0; i < n; i++) {
			if (p[i].keep >= 0 && (least < 0 || p[i].keep < p[least].keep))
				least = i;
		}
		if (least < 0 || p[least].keep >= 100)
			break;
		p[least].keep = -1;
	}
	screen_text(t->s, y, 0, width, LOOK_PLAIN, "");
	for (int i = 0; i < n && x < width; i++) {
		if (p[i].keep < 0)
			continue;
		x += screen_text(t->s, y, x, width - x, p[i].look, p[i].text) + 2;
	}
}

static void __attribute__((format(printf, 5, 6)))
part_add(struct part *p, int *n, int keep, int look, const char *fmt, ...)
{
	va_list ap;

	if (*n >= PARTS_MAX)
		return;
	p[*n].keep = keep;
	p[*n].look = look;
	va_start(ap, fmt);
	vsnprintf(p[*n].text, sizeof(p->text), fmt, ap);
	va_end(ap);
	++*n;
}

bool
frame_may_change(const struct top *t)
{
	return !t->readonly && t->daemon.up && t->daemon.may_change;
}

static const char *
state_word(const struct top *t, int *look)
{
	if (t->paused) {
		*look = LOOK_WARN | LOOK_REVERSE;
		return t->daemon.up ? "PAUSED" : "PAUSED no rationd";
	}
	if (!t->daemon.up && t->model.seg->head != NULL && daemon_beats(t)) {
		*look = LOOK_WARN;
		return "LIVE no socket";
	}
	if (!t->daemon.up) {
		*look = LOOK_BAD | LOOK_REVERSE;
		return "STALE no rationd";
	}
	*look = LOOK_GOOD;
	return "LIVE";
}

static bool
is_sandbox(const struct top *t)
{
	const struct segment *seg = t->model.seg;

	return seg != NULL && seg->policy != NULL &&
	    atomic_load_explicit(&seg->policy->sandbox, memory_order_relaxed) != 0;
}

static void
head_who(struct top *t, int y)
{
	int cols = screen_cols(t->s), n = 0, look;
	struct part p[PARTS_MAX] = { 0 };
	char clock[16] = "", up[32];
	const char *state = state_word(t, &look);
	time_t wall = (time_t)t->now.wall_s;
	struct tm tm;

	if (localtime_r(&wall, &tm) != NULL)
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	part_add(p, &n, 20, LOOK_BOLD, "ration top");
	part_add(
	    p, &n, 90, LOOK_BOLD, "%s%s", t->ctx->paths.instance, is_sandbox(t) ? " SANDBOX" : "");
	part_add(p, &n, 70, frame_may_change(t) ? LOOK_WARN : LOOK_PLAIN, "%s",
	    frame_may_change(t) ? "rw" : "ro");
	if (t->daemon.up) {
		text_span(t->daemon.uptime_s +
			(int64_t)((t->now.mono_ns - t->daemon.status_ns) / 1000000000),
		    up, sizeof(up));
		part_add(p, &n, 40, LOOK_PLAIN, "up %s", up);
	}
	part_add(p, &n, 30, LOOK_PLAIN, "every %.1fs", (double)t->interval_ns / 1e9);
	part_add(p, &n, 100, look, "%s", state);
	parts_draw(t, y, cols - 9 > 0 ? cols - 9 : cols, p, n);
	if (cols > 40)
		screen_text(t->s, y, cols - 8, 8, LOOK_PLAIN, clock);
}

static void
per_second(const struct top *t, double rate, char *buf, size_t size)
{
	if (!t->model.rates_known)
		snprintf(buf, size, "-");
	else if (rate < 10)
		snprintf(buf, size, "%.1f", rate);
	else
		text_grouped((uint64_t)(rate + 0.5), buf, size);
}

/* The totals; state: with PAUSED or STALE, where no other line says so. */
static void
head_totals(struct top *t, int y, bool state)
{
	const struct model *m = &t->model;
	struct part p[PARTS_MAX] = { 0 };
	char allow[32], deny[32], keys[32];
	int n = 0, look;

	per_second(t, m->allow_s, allow, sizeof(allow));
	per_second(t, m->deny_s, deny, sizeof(deny));
	text_grouped(m->live, keys, sizeof(keys));
	if (state && (t->paused || !t->daemon.up))
		part_add(p, &n, 98, 0, "%s", state_word(t, &look));
	part_add(p, &n, 90, 0, "allow %s/s", allow);
	if (m->rates_known && m->allow_s + m->deny_s > 0)
		part_add(p, &n, 95, 0, "deny %s/s (%.1f%%)", deny,
		    100 * m->deny_s / (m->allow_s + m->deny_s));
	else
		part_add(p, &n, 95, 0, "deny %s/s", deny);
	if (m->over_known)
		part_add(p, &n, 100, m->over > 0 ? LOOK_BAD : LOOK_PLAIN, "over %llu",
		    (unsigned long long)m->over);
	part_add(p, &n, 50, 0, "keys %s", keys);
	if (m->seg != NULL && m->seg->nslots > 0) {
		double full = 100 * (double)m->live / (double)m->seg->nslots;

		part_add(p, &n, 60, full >= 90 ? LOOK_BAD | LOOK_BOLD : LOOK_PLAIN,
		    "segment %.0f%% full%s", full, full >= 90 ? " !!" : "");
	}
	parts_draw(t, y, screen_cols(t->s), p, n);
}

/* ---- tabs, filter ---- */

static int
tabs_draw(struct top *t, int y)
{
	int x = 0;

	for (size_t i = 0; i < nviews; i++) {
		const char *key = "?";

		if (views[i]->tab == ACT_NONE)
			continue;
		for (size_t k = 0; k < key_table_len; k++) {
			if (key_table[k].action == views[i]->tab)
				key = key_table[k].shown;
		}
		x += screen_printf(t->s, y, x, -1,
		    t->view == views[i] ? LOOK_BOLD | LOOK_UNDERLINE : LOOK_PLAIN, "%s %s", key,
		    views[i]->name);
		x += 2;
	}
	return x;
}

static void
matches_text(const struct top *t, char *buf, size_t size)
{
	const struct model *m = &t->model;
	char matched[32], live[32], idle[32];

	text_grouped(m->matched, matched, sizeof(matched));
	text_grouped(m->live, live, sizeof(live));
	text_grouped(m->idle, idle, sizeof(idle));
	if (m->idle > 0)
		snprintf(buf, size, "%s of %s match; %s idle hid", matched, live, idle);
	else
		snprintf(buf, size, "%s of %s match", matched, live);
}

/* The filter and how many match.  Places the cursor while it is being typed. */
static void
filter_draw(struct top *t, int y)
{
	int cols = screen_cols(t->s);
	char right[160];
	int width;

	right[0] = '\0';
	if (t->filter_err[0] == '\0')
		matches_text(t, right, sizeof(right));
	else if (screen_lines(t->s) < FULL_LINES)
		snprintf(right, sizeof(right), "%.159s", t->filter_err);
	width = cols - 8 - (int)strlen(right) - 2;
	if (width < 20)
		width = 20; /* a long message is cut rather than what is being typed */
	if (width > cols - 8)
		width = cols - 8;
	screen_text(t->s, y, 0, cols, LOOK_PLAIN, "Filter:");
	if (t->filtering)
		screen_cursor(
		    t->s, y, field_draw(&t->filter_text, t->s, y, 8, width, LOOK_REVERSE));
	else
		screen_text(t->s, y, 8, width, LOOK_BOLD, t->filter_text.text);
	if (8 + width + 2 < cols)
		screen_text(t->s, y, 8 + width + 2, cols - width - 10,
		    t->filter_err[0] ? LOOK_BAD : LOOK_PLAIN, right);
}

static void
third_line(struct top *t, int y)
{
	char right[160];
	int x;

	screen_text(t->s, y, 0, screen_cols(t->s), LOOK_PLAIN, "");
	if (t->filtering || t->filter_text.len > 0) {
		if (t->view == &view_keys) {
			filter_draw(t, y);
			return;
		}
	}
	x = tabs_draw(t, y);
	if (t->view != &view_keys)
		return;
	matches_text(t, right, sizeof(right));
	if (x + (int)strlen(right) + 2 < screen_cols(t->s))
		screen_text(t->s, y, screen_cols(t->s) - (int)strlen(right), -1, LOOK_PLAIN, right);
}

/* ---- the bottom line ---- */

static bool
note_current(const struct top *t)
{
	return t->note[0] != '\0' && t->now.mono_ns < t->note_until_ns;
}

static void
note_draw(struct top *t, int y)
{
	int cols = screen_cols(t->s);
	char undo[32] = "";

	if (t->undo.set && t->now.mono_ns < t->undo.until_ns)
		snprintf(undo, sizeof(undo), "  u undo (%llus)",
		    (unsigned long long)((t->undo.until_ns - t->now.mono_ns + 999999999) /
			1000000000));
	if (cols < 2 * (int)strlen(undo))
		undo[0] = '\0';
	screen_text(t->s, y, 0, cols - (int)strlen(undo), t->note_look, t->note);
	screen_text(t->s, y, cols - (int)strlen(undo), -1, LOOK_BOLD, undo);
}

static void
hint_draw(struct top *t, int y)
{
	static const struct {
		const char *text;
		enum action action;
	} hints[] = {
		{ "? help", ACT_HELP },
		{ "q quit", ACT_QUIT },
		{ "/ filter", ACT_FILTER },
		{ "\\ clear", ACT_CLEAR },
		{ "< > sort", ACT_SORT_LEFT },
		{ "Enter detail", ACT_OPEN },
		{ "e edit", ACT_EDIT },
		{ "x reset", ACT_RESET },
		{ "i idle", ACT_IDLE },
		{ "p pause", ACT_PAUSE },
	};
	int cols = screen_cols(t->s), x = 0;

	screen_text(t->s, y, 0, cols, LOOK_PLAIN, "");
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		const char *text = hints[i].text;
		bool known = false;

		for (size_t k = 0; k < key_table_len; k++) {
			if (key_table[k].action == hints[i].action &&
			    (key_table[k].where & (int)t->view->where))
				known = true;
		}
		if (hints[i].action == ACT_QUIT && t->view->tab == ACT_NONE)
			text = "q back";
		if (!known || x + (int)strlen(text) > cols)
			continue;
		x += screen_text(t->s, y, x, -1, LOOK_DIM, text) + 2;
	}
}

static void
bottom_line(struct top *t, int y)
{
	if (t->filter_err[0] != '\0')
		screen_text(t->s, y, 0, screen_cols(t->s), LOOK_BAD, t->filter_err);
	else if (note_current(t))
		note_draw(t, y);
	else
		hint_draw(t, y);
}

/* ---- whole screens ---- */

/* Numbers alone, the one that matters most in front; whole ones or none. */
static void
tiny_draw(struct top *t)
{
	const struct model *m = &t->model;
	bool words = screen_cols(t->s) >= 30;
	struct part p[PARTS_MAX] = { 0 };
	char allow[32], deny[32];
	int n = 0, look;
	const char *state = state_word(t, &look);

	per_second(t, m->deny_s, deny, sizeof(deny));
	per_second(t, m->allow_s, allow, sizeof(allow));
	part_add(p, &n, 90, LOOK_PLAIN, "%s%s%s", words ? "deny " : "d", deny, words ? "/s" : "");
	part_add(
	    p, &n, 80, LOOK_PLAIN, "%s%llu", words ? "over " : "o", (unsigned long long)m->over);
	part_add(p, &n, 70, LOOK_PLAIN, "%s%s%s", words ? "allow " : "a", allow, words ? "/s" : "");
	part_add(p, &n, t->paused || !t->daemon.up ? 85 : 60, look, "%s", state);
	parts_draw(t, 0, screen_cols(t->s), p, n);
	screen_cursor(t->s, 0, 0);
}

static void
compact_draw(struct top *t)
{
	int lines = screen_lines(t->s);

	t->view->draw(t, 1, lines - 1);
	if (t->filtering && t->view == &view_keys)
		filter_draw(t, 0);
	else if (note_current(t))
		note_draw(t, 0);
	else
		head_totals(t, 0, true);
}

void
frame_draw(struct top *t)
{
	int lines = screen_lines(t->s), cols = screen_cols(t->s);

	screen_clear(t->s);
	if (t->dialog_open && (lines < FULL_LINES || cols < TINY_COLS)) {
		dialog_draw(&t->dialog, t->s);
	} else if (lines < TINY_LINES || cols < TINY_COLS) {
		tiny_draw(t);
	} else if (lines < FULL_LINES) {
		compact_draw(t);
	} else {
		head_who(t, 0);
		head_totals(t, 1, false);
		t->view->draw(t, 3, lines - 4);
		third_line(t, 2);
		bottom_line(t, lines - 1);
		if (t->dialog_open)
			dialog_draw(&t->dialog, t->s);
	}
	screen_flush(t->s);
	t->frames++;
	if (t->frames_in_title) {
		char title[64];

		snprintf(title, sizeof(title), "ration-frame-%llu", (unsigned long long)t->frames);
		screen_title(t->s, title);
	}
}
