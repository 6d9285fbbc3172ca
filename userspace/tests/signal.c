// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A signal that is not the library's goes to whoever handled it before, as if
 * the library had not been there. So every case runs twice, in a child without
 * the library's handler and in one with it, and the two must be alike: in what
 * the handler saw, in the mask that it ran under, in how the child ended.
 */
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/private.h"
#include "common.h"
#include "wrap.h"

#define WATCHED 5

/* All that a child tells, of at most four calls of its handler. */
struct account {
	int calls;
	struct call {
		int signal, code, value;
		void *addr;
		bool info, blocked[WATCHED];
	} call[4];
	bool blocked[WATCHED]; /* after the last touch that worked */
	int rounds;
	int status;	 /* of waitpid(2) */
	int code;	 /* of the signal that it died of */
	const void *addr;
};

enum cause { TOUCH_SEGV, TOUCH_BUS, KILL_SEGV, KILL_BUS, QUEUE_SEGV, POISON };

static const char *const causes[] = {
	"a touch without rights", "a touch beyond the end", "kill(SIGSEGV)",
	"kill(SIGBUS)", "sigqueue(SIGSEGV)", "early word of bad memory",
};

static struct account *account; /* shared with the children */
static int memfd;
static char *bad;  /* PROT_NONE, until it is mended */
static char *past; /* beyond the end of memfd, likewise */
static enum cause cause;
static bool twice; /* the handler does again what it is called for */

static void look(bool blocked[WATCHED])
{
	static const int watched[WATCHED] = { SIGSEGV, SIGBUS, SIGUSR1, SIGUSR2,
					      SIGTERM };
	sigset_t set;
	int i;

	pthread_sigmask(SIG_SETMASK, NULL, &set);
	for (i = 0; i < WATCHED; i++)
		blocked[i] = sigismember(&set, watched[i]);
}

static void mend(void)
{
	mprotect(bad, page_size(), PROT_READ | PROT_WRITE);
	ftruncate(memfd, page_size());
}

static void spoil(void)
{
	mprotect(bad, page_size(), PROT_NONE);
	ftruncate(memfd, 0);
}

static void send_poison(void)
{
	siginfo_t info = {
		.si_signo = SIGBUS,
		.si_code = BUS_MCEERR_AO,
		.si_addr = bad,
	};

	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info);
}

static void happen(void)
{
	const union sigval value = { .sival_int = 77 };

	switch (cause) {
	case TOUCH_SEGV:
		*(volatile char *)(bad + 7) = 1;
		break;
	case TOUCH_BUS:
		*(volatile char *)(past + 7) = 1;
		break;
	case KILL_SEGV:
		kill(getpid(), SIGSEGV);
		break;
	case KILL_BUS:
		kill(getpid(), SIGBUS);
		break;
	case QUEUE_SEGV:
		sigqueue(getpid(), SIGSEGV, value);
		break;
	case POISON:
		send_poison();
		break;
	}
}

static struct call *note(int signal)
{
	struct call *call = &account->call[account->calls++ % 4];

	call->signal = signal;
	look(call->blocked);
	if (twice && account->calls == 1)
		happen();
	mend();
	return call;
}

static void on_plain(int signal)
{
	note(signal);
}

static void on_info(int signal, siginfo_t *info, void *context)
{
	struct call *call = note(signal);

	call->info = context;
	call->code = info->si_code;
	if (info->si_code > 0)
		call->addr = info->si_addr;
	else
		call->value = info->si_value.sival_int;
}

static void watch_end(pid_t pid)
{
	siginfo_t info;
	int status;

	while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		if (!ptrace(PTRACE_GETSIGINFO, pid, NULL, &info)) {
			account->code = info.si_code;
			account->addr = info.si_code > 0 ? info.si_addr : NULL;
		}
		ptrace(PTRACE_CONT, pid, NULL, WSTOPSIG(status));
	}
	account->status = status;
	if (!WIFSIGNALED(status)) {
		account->code = 0;
		account->addr = NULL;
	}
}

/* How a child ends that runs @body. */
static struct account in_child(void (*body)(void *arg), void *arg)
{
	const struct rlimit none = { 0, 0 };
	pid_t pid;

