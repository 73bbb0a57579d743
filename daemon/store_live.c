/*
 * store_live.c - live changes, how often each limit was changed, and the audit trail.
 */
#include "store_sql.h"

#include <stdio.h>
#include <string.h>

/*
 * Rates are kept as their canonical text: it outlives struct rate_spec; an
 * entitlement's value stands in the same column.
 * AUTOINCREMENT: an id once given is never given again, so it can be referred to.
 */
static const char schema[] =
    "CREATE TABLE change ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, limit_name TEXT NOT NULL,"
    " key BLOB NOT NULL, plan TEXT NOT NULL, mode INTEGER NOT NULL, rates TEXT NOT NULL,"
    " share_num INTEGER NOT NULL, share_den INTEGER NOT NULL, until INTEGER,"
    " at INTEGER NOT NULL, who TEXT NOT NULL, reason TEXT NOT NULL);"
    "CREATE TABLE generation ("
    " limit_name TEXT PRIMARY KEY, value INTEGER NOT NULL, digest INTEGER NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE TABLE audit ("
    " id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, who TEXT NOT NULL,"
    " uid INTEGER NOT NULL, pid INTEGER NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL,"
    " old TEXT NOT NULL, new TEXT NOT NULL, reason TEXT NOT NULL);";

/* Entries from before have nothing in these, and cannot be taken back. */
static const char way_back[] = "ALTER TABLE audit ADD COLUMN subject TEXT;"
			       "ALTER TABLE audit ADD COLUMN before TEXT;"
			       "ALTER TABLE audit ADD COLUMN after TEXT;"
			       "ALTER TABLE audit ADD COLUMN request INTEGER;"
			       "ALTER TABLE audit ADD COLUMN undoes INTEGER;"
			       "ALTER TABLE audit ADD COLUMN undone_by INTEGER;";

enum statement {
	ADD,
	REMOVE,
	GENERATION,
	AUDIT,
	PRUNE,
	CHANGES,
	GENERATIONS,
	TAIL,
	ENTRY,
	LATER,
	UNDONE,
	STATEMENTS
};

#define AUDIT_COLUMNS \
	"id, at, who, uid, pid, action, target, old, new, reason, subject, before, after, " \
	"request, undoes, undone_by"

static const char *const sql[STATEMENTS] = {
	[ADD] = "INSERT INTO change (id, kind, limit_name, key, plan, mode, rates, share_num,"
		" share_den, until, at, who, reason) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[REMOVE] = "DELETE FROM change WHERE id = ?",
	[GENERATION] = "INSERT INTO generation (limit_name, value, digest) VALUES (?,?,?)"
		       " ON CONFLICT (limit_name) DO UPDATE SET value = excluded.value,"
		       " digest = excluded.digest",
	[AUDIT] = "INSERT INTO audit (at, who, uid, pid, action, target, old, new, reason, subject,"
		  " before, after, request, undoes) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[PRUNE] = "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?",
	[CHANGES] = "SELECT id, kind, limit_name, key, plan, mode, rates, share_num, share_den,"
		    " until, at, who, reason FROM change ORDER BY id",
	[GENERATIONS] = "SELECT limit_name, value, digest FROM generation",
	[TAIL] = "SELECT " AUDIT_COLUMNS " FROM audit ORDER BY id DESC LIMIT ?",
	[ENTRY] = "SELECT " AUDIT_COLUMNS " FROM audit WHERE id = ?",
	[LATER] = "SELECT " AUDIT_COLUMNS " FROM audit WHERE id > ?1 AND"
		  " (subject = ?2 OR request = ?3) ORDER BY id DESC LIMIT 1",
	[UNDONE] = "UPDATE audit SET undone_by = ?2 WHERE id = ?1 RETURNING undoes",
};

const struct store_part store_part_live = { { [1] = schema, [3] = way_back }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_LIVE][which];
}

/* ---- writing ---- */

static bool
add_change(struct store *s, const struct change *c)
{
	sqlite3_stmt *q = stmt(s, ADD);
	char rates[RATES_TEXT] = "";

	if (c->kind == CHANGE_VALUE)
		(void)snprintf(rates, sizeof(rates), "%s", c->value);
	else if (c->nrates > 0)
		rates_text(c->rates, c->nrates, rates, sizeof(rates));
	(void)sqlite3_bind_int64(q, 1, c->id);
	(void)sqlite3_bind_int(q, 2, (int)c->kind);
	store_bind_text(q, 3, c->limit);
	(void)sqlite3_bind_blob(q, 4, c->key, (int)c->key_len, SQLITE_STATIC);
	store_bind_text(q, 5, c->plan);
	(void)sqlite3_bind_int(q, 6, c->mode);
	store_bind_text(q, 7, rates);
	(void)sqlite3_bind_int64(q, 8, (int64_t)c->share_num);
	(void)sqlite3_bind_int64(q, 9, (int64_t)c->share_den);
	if (c->until != POLICY_ENDLESS)
		(void)sqlite3_bind_int64(q, 10, c->until);
	(void)sqlite3_bind_int64(q, 11, c->when);
	store_bind_text(q, 12, c->who);
	store_bind_text(q, 13, c->reason);
	return store_run(q);
}

