/*
 * cmd_upstreams.c - other people's limits, as this host knows them.
 */
#include "commands.h"

int
cmd_upstreams(struct ctx *c, const struct args *a)
{
	complain("upstreams: not yet");
	return EXIT_USAGE;
}
