/*
 * store_deliveries.c - who is still to be told of which event, and who was.
 *
 * The queue of a receiver is the rows of `delivery` with its name: an index seek to its head,
 * however long it is.  How long that is, is counted in `receiver`, in the same transaction.  What
 * became of a delivery that has ended stands in `told`, as long as its event is listed.
 */
#include "event.h"
#include "store_sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIM_MAX 1000u /* at once */

static const char schema[] =
    "CREATE TABLE receiver ("
    " name TEXT PRIMARY KEY, here INTEGER NOT NULL, queue INTEGER NOT NULL,"
    " give_up_ms INTEGER NOT NULL, queued INTEGER NOT NULL DEFAULT 0,"
    " delivered INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,"
    " dropped INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',"
    " error_at INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE TABLE delivery ("
    " receiver TEXT NOT NULL, event INTEGER NOT NULL, tries INTEGER NOT NULL,"
    " since_ms INTEGER NOT NULL, next_ms INTEGER NOT NULL, uid TEXT NOT NULL,"
    " body TEXT NOT NULL, PRIMARY KEY (receiver, event)) WITHOUT ROWID;"
    "CREATE TABLE told ("
    " event INTEGER NOT NULL, receiver TEXT NOT NULL, how INTEGER NOT NULL,"
    " tries INTEGER NOT NULL, at INTEGER NOT NULL,"
    " PRIMARY KEY (event, receiver)) WITHOUT ROWID;";

enum statement {
	QUEUE,
	QUEUED,
	OLDEST,
	REMOVE,
	TOLD,
	COUNT_DELIVERED,
	COUNT_FAILED,
	COUNT_DROPPED,
	AGAIN,
	ERROR,
	WAITS,
	NEXT,
	LEFT,
	RECEIVER,
	RECEIVERS,
	FORGET,
	STATES,
	PRUNE,
	STATEMENTS
};

/* CROSS JOIN: the few receivers first, a seek for each; a queue is never gone through. */
static const char *const sql[STATEMENTS] = {
	[QUEUE] = "INSERT INTO delivery (receiver, event, tries, since_ms, next_ms, uid, body)"
		  " SELECT ?1, id, 0, ?4, 0, ?3, '{\"id\":\"' || ?3 || '\",' || substr(body, 2)"
		  " FROM event WHERE id = ?2",
	[QUEUED] = "UPDATE receiver SET queued = queued + ?2 WHERE name = ?1"
		   " RETURNING queued - queue",
	[OLDEST] =
	    "SELECT event, tries, since_ms FROM delivery WHERE receiver = ? ORDER BY event LIMIT 1",
	[REMOVE] = "DELETE FROM delivery WHERE receiver = ? AND event = ? RETURNING 1",
	[TOLD] = "INSERT OR REPLACE INTO told (receiver, event, how, tries, at)"
		 " VALUES (?1,?2,?3,?4, unixepoch())",
	[COUNT_DELIVERED] = "UPDATE receiver SET delivered = delivered + 1, queued = queued - 1"
			    " WHERE name = ?",
	[COUNT_FAILED] = "UPDATE receiver SET failed = failed + 1, queued = queued - 1"
			 " WHERE name = ?",
	[COUNT_DROPPED] = "UPDATE receiver SET dropped = dropped + 1, queued = queued - 1"
			  " WHERE name = ?",
	[AGAIN] = "UPDATE delivery SET tries = ?3, next_ms = ?4 WHERE receiver = ?1 AND event = ?2",
	[ERROR] = "UPDATE receiver SET error = ?2, error_at = unixepoch() WHERE name = ?1",
	[WAITS] = "SELECT 1 FROM delivery WHERE receiver = ? AND event = ?",
	[NEXT] = "SELECT event, uid, body, since_ms, next_ms, tries FROM delivery"
		 " WHERE receiver = ? AND event > ? ORDER BY event LIMIT ?",
	[LEFT] = "UPDATE receiver SET here = 0",
	[RECEIVER] = "INSERT INTO receiver (name, here, queue, give_up_ms, queued) VALUES (?1,1,?2,"
		     "?3, CASE WHEN EXISTS (SELECT 1 FROM receiver WHERE name = ?1) THEN 0"
		     " ELSE (SELECT count(*) FROM delivery WHERE receiver = ?1) END)"
		     " ON CONFLICT (name) DO UPDATE SET here = 1, queue = excluded.queue,"
		     " give_up_ms = excluded.give_up_ms",
	[RECEIVERS] = "SELECT name, here, queued, delivered, failed, dropped, give_up_ms, error_at,"
		      " error FROM receiver ORDER BY name LIMIT ?",
	[FORGET] = "DELETE FROM receiver WHERE here = 0 AND queued = 0",
	[STATES] = "SELECT receiver, how, tries, at FROM told WHERE event = ?1 UNION ALL"
		   " SELECT name, -1, tries, next_ms / 1000 FROM receiver CROSS JOIN delivery"
		   " ON delivery.receiver = name AND event = ?1",
	[PRUNE] = "DELETE FROM told WHERE event < (SELECT min(id) FROM event)",
};

