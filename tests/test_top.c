/*
 * test_top.c - the dashboard's screens, drawn for real by curses into a file and read back,
 * over a model whose rows the test makes up.
 *
 * The model's functions are replaced at link time (--wrap), so that rows, rates
 * and time are the test's own.  Golden frames stand in tests/golden/; to write
 * them anew run with RATION_GOLDEN_WRITE=1 and read the difference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <locale.h>
#include <time.h>
#include <cmocka.h>

#include "top.h"

#define NKEYS 12
#define NOW_S 1778649622 /* 2026-05-13 05:20:22 UTC */
#define SHARED_NS UINT64_C(5000000000000)

static const char *golden_dir;

/* ---- the model that the test owns ---- */

struct fake_key {
	const char *key;
	size_t len;
	const char *limit;
	uint64_t used, units;
	float allow_s, deny_s;
	int reset_s;
	const char *plan;
};

#define KEY(text) (text), sizeof(text) - 1
static const struct fake_key fake_keys[NKEYS] = {
	{ KEY("ip:203.0.113.9"), "login", 100, 100, 0, 41.2F, 38, "" },
	{ KEY("ip:198.51.100.77"), "login", 97, 100, 1.6F, 0, 12, "" },
	{ KEY("user:ann"), "login", 188, 200, 2, 0.3F, 51, "growth" },
	{ KEY("\033]0;pwned\a\033[2J\033[31mred"), "api", 250, 300, 4, 0, 44, "" },
	{ KEY("key with spaces\n"), "api", 210, 300, 4, 0, 3, "" },
	{ KEY("caf\303\251 \342\200\256evil"), "api", 180, 300, 3, 0, 59, "" },
	{ KEY("clinic:7"), "llm.tokens", 1250000, 2500000, 812, 0, 1296000, "growth" },
	{ KEY("clinic:77-with-a-name-that-is-far-too-long-for-any-column-of-the-screen"),
	    "llm.tokens", 900000, 40000000, 12, 0, 1296000, "custom" },
	{ KEY("sk_1"), "api.get", 3, 60, 0.1F, 0, 20, "starter" },
	{ KEY("sk_2"), "api.get", 2, 60, 0.1F, 0, 21, "starter" },
	{ KEY("sk_3"), "api.get", 1, 60, 0, 0, 22, "starter" },
	{ KEY("sk_4"), "api.get", 0, 60, 0, 0, 0, "starter" },
};

static struct {
	int order[NKEYS]; /* what stands in each place at the next scan */
	int n;
	uint64_t gone; /* bit: the key left the table */
	uint64_t more; /* added to every used */
	int scans;
	bool leases; /* sk_1's limit is of leases */
	struct segment seg;
} fake;

int __wrap_model_init(struct model *m, const struct segment *seg, bool rates);
void __wrap_model_free(struct model *m);
bool __wrap_model_refresh(struct model *m, uint64_t now_ns, uint64_t mono_ns, bool force);
bool __wrap_model_row(const struct model *m, size_t i, uint64_t now_ns, struct model_row *out);
bool __wrap_model_row_of(
    const struct model *m, uint64_t slot, uint64_t birth, uint64_t now_ns, struct model_row *out);
int64_t __wrap_model_index(const struct model *m, uint64_t slot, uint64_t birth);
bool __wrap_model_find(const struct model *m, const char *limit, const void *key, size_t len,
    uint64_t *slot, uint64_t *birth);

int
__wrap_model_init(struct model *m, const struct segment *seg, bool rates)
{
	memset(m, 0, sizeof(*m));
	m->seg = seg;
	m->entries = calloc(NKEYS, sizeof(*m->entries));
	m->sort = COL_USE;
	m->want = 64;
	m->limit_id = -1;
	return 0;
}

void
__wrap_model_free(struct model *m)
{
	free(m->entries);
	memset(m, 0, sizeof(*m));
}

