/*
 * test_seccomp.c - no system call in an acquire: a child that has opened an instance goes into
 * seccomp's strict mode, where anything but read, write and exit is death, and makes a
 * million calls of all kinds through the shared object.  Another goes under a filter that
 * names the call it trapped.
 *
 * On x86 strict mode also forbids to read the time stamp counter, by which the vDSO knows the
 * precise time.  That is no system call: the child answers the fault itself.
 *
 * usage: test_seccomp LIBRATION.SO
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "fixture.h"

#define CALLS 1000000u

/* Sanitizers make system calls of their own, and bring libraries along. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const char policy[] = "limits:\n"
			     "  open: 1000000000/min\n"
			     "  none: 10/hour\n"
			     "  two: [1000000000/min, 1000000000/s]\n"
			     "  month: 1000000000000/month\n"
			     "  bucket: 1000000/s burst 1000\n"
			     "  new: 5/s\n"
			     "upstreams: {x: {limit: [1000000/s, 1000000000/min]}}\n";

/* As a user's program gets them. */
struct library {
	int (*open_dir)(const char *, const char *, unsigned, ration_t **);
	int (*acquire)(ration_t *, const char *, const char *, uint64_t, ration_decision_t *);
	int (*acquire_all)(ration_t *, const ration_claim_t *, size_t, ration_decision_t *);
	int (*peek)(ration_t *, const char *, const char *, uint64_t, ration_decision_t *);
	int (*refund)(ration_t *, const ration_decision_t *, uint64_t);
	int (*key)(ration_t *, const char *, const void *, size_t, ration_key_t *);
	int (*key_acquire)(ration_t *, ration_key_t *, uint64_t, ration_decision_t *);
	int (*upstream)(ration_t *, const char *, ration_upstream_t *);
	int (*begin)(ration_t *, ration_upstream_t *, uint64_t, ration_attempt_t *);
	int (*end)(ration_t *, ration_upstream_t *, ration_attempt_t *, int, const ration_attr_t *,
	    size_t);
};

struct page {
	_Atomic uint64_t admitted, denied, failed, calls;
	_Atomic int trapped; /* number of the system call */
};

static const char *library_path;
static struct library lib;
static struct page *page;
static ration_upstream_t upstream; /* the child's */

static void
load_library(void)
{
	void *so = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);

	if (so == NULL)
		fail_msg("%s", dlerror());
	*(void **)&lib.open_dir = dlsym(so, "ration_open_dir");
	*(void **)&lib.acquire = dlsym(so, "ration_acquire");
	*(void **)&lib.acquire_all = dlsym(so, "ration_acquire_all");
	*(void **)&lib.peek = dlsym(so, "ration_peek");
	*(void **)&lib.refund = dlsym(so, "ration_refund");
	*(void **)&lib.key = dlsym(so, "ration_key");
	*(void **)&lib.key_acquire = dlsym(so, "ration_key_acquire");
	*(void **)&lib.upstream = dlsym(so, "ration_upstream");
	*(void **)&lib.begin = dlsym(so, "ration_upstream_begin");
	*(void **)&lib.end = dlsym(so, "ration_upstream_end");
	assert_true(lib.upstream != NULL && lib.begin != NULL && lib.end != NULL);
	assert_true(lib.open_dir != NULL && lib.acquire != NULL && lib.acquire_all != NULL &&
	    lib.peek != NULL && lib.refund != NULL && lib.key != NULL && lib.key_acquire != NULL);
	assert_ptr_not_equal(*(void **)&lib.acquire, (void *)(uintptr_t)&ration_acquire);
}

/* ---- in the child: from here on no system call, so nothing of libc that may make one ---- */

static void
key_text(char *out, unsigned n)
{
	for (unsigned i = 0; i < 8; i++)
		out[i] = (char)('a' + (n >> (4 * i) & 15));
	out[8] = '\0';
}

/* A request to somebody else; sometimes nothing is left, or it asks for a pause. */
static int
one_request(ration_t *r, unsigned i)
{
	static const ration_attr_t headers[] = {
		{ sizeof(headers[0]), "X-RateLimit-Limit", "100", 3 },
		{ sizeof(headers[0]), "X-RateLimit-Remaining", "99", 2 },
		{ sizeof(headers[0]), "X-RateLimit-Reset", "1", 1 },
		{ sizeof(headers[0]), "Date", "Thu, 01 Jan 2026 00:00:00 GMT", 29 },
		{ sizeof(headers[0]), "Retry-After", "0", 1 },
	};
	ration_attempt_t a = { .size = sizeof(a) };
	int v = lib.begin(r, &upstream, 1, &a);

	if (v != RATION_ADMITTED || i % 4096 == 0)
		return v;
	return lib.end(r, &upstream, &a, i % 1000 == 0 ? 429 : 200, headers, 5) == 0
	    ? RATION_ADMITTED
	    : RATION_EINVAL;
}

static int
one_call(
    ration_t *r, ration_key_t *open_key, ration_key_t *none_key, unsigned i, ration_decision_t *d)
{
	static const char *const limits[] = { "open", "none", "two", "month", "bucket" };
	ration_claim_t claims[3];
	char key[16];

	for (unsigned k = 0; k < 3; k++)
		claims[k] =
		    (ration_claim_t) { sizeof(claims[k]), limits[k == 1 ? 3 : k], "k", 1, 1 };
	switch (i % 13) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
		return lib.acquire(r, limits[i % 13], "k", 1, d);
	case 5:
		return lib.key_acquire(r, open_key, 1, d);
	case 6:
		return lib.key_acquire(r, none_key, 1, d);
	case 7:
		return lib.acquire_all(r, claims, 3, d);
	case 8:
		return lib.peek(r, "open", "k", 1, d);
	case 9:
		(void)lib.acquire(r, "two", "k", 3, d);
		return lib.refund(r, d, 2) == 0 ? RATION_ADMITTED : RATION_ESTALE;
	case 10: /* a new key now and then, until the table is full, and then still */
		key_text(key, i / 240);
		return lib.acquire(r, "new", key, 1, d);
	case 11:
		return one_request(r, i);
	default:
		claims[1].limit = "none";
		return lib.acquire_all(r, claims, 3, d);
	}
}

