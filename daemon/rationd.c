/*
 * rationd.c - the daemon, from top to bottom: check the policy, leave if -n;
 * refuse a second one; open the durable state; find or make the segment; publish; listen;
 * say that it is ready; loop.
 *
 * Whoever holds the instance's lock is its rationd.  Nothing is touched before that, and
 * everything after it may be left behind by a kill at any moment.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <vis.h>

#include "control.h"
#include "daemon.h"
#include "deliver.h"
#include "log.h"
#include "make.h"
#include "notifier.h"
#include "place.h"
#include "reaper.h"
#include "receiver.h"

#define REAL_TIME_TICKS 10 /* 1 s; a clock that is set wakes us at once */
#define ALARM_TICKS 100    /* 10 s */

struct options {
	const char *file;
	const char *instance;
	const char *dir;
	bool check;
	bool sandbox;
	struct make make; /* .dir NULL: serve */
};

static const char usage_text[] =
    "usage: rationd [-n] [-f FILE] [-i INSTANCE] [--dir DIR] [--sandbox] [--help] [--version]\n"
    "       rationd --make DIR [-f FILE] [-i INSTANCE] [--at UNIX] [--keys N]\n"
    "  -n           check FILE and leave: 0 if it is right, 1 with all mistakes if not\n"
    "  -f FILE      policy file; conf.d/*.yaml beside it is read too\n"
    "  -i INSTANCE  name of the instance, else $RATION_INSTANCE, else default\n"
    "  --dir DIR    everything in this one directory, else $RATION_DIR\n"
    "  --sandbox    with a clock that `ration clock` moves\n"
    "  --make DIR   make FILE's segment in DIR and leave\n"
    "  --at UNIX    with its calendar around this second; default: now\n"
    "  --keys N     with room for so many keys; default: as FILE says\n"
    "Stays in the foreground. SIGHUP reads the policy again. See rationd(8).\n";

static bool
read_number(const char *name, const char *text, int64_t most, int64_t *out)
{
	const char *why;

	*out = strtonum(text, 0, most, &why);
	if (why != NULL)
		(void)fprintf(stderr, "rationd: --%s: found \"%s\", expected 0 to %lld\n", name,
		    text, (long long)most);
	return why == NULL;
}

/* -1: go on; else the exit status. */
static int
read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "dir", required_argument, NULL, 'd' },
		{ "sandbox", no_argument, NULL, 's' }, { "make", required_argument, NULL, 'm' },
		{ "at", required_argument, NULL, 'a' }, { "keys", required_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'v' },
		{ NULL, 0, NULL, 0 } };
	int64_t keys;
	int c;

	memset(o, 0, sizeof(*o));
	while ((c = getopt_long(argc, argv, "nf:i:", longs, NULL)) != -1) {
		switch (c) {
		case 'n':
			o->check = true;
			break;
		case 'f':
			o->file = optarg;
			break;
		case 'i':
			o->instance = optarg;
			break;
		case 'd':
			o->dir = optarg;
			break;
		case 's':
			o->sandbox = true;
			break;
		case 'm':
			o->make.dir = optarg;
			break;
		case 'a':
			if (!read_number("at", optarg, INT64_C(1) << 33, &o->make.at_s))
				return 2;
			break;
		case 'k':
			if (!read_number("keys", optarg, (int64_t)SLOTS_MAX, &keys))
				return 2;
			o->make.keys = (uint64_t)keys;
			break;
		case 'h':
			(void)fputs(usage_text, stdout);
			return 0;
		case 'v':
			(void)printf("rationd %s\n", ration_version());
			return 0;
		default:
			(void)fputs(usage_text, stderr);
			return 2;
		}
	}
	if (optind < argc) {
		(void)fprintf(stderr, "rationd: %s: no arguments are expected\n", argv[optind]);
		(void)fputs(usage_text, stderr);
		return 2;
	}
	if (o->make.dir == NULL && (o->make.keys != 0 || o->make.at_s != 0)) {
		(void)fputs("rationd: --at and --keys go with --make: the policy says how many "
			    "keys a segment that serves has\n",
		    stderr);
		return 2;
	}
	if (o->make.at_s == 0)
		o->make.at_s = (int64_t)time(NULL);
	return -1;
}

