#include "answers.h"

#include <err.h>
#include <string.h>

#include "policy.h"

/* What is appended to an area. */
struct writer {
	char *area;
	uint64_t strings; /* offset of the copied section */
	uint64_t at;      /* where the next string goes */
	uint64_t end;
};

static struct policy_area *
area_of(struct fixture *f, struct policy_ref *p)
{
	if (!policy_current(f->seg.policy, p))
		errx(1, "no policy");
	return (struct policy_area *)(uintptr_t)p->area;
}

static uint32_t
put_string(struct writer *w, const void *text, size_t len)
{
	uint64_t at = w->at;

	if (text == NULL)
		return 0;
	if (at + len + 1 > w->end)
		errx(1, "the area is too small for the test's answers");
	memcpy(w->area + at, text, len);
	w->area[at + len] = '\0';
	w->at += len + 1;
	return (uint32_t)(at - w->strings);
}

static uint32_t
put_text(struct writer *w, const char *text)
{
	return put_string(w, text, text != NULL ? strlen(text) : 0);
}

/* The strings are copied to the end, where there is room for more. */
static struct writer
start(const struct policy_ref *p, uint64_t at)
{
	struct writer w = { (char *)(uintptr_t)p->area, at, at, p->area_bytes };

	if (at + p->area->strings_bytes > w.end)
		errx(1, "the area is too small for the test's answers");
	memmove(w.area + at, w.area + p->area->strings, p->area->strings_bytes);
	w.at += p->area->strings_bytes;
	return w;
}

static void
finish(struct policy_area *a, const struct writer *w)
{
	a->strings = w->strings;
	a->strings_bytes = w->at - w->strings;
}

static struct limit_def *
limit_of(const struct policy_ref *p, const char *name)
{
	int64_t id = policy_limit_id(p, name, strlen(name));

	if (id < 0)
		errx(1, "the test's policy has no limit %s", name);
	return (struct limit_def *)(void *)((char *)(uintptr_t)p->area + p->area->limits) + id;
}

void
answers_set(struct fixture *f, const struct text_answer *answers, uint32_t n)
{
	struct policy_ref p;
	struct policy_area *a = area_of(f, &p);
	uint64_t at = (a->bytes + 63) / 64 * 64;
	struct answer_def *defs = (struct answer_def *)(void *)((char *)a + at);
	struct writer w = start(&p, at + n * sizeof(*defs));

	memset(defs, 0, n * sizeof(*defs));
	for (uint32_t i = 0; i < n; i++) {
		const struct text_answer *t = &answers[i];
		struct limit_def *l = t->limit != NULL ? limit_of(&p, t->limit) : NULL;

		defs[i].headers = t->headers;
		defs[i].status = t->status != 0 ? t->status : 429;
		defs[i].reset = t->reset;
		if (t->show != NULL)
			defs[i].show_limit =
			    (uint32_t)policy_limit_id(&p, t->show, strlen(t->show)) + 1;
		defs[i].show_window_ns = t->show_s * 1000000000u;
		defs[i].content_type = put_text(&w, t->content_type);
		defs[i].body = put_text(&w, t->body);
		defs[i].body_never = put_text(&w, t->body_never);
		if (l != NULL) {
			l->answer = (uint16_t)i;
			l->title = put_text(&w, t->title);
		}
	}
	finish(a, &w);
	a->answers = at;
	a->nanswers = n;
}

void
answers_rename(struct fixture *f, uint32_t limit_id, const void *name, uint16_t len)
{
	struct policy_ref p;
	struct policy_area *a = area_of(f, &p);
	struct limit_def *l = (struct limit_def *)(void *)((char *)a + a->limits) + limit_id;
	uint64_t far = p.area_bytes - a->strings_bytes - len - 64;
	struct writer w = start(&p, far / 64 * 64);

	l->name = put_string(&w, name, len);
	l->name_len = len;
	finish(a, &w);
}
