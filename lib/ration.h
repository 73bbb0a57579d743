/*
 * ration.h - rate limits and quotas shared by all processes of a host.
 *
 * A call decides in shared memory: no socket, no lock, no allocation and no
 * system call.  rationd(8) owns the segment and the policy; this library
 * attaches to it.  Everything here can be called through a C FFI: functions,
 * integers and fixed-size structs only.
 *
 * Returned values, everywhere: RATION_ADMITTED (1), RATION_DENIED (0), or a
 * negative RATION_E... code.  A denial is an answer, not an error.
 *
 * Concurrency, everywhere: a ration_t may be used by any number of threads at
 * once and in forked children.  Each acquire is lock-free: a stopped or killed
 * caller never makes another one wait.  Structs passed in belong to the caller.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#ifndef RATION_H
#define RATION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library hides everything else. */
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define RATION_VERSION_MAJOR 0
#define RATION_VERSION_MINOR 1
#define RATION_VERSION_PATCH 0

#define RATION_ADMITTED 1
#define RATION_DENIED 0

/*
 * Errors: name, value, what it says.  One list; ration_strerror() and the
 * manual are made from it.
 */
#define RATION_ERRORS(X) \
	X(RATION_EINVAL, -1, "invalid argument") \
	X(RATION_ENOSEG, -2, \
	    "no segment of this instance: is rationd running? start it with: rationd") \
	X(RATION_EPERM, -3, "no permission for the segment: join its group") \
	X(RATION_ELAYOUT, -4, \
	    "the segment was made by another layout version: update rationd and libration " \
	    "together") \
	X(RATION_ENOTREADY, -5, "the segment is still being made: try again") \
	X(RATION_EBADSEG, -6, "the segment is damaged or truncated: restart rationd") \
	X(RATION_EOWNER, -7, \
	    "the segment belongs to a stranger or is open to the world: not trusted") \
	X(RATION_ENOLIMIT, -8, "no such limit in the policy") \
	X(RATION_EKEY, -9, "key is empty or longer than 255 bytes") \
	X(RATION_ECOST, -10, "cost is above 10^12") \
	X(RATION_EDETACHED, -11, "not attached to a segment") \
	X(RATION_EBUSY, -12, "gave up after too many retries") \
	X(RATION_ENOMEM, -13, "out of memory") \
	X(RATION_ESYS, -14, "system call failed, see errno") \
	X(RATION_ESTALE, -15, "the units are no longer there to give back") \
	X(RATION_ELEASE, -16, "the limit is of leases: take one with ration_lease()") \
	X(RATION_ERATE, -17, "the limit is of rates: take units with ration_acquire()") \
	X(RATION_EQUEUE, -18, "too many waiters") \
	X(RATION_EVALUE, -19, "the limit has no value for this key") \
	X(RATION_EADDRESS, -20, "not an IP address") \
	X(RATION_EFULL, -21, "too many upstreams")

enum ration_error {
#define X(name, value, text) name = value,
	RATION_ERRORS(X)
#undef X
};

#define RATION_KEY_MAX 255u              /* bytes of a key */
#define RATION_NAME_MAX 63u              /* bytes of a limit's name */
#define RATION_COST_MAX 1000000000000ull /* units of one call */
#define RATION_UNLIMITED UINT64_MAX      /* limit_units and remaining of "unlimited" */
#define RATION_NEVER INT64_C(-1)         /* retry_at: no waiting helps */
#define RATION_CLAIMS_MAX 8u             /* limits in one call */
#define RATION_RATES_MAX 4u              /* rates of one limit */
#define RATION_DECISION_RATES 16u        /* rates in one decision */

#define RATION_ATTRS_MAX 16u     /* attributes of one request */
#define RATION_METHOD_MAX 31u    /* bytes of a request's method */
#define RATION_PATH_MAX 4096u    /* bytes of a request's path, its query aside */
#define RATION_TTL_MAX 32400000u /* ms that a lease may last unless renewed: 9 h */
#define RATION_ADDRESS_MAX 46u   /* bytes of an address as text, NUL included */

/* ration_open() flags */
#define RATION_FAIL_OPEN 1u /* without a segment: succeed, admit, mark RATION_F_DEGRADED */

