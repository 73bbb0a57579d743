/*
 * ration.c - the client's side of Ration for Node: ration_upstream_*() in process.
 *
 *	open(instance, dir) -> r
 *		null: as ration_open() looks for it
 *	upstream(r, name) -> u
 *	attempt() -> a
 *		one request, over all of its tries
 *	begin(u, a, cost) -> {admitted, wait, reason, ...}
 *		may it be sent now?
 *	end(u, a, status, headers) -> {retry, wait, remaining, ...}
 *		what came; status 0: nothing; headers: [[name, value], ...]
 *
 * What ration.h promises holds here: no call blocks, so none needs a thread.  A wrong argument or a
 * failure is an Error whose `code` is the number in ration.h.  An object keeps what it is made of:
 * an upstream its instance, until the collector has both.
 *
 * Only <ration.h> and Node-API are used, so one build serves every Node from 18 on:
 *	cc -shared -fPIC ration.c -o ration.node -I/usr/include/node \
 *	    $(pkg-config --cflags --libs ration)
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#define NAPI_VERSION 8
#include <node_api.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ration.h>

#define HEADERS_MAX 64u /* of an answer; more are left out */

struct instance {
	ration_t *ration;
	unsigned refs; /* the JavaScript object and those of its upstreams */
};

struct upstream {
	struct instance *instance;
	ration_upstream_t place;
};

/* What an object is of: Node checks it, so a wrong one is an error and not a wild pointer. */
static const napi_type_tag tag_instance = { 0x526174696f6e0001, 0x8a6b1c0de51f4d01 };
static const napi_type_tag tag_upstream = { 0x526174696f6e0002, 0x8a6b1c0de51f4d02 };
static const napi_type_tag tag_attempt = { 0x526174696f6e0003, 0x8a6b1c0de51f4d03 };

/* ---- Errors and objects ---- */

static napi_value
fail(napi_env env, int error, const char *text)
{
	napi_value code, message, e;

	if (napi_create_int32(env, error, &code) == napi_ok &&
	    napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) == napi_ok &&
	    napi_create_error(env, NULL, message, &e) == napi_ok &&
	    napi_set_named_property(env, e, "code", code) == napi_ok)
		napi_throw(env, e);
	return NULL;
}

static napi_value
wrong(napi_env env, const char *text)
{
	return fail(env, RATION_EINVAL, text);
}

static void
instance_drop(struct instance *i)
{
	if (--i->refs == 0) {
		ration_close(i->ration);
		free(i);
	}
}

static void
instance_gone(napi_env env, void *data, void *hint)
{
	instance_drop(data);
}

static void
upstream_gone(napi_env env, void *data, void *hint)
{
	struct upstream *u = data;

	instance_drop(u->instance);
	free(u);
}

static void
attempt_gone(napi_env env, void *data, void *hint)
{
	free(data);
}

/* An object for data, which `gone` frees: now, if there is none to be had. */
static napi_value
wrap(napi_env env, void *data, const napi_type_tag *tag, napi_finalize gone)
{
	napi_value object;

	if (napi_create_object(env, &object) == napi_ok &&
	    napi_type_tag_object(env, object, tag) == napi_ok &&
	    napi_wrap(env, object, data, gone, NULL, NULL) == napi_ok)
		return object;
	gone(env, data, NULL);
	return fail(env, RATION_ENOMEM, ration_strerror(RATION_ENOMEM));
}

/* NULL: it is something else. */
static void *
unwrap(napi_env env, napi_value object, const napi_type_tag *tag)
{
	napi_valuetype type;
	bool same = false;
	void *data = NULL;

	if (napi_typeof(env, object, &type) != napi_ok || type != napi_object ||
	    napi_check_object_type_tag(env, object, tag, &same) != napi_ok || !same ||
	    napi_unwrap(env, object, &data) != napi_ok)
		return NULL;
	return data;
}

/* ---- Arguments and answers ---- */

static bool
arguments(napi_env env, napi_callback_info info, napi_value *args, size_t n)
{
	size_t found = n; /* those that are missing are filled up with undefined */

	return napi_get_cb_info(env, info, &found, args, NULL, NULL) == napi_ok;
}

