#include "requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <time.h>

#include "event.h"
#include "log.h"
#include "wish.h"

#define DAY_S 86400
#define SECOND_NS 1000000000
#define ASKING_BURST_NS SECOND_NS
#define ASKING_PART 20
#define ELIGIBLE_AT_ONCE 20 /* requests in one answer: each looks into the history */

/* ---- what asking may cost ---- */

static uint64_t
clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/*
 * To check a request compiles the policy, and the rules are looked up in the history.  So all who
 * are no admins have a twentieth of a processor for it, and a second at once.
 */
static bool
may_cost(struct call *c)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	int64_t left = c->d->asking.left_ns + (int64_t)((now - c->d->asking.at_ns) / ASKING_PART);

	c->d->asking.at_ns = now;
	c->d->asking.left_ns = left < ASKING_BURST_NS ? left : ASKING_BURST_NS;
	if (left > 0 || peer_may_change(c->d, c->peer))
		return true;
	return call_fail(c, RPC_REFUSED, "too much is asked for just now: try again in %lld s",
	    (long long)(-left * ASKING_PART / SECOND_NS + 1));
}

static bool
at_cost(struct call *c, bool (*serve)(struct call *c))
{
	uint64_t began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	bool ok;

	if (!may_cost(c))
		return false;
	ok = serve(c);
	if (!peer_may_change(c->d, c->peer))
		c->d->asking.left_ns -= (int64_t)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - began);
	return ok;
}

/* ---- what is said of one ---- */

/* The plan that a key is on, "" for none. */
static const char *
plan_of(struct call *c, const unsigned char *key, size_t len)
{
	struct policy_ref p;
	struct key_def def;

	if (!keeper_policy(&c->d->keeper, &p))
		return "";
	return policy_plan_name(&p,
	    policy_key(&p, policy_hash(key, len), key, len, &def) ? def.plan
								  : p.area->default_plan);
}

static void
target_of(const struct request *r, char out[TARGET_TEXT])
{
	char key[KEY_TEXT];

	key_text(r->key, r->key_len, key);
	(void)snprintf(
	    out, TARGET_TEXT, "request %lld (%s key %s)", (long long)r->id, r->limit, key);
}

static json_t *
decided_json(const struct request *r)
{
	if (r->decided_at == 0)
		return json_null();
	return json_pack("{s:I, s:o, s:o, s:o}", "when", (json_int_t)r->decided_at, "who",
	    json_any(r->decided_by), "why", json_any(r->why), "change",
	    r->change != 0 ? json_integer(r->change) : json_null());
}

static json_t *
request_json(struct call *c, const struct request *r, bool eligible)
{
	struct config_requests rules;
	char key[KEY_TEXT];
	json_t *j;

	key_text(r->key, r->key_len, key);
	j = json_pack("{s:I, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, "
		      "s:o}",
	    "request", (json_int_t)r->id, "when", (json_int_t)r->at, "who", json_any(r->who), "uid",
	    (json_int_t)r->uid, "pid", (json_int_t)r->pid, "limit", json_any(r->limit), "key",
	    json_any(key), "now", json_any(r->now), "to", json_any(r->wanted), "reason",
	    json_any(r->reason), "volume", json_any(r->volume), "plan", json_any(r->plan), "due",
	    (json_int_t)r->due, "left_s", (json_int_t)(r->due - keeper_now(&c->d->keeper)), "state",
	    json_any(r->state), "decided", decided_json(r));
	if (!eligible)
		(void)json_object_set_new(j, "eligible", json_null());
	else if (strcmp(r->state, REQUEST_OPEN) == 0) {
		config_requests(c->d->live.config, r->plan, &rules);
		(void)json_object_set_new(j, "eligible", eligible_json(c->d, r, &rules));
	} else
		(void)json_object_set_new(j, "eligible", json_array());
	return j;
}

/* ---- what is told ---- */

