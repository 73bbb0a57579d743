/*
 * store_usage.c - usage by key and limit over time.
 *
 * Rows are ordered by level, bucket and id: what a round of recording touches lies together (the
 * bucket in progress), a roll-up reads and writes in order, and retention takes a bucket away as
 * a range.  A key's series is one look-up a bucket, some hundred at most.  Totals have levels of
 * their own, so that they are read without the keys.
 */
#include "store_usage.h"

#include <stdlib.h>
#include <string.h>

#include "store_sql.h"

#define TOTALS (USAGE_LEVELS) /* added to the level of a total's rows */

const int64_t usage_seconds[USAGE_LEVELS] = { 900, 3600, 86400 };

/* key: a blob, an empty one for a limit's others, the number 0 for a total. */
static const char schema[] =
    "CREATE TABLE usage_name (no INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE);"
    "CREATE TABLE usage_key (id INTEGER PRIMARY KEY AUTOINCREMENT, key NOT NULL,"
    " limit_no INTEGER NOT NULL, plan_no INTEGER NOT NULL,"
    " first INTEGER NOT NULL, last INTEGER NOT NULL);"
    "CREATE UNIQUE INDEX usage_by_key ON usage_key (key, limit_no, plan_no);"
    "CREATE TABLE usage (level INTEGER NOT NULL, start INTEGER NOT NULL, id INTEGER NOT NULL,"
    " admitted INTEGER NOT NULL, denied INTEGER NOT NULL,"
    " PRIMARY KEY (level, start, id)) WITHOUT ROWID;"
    "CREATE TABLE usage_rolled (level INTEGER PRIMARY KEY, start INTEGER NOT NULL,"
    " id INTEGER NOT NULL);"
    "CREATE TABLE usage_batch (one INTEGER PRIMARY KEY, store_id INTEGER NOT NULL,"
    " serial INTEGER NOT NULL, bytes BLOB);"
    "INSERT INTO usage_batch (one, store_id, serial) VALUES (1, random(), 0);"
    "INSERT INTO usage_rolled (level, start, id) VALUES (1, -1, 0), (2, -1, 0);";

enum statement {
	STATE,
	STATE_ROLLED,
	NAME_FIND,
	NAME_ADD,
	KEY_FIND,
	KEY_ADD,
	KEY_SEEN,
	ROW_ADD,
	BATCH_PUT,
	BATCH_GET,
	ROLL,
	ROLL_SEEN,
	ROLLED_PUT,
	FORGET,
	OLDEST,
	PURGE,
	STALE,
	NEXT_ID,
	LAST_ID,
	PAGES,
	ROW_GET,
	WALK,
	ENTRY,
	ENTRIES,
	STATEMENTS
};

#define MOST "4503599627370496"
#define SUM(x) #x " = max(-" MOST ", min(" MOST ", " #x " + excluded." #x "))"
#define MERGE " ON CONFLICT DO UPDATE SET " SUM(admitted) ", " SUM(denied)
#define ENTRY_COLUMNS \
	"SELECT k.id, k.key, l.name, p.name, k.first, k.last FROM usage_key k" \
	" JOIN usage_name l ON l.no = k.limit_no JOIN usage_name p ON p.no = k.plan_no"

