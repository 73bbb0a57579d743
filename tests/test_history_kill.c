/*
 * test_history_kill.c - rationd is killed at any moment, also while it records, and so are
 * clients within a call; keys come and go through few slots.  Then what was recorded of each key is
 * at least what callers were granted, and at most that and what was under way in killed calls.
 */
#include "server.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ration.h"

#define CLIENTS 3u
#define KEYS 2000u
#define LIMITS 4u

static const char policy[] = "table: {keys: 512, idle: 1s}\n"
			     "history: {every: 1s}\n"
			     "limits: {slide: 50/s, bucket: 100/s burst 20, free: unlimited,"
			     " month: 100000000/month}\n";
static const char *const names[LIMITS] = { "slide", "bucket", "free", "month" };

/* What a client knows of itself, whenever it is killed. */
struct ledger {
	_Atomic int64_t acked[LIMITS][KEYS];
	_Atomic int64_t denied[LIMITS];       /* any key */
	_Atomic int64_t unsure[LIMITS][KEYS]; /* of calls that were cut off */
	/* The call that is under way: +units to take, back: to give back. */
	_Atomic uint32_t limit, key;
	_Atomic int64_t taking, giving;
	_Atomic bool denying;
	_Atomic int64_t undenied; /* denials that were cut off */
};

static struct ledger *ledgers;
static bool long_run;
static uint64_t random_state;

static uint64_t
dice(uint64_t *s)
{
	uint64_t x = *s += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* ---- clients ---- */

static void
one_call(ration_t *r, struct ledger *l, uint64_t *s, uint32_t base)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint32_t limit = (uint32_t)(dice(s) % LIMITS);
	uint32_t key = (base + (uint32_t)(dice(s) % 60)) % KEYS;
	uint64_t cost = 1 + dice(s) % 5, back;
	char name[32];
	int v;

	(void)snprintf(name, sizeof(name), "k%u", key);
	l->limit = limit;
	l->key = key;
	l->taking = (int64_t)cost;
	v = ration_acquire(r, names[limit], name, cost, &d);
	/* The sum and what is under way change one after the other: the second counts as unsure. */
	if (v == RATION_ADMITTED)
		l->acked[limit][key] += (int64_t)cost;
	else if (v == RATION_DENIED)
		l->denied[limit] += 1;
	l->taking = 0;
	back = dice(s) % 8 == 0 ? 1 + dice(s) % cost : 0;
	if (v != RATION_ADMITTED || back == 0)
		return;
	l->giving = (int64_t)back;
	if (ration_refund(r, &d, back) == 0)
		l->acked[limit][key] -= (int64_t)back;
	l->giving = 0;
}

static pid_t
client(const struct server *s, unsigned who, uint64_t seed)
{
	pid_t pid = fork();
	ration_t *r;

	assert_true(pid >= 0);
	if (pid != 0)
		return pid;
	if (ration_open_dir(s->dir, NULL, 0, &r) != 0)
		_exit(2);
	for (uint64_t n = 0;; n++) {
		/* Those who come change: more keys than slots. */
		one_call(r, &ledgers[who], &seed, (uint32_t)(mono_ms() / 250 * 17));
		if (n % 64 == 0)
			(void)usleep(500);
	}
}

/* Dead: whatever was under way may or may not have counted. */
static void
cut_off(unsigned who, pid_t pid)
{
	struct ledger *l = &ledgers[who];
	int status;

	(void)kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	l->unsure[l->limit][l->key] += 2 * (l->taking + l->giving);
	l->undenied += l->taking != 0;
	l->taking = l->giving = 0;
}

/* ---- rationd ---- */

/* Ask for something that makes it record, and kill it a little later. */
static void
kill_while_recording(struct server *s)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"method\":\"clock\",\"params\":"
				  "{\"advance_s\":1}}\n";
	struct timespec wait = { 0, (long)(dice(&random_state) % 12000000) };
	int fd = dial(s);

	if (fd >= 0 && dice(&random_state) % 4 != 0)
		(void)put(fd, ask, sizeof(ask) - 1);
	(void)nanosleep(&wait, NULL);
	assert_int_equal(stop(s, SIGKILL), -SIGKILL);
	if (fd >= 0)
		(void)close(fd);
}

/* ---- what was recorded ---- */

