/*
 * print.c - what several commands print: decisions, rationd's answers, times.
 *
 * Text that comes from elsewhere (reasons, names, mistakes) is escaped before it
 * reaches the terminal; keys arrive as strvis text already.
 */
#include "commands.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void
print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
}

void
print_text(FILE *out, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s, next = (unsigned char)s[1];

		if (c == 0xc2 && next >= 0x80 && next < 0xa0) {
			fprintf(out, "\\%03o\\%03o", c, next); /* alone it is a control too */
			s++;
		} else if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\%03o", c);
		else
			fputc(c, out);
	}
}

const char *
time_text(int64_t unix_s, char buf[TIME_MAX])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	if (unix_s <= 0 || !localtime_r(&t, &tm) ||
	    strftime(buf, TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(buf, TIME_MAX, "-");
	return buf;
}

const char *
jstr(const json_t *obj, const char *name, const char * or)
{
	const json_t *v = json_object_get(obj, name);

	return json_is_string(v) ? json_string_value(v) : or ;
}

int64_t
jint(const json_t *obj, const char *name, int64_t or)
{
	const json_t *v = json_object_get(obj, name);

	return json_is_integer(v) ? json_integer_value(v) : json_is_true(v) ? 1 : or ;
}

static void
value_put(FILE *out, const json_t *v)
{
	const char *name;
	json_t *member;
	size_t i;

	switch (v ? json_typeof(v) : JSON_NULL) {
	case JSON_STRING:
		print_text(out, json_string_value(v));
		break;
	case JSON_INTEGER:
		fprintf(out, "%lld", (long long)json_integer_value(v));
		break;
	case JSON_REAL:
		fprintf(out, "%g", json_real_value(v));
		break;
	case JSON_ARRAY:
		if (json_array_size(v) == 0)
			fputs("none", out);
		json_array_foreach(v, i, member)
		{
			fputs(i ? ", " : "", out);
			value_put(out, member);
		}
		break;
	case JSON_OBJECT:
		i = 0;
		json_object_foreach((json_t *)(uintptr_t)v, name, member)
		{
			fputs(i++ ? ", " : "", out);
			print_text(out, name);
			fputc(' ', out);
			value_put(out, member);
		}
		break;
	case JSON_NULL:
		fputs("-", out);
		break;
	default:
		fputs(json_is_true(v) ? "yes" : "no", out);
	}
}

char *
value_text(const json_t *v)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	value_put(f, v);
	fclose(f);
	return text;
}

void
csv_field(FILE *out, const char *s)
{
	if (!strpbrk(s, ",\"\r\n")) {
		fputs(s, out);
		return;
	}
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"')
			fputc('"', out);
		fputc(*s, out);
	}
	fputc('"', out);
}

int
key_argument(const char *what, const char *text, unsigned char key[256])
{
	int n = key_parse(text, key);

	if (n < 0)
		complain(
		    "%s: \"%s\" is no key: 1 to 255 bytes as strvis(3) writes them, \\040 for a "
		    "blank, \\134 for \\",
		    what, text);
	return n;
}

/* ---- rationd's answers ---- */

static void
complain_mistakes(const char *what, const struct rpc_error *e)
{
	const json_t *list = json_object_get(e->data, "mistakes");
	json_t *m;
	size_t i;

	json_array_foreach(list, i, m)
	{
		fputs("ration: ", stderr);
		print_text(stderr, json_is_string(m) ? json_string_value(m) : "?");
		fputc('\n', stderr);
	}
	fprintf(stderr, "ration: %s: ", what);
	print_text(stderr, e->text);
	fputs("; nothing was changed\n", stderr);
}

/* Of a limit its state tells most; of anything else, what rationd says. */
static void
complain_conflict(const char *what, const struct rpc_error *e)
{
	char *now;

	if (json_object_get(e->data, "generation") == NULL ||
	    json_object_get(e->data, "then") != NULL) {
		fprintf(stderr, "ration: %s: ", what);
		print_text(stderr, e->text);
		fputs("; nothing was changed\n", stderr);
		return;
	}
	now = value_text(e->data);
	complain("%s: somebody else was faster: now %s; look at it, then try again", what,
	    now ? now : "-");
	free(now);
}

int
complain_rpc(struct ctx *c, const char *what, const struct rpc_error *e)
{
	fflush(stdout);
	switch (e->code) {
	case RPC_DOWN:
		complain("%s: no service: %s; start it with: rationd%s%s%s%s", what, e->text,
		    c->instance ? " -i " : "", c->instance ? c->instance : "",
		    c->dir ? " --dir " : "", c->dir ? c->dir : "");
		return EXIT_SERVICE;
	case RPC_GARBLED:
		complain("%s: %s", what, e->text);
		return EXIT_SERVICE;
	case RPC_CONFLICT:
		complain_conflict(what, e);
		return EXIT_REFUSED;
	case RPC_PERMISSION:
		complain("%s: %s; changes are for root, rationd's user and the admin group", what,
		    e->text);
		return EXIT_REFUSED;
	case -32602:
		complain("%s: %s", what, e->text);
		return EXIT_USAGE;
	default:
		complain_mistakes(what, e);
		return EXIT_REFUSED;
	}
}

int
rpc(struct ctx *c, const char *what, const char *method, json_t *params, json_t **result)
{
	struct rpc_error e;
	int code;

	if (client_once(&c->paths, method, params, result, &e) == 0)
		return EXIT_OK;
	code = complain_rpc(c, what, &e);
	rpc_error_clear(&e);
	return code;
}

/* ---- decisions ---- */

