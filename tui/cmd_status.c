/*
 * cmd_status.c - the daemon, the segment, the limits, the rates.
 *
 * What rationd says comes from its socket; the segment is looked at directly, so
 * that a dead daemon still leaves an answer (and exit code 3).
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RATES_NS 250000000L /* between the two passes that rates a second are taken from */

/* Units admitted and calls denied a second, and slots in use: two passes over the totals. */
static bool
measure(struct ctx *c, struct model *m)
{
	struct timespec pause = { .tv_nsec = RATES_NS };

	if (model_init(m, &c->seg, true))
		return false;
	m->want = 0;
	m->sort = COL_DENIED;
	model_refresh(m, ctx_now(c), mono_now(), true);
	nanosleep(&pause, NULL);
	return model_refresh(m, ctx_now(c), mono_now(), true);
}

static json_t *
segment_json(struct ctx *c, const struct model *m)
{
	const struct seg_head *h = c->seg.head;
	json_t *s = json_pack("{s:I, s:I, s:I, s:I, s:I}", "bytes",
	    (json_int_t)(c->seg.bytes + c->seg.policy_bytes), "slots", (json_int_t)c->seg.nslots,
	    "cells", (json_int_t)c->seg.cells, "stride_bytes", (json_int_t)c->seg.stride * 8,
	    "live", (json_int_t)m->live);

#define X(name, text) \
	json_object_set_new(s, #name, \
	    json_integer((json_int_t)atomic_load_explicit(&h->name, memory_order_relaxed)));
	SEG_COUNTERS(X)
#undef X
	return s;
}

static void
print_faults(const json_t *seg)
{
	static const struct {
		const char *name, *text;
	} counters[] = {
#define X(name, text) { #name, text },
		SEG_COUNTERS(X)
#undef X
	};

	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++)
		if (jint(seg, counters[i].name, 0) != 0)
			printf("  %-12lld %s\n", (long long)jint(seg, counters[i].name, 0),
			    counters[i].text);
}

static void
print_segment(const json_t *status)
{
	const json_t *seg = json_object_get(status, "segment");
	int64_t slots = jint(seg, "slots", 0), live = jint(seg, "live", 0);
	char bytes[32], keys[32], of[32];

	text_units((uint64_t)jint(seg, "bytes", 0), bytes, sizeof(bytes));
	text_grouped((uint64_t)live, keys, sizeof(keys));
	text_grouped((uint64_t)slots, of, sizeof(of));
	printf("%-9s %s of %s keys (%lld %%), %lld bytes each, %sB in all\n", "segment", keys, of,
	    slots > 0 ? (long long)(live * 100 / slots) : 0,
	    (long long)jint(seg, "stride_bytes", 0), bytes);
	printf("%-9s %.1f units/s admitted, %.1f calls/s denied\n", "rates",
	    json_number_value(json_object_get(status, "allow_s")),
	    json_number_value(json_object_get(status, "deny_s")));
	print_faults(seg);
}

static void
print_reload(const json_t *status)
{
	const json_t *last = json_object_get(status, "last_reload"), *m;
	char when[TIME_MAX];
	size_t i;

	if (!json_is_object(last) || json_is_true(json_object_get(last, "ok")))
		return;
	printf("%-9s refused at %s, the policy before stays:\n", "reload",
	    time_text(jint(last, "at", 0), when));
	json_array_foreach(json_object_get(last, "mistakes"), i, m)
	{
		fputs("  ", stdout);
		print_text(stdout, json_is_string(m) ? json_string_value(m) : "?");
		putchar('\n');
	}
}

static void
print_daemon(const json_t *s)
{
	char up[32], since[TIME_MAX];

	text_span(jint(s, "uptime_s", 0), up, sizeof(up));
	printf("%-9s %s, instance %s, pid %lld, up %s since %s\n", "rationd",
	    jstr(s, "version", "?"), jstr(s, "instance", "?"), (long long)jint(s, "pid", 0), up,
	    time_text(jint(s, "started_at", 0), since));
	if (jint(s, "sandbox", 0))
		printf("%-9s now %s\n", "sandbox", time_text(jint(s, "now", 0), since));
	printf(
	    "%-9s version %lld from %s, %lld limits, %lld routes, %lld plans, %lld keys listed\n",
	    "policy", (long long)jint(s, "policy_version", 0), jstr(s, "config", "-"),
	    (long long)jint(s, "limits", 0), (long long)jint(s, "routes", 0),
	    (long long)jint(s, "plans", 0), (long long)jint(s, "keys_listed", 0));
	printf("%-9s %lld in force (generation %lld); you may %s\n", "changes",
	    (long long)jint(s, "changes", 0), (long long)jint(s, "generation", 0),
	    jint(s, "readonly", 0) ? "look only" : "change");
	print_reload(s);
}

/* What waits for an admin. */
static void
print_requests(const json_t *status)
{
	const json_t *r = json_object_get(status, "requests");
	int64_t open = jint(r, "open", 0), left = jint(r, "due", 0) - jint(status, "now", 0);
	char span[32];

	if (open == 0)
		return;
	text_span(left < 0 ? -left : left, span, sizeof(span));
	printf("%-9s %lld open, the first answer %s %s\n", "raises", (long long)open,
	    left < 0 ? "overdue by" : "promised within", span);
}