const struct store_part store_part_deliveries = { { [3] = schema }, sql, STATEMENTS };

static sqlite3_stmt *
stmt(struct store *s, enum statement which)
{
	return s->stmt[PART_DELIVERIES][which];
}

static void
done(sqlite3_stmt *q)
{
	(void)sqlite3_reset(q);
	(void)sqlite3_clear_bindings(q);
}

static int64_t
system_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool
store_told_prune(struct store *s)
{
	return store_run(stmt(s, PRUNE));
}

/* ---- the queue ---- */

/* Take a delivery out of its queue.  *was: it was in it. */
static bool
take_out(struct store *s, const char *receiver, int64_t event, bool *was)
{
	sqlite3_stmt *q = stmt(s, REMOVE);
	int e;

	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int64(q, 2, event);
	e = sqlite3_step(q);
	*was = e == SQLITE_ROW;
	if (*was)
		e = sqlite3_step(q);
	done(q);
	return e == SQLITE_DONE;
}

bool
store_delivery_end(
    struct store *s, const char *receiver, int64_t event, uint32_t tries, enum told how)
{
	sqlite3_stmt *count = stmt(s,
	    how == TOLD_DELIVERED    ? COUNT_DELIVERED
		: how == TOLD_FAILED ? COUNT_FAILED
				     : COUNT_DROPPED);
	sqlite3_stmt *q = stmt(s, TOLD);
	bool was;

	if (!take_out(s, receiver, event, &was))
		return false;
	if (!was)
		return true; /* dropped while it was being told */
	store_bind_text(count, 1, receiver);
	if (!store_run(count))
		return false;
	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int64(q, 2, event);
	(void)sqlite3_bind_int(q, 3, (int)how);
	(void)sqlite3_bind_int64(q, 4, tries);
	return store_run(q);
}

/* Add to the count of a queue.  *over: how many it has too many. */
static bool
count_queued(struct store *s, const char *receiver, int add, int64_t *over)
{
	sqlite3_stmt *q = stmt(s, QUEUED);
	int e;

	*over = 0;
	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int(q, 2, add);
	while ((e = sqlite3_step(q)) == SQLITE_ROW)
		*over = sqlite3_column_int64(q, 0);
	done(q);
	return e == SQLITE_DONE;
}

/* The oldest delivery of a receiver; false: there is none. */
static bool
oldest(struct store *s, const char *receiver, int64_t *event, uint32_t *tries, int64_t *since_ms)
{
	sqlite3_stmt *q = stmt(s, OLDEST);
	bool found;

	store_bind_text(q, 1, receiver);
	found = sqlite3_step(q) == SQLITE_ROW;
	*event = sqlite3_column_int64(q, 0);
	*tries = (uint32_t)sqlite3_column_int64(q, 1);
	*since_ms = sqlite3_column_int64(q, 2);
	done(q);
	return found;
}

