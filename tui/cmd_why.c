/*
 * cmd_why.c - why a key was denied, from the ring of recent denials; without rationd.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "recent.h"
#include "source.h"

#define NS_S INT64_C(1000000000)

/* All that is known of one denial. */
struct why {
	const struct denial *d;
	char key[KEY_TEXT_MAX];
	char limit[RATION_NAME_MAX + 1]; /* "" when the policy says nothing of its id */
	char rate[64];                   /* that decided, as policies write it; "": none did */
	char command[CALLER_TEXT];
	enum caller caller;
	int64_t now_s;
	int64_t since;    /* more denials; -1: not known */
	uint32_t version; /* of the policy now */
	bool has_source;  /* else the limit is gone */
	struct source source;
};

/* ---- gathering ---- */

/* The limit's name also when the policy has lost it.  False: there is no such id. */
static bool
limit_name(const struct policy_ref *p, uint32_t id, char out[RATION_NAME_MAX + 1])
{
	struct limit_def def;

	if (!policy_limit(p, id, &def))
		return false;
	snprintf(out, RATION_NAME_MAX + 1, "%s", policy_string(p, def.name, NULL));
	return true;
}

/* The id of a limit that is, or was: -1: neither. */
static int64_t
limit_id(const struct segment *seg, const char *name)
{
	char text[RATION_NAME_MAX + 1];
	struct policy_ref p;
	int64_t id = -1;

	for (int tries = 0; tries < 8; tries++) {
		if (!policy_current(seg->policy, &p))
			return -1;
		id = policy_limit_id(&p, name, strlen(name));
		for (uint32_t i = 0; id < 0 && i < LIMITS_MAX && limit_name(&p, i, text); i++)
			if (strcmp(text, name) == 0)
				id = i;
		if (policy_intact(&p))
			break;
	}
	return id;
}

static void
read_policy(struct ctx *c, struct why *w)
{
	struct policy_ref p;

	for (int tries = 0; tries < 8; tries++) {
		if (!policy_current(c->seg.policy, &p))
			return;
		w->version = p.version;
		if (!limit_name(&p, w->d->limit_id, w->limit))
			w->limit[0] = '\0';
		if (policy_intact(&p))
			break;
	}
	w->has_source = *w->limit != '\0' &&
	    source_read(c->seg.policy, w->limit, w->d->key, w->d->key_len, w->now_s, &w->source);
}

static void
gather(struct ctx *c, const struct denial *d, struct why *w)
{
	ration_rate_t rate = { .limit_units = d->limit_units,
		.rate_units = d->rate_units,
		.window_ns = d->window_ns,
		.kind = d->kind };

	memset(w, 0, sizeof(*w));
	w->d = d;
	w->now_s = clock_unix(c->seg.policy, ctx_now(c)) / NS_S;
	key_text(d->key, d->key_len, w->key);
	if (d->kind != 0 && ration_rate_text(&rate, w->rate, sizeof(w->rate)) < 0)
		w->rate[0] = '\0';
	w->since = denials_since(&c->seg, d);
	w->caller = recent_caller(d,
	    atomic_load_explicit(&c->seg.policy->test_offset_ns, memory_order_relaxed),
	    atomic_load_explicit(&c->clock.namespace_ns, memory_order_relaxed), w->command);
	read_policy(c, w);
}

/* ---- in words ---- */

static const char *
ago_text(int64_t s, char *buf, size_t size)
{
	char span[32];

	text_span(s, span, sizeof(span));
	snprintf(buf, size, s > 0 ? "%s ago" : "just now", span);
	return buf;
}

static void
print_used(const struct why *w)
{
	const struct denial *d = w->d;
	char used[32], limit[32], cost[32];

	text_grouped(d->used, used, sizeof(used));
	text_grouped(d->limit_units, limit, sizeof(limit));
	text_grouped(d->cost, cost, sizeof(cost));
	if (d->kind == RATION_CONCURRENT)
		printf("%s: %s of %s were taken", w->rate, used, limit);
	else
		printf(
		    "%s: %s of %s were used, and the call wanted %s", w->rate, used, limit, cost);
	if (d->used > d->limit_units)
		fputs(" (above the limit: it was lowered, or a call was settled higher)", stdout);
}

