/*
 * test_why.c - the ring of recent denials, and `ration why`.
 *
 * What every way of denying leaves in it; how little is noted of many; writers that are killed,
 * stopped for a turn of the ring, or write whatever they like; and what people are told.
 *
 * usage: test_why RATIOND RATION
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "command.h"
#include "recent.h"
#include "fixture.h"

#define S UINT64_C(1000000000)
#define SPAN (UINT64_C(1) << DENIALS_SHIFT)

static struct fixture f;

static const char policy[] = "table: {rates: 2}\n"
			     "limits:\n"
			     "  api: [3/min, 10/h]\n"
			     "  one: 2/min\n"
			     "  fixed: 2/h fixed\n"
			     "  none: 0/min\n"
			     "  seen: {rates: 1/min, mode: observe}\n"
			     "  known: {rates: 5/min, unlisted: refuse}\n"
			     "  few: {rates: 5/min, max_keys: 1}\n"
			     "  s: {rates: 1 concurrent}\n"
			     "  ip: {rates: 1/min, key: {attribute: ip, address: true, ipv6: 64}}\n"
			     "routes:\n"
			     "  \"GET /x\": [one, fixed]\n"
			     "  \"GET /ip\": [ip]\n";

static int
open_fixture(void **state)
{
	(void)state;
	fixture_open(&f, policy, 0);
	return 0;
}

static int
close_fixture(void **state)
{
	(void)state;
	fixture_close(&f);
	return 0;
}

static void
pass(uint64_t ns)
{
	atomic_fetch_add(&f.now, ns);
}

static uint32_t
id_of(const char *limit)
{
	struct policy_ref p;

	assert_true(policy_current(f.seg.policy, &p));
	return (uint32_t)policy_limit_id(&p, limit, strlen(limit));
}

/* Entries of the key, newest first; -1: of any limit. */
static struct recent
find(const char *key, int64_t limit)
{
	struct recent_query q = { .key = (const unsigned char *)key,
		.len = strlen(key),
		.limit = limit,
		.n = SIDE_DENIALS };
	struct recent found;

	assert_true(recent_find(&f.seg, f.now, &q, &found));
	return found;
}

static size_t
count(const char *key)
{
	struct recent found = find(key, -1);

	recent_free(&found);
	return found.n;
}

/* The newest of key and limit, and how many there are. */
static size_t
last(const char *key, const char *limit, struct denial *out)
{
	struct recent found = find(key, limit != NULL ? (int64_t)id_of(limit) : -1);

	memset(out, 0, sizeof(*out));
	if (found.n > 0)
		*out = found.list[0];
	recent_free(&found);
	return found.n;
}

/* The newest is this decision's. */
static void
assert_noted(const char *limit, const char *key, const ration_decision_t *d)
{
	struct denial n;

	if (last(key, limit, &n) == 0)
		fail_msg("nothing noted of %s %s", limit, key);
	assert_int_equal(n.key_len, strlen(key));
	assert_memory_equal(n.key, key, n.key_len);
	assert_int_equal(n.limit_id, id_of(limit));
	assert_int_equal(n.retry_at, d->retry_at);
	assert_int_equal(n.reason, d->reason);
	assert_int_equal(n.kind, d->kind);
	assert_int_equal(n.limit_units, d->limit_units);
	assert_int_equal(n.rate_units, d->rate_units);
	assert_int_equal(n.window_ns, d->window_ns);
	assert_int_equal(n.used, d->used);
	assert_int_equal(n.cost, d->cost);
	assert_int_equal(n.policy_version, d->policy_version);
	assert_int_equal(n.pid, getpid());
	assert_int_equal(n.mode, MODE_ENFORCE);
	assert_int_equal(n.shared_ns, f.now);
	assert_int_equal(n.unix_ns / 1000000000, d->now);
}

/* Until it is denied, which it must be at last; then how it was. */
static void
drain(const char *limit, const char *key, ration_decision_t *d)
{
	d->size = sizeof(*d);
	for (int i = 0; i < 100; i++)
		if (ration_acquire(f.r, limit, key, 1, d) == RATION_DENIED)
			return;
	fail_msg("%s never denies", limit);
}

