/*
 * test_try.c - `ration try`: a log made here against limiters written here, exact ones; the same
 * requests served live by rationd, whose verdicts the replay must repeat; and bounds over what
 * rationd recorded of them.
 *
 * Times are multiples of 23 s with windows of a minute: 46 s ago counts, 69 s ago does not, by a
 * sliding window that is exact as by one that readmits a fifteenth late, so both deny the same.
 *
 * usage: test_try RATIOND RATION
 */
#include "command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ration.h"

#define KEYS 40
#define STEP 23
#define START INT64_C(1792454400) /* 20 October 2026, 00:00:00 UTC */

static uint64_t seed;

static uint64_t
draw(uint64_t n)
{
	uint64_t x = seed += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % n;
}

static FILE *
open_log(const struct server *s, const char *name, char *path, size_t size)
{
	FILE *f;

	path_in(s, name, path, size);
	f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

static json_t *
try_log(const struct server *s, const char *policy, const char *log, const char *attr)
{
	json_t *j;

	RUN(0, s, "try", policy, "--log", log, "--attr", attr, "--top", "1000", "--json");
	j = json_loads(ran.out, 0, NULL);
	assert_non_null(j);
	return j;
}

/* A member of the object of a list in which `name` is `value`. */
static json_int_t
of_list(const json_t *j, const char *list, const char *name, const char *value, const char *member)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(j, list), i, o)
	{
		if (strcmp(json_string_value(json_object_get(o, name)), value) == 0)
			return json_integer_value(json_object_get(o, member));
	}
	return 0;
}

static json_int_t
key_denied(const json_t *j, const char *limit, const char *key)
{
	const json_t *o;
	size_t i;

	json_array_foreach(json_object_get(j, "keys"), i, o)
	{
		if (strcmp(json_string_value(json_object_get(o, "limit")), limit) == 0 &&
		    strcmp(json_string_value(json_object_get(o, "key")), key) == 0)
			return json_integer_value(json_object_get(o, "denied"));
	}
	return 0;
}

/* ---- against exact limiters ---- */

enum { SLIDING, HOURLY, DAILY, BUCKET, OBSERVED, NLIMITS };
static const char *const names[NLIMITS] = { "slide", "hour", "day", "bucket", "watch" };
static const char oracle_policy[] = "table: {keys: 1k}\n"
				    "limits:\n"
				    "  slide: 9/min\n"
				    "  hour: 200/hour fixed\n"
				    "  day: 900/day\n"
				    "  bucket: 6/min burst 11\n"
				    "  watch: {rates: 3/min, mode: observe}\n"
				    "  held: 3 concurrent\n";

struct exact {
	int64_t slide[100000]; /* times of what was admitted */
	size_t nslide;
	int64_t hour, day;
	int in_hour, in_day;
	double level;
	int64_t level_at;
	int64_t watched[100000];
	size_t nwatched;
	uint64_t denied[NLIMITS];
};
static struct exact exact[KEYS];

static int
within(const int64_t *times, size_t n, int64_t t)
{
	int used = 0;

	while (n-- > 0 && times[n] > t - 60)
		used++;
	return used;
}

/* One call on all limits: all or nothing, each that refuses counts it. */
static bool
exact_call(struct exact *e, int64_t t)
{
	bool refused[NLIMITS] = { false };

	if (e->hour != t / 3600)
		e->in_hour = 0;
	if (e->day != t / 86400)
		e->in_day = 0;
	e->hour = t / 3600;
	e->day = t / 86400;
	e->level += (double)(t - e->level_at) * 6 / 60;
	e->level = e->level > 11 ? 11 : e->level;
	e->level_at = t;
	refused[SLIDING] = within(e->slide, e->nslide, t) >= 9;
	refused[HOURLY] = e->in_hour >= 200;
	refused[DAILY] = e->in_day >= 900;
	refused[BUCKET] = e->level < 1 - 1e-6;
	for (int i = 0; i < OBSERVED; i++)
		e->denied[i] += refused[i];
	if (refused[SLIDING] || refused[HOURLY] || refused[DAILY] || refused[BUCKET])
		return false;
	if (within(e->watched, e->nwatched, t) >= 3)
		e->denied[OBSERVED]++;
	else
		e->watched[e->nwatched++] = t;
	e->slide[e->nslide++] = t;
	e->in_hour++;
	e->in_day++;
	e->level -= 1;
	return true;
}

