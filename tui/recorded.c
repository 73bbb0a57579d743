#include "recorded.h"

#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "scratch.h"

/* What is kept by default: quarters for a day, hours for 8. */
#define DAY_S INT64_C(86400)

static void *
grow(void *list, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return list;
	*cap = *cap != 0 ? *cap * 2 : 1024;
	return reallocarray(list, *cap, size);
}

static uint64_t
hash_of(const char *limit, const char *key)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (const char *p = limit; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	h = (h ^ 0xff) * UINT64_C(0x100000001b3);
	for (const char *p = key; *p; p++)
		h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
	return h ^ h >> 29;
}

static char *
limit_name(struct recorded *r, const char *name)
{
	char **list;

	for (size_t i = r->nlimits; i-- > 0;)
		if (strcmp(r->limits[i], name) == 0)
			return r->limits[i];
	list = reallocarray(r->limits, r->nlimits + 1, sizeof(*list));
	if (list == NULL)
		return NULL;
	r->limits = list;
	list[r->nlimits] = strdup(name);
	return list[r->nlimits] != NULL ? list[r->nlimits++] : NULL;
}

static bool
table_grow(struct recorded *r)
{
	size_t places = r->places != 0 ? r->places * 2 : 2048;
	uint32_t *table = calloc(places, sizeof(*table));

	if (table == NULL)
		return false;
	for (size_t i = 0; i < r->nkeys; i++) {
		size_t at = r->keys[i].hash & (places - 1);

		while (table[at] != 0)
			at = (at + 1) & (places - 1);
		table[at] = (uint32_t)i + 1;
	}
	free(r->table);
	r->table = table;
	r->places = places;
	return true;
}

/* Its index, added if it is new; -1: no memory. */
static int64_t
key_index(struct recorded *r, const char *limit, const char *key)
{
	uint64_t hash = hash_of(limit, key);
	struct recorded_key *keys;
	size_t at;

	if (r->nkeys * 2 >= r->places && (r->nkeys >= UINT32_MAX / 4 || !table_grow(r)))
		return -1;
	for (at = hash & (r->places - 1); r->table[at] != 0; at = (at + 1) & (r->places - 1)) {
		const struct recorded_key *k = &r->keys[r->table[at] - 1];

		if (k->hash == hash && strcmp(k->limit, limit) == 0 && strcmp(k->key, key) == 0)
			return r->table[at] - 1;
	}
	keys = grow(r->keys, r->nkeys, &r->keys_cap, sizeof(*keys));
	if (keys == NULL)
		return -1;
	r->keys = keys;
	keys[r->nkeys] = (struct recorded_key) { .hash = hash };
	keys[r->nkeys].limit = limit_name(r, limit);
	keys[r->nkeys].key = strdup(key);
	if (keys[r->nkeys].limit == NULL || keys[r->nkeys].key == NULL)
		return -1;
	r->table[at] = (uint32_t)++r->nkeys;
	return (int64_t)r->nkeys - 1;
}

/* False: no memory.  What is not of the form, or of another time, is passed over. */
static bool
take_row(struct recorded *r, const json_t *row)
{
	const char *limit = jstr(row, "limit", NULL), *key = jstr(row, "key", NULL);
	int64_t admitted = jint(row, "admitted", 0), denied = jint(row, "denied", 0),
		start = jint(row, "start", -1), k;
	uint64_t asked = (uint64_t)admitted + (uint64_t)denied;
	struct recorded_row *rows;

	if (limit == NULL || admitted < 0 || denied < 0 || start < r->from_s || asked == 0 ||
	    (size_t)((start - r->from_s) / r->bucket_s) >= r->nbuckets)
		return true;
	if (key == NULL) {
		r->others += asked;
		return true;
	}
	k = key_index(r, limit, key);
	rows = k < 0 ? NULL : grow(r->rows, r->nrows, &r->rows_cap, sizeof(*rows));
	if (rows == NULL)
		return false;
	r->rows = rows;
	r->keys[k].admitted += (uint64_t)admitted;
	r->keys[k].denied += (uint64_t)denied;
	rows[r->nrows++] = (struct recorded_row) { .key = (uint32_t)k,
		.bucket = (uint32_t)((start - r->from_s) / r->bucket_s),
		.asked = asked };
	return true;
}

