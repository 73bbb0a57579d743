/*
 * access_json.c - one JSON object, strictly, in one pass, for the few members that are wanted.
 *
 * A library builds a tree of every line (3 us of a line's budget of 3); this looks at each byte
 * once, and keeps where the wanted values stand.  What it takes, RFC 8259 takes; of names that
 * stand twice the last counts.  Bytes that are no UTF-8 pass: servers log what clients sent.
 */
#include "access_log.h"

#include <string.h>

#define DEPTH_MAX 32u
#define PATH_MAX_BYTES 256u

struct scan {
	struct log_reader *r;
	char *p;
	const char *end;
	unsigned depth;
	unsigned place;            /* members so far */
	size_t path_len;           /* of the objects that we are in, each with its dot */
	char path[PATH_MAX_BYTES]; /* too long: nothing in it is wanted */
	const char *expected;      /* what is wrong */
};

static bool
fail(struct scan *s, const char *expected)
{
	if (s->expected == NULL)
		s->expected = expected;
	return false;
}

static void
blanks(struct scan *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++;
}

static bool
take(struct scan *s, char c)
{
	blanks(s);
	if (s->p >= s->end || *s->p != c)
		return false;
	s->p++;
	return true;
}

/* ---- strings ---- */

static bool
hex4(const char *p, const char *end, uint32_t *out)
{
	*out = 0;
	if (end - p < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			*out = *out << 4 | (uint32_t)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			*out = *out << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
		else
			return false;
	}
	return true;
}

