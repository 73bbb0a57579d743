#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is passed on; SIGKILL and SIGSTOP cannot be, the others of job control are ours. */
static const int passed[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2 };

static sigset_t
waited_for(void)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
		(void)sigaddset(&set, passed[i]);
	return set;
}

/* In the child.  Its parent may have ended before the kernel was told. */
static _Noreturn void
become(char *const *argv, pid_t parent, const sigset_t *mask, int report)
{
	int e;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent) {
		(void)sigprocmask(SIG_SETMASK, mask, NULL);
		(void)execvp(argv[0], argv);
	}
	e = errno;
	(void)!write(report, &e, sizeof(e));
	_exit(EXIT_NOT_FOUND);
}

bool
child_start(struct child *c, char *const *argv)
{
	sigset_t set = waited_for(), mask;
	pid_t parent = getpid();
	int fds[2], status;
	ssize_t n;

	c->error = 0;
	if (pipe2(fds, O_CLOEXEC) != 0) {
		c->error = errno;
		return false;
	}
	/* An ignored SIGCHLD would take its status away. */
	(void)signal(SIGCHLD, SIG_DFL);
	(void)sigprocmask(SIG_BLOCK, &set, &mask);
	c->pid = fork();
	if (c->pid == 0)
		become(argv, parent, &mask, fds[1]);
	if (c->pid < 0)
		c->error = errno;
	(void)close(fds[1]);
	/* The other end is closed by exec, or tells why there was none. */
	do
		n = read(fds[0], &c->error, sizeof(c->error));
	while (n < 0 && errno == EINTR);
	(void)close(fds[0]);
	if (c->pid > 0 && c->error != 0)
		(void)waitpid(c->pid, &status, 0);
	if (c->error != 0)
		(void)sigprocmask(SIG_SETMASK, &mask, NULL);
	return c->error == 0;
}

/* What remains until a time; for ever: a day, after which it is asked again. */
static struct timespec
remains(uint64_t until_ns)
{
	struct timespec t;
	uint64_t now;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
	if (until_ns == 0)
		return (struct timespec) { .tv_sec = 86400 };
	if (until_ns <= now)
		return (struct timespec) { 0 };
	return (struct timespec) { .tv_sec = (time_t)((until_ns - now) / 1000000000),
		.tv_nsec = (long)((until_ns - now) % 1000000000) };
}

/* A key of the terminal reached the child as well: it is of our process group. */
static bool
from_terminal(const siginfo_t *info)
{
	return info->si_code == SI_KERNEL;
}

int
child_wait(struct child *c, uint64_t until_ns)
{
	sigset_t set = waited_for();
	int status;

	while (waitpid(c->pid, &status, WNOHANG) == 0) {
		struct timespec left = remains(until_ns);
		siginfo_t info;
		int sig = sigtimedwait(&set, &info, &left);

		if (sig == -1 && errno == EAGAIN && until_ns != 0) {
			(void)kill(c->pid, SIGKILL);
			until_ns = 0;
		} else if (sig > 0 && sig != SIGCHLD && !from_terminal(&info)) {
			(void)kill(c->pid, sig);
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
