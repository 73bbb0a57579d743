/*
 * test_queue.c - who waits for a key goes in the order in which he came: every step of the queue
 * with the time in the test's hand, nobody sleeps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomics.h"
#include "clock.h"
#include "fixture.h"
#include "invariants.h"
#include "queue.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)

static const char policy[] = "limits:\n"
			     "  m: 2/s\n"
			     "  strict: {rates: 2/s, queue: strict}\n"
			     "  minute: 60/min\n"
			     "  fixed: 4/min fixed\n"
			     "  bucket: 10/s burst 5\n"
			     "  both: [60/min, 2/s]\n"
			     "  zero: 0/s\n"
			     "  leases: 2 concurrent\n"
			     "  open: unlimited\n";

static struct fixture f;

static int
setup(void **state)
{
	(void)state;
	fixture_open(&f, policy, 64);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	fixture_close(&f);
	return 0;
}

static uint64_t
now_ns(void)
{
	return atomic_load(&f.now);
}

static void
go_to(uint64_t ns)
{
	if (ns > now_ns())
		atomic_store(&f.now, ns);
}

/* ---- one event loop's bookings ---- */

static int
book(ration_booking_t *b, const char *limit, uint64_t cost, unsigned flags)
{
	b->size = sizeof(*b);
	return ration_book(f.r, limit, "k", 1, cost, flags, b, NULL);
}

/* Use up what is there now. */
static unsigned
drain(const char *limit, const char *key)
{
	unsigned n = 0;

	while (ration_acquire(f.r, limit, key, 1, NULL) == RATION_ADMITTED)
		n++;
	return n;
}

/* Each comes when he was told to; who went, in order.  At most `until`. */
static unsigned
run_bookings(ration_booking_t *b, unsigned n, const char *limit, unsigned flags, uint64_t until,
    unsigned *order, uint64_t *when)
{
	unsigned gone = 0;

	while (gone < n) {
		unsigned first = n;

		for (unsigned i = 0; i < n; i++)
			if (b[i].at_ns != 0 && (first == n || b[i].at_ns < b[first].at_ns))
				first = i;
		if (first == n || b[first].at_ns > until)
			break;
		go_to(b[first].at_ns);
		if (book(&b[first], limit, 1, flags) == RATION_ADMITTED) {
			order[gone] = first;
			when[gone++] = now_ns();
		}
	}
	return gone;
}

static void
test_order(void **state)
{
	ration_booking_t b[20] = { 0 };
	unsigned order[20];
	uint64_t when[20];

	(void)state;
	assert_int_equal(drain("m", "k"), 2);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(book(&b[i], "m", 1, 0), RATION_DENIED);
		/* Two each window of a second and a fifteenth. */
		assert_in_range(b[i].at_ns, now_ns() + (1 + i / 2) * (SECOND - 100 * MS),
		    now_ns() + (1 + i / 2) * (SECOND + 200 * MS));
	}
	assert_int_equal(run_bookings(b, 20, "m", 0, now_ns() + 60 * SECOND, order, when), 20);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(order[i], i);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 0);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
	/* 2/s, not one a second: nothing here is rounded to a second. */
	assert_true(when[19] - when[0] < 11 * SECOND);
}

static void
test_spread(void **state)
{
	ration_booking_t b[100] = { 0 };
	unsigned order[100];
	uint64_t when[100], start = now_ns();

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		int v = book(&b[i], "minute", 1, RATION_SPREAD);

		assert_int_equal(v, i == 0 ? RATION_ADMITTED : RATION_DENIED);
		if (i == 0)
			assert_true(b[i].at_ns == 0 && b[i].queue == 0);
		else
			assert_in_range(
			    b[i].at_ns, start + i * SECOND - 2 * MS, start + i * SECOND + 20 * MS);
	}
	assert_int_equal(
	    run_bookings(b + 1, 99, "minute", RATION_SPREAD, now_ns() + 200 * SECOND, order, when),
	    99);
	for (unsigned i = 0; i < 99; i++) {
		uint64_t gap = when[i] - (i == 0 ? start : when[i - 1]);

		assert_int_equal(order[i], i);
		assert_true(gap >= SECOND);
		assert_true(gap < (i < 28 ? SECOND + 20 * MS : SECOND * 6 / 5));
	}
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 0);
}

/* ---- who may go before whom ---- */

