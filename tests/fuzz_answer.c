/*
 * fuzz_answer.c - any bytes as template, title, name and caller's field.  Every byte of the
 * template is checked or refused; what is put into a JSON template leaves it JSON; nothing is
 * written beyond the buffer; headers are lines of printable ASCII.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "answer.h"
#include "answers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ALL \
	"\"${limit}${title}${rate}${per}${plan}${retry_at.iso}${reset_at.iso}${retry_at.date}" \
	"${reset_at.date}${field.a}$$\"," \
	"${units},${used},${remaining},${level},${cost},${retry_after},${retry_at}," \
	"${reset_at},${status},${window}"

static struct fixture f;
static ration_decision_t denied[3];
static void *area; /* the policy as it was compiled */

static void
need(bool holds, const char *what, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s: \"%s\"\n", what, text);
	abort();
}

static void
stop(void)
{
	fixture_close(&f);
	free(area);
}

/* The policy without the answers of the last input. */
static void
fresh(void)
{
	struct policy_ref p;

	need(policy_current(f.seg.policy, &p), "no policy", "");
	if (area == NULL) {
		area = malloc(p.area->bytes);
		if (area == NULL)
			abort();
		memcpy(area, p.area, p.area->bytes);
	}
	memcpy((void *)(uintptr_t)p.area, area, ((const struct policy_area *)area)->bytes);
}

static void
start(void)
{
	if (f.r != NULL)
		return;
	fixture_open(&f,
	    "table: {policy: 1MiB}\n"
	    "limits: {a: {rates: [3/min, 3/day]}, b: {rates: 4/s burst 5}, c: {rates: "
	    "unlimited}}\n",
	    0);
	(void)atexit(stop);
	for (unsigned i = 0; i < 3; i++) {
		static const char *const limits[] = { "a", "b", "a" };

		denied[i] = (ration_decision_t)RATION_DECISION_INIT;
		for (unsigned k = 0; k < 9 && i < 2; k++)
			(void)ration_acquire(f.r, limits[i], "k", 1, &denied[i]);
	}
	(void)ration_acquire(f.r, "a", "k", 100, &denied[2]); /* no waiting helps */
	for (unsigned i = 0; i < 3; i++)
		need(denied[i].verdict == RATION_DENIED, "admitted", "");
}

static char *
body(const ration_decision_t *d, const ration_attr_t *fields, size_t n)
{
	int len = ration_http_body(f.r, d, fields, n, NULL, 0);
	size_t size = len > 0 ? (size_t)len : 0, half = size / 2;
	char *whole = malloc(size + 1), *part = malloc(half + 1);

	if (whole == NULL || part == NULL)
		abort();
	need(len >= 0, "no body", "");
	need(ration_http_body(f.r, d, fields, n, whole, size + 1) == len, "another length", "");
	need(strnlen(whole, size + 1) <= size, "no end", "");
	need(ration_http_body(f.r, d, fields, n, part, half + 1) == len, "another length", "");
	need(memcmp(whole, part, half) == 0 && part[half] == '\0', "cut off elsewhere", whole);
	free(part);
	return whole;
}

static void
is_json(const ration_decision_t *d, const ration_attr_t *fields, size_t n)
{
	json_error_t e;
	char *text = body(d, fields, n);
	json_t *j = json_loads(text, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &e);

	need(j != NULL, e.text, text);
	json_decref(j);
	free(text);
}

static void
are_headers(const ration_decision_t *d)
{
	ration_header_t h = { .size = sizeof(h) };
	unsigned i = 0;
	int e;

	while ((e = ration_http_header(f.r, d, i, &h)) == 1) {
		need(++i < 64, "headers without end", h.name);
		need(strnlen(h.name, sizeof(h.name)) < sizeof(h.name), "name", "");
		need(strnlen(h.value, sizeof(h.value)) < sizeof(h.value), "value", "");
		for (const char *p = h.value; *p != '\0'; p++)
			need(*p >= 0x20 && *p < 0x7f, "not printable", h.value);
	}
	need(e == 0, "error", "");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	ration_attr_t fields[2] = { { sizeof(fields[0]), "a", data, size },
		{ sizeof(fields[0]), "b", "x", 1 } };
	struct text_answer answers[] = {
		{ .headers = ANSWER_RATELIMIT | ANSWER_WINDOW | ANSWER_IETF | ANSWER_RETRY },
		{ .limit = "a", .headers = ANSWER_IETF | ANSWER_PROBLEM },
		{ .limit = "b", .headers = ANSWER_IETF },
	};
	char *text = malloc(size + 1);
	const char *expected = NULL;
	int64_t at;

	if (text == NULL)
		return 0;
	start();
	memcpy(text, data, size);
	text[size] = '\0';
	at = answer_template_check(text, size, &expected);
	need(at == -1 || (at >= 0 && (size_t)at <= size && expected != NULL), "place", text);
	/* As the template; also one that the policy's reader would have refused. */
	answers[1].body = answers[1].content_type = answers[1].title = text;
	answers[2].body = "{\"x\":[" ALL "]}";
	answers[2].title = answers[2].body_never = text;
	fresh();
	answers_set(&f, answers, 3);
	for (unsigned i = 0; i < 3; i++) {
		free(body(&denied[i], fields, 2));
		are_headers(&denied[i]);
	}
	is_json(&denied[1], fields, 2);
	answers[1].body = NULL; /* problem+json, of a limit called anything */
	fresh();
	answers_set(&f, answers, 3);
	for (unsigned i = 0; i < 2; i++)
		answers_rename(
		    &f, denied[i].limit_id[0], data, (uint16_t)(size < 200 ? size : 200));
	denied[0].nrates = 2;
	denied[0].rates[1].claim = 1;
	for (unsigned i = 0; i < 3; i++) {
		is_json(&denied[i], fields, 2);
		are_headers(&denied[i]);
	}
	denied[0].rates[1].claim = 0;
	free(text);
	return 0;
}
