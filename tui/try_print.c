/*
 * try_print.c - what a replay came to: for people and as JSON.  Whatever makes the figures other
 * than what the log's day would have been is said with them.
 */
#include "try.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define NS_S INT64_C(1000000000)
#define NUMBER_MAX 32

static const char *
grouped(uint64_t n, char buf[NUMBER_MAX])
{
	text_grouped(n, buf, NUMBER_MAX);
	return buf;
}

/* "12.3%"; the least that is not nothing is seen as such. */
static const char *
share(uint64_t part, uint64_t of, char buf[NUMBER_MAX])
{
	double percent = of != 0 ? 100.0 * (double)part / (double)of : 0;

	if (part != 0 && percent < 0.1)
		snprintf(buf, NUMBER_MAX, "<0.1%%");
	else
		snprintf(buf, NUMBER_MAX, "%.1f%%", percent);
	return buf;
}

static bool
shown(const struct replay_limit *l)
{
	return !l->gone && !l->value;
}

void
try_print_mistakes(const struct try_log *t)
{
	for (unsigned i = 0; i < t->nmistakes; i++) {
		const struct try_mistake *m = &t->mistakes[i];

		fprintf(stderr, "ration: try: ");
		print_text(stderr, t->path);
		fprintf(stderr, ":%llu: found \"", (unsigned long long)m->line);
		print_text(stderr, m->text);
		fprintf(stderr, "\", expected %s\n", m->expected);
	}
	if (t->malformed > t->nmistakes)
		complain("try: and %llu more malformed lines",
		    (unsigned long long)(t->malformed - t->nmistakes));
}

/* ---- notes: in both forms the same words ---- */

struct notes {
	char *text[32];
	unsigned n;
};

static void __attribute__((format(printf, 2, 3))) note(struct notes *notes, const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (notes->n < 32 && vasprintf(&text, fmt, ap) != -1)
		notes->text[notes->n++] = text;
	va_end(ap);
}

/* The names of limits of which `which` holds, with commas; NULL: none. */
static char *
names_of(const struct replay *p, size_t which)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	for (uint32_t i = 0; f != NULL && i < p->nlimits; i++) {
		const struct replay_limit *l = &p->limits[i];

		if (shown(l) && *(const bool *)((const char *)l + which))
			fprintf(f, "%s%s", ftell(f) > 0 ? ", " : "", l->name);
	}
	if (f == NULL || fclose(f) != 0 || size == 0) {
		free(text);
		return NULL;
	}
	return text;
}

static void
note_left_out(struct notes *n, const struct replay *p)
{
	char *names = names_of(p, offsetof(struct replay_limit, leases));

	if (names)
		note(n, "left out: %s: a log does not say how long something was held", names);
	free(names);
	names = names_of(p, offsetof(struct replay_limit, missing));
	if (names)
		note(n,
		    "left out where their attribute is not given: %s; say where it stands "
		    "with --attr",
		    names);
	free(names);
	names = names_of(p, offsetof(struct replay_limit, beyond));
	if (names)
		note(n, "left out: %s: a call has at most %u limits; give the policy routes", names,
		    RATION_CLAIMS_MAX);
	free(names);
}

static void
note_all(struct notes *n, const struct try_log *t)
{
	const struct replay *p = &t->replay;
	char a[NUMBER_MAX];

	if (!p->routed)
		note(n,
		    "the policy has no routes: every line takes of all limits whose attribute "
		    "it has");
	note_left_out(n, p);
	if (t->cost >= 0)
		note(n, "a line costs its %s, where the policy fixes no cost", t->cost_field);
	if (t->costless != 0)
		note(n, "%s lines have no figure in %s and cost nothing", grouped(t->costless, a),
		    t->cost_field);
	if (p->unrouted != 0)
		note(n,
		    "%s lines have no route, or none of its attributes: nothing is asked of "
		    "them",
		    grouped(p->unrouted, a));
	if (p->bad_key != 0)
		note(n,
		    "%s lines left out: an attribute is no key, or no address where one is "
		    "wanted",
		    grouped(p->bad_key, a));
	if (p->exempt != 0)
		note(n, "%s calls are exempt", grouped(p->exempt, a));
	if (p->failed != 0)
		note(n, "%s calls could not be decided", grouped(p->failed, a));
	if (p->older != 0)
		note(n,
		    "%s lines are older than the one before, by up to %.3f s: they count as at "
		    "its time%s",
		    grouped(p->older, a), (double)p->oldest_ns / 1e9,
		    p->oldest_ns > 60 * NS_S ? "; is the log in order?" : "");
	if (p->full != 0)
		note(n,
		    "%s calls found the table full (%llu keys are what fits here): they were "
		    "decided as the policy's when_full says",
		    grouped(p->full, a), (unsigned long long)p->seg->nslots);
	if (p->denied_keys.error != 0)
		note(n, "more than %u keys were denied: a key's denials are too few by up to %s",
		    DENIED_KEYS, grouped(p->denied_keys.error, a));
}

