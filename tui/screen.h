/*
 * screen.h - the terminal: text at a place, keys as numbers.
 *
 * The one module that sees curses.  What reaches the terminal through
 * screen_text() is printable by construction: every byte that is no part of a
 * printable character is drawn as '?', so that no name, whoever chose it, can move the
 * cursor or ring a bell.  (Keys come here escaped by strvis(3) already; this is
 * the second lock.)
 *
 * Nothing here refuses a size: what lies outside is not drawn.
 */
#ifndef RATION_SCREEN_H
#define RATION_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct screen;

/* How text looks: one hue, and flags.  A hue never carries a meaning alone. */
enum look {
	LOOK_PLAIN = 0,
	LOOK_GOOD = 1, /* green */
	LOOK_WARN = 2, /* yellow */
	LOOK_BAD = 3,  /* red */
	LOOK_INFO = 4, /* cyan */
	LOOK_HUE = 7,  /* mask */
	LOOK_BOLD = 8,
	LOOK_DIM = 16,
	LOOK_REVERSE = 32,
	LOOK_UNDERLINE = 64,
};

/* Keys beyond Unicode.  Everything else is a code point; Ctrl-U is 21. */
enum screen_key {
	SK_NONE = -1, /* no key within the time */
	SK_GONE = -2, /* the terminal went away */
	SK_UP = 0x110000,
	SK_DOWN,
	SK_LEFT,
	SK_RIGHT,
	SK_PGUP,
	SK_PGDN,
	SK_HOME,
	SK_END,
	SK_BACKSPACE,
	SK_DELETE,
	SK_BACKTAB,
	SK_RESIZE,
	SK_OTHER, /* a key without a meaning here */
	SK_F1,    /* aliases: SK_F1 + n - 1 */
	SK_F10 = SK_F1 + 9,
};
#define SK_TAB 9
#define SK_ENTER 13
#define SK_ESC 27

/*
 * Take the terminal over.  in, out: its streams; term: NULL for $TERM.  ascii: no
 * character beyond ASCII even in UTF-8.  Colours unless $NO_COLOR is set to something.
 * NULL: this terminal cannot be driven ($TERM unknown).
 */
struct screen *screen_open(const char *term, FILE *in, FILE *out, bool ascii);
/* Give it back.  NULL is allowed. */
void screen_close(struct screen *s);

int screen_lines(const struct screen *s);
int screen_cols(const struct screen *s);
bool screen_utf8(const struct screen *s);

void screen_clear(struct screen *s);
/*
 * Text from (y, x) in at most width columns; the rest of the width becomes blanks.
 * width < 0: as long as it is, up to the edge, nothing padded.  Returns the columns used by the
 * text.
 */
int screen_text(struct screen *s, int y, int x, int width, int look, const char *text);
int screen_printf(struct screen *s, int y, int x, int width, int look, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));
/* A bar of width columns, filled in eighths ('#' and '-' in ASCII); share is 0..1 and beyond. */
void screen_bar(struct screen *s, int y, int x, int width, int look, double share);
/* A frame of lines rows and cols columns, its inside blanked, its title in the top edge. */
void screen_box(struct screen *s, int y, int x, int lines, int cols, const char *title);
/* Where the hardware cursor stands after the next flush: the selected row, or the field. */
void screen_cursor(struct screen *s, int y, int x);
void screen_flush(struct screen *s);
/* The terminal's title (printable ASCII).  Only for tests; see top.c. */
void screen_title(struct screen *s, const char *title);

/* The next key, waiting at most timeout_ms (0: not at all). */
int screen_key(struct screen *s, int timeout_ms);

/* What stands in line y, as UTF-8 without trailing blanks: for tests. */
void screen_line(struct screen *s, int y, char *buf, size_t size);
void screen_cursor_at(const struct screen *s, int *y, int *x);

#endif
