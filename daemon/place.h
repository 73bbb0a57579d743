/*
 * place.h - where rationd lives: directories, lock, the service manager.
 */
#ifndef RATIOND_PLACE_H
#define RATIOND_PLACE_H

#include "daemon.h"

/* Make a directory, or see that the one that is there can be trusted.  0; or -1, logged. */
int place_dir(const char *path, mode_t mode);
/* The directory of the durable state, with those above it. */
int place_state_dir(const char *state);
/* Become the instance's only rationd.  0; or -1, logged. */
int place_lock(struct daemon *d);
/* Group and mode of the lock's file, which clients open. */
void place_lock_group(const struct daemon *d);
/* Tell the service manager, if there is one. */
void place_notify_ready(void);

#endif
