/*
 * answers.h - answers of a policy, put into a fixture's area by hand: with any texts, also those
 * that the reader of policy files would refuse.
 */
#ifndef TESTS_ANSWERS_H
#define TESTS_ANSWERS_H

#include "fixture.h"

struct text_answer {
	const char *limit; /* whose answer it is; NULL: the default one, which comes first */
	const char *title; /* of that limit */
	uint32_t headers;  /* ANSWER_... */
	uint16_t status;   /* 0: 429 */
	uint8_t reset;     /* enum answer_reset */
	const char *show;  /* limit */
	uint64_t show_s;   /* which of its rates; 0: the longest */
	const char *content_type;
	const char *body;
	const char *body_never;
};

/* Give the policy in force these n answers, until the next fixture_policy(). */
void answers_set(struct fixture *f, const struct text_answer *answers, uint32_t n);
/* Write other bytes over a limit's name, for as long as the policy is in force. */
void answers_rename(struct fixture *f, uint32_t limit_id, const void *name, uint16_t len);

#endif
