/*
 * store_requests.c - raises that were asked for.
 */
#include "store_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "requests.h"

/* Only one for a limit and key is open at a time, whatever a caller forgets to check. */
static const char schema[] =
    "CREATE TABLE request ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT NOT NULL,"
    " uid INTEGER NOT NULL, pid INTEGER NOT NULL, limit_name TEXT NOT NULL, key BLOB NOT NULL,"
    " now TEXT NOT NULL, wanted TEXT NOT NULL, reason TEXT NOT NULL, volume TEXT NOT NULL,"
    " plan TEXT NOT NULL, due INTEGER NOT NULL, state TEXT NOT NULL, decided_at INTEGER NOT NULL,"
    " decided_by TEXT NOT NULL, why TEXT NOT NULL, change INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX request_open ON request (limit_name, key) WHERE state = 'open';";

#define REQUEST_COLUMNS \
	"id, at, who, uid, pid, limit_name, key, now, wanted, reason, volume, plan, due, state," \
	" decided_at, decided_by, why, change"

enum statement { ADD, DECIDE, PRUNE, ONE, OPEN, ALL, COUNT, SAME, STATEMENTS };

static const char *const sql[STATEMENTS] = {
	[ADD] =
	    "INSERT INTO request (at, who, uid, pid, limit_name, key, now, wanted, reason, volume,"
	    " plan, due, state, decided_at, decided_by, why, change)"
	    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,'open',0,'','',0)",
	[DECIDE] = "UPDATE request SET state = ?3, decided_at = ?4, decided_by = ?5, why = ?6,"
		   " change = ?7 WHERE id = ?1 AND state = ?2",
	[PRUNE] = "DELETE FROM request WHERE id <= (SELECT max(id) FROM request) - ?"
		  " AND state <> 'open'",
	[ONE] = "SELECT " REQUEST_COLUMNS " FROM request WHERE id = ?",
	[OPEN] = "SELECT " REQUEST_COLUMNS " FROM request WHERE state = 'open' ORDER BY id LIMIT ?",
	[ALL] = "SELECT " REQUEST_COLUMNS " FROM request ORDER BY id DESC LIMIT ?",
	[COUNT] = "SELECT count(*) FILTER (WHERE state = 'open'),"
		  " count(*) FILTER (WHERE state = 'open' AND uid = ?1),"
		  " count(*) FILTER (WHERE at > ?2 AND uid = ?1),"
		  " min(due) FILTER (WHERE state = 'open') FROM request",
	[SAME] = "SELECT id FROM request WHERE state = 'open' AND limit_name = ? AND key = ?",
};

const struct store_part store_part_requests = { { [3] = schema }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_REQUESTS][which];
}

/* ---- writing ---- */

static bool
insert(struct store *s, const struct request *r)
{
	sqlite3_stmt *q = stmt(s, ADD);

	(void)sqlite3_bind_int64(q, 1, r->at);
	store_bind_text(q, 2, r->who);
	(void)sqlite3_bind_int64(q, 3, r->uid);
	(void)sqlite3_bind_int64(q, 4, r->pid);
	store_bind_text(q, 5, r->limit);
	(void)sqlite3_bind_blob(q, 6, r->key, (int)r->key_len, SQLITE_STATIC);
	store_bind_text(q, 7, r->now);
	store_bind_text(q, 8, r->wanted);
	store_bind_text(q, 9, r->reason);
	store_bind_text(q, 10, r->volume);
	store_bind_text(q, 11, r->plan);
	(void)sqlite3_bind_int64(q, 12, r->due);
	return store_run(q);
}

int
store_request_add(struct store *s, struct request *r, char *err, size_t errsize)
{
	bool ok;

	if (!store_begin(s))
		return store_failed(s, err, errsize);
	ok = insert(s, r);
	r->id = ok ? sqlite3_last_insert_rowid(s->db) : 0;
	if (ok) {
		(void)sqlite3_bind_int64(stmt(s, PRUNE), 1, REQUESTS_KEPT);
		ok = store_run(stmt(s, PRUNE));
	}
	return store_end(s, ok, err, errsize);
}

