/*
 * config_upstreams.c - the section `upstreams`: other people's limits, which clients on this host
 * share.
 */
#include "load.h"

void
read_upstreams(struct loader *l, const struct node *key)
{
	report_add(&l->r, key->mark, "upstreams: not yet");
}
