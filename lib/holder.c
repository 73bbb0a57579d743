/*
 * holder.c - taking a number as a holder of leases, keeping it, and who is dead.
 *
 * A number is locked before it is written anywhere, so whoever finds it in a permit and the
 * byte unlocked knows that its holder is gone for good.
 */
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "atomics.h"

#define PAGE 4096u
#define NUMBERS_TRIED 64u /* each locked already by a holder in a segment before this one */

/* ---- the lock file ---- */

int
holder_file_make(const struct paths *p, unsigned gid)
{
	int fd = open(p->holders, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	struct stat st;
	int e = 0;

	if (fd == -1)
		return -1;
	/* It was there: as it was left, by us or by another of the same user. */
	if (fstat(fd, &st) != 0) {
		e = -1;
	} else if (st.st_uid != geteuid()) {
		errno = EPERM;
		e = -1;
	} else if ((gid != (unsigned)-1 && fchown(fd, (uid_t)-1, (gid_t)gid) != 0) ||
	    fchmod(fd, 0640) != 0) {
		e = -1;
	}
	(void)close(fd);
	return e;
}

static int
open_file(const struct paths *p)
{
	return open(p->holders, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

static struct flock
lock_of(uint32_t number, short type)
{
	return (struct flock) {
		.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)number, .l_len = 1
	};
}

/* Does another description than fd have the byte locked?  *locked; -1: it cannot be told. */
static int
look(int fd, uint32_t number, bool *locked)
{
	struct flock l = lock_of(number, F_WRLCK);

	if (fcntl(fd, F_OFD_GETLK, &l) != 0)
		return -1;
	*locked = l.l_type != F_UNLCK;
	return 0;
}

/* ---- taking a number ---- */

/* The lock on a number that nobody else has.  0 or an error. */
static int
lock_number(int fd, const struct segment *seg, uint32_t *number)
{
	for (unsigned tries = 0; tries < NUMBERS_TRIED; tries++) {
		uint64_t n =
		    atomic_fetch_add_explicit(&seg->head->holders, 1, memory_order_relaxed) + 1;
		struct flock l = lock_of((uint32_t)(n & HOLDER_MASK), F_RDLCK);
		bool locked;

		if ((n & HOLDER_MASK) == 0)
			continue;
		if (fcntl(fd, F_OFD_SETLK, &l) != 0) {
			if (errno == EAGAIN || errno == EACCES)
				continue;
			return RATION_ESYS;
		}
		if (look(fd, (uint32_t)(n & HOLDER_MASK), &locked) != 0)
			return RATION_ESYS;
		if (!locked) {
			*number = (uint32_t)(n & HOLDER_MASK);
			return 0;
		}
		l = lock_of((uint32_t)(n & HOLDER_MASK), F_UNLCK);
		(void)fcntl(fd, F_OFD_SETLK, &l);
	}
	return RATION_EBUSY;
}

/* A number, and the mapping that keeps it. */
static int
take_number(struct ration *r, const struct segment *seg, uint32_t *number, void **map)
{
	uint64_t bytes;
	int fd = open_file(&r->paths), e;

	if (fd == -1)
		return segment_open_error();
	e = segment_trusted(fd, &r->paths, &bytes);
	if (e == 0)
		e = lock_number(fd, seg, number);
	if (e == 0) {
		*map = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE, fd, 0);
		if (*map == MAP_FAILED)
			e = RATION_ESYS;
		else if (madvise(*map, PAGE, MADV_DONTFORK) != 0) {
			(void)munmap(*map, PAGE);
			e = RATION_ESYS;
		}
	}
	(void)close(fd);
	return e;
}

static struct holder_page *
page_of(struct ration *r)
{
	struct holder_page *p = atomic_load_explicit(&r->holder, memory_order_acquire),
			   *none = NULL;

	if (p != NULL)
		return p;
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (madvise(p, PAGE, MADV_WIPEONFORK) != 0 ||
	    !atomic_compare_exchange_strong_explicit(
		&r->holder, &none, p, memory_order_acq_rel, memory_order_acquire)) {
		(void)munmap(p, PAGE);
		return none;
	}
	return p;
}
static_assert(sizeof(struct holder_page) <= PAGE, "one page");

/* Is the segment of this word newer than seg? */
static bool
newer(uint64_t word, const struct segment *seg)
{
	return word != 0 && (int32_t)((uint32_t)(word >> 32) - seg->id) > 0;
}

/* The lock of a segment of eight segments ago goes: nobody is in there any more. */
static void
keep(struct holder_page *p, const struct segment *seg, uint32_t number, void *map)
{
	uint64_t word = (uint64_t)seg->id << 32 | number;
	unsigned i = seg->id % HOLDER_MAPS;
	uintptr_t old =
	    atomic_exchange_explicit(&p->kept[i].map, (uintptr_t)map, memory_order_acq_rel);

	if (old != 0)
		(void)munmap((void *)old, PAGE);
	atomic_store_explicit(&p->kept[i].word, word, memory_order_release);
	if (!newer(atomic_load_explicit(&p->word, memory_order_relaxed), seg))
		atomic_store_explicit(&p->word, word, memory_order_release);
}

/* Our number in seg, be it the newest or not. */
static int
number_in(struct ration *r, struct holder_page *p, const struct segment *seg, uint32_t *number)
{
	uint64_t w =
	    atomic_load_explicit(&p->kept[seg->id % HOLDER_MAPS].word, memory_order_relaxed);
	void *map = NULL;
	int e;

	if (w >> 32 == seg->id) {
		*number = (uint32_t)(w & HOLDER_MASK);
		return 0;
	}
	if (newer(w, seg))
		return RATION_EBUSY;
	e = take_number(r, seg, number, &map);
	if (e == 0)
		keep(p, seg, *number, map);
	return e;
}

int
holder_number(struct ration *r, const struct segment *seg, uint32_t *number)
{
	struct holder_page *p;
	int e, saved = errno;

	*number = holder_known(r, seg);
	if (*number != 0)
		return 0;
	/*
	 * Nobody forks while the descriptor is open: the child would have it, and keep the
	 * lock as long as it lives.
	 */
	handle_hold_forks();
	p = page_of(r);
	e = p == NULL ? RATION_ESYS : number_in(r, p, seg, number);
	handle_let_fork();
	if (e != RATION_ESYS)
		errno = saved;
	return e;
}

void
holder_forget(struct ration *r)
{
	struct holder_page *p = atomic_load_explicit(&r->holder, memory_order_acquire);

	if (p == NULL)
		return;
	atomic_store_explicit(&p->word, 0, memory_order_release);
	for (unsigned i = 0; i < HOLDER_MAPS; i++) {
		uintptr_t map = atomic_exchange_explicit(&p->kept[i].map, 0, memory_order_acq_rel);

		atomic_store_explicit(&p->kept[i].word, 0, memory_order_release);
		if (map != 0)
			(void)munmap((void *)map, PAGE);
	}
}

void
holder_close(struct ration *r)
{
	struct holder_page *p = atomic_load_explicit(&r->holder, memory_order_acquire);

	holder_forget(r);
	if (p != NULL)
		(void)munmap(p, PAGE);
	atomic_store_explicit(&r->holder, NULL, memory_order_release);
}

/* ---- who is dead ---- */

struct holder_look
holder_look_begin(const struct paths *p)
{
	int saved = errno;
	struct holder_look l = { open_file(p) };
	uint64_t bytes;

	/* In another's file nobody may be locked. */
	if (l.fd != -1 && segment_trusted(l.fd, p, &bytes) != 0) {
		(void)close(l.fd);
		l.fd = -1;
	}
	errno = saved;
	return l;
}

bool
holder_dead(const struct holder_look *l, uint32_t number)
{
	bool locked = true;
	int saved = errno;

	if (l->fd != -1 && look(l->fd, number, &locked) != 0)
		locked = true;
	errno = saved;
	return !locked;
}

void
holder_look_end(const struct holder_look *l)
{
	int saved = errno;

	if (l->fd != -1)
		(void)close(l->fd);
	errno = saved;
}