static void
fake_row(int k, struct model_row *out)
{
	const struct fake_key *f = &fake_keys[k];
	ration_rate_t *r = &out->row.rates[0];

	memset(out, 0, sizeof(*out));
	out->row.slot = (uint64_t)k;
	out->row.birth = 7;
	out->row.key_len = (uint8_t)f->len;
	memcpy(out->row.key, f->key, f->len);
	out->row.nrates = 1;
	out->row.admitted = f->used * 10;
	out->row.denied = (uint64_t)(f->deny_s * 100);
	out->gone = (fake.gone >> k & 1) != 0;
	out->now_s = NOW_S;
	out->allow_s = f->allow_s;
	out->deny_s = f->deny_s;
	out->last_s = 1;
	snprintf(out->limit, sizeof(out->limit), "%s", f->limit);
	snprintf(out->plan, sizeof(out->plan), "%s", f->plan);
	r->kind = f->units > 100000 ? RATION_MONTH : RATION_SLIDING;
	r->limit_units = r->rate_units = f->units;
	r->used = f->used + fake.more;
	r->remaining = r->used < f->units ? f->units - r->used : 0;
	r->window_ns = (f->units > 100000 ? UINT64_C(31) * 86400 : 60) * UINT64_C(1000000000);
	r->reset_at = NOW_S + f->reset_s;
	r->retry_at = r->remaining > 0 ? 0 : NOW_S + 4;
	if (fake.leases && strcmp(f->key, "sk_1") == 0) {
		r->kind = RATION_CONCURRENT;
		r->window_ns = 0;
	}
}

bool
__wrap_model_refresh(struct model *m, uint64_t now_ns, uint64_t mono_ns, bool force)
{
	m->live = NKEYS;
	m->rates_known = true;
	m->over_known = true;
	m->over = 1;
	m->allow_s = 48211;
	m->deny_s = 1902;
	m->scans++;
	m->scan_mono_ns = mono_ns;
	fake.scans++;
	if (mono_ns < m->hold_ns)
		return true;
	m->nentries = 0;
	m->matched = 0;
	for (int i = 0; i < fake.n; i++) {
		struct entry *e = &m->entries[m->nentries];
		struct model_row row;

		fake_row(fake.order[i], &row);
		if (row.gone || (m->filter != NULL && !filter_match(m->filter, &row)))
			continue;
		memset(e, 0, sizeof(*e));
		e->slot = (uint32_t)fake.order[i];
		e->birth = 7;
		m->nentries++;
		m->matched++;
	}
	return true;
}

bool
__wrap_model_row(const struct model *m, size_t i, uint64_t now_ns, struct model_row *out)
{
	fake_row((int)m->entries[i].slot, out);
	return !out->gone;
}

bool
__wrap_model_row_of(
    const struct model *m, uint64_t slot, uint64_t birth, uint64_t now_ns, struct model_row *out)
{
	assert_true(slot < NKEYS);
	fake_row((int)slot, out);
	return !out->gone;
}

int64_t
__wrap_model_index(const struct model *m, uint64_t slot, uint64_t birth)
{
	for (size_t i = 0; i < m->nentries; i++) {
		if (m->entries[i].slot == slot && m->entries[i].birth == birth)
			return (int64_t)i;
	}
	return -1;
}

bool
__wrap_model_find(const struct model *m, const char *limit, const void *key, size_t len,
    uint64_t *slot, uint64_t *birth)
{
	return false;
}

/* ---- a dashboard over it ---- */

struct stage {
	struct top t;
	struct ctx ctx;
	FILE *in;
	FILE *out;
};

static void
set_screen(struct stage *st, int lines, int cols, bool ascii)
{
	char text[16];

	screen_close(st->t.s);
	snprintf(text, sizeof(text), "%d", lines);
	setenv("LINES", text, 1);
	snprintf(text, sizeof(text), "%d", cols);
	setenv("COLUMNS", text, 1);
	st->t.s = screen_open("xterm", st->in, st->out, ascii);
	assert_non_null(st->t.s);
	assert_int_equal(screen_lines(st->t.s), lines);
	assert_int_equal(screen_cols(st->t.s), cols);
}

