/*
 * learn.c - what the headers of an answer say of a limit.
 *
 * In use are, side by side: X-RateLimit-Limit, -Remaining, -Reset (no standard: Reset is Unix
 * seconds with some, seconds from now with others; their size tells which, and milliseconds
 * too); the first drafts of the IETF, RateLimit-Limit, -Remaining, -Reset; one in between,
 * "RateLimit: limit=100, remaining=50, reset=5"; and the newer ones, lists of policies:
 * "RateLimit: "burst";r=5;t=1, "daily";r=900;t=3600".  All of them are candidates, and the tightest
 * counts: with the fewest units left, of these the one that comes back last.
 *
 * Headers are bytes of a stranger.  A header of which any part cannot be read says nothing, and is
 * counted: half a figure is worse than none.
 */
#include "upstream.h"

#include <string.h>
#include <strings.h>

#include "quantity.h"

#define CANDIDATES 12u
#define DIGITS_MAX 15u
#define VALUE_MOST 4096u
#define DELTA_MOST (UPSTREAM_AHEAD_NS / 1000000000)
#define UNIX_LEAST UINT64_C(1000000000)
#define UNIX_MS_LEAST UINT64_C(100000000000)

/* One limit that is spoken of. */
struct candidate {
	const char *name; /* of the newer drafts' policies; NULL: the headers' own */
	size_t len;
	bool has_limit, has_remaining;
	uint8_t reset_kind;
	uint64_t limit, remaining, reset_ms, window_s;
};

struct reading {
	struct candidate at[CANDIDATES];
	unsigned n;
	struct learnt *out;
	int64_t age_s;
};

/* ---- text ---- */

struct text {
	const char *p, *end;
};

static void
blanks(struct text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\t'))
		t->p++;
}

static bool
take(struct text *t, char c)
{
	if (t->p == t->end || *t->p != c)
		return false;
	t->p++;
	return true;
}

/* "12", "12.75": thousandths.  False: no number, or of too many digits. */
static bool
take_number(struct text *t, uint64_t *milli)
{
	uint64_t v = 0, part = 0;
	unsigned digits = 0, places = 0;

	while (t->p < t->end && is_digit(*t->p)) {
		if (++digits > DIGITS_MAX)
			return false;
		v = v * 10 + (uint64_t)(*t->p++ - '0');
	}
	if (digits == 0)
		return false;
	if (take(t, '.')) {
		for (; t->p < t->end && is_digit(*t->p); t->p++, places++) {
			if (places < 3)
				part = part * 10 + (uint64_t)(*t->p - '0');
			else if (*t->p != '0' && part < 1000)
				part |= 1; /* rounded up, as far as it matters */
		}
		if (places == 0)
			return false;
		for (; places < 3; places++)
			part *= 10;
	}
	*milli = v * 1000 + part;
	return true;
}

static bool
is_token(char c)
{
	return is_letter(c) || is_digit(c) || (c != '\0' && strchr("_-.*:/!#$%&'+^`|~", c) != NULL);
}

/* "a string", with \" and \\ in it, as it stands between the quotes. */
static bool
take_string(struct text *t, const char **out, size_t *len)
{
	*out = t->p;
	for (; t->p < t->end && *t->p != '"'; t->p++)
		if (*t->p == '\\' && ++t->p == t->end)
			return false;
	*len = (size_t)(t->p - *out);
	return take(t, '"');
}

static size_t
take_token(struct text *t, const char **out)
{
	*out = t->p;
	while (t->p < t->end && is_token(*t->p))
		t->p++;
	return (size_t)(t->p - *out);
}

/* Any bare item; *milli: of a number, else UINT64_MAX. */
static bool
take_item(struct text *t, uint64_t *milli, const char **text, size_t *len)
{
	*milli = UINT64_MAX;
	*text = t->p;
	*len = 0;
	if (take(t, '"'))
		return take_string(t, text, len);
	if (t->p < t->end && is_digit(*t->p))
		return take_number(t, milli);
	*len = take_token(t, text); /* a token, ?1, :bytes=:, -1 */
	while (t->p < t->end && (*t->p == '?' || *t->p == '=' || is_token(*t->p)))
		t->p++;
	return t->p > *text;
}

