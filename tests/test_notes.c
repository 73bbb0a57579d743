/*
 * test_notes.c - thresholds: which calls leave a note, and what it says; when a percentage is
 * told of, and when again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "atomics.h"
#include "fixture.h"
#include "notes.h"
#include "notified.h"

#define S UINT64_C(1000000000)
#define THREADS 4

static const char policy[] = "table: {rates: 3}\n"
			     "limits:\n"
			     "  day: 100/day\n"
			     "  two: {rates: [1000/day, 100/h fixed, 10/s], notify: [50, 90]}\n"
			     "  both: [1000/day, 100/min]\n"
			     "  quiet: 100/min\n"
			     "  off: {rates: 100/day, notify: []}\n"
			     "  slide: {rates: 100/min, notify: [50]}\n"
			     "  bucket: {rates: 10/s burst 100, notify: [50]}\n"
			     "  big: 1T/month\n"
			     "  none: 0/day\n"
			     "  seen: {rates: 100/day, mode: observe}\n"
			     "  count: unlimited\n";

static struct fixture f;
static uint64_t told; /* notes that the test has read */

static int
begin(void **state)
{
	fixture_open(&f, policy, 0);
	told = 0;
	return 0;
}

static int
end(void **state)
{
	fixture_close(&f);
	return 0;
}

static uint64_t
noted(void)
{
	return word_load(&f.seg.side->noted);
}

static void
take(const char *limit, const char *key, uint64_t cost)
{
	assert_int_equal(ration_acquire(f.r, limit, key, cost, NULL), RATION_ADMITTED);
}

/* The next note; there is one. */
static struct note
next_note(void)
{
	struct note n;

	assert_true(noted() > told);
	assert_true(notes_get(&f.seg, ++told, &n));
	return n;
}

static void
expect_note(unsigned rate, uint8_t percent, uint64_t used, uint64_t units)
{
	struct note n = next_note();

	assert_int_equal(n.rate, rate);
	assert_int_equal(n.percent, percent);
	assert_int_equal(n.used, used);
	assert_int_equal(n.units, units);
}

static void
expect_none(void)
{
	assert_int_equal(noted(), told);
}

/* ---- the library ---- */

static void
test_level(void **state)
{
	static const uint8_t usual[8] = { 60, 80, 95, 100 }, full[8] = { 1, 2, 3, 4, 5, 6, 7, 100 };

	assert_int_equal(notes_level(usual, 59, 100), 0);
	assert_int_equal(notes_level(usual, 60, 100), 60);
	assert_int_equal(notes_level(usual, 94, 100), 80);
	assert_int_equal(notes_level(usual, 1000, 100), 100);
	/* no rounding: 60 % of 7 are 4.2 */
	assert_int_equal(notes_level(usual, 4, 7), 0);
	assert_int_equal(notes_level(usual, 5, 7), 60);
	assert_int_equal(notes_level(usual, UINT64_MAX - 1, UINT64_MAX - 1), 100);
	assert_int_equal(notes_level(usual, UINT64_MAX / 10 * 6 - 1, UINT64_MAX / 10 * 10), 0);
	assert_int_equal(notes_level(usual, 5, 0), 0);
	assert_int_equal(notes_level(usual, 5, RATION_UNLIMITED), 0);
	assert_int_equal(notes_level(full, 7, 100), 7);
}

static void
test_entry(void **state)
{
	struct note n = { .slot = f.seg.nslots - 1,
		.birth = TICK_MASK,
		.rate = 3,
		.percent = 100,
		.used = UINT64_MAX,
		.units = NOTE_UNITS_MAX - 1,
		.tick = TICK_MASK - 5 },
		    got;
	word_t *entry;
	uint64_t w;

	notes_put(&f.seg, &n);
	got = next_note();
	assert_int_equal(got.slot, n.slot);
	assert_int_equal(got.birth, n.birth);
	assert_int_equal(got.rate, 3);
	assert_int_equal(got.percent, 100);
	assert_int_equal(got.used, NOTE_UNITS_MAX);
	assert_int_equal(got.units, n.units);
	assert_int_equal(got.tick, n.tick);
	/* torn, of another number, out of range */
	entry = side_note(f.seg.side, told);
	w = word_load(&entry[1]);
	atomic_store(&entry[1], w ^ 1);
	assert_false(notes_get(&f.seg, told, &got));
	atomic_store(&entry[1], w);
	assert_true(notes_get(&f.seg, told, &got));
	assert_false(notes_get(&f.seg, told + SIDE_NOTES, &got));
	assert_false(notes_get(&f.seg, told + 1, &got));
	n.slot = f.seg.nslots;
	notes_put(&f.seg, &n);
	assert_false(notes_get(&f.seg, ++told, &got));
	n.slot = 0;
	n.percent = 0;
	notes_put(&f.seg, &n);
	assert_false(notes_get(&f.seg, ++told, &got));
	expect_none();
}

