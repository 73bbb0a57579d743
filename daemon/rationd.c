/*
 * rationd.c - the daemon, from top to bottom: check the policy, leave if -n;
 * refuse a second one; open the durable state; find or make the segment; publish; listen;
 * say that it is ready; loop.
 *
 * Whoever holds the instance's lock is its rationd.  Nothing is touched before that, and
 * everything after it may be left behind by a kill at any moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <vis.h>

#include "control.h"
#include "daemon.h"
#include "log.h"

#define REAL_TIME_TICKS 20 /* 2 s */
#define ALARM_TICKS 100    /* 10 s */

struct options {
	const char *file;
	const char *instance;
	const char *dir;
	bool check;
	bool sandbox;
};

static const char usage_text[] =
    "usage: rationd [-n] [-f FILE] [-i INSTANCE] [--dir DIR] [--sandbox] [--help] [--version]\n"
    "  -n           check FILE and leave: 0 if it is right, 1 with all mistakes if not\n"
    "  -f FILE      policy file; conf.d/*.yaml beside it is read too\n"
    "  -i INSTANCE  name of the instance, else $RATION_INSTANCE, else default\n"
    "  --dir DIR    everything in this one directory, else $RATION_DIR\n"
    "  --sandbox    with a clock that `ration clock` moves\n"
    "Stays in the foreground. SIGHUP reads the policy again. See rationd(8).\n";

/* -1: go on; else the exit status. */
static int
read_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = { { "dir", required_argument, NULL, 'd' },
		{ "sandbox", no_argument, NULL, 's' }, { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' }, { NULL, 0, NULL, 0 } };
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
	return -1;
}

/* As a compiler's: file:line:column first, so that editors find the place. */
static void
print_mistakes(const struct mistakes *m)
{
	for (size_t i = 0; i < m->n; i++) {
		char *text = malloc(4 * strlen(m->text[i]) + 1);

		if (text == NULL)
			continue;
		(void)strvis(text, m->text[i], VIS_OCTAL | VIS_TAB | VIS_NL | VIS_NOSLASH);
		(void)fprintf(stderr, "%s\n", text);
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

/* -n: also multiply it out, where limits meet their counters. */
static int
check(const struct daemon *d, const struct config *c)
{
	struct mistakes m = { 0 };
	struct config_table t;
	void *area;
	int e = -1;

	config_table(c, &t);
	area = calloc(1, t.policy_bytes);
	if (area == NULL)
		mistakes_add(&m, "out of memory");
	else
		e = config_compile(
		    c, NULL, 0, NULL, t.cells, (int64_t)time(NULL), area, t.policy_bytes, 1, &m);
	print_mistakes(&m);
	mistakes_free(&m);
	free(area);
	if (e == 0 && daemon_file(d) == NULL)
		log_note("%s is not there: the built-in default applies", d->paths.config);
	return e == 0 ? 0 : 1;
}

/*
 * A group by the name that the files give, else the default one if it exists.  An ordinary
 * user can hand files only to groups of its own.
 */
static bool
find_group(const char *what, const char *name, const char *fallback, gid_t *out, struct mistakes *m)
{
	const struct group *g = getgrnam(name != NULL ? name : fallback);

	*out = (gid_t)-1;
	if (g != NULL && (name != NULL || geteuid() == 0 || group_member(g->gr_gid)))
		*out = g->gr_gid;
	if (g == NULL && name != NULL) {
		mistakes_add(m, "%s: '%s', expected a group of this system", what, name);
		return false;
	}
	return true;
}

bool
daemon_groups(struct daemon *d, const struct config *c, struct mistakes *m)
{
	gid_t group, admin;
	bool ok = find_group("group", config_group(c), "ration", &group, m);

	ok = find_group("admin_group", config_admin_group(c), "ration-admin", &admin, m) && ok;
	if (ok) {
		d->group = group;
		d->admin_group = admin;
	}
	return ok;
}

/* ---- places ---- */

/* A directory that a stranger could write to is no place for a segment. */
static int
make_dir(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) != 0 && errno != EEXIST) {
		log_error("%s: cannot create: %s", path, strerror(errno));
		return -1;
	}
	if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
		log_error("%s: not a directory", path);
		return -1;
	}
	if ((st.st_uid != 0 && st.st_uid != geteuid()) ||
	    ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0)) {
		log_error("%s: belongs to a stranger or is open to the world: not trusted", path);
		return -1;
	}
	return 0;
}

/* The directory of the durable state, with those above it. */
static int
make_state_dir(const char *state)
{
	char dir[1200];
	char *last;

	(void)snprintf(dir, sizeof(dir), "%s", state);
	last = strrchr(dir, '/');
	if (last == NULL || last == dir)
		return 0;
	*last = '\0';
	for (char *p = dir + 1; *p != '\0'; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		(void)mkdir(dir, 0755);
		*p = '/';
	}
	return make_dir(dir, 0700);
}

/*
 * The lock is the process's, not the file's: it is gone when rationd is, however it
 * ended.  Clients hold read locks on other bytes.
 */
