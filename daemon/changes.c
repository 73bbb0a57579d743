/*
 * changes.c - live changes beside the overrides of the files.
 *
 * Both become patches in one row, the files' first: of those in force the newest wins.
 * A change whose time has passed is left out here, so that nothing later needs to
 * know the past.
 */
#include "compile.h"
#include "report.h"
#include "zones.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <vis.h>

/* A change that names what there is not. */
static bool
fault(
    struct builder *b, const struct change *ch, const char *found, size_t len, const char *expected)
{
	mistakes_add(b->m, "change %lld by %s: found \"%s\", expected %s", (long long)ch->id,
	    shown(ch->who, strnlen(ch->who, sizeof(ch->who))), shown(found, len), expected);
	return false;
}

static uint32_t
live_key(struct builder *b, const struct change *ch)
{
	uint32_t key = map_find(&b->c->keymap, ch->key, ch->key_len);

	if (key != NOBODY)
		return key;
	key = map_find(&b->livekeys, ch->key, ch->key_len);
	if (key == NOBODY)
		key =
		    map_add(&b->livekeys, arena_copy(&b->arena, ch->key, ch->key_len), ch->key_len);
	return b->c->nkeys + key;
}

static bool
live_value(struct builder *b, const struct change *ch, struct patch *p)
{
	size_t len = strnlen(ch->value, sizeof(ch->value));

	if (p->limit == NOBODY)
		return fault(b, ch, "", 0, "a limit");
	if (!b->c->limits[p->limit].is_value)
		return fault(b, ch, ch->limit, strlen(ch->limit),
		    "a limit that holds values: this one is counted");
	if (!value_valid(ch->value, len))
		return fault(
		    b, ch, ch->value, len, "a value of 1 to 255 bytes without control characters");
	p->value = arena_copy(&b->arena, ch->value, len);
	return true;
}

/* Is the limit of leases?  One that is open stays what the segment knows it as. */
static bool
live_counted(struct builder *b, const struct change *ch, const struct rates *r, uint32_t limit)
{
	enum counted counted = rates_counted(r);
	char text[64];

	if (rates_mixed(r))
		return fault(b, ch, "concurrent", 10, "a concurrency alone, without other rates");
	if (counted == COUNTED_OPEN || (counted == COUNTED_LEASES) == b->leases[limit])
		return true;
	rate_format(&r->rate[0], text, sizeof(text));
	return fault(b, ch, text, strlen(text),
	    b->leases[limit]
		? "a concurrency such as 5 concurrent: the limit is of leases; give rates "
		  "another name"
		: "a rate such as 300/min: the limit is of rates; give leases another name");
}

static bool
live_rates(struct builder *b, const struct change *ch, struct patch *p)
{
	struct rates *r;
	char err[256];

	if (p->limit == NOBODY)
		return fault(b, ch, "", 0, "a limit");
	if (b->c->limits[p->limit].is_value)
		return fault(b, ch, ch->limit, strlen(ch->limit),
		    "a limit that is counted: this one holds values");
	if (ch->nrates == 0 || ch->nrates > RATION_RATES_MAX)
		return fault(b, ch, "", 0, "one to four rates");
	if (rate_list_check(ch->rates, ch->nrates, err, sizeof(err)) != 0)
		return fault(b, ch, ch->limit, strlen(ch->limit), err);
	r = arena_alloc(&b->arena, sizeof(*r));
	r->n = ch->nrates;
	memcpy(r->rate, ch->rates, ch->nrates * sizeof(r->rate[0]));
	p->rates = r;
	return live_counted(b, ch, r, p->limit);
}

