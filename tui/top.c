/*
 * top.c - the dashboard: the loop, what is read when, and where each key goes.
 *
 * The loop waits for a key, for rationd, or for the next reading, whichever comes
 * first; then everything is drawn from what is known.  Scanning is apart from
 * drawing and takes at most a third of the time: with a million keys in use a scan
 * lasts a quarter of a second, and keys pressed meanwhile are answered after it.
 *
 * With $RATION_TOP_FRAMES set every frame's number goes to the terminal's title, so
 * that a test can wait for a frame instead of sleeping.
 */
#include "top.h"

#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#define INTERVAL_MIN_NS UINT64_C(1000000000)
#define INTERVAL_MAX_NS UINT64_C(60000000000)
#define NOTE_NS UINT64_C(10000000000)
#define LOOK_NS UINT64_C(1000000000) /* between looks for another segment */
#define SOON_NS UINT64_C(250000000)
#define KEYS_A_FRAME 64

const struct view_ops *const views[] = { &view_keys, &view_limits, &view_events, &view_audit,
	&view_detail, &view_help };
const size_t nviews = sizeof(views) / sizeof(views[0]);

/* ---- views ---- */

void
top_show(struct top *t, const struct view_ops *view)
{
	if (view == t->view)
		return;
	if (view->tab == ACT_NONE)
		t->back = t->view->tab == ACT_NONE && t->view == &view_help ? t->back : t->view;
	t->view = view;
	if (view->open != NULL)
		view->open(t);
}

void
top_back(struct top *t)
{
	if (t->view->tab != ACT_NONE)
		return;
	/* Help over a detail leads back to the detail, and that to the tab it came from. */
	if (t->view == &view_help && t->back == &view_detail) {
		t->view = &view_detail;
		t->back = t->before_detail;
		return;
	}
	t->view = t->back != NULL ? t->back : &view_keys;
	if (t->view->read != NULL)
		t->view->read(t);
}

static void
next_tab(struct top *t)
{
	size_t at = 0;

	for (size_t i = 0; i < nviews; i++) {
		if (views[i] == t->view)
			at = i;
	}
	do
		at = (at + 1) % nviews;
	while (views[at]->tab == ACT_NONE);
	top_show(t, views[at]);
}

void
top_note(struct top *t, int look, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t->note, sizeof(t->note), fmt, ap);
	va_end(ap);
	t->note_look = look;
	t->note_until_ns = t->now.mono_ns + NOTE_NS;
}

/* ---- reading ---- */

/* Not within this time of the reading before, nor more than a third of all time. */
static uint64_t
soonest(const struct model *m)
{
	uint64_t rest = 2 * m->scan_took_ns;

	return m->scan_mono_ns + m->scan_took_ns + (rest > SOON_NS ? rest : SOON_NS);
}

void
top_read(struct top *t, enum reading when)
{
	bool fresh;

	if (t->model.seg == NULL)
		return;
	if (when == READ_SOON && t->model.scans > 0 && t->now.mono_ns < soonest(&t->model)) {
		t->read_soon = true;
		t->next_read_ns = soonest(&t->model);
		return;
	}
	t->read_soon = false;
	fresh = model_refresh(&t->model, t->now.shared_ns, t->now.mono_ns, when != READ_DUE);
	if (!fresh && when == READ_DUE)
		return;
	view_keys.read(t); /* the selection is kept up in every view */
	if (t->view != &view_keys && t->view->read != NULL)
		t->view->read(t);
}

void
top_time(struct top *t)
{
	t->now.mono_ns = mono_now();
	if (t->ctx->attached) {
		uint64_t shared = ctx_now(t->ctx);

		t->now.wall_s = clock_unix(t->ctx->seg.policy, shared) / 1000000000;
		t->now.beat_ns = shared;
		if (!t->paused)
			t->now.shared_ns = shared;
	}
}

static void
take_segment(struct top *t, struct ctx *fresh)
{
	enum column sort = t->model.sort;
	bool invert = t->model.invert, hide_idle = t->model.hide_idle;

	model_free(&t->model);
	ctx_detach(t->ctx);
	*t->ctx = *fresh;
	memset(&t->keys.sel, 0, sizeof(t->keys.sel));
	t->keys.nkept = 0;
	if (model_init(&t->model, &t->ctx->seg, true) != 0) {
		t->quit = true;
		return;
	}
	t->model.filter = t->filter;
	t->model.sort = sort;
	t->model.invert = invert;
	t->model.hide_idle = hide_idle;
	t->model.count_over = true;
	t->dialog_open = false;
	t->view = &view_keys;
	t->view->open(t);
	t->next_read_ns = 0;
	top_time(t);
	top_note(t, LOOK_WARN, "the segment was replaced: attached to the new one");
}

/*
 * Was the segment replaced?  Marked retired, or, with a rationd that does not beat in it any
 * more, another one stands under its name.  Until there is one the old is shown.
 */
static void
follow_segment(struct top *t)
{
	struct ctx fresh = *t->ctx;

	if (t->now.mono_ns < t->next_look_ns ||
	    (!segment_outdated(&t->ctx->seg) && daemon_beats(t)))
		return;
	t->next_look_ns = t->now.mono_ns + LOOK_NS;
	fresh.attached = false;
	memset(&fresh.seg, 0, sizeof(fresh.seg));
	if (ctx_attach_quiet(&fresh) != 0)
		return;
	if (fresh.seg.head->id != t->ctx->seg.head->id) {
		take_segment(t, &fresh);
		return;
	}
	/* The same counters; perhaps with a larger policy. */
	segment_swap_policy(&t->ctx->seg, &fresh.seg);
	ctx_detach(&fresh);
}