/* ---- what is noted ---- */

static void
test_keyed(void **state)
{
	static const char *const limits[] = { "one", "api", "fixed", "none" };
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		drain(limits[i], limits[i], &d);
		assert_noted(limits[i], limits[i], &d);
		assert_int_equal(last(limits[i], NULL, &n), 1);
		assert_int_equal(n.denied, 1);
		assert_int_equal(n.claims, 1);
	}
	assert_int_equal(n.reason, RATION_R_ZERO);
	assert_int_equal(n.flags, DENIAL_NOSLOT);
	/* No decision is wanted: noted all the same. */
	pass(SPAN);
	assert_int_equal(ration_acquire(f.r, "one", "one", 1, NULL), RATION_DENIED);
	assert_int_equal(last("one", "one", &n), 2);
	assert_int_equal(n.denied, 2);
	assert_int_equal(n.used, 2);
	assert_int_equal(ration_acquire(f.r, "one", "big", 9, &d), RATION_DENIED);
	assert_noted("one", "big", &d);
	assert_int_equal(d.reason, RATION_R_COST);
}

static void
test_handle(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;
	ration_key_t k;
	char key[256];

	(void)state;
	memset(key, 'k', 255);
	key[255] = '\0';
	assert_int_equal(ration_key(f.r, "one", key, 255, &k), 0);
	while (ration_key_acquire(f.r, &k, 1, &d) == RATION_ADMITTED)
		;
	assert_noted("one", key, &d);
	for (int i = 0; i < 3; i++) {
		pass(SPAN);
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
		assert_noted("one", key, &d);
		assert_int_equal(last(key, NULL, &n), 2 + i);
		assert_int_equal(n.denied, 2 + i);
	}
	pass(SPAN);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, NULL), RATION_DENIED);
	assert_int_equal(last(key, NULL, &n), 5);
	assert_int_equal(n.retry_at, d.retry_at);
}

static void
test_several(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_claim_t claims[] = { { sizeof(claims[0]), "one", "all", 3, 1 },
		{ sizeof(claims[0]), "fixed", "all", 3, 1 },
		{ sizeof(claims[0]), "api", "a", 1, 1 } };
	struct denial n;

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(ration_acquire_all(f.r, claims, 3, &d), RATION_ADMITTED);
	assert_int_equal(ration_acquire_all(f.r, claims, 3, &d), RATION_DENIED);
	/* The two that refuse, each with its own figures; the third does not. */
	assert_int_equal(last("all", "one", &n), 1);
	assert_int_equal(n.kind, RATION_SLIDING);
	assert_int_equal(n.claims, 3);
	assert_int_equal(last("all", "fixed", &n), 1);
	assert_int_equal(n.kind, RATION_FIXED);
	assert_int_equal(count("a"), 0);
	assert_noted("fixed", "all", &d);
}

