/*
 * config.h - a policy as it is written: files, then live changes on top.
 *
 * config_load() reads the policy file and conf.d/ beside it and reports every
 * mistake it finds, each as file:line:column.  compile.c multiplies the result
 * out, together with the live changes, into one area of the policy object
 * (lib/policy.h).  Neither knows sockets or the store.
 */
#ifndef RATIOND_CONFIG_H
#define RATIOND_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "business.h"
#include "policy.h"
#include "rate.h"

#define CONFIG_NO_ROOM 1                /* of config_compile() */
#define POLICY_MIN (UINT64_C(64) << 10) /* bytes of an area */
#define POLICY_MAX (UINT64_C(4) << 30)

struct config; /* opaque: see config.c, compile.c (config_model.h) */

/* All that was wrong, in order. */
struct mistakes {
	char **text; /* "file:line:column: found, expected" */
	size_t n;
	size_t cap;
};
void mistakes_add(struct mistakes *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void mistakes_free(struct mistakes *m);

/*
 * Load FILE and FILE's directory/conf.d/ *.yaml in order (dotfiles skipped).
 * file NULL: the built-in default, an empty policy with 64k keys.
 * Returns 0; or -1 with at least one mistake.
 */
int config_load(const char *file, struct config **out, struct mistakes *m);
void config_free(struct config *c);

#define NOTIFY_MAX 8u /* percentages of a limit */

/* Which percentages of a limit are told of, in rising order. */
struct config_notify {
	uint8_t n;
	uint8_t at[NOTIFY_MAX];
	const char *action[NOTIFY_MAX]; /* the policy's words; NULL: none */
	int64_t remind_s[NOTIFY_MAX];   /* a reminder after so long; 0: none */
};
/* What applies to a limit, by name; of one that is not there, the defaults.  Owned by c. */
const struct config_notify *config_notify(const struct config *c, const char *limit, size_t len);

/* What the segment must hold. */
struct config_table {
	uint64_t keys;         /* table.keys, default 64k */
	uint32_t cells;        /* table.rates; default: the most of any limit, at least 2 */
	uint64_t policy_bytes; /* of an area at first: table.policy; default: 4 x what is needed,
				  >= 4 MiB */
	uint64_t idle_ns;      /* table.idle, default 10 min */
};
void config_table(const struct config *c, struct config_table *out);
/* The same but for policy_bytes, which takes a compilation; that is 0 unless the files say it. */
void config_settings(const struct config *c, struct config_table *out);

/* What is recorded of usage: see config_history.c. */
#define HISTORY_LEVELS 3u /* 15 minutes, hours, days */
struct config_history {
	bool off;
	uint32_t every_s;                /* a key is recorded so often at most */
	uint32_t keep_s[HISTORY_LEVELS]; /* how long buckets of a level are kept */
	uint64_t keys;                   /* that have entries of their own */
};
void config_history(const struct config *c, struct config_history *out);

/* Names of groups as the files say, NULL when they do not: who may use the counters and the
 * socket (`group`), who may make changes (`admin_group`).  Owned by c. */
const char *config_group(const struct config *c);
const char *config_admin_group(const struct config *c);
/* A mistake about one of them, at the place where the files name it. */
void config_group_mistake(
    const struct config *c, bool admin, const char *expected, struct mistakes *m);
/* This host's part as the files say, 1/1 when they do not. */
void config_share(const struct config *c, uint64_t *num, uint64_t *den);
/* Raises of keys on a plan ("": on none): what is promised, what is shown of who asks. */
struct config_requests {
	struct business calendar; /* parts of it are c's */
	unsigned answer_days;     /* business days */
	uint32_t days;            /* 0: not asked for; likewise below */
	const char *environment;  /* in which the days count; "": in any */
	uint32_t customers;
	uint64_t daily; /* requests a day */
};
void config_requests(const struct config *c, const char *plan, struct config_requests *out);
/*
 * Factor of an environment as text: "0.1", "1/3", "unlimited".  False: there is no such.
 */
bool config_env_factor(const struct config *c, const char *name, char *buf, size_t size);

/* A change made while running; kept in the store, put over the files at each compile. */
enum change_kind {
	CHANGE_RATES = 1, /* limit; key or plan or neither: new rates */
	CHANGE_PLAN,      /* key -> plan */
	CHANGE_ENV,       /* key -> environment */
	CHANGE_SHARE,     /* rates[0].units / burst: this host's part */
	CHANGE_MODE,      /* limit, or "" for all: mode */
	CHANGE_VALUE,     /* as CHANGE_RATES, of a limit that holds values */
};

struct change {
	int64_t id;
	enum change_kind kind;
	char limit[RATION_NAME_MAX + 1];
	unsigned char key[RATION_KEY_MAX + 1];
	size_t key_len;                 /* 0: not about one key */
	char plan[RATION_NAME_MAX + 1]; /* a plan's or environment's name */
	uint8_t mode;                   /* enum policy_mode */
	uint8_t nrates;
	struct rate_spec rates[RATION_RATES_MAX];
	char value[VALUE_MAX + 1];
	uint64_t share_num, share_den;
	int64_t until; /* Unix s; POLICY_ENDLESS */
	int64_t when;  /* Unix s */
	char who[64];
	char reason[256];
};

/*
 * Write the policy, with n changes on top, into area (area_bytes long).
 * previous: the area in force, for limits' ids; NULL at first.  cells: rates that a
 * slot of the segment holds.  A later change of the same kind and target wins; one
 * whose `until` has passed is ignored.
 * Returns 0; -1 with the mistakes (unknown limit, plan, too many rates); or CONFIG_NO_ROOM with
 * one, when all is right but area_bytes is too small.
 */
int config_compile(const struct config *c, const struct change *changes, size_t n,
    const struct policy_area *previous, uint32_t cells, int64_t now_s, void *area,
    uint64_t area_bytes, uint32_t version, struct mistakes *m);

/*
 * Does the policy have what a change names?  What it does not have cannot apply, whatever else
 * is asked for; found out without compiling.
 */
bool config_knows(const struct config *c, const struct change *ch);

/* Does the limit hold values?  False also when there is no such. */
bool config_is_value(const struct config *c, const char *limit);
/* May this be an entitlement's value: 1 to VALUE_MAX bytes without control characters. */
bool value_valid(const char *text, size_t len);

/*
 * What `ration diff` shows: the changes in force as text, one a line; or as YAML
 * that could be committed.
 */
void config_diff_yaml(const struct config *c, const struct change *changes, size_t n, FILE *out);

#endif