/* As a compiler's: file:line:column first, so that editors find the place. */
static void
print_mistakes(const struct mistakes *m, const char *more)
{
	for (size_t i = 0; i < m->n; i++) {
		char *text = malloc(4 * strlen(m->text[i]) + 1);

		if (text == NULL)
			continue;
		(void)strvis(text, m->text[i], VIS_OCTAL | VIS_TAB | VIS_NL | VIS_NOSLASH);
		(void)fprintf(stderr, "%s%s\n", text, more);
		free(text);
	}
}

/* ---- policy files ---- */

const char *
daemon_file(const struct daemon *d)
{
	if (d->file != NULL)
		return d->file;
	return access(d->paths.config, F_OK) == 0 ? d->paths.config : NULL;
}

/* A file that was read once must not be missed silently: without it there are no limits. */
static void
keep_file(struct daemon *d)
{
	d->file = daemon_file(d);
}

/*
 * Files, groups, secrets.  Only to check: the policy may be for another host, with other groups.
 */
static int
read_policy(struct daemon *d, bool only_check, struct config **c)
{
	struct mistakes m = { 0 };
	int e = config_load(daemon_file(d), c, &m);

	if (e == 0) {
		bool groups = daemon_groups(d, *c, &m), secrets = config_secrets(*c, &m);

		if ((!groups || !secrets) && !only_check) {
			config_free(*c);
			e = -1;
		}
	}
	print_mistakes(&m, e == 0 ? " (a warning: the host that it is for may have it)" : "");
	mistakes_free(&m);
	return e;
}

/* Also multiply it out, where limits meet their counters: before anything is touched. */
static int
check(const struct daemon *d, const struct config *c)
{
	struct mistakes m = { 0 };
	struct config_table t;
	void *area;
	int e;

	config_table(c, &t);
	for (;; t.policy_bytes *= 2) {
		area = calloc(1, t.policy_bytes);
		e = -1;
		if (area == NULL)
			mistakes_add(&m, "out of memory");
		else
			e = config_compile(c, NULL, 0, NULL, t.cells, (int64_t)time(NULL), area,
			    t.policy_bytes, 1, &m);
		free(area);
		if (e != CONFIG_NO_ROOM || t.policy_bytes > POLICY_MAX / 2)
			break;
		mistakes_free(&m);
	}
	print_mistakes(&m, "");
	mistakes_free(&m);
	if (e == 0 && daemon_file(d) == NULL)
		log_note("%s is not there: the built-in default applies", d->paths.config);
	return e == 0 ? 0 : 1;
}

/* Files alone count here: its groups are those of the host that the policy is for. */
static int
make(const struct daemon *d, struct options *o)
{
	struct mistakes m = { 0 };
	struct config *c;
	int e;

	o->make.instance = o->instance;
	e = config_load(daemon_file(d), &c, &m);
	if (e == 0) {
		e = make_segment(&o->make, c, &m);
		config_free(c);
	}
	print_mistakes(&m, "");
	mistakes_free(&m);
	return e == 0 ? 0 : 1;
}

/* ---- what happens while it runs ---- */

void
daemon_happened(struct daemon *d, const struct happening *h)
{
	log_note("%s", h->text);
	control_tell(d->control, keeper_now(&d->keeper), h);
}

static void
reload_refused(struct daemon *d, const struct audit *by, const struct mistakes *m)
{
	char text[128];
	struct happening h = { .type = "reload_refused",
		.who = by->who,
		.target = "policy",
		.reason = by->reason,
		.text = text };

	mistakes_free(&d->last_reload.mistakes);
	memset(&d->last_reload.mistakes, 0, sizeof(d->last_reload.mistakes));
	for (size_t i = 0; i < m->n; i++) {
		log_error("%s", m->text[i]);
		mistakes_add(&d->last_reload.mistakes, "%s", m->text[i]);
	}
	(void)snprintf(text, sizeof(text),
	    "reload by %s refused, the old policy stays: %zu mistake%s", by->who, m->n,
	    m->n == 1 ? "" : "s");
	h.new = m->n > 0 ? m->text[0] : NULL;
	daemon_happened(d, &h);
}

