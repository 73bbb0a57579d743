/*
 * undo.c - taking back what an audit entry did.
 *
 * Only as long as that is what is in force: what somebody changed later is theirs, and is named
 * instead.  Taking back is a change like any other: validated, durable, audited, published; so
 * it can be taken back in turn.
 */
#include "wish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "requests.h"

/* An entry of the audit, with copies of what is only borrowed there. */
struct entry {
	struct audit a;
	char *subject, *before, *after;
	bool out_of_memory;
};

struct undo {
	struct daemon *daemon;
	struct wish w;
	struct key_event event; /* of the raise */
	struct entry entry;
	struct trail now, before, after;
	int64_t *gone; /* ids */
	size_t ngone;
};

static bool
copy_entry(void *arg, const struct audit *a)
{
	struct entry *e = arg;

	e->a = *a;
	e->subject = a->subject != NULL ? strdup(a->subject) : NULL;
	e->before = a->before != NULL ? strdup(a->before) : NULL;
	e->after = a->after != NULL ? strdup(a->after) : NULL;
	e->out_of_memory = (a->subject != NULL && e->subject == NULL) ||
	    (a->before != NULL && e->before == NULL) || (a->after != NULL && e->after == NULL);
	return false;
}

static void
entry_free(struct entry *e)
{
	free(e->subject);
	free(e->before);
	free(e->after);
	memset(e, 0, sizeof(*e));
}

static void
undo_free(struct undo *u)
{
	wish_free(&u->w);
	entry_free(&u->entry);
	trail_free(&u->now);
	trail_free(&u->before);
	trail_free(&u->after);
	free(u->gone);
}

/* ---- what cannot be taken back ---- */

static const struct {
	const char *action, *why;
} final[] = {
	{ "reset", "what a key had used is not kept: there is nothing to put back" },
	{ "reset-failed", "nothing was changed by it" },
	{ "reload", "the policy files are yours: put the old ones back and reload" },
	{ "clock", "a clock only moves forward" },
	{ "ended", "it ended when it was meant to: set it anew" },
};

static bool
may_go_back(struct call *c, const struct entry *e)
{
	for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++)
		if (strcmp(e->a.action, final[i].action) == 0)
			return call_fail(
			    c, RPC_REFUSED, "%s cannot be undone: %s", e->a.action, final[i].why);
	return e->subject != NULL && e->before != NULL && e->after != NULL
	    ? true
	    : call_fail(c, RPC_REFUSED,
		  "entry %lld is from an earlier version of rationd, which did not record what "
		  "it replaced: set it anew",
		  (long long)e->a.id);
}

/* "entry 18 (undo by ann at 2026-11-21T17:00:00Z)" */
static void
entry_text(const struct audit *a, char *out, size_t size)
{
	char when[40];

	time_text(a->when, when, sizeof(when));
	(void)snprintf(
	    out, size, "entry %lld (%s by %s at %s)", (long long)a->id, a->action, a->who, when);
}

/* Somebody came later: who, when, which. */
static bool
conflict(struct call *c, const char *how, const struct audit *later)
{
	char text[192];

	entry_text(later, text, sizeof(text));
	json_decref(c->data);
	c->data = json_pack("{s:I, s:o, s:I, s:o, s:o, s:o}", "entry", (json_int_t)later->id, "who",
	    json_any(later->who), "when", (json_int_t)later->when, "action",
	    json_any(later->action), "old", json_any(later->old), "new", json_any(later->new));
	return call_fail(c, RPC_CONFLICT, "%s %s", how, text);
}

static bool
already_undone(struct call *c, const struct entry *e)
{
	struct entry by = { 0 };
	char err[256];

	if (store_audit_entry(c->d->store, e->a.undone_by, copy_entry, &by, err, sizeof(err)) == 1)
		(void)conflict(c, "already undone by", &by.a);
	else
		(void)call_fail(
		    c, RPC_CONFLICT, "already undone by entry %lld", (long long)e->a.undone_by);
	entry_free(&by);
	return false;
}

static bool
changed_later(struct call *c, const struct entry *e)
{
	struct entry later = { 0 };
	char err[256];
	int n = store_audit_later(
	    c->d->store, e->a.id, e->subject, e->a.request, copy_entry, &later, err, sizeof(err));

	if (n < 0)
		(void)call_fail(c, RPC_INTERNAL, "audit: %s", err);
	else if (n == 0)
		(void)call_fail(c, RPC_CONFLICT,
		    "changed meanwhile: what entry %lld left is not in force any more",
		    (long long)e->a.id);
	else if (strcmp(later.a.action, "ended") == 0) {
		(void)conflict(c, "there is nothing left to take back: it ended, see", &later.a);
		c->code = RPC_REFUSED;
	} else
		(void)conflict(c, "changed meanwhile by", &later.a);
	entry_free(&later);
	return false;
}

