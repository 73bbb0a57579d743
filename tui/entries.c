/*
 * entries.c - the first N of a list in order, by a heap with the last of them on
 * top: a million keys cost a comparison each, and memory for N.
 */
#include "entries.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Numbers from the largest; NAN last either way. */
static uint64_t
order_of(double v, bool invert)
{
	uint64_t bits;

	if (isnan(v))
		return 0;
	if (v < 0)
		v = 0;
	memcpy(&bits, &v, sizeof(bits));
	return invert ? UINT64_MAX - bits : bits + 1;
}

/* Texts are kept as length (2 bytes) and bytes. */
static unsigned char *
order_text(const void *bytes, size_t len)
{
	unsigned char *t = malloc(len + 2);

	if (!t)
		return NULL;
	t[0] = (unsigned char)(len >> 8);
	t[1] = (unsigned char)len;
	memcpy(t + 2, bytes, len);
	return t;
}

static int
text_compare(const unsigned char *a, const unsigned char *b)
{
	size_t la = (size_t)(a[0] << 8 | a[1]), lb = (size_t)(b[0] << 8 | b[1]);
	int c = memcmp(a + 2, b + 2, la < lb ? la : lb);

	return c ? c : la < lb ? -1 : la > lb;
}

/* < 0: a comes before b. */
static int
entry_compare(const struct entry *a, const struct entry *b, bool invert)
{
	int c;

	if (a->text && b->text) {
		c = text_compare(a->text, b->text);
		if (c)
			return invert ? -c : c;
	} else if (a->order != b->order) {
		return a->order > b->order ? -1 : 1;
	}
	return a->slot < b->slot ? -1 : a->slot > b->slot;
}

static int
entry_sort(const void *a, const void *b, void *arg)
{
	return entry_compare(a, b, ((const struct model *)arg)->invert);
}

/* A heap with the last in order on top, so that it is the one to go. */
static void
heap_down(struct model *m, size_t i)
{
	for (;;) {
		size_t child = 2 * i + 1;
		struct entry t;

		if (child >= m->nentries)
			return;
		if (child + 1 < m->nentries &&
		    entry_compare(&m->entries[child + 1], &m->entries[child], m->invert) > 0)
			child++;
		if (entry_compare(&m->entries[child], &m->entries[i], m->invert) <= 0)
			return;
		t = m->entries[i];
		m->entries[i] = m->entries[child];
		m->entries[child] = t;
		i = child;
	}
}

static bool
entries_reserve(struct model *m)
{
	size_t cap = m->cap ? m->cap * 2 : 64;
	struct entry *e;

	if (m->nentries < m->cap)
		return true;
	e = reallocarray(m->entries, cap, sizeof(*e));
	if (!e)
		return false;
	m->entries = e;
	m->cap = cap;
	return true;
}

static bool
entry_text(struct entry *e, const struct model_row *r, enum column sort)
{
	char buf[KEY_TEXT_MAX];
	int n;

	if (sort == COL_KEY) {
		e->text = order_text(r->row.key, r->row.key_len);
		return e->text;
	}
	n = column_raw(r, sort, buf, sizeof(buf));
	e->text = order_text(buf, n < 0 ? 0 : (size_t)n);
	return e->text;
}

/* Out of memory leaves a key out; nothing else could be shown of it anyway. */
void
entries_take(struct model *m, const struct model_row *r)
{
	struct entry e = {
		.slot = (uint32_t)r->row.slot,
		.birth = (uint32_t)r->row.birth,
		.allow_s = r->allow_s,
		.deny_s = r->deny_s,
		.last_s = r->last_s,
	};

	if (m->want == 0)
		return;
	if (columns[m->sort].numeric)
		e.order = order_of(column_number(r, m->sort), m->invert);
	else if (!entry_text(&e, r, m->sort))
		return;
	if (m->nentries < m->want) {
		if (!entries_reserve(m)) {
			free(e.text);
			return;
		}
		m->entries[m->nentries++] = e;
		if (m->nentries == m->want)
			for (size_t i = m->want / 2; i-- > 0;)
				heap_down(m, i);
		return;
	}
	if (entry_compare(&e, &m->entries[0], m->invert) >= 0) {
		free(e.text);
		return;
	}
	free(m->entries[0].text);
	m->entries[0] = e;
	heap_down(m, 0);
}

void
entries_clear(struct model *m)
{
	for (size_t i = 0; i < m->nentries; i++) {
		free(m->entries[i].text);
		m->entries[i].text = NULL;
	}
	m->nentries = 0;
}

void
entries_sort(struct model *m)
{
	if (m->nentries > 1)
		qsort_r(m->entries, m->nentries, sizeof(*m->entries), entry_sort, m);
}
