/*
 * template.h - text with ${...} in it: the bodies of HTTP answers.
 *
 * The template lies in the policy's memory and may be rewritten under the reader: each byte
 * is looked at within the bounds given and nothing is concluded from one look for the next.
 */
#ifndef RATION_TEMPLATE_H
#define RATION_TEMPLATE_H

#include <stdbool.h>
#include <stdint.h>

#include "ration.h"

/* What may stand in ${...}; ${field.NAME} too. */
#define TEMPLATE_FIELDS(X) \
	X(LIMIT, "limit") \
	X(TITLE, "title") \
	X(RATE, "rate") \
	X(UNITS, "units") \
	X(PER, "per") \
	X(USED, "used") \
	X(REMAINING, "remaining") \
	X(LEVEL, "level") \
	X(COST, "cost") \
	X(PLAN, "plan") \
	X(RETRY_AFTER, "retry_after") \
	X(RETRY_AT, "retry_at") \
	X(RESET_AT, "reset_at") \
	X(RETRY_AT_ISO, "retry_at.iso") \
	X(RESET_AT_ISO, "reset_at.iso") \
	X(RETRY_AT_DATE, "retry_at.date") \
	X(RESET_AT_DATE, "reset_at.date") \
	X(STATUS, "status") \
	X(WINDOW, "window")

enum template_field {
	FIELD_LITERAL, /* the text itself */
	FIELD_CALLER,  /* ${field.NAME}: the text is NAME */
	FIELD_WRONG,   /* the text starts with what is wrong */
#define X(id, name) FIELD_##id,
	TEMPLATE_FIELDS(X)
#undef X
};

struct template_piece {
	enum template_field field;
	const char *text;
	size_t len;
	const char *expected; /* of FIELD_WRONG */
};

/* The piece at *at, which moves past it; false at the end. */
bool template_next(const char **at, const char *end, struct template_piece *out);

/* As snprintf() over several calls: counts on when the buffer is full. */
struct template_out {
	char *buf;
	size_t size;
	size_t len;
};

void template_put(struct template_out *o, const void *bytes, size_t len);
/* The bytes as the content of a JSON string (RFC 8259); what is no UTF-8 becomes U+FFFD. */
void template_put_json(struct template_out *o, const void *bytes, size_t len);
/* The closing NUL; returns as snprintf(). */
int template_end(struct template_out *o);

#endif
