/*
 * top.h - the dashboard's inside: what its loop, header, dialogs and views share.
 *
 * Watching changes nothing: the segment is mapped read-only, and every change
 * goes over rationd's socket, where it is compared, checked and audited.
 * Without rationd the dashboard goes on from the mapping and says so.
 *
 * A view is a table of functions (struct view_ops); a new one is one file and
 * one line in views[].  All times come from t->now, read once a turn of the
 * loop, so that tests own them.
 */
#ifndef RATION_TOP_H
#define RATION_TOP_H

#include <jansson.h>

#include "client.h"
#include "dialog.h"
#include "field.h"
#include "filter.h"
#include "keys.h"
#include "model.h"
#include "screen.h"
#include "tui.h"

#define HOLD_NS UINT64_C(3000000000)  /* after a movement the order stays */
#define UNDO_NS UINT64_C(10000000000) /* one's own last change can be undone for so long */
#define EVENTS_KEPT 200u
#define NOTE_MAX 512u

struct top;

struct view_ops {
	const char *name;
	enum where where;
	enum action tab;             /* the key that leads to it; ACT_NONE: none */
	void (*open)(struct top *t); /* it becomes the one shown; may be NULL, as all but draw */
	void (*read)(struct top *t); /* new figures were read */
	/* Draw in `lines` lines from y on, and place the cursor. */
	void (*draw)(struct top *t, int y, int lines);
	bool (*key)(struct top *t, enum action action); /* false: not its own */
	void (*done)(struct top *t);                    /* the dashboard ends */
};

/* A key that is meant, wherever it stands now. */
struct key_ref {
	bool set;
	bool moved; /* chosen by the user, so that the list follows it */
	uint64_t slot;
	uint64_t birth;
	char text[KEY_TEXT_MAX];
	char limit[RATION_NAME_MAX + 1];
};

#define ROWS_KEPT 256u

struct keys_state {
	struct model_row *kept; /* the rows of the last frames, for pause: ROWS_KEPT of them */
	size_t nkept;           /* ever */
	struct key_ref sel;
	size_t offset; /* first entry shown */
	size_t page;   /* rows shown in the last frame */
	size_t at;     /* where the selection was last seen */
};

/* A list whose rows are numbered (limits, events, audit, help). */
struct list_state {
	size_t offset, page, at, n;
};

struct limit_line {
	uint32_t id;
	char name[RATION_NAME_MAX + 1];
	char rates[RATES_TEXT_MAX];
	char origin[128];
	uint8_t mode;
	uint64_t denied_nokey, observed, full;
};

struct event_line {
	int64_t when;
	char text[400];
};

struct daemon_state {
	struct client calls; /* one request at a time */
	struct client watch; /* events; its end is how a dead daemon is noticed */
	bool up;
	bool may_change;      /* rationd says so of this peer */
	int64_t uptime_s;     /* at status_ns */
	uint64_t status_ns;   /* monotonic */
	char why[128];        /* there is no connection */
	uint64_t next_try_ns; /* monotonic */
	uint64_t next_status_ns;
};

/* What would take one's own last change back. */
struct undo {
	bool set;
	uint64_t until_ns; /* monotonic */
	char method[16];
	json_t *params; /* owned */
	char what[200];
};

struct moment {
	uint64_t mono_ns;
	uint64_t shared_ns; /* stands still while paused */
	uint64_t beat_ns;   /* shared time, never paused: for rationd's beat */
	int64_t wall_s;     /* of the instance: its test clock included */
};

struct top {
	struct ctx *ctx;
	struct screen *s;
	struct model model;
	struct moment now;
	struct daemon_state daemon;

	const struct view_ops *view;
	const struct view_ops *back; /* where Esc leads from detail and help */
	const struct view_ops *before_detail;

	struct filter *filter;
	struct field filter_text;
	char filter_was[FIELD_MAX + 1]; /* what Esc brings back */
	bool filtering;                 /* the filter is being typed */
	char filter_err[200];

	struct keys_state keys;
	struct model_row detail; /* as read last */
	struct list_state detail_list;
	struct list_state limits_list;
	struct limit_line *limits;
	size_t nlimits;
	struct list_state events_list;
	struct event_line *events; /* EVENTS_KEPT of them, a ring */
	size_t nevents;            /* ever */
	struct list_state audit_list;
	json_t *audit; /* array, owned */
	char audit_err[200];
	struct list_state help_list;

	bool dialog_open;
	struct dialog dialog;
	struct key_ref target; /* what the dialog is about */
	struct undo undo;

	char note[NOTE_MAX];
	int note_look;
	uint64_t note_until_ns; /* 0: none */

	uint64_t interval_ns;
	uint64_t next_look_ns;
	uint64_t next_read_ns;
	bool read_soon;    /* at next_read_ns, whatever the model thinks is due */
	bool filter_moved; /* the selection must be looked for under the new filter */
	uint64_t frames;
	bool frames_in_title;
	bool paused;
	bool readonly;
	bool quit;
};

extern const struct view_ops *const views[];
extern const size_t nviews;
extern const struct view_ops view_keys, view_limits, view_detail, view_events, view_audit,
    view_help;

/* top.c */
void top_loop(struct top *t);
/* Read the clocks into t->now. */
void top_time(struct top *t);
void top_show(struct top *t, const struct view_ops *view);
void top_back(struct top *t);
/* A line for the user at the bottom, for some seconds. */
void top_note(struct top *t, int look, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/*
 * Read everything that is shown anew: when it is due; soon, for something else is wanted
 * (so that rates are not taken over an instant, and typing is not held up); or at once.
 */
enum reading { READ_DUE, READ_SOON, READ_NOW };
void top_read(struct top *t, enum reading when);
void top_key(struct top *t, int key);
/* Parse filter_text and use it; false: filter_err says what is wrong, the filter before stays. */
bool top_filter_apply(struct top *t);

/* view_detail.c, view_limits.c: the same beneath the keys on a large screen */
void detail_pane(struct top *t, int y, int x, int lines, int width);
void limits_pane(struct top *t, int y, int x, int lines, int width);

/* frame.c */
void frame_draw(struct top *t);
bool frame_may_change(const struct top *t);

/* list.c: moving in a numbered list; true when the action was a movement */
bool list_move(struct list_state *l, enum action action);
void list_fit(struct list_state *l, size_t n, int lines);

/* service.c: rationd's side */
void daemon_turn(struct top *t);
/* Does rationd keep the segment, as far as its beat there tells? */
bool daemon_beats(const struct top *t);
/* A call; NULL with a note when it failed.  e may be NULL: then a failure is noted. */
json_t *daemon_call(struct top *t, const char *method, json_t *params, struct rpc_error *e);
void daemon_close(struct top *t);

/* edit.c: what the dialogs do */
void edit_open(struct top *t, const struct key_ref *key, const char *limit);
void edit_reset(struct top *t, const struct key_ref *key);
void edit_key(struct top *t, int key);
void edit_undo(struct top *t);
void edit_forget(struct top *t);

/* Rates of a row as text: "300/min, 30/s". */
void rates_text(const ration_rate_t *rates, unsigned n, char *buf, size_t size);
int use_look(double percent);
const char *use_sign(double percent);

/* batch.c */
struct batch {
	unsigned long count; /* 0: for ever */
	double delay_s;
	size_t rows;
};
int batch_run(struct top *t, const struct batch *b);

#endif
