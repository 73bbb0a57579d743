/*
 * bench_calls.c - one process, one key: the floor, and the calls measured against it.  Each
 * decision is filled in and read.
 */
#include "bench.h"

#include <err.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 200000u

/* Kept: the compiler must not drop what nobody else reads. */
static inline void
keep(uint64_t x)
{
	__asm__ volatile("" ::"r"(x) : "memory");
}

static double
floor_burst(void)
{
	static alignas(64) _Atomic uint64_t word;
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < BATCH; i++) {
		struct timespec t;
		uint64_t old = atomic_load_explicit(&word, memory_order_relaxed);

		(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
		keep((uint64_t)t.tv_nsec);
		(void)atomic_compare_exchange_strong(&word, &old, old + 1);
	}
	return (double)(now_ns() - begin) / BATCH;
}

static double
precise_burst(void)
{
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < BATCH; i++) {
		struct timespec t;

		(void)clock_gettime(CLOCK_BOOTTIME, &t);
		keep((uint64_t)t.tv_nsec);
	}
	return (double)(now_ns() - begin) / BATCH;
}

static double
fastest(double (*burst)(void))
{
	double best = burst();

	for (unsigned i = 1; i < BURSTS; i++) {
		double ns = burst();

		best = ns < best ? ns : best;
	}
	return best;
}

double
floor_ns(void)
{
	return fastest(floor_burst);
}

double
precise_ns(void)
{
	return fastest(precise_burst);
}

/* What a service reads of a decision to answer with. */
static inline void
read_decision(const ration_decision_t *d)
{
	keep(d->limit_units ^ d->remaining ^ (uint64_t)d->reset_at ^ d->retry_after);
}

static double
handle_burst(ration_t *r, ration_key_t *k, int expected)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < BATCH; i++) {
		int v = ration_key_acquire(r, k, 1, &d);

		if (v != expected)
			bench_fail("%s: %s", k->limit, ration_strerror(v));
		read_decision(&d);
	}
	return (double)(now_ns() - begin) / BATCH;
}

static double
handle_ns(ration_t *r, ration_key_t *k, int expected)
{
	double best = handle_burst(r, k, expected);

	for (unsigned i = 1; i < BURSTS; i++) {
		double ns = handle_burst(r, k, expected);

		best = ns < best ? ns : best;
	}
	return best;
}

static ration_key_t
resolve(ration_t *r, const char *limit, const char *key)
{
	ration_key_t k;
	int e = ration_key(r, limit, key, strlen(key), &k);

	if (e != 0)
		bench_fail("ration_key: %s", ration_strerror(e));
	return k;
}

double
resolved_ns(struct bench *b)
{
	ration_key_t k = resolve(b->r, "plain", "resolved:key:0123456789a");

	return handle_ns(b->r, &k, RATION_ADMITTED);
}

static double
named_burst(ration_t *r, const char *limit, const char *key, uint64_t span_ns)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin = now_ns(), n = 0;

	do {
		for (unsigned i = 0; i < BATCH; i++) {
			int v = ration_acquire(r, limit, key, 1, &d);

			if (v != RATION_ADMITTED)
				bench_fail("%s: %s", limit, ration_strerror(v));
			read_decision(&d);
		}
		n += BATCH;
	} while (now_ns() - begin < span_ns);
	return (double)(now_ns() - begin) / (double)n;
}

/* With a span it is all of it that counts, not its fastest part. */
static double
named_ns(ration_t *r, const char *limit, const char *key, uint64_t span_ns)
{
	double best = named_burst(r, limit, key, span_ns);

	for (unsigned i = 1; i < BURSTS && span_ns == 0; i++) {
		double ns = named_burst(r, limit, key, 0);

		best = ns < best ? ns : best;
	}
	return best;
}

double
keyed_ns(struct bench *b, uint64_t span_ns)
{
	return named_ns(b->r, "plain", "keyed:key:0123456789abcd", span_ns);
}

static void
set_sample(struct sample *s, double ns, double base_ns)
{
	s->ns = ns;
	s->base_ns = base_ns;
	s->ratio = ns / base_ns;
}

void
row_resolved(struct bench *b, struct sample *s)
{
	double base = floor_ns();

	set_sample(s, resolved_ns(b), base);
}

void
row_keyed(struct bench *b, struct sample *s)
{
	double base = floor_ns();

	set_sample(s, keyed_ns(b, 0), base);
}

void
row_two_rates(struct bench *b, struct sample *s)
{
	double base = floor_ns();

	set_sample(s, named_ns(b->r, "two", "two_rates:key:0123456789", 0), base);
}

void
row_denied(struct bench *b, struct sample *s)
{
	ration_key_t k = resolve(b->r, "none", "denied:key:0123456789abc");
	double base = floor_ns() + precise_ns();
	int v;

	do
		v = ration_key_acquire(b->r, &k, 1, NULL);
	while (v == RATION_ADMITTED);
	set_sample(s, handle_ns(b->r, &k, RATION_DENIED), base);
}

/* ---- leases ---- */

static double
lease_burst(ration_t *r)
{
	static const char key[] = "lease:key:0123456789abcd";
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < BATCH; i++) {
		ration_lease_t l;
		int v = ration_lease(r, "leases", key, sizeof(key) - 1, 0, &l, &d), e;

		if (v != RATION_ADMITTED)
			bench_fail("leases: %s", ration_strerror(v));
		read_decision(&d);
		e = ration_release(r, &l);
		if (e != 0)
			bench_fail("leases: %s", ration_strerror(e));
	}
	return (double)(now_ns() - begin) / BATCH;
}

void
row_lease(struct bench *b, struct sample *s)
{
	double base = floor_ns(), best = lease_burst(b->r);

	for (unsigned i = 1; i < BURSTS; i++) {
		double ns = lease_burst(b->r);

		best = ns < best ? ns : best;
	}
	set_sample(s, best, base);
}

/* ---- while the policy changes ---- */

/* Another number for the very limit that is being used, ten times a second. */
static void __attribute__((noreturn)) change_policy(struct bench *b)
{
	const struct timespec pause = { 0, 100000000 };

	b->hot.control = -1;
	for (unsigned i = 0;; i++) {
		instance_set(&b->hot, "plain", i % 2 == 0 ? "999999999/min" : "1000000000/min");
		(void)nanosleep(&pause, NULL);
	}
}

void
row_after_change(struct bench *b, struct sample *s)
{
	uint64_t span = b->quick ? 300000000 : 500000000;
	double base = keyed_ns(b, span);
	pid_t pid = fork();
	double ns;

	if (pid == -1)
		err(1, "fork");
	if (pid == 0)
		change_policy(b);
	ns = keyed_ns(b, span);
	if (waitpid(pid, NULL, WNOHANG) != 0)
		bench_fail("the policy did not change");
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	set_sample(s, ns, base);
}
