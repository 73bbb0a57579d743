/*
 * store_notified.c - which thresholds were crossed, once for each key and period: notified.h.
 *
 * The marks of a record stand in one column, "60@1767225600/0 80@...": they are read and
 * written together, and nothing is ever asked about one of them.
 */
#include "notified.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "store_sql.h"

#define MARKS_TEXT (NOTIFY_MAX * 48)

static const char schema[] =
    "CREATE TABLE notified ("
    " limit_name TEXT NOT NULL, key BLOB NOT NULL, shape INTEGER NOT NULL,"
    " period INTEGER NOT NULL, ends INTEGER NOT NULL, span INTEGER NOT NULL,"
    " units INTEGER NOT NULL, used INTEGER NOT NULL, marks TEXT NOT NULL,"
    " remind_at INTEGER NOT NULL, remind INTEGER NOT NULL,"
    " PRIMARY KEY (limit_name, key, shape, period)) WITHOUT ROWID;"
    "CREATE INDEX notified_ends ON notified (ends);"
    "CREATE INDEX notified_due ON notified (remind_at) WHERE remind_at > 0;"
    "CREATE TABLE notes_tail (id INTEGER PRIMARY KEY CHECK (id = 1),"
    " segment INTEGER NOT NULL, number INTEGER NOT NULL, settled INTEGER NOT NULL);";

enum statement { GET, PUT, DROP, COUNT, DUE, NEXT, RESUME, TAIL, TAIL_PUT, STATEMENTS };

#define COLUMNS "limit_name, key, shape, period, ends, span, units, used, marks, remind_at, remind"
#define THE_ONE "limit_name = ? AND key = ? AND shape = ? AND period = ?"

static const char *const sql[STATEMENTS] = {
	[GET] = "SELECT " COLUMNS " FROM notified WHERE " THE_ONE,
	[PUT] = "INSERT OR REPLACE INTO notified (" COLUMNS ") VALUES (?,?,?,?,?,?,?,?,?,?,?)",
	[DROP] = "DELETE FROM notified WHERE (limit_name, key, shape, period) IN ("
		 "SELECT limit_name, key, shape, period FROM notified"
		 " WHERE ends <= CASE period WHEN 0 THEN ?2 ELSE ?1 END AND ends <= max(?1, ?2)"
		 " LIMIT ?3)",
	[COUNT] = "SELECT count(*) FROM notified",
	[DUE] = "SELECT " COLUMNS " FROM notified WHERE remind_at > 0 AND remind_at <= ?"
		" ORDER BY remind_at LIMIT ?",
	[NEXT] = "SELECT min(remind_at) FROM notified WHERE remind_at > 0",
	[RESUME] = "UPDATE notified SET ends = ?1 + span WHERE period = 0 AND ends > ?1 + span",
	[TAIL] = "SELECT segment, number, settled FROM notes_tail",
	[TAIL_PUT] = "INSERT OR REPLACE INTO notes_tail VALUES (1, ?, ?, ?)",
};

const struct store_part store_part_notified = { { [3] = schema }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_NOTIFIED][which];
}

/* ---- marks as text ---- */

static void
marks_text(const struct notified *n, char text[MARKS_TEXT])
{
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < n->n && len < MARKS_TEXT; i++)
		len += (size_t)snprintf(text + len, MARKS_TEXT - len, "%s%u@%" PRId64 "/%" PRId64,
		    i > 0 ? " " : "", n->marks[i].percent, n->marks[i].at, n->marks[i].below);
}

static void
marks_parse(const char *text, struct notified *n)
{
	int used = 0;

	for (n->n = 0; n->n < NOTIFY_MAX; text += used) {
		struct notified_mark *m = &n->marks[n->n];
		unsigned percent;

		if (sscanf(text, " %u@%" SCNd64 "/%" SCNd64 "%n", &percent, &m->at, &m->below,
			&used) != 3 ||
		    percent < 1 || percent > 100)
			return;
		m->percent = (uint8_t)percent;
		n->n++;
	}
}

/* ---- records ---- */

static bool
read_notified(sqlite3_stmt *q, void *out)
{
	struct notified *n = out;
	char marks[MARKS_TEXT];
	int len = sqlite3_column_bytes(q, 1);

	memset(n, 0, sizeof(*n));
	store_column_text(q, 0, n->limit, sizeof(n->limit));
	if (len < 1 || (size_t)len > RATION_KEY_MAX)
		return false;
	memcpy(n->key, sqlite3_column_blob(q, 1), (size_t)len);
	n->key_len = (size_t)len;
	n->shape = (uint32_t)sqlite3_column_int64(q, 2);
	n->period = sqlite3_column_int64(q, 3);
	n->ends = sqlite3_column_int64(q, 4);
	n->span = sqlite3_column_int64(q, 5);
	n->units = (uint64_t)sqlite3_column_int64(q, 6);
	n->used = (uint64_t)sqlite3_column_int64(q, 7);
	store_column_text(q, 8, marks, sizeof(marks));
	marks_parse(marks, n);
	n->remind_at = sqlite3_column_int64(q, 9);
	n->remind = (uint8_t)sqlite3_column_int(q, 10);
	return true;
}

