/*
 * source.h - where the effective limit of a key comes from, out of the policy in shared memory:
 * whether rationd is there or not.
 */
#ifndef RATION_SOURCE_H
#define RATION_SOURCE_H

#include "policy.h"
#include "tui.h"

struct source {
	bool listed;   /* the policy names the key */
	bool exempt;   /* nothing is asked of it */
	bool is_value; /* an entitlement */
	bool has_value;
	bool leases;
	bool strict;
	int64_t until;     /* of what applies now; POLICY_ENDLESS */
	char origin[960];  /* where it comes from */
	char defined[320]; /* where the limit stands: file:line */
	char title[VALUE_MAX + 1];
	char value[VALUE_MAX + 1];
	char answer[RATION_NAME_MAX + 1];
	char answer_at[320];
	char plan[RATION_NAME_MAX + 1];
	char env[RATION_NAME_MAX + 1];
	char mode[16];
};

/*
 * Where a key's ruleset comes from, with where the key has its timezone from if that is in it:
 * "ration.yaml:9: plan elite, timezone America/Mexico_City (ration.yaml:41)".
 */
void source_origin(const struct policy_ref *p, const struct ruleset *r, const void *key, size_t len,
    char *out, size_t size);
/*
 * Read it, as of Unix second now.  False: there is no such limit.
 */
bool source_read(const struct policy_head *head, const char *limit, const void *key, size_t len,
    int64_t now, struct source *s);
/* As members of a JSON object, each behind a comma. */
void source_put_json(FILE *f, const struct source *s);
/* As lines for people: all but the decision. */
void source_print(const struct source *s);
/* What there is to say of an entitlement. */
void source_print_value(const char *limit, const char *key, const struct source *s);

#endif
