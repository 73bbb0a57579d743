/*
 * config_deliver.c - the section `deliver`: who is told of events: commands, webhooks.
 *
 * Secrets are in files of their own, so that a policy can be shown and committed.  They are read
 * when the policy is to be used, not when it is only looked at.
 */
#include "receiver.h"
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000)
#define HOUR (3600 * SECOND)
#define WORDS_MAX 64u
#define TEXT_MAX 2047u
#define AT_ONCE_MAX 64u

#define X(name) #name,
static const char *const names_receiver[] = { FIELDS_RECEIVER(X) };
static const char *const names_retry[] = { FIELDS_RETRY(X) };
static const char *const types[] = { EVENT_TYPES(X) };
#undef X
#define TYPES (sizeof(types) / sizeof(types[0]))

const struct fields fields_receiver = { "a receiver", names_receiver, RECEIVER_FIELDS };
const struct fields fields_retry = { "retry", names_retry, RETRY_FIELDS };

static void
get_ms(struct loader *l, const struct node *n, uint64_t min_ms, uint64_t max_ms, uint64_t *out)
{
	char err[256], min[32], max[32];
	uint64_t ns;

	if (!get_text(l, n, "a time such as 10s"))
		return;
	(void)duration_format(min_ms * MS, min, sizeof(min));
	(void)duration_format(max_ms * MS, max, sizeof(max));
	if (duration_parse(n->text, &ns, err, sizeof(err)) != 0)
		report_add(&l->r, n->mark, "%s", err);
	else if (ns < min_ms * MS || ns > max_ms * MS)
		report_add(&l->r, n->mark, "found %s, expected a time from %s to %s", shown_node(n),
		    min, max);
	else
		*out = ns / MS;
}

static void
get_command(struct loader *l, const struct node *n, struct receiver *r)
{
	const char **argv;
	uint32_t i = 0;

	if (n->kind != NODE_LIST || n->len == 0 || n->len > WORDS_MAX) {
		report_add(&l->r, n->mark,
		    "found %s, expected a list of 1 to %u words such as [/usr/local/bin/tell, "
		    "--quiet]: no shell reads it",
		    n->kind == NODE_LIST ? "another number of words" : shown_node(n), WORDS_MAX);
		return;
	}
	argv = arena_alloc(&l->c->arena, (n->len + 1) * sizeof(*argv));
	for (const struct node *w = n->first; w != NULL; w = w->next) {
		if (w->kind != NODE_SCALAR || w->len > TEXT_MAX ||
		    memchr(w->text, '\0', w->len) != NULL)
			report_add(&l->r, w->mark, "found %s, expected a word of up to %u bytes",
			    shown_node(w), TEXT_MAX);
		else if (w == n->first && w->text[0] != '/')
			report_add(&l->r, w->mark,
			    "found %s, expected the absolute path of a program", shown_node(w));
		else
			argv[i++] = w->text;
	}
	r->argv = argv;
}

static void
get_url(struct loader *l, const struct node *n, struct receiver *r)
{
	static const char expected[] = "a URL such as https://ops.example/ration";
	size_t scheme;

	if (!get_line(l, n, TEXT_MAX, expected))
		return;
	scheme = strncmp(n->text, "https://", 8) == 0 ? 8
	    : strncmp(n->text, "http://", 7) == 0     ? 7
						      : 0;
	if (scheme == 0 || n->text[scheme] == '\0' || strchr("/?#:", n->text[scheme]) != NULL ||
	    strchr(n->text, ' ') != NULL)
		report_add(&l->r, n->mark, "found %s, expected %s", shown_node(n), expected);
	else
		r->url = n->text;
}

static void
get_only(struct loader *l, const struct node *n, struct receiver *r)
{
	unsigned type;

	if (n->kind != NODE_LIST || n->len == 0) {
		report_add(&l->r, n->mark,
		    "found %s, expected a list such as [threshold, reminder]",
		    n->kind == NODE_LIST ? "an empty list" : shown_node(n));
		return;
	}
	for (const struct node *t = n->first; t != NULL; t = t->next)
		if (get_choice(l, t, types, TYPES, &type))
			r->types |= UINT64_C(1) << type;
}

