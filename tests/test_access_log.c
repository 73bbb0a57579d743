/*
 * test_access_log.c - lines of access logs taken apart: as nginx and Apache write them, as
 * attackers would like them to be, and broken ones.  Also the counts of who was denied most, and
 * the line that shows how far a command is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

#include "access_log.h"
#include "denied.h"
#include "progress.h"

#define NS_S INT64_C(1000000000)

static struct log_reader reader;
static struct log_line line;
static char buf[2 * LOG_LINE_MAX];

/* The fields of a line, wanted in this order; what is wrong with the line, or NULL. */
static const char *
parse(enum log_format format, const char *text, const char *const *fields)
{
	log_reader_init(&reader, format);
	for (unsigned i = 0; fields != NULL && fields[i] != NULL; i++)
		assert_int_equal(log_reader_want(&reader, fields[i]), (int)i);
	(void)snprintf(buf, sizeof(buf), "%s", text);
	return log_parse(&reader, buf, strlen(buf), &line);
}

static void
assert_text(struct log_text t, const char *want)
{
	if (want == NULL) {
		assert_null(t.at);
		return;
	}
	assert_non_null(t.at);
	if (t.len != strlen(want) || memcmp(t.at, want, t.len) != 0)
		fail_msg("found \"%.*s\", expected \"%s\"", (int)t.len, t.at, want);
}

#define WANTS(...) ((const char *const[]) { __VA_ARGS__, NULL })
#define COMBINED(text, ...) assert_null(parse(LOG_COMBINED, text, WANTS(__VA_ARGS__)))
#define JSON(text, ...) assert_null(parse(LOG_JSON, text, WANTS(__VA_ARGS__)))

/* ---- combined ---- */

#define HEAD "203.0.113.9 - alice [10/Oct/2026:13:55:36 +0200] "
#define WHEN (INT64_C(1791633336) * NS_S)

static void
test_combined(void **state)
{
	(void)state;
	COMBINED(HEAD "\"GET /a?api_key=k%201&x=+y HTTP/1.1\" 200 2326 "
		      "\"https://example.org/\" \"Mozilla/5.0 (X11)\"",
	    "addr", "ident", "user", "status", "bytes", "referer", "agent", "protocol", "path",
	    "query", "arg.api_key", "arg.x", "arg.none", "method");
	assert_int_equal(line.unix_ns, WHEN);
	assert_string_equal(line.method.at, "GET");
	assert_text(line.wants[0], "203.0.113.9");
	assert_text(line.wants[1], NULL);
	assert_text(line.wants[2], "alice");
	assert_text(line.wants[3], "200");
	assert_text(line.wants[4], "2326");
	assert_text(line.wants[5], "https://example.org/");
	assert_text(line.wants[6], "Mozilla/5.0 (X11)");
	assert_text(line.wants[7], "HTTP/1.1");
	assert_text(line.wants[8], "/a");
	assert_text(line.wants[10], "k 1");
	assert_text(line.wants[11], " y");
	assert_text(line.wants[12], NULL);
	assert_text(line.wants[13], "GET");
}

/* Common, without referer and agent; with more behind; IPv6; Apache's "-" for no bytes. */
static void
test_combined_variants(void **state)
{
	(void)state;
	COMBINED("2001:db8::1 - - [01/Jan/1970:00:00:00 +0000] \"GET / HTTP/1.0\" 304 -", "addr",
	    "user", "bytes", "agent");
	assert_int_equal(line.unix_ns, 0);
	assert_text(line.wants[0], "2001:db8::1");
	assert_text(line.wants[1], NULL);
	assert_text(line.wants[2], NULL);
	assert_text(line.wants[3], NULL);
	COMBINED(HEAD "\"GET / HTTP/2.0\" 200 1 \"-\" \"curl\" \"10.0.0.1\" 0.003 end", "agent");
	assert_text(line.wants[0], "curl");
	COMBINED(HEAD "\"GET /x\" 200 1 \"-\" \"-\"", "protocol");
	assert_string_equal(line.path.at, "/x");
	assert_text(line.wants[0], NULL);
	COMBINED(HEAD "\"GET http://example.org/a/b?c HTTP/1.1\" 200 1", "path", "query");
	assert_text(line.wants[0], "/a/b");
	assert_text(line.wants[1], "c");
	assert_string_equal(line.path.at, "/a/b?c");
	/* A request target may have blanks that the server let through. */
	COMBINED(HEAD "\"GET /a b HTTP/1.1\" 200 1", "path");
	assert_text(line.wants[0], "/a b");
}