static void
notes_free(struct notes *n)
{
	for (unsigned i = 0; i < n->n; i++)
		free(n->text[i]);
}

/* ---- for people ---- */

static const char *const modes[] = { "enforce", "observe", "off" };

static void
print_head(const struct try_log *t)
{
	const struct replay *p = &t->replay;
	char a[NUMBER_MAX], b[NUMBER_MAX], c[NUMBER_MAX], d[NUMBER_MAX], from[TIME_MAX],
	    to[TIME_MAX];

	print_text(stdout, t->policy);
	fputs(" over ", stdout);
	print_text(stdout, t->path);
	printf(" (%s)\n", t->reader.format == LOG_JSON ? "JSON" : "combined");
	printf(
	    "from %s to %s\n", time_text(t->from_ns / NS_S, from), time_text(t->to_ns / NS_S, to));
	printf("lines %s, malformed %s, without a request %s\n", grouped(t->lines, a),
	    grouped(t->malformed, b), grouped(t->no_request, c));
	printf("calls %s: admitted %s, denied %s (%s)", grouped(p->calls, a),
	    grouped(p->admitted, b), grouped(p->denied, c), share(p->denied, p->calls, d));
	if (p->observed != 0)
		printf(", would be denied but for mode observe %s", grouped(p->observed, a));
	putchar('\n');
}

static int
name_width(const struct replay *p)
{
	int width = 5;

	for (uint32_t i = 0; i < p->nlimits; i++)
		if (shown(&p->limits[i]) && (int)strlen(p->limits[i].name) > width)
			width = (int)strlen(p->limits[i].name);
	return width;
}

static void
print_limits(const struct replay *p)
{
	int w = name_width(p);
	char a[NUMBER_MAX], b[NUMBER_MAX], c[NUMBER_MAX], d[NUMBER_MAX], e[NUMBER_MAX],
	    f[NUMBER_MAX], when[TIME_MAX];

	printf("\n%-*s %-8s %12s %12s %12s %12s %6s %12s %9s  %s\n", w, "LIMIT", "MODE", "CALLS",
	    "ADMITTED", "DENIED", "BY OTHERS", "SHARE", "OBSERVED", "PEAK/MIN", "FIRST DENIAL");
	for (uint32_t i = 0; i < p->nlimits; i++) {
		const struct replay_limit *l = &p->limits[i];

		if (!shown(l) || l->calls == 0)
			continue;
		printf("%-*s %-8s %12s %12s %12s ", w, l->name, modes[l->mode < 3 ? l->mode : 0],
		    grouped(l->calls, a), grouped(l->admitted, b), grouped(l->denied, c));
		printf("%12s %6s %12s %9s  %s\n", grouped(l->elsewhere, d),
		    share(l->denied, l->calls, e), grouped(l->observed, f), grouped(l->peak, a),
		    time_text(l->first_s, when));
	}
}

static void
print_keys(struct try_log *t)
{
	struct replay *p = &t->replay;
	const struct denied_key **top = calloc(t->top + 1, sizeof(struct denied_key *));
	size_t n = top ? denied_top(&p->denied_keys, t->top, top) : 0;
	char a[NUMBER_MAX], when[TIME_MAX], text[KEY_TEXT_MAX];

	if (n > 0)
		printf("\n%12s  %-19s  %s\n", "DENIED", "SINCE", "LIMIT KEY");
	for (size_t i = 0; i < n; i++) {
		key_text(top[i]->key, top[i]->len, text);
		printf("%12s  %-19s  %s %s\n", grouped(top[i]->count, a),
		    time_text(top[i]->first_s, when), p->limits[top[i]->limit].name, text);
	}
	free(top);
}

static int
by_denied(const void *a, const void *b)
{
	const struct replay_route *x = a, *y = b;

	if (x->denied != y->denied)
		return x->denied > y->denied ? -1 : 1;
	return x->calls != y->calls ? (x->calls > y->calls ? -1 : 1) : 0;
}

static void
print_routes(struct replay *p)
{
	char a[NUMBER_MAX], b[NUMBER_MAX], c[NUMBER_MAX], d[NUMBER_MAX];

	if (!p->routed)
		return;
	qsort(p->routes, p->nroutes, sizeof(*p->routes), by_denied);
	printf("\n%12s %12s %6s %12s  %s\n", "CALLS", "DENIED", "SHARE", "OBSERVED", "ROUTE");
	for (uint32_t i = 0; i < p->nroutes; i++) {
		const struct replay_route *r = &p->routes[i];

		if (r->calls == 0)
			continue;
		printf("%12s %12s %6s %12s  ", grouped(r->calls, a), grouped(r->denied, b),
		    share(r->denied, r->calls, c), grouped(r->observed, d));
		print_text(stdout, r->pattern);
		putchar('\n');
	}
}