static char *
put_utf8(char *to, uint32_t c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		if (c < 0x10000) {
			*to++ = (char)(0xe0 | c >> 12);
		} else {
			*to++ = (char)(0xf0 | c >> 18);
			*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		}
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* Behind a backslash.  The text never grows: NULL: not an escape. */
static char *
escape(struct scan *s, char *to)
{
	static const char letters[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
	uint32_t c, low;

	if (s->p >= s->end)
		return NULL;
	if (*s->p != 'u') {
		for (const char *l = letters; *l != '\0'; l += 2)
			if (*l == *s->p) {
				s->p++;
				*to++ = l[1];
				return to;
			}
		return NULL;
	}
	if (!hex4(s->p + 1, s->end, &c))
		return NULL;
	s->p += 5;
	if (c >= 0xd800 && c < 0xe000) {
		if (c >= 0xdc00 || s->end - s->p < 6 || s->p[0] != '\\' || s->p[1] != 'u' ||
		    !hex4(s->p + 2, s->end, &low) || low < 0xdc00 || low >= 0xe000)
			return NULL;
		s->p += 6;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	return put_utf8(to, c);
}

static bool
string(struct scan *s, struct log_text *out)
{
	char *to;

	if (!take(s, '"'))
		return fail(s, "a quote");
	out->at = s->p;
	while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
		s->p++;
	to = s->p;
	while (s->p < s->end && *s->p != '"') {
		if ((unsigned char)*s->p < 0x20)
			return fail(s, "no control character in a string");
		if (*s->p != '\\') {
			*to++ = *s->p++;
			continue;
		}
		s->p++;
		to = escape(s, to);
		if (to == NULL)
			return fail(s, "an escape as JSON knows it");
	}
	if (s->p >= s->end)
		return fail(s, "the end of a string");
	s->p++;
	out->len = (size_t)(to - out->at);
	*to = '\0';
	return true;
}

/* ---- other values ---- */

static size_t
count_digits(struct scan *s)
{
	const char *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	return (size_t)(s->p - start);
}

static bool
number(struct scan *s, struct log_text *out)
{
	size_t n;

	out->at = s->p;
	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0') {
		s->p++;
		n = 1;
	} else {
		n = count_digits(s);
	}
	if (n != 0 && s->p < s->end && *s->p == '.') {
		s->p++;
		n = count_digits(s);
	}
	if (n != 0 && s->p < s->end && (*s->p | 0x20) == 'e') {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		n = count_digits(s);
	}
	if (n == 0)
		return fail(s, "a value");
	out->len = (size_t)(s->p - out->at);
	return true;
}

/* null is as if it were not there. */
static bool
literal(struct scan *s, struct log_text *out)
{
	static const char *const texts[] = { "true", "false", "null" };

	for (unsigned i = 0; i < 3; i++) {
		size_t n = strlen(texts[i]);

		if ((size_t)(s->end - s->p) < n || memcmp(s->p, texts[i], n) != 0)
			continue;
		*out = (struct log_text) { s->p, i == 2 ? 0 : n };
		s->p += n;
		return true;
	}
	return fail(s, "a value");
}

/* ---- members ---- */

/* The wanted member of this full name; NULL: none. */
static struct log_member *
member_of(struct scan *s, const char *name, size_t len)
{
	struct log_reader *r = s->r;
	unsigned char *guess =
	    s->place < sizeof(r->order) ? &r->order[s->place] : &(unsigned char) { 0 };

	if (*guess != 0 && r->members[*guess - 1].len == len &&
	    memcmp(r->members[*guess - 1].name, name, len) == 0)
		return &r->members[*guess - 1];
	for (unsigned i = 0; i < r->nmembers; i++)
		if (r->members[i].len == len && memcmp(r->members[i].name, name, len) == 0) {
			*guess = (unsigned char)(i + 1);
			return &r->members[i];
		}
	return NULL;
}

static bool value(struct scan *s, struct log_text *out);

static bool
member(struct scan *s)
{
	size_t path_len = s->path_len;
	struct log_text name = { .at = s->p }, text = { 0 };
	struct log_member *m = NULL;
	bool fits, ok;

	if (!string(s, &name))
		return false;
	fits = path_len + name.len + 1 < sizeof(s->path);
	if (path_len == 0 && fits) {
		m = member_of(s, name.at, name.len);
	} else if (fits) {
		memcpy(s->path + path_len, name.at, name.len);
		m = member_of(s, s->path, path_len + name.len);
	}
	s->place++;
	if (!take(s, ':'))
		return fail(s, "a colon");
	blanks(s);
	if (s->p < s->end && *s->p == '{') {
		if (fits) {
			memcpy(s->path + path_len, name.at, name.len);
			s->path[path_len + name.len] = '.';
			s->path_len = path_len + name.len + 1;
		} else {
			s->path_len = sizeof(s->path);
		}
	}
	ok = value(s, &text);
	s->path_len = path_len;
	if (m != NULL)
		m->text = text;
	return ok;
}

static bool
object(struct scan *s)
{
	s->p++;
	if (take(s, '}'))
		return true;
	do {
		if (!member(s))
			return false;
	} while (take(s, ','));
	return take(s, '}') || fail(s, "a comma or a brace");
}

/* Nothing in an array is wanted. */
static bool
array(struct scan *s)
{
	size_t path_len = s->path_len;
	struct log_text ignored;
	bool ok = true;

	s->p++;
	if (take(s, ']'))
		return true;
	s->path_len = sizeof(s->path);
	do
		ok = value(s, &ignored);
	while (ok && take(s, ','));
	s->path_len = path_len;
	return ok && (take(s, ']') || fail(s, "a comma or a bracket"));
}

static bool
value(struct scan *s, struct log_text *out)
{
	bool ok;

	blanks(s);
	*out = (struct log_text) { 0 };
	if (s->p >= s->end)
		return fail(s, "a value");
	switch (*s->p) {
	case '"':
		return string(s, out);
	case '{':
	case '[':
		if (++s->depth > DEPTH_MAX)
			return fail(s, "at most 32 objects and arrays in each other");
		ok = *s->p == '{' ? object(s) : array(s);
		s->depth--;
		return ok;
	case 't':
	case 'f':
	case 'n':
		return literal(s, out);
	default:
		return number(s, out);
	}
}

const char *
log_json(struct log_reader *r, char *line, size_t len)
{
	struct scan s = { .r = r, .p = line, .end = line + len };
	struct log_text ignored;

	for (unsigned i = 0; i < r->nmembers; i++)
		r->members[i].text = (struct log_text) { 0 };
	blanks(&s);
	if (s.p >= s.end || *s.p != '{')
		return "a JSON object";
	if (!value(&s, &ignored))
		return s.expected;
	blanks(&s);
	return s.p == s.end ? NULL : "nothing behind the object";
}