/* Kinds of rate */
#define RATION_SLIDING 1u
#define RATION_FIXED 2u
#define RATION_DAY 3u
#define RATION_MONTH 4u
#define RATION_BUCKET 5u
#define RATION_CONCURRENT 6u
#define RATION_COUNT_ONLY 7u /* unlimited */

/* Decision flags */
#define RATION_F_DEGRADED 1u   /* admitted without looking: no segment (fail open) */
#define RATION_F_OBSERVED 2u   /* a limit in mode observe would have denied */
#define RATION_F_TABLE_FULL 4u /* no room for the key: when_full decided */
#define RATION_F_OFF 8u        /* a limit of the call is in mode off */
#define RATION_F_DEBT 16u      /* more is used than the limit allows now */
#define RATION_F_EXEMPT 32u    /* the policy exempts who asks: nothing was counted */
#define RATION_F_UNROUTED 64u  /* no route, or none of its attributes: nothing was counted */
#define RATION_F_PAUSED 128u   /* denied by a day's or month's cap: paused until retry_at */

/* Why no waiting helps, or which event to wait for */
#define RATION_R_NONE 0u
#define RATION_R_COST 1u     /* the cost is above the limit */
#define RATION_R_ZERO 2u     /* the limit is 0 */
#define RATION_R_RELEASE 3u  /* a lease must be released */
#define RATION_R_FULL 4u     /* the table is full and when_full is deny */
#define RATION_R_UNLISTED 5u /* the limit refuses keys that the policy does not list */
#define RATION_R_QUEUE 6u    /* others wait for it, and the limit's queue is strict */

/* ration_wait(), ration_book() flags */
#define RATION_SPREAD 1u /* one after the other at the limit's pace, not in bursts */

typedef struct ration ration_t;

/* The figures of one rate of one limit. */
#define RATION_RATE_FIGURES \
	uint64_t used;        /* units in the window, this call's included when admitted */ \
	uint64_t remaining;   /* units a caller could still take; RATION_UNLIMITED */ \
	int64_t reset_at;     /* Unix s, rounded up: all that is used now has come back */ \
	int64_t retry_at;     /* Unix s, rounded up: 0 = now, RATION_NEVER = see reason */ \
	uint64_t limit_units; /* units a window, or the bucket's burst; RATION_UNLIMITED */ \
	uint64_t rate_units;  /* a bucket: units a window_ns; else as limit_units */ \
	uint64_t window_ns;   /* length of the window; a month: nominal */ \
	uint8_t kind;         /* RATION_SLIDING ... */ \
	uint8_t level;        /* 0, 60, 80, 95 or 100: percent of limit_units reached */ \
	uint8_t claim;        /* which claim of the call this rate belongs to */ \
	uint8_t reason;       /* RATION_R_... when retry_at is RATION_NEVER */ \
	uint32_t reserved;

typedef struct ration_rate {
	RATION_RATE_FIGURES
} ration_rate_t;

/* Where the units of one rate were charged; ration_refund() reads it.  Opaque. */
typedef struct ration_receipt {
	uint64_t where;
	uint32_t slot;
	uint32_t birth;
	uint64_t units;
} ration_receipt_t;

/*
 * A decision.  Set .size = sizeof(ration_decision_t) once (RATION_DECISION_INIT);
 * all else is filled in by the call.  rates[0..nrates-1] holds every rate of the call.
 * The first is the one that decided: of a denial the one with the latest retry, else
 * the one with the least remaining; its figures have the short names too: d.used is
 * d.rates[0].used.  With nrates 0 (degraded, off) they say unlimited.
 */
typedef struct ration_decision {
	uint32_t size;
	int32_t verdict; /* RATION_ADMITTED or RATION_DENIED */
	uint32_t flags;  /* RATION_F_... */
	uint16_t nrates;
	uint16_t nreceipts;
	uint64_t cost;        /* of the claim that decided */
	int64_t now;          /* Unix s, rounded down, that the decision was made at */
	uint32_t retry_after; /* s: retry_at - now; 0 when there is none */
	uint32_t policy_version;
	uint32_t segment_id;                  /* which mapping of the handle was charged */
	uint32_t limit_id[RATION_CLAIMS_MAX]; /* for ration_limit_name() */
	uint32_t reserved0;
	union {
		struct {
			RATION_RATE_FIGURES
		};
		ration_rate_t rates[RATION_DECISION_RATES];
	};
	ration_receipt_t receipts[RATION_DECISION_RATES];
} ration_decision_t;

