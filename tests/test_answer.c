/*
 * test_answer.c - decisions as HTTP answers: the dialects of five published APIs to the byte,
 * the IETF draft's, and what each header and field means at the edges.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <time.h>
#include <cmocka.h>

#include "answer.h"
#include "answers.h"
#include "date.h"
#include "ration.h"

#define S UINT64_C(1000000000)
#define X3 (ANSWER_RATELIMIT | ANSWER_RETRY)

/* "Name: value\n" of each header. */
static const char *
headers(ration_t *r, const ration_decision_t *d)
{
	static char text[16384];
	ration_header_t h = { .size = sizeof(h) };
	size_t at = 0;
	int e = 1;

	text[0] = '\0';
	for (unsigned i = 0; (e = ration_http_header(r, d, i, &h)) == 1; i++) {
		assert_true(at < sizeof(text) - 2048 && i < 64);
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s: %s\n", h.name, h.value);
	}
	assert_int_equal(e, 0);
	return text;
}

static const char *
body_with(ration_t *r, const ration_decision_t *d, const ration_attr_t *fields, size_t n)
{
	static char text[4096];
	int len = ration_http_body(r, d, fields, n, text, sizeof(text));

	assert_true(len >= 0);
	assert_int_equal(len, strlen(text));
	return text;
}

static const char *
body(ration_t *r, const ration_decision_t *d)
{
	return body_with(r, d, NULL, 0);
}

static const char *text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static const char *
text(const char *fmt, ...)
{
	static char out[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(out, sizeof(out), fmt, ap);
	va_end(ap);
	return out;
}

static ration_decision_t
take(struct fixture *f, const char *limit, uint64_t n)
{
	ration_decision_t d = RATION_DECISION_INIT;

	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(ration_acquire(f->r, limit, "k", 1, &d), RATION_ADMITTED);
	return d;
}

/* A denial with just so many seconds to wait: time goes on until there are. */
static ration_decision_t
denied_for(struct fixture *f, const char *limit, uint32_t seconds)
{
	ration_decision_t d = RATION_DECISION_INIT;

	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(ration_acquire(f->r, limit, "k", 1, &d), RATION_DENIED);
		if (d.retry_after == seconds)
			return d;
		assert_true(d.retry_after > seconds);
		atomic_fetch_add(&f->now, S / 2);
	}
	fail_msg("%s never had %u s to wait", limit, seconds);
	return d;
}

/* ---- five systems ---- */

static void
mivicall(void **state)
{
	static const char yaml[] =
	    "defaults: {answer: api}\n"
	    "answers:\n"
	    "  api:\n"
	    "    reset: retry\n"
	    "    show: {limit: api, window: minute}\n"
	    "    body: '{\"error\":\"rate_limit_exceeded\",\"message\":\"${title} exceeded "
	    "${units} req/${per}. Retry in ${retry_after} seconds.\","
	    "\"retryAfter\":${retry_after}}'\n"
	    "limits:\n"
	    "  api: {rates: [300/min, 30/s], title: API key}\n"
	    "  per-ip: {rates: 100/min, title: IP address}\n"
	    "  webhooks: {rates: unlimited}\n";
	struct fixture f;
	ration_decision_t d;
	(void)state;

	fixture_open(&f, yaml, 0);

	d = take(&f, "api", 1);
	assert_int_equal(ration_http_status(f.r, &d), 200);
	/* A sliding window of 60 s is counted in sixteenths of 64.02 s from the boot. */
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 300\nX-RateLimit-Remaining: 299\nX-RateLimit-Reset: %lld\n",
		(long long)d.rates[d.rates[0].window_ns == 60 * S ? 0 : 1].reset_at));
	assert_string_equal(body(f.r, &d), "");

	(void)take(&f, "api", 29); /* the burst guard */
	assert_int_equal(ration_acquire(f.r, "api", "k", 1, &d), RATION_DENIED);
	assert_string_equal(body(f.r, &d),
	    text("{\"error\":\"rate_limit_exceeded\",\"message\":\"API key exceeded 30 req/s. "
		 "Retry in %u seconds.\",\"retryAfter\":%u}",
		d.retry_after, d.retry_after));
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Limit: 300\n"));

	for (unsigned i = 0; i < 9; i++) {
		atomic_fetch_add(&f.now, 2 * S);
		(void)take(&f, "api", 30);
	}
	atomic_fetch_add(&f.now, 2 * S);
	d = denied_for(&f, "api", 12);
	assert_int_equal(ration_http_status(f.r, &d), 429);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 300\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		 "Retry-After: 12\nContent-Type: application/json\n",
		(long long)fixture_unix(&f) + 12));
	assert_string_equal(body(f.r, &d),
	    "{\"error\":\"rate_limit_exceeded\",\"message\":\"API key exceeded 300 req/min. "
	    "Retry in 12 seconds.\",\"retryAfter\":12}");

	(void)take(&f, "per-ip", 100);
	d = denied_for(&f, "per-ip", 30);
	assert_string_equal(body(f.r, &d),
	    "{\"error\":\"rate_limit_exceeded\",\"message\":\"IP address exceeded 100 req/min. "
	    "Retry in 30 seconds.\",\"retryAfter\":30}");
	/* Unlimited: counted, and nothing to say. */
	d = take(&f, "webhooks", 3);
	assert_string_equal(headers(f.r, &d), "");
	fixture_close(&f);
}

