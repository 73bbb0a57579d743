/*
 * store_leases.c - leases that are kept, by the slot they are in (-1: in none now).
 */
#include "store_sql.h"

#include <string.h>

static const char schema[] = "CREATE TABLE lease ("
			     " limit_name TEXT NOT NULL, key BLOB NOT NULL, slot INTEGER NOT NULL,"
			     " name INTEGER NOT NULL, n INTEGER NOT NULL,"
			     " PRIMARY KEY (limit_name, key, slot, name)) WITHOUT ROWID;";

enum statement { LEASES, LEASE_ADD, LEASE_CLEAR, STATEMENTS };

static const char *const sql[STATEMENTS] = {
	[LEASES] = "SELECT limit_name, key, slot, name, n FROM lease",
	[LEASE_ADD] =
	    ("INSERT INTO lease (limit_name, key, slot, name, n) VALUES (?,?,?,?,?)"
	     " ON CONFLICT (limit_name, key, slot, name) DO UPDATE SET n = n + excluded.n"),
	[LEASE_CLEAR] = "DELETE FROM lease WHERE limit_name = ? AND key = ? AND slot = ?",
};

const struct store_part store_part_leases = { { [2] = schema }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_LEASES][which];
}

static bool
edit_lease(struct store *s, const struct kept *k)
{
	sqlite3_stmt *q = stmt(s, k->n > 0 ? LEASE_ADD : LEASE_CLEAR);

	store_bind_text(q, 1, k->limit);
	(void)sqlite3_bind_blob(q, 2, k->key, (int)k->key_len, SQLITE_STATIC);
	(void)sqlite3_bind_int64(q, 3, k->slot);
	if (k->n > 0) {
		(void)sqlite3_bind_int64(q, 4, (int64_t)k->name);
		(void)sqlite3_bind_int64(q, 5, (int64_t)k->n);
	}
	return store_run(q);
}

int
store_record(struct store *s, const struct kept *list, size_t n, char *err, size_t errsize)
{
	bool ok = true;

	if (!store_begin(s))
		return store_failed(s, err, errsize);
	for (size_t i = 0; ok && i < n; i++)
		ok = edit_lease(s, &list[i]);
	return store_end(s, ok, err, errsize);
}

static bool
read_kept(sqlite3_stmt *q, void *out)
{
	struct kept *k = out;
	int len = sqlite3_column_bytes(q, 1);
	int64_t n = sqlite3_column_int64(q, 4);

	memset(k, 0, sizeof(*k));
	store_column_text(q, 0, k->limit, sizeof(k->limit));
	if (len < 1 || (size_t)len > RATION_KEY_MAX || n < 1 || n > KEPT_MAX)
		return false;
	memcpy(k->key, sqlite3_column_blob(q, 1), (size_t)len);
	k->key_len = (size_t)len;
	k->slot = sqlite3_column_int64(q, 2);
	k->name = (uint64_t)sqlite3_column_int64(q, 3);
	k->n = (uint32_t)n;
	return true;
}

int
store_kept(struct store *s, struct kept **out, size_t *n, char *err, size_t errsize)
{
	void *list;
	int e =
	    store_read_all(s, stmt(s, LEASES), sizeof(**out), read_kept, &list, n, err, errsize);

	*out = list;
	return e;
}
