#include "route.h"
#include "ration.h"

int
ration_route(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	(void)r;
	(void)method;
	(void)path;
	(void)attrs;
	(void)n;
	(void)cost;
	(void)d;
	return RATION_EINVAL;
}

int
ration_route_peek(ration_t *r, const char *method, const char *path, const ration_attr_t *attrs,
    size_t n, uint64_t cost, ration_decision_t *d)
{
	(void)r;
	(void)method;
	(void)path;
	(void)attrs;
	(void)n;
	(void)cost;
	(void)d;
	return RATION_EINVAL;
}
