/*
 * fuzz_upstream.c - any bytes as an answer's headers, and any words in an upstream's entry.
 *
 * The input: bytes that say what to do; lines "name: value" are headers.  Whatever stands
 * there, calls return, a denial says how long to wait and that is bounded, a header that says
 * something is within bounds, and what is read twice says the same.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "upstream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADERS 12u

static struct fixture f;
static ration_upstream_t u;

static void
need(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static void
stop(void)
{
	fixture_close(&f);
}

static void
start(void)
{
	if (f.r != NULL)
		return;
	fixture_open(&f,
	    "upstreams: {x: {limit: [30/s, 1000/min, 100/h fixed], breaker: {failures: 2, open: "
	    "1s}, low: [50, 20]}}\n",
	    0);
	need(ration_upstream(f.r, "x", &u) == 0, "no upstream");
	(void)atexit(stop);
}

/* Lines of the text into headers, whose names are made C strings in place. */
static size_t
lines(char *text, size_t len, ration_attr_t headers[HEADERS])
{
	size_t n = 0;

	for (char *p = text, *end; p < text + len && n < HEADERS; p = end + 1) {
		char *colon;

		end = memchr(p, '\n', (size_t)(text + len - p));
		if (end == NULL)
			end = text + len;
		colon = memchr(p, ':', (size_t)(end - p));
		if (colon == NULL)
			continue;
		*colon = '\0';
		headers[n++] =
		    (ration_attr_t) { sizeof(headers[0]), p, colon + 1, (size_t)(end - colon - 1) };
	}
	return n;
}

static void
check_headers(const ration_attr_t *headers, size_t n)
{
	struct learnt a, b;

	learn_headers(headers, n, FIXTURE_UNIX, &a);
	learn_headers(headers, n, FIXTURE_UNIX, &b);
	need(a.malformed == b.malformed && a.remaining == b.remaining && a.limit == b.limit &&
		a.reset_ms == b.reset_ms,
	    "read twice");
	need(a.malformed <= n && a.retry_after_s >= -1 && a.date_s >= -1, "bounds");
	need(a.has_remaining || a.remaining == 0, "units left that nobody said");
	for (size_t i = 0; i < n; i++)
		(void)http_date(headers[i].value, headers[i].len, FIXTURE_UNIX);
}

static void
scribble(const uint8_t *data, size_t size)
{
	word_t *e = side_upstream(f.seg.side, u.place);

	for (; size >= 9; data += 9, size -= 9) {
		uint64_t w;

		memcpy(&w, data + 1, 8);
		atomic_store(&e[U_SENT + data[0] % (U_WORDS - U_SENT)], w);
	}
}

static void
use(int status, const ration_attr_t *headers, size_t n, uint64_t cost)
{
	ration_attempt_t a = { .size = sizeof(a) };

	for (unsigned i = 0; i < 6; i++) {
		int v = ration_upstream_begin(f.r, &u, cost, &a);

		need(v == RATION_ADMITTED || v == RATION_DENIED, "begin");
		need(v != RATION_DENIED ||
			(a.wait_ms > 0 && a.reason != RATION_U_NONE &&
			    a.wait_ms <= UPSTREAM_AHEAD_NS / MS_NS + 1),
		    "a denial without a time, or without end");
		if (v == RATION_ADMITTED) {
			need(ration_upstream_end(f.r, &u, &a, status, headers, n) == 0, "end");
			need(a.retry == 0 || a.tries <= 4, "tried without end");
			need(a.breaker <= RATION_HALF_OPEN, "no such state");
		}
		atomic_fetch_add(&f.now, 700 * MS_NS);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const int statuses[] = { 0, 200, 204, 301, 404, 429, 429, 500, 503, 999 };
	ration_attr_t headers[HEADERS];
	size_t words, n;
	char *text;

	start();
	if (size < 3)
		return 0;
	words = (size_t)data[1] * 3 < size - 3 ? (size_t)data[1] * 3 : size - 3;
	text = malloc(size);
	if (text == NULL)
		abort();
	memcpy(text, data + 3, size - 3);
	n = lines(text + words, size - 3 - words, headers);
	check_headers(headers, n);
	scribble(data + 3, words);
	use(statuses[data[0] % (sizeof(statuses) / sizeof(statuses[0]))], headers, n, data[2] % 40);
	free(text);
	return 0;
}