static bool
same(const char *name, size_t len, const char *want)
{
	return strlen(want) == len && strncasecmp(name, want, len) == 0;
}

/* ---- figures ---- */

static struct candidate *
candidate(struct reading *r, const char *name, size_t len)
{
	for (unsigned i = 0; i < r->n; i++)
		if ((r->at[i].name == NULL) == (name == NULL) && r->at[i].len == len &&
		    (name == NULL || memcmp(r->at[i].name, name, len) == 0))
			return &r->at[i];
	if (r->n == CANDIDATES)
		return NULL;
	r->at[r->n] = (struct candidate) { .name = name, .len = len };
	return &r->at[r->n++];
}

static bool
set_reset(struct candidate *c, uint64_t milli)
{
	uint8_t kind = RESET_DELTA;

	if (milli >= UNIX_MS_LEAST * 1000) {
		kind = RESET_UNIX;
		milli /= 1000;
	} else if (milli >= UNIX_LEAST * 1000) {
		kind = RESET_UNIX;
	} else if (milli > DELTA_MOST * 1000) {
		return false;
	}
	/* Said twice: the later. */
	if (c->reset_kind != kind || milli > c->reset_ms)
		c->reset_ms = milli;
	c->reset_kind = kind;
	return true;
}

static void
set_limit(struct candidate *c, uint64_t v)
{
	c->limit = c->has_limit && c->limit < v ? c->limit : v;
	c->has_limit = true;
}

static void
set_remaining(struct candidate *c, uint64_t v)
{
	c->remaining = c->has_remaining && c->remaining < v ? c->remaining : v;
	c->has_remaining = true;
}

enum figure { FIGURE_LIMIT, FIGURE_REMAINING, FIGURE_RESET, FIGURE_WINDOW };

static bool
set_figure(struct candidate *c, enum figure what, uint64_t milli)
{
	switch (what) {
	case FIGURE_LIMIT:
		set_limit(c, milli / 1000);
		return true;
	case FIGURE_REMAINING:
		set_remaining(c, milli / 1000);
		return true;
	case FIGURE_WINDOW:
		c->window_s = milli / 1000;
		return true;
	default:
		return set_reset(c, milli);
	}
}

/* The same header twice, which some have put together: "50, 3".  The tighter counts. */
static bool
further_figures(struct text t, enum figure what, uint64_t *milli)
{
	while (take(&t, ',')) {
		uint64_t more;

		blanks(&t);
		if (!take_number(&t, &more))
			return false;
		blanks(&t);
		if (what == FIGURE_REMAINING ? more < *milli : more > *milli)
			*milli = more;
	}
	return t.p == t.end;
}

/* A number by itself; behind a limit may stand what policies it is of ("100, 100;w=60"). */
static bool
plain_figure(struct reading *r, struct text t, enum figure what)
{
	struct candidate *c;
	uint64_t milli;

	blanks(&t);
	if (!take_number(&t, &milli))
		return false;
	blanks(&t);
	if (t.p != t.end && *t.p != ',' && *t.p != ';')
		return false;
	if ((what == FIGURE_REMAINING || what == FIGURE_RESET) && t.p != t.end && *t.p == ',' &&
	    !further_figures(t, what, &milli))
		return false;
	c = candidate(r, NULL, 0);
	return c == NULL || set_figure(c, what, milli);
}

/* ---- lists ---- */

/* What a parameter of a policy is called: of RateLimit-Policy q and w, of RateLimit r and t. */
static bool
parameter(struct candidate *c, bool policy, const char *key, size_t len, uint64_t milli)
{
	if (milli == UINT64_MAX)
		return !(policy ? same(key, len, "q") : same(key, len, "r") || same(key, len, "t"));
	if (policy && same(key, len, "q"))
		return set_figure(c, FIGURE_LIMIT, milli);
	if (policy && same(key, len, "w"))
		return set_figure(c, FIGURE_WINDOW, milli);
	if (!policy && same(key, len, "r"))
		return set_figure(c, FIGURE_REMAINING, milli);
	if (!policy && same(key, len, "t"))
		return milli <= DELTA_MOST * 1000 && set_figure(c, FIGURE_RESET, milli);
	return true;
}

