/*
 * replay.h - the past, decided once more: requests with their times are put to a policy in a
 * segment of its own, by the same code that decides for services.
 *
 * Its clock is the requests': time stands still between them and never goes back.  A request that
 * is older than the newest one (servers write a line when the answer ends) counts as at the
 * newest, so no window ever sees more than one time.  Keys that have nothing left to say are
 * taken out of the table as rationd would, before it is full rather than after.
 */
#ifndef RATION_REPLAY_H
#define RATION_REPLAY_H

#include "access_log.h"
#include "denied.h"
#include "handle.h"
#include "table.h"

#define REPLAY_ATTRS_MAX LOG_WANTS_MAX
/* A policy's calendar reaches 465 days from its making; months three years. */
#define REPLAY_REACH_S (INT64_C(460) * 86400)

/* Where an attribute of requests comes from. */
struct replay_attr {
	char name[RATION_NAME_MAX + 1];
	int want; /* number in log_line.wants */
};

/* Calls on a limit: each is admitted, denied by it, or elsewhere: denied by another alone. */
struct replay_limit {
	char name[RATION_NAME_MAX + 1];
	char attr[RATION_NAME_MAX + 1]; /* whose value is the key, where no route says otherwise */
	bool gone;                      /* not in the policy */
	bool value;                     /* an entitlement */
	bool leases;                    /* left out: a log does not say how long */
	bool missing;                   /* left out: its attribute is not among those of the log */
	bool beyond;                    /* left out: more limits than a call can have */
	uint8_t mode;                   /* of the last call */
	uint64_t calls, admitted, denied, elsewhere;
	uint64_t observed; /* admitted for mode observe alone */
	uint64_t units;    /* that were asked for */
	uint64_t peak;     /* most denied in one minute */
	int64_t peak_s;    /* Unix s of that minute */
	int64_t first_s;   /* of the first denial */
	uint64_t first_line;
	int64_t minute;
	uint64_t in_minute;
};

struct replay_claim {
	uint32_t limit;
	int want;
	bool address;
	uint8_t prefix4, prefix6;
	uint64_t cost; /* 0: the request's */
};

struct replay_route {
	char *pattern; /* NULL: all requests */
	struct replay_claim claims[RATION_CLAIMS_MAX];
	unsigned n;
	uint64_t calls, denied, observed;
};

struct replay {
	ration_t *r;
	const struct segment *seg;
	struct sweep sweep;
	uint64_t now_ns;   /* shared time */
	int64_t newest_ns; /* the same as Unix time */
	bool routed;
	bool bounded; /* some limit has most keys */
	struct replay_attr attrs[REPLAY_ATTRS_MAX];
	unsigned nattrs;
	struct replay_limit *limits; /* by id */
	uint32_t nlimits;
	struct replay_route *routes; /* by number; without routes: one for all */
	uint32_t nroutes;
	struct denied denied_keys;
	uint64_t calls, admitted, denied, observed;
	uint64_t exempt;   /* of the admitted */
	uint64_t unrouted; /* no route, or none of its attributes */
	uint64_t bad_key;  /* an attribute that is no key, or no address where one is wanted */
	uint64_t failed;   /* not decided */
	uint64_t full;     /* calls that found no room in the table */
	uint64_t older;    /* than the newest one */
	int64_t oldest_ns; /* by so much at most */
	uint64_t claimed;  /* since the last round of housekeeping: keys it may have added */
	uint64_t live;     /* keys then */
	uint64_t most_live;
	int64_t round_s;
};

/*
 * Put requests to the segment in dir.  attrs: n of them.  NULL: done; else what is wrong.
 */
const char *replay_open(
    struct replay *p, const char *dir, const struct replay_attr *attrs, unsigned n);
void replay_close(struct replay *p);
/* Shared memory that a key takes in the segment. */
uint64_t replay_key_bytes(const struct replay *p);
/* The most claims that one request has. */
unsigned replay_claims(const struct replay *p);
/*
 * A request.  method, path: ended by NUL, both NULL where it has none; wants: by number; cost: its
 * units; number: of its line.
 */
void replay_call(struct replay *p, const struct log_line *l, uint64_t cost, uint64_t number);
/* Count what is in the table now. */
void replay_finish(struct replay *p);

#endif
