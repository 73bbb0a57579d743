#include "tui.h"

int
main(void)
{
	return EXIT_USAGE;
}
