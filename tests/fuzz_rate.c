/*
 * fuzz_rate.c - any text as a rate, a list of rates, a quantity, a duration, a
 * fraction.  What is accepted must come back the same from its canonical text;
 * what is refused must say why.
 */
#include "rate.h"
#include "ration.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
need(int holds, const char *what, const char *text)
{
	if (holds)
		return;
	fprintf(stderr, "%s: \"%s\"\n", what, text);
	abort();
}

static int
same(const struct rate_spec *a, const struct rate_spec *b)
{
	return a->kind == b->kind && a->units == b->units && a->burst == b->burst &&
	    a->window_ns == b->window_ns;
}

static void
one(const char *text)
{
	struct rate_spec r = { 0 }, back = { 0 };
	char err[256] = "", canonical[128];

	if (rate_parse(text, &r, err, sizeof(err)) != 0) {
		need(err[0] != '\0', "refused without a reason", text);
		return;
	}
	need(rate_format(&r, canonical, sizeof(canonical)) < (int)sizeof(canonical), "too long",
	    text);
	need(rate_parse(canonical, &back, err, sizeof(err)) == 0, "canonical text refused",
	    canonical);
	need(same(&r, &back), "another rate after a round trip", text);
}

static void
list(const char *text)
{
	struct rate_spec r[RATION_RATES_MAX];
	char err[256] = "";
	int n = rate_parse_list(text, r, RATION_RATES_MAX, err, sizeof(err));

	need(n <= (int)RATION_RATES_MAX, "more rates than asked for", text);
	need(n >= 0 || err[0] != '\0', "list refused without a reason", text);
	for (int i = 0; i < n; i++) {
		char canonical[128];

		rate_format(&r[i], canonical, sizeof(canonical));
		one(canonical);
	}
	if (n > 0)
		(void)rate_list_check(r, n, err, sizeof(err));
}

static void
numbers(const char *text)
{
	uint64_t a = 0, b = 0;
	char err[256] = "", canonical[64];

	(void)quantity_parse(text, &a, err, sizeof(err));
	if (duration_parse(text, &a, err, sizeof(err)) == 0) {
		duration_format(a, canonical, sizeof(canonical)); /* shown to the millisecond */
		need(duration_parse(canonical, &b, err, sizeof(err)) == 0 && b == a - a % 1000000,
		    "another duration after a round trip", text);
	}
	if (fraction_parse(text, &a, &b, err, sizeof(err)) == 0)
		need(a > 0 && b > 0 && a <= 1000000000 && b <= 1000000000, "fraction out of range",
		    text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);

	if (!text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	one(text);
	list(text);
	numbers(text);
	free(text);
	return 0;
}
