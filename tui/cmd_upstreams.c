/*
 * cmd_upstreams.c - other people's limits, as this host knows them: straight from the read-only
 * mapping.
 *
 * What stands there any program of the group may have written: a name is escaped, a time that
 * cannot be one is left out.
 */
#include "commands.h"

#include <string.h>

#include "rows.h"
#include "upstream.h"

/* One upstream, copied. */
struct seen {
	char name[KEY_TEXT_MAX];
	unsigned breaker;
	int64_t breaker_since; /* Unix s */
	uint64_t limit;        /* 0: not known; UPSTREAM_SILENT: it says none */
	uint64_t remaining;
	uint64_t flight;
	int64_t reset_at, paused_until; /* Unix s; 0: none */
	uint64_t counts[UC_COUNTS];
};

static const char *const states[] = { "closed", "open", "half-open" };
static const char *const count_names[] = {
#define X(name, text) #name,
	UPSTREAM_COUNTS(X)
#undef X
};

static uint64_t
at(const word_t *w)
{
	return atomic_load_explicit(w, memory_order_acquire);
}

/* Unix s, rounded up, of a time that is ahead of now; else 0. */
static int64_t
ahead_s(const struct ctx *c, const word_t *w, uint64_t now_ns)
{
	uint64_t t = upstream_time(w, now_ns);

	return t > now_ns ? (clock_unix(c->seg.policy, t) + 999999999) / 1000000000 : 0;
}

/* False: nothing stands there. */
static bool
look(struct ctx *c, uint64_t i, uint64_t now_ns, struct seen *s)
{
	const word_t *e = side_upstream(c->seg.side, i);
	unsigned char name[U_NAME_WORDS * 8];
	uint64_t since, word;
	int64_t left;

	if (at(&e[U_ID]) == 0)
		return false;
	for (unsigned k = 0; k < U_NAME_WORDS; k++) {
		word = at(&e[U_NAME + k]);
		memcpy(name + (size_t)k * 8, &word, 8);
	}
	key_text(name, strnlen((const char *)name, RATION_NAME_MAX), s->name);
	s->breaker = breaker_state(at(&e[U_BREAKER]), now_ns, &since);
	s->breaker_since = clock_unix(c->seg.policy, since) / 1000000000;
	s->limit = at(&e[U_LIMIT]);
	left = (int64_t)(at(&e[U_CEILING]) - at(&e[U_SENT]));
	s->remaining = left > 0 ? (uint64_t)left : 0;
	s->flight = budget_flight(e, now_ns);
	s->reset_at = ahead_s(c, &e[U_RESET], now_ns);
	s->paused_until = ahead_s(c, &e[U_PAUSE], now_ns);
	for (unsigned k = 0; k < UC_COUNTS; k++)
		s->counts[k] = at(&e[U_COUNT + k]);
	return true;
}

static bool
limited(const struct seen *s)
{
	return s->limit != 0 && s->limit != UPSTREAM_SILENT;
}

/* ---- printing ---- */

static json_t *
figure(bool known, uint64_t v)
{
	return known ? json_integer((json_int_t)(v < INT64_MAX ? v : INT64_MAX)) : json_null();
}

static void
print_upstream_json(const struct seen *s, bool first)
{
	json_t *j = json_object();

	(void)json_object_set_new(j, "name", json_string(s->name));
	(void)json_object_set_new(j, "breaker", json_string(states[s->breaker]));
	(void)json_object_set_new(
	    j, "breaker_since", figure(s->breaker != RATION_CLOSED, (uint64_t)s->breaker_since));
	(void)json_object_set_new(j, "limit", figure(limited(s), s->limit));
	(void)json_object_set_new(j, "remaining", figure(limited(s), s->remaining));
	(void)json_object_set_new(j, "reset_at", figure(s->reset_at > 0, (uint64_t)s->reset_at));
	(void)json_object_set_new(
	    j, "paused_until", figure(s->paused_until > 0, (uint64_t)s->paused_until));
	(void)json_object_set_new(j, "in_flight", figure(true, s->flight));
	for (unsigned i = 0; i < UC_COUNTS; i++)
		(void)json_object_set_new(j, count_names[i], figure(true, s->counts[i]));
	fputs(first ? "\n " : ",\n ", stdout);
	(void)json_dumpf(j, stdout, JSON_COMPACT);
	json_decref(j);
}

static void
print_line(const struct seen *s)
{
	char limit[32] = "-", left[32] = "-", reset[TIME_MAX] = "-", paused[TIME_MAX] = "-";

	if (limited(s)) {
		snprintf(limit, sizeof(limit), "%llu", (unsigned long long)s->limit);
		snprintf(left, sizeof(left), "%llu", (unsigned long long)s->remaining);
	}
	if (s->reset_at > 0)
		(void)time_text(s->reset_at, reset);
	if (s->paused_until > 0)
		(void)time_text(s->paused_until, paused);
	printf("%-20s %-9s %9s %9s %6llu %-19s %-19s %9llu %6llu %6llu\n", s->name,
	    states[s->breaker], limit, left, (unsigned long long)s->flight, reset, paused,
	    (unsigned long long)s->counts[UC_sent], (unsigned long long)s->counts[UC_refused],
	    (unsigned long long)s->counts[UC_failed]);
}

void
print_upstreams_down(struct ctx *c)
{
	uint64_t now = ctx_now(c);
	char until[TIME_MAX];
	struct seen s;

	for (uint64_t i = 0; i < SIDE_UPSTREAMS; i++) {
		if (!look(c, i, now, &s))
			continue;
		if (s.breaker != RATION_CLOSED)
			printf("%-9s %s: its circuit breaker is %s since %s\n", "upstream", s.name,
			    states[s.breaker], time_text(s.breaker_since, until));
		else if (s.paused_until > 0)
			printf("%-9s %s: paused until %s\n", "upstream", s.name,
			    time_text(s.paused_until, until));
	}
}

int
cmd_upstreams(struct ctx *c, const struct args *a)
{
	int code = ctx_attach(c);
	struct seen s;
	uint64_t now;
	bool first = true;

	(void)a;
	if (code)
		return code;
	now = ctx_now(c);
	if (c->json)
		putchar('[');
	for (uint64_t i = 0; c->seg.side && i < SIDE_UPSTREAMS; i++) {
		if (!look(c, i, now, &s))
			continue;
		if (c->json)
			print_upstream_json(&s, first);
		else if (first)
			printf("%-20s %-9s %9s %9s %6s %-19s %-19s %9s %6s %6s\n", "UPSTREAM",
			    "BREAKER", "LIMIT", "LEFT", "FLYING", "RESET", "PAUSED UNTIL", "SENT",
			    "429S", "FAILED");
		if (!c->json)
			print_line(&s);
		first = false;
	}
	if (c->json)
		puts(first ? "]" : "\n]");
	return EXIT_OK;
}
