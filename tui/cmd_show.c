/*
 * cmd_show.c - one key: what a call would be answered and why (show), and a
 * call itself (acquire).  Neither needs rationd.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "rate.h"

/* Where a key's effective limit comes from. */
struct source {
	bool in_table; /* the key has a slot */
	bool listed;   /* the policy names the key */
	struct model_row row;
	int64_t until; /* POLICY_ENDLESS */
	char origin[512];
	char mode[16];
};

/* Arguments LIMIT KEY.  The key as bytes; its length, or -1 and it was said. */
static int
key_argument(const char *what, const struct args *a, unsigned char key[256])
{
	int n = key_parse(a->pos[1], key);

	if (n < 0)
		complain(
		    "%s: \"%s\" is no key: 1 to 255 bytes as strvis(3) writes them, \\040 for a "
		    "blank, \\134 for \\",
		    what, a->pos[1]);
	return n;
}

/* From the policy alone: ruleset, its origin, mode, plan. */
static bool
source_policy(
    struct ctx *c, const char *limit, const unsigned char *key, size_t len, struct source *s)
{
	static const char *const modes[] = { "enforce", "observe", "off" };
	struct policy_ref p;
	struct ruleset rules;
	int64_t id, index;
	size_t n;

	for (int tries = 0; tries < 4; tries++) {
		if (!policy_current(c->seg.policy, &p))
			return false;
		id = policy_limit_id(&p, limit, strlen(limit));
		if (id < 0)
			return false;
		index = policy_resolve(&p, (uint32_t)id, key, len, &s->listed);
		if (index < 0 || !policy_ruleset(&p, (uint32_t)index, &rules))
			continue;
		s->until = rules.until;
		snprintf(s->origin, sizeof(s->origin), "%s", policy_string(&p, rules.origin, &n));
		snprintf(s->mode, sizeof(s->mode), "%s", rules.mode < 3 ? modes[rules.mode] : "?");
		snprintf(s->row.plan, sizeof(s->row.plan), "%s", policy_plan_name(&p, rules.plan));
		snprintf(s->row.env, sizeof(s->row.env), "%s", policy_env_name(&p, rules.env));
		if (policy_intact(&p))
			return true;
	}
	return false;
}

static void
source_table(
    struct ctx *c, const char *limit, const unsigned char *key, size_t len, struct source *s)
{
	struct model_row row;
	uint64_t slot, birth;
	struct model m;

	if (model_init(&m, &c->seg, false))
		return;
	if (model_find(&m, limit, key, len, &slot, &birth) &&
	    model_row_of(&m, slot, birth, ctx_now(c), &row)) {
		s->in_table = true;
		s->row.row = row.row;
	}
	model_free(&m);
}

static void
put_member(FILE *f, const char *name, const char *text)
{
	json_t *v = text && *text ? json_string(text) : json_null();
	char *s = json_dumps(v, JSON_ENCODE_ANY);

	fprintf(f, ",\"%s\":%s", name, s ? s : "null");
	free(s);
	json_decref(v);
}

static void
show_json(ration_t *r, const ration_decision_t *d, const unsigned char *key, size_t len,
    const struct source *s)
{
	char *more = NULL;
	size_t size;
	FILE *f = open_memstream(&more, &size);

	if (!f)
		return;
	fprintf(f, "\"admitted_total\":%llu,\"denied_total\":%llu,\"in_table\":%s,\"listed\":%s",
	    (unsigned long long)s->row.row.admitted, (unsigned long long)s->row.row.denied,
	    s->in_table ? "true" : "false", s->listed ? "true" : "false");
	put_member(f, "plan", s->row.plan);
	put_member(f, "environment", s->row.env);
	put_member(f, "mode", s->mode);
	put_member(f, "origin", s->origin);
	if (s->until != POLICY_ENDLESS)
		fprintf(f, ",\"until\":%lld", (long long)s->until);
	else
		fputs(",\"until\":null", f);
	fclose(f);
	print_decision_json(r, d, key, len, more);
	putchar('\n');
	free(more);
}

static void
show_line(const char *name, const char *text)
{
	printf("%-12s ", name);
	print_text(stdout, *text ? text : "-");
	putchar('\n');
}

