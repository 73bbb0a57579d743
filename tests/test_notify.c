/*
 * test_notify.c - thresholds that are crossed become events: the real rationd, real processes.
 *
 * Events are awaited on the control socket.  That there is none is shown by another one that
 * was caused later: a key of its own crosses, and what is told before that is all there was.
 */
#include "server.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "handle.h"
#include "notes.h"
#include "ration.h"
#include "segment.h"

#define DAY 86400
#define RACERS 8u

static unsigned racing_keys = 1000;

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
    "defaults: {plan: small}\n";

static struct {
	struct server *s;
	ration_t *r;
	int fd; /* watches */
	unsigned marks;
} t;

static void
open_all(void)
{
	t.fd = watch(t.s);
	if (t.r == NULL)
		assert_int_equal(ration_open_dir(t.s->dir, NULL, 0, &t.r), 0);
}

static void
begin_rationd(void)
{
	start_with(t.s, (const char *const[]) { "--sandbox", NULL });
}

static int
begin(void **state)
{
	if (setup(state) != 0)
		return -1;
	memset(&t, 0, sizeof(t));
	t.s = *state;
	put_file(t.s, "ration.yaml", policy);
	begin_rationd();
	open_all();
	return 0;
}

static int
end(void **state)
{
	ration_close(t.r);
	(void)close(t.fd);
	return teardown(state);
}

/* ---- events ---- */

/* The next of these two types, as "threshold 60 tokens k".  The object is the caller's. */
static json_t *
next_event(char *text, size_t size)
{
	for (;;) {
		json_t *j = get(t.fd), *p;
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

static void
expect(const char *want)
{
	char text[256];

	json_decref(next_event(text, sizeof(text)));
	assert_string_equal(text, want);
}

static void
expect_int(const json_t *event, const char *name, json_int_t want)
{
	assert_int_equal(json_integer_value(json_object_get(event, name)), want);
}

static void
take(const char *limit, const char *key, uint64_t cost)
{
	assert_int_equal(ration_acquire(t.r, limit, key, cost, NULL), RATION_ADMITTED);
}

/* Nothing more was told so far. */
static void
expect_none(void)
{
	char key[16], want[64];

	(void)snprintf(key, sizeof(key), "mark%u", t.marks++);
	take("mark", key, 1);
	for (unsigned i = 0; i < 4; i++) {
		static const int levels[] = { 60, 80, 95, 100 };

		(void)snprintf(want, sizeof(want), "threshold %d mark %s", levels[i], key);
		expect(want);
	}
}

static json_int_t
threshold_status(const char *name)
{
	json_t *j = ok(t.s, "status", NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "thresholds"), name));

	json_decref(j);
	return n;
}

static void
pause_ms(long ms)
{
	const struct timespec p = { ms / 1000, ms % 1000 * 1000000 };

	(void)nanosleep(&p, NULL);
}

/* A whole pass that begins after now has ended, and nothing waits. */
static void
await_pass(void)
{
	json_int_t passes = threshold_status("passes");
	int64_t until = mono_ms() + WAIT_MS;

	json_decref(ok(t.s, "clock", "{'advance_ms':1}"));
	while (threshold_status("passes") == passes || threshold_status("waiting") > 0) {
		assert_true(mono_ms() < until);
		pause_ms(10);
	}
}

static void
advance(int64_t s)
{
	char params[64];

	(void)snprintf(params, sizeof(params), "{'advance_s':%lld}", (long long)s);
	json_decref(ok(t.s, "clock", params));
}

/* To one second after the month ends. */
static void
next_month(void)
{
	json_t *j = ok(t.s, "status", NULL);
	time_t now = (time_t)json_integer_value(json_object_get(j, "now"));
	struct tm tm;

	json_decref(j);
	(void)gmtime_r(&now, &tm);
	tm.tm_mon++;
	tm.tm_mday = 1;
	tm.tm_hour = tm.tm_min = 0;
	tm.tm_sec = 1;
	advance(timegm(&tm) - now);
}

static void
restart(int sig)
{
	(void)close(t.fd);
	assert_int_equal(stop(t.s, sig), sig == SIGKILL ? -SIGKILL : 0);
	begin_rationd();
	t.fd = watch(t.s);
}

