/*
 * change.c - the methods that change something.
 *
 * Each fills in what it wants; wish_apply() does the rest, the same for all.
 */
#include "wish.h"

#include <stdio.h>
#include <string.h>

/* ---- methods ---- */

/* limit, and at most one of key and plan */
static bool
take_scope(struct call *c, struct wish *w)
{
	struct change *ch = &w->change;

	if (!wish_limit(c, w, true) || !call_key(c, false, ch->key, &ch->key_len) ||
	    !wish_name(c, "plan", false, ch->plan))
		return false;
	return ch->key_len == 0 || ch->plan[0] == '\0'
	    ? true
	    : call_fail(c, RPC_PARAMS, "key and plan: expected one of them");
}

bool
change_set(struct call *c)
{
	const char *rates = NULL;
	struct wish w;

	if (!wish_common(c, &w, CHANGE_RATES, "set") || !take_scope(c, &w) ||
	    !call_text(c, "rates", true, &rates) || !wish_until(c, &w.change))
		return false;
	w.adds = true;
	return wish_rates(c, &w, "rates", rates) && wish_apply(c, &w);
}

bool
change_unset(struct call *c)
{
	struct wish w;

	if (!wish_common(c, &w, CHANGE_RATES, "unset") || !take_scope(c, &w))
		return false;
	if (config_is_value(c->d->live.config, w.change.limit))
		w.change.kind = CHANGE_VALUE;
	w.removes = true;
	return wish_apply(c, &w);
}

/* Plan or environment of a key; "" takes the live assignment back. */
static bool
assign(struct call *c, enum change_kind kind, const char *action, const char *param)
{
	struct wish w;

	if (!wish_common(c, &w, kind, action) ||
	    !call_key(c, true, w.change.key, &w.change.key_len) ||
	    !wish_name(c, param, true, w.change.plan))
		return false;
	w.adds = w.change.plan[0] != '\0';
	w.removes = !w.adds;
	return wish_apply(c, &w);
}

bool
change_plan(struct call *c)
{
	return assign(c, CHANGE_PLAN, "plan", "plan");
}

bool
change_env(struct call *c)
{
	return assign(c, CHANGE_ENV, "env", "environment");
}

bool
change_share(struct call *c)
{
	const char *text = NULL;
	char err[256];
	struct wish w;

	if (!wish_common(c, &w, CHANGE_SHARE, "share") || !call_text(c, "share", true, &text))
		return false;
	if (*text != '\0') {
		if (fraction_parse(
			text, &w.change.share_num, &w.change.share_den, err, sizeof(err)) != 0)
			return call_fail(c, RPC_PARAMS, "share: %s", err);
		if (w.change.share_num == 0 || w.change.share_num > w.change.share_den)
			return call_fail(
			    c, RPC_PARAMS, "share: expected more than 0 and at most 1");
	}
	w.adds = *text != '\0';
	w.removes = !w.adds;
	return wish_apply(c, &w);
}

/* Mode of a limit or of all; "" takes the live mode back. */
bool
change_mode(struct call *c)
{
	const char *text = NULL;
	bool all = false;
	struct wish w;
	int mode = 0;

	if (!wish_common(c, &w, CHANGE_MODE, "mode") || !wish_limit(c, &w, false) ||
	    !call_bool(c, "all", &all) || !call_text(c, "mode", true, &text) ||
	    !wish_until(c, &w.change))
		return false;
	if (all == (w.limit >= 0))
		return call_fail(c, RPC_PARAMS, "limit and all: expected one of them");
	if (config_is_value(c->d->live.config, w.change.limit))
		return call_fail(c, RPC_REFUSED,
		    "limit: %s holds values, expected one that is counted", w.change.limit);
	if (*text != '\0') {
		mode = mode_parse(text);
		if (mode < 0)
			return call_fail(
			    c, RPC_PARAMS, "mode: '%.40s', expected enforce, observe or off", text);
	}
	w.change.mode = (uint8_t)mode;
	w.adds = *text != '\0';
	w.removes = !w.adds;
	return wish_apply(c, &w);
}
