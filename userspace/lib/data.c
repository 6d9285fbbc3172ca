// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Work on the content without a map: commit, fill, sum.
 *
 * On the device the kernel itself does it, so that a program can see that both
 * sides hold one memory. On a file the same is done by pwrite(2) and pread(2),
 * with the same checks, so that a program tested on a file meets no new errno
 * on the device.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "private.h"

#define CHUNK ((size_t)128 << 10)

/* One period more than a chunk: any offset finds its phase of the pattern. */
#define PERIOD sizeof(uint64_t)

int mmapdev_check_access(struct mmapdev *dev, int need)
{
	int oflags = fcntl(dev->fd, F_GETFL);

	if (oflags < 0)
		return -errno;
	oflags &= O_ACCMODE;
	return oflags == need || oflags == O_RDWR ? 0 : -EBADF;
}

int mmapdev_check_file(struct mmapdev *dev, int need, uint64_t offset,
		       uint64_t length)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	int ret;

	ret = mmapdev_check_access(dev, need);
	if (!ret)
		ret = mmapdev_get_info(dev, &info);
	if (ret)
		return ret;
	return mmapdev_check_range(offset, length, info.size);
}

int mmapdev_commit(struct mmapdev *dev)
{
	if (!dev)
		return -EINVAL;

	return fsync(dev->fd) ? -errno : 0;
}

static int fill_file(struct mmapdev *dev, uint64_t offset, uint64_t length,
		     uint64_t pattern)
{
	unsigned char *buf;
	size_t i;
	int ret;

	ret = mmapdev_check_file(dev, O_WRONLY, offset, length);
	if (ret)
		return ret;
	/* pwrite(2) would append, wherever it was told to write. */
	if (fcntl(dev->fd, F_GETFL) & O_APPEND)
		return -EOPNOTSUPP;
	buf = malloc(CHUNK + PERIOD);
	if (!buf)
		return -ENOMEM;
	for (i = 0; i < CHUNK + PERIOD; i++)
		buf[i] = pattern >> (8 * (i % PERIOD));

	while (length && !ret) {
		ssize_t n = pwrite(dev->fd, buf + offset % PERIOD,
				   length < CHUNK ? length : CHUNK, offset);

		if (n > 0) {
			offset += n;
			length -= n;
		} else if (!n) {
			ret = -EIO;
		} else if (errno != EINTR) {
			ret = -errno;
		}
	}

	free(buf);
	return ret;
}

int mmapdev_fill(struct mmapdev *dev, uint64_t offset, uint64_t length,
		 uint64_t pattern)
{
	struct mmapdev_ioc_kfill arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
		.pattern = pattern,
	};

	if (!dev)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return fill_file(dev, offset, length, pattern);

	return ioctl(dev->fd, MMAPDEV_IOC_KFILL, &arg) ? -errno : 0;
}

static int sum_file(struct mmapdev *dev, uint64_t offset, uint64_t length,
		    uint32_t *crc32c)
{
	struct {
		struct mmapdev_crc32c_table table;
		unsigned char buf[CHUNK];
	} *work;
	uint32_t crc = 0;
	int ret;

	ret = mmapdev_check_file(dev, O_RDONLY, offset, length);
	if (ret)
		return ret;
	work = malloc(sizeof(*work));
	if (!work)
		return -ENOMEM;
	mmapdev_crc32c_init(&work->table);

	while (length && !ret) {
		ssize_t n = pread(dev->fd, work->buf,
				  length < CHUNK ? length : CHUNK, offset);

		if (n > 0) {
			crc = mmapdev_crc32c(&work->table, crc, work->buf, n);
			offset += n;
			length -= n;
		} else if (!n) {
			ret = -ENXIO; /* the file shrank meanwhile */
		} else if (errno != EINTR) {
			ret = -errno;
		}
	}

	free(work);
	if (!ret)
		*crc32c = crc;
	return ret;
}

int mmapdev_sum(struct mmapdev *dev, uint64_t offset, uint64_t length,
		uint32_t *crc32c)
{
	struct mmapdev_ioc_ksum arg = {
		.argsz = sizeof(arg),
		.offset = offset,
		.length = length,
	};

	if (!dev || !crc32c)
		return -EINVAL;
	if (dev->kind == MMAPDEV_KIND_FILE)
		return sum_file(dev, offset, length, crc32c);

	if (ioctl(dev->fd, MMAPDEV_IOC_KSUM, &arg))
		return -errno;
	*crc32c = arg.crc32c;
	return 0;
}
