/*
 * try.h - what the parts of `ration try --log` share: reading (cmd_try.c) and telling
 * (try_print.c).
 */
#ifndef RATION_TRY_H
#define RATION_TRY_H

#include "commands.h"
#include "log_input.h"
#include "replay.h"

#define TRY_SHOWN 5u /* malformed lines that are shown */
#define TRY_TOP 10u
#define TRY_TOP_MAX 10000u

struct try_mistake {
	uint64_t line;
	const char *expected;
	char text[64]; /* its beginning */
};

struct try_log {
	const char *policy;
	const char *path;
	bool json;
	struct log_input in;
	struct log_reader reader;
	struct replay replay;
	struct replay_attr attrs[REPLAY_ATTRS_MAX];
	char fields[REPLAY_ATTRS_MAX][LOG_NAME_MAX + 1]; /* by attribute */
	unsigned nattrs;
	int cost; /* its number among the wants; -1: each line costs 1 */
	char cost_field[LOG_NAME_MAX + 1];
	size_t top;
	size_t first_len; /* of the first line */
	uint64_t lines;
	uint64_t malformed;
	uint64_t no_request;
	uint64_t costless; /* lines without a figure where the cost should stand */
	struct try_mistake mistakes[TRY_SHOWN];
	unsigned nmistakes;
	int64_t from_ns, to_ns;
	uint64_t elapsed_ns;
};

/* The result on standard output. */
void try_print(struct try_log *t);
void try_print_json(struct try_log *t);
/* On standard error: lines that were not understood. */
void try_print_mistakes(const struct try_log *t);

/* ration try --history: try_history.c */
int try_history(struct ctx *c, const struct args *a, size_t top);

#endif