static void
print_because(const struct why *w)
{
	char cost[32];

	text_grouped(w->d->cost, cost, sizeof(cost));
	fputs("because      ", stdout);
	switch (w->d->reason) {
	case RATION_R_FULL:
		fputs("there was no room for one more key, and the limit then denies", stdout);
		break;
	case RATION_R_UNLISTED:
		fputs("the policy did not list the key, and the limit refuses such", stdout);
		break;
	case RATION_R_ZERO:
		printf("%s: the limit was 0", w->rate);
		break;
	case RATION_R_COST:
		printf("%s: the call wanted %s, more than ever fits", w->rate, cost);
		break;
	case RATION_R_RELEASE:
		print_used(w);
		fputs("; one had to be released first", stdout);
		break;
	case RATION_R_QUEUE:
		print_used(w);
		fputs("; others waited for it and went first", stdout);
		break;
	default:
		print_used(w);
	}
	if (w->d->claims > 1)
		printf("; the call asked %u limits, and none was charged", w->d->claims);
	putchar('\n');
}

static void
print_until(const struct why *w)
{
	const struct denial *d = w->d;
	char when[TIME_MAX], span[32];

	if (d->mode == MODE_OBSERVE || (d->retry_at <= 0 && d->reason == RATION_R_RELEASE))
		return;
	if (d->retry_at <= 0) {
		puts("until        never: no waiting helped");
		return;
	}
	printf("until        %s", time_text(d->retry_at, when));
	text_span(llabs(d->retry_at - w->now_s), span, sizeof(span));
	if (d->retry_at > w->now_s)
		printf(", in %s\n", span);
	else
		printf(", %s ago\n", span);
}

static void
print_caller(const struct why *w)
{
	printf("caller       pid %u", w->d->pid);
	if (*w->command)
		printf(": %s", w->command);
	switch (w->caller) {
	case CALLER_MAY_BE:
		fputs(" (this may be another process by now)", stdout);
		break;
	case CALLER_ANOTHER:
		fputs(", which has ended; another process has that number now", stdout);
		break;
	case CALLER_ENDED:
		fputs(", which has ended", stdout);
		break;
	case CALLER_FOREIGN:
		fputs(", as another pid namespace (a container) counts", stdout);
		break;
	default:
		break;
	}
	putchar('\n');
}

static void
print_policy(const struct why *w)
{
	bool same = w->d->policy_version == w->version;

	printf("policy       version %u, %s", w->d->policy_version, same ? "still in force\n" : "");
	if (!same)
		printf("changed since: now %u\n", w->version);
	fputs(same ? "from         " : "now from     ", stdout);
	if (w->has_source)
		print_text(stdout, *w->source.origin ? w->source.origin : "-");
	else
		fputs("nothing: the policy has no such limit any more", stdout);
	putchar('\n');
}

static void
print_since(const struct why *w)
{
	char n[32];

	fputs("since then   ", stdout);
	if (w->since < 0) {
		puts(w->d->mode == MODE_OBSERVE ? "what is only observed is not counted by key"
			: (w->d->flags & DENIAL_NOSLOT) != 0
			? "not counted: the key had used nothing"
			: "not known: the key's place in the table is another's");
		return;
	}
	text_grouped((uint64_t)w->since, n, sizeof(n));
	printf("%s more denial%s of this key by this limit\n", w->since == 0 ? "no" : n,
	    w->since == 1 ? "" : "s");
}