static bool
add_generation(struct store *s, const struct generation *g)
{
	sqlite3_stmt *q = stmt(s, GENERATION);

	store_bind_text(q, 1, g->limit);
	(void)sqlite3_bind_int64(q, 2, (int64_t)g->value);
	(void)sqlite3_bind_int64(q, 3, (int64_t)g->digest);
	return store_run(q);
}

static bool
add_audit(struct store *s, const struct audit *a)
{
	sqlite3_stmt *q = stmt(s, AUDIT);

	(void)sqlite3_bind_int64(q, 1, a->when);
	store_bind_text(q, 2, a->who);
	(void)sqlite3_bind_int64(q, 3, a->uid);
	(void)sqlite3_bind_int64(q, 4, a->pid);
	store_bind_text(q, 5, a->action);
	store_bind_text(q, 6, a->target);
	store_bind_text(q, 7, a->old);
	store_bind_text(q, 8, a->new);
	store_bind_text(q, 9, a->reason);
	store_bind_text(q, 10, a->subject); /* NULL stays NULL */
	store_bind_text(q, 11, a->before);
	store_bind_text(q, 12, a->after);
	if (a->request != 0)
		(void)sqlite3_bind_int64(q, 13, a->request);
	if (a->undoes != 0)
		(void)sqlite3_bind_int64(q, 14, a->undoes);
	if (!store_run(q))
		return false;
	s->audit_id = sqlite3_last_insert_rowid(s->db);
	return true;
}

int
store_commit(struct store *s, const struct store_edit *e, char *err, size_t errsize)
{
	bool ok = true;

	if (!store_begin(s))
		return store_failed(s, err, errsize);
	for (size_t i = 0; ok && i < e->nremove; i++) {
		(void)sqlite3_bind_int64(stmt(s, REMOVE), 1, e->remove[i]);
		ok = store_run(stmt(s, REMOVE));
	}
	for (size_t i = 0; ok && i < e->nadd; i++)
		ok = add_change(s, &e->add[i]);
	for (size_t i = 0; ok && i < e->ngenerations; i++)
		ok = add_generation(s, &e->generations[i]);
	for (size_t i = 0; ok && i < e->naudits; i++)
		ok = add_audit(s, &e->audits[i]);
	if (ok && e->naudits > 0) {
		(void)sqlite3_bind_int64(stmt(s, PRUNE), 1, AUDIT_KEPT);
		ok = store_run(stmt(s, PRUNE));
	}
	return store_end(s, ok, err, errsize);
}

/* ---- reading ---- */

/* What a database says is input too: a row that makes no sense is left out. */
static bool
read_change(sqlite3_stmt *q, void *out)
{
	struct change *c = out;
	char rates[RATES_TEXT], err[128];
	int len = sqlite3_column_bytes(q, 3), n = 0;

	memset(c, 0, sizeof(*c));
	c->id = sqlite3_column_int64(q, 0);
	c->kind = (enum change_kind)sqlite3_column_int(q, 1);
	store_column_text(q, 2, c->limit, sizeof(c->limit));
	if (len < 0 || (size_t)len > RATION_KEY_MAX || c->kind < CHANGE_RATES ||
	    c->kind > CHANGE_VALUE)
		return false;
	if (len > 0)
		memcpy(c->key, sqlite3_column_blob(q, 3), (size_t)len);
	c->key_len = (size_t)len;
	store_column_text(q, 4, c->plan, sizeof(c->plan));
	c->mode = (uint8_t)sqlite3_column_int(q, 5);
	store_column_text(q, 6, rates, sizeof(rates));
	if (c->kind == CHANGE_RATES)
		n = rate_parse_list(rates, c->rates, (int)RATION_RATES_MAX, err, sizeof(err));
	c->nrates = (uint8_t)(n > 0 ? n : 0);
	if (c->kind == CHANGE_VALUE)
		(void)snprintf(c->value, sizeof(c->value), "%s", rates);
	c->share_num = (uint64_t)sqlite3_column_int64(q, 7);
	c->share_den = (uint64_t)sqlite3_column_int64(q, 8);
	c->until =
	    sqlite3_column_type(q, 9) == SQLITE_NULL ? POLICY_ENDLESS : sqlite3_column_int64(q, 9);
	c->when = sqlite3_column_int64(q, 10);
	store_column_text(q, 11, c->who, sizeof(c->who));
	store_column_text(q, 12, c->reason, sizeof(c->reason));
	return n >= 0 && (c->kind != CHANGE_RATES || n > 0) && c->mode <= MODE_OFF &&
	    (c->kind != CHANGE_VALUE || value_valid(c->value, strlen(c->value))) &&
	    (c->kind != CHANGE_SHARE || (c->share_num > 0 && c->share_den >= c->share_num));
}