static void
test_overtaking(void **state)
{
	ration_booking_t b = { 0 };

	(void)state;
	/* A plain call does not queue: it goes when it fits. */
	assert_int_equal(drain("m", "k"), 2);
	assert_int_equal(book(&b, "m", 1, 0), RATION_DENIED);
	go_to(b.at_ns);
	assert_int_equal(drain("m", "k"), 2);
	assert_int_equal(book(&b, "m", 1, 0), RATION_DENIED);
	assert_true(b.at_ns > now_ns() + 900 * MS);
	go_to(b.at_ns);
	assert_int_equal(book(&b, "m", 1, 0), RATION_ADMITTED);
	assert_true(b.at_ns == 0 && b.queue == 0);
}

static void
test_strict(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_booking_t b[2] = { 0 };
	ration_key_t k;

	(void)state;
	assert_int_equal(ration_key(f.r, "strict", "k", 1, &k), 0);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, NULL), RATION_ADMITTED);
	assert_int_equal(drain("strict", "k"), 1);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(book(&b[i], "strict", 1, 0), RATION_DENIED);
	go_to(b[0].at_ns);
	/* It fits, but others wait for it. */
	assert_int_equal(ration_acquire(f.r, "strict", "k", 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_QUEUE);
	assert_true(d.retry_at > d.now && d.retry_at <= d.now + 3);
	assert_int_equal(d.retry_after, d.retry_at - d.now);
	assert_int_equal(d.used, 0);
	assert_int_equal(ration_peek(f.r, "strict", "k", 1, &d), RATION_DENIED);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_QUEUE);
	assert_int_equal(ration_acquire(f.r, "strict", "k", 0, &d), RATION_ADMITTED);
	assert_int_equal(ration_acquire(f.r, "strict", "another", 1, &d), RATION_ADMITTED);
	/* One who waits is not stopped by the others' waiting. */
	assert_int_equal(book(&b[0], "strict", 1, 0), RATION_ADMITTED);
	assert_int_equal(ration_acquire(f.r, "strict", "k", 1, &d), RATION_DENIED);
	/* Who does not come is no reason to deny anybody. */
	go_to(b[1].at_ns + 49 * MS);
	assert_int_equal(ration_acquire(f.r, "strict", "k", 1, &d), RATION_DENIED);
	go_to(b[1].at_ns + 52 * MS);
	assert_int_equal(ration_acquire(f.r, "strict", "k", 1, &d), RATION_ADMITTED);
	/* Nor is one who has left. */
	go_to(now_ns() + 2 * SECOND);
	memset(b, 0, sizeof(b));
	assert_int_equal(drain("strict", "k"), 2);
	assert_int_equal(book(&b[0], "strict", 1, 0), RATION_DENIED);
	go_to(b[0].at_ns);
	assert_int_equal(ration_acquire(f.r, "strict", "k", 1, &d), RATION_DENIED);
	assert_int_equal(ration_cancel(f.r, &b[0]), 0);
	assert_int_equal(ration_acquire(f.r, "strict", "k", 1, &d), RATION_ADMITTED);
}

static void
test_cancel(void **state)
{
	ration_booking_t b[8] = { 0 };
	unsigned order[8];
	uint64_t when[8];

	(void)state;
	assert_int_equal(drain("m", "k"), 2);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(book(&b[i], "m", 1, 0), RATION_DENIED);
	/* The first, one in the middle, two in a row, the last. */
	for (unsigned i = 0; i < 8; i++)
		if (i == 0 || i == 2 || i == 4 || i == 5 || i == 7)
			assert_int_equal(ration_cancel(f.r, &b[i]), 0);
	assert_int_equal(ration_cancel(f.r, &b[0]), 0); /* of none */
	assert_int_equal(run_bookings(b, 8, "m", 0, now_ns() + 60 * SECOND, order, when), 3);
	assert_true(order[0] == 1 && order[1] == 3 && order[2] == 6);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 0);
	b[0].size = 1;
	assert_int_equal(ration_cancel(f.r, &b[0]), RATION_EINVAL);
	assert_int_equal(ration_cancel(f.r, NULL), RATION_EINVAL);
	assert_int_equal(ration_cancel(NULL, &b[1]), RATION_EINVAL);
}

