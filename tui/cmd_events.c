/*
 * cmd_events.c - events: thresholds that were reached.
 */
#include "commands.h"

int
cmd_events(struct ctx *c, const struct args *a)
{
	complain("events: not yet");
	return EXIT_USAGE;
}
