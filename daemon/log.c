#include "log.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <vis.h>

#define LINE 2048
#define PATIENCE_MS 100

/* Messages that nobody took. */
static unsigned long lost;

/*
 * Whoever reads our messages may have stopped: that must not stop rationd.  What cannot be
 * written at once, or soon if the last one could, is counted, and told with the next that can.
 */
static bool
writable(void)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&p, 1, lost == 0 ? PATIENCE_MS : 0) != 0;
}

/*
 * One write(2) a line, so that lines of several writers to one pipe stay whole; and no more than
 * a pipe takes without waiting once it is writable.
 */
static void
line(const char *level, const char *fmt, va_list ap)
{
	char text[LINE], out[4 * LINE + 128];
	size_t n = 0;
	ssize_t ignored;

	if (!writable()) {
		lost++;
		return;
	}
	if (lost > 0)
		n = (size_t)snprintf(
		    out, sizeof(out), "rationd: warning: %lu messages lost\n", lost);
	lost = 0;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	n += (size_t)snprintf(out + n, sizeof(out) - n, "rationd: %s", level);
	/* Keys stand in the text escaped already: the backslash stays as it is. */
	n += (size_t)strvis(out + n, text, VIS_OCTAL | VIS_TAB | VIS_NL | VIS_NOSLASH);
	if (n > PIPE_BUF - 1)
		n = PIPE_BUF - 1;
	out[n++] = '\n';
	ignored = write(STDERR_FILENO, out, n);
	(void)ignored; /* nobody is left to tell */
}

void
log_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("", fmt, ap);
	va_end(ap);
}

void
log_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("warning: ", fmt, ap);
	va_end(ap);
}

void
log_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("error: ", fmt, ap);
	va_end(ap);
}
