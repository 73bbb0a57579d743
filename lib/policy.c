#include "policy.h"

#include <string.h>

#include "address.h"
#include "atomics.h"

bool
policy_current(const struct policy_head *head, struct policy_ref *p)
{
	uint64_t w = word_load(&head->word); /* pairs with policy_publish() */
	uint64_t off;

	p->head = head;
	p->version = POLICY_CURRENT(w);
	if (p->version == POLICY_RETIRED)
		p->version = POLICY_WRITING(w);
	p->area_bytes = head->area_bytes;
	off = head->area_off[p->version & 1];
	p->area = (const struct policy_area *)(const void *)((const char *)head + off);
	return p->version != 0;
}

bool
policy_intact(const struct policy_ref *p)
{
	/*
	 * The copies made before this are ordered before the load; policy_begin()
	 * raises `writing` before it hands the area out.
	 */
	atomic_thread_fence(memory_order_acquire);
	return POLICY_WRITING(word_load(&p->head->word)) <= p->version + 1;
}

const void *
policy_section(const struct policy_ref *p, uint64_t off, uint64_t n, size_t item)
{
	if (off > p->area_bytes || n > (p->area_bytes - off) / item || (off & 3) != 0)
		return NULL;
	return (const char *)p->area + off;
}

bool
policy_ruleset(const struct policy_ref *p, uint32_t index, struct ruleset *out)
{
	const struct ruleset *r;
	uint32_t n = p->area->nrulesets;

	if (index >= n)
		return false;
	r = policy_section(p, p->area->rulesets, n, sizeof(*r));
	if (r == NULL)
		return false;
	memcpy(out, r + index, sizeof(*out));
	if (out->nrates > RATION_RATES_MAX)
		out->nrates = RATION_RATES_MAX;
	return true;
}

bool
policy_limit(const struct policy_ref *p, uint32_t id, struct limit_def *out)
{
	const struct limit_def *l;
	uint32_t n = p->area->nlimits;

	if (id >= n)
		return false;
	l = policy_section(p, p->area->limits, n, sizeof(*l));
	if (l == NULL)
		return false;
	memcpy(out, l + id, sizeof(*out));
	return true;
}

const char *
policy_string(const struct policy_ref *p, uint32_t off, size_t *len)
{
	uint64_t bytes = p->area->strings_bytes;
	const char *s = policy_section(p, p->area->strings, bytes, 1);
	const char *end;

	if (len != NULL)
		*len = 0;
	if (s == NULL || off >= bytes)
		return "";
	end = memchr(s + off, '\0', bytes - off);
	if (end == NULL)
		return "";
	if (len != NULL)
		*len = (size_t)(end - (s + off));
	return s + off;
}

uint64_t
policy_hash(const void *bytes, size_t len)
{
	const unsigned char *b = bytes;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	/* FNV-1a, then a finalizer: only rationd's own input is hashed here. */
	for (size_t i = 0; i < len; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	return h ^ h >> 29;
}

int64_t
policy_limit_id(const struct policy_ref *p, const char *name, size_t len)
{
	uint32_t n = p->area->nnames;
	const uint32_t *tab = policy_section(p, p->area->names, n, sizeof(*tab));
	struct limit_def l;
	uint64_t h = policy_hash(name, len);

	if (tab == NULL || n == 0 || (n & (n - 1)) != 0)
		return -1;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t id = tab[(h + i) & (n - 1)];
		const char *s;
		size_t slen;

		if (id == 0)
			return -1;
		if (!policy_limit(p, id - 1, &l))
			return -1;
		s = policy_string(p, l.name, &slen);
		if (slen == len && memcmp(s, name, len) == 0)
			return (l.flags & LIMIT_GONE) != 0 ? -1 : (int64_t)id - 1;
	}
	return -1;
}

bool
policy_key(
    const struct policy_ref *p, uint64_t hash, const void *key, size_t len, struct key_def *out)
{
	uint32_t n = p->area->nkeytab, nkeys = p->area->nkeys;
	const uint32_t *tab = policy_section(p, p->area->keytab, n, sizeof(*tab));
	const struct key_def *keys = policy_section(p, p->area->keys, nkeys, sizeof(*keys));
	uint64_t bytes = p->area->strings_bytes;
	const unsigned char *strings = policy_section(p, p->area->strings, bytes, 1);

	if (tab == NULL || keys == NULL || strings == NULL || n == 0 || (n & (n - 1)) != 0)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t k = tab[(hash + i) & (n - 1)];

		if (k == 0 || k > nkeys)
			return false;
		memcpy(out, &keys[k - 1], sizeof(*out));
		if (out->hash != hash || out->len != len)
			continue;
		if ((uint64_t)out->key + len > bytes)
			return false;
		if (memcmp(strings + out->key, key, len) == 0)
			return true;
	}
	return false;
}

