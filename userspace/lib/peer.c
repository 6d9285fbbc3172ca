// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Peers: processes that share memory, and want to know of each other's death.
 *
 * A process is its pid and its start time, for pids come again; both are of
 * namespaces, and of one boot of the system. Of a peer in other namespaces
 * nothing is known: it is taken to live. One of another boot is dead. Of the
 * others a pidfd tells: a slow or a stopped peer is never taken for a dead one.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "private.h"

#ifndef SYS_pidfd_open /* Linux 5.3; one number for all architectures */
#define SYS_pidfd_open 434
#endif

/* /proc need not show all there is (hidepid, Linux security modules). */
static bool is_hidden(int err)
{
	return err == ENOENT || err == ESRCH || err == EPERM || err == EACCES;
}

/* The text of a file in /proc: its length, or -errno. */
static int proc_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, text, size - 1, 0);
	if (n < 0)
		n = -errno;
	else
		text[n] = '\0';
	close(fd);
	return n;
}

/* When process @pid ("self") began, and what it is called by this /proc. */
static int proc_start(const char *pid, struct mmapdev_peer *who)
{
	char path[32], text[1024], *p;
	int field, ret;

	snprintf(path, sizeof(path), "/proc/%s/stat", pid);
	ret = proc_read(path, text, sizeof(text));
	if (ret < 0)
		return ret;

	who->pid = strtoul(text, NULL, 10);
	/* The second field is a name, in which anything may be. */
	p = strrchr(text, ')');
	for (field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EIO;
	who->start = strtoull(p, NULL, 10);
	return 0;
}

/* The namespace of which @path tells; 0 where the kernel has no such. */
static int space_of(const char *path, uint32_t *space)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret;

	*space = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	ret = fstat(fd, &st) ? -errno : 0;
	close(fd);
	if (!ret)
		*space = st.st_ino;
	return ret;
}

/* The first half of the boot's UUID; 0 where it is not to be read. */
static int boot_of(uint64_t *boot)
{
	char text[64], *p, *to = text;
	int ret = proc_read("/proc/sys/kernel/random/boot_id", text,
			    sizeof(text));

	*boot = 0;
	if (ret < 0)
		return is_hidden(-ret) ? 0 : ret;
	for (p = text; isxdigit((unsigned char)*p) || *p == '-'; p++)
		if (*p != '-')
			*to++ = *p;
	if (to - text != 32)
		return -EIO;
	text[16] = '\0';
	*boot = strtoull(text, NULL, 16);
	return 0;
}

int mmapdev_peer_self(struct mmapdev_peer *me)
{
	uint32_t pids, times;
	int ret;

	ret = proc_start("self", me);
	if (!ret)
		ret = space_of("/proc/thread-self/ns/pid", &pids);
	if (!ret)
		ret = space_of("/proc/thread-self/ns/time", &times);
	if (!ret)
		ret = boot_of(&me->boot);
	if (ret)
		return ret;
	me->space = (uint64_t)times << 32 | pids;
	/* A /proc of other pids than ours would tell of others than peers. */
	return me->pid == (uint32_t)getpid() ? 0 : -EXDEV;
}

static bool same(const struct mmapdev_peer *a, const struct mmapdev_peer *b)
{
	return a->pid == b->pid && a->start == b->start && a->space == b->space;
}

void mmapdev_peer_unwatch(struct mmapdev_peer_watch *watch)
{
	if (watch->pidfd >= 0)
		close(watch->pidfd);
	watch->pidfd = -1;
}

/* 0, 1 if it is gone already, or -errno. */
static int watch_begin(struct mmapdev_peer_watch *watch,
		       const struct mmapdev_peer *who)
{
	int fd = syscall(SYS_pidfd_open, who->pid, 0);
	struct mmapdev_peer found = *who;
	char pid[16];
	int ret;

	if (fd < 0)
		/* EINVAL, ENOENT: the number is a thread's or a group's now. */
		return errno == ESRCH || errno == EINVAL || errno == ENOENT ?
			       1 : -errno;

	/* If the pid is his now, it was so when the pidfd was made. */
	snprintf(pid, sizeof(pid), "%" PRIu32, who->pid);
	ret = proc_start(pid, &found);
	/* Only the pidfd knows whether one who is hidden is gone. */
	if (ret && is_hidden(-ret))
		ret = 0;
	else if (!ret)
		ret = found.start != who->start;
	if (ret) {
		close(fd);
		return ret;
	}
	watch->who = *who;
	watch->pidfd = fd;
	return 0;
}

int mmapdev_peer_watch(struct mmapdev_peer_watch *watch,
		       const struct mmapdev_peer *who,
		       const struct mmapdev_peer *me)
{
	struct pollfd pfd = { .events = POLLIN };
	int ret;

	if (who->boot && me->boot && who->boot != me->boot)
		return 1;
	if (who->space != me->space)
		return 0;
	if (watch->pidfd < 0 || !same(&watch->who, who)) {
		mmapdev_peer_unwatch(watch);
		ret = watch_begin(watch, who);
		if (ret)
			return ret;
	}
	pfd.fd = watch->pidfd;
	ret = poll(&pfd, 1, 0);
	/* Not where somebody has closed the pidfd. */
	return ret < 0 ? -errno : ret && pfd.revents & POLLIN;
}

int mmapdev_peer_dead(const struct mmapdev_peer *who,
		      const struct mmapdev_peer *me)
{
	struct mmapdev_peer_watch watch = { .pidfd = -1 };
	int ret = mmapdev_peer_watch(&watch, who, me);

	mmapdev_peer_unwatch(&watch);
	return ret;
}
