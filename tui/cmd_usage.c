/*
 * cmd_usage.c - what was admitted and denied over time: a table, and bars over time.
 */
#include "commands.h"

#include <langinfo.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "rate.h"
#include "usage.h"

#define NS_S UINT64_C(1000000000)

struct wanted {
	const char *key; /* NULL: totals */
	bool by_plan;
	int64_t last_s;
	bool plot;
	struct plot form; /* width, height, ascii, color */
};

static bool
terminal_size(unsigned *wide, unsigned *lines)
{
	struct winsize w = { 0 };
	const char *text = getenv("COLUMNS");
	long n = text ? strtol(text, NULL, 10) : 0;
	bool terminal = isatty(STDOUT_FILENO) == 1;

	if (terminal)
		(void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &w);
	*wide = n > 0 && n <= 1000 ? (unsigned)n : w.ws_col > 0 ? w.ws_col : 80;
	*lines = w.ws_row > 0 ? w.ws_row : 24;
	return terminal;
}

static int
read_options(struct ctx *c, const struct args *a, struct wanted *w)
{
	const char *by = a->opt[OPT_BY] ? a->opt[OPT_BY] : "limit";
	uint64_t ns = 86400 * NS_S;
	unsigned lines;
	bool terminal;

	memset(w, 0, sizeof(*w));
	w->key = a->npos > 0 ? a->pos[0] : NULL;
	if (w->key != NULL && check_key("usage", w->key) != EXIT_OK)
		return EXIT_USAGE;
	if (w->key != NULL && a->opt[OPT_BY]) {
		complain("usage: --by is of totals: leave out the key");
		return EXIT_USAGE;
	}
	w->by_plan = strcmp(by, "plan") == 0;
	if (!w->by_plan && strcmp(by, "limit") != 0) {
		complain("usage: --by %s: expected limit or plan", by);
		return EXIT_USAGE;
	}
	if (a->opt[OPT_CSV] && c->json) {
		complain("usage: --csv and --json: give one of them");
		return EXIT_USAGE;
	}
	if (span_option("usage", a, OPT_LAST, "last", &ns) != EXIT_OK)
		return EXIT_USAGE;
	if (ns < NS_S) {
		complain("usage: --last %s: expected a second or longer", a->opt[OPT_LAST]);
		return EXIT_USAGE;
	}
	w->last_s = (int64_t)(ns / NS_S);
	terminal = terminal_size(&w->form.width, &lines);
	w->plot = terminal || a->opt[OPT_LAST] != NULL || a->opt[OPT_ASCII] != NULL;
	w->form.height = lines < 30 ? 6 : 10;
	w->form.ascii = a->opt[OPT_ASCII] != NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	w->form.color = c->color;
	return EXIT_OK;
}

static int
ask(struct ctx *c, const struct wanted *w, int64_t last_s, json_t **answer)
{
	json_t *params = json_pack("{s:I}", "last_s", (json_int_t)last_s);

	if (w->key != NULL)
		json_object_set_new(params, "key", key_json(w->key));
	else
		json_object_set_new(params, "by", json_string(w->by_plan ? "plan" : "limit"));
	return rpc(c, "usage", "usage", params, answer);
}

/* ---- as JSON ---- */

static json_t *
line_json(const struct usage_line *l, const struct wanted *w)
{
	static const char *const names[USAGE_SPANS] = { "24h", "7d", "30d" };
	json_t *j = json_pack(
	    "{s:s, s:s?}", "limit", l->limit, "plan", w->by_plan && *l->plan ? l->plan : NULL);

	for (unsigned i = 0; i < USAGE_SPANS; i++)
		json_object_set_new(j, names[i],
		    json_pack("{s:I, s:I}", "admitted", (json_int_t)l->admitted[i], "denied",
			(json_int_t)l->denied[i]));
	return j;
}