/* Text into buf; false: it is none, or it does not fit. */
static bool
text(napi_env env, napi_value value, char *buf, size_t size, size_t *len)
{
	return napi_get_value_string_utf8(env, value, NULL, 0, len) == napi_ok && *len < size &&
	    napi_get_value_string_utf8(env, value, buf, size, len) == napi_ok &&
	    strlen(buf) == *len;
}

/* The same, or null: NULL. */
static bool
optional(napi_env env, napi_value value, char *buf, size_t size, const char **out)
{
	napi_valuetype type = napi_undefined;
	size_t len;

	napi_typeof(env, value, &type);
	*out = type == napi_null || type == napi_undefined ? NULL : buf;
	return !*out || text(env, value, buf, size, &len);
}

static void
set_number(napi_env env, napi_value object, const char *name, double n)
{
	napi_value value;

	if (napi_create_double(env, n, &value) == napi_ok)
		napi_set_named_property(env, object, name, value);
}

static void
set_truth(napi_env env, napi_value object, const char *name, bool truth)
{
	napi_value value;

	if (napi_get_boolean(env, truth, &value) == napi_ok)
		napi_set_named_property(env, object, name, value);
}

/* What begin() and end() say.  Unknown is Infinity, as the upstream may have no limit. */
static napi_value
answer(napi_env env, const ration_attempt_t *a, bool admitted)
{
	napi_value object;

	if (napi_create_object(env, &object) != napi_ok)
		return NULL;
	set_truth(env, object, "admitted", admitted);
	set_truth(env, object, "retry", a->retry != 0);
	set_number(env, object, "wait", (double)a->wait_ms);
	set_number(env, object, "reason", a->reason);
	set_number(env, object, "tries", a->tries);
	set_number(env, object, "limit",
	    a->limit == RATION_UNLIMITED ? __builtin_inf() : (double)a->limit);
	set_number(env, object, "remaining",
	    a->remaining == RATION_UNLIMITED ? __builtin_inf() : (double)a->remaining);
	set_number(env, object, "reset", (double)a->reset_at);
	set_number(env, object, "low", a->low);
	set_number(env, object, "breaker", a->breaker);
	return object;
}

/* ---- The functions ---- */

static napi_value
js_open(napi_env env, napi_callback_info info)
{
	char instance[64], dir[1024];
	const char *pinstance, *pdir;
	struct instance *i;
	napi_value args[2];
	int e;

	if (!arguments(env, info, args, 2) ||
	    !optional(env, args[0], instance, sizeof(instance), &pinstance) ||
	    !optional(env, args[1], dir, sizeof(dir), &pdir))
		return wrong(env, "open: expected instance and dir, each a string or null");
	i = calloc(1, sizeof(*i));
	if (!i)
		return fail(env, RATION_ENOMEM, ration_strerror(RATION_ENOMEM));
	e = pdir ? ration_open_dir(pdir, pinstance, 0, &i->ration)
		 : ration_open(pinstance, 0, &i->ration);
	if (e < 0) {
		free(i);
		return fail(env, e, ration_strerror(e));
	}
	i->refs = 1;
	return wrap(env, i, &tag_instance, instance_gone);
}

static napi_value
js_upstream(napi_env env, napi_callback_info info)
{
	char name[RATION_NAME_MAX + 2];
	struct upstream *u;
	napi_value args[2];
	struct instance *i;
	size_t len;
	int e;

	if (!arguments(env, info, args, 2) || !(i = unwrap(env, args[0], &tag_instance)) ||
	    !text(env, args[1], name, sizeof(name), &len))
		return wrong(env, "upstream: expected what open() returned, and a name");
	u = calloc(1, sizeof(*u));
	if (!u)
		return fail(env, RATION_ENOMEM, ration_strerror(RATION_ENOMEM));
	u->place.size = sizeof(u->place);
	e = ration_upstream(i->ration, name, &u->place);
	if (e < 0) {
		free(u);
		return fail(env, e, ration_strerror(e));
	}
	u->instance = i;
	i->refs++;
	return wrap(env, u, &tag_upstream, upstream_gone);
}

