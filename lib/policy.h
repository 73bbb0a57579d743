/*
 * policy.h - the compiled policy: what rationd writes and everybody reads.
 *
 *	policy object:  policy_head | area 0 | area 1
 *
 * The object is mapped read-only by all but rationd.  A version v is written
 * whole into area v & 1 and then switched to by one word:
 *
 *	word    current(32) writing(32)
 *
 * Before rationd touches an area it publishes writing = v.  A reader takes
 * `current`, copies what it needs out of that area, and loads the word again:
 * while writing <= current + 1 the copy was not being rewritten under it.  If
 * it was, the reader starts again.  rationd killed in the middle leaves writing
 * one ahead of current, which disturbs nobody; its successor writes that same
 * version again.  No lock, nothing odd that a dead writer leaves behind.
 *
 * A policy that outgrows its area goes on in a larger object of the same name, with the
 * next version, beside the same counters.  The old object is then retired:
 *
 *	word    2^32 - 1(32) last version(32)
 *
 * No slot was ever resolved under that version, so every short way ends there, and the long
 * one moves the handle over (handle_current()).  Who cannot goes on with the last version.
 *
 * Within an area everything is an offset from the area's start, and every
 * offset and index that a reader follows is checked against the area's size: a
 * reader that was stopped for long may be reading a version being rewritten.
 *
 * What a key gets: override, else plan x environment, else the limit's default,
 * times the host's share.  All of that is multiplied out by rationd; a reader
 * only picks a *ruleset*: rulesets[matrix[limit][plan][environment]], or the
 * override's.  A ruleset that ends (`until`) names the one that follows, so that
 * an override ends in time without rationd.  A slot remembers the version and
 * the ruleset it was resolved to (SLOT_RESOLVED): a change costs rationd nothing
 * that grows with the keys in the table.
 *
 * Ids are stable: a limit keeps its id, a shape its number, as long as the
 * segment lives, over reloads and restarts of rationd (rate_def_derive()).
 */
#ifndef RATION_POLICY_H
#define RATION_POLICY_H

#include "layout.h"
#include "ration.h"

#define POLICY_MAGIC UINT64_C(0x31594c4f504e5452)
#define POLICY_ENDLESS INT64_MAX

struct policy_head {
	_Atomic uint64_t magic; /* stored last */
	uint32_t layout_version;
	uint32_t fingerprint;
	uint64_t bytes;      /* of the whole object */
	uint64_t id;         /* as in seg_head */
	uint64_t area_bytes; /* of each area */
	uint64_t area_off[2];
	uint64_t reserved;
	/* second line: read by every call, changed seldom */
	alignas(64) word_t word;           /* current(32) writing(32) */
	_Atomic int64_t test_offset_ns;    /* the test clock's advance; 0 unless sandbox */
	_Atomic int64_t real_offset_ns;    /* Unix time - shared time */
	_Atomic uint32_t sandbox;          /* 1: the test clock may be moved */
	_Atomic uint32_t clock_generation; /* counts up when an offset changes */
	uint64_t reserved2[4];
};
static_assert(sizeof(struct policy_head) == 128, "two lines");

#define POLICY_CURRENT(w) ((uint32_t)((w) >> 32))
#define POLICY_WRITING(w) ((uint32_t)(w))
#define POLICY_RETIRED UINT32_MAX /* as current: the object was replaced by a larger one */
#define POLICY_WORD(current, writing) ((uint64_t)(current) << 32 | (uint32_t)(writing))

enum policy_mode { MODE_ENFORCE = 0, MODE_OBSERVE = 1, MODE_OFF = 2 };

/*
 * One rate, with everything that a decision needs.  The first half is what
 * ration_rate_t shows: it is copied as it stands.
 */
