#include "segment.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "clock.h"
#include "holder.h"
#include "slot.h"

#define ALIGN(n, a) (((n) + (a)-1) / (a) * (a))
#define PAGE 4096u
#define QUEUES_MIN 256u /* a quarter of a megabyte */
#define QUEUES_MAX 4096u

/* Where the parts of the counters lie. */
struct plan {
	uint64_t stride, nbuckets, limits, bitmap, buckets, slots, leases, queues, nqueues, bytes;
};

/*
 * Two bucket words a slot; half a one where slots are large, so that three rates
 * stay within 512 bytes a key.
 */
static struct plan
plan_counters(uint64_t nslots, uint32_t cells)
{
	struct plan p;

	p.stride = SLOT_HEAD + (uint64_t)cells * CELL_WORDS;
	p.nbuckets = cells >= 3 ? nslots / 2 + 1 : nslots * 2;
	p.limits = ALIGN(sizeof(struct seg_head), 64);
	p.bitmap = p.limits + LIMITS_MAX * sizeof(struct limit_counters);
	p.buckets = ALIGN(p.bitmap + (nslots + 63) / 64 * 8, 64);
	p.slots = ALIGN(p.buckets + p.nbuckets * 8, 64);
	p.leases = ALIGN(p.slots + nslots * p.stride * 8, 64);
	p.queues = ALIGN(p.leases + (nslots + 63) / 64 * 8, 64);
	for (p.nqueues = QUEUES_MIN; p.nqueues < QUEUES_MAX && p.nqueues < nslots / 1024;)
		p.nqueues *= 2;
	p.bytes = ALIGN(p.queues + p.nqueues * QUEUE_WORDS * 8, PAGE);
	return p;
}

static void
read_boot_id(uint8_t id[16])
{
	char text[64] = "";
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd == -1 ? -1 : read(fd, text, sizeof(text) - 1);
	unsigned v;

	if (fd != -1)
		(void)close(fd);
	memset(id, 0, 16);
	if (n < 36)
		return;
	for (size_t i = 0, k = 0; k < 16 && text[i] != '\0';) {
		if (text[i] == '-') {
			i++;
			continue;
		}
		if (sscanf(&text[i], "%2x", &v) != 1)
			return;
		id[k++] = (uint8_t)v;
		i += 2;
	}
}

bool
segment_same_boot(const struct segment *seg)
{
	static const uint8_t unknown[16];
	uint8_t id[16];

	/* Without /proc (a chroot) there is nothing to compare. */
	read_boot_id(id);
	return memcmp(id, unknown, sizeof(id)) == 0 ||
	    memcmp(id, seg->head->boot_id, sizeof(id)) == 0;
}

/* ---- attaching ---- */

int
segment_open_error(void)
{
	switch (errno) {
	case ENOENT:
	case ENOTDIR:
		return RATION_ENOSEG;
	case EACCES:
	case EPERM:
		return RATION_EPERM;
	case ELOOP:
		return RATION_EOWNER;
	default:
		return RATION_ESYS;
	}
}

int
segment_trusted(int fd, const struct paths *p, uint64_t *bytes)
{
	struct stat st, dir;

	if (fstat(fd, &st) != 0)
		return RATION_ESYS;
	if (!S_ISREG(st.st_mode) || (st.st_mode & S_IWOTH) != 0)
		return RATION_EOWNER;
	if (st.st_uid != 0 && st.st_uid != geteuid() &&
	    (stat(p->run_dir, &dir) != 0 || dir.st_uid != st.st_uid))
		return RATION_EOWNER;
	*bytes = (uint64_t)st.st_size;
	return 0;
}

static int
map_file(const char *path, const struct paths *p, bool writable, uint64_t min, void **map,
    uint64_t *bytes)
{
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ, e;
	int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1)
		return segment_open_error();
	e = segment_trusted(fd, p, bytes);
	if (e == 0 && (*bytes < min || *bytes > (uint64_t)1 << 46))
		e = RATION_EBADSEG;
	if (e == 0) {
		*map = mmap(NULL, *bytes, prot, MAP_SHARED, fd, 0);
		if (*map == MAP_FAILED)
			e = RATION_ESYS;
	}
	(void)close(fd);
	return e;
}

