/*
 * view_detail.c - everything about one key: every rate with its bar and its
 * times, where the limit in force comes from, totals, and the other limits that
 * the same key is under.
 *
 * Lines are made first and then shown from an offset, so that a screen of any
 * height shows all of them by scrolling.
 */
#include "source.h"
#include "top.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINES_MAX 200
#define OTHERS_MAX 32

static const char *const mode_names[] = { "enforce", "observe (counted, not denied)",
	"off (not counted)" };
static const char *const kind_names[] = { "", "sliding", "fixed", "day", "month", "bucket",
	"leases", "count only" };

/* One line: text, or a rate with its bar. */
struct detail_line {
	int look;
	double share; /* < 0: no bar */
	char text[KEY_TEXT_MAX + 64];
};

struct detail_text {
	struct detail_line *line;
	size_t n;
};

static void
add(struct detail_text *d, int look, const char *fmt, ...)
{
	va_list ap;

	if (d->n >= LINES_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(d->line[d->n].text, sizeof(d->line->text), fmt, ap);
	va_end(ap);
	d->line[d->n].look = look;
	d->line[d->n++].share = -1;
}

static void
when_text(int64_t at, int64_t now, char *buf, size_t size)
{
	char span[32];

	if (at == RATION_NEVER) {
		snprintf(buf, size, "never by waiting");
	} else if (at <= now) {
		snprintf(buf, size, "now");
	} else {
		text_span(at - now, span, sizeof(span));
		snprintf(buf, size, "in %s", span);
	}
}

static void
add_rate(struct detail_text *d, const ration_rate_t *r, int64_t now)
{
	char rate[96], reset[48], retry[48], used[32], limit[32], left[32];
	double share = r->limit_units > 0 ? (double)r->used / (double)r->limit_units : 1;

	ration_rate_text(r, rate, sizeof(rate));
	text_grouped(r->used, used, sizeof(used));
	when_text(r->reset_at, now, reset, sizeof(reset));
	when_text(r->retry_at, now, retry, sizeof(retry));
	if (r->limit_units == RATION_UNLIMITED) {
		add(d, LOOK_PLAIN, "  %-16s %s used, unlimited", rate, used);
		return;
	}
	text_grouped(r->limit_units, limit, sizeof(limit));
	text_grouped(r->remaining, left, sizeof(left));
	add(d, use_look(100 * share), "  %-16s %s/%s  %.0f%% %s", rate, used, limit, 100 * share,
	    use_sign(100 * share));
	d->line[d->n - 1].share = share;
	if (r->kind == RATION_CONCURRENT) {
		add(d, LOOK_PLAIN, "    leases, %s left; each is held until its release%s%s", left,
		    r->retry_at > now ? ", next free " : "", r->retry_at > now ? retry : "");
		return;
	}
	add(d, LOOK_PLAIN, "    %s, %s left, reset %s, next free %s",
	    r->kind < sizeof(kind_names) / sizeof(kind_names[0]) ? kind_names[r->kind] : "?", left,
	    r->used == 0 ? "now" : reset, retry);
}

/* Where the limit in force comes from, out of the policy object. */
static void
add_origin(struct top *t, struct detail_text *d, const struct model_row *row)
{
	struct policy_ref p;
	struct ruleset rs;
	struct limit_def def;
	char origin[960];
	size_t len;

	if (t->model.seg == NULL || t->model.seg->policy == NULL ||
	    !policy_current(t->model.seg->policy, &p) || p.version != row->row.version ||
	    !policy_ruleset(&p, row->row.ruleset, &rs))
		return;
	if (rs.limit != row->row.limit)
		return;
	source_origin(&p, &rs, row->row.key, row->row.key_len, origin, sizeof(origin));
	add(d, LOOK_PLAIN, "From    %s", origin);
	if (rs.until != POLICY_ENDLESS) {
		char until[48], span[32];
		time_t at = (time_t)rs.until;
		struct tm tm;

		if (localtime_r(&at, &tm) == NULL)
			return;
		strftime(until, sizeof(until), "%Y-%m-%d %H:%M:%S", &tm);
		text_span(rs.until - row->now_s, span, sizeof(span));
		add(d, LOOK_PLAIN, "Until   %s (in %s)", until, span);
	}
	if (policy_limit(&p, row->row.limit, &def))
		add(d, LOOK_PLAIN, "Defined %s", policy_string(&p, def.origin, &len));
}

static void
add_totals(const struct top *t, struct detail_text *d, const struct model_row *row)
{
	char admitted[32], denied[32], last[32];

	text_grouped(row->row.admitted, admitted, sizeof(admitted));
	text_grouped(row->row.denied, denied, sizeof(denied));
	add(d, LOOK_PLAIN, "Totals  admitted %s units, denied %s calls", admitted, denied);
	if (row->allow_s >= 0 && row->deny_s >= 0 && t->model.rates_known) {
		text_span(row->last_s == UINT32_MAX ? 0 : (int64_t)row->last_s, last, sizeof(last));
		add(d, LOOK_PLAIN, "Now     %.1f/s admitted, %.1f/s denied%s%s",
		    (double)row->allow_s, (double)row->deny_s,
		    row->last_s == UINT32_MAX ? "" : ", last moved ",
		    row->last_s == UINT32_MAX ? "" : last);
	}
}

/* The same key under other limits: looked up in the table, one search for each limit. */
static void
add_others(struct top *t, struct detail_text *d, const struct model_row *row)
{
	struct policy_ref p;
	int shown = 0;

	if (t->model.seg == NULL || t->model.seg->policy == NULL ||
	    !policy_current(t->model.seg->policy, &p))
		return;
	for (uint32_t id = 0; id < p.area->nlimits && id < LIMITS_MAX && shown < OTHERS_MAX; id++) {
		struct limit_def def;
		struct model_row other;
		uint64_t slot, birth;
		size_t len;

		if (id == row->row.limit || !policy_limit(&p, id, &def) || (def.flags & LIMIT_GONE))
			continue;
		if (!model_find(&t->model, policy_string(&p, def.name, &len), row->row.key,
			row->row.key_len, &slot, &birth) ||
		    !model_row_of(&t->model, slot, birth, t->now.shared_ns, &other))
			continue;
		if (shown++ == 0) {
			add(d, LOOK_PLAIN, "%s", "");
			add(d, LOOK_BOLD, "The same key under other limits");
		}
		add(d, LOOK_PLAIN, "  %s", other.limit);
		for (unsigned i = 0; i < other.row.nrates && i < RATION_RATES_MAX; i++)
			add_rate(d, &other.row.rates[i], other.now_s);
	}
}

static void
make_lines(struct top *t, struct detail_text *d)
{
	const struct model_row *row = &t->detail;
	char key[KEY_TEXT_MAX];

	key_text(row->row.key, row->row.key_len, key);
	add(d, LOOK_BOLD, "Key     %s", key);
	if (row->gone)
		add(d, LOOK_WARN,
		    "        gone from the table: idle and taken back; this was last known");
	add(d, LOOK_PLAIN, "Limit   %s, mode %s", row->limit,
	    mode_names[row->row.mode <= MODE_OFF ? row->row.mode : MODE_OFF]);
	if (row->plan[0] != '\0' || row->env[0] != '\0')
		add(d, LOOK_PLAIN, "Plan    %s%s%s", row->plan[0] ? row->plan : "-",
		    row->env[0] ? ", environment " : "", row->env);
	add_origin(t, d, row);
	add_totals(t, d, row);
	add(d, LOOK_PLAIN, "%s", "");
	add(d, LOOK_BOLD, "Rates");
	for (unsigned i = 0; i < row->row.nrates && i < RATION_RATES_MAX; i++)
		add_rate(d, &row->row.rates[i], row->now_s);
	if (row->row.nrates == 0)
		add(d, LOOK_PLAIN, "  none: nothing is counted");
	if (!row->gone)
		add_others(t, d, row);
}

static void
detail_read(struct top *t)
{
	const struct key_ref *ref = &t->keys.sel;
	struct model_row row;

	if (model_row_of(&t->model, ref->slot, ref->birth, t->now.shared_ns, &row))
		t->detail = row;
	else
		t->detail.gone = true;
}

static void
detail_open(struct top *t)
{
	memset(&t->detail_list, 0, sizeof(t->detail_list));
	memset(&t->detail, 0, sizeof(t->detail));
	detail_read(t);
}

static bool
detail_key(struct top *t, enum action action)
{
	/* It scrolls as a whole: moving turns the offset, there is no row to choose. */
	struct list_state *l = &t->detail_list;
	struct list_state turn = *l;

	turn.n = l->n > l->page ? l->n - l->page + 1 : 1;
	turn.at = l->offset;
	if (list_move(&turn, action)) {
		l->offset = turn.at;
		l->at = turn.at;
		return true;
	}
	if (action != ACT_EDIT && action != ACT_RESET)
		return false;
	if (!t->keys.sel.set || t->detail.gone)
		top_note(t, LOOK_WARN, "the key is gone");
	else if (action == ACT_EDIT)
		edit_open(t, &t->keys.sel, NULL);
	else
		edit_reset(t, &t->keys.sel);
	return true;
}

static void
draw_line(struct top *t, const struct detail_line *line, int y, int x, int width)
{
	int used = screen_text(t->s, y, x, width, line->look, line->text);
	int at = used < 44 && width > 70 ? 44 : used;

	if (line->share >= 0 && width - at > 12)
		screen_bar(t->s, y, x + at + 2, width - at - 4 < 30 ? width - at - 4 : 30,
		    line->look, line->share);
}

void
detail_pane(struct top *t, int y, int x, int lines, int width)
{
	struct detail_text d = { .line = calloc(LINES_MAX, sizeof(*d.line)) };

	if (d.line == NULL)
		return;
	if (!t->paused || t->detail.row.slot != t->keys.sel.slot ||
	    t->detail.row.birth != t->keys.sel.birth) {
		memset(&t->detail, 0, sizeof(t->detail));
		detail_read(t);
	}
	make_lines(t, &d);
	for (int i = 0; i < lines && (size_t)i < d.n; i++)
		draw_line(t, &d.line[i], y + i, x, width);
	free(d.line);
}

static void
detail_draw(struct top *t, int y, int lines)
{
	struct detail_text d = { .line = calloc(LINES_MAX, sizeof(*d.line)) };
	struct list_state *l = &t->detail_list;
	int cols = screen_cols(t->s);

	if (d.line == NULL)
		return;
	make_lines(t, &d);
	l->n = d.n;
	l->page = (size_t)lines;
	if (l->offset + l->page > d.n)
		l->offset = d.n > l->page ? d.n - l->page : 0;
	for (int i = 0; i < lines && l->offset + (size_t)i < d.n; i++)
		draw_line(t, &d.line[l->offset + (size_t)i], y + i, 0, cols);
	screen_cursor(t->s, y, 0);
	free(d.line);
}

const struct view_ops view_detail = {
	.name = "Detail",
	.where = IN_DETAIL,
	.open = detail_open,
	.read = detail_read,
	.draw = detail_draw,
	.key = detail_key,
};
