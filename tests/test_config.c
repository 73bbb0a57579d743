/*
 * test_config.c - policy files: every mistake, with its place and its words; what is
 * accepted; conf.d; the JSON Schema against the reader's own lists of fields.
 */
#include "load.h"

#include <errno.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define PLANS "plans: [a, b]\n"
/* In expected mistakes: all names of the fields, "a, b or c". */
#define TOP_NAMES "<top>"
#define LIMIT_NAMES "<limit>"
#define OVERRIDE_NAMES "<override>"

static const char *schema_path, *manual_path;

/* All mistakes of a text, joined by newlines; NULL: it was accepted. */
static char *
mistakes_of(const char *text, size_t len)
{
	struct mistakes m = { 0 };
	struct config *c = NULL;
	char *all = NULL;
	size_t size;
	FILE *f;

	if (config_parse("p.yaml", text, len, &c, &m) == 0) {
		assert_int_equal(m.n, 0);
		config_free(c);
		return NULL;
	}
	assert_null(c);
	f = open_memstream(&all, &size);
	for (size_t i = 0; i < m.n; i++)
		fprintf(f, "%s%s", i == 0 ? "" : "\n", m.text[i]);
	fclose(f);
	mistakes_free(&m);
	return all;
}

/* The expected text with the names in place; valid until the next call. */
static const char *
with_names(const char *expected)
{
	static const struct {
		const char *mark;
		const struct fields *fields;
	} marks[] = { { TOP_NAMES, &fields_top }, { LIMIT_NAMES, &fields_limit },
		{ OVERRIDE_NAMES, &fields_override } };
	static char *text;
	size_t size;
	FILE *f;

	free(text);
	f = open_memstream(&text, &size);
	while (*expected != '\0') {
		size_t m = 0, n = sizeof(marks) / sizeof(marks[0]);

		while (m < n && strncmp(expected, marks[m].mark, strlen(marks[m].mark)) != 0)
			m++;
		if (m == n) {
			putc(*expected++, f);
			continue;
		}
		for (size_t i = 0; i < marks[m].fields->n; i++)
			fprintf(f, "%s%s",
			    i == 0                            ? ""
				: i + 1 == marks[m].fields->n ? " or "
							      : ", ",
			    marks[m].fields->names[i]);
		expected += strlen(marks[m].mark);
	}
	fclose(f);
	return text;
}

