#include "steps.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "slot.h"

#define STACK_BYTES (256 * 1024)

struct world wd;
static ucontext_t home;
static struct task *running;

/* ---- tasks ---- */

static void
hook(const char *where, const word_t *word)
{
	struct task *t = running;

	(void)word;
	/* What a call reads after its last CAS is not what it was decided by. */
	if (where[0] == 'c' && where[1] == 'a')
		t->decided_ns = t->who->read_ns;
	t->steps++;
	if (t->left-- == 0 && swapcontext(&t->ctx, &home) != 0)
		err(1, "swapcontext");
}

static void
admitted(struct task *t)
{
	if (t->verdict == RATION_ADMITTED)
		history_add(world_ledger(t->key), t->decided_ns, t->cost);
}

static void
act(struct task *t)
{
	ration_claim_t claims[2] = { { sizeof(claims[0]), "m", t->key, strlen(t->key), t->cost },
		{ sizeof(claims[1]), "other", "zz", 2, 1 } };
	struct history *h;
	struct row row;

	switch (t->what) {
	case DO_ACQUIRE:
		t->verdict = ration_acquire(t->who->r, "m", t->key, t->cost, &t->d);
		admitted(t);
		break;
	case DO_ALL:
		t->verdict = ration_acquire_all(t->who->r, claims, 2, &t->d);
		admitted(t);
		break;
	case DO_KEY:
		t->verdict = ration_key_acquire(t->who->r, &t->handle, t->cost, &t->d);
		admitted(t);
		break;
	case DO_PEEK:
		t->verdict = ration_peek(t->who->r, "m", t->key, t->cost, &t->d);
		break;
	case DO_BOOK:
		t->verdict = ration_book(
		    t->who->r, "m", t->key, strlen(t->key), t->cost, t->flags, &t->booking, &t->d);
		admitted(t);
		break;
	case DO_CANCEL:
		t->verdict = ration_cancel(t->who->r, &t->booking);
		break;
	case DO_REFUND:
		t->verdict = ration_refund(t->who->r, &t->d, t->cost);
		h = world_ledger(t->key);
		if (t->verdict == 0)
			for (unsigned i = h->n; i-- > 0;)
				if (h->a[i].units == t->cost) {
					h->a[i].units = 0;
					break;
				}
		break;
	case DO_SWEEP:
		(void)table_sweep(&wd.f.seg, &t->sweep, wd.f.seg.nslots, atomic_load(&wd.f.now),
		    clock_unix(wd.f.seg.policy, atomic_load(&wd.f.now)), 0);
		break;
	case DO_LEASE:
		t->verdict = ration_lease(
		    t->who->r, "m", t->key, strlen(t->key), t->ttl_ms, &t->lease, NULL);
		break;
	case DO_LEASE_ALL:
		t->verdict = ration_acquire_all(t->who->r, claims, 2, &t->d);
		if (t->verdict == RATION_ADMITTED)
			(void)ration_decision_lease(t->who->r, &t->d, 0, &t->lease);
		break;
	case DO_RELEASE:
		t->verdict = ration_release(t->who->r, &t->lease);
		break;
	case DO_RENEW:
		t->verdict = ration_renew(t->who->r, &t->lease, t->ttl_ms);
		break;
	case DO_RESET:
		if (audit_row(&wd.f, "m", t->key, strlen(t->key), &row))
			t->verdict =
			    view_reset(&wd.f.seg, row.slot, row.birth, atomic_load(&wd.f.now));
		break;
	}
}

static void
enter(void)
{
	struct task *t = running;

	act(t);
	t->done = true;
	if (swapcontext(&t->ctx, &home) != 0)
		err(1, "swapcontext");
}

void
task_start(struct task *t, enum what what, struct actor *who, const char *key, uint64_t cost)
{
	t->what = what;
	t->who = who;
	t->key = key;
	t->cost = cost;
	t->verdict = RATION_EBUSY;
	t->d.size = sizeof(t->d);
	t->steps = 0;
	t->done = false;
	memset(&t->sweep, 0, sizeof(t->sweep));
	if (t->stack == NULL && (t->stack = malloc(STACK_BYTES)) == NULL)
		err(1, NULL);
	if (getcontext(&t->ctx) != 0)
		err(1, "getcontext");
	t->ctx.uc_stack.ss_sp = t->stack;
	t->ctx.uc_stack.ss_size = STACK_BYTES;
	t->ctx.uc_link = NULL;
	makecontext(&t->ctx, enter, 0);
}

bool
task_run(struct task *t, long n)
{
	if (t->done)
		return true;
	t->left = n;
	running = t;
	step_hook = hook;
	if (swapcontext(&home, &t->ctx) != 0)
		err(1, "swapcontext");
	step_hook = NULL;
	running = NULL;
	return t->done;
}

/* ---- the world ---- */

static uint64_t
actor_now(void *arg)
{
	struct actor *a = arg;

	a->read_ns = atomic_load(&wd.f.now);
	return a->read_ns;
}

static struct policy_area *
area_of(uint32_t version)
{
	return (struct policy_area *)(void *)((char *)wd.f.seg.policy +
	    wd.f.seg.policy->area_off[version & 1]);
}

static void
keep_image(uint32_t version)
{
	const struct policy_area *a = area_of(version);

	wd.image_bytes[version] = a->bytes;
	wd.image[version] = malloc(a->bytes);
	if (wd.image[version] == NULL)
		err(1, NULL);
	memcpy(wd.image[version], a, a->bytes);
	wd.versions = version;
}

