/*
 * edit.c - what the dialogs ask of rationd.
 *
 * A change is compare-and-set: the limit's generation is read when the dialog
 * opens and sent along as `expect`.  When somebody else was faster the dialog
 * stays, shows their change, and a second `y` is a decision made knowing of it.
 * An undo is a change like any other: compared, checked, audited.
 */
#include "top.h"

#include <string.h>

static json_t *
named(json_t *array, const char *field, const char *name)
{
	size_t i;
	json_t *v;

	json_array_foreach(array, i, v)
	{
		const char *s = json_string_value(json_object_get(v, field));

		if (s != NULL && strcmp(s, name) == 0)
			return v;
	}
	return NULL;
}

/* ["300/min","30/s"] -> "300/min, 30/s" */
static void
join_rates(json_t *rates, char *buf, size_t size)
{
	size_t i, at = 0;
	json_t *v;

	buf[0] = '\0';
	json_array_foreach(rates, i, v)
	{
		const char *s = json_string_value(v);

		if (s != NULL && at < size)
			at += (size_t)snprintf(buf + at, size - at, "%s%s", i > 0 ? ", " : "", s);
	}
}

/* Fill in what rationd knows of the limit: rates, generation, plan, counts.  False: noted why not.
 */
static bool
read_limit(struct top *t, struct dialog *d)
{
	json_t *answer = daemon_call(t, "limits", NULL, NULL);
	json_t *limit = named(json_object_get(answer, "limits"), "name", d->limit);
	json_t *generation = json_object_get(limit, "generation");
	json_t *plan_rates;

	if (answer == NULL)
		return false;
	if (limit == NULL) {
		top_note(t, LOOK_BAD, "%s is no longer a limit of the policy", d->limit);
		json_decref(answer);
		return false;
	}
	d->generation = json_is_integer(generation) ? json_integer_value(generation) : -1;
	join_rates(json_object_get(limit, "rates"), d->current[SCOPE_LIMIT], RATES_TEXT_MAX);
	plan_rates = json_object_get(json_object_get(limit, "plans"), d->plan);
	if (d->plan[0] != '\0' && plan_rates != NULL)
		join_rates(plan_rates, d->current[SCOPE_PLAN], RATES_TEXT_MAX);
	else
		d->plan[0] = '\0'; /* the plan says nothing of this limit */
	json_decref(answer);
	return true;
}

static void
read_touches(struct top *t, struct dialog *d, uint32_t limit)
{
	json_t *answer, *plan;

	d->touches[SCOPE_KEY] = 1;
	d->touches[SCOPE_LIMIT] = limit < LIMITS_MAX ? (int64_t)t->model.limits[limit].keys : -1;
	d->touches[SCOPE_PLAN] = -1;
	if (d->plan[0] == '\0')
		return;
	answer = daemon_call(t, "plans", NULL, NULL);
	plan = named(json_object_get(answer, "plans"), "name", d->plan);
	if (plan != NULL)
		d->touches[SCOPE_PLAN] = json_integer_value(json_object_get(plan, "keys"));
	json_decref(answer);
}

static bool
allowed(struct top *t)
{
	if (t->readonly)
		top_note(t, LOOK_WARN, "read-only: started with --readonly");
	else if (!t->daemon.up && t->model.seg->head != NULL && daemon_beats(t))
		top_note(t, LOOK_WARN, "read-only: %s", t->daemon.why);
	else if (!t->daemon.up)
		top_note(t, LOOK_WARN, "rationd is not there: nothing can be changed now");
	else if (!t->daemon.may_change)
		top_note(t, LOOK_WARN, "read-only: changes are for root and the admin group");
	else
		return true;
	return false;
}

