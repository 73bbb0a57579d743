/*
 * rate.h - rates, durations and quantities as text, the same everywhere:
 * policy file, commands, dashboard, JSON.
 *
 *	300/min   10/hour fixed   480/day   2.5M/month   100MB/month
 *	10/s burst 20   5 concurrent   unlimited   6/10s   100/15min fixed
 *
 * s, min and h are sliding unless `fixed`; day and month are calendar periods;
 * `burst n` makes a bucket.  k M G T and kB MB GB TB are decimal, Ki Mi Gi Ti
 * (KiB ...) binary.  Sliding windows: 1 s to 24 h, up to 10^9 units; fixed: 1 s
 * to 24 h, dividing a day, up to 10^12; bucket: burst up to 10^9.
 */
#ifndef RATION_RATE_H
#define RATION_RATE_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

struct rate_spec {
	uint8_t kind;       /* RATION_SLIDING ... */
	uint64_t units;     /* N; a bucket: units a window; RATION_UNLIMITED */
	uint64_t burst;     /* a bucket's burst, else 0 */
	uint64_t window_ns; /* nominal for day and month; 0 for concurrent, unlimited */
};

/*
 * Parse one rate.  0; or -1 with what was found and what was expected in err.
 * Nothing follows: trailing text is an error.
 */
int rate_parse(const char *text, struct rate_spec *out, char *err, size_t errsize);
/* Canonical text; as snprintf(). */
int rate_format(const struct rate_spec *r, char *buf, size_t size);
/* What stands behind its "/": "s", "min", "hour", "day", "month", "15min". */
int rate_window_format(const struct rate_spec *r, char *buf, size_t size);
/*
 * Parse "300/min, 30/s" or "[300/min, 30/s]": up to max rates; returns how many, or -1.
 */
int rate_parse_list(const char *text, struct rate_spec *out, int max, char *err, size_t errsize);
/* Do n rates make one limit?  One of each window, unlimited only alone.  0 or -1. */
int rate_list_check(const struct rate_spec *r, int n, char *err, size_t errsize);
/* "2.5M", "100MB", "64Ki", "1000": 0 or -1. */
int quantity_parse(const char *text, uint64_t *out, char *err, size_t errsize);
/* "90s", "1h", "2d", "1h30m", "31d", "15min": nanoseconds. */
int duration_parse(const char *text, uint64_t *ns, char *err, size_t errsize);
/* "1h30m": as snprintf(). */
int duration_format(uint64_t ns, char *buf, size_t size);
/*
 * "1/6", "0.1", "0.1x", "10": a share or factor as a reduced fraction, exactly;
 * above 0, numerator and denominator at most 10^9.  0 or -1.
 */
int fraction_parse(const char *text, uint64_t *num, uint64_t *den, char *err, size_t errsize);
/* Multiply a rate by num/den (a share, an environment), rounded down, at least 1 unless 0. */
void rate_scale(struct rate_spec *r, uint64_t num, uint64_t den);
/* Would the product fit its counter?  rate_scale() stops at the most that does. */
bool rate_scale_fits(const struct rate_spec *r, uint64_t num, uint64_t den);

#endif
