#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tui.h"

#define PREFIX "ration-try."
#define ROOM_ENOUGH (UINT64_C(600) << 20)

volatile sig_atomic_t scratch_signal;

/* ---- children ---- */

pid_t
scratch_spawn(char *const *argv, int out)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t usual;
	pid_t pid;
	int e;

	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attr);
	(void)sigemptyset(&usual);
	(void)sigaddset(&usual, SIGPIPE);
	(void)posix_spawnattr_setsigdefault(&attr, &usual);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF);
	if (out != -1)
		(void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	e = posix_spawnp(&pid, argv[0], &actions, &attr, argv, environ);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	errno = e;
	return e == 0 ? pid : -1;
}

int
scratch_wait(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		if (scratch_signal != 0)
			(void)kill(pid, SIGTERM);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- signals ---- */

static void
on_signal(int sig)
{
	scratch_signal = sig;
}

/* Without SA_RESTART: a read that waits ends. */
static void
watch_signals(void)
{
	static const int signals[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction new = { .sa_handler = on_signal }, old;

	for (unsigned i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			(void)sigaction(signals[i], &new, NULL);
}

/* ---- rationd ---- */

/* $RATIOND, beside us, in a build tree, in PATH, or where daemons are. */
static bool
find_rationd(struct scratch *s)
{
	static const char *const beside[] = { "rationd", "../sbin/rationd", "../daemon/rationd" };
	static const char *const places[] = { "/usr/local/sbin", "/usr/sbin", "/sbin" };
	const char *env = getenv("RATIOND"), *path = getenv("PATH");
	char self[768], *slash, *list, *save = NULL;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	bool found = false;

	if (env != NULL && *env != '\0') {
		snprintf(s->rationd, sizeof(s->rationd), "%s", env);
		return access(s->rationd, X_OK) == 0;
	}
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	for (unsigned i = 0; slash != NULL && i < 3; i++) {
		snprintf(s->rationd, sizeof(s->rationd), "%.*s/%s", (int)(slash - self), self,
		    beside[i]);
		if (access(s->rationd, X_OK) == 0)
			return true;
	}
	list = strdup(path != NULL ? path : "");
	for (char *d = list ? strtok_r(list, ":", &save) : NULL; d && !found;
	     d = strtok_r(NULL, ":", &save)) {
		snprintf(s->rationd, sizeof(s->rationd), "%s/rationd", d);
		found = access(s->rationd, X_OK) == 0;
	}
	free(list);
	for (unsigned i = 0; i < 3 && !found; i++) {
		snprintf(s->rationd, sizeof(s->rationd), "%s/rationd", places[i]);
		found = access(s->rationd, X_OK) == 0;
	}
	return found;
}

int
scratch_make(struct scratch *s, int64_t at_s, uint64_t keys)
{
	char at[32], n[32];
	char *argv[] = { s->rationd, (char[]) { "--make" }, s->dir, (char[]) { "-f" },
		(char *)(uintptr_t)s->policy, (char[]) { "-i" }, (char[]) { "try" },
		(char[]) { "--at" }, at, (char[]) { "--keys" }, n, NULL };
	pid_t pid;
	int status;

	snprintf(at, sizeof(at), "%lld", (long long)at_s);
	snprintf(n, sizeof(n), "%llu", (unsigned long long)keys);
	pid = scratch_spawn(argv, -1);
	if (pid < 0) {
		complain("try: %s: cannot be run: %s", s->rationd, strerror(errno));
		return EXIT_SERVICE;
	}
	status = scratch_wait(pid);
	if (status == 0 || status == 1)
		return status == 0 ? EXIT_OK : EXIT_REFUSED;
	complain("try: %s --make ended with %d: is it of this version?", s->rationd, status);
	return EXIT_SERVICE;
}

/* ---- the directory ---- */

static void
remove_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
	(void)rmdir(path);
}

void
scratch_clear(const struct scratch *s)
{
	DIR *d = opendir(s->dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		(void)closedir(d);
}

/* The lock of a directory of ours; -1: somebody has it, or it is not ours. */
static int
lock_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

/* What was left behind by a SIGKILL. */
static void
tidy(const char *base)
{
	DIR *d = opendir(base);
	struct dirent *e;
	char path[512];

	while (d != NULL && (e = readdir(d)) != NULL) {
		int fd;

		if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0 ||
		    snprintf(path, sizeof(path), "%s/%s", base, e->d_name) >= (int)sizeof(path))
			continue;
		fd = lock_dir(path);
		if (fd == -1)
			continue;
		remove_dir(path);
		(void)close(fd);
	}
	if (d != NULL)
		(void)closedir(d);
}

/* Another command may tidy it up between its making and the lock. */
static bool
make_dir(struct scratch *s, const char *base)
{
	struct stat st;

	for (int tries = 0; tries < 8; tries++) {
		if (snprintf(s->dir, sizeof(s->dir), "%s/" PREFIX "XXXXXX", base) >=
		    (int)sizeof(s->dir))
			return false;
		if (mkdtemp(s->dir) == NULL)
			return false;
		s->lock = lock_dir(s->dir);
		if (s->lock != -1 && stat(s->dir, &st) == 0)
			return true;
		if (s->lock != -1)
			(void)close(s->lock);
	}
	return false;
}

static uint64_t
room_in(const char *path)
{
	struct statvfs v;

	return statvfs(path, &v) == 0 ? (uint64_t)v.f_bavail * v.f_frsize : 0;
}

uint64_t
scratch_room(const struct scratch *s)
{
	return room_in(s->dir);
}

/* Ours alone before everybody's, unless it is too small for what we may need. */
static void
find_bases(const char *bases[2])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR"), *shared = "/dev/shm";
	bool ours = runtime != NULL && runtime[0] == '/' &&
	    (room_in(runtime) >= ROOM_ENOUGH || room_in(runtime) >= room_in(shared));

	bases[0] = ours ? runtime : shared;
	bases[1] = ours ? shared : runtime != NULL && runtime[0] == '/' ? runtime : NULL;
}

int
scratch_open(struct scratch *s, const char *policy)
{
	const char *bases[2];

	memset(s, 0, sizeof(*s));
	s->lock = -1;
	s->policy = policy;
	if (!find_rationd(s)) {
		complain("try: no rationd beside ration or in PATH, which compiles the policy; "
			 "say where: RATIOND=/path/to/rationd");
		return EXIT_SERVICE;
	}
	watch_signals();
	find_bases(bases);
	for (unsigned i = 0; i < 2 && bases[i] != NULL; i++) {
		tidy(bases[i]);
		if (make_dir(s, bases[i]))
			return EXIT_OK;
	}
	complain(
	    "try: %s: no directory can be made for the segment: %s", bases[0], strerror(errno));
	s->dir[0] = '\0';
	return EXIT_SERVICE;
}

void
scratch_close(struct scratch *s)
{
	int sig = scratch_signal;

	if (s->dir[0] != '\0')
		remove_dir(s->dir);
	if (s->lock != -1)
		(void)close(s->lock);
	s->dir[0] = '\0';
	s->lock = -1;
	if (sig != 0) {
		(void)signal(sig, SIG_DFL);
		(void)raise(sig);
	}
}
