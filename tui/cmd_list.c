/*
 * cmd_list.c - keys with what they have used, straight from the read-only
 * mapping: no daemon is asked, and looking changes nothing.
 *
 * Rows are read and printed one by one; a list of a million keys holds 40 bytes a key.
 */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "filter.h"

static const enum column list_columns[] = { COL_KEY, COL_LIMIT, COL_USED, COL_USE, COL_LEFT,
	COL_DENIED, COL_RESET };
#define LIST_COLUMNS (sizeof(list_columns) / sizeof(list_columns[0]))

/* Width of the key: what 80 columns leave, or more on a wider terminal. */
static int
key_width(void)
{
	struct winsize w;
	int rest = 0;

	for (size_t i = 1; i < LIST_COLUMNS; i++)
		rest += columns[list_columns[i]].width + 1;
	if (!isatty(STDOUT_FILENO) || ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) || w.ws_col < 80)
		return 80 - rest;
	return w.ws_col - rest;
}

static void
print_header(int key)
{
	for (size_t i = 0; i < LIST_COLUMNS; i++) {
		const struct column_def *d = &columns[list_columns[i]];
		int width = list_columns[i] == COL_KEY ? key : d->width;

		printf("%s%*s", i ? " " : "",
		    d->numeric                 ? width
			: i + 1 < LIST_COLUMNS ? -width
					       : 0,
		    d->header);
	}
	putchar('\n');
}

/* On a terminal a long text is cut and says so; elsewhere it is whole, for programs. */
static void
cut(char *text, int width, bool terminal)
{
	if (terminal && width > 1 && strlen(text) > (size_t)width)
		memcpy(text + width - 1, "+", 2);
}

static void
print_row(struct ctx *c, const struct model_row *r, int key, bool terminal)
{
	double use = column_number(r, COL_USE);
	const char *color = !c->color ? NULL
	    : use >= 100              ? "\033[1;31m"
	    : use >= 80               ? "\033[33m"
				      : NULL;

	for (size_t i = 0; i < LIST_COLUMNS; i++) {
		const struct column_def *d = &columns[list_columns[i]];
		int width = list_columns[i] == COL_KEY ? key : d->width;
		char text[KEY_TEXT_MAX];

		column_text(r, list_columns[i], text, sizeof(text));
		if (!d->numeric)
			cut(text, width, terminal);
		if (color && list_columns[i] == COL_USE)
			printf(" %s%*s\033[0m", color, width, text);
		else
			printf("%s%*s", i ? " " : "", d->numeric ? width : -width, text);
	}
	putchar('\n');
}

static bool
csv_column(enum column c)
{
	return c != COL_ALLOW && c != COL_DENY && c != COL_LAST; /* one look knows no rates */
}

static void
print_csv(const struct model_row *r)
{
	char text[KEY_TEXT_MAX];

	for (enum column c = 0; c < COL_COUNT; c++) {
		if (!csv_column(c))
			continue;
		if (c)
			putchar(',');
		if (r)
			column_raw(r, c, text, sizeof(text));
		csv_field(stdout, r ? text : columns[c].name);
		if (c == COL_USED) { /* the limit's units stand beside it */
			const ration_rate_t *rate = r ? row_nearest(r) : NULL;
			uint64_t units = rate ? rate->limit_units : RATION_UNLIMITED;

			if (!r)
				fputs(",limit_units", stdout);
			else if (units == RATION_UNLIMITED)
				putchar(',');
			else
				printf(",%llu", (unsigned long long)units);
		}
	}
	putchar('\n');
}

static void
print_row_json(ration_t *r, const struct model_row *row, bool first)
{
	ration_decision_t d;
	char more[512], mode[16];
	json_t *plan = *row->plan ? json_string(row->plan) : json_null();
	json_t *env = *row->env ? json_string(row->env) : json_null();
	char *plan_text = json_dumps(plan, JSON_ENCODE_ANY),
	     *env_text = json_dumps(env, JSON_ENCODE_ANY);

	model_decision(row, &d);
	column_raw(row, COL_MODE, mode, sizeof(mode));
	snprintf(more, sizeof(more),
	    "\"plan\":%s,\"environment\":%s,\"mode\":\"%s\",\"admitted_total\":%llu,\"denied_"
	    "total\":%llu",
	    plan_text ? plan_text : "null", env_text ? env_text : "null", mode,
	    (unsigned long long)row->row.admitted, (unsigned long long)row->row.denied);
	fputs(first ? "" : ",\n", stdout);
	print_decision_json(r, &d, row->row.key, row->row.key_len, more);
	free(plan_text);
	free(env_text);
	json_decref(plan);
	json_decref(env);
}

