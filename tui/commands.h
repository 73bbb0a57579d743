/*
 * commands.h - the subcommands: one list from which come dispatch, options,
 * help, and what the manual is checked against.
 */
#ifndef RATION_COMMANDS_H
#define RATION_COMMANDS_H

#include <limits.h>

#include "client.h"
#include "tui.h"

/* Options of commands: enum, name, letter (0: none), argument (NULL: none), help. */
#define OPTIONS(X) \
	X(SORT, "sort", 's', "COL", \
	    "sort by a column; numbers from the largest, text from the first") \
	X(INVERT, "invert", 'r', NULL, "the other end first") \
	X(TOP, "top", 't', "N", "only the first N") \
	X(FILTER, "filter", 'f', "EXPR", "only keys that match, e.g. 'limit:login use>80'") \
	X(CSV, "csv", 0, NULL, "every column, comma-separated, with a line of names") \
	X(BATCH, "batch", 'b', NULL, \
	    "print snapshots instead of a screen; also without a terminal") \
	X(COUNT, "count", 'n', "N", "how many: snapshots, or entries, the newest") \
	X(DELAY, "delay", 'd', "S", "seconds between two snapshots or redraws") \
	X(ROWS, "rows", 0, "N", "rows of a snapshot; 0: all") \
	X(IDLE, "idle", 0, NULL, "keys too that have used nothing and rest") \
	X(READONLY, "readonly", 0, NULL, "offer no change") \
	X(ASCII, "ascii", 0, NULL, "draw with ASCII alone") \
	X(COST, "cost", 'c', "N", "units to take, e.g. 2.5k (default 1)") \
	X(ATTR, "attr", 0, "NAME=VALUE", \
	    "an attribute of the request, e.g. ip=203.0.113.9 (try: NAME=FIELD); repeatable") \
	X(PEEK, "peek", 0, NULL, "only look, take nothing") \
	X(TTL, "ttl", 0, "T", "end after this long, e.g. 5m, and the command with it") \
	X(WAIT, "wait", 'w', "T", "wait for so long until admitted, e.g. 30s") \
	X(SPREAD, "spread", 0, NULL, "evenly, at the limit's pace, instead of as soon as it fits") \
	X(NAME, "name", 0, "NAME", "what it is released by") \
	X(KEY, "key", 'k', "K", "for this key only") \
	X(PLAN, "plan", 'p', "P", "for the keys of this plan") \
	X(FOR, "for", 0, "T", "for this long, e.g. 1h30m; then it ends by itself") \
	X(UNTIL, "until", 0, "TIME", \
	    "until then: 2027-01-31, 2027-01-31T12:00:00Z, or Unix seconds") \
	X(REASON, "reason", 'm', "TEXT", "why; goes into the audit trail") \
	X(EXPECT, "expect", 0, "G", "only if the limit's generation is still G") \
	X(DRY_RUN, "dry-run", 0, NULL, "check it, change nothing") \
	X(ALL, "all", 'a', NULL, "all of them: every limit; requests that are decided too") \
	X(AS_POLICY, "as-policy", 0, NULL, "as YAML, to be put into a policy file") \
	X(LAST, "last", 0, "T", "so far back: 24h, 7d, 30d") \
	X(BY, "by", 0, "WHAT", "totals by limit or plan") \
	X(TO, "to", 0, "RATES", "what is wanted, e.g. 600/min") \
	X(VOLUME, "volume", 0, "TEXT", "what is expected, e.g. '20k/day from March'") \
	X(AT, "at", 0, "TIME", "around then; default: the last one") \
	X(LOG, "log", 0, "FILE", "an access log; - for standard input") \
	X(FORMAT, "format", 0, "NAME", "of its lines: combined or json; default: as the first is") \
	X(HISTORY, "history", 0, NULL, "against the recorded usage instead")

enum option_id {
#define X(id, ...) OPT_##id,
	OPTIONS(X)
#undef X
	    OPT_COUNT_
};
#define O(id) (UINT64_C(1) << OPT_##id)

