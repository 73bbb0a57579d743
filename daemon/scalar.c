/*
 * scalar.c - single values of a policy file, each with its own complaint.
 */
#include "load.h"
#include "zones.h"

#include <string.h>
#include <vis.h>

#define ERR_SIZE 256

/* A field's names as "a, b or c". */
static void
join(const char *const *names, size_t n, char *buf, size_t size)
{
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s",
		    i == 0           ? ""
			: i + 1 == n ? " or "
				     : ", ",
		    names[i]);
}

static const char *
name_at(const void *arg, size_t i)
{
	return ((const char *const *)arg)[i];
}

bool
walk(struct loader *l, const struct node *map, const struct fields *f,
    const struct node *got[FIELDS_MAX])
{
	char expected[256];

	memset(got, 0, FIELDS_MAX * sizeof(got[0]));
	join(f->names, f->n, expected, sizeof(expected));
	if (map->kind != NODE_MAP) {
		report_add(&l->r, map->mark, "found %s, expected a mapping with %s",
		    shown_node(map), expected);
		return false;
	}
	for (const struct node *key = map->first; key != NULL; key = key->next->next) {
		size_t i;

		for (i = 0; i < f->n; i++)
			if (key->kind == NODE_SCALAR && strlen(f->names[i]) == key->len &&
			    memcmp(f->names[i], key->text, key->len) == 0)
				break;
		if (i == f->n)
			report_add(&l->r, key->mark, "found %s in %s, expected %s%s",
			    shown_node(key), f->where, expected,
			    nearest(&l->r, key->kind == NODE_SCALAR ? key->text : "",
				key->kind == NODE_SCALAR ? key->len : 0, f->n, name_at, f->names));
		else if (got[i] != NULL)
			report_add(&l->r, key->mark,
			    "found \"%s\" again, expected it once (first on "
			    "line %u)",
			    f->names[i], got[i]->mark.line);
		else
			got[i] = key;
	}
	return true;
}

bool
once(struct loader *l, struct mark *first, const struct node *key)
{
	char place[256];

	if (first->line == 0) {
		*first = key->mark;
		return true;
	}
	report_add(&l->r, key->mark, "found %s again, expected it once (first at %s)",
	    shown_node(key), config_place(l->c, *first, place, sizeof(place)));
	return false;
}

static bool
has_controls(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return true;
	return false;
}

bool
get_text(struct loader *l, const struct node *n, const char *expected)
{
	if (n->kind == NODE_SCALAR && n->len > 0 && memchr(n->text, '\0', n->len) == NULL)
		return true;
	report_add(&l->r, n->mark, "found %s, expected %s", shown_node(n), expected);
	return false;
}

bool
get_line(struct loader *l, const struct node *n, size_t max, const char *expected)
{
	if (!get_text(l, n, expected))
		return false;
	if (n->len <= max && !has_controls(n->text, n->len))
		return true;
	report_add(&l->r, n->mark, "found %s, expected %s of up to %zu bytes%s", shown_node(n),
	    expected, max, n->len <= max ? " without control characters" : "");
	return false;
}

bool
value_valid(const char *text, size_t len)
{
	return len > 0 && len <= VALUE_MAX && !has_controls(text, len);
}

bool
get_value(struct loader *l, const struct node *n, const char **value)
{
	if (!get_line(l, n, VALUE_MAX, "a value"))
		return false;
	*value = n->text;
	return true;
}

bool
get_quantity(struct loader *l, const struct node *n, uint64_t min, uint64_t max, uint64_t *out)
{
	char err[ERR_SIZE];
	uint64_t v;

	if (!get_text(l, n, "a number such as 300 or 2.5M"))
		return false;
	if (quantity_parse(n->text, &v, err, sizeof(err)) != 0) {
		report_add(&l->r, n->mark, "%s", err);
		return false;
	}
	if (v < min || v > max) {
		report_add(&l->r, n->mark, "found %s, expected %llu to %llu",
		    shown(n->text, n->len), (unsigned long long)min, (unsigned long long)max);
		return false;
	}
	*out = v;
	return true;
}

bool
get_choice(
    struct loader *l, const struct node *n, const char *const *names, size_t count, unsigned *out)
{
	char expected[128];

	join(names, count, expected, sizeof(expected));
	if (!get_text(l, n, expected))
		return false;
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(names[i], n->text) == 0) {
			*out = i;
			return true;
		}
	}
	report_add(&l->r, n->mark, "found %s, expected %s%s", shown_node(n), expected,
	    nearest(&l->r, n->text, n->len, count, name_at, names));
	return false;
}

