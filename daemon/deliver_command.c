/*
 * deliver_command.c - an admin's command is run with an event on its standard input.
 *
 * No shell; nothing of rationd's but its user: no descriptor, no signal that is ignored or
 * blocked, a small environment, "/" as the directory.  The object is in a file in memory, so that a
 * command that reads slowly, or not at all, holds nobody up.  It is a process group of its own,
 * and killed as a group when it overruns: before the leader has been waited for, so that the
 * group's number cannot be anybody else's.
 */
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "segment.h"

#define ENV_TEXT 1088

struct run {
	struct sending s;
	uint64_t timeout_ms;
	pid_t pid;
	int pidfd;
	bool overran;
	struct event *end;
};

static void
run_free(struct run *r)
{
	if (r->end != NULL)
		event_free(r->end);
	if (r->pidfd != -1)
		(void)close(r->pidfd);
	free(r);
}

/* One object and a newline, to be read from the start; -1. */
static int
input(const char *body)
{
	int fd = memfd_create("event", MFD_CLOEXEC);
	size_t len = strlen(body);

	if (fd == -1)
		return -1;
	if (write(fd, body, len) != (ssize_t)len || write(fd, "\n", 1) != 1 ||
	    lseek(fd, 0, SEEK_SET) != 0) {
		(void)close(fd);
		errno = ENOSPC;
		return -1;
	}
	return fd;
}

/* Signals as a new session has them; descriptors 0 to 2, and no other. */
static int
prepare(posix_spawnattr_t *attr, posix_spawn_file_actions_t *files, int in)
{
	sigset_t none, all;

	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	if (posix_spawnattr_setflags(attr,
		POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) != 0 ||
	    posix_spawnattr_setpgroup(attr, 0) != 0 ||
	    posix_spawnattr_setsigmask(attr, &none) != 0 ||
	    posix_spawnattr_setsigdefault(attr, &all) != 0)
		return -1;
	return posix_spawn_file_actions_adddup2(files, in, STDIN_FILENO) != 0 ||
		posix_spawn_file_actions_addopen(files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) !=
		    0 ||
		posix_spawn_file_actions_adddup2(files, STDOUT_FILENO, STDERR_FILENO) != 0 ||
		posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1) != 0 ||
		posix_spawn_file_actions_addchdir_np(files, "/") != 0
	    ? -1
	    : 0;
}

/* 0 or an errno. */
static int
spawn(const struct sending *s, int in, pid_t *pid)
{
	char id[EVENT_ID_TEXT + 16], tries[32], instance[ENV_TEXT], dir[ENV_TEXT];
	char *env[] = { (char[]) {
			    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
		id, tries, instance, NULL, NULL };
	posix_spawnattr_t attr;
	posix_spawn_file_actions_t files;
	int e;

	(void)snprintf(id, sizeof(id), "RATION_EVENT=%s", s->delivery->uid);
	(void)snprintf(tries, sizeof(tries), "RATION_TRIES=%u", s->delivery->tries);
	(void)snprintf(instance, sizeof(instance), "RATION_INSTANCE=%s", s->paths->instance);
	/* Everything in one directory: so that the command may ask `ration` about this instance. */
	if (strcmp(s->paths->shm_dir, s->paths->run_dir) == 0) {
		(void)snprintf(dir, sizeof(dir), "RATION_DIR=%s", s->paths->run_dir);
		env[4] = dir;
	}
	if (posix_spawnattr_init(&attr) != 0)
		return ENOMEM;
	if (posix_spawn_file_actions_init(&files) != 0) {
		(void)posix_spawnattr_destroy(&attr);
		return ENOMEM;
	}
	e = prepare(&attr, &files, in) != 0 ? ENOMEM
					    : posix_spawn(pid, s->receiver->argv[0], &files, &attr,
						  (char **)(uintptr_t)s->receiver->argv, env);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attr);
	return e;
}

static void
describe(const struct run *r, const siginfo_t *info, struct outcome *o)
{
	if (r->overran)
		(void)snprintf(o->error, sizeof(o->error), "overran its %llu.%llu s, killed",
		    (unsigned long long)r->timeout_ms / 1000,
		    (unsigned long long)r->timeout_ms % 1000 / 100);
	else if (info->si_code == CLD_EXITED)
		(void)snprintf(o->error, sizeof(o->error), "ended with status %d", info->si_status);
	else
		(void)snprintf(o->error, sizeof(o->error), "ended by signal %d", info->si_status);
}

static void
on_end(evutil_socket_t fd, short what, void *arg)
{
	struct run *r = arg;
	struct outcome o = { .delivered = false };
	siginfo_t info = { .si_pid = 0 };

	if ((what & EV_TIMEOUT) != 0) {
		r->overran = true;
		(void)kill(-r->pid, SIGKILL);
		(void)event_add(r->end, NULL);
		return;
	}
	/* Not waited for yet: what is left of its group after an overrun goes with it. */
	if (r->overran)
		(void)kill(-r->pid, SIGKILL);
	if (waitid(P_PIDFD, (id_t)r->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0) {
		(void)event_add(r->end, NULL);
		return;
	}
	o.delivered = !r->overran && info.si_code == CLD_EXITED && info.si_status == 0;
	if (!o.delivered)
		describe(r, &info, &o);
	r->s.ended(r->s.arg, &o);
	run_free(r);
}

static void
kill_and_wait(pid_t pid)
{
	(void)kill(-pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
}

struct run *
run_start(const struct sending *s, struct outcome *out)
{
	struct run *r = calloc(1, sizeof(*r));
	struct timeval most = { (time_t)(s->receiver->timeout_ms / 1000),
		(suseconds_t)(s->receiver->timeout_ms % 1000 * 1000) };
	int in = r != NULL ? input(s->delivery->body) : -1;
	int e = r == NULL ? ENOMEM : in == -1 ? errno : spawn(s, in, &r->pid);

	if (in != -1)
		(void)close(in);
	if (e != 0) {
		(void)snprintf(out->error, sizeof(out->error), "cannot be run: %s", strerror(e));
		free(r);
		return NULL;
	}
	r->s = *s;
	r->timeout_ms = s->receiver->timeout_ms;
	r->pidfd = pidfd_open(r->pid, 0);
	r->end = r->pidfd != -1 ? event_new(s->base, r->pidfd, EV_READ, on_end, r) : NULL;
	if (r->end == NULL || event_add(r->end, &most) != 0) {
		(void)snprintf(
		    out->error, sizeof(out->error), "cannot be watched: %s", strerror(errno));
		kill_and_wait(r->pid);
		run_free(r);
		return NULL;
	}
	return r;
}

void
run_cancel(struct run *r)
{
	kill_and_wait(r->pid);
	run_free(r);
}
