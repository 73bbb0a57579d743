/*
 * plot.c - units over time as bars of characters: see plot.h.
 */
#include "plot.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

#define MIN_S INT64_C(60)
#define HOUR_S INT64_C(3600)
#define DAY_S INT64_C(86400)

/* Spans that people reckon in. */
static const int64_t spans[] = { 1, 5, 10, 30, MIN_S, 5 * MIN_S, 10 * MIN_S, 15 * MIN_S, 30 * MIN_S,
	HOUR_S, 2 * HOUR_S, 3 * HOUR_S, 4 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, DAY_S, 2 * DAY_S,
	5 * DAY_S, 7 * DAY_S, 14 * DAY_S, 28 * DAY_S, 56 * DAY_S, 91 * DAY_S, 182 * DAY_S,
	364 * DAY_S };
#define NSPANS (sizeof(spans) / sizeof(spans[0]))

/* ---- fitting ---- */

static unsigned
bar_columns(const struct plot *p)
{
	unsigned width = p->width < PLOT_WIDTH_MIN ? PLOT_WIDTH_MIN : p->width;

	return width - PLOT_LABEL - 1;
}

/* Rounded down also before 1970. */
static int64_t
floor_to(int64_t t, int64_t span)
{
	int64_t rest = t % span;

	return t - (rest < 0 ? rest + span : rest);
}

static struct plot_fit
fit_with(const struct plot *p, int64_t span)
{
	struct plot_fit f = { .span = span, .first = p->from, .wide = 1 };
	int64_t last = p->from + (int64_t)(p->n > 0 ? p->n - 1 : 0) * p->step;

	/* A single bucket a bar: they begin where the buckets do. */
	if (span != p->step)
		f.first = floor_to(p->from, span);
	f.bars = (size_t)((last - f.first) / span) + 1;
	return f;
}

struct plot_fit
plot_fit(const struct plot *p)
{
	unsigned most = bar_columns(p);
	struct plot_fit f = fit_with(p, p->step);

	for (size_t i = 0; i < NSPANS && f.bars > most; i++)
		if (spans[i] > p->step && spans[i] % p->step == 0)
			f = fit_with(p, spans[i]);
	/* Of a step that no such span is a multiple of, or for longer than these reach. */
	for (int64_t span = f.span; f.bars > most; span *= 2)
		f = fit_with(p, span * 2);
	f.wide = most / (unsigned)f.bars;
	if (f.wide > 8)
		f.wide = 8;
	return f;
}

uint64_t
plot_bar(const struct plot *p, const struct plot_fit *f, const uint64_t *of, size_t bar)
{
	int64_t begin = f->first + (int64_t)bar * f->span, end = begin + f->span;
	uint64_t sum = 0;

	for (int64_t i = begin > p->from ? (begin - p->from + p->step - 1) / p->step : 0;
	     of != NULL && i < (int64_t)p->n && p->from + i * p->step < end; i++)
		sum = sum > UINT64_MAX - of[i] ? UINT64_MAX : sum + of[i];
	return sum;
}

uint64_t
plot_top(uint64_t most)
{
	static const uint64_t round[] = { 1, 2, 4, 6, 8 };
	uint64_t scale = 1;

	for (;;) {
		for (unsigned i = 0; i < sizeof(round) / sizeof(round[0]); i++) {
			if (round[i] > UINT64_MAX / scale)
				return UINT64_MAX;
			if (round[i] * scale >= most)
				return round[i] * scale;
		}
		if (scale > UINT64_MAX / 10)
			return UINT64_MAX;
		scale *= 10;
	}
}

unsigned
plot_eighths(uint64_t value, uint64_t top, unsigned height)
{
	unsigned all = 8 * height, n;

	if (value == 0 || top == 0)
		return 0;
	if (value >= top)
		return all;
	n = (unsigned)(((unsigned __int128)value * all + top / 2) / top);
	return n == 0 ? 1 : n >= all ? all - 1 : n;
}

