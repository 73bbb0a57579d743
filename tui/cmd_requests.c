/*
 * cmd_requests.c - raises: asked for by anybody in the group, granted and refused by admins.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#define DAY_S 86400

/* ---- what is shown of one ---- */

/* "2 days 3 h", "50 min": the largest two units, rounded down. */
static const char *
span_words(int64_t s, char *buf, size_t size)
{
	if (s >= DAY_S)
		snprintf(buf, size, "%lld day%s %lld h", (long long)(s / DAY_S),
		    s < 2 * DAY_S ? "" : "s", (long long)(s % DAY_S / 3600));
	else if (s >= 3600)
		snprintf(buf, size, "%lld h %lld min", (long long)(s / 3600),
		    (long long)(s % 3600 / 60));
	else
		snprintf(buf, size, "%lld min", (long long)(s / 60));
	return buf;
}

static void
print_named(const char *name, const char *text)
{
	printf("    %s", name);
	print_text(stdout, text);
	putchar('\n');
}

static void
print_eligible(const json_t *list)
{
	json_t *rule;
	size_t i;

	json_array_foreach(list, i, rule)
	{
		const json_t *met = json_object_get(rule, "met");

		printf("    %s ",
		    json_is_true(met)        ? "met    "
			: json_is_false(met) ? "not met"
					     : "unknown");
		print_text(stdout, jstr(rule, "text", ""));
		putchar('\n');
	}
}

static void
print_promise(const json_t *r)
{
	char due[TIME_MAX], span[64];
	int64_t left = jint(r, "left_s", 0);

	printf("    answer promised by %s: ", time_text(jint(r, "due", 0), due));
	if (left >= 0)
		printf("%s left\n", span_words(left, span, sizeof(span)));
	else
		printf("overdue by %s\n", span_words(-left, span, sizeof(span)));
}

static void
print_decided(const json_t *r)
{
	const json_t *d = json_object_get(r, "decided");
	char when[TIME_MAX];

	printf("    %s by ", jstr(r, "state", "?"));
	print_text(stdout, jstr(d, "who", "?"));
	printf(" at %s", time_text(jint(d, "when", 0), when));
	if (jint(d, "change", 0) != 0)
		printf(", change %lld", (long long)jint(d, "change", 0));
	if (*jstr(d, "why", "")) {
		fputs(": ", stdout);
		print_text(stdout, jstr(d, "why", ""));
	}
	putchar('\n');
}

static void
print_request(const json_t *r)
{
	char when[TIME_MAX];

	printf("%lld  ", (long long)jint(r, "request", 0));
	print_text(stdout, jstr(r, "limit", "?"));
	fputs(" of key ", stdout);
	print_text(stdout, jstr(r, "key", "?"));
	fputs(": ", stdout);
	print_text(stdout, jstr(r, "now", "?"));
	fputs(" -> ", stdout);
	print_text(stdout, jstr(r, "to", "?"));
	if (*jstr(r, "plan", "")) {
		fputs(", plan ", stdout);
		print_text(stdout, jstr(r, "plan", ""));
	}
	fputs(", by ", stdout);
	print_text(stdout, jstr(r, "who", "?"));
	printf(" at %s\n", time_text(jint(r, "when", 0), when));
	print_named("reason: ", jstr(r, "reason", ""));
	print_named("volume: ", jstr(r, "volume", ""));
	if (strcmp(jstr(r, "state", ""), "open") == 0)
		print_promise(r);
	else
		print_decided(r);
	print_eligible(json_object_get(r, "eligible"));
}

/* ---- commands ---- */

/* Options that a request cannot be without. */
static int
required(const struct args *a)
{
	static const struct {
		enum option_id id;
		const char *what;
	} needed[] = {
		{ OPT_KEY, "--key: missing, expected whose limit is to be raised" },
		{ OPT_TO, "--to: missing, expected the rates that are wanted, such as 600/min" },
		{ OPT_REASON, "--reason: missing, expected what for" },
		{ OPT_VOLUME, "--volume: missing, expected how much is to come" },
	};

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (a->opt[needed[i].id])
			continue;
		complain("request: %s", needed[i].what);
		return EXIT_USAGE;
	}
	return check_key("request", a->opt[OPT_KEY]);
}

int
cmd_request(struct ctx *c, const struct args *a)
{
	json_t *params, *result;
	int code = required(a);

	if (code)
		return code;
	params = json_pack("{s:s, s:o, s:s, s:s}", "limit", a->pos[0], "key",
	    key_json(a->opt[OPT_KEY]), "to", a->opt[OPT_TO], "volume", a->opt[OPT_VOLUME]);
	if (!params) {
		complain("request: expected text in UTF-8");
		return EXIT_USAGE;
	}
	change_options("request", a, params);
	code = rpc(c, "request", "request", params, &result);
	if (code)
		return code;
	if (c->json)
		print_json(result);
	else {
		printf(a->opt[OPT_DRY_RUN] ? "it could be asked for (dry run)\n"
					   : "request %lld is recorded\n",
		    (long long)jint(result, "request", 0));
		print_request(result);
	}
	json_decref(result);
	return EXIT_OK;
}

int
cmd_requests(struct ctx *c, const struct args *a)
{
	const char *count = a->opt[OPT_COUNT] ? a->opt[OPT_COUNT] : "100";
	json_t *params, *result, *list, *r;
	int64_t n, number = 0;
	size_t i;
	int code;

	if (count_argument("requests", "--count", count, &n) ||
	    (a->npos > 0 && count_argument("requests", "N", a->pos[0], &number)))
		return EXIT_USAGE;
	params = json_pack("{s:b, s:I}", "all", a->opt[OPT_ALL] != NULL, "limit_n",
	    (json_int_t)(n > 1000 ? 1000 : n));
	if (number > 0)
		json_object_set_new(params, "request", json_integer(number));
	code = rpc(c, "requests", "requests", params, &result);
	if (code)
		return code;
	list = json_object_get(result, "requests");
	if (c->json)
		print_json(result);
	else if (json_array_size(list) == 0)
		puts(a->opt[OPT_ALL] ? "nothing was ever asked for" : "no request is open");
	else
		json_array_foreach(list, i, r) print_request(r);
	json_decref(result);
	return EXIT_OK;
}

static int
decide(struct ctx *c, const struct args *a, const char *method)
{
	json_t *params = json_object(), *result;
	char *old, *new;
	int64_t number;
	int code;

	if (count_argument(method, "N", a->pos[0], &number) || change_options(method, a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	json_object_set_new(params, "request", json_integer(number));
	code = rpc(c, method, method, params, &result);
	if (code)
		return code;
	old = state_text(json_object_get(result, "old"));
	new = state_text(json_object_get(result, "new"));
	if (c->json)
		print_json(result);
	else {
		print_text(stdout, jstr(result, "target", ""));
		if (json_object_get(result, "new"))
			printf(": %s -> %s", old ? old : "-", new ? new : "-");
		else
			printf(": %s", jstr(result, "state", "?"));
		puts(a->opt[OPT_DRY_RUN] ? " (dry run: nothing was changed)" : "");
	}
	free(old);
	free(new);
	json_decref(result);
	return EXIT_OK;
}

int
cmd_approve(struct ctx *c, const struct args *a)
{
	return decide(c, a, "approve");
}

int
cmd_decline(struct ctx *c, const struct args *a)
{
	return decide(c, a, "decline");
}
