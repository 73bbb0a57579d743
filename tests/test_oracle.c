/*
 * test_oracle.c - every algorithm against an exact log of admissions, in random steps.
 *
 * All limits live in one instance and share one clock, so that calls over several limits, jumps
 * from nothing to months, refunds and sweeps meet each other.  The oracle knows each
 * admission to the nanosecond; it is told nothing of sub-windows or words.
 */
#include "fixture.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "cell.h"

#define S UINT64_C(1000000000)
#define DAY (86400 * S)
#define LOG_MAX 4096u
#define KEYS 3u
#define RATES_MAX 2u
#define LAST_DAY 310 /* boundaries are published 400 days ahead; from 317 on ticks look ahead */

struct rate {
	uint8_t kind;
	uint64_t units;
	uint64_t window_ns;
	uint64_t period16; /* bucket */
};

static const struct limit {
	const char *text;
	unsigned n;
	struct rate rates[RATES_MAX];
} limits[] = {
	{ "7/s", 1, { { RATION_SLIDING, 7, S, 0 } } },
	{ "100/min", 1, { { RATION_SLIDING, 100, 60 * S, 0 } } },
	{ "[20/min, 5/s]", 2, { { RATION_SLIDING, 20, 60 * S, 0 }, { RATION_SLIDING, 5, S, 0 } } },
	{ "3/7s", 1, { { RATION_SLIDING, 3, 7 * S, 0 } } },
	{ "50/24h", 1, { { RATION_SLIDING, 50, DAY, 0 } } },
	{ "1G/hour", 1, { { RATION_SLIDING, 1000000000, 3600 * S, 0 } } },
	{ "10/s fixed", 1, { { RATION_FIXED, 10, S, 0 } } },
	{ "[50/hour fixed, 8/min]", 2,
	    { { RATION_FIXED, 50, 3600 * S, 0 }, { RATION_SLIDING, 8, 60 * S, 0 } } },
	{ "1T/15min fixed", 1, { { RATION_FIXED, UINT64_C(1000000000000), 900 * S, 0 } } },
	{ "30/day", 1, { { RATION_DAY, 30, 0, 0 } } },
	{ "1T/month", 1, { { RATION_MONTH, UINT64_C(1000000000000), 0, 0 } } },
	{ "[40/month, 9/day]", 2, { { RATION_MONTH, 40, 0, 0 }, { RATION_DAY, 9, 0, 0 } } },
	{ "5/s burst 9", 1, { { RATION_BUCKET, 9, 0, 16 * S / 5 } } },
	{ "[1/min burst 5, 20/hour]", 2,
	    { { RATION_BUCKET, 5, 0, 960 * S }, { RATION_SLIDING, 20, 3600 * S, 0 } } },
	{ "0/min", 1, { { RATION_SLIDING, 0, 60 * S, 0 } } },
	{ "unlimited", 1, { { RATION_COUNT_ONLY, RATION_UNLIMITED, 0, 0 } } },
};
#define NLIMITS ((unsigned)(sizeof(limits) / sizeof(limits[0])))

struct entry {
	uint64_t at;
	uint64_t units;
	int64_t period[RATES_MAX];   /* fixed, day, month: which */
	uint64_t until16[RATES_MAX]; /* bucket: when all of it has come back */
};

/* What the oracle knows of a key of a limit. */
struct account {
	struct entry log[LOG_MAX]; /* a ring */
	uint64_t n;                /* ever */
	uint64_t tat16[RATES_MAX]; /* bucket: empty until, 1/16 ns */
	uint64_t total;
	bool total_unknown;
};

static struct fixture f;
static struct account accounts[NLIMITS][KEYS];
static struct {
	unsigned char b[255];
	size_t len;
} keys[KEYS];
static uint64_t seed, step;
static uint64_t did[4]; /* admitted, denied, retried, given back: a test that does nothing fails */

