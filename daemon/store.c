#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCHEMA_VERSION 2
#define APPLICATION_ID 0x5261746e /* "Ratn" */

/*
 * Version 1.  Rates are kept as their canonical text: it outlives struct rate_spec; an
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
    " old TEXT NOT NULL, new TEXT NOT NULL, reason TEXT NOT NULL);"
    "PRAGMA application_id = 1382118510;"
    "PRAGMA user_version = 1;";

/* Version 2: leases that are kept, by the slot they are in (-1: in none now). */
static const char schema2[] = "CREATE TABLE lease ("
			      " limit_name TEXT NOT NULL, key BLOB NOT NULL, slot INTEGER NOT NULL,"
			      " name INTEGER NOT NULL, n INTEGER NOT NULL,"
			      " PRIMARY KEY (limit_name, key, slot, name)) WITHOUT ROWID;"
			      "PRAGMA user_version = 2;";

enum statement {
	BEGIN,
	COMMIT,
	ROLLBACK,
	ADD,
	REMOVE,
	GENERATION,
	AUDIT,
	PRUNE,
	CHANGES,
	GENERATIONS,
	TAIL,
	LEASES,
	LEASE_ADD,
	LEASE_CLEAR,
	STATEMENTS
};

static const char *const sql[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[ADD] = "INSERT INTO change (id, kind, limit_name, key, plan, mode, rates, share_num,"
		" share_den, until, at, who, reason) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
	[REMOVE] = "DELETE FROM change WHERE id = ?",
	[GENERATION] = "INSERT INTO generation (limit_name, value, digest) VALUES (?,?,?)"
		       " ON CONFLICT (limit_name) DO UPDATE SET value = excluded.value,"
		       " digest = excluded.digest",
	[AUDIT] = "INSERT INTO audit (at, who, uid, pid, action, target, old, new, reason)"
		  " VALUES (?,?,?,?,?,?,?,?,?)",
	[PRUNE] = "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?",
	[CHANGES] = "SELECT id, kind, limit_name, key, plan, mode, rates, share_num, share_den,"
		    " until, at, who, reason FROM change ORDER BY id",
	[GENERATIONS] = "SELECT limit_name, value, digest FROM generation",
	[TAIL] = "SELECT id, at, who, uid, pid, action, target, old, new, reason FROM audit"
		 " ORDER BY id DESC LIMIT ?",
	[LEASES] = "SELECT limit_name, key, slot, name, n FROM lease",
	[LEASE_ADD] = "INSERT INTO lease (limit_name, key, slot, name, n) VALUES (?,?,?,?,?)"
		      " ON CONFLICT (limit_name, key, slot, name) DO UPDATE SET n = n + excluded.n",
	[LEASE_CLEAR] = "DELETE FROM lease WHERE limit_name = ? AND key = ? AND slot = ?",
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *stmt[STATEMENTS];
	int64_t next_id;
};

static int
failed(const struct store *s, char *err, size_t errsize)
{
	const char *file = sqlite3_db_filename(s->db, "main");

	(void)snprintf(
	    err, errsize, "%s: %s", file != NULL ? file : "state", sqlite3_errmsg(s->db));
	return -1;
}

/* ---- opening ---- */

static int
pragma_int(struct store *s, const char *text, int64_t *out)
{
	sqlite3_stmt *q;
	int e = sqlite3_prepare_v2(s->db, text, -1, &q, NULL);

	if (e != SQLITE_OK)
		return -1;
	e = sqlite3_step(q);
	*out = e == SQLITE_ROW ? sqlite3_column_int64(q, 0) : 0;
	(void)sqlite3_finalize(q);
	return e == SQLITE_ROW || e == SQLITE_DONE ? 0 : -1;
}

/* Bring an older file, or an empty one, up to the schema of now, in one transaction. */
static bool
migrate(struct store *s, int64_t version)
{
	bool ok = sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK;

	if (ok && version < 1)
		ok = sqlite3_exec(s->db, schema, NULL, NULL, NULL) == SQLITE_OK;
	if (ok && version < 2)
		ok = sqlite3_exec(s->db, schema2, NULL, NULL, NULL) == SQLITE_OK;
	return ok && sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
}

/*
 * A write-ahead log costs one sync a commit.  The exclusive lock keeps every other writer
 * out while rationd runs, and its index in rationd's own memory.
 */