static int
check_counters(struct segment *seg)
{
	const struct seg_head *h = seg->head;
	struct plan p;

	if (atomic_load_explicit(&seg->head->magic, memory_order_acquire) != COUNTERS_MAGIC)
		return h->layout_version == 0 ? RATION_ENOTREADY : RATION_EBADSEG;
	if (h->layout_version != LAYOUT_VERSION || h->fingerprint != LAYOUT_FINGERPRINT)
		return RATION_ELAYOUT;
	seg->nslots = h->nslots;
	seg->nbuckets = h->nbuckets;
	seg->cells = h->cells;
	seg->stride = h->stride;
	if (seg->nslots == 0 || seg->nslots > SLOTS_MAX || seg->cells == 0 ||
	    seg->cells > CELLS_MAX)
		return RATION_EBADSEG;
	p = plan_counters(seg->nslots, seg->cells);
	if (h->bytes != seg->bytes || p.bytes != seg->bytes || p.stride != seg->stride ||
	    p.nbuckets != seg->nbuckets || h->off_limits != p.limits || h->off_bitmap != p.bitmap ||
	    h->off_buckets != p.buckets || h->off_slots != p.slots || h->off_leases != p.leases ||
	    h->off_queues != p.queues || h->nqueues != p.nqueues)
		return RATION_EBADSEG;
	seg->limits = (struct limit_counters *)(void *)((char *)seg->head + p.limits);
	seg->bitmap = (word_t *)(void *)((char *)seg->head + p.bitmap);
	seg->buckets = (word_t *)(void *)((char *)seg->head + p.buckets);
	seg->slots = (word_t *)(void *)((char *)seg->head + p.slots);
	seg->leases = (word_t *)(void *)((char *)seg->head + p.leases);
	seg->queues = (word_t *)(void *)((char *)seg->head + p.queues);
	seg->nqueues = p.nqueues;
	seg->secret[0] = h->secret[0];
	seg->secret[1] = h->secret[1];
	return 0;
}

static int
check_policy(struct segment *seg)
{
	const struct policy_head *h = seg->policy;

	if (atomic_load_explicit(&seg->policy->magic, memory_order_acquire) != POLICY_MAGIC)
		return h->layout_version == 0 ? RATION_ENOTREADY : RATION_EBADSEG;
	if (h->layout_version != LAYOUT_VERSION || h->fingerprint != LAYOUT_FINGERPRINT)
		return RATION_ELAYOUT;
	/* A page of slack at the end: a name is compared without looking for its end first. */
	if (h->bytes != seg->policy_bytes || seg->policy_bytes < 2 * PAGE ||
	    h->area_bytes < sizeof(struct policy_area) || h->area_bytes > seg->policy_bytes / 2 ||
	    h->area_off[0] < sizeof(*h) || h->area_off[0] > seg->policy_bytes - h->area_bytes ||
	    h->area_off[1] < h->area_off[0] + h->area_bytes ||
	    h->area_off[1] > seg->policy_bytes - PAGE - h->area_bytes ||
	    (h->area_off[0] | h->area_off[1]) % 64 != 0)
		return RATION_EBADSEG;
	for (unsigned i = 0; i < 2; i++)
		seg->areas[i] =
		    (const struct policy_area *)(const void *)((const char *)h + h->area_off[i]);
	/* Counters renamed, policy not yet: an old and a new object. */
	return h->id == seg->head->id ? 0 : RATION_ENOTREADY;
}

/*
 * Zeros behind a reader's policy, as many as it is long.  The short way follows offsets without
 * looking at the area's end: each is of some version, but in a policy that is being rewritten
 * a section's start may be of the next and the place in it of the last, and their sum lie
 * up to an area's length behind the object.
 */
