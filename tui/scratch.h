/*
 * scratch.h - an instance for one command: a segment in a directory that nobody else may enter,
 * made by rationd --make, and gone with the command.
 *
 * The directory is locked while the command lives.  After a SIGKILL it stays, and the next command
 * removes it: whoever gets the lock of a directory knows that its owner has ended.
 */
#ifndef RATION_SCRATCH_H
#define RATION_SCRATCH_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct scratch {
	char dir[512];
	int lock;
	const char *policy;
	char rationd[1024];
};

/* The signal that asked us to end; 0: none.  Loops look at it. */
extern volatile sig_atomic_t scratch_signal;

/* Find rationd, make the directory, watch for signals.  EXIT_OK, or an exit code and it was said.
 */
int scratch_open(struct scratch *s, const char *policy);
/*
 * Make the segment with its calendar around Unix second at_s and room for so many keys; or give
 * the one that is there another calendar.  EXIT_OK, or an exit code: rationd has said what is wrong
 * with the policy.
 */
int scratch_make(struct scratch *s, int64_t at_s, uint64_t keys);
/* Away with the segment. */
void scratch_clear(const struct scratch *s);
/* Bytes that the file system still has. */
uint64_t scratch_room(const struct scratch *s);
/* Away with everything; if a signal was caught, we end by it here. */
void scratch_close(struct scratch *s);

/* Run argv[0], found in PATH unless it has a slash; out: its standard output, -1: ours.  -1: errno.
 */
pid_t scratch_spawn(char *const *argv, int out);
/* Its exit status, 128 and the signal that ended it.  A signal to us ends it. */
int scratch_wait(pid_t pid);

#endif