static struct stage *
stage_open(int lines, int cols, bool ascii)
{
	struct stage *st = calloc(1, sizeof(*st));

	fake.n = NKEYS;
	fake.gone = fake.more = 0;
	for (int i = 0; i < NKEYS; i++)
		fake.order[i] = i;
	fake.seg.nslots = 64;
	st->in = fopen("/dev/null", "r");
	st->out = tmpfile();
	assert_non_null(st->in);
	assert_non_null(st->out);
	st->t.ctx = &st->ctx;
	snprintf(st->ctx.paths.instance, sizeof(st->ctx.paths.instance), "web-01");
	model_init(&st->t.model, &fake.seg, true);
	st->t.events = calloc(EVENTS_KEPT, sizeof(*st->t.events));
	st->t.view = st->t.back = st->t.before_detail = &view_keys;
	st->t.daemon.calls.fd = st->t.daemon.watch.fd = -1;
	st->t.daemon.up = st->t.daemon.may_change = true;
	st->t.daemon.uptime_s = 12 * 86400 + 3 * 3600 + 77;
	st->t.interval_ns = UINT64_C(2000000000);
	st->t.now = (struct moment) { .mono_ns = UINT64_C(100000000000),
		.shared_ns = SHARED_NS,
		.beat_ns = SHARED_NS,
		.wall_s = NOW_S };
	st->t.daemon.status_ns = st->t.now.mono_ns;
	set_screen(st, lines, cols, ascii);
	top_read(&st->t, READ_NOW);
	frame_draw(&st->t);
	return st;
}

static void
stage_close(struct stage *st)
{
	screen_close(st->t.s);
	for (size_t i = 0; i < nviews; i++) {
		if (views[i]->done != NULL)
			views[i]->done(&st->t);
	}
	edit_forget(&st->t);
	model_free(&st->t.model);
	filter_free(st->t.filter);
	free(st->t.events);
	fclose(st->in);
	fclose(st->out);
	free(st);
}

static void
press(struct stage *st, const char *keys)
{
	for (; *keys != '\0'; keys++)
		top_key(&st->t, (unsigned char)*keys);
	/* A reading that was asked for and is to be made soon. */
	if (st->t.read_soon) {
		st->t.now.mono_ns = st->t.next_read_ns;
		top_read(&st->t, READ_NOW);
	}
	frame_draw(&st->t);
}

/* Seconds pass; a reading is made. */
static void
pass(struct stage *st, unsigned s)
{
	st->t.now.mono_ns += s * UINT64_C(1000000000);
	if (!st->t.paused)
		top_read(&st->t, READ_DUE);
	frame_draw(&st->t);
}

static void
line_of(struct stage *st, int y, char *buf, size_t size)
{
	screen_line(st->t.s, y, buf, size);
}

static int
find_line(struct stage *st, const char *text)
{
	char line[4096];

	for (int y = 0; y < screen_lines(st->t.s); y++) {
		line_of(st, y, line, sizeof(line));
		if (strstr(line, text) != NULL)
			return y;
	}
	return -1;
}

static void
assert_cursor(struct stage *st, int y)
{
	int cy, cx;

	screen_cursor_at(st->t.s, &cy, &cx);
	assert_int_equal(cy, y);
}

static void
frame_text(struct stage *st, FILE *out)
{
	char line[4096];
	int y, x;

	for (int i = 0; i < screen_lines(st->t.s); i++) {
		line_of(st, i, line, sizeof(line));
		fprintf(out, "%s\n", line);
	}
	screen_cursor_at(st->t.s, &y, &x);
	fprintf(out, "cursor %d %d\n", y, x);
}

static void
golden(struct stage *st, const char *name)
{
	char path[1024], *got = NULL, *want = calloc(1, 1 << 16);
	size_t size = 0;
	FILE *f = open_memstream(&got, &size);

	frame_text(st, f);
	fclose(f);
	snprintf(path, sizeof(path), "%s/%s.txt", golden_dir, name);
	if (getenv("RATION_GOLDEN_WRITE") != NULL) {
		f = fopen(path, "w");
		assert_non_null(f);
		fputs(got, f);
		fclose(f);
	}
	f = fopen(path, "r");
	if (f != NULL) {
		if (fread(want, 1, (1 << 16) - 1, f) == 0)
			want[0] = '\0';
		fclose(f);
	}
	if (strcmp(got, want) != 0)
		fprintf(stderr, "%s differs.\n--- drawn\n%s--- expected\n%s", path, got, want);
	assert_true(strcmp(got, want) == 0);
	free(got);
	free(want);
}