static bool
parameters(struct text *t, struct candidate *c, bool policy)
{
	for (;;) {
		const char *key, *text;
		uint64_t milli = UINT64_MAX;
		size_t len, n;

		blanks(t);
		if (!take(t, ';'))
			return true;
		blanks(t);
		len = take_token(t, &key);
		if (len == 0 || (take(t, '=') && !take_item(t, &milli, &text, &n)) ||
		    !parameter(c, policy, key, len, milli))
			return false;
	}
}

/* "limit=100": the draft in between. */
static bool
named_figure(struct candidate *c, const char *name, size_t len, uint64_t milli)
{
	static const struct {
		const char *name;
		enum figure what;
	} names[] = { { "limit", FIGURE_LIMIT }, { "remaining", FIGURE_REMAINING },
		{ "reset", FIGURE_RESET } };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (same(name, len, names[i].name))
			return milli != UINT64_MAX && set_figure(c, names[i].what, milli);
	return true;
}

/* One member of the list.  Older policies have their quota for a name: "100;w=60". */
static bool
member(struct reading *r, struct text *t, bool policy)
{
	struct candidate spare = { .name = NULL }, *c;
	const char *name, *text;
	uint64_t milli, value = UINT64_MAX;
	size_t len, n;

	if (t->p < t->end && *t->p != '"' && !is_digit(*t->p)) {
		len = take_token(t, &name);
		if (len == 0)
			return false;
		if (take(t, '=')) {
			if (!take_item(t, &value, &text, &n))
				return false;
			c = candidate(r, NULL, 0);
			return named_figure(c != NULL ? c : &spare, name, len, value) &&
			    parameters(t, &spare, policy);
		}
	} else if (!take_item(t, &milli, &name, &len)) {
		return false;
	} else if (len == 0 && milli != UINT64_MAX) {
		return parameters(t, &spare, true);
	}
	c = candidate(r, name, len);
	return parameters(t, c != NULL ? c : &spare, policy);
}

static bool
list(struct reading *r, struct text t, bool policy)
{
	blanks(&t);
	for (;;) {
		if (!member(r, &t, policy))
			return false;
		blanks(&t);
		if (t.p == t.end)
			return true;
		if (!take(&t, ','))
			return false;
		blanks(&t);
	}
}

/* ---- headers ---- */

enum header { H_FIGURE, H_LIMITS, H_POLICIES, H_RETRY, H_DATE, H_AGE };

static const struct {
	const char *name;
	enum header kind;
	enum figure what;
} known[] = {
	{ "x-ratelimit-limit", H_FIGURE, FIGURE_LIMIT },
	{ "x-ratelimit-remaining", H_FIGURE, FIGURE_REMAINING },
	{ "x-ratelimit-reset", H_FIGURE, FIGURE_RESET },
	{ "x-ratelimit-window", H_FIGURE, FIGURE_WINDOW },
	{ "x-rate-limit-limit", H_FIGURE, FIGURE_LIMIT },
	{ "x-rate-limit-remaining", H_FIGURE, FIGURE_REMAINING },
	{ "x-rate-limit-reset", H_FIGURE, FIGURE_RESET },
	{ "ratelimit-limit", H_FIGURE, FIGURE_LIMIT },
	{ "ratelimit-remaining", H_FIGURE, FIGURE_REMAINING },
	{ "ratelimit-reset", H_FIGURE, FIGURE_RESET },
	{ "ratelimit", H_LIMITS, FIGURE_LIMIT },
	{ "ratelimit-policy", H_POLICIES, FIGURE_LIMIT },
	{ "retry-after", H_RETRY, FIGURE_LIMIT },
	{ "date", H_DATE, FIGURE_LIMIT },
	{ "age", H_AGE, FIGURE_LIMIT },
};

