#include "notifier_tell.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define SAY_S 60
#define ROWS_MIN 65536

struct event_list {
	struct key_event events[TELLER_EVENTS + TELLER_KEY_EVENTS];
};

int
teller_open(struct teller *l, struct daemon *d, struct thresholds *t, char *err, size_t errsize)
{
	memset(l, 0, sizeof(*l));
	l->d = d;
	l->t = t;
	l->rows_max = (int64_t)d->keeper.seg.nslots * 2 + ROWS_MIN;
	l->events = calloc(1, sizeof(*l->events));
	if (l->events == NULL) {
		(void)snprintf(err, errsize, "thresholds: out of memory");
		return -1;
	}
	l->rows = store_notified_count(d->store, err, errsize);
	l->next_due = store_notified_next(d->store, err, errsize);
	return l->rows < 0 || l->next_due < 0 ? -1 : 0;
}

static void
forget_events(struct teller *l)
{
	for (unsigned i = 0; i < l->nevents; i++)
		json_decref(l->events->events[i].more);
	l->nevents = 0;
}

void
teller_close(struct teller *l)
{
	if (l->events != NULL)
		forget_events(l);
	free(l->events);
	l->events = NULL;
}

/* ---- an event ---- */

static const char *
action_of(const struct teller *l, const char *limit, uint8_t percent, int64_t *remind_s)
{
	const struct config_notify *c = config_notify(l->d->live.config, limit, strlen(limit));

	*remind_s = 0;
	for (unsigned i = 0; i < c->n; i++)
		if (c->at[i] == percent) {
			*remind_s = c->remind_s[i];
			return c->action[i];
		}
	return NULL;
}

struct telling {
	const char *type;
	const struct notified *n;
	const struct rate_def *rate;
	const struct ruleset *rules;
	uint64_t used;
	uint64_t units;
	int64_t reset_at;
	uint8_t percent;
	int64_t since; /* of a reminder: when it was told of */
};

static json_t *
maybe_time(int64_t unix_s)
{
	return unix_s > 0 ? json_integer(unix_s) : json_null();
}

