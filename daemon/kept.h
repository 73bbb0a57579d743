/*
 * kept.h - leases that stay (ration_lease_named) are written down: what stands in the segment
 * is the truth as long as there is one, what is recorded when it is gone.
 *
 * A slot whose kept permits differ from what was recorded of it is recorded anew, whole; what
 * costs nothing is nothing that changed.  A new segment is given what is recorded before its
 * policy is published, so before anybody can ask it: a segment with a policy has them all.
 */
#ifndef RATIOND_KEPT_H
#define RATIOND_KEPT_H

#include "keeper.h"
#include "permits.h"
#include "store.h"

struct book;

/* 0; or -1 with err for people. */
int book_open(struct book **out, struct keeper *k, struct store *s, char *err, size_t errsize);
void book_close(struct book *b);
/*
 * At the start; p: the policy that is about to be published.  The leases that are recorded are
 * put into a segment that had none published; else what stands in it is recorded.  0 or -1.
 */
int book_start(struct book *b, const struct policy_ref *p, char *err, size_t errsize);
/*
 * This slot was looked at; at NULL: it is not in use.  False: as much as may be recorded at
 * once has changed.
 */
bool book_look(struct book *b, uint64_t slot, const struct permits *at);
/* Record what changed; and place those for which there was none, if the policy is another. */
void book_record(struct book *b);
/* Leases recorded, and how many of them have no place. */
void book_count(const struct book *b, uint64_t *recorded, uint64_t *nowhere);

#endif
