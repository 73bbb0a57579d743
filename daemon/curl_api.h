/*
 * curl_api.h - libcurl, loaded when the first webhook needs it.
 *
 * It brings some thirty libraries along, which would cost every rationd 1 MiB of memory and half
 * its start; most have no webhook.
 */
#ifndef RATIOND_CURL_API_H
#define RATIOND_CURL_API_H

#include <curl/curl.h>

#define CURL_CALLS(X) \
	X(global_init) \
	X(version_info) \
	X(easy_init) \
	X(easy_cleanup) \
	X(easy_setopt) \
	X(easy_getinfo) \
	X(easy_strerror) \
	X(slist_append) \
	X(slist_free_all) \
	X(multi_init) \
	X(multi_cleanup) \
	X(multi_setopt) \
	X(multi_add_handle) \
	X(multi_remove_handle) \
	X(multi_socket_action) X(multi_info_read) X(multi_assign) X(multi_strerror)

struct curl_api {
#define X(name) __typeof__(curl_##name) *name;
	CURL_CALLS(X)
#undef X
};

/* NULL with err: it is not there, or too old. */
const struct curl_api *curl_api_load(char *err, size_t errsize);

#endif
