/*
 * test_plot.c - bars over time as pure functions; what rationd answers as a table, CSV and buckets.
 *
 * Golden plots stand in tests/golden/plot-*.txt; to write them anew run with
 * RATION_GOLDEN_WRITE=1 and read the difference.
 *
 * usage: test_plot GOLDEN-DIR
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "usage.h"

#define HOUR 3600
#define DAY 86400
#define NOON INT64_C(1778673600) /* 2026-05-13 12:00:00 UTC */

static const char *golden_dir;

static char *
drawn(const struct plot *p)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	plot_print(f, p);
	fclose(f);
	return text;
}

static void
golden(const struct plot *p, const char *name)
{
	char path[1024], *got = drawn(p), *want = calloc(1, 1 << 16);
	FILE *f;

	snprintf(path, sizeof(path), "%s/plot-%s.txt", golden_dir, name);
	if (getenv("RATION_GOLDEN_WRITE") != NULL) {
		f = fopen(path, "w");
		assert_non_null(f);
		fputs(got, f);
		fclose(f);
	}
	f = fopen(path, "r");
	if (f != NULL) {
		if (fread(want, 1, (1 << 16) - 1, f) == 0)
			want[0] = '\0';
		fclose(f);
	}
	if (strcmp(got, want) != 0)
		fail_msg("%s differs.\n--- drawn\n%s--- expected\n%s", path, got, want);
	free(got);
	free(want);
}

/* A day's curve: nothing at night, most at noon; some of it denied. */
static void
curve(uint64_t *admitted, uint64_t *denied, size_t n, int64_t from, int64_t step)
{
	for (size_t i = 0; i < n; i++) {
		int64_t h = (from + (int64_t)i * step) / HOUR % 24;

		admitted[i] = h < 6 ? 0 : (uint64_t)(h <= 14 ? h - 5 : 24 - h) * 31;
		denied[i] = h >= 12 && h < 15 ? (uint64_t)(h - 11) : 0;
	}
}

static void
test_golden(void **state)
{
	static const struct {
		const char *name;
		size_t n;
		int64_t step;
		unsigned width, height;
		bool ascii, color;
	} cases[] = { { "24h-80", 96, 900, 80, 6, false, false },
		{ "24h-140", 96, 900, 140, 10, false, false },
		{ "24h-80-ascii", 96, 900, 80, 6, true, false },
		{ "24h-80-color", 96, 900, 80, 6, false, true },
		{ "7d-80", 168, HOUR, 80, 6, false, false },
		{ "30d-80", 30, DAY, 80, 6, false, false },
		{ "30d-40", 30, DAY, 40, 5, false, false },
		{ "400d-80", 400, DAY, 80, 6, false, false },
		{ "one-80", 1, HOUR, 80, 4, false, false } };
	uint64_t admitted[400], denied[400];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct plot p = { .step = cases[i].step,
			.n = cases[i].n,
			.admitted = admitted,
			.denied = denied,
			.width = cases[i].width,
			.height = cases[i].height,
			.ascii = cases[i].ascii,
			.color = cases[i].color };

		p.from = NOON - (int64_t)(p.n - 1) * p.step;
		curve(admitted, denied, p.n, p.from, p.step);
		for (size_t k = 0; p.step == DAY && k < p.n; k++) {
			admitted[k] = k * 125000;
			denied[k] = k % 7 == 3 ? k : 0;
		}
		golden(&p, cases[i].name);
	}
}

static void
test_zone(void **state)
{
	uint64_t admitted[96], denied[96];
	struct plot p = { .from = NOON - 95 * INT64_C(900),
		.step = 900,
		.n = 96,
		.admitted = admitted,
		.denied = denied,
		.width = 80,
		.height = 3 };

	(void)state;
	curve(admitted, denied, 96, p.from, 900);
	/* Half an hour beside the hour: the times below are whole hours there. */
	setenv("TZ", "Asia/Kolkata", 1);
	tzset();
	golden(&p, "24h-kolkata");
	setenv("TZ", "UTC", 1);
	tzset();
}

static void
test_nothing(void **state)
{
	uint64_t none[96] = { 0 };
	struct plot p = { .from = NOON,
		.step = 900,
		.n = 96,
		.admitted = none,
		.denied = none,
		.width = 80,
		.height = 3 };

	(void)state;
	golden(&p, "nothing");
	p.n = 0;
	p.denied = NULL;
	free(drawn(&p));
}

