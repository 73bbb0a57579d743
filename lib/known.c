/*
 * known.c - remembering a route.
 */
#include "known.h"

void
route_known(const struct plain *p, const char *method, const char *text,
    const struct known_claim *claims, unsigned n)
{
	const unsigned char *path = (const unsigned char *)text;
	size_t len = short_path(text), method_len = strlen(method), i;
	struct known_route *k;
	_Atomic uint64_t *w;
	uint64_t turn;

	if (len - 1 >= KNOWN_PATH * 8 || method_len == 0 || method_len > NAME_MAX_SHORT)
		return;
	k = known_place(p->h, method, path, len);
	w = k->path;
	turn = atomic_load_explicit(&k->turn, memory_order_relaxed);
	if ((turn & 1) != 0 ||
	    !atomic_compare_exchange_strong_explicit(
		&k->turn, &turn, turn + 1, memory_order_acquire, memory_order_relaxed))
		return;
	/* Release: who sees one of these sees the odd turn too. */
	atomic_store_explicit(&k->policy, KNOWN_POLICY(p), memory_order_release);
	atomic_store_explicit(&k->sizes, KNOWN_SIZES(n, method_len, len), memory_order_release);
	atomic_store_explicit(
	    &k->method, name_word(method, NAME_SHIFT((unsigned)method_len)), memory_order_release);
	for (i = 0; i + 8 < len; i += 8)
		atomic_store_explicit(w++, load64(path + i), memory_order_release);
	atomic_store_explicit(w, path_last(path, len), memory_order_release);
	for (i = 0; i < n; i++) {
		atomic_store_explicit(&k->claims[i].what, claims[i].what, memory_order_release);
		atomic_store_explicit(&k->claims[i].name, claims[i].name, memory_order_release);
		atomic_store_explicit(&k->claims[i].cost, claims[i].cost, memory_order_release);
	}
	atomic_store_explicit(&k->turn, turn + 2, memory_order_release);
}
