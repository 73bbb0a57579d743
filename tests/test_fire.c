/*
 * test_fire.c - rationd killed again and again, and its policy changed by every way there
 * is, while programs go on deciding through libration in real time.
 *
 * The programs never see an error.  Each writes down when it was admitted, on
 * CLOCK_BOOTTIME before and after the call; no span of a window's length holds more
 * admissions that lie in it for certain than the limit.  One limit that never denies is
 * counted to the unit: usage is what was acknowledged, over all kills.  An acknowledged live
 * change is there after the next start; one that was not even asked for is not.
 */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ration.h"

#define CLIENTS 4u
#define LOG_ENTRIES (1u << 17) /* of each client */
#define SECOND UINT64_C(1000000000)

enum thing { FAST, PAIR, LIVE, THINGS };
static const char *const names[THINGS] = { "fast", "pair", "live" };
/* A limit's rates, at the most that is ever asked for. */
static const struct bound {
	enum thing thing;
	uint64_t units, window_ns;
} bounds[] = { { FAST, 200, 2 * SECOND }, { PAIR, 150, SECOND }, { PAIR, 3000, 60 * SECOND },
	{ LIVE, 150, SECOND } };

struct event {
	uint64_t before, after;
};

struct client {
	pid_t pid;
	_Atomic uint64_t counted; /* of the limit "count" */
	_Atomic uint64_t calls;
	uint32_t n[THINGS];
	struct event log[THINGS][LOG_ENTRIES];
};

struct fire {
	struct server *s;
	_Atomic uint32_t stop;
	struct client clients[CLIENTS];
	uint64_t random;
	uint64_t begin_ns;
	int asked, acked; /* numbers of live changes */
	unsigned files;   /* policy files written */
	unsigned keys;    /* named in them */
};

static unsigned kills = 30;  /* at least */
static uint64_t seconds = 5; /* at least: some windows pass */

static uint64_t
boot_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t
dice(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void
pause_us(uint64_t us)
{
	const struct timespec t = { 0, (long)us * 1000 };

	(void)nanosleep(&t, NULL);
}

/* ---- a program that is limited ---- */

static bool
fine(int v, const char *what)
{
	if (v == RATION_ADMITTED || v == RATION_DENIED)
		return true;
	(void)fprintf(
	    stderr, "client %d: %s: %d: %s\n", (int)getpid(), what, v, ration_strerror(v));
	return false;
}

static bool
take(struct client *c, ration_t *r, ration_key_t *k, enum thing thing)
{
	struct event e = { .before = boot_ns() };
	int v = k != NULL ? ration_key_acquire(r, k, 1, NULL)
			  : ration_acquire(r, names[thing], "everybody", 1, NULL);

	e.after = boot_ns();
	if (v == RATION_ADMITTED && c->n[thing] < LOG_ENTRIES)
		c->log[thing][c->n[thing]++] = e;
	return fine(v, names[thing]);
}

/* One that is sure to be admitted, alone or together with another. */
static bool
count(struct client *c, ration_t *r, uint64_t random)
{
	ration_claim_t claims[2] = { { sizeof(claims[0]), "count", "everybody", strlen("everybody"),
					 1 },
		{ sizeof(claims[0]), "plenty", "everybody", strlen("everybody"), 1 } };
	int v = ration_acquire_all(r, claims, 1 + random % 2, NULL);

	if (v == RATION_ADMITTED)
		(void)atomic_fetch_add(&c->counted, 1);
	return fine(v, "count");
}

/* By key handles, by name, and with handles opened anew all the time. */
static int
work(struct fire *f, unsigned who)
{
	struct client *c = &f->clients[who];
	uint64_t random = f->random + who;
	ration_key_t keys[THINGS];
	ration_t *r = NULL;

	while (atomic_load(&f->stop) == 0) {
		int e = r == NULL ? ration_open_dir(f->s->dir, NULL, 0, &r) : 0;

		for (unsigned i = 0; e == 0 && i < THINGS; i++)
			e = ration_key(r, names[i], "everybody", strlen("everybody"), &keys[i]);
		if (e != 0) {
			(void)fprintf(stderr, "client %u: open: %s\n", who, ration_strerror(e));
			return 1;
		}
		for (unsigned i = 0; i < 64; i++) {
			enum thing t = (enum thing)(dice(&random) % THINGS);

			if (!take(c, r, who % 2 == 0 ? &keys[t] : NULL, t) ||
			    !count(c, r, dice(&random)))
				return 1;
		}
		(void)atomic_fetch_add(&c->calls, 128);
		if (who == 3) {
			ration_close(r);
			r = NULL;
		}
		pause_us(1000);
	}
	return 0;
}

static void
light(struct fire *f)
{
	f->begin_ns = boot_ns();
	for (unsigned i = 0; i < CLIENTS; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			_exit(work(f, i));
		}
		f->clients[i].pid = pid;
	}
}

