/*
 * recent.h - recent denials of a key, out of the ring in shared memory (denials.h), and who made
 * the calls.
 *
 * What the ring says was written by the services that were denied, so a lie in it is shown as
 * what it is: figures.  What is out of range is left out, and nothing in it is an index here.
 */
#ifndef RATION_RECENT_H
#define RATION_RECENT_H

#include "denials.h"
#include "tui.h"

/* Which are asked for. */
struct recent_query {
	const unsigned char *key;
	size_t len;
	int64_t limit;   /* id; -1: of any limit */
	int64_t unix_ns; /* the nearest to then; 0: the newest */
	size_t n;        /* so many */
};

struct recent {
	struct denial *list; /* the nearest, or newest, first */
	size_t n;
	size_t noted;    /* in the ring, of whatever key */
	int64_t back_to; /* Unix ns of the oldest of these; 0: there is none */
};

/* now_ns: shared time.  False: out of memory.  Free with recent_free(). */
bool recent_find(
    const struct segment *seg, uint64_t now_ns, const struct recent_query *q, struct recent *out);
void recent_free(struct recent *d);
/*
 * Is it this key?  Of an address also when the entry's key is the range that it is in: limits and
 * routes cut addresses to prefixes.
 */
bool recent_is(const struct denial *d, const unsigned char *key, size_t len);

/* The process that called. */
enum caller {
	CALLER_LIVES,   /* it is this one: the process is older than the denial */
	CALLER_MAY_BE,  /* there is one of that number; whether the same, nobody can tell */
	CALLER_ANOTHER, /* it has ended, and another has its number */
	CALLER_ENDED,
	CALLER_FOREIGN, /* the number is of another namespace of processes */
};

#define CALLER_TEXT 161u
/*
 * text: its command line, as strvis(3) writes it, cut; "" where there is none.  test_ns: the test
 * clock's advance; namespace_ns: see clock.h.
 */
enum caller recent_caller(
    const struct denial *d, int64_t test_ns, int64_t namespace_ns, char text[CALLER_TEXT]);

#endif