static void
reload_done(struct daemon *d, const struct audit *by)
{
	char text[256];
	struct happening h = { .type = "reload",
		.who = by->who,
		.target = "policy",
		.reason = by->reason,
		.text = text };
	struct config_history history;
	struct config_table t;

	mistakes_free(&d->last_reload.mistakes);
	memset(&d->last_reload.mistakes, 0, sizeof(d->last_reload.mistakes));
	keep_file(d);
	config_settings(d->live.config, &t);
	keeper_settings(&d->keeper, &d->paths, &t, d->group);
	config_history(d->live.config, &history);
	history_settings(d->history, &history);
	reaper_access(&d->reaper, d->group);
	place_lock_group(d);
	control_regroup(d->control);
	deliver_policy(d->deliver, d->live.config);
	(void)snprintf(text, sizeof(text), "reload by %s: policy in force", by->who);
	daemon_happened(d, &h);
}

enum live_result
daemon_reload(struct daemon *d, const struct audit *by, bool dry_run, struct mistakes *m)
{
	struct live_edit e = { .limit = -1, .audits = by, .naudits = 1, .dry_run = dry_run };
	gid_t group = d->group, admin_group = d->admin_group;
	enum live_result result = LIVE_REFUSED;

	if (config_load(daemon_file(d), &e.config, m) == 0 && daemon_groups(d, e.config, m) &&
	    config_secrets(e.config, m))
		result = live_edit(&d->live, &e, m);
	if (result != LIVE_DONE || dry_run) {
		d->group = group;
		d->admin_group = admin_group;
		config_free(e.config);
	}
	if (dry_run)
		return result;
	d->last_reload.at = keeper_now(&d->keeper);
	d->last_reload.ok = result == LIVE_DONE;
	if (result == LIVE_DONE)
		reload_done(d, by);
	else
		reload_refused(d, by, m);
	return result;
}

static void
on_hangup(evutil_socket_t sig, short what, void *arg)
{
	struct daemon *d = arg;
	struct audit by = { .when = keeper_now(&d->keeper),
		.who = "SIGHUP",
		.action = "reload",
		.target = "policy",
		.uid = (uint32_t)geteuid(),
		.pid = (int32_t)getpid() };
	struct mistakes m = { 0 };

	(void)daemon_reload(d, &by, false, &m);
	mistakes_free(&m);
}

static void
on_terminate(evutil_socket_t sig, short what, void *arg)
{
	(void)event_base_loopbreak(((struct daemon *)arg)->base);
}

static void
on_ended(void *arg, const struct change *c)
{
	char target[TARGET_TEXT], old[VALUE_TEXT], text[TARGET_TEXT + VALUE_TEXT + 64];
	struct happening h = { .type = "ended",
		.who = "rationd",
		.target = target,
		.old = old,
		.reason = c->reason,
		.text = text };

	change_target_text(c, target, sizeof(target));
	change_value_text(c, old, sizeof(old));
	(void)snprintf(
	    text, sizeof(text), "ended: %s %s: %s", change_kind_text(c->kind), target, old);
	daemon_happened(arg, &h);
}

void
daemon_tidy(struct daemon *d)
{
	live_tick(&d->live, on_ended, d);
	notifier_clock(d->notifier);
}

static void
real_time(struct daemon *d)
{
	int64_t moved = keeper_real_time(&d->keeper);
	char text[128];
	struct happening h = {
		.type = "clock_step", .who = "rationd", .target = "clock", .text = text
	};

	if (moved == 0)
		return;
	(void)snprintf(
	    text, sizeof(text), "the system's clock was set by %+.3f s", (double)moved / 1e9);
	daemon_happened(d, &h);
}

