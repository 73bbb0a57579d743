/*
 * view_keys.c - the list of keys.
 *
 * The selection is a key (slot and birth), never a row: when the order changes
 * it moves along, and an action means the key that is marked, whatever stands where
 * it stood.  Moving holds the order for HOLD_NS.  Once the user has moved, the
 * list follows the selected key; before that it stays at the top.
 *
 * Columns are left out by importance (model.h) until the line fits.
 */
#include "top.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define KEY_WIDTH_MIN 20
#define MARK_WIDTH 2
#define SIGN_WIDTH 5 /* " OVER" beside USE% */
#define BAR_WIDTH 10
#define WIDE_COLS 120 /* from here on with a bar */
#define PANE_COLS 110 /* from here on with two panes beneath, if there are lines for them */
#define PANE_VIEW_LINES 26
#define PANE_LINES 11
#define WANT_MIN 256
#define WANT_MAX 200000 /* rows that G goes down to */

struct layout {
	enum column col[COL_COUNT];
	int width[COL_COUNT];
	int n;
	bool bar;
};

static int
column_width(enum column c, bool bar)
{
	int width = columns[c].width;

	if ((int)strlen(columns[c].header) > width)
		width = (int)strlen(columns[c].header);
	if (c == COL_USE)
		width += SIGN_WIDTH + (bar ? BAR_WIDTH + 1 : 0);
	return width;
}

/* The columns for `cols` columns of screen, in their order; the key takes what is left. */
static void
layout_make(struct layout *l, int cols)
{
	bool shown[COL_COUNT] = { [COL_KEY] = true };
	int used = MARK_WIDTH + KEY_WIDTH_MIN;

	l->n = 0;
	l->bar = cols >= WIDE_COLS;
	for (;;) {
		int best = -1;

		for (int c = 0; c < COL_COUNT; c++) {
			if (!shown[c] &&
			    (best < 0 || columns[c].importance > columns[best].importance))
				best = c;
		}
		if (best < 0 || used + 1 + column_width((enum column)best, l->bar) > cols)
			break;
		shown[best] = true;
		used += 1 + column_width((enum column)best, l->bar);
	}
	for (int c = 0; c < COL_COUNT; c++) {
		if (!shown[c])
			continue;
		l->col[l->n] = (enum column)c;
		l->width[l->n++] = column_width((enum column)c, l->bar);
	}
	for (int i = 0; i < l->n; i++) {
		if (l->col[i] == COL_KEY)
			l->width[i] = KEY_WIDTH_MIN + cols - used;
	}
	if (l->width[0] < 1)
		l->width[0] = 1;
}

/* ---- reading ---- */

static void
ref_set(struct top *t, struct key_ref *ref, const struct entry *e, const struct model_row *row)
{
	ref->set = true;
	ref->slot = e->slot;
	ref->birth = e->birth;
	key_text(row->row.key, row->row.key_len, ref->text);
	snprintf(ref->limit, sizeof(ref->limit), "%s", row->limit);
	t->model.pinned = true;
	t->model.pin = *e;
}

/* Bind the selection to the key in place i. */
static void
select_at(struct top *t, size_t i)
{
	struct model_row row;

	if (i >= t->model.nentries)
		return;
	model_row(&t->model, i, t->now.shared_ns, &row);
	ref_set(t, &t->keys.sel, &t->model.entries[i], &row);
	t->keys.at = i;
}

static void
keys_open(struct top *t)
{
	t->model.want = WANT_MIN;
}

