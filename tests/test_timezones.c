/*
 * test_timezones.c - a key's own timezone: its days and months begin in it, whatever they come
 * from; a change of it, or of anything else while it is there, forgets nothing; and many keys in
 * few zones cost few rulesets.
 */
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
/* after the above */
#include <cmocka.h>

#include "digest.h"
#include "model.h"

#define HEAD \
	"plans: [small, large, dealt]\n" \
	"environments: {sandbox: 0.5, local: unlimited}\n" \
	"defaults: {timezone: Europe/Madrid}\n" \
	"limits:\n" \
	"  month: {per: month, plans: [4, 8, custom], rates: 6/month}\n" \
	"  day: 3/day\n" \
	"  minute: 100/min\n" \
	"  both: [9/month, 5/min]\n" \
	"  tokyo: {rates: 2/month, timezone: Asia/Tokyo}\n" \
	"  known: {rates: 2/month, unlisted: refuse}\n" \
	"  held: 2 concurrent\n" \
	"  keep: {value: 1h}\n"

/* Months that begin in 2026, by zone. */
#define FEB_UTC INT64_C(1769904000)
#define FEB_MADRID (FEB_UTC - 3600)
#define FEB_MEXICO (FEB_UTC + 6 * 3600)
#define FEB_TOKYO (FEB_UTC - 9 * 3600)
#define MID_JAN INT64_C(1768478400) /* 15 January, 12:00 UTC */

static struct fixture f;

static void
at(int64_t unix_s)
{
	atomic_store(
	    &f.now, FIXTURE_START + (uint64_t)(unix_s - FIXTURE_UNIX) * UINT64_C(1000000000));
}

static int64_t
utc(int month, int day, int hour)
{
	struct tm tm = { .tm_year = 126, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour };

	return (int64_t)timegm(&tm);
}

/* A call of cost n that is admitted: what is used then. */
static uint64_t
take(const char *limit, const char *key, uint64_t n)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(f.r, limit, key, n, &d), RATION_ADMITTED);
	return d.used;
}

/* One that is denied: until when. */
static int64_t
denied(const char *limit, const char *key)
{
	ration_decision_t d = RATION_DECISION_INIT;

	assert_int_equal(ration_acquire(f.r, limit, key, 1, &d), RATION_DENIED);
	assert_int_equal(d.flags & RATION_F_PAUSED, RATION_F_PAUSED);
	return d.retry_at;
}

/* The limit of n is used up until `end`, and not a second longer. */
static void
assert_period(const char *limit, const char *key, uint64_t n, int64_t now, int64_t end)
{
	at(now);
	assert_int_equal(take(limit, key, n), n);
	assert_int_equal(denied(limit, key), end);
	at(end - 1);
	assert_int_equal(denied(limit, key), end);
	at(end);
	assert_int_equal(take(limit, key, 1), 1);
}

static void
test_months(void **state)
{
	fixture_open(&f,
	    HEAD "assign:\n"
		 "  mx: {plan: large, timezone: America/Mexico_City}\n"
		 "  es: large\n"
		 "  jp: {timezone: Asia/Tokyo}\n"
		 "  box: {plan: large, environment: sandbox, timezone: America/Mexico_City}\n"
		 "  over: {timezone: America/Mexico_City}\n"
		 "  utc: {timezone: UTC}\n"
		 "overrides: [{key: over, limit: month, rates: 7/month}]\n",
	    0);
	assert_period("month", "es", 8, MID_JAN, FEB_MADRID);
	assert_period("month", "stranger", 6, MID_JAN, FEB_MADRID);
	assert_period("month", "mx", 8, MID_JAN, FEB_MEXICO);
	assert_period("month", "jp", 6, MID_JAN, FEB_TOKYO);
	assert_period("month", "box", 4, MID_JAN, FEB_MEXICO);
	assert_period("month", "over", 7, MID_JAN, FEB_MEXICO);
	assert_period("month", "utc", 6, MID_JAN, FEB_UTC);
	/* the key's goes before the limit's */
	assert_period("tokyo", "es", 2, MID_JAN, FEB_TOKYO);
	assert_period("tokyo", "mx", 2, MID_JAN, FEB_MEXICO);
	/* a month beside a minute */
	at(MID_JAN);
	assert_int_equal(take("both", "mx", 5), 5);
	at(MID_JAN + 90);
	assert_int_equal(take("both", "mx", 4), 9);
	at(MID_JAN + 180);
	assert_int_equal(denied("both", "mx"), FEB_MEXICO);
	/* a timezone alone makes it a key of the policy */
	assert_period("known", "utc", 2, MID_JAN, FEB_UTC);
	fixture_close(&f);
}

