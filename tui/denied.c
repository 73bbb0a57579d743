#include "denied.h"

#include <stdlib.h>
#include <string.h>

bool
denied_init(struct denied *d, size_t most)
{
	*d = (struct denied) { .most = most != 0 ? most : DENIED_KEYS, .places = 4 };
	while (d->places < 2 * d->most)
		d->places *= 2;
	d->keys = calloc(d->places, sizeof(*d->keys));
	return d->keys != NULL;
}

void
denied_free(struct denied *d)
{
	for (size_t i = 0; d->keys != NULL && i < d->places; i++)
		free(d->keys[i].key);
	free(d->keys);
	*d = (struct denied) { 0 };
}

/* Keys are clients' choice, but whoever fills a list only slows one command down. */
static uint64_t
hash_of(uint16_t limit, const void *key, size_t len)
{
	const unsigned char *b = key;
	uint64_t h = (limit + UINT64_C(0x9e3779b97f4a7c15)) * (len + 1), w;

	for (; len > 0; b += 8) {
		size_t n = len < 8 ? len : 8;

		w = 0;
		memcpy(&w, b, n);
		h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
		len -= n;
	}
	return h;
}

/* Its place, or the free one where it would stand. */
static struct denied_key *
place_of(
    const struct denied *d, uint64_t hash, uint16_t limit, const unsigned char *key, size_t len)
{
	for (size_t i = hash & (d->places - 1);; i = (i + 1) & (d->places - 1)) {
		struct denied_key *k = &d->keys[i];

		if (k->len == 0 ||
		    (k->hash == hash && k->limit == limit && k->len == len &&
			memcmp(k->key, key, len) == 0))
			return k;
	}
}

static int
by_count(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Lower all by the median; what is left is put anew. */
static bool
make_room(struct denied *d)
{
	struct denied_key *old = d->keys, *keys = calloc(d->places, sizeof(*keys));
	uint64_t *counts = malloc(d->n * sizeof(*counts)), median;
	size_t n = 0;

	if (keys == NULL || counts == NULL) {
		free(keys);
		free(counts);
		return false;
	}
	for (size_t i = 0; i < d->places; i++)
		if (old[i].len != 0)
			counts[n++] = old[i].count;
	qsort(counts, n, sizeof(*counts), by_count);
	median = counts[n / 2];
	free(counts);
	d->keys = keys;
	d->n = 0;
	d->error += median;
	for (size_t i = 0; i < d->places; i++) {
		struct denied_key *k = &old[i];

		if (k->len == 0)
			continue;
		if (k->count <= median) {
			free(k->key);
			continue;
		}
		k->count -= median;
		*place_of(d, k->hash, k->limit, k->key, k->len) = *k;
		d->n++;
	}
	free(old);
	return true;
}

bool
denied_count(struct denied *d, uint16_t limit, const void *key, size_t len, int64_t at_s)
{
	uint64_t hash = hash_of(limit, key, len);
	struct denied_key *k = place_of(d, hash, limit, key, len);

	if (k->len == 0) {
		if (d->n >= d->most) {
			if (!make_room(d))
				return false;
			k = place_of(d, hash, limit, key, len);
		}
		*k = (struct denied_key) { .hash = hash, .limit = limit, .first_s = at_s };
		k->key = malloc(len);
		if (k->key == NULL)
			return false;
		memcpy(k->key, key, len);
		k->len = (uint8_t)len;
		d->n++;
	}
	k->count++;
	return true;
}

/* The same twice gives the same: who has as many stands by limit, then by key. */
static int
by_denials(const void *a, const void *b)
{
	const struct denied_key *x = *(const struct denied_key *const *)a,
				*y = *(const struct denied_key *const *)b;
	size_t n = x->len < y->len ? x->len : y->len;
	int c;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	if (x->limit != y->limit)
		return x->limit < y->limit ? -1 : 1;
	c = memcmp(x->key, y->key, n);
	return c != 0 ? c : (int)x->len - (int)y->len;
}

size_t
denied_top(struct denied *d, size_t n, const struct denied_key **out)
{
	const struct denied_key **all = malloc((d->n + 1) * sizeof(struct denied_key *));
	size_t count = 0;

	if (all == NULL)
		return 0;
	for (size_t i = 0; i < d->places; i++)
		if (d->keys[i].len != 0)
			all[count++] = &d->keys[i];
	qsort(all, count, sizeof(struct denied_key *), by_denials);
	n = n < count ? n : count;
	for (size_t i = 0; i < n; i++)
		out[i] = all[i];
	free(all);
	return n;
}
