/*
 * upstreams.h - somebody else's service, simulated: its limit counted exactly by its own clock,
 * its answers with the headers of several dialects.
 */
#ifndef TESTS_UPSTREAMS_H
#define TESTS_UPSTREAMS_H

#include "fixture.h"

#define SIM_LOG 65536u

enum sim_kind { SIM_FIXED, SIM_SLIDING };
enum sim_dialect {
	SIM_X_UNIX,     /* X-RateLimit-*, Reset in Unix seconds, as most do */
	SIM_X_DELTA,    /* Reset in seconds from now */
	SIM_IETF_THREE, /* RateLimit-Limit, -Remaining, -Reset */
	SIM_IETF_OLD,   /* RateLimit: limit=, remaining=, reset= */
	SIM_IETF_LIST,  /* RateLimit: "a";r=;t=, RateLimit-Policy */
	SIM_SILENT,     /* none of them; Retry-After on 429 alone */
	SIM_DIALECTS,
};

struct sim {
	enum sim_kind kind;
	enum sim_dialect dialect;
	uint64_t limit;
	uint64_t window_ms;
	int64_t skew_ms; /* their clock minus ours */
	bool no_date;
	/* What it has seen. */
	uint64_t counted, refused;
	uint64_t window, in_window; /* SIM_FIXED */
	uint64_t most;              /* ever counted in one window */
	uint64_t refused_windows[64];
	unsigned nrefused_windows;
	uint64_t log[SIM_LOG]; /* SIM_SLIDING: times, ms */
	size_t head, tail;
};

struct sim_answer {
	int status;
	ration_attr_t headers[8];
	size_t n;
	char text[8][96];
};

/* A request of cost units arrives at our Unix ms. */
void sim_request(struct sim *s, int64_t unix_ms, uint64_t cost, struct sim_answer *out);
/* Add a header; returns its value's buffer of 96 bytes. */
void answer_add(struct sim_answer *a, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* An HTTP date. */
void http_date_text(int64_t unix_s, char out[40]);

#endif