static void
test_escapes(void **state)
{
	(void)state;
	COMBINED(HEAD "\"GET /\\x22\\xC3\\xa9 HTTP/1.1\" 200 1 \"a\\\"b\\\\c\" \"t\\tn\\x\"",
	    "path", "referer", "agent");
	assert_text(line.wants[0], "/\"\xc3\xa9");
	assert_text(line.wants[1], "a\"b\\c");
	assert_text(line.wants[2], "t\tnx");
	/* A NUL would end the path early. */
	COMBINED(HEAD "\"GET /a\\x00b HTTP/1.1\" 200 1", "path");
	assert_null(line.path.at);
}

/* A name of blanks and brackets, which basic authentication allows, moves nothing. */
static void
test_user(void **state)
{
	(void)state;
	COMBINED(
	    "10.0.0.1 - a [b] c [10/Oct/2026:13:55:36 +0200] \"GET / HTTP/1.1\" 200 1", "user");
	assert_text(line.wants[0], "a [b] c");
	COMBINED("10.0.0.1 - x [01/Jan/2020:00:00:00 +0000] \\x22GET "
		 "[10/Oct/2026:13:55:36 +0200] \"GET / HTTP/1.1\" 200 1",
	    "user");
	assert_int_equal(line.unix_ns, WHEN);
}

/* What no request is: the server has answered it itself. */
static void
test_no_request(void **state)
{
	static const char *const requests[] = { "-", "", "\\x16\\x03\\x01\\x02\\x00\\x01", "quit",
		"\\x03 /x HTTP/1.1", "GET  HTTP/1.1", "GET https://nothing" };

	(void)state;
	for (unsigned i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		char text[256];

		(void)snprintf(text, sizeof(text), HEAD "\"%s\" 400 0 \"-\" \"-\"", requests[i]);
		COMBINED(text, "addr");
		if (line.method.at != NULL || line.path.at != NULL)
			fail_msg("%s: taken for a request", requests[i]);
		assert_text(line.wants[0], "203.0.113.9");
	}
}

static void
test_combined_broken(void **state)
{
	static const struct {
		const char *text, *expected;
	} bad[] = {
		{ "", "address" },
		{ "nothing", "address" },
		{ "a b c", "time" },
		{ "10.0.0.1 - - [10/Oct/2026:13:55:36 +0200]", "time" },
		{ "10.0.0.1 - - [32/Oct/2026:13:55:36 +0200] \"GET / HTTP/1.1\" 200 1", "time" },
		{ "10.0.0.1 - - [29/Feb/2026:13:55:36 +0200] \"GET / HTTP/1.1\" 200 1", "time" },
		{ "10.0.0.1 - - [10/Okt/2026:13:55:36 +0200] \"GET / HTTP/1.1\" 200 1", "time" },
		{ "10.0.0.1 - - [10/Oct/2026:24:55:36 +0200] \"GET / HTTP/1.1\" 200 1", "time" },
		{ "10.0.0.1 - - [10/Oct/2026:13:55:36 0200] \"GET / HTTP/1.1\" 200 1 ", "time" },
		{ HEAD "\"GET / HTTP/1.1", "request's end" },
		{ HEAD "\"GET / HTTP/1.1\\\" 200 1", "request's end" },
		{ HEAD "\"GET / HTTP/1.1\"", "request's end" },
		{ HEAD "\"GET / HTTP/1.1\" 2000 1", "status" },
		{ HEAD "\"GET / HTTP/1.1\" 200", "status" },
		{ HEAD "\"GET / HTTP/1.1\" abc 1", "status" },
		{ HEAD "\"GET / HTTP/1.1\" 200 1 - -", "referer" },
		{ HEAD "\"GET / HTTP/1.1\" 200 1 \"-\" \"x", "referer" },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *expected = parse(LOG_COMBINED, bad[i].text, NULL);

		if (expected == NULL || strstr(expected, bad[i].expected) == NULL)
			fail_msg("%s: expected %s, found %s", bad[i].text, bad[i].expected,
			    expected ? expected : "nothing wrong");
	}
}