void
try_print(struct try_log *t)
{
	struct notes n = { 0 };

	print_head(t);
	print_limits(&t->replay);
	print_keys(t);
	print_routes(&t->replay);
	note_all(&n, t);
	for (unsigned i = 0; i < n.n; i++) {
		fputs(i == 0 ? "\nnote: " : "note: ", stdout);
		print_text(stdout, n.text[i]);
		putchar('\n');
	}
	notes_free(&n);
}

/* ---- as JSON ---- */

static json_t *
whole(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *
time_or_null(bool is, int64_t s)
{
	return is ? json_integer(s) : json_null();
}

static json_t *
limits_json(const struct replay *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < p->nlimits; i++) {
		const struct replay_limit *l = &p->limits[i];

		if (!shown(l))
			continue;
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
			      "s:o}",
			"limit", l->name, "attribute", l->attr, "mode",
			modes[l->mode < 3 ? l->mode : 0], "left_out",
			l->calls == 0 && (l->leases || l->missing || l->beyond), "calls",
			whole(l->calls), "units", whole(l->units), "admitted", whole(l->admitted),
			"denied", whole(l->denied), "denied_by_others", whole(l->elsewhere),
			"observed", whole(l->observed), "peak_per_minute", whole(l->peak),
			"peak_at", time_or_null(l->denied != 0, l->peak_s), "first_denial_at",
			time_or_null(l->denied != 0, l->first_s), "first_denial_line",
			l->denied != 0 ? whole(l->first_line) : json_null()));
	}
	return list;
}

static json_t *
keys_json(struct try_log *t)
{
	struct replay *p = &t->replay;
	const struct denied_key **top = calloc(t->top + 1, sizeof(struct denied_key *));
	size_t n = top ? denied_top(&p->denied_keys, t->top, top) : 0;
	json_t *list = json_array();
	char text[KEY_TEXT_MAX];

	for (size_t i = 0; i < n; i++) {
		key_text(top[i]->key, top[i]->len, text);
		json_array_append_new(list,
		    json_pack("{s:s, s:s, s:o, s:I}", "limit", p->limits[top[i]->limit].name, "key",
			text, "denied", whole(top[i]->count), "since",
			(json_int_t)top[i]->first_s));
	}
	free(top);
	return list;
}

static json_t *
routes_json(struct replay *p)
{
	json_t *list = json_array();

	for (uint32_t i = 0; p->routed && i < p->nroutes; i++)
		json_array_append_new(list,
		    json_pack("{s:s, s:o, s:o, s:o}", "route", p->routes[i].pattern, "calls",
			whole(p->routes[i].calls), "denied", whole(p->routes[i].denied), "observed",
			whole(p->routes[i].observed)));
	return list;
}

void
try_print_json(struct try_log *t)
{
	struct replay *p = &t->replay;
	struct notes n = { 0 };
	json_t *out = json_object(), *list = json_array();
	bool any = t->from_ns != INT64_MAX;

	note_all(&n, t);
	for (unsigned i = 0; i < n.n; i++)
		json_array_append_new(list, json_string(n.text[i]));
	json_object_set_new(out, "policy", json_string(t->policy));
	json_object_set_new(out, "log", json_string(t->path));
	json_object_set_new(
	    out, "format", json_string(t->reader.format == LOG_JSON ? "json" : "combined"));
	json_object_set_new(out, "from", time_or_null(any, t->from_ns / NS_S));
	json_object_set_new(out, "to", time_or_null(any, t->to_ns / NS_S));
	json_object_set_new(out, "seconds", json_real((double)t->elapsed_ns / 1e9));
	json_object_set_new(out, "lines", whole(t->lines));
	json_object_set_new(out, "malformed", whole(t->malformed));
	json_object_set_new(out, "without_request", whole(t->no_request));
	json_object_set_new(out, "unrouted", whole(p->unrouted));
	json_object_set_new(out, "not_a_key", whole(p->bad_key));
	json_object_set_new(out, "older", whole(p->older));
	json_object_set_new(out, "calls", whole(p->calls));
	json_object_set_new(out, "admitted", whole(p->admitted));
	json_object_set_new(out, "denied", whole(p->denied));
	json_object_set_new(out, "observed", whole(p->observed));
	json_object_set_new(out, "exempt", whole(p->exempt));
	json_object_set_new(out, "table_full", whole(p->full));
	json_object_set_new(out, "keys_most", whole(p->most_live));
	json_object_set_new(out, "limits", limits_json(p));
	json_object_set_new(out, "keys", keys_json(t));
	json_object_set_new(out, "keys_error", whole(p->denied_keys.error));
	json_object_set_new(out, "routes", routes_json(p));
	json_object_set_new(out, "notes", list);
	print_json(out);
	json_decref(out);
	notes_free(&n);
}