struct rate_def {
	uint64_t units;      /* N; a bucket's burst; RATION_UNLIMITED */
	uint64_t rate_units; /* bucket: units a window; else as units */
	uint64_t window_ns;  /* a day or month: nominal, for order and display */
	uint8_t kind;        /* RATION_SLIDING ... */
	uint8_t zero[7];     /* level, claim, reason of a rate that has none */
	uint32_t shape;      /* 1..SHAPE_MASK: number of (kind, window, zone, period) */
	uint8_t zone;        /* index of the zone of a calendar rate */
	uint8_t reserved[3];
	uint64_t sub_ns;   /* sliding: (window + LAG)/15, rounded up */
	uint64_t recip;    /* floor((2^64 - 1) / sub_ns) */
	uint64_t period16; /* bucket: 1/16 ns a unit, rounded up */
};
static_assert(offsetof(ration_rate_t, limit_units) == 32 && offsetof(ration_rate_t, kind) == 56 &&
	offsetof(struct rate_def, kind) == 24,
    "the first half of a rate_def is the second half of a ration_rate_t");
static_assert(sizeof(struct rate_def) == 64, "one cache line");

/* Sliding rates only, enforced, endless, for any key, no strict queue: the short way applies. */
#define RULESET_PLAIN 1u
/* Nothing is asked of this key, nor of the call that it is in. */
#define RULESET_EXEMPT 2u
/* Its days and months are those of the key's timezone. */
#define RULESET_ZONED 4u
/* Thresholds are noted: not RULESET_PLAIN. */
#define RULESET_NOTIFY 8u
/* Of all its rates, not only of fixed windows, days and months. */
#define RULESET_NOTIFY_ALL 16u

struct ruleset {
	uint32_t limit;  /* id */
	uint16_t nrates; /* 0: nothing is counted (mode off, a value) */
	uint8_t mode;    /* enum policy_mode */
	uint8_t flags;   /* RULESET_... */
	int64_t until;   /* Unix s; from then on `next` applies; POLICY_ENDLESS */
	uint32_t next;   /* ruleset */
	uint32_t origin; /* string: where it comes from, for people */
	uint16_t plan;   /* index into plans, 0: none */
	uint16_t env;
	uint32_t value;    /* string: an entitlement's value; 0: none */
	uint8_t notify[8]; /* RULESET_NOTIFY: percentages, rising, 0 after the last */
	uint32_t reserved[6];
	struct rate_def rates[RATION_RATES_MAX];
};
static_assert(sizeof(struct ruleset) == 64 + 4 * 64, "five cache lines");

/* Are thresholds of rate i noted?  Of a ruleset that is RULESET_NOTIFY. */
static inline bool
ruleset_notifies(const struct ruleset *r, unsigned i)
{
	const struct rate_def *d = &r->rates[i];

	if (d->units == 0 || d->units == RATION_UNLIMITED)
		return false;
	switch (d->kind) {
	case RATION_FIXED:
	case RATION_DAY:
	case RATION_MONTH:
		return true;
	case RATION_SLIDING:
	case RATION_BUCKET:
		return (r->flags & RULESET_NOTIFY_ALL) != 0;
	default:
		return false;
	}
}

#define VALUE_MAX 255u /* bytes of an entitlement's value */

#define LIMIT_FULL_ADMIT 1u      /* when_full: admit */
#define LIMIT_UNLISTED_REFUSE 2u /* keys that the policy does not list are denied */
#define LIMIT_GONE 4u            /* no longer in the policy; its id stays taken */
#define LIMIT_STRICT 8u          /* queue: strict; who waits goes before who does not */
#define LIMIT_LEASES 16u         /* a concurrency limit: its rates are concurrent or unlimited */
#define LIMIT_ADDRESS 32u        /* its key is an address, cut to prefix4 or prefix6 */
#define LIMIT_VALUE 64u          /* an entitlement: nothing is counted */

struct limit_def {
	uint32_t name; /* string */
	uint16_t name_len;
	uint16_t flags;
	uint64_t max_keys; /* bound on slots of this limit; 0: none */
	uint32_t origin;   /* string: file:line */
	uint32_t title;    /* string: for answers; 0: the name */
	uint64_t cost;     /* of a call through a route; 0: the caller's */
	uint16_t attr;     /* index into attrs: whose value is the key */
	uint8_t prefix4;   /* LIMIT_ADDRESS: 0..32 */
	uint8_t prefix6;   /* 0..128 */
	uint16_t answer;   /* index into answers; 0: the default one */
	uint16_t reserved;
};
static_assert(sizeof(struct limit_def) == 40, "indexed by a shift and an addition");

