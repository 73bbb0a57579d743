/*
 * upstream_breaker.c - one circuit breaker for all processes of the host, in one word.
 *
 *	closed     00 epoch(14) failures(24) time(24)
 *	open       01 epoch(14) 0(24)        since(24)
 *	half-open  10 epoch(14) prober(24)   since(24)		times: 16.8 ms, of 78 hours
 *
 * Each passage into open and out of half-open counts the epoch up.  A request carries the epoch
 * that it was sent in, a probe its whole word: a result of another epoch is of no account, so
 * what was sent before the breaker opened can neither close it nor open it anew, however late it
 * comes.  (An epoch recurs after 16,384 of these passages, each of which takes `open` at least.)
 *
 * There is one probe at a time because half-open is entered by one CAS.  The prober is named by
 * his number as a holder, a byte of the lock file that he has locked as long as he lives
 * (holder.h): who is refused for a probe may look, ten times a second on the host, and takes a
 * dead prober's place by the same CAS.  One that hangs is replaced after a time; then his word
 * stands there no more, and his result is of no account.
 */
#include "upstream.h"

#include "atomics.h"
#include "holder.h"

#define TIME_SHIFT 24u
#define FIELD_MASK ((UINT64_C(1) << 24) - 1)
#define EPOCH_MASK ((UINT64_C(1) << 14) - 1)
#define TRIES 16u
#define LOOK_NS (100 * MS_NS)
#define HANGS_LEAST_MS 1000u
#define HANGS_MOST_MS 60000u
#define PROBED_WAIT_NS (100 * MS_NS)

static uint64_t
word_of(unsigned state, uint64_t epoch, uint64_t field, uint64_t now_ns)
{
	return (uint64_t)state << 62 | (epoch & EPOCH_MASK) << 48 | (field & FIELD_MASK) << 24 |
	    (now_ns >> TIME_SHIFT & FIELD_MASK);
}

static uint64_t
epoch_in(uint64_t w)
{
	return w >> 48 & EPOCH_MASK;
}

static uint64_t
field_in(uint64_t w)
{
	return w >> 24 & FIELD_MASK;
}

/* ns since the word's time, at least; what seems to be ahead of us was very long ago. */
static uint64_t
age_ns(uint64_t w, uint64_t now_ns)
{
	uint64_t age = ((now_ns >> TIME_SHIFT) - w) & FIELD_MASK;

	if (age > FIELD_MASK - 256) /* a few seconds: somebody read the clock after us */
		age = 0;
	return age > 0 ? (age - 1) << TIME_SHIFT : 0;
}

unsigned
breaker_state(uint64_t word, uint64_t now_ns, uint64_t *since_ns)
{
	uint64_t age = age_ns(word, now_ns);

	*since_ns = now_ns > age ? now_ns - age : 0;
	return BREAKER_STATE(word) > RATION_HALF_OPEN ? RATION_CLOSED : BREAKER_STATE(word);
}

/* Is the prober dead?  Looked at so often at most, by whoever gets to it. */
static bool
prober_dead(struct upstream_call *c, uint64_t w)
{
	uint64_t last = word_load(&c->e[U_LOOKED]);
	struct holder_look look;
	bool dead;

	if (field_in(w) == 0 || (c->now_ns >= last && c->now_ns - last < LOOK_NS) ||
	    !word_cas(&c->e[U_LOOKED], last, c->now_ns))
		return false;
	look = holder_look_begin(&c->r->paths);
	dead = holder_dead(&look, (uint32_t)field_in(w));
	holder_look_end(&look);
	return dead;
}

static uint64_t
hangs_ns(const struct upstream_def *d)
{
	uint64_t ms = d->open_ms;

	ms = ms < HANGS_LEAST_MS ? HANGS_LEAST_MS : ms > HANGS_MOST_MS ? HANGS_MOST_MS : ms;
	return ms * MS_NS;
}

/* GATE_PASS: to be probed. */
static enum gate
due(struct upstream_call *c, uint64_t w, uint64_t *wait_ns)
{
	uint64_t age = age_ns(w, c->now_ns), open_ns = c->def.open_ms * MS_NS;

	if (BREAKER_STATE(w) == RATION_OPEN) {
		if (age >= open_ns)
			return GATE_PASS;
		*wait_ns = open_ns - age;
		return GATE_OPEN;
	}
	if (age >= hangs_ns(&c->def) || prober_dead(c, w))
		return GATE_PASS;
	*wait_ns = PROBED_WAIT_NS;
	return GATE_PROBED;
}

enum gate
breaker_gate(struct upstream_call *c, uint64_t *token, uint64_t *wait_ns)
{
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t w = word_load(&c->e[U_BREAKER]), half;
		uint32_t number = 0;
		enum gate g;

		*token = epoch_in(w);
		if (c->def.failures == 0 || BREAKER_STATE(w) == RATION_CLOSED)
			return GATE_PASS;
		if (BREAKER_STATE(w) > RATION_HALF_OPEN) { /* a scribble */
			(void)word_cas(&c->e[U_BREAKER], w, 0);
			continue;
		}
		upstream_clock(c); /* after w: else what is new may seem to be of 78 hours ago */
		g = due(c, w, wait_ns);
		if (g != GATE_PASS)
			return g;
		/* Without a lock file nobody can be found dead: then it takes the time. */
		if (holder_number(c->r, c->seg, &number) != 0)
			number = 0;
		half = word_of(RATION_HALF_OPEN, epoch_in(w), number, c->now_ns);
		if (word_cas(&c->e[U_BREAKER], w, half)) {
			word_count(&c->e[U_COUNT + UC_probes], 1);
			*token = half;
			return GATE_PROBE;
		}
	}
	*wait_ns = PROBED_WAIT_NS;
	return GATE_PROBED;
}

void
breaker_unprobe(struct upstream_call *c, uint64_t token)
{
	uint64_t since = c->def.open_ms * MS_NS + (UINT64_C(2) << TIME_SHIFT);

	/* Open for as long as it takes already: the next one is a probe. */
	(void)word_cas(
	    &c->e[U_BREAKER], token, word_of(RATION_OPEN, epoch_in(token), 0, c->now_ns - since));
}

static void
probe_result(struct upstream_call *c, uint64_t token, bool failure)
{
	if (!word_cas(&c->e[U_BREAKER], token,
		word_of(failure ? RATION_OPEN : RATION_CLOSED, epoch_in(token) + 1, 0, c->now_ns)))
		return;
	if (failure)
		word_count(&c->e[U_COUNT + UC_opened], 1);
}

void
breaker_result(struct upstream_call *c, uint64_t token, bool probe, int status)
{
	bool failure = status == 0 || status >= 500;

	if (c->def.failures == 0)
		return;
	if (probe) {
		probe_result(c, token, failure);
		return;
	}
	if (status == 429) /* it is there, and says so: neither */
		return;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t w = word_load(&c->e[U_BREAKER]), n = field_in(w);
		bool opens = failure && n + 1 >= c->def.failures;

		if (BREAKER_STATE(w) != RATION_CLOSED || epoch_in(w) != token ||
		    (!failure && n == 0))
			return;
		if (!word_cas(&c->e[U_BREAKER], w,
			opens ? word_of(RATION_OPEN, epoch_in(w) + 1, 0, c->now_ns)
			      : word_of(RATION_CLOSED, epoch_in(w), failure ? n + 1 : 0, 0)))
			continue;
		if (opens)
			word_count(&c->e[U_COUNT + UC_opened], 1);
		return;
	}
}
