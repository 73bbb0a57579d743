/*
 * test_clock_step.c - the system's clock is set while programs decide: what rationd does with
 * a reading of both clocks, and what a program sees of it.  The readings are made up; nobody's
 * clock is set.
 *
 * Fixed windows follow Unix time at the next call, forward and back, and nobody gets a second
 * quota in a window that comes twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "keeper.h"
#include "model.h"
#include "ration.h"

#define S INT64_C(1000000000)
#define NOON INT64_C(1780315200) /* 2026-06-01T12:00:00Z */

static const char policy[] = "table: {keys: 64, policy: 64Ki}\n"
			     "limits: {fixed: 5/min fixed, day: 5/day, sliding: 5/min}\n";

struct world {
	char dir[64];
	struct paths paths;
	struct keeper k;
	ration_t *r;
};

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct mistakes m = { 0 };
	struct config_table t;
	struct config *c;
	char err[512];

	assert_non_null(w);
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/ration-test.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_int_equal(paths_find("t", w->dir, true, &w->paths), 0);
	assert_int_equal(config_parse("p.yaml", policy, strlen(policy), &c, &m), 0);
	config_table(c, &t);
	assert_int_equal(keeper_open(&w->k, &w->paths, &t, (gid_t)-1, false, err, sizeof(err)), 0);
	assert_int_equal(keeper_compile(&w->k, c, NULL, 0, &m), 0);
	keeper_publish(&w->k);
	config_free(c);
	assert_int_equal(ration_open_dir(w->dir, "t", 0, &w->r), 0);
	*state = w;
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;
	int fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *e;

	ration_close(w->r);
	keeper_close(&w->k);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			(void)unlinkat(fd, e->d_name, 0);
	(void)closedir(d);
	(void)rmdir(w->dir);
	free(w);
	return 0;
}

/* It is that Unix time now.  Returns by how many s it was set. */
static int64_t
set_clock(struct world *w, int64_t unix_ns)
{
	int64_t moved = keeper_real_is(&w->k, (int64_t)keeper_shared(&w->k), unix_ns);

	return (moved + (moved < 0 ? -S / 2 : S / 2)) / S;
}

/* How many of 9 are admitted; what the clock of the decision says. */
static int
take(struct world *w, const char *limit, int64_t unix_s)
{
	ration_decision_t d = RATION_DECISION_INIT;
	int n = 0;

	for (int i = 0; i < 9; i++) {
		int v = ration_acquire(w->r, limit, "k", 1, &d);

		assert_true(v == RATION_ADMITTED || v == RATION_DENIED);
		n += v;
		assert_in_range(d.now, unix_s - 1, unix_s + 5); /* the test may be slow */
	}
	return n;
}

static void
test_steps(void **state)
{
	struct world *w = *state;

	(void)set_clock(w, (NOON + 30) * S);
	assert_int_equal(take(w, "fixed", NOON + 30), 5);
	assert_int_equal(take(w, "day", NOON + 30), 5);
	assert_int_equal(take(w, "sliding", NOON + 30), 5);
	/* Back within the window, back by some, forward: each window has its own quota, once. */
	assert_int_equal(set_clock(w, (NOON + 10) * S), -20);
	assert_int_equal(take(w, "fixed", NOON + 10), 0);
	assert_int_equal(set_clock(w, (NOON + 70) * S), 60);
	assert_int_equal(take(w, "fixed", NOON + 70), 5);
	assert_int_equal(set_clock(w, (NOON + 10) * S), -60);
	assert_int_equal(take(w, "fixed", NOON + 10), 0);
	assert_int_equal(set_clock(w, (NOON + 610) * S), 600);
	assert_int_equal(take(w, "fixed", NOON + 610), 5);
	assert_int_equal(set_clock(w, (NOON + 75) * S), -535);
	assert_int_equal(take(w, "fixed", NOON + 75), 0);
	/* A day, which is the same day after all; the next one; and back. */
	assert_int_equal(take(w, "day", NOON + 75), 0);
	assert_int_equal(set_clock(w, (NOON + 86400) * S), 86325);
	assert_int_equal(take(w, "day", NOON + 86400), 5);
	assert_int_equal(set_clock(w, NOON * S), -86400);
	assert_int_equal(take(w, "day", NOON), 0);
	/* Sliding windows do not care. */
	assert_int_equal(take(w, "sliding", NOON), 0);
}

/* Time that slews is published too, but is no step; what is right is left alone. */
static void
test_slew(void **state)
{
	struct world *w = *state;
	struct policy_head *h = w->k.seg.policy;
	uint32_t g;

	(void)keeper_real_is(&w->k, 1000 * S, NOON * S);
	g = atomic_load(&h->clock_generation);
	assert_int_equal(keeper_real_is(&w->k, 1001 * S, (NOON + 1) * S + 900000), 0);
	assert_int_equal(atomic_load(&h->clock_generation), g);
	assert_int_equal(atomic_load(&h->real_offset_ns), (NOON - 1000) * S);
	assert_int_equal(keeper_real_is(&w->k, 1002 * S, (NOON + 2) * S + 1100000), 0);
	assert_int_equal(atomic_load(&h->clock_generation), g + 1);
	assert_int_equal(atomic_load(&h->real_offset_ns), (NOON - 1000) * S + 1100000);
	assert_int_equal(keeper_real_is(&w->k, 1003 * S, (NOON - 57) * S), -60 * S - 1100000);
	/* The real readings bring it back to the truth. */
	assert_int_not_equal(keeper_real_time(&w->k), 0);
	assert_int_equal(keeper_real_time(&w->k), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slew, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