static void
print_history(const json_t *h)
{
	char since[TIME_MAX], bytes[32], keys[32];

	if (!json_is_object(h))
		return;
	if (jint(h, "off", 0)) {
		printf("%-9s off: usage is not recorded\n", "history");
		return;
	}
	text_units((uint64_t)jint(h, "bytes", 0), bytes, sizeof(bytes));
	text_grouped((uint64_t)jint(h, "keys", 0), keys, sizeof(keys));
	printf("%-9s %s keys", "history", keys);
	if (jint(h, "oldest", 0) > 0)
		printf(" since %s", time_text(jint(h, "oldest", 0), since));
	printf(", %sB of database", bytes);
	if (jint(h, "others", 0) > 0)
		printf("; %lld times a key had no room in history.keys",
		    (long long)jint(h, "others", 0));
	if (jint(h, "lost", 0) > 0)
		printf("; %lld units lost, as the database could not be written",
		    (long long)jint(h, "lost", 0));
	putchar('\n');
}

static void
print_thresholds(const json_t *t)
{
	if (!json_is_object(t))
		return;
	printf("%-9s %lld events since the start", "notify", (long long)jint(t, "told", 0));
	if (jint(t, "untold", 0) > 0)
		printf("; %lld times a key was left untold, as there were too many",
		    (long long)jint(t, "untold", 0));
	putchar('\n');
}

/* Who is told of events. */
static void
print_receivers(const json_t *receivers)
{
	json_t *r;
	size_t i;

	json_array_foreach(receivers, i, r)
	{
		const char *kind = jstr(r, "kind", NULL);

		printf("%-9s %s: %lld delivered, %lld queued, %lld given up, %lld dropped",
		    "receiver", jstr(r, "name", "?"), (long long)jint(r, "delivered", 0),
		    (long long)jint(r, "queued", 0), (long long)jint(r, "failed", 0),
		    (long long)jint(r, "dropped", 0));
		if (kind == NULL)
			fputs("; no longer in the policy", stdout);
		if (jint(r, "failing", 0)) {
			fputs("; failing: ", stdout);
			print_text(stdout, jstr(r, "last_error", "?"));
		}
		putchar('\n');
	}
}

static void
print_limits(const json_t *limits)
{
	json_t *l;
	size_t i;

	if (json_array_size(limits) == 0)
		return;
	printf("\n%-20s %-28s %-8s %8s  %s\n", "LIMIT", "RATES", "MODE", "KEYS", "FROM");
	json_array_foreach(limits, i, l)
	{
		bool is_value = strcmp(jstr(l, "kind", ""), "value") == 0;
		char *rates = value_text(json_object_get(l, is_value ? "value" : "rates"));

		printf("%-20s %-28s %-8s %8lld  ", jstr(l, "name", "?"), rates ? rates : "?",
		    is_value ? "value" : jstr(l, "mode", "?"),
		    (long long)jint(json_object_get(l, "counters"), "keys", 0));
		print_text(stdout, jstr(l, "origin", "-"));
		putchar('\n');
		free(rates);
	}
}

/* What the mapping says, put over what rationd says of it. */
static void
add_segment(struct ctx *c, json_t *status)
{
	struct model *m = malloc(sizeof(*m));

	if (m && measure(c, m)) {
		json_object_set_new(status, "segment", segment_json(c, m));
		json_object_set_new(status, "allow_s", json_real(m->allow_s));
		json_object_set_new(status, "deny_s", json_real(m->deny_s));
	}
	if (m)
		model_free(m);
	free(m);
}

int
cmd_status(struct ctx *c, const struct args *a)
{
	json_t *status = NULL, *limits = NULL;
	int code = rpc(c, "status", "status", NULL, &status), rc;

	if (code == EXIT_OK)
		code = rpc(c, "status", "limits", NULL, &limits);
	if (!status)
		status = json_pack("{s:s, s:n}", "instance", c->paths.instance, "pid");
	json_object_set_new(status, "limits_in_force",
	    json_incref(json_object_get(limits, "limits") ? json_object_get(limits, "limits")
							  : json_null()));
	rc = ctx_attach_quiet(c);
	if (rc == 0)
		add_segment(c, status);
	else if (code == EXIT_OK)
		complain("status: the segment cannot be looked at: %s", ration_strerror(rc));
	if (c->json) {
		print_json(status);
	} else {
		if (json_is_integer(json_object_get(status, "pid")))
			print_daemon(status);
		if (json_object_get(status, "segment"))
			print_segment(status);
		if (c->seg.side)
			print_upstreams_down(c);
		print_history(json_object_get(status, "history"));
		print_thresholds(json_object_get(status, "thresholds"));
		print_receivers(json_object_get(status, "receivers"));
		print_requests(status);
		print_limits(json_object_get(status, "limits_in_force"));
	}
	json_decref(limits);
	json_decref(status);
	return code;
}
