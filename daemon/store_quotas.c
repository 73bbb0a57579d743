/*
 * store_quotas.c - what keys have used of days and months, for a segment that has to start anew.
 */
#include "store_sql.h"

const struct store_part store_part_quotas = { { NULL }, NULL, 0 };