static const char *const sql[STATEMENTS] = {
	[STATE] = "SELECT store_id, serial, (SELECT count(*) FROM usage_key) FROM usage_batch",
	[STATE_ROLLED] = "SELECT level, start, id FROM usage_rolled",
	[NAME_FIND] = "SELECT no FROM usage_name WHERE name = ?",
	[NAME_ADD] = "INSERT INTO usage_name (name) VALUES (?)",
	[KEY_FIND] =
	    "SELECT id, last FROM usage_key WHERE key = ? AND limit_no = ? AND plan_no = ?",
	[KEY_ADD] = "INSERT INTO usage_key (key, limit_no, plan_no, first, last)"
		    " VALUES (?1, ?2, ?3, ?4, ?4)",
	[KEY_SEEN] = "UPDATE usage_key SET last = ? WHERE id = ?",
	[ROW_ADD] =
	    "INSERT INTO usage (level, start, id, admitted, denied) VALUES (?,?,?,?,?)" MERGE,
	[BATCH_PUT] = "UPDATE usage_batch SET serial = ?, bytes = ?",
	[BATCH_GET] = "SELECT serial, bytes FROM usage_batch",
	[ROLL] = "INSERT INTO usage (level, start, id, admitted, denied)"
		 " SELECT ?1, ?2, id, admitted, denied FROM usage"
		 " WHERE level = ?3 AND start = ?4 AND id >= ?5 AND id < ?6" MERGE,
	[ROLL_SEEN] = "UPDATE usage_key SET last = ?1 WHERE id IN (SELECT id FROM usage"
		      " WHERE level = ?2 AND start = ?1 AND id >= ?3 AND id < ?4) AND last < ?1",
	[ROLLED_PUT] = "UPDATE usage_rolled SET start = ?, id = ? WHERE level = ?",
	[FORGET] = "DELETE FROM usage WHERE level = ?1 AND start = ?2 AND id < coalesce((SELECT id"
		   " FROM usage WHERE level = ?1 AND start = ?2 ORDER BY id LIMIT 1 OFFSET ?3),"
		   " 9223372036854775807)",
	[OLDEST] = "SELECT min(start) FROM usage WHERE level = ? AND start >= ?",
	[PURGE] = "DELETE FROM usage_key WHERE id >= ? AND id < ? AND last < ?",
	[STALE] = "SELECT 1 FROM usage_key WHERE id >= ? AND id < ? AND last < ? LIMIT 1",
	[NEXT_ID] = "SELECT min(id) FROM usage WHERE level = ? AND start = ? AND id >= ?",
	[LAST_ID] = "SELECT max(id) FROM usage_key",
	[PAGES] = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
	[ROW_GET] = "SELECT admitted, denied FROM usage WHERE level = ? AND start = ? AND id = ?",
	[WALK] = "SELECT start, id, admitted, denied FROM usage WHERE level = ?"
		 " AND (start, id) > (?, ?) AND start < ? ORDER BY start, id",
	[ENTRY] = ENTRY_COLUMNS " WHERE k.id = ?",
	[ENTRIES] = ENTRY_COLUMNS " WHERE k.key >= ? AND k.key <= ? ORDER BY k.key, k.id",
};

const struct store_part store_part_usage = { { [3] = schema }, sql, STATEMENTS };

/* Ready, with these numbers bound. */
static sqlite3_stmt *
stmt(struct store *s, enum statement which, unsigned n, const int64_t *args)
{
	sqlite3_stmt *q = s->stmt[PART_USAGE][which];

	for (unsigned i = 0; i < n; i++)
		(void)sqlite3_bind_int64(q, (int)i + 1, args[i]);
	return q;
}
#define ARGS(...) \
	(unsigned)(sizeof((const int64_t[]) { __VA_ARGS__ }) / sizeof(int64_t)), (const int64_t[]) \
	{ \
		__VA_ARGS__ \
	}

/* The first column of the first row, or `none`. */
static int64_t
one(sqlite3_stmt *q, int64_t none)
{
	int64_t v = none;

	if (sqlite3_step(q) == SQLITE_ROW && sqlite3_column_type(q, 0) != SQLITE_NULL)
		v = sqlite3_column_int64(q, 0);
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return v;
}

