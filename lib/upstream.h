/*
 * upstream.h - what all processes of this host know of somebody else's service: an entry of
 * side->upstreams, word by word, and the parts that work on it.
 *
 * Every word may hold anything: another process can write here.  Each is loaded once and used
 * as a copy; a time that is too far ahead counts as not set.  Whatever stands here a call ends,
 * follows no index from it, and harms nobody but the requests to this upstream.
 *
 *	id        hash of the name with the segment's secret; 0: free.  One CAS makes an entry.
 *	name      its bytes, written by whoever finds them missing
 *	sent      units ever sent to it, counted before they go
 *	ceiling   `sent` may rise to this: see upstream_budget.c
 *	seen      `sent` when the answer came that the ceiling is from
 *	best      the highest ceiling that nothing speaks against
 *	left      what the newest answer said is left
 *	limit     what it said is the limit; 0: nothing is known, ~0: there seems to be none
 *	reset     shared time at which that comes back
 *	again     from then on one request may ask anew
 *	pause     until then nobody sends
 *	opener    time(44, ms) count(20): the request that asks anew; 0: none
 *	breaker   see upstream_breaker.c
 *	looked    shared time when somebody last looked whether the prober lives
 *	low       until(56, ms) mask(8): which percentages were told, in a window that ends then
 *	others    until then somebody else is taken to share the limit
 *	skew      their clock minus ours, ms, at least(32) and at most(32); 0: not known
 *	counts    events, for people
 *	flight    8 x tick(24) units(40): sent in that tick (4.3 s) and not answered yet
 *	slot      a slot as layout.h has it, with a cell for each of the policy's rates
 */
#ifndef RATION_UPSTREAM_H
#define RATION_UPSTREAM_H

#include "cell.h"
#include "handle.h"
#include "side.h"

#define U_NAME_WORDS 8u
#define U_FLIGHTS 8u
#define U_CELLS 4u

/* Events counted for each upstream: name, text. */
#define UPSTREAM_COUNTS(X) \
	X(sent, "requests sent") \
	X(answered, "answers") \
	X(refused, "answers of status 429") \
	X(paused, "pauses") \
	X(failed, "no answer, or status 5xx") \
	X(malformed, "headers that could not be read") \
	X(opened, "times the breaker opened") \
	X(probes, "probes of the breaker")

enum upstream_count {
#define X(name, text) UC_##name,
	UPSTREAM_COUNTS(X)
#undef X
	    UC_COUNTS
};

enum upstream_word {
	U_ID = 0,
	U_NAME = 1,
	U_SENT = 9,
	U_CEILING,
	U_SEEN,
	U_BEST,
	U_LEFT,
	U_LIMIT,
	U_RESET,
	U_AGAIN,
	U_PAUSE,
	U_OPENER,
	U_BREAKER,
	U_LOOKED,
	U_LOW,
	U_OTHERS,
	U_SKEW,
	U_COUNT,
	U_FLIGHT = U_COUNT + UC_COUNTS,
	U_SLOT = U_FLIGHT + U_FLIGHTS,
	U_WORDS = U_SLOT + SLOT_HEAD + U_CELLS * CELL_WORDS,
};
static_assert(U_WORDS <= SIDE_UPSTREAM_WORDS && U_CELLS == RATION_RATES_MAX, "an entry has room");
static_assert(U_NAME_WORDS * 8 == RATION_NAME_MAX + 1, "with its NUL");

#define MS_NS UINT64_C(1000000)
#define SECOND_NS (1000 * MS_NS)
/* How often a CAS is tried; every loop ends. */
#define UPSTREAM_TRIES 64u
/* Nothing is waited for longer; what is farther ahead is a scribble. */
#define UPSTREAM_AHEAD_NS (UINT64_C(32) * 86400 * 1000000000)
#define UPSTREAM_SILENT UINT64_MAX /* limit: it says nothing of one */

#define BREAKER_STATE(w) ((unsigned)((w) >> 62))

/* A call on its way. */
struct upstream_call {
	struct ration *r;
	const struct segment *seg;
	word_t *e;
	uint64_t now_ns; /* shared, precise */
	int64_t unix_ns;
	struct policy_ref policy;
	struct upstream_def def;
};

/*
 * The time, read anew.  A process may be stopped anywhere, so whether a time in the entry is ahead
 * of us is judged by a clock that was read after it was loaded: what is ahead of that is a
 * scribble.
 */
static inline void
upstream_clock(struct upstream_call *c)
{
	c->now_ns = clock_precise(&c->r->clock, c->seg->policy);
	c->unix_ns = clock_unix(c->seg->policy, c->now_ns);
}

/* ---- upstream_find.c ---- */

/* The name's hash in this segment, never 0. */
uint64_t upstream_id(const struct segment *seg, const char *name, size_t len);
/* Its entry, which is added if `add`; NULL: there is none, or no room. */
word_t *upstream_entry(
    const struct segment *seg, uint64_t id, const char *name, size_t len, bool add);
