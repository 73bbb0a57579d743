/*
 * test_compile.c - a policy compiled into an area and read back as libration reads it: who
 * gets what and why, live changes and their ends, stable ids, what does not fit; and
 * that 100,000 keys take less than two seconds.
 */
#include "compiled.h"
#include "rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

#define HOUR 3600

static const char policy[] =
    "plans: [starter, growth, enterprise]\n"                              /* 1 */
    "environments: {sandbox: 0.1, local: unlimited}\n"                    /* 2 */
    "defaults: {timezone: Europe/Madrid}\n"                               /* 3 */
    "limits:\n"                                                           /* 4 */
    "  tokens: {per: month, plans: [500k, 2.5M, custom]}\n"               /* 5 */
    "  api: {per: h, plans: [10, 300, custom], rates: [100, 30/s]}\n"     /* 6 */
    "  per-ip: {rates: 10/s burst 20, mode: observe, when_full: admit}\n" /* 7 */
    "  known: {rates: 5/min, unlisted: refuse, max_keys: 3k}\n"           /* 8 */
    "  users: {values: [3, 10, custom]}\n"                                /* 9 */
    "  tokyo: {rates: 9/day, timezone: Asia/Tokyo}\n"                     /* 10 */
    "assign:\n"                                                           /* 11 */
    "  'clinic:7': growth\n"                                              /* 12 */
    "  'box 1': {plan: starter, environment: sandbox}\n"                  /* 13 */
    "  dev: {plan: growth, environment: local}\n"                         /* 14 */
    "  big: enterprise\n"                                                 /* 15 */
    "overrides:\n"                                                        /* 16 */
    "  - {key: 'clinic:77', limit: tokens, rates: 40M/month, until: 2027-01-01, reason: contract "
    "4711}\n"                                                  /* 17 */
    "  - {key: 'clinic:7', limit: api, rates: [7/min, 9/h]}\n" /* 18 */
    "  - {limit: tokyo, mode: off, until: 2020-01-01}\n";      /* 19 */

/* As text: "300/hour; enforce; ration.yaml:6: plan growth". */
static const char *
got(const char *limit, const char *key, int64_t t)
{
	static char buf[1024];
	struct ruleset r = ruleset_of(limit, key, t);
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < r.nrates; i++) {
		const struct rate_def *d = &r.rates[i];
		struct rate_spec s = {
			.kind = d->kind, .units = d->units, .window_ns = d->window_ns
		};
		char text[64];

		if (d->kind == RATION_BUCKET) {
			s.burst = d->units;
			s.units = d->rate_units;
		}
		rate_format(&s, text, sizeof(text));
		len += (size_t)snprintf(
		    buf + len, sizeof(buf) - len, "%s%s", i == 0 ? "" : ", ", text);
		assert_true(d->shape != 0);
	}
	snprintf(buf + len, sizeof(buf) - len, "; %s; %s", mode_names[r.mode],
	    policy_string(&ref, r.origin, NULL));
	return buf;
}

static struct change
rates_change(const char *limit, const char *key, const char *plan, const char *rates, int64_t until)
{
	struct change ch = { .kind = CHANGE_RATES, .until = until, .when = NOW };
	char err[128];
	int n = rate_parse_list(rates, ch.rates, RATION_RATES_MAX, err, sizeof(err));

	assert_true(n > 0);
	ch.nrates = (uint8_t)n;
	snprintf(ch.limit, sizeof(ch.limit), "%s", limit);
	snprintf(ch.plan, sizeof(ch.plan), "%s", plan);
	ch.key_len = strlen(key);
	memcpy(ch.key, key, ch.key_len);
	snprintf(ch.who, sizeof(ch.who), "ann");
	return ch;
}

