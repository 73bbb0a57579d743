/*
 * cmd_change.c - every command that changes something: it is put together and
 * checked here as far as that is possible without rationd, then sent in one
 * request, so it holds whole or not at all.
 */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rate.h"

int
check_key(const char *what, const char *text)
{
	unsigned char key[256];

	return key_argument(what, text, key) >= 0 ? EXIT_OK : EXIT_USAGE;
}

json_t *
key_json(const char *text)
{
	unsigned char key[256];
	char canonical[KEY_TEXT_MAX];
	int n = key_parse(text, key);

	if (n < 0)
		return NULL;
	key_text(key, (size_t)n, canonical);
	return json_string(canonical);
}

static int
number_option(const char *what, const char *name, const char *text, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == 0 && *out >= 0)
		return EXIT_OK;
	complain("%s: --%s %s: not a number", what, name, text);
	return EXIT_USAGE;
}

int
count_argument(const char *what, const char *name, const char *text, int64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == 0 && *out >= 1)
		return EXIT_OK;
	complain("%s: %s %s: expected a number from 1 on", what, name, text);
	return EXIT_USAGE;
}

bool
time_parse(const char *text, int64_t *out)
{
	struct tm tm = { 0 };
	const char *at;
	int sign, h, m, n = 0;
	char *end;

	errno = 0;
	*out = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == 0)
		return *out > 0;
	at = strptime(text, "%Y-%m-%d", &tm);
	if (!at)
		return false;
	if (*at == 'T' || *at == 't' || *at == ' ') {
		at = strptime(at + 1, "%H:%M:%S", &tm);
		if (!at)
			return false;
	}
	*out = timegm(&tm);
	if (*at == 0 || ((*at == 'Z' || *at == 'z') && at[1] == 0))
		return true;
	sign = *at == '+' ? 1 : *at == '-' ? -1 : 0;
	if (!sign || sscanf(at + 1, "%2d:%2d%n", &h, &m, &n) != 2 || n != 5 || at[1 + n] ||
	    h > 23 || m > 59 || h < 0 || m < 0)
		return false;
	*out -= sign * (h * 3600 + m * 60);
	return true;
}

int
change_options(const char *what, const struct args *a, json_t *params)
{
	char err[128];
	uint64_t ns;
	int64_t n;

	if (a->opt[OPT_REASON])
		json_object_set_new(params, "reason", json_string(a->opt[OPT_REASON]));
	if (a->opt[OPT_DRY_RUN])
		json_object_set_new(params, "dry_run", json_true());
	if (a->opt[OPT_EXPECT]) {
		if (number_option(what, "expect", a->opt[OPT_EXPECT], &n))
			return EXIT_USAGE;
		json_object_set_new(params, "expect", json_integer(n));
	}
	if (a->opt[OPT_FOR] && a->opt[OPT_UNTIL]) {
		complain("%s: --for and --until: give one of them", what);
		return EXIT_USAGE;
	}
	if (a->opt[OPT_FOR]) {
		if (duration_parse(a->opt[OPT_FOR], &ns, err, sizeof(err))) {
			complain("%s: --for: %s", what, err);
			return EXIT_USAGE;
		}
		json_object_set_new(
		    params, "for_s", json_integer((json_int_t)((ns + 999999999) / 1000000000)));
	}
	if (a->opt[OPT_UNTIL]) {
		if (!time_parse(a->opt[OPT_UNTIL], &n)) {
			complain("%s: --until %s: expected 2027-01-31, 2027-01-31T12:00:00Z or "
				 "Unix seconds",
			    what, a->opt[OPT_UNTIL]);
			return EXIT_USAGE;
		}
		json_object_set_new(params, "until", json_integer(n));
	}
	return EXIT_OK;
}

/* --key or --plan into params. */
static int
scope_options(const char *what, const struct args *a, json_t *params)
{
	if (a->opt[OPT_KEY] && a->opt[OPT_PLAN]) {
		complain("%s: --key and --plan: give one of them", what);
		return EXIT_USAGE;
	}
	if (a->opt[OPT_KEY]) {
		if (check_key(what, a->opt[OPT_KEY]))
			return EXIT_USAGE;
		json_object_set_new(params, "key", key_json(a->opt[OPT_KEY]));
	}
	if (a->opt[OPT_PLAN])
		json_object_set_new(params, "plan", json_string(a->opt[OPT_PLAN]));
	return EXIT_OK;
}