static void
test_passed_over(void **state)
{
	ration_booking_t b[4] = { 0 };

	(void)state;
	assert_int_equal(drain("m", "k"), 2);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(book(&b[i], "m", 1, 0), RATION_DENIED);
	/* b[0] does not come.  49 ms late he would be in time. */
	go_to(b[0].at_ns + 49 * MS);
	assert_int_equal(book(&b[1], "m", 1, 0), RATION_DENIED);
	go_to(b[1].at_ns);
	while (book(&b[1], "m", 1, 0) == RATION_DENIED) {
		assert_true(b[1].at_ns > now_ns());
		go_to(b[1].at_ns);
	}
	assert_in_range(now_ns() - FIXTURE_START, 1050 * MS, 1200 * MS);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 1);
	/* He goes to the end; but for them he could have what is left, as they are not here. */
	assert_int_equal(drain("m", "k"), 1);
	assert_int_equal(book(&b[0], "m", 1, 0), RATION_DENIED);
	assert_int_equal(b[0].ticket, b[3].ticket + 1);
	assert_true(b[0].at_ns > b[3].at_ns);
	assert_int_equal(ration_cancel(f.r, &b[2]), 0);
	go_to(b[3].at_ns);
	while (book(&b[3], "m", 1, 0) == RATION_DENIED)
		go_to(b[3].at_ns);
	go_to(b[0].at_ns);
	while (book(&b[0], "m", 1, 0) == RATION_DENIED)
		go_to(b[0].at_ns);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 1);
}

static uint32_t
tail_of(const struct queue *q)
{
	return (uint32_t)word_load(&q->w[Q_TAIL]);
}

/* ---- bounds ---- */

static void
test_full(void **state)
{
	ration_booking_t b[QUEUE_TICKETS + 1];

	(void)state;
	memset(b, 0, sizeof(b));
	assert_int_equal(drain("minute", "k"), 60);
	for (unsigned i = 0; i < QUEUE_TICKETS; i++)
		assert_int_equal(book(&b[i], "minute", 1, 0), RATION_DENIED);
	assert_int_equal(book(&b[QUEUE_TICKETS], "minute", 1, 0), RATION_EQUEUE);
	assert_true(b[QUEUE_TICKETS].queue == 0 && b[QUEUE_TICKETS].at_ns == 0);
	assert_int_equal(ration_wait(f.r, "minute", "k", 1, 1, 0, NULL, NULL), RATION_EQUEUE);
	/* Tickets at the end that were left are there again. */
	for (unsigned i = QUEUE_TICKETS - 56; i < QUEUE_TICKETS; i++)
		assert_int_equal(ration_cancel(f.r, &b[i]), 0);
	for (unsigned i = QUEUE_TICKETS - 56; i < QUEUE_TICKETS; i++)
		assert_int_equal(book(&b[i], "minute", 1, 0), RATION_DENIED);
	assert_int_equal(book(&b[QUEUE_TICKETS], "minute", 1, 0), RATION_EQUEUE);
	/* Whom nobody has heard of for long is none. */
	go_to(now_ns() + 600 * SECOND);
	assert_int_equal(drain("minute", "k"), 60);
	assert_int_equal(book(&b[QUEUE_TICKETS], "minute", 1, 0), RATION_DENIED);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
}

/* As many keys as are there and more; then those queues go over to other keys. */
static void
test_queues(void **state)
{
	enum { N = 400 };
	static ration_booking_t b[N];
	struct fixture big;
	unsigned waits, before = 0;
	char key[16];

	(void)state;
	fixture_open(&big, policy, 2 * N);
	for (unsigned round = 0; round < 3; round++) {
		waits = 0;
		memset(b, 0, sizeof(b));
		for (unsigned i = 0; i < N; i++) {
			int v;

			(void)snprintf(key, sizeof(key), "%u", (i + round * 131) % N);
			while (ration_acquire(big.r, "m", key, 1, NULL) == RATION_ADMITTED)
				;
			b[i].size = sizeof(b[i]);
			v = ration_book(big.r, "m", key, strlen(key), 1, 0, &b[i], NULL);
			assert_true(v == RATION_DENIED || v == RATION_EQUEUE);
			waits += v == RATION_DENIED ? 1 : 0;
			for (unsigned k = 0; v == RATION_DENIED && k < i; k++)
				assert_true(b[k].queue != b[i].queue);
		}
		assert_true(waits > big.seg.nqueues / 2 && waits <= big.seg.nqueues);
		assert_true(waits + 20 > before);
		before = waits;
		if (round == 0) /* they leave; the second time they die */
			for (unsigned i = 0; i < N; i++)
				assert_int_equal(ration_cancel(big.r, &b[i]), 0);
		atomic_fetch_add(&big.now, 10 * SECOND);
	}
	fixture_close(&big);
}