static void
oxenty(void **state)
{
	static const char yaml[] =
	    "answers:\n"
	    "  default:\n"
	    "    body: '{\"statusCode\":${status},\"error\":\"TOO_MANY_REQUESTS\",\"message\":"
	    "\"Rate limit exceeded. Try again in ${retry_after} seconds.\","
	    "\"retryAfter\":${retry_after}}'\n"
	    "    body-never: '{\"statusCode\":${status},\"error\":\"TOO_MANY_REQUESTS\","
	    "\"message\":\"All ${title} are open.\",\"retryAfter\":${retry_after}}'\n"
	    "limits: {requests: {rates: 40/min}, messages: {rates: 480/day}, sessions: {rates: 1 "
	    "concurrent}}\n";
	struct fixture f;
	ration_decision_t d;
	ration_lease_t lease, other;
	(void)state;

	fixture_open(&f, yaml, 0);
	(void)take(&f, "requests", 40);
	d = denied_for(&f, "requests", 45);
	assert_int_equal(ration_http_status(f.r, &d), 429);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 40\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		 "Retry-After: 45\nContent-Type: application/json\n",
		(long long)d.reset_at));
	assert_string_equal(body(f.r, &d),
	    "{\"statusCode\":429,\"error\":\"TOO_MANY_REQUESTS\",\"message\":\"Rate limit "
	    "exceeded. "
	    "Try again in 45 seconds.\",\"retryAfter\":45}");
	/* A session is over when it is over: no time to wait for it. */
	assert_int_equal(ration_lease(f.r, "sessions", "k", 1, 0, &lease, &d), RATION_ADMITTED);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n",
		(long long)fixture_unix(&f)));
	assert_int_equal(ration_lease(f.r, "sessions", "k", 1, 0, &other, &d), RATION_DENIED);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		 "Content-Type: application/json\n",
		(long long)fixture_unix(&f)));
	assert_string_equal(body(f.r, &d),
	    "{\"statusCode\":429,\"error\":\"TOO_MANY_REQUESTS\",\"message\":\"All sessions are "
	    "open.\",\"retryAfter\":null}");
	d = take(&f, "messages", 480);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 480\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n",
		(long long)FIXTURE_UNIX + 86400));
	fixture_close(&f);
}

static void
fluxiq(void **state)
{
	static const char yaml[] =
	    "answers:\n"
	    "  default:\n"
	    "    headers: [x-ratelimit, retry-after]\n"
	    "    reset: window\n"
	    "    body: '{\"success\":false,\"error\":{\"code\":\"RATE_LIMITED\",\"message\":"
	    "\"Limite de requisicoes excedido\",\"details\":\"Aguarde ${retry_after} segundos "
	    "antes de fazer novas requisicoes\"},\"meta\":{\"request_id\":"
	    "\"${field.request_id}\"}}'\n"
	    "limits: {boletos.post: {rates: 100/min fixed}}\n";
	static const ration_attr_t id = { sizeof(id), "request_id", "req_abc123def456", 16 };
	struct fixture f;
	ration_decision_t d;
	(void)state;

	fixture_open(&f, yaml, 0);
	atomic_fetch_add(&f.now, 15 * S); /* 45 s before the boundary */
	d = take(&f, "boletos.post", 100);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 100\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n",
		(long long)FIXTURE_UNIX + 60));
	assert_int_equal(ration_acquire(f.r, "boletos.post", "k", 1, &d), RATION_DENIED);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 100\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		 "Retry-After: 45\nContent-Type: application/json\n",
		(long long)FIXTURE_UNIX + 60));
	assert_string_equal(body_with(f.r, &d, &id, 1),
	    "{\"success\":false,\"error\":{\"code\":\"RATE_LIMITED\",\"message\":\"Limite de "
	    "requisicoes excedido\",\"details\":\"Aguarde 45 segundos antes de fazer novas "
	    "requisicoes\"},\"meta\":{\"request_id\":\"req_abc123def456\"}}");
	fixture_close(&f);
}

