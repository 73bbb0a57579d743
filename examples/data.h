/*
 * data.h - the made-up data of the example: API keys, endpoints with their answers, sessions.
 *
 * A data file (examples/mivicall.json) stands for what a real service has in its database and code:
 *
 *	name         of the service
 *	keys         API key -> account that it belongs to; "any": each key is its own account
 *	unauthorized, not_found    bodies of 401 and 404
 *	endpoints    "METHOD /path/:name" -> what is answered; the first that fits
 *	    status      200 if absent
 *	    body        JSON in which the string ":name" stands for a variable: a part of the path,
 *	                or what the fields below say
 *	    public      true: no API key is asked for
 *	    cost        units that the request costs (what they are of is the policy's to say):
 *	                "bytes" of its body; "tokens FIELD": those of a text in it, a token being 4
 *	                bytes here; "number FIELD"; default 1.  -> :cost
 *	    estimate    units if the request does not say, instead of 1
 *	    settle      as cost, when the work is done: then it is known, and cost was an estimate
 *	    value       an entitlement of the policy to look up -> :value
 *	    cache       likewise, for the header Cache-Control
 *	    begins      "session": one (:id) that keeps the lease which the route took
 *	    ends        "session": the session :id ends
 *	    register    limit of which a lease is taken that lasts, by the name :id
 *	    remove      limit of which the lease :id is given back
 *	    stream      true: the answer goes on until the client leaves, and the lease with it
 */
#ifndef DATA_H
#define DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <ration.h>

struct data;

/* NULL: it was said on stderr what is wrong. */
struct data *data_load(const char *file);
void data_free(struct data *data);
const char *data_name(const struct data *data);
/* Body of an answer without an endpoint: "unauthorized", "not_found". */
const json_t *data_body(const struct data *data, const char *name);
/* The account of an API key; NULL: there is no such key. */
const char *data_account(const struct data *data, const char *api_key);
/* What is answered there, NULL: nothing; parts of the path are added to vars. */
const json_t *data_endpoint(
    const struct data *data, const char *method, const char *path, json_t *vars);
/* A body with its variables put in, as text; the caller frees it. */
char *data_fill(const json_t *body, const json_t *vars);

/* "prefix" and 12 letters and digits that nobody can guess. */
#define DATA_ID_MAX 24u
void data_id(char id[DATA_ID_MAX], const char *prefix);

/*
 * Sessions, which all workers see, with the lease of each.  A worker's sessions die with it, and
 * so do their leases: libration sees to that.
 */
#define SESSION_ACCOUNT_MAX 64u
bool sessions_create(unsigned workers); /* once, before the workers are forked */
void sessions_clear(unsigned worker);   /* when worker `worker` starts */
bool session_add(unsigned worker, const char *id, const char *account, const ration_lease_t *lease);
/* Removes it.  False: the account has no such session. */
bool session_take(const char *id, const char *account, ration_lease_t *lease);

#endif
