/*
 * test_route.c - what a request's call charges: all of its limits or none, the short way and the
 * long one alike.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "call.h"
#include "fixture.h"
#include "invariants.h"
#include "many.h"
#include "route.h"

#define S UINT64_C(1000000000)

/* ---- what a request charges ---- */

static const char requests[] =
    "table: {rates: 2}\n"
    "exempt: {keys: [\"monitor\"], addresses: [192.0.2.0/28, \"2001:db8:7::5/128\"]}\n"
    "limits:\n"
    "  api: [1000/min, 400/s]\n"
    "  per-ip: {rates: 500/min, key: ip}\n"
    "  pay: 200/min\n"
    "  tight: 3/min\n"
    "  tokens: {rates: 100000/min, key: account}\n"
    "  net: {rates: 50/min, key: {attribute: ip, address: true, ipv4: 24, ipv6: 48}}\n"
    "  other: 300/min\n"
    "routes:\n"
    "  \"POST /boletos/:id/pay\": [other, per-ip, pay]\n"
    "  \"GET /boletos\": [api, per-ip]\n"
    "  \"GET /tight\": [other, tight]\n"
    "  \"GET /llm\": [{limit: tokens}, {limit: other, cost: 3}]\n"
    "  \"GET /net\": [net, other]\n"
    "  \"GET /raw\": {limit: per-ip, key: account}\n"
    "  \"GET /one\": other\n"
    "  \"GET /addresses\": {limit: other, key: {attribute: ip, address: true}}\n"
    "  \"GET /same\": [other, {limit: other, key: account}]\n"
    "  \"GET /four\": [other, pay, tokens, per-ip]\n";

#define ATTR(name, text) \
	{ \
		sizeof(ration_attr_t), name, text, strlen(text) \
	}

static uint64_t
used(struct fixture *f, const char *limit, const char *key)
{
	ration_decision_t d = RATION_DECISION_INIT;
	int v = ration_peek(f->r, limit, key, 0, &d);

	assert_int_equal(v, RATION_ADMITTED);
	return d.rates[0].used;
}

static int
route(struct fixture *f, const char *request, const char *key, const char *ip, uint64_t cost,
    ration_decision_t *d)
{
	char method[16];
	const ration_attr_t attrs[] = { ATTR("key", key), ATTR("ip", ip), ATTR("account", "acme") };
	const char *space = strchr(request, ' ');

	(void)snprintf(method, sizeof(method), "%.*s", (int)(space - request), request);
	return ration_route(f->r, method, space + 1, attrs, 3, cost, d);
}