static int
by_place(const void *a, const void *b)
{
	const struct recorded_row *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return (x->bucket > y->bucket) - (x->bucket < y->bucket);
}

/* One page.  *next: where the next begins, the caller's; NULL: that was the last. */
static int
fetch_page(struct recorded *r, struct client *cl, struct ctx *c, int64_t to_s, char **next)
{
	json_t *params = json_pack("{s:I, s:I, s:I}", "from", (json_int_t)r->from_s, "to",
		   (json_int_t)to_s, "resolution_s", (json_int_t)r->bucket_s),
	       *result, *rows, *row;
	struct rpc_error e;
	bool ok = true;
	size_t i;

	if (*next != NULL)
		json_object_set_new(params, "after", json_string(*next));
	free(*next);
	*next = NULL;
	if (client_call(cl, "usage_page", params, &result, &e) != 0) {
		int code = complain_rpc(c, "try", &e);

		rpc_error_clear(&e);
		return code;
	}
	rows = json_object_get(result, "rows");
	json_array_foreach(rows, i, row)
	{
		ok = ok && take_row(r, row);
	}
	if (json_array_size(rows) > 0 && jstr(result, "next", NULL) != NULL) {
		*next = strdup(jstr(result, "next", ""));
		ok = ok && *next != NULL;
	}
	json_decref(result);
	if (!ok)
		complain("try: out of memory");
	return ok ? EXIT_OK : EXIT_SERVICE;
}

/* rationd's time, not ours: its clock may be a sandbox's. */
static int
fetch_now(struct client *cl, struct ctx *c, int64_t *now)
{
	json_t *result;
	struct rpc_error e;

	if (client_call(cl, "usage", json_pack("{s:i}", "last_s", 1), &result, &e) != 0) {
		int code = complain_rpc(c, "try", &e);

		rpc_error_clear(&e);
		return code;
	}
	*now = jint(result, "now", 0);
	json_decref(result);
	return EXIT_OK;
}

int
recorded_fetch(struct recorded *r, struct ctx *c, int64_t last_s)
{
	struct progress progress;
	struct rpc_error e;
	struct client cl;
	char *next = NULL;
	int64_t now = 0;
	int code;

	memset(r, 0, sizeof(*r));
	if (client_open(&cl, &c->paths, &e) != 0) {
		code = complain_rpc(c, "try", &e);
		rpc_error_clear(&e);
		return code;
	}
	code = fetch_now(&cl, c, &now);
	r->bucket_s = last_s <= DAY_S ? 900 : last_s <= 8 * DAY_S ? 3600 : DAY_S;
	r->from_s = now > last_s ? (now - last_s) / r->bucket_s * r->bucket_s : 0;
	r->now_s = now;
	r->nbuckets = (size_t)((now - r->from_s) / r->bucket_s) + 1;
	progress_start(&progress, 0);
	while (code == EXIT_OK && scratch_signal == 0) {
		code = fetch_page(r, &cl, c, now + 1, &next);
		progress_at(&progress, 0, r->nrows);
		if (next == NULL)
			break;
	}
	progress_end(&progress);
	free(next);
	client_close(&cl);
	if (r->nrows != 0)
		qsort(r->rows, r->nrows, sizeof(*r->rows), by_place);
	return code;
}

void
recorded_free(struct recorded *r)
{
	for (size_t i = 0; i < r->nkeys; i++)
		free(r->keys[i].key);
	for (size_t i = 0; i < r->nlimits; i++)
		free(r->limits[i]);
	free(r->keys);
	free(r->limits);
	free(r->table);
	free(r->rows);
	memset(r, 0, sizeof(*r));
}
