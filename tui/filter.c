/*
 * filter.c - filter expressions: parsed once, matched a million times.
 *
 * An expression is alternatives of terms that all must hold.  Three-valued
 * matching (yes, no, needs more) lets a scan refuse most keys before it reads
 * all of them.
 *
 * The text may come from anywhere (the fuzzer's included), so everything is bounded:
 * length, terms, and the regexes: glibc's compiler multiplies repetitions out (x++++
 * doubles four times), and its back-references are exponential.
 */
#include "filter.h"

#include <ctype.h>
#include <math.h>
#include <regex.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rate.h"

enum op { OP_CONTAINS, OP_EQUAL, OP_REGEX, OP_ABOVE, OP_ATLEAST, OP_BELOW, OP_ATMOST };

struct term {
	enum column col;
	enum op op;
	bool not ;
	bool fold;  /* compare without case */
	bool first; /* begins an alternative */
	bool has_regex;
	double number;
	char *text;
	regex_t regex;
};

struct filter {
	struct term terms[FILTER_TERMS];
	unsigned nterms;
	enum need need;
};

/* Where the parser stands. */
struct parse {
	const char *start;
	const char *at;
	char *err;
	size_t errsize;
};

static int mistake(struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int
mistake(struct parse *p, const char *fmt, ...)
{
	va_list ap;
	size_t n = (size_t)snprintf(
	    p->err, p->errsize, "filter, column %zu: ", (size_t)(p->at - p->start) + 1);

	if (n < p->errsize) {
		va_start(ap, fmt);
		vsnprintf(p->err + n, p->errsize - n, fmt, ap);
		va_end(ap);
	}
	return -1;
}

static bool
blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/*
 * The text of a term from p->at on: quoted, or up to a blank (and, unless it is a
 * regex, a bar).  Returned copy is the caller's; NULL: a mistake.
 */
static char *
take_text(struct parse *p, bool regex)
{
	const char *from = p->at, *end;
	char *out;

	if (*from == '"') {
		end = strchr(++from, '"');
		if (!end) {
			mistake(p, "\" without its partner, expected \"text\"");
			return NULL;
		}
		p->at = end + 1;
		if (*p->at && !blank(*p->at) && *p->at != '|') {
			mistake(p, "text after the closing \", expected a blank or |");
			return NULL;
		}
	} else {
		for (end = from; *end && !blank(*end) && (regex || *end != '|'); end++)
			;
		p->at = end;
	}
	if (end == from) {
		mistake(p, "nothing to compare with, expected a text or number");
		return NULL;
	}
	out = strndup(from, (size_t)(end - from));
	if (!out)
		mistake(p, "out of memory");
	return out;
}

static bool
has_upper(const char *s)
{
	for (; *s; s++)
		if (isupper((unsigned char)*s))
			return true;
	return false;
}

#define REGEX_COPIES 65536u /* nodes that repetitions may be multiplied out to */

/* What glibc's regcomp() or regexec() could be made to suffer from; NULL: nothing. */
static const char *
regex_danger(const char *s)
{
	size_t len = strlen(s), copies = len;
	unsigned parens = 0;

	if (len > 200)
		return "regex is longer than 200 bytes";
	for (; *s; s++) {
		if (*s == '\\') {
			if (s[1] >= '1' && s[1] <= '9')
				return "back-references are not supported";
			if (s[1])
				s++;
		} else if (*s == '+') {
			copies *= 2; /* x+ is kept as xx* */
		} else if (*s == '{') {
			unsigned long from = strtoul(s + 1, NULL, 10);
			const char *comma = s + 1 + strspn(s + 1, "0123456789");
			unsigned long to = *comma == ',' ? strtoul(comma + 1, NULL, 10) : 0;

			if (from > 255 || to > 255)
				return "repetitions above 255 are not supported";
			copies *= 1 + (from > to ? from : to);
		} else if (*s == '(' && ++parens > 16) {
			return "more than 16 groups in a regex are not supported";
		}
		if (copies > REGEX_COPIES)
			return "regex repeats too much, expected fewer + and {n,m}";
	}
	return NULL;
}

static int
term_regex(struct parse *p, struct term *t)
{
	const char *danger = regex_danger(t->text);
	int rc;

	if (danger)
		return mistake(p, "%s", danger);
	rc = regcomp(&t->regex, t->text, REG_EXTENDED | REG_NOSUB | (t->fold ? REG_ICASE : 0));
	if (rc) {
		char why[128];

		regerror(rc, &t->regex, why, sizeof(why));
		return mistake(p, "regex: %s, expected a POSIX extended regular expression", why);
	}
	t->has_regex = true;
	return 0;
}

/* Numbers: 2.5k, 80%, 1.5; times: 90, 1m, 2h30m. */
static int
term_number(struct parse *p, struct term *t)
{
	bool time = t->col == COL_RESET || t->col == COL_RETRY || t->col == COL_LAST;
	size_t len = strlen(t->text);
	char err[128], *end;
	uint64_t n;
	double v = strtod(t->text, &end);

	if (isdigit((unsigned char)t->text[0]) && strspn(t->text, "0123456789.") == len && !*end) {
		t->number = v;
		return 0;
	}
	if (t->col == COL_USE && len > 1 && strspn(t->text, "0123456789.") == len - 1 &&
	    t->text[len - 1] == '%' && end == t->text + len - 1) {
		t->number = v;
		return 0;
	}
	if (time && duration_parse(t->text, &n, err, sizeof(err)) == 0) {
		t->number = (double)n / 1e9;
		return 0;
	}
	if (!time && quantity_parse(t->text, &n, err, sizeof(err)) == 0) {
		t->number = (double)n;
		return 0;
	}
	return mistake(p, "column %s: \"%s\" is no %s", columns[t->col].name, t->text,
	    time ? "time such as 90 or 1h30m" : "number such as 80 or 2.5k");
}

/* A column's name and an operator at p->at?  Else it is a word. */
static int
take_column(struct parse *p, struct term *t)
{
	size_t n = strcspn(p->at, ":=<> \t\r\n|\"~!");
	char op = p->at[n];
	bool compares = op == '<' || op == '>';
	enum column c;

	t->col = COL_KEY;
	t->op = OP_CONTAINS;
	if (n == 0 || (op != ':' && op != '=' && !compares))
		return 0;
	c = column_find(p->at, n);
	if (c == COL_COUNT && !compares)
		return 0;
	if (c == COL_COUNT)
		return mistake(p,
		    "no column \"%.*s\", expected one of key, limit, used, use, left, "
		    "allow, deny, denied, reset, plan, ... before %c",
		    (int)(n > 40 ? 40 : n), p->at, op);
	if (compares && !columns[c].numeric)
		return mistake(p, "column %s is text, expected %s:text or %s=text", columns[c].name,
		    columns[c].name, columns[c].name);
	t->col = c;
	p->at += n + 1;
	t->op = op == '=' ? OP_EQUAL : op == '>' ? OP_ABOVE : op == '<' ? OP_BELOW : OP_CONTAINS;
	if (compares && *p->at == '=') {
		t->op = op == '>' ? OP_ATLEAST : OP_ATMOST;
		p->at++;
	}
	return 0;
}

static int
take_term(struct parse *p, struct filter *f, bool first)
{
	struct term *t;

	if (f->nterms == FILTER_TERMS)
		return mistake(p, "more than %u terms", FILTER_TERMS);
	t = &f->terms[f->nterms++];
	t->first = first;
	for (; *p->at == '!'; p->at++)
		t->not = !t->not ;
	if (take_column(p, t))
		return -1;
	if (*p->at == '~' && t->op == OP_CONTAINS) {
		p->at++;
		t->op = OP_REGEX;
	}
	t->text = take_text(p, t->op == OP_REGEX);
	if (!t->text)
		return -1;
	t->fold = !has_upper(t->text);
	if (columns[t->col].need > f->need)
		f->need = columns[t->col].need;
	if (t->op == OP_REGEX)
		return term_regex(p, t);
	return columns[t->col].numeric ? term_number(p, t) : 0;
}

struct filter *
filter_parse(const char *text, char *err, size_t errsize)
{
	struct parse p = { text, text, err, errsize };
	struct filter *f = calloc(1, sizeof(*f));
	bool first = true;

	if (!f) {
		mistake(&p, "out of memory");
		return NULL;
	}
	if (strlen(text) > FILTER_MAX) {
		mistake(&p, "longer than %u bytes", FILTER_MAX);
		goto fail;
	}
	for (;;) {
		while (blank(*p.at))
			p.at++;
		if (!*p.at)
			break;
		if (*p.at == '|') {
			if (first) {
				mistake(&p, "| without a term before it");
				goto fail;
			}
			first = true;
			p.at++;
			continue;
		}
		if (take_term(&p, f, first))
			goto fail;
		first = false;
	}
	if (first && f->nterms > 0) {
		mistake(&p, "| without a term after it");
		goto fail;
	}
	return f;
fail:
	filter_free(f);
	return NULL;
}

void
filter_free(struct filter *f)
{
	if (!f)
		return;
	for (unsigned i = 0; i < f->nterms; i++) {
		if (f->terms[i].has_regex)
			regfree(&f->terms[i].regex);
		free(f->terms[i].text);
	}
	free(f);
}

enum need
filter_need(const struct filter *f)
{
	return f->need;
}

static bool
match_number(const struct term *t, double v)
{
	if (isnan(v))
		return false;
	switch (t->op) {
	case OP_ABOVE:
		return v > t->number;
	case OP_ATLEAST:
		return v >= t->number;
	case OP_BELOW:
		return v < t->number;
	case OP_ATMOST:
		return v <= t->number;
	case OP_EQUAL:
		return v == t->number;
	default:
		return fabs(v - t->number) <= 0.5;
	}
}

static bool
match_text(const struct term *t, const char *s)
{
	if (t->op == OP_REGEX)
		return regexec(&t->regex, s, 0, NULL, 0) == 0;
	if (t->op == OP_EQUAL)
		return strcmp(s, t->text) == 0;
	return (t->fold ? strcasestr(s, t->text) : strstr(s, t->text)) != NULL;
}

static bool
match_term(const struct term *t, const struct model_row *r)
{
	char buf[KEY_TEXT_MAX];

	if (columns[t->col].numeric && t->op != OP_REGEX)
		return match_number(t, column_number(r, t->col)) != t->not ;
	column_raw(r, t->col, buf, sizeof(buf));
	return match_text(t, buf) != t->not ;
}

int
filter_match_early(const struct filter *f, const struct model_row *r, enum need have)
{
	bool unknown = false;
	int sofar = 0;

	if (f->nterms == 0)
		return 1;
	for (unsigned i = 0; i < f->nterms; i++) {
		const struct term *t = &f->terms[i];

		if (t->first) {
			if (sofar == 1)
				return 1;
			unknown |= sofar == -1;
			sofar = 1;
		}
		if (sofar == 0)
			continue;
		if (columns[t->col].need > have)
			sofar = -1;
		else if (!match_term(t, r))
			sofar = 0;
	}
	return sofar == 1 ? 1 : sofar == -1 || unknown ? -1 : 0;
}

bool
filter_match(const struct filter *f, const struct model_row *r)
{
	return filter_match_early(f, r, NEED_ROW) == 1;
}
