/*
 * audit.h - is the table as layout.h says it always is?  Changes nothing.
 */
#ifndef TESTS_AUDIT_H
#define TESTS_AUDIT_H

#include <stdbool.h>

#include "segment.h"

struct audit_counts {
	uint64_t free, half, live, retiring, gone, extra;
};

/*
 * Look at every slot and every list.  No list has a ring or a stranger in it, no slot is in two
 * lists, every key is in the list of its hash and has one slot, whoever is in use can be
 * found, extra slots belong to one key.  settled: nobody is at work and rationd has been
 * round: nothing is half-made, retiring or gone, no extra slot is an orphan, and a free slot is
 * blank and known to be free.
 * Returns the number of faults; each is printed.
 */
unsigned audit_table(const struct segment *seg, bool settled, struct audit_counts *counts);

#endif