static const struct {
	const char *text, *mistake;
} bad[] = {
	/* not YAML, or too much of it */
	{ "limits: {api: [3/s}\n",
	    "p.yaml:1:19: found broken YAML (while parsing a flow sequence: did not find expected "
	    "',' or ']'), expected it well formed" },
	{ "limits:\n\tapi: 3/s\n",
	    "p.yaml:2:1: found broken YAML (while scanning for the next token: found character "
	    "that cannot start any token), expected it well formed" },
	{ "share: 1/6\n---\nshare: 1/6\n",
	    "p.yaml:2:1: found a second document, expected one in a file" },
	{ "limits: {\"a\xff\": 3/s}\n",
	    "p.yaml:1:12: found the byte or character 0xff (invalid leading UTF-8 octet), expected "
	    "text in UTF-8" },
	{ "\xe2\x82\n",
	    "p.yaml:1:2: found the byte or character 0x0a (invalid trailing UTF-8 octet), expected "
	    "text in UTF-8" },
	{ "a: [[[[[[[[[[[[x]]]]]]]]]]]]\n",
	    "p.yaml:1:15: found one more level, expected at most 12 inside each other" },
	{ "share: *x\n", "p.yaml:1:8: found *x, expected the name of an anchor above" },
	{ "plans: &p [*p]\n",
	    "p.yaml:1:12: found *p, expected the name of an anchor that it does not stand in" },
	{ "share: !!str 1/6\n", "p.yaml:1:8: found the tag tag:yaml.org,2002:str, expected none" },
	/* the whole */
	{ "- limits\n", "p.yaml:1:1: found a list, expected a mapping with " TOP_NAMES },
	{ "limit: {}\n",
	    "p.yaml:1:1: found \"limit\" in the policy, expected " TOP_NAMES "; did you mean "
	    "limits?" },
	{ "ilmits: {}\n",
	    "p.yaml:1:1: found \"ilmits\" in the policy, expected " TOP_NAMES "; did you mean "
	    "limits?" },
	{ "history: {every: 2h}\n", "p.yaml:1:18: found \"2h\", expected a time from 1s to 1h" },
	{ "history: {keep: {15min: 3d, hour: 2d}}\n",
	    "p.yaml:1:35: found hour kept for less time than 15min, expected at least as long" },
	{ "history: {keep: {week: 3d}}\n",
	    "p.yaml:1:18: found \"week\" in keep of history, expected 15min, hour or day" },
	{ "history: {keep: {15min: 1h}}\n",
	    "p.yaml:1:25: found \"1h\", expected a time from 2h to 3660d" },
	{ "history: {keys: 0}\n", "p.yaml:1:17: found 0, expected 1 to 100000000" },
	{ "history: on\n",
	    "p.yaml:1:10: found \"on\", expected a mapping with every, keep or keys" },
	{ "bananas: {}\n", "p.yaml:1:1: found \"bananas\" in the policy, expected " TOP_NAMES },
	{ "[x]: 1\n", "p.yaml:1:1: found a list in the policy, expected " TOP_NAMES },
	{ "share: 1/6\nshare: 1/6\n",
	    "p.yaml:2:1: found \"share\" again, expected it once (first on line 1)" },
	{ "share: 1/6\ndefaults: {share: 1/6}\n",
	    "p.yaml:1:1: found \"share\" again, expected it once (first at p.yaml:2)" },
	/* plans, environments, defaults, table */
	{ "plans: a\n", "p.yaml:1:8: found \"a\", expected a list of up to 255 names" },
	{ "plans: [a, b, a]\n",
	    "p.yaml:1:15: found the plan \"a\" again, expected each name once" },
	{ "plans: [custom]\n",
	    "p.yaml:1:9: found \"custom\", expected a plan's name: that word means something "
	    "else" },
	{ "environments: {s: 0}\n",
	    "p.yaml:1:19: found \"0\", expected a fraction above 0 such as 1/6 or 0.1" },
	{ "environments: {s: 1, s: 2}\n",
	    "p.yaml:1:22: found the environment \"s\" again, expected each name once (first at "
	    "p.yaml:1)" },
	{ "environments: [s]\n",
	    "p.yaml:1:15: found a list, expected a mapping of names to factors, such as {sandbox: "
	    "0.1, local: unlimited}" },
	{ "defaults: {timezone: Europe/Madird}\n",
	    "p.yaml:1:22: found the timezone \"Europe/Madird\", expected one of the tz database, "
	    "such as Europe/Madrid or UTC" },
	{ "defaults: {timezone: ../../../etc/passwd}\n",
	    "p.yaml:1:22: found the timezone \"../../../etc/passwd\", expected one of the tz "
	    "database, such as Europe/Madrid or UTC" },
	{ "defaults: {notify: [80, 60]}\n", "p.yaml:1:25: found 60, expected rising percentages" },
	{ "defaults: {notify: [101]}\n", "p.yaml:1:21: found 101, expected 1 to 100" },
	{ "defaults: {plan: z}\n", "p.yaml:1:18: found \"z\", expected the name of a plan" },
	{ "defaults: {mode: obsreve}\n",
	    "p.yaml:1:18: found \"obsreve\", expected enforce, observe or off; did you mean "
	    "observe?" },
	{ "defaults: {share: 2/}\n",
	    "p.yaml:1:19: found \"2/\", expected a fraction above 0 such as 1/6 or 0.1" },
	{ "share: 7/6\n", "p.yaml:1:8: found \"7/6\", expected a share of at most 1" },
	{ PLANS "environments: {x: 1, big: 10}\nlimits: {l: {plans: [1G/s, 1/s]}}\n",
	    "p.yaml:2:22: found a factor of 10, expected one with which the counter of limit l "
	    "(p.yaml:3) holds plan a" },
	{ "table: {keys: 0}\n", "p.yaml:1:15: found 0, expected 1 to 268435454" },
	{ "table: {rates: 5}\n", "p.yaml:1:16: found 5, expected 1 to 4" },
	{ "table: {idle: 32d}\n", "p.yaml:1:15: found \"32d\", expected at most 31d" },
	{ "table: {idle: 10}\n",
	    "p.yaml:1:15: found \"10\", expected a number with ms, s, min, h, d or w" },
	{ "table: {policy: 1}\n", "p.yaml:1:17: found 1, expected 65536 to 4294967296" },
	{ "table: {rates: 1}\nlimits: {api: [3/s, 4/min]}\n",
	    "p.yaml:1:9: found 1 rates in a slot, expected the 2 that a limit has" },
	{ "group: -x\n",
	    "p.yaml:1:8: found \"-x\", expected a group's name of up to 32 letters, digits, "
	    "\".\", \"_\" and \"-\"" },
	/* limits */
	{ "limits: [api]\n", "p.yaml:1:9: found a list, expected a mapping of names to limits" },
	{ "limits: {api: [300/min, 30/fortnight]}\n",
	    "p.yaml:1:25: found the window \"fortnight\", expected s, min, h, day or month" },
	{ "limits: {api: 5G/s}\n",
	    "p.yaml:1:15: found 5000000000 units, expected at most 10^9: a sliding window counts "
	    "no higher, fixed does" },
	{ "limits: {api: 2T/month}\n",
	    "p.yaml:1:15: found 2000000000000 units, expected at most 10^12: its counter holds no "
	    "more" },
	{ "limits: {api: }\n", "p.yaml:1:15: found nothing, expected a rate such as 300/min" },
	{ "limits: {api: []}\n",
	    "p.yaml:1:15: found a list of none, expected one to 4 rates such as [300/min, 30/s]" },
	{ "limits: {api: [1/s, 1/s]}\n",
	    "p.yaml:1:15: found 1/s beside another rate of the same window, expected one of "
	    "each" },
	{ "limits:\n  api: 1/s\n  b: 1/s\n  api: 2/s\n",
	    "p.yaml:4:3: found the limit \"api\" again, expected each name once (first at "
	    "p.yaml:2)" },
	{ "limits: {-x: 1/s}\n",
	    "p.yaml:1:10: found the limit \"-x\", expected a name of up to 63 bytes that does not "
	    "start with \"-\"" },
	{ "limits: {\"a\\eb\": 1/s}\n",
	    "p.yaml:1:10: found the limit \"a\\033b\", expected a name without control "
	    "characters" },
	{ "limits: {api: {}}\n",
	    "p.yaml:1:15: found a limit without rates, expected rates, plans, value or values" },
	{ "limits: {api: {rate: 1/s, rates: 2/s}}\n",
	    "p.yaml:1:16: found \"rate\" in a limit, expected " LIMIT_NAMES "; did you mean "
	    "rates?" },
	{ "limits: {api: {rates: 1/s, rates: 2/s}}\n",
	    "p.yaml:1:28: found \"rates\" again, expected it once (first on line 1)" },
	{ PLANS "limits: {api: {per: minute, plans: [1, 2, 3]}}\n",
	    "p.yaml:2:36: found 3 figures, expected 2, one for each plan from a to b" },
	{ PLANS "limits: {api: {per: minute, plans: {a: 1, c: 2}}}\n",
	    "p.yaml:2:43: found \"c\", expected the name of a plan; did you mean a?" },
	{ PLANS "limits: {api: {per: minute, plans: {a: 1, a: 2}}}\n",
	    "p.yaml:2:43: found the plan \"a\" again, expected each once" },
	{ PLANS "limits: {api: {per: wek, plans: [1, 2]}}\n",
	    "p.yaml:2:21: found the window \"wek\", expected s, min, h, day or month" },
	{ PLANS "limits: {api: {per: minute, plans: [1, lots]}}\n",
	    "p.yaml:2:40: found \"lots\", expected a rate such as 300/min, 10/h fixed, 480/day, "
	    "10/s burst 20, 5 concurrent or unlimited" },
	{ PLANS "limits: {api: {plans: [1/s, 2]}}\n",
	    "p.yaml:2:29: found \"2\", expected / and a window after the number, or "
	    "\"concurrent\"" },
	{ "limits: {api: {per: minute, plans: [1]}}\n",
	    "p.yaml:1:36: found figures for plans, expected none: no plans are named" },
	{ "limits: {api: custom}\n",
	    "p.yaml:1:15: found custom, expected rates: custom is for plans" },
	{ PLANS "limits: {api: {values: [1, 2], rates: 1/s}}\n",
	    "p.yaml:2:32: found \"rates\" beside values, expected either: values are not "
	    "counted" },
	{ "limits: {api: {rates: 1/s, when_full: maybe}}\n",
	    "p.yaml:1:39: found \"maybe\", expected deny or admit" },
	{ "limits: {api: {rates: 1/s, unlisted: refused}}\n",
	    "p.yaml:1:38: found \"refused\", expected admit or refuse; did you mean refuse?" },
	{ "limits: {api: {rates: 1/s, max_keys: -1}}\n",
	    "p.yaml:1:38: found \"-1\", expected a number such as 300, 2.5M or 64Ki" },
	/* routes */
	{ "limits: {api: 1/s}\nroutes: {POST boletos: api}\n",
	    "p.yaml:2:10: found the route \"POST boletos\", expected a method and a path, such as "
	    "\"POST /boletos/:id/pay\"" },
	{ "limits: {api: 1/s}\nroutes: {GET /a/:/b: api}\n",
	    "p.yaml:2:10: found the route \"GET /a/:/b\", expected a parameter's name behind the "
	    "colon" },
	{ "limits: {api: 1/s}\nroutes: {GET /a: [api, aip]}\n",
	    "p.yaml:2:24: found \"aip\", expected the name of a limit; did you mean api?" },
	{ "limits: {api: 1/s}\nroutes: {GET /a: api, GET /a: api}\n",
	    "p.yaml:2:23: found the route \"GET /a\" again, expected each once (first at "
	    "p.yaml:2)" },
	/* assign, overrides */
	{ PLANS "assign: {k: growth}\n",
	    "p.yaml:2:13: found \"growth\", expected the name of a plan" },
	{ PLANS "assign: {k: a, k: b}\n",
	    "p.yaml:2:16: found the key \"k\" again, expected each once (first at p.yaml:2)" },
	{ PLANS "assign: {'a b': a, 'a\\040b': b}\n",
	    "p.yaml:2:20: found the key \"a\\040b\" again, expected each once (first at "
	    "p.yaml:2)" },
	{ PLANS "assign: {'C:\\dir': a}\n",
	    "p.yaml:2:10: found \"C:\\dir\", expected a key of 1 to 255 bytes, with \\ escapes "
	    "as "
	    "in strvis(3)" },
	{ PLANS "assign: {\"a\\0b\": a}\n",
	    "p.yaml:2:10: found \"a\\000b\", expected a key of 1 to 255 bytes, with \\ escapes as "
	    "in "
	    "strvis(3)" },
	{ PLANS "assign: {k: {plan: a, timezone: Mexico_City}}\n",
	    "p.yaml:2:33: found the timezone \"Mexico_City\", expected one of the tz database, "
	    "such as Europe/Madrid or UTC" },
	{ "assign: {k: {timezone: [UTC]}}\n",
	    "p.yaml:1:24: found a list, expected a timezone such as Europe/Madrid" },
	{ "assign: {k: {timezone: ../etc/passwd}}\n",
	    "p.yaml:1:24: found the timezone \"../etc/passwd\", expected one of the tz database, "
	    "such as Europe/Madrid or UTC" },
	{ "assign: {k: {time_zone: UTC}}\n",
	    "p.yaml:1:14: found \"time_zone\" in an assignment, expected plan, environment or "
	    "timezone; did you "
	    "mean timezone?" },
	{ "overrides: {}\n", "p.yaml:1:12: found a mapping, expected a list of overrides" },
	{ "overrides: [{key: k}]\n",
	    "p.yaml:1:13: found fields that do not go together, expected rates, a value, a mode, a "
	    "plan, an "
	    "environment or a share" },
	{ "limits: {api: 1/s}\noverrides: [{key: k, limit: api, rates: 2/s, until: 2027-02-30}]\n",
	    "p.yaml:2:53: found \"2027-02-30\", expected a time such as 2027-01-01, 2027-01-01 "
	    "12:30 or 2027-01-01T12:30:00Z" },
	{ "limits: {api: 1/s}\noverrides:\n  - {key: k, limit: api, rates: 2/s}\n"
	  "  - {key: k, limit: api, rates: 3/s}\n",
	    "p.yaml:4:5: found a second override of the same, expected one (first at p.yaml:3)" },
	{ "overrides: [{share: 1/6, mode: off}]\n",
	    "p.yaml:1:13: found fields that do not go together, expected share alone: it is for "
	    "everything" },
	{ PLANS "limits: {v: {values: [1, 2]}}\noverrides: [{key: k, limit: v, rates: 2/s}]\n",
	    "p.yaml:3:29: found \"v\", expected a limit that is counted: it holds values" },
};

