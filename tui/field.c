/*
 * field.c - see field.h.
 */
#include "field.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "screen.h"

#define CTRL_A 1
#define CTRL_E 5
#define CTRL_U 21
#define CTRL_W 23

void
field_set(struct field *f, const char *text)
{
	snprintf(f->text, sizeof(f->text), "%s", text);
	f->len = strlen(f->text);
	f->at = f->len;
}

/* Start of the character before `at`: continuation bytes are skipped. */
static size_t
before(const struct field *f, size_t at)
{
	if (at == 0)
		return 0;
	do
		at--;
	while (at > 0 && ((unsigned char)f->text[at] & 0xc0) == 0x80);
	return at;
}

static size_t
after(const struct field *f, size_t at)
{
	if (at >= f->len)
		return f->len;
	do
		at++;
	while (at < f->len && ((unsigned char)f->text[at] & 0xc0) == 0x80);
	return at;
}

static void
cut(struct field *f, size_t from, size_t to)
{
	memmove(f->text + from, f->text + to, f->len - to + 1);
	f->len -= to - from;
	f->at = from;
}

static size_t
word_start(const struct field *f)
{
	size_t at = f->at;

	while (at > 0 && f->text[at - 1] == ' ')
		at--;
	while (at > 0 && f->text[at - 1] != ' ')
		at--;
	return at;
}

static bool
insert(struct field *f, int key)
{
	char bytes[8];
	mbstate_t state = { 0 };
	size_t n;

	if (key < ' ' || key >= SK_UP || !iswprint((wint_t)key))
		return false;
	n = wcrtomb(bytes, (wchar_t)key, &state);
	if (n == (size_t)-1)
		return false;
	if (f->len + n > FIELD_MAX)
		return true;
	memmove(f->text + f->at + n, f->text + f->at, f->len - f->at + 1);
	memcpy(f->text + f->at, bytes, n);
	f->len += n;
	f->at += n;
	return true;
}

bool
field_key(struct field *f, int key)
{
	switch (key) {
	case SK_LEFT:
		f->at = before(f, f->at);
		return true;
	case SK_RIGHT:
		f->at = after(f, f->at);
		return true;
	case SK_HOME:
	case CTRL_A:
		f->at = 0;
		return true;
	case SK_END:
	case CTRL_E:
		f->at = f->len;
		return true;
	case SK_BACKSPACE:
		cut(f, before(f, f->at), f->at);
		return true;
	case SK_DELETE:
		cut(f, f->at, after(f, f->at));
		return true;
	case CTRL_U:
		cut(f, 0, f->at);
		return true;
	case CTRL_W:
		cut(f, word_start(f), f->at);
		return true;
	default:
		return insert(f, key);
	}
}

int
field_draw(const struct field *f, struct screen *s, int y, int x, int width, int look)
{
	char head[FIELD_MAX + 1];
	size_t from = 0;
	int at;

	if (width < 2)
		return x;
	/* Drop characters on the left until the cursor fits. */
	for (;;) {
		memcpy(head, f->text + from, f->at - from);
		head[f->at - from] = '\0';
		at = (int)mbstowcs(NULL, head, 0);
		if (at < 0)
			at = (int)(f->at - from);
		if (at < width)
			break;
		from = after(f, from);
	}
	screen_text(s, y, x, width, look, f->text + from);
	return x + at;
}
