/*
 * compile.h - what the steps of a compilation share.
 *
 * changes.c puts the live changes beside the files' overrides (patches) and checks them;
 * effective.c works out what a key gets of a limit, as rulesets; compile_keys.c does so for
 * the keys that the policy names; compile_routes.c sorts the routes; compile.c lays all of it
 * out in an area.
 */
#ifndef RATIOND_COMPILE_H
#define RATIOND_COMPILE_H

#include "model.h"

/* One key of the policy: from the files, or from a live change. */
struct build_key {
	const void *bytes;
	uint32_t len;
	uint16_t plan, env;
	uint16_t zone;        /* + 1; 0: those of the limits */
	uint32_t zone_origin; /* string */
	bool exempt;
	uint32_t first_override;
	uint16_t noverrides;
};

/* Overrides of all keys that have a timezone and nothing else of their own. */
struct zoned {
	uint32_t first;
	uint16_t n;
};

/* Who gets a ruleset of a limit. */
struct asker {
	uint16_t plan, env;
	uint16_t zone;         /* as in build_key */
	const uint32_t *keyed; /* the key's patches of the limit, newest first */
	uint32_t n;
};

struct builder {
	const struct config *c;
	struct mistakes *m;
	int64_t now_s;
	uint32_t cells;
	struct arena arena;

	/* strings section; [0] is the empty string */
	char *strings;
	size_t strings_len, strings_cap;
	struct map stringmap;
	uint32_t *string_off; /* by index in stringmap */
	uint32_t string_off_cap;

	struct ruleset *rulesets;
	uint32_t nrulesets, rulesets_cap;
	struct map rulesetmap;

	/* ids: those of the version in force first */
	uint32_t nids;
	uint32_t limit_of[LIMITS_MAX]; /* by id: index in config, NOBODY: gone */
	const char *name_of[LIMITS_MAX];
	uint32_t id_of[LIMITS_MAX]; /* by index in config */
	uint16_t was[LIMITS_MAX];   /* by id: flags in the version in force */
	uint32_t nwas;              /* ids that it has */
	bool leases[LIMITS_MAX];    /* by index in config */

	struct patch *patches; /* files' first, then live ones in their order */
	uint32_t npatches;
	uint32_t *newest; /* by limit: its newest rates patch without a key, + 1 */
	uint32_t *older;  /* by patch: the next older one of the limit, + 1 */
	uint32_t *by_key; /* patches of keys, by key, limit, newest first */
	uint32_t nby_key;
	uint32_t *modes; /* newest first */
	uint32_t nmodes;
	uint32_t *shares; /* newest first */
	uint32_t nshares;

	struct build_key *keys;
	uint32_t nkeys;
	struct map livekeys; /* keys that only live changes name */

	struct upstream_def *upstreams;
	struct answer_def *answers;
	uint32_t nanswers;

	uint32_t *matrix;
	struct override_def *overrides;
	uint32_t noverrides, overrides_cap;
	struct zoned *zoned; /* by index in zonedmap */
	uint32_t zoned_cap;
	struct map zonedmap;   /* plan, environment, zone */
	bool told[LIMITS_MAX]; /* of a limit that does not fit */
	uint32_t exempt;       /* first of the exempt rulesets, one a limit by id; 0: none */
	uint32_t *route_order; /* leaves, as they will stand */
	uint32_t nclaims;
};

/* Offset of a string in the strings section, each once. */
uint32_t build_string(struct builder *b, const char *text);

/* Collect patches; false with mistakes when a change names what there is not. */
bool build_patches(struct builder *b, const struct change *changes, size_t n);

/* Ruleset of a limit; times ahead chained by `next`. */
uint32_t build_ruleset(struct builder *b, uint32_t limit, const struct asker *who);
/* Ruleset of a limit that is no longer in the policy. */
uint32_t build_gone(struct builder *b, uint32_t id);
/* A ruleset, each once. */
uint32_t build_ruleset_add(struct builder *b, const struct ruleset *r);

/* ---- compile_keys.c ---- */

/* The keys, with the plans that live changes give them. */
void build_keys(struct builder *b);
/* When the matrix is there: what keys get other than by plan and environment. */
void build_overrides(struct builder *b);
void write_keys(const struct builder *b, const struct policy_area *a, char *area);

/* ---- parts of an area ---- */

/* Where n items go; their size is added to *at. */
uint64_t build_place(uint64_t *at, uint64_t n, uint64_t item, uint64_t align);
/* Slots of a hash table for n. */
uint32_t build_hash_size(uint32_t n);
void build_hash_put(uint32_t *tab, uint32_t size, uint64_t hash, uint32_t index);

/* ---- compile_routes.c ---- */

/* When all other rulesets are there: who is exempt has one of each limit. */
void build_exempt(struct builder *b);
void build_routes(struct builder *b);
void lay_out_routes(const struct builder *b, struct policy_area *a, uint64_t *at);
void write_routes(struct builder *b, const struct policy_area *a, char *area);

/* Index in the area of an answer by its number in config; 0: the default one. */
uint16_t build_answer_index(const struct config *c, uint32_t number);
void build_upstreams(struct builder *b);
void write_upstreams(const struct builder *b, const struct policy_area *a, char *area);
/* Everything of a rate that follows from how it is written. */
void build_rate(
    struct rate_def *d, const struct rate_spec *r, uint16_t zone, const char *zone_name);

void build_answers(struct builder *b);
void write_answers(const struct builder *b, const struct policy_area *a, char *area);

#endif
