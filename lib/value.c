/*
 * value.c - entitlements: text that the policy has for a key, and nothing is counted.
 *
 * The text is copied out of the policy before anybody sees it, and shown only if the version was
 * left alone meanwhile: a value is never half an old one and half a new one.
 */
#include <string.h>

#include "handle.h"
#include "policy.h"

#define TRIES_MAX 64u
#define HOPS_MAX 8u
#define NS_S INT64_C(1000000000)

/* The ruleset that applies now.  False: the version was rewritten meanwhile. */
static bool
ruleset_now(const struct policy_ref *p, uint32_t limit, const void *key, size_t len, int64_t now_s,
    struct ruleset *out)
{
	bool listed;
	int64_t index = policy_resolve(p, limit, key, len, &listed);

	for (unsigned hop = 0; hop < HOPS_MAX; hop++) {
		if (index < 0 || !policy_ruleset(p, (uint32_t)index, out))
			return false;
		if (out->until == POLICY_ENDLESS || now_s < out->until)
			break;
		index = out->next;
	}
	return true;
}

/*
 * One look at version p: the length of the value, now in text, or an error.  RATION_EBUSY: to be
 * looked at again.
 */
static int
look(const struct policy_ref *p, const char *limit, const void *key, size_t len, int64_t now_s,
    char text[VALUE_MAX + 1])
{
	int64_t id = policy_limit_id(p, limit, strlen(limit));
	struct limit_def def;
	struct ruleset r;
	const char *value;
	size_t n;
	int e = 0;

	if (id < 0 || !policy_limit(p, (uint32_t)id, &def))
		e = RATION_ENOLIMIT;
	else if ((def.flags & LIMIT_VALUE) == 0)
		e = RATION_EVALUE;
	else if (!ruleset_now(p, (uint32_t)id, key, len, now_s, &r))
		e = RATION_EBUSY;
	if (e != 0)
		return policy_intact(p) ? e : RATION_EBUSY;
	value = policy_string(p, r.value, &n);
	if (n > VALUE_MAX)
		n = VALUE_MAX;
	memcpy(text, value, n);
	text[n] = '\0';
	if (!policy_intact(p))
		return RATION_EBUSY;
	return r.value == 0 ? RATION_EVALUE : (int)n;
}

int
ration_value(ration_t *r, const char *limit, const void *key, size_t len, char *buf, size_t size)
{
	const struct segment *seg;
	char text[VALUE_MAX + 1];
	struct policy_ref p;
	int n = RATION_EBUSY;

	if (r == NULL || limit == NULL || key == NULL || (buf == NULL && size > 0))
		return RATION_EINVAL;
	if (len == 0 || len > RATION_KEY_MAX)
		return RATION_EKEY;
	if (strnlen(limit, RATION_NAME_MAX + 1) > RATION_NAME_MAX)
		return RATION_ENOLIMIT;
	for (unsigned tries = 0; n == RATION_EBUSY && tries < TRIES_MAX; tries++) {
		seg = handle_current(r);
		if (seg == NULL || !policy_current(seg->policy, &p))
			return RATION_EDETACHED;
		n = look(&p, limit, key, len,
		    clock_unix(seg->policy, clock_precise(&r->clock, seg->policy)) / NS_S, text);
	}
	if (n >= 0 && size > 0) {
		size_t most = (size_t)n < size ? (size_t)n : size - 1;

		memcpy(buf, text, most);
		buf[most] = '\0';
	}
	return n;
}
