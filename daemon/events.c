/*
 * events.c - an event that the store has is made known: log, `ration watch`, the deliverer.
 *
 * The log gets at most LINES_MAX of them a second: a month's end of a million keys must not drown
 * what else it says.  They are all in `ration events`.
 */
#include "event.h"

#include <stdio.h>
#include <time.h>

#include "control.h"
#include "deliver.h"
#include "log.h"
#include "rpc.h"

#define LINES_MAX 100u
#define SECOND_NS UINT64_C(1000000000)

static uint64_t
now_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

void
daemon_events_tick(struct daemon *d)
{
	uint64_t now = now_ns();

	if (now - d->event_lines.since_ns < SECOND_NS)
		return;
	if (d->event_lines.more > 0)
		log_note("%u more events: see ration events", d->event_lines.more);
	d->event_lines.since_ns = now;
	d->event_lines.n = d->event_lines.more = 0;
}

void
daemon_event(struct daemon *d, const struct key_event *e)
{
	struct happening h = { .type = e->type, .who = "rationd", .text = e->text };
	char key[KEY_TEXT], target[TARGET_TEXT];
	json_t *j = event_json(e);

	key_text(e->key, e->key_len, key);
	(void)snprintf(
	    target, sizeof(target), "%s%s%s", e->limit, e->key_len > 0 ? " key " : "", key);
	h.target = target;
	h.more = j;
	daemon_events_tick(d);
	if (d->event_lines.n < LINES_MAX) {
		d->event_lines.n++;
		log_note("%s: %s", e->type, e->text);
	} else {
		d->event_lines.more++;
	}
	control_tell(d->control, e->at, &h);
	json_decref(j);
	deliver_wake(d->deliver);
}

/* ---- listing ---- */

static bool
list_event(void *arg, const char *object, const json_t *told)
{
	json_t *j = json_loads(object, 0, NULL);

	/* What a database says is input too: what makes no sense is left out. */
	if (j == NULL)
		return true;
	(void)json_object_set(j, "told", (json_t *)(uintptr_t)told);
	return json_array_insert_new(arg, 0, j) == 0;
}

bool
show_events(struct call *c)
{
	unsigned char key[RATION_KEY_MAX + 1];
	int64_t n = 100;
	size_t len;
	char err[256];
	json_t *list;

	if (!call_key(c, false, key, &len) || !call_int(c, "limit_n", 1, 1000, &n))
		return false;
	list = json_array();
	c->result = json_pack("{s:o}", "events", list);
	if (store_events(c->d->store, key, len, n, list_event, list, err, sizeof(err)) != 0)
		return call_fail(c, RPC_INTERNAL, "events: %s", err);
	return true;
}
