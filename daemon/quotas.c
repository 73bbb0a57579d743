#include "quotas.h"

#include <stdio.h>
#include <stdlib.h>

#include "log.h"
#include "store_quotas.h"

#define ROWS_AT_ONCE 1024u /* some milliseconds */
#define ENDED_AT_ONCE 256u

/* A slot whose rows are on their way; its mark counts once they are there. */
struct turned {
	uint64_t slot;
	uint64_t mark;
};

struct quotas {
	struct keeper *keeper;
	struct store *store;
	uint64_t *marks; /* by slot: as written down last; pages of others are never touched */
	struct quota rows[ROWS_AT_ONCE + CELLS_MAX];
	size_t n;
	struct turned turned[ROWS_AT_ONCE + 1];
	size_t nturned;
	uint64_t tidied; /* round in which ended periods were last looked for */
	uint64_t written, put_back;
	bool failed; /* the last attempt: it was said */
};

/* ---- writing down ---- */

static void
look(struct quotas *q, const struct segment *seg, uint64_t slot)
{
	uint64_t mark;
	unsigned n;

	if (q->n >= ROWS_AT_ONCE || q->nturned >= ROWS_AT_ONCE)
		return; /* found again in the next round */
	mark = quota_mark(seg, slot);
	if (mark == q->marks[slot])
		return;
	n = mark == 0 ? 0 : quota_read(seg, slot, keeper_shared(q->keeper), &q->rows[q->n]);
	if (mark != 0 && n == 0)
		return;
	q->n += n;
	q->turned[q->nturned++] = (struct turned) { slot, mark };
}

/* The time of a clock that was moved is nobody else's. */
static bool
made_up(const struct quotas *q)
{
	return atomic_load_explicit(&q->keeper->seg.policy->test_offset_ns, memory_order_relaxed) !=
	    0;
}

static void
seen(void *arg, const struct segment *seg, uint64_t slot)
{
	struct quotas *q = arg;

	if (q->keeper->rounds % QUOTAS_ROUNDS == 0 && !made_up(q))
		look(q, seg, slot);
}

static void
write_down(struct quotas *q)
{
	char err[512];
	int e = q->n == 0 ? 0 : store_quotas_put(q->store, q->rows, q->n, err, sizeof(err));

	for (size_t i = 0; e == 0 && i < q->nturned; i++)
		q->marks[q->turned[i].slot] = q->turned[i].mark;
	q->written += e == 0 ? q->n : 0;
	q->n = q->nturned = 0;
	if (e != 0 && !q->failed)
		log_error("usage of days and months cannot be written down: %s", err);
	q->failed = e != 0;
}

void
quotas_count(const struct quotas *q, uint64_t *written, uint64_t *put_back)
{
	*written = q->written;
	*put_back = q->put_back;
}

void
quotas_tick(struct quotas *q)
{
	char err[512];

	if (q->nturned > 0)
		write_down(q);
	if (q->tidied == q->keeper->rounds)
		return;
	q->tidied = q->keeper->rounds;
	(void)store_quotas_ended(q->store, keeper_now(q->keeper), ENDED_AT_ONCE, err, sizeof(err));
}

void
quotas_finish(struct quotas *q)
{
	const struct segment *seg = &q->keeper->seg;

	for (uint64_t slot = 0; slot < seg->nslots && !made_up(q); slot++) {
		look(q, seg, slot);
		if (q->n >= ROWS_AT_ONCE || q->nturned >= ROWS_AT_ONCE)
			write_down(q);
	}
	write_down(q);
}

/* ---- putting back ---- */

struct putting {
	struct quotas *q;
	const struct policy_ref *p;
	uint64_t now, put, full;
};

static void
put_one(void *arg, const struct quota *quota)
{
	struct putting *w = arg;
	int e = quota_put(&w->q->keeper->seg, w->p, quota, w->now);

	w->put += e == 0;
	w->full += e > 0;
}

int
quotas_put_back(struct quotas *q, const struct policy_ref *p, char *err, size_t errsize)
{
	struct putting w = { q, p, keeper_shared(q->keeper), 0, 0 };
	struct policy_ref now;

	if (keeper_policy(q->keeper, &now))
		return 0; /* the counters are there */
	if (store_quotas(q->store, keeper_now(q->keeper), put_one, &w, err, errsize) != 0)
		return -1;
	q->put_back = w.put;
	if (w.put > 0)
		log_note("what was used of %llu days and months was put back",
		    (unsigned long long)w.put);
	if (w.full > 0)
		log_warn("what was used of %llu days and months has no place: raise table.keys",
		    (unsigned long long)w.full);
	return 0;
}

int
quotas_open(struct quotas **out, struct keeper *k, struct store *s, char *err, size_t errsize)
{
	struct quotas *q = calloc(1, sizeof(*q));

	*out = q;
	if (q != NULL) {
		q->keeper = k;
		q->store = s;
		q->marks = calloc(k->seg.nslots, sizeof(*q->marks));
		if (q->marks != NULL &&
		    keeper_subscribe(k, &(struct sweep_hooks) { .seen = seen, .arg = q }))
			return 0;
	}
	(void)snprintf(err, errsize, "out of memory");
	return -1;
}

void
quotas_close(struct quotas *q)
{
	if (q == NULL)
		return;
	free(q->marks);
	free(q);
}