/* A queue that goes over to another key: nothing of the dead, nor of their pace, is left. */
static void
test_taken_over(void **state)
{
	struct queue q, other;
	uint64_t last, units, word, slot;
	uint32_t t[3];

	(void)state;
	assert_true(queue_claim(&f.seg, 7, 1, 5000, &q));
	for (unsigned i = 0; i < 3; i++)
		assert_true(queue_take(&q, PLACE_WAITS, 5000, 5000, &t[i]));
	assert_true(pace_set(&q, 0, 5000 * MS, 256, &word));
	pace_keep(&q, 9000);
	/* While they may be alive, and while the pace goes on, it stays theirs. */
	for (slot = 8; slot < 100000; slot++) {
		uint64_t owner = word_load(&q.w[Q_OWNER]);

		(void)queue_claim(&f.seg, slot, 1, slot % 2 == 0 ? 5149 : 8999, &other);
		assert_true(word_load(&q.w[Q_OWNER]) == owner);
		atomic_store(&other.w[Q_OWNER], other.number == q.number ? owner : 0);
	}
	for (slot = 8; slot < 100000; slot++) {
		assert_true(queue_claim(&f.seg, slot, 1, 9000, &other));
		if (other.number == q.number)
			break;
		atomic_store(&other.w[Q_OWNER], 0);
	}
	assert_int_equal(other.number, q.number);
	assert_false(queue_find(&f.seg, 7, 1, &q));
	assert_int_equal(queue_before(&other, tail_of(&other), 9000), 0);
	assert_false(pace_last(&other, 9000 * MS, &last, &units, &word));
}

/* ---- pace ---- */

/* Bookings that come when they are told to, in a limit; gaps between `least` and `most`. */
static void
paced(const char *limit, uint64_t cost, uint64_t least, uint64_t most, unsigned n)
{
	ration_booking_t b = { 0 };
	uint64_t last = 0;

	go_to(now_ns() + 1000 * SECOND);
	for (unsigned i = 0; i < n; i++) {
		while (book(&b, limit, cost, RATION_SPREAD) == RATION_DENIED) {
			assert_true(b.at_ns > now_ns());
			go_to(b.at_ns);
		}
		if (last != 0)
			assert_in_range(now_ns() - last, least, most);
		last = now_ns();
	}
}

static void
test_paces(void **state)
{
	(void)state;
	paced("minute", 1, SECOND, SECOND * 6 / 5, 300);
	paced("minute", 5, 5 * SECOND, 6 * SECOND, 100);
	paced("minute", 60, 60 * SECOND, 72 * SECOND, 5);
	paced("m", 1, SECOND / 2, SECOND * 6 / 10 + MS, 50);
	paced("both", 1, SECOND, SECOND * 6 / 5, 150); /* the slower of two */
	paced("fixed", 1, 15 * SECOND, 15 * SECOND + MS, 20);
	paced("bucket", 1, SECOND / 10, SECOND / 10 + MS, 100);
	paced("bucket", 5, SECOND / 2, SECOND / 2 + MS, 20);
	paced("open", 1, 0, 0, 20);
}

/* The pace is the limit's as it is now: a raise counts at once, a cost as it was. */
static void
test_pace_raised(void **state)
{
	ration_booking_t b = { 0 };
	uint64_t start;

	(void)state;
	fixture_policy(&f, "limits: {m: 6/min}\n");
	assert_int_equal(book(&b, "m", 1, RATION_SPREAD), RATION_ADMITTED);
	start = now_ns();
	assert_int_equal(book(&b, "m", 1, RATION_SPREAD), RATION_DENIED);
	assert_in_range(b.at_ns, start + 10 * SECOND, start + 10 * SECOND + MS);
	fixture_policy(&f, "limits: {m: 60/min}\n");
	assert_int_equal(book(&b, "m", 1, RATION_SPREAD), RATION_DENIED);
	assert_in_range(b.at_ns, start + SECOND, start + SECOND + MS);
	go_to(b.at_ns);
	assert_int_equal(book(&b, "m", 10, RATION_SPREAD), RATION_ADMITTED);
	assert_int_equal(book(&b, "m", 1, RATION_SPREAD), RATION_DENIED);
	assert_in_range(b.at_ns, start + 11 * SECOND, start + 11 * SECOND + 2 * MS);
}

static void
test_pace_words(void **state)
{
	uint64_t seed, last, units, word;
	struct queue q;

	(void)state;
	seed = test_seed();
	assert_true(queue_number(&f.seg, 3, &q));
	assert_false(pace_last(&q, now_ns(), &last, &units, &word));
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t n = (test_random(&seed) >> (test_random(&seed) % 64)) % (1ull << 50) + 1;
		uint64_t at = test_random(&seed) % (1ull << 60), old = word_load(&q.w[Q_PACE]);

		assert_true(pace_set(&q, old, at, n, &word));
		assert_true(pace_last(&q, at + SECOND, &last, &units, &word));
		assert_in_range(last, at, at + 65535);
		assert_in_range(units, n, n + (n >> 16));
		/* Years ago, or a scribble from the future: none. */
		assert_false(pace_last(&q, at + (3ull << 54), &last, &units, &word));
		assert_false(pace_last(&q, at - 2 * SECOND, &last, &units, &word));
	}
}

