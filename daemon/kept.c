#include "kept.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define ROWS_AT_ONCE 4096u /* some 10 ms */

/* What is recorded of one slot. */
struct page {
	uint64_t digest; /* of the life of the slot and the names */
	uint32_t n;      /* leases */
	struct kept who; /* limit, key, slot */
};

struct book {
	struct keeper *keeper;
	struct store *store;
	struct page **pages; /* by slot; NULL: nothing */
	/* To be recorded next. */
	struct kept *rows;
	size_t n, cap;
	struct {
		uint64_t slot;
		struct page *page; /* as it will be */
	} * turned;
	size_t nturned, cap_turned;
	bool failed;          /* the last attempt to record: it was said */
	struct kept *nowhere; /* what has no place */
	size_t nnowhere;
	uint32_t version; /* of the policy for which there was none */
	uint64_t recorded;
};

int
book_open(struct book **out, struct keeper *k, struct store *s, char *err, size_t errsize)
{
	struct book *b = calloc(1, sizeof(*b));

	*out = b;
	if (b != NULL) {
		b->keeper = k;
		b->store = s;
		/* Pages of memory for slots that never keep a lease are never touched. */
		b->pages = calloc(k->seg.nslots, sizeof(struct page *));
		if (b->pages != NULL)
			return 0;
	}
	(void)snprintf(err, errsize, "out of memory");
	return -1;
}

void
book_close(struct book *b)
{
	if (b == NULL)
		return;
	for (uint64_t i = 0; b->pages != NULL && i < b->keeper->seg.nslots; i++)
		free(b->pages[i]);
	for (size_t i = 0; i < b->nturned; i++)
		free(b->turned[i].page);
	free(b->pages);
	free(b->turned);
	free(b->rows);
	free(b->nowhere);
	free(b);
}

void
book_count(const struct book *b, uint64_t *recorded, uint64_t *nowhere)
{
	*recorded = b->recorded;
	*nowhere = 0;
	for (size_t i = 0; i < b->nnowhere; i++)
		*nowhere += b->nowhere[i].n;
}

/* ---- what changed ---- */

static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Of the names, in whatever order; 0: there are none. */
static uint64_t
digest(const struct permits *at)
{
	uint64_t sum = 0, n = 0;

	for (uint32_t i = 0; at != NULL && i < at->n; i++)
		if (permit_kept(at->at[i].word)) {
			sum += mix(KEPT_NAME(at->at[i].word) + 1);
			n++;
		}
	return n == 0 ? 0 : mix(sum + n + (at->birth << 20)) | 1;
}

/* Whose slot it is.  False: it is over, or the policy has no name for it. */
static bool
identify(const struct book *b, const struct policy_ref *p, const struct permits *at, struct kept *k)
{
	struct limit_def def;
	int len = permits_key(&b->keeper->seg, at, k->key);

	if (len <= 0 || !policy_limit(p, at->limit, &def))
		return false;
	(void)snprintf(k->limit, sizeof(k->limit), "%s", policy_string(p, def.name, NULL));
	k->key_len = (size_t)len;
	k->slot = (int64_t)at->slot;
	return true;
}

static struct kept *
add_row(struct book *b, const struct kept *who, uint64_t name, uint32_t n)
{
	struct kept *k;

	if (b->n == b->cap) {
		k = reallocarray(b->rows, b->cap == 0 ? 64 : b->cap * 2, sizeof(*k));
		if (k == NULL)
			return NULL;
		b->rows = k;
		b->cap = b->cap == 0 ? 64 : b->cap * 2;
	}
	k = &b->rows[b->n++];
	*k = *who;
	k->name = name;
	k->n = n;
	return k;
}

static bool
turn(struct book *b, uint64_t slot, struct page *page)
{
	if (b->nturned == b->cap_turned) {
		size_t cap = b->cap_turned == 0 ? 64 : b->cap_turned * 2;
		void *bigger = reallocarray(b->turned, cap, sizeof(*b->turned));

		if (bigger == NULL)
			return false;
		b->turned = bigger;
		b->cap_turned = cap;
	}
	b->turned[b->nturned].slot = slot;
	b->turned[b->nturned++].page = page;
	return true;
}