static json_t *
maybe_text(const char *text)
{
	return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *
details(const struct teller *l, const struct telling *w, const char *rate, const char *action)
{
	json_t *j = json_object();

	(void)json_object_set_new(j, "used", json_integer((json_int_t)w->used));
	(void)json_object_set_new(j, "limit_units", json_integer((json_int_t)w->units));
	(void)json_object_set_new(j, "remaining",
	    json_integer(w->units > w->used ? (json_int_t)(w->units - w->used) : 0));
	(void)json_object_set_new(j, "rate", json_string(rate));
	(void)json_object_set_new(j, "action", maybe_text(action));
	(void)json_object_set_new(
	    j, "plan", maybe_text(policy_plan_name(&l->t->policy, w->rules->plan)));
	(void)json_object_set_new(j, "period_start", maybe_time(w->n->period));
	(void)json_object_set_new(j, "period_end", maybe_time(w->n->period != 0 ? w->n->ends : 0));
	(void)json_object_set_new(j, "reset_at", maybe_time(w->reset_at));
	if (w->since != 0)
		(void)json_object_set_new(j, "since", json_integer(w->since));
	return j;
}

static void
one_line(struct key_event *e, const struct telling *w, const char *rate, const char *action)
{
	char key[KEY_TEXT], reset[32];

	key_text(e->key, e->key_len, key);
	time_text(w->reset_at, reset, sizeof(reset));
	(void)snprintf(e->text, sizeof(e->text),
	    "%s key %s: %u %% of %s: %" PRIu64 " of %" PRIu64 " used, resets at %s%s%s%s",
	    w->n->limit, key, w->percent, rate, w->used, w->units, reset,
	    w->since != 0 ? ", told before" : "", action != NULL ? ": " : "",
	    action != NULL ? action : "");
}

/* Recorded in the transaction that is open; made known when it has ended. */
static bool
add_event(struct teller *l, const struct telling *w)
{
	struct key_event *e = &l->events->events[l->nevents];
	struct rate_def def = *w->rate;
	struct rate_spec spec;
	const char *action;
	char rate[96];
	int64_t ignored;

	memset(e, 0, sizeof(*e));
	e->at = l->t->now_s;
	(void)snprintf(e->type, sizeof(e->type), "%s", w->type);
	(void)snprintf(e->limit, sizeof(e->limit), "%s", w->n->limit);
	memcpy(e->key, w->n->key, w->n->key_len);
	e->key_len = w->n->key_len;
	e->level = w->percent;
	if (def.kind != RATION_BUCKET)
		def.units = def.rate_units = w->units;
	rate_def_spec(&def, &spec);
	(void)rate_format(&spec, rate, sizeof(rate));
	action = action_of(l, e->limit, w->percent, &ignored);
	one_line(e, w, rate, action);
	e->more = details(l, w, rate, action);
	l->nevents++;
	l->wrote = true;
	return store_event_add(l->d->store, e, deliver_receivers(l->d->live.config, e->type),
		   l->why, sizeof(l->why)) == 0;
}

/* ---- one key ---- */

/* Very many keys in very short windows: no more than so many records. */
static bool
has_room(struct teller *l)
{
	if (l->rows + l->added < l->rows_max)
		return true;
	l->untold++;
	l->left_out = true;
	return false;
}

bool
teller_room(struct teller *l)
{
	bool room = l->left_out && l->rows < l->rows_max / 8 * 7;

	l->left_out = l->left_out && !room;
	return room;
}

static void
remind_times(const struct teller *l, const char *limit, const uint8_t percents[NOTIFY_MAX],
    int64_t out[NOTIFY_MAX])
{
	for (unsigned i = 0; i < NOTIFY_MAX; i++) {
		out[i] = 0;
		if (percents[i] != 0)
			(void)action_of(l, limit, percents[i], &out[i]);
	}
}

static bool
put_record(struct teller *l, const struct notified *n, bool found)
{
	l->wrote = true;
	l->added += !found;
	if (n->remind_at != 0 && n->remind_at < l->next_due)
		l->next_due = n->remind_at;
	return store_notified_put(l->d->store, n, l->why, sizeof(l->why)) == 0;
}

static bool
tell_use(
    struct teller *l, const struct threshold_key *k, struct threshold_use *u, const char *limit)
{
	struct notified n = { .shape = u->rate.shape, .period = u->start, .key_len = k->key_len };
	int64_t remind_s[NOTIFY_MAX];
	uint8_t told[NOTIFY_MAX];
	unsigned ntold;
	bool changed;
	int found;

	(void)snprintf(n.limit, sizeof(n.limit), "%s", limit);
	memcpy(n.key, k->key, k->key_len);
	found = store_notified(l->d->store, &n, l->why, sizeof(l->why));
	if (found < 0)
		return false;
	if (found == 0 && (u->level == 0 || !has_room(l)))
		return true;
	if (found > 0 && u->past)
		u->units = n.units;
	remind_times(l, limit, k->rules.notify, remind_s);
	ntold = notified_update(
	    &n, found > 0, u, k->rules.notify, remind_s, l->t->now_s, told, &changed);
	if (changed && !put_record(l, &n, found > 0))
		return false;
	for (unsigned i = 0; i < ntold; i++) {
		struct telling w = { .type = "threshold",
			.n = &n,
			.rate = &u->rate,
			.rules = &k->rules,
			.used = u->used,
			.units = n.units,
			.reset_at = u->reset_at,
			.percent = told[i] };

		if (!add_event(l, &w))
			return false;
	}
	return true;
}

void
teller_slot(struct teller *l, uint64_t slot, const struct note *note)
{
	struct threshold_key k;
	struct limit_def limit;
	const char *name;
	size_t len;

	if (!l->ok)
		return;
	k.hash = 0;
	if (!thresholds_look(l->t, slot, note, &k)) {
		if (note == NULL)
			thresholds_done(l->t, slot, 0);
		return;
	}
	if (!policy_limit(&l->t->policy, k.limit, &limit))
		return;
	name = policy_string(&l->t->policy, limit.name, &len);
	if (len > RATION_NAME_MAX)
		return;
	for (unsigned i = 0; l->ok && i < k.n; i++)
		l->ok = tell_use(l, &k, &k.uses[i], name);
	l->keys[l->nkeys].slot = slot;
	l->keys[l->nkeys++].hash = k.hash;
}

/* ---- the transaction ---- */

bool
teller_begin(struct teller *l, char *err, size_t errsize)
{
	l->nevents = l->nkeys = 0;
	l->wrote = false;
	l->added = 0;
	l->ok = store_begin(l->d->store);
	l->why[0] = '\0';
	if (!l->ok)
		(void)snprintf(err, errsize, "the state cannot be written to");
	return l->ok;
}

bool
teller_full(const struct teller *l)
{
	return !l->ok || l->nevents >= TELLER_EVENTS || l->nkeys >= TELLER_KEYS;
}

static void
say_untold(struct teller *l)
{
	char text[192];
	struct happening h = {
		.type = "thresholds_full", .who = "rationd", .target = "thresholds", .text = text
	};

	if (l->untold == l->said || l->t->now_s - l->said_s < SAY_S)
		return;
	(void)snprintf(text, sizeof(text),
	    "thresholds: %" PRId64 " records are kept already: %" PRIu64
	    " times a key was left untold; fewer limits with notify, or longer windows, need fewer",
	    l->rows, l->untold - l->said);
	l->said = l->untold;
	l->said_s = l->t->now_s;
	daemon_happened(l->d, &h);
}

int
teller_end(struct teller *l, const struct notified_tail *tail, char *err, size_t errsize)
{
	int e;

	if (l->ok && l->wrote)
		l->ok = store_notes_tail_put(l->d->store, tail, l->why, sizeof(l->why)) == 0;
	e = store_end(l->d->store, l->ok, err, errsize);
	if (e != 0 && l->why[0] != '\0')
		(void)snprintf(err, errsize, "%s", l->why);
	if (e == 0) {
		l->rows += l->added;
		l->told += l->nevents;
		for (unsigned i = 0; i < l->nkeys; i++)
			thresholds_done(l->t, l->keys[i].slot, l->keys[i].hash);
		for (unsigned i = 0; i < l->nevents; i++)
			daemon_event(l->d, &l->events->events[i]);
	}
	forget_events(l);
	say_untold(l);
	return e;
}

/* ---- reminders ---- */

/* What the key has of this rate now.  False: it has it no more. */
static bool
rate_of(const struct teller *l, const struct notified *n, struct ruleset *rules, unsigned *i,
    uint32_t *limit)
{
	int64_t id = policy_limit_id(&l->t->policy, n->limit, strlen(n->limit));

	if (id < 0 || !thresholds_rules(l->t, (uint32_t)id, n->key, n->key_len, rules))
		return false;
	*limit = (uint32_t)id;
	for (*i = 0; *i < rules->nrates; (*i)++)
		if (rules->rates[*i].shape == n->shape && ruleset_notifies(rules, *i))
			return true;
	return false;
}

/* What is used of it now, if the key is in the table still. */
static void
used_now(const struct teller *l, const struct notified *n, uint32_t limit, struct telling *w)
{
	const struct segment *seg = &l->d->keeper.seg;
	struct ident id = { .limit = n->limit,
		.limit_len = strlen(n->limit),
		.key = n->key,
		.key_len = n->key_len };
	struct threshold_key k;
	struct found f;

	ident_hash(seg, &id);
	if (!table_find(seg, &id, limit, &f) || !thresholds_look(l->t, f.slot, NULL, &k))
		return;
	for (unsigned i = 0; i < k.n; i++)
		if (k.uses[i].rate.shape == n->shape && k.uses[i].start == n->period) {
			w->used = k.uses[i].used;
			w->reset_at = k.uses[i].reset_at;
		}
}

/* Nothing has changed: no raise, no higher percentage (that has a reminder of its own). */
static bool
remind_one(struct teller *l, struct notified *n)
{
	struct telling w = { .type = "reminder",
		.n = n,
		.used = n->used,
		.units = n->units,
		.reset_at = n->period != 0 ? n->ends : 0,
		.percent = n->remind };
	struct ruleset rules;
	bool tell = false;
	int64_t remind_s;
	uint32_t limit;
	unsigned i;

	n->remind_at = 0;
	for (unsigned m = 0; m < n->n; m++)
		if (n->marks[m].percent == n->remind && n->marks[m].below == 0) {
			w.since = n->marks[m].at;
			tell = n->ends > l->t->now_s;
		}
	if (tell && rate_of(l, n, &rules, &i, &limit) && rules.rates[i].units <= n->units) {
		(void)action_of(l, n->limit, n->remind, &remind_s);
		w.rate = &rules.rates[i];
		w.rules = &rules;
		w.units = rules.rates[i].units;
		used_now(l, n, limit, &w);
		if (remind_s > 0 && !add_event(l, &w))
			return false;
	}
	return put_record(l, n, true);
}

int
teller_remind(struct teller *l, int64_t most, char *err, size_t errsize)
{
	struct notified_tail tail;
	struct notified *list = NULL;
	int64_t next;
	size_t n = 0;
	int e;

	if (l->t->now_s < l->next_due)
		return 0;
	if (!teller_begin(l, err, errsize))
		return -1;
	l->ok = store_notified_due(
		    l->d->store, l->t->now_s, most, &list, &n, l->why, sizeof(l->why)) == 0;
	for (size_t i = 0; l->ok && i < n; i++)
		l->ok = remind_one(l, &list[i]);
	free(list);
	next = l->ok ? store_notified_next(l->d->store, l->why, sizeof(l->why)) : -1;
	l->ok =
	    l->ok && next >= 0 && store_notes_tail(l->d->store, &tail, l->why, sizeof(l->why)) > 0;
	e = teller_end(l, &tail, err, errsize);
	if (e == 0)
		l->next_due = next;
	return e;
}

/* ---- housekeeping ---- */

int
teller_tidy(struct teller *l, const struct notified_tail *tail, int64_t most, bool wanted,
    char *err, size_t errsize)
{
	int64_t gone;
	int e;

	if (!teller_begin(l, err, errsize))
		return -1;
	gone = store_notified_drop(
	    l->d->store, tail->settled, l->t->now_s, most, l->why, sizeof(l->why));
	l->ok = gone >= 0;
	l->wrote = gone > 0 || wanted;
	e = teller_end(l, tail, err, errsize);
	if (e == 0)
		l->rows -= gone;
	return e;
}
