#include "lease.h"
#include "ration.h"

int
ration_lease(ration_t *r, const char *limit, const void *key, size_t len, uint64_t ttl_ms,
    ration_lease_t *lease, ration_decision_t *d)
{
	(void)r;
	(void)limit;
	(void)key;
	(void)len;
	(void)ttl_ms;
	(void)lease;
	(void)d;
	return RATION_EINVAL;
}

int
ration_lease_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len, ration_lease_t *lease, ration_decision_t *d)
{
	(void)r;
	(void)limit;
	(void)key;
	(void)key_len;
	(void)name;
	(void)name_len;
	(void)lease;
	(void)d;
	return RATION_EINVAL;
}

int
ration_release(ration_t *r, ration_lease_t *lease)
{
	(void)r;
	(void)lease;
	return RATION_EINVAL;
}

int
ration_release_named(ration_t *r, const char *limit, const void *key, size_t key_len,
    const void *name, size_t name_len)
{
	(void)r;
	(void)limit;
	(void)key;
	(void)key_len;
	(void)name;
	(void)name_len;
	return RATION_EINVAL;
}

int
ration_renew(ration_t *r, ration_lease_t *lease, uint64_t ttl_ms)
{
	(void)r;
	(void)lease;
	(void)ttl_ms;
	return RATION_EINVAL;
}

int
ration_decision_lease(
    ration_t *r, const ration_decision_t *d, unsigned claim, ration_lease_t *lease)
{
	(void)r;
	(void)d;
	(void)claim;
	(void)lease;
	return RATION_EINVAL;
}

void
lease_waited(const struct segment *seg, uint64_t slot, uint64_t birth, uint64_t now_ns)
{
	(void)seg;
	(void)slot;
	(void)birth;
	(void)now_ns;
}
