/*
 * store_events.c - events that happened: written once, listed as long as they are kept.
 */
#include "event.h"
#include "store_sql.h"

#include <stdlib.h>

/*
 * The token tells this database's events from those of any other; an id that was given is never
 * given again.  A body is kept without its id, which the row gets when it is written.
 */
static const char schema[] =
    "CREATE TABLE event_origin (token TEXT NOT NULL);"
    "INSERT INTO event_origin VALUES (lower(hex(randomblob(8))));"
    "CREATE TABLE event ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, key BLOB NOT NULL,"
    " body TEXT NOT NULL);"
    "CREATE INDEX event_key ON event (key);";

enum statement { ADD, PRUNE, TAIL, TAIL_KEY, STATEMENTS };

#define UID "'ev-' || (SELECT token FROM event_origin) || '-' || "
#define WITH_ID "'{\"id\":\"' || " UID "id || '\",' || substr(body, 2)"

static const char *const sql[STATEMENTS] = {
	[ADD] = "INSERT INTO event (at, key, body) VALUES (?1,?2,?3) RETURNING id, " UID "id",
	[PRUNE] = "DELETE FROM event WHERE id IN (SELECT id FROM event ORDER BY id LIMIT ?1)"
		  " AND (id <= (SELECT max(id) FROM event) - ?2 OR at < ?3)",
	[TAIL] = "SELECT id, " WITH_ID " FROM event ORDER BY id DESC LIMIT ?1",
	[TAIL_KEY] = "SELECT id, " WITH_ID " FROM event WHERE key = ?2 ORDER BY id DESC LIMIT ?1",
};

const struct store_part store_part_events = { { [3] = schema }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_EVENTS][which];
}

static void
done(sqlite3_stmt *q)
{
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
}

/* ---- writing ---- */

json_t *
event_json(const struct key_event *e)
{
	json_t *j = json_object(), *text = json_string(e->text);
	char key[KEY_TEXT];

	key_text(e->key, e->key_len, key);
	if (e->uid[0] != '\0')
		(void)json_object_set_new(j, "id", json_string(e->uid));
	(void)json_object_set_new(j, "at", json_integer(e->at));
	(void)json_object_set_new(j, "type", json_string(e->type));
	(void)json_object_set_new(
	    j, "limit", e->limit[0] != '\0' ? json_string(e->limit) : json_null());
	(void)json_object_set_new(j, "key", e->key_len > 0 ? json_string(key) : json_null());
	(void)json_object_set_new(j, "level", e->level > 0 ? json_integer(e->level) : json_null());
	(void)json_object_set_new(j, "text", text != NULL ? text : json_null());
	if (e->more != NULL)
		(void)json_object_update_missing(j, e->more);
	return j;
}

bool
store_events_prune(struct store *s, int64_t now_s, int64_t at_once)
{
	sqlite3_stmt *q = stmt(s, PRUNE);
	int64_t before = sqlite3_total_changes64(s->db);

	(void)sqlite3_bind_int64(q, 1, at_once);
	(void)sqlite3_bind_int64(q, 2, EVENTS_KEPT);
	(void)sqlite3_bind_int64(q, 3, now_s - EVENT_AGE_S);
	return store_run(q) && (sqlite3_total_changes64(s->db) == before || store_told_prune(s));
}

static bool
insert(struct store *s, struct key_event *e)
{
	sqlite3_stmt *q = stmt(s, ADD);
	json_t *j;
	char *body;
	bool ok;

	e->uid[0] = '\0';
	j = event_json(e);
	body = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	if (body == NULL)
		return false;
	(void)sqlite3_bind_int64(q, 1, e->at);
	(void)sqlite3_bind_blob(q, 2, e->key, (int)e->key_len, SQLITE_STATIC);
	store_bind_text(q, 3, body);
	ok = sqlite3_step(q) == SQLITE_ROW;
	if (ok) {
		e->id = sqlite3_column_int64(q, 0);
		store_column_text(q, 1, e->uid, sizeof(e->uid));
		ok = sqlite3_step(q) == SQLITE_DONE;
	}
	done(q);
	free(body);
	return ok;
}

int
store_event_add(struct store *s, struct key_event *e, uint64_t receivers, char *err, size_t errsize)
{
	bool ok;

	if (!store_begin(s))
		return store_failed(s, err, errsize);
	ok = insert(s, e);
	for (unsigned i = 0; ok && i < s->nreceivers; i++)
		if ((receivers >> i & 1) != 0)
			ok = store_enqueue(s, s->receivers[i], e);
	/* With the two oldest looked at for each that comes, they never become more. */
	ok = ok && store_events_prune(s, e->at, 2);
	return store_end(s, ok, err, errsize);
}

/* ---- listing ---- */

int
store_events(struct store *s, const unsigned char *key, size_t key_len, int64_t n,
    bool (*each)(void *arg, const char *object, const json_t *told), void *arg, char *err,
    size_t errsize)
{
	sqlite3_stmt *q = stmt(s, key_len > 0 ? TAIL_KEY : TAIL);
	bool more = true;
	int e = SQLITE_DONE;

	(void)sqlite3_bind_int64(q, 1, n);
	if (key_len > 0)
		(void)sqlite3_bind_blob(q, 2, key, (int)key_len, SQLITE_STATIC);
	while (more && (e = sqlite3_step(q)) == SQLITE_ROW) {
		json_t *told = store_told_of(s, sqlite3_column_int64(q, 0));
		const unsigned char *object = sqlite3_column_text(q, 1);

		more = object != NULL && each(arg, (const char *)object, told);
		json_decref(told);
	}
	if (e != SQLITE_DONE && e != SQLITE_ROW)
		(void)store_failed(s, err, errsize);
	done(q);
	return e == SQLITE_DONE || e == SQLITE_ROW ? 0 : -1;
}
