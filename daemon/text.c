#include "text.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <vis.h>

void
key_text(const unsigned char *key, size_t len, char *out)
{
	(void)strvisx(out, (const char *)key, len, VIS_OCTAL | VIS_WHITE);
}

/* strunvis(3) would pass over an escape that stops in the middle. */
bool
key_parse(const char *text, unsigned char *out, size_t *len)
{
	size_t n = 0;
	int state = 0;
	char ch = 0; /* unvis(3) builds it up over several calls */

	for (; *text != '\0'; text++) {
		for (bool again = true; again;) {
			int got = unvis(&ch, *text, &state, 0);

			if (got == UNVIS_SYNBAD)
				return false;
			if (got == UNVIS_VALID || got == UNVIS_VALIDPUSH) {
				if (n == RATION_KEY_MAX)
					return false;
				out[n++] = (unsigned char)ch;
			}
			again = got == UNVIS_VALIDPUSH; /* not yet used up */
		}
	}
	switch (unvis(&ch, 0, &state, UNVIS_END)) {
	case UNVIS_VALID:
		if (n == RATION_KEY_MAX)
			return false;
		out[n++] = (unsigned char)ch;
		break;
	case UNVIS_NOCHAR:
		break;
	default:
		return false;
	}
	out[n] = '\0';
	*len = n;
	return n > 0;
}

void
rates_text(const struct rate_spec *rates, size_t n, char *out, size_t size)
{
	size_t at = 0;

	if (n == 0)
		(void)snprintf(out, size, "none");
	for (size_t i = 0; i < n && at < size; i++) {
		char one[96];
		int len;

		(void)rate_format(&rates[i], one, sizeof(one));
		len = snprintf(out + at, size - at, "%s%s", i == 0 ? "" : ", ", one);
		at += len > 0 ? (size_t)len : 0;
	}
}

void
rate_def_spec(const struct rate_def *def, struct rate_spec *out)
{
	bool bucket = def->kind == RATION_BUCKET;

	memset(out, 0, sizeof(*out));
	out->kind = def->kind;
	out->units = bucket ? def->rate_units : def->units;
	out->burst = bucket ? def->units : 0;
	out->window_ns = def->window_ns;
}

void
time_text(int64_t unix_s, char *out, size_t size)
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (unix_s == POLICY_ENDLESS || gmtime_r(&t, &tm) == NULL ||
	    strftime(out, size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		out[0] = '\0';
}

static const char *const modes[] = {
	[MODE_ENFORCE] = "enforce", [MODE_OBSERVE] = "observe", [MODE_OFF] = "off"
};

const char *
mode_text(unsigned mode)
{
	return mode < sizeof(modes) / sizeof(modes[0]) ? modes[mode] : "?";
}

int
mode_parse(const char *text)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++)
		if (strcmp(text, modes[i]) == 0)
			return (int)i;
	return -1;
}

void
user_text(unsigned uid, char *out, size_t size)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (getpwuid_r(uid, &pw, buf, sizeof(buf), &found) == 0 && found != NULL)
		(void)snprintf(out, size, "%s", pw.pw_name);
	else
		(void)snprintf(out, size, "uid %u", uid);
}

const char *
change_kind_text(enum change_kind kind)
{
	switch (kind) {
	case CHANGE_RATES:
	case CHANGE_VALUE:
		return "set";
	case CHANGE_PLAN:
		return "plan";
	case CHANGE_ENV:
		return "env";
	case CHANGE_SHARE:
		return "share";
	case CHANGE_MODE:
		return "mode";
	}
	return "?";
}

void
change_target_text(const struct change *c, char *out, size_t size)
{
	char key[KEY_TEXT] = "";

	if (c->key_len > 0)
		key_text(c->key, c->key_len, key);
	if (c->kind == CHANGE_SHARE)
		(void)snprintf(out, size, "share");
	else if (c->kind == CHANGE_MODE)
		(void)snprintf(out, size, "%s", c->limit[0] != '\0' ? c->limit : "all limits");
	else if (c->kind != CHANGE_RATES && c->kind != CHANGE_VALUE)
		(void)snprintf(out, size, "key %s", key);
	else if (c->key_len > 0)
		(void)snprintf(out, size, "%s key %s", c->limit, key);
	else if (c->plan[0] != '\0')
		(void)snprintf(out, size, "%s plan %s", c->limit, c->plan);
	else
		(void)snprintf(out, size, "%s", c->limit);
}

void
change_value_text(const struct change *c, char *out, size_t size)
{
	char until[40];
	size_t n;

	switch (c->kind) {
	case CHANGE_RATES:
		rates_text(c->rates, c->nrates, out, size);
		break;
	case CHANGE_VALUE:
		(void)snprintf(out, size, "%s", c->value);
		break;
	case CHANGE_SHARE:
		(void)snprintf(out, size, "%llu/%llu", (unsigned long long)c->share_num,
		    (unsigned long long)c->share_den);
		break;
	case CHANGE_MODE:
		(void)snprintf(out, size, "%s", mode_text(c->mode));
		break;
	default:
		(void)snprintf(out, size, "%s", c->plan);
		break;
	}
	time_text(c->until, until, sizeof(until));
	n = strlen(out);
	if (until[0] != '\0' && n < size)
		(void)snprintf(out + n, size - n, " until %s", until);
}
