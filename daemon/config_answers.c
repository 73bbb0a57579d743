/*
 * config_answers.c - the section `answers`: how a denial is told over HTTP, and which headers
 * every answer has.
 *
 * Answers are read before the limits, which name them; the limits that answers name
 * (`show`) are looked up when all have been read.  Templates are checked with the library's own
 * reader, so that what loads can be filled in.
 */
#include "answer.h"
#include "load.h"

#include <stdlib.h>
#include <string.h>

#define ANSWERS_MAX 255u
#define TEMPLATE_MAX 16384u
#define EXCERPT 24u /* bytes of a template in a mistake */
#define CONTENT_TYPE_MAX 127u
#define JSON_TYPE "application/json"
#define PROBLEM_TYPE "application/problem+json"

#define X(name, text) text,
static const char *const names_answer[] = { FIELDS_ANSWER(X) };
#undef X
#define X(name) #name,
static const char *const names_show[] = { FIELDS_SHOW(X) };
#undef X
const struct fields fields_answer = { "an answer", names_answer, ANSWER_FIELDS };
const struct fields fields_show = { "show", names_show, SHOW_FIELDS };

static const struct {
	const char *name;
	uint32_t bits;
} header_sets[] = {
	{ "x-ratelimit", ANSWER_RATELIMIT },
	{ "x-ratelimit-window", ANSWER_RATELIMIT | ANSWER_WINDOW },
	{ "ietf", ANSWER_IETF },
	{ "retry-after", ANSWER_RETRY },
};
#define HEADER_SETS (sizeof(header_sets) / sizeof(header_sets[0]))
static const char *const reset_names[] = { [RESET_WINDOW] = "window", [RESET_RETRY] = "retry" };

const struct answer_model answer_builtin = { .name = "",
	.body = "{\"error\":\"rate_limit_exceeded\",\"message\":\"${title} exceeded ${rate}. "
		"Retry in ${retry_after} seconds.\",\"retry_after\":${retry_after}}",
	.body_never = "{\"error\":\"rate_limit_exceeded\",\"message\":\"${title} exceeded "
		      "${rate}.\",\"retry_after\":null}",
	.content_type = JSON_TYPE,
	.show_limit = NOBODY,
	.headers = ANSWER_RATELIMIT | ANSWER_RETRY,
	.status = 429,
	.reset = RESET_WINDOW };

/* ---- fields ---- */

static void
read_headers(struct loader *l, const struct node *value, uint32_t *headers)
{
	const char *names[HEADER_SETS];
	unsigned choice;

	for (size_t i = 0; i < HEADER_SETS; i++)
		names[i] = header_sets[i].name;
	if (value->kind == NODE_MAP) {
		report_add(&l->r, value->mark,
		    "found a mapping, expected a list of x-ratelimit, "
		    "x-ratelimit-window, ietf and retry-after");
		return;
	}
	*headers = 0;
	for (const struct node *n = value->kind == NODE_LIST ? value->first : value; n != NULL;
	     n = value->kind == NODE_LIST ? n->next : NULL) {
		if (!get_choice(l, n, names, HEADER_SETS, &choice))
			continue;
		if ((*headers & header_sets[choice].bits) == header_sets[choice].bits)
			report_add(&l->r, n->mark, "found %s again, expected each header set once",
			    shown_node(n));
		*headers |= header_sets[choice].bits;
	}
}

static void
wrong_template(struct loader *l, const struct node *n, size_t at, const char *expected)
{
	size_t rest = n->len - at, excerpt = strcspn(n->text + at, "}");

	if (excerpt < rest)
		rest = excerpt;
	if (at == n->len)
		report_add(
		    &l->r, node_at(n, at), "found the end of the template, expected %s", expected);
	else
		report_add(&l->r, node_at(n, at), "found \"%s\" in the template, expected %s",
		    shown(n->text + at, rest < EXCERPT ? rest : EXCERPT), expected);
}

/* A body's template.  NULL: reported. */
static const char *
read_template(struct loader *l, const struct node *n)
{
	size_t at = 0;
	bool ok = true;

	if (n->kind != NODE_SCALAR || memchr(n->text, '\0', n->len) != NULL) {
		report_add(&l->r, n->mark, "found %s, expected the text of a body", shown_node(n));
		return NULL;
	}
	if (n->len > TEMPLATE_MAX) {
		report_add(&l->r, n->mark, "found a template of %u bytes, expected at most %u",
		    n->len, TEMPLATE_MAX);
		return NULL;
	}
	/* Each mistake: on behind the one before. */
	while (at < n->len) {
		const char *expected = "another text";
		int64_t wrong = answer_template_check(n->text + at, n->len - at, &expected);

		if (wrong < 0 || (uint64_t)wrong > n->len - at)
			break;
		ok = false;
		wrong_template(l, n, at + (size_t)wrong, expected);
		at += (size_t)wrong + 1;
	}
	return ok ? n->text : NULL;
}

static void
read_bodies(struct loader *l, const struct node *const got[FIELDS_MAX], struct answer_model *a)
{
	const struct node *body = got[ANSWER_body], *never = got[ANSWER_body_never];
	bool problem = body != NULL && body->next->kind == NODE_SCALAR &&
	    strcmp(body->next->text, "problem") == 0;

	if (body != NULL) {
		const char *text = problem ? "" : read_template(l, body->next);

		a->body = text != NULL ? text : "";
		a->body_never = NULL;
	}
	if (problem) {
		a->headers |= ANSWER_PROBLEM;
		a->content_type = PROBLEM_TYPE;
	}
	if (never != NULL && problem)
		report_add(&l->r, never->mark,
		    "found body-never beside the body \"problem\", expected one of them: a "
		    "problem says itself that no waiting helps");
	else if (never != NULL)
		a->body_never = read_template(l, never->next);
}