/* ---- frames ---- */

static void
test_golden_keys(void **state)
{
	static const struct {
		int lines, cols;
		bool ascii;
		const char *name;
	} sizes[] = { { 24, 80, false, "keys-80x24" }, { 40, 140, false, "keys-140x40" },
		{ 40, 140, true, "keys-140x40-ascii" }, { 15, 60, false, "keys-60x15" },
		{ 8, 40, false, "keys-40x8" }, { 3, 40, false, "keys-40x3" },
		{ 1, 12, false, "keys-12x1" } };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct stage *st = stage_open(sizes[i].lines, sizes[i].cols, sizes[i].ascii);

		golden(st, sizes[i].name);
		stage_close(st);
	}
}

static void
test_golden_states(void **state)
{
	struct stage *st = stage_open(24, 80, false);

	press(st, "jj\r");
	golden(st, "detail-80x24");
	press(st, "\033");
	st->t.daemon.up = false;
	press(st, "/use>60\r");
	golden(st, "filter-stale-80x24");
	press(st, "/use>>\r");
	golden(st, "filter-wrong-80x24");
	press(st, "\033\\p");
	golden(st, "paused-80x24");
	stage_close(st);
}

/* What is held has no reset: it comes back when it is released. */
static void
test_golden_leases(void **state)
{
	struct stage *st;

	fake.leases = true;
	st = stage_open(24, 140, false);
	press(st, "/algo:leases\r");
	golden(st, "leases-140x24");
	press(st, "\r");
	golden(st, "leases-detail-140x24");
	stage_close(st);
	fake.leases = false;
}

static void
fill_dialog(struct stage *st)
{
	struct dialog *d = &st->t.dialog;

	memset(d, 0, sizeof(*d));
	snprintf(d->limit, sizeof(d->limit), "login");
	snprintf(d->key, sizeof(d->key), "user:ann");
	snprintf(d->plan, sizeof(d->plan), "growth");
	snprintf(d->current[SCOPE_KEY], RATES_TEXT_MAX, "200/min");
	snprintf(d->current[SCOPE_PLAN], RATES_TEXT_MAX, "200/min");
	snprintf(d->current[SCOPE_LIMIT], RATES_TEXT_MAX, "100/min");
	d->touches[SCOPE_KEY] = 1;
	d->touches[SCOPE_PLAN] = 412;
	d->touches[SCOPE_LIMIT] = 90210;
	d->now[0].units = 188;
	d->now[0].window_ns = UINT64_C(60000000000);
	d->nnow = 1;
	d->generation = 5;
	dialog_open(d, DIALOG_EDIT);
	st->t.dialog_open = true;
}

static void
test_golden_dialog(void **state)
{
	struct stage *st = stage_open(24, 80, false);

	fill_dialog(st);
	press(st, "");
	golden(st, "edit-80x24");
	press(st, "150/min\t\ty\t"); /* y is typed into "For" */
	golden(st, "edit-over-80x24");
	set_screen(st, 8, 40, true);
	press(st, "");
	golden(st, "edit-40x8");
	stage_close(st);
}

