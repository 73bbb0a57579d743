/*
 * source.c - why a key gets what it gets: the ruleset in force, the limit it is of and the
 * answer it has, each with the place that says so.
 */
#include "source.h"

#include <stdlib.h>
#include <string.h>

#include "commands.h"

#define TRIES_MAX 8
#define HOPS_MAX 8

static void
copy(const struct policy_ref *p, uint32_t string, char *out, size_t size)
{
	snprintf(out, size, "%s", policy_string(p, string, NULL));
}

void
source_origin(const struct policy_ref *p, const struct ruleset *r, const void *key, size_t len,
    char *out, size_t size)
{
	const char *origin = policy_string(p, r->origin, NULL);
	struct key_def k;

	if ((r->flags & RULESET_ZONED) != 0 && policy_key(p, policy_hash(key, len), key, len, &k) &&
	    k.zone_origin != 0)
		snprintf(out, size, "%s (%s)", origin, policy_string(p, k.zone_origin, NULL));
	else
		snprintf(out, size, "%s", origin);
}

/* The ruleset in force at `now`: an override may have ended since the version was made. */
static bool
ruleset_at(const struct policy_ref *p, int64_t index, int64_t now, struct ruleset *out)
{
	for (int hop = 0; hop < HOPS_MAX; hop++) {
		if (index < 0 || !policy_ruleset(p, (uint32_t)index, out))
			return false;
		if (out->until == POLICY_ENDLESS || now < out->until)
			break;
		index = out->next;
	}
	return true;
}

static void
read_answer(const struct policy_ref *p, const struct limit_def *def, struct source *s)
{
	uint32_t n = p->area->nanswers;
	const struct answer_def *a = policy_section(p, p->area->answers, n, sizeof(*a));

	if (a == NULL || def->answer >= n)
		return;
	copy(p, a[def->answer].name, s->answer, sizeof(s->answer));
	copy(p, a[def->answer].origin, s->answer_at, sizeof(s->answer_at));
}

static void
read_ruleset(const struct policy_ref *p, const struct ruleset *r, struct source *s)
{
	static const char *const modes[] = { "enforce", "observe", "off" };

	s->until = r->until;
	s->exempt = (r->flags & RULESET_EXEMPT) != 0;
	s->has_value = r->value != 0;
	copy(p, r->value, s->value, sizeof(s->value));
	snprintf(s->mode, sizeof(s->mode), "%s", r->mode < 3 ? modes[r->mode] : "?");
	snprintf(s->plan, sizeof(s->plan), "%s", policy_plan_name(p, r->plan));
	snprintf(s->env, sizeof(s->env), "%s", policy_env_name(p, r->env));
}

static void
read_limit(const struct policy_ref *p, const struct limit_def *def, struct source *s)
{
	s->is_value = (def->flags & LIMIT_VALUE) != 0;
	s->leases = (def->flags & LIMIT_LEASES) != 0;
	s->strict = (def->flags & LIMIT_STRICT) != 0;
	copy(p, def->origin, s->defined, sizeof(s->defined));
	copy(p, def->title, s->title, sizeof(s->title));
	if (!s->is_value)
		read_answer(p, def, s);
}

bool
source_read(const struct policy_head *head, const char *limit, const void *key, size_t len,
    int64_t now, struct source *s)
{
	struct limit_def def;
	struct policy_ref p;
	struct ruleset r;
	int64_t id;

	for (int tries = 0; tries < TRIES_MAX; tries++) {
		memset(s, 0, sizeof(*s));
		if (!policy_current(head, &p))
			return false;
		id = policy_limit_id(&p, limit, strlen(limit));
		if (id < 0 && policy_intact(&p))
			return false;
		if (id < 0 || !policy_limit(&p, (uint32_t)id, &def) ||
		    !ruleset_at(
			&p, policy_resolve(&p, (uint32_t)id, key, len, &s->listed), now, &r))
			continue;
		read_limit(&p, &def, s);
		read_ruleset(&p, &r, s);
		source_origin(&p, &r, key, len, s->origin, sizeof(s->origin));
		if (policy_intact(&p))
			return true;
	}
	return false;
}

/* ---- as JSON ---- */

static void
put_member(FILE *f, const char *name, const char *text)
{
	json_t *v = text && *text ? json_string(text) : json_null();
	char *s = json_dumps(v, JSON_ENCODE_ANY);

	fprintf(f, ",\"%s\":%s", name, s ? s : "null");
	free(s);
	json_decref(v);
}

static const char *
kind_text(const struct source *s)
{
	return s->is_value ? "value" : s->leases ? "leases" : "rates";
}

void
source_put_json(FILE *f, const struct source *s)
{
	fprintf(f, ",\"listed\":%s", s->listed ? "true" : "false");
	put_member(f, "kind", kind_text(s));
	put_member(f, "title", s->title);
	put_member(f, "plan", s->plan);
	put_member(f, "environment", s->env);
	if (!s->is_value) {
		put_member(f, "mode", s->mode);
		put_member(f, "queue", s->strict ? "strict" : "open");
		put_member(f, "answer", s->answer);
		put_member(f, "answer_origin", s->answer_at);
	}
	put_member(f, "defined", s->defined);
	put_member(f, "origin", s->origin);
	if (s->until != POLICY_ENDLESS)
		fprintf(f, ",\"until\":%lld", (long long)s->until);
	else
		fputs(",\"until\":null", f);
}

/* ---- as lines ---- */

static void
line(const char *name, const char *text)
{
	printf("%-12s ", name);
	print_text(stdout, *text ? text : "-");
	putchar('\n');
}

/* "API key (ration.yaml:9)" */
static void
line_at(const char *name, const char *text, const char *place)
{
	printf("%-12s ", name);
	print_text(stdout, text);
	if (*place) {
		fputs(*text ? " (" : "(", stdout);
		print_text(stdout, place);
		putchar(')');
	}
	putchar('\n');
}

void
source_print(const struct source *s)
{
	char when[TIME_MAX];

	line("from", s->origin);
	if (s->until != POLICY_ENDLESS)
		line("until", time_text(s->until, when));
	line_at("limit", *s->title ? s->title : kind_text(s), s->defined);
	line("plan", s->plan);
	line("environment", s->env);
	if (s->is_value)
		return;
	line("mode", s->mode);
	if (s->exempt)
		line("exempt", "nothing is asked of it");
	if (s->strict)
		line("queue", "strict: who waits goes first");
	line_at("answer", *s->answer ? s->answer : "default", s->answer_at);
}

void
source_print_value(const char *limit, const char *key, const struct source *s)
{
	print_text(stdout, limit);
	putchar(' ');
	print_text(stdout, key);
	fputs(": ", stdout);
	print_text(stdout, s->has_value ? s->value : "no value");
	putchar('\n');
	source_print(s);
}
