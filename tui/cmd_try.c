/*
 * cmd_try.c - what a policy would have done: the requests of an access log, replayed.
 *
 * rationd compiles the policy and makes a segment of its own for it (scratch.h), twice: small at
 * first, which finds the policy's mistakes before a log of gigabytes is read and tells how large a
 * key is; then around the time of the log's first line, with as much room for keys as the log can
 * need and the budget allows.  Everything else is reading (access_log.h) and deciding
 * (replay.h), a line at a time: what is kept does not grow with the log.
 */
#include "try.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "progress.h"
#include "scratch.h"

#define SEGMENT_MOST (UINT64_C(400) << 20)
#define KEYS_FEWEST UINT64_C(1024)
#define LINE_SHORTEST UINT64_C(40) /* bytes */
#define LOOK_EVERY 4096u           /* lines between two looks at clock and signals */
#define NS_S INT64_C(1000000000)

/* ---- attributes ---- */

/* "key=arg.api_key": attribute and field.  The same name again replaces what it was. */
static int
add_attr(struct try_log *t, const char *name, size_t n, const char *field)
{
	unsigned i = 0;

	while (i < t->nattrs && (strncmp(t->attrs[i].name, name, n) != 0 || t->attrs[i].name[n]))
		i++;
	if (i == REPLAY_ATTRS_MAX || strlen(field) > LOG_NAME_MAX)
		return EXIT_USAGE;
	snprintf(t->attrs[i].name, sizeof(t->attrs[i].name), "%.*s", (int)n, name);
	snprintf(t->fields[i], sizeof(t->fields[i]), "%s", field);
	t->nattrs += i == t->nattrs;
	return EXIT_OK;
}

static int
read_attrs(struct try_log *t, const struct args *a)
{
	(void)add_attr(t, "ip", 2, "addr");
	(void)add_attr(t, "key", 3, "user");
	for (int i = 0; i < a->nattrs; i++) {
		const char *text = i < (int)RATION_ATTRS_MAX ? a->attrs[i] : "",
			   *equals = strchr(text, '=');
		size_t n = equals ? (size_t)(equals - text) : 0;

		if (n == 0 || n > RATION_NAME_MAX || equals[1] == '\0' ||
		    add_attr(t, text, n, equals + 1) != EXIT_OK) {
			complain("try: --attr: found \"%s\", expected NAME=FIELD, an attribute of "
				 "the policy's routes and limits and a field of the log, at most "
				 "%u times, e.g. key=arg.api_key",
			    text, RATION_ATTRS_MAX);
			return EXIT_USAGE;
		}
	}
	return EXIT_OK;
}

/* The reader is asked for each attribute's field; "cost" is none, it says how many units. */
static int
want_attrs(struct try_log *t)
{
	unsigned n = 0;

	t->cost = -1;
	for (unsigned i = 0; i < t->nattrs; i++) {
		int want = log_reader_want(&t->reader, t->fields[i]);

		if (want < 0) {
			complain("try: --attr %s=%s: found \"%s\", expected %s", t->attrs[i].name,
			    t->fields[i], t->fields[i], log_field_names(t->reader.format));
			return EXIT_USAGE;
		}
		if (strcmp(t->attrs[i].name, "cost") == 0) {
			t->cost = want;
			snprintf(t->cost_field, sizeof(t->cost_field), "%s", t->fields[i]);
			continue;
		}
		t->attrs[i].want = want;
		t->attrs[n] = t->attrs[i];
		if (n != i)
			memcpy(t->fields[n], t->fields[i], sizeof(t->fields[n]));
		n++;
	}
	t->nattrs = n;
	return EXIT_OK;
}

/* ---- the segment ---- */

/*
 * As many keys as the file can have, if the budget and the file system have room for them.  Its
 * lines are taken to be half as long as the first.
 */
static uint64_t
keys_for(const struct try_log *t, const struct scratch *s)
{
	uint64_t budget = scratch_room(s) / 4 * 3, most, wanted = UINT64_MAX,
		 line = t->first_len / 2 > LINE_SHORTEST ? t->first_len / 2 : LINE_SHORTEST;

	budget = budget < SEGMENT_MOST ? budget : SEGMENT_MOST;
	most = budget / replay_key_bytes(&t->replay);
	if (t->in.size != 0)
		wanted = t->in.size / line * replay_claims(&t->replay);
	wanted = wanted > KEYS_FEWEST ? wanted : KEYS_FEWEST;
	return wanted < most ? wanted : most > KEYS_FEWEST ? most : KEYS_FEWEST;
}