static void
keys_read(struct top *t)
{
	struct keys_state *k = &t->keys;
	struct model_row row;
	int64_t at;

	if (!k->sel.set) {
		select_at(t, 0);
		return;
	}
	at = model_index(&t->model, k->sel.slot, k->sel.birth);
	if (at < 0 && t->filter_moved) {
		/* What the new filter does not show is not selected either. */
		memset(&k->sel, 0, sizeof(k->sel));
		select_at(t, 0);
	}
	t->filter_moved = false;
	if (at >= 0)
		k->at = (size_t)at;
	if (at >= 0 || !k->sel.set)
		return;
	/* Not in the list: filtered out, further down, or gone. */
	if (!model_row_of(&t->model, k->sel.slot, k->sel.birth, t->now.shared_ns, &row)) {
		k->sel.set = false;
		t->model.pinned = false;
		top_note(t, LOOK_PLAIN, "%s is no longer in the table", k->sel.text);
	}
}

/* A row as it was when it was last shown; NULL: too long ago. */
static struct model_row *
kept_row(struct keys_state *k, const struct entry *e)
{
	size_t n = k->nkept < ROWS_KEPT ? k->nkept : ROWS_KEPT;

	for (size_t i = 0; i < n; i++) {
		if (k->kept[i].row.slot == e->slot && k->kept[i].row.birth == e->birth)
			return &k->kept[i];
	}
	return NULL;
}

/*
 * Entry `at` as it is now.  While paused as it was last shown, so that the
 * figures stand still, too; and so when its key left the table meanwhile.
 */
static void
row_at(struct top *t, size_t at, struct model_row *row)
{
	struct keys_state *k = &t->keys;
	struct model_row *kept = kept_row(k, &t->model.entries[at]);

	if (t->paused && kept != NULL) {
		*row = *kept;
		return;
	}
	if (!model_row(&t->model, at, t->now.shared_ns, row) && kept != NULL) {
		*row = *kept;
		row->gone = true;
		return;
	}
	if (k->kept == NULL)
		k->kept = calloc(ROWS_KEPT, sizeof(*k->kept));
	if (k->kept == NULL)
		return;
	if (kept == NULL)
		kept = &k->kept[k->nkept++ % ROWS_KEPT];
	*kept = *row;
}

/* ---- moving ---- */

/* Make the model keep enough entries for place i and a page more. */
static void
want_up_to(struct top *t, size_t i)
{
	size_t want = i + 2 * t->keys.page + 1;

	if (want > WANT_MAX)
		want = WANT_MAX;
	if (want > t->model.want) {
		t->model.want = want < WANT_MIN ? WANT_MIN : want;
		/* What is held in its order cannot grow: let go once. */
		if (t->model.nentries < t->model.matched) {
			t->model.hold_ns = 0;
			top_read(t, READ_NOW);
		}
	}
}

static bool
keys_move(struct top *t, enum action action)
{
	struct keys_state *k = &t->keys;
	size_t page = k->page > 1 ? k->page - 1 : 1;
	bool in_list = k->sel.set && model_index(&t->model, k->sel.slot, k->sel.birth) >= 0;
	size_t at = in_list && (k->sel.moved || k->at < k->offset + k->page) ? k->at : k->offset;

	switch (action) {
	case ACT_DOWN:
		at = in_list ? at + 1 : at;
		break;
	case ACT_UP:
		at = at > 0 ? at - 1 : 0;
		break;
	case ACT_PGDN:
		at += page;
		break;
	case ACT_PGUP:
		at = at > page ? at - page : 0;
		break;
	case ACT_TOP:
		at = 0;
		break;
	case ACT_BOTTOM:
		at = t->model.matched > 0 ? (size_t)t->model.matched - 1 : 0;
		if (t->model.matched > WANT_MAX)
			top_note(t, LOOK_PLAIN,
			    "the first %d are listed; a filter or I shows others", WANT_MAX);
		break;
	default:
		return false;
	}
	want_up_to(t, at);
	if (t->model.nentries == 0)
		return true;
	if (at >= t->model.nentries)
		at = t->model.nentries - 1;
	select_at(t, at);
	k->sel.moved = true;
	t->model.hold_ns = t->now.mono_ns + HOLD_NS;
	return true;
}

static void
resort(struct top *t)
{
	t->model.hold_ns = 0;
	if (!t->keys.sel.moved)
		t->keys.sel.set = false;
	top_read(t, READ_SOON);
}

