/*
 * compile_answers.c - answers into the area: the default one first, so that 0 in a limit means
 * what most mean.
 */
#include "compile.h"

#include <string.h>

uint16_t
build_answer_index(const struct config *c, uint32_t number)
{
	uint32_t first = config_default_answer(c);

	if (number == 0 || number == first)
		return 0;
	return (uint16_t)(first == 0 || number < first ? number : number - 1);
}

static struct answer_def
answer_def(struct builder *b, const struct answer_model *m)
{
	char place[256];

	return (struct answer_def) { .name = build_string(b, m->name),
		.origin = build_string(b,
		    m->mark.line == 0 ? "built in"
				      : config_place(b->c, m->mark, place, sizeof(place))),
		.body = build_string(b, m->body),
		.body_never = m->body_never != NULL ? build_string(b, m->body_never) : 0,
		.content_type = build_string(b, m->content_type),
		.show_limit = m->show_limit != NOBODY ? b->id_of[m->show_limit] + 1 : 0,
		.headers = m->headers,
		.status = m->status,
		.reset = m->reset,
		.show_window_ns = m->show_window_ns };
}

void
build_answers(struct builder *b)
{
	const struct config *c = b->c;
	uint32_t first = config_default_answer(c);

	b->nanswers = first == 0 ? c->nanswers + 1 : c->nanswers;
	b->answers = arena_alloc(&b->arena, b->nanswers * sizeof(*b->answers));
	for (uint32_t number = first == 0 ? 0 : 1; number <= c->nanswers; number++)
		b->answers[build_answer_index(c, number)] = answer_def(b, &c->answers[number]);
}

void
write_answers(const struct builder *b, const struct policy_area *a, char *area)
{
	memcpy(area + a->answers, b->answers, b->nanswers * sizeof(*b->answers));
}
