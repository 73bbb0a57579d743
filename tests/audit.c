#include "audit.h"

#include <err.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "atomics.h"
#include "slot.h"

#define UNSEEN UINT32_MAX
#define FAULTS_SHOWN 20u

struct name {
	uint32_t limit;
	uint32_t chunk;
	int len;
	uint64_t slot;
	unsigned char key[256];
};

struct audit {
	const struct segment *seg;
	struct policy_ref policy;
	bool settled;
	unsigned faults;
	uint8_t *lists;  /* how many lists a slot is in */
	uint8_t *owners; /* of an extra slot */
	struct name *names;
	uint64_t nnames;
};

static void __attribute__((format(printf, 2, 3))) fault(struct audit *a, const char *fmt, ...)
{
	va_list ap;

	if (a->faults++ >= FAULTS_SHOWN)
		return;
	va_start(ap, fmt);
	(void)fputs("audit: ", stderr);
	(void)vfprintf(stderr, fmt, ap);
	(void)fputc('\n', stderr);
	va_end(ap);
}

/* The bucket that the key of a slot belongs to; UINT64_MAX: it has no key. */
static uint64_t
home_of(struct audit *a, uint64_t slot, struct name *n)
{
	uint64_t link = word_load(&segment_slot(a->seg, slot)[SLOT_LINK]);
	struct limit_def limit;
	struct ident id;

	n->slot = slot;
	n->limit = LINK_LIMIT(link);
	n->chunk = LINK_CHUNK(link);
	n->len = table_slot_key(a->seg, slot, n->key);
	if (n->len <= 0 || !policy_limit(&a->policy, n->limit, &limit))
		return UINT64_MAX;
	id.limit = policy_string(&a->policy, limit.name, &id.limit_len);
	id.key = n->key;
	id.key_len = (size_t)n->len;
	id.chunk = n->chunk;
	ident_hash(a->seg, &id);
	return table_bucket(a->seg, id.hash);
}

static void
own_extras(struct audit *a, uint64_t slot)
{
	const word_t *s = segment_slot(a->seg, slot);
	uint64_t refs, ref;

	if (LINK_LEN(word_load(&s[SLOT_LINK])) <= KEY_INLINE_WORDS * 8)
		return;
	refs = word_load(&s[SLOT_KEY + KEY_INLINE_WORDS - 1]);
	for (unsigned i = 0; i < 2; i++) {
		ref = i == 0 ? refs >> 32 : refs & UINT32_MAX;
		if (ref == 0)
			continue;
		if (ref > a->seg->nslots ||
		    STATE_ST(word_load(&segment_slot(a->seg, ref - 1)[SLOT_STATE])) != ST_EXTRA)
			fault(a, "slot %" PRIu64 ": its extra slot is none", slot);
		else if (++a->owners[ref - 1] > 1)
			fault(a, "extra slot %" PRIu64 " belongs to two keys", ref - 1);
	}
}

static void
audit_list(struct audit *a, uint64_t bucket)
{
	uint64_t ref = BUCKET_REF(word_load(&a->seg->buckets[bucket]));

	for (unsigned hop = 0; ref != 0; hop++) {
		struct name *n = &a->names[a->nnames];
		uint64_t slot = ref - 1, home;
		enum slot_st st;

		if (ref > a->seg->nslots || hop >= CHAIN_MAX) {
			fault(a, "bucket %" PRIu64 ": hop %u leads to slot %" PRIu64, bucket, hop,
			    slot);
			return;
		}
		if (++a->lists[slot] > 1) {
			fault(a, "slot %" PRIu64 " is in two lists, or in a ring", slot);
			return;
		}
		st = STATE_ST(word_load(&segment_slot(a->seg, slot)[SLOT_STATE]));
		home = home_of(a, slot, n);
		if (home != bucket)
			fault(a, "slot %" PRIu64 " is in list %" PRIu64 ", its key's is %" PRIu64,
			    slot, bucket, home);
		if (st != ST_LIVE &&
		    (a->settled || st == ST_FREE || st == ST_MAKING || st == ST_EXTRA))
			fault(a, "slot %" PRIu64 " in list %" PRIu64 ": state %d", slot, bucket,
			    (int)st);
		if (st == ST_LIVE || st == ST_READY || st == ST_RETIRING) {
			a->nnames++;
			own_extras(a, slot);
		}
		ref = LINK_NEXT(word_load(&segment_slot(a->seg, slot)[SLOT_LINK]));
	}
}