static void
test_golden_lists(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	struct limit_line *l = calloc(LIMITS_MAX, sizeof(*l));

	st->t.limits = l;
	st->t.nlimits = 2;
	l[0] = (struct limit_line) { .id = 3,
		.name = "login",
		.rates = "100/min",
		.origin = "ration.yaml:12",
		.denied_nokey = 77 };
	l[1] = (struct limit_line) { .id = 5,
		.name = "api",
		.rates = "300/min, 30/s",
		.mode = MODE_OBSERVE,
		.observed = 12345 };
	st->t.model.limits[3].keys = 90210;
	st->t.model.limits[3].over = 37;
	st->t.model.limits[3].deny_s = 41.2F;
	press(st, "2j");
	golden(st, "limits-80x24");
	st->t.nevents = 1;
	st->t.events[0].when = NOW_S - 60;
	snprintf(st->t.events[0].text, sizeof(st->t.events[0].text),
	    "set api\033[2J 300/min -> 350/min");
	press(st, "5");
	golden(st, "events-80x24");
	st->t.audit = json_pack("[{s:i,s:I,s:s,s:s,s:s,s:s,s:s,s:s}, {s:i,s:I,s:s,s:s,s:s}]", "id",
	    1, "when", (json_int_t)NOW_S - 90, "who", "ann", "action", "set", "target", "api",
	    "old", "300/min", "new", "350/min", "reason", "load\033[1m test", "id", 2, "when",
	    (json_int_t)NOW_S - 80, "who", "bob", "action", "reset", "target", "api user:8");
	press(st, "6");
	golden(st, "audit-80x24");
	stage_close(st);
}

/* ---- behaviour ---- */

static void
test_selection_is_a_key(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	char line[512];

	press(st, "jj");
	line_of(st, find_line(st, ">"), line, sizeof(line));
	assert_non_null(strstr(line, "> user:ann"));
	assert_cursor(st, find_line(st, "> user:ann"));
	/* Moving holds the order for 3 s. */
	for (int i = 0; i < NKEYS; i++)
		fake.order[i] = NKEYS - 1 - i;
	pass(st, 2);
	assert_int_equal(find_line(st, "> user:ann"), 6);
	/* Then it moves, and the selection with it. */
	pass(st, 2);
	assert_int_equal(find_line(st, "> user:ann"), 4 + NKEYS - 1 - 2);
	assert_cursor(st, 4 + NKEYS - 1 - 2);
	/* On a screen on which its new place is not seen the list follows it; resizing does not
	 * lose it. */
	set_screen(st, 8, 40, false);
	press(st, "");
	assert_true(find_line(st, "> user:ann") >= 0);
	assert_cursor(st, find_line(st, "> user:ann"));
	set_screen(st, 2, 10, false);
	press(st, "");
	set_screen(st, 24, 80, false);
	press(st, "");
	assert_cursor(st, find_line(st, "> user:ann"));
	/* Gone: nothing else is selected in its place without being said. */
	fake.gone = 1 << 2;
	pass(st, 4);
	assert_true(find_line(st, "user:ann is no longer in the table") == 23);
	stage_close(st);
}

static void
test_top_follows_nothing_unasked(void **state)
{
	struct stage *st = stage_open(8, 40, false);

	/* Nobody moved: the list stays at the top although the first key sank. */
	for (int i = 0; i < NKEYS; i++)
		fake.order[i] = (i + 1) % NKEYS;
	pass(st, 4);
	assert_int_equal(find_line(st, "ip:198.51.100.77"), 2);
	assert_int_equal(find_line(st, "203.0.113.9"), -1);
	/* The next movement goes to what is seen. */
	press(st, "j");
	assert_int_equal(
	    find_line(st, "> ip:198.51.100.77") >= 0 || find_line(st, "> user:ann") >= 0, 1);
	stage_close(st);
}

static void
test_pause_stands_still(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	char before[512], after[512];
	int scans;

	line_of(st, 5, before, sizeof(before));
	press(st, "p");
	scans = fake.scans;
	fake.more = 1;
	pass(st, 10);
	line_of(st, 5, after, sizeof(after));
	assert_string_equal(before, after);
	assert_int_equal(scans, fake.scans);
	assert_int_equal(find_line(st, "PAUSED"), 0);
	press(st, "p");
	pass(st, 1);
	line_of(st, 5, after, sizeof(after));
	assert_string_not_equal(before, after);
	stage_close(st);
}

