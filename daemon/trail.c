#include "trail.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc.h"

void
trail_free(struct trail *t)
{
	free(t->at);
	memset(t, 0, sizeof(*t));
}

static int
by_id(const void *a, const void *b)
{
	int64_t x = ((const struct change *)a)->id, y = ((const struct change *)b)->id;

	return x < y ? -1 : x > y;
}

static void
take_same(const struct change *list, size_t n, const struct change *about, struct trail *out)
{
	for (size_t i = 0; i < n; i++)
		if (change_same(&list[i], about))
			out->at[out->n++] = list[i];
}

bool
trail_now(const struct live *l, const struct change *about, struct trail *out)
{
	size_t n = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < l->n; i++)
		n += change_same(&l->at[i], about);
	for (size_t i = 0; i < l->ndormant; i++)
		n += change_same(&l->dormant[i], about);
	out->at = calloc(n + 1, sizeof(*out->at)); /* room for one that is added */
	if (out->at == NULL)
		return false;
	take_same(l->at, l->n, about, out);
	take_same(l->dormant, l->ndormant, about, out);
	qsort(out->at, out->n, sizeof(*out->at), by_id);
	return true;
}

bool
trail_same(const struct trail *a, const struct trail *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->at[i].id != b->at[i].id)
			return false;
	return true;
}

/* ---- as text ---- */

static json_t *
about_json(const struct change *c)
{
	char key[KEY_TEXT];
	bool figures = c->kind == CHANGE_RATES || c->kind == CHANGE_VALUE;

	key_text(c->key, c->key_len, key);
	return json_pack("{s:i, s:o, s:o, s:o}", "kind", (int)c->kind, "limit", json_any(c->limit),
	    "key", json_any(key), "plan", json_any(figures ? c->plan : ""));
}

static json_t *
change_row(const struct change *c)
{
	char rates[RATES_TEXT] = "";
	json_t *j = about_json(c);

	if (c->nrates > 0)
		rates_text(c->rates, c->nrates, rates, sizeof(rates));
	(void)json_object_update_new(j,
	    json_pack("{s:I, s:o, s:i, s:s, s:o, s:I, s:I, s:o, s:I, s:o, s:o}", "id",
		(json_int_t)c->id, "plan", json_any(c->plan), "mode", (int)c->mode, "rates", rates,
		"value", json_any(c->value), "num", (json_int_t)c->share_num, "den",
		(json_int_t)c->share_den, "until", json_time(c->until), "when", (json_int_t)c->when,
		"who", json_any(c->who), "reason", json_any(c->reason)));
	return j;
}

char *
trail_text(const struct trail *t)
{
	json_t *rows = json_array(), *all = json_object();
	char *text;

	for (size_t i = 0; i < t->n; i++)
		(void)json_array_append_new(rows, change_row(&t->at[i]));
	if (!t->alone)
		(void)json_object_set(all, "changes", rows);
	json_decref(rows);
	if (t->request[0] != '\0')
		(void)json_object_set_new(all, "request", json_string(t->request));
	text = json_dumps(all, JSON_COMPACT);
	json_decref(all);
	return text;
}

char *
trail_subject(const struct change *about, int64_t request)
{
	json_t *j = about_json(about);
	char *text;

	if (request != 0)
		(void)json_object_set_new(j, "request", json_integer(request));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	return text;
}

/* ---- and back ---- */

static const char *
text_of(const json_t *j, const char *name)
{
	const char *text = json_string_value(json_object_get(j, name));

	return text != NULL ? text : "";
}

static int64_t
number_of(const json_t *j, const char *name)
{
	return json_integer_value(json_object_get(j, name));
}

static bool
about_of(const json_t *j, struct change *c)
{
	const char *key = text_of(j, "key");

	memset(c, 0, sizeof(*c));
	c->kind = (enum change_kind)number_of(j, "kind");
	c->until = POLICY_ENDLESS;
	(void)snprintf(c->limit, sizeof(c->limit), "%s", text_of(j, "limit"));
	(void)snprintf(c->plan, sizeof(c->plan), "%s", text_of(j, "plan"));
	return c->kind >= CHANGE_RATES && c->kind <= CHANGE_VALUE &&
	    (key[0] == '\0' || key_parse(key, c->key, &c->key_len));
}

/* Whether it makes sense is seen when it is compiled; only what memory holds is checked here. */
static bool
change_of(const json_t *j, struct change *c)
{
	const char *rates = text_of(j, "rates");
	char err[128];
	int n = 0;

	if (!about_of(j, c))
		return false;
	c->id = number_of(j, "id");
	c->mode = (uint8_t)number_of(j, "mode");
	c->share_num = (uint64_t)number_of(j, "num");
	c->share_den = (uint64_t)number_of(j, "den");
	c->when = number_of(j, "when");
	if (json_is_integer(json_object_get(j, "until")))
		c->until = number_of(j, "until");
	(void)snprintf(c->value, sizeof(c->value), "%s", text_of(j, "value"));
	(void)snprintf(c->who, sizeof(c->who), "%s", text_of(j, "who"));
	(void)snprintf(c->reason, sizeof(c->reason), "%s", text_of(j, "reason"));
	if (rates[0] != '\0')
		n = rate_parse_list(rates, c->rates, (int)RATION_RATES_MAX, err, sizeof(err));
	c->nrates = (uint8_t)(n > 0 ? n : 0);
	return n >= 0 && c->id > 0;
}

bool
trail_parse(const char *text, struct trail *out)
{
	json_t *all = text != NULL ? json_loads(text, 0, NULL) : NULL;
	json_t *rows = json_object_get(all, "changes"), *row;
	bool ok = json_is_object(all);
	size_t i;

	memset(out, 0, sizeof(*out));
	out->alone = !json_is_array(rows);
	out->at = calloc(json_array_size(rows) + 1, sizeof(*out->at));
	ok = ok && out->at != NULL;
	json_array_foreach(rows, i, row) ok = ok && change_of(row, &out->at[out->n++]);
	(void)snprintf(out->request, sizeof(out->request), "%s", text_of(all, "request"));
	json_decref(all);
	if (!ok)
		trail_free(out);
	return ok;
}

bool
trail_subject_parse(const char *text, struct change *about)
{
	json_t *j = text != NULL ? json_loads(text, 0, NULL) : NULL;
	bool ok = about_of(j, about);

	json_decref(j);
	return ok;
}
