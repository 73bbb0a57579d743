/*
 * store_notified.c - which thresholds were crossed, once for each key and period.
 */
#include "store_sql.h"

const struct store_part store_part_notified = { { NULL }, NULL, 0 };
