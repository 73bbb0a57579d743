/*
 * store_requests.c - raises that were asked for.
 */
#include "store_sql.h"

const struct store_part store_part_requests = { { NULL }, NULL, 0 };
