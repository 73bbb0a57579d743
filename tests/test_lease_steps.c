/*
 * test_lease_steps.c - leases: callers stopped at every atomic step of taking one, releasing,
 * renewing, taking one from the dead, adding a chunk, while others go on; then resumed or
 * killed.  At no time are more held than the limit allows, and in the end just as many can be had
 * as are not.
 */
#include "steps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "holder.h"

#define S UINT64_C(1000000000)
#define HELD_MAX 64u

/* Leases that their holders know of. */
static struct held {
	struct actor *who;
	ration_lease_t l;
	uint64_t end_ns; /* 0: none */
} held[HELD_MAX];
static unsigned nheld;
static unsigned limit; /* the most that any policy in force meanwhile allows */

static struct task victim, sweeper;
static struct {
	const char *scene;
	long k;
	unsigned variant;
	bool killed;
} at;

#define CHECK(holds, ...) \
	do { \
		if (!(holds)) { \
			print_error("%s, stopped at %ld, variant %u, %s: ", at.scene, at.k, \
			    at.variant, at.killed ? "killed" : "resumed"); \
			print_error(__VA_ARGS__); \
			print_error("\n"); \
			fail(); \
		} \
	} while (0)

static unsigned
live(void)
{
	uint64_t now = atomic_load(&wd.f.now);
	unsigned n = 0;

	for (unsigned i = 0; i < nheld; i++)
		n += held[i].end_ns == 0 || held[i].end_ns > now;
	return n;
}

static void
note(struct actor *who, const ration_lease_t *l, uint64_t end_ns)
{
	held[nheld++] = (struct held) { who, *l, end_ns };
	CHECK(live() <= limit, "%u of %u are held", live(), limit);
}

static bool
take(struct actor *who, const char *key)
{
	ration_lease_t l;
	int v = ration_lease(who->r, "m", key, strlen(key), 0, &l, NULL);

	CHECK(v >= 0, "ration_lease: %s", ration_strerror(v));
	if (v == RATION_ADMITTED && key[0] == 'a')
		note(who, &l, 0);
	return v == RATION_ADMITTED;
}

static void
give(unsigned i)
{
	ration_lease_t l = held[i].l;
	int e;

	held[i] = held[--nheld];
	e = ration_release(wd.who[1].r, &l);
	CHECK(e == 0, "release: %s", ration_strerror(e));
}

/* Its leases are not to be had by it any more, but nobody has taken them away yet. */
static void
die(struct actor *who)
{
	holder_forget(who->r);
	for (unsigned i = nheld; i-- > 0;)
		if (held[i].who == who)
			held[i] = held[--nheld];
}

/* ---- what goes on meanwhile ---- */

static void
meanwhile(unsigned variant)
{
	switch (variant) {
	case 0: /* others take all there is */
		while (take(&wd.who[1], "a"))
			;
		break;
	case 1: /* take, give back, take */
		if (take(&wd.who[1], "a"))
			give(nheld - 1);
		while (take(&wd.who[2], "a"))
			;
		break;
	case 2: /* all the others' go, and all is taken anew */
		while (nheld > 0 && held[nheld - 1].who != &wd.who[0])
			give(nheld - 1);
		while (take(&wd.who[1], "a"))
			;
		break;
	case 3: /* another dies, time passes */
		die(&wd.who[1]);
		world_pass(60 * S);
		while (take(&wd.who[2], "a"))
			;
		break;
	case 4: /* the key is recycled, if it can be, and another takes its slot */
		while (nheld > 0 && held[nheld - 1].who != &wd.who[0])
			give(nheld - 1);
		world_pass(60 * S);
		world_sweep(6);
		while (take(&wd.who[1], "b"))
			;
		break;
	case 5: /* the same key anew */
		while (nheld > 0 && held[nheld - 1].who != &wd.who[0])
			give(nheld - 1);
		world_sweep(3);
		while (take(&wd.who[1], "a"))
			;
		break;
	default:
		world_next_policy();
		while (take(&wd.who[1], "a"))
			;
	}
}

