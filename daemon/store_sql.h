/*
 * store_sql.h - what the parts of the store share: the only files that know SQL.
 *
 * A part is a file, store_NAME.c, with its tables and its prepared statements; the file that
 * opens, brings up to date and commits is store.c.  A part adds `schema[v]`: what version v of the
 * schema brought for it.  Transactions nest: what a caller has begun is durable when the
 * outermost ends, or none of it is.
 */
#ifndef RATIOND_STORE_SQL_H
#define RATIOND_STORE_SQL_H

#include <sqlite3.h>

#include "receiver.h"
#include "store.h"

#define STORE_SCHEMA 3

enum store_part_id {
	PART_LIVE,
	PART_LEASES,
	PART_EVENTS,
	PART_DELIVERIES,
	PART_NOTIFIED,
	PART_USAGE,
	PART_REQUESTS,
	PART_QUOTAS,
	PARTS
};
enum store_step { STEP_BEGIN, STEP_COMMIT, STEP_ROLLBACK, STEPS };

struct store_part {
	const char *schema[STORE_SCHEMA + 1]; /* by version; NULL: nothing */
	const char *const *sql;               /* statements, by the part's own numbers */
	size_t n;
};
extern const struct store_part store_part_live, store_part_leases, store_part_events,
    store_part_deliveries, store_part_notified, store_part_usage, store_part_requests,
    store_part_quotas;

struct store {
	sqlite3 *db;
	sqlite3_stmt **stmt[PARTS];
	sqlite3_stmt *step[STEPS];
	int64_t next_id;
	int64_t audit_id; /* of the entry that was written last */
	unsigned depth;   /* of transactions that are open */
	bool broken;      /* something in them failed */
	char why[512];
	char receivers[RECEIVERS_MAX][RECEIVER_NAME_MAX + 1]; /* of the policy, by number */
	unsigned nreceivers;
};

/* The database's last error, for people.  Returns -1. */
int store_failed(const struct store *s, char *err, size_t errsize);
/* Static text, until the statement is reset. */
void store_bind_text(sqlite3_stmt *q, int at, const char *text);
/* Run a statement that returns no rows, and make it ready for its next use. */
bool store_run(sqlite3_stmt *q);
void store_column_text(sqlite3_stmt *q, int at, char *out, size_t size);
/* All rows of a statement as an array of `size` bytes each; those that read() takes. */
int store_read_all(struct store *s, sqlite3_stmt *q, size_t size,
    bool (*read)(sqlite3_stmt *q, void *out), void **out, size_t *n, char *err, size_t errsize);

#endif