/* ---- answers ---- */

static void
test_answers(void **state)
{
	const struct timespec past = { 0, 0 }, wrong = { 0, -1 };
	struct timespec soon;
	ration_decision_t d = RATION_DECISION_INIT, small = { .size = 8 };
	ration_booking_t b = { .size = sizeof(b) }, bad = { .size = 3 };
	char long_key[300] = "";

	(void)state;
	/* One try. */
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 2, 0, &past, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 2);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 1, 0, &past, &d), RATION_DENIED);
	assert_int_equal(d.retry_after, 2);
	assert_int_equal(ration_wait(f.r, "minute", "k", 1, 1, RATION_SPREAD, &past, &d), 1);
	assert_int_equal(ration_wait(f.r, "minute", "k", 1, 1, RATION_SPREAD, &past, &d), 0);
	assert_int_equal(d.reason, RATION_R_QUEUE); /* it would fit, but not at this pace */
	assert_int_equal(d.used, 1);
	/* No waiting helps: at once. */
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 3, 0, NULL, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_COST);
	assert_int_equal(ration_wait(f.r, "zero", "k", 1, 1, 0, NULL, &d), RATION_DENIED);
	assert_int_equal(ration_book(f.r, "m", "k", 1, 3, 0, &b, &d), RATION_DENIED);
	assert_true(b.at_ns == 0 && b.queue == 0);
	/* A booking says when to come, and why not now. */
	assert_int_equal(ration_book(f.r, "m", "k", 1, 1, 0, &b, &d), RATION_DENIED);
	assert_int_equal(d.verdict, RATION_DENIED);
	assert_true(b.at_ns > now_ns() + 900 * MS && b.at_ns < now_ns() + 1200 * MS);
	/* The retry would be after the deadline: at once, also at the end of a queue. */
	soon.tv_sec = (time_t)(now_ns() / SECOND);
	soon.tv_nsec = (long)(now_ns() % SECOND + 500 * MS);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 1, 0, &soon, &d), RATION_DENIED);
	assert_int_equal(d.retry_after, 2);
	assert_int_equal(ration_cancel(f.r, &b), 0);
	/* Errors. */
	assert_int_equal(ration_wait(f.r, "none", "k", 1, 1, 0, NULL, &d), RATION_ENOLIMIT);
	assert_int_equal(ration_wait(f.r, "leases", "k", 1, 1, 0, NULL, &d), RATION_ELEASE);
	assert_int_equal(ration_book(f.r, "leases", "k", 1, 1, 0, &b, &d), RATION_ELEASE);
	assert_int_equal(ration_wait(f.r, "m", "k", 0, 1, 0, NULL, &d), RATION_EKEY);
	assert_int_equal(ration_wait(f.r, "m", long_key, 256, 1, 0, NULL, &d), RATION_EKEY);
	assert_int_equal(
	    ration_wait(f.r, "m", "k", 1, RATION_COST_MAX + 1, 0, NULL, &d), RATION_ECOST);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 1, 2, NULL, &d), RATION_EINVAL);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 1, 0, &wrong, &d), RATION_EINVAL);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 1, 0, NULL, &small), RATION_EINVAL);
	assert_int_equal(ration_wait(NULL, "m", "k", 1, 1, 0, NULL, &d), RATION_EINVAL);
	assert_int_equal(ration_wait(f.r, NULL, "k", 1, 1, 0, NULL, &d), RATION_EINVAL);
	assert_int_equal(ration_wait(f.r, "m", NULL, 1, 1, 0, NULL, &d), RATION_EINVAL);
	assert_int_equal(ration_book(f.r, "m", "k", 1, 1, 0, NULL, &d), RATION_EINVAL);
	assert_int_equal(ration_book(f.r, "m", "k", 1, 1, 0, &bad, &d), RATION_EINVAL);
}

