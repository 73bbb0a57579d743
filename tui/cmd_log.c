/*
 * cmd_log.c - what was changed: diff (in force now), audit (ever), watch (from
 * now on).
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

/* What a live change is about. */
static void
print_what(const json_t *ch)
{
	const char *kind = jstr(ch, "kind", "?"), *limit = jstr(ch, "limit", "");
	const char *key = jstr(ch, "key", ""), *plan = jstr(ch, "plan", "");
	const char *mode = jstr(ch, "mode", NULL), *share = jstr(ch, "share", NULL);
	json_t *rates = json_object_get(ch, "rates");
	char *text = NULL;

	print_text(stdout, kind);
	if (*limit) {
		putchar(' ');
		print_text(stdout, limit);
	} else if (strcmp(kind, "mode") == 0) {
		fputs(" of all limits", stdout);
	}
	if (*key) {
		fputs(" of key ", stdout);
		print_text(stdout, key);
	}
	if (*plan) {
		fputs(*key ? ": " : " of plan ", stdout);
		print_text(stdout, plan);
	}
	if (json_array_size(rates) > 0)
		text = value_text(rates);
	else if (*jstr(ch, "value", ""))
		text = strdup(jstr(ch, "value", ""));
	if (text || share || (mode && *mode)) {
		fputs(": ", stdout);
		print_text(stdout,
		    text                                    ? text
			: mode && strcmp(kind, "mode") == 0 ? mode
			: share                             ? share
							    : mode);
	}
	free(text);
}

static void
print_change_line(const json_t *ch)
{
	char when[TIME_MAX];
	int64_t until = jint(ch, "until", 0);

	printf("%lld  ", (long long)jint(ch, "id", 0));
	print_what(ch);
	if (until > 0)
		printf(", until %s", time_text(until, when));
	fputs(", by ", stdout);
	print_text(stdout, jstr(ch, "who", "?"));
	printf(" at %s", time_text(jint(ch, "when", 0), when));
	if (*jstr(ch, "reason", "")) {
		fputs(": ", stdout);
		print_text(stdout, jstr(ch, "reason", ""));
	}
	putchar('\n');
}

static int
diff_yaml(struct ctx *c)
{
	json_t *result;
	int code = rpc(c, "diff", "diff_yaml", NULL, &result);

	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		fputs(jstr(result, "yaml", ""), stdout);
	json_decref(result);
	return EXIT_OK;
}

int
cmd_diff(struct ctx *c, const struct args *a)
{
	json_t *result, *list, *ch;
	size_t i;
	int code;

	if (a->opt[OPT_AS_POLICY])
		return diff_yaml(c);
	code = rpc(c, "diff", "changes", NULL, &result);
	if (code)
		return code;
	list = json_object_get(result, "changes");
	if (c->json)
		print_json(result);
	else if (json_array_size(list) == 0)
		puts("no live changes: the policy files say it all");
	else
		json_array_foreach(list, i, ch) print_change_line(ch);
	json_decref(result);
	return EXIT_OK;
}

static void
print_entry(const json_t *e)
{
	char when[TIME_MAX], *old = value_text(json_object_get(e, "old")),
			     *new = value_text(json_object_get(e, "new"));

	printf("%lld  %s  ", (long long)jint(e, "id", 0), time_text(jint(e, "when", 0), when));
	print_text(stdout, jstr(e, "who", "?"));
	putchar(' ');
	print_text(stdout, jstr(e, "action", "?"));
	putchar(' ');
	print_text(stdout, jstr(e, "target", ""));
	printf(": %s -> %s", old ? old : "-", new ? new : "-");
	if (*jstr(e, "reason", "")) {
		fputs(": ", stdout);
		print_text(stdout, jstr(e, "reason", ""));
	}
	if (jint(e, "undone_by", 0) != 0)
		printf(" [undone by %lld]", (long long)jint(e, "undone_by", 0));
	putchar('\n');
	free(old);
	free(new);
}

int
cmd_audit(struct ctx *c, const struct args *a)
{
	const char *count = a->opt[OPT_COUNT] ? a->opt[OPT_COUNT] : "100";
	json_t *result, *e;
	int64_t n;
	size_t i;
	int code;

	if (count_argument("audit", "--count", count, &n))
		return EXIT_USAGE;
	code = rpc(c, "audit", "audit", json_pack("{s:I}", "limit_n", (json_int_t)n), &result);
	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		json_array_foreach(json_object_get(result, "entries"), i, e) print_entry(e);
	json_decref(result);
	return EXIT_OK;
}

static void
print_event(const json_t *e)
{
	char when[TIME_MAX];

	printf("%s  ", time_text(jint(e, "when", 0), when));
	print_text(stdout, jstr(e, "type", "event"));
	fputs(": ", stdout);
	/* The text names who and why; an event without one is told from its parts. */
	print_text(stdout, jstr(e, "text", jstr(e, "target", "")));
	if (!*jstr(e, "text", "") && *jstr(e, "who", "")) {
		fputs(", by ", stdout);
		print_text(stdout, jstr(e, "who", ""));
	}
	if (!*jstr(e, "text", "") && *jstr(e, "reason", "")) {
		fputs(": ", stdout);
		print_text(stdout, jstr(e, "reason", ""));
	}
	putchar('\n');
}

int
cmd_watch(struct ctx *c, const struct args *a)
{
	struct client client;
	struct rpc_error e;
	json_t *result, *event;
	int rc;

	rc = client_open(&client, &c->paths, &e);
	if (rc == 0)
		rc = client_call(&client, "watch", NULL, &result, &e);
	if (rc == 0) {
		json_decref(result);
		while ((rc = client_event(&client, -1, &event, &e)) == 0) {
			if (c->json)
				print_json(event);
			else
				print_event(event);
			json_decref(event);
			/* Nobody reads any more: leave without a word. */
			if (fflush(stdout))
				break;
		}
	}
	client_close(&client);
	rc = rc ? complain_rpc(c, "watch", &e) : EXIT_OK;
	rpc_error_clear(&e);
	return rc;
}
