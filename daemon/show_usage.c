/*
 * show_usage.c - the methods `usage` and `usage_page`: what was recorded.
 *
 * A key's usage is recorded before it is told, so that its figures are of this moment; totals
 * are as of the last round of recording.
 */
#include "rpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LAST_MAX (INT64_C(3660) * 86400)
#define PAGE_ROWS 1000

json_t *
json_history(struct history *h)
{
	struct history_status s;

	history_status(h, &s);
	return json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:f, s:o}", "off",
	    s.off, "every_s", (json_int_t)s.every_s, "keys", (json_int_t)s.entries, "keys_max",
	    (json_int_t)s.keys, "others", (json_int_t)s.others, "lost", (json_int_t)s.lost, "bytes",
	    (json_int_t)s.bytes, "oldest", s.oldest >= 0 ? json_integer(s.oldest) : json_null(),
	    "rounds", (json_int_t)s.rounds, "round_keys", (json_int_t)s.round_slots, "round_cpu_s",
	    (double)s.round_cpu_ns / 1e9, "round_at",
	    s.round_at > 0 ? json_integer(s.round_at) : json_null());
}

/* Buckets with anything in them; the others are zeros. */
static json_t *
series_json(
    const struct history_view *v, const struct history_series *s, const char *key, bool with_plan)
{
	json_t *starts = json_array(), *admitted = json_array(), *denied = json_array();
	json_int_t sum_admitted = 0, sum_denied = 0;

	for (size_t i = 0; i < v->n; i++) {
		if (s->admitted[i] == 0 && s->denied[i] == 0)
			continue;
		sum_admitted += s->admitted[i];
		sum_denied += s->denied[i];
		(void)json_array_append_new(starts, json_integer(v->from + (int64_t)i * v->step));
		(void)json_array_append_new(admitted, json_integer(s->admitted[i]));
		(void)json_array_append_new(denied, json_integer(s->denied[i]));
	}
	return json_pack("{s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "limit", json_any(s->limit),
	    "key", json_any(key), "plan",
	    with_plan && s->plan[0] != '\0' ? json_any(s->plan) : json_null(), "admitted",
	    sum_admitted, "denied", sum_denied, "starts", starts, "admitted_at", admitted,
	    "denied_at", denied);
}

static bool
by_parameter(struct call *c, enum history_by *by)
{
	const char *text = "limit";

	if (!call_text(c, "by", false, &text))
		return false;
	*by = strcmp(text, "plan") == 0 ? HISTORY_BY_PLAN : HISTORY_BY_LIMIT;
	return *by == HISTORY_BY_PLAN || strcmp(text, "limit") == 0
	    ? true
	    : call_fail(c, RPC_PARAMS, "by: expected \"limit\" or \"plan\"");
}

/* A limit of now, or one that was recorded once: its name is not checked. */
bool
show_usage(struct call *c)
{
	struct history *h = c->d->history;
	unsigned char key[RATION_KEY_MAX + 1];
	char text[KEY_TEXT];
	const char *limit = NULL;
	int64_t last_s = 86400;
	struct history_view v;
	enum history_by by;
	json_t *list;
	size_t len;
	bool ok;

	if (!call_key(c, false, key, &len) || !call_text(c, "limit", false, &limit) ||
	    !call_int(c, "last_s", 1, LAST_MAX, &last_s) || !by_parameter(c, &by))
		return false;
	if (len > 0)
		history_record_key(h, key, len);
	history_span(h, last_s, &v);
	ok = len > 0 ? history_key(h, key, len, limit, &v) : history_totals(h, by, limit, &v);
	list = json_array();
	key_text(key, len, text);
	for (size_t i = 0; ok && i < v.nseries; i++)
		(void)json_array_append_new(list,
		    series_json(
			&v, &v.series[i], len > 0 ? text : NULL, len > 0 || by == HISTORY_BY_PLAN));
	c->result = json_pack("{s:I, s:I, s:I, s:o}", "now", (json_int_t)keeper_now(&c->d->keeper),
	    "resolution_s", (json_int_t)v.step, "from", (json_int_t)v.from, "series", list);
	history_view_free(&v);
	return ok ? true : call_fail(c, RPC_INTERNAL, "usage: the store cannot be read");
}

/* ---- pages of rows ---- */

struct page {
	json_t *rows;
	size_t n;
};

static bool
page_row(void *arg, const struct usage_row *r, const struct usage_entry *e)
{
	struct page *p = arg;
	char key[KEY_TEXT] = "";

	if (p->n == PAGE_ROWS)
		return false;
	p->n++;
	if (e->kind == USAGE_KEY)
		key_text(e->key, e->key_len, key);
	(void)json_array_append_new(p->rows,
	    json_pack("{s:I, s:o, s:o, s:o, s:I, s:I}", "start", (json_int_t)r->start, "limit",
		json_any(e->limit), "key", e->kind == USAGE_KEY ? json_any(key) : json_null(),
		"plan", e->plan[0] != '\0' ? json_any(e->plan) : json_null(), "admitted",
		(json_int_t)r->admitted, "denied", (json_int_t)r->denied));
	return true;
}

bool
show_usage_page(struct call *c)
{
	int64_t from = 0, to = INT64_MAX / 2, resolution = usage_seconds[0];
	struct page p = { .rows = json_array() };
	struct history_place at = { 0 };
	const char *after = NULL;
	char next[64];
	unsigned level = 0;
	bool ok;

	c->result = json_pack("{s:o}", "rows", p.rows);
	if (!call_int(c, "from", 0, to, &from) || !call_int(c, "to", 0, to, &to) ||
	    !call_int(c, "resolution_s", 1, LAST_MAX, &resolution) ||
	    !call_text(c, "after", false, &after))
		return false;
	if (after != NULL &&
	    (sscanf(after, "%u:%" SCNd64 ":%" SCNd64, &at.step, &at.start, &at.id) != 3 ||
		at.step >= USAGE_LEVELS))
		return call_fail(c, RPC_PARAMS, "after: expected what a page said as next");
	while (level + 1 < USAGE_LEVELS && usage_seconds[level] < resolution)
		level++;
	from = usage_floor(level, from);
	ok = history_walk(c->d->history, level, from, to, &at, page_row, &p);
	(void)snprintf(next, sizeof(next), "%u:%" PRId64 ":%" PRId64, at.step, at.start, at.id);
	(void)json_object_set_new(c->result, "resolution_s", json_integer(usage_seconds[level]));
	(void)json_object_set_new(
	    c->result, "next", p.n == PAGE_ROWS ? json_string(next) : json_null());
	return ok ? true : call_fail(c, RPC_INTERNAL, "usage: the store cannot be read");
}
