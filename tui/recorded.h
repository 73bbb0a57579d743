/*
 * recorded.h - the usage that rationd has recorded, fetched page by page: for each key of each
 * limit how many units it asked for in each bucket.  20 bytes a bucket that is not empty.
 */
#ifndef RATION_RECORDED_H
#define RATION_RECORDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "commands.h"

/* A key of a limit. */
struct recorded_key {
	char *limit; /* of `limits` */
	char *key;   /* as text */
	uint64_t hash;
	uint64_t admitted, denied;
};

struct recorded_row {
	uint32_t key;    /* its index */
	uint32_t bucket; /* from the first on */
	uint64_t asked;  /* units admitted, and denied calls as one each */
};

struct recorded {
	int64_t from_s; /* of the first bucket */
	int64_t bucket_s;
	int64_t now_s; /* by rationd's clock */
	size_t nbuckets;
	struct recorded_key *keys;
	size_t nkeys, keys_cap;
	uint32_t *table; /* index + 1, by hash; half of it is free */
	size_t places;
	struct recorded_row *rows; /* by key, then by bucket; a bucket may stand more than once */
	size_t nrows, rows_cap;
	char **limits; /* names */
	size_t nlimits;
	uint64_t others; /* units of keys that have no figures of their own */
};

/*
 * Everything of the last last_s seconds, at the finest resolution that reaches back so far.
 * EXIT_OK, or an exit code and it was said.
 */
int recorded_fetch(struct recorded *r, struct ctx *c, int64_t last_s);
void recorded_free(struct recorded *r);

#endif