int
store_usage_state(struct store *s, struct usage_state *out, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, STATE, 0, NULL);
	int e = sqlite3_step(q);

	memset(out, 0, sizeof(*out));
	if (e == SQLITE_ROW) {
		out->store_id = (uint64_t)sqlite3_column_int64(q, 0);
		out->serial = (uint64_t)sqlite3_column_int64(q, 1);
		out->entries = sqlite3_column_int64(q, 2);
	}
	(void)sqlite3_reset(q);
	if (e != SQLITE_ROW)
		return store_failed(s, err, errsize);
	q = stmt(s, STATE_ROLLED, 0, NULL);
	while ((e = sqlite3_step(q)) == SQLITE_ROW) {
		int64_t level = sqlite3_column_int64(q, 0);

		if (level > 0 && level < (int64_t)USAGE_LEVELS)
			out->rolled[level] = (struct usage_rolled) { sqlite3_column_int64(q, 1),
				sqlite3_column_int64(q, 2) };
	}
	(void)sqlite3_reset(q);
	return e == SQLITE_DONE ? 0 : store_failed(s, err, errsize);
}

/* ---- transactions ---- */

bool
store_usage_begin(struct store *s)
{
	if (s->depth == 0)
		(void)sqlite3_exec(s->db, "PRAGMA synchronous = NORMAL", NULL, NULL, NULL);
	if (store_begin(s))
		return true;
	/* Whatever else is written next is to be on disk. */
	if (s->depth == 0)
		(void)sqlite3_exec(s->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
	return false;
}

int
store_usage_end(struct store *s, bool ok, char *err, size_t errsize)
{
	int e = store_end(s, ok, err, errsize);

	if (s->depth == 0)
		(void)sqlite3_exec(s->db, "PRAGMA synchronous = FULL", NULL, NULL, NULL);
	return e;
}

/* ---- writing ---- */

bool
store_usage_name(struct store *s, const char *name, int64_t *no)
{
	sqlite3_stmt *q = stmt(s, NAME_FIND, 0, NULL);

	store_bind_text(q, 1, name);
	*no = one(q, 0);
	if (*no != 0)
		return true;
	q = stmt(s, NAME_ADD, 0, NULL);
	store_bind_text(q, 1, name);
	if (!store_run(q))
		return false;
	*no = sqlite3_last_insert_rowid(s->db);
	return true;
}

static void
bind_key(sqlite3_stmt *q, enum usage_kind kind, const unsigned char *key, size_t len)
{
	if (kind == USAGE_TOTAL)
		(void)sqlite3_bind_int64(q, 1, 0);
	else if (kind == USAGE_OTHERS)
		(void)sqlite3_bind_zeroblob(q, 1, 0);
	else
		(void)sqlite3_bind_blob(q, 1, key, (int)len, SQLITE_STATIC);
}

bool
store_usage_find(struct store *s, enum usage_kind kind, const unsigned char *key, size_t len,
    int64_t limit_no, int64_t plan_no, int64_t day, bool add, int64_t *id, bool *added)
{
	sqlite3_stmt *q = stmt(s, KEY_FIND, ARGS(0, limit_no, plan_no));
	int64_t last = 0;
	int e;

	*id = 0;
	*added = false;
	bind_key(q, kind, key, len);
	e = sqlite3_step(q);
	if (e == SQLITE_ROW) {
		*id = sqlite3_column_int64(q, 0);
		last = sqlite3_column_int64(q, 1);
	}
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	if (e != SQLITE_ROW && e != SQLITE_DONE)
		return false;
	if (*id != 0)
		return last >= day || store_run(stmt(s, KEY_SEEN, ARGS(day, *id)));
	if (!add)
		return true;
	q = stmt(s, KEY_ADD, ARGS(0, limit_no, plan_no, day));
	bind_key(q, kind, key, len);
	if (!store_run(q))
		return false;
	*id = sqlite3_last_insert_rowid(s->db);
	*added = true;
	return true;
}

static int64_t
level_of(unsigned level, bool total)
{
	return total ? level + TOTALS : level;
}

bool
store_usage_add(struct store *s, unsigned level, enum usage_kind kind, int64_t start, int64_t id,
    int64_t admitted, int64_t denied)
{
	return store_run(stmt(
	    s, ROW_ADD, ARGS(level_of(level, kind == USAGE_TOTAL), start, id, admitted, denied)));
}

bool
store_usage_journal(struct store *s, uint64_t serial, const void *bytes, size_t n)
{
	sqlite3_stmt *q = stmt(s, BATCH_PUT, ARGS((int64_t)serial));

	(void)sqlite3_bind_blob64(q, 2, bytes, n, SQLITE_STATIC);
	return store_run(q);
}

bool
store_usage_roll(struct store *s, unsigned level, int64_t start, int64_t from, int64_t to)
{
	bool ok = true;

	for (int64_t fine = start; ok && fine < start + usage_seconds[level];
	     fine += usage_seconds[level - 1])
		for (int64_t add = 0; ok && add <= (int64_t)TOTALS; add += TOTALS)
			ok = store_run(stmt(
			    s, ROLL, ARGS(level + add, start, level - 1 + add, fine, from, to)));
	if (ok && level + 1 == USAGE_LEVELS)
		ok = store_run(stmt(s, ROLL_SEEN, ARGS(start, level, from, to)));
	return ok;
}

bool
store_usage_rolled(struct store *s, unsigned level, const struct usage_rolled *r)
{
	return store_run(stmt(s, ROLLED_PUT, ARGS(r->start, r->id, level)));
}

bool
store_usage_forget(struct store *s, unsigned level, int64_t before, unsigned n, bool *more)
{
	for (int64_t add = 0; add <= (int64_t)TOTALS; add += TOTALS) {
		int64_t oldest = one(stmt(s, OLDEST, ARGS(level + add, INT64_MIN)), INT64_MAX);

		if (oldest >= before)
			continue;
		*more = true;
		return store_run(stmt(s, FORGET, ARGS(level + add, oldest, n)));
	}
	*more = false;
	return true;
}

bool
store_usage_purge(struct store *s, int64_t from, int64_t to, int64_t before, int64_t *gone)
{
	bool ok = store_run(stmt(s, PURGE, ARGS(from, to, before)));

	*gone = ok ? sqlite3_changes(s->db) : 0;
	return ok;
}

/* ---- reading ---- */

int
store_usage_last(
    struct store *s, uint64_t *serial, void **bytes, size_t *n, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, BATCH_GET, 0, NULL);
	int e = sqlite3_step(q);

	*bytes = NULL;
	*n = 0;
	*serial = 0;
	if (e == SQLITE_ROW) {
		const void *blob = sqlite3_column_blob(q, 1);

		*serial = (uint64_t)sqlite3_column_int64(q, 0);
		*n = (size_t)sqlite3_column_bytes(q, 1);
		if (*n > 0 && (*bytes = malloc(*n)) != NULL)
			memcpy(*bytes, blob, *n);
		else
			*n = 0;
	}
	(void)sqlite3_reset(q);
	return e == SQLITE_ROW ? 0 : store_failed(s, err, errsize);
}

