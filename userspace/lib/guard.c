// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Guards: a touch of mapped memory that cannot be had becomes an error code.
 *
 * Each thread has a list of the guards that it is in, innermost first, which
 * the signal handler reads. A touch that faults unwinds to the innermost guard
 * that has the byte in its range, by longjmp(3). No mask is saved nor changed,
 * so outside of faults a guard costs no system call.
 *
 * Others (systemd, libwayland) put a page of zeros in the place of the bad one
 * and go on. That page is there for all threads, and for good: once the object
 * has grown, a writer who did nothing wrong writes to it, and its data is lost.
 * Here the mapping stays as it is.
 */
/* Its longjmp(3) takes the leaving of some signal stacks for an attack. */
#undef _FORTIFY_SOURCE

#include <errno.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "private.h"

/*
 * Initial-exec, for any other thread-local variable may be allocated where it
 * is first used, and that may be in the signal handler.
 */
static __thread struct mmapdev_guard *innermost
	__attribute__((tls_model("initial-exec")));

static bool is_entered(const struct mmapdev_guard *guard)
{
	const struct mmapdev_guard *g = innermost;

	while (g && g != guard)
		g = g->outer;
	return g;
}

/* On no list, and the error is still to be told: it is its own outer. */
static void fail(struct mmapdev_guard *guard, int error)
{
	guard->error = error;
	guard->outer = guard;
}

int mmapdev_guard_enter(struct mmapdev_guard *guard, const void *addr,
			size_t length)
{
	uintptr_t end;
	int ret;

	if (!guard)
		return -EINVAL;
	guard->addr = NULL;
	if (is_entered(guard)) {
		guard->error = -EINVAL;
		return -EINVAL;
	}

	ret = __builtin_add_overflow((uintptr_t)addr, length, &end) ?
		      -EINVAL :
		      mmapdev_signal_install();
	if (ret) {
		fail(guard, ret);
		return ret;
	}

	guard->error = 0;
	guard->base = addr;
	guard->length = length;
	guard->outer = innermost;
	__atomic_store_n(&innermost, guard, __ATOMIC_RELEASE);
	return 0;
}

int mmapdev_guard_end(struct mmapdev_guard *guard)
{
	if (!guard)
		return -EINVAL;

	/* With all that are within it and were not ended. */
	if (is_entered(guard))
		__atomic_store_n(&innermost, guard->outer, __ATOMIC_RELEASE);
	else if (guard->outer != guard)
		return -EINVAL;

	guard->outer = NULL;
	return guard->error;
}

/* 0: of no touch, or of one that is wrong whatever lies there. */
static int error_of(int signal, int code)
{
	if (signal == SIGSEGV) {
		if (code == SI_KERNEL) /* and no address */
			return 0;
		return code == SEGV_MAPERR ? -EFAULT : -EACCES;
	}

	switch (code) {
	case BUS_ADRERR:
		return -ENXIO;
	case BUS_OBJERR:
		return -EIO;
	case BUS_MCEERR_AR:
		return -EHWPOISON;
	default:
		return 0;
	}
}

static bool contains(const struct mmapdev_guard *guard, uintptr_t addr)
{
	return addr - (uintptr_t)guard->base < guard->length;
}

/* The first byte of @guard that is bad: of bad memory all of a page is told. */
static uintptr_t byte_of(const struct mmapdev_guard *guard,
			 const siginfo_t *info, bool poison)
{
	uintptr_t addr = (uintptr_t)info->si_addr;
	uintptr_t base = (uintptr_t)guard->base;

	if (poison && addr < base &&
	    addr >> info->si_addr_lsb == base >> info->si_addr_lsb)
		return base;
	return addr;
}

/*
 * What a return from the handler would restore, and longjmp(3) does not: the
 * mask, for who came after us may call us under one of its own, and what x86
 * gives a handler as new.
 */
static void restore(const ucontext_t *context)
{
	pthread_sigmask(SIG_SETMASK, &context->uc_sigmask, NULL);
#ifdef __x86_64__
	asm volatile("ldmxcsr %0\n\tfldcw %1"
		     :
		     : "m"(context->uc_mcontext.fpregs->mxcsr),
		       "m"(context->uc_mcontext.fpregs->cwd));
#endif
}

bool mmapdev_guard_fault(int signal, const siginfo_t *info, const void *context)
{
	int error = error_of(signal, info->si_code);
	struct mmapdev_guard *guard;
	uintptr_t addr = 0;

	if (!error)
		return false;
	for (guard = innermost; guard; guard = guard->outer) {
		addr = byte_of(guard, info, error == -EHWPOISON);
		if (contains(guard, addr))
			break;
	}
	if (!guard)
		return false;

	__atomic_store_n(&innermost, guard->outer, __ATOMIC_RELEASE);
	fail(guard, error);
	guard->addr = (const void *)addr;
	restore(context);
	longjmp(guard->env, 1);
}

/* What can be copied at once: bytes that lie in one page here and there. */
static size_t piece(const char *to, const char *from, size_t length)
{
	size_t page = sysconf(_SC_PAGESIZE);
	size_t left = page - (uintptr_t)to % page;

	if (left > page - (uintptr_t)from % page)
		left = page - (uintptr_t)from % page;
	return length < left ? length : left;
}

/*
 * memcpy(3) copies the bytes in an order of its own. A page fails as a whole,
 * so the piece that fails has failed at its first byte.
 */
static void copy(char *to, const char *from, size_t length,
		 volatile size_t *done)
{
	size_t at, n;

	for (at = 0; at < length; at += n) {
		*done = at;
		n = piece(to + at, from + at, length - at);
		memcpy(to + at, from + at, n);
	}
	*done = at;
}

int mmapdev_guard_copy(void *to, const void *from, size_t length,
		       size_t *copied)
{
	struct mmapdev_guard reads, writes;
	volatile size_t done = 0;
	volatile int ret = 0;
	int error;

	if (copied)
		*copied = 0;
	if (!to || !from)
		return -EINVAL;

	if (!mmapdev_guard_begin(&reads, from, length)) {
		if (!mmapdev_guard_begin(&writes, to, length))
			copy(to, from, length, &done);
		ret = mmapdev_guard_end(&writes);
	}
	error = mmapdev_guard_end(&reads);

	if (copied)
		*copied = done;
	return error ? error : ret;
}
