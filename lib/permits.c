#include "permits.h"

#include "atomics.h"
#include "cell.h"
#include "slot.h"

/* Of one cell, if its words are permits. */
static void
read_cell(const struct segment *seg, unsigned cell, struct permits *out)
{
	const word_t *c = segment_slot(seg, out->slot) + SLOT_CELLS + (size_t)cell * CELL_WORDS;
	uint64_t conv = word_load(&c[CELL_CONV]);
	uint32_t before = out->n;

	if (shape_kind(CONV_SHAPE(conv)) != RATION_CONCURRENT)
		return;
	for (unsigned i = 0; i < RING_WORDS; i++) {
		uint64_t w = word_load(&c[CELL_RING + i]);

		if (!permit_held(w) && !permit_kept(w))
			continue;
		out->at[out->n].word = w;
		out->at[out->n++].place = cell * RING_WORDS + i;
	}
	if (CONV_SHAPE(word_load(&c[CELL_CONV])) != CONV_SHAPE(conv))
		out->n = before;
}

bool
permits_read(const struct segment *seg, uint64_t slot, struct permits *out)
{
	const word_t *s = segment_slot(seg, slot);
	uint64_t state = word_load(&s[SLOT_STATE]), link = word_load(&s[SLOT_LINK]);

	if (STATE_ST(state) != ST_LIVE && STATE_ST(state) != ST_READY &&
	    STATE_ST(state) != ST_RETIRING)
		return false;
	out->slot = slot;
	out->birth = STATE_BIRTH(state);
	out->limit = LINK_LIMIT(link);
	out->chunk = LINK_CHUNK(link);
	out->n = 0;
	for (unsigned i = 0; i < seg->cells && i < CELLS_MAX; i++)
		read_cell(seg, i, out);
	return STATE_BIRTH(word_load(&s[SLOT_STATE])) == out->birth;
}

uint64_t
permits_next(const struct segment *seg, uint64_t slot, uint64_t end)
{
	while (slot < end) {
		uint64_t bits = word_load(&seg->leases[slot / 64]) >> (slot % 64);

		if (bits != 0) {
			slot += (unsigned)__builtin_ctzll(bits);
			return slot < end ? slot : end;
		}
		slot = (slot / 64 + 1) * 64;
	}
	return end;
}

uint64_t
permit_since(uint64_t w, uint64_t now_ns)
{
	uint64_t age;

	if (permit_held(w))
		age = (tick_of(now_ns) - HELD_TICK(w)) & TICK_MASK;
	else
		age = ((tick_of(now_ns) >> 8) - WIDE_TICK(w)) & WIDE_MASK;
	/* From the future: another's clock. */
	if (permit_held(w) ? age > TICK_MASK / 4 * 3 : age > WIDE_MASK / 4 * 3)
		return now_ns;
	age *= permit_held(w) ? TICK_NS : TICK_NS * 256;
	return age < now_ns ? now_ns - age : 0;
}

int
permits_key(const struct segment *seg, const struct permits *p, unsigned char key[256])
{
	const word_t *s = segment_slot(seg, p->slot);
	int len = table_slot_key(seg, p->slot, key);

	return STATE_BIRTH(word_load(&s[SLOT_STATE])) == p->birth ? len : -1;
}

uint64_t
permit_ends(uint64_t w, uint64_t now_ns)
{
	uint64_t ticks = lease_ttl_ticks(HELD_TTL(w));

	return ticks == 0 ? 0 : permit_since(w, now_ns) + ticks * TICK_NS;
}