/* ---- a threshold ---- */

static void
test_crossing(void **state)
{
	char text[256];
	json_t *e;
	int64_t before;

	take("tokens", "a b", 59);
	before = mono_ms();
	take("tokens", "a b", 1);
	e = next_event(text, sizeof(text));
	print_message("told after %lld ms\n", (long long)(mono_ms() - before));
	assert_true(mono_ms() - before < 5000);
	assert_string_equal(text, "threshold 60 tokens a\\040b");
	expect_int(e, "used", 60);
	expect_int(e, "limit_units", 100);
	expect_int(e, "remaining", 40);
	assert_string_equal(json_string_value(json_object_get(e, "rate")), "100/month");
	assert_string_equal(json_string_value(json_object_get(e, "action")), "inform");
	assert_string_equal(json_string_value(json_object_get(e, "plan")), "small");
	assert_int_equal(json_integer_value(json_object_get(e, "period_end")),
	    json_integer_value(json_object_get(e, "reset_at")));
	assert_true(json_integer_value(json_object_get(e, "period_end")) -
		json_integer_value(json_object_get(e, "period_start")) >=
	    28 * DAY);
	json_decref(e);
	/* two at once: both */
	take("tokens", "a b", 36);
	expect("threshold 80 tokens a\\040b");
	expect("threshold 95 tokens a\\040b");
	take("tokens", "a b", 4);
	expect("threshold 100 tokens a\\040b");
	/* by default of days; not where it is switched off, nor of a sliding window */
	take("day", "k", 60);
	expect("threshold 60 day k");
	take("off", "k", 100);
	take("quiet", "k", 100);
	expect_none();
	await_pass();
	expect_none();
}

/* Refunded and crossed again: told once.  A denial, and a peek, cross nothing. */
static void
test_refund(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(t.r, "day", "k", 60, &d), RATION_ADMITTED);
	expect("threshold 60 day k");
	assert_int_equal(ration_refund(t.r, &d, 60), 0);
	await_pass();
	take("day", "k", 70);
	assert_int_equal(ration_acquire(t.r, "day", "k", 40, NULL), RATION_DENIED);
	assert_int_equal(ration_peek(t.r, "day", "k", 30, NULL), RATION_ADMITTED);
	expect_none();
	await_pass();
	expect_none();
}

static void
test_settle(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(t.r, "day", "k", 10, &d), RATION_ADMITTED);
	assert_int_equal(ration_settle(t.r, &d, 85), 0);
	expect("threshold 60 day k");
	expect("threshold 80 day k");
	/* above the limit: a debt */
	assert_int_equal(ration_settle(t.r, &d, 130), 0);
	expect("threshold 95 day k");
	expect("threshold 100 day k");
	expect_none();
}

/* ---- armed again ---- */

static void
test_raise(void **state)
{
	take("tokens", "k", 97);
	expect("threshold 60 tokens k");
	expect("threshold 80 tokens k");
	expect("threshold 95 tokens k");
	/* 97 of 150 are 65 %: 60 stays told */
	json_decref(ok(t.s, "set", "{'limit':'tokens','key':'k','rates':'150/month'}"));
	take("tokens", "k", 23); /* 120 of 150 */
	expect("threshold 80 tokens k");
	/* an upgrade: all of it ahead again */
	json_decref(ok(t.s, "unset", "{'limit':'tokens','key':'k'}"));
	json_decref(ok(t.s, "plan", "{'key':'k','plan':'large'}"));
	take("tokens", "k", 480); /* 600 of 1000 */
	expect("threshold 60 tokens k");
	expect_none();
	/* lowered: what it now is above */
	json_decref(ok(t.s, "set", "{'limit':'tokens','key':'k','rates':'625/month'}"));
	await_pass(); /* 96 % */
	expect("threshold 80 tokens k");
	expect("threshold 95 tokens k");
	expect_none();
}

static void
test_month(void **state)
{
	take("tokens", "k", 100);
	for (int i = 0; i < 4; i++)
		json_decref(next_event((char[256]) { 0 }, 256));
	next_month();
	await_pass();
	expect_none();
	take("tokens", "k", 60);
	expect("threshold 60 tokens k");
	expect_none();
}

