/*
 * test_model.c - the list of keys over a real segment and policy, without rationd.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "filter.h"
#include "model.h"

#define SECOND UINT64_C(1000000000)

static const char policy_text[] = "table: {keys: 4k}\n"
				  "plans: [starter, growth]\n"
				  "limits:\n"
				  "  login: 100/min\n"
				  "  api: [300/min, 30/s]\n"
				  "  free: unlimited\n"
				  "  watched: {rates: [10/min], mode: observe}\n"
				  "assign: {\"user:ann\": growth}\n";

struct world {
	char dir[64], file[128];
	struct paths paths;
	struct segment seg; /* read-only, as a watcher has it */
	struct segment owner;
	struct clock clock;
	ration_t *r;
};

static void
policy_write(struct world *w, struct config *c, uint32_t cells)
{
	struct mistakes m = { 0 };
	uint32_t version;
	struct timespec now;
	void *area;

	clock_gettime(CLOCK_REALTIME, &now);
	area = policy_begin(w->owner.policy, &version);
	if (config_compile(c, NULL, 0, NULL, cells, now.tv_sec, area, w->owner.policy->area_bytes,
		version, &m))
		fail_msg("%s", m.n ? m.text[0] : "no reason");
	policy_publish(w->owner.policy, version);
}

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct mistakes m = { 0 };
	struct config_table table;
	struct segment_size size;
	struct config *c;
	char err[256] = "";
	FILE *f;

	strcpy(w->dir, "/dev/shm/ration-model-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->file, sizeof(w->file), "%s/ration.yaml", w->dir);
	f = fopen(w->file, "w");
	assert_non_null(f);
	fputs(policy_text, f);
	fclose(f);
	if (config_load(w->file, &c, &m))
		fail_msg("%s", m.n ? m.text[0] : "no reason");
	config_table(c, &table);
	size = (struct segment_size) { table.keys, table.cells, table.policy_bytes };
	assert_int_equal(paths_find("model", w->dir, true, &w->paths), 0);
	if (segment_create(&w->paths, &size, (unsigned)-1, &w->owner, err, sizeof(err)))
		fail_msg("%s", err);
	policy_write(w, c, table.cells);
	config_free(c);
	assert_int_equal(segment_attach(&w->paths, false, &w->seg), 0);
	assert_int_equal(ration_open_dir(w->dir, "model", 0, &w->r), 0);
	clock_init(&w->clock);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	ration_close(w->r);
	segment_detach(&w->seg);
	segment_detach(&w->owner);
	unlink(w->paths.counters);
	unlink(w->paths.policy);
	unlink(w->paths.holders);
	unlink(w->paths.lock);
	unlink(w->file);
	rmdir(w->dir);
	free(w);
	return 0;
}

static uint64_t
now(struct world *w)
{
	return clock_precise(&w->clock, w->seg.policy);
}

static void
take(struct world *w, const char *limit, const char *key, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (ration_acquire(w->r, limit, key, 1, NULL) < 0)
			fail_msg("%s %s", limit, key);
}

static void
refresh(struct world *w, struct model *m, uint64_t mono_s)
{
	assert_true(model_refresh(m, now(w), mono_s * SECOND, true));
}

static const char *
shown(const struct model_row *r, enum column c)
{
	static char buf[KEY_TEXT_MAX];

	column_text(r, c, buf, sizeof(buf));
	return buf;
}

static const char *
key_at(struct world *w, const struct model *m, size_t i)
{
	struct model_row row;

	return model_row(m, i, now(w), &row) ? shown(&row, COL_KEY) : "(gone)";
}

