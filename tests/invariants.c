#include "invariants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "slot.h"

static uint64_t
bucket_of(const struct fixture *f, const struct policy_ref *p, uint32_t limit,
    const unsigned char *key, int len, uint32_t chunk)
{
	struct limit_def l;
	struct ident id;

	if (!policy_limit(p, limit, &l))
		return UINT64_MAX;
	id.limit = policy_string(p, l.name, &id.limit_len);
	id.key = key;
	id.key_len = (size_t)len;
	id.chunk = chunk;
	ident_hash(&f->seg, &id);
	return table_bucket(&f->seg, id.hash);
}

/* One list.  seen[slot]: its bucket + 1. */
static const char *
audit_list(const struct fixture *f, const struct policy_ref *p, uint64_t b, uint64_t *seen,
    struct audit *a)
{
	const struct segment *seg = &f->seg;
	uint64_t ref = BUCKET_REF(word_load(&seg->buckets[b]));

	while (ref != 0) {
		uint64_t slot = ref - 1, state, link;
		unsigned char key[256];
		int len;

		if (slot >= seg->nslots)
			return "a list leaves the table";
		if (seen[slot] != 0)
			return "a slot is in two lists, or twice in one";
		seen[slot] = b + 1;
		state = word_load(&segment_slot(seg, slot)[SLOT_STATE]);
		switch (STATE_ST(state)) {
		case ST_GONE:
			break;
		case ST_READY:
		case ST_LIVE:
		case ST_RETIRING:
			a->linked++;
			len = table_slot_key(seg, slot, key);
			link = word_load(&segment_slot(seg, slot)[SLOT_LINK]);
			if (len <= 0)
				return "a linked slot has no key";
			if (bucket_of(f, p, LINK_LIMIT(link), key, len, LINK_CHUNK(link)) != b)
				return "a key is in another's list";
			break;
		default:
			return "a slot that is free, half-made or an extra is in a list";
		}
		ref = LINK_NEXT(word_load(&segment_slot(seg, slot)[SLOT_LINK]));
	}
	return NULL;
}

static bool
same_key(const struct segment *seg, uint64_t x, uint64_t y)
{
	unsigned char a[256], b[256];
	uint64_t la = word_load(&segment_slot(seg, x)[SLOT_LINK]);
	uint64_t lb = word_load(&segment_slot(seg, y)[SLOT_LINK]);
	int na = table_slot_key(seg, x, a), nb = table_slot_key(seg, y, b);

	return na > 0 && na == nb && LINK_LIMIT(la) == LINK_LIMIT(lb) &&
	    LINK_CHUNK(la) == LINK_CHUNK(lb) && memcmp(a, b, (size_t)na) == 0;
}

/* Extras that are referred to, and by whom. */
static const char *
audit_extras(const struct segment *seg, const uint64_t *seen, uint64_t *owner)
{
	for (uint64_t n = 0; n < seg->nslots; n++) {
		const word_t *s = segment_slot(seg, n);
		uint64_t refs, ref;

		if (seen[n] == 0 || STATE_ST(word_load(&s[SLOT_STATE])) == ST_GONE ||
		    LINK_LEN(word_load(&s[SLOT_LINK])) <= KEY_INLINE_WORDS * 8)
			continue;
		refs = word_load(&s[SLOT_KEY + KEY_INLINE_WORDS - 1]);
		for (unsigned i = 0; i < 2; i++) {
			ref = i == 0 ? refs >> 32 : refs & UINT32_MAX;
			if (ref == 0 && i == 1)
				continue;
			if (ref == 0 || ref > seg->nslots)
				return "a long key refers to nowhere";
			if (owner[ref - 1] != 0)
				return "two keys share an extra slot";
			owner[ref - 1] = n + 1;
			if (STATE_ST(word_load(&segment_slot(seg, ref - 1)[SLOT_STATE])) !=
			    ST_EXTRA)
				return "a long key refers to a slot that is no extra";
		}
	}
	return NULL;
}

