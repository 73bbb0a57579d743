/*
 * screen.c - curses behind screen.h.
 *
 * Default colours are kept (use_default_colors), so it reads on light and dark
 * terminals alike, and without colours nothing is lost: signs and words stand
 * beside every hue.  newterm() rather than initscr(): a terminal that cannot be
 * driven is an answer here, not an exit.
 */
#include "screen.h"

#define _XOPEN_SOURCE_EXTENDED 1
#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

struct screen {
	SCREEN *term;
	FILE *in;
	FILE *out;
	bool utf8;
	bool colour;
	bool gone;
	int cursor_y;
	int cursor_x;
};

struct screen *
screen_open(const char *term, FILE *in, FILE *out, bool ascii)
{
	struct screen *s = calloc(1, sizeof(*s));
	const char *no_color = getenv("NO_COLOR");

	if (s == NULL)
		return NULL;
	s->in = in;
	s->out = out;
	s->term = newterm(term, out, in);
	if (s->term == NULL) {
		free(s);
		return NULL;
	}
	s->utf8 = !ascii && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	set_term(s->term);
	set_escdelay(25);
	cbreak();
	noecho();
	nonl(); /* so that Enter (13) and Ctrl-J (10) are told apart */
	intrflush(stdscr, FALSE);
	keypad(stdscr, TRUE);
	leaveok(stdscr, FALSE);
	curs_set(1);
	if ((no_color == NULL || no_color[0] == '\0') && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(LOOK_GOOD, COLOR_GREEN, -1);
		init_pair(LOOK_WARN, COLOR_YELLOW, -1);
		init_pair(LOOK_BAD, COLOR_RED, -1);
		init_pair(LOOK_INFO, COLOR_CYAN, -1);
		s->colour = true;
	}
	return s;
}

void
screen_close(struct screen *s)
{
	if (s == NULL)
		return;
	set_term(s->term);
	endwin();
	delscreen(s->term);
	free(s);
}

int
screen_lines(const struct screen *s)
{
	return LINES;
}

int
screen_cols(const struct screen *s)
{
	return COLS;
}

bool
screen_utf8(const struct screen *s)
{
	return s->utf8;
}

void
screen_clear(struct screen *s)
{
	erase();
}

static attr_t
look_attr(const struct screen *s, int look)
{
	attr_t a = A_NORMAL;

	if (look & LOOK_BOLD)
		a |= A_BOLD;
	if (look & LOOK_DIM)
		a |= A_DIM;
	if (look & LOOK_REVERSE)
		a |= A_REVERSE;
	if (look & LOOK_UNDERLINE)
		a |= A_UNDERLINE;
	if (s->colour && (look & LOOK_HUE))
		a |= (attr_t)COLOR_PAIR(look & LOOK_HUE);
	return a;
}

/* The next character of text that may be drawn, '?' for what may not; its columns in *cols. */
static wchar_t
next_char(const struct screen *s, const char **text, mbstate_t *state, int *cols)
{
	wchar_t c;
	size_t n = mbrtowc(&c, *text, MB_CUR_MAX, state);

	if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
		memset(state, 0, sizeof(*state));
		n = 1;
		c = L'?';
	}
	*text += n;
	*cols = iswprint((wint_t)c) ? wcwidth(c) : -1;
	if (*cols < 1 || (!s->utf8 && c > 126)) {
		*cols = 1;
		c = L'?';
	}
	return c;
}

int
screen_text(struct screen *s, int y, int x, int width, int look, const char *text)
{
	mbstate_t state = { 0 };
	int used = 0;
	int room;

	if (y < 0 || y >= LINES || x < 0 || x >= COLS)
		return 0;
	room = width < 0 || width > COLS - x ? COLS - x : width;
	attrset((int)look_attr(s, look));
	move(y, x);
	while (*text != '\0') {
		int cols;
		wchar_t c[2] = { next_char(s, &text, &state, &cols), L'\0' };

		if (used + cols > room)
			break;
		/* In the last column of the last line the cursor cannot move on: not an error. */
		addwstr(c);
		used += cols;
	}
	if (width >= 0) {
		for (int i = used; i < room; i++)
			addch(' ');
	}
	attrset((int)A_NORMAL);
	return used;
}

