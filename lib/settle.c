#include "ration.h"

int
ration_settle(ration_t *r, ration_decision_t *d, uint64_t real_cost)
{
	(void)r;
	(void)d;
	(void)real_cost;
	return RATION_EINVAL;
}