/* Of the policy in force, else the defaults.  False: there is no policy to read. */
bool upstream_policy(struct upstream_call *c, uint64_t hash, const char *name, size_t len);
extern const struct upstream_def upstream_defaults;

/* ---- upstream_breaker.c ---- */

enum gate { GATE_PASS, GATE_PROBE, GATE_OPEN, GATE_PROBED };

/* May one send?  *token: for breaker_result(); *wait_ns: when not. */
enum gate breaker_gate(struct upstream_call *c, uint64_t *token, uint64_t *wait_ns);
/* The probe is not sent after all. */
void breaker_unprobe(struct upstream_call *c, uint64_t token);
void breaker_result(struct upstream_call *c, uint64_t token, bool probe, int status);
/* RATION_CLOSED ..., and until when it is open, shared ns (0: it is not). */
unsigned breaker_state(uint64_t word, uint64_t now_ns, uint64_t *since_ns);

/* ---- learn.c: headers, without any state ---- */

enum learnt_reset { RESET_NONE, RESET_UNIX, RESET_DELTA };

struct learnt {
	bool has_limit, has_remaining;
	uint8_t reset_kind; /* enum learnt_reset */
	uint64_t limit, remaining;
	uint64_t reset_ms;
	uint64_t window_s;     /* of the policy that counts; 0: not said */
	int64_t retry_after_s; /* -1: not said */
	int64_t date_s;        /* theirs; -1: not said */
	unsigned malformed;    /* headers */
};

/* unix_s: ours, for dates without a Date. */
void learn_headers(const ration_attr_t *headers, size_t n, int64_t unix_s, struct learnt *out);

/* ---- upstream_budget.c ---- */

/* What budget_take() leaves in an attempt, beside a->sent: A of upstream_budget.c. */
#define A_OPENER(a) ((a)->reserved[0]) /* as it stands in the entry; 0: it is none */
#define A_NUMBER(a) ((a)->reserved[1]) /* units sent before it */
#define A_AT(a) ((a)->reserved[2])     /* shared time */
#define A_RANDOM(a) ((a)->reserved[3]) /* for jitter */

enum budget { BUDGET_FITS, BUDGET_OPENS, BUDGET_SPENT, BUDGET_FIRST, BUDGET_LIMIT, BUDGET_BUSY };

/* Units sent and not answered. */
uint64_t budget_flight(const word_t *e, uint64_t now_ns);
/* Take a->cost units.  FITS and OPENS: taken, a is filled in. */
enum budget budget_take(struct upstream_call *c, ration_attempt_t *a, uint64_t *wait_ns);
/* An answer came to a: it is not in flight any more. */
void budget_answered(struct upstream_call *c, const ration_attempt_t *a);
/* The request that asked anew has its answer, or has none. */
void budget_opened(struct upstream_call *c, const ration_attempt_t *a);
/* What of a ceiling is left; none: 0. */
uint64_t upstream_room(const word_t *e, enum upstream_word ceiling);

/* ---- upstream_learn.c ---- */

/* What the answer says, into the entry. */
void budget_learn(
    struct upstream_call *c, const ration_attempt_t *a, int status, const struct learnt *l);
/* Nobody sends for so long from now on, unless a pause is longer already. */
void budget_pause(struct upstream_call *c, uint64_t for_ns);
/* ns that are left of it. */
uint64_t budget_pause_left(struct upstream_call *c);
/* Fill in a->limit, remaining, reset_at. */
void budget_report(struct upstream_call *c, ration_attempt_t *a);
/* The lowest of the policy's percentages that is crossed and that nobody was told; 0: none. */
uint32_t budget_low(struct upstream_call *c, const ration_attempt_t *a);

/* A time in the entry, 0 when it cannot be one. */
static inline uint64_t
upstream_time(const word_t *w, uint64_t now_ns)
{
	uint64_t t = atomic_load_explicit(w, memory_order_acquire);

	return t > now_ns && t - now_ns > UPSTREAM_AHEAD_NS ? 0 : t;
}

/* ---- upstream_backoff.c ---- */

/* The next of a sequence: splitmix64. */
uint64_t upstream_random(uint64_t *state);
/* The pause before try again number `again`, from 1; retry_after_ms: -1: it said none. */
uint64_t upstream_wait_ms(
    const struct upstream_def *d, unsigned again, int64_t retry_after_ms, uint64_t *state);
/* The same without jitter, for all. */
uint64_t upstream_base_ms(const struct upstream_def *d, unsigned again);
/* An HTTP date, RFC 9110 5.6.7, as Unix s; INT64_MIN: none.  now: for years of two digits. */
int64_t http_date(const char *text, size_t len, int64_t now);

#endif
