/*
 * test_attach.c - objects as one may find them: absent, half made, cut off, garbage, of another
 * build, of a stranger, open to the world, replaced.  Each has an error of its own and none
 * harms the caller; a handle finds the way back by itself.
 *
 * usage: test_attach RATIOND
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

#define NOBODY 65534

static const char policy[] = "limits: {api: 10/hour}\n";
static const char *rationd;

static int
try_open(const struct fixture *f)
{
	ration_t *r = NULL;
	int e = ration_open_dir(f->dir, "t", 0, &r);

	assert_true((e == 0) == (r != NULL));
	ration_close(r);
	return e;
}

/* ---- damage, each undone by `heal` ---- */

struct copy {
	const char *path;
	void *bytes;
	size_t n;
};

static struct copy
take_copy(const char *path)
{
	struct copy c = { .path = path };
	struct stat st;
	int fd = open(path, O_RDONLY);

	assert_int_equal(fstat(fd, &st), 0);
	c.n = (size_t)st.st_size;
	c.bytes = malloc(c.n);
	assert_non_null(c.bytes);
	assert_int_equal(read(fd, c.bytes, c.n), (ssize_t)c.n);
	(void)close(fd);
	return c;
}

static void
write_file(const char *path, const void *bytes, size_t n)
{
	int fd;

	(void)unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0660);
	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, bytes, n), (ssize_t)n);
	assert_int_equal(fchmod(fd, 0660), 0);
	(void)close(fd);
}

static void
heal(const struct copy *c)
{
	write_file(c->path, c->bytes, c->n);
}

/* The object with n bytes at `offset` changed. */
static int
open_patched(
    const struct fixture *f, const struct copy *c, size_t offset, const void *bytes, size_t n)
{
	unsigned char *p = malloc(c->n);
	int e;

	assert_non_null(p);
	memcpy(p, c->bytes, c->n);
	memcpy(p + offset, bytes, n);
	write_file(c->path, p, c->n);
	free(p);
	e = try_open(f);
	heal(c);
	assert_int_equal(try_open(f), 0);
	return e;
}

static int
open_cut(const struct fixture *f, const struct copy *c, size_t n)
{
	int e;

	write_file(c->path, c->bytes, n);
	e = try_open(f);
	heal(c);
	return e;
}

static void
test_damage(void **state)
{
	static const size_t heads[] = { sizeof(struct seg_head), sizeof(struct policy_head) };
	uint64_t seed = test_seed();
	struct fixture f;

	(void)state;
	fixture_open(&f, policy, 64);
	for (unsigned i = 0; i < 2; i++) {
		struct copy c = take_copy(i == 0 ? f.paths.counters : f.paths.policy);
		unsigned char *junk = malloc(c.n);

		assert_non_null(junk);
		assert_int_equal(open_cut(&f, &c, 0), RATION_EBADSEG);
		assert_int_equal(open_cut(&f, &c, heads[i] - 1), RATION_EBADSEG);
		assert_int_equal(open_cut(&f, &c, heads[i]), RATION_EBADSEG);
		assert_int_equal(open_cut(&f, &c, c.n / 2), RATION_EBADSEG);
		assert_int_equal(open_cut(&f, &c, c.n - 1), RATION_EBADSEG);
		for (unsigned round = 0; round < 50; round++) {
			for (size_t k = 0; k < c.n; k++)
				junk[k] = (unsigned char)test_random(&seed);
			write_file(c.path, junk, c.n);
			assert_int_equal(try_open(&f), RATION_EBADSEG);
		}
		heal(&c);
		free(junk);
		free(c.bytes);
	}
	fixture_close(&f);
}

/* Sizes and offsets that would lead out of the object, and any other word of the head. */
static void
test_head(void **state)
{
	static const uint64_t wild[] = { 0, 1, 7, UINT64_C(1) << 20, UINT64_C(1) << 45,
		UINT64_MAX };
	struct fixture f;

	(void)state;
	fixture_open(&f, policy, 64);
	for (unsigned i = 0; i < 2; i++) {
		struct copy c = take_copy(i == 0 ? f.paths.counters : f.paths.policy);
		size_t end =
		    i == 0 ? offsetof(struct seg_head, secret) : sizeof(struct policy_head);

		for (size_t at = 0; at < end; at += 4)
			for (unsigned k = 0; k < sizeof(wild) / sizeof(wild[0]); k++) {
				/* Whatever it is: an answer, and no signal. */
				(void)open_patched(&f, &c, at, &wild[k], at + 8 <= c.n ? 8 : 4);
			}
		free(c.bytes);
	}
	fixture_close(&f);
}