/* Add to the count of a queue, and drop the oldest of those that are too many: some of them. */
static bool
trim(struct store *s, const char *receiver, int add)
{
	int64_t over, event, since_ms;
	uint32_t tries;
	bool ok = count_queued(s, receiver, add, &over);

	for (unsigned i = 0; ok && over > 0 && i < TRIM_MAX; i++, over--)
		ok = oldest(s, receiver, &event, &tries, &since_ms) &&
		    store_delivery_end(s, receiver, event, tries, TOLD_DROPPED);
	return ok;
}

bool
store_enqueue(struct store *s, const char *receiver, const struct key_event *e)
{
	sqlite3_stmt *q = stmt(s, QUEUE);

	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int64(q, 2, e->id);
	store_bind_text(q, 3, e->uid);
	(void)sqlite3_bind_int64(q, 4, system_ms());
	return store_run(q) && trim(s, receiver, 1);
}

static bool
read_delivery(sqlite3_stmt *q, struct delivery *d)
{
	const unsigned char *body = sqlite3_column_text(q, 2);

	memset(d, 0, sizeof(*d));
	d->event = sqlite3_column_int64(q, 0);
	store_column_text(q, 1, d->uid, sizeof(d->uid));
	d->since_ms = sqlite3_column_int64(q, 3);
	d->next_ms = sqlite3_column_int64(q, 4);
	d->tries = (uint32_t)sqlite3_column_int64(q, 5);
	d->body = strdup(body != NULL ? (const char *)body : "");
	return d->body != NULL;
}

int
store_deliveries(struct store *s, const char *receiver, int64_t after, struct delivery *out,
    unsigned n, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, NEXT);
	unsigned got = 0;
	int e = SQLITE_DONE;

	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int64(q, 2, after);
	(void)sqlite3_bind_int64(q, 3, n);
	while (got < n && (e = sqlite3_step(q)) == SQLITE_ROW)
		if (!read_delivery(q, &out[got++])) {
			e = SQLITE_NOMEM;
			break;
		}
	if (e != SQLITE_DONE && e != SQLITE_ROW) {
		(void)store_failed(s, err, errsize);
		while (got > 0)
			free(out[--got].body);
	}
	done(q);
	return e == SQLITE_DONE || e == SQLITE_ROW ? (int)got : -1;
}

bool
store_delivery_waits(struct store *s, const char *receiver, int64_t event)
{
	sqlite3_stmt *q = stmt(s, WAITS);
	int e;

	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int64(q, 2, event);
	e = sqlite3_step(q);
	done(q);
	return e != SQLITE_DONE; /* if it cannot be told: rather twice than not at all */
}

bool
store_delivery_again(struct store *s, const char *receiver, const struct delivery *d)
{
	sqlite3_stmt *q = stmt(s, AGAIN);

	store_bind_text(q, 1, receiver);
	(void)sqlite3_bind_int64(q, 2, d->event);
	(void)sqlite3_bind_int64(q, 3, d->tries);
	(void)sqlite3_bind_int64(q, 4, d->next_ms);
	return store_run(q);
}

bool
store_receiver_error(struct store *s, const char *receiver, const char *error)
{
	sqlite3_stmt *q = stmt(s, ERROR);

	store_bind_text(q, 1, receiver);
	store_bind_text(q, 2, error);
	return store_run(q);
}

/* ---- receivers ---- */

static bool
put_receiver(struct store *s, const struct receiver *r)
{
	sqlite3_stmt *q = stmt(s, RECEIVER);

	store_bind_text(q, 1, r->name);
	(void)sqlite3_bind_int64(q, 2, (int64_t)r->queue);
	(void)sqlite3_bind_int64(q, 3, (int64_t)r->give_up_ms);
	return store_run(q) && trim(s, r->name, 0);
}

int
store_receivers(struct store *s, const struct receiver *list, unsigned n, char *err, size_t errsize)
{
	bool ok;

	/* Events are kept for those of the policy, whether it can be recorded who they are or not.
	 */
	s->nreceivers = 0;
	for (unsigned i = 0; i < n && i < RECEIVERS_MAX; i++)
		(void)snprintf(
		    s->receivers[s->nreceivers++], sizeof(s->receivers[0]), "%s", list[i].name);
	if (!store_begin(s))
		return store_failed(s, err, errsize);
	ok = store_run(stmt(s, LEFT));
	for (unsigned i = 0; ok && i < n && i < RECEIVERS_MAX; i++)
		ok = put_receiver(s, &list[i]);
	ok = ok && store_run(stmt(s, FORGET));
	return store_end(s, ok, err, errsize);
}

