/*
 * keys.h - the dashboard's keys: dispatch, the help screen and the manual's
 * section are all made from this one list, so none of them can drift from the others
 * (test_top compares the manual).
 *
 * Printable keys only, besides those that every keyboard names: Ctrl-letters are
 * taken by terminals, tmux and screen readers.  Function keys are aliases.
 *
 *	K(action, shown, key, alias, where, group, text)
 *
 * shown: as the manual and the help print it.  alias: a second code, or SK_NONE.
 * where: the views that know it.
 */
#ifndef RATION_KEYS_H
#define RATION_KEYS_H

#include "screen.h"

enum where {
	IN_KEYS = 1,
	IN_LIMITS = 2,
	IN_DETAIL = 4,
	IN_EVENTS = 8,
	IN_AUDIT = 16,
	IN_HELP = 32,
	IN_TABS = IN_KEYS | IN_LIMITS | IN_EVENTS | IN_AUDIT,
	IN_ALL = IN_TABS | IN_DETAIL | IN_HELP,
};

enum key_group { GROUP_MOVE, GROUP_SHOW, GROUP_CHANGE, GROUP_OTHER, GROUPS };

#define KEYS(K) \
	K(ACT_DOWN, "j, Down", 'j', SK_DOWN, IN_ALL, GROUP_MOVE, "next row") \
	K(ACT_UP, "k, Up", 'k', SK_UP, IN_ALL, GROUP_MOVE, "previous row") \
	K(ACT_PGDN, "PgDn", SK_PGDN, SK_NONE, IN_ALL, GROUP_MOVE, "next page") \
	K(ACT_PGUP, "PgUp", SK_PGUP, SK_NONE, IN_ALL, GROUP_MOVE, "previous page") \
	K(ACT_TOP, "g, Home", 'g', SK_HOME, IN_ALL, GROUP_MOVE, "first row") \
	K(ACT_BOTTOM, "G, End", 'G', SK_END, IN_ALL, GROUP_MOVE, "last row") \
	K(ACT_OPEN, "Enter", SK_ENTER, SK_NONE, IN_KEYS | IN_LIMITS, GROUP_MOVE, \
	    "detail of the key; on a limit, its keys") \
	K(ACT_BACK, "Esc", SK_ESC, SK_NONE, IN_ALL, GROUP_MOVE, "back") \
	K(ACT_TAB_KEYS, "1", '1', SK_NONE, IN_ALL, GROUP_SHOW, "keys") \
	K(ACT_TAB_LIMITS, "2", '2', SK_NONE, IN_ALL, GROUP_SHOW, "limits") \
	K(ACT_TAB_EVENTS, "5", '5', SK_NONE, IN_ALL, GROUP_SHOW, \
	    "events, as rationd reports them") \
	K(ACT_TAB_AUDIT, "6", '6', SK_NONE, IN_ALL, GROUP_SHOW, \
	    "audit: who changed what, and why") \
	K(ACT_TAB_NEXT, "Tab", SK_TAB, SK_NONE, IN_ALL, GROUP_SHOW, "next screen") \
	K(ACT_FILTER, "/", '/', SK_NONE, IN_KEYS, GROUP_SHOW, \
	    "filter: words, column:value, column>n; smart case") \
	K(ACT_CLEAR, "\\", '\\', SK_NONE, IN_KEYS, GROUP_SHOW, "clear the filter") \
	K(ACT_SORT_LEFT, "<", '<', SK_NONE, IN_KEYS, GROUP_SHOW, "sort by the column to the left") \
	K(ACT_SORT_RIGHT, ">", '>', SK_NONE, IN_KEYS, GROUP_SHOW, \
	    "sort by the column to the right") \
	K(ACT_INVERT, "I", 'I', SK_NONE, IN_KEYS, GROUP_SHOW, "invert the order") \
	K(ACT_IDLE, "i", 'i', SK_NONE, IN_KEYS, GROUP_SHOW, "show or hide idle keys") \
	K(ACT_PAUSE, "p", 'p', SK_NONE, IN_ALL, GROUP_SHOW, "pause; again: go on") \
	K(ACT_FASTER, "+", '+', '=', IN_ALL, GROUP_SHOW, "look more often") \
	K(ACT_SLOWER, "-", '-', SK_NONE, IN_ALL, GROUP_SHOW, "look less often") \
	K(ACT_EDIT, "e", 'e', SK_NONE, IN_KEYS | IN_LIMITS | IN_DETAIL, GROUP_CHANGE, \
	    "edit the limit, for this key, its plan or all") \
	K(ACT_RESET, "x", 'x', SK_NONE, IN_KEYS | IN_DETAIL, GROUP_CHANGE, \
	    "reset what the key has used") \
	K(ACT_UNDO, "u", 'u', SK_NONE, IN_ALL, GROUP_CHANGE, \
	    "undo your own last change, for 10 seconds") \
	K(ACT_HELP, "?", '?', SK_F1, IN_ALL, GROUP_OTHER, "this help") \
	K(ACT_QUIT, "q", 'q', SK_F10, IN_ALL, GROUP_OTHER, "leave a sub-screen; at the top, leave")

enum action {
	ACT_NONE,
#define K(action, shown, key, alias, where, group, text) action,
	KEYS(K)
#undef K
	    ACTIONS
};

struct key_def_row {
	enum action action;
	const char *shown;
	int key;
	int alias;
	int where;
	enum key_group group;
	const char *text;
};

extern const struct key_def_row key_table[];
extern const size_t key_table_len;
extern const char *const key_group_names[GROUPS];

/* What a key means in a view; ACT_NONE: nothing. */
enum action key_action(int key, enum where where);

/* The manual's section about keys, as mdoc. */
void key_manual(FILE *out);

#endif