static void
ai_empire(void **state)
{
	static const char yaml[] =
	    "plans: [starter, growth]\n"
	    "defaults: {timezone: Europe/Madrid, plan: growth}\n"
	    "answers:\n"
	    "  default:\n"
	    "    headers: [x-ratelimit-window, retry-after]\n"
	    "    reset: retry\n"
	    "    body: '{\"error\":\"rate_limit_exceeded\",\"message\":\"API burst limit reached "
	    "(${rate})\",\"retry_after_seconds\":${retry_after},"
	    "\"docs_url\":\"https://docs.example/limits\"}'\n"
	    "  paused:\n"
	    "    body: '{\"error\":\"quota_paused\",\"message\":\"${plan}: ${used} of ${units} "
	    "used, paused until ${retry_at.date}\",\"resumes\":\"${retry_at.iso}\","
	    "\"level\":${level}}'\n"
	    "limits:\n"
	    "  api.get: {per: minute, plans: [60, 300]}\n"
	    "  llm.tokens: {per: month, plans: [500k, 2.5M], answer: paused}\n";
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;
	(void)state;

	fixture_open(&f, yaml, 0);
	d = take(&f, "api.get", 1);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 300\nX-RateLimit-Remaining: 299\nX-RateLimit-Reset: %lld\n"
		 "X-RateLimit-Window: 60\n",
		(long long)d.reset_at));
	(void)take(&f, "api.get", 299);
	d = denied_for(&f, "api.get", 15);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 300\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		 "X-RateLimit-Window: 60\nRetry-After: 15\nContent-Type: application/json\n",
		(long long)fixture_unix(&f) + 15));
	assert_string_equal(body(f.r, &d),
	    "{\"error\":\"rate_limit_exceeded\",\"message\":\"API burst limit reached (300/min)\","
	    "\"retry_after_seconds\":15,\"docs_url\":\"https://docs.example/limits\"}");

	/* February starts in Madrid when it is still January by UTC. */
	assert_int_equal(ration_acquire(f.r, "llm.tokens", "k", 2500000, &d), RATION_ADMITTED);
	assert_int_equal(ration_acquire(f.r, "llm.tokens", "k", 1, &d), RATION_DENIED);
	assert_string_equal(body(f.r, &d),
	    "{\"error\":\"quota_paused\",\"message\":\"growth: 2500000 of 2500000 used, paused "
	    "until 2026-02-01\",\"resumes\":\"2026-01-31T23:00:00Z\",\"level\":100}");
	fixture_close(&f);
}

static void
apviso(void **state)
{
	static const char yaml[] =
	    "answers:\n"
	    "  default:\n"
	    "    body: '{\"error\":\"rate_limit_exceeded\",\"message\":\"Too many requests. "
	    "Please retry after the reset time.\",\"retryAfter\":${retry_after}}'\n"
	    "limits: {api: {rates: 120/min fixed}}\n";
	struct fixture f;
	ration_decision_t d;
	(void)state;

	fixture_open(&f, yaml, 0);
	atomic_fetch_add(&f.now, 14 * S + S / 2); /* Retry-After is rounded up */
	(void)take(&f, "api", 120);
	d = denied_for(&f, "api", 46);
	atomic_fetch_add(&f.now, S / 2);
	d = denied_for(&f, "api", 45);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 120\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		 "Retry-After: 45\nContent-Type: application/json\n",
		(long long)FIXTURE_UNIX + 60));
	assert_string_equal(body(f.r, &d),
	    "{\"error\":\"rate_limit_exceeded\",\"message\":\"Too many requests. Please retry "
	    "after "
	    "the reset time.\",\"retryAfter\":45}");
	fixture_close(&f);
}

/* ---- the IETF draft ---- */

static void
ietf(void **state)
{
	static const char yaml[] =
	    "answers:\n"
	    "  default: {headers: [ietf, retry-after], show: {limit: api, window: minute}, "
	    "body: problem}\n"
	    "  bare: {headers: [ietf]}\n"
	    "limits:\n"
	    "  api: {rates: [300/min, 30/s]}\n"
	    "  plain: {rates: [10/month, 5/day, 2/15min], answer: bare}\n";
	struct fixture f;
	ration_decision_t d;
	(void)state;

	fixture_open(&f, yaml, 0);
	d = take(&f, "api", 13);
	for (unsigned i = 0; i < d.nrates; i++)
		if (d.rates[i].window_ns == 60 * S)
			d.rates[i].reset_at = d.now + 41;
	assert_string_equal(headers(f.r, &d),
	    "RateLimit-Policy: \"sec\";q=30;w=1, \"min\";q=300;w=60\n"
	    "RateLimit: \"min\";r=287;t=41\n");
	(void)take(&f, "api", 17);
	assert_int_equal(ration_acquire(f.r, "api", "k", 1, &d), RATION_DENIED);
	assert_string_equal(headers(f.r, &d),
	    text("RateLimit-Policy: \"sec\";q=30;w=1, \"min\";q=300;w=60\n"
		 "RateLimit: \"min\";r=270;t=%u\nRetry-After: %u\n"
		 "Content-Type: application/problem+json\n",
		d.retry_after, d.retry_after));
	assert_string_equal(body(f.r, &d),
	    "{\"type\":\"https://iana.org/assignments/http-problem-types#quota-exceeded\","
	    "\"title\":\"Request cannot be satisfied as assigned quota has been exceeded\","
	    "\"status\":429,\"violated-policies\":[\"sec\"]}");

	d = take(&f, "plain", 1); /* no `show`: the rate that decided */
	assert_string_equal(headers(f.r, &d),
	    text("RateLimit-Policy: \"15min\";q=2;w=900, \"day\";q=5;w=86400, \"month\";q=10\n"
		 "RateLimit: \"15min\";r=1;t=%lld\n",
		(long long)(d.reset_at - d.now)));
	fixture_close(&f);
}

