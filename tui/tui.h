/*
 * tui.h - what all commands of `ration` share: where the instance is, how to
 * print, the segment mapped read-only.
 */
#ifndef RATION_TUI_H
#define RATION_TUI_H

#include <stdio.h>

#include "model.h"

/* Exit codes, everywhere; `acquire` answers EXIT_REFUSED for denied. */
enum { EXIT_OK = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2, EXIT_SERVICE = 3 };

struct ctx {
	const char *instance; /* -i, NULL: $RATION_INSTANCE or "default" */
	const char *dir;      /* --dir, NULL: $RATION_DIR or where paths_find() looks */
	bool json;            /* --json */
	bool color;           /* stdout is a terminal, NO_COLOR is not set, TERM is not dumb */
	struct paths paths;   /* filled in before a command runs */
	struct clock clock;
	struct segment seg; /* after ctx_attach() */
	bool attached;
};

/*
 * Map the segment read-only.  0; or an exit code, with the reason said on stderr.  Again
 * after a retirement (seg.head->retired): ctx_detach() first.
 */
int ctx_attach(struct ctx *c);
/* The same without a word: 0 or RATION_E.... */
int ctx_attach_quiet(struct ctx *c);
void ctx_detach(struct ctx *c);
/* Shared time, precise; the segment must be attached. */
uint64_t ctx_now(struct ctx *c);
uint64_t mono_now(void);

/* "ration: what: why; what to do" on stderr. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * The dashboard.  argv[0] is "top"; options of the whole program (-i, --dir,
 * --json, --help) have been taken out of argv already.  Without a terminal, or
 * with -b, it prints one snapshot.  Returns an exit code.
 */
int top_main(struct ctx *c, int argc, char **argv);

#endif
