/*
 * usage.c - usage as rationd answers it: see usage.h.
 */
#include "usage.h"

#include <stdlib.h>
#include <string.h>

#include "commands.h"

#define BUCKETS_MAX 100000
#define TIME_MOST INT64_C(400000000000) /* Unix s */

const int64_t usage_span_s[USAGE_SPANS] = { 86400, 7 * 86400, 30 * 86400 };
const char *const usage_span_name[USAGE_SPANS] = { "24 hours", "7 days", "30 days" };

static uint64_t
units(const json_t *v)
{
	json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;

	return n > 0 ? (uint64_t)n : 0;
}

/* ---- the table ---- */

static struct usage_line *
line_of(struct usage_line *lines, size_t *n, const char *limit, const char *plan)
{
	size_t i;

	for (i = 0; i < *n; i++)
		if (strcmp(lines[i].limit, limit) == 0 && strcmp(lines[i].plan, plan) == 0)
			return &lines[i];
	(*n)++;
	lines[i].limit = limit;
	lines[i].plan = plan;
	return &lines[i];
}

static int
by_name(const void *a, const void *b)
{
	const struct usage_line *x = a, *y = b;
	int d = strcmp(x->plan, y->plan);

	return d != 0 ? d : strcmp(x->limit, y->limit);
}

struct usage_line *
usage_lines(json_t *const answers[USAGE_SPANS], bool by_plan, size_t *n)
{
	struct usage_line *lines;
	size_t most = 0, i;
	json_t *s;

	*n = 0;
	for (unsigned span = 0; span < USAGE_SPANS; span++)
		most += json_array_size(json_object_get(answers[span], "series"));
	lines = calloc(most, sizeof(*lines));
	if (lines == NULL || most == 0) {
		free(lines);
		return NULL;
	}
	for (unsigned span = 0; span < USAGE_SPANS; span++)
		json_array_foreach(json_object_get(answers[span], "series"), i, s)
		{
			struct usage_line *l = line_of(
			    lines, n, jstr(s, "limit", ""), by_plan ? jstr(s, "plan", "") : "");

			l->admitted[span] += units(json_object_get(s, "admitted"));
			l->denied[span] += units(json_object_get(s, "denied"));
		}
	qsort(lines, *n, sizeof(*lines), by_name);
	return lines;
}

/* Right-aligned, exactly where there is room. */
static void
put_units(FILE *out, uint64_t n, int width)
{
	char text[32];

	if (text_grouped(n, text, sizeof(text)) >= width)
		text_units(n, text, sizeof(text));
	fprintf(out, "%*s", width, text);
}

/* A name from elsewhere, escaped, cut to its column. */
static void
put_name(FILE *out, const char *name, int width)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (f == NULL)
		return;
	print_text(f, *name ? name : "-");
	fclose(f);
	if (size >= (size_t)width)
		memcpy(text + width - 2, "+", 2);
	fprintf(out, "%-*s", width, text);
	free(text);
}

void
usage_table(FILE *out, const struct usage_line *lines, size_t n, bool by_plan, unsigned width)
{
	int plan = by_plan ? 10 : 0, limit = by_plan ? 16 : 20, each;

	if (width < 80)
		width = 80;
	each = ((int)width - plan - limit) / (2 * (int)USAGE_SPANS);
	if (each > 16)
		each = 16;
	fprintf(out, "%*s", plan + limit, "");
	for (unsigned i = 0; i < USAGE_SPANS; i++)
		fprintf(out, "%*s", 2 * each, usage_span_name[i]);
	fprintf(out, "\n%-*s%-*s", plan, by_plan ? "PLAN" : "", limit, "LIMIT");
	for (unsigned i = 0; i < USAGE_SPANS; i++)
		fprintf(out, "%*s%*s", each, "ADMITTED", each, "DENIED");
	fputc('\n', out);
	for (size_t i = 0; i < n; i++) {
		if (by_plan)
			put_name(out, lines[i].plan, plan);
		put_name(out, lines[i].limit, limit);
		for (unsigned span = 0; span < USAGE_SPANS; span++) {
			put_units(out, lines[i].admitted[span], each);
			put_units(out, lines[i].denied[span], each);
		}
		fputc('\n', out);
	}
}

/* ---- buckets ---- */

bool
usage_buckets(const json_t *answer, const json_t *series, struct plot *p, uint64_t **mem)
{
	const json_t *starts = json_object_get(series, "starts");
	int64_t now = jint(answer, "now", 0), step = jint(answer, "resolution_s", 0);
	int64_t from = jint(answer, "from", 0);
	bool any = false;
	const json_t *v;
	size_t i;

	*mem = NULL;
	if (step < 1 || step > TIME_MOST || from < 0 || now < from || now > TIME_MOST ||
	    (now - from) / step >= BUCKETS_MAX)
		return false;
	p->from = from;
	p->step = step;
	p->n = (size_t)((now - from) / step) + 1;
	*mem = calloc(2 * p->n, sizeof(**mem));
	if (*mem == NULL)
		return false;
	p->admitted = *mem;
	p->denied = *mem + p->n;
	json_array_foreach((json_t *)(uintptr_t)starts, i, v)
	{
		int64_t start = json_is_integer(v) ? json_integer_value(v) : -1;
		size_t at;

		if (start < from || start > now)
			continue;
		at = (size_t)((start - from) / step);
		(*mem)[at] += units(json_array_get(json_object_get(series, "admitted_at"), i));
		(*mem)[p->n + at] += units(json_array_get(json_object_get(series, "denied_at"), i));
		any |= (*mem)[at] != 0 || (*mem)[p->n + at] != 0;
	}
	return any;
}

/* ---- CSV ---- */

void
usage_csv(FILE *out, const json_t *answer)
{
	json_t *s, *start;
	size_t i, k;

	fputs("start,limit,key,plan,admitted,denied\n", out);
	json_array_foreach(json_object_get(answer, "series"), i, s)
	    json_array_foreach(json_object_get(s, "starts"), k, start)
	{
		const json_t *a = json_array_get(json_object_get(s, "admitted_at"), k);
		const json_t *d = json_array_get(json_object_get(s, "denied_at"), k);

		fprintf(out, "%llu,", (unsigned long long)units(start));
		csv_field(out, jstr(s, "limit", ""));
		fputc(',', out);
		csv_field(out, jstr(s, "key", ""));
		fputc(',', out);
		csv_field(out, jstr(s, "plan", ""));
		fprintf(out, ",%llu,%llu\n", (unsigned long long)units(a),
		    (unsigned long long)units(d));
	}
}