static void
test_effective(void **state)
{
	struct config *c = load(policy);

	assert_int_equal(compile(c, NULL, 0), 0);
	assert_string_equal(
	    got("tokens", "clinic:7", NOW), "2.5M/month; enforce; ration.yaml:5: plan growth");
	assert_string_equal(got("tokens", "box 1", NOW),
	    "50k/month; enforce; ration.yaml:5: plan starter x environment sandbox (0.1)");
	assert_string_equal(got("api", "box 1", NOW),
	    "1/hour; enforce; ration.yaml:6: plan starter x environment sandbox (0.1)");
	assert_string_equal(got("tokens", "dev", NOW),
	    "unlimited; enforce; ration.yaml:5: plan growth x environment local (unlimited)");
	/* custom: the default if there is one, else nothing */
	assert_string_equal(
	    got("api", "big", NOW), "100/hour, 30/s; enforce; ration.yaml:6: default");
	assert_string_equal(got("tokens", "big", NOW),
	    "0/month; enforce; ration.yaml:5: plan enterprise is custom and there is no override");
	assert_string_equal(got("tokens", "stranger", NOW),
	    "0/month; enforce; ration.yaml:5: no plan and no default");
	/* overrides; the longest window first */
	assert_string_equal(got("tokens", "clinic:77", NOW),
	    "40M/month; enforce; ration.yaml:17: override, contract 4711, until 2027-01-01");
	assert_string_equal(got("tokens", "clinic:77", 1798758000),
	    "0/month; enforce; ration.yaml:5: no plan and no default");
	assert_string_equal(
	    got("api", "clinic:7", NOW), "9/hour, 7/min; enforce; ration.yaml:18: override");
	assert_string_equal(
	    got("per-ip", "x", NOW), "10/s burst 20; observe; ration.yaml:7: default");
	assert_string_equal(got("users", "clinic:7", NOW), "; enforce; ration.yaml:9: plan growth");
	assert_string_equal(got("tokyo", "x", NOW), "9/day; enforce; ration.yaml:10: default");
	config_free(c);
}

static void
test_fields(void **state)
{
	struct config *c = load(policy);
	struct policy_ref p;
	struct ruleset r;
	struct limit_def l;
	struct key_def k;
	int64_t start, end;
	bool listed;

	assert_int_equal(compile(c, NULL, 0), 0);
	p = ref;
	r = ruleset_of("known", "x", NOW);
	assert_int_equal(r.flags, 0);                                       /* unlisted: refuse */
	assert_int_equal(ruleset_of("api", "x", NOW).flags, RULESET_PLAIN); /* two rates */
	assert_int_equal(ruleset_of("per-ip", "x", NOW).flags, 0);          /* a bucket, observed */
	assert_int_equal(ruleset_of("tokens", "dev", NOW).flags, 0);        /* unlimited */
	assert_true(policy_limit(&p, (uint32_t)policy_limit_id(&p, "known", 5), &l));
	assert_int_equal(l.flags, LIMIT_UNLISTED_REFUSE);
	assert_int_equal(l.max_keys, 3000);
	assert_string_equal(policy_string(&p, l.origin, NULL), "ration.yaml:8");
	assert_true(policy_limit(&p, (uint32_t)policy_limit_id(&p, "per-ip", 6), &l));
	assert_int_equal(l.flags, LIMIT_FULL_ADMIT);
	assert_true(policy_key(&p, policy_hash("box 1", 5), "box 1", 5, &k));
	assert_string_equal(policy_plan_name(&p, k.plan), "starter");
	assert_string_equal(policy_env_name(&p, k.env), "sandbox");
	assert_false(policy_key(&p, policy_hash("box 2", 5), "box 2", 5, &k));
	policy_resolve(&p, 0, "clinic:77", 9, &listed);
	assert_true(listed);
	policy_resolve(&p, 0, "clinic:78", 9, &listed);
	assert_false(listed);
	assert_int_equal(policy_limit_id(&p, "nothing", 7), -1);
	/* Calendar periods of their own zones: November in Madrid, a day in Tokyo. */
	r = ruleset_of("tokens", "clinic:7", NOW);
	assert_true(policy_period(&p, &r.rates[0], NOW * 1000000000, &start, &end));
	assert_true(start == 1793487600 && end == 1796079600);
	r = ruleset_of("tokyo", "x", NOW);
	assert_true(policy_period(&p, &r.rates[0], NOW * 1000000000, &start, &end));
	assert_true(start == 1795273200 && end == start + 86400);
	config_free(c);
}

static void
test_share_and_default_plan(void **state)
{
	struct config *c = load("share: 1/6\nplans: [a, b]\nenvironments: {half: 0.5}\n"
				"defaults: {plan: b}\n"
				"limits: {api: {per: min, plans: [60, 300]}, ip: 5/s}\n"
				"assign: {k: {environment: half}}\n");

	assert_int_equal(compile(c, NULL, 0), 0);
	assert_string_equal(
	    got("api", "x", NOW), "50/min; enforce; ration.yaml:5: plan b x share 1/6");
	assert_string_equal(got("api", "k", NOW),
	    "25/min; enforce; ration.yaml:5: plan b x environment half (0.5) x share 1/6");
	/* Rounded down, but never to nothing; environments are for plans. */
	assert_string_equal(
	    got("ip", "k", NOW), "1/s; enforce; ration.yaml:5: default x share 1/6");
	config_free(c);
}

