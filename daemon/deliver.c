#include "deliver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "log.h"
#include "rpc.h"
#include "send.h"

#define WINDOW 64u
#define WRITE_MS 50
#define WRITE_SOON (WINDOW / 4) /* that many are written at once */
#define STORE_AGAIN_MS 1000     /* after the store has failed */
#define TIDY_MS (10 * 1000)
#define TIDY_SOON_MS 1000
#define SAY_MS (10 * 1000)         /* between two lines of the same kind about a receiver */
#define RETRY_AFTER_MAX_MS 3600000 /* what a receiver can ask for, if `most` is not longer */

enum item_state { ITEM_WAITS, ITEM_FLIES, ITEM_ENDED };

struct item {
	struct target *target;
	struct delivery d;
	int64_t due_ms; /* by our own clock */
	enum item_state state;
	enum told how; /* when ended */
	bool unwritten;
	struct run *run;
	struct request *request;
};

/* A receiver of the policy in force. */
struct target {
	struct deliver *deliver;
	const struct receiver *r; /* of the policy in force */
	char name[RECEIVER_NAME_MAX + 1];
	struct item *window[WINDOW]; /* in order */
	unsigned n;
	unsigned flying;
	int64_t loaded; /* the last event that was */
	bool more;      /* there may be others after it */
	char error[EVENT_RECEIVER_ERROR];
	bool unwritten;     /* the error */
	bool failing;       /* the last try did */
	bool warned;        /* the log says so */
	int64_t warn_ms;    /* not again before */
	uint64_t told_lost; /* dropped or given up, as the log knows it */
	int64_t say_ms;     /* nothing about losses before */
};

struct deliver {
	struct daemon *d;
	struct target *targets[RECEIVERS_MAX];
	unsigned n;
	struct event *work, *write, *tidy;
	unsigned unwritten;
	bool tidy_soon;
	bool writing;     /* the timer runs */
	bool unrecorded;  /* who the receivers are could not be written */
	int64_t store_ms; /* the store is not asked before */
	struct http *http;
};

static int64_t
clock_ms(clockid_t id)
{
	struct timespec t;

	(void)clock_gettime(id, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void
arm(struct event *ev, int64_t in_ms)
{
	struct timeval t = { (time_t)(in_ms / 1000), (suseconds_t)(in_ms % 1000 * 1000) };

	if (in_ms < 0)
		t = (struct timeval) { 0, 0 };
	(void)event_add(ev, &t);
}

void
deliver_wake(struct deliver *v)
{
	if (v == NULL)
		return;
	for (unsigned i = 0; i < v->n; i++)
		v->targets[i]->more = true;
	arm(v->work, 0);
	if (!v->tidy_soon && v->n > 0) { /* if something is dropped, that is said soon */
		v->tidy_soon = true;
		arm(v->tidy, TIDY_SOON_MS);
	}
}

/* ---- items ---- */

static void
item_free(struct item *it)
{
	if (it->run != NULL)
		run_cancel(it->run);
	if (it->request != NULL)
		request_cancel(it->request);
	if (it->unwritten)
		it->target->deliver->unwritten--;
	free(it->d.body);
	free(it);
}

static void
target_free(struct target *t)
{
	for (unsigned i = 0; i < t->n; i++)
		item_free(t->window[i]);
	free(t);
}

/* Those that are written as ended leave the window. */
static void
sweep_window(struct target *t)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->n; i++) {
		if (t->window[i]->state == ITEM_ENDED && !t->window[i]->unwritten)
			item_free(t->window[i]);
		else
			t->window[kept++] = t->window[i];
	}
	t->n = kept;
}

static void
unwritten(struct item *it)
{
	struct deliver *v = it->target->deliver;

	if (!it->unwritten) {
		it->unwritten = true;
		v->unwritten++;
	}
	if (v->unwritten >= WRITE_SOON)
		arm(v->write, 0);
	else if (!v->writing)
		arm(v->write, WRITE_MS);
	v->writing = true;
}

/* ---- what is confirmed is written ---- */

static bool
write_item(struct store *s, const struct item *it)
{
	const char *name = it->target->name;

	return it->state == ITEM_ENDED
	    ? store_delivery_end(s, name, it->d.event, it->d.tries, it->how)
	    : store_delivery_again(s, name, &it->d);
}

static bool
write_target(struct store *s, struct target *t)
{
	bool ok = !t->unwritten || store_receiver_error(s, t->name, t->error);

	for (unsigned i = 0; ok && i < t->n; i++)
		if (t->window[i]->unwritten)
			ok = write_item(s, t->window[i]);
	return ok;
}