/* ---- what they were granted ---- */

static int
by_before(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return x->before < y->before ? -1 : x->before > y->before;
}

/*
 * The most events that lie for certain within one window's length: begun after one event was
 * begun, over before that much later.
 */
static uint64_t
worst_span(const struct event *e, size_t n, uint64_t window_ns)
{
	uint64_t worst = 0;

	for (size_t i = 0, end = 0; i < n; i++) {
		uint64_t inside = 0, last = e[i].before + window_ns;

		while (end < n && e[end].before <= last)
			end++;
		for (size_t k = i; k < end; k++)
			inside += e[k].after <= last;
		if (inside > worst)
			worst = inside;
	}
	return worst;
}

static void
check_ledger(struct fire *f)
{
	double took = (double)(boot_ns() - f->begin_ns) / 1e9;

	for (size_t b = 0; b < sizeof(bounds) / sizeof(bounds[0]); b++) {
		const struct bound *bound = &bounds[b];
		size_t n = 0;
		struct event *all;
		uint64_t worst;

		for (unsigned i = 0; i < CLIENTS; i++)
			n += f->clients[i].n[bound->thing];
		all = malloc((n + 1) * sizeof(*all));
		assert_non_null(all);
		n = 0;
		for (unsigned i = 0; i < CLIENTS; i++) {
			const struct client *c = &f->clients[i];

			assert_true(c->n[bound->thing] < LOG_ENTRIES);
			memcpy(&all[n], c->log[bound->thing], c->n[bound->thing] * sizeof(*all));
			n += c->n[bound->thing];
		}
		qsort(all, n, sizeof(*all), by_before);
		worst = worst_span(all, n, bound->window_ns);
		print_message("  %s: %zu admitted in %.1f s, at most %llu of %llu in a window\n",
		    names[bound->thing], n, took, (unsigned long long)worst,
		    (unsigned long long)bound->units);
		free(all);
		assert_true(worst <= bound->units);
		/* And they were let in as long as there was room. */
		if (bound->thing == FAST)
			assert_true((double)n > 0.6 * took * 100);
	}
}

static uint64_t
used_of(struct fire *f, const char *limit)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_t *r;

	assert_int_equal(ration_open_dir(f->s->dir, NULL, 0, &r), 0);
	assert_int_equal(ration_peek(r, limit, "everybody", 0, &d), RATION_ADMITTED);
	ration_close(r);
	return d.used;
}

static void
put_out(struct fire *f)
{
	uint64_t counted = 0, calls = 0;

	atomic_store(&f->stop, 1);
	for (unsigned i = 0; i < CLIENTS; i++) {
		int status = -1;

		assert_int_equal(waitpid(f->clients[i].pid, &status, 0), f->clients[i].pid);
		f->clients[i].pid = 0;
		assert_int_equal(status, 0);
		counted += atomic_load(&f->clients[i].counted);
		calls += atomic_load(&f->clients[i].calls);
	}
	print_message(
	    "  %llu calls, %llu counted\n", (unsigned long long)calls, (unsigned long long)counted);
	assert_int_equal(used_of(f, "count"), counted);
	check_ledger(f);
}