bool
request_event(struct daemon *d, const struct request *r, int64_t at, struct event *e, char *err,
    size_t errsize)
{
	bool open = strcmp(r->state, REQUEST_OPEN) == 0;
	const char *type = open ? "request" : r->state;
	char target[TARGET_TEXT];

	memset(e, 0, sizeof(*e));
	e->at = at;
	(void)snprintf(e->type, sizeof(e->type), "%s", type);
	(void)snprintf(e->limit, sizeof(e->limit), "%s", r->limit);
	memcpy(e->key, r->key, r->key_len);
	e->key_len = r->key_len;
	target_of(r, target);
	(void)snprintf(e->text, sizeof(e->text), "%s: %.150s -> %.150s", target, r->now, r->wanted);
	e->more = json_pack("{s:I, s:o, s:o, s:o, s:o, s:I}", "request", (json_int_t)r->id, "now",
	    json_any(r->now), "to", json_any(r->wanted), "who",
	    json_any(open ? r->who : r->decided_by), "reason", json_any(open ? r->reason : r->why),
	    "due", (json_int_t)r->due);
	return store_event_add(
		   d->store, e, deliver_receivers(d->live.config, type), err, errsize) == 0;
}

void
request_told(struct daemon *d, struct event *e)
{
	if (e->id != 0)
		daemon_event(d, e);
	json_decref(e->more);
	e->more = NULL;
}

/* ---- request ---- */

static bool
take_line(struct call *c, const char *name, char *out, size_t size)
{
	const char *text = NULL;

	if (!call_text(c, name, true, &text))
		return false;
	if (*text == '\0' || strlen(text) >= size)
		return call_fail(c, RPC_PARAMS, "%s: expected 1 to %zu bytes", name, size - 1);
	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return call_fail(
			    c, RPC_PARAMS, "%s: expected text without control characters", name);
	(void)snprintf(out, size, "%s", text);
	return true;
}

/* Bounds on what one user, and all of them, may leave behind. */
static bool
within_bounds(struct call *c, const struct request *r)
{
	struct request_counts n;
	int64_t other;
	char err[256];

	if (store_request_count(c->d->store, r->uid, r->at - DAY_S, &n, err, sizeof(err)) != 0 ||
	    store_request_same(
		c->d->store, r->limit, r->key, r->key_len, &other, err, sizeof(err)) != 0)
		return call_fail(c, RPC_INTERNAL, "requests: %s", err);
	if (other != 0)
		return call_fail(c, RPC_CONFLICT,
		    "request %lld is open for the same limit and key: it is answered first",
		    (long long)other);
	if (n.user_open >= REQUESTS_USER_MAX)
		return call_fail(c, RPC_REFUSED,
		    "%s has %lld open requests, the most there can be: some are to be answered, "
		    "or withdrawn, first",
		    r->who, (long long)n.user_open);
	if (n.user_since >= REQUESTS_DAY_MAX)
		return call_fail(c, RPC_REFUSED,
		    "%s has asked %lld times in 24 hours, the most one may: ask again tomorrow",
		    r->who, (long long)n.user_since);
	if (n.open >= REQUESTS_OPEN_MAX)
		return call_fail(c, RPC_REFUSED, "%lld requests are open, the most there can be",
		    (long long)n.open);
	return true;
}

/* Would `set` take it?  Last of all: it compiles the whole policy. */
static bool
would_apply(struct call *c, struct wish *w)
{
	struct live_edit e = { .add = &w->change, .nadd = 1, .limit = w->limit, .dry_run = true };
	struct mistakes m = { 0 };
	enum live_result result;

	w->change.id = INT64_MAX;
	result = live_edit(&c->d->live, &e, &m);
	if (result != LIVE_DONE)
		(void)wish_failed(c, result, &m);
	mistakes_free(&m);
	return result == LIVE_DONE;
}

