/*
 * test_lease_kill.c - holders of leases that are killed at random moments, without rationd: while
 * they hold one, take one, give one back; after they have forked children that live on, also from
 * another thread just while they became holders; after they passed all their descriptors to a
 * process that lives on; and holders that exec.
 *
 * Every lease is free again within two seconds of its holder's end, and at no time do more
 * processes know that they hold one than the limit allows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "atomics.h"
#include "audit.h"
#include "crowd.h"

#define KEYS 5u
#define PERMITS 40u
#define HOLDERS 250u
#define BACK_NS UINT64_C(2000000000)

enum way { HOLD, CHURN, FORK, FORK_MEANWHILE, PASS, EXEC, WAYS };
static const char *const way_names[] = { "holding", "taking and releasing", "forked",
	"forked while taking", "passed descriptors", "exec'ed" };

/* What all share.  A process killed has `dying` set before. */
struct board {
	_Atomic uint64_t know[HOLDERS]; /* changes(63) holds one(1) */
	_Atomic uint32_t dying[HOLDERS];
	_Atomic uint32_t round; /* orphans of another end */
	_Atomic uint32_t norphans;
	_Atomic uint32_t too_many; /* how many did */
	_Atomic uint32_t wrong;    /* -error of a call that must not fail */
	_Atomic uint32_t granted[WAYS];
};

static struct crowd *c;
static struct board *b;
static bool long_run;
static uint64_t slowest_ns;

static uint64_t
mono_ns(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void
pause_us(uint64_t us)
{
	const struct timespec t = { 0, (long)us * 1000 };

	(void)nanosleep(&t, NULL);
}

static void
key_of(unsigned who, char text[16])
{
	(void)snprintf(text, 16, "key:%u", who % KEYS);
}

/* ---- a holder ---- */

/* Two equal pictures are one of a moment. */
static void
count_holders(unsigned key)
{
	uint64_t seen[HOLDERS];
	unsigned n = 0;

	for (unsigned i = key; i < HOLDERS; i += KEYS)
		seen[i] = atomic_load(&b->know[i]);
	for (unsigned i = key; i < HOLDERS; i += KEYS) {
		n += (seen[i] & 1) != 0 && atomic_load(&b->dying[i]) == 0;
		if (atomic_load(&b->know[i]) != seen[i])
			return;
	}
	if (n > PERMITS)
		atomic_store(&b->too_many, n);
}

static void
know(unsigned who)
{
	(void)atomic_fetch_add(&b->know[who], 1); /* odd: one is held; even: none */
}

static void
take(unsigned who, ration_t *r, ration_lease_t *l, uint64_t *random)
{
	char key[16];
	int v;

	key_of(who, key);
	for (;;) {
		v = ration_lease(r, "s", key, strlen(key), 0, l, NULL);
		if (v == RATION_ADMITTED)
			break;
		if (v != RATION_DENIED && v != RATION_EBUSY)
			atomic_store(&b->wrong, (uint32_t)-v);
		pause_us(500 + test_random(random) % 3000);
	}
	know(who);
	count_holders(who % KEYS);
}

static void
give(unsigned who, ration_t *r, ration_lease_t *l)
{
	int e;

	know(who);
	e = ration_release(r, l);
	if (e != 0)
		atomic_store(&b->wrong, (uint32_t)-e);
}

/* Until it is killed; also if the test ends before. */
static void __attribute__((noreturn)) rest(void)
{
	for (;;)
		(void)pause();
}

/* One that lives on, whatever becomes of its parent. */
static void
child(void)
{
	uint32_t round = atomic_load(&b->round);

	if (fork() != 0)
		return;
	(void)atomic_fetch_add(&b->norphans, 1);
	for (unsigned i = 0; i < 1000 && atomic_load(&b->round) == round; i++)
		pause_us(20000);
	_exit(0);
}

static void *
children(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < 3; i++)
		child();
	return NULL;
}

/* All descriptors that there are, but the socket too. */
static void
pass_on(int sock)
{
	int fds[64];
	size_t n = 0;
	char byte = 0, control[CMSG_SPACE(sizeof(fds))] = { 0 };
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	struct cmsghdr *h;

	for (int fd = 0; fd < 256 && n < 64; fd++)
		if (fcntl(fd, F_GETFD) != -1)
			fds[n++] = fd;
	msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
	h = CMSG_FIRSTHDR(&msg);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(h), fds, n * sizeof(int));
	if (sendmsg(sock, &msg, 0) != 1)
		atomic_store(&b->wrong, 1000);
}

static void __attribute__((noreturn)) hold(unsigned who, enum way way, int sock)
{
	uint64_t random = c->seed ^ (uint64_t)who << 40 ^ (uint64_t)getpid() << 20;
	ration_t *r = crowd_handle(c);
	ration_lease_t l;
	pthread_t thread;

	if (way == FORK_MEANWHILE && pthread_create(&thread, NULL, children, NULL) != 0)
		_exit(1);
	take(who, r, &l, &random);
	(void)atomic_fetch_add(&b->granted[way], 1);
	switch (way) {
	case FORK:
		child();
		child();
		break;
	case PASS:
		pass_on(sock);
		break;
	case EXEC:
		atomic_store(&b->dying[who], 1);
		(void)execl("/bin/sleep", "sleep", "60", (char *)NULL);
		_exit(1);
	case CHURN:
		for (;;) {
			uint64_t dice = test_random(&random);

			give(who, r, &l);
			if (dice % 8 == 0)
				pause_us(dice >> 8 & 255);
			take(who, r, &l, &random);
			if (dice >> 32 & 1)
				pause_us(dice >> 40 & 127);
		}
	default:
		break;
	}
	rest();
}