static int
first_int(void *out, int n, char **text, char **column)
{
	*(int *)out = text[0] != NULL ? atoi(text[0]) : -1;
	return 0;
}

/* The first figure of an answer; rationd does not run. */
static int
ask(const char *sql)
{
	char path[256];
	int out = -1;
	sqlite3 *db;

	path_in(t.s, "default.db", path, sizeof(path));
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, sql, first_int, &out, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	return out;
}

/* The clock of a segment without rationd. */
static void
move_clock(int64_t s)
{
	struct paths p;
	struct segment seg;
	char err[256];

	assert_int_equal(paths_find(NULL, t.s->dir, false, &p), 0);
	assert_int_equal(segment_attach_owner(&p, &seg, err, sizeof(err)), 0);
	(void)atomic_fetch_add(&seg.policy->test_offset_ns, s * 1000000000);
	(void)atomic_fetch_add(&seg.policy->clock_generation, 1);
	segment_detach(&seg);
}

#define EVENTS_OF(key) "SELECT count(*) FROM event WHERE json_extract(body, '$.key') = '" key "'"
#define IN_MONTH(op) \
	" AND json_extract(body, '$.period_start') " op " (SELECT min(period) FROM notified)"

/*
 * What was crossed in a month that ended while rationd was down is told of that month: with a
 * note, and without (a word of the month before stands there still).
 */
static void
test_month_down(void **state)
{
	struct segment *seg = (struct segment *)(uintptr_t)handle_current(t.r);
	struct side_head *side = seg->side;

	take("tokens", "k", 60);
	expect("threshold 60 tokens k");
	take("tokens", "l", 60);
	expect("threshold 60 tokens l");
	(void)close(t.fd);
	assert_int_equal(stop(t.s, SIGKILL), -SIGKILL);
	take("tokens", "k", 20);
	take("tokens", "noted", 70);
	seg->side = NULL;
	take("tokens", "found", 85);
	seg->side = side;
	move_clock(31 * DAY);
	take("tokens", "k", 5);
	take("tokens", "found", 70);
	begin_rationd();
	t.fd = watch(t.s);
	await_pass();
	(void)close(t.fd);
	assert_int_equal(stop(t.s, SIGTERM), 0);
	assert_int_equal(ask(EVENTS_OF("k") IN_MONTH("=")), 2);
	assert_int_equal(ask(EVENTS_OF("l") IN_MONTH("=")), 1);
	assert_int_equal(ask(EVENTS_OF("noted") IN_MONTH("=")), 1);
	assert_int_equal(ask(EVENTS_OF("found") IN_MONTH("=")), 2);
	assert_int_equal(ask(EVENTS_OF("found") IN_MONTH(">")), 1);
	assert_int_equal(ask("SELECT count(*) FROM event"), 7);
	/* Settled, with all that was kept of it gone, it is not told of anew. */
	begin_rationd();
	t.fd = watch(t.s);
	await_pass();
	advance(60);
	await_pass();
	advance(20);
	await_pass();
	restart(SIGKILL);
	await_pass();
	expect_none();
	assert_int_equal(stop(t.s, SIGTERM), 0);
	assert_int_equal(ask("SELECT count(*) FROM notified WHERE limit_name = 'tokens'"), 1);
	begin_rationd();
}

/* ---- reminders ---- */

static void
test_reminder(void **state)
{
	/* early in a month, so that it lasts */
	next_month();
	take("tokens", "k", 80);
	expect("threshold 60 tokens k");
	expect("threshold 80 tokens k");
	take("tokens", "raised", 80);
	expect("threshold 60 tokens raised");
	expect("threshold 80 tokens raised");
	take("tokens", "higher", 80);
	expect("threshold 60 tokens higher");
	expect("threshold 80 tokens higher");
	take("tokens", "sixty", 60);
	expect("threshold 60 tokens sixty");
	advance(2 * DAY - 60);
	json_decref(ok(t.s, "set", "{'limit':'tokens','key':'raised','rates':'150/month'}"));
	take("tokens", "higher", 15);
	expect("threshold 95 tokens higher");
	expect_none();
	restart(SIGKILL);
	advance(61);
	expect("reminder 80 tokens k");
	expect_none();
	advance(2 * DAY);
	expect_none();
	/* a month that has ended reminds of nothing */
	take("tokens", "late", 80);
	expect("threshold 60 tokens late");
	expect("threshold 80 tokens late");
	next_month();
	advance(3 * DAY);
	expect_none();
}

