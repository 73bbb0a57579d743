/*
 * try_history.c - what a policy would have denied of the recorded usage.
 *
 * Recorded is how much a key asked for in a quarter of an hour, not when in it: so the answer is
 * two numbers, and whatever the order of things was, the denials are between them (bounds.h).  Each
 * limit of a key is judged by itself: of a call over several limits a denial by one would have
 * spared the others.
 */
#include "try.h"

#include <stdlib.h>
#include <string.h>

#include "bounds.h"
#include "recorded.h"
#include "scratch.h"

#define NS_S INT64_C(1000000000)
#define LAST_DEFAULT UINT64_C(86400)
#define LAST_MOST (REPLAY_REACH_S)

/* A limit by its name in the history. */
struct tried_limit {
	const char *name;
	const char *why; /* left out; NULL: it is not */
	int64_t id;
	uint8_t mode;
	uint64_t keys, asked, denied_then, fewest, most;
};

struct tried_key {
	uint32_t key; /* recorded */
	uint64_t fewest, most;
};

struct history_try {
	const char *policy;
	struct recorded r;
	struct policy_ref ref;
	struct segment seg;
	struct tried_limit *limits;
	struct tried_key *keys;
	uint64_t *units;
	int64_t now_s;
	size_t top;
};

static void
window_of(void *arg, const struct rate_def *r, int64_t t, int64_t *start, int64_t *end)
{
	const struct policy_ref *ref = arg;

	if (!policy_period(ref, r, t * NS_S, start, end)) {
		*start = t;
		*end = t;
	}
}

/* ---- judging ---- */

static void
find_limits(struct history_try *h)
{
	for (size_t i = 0; i < h->r.nlimits; i++) {
		struct tried_limit *l = &h->limits[i];
		struct limit_def def;

		l->name = h->r.limits[i];
		l->id = policy_limit_id(&h->ref, l->name, strlen(l->name));
		if (l->id < 0 || !policy_limit(&h->ref, (uint32_t)l->id, &def))
			l->why = "not in this policy";
		else if ((def.flags & LIMIT_LEASES) != 0)
			l->why = "of leases: how long they were held is not recorded";
		else if ((def.flags & LIMIT_VALUE) != 0)
			l->why = "an entitlement";
	}
}

static bool
rules_of(
    const struct history_try *h, const struct tried_limit *l, const char *key, struct ruleset *out)
{
	unsigned char bytes[256];
	int len = key_parse(key, bytes);
	int64_t index;
	bool listed;

	index =
	    len <= 0 ? -1 : policy_resolve(&h->ref, (uint32_t)l->id, bytes, (size_t)len, &listed);
	for (unsigned hop = 0; hop < 8; hop++) {
		if (index < 0 || !policy_ruleset(&h->ref, (uint32_t)index, out))
			return false;
		if (out->until == POLICY_ENDLESS || h->now_s < out->until)
			break;
		index = out->next;
	}
	return true;
}

static struct tried_limit *
limit_of(struct history_try *h, const char *name)
{
	for (size_t i = 0; i < h->r.nlimits; i++)
		if (h->limits[i].name == name)
			return &h->limits[i];
	return NULL;
}

/* The key whose rows begin at `row`; where the next one's begin. */
static size_t
try_key(struct history_try *h, size_t row)
{
	const struct recorded *r = &h->r;
	const struct bounds_calendar cal = { window_of, &h->ref };
	uint32_t k = r->rows[row].key;
	struct tried_limit *l = limit_of(h, r->keys[k].limit);
	struct bounds_series s = {
		.units = h->units, .n = r->nbuckets, .start_s = r->from_s, .bucket_s = r->bucket_s
	};
	struct bounds b = { 0 };
	struct ruleset rules;

	memset(h->units, 0, r->nbuckets * sizeof(*h->units));
	for (; row < r->nrows && r->rows[row].key == k; row++)
		h->units[r->rows[row].bucket] += r->rows[row].asked;
	l->keys++;
	l->asked += r->keys[k].admitted + r->keys[k].denied;
	l->denied_then += r->keys[k].denied;
	if (l->why != NULL || !rules_of(h, l, r->keys[k].key, &rules))
		return row;
	if (l->keys == 1 || rules.mode < l->mode)
		l->mode = rules.mode;
	if (rules.mode != MODE_OFF && (rules.flags & RULESET_EXEMPT) == 0)
		(void)bounds_find(&s, rules.rates, rules.nrates, &cal, &b);
	l->fewest += b.fewest;
	l->most += b.most;
	h->keys[k].fewest = b.fewest;
	h->keys[k].most = b.most;
	return row;
}

