/*
 * load.h - what the readers of a policy file's sections share.
 *
 * The fields that each mapping may have stand in the lists below, once: enum,
 * reader, message and the test of ration.schema.json are made from them.
 */
#ifndef RATIOND_LOAD_H
#define RATIOND_LOAD_H

#include "model.h"
#include "report.h"

#define FIELDS_TOP(X) \
	X(plans) \
	X(environments) \
	X(answers) \
	X(defaults) \
	X(table) \
	X(share) \
	X(admin_group) \
	X(group) \
	X(proxies) \
	X(exempt) \
	X(limits) X(routes) X(assign) X(overrides) X(deliver) X(history) X(requests) X(upstreams)
#define FIELDS_TABLE(X) X(keys) X(rates) X(policy) X(idle)
#define FIELDS_DEFAULTS(X) X(timezone) X(notify) X(plan) X(environment) X(share) X(mode) X(answer)
#define FIELDS_LIMIT(X) \
	X(per) \
	X(plans) \
	X(rates) \
	X(value) \
	X(values) \
	X(key) \
	X(cost) \
	X(mode) \
	X(when_full) X(unlisted) X(max_keys) X(timezone) X(title) X(answer) X(queue) X(notify)
#define FIELDS_KEY(X) X(attribute) X(address) X(ipv4) X(ipv6)
#define FIELDS_EXEMPT(X) X(keys) X(addresses)
#define FIELDS_CLAIM(X) X(limit) X(key) X(cost)
#define FIELDS_ASSIGN(X) X(plan) X(environment) X(timezone)
#define FIELDS_OVERRIDE(X) \
	X(key) X(limit) X(plan) X(environment) X(rates) X(value) X(mode) X(share) X(until) X(reason)
#define FIELDS_REQUESTS(X) X(answer) X(default) X(timezone) X(workdays) X(holidays) X(eligible)
#define FIELDS_ELIGIBLE(X) X(days) X(environment) X(customers) X(requests)
#define FIELDS_NOTIFY(X) X(at) X(remind)
#define FIELDS_UPSTREAM(X) \
	X(limit) X(on) X(tries) X(first) X(factor) X(most) X(jitter) X(breaker) X(low)
#define FIELDS_BREAKER(X) X(failures) X(open)
/* These have names that no C name can be: identifier, name. */
#define FIELDS_ANSWER(X) \
	X(status, "status") \
	X(headers, "headers") \
	X(reset, "reset") \
	X(show, "show") \
	X(content_type, "content-type") X(body, "body") X(body_never, "body-never")
#define FIELDS_SHOW(X) X(limit) X(window)
#define FIELDS_RECEIVER(X) \
	X(name) X(command) X(webhook) X(secret_file) X(timeout) X(at_once) X(only) X(retry) X(queue)
#define FIELDS_RETRY(X) X(first) X(most) X(give_up)
#define FIELDS_HISTORY(X) X(every) X(keep) X(keys)
#define FIELDS_KEEP(X) X(quarter, "15min") X(hour, "hour") X(day, "day")

#define X(name) TOP_##name,
enum top_field { FIELDS_TOP(X) TOP_FIELDS };
#undef X
#define X(name) TABLE_##name,
enum table_field { FIELDS_TABLE(X) TABLE_FIELDS };
#undef X
#define X(name) DEFAULTS_##name,
enum defaults_field { FIELDS_DEFAULTS(X) DEFAULTS_FIELDS };
#undef X
#define X(name) LIMIT_##name,
enum limit_field { FIELDS_LIMIT(X) LIMIT_FIELDS };
#undef X
#define X(name) KEY_##name,
enum key_field { FIELDS_KEY(X) KEY_FIELDS };
#undef X
#define X(name) EXEMPT_##name,
enum exempt_field { FIELDS_EXEMPT(X) EXEMPT_FIELDS };
#undef X
#define X(name) CLAIM_##name,
enum claim_field { FIELDS_CLAIM(X) CLAIM_FIELDS };
#undef X
#define X(name) ASSIGN_##name,
enum assign_field { FIELDS_ASSIGN(X) ASSIGN_FIELDS };
#undef X
#define X(name) OVERRIDE_##name,
enum override_field { FIELDS_OVERRIDE(X) OVERRIDE_FIELDS };
#undef X
#define X(name) NOTIFY_##name,
enum notify_field { FIELDS_NOTIFY(X) NOTIFY_FIELDS };
#undef X
#define X(name, text) ANSWER_##name,
enum answer_field { FIELDS_ANSWER(X) ANSWER_FIELDS };
#undef X
#define X(name) SHOW_##name,
enum show_field { FIELDS_SHOW(X) SHOW_FIELDS };
#undef X
#define X(name) ELIGIBLE_##name,
enum eligible_field { FIELDS_ELIGIBLE(X) ELIGIBLE_FIELDS };
#undef X
#define X(name) REQUESTS_##name,
enum requests_field { FIELDS_REQUESTS(X) REQUESTS_FIELDS };
#undef X
#define X(name) RECEIVER_##name,
enum receiver_field { FIELDS_RECEIVER(X) RECEIVER_FIELDS };
#undef X
#define X(name) RETRY_##name,
enum retry_field { FIELDS_RETRY(X) RETRY_FIELDS };
#undef X
#define X(name) HISTORY_##name,
enum history_field { FIELDS_HISTORY(X) HISTORY_FIELDS };
#undef X
#define X(name, text) KEEP_##name,
enum keep_field { FIELDS_KEEP(X) KEEP_FIELDS };
#undef X
#define X(name) UPSTREAM_##name,
enum upstream_field { FIELDS_UPSTREAM(X) UPSTREAM_FIELDS };
#undef X
#define X(name) BREAKER_##name,
enum breaker_field { FIELDS_BREAKER(X) BREAKER_FIELDS };
#undef X
#define FIELDS_MAX 24

