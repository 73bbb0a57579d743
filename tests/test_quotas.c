/*
 * test_quotas.c - what is used of days, months and long windows outlives the segment; what is used
 * of others, and what was ever admitted, is of the segment.
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cell.h"
#include "command.h"
#include "fixture.h"
#include "quota.h"

static const char policy[] = "table: {rates: 3, keys: 1k}\n"
			     "defaults: {timezone: Europe/Madrid}\n"
			     "limits:\n"
			     "  month: [1000/month, 500/min]\n"
			     "  day: {rates: 100/day, timezone: Asia/Tokyo}\n"
			     "  hour: 50/2h fixed\n"
			     "  minute: 50/min fixed\n"
			     "  slide: 50/min\n";

/* ---- over an instance of the test's own ---- */

static uint64_t
used_by(struct fixture *f, const char *limit, const char *key)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_true(ration_peek(f->r, limit, key, 0, &d) >= 0);
	for (unsigned i = 0; i < d.nrates; i++)
		if (d.rates[i].kind != RATION_SLIDING)
			return d.rates[i].used;
	return d.used;
}

static void
take(struct fixture *f, const char *limit, const char *key, uint64_t cost)
{
	assert_int_equal(ration_acquire(f->r, limit, key, cost, NULL), RATION_ADMITTED);
}

static uint64_t
slot_of(struct fixture *f, const char *limit, const char *key)
{
	struct ident id = { .limit = limit,
		.limit_len = strlen(limit),
		.key = (const unsigned char *)key,
		.key_len = strlen(key) };
	struct policy_ref p;
	struct found found;

	assert_true(policy_current(f->seg.policy, &p));
	ident_hash(&f->seg, &id);
	assert_true(
	    table_find(&f->seg, &id, (uint32_t)policy_limit_id(&p, limit, strlen(limit)), &found));
	return found.slot;
}

static struct quota
read_one(struct fixture *f, const char *limit, const char *key)
{
	struct quota q[CELLS_MAX];

	assert_int_equal(quota_read(&f->seg, slot_of(f, limit, key), atomic_load(&f->now), q), 1);
	return q[0];
}

static int
put_into(struct fixture *f, const struct quota *q)
{
	struct policy_ref p;

	assert_true(policy_current(f->seg.policy, &p));
	return quota_put(&f->seg, &p, q, atomic_load(&f->now));
}

static void
test_read_and_put(void **state)
{
	struct fixture a, b;
	struct quota q;
	struct row row;

	(void)state;
	fixture_open(&a, policy, 0);
	fixture_open(&b, policy, 0);
	take(&a, "month", "k", 123);
	q = read_one(&a, "month", "k");
	assert_int_equal(q.used, 123);
	assert_string_equal(q.limit, "month");
	assert_int_equal(put_into(&b, &q), 0);
	assert_int_equal(used_by(&b, "month", "k"), 123);
	/* Again, as after a kill in between: it is as much, not more. */
	assert_int_equal(put_into(&b, &q), 0);
	assert_int_equal(used_by(&b, "month", "k"), 123);
	/* Nothing was admitted here; what is from now on, is. */
	assert_true(view_row(&b.seg, slot_of(&b, "month", "k"), atomic_load(&b.now), &row));
	assert_int_equal(row.admitted, 0);
	take(&b, "month", "k", 7);
	assert_true(view_row(&b.seg, slot_of(&b, "month", "k"), atomic_load(&b.now), &row));
	assert_int_equal(row.admitted, 7);
	assert_int_equal(used_by(&b, "month", "k"), 130);
	/* And when the month's word is folded into the total. */
	atomic_fetch_add(&b.now, UINT64_C(40) * 86400 * 1000000000);
	take(&b, "month", "k", 5);
	assert_true(view_row(&b.seg, slot_of(&b, "month", "k"), atomic_load(&b.now), &row));
	assert_int_equal(row.admitted, 12);
	fixture_close(&a);
	fixture_close(&b);
}

static void
test_not_put(void **state)
{
	struct quota q, other;
	struct fixture f;

	(void)state;
	fixture_open(&f, policy, 0);
	take(&f, "day", "k", 10);
	q = read_one(&f, "day", "k");
	other = q;
	(void)snprintf(other.limit, sizeof(other.limit), "gone");
	assert_int_equal(put_into(&f, &other), RATION_ENOLIMIT);
	other = q;
	other.shape++; /* a day of another zone, a rate that is no more */
	assert_int_equal(put_into(&f, &other), RATION_ENOLIMIT);
	other = q;
	other.start_s -= 86400;
	other.used = 99;
	assert_int_equal(put_into(&f, &other), RATION_ESTALE);
	assert_int_equal(used_by(&f, "day", "k"), 10);
	fixture_close(&f);
}

