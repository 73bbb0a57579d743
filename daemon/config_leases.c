/*
 * config_leases.c - a limit is of leases ("5 concurrent") or of rates, never of both.
 *
 * What a key holds of the one is nothing of the other, so no plan, override or live change may
 * turn a limit round: all of its rates are one concurrency each, or none is.  "unlimited" goes
 * with either.  A limit that is unlimited for all is what it was before, else of rates.
 */
#include "load.h"

#include <string.h>

/* COUNTED_OPEN: unlimited. */
enum counted
rates_counted(const struct rates *r)
{
	for (unsigned i = 0; r != NULL && i < r->n; i++)
		if (r->rate[i].kind != RATION_COUNT_ONLY)
			return r->rate[i].kind == RATION_CONCURRENT ? COUNTED_LEASES
								    : COUNTED_UNITS;
	return COUNTED_OPEN;
}

bool
rates_mixed(const struct rates *r)
{
	bool leases = false;

	for (unsigned i = 0; r != NULL && i < r->n; i++)
		leases = leases || r->rate[i].kind == RATION_CONCURRENT;
	return leases && r->n > 1;
}

bool
check_counted(struct loader *l, struct limit_model *m, const struct rates *r, struct mark mark)
{
	enum counted counted = rates_counted(r);
	char place[256];

	if (rates_mixed(r)) {
		report_add(&l->r, mark,
		    "found a concurrency beside other rates, expected it alone: make another "
		    "limit of the rates");
		return false;
	}
	if (counted == COUNTED_OPEN)
		return true;
	if (m->counted == COUNTED_OPEN) {
		m->counted = (uint8_t)counted;
		m->counted_mark = mark;
	}
	if (counted == m->counted)
		return true;
	report_add(&l->r, mark, "found %s, expected %s: limit %s is of %s (%s)",
	    counted == COUNTED_LEASES ? "a concurrency" : "a rate",
	    counted == COUNTED_LEASES ? "rates" : "a concurrency such as \"5 concurrent\"",
	    shown(m->name, m->len), counted == COUNTED_LEASES ? "rates" : "leases",
	    config_place(l->c, m->counted_mark, place, sizeof(place)));
	return false;
}

/* The most permits that a key of such a table can have. */
static uint64_t
permits_max(const struct config *c)
{
	struct config_table t;

	config_settings(c, &t);
	return PERMITS_MAX(t.cells);
}

static void
check_permits(struct loader *l, const struct rates *r, struct mark mark, uint64_t most)
{
	for (unsigned i = 0; r != NULL && i < r->n; i++)
		if (r->rate[i].kind == RATION_CONCURRENT && r->rate[i].units > most)
			report_add(&l->r, mark,
			    "found %llu concurrent, expected at most %llu: see table.rates",
			    (unsigned long long)r->rate[i].units, (unsigned long long)most);
}

void
finish_leases(struct loader *l)
{
	const struct config *c = l->c;
	uint64_t most = permits_max(c);

	for (uint32_t i = 0; i < c->nlimits; i++) {
		struct limit_model *m = &c->limits[i];

		if (m->counted == COUNTED_LEASES)
			m->flags |= LIMIT_LEASES;
		check_permits(l, m->base.rates, m->base.mark, most);
		for (uint32_t p = 0; m->plans != NULL && p < c->nplans; p++)
			check_permits(l, m->plans[p].rates, m->plans[p].mark, most);
	}
	for (uint32_t i = 0; i < c->npatches; i++)
		check_permits(l, c->patches[i].rates, c->patches[i].mark, most);
}