static void
test_order(void **state)
{
	struct world *w = *state;
	struct model m;
	struct model_row row;

	take(w, "login", "user:ann", 94);
	take(w, "login", "user:bob", 120);
	take(w, "login", "user:cid", 10);
	take(w, "free", "user:dan", 5);
	assert_int_equal(model_init(&m, &w->seg, false), 0);
	m.want = SIZE_MAX;
	refresh(w, &m, 1);
	assert_int_equal(m.live, 4);
	assert_int_equal(m.matched, 4);
	assert_int_equal(m.nentries, 4);
	assert_string_equal(key_at(w, &m, 0), "user:bob");
	assert_string_equal(key_at(w, &m, 1), "user:ann");
	assert_string_equal(key_at(w, &m, 2), "user:cid");
	assert_string_equal(key_at(w, &m, 3), "user:dan"); /* no limit: last either way */
	assert_true(model_row(&m, 0, now(w), &row));
	assert_string_equal(shown(&row, COL_USED), "100/100");
	assert_int_equal(row.row.denied, 20);
	assert_int_equal(row.row.admitted, 100);
	assert_string_equal(row.limit, "login");
	assert_true(row.allow_s < 0); /* one look knows no rates */
	assert_true(model_row(&m, 1, now(w), &row));
	assert_string_equal(row.plan, "growth");
	m.invert = true;
	refresh(w, &m, 2);
	assert_string_equal(key_at(w, &m, 0), "user:cid");
	assert_string_equal(key_at(w, &m, 3), "user:dan");
	m.invert = false;
	m.sort = COL_KEY;
	refresh(w, &m, 3);
	assert_string_equal(key_at(w, &m, 0), "user:ann");
	assert_string_equal(key_at(w, &m, 3), "user:dan");
	m.sort = COL_LIMIT;
	refresh(w, &m, 4);
	assert_string_equal(key_at(w, &m, 0), "user:dan");
	m.sort = COL_USE;
	m.want = 2;
	refresh(w, &m, 5);
	assert_int_equal(m.nentries, 2);
	assert_int_equal(m.matched, 4);
	assert_string_equal(key_at(w, &m, 0), "user:bob");
	assert_string_equal(key_at(w, &m, 1), "user:ann");
	m.count_over = true;
	refresh(w, &m, 6);
	assert_int_equal(m.over, 1);
	model_free(&m);
}

/* A limit that has become an entitlement: what its keys had used is nothing to list. */
static void
test_values(void **state)
{
	static const char text[] =
	    "table: {keys: 4k}\nlimits: {login: {value: 1h}, api: 300/min}\n";
	struct world *w = *state;
	struct mistakes m = { 0 };
	struct config *c;
	struct model model;
	FILE *f;

	take(w, "login", "user:ann", 9);
	take(w, "api", "user:bob", 2);
	f = fopen(w->file, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	if (config_load(w->file, &c, &m))
		fail_msg("%s", m.text[0]);
	policy_write(w, c, w->owner.cells);
	config_free(c);
	assert_int_equal(model_init(&model, &w->seg, false), 0);
	model.want = SIZE_MAX;
	refresh(w, &model, 1);
	assert_int_equal(model.live, 2);
	assert_int_equal(model.nentries, 1);
	assert_string_equal(key_at(w, &model, 0), "user:bob");
	model_free(&model);
}

/* The first N of a heap are those of a full sort, for every column. */
static void
test_heap(void **state)
{
	struct world *w = *state;
	struct model all, some;
	unsigned seed = 20261122;
	char key[32];

	print_message("seed %u\n", seed);
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof(key), "key:%d", rand_r(&seed) % 100000);
		take(w, i % 3 ? "login" : "api", key, 1 + (unsigned)rand_r(&seed) % 110);
	}
	assert_int_equal(model_init(&all, &w->seg, false), 0);
	assert_int_equal(model_init(&some, &w->seg, false), 0);
	all.want = SIZE_MAX;
	for (enum column c = 0; c < COL_COUNT; c++) {
		all.sort = some.sort = c;
		all.invert = some.invert = c % 2;
		some.want = 17;
		if (c == COL_RESET || c == COL_RETRY)
			continue; /* they move from one scan to the next */
		/* api's 30/s comes back meanwhile: only what does not move is compared. */
		all.limit_id = some.limit_id = 0;
		refresh(w, &all, 1 + 2 * c);
		refresh(w, &some, 2 + 2 * c);
		assert_int_equal(some.nentries, 17);
		for (size_t i = 0; i < 17; i++)
			if (some.entries[i].slot != all.entries[i].slot)
				fail_msg("column %s, place %zu", columns[c].name, i);
	}
	model_free(&all);
	model_free(&some);
}

