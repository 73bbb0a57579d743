#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "queue.h"

#define SECOND_NS INT64_C(1000000000)
#define HEAD_BYTES 4096u
/* Below this Unix time slews along; published all the same once it adds up. */
#define SLEW_NS INT64_C(1000000)
#define STEP_NS (SECOND_NS / 2)

/*
 * A table is gone over once in 10 s, with at most 0.5 % of a processor.  Calls that found no
 * room are worth more.
 */
#define SLICE 1024u
#define CALM_TICKS 100u
#define CALM_NS UINT64_C(500000)
#define URGENT_TICKS 5u
#define URGENT_NS UINT64_C(15000000)

/* ---- attaching and creating ---- */

/*
 * The head of a segment that we do not understand: its first 64 bytes mean the same in every
 * layout version.
 */
static struct seg_head *
map_head(const char *path)
{
	struct stat st;
	void *map = MAP_FAILED;
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	    st.st_size >= (off_t)sizeof(struct seg_head))
		map = mmap(NULL, HEAD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	return map == MAP_FAILED ? NULL : map;
}

/*
 * Tell clients of a segment that it is being replaced.  They go on deciding in it until the
 * next one has a policy, so it is told before the next one is made: a kill in between
 * leaves nobody behind.  0 takes it back.
 */
static void
retire(const char *path, uint32_t retired)
{
	struct seg_head *h = map_head(path);

	if (h == NULL)
		return;
	if (atomic_load_explicit(&h->magic, memory_order_acquire) == COUNTERS_MAGIC)
		atomic_store_explicit(&h->retired, retired, memory_order_release);
	(void)munmap(h, HEAD_BYTES);
}

/* Group and mode as the policy now says; the objects may be older than that. */
static void
set_access(const char *path, mode_t mode, gid_t gid)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd == -1 || (gid != (gid_t)-1 && fchown(fd, (uid_t)-1, gid) != 0) ||
	    fchmod(fd, mode) != 0)
		log_warn("%s: cannot set group or mode: %s", path, strerror(errno));
	if (fd != -1)
		(void)close(fd);
}

void
keeper_settings(struct keeper *k, const struct paths *p, const struct config_table *t, gid_t gid)
{
	k->idle_ns = t->idle_ns;
	k->gid = gid;
	set_access(p->counters, 0660, gid);
	set_access(p->policy, 0644, gid);
	set_access(p->side, 0660, gid);
	if (t->keys != k->seg.nslots)
		log_warn(
		    "table.keys is %llu, the segment was made for %llu and is kept: to change it, "
		    "stop rationd and its clients and remove %s",
		    (unsigned long long)t->keys, (unsigned long long)k->seg.nslots, p->counters);
	if (t->cells > k->seg.cells)
		log_warn(
		    "table.rates is %u, the segment was made for %u and is kept: to change it, "
		    "stop rationd and its clients and remove %s",
		    t->cells, k->seg.cells, p->counters);
}

/*
 * Re-attach.  1: done; 0: none that can be used, *why says what was wrong with it ("" for
 * none at all); -1: it is not ours to replace.
 */
static int
reattach(struct keeper *k, const struct paths *p, bool sandbox, char *why, size_t size)
{
	int e = segment_attach_owner(p, &k->seg, why, size);

	if (e == RATION_EOWNER || e == RATION_EPERM || e == RATION_ESYS)
		return -1;
	if (e == RATION_ENOSEG && access(p->counters, F_OK) != 0) {
		why[0] = '\0';
		return 0;
	}
	if (e != 0) {
		(void)snprintf(why, size, "%s", ration_strerror(e));
		return 0;
	}
	if (!segment_same_boot(&k->seg))
		(void)snprintf(why, size, "it is from before the last boot");
	else if (!sandbox &&
	    atomic_load_explicit(&k->seg.policy->test_offset_ns, memory_order_relaxed) != 0)
		(void)snprintf(why, size, "its clock was moved by a sandbox");
	else if (segment_outdated(&k->seg))
		(void)snprintf(why, size, "it was about to be replaced already");
	else
		return 1;
	segment_detach(&k->seg);
	return 0;
}