static void
test_route(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_attr_t attr = { sizeof(attr), "key", "r", 1 };

	(void)state;
	for (int i = 0; i < 2; i++)
		assert_int_equal(ration_route(f.r, "GET", "/x", &attr, 1, 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_route(f.r, "GET", "/x", &attr, 1, 1, &d), RATION_DENIED);
	assert_noted("fixed", "r", &d);
	assert_int_equal(count("r"), 2);
}

static void
test_lease(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t l, m;

	(void)state;
	assert_int_equal(ration_lease(f.r, "s", "l", 1, 0, &l, &d), RATION_ADMITTED);
	assert_int_equal(ration_lease(f.r, "s", "l", 1, 0, &m, &d), RATION_DENIED);
	assert_noted("s", "l", &d);
	assert_int_equal(d.reason, RATION_R_RELEASE);
	assert_int_equal(ration_release(f.r, &l), 0);
}

static void
test_other_reasons(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;

	(void)state;
	assert_int_equal(ration_acquire(f.r, "known", "stranger", 1, &d), RATION_DENIED);
	assert_int_equal(last("stranger", "known", &n), 1);
	assert_int_equal(n.reason, RATION_R_UNLISTED);
	assert_int_equal(n.flags, DENIAL_NOSLOT);
	assert_int_equal(n.retry_at, RATION_NEVER);
	assert_int_equal(denials_since(&f.seg, &n), -1);
	assert_int_equal(ration_acquire(f.r, "few", "a", 1, &d), RATION_ADMITTED);
	atomic_store(&f.seg.limits[id_of("few")].keys, 1);
	assert_int_equal(ration_acquire(f.r, "few", "b", 1, &d), RATION_DENIED);
	assert_int_equal(last("b", "few", &n), 1);
	assert_int_equal(n.reason, RATION_R_FULL);
}

/* What is no denial, or none yet. */
static void
test_not_noted(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct timespec past = { 0, 0 };
	struct denial n;
	ration_key_t k;

	(void)state;
	assert_int_equal(ration_acquire(f.r, "one", "p", 2, &d), RATION_ADMITTED);
	assert_int_equal(ration_peek(f.r, "one", "p", 1, &d), RATION_DENIED);
	assert_int_equal(ration_key(f.r, "one", "p", 1, &k), 0);
	assert_int_equal(ration_key_peek(f.r, &k, 1, &d), RATION_DENIED);
	assert_int_equal(ration_peek(f.r, "known", "p", 1, &d), RATION_DENIED);
	assert_int_equal(count("p"), 0);
	/* Who waits is denied once, in the end. */
	assert_int_equal(ration_wait(f.r, "one", "p", 1, 1, 0, &past, &d), RATION_DENIED);
	assert_int_equal(last("p", NULL, &n), 1);
	assert_int_equal(n.denied, 1);
	assert_int_equal(n.retry_at, d.retry_at);
}

static void
test_observed(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;

	(void)state;
	assert_int_equal(ration_acquire(f.r, "seen", "o", 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_peek(f.r, "seen", "o", 1, &d), RATION_ADMITTED);
	assert_int_equal(count("o"), 0);
	assert_int_equal(ration_acquire(f.r, "seen", "o", 1, &d), RATION_ADMITTED);
	assert_int_equal(last("o", "seen", &n), 1);
	assert_int_equal(n.mode, MODE_OBSERVE);
	assert_int_equal(n.used, 1);
	assert_int_equal(n.limit_units, 1);
	assert_int_equal(n.denied, 1);
}

static int
from(const char *address)
{
	ration_attr_t attr = { sizeof(attr), "ip", address, strlen(address) };

	return ration_route(f.r, "GET", "/ip", &attr, 1, 1, NULL);
}

/* An address is one key however it is written, and is found in the range that is its key. */
static void
test_address(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;
	ration_key_t k;

	(void)state;
	assert_int_equal(from("2001:DB8:0:1::1"), RATION_ADMITTED);
	assert_int_equal(from("2001:db8:0:1::2"), RATION_DENIED);
	assert_int_equal(last("2001:db8:0:1::7", "ip", &n), 1);
	assert_string_equal((char *)n.key, "2001:db8:0:1::/64");
	assert_int_equal(count("2001:db8:0:2::1"), 0);
	assert_int_equal(count("2001:db8:0:1::/64"), 1);
	pass(SPAN);
	assert_int_equal(from("2001:db8:0:1::3"), RATION_DENIED);
	assert_int_equal(ration_key(f.r, "ip", "2001:db8:0:1::/64", 17, &k), 0);
	for (int i = 0; i < 2; i++) {
		pass(SPAN);
		assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);
	}
	assert_int_equal(count("2001:db8:0:1::1"), 4);
	(void)from("203.0.113.9");
	assert_int_equal(from("203.0.113.9"), RATION_DENIED);
	assert_int_equal(count("203.0.113.9"), 1);
	assert_int_equal(count("203.0.113.8"), 0);
}

/* ---- how much is noted ---- */

static void
test_once(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;

	(void)state;
	atomic_store(&f.now, (f.now >> DENIALS_SHIFT) << DENIALS_SHIFT);
	drain("one", "k", &d);
	for (int i = 1; i < 1000; i++) {
		pass(SPAN / 1001);
		assert_int_equal(ration_acquire(f.r, "one", "k", 1, &d), RATION_DENIED);
	}
	assert_int_equal(last("k", NULL, &n), 1);
	assert_int_equal(n.denied, 1);
	assert_int_equal(denials_since(&f.seg, &n), 999);
	pass(SPAN);
	assert_int_equal(ration_acquire(f.r, "one", "k", 1, &d), RATION_DENIED);
	assert_int_equal(last("k", NULL, &n), 2);
	assert_int_equal(n.denied, 1001);
	assert_int_equal(denials_since(&f.seg, &n), 0);
	/* The slot is another key's: what is counted there now is that one's. */
	n.birth++;
	assert_int_equal(denials_since(&f.seg, &n), -1);
}

/* Many keys at once: so many of them, in the next time others. */
static void
test_many_keys(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct recent found;
	char key[16];

	(void)state;
	for (int span = 1; span < 4; span++) {
		for (int i = 0; i < 200; i++) {
			snprintf(key, sizeof(key), "%d.%d", span, i);
			drain("one", key, &d);
		}
		found = find("none of them", -1);
		recent_free(&found);
		assert_int_equal(found.noted, (unsigned)span * DENIALS_MOST);
		pass(SPAN);
	}
}

/* Two keys whose place in the handle's table is one: each is noted once. */
static void
test_same_place(void **state)
{
	uint64_t which[2] = { 3, 3 + DENIED_SEEN };
	unsigned noted = 0;

	(void)state;
	for (int i = 0; i < 100; i++)
		noted += denials_due(f.r, which[i % 2], f.now) &&
		    denials_claim(f.r, which[i % 2], f.now);
	assert_int_equal(noted, 2);
}

/* ---- who writes, and what becomes of him ---- */

/* Run in a child; its exit status. */
static int
in_child(void (*what)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void
deny_once(void)
{
	if (ration_acquire(f.r, "one", "k", 1, NULL) != RATION_DENIED)
		_exit(1);
	/* For the parent to compare. */
	atomic_store(&f.seg.head->daemon_pid, (uint64_t)getpid());
}

static void
test_fork(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct denial n;

	(void)state;
	drain("one", "k", &d);
	assert_int_equal(last("k", NULL, &n), 1);
	assert_int_equal(n.pid, getpid());
	/* In the same time: it is the child's first. */
	assert_int_equal(in_child(deny_once), 0);
	assert_int_equal(last("k", NULL, &n), 2);
	assert_int_equal(n.pid, atomic_load(&f.seg.head->daemon_pid));
	assert_int_not_equal(n.pid, getpid());
	assert_int_not_equal(n.pid_ns, 0);
}

/* An entry in which every part follows from one number. */
static struct denial
made(uint64_t x)
{
	struct denial d = { .shared_ns = f.now,
		.unix_ns = FIXTURE_UNIX * INT64_C(1000000000),
		.slot = (uint32_t)(x % 1000),
		.limit_id = (uint16_t)id_of("one"),
		.kind = RATION_SLIDING,
		.limit_units = x,
		.rate_units = x * 3,
		.window_ns = x * 5,
		.used = x * 7,
		.cost = x * 11,
		.key_len = 255 };

	for (unsigned i = 0; i < 255; i++)
		d.key[i] = (unsigned char)('a' + (x + i) % 26);
	return d;
}

static bool
is_made(const struct denial *d)
{
	uint64_t x = d->limit_units;
	struct denial want = made(x);

	return d->slot == want.slot && d->rate_units == x * 3 && d->window_ns == x * 5 &&
	    d->used == x * 7 && d->cost == x * 11 && d->key_len == 255 &&
	    memcmp(d->key, want.key, 255) == 0;
}

/* All that can be read is whole; how many these are. */
static unsigned
check_ring(void)
{
	unsigned n = 0;
	struct denial d;

	for (unsigned place = 0; place < SIDE_DENIALS; place++)
		if (denials_read(&f.seg, place, f.now, &d)) {
			if (!is_made(&d))
				errx(1, "a torn entry at %u", place);
			n++;
		}
	return n;
}

/* A writer is killed after each number of words. */
static void
test_killed_between_words(void **state)
{
	word_t *entry = side_denial(f.seg.side, 7);
	struct denial old = made(1), new = made(2), d;
	uint64_t body[SIDE_DENIAL_WORDS - 1], words[SIDE_DENIAL_WORDS];

	(void)state;
	new.number = 7 + SIDE_DENIALS;
	memcpy(body, &new, sizeof(body));
	side_put(entry, new.number, body, SIDE_DENIAL_WORDS);
	for (unsigned i = 0; i < SIDE_DENIAL_WORDS; i++)
		words[i] = atomic_load(&entry[i]);
	for (unsigned k = 1; k < SIDE_DENIAL_WORDS; k++) {
		old.number = 7;
		memcpy(body, &old, sizeof(body));
		side_put(entry, old.number, body, SIDE_DENIAL_WORDS);
		assert_true(denials_read(&f.seg, 7, f.now, &d));
		assert_int_equal(d.limit_units, 1);
		for (unsigned i = 0; i < k; i++)
			atomic_store(&entry[i], words[i]);
		if (denials_read(&f.seg, 7, f.now, &d))
			fail_msg("shown, though its writer was killed after %u words", k);
	}
	atomic_store(&entry[SIDE_DENIAL_WORDS - 1], words[SIDE_DENIAL_WORDS - 1]);
	assert_true(denials_read(&f.seg, 7, f.now, &d));
	assert_int_equal(d.limit_units, 2);
}

/* Until it is killed; also by our end, if something fails before that. */
static void
write_forever(pid_t parent)
{
	ration_t *r;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
		_exit(1);
	r = fixture_handle(&f);
	for (uint64_t x = (uint64_t)getpid() << 20;; x++) {
		struct denial d = made(x);

		denials_put(r, &f.seg, &d);
	}
}

/* Eight write as fast as they can, over and over, and are killed; what is read is whole. */
static void
test_overrun(void **state)
{
	uint64_t turns;
	pid_t pids[8], parent = getpid();
	struct recent found;

	(void)state;
	for (int i = 0; i < 8; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			write_forever(parent);
	}
	while ((turns = atomic_load(&f.seg.side->denied) / SIDE_DENIALS) < 20)
		(void)check_ring();
	for (int i = 0; i < 8; i++) {
		(void)check_ring();
		assert_int_equal(kill(pids[i], SIGKILL), 0);
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	}
	/* Each of them costs its entry, at most one more. */
	assert_true(check_ring() >= SIDE_DENIALS - 16);
	found = find("x", -1);
	recent_free(&found);
	assert_true(found.noted >= SIDE_DENIALS - 16);
}

/* ---- a ring full of anything ---- */

static struct server here; /* for run(): the fixture's directory */

static void
show_all(const char *key)
{
	(void)snprintf(here.dir, sizeof(here.dir), "%s", f.dir);
	if (run(&here, "-i", "t", "why", key, "-n", "5000", NULL) > 1)
		fail_msg("why %s: exit %d: %s", key, ran.code, ran.err);
	for (const char *c = ran.out; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' && *c != '\n')
			fail_msg("why %s: a control character, %d", key, *c);
	if (run(&here, "-i", "t", "--json", "why", key, "-n", "5000", NULL) > 1)
		fail_msg("why %s: exit %d: %s", key, ran.code, ran.err);
	json_decref(json_loads(ran.out, 0, NULL));
}

static void
test_random_words(void **state)
{
	uint64_t seed = test_seed(), body[SIDE_DENIAL_WORDS - 1];
	struct denial d, got;
	unsigned read = 0;

	(void)state;
	for (uint64_t i = 0; i < (uint64_t)SIDE_DENIALS * SIDE_DENIAL_WORDS; i++)
		atomic_store(&side_denial(f.seg.side, 0)[i], test_random(&seed));
	atomic_store(&f.seg.side->denied, test_random(&seed));
	assert_int_equal(check_ring(), 0);
	show_all("k");
	/* Sealed as they should be, with anything in them. */
	for (uint64_t n = 1; n < SIDE_DENIALS; n++) {
		for (unsigned i = 0; i < SIDE_DENIAL_WORDS - 1; i++)
			body[i] = test_random(&seed);
		memcpy(&d, body, sizeof(d));
		d.number = n + SIDE_DENIALS * (test_random(&seed) % 3 != 0 ? 1u : UINT32_MAX);
		d.key_len = test_random(&seed) % 8 == 0 ? 0 : 1;
		d.key[0] = 'k';
		/* Most of what is checked is right in most of them, or none would get far. */
		if (test_random(&seed) % 8 != 0)
			d.shared_ns = test_random(&seed) % f.now;
		if (test_random(&seed) % 8 != 0)
			d.unix_ns = (int64_t)(test_random(&seed) >> 2);
		if (test_random(&seed) % 8 != 0)
			d.limit_id = (uint16_t)(test_random(&seed) % (LIMITS_MAX + 10));
		if (test_random(&seed) % 8 != 0)
			d.kind = (uint8_t)(test_random(&seed) % 9);
		if (test_random(&seed) % 8 != 0)
			d.reason = (uint8_t)(test_random(&seed) % 8);
		if (test_random(&seed) % 8 != 0)
			d.mode = (uint8_t)(test_random(&seed) % 4);
		if (test_random(&seed) % 8 != 0)
			d.retry_at = (int64_t)(test_random(&seed) >> test_random(&seed) % 64) - 2;
		if (test_random(&seed) % 8 != 0)
			d.slot = (uint32_t)(test_random(&seed) % 2000);
		memcpy(body, &d, sizeof(body));
		side_put(side_denial(f.seg.side, n), d.number, body, SIDE_DENIAL_WORDS);
		if (!denials_read(&f.seg, (unsigned)n, f.now, &got))
			continue;
		read++;
		(void)denials_since(&f.seg, &got);
		assert_in_range(got.kind, 0, RATION_COUNT_ONLY);
		assert_in_range(got.reason, 0, RATION_R_QUEUE);
		assert_in_range(got.mode, 0, MODE_OFF);
		assert_in_range(got.limit_id, 0, LIMITS_MAX - 1);
		assert_true((got.flags & DENIAL_NOSLOT) != 0 || got.slot < f.seg.nslots);
		assert_in_range(got.key_len, 1, 255);
	}
	assert_true(read > 20);
	show_all("k");
}

/* Somebody has put the head's number back: what is there is found all the same. */
static void
test_head_scribbled(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;

	(void)state;
	drain("one", "a", &d);
	atomic_store(&f.seg.side->denied, (UINT64_C(1) << 40) + 100);
	assert_int_equal(count("a"), 1);
	pass(SPAN);
	drain("one", "b", &d);
	assert_int_equal(count("a"), 1);
	assert_int_equal(count("b"), 1);
}

static void
test_no_side(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_t *r;

	(void)state;
	assert_int_equal(unlink(f.paths.side), 0);
	r = fixture_handle(&f);
	assert_null(atomic_load(&r->seg)->side);
	for (int i = 0; i < 2; i++)
		assert_int_equal(ration_acquire(r, "one", "n", 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_acquire(r, "one", "n", 1, &d), RATION_DENIED);
	assert_int_equal(ration_acquire(r, "known", "n", 1, &d), RATION_DENIED);
	ration_close(r);
	(void)snprintf(here.dir, sizeof(here.dir), "%s", f.dir);
	assert_int_equal(run(&here, "-i", "t", "why", "n", NULL), 3);
	assert_non_null(strstr(ran.err, f.paths.side));
}

/* ---- the command ---- */

static const char served[] = "table: {keys: 1k}\n"
			     "plans: [small]\n"
			     "limits:\n"
			     "  api: 5/day\n"
			     "  llm: {per: month, plans: [10]}\n"
			     "  gone: 1/min\n"
			     "assign: {\"clinic:7\": small}\n";

static void
assert_says(const char *want)
{
	if (strstr(ran.out, want) == NULL)
		fail_msg("expected \"%s\" in:\n%s%s", want, ran.out, ran.err);
}

static void
deny(ration_t *r, const char *limit, const char *key, int times)
{
	for (int i = 0; i < 2000; i++)
		if (ration_acquire(r, limit, key, 1, NULL) == RATION_DENIED && --times == 0)
			return;
	fail_msg("%s never denies", limit);
}

static void
test_command(void **state)
{
	struct server *s = *state;
	char text[200], at[32];
	time_t now = time(NULL);
	ration_t *r;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	deny(r, "api", "key\n1", 1232);
	RUN(0, s, "why", "key\\0121");
	assert_says("key\\0121 was denied by api at ");
	assert_says("because      5/day: 5 of 5 were used, and the call wanted 1\n");
	assert_says("until        ");
	(void)snprintf(text, sizeof(text), "caller       pid %d: ", getpid());
	assert_says(text);
	assert_says("test_why");
	assert_says("policy       version 1, still in force\n");
	assert_says(".yaml:4");
	assert_says("since then   1,");
	assert_null(strstr(ran.out, "may be another"));
	/* By limit, by time. */
	deny(r, "llm", "clinic:7", 1);
	RUN(0, s, "why", "clinic:7", "llm");
	assert_says("because      10/month: 10 of 10 were used, and the call wanted 1\n");
	RUN(1, s, "why", "clinic:7", "api");
	assert_non_null(strstr(ran.err, "no denial is noted; of other keys there are "));
	RUN(1, s, "why", "clinic:7", "nonsense");
	RUN(2, s, "why", "clinic:7", "--at", "25:00");
	RUN(2, s, "why", "clinic:7", "-n", "0");
	(void)strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
	RUN(0, s, "why", "clinic:7", "--at", at);
	RUN(0, s, "why", "clinic:7", "--at", "0001-01-01 00:00:00");
	RUN(0, s, "why", "clinic:7", "--at", "9223372036854775807");
	(void)strftime(at, sizeof(at), "%H:%M", localtime(&now));
	RUN(0, s, "why", "clinic:7", "--at", at);
	(void)strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S", localtime(&now));
	RUN(0, s, "why", "clinic:7", "--at", at);
	ration_close(r);
}

/* Two denials with time between them: the one that is nearer is told of. */
static void
test_at(void **state)
{
	struct server *s = *state;
	ration_decision_t d = RATION_DECISION_INIT;
	char at[32];
	json_t *j;
	ration_t *r;
	json_int_t first;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	deny(r, "api", "k", 1);
	RUN(0, s, "--json", "why", "k");
	j = json_loads(ran.out, 0, NULL);
	assert_non_null(j);
	first = json_integer_value(
	    json_object_get(json_array_get(json_object_get(j, "denials"), 0), "at"));
	json_decref(j);
	RUN(0, s, "clock", "+1h");
	assert_int_equal(ration_acquire(r, "api", "k", 2, &d), RATION_DENIED);
	for (int i = 0; i < 2; i++) {
		(void)snprintf(at, sizeof(at), "%lld", (long long)first + 1000 + 1600 * i);
		RUN(0, s, "why", "k", "--at", at);
		assert_says(i == 0 ? "the call wanted 1" : "the call wanted 2");
	}
	RUN(0, s, "why", "k");
	assert_says("the call wanted 2");
	/* The clock was moved: when the process began cannot be told from that any more. */
	assert_says("this may be another process by now");
	RUN(0, s, "--json", "why", "k", "-n", "9");
	j = json_loads(ran.out, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(j, "denials")), 2);
	json_decref(j);
	ration_close(r);
}

static void
test_policy_changed(void **state)
{
	struct server *s = *state;
	ration_t *r;

	assert_int_equal(ration_open_dir(s->dir, NULL, 0, &r), 0);
	deny(r, "api", "k", 1);
	deny(r, "gone", "k", 1);
	RUN(0, s, "set", "api", "9/day", "--reason", "more of it");
	RUN(0, s, "why", "k", "api");
	assert_says("because      5/day: 5 of 5 were used");
	assert_says("policy       version 1, changed since: now 2\n");
	assert_says("now from     ");
	assert_says("more of it");
	put_file(s, "ration.yaml", "limits: {api: 5/day}\n");
	RUN(0, s, "reload");
	RUN(0, s, "why", "k", "gone");
	assert_says("k was denied by gone at ");
	assert_says("the policy has no such limit any more");
	/* Without rationd it is as before. */
	(void)stop(s, SIGKILL);
	RUN(0, s, "why", "k", "api");
	assert_says("because      5/day: 5 of 5 were used");
	ration_close(r);
}

static void
deny_and_leave(void)
{
	ration_t *r;

	if (ration_open_dir(here.dir, NULL, 0, &r) != 0)
		_exit(1);
	while (ration_acquire(r, "api", "dead", 1, NULL) == RATION_ADMITTED)
		;
}

static void
test_caller_ended(void **state)
{
	struct server *s = *state;

	(void)snprintf(here.dir, sizeof(here.dir), "%s", s->dir);
	assert_int_equal(in_child(deny_and_leave), 0);
	RUN(0, s, "why", "dead");
	assert_says("which has ended");
}

/* A process of that number which began after the denial is another. */
static void
test_caller_another(void **state)
{
	char text[CALLER_TEXT];
	struct denial d = { .pid = (uint32_t)getpid(), .shared_ns = 1 };
	struct timespec t;

	(void)state;
	assert_int_equal(recent_caller(&d, 0, 0, text), CALLER_ANOTHER);
	assert_string_equal(text, "");
	assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &t), 0);
	d.shared_ns = (uint64_t)(t.tv_sec + 1) * S;
	assert_int_equal(recent_caller(&d, 0, 0, text), CALLER_MAY_BE); /* no namespace */
	d.pid_ns = 1;
	assert_int_equal(recent_caller(&d, 0, 0, text), CALLER_FOREIGN);
	d.pid_ns = 0;
	d.pid = UINT32_MAX;
	assert_int_equal(recent_caller(&d, 0, 0, text), CALLER_ENDED);
	d.pid = 1;
	d.shared_ns = (uint64_t)t.tv_sec * S;
	assert_int_equal(recent_caller(&d, 1, 0, text), CALLER_MAY_BE);
}

static int
setup_served(void **state)
{
	static const char *const args[] = { "--sandbox", NULL };
	int e = setup(state);

	if (e != 0)
		return e;
	put_file(*state, "ration.yaml", served);
	start_with(*state, args);
	return 0;
}

#define UNIT(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
#define SERVED(name) cmocka_unit_test_setup_teardown(name, setup_served, teardown)

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		UNIT(test_keyed),
		UNIT(test_handle),
		UNIT(test_several),
		UNIT(test_route),
		UNIT(test_lease),
		UNIT(test_other_reasons),
		UNIT(test_not_noted),
		UNIT(test_observed),
		UNIT(test_address),
		UNIT(test_once),
		UNIT(test_many_keys),
		UNIT(test_same_place),
		UNIT(test_fork),
		UNIT(test_killed_between_words),
		UNIT(test_overrun),
		UNIT(test_random_words),
		UNIT(test_head_scribbled),
		UNIT(test_no_side),
		SERVED(test_command),
		SERVED(test_at),
		SERVED(test_policy_changed),
		SERVED(test_caller_ended),
		cmocka_unit_test(test_caller_another),
	};

	if (argc < 3) {
		fputs("usage: test_why RATIOND RATION\n", stderr);
		return 2;
	}
	program = argv[1];
	command = argv[2];
	return cmocka_run_group_tests_name("why", tests, NULL, NULL);
}
