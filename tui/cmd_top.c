/*
 * cmd_top.c - from the table of commands to the dashboard.
 */
#include "commands.h"

int
cmd_top(struct ctx *c, const struct args *a)
{
	return top_main(c, a->argc, a->argv);
}