static void
get_retry(struct loader *l, const struct node *n, struct receiver *r)
{
	const struct node *got[FIELDS_MAX];

	if (!walk(l, n, &fields_retry, got))
		return;
	if (got[RETRY_first] != NULL)
		get_ms(l, got[RETRY_first]->next, 10, HOUR, &r->first_ms);
	if (got[RETRY_most] != NULL)
		get_ms(l, got[RETRY_most]->next, 10, 24 * HOUR, &r->most_ms);
	if (got[RETRY_give_up] != NULL)
		get_ms(l, got[RETRY_give_up]->next, SECOND, 31 * 24 * HOUR, &r->give_up_ms);
	if (r->most_ms < r->first_ms)
		report_add(&l->r, n->mark,
		    "found a longest wait that is shorter than the first, expected first up to "
		    "most");
}

/* What goes with a command, and what with a webhook. */
static void
check_kind(struct loader *l, const struct node *item, const struct node *const *got)
{
	const struct node *command = got[RECEIVER_command], *webhook = got[RECEIVER_webhook];

	if (command == NULL && webhook == NULL)
		report_add(&l->r, item->mark,
		    "found a receiver without command and webhook, "
		    "expected one of them");
	else if (command != NULL && webhook != NULL)
		report_add(
		    &l->r, webhook->mark, "found a webhook beside a command, expected one of them");
	else if (command != NULL && got[RECEIVER_secret_file] != NULL)
		report_add(&l->r, got[RECEIVER_secret_file]->mark,
		    "found a secret for a command, expected one for a webhook alone: what a "
		    "command reads comes from rationd");
}

static void
get_details(struct loader *l, const struct node *const *got, struct receiver *r)
{
	uint64_t v;

	if (got[RECEIVER_timeout] != NULL)
		get_ms(l, got[RECEIVER_timeout]->next, 100, HOUR, &r->timeout_ms);
	if (got[RECEIVER_at_once] != NULL &&
	    get_quantity(l, got[RECEIVER_at_once]->next, 1, AT_ONCE_MAX, &v))
		r->at_once = (uint32_t)v;
	if (got[RECEIVER_only] != NULL)
		get_only(l, got[RECEIVER_only]->next, r);
	if (got[RECEIVER_retry] != NULL)
		get_retry(l, got[RECEIVER_retry]->next, r);
	if (got[RECEIVER_queue] != NULL)
		get_quantity(l, got[RECEIVER_queue]->next, 1, RECEIVER_QUEUE_MAX, &r->queue);
}

/* Its name, unlike the others'. */
static bool
get_receiver_name(struct loader *l, const struct node *item, const struct node *name)
{
	struct config *c = l->c;
	char place[256];

	if (name == NULL) {
		report_add(
		    &l->r, item->mark, "found a receiver without a name, expected name: ...");
		return false;
	}
	if (!get_name(l, name->next, RECEIVER_NAME_MAX, "a receiver's name"))
		return false;
	for (unsigned i = 0; i < c->nreceivers; i++) {
		if (strcmp(c->receivers[i].name, name->next->text) != 0)
			continue;
		report_add(&l->r, name->next->mark,
		    "found the receiver %s again, expected each name once (first at %s)",
		    shown_node(name->next),
		    config_place(c, c->receiver_marks[i].name, place, sizeof(place)));
		return false;
	}
	return true;
}

static void
read_receiver(struct loader *l, const struct node *item)
{
	const struct node *got[FIELDS_MAX];
	struct config *c = l->c;
	struct receiver *r = &c->receivers[c->nreceivers];
	struct receiver_marks *marks = &c->receiver_marks[c->nreceivers];

	bool named;

	if (!walk(l, item, &fields_receiver, got))
		return;
	/* Also without a name of its own all its mistakes are said. */
	named = get_receiver_name(l, item, got[RECEIVER_name]);
	*r = (struct receiver) { .name = named ? got[RECEIVER_name]->next->text : NULL,
		.timeout_ms = 10 * SECOND,
		.at_once = got[RECEIVER_command] != NULL ? 2 : 1,
		.first_ms = SECOND,
		.most_ms = 600 * SECOND,
		.give_up_ms = 72 * HOUR,
		.queue = 100000 };
	*marks =
	    (struct receiver_marks) { .name = named ? got[RECEIVER_name]->next->mark : item->mark };
	check_kind(l, item, got);
	if (got[RECEIVER_command] != NULL)
		get_command(l, got[RECEIVER_command]->next, r);
	if (got[RECEIVER_webhook] != NULL)
		get_url(l, got[RECEIVER_webhook]->next, r);
	if (got[RECEIVER_secret_file] != NULL &&
	    get_line(l, got[RECEIVER_secret_file]->next, TEXT_MAX, "the path of a file")) {
		marks->secret_file = got[RECEIVER_secret_file]->next->text;
		marks->secret = got[RECEIVER_secret_file]->next->mark;
	}
	get_details(l, got, r);
	if (named)
		c->nreceivers++;
}