static int
create(struct keeper *k, const struct paths *p, const struct config_table *t, gid_t gid,
    const char *why, char *err, size_t errsize)
{
	struct segment_size size = {
		.nslots = t->keys, .cells = t->cells, .policy_bytes = t->policy_bytes
	};

	if (why[0] != '\0') {
		log_warn("%s: the segment cannot be used: %s; a new one replaces it, usage "
			 "starts from what is written down of days and months",
		    p->counters, why);
		retire(p->counters, 1);
	}
	if (segment_create(p, &size, (unsigned)gid, &k->seg, err, errsize) == 0) {
		/* The numbers of those who hold leases in the one before are locked still. */
		atomic_store_explicit(
		    &k->seg.head->holders, k->seg.head->id & HOLDER_MASK, memory_order_relaxed);
		return 0;
	}
	if (why[0] != '\0')
		retire(p->counters, 0);
	return -1;
}

int
keeper_open(struct keeper *k, const struct paths *p, const struct config_table *t, gid_t gid,
    bool sandbox, char *err, size_t errsize)
{
	char why[512] = "";
	int e;

	memset(k, 0, sizeof(*k));
	clock_init(&k->clock);
	k->paths = p;
	k->gid = gid;
	segment_tidy(p);
	e = reattach(k, p, sandbox, why, sizeof(why));
	if (e < 0) {
		(void)snprintf(err, errsize, "%s", why);
		return -1;
	}
	k->attached = e > 0;
	if (!k->attached && create(k, p, t, gid, why, err, errsize) != 0)
		return -1;
	if (k->seg.side == NULL && segment_side_make(p, (unsigned)gid, &k->seg, err, errsize) != 0)
		return -1;
	keeper_settings(k, p, t, gid);
	atomic_store_explicit(&k->seg.policy->sandbox, sandbox ? 1 : 0, memory_order_relaxed);
	atomic_store_explicit(&k->seg.head->daemon_pid, (uint64_t)getpid(), memory_order_relaxed);
	(void)keeper_real_time(k);
	return 0;
}

void
keeper_close(struct keeper *k)
{
	if (k->seg.head == NULL)
		return;
	keeper_forget(k);
	atomic_store_explicit(&k->seg.head->daemon_pid, 0, memory_order_relaxed);
	segment_detach(&k->seg);
}

/* ---- time ---- */

uint64_t
keeper_shared(struct keeper *k)
{
	return clock_precise(&k->clock, k->seg.policy);
}

int64_t
keeper_now(struct keeper *k)
{
	return clock_unix(k->seg.policy, keeper_shared(k)) / SECOND_NS;
}

int64_t
keeper_real_is(struct keeper *k, int64_t shared_ns, int64_t real_ns)
{
	struct policy_head *h = k->seg.policy;
	int64_t offset = real_ns - shared_ns;
	int64_t moved = offset - atomic_load_explicit(&h->real_offset_ns, memory_order_relaxed);

	/* Every call reads this line: it is left alone while it is right. */
	if (moved > -SLEW_NS && moved < SLEW_NS)
		return 0;
	atomic_store_explicit(&h->real_offset_ns, offset, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->clock_generation, 1, memory_order_release);
	return moved > -STEP_NS && moved < STEP_NS ? 0 : moved;
}

