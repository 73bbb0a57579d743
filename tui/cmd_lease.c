/*
 * cmd_lease.c - leases: a command that runs while one is held (exec), and ones that stay until
 * they are released by name (lease, release).
 *
 * None of them needs rationd; it is what gives the leases of a killed `ration exec` back at once
 * also when nobody asks for them.
 */
#include "commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "child.h"
#include "rate.h"

/* A limit's key from the command line, and the library. */
struct target {
	const char *what; /* the command */
	const char *limit;
	unsigned char key[256];
	size_t len;
	char text[KEY_TEXT_MAX];
	ration_t *r;
};

static int
parse_key(const char *what, const char *text, const char *of, unsigned char key[256], size_t *len)
{
	int n = key_parse(text, key);

	*len = n > 0 ? (size_t)n : 0;
	if (n >= 0)
		return EXIT_OK;
	complain("%s: \"%s\" is no %s: 1 to 255 bytes as strvis(3) writes them, \\040 for a "
		 "blank, \\134 for \\",
	    what, text, of);
	return EXIT_USAGE;
}

/* LIMIT KEY, and the library open.  EXIT_OK, or an exit code and it was said. */
static int
target_open(struct ctx *c, const char *what, const struct args *a, struct target *t)
{
	int code = EXIT_OK;

	t->what = what;
	t->limit = a->pos[0];
	t->r = NULL;
	if (parse_key(what, a->pos[1], "key", t->key, &t->len))
		return EXIT_USAGE;
	key_text(t->key, t->len, t->text);
	t->r = open_library(c, &code);
	return code;
}

/* What a call of the library returned, as an exit code; errors are said. */
static int
answer(const struct target *t, int rc)
{
	switch (rc) {
	case RATION_ADMITTED:
		return EXIT_OK;
	case RATION_DENIED:
		return EXIT_REFUSED;
	default:
		complain("%s: %s %s: %s", t->what, t->limit, t->text,
		    rc == RATION_ESYS ? strerror(errno) : ration_strerror(rc));
	}
	switch (rc) {
	case RATION_EINVAL:
	case RATION_ENOLIMIT:
	case RATION_EKEY:
	case RATION_ECOST:
	case RATION_ERATE:
	case RATION_ELEASE:
		return EXIT_USAGE;
	case RATION_EQUEUE:
		return EXIT_REFUSED;
	default:
		return EXIT_SERVICE;
	}
}

/* ---- exec ---- */

/* What a command runs under: a lease, or units that were taken. */
struct permission {
	uint64_t cost;
	bool cost_given;
	uint64_t ttl_ns;         /* 0: none */
	bool waits;              /* --wait */
	struct timespec wait_to; /* CLOCK_MONOTONIC */
	ration_lease_t lease;
	bool leased;
	uint64_t until_ns; /* the lease ends; 0: with us */
	ration_decision_t d;
};

static int
permission_options(const struct args *a, struct permission *p)
{
	uint64_t wait_ns = 0;
	char err[128];

	memset(p, 0, sizeof(*p));
	p->d.size = sizeof(p->d);
	p->cost = 1;
	p->cost_given = a->opt[OPT_COST] != NULL;
	if (p->cost_given && quantity_parse(a->opt[OPT_COST], &p->cost, err, sizeof(err))) {
		complain("exec: --cost: %s", err);
		return EXIT_USAGE;
	}
	if (span_option("exec", a, OPT_TTL, "ttl", &p->ttl_ns) ||
	    span_option("exec", a, OPT_WAIT, "wait", &wait_ns))
		return EXIT_USAGE;
	if (p->ttl_ns > RATION_TTL_MAX * UINT64_C(1000000)) {
		complain("exec: --ttl: above 9h, the longest that a lease may have");
		return EXIT_USAGE;
	}
	p->waits = a->opt[OPT_WAIT] != NULL;
	p->wait_to = deadline_in(wait_ns);
	return EXIT_OK;
}

static int
take_units(const struct target *t, struct permission *p)
{
	ration_claim_t claim = { .size = sizeof(claim),
		.limit = t->limit,
		.key = t->key,
		.key_len = t->len,
		.cost = p->cost };

	if (p->waits)
		return ration_wait(t->r, t->limit, t->key, t->len, p->cost, 0, &p->wait_to, &p->d);
	return ration_acquire_all(t->r, &claim, 1, &p->d);
}

