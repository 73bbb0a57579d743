/*
 * bench_route.c - a request that takes units of three limits: of the API key, of the address, of
 * the endpoint.  On keys that are at hand, and on random ones out of a million each.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#define BATCH 100000u
#define DRAWS 100000u
#define METHOD "POST"
#define PATH "/boletos/8231/pay"

/* What a service reads of a decision to answer with. */
static inline void
read_decision(const ration_decision_t *d)
{
	uint64_t x = d->limit_units ^ d->remaining ^ (uint64_t)d->reset_at ^ d->retry_after;

	__asm__ volatile("" ::"r"(x) : "memory");
}

static double
route_burst(ration_t *r)
{
	static const char key[] = "route3:key:0123456789abc", ip[] = "203.0.113.77";
	const ration_attr_t attrs[] = { { sizeof(attrs[0]), "key", key, sizeof(key) - 1 },
		{ sizeof(attrs[0]), "ip", ip, sizeof(ip) - 1 } };
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin = now_ns();

	for (unsigned i = 0; i < BATCH; i++) {
		int v = ration_route(r, METHOD, PATH, attrs, 2, 1, &d);

		if (v != RATION_ADMITTED || d.nreceipts != 3)
			bench_fail("%s: %s", PATH, ration_strerror(v));
		read_decision(&d);
	}
	return (double)(now_ns() - begin) / BATCH;
}

void
row_route3(struct bench *b, struct sample *s)
{
	s->base_ns = keyed_ns(b, 0);
	s->ns = route_burst(b->r);
	for (unsigned i = 1; i < BURSTS; i++) {
		double ns = route_burst(b->r);

		s->ns = ns < s->ns ? ns : s->ns;
	}
	s->ratio = s->ns / s->base_ns;
}

/* ---- cold ---- */

/* Who asks: a key, an address and an account, each one of a million. */
struct asker {
	char key[KEY_BYTES + 1];
	char ip[16];
	char account[KEY_BYTES + 1];
};

static struct instance many = { .control = -1 };
static ration_t *r_many;
static struct asker *draws;
static const char *lines;
static uint64_t nlines;

static void
asker_of(struct asker *a, unsigned key, unsigned ip, unsigned account)
{
	(void)snprintf(a->key, sizeof(a->key), "key:%020u", key % LIVE_KEYS);
	(void)snprintf(a->account, sizeof(a->account), "acc:%020u", account % LIVE_KEYS);
	ip %= LIVE_KEYS;
	(void)snprintf(a->ip, sizeof(a->ip), "10.%u.%u.%u", ip >> 16, ip >> 8 & 255, ip & 255);
}

static void
ask(const struct asker *a, ration_decision_t *d)
{
	const ration_attr_t attrs[] = { { sizeof(attrs[0]), "key", a->key, KEY_BYTES },
		{ sizeof(attrs[0]), "ip", a->ip, strlen(a->ip) },
		{ sizeof(attrs[0]), "account", a->account, KEY_BYTES } };
	int v = ration_route(r_many, METHOD, PATH, attrs, 3, 1, d);

	if (v != RATION_ADMITTED || d->flags != 0 || d->nreceipts != 3)
		bench_fail(
		    "%s %s: %s, flags %u", a->key, a->ip, ration_strerror(v), (unsigned)d->flags);
}

static void
many_start(void)
{
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t bytes;

	instance_start(&many,
	    "table: {keys: 4M, rates: 1}\n"
	    "limits:\n"
	    "  api: 1000000000/hour\n"
	    "  per-ip: {rates: 1000000000/hour, key: ip}\n"
	    "  pay: {rates: 1000000000/hour, key: account}\n"
	    "routes:\n"
	    "  \"POST /boletos/:nosso_numero/pay\": [api, per-ip, pay]\n");
	r_many = instance_open(&many);
	for (unsigned i = 0; i < LIVE_KEYS; i++) {
		struct asker a;

		asker_of(&a, i, i, i);
		ask(&a, &d);
	}
	lines = instance_map(&many, &bytes);
	nlines = bytes / 64;
	draws = calloc(DRAWS, sizeof(*draws));
	if (draws == NULL)
		bench_fail("out of memory");
}

void
row_route3_cold(struct bench *b, struct sample *s)
{
	static uint64_t seed = 3;
	ration_decision_t d = RATION_DECISION_INIT;
	uint64_t begin;

	(void)b;
	if (r_many == NULL)
		many_start();
	for (unsigned i = 0; i < DRAWS; i++)
		asker_of(&draws[i], (unsigned)bench_random(&seed) >> 1,
		    (unsigned)bench_random(&seed) >> 1, (unsigned)bench_random(&seed) >> 1);
	s->base_ns = bench_access_ns(lines, nlines);
	begin = now_ns();
	for (unsigned i = 0; i < DRAWS; i++) {
		ask(&draws[i], &d);
		read_decision(&d);
	}
	s->ns = (double)(now_ns() - begin) / DRAWS;
	s->ratio = s->ns / s->base_ns;
}
