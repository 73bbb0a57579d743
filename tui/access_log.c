#include "access_log.h"

#include <string.h>

/* Fields; those up to F_MEMBER are of both formats. */
enum field {
	F_ADDR,
	F_USER,
	F_METHOD,
	F_PATH,
	F_QUERY,
	F_ARG,
	F_MEMBER, /* JSON: of any name */
	F_IDENT,
	F_PROTOCOL,
	F_STATUS,
	F_BYTES,
	F_REFERER,
	F_AGENT,
	FIELDS,
};
static const char *const field_names[FIELDS] = { "addr", "user", "method", "path", "query", "arg.",
	"", "ident", "protocol", "status", "bytes", "referer", "agent" };

/* JSON: names that are tried, the first of each first. */
enum {
	M_TIME = 0,
	M_METHOD = 6,
	M_PATH = 8,
	M_REQUEST = 12,
	M_ADDR = 13,
	M_USER = 17,
	M_END = 19,
};
static const char *const member_names[M_END] = { "time", "timestamp", "@timestamp", "time_iso8601",
	"ts", "msec", "method", "request_method", "path", "uri", "request_uri", "url", "request",
	"remote_addr", "client_ip", "ip", "addr", "user", "remote_user" };

/* ---- text ---- */

static int
hex_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int
hex_byte(const char *p, const char *end)
{
	int high = end - p >= 2 ? hex_of(p[0]) : -1, low = high >= 0 ? hex_of(p[1]) : -1;

	return low >= 0 ? high << 4 | low : -1;
}

/* What a backslash stands for; Apache knows C's letters. */
static char *
unescape(char *p, const char *end, char *to)
{
	static const char letters[] = "n\nr\rt\tv\vb\bf\fa\a";
	const char *l;
	int byte;

	if (*p == 'x' && (byte = hex_byte(p + 1, end)) >= 0) {
		*to = (char)byte;
		return p + 3;
	}
	for (l = letters; *l != '\0' && *l != *p; l += 2)
		;
	*to = *l != '\0' ? l[1] : *p;
	return p + 1;
}

char *
log_unquote(char *p, const char *end, struct log_text *out)
{
	char *to = p;

	out->at = p;
	while (p < end && *p != '"' && *p != '\\')
		p++;
	to = p;
	while (p < end && *p != '"') {
		if (*p != '\\') {
			*to++ = *p++;
			continue;
		}
		if (++p == end)
			return NULL;
		p = unescape(p, end, to++);
	}
	if (p >= end)
		return NULL;
	out->len = (size_t)(to - out->at);
	*to = '\0';
	return p + 1;
}

bool
log_argument(struct log_text query, const char *name, char *buf, size_t size, struct log_text *out)
{
	const char *p = query.at, *end;
	size_t n = strlen(name);

	if (p == NULL)
		return false;
	end = p + query.len;
	for (const char *next; p < end; p = next) {
		const char *stop = memchr(p, '&', (size_t)(end - p));

		stop = stop != NULL ? stop : end;
		next = stop + 1;
		if ((size_t)(stop - p) <= n || p[n] != '=' || memcmp(p, name, n) != 0)
			continue;
		*out = (struct log_text) { buf, 0 };
		for (p += n + 1; p < stop && out->len < size;) {
			int byte = *p == '%' ? hex_byte(p + 1, stop) : -1;

			buf[out->len++] = byte >= 0 ? (char)byte : *p == '+' ? ' ' : *p;
			p += byte >= 0 ? 3 : 1;
		}
		return out->len != 0;
	}
	return false;
}

/* "" and "-" say that there is none. */
static struct log_text
some(struct log_text t)
{
	if (t.len == 0 || (t.len == 1 && t.at[0] == '-'))
		return (struct log_text) { 0 };
	return t;
}

/*
 * "GET /x?y HTTP/1.1", which has an end.  What is no request (a handshake on the wrong port) is
 * none: servers answer it themselves.
 */
static void
cut_request(struct log_text t, struct log_line *out, struct log_text *protocol)
{
	char *end = t.at + t.len, *path, *rest;

	if (t.len == 0 || (path = memchr(t.at, ' ', t.len)) == NULL || path == t.at)
		return;
	for (const char *p = t.at; p < path; p++)
		if ((*p < 'A' || *p > 'Z') && (*p < 'a' || *p > 'z') && *p != '-' && *p != '_')
			return;
	out->method = (struct log_text) { t.at, (size_t)(path - t.at) };
	*path++ = '\0';
	rest = memrchr(path, ' ', (size_t)(end - path));
	if (rest != NULL && end - rest > 5 && memcmp(rest + 1, "HTTP/", 5) == 0) {
		*protocol = (struct log_text) { rest + 1, (size_t)(end - rest - 1) };
		*rest = '\0';
		end = rest;
	}
	out->path = (struct log_text) { path, (size_t)(end - path) };
}