static void
test_oracle(void **state)
{
	const struct server *s = *state;
	uint64_t denied = 0, lines = 0, sums[NLIMITS] = { 0 };
	char log[128], policy[128], when[40];
	FILE *f = open_log(s, "access.log", log, sizeof(log));
	json_t *j;

	memset(exact, 0, sizeof(exact));
	for (int k = 0; k < KEYS; k++) {
		exact[k].level = 11;
		exact[k].level_at = START;
	}
	for (int64_t t = START; t < START + 5 * 86400 / 4; t += STEP) {
		time_t now = (time_t)t;
		struct tm tm;

		(void)gmtime_r(&now, &tm);
		(void)strftime(when, sizeof(when), "%d/%b/%Y:%H:%M:%S +0000", &tm);
		for (uint64_t n = draw(60); n-- > 0; lines++) {
			uint64_t k = draw(KEYS) * draw(KEYS) / KEYS;

			denied += !exact_call(&exact[k], t);
			(void)fprintf(f,
			    "10.0.0.1 - - [%s] \"GET /x?k=key%%20%" PRIu64
			    " HTTP/1.1\" 200 1 \"-\" \"-\"\n",
			    when, k);
		}
	}
	assert_int_equal(fclose(f), 0);
	put_file(s, "try.yaml", oracle_policy);
	path_in(s, "try.yaml", policy, sizeof(policy));
	j = try_log(s, policy, log, "key=arg.k");
	assert_int_equal(json_integer_value(json_object_get(j, "lines")), lines);
	assert_int_equal(json_integer_value(json_object_get(j, "denied")), denied);
	for (int k = 0; k < KEYS; k++) {
		char key[32];

		(void)snprintf(key, sizeof(key), "key\\040%d", k);
		for (int i = 0; i < NLIMITS; i++) {
			sums[i] += exact[k].denied[i];
			if (i != OBSERVED &&
			    key_denied(j, names[i], key) != (json_int_t)exact[k].denied[i])
				fail_msg("%s %s: %" PRIu64 " denied, found %lld", names[i], key,
				    exact[k].denied[i], (long long)key_denied(j, names[i], key));
		}
	}
	for (int i = 0; i < OBSERVED; i++) {
		assert_int_equal(of_list(j, "limits", "limit", names[i], "denied"), sums[i]);
		assert_true(sums[i] > 0);
	}
	assert_int_equal(of_list(j, "limits", "limit", "watch", "observed"), sums[OBSERVED]);
	assert_int_equal(of_list(j, "limits", "limit", "watch", "denied"), 0);
	assert_int_equal(of_list(j, "limits", "limit", "held", "calls"), 0);
	assert_non_null(strstr(ran.out, "left out: held"));
	json_decref(j);
}

/* ---- against rationd ---- */

static const char live_policy[] =
    "table: {keys: 4k}\n"
    "plans: [small, large]\n"
    "defaults: {plan: small, timezone: UTC}\n"
    "limits:\n"
    "  read: {per: minute, plans: [7, 20]}\n"
    "  write: {per: minute fixed, plans: [2, 9]}\n"
    "  daily: {per: day, plans: [60, 150]}\n"
    "  ip: {rates: 4/min, key: {attribute: ip, address: true, ipv4: 24}}\n"
    "  sockets: 1 concurrent\n"
    "routes:\n"
    "  \"GET /things/:id\": [read, daily, ip]\n"
    "  \"POST /things\": [write, daily, {limit: read, cost: 2}, sockets]\n"
    "  \"* /static/*\": [ip]\n"
    "assign: {\"k1\": large, \"k2\": large}\n"
    "overrides: [{key: k3, limit: read, rates: 1/min}]\n"
    "exempt: {addresses: [10.0.9.1/32]}\n";

struct request {
	const char *method;
	char path[64], key[16], ip[24];
};

static void
random_request(struct request *q)
{
	static const char *const methods[] = { "GET", "POST", "DELETE" };
	uint64_t way = draw(8);

	q->method = methods[way < 5 ? 0 : way < 7 ? 1 : 2];
	(void)snprintf(q->path, sizeof(q->path),
	    way < 4       ? "/things/%u?x=1"
		: way < 5 ? "/static/a%u.css"
		: way < 7 ? "/things"
			  : "/nothing",
	    (unsigned)draw(5));
	(void)snprintf(q->key, sizeof(q->key), "k%u", (unsigned)draw(8));
	(void)snprintf(q->ip, sizeof(q->ip), "10.0.%u.%u", (unsigned)draw(10), (unsigned)draw(3));
}

