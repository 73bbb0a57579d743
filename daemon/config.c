/*
 * config.c - the policy file and conf.d/ into a model.
 *
 * All files are parsed first; then each section is read over all files, in the order in
 * which they need each other (plans before limits before overrides), so that it does
 * not matter which file names what.  A file that is not YAML ends it there:
 * without its names the rest would only complain of what is missing.
 */
#include "config.h"
#include "load.h"
#include "zones.h"

#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_KEYS UINT64_C(65536)
#define DEFAULT_IDLE_NS (UINT64_C(600) * 1000000000)
#define IDLE_MAX_NS (UINT64_C(31) * 86400 * 1000000000)
#define POLICY_DEFAULT_MIN (UINT64_C(4) << 20)
#define GROUP_NAME_MAX 32

#define X(name) #name,
static const char *const names_top[] = { FIELDS_TOP(X) };
static const char *const names_table[] = { FIELDS_TABLE(X) };
static const char *const names_defaults[] = { FIELDS_DEFAULTS(X) };
static const char *const names_limit[] = { FIELDS_LIMIT(X) };
static const char *const names_key[] = { FIELDS_KEY(X) };
static const char *const names_exempt[] = { FIELDS_EXEMPT(X) };
static const char *const names_claim[] = { FIELDS_CLAIM(X) };
static const char *const names_assign[] = { FIELDS_ASSIGN(X) };
static const char *const names_override[] = { FIELDS_OVERRIDE(X) };
static const char *const names_requests[] = { FIELDS_REQUESTS(X) };
static const char *const names_eligible[] = { FIELDS_ELIGIBLE(X) };
static const char *const names_notify[] = { FIELDS_NOTIFY(X) };
#undef X

const struct fields fields_top = { "the policy", names_top, TOP_FIELDS };
const struct fields fields_table = { "table", names_table, TABLE_FIELDS };
const struct fields fields_defaults = { "defaults", names_defaults, DEFAULTS_FIELDS };
const struct fields fields_limit = { "a limit", names_limit, LIMIT_FIELDS };
const struct fields fields_key = { "a key", names_key, KEY_FIELDS };
const struct fields fields_exempt = { "exempt", names_exempt, EXEMPT_FIELDS };
const struct fields fields_claim = { "a limit of a route", names_claim, CLAIM_FIELDS };
const struct fields fields_assign = { "an assignment", names_assign, ASSIGN_FIELDS };
const struct fields fields_override = { "an override", names_override, OVERRIDE_FIELDS };
const struct fields fields_requests = { "requests", names_requests, REQUESTS_FIELDS };
const struct fields fields_eligible = { "eligible", names_eligible, ELIGIBLE_FIELDS };
const struct fields fields_notify = { "notify", names_notify, NOTIFY_FIELDS };

static void (*const readers[TOP_FIELDS])(struct loader *, const struct node *) = {
#define X(name) [TOP_##name] = read_##name,
	FIELDS_TOP(X)
#undef X
};

/* ---- sections of scalars ---- */

void
read_plans(struct loader *l, const struct node *key)
{
	const struct node *list = key->next;
	struct config *c = l->c;

	if (!once(l, &c->scalar_marks[ONCE_plans], key))
		return;
	if (list->kind != NODE_LIST || list->len > PLANS_MAX) {
		report_add(&l->r, list->mark, "found %s, expected a list of up to %u names",
		    list->kind == NODE_LIST ? "more plans" : shown_node(list), PLANS_MAX);
		return;
	}
	c->plans = xrealloc(c->plans, list->len + 1, sizeof(*c->plans));
	for (const struct node *n = list->first; n != NULL; n = n->next) {
		if (!get_name(l, n, RATION_NAME_MAX, "a plan's name"))
			continue;
		if (map_find(&c->planmap, n->text, n->len) != NOBODY) {
			report_add(&l->r, n->mark,
			    "found the plan %s again, expected each name once", shown_node(n));
			continue;
		}
		map_add(&c->planmap, n->text, n->len);
		c->plans[++c->nplans] = (struct plan_model) { .name = n->text, .mark = n->mark };
	}
}

static void
read_environment(struct loader *l, const struct node *key)
{
	struct config *c = l->c;
	struct env_model e = { .name = key->text, .mark = key->mark, .num = 1, .den = 1 };
	char place[256];
	uint32_t old;

	if (!get_name(l, key, RATION_NAME_MAX, "an environment's name"))
		return;
	old = map_find(&c->envmap, key->text, key->len);
	if (old != NOBODY) {
		report_add(&l->r, key->mark,
		    "found the environment %s again, expected each name once "
		    "(first at %s)",
		    shown_node(key), config_place(c, c->envs[old + 1].mark, place, sizeof(place)));
		return;
	}
	if (c->nenvs == ENVS_MAX) {
		report_add(
		    &l->r, key->mark, "found one more environment, expected at most %u", ENVS_MAX);
		return;
	}
	if (key->next->kind == NODE_SCALAR && strcmp(key->next->text, "unlimited") == 0)
		e.unlimited = true;
	else
		get_fraction(l, key->next, &e.num, &e.den);
	map_add(&c->envmap, key->text, key->len);
	c->envs = xrealloc(c->envs, c->nenvs + 2, sizeof(*c->envs));
	c->envs[++c->nenvs] = e;
}

