/*
 * place.c - where rationd lives: directories, lock, groups, the service manager.
 */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

/*
 * A group by the name that the files give, else the default one if it exists.  An ordinary
 * user can hand files only to groups of its own.
 */
static bool
find_group(const struct config *c, bool is_admin, gid_t *out, struct mistakes *m)
{
	const char *name = is_admin ? config_admin_group(c) : config_group(c);
	const char *fallback = is_admin ? "ration-admin" : "ration";
	const struct group *g = getgrnam(name != NULL ? name : fallback);

	*out = (gid_t)-1;
	if (g != NULL && (name != NULL || geteuid() == 0 || group_member(g->gr_gid)))
		*out = g->gr_gid;
	if (g == NULL && name != NULL)
		config_group_mistake(c, is_admin, "a group of this system", m);
	return g != NULL || name == NULL;
}

bool
daemon_groups(struct daemon *d, const struct config *c, struct mistakes *m)
{
	gid_t group, admin;
	bool ok = find_group(c, false, &group, m);

	ok = find_group(c, true, &admin, m) && ok;
	if (ok) {
		d->group = group;
		d->admin_group = admin;
	}
	return ok;
}

/* A directory that a stranger could write to is no place for a segment. */
int
place_dir(const char *path, mode_t mode)
{
	struct stat st;

	if (mkdir(path, mode) != 0 && errno != EEXIST) {
		log_error("%s: cannot create: %s%s", path, strerror(errno),
		    geteuid() == 0 ? ""
				   : "; an ordinary user's instance takes $XDG_RUNTIME_DIR or "
				     "--dir");
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
int
place_state_dir(const char *state)
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
	return place_dir(dir, 0700);
}

/*
 * The lock is the process's, not the file's: it is gone when rationd is, however it
 * ended.  Clients hold read locks on other bytes.
 */
int
place_lock(struct daemon *d)
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

void
place_lock_group(const struct daemon *d)
{
	if ((d->group != (gid_t)-1 && fchown(d->lock, (uid_t)-1, d->group) != 0) ||
	    fchmod(d->lock, 0640) != 0)
		log_warn("%s: cannot set group or mode: %s", d->paths.lock, strerror(errno));
}

/* sd_notify(3), without the library. */
void
place_notify_ready(void)
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
