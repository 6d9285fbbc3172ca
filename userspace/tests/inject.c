// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Every libc call of the library fails in its turn. The error comes back, what
 * was begun is undone (descriptors counted here, memory by LeakSanitizer), and
 * the same call works afterwards.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

static struct object *object;

static int do_open(void)
{
	struct mmapdev *dev;
	int ret = mmapdev_open(object->path, O_RDWR, &dev);

	if (!ret)
		mmapdev_close(dev);
	return ret;
}

static int do_open_fd(void)
{
	struct mmapdev *dev;
	int ret = mmapdev_open_fd(mmapdev_fd(object->dev), &dev);

	if (!ret)
		mmapdev_close(dev);
	return ret;
}

static int do_open_memfd(void)
{
	struct mmapdev *dev;
	int ret = mmapdev_open_memfd("m", 4096, &dev);

	if (!ret)
		mmapdev_close(dev);
	return ret;
}

static int do_info(void)
{
	struct mmapdev_info info = { .sz = sizeof(info) };

	return mmapdev_get_info(object->dev, &info);
}

static int do_map(void)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_MAP_POPULATE,
	};
	struct mmapdev_map *map;
	int ret = mmapdev_map(object->dev, &opts, &map);

	if (!ret)
		mmapdev_unmap(map);
	return ret;
}

static int do_fill(void)
{
	return mmapdev_fill(object->dev, 0, 4096, 1);
}

static int do_sum(void)
{
	uint32_t crc;

	return mmapdev_sum(object->dev, 0, 4096, &crc);
}

static int do_resize(void)
{
	return mmapdev_resize(object->dev, 16 * KIB);
}

static int do_punch(void)
{
	return mmapdev_punch(object->dev, 0, page_size());
}

static const struct {
	const char *name;
	int (*call)(void);
	enum wrapped fails;
	int err;
	int wanted;
} cases[] = {
	{ "open: open", do_open, W_OPEN, ENFILE, -ENFILE },
	{ "open: calloc", do_open, W_CALLOC, ENOMEM, -ENOMEM },
	{ "open: fstat", do_open, W_FSTAT, EIO, -EIO },
	{ "open_fd: fcntl", do_open_fd, W_FCNTL, EMFILE, -EMFILE },
	{ "open_fd: calloc", do_open_fd, W_CALLOC, ENOMEM, -ENOMEM },
	{ "open_fd: fstat", do_open_fd, W_FSTAT, EIO, -EIO },
	{ "open_memfd: create", do_open_memfd, W_MEMFD_CREATE, ENFILE,
	  -ENFILE },
	{ "open_memfd: truncate", do_open_memfd, W_FTRUNCATE, EINTR, -EINTR },
	{ "open_memfd: calloc", do_open_memfd, W_CALLOC, ENOMEM, -ENOMEM },
	{ "info: fstat", do_info, W_FSTAT, EIO, -EIO },
	{ "map: fstat", do_map, W_FSTAT, EIO, -EIO },
	{ "map: fcntl", do_map, W_FCNTL, EBADF, -EBADF },
	{ "map: calloc", do_map, W_CALLOC, ENOMEM, -ENOMEM },
	{ "map: mmap", do_map, W_MMAP, EAGAIN, -EAGAIN },
	{ "map: madvise, no memory", do_map, W_MADVISE, ENOMEM, -ENOMEM },
	{ "map: madvise, a hole", do_map, W_MADVISE, EFAULT, -EFAULT },
	{ "map: madvise, bad memory", do_map, W_MADVISE, EHWPOISON,
	  -EHWPOISON },
	{ "map: madvise, old kernel", do_map, W_MADVISE, EINVAL, -EOPNOTSUPP },
	{ "map: madvise, a signal", do_map, W_MADVISE, EINTR, 0 },
	{ "fill: fcntl", do_fill, W_FCNTL, EBADF, -EBADF },
	{ "fill: fstat", do_fill, W_FSTAT, EIO, -EIO },
	{ "fill: malloc", do_fill, W_MALLOC, ENOMEM, -ENOMEM },
	{ "fill: pwrite", do_fill, W_PWRITE, ENOSPC, -ENOSPC },
	{ "fill: pwrite, quota", do_fill, W_PWRITE, EDQUOT, -EDQUOT },
	{ "fill: pwrite of nothing", do_fill, W_PWRITE, 0, -EIO },
	{ "sum: fcntl", do_sum, W_FCNTL, EBADF, -EBADF },
	{ "sum: fstat", do_sum, W_FSTAT, EIO, -EIO },
	{ "sum: malloc", do_sum, W_MALLOC, ENOMEM, -ENOMEM },
	{ "sum: pread", do_sum, W_PREAD, EIO, -EIO },
	{ "sum: the file shrank", do_sum, W_PREAD, 0, -ENXIO },
	{ "resize: fcntl", do_resize, W_FCNTL, EBADF, -EBADF },
	{ "resize: ftruncate", do_resize, W_FTRUNCATE, ENOSPC, -ENOSPC },
	{ "resize: a signal", do_resize, W_FTRUNCATE, EINTR, -EINTR },
	{ "punch: fcntl", do_punch, W_FCNTL, EBADF, -EBADF },
	{ "punch: fstat", do_punch, W_FSTAT, EIO, -EIO },
	{ "punch: no holes here", do_punch, W_FALLOCATE, EOPNOTSUPP,
	  -EOPNOTSUPP },
};

static int lowest_free_fd(void)
{
	int fd = dup(0);

	close(fd);
	return fd;
}

/* Maps that this process has of the object. */
static int mmaps_left(void)
{
	return wrap_calls(W_MMAP) - wrap_calls(W_MUNMAP);
}

static void test_cases(struct object *o)
{
	int before = lowest_free_fd();
	size_t i;

	object = o;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wrap_reset();
		wrap_fail(cases[i].fails, 1, cases[i].err);
		is(cases[i].call(), cases[i].wanted, "%s (%s)", cases[i].name,
		   o->name);
		is(mmaps_left(), cases[i].fails == W_MMAP,
		   "no map is left (%s)", o->name);
		is(lowest_free_fd(), before, "no descriptor is left (%s)",
		   o->name);
		is(cases[i].call(), 0, "the next call works (%s)", o->name);
	}
}

static void test_unmap(struct object *o)
{
	struct mmapdev_map *map;
	char *a;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	a = mmapdev_map_addr(map);
	wrap_reset();
	wrap_fail(W_MUNMAP, 1, ENOMEM);
	is(mmapdev_unmap(map), -ENOMEM, "unmap fails (%s)", o->name);
	a[0] = 1;
	ok(mmapdev_map_addr(map) == a, "the map is still there (%s)", o->name);
	is(mmapdev_unmap(map), 0, "unmap works the second time (%s)", o->name);
}

static void test_interrupted(struct object *o)
{
	object = o;
	wrap_reset();
	wrap_fail(W_MADVISE, 5, EINTR);
	is(do_map(), 0, "populate goes on after each signal (%s)", o->name);
	is(wrap_calls(W_MADVISE), 6, "five times (%s)", o->name);
}

static void test_object(struct object *o)
{
	test_cases(o);
	test_unmap(o);
	test_interrupted(o);
}

int main(void)
{
	on_each_object(16 * KIB, test_object);
	return done();
}
