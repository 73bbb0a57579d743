/*
 * test_client.c - the client of the control socket against a server that answers
 * in pieces, late, wrongly, or not at all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"

/* What the server sends after it has read one line; NULL ends it. */
struct script {
	const char *pieces[8];
	bool hang; /* keep the connection instead of closing it */
};

struct server {
	struct paths paths;
	char dir[64];
	int listener;
	int done[2]; /* closed when the client has seen enough */
	struct script script;
	pthread_t thread;
	char request[4096];
};

static void *
serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->listener, NULL, NULL);
	size_t n = 0;
	char c;

	while (n < sizeof(s->request) - 1 && read(fd, &c, 1) == 1 && c != '\n')
		s->request[n++] = c;
	s->request[n] = 0;
	for (size_t i = 0; i < 8 && s->script.pieces[i]; i++)
		if (send(fd, s->script.pieces[i], strlen(s->script.pieces[i]), MSG_NOSIGNAL) < 0)
			break;
	if (s->script.hang)
		(void)!read(s->done[0], &c, 1);
	close(fd);
	return NULL;
}

static void
server_start(struct server *s, const struct script *script)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	memset(s, 0, sizeof(*s));
	s->script = *script;
	strcpy(s->dir, "/tmp/ration-client-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->paths.socket, sizeof(s->paths.socket), "%s/s", s->dir);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s/s", s->dir);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(s->listener, (struct sockaddr *)&un, sizeof(un)), 0);
	assert_int_equal(listen(s->listener, 4), 0);
	assert_int_equal(pipe(s->done), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
server_stop(struct server *s)
{
	close(s->done[1]);
	pthread_join(s->thread, NULL);
	close(s->done[0]);
	close(s->listener);
	unlink(s->paths.socket);
	rmdir(s->dir);
}

/* One call; returns its code, the result in *result, the text of an error in text. */
static int
call(const struct script *script, json_t **result, struct rpc_error *e)
{
	struct server s;
	struct client c;
	int rc;

	server_start(&s, script);
	rc = client_open(&c, &s.paths, e);
	assert_int_equal(rc, 0);
	c.timeout_ms = 300;
	rc = client_call(&c, "status", json_pack("{s:i}", "n", 1), result, e);
	client_close(&c);
	server_stop(&s);
	if (!strstr(s.request, "\"method\": \"status\"") &&
	    !strstr(s.request, "\"method\":\"status\""))
		fail_msg("request was: %s", s.request);
	return rc;
}

static void
test_answers(void **state)
{
	static const struct script whole = {
		.pieces = { "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":5}}\n" }
	};
	static const struct script pieces = {
		.pieces = { "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{}}\n{\"jso",
		    "nrpc\":\"2.0\",\"id\":1,", "\"result\":{\"a\":5}}", "\n" }
	};
	struct rpc_error e;
	json_t *r;

	assert_int_equal(call(&whole, &r, &e), 0);
	assert_int_equal(json_integer_value(json_object_get(r, "a")), 5);
	json_decref(r);
	assert_int_equal(call(&pieces, &r, &e), 0);
	assert_int_equal(json_integer_value(json_object_get(r, "a")), 5);
	json_decref(r);
}

static void
test_errors(void **state)
{
	static const struct script refused = {
		.pieces = { "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32003,"
			    "\"message\":\"no\",\"data\":{\"mistakes\":[\"m\"]}}}\n" }
	};
	struct rpc_error e;
	json_t *r;

	assert_int_equal(call(&refused, &r, &e), RPC_REFUSED);
	assert_null(r);
	assert_string_equal(e.text, "no");
	assert_int_equal(json_array_size(json_object_get(e.data, "mistakes")), 1);
	rpc_error_clear(&e);
}

static void
test_garbled(void **state)
{
	static const char *const lines[] = { "\n", "nonsense\n", "[]\n", "{\"id\":1}\n",
		"{\"id\":2,\"result\":{}}\n", "{\"id\":\"1\",\"result\":{}}\n", "{\"result\":{}}\n",
		"{\"id\":1,\"error\":{}}\n", "{\"id\":1,\"error\":{\"code\":3}}\n",
		"{\"id\":1,\"error\":{\"code\":-9999999999}}\n", "{\"id\":1,\"error\":7}\n",
		"\xff\xfe{}\n" };

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct script s = { .pieces = { lines[i] } };
		struct rpc_error e;
		json_t *r;

		if (call(&s, &r, &e) != RPC_GARBLED)
			fail_msg("taken for an answer: %s", lines[i]);
		assert_null(r);
		assert_true(e.text[0] != 0);
		rpc_error_clear(&e);
	}
}

static void
test_down(void **state)
{
	static const struct script closes = { .pieces = { "{\"id\":1,\"resu" } };
	static const struct script silent = { .hang = true };
	static const struct script trickles = { .pieces = { "{\"id\":1,", "\"result\":" },
		.hang = true };
	struct paths nowhere = { .socket = "/nonexistent/ration.sock" };
	struct rpc_error e;
	json_t *r;

	assert_int_equal(call(&closes, &r, &e), RPC_DOWN);
	assert_int_equal(call(&silent, &r, &e), RPC_DOWN);
	assert_non_null(strstr(e.text, "did not answer status"));
	assert_int_equal(call(&trickles, &r, &e), RPC_DOWN);
	assert_int_equal(client_once(&nowhere, "status", NULL, &r, &e), RPC_DOWN);
	assert_non_null(strstr(e.text, "/nonexistent/ration.sock"));
	memset(nowhere.socket, 'x', 300);
	assert_int_equal(client_once(&nowhere, "status", NULL, &r, &e), RPC_DOWN);
}

static void
test_events(void **state)
{
	static const struct script script = { .pieces = { "{\"id\":1,\"result\":{}}\n{\"method\":"
							  "\"event\",\"params\":{\"n\":1}}\n",
						  "{\"method\":\"event\",\"par",
						  "ams\":{\"n\":2}}\n" },
		.hang = true };
	struct server s;
	struct client c;
	struct rpc_error e;
	json_t *r;

	server_start(&s, &script);
	assert_int_equal(client_open(&c, &s.paths, &e), 0);
	assert_int_equal(client_call(&c, "watch", NULL, &r, &e), 0);
	json_decref(r);
	for (int i = 1; i <= 2; i++) {
		assert_int_equal(client_event(&c, 2000, &r, &e), 0);
		assert_int_equal(json_integer_value(json_object_get(r, "n")), i);
		json_decref(r);
	}
	assert_int_equal(client_event(&c, 50, &r, &e), 1);
	client_close(&c);
	server_stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_garbled),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
