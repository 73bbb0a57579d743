/*
 * eligible.c - what the records say of a key whose limit is to be raised.
 *
 * The policy's rules say who is as good as granted; people decide.  So each is shown with its
 * figure, and as unknown where nothing was recorded that could tell.
 */
#include "requests.h"

#include <stdio.h>
#include <string.h>

#define DAY_S 86400
#define ACTIVE_DAYS 30
#define ACTIVE_MOST 1000u /* counted, of keys, unless the rule asks for more: some milliseconds */

enum met { NOT_MET, MET, UNKNOWN };

/* Takes the text's parts from its caller, so that each rule says what it found. */
static void __attribute__((format(printf, 4, 5)))
rule(json_t *list, const char *name, enum met met, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)json_array_append_new(list,
	    json_pack("{s:s, s:o, s:o}", "rule", name, "met",
		met == UNKNOWN ? json_null() : json_boolean(met == MET), "text", json_any(text)));
}

/* ---- days since it is there, or in the environment ---- */

/* When a live change put the key into its environment; 0: none did. */
static int64_t
moved_at(const struct live *l, const unsigned char *key, size_t len)
{
	int64_t at = 0;

	for (size_t i = 0; i < l->n; i++)
		if (l->at[i].kind == CHANGE_ENV && l->at[i].key_len == len &&
		    memcmp(l->at[i].key, key, len) == 0)
			at = l->at[i].when;
	return at;
}

static const char *
environment_of(struct daemon *d, const unsigned char *key, size_t len)
{
	struct policy_ref p;
	struct key_def def;

	if (!keeper_policy(&d->keeper, &p))
		return "";
	return policy_env_name(&p,
	    policy_key(&p, policy_hash(key, len), key, len, &def) ? def.env : p.area->default_env);
}

static void
rule_days(json_t *list, struct daemon *d, const unsigned char *key, size_t len,
    const struct config_requests *rules)
{
	const char *want = rules->environment, *is = environment_of(d, key, len);
	int64_t first = history_first_seen(d->history, key, len),
		moved = moved_at(&d->live, key, len), days;
	char in[RATION_NAME_MAX + 16] = "";

	if (want[0] != '\0')
		(void)snprintf(in, sizeof(in), " in %s", want);
	if (want[0] != '\0' && strcmp(is, want) != 0) {
		rule(list, "days", NOT_MET, "%u days%s: it is in %s", rules->days, in,
		    is[0] != '\0' ? is : "no environment");
		return;
	}
	if (first <= 0 && moved == 0) {
		rule(list, "days", UNKNOWN, "%u days%s: no use is recorded", rules->days, in);
		return;
	}
	/* Whichever is later: it has been there since, and used since. */
	if (want[0] != '\0' && moved > first)
		first = moved;
	days = (keeper_now(&d->keeper) - first) / DAY_S;
	rule(list, "days", days >= (int64_t)rules->days ? MET : NOT_MET, "%u days%s: %lld so far",
	    rules->days, in, (long long)days);
}

/* ---- others with the same beginning ---- */

/* Bytes up to the last ':' or '_', with it; 0: none. */
static size_t
prefix_len(const unsigned char *key, size_t len)
{
	while (len > 0 && key[len - 1] != ':' && key[len - 1] != '_')
		len--;
	return len;
}

static void
rule_customers(json_t *list, struct daemon *d, const unsigned char *key, size_t len,
    const struct config_requests *rules)
{
	size_t prefix = prefix_len(key, len);
	char text[KEY_TEXT];
	int64_t n;

	if (prefix == 0) {
		rule(list, "customers", UNKNOWN,
		    "%u active customers: the key has no prefix that others could share",
		    rules->customers);
		return;
	}
	key_text(key, prefix, text);
	n = history_on(d->history)
	    ? (int64_t)history_active_keys(d->history, key, prefix, ACTIVE_DAYS,
		  rules->customers > ACTIVE_MOST ? rules->customers : ACTIVE_MOST)
	    : -1;
	if (n < 0)
		rule(list, "customers", UNKNOWN, "%u active customers: no use is recorded",
		    rules->customers);
	else
		rule(list, "customers", n >= (int64_t)rules->customers ? MET : NOT_MET,
		    "%u active customers: %lld keys %.80s... in %d days", rules->customers,
		    (long long)n, text, ACTIVE_DAYS);
}

/* ---- requests a day ---- */

/* Whole days since the first one, up to ACTIVE_DAYS; of a key that is new today, today; 0: none. */
static unsigned
whole_days(struct daemon *d, int64_t first)
{
	int64_t n = first < 0 ? 0 : (keeper_now(&d->keeper) - first) / DAY_S;

	if (first >= 0 && n < 1)
		n = 1;
	return n > ACTIVE_DAYS ? ACTIVE_DAYS : (unsigned)n;
}

/* Of the limit that is to be raised: a request may take several. */
static void
rule_daily(
    json_t *list, struct daemon *d, const struct request *r, const struct config_requests *rules)
{
	int64_t days[ACTIVE_DAYS + 1], first = history_first_seen(d->history, r->key, r->key_len);
	uint64_t sum = 0, most = 0;
	unsigned n = whole_days(d, first);
	bool today = keeper_now(&d->keeper) - first < DAY_S;

	if (n > 0 &&
	    !history_daily(d->history, r->key, r->key_len, r->limit, today ? n : n + 1, days))
		n = 0;
	for (unsigned i = 0; i < n; i++) {
		uint64_t units = days[i] > 0 ? (uint64_t)days[i] : 0; /* more was refunded */

		sum += units;
		if (units > most)
			most = units;
	}
	if (n == 0)
		rule(list, "requests", UNKNOWN, "%llu requests a day: no use is recorded",
		    (unsigned long long)rules->daily);
	else
		rule(list, "requests", sum / n >= rules->daily ? MET : NOT_MET,
		    "%llu requests a day: %llu on average over %u day%s, %llu on the busiest",
		    (unsigned long long)rules->daily, (unsigned long long)(sum / n), n,
		    n == 1 ? "" : "s", (unsigned long long)most);
}

json_t *
eligible_json(struct daemon *d, const struct request *r, const struct config_requests *rules)
{
	json_t *list = json_array();

	if (rules->days != 0)
		rule_days(list, d, r->key, r->key_len, rules);
	if (rules->customers != 0)
		rule_customers(list, d, r->key, r->key_len, rules);
	if (rules->daily != 0)
		rule_daily(list, d, r, rules);
	return list;
}
