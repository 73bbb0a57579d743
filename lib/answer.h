/*
 * answer.h - what an HTTP answer says about a decision: headers and bodies by policy.
 *
 * The policy's `answers` say which headers there are and what they mean; the decision has
 * the figures.  An answer is put together anew for each question, from the policy as it is
 * now, and kept only if that was not being rewritten meanwhile (answer_intact()).  Without a
 * segment, or a policy without answers, it is that of a policy that says nothing.
 */
#ifndef RATION_ANSWER_H
#define RATION_ANSWER_H

#include "policy.h"
#include "rate.h"
#include "template.h"

/*
 * Is the template well formed, and are all its ${...} known?  -1, or the offset of what is wrong
 * with *expected saying what should stand there.
 */
int64_t answer_template_check(const char *text, size_t len, const char **expected);

/*
 * What a denial's rates have in `reserved`: of its key's ruleset, by which the body names the
 * plan and the timezone.  Means something under the decision's policy_version alone.
 */
#define ANSWER_HINT(plan, zone) ((uint32_t)(plan) | (uint32_t)(zone) << 16)
#define ANSWER_HINT_PLAN(hint) ((hint)&0xffffu)
#define ANSWER_HINT_ZONE(hint) ((hint) >> 16 & 0xffu)

enum answer_body { BODY_NONE, BODY_TEMPLATE, BODY_PROBLEM };

struct answer {
	const ration_decision_t *d;
	bool attached; /* false: policy is not there */
	bool denied;
	bool waits; /* denied, and waiting helps: until retry_at */
	bool rated; /* the rates of d say something about this call */
	int64_t retry_at;
	int64_t retry_after; /* s, at least 1 */
	struct policy_ref policy;
	struct limit_def limit; /* that decided */
	struct answer_def def;
};

/* The rate whose figures the headers show; NULL: none. */
const ration_rate_t *answer_shown(const struct answer *a);
enum answer_body answer_body_kind(const struct answer *a, const char **text, size_t *len);

/* Name of a claim's limit, "" without the policy. */
const char *answer_limit(const struct answer *a, unsigned claim, size_t *len);
struct rate_spec answer_spec(const ration_rate_t *r);
#define ANSWER_PER_MAX 32u
/* "min", "15min", "month"; "concurrent" of leases; "" of what is unlimited. */
void answer_per(const ration_rate_t *r, char out[ANSWER_PER_MAX]);
/* Room for an item's name: "limit.15min-fixed", each byte escaped. */
#define ANSWER_NAME_MAX 192u
/*
 * How RateLimit-Policy calls a rate: by its window, with the limit's name where there are
 * several.  Printable ASCII, escaped as both a structured field's and JSON's strings want it.
 */
size_t answer_name(const struct answer *a, const ration_rate_t *rate, char out[ANSWER_NAME_MAX]);
/* The rates of the call that are limits, in an order that does not depend on who decided. */
unsigned answer_rates(const struct answer *a, const ration_rate_t *out[RATION_DECISION_RATES]);
/* Header i, as ration_http_header(). */
int answer_header(const struct answer *a, unsigned i, ration_header_t *out);
/* The body into o, without its end. */
void answer_body(
    const struct answer *a, const ration_attr_t *fields, size_t n, struct template_out *o);

static inline void
answer_put_u64(struct template_out *o, uint64_t v)
{
	char digits[20];
	size_t n = sizeof(digits);

	do
		digits[--n] = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	template_put(o, digits + n, sizeof(digits) - n);
}

#endif