/* A directory may outlive a boot, the clock of its counters does not. */
static void
test_other_boot(void **state)
{
	struct fixture f;
	ration_t *r = NULL;

	(void)state;
	fixture_open(&f, policy, 64);
	f.seg.head->boot_id[3] ^= 0x40;
	assert_int_equal(ration_open_dir(f.dir, "t", 0, &r), RATION_ENOSEG);
	f.seg.head->boot_id[3] ^= 0x40;
	assert_int_equal(ration_open_dir(f.dir, "t", 0, &r), 0);
	ration_close(r);
	fixture_close(&f);
}

static void
test_versions(void **state)
{
	static const uint64_t none = 0;
	const uint32_t other = LAYOUT_VERSION + 1;
	struct fixture f;
	uint64_t wrong = 1;

	(void)state;
	fixture_open(&f, policy, 64);
	for (unsigned i = 0; i < 2; i++) {
		struct copy c = take_copy(i == 0 ? f.paths.counters : f.paths.policy);
		size_t version = i == 0 ? offsetof(struct seg_head, layout_version)
					: offsetof(struct policy_head, layout_version);
		size_t print = i == 0 ? offsetof(struct seg_head, fingerprint)
				      : offsetof(struct policy_head, fingerprint);
		size_t id =
		    i == 0 ? offsetof(struct seg_head, id) : offsetof(struct policy_head, id);

		assert_int_equal(open_patched(&f, &c, version, &other, 4), RATION_ELAYOUT);
		assert_int_equal(open_patched(&f, &c, print, &other, 4), RATION_ELAYOUT);
		/* Published last: until then it is being made. */
		assert_int_equal(
		    open_patched(&f, &c, 0, (uint64_t[2]) { 0, 0 }, 16), RATION_ENOTREADY);
		assert_int_equal(open_patched(&f, &c, 0, &wrong, 8), RATION_EBADSEG);
		/* Counters of one instance and policy of another: one of them is new. */
		assert_int_equal(open_patched(&f, &c, id, &wrong, 8), RATION_ENOTREADY);
		if (i == 1) /* nothing is published yet */
			assert_int_equal(
			    open_patched(&f, &c, offsetof(struct policy_head, word), &none, 8),
			    RATION_ENOTREADY);
		free(c.bytes);
	}
	fixture_close(&f);
}

static void
test_strangers(void **state)
{
	struct fixture f;
	char other[1300];

	(void)state;
	fixture_open(&f, policy, 64);
	for (unsigned i = 0; i < 2; i++) {
		const char *path = i == 0 ? f.paths.counters : f.paths.policy;

		assert_int_equal(chmod(path, 0666), 0);
		assert_int_equal(try_open(&f), RATION_EOWNER);
		assert_int_equal(chmod(path, 0660), 0);
		(void)snprintf(other, sizeof(other), "%s.elsewhere", path);
		assert_int_equal(rename(path, other), 0);
		assert_int_equal(try_open(&f), RATION_ENOSEG);
		assert_int_equal(symlink(other, path), 0);
		assert_int_equal(try_open(&f), RATION_EOWNER);
		assert_int_equal(unlink(path), 0);
		/* Nor does it wait for somebody to open the other end. */
		assert_int_equal(mkfifo(path, 0600), 0);
		assert_true(try_open(&f) < 0);
		assert_int_equal(unlink(path), 0);
		assert_int_equal(mkdir(path, 0700), 0);
		assert_true(try_open(&f) < 0);
		assert_int_equal(rmdir(path), 0);
		assert_int_equal(rename(other, path), 0);
		assert_int_equal(try_open(&f), 0);
		if (geteuid() != 0)
			continue;
		assert_int_equal(chown(path, NOBODY, (gid_t)-1), 0);
		assert_int_equal(try_open(&f), RATION_EOWNER);
		assert_int_equal(chown(path, 0, (gid_t)-1), 0);
	}
	fixture_close(&f);
}

