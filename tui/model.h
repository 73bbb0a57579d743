/*
 * model.h - keys as a list: scanned from the read-only mapping, filtered,
 * sorted.  Shared by `ration list` and the dashboard.
 *
 * Watching changes nothing: the model only reads.  A scan goes over all slots once
 * and keeps no rows, only an *entry* (40 bytes) for each of the `want` first in
 * order (a heap), so that a million keys cost the entries shown and 16 bytes a
 * slot for the totals of the scan before.  What an entry looks like now is read
 * from the segment when it is shown (model_row()).
 *
 * An entry is known by (slot, birth), never by its place in the list: a selection that
 * is held so stays on its key when the order changes, and is known to be gone
 * when the slot has another birth.
 *
 * Columns are one list: headers, widths, --sort, filter names, CSV and the
 * manual are made from it.
 */
#ifndef RATION_MODEL_H
#define RATION_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "view.h"

struct filter;

/*
 * Columns: enum, name (--sort, filters, CSV), header, width, importance (the lowest are
 * dropped first on a narrow screen), numeric (right-aligned, sorted from the
 * top), what it must be read from, what it says.
 */
#define COLUMNS(X) \
	X(KEY, "key", "KEY", 28, 100, false, NEED_KEY, "who is limited") \
	X(LIMIT, "limit", "LIMIT", 10, 80, false, NEED_KEY, "name of the limit") \
	X(USED, "used", "USED/LIMIT", 13, 85, true, NEED_ROW, \
	    "units used, of the rate nearest to its limit") \
	X(USE, "use", "USE%", 5, 99, true, NEED_ROW, "used in percent of the limit") \
	X(LEFT, "left", "LEFT", 6, 50, true, NEED_ROW, "units that could still be taken") \
	X(ALLOW, "allow", "ALLOW/s", 8, 40, true, NEED_TOTALS, "units admitted a second") \
	X(DENY, "deny", "DENY/s", 8, 70, true, NEED_TOTALS, "calls denied a second") \
	X(ADMITTED, "admitted", "ADMITTED", 9, 15, true, NEED_TOTALS, \
	    "units admitted since the key was added") \
	X(DENIED, "denied", "DENIED", 7, 30, true, NEED_TOTALS, \
	    "calls denied since the key was added") \
	X(RESET, "reset", "RESET", 6, 75, true, NEED_ROW, \
	    "time until all units used are free again") \
	X(RETRY, "retry", "RETRY", 6, 20, true, NEED_ROW, \
	    "time until a call of cost 1 is admitted") \
	X(PLAN, "plan", "PLAN", 10, 35, false, NEED_ROW, "plan of the key") \
	X(ENV, "env", "ENV", 8, 10, false, NEED_ROW, "environment of the key") \
	X(MODE, "mode", "MODE", 7, 25, false, NEED_ROW, "enforce, observe or off") \
	X(ALGO, "algo", "ALGO", 8, 28, false, NEED_ROW, \
	    "sliding, fixed, day, month, bucket, leases ...") \
	X(RATE, "rate", "RATE", 14, 26, false, NEED_ROW, "the rate nearest to its limit") \
	X(LAST, "last", "LAST", 6, 12, true, NEED_TOTALS, \
	    "time since the totals last moved, as far as watched")

enum column {
#define X(id, ...) COL_##id,
	COLUMNS(X)
#undef X
	    COL_COUNT
};

/* What has to be read to know a value; each includes those before. */
enum need { NEED_TOTALS, NEED_KEY, NEED_ROW };

struct column_def {
	const char *name;
	const char *header;
	int width;
	int importance;
	bool numeric;
	enum need need;
	const char *help;
};
extern const struct column_def columns[COL_COUNT];

/* A key in the list. */
struct entry {
	uint64_t order;      /* sort value, made so that greater comes first */
	unsigned char *text; /* sorted by key: length and bytes; else NULL */
	uint32_t slot;
	uint32_t birth;
	float allow_s; /* units admitted a second since the scan before; < 0: not known yet */
	float deny_s;  /* calls denied a second; < 0: not known yet */
	uint32_t
	    last_s; /* s since the totals moved, as far as watched; UINT32_MAX: not seen moving */
	uint32_t reserved;
};

/* An entry and everything about its key, read now. */
struct model_row {
	struct row row;
	float allow_s;
	float deny_s;
	uint32_t last_s;
	bool gone;     /* the key is no longer in the table; row is what was last known */
	int64_t now_s; /* Unix s, rounded down, that it was read at */
	char limit[RATION_NAME_MAX + 1];
	char plan[RATION_NAME_MAX + 1];
	char env[RATION_NAME_MAX + 1];
};

/* Totals of a slot at the scan before: 16 bytes. */
struct model_prev {
	uint64_t admitted_at;  /* admitted(44), s of the last movement(20) */
	uint64_t denied_birth; /* denied(36), birth(28) */
};

