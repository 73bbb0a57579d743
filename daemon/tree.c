/*
 * tree.c - libyaml's events into a tree, with bounds.
 *
 * An alias shares the node that its anchor named; what aliases repeat is added up by
 * weight, so that a file of a kilobyte cannot stand for a billion nodes.  An
 * alias to a node that is still open would make a loop and is refused.
 */
#include "tree.h"
#include "model.h"
#include "report.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#define ANCHORS_MAX 256u

struct anchor {
	char *name;
	struct node *node;
	bool open; /* its node has not ended yet */
};

struct reader {
	struct arena *arena;
	struct report *report;
	uint32_t file;
	struct node *stack[TREE_DEPTH_MAX];
	struct node *last[TREE_DEPTH_MAX]; /* last child of each */
	uint32_t depth;
	struct node *root;
	struct anchor anchors[ANCHORS_MAX];
	uint32_t nanchors;
	uint64_t aliased;
	const char *text; /* of the file, from the start of `line` on */
	size_t left;
	size_t line; /* from 0 */
	bool failed;
};

static struct mark
mark_of(const struct reader *r, yaml_mark_t m)
{
	return (struct mark) {
		.file = r->file, .line = (uint32_t)m.line + 1, .column = (uint32_t)m.column + 1
	};
}

/* A mistake after which the tree is of no use. */
static void
give_up(struct reader *r, struct mark mark, const char *text)
{
	report_add(r->report, mark, "%s", text);
	r->failed = true;
}

static void
append(struct reader *r, struct node *n)
{
	struct node *parent;

	if (r->depth == 0) {
		r->root = n;
		return;
	}
	parent = r->stack[r->depth - 1];
	if (r->last[r->depth - 1] == NULL)
		parent->first = n;
	else
		r->last[r->depth - 1]->next = n;
	r->last[r->depth - 1] = n;
	parent->len++;
	parent->weight += n->weight;
}

static void
anchor_add(struct reader *r, const yaml_char_t *name, struct node *n, bool open)
{
	struct anchor *a = NULL;

	if (name == NULL)
		return;
	for (uint32_t i = 0; i < r->nanchors && a == NULL; i++)
		if (strcmp(r->anchors[i].name, (const char *)name) == 0)
			a = &r->anchors[i];
	if (a == NULL && r->nanchors == ANCHORS_MAX) {
		give_up(r, n->mark, "found one more anchor, expected at most 256 in a file");
		return;
	}
	if (a == NULL) {
		a = &r->anchors[r->nanchors++];
		a->name = arena_copy(r->arena, name, strlen((const char *)name));
	}
	a->node = n;
	a->open = open;
}

static struct node *
node_new(struct reader *r, const yaml_event_t *e, enum node_kind kind)
{
	struct node *n = arena_alloc(r->arena, sizeof(*n));

	n->kind = (uint8_t)kind;
	n->weight = 1;
	n->mark = mark_of(r, e->start_mark);
	return n;
}

static void
check_tag(struct reader *r, const struct node *n, const yaml_char_t *tag)
{
	if (tag != NULL)
		report_add(r->report, n->mark, "found the tag %s, expected none",
		    shown(tag, strlen((const char *)tag)));
}

/* The reader's place in the text moves on to the next line.  False: there is none. */
static bool
next_line(struct reader *r)
{
	const char *end = r->left > 0 ? memchr(r->text, '\n', r->left) : NULL;

	if (end == NULL)
		return false;
	r->left -= (size_t)(end + 1 - r->text);
	r->text = end + 1;
	r->line++;
	return true;
}

/* Blanks before the first line of a literal block that starts behind line `above`. */
static uint32_t
block_indent(struct reader *r, size_t above)
{
	while (r->line <= above)
		if (!next_line(r))
			return 0;
	for (;;) {
		size_t n = 0;

		while (n < r->left && r->text[n] == ' ')
			n++;
		if (n < r->left && r->text[n] != '\n' && r->text[n] != '\r')
			return (uint32_t)n;
		if (!next_line(r))
			return 0;
	}
}

