/*
 * cmd_leases.c - who holds what, straight from the read-only mapping: nobody is asked, and
 * looking changes nothing.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "permits.h"
#include "rows.h"

#define TRIES_MAX 16u

/* One lease. */
struct held {
	char limit[RATION_NAME_MAX + 1];
	char *key; /* as text */
	uint64_t word;
	uint64_t since_ns; /* shared time */
	int dead;          /* 1: its holder is; 0; -1: not known, or nobody's */
};

struct leases {
	struct ctx *c;
	uint64_t now_ns;
	struct holder_look look; /* the lock file */
	struct held *at;
	size_t n, cap;
	uint32_t asked; /* the holder that was asked about last, + 1 */
	int answer;
};

/* As held->dead.  A holder's leases often stand together: the last answer is kept. */
static int
ask(struct leases *l, uint32_t holder)
{
	if (l->look.fd == -1)
		return -1;
	if (l->asked != holder + 1) {
		l->asked = holder + 1;
		l->answer = holder_dead(&l->look, holder) ? 1 : 0;
	}
	return l->answer;
}

static bool
add(struct leases *l, const char *limit, const char *key, uint64_t word)
{
	struct held *h;

	if (l->n == l->cap) {
		h = reallocarray(l->at, l->cap ? 2 * l->cap : 64, sizeof(*h));
		if (!h)
			return false;
		l->at = h;
		l->cap = l->cap ? 2 * l->cap : 64;
	}
	h = &l->at[l->n];
	memcpy(h->limit, limit, sizeof(h->limit));
	h->key = strdup(key);
	h->word = word;
	h->since_ns = permit_since(word, l->now_ns);
	h->dead = permit_held(word) ? ask(l, (uint32_t)HELD_HOLDER(word)) : -1;
	l->n += h->key != NULL;
	return h->key != NULL;
}

/* A limit's name, by a policy that is not being rewritten meanwhile. */
static void
limit_name(const struct leases *l, uint32_t id, char out[RATION_NAME_MAX + 1])
{
	struct policy_ref p;

	out[0] = '\0';
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (!policy_current(l->c->seg.policy, &p))
			return;
		row_limit_name(&p, id, out);
		if (policy_intact(&p))
			return;
	}
}

/* Those of one slot; key: only this one's, NULL: any.  False: out of memory. */
static bool
add_slot(
    struct leases *l, uint64_t slot, int64_t limit_id, const unsigned char *key, size_t key_len)
{
	char limit[RATION_NAME_MAX + 1], text[KEY_TEXT_MAX];
	unsigned char bytes[256];
	struct permits at;
	int len;

	if (!permits_read(&l->c->seg, slot, &at) || at.n == 0 ||
	    (limit_id >= 0 && at.limit != (uint64_t)limit_id))
		return true;
	len = permits_key(&l->c->seg, &at, bytes);
	if (len <= 0 || (key && ((size_t)len != key_len || memcmp(bytes, key, key_len) != 0)))
		return true;
	limit_name(l, at.limit, limit);
	key_text(bytes, (size_t)len, text);
	for (uint32_t i = 0; i < at.n; i++)
		if (!add(l, limit, text, at.at[i].word))
			return false;
	return true;
}

static int
by_limit_key_since(const void *x, const void *y)
{
	const struct held *a = x, *b = y;
	int order = strcmp(a->limit, b->limit);

	if (order == 0)
		order = strcmp(a->key, b->key);
	return order != 0 ? order : (a->since_ns > b->since_ns) - (a->since_ns < b->since_ns);
}

/* ---- printing ---- */

static int64_t
since_s(const struct leases *l, const struct held *h)
{
	return clock_unix(l->c->seg.policy, h->since_ns) / 1000000000;
}

/* Seconds until it ends by itself, rounded up; -1: it does not. */
static int64_t
left_s(const struct leases *l, const struct held *h)
{
	uint64_t ends = permit_held(h->word) ? permit_ends(h->word, l->now_ns) : 0;

	if (ends == 0)
		return -1;
	return ends > l->now_ns ? (int64_t)((ends - l->now_ns + 999999999) / 1000000000) : 0;
}

