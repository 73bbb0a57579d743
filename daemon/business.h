/*
 * business.h - until when an answer is promised that takes so many business days.
 *
 * Day by day on the local calendar, never in multiples of 24 hours: a day with a change of the
 * clock is one day, and a day that a zone left out (Samoa, 30 December 2011) is none.
 */
#ifndef RATIOND_BUSINESS_H
#define RATIOND_BUSINESS_H

#include <stdint.h>

#define BUSINESS_DAYS_MAX 250u /* that an answer may take */
#define BUSINESS_HOLIDAYS_MAX 1000u

struct business {
	const char *timezone;    /* of the tz database */
	uint8_t workdays;        /* bit 0: Monday; at least one */
	const int32_t *holidays; /* business_date() of each, rising */
	uint32_t nholidays;
};

/* Days since 1970-01-01 of a date; -1: there is no such day from then on. */
int32_t business_date(int year, int month, int day);

/*
 * End of the days-th business day after the local day of asked_s: the first instant, Unix s, that
 * is not in it any more.  0 days: the end of the day of asking.
 */
int64_t business_due(const struct business *b, int64_t asked_s, unsigned days);

#endif
