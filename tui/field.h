/*
 * field.h - one line of text being typed: the filter, a dialog's fields.
 * Text is UTF-8; only printable characters get in.
 */
#ifndef RATION_FIELD_H
#define RATION_FIELD_H

#include <stdbool.h>
#include <stddef.h>

#define FIELD_MAX 255u

struct screen;

struct field {
	char text[FIELD_MAX + 1];
	size_t len;
	size_t at; /* byte that the cursor stands before */
};

void field_set(struct field *f, const char *text);
/* True when the key was taken: characters, arrows, Home, End, Backspace, Delete, Ctrl-U, Ctrl-W. */
bool field_key(struct field *f, int key);
/* Draw in width columns, the part around the cursor; returns the column of the cursor. */
int field_draw(const struct field *f, struct screen *s, int y, int x, int width, int look);

#endif