/* Waiting is no denial: it is counted when it has come to nothing. */
static void
test_counted(void **state)
{
	ration_booking_t b = { 0 };
	const struct timespec past = { 0, 0 };
	uint64_t slot, birth, admitted, denied;

	(void)state;
	assert_int_equal(drain("m", "k"), 2); /* and one denied */
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(book(&b, "m", 1, 0), RATION_DENIED);
	slot = b.slot;
	assert_true(view_totals(&f.seg, slot, &birth, &admitted, &denied));
	assert_int_equal(denied, 1);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 1, 0, &past, NULL), RATION_DENIED);
	assert_int_equal(ration_wait(f.r, "m", "k", 1, 3, 0, NULL, NULL), RATION_DENIED);
	assert_true(view_totals(&f.seg, slot, &birth, &admitted, &denied));
	assert_int_equal(denied, 3);
	assert_int_equal(admitted, 2);
}

/* ---- the queue itself ---- */

static struct queue
own_queue(void)
{
	struct queue q;

	assert_true(queue_claim(&f.seg, 7, 1, now_ns() / MS, &q));
	return q;
}

/* Those who sleep: dead ones cost 50 ms each, in whatever order the others look. */
static void
test_turns(void **state)
{
	struct queue q = own_queue();
	struct queue_ahead a;
	uint32_t t[6];
	uint64_t now = 5000;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		assert_true(queue_take(&q, PLACE_WAITS, now, now, &t[i]));
	assert_int_equal(queue_running(&q, now), 6);
	assert_int_equal(queue_step(&q, t[0], now, &a), QUEUE_ASK);
	queue_expect(&q, t[0], PLACE_WAITS, now + 700, now);
	for (unsigned i = 1; i < 6; i++) {
		assert_int_equal(queue_step(&q, t[i], now, &a), QUEUE_SLEEP);
		assert_int_equal(a.due_ms, now + 700 + 50 * i);
		assert_int_equal(a.n, i);
	}
	/* 0 comes in time, and is back a second later. */
	now += 749;
	assert_int_equal(queue_step(&q, t[1], now, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, t[0], now, &a), QUEUE_ASK);
	queue_expect(&q, t[0], PLACE_WAITS, now + 1000, now);
	assert_int_equal(queue_step(&q, t[1], now + 1049, &a), QUEUE_SLEEP);
	/* 0, 1 and 2 are dead. */
	now += 1150;
	assert_int_equal(queue_step(&q, t[4], now, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, t[3], now - 1, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, t[3], now, &a), QUEUE_ASK);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 3);
	assert_int_equal(queue_step(&q, t[0], now, &a), QUEUE_LOST);
	assert_int_equal(queue_step(&q, t[2], now, &a), QUEUE_LOST);
	/* He goes; 4 is called. */
	queue_leave(&q, t[3], now);
	assert_int_equal(queue_running(&q, now), 2);
	assert_int_equal(queue_step(&q, t[5], now + 49, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, t[4], now + 49, &a), QUEUE_ASK);
	/* 4 leaves and dies before he says so. */
	assert_true(word_cas(&q.w[QUEUE_HEAD + t[4] % QUEUE_TICKETS],
	    word_load(&q.w[QUEUE_HEAD + t[4] % QUEUE_TICKETS]), PLACE_WORD(t[4], PLACE_LEFT, now)));
	assert_int_equal(queue_step(&q, t[5], now + 49, &a), QUEUE_ASK);
	queue_leave(&q, t[5], now);
	assert_int_equal(queue_running(&q, now), 0);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 3);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
}

/* A ring from outside: he whose turn it is has 50 ms, whenever he meant to be back. */
static void
test_rung(void **state)
{
	struct queue q = own_queue();
	struct queue_ahead a;
	uint32_t t[2], bell;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_true(queue_take(&q, PLACE_WAITS, 5000, 5000, &t[i]));
	queue_expect(&q, t[0], PLACE_WAITS, 6000, 5000);
	assert_int_equal(queue_step(&q, t[1], 5010, &a), QUEUE_SLEEP);
	assert_int_equal(a.due_ms, 6050);
	bell = queue_bell(&q);
	queue_wake(&f.seg, 7, 2); /* another life */
	assert_int_equal(queue_bell(&q), bell);
	queue_wake(&f.seg, 7, 1);
	assert_int_not_equal(queue_bell(&q), bell);
	assert_int_equal(queue_step(&q, t[1], 5100, &a), QUEUE_SLEEP);
	assert_int_equal(a.due_ms, 5150);
	assert_int_equal(queue_step(&q, t[1], 5149, &a), QUEUE_SLEEP);
	/* He comes, for nothing: then he is back when he says so. */
	assert_int_equal(queue_step(&q, t[0], 5149, &a), QUEUE_ASK);
	queue_expect(&q, t[0], PLACE_WAITS, 5700, 5149);
	assert_int_equal(queue_step(&q, t[1], 5200, &a), QUEUE_SLEEP);
	assert_int_equal(a.due_ms, 5750);
	queue_wake_all(&f.seg);
	assert_int_equal(queue_step(&q, t[1], 5200, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, t[1], 5250, &a), QUEUE_ASK);
}