static int
take_lock(struct daemon *d)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };
	const char *path = d->paths.lock;
	struct stat st;

	d->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
	if (d->lock == -1 || fstat(d->lock, &st) != 0) {
		log_error("%s: %s", path, strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
		log_error("%s: no file of ours: remove it", path);
		return -1;
	}
	if (fcntl(d->lock, F_OFD_SETLK, &lock) != 0) {
		log_error(
		    "instance '%s' has a rationd already (%s is locked)", d->paths.instance, path);
		return -1;
	}
	return 0;
}

static void
set_lock_group(const struct daemon *d)
{
	if ((d->group != (gid_t)-1 && fchown(d->lock, (uid_t)-1, d->group) != 0) ||
	    fchmod(d->lock, 0640) != 0)
		log_warn("%s: cannot set group or mode: %s", d->paths.lock, strerror(errno));
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
	struct config_table t;

	mistakes_free(&d->last_reload.mistakes);
	memset(&d->last_reload.mistakes, 0, sizeof(d->last_reload.mistakes));
	config_table(d->live.config, &t);
	keeper_settings(&d->keeper, &d->paths, &t, d->group);
	set_lock_group(d);
	control_regroup(d->control);
	(void)snprintf(text, sizeof(text), "reload by %s: policy in force", by->who);
	daemon_happened(d, &h);
}

enum live_result
daemon_reload(struct daemon *d, const struct audit *by, bool dry_run, struct mistakes *m)
{
	struct live_edit e = { .limit = -1, .audits = by, .naudits = 1, .dry_run = dry_run };
	gid_t group = d->group, admin_group = d->admin_group;
	enum live_result result = LIVE_REFUSED;

	if (config_load(daemon_file(d), &e.config, m) == 0 && daemon_groups(d, e.config, m))
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
	if (t->alarm > 0)
		t->alarm--;
	if (t->full > 0 && t->alarm == 0) {
		table_full(t->d, t->full);
		t->full = 0;
		t->alarm = ALARM_TICKS;
	}
	daemon_tidy(t->d);
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

/* sd_notify(3), without the library. */
static void
notify_ready(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = path != NULL ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof(sa.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sa.sun_path, path, n);
	if (path[0] == '@')
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd == -1 ||
	    sendto(fd, "READY=1", 7, MSG_NOSIGNAL, (struct sockaddr *)&sa,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) != 7)
		log_warn("NOTIFY_SOCKET %s: %s", path, strerror(errno));
	if (fd != -1)
		(void)close(fd);
	(void)unsetenv("NOTIFY_SOCKET");
}

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
	notify_ready();
	log_note("ready instance=%s pid=%d socket=%s policy=%s segment=%s slots=%llu%s",
	    d->paths.instance, (int)getpid(), d->paths.socket,
	    daemon_file(d) != NULL ? daemon_file(d) : "(built-in)",
	    d->keeper.attached ? "attached" : "new", (unsigned long long)d->keeper.seg.nslots,
	    d->sandbox ? " sandbox" : "");
	e = event_base_dispatch(d->base) == -1 ? 1 : 0;
	log_note("leaving; the segment stays, clients go on");
out:
	for (struct event **ev = (struct event *[]) { hup, term, intr, tick, step, NULL };
	     *ev != NULL; ev++)
		event_free(*ev);
	if (fd != -1)
		(void)close(fd);
	return e;
}

/* Everything that is opened, in order; what fails has said so. */
static int
start(struct daemon *d, struct config *c)
{
	struct mistakes m = { 0 };
	struct config_table t;
	char err[2048] = "";

	if (make_dir(d->paths.run_dir, geteuid() == 0 ? 0755 : 0700) != 0 || take_lock(d) != 0 ||
	    make_state_dir(d->paths.state) != 0)
		goto fail;
	set_lock_group(d);
	config_table(c, &t);
	if (store_open(d->paths.state, &d->store, err, sizeof(err)) != 0 ||
	    keeper_open(&d->keeper, &d->paths, &t, d->group, d->sandbox, err, sizeof(err)) != 0) {
		log_error("%s", err);
		goto fail;
	}
	if (live_start(&d->live, &d->keeper, d->store, c, &m) != LIVE_DONE) {
		print_mistakes(&m);
		mistakes_free(&m);
		return -1; /* the policy is d->live's */
	}
	d->started_s = keeper_now(&d->keeper);
	d->last_reload.at = d->started_s;
	d->last_reload.ok = true;
	if (control_open(d, &d->control, err, sizeof(err)) != 0) {
		log_error("%s", err);
		return -1;
	}
	return 0;
fail:
	config_free(c);
	return -1;
}

static void
stop(struct daemon *d)
{
	control_close(d->control);
	live_free(&d->live);
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
	struct mistakes m = { 0 };
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
	if (config_load(daemon_file(&d), &c, &m) != 0 || !daemon_groups(&d, c, &m)) {
		print_mistakes(&m);
		mistakes_free(&m);
		return 1;
	}
	if (o.check) {
		e = check(&d, c);
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