/* ---- JSON ---- */

static void
test_json(void **state)
{
	(void)state;
	JSON("{\"time\": \"2026-10-10T13:55:36.25+02:00\", \"request_method\":\"POST\","
	     "\"request_uri\":\"/a/b?c=%2541\",\"remote_addr\":\"::1\",\"n\":12.5,\"deep\":{\"er\":"
	     "{\"key\":\"\\u00e9\\uD83D\\uDE00\\n\"},\"list\":[1,{\"er\":2},\"x\"]},"
	     "\"no\":null,\"yes\":true,\"dash\":\"-\"}",
	    "addr", "deep.er.key", "n", "no", "yes", "arg.c", "path", "dash", "er", "deep.list",
	    "arg.c");
	assert_int_equal(line.unix_ns, WHEN + 250000000);
	assert_string_equal(line.method.at, "POST");
	assert_string_equal(line.path.at, "/a/b?c=%2541");
	assert_text(line.wants[0], "::1");
	assert_text(line.wants[1], "\xc3\xa9\xf0\x9f\x98\x80\n");
	assert_text(line.wants[2], "12.5");
	assert_text(line.wants[3], NULL);
	assert_text(line.wants[4], "true");
	assert_text(line.wants[5], "%41");
	assert_text(line.wants[10], "%41");
	assert_text(line.wants[6], "/a/b");
	assert_text(line.wants[7], NULL);
	assert_text(line.wants[8], NULL);
	assert_text(line.wants[9], NULL);
}

static void
test_json_names(void **state)
{
	static const char *const times[] = { "\"time\":\"10/Oct/2026:13:55:36 +0200\"",
		"\"timestamp\":1791633336", "\"@timestamp\":\"2026-10-10T11:55:36Z\"",
		"\"time_iso8601\":\"2026-10-10T13:55:36+02:00\"", "\"ts\":1791633336.000",
		"\"msec\":\"1791633336.000\"", "\"ts\":1791633336000", "\"ts\":1791633336000000",
		"\"ts\":1791633336000000000", "\"time\":\"nonsense\",\"ts\":1791633336",
		"\"timestamp\":\"2026-10-10 11:55:36\"" };
	char text[256];

	(void)state;
	for (unsigned i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		(void)snprintf(text, sizeof(text),
		    "{%s,\"request\":\"GET /x HTTP/1.1\",\"client_ip\":\"10.0.0.1\"}", times[i]);
		JSON(text, "addr");
		if (line.unix_ns != WHEN)
			fail_msg("%s: found %lld", times[i], (long long)line.unix_ns);
		assert_string_equal(line.method.at, "GET");
		assert_string_equal(line.path.at, "/x");
		assert_text(line.wants[0], "10.0.0.1");
	}
	/* The same name twice: the last; a name with a dot is what an inner one is called. */
	JSON("{\"ts\":1,\"k\":\"a\",\"k\":\"b\",\"a.b\":\"c\"}", "k", "a.b");
	assert_text(line.wants[0], "b");
	assert_text(line.wants[1], "c");
	/* Neither method nor path are what has no end of its own. */
	JSON("{\"ts\":1,\"method\":true,\"path\":12}", "k");
	assert_null(line.path.at);
}