/* Days of 23 and 25 hours, months around them, and the far end of what is published. */
static void
test_daylight_saving(void **state)
{
	struct policy_ref p;
	const struct zone_def *z;
	const int64_t *days;

	fixture_open(&f,
	    HEAD
	    "assign: {us: {timezone: America/New_York}, au: {timezone: Australia/Lord_Howe}}\n",
	    0);
	assert_period("day", "us", 3, utc(3, 8, 5), utc(3, 9, 4));
	assert_period("day", "es", 3, utc(3, 8, 5), utc(3, 8, 23));
	assert_period("day", "es", 3, utc(3, 28, 23), utc(3, 29, 22));
	assert_period("month", "us", 6, utc(3, 9, 0), utc(4, 1, 4));
	/* half an hour back: 5 April, from 11 to 10:30 hours ahead */
	assert_period("day", "au", 3, utc(4, 4, 13), utc(4, 5, 13) + 1800);
	assert_period("day", "us", 3, utc(11, 1, 4), utc(11, 2, 5));
	assert_period("month", "us", 6, utc(11, 1, 12), utc(12, 1, 5));

	assert_true(policy_current(f.seg.policy, &p));
	assert_int_equal(p.area->nzones, 4);
	z = policy_section(&p, p.area->zones, 4, sizeof(*z));
	for (uint32_t i = 0; i < 4; i++) {
		days = policy_section(&p, z[i].days, z[i].ndays, sizeof(*days));
		assert_non_null(days);
		assert_true(days[z[i].ndays - 1] > FIXTURE_UNIX + INT64_C(400) * 86400);
	}
	fixture_close(&f);
}

static struct change
change(enum change_kind kind, const char *key, const char *limit, const char *plan)
{
	struct change ch = { .kind = kind, .when = FIXTURE_UNIX, .until = POLICY_ENDLESS };

	(void)snprintf(ch.who, sizeof(ch.who), "ann");
	(void)snprintf(ch.limit, sizeof(ch.limit), "%s", limit);
	(void)snprintf(ch.plan, sizeof(ch.plan), "%s", plan);
	ch.key_len = strlen(key);
	memcpy(ch.key, key, ch.key_len);
	return ch;
}

#define MEXICO HEAD "assign: {k: {plan: small, timezone: America/Mexico_City}}\n"

/* Plan, environment and rates by live changes: the file's timezone stays, and so does what was
 * used. */
static void
test_live_changes(void **state)
{
	struct change plan = change(CHANGE_PLAN, "k", "", "large");
	struct change env = change(CHANGE_ENV, "k", "", "sandbox");
	struct change rates = change(CHANGE_RATES, "k", "month", "");
	struct change of_plan = change(CHANGE_RATES, "", "month", "small");

	rates.nrates = of_plan.nrates = 1;
	rates.rates[0] = (struct rate_spec) {
		.kind = RATION_MONTH, .units = 5, .window_ns = UINT64_C(31) * 86400 * 1000000000
	};
	of_plan.rates[0] = rates.rates[0];
	of_plan.rates[0].units = 7;

	fixture_open(&f, MEXICO, 0);
	at(MID_JAN);
	assert_int_equal(take("month", "k", 4), 4);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	fixture_changes(&f, MEXICO, &plan, 1);
	assert_int_equal(take("month", "k", 4), 8);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	fixture_policy(&f, MEXICO);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	at(FEB_MEXICO - 1);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	at(FEB_MEXICO);
	assert_int_equal(take("month", "k", 4), 4);
	fixture_changes(&f, MEXICO, &rates, 1);
	assert_int_equal(take("month", "k", 1), 5);
	assert_int_equal(denied("month", "k"), utc(3, 1, 6));
	fixture_changes(&f, MEXICO, &of_plan, 1);
	assert_int_equal(take("month", "k", 2), 7);
	assert_int_equal(denied("month", "k"), utc(3, 1, 6));
	at(utc(3, 1, 6));
	fixture_changes(&f, MEXICO, &env, 1);
	assert_int_equal(take("month", "k", 2), 2);
	assert_int_equal(denied("month", "k"), utc(4, 1, 6));
	fixture_close(&f);
}

