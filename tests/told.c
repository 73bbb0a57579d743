#include "told.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char policy[] =
    "table: {keys: 4096}\n"
    "plans: [small, large]\n"
    "limits:\n"
    "  tokens: {per: month, plans: [100, 1000], notify: {at: {60: inform, 80: suggest an upgrade,"
    " 95: escalate, 100: paused}, remind: {80: 48h}}}\n"
    "  day: 100/day\n"
    "  off: {rates: 100/day, notify: []}\n"
    "  slide: {rates: 100/min, notify: [50, 100]}\n"
    "  bucket: {rates: 10/s burst 100, notify: [50]}\n"
    "  quiet: 100/min\n"
    "  mark: 1/day\n"
    "  many: {rates: [100/h fixed, 100/day, 100/month], notify: [10, 20, 30, 40, 50, 60, 70, 80]}\n"
    "defaults: {plan: small}\n";

struct told told;

static void
open_all(void)
{
	told.fd = watch(told.s);
	if (told.r == NULL)
		assert_int_equal(ration_open_dir(told.s->dir, NULL, 0, &told.r), 0);
}

void
told_start(void)
{
	start_with(told.s, (const char *const[]) { "--sandbox", NULL });
}

int
told_begin(void **state)
{
	if (setup(state) != 0)
		return -1;
	memset(&told, 0, sizeof(told));
	told.s = *state;
	put_file(told.s, "ration.yaml", policy);
	told_start();
	open_all();
	return 0;
}

int
told_end(void **state)
{
	ration_close(told.r);
	(void)close(told.fd);
	return teardown(state);
}

/* ---- events ---- */

json_t *
told_next(char *text, size_t size)
{
	for (;;) {
		json_t *j = get(told.fd), *p;
		const char *type;

		assert_non_null(j);
		p = json_object_get(j, "params");
		type = json_string_value(json_object_get(p, "type"));
		if (strcmp(type, "threshold") == 0 || strcmp(type, "reminder") == 0) {
			(void)snprintf(text, size, "%s %d %s %s", type,
			    (int)json_integer_value(json_object_get(p, "level")),
			    json_string_value(json_object_get(p, "limit")),
			    json_string_value(json_object_get(p, "key")));
			json_incref(p);
			json_decref(j);
			return p;
		}
		json_decref(j);
	}
}

void
told_expect(const char *want)
{
	char text[256];

	json_decref(told_next(text, sizeof(text)));
	assert_string_equal(text, want);
}

void
told_figure(const json_t *event, const char *name, json_int_t want)
{
	assert_int_equal(json_integer_value(json_object_get(event, name)), want);
}

void
told_take(const char *limit, const char *key, uint64_t cost)
{
	assert_int_equal(ration_acquire(told.r, limit, key, cost, NULL), RATION_ADMITTED);
}

void
told_nothing(void)
{
	char key[16], want[64];

	(void)snprintf(key, sizeof(key), "mark%u", told.marks++);
	told_take("mark", key, 1);
	for (unsigned i = 0; i < 4; i++) {
		static const int levels[] = { 60, 80, 95, 100 };

		(void)snprintf(want, sizeof(want), "threshold %d mark %s", levels[i], key);
		told_expect(want);
	}
}

json_int_t
told_status(const char *name)
{
	json_t *j = ok(told.s, "status", NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "thresholds"), name));

	json_decref(j);
	return n;
}

void
told_pause(long ms)
{
	const struct timespec p = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&p, NULL);
}

void
told_pass(void)
{
	json_int_t passes = told_status("passes");
	int64_t until = mono_ms() + WAIT_MS;

	json_decref(ok(told.s, "clock", "{'advance_ms':1}"));
	while (told_status("passes") == passes || told_status("waiting") > 0) {
		assert_true(mono_ms() < until);
		told_pause(10);
	}
}

void
told_clock(int64_t s)
{
	char params[64];

	(void)snprintf(params, sizeof(params), "{'advance_s':%lld}", (long long)s);
	json_decref(ok(told.s, "clock", params));
}

void
told_restart(int sig)
{
	(void)close(told.fd);
	assert_int_equal(stop(told.s, sig), sig == SIGKILL ? -SIGKILL : 0);
	told_start();
	told.fd = watch(told.s);
}

static int
first_int(void *out, int n, char **text, char **column)
{
	*(int *)out = text[0] != NULL ? atoi(text[0]) : -1;
	return 0;
}

int
told_ask(const char *sql)
{
	char path[256];
	int out = -1;
	sqlite3 *db;

	path_in(told.s, "default.db", path, sizeof(path));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, first_int, &out, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return out;
}

/* The clock of a segment without rationd. */