/* ---- from here to there ---- */

static bool
contains(const struct trail *t, int64_t id)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->at[i].id == id)
			return true;
	return false;
}

/* What has ended stays away.  False: nothing else would come back. */
static bool
leave_ended(struct call *c, struct undo *u)
{
	size_t kept = 0, had = u->before.n;
	char when[40] = "";

	for (size_t i = 0; i < had; i++) {
		if (u->before.at[i].until > u->w.change.when)
			u->before.at[kept++] = u->before.at[i];
		else
			time_text(u->before.at[i].until, when, sizeof(when));
	}
	u->before.n = kept;
	if (had == 0 || kept > 0)
		return true;
	return call_fail(c, RPC_REFUSED,
	    "what entry %lld replaced has ended meanwhile (%s): there is nothing to go back to",
	    (long long)u->entry.a.id, when);
}

static bool
still_in_force(struct call *c, struct undo *u)
{
	char when[40];

	if (u->after.alone)
		return true;
	for (size_t i = 0; i < u->after.n; i++) {
		if (u->after.at[i].until > u->w.change.when ||
		    contains(&u->before, u->after.at[i].id))
			continue;
		time_text(u->after.at[i].until, when, sizeof(when));
		return call_fail(
		    c, RPC_REFUSED, "there is nothing left to take back: it ended at %s", when);
	}
	if (!trail_now(&c->d->live, &u->w.change, &u->now))
		return call_fail(c, RPC_INTERNAL, "out of memory");
	return trail_same(&u->now, &u->after) ? true : changed_later(c, &u->entry);
}

/* The raise must be as the entry left it; and two of the same may not be open. */
static bool
request_allows(struct call *c, struct undo *u)
{
	struct request r;
	int64_t other = 0;
	char err[256];
	int n;

	if (u->entry.a.request == 0)
		return true;
	n = store_request(c->d->store, u->entry.a.request, &r, err, sizeof(err));
	if (n == 1 && strcmp(r.state, u->after.request) != 0)
		return changed_later(c, &u->entry);
	if (n == 1 && strcmp(u->before.request, REQUEST_OPEN) == 0)
		n = store_request_same(
			c->d->store, r.limit, r.key, r.key_len, &other, err, sizeof(err)) < 0
		    ? -1
		    : n;
	if (n < 0)
		return call_fail(c, RPC_INTERNAL, "requests: %s", err);
	if (n == 0)
		return call_fail(c, RPC_NOT_FOUND, "request %lld is not kept any more",
		    (long long)u->entry.a.request);
	if (other != 0)
		return call_fail(c, RPC_CONFLICT,
		    "request %lld cannot be opened again: request %lld is open for the same limit "
		    "and key",
		    (long long)r.id, (long long)other);
	return true;
}

/* What comes back takes the place of u->before.at; what goes, by id. */
static bool
difference(struct call *c, struct undo *u)
{
	size_t n = 0;

	u->gone = calloc(u->after.n + 1, sizeof(*u->gone));
	if (u->gone == NULL)
		return call_fail(c, RPC_INTERNAL, "out of memory");
	for (size_t i = 0; i < u->after.n; i++)
		if (!contains(&u->before, u->after.at[i].id))
			u->gone[u->ngone++] = u->after.at[i].id;
	for (size_t i = 0; i < u->before.n; i++)
		if (!contains(&u->after, u->before.at[i].id))
			u->before.at[n++] = u->before.at[i];
	u->before.n = n;
	return true;
}

static bool
goes(const struct change *ch, const void *arg)
{
	const struct undo *u = arg;

	for (size_t i = 0; i < u->ngone; i++)
		if (ch->id == u->gone[i])
			return true;
	return false;
}

/* In the transaction: the entry is marked, the raise is open again or decided again. */
static bool
also(void *arg, struct store *s, char *err, size_t errsize)
{
	struct undo *u = arg;
	struct decision by = { .state = u->w.request_after,
		.at = u->w.change.when,
		.who = u->w.change.who,
		.why = u->w.reason,
		.change = u->before.n > 0 ? u->before.at[u->before.n - 1].id : 0 };

	struct request r;

	if (!store_audit_undone(s, u->entry.a.id, store_audit_last(s))) {
		(void)snprintf(err, errsize, "the audit entry could not be marked");
		return false;
	}
	if (u->w.request == 0)
		return true;
	return store_request_decide(s, u->w.request, u->w.request_before, &by, err, errsize) &&
	    store_request(s, u->w.request, &r, err, errsize) == 1 &&
	    request_event(u->daemon, &r, by.at, &u->event, err, errsize);
}

