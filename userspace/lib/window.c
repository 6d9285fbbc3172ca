// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The window: an object that grows, shrinks and has holes below its maps.
 *
 * A map may be longer than the device is now. Growing is then all it takes for
 * the touch that was SIGBUS to work at the same address. A file grows by the
 * same call, and takes the same sizes and ranges: what a program tries out on a
 * file, the device does not refuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "private.h"

static bool whole_pages(uint64_t bytes)
{
	return bytes % sysconf(_SC_PAGESIZE) == 0;
}

static int resize_file(struct mmapdev *dev, uint64_t size)
{
	int ret;

	ret = mmapdev_check_access(dev, O_WRONLY);
	if (ret)
		return ret;
	if (!whole_pages(size))
		return -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;

	return ftruncate(dev->fd, size) ? -errno : 0;
}

int mmapdev_resize(struct mmapdev *dev, uint64_t size)
{
	struct mmapdev_ioc_resize arg = {
		.argsz = sizeof(arg),
		.size = size,
	};

	if (!dev)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return resize_file(dev, size);

	return ioctl(dev->fd, MMAPDEV_IOC_RESIZE, &arg) ? -errno : 0;
}

static int punch_file(struct mmapdev *dev, uint64_t offset, uint64_t length)
{
	int ret;

	ret = mmapdev_check_access(dev, O_WRONLY);
	if (ret)
		return ret;
	if (!whole_pages(offset) || !whole_pages(length))
		return -EINVAL;
	ret = mmapdev_check_file(dev, O_WRONLY, offset, length);
	/* To fallocate(2) nothing is EINVAL. */
	if (ret || !length)
		return ret;

	return fallocate(dev->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			 offset, length) ? -errno : 0;
}

int mmapdev_punch(struct mmapdev *dev, uint64_t offset, uint64_t length)
{
	struct mmapdev_ioc_punch arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
	};

	if (!dev)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return punch_file(dev, offset, length);

	return ioctl(dev->fd, MMAPDEV_IOC_PUNCH, &arg) ? -errno : 0;
}
