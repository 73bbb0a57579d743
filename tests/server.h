/*
 * server.h - the real rationd in a directory of its own: started, asked over its socket,
 * stopped, killed.  For tests from the outside; what fails here fails the test.
 *
 * Nothing sleeps: readiness is a line on its standard error, everything else is an answer
 * or an event.  Every wait has a limit of WAIT_MS, after which the test fails.
 */
#ifndef TESTS_SERVER_H
#define TESTS_SERVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <sys/types.h>

#define WAIT_MS 20000
#define LOG_MAX (256 * 1024)

extern const char *program; /* rationd */

/* One rationd and its directory. */
struct server {
	char dir[64];
	pid_t pid; /* 0: not running */
	int err;   /* its standard error */
	char log[LOG_MAX];
	size_t len;
};

/* cmocka's fixtures: *state is a struct server in an empty directory. */
int setup(void **state);
/* The same, with rationd running by this policy. */
int setup_running(void **state, const char *policy);
int teardown(void **state);

void path_in(const struct server *s, const char *name, char *out, size_t size);
void put_file(const struct server *s, const char *name, const char *text);
/* A policy of `keys` keys on plans: as large as wanted. */
void put_large(const struct server *s, const char *limits, int keys);
bool exists(const struct server *s, const char *name);
int64_t mono_ms(void);
/* Processor time of a process, ms. */
int64_t cpu_ms(pid_t pid);
/* Its resident memory. */
long resident_kb(pid_t pid);

void spawn(struct server *s, const char *const *args);
/* Read its messages until `text` is among them.  False: it ended. */
bool wait_log(struct server *s, const char *text);
/* Its exit status, -signal. */
int reap(struct server *s);
/* Start, and wait until it is ready. */
void start_with(struct server *s, const char *const *args);
void start(struct server *s);
int stop(struct server *s, int sig);

/* Connect; -1: nobody listens. */
int dial(const struct server *s);
bool put(int fd, const void *bytes, size_t n);
/* A line as JSON, NULL: the connection ended. */
json_t *get(int fd);
/* Call a method; params as JSON text with ' for ". */
json_t *call_fd(int fd, const char *method, const char *params);
json_t *call(const struct server *s, const char *method, const char *params);
/* The error's code, 0: it succeeded.  Consumes j. */
int code(json_t *j);
/* The result of a call that succeeds. */
json_t *ok(const struct server *s, const char *method, const char *params);
json_int_t number(const struct server *s, const char *method, const char *name);
/* "300/min, 30/s" of a limit, and its generation. */
void assert_rates(
    const struct server *s, const char *limit, const char *want, json_int_t *generation);
int watch(const struct server *s);
/* The next event of a type. */
void wait_event(int fd, const char *type);
/* How many of n calls of cost 1 the limit admits. */
int admitted(const struct server *s, const char *limit, const char *key, int n);

#endif
