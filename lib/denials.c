/*
 * denials.c - recent denials: noted, and read again.  See denials.h.
 */
#include "denials.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "slot.h"

/* ---- writing ---- */

bool
denials_claim(struct ration *r, uint64_t which, uint64_t now_ns)
{
	uint64_t mark = DENIALS_MARK(which, now_ns), w;
	_Atomic uint64_t *first = &r->denied[which % DENIED_SEEN];
	_Atomic uint64_t *second = &r->denied[which % DENIED_SEEN ^ 1];

	/* A key whose place another one has stands beside it. */
	if (atomic_load_explicit(first, memory_order_relaxed) == mark ||
	    atomic_load_explicit(second, memory_order_relaxed) == mark)
		return false;
	w = atomic_load_explicit(&r->denied_most, memory_order_relaxed);
	if ((w ^ mark) >> 32 != 0)
		w = mark >> 32 << 32;
	if ((w & UINT32_MAX) >= DENIALS_MOST)
		return false;
	/* Threads may lose each other's: then one more is noted, no harm. */
	atomic_store_explicit(&r->denied_most, w + 1, memory_order_relaxed);
	if ((atomic_load_explicit(first, memory_order_relaxed) ^ mark) >> 32 == 0)
		first = second;
	atomic_store_explicit(first, mark, memory_order_relaxed);
	return true;
}

static uint64_t
count_of(const struct segment *seg, const struct denial *d)
{
	if (d->mode == MODE_OBSERVE)
		return word_load(&seg->limits[d->limit_id].observed);
	if ((d->flags & DENIAL_NOSLOT) != 0)
		return word_load(&seg->limits[d->limit_id].denied_nokey);
	return DENIED_COUNT(word_load(&segment_slot(seg, d->slot)[SLOT_DENIED]));
}

void
denials_put(const struct ration *r, const struct segment *seg, struct denial *d)
{
	uint64_t body[SIDE_DENIAL_WORDS - 1];

	if (seg->side == NULL)
		return;
	d->denied = count_of(seg, d);
	d->pid = r->pid;
	d->pid_ns = r->pid_ns;
	d->number = word_count(&seg->side->denied, 1) + 1;
	memcpy(body, d, sizeof(body));
	side_put(side_denial(seg->side, d->number), d->number, body, SIDE_DENIAL_WORDS);
}

/* The key as it stands in the slot: what the caller gave may be another text of its address. */
void
denials_plain(const struct ration *r, const struct segment *seg, struct denial *d)
{
	int len = table_slot_key(seg, d->slot, d->key);
	uint64_t state = word_load(&segment_slot(seg, d->slot)[SLOT_STATE]);

	if (len <= 0 || STATE_BIRTH(state) != d->birth || STATE_ST(state) != ST_LIVE)
		return;
	d->key_len = (uint8_t)len;
	d->mode = MODE_ENFORCE;
	denials_put(r, seg, d);
}

/* Only getpid and stat: it is also called in a forked child. */
void
denials_begin(struct ration *r)
{
	struct stat st;

	r->pid = (uint32_t)getpid();
	r->pid_ns = stat("/proc/self/ns/pid", &st) == 0 ? (uint32_t)st.st_ino : 0;
	for (unsigned i = 0; i < DENIED_SEEN; i++)
		atomic_store_explicit(&r->denied[i], 0, memory_order_relaxed);
	atomic_store_explicit(&r->denied_most, 0, memory_order_relaxed);
}

/* ---- reading ---- */

#define NS_S UINT64_C(1000000000)
/* The instance's clock may be moved a century at most, in any direction. */
#define UNIX_MOST (INT64_C(9000000000) * 1000000000)

static bool
in_range(const struct segment *seg, unsigned place, uint64_t now_ns, const struct denial *d)
{
	return d->number != 0 && d->number % SIDE_DENIALS == place &&
	    d->shared_ns < now_ns + NS_S && d->unix_ns > 0 && d->unix_ns < UNIX_MOST &&
	    d->key_len > 0 && d->limit_id < LIMITS_MAX && d->kind <= RATION_COUNT_ONLY &&
	    d->reason <= RATION_R_QUEUE && d->mode <= MODE_OFF && d->retry_at >= RATION_NEVER &&
	    ((d->flags & DENIAL_NOSLOT) != 0 || d->slot < seg->nslots);
}

bool
denials_read(const struct segment *seg, unsigned place, uint64_t now_ns, struct denial *out)
{
	const word_t *entry;
	uint64_t body[SIDE_DENIAL_WORDS - 1];

	if (seg->side == NULL || place >= SIDE_DENIALS)
		return false;
	entry = side_denial(seg->side, place);
	/* The number is in the entry too: whatever stands in the head, no entry is lost by it. */
	if (!side_get(entry, word_load(&entry[0]), body, SIDE_DENIAL_WORDS))
		return false;
	memcpy(out, body, sizeof(*out));
	return in_range(seg, place, now_ns, out);
}

int64_t
denials_since(const struct segment *seg, const struct denial *d)
{
	uint64_t w;

	if (d->mode == MODE_OBSERVE || (d->flags & DENIAL_NOSLOT) != 0 || d->slot >= seg->nslots)
		return -1;
	w = word_load(&segment_slot(seg, d->slot)[SLOT_DENIED]);
	if (!DENIED_OF(w, d->birth) || DENIED_COUNT(w) < d->denied)
		return -1;
	return (int64_t)(DENIED_COUNT(w) - d->denied);
}
