/*
 * ration.c - main: options of the whole program, dispatch, help.
 *
 * A command's arguments are checked against the list in commands.h before it
 * runs, so no handler does half of something and then finds wrong use.
 */
#include "commands.h"

#include <getopt.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct command commands[] = {
#define X(name, synopsis, options, min, max, help, example) \
	{ #name, synopsis, options, min, max, help, example, cmd_##name },
	COMMANDS(X, NO_HEADING)
#undef X
};
const size_t ncommands = sizeof(commands) / sizeof(commands[0]);

/* Headings where they stand; NULL is the next command. */
static const char *const headed[] = {
#define HEADING(title) title,
#define X(name, ...) NULL,
	COMMANDS(X, HEADING)
#undef X
#undef HEADING
};

struct option_def {
	const char *name;
	int letter;
	const char *arg;
	const char *help;
};
static const struct option_def option_defs[OPT_COUNT_] = {
#define X(id, name, letter, arg, help) { name, letter, arg, help },
	OPTIONS(X)
#undef X
};

enum { LONG_DIR = 256, LONG_JSON, LONG_VERSION, LONG_OWN };

#define GLOBAL_OPTIONS \
	{ "instance", required_argument, NULL, 'i' }, \
	    { "dir", required_argument, NULL, LONG_DIR }, \
	    { "json", no_argument, NULL, LONG_JSON }, { "help", no_argument, NULL, 'h' }, \
	{ \
		"version", no_argument, NULL, LONG_VERSION \
	}

static void
help_globals(FILE *out)
{
	fputs("\nOptions of every command:\n"
	      "  -i, --instance INSTANCE  default: $RATION_INSTANCE, or \"default\"\n"
	      "      --dir DIR            where the instance lies; default: $RATION_DIR\n"
	      "      --json               print data as JSON\n"
	      "  -h, --help               this\n"
	      "      --version\n",
	    out);
}

static void
help_line(FILE *out, const struct command *cmd)
{
	int n = fprintf(out, "  %s %s", cmd->name, cmd->synopsis);

	fprintf(out, "%*s%s\n", n < 27 ? 27 - n : 1, "", cmd->help);
}

static void
help_program(FILE *out)
{
	fputs("usage: ration " GLOBAL_SYNOPSIS " COMMAND ...\n\n"
	      "Rate limits and quotas shared by all processes of this host.\n\n",
	    out);
	/* headed[] is commands[] with the headings put in. */
	for (size_t i = 0, n = 0; i < sizeof(headed) / sizeof(headed[0]); i++)
		if (headed[i] == NULL)
			help_line(out, &commands[n++]);
		else
			fprintf(out, "%s%s:\n", i > 0 ? "\n" : "", headed[i]);
	help_globals(out);
	fputs(
	    "\nExit: 0 ok (admitted), 1 refused or not found (denied), 2 wrong use, 3 no service.\n"
	    "More: ration COMMAND --help, man ration\n",
	    out);
}

static void
help_columns(FILE *out)
{
	fputs("\nColumns, for --sort and --filter:\n", out);
	for (int c = 0; c < COL_COUNT; c++)
		fprintf(
		    out, "  %-9s %-11s %s\n", columns[c].name, columns[c].header, columns[c].help);
}

