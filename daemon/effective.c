/*
 * effective.c - what a key gets of a limit: override, else plan x environment, else
 * the limit's default, times the share; in whose timezone; and from when to when.
 *
 * Everything that has an end is asked at one moment; the earliest end of what was
 * used is when the answer changes, and the question is put again for then.  So a chain
 * of rulesets says in advance what applies after each end, and an override ends in
 * time without rationd.
 */
#include "compile.h"
#include "report.h"
#include "zones.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CHAIN_MAX_LEN 7u /* policy_resolve() follows eight */
#define FAR_FUTURE (POLICY_ENDLESS - 1)

struct effective {
	struct rates rates;
	const char *value; /* of an entitlement; NULL: none */
	uint8_t mode;
	bool too_much; /* times the environment more than its counter holds */
	bool zoned;    /* in the key's timezone */
	int64_t until;
	char origin[640];
};

static bool
is_calendar(const struct rate_spec *r)
{
	return r->kind == RATION_DAY || r->kind == RATION_MONTH;
}

__attribute__((format(printf, 2, 3))) static void
say(struct effective *e, const char *fmt, ...)
{
	size_t len = strlen(e->origin);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->origin + len, sizeof(e->origin) - len, fmt, ap);
	va_end(ap);
}

static void
say_place(const struct builder *b, struct effective *e, struct mark m)
{
	char place[256];

	say(e, "%s", config_place(b->c, m, place, sizeof(place)));
}

/* "by ann, load test, until 2027-01-01" or "ration.yaml:30: ..." */
static void
say_patch(const struct builder *b, struct effective *e, const struct patch *p, const char *what)
{
	char when[32];

	if (p->mark.line != 0) {
		say_place(b, e, p->mark);
		say(e, ": %s", what);
	} else {
		say(e, "%s by %s", what, shown(p->who, strlen(p->who)));
	}
	if (p->reason != NULL && p->reason[0] != '\0')
		say(e, ", %s", shown(p->reason, strlen(p->reason)));
	if (p->until != POLICY_ENDLESS)
		say(e, ", until %s", zone_time_text(p->until, when, sizeof(when)));
}

/* The first of n patches (newest first) that is in force at t. */
static const struct patch *
in_force(const struct builder *b, const uint32_t *list, uint32_t n, int64_t t)
{
	for (uint32_t i = 0; i < n; i++)
		if (b->patches[list[i]].until > t)
			return &b->patches[list[i]];
	return NULL;
}

/* Rates set for a limit's plan (0: its default) and no key. */
static const struct patch *
rates_patch(const struct builder *b, uint32_t limit, uint16_t plan, int64_t t)
{
	for (uint32_t i = b->newest[limit]; i != 0; i = b->older[i - 1]) {
		const struct patch *p = &b->patches[i - 1];

		if (p->plan == plan && p->until > t)
			return p;
	}
	return NULL;
}

static void
use_patch(struct effective *e, const struct patch *p)
{
	if (p->rates != NULL)
		e->rates = *p->rates;
	if (p->value != NULL)
		e->value = p->value;
	if (p->until < e->until)
		e->until = p->until;
}

static void
use_environment(const struct builder *b, struct effective *e, uint16_t env)
{
	const struct env_model *m = &b->c->envs[env];

	if (env == 0)
		return;
	if (m->unlimited) {
		e->rates = (struct rates) { .n = 1,
			.rate = { { .kind = RATION_COUNT_ONLY, .units = RATION_UNLIMITED } } };
		say(e, " x environment %s (unlimited)", m->name);
		return;
	}
	for (unsigned i = 0; i < e->rates.n; i++) {
		e->too_much = e->too_much || !rate_scale_fits(&e->rates.rate[i], m->num, m->den);
		rate_scale(&e->rates.rate[i], m->num, m->den);
	}
	if (m->den == 1)
		say(e, " x environment %s (%llu)", m->name, (unsigned long long)m->num);
	else
		say(e, " x environment %s (%.9g)", m->name, (double)m->num / (double)m->den);
}