/* The same, as `ration diff --as-policy` would put it into the files. */
static void
test_override_of_plan(void **state)
{
	fixture_open(&f, MEXICO "overrides: [{key: k, plan: large}]\n", 0);
	at(MID_JAN);
	assert_int_equal(take("month", "k", 8), 8);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	at(FEB_MEXICO);
	assert_int_equal(take("month", "k", 1), 1);
	fixture_policy(&f, MEXICO "overrides: [{key: k, plan: none, environment: sandbox}]\n");
	assert_int_equal(take("month", "k", 5), 6);
	assert_int_equal(denied("month", "k"), utc(3, 1, 6));
	fixture_close(&f);
}

static void
test_until(void **state)
{
	static const char policy[] =
	    MEXICO "overrides: [{key: k, limit: month, rates: 6/month, until: 2026-01-20},\n"
		   "  {key: k, limit: day, rates: unlimited, until: 2026-01-20}]\n";
	int64_t end = utc(1, 19, 23);

	fixture_open(&f, policy, 0);
	at(MID_JAN);
	assert_int_equal(take("month", "k", 6), 6);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	assert_int_equal(take("day", "k", 50), 50);
	at(end - 1);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	at(end); /* the policy's midnight, not the key's */
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	at(FEB_MEXICO);
	assert_int_equal(take("month", "k", 4), 4);
	assert_int_equal(denied("month", "k"), utc(3, 1, 6));
	assert_int_equal(take("day", "k", 3), 3);
	assert_int_equal(denied("day", "k"), utc(2, 2, 6));
	fixture_close(&f);
}

/* Another timezone, none, one again, in mid-month: used is used, the end moves. */
static void
test_moved(void **state)
{
	ration_decision_t d = RATION_DECISION_INIT;
	ration_key_t k;

	fixture_open(&f, HEAD, 0);
	assert_int_equal(ration_key(f.r, "month", "k", 1, &k), 0);
	at(MID_JAN);
	assert_int_equal(take("month", "k", 2), 2);
	fixture_policy(&f, HEAD "assign: {k: {timezone: America/Mexico_City}}\n");
	assert_int_equal(take("month", "k", 1), 3);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_ADMITTED);
	assert_int_equal(d.used, 4);
	assert_int_equal(d.reset_at, FEB_MEXICO);
	fixture_policy(&f, HEAD "assign: {k: {timezone: Asia/Tokyo}}\n");
	assert_int_equal(take("month", "k", 2), 6);
	assert_int_equal(denied("month", "k"), FEB_TOKYO);
	fixture_policy(&f, HEAD);
	assert_int_equal(denied("month", "k"), FEB_MADRID);
	assert_int_equal(ration_key_acquire(f.r, &k, 1, &d), RATION_DENIED);

	/* Where it is another month already, what was used in the one counts in the other. */
	at(FEB_MADRID);
	assert_int_equal(take("month", "k", 5), 5);
	fixture_policy(&f, HEAD "assign: {k: {timezone: America/Mexico_City}}\n");
	assert_int_equal(take("month", "k", 1), 6);
	assert_int_equal(denied("month", "k"), FEB_MEXICO);
	at(FEB_MEXICO);
	assert_int_equal(take("month", "k", 1), 1);
	fixture_close(&f);
}

/* ---- compiled ---- */

static struct policy_ref ref;

static struct ruleset
ruleset_of(const char *limit, const char *key)
{
	int64_t id = policy_limit_id(&ref, limit, strlen(limit));
	struct ruleset r;
	bool listed;

	assert_true(id >= 0);
	assert_true(policy_ruleset(
	    &ref, (uint32_t)policy_resolve(&ref, (uint32_t)id, key, strlen(key), &listed), &r));
	assert_int_equal(r.limit, id);
	return r;
}

/* At every time ahead the two get the same, but for where days and months begin. */
static void
assert_twins(const char *limit, const char *zoned, const char *plain, const char *zone)
{
	struct ruleset a = ruleset_of(limit, zoned), b = ruleset_of(limit, plain);

	for (int hop = 0; hop < 8; hop++) {
		bool calendar = false;

		assert_int_equal(a.until, b.until);
		assert_int_equal(a.nrates, b.nrates);
		assert_int_equal(a.mode, b.mode);
		assert_int_equal(a.plan, b.plan);
		assert_int_equal(a.env, b.env);
		assert_int_equal(a.value, b.value);
		for (unsigned i = 0; i < a.nrates; i++) {
			struct rate_def want = b.rates[i];

			if (want.kind == RATION_DAY || want.kind == RATION_MONTH) {
				calendar = true;
				want.zone = a.rates[i].zone;
				rate_def_derive(&want, zone);
				assert_string_equal(policy_zone_name(&ref, want.zone), zone);
			}
			assert_memory_equal(&a.rates[i], &want, sizeof(want));
		}
		assert_int_equal(a.flags, calendar ? b.flags | RULESET_ZONED : b.flags);
		if (a.until == POLICY_ENDLESS)
			break;
		assert_true(policy_ruleset(&ref, a.next, &a) && policy_ruleset(&ref, b.next, &b));
	}
}