/* The column shown beside the sorted one. */
static void
sort_step(struct top *t, int step)
{
	struct layout l;
	int at = -1;

	layout_make(&l, screen_cols(t->s));
	for (int i = 0; i < l.n; i++) {
		if (l.col[i] == t->model.sort)
			at = i;
	}
	at = at < 0 ? 0 : (at + step + l.n) % l.n;
	t->model.sort = l.col[at];
	resort(t);
}

static const struct key_ref *
selected(struct top *t)
{
	if (!t->keys.sel.set) {
		top_note(t, LOOK_WARN, "no key is selected");
		return NULL;
	}
	return &t->keys.sel;
}

static bool
keys_key(struct top *t, enum action action)
{
	const struct key_ref *ref;

	/* What was asked for before comes first: one moves in the order that was chosen. */
	if (t->read_soon && action != ACT_SORT_LEFT && action != ACT_SORT_RIGHT &&
	    action != ACT_INVERT)
		top_read(t, READ_NOW);
	if (keys_move(t, action))
		return true;
	switch (action) {
	case ACT_SORT_LEFT:
		sort_step(t, -1);
		return true;
	case ACT_SORT_RIGHT:
		sort_step(t, 1);
		return true;
	case ACT_INVERT:
		t->model.invert = !t->model.invert;
		resort(t);
		return true;
	case ACT_IDLE:
		t->model.hide_idle = !t->model.hide_idle;
		top_note(t, LOOK_PLAIN,
		    t->model.hide_idle ? "idle keys are hidden" : "idle keys are shown");
		resort(t);
		return true;
	case ACT_OPEN:
		if (selected(t) != NULL)
			top_show(t, &view_detail);
		return true;
	case ACT_EDIT:
		ref = selected(t);
		if (ref != NULL)
			edit_open(t, ref, NULL);
		return true;
	case ACT_RESET:
		ref = selected(t);
		if (ref != NULL)
			edit_reset(t, ref);
		return true;
	default:
		return false;
	}
}

/* ---- drawing ---- */

static void
draw_header(struct top *t, const struct layout *l, int y)
{
	int x = MARK_WIDTH;

	screen_text(t->s, y, 0, screen_cols(t->s), LOOK_REVERSE, "");
	for (int i = 0; i < l->n; i++) {
		const struct column_def *c = &columns[l->col[i]];
		/* The sign's and the bar's room beside USE% belongs to no header. */
		int width = l->col[i] == COL_USE ? c->width : l->width[i];
		bool sorted = l->col[i] == t->model.sort;
		int look = LOOK_REVERSE | (sorted ? LOOK_BOLD | LOOK_UNDERLINE : 0);
		char text[32];

		snprintf(text, sizeof(text), "%s%s", c->header,
		    sorted ? (t->model.invert ? "^" : "v") : "");
		screen_printf(t->s, y, x, width, look, "%*s", c->numeric ? width : -width, text);
		x += l->width[i] + 1;
	}
}

static void
draw_use(struct top *t, const struct layout *l, int y, int x, const struct model_row *row, int look)
{
	double use = column_number(row, COL_USE);
	int hue = look | (isnan(use) ? 0 : use_look(use));
	char text[64];
	int width = columns[COL_USE].width;

	column_text(row, COL_USE, text, sizeof(text));
	screen_printf(t->s, y, x, width, hue, "%*s", width, text);
	screen_printf(t->s, y, x + width, SIGN_WIDTH, hue, " %s", isnan(use) ? "" : use_sign(use));
	if (l->bar && !isnan(use))
		screen_bar(
		    t->s, y, x + width + SIGN_WIDTH + 1, BAR_WIDTH, hue & ~LOOK_REVERSE, use / 100);
}

