/*
 * upstream.c - the client's side: may a request be sent to somebody else's service, and what
 * came of it.
 *
 * What all processes of the host know stands in an entry of the side object (upstream.h).  A
 * request passes, in this order: the pause that the upstream asked for, the circuit breaker, and
 * the budget.  A denial takes nothing: a probe that the budget refuses is given back.
 */
#include "upstream.h"

#include <string.h>
#include <time.h>

#include "atomics.h"

#define IN_FLIGHT 1u
#define PROBE 2u
#define DETACHED 4u /* admitted without a segment */

/* Looked up again where the segment was replaced since u was made. */
static word_t *
entry(const struct segment *seg, const ration_upstream_t *u, size_t len)
{
	if (u->segment == seg->head->id && u->place < SIDE_UPSTREAMS && u->id != 0) {
		word_t *e = side_upstream(seg->side, u->place);

		if (word_load(&e[U_ID]) == u->id)
			return e;
	}
	return upstream_entry(seg, upstream_id(seg, u->name, len), u->name, len, true);
}

static bool
start(struct upstream_call *c, ration_t *r, const ration_upstream_t *u)
{
	size_t len = strnlen(u->name, sizeof(u->name));

	c->r = r;
	c->def = upstream_defaults;
	c->seg = handle_current(r);
	if (c->seg == NULL || c->seg->side == NULL || (c->e = entry(c->seg, u, len)) == NULL ||
	    !upstream_policy(c, u->hash, u->name, len))
		return false;
	upstream_clock(c);
	return true;
}

static uint64_t
ms_up(uint64_t ns)
{
	return (ns + MS_NS - 1) / MS_NS;
}

static bool
valid(const ration_t *r, const ration_upstream_t *u, const ration_attempt_t *a)
{
	return r != NULL && u != NULL && u->size == sizeof(*u) && a != NULL &&
	    a->size == sizeof(*a) && u->name[0] != '\0' &&
	    memchr(u->name, '\0', sizeof(u->name)) != NULL;
}

int
ration_upstream(ration_t *r, const char *name, ration_upstream_t *out)
{
	const struct segment *seg;
	size_t len;
	word_t *e;

	if (r == NULL || name == NULL || out == NULL)
		return RATION_EINVAL;
	len = strnlen(name, RATION_NAME_MAX + 1);
	if (len == 0 || len > RATION_NAME_MAX)
		return RATION_EINVAL;
	*out = (ration_upstream_t) { .size = sizeof(*out), .hash = policy_hash(name, len) };
	memcpy(out->name, name, len);
	seg = handle_current(r);
	if (seg == NULL || seg->side == NULL)
		return (r->flags & RATION_FAIL_OPEN) != 0 ? 0 : RATION_EDETACHED;
	out->id = upstream_id(seg, name, len);
	e = upstream_entry(seg, out->id, name, len, true);
	if (e == NULL)
		return RATION_EFULL;
	out->place = (uint32_t)((size_t)(e - side_upstream(seg->side, 0)) / SIDE_UPSTREAM_WORDS);
	out->segment = seg->head->id;
	return 0;
}

static int
deny(struct upstream_call *c, ration_attempt_t *a, uint32_t reason, uint64_t wait_ns)
{
	a->reason = reason;
	a->wait_ms = ms_up(wait_ns);
	if (a->wait_ms == 0)
		a->wait_ms = 1;
	/* Who was told to wait a moment: not all at the same time. */
	if (reason == RATION_U_FIRST || reason == RATION_U_PROBED)
		a->wait_ms += upstream_random(&A_RANDOM(a)) % (a->wait_ms + 1);
	budget_report(c, a);
	return RATION_DENIED;
}

static int
take(struct upstream_call *c, ration_attempt_t *a)
{
	uint64_t wait_ns = 0;
	enum gate g = breaker_gate(c, &a->token, &wait_ns);
	enum budget b;

	if (g == GATE_OPEN || g == GATE_PROBED)
		return deny(c, a, g == GATE_OPEN ? RATION_U_OPEN : RATION_U_PROBED, wait_ns);
	b = budget_take(c, a, &wait_ns);
	if (b != BUDGET_FITS && b != BUDGET_OPENS) {
		if (g == GATE_PROBE)
			breaker_unprobe(c, a->token);
		/* Busy: others were faster each time; as if one of them went first. */
		return deny(c, a,
		    b == BUDGET_LIMIT       ? RATION_U_LIMIT
			: b == BUDGET_SPENT ? RATION_U_SPENT
					    : RATION_U_FIRST,
		    wait_ns);
	}
	a->flags = IN_FLIGHT | (g == GATE_PROBE ? PROBE : 0);
	a->segment = c->seg->head->id;
	a->tries++;
	word_count(&c->e[U_COUNT + UC_sent], 1);
	budget_report(c, a);
	return RATION_ADMITTED;
}