static void
test_twins(void **state)
{
	static const char *const limits[] = { "month", "day", "minute", "both", "tokyo", "known",
		"held", "keep" };
	static const char *const keys[][2] = { { "mx", "es" }, { "mx2", "es2" }, { "mx3", "es3" },
		{ "mx4", "es4" }, { "mx5", "es5" } };
	struct ruleset r, other;
	struct key_def k;

	fixture_open(&f,
	    HEAD "assign:\n"
		 "  mx: {plan: large, timezone: America/Mexico_City}\n"
		 "  es: large\n"
		 "  mx2: {plan: large, environment: sandbox, timezone: America/Mexico_City}\n"
		 "  es2: {plan: large, environment: sandbox}\n"
		 "  mx3: {plan: dealt, environment: local, timezone: America/Mexico_City}\n"
		 "  es3: {plan: dealt, environment: local}\n"
		 "  mx4:\n"
		 "    plan: large\n"
		 "    timezone: America/Mexico_City\n"
		 "  es4: large\n"
		 "  mx5: {timezone: America/Mexico_City}\n"
		 "overrides:\n"
		 "  - {key: mx2, limit: day, rates: 9/min, until: 2026-02-01}\n"
		 "  - {key: es2, limit: day, rates: 9/min, until: 2026-02-01}\n"
		 "  - {key: mx2, limit: minute, rates: 9/day, until: 2026-03-01}\n"
		 "  - {key: es2, limit: minute, rates: 9/day, until: 2026-03-01}\n"
		 "  - {key: mx2, limit: known, rates: [5/day, 6/month, 3/s]}\n"
		 "  - {key: es2, limit: known, rates: [5/day, 6/month, 3/s]}\n"
		 "  - {key: mx4, limit: keep, value: 2h}\n"
		 "  - {key: es4, limit: keep, value: 2h}\n"
		 "  - {key: mx5, limit: month, rates: 3/day}\n"
		 "  - {key: es5, limit: month, rates: 3/day}\n"
		 "  - {limit: both, rates: 7/month, until: 2026-04-01}\n"
		 "  - {limit: tokyo, mode: off, until: 2026-02-15}\n",
	    0);
	assert_true(policy_current(f.seg.policy, &ref));
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
		for (size_t n = 0; n < sizeof(keys) / sizeof(keys[0]); n++)
			assert_twins(limits[i], keys[n][0], keys[n][1], "America/Mexico_City");
	/* A limit without days and months has nothing of it. */
	assert_int_equal(ruleset_of("minute", "mx").flags, RULESET_PLAIN);

	r = ruleset_of("month", "mx4");
	assert_string_equal(policy_string(&ref, r.origin, NULL),
	    "ration.yaml:5: plan large, timezone America/Mexico_City");
	assert_true(policy_key(&ref, policy_hash("mx4", 3), "mx4", 3, &k));
	assert_string_equal(policy_string(&ref, k.zone_origin, NULL), "ration.yaml:22");
	assert_true(policy_key(&ref, policy_hash("es4", 3), "es4", 3, &k));
	assert_int_equal(k.zone_origin, 0);
	/* One for each limit of days and months, and the one that is another's too. */
	assert_true(policy_key(&ref, policy_hash("mx2", 3), "mx2", 3, &k));
	assert_int_equal(k.noverrides, 6);
	assert_true(policy_key(&ref, policy_hash("mx", 2), "mx", 2, &k));
	assert_int_equal(k.noverrides, 5);
	/* The same as another's: it has the same. */
	other = ruleset_of("month", "mx");
	assert_memory_equal(&r, &other, sizeof(r));
	fixture_close(&f);
}