/* ---- what goes by with time ---- */

static void
test_sliding(void **state)
{
	take("slide", "k", 50);
	expect("threshold 50 slide k");
	advance(70);
	await_pass(); /* it is seen below: from now on it has to stay there for a minute */
	take("slide", "k", 50);
	expect_none();
	advance(70);
	await_pass();
	advance(61);
	take("slide", "k", 60);
	expect("threshold 50 slide k");
	take("bucket", "k", 50);
	expect("threshold 50 bucket k");
	expect_none();
	/* of what is forgotten nothing is kept: the month's marks alone */
	advance(200);
	await_pass();
	advance(200);
	take("slide", "k", 50);
	expect("threshold 50 slide k");
}

/* ---- notes are not trusted, and not needed ---- */

/* A charge without its note, as a kill between the two would leave it: found by a pass. */
static void
test_dropped(void **state)
{
	struct segment *seg = (struct segment *)(uintptr_t)handle_current(t.r);
	struct side_head *side = seg->side;

	assert_non_null(side);
	seg->side = NULL;
	take("day", "k", 80);
	seg->side = side;
	expect("threshold 60 day k");
	expect("threshold 80 day k");
	take("day", "k", 20);
	expect("threshold 95 day k");
	expect("threshold 100 day k");
	expect_none();
}

static void
test_forged(void **state)
{
	const struct segment *seg = handle_current(t.r);
	ration_decision_t d = RATION_DECISION_INIT;
	struct note n;

	assert_int_equal(ration_acquire(t.r, "day", "k", 10, &d), RATION_ADMITTED);
	n = (struct note) { .slot = d.receipts[0].slot,
		.birth = d.receipts[0].birth,
		.percent = 60,
		.used = 60,
		.units = 100,
		.tick = tick_of(clock_precise(&t.r->clock, seg->policy)) };
	notes_put(seg, &n);
	n.units = 10; /* of another limit */
	notes_put(seg, &n);
	n.tick -= 40 * 86400 * UINT64_C(1000000000) / TICK_NS; /* a month ago */
	notes_put(seg, &n);
	n.slot = seg->nslots - 1;
	notes_put(seg, &n);
	n.slot = seg->nslots;
	notes_put(seg, &n);
	n.slot = d.receipts[0].slot;
	n.birth--;
	notes_put(seg, &n);
	n.birth++;
	n.rate = 3;
	notes_put(seg, &n);
	/* of a sliding window: what cannot be true, or is of a limit that tells nothing */
	assert_int_equal(ration_acquire(t.r, "slide", "k", 10, &d), RATION_ADMITTED);
	n = (struct note) { .slot = d.receipts[0].slot,
		.birth = d.receipts[0].birth,
		.percent = 50,
		.used = 101,
		.units = 100,
		.tick = tick_of(clock_precise(&t.r->clock, seg->policy)) };
	notes_put(seg, &n);
	n.used = n.units = 50;
	notes_put(seg, &n);
	n.units = 100; /* of the slot's last life */
	n.birth--;
	notes_put(seg, &n);
	assert_int_equal(ration_acquire(t.r, "quiet", "k", 10, &d), RATION_ADMITTED);
	n.slot = d.receipts[0].slot;
	n.birth = d.receipts[0].birth;
	n.units = 100;
	notes_put(seg, &n);
	/* numbers without entries, and a counter that runs away, forth and back */
	(void)word_count(&seg->side->noted, 100);
	expect_none();
	(void)word_count(&seg->side->noted, 10 * SIDE_NOTES);
	expect_none();
	atomic_store(&seg->side->noted, 3);
	expect_none();
	take("day", "k", 50);
	expect("threshold 60 day k");
	expect_none();
}

