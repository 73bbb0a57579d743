#include "curl_api.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *const libraries[] = { "libcurl.so.4", "libcurl-gnutls.so.4" };

/* ISO C has no conversion from an object pointer to a function's; POSIX promises the bits. */
static bool
find(void *library, const char *name, void *out, size_t size)
{
	void *at = dlsym(library, name);

	if (at == NULL)
		return false;
	memcpy(out, &at, size);
	return true;
}

const struct curl_api *
curl_api_load(char *err, size_t errsize)
{
	static struct curl_api api;
	static bool loaded;
	const curl_version_info_data *v;
	void *library = NULL;

	if (loaded)
		return &api;
	for (size_t i = 0; library == NULL && i < sizeof(libraries) / sizeof(libraries[0]); i++)
		library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
	if (library == NULL) {
		(void)snprintf(err, errsize, "%s cannot be loaded: install libcurl4", libraries[0]);
		return NULL;
	}
#define X(name) \
	if (!find(library, "curl_" #name, &api.name, sizeof(api.name))) { \
		(void)snprintf(err, errsize, "libcurl without curl_" #name); \
		return NULL; \
	}
	CURL_CALLS(X)
#undef X
	if (api.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		(void)snprintf(err, errsize, "libcurl cannot be started");
		return NULL;
	}
	/* Without a resolver of its own a name that is not answered for would stop the event loop.
	 */
	v = api.version_info(CURLVERSION_NOW);
	if (v->version_num < 0x075700 || (v->features & CURL_VERSION_ASYNCHDNS) == 0) {
		(void)snprintf(err, errsize,
		    "libcurl %s: expected 7.87 or later with an asynchronous resolver", v->version);
		return NULL;
	}
	loaded = true;
	return &api;
}
