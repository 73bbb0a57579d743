/*
 * top_main.c - `ration top`: options, then the screen or the snapshots.
 */
#include "top.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
dashboard(struct top *t, bool ascii)
{
	t->s = screen_open(NULL, stdin, stdout, ascii);
	if (t->s == NULL) {
		complain("the terminal (TERM=%s) cannot be driven; `ration top -b` needs none",
		    getenv("TERM") ? getenv("TERM") : "");
		return EXIT_SERVICE;
	}
	t->view->open(t);
	top_loop(t);
	screen_close(t->s);
	return EXIT_OK;
}

/* ---- options ---- */

static void
usage(FILE *out)
{
	fputs(
	    "usage: ration top [-b] [-n COUNT] [-d SECONDS] [-s COLUMN] [-f FILTER]\n"
	    "                  [--rows N] [--idle] [--readonly] [--ascii]\n"
	    "  -b, --batch        print snapshots instead of a screen (also when the output\n"
	    "                     is no terminal); --json: one object a snapshot and line\n"
	    "  -n, --count N      so many snapshots (default 1; 0: until interrupted)\n"
	    "  -d, --delay S      seconds between readings (default 2, at least 1)\n"
	    "  -s, --sort COLUMN  as the header or `ration list --sort` names it; -COLUMN inverts\n"
	    "  -f, --filter EXPR  as `ration list --filter`\n"
	    "      --rows N       keys in a snapshot (default 50; 0: all)\n"
	    "      --idle         show idle keys, too\n"
	    "      --readonly     change nothing, whatever rationd would allow\n"
	    "      --ascii        no characters beyond ASCII\n",
	    out);
}

struct options {
	struct batch batch;
	bool batched;
	bool ascii;
	bool idle;
	bool readonly;
	bool invert;
	enum column sort;
	const char *filter;
};

static bool
take_number(const char *what, const char *text, double min, double max, double *out)
{
	char *end;

	errno = 0;
	*out = strtod(text, &end);
	if (errno == 0 && end != text && *end == '\0' && *out >= min && *out <= max)
		return true;
	complain("top: %s: %s, expected a number from %g to %g", what, text, min, max);
	return false;
}

static bool
take_sort(struct options *o, const char *text)
{
	o->invert = text[0] == '-';
	text += o->invert;
	o->sort = column_find(text, strlen(text));
	if (o->sort == COL_COUNT)
		complain("top: --sort: no column %s; see `ration list --help`", text);
	return o->sort != COL_COUNT;
}

enum { OPT_ROWS = 256, OPT_IDLE, OPT_READONLY, OPT_ASCII };

/* One option.  -1: go on; else an exit code. */
static int
take_option(int c, struct options *o)
{
	double number = 0;
	bool ok = true;

	switch (c) {
	case 'b':
		o->batched = true;
		break;
	case 'n':
		ok = take_number("-n", optarg, 0, 1e9, &number);
		o->batch.count = (unsigned long)number;
		break;
	case 'd':
		ok = take_number("-d", optarg, 1, 86400, &o->batch.delay_s);
		break;
	case 's':
		ok = take_sort(o, optarg);
		break;
	case 'f':
		o->filter = optarg;
		break;
	case OPT_ROWS:
		ok = take_number("--rows", optarg, 0, 1e9, &number);
		o->batch.rows = number > 0 ? (size_t)number : SIZE_MAX;
		break;
	case OPT_IDLE:
		o->idle = true;
		break;
	case OPT_READONLY:
		o->readonly = true;
		break;
	case OPT_ASCII:
		o->ascii = true;
		break;
	case 'h':
		usage(stdout);
		return EXIT_OK;
	default:
		usage(stderr);
		return EXIT_USAGE;
	}
	return ok ? -1 : EXIT_USAGE;
}

/* -1: go on; else an exit code. */
static int
take_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "batch", no_argument, NULL, 'b' },
		{ "count", required_argument, NULL, 'n' },
		{ "delay", required_argument, NULL, 'd' }, { "sort", required_argument, NULL, 's' },
		{ "filter", required_argument, NULL, 'f' },
		{ "rows", required_argument, NULL, OPT_ROWS },
		{ "idle", no_argument, NULL, OPT_IDLE },
		{ "readonly", no_argument, NULL, OPT_READONLY },
		{ "ascii", no_argument, NULL, OPT_ASCII }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 } };
	int c, rc = -1;

	optind = 0; /* start anew: the whole program's options were parsed before */
	while (rc < 0 && (c = getopt_long(argc, argv, "bn:d:s:f:h", longs, NULL)) != -1)
		rc = take_option(c, o);
	if (rc < 0 && optind < argc) {
		complain("top: %s: no such argument", argv[optind]);
		rc = EXIT_USAGE;
	}
	return rc;
}

static int
prepare(struct top *t, struct ctx *c, const struct options *o)
{
	int rc = ctx_attach(c);

	if (rc != 0)
		return rc;
	t->ctx = c;
	t->view = t->back = t->before_detail = &view_keys;
	t->daemon.calls.fd = t->daemon.watch.fd = -1;
	t->readonly = o->readonly;
	t->interval_ns = (uint64_t)(o->batch.delay_s * 1e9);
	t->frames_in_title = getenv("RATION_TOP_FRAMES") != NULL;
	t->events = calloc(EVENTS_KEPT, sizeof(*t->events));
	if (t->events == NULL || model_init(&t->model, &c->seg, true) != 0) {
		complain("top: %s", ration_strerror(RATION_ENOMEM));
		return EXIT_SERVICE;
	}
	t->model.sort = o->sort;
	t->model.invert = o->invert;
	t->model.hide_idle = !o->idle;
	t->model.count_over = true;
	top_time(t);
	if (o->filter != NULL) {
		field_set(&t->filter_text, o->filter);
		if (!top_filter_apply(t)) {
			complain("top: --filter: %s", t->filter_err);
			return EXIT_USAGE;
		}
	}
	return EXIT_OK;
}

static void
finish(struct top *t)
{
	for (size_t i = 0; i < nviews; i++) {
		if (views[i]->done != NULL)
			views[i]->done(t);
	}
	edit_forget(t);
	daemon_close(t);
	if (t->model.seg != NULL)
		model_free(&t->model);
	filter_free(t->filter);
	free(t->events);
}

int
top_main(struct ctx *c, int argc, char **argv)
{
	struct options o = { .sort = COL_USE, .batch = { .count = 1, .delay_s = 2, .rows = 50 } };
	struct top *t;
	int rc = take_options(argc, argv, &o);

	if (rc >= 0)
		return rc;
	setlocale(LC_ALL, "");
	signal(SIGPIPE, SIG_IGN);
	t = calloc(1, sizeof(*t));
	if (t == NULL)
		return EXIT_SERVICE;
	t->daemon.calls.fd = t->daemon.watch.fd = -1;
	rc = prepare(t, c, &o);
	if (rc == EXIT_OK &&
	    (o.batched || c->json || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO)))
		rc = batch_run(t, &o.batch);
	else if (rc == EXIT_OK)
		rc = dashboard(t, o.ascii);
	finish(t);
	free(t);
	return rc;
}