static void
test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char *got = mistakes_of(bad[i].text, strlen(bad[i].text));

		if (got == NULL)
			fail_msg("accepted: %s", bad[i].text);
		assert_string_equal(got, with_names(bad[i].mistake));
		free(got);
	}
}

static void
test_all_mistakes(void **state)
{
	static const char text[] = "limits:\n"
				   "  api: 3/fortnight\n"
				   "  web: {rates: 1/s, mode: of}\n"
				   "plans: [a, a]\n"
				   "overrides:\n"
				   "  - {key: k, limit: wbe, rates: 1/s}\n"
				   "  - nothing\n"
				   "tabel: {}\n";
	char *got = mistakes_of(text, strlen(text));

	/* In the order of the file, though plans are read before limits. */
	assert_non_null(got);
	assert_string_equal(got,
	    with_names(
		"p.yaml:2:8: found the window \"fortnight\", expected s, min, h, day or month\n"
		"p.yaml:3:27: found \"of\", expected enforce, observe or off; did you mean off?\n"
		"p.yaml:4:12: found the plan \"a\" again, expected each name once\n"
		"p.yaml:6:21: found \"wbe\", expected the name of a limit; did you mean web?\n"
		"p.yaml:7:5: found \"nothing\", expected a mapping with " OVERRIDE_NAMES "\n"
		"p.yaml:8:1: found \"tabel\" in the policy, expected " TOP_NAMES "; did you mean "
		"table?"));
	free(got);
}

