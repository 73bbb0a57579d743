#include "compiled.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
/* after the above */
#include <cmocka.h>

const char *compiled_name = "p.yaml";
uint32_t compiled_cells = 2;
struct mistakes m;
void *area;
struct policy_ref ref;

struct config *
load(const char *text)
{
	struct config *c;

	if (config_parse(compiled_name, text, strlen(text), &c, &m) != 0)
		fail_msg("refused: %s", m.text[0]);
	return c;
}

int
compile_over(const struct config *c, const struct change *changes, size_t n,
    const struct policy_area *previous, void *out)
{
	int result = config_compile(c, changes, n, previous, compiled_cells, NOW, out, AREA, 1, &m);

	ref = (struct policy_ref) { .area = out, .area_bytes = AREA, .version = 1 };
	return result;
}

int
compile(const struct config *c, const struct change *changes, size_t n)
{
	return compile_over(c, changes, n, NULL, area);
}

void
take(const char *text)
{
	struct config *c = load(text);

	assert_int_equal(compile(c, NULL, 0), 0);
	config_free(c);
}

struct limit_def
limit_of(const char *name)
{
	int64_t id = policy_limit_id(&ref, name, strlen(name));
	struct limit_def l;

	assert_true(id >= 0);
	assert_true(policy_limit(&ref, (uint32_t)id, &l));
	return l;
}

struct ruleset
ruleset_of(const char *limit, const char *key, int64_t t)
{
	int64_t id = policy_limit_id(&ref, limit, strlen(limit)), index;
	struct ruleset r;
	bool listed;

	assert_true(id >= 0);
	index = policy_resolve(&ref, (uint32_t)id, key, strlen(key), &listed);
	assert_true(index >= 0);
	assert_true(policy_ruleset(&ref, (uint32_t)index, &r));
	for (int i = 0; i < 8 && r.until <= t; i++)
		assert_true(policy_ruleset(&ref, r.next, &r));
	return r;
}

int
compiled_setup(void **state)
{
	(void)state;
	area = aligned_alloc(64, AREA);
	return area == NULL;
}
