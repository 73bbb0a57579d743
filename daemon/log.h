/*
 * log.h - rationd's messages: stderr, one line each.
 *
 * Whatever ends up in a message (a key, a file's text, a reason that somebody typed)
 * leaves as one line of printable bytes: a log can be neither split nor coloured by
 * those who choose keys.
 */
#ifndef RATIOND_LOG_H
#define RATIOND_LOG_H

/* "rationd: ..." */
void log_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "rationd: warning: ..." */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "rationd: error: ..." */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
