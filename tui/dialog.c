/*
 * dialog.c - see dialog.h.
 */
#include "dialog.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "screen.h"

#define NS_PER_S UINT64_C(1000000000)

static bool
scope_offered(const struct dialog *d, enum dialog_scope scope)
{
	switch (scope) {
	case SCOPE_KEY:
		return d->key[0] != '\0';
	case SCOPE_PLAN:
		return d->plan[0] != '\0';
	default:
		return true;
	}
}

static void
set_scope(struct dialog *d, enum dialog_scope scope)
{
	d->scope = scope;
	if (!d->rates_typed)
		field_set(&d->rates, d->current[scope]);
}

static void
step_scope(struct dialog *d, int step)
{
	enum dialog_scope scope = d->scope;

	do
		scope = (enum dialog_scope)(((int)scope + step + SCOPES) % SCOPES);
	while (!scope_offered(d, scope));
	set_scope(d, scope);
}

void
dialog_open(struct dialog *d, enum dialog_kind kind)
{
	d->kind = kind;
	d->focus = FOCUS_CANCEL;
	d->rates_typed = false;
	field_set(&d->duration, "");
	field_set(&d->reason, "");
	field_set(&d->name, "");
	set_scope(d, d->key[0] != '\0' ? SCOPE_KEY : SCOPE_LIMIT);
}

void
dialog_note(struct dialog *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->note, sizeof(d->note), fmt, ap);
	va_end(ap);
}

/* ---- what a change means ---- */

/* Units a second that a rate lets through in the long run. */
static double
rate_flow(const struct rate_spec *r)
{
	if (r->units == RATION_UNLIMITED)
		return INFINITY;
	return (double)r->units / (r->window_ns ? (double)r->window_ns / 1e9 : 1.0);
}

bool
dialog_drastic(const char *from, const char *to)
{
	struct rate_spec old[RATION_RATES_MAX], new[RATION_RATES_MAX];
	char err[256];
	int nold = rate_parse_list(from, old, RATION_RATES_MAX, err, sizeof(err));
	int nnew = rate_parse_list(to, new, RATION_RATES_MAX, err, sizeof(err));
	double was = INFINITY, is = INFINITY;

	if (nold < 1 || nnew < 1)
		return true; /* what cannot be compared is asked about */
	for (int i = 0; i < nnew; i++) {
		is = fmin(is, rate_flow(&new[i]));
		if (new[i].units == 0)
			return true;
		for (int k = 0; k < nold; k++) {
			if (old[k].kind == new[i].kind &&
			    old[k].window_ns ==
				new[i].window_ns &&rate_flow(&new[i]) > 10 * rate_flow(&old[k]))
				return true;
		}
	}
	for (int k = 0; k < nold; k++)
		was = fmin(was, rate_flow(&old[k]));
	return is > 10 * was;
}

bool
dialog_wants_name(const struct dialog *d)
{
	struct rate_spec rates[RATION_RATES_MAX];
	char err[200];

	/* What is no rate yet is corrected first. */
	if (d->kind != DIALOG_EDIT ||
	    rate_parse_list(d->rates.text, rates, RATION_RATES_MAX, err, sizeof(err)) < 1)
		return false;
	return d->scope != SCOPE_KEY || dialog_drastic(d->current[d->scope], d->rates.text);
}

uint64_t
dialog_for_s(const struct dialog *d)
{
	char err[128];
	uint64_t ns;

	if (d->duration.len == 0 || duration_parse(d->duration.text, &ns, err, sizeof(err)) != 0)
		return 0;
	return ns / NS_PER_S;
}

/* True when everything is there that a commit needs; else the focus goes where it is missing. */
static bool
may_commit(struct dialog *d)
{
	struct rate_spec rates[RATION_RATES_MAX];
	char err[200];
	uint64_t ns;

	if (d->kind == DIALOG_RESET)
		return true;
	if (rate_parse_list(d->rates.text, rates, RATION_RATES_MAX, err, sizeof(err)) < 1) {
		dialog_note(d, "%s", err);
		d->focus = FOCUS_RATES;
		return false;
	}
	if (d->duration.len > 0 &&
	    (duration_parse(d->duration.text, &ns, err, sizeof(err)) != 0 || ns < NS_PER_S)) {
		dialog_note(d, "How long: %s", ns < NS_PER_S ? "at least 1s" : err);
		d->focus = FOCUS_FOR;
		return false;
	}
	if (strcmp(d->rates.text, d->current[d->scope]) == 0 && d->duration.len == 0) {
		dialog_note(d, "Nothing to change: type the new rates");
		d->focus = FOCUS_RATES;
		return false;
	}
	if (dialog_wants_name(d) && strcmp(d->name.text, d->limit) != 0) {
		dialog_note(d, "Type the limit's name, then Tab and y");
		d->focus = FOCUS_NAME;
		return false;
	}
	return true;
}