int64_t
store_usage_next(struct store *s, unsigned level, int64_t from)
{
	return one(stmt(s, OLDEST, ARGS(level, from)), INT64_MAX);
}

int64_t
store_usage_next_id(struct store *s, unsigned level, int64_t start, int64_t from)
{
	int64_t least = INT64_MAX;

	for (int64_t fine = start; fine < start + usage_seconds[level];
	     fine += usage_seconds[level - 1])
		for (int64_t add = 0; add <= (int64_t)TOTALS; add += TOTALS) {
			int64_t id =
			    one(stmt(s, NEXT_ID, ARGS(level - 1 + add, fine, from)), INT64_MAX);

			least = id < least ? id : least;
		}
	return least;
}

int64_t
store_usage_last_id(struct store *s)
{
	return one(stmt(s, LAST_ID, 0, NULL), 0);
}

bool
store_usage_stale(struct store *s, int64_t from, int64_t to, int64_t before)
{
	return one(stmt(s, STALE, ARGS(from, to, before)), 0) != 0;
}

int64_t
store_usage_bytes(struct store *s)
{
	return one(stmt(s, PAGES, 0, NULL), 0);
}

bool
store_usage_get(
    struct store *s, unsigned level, int64_t start, int64_t id, int64_t *admitted, int64_t *denied)
{
	sqlite3_stmt *q = stmt(s, ROW_GET, ARGS(level, start, id));
	int e = sqlite3_step(q);

