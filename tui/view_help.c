/*
 * view_help.c - the help screen, made from the table of keys and that of columns.
 */
#include "top.h"

#include <stdlib.h>
#include <string.h>

#define HELP_LINES 128

struct help_line {
	int look;
	char text[160];
};

static const char *const about[] = {
	"Filter: words look in the key; column:value, column=value, column>n;",
	"~regex, !not, a | b. Case counts only if a capital is typed.",
	"USE% signs: ! from 80, !! from 90, OVER from 100.",
	"The selection is a key: it stays on it when the order changes, and",
	"moving holds the order for 3 seconds.",
	"Watching changes nothing: the segment is mapped read-only.",
	"Dialogs: Tab moves, y commits, Enter never does, Esc leaves.",
};

static size_t
help_lines(struct help_line *line)
{
	size_t n = 0;

	for (int g = 0; g < GROUPS; g++) {
		line[n].look = LOOK_BOLD;
		snprintf(line[n++].text, sizeof(line->text), "%s", key_group_names[g]);
		for (size_t i = 0; i < key_table_len && n < HELP_LINES; i++) {
			if ((int)key_table[i].group != g)
				continue;
			line[n].look = LOOK_PLAIN;
			snprintf(line[n++].text, sizeof(line->text), "  %-9s %s",
			    key_table[i].shown, key_table[i].text);
		}
	}
	line[n].look = LOOK_BOLD;
	snprintf(line[n++].text, sizeof(line->text), "Columns");
	for (int c = 0; c < COL_COUNT && n < HELP_LINES; c++) {
		line[n].look = LOOK_PLAIN;
		snprintf(line[n++].text, sizeof(line->text), "  %-11s %s", columns[c].header,
		    columns[c].help);
	}
	line[n].look = LOOK_BOLD;
	snprintf(line[n++].text, sizeof(line->text), "Good to know");
	for (size_t i = 0; i < sizeof(about) / sizeof(about[0]) && n < HELP_LINES; i++) {
		line[n].look = LOOK_PLAIN;
		snprintf(line[n++].text, sizeof(line->text), "  %s", about[i]);
	}
	return n;
}

static bool
help_key(struct top *t, enum action action)
{
	struct list_state *l = &t->help_list;
	struct list_state turn = *l;

	turn.n = l->n > l->page ? l->n - l->page + 1 : 1;
	turn.at = l->offset;
	if (!list_move(&turn, action))
		return false;
	l->offset = turn.at;
	return true;
}

static void
help_draw(struct top *t, int y, int lines)
{
	struct help_line *line = calloc(HELP_LINES + 8, sizeof(*line));
	struct list_state *l = &t->help_list;
	size_t n;

	if (line == NULL)
		return;
	n = help_lines(line);
	l->n = n;
	l->page = (size_t)lines;
	if (l->offset + l->page > n)
		l->offset = n > l->page ? n - l->page : 0;
	for (int i = 0; i < lines && l->offset + (size_t)i < n; i++)
		screen_text(t->s, y + i, 0, screen_cols(t->s), line[l->offset + (size_t)i].look,
		    line[l->offset + (size_t)i].text);
	screen_cursor(t->s, y, 0);
	free(line);
}

const struct view_ops view_help = {
	.name = "Help",
	.where = IN_HELP,
	.draw = help_draw,
	.key = help_key,
};