static void
test_good(void **state)
{
	static const char *const texts[] = { "", "# nothing\n", "---\n", "limits:\n",
		"limits: {}\n", "limits: {\"POST /boletos\": 1/s}\n",
		"limits: {api: '300/min, 30/s'}\n", "limits: {api: &r [300/min, 30/s], web: *r}\n",
		"limits: {l\xc3\xadmite: 1/s}\n", "\xef\xbb\xbfshare: 1/6\n",
		PLANS "limits: {a: {per: hour fixed, plans: [1, unlimited], rates: 5}}\n",
		PLANS "limits: {a: {plans: [[1/s, 2/min], unlimited]}}\n",
		PLANS "limits: {a: {per: concurrent, plans: [1, custom]}}\n",
		PLANS "limits: {a: {values: [yes, custom]}}\n",
		"limits: {a: 1/s}\nroutes: {'* /': a, GET /x/*: [a], GET /x/:id/: a}\n",
		PLANS "environments: {s: 0.1}\nassign: {k: {environment: s}, 'a\\000b': a}\n",
		"assign: {k: {timezone: America/Mexico_City}, l: {}}\n",
		PLANS "overrides: [{key: k, plan: none}, {mode: off, until: 2099-01-01}]\n" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		char *got = mistakes_of(texts[i], strlen(texts[i]));

		if (got != NULL)
			fail_msg("refused: %s: %s", texts[i], got);
	}
}

