#include "ration.h"

int
ration_value(
    ration_t *r, const char *limit, const void *key, size_t len, char *buf, size_t size)
{
	(void)r;
	(void)limit;
	(void)key;
	(void)len;
	(void)buf;
	(void)size;
	return RATION_EINVAL;
}
