/*
 * cmd_undo.c - taking back a change.
 */
#include "commands.h"

int
cmd_undo(struct ctx *c, const struct args *a)
{
	complain("undo: not yet");
	return EXIT_USAGE;
}