int
screen_printf(struct screen *s, int y, int x, int width, int look, const char *fmt, ...)
{
	char buf[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	return screen_text(s, y, x, width, look, buf);
}

void
screen_bar(struct screen *s, int y, int x, int width, int look, double share)
{
	static const char *const eighths[] = { " ", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█" };
	int total;

	if (width < 1)
		return;
	if (!(share > 0))
		share = 0;
	if (share > 1)
		share = 1;
	/* What is in use never looks like nothing, what is not full never like full. */
	total = (int)(share * width * 8);
	if (share > 0 && total == 0)
		total = 1;
	for (int i = 0; i < width; i++) {
		int e = total - i * 8;

		e = e < 0 ? 0 : e > 8 ? 8 : e;
		if (s->utf8)
			screen_text(s, y, x + i, 1, look, eighths[e]);
		else
			screen_text(s, y, x + i, 1, look, e == 8 || (i == 0 && e > 0) ? "#" : "-");
	}
}

static void
box_edge(
    struct screen *s, int y, int x, int cols, const char *left, const char *mid, const char *right)
{
	screen_text(s, y, x, 1, LOOK_PLAIN, left);
	for (int i = 1; i < cols - 1; i++)
		screen_text(s, y, x + i, 1, LOOK_PLAIN, mid);
	screen_text(s, y, x + cols - 1, 1, LOOK_PLAIN, right);
}

void
screen_box(struct screen *s, int y, int x, int lines, int cols, const char *title)
{
	bool u = s->utf8;

	if (lines < 2 || cols < 2)
		return;
	box_edge(s, y, x, cols, u ? "┌" : "+", u ? "─" : "-", u ? "┐" : "+");
	for (int i = 1; i < lines - 1; i++) {
		screen_text(s, y + i, x, cols - 1, LOOK_PLAIN, u ? "│" : "|");
		screen_text(s, y + i, x + cols - 1, 1, LOOK_PLAIN, u ? "│" : "|");
	}
	box_edge(s, y + lines - 1, x, cols, u ? "└" : "+", u ? "─" : "-", u ? "┘" : "+");
	if (title != NULL && cols > 6)
		screen_printf(s, y, x + 2,
		    (int)strlen(title) + 2 < cols - 4 ? (int)strlen(title) + 2 : cols - 4,
		    LOOK_BOLD, " %s ", title);
}

void
screen_cursor(struct screen *s, int y, int x)
{
	s->cursor_y = y < 0 ? 0 : y >= LINES ? LINES - 1 : y;
	s->cursor_x = x < 0 ? 0 : x >= COLS ? COLS - 1 : x;
}

void
screen_cursor_at(const struct screen *s, int *y, int *x)
{
	*y = s->cursor_y;
	*x = s->cursor_x;
}

void
screen_flush(struct screen *s)
{
	move(s->cursor_y, s->cursor_x);
	refresh();
}

void
screen_title(struct screen *s, const char *title)
{
	fputs("\033]2;", s->out);
	for (; *title != '\0'; title++)
		fputc(*title >= ' ' && *title <= '~' ? *title : '?', s->out);
	fputc('\a', s->out);
	fflush(s->out);
}

static int
key_of(wint_t c)
{
	static const struct {
		wint_t from;
		int to;
	} map[] = {
		{ KEY_UP, SK_UP },
		{ KEY_DOWN, SK_DOWN },
		{ KEY_LEFT, SK_LEFT },
		{ KEY_RIGHT, SK_RIGHT },
		{ KEY_PPAGE, SK_PGUP },
		{ KEY_NPAGE, SK_PGDN },
		{ KEY_HOME, SK_HOME },
		{ KEY_END, SK_END },
		{ KEY_BACKSPACE, SK_BACKSPACE },
		{ KEY_DC, SK_DELETE },
		{ KEY_BTAB, SK_BACKTAB },
		{ KEY_RESIZE, SK_RESIZE },
		{ KEY_ENTER, SK_ENTER },
	};

	for (size_t i = 0; i < sizeof(map) / sizeof(map[0]); i++) {
		if (map[i].from == c)
			return map[i].to;
	}
	if (c >= KEY_F(1) && c <= KEY_F(10))
		return SK_F1 + (int)(c - KEY_F(1));
	return SK_OTHER;
}

int
screen_key(struct screen *s, int timeout_ms)
{
	wint_t c;
	int rc;

	if (s->gone)
		return SK_GONE;
	timeout(timeout_ms);
	rc = get_wch(&c);
	if (rc == KEY_CODE_YES)
		return key_of(c);
	if (rc == ERR) {
		/* No key, a signal, or a terminal that is no more: poll tells the last apart. */
		struct pollfd p = { .fd = fileno(s->in), .events = POLLIN };

		if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR | POLLNVAL)))
			s->gone = true;
		return s->gone ? SK_GONE : SK_NONE;
	}
	if (c == 127 || c == 8)
		return SK_BACKSPACE;
	return c == L'\n' ? SK_ENTER : (int)c;
}

void
screen_line(struct screen *s, int y, char *buf, size_t size)
{
	wchar_t wide[1024];
	size_t n;

	buf[0] = '\0';
	if (y < 0 || y >= LINES || mvinnwstr(y, 0, wide, 1023) == ERR)
		return;
	n = wcstombs(buf, wide, size - 1);
	if (n == (size_t)-1)
		n = 0;
	while (n > 0 && buf[n - 1] == ' ')
		n--;
	buf[n] = '\0';
}
