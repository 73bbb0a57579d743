/*
 * fixture.h - an instance of its own for a test: a directory, a policy given as
 * text, the segment, a handle whose clock the test owns.  No daemon.
 */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include "config.h"
#include "handle.h"
#include "ration.h"
#include "segment.h"
#include "table.h"
#include "view.h"

struct fixture {
	char dir[64];
	struct paths paths;
	struct segment seg;   /* as rationd maps it */
	ration_t *r;          /* as a service maps it; the clock is `now` */
	_Atomic uint64_t now; /* shared time, ns */
	uint32_t cells;
};

#define FIXTURE_START UINT64_C(1000000000000) /* 1,000 s after boot */
#define FIXTURE_UNIX INT64_C(1767225600)      /* 2026-01-01T00:00:00Z is shared time 1,000 s */

/* Make one; keys 0: 1,024.  Exits loudly on failure. */
void fixture_open(struct fixture *f, const char *yaml, uint64_t keys);
/* Publish another policy; with n live changes over it. */
void fixture_policy(struct fixture *f, const char *yaml);
void fixture_changes(struct fixture *f, const char *yaml, const struct change *changes, size_t n);
/* Another handle on it, with the same clock. */
ration_t *fixture_handle(struct fixture *f);
void fixture_close(struct fixture *f);
/* Unix s of the fixture's clock, rounded down. */
int64_t fixture_unix(const struct fixture *f);

/* Seed from $RATION_SEED or the clock; printed. */
uint64_t test_seed(void);
uint64_t test_random(uint64_t *state);

#endif