static void
test_calls(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	take("day", "k", 59);
	expect_none();
	take("day", "k", 1);
	expect_note(0, 60, 60, 100);
	take("day", "k", 10);
	expect_none();
	take("day", "k", 26); /* over two: the higher one */
	expect_note(0, 95, 96, 100);
	assert_int_equal(ration_acquire(f.r, "day", "k", 5, NULL), RATION_DENIED);
	assert_int_equal(ration_peek(f.r, "day", "k", 4, NULL), RATION_ADMITTED);
	expect_none();
	take("day", "k", 4);
	expect_note(0, 100, 100, 100);
	/* a settlement crosses as a call does; what was given back crosses again */
	assert_int_equal(ration_acquire(f.r, "day", "s", 10, &d), RATION_ADMITTED);
	expect_none();
	assert_int_equal(ration_settle(f.r, &d, 85), 0);
	expect_note(0, 80, 85, 100);
	assert_int_equal(ration_settle(f.r, &d, 10), 0);
	expect_none();
	take("day", "s", 55);
	expect_note(0, 60, 65, 100);
	take("off", "k", 100);
	take("quiet", "k", 100);
	take("count", "k", 100);
	assert_int_equal(ration_acquire(f.r, "none", "k", 1, NULL), RATION_DENIED);
	expect_none();
	/* observed: what is charged counts, what would have been denied is not charged */
	take("seen", "k", 60);
	expect_note(0, 60, 60, 100);
	take("seen", "k", 60);
	expect_none();
	take("big", "k", UINT64_C(800000000000));
	expect_note(0, 80, UINT64_C(800000000000), UINT64_C(1000000000000));
}

static void
test_rates(void **state)
{
	ration_claim_t claims[2] = { { sizeof(claims[0]), "day", "a", 1, 60 },
		{ sizeof(claims[0]), "day", "b", 1, 10 } };
	ration_claim_t same[2] = { { sizeof(same[0]), "day", "c", 1, 50 },
		{ sizeof(same[0]), "day", "c", 1, 10 } };

	/* each rate of its own; longest window first */
	take("two", "k", 5);
	expect_note(2, 50, 5, 10);
	for (unsigned i = 0; i < 9; i++) {
		atomic_fetch_add(&f.now, 2 * S);
		take("two", "k", 5);
		if (i == 8)
			expect_note(1, 50, 50, 100);
		expect_note(2, 50, 5, 10);
	}
	/* a limit that says nothing: its days, not its minutes */
	for (unsigned i = 0; i < 6; i++) {
		take("both", "k", 100);
		atomic_fetch_add(&f.now, 70 * S);
	}
	expect_note(0, 60, 600, 1000);
	expect_none();
	/* several keys: those that cross; one that denies, and nobody crosses */
	assert_int_equal(ration_acquire_all(f.r, claims, 2, NULL), RATION_ADMITTED);
	expect_note(0, 60, 60, 100);
	claims[0].cost = 20;
	claims[1].cost = 91;
	assert_int_equal(ration_acquire_all(f.r, claims, 2, NULL), RATION_DENIED);
	expect_none();
	/* one key twice: its second charge crosses */
	assert_int_equal(ration_acquire_all(f.r, same, 2, NULL), RATION_ADMITTED);
	expect_note(0, 60, 60, 100);
	expect_none();
	take("slide", "k", 60);
	expect_note(0, 50, 60, 100);
	take("bucket", "k", 50);
	expect_note(0, 50, 50, 100);
	expect_none();
}

static void
test_no_ring(void **state)
{
	struct segment *seg = (struct segment *)(uintptr_t)handle_current(f.r);
	struct side_head *side = seg->side;

	seg->side = NULL;
	take("day", "k", 100);
	assert_false(notes_get(seg, 1, &(struct note) { .slot = 0 }));
	seg->side = side;
	expect_none();
}

static void *
racer(void *arg)
{
	ration_t *r = fixture_handle(&f);
	char key[16];

	for (unsigned k = 0; k < 200; k++) {
		(void)snprintf(key, sizeof(key), "k%u", k);
		while (ration_acquire(r, "day", key, 1, NULL) == RATION_ADMITTED)
			;
	}
	ration_close(r);
	return NULL;
}

/* Of those who race over a threshold one says so. */
static void
test_race(void **state)
{
	unsigned seen[4] = { 0 };
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, racer, NULL), 0);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(noted(), 800);
	for (unsigned i = 0; i < 800; i++) {
		struct note n = next_note();

		assert_int_equal(n.used, n.percent);
		seen[n.percent == 60 ? 0 : n.percent == 80 ? 1 : n.percent == 95 ? 2 : 3]++;
	}
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(seen[i], 200);
}

/* ---- told, and told again ---- */

