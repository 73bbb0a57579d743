/*
 * decide.c - approving and declining what was asked for.
 *
 * Either goes on from the state that the request has: who comes second is told who was first.
 */
#include "wish.h"

#include <stdio.h>
#include <string.h>

#include "log.h"
#include "requests.h"

struct verdict {
	struct daemon *daemon;
	struct wish w;
	struct request r;
	struct decision d;
	struct key_event event;
};

/* Decided already: by whom, when, what. */
static bool
must_be_open(struct call *c, const struct request *r)
{
	char when[40];

	if (strcmp(r->state, REQUEST_OPEN) == 0)
		return true;
	time_text(r->decided_at, when, sizeof(when));
	json_decref(c->data);
	c->data = request_json(c, r, false);
	return call_fail(c, RPC_CONFLICT, "request %lld was %s by %s at %s%s%s", (long long)r->id,
	    r->state, r->decided_by, when, r->why[0] != '\0' ? ": " : "", r->why);
}

static bool
find_request(struct call *c, struct request *r)
{
	int64_t id = 0;
	char err[256];
	int n;

	if (!call_int(c, "request", 1, INT64_MAX, &id))
		return false;
	if (id == 0)
		return call_fail(c, RPC_PARAMS, "request: missing, expected its number");
	n = store_request(c->d->store, id, r, err, sizeof(err));
	if (n < 0)
		return call_fail(c, RPC_INTERNAL, "requests: %s", err);
	return n == 1 ? must_be_open(c, r)
		      : call_fail(c, RPC_NOT_FOUND, "there is no request %lld", (long long)id);
}

/*
 * What the key has may have changed since it was asked for: then whoever approves has to say
 * that he knows, by the limit's generation.
 */
static bool
still_as_asked(struct call *c, const struct verdict *v)
{
	char now[VALUE_TEXT];
	json_t *state = wish_state(c, &v->w, now, sizeof(now));
	json_int_t generation = (json_int_t)c->d->live.limits[v->w.limit].value;

	if (v->w.expect >= 0 || strcmp(now, v->r.now) == 0) {
		json_decref(state);
		return true;
	}
	json_decref(c->data);
	c->data =
	    json_pack("{s:o, s:s, s:I}", "now", state, "then", v->r.now, "generation", generation);
	return call_fail(c, RPC_CONFLICT,
	    "changed since request %lld was made: the key has %s now, it had %s then; if it is to "
	    "have %s all the same, approve with expect %lld",
	    (long long)v->r.id, now, v->r.now, v->r.wanted, (long long)generation);
}

/* In the transaction of the override. */
static bool
record_verdict(void *arg, struct store *s, char *err, size_t errsize)
{
	struct verdict *v = arg;

	v->d.change = v->w.change.id;
	v->r.decided_at = v->d.at;
	(void)snprintf(v->r.state, sizeof(v->r.state), "%s", v->d.state);
	(void)snprintf(v->r.decided_by, sizeof(v->r.decided_by), "%s", v->d.who);
	(void)snprintf(v->r.why, sizeof(v->r.why), "%s", v->d.why);
	return store_request_decide(s, v->r.id, REQUEST_OPEN, &v->d, err, errsize) &&
	    (strcmp(v->d.state, REQUEST_WITHDRAWN) == 0 ||
		request_event(v->daemon, &v->r, v->d.at, &v->event, err, errsize));
}

static void
begin_verdict(struct verdict *v, const char *state)
{
	v->w.request = v->r.id;
	v->w.request_before = REQUEST_OPEN;
	v->w.request_after = state;
	request_target(&v->r, v->w.target);
	v->d = (struct decision) {
		.state = state, .at = v->w.change.when, .who = v->w.change.who, .why = v->w.reason
	};
}