#ifdef __cplusplus
#define RATION_DECISION_INIT \
	{ \
		sizeof(ration_decision_t) \
	}
#else
#define RATION_DECISION_INIT \
	{ \
		.size = sizeof(ration_decision_t) \
	}
#endif

/* One limit of a call.  .size = sizeof(ration_claim_t). */
typedef struct ration_claim {
	size_t size;
	const char *limit; /* name, NUL-terminated */
	const void *key;   /* any bytes */
	size_t key_len;    /* 1..RATION_KEY_MAX */
	uint64_t cost;     /* units, 0..RATION_COST_MAX; 0 only looks */
} ration_claim_t;

/*
 * A key resolved once.  Made by ration_key(); the caller owns it and may copy
 * it.  It stays valid while its ration_t is open: over policy changes, over a
 * restart of rationd, and when the key's slot was reused meanwhile.
 * Not to be used by two threads at once: give each its own.
 */
typedef struct ration_key {
	uint32_t size;
	uint32_t segment_id;
	uint32_t slot;
	uint32_t birth;
	/* What the last call found: compared before each use. */
	uint64_t at, state, word, policy_word, from_ns, span_ns, start_ns, sub_ns, conv, tag, now;
	uint64_t head[2], receipt[2], answer[6]; /* parts of its answer */
	uint16_t key_len;
	uint16_t limit_len;
	uint32_t reserved;
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
} ration_key_t;

/* An attribute of a request: who or what asks.  .size = sizeof(ration_attr_t). */
typedef struct ration_attr {
	size_t size;
	const char *name;  /* as in the policy: "key", "ip"; NUL-terminated */
	const void *value; /* any bytes */
	size_t len;
} ration_attr_t;

/*
 * A lease that is held.  Plain data: it may be copied, stored, and released by another
 * process of the host.  All zero: none.
 */
typedef struct ration_lease {
	uint32_t size;
	uint32_t place; /* which permit of the slot */
	uint32_t slot;
	uint32_t birth;
	uint64_t word;    /* what stands in the permit while it is held; 0: nothing to release */
	uint64_t segment; /* random number of the segment it is of */
} ration_lease_t;

/*
 * A place in the queue of a key.  .size = sizeof(ration_booking_t), all else zero before the
 * first ration_book().  Belongs to the process and thread that made it.
 */
typedef struct ration_booking {
	uint32_t size;
	uint32_t queue;  /* number + 1; 0: in no queue */
	uint32_t ticket; /* in that queue */
	uint32_t slot;
	uint32_t birth;
	uint32_t reserved;
	uint64_t segment;
	uint64_t at_ns; /* CLOCK_MONOTONIC: when to ask again; 0: nothing is booked */
} ration_booking_t;

/* One header of an HTTP answer, both NUL-terminated.  .size = sizeof(ration_header_t). */
typedef struct ration_header {
	size_t size;
	char name[40];
	char value[1024];
} ration_header_t;

/*
 * Open an instance.
 * instance: NULL for $RATION_INSTANCE or "default"; 1..32 of [A-Za-z0-9._-].
 * flags: 0 or RATION_FAIL_OPEN.
 * The objects are looked for in $RATION_DIR if set; else in
 * $XDG_RUNTIME_DIR/ration if the instance is there; else in /dev/shm.
 * Returns 0 and *out, or RATION_ENOSEG, _EPERM, _ELAYOUT, _ENOTREADY,
 * _EBADSEG, _EOWNER, _EINVAL, _ENOMEM, _ESYS.  With RATION_FAIL_OPEN only
 * _EINVAL and _ENOMEM; later calls admit, marked RATION_F_DEGRADED, and look
 * for the segment at most once in 100 ms.
 */
int ration_open(const char *instance, unsigned flags, ration_t **out);

/* As ration_open(), in directory dir (as $RATION_DIR); NULL looks as above. */
int ration_open_dir(const char *dir, const char *instance, unsigned flags, ration_t **out);

/*
 * Close; no other thread may be in a call with r.  NULL is allowed.  Leases of this process that
 * were taken with r and not for longer (ration_lease_named()) end.
 */