bool
store_request_decide(struct store *s, int64_t id, const char *from, const struct decision *d,
    char *err, size_t errsize)
{
	bool open = strcmp(d->state, REQUEST_OPEN) == 0;
	sqlite3_stmt *q = stmt(s, DECIDE);

	(void)sqlite3_bind_int64(q, 1, id);
	store_bind_text(q, 2, from);
	store_bind_text(q, 3, d->state);
	(void)sqlite3_bind_int64(q, 4, open ? 0 : d->at);
	store_bind_text(q, 5, open ? "" : d->who);
	store_bind_text(q, 6, open ? "" : d->why);
	(void)sqlite3_bind_int64(q, 7, open ? 0 : d->change);
	if (!store_run(q))
		return store_failed(s, err, errsize) == 0;
	if (sqlite3_changes(s->db) == 1)
		return true;
	(void)snprintf(err, errsize, "request %lld is not %s any more", (long long)id, from);
	return false;
}

/* ---- reading ---- */

/* What a database says is input too: a row that makes no sense is left out. */
static bool
read_request(sqlite3_stmt *q, void *out)
{
	struct request *r = out;
	int len = sqlite3_column_bytes(q, 6);

	memset(r, 0, sizeof(*r));
	if (len < 1 || (size_t)len > RATION_KEY_MAX)
		return false;
	r->id = sqlite3_column_int64(q, 0);
	r->at = sqlite3_column_int64(q, 1);
	store_column_text(q, 2, r->who, sizeof(r->who));
	r->uid = (uint32_t)sqlite3_column_int64(q, 3);
	r->pid = (int32_t)sqlite3_column_int64(q, 4);
	store_column_text(q, 5, r->limit, sizeof(r->limit));
	memcpy(r->key, sqlite3_column_blob(q, 6), (size_t)len);
	r->key_len = (size_t)len;
	store_column_text(q, 7, r->now, sizeof(r->now));
	store_column_text(q, 8, r->wanted, sizeof(r->wanted));
	store_column_text(q, 9, r->reason, sizeof(r->reason));
	store_column_text(q, 10, r->volume, sizeof(r->volume));
	store_column_text(q, 11, r->plan, sizeof(r->plan));
	r->due = sqlite3_column_int64(q, 12);
	store_column_text(q, 13, r->state, sizeof(r->state));
	r->decided_at = sqlite3_column_int64(q, 14);
	store_column_text(q, 15, r->decided_by, sizeof(r->decided_by));
	store_column_text(q, 16, r->why, sizeof(r->why));
	r->change = sqlite3_column_int64(q, 17);
	return true;
}

int
store_requests(struct store *s, bool all, int64_t n, struct request **out, size_t *count, char *err,
    size_t errsize)
{
	sqlite3_stmt *q = stmt(s, all ? ALL : OPEN);
	void *list;
	int e;

	(void)sqlite3_bind_int64(q, 1, n);
	e = store_read_all(s, q, sizeof(**out), read_request, &list, count, err, errsize);
	*out = list;
	return e;
}

int
store_request(struct store *s, int64_t id, struct request *out, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, ONE);
	bool found = false;
	int e;

	(void)sqlite3_bind_int64(q, 1, id);
	e = sqlite3_step(q);
	if (e == SQLITE_ROW) {
		found = read_request(q, out);
		e = SQLITE_DONE;
	}
	if (e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	return e != SQLITE_DONE ? -1 : found;
}

int
store_request_count(struct store *s, uint32_t uid, int64_t since, struct request_counts *out,
    char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, COUNT);
	bool ok;

	(void)sqlite3_bind_int64(q, 1, uid);
	(void)sqlite3_bind_int64(q, 2, since);
	ok = sqlite3_step(q) == SQLITE_ROW;
	if (ok)
		*out = (struct request_counts) { .open = sqlite3_column_int64(q, 0),
			.user_open = sqlite3_column_int64(q, 1),
			.user_since = sqlite3_column_int64(q, 2),
			.due = sqlite3_column_int64(q, 3) };
	else
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	return ok ? 0 : -1;
}

int
store_request_same(struct store *s, const char *limit, const unsigned char *key, size_t key_len,
    int64_t *id, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, SAME);
	int e;

	store_bind_text(q, 1, limit);
	(void)sqlite3_bind_blob(q, 2, key, (int)key_len, SQLITE_STATIC);
	e = sqlite3_step(q);
	*id = e == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
	if (e != SQLITE_ROW && e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return e == SQLITE_ROW || e == SQLITE_DONE ? 0 : -1;
}