static uint64_t
bucket_of(const char *key)
{
	struct ident id = { "m", 1, (const unsigned char *)key, strlen(key), 0, 0 };

	ident_hash(&wd.f.seg, &id);
	return table_bucket(&wd.f.seg, id.hash);
}

void
world_open(uint64_t slots, const char *const *yaml, bool shared)
{
	memset(&wd, 0, sizeof(wd));
	fixture_open(&wd.f, yaml[0], slots);
	while ((bucket_of("a") == bucket_of("b")) != shared) {
		fixture_close(&wd.f);
		fixture_open(&wd.f, yaml[0], slots);
	}
	keep_image(1);
	for (uint32_t v = 2; yaml[v - 1] != NULL; v++) {
		fixture_policy(&wd.f, yaml[v - 1]);
		keep_image(v);
	}
	for (unsigned i = 0; i < 4; i++) {
		wd.who[i].r = fixture_handle(&wd.f);
		clock_fake(&wd.who[i].r->clock, actor_now, &wd.who[i]);
	}
	wd.counters = calloc(1, wd.f.seg.bytes);
	if (wd.counters == NULL)
		err(1, NULL);
	wd.policy_word = POLICY_WORD(1, 1);
	memcpy(area_of(1), wd.image[1], wd.image_bytes[1]);
	atomic_store(&wd.f.seg.policy->word, wd.policy_word);
	world_save();
}

void
world_close(void)
{
	for (unsigned i = 0; i < 4; i++)
		ration_close(wd.who[i].r);
	for (uint32_t v = 1; v <= wd.versions; v++)
		free(wd.image[v]);
	free(wd.counters);
	fixture_close(&wd.f);
}

/* The queues are most of the segment, and hardly ever used: only those that are. */
static void
copy_counters(void *to, const void *from)
{
	const struct seg_head *h = wd.f.seg.head;
	size_t bytes = QUEUE_WORDS * sizeof(word_t);

	memcpy(to, from, h->off_queues);
	for (size_t i = 0; i < h->nqueues; i++) {
		char *t = (char *)to + h->off_queues + i * bytes;
		const char *f = (const char *)from + h->off_queues + i * bytes;

		/* An owner is never taken away. */
		if (memcmp(t, f, sizeof(word_t)) != 0 || *(const uint64_t *)(const void *)f != 0)
			memcpy(t, f, bytes);
	}
}

void
world_save(void)
{
	copy_counters(wd.counters, wd.f.seg.head);
	memcpy(wd.saved, wd.acked, sizeof(wd.saved));
	for (unsigned i = 0; i < 4; i++)
		memcpy(&wd.handle[i], wd.who[i].r, sizeof(wd.handle[i]));
	wd.policy_word = word_load(&wd.f.seg.policy->word);
	wd.saved_now = atomic_load(&wd.f.now);
}

static void
copy_ledger(struct history *to, const struct history *from)
{
	memcpy(to->a, from->a, from->n * sizeof(from->a[0]));
	to->n = from->n;
}

void
world_restore(void)
{
	uint32_t v = POLICY_CURRENT(wd.policy_word);

	copy_counters(wd.f.seg.head, wd.counters);
	if (word_load(&wd.f.seg.policy->word) != wd.policy_word) {
		memcpy(area_of(v), wd.image[v], wd.image_bytes[v]);
		atomic_store(&wd.f.seg.policy->word, wd.policy_word);
	}
	atomic_store(&wd.f.now, wd.saved_now);
	for (unsigned i = 0; i < 4; i++)
		memcpy(wd.who[i].r, &wd.handle[i], sizeof(wd.handle[i]));
	for (unsigned i = 0; i < KEYS; i++) {
		copy_ledger(&wd.acked[i], &wd.saved[i]);
		wd.in_flight[i] = 0;
	}
}

void
world_next_policy(void)
{
	uint32_t v;
	void *area = policy_begin(wd.f.seg.policy, &v);

	if (v > wd.versions)
		errx(1, "no such policy");
	memcpy(area, wd.image[v], wd.image_bytes[v]);
	policy_publish(wd.f.seg.policy, v);
}

void
world_pass(uint64_t ns)
{
	atomic_fetch_add(&wd.f.now, ns);
}

void
world_sweep(unsigned rounds)
{
	struct sweep s = { .next = 0 };

	while (rounds-- > 0) {
		world_pass(UINT64_C(3000000000));
		(void)table_sweep(&wd.f.seg, &s, wd.f.seg.nslots, atomic_load(&wd.f.now),
		    clock_unix(wd.f.seg.policy, atomic_load(&wd.f.now)), 0);
	}
}

struct history *
world_ledger(const char *key)
{
	return &wd.acked[(unsigned)(key[0] - 'a') % KEYS];
}

int
world_acquire(struct actor *who, const char *key, uint64_t cost)
{
	int verdict = ration_acquire(who->r, "m", key, cost, NULL);

	if (verdict == RATION_ADMITTED)
		history_add(world_ledger(key), who->read_ns, cost);
	return verdict;
}

void
world_killed(struct task *t)
{
	if (!t->done && (t->what == DO_ACQUIRE || t->what == DO_ALL || t->what == DO_KEY))
		wd.in_flight[(unsigned)(t->key[0] - 'a') % KEYS] += t->cost;
}

uint64_t
world_drain(const char *key, uint64_t max)
{
	uint64_t n = 0;

	while (n < max && world_acquire(&wd.who[3], key, 1) == RATION_ADMITTED)
		n++;
	return n;
}