static int64_t
override_of(const struct policy_ref *p, const struct key_def *k, uint32_t limit)
{
	uint32_t n = p->area->noverrides;
	const struct override_def *o = policy_section(p, p->area->overrides, n, sizeof(*o));

	if (o == NULL || k->overrides > n || k->noverrides > n - k->overrides)
		return -1;
	for (uint32_t i = 0; i < k->noverrides; i++)
		if (o[k->overrides + i].limit == limit)
			return o[k->overrides + i].ruleset;
	return -1;
}

/* Is nothing asked of the key?  Values are not asked but told. */
static bool
is_exempt(const struct policy_ref *p, uint32_t limit, const struct key_def *k, const void *key,
    size_t len)
{
	struct limit_def l;

	if (p->area->exempt == 0 || !policy_limit(p, limit, &l) || (l.flags & LIMIT_VALUE) != 0)
		return false;
	return (k->flags & KEY_EXEMPT) != 0 ||
	    ((l.flags & LIMIT_ADDRESS) != 0 && address_exempt(p, key, len));
}

int64_t
policy_resolve(
    const struct policy_ref *p, uint32_t limit, const void *key, size_t len, bool *listed)
{
	uint64_t nplans = p->area->nplans, nenvs = p->area->nenvs, nlimits = p->area->nlimits;
	const uint32_t *matrix;
	struct key_def k = { .plan = 0 };
	uint64_t plan = p->area->default_plan, env = p->area->default_env;
	int64_t over;

	*listed = false;
	if (limit >= nlimits || nplans > UINT16_MAX || nenvs > UINT16_MAX)
		return -1;
	matrix = policy_section(
	    p, p->area->matrix, nlimits * (nplans + 1) * (nenvs + 1), sizeof(*matrix));
	if (matrix == NULL)
		return -1;
	*listed = policy_key(p, policy_hash(key, len), key, len, &k);
	if (!*listed)
		k.flags = 0;
	if (is_exempt(p, limit, &k, key, len)) {
		*listed = true; /* by an address too */
		return (int64_t)p->area->exempt + limit;
	}
	if (*listed) {
		over = override_of(p, &k, limit);
		if (over >= 0)
			return over;
		if (k.plan != 0)
			plan = k.plan;
		if (k.env != 0)
			env = k.env;
	}
	if (plan > nplans || env > nenvs)
		return -1;
	return matrix[(limit * (nplans + 1) + plan) * (nenvs + 1) + env];
}