static void
help_command(FILE *out, const struct command *cmd)
{
	/* Behind -- stands what is not ours, options too. */
	const char *rest = strstr(cmd->synopsis, " -- ");

	fprintf(out, "usage: ration %s", cmd->name);
	if (cmd->synopsis[0])
		fprintf(out, " %.*s",
		    (int)(rest ? rest - cmd->synopsis : (ptrdiff_t)strlen(cmd->synopsis)),
		    cmd->synopsis);
	for (int i = 0; i < OPT_COUNT_; i++)
		if (cmd->options & UINT64_C(1) << i)
			fprintf(out, " [--%s%s%s]", option_defs[i].name,
			    option_defs[i].arg ? " " : "",
			    option_defs[i].arg ? option_defs[i].arg : "");
	fputs(rest ? rest : "", out);
	fprintf(out, "\n\n%s\n", cmd->help);
	if (cmd->options & ~RAW)
		fputc('\n', out);
	for (int i = 0; i < OPT_COUNT_; i++) {
		const struct option_def *o = &option_defs[i];
		char letter[8] = "    ";

		if (!(cmd->options & UINT64_C(1) << i))
			continue;
		if (o->letter)
			snprintf(letter, sizeof(letter), "-%c, ", o->letter);
		int n = fprintf(
		    out, "  %s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		fprintf(out, "%*s%s\n", n < 27 ? 27 - n : 1, "", o->help);
	}
	if (cmd->options & O(SORT))
		help_columns(out);
	help_globals(out);
	fprintf(out, "\nExample: %s\n", cmd->example);
}

static const struct command *
command_find(const char *name)
{
	for (size_t i = 0; i < ncommands; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

/* An option of the whole program.  -1: not one; else an exit code + 1, or 0 to go on. */
static int
global_option(struct ctx *c, const struct command *cmd, int opt)
{
	switch (opt) {
	case 'i':
		c->instance = optarg;
		return 0;
	case LONG_DIR:
		c->dir = optarg;
		return 0;
	case LONG_JSON:
		c->json = true;
		return 0;
	case 'h':
		if (cmd)
			help_command(stdout, cmd);
		else
			help_program(stdout);
		return EXIT_OK + 1;
	case LONG_VERSION:
		printf("ration %s\n", ration_version());
		return EXIT_OK + 1;
	default:
		return -1;
	}
}

static int
wrong_use(const struct command *cmd)
{
	if (cmd)
		fprintf(stderr, "usage: ration %s %s; see: ration %s --help\n", cmd->name,
		    cmd->synopsis, cmd->name);
	else
		fputs(
		    "usage: ration " GLOBAL_SYNOPSIS " COMMAND ...; see: ration --help\n", stderr);
	return EXIT_USAGE + 1;
}

/* getopt's tables for one command. */
struct getopt_tables {
	struct option longs[OPT_COUNT_ + 6];
	char shorts[2 * OPT_COUNT_ + 8];
};

static void
tables_fill(struct getopt_tables *t, const struct command *cmd, const char *prefix)
{
	const struct option globals[] = { GLOBAL_OPTIONS };
	size_t n = sizeof(globals) / sizeof(globals[0]);
	char *s;

	memset(t, 0, sizeof(*t));
	memcpy(t->longs, globals, sizeof(globals));
	s = t->shorts + snprintf(t->shorts, sizeof(t->shorts), "%si:h", prefix);
	for (int i = 0; cmd && i < OPT_COUNT_; i++) {
		const struct option_def *o = &option_defs[i];

		if (!(cmd->options & UINT64_C(1) << i))
			continue;
		t->longs[n++] = (struct option) { o->name, o->arg ? required_argument : no_argument,
			NULL, LONG_OWN + i };
		if (!o->letter)
			continue;
		*s++ = (char)o->letter;
		if (o->arg)
			*s++ = ':';
	}
}

static int
own_option(const struct command *cmd, int opt)
{
	if (opt >= LONG_OWN)
		return opt - LONG_OWN;
	for (int i = 0; i < OPT_COUNT_; i++)
		if ((cmd->options & UINT64_C(1) << i) && option_defs[i].letter == opt)
			return i;
	return -1;
}

/* Options anywhere, then the number of arguments.  0, or an exit code + 1. */
static int
read_args(struct ctx *c, const struct command *cmd, int argc, char **argv, struct args *a)
{
	struct getopt_tables t;
	int opt, rc;

	tables_fill(&t, cmd, "");
	optind = 0; /* GNU: start anew */
	while ((opt = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		if (opt == '?')
			return wrong_use(cmd);
		rc = global_option(c, cmd, opt);
		if (rc > 0)
			return rc;
		if (rc >= 0 || (opt = own_option(cmd, opt)) < 0)
			continue;
		a->opt[opt] = optarg ? optarg : "";
		if (opt == OPT_ATTR && a->nattrs++ < (int)RATION_ATTRS_MAX)
			a->attrs[a->nattrs - 1] = optarg;
	}
	a->pos = argv + optind;
	a->npos = argc - optind;
	if (a->npos >= cmd->min && a->npos <= cmd->max)
		return 0;
	complain("%s: %s: %s", cmd->name,
	    a->npos < cmd->min ? "too few arguments" : "too many arguments",
	    cmd->synopsis[0] ? cmd->synopsis : "it takes none");
	return wrong_use(cmd);
}

/* Value of a long option given as "--name value" or "--name=value"; NULL: not this one. */
static const char *
long_value(const char *name, char **argv, int argc, int *i)
{
	size_t n = strlen(name);

	if (strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (n > 2 && argv[*i][n] == '=')
		return argv[*i] + n + 1;
	if (n == 2 && argv[*i][n])
		return argv[*i] + n;
	return argv[*i][n] == 0 && *i + 1 < argc ? argv[++*i] : NULL;
}

/* Takes the options of the whole program out of argv and leaves the rest.  0, or an exit code + 1.
 */
static int
read_raw(struct ctx *c, const struct command *cmd, int argc, char **argv, struct args *a)
{
	int n = 1, rc = 0;

	for (int i = 1; i < argc && rc <= 0; i++) {
		const char *v;

		if (strcmp(argv[i], "--") == 0) {
			while (i < argc)
				argv[n++] = argv[i++];
		} else if ((v = long_value("--instance", argv, argc, &i)) ||
		    (v = long_value("-i", argv, argc, &i))) {
			c->instance = v;
		} else if ((v = long_value("--dir", argv, argc, &i))) {
			c->dir = v;
		} else if (strcmp(argv[i], "--json") == 0) {
			c->json = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			rc = global_option(c, cmd, 'h');
		} else {
			argv[n++] = argv[i];
		}
	}
	argv[n] = NULL;
	a->argc = n;
	a->argv = argv;
	return rc > 0 ? rc : 0;
}

/* The command, and argv from it on.  0, or an exit code + 1. */
static int
read_command(struct ctx *c, int argc, char **argv, const struct command **cmd, int *first)
{
	struct getopt_tables t;
	int opt, rc;

	tables_fill(&t, NULL, "+");
	while ((opt = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		if (opt == '?')
			return wrong_use(NULL);
		rc = global_option(c, NULL, opt);
		if (rc > 0)
			return rc;
	}
	*first = optind;
	if (optind == argc && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
		*cmd = command_find("top");
		return 0;
	}
	if (optind == argc) {
		complain("no command given, and this is no terminal for the dashboard");
		return wrong_use(NULL);
	}
	*cmd = command_find(argv[optind]);
	if (!*cmd && strcmp(argv[optind], "help") == 0) {
		*cmd = optind + 1 < argc ? command_find(argv[optind + 1]) : NULL;
		return global_option(c, *cmd, 'h');
	}
	if (*cmd)
		return 0;
	complain("%s: no such command", argv[optind]);
	return wrong_use(NULL);
}

static bool
wants_color(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && (!no || !*no) && term && *term && strcmp(term, "dumb") != 0;
}

static int
finish(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	complain("standard output: cannot be written");
	return code == EXIT_OK ? EXIT_REFUSED : code;
}

int
main(int argc, char **argv)
{
	struct ctx c = { .color = wants_color() };
	const struct command *cmd = NULL;
	struct args a = { 0 };
	char *top[] = { (char[]) { "top" }, NULL };
	int first = 0, rc;

	setlocale(LC_CTYPE, ""); /* numbers stay as they are in JSON and CSV */
	rc = read_command(&c, argc, argv, &cmd, &first);
	if (rc == 0 && first == argc)
		rc = read_raw(&c, cmd, 1, top, &a);
	else if (rc == 0)
		rc = (cmd->options & RAW ? read_raw : read_args)(
		    &c, cmd, argc - first, argv + first, &a);
	if (rc > 0)
		return finish(rc - 1);
	if (paths_find(c.instance, c.dir, false, &c.paths)) {
		complain("instance \"%s\", directory \"%s\": not usable; an instance is 1 to 32 of "
			 "letters, digits, . _ -",
		    c.instance ? c.instance : "default", c.dir ? c.dir : "");
		return EXIT_USAGE;
	}
	clock_init(&c.clock);
	rc = cmd->run(&c, &a);
	ctx_detach(&c);
	return finish(rc);
}
