#include "try.h"

int
try_history(struct ctx *c, const struct args *a)
{
	(void)c;
	(void)a;
	complain("try: --history: not yet");
	return EXIT_USAGE;
}
