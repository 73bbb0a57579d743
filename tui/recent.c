/*
 * recent.c - recent denials of a key, and who made the calls: see recent.h.
 */
#include "recent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define LIBBSD_OPENBSD_VIS 1 /* strnvis() is not used; else the header warns */
#include <vis.h>

#include "address.h"

/* ---- which ---- */

/* "203.0.113.0/24" as a range; a full prefix is left out.  False: no address. */
static bool
range_of(const struct denial *d, struct cidr_def *range)
{
	const char *text = (const char *)d->key, *slash = memchr(text, '/', d->key_len);
	size_t len = slash != NULL ? (size_t)(slash - text) : d->key_len;
	unsigned bits = 0, most;
	struct address a;

	if (!address_parse(text, len, &a))
		return false;
	most = address_is_v4(&a) ? 32 : 128;
	for (size_t i = len + 1; i < d->key_len && bits <= most; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		bits = bits * 10 + (unsigned)(text[i] - '0');
	}
	if (slash == NULL)
		bits = most;
	if (bits > most)
		return false;
	memset(range, 0, sizeof(*range));
	memcpy(range->address, a.bytes, sizeof(range->address));
	range->bits = (uint8_t)(bits + (128 - most));
	return true;
}

bool
recent_is(const struct denial *d, const unsigned char *key, size_t len)
{
	struct cidr_def range;
	struct address a;

	if (d->key_len == len && memcmp(d->key, key, len) == 0)
		return true;
	return address_parse(key, len, &a) && range_of(d, &range) && address_in(&a, &range);
}

static int
newest(const void *a, const void *b)
{
	const struct denial *x = a, *y = b;

	if (x->shared_ns != y->shared_ns)
		return x->shared_ns < y->shared_ns ? 1 : -1;
	return x->number < y->number ? 1 : x->number > y->number ? -1 : 0;
}

static int
nearest(const void *a, const void *b, void *arg)
{
	const struct denial *x = a, *y = b;
	int64_t at = *(const int64_t *)arg;
	int64_t dx = llabs(x->unix_ns - at), dy = llabs(y->unix_ns - at);

	return dx != dy ? (dx < dy ? -1 : 1) : newest(a, b);
}

bool
recent_find(
    const struct segment *seg, uint64_t now_ns, const struct recent_query *q, struct recent *out)
{
	struct denial d;
	int64_t at = q->unix_ns;

	memset(out, 0, sizeof(*out));
	out->list = calloc(SIDE_DENIALS, sizeof(*out->list));
	if (out->list == NULL)
		return false;
	for (unsigned place = 0; place < SIDE_DENIALS; place++) {
		if (!denials_read(seg, place, now_ns, &d))
			continue;
		out->noted++;
		if (out->back_to == 0 || d.unix_ns < out->back_to)
			out->back_to = d.unix_ns;
		if ((q->limit < 0 || d.limit_id == q->limit) && recent_is(&d, q->key, q->len))
			out->list[out->n++] = d;
	}
	if (at != 0)
		qsort_r(out->list, out->n, sizeof(*out->list), nearest, &at);
	else
		qsort(out->list, out->n, sizeof(*out->list), newest);
	out->n = out->n < q->n ? out->n : q->n;
	return true;
}

void
recent_free(struct recent *d)
{
	free(d->list);
	d->list = NULL;
}

/* ---- who ---- */

/* Up to size - 1 bytes of a file of /proc/PID; how many, -1: it cannot be read. */
static ssize_t
proc_read(uint32_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return -1;
	n = read(fd, buf, size - 1);
	(void)close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* When it was started, BOOTTIME of our time namespace in ns; -1: there is none. */
static int64_t
started_ns(uint32_t pid, char comm[64])
{
	char stat[1024], *open, *end;
	unsigned long long ticks;

	if (proc_read(pid, "stat", stat, sizeof(stat)) <= 0)
		return -1;
	/* The name may hold anything, also brackets. */
	open = strchr(stat, '(');
	end = strrchr(stat, ')');
	if (open == NULL || end == NULL || end < open ||
	    sscanf(end + 1,
		" %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		"%*s %*s %llu",
		&ticks) != 1)
		return -1;
	snprintf(comm, 64, "[%.*s]", (int)(end - open - 1 < 60 ? end - open - 1 : 60), open + 1);
	return (int64_t)(ticks * (1000000000 / (unsigned long long)sysconf(_SC_CLK_TCK)));
}

/* The command line, its arguments with blanks between; of none the name in brackets. */
static void
command_text(uint32_t pid, const char *comm, char text[CALLER_TEXT])
{
	char line[256];
	ssize_t n = proc_read(pid, "cmdline", line, sizeof(line));
	size_t at = 0;

	while (n > 0 && line[n - 1] == '\0')
		n--;
	if (n <= 0)
		n = snprintf(line, sizeof(line), "%s", comm);
	for (ssize_t i = 0; i < n && at + 5 < CALLER_TEXT; i++) {
		char c = line[i] != '\0' ? line[i] : ' ';

		at = (size_t)(vis(text + at, c, VIS_OCTAL | VIS_TAB | VIS_NL | VIS_NOLOCALE, 0) -
		    text);
	}
	text[at] = '\0';
}

enum caller
recent_caller(const struct denial *d, int64_t test_ns, int64_t namespace_ns, char text[CALLER_TEXT])
{
	struct stat st;
	char comm[64];
	int64_t started;

	text[0] = '\0';
	if (d->pid_ns != 0 && stat("/proc/self/ns/pid", &st) == 0 &&
	    (uint32_t)st.st_ino != d->pid_ns)
		return CALLER_FOREIGN;
	if (d->pid == 0 || d->pid > INT32_MAX)
		return CALLER_ENDED;
	started = started_ns(d->pid, comm);
	if (started < 0) /* or /proc shows each user only his own */
		return kill((pid_t)d->pid, 0) == 0 || errno == EPERM ? CALLER_MAY_BE : CALLER_ENDED;
	/* How far the test clock had been moved by then is not known. */
	if (test_ns == 0 && started - namespace_ns > (int64_t)d->shared_ns)
		return CALLER_ANOTHER;
	command_text(d->pid, comm, text);
	return test_ns == 0 && d->pid_ns != 0 ? CALLER_LIVES : CALLER_MAY_BE;
}