/* ---- what is done to rationd ---- */

/* In place at once: it may be read at any moment. */
static void
replace_policy(const struct fire *f)
{
	char path[256], tmp[256];

	path_in(f->s, "ration.yaml", path, sizeof(path));
	path_in(f->s, "next", tmp, sizeof(tmp));
	assert_int_equal(rename(tmp, path), 0);
}

/* Good files differ in what nobody is bound by; every few are larger, and outgrow their object. */
static void
put_good(struct fire *f)
{
	char path[256];
	FILE *out;

	path_in(f->s, "next", path, sizeof(path));
	out = fopen(path, "w");
	assert_non_null(out);
	if (++f->files % 8 == 0 && f->keys < 20000)
		f->keys *= 2;
	(void)fprintf(out,
	    "table: {keys: 2k, policy: 64Ki}\nplans: [p%u]\nlimits:\n"
	    "  fast: 200/2s\n  pair: [150/s, 3000/min]\n  live: 100/s\n"
	    "  count: 100M/24h\n  plenty: %u/day\n  new%u: 1/s\nassign:\n",
	    f->files % 3, 100000000 + f->files, f->files % 5);
	for (unsigned i = 0; i < f->keys; i++)
		(void)fprintf(out, "  key-number-%06u: p%u\n", i, f->files % 3);
	assert_int_equal(fclose(out), 0);
	replace_policy(f);
}

/* Would let everybody in, if any of it applied. */
static void
put_bad(struct fire *f)
{
	put_file(f->s, "next",
	    "limits:\n  fast: 90000/2s\n  pair: 90000/s\n  live: 90000/s\n"
	    "  count: 1/24h\n  plenty: 1/dayy\n");
	replace_policy(f);
}

/* The next live change; false: rationd is gone. */
static bool
change(struct fire *f, int fd)
{
	char line[256];
	json_t *j;
	int n;

	f->asked = f->asked < f->acked ? f->acked + 1 : f->asked + 1;
	n = snprintf(line, sizeof(line),
	    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set\",\"params\":{\"limit\":\"live\","
	    "\"rates\":\"%d/s\",\"reason\":\"%d\"}}\n",
	    50 + f->asked % 101, f->asked);
	if (!put(fd, line, (size_t)n) || (j = get(fd)) == NULL)
		return false;
	assert_int_equal(code(j), 0);
	f->acked = f->asked;
	return true;
}

/* Reload, by the way that the dice say.  want: the code of the answer. */
static bool
reload(struct fire *f, int fd, int want)
{
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"reload\"}\n";
	json_t *j;

	if (dice(&f->random) % 4 == 0) {
		(void)kill(f->s->pid, SIGHUP);
		return true;
	}
	if (!put(fd, text, strlen(text)) || (j = get(fd)) == NULL)
		return false;
	assert_int_equal(code(j), want);
	return true;
}

/* What was acknowledged is in force; nothing is that was not asked for. */
static void
check_changes(struct fire *f)
{
	json_t *j = ok(f->s, "changes", NULL), *list = json_object_get(j, "changes");
	char rates[32];
	int got;

	if (json_array_size(list) == 0) {
		assert_int_equal(f->acked, 0);
		json_decref(j);
		return;
	}
	assert_int_equal(json_array_size(list), 1);
	got = atoi(json_string_value(json_object_get(json_array_get(list, 0), "reason")));
	json_decref(j);
	assert_in_range(got, f->acked, f->asked);
	f->acked = got;
	(void)snprintf(rates, sizeof(rates), "%d/s", 50 + got % 101);
	assert_rates(f->s, "live", rates, NULL);
	assert_rates(f->s, "fast", "200/2s", NULL);
}

