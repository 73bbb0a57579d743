/*
 * zones.h - when days and months start in a timezone.
 *
 * The C library knows one timezone at a time, through TZ: zone_enter() sets it and
 * zone_leave() puts back what was there.  rationd has one thread.
 */
#ifndef RATIOND_ZONES_H
#define RATIOND_ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZONE_DAYS_BEFORE 35
#define ZONE_DAYS 500u
#define ZONE_MONTHS_BEFORE 3
#define ZONE_MONTHS 40u

/* Is it in the tz database?  "UTC" always is. */
bool zone_known(const char *name);

void zone_enter(const char *name);
void zone_leave(void);

/* ---- between the two ---- */

/* First instant (Unix s) at which the local date is year-month-day or later. */
int64_t zone_day_start(int year, int month, int day);
/* Starts of local days and months around now_s, rising; how many. */
uint32_t zone_days(int64_t now_s, int64_t days[ZONE_DAYS]);
uint32_t zone_months(int64_t now_s, int64_t months[ZONE_MONTHS]);
/*
 * "2027-01-01", "2027-01-01 12:30", "2027-01-01T12:30:00Z" or Unix seconds.  False:
 * none of these, or a day that does not exist.
 */
bool zone_parse_time(const char *text, int64_t *unix_s);
/* "2027-01-01" at a day's start, else "2027-01-01 12:30", with seconds if there are any. */
const char *zone_time_text(int64_t unix_s, char *buf, size_t size);

#endif