/* Ask the live instance.  1 admitted, 0 denied; what it held is given back at once. */
static int
ask(ration_t *r, const struct request *q, ration_decision_t *d)
{
	const ration_attr_t attrs[] = {
		{ sizeof(ration_attr_t), "key", q->key, strlen(q->key) },
		{ sizeof(ration_attr_t), "ip", q->ip, strlen(q->ip) },
	};
	int v = ration_route(r, q->method, q->path, attrs, 2, 1, d);

	assert_true(v == RATION_ADMITTED || v == RATION_DENIED);
	for (unsigned i = 0; i < RATION_CLAIMS_MAX; i++) {
		ration_lease_t lease;

		if (ration_decision_lease(r, d, i, &lease) == 0)
			assert_int_equal(ration_release(r, &lease), 0);
	}
	return v;
}

/* Units asked of `daily`, as rationd counts them: by key and day. */
#define DAYS 30
static uint64_t daily[8][DAYS];
static int64_t first_day;

static void
count_daily(const struct request *q, const ration_decision_t *d)
{
	int64_t day = d->now / 86400;

	first_day = first_day != 0 ? first_day : day;
	assert_true(day - first_day < DAYS);
	daily[q->key[1] - '0'][day - first_day]++;
}

/* Each limit that refused is counted.  True: `daily` is one of them. */
static bool
limit_denied(ration_t *r, const ration_decision_t *d, json_t *counts)
{
	bool is_daily = false;
	unsigned seen = 0;

	for (unsigned i = 0; i < d->nrates; i++) {
		unsigned claim = d->rates[i].claim;
		char name[64];

		if (d->rates[i].retry_at == 0 || (seen >> claim & 1) != 0)
			continue;
		seen |= 1u << claim;
		assert_true(ration_limit_name(r, d, claim, name, sizeof(name)) > 0);
		is_daily |= strcmp(name, "daily") == 0;
		(void)json_object_set_new(counts, name,
		    json_integer(json_integer_value(json_object_get(counts, name)) + 1));
	}
	return is_daily;
}

static void
serve(const struct server *s, FILE *log, json_t *counts, uint64_t totals[2])
{
	ration_t *r;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	for (int i = 0; i < 3000; i++) {
		ration_decision_t d = RATION_DECISION_INIT;
		struct request q;
		int v;

		if (i % 10 == 0) {
			char params[64];

			(void)snprintf(params, sizeof(params), "{'advance_s':%d}",
			    (int)(STEP * (1 + draw(9) / 8 * 200)));
			json_decref(ok(s, "clock", params));
		}
		random_request(&q);
		v = ask(r, &q, &d);
		totals[v]++;
		if (v == RATION_DENIED ? limit_denied(r, &d, counts)
				       : (d.flags & (RATION_F_EXEMPT | RATION_F_UNROUTED)) == 0 &&
			    strncmp(q.path, "/things", 7) == 0)
			count_daily(&q, &d);
		(void)fprintf(log,
		    "{\"ts\":%" PRId64 ",\"request\":\"%s %s HTTP/1.1\",\"remote_addr\":\"%s\","
		    "\"who\":{\"key\":\"%s\"}}\n",
		    d.now, q.method, q.path, q.ip, q.key);
	}
	ration_close(r);
}

/* ---- over what was recorded ---- */

static const char history_policy[] = "limits:\n"
				     "  read: 6/min\n"
				     "  write: 500/hour fixed\n"
				     "  daily: 40/day\n";

/* What rationd has recorded of the requests of test_live, judged by another policy. */
static void
check_history(const struct server *s)
{
	char policy[128];
	json_t *j;
	json_int_t fewest, most, above = 0;

	/* Asked for by itself a key's usage is recorded first. */
	for (int k = 0; k < 8; k++) {
		char params[32];

		(void)snprintf(params, sizeof(params), "{'key':'k%d'}", k);
		json_decref(ok(s, "usage", params));
		for (int i = 0; i < DAYS; i++)
			above += daily[k][i] > 40 ? (json_int_t)daily[k][i] - 40 : 0;
	}

	put_file(s, "new.yaml", history_policy);
	path_in(s, "new.yaml", policy, sizeof(policy));
	RUN(0, s, "try", policy, "--history", "--last", "8d", "--json");
	j = json_loads(ran.out, 0, NULL);
	assert_non_null(j);
	assert_int_equal(json_integer_value(json_object_get(j, "resolution_s")), 3600);
	fewest = of_list(j, "limits", "limit", "read", "denied_fewest");
	most = of_list(j, "limits", "limit", "read", "denied_most");
	assert_true(fewest >= 0 && fewest < most);
	/* Days are whole hours: exact. */
	fewest = of_list(j, "limits", "limit", "daily", "denied_fewest");
	assert_int_equal(fewest, of_list(j, "limits", "limit", "daily", "denied_most"));
	assert_true(fewest > 0);
	assert_int_equal(fewest, above);
	assert_int_equal(of_list(j, "limits", "limit", "write", "denied_most"), 0);
	json_decref(j);
	RUN(0, s, "try", policy, "--history", "--last", "8d");
	assert_non_null(strstr(ran.out, "between"));
	assert_non_null(strstr(ran.out, "not in this policy"));
	assert_non_null(strstr(ran.out, "known by the hour"));
	RUN(2, s, "try", policy, "--history", "--last", "900d");
	RUN(2, s, "try", policy, "--history", "--log", "x");
	RUN(2, s, "try", policy, "--log", "x", "--last", "1d");
}

