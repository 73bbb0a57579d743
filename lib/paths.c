/*
 * paths.c - where an instance lies.
 *
 *	one directory ($RATION_DIR, --dir, or an ordinary user's):  DIR/INSTANCE.counters ...
 *	the system's (root):  /dev/shm/ration-INSTANCE.counters, /run/ration/INSTANCE.sock
 */
#include "segment.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SYSTEM_SHM "/dev/shm"
#define SYSTEM_RUN "/run/ration"
#define SYSTEM_STATE "/var/lib/ration"
#define SYSTEM_CONFIG "/etc/ration/ration.yaml"

static bool
instance_valid(const char *s)
{
	size_t n = strlen(s);

	return n >= 1 && n <= 32 && s[0] != '.' &&
	    strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool
put(char *dst, size_t size, const char *fmt, const char *a, const char *b)
{
	int n;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" /* the formats stand below */
	n = snprintf(dst, size, fmt, a, b);
#pragma GCC diagnostic pop
	return n >= 0 && (size_t)n < size;
}

/* Everything in one directory. */
static int
in_directory(struct paths *p, const char *dir)
{
	const char *i = p->instance;
	bool ok = put(p->shm_dir, sizeof(p->shm_dir), "%s%s", dir, "") &&
	    put(p->run_dir, sizeof(p->run_dir), "%s%s", dir, "") &&
	    put(p->counters, sizeof(p->counters), "%s/%s.counters", dir, i) &&
	    put(p->policy, sizeof(p->policy), "%s/%s.policy", dir, i) &&
	    put(p->side, sizeof(p->side), "%s/%s.side", dir, i) &&
	    put(p->recorded, sizeof(p->recorded), "%s/%s.recorded", dir, i) &&
	    put(p->lock, sizeof(p->lock), "%s/%s.lock", dir, i) &&
	    put(p->holders, sizeof(p->holders), "%s/%s.holders", dir, i) &&
	    put(p->socket, sizeof(p->socket), "%s/%s.sock", dir, i) &&
	    put(p->state, sizeof(p->state), "%s/%s.db", dir, i) &&
	    put(p->config, sizeof(p->config), "%s%s", dir, "/ration.yaml");

	return ok ? 0 : RATION_EINVAL;
}

static int
in_system(struct paths *p)
{
	const char *i = p->instance;
	bool ok = put(p->shm_dir, sizeof(p->shm_dir), "%s%s", SYSTEM_SHM, "") &&
	    put(p->run_dir, sizeof(p->run_dir), "%s%s", SYSTEM_RUN, "") &&
	    put(p->counters, sizeof(p->counters), SYSTEM_SHM "/ration-%s.counters%s", i, "") &&
	    put(p->policy, sizeof(p->policy), SYSTEM_SHM "/ration-%s.policy%s", i, "") &&
	    put(p->side, sizeof(p->side), SYSTEM_SHM "/ration-%s.side%s", i, "") &&
	    put(p->recorded, sizeof(p->recorded), SYSTEM_SHM "/ration-%s.recorded%s", i, "") &&
	    put(p->lock, sizeof(p->lock), "%s/%s.lock", SYSTEM_RUN, i) &&
	    put(p->holders, sizeof(p->holders), SYSTEM_SHM "/ration-%s.holders%s", i, "") &&
	    put(p->socket, sizeof(p->socket), "%s/%s.sock", SYSTEM_RUN, i) &&
	    put(p->state, sizeof(p->state), "%s/%s.db", SYSTEM_STATE, i) &&
	    put(p->config, sizeof(p->config), "%s%s", SYSTEM_CONFIG, "");

	return ok ? 0 : RATION_EINVAL;
}

/* An ordinary user's: objects under $XDG_RUNTIME_DIR, state and policy in the home. */
static int
in_home(struct paths *p, const char *runtime)
{
	const char *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME"),
		   *config = getenv("XDG_CONFIG_HOME");
	char dir[1000], base[1000];
	int e;

	if (!put(dir, sizeof(dir), "%s%s", runtime, "/ration"))
		return RATION_EINVAL;
	e = in_directory(p, dir);
	if (e != 0 || home == NULL)
		return e;
	if (!put(base, sizeof(base), "%s%s", state != NULL && *state == '/' ? state : home,
		state != NULL && *state == '/' ? "/ration" : "/.local/state/ration") ||
	    !put(p->state, sizeof(p->state), "%s/%s.db", base, p->instance))
		return RATION_EINVAL;
	if (!put(p->config, sizeof(p->config), "%s%s",
		config != NULL && *config == '/' ? config : home,
		config != NULL && *config == '/' ? "/ration/ration.yaml"
						 : "/.config/ration/ration.yaml"))
		return RATION_EINVAL;
	return 0;
}

int
paths_find(const char *instance, const char *dir, bool create, struct paths *out)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int e;

	memset(out, 0, sizeof(*out));
	if (instance == NULL)
		instance = getenv("RATION_INSTANCE");
	if (instance == NULL || *instance == '\0')
		instance = "default";
	if (!instance_valid(instance))
		return RATION_EINVAL;
	memcpy(out->instance, instance, strlen(instance) + 1);
	if (dir == NULL)
		dir = getenv("RATION_DIR");
	if (dir != NULL && *dir != '\0')
		return in_directory(out, dir);
	if (geteuid() == 0 || runtime == NULL || *runtime != '/')
		return in_system(out);
	e = in_home(out, runtime);
	if (e != 0 || create || access(out->counters, F_OK) == 0)
		return e;
	return in_system(out);
}