bool
get_name(struct loader *l, const struct node *n, size_t max, const char *what)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";

	if (!get_text(l, n, what))
		return false;
	if (strcmp(n->text, "none") == 0 || strcmp(n->text, "custom") == 0) {
		report_add(&l->r, n->mark, "found %s, expected %s: that word means something else",
		    shown_node(n), what);
		return false;
	}
	if (n->len <= max && strspn(n->text, allowed) == n->len && n->text[0] != '-')
		return true;
	report_add(&l->r, n->mark,
	    "found %s, expected %s of up to %zu letters, digits, \".\", "
	    "\"_\" and \"-\"",
	    shown_node(n), what, max);
	return false;
}

bool
get_zone(struct loader *l, const struct node *n, uint16_t *zone)
{
	struct config *c = l->c;

	if (!get_text(l, n, "a timezone such as Europe/Madrid"))
		return false;
	/* First, so that thousands of keys in one zone do not open its file each. */
	for (uint32_t i = 0; i < c->nzones; i++) {
		if (strcmp(c->zones[i], n->text) == 0) {
			*zone = (uint16_t)i;
			return true;
		}
	}
	if (n->len > ZONE_NAME_MAX || !zone_known(n->text)) {
		report_add(&l->r, n->mark,
		    "found the timezone %s, expected one of the tz database, such "
		    "as Europe/Madrid or UTC",
		    shown_node(n));
		return false;
	}
	if (c->nzones == ZONES_MAX) {
		report_add(
		    &l->r, n->mark, "found one more timezone, expected at most %u", ZONES_MAX);
		return false;
	}
	*zone = (uint16_t)c->nzones;
	c->zones[c->nzones++] = n->text;
	return true;
}

/* strunvis() lets "\\d" pass as "d": a key typed with a backslash would be another one. */
static bool
escapes_valid(const char *p)
{
	for (; *p != '\0'; p++) {
		if (*p != '\\')
			continue;
		if (*++p == '\0' || strchr("\\01234567^MnrbavtfsE", *p) == NULL)
			return false;
	}
	return true;
}

bool
get_key(struct loader *l, const struct node *n, uint32_t *key)
{
	static const char expected[] = "a key of 1 to 255 bytes, with \\ escapes as in strvis(3)";
	struct config *c = l->c;
	char bytes[4 * RATION_KEY_MAX + 1];
	int len = -1;

	if (!get_text(l, n, expected))
		return false;
	if (n->len < sizeof(bytes) && escapes_valid(n->text))
		len = strunvis(bytes, n->text);
	if (len <= 0 || len > (int)RATION_KEY_MAX) {
		report_add(&l->r, n->mark, "found %s, expected %s", shown_node(n), expected);
		return false;
	}
	*key = map_find(&c->keymap, bytes, (size_t)len);
	if (*key != NOBODY)
		return true;
	if (c->nkeys == c->keys_cap) {
		c->keys_cap = c->keys_cap == 0 ? 64 : 2 * c->keys_cap;
		c->keys = xrealloc(c->keys, c->keys_cap, sizeof(*c->keys));
	}
	*key = map_add(&c->keymap, arena_copy(&c->arena, bytes, (size_t)len), (size_t)len);
	memset(&c->keys[c->nkeys++], 0, sizeof(*c->keys));
	return true;
}

bool
get_fraction(struct loader *l, const struct node *n, uint64_t *num, uint64_t *den)
{
	char err[ERR_SIZE];

	if (!get_text(l, n, "a fraction such as 1/6 or 0.1"))
		return false;
	if (fraction_parse(n->text, num, den, err, sizeof(err)) == 0)
		return true;
	report_add(&l->r, n->mark, "%s", err);
	return false;
}

bool
get_share(struct loader *l, const struct node *n, uint64_t *num, uint64_t *den)
{
	uint64_t a, b;

	if (!get_fraction(l, n, &a, &b))
		return false;
	if (a > b) {
		report_add(
		    &l->r, n->mark, "found %s, expected a share of at most 1", shown_node(n));
		return false;
	}
	*num = a;
	*den = b;
	return true;
}

bool
get_until(struct loader *l, const struct node *n, int64_t *until)
{
	static const char expected[] = "a time such as 2027-01-01, 2027-01-01 12:30 or "
				       "2027-01-01T12:30:00Z";

	if (!get_text(l, n, expected))
		return false;
	if (zone_parse_time(n->text, until))
		return true;
	report_add(&l->r, n->mark, "found %s, expected %s", shown_node(n), expected);
	return false;
}

