/*
 * ration.c - handles: open, attach, fork, close; what errors mean.
 */
#include "ration.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "atomics.h"
#include "denials.h"
#include "holder.h"

#ifdef RATION_STEPS
_Thread_local void (*step_hook)(const char *where, const word_t *w);
#endif

#define RETRY_NS UINT64_C(100000000)

/*
 * A forked child may live in another time namespace: each handle reads it again.
 * The list is only touched by open and close; the lock is held over a fork so that
 * the child finds it whole.
 */
static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handles_once = PTHREAD_ONCE_INIT;
static struct ration *handles;

static void
before_fork(void)
{
	(void)pthread_mutex_lock(&handles_lock);
}

static void
after_fork_parent(void)
{
	(void)pthread_mutex_unlock(&handles_lock);
}

static void
after_fork_child(void)
{
	for (struct ration *r = handles; r != NULL; r = r->next) {
		clock_forked(&r->clock);
		denials_begin(r);
		/* A thread that was attaching, or noting a route, does not exist here. */
		atomic_store_explicit(&r->attaching, 0, memory_order_relaxed);
		for (unsigned i = 0; i < KNOWN; i++)
			if ((atomic_load_explicit(&r->known[i].turn, memory_order_relaxed) & 1) !=
			    0) {
				atomic_store_explicit(&r->known[i].policy, 0, memory_order_relaxed);
				atomic_fetch_add_explicit(
				    &r->known[i].turn, 1, memory_order_relaxed);
			}
	}
	(void)pthread_mutex_unlock(&handles_lock);
}

void
handle_hold_forks(void)
{
	(void)pthread_mutex_lock(&handles_lock);
}

void
handle_let_fork(void)
{
	(void)pthread_mutex_unlock(&handles_lock);
}