/* Lines of other shapes in between: guesses of names do not stick. */
static void
test_json_order(void **state)
{
	static const char *const lines[] = { "{\"a\":\"1\",\"ts\":1,\"b\":\"2\"}",
		"{\"b\":\"2\",\"a\":\"1\",\"ts\":1}",
		"{\"ts\":1,\"x\":\"3\",\"b\":\"2\",\"a\":\"1\"}" };

	(void)state;
	log_reader_init(&reader, LOG_JSON);
	assert_int_equal(log_reader_want(&reader, "a"), 0);
	assert_int_equal(log_reader_want(&reader, "b"), 1);
	for (unsigned i = 0; i < 9; i++) {
		(void)snprintf(buf, sizeof(buf), "%s", lines[i % 3]);
		assert_null(log_parse(&reader, buf, strlen(buf), &line));
		assert_text(line.wants[0], "1");
		assert_text(line.wants[1], "2");
	}
	(void)snprintf(buf, sizeof(buf), "{\"ts\":1}");
	assert_null(log_parse(&reader, buf, strlen(buf), &line));
	assert_text(line.wants[0], NULL);
}

static void
test_json_broken(void **state)
{
	static const char *const bad[] = { "", "[]", "1", "{", "{}", "{\"ts\":1", "{\"ts\":1,}",
		"{\"ts\":1}x", "{\"ts\":01}", "{\"ts\":1.}", "{\"ts\":+1}", "{\"ts\":1e}",
		"{\"ts\":1,\"a\":\"\x01\"}", "{\"ts\":1,\"a\":\"\\q\"}",
		"{\"ts\":1,\"a\":\"\\u12\"}", "{\"ts\":1,\"a\":\"\\ud800\"}",
		"{\"ts\":1,\"a\":\"\\udc00\"}", "{\"ts\":1,\"a\":tru}", "{\"ts\":1,\"a\":[1,]}",
		"{\"ts\":1,\"a\":[1}", "{ts:1}", "{\"ts\" 1}", "{\"ts\":1 \"a\":2}", "{\"ts\":-5}",
		"{\"time\":\"yesterday\"}", "{\"a\":1}" };

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (parse(LOG_JSON, bad[i], NULL) == NULL)
			fail_msg("%s: taken", bad[i]);
	/* The object itself and 31 arrays, then one more. */
	for (int depth = 31; depth <= 32; depth++) {
		char deep[128];

		(void)snprintf(deep, sizeof(deep), "{\"ts\":1,\"a\":%.*s1%.*s}", depth,
		    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", depth, "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]");
		assert_true((parse(LOG_JSON, deep, NULL) == NULL) == (depth == 31));
	}
}

static void
test_fields(void **state)
{
	(void)state;
	log_reader_init(&reader, LOG_COMBINED);
	assert_int_equal(log_reader_want(&reader, "header"), -1);
	assert_int_equal(log_reader_want(&reader, "arg."), -1);
	assert_int_equal(log_reader_want(&reader, ""), -1);
	for (unsigned i = 0; i < LOG_WANTS_MAX; i++)
		assert_int_equal(log_reader_want(&reader, "addr"), (int)i);
	assert_int_equal(log_reader_want(&reader, "addr"), -1);
	log_reader_init(&reader, LOG_JSON);
	assert_int_equal(log_reader_want(&reader, "any thing"), 0);
	assert_int_equal(log_guess(" {", 2), LOG_JSON);
	assert_int_equal(log_guess("10.0.0.1 - -", 12), LOG_COMBINED);
	assert_int_equal(log_guess("", 0), LOG_COMBINED);
}

