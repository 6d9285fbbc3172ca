// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The handler of SIGSEGV and SIGBUS, for the faults that this library brings
 * about or is asked to catch. All others are for whoever was there before us,
 * who is called as the kernel would have done.
 *
 * It stays for ever: who came after us may have kept its address to pass on
 * what is not theirs, so the shared library cannot be unloaded (-z nodelete).
 * It runs on the alternate stack, if the thread has one, for the sake of those
 * before us who handle the overflow of the other.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "private.h"

/* Of SIGSEGV and SIGBUS, for the handler has no argument. */
static struct previous {
	struct sigaction seen, replaced;
	const struct sigaction *action; /* atomic: one of these */
	bool spent;			/* atomic: SA_RESETHAND was heeded */
} previous[2];

static struct previous *previous_of(int signal)
{
	return &previous[signal == SIGBUS];
}

/*
 * What the interrupted instruction itself did, and does again if the handler
 * returns: no kill(2), and no early word of bad memory that nobody touched.
 */
static bool is_fault(int signal, const siginfo_t *info)
{
	if (signal == SIGBUS && info->si_code == BUS_MCEERR_AO)
		return false;
	return info->si_code > 0;
}

/* The process dies, with the core file that it would have left without us. */
static void take_default(int signal, siginfo_t *info, ucontext_t *context)
{
	const struct sigaction action = { .sa_handler = SIG_DFL };

	if (sigaction(signal, &action, NULL))
		/* To fault with the signal blocked is as deadly. */
		sigaddset(&context->uc_sigmask, signal);
	else if (!is_fault(signal, info))
		syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), signal,
			info);
}

static void pass_on(int signal, siginfo_t *info, void *context)
{
	struct previous *p = previous_of(signal);
	const struct sigaction *action =
		__atomic_load_n(&p->action, __ATOMIC_ACQUIRE);
	sigset_t mask = action->sa_mask, unblocked;

	/* Nobody can ignore a fault. */
	if (action->sa_handler == SIG_IGN && !is_fault(signal, info))
		return;
	if (action->sa_handler == SIG_IGN || action->sa_handler == SIG_DFL ||
	    (action->sa_flags & SA_RESETHAND &&
	     __atomic_exchange_n(&p->spent, true, __ATOMIC_RELAXED))) {
		take_default(signal, info, context);
		return;
	}

	if (!(action->sa_flags & SA_NODEFER))
		sigaddset(&mask, signal);
	pthread_sigmask(SIG_BLOCK, &mask, &unblocked);
	if (action->sa_flags & SA_SIGINFO)
		action->sa_sigaction(signal, info, context);
	else
		action->sa_handler(signal);
	pthread_sigmask(SIG_SETMASK, &unblocked, NULL);
}

static void handle(int signal, siginfo_t *info, void *context)
{
	bool fault = is_fault(signal, info);
	int saved = errno;

	if (fault && mmapdev_track_fault(signal, info)) {
		errno = saved;
		return;
	}
	errno = saved;
	if (fault && mmapdev_guard_fault(signal, info, context))
		return;
	pass_on(signal, info, context);
	errno = saved;
}

/*
 * Asks first who is there: another thread may have to pass on a fault before
 * the call that puts us in place has returned.
 */
static int replace(int signal)
{
	struct previous *p = previous_of(signal);
	struct sigaction seen, ours = {
		.sa_sigaction = handle,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};

	if (sigaction(signal, NULL, &seen))
		return -errno;
	/* We are, when an earlier attempt could not be undone, or was forked. */
	if (seen.sa_sigaction == handle)
		return 0;
	p->seen = seen;
	ours.sa_flags |= p->seen.sa_flags & SA_RESTART;
	__atomic_store_n(&p->action, &p->seen, __ATOMIC_RELEASE);
	if (sigaction(signal, &ours, &p->replaced))
		return -errno;
	__atomic_store_n(&p->action, &p->replaced, __ATOMIC_RELEASE);
	return 0;
}

static int replace_both(void)
{
	int ret;

	ret = replace(SIGSEGV);
	if (ret)
		return ret;
	ret = replace(SIGBUS);
	if (ret)
		sigaction(SIGSEGV, &previous_of(SIGSEGV)->replaced, NULL);
	return ret;
}

/* By process: a fork may come while another thread of the parent has it. */
static void take(pid_t *owner)
{
	pid_t me = getpid(), is = 0;

	while (!__atomic_compare_exchange_n(owner, &is, me, false,
					    __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
		if (is == me) {
			sched_yield();
			is = 0;
		}
}

int mmapdev_signal_install(void)
{
	static pid_t owner;
	static bool installed;
	sigset_t all, unblocked;
	int ret = 0;

	if (__atomic_load_n(&installed, __ATOMIC_ACQUIRE))
		return 0;

	/* No handler that comes here may wait for a lock of its own thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &unblocked);
	take(&owner);
	if (!installed)
		ret = replace_both();
	if (!ret)
		__atomic_store_n(&installed, true, __ATOMIC_RELEASE);
	__atomic_store_n(&owner, 0, __ATOMIC_RELEASE);
	pthread_sigmask(SIG_SETMASK, &unblocked, NULL);
	return ret;
}
