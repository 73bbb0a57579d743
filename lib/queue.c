#include "queue.h"
#include "ration.h"

int
ration_wait(ration_t *r, const char *limit, const void *key, size_t len, uint64_t cost,
    unsigned flags, const struct timespec *deadline, ration_decision_t *d)
{
	(void)r;
	(void)limit;
	(void)key;
	(void)len;
	(void)cost;
	(void)flags;
	(void)deadline;
	(void)d;
	return RATION_EINVAL;
}

int
ration_book(ration_t *r, const char *limit, const void *key, size_t len, uint64_t cost,
    unsigned flags, ration_booking_t *b, ration_decision_t *d)
{
	(void)r;
	(void)limit;
	(void)key;
	(void)len;
	(void)cost;
	(void)flags;
	(void)b;
	(void)d;
	return RATION_EINVAL;
}

int
ration_cancel(ration_t *r, ration_booking_t *b)
{
	(void)r;
	(void)b;
	return RATION_EINVAL;
}