	*admitted = e == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
	*denied = e == SQLITE_ROW ? sqlite3_column_int64(q, 1) : 0;
	(void)sqlite3_reset(q);
	return e == SQLITE_ROW || e == SQLITE_DONE;
}

bool
store_usage_walk(struct store *s, unsigned level, bool totals, int64_t from, int64_t after_id,
    int64_t to, bool (*each)(void *arg, const struct usage_row *r), void *arg)
{
	sqlite3_stmt *q = stmt(s, WALK, ARGS(level_of(level, totals), from, after_id, to));
	int e;

	while ((e = sqlite3_step(q)) == SQLITE_ROW) {
		struct usage_row r = { sqlite3_column_int64(q, 0), sqlite3_column_int64(q, 1),
			sqlite3_column_int64(q, 2), sqlite3_column_int64(q, 3) };

		if (!each(arg, &r))
			break;
	}
	(void)sqlite3_reset(q);
	return e == SQLITE_DONE || e == SQLITE_ROW;
}

static void
read_entry(sqlite3_stmt *q, struct usage_entry *out)
{
	bool total = sqlite3_column_type(q, 1) == SQLITE_INTEGER;
	int len = total ? 0 : sqlite3_column_bytes(q, 1);

	memset(out, 0, sizeof(*out));
	out->id = sqlite3_column_int64(q, 0);
	out->kind = total ? USAGE_TOTAL : len == 0 ? USAGE_OTHERS : USAGE_KEY;
	if (out->kind == USAGE_KEY && len <= (int)RATION_KEY_MAX) {
		memcpy(out->key, sqlite3_column_blob(q, 1), (size_t)len);
		out->key_len = (size_t)len;
	}
	store_column_text(q, 2, out->limit, sizeof(out->limit));
	store_column_text(q, 3, out->plan, sizeof(out->plan));
	out->first = sqlite3_column_int64(q, 4);
	out->last = sqlite3_column_int64(q, 5);
}

bool
store_usage_entry(struct store *s, int64_t id, struct usage_entry *out)
{
	sqlite3_stmt *q = stmt(s, ENTRY, ARGS(id));
	int e = sqlite3_step(q);

	if (e == SQLITE_ROW)
		read_entry(q, out);
	(void)sqlite3_reset(q);
	return e == SQLITE_ROW;
}

/* Of a prefix the last is the one with bytes of 255 behind it. */
bool
store_usage_entries(struct store *s, const unsigned char *key, size_t len, bool prefix,
    bool (*each)(void *arg, const struct usage_entry *e), void *arg)
{
	sqlite3_stmt *q = stmt(s, ENTRIES, 0, NULL);
	unsigned char end[RATION_KEY_MAX + 1];
	struct usage_entry entry;
	int e;

	if (len > RATION_KEY_MAX)
		return false;
	memset(end, 0xff, sizeof(end));
	if (len > 0)
		memcpy(end, key, len);
	(void)sqlite3_bind_blob(q, 1, len > 0 ? (const void *)key : "", (int)len, SQLITE_STATIC);
	(void)sqlite3_bind_blob(q, 2, end, prefix ? (int)sizeof(end) : (int)len, SQLITE_STATIC);
	while ((e = sqlite3_step(q)) == SQLITE_ROW) {
		read_entry(q, &entry);
		if (!each(arg, &entry))
			break;
	}
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return e == SQLITE_DONE || e == SQLITE_ROW;
}
