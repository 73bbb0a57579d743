/*
 * test_notify.c - thresholds that are crossed become events; they are armed again by a raise, a
 * plan, a new period; reminders.
 */
#include "told.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "handle.h"
#include "segment.h"

/* To one second after the month ends. */
static void
next_month(void)
{
	json_t *j = ok(told.s, "status", NULL);
	time_t now = (time_t)json_integer_value(json_object_get(j, "now"));
	struct tm tm;

	json_decref(j);
	(void)gmtime_r(&now, &tm);
	tm.tm_mon++;
	tm.tm_mday = 1;
	tm.tm_hour = tm.tm_min = 0;
	tm.tm_sec = 1;
	told_clock(timegm(&tm) - now);
}

/* ---- a threshold ---- */

static void
test_crossing(void **state)
{
	char text[256];
	json_t *e;
	int64_t before;

	told_take("tokens", "a b", 59);
	before = mono_ms();
	told_take("tokens", "a b", 1);
	e = told_next(text, sizeof(text));
	print_message("told after %lld ms\n", (long long)(mono_ms() - before));
	assert_true(mono_ms() - before < 5000);
	assert_string_equal(text, "threshold 60 tokens a\\040b");
	told_figure(e, "used", 60);
	told_figure(e, "limit_units", 100);
	told_figure(e, "remaining", 40);
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
	told_take("tokens", "a b", 36);
	told_expect("threshold 80 tokens a\\040b");
	told_expect("threshold 95 tokens a\\040b");
	told_take("tokens", "a b", 4);
	told_expect("threshold 100 tokens a\\040b");
	/* by default of days; not where it is switched off, nor of a sliding window */
	told_take("day", "k", 60);
	told_expect("threshold 60 day k");
	told_take("off", "k", 100);
	told_take("quiet", "k", 100);
	told_nothing();
	told_pass();
	told_nothing();
}

/* Refunded and crossed again: told once.  A denial, and a peek, cross nothing. */
static void
test_refund(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(told.r, "day", "k", 60, &d), RATION_ADMITTED);
	told_expect("threshold 60 day k");
	assert_int_equal(ration_refund(told.r, &d, 60), 0);
	told_pass();
	told_take("day", "k", 70);
	assert_int_equal(ration_acquire(told.r, "day", "k", 40, NULL), RATION_DENIED);
	assert_int_equal(ration_peek(told.r, "day", "k", 30, NULL), RATION_ADMITTED);
	told_nothing();
	told_pass();
	told_nothing();
}

static void
test_settle(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(told.r, "day", "k", 10, &d), RATION_ADMITTED);
	assert_int_equal(ration_settle(told.r, &d, 85), 0);
	told_expect("threshold 60 day k");
	told_expect("threshold 80 day k");
	/* above the limit: a debt */
	assert_int_equal(ration_settle(told.r, &d, 130), 0);
	told_expect("threshold 95 day k");
	told_expect("threshold 100 day k");
	told_nothing();
}

/* ---- armed again ---- */

static void
test_raise(void **state)
{
	told_take("tokens", "k", 97);
	told_expect("threshold 60 tokens k");
	told_expect("threshold 80 tokens k");
	told_expect("threshold 95 tokens k");
	/* 97 of 150 are 65 %: 60 stays told */
	json_decref(ok(told.s, "set", "{'limit':'tokens','key':'k','rates':'150/month'}"));
	told_take("tokens", "k", 23); /* 120 of 150 */
	told_expect("threshold 80 tokens k");
	/* an upgrade: all of it ahead again */
	json_decref(ok(told.s, "unset", "{'limit':'tokens','key':'k'}"));
	json_decref(ok(told.s, "plan", "{'key':'k','plan':'large'}"));
	told_take("tokens", "k", 480); /* 600 of 1000 */
	told_expect("threshold 60 tokens k");
	told_nothing();
	/* lowered: what it now is above */
	json_decref(ok(told.s, "set", "{'limit':'tokens','key':'k','rates':'625/month'}"));
	told_pass(); /* 96 % */
	told_expect("threshold 80 tokens k");
	told_expect("threshold 95 tokens k");
	told_nothing();
}

static void
test_month(void **state)
{
	told_take("tokens", "k", 100);
	for (int i = 0; i < 4; i++)
		json_decref(told_next((char[256]) { 0 }, 256));
	next_month();
	told_pass();
	told_nothing();
	told_take("tokens", "k", 60);
	told_expect("threshold 60 tokens k");
	told_nothing();
}