static void
test_changes(void **state)
{
	struct config *c = load(policy);
	struct change ch[8];
	size_t n = 0;

	ch[n++] = rates_change("tokens", "", "growth", "3M/month", POLICY_ENDLESS);
	ch[n++] = rates_change("api", "", "", "77/min", POLICY_ENDLESS);
	ch[n++] = rates_change("api", "new\nkey", "", "5/s", NOW + HOUR);
	snprintf(ch[n - 1].reason, sizeof(ch[0].reason), "load test");
	ch[n++] = rates_change("api", "gone", "", "5/s", NOW); /* its time has passed */
	ch[n] = (struct change) { .kind = CHANGE_PLAN,
		.plan = "growth",
		.until = POLICY_ENDLESS,
		.key = "newcomer",
		.key_len = 8 };
	n++;
	ch[n] = (struct change) { .kind = CHANGE_ENV,
		.plan = "sandbox",
		.until = POLICY_ENDLESS,
		.key = "newcomer",
		.key_len = 8 };
	n++;
	ch[n] = (struct change) {
		.kind = CHANGE_PLAN, .plan = "", .until = POLICY_ENDLESS, .key = "dev", .key_len = 3
	};
	n++;
	assert_int_equal(compile(c, ch, n), 0);
	assert_string_equal(
	    got("tokens", "clinic:7", NOW), "3M/month; enforce; plan growth by ann");
	assert_string_equal(got("tokens", "newcomer", NOW),
	    "300k/month; enforce; plan growth by ann x environment sandbox (0.1)");
	assert_string_equal(got("api", "x", NOW), "77/min; enforce; default by ann");
	assert_string_equal(got("api", "gone", NOW), "77/min; enforce; default by ann");
	assert_string_equal(got("api", "new\nkey", NOW),
	    "5/s; enforce; override by ann, load test, until 2026-11-21 20:00");
	assert_string_equal(got("api", "new\nkey", NOW + HOUR), "77/min; enforce; default by ann");
	assert_string_equal(
	    got("tokens", "dev", NOW), "0/month; enforce; ration.yaml:5: no plan and no default");
	config_free(c);
}

/* Of several changes of one thing the newest in force applies, then the next older one. */
static void
test_chain(void **state)
{
	struct config *c = load(policy);
	struct change ch[24];
	size_t n = 0;
	struct ruleset r;

	ch[n++] = rates_change("known", "k", "", "1/min", NOW + 5 * HOUR);
	ch[n++] = rates_change("known", "k", "", "2/min", NOW + 3 * HOUR);
	ch[n++] = rates_change("known", "k", "", "3/min", NOW + 4 * HOUR);
	ch[n++] = rates_change("known", "k", "", "4/min", NOW + HOUR);
	ch[n] = (struct change) {
		.kind = CHANGE_MODE, .mode = MODE_OBSERVE, .until = NOW + 2 * HOUR, .who = "bob"
	};
	n++;
	assert_int_equal(compile(c, ch, n), 0);
	assert_int_equal(ruleset_of("known", "k", NOW).flags, 0);
	assert_string_equal(got("known", "k", NOW),
	    "4/min; observe; override by ann, until 2026-11-21 20:00; observe by bob, until "
	    "2026-11-21 21:00");
	assert_string_equal(got("known", "k", NOW + HOUR),
	    "3/min; observe; override by ann, until 2026-11-21 23:00; observe by bob, until "
	    "2026-11-21 21:00");
	assert_string_equal(got("known", "k", NOW + 2 * HOUR),
	    "3/min; enforce; override by ann, until 2026-11-21 23:00");
	assert_string_equal(
	    got("known", "k", NOW + 4 * HOUR), "1/min; enforce; override by ann, until 2026-11-22");
	assert_string_equal(
	    got("known", "k", NOW + 5 * HOUR), "5/min; enforce; ration.yaml:8: default");
	/* Everybody else is only observed for a while; then plain again. */
	assert_string_equal(got("known", "x", NOW),
	    "5/min; observe; ration.yaml:8: default; observe by bob, until 2026-11-21 21:00");
	r = ruleset_of("known", "x", NOW + 2 * HOUR);
	assert_int_equal(r.mode, MODE_ENFORCE);
	assert_true(r.until == POLICY_ENDLESS);

	/* More ends than a reader follows: after the last link what stays for good. */
	n = 0;
	for (int i = 20; i > 0; i--)
		ch[n++] = rates_change("known", "k", "", "8/min", NOW + i * HOUR);
	assert_int_equal(compile(c, ch, n), 0);
	assert_string_equal(
	    got("known", "k", NOW + 21 * HOUR), "5/min; enforce; ration.yaml:8: default");
	config_free(c);
}