void ration_close(ration_t *r);

/*
 * Attach now if detached, or if the segment was replaced.
 * Returns 0 when attached, else as ration_open().
 */
int ration_attach(ration_t *r);

/*
 * Take cost units of a limit for a key.
 * limit, key: NUL-terminated (ration_acquire_all takes any bytes).
 * cost: units, 0..RATION_COST_MAX; 0 decides nothing but looks.
 * d: filled in; NULL if only the verdict is wanted.
 * All rates of the limit are charged or none; a denial charges nothing.
 * Lock-free, at most one precise clock reading when admitted.
 * Returns RATION_ADMITTED, RATION_DENIED, RATION_ENOLIMIT, _EKEY, _ECOST,
 * _EINVAL, _EDETACHED, _EBUSY.
 */
int ration_acquire(
    ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d);

/*
 * Take units of several limits, all or nothing.
 * claims: n of them, 1..RATION_CLAIMS_MAX, at most RATION_DECISION_RATES rates
 * in sum.  Looks at every existing key before a new one is added.
 */
int ration_acquire_all(ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d);

/* The answer that ration_acquire() would give; charges and adds nothing. */
int ration_peek(
    ration_t *r, const char *limit, const char *key, uint64_t cost, ration_decision_t *d);
int ration_peek_all(ration_t *r, const ration_claim_t *claims, size_t n, ration_decision_t *d);

/*
 * Give back `units` of each rate that d charged: never more than d charged, never
 * below zero.  A second call with the same d gives back again: count for yourself.
 * A lease that d took is given back too, unless units is 0.
 * A bucket's units come back by themselves in the order in which they were taken, and
 * what has come back is not given back once more.
 * After the window's end, a reset, a change of window or algorithm, or the reuse
 * of the slot there is nothing to give back.
 * Returns 0, RATION_ESTALE when nothing was given back, RATION_EINVAL,
 * _EDETACHED, _EBUSY.
 */
int ration_refund(ration_t *r, const ration_decision_t *d, uint64_t units);

/*
 * Resolve a key once, for ration_key_acquire().  Adds nothing to the table.
 * key: len bytes, 1..RATION_KEY_MAX, copied.
 * Returns 0, RATION_ENOLIMIT, _EKEY, _EINVAL, _EDETACHED.
 */
int ration_key(ration_t *r, const char *limit, const void *key, size_t len, ration_key_t *out);

/* As ration_acquire() and ration_peek(), without the search. */
int ration_key_acquire(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d);
int ration_key_peek(ration_t *r, ration_key_t *k, uint64_t cost, ration_decision_t *d);

/*
 * Take the units that the policy's route for this request takes: of several limits, all or
 * nothing, each for the attribute that is its key.
 * method, path: NUL-terminated, as they came in; a query (?...) is cut off, %-escapes are
 * understood, empty segments, "." and ".." are resolved.
 * attrs: n of them, 0..RATION_ATTRS_MAX, of different names; limits whose attribute is not
 * among them are left out.  An attribute that the policy takes for an address is cut to the
 * limit's prefix (IPv4 /32, IPv6 /64) before it is a key.
 * cost: of the limits whose cost the policy does not fix, as ration_acquire().
 * A concurrency limit of the route takes a lease, which ration_decision_lease() gives.
 * Exempt: if any key or address of the call is exempt, it is admitted, marked
 * RATION_F_EXEMPT.  No route: admitted, marked RATION_F_UNROUTED.
 * Returns as ration_acquire(); RATION_EINVAL also for methods and paths that are too long;
 * RATION_EADDRESS: an attribute that is to be an address is none.
 */
int ration_route(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d);
/* The answer that ration_route() would give; charges and adds nothing. */
int ration_route_peek(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d);

/*
 * The call of d was charged an estimate; what it really cost is known now.  For each
 * limit whose cost was the caller's (a route may fix others): the difference is given back
 * to where it was charged, or charged now, even above the limit (RATION_F_DEBT).  d then
 * says what is charged, so it may be settled again.  A process that dies before leaves
 * its estimate.  Only the caller's thread uses d meanwhile.
 * real_cost: units, 0..RATION_COST_MAX.
 * Returns 0; RATION_ESTALE when something was not there any more: what was to be given back, a
 * key, or its limit (the others are settled); RATION_EINVAL, _ECOST, _EDETACHED, _EBUSY.
 */