static void
ietf_names(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = ANSWER_IETF | ANSWER_PROBLEM },
	};
	const ration_claim_t twice[] = {
		{ sizeof(twice[0]), "b", "k", 1, 1 },
		{ sizeof(twice[0]), "b", "k2", 2, 1 },
	};
	const struct text_answer window = { .headers = X3 | ANSWER_WINDOW };
	const ration_claim_t claims[] = {
		{ sizeof(claims[0]), "a", "k", 1, 1 },
		{ sizeof(claims[0]), "b", "k", 1, 1 },
		{ sizeof(claims[0]), "u", "k", 1, 1 },
	};
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;
	(void)state;

	fixture_open(&f,
	    "limits: {a: {rates: [3/min, 1/min fixed]}, b: {rates: 10/s burst 20}, "
	    "u: {rates: unlimited}}\n",
	    0);
	answers_set(&f, answers, 1);
	assert_int_equal(ration_acquire_all(f.r, claims, 3, &d), RATION_ADMITTED);
	/* A bucket's burst comes back in 2 s. */
	assert_string_equal(headers(f.r, &d),
	    text("RateLimit-Policy: \"a.min\";q=3;w=60, \"a.min-fixed\";q=1;w=60, "
		 "\"b.sec\";q=20;w=2\nRateLimit: \"a.min-fixed\";r=0;t=%lld\n",
		(long long)(d.reset_at - d.now)));
	assert_int_equal(ration_acquire_all(f.r, claims, 3, &d), RATION_DENIED);
	assert_non_null(strstr(body(f.r, &d), "\"violated-policies\":[\"a.min-fixed\"]}"));
	answers_rename(&f, d.limit_id[0], "PO\"ST \\\xc3\xa9\n", 10);
	assert_non_null(strstr(headers(f.r, &d), "\"PO\\\"ST \\\\___.min\";q=3;w=60, \"PO"));
	assert_non_null(
	    strstr(body(f.r, &d), "\"violated-policies\":[\"PO\\\"ST \\\\___.min-fixed\"]}"));
	/* One limit alone: names need no limit. */
	assert_int_equal(ration_acquire(f.r, "b", "k", 1, &d), RATION_ADMITTED);
	assert_non_null(strstr(headers(f.r, &d), "RateLimit-Policy: \"sec\";q=20;w=2\n"));

	/* A limit for two keys. */
	assert_int_equal(ration_acquire_all(f.r, twice, 2, &d), RATION_ADMITTED);
	assert_non_null(strstr(
	    headers(f.r, &d), "RateLimit-Policy: \"b.sec\";q=20;w=2, \"b.sec-2\";q=20;w=2\n"));
	assert_int_equal(ration_acquire(f.r, "b", "k", 1, &d), RATION_ADMITTED);

	/* Leases: nothing to wait for, and another unit. */
	d.kind = RATION_CONCURRENT;
	d.window_ns = 0;
	d.limit_units = 5;
	d.remaining = 2;
	d.reset_at = 0;
	assert_string_equal(headers(f.r, &d),
	    "RateLimit-Policy: \"concurrent\";q=5;qu=\"concurrent-requests\"\n"
	    "RateLimit: \"concurrent\";r=2\n");
	answers_set(&f, &window, 1);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 5\nX-RateLimit-Remaining: 2\nX-RateLimit-Reset: %lld\n",
		(long long)d.now));
	fixture_close(&f);
}

/* A list too long for one value goes on in another field. */
static void
ietf_long(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = ANSWER_IETF },
	};
	struct fixture f;
	ration_decision_t d;
	const char *t, *p;
	unsigned fields = 0, items = 0;
	(void)state;

	fixture_open(&f, "limits: {a: {rates: 3/min}}\n", 0);
	answers_set(&f, answers, 1);
	d = take(&f, "a", 1);
	answers_rename(&f, d.limit_id[0],
	    "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\""
	    "\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"\"",
	    63);
	for (unsigned i = 1; i < RATION_DECISION_RATES; i++) {
		d.rates[i] = d.rates[0];
		d.rates[i].claim = (uint8_t)(i % RATION_CLAIMS_MAX);
		d.rates[i].window_ns *= i + 1;
		d.limit_id[i % RATION_CLAIMS_MAX] = d.limit_id[0];
	}
	d.nrates = RATION_DECISION_RATES;
	t = headers(f.r, &d);
	for (p = t; (p = strstr(p, "RateLimit-Policy: \"")) != NULL; p++)
		fields++;
	for (p = t; (p = strstr(p, "\";q=3;w=")) != NULL; p++)
		items++;
	assert_int_equal(items, RATION_DECISION_RATES);
	assert_int_equal(fields, 3);
	fixture_close(&f);
}