static void
test_hostile_keys_stay_text(void **state)
{
	struct stage *st = stage_open(40, 140, false);
	char *raw;
	long size;

	press(st, "jjj\r");
	press(st, "\033");
	fflush(st->out);
	size = ftell(st->out);
	raw = calloc(1, (size_t)size + 1);
	rewind(st->out);
	assert_int_equal(fread(raw, 1, (size_t)size, st->out), size);
	assert_true(size > 1000);
	assert_null(strstr(raw, "\033]0;pwned"));
	assert_null(strstr(raw, "\033[31mred"));
	assert_null(strchr(raw, '\a'));
	assert_null(strstr(raw, "\342\200\256"));
	assert_non_null(strstr(raw, "\\033]0;pwned"));
	free(raw);
	stage_close(st);
}

static void
test_filter(void **state)
{
	struct stage *st = stage_open(24, 80, false);

	press(st, "jj/");
	press(st, "clinic");
	assert_int_equal(find_line(st, "Filter: clinic"), 2);
	assert_cursor(st, 2);
	assert_true(find_line(st, "> clinic:7") == 4); /* what cannot be seen is not selected */
	assert_int_equal(find_line(st, "user:ann"), -1);
	press(st, "\r");
	assert_int_equal(find_line(st, "2 of 12 match"), 2);
	assert_cursor(st, 4);
	press(st, "/xyz\033"); /* Esc brings the one before back */
	assert_int_equal(find_line(st, "2 of 12 match"), 2);
	press(st, "\\");
	assert_true(find_line(st, "user:ann") > 0);
	stage_close(st);
}

static void
test_sort_columns(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	enum column first = st->t.model.sort;

	assert_true(find_line(st, "USE%v") == 3);
	press(st, "<");
	assert_true(st->t.model.sort != first);
	press(st, ">");
	assert_int_equal(st->t.model.sort, first);
	press(st, "I");
	assert_true(find_line(st, "USE%^") == 3);
	/* All columns that are shown, and no other, come round. */
	for (int i = 0; i < COL_COUNT; i++) {
		press(st, ">");
		assert_true(find_line(st, columns[st->t.model.sort].header) == 3);
	}
	stage_close(st);
}

static void
test_no_change_without_right(void **state)
{
	struct stage *st = stage_open(24, 80, false);

	st->t.daemon.may_change = false;
	press(st, "e");
	assert_false(st->t.dialog_open);
	assert_true(find_line(st, "read-only: changes are for root") == 23);
	assert_true(find_line(st, "web-01  ro") == 0);
	st->t.daemon.may_change = st->t.readonly = true;
	press(st, "x");
	assert_false(st->t.dialog_open);
	assert_true(find_line(st, "--readonly") == 23);
	st->t.readonly = st->t.daemon.up = false;
	press(st, "e");
	assert_false(st->t.dialog_open);
	assert_true(find_line(st, "rationd is not there") == 23);
	stage_close(st);
}

static void
test_random_keys(void **state)
{
	static const int extra[] = { SK_UP, SK_DOWN, SK_PGUP, SK_PGDN, SK_HOME, SK_END, SK_TAB,
		SK_ENTER, SK_ESC, SK_BACKSPACE, SK_DELETE, SK_LEFT, SK_RIGHT, SK_BACKTAB, SK_F1,
		0xe9, 0x202e, 0x1f600, SK_OTHER, SK_RESIZE };
	unsigned seed = getenv("SEED") ? (unsigned)atoi(getenv("SEED")) : (unsigned)time(NULL);
	struct stage *st = stage_open(24, 80, false);

	print_message("SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < 30000; i++) {
		int r = rand() % 130;

		if (i % 997 == 0)
			set_screen(st, 1 + rand() % 45, 1 + rand() % 150, rand() % 2);
		if (rand() % 200 == 0 && !st->t.dialog_open)
			fill_dialog(st);
		if (rand() % 100 == 0) {
			int a = rand() % NKEYS, b = rand() % NKEYS, was = fake.order[a];

			fake.order[a] = fake.order[b];
			fake.order[b] = was;
			fake.gone = rand() % 4 == 0 ? (uint64_t)rand() : 0;
		}
		top_key(&st->t, r < 110 ? 17 + r : extra[(r - 110) % 20]);
		if (rand() % 5 == 0)
			pass(st, (unsigned)rand() % 3);
		st->t.quit = false;
	}
	stage_close(st);
}