static int
by_denials(const void *a, const void *b)
{
	const struct tried_key *x = a, *y = b;

	if (x->fewest != y->fewest)
		return x->fewest > y->fewest ? -1 : 1;
	if (x->most != y->most)
		return x->most > y->most ? -1 : 1;
	return (x->key > y->key) - (x->key < y->key);
}

static int
try_all(struct history_try *h)
{
	h->limits = calloc(h->r.nlimits + 1, sizeof(*h->limits));
	h->keys = calloc(h->r.nkeys + 1, sizeof(*h->keys));
	h->units = calloc(h->r.nbuckets + 1, sizeof(*h->units));
	if (h->limits == NULL || h->keys == NULL || h->units == NULL) {
		complain("try: out of memory");
		return EXIT_SERVICE;
	}
	for (uint32_t k = 0; k < h->r.nkeys; k++)
		h->keys[k].key = k;
	find_limits(h);
	for (size_t row = 0; row < h->r.nrows && scratch_signal == 0;)
		row = try_key(h, row);
	qsort(h->keys, h->r.nkeys, sizeof(*h->keys), by_denials);
	return EXIT_OK;
}

/* ---- telling ---- */

static const char *const modes[] = { "enforce", "observe", "off" };

static const char *
mode_of(const struct tried_limit *l)
{
	return modes[l->mode < 3 ? l->mode : 0];
}

static const char *
resolution(const struct recorded *r)
{
	return r->bucket_s == 900 ? "quarter of an hour" : r->bucket_s == 3600 ? "hour" : "day";
}

static const char *
between(uint64_t fewest, uint64_t most, char *buf, size_t size)
{
	char a[32], b[32];

	text_grouped(fewest, a, sizeof(a));
	text_grouped(most, b, sizeof(b));
	if (fewest == most)
		snprintf(buf, size, "%s", a);
	else
		snprintf(buf, size, "between %s and %s", a, b);
	return buf;
}

static void
print_history(const struct history_try *h)
{
	char from[TIME_MAX], to[TIME_MAX], a[32], b[32], range[80];
	int w = 5;

	print_text(stdout, h->policy);
	printf(" over the recorded usage\nfrom %s to %s, known by the %s\n",
	    time_text(h->r.from_s, from), time_text(h->now_s, to), resolution(&h->r));
	for (size_t i = 0; i < h->r.nlimits; i++)
		w = (int)strlen(h->limits[i].name) > w ? (int)strlen(h->limits[i].name) : w;
	printf("\n%-*s %-8s %8s %14s %12s  %s\n", w, "LIMIT", "MODE", "KEYS", "ASKED FOR",
	    "DENIED THEN", "WOULD BE DENIED");
	for (size_t i = 0; i < h->r.nlimits; i++) {
		const struct tried_limit *l = &h->limits[i];

		text_grouped(l->asked, a, sizeof(a));
		text_grouped(l->denied_then, b, sizeof(b));
		printf("%-*s %-8s %8llu %14s %12s  %s\n", w, l->name, l->why ? "-" : mode_of(l),
		    (unsigned long long)l->keys, a, b,
		    l->why ? l->why : between(l->fewest, l->most, range, sizeof(range)));
	}
	for (size_t i = 0; i < h->r.nkeys && i < h->top && h->keys[i].most > 0; i++) {
		const struct recorded_key *k = &h->r.keys[h->keys[i].key];

		if (i == 0)
			printf("\n%-40s  %s\n", "WOULD BE DENIED", "LIMIT KEY");
		printf("%-40s  %s ",
		    between(h->keys[i].fewest, h->keys[i].most, range, sizeof(range)), k->limit);
		print_text(stdout, k->key);
		putchar('\n');
	}
	puts("\nnote: how a key's units lay within a bucket is not recorded: denied would be no "
	     "fewer and no more than this, however they lay");
	puts("note: units count as calls of one, a denied call as one unit; each limit is judged "
	     "by itself; what was used before counts as nothing");
	if (h->r.others != 0)
		printf("note: left out: %llu units of keys that have no figures of their own\n",
		    (unsigned long long)h->r.others);
}

