/*
 * daemon.h - rationd's state as main() builds it up, and what its parts ask of each
 * other.  One thread; everything here is used from the event loop.
 */
#ifndef RATIOND_DAEMON_H
#define RATIOND_DAEMON_H

#include <event2/event.h>
#include <jansson.h>

#include "history.h"
#include "keeper.h"
#include "live.h"
#include "quotas.h"
#include "reaper.h"
#include "store.h"

struct control;
struct deliver;

struct daemon {
	struct event_base *base;
	struct paths paths;
	const char *file; /* -f; or NULL: paths.config once it is there */
	bool sandbox;
	int lock;          /* file descriptor; the lock goes with it */
	gid_t group;       /* may use counters and socket; (gid_t)-1: nobody else */
	gid_t admin_group; /* may make changes; (gid_t)-1: nobody else */
	struct store *store;
	struct keeper keeper;
	struct history *history;
	struct book *book;
	struct quotas *quotas;
	struct reaper reaper;
	struct live live;
	struct notifier *notifier;
	struct control *control;
	struct deliver *deliver;
	struct {
		uint64_t since_ns; /* CLOCK_BOOTTIME */
		unsigned n, more;  /* said since then, and not */
	} event_lines;
	int64_t started_s;   /* Unix s */
	uint64_t started_ns; /* CLOCK_BOOTTIME */
	struct {
		uint64_t at_ns; /* CLOCK_MONOTONIC, when it was looked at last */
		int64_t left_ns;
	} asking; /* processor time for those who ask and are no admins */
	struct {
		int64_t at; /* Unix s */
		bool ok;
		struct mistakes mistakes; /* of a refused one */
	} last_reload;
};

/* Something happened: for `ration watch`.  Texts may be NULL. */
struct happening {
	const char *type;
	const char *who;
	const char *target;
	const char *old;
	const char *new;
	const char *reason;
	const char *text; /* one line for people */
	const json_t
	    *more; /* further members of the notification, before those above; NULL: none */
};
void daemon_happened(struct daemon *d, const struct happening *h);

/*
 * An event (daemon/event.h) that store_event_add() has taken: log, `ration watch`, and those who
 * are to be told of it are told soon.  Its transaction may still be open.
 */
struct key_event;
void daemon_event(struct daemon *d, const struct key_event *e);
/* Now and then: the log says how many it left out. */
void daemon_events_tick(struct daemon *d);

/* The policy file that applies, NULL: none, the built-in default. */
const char *daemon_file(const struct daemon *d);
/* Groups as the files say.  False: one that they name does not exist. */
bool daemon_groups(struct daemon *d, const struct config *c, struct mistakes *m);
/*
 * Read the files again.  by: for the audit.  If it is refused, or cannot be made durable,
 * the old policy stays, and m says why.  dry_run: only look whether it could be.
 */
enum live_result daemon_reload(
    struct daemon *d, const struct audit *by, bool dry_run, struct mistakes *m);
/* What ended is tidied up, boundaries of the calendar are published. */
void daemon_tidy(struct daemon *d);

#endif