static void
table_full(struct daemon *d, uint64_t calls)
{
	char text[160];
	struct happening h = {
		.type = "table_full", .who = "rationd", .target = "table", .text = text
	};

	(void)snprintf(text, sizeof(text),
	    "table full: %llu calls found no room, %llu of %llu slots in use; raise table.keys",
	    (unsigned long long)calls, (unsigned long long)d->keeper.live,
	    (unsigned long long)d->keeper.seg.nslots);
	daemon_happened(d, &h);
}

struct ticker {
	struct daemon *d;
	unsigned n;
	unsigned alarm; /* ticks until the next may be given */
	uint64_t full;  /* calls since the last one */
};

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct ticker *t = arg;

	t->full += keeper_tick(&t->d->keeper);
	history_tick(t->d->history);
	reaper_tick(&t->d->reaper);
	quotas_tick(t->d->quotas);
	if (t->alarm > 0)
		t->alarm--;
	if (t->full > 0 && t->alarm == 0) {
		table_full(t->d, t->full);
		t->full = 0;
		t->alarm = ALARM_TICKS;
	}
	daemon_tidy(t->d);
	daemon_events_tick(t->d);
	if (++t->n % REAL_TIME_TICKS == 0)
		real_time(t->d);
}

/* A timer that never fires, but is cancelled when somebody sets the clock. */
static int
arm_step_timer(int fd)
{
	struct itimerspec never = { .it_value = { .tv_sec = (time_t)1 << 40 } };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;
	ssize_t ignored = read(fd, &n, sizeof(n));

	(void)ignored; /* ECANCELED is what we wait for */
	(void)arm_step_timer(fd);
	real_time(arg);
}

/* ---- start and loop ---- */

static int
run(struct daemon *d)
{
	struct ticker ticker = { .d = d };
	struct timeval every = { 0, KEEPER_TICK_MS * 1000 };
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK), e = 1;
	struct event *hup = evsignal_new(d->base, SIGHUP, on_hangup, d),
		     *term = evsignal_new(d->base, SIGTERM, on_terminate, d),
		     *intr = evsignal_new(d->base, SIGINT, on_terminate, d),
		     *tick = event_new(d->base, -1, EV_PERSIST, on_tick, &ticker),
		     *step = event_new(d->base, fd, EV_READ | EV_PERSIST, on_step, d);

	if (fd == -1 || hup == NULL || term == NULL || intr == NULL || tick == NULL ||
	    step == NULL || arm_step_timer(fd) != 0 || event_add(hup, NULL) != 0 ||
	    event_add(term, NULL) != 0 || event_add(intr, NULL) != 0 ||
	    event_add(tick, &every) != 0 || event_add(step, NULL) != 0) {
		log_error("cannot set up the event loop: %s", strerror(errno));
		goto out;
	}
	place_notify_ready();
	log_note("ready instance=%s pid=%d socket=%s policy=%s segment=%s slots=%llu%s",
	    d->paths.instance, (int)getpid(), d->paths.socket,
	    daemon_file(d) != NULL ? daemon_file(d) : "(built-in)",
	    d->keeper.attached ? "attached" : "new", (unsigned long long)d->keeper.seg.nslots,
	    d->sandbox ? " sandbox" : "");
	e = event_base_dispatch(d->base) == -1 ? 1 : 0;
	quotas_finish(d->quotas);
	log_note("leaving; the segment stays, clients go on");
out:
	for (struct event **ev = (struct event *[]) { hup, term, intr, tick, step, NULL };
	     *ev != NULL; ev++)
		event_free(*ev);
	if (fd != -1)
		(void)close(fd);
	return e;
}

/* Before the first policy is published, and so before anybody can ask. */
static bool
put_back(void *arg, const struct policy_ref *p, struct mistakes *m)
{
	struct daemon *d = arg;
	char err[512];

	if (book_start(d->book, p, err, sizeof(err)) == 0 &&
	    quotas_put_back(d->quotas, p, err, sizeof(err)) == 0)
		return true;
	mistakes_add(m, "%s", err);
	return false;
}

