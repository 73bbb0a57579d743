/*
 * invariants.h - what must hold of a segment and of a history, whoever made them: no key with
 * two slots, no slot in two lists; no window with more than its limit.
 */
#ifndef TESTS_INVARIANTS_H
#define TESTS_INVARIANTS_H

#include "fixture.h"

struct audit {
	uint64_t st[16];   /* slots in each state */
	uint64_t linked;   /* that a search can reach */
	uint64_t unlinked; /* LIVE or READY, in no list */
	uint64_t lost;     /* EXTRA that no slot refers to */
};

/* Walk the whole table.  Returns NULL, or what is wrong (static text). */
const char *audit_table(const struct fixture *f, struct audit *a);

/* Units of a key's first rate as a view shows them; false: the key has no slot. */
bool audit_row(
    const struct fixture *f, const char *limit, const void *key, size_t len, struct row *row);

#define HISTORY_MAX 4096u

/* Admissions of one key, in any order. */
struct history {
	struct admission {
		uint64_t at_ns; /* shared time */
		uint64_t units;
	} a[HISTORY_MAX];
	unsigned n;
};

void history_add(struct history *h, uint64_t at_ns, uint64_t units);
uint64_t history_sum(const struct history *h);
/* The most units within any span of window_ns. */
uint64_t history_span(struct history *h, uint64_t window_ns);
/* The most units within any aligned window (Unix time). */
uint64_t history_fixed(const struct history *h, uint64_t window_ns);
/* The most that a bucket which gains a unit each period_ns was overdrawn by, plus burst. */
uint64_t history_bucket(struct history *h, uint64_t period_ns);

#endif