static int
prepare(struct store *s, const char *path, char *err, size_t errsize)
{
	int64_t version, app, tables;

	(void)sqlite3_busy_timeout(s->db, 2000);
	if (sqlite3_exec(s->db,
		"PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
		"PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;",
		NULL, NULL, NULL) != SQLITE_OK ||
	    pragma_int(s, "PRAGMA user_version", &version) != 0 ||
	    pragma_int(s, "PRAGMA application_id", &app) != 0 ||
	    pragma_int(s, "SELECT count(*) FROM sqlite_schema", &tables) != 0)
		return failed(s, err, errsize);
	if ((version != 0 && app != APPLICATION_ID) || (version == 0 && tables != 0)) {
		(void)snprintf(
		    err, errsize, "%s: a database, but not rationd's: move it away", path);
		return -1;
	}
	if (version > SCHEMA_VERSION) {
		(void)snprintf(err, errsize,
		    "%s: schema version %lld, this rationd knows up to %d: update rationd", path,
		    (long long)version, SCHEMA_VERSION);
		return -1;
	}
	if (version < SCHEMA_VERSION && !migrate(s, version))
		return failed(s, err, errsize);
	for (int i = 0; i < STATEMENTS; i++)
		if (sqlite3_prepare_v3(s->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[i],
			NULL) != SQLITE_OK)
			return failed(s, err, errsize);
	if (pragma_int(s,
		"SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0)",
		&s->next_id) != 0)
		return failed(s, err, errsize);
	s->next_id++;
	return 0;
}

/*
 * The path with its directory resolved: SQLite then refuses a symbolic link as the
 * file itself, while /var/lib may be one.
 */
static int
resolve(const char *path, char *out, size_t size, char *err, size_t errsize)
{
	char dir[PATH_MAX], real[PATH_MAX];
	const char *slash = strrchr(path, '/');
	int n;

	if (slash == NULL || (size_t)(slash - path) >= sizeof(dir)) {
		(void)snprintf(err, errsize, "%s: not an absolute path", path);
		return -1;
	}
	(void)snprintf(dir, sizeof(dir), "%.*s/", (int)(slash - path), path);
	if (realpath(dir, real) == NULL) {
		(void)snprintf(err, errsize, "%s: %s", dir, strerror(errno));
		return -1;
	}
	n = snprintf(out, size, "%s%s", real, slash);
	if (n < 0 || (size_t)n >= size) {
		(void)snprintf(err, errsize, "%s: path too long", path);
		return -1;
	}
	return 0;
}

int
store_open(const char *path, struct store **out, char *err, size_t errsize)
{
	char real[PATH_MAX];
	struct store *s;
	int fd, e;

	*out = NULL;
	if (resolve(path, real, sizeof(real), err, errsize) != 0)
		return -1;
	/* SQLite would create it readable by all. */
	fd = open(real, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd == -1) {
		(void)snprintf(err, errsize, "%s: %s", real, strerror(errno));
		return -1;
	}
	(void)close(fd);
	s = calloc(1, sizeof(*s));
	if (s == NULL) {
		(void)snprintf(err, errsize, "%s: out of memory", real);
		return -1;
	}
	e = sqlite3_open_v2(real, &s->db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW |
		SQLITE_OPEN_PRIVATECACHE,
	    NULL);
	if (e != SQLITE_OK) {
		(void)snprintf(err, errsize, "%s: %s", real,
		    s->db != NULL ? sqlite3_errmsg(s->db) : sqlite3_errstr(e));
		store_close(s);
		return -1;
	}
	if (prepare(s, real, err, errsize) != 0) {
		store_close(s);
		return -1;
	}
	*out = s;
	return 0;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		(void)sqlite3_finalize(s->stmt[i]);
	(void)sqlite3_close(s->db);
	free(s);
}

int64_t
store_next_id(struct store *s)
{
	return s->next_id++;
}

/* ---- writing ---- */

static void
bind_text(sqlite3_stmt *q, int at, const char *text)
{
	(void)sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC);
}

/* Run a statement that returns no rows, and make it ready for its next use. */
static bool
run(sqlite3_stmt *q)
{
	int e = sqlite3_step(q);

	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return e == SQLITE_DONE;
}

