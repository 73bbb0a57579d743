/*
 * test_notify_kill.c - thresholds when something is lost, forged or killed, and when there are
 * too many: each percentage is told of once all the same, or it is said that it is not.
 */
#include "told.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "handle.h"
#include "notes.h"

#define RACERS 8u
#define LATE 64u

static const unsigned racing_keys = 1000;

/* ---- notes are not trusted, and not needed ---- */

/* A charge without its note, as a kill between the two would leave it: found by a pass. */
static void
test_dropped(void **state)
{
	struct segment *seg = (struct segment *)(uintptr_t)handle_current(told.r);
	struct side_head *side = seg->side;

	assert_non_null(side);
	seg->side = NULL;
	told_take("day", "k", 80);
	seg->side = side;
	told_expect("threshold 60 day k");
	told_expect("threshold 80 day k");
	told_take("day", "k", 20);
	told_expect("threshold 95 day k");
	told_expect("threshold 100 day k");
	told_nothing();
}

static void
test_forged(void **state)
{
	const struct segment *seg = handle_current(told.r);
	ration_decision_t d = RATION_DECISION_INIT;
	struct note n;

	assert_int_equal(ration_acquire(told.r, "day", "k", 10, &d), RATION_ADMITTED);
	n = (struct note) { .slot = d.receipts[0].slot,
		.birth = d.receipts[0].birth,
		.percent = 60,
		.used = 60,
		.units = 100,
		.tick = tick_of(clock_precise(&told.r->clock, seg->policy)) };
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
	assert_int_equal(ration_acquire(told.r, "slide", "k", 10, &d), RATION_ADMITTED);
	n = (struct note) { .slot = d.receipts[0].slot,
		.birth = d.receipts[0].birth,
		.percent = 50,
		.used = 101,
		.units = 100,
		.tick = tick_of(clock_precise(&told.r->clock, seg->policy)) };
	notes_put(seg, &n);
	n.used = n.units = 50;
	notes_put(seg, &n);
	n.units = 100; /* of the slot's last life */
	n.birth--;
	notes_put(seg, &n);
	assert_int_equal(ration_acquire(told.r, "quiet", "k", 10, &d), RATION_ADMITTED);
	n.slot = d.receipts[0].slot;
	n.birth = d.receipts[0].birth;
	n.units = 100;
	notes_put(seg, &n);
	/* numbers without entries, and a counter that runs away, forth and back */
	(void)word_count(&seg->side->noted, 100);
	told_nothing();
	(void)word_count(&seg->side->noted, 10 * SIDE_NOTES);
	told_nothing();
	atomic_store(&seg->side->noted, 3);
	told_nothing();
	told_take("day", "k", 50);
	told_expect("threshold 60 day k");
	told_nothing();
}

/*
 * Numbers are taken, and all their notes come at once, each of a key that has crossed all that
 * there is: more events than are dealt with at a time.
 */
static void
test_late_notes(void **state)
{
	const struct segment *seg = handle_current(told.r);
	struct side_head *real = seg->side, *aside = calloc(1, SIDE_BYTES);
	struct segment mine = *seg;
	ration_decision_t d = RATION_DECISION_INIT;
	char key[16];
	uint64_t base;

	assert_non_null(aside);
	base = word_count(&real->noted, LATE);
	while (told_status("waiting") < LATE)
		told_pause(1);
	((struct segment *)(uintptr_t)seg)->side = NULL;
	mine.side = aside;
	atomic_store(&aside->noted, base);
	for (unsigned i = 0; i < LATE; i++) {
		(void)snprintf(key, sizeof(key), "late-%u", i);
		assert_int_equal(ration_acquire(told.r, "many", key, 100, &d), RATION_ADMITTED);
		notes_put(&mine,
		    &(struct note) { .slot = d.receipts[0].slot,
			.birth = d.receipts[0].birth,
			.percent = 80,
			.used = 100,
			.units = 100,
			.tick = tick_of(clock_precise(&told.r->clock, seg->policy)) });
	}
	for (uint64_t n = base + 1; n <= base + LATE; n++)
		for (unsigned i = 0; i < SIDE_NOTE_WORDS; i++)
			atomic_store(&side_note(real, n)[i], atomic_load(&side_note(aside, n)[i]));
	((struct segment *)(uintptr_t)seg)->side = real;
	free(aside);
	while (told_status("told") < LATE * 3 * 8)
		told_pause(5);
	assert_int_equal(told_status("told"), LATE * 3 * 8);
}