#define O_CHANGE (O(REASON) | O(EXPECT) | O(DRY_RUN))
/* The command reads its own argv; its options are listed for help alone. */
#define RAW (UINT64_C(1) << 63)
#define O_TOP \
	(RAW | O(BATCH) | O(COUNT) | O(DELAY) | O(SORT) | O(FILTER) | O(ROWS) | O(IDLE) | \
	    O(READONLY) | O(ASCII))

/*
 * Commands: name, arguments, options, least and most arguments, what it does,
 * an example.  The handler of NAME is cmd_NAME().  By what they are for: HEADING(title) stands
 * before those of a kind, in the order of --help and of the manual.
 */
#define COMMANDS(X, HEADING) \
	HEADING("Looking") \
	X(top, "", O_TOP, 0, 0, "the dashboard; also when no command is given on a terminal", \
	    "ration top -b -n 1 --json") \
	X(status, "", 0, 0, 0, "daemon, segment, limits, rates, since when", \
	    "ration status --json") \
	X(list, "[LIMIT]", O(SORT) | O(INVERT) | O(TOP) | O(FILTER) | O(CSV), 0, 1, \
	    "keys with what they have used", \
	    "ration list api --sort denied --top 10 --filter 'use>80'") \
	X(show, "LIMIT KEY", 0, 2, 2, \
	    "what a call would be answered, every rate, and where the limit comes from", \
	    "ration show api key:sk_42") \
	X(why, "KEY [LIMIT]", O(AT) | O(COUNT), 1, 2, "why a key was denied", \
	    "ration why key:sk_42 --at 14:05") \
	X(usage, "[KEY]", O(LAST) | O(BY) | O(CSV) | O(ASCII), 0, 1, \
	    "what was admitted and denied over time", "ration usage clinic:7 --last 30d") \
	X(events, "[KEY]", O(COUNT), 0, 1, \
	    "thresholds and raises: what happened, and who was told", \
	    "ration events clinic:7 -n 20") \
	X(watch, "", 0, 0, 0, "print events, changes and alarms as they happen", \
	    "ration watch --json") \
	X(routes, "", 0, 0, 0, "which requests take which limits, and for which keys", \
	    "ration routes --json") \
	X(leases, "[LIMIT [KEY]]", 0, 0, 2, "who holds what, since when, and for how long", \
	    "ration leases sockets --json") \
	X(upstreams, "", 0, 0, 0, "other people's limits: what is left, pauses, circuit breakers", \
	    "ration upstreams --json") \
	X(diff, "", O(AS_POLICY), 0, 0, "changes made while running, beside the policy files", \
	    "ration diff --as-policy") \
	X(audit, "", O(COUNT), 0, 0, "who changed what, when and why", "ration audit -n 20") \
	HEADING("Taking") \
	X(route, "METHOD PATH", O(ATTR) | O(COST) | O(PEEK), 2, 2, \
	    "take what a request takes, of all its limits: exit 0 admitted, 1 denied", \
	    "ration route POST /boletos/7/pay --attr key=sk_42 --attr ip=203.0.113.9") \
	X(acquire, "LIMIT KEY", O(COST) | O(WAIT) | O(SPREAD), 2, 2, \
	    "take units: exit 0 admitted, 1 denied", \
	    "ration acquire llm.tokens clinic:7 --cost 2.5k") \
	X(exec, "LIMIT KEY -- COMMAND ...", O(COST) | O(TTL) | O(WAIT), 3, INT_MAX, \
	    "run COMMAND while holding a lease, or after taking units", \
	    "ration exec builds team:7 --wait 10m -- make all") \
	X(lease, "LIMIT KEY", O(NAME), 2, 2, "take a lease that stays until it is released", \
	    "ration lease webhooks clinic:7 --name https://example.org/hook") \
	X(release, "LIMIT KEY", O(NAME), 2, 2, "give back a lease that lease took", \
	    "ration release webhooks clinic:7 --name https://example.org/hook") \
	HEADING("Changing") \
	X(set, "LIMIT RATES", O(KEY) | O(PLAN) | O(FOR) | O(UNTIL) | O_CHANGE, 2, 9, \
	    "change a limit, for all, a key or a plan", \
	    "ration set api '300/min, 30/s' --key key:sk_42 --for 2h --reason 'load test'") \
	X(unset, "LIMIT", O(KEY) | O(PLAN) | O_CHANGE, 1, 1, "take back what set changed", \
	    "ration unset api --key key:sk_42") \
	X(reset, "LIMIT KEY", O(REASON) | O(EXPECT) | O(DRY_RUN), 2, 2, "a key has used nothing", \
	    "ration reset api key:sk_42 --reason 'customer called'") \
	X(plan, "KEY PLAN", O(REASON) | O(DRY_RUN), 2, 2, "put a key on a plan; - for none", \
	    "ration plan clinic:7 growth") \
	X(env, "KEY ENVIRONMENT", O(REASON) | O(DRY_RUN), 2, 2, \
	    "put a key into an environment; - for none", "ration env clinic:7 sandbox") \
	X(share, "1/N", O(REASON) | O(DRY_RUN), 1, 1, "this host's part of every limit", \
	    "ration share 1/6") \
	X(observe, "LIMIT|--all", O(ALL) | O(FOR) | O_CHANGE, 0, 1, \
	    "admit, and count what would be denied", "ration observe --all --for 1h") \
	X(enforce, "LIMIT|--all", O(ALL) | O(FOR) | O_CHANGE, 0, 1, "deny again", \
	    "ration enforce --all") \
	X(off, "LIMIT|--all", O(ALL) | O(FOR) | O_CHANGE, 0, 1, "admit, and count nothing", \
	    "ration off per-ip --for 10m --reason 'incident 12'") \
	X(undo, "N", O(REASON) | O(DRY_RUN), 1, 1, "take back change N of the audit trail", \
	    "ration undo 17 --reason 'wrong customer'") \
	X(reload, "", O(REASON), 0, 0, "read the policy files again; bad ones are refused whole", \
	    "ration reload") \
	HEADING("Raises") \
	X(request, "LIMIT", O(KEY) | O(TO) | O(REASON) | O(VOLUME) | O(DRY_RUN), 1, 1, \
	    "ask for more than the limit allows", \
	    "ration request api --key key:sk_42 --to 600/min --reason 'new shop' --volume " \
	    "20k/day") \
	X(requests, "[N]", O(ALL) | O(COUNT), 0, 1, "raises that were asked for, and until when", \
	    "ration requests --all") \
	X(approve, "N", O(FOR) | O(UNTIL) | O_CHANGE, 1, 1, "grant what request N asks for", \
	    "ration approve 3 --for 30d") \
	X(decline, "N", O(REASON) | O(DRY_RUN), 1, 1, "refuse request N, or withdraw your own", \
	    "ration decline 3 --reason 'below the plan'") \
	HEADING("Trying out") \
	X(try, "POLICY", O(LOG) | O(FORMAT) | O(ATTR) | O(HISTORY) | O(LAST) | O(TOP), 1, 1, \
	    "what this policy would have admitted and denied, over a log or the recorded usage", \
	    "ration try new.yaml --log /var/log/nginx/access.log") \
	X(clock, "+T", 0, 1, 1, "move the test clock (rationd --sandbox)", "ration clock +31d")