/* ---- edges ---- */

static void
nothing_to_say(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = X3 | ANSWER_WINDOW | ANSWER_IETF, .body = "x" },
	};
	static const uint32_t flags[] = { RATION_F_DEGRADED, RATION_F_EXEMPT, RATION_F_UNROUTED };
	struct fixture f;
	ration_decision_t d;
	(void)state;

	fixture_open(&f, "limits: {api: {rates: 3/min}, off: {rates: 3/min, mode: 'off'}}\n", 0);
	answers_set(&f, answers, 1);
	for (unsigned i = 0; i < 3; i++) {
		d = take(&f, "api", 1);
		d.flags |= flags[i];
		assert_string_equal(headers(f.r, &d), "");
		assert_int_equal(ration_http_status(f.r, &d), 200);
		assert_string_equal(body(f.r, &d), "");
	}
	d = take(&f, "off", 1);
	assert_string_equal(headers(f.r, &d), "");
	/* More used than the limit allows now. */
	assert_int_equal(ration_acquire(f.r, "api", "k", 1, &d), RATION_DENIED);
	d.used = 7;
	d.remaining = 0;
	d.flags |= RATION_F_DEBT;
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Remaining: 0\n"));
	fixture_close(&f);
}

static void
no_waiting_helps(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = X3 | ANSWER_IETF,
		    .reset = RESET_RETRY,
		    .status = 403,
		    .content_type = "text/json\r\nSet-Cookie: x",
		    .body = "{\"retry\":${retry_after},\"at\":${retry_at},\"on\":\"${retry_at.iso}"
			    "${retry_at.date}\"}",
		    .body_never = "never: ${retry_after} of ${cost}" },
		{ .limit = "plain",
		    .headers = X3,
		    .body = "${retry_after} ${retry_at}<${retry_at.iso}"
			    "${retry_at.date}>${window}" },
	};
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;
	(void)state;

	fixture_open(&f,
	    "limits: {api: {rates: 3/min}, plain: {rates: 3/min}, known: {rates: 3/min, "
	    "unlisted: refuse}, few: {rates: 3/min, max_keys: 1, when_full: deny}}\n",
	    0);
	answers_set(&f, answers, 2);
	assert_int_equal(ration_acquire(f.r, "api", "k", 4, &d), RATION_DENIED);
	assert_int_equal(ration_http_status(f.r, &d), 403);
	assert_string_equal(headers(f.r, &d),
	    text("X-RateLimit-Limit: 3\nX-RateLimit-Remaining: 3\nX-RateLimit-Reset: %lld\n"
		 "RateLimit-Policy: \"min\";q=3;w=60\nRateLimit: \"min\";r=3;t=0\n"
		 "Content-Type: text/json\n",
		(long long)fixture_unix(&f)));
	assert_string_equal(body(f.r, &d), "never: null of 4");
	assert_int_equal(ration_acquire(f.r, "plain", "k", 4, &d), RATION_DENIED);
	assert_string_equal(body(f.r, &d), "null null<>60");
	/* Not a rate's doing: no figures. */
	assert_int_equal(ration_acquire(f.r, "known", "k", 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_UNLISTED);
	assert_string_equal(headers(f.r, &d), "Content-Type: text/json\n");
	(void)take(&f, "few", 1);
	assert_int_equal(ration_acquire(f.r, "few", "another", 1, &d), RATION_DENIED);
	assert_int_equal(d.reason, RATION_R_FULL);
	assert_int_equal(d.nrates, 1);
	assert_string_equal(headers(f.r, &d), "Content-Type: text/json\n");
	/* A denial never says 0. */
	(void)take(&f, "plain", 3);
	d = denied_for(&f, "plain", 60);
	d.retry_after = 0;
	d.retry_at = d.now;
	assert_non_null(strstr(headers(f.r, &d), "Retry-After: 1\n"));
	assert_true(strncmp(body(f.r, &d), text("1 %lld<", (long long)d.now + 1), 13) == 0);
	fixture_close(&f);
}

