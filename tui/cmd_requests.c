/*
 * cmd_requests.c - raises: asked for, granted, refused.
 */
#include "commands.h"

int
cmd_request(struct ctx *c, const struct args *a)
{
	complain("request: not yet");
	return EXIT_USAGE;
}

int
cmd_requests(struct ctx *c, const struct args *a)
{
	complain("requests: not yet");
	return EXIT_USAGE;
}

int
cmd_approve(struct ctx *c, const struct args *a)
{
	complain("approve: not yet");
	return EXIT_USAGE;
}

int
cmd_decline(struct ctx *c, const struct args *a)
{
	complain("decline: not yet");
	return EXIT_USAGE;
}
