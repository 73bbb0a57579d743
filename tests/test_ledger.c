/*
 * test_ledger.c - eight processes, few keys, real time: what the words say afterwards is what
 * the processes were granted, to the unit; no limit was exceeded in any span of its
 * window; and all that was allowed was granted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "atomics.h"
#include "audit.h"
#include "cell.h"
#include "crowd.h"

#define PROCESSES 8u
#define GRANTS_MAX 400000u
#define S UINT64_C(1000000000)

static const char policy[] = "limits:\n"
			     "  open: 1000000000/hour\n"
			     "  tight: 50000/hour\n"
			     "  day: 1000000000000/day\n"
			     "  two: [900000000/hour, 100000000000/month]\n"
			     "  free: unlimited\n"
			     "  spike: 500/s\n"
			     "  bucket: 1000/s burst 50\n";

enum thing { OPEN, TIGHT, DAY, TWO, FREE, SPIKE, BUCKET };
static const char *const names[] = { "open", "tight", "day", "two", "free", "spike", "bucket" };

/* An admission: it happened between these two readings of the precise clock. */
struct grant {
	uint64_t before, after, cost;
};

struct log {
	_Atomic uint32_t n[2];
	_Atomic uint64_t denied[8];
	struct grant of[2][GRANTS_MAX];
};

static struct log *logs;
static uint64_t calls_each, until_ns;
static bool long_run;

static int
logged(struct crowd *c, unsigned who, ration_t *r, enum thing k, uint64_t cost)
{
	struct log *l = &logs[who];
	unsigned which = k == SPIKE ? 0 : 1;
	uint32_t n = atomic_load(&l->n[which]);
	struct grant *g = &l->of[which][n];
	int v;

	if (n == GRANTS_MAX)
		return RATION_DENIED;
	g->cost = cost;
	g->before = crowd_now(c);
	v = ration_acquire(r, names[k], "one", cost, NULL);
	g->after = crowd_now(c);
	if (v == RATION_ADMITTED)
		atomic_store(&l->n[which], n + 1);
	return v;
}

/* A call over several limits; each of them is charged or none. */
static int
several(ration_t *r, const enum thing *k, size_t n, uint64_t cost, ration_decision_t *d)
{
	ration_claim_t claims[4];

	for (size_t i = 0; i < n; i++)
		claims[i] = (ration_claim_t) { sizeof(claims[i]), names[k[i]], "one", 3, cost };
	return ration_acquire_all(r, claims, n, d);
}

struct step {
	unsigned n;
	enum thing k[4];
};

static int
take(struct crowd *c, unsigned who, ration_t *r, ration_key_t *handle, uint64_t dice,
    const struct step *s, uint64_t cost)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct ledger *l = &c->ledgers[who];
	int v;

	if (s->n > 1)
		v = several(r, s->k, s->n, cost, &d);
	else if (s->k[0] == OPEN && dice % 2 == 0)
		v = ration_key_acquire(r, handle, cost, &d);
	else if (s->k[0] == SPIKE || s->k[0] == BUCKET)
		v = logged(c, who, r, s->k[0], cost);
	else
		v = ration_acquire(r, names[s->k[0]], "one", cost, &d);
	if (v == RATION_EBUSY) {
		(void)atomic_fetch_add(&l->busy, 1);
		return 0;
	}
	if (v < 0)
		return v;
	if (v == RATION_DENIED && s->n == 1)
		(void)atomic_fetch_add(&logs[who].denied[s->k[0]], 1);
	for (unsigned i = 0; i < s->n && v == RATION_ADMITTED; i++)
		(void)atomic_fetch_add(&l->acked[s->k[i]], cost);
	if (v == RATION_ADMITTED && s->n == 1 && s->k[0] == OPEN && dice % 8 == 1) {
		if (ration_refund(r, &d, cost) != 0)
			return -100;
		(void)atomic_fetch_sub(&l->acked[OPEN], cost);
	}
	return 0;
}

static int
work(struct crowd *c, unsigned who, ration_t *r, uint64_t *random)
{
	static const struct step steps[] = { { 1, { OPEN } }, { 1, { OPEN } }, { 1, { OPEN } },
		{ 1, { OPEN } }, { 1, { TIGHT } }, { 1, { DAY } }, { 1, { TWO } }, { 1, { FREE } },
		{ 3, { OPEN, DAY, FREE } }, { 2, { TIGHT, TWO } }, { 2, { TWO, OPEN } },
		{ 1, { SPIKE } }, { 1, { SPIKE } }, { 1, { BUCKET } }, { 1, { BUCKET } },
		{ 1, { DAY } } };
	ration_key_t handle;

	if (ration_key(r, "open", "one", 3, &handle) != 0)
		return 2;
	for (uint64_t i = 0; i < calls_each; i++) {
		uint64_t dice = test_random(random);
		int e =
		    take(c, who, r, &handle, dice >> 8, &steps[dice % 16], 1 + (dice >> 32) % 3);

		if (e != 0) {
			warnx("process %u: %s", who, ration_strerror(e));
			return 3;
		}
		(void)atomic_fetch_add(&c->ledgers[who].calls, 1);
	}
	/* For as many windows as are to be seen: at the brim, and not in the others' way. */
	while (crowd_now(c) < until_ns) {
		const struct timespec bit = { 0, 50000 };

		if (logged(c, who, r, SPIKE, 1) < 0 || logged(c, who, r, BUCKET, 1) < 0)
			return 4;
		(void)nanosleep(&bit, NULL);
	}
	return 0;
}

