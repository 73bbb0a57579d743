#include "requests.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "event.h"
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

void
request_target(const struct request *r, char out[TARGET_TEXT])
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

json_t *
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
request_event(struct daemon *d, const struct request *r, int64_t at, struct key_event *e, char *err,
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
	request_target(r, target);
	(void)snprintf(e->text, sizeof(e->text), "%s: %.150s -> %.150s", target, r->now, r->wanted);
	e->more = json_pack("{s:I, s:o, s:o, s:o, s:o, s:I}", "request", (json_int_t)r->id, "now",
	    json_any(r->now), "to", json_any(r->wanted), "who",
	    json_any(open ? r->who : r->decided_by), "reason", json_any(open ? r->reason : r->why),
	    "due", (json_int_t)r->due);
	return store_event_add(
		   d->store, e, deliver_receivers(d->live.config, type), err, errsize) == 0;
}

void
request_told(struct daemon *d, struct key_event *e)
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
	struct key_event e = { 0 };
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
