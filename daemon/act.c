/*
 * act.c - the methods that act without leaving a live change: reset, reload, clock.
 */
#include "wish.h"

#include <stdio.h>
#include <string.h>

#include "view.h"

/* ---- reset ---- */

/* The key's slot, and what it has used of the rate nearest to its limit. */
static bool
find_used(struct call *c, const struct wish *w, struct found *f, uint64_t *used)
{
	const struct segment *seg = &c->d->keeper.seg;
	struct ident id = { .limit = w->change.limit,
		.limit_len = strlen(w->change.limit),
		.key = w->change.key,
		.key_len = w->change.key_len };
	struct row row;

	ident_hash(seg, &id);
	if (!table_find(seg, &id, (uint32_t)w->limit, f))
		return false;
	for (int i = 0; i < 100; i++)
		if (view_row(seg, f->slot, keeper_shared(&c->d->keeper), &row)) {
			*used = row.deciding < row.nrates && row.deciding < RATION_RATES_MAX
			    ? row.rates[row.deciding].used
			    : 0;
			return row.birth == f->birth;
		}
	return false;
}

/* Durable first: what is recorded may not have happened, what happened is recorded. */
static bool
reset_slot(struct call *c, struct wish *w, const struct found *f)
{
	struct generation g = { .value = c->d->live.generation + 1 };
	struct audit a;
	struct store_edit e = { .generations = &g, .ngenerations = 1, .audits = &a, .naudits = 1 };
	char err[256];
	int r = RATION_EBUSY;

	wish_audit(c, w, &a);
	if (store_commit(c->d->store, &e, err, sizeof(err)) != 0)
		return call_fail(
		    c, RPC_INTERNAL, "not made durable, so nothing was changed: %s", err);
	c->d->live.generation = g.value;
	for (int i = 0; i < 100 && r == RATION_EBUSY; i++)
		r = view_reset(&c->d->keeper.seg, f->slot, f->birth, keeper_shared(&c->d->keeper));
	if (r == RATION_EBUSY) {
		(void)snprintf(a.action, sizeof(a.action), "reset-failed");
		(void)store_commit(c->d->store, &e, err, sizeof(err));
		return call_fail(c, RPC_INTERNAL, "the key is being charged too fast: try again");
	}
	wish_tell(c, &a); /* RATION_ESTALE: gone meanwhile, with nothing used */
	return true;
}

bool
change_reset(struct call *c)
{
	uint64_t used = 0;
	struct found f;
	struct wish w;
	bool ok = false;

	if (!wish_common(c, &w, CHANGE_RATES, "reset") || !wish_limit(c, &w, true) ||
	    !call_key(c, true, w.change.key, &w.change.key_len) || !wish_expect(c, &w))
		return false;
	if (config_is_value(c->d->live.config, w.change.limit))
		return call_fail(c, RPC_REFUSED,
		    "limit: %s holds values, expected one that is counted", w.change.limit);
	if (!find_used(c, &w, &f, &used))
		return call_fail(
		    c, RPC_NOT_FOUND, "the key has used nothing of %s", w.change.limit);
	(void)snprintf(w.old_text, sizeof(w.old_text), "used %llu", (unsigned long long)used);
	(void)snprintf(w.new_text, sizeof(w.new_text), "used 0");
	w.old = json_pack("{s:I}", "used", (json_int_t)used);
	w.new = json_pack("{s:i}", "used", 0);
	if (w.dry_run || reset_slot(c, &w, &f)) {
		wish_answer(c, &w);
		ok = true;
	}
	json_decref(w.old);
	json_decref(w.new);
	return ok;
}

/* ---- reload, clock ---- */

static void
audit_by(
    struct call *c, const char *action, const char *target, const char *reason, struct audit *a)
{
	memset(a, 0, sizeof(*a));
	a->when = keeper_now(&c->d->keeper);
	a->uid = c->peer->uid;
	a->pid = c->peer->pid;
	(void)snprintf(a->who, sizeof(a->who), "%s", c->peer->who);
	(void)snprintf(a->action, sizeof(a->action), "%s", action);
	(void)snprintf(a->target, sizeof(a->target), "%s", target);
	(void)snprintf(a->reason, sizeof(a->reason), "%s", reason);
}

bool
change_reload(struct call *c)
{
	struct mistakes m = { 0 };
	struct policy_ref p;
	const char *reason;
	bool dry_run = false;
	enum live_result result;
	struct audit a;

	if (!wish_reason(c, &reason) || !call_bool(c, "dry_run", &dry_run))
		return false;
	audit_by(c, "reload", "policy", reason, &a);
	result = daemon_reload(c->d, &a, dry_run, &m);
	if (result != LIVE_DONE)
		(void)wish_failed(c, result, &m);
	else if (keeper_policy(&c->d->keeper, &p))
		c->result = json_pack("{s:I, s:I}", "policy_version", (json_int_t)p.version,
		    "generation", (json_int_t)c->d->live.generation);
	mistakes_free(&m);
	return result == LIVE_DONE;
}

bool
change_clock(struct call *c)
{
	int64_t advance = 0, ms = 0;
	struct audit a;
	struct store_edit e = { .audits = &a, .naudits = 1 };
	const char *reason;
	char err[256];

	if (!wish_reason(c, &reason) ||
	    !call_int(c, "advance_s", 0, INT64_C(366) * 86400, &advance) ||
	    !call_int(c, "advance_ms", 0, 999, &ms))
		return false;
	if (advance + ms == 0)
		return call_fail(c, RPC_PARAMS, "advance_s: missing, expected seconds");
	if (!c->d->sandbox)
		return call_fail(c, RPC_PERMISSION,
		    "only an instance that was started with --sandbox has a clock that moves");
	audit_by(c, "clock", "clock", reason, &a);
	time_text(a.when, a.old, sizeof(a.old));
	time_text(a.when + advance, a.new, sizeof(a.new));
	if (store_commit(c->d->store, &e, err, sizeof(err)) != 0)
		return call_fail(
		    c, RPC_INTERNAL, "not made durable, so nothing was changed: %s", err);
	history_record(c->d->history); /* what was used is of the time before */
	keeper_advance(&c->d->keeper, (uint64_t)advance * 1000000000u + (uint64_t)ms * 1000000u);
	wish_tell(c, &a);
	daemon_tidy(c->d);
	c->result = json_pack("{s:I}", "now", (json_int_t)keeper_now(&c->d->keeper));
	return true;
}