const char *
audit_table(const struct fixture *f, struct audit *a)
{
	const struct segment *seg = &f->seg;
	uint64_t *seen = calloc(seg->nslots, sizeof(*seen));
	uint64_t *owner = calloc(seg->nslots, sizeof(*owner));
	const char *wrong = NULL;
	struct policy_ref p;

	memset(a, 0, sizeof(*a));
	if (seen == NULL || owner == NULL || !policy_current(seg->policy, &p))
		abort();
	for (uint64_t b = 0; b < seg->nbuckets && wrong == NULL; b++)
		wrong = audit_list(f, &p, b, seen, a);
	if (wrong == NULL)
		wrong = audit_extras(seg, seen, owner);
	for (uint64_t n = 0; n < seg->nslots && wrong == NULL; n++) {
		enum slot_st st = STATE_ST(word_load(&segment_slot(seg, n)[SLOT_STATE]));

		a->st[st]++;
		if (seen[n] == 0 && (st == ST_LIVE || st == ST_READY || st == ST_RETIRING))
			a->unlinked++;
		if (owner[n] == 0 && st == ST_EXTRA)
			a->lost++;
		for (uint64_t m = 0; m < n && seg->nslots <= 4096 && wrong == NULL; m++)
			if (seen[n] != 0 && seen[m] == seen[n] && st != ST_GONE &&
			    same_key(seg, n, m) &&
			    STATE_ST(word_load(&segment_slot(seg, m)[SLOT_STATE])) != ST_GONE)
				wrong = "a key has two slots";
	}
	free(seen);
	free(owner);
	return wrong;
}

bool
audit_row(const struct fixture *f, const char *limit, const void *key, size_t len, struct row *row)
{
	struct ident id = { limit, strlen(limit), key, len, 0, 0 };
	struct policy_ref p;
	struct found at;

	ident_hash(&f->seg, &id);
	return policy_current(f->seg.policy, &p) && table_find_named(&f->seg, &p, &id, &at) &&
	    view_row(&f->seg, at.slot, atomic_load(&f->now), row);
}

/* ---- histories ---- */

void
history_add(struct history *h, uint64_t at_ns, uint64_t units)
{
	if (h->n == HISTORY_MAX)
		abort();
	h->a[h->n++] = (struct admission) { at_ns, units };
}

uint64_t
history_sum(const struct history *h)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < h->n; i++)
		sum += h->a[i].units;
	return sum;
}

static int
earlier(const void *x, const void *y)
{
	const struct admission *a = x, *b = y;

	return a->at_ns < b->at_ns ? -1 : a->at_ns > b->at_ns;
}

uint64_t
history_span(struct history *h, uint64_t window_ns)
{
	uint64_t sum = 0, most = 0;

	qsort(h->a, h->n, sizeof(h->a[0]), earlier);
	for (unsigned i = 0, old = 0; i < h->n; i++) {
		sum += h->a[i].units;
		while (h->a[old].at_ns + window_ns <= h->a[i].at_ns)
			sum -= h->a[old++].units;
		most = sum > most ? sum : most;
	}
	return most;
}

uint64_t
history_fixed(const struct history *h, uint64_t window_ns)
{
	uint64_t most = 0, offset = (uint64_t)FIXTURE_UNIX * 1000000000 - FIXTURE_START;

	for (unsigned i = 0; i < h->n; i++) {
		uint64_t sum = 0, w = (h->a[i].at_ns + offset) / window_ns;

		for (unsigned k = 0; k < h->n; k++)
			if ((h->a[k].at_ns + offset) / window_ns == w)
				sum += h->a[k].units;
		most = sum > most ? sum : most;
	}
	return most;
}

uint64_t
history_bucket(struct history *h, uint64_t period_ns)
{
	/* In nanoseconds of refill: level is what has been taken and not yet come back. */
	uint64_t level = 0, most = 0, at = 0;

	qsort(h->a, h->n, sizeof(h->a[0]), earlier);
	for (unsigned i = 0; i < h->n; i++) {
		uint64_t passed = h->a[i].at_ns - at;

		level = level > passed ? level - passed : 0;
		level += h->a[i].units * period_ns;
		at = h->a[i].at_ns;
		most = level > most ? level : most;
	}
	return (most + period_ns - 1) / period_ns;
}