/* Each key has as many as are free, whatever was left half done. */
static void
check_end(unsigned n)
{
	struct audit a;
	const char *wrong;
	unsigned got = 0, had = live(), b = 0;

	while (take(&wd.who[3], "a"))
		got++;
	CHECK(
	    had + got == (had > n ? had : n), "%u were held, and %u more are to be had", had, got);
	wrong = audit_table(&wd.f, &a);
	CHECK(wrong == NULL, "%s", wrong);
	while (nheld > 0)
		if (held[nheld - 1].end_ns == 0)
			give(nheld - 1);
		else
			nheld--;
	while (b < 100 && take(&wd.who[3], "b"))
		b++;
	CHECK(b <= n, "%u of another key", b);
	for (unsigned i = 1; i < 4; i++)
		holder_forget(wd.who[i].r);
	/* Who looks for the dead last: nothing is left over. */
	world_pass(100 * S);
	for (got = 0; take(&wd.who[2], "a"); got++)
		;
	CHECK(got == n, "%u of %u in the end", got, n);
	nheld = 0;
	holder_forget(wd.who[2].r);
	world_pass(100 * S);
	world_sweep(4);
	wrong = audit_table(&wd.f, &a);
	CHECK(wrong == NULL, "%s", wrong);
	CHECK(a.unlinked == 0 && a.lost == 0 && a.st[ST_MAKING] == 0, "something is left over");
}

/* ---- a victim ---- */

struct scene {
	const char *name;
	enum what what;
	unsigned before;  /* leases that others hold */
	unsigned dead;    /* and dead ones */
	unsigned own;     /* the victim's own */
	uint64_t ttl_ms;  /* the victim's */
	uint64_t pass_ns; /* before it begins */
	unsigned variants;
};

static void
prepare(const struct scene *s)
{
	world_restore();
	nheld = 0;
	for (unsigned i = 0; i < 4; i++)
		holder_forget(wd.who[i].r);
	for (unsigned i = 0; i < s->dead; i++)
		(void)take(&wd.who[1], "a");
	die(&wd.who[1]);
	for (unsigned i = 0; i < s->before; i++)
		(void)take(&wd.who[2], "a");
	victim.lease = (ration_lease_t) { 0 };
	victim.ttl_ms = s->ttl_ms;
	if (s->own != 0) {
		int v = ration_lease(wd.who[0].r, "m", "a", 1, s->ttl_ms, &victim.lease, NULL);

		CHECK(v == RATION_ADMITTED, "its own lease");
	}
	world_pass(s->pass_ns);
}

/* The victim's own lease counts until it is released, or has expired. */
static void
finish(const struct scene *s, bool killed)
{
	uint64_t began = victim.who->read_ns;

	if (killed) {
		die(&wd.who[0]);
		return;
	}
	(void)task_run(&victim, -1);
	CHECK(victim.verdict != RATION_EBUSY, "it gave up");
	if (s->what == DO_RELEASE || victim.verdict < 0 || victim.verdict == RATION_DENIED) {
		if (s->what != DO_RENEW || victim.verdict < 0)
			return;
	}
	/* The time to live is from its last reading of the clock on. */
	began = s->ttl_ms != 0 ? wd.who[0].read_ns : began;
	note(&wd.who[0], &victim.lease, s->ttl_ms != 0 ? began + s->ttl_ms * 1000000 : 0);
}

static void
each_step(const struct scene *s, unsigned n, unsigned after)
{
	at.scene = s->name;
	for (at.variant = 0; at.variant < s->variants; at.variant++)
		for (unsigned killed = 0; killed < 2; killed++) {
			bool done = false;

			at.killed = killed != 0;
			for (at.k = 0; !done; at.k++) {
				unsigned now = n;

				limit = n > after ? n : after;
				prepare(s);
				task_start(&victim, s->what, &wd.who[0], "a", 1);
				done = task_run(&victim, at.k);
				meanwhile(at.variant);
				if (at.variant == 6)
					now = after;
				finish(s, at.killed);
				check_end(now);
			}
			assert_true(at.k > 1);
		}
}

static char text[2][256];

