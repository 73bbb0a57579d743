/*
 * receiver.h - a receiver of events as the policy's section `deliver` names it.
 *
 * Receivers are known by name: over a reload, and over a restart with another policy, what is
 * still to be told to one goes on where it was.  By number (their order in the policy) only
 * as long as this policy is in force.
 */
#ifndef RATIOND_RECEIVER_H
#define RATIOND_RECEIVER_H

#include "config.h"

#define RECEIVERS_MAX 16u
#define RECEIVER_NAME_MAX 31u
#define RECEIVER_QUEUE_MAX UINT64_C(1000000)
#define SECRET_MIN 16u
#define SECRET_MAX 4096u

/* What an event can be, for `only`. */
#define EVENT_TYPES(X) X(threshold) X(reminder) X(request) X(approved) X(declined)

struct receiver {
	const char *name;
	const char *const *argv; /* of a command, ends with NULL; NULL: a webhook */
	const char *url;         /* of a webhook */
	const unsigned char *secret;
	size_t secret_len; /* 0: nothing is signed */
	uint64_t types;    /* bit n: the n-th of EVENT_TYPES; 0: all, also those unknown here */
	uint64_t timeout_ms;
	uint64_t first_ms, most_ms; /* between tries */
	uint64_t give_up_ms;
	uint64_t queue;   /* deliveries that may wait */
	uint32_t at_once; /* 1: one after the other, in order */
};

/* Those of a policy, in its order; owned by c. */
const struct receiver *config_receivers(const struct config *c, unsigned *n);
/* Bit n: receiver n is told of events of this type. */
uint64_t deliver_receivers(const struct config *c, const char *type);
/*
 * Read the files with secrets.  As with groups: they need not be there where a policy is only
 * checked.  False: one cannot be used, m says which.
 */
bool config_secrets(struct config *c, struct mistakes *m);

#endif