/* Who booked for later is not late; the first who sleeps behind him stands in meanwhile. */
static void
test_stand_in(void **state)
{
	struct queue q = own_queue();
	struct queue_ahead a;
	uint32_t booked, t[2];

	(void)state;
	assert_true(queue_take(&q, PLACE_BOOKED, 65000, 5000, &booked));
	for (unsigned i = 0; i < 2; i++)
		assert_true(queue_take(&q, PLACE_WAITS, 5000, 5000, &t[i]));
	assert_int_equal(queue_step(&q, t[0], 5000, &a), QUEUE_ASK);
	assert_int_equal(a.all_ms, 65050);
	queue_expect(&q, t[0], PLACE_WAITS, 6000, 5000);
	assert_int_equal(queue_step(&q, t[1], 5000, &a), QUEUE_SLEEP);
	assert_int_equal(a.due_ms, 6050);
	/* The stand-in dies: the other one stands in. */
	assert_int_equal(queue_step(&q, t[1], 6050, &a), QUEUE_ASK);
	queue_expect(&q, t[1], PLACE_WAITS, 7050, 6050);
	/* As the time comes nearer nobody goes before him. */
	queue_expect(&q, t[1], PLACE_WAITS, 64000, 63500);
	assert_int_equal(queue_step(&q, t[1], 64949, &a), QUEUE_ASK);
	assert_int_equal(queue_step(&q, t[1], 64951, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, booked, 65040, &a), QUEUE_ASK);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 0);
	/* He does not come: he is passed over, with the one who died. */
	assert_int_equal(queue_step(&q, t[1], 65099, &a), QUEUE_SLEEP);
	assert_int_equal(queue_step(&q, t[1], 65100, &a), QUEUE_ASK);
	assert_int_equal(atomic_load(&f.seg.head->passed_over), 2);
	assert_int_equal(queue_step(&q, booked, 65100, &a), QUEUE_LOST);
}

/* Tickets recur after 16 million, laps after 65,536: nothing depends on their being small. */
static void
test_wrap(void **state)
{
	struct queue q = own_queue();
	struct queue_ahead a;
	uint32_t t[4];

	(void)state;
	atomic_store(&q.w[Q_TAIL], TICKET_MASK - 1);
	atomic_store(&q.w[Q_TURN], TURN_WORD(TICKET_MASK - 1, 0, 0));
	for (unsigned i = 0; i < 4; i++)
		assert_true(queue_take(&q, PLACE_WAITS, 5000, 5000, &t[i]));
	assert_true(t[0] == TICKET_MASK - 1 && t[3] == 1);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(queue_step(&q, t[3], 5000, &a), i == 3 ? QUEUE_ASK : QUEUE_SLEEP);
		assert_int_equal(queue_step(&q, t[i], 5000, &a), QUEUE_ASK);
		queue_leave(&q, t[i], 5000);
	}
	assert_int_equal(queue_running(&q, 5000), 0);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
}

/* Whatever stands in a queue: an answer, and after it is used up, order again. */
static void
test_scribbles(void **state)
{
	ration_booking_t b[3] = { 0 };
	uint64_t seed;
	struct queue q;

	(void)state;
	seed = test_seed();
	assert_int_equal(drain("m", "k"), 2);
	assert_int_equal(book(&b[0], "m", 1, 0), RATION_DENIED);
	assert_true(queue_number(&f.seg, b[0].queue - 1, &q));
	for (unsigned i = 0; i < 200000; i++) {
		ration_booking_t *one = &b[test_random(&seed) % 3];
		uint64_t what = test_random(&seed), w = test_random(&seed);
		unsigned at = (unsigned)(what % 4 == 0 ? 1 + (what >> 8) % 5
						       : QUEUE_HEAD + (what >> 8) % QUEUE_TICKETS);
		int v;

		one->size = sizeof(*one);
		if (what % 3 == 0)
			atomic_store(&q.w[at], w >> (what >> 32) % 64);
		else if (what % 3 == 1)
			atomic_fetch_xor(&q.w[at], UINT64_C(1) << w % 64);
		go_to(now_ns() + (what >> 40) % (200 * MS));
		v = what % 16 == 15 ? ration_cancel(f.r, one)
				    : book(one, "m", 1, what % 8 == 7 ? RATION_SPREAD : 0);
		if (v != RATION_DENIED && v != RATION_ADMITTED && v != RATION_EQUEUE)
			fail_msg("%s", ration_strerror(v));
		if (what % 16 != 15 && v == RATION_DENIED)
			assert_in_range(one->at_ns, now_ns(), now_ns() + 4000 * SECOND);
		queue_wake(&f.seg, one->slot, one->birth);
		(void)drain("m", "k");
	}
}

