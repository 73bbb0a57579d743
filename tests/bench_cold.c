/*
 * bench_cold.c - a million keys: where a call's time is that of fetching its lines.
 *
 * Compared with one random access, each dependent on the one before, to a line of the same
 * object, mapped alike.  The keys to ask for stand one after the other in a list made before
 * the clock starts: a caller has its key at hand.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define DRAWS 100000u

static char (*draws)[KEY_BYTES + 1];
static const char *cold_lines;
static uint64_t cold_nlines;

static void
key_text(uint32_t n, char key[KEY_BYTES + 1])
{
	(void)snprintf(key, KEY_BYTES + 1, "key:%020u", (unsigned)n);
}

static void
draw_keys(void)
{
	static uint64_t seed = 1;

	if (draws == NULL)
		draws = calloc(DRAWS, sizeof(*draws));
	if (draws == NULL)
		bench_fail("out of memory");
	for (unsigned i = 0; i < DRAWS; i++)
		key_text((uint32_t)(bench_random(&seed) % LIVE_KEYS), draws[i]);
}

static void
acquire_each(ration_t *r, const char *limit)
{
	for (uint32_t n = 0; n < LIVE_KEYS; n++) {
		char key[KEY_BYTES + 1];
		ration_decision_t d = RATION_DECISION_INIT;
		int v;

		key_text(n, key);
		v = ration_acquire(r, limit, key, 1, &d);
		if (v != RATION_ADMITTED || d.flags != 0)
			bench_fail("key %u of %u: %s, flags %u", (unsigned)n, LIVE_KEYS,
			    ration_strerror(v), (unsigned)d.flags);
	}
}

void
cold_start(struct bench *b)
{
	uint64_t bytes;

	if (b->cold_ready)
		return;
	instance_start(&b->cold,
	    "table: {keys: 1M, rates: 1}\n"
	    "limits:\n"
	    "  hour: 1000000000/hour\n");
	b->r_cold = instance_open(&b->cold);
	acquire_each(b->r_cold, "hour");
	cold_lines = instance_map(&b->cold, &bytes);
	cold_nlines = bytes / 64;
	b->cold_ready = true;
}

double
bench_access_ns(const char *lines, uint64_t nlines)
{
	static uint64_t state = 7;
	static volatile uint64_t none;
	uint64_t zero = none, begin = now_ns();

	for (unsigned i = 0; i < DRAWS; i++) {
		uint64_t line = (uint64_t)((unsigned __int128)bench_random(&state) * nlines >> 64);

		/* zero is 0, but nobody knows: the next address waits for this line. */
		state += *(const volatile uint64_t *)(const void *)(lines + line * 64) & zero;
	}
	return (double)(now_ns() - begin) / DRAWS;
}

void
row_cold(struct bench *b, struct sample *s)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin, sum = 0;

	cold_start(b);
	draw_keys();
	s->base_ns = bench_access_ns(cold_lines, cold_nlines);
	begin = now_ns();
	for (unsigned i = 0; i < DRAWS; i++) {
		int v = ration_acquire(b->r_cold, "hour", draws[i], 1, &d);

		if (v != RATION_ADMITTED)
			bench_fail("cold key: %s", ration_strerror(v));
		sum += d.remaining;
	}
	s->ns = (double)(now_ns() - begin) / DRAWS;
	if (sum == 0)
		bench_fail("nothing remains");
	s->ratio = s->ns / s->base_ns;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double
open_us(struct bench *b)
{
	double us[51];
	ration_t *r;

	cold_start(b);
	for (unsigned i = 0; i < 51; i++) {
		uint64_t begin = now_ns();
		int e = ration_open_dir(b->cold.dir, "default", 0, &r);

		us[i] = (double)(now_ns() - begin) / 1000;
		if (e != 0)
			bench_fail("ration_open: %s", ration_strerror(e));
		ration_close(r);
	}
	qsort(us, 51, sizeof(us[0]), by_value);
	return us[25];
}