static void
test_filter(void **state)
{
	struct world *w = *state;
	struct model m;
	char err[200];
	struct filter *f = filter_parse("limit:login use>50 | key:dan", err, sizeof(err));

	take(w, "login", "user:ann", 94);
	take(w, "login", "user:cid", 10);
	take(w, "free", "user:dan", 5);
	take(w, "api", "user:eve", 25);
	assert_int_equal(model_init(&m, &w->seg, false), 0);
	m.filter = f;
	refresh(w, &m, 1);
	assert_int_equal(m.live, 4);
	assert_int_equal(m.matched, 2);
	assert_string_equal(key_at(w, &m, 0), "user:ann");
	assert_string_equal(key_at(w, &m, 1), "user:dan");
	m.filter = NULL;
	filter_free(f);
	/* Totals alone are looked at: the same answer. */
	f = filter_parse("admitted>20 !limit:login", err, sizeof(err));
	m.filter = f;
	m.sort = COL_ADMITTED;
	refresh(w, &m, 2);
	assert_int_equal(m.nentries, 1);
	assert_string_equal(key_at(w, &m, 0), "user:eve");
	filter_free(f);
	model_free(&m);
}

static void
test_rates(void **state)
{
	struct world *w = *state;
	struct model m;
	struct model_row row;
	uint64_t slot, birth;

	take(w, "login", "user:ann", 90);
	assert_int_equal(model_init(&m, &w->seg, true), 0);
	refresh(w, &m, 100);
	assert_false(m.rates_known);
	assert_true(m.entries[0].allow_s < 0);
	take(w, "login", "user:ann", 30); /* 10 admitted, 20 denied */
	take(w, "login", "user:bob", 4);  /* new since then */
	refresh(w, &m, 102);
	assert_true(m.rates_known);
	assert_true(model_find(&m, "login", "user:ann", 8, &slot, &birth));
	assert_int_equal(model_index(&m, slot, birth), 0);
	assert_true(model_row_of(&m, slot, birth, now(w), &row));
	assert_float_equal(row.allow_s, 5, 0.001);
	assert_float_equal(row.deny_s, 10, 0.001);
	assert_int_equal(row.last_s, 0);
	assert_float_equal(m.entries[1].allow_s, 2, 0.001);
	assert_float_equal(m.allow_s, 7, 0.001);
	assert_float_equal(m.deny_s, 10, 0.001);
	refresh(w, &m, 105);
	assert_float_equal(m.entries[0].allow_s, 0, 0.001);
	assert_int_equal(m.entries[0].last_s, 3);
	/* Denied without a slot: a key over its limit by cost alone takes none. */
	assert_int_equal(ration_acquire(w->r, "login", "user:new", 101, NULL), RATION_DENIED);
	refresh(w, &m, 106);
	assert_int_equal(m.live, 2);
	assert_float_equal(m.deny_s, 1, 0.001);
	assert_false(model_find(&m, "login", "user:new", 8, &slot, &birth));
	assert_false(model_find(&m, "nolimit", "user:ann", 8, &slot, &birth));
	model_free(&m);
}

/* Cursor moved: places stay, figures move; a key that left the order is still there. */
static void
test_hold_and_pin(void **state)
{
	struct world *w = *state;
	struct model m;
	struct model_row row;
	uint64_t slot, birth;

	take(w, "login", "user:ann", 50);
	take(w, "login", "user:bob", 20);
	take(w, "login", "user:cid", 1);
	assert_int_equal(model_init(&m, &w->seg, true), 0);
	m.want = 2;
	assert_true(model_find(&m, "login", "user:cid", 8, &slot, &birth));
	m.pinned = true;
	m.pin.slot = (uint32_t)slot;
	m.pin.birth = (uint32_t)birth;
	refresh(w, &m, 10);
	m.hold_ns = 15 * SECOND;
	take(w, "login", "user:bob", 60);
	take(w, "login", "user:cid", 2);
	refresh(w, &m, 12);
	assert_string_equal(key_at(w, &m, 0), "user:ann");
	assert_string_equal(key_at(w, &m, 1), "user:bob");
	assert_float_equal(m.entries[1].allow_s, 30, 0.001);
	assert_int_equal(model_index(&m, slot, birth), -1);
	assert_true(model_row_of(&m, slot, birth, now(w), &row));
	assert_float_equal(row.allow_s, 1, 0.001);
	refresh(w, &m, 16);
	assert_string_equal(key_at(w, &m, 0), "user:bob");
	/* Another life of the slot is another key. */
	assert_false(model_row_of(&m, slot, birth + 1, now(w), &row));
	assert_true(row.gone);
	model_free(&m);
}

