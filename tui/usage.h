/*
 * usage.h - what rationd's method `usage` answers, as a table, as CSV and as what a plot is of.
 *
 * The answer comes from another program: whatever is missing, out of range or of another type
 * counts as nothing.
 */
#ifndef RATION_USAGE_H
#define RATION_USAGE_H

#include <jansson.h>

#include "plot.h"

#define USAGE_SPANS 3u /* 24 hours, 7 and 30 days */
extern const int64_t usage_span_s[USAGE_SPANS];
extern const char *const usage_span_name[USAGE_SPANS];

/* One line of the table: a limit, of a plan or a key. */
struct usage_line {
	const char *limit; /* the answers' own texts: they stay as long as those do */
	const char *plan;  /* "": none, or it does not matter */
	uint64_t admitted[USAGE_SPANS];
	uint64_t denied[USAGE_SPANS];
};

/*
 * The lines of the answers for each span, sorted by plan and limit; by_plan: each plan has its
 * own.  *n of them; the caller frees.  NULL: out of memory, or there are none.
 */
struct usage_line *usage_lines(json_t *const answers[USAGE_SPANS], bool by_plan, size_t *n);
/* As a table so wide. */
void usage_table(FILE *out, const struct usage_line *lines, size_t n, bool by_plan, unsigned width);
/*
 * What a series of an answer is in buckets: from, step, n, admitted and denied of p.  All in one
 * allocation at *mem, which the caller frees.  False: there is nothing in it.
 */
bool usage_buckets(const json_t *answer, const json_t *series, struct plot *p, uint64_t **mem);
/* start,limit,key,plan,admitted,denied: a line a bucket; and before them the names. */
void usage_csv(FILE *out, const json_t *answer);

#endif
