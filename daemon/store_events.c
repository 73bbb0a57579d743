/*
 * store_events.c - events that happened, and who is still to be told of them.
 */
#include "store_sql.h"

const struct store_part store_part_events = { { NULL }, NULL, 0 };