int ration_settle(ration_t *r, ration_decision_t *d, uint64_t real_cost);

/*
 * Take one of a key's permits of a concurrency limit ("5 concurrent"), until it is released,
 * the process ends (however: exit, exec, SIGKILL), or ttl_ms have passed.
 * key: len bytes.  ttl_ms: 0: no time limit; else at most RATION_TTL_MAX, and rounded up by at
 * most 1/32 + 34 ms; RATION_EINVAL above that.
 * lease: filled in when admitted.  d: filled in; may be NULL.  used counts what is held.
 * retry_at of a denial: when the first lease with a time to live ends, else RATION_NEVER
 * with RATION_R_RELEASE.
 * Where nothing is held (an unlimited rate, mode off or observe, a full table, no segment)
 * lease->word is 0: it is released like any other.
 * The first lease of a process makes system calls (it opens a lock file); later ones none,
 * but before a denial, when dead holders are looked for: then some for each holder.
 * A lease belongs to the process, not to the thread; a forked child has none of them.
 * Returns as ration_acquire(); RATION_ERATE: not a concurrency limit; RATION_ESYS.
 */
int ration_lease(ration_t *r, const char *limit, const void *key, size_t len, uint64_t ttl_ms,
    ration_lease_t *lease, ration_decision_t *d);
/*
 * As ration_lease(), but it stays until it is released, over the end of the process, restarts
 * of rationd and of the host (rationd records it within a second).  name: len bytes,
 * 0..RATION_KEY_MAX, by which ration_release_named() finds it; leases may share one.
 */
int ration_lease_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len, ration_lease_t *lease, ration_decision_t *d);
/*
 * Give a lease back, and clear *lease.  Any process may.  Lock-free; one system call when
 * somebody waits for it.  Once: a copy of it, or a refund of the decision that took it, ends
 * another lease if this process has taken the same permit again within 34 ms. Returns 0;
 * RATION_ESTALE: it had ended already; RATION_EINVAL, _EDETACHED.
 */
int ration_release(ration_t *r, ration_lease_t *lease);
/* Give back one lease of that name.  RATION_ESTALE: there is none. */
int ration_release_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len);
/* From now on ttl_ms (0: no time limit).  0, or as ration_release(). */
int ration_renew(ration_t *r, ration_lease_t *lease, uint64_t ttl_ms);
/*
 * The lease that claim `claim` of an admitted ration_route() or ration_acquire_all() took.
 * Returns 0; RATION_ESTALE: it took none.
 */
int ration_decision_lease(
    ration_t *r, const ration_decision_t *d, unsigned claim, ration_lease_t *lease);

struct timespec;

/*
 * As ration_acquire(), but wait until admitted.  First come, first served among those who
 * wait for the key on this host; one who does not take his turn within 50 ms is passed
 * over.  Blocks in futex(2).
 * flags: 0, or RATION_SPREAD: not more often than the limit's units spread evenly over its
 * window ("60/min": one each second).
 * deadline: CLOCK_MONOTONIC; NULL: none.  Past: one try.
 * Returns RATION_ADMITTED; RATION_DENIED at the deadline, or at once when no waiting helps or
 * the retry would be after it; or as ration_acquire(); RATION_EQUEUE.
 */
int ration_wait(ration_t *r, const char *limit, const void *key, size_t len, uint64_t cost,
    unsigned flags, const struct timespec *deadline, ration_decision_t *d);
/* The same for a lease, as ration_lease(). */
int ration_lease_wait(ration_t *r, const char *limit, const void *key, size_t len, uint64_t ttl_ms,
    unsigned flags, const struct timespec *deadline, ration_lease_t *lease, ration_decision_t *d);

/*
 * ration_wait() for event loops: takes a place in the key's queue, and never blocks.
 * RATION_ADMITTED: it is charged, go; the booking is over.  RATION_DENIED: wait until
 * b->at_ns, then call again with the same booking; who comes more than 50 ms late may have
 * been passed over, and goes to the end.  b->at_ns 0 with RATION_DENIED: no waiting helps.
 * Other values: as ration_wait(); the booking is over.
 */