#define CHECK(holds, ...) \
	do { \
		if (!(holds)) { \
			print_error( \
			    "step %" PRIu64 " at %" PRIu64 ": ", step, atomic_load(&f.now)); \
			print_error(__VA_ARGS__); \
			print_error("\n"); \
			fail(); \
		} \
	} while (0)

static uint64_t
below(uint64_t n)
{
	return n == 0 ? 0 : test_random(&seed) % n;
}

/* ---- the oracle ---- */

/* Which period of the rate a time is in. */
static int64_t
period_of(const struct rate *r, uint64_t ns)
{
	time_t t = (time_t)(FIXTURE_UNIX + (int64_t)((ns - FIXTURE_START) / S));
	struct tm tm;

	if (r->kind == RATION_FIXED)
		return t / (time_t)(r->window_ns / S);
	if (r->kind != RATION_DAY && r->kind != RATION_MONTH)
		return 0;
	(void)localtime_r(&t, &tm);
	return r->kind == RATION_DAY ? tm.tm_year * 400 + tm.tm_yday : tm.tm_year * 12 + tm.tm_mon;
}

/* Units of the last span_ns (sliding) or of the period of `now`. */
static uint64_t
counted(const struct account *a, const struct rate *r, unsigned i, uint64_t now, uint64_t span_ns)
{
	int64_t period = period_of(r, now);
	uint64_t sum = 0;

	for (uint64_t k = a->n; k > 0 && a->n - k < LOG_MAX; k--) {
		const struct entry *e = &a->log[(k - 1) % LOG_MAX];

		if (r->kind == RATION_SLIDING ? e->at + span_ns <= now : e->period[i] != period)
			break;
		sum += e->units;
	}
	return sum;
}

static uint64_t
lateness(const struct rate *r)
{
	/* 16 sub-windows, each rounded up to a nanosecond */
	return r->window_ns / 15 + LAG_NS * 16 / 15 + 32;
}

/* Does a rate have room for cost at `now`?  late: by the latest that it must. */
static bool
fits(const struct account *a, const struct rate *r, unsigned i, uint64_t now, uint64_t cost,
    bool late)
{
	uint64_t used;

	if (r->units == RATION_UNLIMITED)
		return true;
	if (cost > r->units)
		return false;
	if (r->kind == RATION_BUCKET) {
		used = a->tat16[i] > now * 16 ? a->tat16[i] - now * 16 : 0;
		return used + cost * r->period16 <= r->units * r->period16;
	}
	used = counted(a, r, i, now, r->window_ns + (late ? lateness(r) : 0));
	return used + cost <= r->units;
}

static void
admit(struct account *a, const struct limit *l, uint64_t now, uint64_t cost)
{
	struct entry *e = &a->log[a->n++ % LOG_MAX];

	e->at = now;
	e->units = cost;
	a->total += cost;
	for (unsigned i = 0; i < l->n; i++) {
		e->period[i] = period_of(&l->rates[i], now);
		if (l->rates[i].kind == RATION_BUCKET)
			e->until16[i] = a->tat16[i] =
			    (a->tat16[i] > now * 16 ? a->tat16[i] : now * 16) +
			    cost * l->rates[i].period16;
	}
}

/* ---- calls ---- */

struct call {
	unsigned n;
	ration_claim_t claims[3];
	unsigned limit[3], key[3];
	ration_decision_t d;
	struct entry *entries[3];
	uint64_t left; /* units not given back yet */
};

static char names[NLIMITS][8];

static uint64_t
random_cost(const struct limit *l)
{
	uint64_t n = l->rates[0].units;

	if (n == RATION_UNLIMITED)
		n = RATION_COST_MAX;
	switch (below(16)) {
	case 0:
		return 1 + below(n);
	case 1:
		return n < RATION_COST_MAX ? n + below(2) : n;
	case 2:
		return 1 + n / 2;
	case 3:
		return below(2);
	default:
		return n > 1000 ? 1 + below(n / 8) : 1 + below(2);
	}
}