static void
test_idle(void **state)
{
	struct world *w = *state;
	struct model m;

	take(w, "login", "user:ann", 5);
	take(w, "free", "user:dan", 5);
	assert_int_equal(model_init(&m, &w->seg, true), 0);
	m.hide_idle = true;
	refresh(w, &m, 10);
	refresh(w, &m, 12); /* dan's totals rest, and an unlimited limit uses nothing up */
	assert_int_equal(m.matched, 1);
	assert_int_equal(m.idle, 1);
	assert_string_equal(key_at(w, &m, 0), "user:ann");
	take(w, "free", "user:dan", 1);
	refresh(w, &m, 14);
	assert_int_equal(m.matched, 2);
	refresh(w, &m, 16);
	assert_int_equal(m.idle, 1);
	model_free(&m);
}

/* At most once a second, and not more than a tenth of the time. */
static void
test_pace(void **state)
{
	struct world *w = *state;
	struct model m;

	assert_int_equal(model_init(&m, &w->seg, false), 0);
	assert_true(model_refresh(&m, now(w), 10 * SECOND, false));
	assert_false(model_refresh(&m, now(w), 10 * SECOND + SECOND / 2, false));
	m.scan_took_ns = 0;
	assert_true(model_refresh(&m, now(w), 11 * SECOND, false));
	m.scan_took_ns = SECOND;
	assert_false(model_refresh(&m, now(w), 20 * SECOND, false));
	assert_true(model_refresh(&m, now(w), 21 * SECOND, false));
	model_free(&m);
}

/* A row amounts to the decision that a peek gives, and the key's text is the JSON's. */
static void
test_decision(void **state)
{
	struct world *w = *state;
	ration_decision_t d, peek = RATION_DECISION_INIT;
	struct model_row row;
	uint64_t slot, birth;
	struct model m;
	static const char *const limits[] = { "login", "free", "watched" };

	take(w, "login", "k", 120);
	take(w, "free", "k", 12);
	take(w, "watched", "k", 12);
	assert_int_equal(model_init(&m, &w->seg, false), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_true(model_find(&m, limits[i], "k", 1, &slot, &birth));
		assert_true(model_row_of(&m, slot, birth, now(w), &row));
		model_decision(&row, &d);
		assert_true(ration_peek(w->r, limits[i], "k", 1, &peek) >= 0);
		assert_int_equal(d.verdict, peek.verdict);
		assert_int_equal(d.limit_units, peek.limit_units);
		assert_int_equal(d.used, peek.used);
		assert_int_equal(d.remaining, peek.remaining);
		assert_int_equal(d.flags, peek.flags);
		assert_in_range(d.retry_at - peek.retry_at + 1, 0, 2);
		assert_int_equal(d.level, peek.level);
	}
	model_free(&m);
}

/* Every byte is shown in JSON and on the screen alike. */
static void
test_key_text(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	char text[KEY_TEXT_MAX], json[4096], expected[4096];
	unsigned char key[255];
	size_t n, o = 0;

	for (unsigned i = 0; i < 255; i++)
		key[i] = (unsigned char)(i + 1);
	n = key_text(key, sizeof(key), text);
	for (size_t i = 0; i < n; i++) { /* as JSON writes it */
		if (text[i] == '\\' || text[i] == '"')
			expected[o++] = '\\';
		expected[o++] = text[i];
	}
	expected[o] = 0;
	assert_true(ration_decision_json(NULL, &d, key, sizeof(key), json, sizeof(json)) > 0);
	if (!strstr(json, expected))
		fail_msg("%s\n%s", json, expected);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_values, setup, teardown),
		cmocka_unit_test_setup_teardown(test_heap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_filter, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rates, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hold_and_pin, setup, teardown),
		cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_decision, setup, teardown),
		cmocka_unit_test(test_key_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