int ration_book(ration_t *r, const char *limit, const void *key, size_t len, uint64_t cost,
    unsigned flags, ration_booking_t *b, ration_decision_t *d);
/* Leave the queue.  0; RATION_EINVAL. */
int ration_cancel(ration_t *r, ration_booking_t *b);

/*
 * The value of an entitlement ("24 months") for a key, as text into buf of size bytes.
 * Returns its length as snprintf(), RATION_ENOLIMIT, _EVALUE (none for this key, or the limit is
 * counted), _EKEY, _EINVAL, _EDETACHED, _EBUSY.
 */
int ration_value(
    ration_t *r, const char *limit, const void *key, size_t len, char *buf, size_t size);

/*
 * The client's address, canonical: IPv4 dotted, IPv6 by RFC 5952, IPv4-mapped IPv6 as IPv4.
 * peer: the connection's address, with or without its port.  x_forwarded_for, forwarded: those
 * headers' values (of several lines joined with ", "), NULL: none; better only the one that
 * the proxies write.  While the address at hand is one of the policy's `proxies`, the next one is
 * taken from the right of the headers.  What is no address ends that, and so does a proxy that
 * hides it; also two headers that disagree: a proxy passes on what it does not write, so one of
 * them is the client's invention.
 * buf: of size bytes, RATION_ADDRESS_MAX are enough.
 * Returns the length, RATION_EADDRESS when peer is none, RATION_EINVAL.  Detached: peer.
 */
int ration_client_address(ration_t *r, const char *peer, const char *x_forwarded_for,
    const char *forwarded, char *buf, size_t size);

/*
 * An HTTP answer for d as the policy's `answers` say; each does no input or output.
 * ration_http_status: 200 when admitted, else the policy's (429).
 * ration_http_header: header i from 0 on.  Returns 1; 0: there are no more; RATION_EINVAL.
 * ration_http_body: of a denial, from the template.  fields: the caller's own, n of them, for
 * ${field.NAME}; values are escaped as JSON.  Returns as snprintf(), or RATION_EINVAL.
 * Content-Type is among the headers of a denial that has a body.
 */
int ration_http_status(ration_t *r, const ration_decision_t *d);
int ration_http_header(ration_t *r, const ration_decision_t *d, unsigned i, ration_header_t *out);
int ration_http_body(ration_t *r, const ration_decision_t *d, const ration_attr_t *fields, size_t n,
    char *buf, size_t size);

/* ---- the client's side: other people's limits, shared by the processes of this host ---- */

/* Why ration_upstream_begin() says wait. */
#define RATION_U_NONE 0u
#define RATION_U_PAUSED 1u /* it said 429 or 503: everybody stops until it may be asked again */
#define RATION_U_SPENT 2u  /* what it said is left, and what is in flight, come to its limit */
#define RATION_U_OPEN 3u   /* the circuit breaker is open */
#define RATION_U_PROBED 4u /* half-open, and another request is the one probe */
#define RATION_U_LIMIT 5u  /* the policy's own limit for this upstream */
#define RATION_U_FIRST 6u  /* another request goes first: its answer says how many may follow */
/* States of a circuit breaker. */
#define RATION_CLOSED 0u
#define RATION_OPEN 1u
#define RATION_HALF_OPEN 2u

/*
 * An upstream, by name.  Plain data; belongs to the ration_t it was made with, usable by all of its
 * threads, over restarts of rationd too.
 */
typedef struct ration_upstream {
	uint32_t size;
	uint32_t place; /* in the segment */
	uint64_t segment;
	uint64_t id;
	uint64_t hash;
	char name[RATION_NAME_MAX + 1];
} ration_upstream_t;

/*
 * One request on its way to an upstream, over all of its tries.  All zero but
 * .size = sizeof(ration_attempt_t) before the first ration_upstream_begin().
 * Belongs to the thread that makes the request.
 */
