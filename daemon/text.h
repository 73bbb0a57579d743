/*
 * text.h - keys, rates and times as the text that people and the protocol see.
 */
#ifndef RATIOND_TEXT_H
#define RATIOND_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"

#define KEY_TEXT (4 * RATION_KEY_MAX + 1)
#define RATES_TEXT 256

/* strvis(3) form of a key; out holds KEY_TEXT bytes. */
void key_text(const unsigned char *key, size_t len, char *out);
/*
 * Back from it: 1 to RATION_KEY_MAX bytes.  out holds RATION_KEY_MAX + 1.
 * False: not such a text, empty, or too long.
 */
bool key_parse(const char *text, unsigned char *out, size_t *len);

/* "300/min, 30/s" */
void rates_text(const struct rate_spec *rates, size_t n, char *out, size_t size);
/* A compiled rate as it would be written. */
void rate_def_spec(const struct rate_def *def, struct rate_spec *out);

/* "2027-01-01T00:00:00Z", "" for POLICY_ENDLESS. */
void time_text(int64_t unix_s, char *out, size_t size);

/* "enforce", "observe", "off" and back; -1: none of them. */
const char *mode_text(unsigned mode);
int mode_parse(const char *text);

/* Name of a user, else "uid N". */
void user_text(unsigned uid, char *out, size_t size);

/* "set", "plan" ...: the method that makes a change of this kind. */
const char *change_kind_text(enum change_kind kind);
/* What a change is about: "api", "api key k1", "api plan growth", "key k1", "share", "all limits".
 */
void change_target_text(const struct change *c, char *out, size_t size);
/* What it makes of it: "300/min, 30/s until 2027-01-01T00:00:00Z", "growth", "1/6". */
void change_value_text(const struct change *c, char *out, size_t size);

/* Room for "request 4711 (api key k1)" too. */
#define TARGET_TEXT (RATION_NAME_MAX * 2 + KEY_TEXT + 64)
#define VALUE_TEXT (RATES_TEXT + 64)

#endif