static napi_value
js_attempt(napi_env env, napi_callback_info info)
{
	ration_attempt_t *a = calloc(1, sizeof(*a));

	if (!a)
		return fail(env, RATION_ENOMEM, ration_strerror(RATION_ENOMEM));
	a->size = sizeof(*a);
	return wrap(env, a, &tag_attempt, attempt_gone);
}

static napi_value
js_begin(napi_env env, napi_callback_info info)
{
	struct upstream *u;
	ration_attempt_t *a;
	napi_value args[3];
	int64_t cost;
	int e;

	if (!arguments(env, info, args, 3) || !(u = unwrap(env, args[0], &tag_upstream)) ||
	    !(a = unwrap(env, args[1], &tag_attempt)) ||
	    napi_get_value_int64(env, args[2], &cost) != napi_ok || cost < 0)
		return wrong(env, "begin: expected an upstream, an attempt and a cost");
	e = ration_upstream_begin(u->instance->ration, &u->place, (uint64_t)cost, a);
	return e < 0 ? fail(env, e, ration_strerror(e)) : answer(env, a, e == RATION_ADMITTED);
}

/* Headers as [[name, value], ...] into attrs; their number.  What is too long is none of ours. */
static size_t
headers(napi_env env, napi_value list, ration_attr_t *attrs, char (*names)[64], char (*values)[512])
{
	uint32_t len = 0;
	size_t n = 0;

	napi_get_array_length(env, list, &len);
	for (uint32_t i = 0; i < len && n < HEADERS_MAX; i++) {
		napi_value pair, name, value;
		bool array = false;
		size_t size;

		if (napi_get_element(env, list, i, &pair) != napi_ok ||
		    napi_is_array(env, pair, &array) != napi_ok || !array ||
		    napi_get_element(env, pair, 0, &name) != napi_ok ||
		    napi_get_element(env, pair, 1, &value) != napi_ok ||
		    !text(env, name, names[n], sizeof(names[n]), &size) ||
		    !text(env, value, values[n], sizeof(values[n]), &size))
			continue;
		attrs[n] = (ration_attr_t) { sizeof(attrs[n]), names[n], values[n], size };
		n++;
	}
	return n;
}

static napi_value
js_end(napi_env env, napi_callback_info info)
{
	char names[HEADERS_MAX][64], values[HEADERS_MAX][512];
	ration_attr_t attrs[HEADERS_MAX];
	struct upstream *u;
	ration_attempt_t *a;
	napi_value args[4];
	int32_t status;
	bool array = false;
	int e;

	if (!arguments(env, info, args, 4) || !(u = unwrap(env, args[0], &tag_upstream)) ||
	    !(a = unwrap(env, args[1], &tag_attempt)) ||
	    napi_get_value_int32(env, args[2], &status) != napi_ok ||
	    napi_is_array(env, args[3], &array) != napi_ok || !array)
		return wrong(env, "end: expected an upstream, an attempt, a status and headers");
	e = ration_upstream_end(u->instance->ration, &u->place, a, status, attrs,
	    headers(env, args[3], attrs, names, values));
	return e < 0 ? fail(env, e, ration_strerror(e)) : answer(env, a, false);
}

/* The macro below defines it without a prototype; clang warns of that also in others' headers. */
#ifdef NODE_API_MODULE_GET_API_VERSION
NAPI_MODULE_EXPORT int32_t NODE_API_MODULE_GET_API_VERSION(void);
#endif

NAPI_MODULE_INIT()
{
	static const struct {
		const char *name;
		napi_callback call;
	} functions[] = {
		{ "open", js_open },
		{ "upstream", js_upstream },
		{ "attempt", js_attempt },
		{ "begin", js_begin },
		{ "end", js_end },
	};

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		napi_value f;

		if (napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH,
			functions[i].call, NULL, &f) != napi_ok ||
		    napi_set_named_property(env, exports, functions[i].name, f) != napi_ok)
			return NULL;
	}
	return exports;
}
