/*
 * told.h - the real rationd with limits whose thresholds are told of: what the tests of that
 * share.  Events are awaited on the control socket.  That there is none is shown by another one
 * that was caused later: a key of its own crosses, and what is told before that is all there was.
 */
#ifndef TESTS_TOLD_H
#define TESTS_TOLD_H

#include "server.h"

#include "ration.h"

#define DAY 86400

struct told {
	struct server *s;
	ration_t *r;
	int fd; /* watches */
	unsigned marks;
};
extern struct told told;

/* cmocka's: rationd runs, with a clock that can be moved. */
int told_begin(void **state);
int told_end(void **state);
void told_start(void);
/* Stop it with this signal, start it again. */
void told_restart(int sig);

/* The next of a threshold or a reminder, as "threshold 60 tokens k".  The object is the caller's.
 */
json_t *told_next(char *text, size_t size);
void told_expect(const char *want);
void told_figure(const json_t *event, const char *name, json_int_t want);
/* Nothing more was told so far. */
void told_nothing(void);

/* Admitted. */
void told_take(const char *limit, const char *key, uint64_t cost);
/* What `ration status` says of thresholds. */
json_int_t told_status(const char *name);
/* A whole pass that begins after now has ended, and nothing waits. */
void told_pass(void);
/* So many seconds go by. */
void told_clock(int64_t s);
void told_pause(long ms);
/* The first figure of an answer of the database; rationd does not run. */
int told_ask(const char *sql);

#endif