static void
read_fields(struct loader *l, const struct node *map, struct answer_model *a)
{
	const struct node *got[FIELDS_MAX];
	unsigned choice;
	uint64_t status;

	if (!walk(l, map, &fields_answer, got))
		return;
	if (got[ANSWER_status] != NULL &&
	    get_quantity(l, got[ANSWER_status]->next, 400, 599, &status))
		a->status = (uint16_t)status;
	if (got[ANSWER_headers] != NULL)
		read_headers(l, got[ANSWER_headers]->next, &a->headers);
	if (got[ANSWER_reset] != NULL &&
	    get_choice(l, got[ANSWER_reset]->next, reset_names, 2, &choice))
		a->reset = (uint8_t)choice;
	if (got[ANSWER_show] != NULL)
		a->show = got[ANSWER_show]->next;
	read_bodies(l, got, a);
	if (got[ANSWER_content_type] == NULL ||
	    !get_line(l, got[ANSWER_content_type]->next, CONTENT_TYPE_MAX, "a media type"))
		return;
	if (strchr(got[ANSWER_content_type]->next->text, '/') == NULL)
		report_add(&l->r, got[ANSWER_content_type]->next->mark,
		    "found %s, expected a media type such as " JSON_TYPE,
		    shown_node(got[ANSWER_content_type]->next));
	a->content_type = got[ANSWER_content_type]->next->text;
}

static void
read_one(struct loader *l, const struct node *key)
{
	struct config *c = l->c;
	struct answer_model a = answer_builtin;
	char place[256];
	uint32_t old;

	if (!get_name(l, key, RATION_NAME_MAX, "an answer's name"))
		return;
	old = map_find(&c->answermap, key->text, key->len);
	if (old != NOBODY) {
		report_add(&l->r, key->mark,
		    "found the answer %s again, expected each name once (first at %s)",
		    shown_node(key),
		    config_place(c, c->answers[old + 1].mark, place, sizeof(place)));
		return;
	}
	if (c->nanswers == ANSWERS_MAX) {
		report_add(
		    &l->r, key->mark, "found one more answer, expected at most %u", ANSWERS_MAX);
		return;
	}
	a.name = key->text;
	a.mark = key->mark;
	/* Nothing in it: as built in. */
	if (key->next->kind != NODE_SCALAR || key->next->len > 0)
		read_fields(l, key->next, &a);
	map_add(&c->answermap, key->text, key->len);
	c->answers = xrealloc(c->answers, c->nanswers + 2, sizeof(*c->answers));
	c->answers[++c->nanswers] = a;
}

void
read_answers(struct loader *l, const struct node *key)
{
	if (key->next->kind != NODE_MAP) {
		report_add(&l->r, key->next->mark,
		    "found %s, expected a mapping of names to answers", shown_node(key->next));
		return;
	}
	for (const struct node *n = key->next->first; n != NULL; n = n->next->next)
		read_one(l, n);
}

uint32_t
config_default_answer(const struct config *c)
{
	uint32_t i;

	if (c->default_answer != 0)
		return c->default_answer;
	i = map_find(&c->answermap, "default", strlen("default"));
	return i == NOBODY ? 0 : i + 1;
}

/* ---- show ---- */

static bool
has_window(const struct rates *r, const struct rate_spec *window)
{
	for (unsigned i = 0; r != NULL && i < r->n; i++)
		if (r->rate[i].window_ns == window->window_ns &&
		    (r->rate[i].kind == RATION_CONCURRENT) == (window->kind == RATION_CONCURRENT))
			return true;
	return false;
}

/* Can the limit have a rate of that window, for whatever key? */
static bool
limit_has_window(const struct config *c, uint32_t limit, const struct rate_spec *window)
{
	const struct limit_model *m = &c->limits[limit];
	bool found = has_window(m->base.rates, window);

	for (uint32_t i = 0; m->plans != NULL && i < c->nplans && !found; i++)
		found = has_window(m->plans[i].rates, window);
	for (uint32_t i = 0; i < c->npatches && !found; i++)
		found = c->patches[i].limit == limit && has_window(c->patches[i].rates, window);
	return found;
}

static void
read_show(struct loader *l, struct answer_model *a)
{
	const struct node *got[FIELDS_MAX] = { NULL };
	const struct node *name = a->show;
	struct rate_spec window = { .kind = 0 };

	if (a->show->kind == NODE_MAP) {
		if (!walk(l, a->show, &fields_show, got))
			return;
		if (got[SHOW_limit] == NULL) {
			report_add(&l->r, a->show->mark,
			    "found no limit to show, expected {limit: NAME, window: minute}");
			return;
		}
		name = got[SHOW_limit]->next;
	}
	if (!get_limit(l, name, &a->show_limit))
		return;
	if (l->c->limits[a->show_limit].is_value) {
		report_add(&l->r, name->mark,
		    "found %s, expected a limit that is counted: it holds values",
		    shown_node(name));
		return;
	}
	if (got[SHOW_window] == NULL || get_per(l, got[SHOW_window]->next, &window) == NULL)
		return;
	if (!limit_has_window(l->c, a->show_limit, &window))
		report_add(&l->r, got[SHOW_window]->next->mark,
		    "found the window %s, expected one that a rate of limit %s has",
		    shown_node(got[SHOW_window]->next), shown_node(name));
	a->show_window_ns = window.window_ns;
}

void
finish_answers(struct loader *l)
{
	for (uint32_t i = 1; i <= l->c->nanswers; i++)
		if (l->c->answers[i].show != NULL)
			read_show(l, &l->c->answers[i]);
}