static void
bind_which(sqlite3_stmt *q, const struct notified *n)
{
	store_bind_text(q, 1, n->limit);
	(void)sqlite3_bind_blob(q, 2, n->key, (int)n->key_len, SQLITE_STATIC);
	(void)sqlite3_bind_int64(q, 3, n->shape);
	(void)sqlite3_bind_int64(q, 4, n->period);
}

/* The first row's first column.  1, 0: no row, -1. */
static int
one_number(struct store *s, sqlite3_stmt *q, int64_t *out, char *err, size_t errsize)
{
	int e = sqlite3_step(q);

	*out = e == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
	if (e != SQLITE_ROW && e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return e == SQLITE_ROW ? 1 : e == SQLITE_DONE ? 0 : -1;
}

int
store_notified(struct store *s, struct notified *n, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, GET);
	struct notified found = { 0 };
	int e;

	bind_which(q, n);
	e = sqlite3_step(q);
	if (e != SQLITE_ROW && e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	else if (e == SQLITE_ROW && !read_notified(q, &found))
		e = SQLITE_DONE;
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	if (e == SQLITE_ROW)
		*n = found;
	return e == SQLITE_ROW ? 1 : e == SQLITE_DONE ? 0 : -1;
}

int
store_notified_put(struct store *s, const struct notified *n, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, PUT);
	char marks[MARKS_TEXT];

	marks_text(n, marks);
	bind_which(q, n);
	(void)sqlite3_bind_int64(q, 5, n->ends);
	(void)sqlite3_bind_int64(q, 6, n->span);
	(void)sqlite3_bind_int64(q, 7, (int64_t)n->units);
	(void)sqlite3_bind_int64(q, 8, (int64_t)n->used);
	store_bind_text(q, 9, marks);
	(void)sqlite3_bind_int64(q, 10, n->remind_at);
	(void)sqlite3_bind_int(q, 11, n->remind);
	return store_run(q) ? 0 : store_failed(s, err, errsize);
}

int64_t
store_notified_drop(
    struct store *s, int64_t settled, int64_t now, int64_t most, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, DROP);

	(void)sqlite3_bind_int64(q, 1, settled);
	(void)sqlite3_bind_int64(q, 2, now);
	(void)sqlite3_bind_int64(q, 3, most);
	return store_run(q) ? sqlite3_changes(s->db) : store_failed(s, err, errsize);
}

int64_t
store_notified_count(struct store *s, char *err, size_t errsize)
{
	int64_t n;

	return one_number(s, stmt(s, COUNT), &n, err, errsize) < 0 ? -1 : n;
}

int
store_notified_due(struct store *s, int64_t now, int64_t most, struct notified **out, size_t *n,
    char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, DUE);
	void *list;
	int e;

	(void)sqlite3_bind_int64(q, 1, now);
	(void)sqlite3_bind_int64(q, 2, most);
	e = store_read_all(s, q, sizeof(**out), read_notified, &list, n, err, errsize);
	*out = list;
	return e;
}

int64_t
store_notified_next(struct store *s, char *err, size_t errsize)
{
	int64_t at;
	int e = one_number(s, stmt(s, NEXT), &at, err, errsize);

	if (e < 0)
		return -1;
	return at > 0 ? at : POLICY_ENDLESS; /* of no rows the least is NULL */
}

int
store_notified_resume(struct store *s, int64_t now, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, RESUME);

	(void)sqlite3_bind_int64(q, 1, now);
	return store_run(q) ? 0 : store_failed(s, err, errsize);
}

/* ---- how far it is ---- */

int
store_notes_tail(struct store *s, struct notified_tail *out, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, TAIL);
	int e = sqlite3_step(q);

	if (e == SQLITE_ROW)
		*out = (struct notified_tail) { (uint64_t)sqlite3_column_int64(q, 0),
			(uint64_t)sqlite3_column_int64(q, 1), sqlite3_column_int64(q, 2) };
	else if (e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	return e == SQLITE_ROW ? 1 : e == SQLITE_DONE ? 0 : -1;
}

int
store_notes_tail_put(struct store *s, const struct notified_tail *t, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, TAIL_PUT);

	(void)sqlite3_bind_int64(q, 1, (int64_t)t->segment);
	(void)sqlite3_bind_int64(q, 2, (int64_t)t->number);
	(void)sqlite3_bind_int64(q, 3, t->settled);
	return store_run(q) ? 0 : store_failed(s, err, errsize);
}
