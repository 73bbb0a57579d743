/*
 * cmd_events.c - events: thresholds that were reached, raises that were asked for; and who was
 * told.
 */
#include "commands.h"

#include <string.h>

/* "ops delivered, hook waiting after 3 tries" */
static void
print_told(const json_t *told)
{
	const char *name, *before = "  [";
	json_t *one;

	json_object_foreach((json_t *)(uintptr_t)told, name, one)
	{
		int64_t tries = jint(one, "tries", 0);

		fputs(before, stdout);
		print_text(stdout, name);
		printf(" %s", jstr(one, "state", "?"));
		if (tries > 0)
			printf(" after %lld failed %s", (long long)tries,
			    tries == 1 ? "try" : "tries");
		before = ", ";
	}
	if (strcmp(before, ", ") == 0)
		putchar(']');
}

static void
print_event(const json_t *e)
{
	char when[TIME_MAX];

	printf("%s  %s  ", time_text(jint(e, "at", 0), when), jstr(e, "id", "?"));
	print_text(stdout, jstr(e, "type", "?"));
	fputs(": ", stdout);
	print_text(stdout, jstr(e, "text", ""));
	print_told(json_object_get(e, "told"));
	putchar('\n');
}

int
cmd_events(struct ctx *c, const struct args *a)
{
	const char *count = a->opt[OPT_COUNT] ? a->opt[OPT_COUNT] : "100";
	json_t *params, *result, *e;
	int64_t n;
	size_t i;
	int code;

	if (count_argument("events", "--count", count, &n))
		return EXIT_USAGE;
	params = json_pack("{s:I}", "limit_n", (json_int_t)n);
	if (a->npos > 0)
		json_object_set_new(params, "key", json_string(a->pos[0]));
	code = rpc(c, "events", "events", params, &result);
	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		json_array_foreach(json_object_get(result, "events"), i, e) print_event(e);
	json_decref(result);
	return EXIT_OK;
}