static bool
write_all(struct deliver *v)
{
	struct store *s = v->d->store;
	char err[512] = "";
	bool ok;

	if (v->unwritten == 0)
		return true;
	ok = store_begin(s);
	if (ok) {
		for (unsigned i = 0; ok && i < v->n; i++)
			ok = write_target(s, v->targets[i]);
		ok = store_end(s, ok, err, sizeof(err)) == 0;
	}
	if (!ok) {
		log_error("deliveries cannot be recorded, trying again: %s", err);
		return false;
	}
	for (unsigned i = 0; i < v->n; i++) {
		struct target *t = v->targets[i];

		t->unwritten = false;
		for (unsigned k = 0; k < t->n; k++)
			t->window[k]->unwritten = false;
		sweep_window(t);
	}
	v->unwritten = 0;
	return true;
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	struct deliver *v = arg;

	v->writing = !write_all(v);
	if (v->writing)
		arm(v->write, STORE_AGAIN_MS);
	else
		arm(v->work, 0);
}

/* ---- how a try ends ---- */

/* Up to twice as long after each that failed, at random in all of it: receivers that come back
 * are not met by all at once. */
static int64_t
backoff_ms(const struct receiver *r, uint32_t tries, int64_t asked_ms)
{
	uint64_t cap = r->first_ms, most_asked = r->most_ms, random = 0;
	int64_t wait;

	for (uint32_t i = 1; i < tries && cap < r->most_ms; i++)
		cap *= 2;
	if (cap > r->most_ms)
		cap = r->most_ms;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint64_t)clock_ms(CLOCK_MONOTONIC) * UINT64_C(0x9e3779b97f4a7c15);
	wait = (int64_t)(cap / 10 + random % (cap - cap / 10 + 1));
	if (most_asked < RETRY_AFTER_MAX_MS)
		most_asked = RETRY_AFTER_MAX_MS;
	if (asked_ms > (int64_t)most_asked)
		asked_ms = (int64_t)most_asked;
	return wait > asked_ms ? wait : asked_ms;
}

/* Once while it fails, and not at every turn if it fails every other time. */
static void
warn(struct target *t, const struct item *it, const char *error)
{
	int64_t now = clock_ms(CLOCK_BOOTTIME);

	if (t->warned || now < t->warn_ms)
		return;
	log_warn("receiver %s: %s: %s", t->name, it->d.uid, error);
	t->warned = true;
	t->warn_ms = now + SAY_MS;
}

static void
failed(struct item *it, const struct outcome *o)
{
	struct target *t = it->target;
	const struct receiver *r = t->r;
	int64_t now = clock_ms(CLOCK_REALTIME), wait;

	t->failing = true;
	warn(t, it, o->error);
	(void)snprintf(t->error, sizeof(t->error), "%s", o->error);
	t->unwritten = true;
	it->d.tries++;
	it->state = ITEM_WAITS;
	if (now - it->d.since_ms >= (int64_t)r->give_up_ms) {
		it->state = ITEM_ENDED;
		it->how = TOLD_FAILED;
		return;
	}
	wait = backoff_ms(r, it->d.tries, o->retry_after_ms);
	it->d.next_ms = now + wait;
	it->due_ms = clock_ms(CLOCK_BOOTTIME) + wait;
}

static void
on_ended(void *arg, const struct outcome *o)
{
	struct item *it = arg;
	struct target *t = it->target;

	it->run = NULL;
	it->request = NULL;
	t->flying--;
	if (o->delivered) {
		it->state = ITEM_ENDED;
		it->how = TOLD_DELIVERED;
		if (t->warned)
			log_note("receiver %s: confirms again", t->name);
		t->failing = t->warned = false;
	} else {
		failed(it, o);
	}
	unwritten(it);
	arm(t->deliver->work, 0);
}

/* ---- what is due is tried ---- */

static void
start_try(struct item *it)
{
	struct target *t = it->target;
	struct deliver *v = t->deliver;
	struct sending s = { .base = v->d->base,
		.paths = &v->d->paths,
		.receiver = t->r,
		.delivery = &it->d,
		.ended = on_ended,
		.arg = it };
	struct outcome o = { .delivered = false };

	it->state = ITEM_FLIES;
	t->flying++;
	if (t->r->argv != NULL) {
		it->run = run_start(&s, &o);
	} else {
		if (v->http == NULL)
			v->http = http_open(v->d->base, o.error, sizeof(o.error));
		if (v->http != NULL)
			it->request = request_start(v->http, &s, &o);
	}
	if (it->run == NULL && it->request == NULL)
		on_ended(it, &o);
}

/* What was dropped since it was loaded is not tried. */
static bool
still_waits(struct item *it)
{
	if (store_delivery_waits(it->target->deliver->d->store, it->target->name, it->d.event))
		return true;
	it->state = ITEM_ENDED;
	it->how = TOLD_DROPPED;
	unwritten(it);
	return false;
}

