/*
 * bench_pairs.c - one or two processes at a time, for a span: what they get done together.
 */
#include "bench.h"

#include <err.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK_EVERY 64u

/* Shared by the processes of one sample; what each one writes on a line of its own. */
struct arena {
	alignas(64) _Atomic uint32_t ready;
	alignas(64) _Atomic uint32_t go;
	alignas(64) _Atomic uint32_t stop;
	struct {
		alignas(64) _Atomic uint64_t word;
		alignas(64) double per_ns; /* operations a ns */
		double share;              /* of a processor that it had */
	} of[2];
};

enum work { WORK_CAS, WORK_FLOOR, WORK_KEY };

static struct arena *arena;

static void
cas_until_done(_Atomic uint64_t *word)
{
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	while (!atomic_compare_exchange_weak(word, &old, old + 1))
		;
}

static uint64_t
work(struct bench *b, enum work what, _Atomic uint64_t *word, ration_key_t *k)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t n = 0;
	struct timespec t;
	int v;

	while (atomic_load_explicit(&arena->stop, memory_order_relaxed) == 0) {
		for (unsigned i = 0; i < CHECK_EVERY; i++) {
			switch (what) {
			case WORK_FLOOR:
				(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
				__asm__ volatile("" ::"r"(t.tv_nsec) : "memory");
				cas_until_done(word);
				break;
			case WORK_CAS:
				cas_until_done(word);
				break;
			case WORK_KEY:
				v = ration_key_acquire(b->r, k, 1, &d);
				if (v != RATION_ADMITTED)
					bench_fail("pair: %s", ration_strerror(v));
				__asm__ volatile("" ::"r"(d.remaining) : "memory");
				break;
			}
		}
		n += CHECK_EVERY;
	}
	return n;
}

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void __attribute__((noreturn))
worker(struct bench *b, enum work what, unsigned i, bool shared)
{
	_Atomic uint64_t *word = &arena->of[shared ? 0 : i].word;
	uint64_t begin, cpu, n;
	char name[32];
	ration_key_t k;

	(void)snprintf(name, sizeof(name), "pair:key:%015u", shared ? 9 : i);
	if (ration_key(b->r, "plain", name, strlen(name), &k) != 0 ||
	    ration_key_acquire(b->r, &k, 1, NULL) != RATION_ADMITTED)
		bench_fail("pair: cannot resolve");
	(void)atomic_fetch_add(&arena->ready, 1);
	while (atomic_load(&arena->go) == 0)
		;
	begin = now_ns();
	cpu = cpu_ns();
	n = work(b, what, word, &k);
	cpu = cpu_ns() - cpu;
	begin = now_ns() - begin;
	arena->of[i].per_ns = (double)n / (double)begin;
	arena->of[i].share = (double)cpu / (double)begin;
	_exit(0);
}

/*
 * Operations a ns of `count` processes together.  *share: what the one that had least of a
 * processor had; they were at it at the same time if that is nearly 1.
 */
static double
together_once(struct bench *b, enum work what, unsigned count, bool shared, double *share)
{
	struct timespec span = { 0, b->quick ? 10000000 : 20000000 }, bit = { 0, 100000 };
	double sum = 0;
	int status;

	if (arena == NULL) {
		arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (arena == MAP_FAILED)
			err(1, "mmap");
	}
	memset(arena, 0, sizeof(*arena));
	for (unsigned i = 0; i < count; i++) {
		pid_t pid = fork();

		if (pid == -1)
			err(1, "fork");
		if (pid == 0)
			worker(b, what, i, shared);
	}
	while (atomic_load(&arena->ready) != count)
		(void)nanosleep(&bit, NULL);
	atomic_store(&arena->go, 1);
	(void)nanosleep(&span, NULL);
	atomic_store(&arena->stop, 1);
	for (unsigned i = 0; i < count; i++) {
		if (wait(&status) == -1 || status != 0)
			bench_fail("a process of a pair failed");
		sum += arena->of[i].per_ns;
	}
	*share = 1;
	for (unsigned i = 0; i < count; i++) {
		if (arena->of[i].share < *share)
			*share = arena->of[i].share;
	}
	return sum;
}

/* Of a few spans the one that others disturbed least. */
static double
together(struct bench *b, enum work what, unsigned count, bool shared)
{
	double best = 0, most = 0;

	for (unsigned i = 0; i < 4 * BURSTS && most < 0.98; i++) {
		double share, per_ns = together_once(b, what, count, shared, &share);

		if (share > most) {
			most = share;
			best = per_ns;
		}
	}
	return best;
}

void
row_contended(struct bench *b, struct sample *s)
{
	s->base_ns = 1 / together(b, WORK_CAS, 2, true);
	s->ns = 1 / together(b, WORK_KEY, 2, true);
	s->ratio = s->ns / s->base_ns;
}

void
row_parallel(struct bench *b, struct sample *s)
{
	double floor_one = together(b, WORK_FLOOR, 1, false);
	double floor_two = together(b, WORK_FLOOR, 2, false);
	double one = together(b, WORK_KEY, 1, false);
	double two = together(b, WORK_KEY, 2, false);

	s->base_ns = 1 / floor_two;
	s->ns = 1 / two;
	s->ratio = two / one / (floor_two / floor_one);
}
