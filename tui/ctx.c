/*
 * ctx.c - finding and mapping the instance, for every command that only looks.
 *
 * Always read-only: what takes or gives back goes through the library and its own mapping.
 */
#include "tui.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

void
complain(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("ration: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

uint64_t
mono_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

int
ctx_attach_quiet(struct ctx *c)
{
	int rc;

	if (c->attached)
		return 0;
	rc = segment_attach(&c->paths, false, &c->seg);
	c->attached = rc == 0;
	return rc;
}

int
ctx_attach(struct ctx *c)
{
	int rc = ctx_attach_quiet(c);

	if (rc == 0)
		return 0;
	if (rc == RATION_ENOSEG)
		complain("instance %s: no segment %s; start it with: rationd%s%s%s%s",
		    c->paths.instance, c->paths.counters, c->instance ? " -i " : "",
		    c->instance ? c->instance : "", c->dir ? " --dir " : "", c->dir ? c->dir : "");
	else if (rc == RATION_ESYS)
		complain(
		    "instance %s: %s: %s", c->paths.instance, c->paths.counters, strerror(errno));
	else
		complain("instance %s: %s: %s", c->paths.instance, c->paths.counters,
		    ration_strerror(rc));
	return EXIT_SERVICE;
}

void
ctx_detach(struct ctx *c)
{
	if (c->attached)
		segment_detach(&c->seg);
	c->attached = false;
}

uint64_t
ctx_now(struct ctx *c)
{
	return clock_precise(&c->clock, c->seg.policy);
}