/* Read aside first: of a header that is wrong in its last part nothing is kept. */
static bool
read_list(struct reading *r, struct text t, bool policy)
{
	struct reading aside = *r;

	if (!list(&aside, t, policy))
		return false;
	*r = aside;
	return true;
}

static bool
read_header(struct reading *r, size_t i, struct text t, int64_t unix_s)
{
	uint64_t milli;

	switch (known[i].kind) {
	case H_FIGURE:
		return plain_figure(r, t, known[i].what);
	case H_LIMITS:
		return read_list(r, t, false);
	case H_POLICIES:
		return read_list(r, t, true);
	case H_RETRY: /* when Date is known */
		return true;
	case H_DATE:
		r->out->date_s = http_date(t.p, (size_t)(t.end - t.p), unix_s);
		if (r->out->date_s == INT64_MIN)
			r->out->date_s = -1;
		return r->out->date_s >= 0;
	default:
		blanks(&t);
		if (!take_number(&t, &milli))
			return false;
		r->age_s = (int64_t)(milli / 1000);
		return true;
	}
}

static bool
tighter(const struct candidate *a, const struct candidate *b)
{
	if (a->has_remaining != b->has_remaining)
		return a->has_remaining;
	if (a->remaining != b->remaining)
		return a->remaining < b->remaining;
	if (a->has_limit != b->has_limit)
		return a->has_limit;
	return a->reset_ms > b->reset_ms;
}

static void
choose(const struct reading *r, struct learnt *out)
{
	const struct candidate *best = NULL;

	for (unsigned i = 0; i < r->n; i++) {
		const struct candidate *c = &r->at[i];

		if ((c->has_limit || c->has_remaining || c->reset_kind != RESET_NONE) &&
		    (best == NULL || tighter(c, best)))
			best = c;
	}
	if (best == NULL)
		return;
	out->has_limit = best->has_limit;
	out->has_remaining = best->has_remaining;
	out->limit = best->limit;
	out->remaining = best->remaining;
	out->reset_kind = best->reset_kind;
	out->reset_ms = best->reset_ms;
	out->window_s = best->window_s;
}

/* Now that Date is known; said twice, the later. */
static void
learn_retry(const ration_attr_t *headers, size_t n, int64_t unix_s, struct learnt *out)
{
	int64_t now = out->date_s >= 0 ? out->date_s : unix_s;

	for (size_t i = 0; i < n; i++) {
		const ration_attr_t *h = &headers[i];
		int64_t s;

		if (h->size != sizeof(*h) || h->name == NULL || h->value == NULL ||
		    h->len > VALUE_MOST || strcasecmp(h->name, "retry-after") != 0)
			continue;
		s = ration_retry_after(h->value, h->len, now);
		if (s < 0)
			out->malformed++;
		else if (s > out->retry_after_s)
			out->retry_after_s = s;
	}
}

void
learn_headers(const ration_attr_t *headers, size_t n, int64_t unix_s, struct learnt *out)
{
	struct reading r = { .n = 0, .out = out };

	*out = (struct learnt) { .retry_after_s = -1, .date_s = -1 };
	for (size_t i = 0; i < n; i++) {
		const ration_attr_t *h = &headers[i];

		for (size_t k = 0; k < sizeof(known) / sizeof(known[0]); k++) {
			if (h->size != sizeof(*h) || h->name == NULL || h->value == NULL ||
			    strcasecmp(h->name, known[k].name) != 0)
				continue;
			if (h->len > VALUE_MOST ||
			    !read_header(&r, k,
				(struct text) { h->value, (const char *)h->value + h->len },
				unix_s))
				out->malformed++;
		}
	}
	if (r.age_s > 0) /* out of a cache: its Date and dates are of another time */
		out->date_s = -1;
	learn_retry(headers, n, unix_s, out);
	choose(&r, out);
}