static int
open_replay(struct try_log *t, const struct scratch *s)
{
	const char *wrong = replay_open(&t->replay, s->dir, t->attrs, t->nattrs);

	if (wrong == NULL)
		return EXIT_OK;
	complain("try: %s: %s", s->dir, wrong);
	return EXIT_SERVICE;
}

/* For the log's first line.  *until_s: how far its calendar reaches. */
static int
make_large(struct try_log *t, struct scratch *s, int64_t at_s, int64_t *until_s)
{
	uint64_t keys = keys_for(t, s);
	int code;

	replay_close(&t->replay);
	scratch_clear(s);
	code = scratch_make(s, at_s, keys);
	*until_s = at_s + REPLAY_REACH_S;
	return code != EXIT_OK ? code : open_replay(t, s);
}

/* ---- lines ---- */

static void
malformed(struct try_log *t, const char *start, const char *expected)
{
	struct try_mistake *m;

	if (++t->malformed > TRY_SHOWN)
		return;
	m = &t->mistakes[t->nmistakes++];
	m->line = t->lines;
	m->expected = expected;
	snprintf(m->text, sizeof(m->text), "%s", start);
}

/* Units of a line: rounded up; 0 where no figure stands. */
static uint64_t
cost_of(struct try_log *t, const struct log_line *l)
{
	const struct log_text *f;
	uint64_t cost = 0;
	size_t i = 0;

	if (t->cost < 0)
		return 1;
	f = &l->wants[t->cost];
	for (; i < f->len && f->at[i] >= '0' && f->at[i] <= '9' && cost < RATION_COST_MAX; i++)
		cost = cost * 10 + (uint64_t)(f->at[i] - '0');
	if (i == 0 || (i < f->len && f->at[i] != '.' && cost < RATION_COST_MAX)) {
		t->costless++;
		return 0;
	}
	cost += i < f->len && f->at[i] == '.' && strspn(f->at + i + 1, "0") < f->len - i - 1;
	return cost < RATION_COST_MAX ? cost : RATION_COST_MAX;
}

/* A line that was understood.  EXIT_OK, or an exit code. */
static int
one_line(struct try_log *t, struct scratch *s, const struct log_line *l, int64_t *until_s)
{
	int64_t now_s = l->unix_ns / NS_S;
	int code = EXIT_OK;

	if (t->from_ns == INT64_MAX)
		code = make_large(t, s, now_s, until_s);
	else if (now_s >= *until_s) {
		code = scratch_make(s, now_s, 0);
		*until_s = now_s + REPLAY_REACH_S;
	}
	if (code != EXIT_OK)
		return code;
	t->from_ns = l->unix_ns < t->from_ns ? l->unix_ns : t->from_ns;
	t->to_ns = l->unix_ns > t->to_ns ? l->unix_ns : t->to_ns;
	if (l->method.at == NULL && (t->replay.routed || t->reader.format == LOG_COMBINED)) {
		t->no_request++;
		return EXIT_OK;
	}
	replay_call(&t->replay, l, cost_of(t, l), t->lines);
	return EXIT_OK;
}

static int
read_lines(struct try_log *t, struct scratch *s)
{
	struct progress progress;
	struct log_line l;
	char start[sizeof(t->mistakes[0].text)];
	int64_t until_s = 0;
	int code = EXIT_OK, error = 0;
	size_t len;
	char *line;

	progress_start(&progress, t->in.size);
	while (code == EXIT_OK && (line = log_input_line(&t->in, &len, &error)) != NULL) {
		const char *expected;

		t->lines++;
		if (t->lines % LOOK_EVERY == 0) {
			if (scratch_signal != 0)
				break;
			progress_at(&progress, t->in.bytes, t->lines);
		}
		if (len > LOG_LINE_MAX) {
			malformed(t, "", "a line of at most 65,536 bytes");
			continue;
		}
		/* Parsing writes over it. */
		if (t->nmistakes < TRY_SHOWN) {
			size_t n = len < sizeof(start) - 1 ? len : sizeof(start) - 1;

			memcpy(start, line, n);
			start[n] = '\0';
		}
		expected = log_parse(&t->reader, line, len, &l);
		if (expected != NULL)
			malformed(t, start, expected);
		else
			code = one_line(t, s, &l, &until_s);
	}
	progress_end(&progress);
	if (code == EXIT_OK && error != 0 && scratch_signal == 0) {
		complain("try: %s: %s", t->path, strerror(error));
		code = EXIT_REFUSED;
	}
	return code;
}

