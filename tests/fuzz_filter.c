/*
 * fuzz_filter.c - any text as a filter: parsed or refused with a reason, and what
 * is parsed answers for any row, the same early as late.
 *
 * Input: up to the first NUL the expression, after it the key and figures.
 */
#include "filter.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
row_fill(struct model_row *r, const uint8_t *data, size_t size)
{
	memset(r, 0, sizeof(*r));
	r->row.nrates = 1;
	r->row.rates[0].kind = RATION_SLIDING;
	r->row.rates[0].limit_units = size > 0 ? data[0] : 100;
	r->row.rates[0].used = size > 1 ? data[1] : 50;
	r->row.rates[0].window_ns = UINT64_C(60000000000);
	r->row.mode = size > 2 ? data[2] : 0; /* what lies in shared memory may be anything */
	r->row.deciding = size > 3 ? data[3] : 0;
	r->allow_s = r->deny_s = -1;
	r->row.key_len = (uint8_t)(size > 255 ? 255 : size);
	if (size > 0)
		memcpy(r->row.key, data, r->row.key_len);
	memcpy(r->limit, "api", 4);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size > 0 ? memchr(data, 0, size) : NULL;
	size_t len = nul ? (size_t)(nul - data) : size;
	char *text = strndup((const char *)data, len), err[200] = "";
	struct model_row row;
	struct filter *f;

	if (!text)
		return 0;
	f = filter_parse(text, err, sizeof(err));
	if (!f && !err[0])
		abort(); /* refused without a reason */
	if (f) {
		bool late;
		int early;

		row_fill(&row, nul ? nul + 1 : NULL, nul ? size - len - 1 : 0);
		late = filter_match(f, &row);
		for (enum need have = NEED_TOTALS; have <= NEED_ROW; have++) {
			early = filter_match_early(f, &row, have);
			if (early >= 0 && early != late)
				abort();
			if (early < 0 && have >= filter_need(f))
				abort();
		}
	}
	filter_free(f);
	free(text);
	return 0;
}
