/*
 * tree.h - a policy file as a tree of nodes that know their place.
 *
 * Built from libyaml's events rather than its documents: the anchors and aliases
 * are seen, the depth and what aliases repeat are bounded, and every node keeps
 * its line and column for the mistakes to name.
 */
#ifndef RATIOND_TREE_H
#define RATIOND_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TREE_FILE_MAX (UINT64_C(64) << 20) /* bytes of one file */
#define TREE_DEPTH_MAX 12u                 /* mappings and lists in each other */
#define TREE_ALIASED_MAX 10000u            /* nodes that aliases repeat, in one file */

struct arena;
struct report;

/* Where something stands.  line 0: nowhere. */
struct mark {
	uint32_t file;
	uint32_t line;
	uint32_t column;
};

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	struct node *next;  /* in the list or mapping it stands in */
	struct node *first; /* a mapping: key, value, key, value, ... */
	const char *text;   /* a scalar: NUL-terminated, len bytes */
	uint32_t len;       /* a list: items; a mapping: pairs */
	uint32_t weight;    /* nodes in it, itself included */
	struct mark mark;
	uint32_t span;   /* columns of a scalar that stands on one line, quotes too; else 0 */
	uint32_t indent; /* of a literal block */
	uint8_t kind;
	uint8_t style; /* enum scalar_style */
};

enum scalar_style { STYLE_PLAIN, STYLE_SINGLE, STYLE_DOUBLE, STYLE_LITERAL, STYLE_FOLDED };

/*
 * Where byte `offset` of a scalar's text stands in its file.  Where that cannot be told (folded
 * lines, rare escapes), where the scalar begins.
 */
struct mark node_at(const struct node *n, size_t offset);

/*
 * Read the tree of a file's text.  *root is NULL for an empty file.
 * 0; or -1 when the text is not YAML (reported; no tree).
 */
int tree_read(struct arena *a, struct report *r, uint32_t file, const void *text, size_t len,
    struct node **root);

/*
 * A whole file into malloc()ed *text.  0; or -1, reported.
 */
int tree_slurp(struct report *r, uint32_t file, const char *path, char **text, size_t *len);

#endif
