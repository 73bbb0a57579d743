/*
 * command.h - the real `ration` run against a server's directory: what it printed, what it
 * said, how it ended.  For tests from the outside.
 */
#ifndef TESTS_COMMAND_H
#define TESTS_COMMAND_H

#include "server.h"

extern const char *command; /* ration */

/* A run that has ended. */
struct ran {
	int code;
	char out[262144], err[4096];
};
extern struct ran ran;

/* Run it with these arguments (up to NULL); its exit code. */
int run(const struct server *s, ...);
/* The same, which must end with `want`. */
#define RUN(want, s, ...) \
	do { \
		if (run(s, __VA_ARGS__, NULL) != (want)) \
			fail_msg( \
			    "exit %d, expected %d\n%s%s", ran.code, (want), ran.out, ran.err); \
	} while (0)

/* One that runs: in and out are ends of pipes. */
struct running {
	pid_t pid;
	int in, out;
};
struct running launch(const struct server *s, const char *const *args);
/* The next line that it prints; false: no more. */
bool next_line(const struct running *r, char *line, size_t size);
/* Its exit code, 128 and the signal that ended it; closes the pipes. */
int ended(struct running *r);

/* Units used of a limit, over all keys or of one, as `ration list` says. */
json_int_t used(const struct server *s, const char *limit, const char *key);
/* Wait until that is so many, at most ms; how long it took. */
int64_t wait_used(const struct server *s, const char *limit, json_int_t want, int64_t ms);

#endif