static void
kill_in(struct fire *f, uint64_t us)
{
	pid_t target = f->s->pid, killer = fork();

	assert_true(killer >= 0);
	if (killer == 0) {
		pause_us(us);
		(void)kill(target, SIGKILL);
		_exit(0);
	}
	assert_true(waitpid(killer, NULL, WNOHANG) >= 0);
}

/* One life of rationd: killed while it starts, or while it works. */
static void
one_life(struct fire *f, unsigned round)
{
	int fd;

	put_good(f);
	if (round % 4 == 3) {
		spawn(f->s, NULL);
		kill_in(f, dice(&f->random) % 40000);
		assert_int_equal(reap(f->s), -SIGKILL);
		return;
	}
	start(f->s);
	assert_non_null(strstr(f->s->log, "segment=attached"));
	check_changes(f);
	fd = dial(f->s);
	assert_true(fd >= 0);
	kill_in(f, dice(&f->random) % 60000);
	for (bool alive = true; alive;) {
		alive = change(f, fd);
		if (alive && dice(&f->random) % 3 == 0) {
			put_bad(f);
			alive = reload(f, fd, -32003);
			/* It is read before the next file is there. */
			if (alive)
				alive = change(f, fd);
			put_good(f);
			if (alive)
				alive = reload(f, fd, 0);
		}
	}
	(void)close(fd);
	assert_int_equal(reap(f->s), -SIGKILL);
}

/* ---- tests ---- */

static struct fire *
fire_new(struct server *s)
{
	const char *text = getenv("RATION_SEED");
	struct fire *f =
	    mmap(NULL, sizeof(*f), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(f != MAP_FAILED);
	f->s = s;
	f->keys = 100;
	f->random = text != NULL ? strtoull(text, NULL, 0) : boot_ns();
	print_message("  RATION_SEED=%llu\n", (unsigned long long)f->random);
	put_good(f);
	start(s);
	light(f);
	return f;
}

static bool
enough(const struct fire *f, unsigned rounds)
{
	return rounds >= kills && boot_ns() - f->begin_ns >= seconds * SECOND;
}

static void
assert_outgrown(const struct fire *f)
{
	char path[256];
	struct stat st;

	path_in(f->s, "default.policy", path, sizeof(path));
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > 1 << 20);
}

static void
test_killed(void **state)
{
	struct fire *f = fire_new(*state);
	unsigned n = 0;

	assert_int_equal(stop(f->s, SIGKILL), -SIGKILL);
	for (; !enough(f, n); n++)
		one_life(f, n);
	put_good(f);
	start(f->s);
	check_changes(f);
	print_message("  %u kills, %d changes, %u files\n", n, f->acked, f->files);
	assert_outgrown(f);
	assert_true(f->acked > 0);
	put_out(f);
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	(void)munmap(f, sizeof(*f));
}

static void
test_reloaded(void **state)
{
	struct fire *f = fire_new(*state);
	json_int_t version;
	int fd = dial(f->s);

	for (unsigned n = 0; !enough(f, n); n++) {
		put_good(f);
		assert_int_equal(code(call(f->s, "reload", NULL)), 0);
		assert_true(change(f, fd));
		version = number(f->s, "status", "policy_version");
		put_bad(f);
		assert_int_equal(code(call(f->s, "reload", NULL)), -32003);
		assert_int_equal(number(f->s, "status", "policy_version"), version);
		check_changes(f);
	}
	(void)close(fd);
	assert_outgrown(f);
	put_out(f);
	(void)munmap(f, sizeof(*f));
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reloaded, setup, teardown),
	};

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_fire RATIOND [--long]\n");
		return 2;
	}
	program = argv[1];
	if (argc > 2 && strcmp(argv[2], "--long") == 0)
		kills = 100, seconds = 20;
	(void)umask(022);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
