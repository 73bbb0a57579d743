/*
 * cmd_undo.c - taking back a change.
 */
#include "commands.h"

#include <stdlib.h>

static void
print_undone(const json_t *result, bool dry)
{
	char *old = state_text(json_object_get(result, "old")),
	     *new = state_text(json_object_get(result, "new"));

	fputs("undo ", stdout);
	print_text(stdout, jstr(result, "target", ""));
	if (dry)
		fputs(": it can be taken back (dry run: nothing was changed)", stdout);
	else
		printf(": %s -> %s (entry %lld)", old ? old : "-", new ? new : "-",
		    (long long)jint(result, "entry", 0));
	putchar('\n');
	free(old);
	free(new);
}

int
cmd_undo(struct ctx *c, const struct args *a)
{
	json_t *params = json_object(), *result;
	int64_t entry;
	int code;

	if (count_argument("undo", "N", a->pos[0], &entry) || change_options("undo", a, params)) {
		json_decref(params);
		return EXIT_USAGE;
	}
	json_object_set_new(params, "entry", json_integer(entry));
	code = rpc(c, "undo", "undo", params, &result);
	if (code)
		return code;
	if (c->json)
		print_json(result);
	else
		print_undone(result, a->opt[OPT_DRY_RUN] != NULL);
	json_decref(result);
	return EXIT_OK;
}