/* ---- the dialog ---- */

static enum dialog_end
type(struct dialog *d, const char *keys)
{
	enum dialog_end end = DIALOG_STAYS;

	for (; *keys != '\0' && end == DIALOG_STAYS; keys++)
		end = dialog_key(d, (unsigned char)*keys);
	return end;
}

static void
test_dialog_enter_never_commits(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	struct dialog *d = &st->t.dialog;

	fill_dialog(st);
	assert_int_equal(d->focus, FOCUS_CANCEL);
	assert_int_equal(type(d, "\r"), DIALOG_CANCELLED);
	for (int focus = FOCUS_RATES; focus <= FOCUS_CANCEL; focus++) {
		fill_dialog(st);
		assert_int_equal(type(d, "250/min"), DIALOG_STAYS);
		d->focus = (enum dialog_focus)focus;
		assert_int_not_equal(type(d, "\r"), DIALOG_COMMITTED);
	}
	stage_close(st);
}

static void
test_dialog_y_commits_a_key(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	struct dialog *d = &st->t.dialog;

	fill_dialog(st);
	assert_int_equal(type(d, "y"), DIALOG_STAYS); /* nothing was changed yet */
	fill_dialog(st);
	/* While rates are typed y is a letter; it makes them wrong, and that is said. */
	assert_int_equal(type(d, "250/miny\033"), DIALOG_CANCELLED);
	fill_dialog(st);
	assert_int_equal(type(d, "250/miny\t\t\t\ty"), DIALOG_STAYS);
	assert_int_equal(d->focus, FOCUS_RATES);
	assert_true(d->note[0] != '\0');
	fill_dialog(st);
	assert_int_equal(type(d, "250/min\t\t1h\tcause\ty"), DIALOG_COMMITTED);
	assert_string_equal(d->rates.text, "250/min");
	assert_string_equal(d->reason.text, "cause");
	assert_int_equal(dialog_for_s(d), 3600);
	fill_dialog(st);
	assert_int_equal(type(d, "250/min\t\tsoon\t\ty"), DIALOG_STAYS);
	assert_int_equal(d->focus, FOCUS_FOR);
	stage_close(st);
}

static void
test_dialog_wide_wants_name(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	struct dialog *d = &st->t.dialog;

	fill_dialog(st);
	assert_int_equal(type(d, "250/min\t y"), DIALOG_STAYS); /* scope: the plan */
	assert_int_equal(d->scope, SCOPE_PLAN);
	assert_int_equal(d->focus, FOCUS_NAME);
	assert_int_equal(type(d, "logi\ty"), DIALOG_STAYS);
	assert_int_equal(type(d, "n\ty"), DIALOG_COMMITTED);
	for (size_t i = 0; i < 3; i++) {
		static const char *const drastic[] = { "0/min", "2001/min", "unlimited" };

		fill_dialog(st);
		d->focus = FOCUS_RATES;
		field_set(&d->rates, drastic[i]);
		d->rates_typed = true;
		d->focus = FOCUS_CANCEL;
		assert_int_equal(type(d, "y"), DIALOG_STAYS);
		assert_int_equal(d->focus, FOCUS_NAME);
	}
	stage_close(st);
}

static void
test_drastic(void **state)
{
	assert_false(dialog_drastic("100/min", "1000/min"));
	assert_true(dialog_drastic("100/min", "1001/min"));
	assert_true(dialog_drastic("100/min", "0/min"));
	assert_true(dialog_drastic("100/min", "100/min, 0/s"));
	assert_true(dialog_drastic("100/min", "unlimited"));
	assert_false(dialog_drastic("unlimited", "100/min"));
	assert_false(dialog_drastic("300/min, 30/s", "350/min, 30/s"));
	assert_true(dialog_drastic("300/min, 30/s", "300/min, 301/s"));
	assert_true(dialog_drastic("60/min", "601/min fixed"));
	assert_true(dialog_drastic("100/min", "nonsense"));
}

/* ---- field, keys, manual ---- */

