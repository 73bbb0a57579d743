#include "rpc.h"

#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vis.h>

#include "log.h"

#define BATCH_MAX 64u
#define BATCH_BYTES (4u << 20) /* of answers; what is beyond them is not served */
#define GROUPS_MAX 1024

struct method {
	const char *name;
	bool changes;       /* needs the right to make changes */
	const char *params; /* all that it knows, between blanks */
	bool (*serve)(struct call *c);
};

#define COMMON " reason expect dry_run "

static const struct method methods[] = {
	{ "status", false, "", show_status },
	{ "limits", false, "", show_limits },
	{ "plans", false, "", show_plans },
	{ "routes", false, "", show_routes },
	{ "changes", false, "", show_changes },
	{ "diff_yaml", false, "", show_diff_yaml },
	{ "audit", false, " limit_n ", show_audit },
	{ "usage", false, " key limit last_s by ", show_usage },
	{ "usage_page", false, " from to resolution_s after ", show_usage_page },
	{ "watch", false, "", show_watch },
	{ "events", false, " key limit_n ", show_events },
	{ "set", true, " limit rates key plan for_s until" COMMON, change_set },
	{ "unset", true, " limit key plan" COMMON, change_unset },
	{ "reset", true, " limit key" COMMON, change_reset },
	{ "plan", true, " key plan" COMMON, change_plan },
	{ "env", true, " key environment" COMMON, change_env },
	{ "share", true, " share" COMMON, change_share },
	{ "mode", true, " limit all mode for_s until" COMMON, change_mode },
	{ "reload", true, " reason dry_run ", change_reload },
	{ "undo", true, " entry reason dry_run ", change_undo },
	{ "request", false, " limit key to reason volume dry_run ", request_ask },
	{ "requests", false, " all limit_n request ", request_list },
	{ "approve", true, " request for_s until" COMMON, request_approve },
	/* Whoever asked may withdraw: it looks itself who may. */
	{ "decline", false, " request reason dry_run ", request_decline },
	{ "clock", true, " advance_s advance_ms reason ", change_clock },
};

/* ---- peers ---- */

/*
 * Asked anew for each change: who leaves the admin group loses the right at once, also
 * on a connection that is open.
 */
bool
peer_may_change(const struct daemon *d, const struct peer *p)
{
	struct passwd pw, *found = NULL;
	gid_t groups[GROUPS_MAX];
	char buf[4096];
	int n = GROUPS_MAX;

	if (p->uid == 0 || p->uid == geteuid())
		return true;
	if (d->admin_group == (gid_t)-1 || getpwuid_r(p->uid, &pw, buf, sizeof(buf), &found) != 0 ||
	    found == NULL)
		return false;
	if (getgrouplist(pw.pw_name, pw.pw_gid, groups, &n) == -1)
		n = GROUPS_MAX;
	for (int i = 0; i < n; i++)
		if (groups[i] == d->admin_group)
			return true;
	return false;
}

/* ---- JSON ---- */

json_t *
json_any(const char *text)
{
	char escaped[4 * 2048 + 1];
	json_t *j;

	if (text == NULL)
		return json_null();
	j = json_string(text);
	if (j != NULL)
		return j;
	(void)strvisx(escaped, text, strnlen(text, 2048), VIS_OCTAL);
	return json_string(escaped);
}

json_t *
json_time(int64_t unix_s)
{
	return unix_s == POLICY_ENDLESS ? json_null() : json_integer(unix_s);
}

json_t *
json_rates(const struct rate_spec *rates, size_t n)
{
	json_t *list = json_array();
	char text[96];

	for (size_t i = 0; i < n; i++) {
		(void)rate_format(&rates[i], text, sizeof(text));
		(void)json_array_append_new(list, json_string(text));
	}
	return list;
}

json_t *
json_ruleset_rates(const struct ruleset *r)
{
	struct rate_spec specs[RATION_RATES_MAX];
	size_t n = r->nrates < RATION_RATES_MAX ? r->nrates : RATION_RATES_MAX;

	for (size_t i = 0; i < n; i++)
		rate_def_spec(&r->rates[i], &specs[i]);
	return json_rates(specs, n);
}

