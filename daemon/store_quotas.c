/*
 * store_quotas.c - what keys have used of days and months, for a segment that has to start anew.
 */
#include "store_quotas.h"

#include <string.h>

#include "store_sql.h"

static const char schema[] =
    "CREATE TABLE quota ("
    " limit_name TEXT NOT NULL, key BLOB NOT NULL, shape INTEGER NOT NULL,"
    " starts INTEGER NOT NULL, ends INTEGER NOT NULL, used INTEGER NOT NULL,"
    " PRIMARY KEY (limit_name, key, shape)) WITHOUT ROWID;"
    "CREATE INDEX quota_ends ON quota (ends);";

enum statement { PUT, DROP, ENDED, ALL, STATEMENTS };

static const char *const sql[STATEMENTS] = {
	[PUT] = "INSERT INTO quota (limit_name, key, shape, starts, ends, used)"
		" VALUES (?,?,?,?,?,?)"
		" ON CONFLICT (limit_name, key, shape) DO UPDATE SET starts = excluded.starts,"
		" ends = excluded.ends, used = excluded.used",
	[DROP] = "DELETE FROM quota WHERE limit_name = ? AND key = ? AND shape = ?",
	[ENDED] = ("DELETE FROM quota WHERE (limit_name, key, shape) IN"
		   " (SELECT limit_name, key, shape FROM quota WHERE ends <= ? LIMIT ?)"),
	[ALL] = "SELECT limit_name, key, shape, starts, ends, used FROM quota WHERE ends > ?",
};

const struct store_part store_part_quotas = { { [3] = schema }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_QUOTAS][which];
}

static bool
put(struct store *s, const struct quota *q)
{
	sqlite3_stmt *st = stmt(s, q->used > 0 ? PUT : DROP);

	store_bind_text(st, 1, q->limit);
	(void)sqlite3_bind_blob(st, 2, q->key, (int)q->key_len, SQLITE_STATIC);
	(void)sqlite3_bind_int64(st, 3, q->shape);
	if (q->used > 0) {
		(void)sqlite3_bind_int64(st, 4, q->start_s);
		(void)sqlite3_bind_int64(st, 5, q->end_s);
		(void)sqlite3_bind_int64(st, 6, (int64_t)q->used);
	}
	return store_run(st);
}

int
store_quotas_put(struct store *s, const struct quota *list, size_t n, char *err, size_t errsize)
{
	bool ok = true;

	if (!store_begin(s))
		return store_failed(s, err, errsize);
	for (size_t i = 0; ok && i < n; i++)
		ok = put(s, &list[i]);
	return store_end(s, ok, err, errsize);
}

int
store_quotas_ended(struct store *s, int64_t now_s, unsigned most, char *err, size_t errsize)
{
	sqlite3_stmt *st = stmt(s, ENDED);

	(void)sqlite3_bind_int64(st, 1, now_s);
	(void)sqlite3_bind_int64(st, 2, most);
	return store_run(st) ? 0 : store_failed(s, err, errsize);
}

/* What a database says is input too: a row that makes no sense is left out. */
static bool
read_quota(sqlite3_stmt *st, struct quota *q)
{
	int len = sqlite3_column_bytes(st, 1);
	int64_t shape = sqlite3_column_int64(st, 2), used = sqlite3_column_int64(st, 5);

	memset(q, 0, sizeof(*q));
	if (len < 1 || (size_t)len > RATION_KEY_MAX || shape < 1 || shape > UINT32_MAX || used < 1)
		return false;
	store_column_text(st, 0, q->limit, sizeof(q->limit));
	memcpy(q->key, sqlite3_column_blob(st, 1), (size_t)len);
	q->key_len = (size_t)len;
	q->shape = (uint32_t)shape;
	q->start_s = sqlite3_column_int64(st, 3);
	q->end_s = sqlite3_column_int64(st, 4);
	q->used = (uint64_t)used;
	return true;
}

int
store_quotas(struct store *s, int64_t now_s, void (*each)(void *arg, const struct quota *q),
    void *arg, char *err, size_t errsize)
{
	sqlite3_stmt *st = stmt(s, ALL);
	struct quota q;
	int e;

	(void)sqlite3_bind_int64(st, 1, now_s);
	while ((e = sqlite3_step(st)) == SQLITE_ROW)
		if (read_quota(st, &q))
			each(arg, &q);
	if (e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(st);
	return e == SQLITE_DONE ? 0 : -1;
}