/* A live change as a patch.  False: reported. */
static bool
from_live(struct builder *b, const struct change *ch, struct patch *p)
{
	const struct config *c = b->c;
	size_t limit_len = strnlen(ch->limit, sizeof(ch->limit));
	size_t plan_len = strnlen(ch->plan, sizeof(ch->plan));
	uint32_t plan = 0;

	*p = (struct patch) { .kind = (uint8_t)ch->kind,
		.mode = ch->mode,
		.limit = NOBODY,
		.key = NOBODY,
		.num = ch->share_num,
		.den = ch->share_den,
		.until = ch->until };
	p->who = arena_copy(&b->arena, ch->who, strnlen(ch->who, sizeof(ch->who)));
	p->reason = arena_copy(&b->arena, ch->reason, strnlen(ch->reason, sizeof(ch->reason)));
	if (limit_len > 0) {
		p->limit = map_find(&c->limitmap, ch->limit, limit_len);
		if (p->limit == NOBODY)
			return fault(b, ch, ch->limit, limit_len, "a limit of the policy");
	}
	if (ch->kind == CHANGE_ENV)
		plan = config_env(c, ch->plan, plan_len);
	else if (ch->kind == CHANGE_RATES || ch->kind == CHANGE_VALUE || ch->kind == CHANGE_PLAN)
		plan = config_plan(c, ch->plan, plan_len);
	if (plan == NOBODY)
		return fault(b, ch, ch->plan, plan_len,
		    ch->kind == CHANGE_ENV ? "an environment of the policy"
					   : "a plan of the policy");
	if (ch->kind == CHANGE_ENV)
		p->env = (uint16_t)plan;
	else
		p->plan = (uint16_t)plan;
	if (ch->key_len > RATION_KEY_MAX)
		return fault(b, ch, "", 0, "a key of at most 255 bytes");
	if (ch->key_len > 0 && ch->kind != CHANGE_MODE && ch->kind != CHANGE_SHARE)
		p->key = live_key(b, ch);
	if ((ch->kind == CHANGE_PLAN || ch->kind == CHANGE_ENV) && ch->key_len == 0)
		return fault(b, ch, "", 0, "a key");
	if (ch->kind == CHANGE_RATES)
		return live_rates(b, ch, p);
	if (ch->kind == CHANGE_VALUE)
		return live_value(b, ch, p);
	if (ch->kind == CHANGE_MODE && p->limit != NOBODY && c->limits[p->limit].is_value)
		return fault(
		    b, ch, ch->limit, limit_len, "a limit that is counted: this one holds values");
	if (ch->kind == CHANGE_MODE && ch->mode > MODE_OFF)
		return fault(b, ch, "", 0, "a mode");
	if (ch->kind == CHANGE_SHARE && (ch->share_num == 0 || ch->share_num > ch->share_den))
		return fault(b, ch, "", 0, "a share above 0, at most 1");
	return true;
}

/* Rates for what the limit counts, as far as the files say it. */
static bool
suits(const struct limit_model *m, const struct change *ch)
{
	struct rates r = { .n = ch->nrates < RATION_RATES_MAX ? ch->nrates : RATION_RATES_MAX };
	enum counted counted;

	memcpy(r.rate, ch->rates, r.n * sizeof(r.rate[0]));
	counted = rates_counted(&r);
	return !m->is_value &&
	    (counted == COUNTED_OPEN || m->counted == COUNTED_OPEN || counted == m->counted);
}

bool
config_knows(const struct config *c, const struct change *ch)
{
	size_t len = strnlen(ch->plan, sizeof(ch->plan));
	uint32_t limit = 0;

	if (ch->limit[0] != '\0')
		limit = map_find(&c->limitmap, ch->limit, strnlen(ch->limit, sizeof(ch->limit)));
	if (limit == NOBODY || (ch->kind == CHANGE_RATES && !suits(&c->limits[limit], ch)) ||
	    (ch->kind == CHANGE_VALUE && !c->limits[limit].is_value) ||
	    (ch->kind == CHANGE_MODE && ch->limit[0] != '\0' && c->limits[limit].is_value))
		return false;
	if (ch->kind == CHANGE_ENV)
		return config_env(c, ch->plan, len) != NOBODY;
	if (ch->kind != CHANGE_RATES && ch->kind != CHANGE_VALUE && ch->kind != CHANGE_PLAN)
		return true;
	return config_plan(c, ch->plan, len) != NOBODY;
}

bool
config_is_value(const struct config *c, const char *limit)
{
	uint32_t i = map_find(&c->limitmap, limit, strlen(limit));

	return i != NOBODY && c->limits[i].is_value;
}

/* qsort() has no argument for it; rationd has one thread. */
static const struct patch *sorted_patches;

