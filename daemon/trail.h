/*
 * trail.h - what an audit entry keeps so that it can be taken back.
 *
 * The live changes about one thing (the rates of a limit for a key, a key's plan, the share)
 * are a state, nearly always of none, one or two.  An entry holds that state before it and after
 * it, as JSON.  Going back is then the same for every kind of change: if the state is still
 * the one after, put the one before in its place.  A change that comes back is the very same
 * one, with its id: so ids alone tell two states apart, whatever happened in between, and its
 * place among the others is the old one.
 *
 * The state of a raise that was asked for belongs to it where an entry decided one.
 */
#ifndef RATIOND_TRAIL_H
#define RATIOND_TRAIL_H

#include "live.h"

#define TRAIL_REQUEST 16

struct trail {
	bool alone;        /* the request's state is all of it */
	struct change *at; /* owned; by id */
	size_t n;
	char request[TRAIL_REQUEST]; /* its state; "": the entry is not about one */
};
void trail_free(struct trail *t);

/* The live changes about the same thing as this one.  False: out of memory. */
bool trail_now(const struct live *l, const struct change *about, struct trail *out);
/* The same live changes? */
bool trail_same(const struct trail *a, const struct trail *b);

/* As text, malloced; NULL: out of memory. */
char *trail_text(const struct trail *t);
/* What a change is about; with a number, the request alone. */
char *trail_subject(const struct change *about, int64_t request);
/* And back.  False: that is no such text. */
bool trail_parse(const char *text, struct trail *out);
bool trail_subject_parse(const char *text, struct change *about);

#endif