static void
test_permission(void **state)
{
	struct fixture f;
	int status = -1;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	fixture_open(&f, policy, 64);
	assert_int_equal(chmod(f.dir, 0755), 0);
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		ration_t *r;

		if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
			_exit(100);
		_exit(-ration_open_dir(f.dir, "t", 0, &r));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), -RATION_EPERM);
	fixture_close(&f);
}

static void
test_arguments(void **state)
{
	ration_t *r;

	(void)state;
	assert_int_equal(ration_open_dir("/nonexistent", "t", 0, &r), RATION_ENOSEG);
	assert_int_equal(ration_open_dir("/dev/null", "t", 0, &r), RATION_ENOSEG);
	assert_int_equal(ration_open_dir("/tmp", "a/b", 0, &r), RATION_EINVAL);
	assert_int_equal(ration_open_dir("/tmp", "..", 0, &r), RATION_EINVAL);
	assert_int_equal(
	    ration_open_dir("/tmp", "123456789012345678901234567890123", 0, &r), RATION_EINVAL);
	assert_int_equal(ration_open_dir("/tmp", "t", 64, &r), RATION_EINVAL);
	assert_int_equal(ration_open_dir("/tmp", "t", 0, NULL), RATION_EINVAL);
	assert_int_equal(ration_open_dir("/tmp", "a/b", RATION_FAIL_OPEN, &r), RATION_EINVAL);
}

/* ---- finding the way back, in real time ---- */

static uint64_t
mono_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* How long calls go on being degraded, or on segment `old`. */
static uint64_t
until_attached(ration_t *r, uint32_t old)
{
	const struct timespec bit = { 0, 1000000 };
	uint64_t begin = mono_ms();

	for (;;) {
		ration_decision_t d = RATION_DECISION_INIT;
		int v = ration_acquire(r, "api", "k", 1, &d);

		if (v == RATION_ADMITTED && (d.flags & RATION_F_DEGRADED) == 0 &&
		    d.segment_id != old)
			return mono_ms() - begin;
		if (mono_ms() - begin > 5000)
			fail_msg("still not attached after 5 s: %s", ration_strerror(v));
		(void)nanosleep(&bit, NULL);
	}
}

