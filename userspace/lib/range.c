// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Locks of byte ranges, which the kernel keeps: whoever dies has none.
 *
 * They are those of fcntl(2) that belong to the open file (F_OFD_SETLK), not to
 * the process: two handles exclude each other within a process too, and no
 * close(2) of another descriptor gives them up.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "private.h"

#define RANGE_FLAGS (MMAPDEV_LOCK_SHARED | MMAPDEV_LOCK_TRY)

static int set_lock(struct mmapdev *dev, int command, short type,
		    uint64_t offset, uint64_t length)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = offset,
		.l_len = length,
	};

	if (!dev)
		return -EINVAL;
	if (offset > INT64_MAX || length > INT64_MAX)
		return -EOVERFLOW;

	return fcntl(dev->fd, command, &lock) ? -errno : 0;
}

int mmapdev_range_lock(struct mmapdev *dev, uint64_t offset, uint64_t length,
		       uint32_t flags)
{
	int ret;

	if (flags & ~RANGE_FLAGS)
		return -EINVAL;

	ret = set_lock(dev,
		       flags & MMAPDEV_LOCK_TRY ? F_OFD_SETLK : F_OFD_SETLKW,
		       flags & MMAPDEV_LOCK_SHARED ? F_RDLCK : F_WRLCK, offset,
		       length);
	if (!ret)
		__atomic_store_n(&dev->locker, getpid(), __ATOMIC_RELAXED);
	return ret;
}

int mmapdev_range_unlock(struct mmapdev *dev, uint64_t offset, uint64_t length)
{
	return set_lock(dev, F_OFD_SETLK, F_UNLCK, offset, length);
}
