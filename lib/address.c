#include "address.h"
#include "ration.h"

int
ration_client_address(ration_t *r, const char *peer, const char *x_forwarded_for,
    const char *forwarded, char *buf, size_t size)
{
	(void)r;
	(void)peer;
	(void)x_forwarded_for;
	(void)forwarded;
	(void)buf;
	(void)size;
	return RATION_EINVAL;
}