/* A NUL in the file; a laugh of billions; a million mistakes: each ends soon, with words. */
static void
test_hostile(void **state)
{
	static const char nul[] = "limits: {a\0b: 1/s}\n";
	static const char laugh[] =
	    "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
	    "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
	    "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
	    "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
	struct timespec start, end;
	char *got, *text, *p;
	size_t lines = 1;

	got = mistakes_of(nul, sizeof(nul) - 1);
	assert_non_null(got);
	assert_non_null(strstr(got, "p.yaml:1:11: found "));
	free(got);
	got = mistakes_of(laugh, strlen(laugh));
	assert_non_null(got);
	assert_non_null(strstr(got, "found aliases that repeat more than 10000 nodes"));
	free(got);

	text = p = malloc(200000 * 16);
	assert_non_null(text);
	p += sprintf(p, "limits:\n");
	for (int i = 0; i < 200000; i++)
		p += sprintf(p, "  a%06d: x\n", i);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	got = mistakes_of(text, (size_t)(p - text));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
	assert_non_null(got);
	for (const char *q = got; (q = strchr(q, '\n')) != NULL; q++)
		lines++;
	assert_int_equal(lines, REPORT_MAX + 1); /* and how many more there are */
	assert_true(end.tv_sec - start.tv_sec < 10);
	free(got);
	free(text);
}