	memset(account, 0, sizeof(*account));
	spoil();
	fflush(NULL);
	pid = fork();
	need(pid < 0 ? -errno : 0, "fork");
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		body(arg);
		_exit(0);
	}
	watch_end(pid);
	return *account;
}

struct setting {
	struct sigaction action;
	bool installed;
};

static void run_setting(void *arg)
{
	struct setting *setting = arg;
	sigset_t term;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	pthread_sigmask(SIG_SETMASK, &term, NULL);
	sigaction(SIGSEGV, &setting->action, NULL);
	sigaction(SIGBUS, &setting->action, NULL);
	if (setting->installed)
		need(mmapdev_signal_install(), "install");

	for (; account->rounds < 2; account->rounds++) {
		spoil();
		happen();
		look(account->blocked);
	}
}

static bool alike(const struct account *a, const struct account *b)
{
	return !memcmp(a, b, sizeof(*a));
}

static void show(const char *who, const struct account *a)
{
	int i;

	printf("#   %s: %d rounds, status %#x, code %d, addr %p, %d calls\n",
	       who, a->rounds, a->status, a->code, a->addr, a->calls);
	for (i = 0; i < a->calls && i < 4; i++)
		printf("#     signal %d code %d value %d addr %p mask "
		       "%d%d%d%d%d\n", a->call[i].signal, a->call[i].code,
		       a->call[i].value, a->call[i].addr,
		       a->call[i].blocked[0], a->call[i].blocked[1],
		       a->call[i].blocked[2], a->call[i].blocked[3],
		       a->call[i].blocked[4]);
}

static void compare(const struct sigaction *action, const char *handler)
{
	struct setting setting = { .action = *action };
	struct account without, with;

	without = in_child(run_setting, &setting);
	setting.installed = true;
	with = in_child(run_setting, &setting);
	if (!ok(alike(&without, &with), "%s%s: %s, flags %#x", causes[cause],
		twice ? ", again in the handler" : "", handler,
		action->sa_flags)) {
		show("without", &without);
		show("with", &with);
	}
}

static void compare_flags(void)
{
	static const int flags[] = {
		0, SA_NODEFER, SA_RESETHAND, SA_RESETHAND | SA_NODEFER
	};
	struct sigaction action = { 0 };
	size_t i;

	sigaddset(&action.sa_mask, SIGUSR1);
	for (i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		action.sa_flags = flags[i];
		action.sa_handler = on_plain;
		compare(&action, "a handler");
		action.sa_flags = flags[i] | SA_SIGINFO;
		action.sa_sigaction = on_info;
		compare(&action, "a handler with siginfo");
	}
}

static void test_alike(void)
{
	struct sigaction action = { 0 };

	for (cause = TOUCH_SEGV; cause <= POISON; cause++) {
		twice = false;
		action.sa_handler = SIG_DFL;
		compare(&action, "nobody");
		action.sa_handler = SIG_IGN;
		compare(&action, "ignored");
		compare_flags();
		twice = true;
		compare_flags();
	}
	twice = false;
}

/* That the comparison above compares something. */
static void test_known(void)
{
	struct setting setting = { .installed = true };
	struct account a;

	cause = TOUCH_BUS;
	a = in_child(run_setting, &setting);
	ok(WIFSIGNALED(a.status) && WTERMSIG(a.status) == SIGBUS,
	   "who touches beyond the end dies of SIGBUS");
	ok(a.code == BUS_ADRERR && a.addr == past + 7,
	   "and its core file would say where");

	cause = TOUCH_SEGV;
	setting.action.sa_flags = SA_SIGINFO;
	setting.action.sa_sigaction = on_info;
	sigaddset(&setting.action.sa_mask, SIGUSR1);
	a = in_child(run_setting, &setting);
	is(a.calls, 2, "a handler is called for each of two faults");
	ok(a.call[0].addr == bad + 7 && a.call[0].code == SEGV_ACCERR &&
	   a.call[0].info, "with the siginfo of the fault");
	ok(a.call[0].blocked[0] && a.call[0].blocked[2] &&
	   a.call[0].blocked[4] && !a.blocked[0] && !a.blocked[2] &&
	   a.blocked[4],
	   "under its mask, and that ends with it");
}