/* Every day of the calendar, against the C library's. */
static void
test_days(void **state)
{
	char text[64];
	int64_t ns;

	(void)state;
	for (time_t t = 0; t < (time_t)9000000000; t += 86400 + 4321) {
		struct tm tm;

		(void)gmtime_r(&t, &tm);
		(void)strftime(text, sizeof(text), "%d/%b/%Y:%H:%M:%S +0000", &tm);
		if (!log_time(text, strlen(text), &ns) || ns != (int64_t)t * NS_S)
			fail_msg(
			    "%s: %lld, expected %lld", text, (long long)(ns / NS_S), (long long)t);
		(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
		assert_true(log_time(text, strlen(text), &ns) && ns == (int64_t)t * NS_S);
	}
}

/* ---- who was denied ---- */

static const struct denied_key *
find(const struct denied_key **top, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (top[i]->len == strlen(key) && memcmp(top[i]->key, key, top[i]->len) == 0)
			return top[i];
	return NULL;
}

static void
test_denied_exact(void **state)
{
	const struct denied_key *top[4];
	struct denied d;

	(void)state;
	assert_true(denied_init(&d, 4));
	for (int i = 0; i < 10; i++)
		assert_true(denied_count(&d, 1, "often", 5, 100 + i));
	assert_true(denied_count(&d, 2, "often", 5, 200));
	assert_true(denied_count(&d, 1, "seldom", 6, 300));
	assert_int_equal(denied_top(&d, 4, top), 3);
	assert_int_equal(top[0]->count, 10);
	assert_int_equal(top[0]->first_s, 100);
	assert_int_equal(top[1]->limit, 1);
	assert_int_equal(top[2]->limit, 2);
	assert_int_equal(d.error, 0);
	denied_free(&d);
}

/* More keys than places: counts are too small by `error` at most, and never too large. */
static void
test_denied_bounded(void **state)
{
	enum { KEYS = 1000, PLACES = 64 };
	static uint64_t exact[KEYS];
	const struct denied_key *top[PLACES];
	uint64_t x = 88172645463325252u;
	struct denied d;
	size_t n;

	(void)state;
	assert_true(denied_init(&d, PLACES));
	memset(exact, 0, sizeof(exact));
	for (int i = 0; i < 200000; i++) {
		char key[16];
		unsigned k;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		k = (unsigned)(x % KEYS) * (unsigned)(x >> 32 & 1023) / 1024;
		k = k * k / KEYS;
		exact[k]++;
		(void)snprintf(key, sizeof(key), "k%u", k);
		assert_true(denied_count(&d, 0, key, strlen(key), i));
		assert_true(d.n <= PLACES);
	}
	n = denied_top(&d, PLACES, top);
	assert_true(d.error > 0);
	for (unsigned k = 0; k < KEYS; k++) {
		char key[16];
		const struct denied_key *f;

		(void)snprintf(key, sizeof(key), "k%u", k);
		f = find(top, n, key);
		if (f == NULL ? exact[k] > d.error
			      : f->count > exact[k] || f->count + d.error < exact[k])
			fail_msg("%s: %llu denials, found %llu, error %llu", key,
			    (unsigned long long)exact[k], (unsigned long long)(f ? f->count : 0),
			    (unsigned long long)d.error);
	}
	denied_free(&d);
}

static void
test_progress(void **state)
{
	char text[128];

	(void)state;
	(void)progress_text(text, sizeof(text), 250, 1000, 1200000, UINT64_C(2000000000));
	assert_string_equal(text, " 25% |######                  | 1.2M lines, 600k/s, 0:06 left");
	(void)progress_text(text, sizeof(text), 1000, 1000, 950, UINT64_C(1000000000));
	assert_string_equal(text, "100% |########################| 950 lines, 950/s, 0:00 left");
	(void)progress_text(text, sizeof(text), 5, 0, 20000, UINT64_C(1000000000));
	assert_string_equal(text, "20k lines, 20k/s");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_combined),
		cmocka_unit_test(test_combined_variants),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_user),
		cmocka_unit_test(test_no_request),
		cmocka_unit_test(test_combined_broken),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_names),
		cmocka_unit_test(test_json_order),
		cmocka_unit_test(test_json_broken),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_days),
		cmocka_unit_test(test_denied_exact),
		cmocka_unit_test(test_denied_bounded),
		cmocka_unit_test(test_progress),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
