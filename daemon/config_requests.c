/*
 * config_requests.c - the section `requests`: raises: until when they are answered, and who may
 * have one without asking.
 */
#include "load.h"

void
read_requests(struct loader *l, const struct node *key)
{
	report_add(&l->r, key->mark, "requests: not yet");
}
