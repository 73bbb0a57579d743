#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <vis.h>

#define LINE 2048

/* One write(2) a line, so that lines of several writers to one pipe stay whole. */
static void
line(const char *level, const char *fmt, va_list ap)
{
	char text[LINE], out[4 * LINE + 64];
	size_t n;
	ssize_t ignored;

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	n = (size_t)snprintf(out, sizeof(out), "rationd: %s", level);
	/* Keys stand in the text escaped already: the backslash stays as it is. */
	n += (size_t)strvis(out + n, text, VIS_OCTAL | VIS_TAB | VIS_NL | VIS_NOSLASH);
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