/* ---- keys ---- */

static bool
focus_offered(const struct dialog *d, enum dialog_focus focus)
{
	switch (focus) {
	case FOCUS_RATES:
	case FOCUS_SCOPE:
	case FOCUS_FOR:
		return d->kind == DIALOG_EDIT;
	case FOCUS_NAME:
		return dialog_wants_name(d);
	default:
		return true;
	}
}

static void
step_focus(struct dialog *d, int step)
{
	const int n = FOCUS_CANCEL + 1;

	do
		d->focus = (enum dialog_focus)(((int)d->focus + step + n) % n);
	while (!focus_offered(d, d->focus));
}

static struct field *
focused_field(struct dialog *d)
{
	switch (d->focus) {
	case FOCUS_RATES:
		return &d->rates;
	case FOCUS_FOR:
		return &d->duration;
	case FOCUS_REASON:
		return &d->reason;
	case FOCUS_NAME:
		return &d->name;
	default:
		return NULL;
	}
}

/* On Cancel or the scope: letters are commands. */
static enum dialog_end
command_key(struct dialog *d, int key)
{
	bool cancel = d->focus == FOCUS_CANCEL;

	if (key == 'y')
		return may_commit(d) ? DIALOG_COMMITTED : DIALOG_STAYS;
	if (key == 'n' || key == 'q' || (key == SK_ENTER && cancel))
		return DIALOG_CANCELLED;
	if (key == SK_ENTER) {
		step_focus(d, 1);
	} else if (!cancel && (key == SK_LEFT || key == SK_RIGHT || key == ' ')) {
		step_scope(d, key == SK_LEFT ? -1 : 1);
	} else if (d->kind == DIALOG_EDIT && key >= '0' && key <= '9') {
		/* A number can only be meant for the rates. */
		d->focus = FOCUS_RATES;
		d->rates_typed = true;
		field_set(&d->rates, "");
		field_key(&d->rates, key);
	} else if (d->kind == DIALOG_EDIT && key == 'e') {
		d->focus = FOCUS_RATES;
	}
	return DIALOG_STAYS;
}

enum dialog_end
dialog_key(struct dialog *d, int key)
{
	struct field *f = focused_field(d);

	if (key < 0 || key == SK_RESIZE)
		return DIALOG_STAYS;
	if (key == SK_ESC)
		return DIALOG_CANCELLED;
	if (key != 'y')
		d->note[0] = '\0';
	if (key == SK_TAB || key == SK_DOWN || (key == SK_ENTER && f != NULL)) {
		step_focus(d, 1);
		return DIALOG_STAYS;
	}
	if (key == SK_BACKTAB || key == SK_UP) {
		step_focus(d, -1);
		return DIALOG_STAYS;
	}
	if (f == NULL)
		return command_key(d, key);
	if (field_key(f, key) && f == &d->rates)
		d->rates_typed = strcmp(d->rates.text, d->current[d->scope]) != 0;
	return DIALOG_STAYS;
}

/* ---- drawing ---- */

enum line { L_TARGET, L_NOW, L_RATES, L_EFFECT, L_SCOPE, L_FOR, L_REASON, L_NAME, L_NOTE, L_END };

struct place {
	struct screen *s;
	int y, x, width;
	int cursor_y, cursor_x;
};

static void
draw_field(struct place *p, const char *label, const struct field *f, bool focus, const char *hint)
{
	int at;
	int lab = screen_text(p->s, p->y, p->x, 9, LOOK_PLAIN, label);

	(void)lab;
	at = field_draw(
	    f, p->s, p->y, p->x + 9, p->width - 9, focus ? LOOK_REVERSE : LOOK_UNDERLINE);
	if (f->len == 0 && !focus && p->width > 20)
		screen_text(p->s, p->y, p->x + 9, p->width - 9, LOOK_DIM, hint);
	if (focus) {
		p->cursor_y = p->y;
		p->cursor_x = at;
	}
}