/* ---- files ---- */

static void
write_file(const char *dir, const char *name, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static char *
new_dir(void)
{
	char *dir = strdup("/tmp/ration-config.XXXXXX"), sub[64];

	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/conf.d", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	return dir;
}

static void
remove_dir(char *dir)
{
	static const char *const names[] = { "conf.d/10.yaml", "conf.d/9.yaml", "conf.d/.h.yaml",
		"conf.d/x.yml", "conf.d/b.yaml", "conf.d", "ration.yaml" };
	char path[512];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		(void)(unlink(path) == 0 || rmdir(path) == 0);
	}
	assert_int_equal(rmdir(dir), 0);
	free(dir);
}

static void
test_conf_d(void **state)
{
	char *dir = new_dir(), path[512], want[512];
	struct mistakes m = { 0 };
	struct config *c;

	snprintf(path, sizeof(path), "%s/ration.yaml", dir);
	/* The main file names what conf.d defines, and the other way round. */
	write_file(dir, "ration.yaml",
	    "plans: [a]\nlimits: {api: 1/s}\nassign: {k: a}\n"
	    "overrides: [{key: k, limit: web, rates: 9/s}]\n");
	write_file(
	    dir, "conf.d/10.yaml", "limits: {web: 2/s}\noverrides: [{limit: api, rates: 5/s}]\n");
	write_file(dir, "conf.d/9.yaml", "limits: {ftp: {per: s, plans: [7]}}\n");
	write_file(dir, "conf.d/.h.yaml", "not a policy at all");
	write_file(dir, "conf.d/x.yml", "not a policy at all");
	assert_int_equal(config_load(path, &c, &m), 0);
	assert_int_equal(c->nfiles, 3);
	assert_string_equal(c->short_names[0], "ration.yaml");
	assert_string_equal(c->short_names[1], "conf.d/10.yaml"); /* by bytes, not by number */
	assert_int_equal(c->nlimits, 3);
	assert_string_equal(c->limits[0].name, "api");
	assert_string_equal(c->limits[1].name, "web");
	assert_int_equal(c->npatches, 2);
	config_free(c);

	/* Twice over files is a mistake; so is a second file's default. */
	write_file(dir, "ration.yaml", "defaults: {mode: off}\nlimits: {web: 1/s}\n");
	write_file(dir, "conf.d/9.yaml", "defaults: {mode: observe}\n");
	write_file(dir, "conf.d/10.yaml", "limits: {web: 2/s}\n");
	assert_int_equal(config_load(path, &c, &m), -1);
	assert_int_equal(m.n, 2);
	snprintf(want, sizeof(want),
	    "%s/conf.d/10.yaml:1:10: found the limit \"web\" again, expected "
	    "each name once (first at ration.yaml:2)",
	    dir);
	assert_string_equal(m.text[0], want);
	snprintf(want, sizeof(want),
	    "%s/conf.d/9.yaml:1:12: found \"mode\" again, expected it once "
	    "(first at ration.yaml:1)",
	    dir);
	assert_string_equal(m.text[1], want);
	mistakes_free(&m);

	/* Two broken files are both told of. */
	write_file(dir, "ration.yaml", "a: [\n");
	write_file(dir, "conf.d/9.yaml", "b: ]\n");
	assert_int_equal(config_load(path, &c, &m), -1);
	assert_int_equal(m.n, 2);
	mistakes_free(&m);
	remove_dir(dir);
}