static const uint8_t percents[NOTIFY_MAX] = { 60, 80, 95, 100 };
static const int64_t reminds[NOTIFY_MAX] = { 0, 1000, 500, 0 };

static struct notified record;
static bool known;

/* "60 80" of a use of so many units; and whether it is to be written. */
static const char *
tell(uint64_t used, uint64_t units, int64_t start, bool past, int64_t now)
{
	static char text[64];
	struct threshold_use u = { .start = start,
		.end = start != 0 ? start + 1000000 : 0,
		.used = used,
		.units = units,
		.past = past };
	uint8_t list[NOTIFY_MAX];
	bool changed;
	unsigned n;
	size_t len = 0;

	u.rate.kind = start != 0 ? RATION_MONTH : RATION_SLIDING;
	u.rate.window_ns = 60 * S;
	n = notified_update(&record, known, &u, percents, reminds, now, list, &changed);
	text[0] = '\0';
	for (unsigned i = 0; i < n; i++)
		len += (size_t)snprintf(
		    text + len, sizeof(text) - len, "%s%u", i > 0 ? " " : "", list[i]);
	if (changed)
		(void)snprintf(text + len, sizeof(text) - len, "!");
	known = known || changed;
	return text;
}

static void
forget(void)
{
	memset(&record, 0, sizeof(record));
	known = false;
}

static void
test_told(void **state)
{
	forget();
	assert_string_equal(tell(59, 100, 5, false, 10), "");
	assert_false(known);
	assert_string_equal(tell(85, 100, 5, false, 10), "60 80!");
	assert_int_equal(record.ends, 1000005);
	assert_int_equal(record.remind, 80);
	assert_int_equal(record.remind_at, 1010);
	assert_string_equal(tell(85, 100, 5, false, 20), "");
	assert_string_equal(tell(20, 100, 5, false, 30), ""); /* given back */
	assert_string_equal(tell(85, 100, 5, false, 40), "");
	assert_string_equal(tell(95, 100, 5, false, 50), "95!");
	assert_int_equal(record.remind, 95);
	assert_int_equal(record.remind_at, 550);
	assert_string_equal(tell(101, 100, 5, false, 60), "100!");
	assert_int_equal(record.remind_at, 0); /* the highest has none */
	/* raised: what lies above 101 is armed, and told when it is reached */
	assert_string_equal(tell(101, 150, 5, false, 70), "!"); /* 67 % */
	assert_int_equal(record.n, 1);
	assert_string_equal(tell(150, 150, 5, false, 80), "80 95 100!");
	/* lowered: nothing that was told is above what was used */
	assert_string_equal(tell(150, 100, 5, false, 90), "!");
	assert_int_equal(record.n, 4);
	/* an upgrade and a crossing seen at once */
	assert_string_equal(tell(650, 1000, 5, false, 100), "60!");
}

static void
test_raise_ends_reminder(void **state)
{
	forget();
	assert_string_equal(tell(90, 100, 5, false, 10), "60 80!");
	assert_int_equal(record.remind_at, 1010);
	assert_string_equal(tell(90, 110, 5, false, 20), "!");
	assert_int_equal(record.remind_at, 0);
	forget();
	assert_string_equal(tell(90, 100, 5, true, 10), "60 80!");
	assert_int_equal(record.remind_at, 0); /* of a period that is over */
}

static void
test_slides(void **state)
{
	forget();
	assert_string_equal(tell(80, 100, 0, false, 1000), "60 80!");
	assert_int_equal(record.ends, POLICY_ENDLESS);
	assert_string_equal(tell(70, 100, 0, false, 1010), "!"); /* below 80 since 1010 */
	assert_string_equal(tell(85, 100, 0, false, 1069), "!"); /* not for a minute */
	assert_string_equal(tell(70, 100, 0, false, 1070), "!");
	assert_string_equal(tell(70, 100, 0, false, 1100), "");
	assert_string_equal(tell(85, 100, 0, false, 1130), "80!");
	assert_string_equal(tell(0, 100, 0, false, 1200), "!");
	assert_int_equal(record.ends, 1260);
	assert_string_equal(tell(80, 100, 0, false, 1259), "!");
	assert_string_equal(tell(0, 100, 0, false, 1300), "!");
	assert_string_equal(tell(80, 100, 0, false, 1360), "60 80!");
	/* after a restart: it is thought to be below, and seen above */
	record.ends = 1420;
	assert_string_equal(tell(80, 100, 0, false, 1370), "!");
	assert_int_equal(record.ends, POLICY_ENDLESS);
	record.ends = 1420;
	assert_string_equal(tell(80, 100, 0, false, 1420), "60 80!");
}

int
main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_level),
		T(test_entry),
		T(test_calls),
		T(test_rates),
		T(test_no_ring),
		T(test_race),
		cmocka_unit_test(test_told),
		cmocka_unit_test(test_raise_ends_reminder),
		cmocka_unit_test(test_slides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