static void
print_lease_json(const struct leases *l, const struct held *h, bool first)
{
	json_t *j = json_object();
	char name[16];

	(void)json_object_set_new(j, "limit", json_string(h->limit));
	(void)json_object_set_new(j, "key", json_string(h->key));
	(void)json_object_set_new(j, "since", json_integer(since_s(l, h)));
	if (permit_held(h->word)) {
		int64_t left = left_s(l, h);

		(void)json_object_set_new(
		    j, "holder", json_integer((json_int_t)HELD_HOLDER(h->word)));
		(void)json_object_set_new(
		    j, "dead", h->dead < 0 ? json_null() : json_boolean(h->dead));
		(void)json_object_set_new(
		    j, "ttl_left_s", left < 0 ? json_null() : json_integer(left));
		(void)json_object_set_new(j, "name_hash", json_null());
	} else {
		snprintf(name, sizeof(name), "%010llx", (unsigned long long)KEPT_NAME(h->word));
		(void)json_object_set_new(j, "holder", json_null());
		(void)json_object_set_new(j, "dead", json_false());
		(void)json_object_set_new(j, "ttl_left_s", json_null());
		(void)json_object_set_new(j, "name_hash", json_string(name));
	}
	fputs(first ? "\n " : ",\n ", stdout);
	(void)json_dumpf(j, stdout, JSON_COMPACT);
	json_decref(j);
}

static void
print_lease(const struct leases *l, const struct held *h)
{
	char since[TIME_MAX], left[32], by[64];

	text_span(left_s(l, h), left, sizeof(left));
	if (permit_held(h->word))
		snprintf(by, sizeof(by), "holder %u%s", (unsigned)HELD_HOLDER(h->word),
		    h->dead > 0 ? ", dead" : "");
	else
		snprintf(by, sizeof(by), "name %010llx", (unsigned long long)KEPT_NAME(h->word));
	printf("%-16s %-28s %-19s %8s  %s\n", h->limit, h->key, time_text(since_s(l, h), since),
	    left, by);
}

static void
print_all(const struct leases *l)
{
	if (l->c->json)
		putchar('[');
	else if (l->n > 0)
		printf("%-16s %-28s %-19s %8s  %s\n", "LIMIT", "KEY", "SINCE", "TTL LEFT", "BY");
	for (size_t i = 0; i < l->n; i++) {
		if (l->c->json)
			print_lease_json(l, &l->at[i], i == 0);
		else
			print_lease(l, &l->at[i]);
	}
	if (l->c->json)
		puts(l->n ? "\n]" : "]");
}

/* ---- the command ---- */

/* LIMIT of the policy; -1: none given.  EXIT_OK, or an exit code and it was said. */
static int
limit_argument(const struct leases *l, const struct args *a, int64_t *id)
{
	struct policy_ref p;

	*id = -1;
	for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
		if (!policy_current(l->c->seg.policy, &p)) {
			complain("leases: the segment has no policy yet: try again");
			return EXIT_SERVICE;
		}
		if (a->npos == 0)
			return EXIT_OK;
		*id = policy_limit_id(&p, a->pos[0], strlen(a->pos[0]));
		if (policy_intact(&p))
			break;
	}
	if (*id >= 0)
		return EXIT_OK;
	complain("leases: %s: no such limit; ration status lists them", a->pos[0]);
	return EXIT_REFUSED;
}

static int
collect(struct leases *l, const struct args *a)
{
	const struct segment *seg = &l->c->seg;
	unsigned char key[256];
	int64_t limit;
	int len = 0, code;

	if (a->npos == 2 && (len = key_parse(a->pos[1], key)) < 0) {
		complain("leases: \"%s\" is no key", a->pos[1]);
		return EXIT_USAGE;
	}
	code = limit_argument(l, a, &limit);
	for (uint64_t slot = 0; code == EXIT_OK; slot++) {
		slot = permits_next(seg, slot, seg->nslots);
		if (slot == seg->nslots)
			break;
		if (!add_slot(l, slot, limit, len > 0 ? key : NULL, (size_t)len)) {
			complain("leases: out of memory");
			code = EXIT_SERVICE;
		}
	}
	return code;
}

int
cmd_leases(struct ctx *c, const struct args *a)
{
	struct leases l = { .c = c };
	int code = ctx_attach(c);

	if (code)
		return code;
	l.now_ns = ctx_now(c);
	l.look = holder_look_begin(&c->paths);
	code = collect(&l, a);
	if (code == EXIT_OK) {
		if (l.n > 0)
			qsort(l.at, l.n, sizeof(*l.at), by_limit_key_since);
		print_all(&l);
	}
	for (size_t i = 0; i < l.n; i++)
		free(l.at[i].key);
	free(l.at);
	holder_look_end(&l.look);
	return code;
}
