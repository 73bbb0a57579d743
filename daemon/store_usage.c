/*
 * store_usage.c - usage by key and limit over time.
 */
#include "store_sql.h"

const struct store_part store_part_usage = { { NULL }, NULL, 0 };