void
read_environments(struct loader *l, const struct node *key)
{
	if (key->next->kind != NODE_MAP) {
		report_add(&l->r, key->next->mark,
		    "found %s, expected a mapping of names to factors, "
		    "such as {sandbox: 0.1, local: unlimited}",
		    shown_node(key->next));
		return;
	}
	for (const struct node *n = key->next->first; n != NULL; n = n->next->next)
		read_environment(l, n);
}

void
read_share(struct loader *l, const struct node *key)
{
	if (once(l, &l->c->scalar_marks[ONCE_share], key))
		get_share(l, key->next, &l->c->share_num, &l->c->share_den);
}

void
read_defaults(struct loader *l, const struct node *key)
{
	const struct node *got[FIELDS_MAX];
	struct config *c = l->c;
	uint16_t zone = 0;
	unsigned mode;

	if (!walk(l, key->next, &fields_defaults, got))
		return;
	if (got[DEFAULTS_timezone] != NULL &&
	    once(l, &c->scalar_marks[ONCE_timezone], got[DEFAULTS_timezone]) &&
	    get_zone(l, got[DEFAULTS_timezone]->next, &zone)) {
		/* Zone 0 is the default; no limit has been read yet. */
		c->zones[0] = c->zones[zone];
		c->nzones = 1;
	}
	if (got[DEFAULTS_notify] != NULL &&
	    once(l, &c->scalar_marks[ONCE_notify], got[DEFAULTS_notify]))
		read_notify(l, got[DEFAULTS_notify]->next, &c->notify);
	if (got[DEFAULTS_plan] != NULL && once(l, &c->scalar_marks[ONCE_plan], got[DEFAULTS_plan]))
		get_plan(l, got[DEFAULTS_plan]->next, &c->default_plan);
	if (got[DEFAULTS_environment] != NULL &&
	    once(l, &c->scalar_marks[ONCE_environment], got[DEFAULTS_environment]))
		get_env(l, got[DEFAULTS_environment]->next, &c->default_env);
	if (got[DEFAULTS_answer] != NULL &&
	    once(l, &c->scalar_marks[ONCE_answer], got[DEFAULTS_answer]))
		get_answer(l, got[DEFAULTS_answer]->next, &c->default_answer);
	if (got[DEFAULTS_share] != NULL)
		read_share(l, got[DEFAULTS_share]);
	if (got[DEFAULTS_mode] != NULL &&
	    once(l, &c->scalar_marks[ONCE_mode], got[DEFAULTS_mode]) &&
	    get_choice(l, got[DEFAULTS_mode]->next, mode_names, 3, &mode))
		c->default_mode = (uint8_t)mode;
}

static void
read_idle(struct loader *l, const struct node *n)
{
	char err[256];
	uint64_t ns;

	if (!get_text(l, n, "a time such as 10min"))
		return;
	if (duration_parse(n->text, &ns, err, sizeof(err)) != 0)
		report_add(&l->r, n->mark, "%s", err);
	else if (ns > IDLE_MAX_NS)
		report_add(&l->r, n->mark, "found %s, expected at most 31d", shown_node(n));
	else
		l->c->table.idle_ns = ns;
}

void
read_table(struct loader *l, const struct node *key)
{
	const struct node *got[FIELDS_MAX];
	struct config_table *t = &l->c->table;
	uint64_t v;

	if (!walk(l, key->next, &fields_table, got))
		return;
	for (unsigned i = 0; i < TABLE_FIELDS; i++)
		if (got[i] != NULL && !once(l, &l->c->table_marks[i], got[i]))
			got[i] = NULL;
	if (got[TABLE_keys] != NULL)
		get_quantity(l, got[TABLE_keys]->next, 1, SLOTS_MAX, &t->keys);
	if (got[TABLE_rates] != NULL && get_quantity(l, got[TABLE_rates]->next, 1, CELLS_MAX, &v))
		t->cells = (uint32_t)v;
	if (got[TABLE_policy] != NULL)
		get_quantity(l, got[TABLE_policy]->next, POLICY_MIN, POLICY_MAX, &t->policy_bytes);
	if (got[TABLE_idle] != NULL)
		read_idle(l, got[TABLE_idle]->next);
}