bool
top_filter_apply(struct top *t)
{
	struct filter *f;

	t->filter_err[0] = '\0';
	f = filter_parse(t->filter_text.text, t->filter_err, sizeof(t->filter_err));
	if (f == NULL)
		return false;
	t->model.filter = f;
	filter_free(t->filter);
	t->filter = f;
	t->model.hold_ns = 0;
	t->filter_moved = true;
	top_read(t, READ_SOON);
	return true;
}

/* ---- keys ---- */

static void
filter_key(struct top *t, int key)
{
	char before[FIELD_MAX + 1];

	if (key == SK_ENTER) {
		t->filtering = !top_filter_apply(t);
		return;
	}
	if (key == SK_ESC) {
		field_set(&t->filter_text, t->filter_was);
		top_filter_apply(t);
		t->filtering = false;
		return;
	}
	snprintf(before, sizeof(before), "%s", t->filter_text.text);
	/* As it is typed; a half-typed one may be wrong: the one before stays meanwhile. */
	if (field_key(&t->filter_text, key) && strcmp(before, t->filter_text.text) != 0)
		top_filter_apply(t);
}

static void
change_interval(struct top *t, bool faster)
{
	uint64_t ns = t->interval_ns;

	ns = faster ? ns - (ns > 5 * INTERVAL_MIN_NS ? 5 : 1) * INTERVAL_MIN_NS
		    : ns + (ns >= 5 * INTERVAL_MIN_NS ? 5 : 1) * INTERVAL_MIN_NS;
	if (ns < INTERVAL_MIN_NS)
		ns = INTERVAL_MIN_NS;
	if (ns > INTERVAL_MAX_NS)
		ns = INTERVAL_MAX_NS;
	t->interval_ns = ns;
	t->next_read_ns = t->now.mono_ns + ns;
	top_note(t, LOOK_PLAIN, "every %.0f s", (double)ns / 1e9);
}

/* What every view answers alike. */
static void
common_action(struct top *t, enum action action)
{
	switch (action) {
	case ACT_HELP:
		if (t->view == &view_help) {
			top_back(t);
			break;
		}
		if (t->view == &view_detail)
			t->before_detail = t->back;
		top_show(t, &view_help);
		break;
	case ACT_BACK:
		top_back(t);
		break;
	case ACT_QUIT:
		if (t->view->tab == ACT_NONE)
			top_back(t);
		else
			t->quit = true;
		break;
	case ACT_TAB_NEXT:
		next_tab(t);
		break;
	case ACT_PAUSE:
		t->paused = !t->paused;
		t->next_read_ns = t->now.mono_ns;
		break;
	case ACT_FASTER:
	case ACT_SLOWER:
		change_interval(t, action == ACT_FASTER);
		break;
	case ACT_UNDO:
		edit_undo(t);
		break;
	case ACT_FILTER:
		snprintf(t->filter_was, sizeof(t->filter_was), "%s", t->filter_text.text);
		t->filtering = true;
		break;
	case ACT_CLEAR:
		field_set(&t->filter_text, "");
		top_filter_apply(t);
		break;
	default:
		for (size_t i = 0; i < nviews; i++) {
			if (action != ACT_NONE && views[i]->tab == action)
				top_show(t, views[i]);
		}
		break;
	}
}

void
top_key(struct top *t, int key)
{
	enum action action;

	if (key < 0 || key == SK_RESIZE || key == SK_OTHER)
		return;
	if (t->dialog_open) {
		edit_key(t, key);
		return;
	}
	if (t->filtering) {
		filter_key(t, key);
		return;
	}
	action = key_action(key, t->view->where);
	if (action == ACT_NONE)
		return;
	if (t->view->key == NULL || !t->view->key(t, action))
		common_action(t, action);
}

/* ---- the loop ---- */

/* Wait for a key, an event, or the next thing to do; ms. */
static int
wait_ms(const struct top *t)
{
	uint64_t until = t->now.mono_ns + UINT64_C(1000000000); /* the clock in the corner */

	if ((!t->paused || t->read_soon) && t->next_read_ns < until)
		until = t->next_read_ns;
	if (until <= t->now.mono_ns)
		return 0;
	return (int)((until - t->now.mono_ns + 999999) / 1000000);
}

static void
wait_input(struct top *t)
{
	struct pollfd p[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = t->daemon.watch.fd, .events = POLLIN } };

	/* A signal (the window's size) ends it early, which is as well. */
	poll(p, t->daemon.up && t->daemon.watch.fd >= 0 ? 2 : 1, wait_ms(t));
}

static void
turn_keys(struct top *t)
{
	for (int i = 0; i < KEYS_A_FRAME && !t->quit; i++) {
		int key = screen_key(t->s, 0);

		if (key == SK_NONE)
			return;
		if (key == SK_GONE) {
			t->quit = true;
			return;
		}
		top_time(t);
		top_key(t, key);
	}
}

void
top_loop(struct top *t)
{
	while (!t->quit) {
		top_time(t);
		follow_segment(t);
		daemon_turn(t);
		if ((!t->paused || t->read_soon) && t->now.mono_ns >= t->next_read_ns) {
			top_read(t, t->read_soon ? READ_NOW : READ_DUE);
			t->next_read_ns = t->now.mono_ns + t->interval_ns;
			/* Rates are known from the second reading on: do not wait long for that. */
			if (!t->model.rates_known)
				t->next_read_ns = t->now.mono_ns + INTERVAL_MIN_NS;
		}
		frame_draw(t);
		wait_input(t);
		turn_keys(t);
	}
}
