/*
 * control.h - the control socket: connections, lines, bounds.
 *
 * One client cannot disturb another or rationd: a line is at most LINE_MAX
 * bytes, a client that does not read is not served on, then closed, a busy one
 * takes turns with the rest, and the last places are kept for those who may make
 * changes.
 */
#ifndef RATIOND_CONTROL_H
#define RATIOND_CONTROL_H

#include "daemon.h"

#define CONTROL_CONNECTIONS 256u
#define CONTROL_RESERVED 16u /* of these, for peers who may make changes */
#define CONTROL_LINE_MAX (1u << 20)

/*
 * Listen on d->paths.socket, mode 0660, group d->group.  What is left of an earlier socket
 * is replaced: the caller holds the instance's lock.  0; or -1 with err for people.
 */
int control_open(struct daemon *d, struct control **out, char *err, size_t errsize);
/* Close all connections, remove the socket. */
void control_close(struct control *c);
/* The group may be another after a reload. */
void control_regroup(struct control *c);

/* Tell all who watch. */
void control_tell(struct control *c, int64_t when, const struct happening *h);

#endif