/* The plan's figure.  False: the plan gives nothing of this limit. */
static bool
from_plan(const struct builder *b, struct effective *e, uint32_t limit, uint16_t plan, uint16_t env,
    int64_t t)
{
	const struct limit_model *m = &b->c->limits[limit];
	const struct plan_cell *cell = m->plans != NULL ? &m->plans[plan - 1] : NULL;
	const struct patch *p = rates_patch(b, limit, plan, t);
	char what[RATION_NAME_MAX + 8];

	snprintf(what, sizeof(what), "plan %s", b->c->plans[plan].name);
	if (p != NULL) {
		use_patch(e, p);
		say_patch(b, e, p, what);
	} else if (cell != NULL && cell->kind == CELL_RATES) {
		e->rates = *cell->rates;
		say_place(b, e, cell->mark);
		say(e, ": %s", what);
	} else {
		return false;
	}
	use_environment(b, e, env);
	return true;
}

static void
from_default(const struct builder *b, struct effective *e, uint32_t limit, uint16_t plan, int64_t t)
{
	const struct limit_model *m = &b->c->limits[limit];
	const struct patch *p = rates_patch(b, limit, 0, t);

	if (p != NULL) {
		use_patch(e, p);
		say_patch(b, e, p, "default");
		return;
	}
	say_place(b, e, m->base.kind == CELL_RATES ? m->base.mark : m->mark);
	if (m->base.kind == CELL_RATES) {
		e->rates = *m->base.rates;
		say(e, ": default");
		return;
	}
	e->rates = (struct rates) { .n = 1, .rate = { m->zero } };
	if (b->leases[limit])
		e->rates.rate[0] = (struct rate_spec) { .kind = RATION_CONCURRENT };
	if (plan != 0 && m->plans != NULL && m->plans[plan - 1].kind == CELL_CUSTOM)
		say(e, ": plan %s is custom and there is no override", b->c->plans[plan].name);
	else
		say(e, ": %s and no default", plan == 0 ? "no plan" : "nothing for the plan");
}

static void
use_share(const struct builder *b, struct effective *e, int64_t t)
{
	const struct patch *p = in_force(b, b->shares, b->nshares, t);
	uint64_t num = p != NULL ? p->num : b->c->share_num;
	uint64_t den = p != NULL ? p->den : b->c->share_den;

	if (p != NULL)
		use_patch(e, p);
	if (num == den)
		return;
	for (unsigned i = 0; i < e->rates.n; i++)
		rate_scale(&e->rates.rate[i], num, den);
	say(e, " x share %llu/%llu", (unsigned long long)num, (unsigned long long)den);
}

static void
use_mode(const struct builder *b, struct effective *e, uint32_t limit, int64_t t)
{
	e->mode = b->c->limits[limit].mode;
	for (uint32_t i = 0; i < b->nmodes; i++) {
		const struct patch *p = &b->patches[b->modes[i]];

		if ((p->limit != NOBODY && p->limit != limit) || p->until <= t)
			continue;
		e->mode = p->mode;
		use_patch(e, p);
		say(e, "; ");
		say_patch(b, e, p, mode_names[p->mode]);
		break;
	}
}

/* An entitlement has neither environment nor share: "12 months" cannot be multiplied. */
static void
from_value(const struct builder *b, struct effective *e, uint32_t limit, uint16_t plan,
    const struct patch *keyed, int64_t t)
{
	const struct limit_model *m = &b->c->limits[limit];
	const struct plan_cell *cell = plan != 0 && m->plans != NULL ? &m->plans[plan - 1] : NULL;
	const struct patch *of_plan = plan != 0 ? rates_patch(b, limit, plan, t) : NULL;
	const struct patch *of_all = rates_patch(b, limit, 0, t);
	char what[RATION_NAME_MAX + 8];

	snprintf(what, sizeof(what), "plan %s", b->c->plans[plan].name);
	if (keyed != NULL) {
		use_patch(e, keyed);
		say_patch(b, e, keyed, "override");
	} else if (of_plan != NULL) {
		use_patch(e, of_plan);
		say_patch(b, e, of_plan, what);
	} else if (cell != NULL && cell->kind == CELL_VALUE) {
		e->value = cell->value;
		say_place(b, e, cell->mark);
		say(e, ": %s", what);
	} else if (of_all != NULL) {
		use_patch(e, of_all);
		say_patch(b, e, of_all, "default");
	} else if (m->base.kind == CELL_VALUE) {
		e->value = m->base.value;
		say_place(b, e, m->base.mark);
		say(e, ": default");
	} else {
		say_place(b, e, m->mark);
		if (cell != NULL && cell->kind == CELL_CUSTOM)
			say(e, ": plan %s is custom and there is no override",
			    b->c->plans[plan].name);
		else
			say(e, ": %s and no default",
			    plan == 0 ? "no plan" : "nothing for the plan");
	}
}