static void
test_modes_and_share(void **state)
{
	struct config *c = load(policy);
	struct change ch[4] = {
		{ .kind = CHANGE_MODE, .mode = MODE_OFF, .until = POLICY_ENDLESS, .who = "ann" },
		{ .kind = CHANGE_MODE,
		    .mode = MODE_ENFORCE,
		    .until = POLICY_ENDLESS,
		    .who = "ann",
		    .limit = "per-ip" },
		{ .kind = CHANGE_SHARE,
		    .share_num = 1,
		    .share_den = 2,
		    .until = POLICY_ENDLESS,
		    .who = "ann" },
		{ .kind = CHANGE_SHARE,
		    .share_num = 1,
		    .share_den = 4,
		    .until = NOW + HOUR,
		    .who = "ann" },
	};

	assert_int_equal(compile(c, ch, 4), 0);
	/* off: nothing is counted; the newer change of one limit goes before that of all */
	assert_string_equal(
	    got("known", "x", NOW), "; off; ration.yaml:8: default x share 1/4; off by ann");
	assert_string_equal(got("per-ip", "x", NOW),
	    "2/s burst 5; enforce; ration.yaml:7: default x share 1/4; enforce by ann");
	assert_string_equal(got("per-ip", "x", NOW + HOUR),
	    "5/s burst 10; enforce; ration.yaml:7: default x share 1/2; enforce by ann");
	config_free(c);
}

static void
test_bad_changes(void **state)
{
	struct config *c = load(policy);
	struct change ch[5];
	unsigned char before[64];

	ch[0] = rates_change("apy", "k", "", "1/s", POLICY_ENDLESS);
	ch[1] = rates_change("api", "", "gold", "1/s", POLICY_ENDLESS);
	ch[2] = rates_change("users", "", "", "1/s", POLICY_ENDLESS);
	ch[3] = (struct change) { .kind = CHANGE_ENV,
		.plan = "moon",
		.until = POLICY_ENDLESS,
		.key = "k",
		.key_len = 1 };
	ch[4] = (struct change) { .kind = CHANGE_PLAN, .plan = "growth", .until = POLICY_ENDLESS };
	for (int i = 0; i < 5; i++)
		ch[i].id = i + 1;
	memset(area, 0xa5, sizeof(before));
	memcpy(before, area, sizeof(before));
	assert_int_equal(compile(c, ch, 5), -1);
	assert_memory_equal(area, before, sizeof(before)); /* nothing half-written */
	assert_int_equal(m.n, 5);
	assert_string_equal(
	    m.text[0], "change 1 by ann: found \"apy\", expected a limit of the policy");
	assert_string_equal(
	    m.text[1], "change 2 by ann: found \"gold\", expected a plan of the policy");
	assert_string_equal(m.text[2],
	    "change 3 by ann: found \"users\", expected a limit that is counted: this one holds "
	    "values");
	assert_string_equal(
	    m.text[3], "change 4 by : found \"moon\", expected an environment of the policy");
	assert_string_equal(m.text[4], "change 5 by : found \"\", expected a key");
	mistakes_free(&m);

	ch[0] = rates_change("api", "k", "", "1/s, 2/min, 3/h", POLICY_ENDLESS);
	assert_int_equal(config_compile(c, ch, 1, NULL, 2, NOW, area, AREA, 1, &m), -1);
	assert_int_equal(m.n, 1);
	assert_string_equal(m.text[0],
	    "limit api: found 3 rates (override by ann), expected at most 2: the table was made "
	    "so, see table.rates");
	mistakes_free(&m);
	config_free(c);
	c = load("plans: [a]\nenvironments: {big: 10}\nlimits: {l: {plans: [1/s]}}\n");
	ch[0] = rates_change("l", "", "a", "1G/s", POLICY_ENDLESS);
	assert_int_equal(compile(c, ch, 1), -1);
	assert_int_equal(m.n, 1);
	assert_string_equal(m.text[0],
	    "limit l: found more units (plan a by ann x environment big (10)) than expected: its "
	    "counter holds at most 10^9, of days, months and fixed windows 10^12");
	mistakes_free(&m);
	assert_int_equal(
	    config_compile(c, NULL, 0, NULL, 4, NOW, area, 4096, 1, &m), CONFIG_NO_ROOM);
	assert_non_null(
	    strstr(m.text[0], "expected at most the 4096 that the segment has room for"));
	mistakes_free(&m);
	config_free(c);
}

