/*
 * cmd_try.c - what a policy would have done.
 */
#include "commands.h"

int
cmd_try(struct ctx *c, const struct args *a)
{
	complain("try: not yet");
	return EXIT_USAGE;
}
