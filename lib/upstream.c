/*
 * upstream.c - the client's side: to be built.
 */
#include "ration.h"

int
ration_upstream(ration_t *r, const char *name, ration_upstream_t *out)
{
	return RATION_EINVAL;
}

int
ration_upstream_begin(ration_t *r, ration_upstream_t *u, uint64_t cost, ration_attempt_t *a)
{
	return RATION_EINVAL;
}

int
ration_upstream_end(ration_t *r, ration_upstream_t *u, ration_attempt_t *a, int status,
    const ration_attr_t *headers, size_t n)
{
	return RATION_EINVAL;
}

uint64_t
ration_backoff_ms(uint64_t first_ms, uint64_t most_ms, unsigned tries, uint64_t *state)
{
	return first_ms;
}

int64_t
ration_retry_after(const char *value, size_t len, int64_t now)
{
	return -1;
}