static bool
read_generation(sqlite3_stmt *q, void *out)
{
	struct generation *g = out;

	memset(g, 0, sizeof(*g));
	store_column_text(q, 0, g->limit, sizeof(g->limit));
	g->value = (uint64_t)sqlite3_column_int64(q, 1);
	g->digest = (uint64_t)sqlite3_column_int64(q, 2);
	return true;
}

int
store_changes(struct store *s, struct change **out, size_t *n, char *err, size_t errsize)
{
	void *list;
	int e =
	    store_read_all(s, stmt(s, CHANGES), sizeof(**out), read_change, &list, n, err, errsize);

	*out = list;
	return e;
}

int
store_generations(struct store *s, struct generation **out, size_t *n, char *err, size_t errsize)
{
	void *list;
	int e = store_read_all(
	    s, stmt(s, GENERATIONS), sizeof(**out), read_generation, &list, n, err, errsize);

	*out = list;
	return e;
}

/* Texts of any length are the statement's, until its next step. */
static void
read_audit(sqlite3_stmt *q, struct audit *a)
{
	memset(a, 0, sizeof(*a));
	a->id = sqlite3_column_int64(q, 0);
	a->when = sqlite3_column_int64(q, 1);
	store_column_text(q, 2, a->who, sizeof(a->who));
	a->uid = (uint32_t)sqlite3_column_int64(q, 3);
	a->pid = (int32_t)sqlite3_column_int64(q, 4);
	store_column_text(q, 5, a->action, sizeof(a->action));
	store_column_text(q, 6, a->target, sizeof(a->target));
	store_column_text(q, 7, a->old, sizeof(a->old));
	store_column_text(q, 8, a->new, sizeof(a->new));
	store_column_text(q, 9, a->reason, sizeof(a->reason));
	a->subject = (const char *)sqlite3_column_text(q, 10);
	a->before = (const char *)sqlite3_column_text(q, 11);
	a->after = (const char *)sqlite3_column_text(q, 12);
	a->request = sqlite3_column_int64(q, 13);
	a->undoes = sqlite3_column_int64(q, 14);
	a->undone_by = sqlite3_column_int64(q, 15);
}

/* Every entry that a statement finds; how many, or -1. */
static int
walk_audit(struct store *s, sqlite3_stmt *q, bool (*each)(void *arg, const struct audit *a),
    void *arg, char *err, size_t errsize)
{
	struct audit a;
	int e, n = 0;

	while ((e = sqlite3_step(q)) == SQLITE_ROW) {
		read_audit(q, &a);
		n++;
		if (!each(arg, &a)) {
			e = SQLITE_DONE;
			break;
		}
	}
	if (e != SQLITE_DONE)
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return e == SQLITE_DONE ? n : -1;
}

int
store_audit(struct store *s, int64_t n, bool (*each)(void *arg, const struct audit *a), void *arg,
    char *err, size_t errsize)
{
	(void)sqlite3_bind_int64(stmt(s, TAIL), 1, n);
	return walk_audit(s, stmt(s, TAIL), each, arg, err, errsize) < 0 ? -1 : 0;
}

int
store_audit_entry(struct store *s, int64_t id, bool (*each)(void *arg, const struct audit *a),
    void *arg, char *err, size_t errsize)
{
	(void)sqlite3_bind_int64(stmt(s, ENTRY), 1, id);
	return walk_audit(s, stmt(s, ENTRY), each, arg, err, errsize);
}

int
store_audit_later(struct store *s, int64_t id, const char *subject, int64_t request,
    bool (*each)(void *arg, const struct audit *a), void *arg, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, LATER);

	(void)sqlite3_bind_int64(q, 1, id);
	store_bind_text(q, 2, subject);
	if (request != 0)
		(void)sqlite3_bind_int64(q, 3, request);
	return walk_audit(s, q, each, arg, err, errsize);
}

int64_t
store_audit_last(const struct store *s)
{
	return s->audit_id;
}

bool
store_audit_undone(struct store *s, int64_t id, int64_t by)
{
	sqlite3_stmt *q = stmt(s, UNDONE);

	/* An entry takes back an older one, so this ends. */
	for (bool taken_back = true; id > 0; taken_back = !taken_back) {
		int64_t next = 0;
		int e;

		(void)sqlite3_bind_int64(q, 1, id);
		if (taken_back)
			(void)sqlite3_bind_int64(q, 2, by);
		e = sqlite3_step(q);
		if (e == SQLITE_ROW) {
			next = sqlite3_column_int64(q, 0);
			e = sqlite3_step(q);
		}
		(void)sqlite3_reset(q);
		(void)sqlite3_clear_bindings(q);
		if (e != SQLITE_DONE)
			return false;
		by = id;
		id = next < id ? next : 0;
	}
	return true;
}