/* Limits' generations move with a key's timezone, those of days and months alone. */
static void
test_digest(void **state)
{
	static uint64_t none[LIMITS_MAX], mexico[LIMITS_MAX], again[LIMITS_MAX], tokyo[LIMITS_MAX];
	static const char *const moved[] = { "month", "day", "both", "tokyo", "known" };
	static const char *const rest[] = { "minute", "held", "keep" };

	fixture_open(&f, HEAD "assign: {k: small}\n", 0);
	assert_true(policy_current(f.seg.policy, &ref));
	digest_limits(&ref, none);
	fixture_policy(&f, MEXICO);
	assert_true(policy_current(f.seg.policy, &ref));
	digest_limits(&ref, mexico);
	fixture_policy(&f, "# moved\n" MEXICO);
	assert_true(policy_current(f.seg.policy, &ref));
	digest_limits(&ref, again);
	fixture_policy(&f, HEAD "assign: {k: {plan: small, timezone: Asia/Tokyo}}\n");
	assert_true(policy_current(f.seg.policy, &ref));
	digest_limits(&ref, tokyo);
	for (size_t i = 0; i < sizeof(moved) / sizeof(moved[0]); i++) {
		int64_t id = policy_limit_id(&ref, moved[i], strlen(moved[i]));

		assert_true(none[id] != mexico[id] && mexico[id] != tokyo[id]);
		assert_true(mexico[id] == again[id]);
	}
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++) {
		int64_t id = policy_limit_id(&ref, rest[i], strlen(rest[i]));

		assert_true(none[id] == mexico[id] && mexico[id] == tokyo[id]);
	}
	fixture_close(&f);
}

#define MANY 10000u
#define AREA (UINT64_C(16) << 20)

/* 10,000 keys in four zones on three plans, with ten limits: in under a second, in few rulesets. */
static void
test_many(void **state)
{
	static const char *const zones[] = { "America/Mexico_City", "Europe/Madrid", "Asia/Tokyo",
		"Australia/Lord_Howe" };
	static const char *const plans[] = { "a", "b", "c" };
	struct mistakes m = { 0 };
	struct config *c;
	clock_t start;
	char *text;
	size_t len;
	void *area = aligned_alloc(64, AREA);
	FILE *out = open_memstream(&text, &len);

	assert_true(out != NULL && area != NULL);
	fputs("plans: [a, b, c]\ndefaults: {timezone: Europe/Madrid}\nlimits:\n", out);
	for (int i = 0; i < 10; i++)
		fprintf(out, "  l%d: {per: month, plans: [1%d, 2%d, 3%d]}\n", i, i, i, i);
	fputs("assign:\n", out);
	for (unsigned i = 0; i < MANY; i++)
		fprintf(out, "  'account %u': {plan: %s, timezone: %s}\n", i, plans[i % 3],
		    zones[i % 4]);
	fclose(out);

	start = clock();
	if (config_parse("ration.yaml", text, len, &c, &m) != 0)
		fail_msg("%s", m.text[0]);
	assert_int_equal(config_compile(c, NULL, 0, NULL, 4, FIXTURE_UNIX, area, AREA, 1, &m), 0);
	assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 1);

	ref = (struct policy_ref) { .area = area, .area_bytes = AREA, .version = 1 };
	assert_int_equal(ref.area->nkeys, MANY);
	/* Ten limits by plan: for strangers (one of them is no plan) and in each zone. */
	assert_true(ref.area->nrulesets <= 10 * 4 + 10 * 3 * 4);
	assert_int_equal(ref.area->noverrides, 10 * 3 * 4);
	for (unsigned i = 0; i < MANY; i += 7) {
		char key[32], limit[8];
		struct ruleset r;

		(void)snprintf(key, sizeof(key), "account %u", i);
		(void)snprintf(limit, sizeof(limit), "l%u", i % 10);
		r = ruleset_of(limit, key);
		assert_string_equal(policy_plan_name(&ref, r.plan), plans[i % 3]);
		assert_int_equal(r.rates[0].units, 10 * (i % 3 + 1) + i % 10);
		assert_string_equal(policy_zone_name(&ref, r.rates[0].zone), zones[i % 4]);
	}
	config_free(c);
	free(text);
	free(area);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_months),
		cmocka_unit_test(test_daylight_saving), cmocka_unit_test(test_live_changes),
		cmocka_unit_test(test_override_of_plan), cmocka_unit_test(test_until),
		cmocka_unit_test(test_moved), cmocka_unit_test(test_twins),
		cmocka_unit_test(test_digest), cmocka_unit_test(test_many) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