/* Jitter that is like nobody else's: of other threads, forked children, and without a segment. */
static void
sow(const ration_t *r, ration_attempt_t *a)
{
	struct timespec t;

	if (A_RANDOM(a) != 0)
		return;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	A_RANDOM(a) = ((uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec) ^
	    (uint64_t)(uintptr_t)a << 20 ^ (uint64_t)r->pid << 42;
}

int
ration_upstream_begin(ration_t *r, ration_upstream_t *u, uint64_t cost, ration_attempt_t *a)
{
	struct upstream_call c;
	uint64_t pause, since;
	int v;

	if (!valid(r, u, a))
		return RATION_EINVAL;
	if (cost > RATION_COST_MAX)
		return RATION_ECOST;
	a->retry = a->reason = a->low = a->breaker = a->flags = 0;
	a->wait_ms = 0;
	a->cost = cost;
	sow(r, a);
	if (!start(&c, r, u)) {
		if ((r->flags & RATION_FAIL_OPEN) == 0)
			return RATION_EDETACHED;
		a->flags = IN_FLIGHT | DETACHED;
		a->tries++;
		a->limit = a->remaining = RATION_UNLIMITED;
		a->reset_at = 0;
		return RATION_ADMITTED;
	}
	pause = budget_pause_left(&c);
	v = pause != 0 ? deny(&c, a, RATION_U_PAUSED, pause) : take(&c, a);
	a->breaker = breaker_state(word_load(&c.e[U_BREAKER]), c.now_ns, &since);
	return v;
}

/* Without a segment. */
static int64_t
unix_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return t.tv_sec;
}

static bool
tried_again(const struct upstream_def *d, int status)
{
	unsigned bit = status == 0 ? UPSTREAM_ON_NETWORK : (unsigned)status - UPSTREAM_ON_FIRST;

	if (status != 0 && (status < (int)UPSTREAM_ON_FIRST || status > 599))
		return false;
	return (d->on[bit / 64] >> bit % 64 & 1) != 0;
}

static void
decide_retry(const struct upstream_call *c, ration_attempt_t *a, int status, const struct learnt *l)
{
	int64_t after_ms = -1;

	a->retry = tried_again(&c->def, status) && a->tries <= c->def.tries;
	a->wait_ms = 0;
	if (a->retry == 0)
		return;
	if (l->retry_after_s >= 0)
		after_ms = l->retry_after_s < INT64_C(4000000000) ? l->retry_after_s * 1000
								  : INT64_C(4000000000000);
	a->wait_ms = upstream_wait_ms(&c->def, a->tries, after_ms, &A_RANDOM(a));
}

static void
note(struct upstream_call *c, ration_attempt_t *a, int status, const struct learnt *l)
{
	uint64_t since, pause;

	if (status != 0) {
		budget_answered(c, a);
		word_count(&c->e[U_COUNT + UC_answered], 1);
	}
	if (status == 0 || status >= 500)
		word_count(&c->e[U_COUNT + UC_failed], 1);
	if (status == 429)
		word_count(&c->e[U_COUNT + UC_refused], 1);
	if (l->malformed != 0)
		word_count(&c->e[U_COUNT + UC_malformed], l->malformed);
	budget_learn(c, a, status, l);
	budget_opened(c, a);
	breaker_result(c, a->token, (a->flags & PROBE) != 0, status);
	budget_report(c, a);
	if (l->has_remaining)
		a->low = budget_low(c, a);
	a->breaker = breaker_state(word_load(&c->e[U_BREAKER]), c->now_ns, &since);
	pause = ms_up(budget_pause_left(c));
	if (a->retry != 0 && a->wait_ms < pause)
		a->wait_ms = pause;
}

int
ration_upstream_end(ration_t *r, ration_upstream_t *u, ration_attempt_t *a, int status,
    const ration_attr_t *headers, size_t n)
{
	struct upstream_call c;
	struct learnt l;
	bool attached;

	if (!valid(r, u, a) || (a->flags & IN_FLIGHT) == 0 || status < 0 ||
	    (headers == NULL && n != 0))
		return RATION_EINVAL;
	attached = start(&c, r, u);
	learn_headers(
	    headers, status == 0 ? 0 : n, attached ? c.unix_ns / 1000000000 : unix_now(), &l);
	a->low = 0;
	a->reason = 0;
	decide_retry(&c, a, status, &l);
	if (attached && (a->flags & DETACHED) == 0 && a->segment == c.seg->head->id)
		note(&c, a, status, &l);
	a->flags = 0;
	return 0;
}