/* Start what may be started.  Returns when something else is due, INT64_MAX: never. */
static int64_t
try_target(struct target *t, int64_t now)
{
	int64_t next = INT64_MAX;

	for (unsigned i = 0; i < t->n && t->flying < t->r->at_once; i++) {
		struct item *it = t->window[i];

		if (it->state == ITEM_ENDED)
			continue;
		if (it->state == ITEM_WAITS && it->due_ms <= now) {
			if (still_waits(it))
				start_try(it);
		} else if (it->state == ITEM_WAITS && it->due_ms < next) {
			next = it->due_ms;
		}
		if (t->r->at_once == 1 && it->state != ITEM_ENDED)
			break; /* nothing overtakes it */
	}
	return next;
}

static void
load(struct target *t)
{
	struct deliver *v = t->deliver;
	struct delivery got[WINDOW];
	int64_t now = clock_ms(CLOCK_REALTIME), mine = clock_ms(CLOCK_BOOTTIME);
	unsigned room = WINDOW - t->n;
	char err[512];
	int n;

	if (!t->more || room < WINDOW / 4)
		return;
	n = store_deliveries(v->d->store, t->name, t->loaded, got, room, err, sizeof(err));
	if (n < 0) {
		log_error("deliveries cannot be read, trying again: %s", err);
		v->store_ms = mine + STORE_AGAIN_MS;
		return;
	}
	t->more = (unsigned)n == room;
	for (int i = 0; i < n; i++) {
		struct item *it = calloc(1, sizeof(*it));
		int64_t wait = got[i].next_ms - now;

		if (it == NULL) { /* read again later */
			t->more = true;
			free(got[i].body);
			continue;
		}
		/* If the clock was set back meanwhile: no longer than any wait is. */
		if (wait > (int64_t)t->r->most_ms && wait > RETRY_AFTER_MAX_MS)
			wait = (int64_t)t->r->most_ms;
		it->target = t;
		it->d = got[i];
		it->due_ms = mine + (wait > 0 ? wait : 0);
		t->loaded = got[i].event;
		t->window[t->n++] = it;
	}
}

static void
on_work(evutil_socket_t fd, short what, void *arg)
{
	struct deliver *v = arg;
	int64_t now = clock_ms(CLOCK_BOOTTIME), next = INT64_MAX;

	for (unsigned i = 0; i < v->n; i++) {
		struct target *t = v->targets[i];
		int64_t due;

		if (now >= v->store_ms)
			load(t);
		due = try_target(t, now);
		if (t->more && v->store_ms > now && v->store_ms < due)
			due = v->store_ms;
		next = due < next ? due : next;
	}
	if (next != INT64_MAX)
		arm(v->work, next > now ? next - now : 1);
}

/* ---- now and then ---- */

/* What was not told is said, but not line by line. */
static void
say_lost(struct deliver *v, const struct told_totals *all, int n)
{
	int64_t now = clock_ms(CLOCK_BOOTTIME);

	for (unsigned i = 0; i < v->n; i++)
		for (int k = 0; k < n; k++) {
			struct target *t = v->targets[i];
			uint64_t lost = all[k].dropped + all[k].failed;

			if (strcmp(all[k].name, t->name) != 0)
				continue;
			if (t->told_lost == UINT64_MAX) /* an earlier run's */
				t->told_lost = lost;
			if (lost <= t->told_lost || now < t->say_ms)
				continue;
			log_warn("receiver %s: %llu events were not told to it: %llu dropped (more "
				 "than %llu in its queue), %llu given up in all; last error: %s",
			    t->name, (unsigned long long)(lost - t->told_lost),
			    (unsigned long long)all[k].dropped, (unsigned long long)t->r->queue,
			    (unsigned long long)all[k].failed,
			    all[k].error[0] != '\0' ? all[k].error : "none");
			t->told_lost = lost;
			t->say_ms = now + SAY_MS;
		}
}

static void
record_receivers(struct deliver *v)
{
	unsigned n;
	const struct receiver *list = config_receivers(v->d->live.config, &n);
	char err[512];

	v->unrecorded = store_receivers(v->d->store, list, n, err, sizeof(err)) != 0;
	if (v->unrecorded)
		log_error("receivers cannot be recorded, trying again: %s", err);
}