/* ---- routes (route.h) ---- */

/* One claim of a route: its limit with what the route says otherwise. */
struct route_claim {
	uint32_t limit; /* id */
	uint16_t attr;
	uint8_t address; /* 1: an address, cut to the prefixes */
	uint8_t prefix4;
	uint8_t prefix6;
	uint8_t reserved[7];
	uint64_t cost; /* 0: the caller's */
};
static_assert(sizeof(struct route_claim) == 24, "fixed");

/* What ends at a node: one method's claims. */
struct route_leaf {
	uint32_t method;  /* string; 0: any */
	uint32_t pattern; /* string: "GET /boletos/:id" */
	uint32_t origin;  /* string: file:line */
	uint32_t claims;  /* index of the first */
	uint32_t number;  /* in the order of the files, for people */
	uint16_t nclaims;
	uint8_t method_len;
	uint8_t reserved;
};
static_assert(sizeof(struct route_leaf) == 24, "fixed");

/*
 * A place in the tree of patterns; node 0 is "/".  Leaves of a node stand together: first
 * those of the path that ends here, then those of a pattern that ends in "*" here.  Of each
 * kind exact methods come before any method.
 */
struct route_node {
	uint32_t param;  /* node behind ":name"; 0: none */
	uint32_t leaves; /* index of the first */
	uint16_t nends;
	uint16_t nrests;
	uint32_t reserved;
};

/* From a node by a literal segment; in a hash table by route_hash(). */
struct route_edge {
	uint64_t hash;
	uint32_t from;
	uint32_t to;
	uint32_t text; /* string */
	uint32_t len;
};

/* ---- answers (answer.h) ---- */

#define ANSWER_RATELIMIT 1u /* X-RateLimit-Limit, -Remaining, -Reset */
#define ANSWER_WINDOW 2u    /* X-RateLimit-Window */
#define ANSWER_IETF 4u      /* RateLimit-Policy, RateLimit */
#define ANSWER_RETRY 8u     /* Retry-After */
#define ANSWER_PROBLEM 16u  /* body: problem+json, unless there is a template */

enum answer_reset { RESET_WINDOW = 0, RESET_RETRY = 1 }; /* of a denial: which time */

struct answer_def {
	uint32_t name; /* string */
	uint32_t origin;
	uint32_t body;         /* string: template; 0: none */
	uint32_t body_never;   /* the same where no waiting helps; 0: body */
	uint32_t content_type; /* string */
	uint32_t show_limit;   /* id + 1 of the limit whose figures headers show; 0: who decided */
	uint32_t headers;      /* ANSWER_... */
	uint16_t status;       /* of a denial */
	uint8_t reset;         /* enum answer_reset */
	uint8_t reserved;
	uint64_t show_window_ns; /* which of its rates; 0: the longest */
};
static_assert(sizeof(struct answer_def) == 40, "fixed");

/* ---- upstreams (upstream.h) ---- */

enum upstream_jitter { JITTER_FULL = 0, JITTER_NONE = 1, JITTER_ADDED = 2 };

#define UPSTREAM_ON_FIRST 400u   /* statuses in upstream_def.on are from 400 to 599 */
#define UPSTREAM_ON_NETWORK 255u /* its bit of those without an answer */
#define UPSTREAM_LOWS 6u

/* How clients on this host behave towards somebody else's service. */
struct upstream_def {
	uint64_t hash; /* policy_hash() of its name: they stand in this order */
	uint32_t name; /* string */
	uint32_t origin;
	uint64_t on[4];             /* what is tried again: bit of status - 400 */
	uint32_t first_ms;          /* backoff: the first pause, */
	uint32_t most_ms;           /* the longest, */
	uint32_t factor;            /* by which each grows, in 1/1000 */
	uint32_t jitter_ms;         /* JITTER_ADDED: up to so much */
	uint32_t open_ms;           /* of the breaker */
	uint16_t failures;          /* in a row that open it; 0: there is none */
	uint16_t tries;             /* again, at most */
	uint8_t jitter;             /* enum upstream_jitter */
	uint8_t nrates;             /* 0: only what the upstream says */
	uint8_t low[UPSTREAM_LOWS]; /* percentages left, falling, 0 after the last */
	struct rate_def rates[RATION_RATES_MAX];
};
static_assert(sizeof(struct upstream_def) == 80 + 4 * 64, "fixed");