static int
by_key_and_limit(const void *a, const void *b)
{
	const struct patch *x = &sorted_patches[*(const uint32_t *)a];
	const struct patch *y = &sorted_patches[*(const uint32_t *)b];

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	if (x->limit != y->limit)
		return x->limit < y->limit ? -1 : 1;
	return x->order > y->order ? -1 : x->order < y->order;
}

/* Where each patch is looked for. */
static void
index_patches(struct builder *b)
{
	uint32_t n = b->npatches;

	b->newest = arena_alloc(&b->arena, (b->c->nlimits + 1) * sizeof(*b->newest));
	b->older = arena_alloc(&b->arena, (n + 1) * sizeof(*b->older));
	b->by_key = arena_alloc(&b->arena, (n + 1) * sizeof(*b->by_key));
	b->modes = arena_alloc(&b->arena, (n + 1) * sizeof(*b->modes));
	b->shares = arena_alloc(&b->arena, (n + 1) * sizeof(*b->shares));
	for (uint32_t i = 0; i < n; i++) {
		const struct patch *p = &b->patches[i];

		if (p->kind != CHANGE_RATES && p->kind != CHANGE_VALUE)
			continue;
		if (p->key != NOBODY) {
			b->by_key[b->nby_key++] = i;
			continue;
		}
		b->older[i] = b->newest[p->limit];
		b->newest[p->limit] = i + 1;
	}
	for (uint32_t i = n; i-- > 0;) {
		if (b->patches[i].kind == CHANGE_MODE)
			b->modes[b->nmodes++] = i;
		else if (b->patches[i].kind == CHANGE_SHARE)
			b->shares[b->nshares++] = i;
	}
	sorted_patches = b->patches;
	if (b->nby_key > 0)
		qsort(b->by_key, b->nby_key, sizeof(*b->by_key), by_key_and_limit);
}

bool
build_patches(struct builder *b, const struct change *changes, size_t n)
{
	const struct config *c = b->c;
	bool ok = true;

	b->patches = arena_alloc(&b->arena, (c->npatches + n + 1) * sizeof(*b->patches));
	for (uint32_t i = 0; i < c->npatches; i++)
		if (c->patches[i].until > b->now_s)
			b->patches[b->npatches++] = c->patches[i];
	for (size_t i = 0; i < n; i++) {
		if (changes[i].until <= b->now_s)
			continue;
		if (from_live(b, &changes[i], &b->patches[b->npatches]))
			b->npatches++;
		else
			ok = false;
	}
	for (uint32_t i = 0; i < b->npatches; i++)
		b->patches[i].order = i;
	if (ok)
		index_patches(b);
	return ok;
}

/* ---- as YAML ---- */

/* A scalar in single quotes: only those need an escape in it. */
static void
put_quoted(FILE *out, const char *text)
{
	putc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			putc('\'', out);
		putc(*text, out);
	}
	putc('\'', out);
}

/* Text of people: what YAML cannot hold between single quotes becomes octal. */
static void
put_text(FILE *out, const char *name, const char *text, size_t len)
{
	char buf[4 * 256 + 1];

	strvisx(buf, text, len < 256 ? len : 256, VIS_OCTAL | VIS_TAB | VIS_NL);
	fprintf(out, "%s: ", name);
	put_quoted(out, buf);
}

static void
put_limit(FILE *out, const struct change *ch)
{
	if (ch->limit[0] == '\0')
		return;
	fputs("limit: ", out);
	put_quoted(out, ch->limit);
	fputs(", ", out);
}

static void
put_rates(FILE *out, const struct change *ch)
{
	char text[64];

	fputs("rates: [", out);
	for (unsigned i = 0; i < ch->nrates; i++) {
		rate_format(&ch->rates[i], text, sizeof(text));
		fprintf(out, "%s%s", i == 0 ? "" : ", ", text);
	}
	putc(']', out);
}

/*
 * A value comes back as it is, byte for byte: between double quotes everything has an escape.
 * It is UTF-8: it came as JSON.
 */
