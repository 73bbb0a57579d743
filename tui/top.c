#include "tui.h"

int
top_main(struct ctx *c, int argc, char **argv)
{
	(void)c, (void)argc, (void)argv;
	return EXIT_SERVICE;
}