/* What the key has used, rate by rate: "97 of 300, 3 of 30". */
static void
fill_used(struct dialog *d, const ration_rate_t *rates, unsigned n)
{
	size_t at = 0;

	d->nnow = 0;
	d->used[0] = '\0';
	for (unsigned i = 0; i < n && i < RATION_RATES_MAX && at < sizeof(d->used); i++) {
		char used[32], limit[32] = "unlimited";

		text_grouped(rates[i].used, used, sizeof(used));
		if (rates[i].limit_units != RATION_UNLIMITED)
			text_grouped(rates[i].limit_units, limit, sizeof(limit));
		at += (size_t)snprintf(d->used + at, sizeof(d->used) - at, "%s%s of %s",
		    i > 0 ? ", " : "", used, limit);
		d->now[d->nnow].units = rates[i].used;
		d->now[d->nnow++].window_ns = rates[i].window_ns;
	}
}

static void
fill_key(struct dialog *d, const struct model_row *row)
{
	rates_text(row->row.rates, row->row.nrates, d->current[SCOPE_KEY], RATES_TEXT_MAX);
	snprintf(d->plan, sizeof(d->plan), "%s", row->plan);
	fill_used(d, row->row.rates, row->row.nrates);
}

/* Id of a limit by its name in the mapping, UINT32_MAX: none. */
static uint32_t
limit_number(struct top *t, const char *name)
{
	struct policy_ref p;
	int64_t id = -1;

	if (t->model.seg != NULL && t->model.seg->policy != NULL &&
	    policy_current(t->model.seg->policy, &p))
		id = policy_limit_id(&p, name, strlen(name));
	return id < 0 ? UINT32_MAX : (uint32_t)id;
}

void
edit_open(struct top *t, const struct key_ref *key, const char *limit)
{
	struct dialog *d = &t->dialog;
	struct model_row row;

	if (!allowed(t))
		return;
	memset(d, 0, sizeof(*d));
	memset(&t->target, 0, sizeof(t->target));
	if (key != NULL) {
		t->target = *key;
		snprintf(d->limit, sizeof(d->limit), "%s", key->limit);
		if (!model_row_of(&t->model, key->slot, key->birth, t->now.shared_ns, &row)) {
			top_note(t, LOOK_WARN, "%s is no longer in the table", key->text);
			return;
		}
		snprintf(d->key, sizeof(d->key), "%s", key->text);
		fill_key(d, &row);
	} else {
		snprintf(d->limit, sizeof(d->limit), "%s", limit);
	}
	if (!read_limit(t, d))
		return;
	read_touches(t, d, limit_number(t, d->limit));
	dialog_open(d, DIALOG_EDIT);
	t->dialog_open = true;
}

void
edit_reset(struct top *t, const struct key_ref *key)
{
	struct dialog *d = &t->dialog;
	struct model_row row;

	if (!allowed(t))
		return;
	memset(d, 0, sizeof(*d));
	if (!model_row_of(&t->model, key->slot, key->birth, t->now.shared_ns, &row)) {
		top_note(t, LOOK_WARN, "%s is no longer in the table", key->text);
		return;
	}
	t->target = *key;
	snprintf(d->limit, sizeof(d->limit), "%s", key->limit);
	snprintf(d->key, sizeof(d->key), "%s", key->text);
	fill_key(d, &row);
	d->generation = -1;
	dialog_open(d, DIALOG_RESET);
	t->dialog_open = true;
}

/* ---- undo ---- */

void
edit_forget(struct top *t)
{
	json_decref(t->undo.params);
	t->undo.params = NULL;
	t->undo.set = false;
}

static bool
is_text(json_t *o, const char *field, const char *want)
{
	const char *s = json_string_value(json_object_get(o, field));

	return strcmp(s ? s : "", want) == 0;
}

/*
 * What takes a change of this target back: the live change that stood before, or,
 * where none did, removing ours (what the policy files say is in force again).
 * Read before the change is made.  The limit's generation is added when it is known.
 */