/* ---- bounds ---- */

/* Records of a flood: nobody is told of more until they have gone, and that is said. */
static void
test_full(void **state)
{
	(void)close(t.fd);
	assert_int_equal(stop(t.s, SIGTERM), 0);
	assert_int_equal(
	    ask("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)"
		" INSERT INTO notified SELECT 'gone', CAST(i AS BLOB), 5, 1, unixepoch() + 1000, "
		"0, 100,"
		" 60, '60@1/0', 0, 0 FROM n"),
	    -1);
	begin_rationd();
	t.fd = watch(t.s);
	take("day", "k", 60);
	wait_event(t.fd, "thresholds_full");
	assert_true(threshold_status("untold") > 0);
	assert_int_equal(threshold_status("told"), 0);
	assert_int_equal(threshold_status("records"), 80000);
	advance(1100);
	for (unsigned i = 0; i < 100 && threshold_status("records") > 60000; i++)
		advance(10);
	expect("threshold 60 day k");
}

/* ---- many processes ---- */

/* Every key to its limit; which comes first is chance. */
static void
race(unsigned who)
{
	uint64_t x = (who + 1) * UINT64_C(0x9e3779b97f4a7c15);
	unsigned full = 0;
	ration_t *r;
	char key[16];

	if (ration_open_dir(t.s->dir, NULL, 0, &r) != 0)
		_exit(1);
	for (unsigned n = 0; full < 3 * racing_keys && n < 400 * racing_keys; n++) {
		int v;

		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		(void)snprintf(key, sizeof(key), "r%u", (unsigned)(x % racing_keys));
		v = ration_acquire(r, "day", key, 1 + x % 7, NULL);
		if (v < 0)
			_exit(2);
		full = v == RATION_DENIED ? full + 1 : 0;
	}
	for (unsigned k = 0; k < racing_keys; k++) {
		(void)snprintf(key, sizeof(key), "r%u", k);
		while (ration_acquire(r, "day", key, 1, NULL) == RATION_ADMITTED)
			;
	}
	ration_close(r);
	_exit(0);
}

/* Some more than `before` are told, or all. */
static void
await_told(json_int_t before)
{
	json_int_t all = (json_int_t)racing_keys * 4 - before, n = racing_keys / 4;
	int64_t until = mono_ms() + WAIT_MS;

	while (threshold_status("told") < (n < all ? n : all)) {
		assert_true(mono_ms() < until);
		pause_ms(5);
	}
}

/*
 * Eight processes race over every threshold of all keys; three are killed, and rationd as often:
 * each percentage of each key is told of once.
 */
static void
test_race(void **state)
{
	pid_t pids[RACERS];
	int told = 0;
	int status;

	(void)close(t.fd);
	for (unsigned i = 0; i < RACERS; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			race(i);
	}
	for (unsigned i = 0; i < 3; i++) {
		await_told(told);
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(stop(t.s, SIGKILL), -SIGKILL);
		told = ask("SELECT count(*) FROM event");
		begin_rationd();
	}
	for (unsigned i = 0; i < RACERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		if (i >= 3)
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	await_pass();
	print_message("told by those that were killed: %d, by the last: %d\n", told,
	    (int)threshold_status("told"));
	assert_int_equal(stop(t.s, SIGTERM), 0);
	assert_int_equal(ask("SELECT count(*) FROM event"), (int)racing_keys * 4);
	assert_int_equal(ask("SELECT count(*) FROM (SELECT DISTINCT key, json_extract(body, "
			     "'$.level') FROM event)"),
	    (int)racing_keys * 4);
	assert_int_equal(ask("SELECT count(*) FROM notified"), (int)racing_keys);
	begin_rationd();
	t.fd = watch(t.s);
	await_pass();
	expect_none();
}

int
main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, begin, end)
	const struct CMUnitTest tests[] = {
		T(test_crossing),
		T(test_refund),
		T(test_settle),
		T(test_raise),
		T(test_month),
		T(test_month_down),
		T(test_reminder),
		T(test_sliding),
		T(test_dropped),
		T(test_forged),
		T(test_full),
		T(test_race),
	};

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_notify RATIOND\n");
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
