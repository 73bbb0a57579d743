/*
 * test_history_round.c - what recording costs: a round over a million keys of which 50,000 were
 * active, in processor seconds; how long a tick holds the event loop up; memory and disk.
 * Printed; asserted generously, for machines differ.  Without --long it is a tenth of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"
#include "history.h"
#include "model.h"

static uint64_t keys, active;

static double
now_s(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct world {
	char dir[64], disk[64]; /* the segment's, the store's */
	struct paths paths;
	struct keeper k;
	struct store *store;
	struct history *h;
	ration_t *r;
};

static int
setup(void **state)
{
	struct config_history policy = {
		.every_s = 60, .keep_s = { 25 * 3600, 8 * 86400, 400 * 86400 }, .keys = 2000000
	};
	struct world *w = calloc(1, sizeof(*w));
	struct mistakes m = { 0 };
	struct config_table t;
	struct config *c;
	char text[256], err[512];

	assert_non_null(w);
	(void)snprintf(w->dir, sizeof(w->dir), "/dev/shm/ration-test.XXXXXX");
	(void)snprintf(w->disk, sizeof(w->disk), "/tmp/ration-test.XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	assert_non_null(mkdtemp(w->disk));
	assert_int_equal(paths_find("t", w->dir, true, &w->paths), 0);
	(void)snprintf(w->paths.state, sizeof(w->paths.state), "%s/t.db", w->disk);
	(void)snprintf(text, sizeof(text),
	    "table: {keys: %" PRIu64 ", rates: 1, idle: 31d}\nlimits: {api: 1000/day}\n",
	    keys + keys / 8);
	assert_int_equal(config_parse("p.yaml", text, strlen(text), &c, &m), 0);
	config_table(c, &t);
	if (store_open(w->paths.state, &w->store, err, sizeof(err)) != 0 ||
	    keeper_open(&w->k, &w->paths, &t, (gid_t)-1, true, err, sizeof(err)) != 0 ||
	    history_open(&w->h, &w->k, w->store, &policy, err, sizeof(err)) != 0)
		fail_msg("%s", err);
	assert_int_equal(keeper_compile(&w->k, c, NULL, 0, &m), 0);
	keeper_publish(&w->k);
	config_free(c);
	assert_int_equal(ration_open_dir(w->dir, "t", 0, &w->r), 0);
	*state = w;
	return 0;
}

static void
remove_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.')
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(dir);
}

static int
teardown(void **state)
{
	struct world *w = *state;

	ration_close(w->r);
	history_close(w->h);
	keeper_close(&w->k);
	store_close(w->store);
	remove_all(w->dir);
	remove_all(w->disk);
	free(w);
	return 0;
}

static long
pages(const char *field)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, field, strlen(field)) == 0)
			kib = strtol(line + strlen(field) + 1, NULL, 10);
	(void)fclose(f);
	return kib;
}

static long
file_kib(const struct world *w, const char *end)
{
	struct stat st;
	char path[1300];

	(void)snprintf(path, sizeof(path), "%s%s", w->paths.state, end);
	return stat(path, &st) == 0 ? (long)(st.st_size / 1024) : 0;
}

/* One round, to its end; its figures. */
static double
a_round(struct world *w, const char *what)
{
	struct history_status s, before;
	double longest = 0, cpu;
	unsigned n = 0;

	history_status(w->h, &before);
	keeper_advance(&w->k, UINT64_C(60) * 1000000000);
	cpu = now_s(CLOCK_THREAD_CPUTIME_ID);
	do {
		double start = now_s(CLOCK_MONOTONIC), took;

		history_tick(w->h);
		took = now_s(CLOCK_MONOTONIC) - start;
		longest = took > longest ? took : longest;
		n++;
		history_status(w->h, &s);
	} while (s.rounds == before.rounds);
	cpu = now_s(CLOCK_THREAD_CPUTIME_ID) - cpu;
	(void)printf("%s: %" PRIu64 " keys recorded: %.3f s of a processor, %u ticks, the longest "
		     "%.1f ms; database %ld KiB, log %ld KiB; anonymous memory %ld KiB\n",
	    what, s.round_slots, cpu, n, longest * 1000, file_kib(w, ""), file_kib(w, "-wal"),
	    pages("RssAnon:"));
	(void)fflush(stdout);
	return cpu;
}

/* n calls: of each key in turn, or of any. */
static void
use(struct world *w, uint64_t n, uint64_t *random)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t key = random != NULL ? test_random(random) % keys : i;
		char name[32];

		(void)snprintf(name, sizeof(name), "key:sk_%08" PRIu64, key);
		assert_int_equal(ration_acquire(w->r, "api", name, 1, NULL), RATION_ADMITTED);
	}
}

static void
test_round(void **state)
{
	struct world *w = *state;
	uint64_t random = test_seed();
	double cpu;

	use(w, keys, NULL);
	(void)a_round(w, "all are new");
	use(w, active, &random);
	cpu = a_round(w, "one in twenty was active");
	use(w, active, &random);
	cpu += a_round(w, "others were");
	assert_true(cpu / 2 < 3.0 * (double)keys / 1e6 + 0.2);
	(void)a_round(w, "none was");
#ifndef __SANITIZE_ADDRESS__ /* whose own memory is more */
	assert_true(pages("RssAnon:") < 40 * 1024);
#endif
	history_record(w->h);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round, setup, teardown),
	};

	keys = argc > 1 && strcmp(argv[1], "--long") == 0 ? 1000000 : 100000;
	active = keys / 20;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
