#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tui.h"

#define EVERY_NS UINT64_C(200000000)
#define BAR 24u

void
progress_start(struct progress *p, uint64_t total)
{
	*p = (struct progress) { .on = isatty(STDERR_FILENO) != 0, .total = total };
	p->start_ns = mono_now();
	p->next_ns = p->start_ns + EVERY_NS;
}

/* 950, 12.3k, 4.56M */
static void
short_number(char *buf, size_t size, double n)
{
	if (n < 10000)
		snprintf(buf, size, "%.0f", n);
	else if (n < 1e6)
		snprintf(buf, size, "%.0fk", n / 1e3);
	else
		snprintf(buf, size, "%.1fM", n / 1e6);
}

int
progress_text(char *buf, size_t size, uint64_t bytes, uint64_t total, uint64_t lines, uint64_t ns)
{
	static const char full[] = "########################";
	double s = (double)ns / 1e9, part = total > 0 ? (double)bytes / (double)total : 0;
	char n[32], rate[32];
	uint64_t left;

	short_number(n, sizeof(n), (double)lines);
	short_number(rate, sizeof(rate), s > 0 ? (double)lines / s : 0);
	if (total == 0)
		return snprintf(buf, size, "%s lines, %s/s", n, rate);
	part = part < 1 ? part : 1;
	left = part > 0 ? (uint64_t)(s / part - s + 0.5) : 0;
	return snprintf(buf, size, "%3.0f%% |%-*.*s| %s lines, %s/s, %llu:%02llu left", part * 100,
	    (int)BAR, (int)(part * BAR), full, n, rate, (unsigned long long)(left / 60),
	    (unsigned long long)(left % 60));
}

void
progress_at(struct progress *p, uint64_t bytes, uint64_t lines)
{
	char text[128];
	uint64_t now;

	if (!p->on || (now = mono_now()) < p->next_ns)
		return;
	p->next_ns = now + EVERY_NS;
	p->shown = true;
	progress_text(text, sizeof(text), bytes, p->total, lines, now - p->start_ns);
	fprintf(stderr, "\r%s\033[K", text);
	fflush(stderr);
}

void
progress_end(struct progress *p)
{
	if (p->shown)
		fputs("\r\033[K", stderr);
	p->on = p->shown = false;
}
