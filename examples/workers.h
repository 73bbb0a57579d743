/*
 * workers.h - several processes that serve one port, and a parent that watches over them.
 *
 * Nothing in here knows of limits: it is what any service of several processes has.
 */
#ifndef WORKERS_H
#define WORKERS_H

#include <stdint.h>

#include <event2/http.h>

#define WORKERS_MAX 64u
#define HEADERS_MAX (16 * 1024) /* bytes of all headers of a request */

struct workers {
	unsigned n;    /* processes, 1..WORKERS_MAX */
	uint16_t port; /* on 127.0.0.1; 0: any, filled in */
	void *arg;     /* for the functions */
	/* In the parent, once connections are taken. */
	void (*ready)(const struct workers *w);
	/* In worker `index`: what handle() is to be given, NULL: it cannot work; and the end of it.
	 */
	void *(*open)(unsigned index, void *arg);
	void (*handle)(struct evhttp_request *http, void *opened);
	void (*close)(void *opened);
};

/*
 * Start the workers, and replace those that end by themselves, until SIGTERM or SIGINT.
 * Returns the exit status.
 */
int workers_run(struct workers *w);

#endif