#define NO_HEADING(title)

/* Options of every command; -h and --help beside them. */
#define GLOBAL_SYNOPSIS "[-i INSTANCE] [--dir DIR] [--json]"

/* What a command was called with, checked against the list above. */
struct args {
	const char *opt[OPT_COUNT_];         /* NULL: not given; "" for those without argument */
	const char *attrs[RATION_ATTRS_MAX]; /* --attr may be given more than once */
	int nattrs;                          /* also of those beyond that */
	char **pos;
	int npos;
	int argc; /* RAW: argv without the options of the whole program */
	char **argv;
};

struct command {
	const char *name;
	const char *synopsis;
	uint64_t options;
	int min, max;
	const char *help;
	const char *example;
	int (*run)(struct ctx *c, const struct args *a);
};
extern const struct command commands[];
extern const size_t ncommands;

#define X(name, ...) int cmd_##name(struct ctx *c, const struct args *a);
COMMANDS(X, NO_HEADING)
#undef X

/* ---- cmd_change.c: what several commands take ---- */

/* A key given on the command line, checked: EXIT_OK, or EXIT_USAGE and it was said. */
int check_key(const char *what, const char *text);
/* The key in the one form in which rationd and audit show it. */
json_t *key_json(const char *text);
/* --reason, --expect, --dry-run, --for, --until into params. */
int change_options(const char *what, const struct args *a, json_t *params);
/* What an answer's `old` or `new` says, for people.  The caller frees. */
char *state_text(const json_t *state);
/* A number from 1 on; EXIT_OK, or EXIT_USAGE and it was said. */
int count_argument(const char *what, const char *name, const char *text, int64_t *out);