static void
print_why(const struct why *w)
{
	char when[TIME_MAX], ago[48];
	int64_t at = w->d->unix_ns / NS_S;

	printf("%s %s by ", w->key,
	    w->d->mode == MODE_OBSERVE ? "would have been denied" : "was denied");
	print_text(stdout, *w->limit ? w->limit : "a limit of no name");
	printf(" at %s, %s\n", time_text(at, when), ago_text(w->now_s - at, ago, sizeof(ago)));
	if (w->d->mode == MODE_OBSERVE)
		puts("mode         observe: the call was admitted all the same");
	print_because(w);
	print_until(w);
	print_caller(w);
	print_policy(w);
	print_since(w);
}

/* ---- as JSON ---- */

static json_t *
units_json(uint64_t n)
{
	return n > INT64_MAX ? json_null() : json_integer((json_int_t)n);
}

static json_t *
text_json(const char *text)
{
	json_t *j = *text ? json_string(text) : NULL;

	return j != NULL ? j : json_null();
}

static json_t *
why_json(const struct why *w)
{
	static const char *const reasons[] = { "", "cost", "zero", "release", "full", "unlisted",
		"queue" };
	static const char *const callers[] = { "lives", "may be another", "another", "ended",
		"foreign" };
	const struct denial *d = w->d;

	return json_pack("{s:I, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:I, s:I, s:s, "
			 "s:o, s:I, s:I, s:o, s:o}",
	    "at", (json_int_t)(d->unix_ns / NS_S), "limit", text_json(w->limit), "key", w->key,
	    "verdict", d->mode == MODE_OBSERVE ? "observed" : "denied", "decided_by",
	    text_json(w->rate), "limit_units", units_json(d->limit_units), "used",
	    units_json(d->used), "cost", units_json(d->cost), "window_s",
	    (json_int_t)(d->window_ns / (uint64_t)NS_S), "retry_at",
	    d->retry_at > 0 ? json_integer(d->retry_at) : json_null(), "reason",
	    text_json(d->reason <= RATION_R_QUEUE ? reasons[d->reason] : ""), "limits_asked",
	    (json_int_t)d->claims, "pid", (json_int_t)d->pid, "caller", callers[w->caller],
	    "command", text_json(w->command), "policy_version", (json_int_t)d->policy_version,
	    "policy_version_now", (json_int_t)w->version, "origin",
	    text_json(w->has_source ? w->source.origin : ""), "denied_since",
	    w->since < 0 ? json_null() : json_integer(w->since));
}

static void
print_all_json(struct ctx *c, const struct recent *found)
{
	json_t *list = json_array(), *all;
	struct why w;

	for (size_t i = 0; i < found->n; i++) {
		gather(c, &found->list[i], &w);
		json_array_append_new(list, why_json(&w));
	}
	all = json_pack("{s:o, s:I, s:o}", "denials", list, "noted", (json_int_t)found->noted,
	    "back_to", found->noted > 0 ? json_integer(found->back_to / NS_S) : json_null());
	print_json(all);
	json_decref(all);
}

/* ---- arguments ---- */

/* "14:05" or "14:05:30" of today, local; of yesterday while that is still to come. */
static bool
clock_parse(const char *text, int64_t now_s, int64_t *out)
{
	time_t t = (time_t)now_s;
	struct tm tm;
	const char *end;

	if (!localtime_r(&t, &tm))
		return false;
	tm.tm_sec = 0;
	end = strptime(text, "%H:%M", &tm);
	if (end != NULL && *end == ':')
		end = strptime(end + 1, "%S", &tm);
	if (end == NULL || *end != '\0')
		return false;
	tm.tm_isdst = -1;
	*out = mktime(&tm);
	if (*out > now_s) {
		tm.tm_mday--;
		tm.tm_isdst = -1;
		*out = mktime(&tm);
	}
	return true;
}