static void
test_request(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	const ration_attr_t attrs[] = { ATTR("ip", "203.0.113.9"), ATTR("key", "k1") };
	struct fixture f;

	(void)state;
	fixture_open(&f, requests, 0);
	for (unsigned i = 1; i <= 5; i++) {
		assert_int_equal(route(&f, "POST /boletos/7/pay?x=1", "k1", "203.0.113.9", 1, &d),
		    RATION_ADMITTED);
		assert_int_equal(d.nrates, 3);
		assert_int_equal(d.nreceipts, 3);
		assert_int_equal(d.limit_units, 200); /* the least left decides */
		assert_int_equal(d.remaining, 200 - i);
		assert_int_equal(d.claim, 2);
		assert_int_equal(d.flags, 0);
	}
	assert_int_equal(used(&f, "other", "k1"), 5);
	assert_int_equal(used(&f, "pay", "k1"), 5);
	assert_int_equal(used(&f, "per-ip", "203.0.113.9"), 5);
	/* attributes in another order, and missing ones left out */
	assert_int_equal(
	    ration_route(f.r, "POST", "/boletos/7/pay", attrs, 2, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.nrates, 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
		    ration_route(f.r, "POST", "/boletos/7/pay", attrs, 1, 1, &d), RATION_ADMITTED);
		assert_int_equal(d.nrates, 1);
		assert_int_equal(d.flags, 0);
	}
	assert_int_equal(used(&f, "other", "k1"), 6);
	assert_int_equal(used(&f, "per-ip", "203.0.113.9"), 9);
	/* a peek charges nothing */
	assert_int_equal(
	    ration_route_peek(f.r, "POST", "/boletos/7/pay", attrs, 2, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.nrates, 3);
	assert_int_equal(used(&f, "other", "k1"), 6);
	/* nothing to charge */
	assert_int_equal(
	    ration_route(f.r, "POST", "/boletos/7/pay", NULL, 0, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.flags, RATION_F_UNROUTED);
	assert_int_equal(d.nrates, 0);
	assert_true(d.remaining == RATION_UNLIMITED);
	assert_int_equal(route(&f, "POST /nowhere", "k1", "203.0.113.9", 1, &d), RATION_ADMITTED);
	assert_int_equal(d.flags, RATION_F_UNROUTED);
	fixture_close(&f);
}

static void
test_wrong(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_attr_t attrs[] = { ATTR("key", "k"), ATTR("ip", "203.0.113.9"), ATTR("x", "") };
	char longest[RATION_PATH_MAX + 2];
	struct fixture f;

	(void)state;
	fixture_open(&f, requests, 0);
	assert_int_equal(route(&f, "GET /boletos", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
	assert_int_equal(route(&f, "GET /boletos", "", "203.0.113.9", 1, &d), RATION_EKEY);
	assert_int_equal(route(&f, "GET /boletos", "k", "", 1, &d), RATION_EKEY);
	assert_int_equal(route(&f, "GET /boletos", "k", "203.0.113.09", 1, &d), RATION_EADDRESS);
	assert_int_equal(route(&f, "GET /boletos", "k", "203.0.113.9/32", 1, &d), RATION_EADDRESS);
	assert_int_equal(route(&f, "GET /net", "k", "203.0.113.0/24", 1, &d), RATION_EADDRESS);
	assert_int_equal(
	    route(&f, "GET /boletos", "k", "203.0.113.9", RATION_COST_MAX + 1, &d), RATION_ECOST);
	assert_int_equal(used(&f, "api", "k"), 1);
	assert_int_equal(ration_route(f.r, "", "/boletos", attrs, 2, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_route(f.r, "GET", NULL, attrs, 2, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_route(f.r, "GET", "/boletos", NULL, 2, 1, &d), RATION_EINVAL);
	assert_int_equal(ration_route(f.r, "GET", "/boletos", attrs, 17, 1, &d), RATION_EINVAL);
	assert_int_equal(
	    ration_route(f.r, "GETGETGETGETGETGETGETGETGETGETGET", "/boletos", attrs, 2, 1, &d),
	    RATION_EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[RATION_PATH_MAX + 1] = '\0';
	assert_int_equal(ration_route(f.r, "GET", longest, attrs, 2, 1, &d), RATION_EINVAL);
	longest[RATION_PATH_MAX] = '?';
	assert_int_equal(ration_route(f.r, "GET", longest, attrs, 2, 1, &d), RATION_ADMITTED);
	attrs[0].size = 0;
	assert_int_equal(ration_route(f.r, "GET", "/boletos", attrs, 2, 1, &d), RATION_EINVAL);
	attrs[0].size = sizeof(attrs[0]);
	assert_int_equal(ration_route(f.r, "GET", "/boletos", attrs, 3, 1, NULL), RATION_ADMITTED);
	fixture_close(&f);
}

static void
test_addresses(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;

	(void)state;
	fixture_open(&f, requests, 0);
	for (unsigned i = 0; i < 4; i++) {
		/* one client, however it is written */
		(void)route(&f, "GET /boletos", "k", "2001:DB8:1:2::1", 1, &d);
		(void)route(&f, "GET /boletos", "k", "2001:db8:1:2:ffff::", 1, &d);
		(void)route(&f, "GET /boletos", "k", "203.0.113.9", 1, &d);
		(void)route(&f, "GET /boletos", "k", "::ffff:203.0.113.9", 1, &d);
		(void)route(&f, "GET /net", "k", "203.0.113.9", 1, &d);
		(void)route(&f, "GET /net", "k", "203.0.113.200", 1, &d);
	}
	assert_int_equal(used(&f, "per-ip", "2001:db8:1:2::/64"), 8);
	assert_int_equal(used(&f, "per-ip", "203.0.113.9"), 8);
	assert_int_equal(used(&f, "net", "203.0.113.0/24"), 8);
	assert_int_equal(used(&f, "net", "203.0.113.9"), 0);
	/*
	 * A text that is a key, but no address: also where a key of that text has a slot, and is
	 * known to the handle.
	 */
	for (unsigned i = 0; i < 3; i++) {
		const ration_attr_t raw = ATTR("account", "203.0.113.009");

		assert_int_equal(ration_route(f.r, "GET", "/raw", &raw, 1, 1, &d), RATION_ADMITTED);
		assert_int_equal(
		    ration_acquire(f.r, "per-ip", "203.0.113.009", 1, &d), RATION_ADMITTED);
		assert_int_equal(
		    route(&f, "GET /boletos", "k", "203.0.113.009", 1, &d), RATION_EADDRESS);
		assert_int_equal(
		    route(&f, "POST /boletos/7/pay", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
		assert_int_equal(
		    route(&f, "POST /boletos/7/pay", "k", "203.0.113.009", 1, &d), RATION_EADDRESS);
		assert_int_equal(
		    route(&f, "GET /boletos", "k", "2001:db8:1:2::/64", 1, &d), RATION_EADDRESS);
	}
	fixture_close(&f);
}

static void
test_exempt(void **state)
{
	static const char *const exempt[][2] = { { "monitor", "203.0.113.9" },
		{ "k", "192.0.2.15" }, { "k", "::ffff:192.0.2.1" }, { "k", "2001:db8:7::5" } };
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;

	(void)state;
	fixture_open(&f, requests, 0);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned i = 0; i < 4; i++) {
			static const char *const paths[] = { "POST /boletos/7/pay", "GET /boletos",
				"GET /net", "GET /addresses" };

			for (unsigned k = 0; k < 4; k++) {
				if (i == 0 && k == 3)
					continue; /* its only key is the address */
				assert_int_equal(
				    route(&f, paths[k], exempt[i][0], exempt[i][1], 1, &d),
				    RATION_ADMITTED);
				assert_int_equal(d.flags, RATION_F_EXEMPT);
				assert_int_equal(d.nrates, 0);
				assert_int_equal(d.nreceipts, 0);
			}
		}
	assert_int_equal(used(&f, "pay", "k"), 0);
	assert_int_equal(used(&f, "per-ip", "203.0.113.9"), 0);
	/* others of the same prefix are not */
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
		    route(&f, "GET /boletos", "k", "2001:db8:7::6", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, 0);
		assert_int_equal(
		    route(&f, "GET /boletos", "k", "2001:db8:7::5", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
		assert_int_equal(
		    route(&f, "GET /boletos", "k", "192.0.2.16", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, 0);
	}
	/* an address that becomes exempt while its key is known */
	assert_int_equal(route(&f, "GET /addresses", "k", "198.51.100.1", 1, &d), RATION_ADMITTED);
	assert_int_equal(route(&f, "GET /boletos", "k", "198.51.100.1", 1, &d), RATION_ADMITTED);
	assert_int_equal(route(&f, "GET /boletos", "k", "198.51.100.1", 1, &d), RATION_ADMITTED);
	assert_int_equal(d.flags, 0);
	fixture_policy(&f,
	    "table: {rates: 2}\nexempt: {addresses: [198.51.100.0/24]}\nlimits: {api: [1000/min, "
	    "400/s], "
	    "per-ip: {rates: 500/min, key: ip}, other: 300/min}\nroutes: {GET /boletos: [api, "
	    "per-ip], "
	    "GET /addresses: {limit: other, key: {attribute: ip, address: true}}}\n");
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
		    route(&f, "GET /boletos", "k", "198.51.100.1", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
		assert_int_equal(
		    route(&f, "GET /addresses", "k", "198.51.100.1", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.flags, RATION_F_EXEMPT);
	}
	fixture_close(&f);
}

static void
test_all_or_nothing(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;

	(void)state;
	fixture_open(&f, requests, 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    route(&f, "GET /tight", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(route(&f, "GET /tight", "k", "203.0.113.9", 1, &d), RATION_DENIED);
		assert_int_equal(d.limit_units, 3);
		assert_int_equal(d.nreceipts, 0);
	}
	assert_int_equal(used(&f, "other", "k"), 3);
	/* a retry at retry_at is admitted */
	atomic_store(&f.now, atomic_load(&f.now) + (uint64_t)(d.retry_at - fixture_unix(&f)) * S);
	assert_int_equal(route(&f, "GET /tight", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
	/* the route's cost, and the caller's; the first is not to be settled */
	for (unsigned i = 0; i < 4; i++) {
		unsigned fixed = 0;

		assert_int_equal(
		    route(&f, "GET /llm", "llm", "203.0.113.9", 100, &d), RATION_ADMITTED);
		assert_int_equal(d.nreceipts, 2);
		for (unsigned k = 0; k < d.nreceipts; k++) {
			bool is_fixed = (d.receipts[k].where & WHERE_FIXED) != 0;

			assert_int_equal(d.receipts[k].units, is_fixed ? 3 : 100);
			fixed += is_fixed;
		}
		assert_int_equal(fixed, 1);
		assert_int_equal(ration_settle(f.r, &d, 40), 0);
	}
	assert_int_equal(used(&f, "tokens", "acme"), 160);
	assert_int_equal(used(&f, "other", "llm"), 12);
	/* twice the same key */
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
		    route(&f, "GET /same", "acme", "203.0.113.9", 1, &d), RATION_ADMITTED);
	assert_int_equal(used(&f, "other", "acme"), 6);
	/* what was charged can be given back */
	assert_int_equal(
	    route(&f, "POST /boletos/1/pay", "back", "203.0.113.9", 1, &d), RATION_ADMITTED);
	assert_int_equal(
	    route(&f, "POST /boletos/1/pay", "back", "203.0.113.9", 7, &d), RATION_ADMITTED);
	assert_int_equal(ration_refund(f.r, &d, 7), 0);
	assert_int_equal(used(&f, "other", "back"), 1);
	assert_int_equal(used(&f, "pay", "back"), 1);
	fixture_close(&f);
}

/* ---- the short way against the long one ---- */

static void
same_decision(const ration_decision_t *a, const ration_decision_t *b, uint64_t step)
{
	uint64_t units_a = 0, units_b = 0;

	if (memcmp(a, b, offsetof(ration_decision_t, limit_id)) != 0 || a->flags != b->flags ||
	    memcmp(a->rates, b->rates, a->nrates * sizeof(a->rates[0])) != 0)
		fail_msg("step %" PRIu64 ": the short way says another thing", step);
	for (unsigned i = 0; i < a->nreceipts; i++) {
		units_a += a->receipts[i].units;
		units_b += b->receipts[i].units;
		/* in the order of the slots, which the hash's secret decides */
		assert_true(i == 0 || a->receipts[i].slot >= a->receipts[i - 1].slot);
	}
	assert_int_equal(units_a, units_b);
}

static const char *const limits[] = { "other", "pay", "tokens", "api", "per-ip", "tight" };

/*
 * Twins: of one every call goes as it likes, of the other the long way.  Time goes by in all
 * sizes, so sub-windows begin and end.
 */
static void
test_twins(void **state)
{
	uint64_t seed = test_seed(), admitted = 0, denied = 0;
	struct fixture a, b;

	(void)state;
	fixture_open(&a, requests, 0);
	fixture_open(&b, requests, 0);
	for (uint64_t step = 0; step < 60000; step++) {
		ration_decision_t da = RATION_DECISION_INIT, db = RATION_DECISION_INIT;
		ration_claim_t claims[5];
		char keys[5][64];
		size_t n = 1 + test_random(&seed) % 5;
		uint64_t pass = test_random(&seed);
		int va, vb;

		for (size_t i = 0; i < n; i++) {
			uint64_t r = test_random(&seed);

			(void)snprintf(keys[i], sizeof(keys[i]), "%.*sk%u", (int)(r >> 32 & 31),
			    "a-prefix-of-twenty-nine-bytes", (unsigned)(r >> 8 & 1));
			claims[i] = (ration_claim_t) { sizeof(claims[i]), limits[r >> 16 & 3],
				keys[i], strlen(keys[i]), r % 8 == 0 ? r >> 40 & 63 : 1 };
			if ((r >> 20) % 16 == 0)
				claims[i].limit = limits[4 + (r >> 24 & 1)];
		}
		if (pass % 400 == 0)
			pass = pass >> 8 & 0x3ffffffff;
		else
			pass = pass % 4 == 0 ? pass >> 8 & 0xffffff : 0;
		atomic_store(&a.now, atomic_load(&a.now) + pass);
		atomic_store(&b.now, atomic_load(&b.now) + pass);
		va = ration_acquire_all(a.r, claims, n, &da);
		vb = call_decide(b.r, claims, n, true, &db);
		assert_int_equal(va, vb);
		if (va < 0)
			continue;
		same_decision(&da, &db, step);
		admitted += va == RATION_ADMITTED;
		denied += va == RATION_DENIED;
	}
	print_message("%" PRIu64 " admitted, %" PRIu64 " denied\n", admitted, denied);
	assert_true(admitted > 1000 && denied > 1000);
	fixture_close(&a);
	fixture_close(&b);
}

/* The short way is gone: a test of it that tests nothing fails. */
static void
test_short(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;
	unsigned known = 0, hints = 0;

	(void)state;
	fixture_open(&f, requests, 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(
		    route(&f, "POST /boletos/7/pay", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
		assert_int_equal(
		    route(&f, "POST /boletos/7/pay", "k", "2001:db8::1", 1, &d), RATION_ADMITTED);
		assert_int_equal(route(&f, "GET /one", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
	}
	for (unsigned i = 0; i < KNOWN; i++)
		known += atomic_load(&f.r->known[i].policy) != 0;
	for (unsigned i = 0; i < HINTS; i++)
		hints += atomic_load(&f.r->hints[i].place) != 0;
	assert_int_equal(known, 2);
	assert_int_equal(hints, 4);
	/* Once more with the words of all as they are; then one has been closed since. */
	assert_int_equal(used(&f, "pay", "k"), 6);
	fixture_close(&f);
}

static void
swap_slots(_Atomic uint64_t *a, _Atomic uint64_t *b)
{
	uint64_t x = atomic_load(a), y = atomic_load(b);

	atomic_store(a, (x & ~(uint64_t)UINT32_MAX) | (y & UINT32_MAX));
	atomic_store(b, (y & ~(uint64_t)UINT32_MAX) | (x & UINT32_MAX));
}

/* A hint is a guess: two show each other's slot, of the same key and another limit too. */
static void
test_wrong_hints(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct fixture f;

	(void)state;
	fixture_open(&f, requests, 0);
	for (unsigned i = 0; i < 12; i++) {
		_Atomic uint64_t *hints[3];
		unsigned n = 0;

		assert_int_equal(
		    route(&f, "POST /boletos/7/pay", "k", "203.0.113.9", 1, &d), RATION_ADMITTED);
		assert_int_equal(d.limit_units, 200);
		assert_int_equal(d.claim, 2);
		if (i < 2)
			continue;
		for (unsigned k = 0; k < HINTS; k++)
			if (atomic_load(&f.r->hints[k].place) != 0 && n < 3)
				hints[n++] = &f.r->hints[k].place;
		assert_int_equal(n, 3);
		swap_slots(hints[i % 3], hints[(i + 1) % 3]);
	}
	assert_int_equal(used(&f, "other", "k"), 12);
	assert_int_equal(used(&f, "pay", "k"), 12);
	assert_int_equal(used(&f, "per-ip", "203.0.113.9"), 12);
	fixture_close(&f);
}

/* ---- crowds ---- */

#define WORKERS 4u
#define ROUNDS 30000u

struct crowd_count {
	_Atomic uint64_t acked[8]; /* other, per-ip, pay, tight, tokens of the key */
	_Atomic uint64_t failed;
	_Atomic uint32_t stop;
};

static const struct {
	const char *request;
	unsigned charges; /* bits of acked */
} overlapping[] = {
	{ "POST /boletos/7/pay", 7 },
	{ "GET /tight", 9 },
	{ "GET /llm", 16 | 32 }, /* 32: three of other */
	{ "GET /one", 1 },
	{ "GET /four", 1 | 2 | 4 | 16 },
};

static void
work(struct fixture *f, ration_t *r, struct crowd_count *c, uint64_t seed, unsigned rounds)
{
	const ration_attr_t attrs[] = { ATTR("key", "k"), ATTR("ip", "203.0.113.9"),
		ATTR("account", "acme") };

	(void)f;
	for (unsigned i = 0; i < rounds; i++) {
		unsigned k = (unsigned)(test_random(&seed) % 5);
		ration_decision_t d = RATION_DECISION_INIT;
		char method[8];
		const char *space = strchr(overlapping[k].request, ' ');
		int v;

		(void)snprintf(method, sizeof(method), "%.*s",
		    (int)(space - overlapping[k].request), overlapping[k].request);
		v = ration_route(r, method, space + 1, attrs, 3, 1, &d);
		if (v < 0)
			atomic_fetch_add(&c->failed, v != RATION_EBUSY);
		for (unsigned b = 0; v == RATION_ADMITTED && b < 6; b++)
			if ((overlapping[k].charges >> b & 1) != 0)
				atomic_fetch_add(&c->acked[b == 5 ? 0 : b], b == 5 ? 3 : 1);
	}
}

static const char crowded[] = "table: {rates: 2}\n"
			      "limits:\n"
			      "  per-ip: {rates: 5000000/hour, key: ip}\n"
			      "  pay: 9000/hour\n"
			      "  tight: 700/hour\n"
			      "  tokens: {rates: 100000000/hour, key: account}\n"
			      "  other: 100000000/hour\n"
			      "routes:\n"
			      "  \"POST /boletos/:id/pay\": [other, per-ip, pay]\n"
			      "  \"GET /tight\": [other, tight]\n"
			      "  \"GET /llm\": [tokens, {limit: other, cost: 3}]\n"
			      "  \"GET /one\": other\n"
			      "  \"GET /four\": [other, pay, tokens, per-ip]\n";

static void
check_sums(struct fixture *f, struct crowd_count *c)
{
	assert_int_equal(atomic_load(&c->failed), 0);
	assert_int_equal(used(f, "other", "k"), atomic_load(&c->acked[0]));
	assert_int_equal(used(f, "per-ip", "203.0.113.9"), atomic_load(&c->acked[1]));
	assert_int_equal(used(f, "pay", "k"), atomic_load(&c->acked[2]));
	assert_int_equal(used(f, "tight", "k"), atomic_load(&c->acked[3]));
	assert_int_equal(used(f, "tokens", "acme"), atomic_load(&c->acked[4]));
	assert_int_equal(atomic_load(&c->acked[3]), 700);
	assert_true(atomic_load(&c->acked[2]) <= 9000);
}

static void
test_processes(void **state)
{
	struct crowd_count *c =
	    mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t seed = test_seed();
	pid_t pids[WORKERS];
	struct fixture f;

	(void)state;
	assert_ptr_not_equal(c, MAP_FAILED);
	fixture_open(&f, crowded, 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		pids[i] = fork();
		assert_int_not_equal(pids[i], -1);
		if (pids[i] == 0) {
			work(&f, fixture_handle(&f), c, seed + i, ROUNDS);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	check_sums(&f, c);
	fixture_close(&f);
	(void)munmap(c, sizeof(*c));
}

struct thread_arg {
	struct fixture *f;
	struct crowd_count *c;
	uint64_t seed;
};

static void *
thread_work(void *arg)
{
	const struct thread_arg *a = arg;

	work(a->f, a->f->r, a->c, a->seed, ROUNDS / 2);
	return NULL;
}

/* One handle for all: what it remembers of routes and keys is shared. */
static void
test_threads(void **state)
{
	static struct crowd_count c;
	uint64_t seed = test_seed();
	struct thread_arg args[WORKERS];
	pthread_t threads[WORKERS];
	struct fixture f;

	(void)state;
	fixture_open(&f, crowded, 0);
	for (unsigned i = 0; i < WORKERS; i++) {
		args[i] = (struct thread_arg) { &f, &c, seed + i };
		assert_int_equal(pthread_create(&threads[i], NULL, thread_work, &args[i]), 0);
	}
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	check_sums(&f, &c);
	fixture_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_exempt),
		cmocka_unit_test(test_all_or_nothing),
		cmocka_unit_test(test_twins),
		cmocka_unit_test(test_short),
		cmocka_unit_test(test_wrong_hints),
		cmocka_unit_test(test_processes),
		cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
