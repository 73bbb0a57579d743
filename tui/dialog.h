/*
 * dialog.h - asking before something is changed.
 *
 * A dialog pins its target when it opens and names it: rows may move beneath it.
 * The focus starts on Cancel and Enter never commits; `y` does, when no text is
 * being typed.  What touches more than one key, refuses everything, or lets
 * more than ten times as much through, wants the limit's name typed first.
 *
 * It knows nothing of the daemon: edit.c fills it in and acts on its outcome.
 */
#ifndef RATION_DIALOG_H
#define RATION_DIALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "field.h"
#include "model.h"
#include "rate.h"

struct screen;

#define RATES_TEXT_MAX 256u

enum dialog_kind { DIALOG_EDIT, DIALOG_RESET };
enum dialog_scope { SCOPE_KEY, SCOPE_PLAN, SCOPE_LIMIT, SCOPES };
enum dialog_focus { FOCUS_RATES, FOCUS_SCOPE, FOCUS_FOR, FOCUS_REASON, FOCUS_NAME, FOCUS_CANCEL };
enum dialog_end { DIALOG_STAYS, DIALOG_CANCELLED, DIALOG_COMMITTED };

struct dialog {
	enum dialog_kind kind;
	char limit[RATION_NAME_MAX + 1];
	char key[KEY_TEXT_MAX];               /* strvis text; "": no key (SCOPE_KEY not offered) */
	char plan[RATION_NAME_MAX + 1];       /* "": SCOPE_PLAN not offered */
	char current[SCOPES][RATES_TEXT_MAX]; /* rates in force, per scope */
	int64_t touches[SCOPES];              /* keys; -1: not known */
	char used[128];                       /* of a reset: "97 of 300, 3 of 30" */
	/* Of an edit of a key: what is used in each window now. */
	struct {
		uint64_t units;
		uint64_t window_ns;
	} now[RATION_RATES_MAX];
	unsigned nnow;
	int64_t generation; /* of the limit, when `current` was read; -1: unknown */
	enum dialog_scope scope;
	enum dialog_focus focus;
	struct field rates;
	struct field duration;
	struct field reason;
	struct field name;
	bool rates_typed; /* not what was filled in any more */
	char note[256];   /* what is wrong, or what somebody else did */
};

/* Set up the focus and the first scope on offer; the target is filled in by the caller. */
void dialog_open(struct dialog *d, enum dialog_kind kind);
enum dialog_end dialog_key(struct dialog *d, int key);
void dialog_draw(const struct dialog *d, struct screen *s);
void dialog_note(struct dialog *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Must the limit's name be typed for this change? */
bool dialog_wants_name(const struct dialog *d);
/* Is "to" a change from "from" that refuses everything or lets over ten times as much through? */
bool dialog_drastic(const char *from, const char *to);
/* The duration asked for, in s; 0: for good. */
uint64_t dialog_for_s(const struct dialog *d);

#endif