void
read_admin_group(struct loader *l, const struct node *key)
{
	if (once(l, &l->c->scalar_marks[ONCE_admin_group], key) &&
	    get_name(l, key->next, GROUP_NAME_MAX, "a group's name")) {
		l->c->admin_group = key->next->text;
		l->c->group_marks[1] = key->next->mark;
	}
}

void
read_group(struct loader *l, const struct node *key)
{
	if (once(l, &l->c->scalar_marks[ONCE_group], key) &&
	    get_name(l, key->next, GROUP_NAME_MAX, "a group's name")) {
		l->c->group = key->next->text;
		l->c->group_marks[0] = key->next->mark;
	}
}

/* ---- all of it ---- */

static struct config *
config_new(void)
{
	struct config *c = calloc(1, sizeof(*c));

	if (c == NULL)
		err(1, "out of memory");
	c->table.keys = DEFAULT_KEYS;
	c->table.idle_ns = DEFAULT_IDLE_NS;
	c->history = history_default;
	c->share_num = c->share_den = 1;
	c->timezone = "UTC";
	c->zones[c->nzones++] = c->timezone;
	map_add(&c->attrmap, "key", 3);
	c->plans = xrealloc(NULL, 1, sizeof(*c->plans));
	c->plans[0] = (struct plan_model) { .name = "" };
	c->envs = xrealloc(NULL, 1, sizeof(*c->envs));
	c->envs[0] = (struct env_model) { .name = "", .num = 1, .den = 1 };
	c->answers = xrealloc(NULL, 1, sizeof(*c->answers));
	c->answers[0] = answer_builtin;
	c->notify = notify_builtin;
	return c;
}

static uint32_t
file_add(struct loader *l, const char *path, const char *short_name)
{
	struct config *c = l->c;

	c->paths = xrealloc(c->paths, c->nfiles + 1, sizeof(*c->paths));
	c->short_names = xrealloc(c->short_names, c->nfiles + 1, sizeof(*c->short_names));
	/* They stand in mistakes and origins: a stranger may have named a file in conf.d. */
	c->paths[c->nfiles] = arena_copy(&c->arena, path, strlen(path));
	c->short_names[c->nfiles] = arena_copy(&c->arena, shown(short_name, strlen(short_name)),
	    strlen(shown(short_name, strlen(short_name))));
	l->r.files = c->paths;
	return c->nfiles++;
}

/* The most rates that anything has: what a slot must hold. */
static uint32_t
cells_needed(const struct config *c)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < c->nlimits; i++) {
		const struct limit_model *m = &c->limits[i];

		if (m->base.rates != NULL && m->base.rates->n > most)
			most = m->base.rates->n;
		for (uint32_t p = 0; m->plans != NULL && p < c->nplans; p++)
			if (m->plans[p].rates != NULL && m->plans[p].rates->n > most)
				most = m->plans[p].rates->n;
	}
	for (uint32_t i = 0; i < c->npatches; i++)
		if (c->patches[i].rates != NULL && c->patches[i].rates->n > most)
			most = c->patches[i].rates->n;
	return most;
}

/* A figure times a factor that its counter cannot hold: one complaint for each factor. */
static void
check_factors(struct loader *l)
{
	const struct config *c = l->c;

	for (uint32_t e = 1; e <= c->nenvs; e++) {
		const struct env_model *env = &c->envs[e];
		bool told = env->unlimited || env->num <= env->den;

		for (uint32_t i = 0; i < c->nlimits && !told; i++)
			for (uint32_t p = 0; c->limits[i].plans != NULL && p < c->nplans && !told;
			     p++) {
				const struct plan_cell *cell = &c->limits[i].plans[p];
				char place[256];

				for (unsigned r = 0; cell->rates != NULL && r < cell->rates->n; r++)
					told = told ||
					    !rate_scale_fits(
						&cell->rates->rate[r], env->num, env->den);
				if (told)
					report_add(&l->r, env->mark,
					    "found a factor of %.9g, expected one with "
					    "which the counter of limit %s (%s) holds plan %s",
					    (double)env->num / (double)env->den, c->limits[i].name,
					    config_place(c, cell->mark, place, sizeof(place)),
					    c->plans[p + 1].name);
			}
	}
}

