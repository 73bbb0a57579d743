#include "answer.h"
#include "ration.h"

int
ration_http_status(ration_t *r, const ration_decision_t *d)
{
	(void)r;
	(void)d;
	return RATION_EINVAL;
}

int
ration_http_header(ration_t *r, const ration_decision_t *d, unsigned i, ration_header_t *out)
{
	(void)r;
	(void)d;
	(void)i;
	(void)out;
	return RATION_EINVAL;
}

int
ration_http_body(ration_t *r, const ration_decision_t *d, const ration_attr_t *fields, size_t n,
    char *buf, size_t size)
{
	(void)r;
	(void)d;
	(void)fields;
	(void)n;
	(void)buf;
	(void)size;
	return RATION_EINVAL;
}