static bool
add_change(struct store *s, const struct change *c)
{
	sqlite3_stmt *q = s->stmt[ADD];
	char rates[RATES_TEXT] = "";

	if (c->kind == CHANGE_VALUE)
		(void)snprintf(rates, sizeof(rates), "%s", c->value);
	else if (c->nrates > 0)
		rates_text(c->rates, c->nrates, rates, sizeof(rates));
	(void)sqlite3_bind_int64(q, 1, c->id);
	(void)sqlite3_bind_int(q, 2, (int)c->kind);
	bind_text(q, 3, c->limit);
	(void)sqlite3_bind_blob(q, 4, c->key, (int)c->key_len, SQLITE_STATIC);
	bind_text(q, 5, c->plan);
	(void)sqlite3_bind_int(q, 6, c->mode);
	bind_text(q, 7, rates);
	(void)sqlite3_bind_int64(q, 8, (int64_t)c->share_num);
	(void)sqlite3_bind_int64(q, 9, (int64_t)c->share_den);
	if (c->until != POLICY_ENDLESS)
		(void)sqlite3_bind_int64(q, 10, c->until);
	(void)sqlite3_bind_int64(q, 11, c->when);
	bind_text(q, 12, c->who);
	bind_text(q, 13, c->reason);
	return run(q);
}

static bool
add_generation(struct store *s, const struct generation *g)
{
	sqlite3_stmt *q = s->stmt[GENERATION];

	bind_text(q, 1, g->limit);
	(void)sqlite3_bind_int64(q, 2, (int64_t)g->value);
	(void)sqlite3_bind_int64(q, 3, (int64_t)g->digest);
	return run(q);
}

static bool
add_audit(struct store *s, const struct audit *a)
{
	sqlite3_stmt *q = s->stmt[AUDIT];

	(void)sqlite3_bind_int64(q, 1, a->when);
	bind_text(q, 2, a->who);
	(void)sqlite3_bind_int64(q, 3, a->uid);
	(void)sqlite3_bind_int64(q, 4, a->pid);
	bind_text(q, 5, a->action);
	bind_text(q, 6, a->target);
	bind_text(q, 7, a->old);
	bind_text(q, 8, a->new);
	bind_text(q, 9, a->reason);
	return run(q);
}

int
store_commit(struct store *s, const struct store_edit *e, char *err, size_t errsize)
{
	bool ok = run(s->stmt[BEGIN]);

	for (size_t i = 0; ok && i < e->nremove; i++) {
		(void)sqlite3_bind_int64(s->stmt[REMOVE], 1, e->remove[i]);
		ok = run(s->stmt[REMOVE]);
	}
	if (ok && e->add != NULL)
		ok = add_change(s, e->add);
	for (size_t i = 0; ok && i < e->ngenerations; i++)
		ok = add_generation(s, &e->generations[i]);
	for (size_t i = 0; ok && i < e->naudits; i++)
		ok = add_audit(s, &e->audits[i]);
	if (ok && e->naudits > 0) {
		(void)sqlite3_bind_int64(s->stmt[PRUNE], 1, AUDIT_KEPT);
		ok = run(s->stmt[PRUNE]);
	}
	if (ok && run(s->stmt[COMMIT]))
		return 0;
	(void)failed(s, err, errsize);
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)run(s->stmt[ROLLBACK]);
	return -1;
}

static bool
edit_lease(struct store *s, const struct kept *k)
{
	sqlite3_stmt *q = s->stmt[k->n > 0 ? LEASE_ADD : LEASE_CLEAR];

	bind_text(q, 1, k->limit);
	(void)sqlite3_bind_blob(q, 2, k->key, (int)k->key_len, SQLITE_STATIC);
	(void)sqlite3_bind_int64(q, 3, k->slot);
	if (k->n > 0) {
		(void)sqlite3_bind_int64(q, 4, (int64_t)k->name);
		(void)sqlite3_bind_int64(q, 5, (int64_t)k->n);
	}
	return run(q);
}

int
store_record(struct store *s, const struct kept *list, size_t n, char *err, size_t errsize)
{
	bool ok = run(s->stmt[BEGIN]);

	for (size_t i = 0; ok && i < n; i++)
		ok = edit_lease(s, &list[i]);
	if (ok && run(s->stmt[COMMIT]))
		return 0;
	(void)failed(s, err, errsize);
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)run(s->stmt[ROLLBACK]);
	return -1;
}

/* ---- reading ---- */

