/*
 * wish.h - a change on its way: what the methods that change something share.
 *
 * Each method fills in what it wants; wish_apply() compares generations, validates, makes
 * durable, publishes and tells, in that order, the same for all.
 */
#ifndef RATIOND_WISH_H
#define RATIOND_WISH_H

#include "rpc.h"
#include "trail.h"

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
	char target[TARGET_TEXT]; /* for the audit; "": what the change is about */
	/* The audit's way back; owned. */
	char *subject, *before, *after;
	/* A raise that it decides: number, state before and after. */
	int64_t request;
	const char *request_before, *request_after;
	int64_t undoes; /* audit entry that it takes back */
	/* As in struct live_edit; the audit entry has been written. */
	bool (*also)(void *arg, struct store *s, char *err, size_t errsize);
	void *also_arg;
};

/* What all of them take; false: the call has failed. */
bool wish_reason(struct call *c, const char **out);
bool wish_common(struct call *c, struct wish *w, enum change_kind kind, const char *action);
bool wish_limit(struct call *c, struct wish *w, bool required);
bool wish_until(struct call *c, struct change *ch);
bool wish_name(struct call *c, const char *param, bool required, char out[RATION_NAME_MAX + 1]);
/* Rates as text, of an entitlement its value, into the change. */
bool wish_rates(struct call *c, struct wish *w, const char *param, const char *text);
/* Is the generation the expected one? */
bool wish_expect(struct call *c, const struct wish *w);

/* What is in force for the target, new, and as text; "live": by a change, not by the files. */
json_t *wish_state(struct call *c, const struct wish *w, char *text, size_t size);
/* All of it, with the call's answer. */
bool wish_apply(struct call *c, struct wish *w);

/* ---- in parts ---- */

/* Its audit entry; the event and log line made of one. */
void wish_audit(const struct call *c, const struct wish *w, struct audit *a);
void wish_tell(struct call *c, const struct audit *a);
/* The call's answer, when it is done and when it is not. */
void wish_answer(struct call *c, struct wish *w);
/* The edit, validated, durable and in force; then what is new, and the answer.  False: it was said.
 */
bool wish_edit(struct call *c, struct wish *w, const struct live_edit *e);
bool wish_failed(struct call *c, enum live_result result, const struct mistakes *m);
/* What it owns. */
void wish_free(struct wish *w);

#endif
