/*
 * batch.c - the dashboard without a screen: snapshots as text, or as one JSON
 * object a line, for scripts, logs and pipes.
 *
 * Rates a second need two readings: the first snapshot takes them FIRST_NS apart.
 */
#include "top.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define FIRST_NS UINT64_C(500000000)

static void
take_time(struct top *t)
{
	t->now.mono_ns = mono_now();
	t->now.shared_ns = t->now.beat_ns = ctx_now(t->ctx);
	t->now.wall_s = clock_unix(t->ctx->seg.policy, t->now.shared_ns) / 1000000000;
}

static void
rest(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000),
		.tv_nsec = (long)(ns % 1000000000) };

	while (nanosleep(&ts, &ts) != 0)
		;
}

/* ---- text ---- */

static const enum column text_columns[] = { COL_LIMIT, COL_USED, COL_USE, COL_LEFT, COL_ALLOW,
	COL_DENY, COL_RESET };
#define TEXT_COLUMNS (sizeof(text_columns) / sizeof(text_columns[0]))

static void
print_cell(enum column c, const char *text)
{
	printf(columns[c].numeric ? " %*s" : " %-*s", columns[c].width, text);
}

static void
print_row(const struct model_row *row)
{
	char text[KEY_TEXT_MAX + 16];

	key_text(row->row.key, row->row.key_len, text);
	printf("%-*s", columns[COL_KEY].width, text);
	for (size_t i = 0; i < TEXT_COLUMNS; i++) {
		column_text(row, text_columns[i], text, sizeof(text));
		print_cell(text_columns[i], text);
		if (text_columns[i] == COL_USE) {
			double use = column_number(row, COL_USE);

			printf(" %-4s", isnan(use) ? "" : use_sign(use));
		}
	}
	putchar('\n');
}

static void
print_text(struct top *t)
{
	const struct model *m = &t->model;
	char when[32] = "";
	time_t wall = (time_t)t->now.wall_s;
	struct tm tm;

	if (localtime_r(&wall, &tm) != NULL)
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S%z", &tm);
	printf("ration top  %s  %s  %s\n", t->ctx->paths.instance, t->daemon.up ? "LIVE" : "STALE",
	    when);
	printf("allow %.1f/s  deny %.1f/s  over %llu  keys %llu  idle %llu  segment %.1f%% full\n",
	    m->allow_s, m->deny_s, (unsigned long long)m->over, (unsigned long long)m->live,
	    (unsigned long long)m->idle, 100 * (double)m->live / (double)m->seg->nslots);
	printf("%-*s", columns[COL_KEY].width, columns[COL_KEY].header);
	for (size_t i = 0; i < TEXT_COLUMNS; i++) {
		print_cell(text_columns[i], columns[text_columns[i]].header);
		if (text_columns[i] == COL_USE)
			printf("     ");
	}
	putchar('\n');
	for (size_t i = 0; i < m->nentries; i++) {
		struct model_row row;

		if (model_row(m, i, t->now.shared_ns, &row))
			print_row(&row);
	}
}

/* ---- JSON ---- */

static json_t *
number_or_null(double v)
{
	return isnan(v) || isinf(v) ? json_null() : json_real(v);
}

static json_t *
units_or_null(uint64_t v)
{
	return v == RATION_UNLIMITED ? json_null() : json_integer((json_int_t)v);
}

static json_t *
row_json(const struct model_row *row)
{
	char key[KEY_TEXT_MAX], rate[96] = "";
	json_t *o = json_object();
	const ration_rate_t *r =
	    row->row.nrates > 0 ? &row->row.rates[row->row.deciding % RATION_RATES_MAX] : NULL;

	key_text(row->row.key, row->row.key_len, key);
	json_object_set_new(o, "key", json_string(key));
	json_object_set_new(o, "limit", json_string(row->limit));
	if (r != NULL) {
		ration_rate_text(r, rate, sizeof(rate));
		json_object_set_new(o, "rate", json_string(rate));
		json_object_set_new(o, "limit_units", units_or_null(r->limit_units));
		json_object_set_new(o, "used", json_integer((json_int_t)r->used));
		json_object_set_new(o, "remaining", units_or_null(r->remaining));
		json_object_set_new(o, "use_percent", number_or_null(column_number(row, COL_USE)));
		json_object_set_new(o, "reset_at", json_integer(r->reset_at));
	}
	json_object_set_new(
	    o, "allow_s", row->allow_s < 0 ? json_null() : json_real((double)row->allow_s));
	json_object_set_new(
	    o, "deny_s", row->deny_s < 0 ? json_null() : json_real((double)row->deny_s));
	json_object_set_new(o, "admitted_total", json_integer((json_int_t)row->row.admitted));
	json_object_set_new(o, "denied_total", json_integer((json_int_t)row->row.denied));
	return o;
}

static void
print_json(struct top *t)
{
	const struct model *m = &t->model;
	json_t *o = json_object(), *keys = json_array();

	json_object_set_new(o, "instance", json_string(t->ctx->paths.instance));
	json_object_set_new(o, "at", json_integer(t->now.wall_s));
	json_object_set_new(o, "daemon", json_boolean(t->daemon.up));
	json_object_set_new(o, "allow_s", number_or_null(m->allow_s));
	json_object_set_new(o, "deny_s", number_or_null(m->deny_s));
	json_object_set_new(o, "over", json_integer((json_int_t)m->over));
	json_object_set_new(o, "live", json_integer((json_int_t)m->live));
	json_object_set_new(o, "idle", json_integer((json_int_t)m->idle));
	json_object_set_new(o, "matched", json_integer((json_int_t)m->matched));
	json_object_set_new(o, "slots", json_integer((json_int_t)m->seg->nslots));
	for (size_t i = 0; i < m->nentries; i++) {
		struct model_row row;

		if (model_row(m, i, t->now.shared_ns, &row))
			json_array_append_new(keys, row_json(&row));
	}
	json_object_set_new(o, "keys", keys);
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

int
batch_run(struct top *t, const struct batch *b)
{
	t->model.want = b->rows;
	take_time(t);
	daemon_turn(t);
	model_refresh(&t->model, t->now.shared_ns, t->now.mono_ns, true);
	rest(FIRST_NS);
	for (unsigned long n = 0; b->count == 0 || n < b->count; n++) {
		if (n > 0)
			rest((uint64_t)(b->delay_s * 1e9));
		take_time(t);
		daemon_turn(t);
		model_refresh(&t->model, t->now.shared_ns, t->now.mono_ns, true);
		if (n > 0 && !t->ctx->json)
			putchar('\n');
		if (t->ctx->json)
			print_json(t);
		else
			print_text(t);
		/* A reader that went away is no failure of ours. */
		if (fflush(stdout) != 0 || ferror(stdout))
			break;
	}
	return EXIT_OK;
}