int
store_told(struct store *s, struct told_totals *out, char *err, size_t errsize)
{
	sqlite3_stmt *q = stmt(s, RECEIVERS);
	int n = 0, e;

	(void)sqlite3_bind_int64(q, 1, RECEIVERS_KNOWN);
	while ((e = sqlite3_step(q)) == SQLITE_ROW && n < (int)RECEIVERS_KNOWN) {
		struct told_totals *t = &out[n++];

		store_column_text(q, 0, t->name, sizeof(t->name));
		t->here = sqlite3_column_int(q, 1) != 0;
		t->queued = (uint64_t)sqlite3_column_int64(q, 2);
		t->delivered = (uint64_t)sqlite3_column_int64(q, 3);
		t->failed = (uint64_t)sqlite3_column_int64(q, 4);
		t->dropped = (uint64_t)sqlite3_column_int64(q, 5);
		t->give_up_ms = sqlite3_column_int64(q, 6);
		t->error_at = sqlite3_column_int64(q, 7);
		store_column_text(q, 8, t->error, sizeof(t->error));
	}
	if (e != SQLITE_DONE && e != SQLITE_ROW)
		n = store_failed(s, err, errsize);
	done(q);
	return n;
}

/* Those of a receiver that is gone which have waited long enough. */
static bool
expire(struct store *s, const struct told_totals *r, int64_t now_ms, uint64_t *gone)
{
	int64_t event, since_ms;
	uint32_t tries;

	for (unsigned i = 0; i < TRIM_MAX; i++) {
		if (!oldest(s, r->name, &event, &tries, &since_ms) ||
		    since_ms > now_ms - r->give_up_ms)
			return true;
		if (!store_delivery_end(s, r->name, event, tries, TOLD_DROPPED))
			return false;
		(*gone)++;
	}
	return true;
}

static bool
tidy_receivers(struct store *s, int64_t now_ms, uint64_t *gone)
{
	struct told_totals *all = calloc(RECEIVERS_KNOWN, sizeof(*all));
	char err[256];
	int n = all != NULL ? store_told(s, all, err, sizeof(err)) : -1;
	bool ok = n >= 0;

	for (int i = 0; ok && i < n; i++)
		ok = all[i].here ? trim(s, all[i].name, 0) : expire(s, &all[i], now_ms, gone);
	free(all);
	return ok;
}

int
store_events_tidy(
    struct store *s, int64_t now_s, int64_t now_ms, uint64_t *gone, char *err, size_t errsize)
{
	bool ok;

	*gone = 0;
	if (!store_begin(s))
		return store_failed(s, err, errsize);
	ok = store_events_prune(s, now_s, TRIM_MAX) && tidy_receivers(s, now_ms, gone) &&
	    store_run(stmt(s, FORGET));
	return store_end(s, ok, err, errsize);
}

/* ---- listing ---- */

json_t *
store_told_of(struct store *s, int64_t event)
{
	static const char *const names[] = {
		[TOLD_DELIVERED] = "delivered", [TOLD_FAILED] = "failed", [TOLD_DROPPED] = "dropped"
	};
	sqlite3_stmt *q = stmt(s, STATES);
	json_t *j = json_object();

	(void)sqlite3_bind_int64(q, 1, event);
	while (sqlite3_step(q) == SQLITE_ROW) {
		int how = sqlite3_column_int(q, 1);
		char name[RECEIVER_NAME_MAX + 1];

		store_column_text(q, 0, name, sizeof(name));
		(void)json_object_set_new(j, name,
		    json_pack("{s:s, s:I, s:I}", "state",
			how >= 0 && how <= TOLD_DROPPED ? names[how] : "waiting", "tries",
			(json_int_t)sqlite3_column_int64(q, 2), "at",
			(json_int_t)sqlite3_column_int64(q, 3)));
	}
	done(q);
	return j;
}