/* The rows of a slot as it is; page: what it will have been.  False: not now. */
static bool
write_page(struct book *b, const struct policy_ref *p, const struct permits *at, struct page **out)
{
	struct page *page = calloc(1, sizeof(*page));
	bool ok =
	    page != NULL && identify(b, p, at, &page->who) && add_row(b, &page->who, 0, 0) != NULL;

	for (uint32_t i = 0; ok && i < at->n; i++)
		if (permit_kept(at->at[i].word)) {
			ok = add_row(b, &page->who, KEPT_NAME(at->at[i].word), 1) != NULL;
			page->n++;
		}
	if (!ok) {
		free(page);
		return false;
	}
	page->digest = digest(at);
	*out = page;
	return true;
}

/* False: out of memory, or the slot is over; it is found again. */
static bool
look(struct book *b, const struct policy_ref *p, uint64_t slot, const struct permits *at)
{
	const struct page *old = b->pages[slot];
	uint64_t now = digest(at);
	struct page *page = NULL;
	size_t n = b->n;

	if (now == (old != NULL ? old->digest : 0))
		return true;
	if ((old != NULL && add_row(b, &old->who, 0, 0) == NULL) ||
	    (now != 0 && !write_page(b, p, at, &page)) || !turn(b, slot, page)) {
		free(page);
		b->n = n;
		return false;
	}
	return true;
}

bool
book_look(struct book *b, uint64_t slot, const struct permits *at)
{
	struct policy_ref p;

	if (b->pages[slot] == NULL && digest(at) == 0)
		return true;
	if (keeper_policy(b->keeper, &p))
		(void)look(b, &p, slot, at);
	return b->n < ROWS_AT_ONCE;
}

/* ---- recording ---- */

static void
forget_turned(struct book *b, bool recorded)
{
	for (size_t i = 0; i < b->nturned; i++) {
		uint64_t slot = b->turned[i].slot;
		struct page *gone = recorded ? b->pages[slot] : b->turned[i].page;

		if (recorded) {
			b->recorded -= gone != NULL ? gone->n : 0;
			b->pages[slot] = b->turned[i].page;
			b->recorded += b->pages[slot] != NULL ? b->pages[slot]->n : 0;
		}
		free(gone);
	}
	b->n = b->nturned = 0;
}

/* Nothing is lost when it fails: what differs is found again. */
static int
record(struct book *b, char *err, size_t errsize)
{
	int e = b->n == 0 ? 0 : store_record(b->store, b->rows, b->n, err, errsize);

	forget_turned(b, e == 0);
	return e;
}

/* ---- putting back ---- */

/* What has found no place stays recorded, and is tried again with the next policy. */
static bool
keep_nowhere(struct book *b, const struct kept *k, uint32_t n)
{
	struct kept *bigger = reallocarray(b->nowhere, b->nnowhere + 1, sizeof(*bigger));

	if (bigger == NULL)
		return false;
	b->nowhere = bigger;
	bigger[b->nnowhere] = *k;
	bigger[b->nnowhere].slot = KEPT_NOWHERE;
	bigger[b->nnowhere++].n = n;
	return true;
}

/* How many of k's could not be put back. */
static uint32_t
put_back(struct book *b, const struct policy_ref *p, const struct kept *k)
{
	int64_t limit = policy_limit_id(p, k->limit, strlen(k->limit));
	struct limit_def def;

	if (limit < 0 || !policy_limit(p, (uint32_t)limit, &def) ||
	    (def.flags & (LIMIT_GONE | LIMIT_LEASES)) != LIMIT_LEASES)
		return k->n;
	for (uint32_t n = 0; n < k->n; n++)
		if (lease_keep(&b->keeper->seg, p, (uint32_t)limit, k->key, k->key_len, k->name,
			keeper_shared(b->keeper)) != 0)
			return k->n - n;
	return 0;
}

