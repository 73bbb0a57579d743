/*
 * live.h - the policy in force: the files, live changes over them, and the
 * generations that compare-and-set is about.
 *
 * Every edit goes the same way: compile files and changes into the spare area; write
 * change, audit entry and generations in one transaction; switch the policy over.
 * What fails before the switch has changed nothing; a kill between transaction
 * and switch is caught up with at the next start.
 */
#ifndef RATIOND_LIVE_H
#define RATIOND_LIVE_H

#include "keeper.h"
#include "store.h"

#define LIVE_MAX 10000u /* changes; more belong into the policy files */

struct live {
	struct keeper *keeper;
	struct store *store;
	struct config *config; /* owned */
	struct change *at;     /* in force, oldest first */
	size_t n;
	struct change *dormant; /* kept, but the files have nothing they could apply to */
	size_t ndormant;
	uint64_t generation; /* of anything */
	struct {
		uint64_t value;
		uint64_t digest;
	} limits[LIMITS_MAX]; /* by limit id */
	int64_t compiled_s;   /* Unix s */
	int64_t next_end_s;   /* when something temporary ends next; POLICY_ENDLESS */
};

struct live_edit {
	const struct change *add; /* in any order */
	size_t nadd;
	/* Which changes go: those for which it is true. */
	bool (*goes)(const struct change *c, const void *arg);
	const void *goes_arg;
	struct config *config; /* a reload: taken over when it succeeds; NULL: the one in force */
	int64_t limit;         /* id of the limit that is touched in any case; -1: none */
	const struct audit *audits;
	size_t naudits;
	/* What else becomes durable with it, in the same transaction; false: none of it does. */
	bool (*also)(void *arg, struct store *s, char *err, size_t errsize);
	void *also_arg;
	bool dry_run;
};

enum live_result {
	LIVE_DONE = 0,
	LIVE_REFUSED = -1, /* the mistakes say why */
	LIVE_FAILED = -2   /* it could not be made durable; one mistake says why */
};

/*
 * First compilation.  config is taken over, also on failure.  before(arg, policy, m) is called
 * before it is published; false ends it all.
 */
enum live_result live_start(struct live *l, struct keeper *k, struct store *s,
    struct config *config,
    bool (*before)(void *arg, const struct policy_ref *p, struct mistakes *m), void *arg,
    struct mistakes *m);
void live_free(struct live *l);

enum live_result live_edit(struct live *l, const struct live_edit *e, struct mistakes *m);

/* A change of the same kind about the same thing. */
bool change_same(const struct change *a, const struct change *b);

/*
 * Tidy up what has ended; once a day, calendar boundaries.  ended() is told of each
 * change that is gone.
 */
void live_tick(struct live *l, void (*ended)(void *arg, const struct change *c), void *arg);

#endif
