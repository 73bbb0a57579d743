/*
 * data.c - see data.h.
 *
 * Copyright (c) 2026 The Ration authors.  ISC licence, see LICENSE.
 */
#include "data.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <event2/http.h>

struct data {
	json_t *root, *keys, *endpoints;
};

struct data *
data_load(const char *file)
{
	struct data *data = calloc(1, sizeof(*data));
	json_error_t e;

	if (!data)
		return NULL;
	data->root = json_load_file(file, JSON_REJECT_DUPLICATES, &e);
	if (!data->root) {
		fprintf(stderr, "api-server: %s:%d:%d: %s\n", file, e.line, e.column, e.text);
		goto fail;
	}
	data->keys = json_object_get(data->root, "keys");
	data->endpoints = json_object_get(data->root, "endpoints");
	if (!data->keys || !json_is_object(data->endpoints) || !data_name(data)) {
		fprintf(stderr, "api-server: %s: expected name, keys and endpoints\n", file);
		goto fail;
	}
	return data;
fail:
	data_free(data);
	return NULL;
}

void
data_free(struct data *data)
{
	if (data)
		json_decref(data->root);
	free(data);
}

const char *
data_name(const struct data *data)
{
	return json_string_value(json_object_get(data->root, "name"));
}

const json_t *
data_body(const struct data *data, const char *name)
{
	return json_object_get(data->root, name);
}

const char *
data_account(const struct data *data, const char *api_key)
{
	if (json_is_string(data->keys)) /* "any" */
		return api_key;
	return json_string_value(json_object_get(data->keys, api_key));
}

#define PARTS_MAX 16u

struct parts {
	size_t n;
	char *text[PARTS_MAX];
};

static void
parts_free(struct parts *p)
{
	while (p->n > 0)
		free(p->text[--p->n]);
}

/*
 * The segments of a path, each %-decoded by itself ("%2F" is no slash).  False: one that no
 * endpoint has.  "." and ".." are refused: libration resolves them, so a service that took ".." for
 * a name would do what it did not count.
 */
static bool
parts_of(const char *path, struct parts *p)
{
	char *copy = strdup(path), *rest = copy, *segment;
	bool good = copy != NULL;

	p->n = 0;
	while (good && (segment = strsep(&rest, "/"))) {
		size_t len;

		if (!*segment)
			continue;
		good = p->n < PARTS_MAX && (p->text[p->n] = evhttp_uridecode(segment, 0, &len));
		if (!good)
			break;
		segment = p->text[p->n++];
		good = strlen(segment) == len && strcmp(segment, ".") != 0 &&
		    strcmp(segment, "..") != 0;
	}
	free(copy);
	return good;
}

/* Does a path fit a pattern ("/boletos/:id", a last "*" for all)?  Its parts go to vars. */
static bool
fits(const struct parts *pattern, const struct parts *path, json_t *vars)
{
	for (size_t i = 0; i < pattern->n; i++) {
		const char *p = pattern->text[i];

		if (strcmp(p, "*") == 0)
			return true;
		if (i == path->n || (*p != ':' && strcmp(p, path->text[i]) != 0))
			return false;
		if (*p == ':')
			json_object_set_new(vars, p + 1, json_string(path->text[i]));
	}
	return pattern->n == path->n;
}

const json_t *
data_endpoint(const struct data *data, const char *method, const char *path, json_t *vars)
{
	struct parts parts, pattern;
	const json_t *found = NULL;
	const char *name;
	json_t *endpoint;
	bool good = parts_of(path, &parts);

	json_object_foreach(data->endpoints, name, endpoint)
	{
		size_t n = strcspn(name, " ");

		if (!good ||
		    (name[0] != '*' && (strlen(method) != n || strncmp(method, name, n) != 0)))
			continue;
		if (parts_of(name + n + 1, &pattern) && fits(&pattern, &parts, vars))
			found = endpoint;
		parts_free(&pattern);
		if (found)
			break;
	}
	parts_free(&parts);
	return found;
}

/* A copy of the template with its variables put in; NULL: no memory. */
static json_t *
filled(const json_t *template, const json_t *vars)
{
	const char *text = json_string_value(template), *name;
	json_t *copy, *member;
	size_t i;

	if (text && text[0] == ':' && json_object_get(vars, text + 1))
		return json_incref(json_object_get(vars, text + 1));
	copy = json_copy((json_t *)template);
	json_object_foreach((json_t *)template, name, member)
	    json_object_set_new(copy, name, filled(member, vars));
	json_array_foreach(template, i, member) json_array_set_new(copy, i, filled(member, vars));
	return copy;
}

char *
data_fill(const json_t *body, const json_t *vars)
{
	json_t *json = filled(body, vars);
	char *text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(json);
	return text;
}

void
data_id(char id[DATA_ID_MAX], const char *prefix)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz012345";
	unsigned char bytes[12] = { 0 };
	size_t n = (size_t)snprintf(id, DATA_ID_MAX, "%.10s", prefix);

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		abort(); /* an id that can be guessed is worse than none */
	for (size_t i = 0; i < sizeof(bytes); i++)
		id[n++] = letters[bytes[i] % 32];
	id[n] = '\0';
}

/* ---- Sessions ---- */

#define SESSIONS_EACH 256u /* of a worker */

struct session {
	char id[DATA_ID_MAX]; /* "": none */
	char account[SESSION_ACCOUNT_MAX];
	ration_lease_t lease; /* plain data: whichever worker is asked may give it back */
};

static struct sessions {
	pthread_mutex_t lock;
	size_t n;
	struct session each[];
} * sessions;

bool
sessions_create(unsigned workers)
{
	size_t n = (size_t)workers * SESSIONS_EACH;
	pthread_mutexattr_t attr;

	sessions = mmap(NULL, sizeof(*sessions) + n * sizeof(struct session),
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sessions == MAP_FAILED)
		return false;
	sessions->n = n;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	return pthread_mutex_init(&sessions->lock, &attr) == 0;
}

static void
sessions_lock(void)
{
	if (pthread_mutex_lock(&sessions->lock) == EOWNERDEAD) /* at worst a session half made */
		pthread_mutex_consistent(&sessions->lock);
}

void
sessions_clear(unsigned worker)
{
	sessions_lock();
	memset(&sessions->each[worker * SESSIONS_EACH], 0, SESSIONS_EACH * sizeof(struct session));
	pthread_mutex_unlock(&sessions->lock);
}

bool
session_add(unsigned worker, const char *id, const char *account, const ration_lease_t *lease)
{
	struct session *s = &sessions->each[worker * SESSIONS_EACH], *end = s + SESSIONS_EACH;
	bool room;

	sessions_lock();
	while (s < end && s->id[0])
		s++;
	room = s < end && strlen(account) < SESSION_ACCOUNT_MAX;
	if (room) {
		s->lease = *lease;
		snprintf(s->account, sizeof(s->account), "%s", account);
		snprintf(s->id, sizeof(s->id), "%s", id);
	}
	pthread_mutex_unlock(&sessions->lock);
	return room;
}

bool
session_take(const char *id, const char *account, ration_lease_t *lease)
{
	bool found = false;

	sessions_lock();
	for (size_t i = 0; i < sessions->n && *id && !found; i++) {
		struct session *s = &sessions->each[i];

		found = strcmp(s->id, id) == 0 && strcmp(s->account, account) == 0;
		if (found) {
			*lease = s->lease;
			s->id[0] = '\0';
		}
	}
	pthread_mutex_unlock(&sessions->lock);
	return found;
}