/* Both or none; of "http://host/x", as a proxy is asked, the host is not part of the path. */
static void
check_request(struct log_line *out)
{
	struct log_text *p = &out->path;
	char *host = p->len > 0 && *p->at != '/' ? memmem(p->at, p->len, "://", 3) : NULL;

	if (host != NULL) {
		char *end = p->at + p->len, *slash;

		slash = memchr(host + 3, '/', (size_t)(end - host - 3));
		p->len = slash != NULL ? (size_t)(end - slash) : 0;
		p->at = slash;
	}
	if (out->method.len == 0 || p->len == 0 || memchr(p->at, '\0', p->len) != NULL ||
	    memchr(out->method.at, '\0', out->method.len) != NULL)
		out->method = out->path = (struct log_text) { 0 };
}

/* ---- fields ---- */

enum log_format
log_guess(const char *line, size_t len)
{
	while (len > 0 && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	return len > 0 && *line == '{' ? LOG_JSON : LOG_COMBINED;
}

void
log_reader_init(struct log_reader *r, enum log_format format)
{
	memset(r, 0, sizeof(*r));
	r->format = format;
	for (unsigned i = 0; i < M_END; i++) {
		struct log_member *m = &r->members[i];

		m->len = strlen(member_names[i]);
		memcpy(m->name, member_names[i], m->len + 1);
	}
	r->nmembers = M_END;
}

static int
field_of(enum log_format format, const char *name)
{
	if (strncmp(name, "arg.", 4) == 0 && name[4] != '\0')
		return F_ARG;
	for (int i = 0; i < (format == LOG_JSON ? F_ARG : FIELDS); i++)
		if (i != F_ARG && i != F_MEMBER && strcmp(name, field_names[i]) == 0)
			return i;
	return format == LOG_JSON && *name != '\0' ? F_MEMBER : -1;
}

int
log_reader_want(struct log_reader *r, const char *field)
{
	struct log_want *w = &r->wants[r->nwants];
	int f = field_of(r->format, field);
	size_t n = strlen(field);

	if (f < 0 || n > LOG_NAME_MAX || r->nwants == LOG_WANTS_MAX)
		return -1;
	w->field = f;
	memcpy(w->name, f == F_ARG ? field + 4 : field, (f == F_ARG ? n - 4 : n) + 1);
	if (f == F_MEMBER) {
		for (w->member = 0; w->member < r->nmembers; w->member++)
			if (strcmp(r->members[w->member].name, field) == 0)
				return (int)r->nwants++;
		r->members[r->nmembers].len = n;
		memcpy(r->members[r->nmembers++].name, field, n + 1);
	}
	return (int)r->nwants++;
}

const char *
log_field_names(enum log_format format)
{
	return format == LOG_JSON
	    ? "addr, user, method, path, query, arg.NAME or a member of the object"
	    : "addr, ident, user, method, path, query, arg.NAME, protocol, status, bytes, referer "
	      "or agent";
}

/* The wants, out of what both formats have and the fields of one. */
static void
fill_wants(struct log_reader *r, struct log_line *out, const struct log_text fields[FIELDS])
{
	struct log_text path = out->path, query = { 0 };

	if (path.len != 0) {
		char *mark = memchr(path.at, '?', path.len);

		if (mark != NULL) {
			query.at = mark + 1;
			query.len = (size_t)(path.at + path.len - query.at);
			path.len = (size_t)(mark - path.at);
		}
	}
	for (unsigned i = 0; i < r->nwants; i++) {
		const struct log_want *w = &r->wants[i];
		struct log_text *to = &out->wants[i];

		*to = (struct log_text) { 0 };
		switch (w->field) {
		case F_METHOD:
			*to = out->method;
			break;
		case F_PATH:
			*to = path;
			break;
		case F_QUERY:
			*to = query;
			break;
		case F_ARG:
			if (!log_argument(query, w->name, r->arguments[i], LOG_ARGUMENT_MAX, to))
				*to = (struct log_text) { 0 };
			break;
		case F_MEMBER:
			*to = some(r->members[w->member].text);
			break;
		default:
			*to = some(fields[w->field]);
		}
	}
}

/* ---- combined ---- */

/* A word and the blank behind it. */
static char *
word(char *p, const char *end, struct log_text *out)
{
	char *blank = p < end ? memchr(p, ' ', (size_t)(end - p)) : NULL;

	if (blank == NULL || blank == p)
		return NULL;
	*out = (struct log_text) { p, (size_t)(blank - p) };
	return blank + 1;
}

/* Up to a blank or the end. */
static char *
last_word(char *p, char *end, struct log_text *out)
{
	char *blank = p < end ? memchr(p, ' ', (size_t)(end - p)) : NULL;

	out->at = p;
	out->len = (size_t)((blank != NULL ? blank : end) - p);
	return blank != NULL ? blank + 1 : end;
}

/* The user, and the time behind him: a name may hold blanks and brackets, but no quote. */
static char *
user_and_time(
    struct log_reader *r, char *p, const char *end, struct log_text *user, int64_t *unix_ns)
{
	char *b = p;

	for (;; b++) {
		b = b < end ? memchr(b, '[', (size_t)(end - b)) : NULL;
		if (b == NULL || end - b < 30)
			return NULL;
		if (b > p && b[-1] == ' ' && b[27] == ']' && b[28] == ' ' && b[29] == '"' &&
		    log_time_again(r, b + 1, unix_ns))
			break;
		if (memchr(p, '"', (size_t)(b - p)) != NULL)
			return NULL;
	}
	*user = (struct log_text) { p, (size_t)(b - p - 1) };
	return b + 30;
}

static bool
is_status(struct log_text t)
{
	for (size_t i = 0; i < t.len; i++)
		if (t.at[i] < '0' || t.at[i] > '9')
			return false;
	return t.len == 3;
}

static const char *
parse_combined(struct log_reader *r, char *line, size_t len, struct log_line *out)
{
	struct log_text fields[FIELDS] = { { 0 } }, request;
	char *p = line, *end = line + len;

	p = word(p, end, &fields[F_ADDR]);
	p = p != NULL ? word(p, end, &fields[F_IDENT]) : NULL;
	if (p == NULL)
		return "an address, an identity and a user, with blanks between";
	p = user_and_time(r, p, end, &fields[F_USER], &out->unix_ns);
	if (p == NULL)
		return "a time as [10/Oct/2026:13:55:36 +0200] and a quote";
	p = log_unquote(p, end, &request);
	if (p == NULL || p >= end || *p++ != ' ')
		return "the request's end: a quote and a blank";
	p = last_word(p, end, &fields[F_STATUS]);
	if (!is_status(fields[F_STATUS]) || p >= end)
		return "a status of three digits, and a number of bytes";
	p = last_word(p, end, &fields[F_BYTES]);
	for (unsigned i = 0; i < 2 && p < end; i++) {
		if (*p != '"' || (p = log_unquote(p + 1, end, &fields[F_REFERER + i])) == NULL ||
		    (p < end && *p++ != ' '))
			return "referer and agent in quotes, or nothing more";
	}
	cut_request(request, out, &fields[F_PROTOCOL]);
	check_request(out);
	fill_wants(r, out, fields);
	return NULL;
}

/* ---- JSON ---- */

/* What was no string has no end of its own. */
static struct log_text
only_string(struct log_text t)
{
	return t.len != 0 && t.at[t.len] == '\0' ? t : (struct log_text) { 0 };
}

/* The first of these members that the line has. */
static struct log_text
first_of(const struct log_reader *r, unsigned from, unsigned to)
{
	struct log_text t = { 0 };

	for (unsigned i = from; i < to && t.len == 0; i++)
		t = some(r->members[i].text);
	return t;
}

static const char *
parse_json(struct log_reader *r, char *line, size_t len, struct log_line *out)
{
	struct log_text fields[FIELDS] = { { 0 } }, protocol, t;
	const char *expected = log_json(r, line, len);
	bool timed = false;

	if (expected != NULL)
		return expected;
	for (unsigned i = M_TIME; i < M_METHOD && !timed; i++) {
		t = r->members[i].text;
		timed = t.len == 26 && log_time_again(r, t.at, &out->unix_ns);
		timed = timed || (t.len != 0 && log_time(t.at, t.len, &out->unix_ns));
	}
	if (!timed)
		return "a time: time, timestamp, @timestamp, time_iso8601, ts or msec";
	out->method = only_string(first_of(r, M_METHOD, M_PATH));
	out->path = only_string(first_of(r, M_PATH, M_REQUEST));
	t = only_string(r->members[M_REQUEST].text);
	if ((out->method.len == 0 || out->path.len == 0) && t.len != 0) {
		out->method = out->path = (struct log_text) { 0 };
		cut_request(t, out, &protocol);
	}
	check_request(out);
	fields[F_ADDR] = first_of(r, M_ADDR, M_USER);
	fields[F_USER] = first_of(r, M_USER, M_END);
	fill_wants(r, out, fields);
	return NULL;
}

const char *
log_parse(struct log_reader *r, char *line, size_t len, struct log_line *out)
{
	out->method = out->path = (struct log_text) { 0 };
	return (r->format == LOG_JSON ? parse_json : parse_combined)(r, line, len, out);
}
