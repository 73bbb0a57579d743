/*
 * test_config_deliver.c - the section `deliver`: every mistake at its place; what is told to whom;
 * secrets in files of their own.
 */
#include "model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

#define ITEM(fields) "deliver:\n  - {" fields "}\n"
#define COMMAND "command: [/bin/true]"

static const struct {
	const char *text, *mistake;
} bad[] = {
	{ "deliver: {name: a}\n",
	    "p.yaml:1:10: found a mapping, expected a list of receivers such as" },
	{ "deliver: [a]\n", "p.yaml:1:11: found \"a\", expected a mapping with name, command" },
	{ ITEM("name: a, nam: a, " COMMAND),
	    "p.yaml:2:15: found \"nam\" in a receiver, expected name" },
	{ ITEM(COMMAND), "p.yaml:2:5: found a receiver without a name" },
	{ ITEM("name: 'a b', " COMMAND), "p.yaml:2:12: found \"a b\", expected a receiver's name" },
	{ ITEM("name: a"), "p.yaml:2:5: found a receiver without command and webhook" },
	{ ITEM("name: a, " COMMAND ", webhook: 'http://x/'"),
	    "p.yaml:2:37: found a webhook beside a command, expected one of them" },
	{ ITEM("name: a, " COMMAND "}\n  - {name: a, " COMMAND),
	    "p.yaml:3:12: found the receiver \"a\" again, expected each name once (first at "
	    "p.yaml:2)" },
	{ ITEM("name: a, command: tell"), "p.yaml:2:24: found \"tell\", expected a list of 1 to" },
	{ ITEM("name: a, command: []"),
	    "p.yaml:2:24: found another number of words, expected a list of 1 to 64 words" },
	{ ITEM("name: a, command: [tell, x]"),
	    "p.yaml:2:25: found \"tell\", expected the absolute path of a program" },
	{ ITEM("name: a, command: [/bin/x, [y]]"),
	    "p.yaml:2:33: found a list, expected a word of up to 2047 bytes" },
	{ ITEM("name: a, webhook: 'ftp://x/'"), "p.yaml:2:24: found \"ftp://x/\", expected a URL" },
	{ ITEM("name: a, webhook: 'http://'"), "p.yaml:2:24: found \"http://\", expected a URL" },
	{ ITEM("name: a, webhook: 'https:///x'"), "p.yaml:2:24: found \"https:///x\", expected a" },
	{ ITEM("name: a, webhook: 'http://x/a b'"), "p.yaml:2:24: found \"http://x/a b\"" },
	{ ITEM("name: a, webhook: \"http://x/\\r\\nA: b\""), "p.yaml:2:24: found" },
	{ ITEM("name: a, " COMMAND ", secret_file: x"),
	    "p.yaml:2:37: found a secret for a command, expected one for a webhook alone" },
	{ ITEM("name: a, " COMMAND ", timeout: 10"), "p.yaml:2:46: " },
	{ ITEM("name: a, " COMMAND ", timeout: 10ms"),
	    "p.yaml:2:46: found \"10ms\", expected a time from 100ms to 1h" },
	{ ITEM("name: a, " COMMAND ", timeout: 2h"),
	    "p.yaml:2:46: found \"2h\", expected a time from 100ms to 1h" },
	{ ITEM("name: a, " COMMAND ", at_once: 0"), "p.yaml:2:46: found 0, expected 1 to 64" },
	{ ITEM("name: a, " COMMAND ", at_once: 65"), "p.yaml:2:46: found 65, expected 1 to 64" },
	{ ITEM("name: a, " COMMAND ", only: []"), "p.yaml:2:43: found an empty list" },
	{ ITEM("name: a, " COMMAND ", only: [treshold]"),
	    "p.yaml:2:44: found \"treshold\", expected threshold, reminder, request, approved or "
	    "declined; did you mean threshold?" },
	{ ITEM("name: a, " COMMAND ", retry: {first: 1min, most: 1s}"),
	    "p.yaml:2:44: found a longest wait that is shorter than the first" },
	{ ITEM("name: a, " COMMAND ", retry: {give_up: 32d}"),
	    "p.yaml:2:54: found \"32d\", expected a time from 1s to 31d" },
	{ ITEM("name: a, " COMMAND ", queue: 2M"), "p.yaml:2:44: found 2M, expected 1 to 1000000" },
};

static struct config *
parse(const char *text, struct mistakes *m)
{
	struct config *c = NULL;

	memset(m, 0, sizeof(*m));
	(void)config_parse("p.yaml", text, strlen(text), &c, m);
	return c;
}

static void
test_bad(void **state)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct mistakes m;
		struct config *c = parse(bad[i].text, &m);

		if (c != NULL)
			fail_msg("taken: %s", bad[i].text);
		if (m.n != 1 || strncmp(m.text[0], bad[i].mistake, strlen(bad[i].mistake)) != 0)
			fail_msg("%s\n%zu mistakes: %s\nexpected %s", bad[i].text, m.n,
			    m.n > 0 ? m.text[0] : "", bad[i].mistake);
		mistakes_free(&m);
	}
}