/* errno is the interrupted code's. */
static void spoil_errno(int signal)
{
	note(signal);
	errno = ENOTTY;
}

static void run_errno(void *arg)
{
	(void)arg;
	signal(SIGSEGV, spoil_errno);
	need(mmapdev_signal_install(), "install");
	errno = EDOM;
	happen();
	if (errno != EDOM)
		_exit(1);
}

static sigjmp_buf back;

static void jump_back(int signal)
{
	siglongjmp(back, signal);
}

static void run_jump(void *arg)
{
	(void)arg;
	signal(SIGSEGV, jump_back);
	need(mmapdev_signal_install(), "install");
	if (!sigsetjmp(back, 1))
		happen();
	look(account->blocked);
	if (account->blocked[0])
		_exit(1);
	if (!sigsetjmp(back, 1))
		happen();
}

static void run_unset(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	need(mmapdev_signal_install(), "install");
	wrap_fail(W_SIGACTION, INT_MAX, EPERM);
	happen();
}

static void leave(int signal)
{
	(void)signal;
	_exit(3);
}

static int __attribute__((noinline)) deeper(int n)
{
	volatile char frame[4096];

	frame[0] = n;
	return n ? deeper(n - 1) + frame[0] : 0;
}

static void *overflow(void *arg)
{
	static char stack[64 * 1024];
	const stack_t alternate = {
		.ss_sp = stack,
		.ss_size = sizeof(stack),
	};

	(void)arg;
	sigaltstack(&alternate, NULL);
	deeper(1 << 20);
	return NULL;
}

static void run_overflow(void *arg)
{
	const struct sigaction action = {
		.sa_handler = leave,
		.sa_flags = SA_ONSTACK,
	};
	pthread_t thread;

	(void)arg;
	sigaction(SIGSEGV, &action, NULL);
	need(mmapdev_signal_install(), "install");
	need(-pthread_create(&thread, NULL, overflow, NULL), "thread");
	pthread_join(thread, NULL);
}

static struct sigaction library;

static void pass_to_library(int signal, siginfo_t *info, void *context)
{
	bool before[WATCHED], after[WATCHED];

	look(before);
	library.sa_sigaction(signal, info, context);
	look(after);
	account->rounds = !memcmp(before, after, sizeof(before));
}

/* Who came after us and before us. */
static void run_between(void *arg)
{
	struct sigaction first = { .sa_handler = on_plain };
	const struct sigaction last = {
		.sa_sigaction = pass_to_library,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};

	(void)arg;
	sigaddset(&first.sa_mask, SIGUSR1);
	sigaction(SIGSEGV, &first, NULL);
	need(mmapdev_signal_install(), "install");
	sigaction(SIGSEGV, &last, &library);
	happen();
}

static void test_between(void)
{
	struct account a;

	a = in_child(run_between, NULL);
	ok(!a.status && a.calls == 1 && a.call[0].blocked[0] &&
	   a.call[0].blocked[2], "one who came later may pass it on to us");
	is(a.rounds, 1, "and has its own mask again when we return");
}

static void run_restart(void *arg)
{
	struct sigaction action = {
		.sa_handler = on_plain,
		.sa_flags = *(int *)arg,
	};

	sigaction(SIGSEGV, &action, NULL);
	need(mmapdev_signal_install(), "install");
	sigaction(SIGSEGV, NULL, &action);
	_exit((action.sa_flags & SA_RESTART) != *(int *)arg);
}

static void test_restart(void)
{
	int flags = SA_RESTART;

	is(in_child(run_restart, &flags).status, 0,
	   "system calls go on where they did");
	flags = 0;
	is(in_child(run_restart, &flags).status, 0,
	   "and are interrupted where they were");
}

static void install_again(int signal)
{
	(void)signal;
	account->rounds++;
	need(mmapdev_signal_install(), "install");
}

static void interrupt(enum wrapped call)
{
	if (call == W_SIGACTION)
		raise(SIGUSR1);
}

static void run_interrupted(void *arg)
{
	(void)arg;
	signal(SIGUSR1, install_again);
	wrap_before(interrupt);
	need(mmapdev_signal_install(), "install");
	wrap_before(NULL);
}