static void
show_text(ration_t *r, const ration_decision_t *d, const struct args *a, const char *key,
    const struct source *s)
{
	char when[TIME_MAX], a_text[32], d_text[32];

	print_decision(r, d, a->pos[0], key);
	show_line("from", s->origin);
	if (s->until != POLICY_ENDLESS)
		show_line("until", time_text(s->until, when));
	show_line("plan", s->row.plan);
	show_line("environment", s->row.env);
	show_line("mode", s->mode);
	text_grouped(s->row.row.admitted, a_text, sizeof(a_text));
	text_grouped(s->row.row.denied, d_text, sizeof(d_text));
	printf("%-12s %s admitted, %s denied%s\n", "so far", a_text, d_text,
	    s->in_table ? "" : " (the key has no slot: nothing used)");
	if (d->nrates > 0) {
		putchar('\n');
		print_rates(d);
	}
}

/* Limit and key of a call of one claim. */
static ration_claim_t
claim_of(const struct args *a, const unsigned char *key, int len, uint64_t cost)
{
	return (ration_claim_t) { .size = sizeof(ration_claim_t),
		.limit = a->pos[0],
		.key = key,
		.key_len = (size_t)len,
		.cost = cost };
}

int
cmd_show(struct ctx *c, const struct args *a)
{
	ration_decision_t d = RATION_DECISION_INIT;
	struct source s = { .until = POLICY_ENDLESS };
	unsigned char key[256];
	char text[KEY_TEXT_MAX];
	ration_claim_t claim;
	ration_t *r;
	int len = key_argument("show", a, key), code = EXIT_OK, rc;

	if (len < 0)
		return EXIT_USAGE;
	code = ctx_attach(c);
	if (code)
		return code;
	if (!source_policy(c, a->pos[0], key, (size_t)len, &s)) {
		complain("show: %s: no such limit; ration status lists them", a->pos[0]);
		return EXIT_REFUSED;
	}
	source_table(c, a->pos[0], key, (size_t)len, &s);
	r = open_library(c, &code);
	if (!r)
		return code;
	claim = claim_of(a, key, len, 1);
	rc = ration_peek_all(r, &claim, 1, &d);
	key_text(key, (size_t)len, text);
	if (rc < 0) {
		complain("show: %s %s: %s", a->pos[0], text, ration_strerror(rc));
		code = rc == RATION_ENOLIMIT ? EXIT_REFUSED : EXIT_SERVICE;
	} else if (c->json) {
		show_json(r, &d, key, (size_t)len, &s);
	} else {
		show_text(r, &d, a, text, &s);
	}
	ration_close(r);
	return code;
}

static int
acquire_code(int rc)
{
	switch (rc) {
	case RATION_ADMITTED:
		return EXIT_OK;
	case RATION_DENIED:
		return EXIT_REFUSED;
	case RATION_EINVAL:
	case RATION_ENOLIMIT:
	case RATION_EKEY:
	case RATION_ECOST:
		return EXIT_USAGE;
	default:
		return EXIT_SERVICE;
	}
}

int
cmd_acquire(struct ctx *c, const struct args *a)
{
	ration_decision_t d = RATION_DECISION_INIT;
	unsigned char key[256];
	char text[KEY_TEXT_MAX], err[128];
	ration_claim_t claim;
	uint64_t cost = 1;
	ration_t *r;
	int len = key_argument("acquire", a, key), code = EXIT_OK, rc;

	if (len < 0)
		return EXIT_USAGE;
	if (a->opt[OPT_COST] && quantity_parse(a->opt[OPT_COST], &cost, err, sizeof(err))) {
		complain("acquire: --cost: %s", err);
		return EXIT_USAGE;
	}
	r = open_library(c, &code);
	if (!r)
		return code;
	claim = claim_of(a, key, len, cost);
	rc = ration_acquire_all(r, &claim, 1, &d);
	key_text(key, (size_t)len, text);
	if (rc < 0) {
		complain("acquire: %s %s: %s", a->pos[0], text, ration_strerror(rc));
	} else if (c->json) {
		print_decision_json(r, &d, key, (size_t)len, NULL);
		putchar('\n');
	} else {
		print_decision(r, &d, a->pos[0], text);
	}
	ration_close(r);
	return acquire_code(rc);
}
