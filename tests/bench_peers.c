/*
 * bench_peers.c - the same decision by other means: under a robust process-shared mutex, and
 * by a script in redis-server over a Unix socket.
 */
#include "bench.h"

#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifdef HAVE_HIREDIS
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#endif

/* ---- a ring of sub-windows under a mutex ---- */

#define RING 16u
#define CALLS 200000u

struct locked {
	pthread_mutex_t mutex;
	uint64_t birth;
	uint64_t shape;
	uint64_t version;
	uint64_t epoch; /* of the sum */
	uint64_t sum;   /* of the sub-windows before epoch */
	uint64_t start[RING];
	uint64_t units[RING];
};

struct locked_rate {
	uint64_t shape;
	uint64_t units;
	uint64_t sub_ns;
	uint64_t window_ns;
	int64_t real_ns;
};

static struct locked *
locked_new(void)
{
	struct locked *l =
	    mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t a;

	if (l == MAP_FAILED || pthread_mutexattr_init(&a) != 0 ||
	    pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED) != 0 ||
	    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) != 0 ||
	    pthread_mutex_init(&l->mutex, &a) != 0)
		bench_fail("no robust process-shared mutex");
	return l;
}

static void
locked_sum(struct locked *l, uint64_t epoch)
{
	l->epoch = epoch;
	l->sum = 0;
	for (uint64_t k = 1; k < RING && k <= epoch; k++)
		if (l->start[(epoch - k) % RING] == epoch - k)
			l->sum += l->units[(epoch - k) % RING];
	if (l->start[epoch % RING] != epoch) {
		l->start[epoch % RING] = epoch;
		l->units[epoch % RING] = 0;
	}
}

static void
locked_decision(
    ration_decision_t *d, const struct locked_rate *r, uint64_t used, uint64_t epoch, uint64_t now)
{
	ration_rate_t *out = &d->rates[0];

	memset(out, 0, sizeof(*out));
	out->limit_units = out->rate_units = r->units;
	out->used = used;
	out->remaining = r->units - used;
	out->window_ns = r->window_ns;
	out->reset_at = ((int64_t)((epoch + RING) * r->sub_ns) + r->real_ns) / 1000000000;
	out->kind = RATION_SLIDING;
	d->flags = 0;
	d->nrates = 1;
	d->cost = 1;
	d->now = ((int64_t)now + r->real_ns) / 1000000000;
	d->retry_after = 0;
	d->nreceipts = 1;
	memset(&d->receipts[0], 0, sizeof(d->receipts[0]));
	d->receipts[0].units = 1;
	d->verdict = RATION_ADMITTED;
}

/* The steps of an acquire through a handle, without an atomic: the lock stands for them. */
static int __attribute__((noinline))
locked_acquire(struct locked *l, const struct locked_rate *r, uint64_t cost, ration_decision_t *d)
{
	struct timespec t;
	uint64_t now, epoch, used;
	int e;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	epoch = now / r->sub_ns;
	e = pthread_mutex_lock(&l->mutex);
	if (e == EOWNERDEAD) {
		memset(l->units, 0, sizeof(l->units));
		e = pthread_mutex_consistent(&l->mutex);
	}
	if (e != 0)
		return RATION_EBUSY;
	if (l->shape != r->shape || l->epoch != epoch) {
		l->shape = r->shape;
		locked_sum(l, epoch);
	}
	used = l->sum + l->units[epoch % RING] + cost;
	if (used <= r->units)
		l->units[epoch % RING] += cost;
	(void)pthread_mutex_unlock(&l->mutex);
	if (used > r->units)
		return RATION_DENIED;
	locked_decision(d, r, used, epoch, now);
	return RATION_ADMITTED;
}

/* The very call, the lock around it. */
static double
mutex_burst(struct bench *b, struct locked *l)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k;
	uint64_t begin;

	if (ration_key(b->r, "plain", "mutex:key:0123456789abcd", KEY_BYTES, &k) != 0)
		bench_fail("mutex: no key");
	begin = now_ns();
	for (unsigned i = 0; i < CALLS; i++) {
		int v;

		if (pthread_mutex_lock(&l->mutex) != 0)
			bench_fail("mutex: no lock");
		v = ration_key_acquire(b->r, &k, 1, &d);
		(void)pthread_mutex_unlock(&l->mutex);
		if (v != RATION_ADMITTED)
			bench_fail("mutex: %s", ration_strerror(v));
		__asm__ volatile("" ::"r"(d.remaining ^ (uint64_t)d.reset_at) : "memory");
	}
	return (double)(now_ns() - begin) / CALLS;
}

/* A ring made for a mutex: no atomic within. */
static double
ring_burst(struct bench *b, struct locked *l)
{
	static const struct locked_rate rate = { 1, 1000000000, 4001333334, 60000000000, 12345 };
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin = now_ns();

	(void)b;
	for (unsigned i = 0; i < CALLS; i++) {
		if (locked_acquire(l, &rate, 1, &d) != RATION_ADMITTED)
			bench_fail("mutex: denied");
		__asm__ volatile("" ::"r"(d.remaining ^ (uint64_t)d.reset_at) : "memory");
	}
	return (double)(now_ns() - begin) / CALLS;
}