static json_t *
undo_params(struct top *t, const struct dialog *d, const char **method)
{
	const char *key = d->scope == SCOPE_KEY ? d->key : "";
	const char *plan = d->scope == SCOPE_PLAN ? d->plan : "";
	json_t *answer = daemon_call(t, "changes", NULL, NULL);
	json_t *params = json_object();
	json_t *v, *before = NULL;
	char rates[RATES_TEXT_MAX];
	size_t i;

	if (answer == NULL) {
		json_decref(params);
		return NULL;
	}
	json_array_foreach(json_object_get(answer, "changes"), i, v)
	{
		if (json_array_size(json_object_get(v, "rates")) > 0 &&
		    is_text(v, "limit", d->limit) && is_text(v, "key", key) &&
		    is_text(v, "plan", plan))
			before = v; /* the last one wins */
	}
	json_object_set_new(params, "limit", json_string(d->limit));
	if (key[0] != '\0')
		json_object_set_new(params, "key", json_string(key));
	if (plan[0] != '\0')
		json_object_set_new(params, "plan", json_string(plan));
	*method = before != NULL ? "set" : "unset";
	if (before != NULL) {
		join_rates(json_object_get(before, "rates"), rates, sizeof(rates));
		json_object_set_new(params, "rates", json_string(rates));
		if (json_is_integer(json_object_get(before, "until")) &&
		    json_integer_value(json_object_get(before, "until")) > 0)
			json_object_set(params, "until", json_object_get(before, "until"));
	}
	json_object_set_new(params, "reason", json_string("undo from the dashboard"));
	json_decref(answer);
	return params;
}

void
edit_undo(struct top *t)
{
	struct rpc_error e = { 0 };
	json_t *answer;

	if (!t->undo.set || t->now.mono_ns >= t->undo.until_ns) {
		edit_forget(t);
		top_note(t, LOOK_PLAIN, "nothing to undo");
		return;
	}
	if (!allowed(t))
		return;
	answer = daemon_call(t, t->undo.method, json_incref(t->undo.params), &e);
	if (answer != NULL)
		top_note(t, LOOK_GOOD, "[Undo ok] taken back: %s", t->undo.what);
	else if (e.code == RPC_CONFLICT)
		top_note(t, LOOK_BAD, "not undone: somebody changed %s meanwhile", t->undo.what);
	else
		top_note(t, LOOK_BAD, "not undone: %s", e.text);
	json_decref(answer);
	rpc_error_clear(&e);
	edit_forget(t);
	top_read(t, READ_SOON);
}

/* ---- committing ---- */

static json_t *
set_params(const struct dialog *d)
{
	json_t *p = json_object();

	json_object_set_new(p, "limit", json_string(d->limit));
	json_object_set_new(p, "rates", json_string(d->rates.text));
	if (d->scope == SCOPE_KEY)
		json_object_set_new(p, "key", json_string(d->key));
	if (d->scope == SCOPE_PLAN)
		json_object_set_new(p, "plan", json_string(d->plan));
	if (dialog_for_s(d) > 0)
		json_object_set_new(p, "for_s", json_integer((json_int_t)dialog_for_s(d)));
	if (d->reason.len > 0)
		json_object_set_new(p, "reason", json_string(d->reason.text));
	if (d->generation >= 0)
		json_object_set_new(p, "expect", json_integer(d->generation));
	return p;
}

/* The newest entry of the audit that names this limit, as "ann: 300/min -> 200/min". */
static void
others_change(struct top *t, const struct dialog *d, char *buf, size_t size)
{
	struct rpc_error e = { 0 };
	json_t *answer = daemon_call(t, "audit", json_pack("{s:i}", "limit_n", 10), &e);
	json_t *v, *found = NULL;
	json_int_t newest = -1;
	size_t i;

	snprintf(buf, size, "somebody");
	json_array_foreach(json_object_get(answer, "entries"), i, v)
	{
		const char *target = json_string_value(json_object_get(v, "target"));
		json_int_t id = json_integer_value(json_object_get(v, "id"));

		if (target != NULL && strstr(target, d->limit) != NULL && id > newest) {
			newest = id;
			found = v;
		}
	}
	if (found != NULL) {
		const char *who = json_string_value(json_object_get(found, "who"));
		const char *new = json_string_value(json_object_get(found, "new"));

		snprintf(buf, size, "%s: %s", who ? who : "somebody", new ? new : "changed it");
	}
	json_decref(answer);
	rpc_error_clear(&e);
}

