/*
 * progress.h - how far a long command is, in one line on standard error; nothing where that is no
 * terminal.
 */
#ifndef RATION_PROGRESS_H
#define RATION_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
	bool on;
	bool shown;
	uint64_t total; /* bytes; 0: nobody knows */
	uint64_t start_ns;
	uint64_t next_ns;
};

void progress_start(struct progress *p, uint64_t total);
/* To be called every few thousand lines: it draws five times a second. */
void progress_at(struct progress *p, uint64_t bytes, uint64_t lines);
/* The line goes away. */
void progress_end(struct progress *p);
/* " 42% |####    | 1.2M lines, 812k/s, 0:07 left": as snprintf(). */
int progress_text(
    char *buf, size_t size, uint64_t bytes, uint64_t total, uint64_t lines, uint64_t ns);

#endif