static void
put_value(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputs("value: \"", out);
	while (*p != '\0') {
		uint32_t c = *p++;
		unsigned more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : c >= 0xc0 ? 1 : 0;

		if (c == '"' || c == '\\')
			putc('\\', out);
		if (more > 0)
			c &= 0x3fu >> more;
		for (; more > 0 && (*p & 0xc0) == 0x80; more--)
			c = c << 6 | (*p++ & 0x3fu);
		if (c >= ' ' && c < 0x7f)
			putc((int)c, out);
		else
			fprintf(out, "\\U%08x", c);
	}
	putc('"', out);
}

static void
put_change(FILE *out, const struct change *ch)
{
	bool figures = ch->kind == CHANGE_RATES || ch->kind == CHANGE_VALUE;
	char key[4 * RATION_KEY_MAX + 1], when[32];

	fputs("  - {", out);
	if (ch->key_len > 0) {
		strvisx(key, (const char *)ch->key, ch->key_len, VIS_OCTAL | VIS_WHITE);
		fputs("key: ", out);
		put_quoted(out, key);
		fputs(", ", out);
	}
	put_limit(out, ch);
	if (figures && ch->plan[0] != '\0')
		fprintf(out, "plan: %s, ", ch->plan);
	if (ch->kind == CHANGE_RATES)
		put_rates(out, ch);
	else if (ch->kind == CHANGE_VALUE)
		put_value(out, ch->value);
	else if (ch->kind == CHANGE_PLAN)
		fprintf(out, "plan: %s", ch->plan[0] != '\0' ? ch->plan : "none");
	else if (ch->kind == CHANGE_ENV)
		fprintf(out, "environment: %s", ch->plan[0] != '\0' ? ch->plan : "none");
	else if (ch->kind == CHANGE_MODE)
		fprintf(out, "mode: %s", mode_names[ch->mode <= MODE_OFF ? ch->mode : 0]);
	else
		fprintf(out, "share: %llu/%llu", (unsigned long long)ch->share_num,
		    (unsigned long long)ch->share_den);
	if (ch->until != POLICY_ENDLESS && (figures || ch->kind == CHANGE_MODE)) {
		time_t t = (time_t)ch->until;
		struct tm tm;

		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm));
		fprintf(out, ", until: %s", when);
	}
	if (ch->reason[0] != '\0') {
		fputs(", ", out);
		put_text(out, "reason", ch->reason, strnlen(ch->reason, sizeof(ch->reason)));
	}
	fprintf(out, "} # by %s\n", shown(ch->who, strnlen(ch->who, sizeof(ch->who))));
}

/* What a change is about, as bytes: of two about the same the later one is all that counts. */
static size_t
target_bytes(const struct change *ch, unsigned char buf[sizeof(struct change)])
{
	size_t len = 0;

	buf[len++] = (unsigned char)ch->kind;
	len += (size_t)snprintf((char *)buf + len, sizeof(ch->limit), "%s", ch->limit) + 1;
	if (ch->kind == CHANGE_RATES || ch->kind == CHANGE_VALUE)
		len += (size_t)snprintf((char *)buf + len, sizeof(ch->plan), "%s", ch->plan) + 1;
	memcpy(buf + len, ch->key, ch->key_len);
	return len + ch->key_len;
}

/* Mark the newest change of each target in keep[]. */
static void
newest_of_each(const struct change *changes, size_t n, bool *keep)
{
	unsigned char buf[sizeof(struct change)];
	struct arena arena = { .chunks = NULL };
	struct map seen = { .n = 0 };

	for (size_t i = n; i-- > 0;) {
		size_t len = target_bytes(&changes[i], buf);

		keep[i] = map_find(&seen, buf, len) == NOBODY;
		if (keep[i])
			map_add(&seen, arena_copy(&arena, buf, len), len);
	}
	map_free(&seen);
	arena_free(&arena);
}

void
config_diff_yaml(const struct config *c, const struct change *changes, size_t n, FILE *out)
{
	bool *keep;

	fputs("# Live changes in force, for conf.d; the newest of each.  A file may override the\n"
	      "# same thing once only: take out what these replace.\n",
	    out);
	fputs(n == 0 ? "overrides: []\n" : "overrides:\n", out);
	keep = xrealloc(NULL, n + 1, sizeof(*keep));
	newest_of_each(changes, n, keep);
	for (size_t i = 0; i < n; i++)
		if (keep[i])
			put_change(out, &changes[i]);
	free(keep);
}