static void
test_tops(void **state)
{
	static const struct {
		uint64_t most, top;
	} cases[] = { { 0, 1 }, { 1, 1 }, { 2, 2 }, { 3, 4 }, { 4, 4 }, { 5, 6 }, { 7, 8 },
		{ 9, 10 }, { 11, 20 }, { 100, 100 }, { 101, 200 }, { 640000, 800000 },
		{ UINT64_C(8000000000000000001), UINT64_C(10000000000000000000) },
		{ UINT64_C(10000000000000000001), UINT64_MAX }, { UINT64_MAX, UINT64_MAX } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(plot_top(cases[i].most), cases[i].top);
}

static void
test_eighths(void **state)
{
	(void)state;
	assert_int_equal(plot_eighths(0, 100, 6), 0);
	assert_int_equal(plot_eighths(1, 1000000, 6), 1); /* what is there is seen */
	assert_int_equal(plot_eighths(50, 100, 6), 24);
	assert_int_equal(plot_eighths(51, 100, 6), 24);
	assert_int_equal(plot_eighths(52, 100, 6), 25);
	assert_int_equal(plot_eighths(99, 100, 6), 47); /* only the top is the top */
	assert_int_equal(plot_eighths(999999, 1000000, 6), 47);
	assert_int_equal(plot_eighths(100, 100, 6), 48);
	assert_int_equal(plot_eighths(200, 100, 6), 48);
	assert_int_equal(plot_eighths(UINT64_MAX / 2, UINT64_MAX, 50), 200);
	for (unsigned e = 0; e <= 8; e++) {
		assert_int_equal(strlen(plot_cell(e, true)), 1);
		assert_int_equal(strlen(plot_cell(e, false)), e == 0 ? 1 : 3);
		assert_true(e == 0 || strcmp(plot_cell(e, false), plot_cell(e - 1, false)) != 0);
	}
}

static uint64_t
next(uint64_t *state)
{
	uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Columns that text takes, up to its newline. */
static unsigned
columns_of(const char *line)
{
	unsigned n = 0;

	for (; *line != '\0' && *line != '\n'; line++)
		n += ((unsigned char)*line & 0xc0) != 0x80;
	return n;
}

/* Whatever is plotted: nothing is lost between buckets and bars, and all of it fits. */
static void
test_any(void **state)
{
	static const int64_t steps[] = { 1, 60, 900, 1000, HOUR, DAY };
	uint64_t admitted[600], seed = (uint64_t)time(NULL), sum, bars;

	(void)state;
	printf("seed: %llu\n", (unsigned long long)seed);
	for (int i = 0; i < 3000; i++) {
		struct plot p = { .step = steps[next(&seed) % 6],
			.n = 1 + next(&seed) % 600,
			.admitted = admitted,
			.denied = admitted,
			.width = 1 + (unsigned)(next(&seed) % 200),
			.height = 1 + (unsigned)(next(&seed) % 12),
			.ascii = next(&seed) % 2 == 0 };
		struct plot_fit f;
		unsigned most, lines = 0;
		char *text, *line;

		p.from = (int64_t)(next(&seed) % 2000000000) / p.step * p.step;
		sum = 0;
		for (size_t k = 0; k < p.n; k++) {
			admitted[k] = next(&seed) >> (20 + next(&seed) % 44);
			sum += admitted[k];
		}
		f = plot_fit(&p);
		most = (p.width < PLOT_WIDTH_MIN ? PLOT_WIDTH_MIN : p.width) - PLOT_LABEL - 1;
		assert_true(f.bars >= 1 && f.bars * f.wide <= most && f.wide >= 1);
		assert_true(f.first <= p.from && f.span % p.step == 0);
		bars = 0;
		for (size_t k = 0; k < f.bars; k++)
			bars += plot_bar(&p, &f, admitted, k);
		assert_int_equal(bars, sum);
		text = drawn(&p);
		for (line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
			assert_true(columns_of(line) <= PLOT_LABEL + 1 + most || lines > p.height);
			assert_true(columns_of(line) == 0 || strchr(line, '\n')[-1] != ' ');
			lines++;
		}
		assert_in_range(lines, p.height + 2, p.height + 4);
		free(text);
	}
}

/* ---- answers ---- */

static json_t *
json(const char *text)
{
	char *copy = strdup(text);
	json_t *j;

	for (char *c = copy; *c != '\0'; c++)
		if (*c == '\'')
			*c = '"';
	j = json_loads(copy, JSON_DECODE_ANY, NULL);
	assert_non_null(j);
	free(copy);
	return j;
}

#define SERIES(limit, plan, a, d) \
	"{'limit':'" limit "','key':'k,\\u0022x','plan':'" plan "','admitted':" #a ",'denied':" #d \
	",'starts':[1000,1200],'admitted_at':[" #a ",0],'denied_at':[0," #d "]}"
#define ANSWER(series) "{'now':1250,'resolution_s':100,'from':900,'series':[" series "]}"

static void
test_lines(void **state)
{
	json_t *answers[USAGE_SPANS] = { json(ANSWER(SERIES("b", "p", 1, 2))),
		json(ANSWER(SERIES("b", "p", 10, 20) "," SERIES("a", "q", 5, 6))),
		json(ANSWER(SERIES("b", "p", 1234567, 20) "," SERIES("b", "q", 7, 8) "," SERIES(
		    "a", "q", 99, 100))) };
	char *text = NULL;
	size_t n, size;
	struct usage_line *lines = usage_lines(answers, false, &n);
	FILE *f;

	(void)state;
	assert_int_equal(n, 2);
	assert_string_equal(lines[0].limit, "a");
	assert_int_equal(lines[0].admitted[0], 0);
	assert_int_equal(lines[0].denied[2], 100);
	assert_string_equal(lines[1].limit, "b");
	assert_int_equal(lines[1].admitted[0], 1);
	assert_int_equal(lines[1].denied[0], 2);
	assert_int_equal(lines[1].admitted[2], 1234574);
	f = open_memstream(&text, &size);
	usage_table(f, lines, n, false, 80);
	fclose(f);
	assert_string_equal(text,
	    "                                24 hours              7 days             30 days\n"
	    "LIMIT                 ADMITTED    DENIED  ADMITTED    DENIED  ADMITTED    DENIED\n"
	    "a                            0         0         5         6        99       100\n"
	    "b                            1         2        10        20 1,234,574        28\n");
	free(text);
	free(lines);
	lines = usage_lines(answers, true, &n);
	assert_int_equal(n, 3);
	assert_string_equal(lines[2].plan, "q");
	assert_string_equal(lines[2].limit, "b");
	free(lines);
	for (unsigned i = 0; i < USAGE_SPANS; i++)
		json_decref(answers[i]);
}

static void
test_csv(void **state)
{
	json_t *answer = json(ANSWER(SERIES("a", "q", 5, 6)));
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	(void)state;
	usage_csv(f, answer);
	fclose(f);
	assert_string_equal(text,
	    "start,limit,key,plan,admitted,denied\n"
	    "1000,a,\"k,\"\"x\",q,5,0\n"
	    "1200,a,\"k,\"\"x\",q,0,6\n");
	free(text);
	json_decref(answer);
}

static bool
buckets(const char *answer, struct plot *p, uint64_t **mem)
{
	json_t *j = json(answer);
	bool any = usage_buckets(j, json_array_get(json_object_get(j, "series"), 0), p, mem);

	json_decref(j);
	return any;
}

static void
test_buckets(void **state)
{
	static const char *const bad[] = { "{}", "[]", "3", "{'series':[]}", "{'series':[3]}",
		"{'now':1,'resolution_s':0,'from':0,'series':[{}]}",
		"{'now':1,'resolution_s':-5,'from':0,'series':[{}]}",
		"{'now':9000000000000000000,'resolution_s':1,'from':0,'series':[{}]}",
		"{'now':9000000000,'resolution_s':1,'from':0,'series':[{}]}",
		"{'now':5,'resolution_s':1,'from':-9223372036854775807,'series':[{}]}",
		"{'now':5,'resolution_s':1,'from':9,'series':[{}]}",
		"{'now':5,'resolution_s':9223372036854775807,'from':0,'series':[{}]}",
		ANSWER("{'starts':7,'admitted_at':'x'}"), ANSWER("{'starts':[1000]}"),
		ANSWER("{'starts':[1000],'admitted_at':[-5],'denied_at':['x']}"),
		ANSWER("{'starts':[899,1251,-1,'x',null],'admitted_at':[1,1,1,1,1]}") };
	struct plot p = { 0 };
	uint64_t *mem;

	(void)state;
	assert_true(buckets(ANSWER(SERIES("a", "q", 5, 6)), &p, &mem));
	assert_int_equal(p.from, 900);
	assert_int_equal(p.step, 100);
	assert_int_equal(p.n, 4);
	assert_int_equal(p.admitted[1], 5);
	assert_int_equal(p.denied[3], 6);
	assert_int_equal(p.admitted[0] + p.admitted[2] + p.admitted[3], 0);
	free(mem);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (buckets(bad[i], &p, &mem))
			fail_msg("taken: %s", bad[i]);
		free(mem);
	}
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_zone),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_tops),
		cmocka_unit_test(test_eighths),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_buckets),
	};

	if (argc < 2) {
		fputs("usage: test_plot GOLDEN-DIR\n", stderr);
		return 2;
	}
	golden_dir = argv[1];
	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests_name("plot", tests, NULL, NULL);
}