static void
on_tidy(evutil_socket_t fd, short what, void *arg)
{
	struct told_totals *all = calloc(RECEIVERS_KNOWN, sizeof(*all));
	struct deliver *v = arg;
	char err[512];
	uint64_t gone;
	int n = all != NULL ? store_told(v->d->store, all, err, sizeof(err)) : 0;

	v->tidy_soon = false;
	if (v->unrecorded)
		record_receivers(v);
	say_lost(v, all, n);
	free(all);
	if (store_events_tidy(v->d->store, keeper_now(&v->d->keeper), clock_ms(CLOCK_REALTIME),
		&gone, err, sizeof(err)) != 0)
		log_error("events cannot be tidied up: %s", err);
	else if (gone > 0)
		log_warn("%llu events were for receivers that the policy no longer has: dropped",
		    (unsigned long long)gone);
	arm(v->tidy, TIDY_MS);
}

/* ---- for people ---- */

static json_t *
totals_json(const struct told_totals *a, const struct target *t)
{
	const char *error = t != NULL && t->unwritten ? t->error : a->error;

	return json_pack("{s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o}", "name", a->name,
	    "kind",
	    t == NULL                ? NULL
		: t->r->argv != NULL ? "command"
				     : "webhook",
	    "queued", (json_int_t)a->queued, "delivered", (json_int_t)a->delivered, "failed",
	    (json_int_t)a->failed, "dropped", (json_int_t)a->dropped, "under_way",
	    (json_int_t)(t != NULL ? t->flying : 0), "failing", t != NULL && t->failing,
	    "last_error", error[0] != '\0' ? json_any(error) : json_null(), "last_error_at",
	    a->error_at > 0 ? json_integer(a->error_at) : json_null());
}

json_t *
deliver_status(struct deliver *v)
{
	struct told_totals *all = calloc(RECEIVERS_KNOWN, sizeof(*all));
	json_t *list = json_array();
	char err[512];
	int n = all != NULL && v != NULL ? store_told(v->d->store, all, err, sizeof(err)) : 0;

	for (int k = 0; k < n; k++) {
		const struct target *t = NULL;

		for (unsigned i = 0; i < v->n; i++)
			if (strcmp(v->targets[i]->name, all[k].name) == 0)
				t = v->targets[i];
		(void)json_array_append_new(list, totals_json(&all[k], t));
	}
	free(all);
	return list;
}

/* ---- outside ---- */

static struct target *
target_new(struct deliver *v, const struct receiver *r)
{
	struct target *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->deliver = v;
	t->told_lost = UINT64_MAX;
	(void)snprintf(t->name, sizeof(t->name), "%s", r->name);
	return t;
}

/* What is known of the receiver r goes on. */
static struct target *
target_of(struct deliver *v, struct target **old, unsigned n, const struct receiver *r)
{
	for (unsigned i = 0; i < n; i++)
		if (old[i] != NULL && strcmp(old[i]->name, r->name) == 0) {
			struct target *t = old[i];

			old[i] = NULL;
			return t;
		}
	return target_new(v, r);
}

void
deliver_policy(struct deliver *v, const struct config *c)
{
	struct target *old[RECEIVERS_MAX];
	unsigned nold = v->n, n;
	const struct receiver *list = config_receivers(c, &n);

	(void)write_all(v);
	memcpy(old, v->targets, sizeof(old));
	v->n = 0;
	for (unsigned i = 0; i < n; i++) {
		struct target *t = target_of(v, old, nold, &list[i]);

		if (t == NULL) {
			log_error("receiver %s: out of memory", list[i].name);
			continue;
		}
		t->r = &list[i];
		v->targets[v->n++] = t;
	}
	for (unsigned i = 0; i < nold; i++)
		if (old[i] != NULL)
			target_free(old[i]);
	record_receivers(v);
	on_tidy(-1, 0, v);
	deliver_wake(v);
}

int
deliver_open(struct daemon *d, struct deliver **out, char *err, size_t errsize)
{
	struct deliver *v = calloc(1, sizeof(*v));

	*out = v;
	if (v == NULL) {
		(void)snprintf(err, errsize, "out of memory");
		return -1;
	}
	v->d = d;
	v->work = evtimer_new(d->base, on_work, v);
	v->write = evtimer_new(d->base, on_write, v);
	v->tidy = evtimer_new(d->base, on_tidy, v);
	if (v->work == NULL || v->write == NULL || v->tidy == NULL) {
		(void)snprintf(err, errsize, "deliveries: out of memory");
		deliver_close(v);
		*out = NULL;
		return -1;
	}
	return 0;
}

void
deliver_close(struct deliver *v)
{
	if (v == NULL)
		return;
	(void)write_all(v);
	for (unsigned i = 0; i < v->n; i++)
		target_free(v->targets[i]);
	http_close(v->http);
	for (struct event **ev = (struct event *[]) { v->work, v->write, v->tidy, NULL };
	     *ev != NULL; ev++)
		event_free(*ev);
	free(v);
}