/* What was: the member that the change is about, and how long it would have held. */
char *
state_text(const json_t *old)
{
	static const char *const members[] = { "rates", "mode", "plan", "environment", "share",
		"value", "used", "state" };
	const json_t *v = old, *until = json_object_get(old, "until");
	char *text, *whole, when[TIME_MAX];

	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]) && json_is_object(old); i++)
		if ((v = json_object_get(old, members[i])) != NULL)
			break;
	if (json_is_string(v) && *json_string_value(v) == 0)
		return strdup("none");
	text = value_text(v);
	if (!text || !json_is_integer(until))
		return text;
	if (asprintf(&whole, "%s until %s", text, time_text(json_integer_value(until), when)) < 0)
		return text;
	free(text);
	return whole;
}

/* What an answer to a change has in it, for people. */
static void
print_change(const char *target, const char *now, const json_t *result, bool dry)
{
	char *old = state_text(json_object_get(result, "old"));
	bool used = json_object_get(json_object_get(result, "old"), "used") != NULL;

	print_text(stdout, target);
	printf(": %s%s -> ", old ? old : "-", used ? " used" : "");
	print_text(stdout, now);
	if (dry)
		fputs(" (dry run: nothing was changed)", stdout);
	else
		printf(" (generation %lld, change %lld, policy version %lld)",
		    (long long)jint(result, "generation", 0), (long long)jint(result, "id", 0),
		    (long long)jint(result, "policy_version", 0));
	putchar('\n');
	free(old);
}

/* Send; params are taken over. */
static int
change(struct ctx *c, const char *method, const char *what, const char *target, const char *now,
    json_t *params)
{
	bool dry = json_is_true(json_object_get(params, "dry_run"));
	json_t *result;
	int code = rpc(c, what, method, params, &result);

	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		print_change(target, now, result, dry);
	json_decref(result);
	return EXIT_OK;
}

/* Positional arguments from `from` on, joined by blanks. */
static char *
join(const struct args *a, int from)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	for (int i = from; i < a->npos; i++)
		fprintf(f, "%s%s", i > from ? " " : "", a->pos[i]);
	fclose(f);
	return text;
}

static void
target_text(const struct args *a, const char *limit, char *buf, size_t size)
{
	if (a->opt[OPT_KEY])
		snprintf(buf, size, "%s of key %s", limit, a->opt[OPT_KEY]);
	else if (a->opt[OPT_PLAN])
		snprintf(buf, size, "%s of plan %s", limit, a->opt[OPT_PLAN]);
	else
		snprintf(buf, size, "%s", limit);
}

/* Is it an entitlement, whose value may be any text?  False also when nobody knows. */
static bool
holds_values(struct ctx *c, const char *limit)
{
	struct policy_ref p;
	struct limit_def def;
	int64_t id;

	if (ctx_attach_quiet(c) != 0 || !policy_current(c->seg.policy, &p))
		return false;
	id = policy_limit_id(&p, limit, strlen(limit));
	return id >= 0 && policy_limit(&p, (uint32_t)id, &def) && (def.flags & LIMIT_VALUE) != 0;
}

int
cmd_set(struct ctx *c, const struct args *a)
{
	struct rate_spec specs[RATION_RATES_MAX];
	char err[256], target[1200], *rates = join(a, 1);
	json_t *params;
	int code = EXIT_USAGE;

	if (!rates)
		return EXIT_REFUSED;
	if (rate_parse_list(rates, specs, RATION_RATES_MAX, err, sizeof(err)) < 0 &&
	    !holds_values(c, a->pos[0])) {
		complain("set %s: %s", a->pos[0], err);
		goto out;
	}
	params = json_pack("{s:s, s:s}", "limit", a->pos[0], "rates", rates);
	if (scope_options("set", a, params) || change_options("set", a, params)) {
		json_decref(params);
		goto out;
	}
	target_text(a, a->pos[0], target, sizeof(target));
	code = change(c, "set", "set", target, rates, params);
out:
	free(rates);
	return code;
}