/* What is kept of one limit at a scan, for the screen of limits. */
struct model_limit {
	uint64_t keys;
	uint64_t over; /* keys at or above 100 %; only if the scan read rows */
	float allow_s;
	float deny_s;
};

struct model {
	const struct segment *seg; /* borrowed */

	/* What is wanted; set by the caller before model_refresh(). */
	const struct filter *filter; /* NULL: all; borrowed */
	int64_t limit_id;            /* only this limit; -1: all */
	enum column sort;
	bool invert;      /* the other end first */
	bool hide_idle;   /* leave out keys with nothing used whose totals rest */
	bool count_over;  /* read every row, for `over` */
	size_t want;      /* entries kept; SIZE_MAX: all */
	uint64_t hold_ns; /* monotonic: until then the order stays as it is */
	/* This one's rates are kept whether it is in the list or not. */
	bool pinned;
	struct entry pin; /* .slot and .birth by the caller */

	/* Result of the last scan. */
	struct entry *entries;
	size_t nentries;
	uint64_t live;    /* slots in use */
	uint64_t matched; /* of those, that pass filter and limit and are not idle */
	uint64_t idle;    /* hidden as idle */
	uint64_t over;    /* at or above 100 %; when rows were read */
	bool over_known;
	bool rates_known; /* the scan before is known: rates a second are */
	double allow_s;   /* of all keys */
	double deny_s;    /* of all keys, and of keys without a slot */
	struct model_limit limits[LIMITS_MAX];
	uint64_t scans;        /* counts up: something may have changed */
	uint64_t scan_mono_ns; /* when, monotonic */
	uint64_t scan_took_ns;

	/* private */
	struct model_prev *prev; /* nslots; NULL: rates are not wanted */
	uint64_t *nokey;         /* denials without a slot, by limit, at the scan before */
	size_t cap;
	bool scanned;
};

/*
 * A model of seg (borrowed: detach it only after model_free()).  rates: keep the totals,
 * so that rates a second are known from the second scan on.
 * 0 or RATION_ENOMEM.  Sorted by USE%, all limits, no filter, want = 64.
 */
int model_init(struct model *m, const struct segment *seg, bool rates);
void model_free(struct model *m);

/*
 * Scan, if the last scan is a second or more (and ten times its own duration)
 * ago, or if force.  now_ns: shared time (clock_precise()); mono_ns:
 * CLOCK_MONOTONIC, from which rates a second are computed (the test clock may
 * jump, time itself does not).  True: the result is new.
 * While hold_ns is ahead the entries and their order stay, with new rates; those
 * whose key is gone stay too (model_row() says so).
 */
bool model_refresh(struct model *m, uint64_t now_ns, uint64_t mono_ns, bool force);

/* Read entry i now.  False: it is gone (out->gone; limit and key as far as known). */
bool model_row(const struct model *m, size_t i, uint64_t now_ns, struct model_row *out);
/* Read any key by what it is known by; rates if it is in the list or pinned. */
bool model_row_of(
    const struct model *m, uint64_t slot, uint64_t birth, uint64_t now_ns, struct model_row *out);
/* Place of a key in the list, -1: it is not in it. */
int64_t model_index(const struct model *m, uint64_t slot, uint64_t birth);
/* Search a key, also one that is not in the list.  False: not in the table. */
bool model_find(const struct model *m, const char *limit, const void *key, size_t len,
    uint64_t *slot, uint64_t *birth);
/* The decision that row amounts to for a call of cost 1 (what ration_peek() says). */
void model_decision(const struct model_row *row, ration_decision_t *d);

/* Column of a name or header, any case ("use", "USE%"); COL_COUNT: none. */
enum column column_find(const char *name, size_t len);
/* The rate with the most used of its limit, which USED, USE% and LEFT are of; NULL: none. */
const ration_rate_t *row_nearest(const struct model_row *row);
/*
 * Value of a numeric column; NAN where there is none (unlimited: no use, no left).
 * Times are in seconds.
 */
double column_number(const struct model_row *row, enum column c);
/* As shown to people: short, within the column's width where that is possible; as snprintf(). */
int column_text(const struct model_row *row, enum column c, char *buf, size_t size);
/* For CSV and filters: numbers whole, texts in full; as snprintf(). */
int column_raw(const struct model_row *row, enum column c, char *buf, size_t size);

/* The key as text (strvis(3), VIS_OCTAL|VIS_WHITE): buf of KEY_TEXT_MAX bytes. */
#define KEY_TEXT_MAX (4 * 255 + 1)
size_t key_text(const void *key, size_t len, char buf[KEY_TEXT_MAX]);
/* Back to bytes: length, or -1 when it is no such text, empty or above 255 bytes. */
int key_parse(const char *text, unsigned char key[256]);

/* "48,211", "1.25M", "0:38", "3h12m", "12d": numbers as the dashboard shows them; as snprintf(). */
int text_units(uint64_t n, char *buf, size_t size);
int text_grouped(uint64_t n, char *buf, size_t size);
int text_span(int64_t seconds, char *buf, size_t size);

#endif