static void
column_text(sqlite3_stmt *q, int at, char *out, size_t size)
{
	const unsigned char *text = sqlite3_column_text(q, at);

	(void)snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
}

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
	column_text(q, 2, c->limit, sizeof(c->limit));
	if (len < 0 || (size_t)len > RATION_KEY_MAX || c->kind < CHANGE_RATES ||
	    c->kind > CHANGE_VALUE)
		return false;
	if (len > 0)
		memcpy(c->key, sqlite3_column_blob(q, 3), (size_t)len);
	c->key_len = (size_t)len;
	column_text(q, 4, c->plan, sizeof(c->plan));
	c->mode = (uint8_t)sqlite3_column_int(q, 5);
	column_text(q, 6, rates, sizeof(rates));
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
	column_text(q, 11, c->who, sizeof(c->who));
	column_text(q, 12, c->reason, sizeof(c->reason));
	return n >= 0 && (c->kind != CHANGE_RATES || n > 0) && c->mode <= MODE_OFF &&
	    (c->kind != CHANGE_VALUE || value_valid(c->value, strlen(c->value))) &&
	    (c->kind != CHANGE_SHARE || (c->share_num > 0 && c->share_den >= c->share_num));
}

static bool
read_generation(sqlite3_stmt *q, void *out)
{
	struct generation *g = out;

	memset(g, 0, sizeof(*g));
	column_text(q, 0, g->limit, sizeof(g->limit));
	g->value = (uint64_t)sqlite3_column_int64(q, 1);
	g->digest = (uint64_t)sqlite3_column_int64(q, 2);
	return true;
}

/* All rows of a statement as an array of `size` bytes each; those that read() takes. */
static int
read_all(struct store *s, enum statement which, size_t size,
    bool (*read)(sqlite3_stmt *q, void *out), void **out, size_t *n, char *err, size_t errsize)
{
	sqlite3_stmt *q = s->stmt[which];
	size_t cap = 0;
	int e;

	*n = 0;
	*out = NULL;
	while ((e = sqlite3_step(q)) == SQLITE_ROW) {
		if (*n == cap) {
			void *bigger = reallocarray(*out, cap = cap == 0 ? 16 : cap * 2, size);

			if (bigger == NULL) {
				e = SQLITE_NOMEM;
				break;
			}
			*out = bigger;
		}
		if (read(q, (char *)*out + *n * size))
			(*n)++;
	}
	if (e != SQLITE_DONE)
		(void)failed(s, err, errsize);
	(void)sqlite3_reset(q);
	return e == SQLITE_DONE ? 0 : -1;
}

int
store_changes(struct store *s, struct change **out, size_t *n, char *err, size_t errsize)
{
	void *list;
	int e = read_all(s, CHANGES, sizeof(**out), read_change, &list, n, err, errsize);

	*out = list;
	return e;
}

int
store_generations(struct store *s, struct generation **out, size_t *n, char *err, size_t errsize)
{
	void *list;
	int e = read_all(s, GENERATIONS, sizeof(**out), read_generation, &list, n, err, errsize);

	*out = list;
	return e;
}

static bool
read_kept(sqlite3_stmt *q, void *out)
{
	struct kept *k = out;
	int len = sqlite3_column_bytes(q, 1);
	int64_t n = sqlite3_column_int64(q, 4);

	memset(k, 0, sizeof(*k));
	column_text(q, 0, k->limit, sizeof(k->limit));
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
	int e = read_all(s, LEASES, sizeof(**out), read_kept, &list, n, err, errsize);

	*out = list;
	return e;
}

int
store_audit(struct store *s, int64_t n, bool (*each)(void *arg, const struct audit *a), void *arg,
    char *err, size_t errsize)
{
	sqlite3_stmt *q = s->stmt[TAIL];
	struct audit a;
	int e;

	(void)sqlite3_bind_int64(q, 1, n);
	while ((e = sqlite3_step(q)) == SQLITE_ROW) {
		memset(&a, 0, sizeof(a));
		a.id = sqlite3_column_int64(q, 0);
		a.when = sqlite3_column_int64(q, 1);
		column_text(q, 2, a.who, sizeof(a.who));
		a.uid = (uint32_t)sqlite3_column_int64(q, 3);
		a.pid = (int32_t)sqlite3_column_int64(q, 4);
		column_text(q, 5, a.action, sizeof(a.action));
		column_text(q, 6, a.target, sizeof(a.target));
		column_text(q, 7, a.old, sizeof(a.old));
		column_text(q, 8, a.new, sizeof(a.new));
		column_text(q, 9, a.reason, sizeof(a.reason));
		if (!each(arg, &a)) {
			e = SQLITE_DONE;
			break;
		}
	}
	if (e != SQLITE_DONE)
		(void)failed(s, err, errsize);
	(void)sqlite3_reset(q);
	return e == SQLITE_DONE ? 0 : -1;
}
