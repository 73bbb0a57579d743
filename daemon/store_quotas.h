/*
 * store_quotas.h - the store's part for usage of days and months: a row for each rate of a key, as
 * it was written down last.
 */
#ifndef RATIOND_STORE_QUOTAS_H
#define RATIOND_STORE_QUOTAS_H

#include "quota.h"
#include "store.h"

/* n of them in one transaction; used 0: nothing is kept of it.  0: durable; -1: none was. */
int store_quotas_put(
    struct store *s, const struct quota *list, size_t n, char *err, size_t errsize);
/* Up to `most` whose period is over go. */
int store_quotas_ended(struct store *s, int64_t now_s, unsigned most, char *err, size_t errsize);
/* Those whose period is not over. */
int store_quotas(struct store *s, int64_t now_s, void (*each)(void *arg, const struct quota *q),
    void *arg, char *err, size_t errsize);

#endif
