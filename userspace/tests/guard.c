// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Touches that fail, under guards. What needs a process of its own (another
 * handler before the library's, an end by a signal) runs in a child, and the
 * children come first, for the parent has the library's handler ever after.
 */
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "../lib/private.h"
#include "common.h"
#include "wrap.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#define SANITIZED                                                              \
	(__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define SANITIZED false
#endif

/* Who blocks all signals in handlers of sent ones, and sets errno in all. */
#ifdef __SANITIZE_THREAD__
#define TSAN true
#else
#define TSAN false
#endif

#define NOINLINE __attribute__((noinline))

static char *memory; /* a page that can be touched, and one that cannot */
static char *bad;

static void NOINLINE read_byte(const volatile char *at)
{
	(void)*at;
}

static void NOINLINE write_byte(volatile char *at)
{
	*at = 1;
}

static int NOINLINE reading(const void *base, size_t length, const char *at,
			    const void **addr)
{
	struct mmapdev_guard guard;
	int ret;

	if (!mmapdev_guard_begin(&guard, base, length))
		read_byte(at);
	ret = mmapdev_guard_end(&guard);
	if (addr)
		*addr = guard.addr;
	return ret;
}

static int NOINLINE writing(const void *base, size_t length, char *at,
			    const void **addr)
{
	struct mmapdev_guard guard;
	int ret;

	if (!mmapdev_guard_begin(&guard, base, length))
		write_byte(at);
	ret = mmapdev_guard_end(&guard);
	if (addr)
		*addr = guard.addr;
	return ret;
}

/* Of waitpid(2), for a child that runs @body and exits with what it returns. */
static int in_child(int (*body)(void))
{
	const struct rlimit none = { 0, 0 };
	int status = -1;
	pid_t pid;

	pid = fork();
	need(pid < 0 ? -errno : 0, "fork");
	if (!pid) {
		setrlimit(RLIMIT_CORE, &none);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(body());
	}
	waitpid(pid, &status, 0);
	return status;
}

static bool died_of(int status, int signal)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

static void leave(int signal)
{
	_exit(signal);
}

static int handled_signals(void)
{
	signal(SIGSEGV, leave);
	signal(SIGBUS, leave);
	return reading(bad + 8, 8, bad + 8, NULL) != -EACCES ||
	       reading(bad + 8, 8, bad + 15, NULL) != -EACCES;
}

static int touches_before(void)
{
	return handled_signals() || reading(bad + 8, 8, bad + 7, NULL);
}

static int touches_behind(void)
{
	return handled_signals() || reading(bad + 8, 8, bad + 16, NULL);
}

static int touches_by_empty(void)
{
	return handled_signals() || reading(bad, 0, bad, NULL);
}

static int NOINLINE touches_after_failure(void)
{
	struct mmapdev_guard guard;

	if (handled_signals())
		return 1;
	if (!mmapdev_guard_begin(&guard, bad, page_size()))
		read_byte(bad);
	else
		read_byte(bad);
	return mmapdev_guard_end(&guard);
}

static int touches_after_end(void)
{
	if (handled_signals() || reading(bad, page_size(), memory, NULL))
		return 1;
	read_byte(bad);
	return 0;
}

static int nobody_handles(void)
{
	signal(SIGSEGV, SIG_DFL);
	return reading(bad + 8, 8, bad, NULL);
}

static void test_elsewhere(void)
{
	static const struct {
		int (*body)(void);
		const char *what;
	} cases[] = {
		{ touches_before, "the byte before the range" },
		{ touches_behind, "the byte behind it" },
		{ touches_by_empty, "the base of an empty range" },
		{ touches_after_failure, "a touch after the one that failed" },
		{ touches_after_end, "a touch after the end" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is(WEXITSTATUS(in_child(cases[i].body)), SIGSEGV,
		   "%s is for the handler before", cases[i].what);
	ok(died_of(in_child(nobody_handles), SIGSEGV),
	   "and where there was none, the process dies of it");
}

static volatile int calls;
static void *volatile sent;

static void on_sent(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	calls++;
	sent = info->si_value.sival_ptr;
}

static void send_early_poison(void)
{
	siginfo_t info = {
		.si_signo = SIGBUS,
		.si_code = BUS_MCEERR_AO,
		.si_addr = bad,
	};

	syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGBUS, &info);
}

static int NOINLINE sent_signals(void)
{
	const struct sigaction action = {
		.sa_sigaction = on_sent,
		.sa_flags = SA_SIGINFO,
	};
	const union sigval value = { .sival_ptr = bad };
	struct mmapdev_guard guard;

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	if (!mmapdev_guard_begin(&guard, NULL, SIZE_MAX)) {
		kill(getpid(), SIGSEGV);
		kill(getpid(), SIGBUS);
		send_early_poison();
		sigqueue(getpid(), SIGBUS, value);
	}
	return mmapdev_guard_end(&guard) || calls != 4 || sent != bad;
}

static struct sigaction library;

static void pass_to_library(int signal, siginfo_t *info, void *context)
{
	calls++;
	library.sa_sigaction(signal, info, context);
}

static int came_later(void)
{
	const struct sigaction action = {
		.sa_sigaction = pass_to_library,
		.sa_flags = SA_SIGINFO,
	};
	sigset_t mask;
	int i;

	if (reading(bad, 1, bad, NULL) != -EACCES ||
	    sigaction(SIGSEGV, &action, &library))
		return 1;
	for (i = 0; i < 3; i++)
		if (reading(bad, 1, bad, NULL) != -EACCES)
			return 2;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	return calls != 3 || sigismember(&mask, SIGSEGV);
}

/* Nothing but read, write and exit is allowed, and it goes on all the same. */
static int no_system_calls(void)
{
	int i, wrong;

	if (SANITIZED)
		return 0;
	wrong = reading(memory, page_size(), memory, NULL);
	need(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), "seccomp");
	for (i = 0; i < 1000; i++)
		wrong += !!writing(memory, page_size(), memory, NULL);
	return syscall(SYS_exit, wrong);
}

static void NOINLINE test_install_fails(void)
{
	struct mmapdev_guard guard;
	volatile bool touched = false;
	size_t copied = 3;

	wrap_fail(W_SIGACTION, 1, EPERM);
	if (!mmapdev_guard_begin(&guard, bad, page_size()))
		touched = true;
	ok(!touched, "where the handler cannot be set, nothing is touched");
	is(mmapdev_guard_end(&guard), -EPERM, "and the end says so");
	is(mmapdev_guard_end(&guard), -EINVAL, "once");
	wrap_fail(W_SIGACTION, 1, EPERM);
	is(mmapdev_guard_copy(memory, bad, 1, &copied), -EPERM,
	   "nor is anything copied");
	is(copied, 0, "at all");
	is(reading(bad, page_size(), bad, NULL), -EACCES,
	   "the next guard works");
}

static void test_in_children(void)
{
	test_elsewhere();
	is(in_child(sent_signals), 0, "signals that were sent end no guard");
	is(in_child(came_later), 0,
	   "a handler that came later may pass faults on, under any mask");
	is(in_child(no_system_calls), 0, "a guard makes no system call");
}

static void test_window(struct object *o)
{
	uint64_t page = page_size();
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.window = 4 * page,
	};
	struct mmapdev_map *map;
	const void *addr;
	char *mem;

	need(mmapdev_map(o->dev, &opts, &map), "map");
	mem = mmapdev_map_addr(map);
	is(writing(mem, 4 * page, mem + 5, &addr), 0,
	   "what is there can be written (%s)", o->name);
	ok(!addr, "and no byte is named (%s)", o->name);
	is(reading(mem, 4 * page, mem + 2 * page + 5, &addr), -ENXIO,
	   "a read beyond the end (%s)", o->name);
	ok(addr == mem + 2 * page + 5, "of that very byte (%s)", o->name);
	is(writing(mem, 4 * page, mem + page, &addr), -ENXIO,
	   "a write beyond the end (%s)", o->name);
	ok(addr == mem + page, "of that very byte (%s)", o->name);
	is(mem[5], 1, "what is there is as it was (%s)", o->name);

	need(mmapdev_map_grow(map, 4 * page), "grow");
	is(writing(mem, 4 * page, mem + 2 * page + 5, NULL), 0,
	   "grown, the same byte can be written (%s)", o->name);
	need(mmapdev_flush(map, 0, 4 * page), "flush");
	is(mem[2 * page + 5], 1, "and is the object's (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_truncated(struct object *o)
{
	uint64_t page = page_size();
	struct mmapdev_map *map;
	char *mem;

	need(mmapdev_resize(o->dev, 4 * page), "resize");
	need(mmapdev_map(o->dev, NULL, &map), "map");
	mem = mmapdev_map_addr(map);
	is(writing(mem, 4 * page, mem + 3 * page, NULL), 0,
	   "the last page can be written (%s)", o->name);
	need(mmapdev_resize(o->dev, page), "resize");
	is(writing(mem, 4 * page, mem + 3 * page, NULL), -ENXIO,
	   "cut off, it cannot (%s)", o->name);
	is(reading(mem, 4 * page, mem + page - 1, NULL), 0,
	   "what stayed can be read (%s)", o->name);
	need(mmapdev_resize(o->dev, 4 * page), "resize");
	is(reading(mem, 4 * page, mem + 3 * page, NULL), 0,
	   "so can the last page when it is there again (%s)", o->name);
	is(mem[3 * page], 0, "empty (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_readonly(struct object *o)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_READONLY,
	};
	size_t size, copied = 3;
	struct mmapdev_map *map;
	const void *addr;
	char *mem;

	need(mmapdev_map(o->dev, &opts, &map), "map");
	mem = mmapdev_map_addr(map);
	size = mmapdev_map_size(map);
	is(writing(mem, size, mem + 9, &addr), -EACCES,
	   "a write to a map for reading (%s)", o->name);
	ok(addr == mem + 9, "of that very byte (%s)", o->name);
	is(mem[9], 0, "changes nothing (%s)", o->name);
	is(reading(mem, size, mem + 9, NULL), 0, "a read is fine (%s)",
	   o->name);
	is(mmapdev_guard_copy(mem, memory, 9, &copied), -EACCES,
	   "nor is it copied to (%s)", o->name);
	is(copied, 0, "at all (%s)", o->name);
	mmapdev_unmap(map);
}

static unsigned char byte_at(size_t i)
{
	return i * 7 + i / 256 + 1;
}

/* How many bytes of @mem are those of byte_at(), from 0. */
static size_t copied_to(const char *mem, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		if ((unsigned char)mem[i] != byte_at(i))
			break;
	return i;
}

/* Two pages of four are there. @here and @there: offsets in their pages. */
static void test_copy_at(struct object *o, char *mem, size_t here, size_t there)
{
	size_t page = page_size(), length = 3 * page, copied = 0, i;
	char *buf = calloc(5, page);

	need(buf ? 0 : -ENOMEM, "calloc");
	for (i = 0; i < 5 * page - here; i++)
		buf[here + i] = byte_at(i);
	is(mmapdev_guard_copy(mem + there, buf + here, length, &copied), -ENXIO,
	   "copied to beyond the end, %zu to %zu (%s)", here, there, o->name);
	is(copied, 2 * page - there, "up to it (%s)", o->name);
	is(copied_to(mem + there, copied), copied, "and all of that (%s)",
	   o->name);

	memset(buf, 0, 5 * page);
	is(mmapdev_guard_copy(buf + here, mem + there, length, &copied), -ENXIO,
	   "copied from beyond the end, %zu to %zu (%s)", there, here, o->name);
	is(copied, 2 * page - there, "up to it (%s)", o->name);
	is(copied_to(buf + here, 5 * page - here), copied,
	   "and all of that, and no more (%s)", o->name);
	is(mmapdev_guard_copy(buf + here, mem + there, copied, NULL), 0,
	   "what is there is copied (%s)", o->name);
	free(buf);
}

static void test_copy(struct object *o)
{
	static const size_t offsets[][2] = {
		{ 0, 0 }, { 0, 3 }, { 5, 0 }, { 5, 3 }, { 3, 4000 },
	};
	uint64_t page = page_size();
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.window = 4 * page,
	};
	struct mmapdev_map *map;
	size_t i;

	need(mmapdev_resize(o->dev, 2 * page), "resize");
	need(mmapdev_map(o->dev, &opts, &map), "map");
	for (i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++)
		test_copy_at(o, mmapdev_map_addr(map), offsets[i][0],
			     offsets[i][1]);
	mmapdev_unmap(map);
	need(mmapdev_resize(o->dev, page), "resize");
}

static void test_object(struct object *o)
{
	test_window(o);
	test_truncated(o);
	test_readonly(o);
	test_copy(o);
}

static void test_memory(void)
{
	size_t page = page_size(), copied = 3;
	const void *addr;
	char *hole = mmap(NULL, 3 * page, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + page;

	need(munmap(hole, page), "munmap");
	is(reading(memory, 2 * page, bad + 1, &addr), -EACCES,
	   "a neighbour without rights");
	ok(addr == bad + 1, "is named by its byte");
	is(reading(hole, page, hole + 1, &addr), -EFAULT,
	   "where nothing is mapped");
	ok(addr == hole + 1, "is named by its byte");
	is(mmapdev_guard_copy(memory, hole, 9, &copied), -EFAULT,
	   "nothing is copied from there");
	is(copied, 0, "at all");
	is(mmapdev_guard_copy(bad - 4, memory, 9, &copied), -EACCES,
	   "a copy may end amid");
	is(copied, 4, "and says where");
	is(mmapdev_guard_copy(bad - 4, hole - 4, 9, &copied), -EACCES,
	   "both may be bad");
	is(mmapdev_guard_copy(memory, memory + 9, 9, &copied), 0,
	   "or none");
	is(copied, 9, "and all is copied");
	munmap(hole - page, page);
	munmap(hole + page, page);
}

static void test_refused(void)
{
	struct mmapdev_guard guard;
	size_t copied = 3;

	is(mmapdev_guard_enter(NULL, memory, 1), -EINVAL, "no guard");
	is(mmapdev_guard_end(NULL), -EINVAL, "has no end either");
	memset(&guard, 0, sizeof(guard));
	is(mmapdev_guard_end(&guard), -EINVAL, "nor has one never begun");

	is(reading(memory, SIZE_MAX, memory, NULL), -EINVAL,
	   "a range that overflows");
	ok(mmapdev_guard_begin(&guard, memory, SIZE_MAX),
	   "is not touched");
	is(guard.error, -EINVAL, "the guard says why");
	is(mmapdev_guard_end(&guard), -EINVAL, "so does its end");
	is(mmapdev_guard_end(&guard), -EINVAL, "once");
	is(reading(memory, 0, memory, NULL), 0, "an empty range is fine");

	is(mmapdev_guard_copy(NULL, memory, 1, &copied), -EINVAL,
	   "a copy to nowhere");
	is(copied, 0, "copies nothing");
	is(mmapdev_guard_copy(memory, NULL, 1, NULL), -EINVAL,
	   "a copy from nowhere");
	is(mmapdev_guard_copy(memory, bad, SIZE_MAX, &copied), -EINVAL,
	   "a copy that overflows");
	is(mmapdev_guard_copy(bad, bad, 0, &copied), 0, "a copy of nothing");
	is(copied, 0, "copies it");
}

static void NOINLINE test_unbalanced(void)
{
	struct mmapdev_guard outer, inner;
	const size_t page = page_size();

	is(mmapdev_guard_enter(&outer, bad, page), 0, "a guard begins");
	is(mmapdev_guard_enter(&outer, bad, page), -EINVAL, "only once");
	is(mmapdev_guard_end(&outer), -EINVAL, "its end says so");
	is(mmapdev_guard_end(&outer), -EINVAL, "and is one");

	mmapdev_guard_enter(&outer, bad, page);
	mmapdev_guard_enter(&inner, bad, page);
	is(mmapdev_guard_end(&outer), 0, "the end of an outer guard");
	is(mmapdev_guard_end(&inner), -EINVAL, "is that of the inner");

	if (!mmapdev_guard_begin(&outer, bad, page)) {
		if (!mmapdev_guard_begin(&inner, memory, page))
			read_byte(bad);
	}
	is(mmapdev_guard_end(&inner), -EINVAL, "so is its failure");
	is(mmapdev_guard_end(&outer), -EACCES, "which is the outer's alone");
	is(mmapdev_guard_end(&outer), -EINVAL, "and told once");
}

static void NOINLINE test_nested(void)
{
	struct mmapdev_guard outer, inner;
	const size_t page = page_size();
	volatile int passed = 0, error = 0;

	if (!mmapdev_guard_begin(&outer, memory, 2 * page)) {
		if (!mmapdev_guard_begin(&inner, bad, page))
			read_byte(bad + 3);
		error = mmapdev_guard_end(&inner);
		passed = 1;
		read_byte(bad + 4);
		passed = 2;
	}
	is(error, -EACCES, "of two guards that have a byte the inner fails");
	ok(inner.addr == bad + 3, "and names it");
	is(passed, 1, "the outer goes on, until it fails");
	is(mmapdev_guard_end(&outer), -EACCES, "by a byte");
	ok(outer.addr == bad + 4, "of its own");

	passed = 0;
	if (!mmapdev_guard_begin(&outer, bad, page)) {
		if (!mmapdev_guard_begin(&inner, memory, page))
			read_byte(bad + 5);
		passed = 1;
	}
	is(passed, 0, "what the inner does not have ends both");
	is(mmapdev_guard_end(&outer), -EACCES, "and is the outer's");
	ok(outer.addr == bad + 5, "by its byte");
}

static volatile int in_handler;

static void guard_in_handler(int signal)
{
	(void)signal;
	in_handler = reading(bad, page_size(), bad + 2, NULL);
}

static void NOINLINE test_in_handler(const char *where, int flags)
{
	const struct sigaction action = {
		.sa_handler = guard_in_handler,
		.sa_flags = flags,
	};
	struct mmapdev_guard guard;
	volatile int passed = 0;

	if (TSAN)
		return;
	in_handler = 0;
	sigaction(SIGUSR1, &action, NULL);
	if (!mmapdev_guard_begin(&guard, bad, page_size())) {
		raise(SIGUSR1);
		passed = 1;
		read_byte(bad + 1);
	}
	is(in_handler, -EACCES, "a guard in a handler%s", where);
	ok(passed, "comes between two instructions of another");
	is(mmapdev_guard_end(&guard), -EACCES, "which fails");
	ok(guard.addr == bad + 1, "by its own byte");
}

static bool on_alternate(void)
{
	stack_t now;

	return !sigaltstack(NULL, &now) && now.ss_flags & SS_ONSTACK;
}

static void test_alternate(void)
{
	static char stack[256 * 1024];
	const stack_t alternate = {
		.ss_sp = stack,
		.ss_size = sizeof(stack),
	};
	const stack_t none = { .ss_flags = SS_DISABLE };
	stack_t before;
	int wrong = 0, i;

	need(sigaltstack(&alternate, &before), "sigaltstack");
	for (i = 0; i < 1000; i++) {
		wrong += reading(bad, 1, bad, NULL) != -EACCES;
		wrong += on_alternate();
	}
	is(wrong, 0, "a thread leaves its alternate stack, each time");
	test_in_handler(" on it", SA_ONSTACK);
	ok(!on_alternate(), "and is not on it in the end");
	need(sigaltstack(before.ss_sp ? &before : &none, NULL), "sigaltstack");
}

static void *work(void *arg)
{
	size_t page = page_size();
	long i, wrong = 0;
	const void *addr;
	char *mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	mprotect(mem + page, page, PROT_READ);
	for (i = 0; i < 2000; i++) {
		char *mine = mem + page + i % page;

		wrong += writing(mem, 2 * page, mine, &addr) != -EACCES;
		wrong += addr != mine;
		wrong += reading(bad, page, bad + i % page, &addr) != -EACCES;
		wrong += addr != bad + i % page;
		wrong += !!writing(mem, 2 * page, mem + i % page, &addr);
		wrong += !!addr;
	}
	munmap(mem, 2 * page);
	return (void *)wrong;
}

static void test_threads(void)
{
	pthread_t threads[8];
	void *wrong;
	int i;

	for (i = 0; i < 8; i++)
		need(-pthread_create(&threads[i], NULL, work, NULL), "thread");
	for (i = 0; i < 8; i++) {
		pthread_join(threads[i], &wrong);
		is((long)wrong, 0, "thread %d has its own guards and faults",
		   i);
	}
}

static void test_rounding(void)
{
#ifdef __x86_64__
	unsigned int mxcsr = __builtin_ia32_stmxcsr();
	unsigned short x87, now;

	__asm__("fnstcw %0" : "=m"(x87));
	x87 |= 0x0c00;
	__asm__("fldcw %0" : : "m"(x87));
	__builtin_ia32_ldmxcsr(mxcsr | 0x6000);
	reading(bad, page_size(), bad, NULL);
	is(__builtin_ia32_stmxcsr() & 0x6000, 0x6000,
	   "who rounds towards zero does so after a fault");
	__asm__("fnstcw %0" : "=m"(now));
	is(now, x87, "also in long double");
	x87 &= ~0x0c00;
	__asm__("fldcw %0" : : "m"(x87));
	__builtin_ia32_ldmxcsr(mxcsr);
#endif
}

static void test_many(void)
{
	const int rounds = SANITIZED ? 10000 : 100000;
	sigset_t usr2, before, mask;
	int wrong = 0, i;

	sigemptyset(&usr2);
	sigaddset(&usr2, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &usr2, &before);
	wrap_reset();
	errno = EDOM;
	for (i = 0; i < rounds; i++)
		wrong += reading(bad, page_size(), bad + i % 4096, NULL) !=
			 -EACCES;
	is(wrong, 0, "%d faults", rounds);
	ok(TSAN || errno == EDOM, "errno is as it was");
	is(wrap_calls(W_SIGACTION), 0, "the handler was set before");
	pthread_sigmask(SIG_SETMASK, &before, &mask);
	ok(!sigismember(&mask, SIGSEGV) && !sigismember(&mask, SIGBUS) &&
	   !sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGUSR2),
	   "the same signals are blocked as before");
}

/* 1: not dealt with. */
static int NOINLINE inject(int signal, int code, char *at, int lsb, char *base,
			   const void **addr)
{
	struct mmapdev_guard guard;
	volatile int passed = 0;
	ucontext_t context;
	siginfo_t info = { .si_signo = signal, .si_code = code };
	int ret;

	info.si_addr = at;
	info.si_addr_lsb = lsb;
	getcontext(&context);
	if (!mmapdev_guard_begin(&guard, base, 100))
		passed = !mmapdev_guard_fault(signal, &info, &context);
	ret = mmapdev_guard_end(&guard);
	*addr = guard.addr;
	return passed && !ret ? 1 : ret;
}

static void test_codes(void)
{
	static const struct {
		int signal, code, error;
	} cases[] = {
		{ SIGBUS, BUS_ADRERR, -ENXIO },
		{ SIGBUS, BUS_OBJERR, -EIO },
		{ SIGBUS, BUS_MCEERR_AR, -EHWPOISON },
		{ SIGBUS, BUS_ADRALN, 1 },
		{ SIGBUS, SI_KERNEL, 1 },
		{ SIGSEGV, SEGV_MAPERR, -EFAULT },
		{ SIGSEGV, SEGV_ACCERR, -EACCES },
		{ SIGSEGV, SEGV_PKUERR, -EACCES },
		{ SIGSEGV, SI_KERNEL, 1 },
	};
	const void *addr;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is(inject(cases[i].signal, cases[i].code, memory + 9, 0, memory,
			  &addr), cases[i].error, "signal %d, code %d",
		   cases[i].signal, cases[i].code);
}

/* Of bad memory the kernel may name the page alone. */
static void test_poison_page(void)
{
	char *base = memory + 1000;
	const void *addr;

	is(inject(SIGBUS, BUS_MCEERR_AR, memory, 12, base, &addr), -EHWPOISON,
	   "bad memory, told by its page");
	ok(addr == base, "is bad from where the range begins");
	is(inject(SIGBUS, BUS_MCEERR_AR, base + 7, 12, base, &addr), -EHWPOISON,
	   "bad memory, told by its byte");
	ok(addr == base + 7, "is bad from there");
	is(inject(SIGBUS, BUS_MCEERR_AR, base - 4096, 12, base, &addr), 1,
	   "the page before is not the range's");
	is(inject(SIGBUS, BUS_MCEERR_AR, base + 100, 12, base, &addr), 1,
	   "nor is a byte behind it");
	is(inject(SIGBUS, BUS_ADRERR, base - 1, 12, base, &addr), 1,
	   "and all else is told by its byte");
}

static int poisoned(void)
{
	size_t page = page_size(), copied;
	const void *addr;
	char *mem = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memset(mem, 1, 2 * page);
	if (madvise(mem + page, page, MADV_HWPOISON))
		return 77;
	if (reading(mem + 3, 2 * page - 3, mem + page + 9, &addr) !=
		    -EHWPOISON || addr != mem + page + 9)
		return 1;
	return mmapdev_guard_copy(memory, mem + page - 9, 99, &copied) !=
		       -EHWPOISON || copied != 9;
}

/* It costs the machine a page for good: only one that is thrown away. */
static void test_poison(void)
{
	int status;

	if (!getenv("MMAPDEV_DEVICE"))
		return;
	status = WEXITSTATUS(in_child(poisoned));
	ok(!status || status == 77, "memory that went bad%s",
	   status ? " (not in this kernel)" : "");
}

int main(void)
{
	size_t page = page_size();

	memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bad = memory + page;
	need(mprotect(bad, page, PROT_NONE), "mprotect");

	test_in_children();
	test_install_fails();
	on_every_object(page, test_object);
	test_memory();
	test_refused();
	test_unbalanced();
	test_nested();
	test_in_handler("", 0);
	test_alternate();
	test_threads();
	test_rounding();
	test_many();
	test_codes();
	test_poison_page();
	test_poison();
	return done();
}