/* Somebody was faster: show what they did, and take the new generation. */
static void
conflict(struct top *t)
{
	struct dialog *d = &t->dialog;
	struct model_row row;
	char who[160];

	others_change(t, d, who, sizeof(who));
	if (!read_limit(t, d)) {
		t->dialog_open = false;
		return;
	}
	if (d->key[0] != '\0' &&
	    model_row_of(&t->model, t->target.slot, t->target.birth, t->now.shared_ns, &row))
		fill_key(d, &row);
	if (!d->rates_typed)
		field_set(&d->rates, d->current[d->scope]);
	dialog_note(d, "Changed meanwhile by %s; y again to change it all the same", who);
}

static void
refused(struct top *t, const struct rpc_error *e)
{
	const char *first =
	    json_string_value(json_array_get(json_object_get(e->data, "mistakes"), 0));

	if (e->code == RPC_CONFLICT)
		conflict(t);
	else
		dialog_note(&t->dialog, "%s", first != NULL ? first : e->text);
}

static void
committed(struct top *t, json_t *answer, const char *method, json_t *undo)
{
	const struct dialog *d = &t->dialog;
	json_t *generation = json_object_get(answer, "generation");
	const char *who = d->scope == SCOPE_KEY ? d->key : d->scope == SCOPE_PLAN ? d->plan : "";

	edit_forget(t);
	snprintf(t->undo.what, sizeof(t->undo.what), "%.40s%s%.60s %.40s -> %.40s", d->limit,
	    who[0] ? " " : "", who, d->current[d->scope], d->rates.text);
	if (undo != NULL) {
		if (json_is_integer(generation))
			json_object_set(undo, "expect", generation);
		snprintf(t->undo.method, sizeof(t->undo.method), "%s", method);
		t->undo.params = json_incref(undo);
		t->undo.until_ns = t->now.mono_ns + UNDO_NS;
		t->undo.set = true;
	}
	top_note(t, LOOK_GOOD, "[Edit ok] %s%s%.80s", t->undo.what,
	    d->reason.len > 0 ? ", reason: " : "", d->reason.text);
}

static void
commit_edit(struct top *t)
{
	const char *method = "unset";
	struct rpc_error e = { 0 };
	json_t *undo = undo_params(t, &t->dialog, &method);
	json_t *answer;

	answer = undo == NULL ? NULL : daemon_call(t, "set", set_params(&t->dialog), &e);
	if (answer != NULL) {
		committed(t, answer, method, undo);
		t->dialog_open = false;
	} else if (undo != NULL) {
		refused(t, &e);
	} else {
		dialog_note(&t->dialog, "rationd does not answer: nothing was changed");
	}
	json_decref(answer);
	json_decref(undo);
	rpc_error_clear(&e);
}

static void
commit_reset(struct top *t)
{
	struct dialog *d = &t->dialog;
	struct rpc_error e = { 0 };
	json_t *params = json_pack("{s:s, s:s}", "limit", d->limit, "key", d->key);
	json_t *answer;

	if (d->reason.len > 0)
		json_object_set_new(params, "reason", json_string(d->reason.text));
	answer = daemon_call(t, "reset", params, &e);
	if (answer != NULL) {
		t->dialog_open = false;
		top_note(t, LOOK_GOOD, "[Reset ok] %s %s: %s -> 0", d->limit, d->key, d->used);
	} else {
		refused(t, &e);
	}
	json_decref(answer);
	rpc_error_clear(&e);
}

void
edit_key(struct top *t, int key)
{
	switch (dialog_key(&t->dialog, key)) {
	case DIALOG_CANCELLED:
		t->dialog_open = false;
		break;
	case DIALOG_COMMITTED:
		if (t->dialog.kind == DIALOG_EDIT)
			commit_edit(t);
		else
			commit_reset(t);
		top_read(t, READ_SOON);
		break;
	default:
		break;
	}
}
