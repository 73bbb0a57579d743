/*
 * make_log.c - an access log as large as wanted: make_log LINES [json].  A day from the 20th of
 * October 2026 on, some hundred thousand addresses and ten thousand API keys, a few of which ask
 * for far more than the others.  The same arguments give the same log.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define START INT64_C(1792454400)
#define DAY 86400.0

static uint64_t state = 1;

static uint64_t
draw(void)
{
	uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* Of n, the first much oftener than the last. */
static uint64_t
skewed(uint64_t n)
{
	double u = (double)(draw() >> 11) / 9007199254740992.0;

	return (uint64_t)(u * u * u * u * (double)n);
}

static void
put_path(char *out, size_t size, unsigned which, unsigned long long id)
{
	static const char *const fixed[] = { "/boletos", "/settlements", "/health",
		"/nothing/here" };

	if (which < 4)
		(void)snprintf(out, size, "%s", fixed[which]);
	else if (which == 4)
		(void)snprintf(out, size, "/boletos/%llu", id);
	else if (which == 5)
		(void)snprintf(out, size, "/boletos/%llu/pay", id);
	else
		(void)snprintf(out, size, "/settlements/%llu", id);
}

int
main(int argc, char **argv)
{
	static const char agent[] =
	    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
	    "Chrome/126.0.0.0 Safari/537.36";
	uint64_t lines = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
	int json = argc > 2 && strcmp(argv[2], "json") == 0;

	for (uint64_t i = 0; i < lines; i++) {
		time_t now = START + (time_t)(DAY * (double)i / (double)lines);
		uint64_t ip = skewed(400000), key = skewed(10000), id = draw();
		unsigned which = (unsigned)(draw() % 7), bytes = (unsigned)(id >> 40 & 0xffff);
		char when[40], path[64], address[24];
		const char *method = which == 5 ? "POST" : "GET";
		struct tm tm;

		(void)gmtime_r(&now, &tm);
		(void)strftime(when, sizeof(when), "%d/%b/%Y:%H:%M:%S +0000", &tm);
		(void)snprintf(address, sizeof(address), "10.%u.%u.%u", (unsigned)(ip >> 16 & 255),
		    (unsigned)(ip >> 8 & 255), (unsigned)(ip & 255));
		put_path(path, sizeof(path), which, id % 100000);
		if (json)
			(void)printf(
			    "{\"time\":\"%s\",\"remote_addr\":\"%s\",\"method\":\"%s\",\"path\":"
			    "\"%s\",\"status\":200,\"bytes\":%u,\"api\":{\"key\":\"sk_%llu\"},"
			    "\"agent\":\"%s\"}\n",
			    when, address, method, path, bytes, (unsigned long long)key, agent);
		else
			(void)printf("%s - sk_%llu [%s] \"%s %s?api_key=sk_%llu HTTP/1.1\" 200 %u "
				     "\"-\" \"%s\"\n",
			    address, (unsigned long long)key, when, method, path,
			    (unsigned long long)key, bytes, agent);
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
