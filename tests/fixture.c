#include "fixture.h"

#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static uint64_t
fake_now(void *arg)
{
	return atomic_load_explicit((_Atomic uint64_t *)arg, memory_order_relaxed);
}

static struct config *
load(struct fixture *f, const char *yaml)
{
	struct mistakes m = { 0 };
	struct config *c;
	char path[96];
	FILE *fp;

	(void)snprintf(path, sizeof(path), "%s/ration.yaml", f->dir);
	fp = fopen(path, "w");
	if (fp == NULL || fputs(yaml, fp) == EOF || fclose(fp) != 0)
		err(1, "%s", path);
	if (config_load(path, &c, &m) != 0) {
		for (size_t i = 0; i < m.n; i++)
			warnx("%s", m.text[i]);
		errx(1, "the test's policy is wrong");
	}
	return c;
}

static void
publish(struct fixture *f, struct config *c, const struct change *changes, size_t n)
{
	struct mistakes m = { 0 };
	struct policy_ref p;
	const struct policy_area *previous = NULL;
	uint32_t version;
	void *area;

	if (policy_current(f->seg.policy, &p))
		previous = p.area;
	area = policy_begin(f->seg.policy, &version);
	if (config_compile(c, changes, n, previous, f->seg.cells, FIXTURE_UNIX, area,
		f->seg.policy->area_bytes, version, &m) != 0) {
		for (size_t i = 0; i < m.n; i++)
			warnx("%s", m.text[i]);
		errx(1, "the test's policy does not compile");
	}
	policy_publish(f->seg.policy, version);
}

void
fixture_policy(struct fixture *f, const char *yaml)
{
	fixture_changes(f, yaml, NULL, 0);
}

void
fixture_changes(struct fixture *f, const char *yaml, const struct change *changes, size_t n)
{
	struct config *c = load(f, yaml);

	publish(f, c, changes, n);
	config_free(c);
}

void
fixture_open(struct fixture *f, const char *yaml, uint64_t keys)
{
	struct segment_size size;
	struct config_table table;
	struct config *c;
	char error[256];

	memset(f, 0, sizeof(*f));
	(void)snprintf(f->dir, sizeof(f->dir), "/dev/shm/ration-test.XXXXXX");
	if (mkdtemp(f->dir) == NULL)
		err(1, "mkdtemp");
	if (paths_find("t", f->dir, true, &f->paths) != 0)
		errx(1, "paths_find");
	c = load(f, yaml);
	config_table(c, &table);
	size.nslots = keys != 0 ? keys : 1024;
	size.cells = table.cells;
	size.policy_bytes = table.policy_bytes;
	if (segment_create(&f->paths, &size, (unsigned)-1, &f->seg, error, sizeof(error)) != 0)
		errx(1, "%s", error);
	atomic_store(
	    &f->seg.policy->real_offset_ns, FIXTURE_UNIX * 1000000000 - (int64_t)FIXTURE_START);
	publish(f, c, NULL, 0);
	config_free(c);
	atomic_store(&f->now, FIXTURE_START);
	f->r = fixture_handle(f);
}

ration_t *
fixture_handle(struct fixture *f)
{
	ration_t *r;
	int e = ration_open_dir(f->dir, "t", 0, &r);

	if (e != 0)
		errx(1, "ration_open: %s", ration_strerror(e));
	clock_fake(&r->clock, fake_now, &f->now);
	return r;
}

int64_t
fixture_unix(const struct fixture *f)
{
	return FIXTURE_UNIX + (int64_t)((atomic_load(&f->now) - FIXTURE_START) / 1000000000);
}

void
fixture_close(struct fixture *f)
{
	DIR *d = opendir(f->dir);
	struct dirent *e;

	ration_close(f->r);
	segment_detach(&f->seg);
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(f->dir);
}

uint64_t
test_seed(void)
{
	const char *text = getenv("RATION_SEED");
	struct timespec t;
	uint64_t seed;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	seed = (uint64_t)t.tv_sec * 1000003 ^ (uint64_t)t.tv_nsec ^ (uint64_t)getpid() << 32;
	if (text != NULL)
		seed = strtoull(text, NULL, 0);
	(void)printf("seed: RATION_SEED=%" PRIu64 "\n", seed);
	(void)fflush(stdout);
	return seed;
}

/* splitmix64 */
uint64_t
test_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}
