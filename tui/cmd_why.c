/*
 * cmd_why.c - why a key was denied, from the ring of recent denials.
 */
#include "commands.h"

int
cmd_why(struct ctx *c, const struct args *a)
{
	complain("why: not yet");
	return EXIT_USAGE;
}
