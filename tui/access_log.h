/*
 * access_log.h - a line of an access log taken apart: combined (nginx, Apache) and JSON.
 *
 * Pure: a line in, its fields out, cut and unescaped where they stand; no memory is taken.  A
 * line is made by clients, whatever stands in its quotes, so nothing of it is believed: what does
 * not have the form is refused with a word on what was expected.
 *
 * Combined is
 *	ADDR IDENT USER [10/Oct/2026:13:55:36 +0200] "METHOD TARGET PROTOCOL" STATUS BYTES
 *	"REFERER" "AGENT"
 * and more fields behind that, which are ignored; the common format ends behind BYTES.  Quoted
 * text knows \", \\ and \xHH: servers write every quote and control character so.  A user's name
 * may hold blanks.
 *
 * JSON is an object a line, each member wanted by its name, inner ones as "outer.inner".
 */
#ifndef RATION_ACCESS_LOG_H
#define RATION_ACCESS_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_LINE_MAX 65536u /* bytes of a line, its end aside */
#define LOG_WANTS_MAX 20u   /* fields that can be asked for */
#define LOG_NAME_MAX 63u
#define LOG_ARGUMENT_MAX 256u /* a longer one is cut, and is too long for a key */

enum log_format { LOG_GUESS, LOG_COMBINED, LOG_JSON };

/* Where it stands in the line; at NULL: the line has none, "" and "-" are none too. */
struct log_text {
	char *at;
	size_t len;
};

/* Members of JSON lines that are looked for; several may stand for one field. */
#define LOG_MEMBERS_MAX (24u + LOG_WANTS_MAX)
struct log_member {
	char name[LOG_NAME_MAX + 1];
	size_t len;
	struct log_text text; /* of this line */
};

/* Who reads: what he wants, and what the last lines were like.  Made by log_reader_init(). */
struct log_reader {
	enum log_format format;
	unsigned nwants;
	struct log_want {
		int field;                   /* of a list in access_log.c */
		char name[LOG_NAME_MAX + 1]; /* arg.NAME: NAME */
		unsigned member;             /* JSON */
	} wants[LOG_WANTS_MAX];
	unsigned nmembers;
	struct log_member members[LOG_MEMBERS_MAX];
	/* Guesses, which save a search. */
	unsigned char order[64]; /* by place in the line: number of the member + 1 */
	char minute[32];         /* a time's text without its seconds, and when that was */
	size_t minute_len;
	int64_t minute_s;
	char arguments[LOG_WANTS_MAX][LOG_ARGUMENT_MAX]; /* of this line, by want */
};

struct log_line {
	int64_t unix_ns;
	struct log_text method; /* of both none: it has no request; else ended by a NUL */
	struct log_text path;   /* with its query */
	struct log_text wants[LOG_WANTS_MAX];
};

/* The format of a line, by its first byte that is no blank. */
enum log_format log_guess(const char *line, size_t len);
void log_reader_init(struct log_reader *r, enum log_format format);
/*
 * Ask for a field: its number in log_line.wants, or -1: the format knows none of this name.
 * Everywhere: addr, user, method, path (without its query), query, arg.NAME (of the query,
 * unescaped).  Combined: ident, protocol, status, bytes, referer, agent.  JSON: any member.
 */
int log_reader_want(struct log_reader *r, const char *field);
/* The names that log_reader_want() knows, for people. */
const char *log_field_names(enum log_format format);
/*
 * Take a line apart; it is written over: one byte behind len is the caller's to lose.  NULL: done.
 * Else what was expected.
 */
const char *log_parse(struct log_reader *r, char *line, size_t len, struct log_line *out);

/* ---- access_time.c ---- */

/*
 * "10/Oct/2026:13:55:36 +0200", "2026-10-10T13:55:36.5+02:00", or a number: seconds, also with
 * a fraction, ms, us or ns since 1970, told apart by their size.  1970 to 2262.
 */
bool log_time(const char *text, size_t len, int64_t *unix_ns);
/*
 * The first of these forms, 26 bytes: lines of one minute differ in two digits, so the reader
 * remembers the last.
 */
bool log_time_again(struct log_reader *r, const char *text, int64_t *unix_ns);
/* ---- parts of it ---- */

/* Quoted text up to its quote, unescaped in place; NULL: it has no end. */
char *log_unquote(char *p, const char *end, struct log_text *out);
/* An argument of a query, unescaped into buf, cut there. */
bool log_argument(
    struct log_text query, const char *name, char *buf, size_t size, struct log_text *out);

/* ---- access_json.c ---- */

/* Fill in r->members[].text.  NULL, or what was expected. */
const char *log_json(struct log_reader *r, char *line, size_t len);

#endif