static void
draw_row(struct top *t, const struct layout *l, int y, const struct model_row *row, bool sel)
{
	int x = MARK_WIDTH;
	int look = (sel ? LOOK_REVERSE : 0) | (row->gone ? LOOK_DIM : 0);

	screen_text(t->s, y, 0, screen_cols(t->s), look, sel ? ">" : row->gone ? "-" : "");
	for (int i = 0; i < l->n; i++) {
		char text[KEY_TEXT_MAX + 16];

		if (l->col[i] == COL_USE) {
			draw_use(t, l, y, x, row, look);
		} else {
			column_text(row, l->col[i], text, sizeof(text));
			if (l->col[i] ==
			    COL_KEY) /* in full: what does not fit is cut by the screen */
				key_text(row->row.key, row->row.key_len, text);
			screen_printf(t->s, y, x, l->width[i], look,
			    columns[l->col[i]].numeric ? "%*s" : "%-*s",
			    columns[l->col[i]].numeric ? l->width[i] : 0, text);
		}
		x += l->width[i] + 1;
	}
}

static void
fit(struct top *t, int rows)
{
	struct keys_state *k = &t->keys;
	size_t n = t->model.nentries;

	k->page = rows > 0 ? (size_t)rows : 1;
	if (!k->sel.moved)
		k->offset = 0;
	else if (k->sel.set && k->at < n) {
		if (k->at < k->offset)
			k->offset = k->at;
		if (k->at >= k->offset + k->page)
			k->offset = k->at + 1 - k->page;
	}
	if (n <= k->page)
		k->offset = 0;
	else if (k->offset > n - k->page)
		k->offset = n - k->page;
}

static void
draw_empty(struct top *t, int y)
{
	const char *why = "no keys yet: nothing was asked of any limit";

	if (t->model.idle > 0)
		why = "all keys are idle; i shows them";
	else if (t->model.live > 0)
		why = "no key matches; \\ clears the filter";
	screen_text(t->s, y, MARK_WIDTH, screen_cols(t->s) - MARK_WIDTH, LOOK_PLAIN, why);
}

/* The selected key's detail, and the limits, beneath the list. */
static void
draw_panes(struct top *t, int y, int lines)
{
	int cols = screen_cols(t->s), half = cols / 2;

	screen_text(t->s, y, 0, cols, LOOK_REVERSE, "  Selected key");
	screen_text(t->s, y, half + 1, cols - half - 1, LOOK_REVERSE, " Limits");
	if (t->keys.sel.set)
		detail_pane(t, y + 1, 2, lines - 1, half - 2);
	limits_pane(t, y + 1, half, lines - 1, cols - half);
}

static void
keys_draw(struct top *t, int y, int lines)
{
	struct layout l;
	int shown = -1;

	if (lines >= PANE_VIEW_LINES && screen_cols(t->s) >= PANE_COLS) {
		lines -= PANE_LINES;
		draw_panes(t, y + lines, PANE_LINES);
	}

	layout_make(&l, screen_cols(t->s));
	fit(t, lines - 1);
	draw_header(t, &l, y);
	if (t->model.nentries == 0)
		draw_empty(t, y + 1);
	for (int i = 0; i < lines - 1; i++) {
		size_t at = t->keys.offset + (size_t)i;
		struct model_row row;
		bool sel;

		if (at >= t->model.nentries)
			break;
		row_at(t, at, &row);
		sel = t->keys.sel.set && t->keys.sel.slot == t->model.entries[at].slot &&
		    t->keys.sel.birth == t->model.entries[at].birth;
		if (sel)
			shown = i;
		draw_row(t, &l, y + 1 + i, &row, sel);
	}
	screen_cursor(t->s, shown >= 0 ? y + 1 + shown : y, 0);
}

static void
keys_done(struct top *t)
{
	free(t->keys.kept);
	t->keys.kept = NULL;
}

const struct view_ops view_keys = {
	.name = "Keys",
	.where = IN_KEYS,
	.tab = ACT_TAB_KEYS,
	.open = keys_open,
	.read = keys_read,
	.draw = keys_draw,
	.key = keys_key,
	.done = keys_done,
};
