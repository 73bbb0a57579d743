/*
 * keys.c - the table of keys.h, and what is read from it.
 */
#include "keys.h"

const struct key_def_row key_table[] = {
#define K(action, shown, key, alias, where, group, text) \
	{ action, shown, key, alias, where, group, text },
	KEYS(K)
#undef K
};
const size_t key_table_len = sizeof(key_table) / sizeof(key_table[0]);

const char *const key_group_names[GROUPS] = {
	[GROUP_MOVE] = "Moving",
	[GROUP_SHOW] = "Showing",
	[GROUP_CHANGE] = "Changing",
	[GROUP_OTHER] = "Other",
};

enum action
key_action(int key, enum where where)
{
	for (size_t i = 0; i < key_table_len; i++) {
		const struct key_def_row *k = &key_table[i];

		if (key >= 0 && (k->where & (int)where) && (k->key == key || k->alias == key))
			return k->action;
	}
	return ACT_NONE;
}

/* One line of text for mdoc: a leading dot or quote and backslashes are not its own. */
static void
manual_text(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			fputs("\\e", out);
		else if (*text == '-')
			fputs("\\-", out);
		else
			fputc(*text, out);
	}
}

void
key_manual(FILE *out)
{
	for (int g = 0; g < GROUPS; g++) {
		fprintf(out, ".Ss %s\n.Bl -tag -width \"PgDn, x\" -compact\n", key_group_names[g]);
		for (size_t i = 0; i < key_table_len; i++) {
			if ((int)key_table[i].group != g)
				continue;
			fputs(".It Ic \"\\&", out); /* \& : "?" is no punctuation here */
			manual_text(out, key_table[i].shown);
			fputs("\"\n", out);
			manual_text(out, key_table[i].text);
			fputc('\n', out);
		}
		fputs(".El\n", out);
	}
}
