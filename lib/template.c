#include "template.h"

#include <limits.h>
#include <string.h>

#include "answer.h"

#define CALLER "field."
#define CALLER_LEN (sizeof(CALLER) - 1)

static const struct {
	const char *name;
	size_t len;
	enum template_field field;
} fields[] = {
#define X(id, name) { name, sizeof(name) - 1, FIELD_##id },
	TEMPLATE_FIELDS(X)
#undef X
};

static const char known[] = "one of"
#define X(id, name) " " name
    TEMPLATE_FIELDS(X)
#undef X
	" field.NAME";

/* ---- reading ---- */

static bool
name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	    c == '_' || c == '-' || c == '.';
}

static const char *
wrong(struct template_piece *out, const char *at, const char *end, const char *expected)
{
	out->field = FIELD_WRONG;
	out->text = at;
	out->len = (size_t)(end - at);
	out->expected = expected;
	return end;
}

/* What stands between "${" and "}".  Returns what follows. */
static const char *
field_of(const char *s, const char *end, struct template_piece *out)
{
	const char *stop = s;
	size_t len;

	while (stop < end && name_byte(*stop))
		stop++;
	if (stop == end || *stop != '}')
		return wrong(out, stop, end, "\"}\" after the field's name");
	len = (size_t)(stop - s);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (len == fields[i].len && memcmp(s, fields[i].name, len) == 0) {
			out->field = fields[i].field;
			return stop + 1;
		}
	if (len > CALLER_LEN && memcmp(s, CALLER, CALLER_LEN) == 0) {
		out->field = FIELD_CALLER;
		out->text = s + CALLER_LEN;
		out->len = len - CALLER_LEN;
		return stop + 1;
	}
	return wrong(out, s, end, known);
}

bool
template_next(const char **at, const char *end, struct template_piece *out)
{
	const char *s = *at, *dollar;

	if (s == end)
		return false;
	out->field = FIELD_LITERAL;
	out->text = s;
	out->expected = NULL;
	dollar = memchr(s, '$', (size_t)(end - s));
	if (dollar != s) {
		*at = dollar != NULL ? dollar : end;
		out->len = (size_t)(*at - s);
		return true;
	}
	out->len = 1;
	s++;
	if (s < end && *s == '$')
		*at = s + 1;
	else if (s < end && *s == '{')
		*at = field_of(s + 1, end, out);
	else
		*at = wrong(out, dollar, end, "\"${FIELD}\", or \"$$\" for a dollar");
	return true;
}

int64_t
answer_template_check(const char *text, size_t len, const char **expected)
{
	const char *at = text, *end = text + len;
	struct template_piece piece;

	while (template_next(&at, end, &piece))
		if (piece.field == FIELD_WRONG) {
			*expected = piece.expected;
			return piece.text - text;
		}
	return -1;
}

/* ---- writing ---- */

void
template_put(struct template_out *o, const void *bytes, size_t len)
{
	size_t room = o->len < o->size ? o->size - o->len : 0;

	if (len != 0 && room != 0)
		memcpy(o->buf + o->len, bytes, len < room ? len : room);
	o->len += len;
}

/*
 * Bytes of the character at s, by the table of RFC 3629 (no overlong forms, no surrogates,
 * nothing above U+10FFFF); 0: none.
 */
static size_t
character(const unsigned char *s, size_t len)
{
	unsigned char c = s[0], low = 0x80, high = 0xbf;
	size_t n = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4 || len < n)
		return 0;
	if (c == 0xe0)
		low = 0xa0;
	else if (c == 0xed)
		high = 0x9f;
	else if (c == 0xf0)
		low = 0x90;
	else if (c == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

static void
put_escape(struct template_out *o, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";
	static const char names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
	char text[6] = "\\u00";

	for (size_t i = 0; i + 1 < sizeof(names); i += 2)
		if (names[i] == (char)c) {
			text[1] = names[i + 1];
			template_put(o, text, 2);
			return;
		}
	text[4] = digits[c >> 4];
	text[5] = digits[c & 15];
	template_put(o, text, sizeof(text));
}

void
template_put_json(struct template_out *o, const void *bytes, size_t len)
{
	const unsigned char *s = bytes;

	for (size_t i = 0; i < len;) {
		size_t n = character(s + i, len - i);

		if (n == 0)
			template_put(o, "\xef\xbf\xbd", 3);
		else if (s[i] < 0x20 || s[i] == 0x7f || s[i] == '"' || s[i] == '\\')
			put_escape(o, s[i]);
		else
			template_put(o, s + i, n);
		i += n != 0 ? n : 1;
	}
}

int
template_end(struct template_out *o)
{
	if (o->size != 0)
		o->buf[o->len < o->size ? o->len : o->size - 1] = '\0';
	return o->len < INT_MAX ? (int)o->len : INT_MAX;
}