static bool
take_request(struct call *c, struct wish *w, struct request *r)
{
	const char *to = NULL;

	if (!wish_common(c, w, CHANGE_RATES, "request") || !wish_limit(c, w, true) ||
	    !call_key(c, true, w->change.key, &w->change.key_len) ||
	    !call_text(c, "to", true, &to) || !wish_rates(c, w, "to", to) ||
	    !take_line(c, "reason", r->reason, sizeof(r->reason)) ||
	    !take_line(c, "volume", r->volume, sizeof(r->volume)))
		return false;
	r->at = w->change.when;
	(void)snprintf(r->who, sizeof(r->who), "%s", c->peer->who);
	r->uid = c->peer->uid;
	r->pid = c->peer->pid;
	(void)snprintf(r->limit, sizeof(r->limit), "%s", w->change.limit);
	memcpy(r->key, w->change.key, w->change.key_len);
	r->key_len = w->change.key_len;
	(void)snprintf(r->plan, sizeof(r->plan), "%s", plan_of(c, r->key, r->key_len));
	change_value_text(&w->change, r->wanted, sizeof(r->wanted));
	json_decref(wish_state(c, w, r->now, sizeof(r->now)));
	if (strcmp(r->now, r->wanted) == 0)
		return call_fail(c, RPC_REFUSED, "to: the key has %s already", r->now);
	return true;
}

static bool
serve_ask(struct call *c)
{
	struct config_requests rules;
	struct request r = { .state = REQUEST_OPEN };
	struct event e = { 0 };
	struct wish w;
	char err[256];
	bool ok;

	if (!take_request(c, &w, &r) || !within_bounds(c, &r) || !would_apply(c, &w))
		return false;
	config_requests(c->d->live.config, r.plan, &rules);
	r.due = business_due(&rules.calendar, r.at, rules.answer_days);
	if (!w.dry_run) {
		if (!store_begin(c->d->store))
			return call_fail(c, RPC_INTERNAL, "requests: no transaction");
		ok = store_request_add(c->d->store, &r, err, sizeof(err)) == 0 &&
		    request_event(c->d, &r, r.at, &e, err, sizeof(err));
		if (store_end(c->d->store, ok, err, sizeof(err)) != 0) {
			json_decref(e.more);
			return call_fail(c, RPC_INTERNAL, "not recorded: %s", err);
		}
		request_told(c->d, &e);
	}
	c->result = request_json(c, &r, true);
	(void)json_object_set_new(
	    c->result, "answer_days", json_integer((json_int_t)rules.answer_days));
	(void)json_object_set_new(c->result, "timezone", json_any(rules.calendar.timezone));
	if (w.dry_run)
		(void)json_object_set_new(c->result, "dry_run", json_true());
	return true;
}

bool
request_ask(struct call *c)
{
	return at_cost(c, serve_ask);
}

/* ---- requests ---- */

/* One of them, by its number. */
static bool
list_one(struct call *c, int64_t id, json_t *out)
{
	struct request r;
	char err[256];
	int n = store_request(c->d->store, id, &r, err, sizeof(err));

	if (n < 0)
		return call_fail(c, RPC_INTERNAL, "requests: %s", err);
	if (n == 0)
		return call_fail(c, RPC_NOT_FOUND, "there is no request %lld", (long long)id);
	return json_array_append_new(out, request_json(c, &r, true)) == 0;
}

static bool
serve_list(struct call *c)
{
	struct request *list = NULL;
	json_t *out = json_array();
	int64_t n = 100, id = 0;
	bool all = false;
	char err[256];
	size_t count;

	c->result = json_pack("{s:o}", "requests", out);
	if (!call_bool(c, "all", &all) || !call_int(c, "limit_n", 1, 1000, &n) ||
	    !call_int(c, "request", 1, INT64_MAX, &id))
		return false;
	if (id != 0)
		return list_one(c, id, out);
	if (store_requests(c->d->store, all, n, &list, &count, err, sizeof(err)) != 0) {
		free(list);
		return call_fail(c, RPC_INTERNAL, "requests: %s", err);
	}
	for (size_t i = 0; i < count; i++)
		(void)json_array_append_new(out, request_json(c, &list[i], i < ELIGIBLE_AT_ONCE));
	free(list);
	return true;
}

bool
request_list(struct call *c)
{
	return at_cost(c, serve_list);
}

/* ---- approve, decline ---- */

struct verdict {
	struct daemon *daemon;
	struct wish w;
	struct request r;
	struct decision d;
	struct event event;
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
	target_of(&v->r, v->w.target);
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