typedef struct ration_attempt {
	uint32_t size;
	uint32_t tries;   /* requests sent so far */
	uint32_t retry;   /* after _end(): 1: ask again, after wait_ms; 0: that was the answer */
	uint32_t reason;  /* after a denied _begin(): RATION_U_... */
	uint64_t wait_ms; /* not before: of a denied _begin(), and of an _end() with retry 1 */
	/* After either: what is known, by the last answer that any process of this host had. */
	uint64_t limit;     /* RATION_UNLIMITED: the upstream said nothing of one */
	uint64_t remaining; /* so much may be sent now; RATION_UNLIMITED */
	int64_t reset_at;   /* Unix s by our clock; 0: not known */
	uint32_t low;       /* after _end(): percent below which remaining fell, told once; 0 */
	uint32_t breaker;   /* RATION_CLOSED ... */
	/* Of the library's own. */
	uint32_t place;
	uint32_t flags;
	uint64_t segment;
	uint64_t sent;
	uint64_t cost;
	uint64_t token;
	uint64_t reserved[4];
} ration_attempt_t;

/*
 * Find or add an upstream.  name: of 1 to RATION_NAME_MAX bytes, as in the policy's `upstreams`,
 * which says how to retry, when the breaker opens and what limit to assume; one that is not there
 * gets the defaults of ration.yaml(5).  All requests through one name share one limit in one unit.
 * Returns 0, RATION_EINVAL, _EFULL: there are 256 already; _EDETACHED (with RATION_FAIL_OPEN: 0).
 */
int ration_upstream(ration_t *r, const char *name, ration_upstream_t *out);
/*
 * May a request of this cost be sent now?  RATION_ADMITTED: send it, then call
 * ration_upstream_end(), also if it failed; a process that dies in between counts as one whose
 * request was sent and may yet arrive.  RATION_DENIED: wait a->wait_ms, then ask again; a->reason;
 * nothing was taken.  cost: units, 0..RATION_COST_MAX; what costs 0 heeds pauses and the breaker
 * only.
 * Lock-free, no system call, but of a breaker's probe: its holder takes a lock that ends with him,
 * and who is refused for a probe looks, at most ten times a second, whether its holder lives.
 * Or RATION_EINVAL, _ECOST, _EDETACHED (with RATION_FAIL_OPEN: admitted).
 */
int ration_upstream_begin(ration_t *r, ration_upstream_t *u, uint64_t cost, ration_attempt_t *a);
/*
 * What came of it.  status: of the HTTP answer; 0: none came (network, timeout).  headers: n of
 * them, names in any case; X-RateLimit-*, RateLimit and RateLimit-Policy, Retry-After (seconds or
 * a date), Date are read, what cannot be understood is ignored and counted.  Fills in a: whether
 * and when to try again (as the policy says, never before Retry-After), what is left.
 * Lock-free, no system call.
 * Returns 0, RATION_EINVAL: also when no request is in flight in a.  Detached it still says
 * whether and when to try again.
 */
int ration_upstream_end(ration_t *r, ration_upstream_t *u, ration_attempt_t *a, int status,
    const ration_attr_t *headers, size_t n);
/*
 * The pause before try `tries` + 1 by itself, in ms: uniformly from 0 to min(most_ms, first_ms *
 * 2^(tries - 1)).  tries: from 1.  Pure but for its randomness, which *state carries on
 * (any value to begin with).
 */
uint64_t ration_backoff_ms(uint64_t first_ms, uint64_t most_ms, unsigned tries, uint64_t *state);
/*
 * Retry-After as seconds or as an HTTP date (any of RFC 9110's three forms): s from now (Unix s)
 * on, at least 0.  -1: neither of them.
 */
int64_t ration_retry_after(const char *value, size_t len, int64_t now);

/*
 * Name of the limit that claim `claim` of d was about, as text into buf of
 * size bytes.  Returns its length, or a negative error.
 */
int ration_limit_name(
    ration_t *r, const ration_decision_t *d, unsigned claim, char *buf, size_t size);

/* "300/min", "10/s burst 20", "480/day": rate as text.  Returns as snprintf(). */
int ration_rate_text(const ration_rate_t *rate, char *buf, size_t size);

/*
 * The decision as one line of JSON, the same everywhere.  key: len bytes,
 * shown as strvis(3) would.  Returns as snprintf().
 */
int ration_decision_json(
    ration_t *r, const ration_decision_t *d, const void *key, size_t len, char *buf, size_t size);

/* What a negative value means; never NULL, static. */
const char *ration_strerror(int error);

/* "0.1.0": version of the library that is linked. */
const char *ration_version(void);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif
#endif
