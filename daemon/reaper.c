#include "reaper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "permits.h"

/*
 * A round at most this often, and at most 4 % of a processor: with 5,000 holders alive
 * (9 us each) a round takes a second.
 */
#define ROUND_MS 400u
#define BUDGET_NS UINT64_C(4000000)
/* Work between two looks at the clock, in slots; asking after a holder is worth some. */
#define LOOK_EVERY 128u
#define ASKING 16u

#define ASKED_USED (UINT32_C(1) << 31)
#define ASKED_DEAD (UINT32_C(1) << 30)

static uint64_t
clock_ns(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* ---- the lock file ---- */

static bool
is_strange(const char *path, char *err, size_t errsize)
{
	struct stat st;

	if (lstat(path, &st) != 0 || (S_ISREG(st.st_mode) && st.st_uid == geteuid()))
		return false;
	(void)snprintf(err, errsize, "%s: no file of ours: remove it", path);
	return true;
}

/* Group and mode; made if it is not there, never truncated. */
static void
make(const struct keeper *k, gid_t gid)
{
	if (holder_file_make(k->paths, (unsigned)gid) != 0)
		log_warn("%s: cannot set group or mode: %s", k->paths->holders, strerror(errno));
}

int
reaper_open(struct reaper *r, struct keeper *k, struct book *book, char *err, size_t errsize)
{
	const char *path = k->paths->holders;

	memset(r, 0, sizeof(*r));
	r->keeper = k;
	r->book = book;
	r->look.fd = -1;
	if (is_strange(path, err, errsize))
		return -1;
	if (k->attached && access(path, F_OK) != 0)
		log_warn("%s: it was removed: nobody who holds leases from before counts as alive",
		    path);
	make(k, k->gid);
	r->look = holder_look_begin(k->paths);
	if (r->look.fd != -1)
		return 0;
	(void)snprintf(err, errsize, "%s: cannot be opened, or is open to the world", path);
	return -1;
}

/*
 * Not made anew: who holds leases has the old one, so in another one they would be dead; and for
 * us, who have the old one open, all those in the new one.
 */
void
reaper_access(struct reaper *r, gid_t gid)
{
	const char *path = r->keeper->paths->holders;
	struct stat ours, there;

	if (fstat(r->look.fd, &ours) == 0 && stat(path, &there) == 0 &&
	    ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
		make(r->keeper, gid);
	else
		log_warn("%s: it was removed or replaced: no new process can hold leases; stop "
			 "those that do, then rationd, and start it again",
		    path);
}

void
reaper_close(struct reaper *r)
{
	if (r->keeper != NULL)
		holder_look_end(&r->look);
	free(r->asked.at);
	memset(r, 0, sizeof(*r));
}

/* ---- who is dead ---- */

static uint32_t *
asked_place(const struct reaper *r, uint32_t holder)
{
	uint32_t i = holder * UINT32_C(0x9e3779b1) & (r->asked.size - 1);

	while (r->asked.at[i] != 0 && (r->asked.at[i] & HOLDER_MASK) != holder)
		i = (i + 1) & (r->asked.size - 1);
	return &r->asked.at[i];
}

/* Room for one more, half of it free.  Without memory everybody is asked each time. */
static bool
asked_room(struct reaper *r)
{
	uint32_t size = r->asked.size == 0 ? 256 : r->asked.size * 2, *old = r->asked.at;
	uint32_t n = r->asked.size;

	if (r->asked.n < r->asked.size / 2)
		return true;
	r->asked.at = calloc(size, sizeof(*r->asked.at));
	if (r->asked.at == NULL) {
		r->asked.at = old;
		return false;
	}
	r->asked.size = size;
	for (uint32_t i = 0; i < n; i++)
		if (old[i] != 0)
			*asked_place(r, (uint32_t)(old[i] & HOLDER_MASK)) = old[i];
	free(old);
	return true;
}

static bool
dead(struct reaper *r, uint32_t holder, uint64_t *work)
{
	uint32_t answer, *place;

	if (!asked_room(r))
		return holder_dead(&r->look, holder);
	place = asked_place(r, holder);
	if (*place == 0) {
		answer = holder | ASKED_USED | (holder_dead(&r->look, holder) ? ASKED_DEAD : 0);
		*place = answer;
		r->asked.n++;
		*work += ASKING;
	}
	return (*place & ASKED_DEAD) != 0;
}

/* ---- a round ---- */

/* Take permit i away, if it is still what it was. */
static void
take_away(
    const struct segment *seg, const struct permits *p, uint32_t i, uint64_t now_ns, word_t *count)
{
	if (lease_free(seg, p->slot, p->birth, p->at[i].place, p->at[i].word, now_ns) == 0)
		(void)atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

/* False: enough for this slice. */
static bool
reap_slot(struct reaper *r, uint64_t slot, uint64_t now_ns, uint64_t *work)
{
	const struct segment *seg = &r->keeper->seg;
	struct permits at;
	bool used = permits_read(seg, slot, &at), more = true;

	if (r->book != NULL)
		more = book_look(r->book, slot, used ? &at : NULL);
	if (!used || at.n == 0) {
		lease_unmark(seg, slot);
		return more;
	}
	for (uint32_t i = 0; i < at.n; i++) {
		uint64_t w = at.at[i].word;

		if (lease_expired(w, now_ns))
			take_away(seg, &at, i, now_ns, &seg->head->expired);
		else if (permit_held(w) && dead(r, (uint32_t)HELD_HOLDER(w), work))
			take_away(seg, &at, i, now_ns, &seg->head->reaped);
	}
	return more;
}

void
reaper_tick(struct reaper *r)
{
	const struct segment *seg = &r->keeper->seg;
	uint64_t now_ms = clock_ns(CLOCK_MONOTONIC) / 1000000, now_ns, start, work = 0;

	if (r->resting && now_ms - r->began_ms < ROUND_MS)
		return;
	if (r->resting || r->next == 0) {
		r->resting = false;
		r->began_ms = now_ms;
		if (r->asked.n > 0)
			memset(r->asked.at, 0, r->asked.size * sizeof(*r->asked.at));
		r->asked.n = 0;
	}
	now_ns = keeper_shared(r->keeper);
	start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	while ((r->next = permits_next(seg, r->next, seg->nslots)) < seg->nslots) {
		if (!reap_slot(r, r->next++, now_ns, &work))
			break;
		if (++work < LOOK_EVERY)
			continue;
		work = 0;
		if (clock_ns(CLOCK_THREAD_CPUTIME_ID) - start > BUDGET_NS)
			break;
	}
	if (r->next >= seg->nslots) {
		r->next = 0;
		r->resting = true;
	}
	if (r->book != NULL)
		book_record(r->book);
}
