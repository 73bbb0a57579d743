/*
 * slow_names.c - preloaded: names are looked up for ever, as by a server that does not answer.
 */
#include <netdb.h>
#include <unistd.h>

int
getaddrinfo(const char *restrict node, const char *restrict service,
    const struct addrinfo *restrict hints, struct addrinfo **restrict res)
{
	(void)sleep(60);
	return EAI_AGAIN;
}