static uint8_t
style_of(yaml_scalar_style_t style)
{
	switch (style) {
	case YAML_SINGLE_QUOTED_SCALAR_STYLE:
		return STYLE_SINGLE;
	case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
		return STYLE_DOUBLE;
	case YAML_LITERAL_SCALAR_STYLE:
		return STYLE_LITERAL;
	case YAML_FOLDED_SCALAR_STYLE:
		return STYLE_FOLDED;
	default:
		return STYLE_PLAIN;
	}
}

static void
on_scalar(struct reader *r, const yaml_event_t *e)
{
	struct node *n = node_new(r, e, NODE_SCALAR);

	n->style = style_of(e->data.scalar.style);
	if (n->style == STYLE_LITERAL)
		n->indent = block_indent(r, e->start_mark.line);
	else if (e->start_mark.line == e->end_mark.line)
		n->span = (uint32_t)(e->end_mark.column - e->start_mark.column);
	n->len = (uint32_t)e->data.scalar.length;
	n->text = arena_copy(r->arena, e->data.scalar.value, e->data.scalar.length);
	check_tag(r, n, e->data.scalar.tag);
	append(r, n);
	anchor_add(r, e->data.scalar.anchor, n, false);
}

static void
on_start(struct reader *r, const yaml_event_t *e)
{
	bool map = e->type == YAML_MAPPING_START_EVENT;
	struct node *n = node_new(r, e, map ? NODE_MAP : NODE_LIST);

	if (r->depth == TREE_DEPTH_MAX) {
		give_up(r, n->mark, "found one more level, expected at most 12 inside each other");
		return;
	}
	check_tag(r, n, map ? e->data.mapping_start.tag : e->data.sequence_start.tag);
	anchor_add(r, map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor, n, true);
	r->stack[r->depth] = n;
	r->last[r->depth++] = NULL;
}

static void
on_end(struct reader *r)
{
	struct node *n;

	assert(r->depth > 0); /* libyaml gives no end without its start */
	n = r->stack[--r->depth];
	if (n->kind == NODE_MAP)
		n->len /= 2;
	for (uint32_t i = 0; i < r->nanchors; i++)
		if (r->anchors[i].node == n)
			r->anchors[i].open = false;
	append(r, n);
}

static void
on_alias(struct reader *r, const yaml_event_t *e)
{
	const char *name = (const char *)e->data.alias.anchor;
	struct mark mark = mark_of(r, e->start_mark);
	const struct anchor *a = NULL;
	struct node *n;

	for (uint32_t i = 0; i < r->nanchors && a == NULL; i++)
		if (strcmp(r->anchors[i].name, name) == 0)
			a = &r->anchors[i];
	if (a == NULL || a->open) {
		report_add(r->report, mark, "found *%s, expected the name of an anchor %s",
		    shown(name, strlen(name)), a == NULL ? "above" : "that it does not stand in");
		r->failed = true;
		return;
	}
	r->aliased += a->node->weight;
	if (r->aliased > TREE_ALIASED_MAX) {
		give_up(r, mark, "found aliases that repeat more than 10000 nodes, expected fewer");
		return;
	}
	n = arena_alloc(r->arena, sizeof(*n));
	*n = *a->node;
	n->next = NULL;
	append(r, n);
}

/* Line and column of a byte, where libyaml gives only its offset. */
static struct mark
mark_at(const struct reader *r, const unsigned char *text, size_t len, size_t offset)
{
	struct mark m = { .file = r->file, .line = 1, .column = 1 };

	for (size_t i = 0; i < len && i < offset; i++) {
		if (text[i] == '\n') {
			m.line++;
			m.column = 1;
		} else if ((text[i] & 0xc0) != 0x80) {
			m.column++;
		}
	}
	return m;
}

static void
on_error(struct reader *r, const yaml_parser_t *p, const void *text, size_t len)
{
	struct mark mark = mark_of(r, p->problem_mark);

	r->failed = true;
	if (p->error == YAML_READER_ERROR) {
		mark = mark_at(r, text, len, p->problem_offset);
		if (p->problem_value > 0)
			report_add(r->report, mark,
			    "found the byte or character 0x%02x (%s), expected "
			    "text in UTF-8",
			    (unsigned)p->problem_value, p->problem);
		else
			report_add(r->report, mark, "found a bad byte (%s), expected text in UTF-8",
			    p->problem);
	} else if (p->error == YAML_MEMORY_ERROR) {
		report_add(r->report, mark, "found no memory, expected enough for the file");
	} else {
		report_add(r->report, mark, "found broken YAML (%s%s%s), expected it well formed",
		    p->context != NULL ? p->context : "", p->context != NULL ? ": " : "",
		    p->problem != NULL ? p->problem : "no more is known");
	}
}