static void
random_call(struct call *c)
{
	c->n = below(4) == 0 ? 1 + (unsigned)below(3) : 1;
	c->d.size = sizeof(c->d);
	memset(c->entries, 0, sizeof(c->entries));
	for (unsigned i = 0; i < c->n; i++) {
		unsigned l = c->limit[i] = (unsigned)below(NLIMITS),
			 k = c->key[i] = (unsigned)below(KEYS);

		c->claims[i] = (ration_claim_t) { sizeof(c->claims[i]), names[l], keys[k].b,
			keys[k].len, random_cost(&limits[l]) };
		if (c->claims[i].cost > RATION_COST_MAX)
			c->claims[i].cost = RATION_COST_MAX;
	}
}

/* Units that the claims up to i ask of the same account. */
static uint64_t
asked(const struct call *c, unsigned i)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k <= i; k++)
		if (c->limit[k] == c->limit[i] && c->key[k] == c->key[i])
			sum += c->claims[k].cost;
	return sum;
}

static bool
oracle(const struct call *c, uint64_t now, bool late)
{
	for (unsigned i = 0; i < c->n; i++) {
		const struct limit *l = &limits[c->limit[i]];

		for (unsigned r = 0; r < l->n; r++)
			if (!fits(&accounts[c->limit[i]][c->key[i]], &l->rates[r], r, now,
				asked(c, i), late))
				return false;
	}
	return true;
}

/* used and remaining of each rate shown, by the oracle's bounds. */
static void
check_figures(const struct call *c, uint64_t now)
{
	unsigned at = 0;
	uint64_t lag = f.r->clock.fake_lag_ns; /* what was admitted was seen so late */

	for (unsigned i = 0; i < c->n; i++) {
		const struct limit *l = &limits[c->limit[i]];
		const struct account *a = &accounts[c->limit[i]][c->key[i]];

		for (unsigned r = 0; r < l->n; r++, at++) {
			const ration_rate_t *out = &c->d.rates[at];
			uint64_t low, high;

			/* One rate of a single claim may be shown before the other. */
			if (l->n > 1 || c->n > 1 || l->rates[r].kind == RATION_COUNT_ONLY)
				continue;
			assert_int_equal(out->kind, l->rates[r].kind);
			if (l->rates[r].kind == RATION_BUCKET) {
				low = a->tat16[r] > now * 16
				    ? (a->tat16[r] - now * 16 + l->rates[r].period16 - 1) /
					l->rates[r].period16
				    : 0;
				high = (a->tat16[r] > (now - lag) * 16 ? a->tat16[r] -
						   (now - lag) * 16 + l->rates[r].period16 - 1
								       : 0) /
				    l->rates[r].period16;
			} else {
				low = counted(a, &l->rates[r], r, now, l->rates[r].window_ns);
				high = counted(a, &l->rates[r], r, now,
				    l->rates[r].window_ns + lateness(&l->rates[r]) + lag);
			}
			CHECK(out->used >= low && out->used <= high,
			    "%s: %" PRIu64 " used, expected %" PRIu64 " to %" PRIu64, l->text,
			    out->used, low, high);
			CHECK(out->remaining ==
				(out->used < out->limit_units ? out->limit_units - out->used : 0),
			    "%s: remaining", l->text);
		}
	}
}

/* A caller could take exactly what remains. */
static void
check_remaining(const struct call *c)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t claim = c->claims[0];

	/* In front stands the rate that decided; what can be taken is the least of all. */
	claim.cost = RATION_UNLIMITED;
	for (unsigned i = 0; i < c->d.nrates; i++)
		if (c->d.rates[i].remaining < claim.cost)
			claim.cost = c->d.rates[i].remaining;
	if (c->n > 1 || claim.cost == RATION_UNLIMITED)
		return;
	if (claim.cost != 0)
		CHECK(ration_peek_all(f.r, &claim, 1, &d) == RATION_ADMITTED,
		    "%s: %" PRIu64 " remain, but are refused", limits[c->limit[0]].text,
		    claim.cost);
	if (++claim.cost <= RATION_COST_MAX && f.r->clock.fake_lag_ns == 0)
		CHECK(ration_peek_all(f.r, &claim, 1, &d) == RATION_DENIED,
		    "%s: more than the %" PRIu64 " that remain are admitted",
		    limits[c->limit[0]].text, claim.cost - 1);
}

