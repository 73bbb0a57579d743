/*
 * notes.h - thresholds: a call that lifts a key over one of its limit's percentages leaves a
 * note, so that rationd looks at the key at once and need not go over the whole table for it.
 *
 * A note is a hint, and may be lost or forged: what is told of a key follows from the key's own
 * words, wherever these show it (fixed windows and calendar periods, also the one before); for
 * what goes by with time (sliding windows, buckets) the note's figures count, within bounds.
 * What a kill dropped, between a charge and its note, rationd's pass over the table finds.
 *
 *	side ring entry:  slot(28) birth(30) rate(2) 0(4)
 *			  used after(44) percent(7) tick, low(13)
 *			  units of the limit(44) 0(3) tick, high(17)
 *			  seal
 */
#ifndef RATION_NOTES_H
#define RATION_NOTES_H

#include "segment.h"

struct call;

struct note {
	uint64_t slot;
	uint64_t birth;
	unsigned rate;   /* of the ruleset */
	uint8_t percent; /* the highest that was crossed */
	uint64_t used;   /* after the charge */
	uint64_t units;  /* of the limit then */
	uint64_t tick;   /* when */
};

#define NOTE_UNITS_MAX ((UINT64_C(1) << 44) - 1)

/* The highest of the percentages that so much of a limit reaches; 0: none. */
uint8_t notes_level(const uint8_t percents[8], uint64_t used, uint64_t units);
/* One addition and four stores; nobody waits.  Without a ring, nothing. */
void notes_put(const struct segment *seg, const struct note *n);
/* False: the entry is not that number's (yet, or any more), or out of range. */
bool notes_get(const struct segment *seg, uint64_t number, struct note *out);
/* After a call was admitted: its charges that crossed. */
void notes_call(const struct call *c);

#endif
