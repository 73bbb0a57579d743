/*
 * receiver.h - a webhook's receiver: a process of its own with an HTTP server on 127.0.0.1, which
 * answers as it is told to, stalls, fails, hangs up, ends and comes back on the same port.
 *
 * It checks signatures and keeps a list of what it got in memory shared with the test.
 */
#ifndef TESTS_RECEIVER_H
#define TESTS_RECEIVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define HOOK_MAX 20000

enum manner {
	MANNER_CONFIRM,
	MANNER_STALL,   /* never answers */
	MANNER_FAIL,    /* 500 */
	MANNER_BUSY,    /* 503, Retry-After: 2 */
	MANNER_MOVED,   /* 302 to a place that would confirm */
	MANNER_HANG_UP, /* closes the connection */
	MANNER_FLOOD,   /* 200 and an answer without an end */
	MANNERS
};

struct got {
	char id[48];    /* of the header */
	int64_t number; /* 2 x the request's, + 1 for its answer */
	int64_t at_ms;  /* CLOCK_MONOTONIC */
	bool confirmed; /* answered with 2xx */
	bool signed_right;
	bool whole; /* the body's id is the header's, and all headers are there */
};

struct hook {
	_Atomic int manner;
	_Atomic int wrong; /* requests that are of no use at all */
	_Atomic uint32_t n;
	int port;
	int place; /* a socket that keeps the port */
	char secret[64];
	pid_t pid;
	struct got got[HOOK_MAX];
};

/* On a free port of 127.0.0.1. */
struct hook *hook_new(const char *secret);
void hook_start(struct hook *h);
void hook_stop(struct hook *h);
void hook_free(struct hook *h);

#endif