static void
test_fail_open(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;
	char away[128];
	ration_t *r;
	ration_key_t k;

	(void)state;
	fixture_open(&f, policy, 64);
	(void)snprintf(away, sizeof(away), "%s.away", f.dir);
	assert_int_equal(rename(f.dir, away), 0);
	assert_int_equal(ration_open_dir(f.dir, "t", RATION_FAIL_OPEN, &r), 0);
	assert_int_equal(ration_key(r, "api", "h", 1, &k), 0);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(ration_acquire(r, "api", "k", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_DEGRADED);
		assert_int_equal(d.nrates, 0);
		assert_int_equal(ration_key_acquire(r, &k, 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_DEGRADED);
	}
	assert_true(ration_refund(r, &d, 1) < 0);
	assert_int_equal(ration_attach(r), RATION_ENOSEG);
	assert_int_equal(rename(away, f.dir), 0);
	assert_true(until_attached(r, 0) <= 250);
	/* Now it counts: ten an hour, one is taken. */
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(ration_acquire(r, "api", "k", 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_acquire(r, "api", "k", 1, &d), RATION_DENIED);
	/* The handle of a key that was made before. */
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(ration_key_acquire(r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_key_acquire(r, &k, 1, &d), RATION_DENIED);
	ration_close(r);
	fixture_close(&f);
}

/* As rationd does when the table gets another size: mark, make, publish. */
static void
replace_segment(struct fixture *f, uint64_t keys)
{
	struct segment_size size = { keys, f->seg.cells, f->seg.policy->area_bytes };
	int64_t real = atomic_load(&f->seg.policy->real_offset_ns);
	char error[256];

	atomic_store(&f->seg.head->retired, 1);
	segment_detach(&f->seg);
	if (segment_create(&f->paths, &size, (unsigned)-1, &f->seg, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	atomic_store(&f->seg.policy->real_offset_ns, real);
	fixture_policy(f, policy);
}

/* Mappings of objects of this directory that the process has. */
static unsigned
mapped(const struct fixture *f)
{
	FILE *fp = fopen("/proc/self/maps", "r");
	char line[1024];
	unsigned n = 0;

	while (fp != NULL && fgets(line, sizeof(line), fp) != NULL)
		n += strstr(line, f->dir) != NULL;
	if (fp != NULL)
		(void)fclose(fp);
	return n;
}

static void
test_replaced(void **state)
{
	ration_decision_t first = RATION_DECISION_INIT, d = RATION_DECISION_INIT;
	struct fixture f;
	ration_t *r;
	ration_key_t k;

	(void)state;
	fixture_open(&f, policy, 64);
	assert_int_equal(ration_open_dir(f.dir, "t", 0, &r), 0);
	assert_int_equal(ration_key(r, "api", "h", 1, &k), 0);
	assert_int_equal(ration_key_acquire(r, &k, 10, &first), RATION_ADMITTED);
	assert_int_equal(ration_key_acquire(r, &k, 1, &d), RATION_DENIED);
	for (unsigned i = 0; i < 25; i++) {
		replace_segment(&f, 64 + i);
		assert_true(until_attached(r, d.segment_id) <= 250);
		assert_int_equal(ration_acquire(r, "api", "k", 1, &d), RATION_ADMITTED);
		/* Units of the old segment are not there to give back. */
		assert_int_equal(ration_refund(r, &first, 1), RATION_ESTALE);
		assert_int_equal(ration_key_acquire(r, &k, 10, &first), RATION_ADMITTED);
		assert_int_equal(ration_key_acquire(r, &k, 1, &d), RATION_DENIED);
		/* Ours, the two handles', and the one before of each: not all that ever were. */
		assert_true(mapped(&f) <= 3 * 5);
	}
	ration_close(r);
	assert_true(mapped(&f) <= 2 * 3);
	fixture_close(&f);
}

/* ---- a full tmpfs ---- */

static unsigned
files_in(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.') {
			(void)fprintf(stderr, "left behind: %s\n", e->d_name);
			n++;
		}
	if (d != NULL)
		(void)closedir(d);
	return n;
}

static int
create_in(const char *dir, uint64_t keys, char *error, size_t size)
{
	struct segment_size wanted = { keys, 2, 65536 };
	struct segment seg;
	struct paths paths;
	int e;

	if (paths_find("t", dir, true, &paths) != 0)
		return -1;
	e = segment_create(&paths, &wanted, (unsigned)-1, &seg, error, size);
	if (e == 0)
		segment_detach(&seg);
	return e;
}

/* 77: no right to mount; 0: as it should be. */
static int
on_small_tmpfs(const char *dir)
{
	char error[512] = "", path[160], line[512];
	bool explained = false;
	FILE *fp;

	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=3m") != 0)
		return 77;
	if (create_in(dir, 100000, error, sizeof(error)) == 0 || strstr(error, "no room") == NULL) {
		warnx("full tmpfs: '%s'", error);
		return 1;
	}
	if (files_in(dir) != 0)
		return 2;
	if (create_in(dir, 500, error, sizeof(error)) != 0) {
		warnx("it should fit: %s", error);
		return 3;
	}
	(void)snprintf(path, sizeof(path), "rm -f %s/*", dir);
	if (system(path) != 0)
		return 4;
	(void)snprintf(line, sizeof(line),
	    "echo 'table: {keys: 100k}' >%s/ration.yaml;"
	    "exec '%s' --dir %s -f %s/ration.yaml 2>&1",
	    dir, rationd, dir, dir);
	fp = popen(line, "r");
	while (fp != NULL && fgets(line, sizeof(line), fp) != NULL)
		explained |= strstr(line, "no room") != NULL;
	if (fp == NULL || WEXITSTATUS(pclose(fp)) != 1 || !explained)
		return 5;
	for (unsigned i = 0; i < 6; i++) {
		static const char *const names[] = { "default.counters", "default.policy",
			"default.side", "default.counters.new", "default.policy.new",
			"default.side.new" };

		(void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		if (access(path, F_OK) == 0)
			return 6;
	}
	return 0;
}

static void
test_full(void **state)
{
	char dir[] = "/tmp/ration-test.XXXXXX";
	int status = -1;
	pid_t pid;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(on_small_tmpfs(dir));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(rmdir(dir), 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("  no right to mount a tmpfs: skipped\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_damage),
		cmocka_unit_test(test_head), cmocka_unit_test(test_other_boot),
		cmocka_unit_test(test_versions), cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_permission), cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_fail_open), cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_full) };

	if (argc != 2)
		return 2;
	rationd = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