ration_t *
open_library(struct ctx *c, int *code)
{
	ration_t *r = NULL;
	int rc = ration_open_dir(c->dir, c->instance, 0, &r);

	if (rc == 0)
		return r;
	complain("instance %s: %s", c->paths.instance, ration_strerror(rc));
	*code = EXIT_SERVICE;
	return NULL;
}

bool
print_decision_json(
    ration_t *r, const ration_decision_t *d, const void *key, size_t len, const char *more)
{
	char small[8192], *text = small;
	int n = ration_decision_json(r, d, key, len, small, sizeof(small));

	if (n >= (int)sizeof(small)) {
		text = malloc((size_t)n + 1);
		if (!text)
			return false;
		n = ration_decision_json(r, d, key, len, text, (size_t)n + 1);
	}
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		n--;
	if (n > 1 && text[n - 1] == '}')
		printf("%.*s%s%s}", n - 1, text, more ? "," : "", more ? more : "");
	if (text != small)
		free(text);
	return n > 1;
}

static const char *
reason_text(uint8_t reason)
{
	switch (reason) {
	case RATION_R_COST:
		return "the cost is above the limit";
	case RATION_R_ZERO:
		return "the limit is 0";
	case RATION_R_RELEASE:
		return "a lease must be released";
	case RATION_R_FULL:
		return "the table is full";
	case RATION_R_UNLISTED:
		return "the policy does not list the key";
	case RATION_R_QUEUE:
		return "others wait for it";
	default:
		return "no waiting helps";
	}
}

/* Why a decision shows no rate. */
static const char *
no_rates_text(uint32_t flags)
{
	if (flags & RATION_F_OFF)
		return "the limit is off";
	if (flags & RATION_F_EXEMPT)
		return "exempt";
	if (flags & RATION_F_UNROUTED)
		return "no route";
	return "no rate applies";
}

static void
print_figures(FILE *out, const ration_decision_t *d)
{
	char used[32], limit[32], left[32], span[32], name[64];

	text_grouped(d->used, used, sizeof(used));
	text_grouped(d->limit_units, limit, sizeof(limit));
	text_grouped(d->remaining, left, sizeof(left));
	ration_rate_text(&d->rates[0], name, sizeof(name));
	if (d->limit_units == RATION_UNLIMITED) {
		fprintf(out, "%s used, unlimited", used);
		return;
	}
	fprintf(out, "%s of %s used, %s left", used, limit, left);
	if (d->used > 0 && d->kind != RATION_CONCURRENT && d->reset_at > d->now) {
		text_span(d->reset_at - d->now, span, sizeof(span));
		fprintf(out, ", all back in %s", span);
	}
	fprintf(out, ", by %s", name);
}

void
fprint_decision(
    FILE *out, ration_t *r, const ration_decision_t *d, const char *limit, const char *key)
{
	char when[TIME_MAX];

	fprintf(
	    out, "%s %s %s: ", d->verdict == RATION_ADMITTED ? "admitted" : "denied", limit, key);
	if (d->nrates > 0)
		print_figures(out, d);
	else
		fputs(no_rates_text(d->flags), out);
	if (d->verdict == RATION_DENIED && d->retry_at == RATION_NEVER)
		fprintf(out, "; %s", reason_text(d->reason));
	else if (d->flags & RATION_F_PAUSED)
		fprintf(out, "; paused until %s", time_text(d->retry_at, when));
	else if (d->verdict == RATION_DENIED)
		fprintf(out, "%s; retry in %u s, at %s",
		    d->reason == RATION_R_QUEUE ? "; others wait for it" : "", d->retry_after,
		    time_text(d->retry_at, when));
	if (d->verdict == RATION_DENIED && d->reason == RATION_R_QUEUE)
		fputs("; others wait for it", out);
	if (d->flags & RATION_F_OBSERVED)
		fputs("; only observed, would be denied", out);
	if (d->flags & RATION_F_TABLE_FULL)
		fputs("; the table is full", out);
	fputc('\n', out);
}

void
print_decision(ration_t *r, const ration_decision_t *d, const char *limit, const char *key)
{
	fprint_decision(stdout, r, d, limit, key);
}

void
print_rates(const ration_decision_t *d)
{
	printf("%-20s %10s %10s %10s %5s %8s %8s\n", "RATE", "USED", "LIMIT", "LEFT", "USE%",
	    "RESET", "RETRY");
	for (unsigned i = 0; i < d->nrates && i < RATION_DECISION_RATES; i++) {
		const ration_rate_t *rate = &d->rates[i];
		char name[64], used[32], limit[32] = "-", left[32] = "-", use[32] = "-", reset[32],
					 retry[32];

		ration_rate_text(rate, name, sizeof(name));
		text_units(rate->used, used, sizeof(used));
		if (rate->limit_units != RATION_UNLIMITED) {
			text_units(rate->limit_units, limit, sizeof(limit));
			text_units(rate->remaining, left, sizeof(left));
			snprintf(use, sizeof(use), "%.0f",
			    rate->limit_units
				? floor((double)rate->used * 100 / (double)rate->limit_units)
				: 100);
		}
		text_span(rate->used && rate->kind != RATION_CONCURRENT && rate->reset_at > d->now
			? rate->reset_at - d->now
			: -1,
		    reset, sizeof(reset));
		text_span(
		    rate->retry_at > d->now ? rate->retry_at - d->now : -1, retry, sizeof(retry));
		printf("%-20s %10s %10s %10s %5s %8s %8s\n", name, used, limit, left, use, reset,
		    retry);
	}
}
