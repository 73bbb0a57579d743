/*
 * bench.h - the speed, as ratios of times taken in the same run.
 *
 * Everything is called through libration.so with ration.h alone, as a user's program
 * does; rationd makes the segments.  A row is measured in interleaved rounds: in each
 * one its own time and, right before it, that of what it is compared with; each the fastest
 * of a few bursts of milliseconds.  What counts is the median of the rounds' ratios: another
 * program that takes the processor for a while spoils a burst or a round, not the figure.
 */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <ration.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/types.h>

#define LIVE_KEYS 1000000u
#define KEY_BYTES 24u
#define BURSTS 4u

/* ---- bench_instance.c: a rationd in a directory of its own ---- */

struct instance {
	char dir[64];
	pid_t pid;
	int control; /* socket, -1: not connected */
};

/* Start rationd with this policy and wait until it is ready.  Exits loudly on failure. */
void instance_start(struct instance *in, const char *yaml);
/* End it and remove its directory.  Safe to call twice. */
void instance_stop(struct instance *in);
/* End whatever still runs; at exit. */
void instance_stop_all(void);
/* Give a limit other rates over the control socket. */
void instance_set(struct instance *in, const char *limit, const char *rates);
/* Bytes of the counters object. */
uint64_t instance_bytes(const struct instance *in);
/* The counters, mapped read-only. */
const char *instance_map(const struct instance *in, uint64_t *bytes);
/* Resident bytes of rationd beyond the shared mappings. */
uint64_t instance_resident(const struct instance *in);
/* CPU time of rationd so far, ns. */
uint64_t instance_cpu_ns(const struct instance *in);
ration_t *instance_open(const struct instance *in);

/* ---- bench.c ---- */

struct bench {
	bool quick;
	struct instance hot;  /* few keys */
	struct instance cold; /* LIVE_KEYS of them; started by the first row that wants it */
	bool cold_ready;
	ration_t *r; /* of hot */
	ration_t *r_cold;
};

uint64_t now_ns(void);
uint64_t bench_random(uint64_t *state);
/* ns of one access to a random one of these lines of 64 bytes, each waiting for the last. */
double bench_access_ns(const char *lines, uint64_t nlines);
/* Exits: a measurement that is none is worse than no measurement. */
void __attribute__((noreturn, format(printf, 1, 2))) bench_fail(const char *fmt, ...);

/* ---- the rows: ns of one operation, and of what it is compared with ---- */

struct sample {
	double ns;
	double base_ns;
	double ratio;
};

/* bench_calls.c */
double floor_ns(void);   /* a coarse clock reading and one CAS on a cached line */
double precise_ns(void); /* one precise clock reading */
double resolved_ns(struct bench *b);
double keyed_ns(struct bench *b, uint64_t span_ns); /* span 0: a short sample */
void row_resolved(struct bench *b, struct sample *s);
void row_keyed(struct bench *b, struct sample *s);
void row_two_rates(struct bench *b, struct sample *s);
void row_denied(struct bench *b, struct sample *s);
void row_lease(struct bench *b, struct sample *s);
void row_after_change(struct bench *b, struct sample *s);

/* bench_cold.c */
void row_cold(struct bench *b, struct sample *s);
double open_us(struct bench *b);
void cold_start(struct bench *b);

/* bench_route.c */
void row_route3(struct bench *b, struct sample *s);
void row_route3_cold(struct bench *b, struct sample *s);

/* bench_pairs.c */
void row_contended(struct bench *b, struct sample *s);
void row_parallel(struct bench *b, struct sample *s);

/* bench_peers.c */
void row_mutex(struct bench *b, struct sample *s);
void row_mutex_ring(struct bench *b, struct sample *s);
void row_redis(struct bench *b, struct sample *s);
/* NULL: redis can be measured; else why not. */
const char *redis_missing(void);
void redis_stop(void);

#endif