static void
test_field(void **state)
{
	struct field f;

	field_set(&f, "one two");
	field_key(&f, 23); /* Ctrl-W */
	assert_string_equal(f.text, "one ");
	field_key(&f, 0xe9);
	assert_string_equal(f.text, "one \303\251");
	field_key(&f, SK_LEFT);
	field_key(&f, 'x');
	assert_string_equal(f.text, "one x\303\251");
	field_key(&f, SK_END);
	field_key(&f, SK_BACKSPACE);
	assert_string_equal(f.text, "one x");
	assert_false(field_key(&f, 27));
	assert_false(field_key(&f, SK_UP));
	for (int i = 0; i < 1000; i++)
		field_key(&f, 0xe9);
	assert_true(f.len <= FIELD_MAX);
	field_key(&f, 21);
	assert_int_equal(f.len, 0);
	field_key(&f, SK_BACKSPACE);
	field_key(&f, SK_DELETE);
	assert_int_equal(f.len, 0);
}

static void
test_keys_are_told_apart(void **state)
{
	for (size_t i = 0; i < key_table_len; i++) {
		for (size_t k = i + 1; k < key_table_len; k++) {
			const struct key_def_row *a = &key_table[i], *b = &key_table[k];

			if (a->where & b->where) {
				assert_int_not_equal(a->key, b->key);
				assert_int_not_equal(a->key, b->alias);
			}
		}
		assert_true(key_table[i].key > 0);
	}
}

static void
test_help_names_every_key(void **state)
{
	struct stage *st = stage_open(24, 80, false);
	bool seen[64] = { false };

	press(st, "?");
	for (int page = 0; page < 8; page++) {
		for (size_t i = 0; i < key_table_len; i++)
			seen[i] |= find_line(st, key_table[i].text) >= 0;
		top_key(&st->t, SK_PGDN);
		frame_draw(&st->t);
	}
	for (size_t i = 0; i < key_table_len; i++)
		assert_true(seen[i]);
	press(st, "q");
	assert_ptr_equal(st->t.view, &view_keys);
	assert_false(st->t.quit);
	press(st, "q");
	assert_true(st->t.quit);
	stage_close(st);
}

static void
test_manual_names_every_key(void **state)
{
	char path[1024], *want = NULL, *have = calloc(1, 1 << 17);
	size_t size = 0;
	FILE *f = open_memstream(&want, &size);

	key_manual(f);
	fclose(f);
	snprintf(path, sizeof(path), "%s/../../tui/ration-top.1", golden_dir);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_true(fread(have, 1, (1 << 17) - 1, f) > 0);
	fclose(f);
	if (strstr(have, want) == NULL)
		print_error("%s: the section about keys must read:\n%s", path, want);
	assert_non_null(strstr(have, want));
	free(want);
	free(have);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_keys),
		cmocka_unit_test(test_golden_states),
		cmocka_unit_test(test_golden_leases),
		cmocka_unit_test(test_golden_dialog),
		cmocka_unit_test(test_golden_lists),
		cmocka_unit_test(test_selection_is_a_key),
		cmocka_unit_test(test_top_follows_nothing_unasked),
		cmocka_unit_test(test_pause_stands_still),
		cmocka_unit_test(test_hostile_keys_stay_text),
		cmocka_unit_test(test_filter),
		cmocka_unit_test(test_sort_columns),
		cmocka_unit_test(test_no_change_without_right),
		cmocka_unit_test(test_random_keys),
		cmocka_unit_test(test_dialog_enter_never_commits),
		cmocka_unit_test(test_dialog_y_commits_a_key),
		cmocka_unit_test(test_dialog_wide_wants_name),
		cmocka_unit_test(test_drastic),
		cmocka_unit_test(test_field),
		cmocka_unit_test(test_keys_are_told_apart),
		cmocka_unit_test(test_help_names_every_key),
		cmocka_unit_test(test_manual_names_every_key),
	};

	golden_dir = argc > 1 ? argv[1] : "tests/golden";
	setenv("TZ", "UTC", 1);
	unsetenv("NO_COLOR");
	if (setlocale(LC_ALL, "C.UTF-8") == NULL)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