/* Addresses with a prefix in common; IPv4 as ::ffff:a.b.c.d with 96 added to the length. */
struct cidr_def {
	uint8_t address[16];
	uint8_t bits; /* 0..128 */
	uint8_t reserved[7];
};

struct name_def {
	uint32_t name; /* string */
	uint32_t len;
};

struct zone_def {
	uint32_t name; /* string */
	uint32_t ndays;
	uint32_t nmonths;
	int32_t reserved;
	uint64_t days;   /* offset of ndays int64_t: Unix s at which a local day starts */
	uint64_t months; /* offset of nmonths int64_t */
};

/*
 * A key that the policy names: plan, environment, overrides.  Not tied to a limit.  A key with a
 * timezone of its own has an override for each limit of days or months.
 */
struct key_def {
	uint64_t hash; /* policy_key_hash() */
	uint32_t key;  /* string */
	uint16_t len;
	uint16_t plan; /* 0: none */
	uint8_t env;   /* 0: none */
	uint8_t flags; /* KEY_... */
	uint16_t noverrides;
	uint32_t overrides;   /* index of the first; keys may share them */
	uint32_t zone_origin; /* string: where its timezone is said; 0: it has none */
	uint32_t reserved;
};
static_assert(sizeof(struct key_def) == 32, "fixed");

#define KEY_EXEMPT 1u

struct override_def {
	uint32_t limit;
	uint32_t ruleset;
};

/*
 * Head of an area.  All offsets are from the area's start, 64-bit aligned.
 * Strings are NUL-terminated in the strings section; 0 is the empty string.
 */
struct policy_area {
	uint32_t version;
	uint32_t nrulesets;
	uint64_t bytes;     /* used */
	uint64_t rulesets;  /* nrulesets struct ruleset, 64-byte aligned */
	uint64_t limits;    /* nlimits struct limit_def, by id */
	uint64_t names;     /* nnames uint32_t: hash table of id + 1, nnames a power of two */
	uint64_t matrix;    /* nlimits x (nplans + 1) x (nenvs + 1) uint32_t */
	uint64_t plans;     /* nplans + 1 struct name_def; [0] is empty */
	uint64_t envs;      /* nenvs + 1 struct name_def; [0] is empty */
	uint64_t zones;     /* nzones struct zone_def */
	uint64_t keys;      /* nkeys struct key_def */
	uint64_t keytab;    /* nkeytab uint32_t: hash table of index + 1, a power of two */
	uint64_t overrides; /* noverrides struct override_def */
	uint64_t strings;   /* strings_bytes */
	uint64_t strings_bytes;
	uint32_t nlimits;
	uint32_t nnames;
	uint32_t nplans;
	uint32_t nenvs;
	uint32_t nzones;
	uint32_t nkeys;
	uint32_t nkeytab;
	uint32_t noverrides;
	uint32_t default_plan; /* of keys without one; 0: none */
	uint32_t default_env;
	uint32_t exempt; /* ruleset of limit 0 for exempt keys, then those of the others; 0: none */
	uint32_t nattrs;
	uint32_t nnodes;
	uint32_t nleaves;
	uint32_t nclaims;
	uint32_t nedges;
	uint32_t nedgetab; /* a power of two; 0: no routes */
	uint32_t nanswers;
	uint32_t nproxies;
	uint32_t nexempt;
	uint32_t nupstreams;
	uint64_t attrs;     /* nattrs struct name_def; of requests: [0] is "key" */
	uint64_t nodes;     /* nnodes struct route_node */
	uint64_t leaves;    /* nleaves struct route_leaf */
	uint64_t claims;    /* nclaims struct route_claim */
	uint64_t edges;     /* nedges struct route_edge */
	uint64_t edgetab;   /* nedgetab uint32_t: hash table of index + 1 */
	uint64_t answers;   /* nanswers struct answer_def; [0] is the default one */
	uint64_t proxies;   /* nproxies struct cidr_def */
	uint64_t exempts;   /* nexempt struct cidr_def */
	uint64_t upstreams; /* nupstreams struct upstream_def */
	uint64_t reserved[3];
};

