// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Who is dead: what is asked, of whom, and what is said where it fails. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../lib/private.h"
#include "common.h"
#include "wrap.h"

static struct mmapdev_peer me;

/* Says who it is, and stays. */
static int child(void *arg)
{
	int *pipes = arg;
	struct mmapdev_peer who;

	if (mmapdev_peer_self(&who) ||
	    write(pipes[1], &who, sizeof(who)) != sizeof(who))
		return 1;
	for (;;)
		pause();
}

static struct mmapdev_peer spawn_peer(pid_t *pid)
{
	struct mmapdev_peer who = { 0 };
	int pipes[2];

	need(pipe(pipes) ? -errno : 0, "pipe");
	*pid = spawn(child, pipes);
	close(pipes[1]);
	is(read(pipes[0], &who, sizeof(who)), sizeof(who),
	   "a child says who it is");
	close(pipes[0]);
	is(who.pid, *pid, "it is its pid");
	ok(who.start >= me.start, "it began after its parent");
	ok(who.space == me.space && who.boot == me.boot,
	   "in the same namespaces and boot");
	return who;
}

static void test_self(void)
{
	struct mmapdev_peer again;

	memset(&me, 0xff, sizeof(me));
	is(mmapdev_peer_self(&me), 0, "a process knows itself");
	is(me.pid, getpid(), "by its pid");
	ok(me.start && me.space && me.boot, "its start, namespaces and boot");
	need(mmapdev_peer_self(&again), "self");
	ok(again.start == me.start && again.space == me.space &&
	   again.boot == me.boot, "which stay what they are");
	is(mmapdev_peer_dead(&me, &me), 0, "and it lives");
}

static void test_death(void)
{
	struct mmapdev_peer_watch watch = { .pidfd = -1 };
	struct mmapdev_peer who;
	siginfo_t info;
	pid_t pid;

	who = spawn_peer(&pid);
	is(mmapdev_peer_dead(&who, &me), 0, "a child lives");
	kill(pid, SIGSTOP);
	waitid(P_PID, pid, &info, WSTOPPED | WNOWAIT);
	is(mmapdev_peer_dead(&who, &me), 0, "so it does when it is stopped");
	wrap_reset();
	is(mmapdev_peer_watch(&watch, &who, &me), 0, "watched, it lives");
	is(mmapdev_peer_watch(&watch, &who, &me), 0, "and still does");
	is(wrap_calls(W_SYSCALL), 1, "for which one pidfd is enough");
	kill(pid, SIGKILL);
	waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
	is(mmapdev_peer_dead(&who, &me), 1, "killed, it is dead");
	is(mmapdev_peer_watch(&watch, &who, &me), 1, "to the watch too");
	reap(pid);
	is(mmapdev_peer_dead(&who, &me), 1, "and when nothing of it is left");
	is(mmapdev_peer_watch(&watch, &who, &me), 1, "to the watch as well");
	is(mmapdev_peer_watch(&watch, &me, &me), 0, "which turns to others");
	mmapdev_peer_unwatch(&watch);
	is(watch.pidfd, -1, "and ends");
}

static void test_others(void)
{
	struct mmapdev_peer who = me;

	who.start--;
	is(mmapdev_peer_dead(&who, &me), 1, "another had this pid");
	who.space++;
	is(mmapdev_peer_dead(&who, &me), 0, "elsewhere it may well live");
	who.boot++;
	is(mmapdev_peer_dead(&who, &me), 1, "but not in another boot");
	who.boot = 0;
	is(mmapdev_peer_dead(&who, &me), 0, "where it did not know of boots");
	who = me;
	who.boot++;
	me.boot = 0;
	is(mmapdev_peer_dead(&who, &me), 0, "or this process does not");
	need(mmapdev_peer_self(&me), "self");
}

/* Not all kernels say ESRCH of a pid that is a thread's or a group's now. */
static void test_no_process(void)
{
	static const int errors[] = { ESRCH, EINVAL, ENOENT };
	struct mmapdev_peer who = me;
	unsigned int i;

	for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		wrap_reset();
		wrap_fail(W_SYSCALL, 1, errors[i]);
		is(mmapdev_peer_dead(&me, &me), 1,
		   "who has no pidfd is dead: %s", strerrorname_np(errors[i]));
	}
	wrap_reset();
	who.pid = 0;
	is(mmapdev_peer_dead(&who, &me), 1, "who has no pid too");
}

static int nth;

static void fail_nth_open(enum wrapped call)
{
	if (call == W_OPEN && !--nth)
		wrap_fail(W_OPEN, 1, EACCES);
}

/* The last file that is opened tells of the boot. */
static void test_failures(void)
{
	struct mmapdev_peer who;
	int opens;

	wrap_reset();
	need(mmapdev_peer_self(&who), "self");
	opens = wrap_calls(W_OPEN);
	wrap_reset();
	nth = opens;
	wrap_before(fail_nth_open);
	is(mmapdev_peer_self(&who), 0, "the boot may be a secret");
	wrap_reset();
	ok(!who.boot && who.pid == me.pid && who.space == me.space,
	   "the rest is not");
	is(mmapdev_peer_dead(&who, &me), 0, "nor is its life");
	nth = 1;
	wrap_before(fail_nth_open);
	is(mmapdev_peer_self(&who), -EACCES, "but who it is has to be known");
	wrap_reset();
	wrap_fail(W_SYSCALL, 1, ENOSYS);
	is(mmapdev_peer_dead(&me, &me), -ENOSYS, "no pidfd: nothing is said");
	wrap_fail(W_POLL, 1, ENOMEM);
	is(mmapdev_peer_dead(&me, &me), -ENOMEM, "nor when it does not answer");
	wrap_fail(W_OPEN, 1, EMFILE);
	is(mmapdev_peer_dead(&me, &me), -EMFILE, "or its start is not known");
	wrap_fail(W_OPEN, 1, ENOENT);
	is(mmapdev_peer_dead(&me, &me), 0, "hidden by /proc, it lives");
	wrap_fail(W_OPEN, 1, EACCES);
	is(mmapdev_peer_dead(&me, &me), 0, "or by a policy");
}

int main(void)
{
	test_self();
	test_death();
	test_others();
	test_no_process();
	test_failures();
	return done();
}
