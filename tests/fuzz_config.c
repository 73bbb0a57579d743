/*
 * fuzz_config.c - any bytes as a policy file.  It is refused with at least one
 * mistake that names a place, or accepted and compiled into an area.  There, every pattern taken
 * for a path has a route: at least itself.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AREA_BYTES (8u << 20)

static void
find_routes(const void *area)
{
	const struct policy_ref ref = { .area = area, .area_bytes = AREA_BYTES, .version = 1 };
	const struct route_leaf *leaves =
	    policy_section(&ref, ref.area->leaves, ref.area->nleaves, sizeof(*leaves));
	struct route_leaf found;

	for (uint32_t i = 0; i < ref.area->nleaves; i++) {
		const char *pattern = policy_string(&ref, leaves[i].pattern, NULL);
		const char *method = policy_string(&ref, leaves[i].method, NULL);

		if (route_find(
			&ref, *method != '\0' ? method : "ANY", strchr(pattern, '/'), &found))
			continue;
		fprintf(stderr, "no route for %s\n", pattern);
		abort();
	}
}

/* Only the part that a compile writes is cleared: an area is large. */
static void
compile(const struct config *c)
{
	static void *area;
	struct mistakes m = { 0 };
	struct config_table table;

	config_table(c, &table);
	if (!area && !(area = aligned_alloc(4096, AREA_BYTES)))
		return;
	memset(area, 0, 4096);
	if (config_compile(c, NULL, 0, NULL, table.cells, 1780000000, area, AREA_BYTES, 1, &m) ==
	    0) {
		find_routes(area);
	} else if (m.n == 0) {
		fprintf(stderr, "refused by the compiler without a reason\n");
		abort();
	}
	mistakes_free(&m);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct mistakes m = { 0 };
	struct config *c = NULL;
	char path[64];
	int fd = memfd_create("policy", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (config_load(path, &c, &m) == 0) {
		compile(c);
		config_free(c);
	} else if (m.n == 0) {
		fprintf(stderr, "refused without a reason\n");
		abort();
	}
	mistakes_free(&m);
	close(fd);
	return 0;
}
