// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * What was written, and being told of commits: what only a device can answer.
 *
 * The kernel keeps no such record of a file that a program could ask for, and a
 * guess would lose writes. So a file says that it cannot, and the program takes
 * its other way, which is to copy the whole.
 */
#include <errno.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "private.h"

_Static_assert(MMAPDEV_DIRTY_CLEAR == MMAPDEV_IOC_DIRTY_CLEAR,
	       "library and kernel number the flags alike");

int mmapdev_dirty(struct mmapdev *dev, uint64_t offset, uint64_t length,
		  uint32_t flags, void *bitmap, uint64_t *pages)
{
	struct mmapdev_ioc_dirty arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.offset = offset,
		.length = length,
		.bitmap = (uintptr_t)bitmap,
	};

	if (!dev || !bitmap)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return -EOPNOTSUPP;

	if (ioctl(dev->fd, MMAPDEV_IOC_DIRTY, &arg))
		return -errno;
	if (pages)
		*pages = arg.pages;
	return 0;
}

int mmapdev_notify(struct mmapdev *dev, int eventfd)
{
	struct mmapdev_ioc_eventfd arg = {
		.argsz = sizeof(arg),
		.fd = eventfd,
	};

	if (!dev)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return -EOPNOTSUPP;

	if (ioctl(dev->fd, MMAPDEV_IOC_EVENTFD, &arg))
		return -errno;
	__atomic_store_n(&dev->notified, getpid(), __ATOMIC_RELAXED);
	return 0;
}