/* The mark moves with what is to be written down, and with nothing else. */
static void
test_mark(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct quota q[CELLS_MAX];
	struct fixture f;
	uint64_t slot, mark;

	(void)state;
	fixture_open(&f, policy, 0);
	take(&f, "slide", "k", 1);
	take(&f, "minute", "k", 1);
	assert_int_equal(quota_mark(&f.seg, slot_of(&f, "slide", "k")), 0);
	assert_int_equal(quota_mark(&f.seg, slot_of(&f, "minute", "k")), 0);
	assert_int_equal(quota_read(&f.seg, slot_of(&f, "minute", "k"), atomic_load(&f.now), q), 0);
	assert_int_equal(ration_acquire(f.r, "hour", "k", 5, &d), RATION_ADMITTED);
	slot = slot_of(&f, "hour", "k");
	mark = quota_mark(&f.seg, slot);
	assert_true(mark != 0);
	assert_true(quota_mark(&f.seg, slot) == mark);
	assert_int_equal(ration_refund(f.r, &d, 2), 0);
	assert_true(quota_mark(&f.seg, slot) != mark);
	fixture_close(&f);
}

/* ---- over the real rationd ---- */

static void
lose_segment(struct server *s)
{
	static const char *const names[] = { "default.counters", "default.policy", "default.side" };
	char path[256];

	for (unsigned i = 0; i < 3; i++) {
		path_in(s, names[i], path, sizeof(path));
		assert_int_equal(unlink(path), 0);
	}
}

static json_int_t
quotas_say(const struct server *s, const char *name)
{
	json_t *j = ok(s, "status", NULL);
	json_int_t n = json_integer_value(json_object_get(json_object_get(j, "quotas"), name));

	json_decref(j);
	return n;
}

static int
begin(void **state)
{
	return setup_running(state, policy);
}

static void
use_some(struct server *s)
{
	RUN(0, s, "acquire", "month", "k", "--cost", "123");
	RUN(0, s, "acquire", "day", "k", "--cost", "40");
	RUN(0, s, "acquire", "hour", "k", "--cost", "30");
	RUN(0, s, "acquire", "slide", "k", "--cost", "20");
}

/* The most of its rates, by `ration show`. */
static json_int_t
has_used(struct server *s, const char *limit)
{
	json_int_t used = 0;
	json_t *j, *rate;
	size_t i;

	RUN(0, s, "--json", "show", limit, "k");
	j = json_loads(ran.out, 0, NULL);
	json_array_foreach(json_object_get(j, "rates"), i, rate)
	{
		json_int_t n = json_integer_value(json_object_get(rate, "used"));

		used = n > used ? n : used;
	}
	json_decref(j);
	return used;
}

static void
assert_kept(struct server *s)
{
	assert_int_equal(quotas_say(s, "put_back"), 3);
	assert_int_equal(has_used(s, "month"), 123);
	assert_int_equal(has_used(s, "day"), 40);
	assert_int_equal(has_used(s, "hour"), 30);
	RUN(1, s, "acquire", "day", "k", "--cost", "61");
	RUN(0, s, "acquire", "day", "k", "--cost", "60");
}

static void
test_ended(void **state)
{
	struct server *s = *state;

	use_some(s);
	assert_int_equal(stop(s, SIGTERM), 0);
	lose_segment(s);
	start(s);
	assert_int_equal(has_used(s, "slide"), 0);
	assert_kept(s);
}

static void
test_killed(void **state)
{
	struct server *s = *state;
	int64_t start_ms = mono_ms();

	use_some(s);
	while (quotas_say(s, "written") < 3) {
		assert_true(mono_ms() - start_ms < 60000);
		(void)poll(NULL, 0, 50);
	}
	(void)printf("written down after %lld ms\n", (long long)(mono_ms() - start_ms));
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	lose_segment(s);
	start(s);
	assert_kept(s);
	/* A reset is written down too. */
	RUN(0, s, "reset", "month", "k");
	assert_int_equal(stop(s, SIGTERM), 0);
	lose_segment(s);
	start(s);
	assert_int_equal(has_used(s, "month"), 0);
	assert_int_equal(has_used(s, "day"), 100);
}

/* With the counters there, they alone count. */
static void
test_restarted(void **state)
{
	struct server *s = *state;

	use_some(s);
	assert_int_equal(stop(s, SIGTERM), 0);
	start(s);
	assert_int_equal(quotas_say(s, "put_back"), 0);
	assert_int_equal(has_used(s, "month"), 123);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_put),
		cmocka_unit_test(test_not_put),
		cmocka_unit_test(test_mark),
		cmocka_unit_test_setup_teardown(test_ended, begin, teardown),
		cmocka_unit_test_setup_teardown(test_killed, begin, teardown),
		cmocka_unit_test_setup_teardown(test_restarted, begin, teardown),
	};

	if (argc < 3)
		return 2;
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