static int
map_room(struct segment *seg)
{
	uint64_t bytes = seg->policy_bytes;
	char *room =
	    mmap(NULL, bytes * 2, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (room == MAP_FAILED)
		return RATION_ESYS;
	if (mremap(seg->policy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, room) == MAP_FAILED) {
		(void)munmap(room, bytes * 2);
		return RATION_ESYS;
	}
	seg->policy = (struct policy_head *)(void *)room;
	seg->policy_room = bytes;
	return 0;
}

/* One that is not there, or not of these counters, is done without. */
static void
attach_side(const struct paths *p, bool writable, struct segment *seg)
{
	struct side_head *h;
	uint64_t bytes;
	void *map;

	if (map_file(p->side, p, writable, SIDE_BYTES, &map, &bytes) != 0)
		return;
	h = map;
	if (bytes == SIDE_BYTES && h->bytes == SIDE_BYTES && h->id == seg->head->id &&
	    atomic_load_explicit(&h->magic, memory_order_acquire) == SIDE_MAGIC &&
	    h->layout_version == LAYOUT_VERSION && h->fingerprint == LAYOUT_FINGERPRINT)
		seg->side = h;
	else
		(void)munmap(map, bytes);
}

static int
attach(const struct paths *p, bool writable, bool owner, struct segment *seg)
{
	void *map = NULL;
	int e;

	memset(seg, 0, sizeof(*seg));
	seg->writable = writable;
	e = map_file(p->counters, p, writable, sizeof(struct seg_head), &map, &seg->bytes);
	if (e != 0)
		goto out;
	seg->head = map;
	e = check_counters(seg);
	if (e != 0)
		goto out;
	e = map_file(p->policy, p, owner, sizeof(struct policy_head), &map, &seg->policy_bytes);
	if (e != 0)
		goto out;
	seg->policy = map;
	if (!owner)
		e = map_room(seg);
	if (e == 0)
		e = check_policy(seg);
	if (e == 0)
		attach_side(p, writable, seg);
out:
	if (e != 0)
		segment_detach(seg);
	return e;
}

int
segment_attach(const struct paths *p, bool writable, struct segment *seg)
{
	return attach(p, writable, false, seg);
}

int
segment_attach_owner(const struct paths *p, struct segment *seg, char *err, size_t errsize)
{
	struct stat st;
	int e;

	if (lstat(p->counters, &st) == 0 && st.st_uid != geteuid()) {
		(void)snprintf(err, errsize, "%s: belongs to uid %u, not to us: remove it",
		    p->counters, (unsigned)st.st_uid);
		memset(seg, 0, sizeof(*seg));
		return RATION_EOWNER;
	}
	e = attach(p, true, true, seg);
	if (e != 0)
		(void)snprintf(err, errsize, "%s: error %d", p->counters, e);
	return e;
}

void
segment_detach(struct segment *seg)
{
	if (seg->policy != NULL)
		(void)munmap(seg->policy, seg->policy_bytes + seg->policy_room);
	if (seg->head != NULL)
		(void)munmap(seg->head, seg->bytes);
	if (seg->side != NULL)
		(void)munmap(seg->side, SIDE_BYTES);
	memset(seg, 0, sizeof(*seg));
}

void
segment_blank(const struct segment *seg)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

	if (seg->policy != NULL)
		(void)mmap(seg->policy, seg->policy_bytes, PROT_READ, flags, -1, 0);
	if (seg->head != NULL)
		(void)mmap(seg->head, seg->bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (seg->side != NULL)
		(void)mmap(seg->side, SIDE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
}

/* ---- creating ---- */

/* A file under a temporary name, allocated and mapped.  -1: err says why. */
static int
new_file(const char *path, char *tmp, size_t tmpsize, uint64_t bytes, mode_t mode, unsigned gid,
    void **map, char *err, size_t errsize)
{
	int fd, e;

	(void)snprintf(tmp, tmpsize, "%s.new", path);
	(void)unlink(tmp); /* left by a killed rationd: we hold the instance's lock */
	fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1) {
		(void)snprintf(err, errsize, "%s: cannot create: %s", tmp, strerror(errno));
		return -1;
	}
	e = posix_fallocate(fd, 0, (off_t)bytes);
	if (e != 0) {
		(void)snprintf(err, errsize,
		    "%s: no room for %llu bytes: %s; make table.keys smaller or the tmpfs larger",
		    tmp, (unsigned long long)bytes, strerror(e));
		goto fail;
	}
	if ((gid != (unsigned)-1 && fchown(fd, (uid_t)-1, (gid_t)gid) != 0) ||
	    fchmod(fd, mode) != 0) {
		(void)snprintf(
		    err, errsize, "%s: cannot set group or mode: %s", tmp, strerror(errno));
		goto fail;
	}
	*map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (*map == MAP_FAILED) {
		(void)snprintf(err, errsize, "%s: cannot map: %s", tmp, strerror(errno));
		goto fail;
	}
	(void)close(fd);
	return 0;
fail:
	(void)close(fd);
	(void)unlink(tmp);
	return -1;
}

static void
fill_counters(
    struct segment *seg, const struct plan *p, const struct segment_size *size, uint64_t id)
{
	struct seg_head *h = seg->head;
	struct timespec now;

	h->layout_version = LAYOUT_VERSION;
	h->fingerprint = LAYOUT_FINGERPRINT;
	h->bytes = p->bytes;
	h->id = id;
	(void)clock_gettime(CLOCK_REALTIME, &now);
	h->created_unix_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	h->nslots = size->nslots;
	h->nbuckets = p->nbuckets;
	h->stride = (uint32_t)p->stride;
	h->cells = size->cells;
	h->off_limits = p->limits;
	h->off_bitmap = p->bitmap;
	h->off_buckets = p->buckets;
	h->off_slots = p->slots;
	h->off_leases = p->leases;
	h->off_queues = p->queues;
	h->nqueues = p->nqueues;
	read_boot_id(h->boot_id);
	h->secret[0] = seg->secret[0];
	h->secret[1] = seg->secret[1];
	seg->bitmap = (word_t *)(void *)((char *)h + p->bitmap);
	seg->slots = (word_t *)(void *)((char *)h + p->slots);
	seg->stride = h->stride;
	for (uint64_t n = 0; n < size->nslots; n++) {
		word_t *s = segment_slot(seg, n);

		for (unsigned i = 0; i < seg->stride; i++)
			if (i != SLOT_STATE && slot_initial(seg, n, 0, i) != 0)
				atomic_store_explicit(
				    &s[i], slot_initial(seg, n, 0, i), memory_order_relaxed);
		(void)atomic_fetch_or_explicit(
		    &seg->bitmap[n / 64], UINT64_C(1) << (n % 64), memory_order_relaxed);
	}
	atomic_store_explicit(&h->magic, COUNTERS_MAGIC, memory_order_release);
}

static void
fill_policy(struct policy_head *h, uint64_t bytes, uint64_t area, uint64_t id)
{
	h->layout_version = LAYOUT_VERSION;
	h->fingerprint = LAYOUT_FINGERPRINT;
	h->bytes = bytes;
	h->id = id;
	h->area_bytes = area;
	h->area_off[0] = PAGE;
	h->area_off[1] = PAGE + area;
	atomic_store_explicit(&h->magic, POLICY_MAGIC, memory_order_release);
}

static void
fill_side(struct side_head *h, const struct segment *seg)
{
	h->layout_version = LAYOUT_VERSION;
	h->fingerprint = LAYOUT_FINGERPRINT;
	h->bytes = SIDE_BYTES;
	h->id = seg->head->id;
	atomic_store_explicit(&h->magic, SIDE_MAGIC, memory_order_release);
}

static int
side_new(const struct paths *p, unsigned gid, struct segment *seg, char *err, size_t errsize)
{
	char tmp[1300];
	void *map;

	if (new_file(p->side, tmp, sizeof(tmp), SIDE_BYTES, 0660, gid, &map, err, errsize) != 0)
		return RATION_ESYS;
	fill_side(map, seg);
	if (rename(tmp, p->side) != 0) {
		(void)snprintf(err, errsize, "%s: cannot rename: %s", p->side, strerror(errno));
		(void)unlink(tmp);
		(void)munmap(map, SIDE_BYTES);
		return RATION_ESYS;
	}
	seg->side = map;
	return 0;
}

/* Ours, and as long as it should be: only its head can be what kept it from being attached. */
static bool
side_mend(const struct paths *p, unsigned gid, struct segment *seg)
{
	void *map = MAP_FAILED;
	struct stat st;
	int fd = open(p->side, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1)
		return false;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    st.st_nlink == 1 && (uint64_t)st.st_size == SIDE_BYTES &&
	    posix_fallocate(fd, 0, (off_t)SIDE_BYTES) == 0 &&
	    (gid == (unsigned)-1 || fchown(fd, (uid_t)-1, (gid_t)gid) == 0) &&
	    fchmod(fd, 0660) == 0)
		map = mmap(NULL, SIDE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (map == MAP_FAILED)
		return false;
	fill_side(map, seg);
	seg->side = map;
	return true;
}

int
segment_side_make(
    const struct paths *p, unsigned gid, struct segment *seg, char *err, size_t errsize)
{
	return side_mend(p, gid, seg) ? 0 : side_new(p, gid, seg, err, errsize);
}

int
segment_create(const struct paths *p, const struct segment_size *size, unsigned gid,
    struct segment *seg, char *err, size_t errsize)
{
	char tmp_counters[1300], tmp_policy[1300];
	uint64_t area = ALIGN(size->policy_bytes, PAGE), bytes = PAGE + 2 * area + PAGE, id;
	struct plan plan;
	void *map;
	int e;

	memset(seg, 0, sizeof(*seg));
	if (size->nslots == 0 || size->nslots > SLOTS_MAX || size->cells == 0 ||
	    size->cells > CELLS_MAX || area < sizeof(struct policy_area)) {
		(void)snprintf(err, errsize, "table: %llu keys of %u rates: out of range",
		    (unsigned long long)size->nslots, size->cells);
		return RATION_EINVAL;
	}
	if (getrandom(seg->secret, sizeof(seg->secret), 0) != (ssize_t)sizeof(seg->secret) ||
	    getrandom(&id, sizeof(id), 0) != (ssize_t)sizeof(id)) {
		(void)snprintf(err, errsize, "no random bytes: %s", strerror(errno));
		return RATION_ESYS;
	}
	plan = plan_counters(size->nslots, size->cells);
	if (new_file(p->policy, tmp_policy, sizeof(tmp_policy), bytes, 0644, gid, &map, err,
		errsize) != 0)
		return RATION_ESYS;
	seg->policy = map;
	seg->policy_bytes = bytes;
	fill_policy(seg->policy, bytes, area, id);
	if (new_file(p->counters, tmp_counters, sizeof(tmp_counters), plan.bytes, 0660, gid, &map,
		err, errsize) != 0) {
		(void)unlink(tmp_policy);
		segment_detach(seg);
		return RATION_ESYS;
	}
	seg->head = map;
	seg->bytes = plan.bytes;
	seg->writable = true;
	fill_counters(seg, &plan, size, id);
	if (holder_file_make(p, gid) != 0) {
		(void)snprintf(err, errsize, "%s: cannot be made: %s", p->holders, strerror(errno));
		(void)unlink(tmp_policy);
		(void)unlink(tmp_counters);
		segment_detach(seg);
		return RATION_ESYS;
	}
	/* First: who attaches to the new counters finds it. */
	if (side_new(p, gid, seg, err, errsize) != 0) {
		(void)unlink(tmp_policy);
		(void)unlink(tmp_counters);
		segment_detach(seg);
		return RATION_ESYS;
	}
	if (rename(tmp_policy, p->policy) != 0 || rename(tmp_counters, p->counters) != 0) {
		(void)snprintf(err, errsize, "%s: cannot rename: %s", p->counters, strerror(errno));
		(void)unlink(tmp_policy);
		(void)unlink(tmp_counters);
		segment_detach(seg);
		return RATION_ESYS;
	}
	e = check_counters(seg);
	return e != 0 ? e : check_policy(seg);
}

/* ---- a larger policy object ---- */

struct side_names {
	char made[1300]; /* not yet in force */
	char old[1300];  /* not yet retired */
};

static void
name_sides(const struct paths *p, struct side_names *n)
{
	(void)snprintf(n->made, sizeof(n->made), "%s.new", p->policy);
	(void)snprintf(n->old, sizeof(n->old), "%s.old", p->policy);
}

int
segment_policy_make(const struct paths *p, const struct segment *seg, uint64_t area_bytes,
    unsigned gid, struct segment *out, char *err, size_t errsize)
{
	uint64_t area = ALIGN(area_bytes, PAGE), bytes = PAGE + 2 * area + PAGE;
	uint32_t version =
	    POLICY_CURRENT(atomic_load_explicit(&seg->policy->word, memory_order_relaxed));
	struct side_names n;
	void *map;

	*out = *seg;
	out->policy = NULL;
	name_sides(p, &n);
	if (new_file(p->policy, n.made, sizeof(n.made), bytes, 0644, gid, &map, err, errsize) != 0)
		return RATION_ESYS;
	out->policy = map;
	out->policy_bytes = bytes;
	fill_policy(out->policy, bytes, area, seg->head->id);
	atomic_store_explicit(
	    &out->policy->word, POLICY_WORD(version, version), memory_order_relaxed);
	return check_policy(out);
}

void
segment_policy_drop(const struct paths *p, struct segment *made)
{
	struct side_names n;

	if (made->policy == NULL)
		return;
	name_sides(p, &n);
	(void)unlink(n.made);
	(void)munmap(made->policy, made->policy_bytes);
	made->policy = NULL;
}

void
segment_swap_policy(struct segment *a, struct segment *b)
{
	struct segment was = *a;

	a->policy = b->policy;
	a->policy_bytes = b->policy_bytes;
	a->policy_room = b->policy_room;
	memcpy(a->areas, b->areas, sizeof(a->areas));
	b->policy = was.policy;
	b->policy_bytes = was.policy_bytes;
	b->policy_room = was.policy_room;
	memcpy(b->areas, was.areas, sizeof(b->areas));
}

static void
copy_clock(struct policy_head *to, const struct policy_head *from)
{
#define COPY(field) \
	atomic_store_explicit(&to->field, \
	    atomic_load_explicit(&from->field, memory_order_relaxed), memory_order_relaxed)
	COPY(test_offset_ns);
	COPY(real_offset_ns);
	COPY(sandbox);
	COPY(clock_generation);
#undef COPY
}

int
segment_policy_switch(const struct paths *p, struct segment *seg, const struct segment *made,
    char *err, size_t errsize)
{
	struct side_names n;

	name_sides(p, &n);
	copy_clock(made->policy, seg->policy);
	(void)unlink(n.old);
	if (link(p->policy, n.old) != 0 || rename(n.made, p->policy) != 0) {
		(void)snprintf(err, errsize, "%s: cannot be replaced by a larger one: %s",
		    p->policy, strerror(errno));
		(void)unlink(n.old);
		return RATION_ESYS;
	}
	policy_retire(seg->policy);
	(void)unlink(n.old);
	(void)munmap(seg->policy, seg->policy_bytes);
	*seg = *made;
	return 0;
}

/* The object called .old is another than the one in force: its clients have not been told. */
static void
retire_old(const struct paths *p, const char *old)
{
	struct stat a, b;
	void *map = MAP_FAILED;
	int fd = open(old, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1)
		return;
	if (fstat(fd, &a) == 0 && S_ISREG(a.st_mode) && a.st_uid == geteuid() &&
	    a.st_size >= (off_t)PAGE && stat(p->policy, &b) == 0 &&
	    (a.st_ino != b.st_ino || a.st_dev != b.st_dev))
		map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (map == MAP_FAILED)
		return;
	if (atomic_load_explicit(&((struct policy_head *)map)->magic, memory_order_acquire) ==
	    POLICY_MAGIC)
		policy_retire(map);
	(void)munmap(map, PAGE);
}

void
segment_tidy(const struct paths *p)
{
	struct side_names n;
	char counters[1300];

	name_sides(p, &n);
	retire_old(p, n.old);
	(void)unlink(n.old);
	(void)unlink(n.made);
	(void)snprintf(counters, sizeof(counters), "%s.new", p->counters);
	(void)unlink(counters);
	(void)snprintf(counters, sizeof(counters), "%s.new", p->side);
	(void)unlink(counters);
}