/* One event.  False: the end, or no use in going on. */
static bool
on_event(struct reader *r, const yaml_event_t *e)
{
	switch (e->type) {
	case YAML_SCALAR_EVENT:
		on_scalar(r, e);
		break;
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		on_start(r, e);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_end(r);
		break;
	case YAML_ALIAS_EVENT:
		on_alias(r, e);
		break;
	case YAML_DOCUMENT_START_EVENT:
		if (r->root != NULL)
			give_up(r, mark_of(r, e->start_mark),
			    "found a second document, expected one in a file");
		break;
	case YAML_STREAM_END_EVENT:
		return false;
	default:
		break;
	}
	return !r->failed;
}

int
tree_read(struct arena *a, struct report *report, uint32_t file, const void *text, size_t len,
    struct node **root)
{
	struct reader r = { .arena = a, .report = report, .file = file, .text = text, .left = len };
	yaml_parser_t parser;
	yaml_event_t event;
	bool more = true;

	*root = NULL;
	if (yaml_parser_initialize(&parser) == 0) {
		report_add(report, (struct mark) { file, 1, 1 }, "found no memory, expected some");
		return -1;
	}
	/* Fixed: UTF-16 would make the columns of mistakes wrong. */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, text, len);
	while (more) {
		if (yaml_parser_parse(&parser, &event) == 0) {
			on_error(&r, &parser, text, len);
			break;
		}
		more = on_event(&r, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	if (r.failed)
		return -1;
	*root = r.root;
	return 0;
}

/* Columns that n bytes of a scalar's text take in its file. */
static uint32_t
columns_of(uint8_t style, const char *text, size_t n)
{
	uint32_t columns = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];

		if ((c & 0xc0) == 0x80)
			continue;
		columns++;
		if ((style == STYLE_SINGLE && c == '\'') ||
		    (style == STYLE_DOUBLE && (c == '"' || c == '\\' || c < ' ')))
			columns++; /* an escape */
	}
	return columns;
}

struct mark
node_at(const struct node *n, size_t offset)
{
	uint32_t quotes = n->style == STYLE_PLAIN ? 0 : 2;
	struct mark m = n->mark;
	size_t start = 0;

	if (n->style == STYLE_LITERAL) {
		m.line++;
		for (size_t i = 0; i < offset && i < n->len; i++)
			if (n->text[i] == '\n') {
				m.line++;
				start = i + 1;
			}
		m.column = n->indent + 1 + columns_of(n->style, n->text + start, offset - start);
	} else if (n->span != 0 && n->span == columns_of(n->style, n->text, n->len) + quotes) {
		m.column += quotes / 2 + columns_of(n->style, n->text, offset);
	}
	return m;
}

int
tree_slurp(struct report *r, uint32_t file, const char *path, char **text, size_t *len)
{
	struct mark mark = { file, 1, 1 };
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t got = 0;

	*text = NULL;
	*len = 0;
	if (fd < 0 || fstat(fd, &st) != 0) {
		report_add(r, mark, "found no readable file (%s), expected a policy file",
		    strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		report_add(r, mark, "found a %s, expected a policy file",
		    S_ISDIR(st.st_mode) ? "directory" : "special file");
		goto out;
	}
	if ((uint64_t)st.st_size > TREE_FILE_MAX) {
		report_add(r, mark, "found %lld bytes, expected at most 64 MiB in one file",
		    (long long)st.st_size);
		goto out;
	}
	*text = malloc((size_t)st.st_size + 1);
	while (*text != NULL && *len < (size_t)st.st_size &&
	    (got = read(fd, *text + *len, (size_t)st.st_size - *len)) > 0)
		*len += (size_t)got;
	if (*text == NULL || got < 0) {
		report_add(
		    r, mark, "found an error while reading (%s), expected none", strerror(errno));
		free(*text);
		*text = NULL;
	}
out:
	if (fd >= 0)
		close(fd);
	return *text != NULL ? 0 : -1;
}