/* Ids stay, over reloads that drop, add and bring back limits. */
static void
test_ids(void **state)
{
	struct config *first = load("limits: {a: 1/s, b: 1/s, c: 1/s}\n");
	struct config *second = load("limits: {d: 1/s, c: 1/s, a: 1/s}\n");
	struct config *third = load("limits: {b: 2/s}\n");
	void *other = aligned_alloc(64, AREA);
	struct ruleset r;
	struct limit_def l;

	assert_non_null(other);
	assert_int_equal(compile(first, NULL, 0), 0);
	assert_int_equal(config_compile(second, NULL, 0, area, 4, NOW, other, AREA, 2, &m), 0);
	ref.area = other;
	assert_int_equal(policy_limit_id(&ref, "a", 1), 0);
	assert_int_equal(policy_limit_id(&ref, "b", 1), -1);
	assert_int_equal(policy_limit_id(&ref, "c", 1), 2);
	assert_int_equal(policy_limit_id(&ref, "d", 1), 3);
	assert_true(policy_limit(&ref, 1, &l));
	assert_int_equal(l.flags, LIMIT_GONE);
	assert_int_equal(((struct policy_area *)other)->version, 2);
	assert_int_equal(config_compile(third, NULL, 0, other, 4, NOW, area, AREA, 3, &m), 0);
	ref.area = area;
	assert_int_equal(policy_limit_id(&ref, "b", 1), 1);
	assert_int_equal(policy_limit_id(&ref, "a", 1), -1);
	assert_int_equal(ref.area->nlimits, 4);
	r = ruleset_of("b", "x", NOW);
	assert_int_equal(r.rates[0].units, 2);
	config_free(first);
	config_free(second);
	config_free(third);
	free(other);
}

static void
test_too_many_limits(void **state)
{
	void *other = aligned_alloc(64, AREA);
	char *text = malloc(64 * 1024), *p = text;
	struct config *c;

	assert_non_null(text);
	assert_non_null(other);
	p += sprintf(p, "limits:\n");
	for (unsigned i = 0; i < LIMITS_MAX; i++)
		p += sprintf(p, "  l%u: 1/s\n", i);
	c = load(text);
	assert_int_equal(compile(c, NULL, 0), 0);
	config_free(c);
	c = load("limits: {one-more: 1/s}\n");
	assert_int_equal(config_compile(c, NULL, 0, area, 4, NOW, other, AREA, 2, &m), -1);
	assert_string_equal(m.text[0],
	    "limit one-more: found 1025 limits, those of earlier policies included, expected at "
	    "most "
	    "1024 since the segment was made");
	mistakes_free(&m);
	config_free(c);
	sprintf(p, "  too-many: 1/s\n");
	assert_int_equal(config_parse("p.yaml", text, strlen(text), &c, &m), -1);
	assert_string_equal(
	    m.text[0], "p.yaml:1026:3: found one more limit, expected at most 1024");
	mistakes_free(&m);
	free(text);
	free(other);
}

