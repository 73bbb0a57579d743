/*
 * cmd_routes.c - which requests take which limits, as the policy in force has it.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#define WIDTH_MAX 48

/* "api", "per-ip by ip/32/64", "tokens by account, cost 10": what is not said is the usual. */
static void
print_claim(const json_t *claim)
{
	const char *key = jstr(claim, "key", "key");

	print_text(stdout, jstr(claim, "limit", "?"));
	if (strcmp(key, "key") != 0) {
		fputs(" by ", stdout);
		print_text(stdout, key);
	}
	if (json_is_integer(json_object_get(claim, "ipv4")))
		printf("/%lld/%lld", (long long)jint(claim, "ipv4", 0),
		    (long long)jint(claim, "ipv6", 0));
	if (json_is_integer(json_object_get(claim, "cost")))
		printf(", cost %lld", (long long)jint(claim, "cost", 0));
}

static void
print_route(const json_t *route, int width)
{
	const char *pattern = jstr(route, "pattern", "?");
	json_t *limits = json_object_get(route, "limits"), *claim;
	int pad = width - (int)strlen(pattern);
	size_t i;

	print_text(stdout, pattern);
	printf("%*s  ", pad > 0 ? pad : 0, "");
	if (json_array_size(limits) == 0)
		putchar('-');
	json_array_foreach(limits, i, claim)
	{
		fputs(i > 0 ? "; " : "", stdout);
		print_claim(claim);
	}
	fputs("  (", stdout);
	print_text(stdout, jstr(route, "origin", "-"));
	puts(")");
}

static void
print_list(const char *name, const json_t *list)
{
	char *text;

	if (json_array_size(list) == 0)
		return;
	text = value_text(list);
	printf("%s: ", name);
	print_text(stdout, text != NULL ? text : "?");
	putchar('\n');
	free(text);
}

int
cmd_routes(struct ctx *c, const struct args *a)
{
	json_t *result, *routes, *route;
	int code = rpc(c, "routes", "routes", NULL, &result), width = 0;
	size_t i;

	(void)a;
	if (code)
		return code;
	routes = json_object_get(result, "routes");
	if (c->json) {
		print_json(result);
	} else {
		json_array_foreach(routes, i, route)
		{
			int len = (int)strlen(jstr(route, "pattern", "?"));

			width = len > width && len <= WIDTH_MAX ? len : width;
		}
		if (json_array_size(routes) == 0)
			puts("no routes");
		json_array_foreach(routes, i, route) print_route(route, width);
		print_list("proxies", json_object_get(result, "proxies"));
		print_list(
		    "exempt keys", json_object_get(json_object_get(result, "exempt"), "keys"));
		print_list("exempt addresses",
		    json_object_get(json_object_get(result, "exempt"), "addresses"));
	}
	json_decref(result);
	return EXIT_OK;
}