static void
open_world(unsigned n, unsigned after, uint64_t slots, bool warm)
{
	static const char form[] = "table: {rates: 1, policy: 128KiB}\nlimits:\n"
				   "  m: {rates: %u concurrent, when_full: deny}\n"
				   "  other: 1000/min\n";
	const char *yaml[] = { text[0], text[1], NULL };

	(void)snprintf(text[0], sizeof(text[0]), form, n);
	(void)snprintf(text[1], sizeof(text[1]), form, after);
	world_open(slots, yaml, false);
	limit = n > after ? n : after;
	nheld = 0;
	/* Every handle has its page, and knows the key, before the world is saved. */
	for (unsigned i = 0; i < 4; i++) {
		ration_lease_t l;

		assert_int_equal(
		    ration_lease(wd.who[i].r, "m", warm ? "a" : "c", 1, 0, &l, NULL), 1);
		assert_int_equal(ration_release(wd.who[i].r, &l), 0);
	}
	if (!warm) {
		world_pass(10 * S);
		world_sweep(6);
	}
	world_save();
}

static void
run(const struct scene *scenes, size_t count, unsigned n, unsigned after, uint64_t slots)
{
	for (unsigned warm = 0; warm < 2; warm++) {
		open_world(n, after, slots, warm != 0);
		for (size_t i = 0; i < count; i++)
			each_step(&scenes[i], n, after);
		world_close();
	}
}

static void
test_small(void **state)
{
	static const struct scene scenes[] = {
		{ "take", DO_LEASE, 1, 0, 0, 0, 0, 7 },
		{ "take the last", DO_LEASE, 2, 0, 0, 0, 0, 7 },
		{ "take from the dead", DO_LEASE, 1, 2, 0, 0, 0, 7 },
		{ "take with a time to live", DO_LEASE, 1, 0, 0, 5000, 0, 3 },
		{ "take with units", DO_LEASE_ALL, 1, 1, 0, 0, 0, 6 },
		{ "release", DO_RELEASE, 2, 0, 1, 0, 0, 7 },
		{ "renew", DO_RENEW, 1, 0, 1, 5000, 4900000000, 4 },
	};

	(void)state;
	run(scenes, sizeof(scenes) / sizeof(scenes[0]), 3, 2, 4);
}

static void
test_raised(void **state)
{
	static const struct scene scenes[] = {
		{ "take, raised", DO_LEASE, 3, 0, 0, 0, 0, 7 },
		{ "release, raised", DO_RELEASE, 2, 0, 1, 0, 0, 7 },
	};

	(void)state;
	run(scenes, sizeof(scenes) / sizeof(scenes[0]), 3, 5, 4);
}

static void
test_chunks(void **state)
{
	static const struct scene scenes[] = {
		{ "take, a chunk is added", DO_LEASE, 16, 0, 0, 0, 0, 7 },
		{ "take in a chunk", DO_LEASE, 17, 0, 0, 0, 0, 7 },
		{ "take from the dead in a chunk", DO_LEASE, 2, 16, 0, 0, 0, 4 },
		{ "release in a chunk", DO_RELEASE, 17, 0, 1, 0, 0, 7 },
	};

	(void)state;
	run(scenes, sizeof(scenes) / sizeof(scenes[0]), 18, 17, 8);
}

/* The sweeper stopped while chunk 0 or another goes. */
static void
test_sweeper(void **state)
{
	(void)state;
	open_world(18, 18, 8, true);
	at.scene = "sweeper";
	for (unsigned own = 0; own < 2; own++) {
		bool done = false;

		for (at.k = 0; !done; at.k++) {
			world_restore();
			nheld = 0;
			limit = 18;
			for (unsigned i = 0; i < 17; i++)
				(void)take(&wd.who[1], "a");
			while (nheld > own)
				give(0);
			world_pass(60 * S);
			task_start(&sweeper, DO_SWEEP, &wd.who[0], "a", 1);
			done = task_run(&sweeper, at.k);
			while (take(&wd.who[2], "a"))
				;
			(void)task_run(&sweeper, -1);
			check_end(18);
		}
		assert_true(at.k > 20);
	}
	world_close();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_raised),
		cmocka_unit_test(test_chunks),
		cmocka_unit_test(test_sweeper),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