/* Everything that is opened, in order; what fails has said so. */
static int
start(struct daemon *d, struct config *c)
{
	struct mistakes m = { 0 };
	struct config_history history;
	struct config_table t;
	char err[2048] = "";

	if (place_dir(d->paths.run_dir, geteuid() == 0 ? 0755 : 0700) != 0 || place_lock(d) != 0 ||
	    place_state_dir(d->paths.state) != 0)
		goto fail;
	place_lock_group(d);
	config_table(c, &t);
	config_history(c, &history);
	if (store_open(d->paths.state, &d->store, err, sizeof(err)) != 0 ||
	    keeper_open(&d->keeper, &d->paths, &t, d->group, d->sandbox, err, sizeof(err)) != 0 ||
	    history_open(&d->history, &d->keeper, d->store, &history, err, sizeof(err)) != 0 ||
	    book_open(&d->book, &d->keeper, d->store, err, sizeof(err)) != 0 ||
	    quotas_open(&d->quotas, &d->keeper, d->store, err, sizeof(err)) != 0 ||
	    reaper_open(&d->reaper, &d->keeper, d->book, err, sizeof(err)) != 0) {
		log_error("%s", err);
		goto fail;
	}
	if (live_start(&d->live, &d->keeper, d->store, c, put_back, d, &m) != LIVE_DONE) {
		print_mistakes(&m, "");
		mistakes_free(&m);
		return -1; /* the policy is d->live's */
	}
	keep_file(d);
	d->started_s = keeper_now(&d->keeper);
	d->last_reload.at = d->started_s;
	d->last_reload.ok = true;
	if (control_open(d, &d->control, err, sizeof(err)) != 0 ||
	    deliver_open(d, &d->deliver, err, sizeof(err)) != 0 ||
	    notifier_open(d, &d->notifier, err, sizeof(err)) != 0) {
		log_error("%s", err);
		return -1;
	}
	deliver_policy(d->deliver, d->live.config);
	return 0;
fail:
	config_free(c);
	return -1;
}

static void
stop(struct daemon *d)
{
	control_close(d->control);
	deliver_close(d->deliver);
	notifier_close(d->notifier);
	live_free(&d->live);
	reaper_close(&d->reaper);
	quotas_close(d->quotas);
	book_close(d->book);
	history_close(d->history);
	keeper_close(&d->keeper);
	store_close(d->store);
	mistakes_free(&d->last_reload.mistakes);
	if (d->base != NULL)
		event_base_free(d->base);
	if (d->lock != -1)
		(void)close(d->lock);
}

int
main(int argc, char **argv)
{
	struct daemon d = { .lock = -1, .group = (gid_t)-1, .admin_group = (gid_t)-1 };
	struct config *c = NULL;
	struct options o;
	struct timespec now;
	int e = read_options(argc, argv, &o);

	if (e >= 0)
		return e;
	(void)umask(022);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a write that fails says so */
	(void)signal(SIGHUP, SIG_IGN);  /* until there is a policy to reload */
	d.file = o.file;
	d.sandbox = o.sandbox;
	if (paths_find(o.instance, o.dir, true, &d.paths) != 0) {
		log_error(
		    "instance: expected 1 to 32 of [A-Za-z0-9._-], and a directory of moderate "
		    "length");
		return 2;
	}
	if (o.make.dir != NULL)
		return make(&d, &o);
	if (read_policy(&d, o.check, &c) != 0)
		return 1;
	e = check(&d, c);
	if (o.check || e != 0) {
		config_free(c);
		return e;
	}
	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	d.started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	d.base = event_base_new();
	if (d.base == NULL)
		log_error("no event loop");
	e = d.base != NULL && start(&d, c) == 0 ? run(&d) : 1;
	stop(&d);
	return e;
}