static void
call_often(ration_t *r, ration_key_t *open_key, ration_key_t *none_key)
{
	ration_decision_t d = RATION_DECISION_INIT;

	for (unsigned i = 0; i < CALLS; i++) {
		int v = one_call(r, open_key, none_key, i, &d);

		(void)atomic_fetch_add(&page->calls, 1);
		(void)atomic_fetch_add(v == RATION_ADMITTED ? &page->admitted
			: v == RATION_DENIED                ? &page->denied
							    : &page->failed,
		    1);
	}
}

static void __attribute__((noreturn)) leave(long status)
{
	for (;;) /* exit_group is not allowed */
		(void)syscall(SYS_exit, status);
}

static void
on_trap(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	atomic_store(&page->trapped, info->si_syscall + 1);
	leave(3);
}

#ifdef __x86_64__
/* rdtsc and rdtscp read 0: then the vDSO gives the time of the last timer tick. */
static void
on_fault(int sig, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const unsigned char *at = (const unsigned char *)(uintptr_t)regs[REG_RIP];

	(void)sig;
	(void)info;
	if (at[0] == 0x0f && at[1] == 0x31)
		regs[REG_RIP] += 2;
	else if (at[0] == 0x0f && at[1] == 0x01 && at[2] == 0xf9)
		regs[REG_RIP] += 3;
	else
		leave(4);
	regs[REG_RAX] = regs[REG_RDX] = regs[REG_RCX] = 0;
}
#endif

static void
go_strict(void)
{
#ifdef __x86_64__
	struct sigaction act = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGSEGV, &act, NULL) != 0)
		leave(77);
#endif
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0)
		leave(77);
}

static void
go_trapping(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(filter) / sizeof(filter[0]), filter };
	struct sigaction act = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };

	if (sigaction(SIGSYS, &act, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		leave(77);
}

/* Returns the child's wait status. */
static int
in_child(const struct fixture *f, void (*confine)(void), bool stray)
{
	int status = -1;
	pid_t pid;

	memset(page, 0, sizeof(*page));
	(void)fflush(NULL);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		ration_key_t open_key, none_key;
		ration_t *r;

		if (lib.open_dir(f->dir, "t", 0, &r) != 0 ||
		    lib.key(r, "open", "h", 1, &open_key) != 0 ||
		    lib.key(r, "none", "h", 1, &none_key) != 0 ||
		    lib.upstream(r, "x", &upstream) != 0)
			leave(2);
		confine();
		if (stray)
			(void)syscall(SYS_getpid);
		call_often(r, &open_key, &none_key);
		leave(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

/* ---- */

static void
check_calls(const struct fixture *f, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	if (atomic_load(&page->trapped) != 0)
		fail_msg("system call %d in an acquire", atomic_load(&page->trapped) - 1);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("the child ended with status %#x after %llu calls", (unsigned)status,
		    (unsigned long long)atomic_load(&page->calls));
	assert_int_equal(atomic_load(&page->calls), CALLS);
	assert_int_equal(atomic_load(&page->failed), 0);
	/* All kinds of answers were among them. */
	assert_true(atomic_load(&page->admitted) > CALLS / 2);
	assert_true(atomic_load(&page->denied) > CALLS / 8);
	assert_true(atomic_load(&f->seg.head->full_deny) > 0);
}

static void
test_confined(void **state)
{
	void (*const confine[])(void) = { go_strict, go_trapping };
	struct fixture f;

	(void)state;
	if (SANITIZED)
		skip();
	for (unsigned i = 0; i < 2; i++) {
		fixture_open(&f, policy, 1024);
		check_calls(&f, in_child(&f, confine[i], false));
		fixture_close(&f);
	}
}

/* That the two would have noticed. */
static void
test_stray(void **state)
{
	struct fixture f;
	int status;

	(void)state;
	if (SANITIZED)
		skip();
	fixture_open(&f, policy, 1024);
	status = in_child(&f, go_strict, true);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	status = in_child(&f, go_trapping, true);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 3);
	assert_int_equal(atomic_load(&page->trapped), SYS_getpid + 1);
	fixture_close(&f);
}

/* The library is linked into other people's programs: it brings nothing along. */
static void
test_needed(void **state)
{
	char command[1200], line[512];
	unsigned needed = 0;
	FILE *fp;

	(void)state;
	if (SANITIZED)
		skip();
	(void)snprintf(command, sizeof(command), "readelf -d '%s'", library_path);
	fp = popen(command, "r");
	assert_non_null(fp);
	while (fgets(line, sizeof(line), fp) != NULL) {
		if (strstr(line, "(NEEDED)") == NULL)
			continue;
		needed++;
		if (strstr(line, "[libc.so.") == NULL)
			fail_msg("libration.so needs more than libc: %s", line);
	}
	assert_int_equal(pclose(fp), 0);
	assert_int_equal(needed, 1);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_confined),
		cmocka_unit_test(test_stray), cmocka_unit_test(test_needed) };

	if (argc != 2)
		return 2;
	library_path = argv[1];
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return 1;
	load_library();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