void
read_deliver(struct loader *l, const struct node *key)
{
	const struct node *list = key->next;

	if (list->kind != NODE_LIST) {
		report_add(&l->r, list->mark,
		    "found %s, expected a list of receivers such as [{name: ops, command: "
		    "[/usr/local/bin/tell]}]",
		    shown_node(list));
		return;
	}
	for (const struct node *n = list->first; n != NULL; n = n->next) {
		if (l->c->nreceivers == RECEIVERS_MAX) {
			report_add(&l->r, n->mark, "found one more receiver, expected at most %u",
			    RECEIVERS_MAX);
			return;
		}
		read_receiver(l, n);
	}
}

/* ---- secrets ---- */

/* Path of a file that is named relative to the one in which it is named. */
static void
beside(const struct config *c, const struct receiver_marks *m, char *out, size_t size)
{
	const char *policy = c->paths[m->secret.file], *slash = strrchr(policy, '/');

	if (m->secret_file[0] == '/' || slash == NULL)
		(void)snprintf(out, size, "%s", m->secret_file);
	else
		(void)snprintf(out, size, "%.*s/%s", (int)(slash - policy), policy, m->secret_file);
}

/* How many bytes the secret has; 0, with what is wrong. */
static size_t
slurp_secret(const char *path, unsigned char secret[SECRET_MAX + 2], char *err, size_t errsize)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t n;

	if (fd == -1 || fstat(fd, &st) != 0) {
		(void)snprintf(err, errsize, "%s", strerror(errno));
		n = -1;
	} else if (!S_ISREG(st.st_mode)) {
		(void)snprintf(err, errsize, "not a regular file");
		n = -1;
	} else if ((st.st_mode & S_IRWXO) != 0) {
		(void)snprintf(
		    err, errsize, "mode %04o, open to everybody", (unsigned)(st.st_mode & 07777));
		n = -1;
	} else {
		n = read(fd, secret, SECRET_MAX + 2);
		if (n > 0 && secret[n - 1] == '\n')
			n--; /* an editor's, or echo's */
		if (n < (ssize_t)SECRET_MIN || n > (ssize_t)SECRET_MAX) {
			(void)snprintf(err, errsize, "%zd bytes", n < 0 ? 0 : n);
			n = -1;
		}
	}
	if (fd != -1)
		(void)close(fd);
	return n > 0 ? (size_t)n : 0;
}

bool
config_secrets(struct config *c, struct mistakes *m)
{
	unsigned char secret[SECRET_MAX + 2];
	char path[PATH_MAX], why[128], place[PATH_MAX + 32];
	bool ok = true;

	for (unsigned i = 0; i < c->nreceivers; i++) {
		const struct receiver_marks *marks = &c->receiver_marks[i];
		struct receiver *r = &c->receivers[i];

		if (marks->secret_file == NULL)
			continue;
		beside(c, marks, path, sizeof(path));
		r->secret_len = slurp_secret(path, secret, why, sizeof(why));
		if (r->secret_len > 0) {
			r->secret = (unsigned char *)arena_copy(&c->arena, secret, r->secret_len);
			continue;
		}
		(void)snprintf(place, sizeof(place), "%s:%u:%u", c->paths[marks->secret.file],
		    marks->secret.line, marks->secret.column);
		mistakes_add(m,
		    "%s: found the secret file %s (%s), expected a regular file of %u to %u "
		    "bytes that others cannot read",
		    place, path, why, SECRET_MIN, SECRET_MAX);
		ok = false;
	}
	explicit_bzero(secret, sizeof(secret));
	return ok;
}

/* ---- for the rest of rationd ---- */

const struct receiver *
config_receivers(const struct config *c, unsigned *n)
{
	*n = c->nreceivers;
	return c->receivers;
}

uint64_t
deliver_receivers(const struct config *c, const char *type)
{
	uint64_t mask = 0, bit = 0;

	for (unsigned i = 0; i < TYPES; i++)
		if (strcmp(types[i], type) == 0)
			bit = UINT64_C(1) << i;
	for (unsigned i = 0; i < c->nreceivers; i++)
		if (c->receivers[i].types == 0 || (c->receivers[i].types & bit) != 0)
			mask |= UINT64_C(1) << i;
	return mask;
}