/* ---- calls ---- */

bool
call_fail(struct call *c, int code, const char *fmt, ...)
{
	va_list ap;

	c->code = code;
	va_start(ap, fmt);
	(void)vsnprintf(c->message, sizeof(c->message), fmt, ap);
	va_end(ap);
	return false;
}

bool
call_refuse(struct call *c, const struct mistakes *m)
{
	json_t *list = json_array();

	for (size_t i = 0; i < m->n; i++)
		(void)json_array_append_new(list, json_any(m->text[i]));
	json_decref(c->data);
	c->data = json_pack("{s:o}", "mistakes", list);
	return call_fail(c, RPC_REFUSED, "refused: %s%s", m->n > 0 ? m->text[0] : "no reason known",
	    m->n > 1 ? " (and more)" : "");
}

bool
call_text(struct call *c, const char *name, bool required, const char **out)
{
	const json_t *v = json_object_get(c->params, name);

	if (v == NULL || json_is_null(v))
		return required ? call_fail(c, RPC_PARAMS, "%s: missing, expected a string", name)
				: true;
	if (!json_is_string(v))
		return call_fail(c, RPC_PARAMS, "%s: expected a string", name);
	*out = json_string_value(v);
	return true;
}

bool
call_int(struct call *c, const char *name, int64_t min, int64_t max, int64_t *out)
{
	const json_t *v = json_object_get(c->params, name);

	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
		return call_fail(c, RPC_PARAMS, "%s: expected a whole number from %lld to %lld",
		    name, (long long)min, (long long)max);
	*out = json_integer_value(v);
	return true;
}

bool
call_bool(struct call *c, const char *name, bool *out)
{
	const json_t *v = json_object_get(c->params, name);

	if (v == NULL || json_is_null(v))
		return true;
	if (!json_is_boolean(v))
		return call_fail(c, RPC_PARAMS, "%s: expected true or false", name);
	*out = json_is_true(v);
	return true;
}

bool
call_key(struct call *c, bool required, unsigned char out[RATION_KEY_MAX + 1], size_t *len)
{
	const char *text = NULL;

	*len = 0;
	if (!call_text(c, "key", required, &text))
		return false;
	if (text != NULL && !key_parse(text, out, len))
		return call_fail(c, RPC_PARAMS,
		    "key: expected 1 to %u bytes, as text with strvis(3) escapes", RATION_KEY_MAX);
	return true;
}

bool
call_limit(struct call *c, bool required, const char **name, int64_t *id)
{
	struct policy_ref p;

	*id = -1;
	*name = NULL;
	if (!call_text(c, "limit", required, name))
		return false;
	if (*name == NULL)
		return true;
	if (keeper_policy(&c->d->keeper, &p))
		*id = policy_limit_id(&p, *name, strlen(*name));
	return *id >= 0
	    ? true
	    : call_fail(c, RPC_NOT_FOUND, "limit: the policy has no limit '%.80s'", *name);
}

/* Is name among the blank-separated words of list? */
static bool
listed(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = strstr(list, name); at != NULL && n > 0; at = strstr(at + 1, name))
		if (at > list && at[-1] == ' ' && at[n] == ' ')
			return true;
	return false;
}

static bool
check_params(struct call *c, const struct method *m)
{
	const char *name;
	json_t *value;

	if (!json_is_object(c->params))
		return call_fail(c, RPC_PARAMS, "params: expected an object");
	json_object_foreach(c->params, name,
	    value) if (strchr(name, ' ') != NULL || !listed(m->params, name)) return call_fail(c,
	    RPC_PARAMS, "%.80s: not a parameter of %s", name, m->name);
	return true;
}

static void
dispatch(struct call *c, const char *name)
{
	const struct method *m = NULL;

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (strcmp(methods[i].name, name) == 0)
			m = &methods[i];
	if (m == NULL)
		call_fail(c, RPC_METHOD, "no method '%.80s'", name);
	else if (m->changes && !peer_may_change(c->d, c->peer)) {
		call_fail(c, RPC_PERMISSION,
		    "%s may not make changes: that takes root, the user of "
		    "rationd, or a member of its admin group",
		    c->peer->who);
		log_note("%s of %s refused: no permission", m->name, c->peer->who);
	} else if (check_params(c, m))
		(void)m->serve(c);
}

