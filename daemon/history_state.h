/*
 * history_state.h - what the files of the recorder share.
 */
#ifndef RATIOND_HISTORY_STATE_H
#define RATIOND_HISTORY_STATE_H

#include "history.h"

#define BATCH_MAX 1024u /* slots written in one transaction: some 10 ms */
#define CURSOR_DONE (UINT64_C(1) << 63)
#define CURSOR_PLAN(c) ((c)->admitted >> 48)
#define TOTAL_BITS 44
#define TOTAL_MASK ((UINT64_C(1) << TOTAL_BITS) - 1)
#define DENIED_BITS 36
#define DENIED_MASK ((UINT64_C(1) << DENIED_BITS) - 1)

/* What is recorded of a slot's life; after those of the slots one for each limit. */
struct cursor {
	uint32_t birth;
	uint32_t id;       /* of its dictionary entry; 0: to be looked up */
	uint64_t admitted; /* plan's number(16) zero(4) total(44) */
	uint64_t denied;   /* done(1) zero(27) calls(36); done: the slot may be freed */
};
static_assert(sizeof(struct cursor) == 24, "24 bytes a slot");

/* One that is to be written. */
struct pending {
	struct cursor next;
	uint32_t index;
	bool gone;
	int64_t admitted, denied; /* what is new */
};

/* As it stands in the store, until the cursors are known to be in the file. */
struct journal_entry {
	uint32_t index;
	uint32_t birth;
	uint32_t id;
	uint32_t reserved;
	uint64_t admitted;
	uint64_t denied;
};

struct recorded_head;

/* Tasks of upkeep, in turn. */
enum upkeep { UPKEEP_HOURS, UPKEEP_DAYS, UPKEEP_FORGET, UPKEEP_PURGE, UPKEEPS };

struct history {
	struct keeper *keeper;
	struct store *store;
	struct config_history policy;
	struct usage_state state;

	struct recorded_head *head; /* of the file; NULL: off */
	size_t bytes;
	struct cursor *cursors; /* nslots + LIMITS_MAX */
	uint8_t *queued;        /* a bit a slot: it is in the batch */

	struct pending batch[BATCH_MAX];
	size_t n;
	struct journal_entry journal[BATCH_MAX];
	uint32_t gone[BATCH_MAX];

	/* Names of the policy in force as the store's numbers; 0: not looked up yet. */
	uint32_t version;
	uint16_t plan_no[256];
	int64_t limit_no[LIMITS_MAX];
	int64_t other_id[LIMITS_MAX];

	unsigned flushed; /* batches in this tick's sweep */
	bool recording;   /* a round is going on */
	uint64_t next;    /* slot that it goes on with */
	uint64_t due_ns;
	uint64_t round_cpu_ns, round_slots;
	struct history_status status;

	unsigned task;     /* enum upkeep */
	int64_t purge_id;  /* the next to look at; 0: none is going on */
	int64_t purge_day; /* when it was done last */
	int64_t
	    uncached_day; /* since when cursors know only ids of keys seen since; 0: they may not */
	int64_t forgot_at;  /* when nothing was found to forget */
	int64_t failing_s;  /* since when the store fails; 0: it does not */
	int64_t complain_s; /* when that was said last */
	bool told_full;
};

/* ---- history_file.c ---- */

/* Map the file of cursors, made anew unless it is of this segment. */
int recorded_open(struct history *h, char *err, size_t errsize);
void recorded_close(struct history *h);
/* The batch is in the store: now it is recorded. */
void recorded_apply(struct history *h);
/* Away with it: what is used from now on is not recorded. */
void recorded_forget(const struct history *h);

/* ---- history.c ---- */

/* What a slot in use, or a GONE one, holds.  False: none, or a chunk. */
bool history_reading(const struct segment *seg, uint64_t slot, struct cursor *out);
uint64_t history_cpu_ns(void);

/* ---- history_write.c ---- */

/* The store failed: said once a minute. */
void history_failed(struct history *h, const char *what);
/*
 * All that is queued; in_time: as much of it as there is time for, the rest is taken out of the
 * batch.  False: none of it, the store failed.
 */
bool history_write(struct history *h, bool in_time);

/* ---- history_upkeep.c ---- */

/* Roll up, forget, purge: for about this long.  True: there is more to do. */
bool history_upkeep(struct history *h, uint64_t cpu_ns);

#endif