/* ---- afterwards ---- */

static uint64_t
acked(const struct crowd *c, enum thing k)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < PROCESSES; i++)
		sum += atomic_load(&c->ledgers[i].acked[k]);
	return sum;
}

static word_t *
slot_of(struct crowd *c, enum thing k)
{
	struct ident id = { names[k], strlen(names[k]), (const unsigned char *)"one", 3, 0, 0 };
	struct policy_ref p;
	struct found f;

	ident_hash(&c->f.seg, &id);
	assert_true(policy_current(c->f.seg.policy, &p));
	assert_true(
	    table_find(&c->f.seg, &id, (uint32_t)policy_limit_id(&p, id.limit, id.limit_len), &f));
	return segment_slot(&c->f.seg, f.slot);
}

static void
check_words(struct crowd *c)
{
	for (enum thing k = OPEN; k <= FREE; k++) {
		ration_decision_t d = RATION_DECISION_INIT;
		word_t *s = slot_of(c, k);
		uint64_t denied = 0;

		assert_true(ration_peek(c->f.r, names[k], "one", 1, &d) >= 0);
		for (unsigned i = 0; i < d.nrates; i++)
			assert_int_equal(d.rates[i].used, acked(c, k));
		assert_int_equal(cell_total(s), acked(c, k));
		for (unsigned i = 0; i < PROCESSES; i++)
			denied += atomic_load(&logs[i].denied[k]);
		if (k != TIGHT) /* it is also denied in calls over several limits */
			assert_int_equal(DENIED_COUNT(word_load(&s[SLOT_DENIED])), denied);
	}
	/* More was wanted than allowed: all of it was granted, and no more. */
	assert_int_equal(acked(c, TIGHT), 50000);
}

static int
by_before(const void *a, const void *b)
{
	const struct grant *x = a, *y = b;

	return (x->before > y->before) - (x->before < y->before);
}

/* Units granted for certain within `span` from any grant on: at most what. */
static void
check_spans(const struct grant *g, size_t n, uint64_t span, uint64_t at_most)
{
	uint64_t worst = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t units = 0, end = g[i].before + span;

		for (size_t j = i; j < n && g[j].before < end; j++)
			if (g[j].after < end)
				units += g[j].cost;
		if (units > worst)
			worst = units;
	}
	print_message("  worst span of %.3f s: %" PRIu64 " of %" PRIu64 "\n", (double)span / 1e9,
	    worst, at_most);
	assert_true(worst <= at_most);
}

static size_t
collect(unsigned which, struct grant **out)
{
	size_t n = 0, at = 0;

	for (unsigned i = 0; i < PROCESSES; i++)
		n += atomic_load(&logs[i].n[which]);
	*out = calloc(n + 1, sizeof(**out));
	assert_non_null(*out);
	for (unsigned i = 0; i < PROCESSES; i++) {
		size_t m = atomic_load(&logs[i].n[which]);

		memcpy(*out + at, logs[i].of[which], m * sizeof(**out));
		at += m;
	}
	qsort(*out, n, sizeof(**out), by_before);
	return n;
}

static void
check_grants(uint64_t took_ns)
{
	struct grant *g;
	size_t n = collect(0, &g);
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += g[i].cost;
	check_spans(g, n, S, 500);
	/* Always wanted: in each window, a fifteenth and a lag, nearly all is granted. */
	print_message("  granted %" PRIu64 " in %.2f s\n", sum, (double)took_ns / 1e9);
	assert_true(sum >= (500 - 2) * (took_ns / (S + S / 15 + S / 20) + 1));
	free(g);
	n = collect(1, &g);
	for (uint64_t span = S / 100; span <= S; span *= 10)
		check_spans(g, n, span, 50 + span / (S / 1000));
	free(g);
}

static void
test_exact(void **state)
{
	struct crowd *c = crowd_new(policy, 0, 0, test_seed());
	uint64_t begin, took, busy = 0;

	(void)state;
	logs = mmap(NULL, PROCESSES * sizeof(*logs), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(logs, MAP_FAILED);
	calls_each = (long_run ? UINT64_C(10000000) : UINT64_C(2000000)) / PROCESSES;
	c->work = work;
	begin = crowd_now(c);
	until_ns = begin + 3 * S;
	for (unsigned i = 0; i < PROCESSES; i++)
		crowd_start(c, i);
	assert_int_equal(crowd_finish(c), 0);
	took = crowd_now(c) - begin;
	for (unsigned i = 0; i < PROCESSES; i++)
		busy += atomic_load(&c->ledgers[i].busy);
	print_message("  %" PRIu64 " calls in %.2f s, gave up: %" PRIu64 "\n", crowd_calls(c),
	    (double)took / 1e9, busy);
	check_words(c);
	check_grants(took);
	assert_int_equal(busy, 0);
	assert_int_equal(atomic_load(&c->f.seg.head->retries_out), 0);
	assert_int_equal(atomic_load(&c->f.seg.head->scribbles), 0);
	/* Of two who added a key at once the later left its slot to be taken back. */
	crowd_sweep(c, 0);
	assert_int_equal(audit_table(&c->f.seg, true, NULL), 0);
	(void)munmap(logs, PROCESSES * sizeof(*logs));
	crowd_free(c);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_exact) };

	long_run = argc > 1 && strcmp(argv[1], "--long") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