/* The audit of it: what was, and what is, change places. */
static bool
way_back(struct call *c, struct undo *u)
{
	struct wish *w = &u->w;
	const struct entry *e = &u->entry;
	struct trail to = u->before;

	w->request = e->a.request;
	w->request_before = u->after.request;
	w->request_after = u->before.request;
	w->undoes = e->a.id;
	w->subject = strdup(e->subject);
	w->before = strdup(e->after);
	w->after = trail_text(&to);
	if (w->subject == NULL || w->before == NULL || w->after == NULL)
		return call_fail(c, RPC_INTERNAL, "out of memory");
	(void)snprintf(w->target, sizeof(w->target), "of %lld (", (long long)e->a.id);
	change_target_text(
	    &w->change, w->target + strlen(w->target), sizeof(w->target) - strlen(w->target));
	if (w->request != 0)
		(void)snprintf(w->target + strlen(w->target), sizeof(w->target) - strlen(w->target),
		    ", request %lld", (long long)w->request);
	(void)snprintf(w->target + strlen(w->target), sizeof(w->target) - strlen(w->target), ")");
	return true;
}

/* Of a raise's state alone. */
static void
request_states(struct wish *w)
{
	(void)snprintf(w->old_text, sizeof(w->old_text), "%s", w->request_before);
	(void)snprintf(w->new_text, sizeof(w->new_text), "%s", w->request_after);
	json_decref(w->old);
	w->old = json_pack("{s:s}", "state", w->request_before);
	w->new = json_pack("{s:s}", "state", w->request_after);
}

static bool
go_back(struct call *c, struct undo *u)
{
	struct wish *w = &u->w;
	struct audit a;
	struct live_edit e = { .goes = goes,
		.goes_arg = u,
		.add = u->before.at,
		.limit = w->limit,
		.audits = &a,
		.naudits = 1,
		.also = also,
		.also_arg = u,
		.dry_run = w->dry_run };

	if (!way_back(c, u) || !difference(c, u))
		return false;
	e.nadd = u->before.n;
	w->old = wish_state(c, w, w->old_text, sizeof(w->old_text));
	if (u->before.n > 0)
		change_value_text(&u->before.at[u->before.n - 1], w->new_text, sizeof(w->new_text));
	else
		(void)snprintf(w->new_text, sizeof(w->new_text), "as in the files");
	if (u->after.alone)
		request_states(w);
	wish_audit(c, w, &a);
	if (!wish_edit(c, w, &e))
		return false;
	(void)json_object_set_new(c->result, "undoes", json_integer(u->entry.a.id));
	(void)json_object_set_new(c->result, "action", json_any(u->entry.a.action));
	(void)json_object_set_new(c->result, "target", json_any(w->target));
	(void)json_object_set_new(c->result, "entry",
	    w->dry_run ? json_null() : json_integer(store_audit_last(c->d->store)));
	if (!w->dry_run)
		wish_tell(c, &a);
	return true;
}

static bool
take_entry(struct call *c, struct undo *u)
{
	int64_t id = 0;
	char err[256];
	int n;

	if (!call_int(c, "entry", 1, INT64_MAX, &id))
		return false;
	if (id == 0)
		return call_fail(
		    c, RPC_PARAMS, "entry: missing, expected the number of an audit entry");
	n = store_audit_entry(c->d->store, id, copy_entry, &u->entry, err, sizeof(err));
	if (n < 0 || u->entry.out_of_memory)
		return call_fail(c, RPC_INTERNAL, "audit: %s", n < 0 ? err : "out of memory");
	return n == 1 ? true
		      : call_fail(c, RPC_NOT_FOUND, "the audit has no entry %lld", (long long)id);
}

/* What the entry was about is what this one is about. */
static bool
take_target(struct call *c, struct undo *u)
{
	struct change about;
	struct policy_ref p;

	if (!trail_subject_parse(u->entry.subject, &about) ||
	    !trail_parse(u->entry.before, &u->before) || !trail_parse(u->entry.after, &u->after))
		return call_fail(
		    c, RPC_INTERNAL, "entry %lld cannot be read", (long long)u->entry.a.id);
	about.when = u->w.change.when;
	(void)snprintf(about.who, sizeof(about.who), "%s", u->w.change.who);
	u->w.change = about;
	if (!u->after.alone && about.limit[0] != '\0' && keeper_policy(&c->d->keeper, &p))
		u->w.limit = policy_limit_id(&p, about.limit, strlen(about.limit));
	return true;
}

bool
change_undo(struct call *c)
{
	struct undo u = { .daemon = c->d };
	bool ok = wish_common(c, &u.w, CHANGE_RATES, "undo") && take_entry(c, &u) &&
	    may_go_back(c, &u.entry);

	if (ok && u.entry.a.undone_by != 0)
		ok = already_undone(c, &u.entry);
	ok = ok && take_target(c, &u) && still_in_force(c, &u) && request_allows(c, &u) &&
	    leave_ended(c, &u) && go_back(c, &u);
	if (!ok)
		u.event.id = 0;
	request_told(c->d, &u.event);
	undo_free(&u);
	return ok;
}
