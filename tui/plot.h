/*
 * plot.h - units over time as bars of characters.
 *
 * Pure functions: figures in, text out.  Nothing here asks for a terminal, a locale or the time;
 * only the times below the axis are the process's local ones.
 *
 *	  400 ┤      ▃
 *	      │    ▅▇█▂
 *	  200 ┤  ▂▆████▇
 *	      │ ▄███████▅
 *	    0 ┼┬─────┬─────┬
 *	       06:00 12:00 18:00
 *	denied      ▃█▁         most 31
 */
#ifndef RATION_PLOT_H
#define RATION_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PLOT_LABEL 8u      /* columns left of the axis */
#define PLOT_WIDTH_MIN 20u /* of all; narrower is drawn so */
#define PLOT_HEIGHT_MAX 50u

/* What was counted in buckets of `step` seconds, the first of which begins at `from` (Unix s). */
struct plot {
	int64_t from;
	int64_t step;
	size_t n;
	const uint64_t *admitted;
	const uint64_t *denied; /* NULL: none */
	unsigned width;         /* columns in all */
	unsigned height;        /* lines of bars */
	bool ascii;
	bool color;
};

/* How the buckets are put into columns. */
struct plot_fit {
	int64_t span;  /* s of a bar: a multiple of step, beginning at a multiple of itself */
	int64_t first; /* Unix s at which the first bar begins; not after `from` */
	size_t bars;
	unsigned wide; /* columns of a bar, and of the gap behind it if it has one */
};

/*
 * Bars as narrow in time as fit into the width.  Buckets are added, none is left out, so the
 * bars' sum is that of all buckets.
 */
struct plot_fit plot_fit(const struct plot *p);
/* The sum of a bar's buckets; UINT64_MAX if it is greater. */
uint64_t plot_bar(const struct plot *p, const struct plot_fit *f, const uint64_t *of, size_t bar);
/* The axis's end: a round number, not below most; at least 1. */
uint64_t plot_top(uint64_t most);
/*
 * The height of a bar in eighths of a line, 0..8 * height: nearest, but what is not 0 is seen, and
 * only what is top is as high as the axis.
 */
unsigned plot_eighths(uint64_t value, uint64_t top, unsigned height);
/* One cell of which so many eighths are filled from below, 0..8. */
const char *plot_cell(unsigned eighths, bool ascii);
/* "30 min", "1 h", "1 day": the span of a bar. */
const char *plot_span_text(int64_t span, char *buf, size_t size);
/* All of it.  Lines end without blanks. */
void plot_print(FILE *out, const struct plot *p);

#endif
