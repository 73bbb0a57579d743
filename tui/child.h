/*
 * child.h - running a command that must not outlive what it runs under.
 *
 * It runs as a child: what is held for it is held by us, and the kernel kills it (SIGKILL)
 * when we end, however that happens.  What it starts itself is its own.
 */
#ifndef RATION_CHILD_H
#define RATION_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Exit codes of env(1), sh(1) and others. */
enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

struct child {
	pid_t pid;
	int error; /* errno of what kept it from running; 0: it runs */
};

/* Start argv, searched in PATH.  False: it did not run, and `error` says why. */
bool child_start(struct child *c, char *const *argv);
/*
 * Wait for its end; signals that would end us are passed on to it.  until_ns: CLOCK_MONOTONIC,
 * then it is killed; 0: never.  Its exit status, or 128 and the signal that ended it.
 */
int child_wait(struct child *c, uint64_t until_ns);

#endif