struct fields {
	const char *where; /* "the policy file", "a limit" ... for messages */
	const char *const *names;
	size_t n;
};
extern const struct fields fields_top, fields_table, fields_defaults, fields_limit, fields_key,
    fields_exempt, fields_claim, fields_assign, fields_override, fields_answer, fields_show,
    fields_requests, fields_eligible, fields_receiver, fields_retry, fields_history, fields_keep,
    fields_notify, fields_upstream, fields_breaker;

struct loader {
	struct config *c;
	struct report r;
	struct map patchmap; /* targets of overrides: each once */
	bool zone_entered;
};

/* Scalars of the file that may be given once only, over all files. */
enum once {
	ONCE_timezone,
	ONCE_notify,
	ONCE_plan,
	ONCE_share,
	ONCE_mode,
	ONCE_answer,
	ONCE_admin_group,
	ONCE_group,
	ONCE_plans,
	ONCE_environment,
};

/*
 * Sort a mapping's pairs by field: got[i] is the key node of field i (its value is
 * ->next), or NULL.  False: not a mapping.  Unknown and double names are reported.
 */
bool walk(struct loader *l, const struct node *map, const struct fields *f,
    const struct node *got[FIELDS_MAX]);
/* Is this the first time?  Else report it, with where the first one stands. */
bool once(struct loader *l, struct mark *first, const struct node *key);

/*
 * Scalars.  Each reports what it does not like and returns false.
 */
bool get_text(struct loader *l, const struct node *n, const char *expected);
bool get_quantity(
    struct loader *l, const struct node *n, uint64_t min, uint64_t max, uint64_t *out);
bool get_choice(
    struct loader *l, const struct node *n, const char *const *names, size_t count, unsigned *out);
/* A name of letters, digits, ".", "_" and "-", up to max bytes. */
bool get_name(struct loader *l, const struct node *n, size_t max, const char *what);
bool get_zone(struct loader *l, const struct node *n, uint16_t *zone);
/* Key in strvis form: its index in config.keymap, added when new. */
bool get_key(struct loader *l, const struct node *n, uint32_t *key);
bool get_fraction(struct loader *l, const struct node *n, uint64_t *num, uint64_t *den);
/* A fraction of at most 1. */
bool get_share(struct loader *l, const struct node *n, uint64_t *num, uint64_t *den);
bool get_until(struct loader *l, const struct node *n, int64_t *until);
/* One rate or a list of them; with `per` ("minute") plain numbers too. */
const struct rates *get_rates(struct loader *l, const struct node *n, const char *per);
/* Text of up to max bytes without control characters. */
bool get_line(struct loader *l, const struct node *n, size_t max, const char *expected);
/* An answer by name: its index from 1. */
bool get_answer(struct loader *l, const struct node *n, uint16_t *answer);
/* Window of a plain figure, "minute", "15min fixed", "concurrent"; NULL: reported. */
const char *get_per(struct loader *l, const struct node *n, struct rate_spec *r);
/* What an entitlement says: "24 months". */
bool get_value(struct loader *l, const struct node *n, const char **value);
/* A plan, environment or limit by name: its index (plans and environments from 1). */
bool get_plan(struct loader *l, const struct node *n, uint16_t *plan);
bool get_env(struct loader *l, const struct node *n, uint16_t *env);
bool get_limit(struct loader *l, const struct node *n, uint32_t *limit);
/* "ip", or {attribute: account, ...}: which attribute of a request is the key. */
bool get_key_rule(struct loader *l, const struct node *n, struct key_rule *out);
/* Thresholds: a list of percentages, or a mapping; *out is what applies without it. */
void read_notify(struct loader *l, const struct node *n, struct config_notify *out);
/* What is told of when the policy says nothing. */
extern const struct config_notify notify_builtin;
/* Units of a call through a route. */
bool get_cost(struct loader *l, const struct node *n, uint64_t *out);

/* Sections, in the order in which they are read. */
void read_plans(struct loader *l, const struct node *key);
void read_environments(struct loader *l, const struct node *key);
void read_answers(struct loader *l, const struct node *key);
void read_defaults(struct loader *l, const struct node *key);
void read_table(struct loader *l, const struct node *key);
void read_share(struct loader *l, const struct node *key);
void read_admin_group(struct loader *l, const struct node *key);
void read_group(struct loader *l, const struct node *key);
void read_proxies(struct loader *l, const struct node *key);
void read_exempt(struct loader *l, const struct node *key);
void read_limits(struct loader *l, const struct node *key);
void read_routes(struct loader *l, const struct node *key);
void read_assign(struct loader *l, const struct node *key);
void read_overrides(struct loader *l, const struct node *key);
void read_deliver(struct loader *l, const struct node *key);
void read_history(struct loader *l, const struct node *key);
void read_requests(struct loader *l, const struct node *key);
void read_upstreams(struct loader *l, const struct node *key);
extern const struct config_history history_default;
/* What is to be said of the routes when all sections have been read. */
void check_routes(struct loader *l);

/*
 * When all sections have been read: limits that answers name; what leases and rates there are.
 */
void finish_answers(struct loader *l);
void finish_leases(struct loader *l);
/* Thresholds of limits that have none. */
void finish_notify(struct loader *l);
/* Do these rates go with what the limit counts?  Else report it at mark. */
bool check_counted(
    struct loader *l, struct limit_model *m, const struct rates *r, struct mark mark);

#endif