static int64_t
recorded(const struct server *s, int fd, const char *limit, unsigned key, const char *what)
{
	char params[128];
	json_t *j, *list, *one;
	int64_t sum = 0;
	size_t i;

	(void)snprintf(
	    params, sizeof(params), "{'key':'k%u','limit':'%s','last_s':864000}", key, limit);
	j = call_fd(fd, "usage", params);
	list = json_object_get(json_object_get(j, "result"), "series");
	assert_non_null(list);
	json_array_foreach(list, i, one) sum += json_integer_value(json_object_get(one, what));
	json_decref(j);
	return sum;
}

static void
check_key(const struct server *s, int fd, unsigned limit, unsigned key, int64_t *all)
{
	int64_t acked = 0, unsure = 0, got = recorded(s, fd, names[limit], key, "admitted");

	for (unsigned i = 0; i < CLIENTS; i++) {
		acked += ledgers[i].acked[limit][key];
		unsure += ledgers[i].unsure[limit][key];
	}
	*all += acked;
	if (got < acked - unsure || got > acked + unsure)
		fail_msg("%s k%u: recorded %" PRId64 ", granted %" PRId64 ", under way in killed "
			 "calls %" PRId64,
		    names[limit], key, got, acked, unsure);
}

/* By limit, of all keys and none: exact but for calls that were cut off. */
static void
check_denied(const struct server *s)
{
	json_t *j = ok(s, "usage", "{'last_s':864000}"), *one;
	int64_t got[LIMITS] = { 0 }, sure, unsure = 0;
	size_t i;

	json_array_foreach(json_object_get(j, "series"), i,
	    one) for (unsigned l = 0; l < LIMITS;
		      l++) if (strcmp(names[l], json_string_value(json_object_get(one, "limit"))) ==
	    0) got[l] += json_integer_value(json_object_get(one, "denied"));
	for (unsigned c = 0; c < CLIENTS; c++)
		unsure += ledgers[c].undenied;
	for (unsigned l = 0; l < LIMITS; l++) {
		sure = 0;
		for (unsigned c = 0; c < CLIENTS; c++)
			sure += ledgers[c].denied[l];
		(void)printf(
		    "%s: denied %" PRId64 ", recorded %" PRId64 "\n", names[l], sure, got[l]);
		assert_true(got[l] >= sure - unsure && got[l] <= sure + unsure);
	}
	json_decref(j);
}

static void
test_kills(void **state)
{
	static const char *const args[] = { "--sandbox", NULL };
	struct server *s = *state;
	pid_t pids[CLIENTS] = { 0 };
	int64_t all = 0, until = mono_ms() + (long_run ? 60000 : 8000);
	unsigned kills = 0;
	int fd;

	put_file(s, "ration.yaml", policy);
	start_with(s, args);
	while (mono_ms() < until) {
		struct timespec wait = { 0, (long)(dice(&random_state) % 300000000) };
		unsigned who = (unsigned)(dice(&random_state) % CLIENTS);

		for (unsigned i = 0; i < CLIENTS; i++)
			if (pids[i] == 0)
				pids[i] = client(s, i, dice(&random_state));
		(void)nanosleep(&wait, NULL);
		cut_off(who, pids[who]);
		pids[who] = 0;
		if (dice(&random_state) % 3 == 0) {
			kill_while_recording(s);
			start_with(s, args);
			kills++;
		}
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		if (pids[i] != 0)
			cut_off(i, pids[i]);
	/* Everything that is pending is recorded at the end. */
	assert_int_equal(stop(s, SIGTERM), 0);
	start_with(s, args);
	fd = dial(s);
	for (unsigned l = 0; l < LIMITS; l++)
		for (unsigned k = 0; k < KEYS; k++)
			check_key(s, fd, l, k, &all);
	(void)close(fd);
	check_denied(s);
	(void)printf("%u kills of rationd, %" PRId64 " units\n", kills, all);
	assert_true(all > 1000);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_kills, setup, teardown),
	};
	const char *seed = getenv("RATION_SEED");
	struct timespec now;

	if (argc < 2) {
		(void)fprintf(stderr, "usage: test_history_kill RATIOND [--long]\n");
		return 2;
	}
	program = argv[1];
	long_run = argc > 2;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	random_state = seed != NULL ? strtoull(seed, NULL, 0)
				    : (uint64_t)now.tv_nsec * 1000003 + (uint64_t)getpid();
	(void)printf("seed: RATION_SEED=%" PRIu64 "\n", random_state);
	(void)fflush(stdout);
	ledgers = mmap(NULL, CLIENTS * sizeof(*ledgers), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ledgers == MAP_FAILED)
		return 2;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