static json_t *
whole(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static void
print_history_json(const struct history_try *h)
{
	json_t *limits = json_array(), *keys = json_array(), *out;

	for (size_t i = 0; i < h->r.nlimits; i++) {
		const struct tried_limit *l = &h->limits[i];

		json_array_append_new(limits,
		    json_pack("{s:s, s:s?, s:s?, s:o, s:o, s:o, s:o, s:o}", "limit", l->name,
			"left_out", l->why, "mode", l->why ? NULL : mode_of(l), "keys",
			whole(l->keys), "asked", whole(l->asked), "denied_then",
			whole(l->denied_then), "denied_fewest",
			l->why ? json_null() : whole(l->fewest), "denied_most",
			l->why ? json_null() : whole(l->most)));
	}
	for (size_t i = 0; i < h->r.nkeys && i < h->top && h->keys[i].most > 0; i++)
		json_array_append_new(keys,
		    json_pack("{s:s, s:s, s:o, s:o}", "limit", h->r.keys[h->keys[i].key].limit,
			"key", h->r.keys[h->keys[i].key].key, "denied_fewest",
			whole(h->keys[i].fewest), "denied_most", whole(h->keys[i].most)));
	out = json_pack("{s:s, s:I, s:I, s:I, s:o, s:o, s:o}", "policy", h->policy, "from",
	    (json_int_t)h->r.from_s, "to", (json_int_t)h->now_s, "resolution_s",
	    (json_int_t)h->r.bucket_s, "others", whole(h->r.others), "limits", limits, "keys",
	    keys);
	print_json(out);
	json_decref(out);
}

/* ---- the command ---- */

/* The policy in a segment of its own, laid out from the history's beginning on. */
static int
attach(struct history_try *h, struct scratch *s)
{
	struct paths paths;
	int code = scratch_make(s, h->r.from_s, 64);

	if (code != EXIT_OK)
		return code;
	if (paths_find("try", s->dir, false, &paths) == 0 &&
	    segment_attach(&paths, false, &h->seg) == 0 && policy_current(h->seg.policy, &h->ref))
		return EXIT_OK;
	complain("try: %s: no segment", s->dir);
	return EXIT_SERVICE;
}

static int
judge(struct history_try *h, struct scratch *s, bool json)
{
	int code = attach(h, s);

	if (code == EXIT_OK && h->r.nrows == 0) {
		complain("try: no usage was recorded in that time");
		code = EXIT_REFUSED;
	}
	if (code == EXIT_OK)
		code = try_all(h);
	if (code == EXIT_OK && scratch_signal == 0)
		(json ? print_history_json : print_history)(h);
	if (h->seg.head != NULL)
		segment_detach(&h->seg);
	return code;
}

int
try_history(struct ctx *c, const struct args *a, size_t top)
{
	struct history_try h = { .policy = a->pos[0], .top = top };
	uint64_t last_ns = LAST_DEFAULT * (uint64_t)NS_S;
	struct scratch s;
	int code = EXIT_OK;

	if (a->opt[OPT_LAST])
		code = span_option("try", a, OPT_LAST, "last", &last_ns);
	if (code == EXIT_OK && last_ns / (uint64_t)NS_S > (uint64_t)LAST_MOST) {
		complain("try: --last: found \"%s\", expected at most 460d", a->opt[OPT_LAST]);
		code = EXIT_USAGE;
	}
	if (code == EXIT_OK && (a->opt[OPT_FORMAT] || a->nattrs > 0)) {
		complain("try: --format and --attr go with --log");
		code = EXIT_USAGE;
	}
	if (code == EXIT_OK)
		code = scratch_open(&s, h.policy);
	if (code != EXIT_OK)
		return code;
	code = recorded_fetch(&h.r, c, (int64_t)(last_ns / (uint64_t)NS_S));
	h.now_s = h.r.now_s;
	if (code == EXIT_OK)
		code = judge(&h, &s, c->json);
	free(h.limits);
	free(h.keys);
	free(h.units);
	recorded_free(&h.r);
	scratch_close(&s);
	return code;
}