static void
mutex_row(struct bench *b, struct sample *s, double (*burst)(struct bench *, struct locked *))
{
	static struct locked *l;

	if (l == NULL)
		l = locked_new();
	s->base_ns = resolved_ns(b);
	s->ns = burst(b, l);
	for (unsigned i = 1; i < BURSTS; i++) {
		double ns = burst(b, l);

		s->ns = ns < s->ns ? ns : s->ns;
	}
	s->ratio = s->ns / s->base_ns;
}

void
row_mutex(struct bench *b, struct sample *s)
{
	mutex_row(b, s, mutex_burst);
}

void
row_mutex_ring(struct bench *b, struct sample *s)
{
	mutex_row(b, s, ring_burst);
}

/* ---- redis ---- */

#ifndef HAVE_HIREDIS

const char *
redis_missing(void)
{
	return "built without hiredis";
}

void
redis_stop(void)
{
}

void
row_redis(struct bench *b, struct sample *s)
{
	bench_fail("redis: %s", redis_missing());
}

#else

/* One arrival time a key, as redis-cell and its like keep it. */
static const char script[] =
    "local tat = tonumber(redis.call('GET', KEYS[1]) or 0)\n"
    "local t = redis.call('TIME')\n"
    "local now = t[1] * 1000000 + t[2]\n"
    "local period, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
    "if tat < now then tat = now end\n"
    "local next = tat + period * cost\n"
    "if next - now > burst * period then\n"
    "  return {0, 0, math.ceil((next - now - burst * period) / 1000000)}\n"
    "end\n"
    "redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX',\n"
    "  math.ceil((next - now) / 1000) + 1)\n"
    "return {1, math.floor(burst - (next - now) / period), 0}\n";

static char redis_dir[64];
static pid_t redis_pid;
static redisContext *redis;
static char sha[64];

const char *
redis_missing(void)
{
	return access("/usr/bin/redis-server", X_OK) == 0 ? NULL : "redis-server is not installed";
}

void
redis_stop(void)
{
	char path[96];

	if (redis != NULL)
		redisFree(redis);
	redis = NULL;
	if (redis_pid > 0) {
		(void)kill(redis_pid, SIGTERM);
		(void)waitpid(redis_pid, NULL, 0);
	}
	redis_pid = 0;
	if (redis_dir[0] != '\0') {
		(void)snprintf(path, sizeof(path), "%s/redis.sock", redis_dir);
		(void)unlink(path);
		(void)rmdir(redis_dir);
	}
	redis_dir[0] = '\0';
}

static void
redis_start(void)
{
	const struct timespec bit = { 0, 10000000 };
	char path[96];
	redisReply *reply;

	(void)snprintf(redis_dir, sizeof(redis_dir), "/dev/shm/ration-bench.XXXXXX");
	if (mkdtemp(redis_dir) == NULL)
		err(1, "%s", redis_dir);
	(void)snprintf(path, sizeof(path), "%s/redis.sock", redis_dir);
	redis_pid = fork();
	if (redis_pid == -1)
		err(1, "fork");
	if (redis_pid == 0) {
		if (freopen("/dev/null", "w", stdout) != NULL)
			(void)execl("/usr/bin/redis-server", "redis-server", "--port", "0",
			    "--unixsocket", path, "--save", "", "--dir", redis_dir, "--appendonly",
			    "no", (char *)NULL);
		_exit(127);
	}
	/* There is no event to wait for: the socket appears. */
	for (unsigned tries = 0; tries < 1000 && redis == NULL; tries++) {
		redis = redisConnectUnix(path);
		if (redis != NULL && redis->err == 0)
			break;
		if (redis != NULL)
			redisFree(redis);
		redis = NULL;
		(void)nanosleep(&bit, NULL);
	}
	if (redis == NULL)
		bench_fail("redis-server did not start");
	reply = redisCommand(redis, "SCRIPT LOAD %s", script);
	if (reply == NULL || reply->type != REDIS_REPLY_STRING)
		bench_fail("redis: cannot load the script");
	(void)snprintf(sha, sizeof(sha), "%s", reply->str);
	freeReplyObject(reply);
}

void
row_redis(struct bench *b, struct sample *s)
{
	unsigned n = b->quick ? 500 : 2000;
	uint64_t begin;

	if (redis == NULL)
		redis_start();
	s->base_ns = keyed_ns(b, 0);
	begin = now_ns();
	for (unsigned i = 0; i < n; i++) {
		redisReply *r =
		    redisCommand(redis, "EVALSHA %s 1 keyed:key:0123456789abcd 1 1000000 1", sha);

		if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != 3 ||
		    r->element[0]->integer != 1)
			bench_fail("redis: denied, or no answer");
		freeReplyObject(r);
	}
	s->ns = (double)(now_ns() - begin) / n;
	s->ratio = s->ns / s->base_ns;
}

#endif