/* Of a receiver without a name of its own, too. */
static void
test_all_of_them(void **state)
{
	struct mistakes m;

	assert_null(parse("deliver:\n"
			  "  - {name: a, " COMMAND "}\n"
			  "  - {name: a, command: /bin/x, timeout: 1ms}\n",
	    &m));
	assert_int_equal(m.n, 3);
	assert_non_null(strstr(m.text[1], "p.yaml:3:24: found \"/bin/x\", expected a list"));
	mistakes_free(&m);
}

static void
test_too_many(void **state)
{
	char text[4096] = "deliver:\n";
	struct mistakes m;

	for (unsigned i = 0; i <= RECEIVERS_MAX; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "  - {name: r%u, " COMMAND "}\n", i);
	assert_null(parse(text, &m));
	assert_string_equal(m.text[0], "p.yaml:18:5: found one more receiver, expected at most 16");
	mistakes_free(&m);
}

static void
test_good(void **state)
{
	static const char text[] =
	    "deliver:\n"
	    "  - {name: ops, command: [/bin/tell, -q, 5], only: [threshold, reminder], at_once: "
	    "5,\n"
	    "     timeout: 1min30s, queue: 10k, retry: {first: 2s, most: 1h, give_up: 7d}}\n"
	    "  - {name: hook, webhook: 'https://ops.example:8443/a?b=c'}\n";
	const struct receiver *r;
	struct mistakes m;
	struct config *c = parse(text, &m);
	unsigned n;

	assert_non_null(c);
	r = config_receivers(c, &n);
	assert_int_equal(n, 2);
	assert_string_equal(r[0].name, "ops");
	assert_string_equal(r[0].argv[2], "5");
	assert_null(r[0].argv[3]);
	assert_int_equal(r[0].timeout_ms, 90000);
	assert_int_equal(r[0].at_once, 5);
	assert_int_equal(r[0].queue, 10000);
	assert_int_equal(r[0].first_ms, 2000);
	assert_int_equal(r[0].most_ms, 3600000);
	assert_int_equal(r[0].give_up_ms, INT64_C(7) * 86400000);
	assert_null(r[1].argv);
	assert_int_equal(r[1].at_once, 1);
	assert_int_equal(r[1].queue, 100000);
	assert_int_equal(deliver_receivers(c, "threshold"), 3);
	assert_int_equal(deliver_receivers(c, "reminder"), 3);
	assert_int_equal(deliver_receivers(c, "request"), 2);
	assert_int_equal(deliver_receivers(c, "of a later version"), 2);
	assert_true(config_secrets(c, &m));
	config_free(c);
}

/* ---- secrets ---- */

static char dir[64];

static void
put(const char *name, const char *text, mode_t mode)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static void
drop(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	(void)unlink(path);
}

/* Why the secret cannot be used, NULL: it can, and is this. */
static void
check_secret(const char *why, const char *secret)
{
	char path[128], want[512];
	struct mistakes m = { 0 };
	const struct receiver *r;
	struct config *c;
	unsigned n;

	(void)snprintf(path, sizeof(path), "%s/p.yaml", dir);
	assert_int_equal(config_load(path, &c, &m), 0);
	if (why == NULL) {
		assert_true(config_secrets(c, &m));
		r = config_receivers(c, &n);
		assert_int_equal(r[0].secret_len, strlen(secret));
		assert_memory_equal(r[0].secret, secret, strlen(secret));
	} else {
		(void)snprintf(want, sizeof(want),
		    "%s:2:50: found the secret file %s/secret (%s), expected a regular file of 16 "
		    "to 4096 bytes that others cannot read",
		    path, dir, why);
		assert_false(config_secrets(c, &m));
		assert_int_equal(m.n, 1);
		assert_string_equal(m.text[0], want);
	}
	mistakes_free(&m);
	config_free(c);
}

static void
test_secrets(void **state)
{
	char path[128];

	(void)snprintf(dir, sizeof(dir), "/tmp/ration-test.XXXXXX");
	assert_non_null(mkdtemp(dir));
	put("p.yaml", ITEM("name: a, webhook: 'http://x/', secret_file: secret"), 0600);
	check_secret("No such file or directory", NULL);
	put("secret", "0123456789abcdef\n", 0600);
	check_secret(NULL, "0123456789abcdef");
	put("secret", "0123456789abcdef\n\n", 0640);
	check_secret(NULL, "0123456789abcdef\n");
	put("secret", "0123456789abcde\n", 0600);
	check_secret("15 bytes", NULL);
	put("secret", "0123456789abcdef", 0644);
	check_secret("mode 0644, open to everybody", NULL);
	drop("secret");
	(void)snprintf(path, sizeof(path), "%s/secret", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	check_secret("not a regular file", NULL); /* and nobody waits for a writer */
	drop("secret");
	drop("p.yaml");
	assert_int_equal(rmdir(dir), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_all_of_them),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