/* Trees into sections, in order of need. */
static void
read_trees(struct loader *l, struct node *const *roots)
{
	struct config *c = l->c;
	const struct node *(*got)[FIELDS_MAX] = calloc(c->nfiles, sizeof(*got));
	uint32_t cells;

	if (got == NULL)
		err(1, "out of memory");
	for (uint32_t f = 0; f < c->nfiles; f++)
		if (roots[f] != NULL && !(roots[f]->kind == NODE_SCALAR && roots[f]->len == 0))
			walk(l, roots[f], &fields_top, got[f]);
	for (unsigned section = 0; section < TOP_FIELDS; section++) {
		if (section == TOP_limits)
			zone_enter(c->zones[0]); /* for the times in overrides */
		for (uint32_t f = 0; f < c->nfiles; f++) {
			const struct node *key = got[f][section];

			/* A section with nothing in it, as after a comment was put before each
			 * line. */
			if (key != NULL && !(key->next->kind == NODE_SCALAR && key->next->len == 0))
				readers[section](l, key);
		}
	}
	zone_leave();
	finish_answers(l);
	finish_leases(l);
	finish_notify(l);
	check_factors(l);
	check_routes(l);
	cells = cells_needed(c);
	if (c->table.cells != 0 && c->table.cells < cells)
		report_add(&l->r, c->table_marks[TABLE_rates],
		    "found %u rates in a slot, expected the %u "
		    "that a limit has",
		    c->table.cells, cells);
	free(got);
}

static int
load_finish(struct loader *l, struct config **out, struct mistakes *m)
{
	bool bad = l->r.n > 0;

	report_finish(&l->r, m);
	map_free(&l->patchmap);
	if (bad) {
		config_free(l->c);
		return -1;
	}
	l->c->timezone = l->c->zones[0];
	*out = l->c;
	return 0;
}

int
config_parse(
    const char *name, const void *text, size_t len, struct config **out, struct mistakes *m)
{
	struct loader l = { .c = config_new() };
	struct node *root;

	*out = NULL;
	file_add(&l, name, name);
	if (tree_read(&l.c->arena, &l.r, 0, text, len, &root) == 0)
		read_trees(&l, &root);
	return load_finish(&l, out, m);
}

static int
is_policy(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return d->d_name[0] != '.' && len > 5 && strcmp(d->d_name + len - 5, ".yaml") == 0;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* conf.d beside the file, in order of names whatever the locale. */
static void
add_conf_d(struct loader *l, const char *file)
{
	char *copy = strdup(file);
	struct dirent **list = NULL;
	char *dir, *path;
	int n;

	if (copy == NULL || asprintf(&dir, "%s/conf.d", dirname(copy)) < 0)
		err(1, "out of memory");
	n = scandir(dir, &list, is_policy, by_name);
	if (n < 0 && errno != ENOENT) {
		uint32_t f = file_add(l, dir, "conf.d");

		report_add(&l->r, (struct mark) { f, 1, 1 },
		    "found no readable directory (%s), expected "
		    "one or none",
		    strerror(errno));
	}
	for (int i = 0; i < n; i++) {
		if (asprintf(&path, "%s/%s", dir, list[i]->d_name) < 0)
			err(1, "out of memory");
		if (l->c->nfiles < FILES_MAX)
			file_add(l, path, path + strlen(dir) - 6);
		else if (l->c->nfiles == FILES_MAX)
			report_add(&l->r, (struct mark) { FILES_MAX - 1, 1, 1 },
			    "found one more file, expected at most %u", FILES_MAX);
		free(path);
		free(list[i]);
	}
	free(list);
	free(dir);
	free(copy);
}

int
config_load(const char *file, struct config **out, struct mistakes *m)
{
	struct loader l = { .c = config_new() };
	struct node **roots;
	bool broken = false;
	char *copy;

	*out = NULL;
	if (file == NULL)
		return load_finish(&l, out, m);
	copy = strdup(file);
	if (copy == NULL)
		err(1, "out of memory");
	file_add(&l, file, basename(copy));
	free(copy);
	add_conf_d(&l, file);
	roots = calloc(l.c->nfiles, sizeof(*roots));
	if (roots == NULL)
		err(1, "out of memory");
	for (uint32_t f = 0; f < l.c->nfiles; f++) {
		char *text;
		size_t len;

		if (tree_slurp(&l.r, f, l.c->paths[f], &text, &len) != 0 ||
		    tree_read(&l.c->arena, &l.r, f, text, len, &roots[f]) != 0)
			broken = true;
		free(text);
	}
	if (!broken)
		read_trees(&l, roots);
	free(roots);
	return load_finish(&l, out, m);
}

void
config_settings(const struct config *c, struct config_table *out)
{
	uint32_t cells = cells_needed(c);

	*out = c->table;
	if (out->cells == 0)
		out->cells = cells < 2 ? 2 : cells;
}

void
config_table(const struct config *c, struct config_table *out)
{
	config_settings(c, out);
	if (out->policy_bytes == 0) {
		out->policy_bytes = 4 * config_need(c);
		if (out->policy_bytes < POLICY_DEFAULT_MIN)
			out->policy_bytes = POLICY_DEFAULT_MIN;
	}
}
