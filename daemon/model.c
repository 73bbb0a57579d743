/*
 * model.c - memory, hash table and look-ups of a loaded policy.
 */
#include "model.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_BYTES (256u << 10)

struct chunk {
	struct chunk *next;
	alignas(16) char bytes[];
};

const char *const mode_names[3] = { "enforce", "observe", "off" };

void *
xrealloc(void *p, size_t n, size_t size)
{
	void *q = reallocarray(p, n, size);

	if (q == NULL)
		err(1, "out of memory");
	return q;
}

void *
arena_alloc(struct arena *a, size_t size)
{
	void *p;

	size = (size + 15) & ~(size_t)15;
	if (a->chunks == NULL || size > a->size - a->used) {
		size_t bytes = size > CHUNK_BYTES ? size : CHUNK_BYTES;
		struct chunk *c = xrealloc(NULL, 1, sizeof(*c) + bytes);

		c->next = a->chunks;
		a->chunks = c;
		a->used = 0;
		a->size = bytes;
	}
	p = a->chunks->bytes + a->used;
	a->used += size;
	memset(p, 0, size);
	return p;
}

char *
arena_copy(struct arena *a, const void *bytes, size_t len)
{
	char *p = arena_alloc(a, len + 1);

	if (len > 0)
		memcpy(p, bytes, len);
	return p;
}

void
arena_free(struct arena *a)
{
	while (a->chunks != NULL) {
		struct chunk *next = a->chunks->next;

		free(a->chunks);
		a->chunks = next;
	}
}

/* ---- map ---- */

uint32_t
map_find(const struct map *m, const void *bytes, size_t len)
{
	uint32_t hash = (uint32_t)policy_hash(bytes, len);

	if (m->nslots == 0)
		return NOBODY;
	for (uint32_t i = hash;; i++) {
		uint32_t index = m->slots[i & (m->nslots - 1)];
		const struct map_entry *e;

		if (index == 0)
			return NOBODY;
		e = &m->entries[index - 1];
		if (e->hash == hash && e->len == len && memcmp(e->bytes, bytes, len) == 0)
			return index - 1;
	}
}

static void
map_link(struct map *m, uint32_t index)
{
	uint32_t i = m->entries[index].hash;

	while (m->slots[i & (m->nslots - 1)] != 0)
		i++;
	m->slots[i & (m->nslots - 1)] = index + 1;
}

uint32_t
map_add(struct map *m, const void *bytes, size_t len)
{
	if (m->n == m->cap) {
		m->cap = m->cap == 0 ? 16 : 2 * m->cap;
		m->entries = xrealloc(m->entries, m->cap, sizeof(*m->entries));
		m->nslots = 2 * m->cap;
		m->slots = xrealloc(m->slots, m->nslots, sizeof(*m->slots));
		memset(m->slots, 0, m->nslots * sizeof(*m->slots));
		for (uint32_t i = 0; i < m->n; i++)
			map_link(m, i);
	}
	m->entries[m->n] = (struct map_entry) {
		.bytes = bytes, .len = (uint32_t)len, .hash = (uint32_t)policy_hash(bytes, len)
	};
	map_link(m, m->n);
	return m->n++;
}

void
map_free(struct map *m)
{
	free(m->entries);
	free(m->slots);
	memset(m, 0, sizeof(*m));
}

/* ---- look-ups ---- */

/* The map of plans has index 0 for plan 1. */
static uint32_t
named(const struct map *m, const char *name, size_t len)
{
	uint32_t i;

	if (len == 0)
		return 0;
	i = map_find(m, name, len);
	return i == NOBODY ? NOBODY : i + 1;
}

uint32_t
config_plan(const struct config *c, const char *name, size_t len)
{
	return named(&c->planmap, name, len);
}

uint32_t
config_env(const struct config *c, const char *name, size_t len)
{
	return named(&c->envmap, name, len);
}

const char *
config_place(const struct config *c, struct mark m, char *buf, size_t size)
{
	snprintf(
	    buf, size, "%s:%u", m.file < c->nfiles ? c->short_names[m.file] : "built in", m.line);
	return buf;
}

void
config_free(struct config *c)
{
	if (c == NULL)
		return;
	map_free(&c->planmap);
	map_free(&c->envmap);
	map_free(&c->limitmap);
	map_free(&c->keymap);
	map_free(&c->routemap);
	map_free(&c->edgemap);
	map_free(&c->segmentmap);
	map_free(&c->attrmap);
	map_free(&c->answermap);
	map_free(&c->upstreammap);
	free(c->upstreams);
	free(c->answers);
	free(c->plans);
	free(c->envs);
	free(c->limits);
	free(c->keys);
	free(c->patches);
	free(c->routes);
	free(c->places);
	free(c->edges);
	free(c->proxies);
	free(c->exempts);
	free(c->paths);
	free(c->short_names);
	arena_free(&c->arena);
	free(c);
}
