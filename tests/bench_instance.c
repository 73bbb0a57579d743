/*
 * bench_instance.c - the real rationd in a directory of its own on a tmpfs: what is measured
 * is what is installed.  Ended by its process id.
 */
#include "bench.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define INSTANCES_MAX 4

static struct instance *running[INSTANCES_MAX];

static void
in_dir(const struct instance *in, const char *name, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/%s", in->dir, name);
}

static void
write_policy(const struct instance *in, const char *yaml)
{
	char path[128];
	FILE *fp;

	in_dir(in, "ration.yaml", path, sizeof(path));
	fp = fopen(path, "w");
	if (fp == NULL || fputs(yaml, fp) == EOF || fclose(fp) != 0)
		err(1, "%s", path);
}

/* The child: only async-signal-safe calls matter here, as nothing else runs in it. */
static void __attribute__((noreturn)) become_rationd(const struct instance *in, const char *notify)
{
	const char *program = getenv("RATIOND");
	char log[128], policy[128];
	int fd;

	in_dir(in, "rationd.log", log, sizeof(log));
	in_dir(in, "ration.yaml", policy, sizeof(policy));
	(void)setenv("NOTIFY_SOCKET", notify, 1);
	(void)unsetenv("RATION_INSTANCE");
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd != -1) {
		(void)dup2(fd, 1);
		(void)dup2(fd, 2);
	}
	if (program == NULL)
		program = RATIOND_PATH;
	(void)execl(program, "rationd", "--dir", in->dir, "-f", policy, (char *)NULL);
	_exit(127);
}

static void __attribute__((noreturn)) start_failed(struct instance *in)
{
	char path[128], line[512];
	FILE *fp;

	in_dir(in, "rationd.log", path, sizeof(path));
	fp = fopen(path, "r");
	while (fp != NULL && fgets(line, sizeof(line), fp) != NULL)
		(void)fputs(line, stderr);
	bench_fail(
	    "rationd did not start: %s is built by `ninja -C build`, or set RATIOND", RATIOND_PATH);
}

/* As systemd would: rationd says READY=1. */
static void
wait_ready(struct instance *in, int fd)
{
	char text[64];

	for (unsigned tries = 0; tries < 600; tries++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, 100) == 1 && recv(fd, text, sizeof(text), 0) > 0)
			return;
		if (waitpid(in->pid, NULL, WNOHANG) == in->pid) {
			in->pid = 0;
			break;
		}
	}
	start_failed(in);
}

void
instance_start(struct instance *in, const char *yaml)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)snprintf(in->dir, sizeof(in->dir), "/dev/shm/ration-bench.XXXXXX");
	in->control = -1;
	if (mkdtemp(in->dir) == NULL)
		err(1, "%s", in->dir);
	in_dir(in, "ready", sa.sun_path, sizeof(sa.sun_path));
	if (fd == -1 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		err(1, "%s", sa.sun_path);
	write_policy(in, yaml);
	for (unsigned i = 0; i < INSTANCES_MAX; i++)
		if (running[i] == NULL) {
			running[i] = in;
			break;
		}
	in->pid = fork();
	if (in->pid == -1)
		err(1, "fork");
	if (in->pid == 0)
		become_rationd(in, sa.sun_path);
	wait_ready(in, fd);
	(void)close(fd);
}

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
instance_stop(struct instance *in)
{
	if (in->control > 0)
		(void)close(in->control);
	in->control = -1;
	if (in->pid > 0) {
		(void)kill(in->pid, SIGTERM);
		(void)waitpid(in->pid, NULL, 0);
		in->pid = 0;
	}
	if (in->dir[0] != '\0')
		remove_dir(in->dir);
	in->dir[0] = '\0';
	for (unsigned i = 0; i < INSTANCES_MAX; i++)
		if (running[i] == in)
			running[i] = NULL;
}

void
instance_stop_all(void)
{
	for (unsigned i = 0; i < INSTANCES_MAX; i++)
		if (running[i] != NULL)
			instance_stop(running[i]);
}

/* ---- the control socket ---- */

static void
connect_control(struct instance *in)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	in_dir(in, "default.sock", sa.sun_path, sizeof(sa.sun_path));
	in->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (in->control == -1 || connect(in->control, (struct sockaddr *)&sa, sizeof(sa)) != 0)
		err(1, "%s", sa.sun_path);
}

void
instance_set(struct instance *in, const char *limit, const char *rates)
{
	char text[256], answer[4096];
	ssize_t n;
	size_t got = 0;

	if (in->control == -1)
		connect_control(in);
	(void)snprintf(text, sizeof(text),
	    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"set\",\"params\":{\"limit\":\"%s\","
	    "\"rates\":\"%s\"}}\n",
	    limit, rates);
	if (write(in->control, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "control socket");
	do {
		n = read(in->control, answer + got, sizeof(answer) - 1 - got);
		if (n <= 0)
			bench_fail("the control socket was closed");
		got += (size_t)n;
	} while (answer[got - 1] != '\n' && got < sizeof(answer) - 1);
	answer[got] = '\0';
	if (strstr(answer, "\"result\"") == NULL)
		bench_fail("set %s %s: %s", limit, rates, answer);
}

/* ---- figures ---- */

uint64_t
instance_bytes(const struct instance *in)
{
	char path[128];
	struct stat st;

	in_dir(in, "default.counters", path, sizeof(path));
	if (stat(path, &st) != 0)
		err(1, "%s", path);
	return (uint64_t)st.st_size;
}

const char *
instance_map(const struct instance *in, uint64_t *bytes)
{
	char path[128];
	void *map;
	int fd;

	*bytes = instance_bytes(in);
	in_dir(in, "default.counters", path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		err(1, "%s", path);
	map = mmap(NULL, *bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (map == MAP_FAILED)
		err(1, "%s", path);
	(void)close(fd);
	return map;
}

uint64_t
instance_resident(const struct instance *in)
{
	char path[64], line[256];
	uint64_t kb = 0, n;
	FILE *fp;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)in->pid);
	fp = fopen(path, "r");
	if (fp == NULL)
		err(1, "%s", path);
	while (fgets(line, sizeof(line), fp) != NULL)
		if (sscanf(line, "RssAnon: %" SCNu64, &n) == 1 ||
		    sscanf(line, "RssFile: %" SCNu64, &n) == 1)
			kb += n;
	(void)fclose(fp);
	return kb * 1024;
}

uint64_t
instance_cpu_ns(const struct instance *in)
{
	char path[64];
	uint64_t ns = 0;
	FILE *fp;

	(void)snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)in->pid);
	fp = fopen(path, "r");
	if (fp == NULL || fscanf(fp, "%" SCNu64, &ns) != 1)
		bench_fail("%s: cannot read", path);
	(void)fclose(fp);
	return ns;
}

ration_t *
instance_open(const struct instance *in)
{
	ration_t *r;
	int e = ration_open_dir(in->dir, "default", 0, &r);

	if (e != 0)
		bench_fail("ration_open: %s", ration_strerror(e));
	return r;
}
