/*
 * cmd_show.c - one key: what a call would be answered and why (show), and a
 * call itself (acquire).  Neither needs rationd.
 */
#include "commands.h"

#include <stdlib.h>
#include <string.h>

#include "rate.h"
#include "source.h"

/* What is known of a key: why it gets what it gets, and what it has had. */
struct shown {
	bool in_table; /* the key has a slot */
	struct model_row row;
	struct source source;
};

static void
read_table(struct ctx *c, const char *limit, const unsigned char *key, size_t len, struct shown *s)
{
	struct model_row row;
	uint64_t slot, birth;
	struct model m;

	if (model_init(&m, &c->seg, false))
		return;
	if (model_find(&m, limit, key, len, &slot, &birth) &&
	    model_row_of(&m, slot, birth, ctx_now(c), &row)) {
		s->in_table = true;
		s->row = row;
	}
	model_free(&m);
}

static void
show_json(ration_t *r, const ration_decision_t *d, const unsigned char *key, size_t len,
    const struct shown *s)
{
	char *more = NULL;
	size_t size;
	FILE *f = open_memstream(&more, &size);

	if (!f)
		return;
	fprintf(f, "\"admitted_total\":%llu,\"denied_total\":%llu,\"in_table\":%s",
	    (unsigned long long)s->row.row.admitted, (unsigned long long)s->row.row.denied,
	    s->in_table ? "true" : "false");
	source_put_json(f, &s->source);
	fclose(f);
	print_decision_json(r, d, key, len, more);
	putchar('\n');
	free(more);
}

/* An entitlement: nothing is decided, nothing counted. */
static void
show_value(struct ctx *c, const char *limit, const char *key, const struct source *s)
{
	json_t *head;
	char *text;

	if (!c->json) {
		source_print_value(limit, key, s);
		return;
	}
	head = json_pack("{s:s, s:s, s:s?}", "limit", limit, "key", key, "value",
	    s->has_value ? s->value : NULL);
	text = head ? json_dumps(head, JSON_COMPACT) : NULL;
	if (text) {
		/* Its last brace comes behind the rest. */
		printf("%.*s", (int)strlen(text) - 1, text);
		source_put_json(stdout, s);
		puts("}");
	}
	free(text);
	json_decref(head);
}

static void
show_text(ration_t *r, const ration_decision_t *d, const struct args *a, const char *key,
    const struct shown *s)
{
	char a_text[32], d_text[32];

	print_decision(r, d, a->pos[0], key);
	source_print(&s->source);
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
	struct shown s = { .in_table = false };
	unsigned char key[256];
	char text[KEY_TEXT_MAX];
	ration_claim_t claim;
	ration_t *r;
	int len = key_argument("show", a->pos[1], key), code = EXIT_OK, rc;
	int64_t now;

	if (len < 0)
		return EXIT_USAGE;
	code = ctx_attach(c);
	if (code)
		return code;
	now = clock_unix(c->seg.policy, ctx_now(c)) / 1000000000;
	if (!source_read(c->seg.policy, a->pos[0], key, (size_t)len, now, &s.source)) {
		complain("show: %s: no such limit; ration status lists them", a->pos[0]);
		return EXIT_REFUSED;
	}
	key_text(key, (size_t)len, text);
	if (s.source.is_value) {
		show_value(c, a->pos[0], text, &s.source);
		return s.source.has_value ? EXIT_OK : EXIT_REFUSED;
	}
	read_table(c, a->pos[0], key, (size_t)len, &s);
	r = open_library(c, &code);
	if (!r)
		return code;
	claim = claim_of(a, key, len, 1);
	rc = ration_peek_all(r, &claim, 1, &d);
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

int
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
	case RATION_ELEASE:
	case RATION_EADDRESS:
		return EXIT_USAGE;
	default:
		return EXIT_SERVICE;
	}
}

int
span_option(
    const char *what, const struct args *a, enum option_id id, const char *name, uint64_t *ns)
{
	char err[128];

	if (!a->opt[id] || duration_parse(a->opt[id], ns, err, sizeof(err)) == 0)
		return EXIT_OK;
	complain("%s: --%s: %s", what, name, err);
	return EXIT_USAGE;
}

struct timespec
deadline_in(uint64_t ns)
{
	uint64_t at = mono_now() + ns;

	return (struct timespec) { .tv_sec = (time_t)(at / 1000000000),
		.tv_nsec = (long)(at % 1000000000) };
}

/* The call that acquire makes: --cost, --wait, --spread. */
static int
acquire_options(const struct args *a, uint64_t *cost, uint64_t *wait_ns)
{
	char err[128];

	if (a->opt[OPT_COST] && quantity_parse(a->opt[OPT_COST], cost, err, sizeof(err))) {
		complain("acquire: --cost: %s", err);
		return EXIT_USAGE;
	}
	if (a->opt[OPT_SPREAD] && !a->opt[OPT_WAIT]) {
		complain("acquire: --spread goes with --wait: who does not wait has no pace");
		return EXIT_USAGE;
	}
	return span_option("acquire", a, OPT_WAIT, "wait", wait_ns);
}

/* A lease would end with this command: it is not what acquire is for. */
static int
without_lease(ration_t *r, const ration_decision_t *d, int rc)
{
	ration_lease_t lease;

	if (rc == RATION_ADMITTED && ration_decision_lease(r, d, 0, &lease) == 0) {
		(void)ration_release(r, &lease);
		return RATION_ELEASE;
	}
	return rc == RATION_DENIED && d->kind == RATION_CONCURRENT ? RATION_ELEASE : rc;
}

int
cmd_acquire(struct ctx *c, const struct args *a)
{
	ration_decision_t d = RATION_DECISION_INIT;
	unsigned char key[256];
	char text[KEY_TEXT_MAX];
	ration_claim_t claim;
	struct timespec until;
	uint64_t cost = 1, wait_ns = 0;
	ration_t *r;
	int len = key_argument("acquire", a->pos[1], key), code = EXIT_OK, rc;

	if (len < 0 || acquire_options(a, &cost, &wait_ns) != EXIT_OK)
		return EXIT_USAGE;
	r = open_library(c, &code);
	if (!r)
		return code;
	claim = claim_of(a, key, len, cost);
	until = deadline_in(wait_ns);
	if (a->opt[OPT_WAIT])
		rc = ration_wait(r, a->pos[0], key, (size_t)len, cost,
		    a->opt[OPT_SPREAD] ? RATION_SPREAD : 0, &until, &d);
	else
		rc = without_lease(r, &d, ration_acquire_all(r, &claim, 1, &d));
	key_text(key, (size_t)len, text);
	if (rc == RATION_ELEASE) {
		complain(
		    "acquire: %s: the limit is of leases: take one with ration exec, or ration "
		    "lease",
		    a->pos[0]);
	} else if (rc < 0) {
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
