/*
 * test_side.c - what stands beside the counters as one may find it: absent, of a stranger, cut
 * off, garbage.  Calls are decided all the same; rationd puts it right, and clients find it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fixture.h"
#include "notes.h"

static const char policy[] = "limits: {api: 2/hour}\n";

static struct fixture f;

static const struct side_head *
side_of(const ration_t *r)
{
	return atomic_load(&r->seg)->side;
}

static ino_t
inode(void)
{
	struct stat st;

	assert_int_equal(stat(f.paths.side, &st), 0);
	return st.st_ino;
}

/* As rationd does when it starts. */
static int
make(void)
{
	char why[512];

	segment_detach(&f.seg);
	assert_int_equal(segment_attach_owner(&f.paths, &f.seg, why, sizeof(why)), 0);
	return f.seg.side != NULL
	    ? 0
	    : segment_side_make(&f.paths, (unsigned)-1, &f.seg, why, sizeof(why));
}

/* A client does without it, and rationd makes one that the next client has. */
static void
check(const char *what, bool found, bool made)
{
	ration_t *r = fixture_handle(&f);

	if ((side_of(r) != NULL) != found)
		fail_msg("%s: %s", what, found ? "not attached" : "attached");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ration_acquire(r, "api", what, 1, NULL),
		    i < 2 ? RATION_ADMITTED : RATION_DENIED);
	ration_close(r);
	if ((make() == 0) != made)
		fail_msg("%s: rationd %s", what, made ? "makes none" : "makes one");
	if (!made)
		return;
	r = fixture_handle(&f);
	assert_non_null(side_of(r));
	ration_close(r);
}

static void
test_found(void **state)
{
	char aside[1300];

	(void)state;
	fixture_open(&f, policy, 0);
	check("as it should be", true, true);
	assert_int_equal(unlink(f.paths.side), 0);
	check("absent", false, true);
	assert_int_equal(truncate(f.paths.side, 4096), 0);
	check("short", false, true);
	assert_int_equal(truncate(f.paths.side, (off_t)SIDE_BYTES + 4096), 0);
	check("long", false, true);
	assert_int_equal(truncate(f.paths.side, 0), 0);
	check("empty", false, true);
	assert_int_equal(truncate(f.paths.side, 0), 0);
	assert_int_equal(truncate(f.paths.side, (off_t)SIDE_BYTES), 0);
	check("zeros", false, true);
	assert_int_equal(chmod(f.paths.side, 0666), 0);
	check("writable to the world", false, true);
	if (geteuid() == 0) {
		assert_int_equal(chown(f.paths.side, 65534, 65534), 0);
		check("a stranger's", false, true);
	}
	(void)snprintf(aside, sizeof(aside), "%s/aside", f.dir);
	assert_int_equal(rename(f.paths.side, aside), 0);
	assert_int_equal(symlink(aside, f.paths.side), 0);
	check("a symbolic link", false, true);
	assert_int_equal(unlink(f.paths.side), 0);
	assert_int_equal(mkfifo(f.paths.side, 0660), 0);
	check("a pipe", false, true);
	assert_int_equal(unlink(f.paths.side), 0);
	assert_int_equal(mkdir(f.paths.side, 0700), 0);
	check("a directory", false, false);
	assert_int_equal(rmdir(f.paths.side), 0);
	fixture_close(&f);
}

/* Clients have it mapped: a head that somebody wrote over does not part them from the others. */
static void
test_scribbled(void **state)
{
	ino_t was;

	(void)state;
	fixture_open(&f, policy, 0);
	was = inode();
	for (unsigned i = 0; i < 5; i++) {
		struct side_head *h = f.seg.side;
		struct note n = { .slot = i, .percent = 60, .used = 60, .units = 100 };
		uint64_t number;

		switch (i) {
		case 0:
			atomic_store(&h->magic, 0);
			break;
		case 1:
			h->id++;
			break;
		case 2:
			h->bytes = UINT64_MAX;
			break;
		case 3:
			h->layout_version = 0;
			break;
		default:
			memset(h, 0xff, sizeof(*h));
		}
		assert_int_equal(make(), 0);
		assert_true(inode() == was);
		notes_put(atomic_load(&f.r->seg), &n);
		number = atomic_load(&f.seg.side->noted);
		assert_true(notes_get(&f.seg, number, &n));
		assert_int_equal(n.slot, i);
	}
	fixture_close(&f);
}

/* A larger policy takes its place: the next call finds that. */
static void
larger(void)
{
	struct policy_ref p;
	struct segment made;
	uint32_t version;
	char why[512];
	struct policy_area *area;

	assert_true(policy_current(f.seg.policy, &p));
	assert_int_equal(segment_policy_make(&f.paths, &f.seg, f.seg.policy->area_bytes * 2,
			     (unsigned)-1, &made, why, sizeof(why)),
	    0);
	area = policy_begin(made.policy, &version);
	memcpy(area, p.area, p.area->bytes);
	area->version = version;
	policy_publish(made.policy, version);
	assert_int_equal(segment_policy_switch(&f.paths, &f.seg, &made, why, sizeof(why)), 0);
}

/* It was made since the client attached the counters, which it keeps where they are. */
static void
test_made_since(void **state)
{
	const struct seg_head *counters;
	ration_t *r;

	(void)state;
	fixture_open(&f, policy, 0);
	assert_int_equal(unlink(f.paths.side), 0);
	r = fixture_handle(&f);
	counters = atomic_load(&r->seg)->head;
	assert_null(side_of(r));
	assert_int_equal(make(), 0);
	for (unsigned i = 0; i < 4; i++) {
		larger();
		(void)ration_acquire(r, "api", "k", 1, NULL);
		assert_int_equal(ration_attach(r), 0);
		assert_ptr_equal(atomic_load(&r->seg)->head, counters);
		assert_non_null(side_of(r));
	}
	assert_int_equal(ration_acquire(r, "api", "other", 1, NULL), RATION_ADMITTED);
	ration_close(r);
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found),
		cmocka_unit_test(test_scribbled),
		cmocka_unit_test(test_made_since),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
