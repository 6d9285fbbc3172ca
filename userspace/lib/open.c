// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Handles: an mmapdev device, or a regular file or memfd in its place.
 *
 * Which of the two is asked of the object itself, never of its name: nodes may
 * be made anywhere, and tests put files where the device would be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "private.h"

uint32_t mmapdev_version(void)
{
	return MMAPDEV_VERSION_MAJOR << 16 | MMAPDEV_VERSION_MINOR << 8 |
	       MMAPDEV_VERSION_PATCH;
}

static int kind_of(int fd, uint32_t *kind)
{
	struct mmapdev_ioc_info info;
	struct stat st;

	if (fstat(fd, &st))
		return -errno;

	if (S_ISREG(st.st_mode)) {
		*kind = MMAPDEV_KIND_FILE;
		return 0;
	}
	if (S_ISCHR(st.st_mode) && !mmapdev_device_info(fd, &info)) {
		*kind = MMAPDEV_KIND_DEVICE;
		return 0;
	}
	return -ENODEV;
}

/* Owns @fd from here on: it is in the handle, or closed. */
static int handle_new(int fd, struct mmapdev **out)
{
	struct mmapdev *dev;
	int ret;

	if (fd < 0)
		return -errno;

	dev = calloc(1, sizeof(*dev));
	if (!dev) {
		ret = -ENOMEM;
		goto close;
	}
	dev->fd = fd;
	dev->refs = 1;
	ret = kind_of(fd, &dev->kind);
	if (ret)
		goto free;

	*out = dev;
	return 0;

free:
	free(dev);
close:
	close(fd);
	return ret;
}

int mmapdev_open(const char *path, int oflags, struct mmapdev **out)
{
	if (!path || !out)
		return -EINVAL;

	return handle_new(open(path, oflags | O_CLOEXEC | O_NOCTTY, 0666), out);
}

int mmapdev_open_fd(int fd, struct mmapdev **out)
{
	if (!out)
		return -EINVAL;

	return handle_new(fcntl(fd, F_DUPFD_CLOEXEC, 0), out);
}

int mmapdev_open_memfd(const char *name, uint64_t size, struct mmapdev **out)
{
	int fd, ret;

	if (!name || !out)
		return -EINVAL;
	if (size > INT64_MAX)
		return -EFBIG;

	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, size)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return handle_new(fd, out);
}

struct mmapdev *mmapdev_get(struct mmapdev *dev)
{
	__atomic_add_fetch(&dev->refs, 1, __ATOMIC_RELAXED);
	return dev;
}

void mmapdev_put(struct mmapdev *dev)
{
	if (!dev || __atomic_sub_fetch(&dev->refs, 1, __ATOMIC_ACQ_REL))
		return;

	close(dev->fd);
	free(dev);
}

/*
 * Locks and an eventfd belong to the open file, which maps hold on to, and the
 * processes that were forked. They end with the handle, where it was made use
 * of: a child that closes what it inherited leaves its parent's alone.
 */
void mmapdev_close(struct mmapdev *dev)
{
	if (!dev)
		return;
	if (__atomic_load_n(&dev->locker, __ATOMIC_RELAXED) == getpid())
		mmapdev_range_unlock(dev, 0, 0);
	if (__atomic_load_n(&dev->notified, __ATOMIC_RELAXED) == getpid())
		mmapdev_notify(dev, -1);
	mmapdev_put(dev);
}

int mmapdev_fd(const struct mmapdev *dev)
{
	return dev ? dev->fd : -EINVAL;
}