/* Where a reader stands: one version of one mapped policy object. */
struct policy_ref {
	const struct policy_head *head;
	const struct policy_area *area;
	uint64_t area_bytes;
	uint32_t version;
};

static inline bool
policy_retired(const struct policy_head *head)
{
	return POLICY_CURRENT(atomic_load_explicit(&head->word, memory_order_acquire)) ==
	    POLICY_RETIRED; /* pairs with policy_retire() */
}

/* Take the current version; of a retired object the last.  False: none is published yet. */
bool policy_current(const struct policy_head *head, struct policy_ref *p);

/* Was the area of p left alone so far?  Pairs with policy_begin(). */
bool policy_intact(const struct policy_ref *p);

/*
 * Readers.  Each copies out and returns false when an index or offset leaves
 * the area (then the version moved, or the object is damaged).
 */
bool policy_ruleset(const struct policy_ref *p, uint32_t index, struct ruleset *out);
bool policy_limit(const struct policy_ref *p, uint32_t id, struct limit_def *out);
/* Id of a limit's name, -1: none, also when it is LIMIT_GONE. */
int64_t policy_limit_id(const struct policy_ref *p, const char *name, size_t len);
/* String at offset off of the strings section, "" when out of range; *len without NUL. */
const char *policy_string(const struct policy_ref *p, uint32_t off, size_t *len);
/* The key's entry.  False: the policy does not name it. */
bool policy_key(
    const struct policy_ref *p, uint64_t hash, const void *key, size_t len, struct key_def *out);
/*
 * Ruleset index for a key of a limit at Unix second `now`: override, else plan x
 * environment, else default; of the exempt, their ruleset, unless the limit is of values.
 * Whoever reads the ruleset follows `until`.  -1: no such limit.  *listed: the policy names
 * the key, or exempts its address.
 */
int64_t policy_resolve(
    const struct policy_ref *p, uint32_t limit, const void *key, size_t len, bool *listed);
/*
 * Start and end, Unix s, of the period of a calendar or fixed rate around `now`
 * (Unix ns).  Beyond the published table days of 86,400 s and months of 31 days are used.
 */
bool policy_period(const struct policy_ref *p, const struct rate_def *r, int64_t unix_ns,
    int64_t *start_s, int64_t *end_s);
/*
 * Section at offset `off` of n entries of `size` bytes; NULL when it leaves the area.  What is in
 * it may be being rewritten: copy, then policy_intact().
 */
const void *policy_section(const struct policy_ref *p, uint64_t off, uint64_t n, size_t size);
const char *policy_plan_name(const struct policy_ref *p, uint32_t plan);
const char *policy_env_name(const struct policy_ref *p, uint32_t env);
const char *policy_zone_name(const struct policy_ref *p, uint32_t zone);
/* RATION_SLIDING ... of a shape's number, see rate_def_derive(). */
uint8_t policy_shape_kind(uint32_t shape);

/* Hash of a name or key in the policy (unkeyed: only rationd's own input is in it). */
uint64_t policy_hash(const void *bytes, size_t len);

#define SHAPE_CONCURRENT 2u /* of every rate of a concurrency limit */

/* ---- writing; rationd alone ---- */

/*
 * Fill in everything of r that follows from kind, units, window_ns, rate_units and
 * the zone's name: shape, sub_ns, recip, period16.  A shape's number is a function
 * of its content alone, so it means the same over reloads and restarts:
 * sliding windows by their seconds, fixed ones likewise, calendar periods by the zone's
 * name, buckets by their period (hashed into 56,000: two periods that collide
 * keep their arrival time over a change instead of their used units).
 */
void rate_def_derive(struct rate_def *r, const char *zone);

/*
 * Announce that the version after the current one is being written, and give
 * the area to write it to (head->area_bytes long).  Pairs with policy_intact().
 */
void *policy_begin(struct policy_head *head, uint32_t *version);
/* Tell readers that another object has the next version. */
void policy_retire(struct policy_head *head);
/* Switch to it.  The area's `version` must be set.  Pairs with policy_current(). */
void policy_publish(struct policy_head *head, uint32_t version);

#endif