/*
 * The key's timezone goes before the limit's: months are an account's, and all of its limits
 * begin anew together.  Where it is said differs by key and is no part of the ruleset: keys share
 * it.
 */
static void
use_zone(const struct builder *b, struct effective *e, uint16_t zone)
{
	for (unsigned i = 0; zone != 0 && i < e->rates.n; i++)
		if (is_calendar(&e->rates.rate[i]))
			e->zoned = true;
	if (e->zoned)
		say(e, ", timezone %s", b->c->zones[zone - 1]);
}

static void
effective_at(const struct builder *b, struct effective *e, uint32_t limit, const struct asker *who,
    int64_t t)
{
	const struct patch *p = in_force(b, who->keyed, who->n, t);

	memset(e, 0, sizeof(*e));
	e->until = POLICY_ENDLESS;
	if (b->c->limits[limit].is_value) {
		from_value(b, e, limit, who->plan, p, t);
		return;
	}
	if (p != NULL) {
		use_patch(e, p);
		say_patch(b, e, p, "override");
	} else if (who->plan == 0 || !from_plan(b, e, limit, who->plan, who->env, t)) {
		from_default(b, e, limit, who->plan, t);
	}
	use_share(b, e, t);
	use_mode(b, e, limit, t);
	if (e->mode == MODE_OFF)
		e->rates.n = 0;
	use_zone(b, e, who->zone);
}

/* ---- into rulesets ---- */

/* Longest window first: the order in the file does not matter, cells keep their shape. */
static int
by_window(const void *a, const void *b)
{
	const struct rate_spec *x = a, *y = b;

	if (x->window_ns != y->window_ns)
		return x->window_ns > y->window_ns ? -1 : 1;
	return (int)x->kind - (int)y->kind;
}

void
build_rate(struct rate_def *d, const struct rate_spec *r, uint16_t zone, const char *zone_name)
{
	d->kind = r->kind;
	d->zone = is_calendar(r) ? (uint8_t)zone : 0;
	d->units = r->kind == RATION_BUCKET ? r->burst : r->units;
	d->window_ns = r->window_ns;
	d->rate_units = r->units;
	rate_def_derive(d, zone_name);
}

uint32_t
build_ruleset_add(struct builder *b, const struct ruleset *r)
{
	uint32_t index = map_find(&b->rulesetmap, r, sizeof(*r));
	struct ruleset *copy;

	if (index != NOBODY)
		return index;
	copy = arena_alloc(&b->arena, sizeof(*copy));
	*copy = *r;
	map_add(&b->rulesetmap, copy, sizeof(*copy));
	if (b->nrulesets == b->rulesets_cap) {
		b->rulesets_cap = b->rulesets_cap == 0 ? 64 : 2 * b->rulesets_cap;
		b->rulesets = xrealloc(b->rulesets, b->rulesets_cap, sizeof(*b->rulesets));
	}
	b->rulesets[b->nrulesets] = *r;
	return b->nrulesets++;
}

/* What no slot or counter can hold; once for each limit. */
static void
check_fits(struct builder *b, uint32_t limit, const struct effective *e)
{
	const char *name = b->c->limits[limit].name;

	bool crowded = e->rates.n > 0 && e->rates.rate[0].kind == RATION_CONCURRENT &&
	    e->rates.rate[0].units > PERMITS_MAX(b->cells);

	if ((e->rates.n <= b->cells && !e->too_much && !crowded) || b->told[limit])
		return;
	b->told[limit] = true;
	if (crowded)
		mistakes_add(b->m,
		    "limit %s: found %llu concurrent (%s), expected at most %llu: the table was "
		    "made so, see table.rates",
		    name, (unsigned long long)e->rates.rate[0].units, e->origin,
		    (unsigned long long)PERMITS_MAX(b->cells));
	else if (e->too_much)
		mistakes_add(b->m,
		    "limit %s: found more units (%s) than expected: its counter holds at "
		    "most 10^9, of days, months and fixed windows 10^12",
		    name, e->origin);
	else
		mistakes_add(b->m,
		    "limit %s: found %u rates (%s), expected at most %u: the table was made "
		    "so, see table.rates",
		    name, e->rates.n, e->origin, b->cells);
}

