/*
 * log_input.h - the lines of a file, of standard input, or of what zcat makes of a .gz.
 */
#ifndef RATION_LOG_INPUT_H
#define RATION_LOG_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct log_input {
	int fd;
	pid_t unpacker; /* 0: none */
	char *buf;
	size_t start, end; /* of what was read and not yet given out */
	bool eof;
	uint64_t size;  /* bytes of the file; 0: nobody knows */
	uint64_t bytes; /* given out */
};

/* path "-": standard input.  0; or -1, errno says why. */
int log_input_open(struct log_input *in, const char *path);
/* The first line without taking it; NULL: there is none. */
const char *log_input_peek(struct log_input *in, size_t *len);
/*
 * The next line, without its end; it is the caller's to write over, one byte behind it too, until
 * the next call.  *len above LOG_LINE_MAX: it was longer than that and is gone.  NULL: the end, a
 * signal, or an error (*error: errno).
 */
char *log_input_line(struct log_input *in, size_t *len, int *error);
/* False: what unpacked it failed. */
bool log_input_close(struct log_input *in);

#endif