static void
scope_text(const struct dialog *d, enum dialog_scope scope, char *buf, size_t size)
{
	char keys[32];

	if (d->touches[scope] < 0)
		snprintf(keys, sizeof(keys), "? keys");
	else
		snprintf(keys, sizeof(keys), "%lld key%s", (long long)d->touches[scope],
		    d->touches[scope] == 1 ? "" : "s");
	switch (scope) {
	case SCOPE_KEY:
		snprintf(buf, size, "this key");
		break;
	case SCOPE_PLAN:
		snprintf(buf, size, "plan %s (%s)", d->plan, keys);
		break;
	default:
		snprintf(buf, size, "limit %s (%s)", d->limit, keys);
		break;
	}
}

static void
draw_scope(const struct dialog *d, struct place *p)
{
	bool focus = d->focus == FOCUS_SCOPE;
	int x = p->x + 9;

	screen_text(p->s, p->y, p->x, p->width, LOOK_PLAIN, "Scope");
	for (int i = 0; i < SCOPES; i++) {
		char text[160];
		bool on = (int)d->scope == i;

		if (!scope_offered(d, (enum dialog_scope)i) || (p->width < 60 && !on))
			continue;
		scope_text(d, (enum dialog_scope)i, text, sizeof(text));
		if (on && focus) {
			p->cursor_y = p->y;
			p->cursor_x = x;
		}
		x += screen_printf(p->s, p->y, x, -1,
		    on ? (focus ? LOOK_REVERSE : LOOK_BOLD) : LOOK_PLAIN, "%s%s%s", on ? "[" : " ",
		    text, on ? "]" : " ");
		x++;
	}
}

/* What this key has used in a window of that length; UINT64_MAX: not known. */
static uint64_t
used_in(const struct dialog *d, uint64_t window_ns)
{
	for (unsigned i = 0; i < d->nnow; i++) {
		if (d->now[i].window_ns == window_ns && window_ns != 0)
			return d->now[i].units;
	}
	return UINT64_MAX;
}

/* What the change would do at once, as far as this key's figures tell: the worst of the rates. */
static void
draw_effect(const struct dialog *d, struct place *p)
{
	struct rate_spec r[RATION_RATES_MAX];
	char err[200];
	int n = rate_parse_list(d->rates.text, r, RATION_RATES_MAX, err, sizeof(err));
	uint64_t least = UINT64_MAX, least_used = 0;

	screen_text(p->s, p->y, p->x, p->width, LOOK_PLAIN, "");
	for (int i = 0; i < n; i++) {
		uint64_t used = used_in(d, r[i].window_ns);

		if (used == UINT64_MAX || r[i].units == RATION_UNLIMITED)
			continue;
		if (used >= r[i].units) {
			screen_printf(p->s, p->y, p->x, p->width, LOOK_WARN,
			    "Effect   over at once: %llu used of %llu", (unsigned long long)used,
			    (unsigned long long)r[i].units);
			return;
		}
		if (r[i].units - used < least) {
			least = r[i].units - used;
			least_used = used;
		}
	}
	if (least != UINT64_MAX)
		screen_printf(p->s, p->y, p->x, p->width, LOOK_PLAIN,
		    "Effect   %llu used now, %llu left", (unsigned long long)least_used,
		    (unsigned long long)least);
}

static void
draw_end(const struct dialog *d, struct place *p)
{
	bool focus = d->focus == FOCUS_CANCEL;
	char what[160];
	int x = p->x;

	screen_text(p->s, p->y, p->x, p->width, LOOK_PLAIN, "");
	if (focus) {
		p->cursor_y = p->y;
		p->cursor_x = x;
	}
	x += screen_text(p->s, p->y, x, -1, focus ? LOOK_REVERSE : LOOK_PLAIN, "[ Cancel ]") + 2;
	if (d->kind == DIALOG_RESET)
		snprintf(what, sizeof(what), "y resets this key");
	else
		scope_text(d, d->scope, what, sizeof(what));
	if (x < p->x + p->width)
		screen_printf(p->s, p->y, x, p->x + p->width - x, LOOK_PLAIN, "%s%s",
		    d->kind == DIALOG_RESET                ? ""
			: focus || d->focus == FOCUS_SCOPE ? "y changes "
							   : "Tab, y changes ",
		    what);
}