static void
shown(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = ANSWER_RATELIMIT, .show = "api" },
	};
	const ration_claim_t claims[] = {
		{ sizeof(claims[0]), "other", "k", 1, 1 },
		{ sizeof(claims[0]), "api", "k", 1, 1 },
	};
	struct text_answer with = answers[0];
	struct fixture f;
	ration_decision_t d = RATION_DECISION_INIT;
	(void)state;

	fixture_open(&f, "limits: {api: {rates: [300/min, 30/s]}, other: {rates: 7/s}}\n", 0);
	answers_set(&f, answers, 1);
	assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_ADMITTED);
	assert_int_equal(d.limit_units, 7);
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Limit: 300\n"));
	assert_int_equal(ration_acquire(f.r, "other", "k", 1, &d), RATION_ADMITTED);
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Limit: 7\n"));
	d = take(&f, "api", 1);
	assert_int_equal(d.limit_units, 30);
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Limit: 300\n"));
	with.show_s = 1;
	answers_set(&f, &with, 1);
	assert_int_equal(ration_acquire_all(f.r, claims, 2, &d), RATION_ADMITTED);
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Limit: 30\n"));
	with.show_s = 3600; /* the call has no such rate */
	answers_set(&f, &with, 1);
	assert_non_null(strstr(headers(f.r, &d), "X-RateLimit-Limit: 7\n"));
	fixture_close(&f);
}

static void
escapes(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = 0,
		    .body = "$$${field.a}$$$$|${field.none}|${limit}|${title}|${level}" },
		{ .limit = "api",
		    .title = "\"T\\\"",
		    .body = "$$${field.a}$$$$|${field.none}|${limit}|"
			    "${title}|${level}" },
	};
	static const char raw[] =
	    "\"\\/\b\f\n\r\t\x01\x1f\x7f\0"
	    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" /* e acute, euro, a face */
	    "\xff|\xe0\x9f\xbf|\xc0\xaf|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x82|\xc3";
	const ration_attr_t a = { sizeof(a), "a", raw, sizeof(raw) - 1 };
	static const char want[] = "$\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u0000"
				   "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
				   "\xef\xbf\xbd|\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
				   "\xef\xbf\xbd\xef\xbf\xbd|"
				   "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
				   "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|"
				   "\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd$$||api|\\\"T\\\\\\\"|100";
	struct fixture f;
	ration_decision_t d;
	char buf[sizeof(want) + 8];
	(void)state;

	fixture_open(&f, "limits: {api: {rates: 3/min}}\n", 0);
	answers_set(&f, answers, 2);
	(void)take(&f, "api", 3);
	d = denied_for(&f, "api", 60);
	assert_string_equal(body_with(f.r, &d, &a, 1), want);
	/* As snprintf(): the length of all of it, and no byte beyond the buffer. */
	for (size_t size = 0; size < sizeof(buf); size++) {
		memset(buf, '#', sizeof(buf));
		assert_int_equal(ration_http_body(f.r, &d, &a, 1, buf, size), sizeof(want) - 1);
		assert_int_equal(buf[size], '#');
		if (size > 0) {
			size_t n = size - 1 < sizeof(want) - 1 ? size - 1 : sizeof(want) - 1;

			assert_memory_equal(buf, want, n);
			assert_int_equal(buf[n], '\0');
		}
	}
	assert_int_equal(ration_http_body(f.r, &d, &a, 1, NULL, 0), sizeof(want) - 1);
	fixture_close(&f);
}

