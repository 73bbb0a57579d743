/*
 * answer.h - what an HTTP answer says about a decision: headers and bodies by policy.
 */
#ifndef RATION_ANSWER_H
#define RATION_ANSWER_H

#include "policy.h"

/*
 * Is the template well formed, and are all its ${...} known?  -1, or the offset of what is wrong
 * with *expected saying what should stand there.
 */
int64_t answer_template_check(const char *text, size_t len, const char **expected);

#endif