/* ---- the command ---- */

static int
read_format(struct try_log *t, const char *name)
{
	enum log_format format = LOG_GUESS;
	const char *line;
	size_t len;

	if (name && strcmp(name, "combined") == 0)
		format = LOG_COMBINED;
	else if (name && strcmp(name, "json") == 0)
		format = LOG_JSON;
	else if (name) {
		complain("try: --format: found \"%s\", expected combined or json", name);
		return EXIT_USAGE;
	}
	line = log_input_peek(&t->in, &len);
	if (line == NULL && scratch_signal == 0) {
		complain("try: %s: no line in it", t->path);
		return EXIT_REFUSED;
	}
	t->first_len = len;
	if (format == LOG_GUESS && line != NULL)
		format = log_guess(line, len);
	log_reader_init(&t->reader, format);
	return EXIT_OK;
}

static int
tell(struct try_log *t)
{
	try_print_mistakes(t);
	if (t->malformed > t->lines / 2) {
		complain("try: %s: %llu of %llu lines are not of this format: expected %s lines; "
			 "is it another --format?",
		    t->path, (unsigned long long)t->malformed, (unsigned long long)t->lines,
		    t->reader.format == LOG_JSON ? "JSON" : "combined");
		return EXIT_REFUSED;
	}
	(t->json ? try_print_json : try_print)(t);
	return EXIT_OK;
}

static int
try_log(struct try_log *t, struct scratch *s, const struct args *a)
{
	uint64_t start = mono_now();
	int code = read_format(t, a->opt[OPT_FORMAT]);

	if (code == EXIT_OK)
		code = want_attrs(t);
	if (code == EXIT_OK)
		code = scratch_make(s, (int64_t)time(NULL), KEYS_FEWEST);
	if (code != EXIT_OK)
		return code;
	code = open_replay(t, s);
	if (code == EXIT_OK)
		code = read_lines(t, s);
	if (code == EXIT_OK && scratch_signal == 0) {
		replay_finish(&t->replay);
		t->elapsed_ns = mono_now() - start;
		code = tell(t);
	}
	if (t->replay.r != NULL)
		replay_close(&t->replay);
	return code;
}

static int
read_top(const struct args *a, size_t *top)
{
	char *end = NULL;
	unsigned long n = a->opt[OPT_TOP] ? strtoul(a->opt[OPT_TOP], &end, 10) : TRY_TOP;

	if ((end && (*end || end == a->opt[OPT_TOP])) || n > TRY_TOP_MAX) {
		complain(
		    "try: --top: found \"%s\", expected 0 to %u", a->opt[OPT_TOP], TRY_TOP_MAX);
		return EXIT_USAGE;
	}
	*top = n;
	return EXIT_OK;
}

int
cmd_try(struct ctx *c, const struct args *a)
{
	struct try_log *t;
	struct scratch s;
	size_t top;
	int code;

	if (!a->opt[OPT_LOG] == !a->opt[OPT_HISTORY]) {
		complain("try: expected either --log FILE or --history");
		return EXIT_USAGE;
	}
	code = read_top(a, &top);
	if (code != EXIT_OK)
		return code;
	if (a->opt[OPT_HISTORY])
		return try_history(c, a, top);
	if (a->opt[OPT_LAST]) {
		complain("try: --last goes with --history");
		return EXIT_USAGE;
	}
	t = calloc(1, sizeof(*t));
	if (t == NULL) {
		complain("try: out of memory");
		return EXIT_SERVICE;
	}
	t->policy = a->pos[0];
	t->path = a->opt[OPT_LOG];
	t->json = c->json;
	t->from_ns = INT64_MAX;
	t->to_ns = INT64_MIN;
	t->top = top;
	code = read_attrs(t, a);
	if (code == EXIT_OK)
		code = scratch_open(&s, t->policy);
	if (code == EXIT_OK) {
		if (log_input_open(&t->in, t->path) != 0) {
			complain("try: %s: %s", t->path, strerror(errno));
			code = EXIT_USAGE;
		} else {
			code = try_log(t, &s, a);
			if (!log_input_close(&t->in) && code == EXIT_OK && scratch_signal == 0) {
				complain("try: %s: cannot be unpacked whole", t->path);
				code = EXIT_REFUSED;
			}
		}
		scratch_close(&s);
	}
	free(t);
	return code;
}