const char *
plot_cell(unsigned eighths, bool ascii)
{
	static const char *const block[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const plain[] = { " ", ".", ".", ":", ":", ":", "|", "|", "#" };

	return (ascii ? plain : block)[eighths < 8 ? eighths : 8];
}

const char *
plot_span_text(int64_t span, char *buf, size_t size)
{
	if (span % DAY_S == 0)
		snprintf(
		    buf, size, "%lld day%s", (long long)(span / DAY_S), span > DAY_S ? "s" : "");
	else if (span % HOUR_S == 0)
		snprintf(buf, size, "%lld h", (long long)(span / HOUR_S));
	else if (span % MIN_S == 0)
		snprintf(buf, size, "%lld min", (long long)(span / MIN_S));
	else
		snprintf(buf, size, "%lld s", (long long)span);
	return buf;
}

/* ---- times below the axis ---- */

/* Local time as if it were UTC. */
static int64_t
local_s(int64_t t)
{
	time_t at = (time_t)t;
	struct tm tm;

	return localtime_r(&at, &tm) ? t + tm.tm_gmtoff : t;
}

#define MARK_MAX 6u /* "16 May" */

static unsigned
mark_text(int64_t t, int64_t every, char buf[16])
{
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
		"Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t at = (time_t)t;
	struct tm tm;
	int n = 0;

	if (!localtime_r(&at, &tm))
		buf[0] = '\0';
	else if (every < DAY_S)
		n = snprintf(buf, 16, "%02d:%02d", tm.tm_hour, tm.tm_min);
	else
		n = snprintf(buf, 16, "%02d %s", tm.tm_mday, months[tm.tm_mon % 12]);
	return (unsigned)n;
}

/* Times are so far apart that they stand beside each other with room between. */
static int64_t
mark_every(const struct plot_fit *f)
{
	for (size_t i = 0; i < NSPANS; i++)
		if (spans[i] >= f->span &&
		    spans[i] / f->span * (int64_t)f->wide >= (int64_t)MARK_MAX + 2)
			return spans[i];
	return spans[NSPANS - 1];
}

/*
 * Has a bar a time below it?  Where a round one (local) falls into it.  Of bars of days, whichever
 * day of the zone they begin on, it is the day that most of the bar is in.
 */
static bool
is_marked(const struct plot_fit *f, size_t bar, int64_t every)
{
	int64_t t = local_s(f->first + (int64_t)bar * f->span), before = t - f->span;

	return floor_to(t, every) != floor_to(before, every);
}

/* Of a bar of a day or longer: a time within its first day, whatever zone its days are of. */
static int64_t
mark_time(const struct plot_fit *f, size_t bar)
{
	int64_t t = f->first + (int64_t)bar * f->span;

	return f->span >= DAY_S ? t + DAY_S / 2 : t;
}

/* ---- drawing ---- */

static void
put_color(FILE *out, const struct plot *p, const char *code)
{
	if (p->color)
		fprintf(out, "\033[%sm", code);
}

static void
put_blanks(FILE *out, unsigned n)
{
	for (; n > 0; n--)
		fputc(' ', out);
}

/* One line of bars; at: eighths below it. */
static void
put_bars(FILE *out, const struct plot_fit *f, const unsigned *eighths, unsigned at, bool ascii)
{
	unsigned blanks = 0, fill = f->wide > 2 ? f->wide - 1 : f->wide;

	for (size_t bar = 0; bar < f->bars; bar++) {
		unsigned e = eighths[bar] > at ? eighths[bar] - at : 0;

		if (e == 0) {
			blanks += f->wide;
			continue;
		}
		put_blanks(out, blanks);
		for (unsigned i = 0; i < fill; i++)
			fputs(plot_cell(e, ascii), out);
		blanks = f->wide - fill;
	}
}

static void
put_units(FILE *out, uint64_t n)
{
	char text[32];

	text_units(n, text, sizeof(text));
	fprintf(out, "%*s ", (int)PLOT_LABEL - 1, text);
}

static void
put_axis(FILE *out, const struct plot *p, const struct plot_fit *f)
{
	int64_t every = mark_every(f);
	char text[16];
	unsigned at = 0, len;

	put_units(out, 0);
	fputs(p->ascii ? "+" : "┼", out);
	for (size_t bar = 0; bar < f->bars; bar++)
		for (unsigned i = 0; i < f->wide; i++)
			fputs(i == 0 && is_marked(f, bar, every) ? p->ascii ? "+" : "┬"
				: p->ascii                       ? "-"
								 : "─",
			    out);
	fputc('\n', out);
	for (size_t bar = 0; bar < f->bars; bar++) {
		unsigned column = PLOT_LABEL + 1 + (unsigned)bar * f->wide;

		if (!is_marked(f, bar, every) || (at != 0 && column <= at))
			continue;
		len = mark_text(mark_time(f, bar), every, text);
		if (column + len > PLOT_LABEL + 1 + bar_columns(p))
			break;
		put_blanks(out, column - at);
		fputs(text, out);
		at = column + len;
	}
	fputc('\n', out);
}

/* The greatest bar, and each bar's height. */
static uint64_t
heights(const struct plot *p, const struct plot_fit *f, const uint64_t *of, unsigned height,
    bool round, uint64_t *top, unsigned *eighths)
{
	uint64_t most = 0, v;

	for (size_t bar = 0; bar < f->bars; bar++) {
		v = plot_bar(p, f, of, bar);
		most = v > most ? v : most;
	}
	*top = round ? plot_top(most) : most;
	for (size_t bar = 0; bar < f->bars; bar++)
		eighths[bar] = plot_eighths(plot_bar(p, f, of, bar), *top, height);
	return most;
}

/* What was denied, in a line of its own below: its bars are of another scale. */
static void
put_denied(FILE *out, const struct plot *p, const struct plot_fit *f, unsigned *eighths)
{
	uint64_t top, most = heights(p, f, p->denied, 1, false, &top, eighths);
	char text[32];

	if (most == 0)
		return;
	fprintf(out, "%*s ", (int)PLOT_LABEL - 1, "denied");
	put_color(out, p, "31");
	fputs(p->ascii ? "|" : "│", out);
	put_bars(out, f, eighths, 0, p->ascii);
	put_color(out, p, "0");
	text_grouped(most, text, sizeof(text));
	fprintf(out, "\n%*s  at most %s in one bar\n", (int)PLOT_LABEL - 1, "", text);
}

void
plot_print(FILE *out, const struct plot *p)
{
	struct plot_fit f = plot_fit(p);
	unsigned height = p->height < 1 ? 1 : p->height, *eighths;
	uint64_t top;

	if (height > PLOT_HEIGHT_MAX)
		height = PLOT_HEIGHT_MAX;
	eighths = calloc(f.bars, sizeof(*eighths));
	if (eighths == NULL)
		return;
	(void)heights(p, &f, p->admitted, height, true, &top, eighths);
	for (unsigned row = height; row-- > 0;) {
		/* Half of the axis has its number too, where there is a line for it. */
		bool half = height % 2 == 0 && row + 1 == height / 2 && top % 2 == 0;

		if (row + 1 == height)
			put_units(out, top);
		else if (half)
			put_units(out, top / 2);
		else
			put_blanks(out, PLOT_LABEL);
		if (row + 1 == height || half)
			fputs(p->ascii ? "+" : "┤", out);
		else
			fputs(p->ascii ? "|" : "│", out);
		put_color(out, p, "32");
		put_bars(out, &f, eighths, row * 8, p->ascii);
		put_color(out, p, "0");
		fputc('\n', out);
	}
	put_axis(out, p, &f);
	put_denied(out, p, &f, eighths);
	free(eighths);
}
