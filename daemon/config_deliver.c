/*
 * config_deliver.c - the section `deliver`: who is told of events: a command, webhooks.
 */
#include "load.h"

void
read_deliver(struct loader *l, const struct node *key)
{
	report_add(&l->r, key->mark, "deliver: not yet");
}