/* Last of n sorted boundaries that is <= now; -1: none. */
static int64_t
last_before(const int64_t *b, uint32_t n, int64_t now)
{
	int64_t lo = 0, hi = n;

	while (lo < hi) {
		int64_t mid = lo + (hi - lo) / 2;

		if (b[mid] <= now)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo - 1;
}

bool
policy_period(const struct policy_ref *p, const struct rate_def *r, int64_t unix_ns,
    int64_t *start_s, int64_t *end_s)
{
	int64_t now = unix_ns / 1000000000, step, i;
	const struct zone_def *z;
	const int64_t *b;
	uint32_t n = p->area->nzones;

	if (r->kind == RATION_FIXED) {
		step = (int64_t)(r->window_ns / 1000000000);
		if (step <= 0 || now < 0)
			return false;
		*start_s = now - now % step;
		*end_s = *start_s + step;
		return true;
	}
	z = policy_section(p, p->area->zones, n, sizeof(*z));
	if (z == NULL || r->zone >= n)
		return false;
	z += r->zone;
	n = r->kind == RATION_DAY ? z->ndays : z->nmonths;
	b = policy_section(p, r->kind == RATION_DAY ? z->days : z->months, n, sizeof(*b));
	if (b == NULL || n == 0)
		return false;
	step = r->kind == RATION_DAY ? 86400 : INT64_C(31) * 86400;
	i = last_before(b, n, now);
	if (i >= 0 && i + 1 < n) {
		*start_s = b[i];
		*end_s = b[i + 1];
		return true;
	}
	/* Off the table: rationd has been away for over a year, or the clock is far back. */
	if (i < 0) {
		*end_s = b[0];
		*start_s = b[0] - ((b[0] - now + step - 1) / step) * step;
		if (*start_s + step < *end_s)
			*end_s = *start_s + step;
		return true;
	}
	*start_s = b[i] + (now - b[i]) / step * step;
	*end_s = *start_s + step;
	return true;
}

const char *
policy_plan_name(const struct policy_ref *p, uint32_t plan)
{
	uint64_t n = (uint64_t)p->area->nplans + 1;
	const struct name_def *d = policy_section(p, p->area->plans, n, sizeof(*d));

	return d == NULL || plan >= n ? "" : policy_string(p, d[plan].name, NULL);
}

const char *
policy_env_name(const struct policy_ref *p, uint32_t env)
{
	uint64_t n = (uint64_t)p->area->nenvs + 1;
	const struct name_def *d = policy_section(p, p->area->envs, n, sizeof(*d));

	return d == NULL || env >= n ? "" : policy_string(p, d[env].name, NULL);
}

const char *
policy_zone_name(const struct policy_ref *p, uint32_t zone)
{
	uint32_t n = p->area->nzones;
	const struct zone_def *z = policy_section(p, p->area->zones, n, sizeof(*z));

	return z == NULL || zone >= n ? "" : policy_string(p, z[zone].name, NULL);
}

/* ---- writing ---- */

/*
 * A key may move from any zone to any other, and two of one number would not be told apart: what
 * was used would be looked for in the wrong month.  So the factor was searched for: with it the
 * 598 names of the tz database of 2025 have a number each.
 */
#define ZONE_HASH_BITS 14
#define ZONE_HASH_FACTOR UINT64_C(0x0fffc57481bd00ad)

#define SHAPE_COUNT 1u    /* unlimited */
#define SHAPE_SLIDING 16u /* + seconds, up to 86,400 */
#define SHAPE_FIXED (SHAPE_SLIDING + 86401u)
#define SHAPE_DAY (SHAPE_FIXED + 86401u) /* + hash of the zone */
#define SHAPE_ZONES (1u << ZONE_HASH_BITS)
#define SHAPE_MONTH (SHAPE_DAY + SHAPE_ZONES)
#define SHAPE_BUCKET (SHAPE_MONTH + SHAPE_ZONES) /* + hash of the period */
#define SHAPE_BUCKETS 56000u
static_assert(SHAPE_BUCKET + SHAPE_BUCKETS - 1 <= SHAPE_MASK, "shapes fit their bits");

uint8_t
policy_shape_kind(uint32_t shape)
{
	if (shape == SHAPE_CONCURRENT)
		return RATION_CONCURRENT;
	if (shape < SHAPE_SLIDING)
		return RATION_COUNT_ONLY;
	if (shape < SHAPE_FIXED)
		return RATION_SLIDING;
	if (shape < SHAPE_DAY)
		return RATION_FIXED;
	if (shape < SHAPE_MONTH)
		return RATION_DAY;
	return shape < SHAPE_BUCKET ? RATION_MONTH : RATION_BUCKET;
}

void
rate_def_derive(struct rate_def *r, const char *zone)
{
	uint64_t seconds = r->window_ns / UINT64_C(1000000000);
	uint64_t zone_hash =
	    policy_hash(zone, strlen(zone)) * ZONE_HASH_FACTOR >> (64 - ZONE_HASH_BITS);

	if (seconds > 86400)
		seconds = 86400;
	r->sub_ns = 0;
	r->recip = 0;
	r->period16 = 0;
	switch (r->kind) {
	case RATION_SLIDING:
		r->shape = SHAPE_SLIDING + (uint32_t)seconds;
		r->sub_ns = (r->window_ns + LAG_NS + RING_WORDS - 2) / (RING_WORDS - 1);
		r->recip = UINT64_MAX / r->sub_ns;
		break;
	case RATION_FIXED:
		r->shape = SHAPE_FIXED + (uint32_t)seconds;
		break;
	case RATION_DAY:
		r->shape = SHAPE_DAY + (uint32_t)zone_hash;
		break;
	case RATION_MONTH:
		r->shape = SHAPE_MONTH + (uint32_t)zone_hash;
		break;
	case RATION_BUCKET:
		if (r->rate_units == 0)
			r->period16 = TAT_MASK >> 8; /* never refills */
		else
			r->period16 = (r->window_ns * 16 + r->rate_units - 1) / r->rate_units;
		r->shape = SHAPE_BUCKET +
		    (uint32_t)(r->period16 * UINT64_C(0x9e3779b97f4a7c15) % SHAPE_BUCKETS);
		break;
	case RATION_CONCURRENT:
		r->shape = SHAPE_CONCURRENT;
		break;
	default:
		r->shape = SHAPE_COUNT;
		break;
	}
}

void *
policy_begin(struct policy_head *head, uint32_t *version)
{
	uint32_t current = POLICY_CURRENT(word_load(&head->word));

	*version = current + 1;
	atomic_store_explicit(&head->word, POLICY_WORD(current, current + 1), memory_order_seq_cst);
	/* Nothing is written to the area before `writing` is seen: pairs with policy_intact(). */
	atomic_thread_fence(memory_order_seq_cst);
	return (char *)head + head->area_off[*version & 1];
}

void
policy_publish(struct policy_head *head, uint32_t version)
{
	atomic_store_explicit(&head->word, POLICY_WORD(version, version), memory_order_release);
}

void
policy_retire(struct policy_head *head)
{
	uint32_t current = POLICY_CURRENT(word_load(&head->word));

	if (current != POLICY_RETIRED)
		atomic_store_explicit(&head->word, POLICY_WORD(POLICY_RETIRED, current),
		    memory_order_release); /* pairs with policy_retired() */
}