/* ---- envelope ---- */

static json_t *
answer(const json_t *id, struct call *c)
{
	json_t *out = json_pack("{s:s}", "jsonrpc", "2.0");

	(void)json_object_set_new(out, "id", id != NULL ? json_deep_copy(id) : json_null());
	if (c->code == 0) {
		(void)json_object_set_new(
		    out, "result", c->result != NULL ? c->result : json_object());
		c->result = NULL;
		return out;
	}
	json_t *error = json_pack("{s:i, s:o}", "code", c->code, "message", json_any(c->message));
	if (c->data != NULL)
		(void)json_object_set(error, "data", c->data);
	(void)json_object_set_new(out, "error", error);
	return out;
}

json_t *
rpc_error(int code, const char *message)
{
	struct call c = { .code = code };

	(void)snprintf(c.message, sizeof(c.message), "%s", message);
	return answer(NULL, &c);
}

static json_t *
serve_one(struct daemon *d, const struct peer *p, json_t *request, bool *watch)
{
	const json_t *id = json_object_get(request, "id");
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	const char *method = json_string_value(json_object_get(request, "method"));
	json_t *params = json_object_get(request, "params");
	struct call c = { .d = d, .peer = p };
	json_t *out;

	if (!json_is_object(request) || version == NULL || strcmp(version, "2.0") != 0 ||
	    method == NULL ||
	    (id != NULL && !json_is_string(id) && !json_is_number(id) && !json_is_null(id))) {
		return rpc_error(RPC_REQUEST,
		    "expected a request: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}");
	}
	c.params = params != NULL ? json_incref(params) : json_object();
	dispatch(&c, method);
	*watch = *watch || c.watch;
	out = id != NULL ? answer(id, &c) : NULL;
	json_decref(c.params);
	json_decref(c.result);
	json_decref(c.data);
	return out;
}

static json_t *
serve_batch(struct daemon *d, const struct peer *p, json_t *requests, bool *watch)
{
	json_t *out = json_array(), *request, *one;
	size_t i, bytes = 0;

	json_array_foreach(requests, i, request)
	{
		if (bytes > BATCH_BYTES)
			one =
			    rpc_error(RPC_REQUEST, "the batch's answers are too long: not served");
		else
			one = serve_one(d, p, request, watch);
		if (one == NULL)
			continue;
		bytes += json_dumpb(one, NULL, 0, JSON_COMPACT);
		(void)json_array_append_new(out, one);
	}
	if (json_array_size(out) > 0)
		return out;
	json_decref(out);
	return NULL;
}

json_t *
rpc_serve(struct daemon *d, const struct peer *p, const char *line, size_t len, bool *watch)
{
	char message[JSON_ERROR_TEXT_LENGTH + 64];
	json_error_t e;
	json_t *in = json_loadb(line, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e), *out;

	if (in == NULL) {
		(void)snprintf(
		    message, sizeof(message), "not JSON: column %d: %s", e.column, e.text);
		return rpc_error(RPC_PARSE, message);
	}
	if (!json_is_array(in))
		out = serve_one(d, p, in, watch);
	else if (json_array_size(in) == 0 || json_array_size(in) > BATCH_MAX)
		out = rpc_error(RPC_REQUEST, "expected 1 to 64 requests in a batch");
	else
		out = serve_batch(d, p, in, watch);
	json_decref(in);
	return out;
}

json_t *
rpc_event(const struct daemon *d, int64_t when, const struct happening *h)
{
	json_t *params = json_pack("{s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "when",
	    (json_int_t)when, "type", h->type, "who", json_any(h->who), "target",
	    json_any(h->target), "old", json_any(h->old), "new", json_any(h->new), "reason",
	    json_any(h->reason), "text", json_any(h->text));

	if (h->more != NULL)
		(void)json_object_update(params, (json_t *)(uintptr_t)h->more);
	return json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", "event", "params", params);
}
