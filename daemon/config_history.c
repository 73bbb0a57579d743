/*
 * config_history.c - the section `history`: what is recorded of usage, how often, for how long.
 */
#include "load.h"

void
read_history(struct loader *l, const struct node *key)
{
	report_add(&l->r, key->mark, "history: not yet");
}