static bool
put_all_back(struct book *b, const struct policy_ref *p, const struct kept *list, size_t n)
{
	uint64_t placed = 0, left = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t without = put_back(b, p, &list[i]);

		placed += list[i].n - without;
		left += without;
		if (without > 0 && !keep_nowhere(b, &list[i], without))
			return false;
	}
	if (placed > 0)
		log_note("%llu leases that are kept were put back", (unsigned long long)placed);
	if (left > 0)
		log_warn("%llu leases that are kept have no place: their limits are not in the "
			 "policy, or the table is full",
		    (unsigned long long)left);
	return true;
}

/* What a predecessor put into a segment that it did not live to publish. */
static void
take_all_out(struct book *b)
{
	const struct segment *seg = &b->keeper->seg;
	uint64_t slot = 0;
	struct permits at;

	for (; (slot = permits_next(seg, slot, seg->nslots)) < seg->nslots; slot++)
		for (uint32_t i = 0; permits_read(seg, slot, &at) && i < at.n; i++)
			(void)lease_free(seg, slot, at.birth, at.at[i].place, at.at[i].word,
			    keeper_shared(b->keeper));
}

static bool
look_at_all(struct book *b, const struct policy_ref *p)
{
	const struct segment *seg = &b->keeper->seg;
	uint64_t slot = 0;
	struct permits at;
	bool ok = true;

	for (; (slot = permits_next(seg, slot, seg->nslots)) < seg->nslots; slot++)
		if (permits_read(seg, slot, &at) && at.n > 0)
			ok = look(b, p, slot, &at) && ok;
	return ok;
}

int
book_start(struct book *b, const struct policy_ref *p, char *err, size_t errsize)
{
	struct policy_ref now;
	struct kept *list;
	bool ok = true;
	size_t n;

	if (store_kept(b->store, &list, &n, err, errsize) != 0) {
		free(list);
		return -1;
	}
	for (size_t i = 0; ok && i < n; i++)
		ok = add_row(b, &list[i], 0, 0) != NULL;
	b->version = p->version;
	if (keeper_policy(b->keeper, &now)) {
		for (size_t i = 0; ok && i < n; i++)
			if (list[i].slot == KEPT_NOWHERE)
				ok = keep_nowhere(b, &list[i], list[i].n);
		b->version = 0;
	} else {
		take_all_out(b);
		ok = ok && put_all_back(b, p, list, n);
	}
	free(list);
	ok = ok && look_at_all(b, p);
	for (size_t i = 0; ok && i < b->nnowhere; i++)
		ok = add_row(b, &b->nowhere[i], b->nowhere[i].name, b->nowhere[i].n) != NULL;
	if (ok)
		return record(b, err, errsize);
	(void)snprintf(err, errsize, "out of memory");
	return -1;
}

/* The policy is another one: it may have a place for what had none. */
static void
try_again(struct book *b)
{
	struct kept *list = b->nowhere;
	size_t n = b->nnowhere;
	struct policy_ref p;

	if (n == 0 || !keeper_policy(b->keeper, &p) || p.version == b->version)
		return;
	b->version = p.version;
	b->nowhere = NULL;
	b->nnowhere = 0;
	for (size_t i = 0; i < n; i++)
		(void)add_row(b, &list[i], 0, 0);
	if (!put_all_back(b, &p, list, n))
		log_error("out of memory");
	for (size_t i = 0; i < b->nnowhere; i++)
		(void)add_row(b, &b->nowhere[i], b->nowhere[i].name, b->nowhere[i].n);
	(void)look_at_all(b, &p);
	free(list);
}

void
book_record(struct book *b)
{
	char err[512];
	int e;

	try_again(b);
	e = record(b, err, sizeof(err));
	if (e != 0 && !b->failed)
		log_error("leases that are kept cannot be recorded: %s", err);
	b->failed = e != 0;
}