static uint64_t
shared_of(int64_t unix_s)
{
	return (uint64_t)(unix_s - FIXTURE_UNIX) * S + FIXTURE_START;
}

/* A call and its answer, for a failure's message. */
static const char *
shown(const struct call *c)
{
	static char buf[2048];
	int at = 0;

	for (unsigned i = 0; i < c->n; i++)
		at += snprintf(buf + at, sizeof(buf) - (size_t)at, "%s key %u cost %" PRIu64 "; ",
		    limits[c->limit[i]].text, c->key[i], c->claims[i].cost);
	for (unsigned i = 0; i < c->d.nrates; i++)
		at += snprintf(buf + at, sizeof(buf) - (size_t)at,
		    "rate of claim %u: kind %u used %" PRIu64 " of %" PRIu64 " retry_at %" PRId64
		    "; ",
		    c->d.rates[i].claim, c->d.rates[i].kind, c->d.rates[i].used,
		    c->d.rates[i].limit_units, c->d.rates[i].retry_at);
	(void)snprintf(buf + at, sizeof(buf) - (size_t)at, "now %" PRId64, c->d.now);
	return buf;
}

/* Guarantee 4, and that the retry is not later than guarantee 2 allows.  Moves the clock. */
static void
check_retry(struct call *c, uint64_t now)
{
	bool never = false;
	uint64_t at;

	for (unsigned i = 0; i < c->n; i++)
		for (unsigned r = 0; r < limits[c->limit[i]].n; r++)
			never |= asked(c, i) > limits[c->limit[i]].rates[r].units;
	CHECK((c->d.retry_at == RATION_NEVER) == never, "retry_at %" PRId64 ", never %d",
	    c->d.retry_at, never);
	if (never) {
		CHECK(c->d.reason == RATION_R_COST || c->d.reason == RATION_R_ZERO, "no reason");
		return;
	}
	at = shared_of(c->d.retry_at);
	CHECK(at > now, "retry_at is not later than now");
	CHECK(c->d.retry_after == (uint32_t)(c->d.retry_at - c->d.now), "retry_after");
	if (at - S > now)
		CHECK(!oracle(c, at - S, true), "retry_at is over a second late: %s", shown(c));
	if (below(4) != 0 || at > FIXTURE_START + LAST_DAY * DAY)
		return;
	atomic_store(&f.now, at);
	did[2]++;
	CHECK(ration_peek_all(f.r, c->claims, c->n, &c->d) == RATION_ADMITTED,
	    "refused at retry_at: %s", shown(c));
}

static void
do_call(struct call *c)
{
	uint64_t now = atomic_load(&f.now);
	bool early = oracle(c, now, false), late = oracle(c, now, true);
	int verdict = ration_acquire_all(f.r, c->claims, c->n, &c->d);

	CHECK(verdict >= 0, "%s, %" PRIu64 " ns late: %s", ration_strerror(verdict),
	    f.r->clock.fake_lag_ns, shown(c));
	did[verdict == RATION_DENIED]++;
	if (verdict == RATION_ADMITTED) {
		CHECK(early, "over the limit: %s", shown(c));
		c->left = UINT64_MAX;
		for (unsigned i = 0; i < c->n; i++) {
			struct account *a = &accounts[c->limit[i]][c->key[i]];

			if (c->claims[i].cost == 0)
				continue;
			admit(a, &limits[c->limit[i]], now, c->claims[i].cost);
			c->entries[i] = &a->log[(a->n - 1) % LOG_MAX];
			if (c->claims[i].cost < c->left)
				c->left = c->claims[i].cost;
		}
		if (c->n == 1)
			check_figures(c, now);
		if (below(8) == 0)
			check_remaining(c);
		return;
	}
	CHECK(!late, "refused too long: %s", shown(c));
	if (below(4) == 0)
		check_remaining(c);
	check_retry(c, now);
}