static void
move_clock(int64_t s)
{
	struct paths p;
	struct segment seg;
	char err[256];

	assert_int_equal(paths_find(NULL, told.s->dir, false, &p), 0);
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
	struct segment *seg = (struct segment *)(uintptr_t)handle_current(told.r);
	struct side_head *side = seg->side;

	told_take("tokens", "k", 60);
	told_expect("threshold 60 tokens k");
	told_take("tokens", "l", 60);
	told_expect("threshold 60 tokens l");
	(void)close(told.fd);
	assert_int_equal(stop(told.s, SIGKILL), -SIGKILL);
	told_take("tokens", "k", 20);
	told_take("tokens", "noted", 70);
	seg->side = NULL;
	told_take("tokens", "found", 85);
	seg->side = side;
	move_clock(31 * DAY);
	told_take("tokens", "k", 5);
	told_take("tokens", "found", 70);
	told_start();
	told.fd = watch(told.s);
	told_pass();
	(void)close(told.fd);
	assert_int_equal(stop(told.s, SIGTERM), 0);
	assert_int_equal(told_ask(EVENTS_OF("k") IN_MONTH("=")), 2);
	assert_int_equal(told_ask(EVENTS_OF("l") IN_MONTH("=")), 1);
	assert_int_equal(told_ask(EVENTS_OF("noted") IN_MONTH("=")), 1);
	assert_int_equal(told_ask(EVENTS_OF("found") IN_MONTH("=")), 2);
	assert_int_equal(told_ask(EVENTS_OF("found") IN_MONTH(">")), 1);
	assert_int_equal(told_ask("SELECT count(*) FROM event"), 7);
	/* Settled, with all that was kept of it gone, it is not told of anew. */
	told_start();
	told.fd = watch(told.s);
	told_pass();
	told_clock(60);
	told_pass();
	told_clock(20);
	told_pass();
	told_restart(SIGKILL);
	told_pass();
	told_nothing();
	assert_int_equal(stop(told.s, SIGTERM), 0);
	assert_int_equal(told_ask("SELECT count(*) FROM notified WHERE limit_name = 'tokens'"), 1);
	told_start();
}

/* ---- reminders ---- */

static void
test_reminder(void **state)
{
	/* early in a month, so that it lasts */
	next_month();
	told_take("tokens", "k", 80);
	told_expect("threshold 60 tokens k");
	told_expect("threshold 80 tokens k");
	told_take("tokens", "raised", 80);
	told_expect("threshold 60 tokens raised");
	told_expect("threshold 80 tokens raised");
	told_take("tokens", "higher", 80);
	told_expect("threshold 60 tokens higher");
	told_expect("threshold 80 tokens higher");
	told_take("tokens", "sixty", 60);
	told_expect("threshold 60 tokens sixty");
	told_clock(2 * DAY - 60);
	json_decref(ok(told.s, "set", "{'limit':'tokens','key':'raised','rates':'150/month'}"));
	told_take("tokens", "higher", 15);
	told_expect("threshold 95 tokens higher");
	told_nothing();
	told_restart(SIGKILL);
	told_clock(61);
	told_expect("reminder 80 tokens k");
	told_nothing();
	told_clock(2 * DAY);
	told_nothing();
	/* a month that has ended reminds of nothing */
	told_take("tokens", "late", 80);
	told_expect("threshold 60 tokens late");
	told_expect("threshold 80 tokens late");
	next_month();
	told_clock(3 * DAY);
	told_nothing();
}

/* ---- what goes by with time ---- */

static void
test_sliding(void **state)
{
	told_take("slide", "k", 50);
	told_expect("threshold 50 slide k");
	told_clock(70);
	told_pass(); /* it is seen below: from now on it has to stay there for a minute */
	told_take("slide", "k", 50);
	told_nothing();
	told_clock(70);
	told_pass();
	told_clock(61);
	told_take("slide", "k", 60);
	told_expect("threshold 50 slide k");
	told_take("bucket", "k", 50);
	told_expect("threshold 50 bucket k");
	told_nothing();
	/* of what is forgotten nothing is kept: the month's marks alone */
	told_clock(200);
	told_pass();
	told_clock(200);
	told_take("slide", "k", 50);
	told_expect("threshold 50 slide k");
}

int
main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, told_begin, told_end)
	const struct CMUnitTest tests[] = {
		T(test_crossing),
		T(test_refund),
		T(test_settle),
		T(test_raise),
		T(test_month),
		T(test_month_down),
		T(test_reminder),
		T(test_sliding),
	};

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_notify RATIOND\n");
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