static void
audit_free(struct audit *a, uint64_t slot, uint64_t birth)
{
	const word_t *s = segment_slot(a->seg, slot);

	for (unsigned i = 1; i < a->seg->stride; i++)
		if (word_load(&s[i]) != slot_initial(a->seg, slot, birth, i)) {
			fault(a, "free slot %" PRIu64 ": word %u is %#" PRIx64, slot, i,
			    word_load(&s[i]));
			return;
		}
	if ((word_load(&a->seg->bitmap[slot / 64]) >> (slot % 64) & 1) == 0)
		fault(a, "free slot %" PRIu64 " is not marked so", slot);
}

static void
audit_slot(struct audit *a, uint64_t slot, struct audit_counts *c)
{
	uint64_t state = word_load(&segment_slot(a->seg, slot)[SLOT_STATE]);

	switch (STATE_ST(state)) {
	case ST_FREE:
		c->free++;
		if (a->settled)
			audit_free(a, slot, STATE_BIRTH(state));
		return;
	case ST_LIVE:
		c->live++;
		if (a->lists[slot] == 0)
			fault(a, "slot %" PRIu64 " is in use, but in no list", slot);
		return;
	case ST_EXTRA:
		c->extra++;
		if (a->settled && a->owners[slot] == 0)
			fault(a, "extra slot %" PRIu64 " belongs to nobody", slot);
		return;
	case ST_RETIRING:
		c->retiring++;
		break;
	case ST_GONE:
		c->gone++;
		break;
	default:
		c->half++;
		break;
	}
	if (a->settled)
		fault(a, "slot %" PRIu64 ": state %d, and nobody is at work", slot,
		    (int)STATE_ST(state));
}

static int
by_name(const void *x, const void *y)
{
	const struct name *a = x, *b = y;

	if (a->limit != b->limit)
		return a->limit < b->limit ? -1 : 1;
	if (a->chunk != b->chunk)
		return a->chunk < b->chunk ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->key, b->key, (size_t)(a->len > 0 ? a->len : 0));
}

unsigned
audit_table(const struct segment *seg, bool settled, struct audit_counts *counts)
{
	struct audit a = { .seg = seg, .settled = settled };
	struct audit_counts own;

	if (counts == NULL)
		counts = &own;
	memset(counts, 0, sizeof(*counts));
	a.lists = calloc(seg->nslots, 1);
	a.owners = calloc(seg->nslots, 1);
	a.names = calloc(seg->nslots + 1, sizeof(*a.names));
	if (a.lists == NULL || a.owners == NULL || a.names == NULL)
		err(1, "calloc");
	if (!policy_current(seg->policy, &a.policy))
		fault(&a, "no policy");
	for (uint64_t b = 0; b < seg->nbuckets; b++)
		audit_list(&a, b);
	for (uint64_t n = 0; n < seg->nslots; n++)
		audit_slot(&a, n, counts);
	qsort(a.names, a.nnames, sizeof(*a.names), by_name);
	for (uint64_t i = 1; i < a.nnames; i++)
		if (by_name(&a.names[i - 1], &a.names[i]) == 0)
			fault(&a, "slots %" PRIu64 " and %" PRIu64 " hold one key",
			    a.names[i - 1].slot, a.names[i].slot);
	free(a.lists);
	free(a.owners);
	free(a.names);
	return a.faults;
}
