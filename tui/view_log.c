/*
 * view_log.c - what happened: events as rationd reports them while the
 * dashboard runs, and the audit of changes.  Newest first; both need rationd.
 */
#include "top.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AUDIT_N 200

static void
clock_text(int64_t when, const char *format, char *buf, size_t size)
{
	time_t at = (time_t)when;
	struct tm tm;

	buf[0] = '\0';
	if (localtime_r(&at, &tm) != NULL)
		strftime(buf, size, format, &tm);
}

/* Rows of a numbered list: text of row i by line(). */
static void
draw_rows(struct top *t, struct list_state *l, int y, int lines, const char *header,
    const char *empty, size_t n, void (*line)(struct top *t, size_t i, char *buf, size_t size))
{
	int cols = screen_cols(t->s);

	list_fit(l, n, lines - 1);
	screen_printf(t->s, y, 0, cols, LOOK_REVERSE, "  %s", header);
	screen_cursor(t->s, y, 0);
	if (n == 0)
		screen_text(t->s, y + 1, 2, cols - 2, LOOK_PLAIN, empty);
	for (int i = 0; i < lines - 1 && l->offset + (size_t)i < n; i++) {
		size_t at = l->offset + (size_t)i;
		char text[1024];
		bool sel = at == l->at;

		line(t, at, text, sizeof(text));
		screen_printf(t->s, y + 1 + i, 0, cols, sel ? LOOK_REVERSE : LOOK_PLAIN, "%s %s",
		    sel ? ">" : " ", text);
		if (sel)
			screen_cursor(t->s, y + 1 + i, 0);
	}
}

/* ---- events ---- */

static size_t
events_kept(const struct top *t)
{
	return t->nevents < EVENTS_KEPT ? t->nevents : EVENTS_KEPT;
}

static void
event_text(struct top *t, size_t i, char *buf, size_t size)
{
	const struct event_line *e = &t->events[(t->nevents - 1 - i) % EVENTS_KEPT];
	char when[32];

	clock_text(e->when, "%H:%M:%S", when, sizeof(when));
	snprintf(buf, size, "%s  %s", when, e->text);
}

static void
events_draw(struct top *t, int y, int lines)
{
	draw_rows(t, &t->events_list, y, lines, "TIME      EVENT",
	    t->daemon.up ? "no events since the dashboard started" : "rationd is not there",
	    events_kept(t), event_text);
}

static bool
events_key(struct top *t, enum action action)
{
	t->events_list.n = events_kept(t);
	return list_move(&t->events_list, action);
}

const struct view_ops view_events = {
	.name = "Events",
	.where = IN_EVENTS,
	.tab = ACT_TAB_EVENTS,
	.draw = events_draw,
	.key = events_key,
};

/* ---- audit ---- */

static int
newest_first(const void *a, const void *b)
{
	json_t *const *x = a, *const *y = b;
	json_int_t ix = json_integer_value(json_object_get(*x, "id"));
	json_int_t iy = json_integer_value(json_object_get(*y, "id"));

	return ix > iy ? -1 : ix < iy;
}

/* rationd may list them either way round; here the newest stands first. */
static json_t *
sorted(json_t *entries)
{
	size_t n = json_array_size(entries);
	json_t **items = calloc(n + 1, sizeof(*items));
	json_t *out = json_array();

	for (size_t i = 0; items != NULL && i < n; i++)
		items[i] = json_array_get(entries, i);
	if (items != NULL)
		qsort(items, n, sizeof(*items), newest_first);
	for (size_t i = 0; items != NULL && i < n; i++)
		json_array_append(out, items[i]);
	free(items);
	return out;
}

static void
audit_read(struct top *t)
{
	struct rpc_error e = { 0 };
	json_t *answer = daemon_call(t, "audit", json_pack("{s:i}", "limit_n", AUDIT_N), &e);

	if (answer != NULL) {
		json_decref(t->audit);
		t->audit = sorted(json_object_get(answer, "entries"));
		t->audit_list.n = json_array_size(t->audit);
		t->audit_err[0] = '\0';
	} else {
		snprintf(t->audit_err, sizeof(t->audit_err), "%.199s", e.text);
	}
	json_decref(answer);
	rpc_error_clear(&e);
}

static const char *
text_of(json_t *o, const char *field)
{
	const char *s = json_string_value(json_object_get(o, field));

	return s != NULL ? s : "";
}

static void
audit_text(struct top *t, size_t i, char *buf, size_t size)
{
	json_t *e = json_array_get(t->audit, i);
	const char *old = text_of(e, "old"), *new = text_of(e, "new"), *why = text_of(e, "reason");
	char when[32];

	clock_text(
	    json_integer_value(json_object_get(e, "when")), "%m-%d %H:%M:%S", when, sizeof(when));
	snprintf(buf, size, "%-14s  %-10s %-8s %s  %s%s%s%s%s", when, text_of(e, "who"),
	    text_of(e, "action"), text_of(e, "target"), old, old[0] || new[0] ? " -> " : "", new,
	    why[0] ? "  reason: " : "", why);
}

static void
audit_draw(struct top *t, int y, int lines)
{
	draw_rows(t, &t->audit_list, y, lines, "WHEN            WHO        ACTION   WHAT",
	    t->audit_err[0] ? t->audit_err : "nothing was changed yet", json_array_size(t->audit),
	    audit_text);
}

static bool
audit_key(struct top *t, enum action action)
{
	return list_move(&t->audit_list, action);
}

static void
audit_done(struct top *t)
{
	json_decref(t->audit);
	t->audit = NULL;
}

const struct view_ops view_audit = {
	.name = "Audit",
	.where = IN_AUDIT,
	.tab = ACT_TAB_AUDIT,
	.open = audit_read,
	.read = audit_read,
	.draw = audit_draw,
	.key = audit_key,
	.done = audit_done,
};