/* Both clocks, one between two readings of the other: a pause in between is no step. */
int64_t
keeper_real_time(struct keeper *k)
{
	int64_t advance =
	    atomic_load_explicit(&k->seg.policy->test_offset_ns, memory_order_relaxed);
	int64_t before, after;
	struct timespec real;

	for (int tries = 0;; tries++) {
		before = (int64_t)keeper_shared(k);
		(void)clock_gettime(CLOCK_REALTIME, &real);
		after = (int64_t)keeper_shared(k);
		if (after - before < SLEW_NS / 2 || tries == 8)
			break;
	}
	return keeper_real_is(k, before + (after - before) / 2 - advance,
	    (int64_t)real.tv_sec * SECOND_NS + real.tv_nsec);
}

void
keeper_advance(struct keeper *k, uint64_t ns)
{
	struct policy_head *h = k->seg.policy;

	atomic_fetch_add_explicit(&h->test_offset_ns, (int64_t)ns, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->clock_generation, 1, memory_order_release);
	queue_wake_all(&k->seg);
}

/* ---- policy ---- */

/* Into the area after the current one's of seg. */
static int
compile_into(struct keeper *k, const struct segment *seg, const struct config *c,
    const struct change *changes, size_t n, struct mistakes *m)
{
	struct policy_ref current;
	bool known = keeper_policy(k, &current);
	uint32_t version;
	void *area = policy_begin(seg->policy, &version);
	int e = config_compile(c, changes, n, known ? current.area : NULL, k->seg.cells,
	    keeper_now(k), area, seg->policy->area_bytes, version, m);

	k->pending = e == 0 ? version : 0;
	return e;
}

/* The policy has outgrown its object. */
static int
compile_larger(struct keeper *k, const struct config *c, const struct change *changes, size_t n,
    struct mistakes *m)
{
	uint64_t bytes = 2 * k->seg.policy->area_bytes;
	struct config_table t;
	char err[1600];
	int e;

	config_table(c, &t);
	if (bytes < t.policy_bytes)
		bytes = t.policy_bytes;
	for (;; bytes *= 2) {
		if (k->larger.policy == NULL || k->larger.policy->area_bytes < bytes) {
			segment_policy_drop(k->paths, &k->larger);
			if (segment_policy_make(k->paths, &k->seg, bytes, (unsigned)k->gid,
				&k->larger, err, sizeof(err)) != 0) {
				mistakes_add(m, "%s", err);
				return -1;
			}
		}
		e = compile_into(k, &k->larger, c, changes, n, m);
		if (e != CONFIG_NO_ROOM || bytes > POLICY_MAX / 2)
			return e;
		free(m->text[--m->n]);
	}
}

int
keeper_compile(struct keeper *k, const struct config *c, const struct change *changes, size_t n,
    struct mistakes *m)
{
	int e = compile_into(k, &k->seg, c, changes, n, m);

	k->pending_larger = e == CONFIG_NO_ROOM;
	if (e == CONFIG_NO_ROOM) {
		free(m->text[--m->n]);
		e = compile_larger(k, c, changes, n, m);
	}
	return e == 0 ? 0 : -1;
}

bool
keeper_pending(const struct keeper *k, struct policy_ref *out)
{
	const struct policy_head *h = k->pending_larger ? k->larger.policy : k->seg.policy;

	if (k->pending == 0)
		return false;
	out->head = h;
	out->area = (const void *)((const char *)h + h->area_off[k->pending & 1]);
	out->area_bytes = h->area_bytes;
	out->version = k->pending;
	return true;
}

void
keeper_publish(struct keeper *k)
{
	char err[1600];

	if (k->pending == 0)
		return;
	if (!k->pending_larger) {
		policy_publish(k->seg.policy, k->pending);
	} else {
		policy_publish(k->larger.policy, k->pending);
		if (segment_policy_switch(k->paths, &k->seg, &k->larger, err, sizeof(err)) == 0) {
			log_note("the policy has outgrown its object: moved to one of %llu bytes",
			    (unsigned long long)k->seg.policy_bytes);
			k->larger.policy = NULL;
		} else {
			log_error("%s; the change applies after a restart", err);
		}
	}
	k->pending = 0;
	queue_wake_all(&k->seg);
}

