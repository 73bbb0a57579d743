/*
 * model.h - a loaded policy: what the files say, checked, names turned into indexes.
 *
 * Everything lies in one arena and lives as long as the struct config.  Keys and
 * limits are found through hash tables; nothing here is quadratic in keys.
 */
#ifndef RATIOND_MODEL_H
#define RATIOND_MODEL_H

#include "config.h"
#include "receiver.h"
#include "tree.h"

#define PLANS_MAX 255u
#define ENVS_MAX 63u
#define ZONES_MAX 255u
#define FILES_MAX 1000u
#define ZONE_NAME_MAX 63u
#define NOBODY UINT32_MAX /* no such limit, plan, key */

/* ---- memory ---- */

struct arena {
	struct chunk *chunks;
	size_t used, size; /* of the newest chunk */
};
/* Zeroed, aligned to 16.  Never NULL: without memory the process ends (as OpenBSD's xmalloc). */
void *arena_alloc(struct arena *a, size_t size);
/* len bytes and a NUL. */
char *arena_copy(struct arena *a, const void *bytes, size_t len);
void arena_free(struct arena *a);
void *xrealloc(void *p, size_t n, size_t size);

/* ---- bytes -> index: open addressing, the bytes are the caller's ---- */

struct map_entry {
	const void *bytes;
	uint32_t len;
	uint32_t hash;
};
struct map {
	struct map_entry *entries; /* by index, in the order of adding */
	uint32_t *slots;           /* index + 1; 0: empty */
	uint32_t n, cap, nslots;
};
uint32_t map_find(const struct map *m, const void *bytes, size_t len); /* or NOBODY */
uint32_t map_add(struct map *m, const void *bytes, size_t len);        /* not there yet */
void map_free(struct map *m);

/* ---- the policy ---- */

struct rates {
	uint8_t n;
	struct rate_spec rate[RATION_RATES_MAX];
};

/* What the rates of a limit are.  One that is unlimited for all may be of either. */
enum counted { COUNTED_OPEN, COUNTED_UNITS, COUNTED_LEASES };

enum cell_kind { CELL_NONE, CELL_CUSTOM, CELL_RATES, CELL_VALUE };

/* What one plan (or a limit's default) gets of a limit. */
struct plan_cell {
	uint8_t kind; /* enum cell_kind */
	struct mark mark;
	const struct rates *rates;
	const char *value; /* an entitlement's */
};

/* Whose value is the key: an attribute of the request; an address is cut to the prefix. */
struct key_rule {
	uint16_t attr; /* index in config.attrmap */
	bool address;
	uint8_t prefix4, prefix6;
};

struct limit_model {
	const char *name;
	uint32_t len;
	struct mark mark;
	struct plan_cell base;   /* without a plan */
	struct plan_cell *plans; /* nplans of them, by plan - 1; NULL: none given */
	const char *title;       /* for answers; NULL: the name */
	struct key_rule key;     /* through a route */
	uint64_t cost;           /* through a route; 0: the caller's */
	uint64_t max_keys;
	struct rate_spec zero;    /* what is denied when nothing applies: 0 of this kind */
	struct mark counted_mark; /* of the rate that says what is counted */
	struct mark notify_mark;
	const struct config_notify *notify; /* NULL: the defaults' */
	uint16_t zone;
	uint16_t answer; /* by number from 1; 0: the default one */
	uint8_t mode;
	uint8_t flags;   /* LIMIT_... of policy.h */
	uint8_t counted; /* enum counted */
	bool has_mode;
	bool is_value;
};

/* How a denial is told. */
struct answer_model {
	const char *name;
	struct mark mark;
	const char *body;       /* template; "": none */
	const char *body_never; /* NULL: body */
	const char *content_type;
	const struct node *show; /* until the limits are read */
	uint32_t show_limit;     /* NOBODY: who decided */
	uint64_t show_window_ns; /* 0: the longest */
	uint32_t headers;        /* ANSWER_... of policy.h */
	uint16_t status;
	uint8_t reset; /* enum answer_reset */
};
/* What is answered when the policy says nothing. */
extern const struct answer_model answer_builtin;

/* Somebody else's service. */
struct upstream_model {
	const char *name;
	struct mark mark;
	const struct rates *rates; /* NULL: what it says itself */
	struct upstream_def def;   /* but for strings and rates */
};

struct plan_model {
	const char *name;
	struct mark mark;
};

struct env_model {
	const char *name;
	struct mark mark;
	uint64_t num, den;
	bool unlimited;
};

/* A key that the files name; its bytes are in config.keymap at the same index. */
struct key_model {
	uint16_t plan, env; /* 0: none */
	uint16_t zone;      /* of its days and months, + 1; 0: those of the limits */
	bool exempt;
	struct mark mark; /* in `assign`; line 0: not there */
	struct mark zone_mark;
};

/*
 * One thing set over the rest: by an `overrides` entry of a file or by a live
 * change.  Small: there may be many.
 */
struct patch {
	uint8_t kind; /* enum change_kind */
	uint8_t mode;
	uint16_t plan;  /* 0: none */
	uint16_t env;   /* CHANGE_ENV */
	uint32_t limit; /* NOBODY: all (CHANGE_MODE), none */
	uint32_t key;   /* NOBODY: not about one key */
	uint32_t order;
	const struct rates *rates;
	const char *value; /* CHANGE_VALUE */
	uint64_t num, den; /* CHANGE_SHARE */
	int64_t until;
	struct mark mark; /* line 0: live */
	const char *who;
	const char *reason;
};