/* ---- a random crowd against a model ---- */

struct member {
	ration_booking_t b;
	uint64_t joined; /* order of the ticket in force; 0: does not wait */
	uint64_t told;   /* when to come */
	bool prompt;     /* has come when told to since then */
};

/* Nobody who came whenever he was told to is overtaken by one who came after him. */
static void
check_first(const struct member *m, unsigned n, unsigned who)
{
	for (unsigned i = 0; i < n; i++)
		if (i != who && m[i].joined != 0 && m[i].prompt && m[who].joined != 0 &&
		    m[i].joined < m[who].joined && m[i].b.at_ns + 50 * MS > now_ns() &&
		    m[i].b.at_ns <= now_ns())
			fail_msg("%u went before %u", who, i);
}

static void
come(struct member *m, unsigned n, unsigned who, uint64_t *count, struct history *h)
{
	struct member *x = &m[who];
	bool late = x->joined != 0 && now_ns() > x->told + 50 * MS;
	uint32_t ticket = x->b.ticket;
	int v = book(&x->b, "m", 1, 0);

	if (v == RATION_ADMITTED) {
		check_first(m, n, who);
		history_add(h, now_ns(), 1);
		x->joined = 0;
		return;
	}
	assert_int_equal(v, RATION_DENIED);
	assert_true(x->b.at_ns > now_ns());
	if (x->joined != 0 && x->b.ticket != ticket && !late)
		fail_msg("%u was passed over, and came in time", who);
	if (x->joined == 0 || x->b.ticket != ticket)
		x->joined = ++*count;
	x->told = x->b.at_ns;
	x->prompt = true;
}

static void
test_crowd(void **state)
{
	enum { N = 30, STEPS = 20000 };
	static struct member m[N];
	static struct history h;
	uint64_t seed, count = 0, went = 0;

	(void)state;
	seed = test_seed();
	memset(m, 0, sizeof(m));
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t dice = test_random(&seed);
		unsigned who = (unsigned)(dice >> 8) % N, first = N;

		/* Time goes to the next who is expected; some of them never come, or late. */
		for (unsigned k = 0; k < N; k++)
			if (m[k].joined != 0 && (first == N || m[k].b.at_ns < m[first].b.at_ns))
				first = k;
		if (first != N && dice % 4 != 0) {
			go_to(m[first].b.at_ns);
			if (dice % 64 == 63) {
				m[first].joined = 0; /* dies */
				memset(&m[first].b, 0, sizeof(m[first].b));
			} else if (dice % 64 == 62) {
				assert_int_equal(ration_cancel(f.r, &m[first].b), 0);
				m[first].joined = 0;
			} else if (dice % 64 == 61) {
				m[first].b.at_ns += (dice >> 16) % (120 * MS); /* late */
				m[first].prompt = false;
			} else {
				come(m, N, first, &count, &h);
			}
		} else if (m[who].joined == 0 || dice % 16 == 0) {
			come(m, N, who, &count, &h); /* anew, or too early */
		}
		if (h.n == HISTORY_MAX) {
			assert_true(history_span(&h, SECOND) <= 2);
			went += h.n;
			h.n = 0;
		}
	}
	assert_true(history_span(&h, SECOND) <= 2);
	went += h.n;
	print_message("  %" PRIu64 " went, %" PRIu64 " passed over, %" PRIu64 " s\n", went,
	    atomic_load(&f.seg.head->passed_over), (now_ns() - FIXTURE_START) / SECOND);
	/* The queue does not idle: what the limit allows is used, but for those who do not come. */
	assert_true(went > (now_ns() - FIXTURE_START) / SECOND);
	assert_int_equal(atomic_load(&f.seg.head->scribbles), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_spread, setup, teardown),
		cmocka_unit_test_setup_teardown(test_overtaking, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strict, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
		cmocka_unit_test_setup_teardown(test_passed_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_queues, setup, teardown),
		cmocka_unit_test_setup_teardown(test_taken_over, setup, teardown),
		cmocka_unit_test_setup_teardown(test_paces, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pace_raised, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pace_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rung, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stand_in, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wrap, setup, teardown),
		cmocka_unit_test_setup_teardown(test_scribbles, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