/* Of whichever kind the limit is.  Options for the other kind are wrong use: NULL or what. */
static int
take(const struct target *t, struct permission *p, const char **wrong)
{
	uint64_t ttl_ms = (p->ttl_ns + 999999) / 1000000;
	int rc = p->waits ? ration_lease_wait(t->r, t->limit, t->key, t->len, ttl_ms, 0,
				&p->wait_to, &p->lease, &p->d)
			  : ration_lease(t->r, t->limit, t->key, t->len, ttl_ms, &p->lease, &p->d);

	*wrong = NULL;
	p->leased = rc == RATION_ADMITTED;
	/* Now, not once the command runs: it is to end before its lease does. */
	if (p->leased && p->ttl_ns != 0)
		p->until_ns = mono_now() + p->ttl_ns;
	if (p->cost_given && rc >= 0) {
		*wrong = "--cost: the limit is of leases, and a command takes one";
		if (p->leased)
			(void)ration_release(t->r, &p->lease);
		return RATION_EINVAL;
	}
	if (rc != RATION_ERATE)
		return rc;
	if (p->ttl_ns != 0) {
		*wrong = "--ttl: the limit is of rates, and units have no time to live";
		return RATION_EINVAL;
	}
	return take_units(t, p);
}

static void
give_back(const struct target *t, struct permission *p, bool ran)
{
	if (p->leased)
		(void)ration_release(t->r, &p->lease);
	else if (!ran)
		(void)ration_refund(t->r, &p->d, p->cost);
}

static int
run_command(const struct target *t, struct permission *p, char **argv)
{
	struct child child;
	int code;

	if (!child_start(&child, argv)) {
		give_back(t, p, false);
		complain("exec: %s: %s", argv[0], strerror(child.error));
		return child.error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
	}
	code = child_wait(&child, p->until_ns);
	give_back(t, p, true);
	return code;
}

int
cmd_exec(struct ctx *c, const struct args *a)
{
	struct permission p;
	struct target t;
	const char *wrong;
	int code = permission_options(a, &p), rc;

	if (code)
		return code;
	code = target_open(c, "exec", a, &t);
	if (code)
		return code;
	rc = take(&t, &p, &wrong);
	if (wrong) {
		complain("exec: %s", wrong);
		code = EXIT_USAGE;
	} else {
		code = answer(&t, rc);
	}
	if (rc == RATION_DENIED)
		fprint_decision(stderr, t.r, &p.d, t.limit, t.text);
	/* The output is the command's from now on. */
	if (code == EXIT_OK)
		code = run_command(&t, &p, a->pos + 2);
	ration_close(t.r);
	return code;
}

/* ---- lease, release ---- */

static int
name_option(const char *what, const struct args *a, unsigned char name[256], size_t *len)
{
	if (a->opt[OPT_NAME])
		return parse_key(what, a->opt[OPT_NAME], "name", name, len);
	complain("%s: --name: expected, it is what a lease that stays is released by", what);
	return EXIT_USAGE;
}

int
cmd_lease(struct ctx *c, const struct args *a)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_lease_t lease = { 0 };
	unsigned char name[256];
	struct target t;
	size_t len;
	int code = name_option("lease", a, name, &len), rc;

	if (code)
		return code;
	code = target_open(c, "lease", a, &t);
	if (code)
		return code;
	rc = ration_lease_named(t.r, t.limit, t.key, t.len, name, len, &lease, &d);
	code = answer(&t, rc);
	if (rc >= 0 && c->json) {
		print_decision_json(t.r, &d, t.key, t.len, NULL);
		putchar('\n');
	} else if (rc >= 0) {
		print_decision(t.r, &d, t.limit, t.text);
	}
	ration_close(t.r);
	return code;
}

int
cmd_release(struct ctx *c, const struct args *a)
{
	char name_text[KEY_TEXT_MAX];
	unsigned char name[256];
	struct target t;
	size_t len;
	int code = name_option("release", a, name, &len), rc;

	if (code)
		return code;
	code = target_open(c, "release", a, &t);
	if (code)
		return code;
	rc = ration_release_named(t.r, t.limit, t.key, t.len, name, len);
	key_text(name, len, name_text);
	if (rc == RATION_ESTALE) {
		complain(
		    "release: %s %s: no lease of the name %s is held", t.limit, t.text, name_text);
		code = EXIT_REFUSED;
	} else if (rc != 0) {
		code = answer(&t, rc);
	} else if (c->json) {
		json_t *done = json_pack("{s:b, s:s, s:s, s:s}", "released", 1, "limit", t.limit,
		    "key", t.text, "name", name_text);

		print_json(done);
		json_decref(done);
	} else {
		printf("released %s %s: %s\n", t.limit, t.text, name_text);
	}
	ration_close(t.r);
	return code;
}
