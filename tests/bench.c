/*
 * bench.c - measure, print.  See bench.h for how.
 */
#include "bench.h"

#include <err.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 21u

struct row {
	const char *name;
	const char *text;
	double reach;  /* 0: only to know */
	bool at_least; /* reach is the least; else the most */
	void (*run)(struct bench *b, struct sample *s);
	const char *(*missing)(void);
	unsigned rounds; /* 0: ROUNDS_MAX */
};

static const struct row rows[] = {
	{ "resolved", "through a key handle / floor", 2.0, false, row_resolved, NULL, 0 },
	{ "keyed", "by limit and 24-byte key / floor", 3.0, false, row_keyed, NULL, 0 },
	{ "two_rates", "as keyed, two rates together / floor", 4.5, false, row_two_rates, NULL, 0 },
	{ "denied", "through a handle, denied / (floor + precise clock)", 1.5, false, row_denied,
	    NULL, 0 },
	{ "lease", "a lease taken and released / floor", 6, false, row_lease, NULL, 0 },
	{ "route3", "a request on three limits, all three at hand / keyed", 3.2, false, row_route3,
	    NULL, 0 },
	{ "cold_1m", "keyed, random over 1,000,000 keys / a random line access", 2.0, false,
	    row_cold, NULL, 0 },
	{ "route3_cold", "the same, random over 1,000,000 keys each / a random line access", 3.0,
	    false, row_route3_cold, NULL, 0 },
	{ "contended", "two processes on one key / in a bare CAS loop", 1.5, false, row_contended,
	    NULL, 11 },
	{ "parallel", "two processes on two keys: throughput / of two floors", 0.95, true,
	    row_parallel, NULL, 11 },
	{ "after_change", "keyed, ten policy changes a second / keyed", 1.1, false,
	    row_after_change, NULL, 7 },
	{ "mutex", "the same under a robust mutex / resolved", 2.5, true, row_mutex, NULL, 0 },
	{ "mutex_ring", "a plain ring made for a robust mutex / resolved", 0, true, row_mutex_ring,
	    NULL, 0 },
	{ "redis", "GCRA script in Redis, Unix socket / keyed", 1000, true, row_redis,
	    redis_missing, 11 },
};
#define NROWS (sizeof(rows) / sizeof(rows[0]))

struct result {
	const char *skipped; /* why */
	bool wanted;
	unsigned n;
	struct sample samples[ROUNDS_MAX];
	double ns, base_ns, ratio, least, most;
};

struct figures {
	double load; /* average of the minute before we began */
	double floor_ns;
	double bytes_one, bytes_three; /* of segment a key */
	double open_us;
	double resident_mib;
	double idle_percent;
};

uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* splitmix64 */
uint64_t
bench_random(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static pid_t main_pid;

void
bench_fail(const char *fmt, ...)
{
	va_list ap;

	(void)fputs("bench: ", stderr);
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	if (getpid() != main_pid)
		_exit(1); /* a forked worker owns nothing */
	exit(1);
}

static void
stop_all(void)
{
	if (getpid() != main_pid)
		return;
	redis_stop();
	instance_stop_all();
}

static void
on_signal(int sig)
{
	if (getpid() == main_pid)
		exit(128 + sig); /* what it interrupts is a loop of calls: nothing is held */
	_exit(1);
}

/* ---- figures ---- */

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v, unsigned n)
{
	qsort(v, n, sizeof(v[0]), by_value);
	return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static void
summarize(struct result *r)
{
	double v[ROUNDS_MAX];

	for (unsigned i = 0; i < r->n; i++)
		v[i] = r->samples[i].ns;
	r->ns = median(v, r->n);
	for (unsigned i = 0; i < r->n; i++)
		v[i] = r->samples[i].base_ns;
	r->base_ns = median(v, r->n);
	for (unsigned i = 0; i < r->n; i++)
		v[i] = r->samples[i].ratio;
	r->ratio = median(v, r->n);
	r->least = v[0];
	r->most = v[r->n - 1];
}

static bool
reached(const struct row *row, const struct result *r)
{
	return row->at_least ? r->ratio >= row->reach : r->ratio <= row->reach;
}

/* Rows take turns: what disturbs the machine for a second disturbs all alike. */
static void
run_rows(struct bench *b, struct result *results, struct figures *f)
{
	unsigned rounds = b->quick ? 5 : ROUNDS_MAX;
	double floors[ROUNDS_MAX];

	for (unsigned round = 0; round < rounds; round++) {
		floors[round] = floor_ns();
		for (size_t i = 0; i < NROWS; i++) {
			struct result *r = &results[i];

			if (!r->wanted || r->skipped != NULL ||
			    (rows[i].rounds != 0 && round >= rows[i].rounds))
				continue;
			if (round == 0) { /* once for nothing: pages and caches */
				struct sample ignored;

				rows[i].run(b, &ignored);
			}
			rows[i].run(b, &r->samples[r->n++]);
		}
	}
	f->floor_ns = median(floors, rounds);
	for (size_t i = 0; i < NROWS; i++)
		if (results[i].n > 0)
			summarize(&results[i]);
}

static void
measure_sizes(struct bench *b, struct figures *f)
{
	struct instance three = { .control = -1 };
	const struct timespec span = { b->quick ? 2 : 5, 0 };
	uint64_t cpu, begin;

	cold_start(b);
	f->open_us = open_us(b);
	f->bytes_one = (double)instance_bytes(&b->cold) / LIVE_KEYS;
	begin = now_ns();
	cpu = instance_cpu_ns(&b->cold);
	(void)nanosleep(&span, NULL);
	f->idle_percent =
	    (double)(instance_cpu_ns(&b->cold) - cpu) * 100 / (double)(now_ns() - begin);
	f->resident_mib = (double)instance_resident(&b->cold) / (1 << 20);
	instance_start(&three,
	    "table: {keys: 100k}\n"
	    "limits:\n"
	    "  three: [1000/hour, 300/min, 30/s]\n");
	f->bytes_three = (double)instance_bytes(&three) / 100000;
	instance_stop(&three);
}

/* ---- printing ---- */

static void
print_table(const struct result *results, const struct figures *f, bool sizes)
{
	(void)printf("floor (coarse clock + CAS): %.2f ns\n", f->floor_ns);
	if (f->load > 1)
		(void)printf(
		    "others use the processors (load %.1f): contended and parallel need two "
		    "of them\n",
		    f->load);
	(void)printf("\n");
	(void)printf("%-13s %9s %9s %8s %9s  %-17s %s\n", "", "ns", "base ns", "ratio", "to reach",
	    "rounds min..max", "what");
	for (size_t i = 0; i < NROWS; i++) {
		const struct result *r = &results[i];
		char reach[24];

		if (!r->wanted)
			continue;
		if (r->skipped != NULL) {
			(void)printf("%-13s skipped: %s\n", rows[i].name, r->skipped);
			continue;
		}
		(void)snprintf(
		    reach, sizeof(reach), "%s %6g", rows[i].at_least ? ">=" : "<=", rows[i].reach);
		(void)printf("%-13s %9.1f %9.1f %8.2f %9s  %7.2f..%-8.2f %s%s\n", rows[i].name,
		    r->ns, r->base_ns, r->ratio, rows[i].reach > 0 ? reach : "-", r->least, r->most,
		    rows[i].text, reached(&rows[i], r) ? "" : "  NOT REACHED");
	}
	if (!sizes)
		return;
	(void)printf("\nbytes of segment a key, one sliding rate:   %6.1f (to reach: <= 256)\n",
	    f->bytes_one);
	(void)printf("bytes of segment a key, three rates:        %6.1f (to reach: <= 512)\n",
	    f->bytes_three);
	(void)printf(
	    "ration_open, us:                            %6.1f (to reach: <= 300)\n", f->open_us);
	(void)printf("rationd beyond the segment, MiB, 1M keys:   %6.1f (to reach: <= 64)\n",
	    f->resident_mib);
	(void)printf("rationd idle with them, %% of a processor:   %6.2f (to reach: <= 1)\n",
	    f->idle_percent);
}

/* One object member per row; all: also those that were skipped. */
static void
print_member(const struct result *results, const char *name, double (*of)(const struct result *))
{
	const char *comma = "";

	(void)printf(",\"%s\":{", name);
	for (size_t i = 0; i < NROWS; i++) {
		if (results[i].n == 0)
			continue;
		(void)printf("%s\"%s\":%.4g", comma, rows[i].name, of(&results[i]));
		comma = ",";
	}
	(void)printf("}");
}

static double
get_ratio(const struct result *r)
{
	return r->ratio;
}

static double
get_ns(const struct result *r)
{
	return r->ns;
}

static double
get_base(const struct result *r)
{
	return r->base_ns;
}

static double
get_least(const struct result *r)
{
	return r->least;
}

static double
get_most(const struct result *r)
{
	return r->most;
}

static void
print_json(const struct result *results, const struct figures *f, bool sizes)
{
	const char *comma = "";

	(void)printf("{\"floor_ns\":%.3f,\"load\":%.2f", f->floor_ns, f->load);
	print_member(results, "ratios", get_ratio);
	print_member(results, "ns", get_ns);
	print_member(results, "base_ns", get_base);
	print_member(results, "least", get_least);
	print_member(results, "most", get_most);
	(void)printf(",\"skipped\":{");
	for (size_t i = 0; i < NROWS; i++)
		if (results[i].wanted && results[i].skipped != NULL) {
			(void)printf("%s\"%s\":\"%s\"", comma, rows[i].name, results[i].skipped);
			comma = ",";
		}
	(void)printf("}");
	if (sizes)
		(void)printf(",\"bytes_per_key\":{\"one_rate\":%.1f,\"three_rates\":%.1f},"
			     "\"open_us\":%.1f,\"rationd\":{\"resident_mib\":%.1f,"
			     "\"idle_percent\":%.3f}",
		    f->bytes_one, f->bytes_three, f->open_us, f->resident_mib, f->idle_percent);
	(void)printf("}\n");
}

/* ---- */

static void __attribute__((noreturn)) usage(void)
{
	(void)fputs("usage: bench [--json] [--quick] [ROW...]\nrows:", stderr);
	for (size_t i = 0; i < NROWS; i++)
		(void)fprintf(stderr, " %s", rows[i].name);
	(void)fputs(" sizes\n", stderr);
	exit(2);
}

static bool
want(struct result *results, bool *sizes, const char *name)
{
	if (strcmp(name, "sizes") == 0)
		return *sizes = true;
	for (size_t i = 0; i < NROWS; i++)
		if (strcmp(name, rows[i].name) == 0)
			return results[i].wanted = true;
	return false;
}

int
main(int argc, char **argv)
{
	static struct result results[NROWS];
	/* Static: what it started is ended at exit, when main() has returned. */
	static struct bench b = { .hot = { .control = -1 }, .cold = { .control = -1 } };
	struct figures f = { 0 };
	bool json = false, named = false, sizes = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			json = true;
		else if (strcmp(argv[i], "--quick") == 0)
			b.quick = true;
		else if (want(results, &sizes, argv[i]))
			named = true;
		else
			usage();
	}
	for (size_t i = 0; i < NROWS; i++) {
		results[i].wanted = results[i].wanted || !named;
		results[i].skipped = rows[i].missing != NULL ? rows[i].missing() : NULL;
	}
	sizes = sizes || !named;
	main_pid = getpid();
	(void)getloadavg(&f.load, 1);
	(void)atexit(stop_all);
	(void)signal(SIGINT, on_signal);
	(void)signal(SIGTERM, on_signal);
	instance_start(&b.hot,
	    "table: {keys: 1k}\n"
	    "limits:\n"
	    "  plain: 1000000000/min\n"
	    "  two: [1000000000/min, 1000000000/s]\n"
	    "  leases: 10 concurrent\n"
	    "  none: 1/hour\n"
	    "  per-ip: {rates: 1000000000/min, key: ip}\n"
	    "  pay: 1000000000/min\n"
	    "routes:\n"
	    "  \"POST /boletos/:nosso_numero/pay\": [plain, per-ip, pay]\n");
	b.r = instance_open(&b.hot);
	run_rows(&b, results, &f);
	if (sizes)
		measure_sizes(&b, &f);
	(json ? print_json : print_table)(results, &f, sizes);
	return 0;
}
