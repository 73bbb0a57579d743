/*
 * store.h - what must outlive rationd: live changes, generations, leases that are kept, the
 * audit trail.
 *
 * One SQLite file for an instance, one schema with a version, one writer: rationd,
 * which keeps the file locked while it runs.  No SQL stands outside store*.c.  A
 * store_commit() is one transaction, on disk (synchronous=FULL) when it returns 0:
 * a change and its audit entry are both there or neither is.  Of the audit trail the last
 * AUDIT_KEPT entries are kept.
 */
#ifndef RATIOND_STORE_H
#define RATIOND_STORE_H

#include "config.h"
#include "text.h"

#define AUDIT_KEPT 100000

struct store;

/* Who did what: one line of `ration audit`. */
struct audit {
	int64_t id;
	int64_t when; /* Unix s */
	char who[64];
	uint32_t uid;
	int32_t pid;
	char action[24];
	char target[TARGET_TEXT];
	char old[VALUE_TEXT];
	char new[VALUE_TEXT];
	char reason[256];
	int64_t request;   /* number of the raise that it decided; 0: none */
	int64_t undoes;    /* entry that it took back; 0: none */
	int64_t undone_by; /* entry that took it back, set by store_audit_undone(); 0: none */
	/* What going back takes, see trail.h; NULL: there is no way back.  Borrowed. */
	const char *subject;
	const char *before;
	const char *after;
};

/* How often a limit was changed; limit "": anything at all. */
struct generation {
	char limit[RATION_NAME_MAX + 1];
	uint64_t value;
	uint64_t digest; /* of the limit's rules at that time */
};

/* Leases of one name in one slot of a key, as they are recorded. */
struct kept {
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len;
	int64_t slot;  /* KEPT_NOWHERE: the policy or the table has no place for them now */
	uint32_t n;    /* how many; store_record(): 0: forget all of this slot */
	uint64_t name; /* hash of the name, as in the permit */
};
#define KEPT_NOWHERE (-1)
#define KEPT_MAX (1 << 19)

/* One transaction. */
struct store_edit {
	const int64_t *remove; /* ids of changes that go */
	size_t nremove;
	const struct change *add; /* stored with their ids */
	size_t nadd;
	const struct generation *generations;
	size_t ngenerations;
	const struct audit *audits; /* their ids are not used */
	size_t naudits;
};

/* Open, or create, mode 0600.  0; or -1 with err for people. */
int store_open(const char *path, struct store **out, char *err, size_t errsize);
void store_close(struct store *s);

/*
 * Several of the calls below as one transaction: begin, call them, end.  ok: false if any of them
 * failed.  Nests; nothing is durable before the outermost end has returned 0.
 */
bool store_begin(struct store *s);
int store_end(struct store *s, bool ok, char *err, size_t errsize);

/* Id for the next change: never used before, in this run or an earlier one. */
int64_t store_next_id(struct store *s);

/* All changes, oldest first; *out is malloced. */
int store_changes(struct store *s, struct change **out, size_t *n, char *err, size_t errsize);
/* All generations; *out is malloced. */
int store_generations(
    struct store *s, struct generation **out, size_t *n, char *err, size_t errsize);
/* 0: durable; -1: nothing of it happened. */
int store_commit(struct store *s, const struct store_edit *e, char *err, size_t errsize);
/* Everything recorded of leases; *out is malloced. */
int store_kept(struct store *s, struct kept **out, size_t *n, char *err, size_t errsize);
/* n of them in order, in one transaction.  As store_commit(). */
int store_record(struct store *s, const struct kept *list, size_t n, char *err, size_t errsize);
/* The last n audit entries, newest first; each() ends the walk by returning false. */
int store_audit(struct store *s, int64_t n, bool (*each)(void *arg, const struct audit *a),
    void *arg, char *err, size_t errsize);
/* One entry: 1, and each() has seen it; 0: there is none; -1 with err. */
int store_audit_entry(struct store *s, int64_t id, bool (*each)(void *arg, const struct audit *a),
    void *arg, char *err, size_t errsize);
/* The newest entry after this one about the same subject, or the same request.  As above. */
int store_audit_later(struct store *s, int64_t id, const char *subject, int64_t request,
    bool (*each)(void *arg, const struct audit *a), void *arg, char *err, size_t errsize);
/* The entry that was written last. */
int64_t store_audit_last(const struct store *s);
/*
 * Entry `by` has taken `id` back; what that one had taken back itself counts again, and so on.
 * Within the caller's transaction.
 */
bool store_audit_undone(struct store *s, int64_t id, int64_t by);

#endif