/* May a call take the short way (lib/acquire.c)? */
static bool
plain(const struct ruleset *r)
{
	if (r->nrates == 0 || r->mode != MODE_ENFORCE || r->until != POLICY_ENDLESS ||
	    (r->flags & RULESET_NOTIFY) != 0)
		return false;
	for (unsigned i = 0; i < r->nrates; i++)
		if (r->rates[i].kind != RATION_SLIDING || r->rates[i].units > NARROW_MAX)
			return false;
	return true;
}

/* Thresholds, if any of its rates has them; a limit that says nothing costs no short way. */
static void
notify(const struct builder *b, const struct limit_model *m, struct ruleset *r)
{
	const struct config_notify *n = m->notify != NULL ? m->notify : &b->c->notify;
	uint8_t flags = RULESET_NOTIFY | (m->notify != NULL ? RULESET_NOTIFY_ALL : 0);
	bool any = false;

	r->flags |= flags;
	for (unsigned i = 0; i < r->nrates; i++)
		any = any || ruleset_notifies(r, i);
	if (any && n->n > 0)
		memcpy(r->notify, n->at, n->n);
	else
		r->flags &= (uint8_t)~flags;
}

static uint32_t
from_effective(
    struct builder *b, uint32_t limit, const struct asker *who, struct effective *e, uint32_t next)
{
	const struct limit_model *m = &b->c->limits[limit];
	uint16_t zone = e->zoned ? (uint16_t)(who->zone - 1) : m->zone;
	struct ruleset r;

	memset(&r, 0, sizeof(r));
	check_fits(b, limit, e);
	r.limit = b->id_of[limit];
	r.nrates = e->rates.n;
	r.mode = e->mode;
	r.until = e->until;
	r.next = e->until == POLICY_ENDLESS ? 0 : next;
	r.origin = build_string(b, e->origin);
	r.plan = who->plan;
	r.env = who->env;
	r.flags = e->zoned ? RULESET_ZONED : 0;
	qsort(e->rates.rate, e->rates.n, sizeof(e->rates.rate[0]), by_window);
	for (unsigned i = 0; i < e->rates.n; i++)
		build_rate(&r.rates[i], &e->rates.rate[i], zone, b->c->zones[zone]);
	r.value = e->value != NULL ? build_string(b, e->value) : 0;
	notify(b, m, &r);
	if (plain(&r) && (m->flags & (LIMIT_UNLISTED_REFUSE | LIMIT_STRICT)) == 0)
		r.flags |= RULESET_PLAIN;
	return build_ruleset_add(b, &r);
}

uint32_t
build_ruleset(struct builder *b, uint32_t limit, const struct asker *who)
{
	struct effective chain[CHAIN_MAX_LEN + 1];
	int64_t t = b->now_s;
	uint32_t len = 0, index = 0;

	do {
		effective_at(b, &chain[len], limit, who, t);
		t = chain[len++].until;
		/* The last link is what stays when everything has ended; until then rationd is
		 * back. */
		if (len == CHAIN_MAX_LEN && t != POLICY_ENDLESS)
			t = FAR_FUTURE;
	} while (len <= CHAIN_MAX_LEN && t != POLICY_ENDLESS);
	while (len > 0) {
		len--;
		index = from_effective(b, limit, who, &chain[len], index);
	}
	return index;
}

uint32_t
build_gone(struct builder *b, uint32_t id)
{
	struct ruleset r;

	memset(&r, 0, sizeof(r));
	r.limit = id;
	r.mode = MODE_OFF;
	r.until = POLICY_ENDLESS;
	r.origin = build_string(b, "no longer in the policy");
	return build_ruleset_add(b, &r);
}