/* ---- routes: a tree of places, the paths of all patterns laid over each other ---- */

struct claim_model {
	uint32_t limit;
	struct key_rule key;
	uint64_t cost; /* 0: the caller's */
	struct mark mark;
};

struct route_model {
	const char *pattern; /* as it is written */
	const char *method;  /* "": any */
	uint32_t place;      /* where it ends, but for a last "*" */
	bool rest;           /* it has one */
	uint32_t nclaims;
	const struct claim_model *claims;
	struct mark mark;
};

/* Place 0 is "/"; those below a place come after it. */
struct place_model {
	uint32_t param; /* place behind ":name"; 0: none */
	uint32_t edge;  /* the first edge, + 1; 0: none */
	uint32_t depth;
};

/* From place to place by a literal segment. */
struct edge_model {
	uint32_t from, to;
	uint32_t segment; /* index in config.segmentmap */
	uint32_t next;    /* of the same place, + 1 */
};

/* The section `requests`; days are one more than they are, 0: not given. */
struct requests_model {
	struct mark mark;
	uint16_t *answer; /* by plan; NULL: for none */
	uint16_t standard;
	const char *timezone; /* NULL: the policy's */
	uint8_t workdays;     /* bit 0: Monday; 0: the usual ones */
	int32_t *holidays;    /* business_date(), rising */
	uint32_t nholidays;
	uint32_t days; /* what is shown of eligibility; 0: is not */
	uint16_t env;
	uint32_t customers;
	uint64_t daily;
};

/* Where the parts of a receiver stand. */
struct receiver_marks {
	struct mark name, secret;
	const char *secret_file; /* NULL: none */
};

struct config {
	struct arena arena;
	const char **paths;       /* files, by mark.file: for mistakes */
	const char **short_names; /* "ration.yaml", "conf.d/a.yaml": for origins */
	uint32_t nfiles;

	struct config_table table;
	struct mark table_marks[4];

	const char *timezone;
	struct config_notify notify;
	uint16_t default_plan, default_env;
	uint16_t default_answer; /* by number from 1; 0: "default", or what is built in */
	uint8_t default_mode;
	uint64_t share_num, share_den;
	const char *admin_group;
	const char *group;
	struct mark group_marks[2]; /* of the two names: group, admin_group */
	struct mark plans_mark;
	struct mark scalar_marks[16]; /* where a scalar of the file was given first */

	struct plan_model *plans; /* [0] is none */
	uint32_t nplans;          /* without [0] */
	struct map planmap;
	struct env_model *envs; /* [0] is none: factor 1 */
	uint32_t nenvs;
	struct map envmap;
	const char *zones[ZONES_MAX]; /* [0]: the default */
	uint32_t nzones;
	struct answer_model *answers; /* [0] is the one built in */
	uint32_t nanswers;            /* without [0] */
	struct map answermap;
	struct upstream_model *upstreams;
	uint32_t nupstreams;
	struct map upstreammap;
	struct limit_model *limits;
	uint32_t nlimits;
	struct map limitmap;
	struct key_model *keys;
	uint32_t nkeys, keys_cap;
	struct map keymap;
	struct patch *patches;
	uint32_t npatches, patches_cap;
	struct route_model *routes;
	uint32_t nroutes, routes_cap;
	struct map routemap; /* struct route_id of config_routes.c */
	struct place_model *places;
	uint32_t nplaces, places_cap;
	struct edge_model *edges;
	uint32_t edges_cap;    /* there are edgemap.n of them */
	struct map edgemap;    /* place and segment */
	struct map segmentmap; /* decoded */
	struct map attrmap;    /* names; [0] is "key" */

	struct requests_model requests;
	struct config_history history;
	struct mark history_mark; /* where it was said; line 0: nowhere */

	struct cidr_def *proxies, *exempts;
	uint32_t nproxies, nexempts;
	struct receiver receivers[RECEIVERS_MAX];
	struct receiver_marks receiver_marks[RECEIVERS_MAX];
	unsigned nreceivers;

	struct mark exempt_mark; /* where exempt was first said; line 0: nowhere */
};

/* Index of a plan or environment by name, 0 for "", NOBODY when there is none. */
uint32_t config_plan(const struct config *c, const char *name, size_t len);
uint32_t config_env(const struct config *c, const char *name, size_t len);
/* Number of the answer of limits that name none. */
uint32_t config_default_answer(const struct config *c);
/* "ration.yaml:9" */
const char *config_place(const struct config *c, struct mark m, char *buf, size_t size);
/* Bytes that `area` must have at least for this policy without live changes. */
uint64_t config_need(const struct config *c);

/* As config_load(), from memory: one file called `name`. */
int config_parse(
    const char *name, const void *text, size_t len, struct config **out, struct mistakes *m);

/* What rates count; is there a concurrency beside others? */
enum counted rates_counted(const struct rates *r);
bool rates_mixed(const struct rates *r);
/* Permits that a key can have where a slot has so many cells (lib/layout.h). */
#define PERMITS_MAX(cells) ((uint64_t)CHUNKS_MAX * (cells)*16)

/* Names of the attributes, for messages and for config_diff_yaml(). */
extern const char *const mode_names[3]; /* by enum policy_mode */

#endif