/* "2027-01-31 14:05:30" as this command prints it: local. */
static bool
local_parse(const char *text, int64_t *out)
{
	struct tm tm = { .tm_isdst = -1 };
	const char *end = strptime(text, "%Y-%m-%d", &tm);

	if (end == NULL || (*end != ' ' && *end != 'T' && *end != 't'))
		return false;
	end = strptime(end + 1, "%H:%M", &tm);
	if (end != NULL && *end == ':')
		end = strptime(end + 1, "%S", &tm);
	if (end == NULL || *end != '\0')
		return false;
	*out = mktime(&tm);
	return true;
}

static int
read_arguments(struct ctx *c, const struct args *a, unsigned char key[256], struct recent_query *q)
{
	int64_t now_s = clock_unix(c->seg.policy, ctx_now(c)) / NS_S, at;
	const char *count = a->opt[OPT_COUNT] ? a->opt[OPT_COUNT] : "1", *text = a->opt[OPT_AT];
	int64_t n;

	if (count_argument("why", "--count", count, &n) != EXIT_OK)
		return EXIT_USAGE;
	q->n = (size_t)n;
	if (text && !clock_parse(text, now_s, &at) && !local_parse(text, &at) &&
	    !time_parse(text, &at)) {
		complain("why: --at %s: expected 14:05, 14:05:30, 2027-01-31T14:05:30, "
			 "2027-01-31T12:00:00Z or Unix seconds",
		    text);
		return EXIT_USAGE;
	}
	if (text)
		q->unix_ns = (at < 1 ? 1 : at < INT64_MAX / NS_S ? at : INT64_MAX / NS_S) * NS_S;
	q->limit = -1;
	if (a->npos > 1 && (q->limit = limit_id(&c->seg, a->pos[1])) < 0) {
		complain("why: %s: no such limit; ration status lists them", a->pos[1]);
		return EXIT_REFUSED;
	}
	return EXIT_OK;
}

/* Nothing of this key: what is there. */
static void
complain_none(struct ctx *c, const struct args *a, const unsigned char *key, size_t len,
    const struct recent *found)
{
	int64_t now_s = clock_unix(c->seg.policy, ctx_now(c)) / NS_S;
	char text[KEY_TEXT_MAX], when[TIME_MAX], ago[48];

	key_text(key, len, text);
	if (found->noted == 0)
		complain("why: %s%s%s: no denial is noted, of this key or any other", text,
		    a->npos > 1 ? " by " : "", a->npos > 1 ? a->pos[1] : "");
	else
		complain(
		    "why: %s%s%s: no denial is noted; of other keys there are %zu, back to %s, "
		    "%s",
		    text, a->npos > 1 ? " by " : "", a->npos > 1 ? a->pos[1] : "", found->noted,
		    time_text(found->back_to / NS_S, when),
		    ago_text(now_s - found->back_to / NS_S, ago, sizeof(ago)));
}

int
cmd_why(struct ctx *c, const struct args *a)
{
	unsigned char key[256];
	struct recent_query q = { .key = key };
	struct recent found;
	struct why w;
	int len = key_argument("why", a->pos[0], key), code;

	if (len < 0)
		return EXIT_USAGE;
	code = ctx_attach(c);
	if (code == EXIT_OK)
		code = read_arguments(c, a, key, &q);
	if (code != EXIT_OK)
		return code;
	if (c->seg.side == NULL) {
		complain("why: %s: is missing, so denials are not noted; rationd makes it when it "
			 "starts",
		    c->paths.side);
		return EXIT_SERVICE;
	}
	q.len = (size_t)len;
	if (!recent_find(&c->seg, ctx_now(c), &q, &found)) {
		complain("why: out of memory");
		return EXIT_SERVICE;
	}
	if (c->json)
		print_all_json(c, &found);
	else if (found.n == 0)
		complain_none(c, a, key, q.len, &found);
	for (size_t i = 0; i < found.n && !c->json; i++) {
		gather(c, &found.list[i], &w);
		fputs(i > 0 ? "\n" : "", stdout);
		print_why(&w);
	}
	code = found.n > 0 ? EXIT_OK : EXIT_REFUSED;
	recent_free(&found);
	return code;
}
