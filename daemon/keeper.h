/*
 * keeper.h - owning the segment: making or re-attaching it, publishing policy
 * versions and the clock, and keeping house in the key table.
 *
 * A segment that can be used is kept, with all usage; one that cannot (another
 * boot, another layout, damaged) is marked retired and replaced; its clients move over as
 * soon as the new one has a policy.  A policy that outgrows its object gets a larger one beside
 * the same counters.
 *
 * Housekeeping is cut into slices bounded by time, so that a million slots
 * cost the same share of a processor as a thousand.
 */
#ifndef RATIOND_KEEPER_H
#define RATIOND_KEEPER_H

#include <sys/types.h>

#include "clock.h"
#include "config.h"
#include "table.h"

#define KEEPER_TICK_MS 100
#define KEEPER_BOOKS 4u

struct keeper {
	struct segment seg;
	struct clock clock;
	struct sweep sweep;
	struct sweep_hooks books[KEEPER_BOOKS];
	unsigned nbooks;
	uint64_t rounds;  /* ended */
	uint64_t idle_ns; /* table.idle */
	uint64_t live;    /* keys at the end of the last round */
	uint64_t full;    /* calls that found no room, when last looked */
	uint32_t pending; /* version compiled, not yet published; 0: none */
	struct segment
	    larger;          /* with a larger policy object, not yet in force; .policy NULL: none */
	bool pending_larger; /* the pending version is in that one */
	const struct paths *paths;
	gid_t gid;
	bool held;     /* housekeeping waits: every key has to be looked at first */
	bool pressed;  /* over seven eighths full: no key may idle */
	bool urgent;   /* calls found no room, until a round has ended */
	bool attached; /* the segment was there before us */
};

/*
 * Attach or create; p stays the caller's.  sandbox: the test clock may be moved.  gid: (gid_t)-1
 * for none. The caller holds the instance's lock.  0; or -1 with err for people.
 */
int keeper_open(struct keeper *k, const struct paths *p, const struct config_table *t, gid_t gid,
    bool sandbox, char *err, size_t errsize);
/* What a reload may change: idle time, group.  Warns of what only a new segment can have. */
void keeper_settings(
    struct keeper *k, const struct paths *p, const struct config_table *t, gid_t gid);
/* Unmap.  The segment stays: clients go on, a restart finds all usage. */
void keeper_close(struct keeper *k);

/* Shared time, ns; Unix seconds by it (with the test clock's advance). */
uint64_t keeper_shared(struct keeper *k);
int64_t keeper_now(struct keeper *k);
/* Publish Unix time - shared time.  Returns by how many ns it moved, 0 for slewing. */
int64_t keeper_real_time(struct keeper *k);
/* The same with a reading of both clocks at one moment: shared time without the test clock. */
int64_t keeper_real_is(struct keeper *k, int64_t shared_ns, int64_t real_ns);
/* Move the test clock forward. */
void keeper_advance(struct keeper *k, uint64_t ns);

/* Compile into the spare area, or a larger one; nobody sees it.  0; or -1 with the mistakes. */
int keeper_compile(struct keeper *k, const struct config *c, const struct change *changes, size_t n,
    struct mistakes *m);
/* What was compiled last, and is not yet published. */
bool keeper_pending(const struct keeper *k, struct policy_ref *out);
/* Switch to it. */
void keeper_publish(struct keeper *k);
/* Or forget it. */
void keeper_forget(struct keeper *k);
/* The version in force. */
bool keeper_policy(const struct keeper *k, struct policy_ref *out);

/*
 * Show the keys that housekeeping comes by to hooks, too: each once a round, and before it goes.
 * A slot is freed when all who want to be asked agree.  False: there are KEEPER_BOOKS already.
 */
bool keeper_subscribe(struct keeper *k, const struct sweep_hooks *hooks);

/* Look at a slot again that one of them wanted to be kept. */
void keeper_free(struct keeper *k, uint64_t slot);

/*
 * Every KEEPER_TICK_MS: a slice of housekeeping, and the sign of life.  Returns how many calls
 * found the table full since the last tick.
 */
uint64_t keeper_tick(struct keeper *k);

#endif
