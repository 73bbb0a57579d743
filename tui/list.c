/*
 * list.c - moving in a list whose rows are numbered, and texts that several
 * views show alike.
 */
#include "top.h"

#include <stdio.h>

bool
list_move(struct list_state *l, enum action action)
{
	size_t page = l->page > 1 ? l->page - 1 : 1;
	size_t last = l->n > 0 ? l->n - 1 : 0;

	switch (action) {
	case ACT_DOWN:
		l->at += l->at < last;
		return true;
	case ACT_UP:
		l->at -= l->at > 0;
		return true;
	case ACT_PGDN:
		l->at = last - l->at > page ? l->at + page : last;
		return true;
	case ACT_PGUP:
		l->at = l->at > page ? l->at - page : 0;
		return true;
	case ACT_TOP:
		l->at = 0;
		return true;
	case ACT_BOTTOM:
		l->at = last;
		return true;
	default:
		return false;
	}
}

void
list_fit(struct list_state *l, size_t n, int lines)
{
	l->n = n;
	l->page = lines > 0 ? (size_t)lines : 1;
	if (l->at >= n)
		l->at = n > 0 ? n - 1 : 0;
	if (l->at < l->offset)
		l->offset = l->at;
	if (l->at >= l->offset + l->page)
		l->offset = l->at + 1 - l->page;
	if (n <= l->page)
		l->offset = 0;
	else if (l->offset > n - l->page)
		l->offset = n - l->page;
}

void
rates_text(const ration_rate_t *rates, unsigned n, char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < n && i < RATION_RATES_MAX && at < size; i++) {
		char one[96];

		ration_rate_text(&rates[i], one, sizeof(one));
		at += (size_t)snprintf(buf + at, size - at, "%s%s", i > 0 ? ", " : "", one);
	}
}

const char *
use_sign(double percent)
{
	if (percent >= 100)
		return "OVER";
	if (percent >= 90)
		return "!!";
	return percent >= 80 ? "!" : "";
}

int
use_look(double percent)
{
	if (percent >= 100)
		return LOOK_BAD | LOOK_BOLD;
	if (percent >= 90)
		return LOOK_BAD;
	return percent >= 80 ? LOOK_WARN : LOOK_PLAIN;
}
