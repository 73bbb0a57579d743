/*
 * wish.h - a change on its way: what the methods of change.c and act.c share.
 */
#ifndef RATIOND_WISH_H
#define RATIOND_WISH_H

#include "rpc.h"

/* A change on its way. */
struct wish {
	struct change change; /* what comes; also names the target of what goes */
	bool adds;
	bool removes;   /* what is live about the target goes; there must be something */
	int64_t limit;  /* id, -1: not about one */
	int64_t expect; /* generation; -1: whatever it is */
	bool dry_run;
	const char *reason;
	json_t *old; /* for the answer; owned */
	json_t *new;
	char old_text[VALUE_TEXT];
	char new_text[VALUE_TEXT];
	const char *action;
};

/* What all of them take; false: the call has failed. */
bool wish_reason(struct call *c, const char **out);
bool wish_common(struct call *c, struct wish *w, enum change_kind kind, const char *action);
bool wish_limit(struct call *c, struct wish *w, bool required);
/* Is the generation the expected one? */
bool wish_expect(struct call *c, const struct wish *w);

/* Its audit entry; the event and log line made of one. */
void wish_audit(const struct call *c, const struct wish *w, struct audit *a);
void wish_tell(struct call *c, const struct audit *a);
/* The call's answer, when it is done and when it is not. */
void wish_answer(struct call *c, struct wish *w);
bool wish_failed(struct call *c, enum live_result result, const struct mistakes *m);

#endif
