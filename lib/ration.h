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
	X(RATION_ESTALE, -15, "the units are no longer there to give back")

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

/* Why no waiting helps, or which event to wait for */
#define RATION_R_NONE 0u
#define RATION_R_COST 1u     /* the cost is above the limit */
#define RATION_R_ZERO 2u     /* the limit is 0 */
#define RATION_R_RELEASE 3u  /* a lease must be released */
#define RATION_R_FULL 4u     /* the table is full and when_full is deny */
#define RATION_R_UNLISTED 5u /* the limit refuses keys that the policy does not list */

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

/* Close; no other thread may be in a call with r.  NULL is allowed. */
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
