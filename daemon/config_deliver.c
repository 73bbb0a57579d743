/*
 * config_deliver.c - the section `deliver`: who is told of events: a command, webhooks.
 */
#include "load.h"
#include "receiver.h"

#include <string.h>

void
read_deliver(struct loader *l, const struct node *key)
{
	report_add(&l->r, key->mark, "deliver: not yet");
}

const struct receiver *
config_receivers(const struct config *c, unsigned *n)
{
	*n = 0;
	return NULL;
}

uint64_t
deliver_receivers(const struct config *c, const char *type)
{
	return 0;
}