static void test_others(void)
{
	struct account a;
	int status;

	cause = TOUCH_SEGV;
	is(in_child(run_errno, NULL).status, 0,
	   "errno is as it was when the handler has changed it");
	is(in_child(run_jump, NULL).status, 0,
	   "a handler may leave by siglongjmp, twice");
	status = in_child(run_overflow, NULL).status;
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 3,
	   "who handles the overflow of a stack still does");
	a = in_child(run_interrupted, NULL);
	ok(!a.status && a.rounds, "a handler may come while it is installed");
	status = in_child(run_unset, NULL).status;
	ok(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV,
	   "where SIG_DFL cannot be set again, the process dies all the same");
}

/* Calls of sigaction(2) to come, of which those in fail_from..to fail. */
static int nth, fail_from, fail_to;

static void fail_nth(enum wrapped call)
{
	if (call == W_SIGACTION && ++nth >= fail_from && nth <= fail_to)
		wrap_fail(W_SIGACTION, 1, EPERM);
}

static bool is_default(int signal)
{
	struct sigaction now;

	wrap_before(NULL);
	sigaction(signal, NULL, &now);
	return now.sa_handler == SIG_DFL;
}

static void run_refused(void *arg)
{
	bool undone = *(bool *)arg;

	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	wrap_before(fail_nth);
	if (mmapdev_signal_install() != -EPERM)
		_exit(1);
	wrap_before(NULL);
	if (undone && (!is_default(SIGSEGV) || !is_default(SIGBUS)))
		_exit(2);
	if (mmapdev_signal_install() || is_default(SIGSEGV) ||
	    is_default(SIGBUS))
		_exit(3);
	happen();
}

static void test_refused(void)
{
	bool undone = true;
	struct account a;

	cause = TOUCH_SEGV;
	for (fail_from = 1; fail_from <= 4; fail_from++) {
		fail_to = fail_from;
		a = in_child(run_refused, &undone);
		ok(WIFSIGNALED(a.status) && a.addr == bad + 7,
		   "sigaction %d fails: nothing is left, the next time works",
		   fail_from);
	}
	/* The fifth would undo the second. */
	undone = false;
	fail_from = 4;
	fail_to = 5;
	a = in_child(run_refused, &undone);
	ok(WIFSIGNALED(a.status) && a.addr == bad + 7,
	   "what could not be undone is found there the next time");
}

/* Between the two calls, that which asks and that which sets. */
static void come_between(enum wrapped call)
{
	if (call == W_SIGACTION && ++nth == 2)
		signal(SIGSEGV, on_plain);
}

static void run_late(void *arg)
{
	(void)arg;
	signal(SIGSEGV, SIG_DFL);
	nth = 0;
	wrap_before(come_between);
	need(mmapdev_signal_install(), "install");
	wrap_before(NULL);
	happen();
}

static void test_late(void)
{
	struct account a = in_child(run_late, NULL);

	ok(!a.status && a.calls == 1,
	   "who comes in the midst of it is not forgotten");
}

static void *install(void *arg)
{
	int *wrong = arg;
	bool blocked[WATCHED];

	if (mmapdev_signal_install())
		__atomic_add_fetch(wrong, 1, __ATOMIC_RELAXED);
	look(blocked);
	if (blocked[0] || blocked[1] || blocked[2])
		__atomic_add_fetch(wrong, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[8];
	int wrong = 0, i;

	wrap_reset();
	for (i = 0; i < 8; i++)
		need(-pthread_create(&threads[i], NULL, install, &wrong),
		     "pthread_create");
	for (i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	is(wrong, 0, "eight threads install it at once");
	is(wrap_calls(W_SIGACTION), 4, "and one of them does");
}

int main(void)
{
	memfd = memfd_create("signal", MFD_CLOEXEC);
	need(memfd < 0 ? -errno : 0, "memfd_create");
	bad = mmap(NULL, page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	past = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
		    memfd, 0);
	account = mmap(NULL, sizeof(*account), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	need(bad == MAP_FAILED || past == MAP_FAILED || account == MAP_FAILED ?
		     -errno : 0, "mmap");

	test_alike();
	test_known();
	test_others();
	test_between();
	test_restart();
	test_refused();
	test_late();
	test_threads();
	return done();
}