static void
test_no_file(void **state)
{
	char *dir = new_dir(), path[512], want[600];
	struct mistakes m = { 0 };
	struct config_table t;
	struct config *c;

	snprintf(path, sizeof(path), "%s/ration.yaml", dir);
	assert_int_equal(config_load(path, &c, &m), -1);
	snprintf(want, sizeof(want), "%s:1:1: found no readable file (%s), expected a policy file",
	    path, strerror(ENOENT));
	assert_int_equal(m.n, 1);
	assert_string_equal(m.text[0], want);
	mistakes_free(&m);
	assert_int_equal(config_load(dir, &c, &m), -1);
	assert_non_null(strstr(m.text[0], "found a directory, expected a policy file"));
	mistakes_free(&m);
	remove_dir(dir);

	assert_int_equal(config_load(NULL, &c, &m), 0);
	config_table(c, &t);
	assert_int_equal(t.keys, 65536);
	assert_int_equal(t.cells, 2);
	assert_true(t.idle_ns == UINT64_C(600) * 1000000000);
	assert_true(t.policy_bytes >= 4 << 20);
	config_free(c);
}

static void
test_table(void **state)
{
	static const char text[] = "table: {keys: 1M, idle: 1h30m, policy: 1Mi}\n"
				   "limits: {api: [1/s, 2/min, 3/h]}\n";
	struct mistakes m = { 0 };
	struct config_table t;
	struct config *c;

	assert_int_equal(config_parse("p.yaml", text, strlen(text), &c, &m), 0);
	config_table(c, &t);
	assert_int_equal(t.keys, 1000000);
	assert_int_equal(t.cells, 3);
	assert_true(t.idle_ns == UINT64_C(5400) * 1000000000);
	assert_int_equal(t.policy_bytes, 1 << 20);
	config_free(c);
}

/* ---- the schema ---- */

/* The same names, each way. */
static void
same_names(json_t *properties, const struct fields *f)
{
	const char *name;
	json_t *value;

	assert_true(json_is_object(properties));
	for (size_t i = 0; i < f->n; i++)
		if (json_object_get(properties, f->names[i]) == NULL)
			fail_msg("the schema misses \"%s\" of %s", f->names[i], f->where);
	json_object_foreach(properties, name, value)
	{
		size_t i = 0;

		while (i < f->n && strcmp(f->names[i], name) != 0)
			i++;
		if (i == f->n)
			fail_msg("the schema has \"%s\", %s has not", name, f->where);
	}
}

