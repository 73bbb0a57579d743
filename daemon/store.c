#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store_sql.h"

#define APPLICATION_ID 0x5261746e /* "Ratn" */

static const struct store_part *const parts[PARTS] = {
	[PART_LIVE] = &store_part_live,
	[PART_LEASES] = &store_part_leases,
	[PART_EVENTS] = &store_part_events,
	[PART_DELIVERIES] = &store_part_deliveries,
	[PART_NOTIFIED] = &store_part_notified,
	[PART_USAGE] = &store_part_usage,
	[PART_REQUESTS] = &store_part_requests,
	[PART_QUOTAS] = &store_part_quotas,
};

static const char *const steps[STEPS] = {
	[STEP_BEGIN] = "BEGIN IMMEDIATE",
	[STEP_COMMIT] = "COMMIT",
	[STEP_ROLLBACK] = "ROLLBACK",
};

int
store_failed(const struct store *s, char *err, size_t errsize)
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

static bool
exec(struct store *s, const char *text)
{
	return text == NULL || sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK;
}

/* Bring an older file, or an empty one, up to the schema of now, in one transaction. */
static bool
migrate(struct store *s, int64_t version)
{
	char stamp[96];
	bool ok = exec(s, "BEGIN IMMEDIATE");

	for (int64_t v = version + 1; ok && v <= STORE_SCHEMA; v++)
		for (unsigned i = 0; ok && i < PARTS; i++)
			ok = exec(s, parts[i]->schema[v]);
	(void)snprintf(stamp, sizeof(stamp), "PRAGMA application_id = %d; PRAGMA user_version = %d",
	    APPLICATION_ID, STORE_SCHEMA);
	return ok && exec(s, stamp) && exec(s, "COMMIT");
}

static bool
prepare_all(struct store *s)
{
	for (unsigned i = 0; i < PARTS; i++) {
		s->stmt[i] = calloc(parts[i]->n + 1, sizeof(sqlite3_stmt *));
		if (s->stmt[i] == NULL)
			return false;
		for (size_t k = 0; k < parts[i]->n; k++)
			if (sqlite3_prepare_v3(s->db, parts[i]->sql[k], -1,
				SQLITE_PREPARE_PERSISTENT, &s->stmt[i][k], NULL) != SQLITE_OK)
				return false;
	}
	for (unsigned i = 0; i < STEPS; i++)
		if (sqlite3_prepare_v3(s->db, steps[i], -1, SQLITE_PREPARE_PERSISTENT, &s->step[i],
			NULL) != SQLITE_OK)
			return false;
	return true;
}

/*
 * The log is put into the file every 256 pages, which takes some 10 ms, so that nobody waits
 * for long; after a large transaction its file is cut to 4 MiB again.
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
		"PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;"
		"PRAGMA wal_autocheckpoint = 256; PRAGMA journal_size_limit = 4194304;"
		"PRAGMA cache_size = -6000;",
		NULL, NULL, NULL) != SQLITE_OK ||
	    pragma_int(s, "PRAGMA user_version", &version) != 0 ||
	    pragma_int(s, "PRAGMA application_id", &app) != 0 ||
	    pragma_int(s, "SELECT count(*) FROM sqlite_schema", &tables) != 0)
		return store_failed(s, err, errsize);
	if ((version != 0 && app != APPLICATION_ID) || (version == 0 && tables != 0)) {
		(void)snprintf(
		    err, errsize, "%s: a database, but not rationd's: move it away", path);
		return -1;
	}
	if (version > STORE_SCHEMA) {
		(void)snprintf(err, errsize,
		    "%s: schema version %lld, this rationd knows up to %d: update rationd", path,
		    (long long)version, STORE_SCHEMA);
		return -1;
	}
	if (version < STORE_SCHEMA && !migrate(s, version))
		return store_failed(s, err, errsize);
	if (!prepare_all(s))
		return store_failed(s, err, errsize);
	if (pragma_int(s,
		"SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'change'), 0)",
		&s->next_id) != 0)
		return store_failed(s, err, errsize);
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
	for (unsigned i = 0; i < PARTS; i++) {
		for (size_t k = 0; s->stmt[i] != NULL && k < parts[i]->n; k++)
			(void)sqlite3_finalize(s->stmt[i][k]);
		free(s->stmt[i]);
	}
	for (unsigned i = 0; i < STEPS; i++)
		(void)sqlite3_finalize(s->step[i]);
	(void)sqlite3_close(s->db);
	free(s);
}

int64_t
store_next_id(struct store *s)
{
	return s->next_id++;
}

/* ---- transactions ---- */

bool
store_begin(struct store *s)
{
	if (s->depth == 0) {
		s->broken = false;
		if (!store_run(s->step[STEP_BEGIN]))
			return false;
	}
	s->depth++;
	return true;
}

int
store_end(struct store *s, bool ok, char *err, size_t errsize)
{
	/* The reason is the first failure's: a rollback has an error text of its own. */
	if (!ok && !s->broken)
		(void)store_failed(s, s->why, sizeof(s->why));
	s->broken |= !ok;
	if (s->depth > 0 && --s->depth > 0) {
		if (!ok)
			(void)snprintf(err, errsize, "%s", s->why);
		return ok ? 0 : -1;
	}
	if (!s->broken && store_run(s->step[STEP_COMMIT]))
		return 0;
	if (!s->broken)
		(void)store_failed(s, s->why, sizeof(s->why));
	(void)snprintf(err, errsize, "%s", s->why);
	if (sqlite3_get_autocommit(s->db) == 0)
		(void)store_run(s->step[STEP_ROLLBACK]);
	return -1;
}

/* ---- what the parts share ---- */

void
store_bind_text(sqlite3_stmt *q, int at, const char *text)
{
	(void)sqlite3_bind_text(q, at, text, -1, SQLITE_STATIC);
}

bool
store_run(sqlite3_stmt *q)
{
	int e = sqlite3_step(q);

	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
	return e == SQLITE_DONE;
}

void
store_column_text(sqlite3_stmt *q, int at, char *out, size_t size)
{
	const unsigned char *text = sqlite3_column_text(q, at);

	(void)snprintf(out, size, "%s", text != NULL ? (const char *)text : "");
}

int
store_read_all(struct store *s, sqlite3_stmt *q, size_t size,
    bool (*read)(sqlite3_stmt *q, void *out), void **out, size_t *n, char *err, size_t errsize)
{
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
		(void)store_failed(s, err, errsize);
	(void)sqlite3_reset(q);
	return e == SQLITE_DONE ? 0 : -1;
}