/* One rate; with `per` a number is enough. */
static bool
get_rate(struct loader *l, const struct node *n, const char *per, struct rate_spec *out)
{
	char text[192], err[ERR_SIZE];
	uint64_t figure;

	if (!get_text(l, n, per != NULL ? "a number or a rate" : "a rate such as 300/min"))
		return false;
	snprintf(text, sizeof(text), "%s", n->text);
	if (n->len >= sizeof(text) / 2) {
		report_add(&l->r, n->mark, "found %s, expected a rate", shown_node(n));
		return false;
	}
	if (per != NULL && quantity_parse(text, &figure, err, sizeof(err)) == 0)
		snprintf(text, sizeof(text), strcmp(per, "concurrent") == 0 ? "%llu %s" : "%llu/%s",
		    (unsigned long long)figure, per);
	if (rate_parse(text, out, err, sizeof(err)) == 0)
		return true;
	report_add(&l->r, n->mark, "%s", err);
	return false;
}

const struct rates *
get_rates(struct loader *l, const struct node *n, const char *per)
{
	struct rates r = { .n = 0 };
	struct rates *out;
	char err[ERR_SIZE];
	bool ok = true;

	if (n->kind == NODE_SCALAR && per == NULL && strchr(n->text, ',') != NULL) {
		int count = rate_parse_list(n->text, r.rate, RATION_RATES_MAX, err, sizeof(err));

		ok = count > 0;
		r.n = ok ? (uint8_t)count : 0;
		if (!ok)
			report_add(&l->r, n->mark, "%s", err);
	} else if (n->kind == NODE_SCALAR) {
		ok = get_rate(l, n, per, &r.rate[0]);
		r.n = 1;
	} else if (n->kind != NODE_LIST || n->len == 0 || n->len > RATION_RATES_MAX) {
		report_add(&l->r, n->mark,
		    "found %s%s, expected one to %u rates such as [300/min, 30/s]", shown_node(n),
		    n->kind != NODE_LIST ? ""
			: n->len == 0    ? " of none"
					 : " of more",
		    RATION_RATES_MAX);
		return NULL;
	} else {
		for (const struct node *i = n->first; i != NULL; i = i->next)
			ok = get_rate(l, i, per, &r.rate[r.n++]) && ok;
		if (ok && rate_list_check(r.rate, r.n, err, sizeof(err)) != 0) {
			report_add(&l->r, n->mark, "%s", err);
			ok = false;
		}
	}
	if (!ok)
		return NULL;
	out = arena_alloc(&l->c->arena, sizeof(*out));
	*out = r;
	return out;
}

/* ---- names of other parts ---- */

static const char *
map_name_at(const void *arg, size_t i)
{
	return ((const struct map *)arg)->entries[i].bytes;
}

static bool
get_index(
    struct loader *l, const struct node *n, const struct map *m, const char *what, uint32_t *out)
{
	char expected[64];

	snprintf(expected, sizeof(expected), "the name of %s", what);
	if (!get_text(l, n, expected))
		return false;
	*out = map_find(m, n->text, n->len);
	if (*out != NOBODY)
		return true;
	report_add(&l->r, n->mark, "found %s, expected %s%s", shown_node(n), expected,
	    nearest(&l->r, n->text, n->len, m->n, map_name_at, m));
	return false;
}

bool
get_plan(struct loader *l, const struct node *n, uint16_t *plan)
{
	uint32_t i;

	if (!get_index(l, n, &l->c->planmap, "a plan", &i))
		return false;
	*plan = (uint16_t)(i + 1);
	return true;
}

bool
get_answer(struct loader *l, const struct node *n, uint16_t *answer)
{
	uint32_t i;

	if (!get_index(l, n, &l->c->answermap, "an answer", &i))
		return false;
	*answer = (uint16_t)(i + 1);
	return true;
}

bool
get_env(struct loader *l, const struct node *n, uint16_t *env)
{
	uint32_t i;

	if (!get_index(l, n, &l->c->envmap, "an environment", &i))
		return false;
	*env = (uint16_t)(i + 1);
	return true;
}

bool
get_limit(struct loader *l, const struct node *n, uint32_t *limit)
{
	return get_index(l, n, &l->c->limitmap, "a limit", limit);
}
