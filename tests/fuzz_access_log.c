/*
 * fuzz_access_log.c - any bytes as a line: nothing outside of it is read or written, every field
 * lies in it, and what is taken as JSON is what jansson takes, with the same values.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "access_log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(bool ok)
{
	if (!ok)
		abort();
}

/* Inside, its end included. */
static void
check_inside(struct log_text t, const char *line, size_t len)
{
	check(t.at == NULL ||
	    (t.at >= line && t.at <= line + len && t.len <= (size_t)(line + len - t.at)));
}

/* jansson wants UTF-8, and passes over a NUL here and there; it goes deeper than 32. */
static void
check_json(struct log_reader *r, const char *expected, const uint8_t *data, size_t size)
{
	json_t *j = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
	const json_t *v;

	if (json_is_object(j) && expected != NULL)
		check(strstr(expected, "at most 32") != NULL);
	if (json_is_object(j) && expected == NULL) {
		const struct log_text *t = &r->members[r->nmembers - 1].text;

		v = json_object_get(j, "k");
		if (json_is_string(v))
			check(t->at != NULL && t->len == json_string_length(v) &&
			    memcmp(t->at, json_string_value(v), t->len) == 0);
		else if (v == NULL || json_is_null(v))
			check(t->len == 0);
	}
	json_decref(j);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const fields[] = { "addr", "user", "arg.a", "query", "path" };
	char *line = malloc(size + 1);
	struct log_reader r;
	struct log_line l;

	for (int f = LOG_COMBINED; f <= LOG_JSON; f++) {
		log_reader_init(&r, (enum log_format)f);
		for (unsigned i = 0; i < 5; i++)
			(void)log_reader_want(&r, fields[i]);
		if (f == LOG_JSON)
			(void)log_reader_want(&r, "k");
		for (int again = 0; again < 2; again++) {
			memcpy(line, data, size);
			line[size] = '\n';
			if (log_parse(&r, line, size, &l) != NULL)
				continue;
			check_inside(l.method, line, size);
			check_inside(l.path, line, size);
			check((l.method.at == NULL) == (l.path.at == NULL));
			if (l.path.at != NULL)
				check(strlen(l.path.at) == l.path.len &&
				    strlen(l.method.at) == l.method.len);
			for (unsigned i = 0; i < r.nwants; i++)
				if (l.wants[i].at != r.arguments[i])
					check_inside(l.wants[i], line, size);
		}
		if (f == LOG_JSON && memmem(data, size, "k.", 2) == NULL &&
		    memchr(data, 0, size) == NULL) {
			memcpy(line, data, size);
			line[size] = '\n';
			check_json(&r, log_json(&r, line, size), data, size);
		}
	}
	free(line);
	return 0;
}
