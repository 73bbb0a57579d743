/*
 * fuzz_config.c - any bytes as a policy file.  It is refused with at least one
 * mistake that names a place, or accepted and compiled into an area.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define AREA_BYTES (8u << 20)

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
	if (config_compile(c, NULL, 0, NULL, table.cells, 1780000000, area, AREA_BYTES, 1, &m) !=
		0 &&
	    m.n == 0) {
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