/* What `ration diff --as-policy` prints can be put into conf.d and says the same. */
static void
test_diff_yaml(void **state)
{
	struct config *c = load(policy), *with;
	struct change ch[12];
	char *yaml = NULL, *both;
	size_t n = 0, size;
	FILE *f;

	ch[n++] = rates_change("tokens", "", "growth", "1M/month", POLICY_ENDLESS);
	ch[n++] = rates_change("tokens", "", "growth", "3M/month", POLICY_ENDLESS);
	ch[n++] = rates_change("api", "", "", "77/min, 12.5k/day", POLICY_ENDLESS);
	ch[n++] = rates_change("known", "it's a\\\xff\nkey", "", "5/s burst 9", NOW + HOUR);
	snprintf(ch[n - 1].reason, sizeof(ch[0].reason), "'quoted' \033[2J # {and: more}");
	ch[n] = (struct change) { .kind = CHANGE_PLAN,
		.plan = "growth",
		.until = POLICY_ENDLESS,
		.key = "newcomer",
		.key_len = 8,
		.who = "ann\n- {share: 1/9}" };
	n++;
	ch[n] = (struct change) { .kind = CHANGE_ENV,
		.plan = "sandbox",
		.until = POLICY_ENDLESS,
		.key = "newcomer",
		.key_len = 8 };
	n++;
	ch[n] = (struct change) {
		.kind = CHANGE_PLAN, .plan = "", .until = POLICY_ENDLESS, .key = "dev", .key_len = 3
	};
	n++;
	ch[n] = (struct change) {
		.kind = CHANGE_SHARE, .share_num = 1, .share_den = 3, .until = POLICY_ENDLESS
	};
	n++;
	ch[n] = (struct change) {
		.kind = CHANGE_MODE, .mode = MODE_OFF, .until = POLICY_ENDLESS, .limit = "tokyo"
	};
	n++;
	ch[n] = (struct change) { .kind = CHANGE_MODE, .mode = MODE_OBSERVE, .until = NOW + HOUR };
	n++;
	f = open_memstream(&yaml, &size);
	config_diff_yaml(c, ch, n, f);
	fclose(f);
	assert_null(strstr(yaml, "1M/month")); /* replaced by a newer one */

	/* As if conf.d had it: the policy without its own overrides, with those. */
	assert_true(asprintf(&both, "%.*s%s", (int)(strstr(policy, "overrides:") - policy), policy,
			yaml) > 0);
	with = load(both);
	assert_int_equal(with->npatches, 9);
	assert_int_equal(compile(with, NULL, 0), 0);
	assert_non_null(strstr(got("tokens", "clinic:7", NOW + HOUR), "1M/month; enforce; "));
	assert_non_null(strstr(got("tokens", "newcomer", NOW), "100k/month; observe; "));
	assert_non_null(strstr(got("api", "x", NOW + HOUR), "4166/day, 25/min; enforce; "));
	assert_non_null(strstr(got("known", "it's a\\\xff\nkey", NOW), "1/s burst 3; observe; "));
	assert_non_null(strstr(got("known", "it's a\\\xff\nkey", NOW + HOUR), "1/min; enforce; "));
	assert_non_null(strstr(got("tokyo", "x", NOW + HOUR), "; off; "));
	assert_non_null(strstr(got("tokens", "dev", NOW + HOUR), "0/month; enforce; "));
	config_free(c);
	config_free(with);
	free(yaml);
	free(both);
}

/* Of processor time: how busy the host is does not matter. */
static double
seconds_since(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)(now.tv_sec - start->tv_sec) + (double)(now.tv_nsec - start->tv_nsec) / 1e9;
}

/* 100,000 keys on plans, each tenth with an override. */
static void
test_scale(void **state)
{
	char *text = malloc(16 << 20), *p = text;
	struct config_table t;
	struct timespec start;
	struct config *c;
	void *big;

	assert_non_null(text);
	p += sprintf(p,
	    "plans: [a, b, c]\nenvironments: {s: 0.1}\n"
	    "limits: {api: {per: min, plans: [10, 20, 30]}}\nassign:\n");
	for (int i = 0; i < 100000; i++)
		p += sprintf(p, "  \"clinic:%d\": %c\n", i, "abc"[i % 3]);
	p += sprintf(p, "overrides:\n");
	for (int i = 0; i < 100000; i += 10)
		p += sprintf(p, "  - {key: \"clinic:%d\", limit: api, rates: %d/min}\n", i, i);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
	c = load(text);
	config_table(c, &t);
	print_message("loaded and measured in %.3f s\n", seconds_since(&start));
	big = aligned_alloc(64, t.policy_bytes);
	assert_non_null(big);
	assert_int_equal(
	    config_compile(c, NULL, 0, NULL, t.cells, NOW, big, t.policy_bytes, 1, &m), 0);
	print_message("with the compilation %.3f s\n", seconds_since(&start));
	assert_true(seconds_since(&start) < 2);
	ref = (struct policy_ref) { .area = big, .area_bytes = t.policy_bytes, .version = 1 };
	assert_non_null(strstr(got("api", "clinic:99991", NOW), "20/min; enforce; "));
	assert_non_null(strstr(got("api", "clinic:50000", NOW), "50k/min; enforce; "));
	config_free(c);
	free(big);
	free(text);
}

static int
setup(void **state)
{
	compiled_name = "ration.yaml";
	compiled_cells = 4;
	area = aligned_alloc(64, AREA);
	return area == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
	free(area);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_effective),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_share_and_default_plan),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_modes_and_share),
		cmocka_unit_test(test_bad_changes),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_too_many_limits),
		cmocka_unit_test(test_diff_yaml),
		cmocka_unit_test(test_scale),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