static void
test_schema(void **state)
{
	static const struct {
		const char *definition;
		const struct fields *fields;
	} parts[] = { { "table", &fields_table }, { "defaults", &fields_defaults },
		{ "limit", &fields_limit }, { "assignment", &fields_assign },
		{ "override", &fields_override }, { "key", &fields_key },
		{ "claim_long", &fields_claim }, { "exempt", &fields_exempt },
		{ "answer", &fields_answer }, { "show", &fields_show },
		{ "requests", &fields_requests }, { "eligible", &fields_eligible },
		{ "receiver", &fields_receiver }, { "retry", &fields_retry },
		{ "history", &fields_history }, { "history_keep", &fields_keep },
		{ "notify_long", &fields_notify }, { "upstream", &fields_upstream },
		{ "breaker", &fields_breaker } };
	json_error_t error;
	json_t *root, *definitions, *modes;

	if (schema_path == NULL)
		fail_msg("usage: test_config ration.schema.json ration.yaml.5");
	root = json_load_file(schema_path, JSON_REJECT_DUPLICATES, &error);
	if (root == NULL)
		fail_msg("%s:%d: %s", schema_path, error.line, error.text);
	definitions = json_object_get(root, "definitions");
	same_names(json_object_get(root, "properties"), &fields_top);
	assert_true(json_is_false(json_object_get(root, "additionalProperties")));
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		json_t *part = json_object_get(definitions, parts[i].definition);

		assert_non_null(part);
		same_names(json_object_get(part, "properties"), parts[i].fields);
		assert_true(json_is_false(json_object_get(part, "additionalProperties")));
	}
	modes = json_object_get(json_object_get(definitions, "mode"), "enum");
	assert_int_equal(json_array_size(modes), 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(json_string_value(json_array_get(modes, i)), mode_names[i]);
	json_decref(root);
}

/* Does a line that lists names (.It Cm, .Ss, .Cm) have this one? */
static bool
manual_names(const char *text, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = text; (p = strstr(p, name)) != NULL; p += len) {
		const char *line = p;

		while (line > text && line[-1] != '\n')
			line--;
		if (p[-1] == ' ' && (p[len] == '\n' || p[len] == ' ') &&
		    (strncmp(line, ".It Cm ", 7) == 0 || strncmp(line, ".Ss ", 4) == 0 ||
			strncmp(line, ".Cm ", 4) == 0))
			return true;
	}
	return false;
}

/* The manual names every field, and its example is a policy without a mistake. */
static void
test_manual(void **state)
{
	static const struct fields *const all[] = { &fields_top, &fields_table, &fields_defaults,
		&fields_limit, &fields_assign, &fields_override, &fields_key, &fields_claim,
		&fields_exempt, &fields_answer, &fields_show, &fields_requests, &fields_eligible,
		&fields_receiver, &fields_retry, &fields_history, &fields_keep, &fields_notify,
		&fields_upstream, &fields_breaker };
	char *text = NULL, *example, *end, *mistakes;
	size_t size = 0;
	FILE *f = manual_path != NULL ? fopen(manual_path, "r") : NULL;

	assert_non_null(f);
	assert_true(getdelim(&text, &size, '\0', f) > 0);
	fclose(f);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (size_t j = 0; j < all[i]->n; j++)
			if (!manual_names(text, all[i]->names[j]))
				fail_msg("the manual misses \"%s\" of %s", all[i]->names[j],
				    all[i]->where);
	example = strstr(text, ".Bd -literal\n");
	assert_non_null(example);
	example += strlen(".Bd -literal\n");
	end = strstr(example, ".Ed\n");
	assert_non_null(end);
	mistakes = mistakes_of(example, (size_t)(end - example));
	if (mistakes != NULL)
		fail_msg("%s", mistakes);
	free(text);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_all_mistakes),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_conf_d),
		cmocka_unit_test(test_no_file),
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_schema),
		cmocka_unit_test(test_manual),
	};

	schema_path = argc > 1 ? argv[1] : NULL;
	manual_path = argc > 2 ? argv[2] : NULL;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
