/*
 * quantity.h - what the readers of text share: numbers with suffixes, units of time,
 * and the way in which a mistake is told.
 *
 * The scan functions return what follows in the text, NULL when it is not what they
 * look for.
 */
#ifndef RATION_QUANTITY_H
#define RATION_QUANTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NS_S UINT64_C(1000000000)
#define DAY_S UINT64_C(86400)
#define MONTH_S (31 * DAY_S)

/* Text as it may be shown: printable ASCII, the rest octal, cut where buf ends. */
struct scan_shown {
	char buf[52];
};
struct scan_shown scan_shown(const char *text, size_t len);
struct scan_shown scan_shown_all(const char *text);

/* Write a mistake to err, if it has room at all; always -1. */
int scan_fail(char *err, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

const char *scan_blanks(const char *p);
/*
 * Digits with an optional fraction as mantissa / 10^n.  NULL when there is no number or
 * it has more than 18 digits.
 */
const char *scan_decimal(const char *p, uint64_t *mantissa, uint64_t *divisor);
/* A number with its suffix; NULL: err says why. */
const char *scan_quantity(const char *text, uint64_t *out, char *err, size_t errsize);
/* Nanoseconds of "s", "min" ..., 0: no such unit.  A month counts 31 days. */
uint64_t scan_time_unit(const char *p, size_t len);
/* As snprintf(): 10,000 and more get a suffix where two decimals say them exactly. */
int quantity_format(uint64_t n, char *buf, size_t size);

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

#endif