/* Give back some of a former call of one limit. */
static void
refund(struct call *c)
{
	const struct limit *l = &limits[c->limit[0]];
	struct account *a = &accounts[c->limit[0]][c->key[0]];
	struct entry *e = c->entries[0];
	uint64_t units, now = atomic_load(&f.now);
	int verdict;

	if (c->n != 1 || c->d.verdict != RATION_ADMITTED || e == NULL || e->units == 0)
		return;
	units = 1 + below(e->units);
	verdict = ration_refund(f.r, &c->d, units);
	CHECK(verdict == 0 || verdict == RATION_ESTALE, "%s", ration_strerror(verdict));
	if (l->n > 1) /* which of the rates had anything to give back is not said */
		a->total_unknown = true;
	if (verdict != 0) {
		for (unsigned r = 0; r < l->n; r++)
			CHECK(l->rates[r].kind == RATION_BUCKET ||
				l->rates[r].kind == RATION_COUNT_ONLY ||
				(l->rates[r].kind == RATION_SLIDING
					? e->at + l->rates[r].window_ns <= now
					: e->period[r] != period_of(&l->rates[r], now)),
			    "%s: nothing of %" PRIu64
			    " given back within the window: taken at %" PRIu64 ", %" PRIu64 " left",
			    l->text, units, e->at, e->units);
		return;
	}
	did[3]++;
	e->units -= units;
	a->total -= units;
	for (unsigned r = 0; r < l->n; r++)
		if (l->rates[r].kind == RATION_BUCKET) {
			uint64_t back = units * l->rates[r].period16, held, own;

			held = a->tat16[r] > now * 16 ? a->tat16[r] - now * 16 : 0;
			own = e->until16[r] > now * 16 ? e->until16[r] - now * 16 : 0;
			held = held < own ? held : own;
			a->tat16[r] -= back < held ? back : held;
		}
}

/* ---- time ---- */

/* Forward, to where it hurts. */
static void
pass(void)
{
	uint64_t now = atomic_load(&f.now), to = now;
	unsigned l = (unsigned)below(NLIMITS);
	const struct rate *r = &limits[l].rates[0];
	const struct account *a = &accounts[l][below(KEYS)];

	switch (below(64)) {
	case 0 ... 27:
		break;
	case 28 ... 37:
		to += below(10000000);
		break;
	case 38 ... 43:
		to += below(S);
		break;
	case 44 ... 48: /* an admission leaves the window */
		if (r->kind == RATION_SLIDING && a->n > 0)
			to = a->log[(a->n - 1 - below(a->n < 50 ? a->n : 50)) % LOG_MAX].at +
			    r->window_ns - 1 + below(3);
		break;
	case 49 ... 53: /* a sub-window's edge */
		if (r->kind == RATION_SLIDING) {
			uint64_t sub = (r->window_ns + LAG_NS + 14) / 15;

			to = (now / sub + 1 + (below(4) == 0 ? 14 + below(3) : 0)) * sub - 1 +
			    below(3);
		}
		break;
	case 54 ... 56: /* a second's edge */
		to = (now / S + 1) * S - 1 + below(3);
		break;
	case 57 ... 59:
		to += below(20 * S);
		break;
	case 60 ... 61:
		to += below(600 * S);
		break;
	case 62:
		to += below(3 * 3600 * S);
		break;
	default:
		if (below(4) == 0)
			to += below(below(8) == 0 ? 40 * DAY : 2 * DAY);
		break;
	}
	if (to > now && to < FIXTURE_START + LAST_DAY * DAY)
		atomic_store(&f.now, to);
	if (below(64) == 0)
		f.r->clock.fake_lag_ns = below(2) == 0 ? 0 : below(LAG_NS - 1000000);
}