static void
templates(void **state)
{
	static const struct {
		const char *text;
		int64_t want;
	} cases[] = {
		{ "", -1 },
		{ "plain", -1 },
		{ "$$ ${limit} ${field.x-y_1.Z}$$", -1 },
		{ "${retry_at.iso}${reset_at.date}", -1 },
		{ "$", 0 },
		{ "abc $x", 4 },
		{ "$$$", 2 },
		{ "${", 2 },
		{ "${}", 2 },
		{ "ab${limi}", 4 },
		{ "${key}", 2 },
		{ "${limit", 7 },
		{ "${limit x}", 7 },
		{ "${field.}", 2 },
		{ "${ limit}", 2 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *expected = NULL;
		int64_t got =
		    answer_template_check(cases[i].text, strlen(cases[i].text), &expected);

		if (got != cases[i].want || (got >= 0) != (expected != NULL))
			fail_msg("\"%s\": %lld", cases[i].text, (long long)got);
	}
}

/* Without the policy, or while it is being rewritten for good, an answer all the same. */
static void
without_policy(void **state)
{
	static const struct text_answer answers[] = {
		{ .headers = ANSWER_IETF, .status = 503, .body = "x" },
	};
	struct fixture f;
	ration_decision_t d;
	uint64_t word;
	const char *want;
	ration_t *lost;
	(void)state;

	fixture_open(&f, "limits: {api: {rates: 1/min fixed}}\n", 0);
	answers_set(&f, answers, 1);
	(void)take(&f, "api", 1);
	d = denied_for(&f, "api", 60);
	assert_int_equal(ration_http_status(f.r, &d), 503);
	want = text("X-RateLimit-Limit: 1\nX-RateLimit-Remaining: 0\nX-RateLimit-Reset: %lld\n"
		    "Retry-After: 60\n",
	    (long long)d.reset_at);
	word = atomic_load(&f.seg.policy->word);
	atomic_store(
	    &f.seg.policy->word, POLICY_WORD(POLICY_CURRENT(word), POLICY_CURRENT(word) + 2));
	assert_int_equal(ration_http_status(f.r, &d), 429);
	assert_string_equal(headers(f.r, &d), want);
	assert_string_equal(body(f.r, &d), "");
	atomic_store(&f.seg.policy->word, word);
	assert_int_equal(ration_http_status(f.r, &d), 503);

	assert_int_equal(ration_open_dir("/nonexistent", "t", RATION_FAIL_OPEN, &lost), 0);
	assert_int_equal(ration_http_status(lost, &d), 429);
	assert_string_equal(headers(lost, &d), want);
	assert_int_equal(ration_acquire(lost, "api", "k", 1, &d), RATION_ADMITTED);
	assert_int_equal(ration_http_status(lost, &d), 200);
	assert_string_equal(headers(lost, &d), "");
	ration_close(lost);
	fixture_close(&f);
}

static void
wrong_use(void **state)
{
	struct fixture f;
	ration_decision_t d, bad;
	ration_header_t h = { .size = sizeof(h) };
	ration_attr_t a = { sizeof(a), "a", "b", 1 };
	char buf[8];
	(void)state;

	fixture_open(&f, "limits: {api: {rates: 1/min fixed}}\n", 0);
	d = take(&f, "api", 1);
	assert_int_equal(ration_http_status(NULL, &d), RATION_EINVAL);
	assert_int_equal(ration_http_status(f.r, NULL), RATION_EINVAL);
	assert_int_equal(ration_http_header(f.r, &d, 0, NULL), RATION_EINVAL);
	h.size--;
	assert_int_equal(ration_http_header(f.r, &d, 0, &h), RATION_EINVAL);
	h.size++;
	bad = d;
	bad.claim = RATION_CLAIMS_MAX;
	assert_int_equal(ration_http_header(f.r, &bad, 0, &h), RATION_EINVAL);
	bad = d;
	bad.nrates = RATION_DECISION_RATES + 1;
	assert_int_equal(ration_http_header(f.r, &bad, 0, &h), RATION_EINVAL);
	bad = d;
	bad.size = 8;
	assert_int_equal(ration_http_status(f.r, &bad), RATION_EINVAL);
	assert_int_equal(ration_http_body(f.r, &d, NULL, 1, buf, 8), RATION_EINVAL);
	assert_int_equal(ration_http_body(f.r, &d, NULL, 0, NULL, 8), RATION_EINVAL);
	a.name = NULL;
	assert_int_equal(ration_http_body(f.r, &d, &a, 1, buf, 8), RATION_EINVAL);
	fixture_close(&f);
}

/* ---- while the policy changes ---- */

static const char *const changing[] = {
	"answers: {default: {status: 429, headers: [retry-after], content-type: text/a, "
	"body: 'a ${title} ${limit} a'}}\nlimits: {api: {rates: 1/min fixed, title: AAAA}}\n",
	"answers: {default: {status: 503, headers: [ietf], content-type: text/bb, "
	"body: 'bb ${limit} ${title} bb'}}\n"
	"limits: {first: 1/day, api: {rates: 1/min fixed, title: BBBBBB}}\n",
};

struct changer {
	struct fixture *f;
	void *area[2]; /* the two, compiled */
	_Atomic bool done;
};

/*
 * An area is taken from its readers the moment that the next version is there, and what stood
 * in it is each time replaced by the other policy.  In between there is time to read.
 */
static void *
change(void *arg)
{
	struct changer *c = arg;

	for (unsigned i = 0; !atomic_load(&c->done); i++) {
		const struct policy_area *from = c->area[i / 2 & 1];
		struct timespec t0, t;
		uint32_t version;
		struct policy_area *to = policy_begin(c->f->seg.policy, &version);

		memcpy(to, from, from->bytes);
		to->version = version;
		(void)clock_gettime(CLOCK_MONOTONIC, &t0);
		do
			(void)clock_gettime(CLOCK_MONOTONIC, &t);
		while ((t.tv_sec - t0.tv_sec) * 1000000000 + t.tv_nsec - t0.tv_nsec < 10000);
		policy_publish(c->f->seg.policy, version);
	}
	return NULL;
}

static void *
compiled(struct fixture *f, const char *yaml)
{
	struct policy_ref p;
	void *copy;

	fixture_policy(f, yaml);
	assert_true(policy_current(f->seg.policy, &p));
	copy = malloc(p.area->bytes);
	assert_non_null(copy);
	memcpy(copy, p.area, p.area->bytes);
	return copy;
}

/* Every answer is whole: of the one policy or of the other. */
static void
live_change(void **state)
{
	struct fixture f;
	struct changer c = { .f = &f };
	ration_decision_t d;
	pthread_t thread;
	unsigned seen[2] = { 0, 0 };
	struct timespec t0, t;
	(void)state;

	fixture_open(&f, changing[0], 0);
	(void)take(&f, "api", 1);
	d = denied_for(&f, "api", 60);
	for (unsigned i = 0; i < 2; i++)
		c.area[i] = compiled(&f, changing[i]);
	assert_int_equal(pthread_create(&thread, NULL, change, &c), 0);
	(void)clock_gettime(CLOCK_MONOTONIC, &t0);
	do {
		ration_header_t h = { .size = sizeof(h) };
		const char *b = body(f.r, &d);
		int status = ration_http_status(f.r, &d);

		if (strcmp(b, "a AAAA api a") == 0)
			seen[0]++;
		else if (strcmp(b, "bb api BBBBBB bb") == 0)
			seen[1]++;
		else
			fail_msg("torn: %s", b);
		if (status != 429 && status != 503)
			fail_msg("torn: %d", status);
		assert_int_equal(ration_http_header(f.r, &d, 0, &h), 1);
		if (strcmp(h.value, "60") != 0 && strcmp(h.value, "\"min\";q=1;w=60") != 0)
			fail_msg("torn: %s: %s", h.name, h.value);
		(void)clock_gettime(CLOCK_MONOTONIC, &t);
	} while ((seen[0] < 50000 || seen[1] < 50000) && t.tv_sec - t0.tv_sec < 20);
	atomic_store(&c.done, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	free(c.area[0]);
	free(c.area[1]);
	assert_true(seen[0] != 0 && seen[1] != 0);
	fixture_close(&f);
}

/* ---- dates ---- */

static void
dates(void **state)
{
	static const struct {
		const char *zone;
		int64_t unix_s;
		const char *want;
	} cases[] = {
		{ "UTC", 1769904000, "2026-02-01" }, { "UTC", 1769903999, "2026-01-31" },
		{ "Europe/Madrid", 1769900400, "2026-02-01" },
		{ "Europe/Madrid", 1769900399, "2026-01-31" },
		{ "Pacific/Auckland", 1769857200, "2026-02-01" }, /* 13 hours east */
		{ "Pacific/Auckland", 1769857199, "2026-01-31" },
		{ "Pacific/Pago_Pago", 1769943600, "2026-02-01" }, /* 11 hours west */
		{ "Pacific/Pago_Pago", 1769943599, "2026-01-31" },
		{ "Pacific/Kiritimati", 1771927200, "2026-02-25" },
		{ "America/Santiago", 1788667200, "2026-09-06" }, /* midnight does not exist */
		{ "America/Santiago", 1788667199, "2026-09-05" },
		{ "Asia/Tokyo", 4102444800, "2100-01-01" }, /* beyond the tables: UTC */
	};
	static const struct {
		int64_t unix_s;
		const char *want;
	} isos[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ 951782399, "2000-02-28T23:59:59Z" },
		{ 951782400, "2000-02-29T00:00:00Z" },
		{ 1709164800, "2024-02-29T00:00:00Z" },
		{ 4107542399, "2100-02-28T23:59:59Z" },
		{ 4107542400, "2100-03-01T00:00:00Z" },
		{ 253402300799, "9999-12-31T23:59:59Z" },
		{ INT64_MAX, "9999-12-31T23:59:59Z" },
		{ INT64_MIN, "1970-01-01T00:00:00Z" },
	};
	char out[DATE_TEXT_MAX];
	(void)state;

	for (size_t i = 0; i < sizeof(isos) / sizeof(isos[0]); i++) {
		date_iso(isos[i].unix_s, out);
		assert_string_equal(out, isos[i].want);
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		struct policy_ref p;
		char yaml[128];

		(void)snprintf(yaml, sizeof(yaml),
		    "defaults: {timezone: %s}\nlimits: {a: {rates: 1/day}}\n", cases[i].zone);
		fixture_open(&f, yaml, 0);
		assert_true(policy_current(f.seg.policy, &p));
		date_local(&p, 0, cases[i].unix_s, out);
		if (strcmp(out, cases[i].want) != 0)
			fail_msg("%s %lld: %s, expected %s", cases[i].zone,
			    (long long)cases[i].unix_s, out, cases[i].want);
		fixture_close(&f);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mivicall),
		cmocka_unit_test(oxenty),
		cmocka_unit_test(fluxiq),
		cmocka_unit_test(ai_empire),
		cmocka_unit_test(apviso),
		cmocka_unit_test(ietf),
		cmocka_unit_test(ietf_names),
		cmocka_unit_test(ietf_long),
		cmocka_unit_test(nothing_to_say),
		cmocka_unit_test(no_waiting_helps),
		cmocka_unit_test(shown),
		cmocka_unit_test(escapes),
		cmocka_unit_test(templates),
		cmocka_unit_test(without_policy),
		cmocka_unit_test(wrong_use),
		cmocka_unit_test(live_change),
		cmocka_unit_test(dates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