bool
request_approve(struct call *c)
{
	struct verdict v = { .daemon = c->d };
	struct change *ch = &v.w.change;
	struct policy_ref p;
	bool ok;

	if (!wish_common(c, &v.w, CHANGE_RATES, "approve") || !find_request(c, &v.r) ||
	    !wish_until(c, ch))
		return false;
	(void)snprintf(ch->limit, sizeof(ch->limit), "%s", v.r.limit);
	memcpy(ch->key, v.r.key, v.r.key_len);
	ch->key_len = v.r.key_len;
	if (ch->reason[0] == '\0')
		(void)snprintf(ch->reason, sizeof(ch->reason), "request %lld: %.200s",
		    (long long)v.r.id, v.r.reason);
	if (keeper_policy(&c->d->keeper, &p))
		v.w.limit = policy_limit_id(&p, ch->limit, strlen(ch->limit));
	if (v.w.limit < 0)
		return call_fail(
		    c, RPC_NOT_FOUND, "the policy has no limit '%s' any more", ch->limit);
	if (!wish_rates(c, &v.w, "to", v.r.wanted) || !still_as_asked(c, &v))
		return false;
	v.w.adds = true;
	begin_verdict(&v, REQUEST_APPROVED);
	v.w.also = record_verdict;
	v.w.also_arg = &v;
	ok = wish_apply(c, &v.w);
	if (ok) {
		(void)json_object_set_new(c->result, "request", json_integer(v.r.id));
		(void)json_object_set_new(c->result, "target", json_any(v.w.target));
	}
	if (!ok)
		v.event.id = 0;
	request_told(c->d, &v.event);
	return ok;
}

/* Its audit entry: nothing of the policy, so the request's state is all there is to go back. */
static bool
audit_declined(struct call *c, struct verdict *v, struct audit *a)
{
	struct trail state = { .alone = true };
	struct wish *w = &v->w;

	(void)snprintf(w->change.limit, sizeof(w->change.limit), "%s", v->r.limit);
	memcpy(w->change.key, v->r.key, v->r.key_len);
	w->change.key_len = v->r.key_len;
	w->subject = trail_subject(&w->change, v->r.id);
	(void)snprintf(state.request, sizeof(state.request), "%s", w->request_before);
	w->before = trail_text(&state);
	(void)snprintf(state.request, sizeof(state.request), "%s", w->request_after);
	w->after = trail_text(&state);
	if (w->subject == NULL || w->before == NULL || w->after == NULL)
		return call_fail(c, RPC_INTERNAL, "out of memory");
	(void)snprintf(w->old_text, sizeof(w->old_text), "%s", v->r.now);
	(void)snprintf(w->new_text, sizeof(w->new_text), "declined: %.250s", v->r.wanted);
	wish_audit(c, w, a);
	return true;
}

/* Whoever asked, and is no admin, withdraws what he asked for: that is no change to audit. */
static bool
decide_alone(struct call *c, struct verdict *v, bool admin)
{
	struct audit a;
	struct store_edit edit = { .audits = &a, .naudits = 1 };
	struct store *s = c->d->store;
	char err[256];
	bool ok;

	if (admin && !audit_declined(c, v, &a))
		return false;
	if (!store_begin(s))
		return call_fail(c, RPC_INTERNAL, "requests: no transaction");
	ok = record_verdict(v, s, err, sizeof(err)) &&
	    (!admin || store_commit(s, &edit, err, sizeof(err)) == 0);
	if (store_end(s, ok, err, sizeof(err)) != 0)
		return call_fail(
		    c, RPC_INTERNAL, "not made durable, so nothing was changed: %s", err);
	if (admin)
		wish_tell(c, &a);
	else
		log_note("%s withdrawn by %s", v->w.target, c->peer->who);
	return true;
}

bool
request_decline(struct call *c)
{
	bool admin = peer_may_change(c->d, c->peer), ok = true;
	struct verdict v = { .daemon = c->d };

	if (!wish_common(c, &v.w, CHANGE_RATES, "decline") || !find_request(c, &v.r))
		return false;
	if (!admin && v.r.uid != c->peer->uid)
		return call_fail(c, RPC_PERMISSION,
		    "%s may not decline what %s asked for: that takes an admin", c->peer->who,
		    v.r.who);
	if (admin && v.w.reason[0] == '\0')
		return call_fail(c, RPC_PARAMS, "reason: missing, expected why it is declined");
	begin_verdict(&v, admin ? REQUEST_DECLINED : REQUEST_WITHDRAWN);
	if (!v.w.dry_run)
		ok = decide_alone(c, &v, admin);
	if (!ok)
		v.event.id = 0;
	request_told(c->d, &v.event);
	if (ok) {
		c->result = json_pack("{s:I, s:s, s:o}", "request", (json_int_t)v.r.id, "state",
		    v.d.state, "target", json_any(v.w.target));
		if (v.w.dry_run)
			(void)json_object_set_new(c->result, "dry_run", json_true());
	}
	wish_free(&v.w);
	return ok;
}
