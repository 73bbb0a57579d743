/*
 * compiled.h - a policy's text compiled into an area of the test's own, and a look into it.
 */
#ifndef TESTS_COMPILED_H
#define TESTS_COMPILED_H

#include "compile.h"

#define AREA (UINT64_C(16) << 20)
#define NOW INT64_C(1795284000) /* 21 November 2026, 18:00 UTC */

extern struct mistakes m; /* of the last text, where it is refused */
extern void *area;
extern struct policy_ref ref; /* what was compiled last */

/* What the file is called (p.yaml), and how many rates a slot holds (2). */
extern const char *compiled_name;
extern uint32_t compiled_cells;

struct config *load(const char *text);
/* Over what `previous` knows of limits, NULL: nothing.  0 or -1, as config_compile(). */
int compile_over(const struct config *c, const struct change *changes, size_t n,
    const struct policy_area *previous, void *out);
int compile(const struct config *c, const struct change *changes, size_t n);
void take(const char *text);

struct limit_def limit_of(const char *name);
/* In force at t. */
struct ruleset ruleset_of(const char *limit, const char *key, int64_t t);

/* cmocka's: makes the area. */
int compiled_setup(void **state);

#endif
