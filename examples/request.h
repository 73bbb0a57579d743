/*
 * request.h - a request while it is answered, between api-server.c and work.c.
 */
#ifndef REQUEST_H
#define REQUEST_H

#include <event2/http.h>

#include <ration.h>

#include "data.h"

struct worker {
	const char *instance; /* of rationd; NULL: $RATION_INSTANCE or "default" */
	struct data *data;
	unsigned index;
	ration_t *ration; /* NULL: not open yet */
	int logged;       /* the error that was logged last; 0: none */
};

struct request {
	struct worker *worker;
	struct evhttp_request *http;
	char method[8];
	const char *path;
	const char *account;    /* whose API key it is; NULL: no such key */
	const json_t *endpoint; /* NULL: there is none */
	json_t *vars;           /* what an answer may tell, by name */
	json_t *input;          /* the body, if it is JSON */
	ration_decision_t d;
	ration_lease_t lease; /* what the route took; given back at the end unless it is kept */
};

void header(struct request *rq, const char *name, const char *value);
/* body: JSON, NULL: none. */
void answer(struct request *rq, int status, const char *body);

/* Units that the request says it takes, from the data file's words for it; NULL: 1. */
uint64_t amount(struct request *rq, const char *what);
/* What the endpoint does besides answering.  Returns the status, or a negative error. */
int work(struct request *rq);
/* An answer that goes on until the client leaves. */
void answer_stream(struct request *rq, int status);

#endif