/* ---- bounds ---- */

/* Records of a flood: nobody is told of more until they have gone, and that is said. */
static void
test_full(void **state)
{
	(void)close(told.fd);
	assert_int_equal(stop(told.s, SIGTERM), 0);
	assert_int_equal(
	    told_ask(
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)"
		" INSERT INTO notified SELECT 'gone', CAST(i AS BLOB), 5, 1, unixepoch() + 1000, "
		"0, 100,"
		" 60, '60@1/0', 0, 0 FROM n"),
	    -1);
	told_start();
	told.fd = watch(told.s);
	told_take("day", "k", 60);
	wait_event(told.fd, "thresholds_full");
	assert_true(told_status("untold") > 0);
	assert_int_equal(told_status("told"), 0);
	assert_int_equal(told_status("records"), 80000);
	told_clock(1100);
	for (unsigned i = 0; i < 100 && told_status("records") > 60000; i++)
		told_clock(10);
	told_expect("threshold 60 day k");
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

	if (ration_open_dir(told.s->dir, NULL, 0, &r) != 0)
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

	while (told_status("told") < (n < all ? n : all)) {
		assert_true(mono_ms() < until);
		told_pause(5);
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
	int before = 0;
	int status;

	(void)close(told.fd);
	for (unsigned i = 0; i < RACERS; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			race(i);
	}
	for (unsigned i = 0; i < 3; i++) {
		await_told(before);
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(stop(told.s, SIGKILL), -SIGKILL);
		before = told_ask("SELECT count(*) FROM event");
		told_start();
	}
	for (unsigned i = 0; i < RACERS; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		if (i >= 3)
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	told_pass();
	print_message("told by those that were killed: %d, by the last: %d\n", before,
	    (int)told_status("told"));
	assert_int_equal(stop(told.s, SIGTERM), 0);
	assert_int_equal(told_ask("SELECT count(*) FROM event"), (int)racing_keys * 4);
	assert_int_equal(told_ask("SELECT count(*) FROM (SELECT DISTINCT key, json_extract(body, "
				  "'$.level') FROM event)"),
	    (int)racing_keys * 4);
	assert_int_equal(told_ask("SELECT count(*) FROM notified"), (int)racing_keys);
	told_start();
	told.fd = watch(told.s);
	told_pass();
	told_nothing();
}

/* ---- a store that fails ---- */

/*
 * The store takes no events for some seconds.  Meanwhile a period ends, and passes and rounds of
 * housekeeping come by: what was crossed in it, its note lost, is told of when the store works
 * again.
 */
static void
test_store_fails(void **state)
{
	struct segment *seg = (struct segment *)(uintptr_t)handle_current(told.r);
	struct side_head *side;
	char sql[256];
	json_int_t now;

	(void)close(told.fd);
	assert_int_equal(stop(told.s, SIGTERM), 0);
	(void)snprintf(sql, sizeof(sql),
	    "CREATE TRIGGER no_events BEFORE INSERT ON event WHEN unixepoch() < %lld"
	    " BEGIN SELECT RAISE(ABORT, 'no room'); END",
	    (long long)time(NULL) + 5);
	assert_int_equal(told_ask(sql), -1);
	told_start();
	told.fd = watch(told.s);
	now = number(told.s, "status", "now");
	told_clock(DAY - now % DAY - 10);
	side = seg->side;
	seg->side = NULL; /* notes alone would be read until that succeeds */
	told_take("day", "k", 60);
	seg->side = side;
	told_clock(1);
	assert_true(wait_log(told.s, "tried again"));
	told_clock(100);
	told_pause(2500);
	told_expect("threshold 60 day k");
	told_nothing();
}

int
main(int argc, char **argv)
{
#define T(f) cmocka_unit_test_setup_teardown(f, told_begin, told_end)
	const struct CMUnitTest tests[] = {
		T(test_dropped),
		T(test_forged),
		T(test_late_notes),
		T(test_full),
		T(test_race),
		T(test_store_fails),
	};

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_notify_kill RATIOND\n");
		return 2;
	}
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
