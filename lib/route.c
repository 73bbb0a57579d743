/*
 * route.c - from a request's method and path to a route.
 *
 * The path is cut into segments first, each taken for what it means; the tree is then searched
 * from the left, the most specific branch first, and back from dead ends.  Nothing is
 * allocated.  All that is followed is checked against the area: it may be being rewritten.
 */
#include "route.h"

#include <string.h>

#include "atomics.h"
#include "hash.h"

/* ---- hashing ---- */

static uint64_t
text_hash(const unsigned char *b, size_t len)
{
	uint64_t h = (uint64_t)len * UINT64_C(0x9e3779b97f4a7c15), w;

	for (; len >= 8; b += 8, len -= 8) {
		memcpy(&w, b, 8);
		h = (h ^ w) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	h = (h ^ tail_word(b, len)) * UINT64_C(0xff51afd7ed558ccd);
	return h ^ h >> 32;
}

/* A segment is hashed once, however many nodes of its depth are visited. */
static uint64_t
edge_hash(uint32_t from, uint64_t text)
{
	uint64_t h = (text ^ from) * UINT64_C(0xd1342543de82ef95);

	return h ^ h >> 32;
}

uint64_t
route_hash(uint32_t from, const void *segment, size_t len)
{
	return edge_hash(from, text_hash(segment, len));
}

/* ---- the path ---- */

struct segment_text {
	const unsigned char *text;
	size_t len;
	uint64_t hash;
};

struct path {
	unsigned n;  /* segments kept */
	bool deeper; /* there are more than those */
	struct segment_text segments[ROUTE_SEGMENTS];
	unsigned char decoded[RATION_PATH_MAX];
};

size_t
route_path_len(const char *path)
{
	size_t n = 0;

	while (n <= RATION_PATH_MAX && path[n] != '\0' && path[n] != '?' && path[n] != '#')
		n++;
	return n;
}

static int
hex_of(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %-escapes as the bytes they stand for; a % that begins none is itself.  Length of out. */
static size_t
decode(const unsigned char *b, size_t len, unsigned char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		int high = -1, low = -1;

		if (b[i] == '%' && i + 2 < len) {
			high = hex_of(b[i + 1]);
			low = hex_of(b[i + 2]);
		}
		if (high >= 0 && low >= 0) {
			out[n++] = (unsigned char)(high << 4 | low);
			i += 2;
		} else {
			out[n++] = b[i];
		}
	}
	return n;
}

/*
 * "." and ".." are resolved once they are decoded, as RFC 3986 (6.2.2) has it: an escape of
 * what needs none changes nothing.  A decoded slash does not separate.
 */
static void
path_cut(struct path *p, const char *path, size_t len)
{
	const unsigned char *b = (const unsigned char *)path, *end = b + len;
	unsigned char *out = p->decoded;
	size_t depth = 0;

	while (b < end) {
		const unsigned char *text = b;
		bool escaped = false;
		size_t n;

		for (; b < end && *b != '/'; b++)
			escaped |= *b == '%';
		n = (size_t)(b++ - text);
		if (UNLIKELY(escaped)) {
			n = decode(text, n, out);
			text = out;
			out += n;
		}
		if (n == 0 || (n == 1 && text[0] == '.'))
			continue;
		if (n == 2 && text[0] == '.' && text[1] == '.') {
			depth -= depth > 0;
			continue;
		}
		if (depth < ROUTE_SEGMENTS)
			p->segments[depth] = (struct segment_text) { text, n, text_hash(text, n) };
		depth++;
	}
	p->deeper = depth > ROUTE_SEGMENTS;
	p->n = p->deeper ? ROUTE_SEGMENTS : (unsigned)depth;
}

/* ---- the tree ---- */

/* The sections of one version, each within the area; their contents are not to be trusted. */
struct tree {
	const struct route_node *nodes;
	const struct route_leaf *leaves;
	const struct route_edge *edges;
	const uint32_t *edgetab;
	const char *strings;
	uint64_t strings_bytes;
	uint32_t nnodes, nleaves, nedges, nedgetab;
	const char *method;
	size_t method_len;
};

/* As policy_section(), without a division. */
static inline const void *
section(const struct policy_ref *p, uint64_t off, uint64_t n, uint32_t size)
{
	if (UNLIKELY(off > p->area_bytes || (off & 3) != 0 || n > UINT32_MAX ||
		n * size > p->area_bytes - off))
		return NULL;
	return (const char *)p->area + off;
}

static bool
tree_of(const struct policy_ref *p, const char *method, struct tree *t)
{
	const struct policy_area *a = p->area;

	t->nnodes = a->nnodes;
	t->nleaves = a->nleaves;
	t->nedges = a->nedges;
	t->nedgetab = a->nedgetab;
	t->strings_bytes = a->strings_bytes;
	t->nodes = section(p, a->nodes, t->nnodes, sizeof(*t->nodes));
	t->leaves = section(p, a->leaves, t->nleaves, sizeof(*t->leaves));
	t->edges = section(p, a->edges, t->nedges, sizeof(*t->edges));
	t->edgetab = section(p, a->edgetab, t->nedgetab, sizeof(*t->edgetab));
	t->strings = section(p, a->strings, t->strings_bytes, 1);
	t->method = method;
	t->method_len = strlen(method);
	return t->nodes != NULL && t->leaves != NULL && t->edges != NULL && t->edgetab != NULL &&
	    t->strings != NULL && t->nedgetab != 0 && (t->nedgetab & (t->nedgetab - 1)) == 0;
}

static bool
string_is(const struct tree *t, uint32_t off, const void *text, size_t len)
{
	return off <= t->strings_bytes && len <= t->strings_bytes - off &&
	    memcmp(t->strings + off, text, len) == 0;
}

/* Node behind a literal segment; 0: there is none. */
static uint32_t
tree_step(const struct tree *t, uint32_t from, const struct segment_text *s)
{
	uint64_t hash = edge_hash(from, s->hash), mask = t->nedgetab - 1;

	for (uint64_t i = 0; i <= mask; i++) {
		uint32_t n = t->edgetab[(hash + i) & mask];
		struct route_edge e;

		if (n == 0 || n > t->nedges)
			return 0;
		memcpy(&e, &t->edges[n - 1], sizeof(e));
		if (e.hash == hash && e.from == from && e.len == s->len &&
		    string_is(t, e.text, s->text, s->len))
			return e.to;
	}
	return 0;
}

/* The leaf among n from `first` on that takes the method. */
static bool
tree_leaf(const struct tree *t, uint64_t first, uint32_t n, struct route_leaf *out)
{
	for (uint64_t i = first; i < first + n && i < t->nleaves; i++) {
		memcpy(out, &t->leaves[i], sizeof(*out));
		if (out->method == 0 ||
		    (out->method_len == t->method_len &&
			string_is(t, out->method, t->method, t->method_len)))
			return true;
	}
	return false;
}

/* What is still to be tried at a node on the way, in this order. */
enum turn { TURN_HERE, TURN_PARAM, TURN_REST, TURN_BACK };

static bool
tree_search(const struct tree *t, const struct path *p, struct route_leaf *out)
{
	struct {
		uint32_t node;
		enum turn turn;
	} way[ROUTE_SEGMENTS + 1];
	unsigned depth = 0;

	way[0].node = 0;
	way[0].turn = TURN_HERE;
	for (unsigned visits = 1; visits <= ROUTE_VISITS;) {
		struct route_node node;
		uint32_t to = 0;

		if (way[depth].node >= t->nnodes)
			return false;
		memcpy(&node, &t->nodes[way[depth].node], sizeof(node));
		switch (way[depth].turn++) {
		case TURN_HERE:
			if (depth < p->n)
				to = tree_step(t, way[depth].node, &p->segments[depth]);
			else if (!p->deeper && tree_leaf(t, node.leaves, node.nends, out))
				return true;
			break;
		case TURN_PARAM:
			to = depth < p->n ? node.param : 0;
			break;
		case TURN_REST:
			if (tree_leaf(t, (uint64_t)node.leaves + node.nends, node.nrests, out))
				return true;
			break;
		default:
			if (depth-- == 0)
				return false;
			break;
		}
		if (to != 0) {
			visits++;
			way[++depth].node = to;
			way[depth].turn = TURN_HERE;
		}
	}
	return false;
}

bool
route_find(const struct policy_ref *p, const char *method, const char *path, struct route_leaf *out)
{
	size_t len = route_path_len(path);
	struct tree t;
	struct path cut;

	if (len > RATION_PATH_MAX || !tree_of(p, method, &t))
		return false;
	path_cut(&cut, path, len);
	return tree_search(&t, &cut, out);
}
