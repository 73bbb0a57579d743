/*
 * report.c - mistakes: collected, sorted by place, with the nearest name.
 */
#include "report.h"
#include "model.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <vis.h>

#define SHOWN_MAX 60 /* bytes of input in a mistake */
#define NAME_MAX_NEAR 64

void
mistakes_add(struct mistakes *m, const char *fmt, ...)
{
	va_list ap;
	char *text;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	if (m->n == m->cap) {
		m->cap = m->cap == 0 ? 16 : 2 * m->cap;
		m->text = xrealloc(m->text, m->cap, sizeof(*m->text));
	}
	m->text[m->n++] = text;
}

void
mistakes_free(struct mistakes *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->text[i]);
	free(m->text);
	memset(m, 0, sizeof(*m));
}

void
report_add(struct report *r, struct mark mark, const char *fmt, ...)
{
	struct complaint *c;
	va_list ap;
	int n;

	if (r->n == REPORT_MAX) {
		r->suppressed++;
		return;
	}
	if (r->n == r->cap) {
		r->cap = r->cap == 0 ? 16 : 2 * r->cap;
		r->list = xrealloc(r->list, r->cap, sizeof(*r->list));
	}
	c = &r->list[r->n];
	c->mark = mark;
	c->number = (uint32_t)r->n;
	va_start(ap, fmt);
	n = vasprintf(&c->text, fmt, ap);
	va_end(ap);
	if (n >= 0)
		r->n++;
}

static int
by_place(const void *a, const void *b)
{
	const struct complaint *x = a, *y = b;

	if (x->mark.file != y->mark.file)
		return x->mark.file < y->mark.file ? -1 : 1;
	if (x->mark.line != y->mark.line)
		return x->mark.line < y->mark.line ? -1 : 1;
	if (x->mark.column != y->mark.column)
		return x->mark.column < y->mark.column ? -1 : 1;
	return x->number < y->number ? -1 : x->number > y->number;
}

void
report_finish(struct report *r, struct mistakes *m)
{
	if (r->n > 0)
		qsort(r->list, r->n, sizeof(*r->list), by_place);
	for (size_t i = 0; i < r->n; i++) {
		const struct complaint *c = &r->list[i];
		const char *file = r->files[c->mark.file];
		char *path = xrealloc(NULL, strlen(file) + 1, 4);

		strvis(path, file, VIS_OCTAL | VIS_TAB | VIS_NL);
		mistakes_add(m, "%s:%u:%u: %s", path, c->mark.line, c->mark.column, c->text);
		free(path);
		free(c->text);
	}
	if (r->suppressed > 0)
		mistakes_add(m, "found %zu more mistakes than are listed here, expected none",
		    r->suppressed);
	free(r->list);
	r->list = NULL;
	r->n = r->cap = 0;
}

const char *
shown(const void *text, size_t len)
{
	static char ring[8][4 * SHOWN_MAX + 4];
	static unsigned turn;
	const unsigned char *p = text;
	char *buf = ring[turn++ % 8], *out = buf;

	/* Not strvis(): what was typed with escapes should be seen as it was typed. */
	for (size_t i = 0; i < len && i < SHOWN_MAX; i++) {
		if (p[i] >= ' ' && p[i] < 0x7f)
			*out++ = (char)p[i];
		else
			out += sprintf(out, "\\%03o", p[i]);
	}
	*out = '\0';
	if (len > SHOWN_MAX)
		memcpy(out, "...", 4);
	return buf;
}

const char *
shown_node(const struct node *n)
{
	static char ring[4][4 * SHOWN_MAX + 8];
	static unsigned turn;
	char *buf = ring[turn++ % 4];

	if (n->kind != NODE_SCALAR)
		return n->kind == NODE_LIST ? "a list" : "a mapping";
	if (n->len == 0)
		return "nothing";
	snprintf(buf, sizeof(ring[0]), "\"%s\"", shown(n->text, n->len));
	return buf;
}

/* Edits that turn a into b: changed, missing, surplus letters, neighbours swapped. */
static unsigned
distance(const char *a, size_t alen, const char *b, size_t blen)
{
	unsigned row[3][NAME_MAX_NEAR + 1];

	for (size_t j = 0; j <= blen; j++)
		row[1][j] = (unsigned)j;
	for (size_t i = 1; i <= alen; i++) {
		unsigned *now = row[(i + 1) % 3], *up = row[i % 3], *upup = row[(i + 2) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= blen; j++) {
			unsigned d = up[j - 1] + (a[i - 1] != b[j - 1]);

			if (up[j] + 1 < d)
				d = up[j] + 1;
			if (now[j - 1] + 1 < d)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    upup[j - 2] + 1 < d)
				d = upup[j - 2] + 1;
			now[j] = d;
		}
	}
	return row[(alen + 1) % 3][blen];
}

const char *
nearest(struct report *r, const char *found, size_t len, size_t n,
    const char *(*name_at)(const void *arg, size_t i), const void *arg)
{
	static char buf[4 * SHOWN_MAX + 32];
	const char *best = NULL;
	unsigned best_distance = len < 4 ? 2 : len < 8 ? 3 : 4; /* too far from here on */

	if (len == 0 || len > NAME_MAX_NEAR || r->suggested >= REPORT_NEAREST_MAX)
		return "";
	r->suggested++;
	for (size_t i = 0; i < n; i++) {
		const char *name = name_at(arg, i);
		size_t name_len = strlen(name);
		unsigned d;

		if (name_len > NAME_MAX_NEAR)
			continue;
		d = distance(found, len, name, name_len);
		if (d < best_distance) {
			best = name;
			best_distance = d;
		}
	}
	if (best == NULL)
		return "";
	snprintf(buf, sizeof(buf), "; did you mean %s?", shown(best, strlen(best)));
	return buf;
}
