/*
 * report.h - the mistakes of a policy, collected with their places.
 *
 * The sections of all files are read in an order of their own (plans before limits
 * before overrides), so mistakes are sorted by place before they are shown.
 * Their number is bounded, and so is the search for the nearest name: a file of a
 * million mistakes must not cost minutes.
 */
#ifndef RATIOND_REPORT_H
#define RATIOND_REPORT_H

#include "config.h"
#include "tree.h"

#define REPORT_MAX 10000u
#define REPORT_NEAREST_MAX 100u /* suggestions, in one report */

struct complaint {
	struct mark mark;
	uint32_t number; /* in the order of finding */
	char *text;
};

struct report {
	struct complaint *list;
	size_t n;
	size_t cap;
	size_t suppressed;
	unsigned suggested;
	const char *const *files; /* paths by mark.file */
};

void report_add(struct report *r, struct mark mark, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Sort, hand over to m as "file:line:column: text", and free. */
void report_finish(struct report *r, struct mistakes *m);

/* Text as it may be shown in a mistake: escaped, cut.  Valid until 8 further calls. */
const char *shown(const void *text, size_t len);
/* What a node is: "\"text\"", "a list", "a mapping".  As shown(). */
const char *shown_node(const struct node *n);

/*
 * The nearest of n names to a misspelt one, as "; did you mean x?", or "" when none is
 * near.  name_at(arg, i) gives the names.
 */
const char *nearest(struct report *r, const char *found, size_t len, size_t n,
    const char *(*name_at)(const void *arg, size_t i), const void *arg);

#endif
