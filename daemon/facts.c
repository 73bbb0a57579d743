/*
 * facts.c - what rationd asks of a loaded policy beside the compiled area.
 */
#include "model.h"
#include "report.h"

#include <stdio.h>
#include <string.h>

const char *
config_group(const struct config *c)
{
	return c->group;
}

const char *
config_admin_group(const struct config *c)
{
	return c->admin_group;
}

void
config_group_mistake(const struct config *c, bool admin, const char *expected, struct mistakes *m)
{
	const char *name = admin ? c->admin_group : c->group;
	struct report r = { .files = c->paths };

	report_add(&r, c->group_marks[admin], "found \"%s\", expected %s",
	    shown(name, strlen(name)), expected);
	report_finish(&r, m);
}

void
config_share(const struct config *c, uint64_t *num, uint64_t *den)
{
	*num = c->share_num;
	*den = c->share_den;
}

bool
config_env_factor(const struct config *c, const char *name, char *buf, size_t size)
{
	uint32_t i = config_env(c, name, strlen(name));
	const struct env_model *e;

	if (i == NOBODY || i == 0)
		return false;
	e = &c->envs[i];
	if (e->unlimited)
		(void)snprintf(buf, size, "unlimited");
	else if (e->den != 0 && 1000000000 % e->den == 0) /* a finite decimal */
		(void)snprintf(buf, size, "%.10g", (double)e->num / (double)e->den);
	else
		(void)snprintf(
		    buf, size, "%llu/%llu", (unsigned long long)e->num, (unsigned long long)e->den);
	return true;
}