static void
register_fork(void)
{
	(void)pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static uint64_t
mono_coarse(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Replaced or lost: not the one to use any more. */
static bool
outdated(const struct segment *seg)
{
	return seg == NULL || segment_outdated(seg);
}

/* The memory of all segments before the last two. */
static void
blank_old(struct mapping *m)
{
	unsigned segments = 0;

	for (; m != NULL; m = m->older) {
		struct segment s = m->seg;

		segments += !m->lent;
		if (segments < 3 || m->blank)
			continue;
		if (m->lent) {
			s.head = NULL;
			s.side = NULL;
		}
		segment_blank(&s);
		m->blank = true;
	}
}

/* Is it what cur has, but for the policy?  Then seg takes the counters where they are mapped. */
static bool
same_counters(struct segment *seg, const struct segment *cur)
{
	struct segment own = *seg;

	if (cur == NULL || seg->head->id != cur->head->id || seg->bytes != cur->bytes ||
	    atomic_load_explicit(&cur->head->retired, memory_order_acquire) != 0)
		return false;
	*seg = *cur;
	segment_swap_policy(seg, &own);
	if (seg->side == NULL) { /* made since */
		seg->side = own.side;
		own.side = NULL;
	}
	own.policy = NULL; /* cur's: others may be in it */
	segment_detach(&own);
	return true;
}

static int
attach_locked(struct ration *r)
{
	struct segment *cur = atomic_load_explicit(&r->seg, memory_order_relaxed), *seg;
	struct mapping *m = calloc(1, sizeof(*m));
	struct policy_ref p;
	int e;

	if (m == NULL)
		return RATION_ENOMEM;
	seg = &m->seg;
	e = segment_attach(&r->paths, true, seg);
	if (e != 0)
		goto fail;
	if (!segment_same_boot(seg))
		e = RATION_ENOSEG; /* of a directory that outlives a boot: its clock does not */
	else if (!policy_current(seg->policy, &p))
		e = RATION_ENOTREADY;
	else if (outdated(seg))
		e = RATION_ENOTREADY; /* still the retired one */
	if (e != 0) {
		segment_detach(seg);
		goto fail;
	}
	if (same_counters(seg, cur)) {
		r->maps->lent = true;
	} else {
		seg->id = cur != NULL ? cur->id + 1 : 1;
		seg->mark = (seg->id & 0xff) << 1 | 1;
	}
	m->older = r->maps;
	r->maps = m;
	blank_old(m);
	atomic_store_explicit(&r->seg, seg, memory_order_release);
	return 0;
fail:
	free(m);
	return e;
}

static int
try_attach(struct ration *r)
{
	uint32_t zero = 0;
	int e, saved = errno;

	if (!atomic_compare_exchange_strong_explicit(
		&r->attaching, &zero, 1, memory_order_acquire, memory_order_relaxed))
		return RATION_ENOTREADY;
	e = outdated(atomic_load_explicit(&r->seg, memory_order_acquire)) ? attach_locked(r) : 0;
	atomic_store_explicit(&r->attaching, 0, memory_order_release);
	if (e != RATION_ESYS)
		errno = saved;
	return e;
}

const struct segment *
handle_reattach(struct ration *r)
{
	const struct segment *seg = atomic_load_explicit(&r->seg, memory_order_acquire);
	uint64_t now, last;

	now = mono_coarse();
	last = atomic_load_explicit(&r->last_try_ns, memory_order_relaxed);
	if (now - last < RETRY_NS ||
	    !atomic_compare_exchange_strong_explicit(
		&r->last_try_ns, &last, now, memory_order_relaxed, memory_order_relaxed))
		return seg;
	(void)try_attach(r);
	return atomic_load_explicit(&r->seg, memory_order_acquire);
}

/*
 * The first call that finds a policy replaced looks for the next one at once: a live change
 * counts from the next call.  If that fails, as for a retired segment.
 */
static const struct segment *__attribute__((noinline))
policy_moved(struct ration *r, const struct segment *seg)
{
	const struct segment *known = atomic_load_explicit(&r->moved, memory_order_relaxed);

	if (known == seg ||
	    !atomic_compare_exchange_strong_explicit(
		&r->moved, &known, seg, memory_order_relaxed, memory_order_relaxed))
		return handle_reattach(r);
	(void)try_attach(r);
	return atomic_load_explicit(&r->seg, memory_order_acquire);
}

const struct segment *
handle_current(struct ration *r)
{
	const struct segment *seg = handle_segment(r);

	if (__builtin_expect(seg != NULL && policy_retired(seg->policy), 0))
		return policy_moved(r, seg);
	return seg;
}

int
ration_attach(ration_t *r)
{
	return r == NULL ? RATION_EINVAL : try_attach(r);
}

int
ration_open_dir(const char *dir, const char *instance, unsigned flags, ration_t **out)
{
	struct ration *r;
	int e;

	if (out == NULL || (flags & ~RATION_FAIL_OPEN) != 0)
		return RATION_EINVAL;
	*out = NULL;
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return RATION_ENOMEM;
	e = paths_find(instance, dir, false, &r->paths);
	if (e != 0)
		goto fail;
	r->flags = flags;
	clock_init(&r->clock);
	denials_begin(r);
	atomic_store_explicit(&r->last_try_ns, mono_coarse(), memory_order_relaxed);
	/* An object that is being replaced is there again within moments. */
	for (unsigned tries = 0; (e = try_attach(r)) == RATION_ENOTREADY && tries < 50; tries++)
		(void)nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
	if (e != 0 && (flags & RATION_FAIL_OPEN) == 0)
		goto fail;
	(void)pthread_once(&handles_once, register_fork);
	(void)pthread_mutex_lock(&handles_lock);
	r->next = handles;
	handles = r;
	(void)pthread_mutex_unlock(&handles_lock);
	*out = r;
	return 0;
fail:
	free(r);
	return e;
}

int
ration_open(const char *instance, unsigned flags, ration_t **out)
{
	return ration_open_dir(NULL, instance, flags, out);
}

void
ration_close(ration_t *r)
{
	struct mapping *m;

	if (r == NULL)
		return;
	(void)pthread_mutex_lock(&handles_lock);
	for (struct ration **p = &handles; *p != NULL; p = &(*p)->next)
		if (*p == r) {
			*p = r->next;
			break;
		}
	(void)pthread_mutex_unlock(&handles_lock);
	holder_close(r);
	while ((m = r->maps) != NULL) {
		r->maps = m->older;
		if (m->lent) {
			m->seg.head = NULL;
			m->seg.side = NULL;
		}
		segment_detach(&m->seg);
		free(m);
	}
	free(r);
}

const char *
ration_strerror(int error)
{
	switch (error) {
	case RATION_ADMITTED:
		return "admitted";
	case RATION_DENIED:
		return "denied";
#define X(name, value, text) \
	case name: \
		return text;
		RATION_ERRORS(X)
#undef X
	default:
		return "unknown error";
	}
}

#define STR_(x) #x
#define STR(x) STR_(x)

const char *
ration_version(void)
{
	return STR(RATION_VERSION_MAJOR) "." STR(RATION_VERSION_MINOR) "." STR(
	    RATION_VERSION_PATCH);
}
