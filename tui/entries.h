/*
 * entries.h - the list of a model while a scan makes it; of model.c alone.
 */
#ifndef RATION_ENTRIES_H
#define RATION_ENTRIES_H

#include "model.h"

void entries_clear(struct model *m);
/*
 * Take a key into the list if it is among the first m->want by m->sort.  Out of memory
 * leaves it out: nothing else could be shown of it anyway.
 */
void entries_take(struct model *m, const struct model_row *r);
/* Into order, when all have been taken. */
void entries_sort(struct model *m);

#endif