/* ---- the test ---- */

static void
begin(void)
{
	char yaml[4096];
	size_t at;

	at = (size_t)snprintf(yaml, sizeof(yaml),
	    "table: {rates: 2, policy: 128KiB}\ndefaults: {timezone: Europe/Madrid}\nlimits:\n");
	for (unsigned i = 0; i < NLIMITS; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "l%u", i);
		at += (size_t)snprintf(yaml + at, sizeof(yaml) - at,
		    "  l%u: {rates: %s, when_full: deny}\n", i, limits[i].text);
	}
	fixture_open(&f, yaml, 512);
	memset(accounts, 0, sizeof(accounts));
	for (unsigned k = 0; k < KEYS; k++) {
		keys[k].len = below(2) == 0 ? 1 + below(255) : 1 + below(20);
		for (size_t i = 0; i < keys[k].len; i++)
			keys[k].b[i] = (unsigned char)below(256);
		keys[k].b[0] = (unsigned char)(keys[k].b[0] / KEYS * KEYS + k); /* all different */
	}
}

/* Totals: of the keys that live and of those that are gone. */
static void
check_totals(void)
{
	uint64_t total[NLIMITS] = { 0 }, birth, admitted, denied;
	unsigned char key[256];
	uint32_t limit;

	for (uint64_t n = 0; n < f.seg.nslots; n++)
		if (view_totals(&f.seg, n, &birth, &admitted, &denied) &&
		    table_key(&f.seg, n, key, &limit, &birth) > 0)
			total[limit] += admitted;
	for (unsigned l = 0; l < NLIMITS; l++) {
		uint64_t ledger = 0;
		bool known = true;

		for (unsigned k = 0; k < KEYS; k++) {
			known &= !accounts[l][k].total_unknown;
			ledger += accounts[l][k].total;
		}
		total[l] += atomic_load(&f.seg.limits[l].admitted_gone);
		CHECK(!known ||
			(total[l] & (UINT64_MAX >> TOTAL_SHIFT)) ==
			    (ledger & (UINT64_MAX >> TOTAL_SHIFT)),
		    "%s: total %" PRIu64 ", ledger %" PRIu64, limits[l].text, total[l], ledger);
	}
}

static void
test_random_steps(void **state)
{
	uint64_t steps = getenv("RATION_LONG") != NULL ? 20000000 : 1000000;
	static struct call calls[8];
	struct sweep sweep = { .next = 0 };

	(void)state;
	begin();
	for (step = 0; step < steps; step++) {
		struct call *c = &calls[below(8)];

		pass();
		if (atomic_load(&f.now) > FIXTURE_START + (LAST_DAY - 45) * DAY) {
			check_totals();
			fixture_close(&f);
			memset(calls, 0, sizeof(calls));
			begin();
		}
		if (below(8) == 0) {
			refund(c);
		} else {
			random_call(c);
			do_call(c);
		}
		if (below(2048) == 0)
			(void)table_sweep(&f.seg, &sweep, f.seg.nslots, atomic_load(&f.now),
			    clock_unix(f.seg.policy, atomic_load(&f.now)), 0);
		if (below(4096) == 0)
			check_totals();
	}
	check_totals();
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
	assert_int_equal(atomic_load(&f.seg.head->retries_out), 0);
	fixture_close(&f);
	print_message("%" PRIu64 " admitted, %" PRIu64 " denied, %" PRIu64 " retried, %" PRIu64
		      " given back\n",
	    did[0], did[1], did[2], did[3]);
	for (unsigned i = 0; i < 4; i++)
		assert_true(did[i] > steps / 200);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_random_steps) };

	(void)setenv("TZ", "Europe/Madrid", 1);
	tzset();
	seed = test_seed();
	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