static void
draw_line(const struct dialog *d, enum line line, struct place *p)
{
	switch (line) {
	case L_TARGET:
		screen_printf(p->s, p->y, p->x, p->width, LOOK_BOLD, "%s%s%s", d->limit,
		    d->key[0] ? "  " : "", d->key);
		break;
	case L_NOW:
		if (d->kind == DIALOG_RESET)
			screen_printf(
			    p->s, p->y, p->x, p->width, LOOK_PLAIN, "Used     %s -> 0", d->used);
		else
			screen_printf(p->s, p->y, p->x, p->width, LOOK_PLAIN, "Now      %s",
			    d->current[d->scope]);
		break;
	case L_RATES:
		draw_field(p, "New", &d->rates, d->focus == FOCUS_RATES, "300/min, 30/s");
		break;
	case L_EFFECT:
		draw_effect(d, p);
		break;
	case L_SCOPE:
		draw_scope(d, p);
		break;
	case L_FOR:
		draw_field(p, "For", &d->duration, d->focus == FOCUS_FOR,
		    "1h; empty: until it is changed again");
		break;
	case L_REASON:
		draw_field(p, "Reason", &d->reason, d->focus == FOCUS_REASON, "why, for the audit");
		break;
	case L_NAME:
		draw_field(p, "Confirm", &d->name, d->focus == FOCUS_NAME, "type the limit's name");
		break;
	case L_NOTE:
		screen_text(p->s, p->y, p->x, p->width, LOOK_WARN | LOOK_BOLD, d->note);
		break;
	case L_END:
		draw_end(d, p);
		break;
	}
}

static bool
line_wanted(const struct dialog *d, enum line line, bool roomy)
{
	switch (line) {
	case L_RATES:
	case L_SCOPE:
	case L_FOR:
		return d->kind == DIALOG_EDIT;
	case L_EFFECT:
		return d->kind == DIALOG_EDIT && roomy && d->scope == SCOPE_KEY;
	case L_NAME:
		return dialog_wants_name(d);
	case L_NOTE:
		return roomy || d->note[0] != '\0';
	default:
		return true;
	}
}

static enum line
focus_line(const struct dialog *d)
{
	static const enum line at[] = { [FOCUS_RATES] = L_RATES,
		[FOCUS_SCOPE] = L_SCOPE,
		[FOCUS_FOR] = L_FOR,
		[FOCUS_REASON] = L_REASON,
		[FOCUS_NAME] = L_NAME,
		[FOCUS_CANCEL] = L_END };

	return at[d->focus];
}

void
dialog_draw(const struct dialog *d, struct screen *s)
{
	int rows = screen_lines(s), cols = screen_cols(s);
	bool roomy = rows >= 13 && cols >= 50;
	struct place p = { .s = s, .cursor_y = -1 };
	enum line lines[L_END + 1];
	int n = 0, focus = 0, first = 0, frame = roomy ? 1 : 0;
	int width = cols < 80 ? cols : 80;

	for (int l = 0; l <= L_END; l++) {
		if (!line_wanted(d, (enum line)l, roomy))
			continue;
		if (l == (int)focus_line(d))
			focus = n;
		lines[n++] = (enum line)l;
	}
	if (n > rows) { /* tiny: the lines up to the one with the focus */
		first = focus + 1 > rows ? focus + 1 - rows : 0;
		n = rows;
	}
	p.x = (cols - width) / 2 + 2 * frame;
	p.width = width - 4 * frame;
	p.y = (rows - n - 2 * frame) / 2;
	if (roomy)
		screen_box(s, p.y, p.x - 2, n + 2, width,
		    d->kind == DIALOG_RESET ? "Reset a key" : "Edit a limit");
	p.y += frame;
	for (int i = 0; i < n; i++, p.y++)
		draw_line(d, lines[first + i], &p);
	screen_cursor(s, p.cursor_y < 0 ? 0 : p.cursor_y, p.cursor_x);
}
