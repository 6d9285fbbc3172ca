// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Waiting for a word in shared memory to change: futex(2), which tells what
 * pthread_mutex_lock(3) and sem_wait(3) answer by abort(3). A mapping made of
 * page frames (VM_PFNMAP, an eager map of the device) has no futexes.
 *
 * A bell is a futex whose lowest bit says that somebody listens. The listener
 * sets the bit, looks once more, and sleeps unless the word has changed. The
 * other side stores what is looked for, and looks at the bit; if it is set it
 * adds 1, which clears it and changes the word, and makes the one system call.
 * Where these stores and looks are all sequentially consistent, of two who set
 * a thing and look for the other's, one sees it.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "private.h"

static int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

int64_t mmapdev_deadline(int timeout)
{
	return timeout < 0 ? -1 : now() + (int64_t)timeout * NSEC_PER_MSEC;
}

int mmapdev_left(int64_t deadline)
{
	int64_t left = deadline - now();

	if (deadline < 0)
		return -1;
	return left > 0 ? (left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC : 0;
}

int mmapdev_futex_wait(const uint32_t *word, uint32_t value, int timeout)
{
	/* What SYS_futex takes, whatever struct timespec is. */
	struct {
		long sec, nsec;
	} ts = {
		.sec = timeout / 1000,
		.nsec = timeout % 1000 * NSEC_PER_MSEC,
	};

	if (!syscall(SYS_futex, word, FUTEX_WAIT, value,
		     timeout < 0 ? NULL : &ts, NULL, 0))
		return 0;
	return errno == EAGAIN ? 0 : -errno;
}

int mmapdev_futex_wake(const uint32_t *word, int count)
{
	int woken = syscall(SYS_futex, word, FUTEX_WAKE, count, NULL, NULL, 0);

	return woken < 0 ? -errno : woken;
}

uint32_t mmapdev_bell_listen(uint32_t *bell)
{
	return __atomic_or_fetch(bell, 1, __ATOMIC_SEQ_CST);
}

/* If this fails, or a kill cuts it short, nobody is woken. */
void mmapdev_bell_ring(uint32_t *bell)
{
	uint32_t value = __atomic_load_n(bell, __ATOMIC_SEQ_CST);

	if (value & 1 &&
	    __atomic_compare_exchange_n(bell, &value, value + 1, false,
					__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		mmapdev_futex_wake(bell, INT32_MAX);
}

int mmapdev_futex_probe(struct mmapdev_map *map, uint64_t offset)
{
	const char *addr = mmapdev_map_addr(map);
	size_t size = mmapdev_map_size(map), page = sysconf(_SC_PAGESIZE);
	int ret;

	if (!map || offset % sizeof(uint32_t))
		return -EINVAL;
	if (map->flags & MMAPDEV_MAP_PRIVATE)
		return -EOPNOTSUPP;
	if (size < sizeof(uint32_t) || offset > size - sizeof(uint32_t))
		return -ERANGE;

	/* Whoever waits there is to look twice anyway. */
	ret = mmapdev_futex_wake((const uint32_t *)(addr + offset), 1);
	if (ret == -EFAULT) {
		/* There is no futex, or no page. */
		ret = mmapdev_populate(map, offset - offset % page, page);
		return ret ? ret : -EOPNOTSUPP;
	}
	return ret < 0 ? ret : 0;
}