static void
print_list(struct ctx *c, const struct model *m, const struct args *a, ration_t *r)
{
	uint64_t now = ctx_now(c);
	int key = key_width();
	bool terminal = isatty(STDOUT_FILENO), first = true;
	struct model_row row;

	if (r)
		putchar('[');
	else if (a->opt[OPT_CSV])
		print_csv(NULL);
	else
		print_header(key);
	for (size_t i = 0; i < m->nentries; i++) {
		if (!model_row(m, i, now, &row))
			continue; /* recycled meanwhile */
		if (r)
			print_row_json(r, &row, first);
		else if (a->opt[OPT_CSV])
			print_csv(&row);
		else
			print_row(c, &row, key, terminal);
		first = false;
	}
	if (r)
		puts("]");
}

static int
list_options(struct ctx *c, const struct args *a, struct model *m, struct filter **f)
{
	struct policy_ref p;
	char err[256], *end;

	if (a->opt[OPT_SORT] &&
	    (m->sort = column_find(a->opt[OPT_SORT], strlen(a->opt[OPT_SORT]))) == COL_COUNT) {
		complain(
		    "list: --sort %s: no such column; columns are listed by: ration list --help",
		    a->opt[OPT_SORT]);
		return EXIT_USAGE;
	}
	if (m->sort == COL_ALLOW || m->sort == COL_DENY || m->sort == COL_LAST) {
		complain("list: --sort %s: known only while watching; use: ration top",
		    columns[m->sort].name);
		return EXIT_USAGE;
	}
	m->invert = a->opt[OPT_INVERT] != NULL;
	m->want = SIZE_MAX;
	if (a->opt[OPT_TOP]) {
		unsigned long long n;

		errno = 0;
		n = strtoull(a->opt[OPT_TOP], &end, 10);
		if (errno || end == a->opt[OPT_TOP] || *end || a->opt[OPT_TOP][0] == '-' ||
		    n == 0) {
			complain("list: --top %s: expected a number from 1 on", a->opt[OPT_TOP]);
			return EXIT_USAGE;
		}
		m->want = n;
	}
	if (a->opt[OPT_FILTER] && !(*f = filter_parse(a->opt[OPT_FILTER], err, sizeof(err)))) {
		complain("list: %s", err);
		return EXIT_USAGE;
	}
	m->filter = *f;
	if (a->npos == 0)
		return EXIT_OK;
	m->limit_id = policy_current(c->seg.policy, &p)
	    ? policy_limit_id(&p, a->pos[0], strlen(a->pos[0]))
	    : -1;
	if (m->limit_id >= 0)
		return EXIT_OK;
	complain("list: %s: no such limit; ration status lists them", a->pos[0]);
	return EXIT_REFUSED;
}

int
cmd_list(struct ctx *c, const struct args *a)
{
	struct filter *filter = NULL;
	ration_t *r = NULL;
	struct model m;
	int code = ctx_attach(c);

	if (code)
		return code;
	if (model_init(&m, &c->seg, false)) {
		complain("list: out of memory");
		return EXIT_SERVICE;
	}
	code = list_options(c, a, &m, &filter);
	if (code == EXIT_OK && c->json)
		r = open_library(c, &code);
	if (code == EXIT_OK && !model_refresh(&m, ctx_now(c), mono_now(), true)) {
		complain("list: the policy is not published yet; try again");
		code = EXIT_SERVICE;
	}
	if (code == EXIT_OK)
		print_list(c, &m, a, r);
	ration_close(r);
	model_free(&m);
	filter_free(filter);
	return code;
}
