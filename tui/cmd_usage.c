/*
 * cmd_usage.c - what was admitted and denied over time.
 */
#include "commands.h"

int
cmd_usage(struct ctx *c, const struct args *a)
{
	complain("usage: not yet");
	return EXIT_USAGE;
}