/* Receives descriptors, keeps them and lives on. */
static pid_t
keeper(int sock)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		char byte, control[CMSG_SPACE(64 * sizeof(int))];
		struct iovec iov = { &byte, 1 };
		struct msghdr msg = { .msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control) };

		if (recvmsg(sock, &msg, 0) < 1)
			rest();
	}
}

/* ---- a round ---- */

static bool
has_execed(pid_t pid)
{
	char path[64], name[32] = "";
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return false;
	if (read(fd, name, sizeof(name) - 1) < 0)
		name[0] = '\0';
	(void)close(fd);
	return strncmp(name, "sleep", 5) == 0;
}

static void
end(pid_t pid)
{
	int status;

	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* All of a key's permits, and no more; as soon as they are to be had.  Returns ns. */
static uint64_t
take_all(unsigned key)
{
	static ration_lease_t l[PERMITS + 1];
	uint64_t begin = mono_ns(), took;
	char text[16];
	unsigned n = 0;

	key_of(key, text);
	while (n < PERMITS && mono_ns() - begin < BACK_NS)
		if (ration_lease(c->f.r, "s", text, strlen(text), 0, &l[n], NULL) ==
		    RATION_ADMITTED)
			n++;
		else
			pause_us(1000);
	took = mono_ns() - begin;
	if (n < PERMITS)
		fail_msg("of %u leases of %s %u are free after 2 s", PERMITS, text, n);
	assert_int_equal(
	    ration_lease(c->f.r, "s", text, strlen(text), 0, &l[n], NULL), RATION_DENIED);
	while (n-- > 0)
		assert_int_equal(ration_release(c->f.r, &l[n]), 0);
	return took;
}

static enum way
way_of(unsigned who)
{
	return (enum way)(who / KEYS % WAYS);
}

static void
start_round(pid_t *pids, int sock)
{
	(void)fflush(NULL);
	memset(b->know, 0, sizeof(b->know));
	memset(b->dying, 0, sizeof(b->dying));
	for (unsigned i = 0; i < HOLDERS; i++) {
		pids[i] = fork();
		if (pids[i] == -1)
			err(1, "fork");
		if (pids[i] == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			hold(i, way_of(i), sock);
		}
	}
}

/* All but those who exec: they have lost their leases without an end. */
static void
kill_holders(const pid_t *pids, uint64_t *random)
{
	unsigned order[HOLDERS];

	for (unsigned i = 0; i < HOLDERS; i++) {
		unsigned k = (unsigned)(test_random(random) % (i + 1));

		order[i] = order[k];
		order[k] = i;
	}
	for (unsigned i = 0; i < HOLDERS; i++) {
		if (way_of(order[i]) == EXEC)
			continue;
		atomic_store(&b->dying[order[i]], 1);
		end(pids[order[i]]);
		if (i % 16 == 0)
			pause_us(test_random(random) % 1000);
	}
}

/* Those who exec'ed live on, and so do the children; the leases are free. */
static void
check_round(const pid_t *pids, unsigned round)
{
	for (unsigned i = 0; i < HOLDERS; i++) {
		if (way_of(i) != EXEC)
			continue;
		for (unsigned k = 0; !has_execed(pids[i]); k++) {
			if (k == 2000)
				fail_msg("round %u: %u has not exec'ed", round, i);
			pause_us(1000);
		}
	}
	for (unsigned key = 0; key < KEYS; key++) {
		uint64_t took = take_all(key);

		slowest_ns = took > slowest_ns ? took : slowest_ns;
	}
	for (unsigned i = 0; i < HOLDERS; i++)
		if (way_of(i) == EXEC)
			end(pids[i]);
}

static void
test_killed(void **state)
{
	unsigned rounds = long_run ? 20 : 4;
	uint64_t random;
	pid_t pids[HOLDERS], kept;
	struct audit_counts n;
	int sock[2];

	(void)state;
	random = test_seed();
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	c = crowd_new("limits:\n  s: {rates: 40 concurrent}\n", 256, 0, random);
	b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(b != MAP_FAILED);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
	for (unsigned round = 0; round < rounds; round++) {
		kept = keeper(sock[1]);
		start_round(pids, sock[0]);
		pause_us(test_random(&random) % 30000);
		kill_holders(pids, &random);
		check_round(pids, round);
		end(kept);
		(void)atomic_fetch_add(&b->round, 1);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		assert_int_equal(atomic_load(&b->too_many), 0);
		assert_int_equal(atomic_load(&b->wrong), 0);
	}
	for (unsigned i = 0; i < WAYS; i++)
		print_message("  %s: %u granted\n", way_names[i], atomic_load(&b->granted[i]));
	print_message("  %u holders; taken from the dead: %" PRIu64 "; slowest %" PRIu64 " ms\n",
	    rounds * HOLDERS, atomic_load(&c->f.seg.head->reaped), slowest_ns / 1000000);
	for (unsigned i = 0; i < WAYS; i++)
		assert_true(atomic_load(&b->granted[i]) > 0);
	assert_true(atomic_load(&c->f.seg.head->reaped) > rounds * HOLDERS / 4);
	assert_int_equal(atomic_load(&c->f.seg.head->scribbles), 0);
	assert_int_equal(audit_table(&c->f.seg, false, &n), 0);
	print_message("  %u children lived on\n", atomic_load(&b->norphans));
	assert_true(atomic_load(&b->norphans) > rounds * HOLDERS / WAYS);
	while (waitpid(-1, NULL, 0) > 0)
		;
	(void)close(sock[0]);
	(void)close(sock[1]);
	crowd_free(c);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
	};

	long_run = argc > 1 && strcmp(argv[1], "--long") == 0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
