/*
 * history_file.c - what of each slot is recorded, in a file beside the segment: see history.c.
 *
 * The file is as short-lived as the segment: on a tmpfs, tied to the segment's id and the store's.
 * A batch changes the store first and this file afterwards; it has a number, which stands in
 * both, so a rationd that finds the store one ahead finishes what its predecessor was killed in.
 */
#include "history_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define MAGIC UINT64_C(0x3130434552544152) /* "RATREC01" */

struct recorded_head {
	uint64_t magic; /* stored last */
	uint64_t segment_id;
	uint64_t store_id;
	uint64_t nslots;
	_Atomic uint64_t serial; /* of the last batch that is in here: stored after its cursors */
	uint64_t reserved[507];
};
static_assert(sizeof(struct recorded_head) == 4096, "a page");

static size_t
bytes_of(const struct history *h)
{
	return sizeof(struct recorded_head) +
	    (h->keeper->seg.nslots + LIMITS_MAX) * sizeof(struct cursor);
}

/* The file, if it is ours and as long as it should be; -1 and errno, 0 for none that is. */
static int
open_old(const struct history *h, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    (st.st_mode & 077) == 0 && (size_t)st.st_size == h->bytes)
		return fd;
	(void)close(fd);
	return -1;
}

/* Under a name of its own until it is whole; all of it allocated: no SIGBUS later. */
static int
create(const struct history *h, const char *path, char *err, size_t errsize)
{
	char made[1300];
	int fd, e;

	(void)snprintf(made, sizeof(made), "%s.new", path);
	(void)unlink(made);
	fd = open(made, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	e = fd == -1 ? errno : posix_fallocate(fd, 0, (off_t)h->bytes);
	if (e == 0 && rename(made, path) != 0)
		e = errno;
	if (e == 0)
		return fd;
	(void)snprintf(err, errsize, "%s: %s", path, strerror(e));
	if (fd != -1)
		(void)close(fd);
	(void)unlink(made);
	return -1;
}

static int
map(struct history *h, int fd, const char *path, char *err, size_t errsize)
{
	void *at = mmap(NULL, h->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)close(fd);
	if (at == MAP_FAILED) {
		(void)snprintf(err, errsize, "%s: %s", path, strerror(errno));
		return -1;
	}
	h->head = at;
	h->cursors = (void *)((char *)at + sizeof(struct recorded_head));
	return 0;
}

/*
 * No file, but a segment with usage in it, of which nobody knows what is recorded: history was
 * off, or the file is lost.  It begins now.
 */
static void
begin_now(struct history *h)
{
	const struct segment *seg = &h->keeper->seg;
	uint64_t n = 0;

	for (uint64_t i = 0; i < seg->nslots; i++)
		n += history_reading(seg, i, &h->cursors[i]) ? 1 : 0;
	for (uint32_t i = 0; i < LIMITS_MAX; i++)
		h->cursors[seg->nslots + i].denied =
		    atomic_load_explicit(&seg->limits[i].denied_nokey, memory_order_relaxed) &
		    DENIED_MASK;
	if (n > 0)
		log_note("history: usage of %llu keys in the segment is from before the history "
			 "and not recorded",
		    (unsigned long long)n);
}

/* Which entries are whose is to be looked up again. */
static void
forget_ids(struct history *h)
{
	for (uint64_t i = 0; i < h->keeper->seg.nslots + LIMITS_MAX; i++)
		h->cursors[i].id = 0;
}

/*
 * What the last batch has recorded, if its cursors were not put down any more.  If neither fits, an
 * older state was put back: ids that it gives from now on stand in cursors as others'.
 */
static int
replay(struct history *h, char *err, size_t errsize)
{
	struct journal_entry *list;
	uint64_t serial, applied = atomic_load_explicit(&h->head->serial, memory_order_relaxed);
	void *bytes;
	size_t n;

	if (store_usage_last(h->store, &serial, &bytes, &n, err, errsize) != 0)
		return -1;
	list = bytes;
	if (serial != applied && serial != applied + 1)
		forget_ids(h);
	for (size_t i = 0; serial == applied + 1 && i < n / sizeof(*list); i++)
		if (list[i].index < h->keeper->seg.nslots + LIMITS_MAX)
			h->cursors[list[i].index] = (struct cursor) { list[i].birth, list[i].id,
				list[i].admitted, list[i].denied };
	free(bytes);
	h->head->serial = h->state.serial = serial;
	return 0;
}

int
recorded_open(struct history *h, char *err, size_t errsize)
{
	const char *path = h->keeper->paths->recorded;
	const struct segment *seg = &h->keeper->seg;
	int fd;

	h->bytes = bytes_of(h);
	fd = open_old(h, path);
	if (fd != -1 && map(h, fd, path, err, errsize) != 0)
		return -1;
	if (h->head != NULL && h->head->magic == MAGIC && h->head->segment_id == seg->head->id &&
	    h->head->nslots == seg->nslots) {
		if (h->head->store_id == h->state.store_id)
			return replay(h, err, errsize);
		/* Another file of the store: what was recorded is gone, and so are its ids. */
		forget_ids(h);
	} else {
		recorded_close(h);
		fd = create(h, path, err, errsize);
		if (fd == -1 || map(h, fd, path, err, errsize) != 0)
			return -1;
		begin_now(h);
	}
	h->head->segment_id = seg->head->id;
	h->head->nslots = seg->nslots;
	h->head->store_id = h->state.store_id;
	h->head->serial = h->state.serial;
	h->head->magic = MAGIC;
	return 0;
}

void
recorded_close(struct history *h)
{
	if (h->head != NULL)
		(void)munmap(h->head, h->bytes);
	h->head = NULL;
	h->cursors = NULL;
}

void
recorded_apply(struct history *h)
{
	for (size_t i = 0; i < h->n; i++)
		h->cursors[h->batch[i].index] = h->batch[i].next;
	atomic_store_explicit(&h->head->serial, h->state.serial, memory_order_release);
}

void
recorded_forget(const struct history *h)
{
	(void)unlink(h->keeper->paths->recorded);
}