static void
print_usage_json(const struct wanted *w, json_t *answer, const struct usage_line *lines, size_t n)
{
	json_t *totals = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(totals, line_json(&lines[i], w));
	json_object_set_new(answer, "last_s", json_integer(w->last_s));
	json_object_set_new(answer, "totals", totals);
	print_json(answer);
}

/* ---- for people ---- */

static void
last_text(int64_t last_s, char *buf, size_t size)
{
	duration_format((uint64_t)last_s * NS_S, buf, size);
	for (unsigned i = 0; i < USAGE_SPANS; i++)
		if (usage_span_s[i] == last_s)
			snprintf(buf, size, "%s", usage_span_name[i]);
}

static void
print_plots(const struct wanted *w, const json_t *answer)
{
	char a[32], d[32], last[32], span[32];
	struct plot p = w->form;
	struct plot_fit fit;
	uint64_t *mem;
	json_t *s;
	size_t i;

	json_array_foreach(json_object_get(answer, "series"), i, s)
	{
		if (usage_buckets(answer, s, &p, &mem)) {
			fit = plot_fit(&p);
			text_grouped((uint64_t)jint(s, "admitted", 0), a, sizeof(a));
			text_grouped((uint64_t)jint(s, "denied", 0), d, sizeof(d));
			last_text(w->last_s, last, sizeof(last));
			putchar('\n');
			if (w->by_plan && *jstr(s, "plan", "")) {
				print_text(stdout, jstr(s, "plan", ""));
				putchar(' ');
			}
			print_text(stdout, jstr(s, "limit", "?"));
			printf(": %s admitted, %s denied in %s; a bar is %s\n", a, d, last,
			    plot_span_text(fit.span, span, sizeof(span)));
			plot_print(stdout, &p);
		}
		free(mem);
	}
}

static void
print_for_people(
    const struct wanted *w, const json_t *answer, const struct usage_line *lines, size_t n)
{
	if (w->key != NULL) {
		const char *plan = "";
		char text[KEY_TEXT_MAX];
		unsigned char key[256];
		json_t *s;
		size_t i;

		json_array_foreach(json_object_get(answer, "series"), i,
		    s) if (*jstr(s, "plan", "")) plan = jstr(s, "plan", "");
		key_text(key, (size_t)key_parse(w->key, key), text);
		fputs(text, stdout);
		if (*plan) {
			fputs(", plan ", stdout);
			print_text(stdout, plan);
		}
		puts(n == 0 ? ": nothing was recorded in 30 days" : "");
	} else if (n == 0) {
		puts("nothing was recorded in 30 days");
	}
	if (n > 0)
		usage_table(stdout, lines, n, w->by_plan, w->form.width);
	if (w->plot)
		print_plots(w, answer);
}

int
cmd_usage(struct ctx *c, const struct args *a)
{
	json_t *answers[USAGE_SPANS] = { NULL }, *answer = NULL;
	struct usage_line *lines = NULL;
	struct wanted w;
	size_t n = 0;
	int code = read_options(c, a, &w);

	if (code == EXIT_OK)
		code = ask(c, &w, w.last_s, &answer);
	for (unsigned i = 0; i < USAGE_SPANS && code == EXIT_OK && !a->opt[OPT_CSV]; i++) {
		if (usage_span_s[i] == w.last_s)
			answers[i] = json_incref(answer);
		else
			code = ask(c, &w, usage_span_s[i], &answers[i]);
	}
	if (code == EXIT_OK && a->opt[OPT_CSV]) {
		usage_csv(stdout, answer);
	} else if (code == EXIT_OK) {
		lines = usage_lines(answers, w.by_plan, &n);
		if (c->json)
			print_usage_json(&w, answer, lines, n);
		else
			print_for_people(&w, answer, lines, n);
	}
	free(lines);
	for (unsigned i = 0; i < USAGE_SPANS; i++)
		json_decref(answers[i]);
	json_decref(answer);
	return code;
}
