/*
 * filter.h - filter expressions, for `ration list --filter` and the dashboard.
 *
 *	login                 the key's text contains it; case counts only if a
 *	                      capital is in it
 *	~^ip:10\.             the key's text matches the POSIX extended regex
 *	limit:login           a column contains it (a number: is it, rounded)
 *	limit=login           a column is exactly it
 *	limit:~^api           a column matches the regex
 *	use>80  left<=2.5k  reset<1m   a number is above, below
 *	!x                    not x
 *	a b                   both
 *	a b | c               either (binds less than blanks; inside a regex it
 *	                      belongs to the regex)
 *	"a|b"                 as it is, also after column: and column=
 *
 * Names are those of the columns (model.h), by name or header.  A word with a colon
 * whose front is no column is a word: keys look like that (ip:10.0.0.1).
 * The expression is bounded in length, terms and in what its regexes may cost.
 */
#ifndef RATION_FILTER_H
#define RATION_FILTER_H

#include "model.h"

#define FILTER_MAX 1024u /* bytes of an expression */
#define FILTER_TERMS 32u

struct filter;

/*
 * Parse.  NULL: a mistake; err names the place and what was expected.  An empty
 * or blank expression is a filter that everything passes.
 */
struct filter *filter_parse(const char *text, char *err, size_t errsize);
void filter_free(struct filter *f);
/* What filter_match() must be given: NEED_TOTALS, the totals and rates; NEED_KEY, also key and
 * limit. */
enum need filter_need(const struct filter *f);
/* A filter whose answer is known from less than row holds says so: 1 yes, 0 no, -1 needs more. */
int filter_match_early(const struct filter *f, const struct model_row *row, enum need have);
bool filter_match(const struct filter *f, const struct model_row *row);

#endif