static void
test_live(void **state)
{
	const struct server *s = *state;
	char log[128], policy[128];
	FILE *f = open_log(s, "live.json", log, sizeof(log));
	json_t *counts = json_object(), *j, *count;
	uint64_t totals[2] = { 0 };
	const char *name;

	serve(s, f, counts, totals);
	assert_int_equal(fclose(f), 0);
	path_in(s, "ration.yaml", policy, sizeof(policy));
	j = try_log(s, policy, log, "key=who.key");
	assert_int_equal(json_integer_value(json_object_get(j, "denied")), totals[0]);
	assert_int_equal(json_integer_value(json_object_get(j, "admitted")) +
		json_integer_value(json_object_get(j, "unrouted")),
	    totals[1]);
	assert_true(totals[0] > 100 && totals[1] > 100);
	assert_true(json_integer_value(json_object_get(j, "exempt")) > 0);
	json_object_foreach(counts, name, count)
	{
		if (of_list(j, "limits", "limit", name, "denied") != json_integer_value(count))
			fail_msg("%s: %lld denied live, %lld replayed", name,
			    (long long)json_integer_value(count),
			    (long long)of_list(j, "limits", "limit", name, "denied"));
	}
	assert_true(json_object_size(counts) >= 4);
	json_decref(counts);
	json_decref(j);
	check_history(s);
}

/* ---- rationd --make ---- */

static void
test_make(void **state)
{
	struct server *s = *state;
	char policy[128], dir[128];
	const char *const make[] = { "--make", dir, "-f", policy, "--at", "1700000000", "--keys",
		"100", NULL },
			  *const alone[] = { "--keys", "100", NULL };
	ration_t *r;

	put_file(s, "right.yaml", "group: nobody-has-this-group\nlimits: {a: 3/day}\n");
	put_file(s, "wrong.yaml", "limits: {a: 3/fortnight, b: x}\n");
	path_in(s, "made", dir, sizeof(dir));
	path_in(s, "right.yaml", policy, sizeof(policy));
	spawn(s, make);
	assert_int_equal(reap(s), 1); /* no such directory */
	spawn(s, alone);
	assert_int_equal(reap(s), 2); /* nobody serves with half of what was meant */
	RUN(2, s, "try", "--nonsense");
	snprintf(dir, sizeof(dir), "%s", s->dir);
	s->len = 0;
	for (int i = 0; i < 2; i++) { /* the second time the policy anew */
		spawn(s, make);
		assert_int_equal(reap(s), 0);
		assert_int_equal(s->len, 0);
	}
	assert_int_equal(ration_open_dir(dir, NULL, 0, &r), 0);
	assert_int_equal(ration_acquire(r, "a", "k", 3, NULL), RATION_ADMITTED);
	ration_close(r);
	path_in(s, "wrong.yaml", policy, sizeof(policy));
	spawn(s, make);
	assert_int_equal(reap(s), 1);
	assert_non_null(strstr(s->log, "wrong.yaml:1:13:"));
	assert_non_null(strstr(s->log, "wrong.yaml:1:29:"));
}

static int
setup_live(void **state)
{
	const char *const args[] = { "--sandbox", NULL };

	if (setup(state) != 0)
		return -1;
	put_file(*state, "ration.yaml", live_policy);
	start_with(*state, args);
	return 0;
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_make, setup, teardown),
		cmocka_unit_test_setup_teardown(test_oracle, setup, teardown),
		cmocka_unit_test_setup_teardown(test_live, setup_live, teardown),
	};
	const char *text = getenv("RATION_SEED");
	struct timespec now;

	if (argc < 3)
		return 2;
	program = argv[1];
	command = argv[2];
	(void)setenv("RATIOND", program, 1);
	(void)setenv("TZ", "UTC", 1);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	seed =
	    text ? strtoull(text, NULL, 0) : (uint64_t)now.tv_sec * 1000003 ^ (uint64_t)now.tv_nsec;
	(void)printf("seed: RATION_SEED=%" PRIu64 "\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