void
keeper_forget(struct keeper *k)
{
	k->pending = 0;
	segment_policy_drop(k->paths, &k->larger);
}

bool
keeper_policy(const struct keeper *k, struct policy_ref *out)
{
	return policy_current(k->seg.policy, out);
}

/* ---- housekeeping ---- */

static void
seen_by_all(void *arg, const struct segment *seg, uint64_t slot)
{
	const struct keeper *k = arg;

	for (unsigned i = 0; i < k->nbooks; i++)
		if (k->books[i].seen != NULL)
			k->books[i].seen(k->books[i].arg, seg, slot);
}

/* All are asked, also when one says no: each has something to note. */
static bool
freed_by_all(void *arg, const struct segment *seg, uint64_t slot)
{
	const struct keeper *k = arg;
	bool may = true;

	for (unsigned i = 0; i < k->nbooks; i++)
		if (k->books[i].may_free != NULL)
			may = k->books[i].may_free(k->books[i].arg, seg, slot) && may;
	return may;
}

bool
keeper_subscribe(struct keeper *k, const struct sweep_hooks *hooks)
{
	if (k->nbooks == KEEPER_BOOKS)
		return false;
	k->books[k->nbooks++] = *hooks;
	k->sweep.hooks =
	    (struct sweep_hooks) { .seen = seen_by_all, .may_free = freed_by_all, .arg = k };
	return true;
}

void
keeper_free(struct keeper *k, uint64_t slot)
{
	uint64_t now = keeper_shared(k);

	table_sweep_one(&k->seg, &k->sweep, slot, now, clock_unix(k->seg.policy, now));
}

static uint64_t
cpu_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * (uint64_t)SECOND_NS + (uint64_t)t.tv_nsec;
}

/* What a whole round counted. */
static void
round_ended(struct keeper *k)
{
	k->live = k->sweep.live;
	atomic_store_explicit(&k->seg.head->live, k->live, memory_order_relaxed);
	for (uint32_t i = 0; i < LIMITS_MAX; i++)
		if (atomic_load_explicit(&k->seg.limits[i].keys, memory_order_relaxed) !=
		    k->sweep.per_limit[i])
			atomic_store_explicit(
			    &k->seg.limits[i].keys, k->sweep.per_limit[i], memory_order_relaxed);
	k->pressed = k->live > k->seg.nslots / 8 * 7;
	k->urgent = false;
	k->sweep = (struct sweep) { .hooks = k->sweep.hooks };
	k->rounds++;
}

static uint64_t
newly_full(struct keeper *k)
{
	uint64_t full = atomic_load_explicit(&k->seg.head->full_admit, memory_order_relaxed) +
	    atomic_load_explicit(&k->seg.head->full_deny, memory_order_relaxed);
	uint64_t more = full > k->full ? full - k->full : 0; /* anybody may write there */

	k->full = full;
	return more;
}

uint64_t
keeper_tick(struct keeper *k)
{
	uint64_t full = newly_full(k), now = keeper_shared(k), start = cpu_ns(), todo, budget;
	int64_t unix_ns = clock_unix(k->seg.policy, now);

	atomic_store_explicit(&k->seg.head->daemon_beat, now, memory_order_relaxed);
	if (full > 0)
		k->pressed = k->urgent = true;
	if (k->held)
		return full;
	todo = k->seg.nslots / (k->urgent ? URGENT_TICKS : CALM_TICKS) + 1;
	budget = k->urgent ? URGENT_NS : CALM_NS;
	while (todo > 0) {
		uint64_t n = todo < SLICE ? todo : SLICE;

		if (table_sweep(&k->seg, &k->sweep, n, now, unix_ns, k->pressed ? 0 : k->idle_ns)) {
			round_ended(k);
			break;
		}
		todo -= n;
		if (cpu_ns() - start > budget)
			break;
	}
	return full;
}