int
cmd_unset(struct ctx *c, const struct args *a)
{
	json_t *params = json_pack("{s:s}", "limit", a->pos[0]);
	char target[1200];

	if (scope_options("unset", a, params) || change_options("unset", a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	target_text(a, a->pos[0], target, sizeof(target));
	return change(c, "unset", "unset", target, "as the policy files say", params);
}

int
cmd_reset(struct ctx *c, const struct args *a)
{
	char target[1200];
	json_t *params;

	if (check_key("reset", a->pos[1]))
		return EXIT_USAGE;
	params = json_pack("{s:s, s:o}", "limit", a->pos[0], "key", key_json(a->pos[1]));
	if (change_options("reset", a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	snprintf(target, sizeof(target), "%s of key %s", a->pos[0], a->pos[1]);
	return change(c, "reset", "reset", target, "0 used", params);
}

/* plan and env: a key and a name, - for none. */
static int
assign(struct ctx *c, const struct args *a, const char *method, const char *member)
{
	const char *name = strcmp(a->pos[1], "-") == 0 ? "" : a->pos[1];
	char target[1200];
	json_t *params;

	if (check_key(method, a->pos[0]))
		return EXIT_USAGE;
	params = json_pack("{s:o, s:s}", "key", key_json(a->pos[0]), member, name);
	if (change_options(method, a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	snprintf(target, sizeof(target), "%s of key %s", member, a->pos[0]);
	return change(c, method, method, target, *name ? name : "none", params);
}

int
cmd_plan(struct ctx *c, const struct args *a)
{
	return assign(c, a, "plan", "plan");
}

int
cmd_env(struct ctx *c, const struct args *a)
{
	return assign(c, a, "env", "environment");
}

int
cmd_share(struct ctx *c, const struct args *a)
{
	json_t *params = json_pack("{s:s}", "share", a->pos[0]);

	if (change_options("share", a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	return change(c, "share", "share", "share", a->pos[0], params);
}

static int
set_mode(struct ctx *c, const struct args *a, const char *mode)
{
	bool all = a->opt[OPT_ALL] != NULL;
	json_t *params;

	if (all == (a->npos == 1)) {
		complain("%s: expected the name of a limit, or --all", mode);
		return EXIT_USAGE;
	}
	params = json_pack("{s:s}", "mode", mode);
	if (all)
		json_object_set_new(params, "all", json_true());
	else
		json_object_set_new(params, "limit", json_string(a->pos[0]));
	if (change_options(mode, a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	return change(c, "mode", mode, all ? "all limits" : a->pos[0], mode, params);
}

int
cmd_observe(struct ctx *c, const struct args *a)
{
	return set_mode(c, a, "observe");
}

int
cmd_enforce(struct ctx *c, const struct args *a)
{
	return set_mode(c, a, "enforce");
}

int
cmd_off(struct ctx *c, const struct args *a)
{
	return set_mode(c, a, "off");
}

int
cmd_reload(struct ctx *c, const struct args *a)
{
	json_t *params = json_object(), *result;
	int code;

	change_options("reload", a, params);
	code = rpc(c, "reload", "reload", params, &result);
	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		printf("policy version %lld is in force\n",
		    (long long)jint(result, "policy_version", 0));
	json_decref(result);
	return EXIT_OK;
}

int
cmd_clock(struct ctx *c, const struct args *a)
{
	const char *text = a->pos[0][0] == '+' ? a->pos[0] + 1 : a->pos[0];
	char err[128], when[TIME_MAX];
	json_t *result;
	uint64_t ns, ms;
	int code;

	if (duration_parse(text, &ns, err, sizeof(err))) {
		complain("clock: %s", err);
		return EXIT_USAGE;
	}
	ms = (ns + 999999) / 1000000;
	code = rpc(c, "clock", "clock",
	    json_pack("{s:I, s:I}", "advance_s", (json_int_t)(ms / 1000), "advance_ms",
		(json_int_t)(ms % 1000)),
	    &result);
	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		printf("now %s\n", time_text(jint(result, "now", 0), when));
	json_decref(result);
	return EXIT_OK;
}
