/*
 * denied.h - who was denied how often, in bounded memory: a table of DENIED_KEYS keys.
 *
 * As long as no more keys than that were ever denied, counts are exact.  When one more comes, every
 * count is lowered by the same amount, the median, and who has none left goes (Misra and Gries,
 * by halves): a count is then at most `error` too small, never too large, and who was denied
 * more than `error` times is in the table.
 */
#ifndef RATION_DENIED_H
#define RATION_DENIED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DENIED_KEYS 65536u

struct denied_key {
	uint64_t count;
	int64_t first_s; /* Unix s since when it is in the table */
	uint64_t hash;
	uint16_t limit;
	uint8_t len; /* 0: a free place */
	unsigned char *key;
};

struct denied {
	struct denied_key *keys; /* a hash table, half of it free */
	size_t places;
	size_t n;
	size_t most;    /* keys; DENIED_KEYS, less in tests */
	uint64_t error; /* 0: all counts are exact */
};

/* most: 0 for DENIED_KEYS.  False: no memory. */
bool denied_init(struct denied *d, size_t most);
void denied_free(struct denied *d);
/* One more denial.  len: 1 to 255.  False: no memory, it is not counted. */
bool denied_count(struct denied *d, uint16_t limit, const void *key, size_t len, int64_t at_s);
/*
 * The n keys with the most denials, most first, into out (at most n, the table's own); how many.
 * Nothing can be counted any more.
 */
size_t denied_top(struct denied *d, size_t n, const struct denied_key **out);

#endif
