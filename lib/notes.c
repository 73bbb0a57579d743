#include "notes.h"

#include "atomics.h"
#include "call.h"

#define TICK_LOW 13

uint8_t
notes_level(const uint8_t percents[8], uint64_t used, uint64_t units)
{
	uint8_t level = 0;

	if (units == 0 || units == RATION_UNLIMITED)
		return 0;
	for (unsigned i = 0; i < 8 && percents[i] != 0; i++)
		if ((unsigned __int128)used * 100 >= (unsigned __int128)units * percents[i])
			level = percents[i];
	return level;
}

static uint64_t
clamped(uint64_t units)
{
	return units < NOTE_UNITS_MAX ? units : NOTE_UNITS_MAX;
}

void
notes_put(const struct segment *seg, const struct note *n)
{
	uint64_t body[SIDE_NOTE_WORDS - 1], number;

	if (seg->side == NULL)
		return;
	body[0] = n->slot << 36 | (n->birth & TICK_MASK) << 6 | (uint64_t)(n->rate & 3) << 4;
	body[1] = clamped(n->used) << 20 | (uint64_t)(n->percent & 127) << TICK_LOW |
	    (n->tick & ((1u << TICK_LOW) - 1));
	body[2] = clamped(n->units) << 20 | n->tick >> TICK_LOW;
	number = word_count(&seg->side->noted, 1) + 1;
	side_put(side_note(seg->side, number), number, body, SIDE_NOTE_WORDS);
}

bool
notes_get(const struct segment *seg, uint64_t number, struct note *out)
{
	uint64_t body[SIDE_NOTE_WORDS - 1];

	if (seg->side == NULL ||
	    !side_get(side_note(seg->side, number), number, body, SIDE_NOTE_WORDS))
		return false;
	out->slot = body[0] >> 36;
	out->birth = body[0] >> 6 & TICK_MASK;
	out->rate = (unsigned)(body[0] >> 4 & 3);
	out->used = body[1] >> 20;
	out->percent = (uint8_t)(body[1] >> TICK_LOW & 127);
	out->units = body[2] >> 20;
	out->tick = (body[2] & ((1u << 17) - 1)) << TICK_LOW | (body[1] & ((1u << TICK_LOW) - 1));
	return out->slot < seg->nslots && out->percent >= 1 && out->percent <= 100;
}

/*
 * What a look saw before its charge and what stands there after it: the charge is one CAS from
 * just that word, so of all who race over a threshold one crosses.  (A sliding window forgets
 * meanwhile: then it may be two, or none.)
 */
static void
item_notes(const struct call *c, const struct item *it)
{
	const struct ruleset *r = &it->rules;

	for (unsigned i = 0; i < r->nrates && i < c->seg->cells; i++) {
		const struct look *l = &it->looks[i];
		struct note n = { .slot = it->at.slot,
			.birth = it->at.birth,
			.rate = i,
			.used = l->used + it->cost,
			.units = r->rates[i].units,
			.tick = tick_of(c->ctx.now_ns) };

		if (!ruleset_notifies(r, i))
			continue;
		n.percent = notes_level(r->notify, n.used, n.units);
		if (n.percent > notes_level(r->notify, l->used, n.units))
			notes_put(c->seg, &n);
	}
}

void
notes_call(const struct call *c)
{
	for (size_t k = 0; k < c->n; k++) {
		const struct item *it = &c->items[k];

		if (UNLIKELY((it->rules.flags & RULESET_NOTIFY) != 0) && it->charged && !it->lease)
			item_notes(c, it);
	}
}