/* ---- cmd_upstreams.c ---- */

/* A line of status for each upstream to which nothing goes now. */
void print_upstreams_down(struct ctx *c);

/* ---- print.c: what several commands print ---- */

/*
 * One call to rationd.  EXIT_OK and *result (the caller's), or an exit code with the reason,
 * all mistakes included, said on stderr.
 */
int rpc(struct ctx *c, const char *what, const char *method, json_t *params, json_t **result);
/* Say what went wrong in a call, and what to do; the exit code. */
int complain_rpc(struct ctx *c, const char *what, const struct rpc_error *e);
/* One JSON value and a newline on stdout. */
void print_json(const json_t *value);
/* Text from elsewhere, for a terminal: control characters as \ooo. */
void print_text(FILE *out, const char *s);
/* A field of CSV, in quotes where it has to be (RFC 4180). */
void csv_field(FILE *out, const char *s);
/* "2026-11-21 17:48:00" local; "-" for 0; buf of TIME_MAX bytes. */
#define TIME_MAX 32
const char *time_text(int64_t unix_s, char buf[TIME_MAX]);
/* "2027-01-31", "2027-01-31T12:00:00Z", "...+02:00" (without a zone: UTC), Unix seconds. */
bool time_parse(const char *text, int64_t *out);
/* A JSON value as people write it: arrays with commas, null as "-".  The caller frees. */
char *value_text(const json_t *v);
/* Member as text or number, with a default. */
const char *jstr(const json_t *obj, const char *name, const char * or);
int64_t jint(const json_t *obj, const char *name, int64_t or);

/* The key as bytes; its length, or -1 and it was said. */
int key_argument(const char *what, const char *text, unsigned char key[256]);
/* --wait and the like: a time.  0, or EXIT_USAGE and it was said. */
int span_option(
    const char *what, const struct args *a, enum option_id id, const char *name, uint64_t *ns);
/* CLOCK_MONOTONIC in so many ns. */
struct timespec deadline_in(uint64_t ns);
/* The exit code for what a call of libration returned. */
int acquire_code(int rc);
/* Handle of libration for this instance; NULL: exit code in *code, and it was said. */
ration_t *open_library(struct ctx *c, int *code);
/*
 * The decision as design has it, with members added (json text such as
 * "\"plan\":\"a\"", NULL: none), no newline.  False: it could not be made.
 */
bool print_decision_json(
    ration_t *r, const ration_decision_t *d, const void *key, size_t len, const char *more);
/* "admitted api k1: 13 of 300 used, 287 left, ..." */
void print_decision(ration_t *r, const ration_decision_t *d, const char *limit, const char *key);
void fprint_decision(
    FILE *out, ration_t *r, const ration_decision_t *d, const char *limit, const char *key);
/* Table of a decision's rates. */
void print_rates(const ration_decision_t *d);

#endif
